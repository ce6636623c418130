//! The information system behind the recorded provider, written again: what it answers to which path, byte for byte, and what it saw.
//!
//! `/scen/NAME` plays a scenario of [`scenarios`], `/soap/…` answers SOAP (`soap.rs`), `/files/…` serves descriptions, and every other
//! path is echoed as JSON. It listens in clear text and, as the recorded one did, over TLS: with the certificate that the provider knows,
//! with another one, and asking for a certificate or not. Pauses are shorter than they were,
//! in step with the shorter timeouts that the services have here ([`pause`], [`super::timeout`]).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::scenarios;
use super::soap;
use crate::support::pki::Pair;

/// One step of an answer.
#[derive(Clone, Debug)]
pub enum Act {
    Send(Vec<u8>),
    /// Seconds of the recorded service.
    Pause(f64),
    Close,
    Reset,
}

/// How long `seconds` of the recorded service are here.
pub fn pause(seconds: f64) -> Duration {
    Duration::from_secs_f64(if seconds > 3.0 { seconds / 10.0 } else { seconds / 2.0 })
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub tls: Option<&'static str>,
    pub line: String,
    /// In order, with their spelling; bytes as Latin-1.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// SHA-256 of the certificate that the caller showed.
    pub shown: Option<String>,
}

impl Call {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }
    fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// Where the recorded one listened: in clear text, with the known certificate, with another, and twice with the known one, the first of
/// which asks for the caller's.
pub const RECORDED: [&str; 5] =
    ["127.0.1.1:9090", "127.0.1.1:9443", "127.0.1.1:9444", "127.0.1.10:9501", "127.0.1.10:9502"];

/// The listeners and what they were sent.
#[derive(Clone)]
pub struct Service {
    /// Instead of [`RECORDED`].
    pub addresses: [SocketAddr; 5],
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Service {
    /// `None` when this machine does not answer on 127.0.1.1.
    pub async fn start(pinned: &Pair, other: &Pair) -> Option<Self> {
        let mut listeners = Vec::new();
        for recorded in RECORDED {
            let (host, _) = recorded.split_once(':').unwrap();
            listeners.push(TcpListener::bind(format!("{host}:0")).await.ok()?);
        }
        let addresses = [0, 1, 2, 3, 4].map(|index: usize| listeners[index].local_addr().unwrap());
        let service = Self { addresses, calls: Arc::default() };
        let secure = [
            None,
            Some(("backend-tls", acceptor(pinned, false))),
            Some(("is-other", acceptor(other, false))),
            Some(("backend-tls", acceptor(pinned, true))),
            Some(("backend-tls", acceptor(pinned, false))),
        ];
        for (listener, secure) in listeners.into_iter().zip(secure) {
            let calls = service.calls.clone();
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(connection(socket, secure.clone(), calls.clone()));
                }
            });
        }
        Some(service)
    }
    /// The calls since the last time.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

async fn connection(
    mut socket: TcpStream,
    secure: Option<(&'static str, tokio_rustls::TlsAcceptor)>,
    calls: Arc<Mutex<Vec<Call>>>,
) {
    let Some((name, acceptor)) = secure else {
        if let Some(true) = serve(&mut socket, None, None, &calls).await {
            reset(socket);
        }
        return;
    };
    let Ok(mut stream) = acceptor.accept(socket).await else { return };
    let shown =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|cert| sha256(cert));
    serve(&mut stream, Some(name), shown, &calls).await;
    let _ = stream.shutdown().await;
}

/// Ends a connection without a farewell.
pub fn reset(socket: TcpStream) {
    let _ = socket.set_zero_linger();
}

fn acceptor(pair: &Pair, asks: bool) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from(pair.cert.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(pair.key.to_pkcs8().to_vec().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks {
        true => builder.with_client_cert_verifier(Arc::new(Anybody(provider))),
        false => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key).unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// Answers until the connection ends; `Some(true)` when it is to end with a reset.
async fn serve(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    tls: Option<&'static str>,
    shown: Option<String>,
    calls: &Mutex<Vec<Call>>,
) -> Option<bool> {
    let mut buffer = Vec::new();
    loop {
        let call = Call { shown: shown.clone(), ..read_call(socket, &mut buffer, tls).await? };
        calls.lock().unwrap().push(call.clone());
        for act in acts(&call) {
            match act {
                Act::Send(bytes) => socket.write_all(&bytes).await.ok()?,
                Act::Pause(seconds) => {
                    socket.flush().await.ok()?;
                    tokio::time::sleep(pause(seconds)).await;
                }
                Act::Close => return Some(false),
                Act::Reset => return Some(true),
            }
        }
        socket.flush().await.ok()?;
    }
}

/// Reads one request; what follows it stays in `buffer`.
pub async fn read_call(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    tls: Option<&'static str>,
) -> Option<Call> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let head: String = head.into_iter().map(char::from).collect();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut call = Call { tls, line, headers, body: Vec::new(), shown: None };
    if call.header("transfer-encoding").is_some() {
        loop {
            let line = read_line(socket, buffer).await?;
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                while !read_line(socket, buffer).await?.is_empty() {}
                break;
            }
            call.body.extend(read_exactly(socket, buffer, size).await?);
            read_line(socket, buffer).await?;
        }
    } else if let Some(length) = call.header("content-length").and_then(|length| length.parse().ok()) {
        call.body = read_exactly(socket, buffer, length).await?;
    }
    Some(call)
}

