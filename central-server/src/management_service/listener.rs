//! HTTP and TLS of ports 4001 and 4002: POST alone, bounded, few requests a minute from one address, and on 4002 a client certificate.
//!
//! The management service takes one kind of client: the security server that offers the management services, by the certificates in a file.
//! Without that file it is bound to this machine alone (settings see to it), and asks for none.

use std::collections::HashSet;
use std::sync::Arc;

use admin_api::auth::Rates;
use admin_api::tls::Pair;
use anyhow::{Context as _, ensure};
use host::clock::Clock;
use host::http::{Peer, RequestBody, ResponseBody, full, read_all};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use pki::cert::Certificate;
use proto::management::MAX_BYTES;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use super::{ManagementService, Service};

/// Below which both services answer.
const PATH: &str = "/managementservice";

/// The handler of one port.
#[derive(Clone)]
pub struct Listener {
    service: Arc<ManagementService>,
    kind: Service,
    rates: Arc<Rates>,
    clock: Clock,
}

impl Listener {
    /// For one of the two services; `per_minute` bounds requests from one address.
    pub fn new(
        service: Arc<ManagementService>,
        kind: Service,
        per_minute: Option<u32>,
        clock: Clock,
    ) -> Self {
        Self { service, kind, rates: Arc::new(Rates::new(None, per_minute)), clock }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<RequestBody>, peer: Arc<Peer>) -> Response<ResponseBody> {
        let path = request.uri().path();
        if path != PATH && !path.starts_with("/managementservice/") {
            return plain(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::POST {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        if !self.rates.take(peer.address.ip(), self.clock.now()) {
            return plain(StatusCode::TOO_MANY_REQUESTS);
        }
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let Ok(body) = read_all(request.into_body(), MAX_BYTES).await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let (service, kind) = (Arc::clone(&self.service), self.kind);
        let answered = tokio::task::spawn_blocking(move || service.answer(kind, &content_type, &body)).await;
        let Ok(answered) = answered else { return plain(StatusCode::INTERNAL_SERVER_ERROR) };
        let mut response = Response::new(full(answered.body));
        *response.status_mut() =
            StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=utf-8"));
        response
    }
}

fn plain(status: StatusCode) -> Response<ResponseBody> {
    let body = serde_json::json!({ "status": status.as_u16() }).to_string();
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// TLS with `pair`, for clients that show one of `clients`; for any client when there are none.
///
/// # Errors
/// Key and certificate do not fit, or a file with clients names none.
pub fn tls(pair: &Pair, clients: Option<&[u8]>) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let certs =
                Certificate::parse_all(pem).context("the file of client certificates cannot be read")?;
            ensure!(!certs.is_empty(), "the file of client certificates names none");
            let known = certs.iter().map(|cert| cert.der().to_vec()).collect();
            builder.with_client_cert_verifier(Arc::new(OneOf { known, provider }))
        }
    };
    Ok(Arc::new(builder.with_single_cert(pair.rustls_chain(), pair.rustls_key())?))
}

/// Takes a client certificate that is known byte for byte; possession of its key is proven in the handshake.
#[derive(Debug)]
struct OneOf {
    known: HashSet<Vec<u8>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for OneOf {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.known.contains(end_entity.as_ref()) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
