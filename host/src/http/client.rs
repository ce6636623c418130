//! A small HTTP client: no redirects, no cookies, one timeout for all of a call, bounded answers.
//!
//! Connections are kept for a short while and used again; a request is sent a second time only when not a byte of it had left.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use tokio::sync::mpsc::Sender;

use super::{ResponseBody, full};

/// Below what servers usually keep a silent connection for.
const KEEP: Duration = Duration::from_secs(15);
const KEEP_PER_HOST: usize = 4;

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pool: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, ResponseBody>,
    total: Duration,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not a URL that can be asked.
    #[error("{url}: not an http or https address")]
    Address {
        /// The text.
        url: String,
    },
    /// No connection, or it broke.
    #[error("{url}: {reason}")]
    Connection {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// Not in time.
    #[error("{url}: no answer within {after:?}")]
    Timeout {
        /// Where.
        url: String,
        /// The bound.
        after: Duration,
    },
    /// Too much.
    #[error("{url}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// Where.
        url: String,
        /// The bound.
        limit: usize,
    },
}

/// A body that is sent as it is read.
#[derive(Debug)]
pub struct Upload {
    /// `POST`, `PUT`.
    pub method: &'static str,
    /// Where to.
    pub url: String,
    /// Names and values, but for the length.
    pub headers: Vec<(String, String)>,
    /// Of the body.
    pub length: u64,
    /// Its bytes.
    pub body: ResponseBody,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Its `Content-Type`, or empty.
    pub content_type: String,
    /// Whole body.
    pub body: Bytes,
}

impl Client {
    /// `roots` (DER) are trusted for `https`; when empty, https is not verified (integrity then comes from elsewhere, as for
    /// global configuration). `connect` bounds the TCP connection, `total` a call from its start to the last byte of the answer.
    pub fn new(connect: Duration, total: Duration, roots: &[Vec<u8>]) -> Self {
        Self::over(connect, total, tls_config(roots))
    }

    /// Takes one certificate alone for `https`: `pin` (DER), byte for byte and under whatever name.
    pub fn pinned(connect: Duration, total: Duration, pin: Vec<u8>) -> Self {
        Self::over(connect, total, pinned_config(pin))
    }