async fn read_line(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = find(buffer, b"\r\n") {
            let line: Vec<u8> = buffer.drain(..at + 2).collect();
            return Some(String::from_utf8_lossy(&line[..at]).into_owned());
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read_exactly(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    length: usize,
) -> Option<Vec<u8>> {
    while buffer.len() < length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.drain(..length).collect())
}

/// Where `wanted` begins.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len().max(1)).position(|window| window == wanted)
}

/// Status line, headers as given, `Content-Length`, body.
pub fn answer(status: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut bytes = bare(status, headers);
    bytes.truncate(bytes.len() - 2);
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
    bytes.extend(body);
    bytes
}

/// A head alone.
pub fn bare(status: &str, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(name.bytes());
        bytes.extend(b": ");
        bytes.extend(*value);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"\r\n");
    bytes
}

fn acts(call: &Call) -> Vec<Act> {
    let path = call.target().split('?').next().unwrap_or_default();
    if let Some((kind, file)) = file(path) {
        return vec![Act::Send(answer("200 OK", &[("Content-Type", kind.as_bytes())], file.as_bytes()))];
    }
    if let Some(name) = path.strip_prefix("/scen/") {
        return scenarios::acts(name.split('/').next().unwrap_or_default());
    }
    if path.starts_with("/soap/") {
        return soap::acts(&call.body, call.header("content-type").unwrap_or_default());
    }
    vec![Act::Send(echo(call))]
}

/// What the call was, as JSON with a space behind `:` and `,`, and everything beyond ASCII escaped.
fn echo(call: &Call) -> Vec<u8> {
    let text = |text: &str| {
        let json = Value::from(text).to_string();
        json.chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", c as u32) })
            .collect::<String>()
    };
    let method = call.line.split(' ').next().unwrap_or_default();
    let body = format!(
        "{{\"method\": {}, \"target\": {}, \"body_len\": {}, \"body_sha256\": \"{}\"}}",
        text(method),
        text(call.target()),
        call.body.len(),
        sha256(&call.body),
    );
    let body = if method == "HEAD" { String::new() } else { body };
    answer("200 OK", &[("Content-Type", b"application/json"), ("X-Echo", b"yes")], body.as_bytes())
}

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = pki::digest::DigestAlgorithm::Sha256.digest(bytes);
    digest.value.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Service descriptions, for the metadata services.
fn file(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/files/openapi.yaml" => ("text/yaml", OPENAPI_YAML),
        "/files/openapi.json" => ("application/json", OPENAPI_JSON),
        "/files/service.wsdl" => ("text/xml", WSDL),
        _ => return None,
    })
}

const OPENAPI_YAML: &str = r#"openapi: 3.0.0
info: {title: Probe, version: 1.0.0}
servers:
  - url: http://127.0.1.1:9090/echo
  - url: "https://{host}/v1"
    variables: {host: {default: a.example}}
paths:
  /pets:
    get: {responses: {"200": {description: ok}}}
"#;

const OPENAPI_JSON: &str = r#"{"openapi":"3.0.0","info":{"title":"P","version":"1"},"servers":[{"url":"https://secret.internal:8443/api/v1"}],"paths":{}}"#;

const WSDL: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    "\n",
    r#"<wsdl:definitions name="p" targetNamespace="urn:p" xmlns:tns="urn:p" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" "#,
    r#"xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/"><wsdl:service name="s"><wsdl:port name="p" binding="tns:b">"#,
    r#"<soap:address location="http://127.0.1.1:9090/soap/echo"/></wsdl:port></wsdl:service></wsdl:definitions>"#,
    "\n"
);

/// Asks for a certificate and takes any, or none.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::server::danger::ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn verify_client_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        Ok(rustls::server::danger::ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
