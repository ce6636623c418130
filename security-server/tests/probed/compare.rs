//! What a probe brought about, recorded or played, and where two of them differ.
//!
//! Compared are the status, the fault code, the calls of the information system (request line, headers with their spelling and order,
//! body) and the answer (headers, body, or the parts of a transport message). Free are: ids, times and hashes of ours, framing, wording
//! of faults, pages of HTTP libraries, header order towards the information system that asks, what HTTP libraries add, and the cookies
//! that the recorded servers kept.

use std::path::Path;

use bytes::Bytes;
use proto::soap::Soap;
use serde_json::Value;

use super::play::Answer;
use super::service::{Call, find, sha256};
use super::soap::latin1;

/// Header lines that are no part of the message.
const FREE: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "cookie",
    "date",
    "keep-alive",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "user-agent",
    "vary",
    "x-causeway",
];

/// What came of one probe.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub answer: Option<Answer>,
    pub calls: Vec<Call>,
    /// The recording of a call that kept only the beginning and the digest of the body.
    digests: Option<Vec<String>>,
    /// Cookies sent to the service that were not in the request.
    strays: Vec<String>,
}

impl Outcome {
    /// Of ours, after these bytes were sent.
    pub fn new(answer: Option<Answer>, calls: Vec<Call>, request: &[u8]) -> Self {
        let cookies = calls
            .iter()
            .flat_map(|call| &call.headers)
            .filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        let strays = cookies
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty() && find(request, value.as_bytes()).is_none());
        let strays = strays.collect();
        Self { answer, calls, digests: None, strays }
    }
    /// As it was recorded in the folder of a case.
    pub fn recorded(case: &Path) -> Self {
        let bodiless = std::fs::read(case.join("request.bin")).is_ok_and(|bytes| bytes.starts_with(b"HEAD "));
        let answer = std::fs::read(case.join("response.bin")).unwrap_or_default();
        let calls = std::fs::read(case.join("backend.json")).unwrap_or_else(|_| b"[]".to_vec());
        let calls: Vec<Value> = serde_json::from_slice(&calls).unwrap();
        let calls: Vec<&Value> = calls.iter().filter(|call| call["request_line"].is_string()).collect();
        Self {
            answer: Answer::parse(&answer, bodiless, true),
            calls: calls.iter().map(|call| recorded_call(call)).collect(),
            strays: Vec::new(),
            digests: Some(
                calls.iter().map(|call| call["body_sha256"].as_str().unwrap_or_default().into()).collect(),
            ),
        }
    }
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }
    /// The fault code of any form, if it is one of a security server.
    pub fn code(&self) -> Option<String> {
        let answer = self.answer.as_ref()?;
        if let Some(code) = answer.header("x-road-error") {
            return Some(code.to_owned());
        }
        let envelope = if find(&answer.body, b"SOAP-ENV:Fault>").is_some() || answer.body.len() < 20_000 {
            fault(&answer.body)
        } else {
            None
        };
        envelope.map(|fault| fault.code)
    }
    /// Status, code, number of calls: what every comparison starts with.
    pub fn summary(&self) -> (Option<u16>, Option<String>, usize) {
        (self.status(), self.code(), self.calls.len())
    }
}