    /// As [`Client::new`], with whatever `tls` says of https.
    pub fn over(connect: Duration, total: Duration, tls: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(connect));
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP)
            .pool_max_idle_per_host(KEEP_PER_HOST)
            .build(https);
        Self { pool, total }
    }

    /// GET.
    ///
    /// # Errors
    /// [`ClientError`]; any status is an answer.
    pub async fn get(&self, url: &str, limit_bytes: usize) -> Result<Answer, ClientError> {
        self.send(Method::GET, url, None, Bytes::new(), limit_bytes).await
    }

    /// GET of what may be too large for memory: the body goes to `pieces` as it comes, no more than `limit_bytes` of it, and only that
    /// of a 200. The timeout is for all of it, with the time that whoever receives the pieces takes.
    ///
    /// # Errors
    /// [`ClientError`], and then what was received is not all; any status is an answer.
    pub async fn get_by_pieces(
        &self,
        url: &str,
        limit_bytes: usize,
        pieces: Sender<Bytes>,
    ) -> Result<u16, ClientError> {
        let request = Request::builder().method(Method::GET).uri(url).body(full(Bytes::new()));
        let request = request.map_err(|_| ClientError::Address { url: url.to_owned() })?;
        check_address(&request)?;
        let all = async {
            let response = self.pool.request(request).await.map_err(|e| connection(url, &e))?;
            let (head, mut body) = response.into_parts();
            let (status, mut left) = (head.status.as_u16(), limit_bytes);
            while let Some(frame) = body.frame().await.filter(|_| status == 200) {
                let Ok(piece) = frame.map_err(|e| connection(url, &e))?.into_data() else { continue };
                let too_large = || ClientError::TooLarge { url: url.to_owned(), limit: limit_bytes };
                left = left.checked_sub(piece.len()).ok_or_else(too_large)?;
                if pieces.send(piece).await.is_err() {
                    let reason = "nobody takes the answer any more".to_owned();
                    return Err(ClientError::Connection { url: url.to_owned(), reason });
                }
            }
            Ok(status)
        };
        match tokio::time::timeout(self.total, all).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout { url: url.to_owned(), after: self.total }),
        }
    }

    /// POST.
    ///
    /// # Errors
    /// [`ClientError`]; any status is an answer.
    pub async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: Bytes,
        limit_bytes: usize,
    ) -> Result<Answer, ClientError> {
        self.send(Method::POST, url, Some(content_type), body, limit_bytes).await
    }

    /// Sends a body of known length as it is read.
    ///
    /// # Errors
    /// [`ClientError`]; any status is an answer.
    pub async fn upload(&self, upload: Upload, limit_bytes: usize) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(upload.method).uri(&upload.url);
        request = request.header(http::header::CONTENT_LENGTH, upload.length);
        for (name, value) in &upload.headers {
            request = request.header(name, value);
        }
        self.call(request, &upload.url, upload.body, limit_bytes).await
    }

    /// Any request, for callers that need headers; the answer with all of its own.
    ///
    /// # Errors
    /// [`ClientError`]; any status is an answer.
    pub async fn request(
        &self,
        request: Request<ResponseBody>,
        limit_bytes: usize,
    ) -> Result<http::Response<Bytes>, ClientError> {
        let url = check_address(&request)?;
        match tokio::time::timeout(self.total, self.exchange(request, &url, limit_bytes)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout { url, after: self.total }),
        }
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        content_type: Option<&str>,
        body: Bytes,
        limit: usize,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(content_type) = content_type {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        self.call(request, url, full(body), limit).await
    }

    async fn call(
        &self,
        request: http::request::Builder,
        url: &str,
        body: ResponseBody,
        limit: usize,
    ) -> Result<Answer, ClientError> {
        let request = request.body(body).map_err(|_| ClientError::Address { url: url.to_owned() })?;
        let (head, body) = self.request(request, limit).await?.into_parts();
        let content_type = head.headers.get(http::header::CONTENT_TYPE).map(|v| v.as_bytes());
        let content_type = String::from_utf8_lossy(content_type.unwrap_or_default()).into_owned();
        Ok(Answer { status: head.status.as_u16(), content_type, body })
    }

    async fn exchange(
        &self,
        request: Request<ResponseBody>,
        url: &str,
        limit: usize,
    ) -> Result<http::Response<Bytes>, ClientError> {
        let response = self.pool.request(request).await.map_err(|e| connection(url, &e))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|e| {
            if e.is::<LengthLimitError>() {
                ClientError::TooLarge { url: url.to_owned(), limit }
            } else {
                connection(url, &*e)
            }
        })?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

/// The URL of a request that can be sent.
fn check_address(request: &Request<ResponseBody>) -> Result<String, ClientError> {
    let url = request.uri().to_string();
    if !matches!(request.uri().scheme_str(), Some("http" | "https")) || request.uri().host().is_none() {
        return Err(ClientError::Address { url });
    }
    Ok(url)
}

