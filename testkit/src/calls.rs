//! Calls of a management API over plain HTTP/1.1, one connection each, and what recordings of such calls hold.
//!
//! A request is written as it was given, right or wrong; the answer is cut after its head and not judged.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The API key that is shown.
    pub key: Option<&'a str>,
    /// Other header lines.
    pub lines: &'a [(&'a str, &'a str)],
    /// Body; with an empty one its length is announced where a method asks for a body.
    pub body: &'a [u8],
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Status line and header lines, with the empty line.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, `Null` when it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Call<'_> {
    /// Sends it and reads the answer to its end.
    ///
    /// # Panics
    /// Nobody listens there, or what comes back has no head.
    pub async fn send(&self, address: SocketAddr) -> Answer {
        let Self { method, target, .. } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: server:4000\r\nConnection: close\r\n");
        if let Some(key) = self.key {
            head.push_str(&format!("Authorization: X-Road-ApiKey token={key}\r\n"));
        }
        for (name, value) in self.lines {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || matches!(*method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        // A server that refuses early need not read all of it, and may have reset the connection.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(self.body).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let end =
            bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head") + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a head has a status");
        Answer { status, head, body: bytes[end..].to_vec() }
    }
}

/// A session, as its cookies show it.
#[derive(Clone, Debug)]
pub struct Session {
    cookies: String,
    token: String,
}

impl Session {
    /// Logs a user in; gives the answer, and the session where there is one.
    pub async fn begin(address: SocketAddr, form: &[u8]) -> (Answer, Option<Self>) {
        let lines = [("Content-Type", "application/x-www-form-urlencoded")];
        let call = Call { method: "POST", target: "/login", key: None, lines: &lines, body: form };
        let answer = call.send(address).await;
        let value = |name: &str| {
            let rest = answer.head.split_once(&format!("{name}="))?.1;
            rest.split([';', '\r']).next().map(str::to_owned)
        };
        let session = value("JSESSIONID")
            .zip(value("XSRF-TOKEN"))
            .map(|(id, token)| Self { cookies: format!("JSESSIONID={id}; XSRF-TOKEN={token}"), token });
        (answer, session)
    }

    /// The headers that show it.
    pub fn lines(&self) -> [(&str, &str); 2] {
        [("Cookie", &self.cookies), ("X-XSRF-TOKEN", &self.token)]
    }
}

/// The body of a recorded request: as bytes, JSON or text.
pub fn recorded_body(call: &Value) -> Vec<u8> {
    let body = &call["request"]["body"];
    let text = |key: &str| body[key].as_str();
    match (text("base64"), body.get("json"), text("text")) {
        (Some(base64), ..) => STANDARD.decode(base64).expect("a recording holds base64"),
        (_, Some(json), _) => json.to_string().into_bytes(),
        (.., Some(text)) => text.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// A header line of a recorded request, its name in any case.
pub fn recorded_header<'a>(call: &'a Value, name: &str) -> Option<&'a str> {
    let headers = call["request"]["headers"].as_object()?;
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_str()
}