/// A fault that is the body, or in one of its parts.
fn fault(body: &[u8]) -> Option<proto::fault::Fault> {
    if let Some(fault) = proto::fault::Fault::from_soap(body) {
        return Some(fault);
    }
    let start = find(body, b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope")?;
    let end = start + find(&body[start..], b"</SOAP-ENV:Envelope>")? + b"</SOAP-ENV:Envelope>".len();
    proto::fault::Fault::from_soap(&body[start..end])
}

fn recorded_call(call: &Value) -> Call {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let none = Vec::new();
    let headers = call["headers"].as_array().unwrap_or(&none);
    Call {
        tls: match (call["tls"].as_str(), call["tls"].as_bool()) {
            (Some("is-other"), _) => Some("is-other"),
            (Some(_), _) | (None, Some(true)) => Some("backend-tls"),
            (None, _) => None,
        },
        line: text(&call["request_line"]),
        headers: headers.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        body: super::soap::bytes(&text(&call["body_text"])),
        shown: None,
    }
}

/// Where ours differs from the recording; empty when nowhere.
pub fn differences(ours: &Outcome, stock: &Outcome) -> Vec<String> {
    let mut found: Vec<String> = ours.strays.iter().map(|cookie| format!("kept cookie {cookie}")).collect();
    if ours.summary() != stock.summary() {
        found.push(format!("{:?} instead of {:?}", ours.summary(), stock.summary()));
        return found;
    }
    for (index, (mine, theirs)) in ours.calls.iter().zip(&stock.calls).enumerate() {
        let digest = stock.digests.as_ref().map(|digests| &digests[index][..]);
        compare_calls(mine, theirs, digest, &mut found);
    }
    if let (Some(mine), Some(theirs)) = (&ours.answer, &stock.answer) {
        compare_answers(mine, theirs, stock.code().is_some(), &mut found);
    }
    found
}

fn compare_calls(mine: &Call, theirs: &Call, digest: Option<&str>, found: &mut Vec<String>) {
    differ("service over TLS", &mine.tls, &theirs.tls, found);
    differ("request line at the service", &mine.line, &theirs.line, found);
    differ("headers at the service", &lines(&mine.headers, false), &lines(&theirs.headers, false), found);
    match digest {
        Some(digest) if !digest.is_empty() => {
            if sha256(&mine.body) != digest {
                let text = |call: &Call| latin1(&call.body).chars().take(1500).collect::<String>();
                differ("body at the service", &text(mine), &text(theirs), found);
            }
        }
        _ => differ("body at the service", &mine.body, &theirs.body, found),
    }
}

fn compare_answers(mine: &Answer, theirs: &Answer, is_fault: bool, found: &mut Vec<String>) {
    // What HTTP libraries say about requests that are none.
    let page = theirs.header("content-type").is_none_or(|kind| kind.contains("text/html;charset=iso-8859-1"));
    if theirs.status >= 400 && !is_fault && page && theirs.header("x-road-request-id").is_none() {
        return;
    }
    if mine.bodiless && mine.header("content-length") == Some("0") {
        found.push("a length of nothing".into());
    }
    if mine.whole != theirs.whole {
        found.push(format!("answer whole: {} instead of {}", mine.whole, theirs.whole));
    }
    let (mut ours, mut stock) = (lines(&mine.headers, true), lines(&theirs.headers, true));
    ours.sort();
    stock.sort();
    differ("headers of the answer", &ours, &stock, found);
    match (parts(mine), parts(theirs)) {
        (Some(mine), Some(theirs)) => differ("parts of the answer", &mine, &theirs, found),
        _ if is_fault => {}
        _ => compare_bodies(&mine.body, &theirs.body, found),
    }
    match (Answer::parse(&mine.more, false, true), Answer::parse(&theirs.more, false, true)) {
        (Some(mine), Some(theirs)) => compare_answers(&mine, &theirs, false, found),
        (mine, theirs) => differ("second answer", &mine.is_some(), &theirs.is_some(), found),
    }
}

/// REST bodies are equal. SOAP messages are written anew by the stock servers, so they are compared as messages.
fn compare_bodies(mine: &[u8], theirs: &[u8], found: &mut Vec<String>) {
    if masked(&latin1(mine)) == masked(&latin1(theirs)) {
        return;
    }
    let read = |body: &[u8]| {
        let start = find(body, b"<?xml").unwrap_or(0);
        let end = find(body, b"Envelope>").map_or(body.len(), |at| at + "Envelope>".len());
        match proto::soap::parse(Bytes::copy_from_slice(&body[start..end.max(start)]), "text/xml") {
            Ok(Soap::Message(message)) => Some(masked(&format!("{:?}", message.header))),
            _ => None,
        }
    };
    let content = |body: &[u8]| {
        let text = without_declarations(&latin1(body));
        text.split_once("Body").map_or(text.clone(), |(_, rest)| rest.split_whitespace().collect())
    };
    match (read(mine), read(theirs)) {
        (Some(ours), Some(stock)) => {
            differ("SOAP header", &ours, &stock, found);
            differ("SOAP body", &masked(&content(mine)), &masked(&content(theirs)), found);
        }
        _ => {
            let text = |body: &[u8]| masked(&latin1(body)).chars().take(1500).collect::<String>();
            differ("body of the answer", &text(mine), &text(theirs), found);
        }
    }
}

/// Without namespace declarations, which may stand anywhere above what needs them.
fn without_declarations(text: &str) -> String {
    let mut pieces = text.split(" xmlns:");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.splitn(3, '"').nth(2).unwrap_or_default())
}