/// The whole chain of causes, since the outermost says little.
fn connection(url: &str, error: &(dyn std::error::Error + 'static)) -> ClientError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    ClientError::Connection { url: url.to_owned(), reason }
}

fn builder() -> (ConfigBuilder<ClientConfig, WantsVerifier>, Arc<CryptoProvider>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the ring provider has suites for TLS 1.2 and 1.3");
    (builder, provider)
}

fn pinned_config(pin: Vec<u8>) -> ClientConfig {
    let (builder, provider) = builder();
    let verifier = Arc::new(HoldsKey { pin: Some(pin), provider });
    builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

fn tls_config(roots: &[Vec<u8>]) -> ClientConfig {
    let (builder, provider) = builder();
    if roots.is_empty() {
        let verifier = Arc::new(HoldsKey { pin: None, provider });
        return builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    }
    let mut store = RootCertStore::empty();
    let (_, unusable) =
        store.add_parsable_certificates(roots.iter().map(|der| CertificateDer::from(der.clone())));
    if unusable > 0 {
        tracing::warn!(unusable, "trusted certificates for https that cannot be read were left out");
    }
    builder.with_root_certificates(store).with_no_client_auth()
}

/// Takes the pinned certificate, or any where there is no pin (for content that carries its own signature); the other end must hold
/// its key.
#[derive(Debug)]
struct HoldsKey {
    pin: Option<Vec<u8>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for HoldsKey {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.pin {
            Some(pin) if pin.as_slice() != leaf.as_ref() => Err(CertificateError::UnknownIssuer.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Response, StatusCode};
    use tokio::net::TcpListener;

    use super::*;
    use crate::http::{Limits, Peer, RequestBody, ResponseBody, Transport, full, read_all, serve};
    use crate::shutdown::Shutdown;

    async fn answer(request: Request<RequestBody>, _: Arc<Peer>) -> Response<ResponseBody> {
        let path = request.uri().path().to_owned();
        let kind = request.headers().get("content-type").cloned();
        let body = read_all(request.into_body(), 1 << 20).await.unwrap();
        if path == "/late" {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        let mut response =
            Response::new(full(if path == "/big" { Bytes::from(vec![0; 5000]) } else { body }));
        if path == "/moved" {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", "/".parse().unwrap());
        }
        if let Some(kind) = kind {
            response.headers_mut().insert("content-type", kind);
        }
        response
    }

    async fn start() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Transport::Plain, Limits::default(), Shutdown::default(), answer));
        url
    }

    #[tokio::test]
    async fn gets_and_posts_within_bounds() {
        let url = start().await;
        let client = Client::new(Duration::from_secs(1), Duration::from_millis(500), &[]);
        let posted =
            client.post(&url, "application/timestamp-query", Bytes::from_static(b"q"), 10).await.unwrap();
        assert_eq!(
            (posted.status, posted.content_type.as_str(), &posted.body[..]),
            (200, "application/timestamp-query", b"q".as_slice())
        );
        assert_eq!(
            client.get(&format!("{url}/moved"), 10).await.unwrap().status,
            302,
            "redirects are answers"
        );
        let big = client.get(&format!("{url}/big"), 4999).await;
        assert!(matches!(big, Err(ClientError::TooLarge { limit: 4999, .. })), "{big:?}");
        assert_eq!(client.get(&format!("{url}/big"), 5000).await.unwrap().body.len(), 5000);
        for (path, limit, found) in [("big", 5000, Ok(200)), ("big", 4999, Err(())), ("moved", 10, Ok(302))] {
            let (pieces, mut received) = tokio::sync::mpsc::channel(100);
            let outcome = client.get_by_pieces(&format!("{url}/{path}"), limit, pieces).await;
            assert_eq!(outcome.as_ref().map_err(drop), found.as_ref().map_err(drop), "{path}: {outcome:?}");
            let mut bytes = 0;
            while let Some(piece) = received.recv().await {
                bytes += piece.len();
            }
            assert!(found != Ok(200) || bytes == 5000, "{path}: {bytes}");
        }
        let late = client.get(&format!("{url}/late"), 10).await;
        assert!(matches!(late, Err(ClientError::Timeout { .. })), "{late:?}");
    }

    /// A TLS listener with a certificate of its own for `localhost`, and that certificate.
    async fn start_tls() -> (String, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let transport = Transport::tls(Arc::new(config));
        tokio::spawn(serve(listener, transport, Limits::default(), Shutdown::default(), answer));
        (url, made.cert.der().to_vec())
    }

    #[tokio::test]
    async fn https_is_verified_when_there_are_roots() {
        let (url, cert) = start_tls().await;
        let (_, other) = start_tls().await;
        let wait = Duration::from_secs(5);
        for (name, roots, taken) in
            [("no roots", vec![], true), ("its own", vec![cert], true), ("another", vec![other], false)]
        {
            let answer = Client::new(wait, wait, &roots).get(&url, 10).await;
            assert_eq!(answer.is_ok(), taken, "{name}: {answer:?}");
            assert!(taken || answer.unwrap_err().to_string().contains("certificate"), "{name}");
        }
    }

    #[tokio::test]
    async fn a_pinned_server_is_the_only_one() {
        let (url, cert) = start_tls().await;
        let (_, other) = start_tls().await;
        let wait = Duration::from_secs(5);
        // The name plays no part.
        let url = url.replace("localhost", "127.0.0.1");
        assert!(Client::pinned(wait, wait, cert).get(&url, 10).await.is_ok());
        let refused = Client::pinned(wait, wait, other).get(&url, 10).await.unwrap_err();
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }

    #[tokio::test]
    async fn failures_say_why() {
        let client = Client::new(Duration::from_millis(300), Duration::from_secs(1), &[]);
        let refused = client.get("http://127.0.0.1:1/", 10).await.unwrap_err().to_string();
        assert!(refused.contains("refused"), "{refused}");
        for url in ["ftp://x/", "/path", "not a url", ""] {
            assert!(matches!(client.get(url, 10).await, Err(ClientError::Address { .. })), "{url}");
        }
    }
}
