//! The provider's information system: says what the case tells it to, and remembers what it was asked.
//!
//! It also offers the documents that servers fetch when a service is described or its description is asked for: a WSDL and an OpenAPI
//! description. These requests are not remembered.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::{Kind, Message, PATIENCE, read_message};

/// Path of the WSDL.
pub const WSDL: &str = "/service.wsdl";
/// Path of the OpenAPI description.
pub const OPENAPI: &str = "/openapi.json";
/// What the WSDL says in place of an address, so that it can be recognised.
pub const WSDL_MARK: &str = "urn:causeway:conformance";

/// Runs until the program ends.
#[derive(Clone, Debug)]
pub struct InformationSystem {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The answer's bytes; `{seen-header}` is the SOAP header of the request, `{seen-body}` its body.
    answer: Vec<u8>,
    seen: Vec<Message>,
}

impl InformationSystem {
    /// Listens.
    ///
    /// # Errors
    /// The address.
    pub fn start(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let state = Arc::new(Mutex::new(State::default()));
        let this = Self { address: listener.local_addr()?, state };
        let serving = this.clone();
        std::thread::Builder::new().name("information-system".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        })?;
        Ok(this)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says from now on; forgets what it was asked.
    pub fn prepare(&self, answer: Vec<u8>) {
        *self.state() = State { answer, seen: Vec::new() };
    }

    /// What it was asked.
    pub fn seen(&self) -> Vec<Message> {
        self.state().seen.clone()
    }

    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let Ok(Some(request)) = read_message(&mut stream, Kind::Request) else { return };
        let path = request.target().split('?').next().unwrap_or_default();
        let answer = match path {
            WSDL => document("text/xml; charset=utf-8", &wsdl()),
            OPENAPI => document("application/json", &openapi()),
            _ => {
                let mut state = self.state();
                let answer = fill(&state.answer, &request);
                state.seen.push(request);
                answer
            }
        };
        // The other side may have hung up: the case sees that.
        let _ = stream.write_all(&answer);
    }
}

fn document(content_type: &str, text: &str) -> Vec<u8> {
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
        .into_bytes()
}

/// Puts parts of the request into the answer, and the length of the body into its head.
fn fill(answer: &[u8], request: &Message) -> Vec<u8> {
    let mut filled = answer.to_vec();
    for (mark, value) in
        [("{seen-header}", soap_header(&request.body)), ("{seen-body}", request.body.clone())]
    {
        filled = replace(&filled, mark.as_bytes(), &value);
    }
    let Some(end) = find(&filled, b"\r\n\r\n") else { return filled };
    let length = (filled.len() - end - 4).to_string();
    replace(&filled, b"{length}", length.as_bytes())
}

/// From `<…:Header>` to its end tag.
fn soap_header(body: &[u8]) -> Vec<u8> {
    let header = || {
        let colon = find(body, b":Header")?;
        let begin = body[..colon].iter().rposition(|byte| *byte == b'<')?;
        let end_tag = [b"</", &body[begin + 1..colon], b":Header>"].concat();
        let end = colon + find(&body[colon..], &end_tag)? + end_tag.len();
        Some(body[begin..end].to_vec())
    };
    header().unwrap_or_default()
}

/// Where `needle` begins.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn replace(text: &[u8], mark: &[u8], value: &[u8]) -> Vec<u8> {
    let mut rest = text;
    let mut replaced = Vec::with_capacity(text.len());
    while let Some(at) = find(rest, mark) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(value);
        rest = &rest[at + mark.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

fn wsdl() -> String {
    use crate::services::{SOAP, SOAP_VERSION};
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<wsdl:definitions xmlns:wsdl=\"http://schemas.xmlsoap.org/wsdl/\" \
         xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\" xmlns:xroad=\"http://x-road.eu/xsd/xroad.xsd\" \
         xmlns:tns=\"{WSDL_MARK}\" targetNamespace=\"{WSDL_MARK}\"><wsdl:portType name=\"port\"><wsdl:operation \
         name=\"{SOAP}\"/></wsdl:portType><wsdl:binding name=\"binding\" type=\"tns:port\"><soap:binding style=\"document\" \
         transport=\"http://schemas.xmlsoap.org/soap/http\"/><wsdl:operation name=\"{SOAP}\"><soap:operation \
         soapAction=\"\"/><xroad:version>{SOAP_VERSION}</xroad:version></wsdl:operation></wsdl:binding><wsdl:service \
         name=\"service\"><wsdl:port name=\"port\" binding=\"tns:binding\"><soap:address \
         location=\"http://internal.invalid/soap\"/></wsdl:port></wsdl:service></wsdl:definitions>"
    )
}

fn openapi() -> String {
    r#"{"openapi":"3.0.0","info":{"title":"Conformance","version":"1"},"servers":[{"url":"http://internal.invalid:8080/base"}],"paths":{"/things/{id}":{"get":{"responses":{"200":{"description":"a thing"}}}}}}"#
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_repeat_what_was_asked() {
        let body = b"<s:Envelope><s:Header a='1'><x/></s:Header><s:Body/></s:Envelope>".to_vec();
        let request = Message { body, ..Message::default() };
        let filled =
            fill(b"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n<e>{seen-header}</e>", &request);
        let expected = b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n<e><s:Header a='1'><x/></s:Header></e>";
        assert_eq!(String::from_utf8_lossy(&filled), String::from_utf8_lossy(expected).replace("42", "38"));
        assert!(soap_header(b"no XML").is_empty());
    }
}