/// Of a transport message: the head of each part, and what its text is when that can be known.
fn parts(answer: &Answer) -> Option<Vec<String>> {
    let kind = answer.header("content-type")?;
    if !kind.starts_with("multipart/mixed") {
        return None;
    }
    let boundary = kind.split("boundary=").nth(1)?.split(';').next()?.trim_matches('"');
    let text = latin1(&answer.body);
    let delimiter = format!("--{boundary}");
    let parts = text.split(&delimiter).skip(1).take_while(|part| !part.starts_with("--"));
    Some(parts.map(|part| part_of(part.strip_suffix("\r\n").unwrap_or(part))).collect())
}

fn part_of(part: &str) -> String {
    let part = part.strip_prefix("\r\n").unwrap_or(part);
    let (head, content) = part.split_once("\r\n\r\n").unwrap_or((part, ""));
    let content = if head.contains("signature/bdoc") {
        let signed = content.split("<ds:SignatureValue").next().unwrap_or_default();
        signed.split("URI=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>().join(" ")
    } else if head.contains("hash-chain") || head.contains("ocsp") {
        String::new()
    } else if let Some(fault) = fault(&super::soap::bytes(content)) {
        fault.code
    } else if let Ok(Soap::Message(message)) =
        proto::soap::parse(super::soap::bytes(content).into(), "text/xml")
    {
        let body: String = content.split_once("Body").unwrap_or_default().1.split_whitespace().collect();
        format!("{:?} {body}", message.header)
    } else {
        content.to_owned()
    };
    // An inner multipart has a boundary of its own.
    let head = match head.split_once("boundary=") {
        Some((before, _)) => format!("{before}boundary"),
        None => head.to_owned(),
    };
    masked(&format!("{head} | {content}"))
}

fn lines(headers: &[(String, String)], lower: bool) -> Vec<String> {
    let counted = headers.iter().filter(|(name, _)| !FREE.contains(&&name.to_ascii_lowercase()[..]));
    // `Host` stands first or last.
    let (host, other): (Vec<_>, Vec<_>) = counted.partition(|(name, _)| name.eq_ignore_ascii_case("host"));
    host.into_iter()
        .chain(other)
        .map(|(name, value)| {
            let name = if lower { name.to_ascii_lowercase() } else { name.clone() };
            masked(&format!("{name}: {value}"))
        })
        .collect()
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, mine: &T, theirs: &T, found: &mut Vec<String>) {
    if mine != theirs {
        found.push(format!("{what}:\n      ours  {mine:?}\n      stock {theirs:?}"));
    }
}

/// Without ids, digests, and ports and boundaries that are made up.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = uuid(rest) {
            out.push_str("{uuid}");
            rest = &rest[length..];
        } else if let Some(length) = digest(rest) {
            out.push_str("{digest}");
            rest = &rest[length..];
        } else if let Some(after) =
            rest.strip_prefix("127.0.1.1:").or_else(|| rest.strip_prefix("127.0.1.10:"))
        {
            out.push_str("service:port");
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(after) = rest.strip_prefix("boundary=xtop") {
            out.push_str("boundary=xtop");
            rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn uuid(text: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..36)?;
    let fits = bytes.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    fits.then_some(36)
}

/// SHA-512 in base64.
fn digest(text: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..88)?;
    let fits = bytes[..86].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    (fits && bytes.ends_with(b"==")).then_some(88)
}
