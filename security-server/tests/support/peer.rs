//! Another security server, in either role, that says exactly what a test wants it to say.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pki::algorithm::EcdsaForm;
use pki::digest::{DigestAlgorithm, DigestValue};
use pki::hash_chain::{MESSAGE_URI, Parts, SIGNATURE_CHAIN_URI, SIGNATURE_RESULT_URI, Tree};
use pki::xades::Template;
use security_server::tls::{Acceptor, PeerTls, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Reply, parse};
use super::pki::{NOW, Pair};

pub const REST_REQUEST: &str = "application/x-road-rest-request";
pub const REST_RESPONSE: &str = "application/x-road-rest-response";
pub const REST_BODY: &str = "application/x-road-rest-body";
pub const CHAIN_RESULT: &str = "application/hash-chain-result";
pub const CHAIN: &str = "application/hash-chain";
pub const SIGNATURE: &str = "signature/bdoc-1.0/ts";
pub const OCSP: &str = "application/ocsp-response";
const BOUNDARY: &str = "xtopQwErTyUiOpAsDfGhJkLzXcVbNmQwEr";

/// One transport message, every piece of which a test may change.
#[derive(Clone, Debug)]
pub struct Transport {
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub parts: Vec<(String, Vec<u8>)>,
    /// Put behind the last part; nothing for a message that is cut off.
    pub closing: String,
}

/// Who signs: the key with its certificate, and the OCSP answers that go into the signature.
pub struct Signatory<'a> {
    pub pair: &'a Pair,
    pub ocsp: Vec<Vec<u8>>,
}

impl Transport {
    /// A REST message: OCSP answers, header part, body, and a signature over all of it.
    pub fn rest(
        ocsp: &[Bytes],
        kind: &str,
        header_part: &str,
        body: Option<&[u8]>,
        signatory: &Signatory<'_>,
    ) -> Self {
        let mut parts: Vec<(String, Vec<u8>)> =
            ocsp.iter().map(|der| (OCSP.to_owned(), der.to_vec())).collect();
        parts.push((kind.to_owned(), header_part.as_bytes().to_vec()));
        if let Some(body) = body {
            parts.push((REST_BODY.to_owned(), body.to_vec()));
        }
        parts.extend(sign(header_part.as_bytes(), body, signatory));
        let headers = [
            ("x-hash-algorithm", "SHA-512"),
            ("x-road-message-type", "REST"),
            ("x-road-request-id", "11111111-2222-3333-4444-555555555555"),
            ("x-proxy-version", "7.8.0"),
            ("Content-Type", &format!("multipart/mixed; charset=UTF-8; boundary={BOUNDARY}")),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { method: "POST".into(), headers, parts, closing: format!("\r\n--{BOUNDARY}--\r\n") }
    }
    /// Sets a header, or takes it away.
    pub fn header(&mut self, name: &str, value: Option<&str>) {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    /// The content of the first part of a type.
    pub fn part(&mut self, kind: &str) -> &mut Vec<u8> {
        &mut self.parts.iter_mut().find(|(found, _)| found == kind).expect("such a part").1
    }
    /// Without the parts of a type.
    pub fn without(&mut self, kind: &str) {
        self.parts.retain(|(found, _)| found != kind);
    }
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (index, (kind, content)) in self.parts.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\r\n" };
            body.extend(format!("{line_end}--{BOUNDARY}\r\ncontent-type: {kind}\r\n\r\n").bytes());
            body.extend(content);
        }
        body.extend(self.closing.bytes());
        body
    }
    fn request(&self) -> Vec<u8> {
        let body = self.body();
        let mut head = format!("{} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", self.method);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        [head.into_bytes(), body].concat()
    }
    /// As an answer on a connection that ends with it.
    pub fn answer(&self) -> Vec<u8> {
        let mut head = "HTTP/1.1 200 OK\r\nConnection: close\r\n".to_owned();
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        [head.into_bytes(), b"\r\n".to_vec(), self.body()].concat()
    }
    /// Sends it as a request to the provider's server and reads the answer to its end.
    pub async fn send(&self, tls: &PeerTls, address: std::net::SocketAddr) -> Reply {
        let socket = TcpStream::connect(address).await.unwrap();
        let stream = tls
            .connector()
            .unwrap()
            .connect(Stack::Modern, socket, "127.0.0.1", Duration::from_secs(5))
            .await
            .unwrap();
        let mut stream = stream.stream;
        stream.write_all(&self.request()).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        parse(&answer)
    }
}

