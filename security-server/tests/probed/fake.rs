//! A provider's security server that is none: listens where the configuration has SS3 to SS6, reads what our consumer's server sends,
//! and answers as `fake_answers.rs` has it. The OCSP port beside it answers well or as the test says.

use std::sync::{Arc, Mutex};

use ::pki::ocsp::Status;
use base64::Engine;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::service::{Act, Call, pause, read_call, reset};
use super::soap::latin1;
use super::{NOW, fake_answers, pair};
use crate::support::pki::{Pair, Pki, copy};

/// What of a request the answers are made of.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The message part.
    pub message: Vec<u8>,
    pub body: Option<Vec<u8>>,
    /// Heads and contents.
    pub parts: Vec<(String, Vec<u8>)>,
}

impl Request {
    fn read(call: &Call) -> Self {
        let kind = call.header("content-type").unwrap_or_default();
        let boundary = kind.split("boundary=").nth(1).unwrap_or_default();
        let delimiter = format!("--{boundary}");
        let text = latin1(&call.body);
        let parts: Vec<(String, Vec<u8>)> = text
            .split(&delimiter)
            .skip(1)
            .take_while(|part| !part.starts_with("--"))
            .filter_map(|part| part.strip_prefix("\r\n")?.strip_suffix("\r\n")?.split_once("\r\n\r\n"))
            .map(|(head, content)| (head.to_owned(), super::soap::bytes(content)))
            .collect();
        let of = |kinds: &[&str]| {
            let found = parts.iter().find(|(head, _)| kinds.iter().any(|kind| head.contains(kind)));
            found.map(|(_, content)| content.clone())
        };
        Self {
            message: of(&["rest-request", "text/xml"]).unwrap_or_default(),
            body: of(&["rest-body"]),
            parts,
        }
    }
    /// A header of the message part; empty when it is not there.
    pub fn header(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.message).into_owned();
        let found = text.split("\r\n").skip(2).filter_map(|line| line.split_once(':'));
        found
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .last()
            .map(|(_, v)| v.to_owned())
            .unwrap_or_default()
    }
    /// The service that is asked, as in a header.
    pub fn service(&self) -> String {
        let text = latin1(&self.message);
        let path = text.split("\r\n").nth(1).unwrap_or_default();
        path.split('/').skip(2).take(5).collect::<Vec<_>>().join("/")
    }
    /// What the answer must say it answers.
    pub fn hash(&self) -> String {
        base64(&match &self.body {
            None => sha512(&self.message),
            Some(body) => sha512(&[sha512(&self.message), sha512(body)].concat()),
        })
    }
}

/// SHA-512.
pub fn sha512(bytes: &[u8]) -> Vec<u8> {
    ::pki::digest::DigestAlgorithm::Sha512.digest(bytes).value
}

/// As in XML.
pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The four servers, which share one plan.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    keys: Arc<Keys>,
}

#[derive(Default)]
struct State {
    scenario: String,
    ocsp: String,
    received: Vec<(Call, Request)>,
    asked: usize,
}

/// Keys of the laboratory.
pub struct Keys {
    environment: std::path::PathBuf,
    pki: Pki,
}

impl Keys {
    /// A certificate with its key.
    pub fn pair(&self, name: &str) -> Pair {
        pair(&self.environment, name)
    }
    /// An OCSP answer of the responder that is named.
    pub fn ocsp(&self, name: &str, responder: &str, status: Status, old: bool) -> Vec<u8> {
        let day = std::time::Duration::from_secs(24 * 3600);
        let at = if old { NOW.minus(day * 4000) } else { NOW };
        let pki = Pki { ca: copy(&self.pki.ca), responder: self.pair(responder), now: NOW };
        pki.ocsp(&self.pair(name).cert, status, at).to_vec()
    }
    /// A good one.
    pub fn good(&self, name: &str) -> Vec<u8> {
        self.ocsp(name, "ocsp", Status::Good, false)
    }
}

impl Fake {
    /// Listens beside the laboratory's own servers; `None` when a port is taken.
    pub async fn start(laboratory: &super::Laboratory) -> Option<Self> {
        let (ca, responder) = (copy(&laboratory.pki.ca), copy(&laboratory.pki.responder));
        let keys = Keys { environment: laboratory.environment.clone(), pki: Pki { ca, responder, now: NOW } };
        let fake = Self { state: Arc::default(), keys: Arc::new(keys) };
        let (messages_port, ocsp_port) = laboratory.ports;
        for (host, name) in [(4, "ss3-auth"), (5, "ss4-auth"), (6, "ss5-auth"), (7, "ss6-auth")] {
            let at = |port| std::net::SocketAddr::from(([127, 0, 1, host], port));
            let messages = TcpListener::bind(at(messages_port)).await.ok()?;
            let ocsp = TcpListener::bind(at(ocsp_port)).await.ok()?;
            fake.serve_messages(messages, name);
            fake.serve_ocsp(ocsp, name);
        }
        Some(fake)
    }

    /// What to answer from now on.
    pub fn play(&self, scenario: &str, ocsp: &str) {
        *self.state.lock().unwrap() =
            State { scenario: scenario.to_owned(), ocsp: ocsp.to_owned(), ..State::default() };
    }

