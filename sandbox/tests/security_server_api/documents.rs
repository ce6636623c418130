//! Service descriptions for the server to read, served over HTTP and changed between its calls.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::StatusCode;
use sandbox::http::{HttpServer, respond};

/// The server of them.
pub(crate) struct Documents {
    server: HttpServer,
    content: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Documents {
    pub(crate) async fn start() -> Self {
        let content: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let known = Arc::clone(&content);
        let answer = move |request: hyper::Request<_>| {
            let found = known.lock().unwrap().get(request.uri().path()).cloned();
            async move {
                match found {
                    Some(text) => respond(StatusCode::OK, "text/xml", text),
                    None => respond(StatusCode::NOT_FOUND, "text/plain", "nothing"),
                }
            }
        };
        let server = HttpServer::start("127.0.0.1:0".parse().unwrap(), answer).await.unwrap();
        Self { server, content }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// `PATH wsdl OPERATION,… [at ADDRESS]`, `PATH openapi PATH`, `PATH text TEXT` or `PATH nothing`.
    pub(crate) fn serve(&self, what: &str) {
        let (path, what) = what.split_once(' ').unwrap();
        let text = match what.split_once(' ').unwrap_or((what, "")) {
            ("nothing", _) => {
                self.content.lock().unwrap().remove(path);
                return;
            }
            ("text", text) => text.to_owned(),
            ("openapi", path) => format!(
                "openapi: 3.0.1\ninfo: {{title: T, version: '1'}}\nservers: [{{url: /api}}]\npaths:\n  {path}:\n    get: {{responses: {{}}}}\n"
            ),
            ("wsdl", what) => {
                let (operations, address) = what.split_once(" at ").unwrap_or((what, "http://is/soap"));
                wsdl(operations, address)
            }
            _ => panic!("nobody serves {what}"),
        };
        self.content.lock().unwrap().insert(path.to_owned(), text);
    }
}

/// A WSDL with these operations, versions after a dot; one whose name begins with `!` has an output without a message.
fn wsdl(operations: &str, address: &str) -> String {
    let (mut port, mut binding) = (String::new(), String::new());
    for operation in operations.split(',') {
        let (name, version) = operation.split_once('.').unwrap_or((operation, ""));
        let output = if name.starts_with('!') { "<output/>" } else { r#"<output message="t:m"/>"# };
        let name = name.trim_start_matches('!');
        port.push_str(&format!(r#"<operation name="{name}">{output}</operation>"#));
        let version =
            if version.is_empty() { String::new() } else { format!("<x:version>{version}</x:version>") };
        binding.push_str(&format!(r#"<operation name="{name}">{version}</operation>"#));
    }
    format!(
        r#"<?xml version="1.0"?><definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:t" xmlns:x="urn:x"
        xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" targetNamespace="urn:t"><message name="m"/>
        <portType name="p">{port}</portType>
        <binding name="b" type="t:p"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>{binding}</binding>
        <service name="s"><port name="o" binding="t:b"><s:address location="{address}"/></port></service></definitions>"#
    )
}
