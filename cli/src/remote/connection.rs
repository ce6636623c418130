//! One connection to a server's management API: HTTPS to a pinned certificate or to a CA, a credential, bounds on time and size.
//!
//! Calls block: an operator's command does one thing after the other. Nothing is sent twice, but for what the server answered with 429
//! (too many requests), which it has not looked at. `--trace` writes method, path, status and correlation id of each call to standard
//! error; keys, cookies and PINs are in headers and bodies, which are never written.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use serde_json::Value;

use super::failure::Failure;
use super::targets::{Credential, Session, Target};
use super::tls::{self, Seen};

/// For the connection; the rest of a call may take as long as `--call-timeout` says.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest answer; backups and diagnostic reports are the largest.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// After 429, and how often: a minute in all, which is the longest window of the servers' limits.
const TOO_MANY_PAUSE: Duration = Duration::from_secs(2);
const TOO_MANY_TRIES: u32 = 31;
/// Where the API is under a target's address.
const BASE: &str = "/api/v1";

/// A body to send.
#[derive(Clone, Debug, Default)]
pub(crate) enum Body {
    /// None.
    #[default]
    None,
    /// JSON.
    Json(Value),
    /// A file as it is.
    Octets(Vec<u8>),
    /// Fields and files of a form.
    Form(Vec<Part>),
    /// A form as a browser sends it.
    UrlEncoded(String),
}

/// One field of a form.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Name of the field.
    pub(crate) name: String,
    /// Of a file.
    pub(crate) file_name: Option<String>,
    /// Text, or the file.
    pub(crate) content: Vec<u8>,
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Below the base path, with its parameters filled in: `/clients/DEV:COM:1`.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Body,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: Body::None }
    }
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }
    pub(crate) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }
    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }
    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    fn target(&self) -> String {
        if self.query.is_empty() {
            return self.path.clone();
        }
        let pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        format!("{}?{}", self.path, pairs.join("&"))
    }
}

/// Percent-encodes a value for a path or a query; the colon of identifiers stays readable.
pub(crate) fn encode(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');
    percent_encoding::utf8_percent_encode(text, KEEP).to_string()
}

/// An answer of the server, whatever its status.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; nothing at all counts as null.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).context("the answer is not JSON: is this a management API?")
    }
    /// A header, where it is text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
    /// The name of an attachment, without folders.
    pub(crate) fn file_name(&self) -> Option<String> {
        let (_, name) = self.header("content-disposition").split_once("filename=")?;
        let name = name.split(';').next()?.trim().trim_matches('"');
        let name = name.rsplit(['/', '\\']).next()?;
        (!name.is_empty() && !name.starts_with('.')).then(|| name.to_owned())
    }
}

/// The connection.
pub(crate) struct Connection {
    target: Target,
    credential: RefCell<Option<Credential>>,
    client: host::http::Client,
    seen: Seen,
    runtime: tokio::runtime::Runtime,
    trace: bool,
}

impl Connection {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// A CA file or fingerprint that cannot be used.
    pub(crate) fn new(
        target: &Target,
        credential: Option<Credential>,
        total: Duration,
        trace: bool,
    ) -> anyhow::Result<Self> {
        let (tls, seen) = tls::config(target)?;
        // One worker notices connections that the server closes while we think.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = host::http::Client::over(CONNECT, total, tls);
        let credential = RefCell::new(credential);
        Ok(Self { target: target.clone(), credential, client, seen, runtime, trace })
    }

    /// Who is asked.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether there is anything to be known by.
    pub(crate) fn has_credential(&self) -> bool {
        self.credential.borrow().is_some()
    }

    /// Calls the management API.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] and its kind; every status is an answer.
    pub(crate) fn call(&self, call: &Call) -> Result<Answer, Failure> {
        self.call_at(BASE, call)
    }

    /// Calls a path outside of the API, such as `/login`.
    pub(crate) fn call_at(&self, base: &str, call: &Call) -> Result<Answer, Failure> {
        for _ in 1..TOO_MANY_TRIES {
            let answer = self.once(base, call)?;
            if answer.status != 429 {
                return Ok(answer);
            }
            std::thread::sleep(TOO_MANY_PAUSE);
        }
        self.once(base, call)
    }

    fn once(&self, base: &str, call: &Call) -> Result<Answer, Failure> {
        let request = self.request(base, call)?;
        let result = self.runtime.block_on(self.client.request(request, MAX_ANSWER_BYTES));
        let answer = result.map_err(|error| {
            if let (Some(pinned), Some(seen)) = (&self.target.fingerprint, self.seen.fingerprint())
                && !tls::same(pinned, &seen)
            {
                let url = self.target.url.clone();
                return Failure::OtherCertificate { url, pinned: pinned.clone(), seen };
            }
            Failure::Unreachable { url: self.target.url.clone(), reason: error.to_string() }
        })?;
        let (head, body) = answer.into_parts();
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
        if self.trace {
            let id = answer.header("x-road-ui-correlation-id");
            eprintln!("{} {base}{} {} {id}", call.method, call.target(), answer.status);
        }
        Ok(answer)
    }

