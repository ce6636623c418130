//! What the tests of this folder share: recorded HTTP bodies taken apart, and who sent them.

#![allow(dead_code, reason = "each test uses its own part")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use pki::digest::DigestAlgorithm;
use pki::globalconf::{self, GlobalConf};
use pki::hash_chain::{MESSAGE_URI, Parts};
use pki::message_signature::Evidence;
use pki::xades::Document;
use proto::fault::{Fault, FaultCode, Style};
use proto::id::ClientId;
use proto::rest::{RestRequest, RestResponse};
use proto::soap::{self, Soap};
use proto::transport::{Decoder, Direction, Event, Limits, MessageKind, TransportError};

/// A transport message as it was recorded on port 5500.
#[derive(Clone, Default)]
pub(crate) struct Recorded {
    pub(crate) header_algorithm: Option<DigestAlgorithm>,
    is_answer: bool,
    pub(crate) kind: Option<MessageKind>,
    pub(crate) content_type: String,
    /// The message part.
    pub(crate) message: Bytes,
    pub(crate) attachments: Vec<Bytes>,
    pub(crate) chain_result: Option<Bytes>,
    pub(crate) chain: Option<Bytes>,
    pub(crate) signature: Option<Bytes>,
    /// The fault that stands in place of the message.
    pub(crate) fault: Option<Fault>,
}

impl Recorded {
    /// Takes an HTTP message apart, head and chunks included.
    pub(crate) fn read(http: &[u8], direction: Direction) -> Result<Self, TransportError> {
        let (head, body) = split_http(http);
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .filter(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
                .next()
        };
        let mut recorded = Self {
            header_algorithm: header("x-hash-algorithm").and_then(|name| DigestAlgorithm::from_name(&name)),
            is_answer: direction == Direction::Response,
            ..Self::default()
        };
        let limits = Limits { message_bytes: 32 << 20, signature_bytes: 4 << 20, ..Limits::default() };
        let mut decoder = Decoder::new(&header("content-type").unwrap_or_default(), direction, limits)?;
        decoder.feed(Bytes::from(body));
        decoder.finish();
        while let Some(event) = decoder.poll()? {
            recorded.take(event);
        }
        Ok(recorded)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Message { kind, head, raw } => {
                self.kind = Some(kind);
                self.content_type = head.get("content-type").unwrap_or_default().to_owned();
                self.message = raw;
            }
            Event::AttachmentHead { .. } => self.attachments.push(Bytes::new()),
            Event::AttachmentData(data) => {
                let attachment = self.attachments.last_mut().expect("a head came first");
                *attachment = [attachment.as_ref(), &data].concat().into();
            }
            Event::HashChainResult(raw) => self.chain_result = Some(raw),
            Event::HashChain(raw) => self.chain = Some(raw),
            Event::Signature(raw) => self.signature = Some(raw),
            Event::Fault(raw) => self.fault = Fault::from_soap(&raw),
            _ => {}
        }
    }

    /// A part by its name in tests.
    pub(crate) fn part_mut(&mut self, name: &str) -> Option<&mut Bytes> {
        match name {
            "message" => Some(&mut self.message),
            "attachment" => self.attachments.first_mut(),
            "result" => self.chain_result.as_mut(),
            "chain" => self.chain.as_mut(),
            _ => self.signature.as_mut(),
        }
    }

    pub(crate) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            signature: self.signature.as_deref().expect("the message has a signature"),
            hash_chain: self.chain_result.as_deref().zip(self.chain.as_deref()),
        }
    }

    /// Digests as a server has them: with the algorithm of the header, and of the message with the one its signature asks for.
    pub(crate) fn parts(&self) -> Parts {
        let algorithm = self.header_algorithm.unwrap_or(DigestAlgorithm::Sha512);
        let mut parts = vec![(MESSAGE_URI.to_owned(), algorithm.digest(&self.message))];
        for (number, attachment) in (1..).zip(&self.attachments) {
            parts.push((format!("/attachment{number}"), algorithm.digest(attachment)));
        }
        let document = Document::parse(self.evidence().signature).ok();
        let asked =
            document.and_then(|document| document.reference(MESSAGE_URI).map(|digest| digest.algorithm));
        if let Some(asked) = asked.filter(|asked| *asked != algorithm) {
            parts.push((MESSAGE_URI.to_owned(), asked.digest(&self.message)));
        }
        parts
    }

    /// Who must have signed: the client of a request, the client of the service in an answer; `None` when it cannot be read.
    pub(crate) fn signer(&self) -> Option<ClientId> {
        let raw = self.message.clone();
        let (client, service) = match self.kind? {
            MessageKind::RestRequest => {
                return RestRequest::parse(raw).ok().map(|request| (*request.client).clone());
            }
            MessageKind::RestResponse => return Some(RestResponse::parse(raw).ok()?.service.client.clone()),
            MessageKind::Soap => match soap::parse(raw, &self.content_type).ok()? {
                Soap::Message(message) => (message.header.client, message.header.service.client),
                Soap::Fault(..) => return None,
            },
        };
        Some(if self.is_answer { service } else { client })
    }
}

/// Head and body of an HTTP/1.1 message, chunks joined.
pub(crate) fn split_http(http: &[u8]) -> (String, Vec<u8>) {
    let end = find(http, b"\r\n\r\n").expect("the head ends");
    let head = String::from_utf8_lossy(&http[..end]).into_owned();
    let body = &http[end + 4..];
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (head, body.to_vec());
    }
    let mut out = Vec::new();
    let mut rest = body;
    while let Some(line) = find(rest, b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..line]);
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16) else {
            break;
        };
        let start = line + 2;
        if size == 0 || rest.len() < start + size {
            out.extend_from_slice(&rest[start.min(rest.len())..(start + size).min(rest.len())]);
            break;
        }
        out.extend_from_slice(&rest[start..start + size]);
        rest = &rest[(start + size + 2).min(rest.len())..];
    }
    (head, out)
}

fn find(data: &[u8], what: &[u8]) -> Option<usize> {
    data.windows(what.len()).position(|window| window == what)
}

pub(crate) fn read_file(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn load_conf(folder: &Path) -> GlobalConf {
    globalconf::load_directory(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// A fault path as one code.
pub(crate) fn code(path: &[FaultCode]) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.text(Style::Snake)).collect();
    parts.join(".")
}

/// The folder that a relative path in an `expected.json` names.
pub(crate) fn beside(folder: &Path, relative: &str) -> PathBuf {
    folder.join(relative)
}
