//! The consumer's information system: the school office's program, which asks through its own security server.
//!
//! [`Call`]s are plain HTTP requests [PR-REST §4, PR-MESS §2], so each can also be printed as a line for `curl`. Containers of what
//! was asked and answered are fetched from the same security server ([`InformationSystem::container`]).

use std::fmt::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proto::id::{ClientId, ServiceId};
use proto::xml::escape_text;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that is taken.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;

const SOAP_ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const XROAD: &str = "http://x-road.eu/xsd/xroad.xsd";
const IDENTIFIERS: &str = "http://x-road.eu/xsd/identifiers";

/// Which protocol a call speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// REST.
    Rest,
    /// SOAP 1.1.
    Soap,
}

impl Kind {
    /// `rest` or `soap`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Soap => "soap",
        }
    }
}

/// One request to the client proxy, without the proxy's address.
#[derive(Clone, Debug)]
pub struct Call {
    /// REST or SOAP.
    pub kind: Kind,
    /// The id that both messages of the exchange carry; also in the request itself.
    pub message_id: String,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Headers; for REST without the message id.
    pub headers: Vec<(&'static str, String)>,
    /// Body, often empty.
    pub body: Bytes,
}

impl Call {
    /// A REST call of `path` (below the service, still escaped, with its query if any).
    pub fn rest(
        client: &ClientId,
        service: &ServiceId,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Self {
        let mut headers = vec![("X-Road-Client", client.to_header())];
        let body = match body {
            Some((content_type, body)) => {
                headers.push(("Content-Type", content_type.to_owned()));
                body
            }
            None => Bytes::new(),
        };
        let target = format!("/r1/{}{path}", service.to_header());
        Self { kind: Kind::Rest, message_id: new_id(client), method, target, headers, body }
    }

    /// A SOAP call with `content` (XML) inside the body.
    pub fn soap(client: &ClientId, service: &ServiceId, content: &str) -> Self {
        let message_id = new_id(client);
        let body = soap_envelope(client, service, &message_id, content).into();
        let headers =
            vec![("Content-Type", "text/xml; charset=UTF-8".to_owned()), ("SOAPAction", "\"\"".to_owned())];
        Self { kind: Kind::Soap, message_id, method: Method::POST, target: "/".into(), headers, body }
    }

    /// A SOAP call with `content` (XML) inside the body, and something of another type attached.
    pub fn soap_with_attachment(
        client: &ClientId,
        service: &ServiceId,
        content: &str,
        attachment: (&str, &[u8]),
    ) -> Self {
        let call = Self::soap(client, service, content);
        let (boundary, (kind, bytes)) = (format!("part-{}", call.message_id), attachment);
        let first =
            format!("--{boundary}\r\nContent-Type: text/xml; charset=UTF-8\r\nContent-ID: <message>\r\n\r\n");
        let second = format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-ID: <attachment>\r\n\r\n");
        let last = format!("\r\n--{boundary}--\r\n");
        let body = [first.as_bytes(), &call.body, second.as_bytes(), bytes, last.as_bytes()].concat().into();
        let content_type =
            format!("multipart/related; type=\"text/xml\"; start=\"<message>\"; boundary=\"{boundary}\"");
        let headers = vec![("Content-Type", content_type), ("SOAPAction", "\"\"".to_owned())];
        Self { headers, body, ..call }
    }

    /// A line for a shell, asking the same of the client proxy at `base` (`http://host:port`). `body_file` stands for the body.
    pub fn curl(&self, base: &str, body_file: Option<&str>) -> String {
        let mut line = String::from("curl -sS");
        let mut put = |text: String| line.push_str(&text);
        for (name, value) in &self.headers {
            put(format!(" -H {}", quoted(&format!("{name}: {value}"))));
        }
        if !self.body.is_empty() {
            match body_file {
                Some(file) => put(format!(" --data-binary {}", quoted(&format!("@{file}")))),
                None => put(format!(" -d {}", quoted(&String::from_utf8_lossy(&self.body)))),
            }
        }
        put(format!(" {}", quoted(&format!("{base}{}", self.target))));
        line
    }

    /// The HTTP request to the client proxy at `base`.
    fn request(&self, base: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder().method(&self.method).uri(format!("{base}{}", self.target));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if self.kind == Kind::Rest {
            request = request.header("X-Road-Id", &self.message_id);
        }
        request.body(Full::new(self.body.clone()))
    }
}

/// `SOAPAction` and the like are header text; a single quote in a shell word is written as `'\''`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn new_id(client: &ClientId) -> String {
    format!("{}-{}", client.member.instance, uuid::Uuid::new_v4())
}

/// A request envelope as PR-MESS describes it.
pub fn soap_envelope(client: &ClientId, service: &ServiceId, id: &str, content: &str) -> String {
    let codes = |client: &ClientId| {
        let mut xml = String::new();
        let names = ["xRoadInstance", "memberClass", "memberCode", "subsystemCode"];
        for (name, code) in names.iter().zip(client.codes()) {
            let _ = write!(xml, "<id:{name}>{}</id:{name}>", escape_text(code));
        }
        xml
    };
    let kind = if client.subsystem.is_some() { "SUBSYSTEM" } else { "MEMBER" };
    let version = service.version.as_deref().map_or(String::new(), |version| {
        format!("<id:serviceVersion>{}</id:serviceVersion>", escape_text(version))
    });
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<env:Envelope xmlns:env="{SOAP_ENVELOPE}" xmlns:xrd="{XROAD}" xmlns:id="{IDENTIFIERS}">
  <env:Header>
    <xrd:client id:objectType="{kind}">{}</xrd:client>
    <xrd:service id:objectType="SERVICE">{}<id:serviceCode>{}</id:serviceCode>{version}</xrd:service>
    <xrd:id>{}</xrd:id>
    <xrd:userId>MUN2001-clerk</xrd:userId>
    <xrd:protocolVersion>4.0</xrd:protocolVersion>
  </env:Header>
  <env:Body>{content}</env:Body>
</env:Envelope>
"#,
        codes(client),
        codes(&service.client),
        escape_text(&service.code),
        escape_text(id),
    )
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Whole body.
    pub body: Bytes,
    /// From the first byte of the request to the last of the answer.
    pub elapsed: Duration,
}