/// The fault of an answer on 5500: plain, or a part of a multipart.
pub fn fault(reply: &Reply) -> Option<(String, String, String)> {
    let text = reply.text();
    let start = text.find("<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope")?;
    let end = text[start..].find("</SOAP-ENV:Envelope>")? + start + "</SOAP-ENV:Envelope>".len();
    let fault = proto::fault::Fault::from_soap(&text.as_bytes()[start..end])?;
    Some((fault.code, fault.message, fault.detail))
}

/// Chain, if there is a body, and signature, as parts.
fn sign(message: &[u8], body: Option<&[u8]>, signatory: &Signatory<'_>) -> Vec<(String, Vec<u8>)> {
    let digest = |data: &[u8]| DigestAlgorithm::Sha512.digest(data);
    let mut parts: Parts = vec![(MESSAGE_URI.to_owned(), digest(message))];
    parts.extend(body.map(|body| ("/attachment1".to_owned(), digest(body))));
    let mut out = Vec::new();
    let (uri, covered): (_, DigestValue) = if body.is_some() {
        let tree = Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, vec![parts]);
        out.push((CHAIN_RESULT.to_owned(), tree.result_xml().to_vec()));
        out.push((CHAIN.to_owned(), tree.chain_xml(0)));
        (SIGNATURE_RESULT_URI, digest(tree.result_xml()))
    } else {
        (MESSAGE_URI, parts[0].1.clone())
    };
    out.push((SIGNATURE.to_owned(), document(uri, &covered, signatory)));
    out
}

/// A signature document over one reference.
pub fn document(uri: &str, digest: &DigestValue, signatory: &Signatory<'_>) -> Vec<u8> {
    let algorithm = signatory.pair.key.default_algorithm();
    let template = Template::new(&signatory.pair.cert, &[], &signatory.ocsp, algorithm);
    let unsigned = template.prepare(uri, digest, NOW);
    let value = signatory.pair.key.sign(algorithm, EcdsaForm::Raw, unsigned.signed_info()).unwrap();
    unsigned.finish(&value)
}

/// A request as a provider sees it.
#[derive(Clone, Debug)]
pub struct Received {
    pub request_id: String,
    pub header_part: String,
    /// Of the header part alone, base64.
    pub hash: String,
}

/// The answer that is a reset of the connection.
pub const RESET: &[u8] = b"reset";

/// Plays the provider's server on `listener`: reads one request per connection, writes what `answer` makes of it, closes.
pub fn play_provider<F, A>(listener: TcpListener, tls: Arc<PeerTls>, answer: F)
where
    F: Fn(Received) -> A + Send + Sync + 'static,
    A: Future<Output = Vec<u8>> + Send,
{
    let acceptor = Acceptor::peer(tls, Duration::from_secs(5));
    tokio::spawn(async move {
        while let Ok((socket, from)) = listener.accept().await {
            let Ok(mut accepted) = acceptor.accept(socket, from).await else { continue };
            let mut request = Vec::new();
            // The closing delimiter, then the last chunk.
            while !request.ends_with(b"--\r\n\r\n0\r\n\r\n") {
                if accepted.stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let bytes = answer(receive(&request)).await;
            if let (true, Some(socket)) = (bytes == RESET, accepted.stream.tcp()) {
                rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
                continue;
            }
            let _ = accepted.stream.write_all(&bytes).await;
            let _ = accepted.stream.shutdown().await;
        }
    });
}

fn receive(request: &[u8]) -> Received {
    use base64::Engine;
    let head_end = request.windows(4).position(|w| w == b"\r\n\r\n").map_or(request.len(), |at| at + 4);
    let body = super::client::unchunk(&request[head_end..]);
    let text: String = request[..head_end].iter().chain(&body).copied().map(char::from).collect();
    let after = |start: &str| text.split_once(start).map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    let request_id = after("x-road-request-id: ").lines().next().unwrap_or_default().to_owned();
    let part = after("content-type: application/x-road-rest-request\r\n\r\n");
    let header_part = part.split("\r\n--xtop").next().unwrap_or_default().to_owned();
    let digest = DigestAlgorithm::Sha512.digest(header_part.as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(digest.value);
    Received { request_id, header_part, hash }
}