    /// The messages since then, and how often the OCSP port was asked.
    pub fn received(&self) -> (Vec<(Call, Request)>, usize) {
        let state = self.state.lock().unwrap();
        (state.received.clone(), state.asked)
    }

    fn serve_messages(&self, listener: TcpListener, name: &'static str) {
        let pair = self.keys.pair(name);
        let chain = vec![CertificateDer::from(pair.cert.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(pair.key.to_pkcs8().to_vec().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let fake = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, fake) = (acceptor.clone(), fake.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    if let Some(true) = fake.serve(&mut stream).await {
                        let (socket, _) = stream.into_inner();
                        return reset(socket);
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
    }

    /// Answers until the connection ends; `Some(true)` when it is to end with a reset.
    async fn serve(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<bool> {
        let mut buffer = Vec::new();
        loop {
            let scenario = self.state.lock().unwrap().scenario.clone();
            if matches!(&scenario[..], "early" | "close-unread") {
                // The head alone is read.
                let mut head = [0; 64];
                tokio::io::AsyncReadExt::read(stream, &mut head).await.ok()?;
                if scenario == "early" {
                    stream.write_all(&fake_answers::early()).await.ok()?;
                    stream.flush().await.ok()?;
                    return Some(false);
                }
                // What it did not read makes the close a reset.
                return Some(true);
            }
            let call = read_call(stream, &mut buffer, None).await?;
            let request = Request::read(&call);
            self.state.lock().unwrap().received.push((call, request.clone()));
            for act in fake_answers::acts(&scenario, &request, &self.keys) {
                match act {
                    Act::Send(bytes) => stream.write_all(&bytes).await.ok()?,
                    Act::Pause(seconds) => tokio::time::sleep(pause(seconds)).await,
                    Act::Close => {
                        let _ = stream.flush().await;
                        return Some(false);
                    }
                    Act::Reset => return Some(true),
                }
            }
            stream.flush().await.ok()?;
        }
    }

    fn serve_ocsp(&self, listener: TcpListener, name: &'static str) {
        let fake = self.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut buffer = Vec::new();
                if read_call(&mut socket, &mut buffer, None).await.is_none() {
                    continue;
                }
                let mode = {
                    let mut state = fake.state.lock().unwrap();
                    state.asked += 1;
                    state.ocsp.clone()
                };
                let _ = socket.write_all(&fake.ocsp_answer(&mode, name)).await;
                let _ = socket.shutdown().await;
            }
        });
    }

    fn ocsp_answer(&self, mode: &str, name: &str) -> Vec<u8> {
        let keys = &self.keys;
        let der = match mode {
            "500" => {
                return b"HTTP/1.1 500 Server Error\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"
                    .to_vec();
            }
            "close" => return Vec::new(),
            "none" => None,
            "garbage" => Some(b"garbage".to_vec()),
            "other" => Some(keys.good("ss2-auth")),
            "old" => Some(keys.ocsp(name, "ocsp", Status::Good, true)),
            "rogue" => Some(keys.ocsp(name, "ocsp-rogue", Status::Good, false)),
            "revoked" => Some(keys.ocsp(name, "ocsp", Status::Revoked, false)),
            _ => Some(keys.good(name)),
        };
        let part = der.map(|der| {
            [b"--bb\r\nContent-Type: application/ocsp-response\r\n\r\n", &der[..], b"\r\n"].concat()
        });
        let body = [part.unwrap_or_default(), b"--bb--\r\n".to_vec()].concat();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type=\"application/ocsp-response\"; charset=UTF-8; boundary=bb\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    }
}

/// What of a message to a provider is compared: its headers in order and its parts.
pub fn described(call: &Call, request: &Request) -> Vec<String> {
    const FREE: [&str; 9] = [
        "accept-encoding",
        "connection",
        "content-length",
        "cookie",
        "host",
        "transfer-encoding",
        "user-agent",
        "x-proxy-version",
        "content-type",
    ];
    let mut found = vec![call.line.clone()];
    let mut lines: Vec<String> = call
        .headers
        .iter()
        .filter(|(name, _)| !FREE.contains(&&name.to_ascii_lowercase()[..]))
        .map(|(name, value)| super::compare::masked(&format!("{name}: {value}")))
        .collect();
    lines.sort();
    found.extend(lines);
    for (head, content) in &request.parts {
        let text = ["x-road-rest", "text/xml"].iter().any(|kind| head.contains(kind));
        let text = if text { latin1(&content[..content.len().min(600)]) } else { String::new() };
        found.push(super::compare::masked(&format!("{head} | {text}")));
    }
    found
}

/// The same of a recording.
pub fn described_recording(call: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let none = Vec::new();
    let headers = call["headers"].as_array().unwrap_or(&none);
    let recorded = Call {
        tls: None,
        line: text(&call["request_line"]),
        headers: headers.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        body: Vec::new(),
        shown: None,
    };
    let parts = call["parts"].as_array().unwrap_or(&none);
    let parts = parts.iter().map(|part| (text(&part["head"]), text(&part["text"]).into_bytes())).collect();
    described(&recorded, &Request { parts, ..Request::default() })
}
