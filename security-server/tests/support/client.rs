//! The information system that asks: raw bytes out, whatever comes back read to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::pki::Pair;

/// An answer of the consumer's server.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// Code, message and id of a fault of any form.
    pub fn fault(&self) -> Option<(String, String, String)> {
        let text = self.text();
        if let Some(fault) = proto::fault::Fault::from_soap(&self.body) {
            return Some((fault.code, fault.message, fault.detail));
        }
        if let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) {
            let field = |name: &str| json[name].as_str().map(str::to_owned);
            return Some((field("type")?, field("message")?, field("detail")?));
        }
        let field = |name: &str| {
            let rest = text.split_once(&format!("<{name}>"))?.1;
            Some(rest.split_once('<')?.0.to_owned())
        };
        Some((field("type")?, field("message")?, field("detail")?))
    }
}

/// A REST request for `service` of the provider, with `lines` of headers, and `Connection: close`.
pub fn rest(method: &str, client: &str, service_and_path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!(
        "{method} /r1/DEV/GOV/2222/PROVIDER/{service_and_path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         X-Road-Client: DEV/COM/1111/{client}\r\n{lines}{length}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A SOAP envelope.
pub fn envelope(client: &str, service: &str, id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:xroad=\"http://x-road.eu/xsd/xroad.xsd\" \
         xmlns:id=\"http://x-road.eu/xsd/identifiers\" xmlns:p=\"http://peer.test/ns\">\n  <s:Header>\n    \
         <xroad:protocolVersion>4.0</xroad:protocolVersion>\n    <xroad:client id:objectType=\"SUBSYSTEM\">\
         <id:xRoadInstance>DEV</id:xRoadInstance><id:memberClass>COM</id:memberClass><id:memberCode>1111</id:memberCode>\
         <id:subsystemCode>{client}</id:subsystemCode></xroad:client>\n    <xroad:service id:objectType=\"SERVICE\">\
         <id:xRoadInstance>DEV</id:xRoadInstance><id:memberClass>GOV</id:memberClass><id:memberCode>2222</id:memberCode>\
         <id:subsystemCode>PROVIDER</id:subsystemCode><id:serviceCode>{service}</id:serviceCode>\
         <id:serviceVersion>v1</id:serviceVersion></xroad:service>\n    <xroad:id>{id}</xroad:id>\n    \
         <xroad:userId>EE1234567890</xroad:userId>\n  </s:Header>\n  <s:Body><p:{service}>hello</p:{service}></s:Body>\n\
         </s:Envelope>"
    )
}

/// A SOAP request over HTTP.
pub fn soap(lines: &str, envelope: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}Content-Length: {}\r\n\r\n{envelope}",
        envelope.len()
    )
    .into_bytes()
}

/// Sends `request` over a connection of its own and reads the answer to its end.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Reply {
    let socket = TcpStream::connect(address).await.unwrap();
    converse(socket, request).await
}

/// The same over TLS, with a certificate if one is given.
pub async fn ask_tls(address: SocketAddr, pair: Option<&Pair>, request: &[u8]) -> Reply {
    let socket = TcpStream::connect(address).await.unwrap();
    converse(tls_connect(socket, pair).await.unwrap(), request).await
}

pub async fn tls_connect(
    socket: TcpStream,
    pair: Option<&Pair>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)));
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from(pair.cert.der().to_vec())];
            let key = PrivateKeyDer::Pkcs8(pair.key.to_pkcs8().to_vec().into());
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// A connection for a test that paces itself.
pub async fn plain_or_tls(socket: TcpStream, secure: bool) -> Box<dyn Duplex> {
    if secure { Box::new(tls_connect(socket, None).await.unwrap()) } else { Box::new(socket) }
}

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Sends while it reads: a server that answers early must be heard.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Reply {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let sending = async {
        let _ = write.write_all(request).await;
        let _ = write.flush().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = sending => unreachable!("sending waits for ever"),
        read = read.read_to_end(&mut answer) => { let _ = read; }
    }
    parse(&answer)
}

/// Splits an answer that ended with its connection; interim answers are passed over.
pub fn parse(answer: &[u8]) -> Reply {
    if let Some(rest) = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n") {
        return parse(rest);
    }
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let head: String = answer[..end].iter().copied().map(char::from).collect();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let mut body = answer[end..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    Reply { status, head, body }
}

/// The content of a chunked body.
pub fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
        let size =
            usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap_or("0").trim(), 16).unwrap_or(0);
        let end = (at + 2 + size).min(rest.len());
        body.extend_from_slice(&rest[at + 2..end]);
        if size == 0 {
            break;
        }
        rest = &rest[(end + 2).min(rest.len())..];
    }
    body
}

#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Sends `request` and reads one answer by its own length, over TLS when `secure`; `None` when there is none within seconds.
pub async fn ask_briefly(
    address: SocketAddr,
    secure: bool,
    pair: Option<&Pair>,
    request: &[u8],
) -> Option<Reply> {
    let work = async {
        let socket = TcpStream::connect(address).await.ok()?;
        if !secure {
            return one_answer(socket, request).await;
        }
        let stream = tls_connect(socket, pair).await.ok()?;
        one_answer(stream, request).await
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), work).await.ok()?
}

async fn one_answer(stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Option<Reply> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let sending = async {
        let _ = write.write_all(request).await;
        let _ = write.flush().await;
        std::future::pending::<()>().await;
    };
    let reading = async {
        loop {
            if is_whole(&answer) {
                return;
            }
            match read.read_buf(&mut answer).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        }
    };
    tokio::select! {
        () = sending => unreachable!("sending waits for ever"),
        () = reading => {}
    }
    (!answer.is_empty()).then(|| parse(&answer))
}

/// The head says how long the body is, and it is there.
fn is_whole(answer: &[u8]) -> bool {
    let answer = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answer);
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else { return false };
    let reply = parse(answer);
    let length = reply.header("content-length").and_then(|n| n.parse::<usize>().ok());
    match length {
        Some(length) => answer.len() >= end + length,
        None => reply.header("connection") != Some("close"),
    }
}