impl Answer {
    /// A header's text, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The fault code, when a security server refused.
    pub fn fault(&self) -> Option<String> {
        match self.header("x-road-error") {
            "" => proto::fault::Fault::from_soap(&self.body).map(|fault| fault.code),
            code => Some(code.to_owned()),
        }
    }
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The call cannot be written as HTTP.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// Not in time.
    #[error("there was no answer within {0:?}")]
    Timeout(Duration),
}

/// Which message of an exchange a container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// What the consumer signed.
    Request,
    /// What the provider signed.
    Response,
}

impl Message {
    /// As it stands in names and parameters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// The program: keeps connections to one client proxy.
#[derive(Clone, Debug)]
pub struct InformationSystem {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl InformationSystem {
    /// Asks the client proxy at `base` (`http://host:port`).
    pub fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Self { base: base.trim_end_matches('/').to_owned(), client }
    }

    /// The client proxy's base.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a call and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(&self, call: &Call) -> Result<Answer, CallError> {
        self.exchange(call.request(&self.base)?).await
    }

    /// The ASiC-E container of one message, timestamped now if it was not yet.
    ///
    /// # Errors
    /// There was no answer; any status is one.
    pub async fn container(
        &self,
        client: &ClientId,
        message_id: &str,
        message: Message,
    ) -> Result<Answer, CallError> {
        let uri = container_url(&self.base, client, message_id, message);
        let request = Request::get(uri).body(Full::default())?;
        self.exchange(request).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let began = Instant::now();
        let whole = async {
            let response =
                self.client.request(request).await.map_err(|error| CallError::Connection(chain(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT_BYTES).collect().await;
            let body = body.map_err(|error| CallError::Connection(chain(&*error)))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body, elapsed: began.elapsed() })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, whole).await.map_err(|_| CallError::Timeout(ANSWER_TIMEOUT))?
    }
}

/// Where one message's container is to be had.
pub fn container_url(base: &str, client: &ClientId, message_id: &str, message: Message) -> String {
    let escape = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let names = ["xRoadInstance", "memberClass", "memberCode", "subsystemCode"];
    let mut url = format!("{base}/asic?queryId={}", escape(message_id));
    for (name, code) in names.iter().zip(client.codes()) {
        url.push_str(&format!("&{name}={}", escape(code)));
    }
    url.push_str(&format!("&{}Only&unique&force", message.name()));
    url
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parties;

    #[test]
    fn a_soap_request_obeys_the_protocol() {
        let call = Call::soap(&parties::school(), &parties::resident_details(), "<residentDetails/>");
        let proto::soap::Soap::Message(message) =
            proto::soap::parse(call.body.clone(), &call.headers[0].1).unwrap()
        else {
            panic!("a fault");
        };
        assert_eq!(message.header.client, parties::school());
        assert_eq!(message.header.service, parties::resident_details());
        assert_eq!(message.header.id, call.message_id);
    }

    #[test]
    fn curl_lines_survive_the_shell() {
        let body = Some(("application/json", Bytes::from_static(b"{\"name\":\"O'Hara\"}")));
        let call =
            Call::rest(&parties::school(), &parties::register(), Method::POST, "/searches?a=1&b=2", body);
        let line = call.curl("http://127.0.0.1:1", None).replacen("curl -sS", "printf '%s\\n'", 1);
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        let words: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
        assert_eq!(
            words,
            [
                "-H",
                "X-Road-Client: DEMO/MUN/2001/school",
                "-H",
                "Content-Type: application/json",
                "-d",
                "{\"name\":\"O'Hara\"}",
                "http://127.0.0.1:1/r1/DEMO/MUN/1001/population/register/searches?a=1&b=2",
            ]
        );
    }

    #[test]
    fn a_container_is_asked_for_by_exact_client() {
        let url = container_url("http://h:1", &parties::school(), "a b", Message::Response);
        assert_eq!(
            url,
            "http://h:1/asic?queryId=a%20b&xRoadInstance=DEMO&memberClass=MUN&memberCode=2001&subsystemCode=school&responseOnly&unique&force"
        );
    }
}