    fn request(&self, base: &str, call: &Call) -> Result<Request<host::http::ResponseBody>, Failure> {
        let url = format!("{}{base}{}", self.target.url.trim_end_matches('/'), call.target());
        let mut request = Request::builder().method(call.method.clone()).uri(&url);
        let (kind, bytes) = encoded(&call.body);
        if let Some(kind) = kind {
            request = request.header(http::header::CONTENT_TYPE, kind);
        }
        match &*self.credential.borrow() {
            Some(Credential::Key(key)) => {
                request = request.header("authorization", format!("X-Road-ApiKey token={}", key.as_str()));
            }
            Some(Credential::Session(Session { cookie, token })) => {
                request = request
                    .header("cookie", format!("JSESSIONID={cookie}; XSRF-TOKEN={token}"))
                    .header("x-xsrf-token", token);
            }
            None => {}
        }
        request
            .body(host::http::full(bytes))
            .map_err(|error| Failure::Unreachable { url, reason: format!("this cannot be asked: {error}") })
    }
}

/// Media type and bytes of a body.
fn encoded(body: &Body) -> (Option<String>, Vec<u8>) {
    match body {
        Body::None => (None, Vec::new()),
        Body::Json(value) => (Some("application/json".into()), value.to_string().into_bytes()),
        Body::Octets(bytes) => (Some("application/octet-stream".into()), bytes.clone()),
        Body::UrlEncoded(text) => {
            (Some("application/x-www-form-urlencoded".into()), text.clone().into_bytes())
        }
        Body::Form(parts) => {
            let boundary = boundary(parts);
            let mut bytes = Vec::new();
            for part in parts {
                let name = quoted(&part.name);
                let (file, kind) = match &part.file_name {
                    Some(file) => (
                        format!("; filename=\"{}\"", quoted(file)),
                        "Content-Type: application/octet-stream\r\n",
                    ),
                    None => (String::new(), ""),
                };
                bytes.extend_from_slice(
                    format!(
                        "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n{kind}\r\n"
                    )
                    .as_bytes(),
                );
                bytes.extend_from_slice(&part.content);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
            (Some(format!("multipart/form-data; boundary={boundary}")), bytes)
        }
    }
}

/// A boundary that is in no part.
fn boundary(parts: &[Part]) -> String {
    let within = |text: &str| {
        parts.iter().any(|part| part.content.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    let mut number = 0_u64;
    loop {
        let boundary = format!("causeway-form-{number:08}");
        if !within(&boundary) {
            return boundary;
        }
        number += 1;
    }
}

/// For a quoted string of a header; file names of operators have no business with control characters.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).map(|c| if c == '"' { '_' } else { c }).collect()
}

/// What was seen at first contact.
pub(crate) fn first_contact(url: &str, timeout: Duration) -> Result<String, Failure> {
    let target = Target { url: url.to_owned(), ..Target::default() };
    let unreachable =
        |error: anyhow::Error| Failure::Unreachable { url: url.to_owned(), reason: error.to_string() };
    let (tls, seen) = tls::first_contact();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unreachable(error.into()))?;
    let client = host::http::Client::over(CONNECT, timeout, tls);
    let connection = Connection {
        target,
        credential: RefCell::new(None),
        client,
        seen: Arc::clone(&seen),
        runtime,
        trace: false,
    };
    // The one path that wants no credential.
    connection.call(&Call::get("/openapi.yaml"))?;
    seen.fingerprint().ok_or_else(|| unreachable(anyhow::anyhow!("it showed no certificate")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_framed_by_what_is_not_in_it() {
        let part = |content: &[u8], file: Option<&str>| Part {
            name: "certificate".into(),
            file_name: file.map(str::to_owned),
            content: content.into(),
        };
        let body = Body::Form(vec![part(b"--causeway-form-00000000", Some("a\"\r\n.pem"))]);
        let (kind, bytes) = encoded(&body);
        assert_eq!(kind.unwrap(), "multipart/form-data; boundary=causeway-form-00000001");
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.contains("filename=\"a_.pem\"\r\nContent-Type: application/octet-stream\r\n\r\n--causeway")
        );
        assert!(text.ends_with("\r\n--causeway-form-00000001--\r\n"));
    }

    #[test]
    fn what_is_asked_for_is_encoded() {
        let call = Call::get(format!("/clients/{}", encode("DEV:COM:1/2:ä")))
            .query("q", "a b&c")
            .query("limit", "10");
        assert_eq!(call.target(), "/clients/DEV:COM:1%2F2:%C3%A4?q=a%20b%26c&limit=10");
    }

    #[test]
    fn an_attachment_names_a_file_and_no_folder() {
        for (header, name) in [
            ("attachment; filename=\"anchor.xml\"", Some("anchor.xml")),
            ("attachment; filename=certs.tar.gz; size=1", Some("certs.tar.gz")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\".bashrc\"", None),
            ("inline", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-disposition", header.parse().unwrap());
            let answer = Answer { status: 200, headers, body: Bytes::new() };
            assert_eq!(answer.file_name().as_deref(), name, "{header}");
        }
    }
}
