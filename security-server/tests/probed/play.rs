//! Sends recorded bytes, in the pieces and with the pauses they had, and reads what comes back.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::service::find;
use super::soap::latin1;
use crate::support::client::tls_connect;
use crate::support::pki::Pair;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// One piece of sending.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// No more will be sent.
    End,
}

impl Step {
    /// What it sends.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Send(bytes) => bytes,
            Self::Pause(_) | Self::End => &[],
        }
    }
}

/// The request of a case as it was sent; `None` when its bytes are not there.
pub fn steps(case: &Path) -> Option<Vec<Step>> {
    let request = read(&case.join("request.bin"))?;
    let Ok(pacing) = std::fs::read(case.join("request-pacing.json")) else {
        return Some(vec![Step::Send(request)]);
    };
    let pacing: Vec<Value> = serde_json::from_slice(&pacing).unwrap();
    let mut rest = &request[..];
    let steps = pacing.iter().map(|step| match (step.as_u64(), step[1].as_f64()) {
        (Some(count), _) => {
            let (piece, after) = rest.split_at(usize::try_from(count).unwrap());
            rest = after;
            Step::Send(piece.to_vec())
        }
        (None, Some(seconds)) => Step::Pause(Duration::from_secs_f64(seconds / 5.0)),
        (None, None) => Step::End,
    });
    Some(steps.collect())
}

/// A file, or the same packed.
fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    if let Ok(bytes) = std::fs::read(path) {
        return Some(bytes);
    }
    let packed = std::fs::File::open(path.with_extension("bin.gz")).ok()?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// An answer over HTTP, without its framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// In order, with their spelling; bytes as Latin-1.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// As long as it said.
    pub whole: bool,
    /// It cannot have a body.
    pub bodiless: bool,
    /// What came behind it on the connection.
    pub more: Vec<u8>,
}

impl Answer {
    /// The first final answer in `bytes`; `bodiless` for one to HEAD.
    pub fn parse(mut bytes: &[u8], bodiless: bool, ended: bool) -> Option<Self> {
        let (status, headers, body) = loop {
            let end = find(bytes, b"\r\n\r\n")?;
            let (head, body) = (latin1(&bytes[..end]), &bytes[end + 4..]);
            let mut lines = head.split("\r\n");
            let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
            if matches!(status, 100 | 102..=199) {
                bytes = body;
                continue;
            }
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect();
            break (status, headers, body);
        };
        let bodiless = bodiless || matches!(status, 101 | 204 | 304);
        let mut answer = Self { status, headers, bodiless, ..Self::default() };
        let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
        let chunked = answer.header("transfer-encoding").is_some_and(|te| te.eq_ignore_ascii_case("chunked"));
        let (content, used, whole) = match length {
            _ if bodiless => (Vec::new(), 0, true),
            _ if chunked => unchunk(body),
            Some(length) => {
                let used = length.min(body.len());
                (body[..used].to_vec(), used, body.len() >= length)
            }
            None => (body.to_vec(), body.len(), ended),
        };
        (answer.body, answer.more, answer.whole) = (content, body[used..].to_vec(), whole);
        Some(answer)
    }
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Content, bytes used, whether the last chunk was there.
fn unchunk(bytes: &[u8]) -> (Vec<u8>, usize, bool) {
    let (mut content, mut at) = (Vec::new(), 0);
    while let Some(line) = find(&bytes[at..], b"\r\n") {
        let size = latin1(&bytes[at..at + line]);
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16) else {
            break;
        };
        let start = at + line + 2;
        if bytes.len() < start + size + 2 {
            break;
        }
        content.extend(&bytes[start..start + size]);
        at = start + size + 2;
        if size == 0 {
            return (content, at, true);
        }
    }
    (content, at, false)
}

/// Where and how to send.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub address: SocketAddr,
    /// Over TLS, with a certificate if there is one.
    pub tls: Option<Option<&'a Pair>>,
    /// Answers to wait for.
    pub answers: usize,
}

/// Sends `steps` and reads the answer; `None` when there is none.
pub async fn ask(target: Target<'_>, steps: Vec<Step>) -> Option<Answer> {
    let bodiless = matches!(steps.first(), Some(Step::Send(bytes)) if bytes.starts_with(b"HEAD "));
    let work = async {
        let socket = TcpStream::connect(target.address).await.ok()?;
        match target.tls {
            None => converse(socket, steps, bodiless, target.answers).await,
            Some(pair) => {
                let stream = tls_connect(socket, pair).await.ok()?;
                converse(stream, steps, bodiless, target.answers).await
            }
        }
    };
    tokio::time::timeout(PATIENCE, work).await.ok()?
}

/// Reads while it sends: a server that answers early must be heard.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    steps: Vec<Step>,
    bodiless: bool,
    answers: usize,
) -> Option<Answer> {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                        break;
                    }
                }
                Step::Pause(length) => tokio::time::sleep(length).await,
                Step::End => drop(write.shutdown().await),
            }
        }
        std::future::pending::<()>().await;
    };
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            if has(&bytes, bodiless, answers) {
                return false;
            }
            match read.read_buf(&mut bytes).await {
                Ok(count) if count > 0 => {}
                _ => return true,
            }
        }
    };
    let ended = tokio::select! {
        () = sending => unreachable!("sending waits for ever"),
        ended = reading => ended,
    };
    Answer::parse(&bytes, bodiless, ended)
}

/// So many whole answers.
fn has(bytes: &[u8], bodiless: bool, answers: usize) -> bool {
    match Answer::parse(bytes, bodiless, false) {
        Some(answer) if answer.whole => answers == 1 || has(&answer.more, bodiless, answers - 1),
        _ => false,
    }
}
