//! The OCSP responder over HTTP, POST and GET [RFC 6960 appendix A], with the answers that tests ask for.
//!
//! It answers about every certificate of its CA at the time of asking; answers hold for [`NEXT_UPDATE`]. [`Behaviour`] makes it fail
//! the ways responders fail.
//!
//! At the same address the CA takes certificate signing requests, as a test CA does: POST to `/certify/signing` or
//! `/certify/authentication` answers with the certificate (PEM), whoever asks. That is for loopback and its demo.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use host::clock::Clock;
use hyper::{Method, Request, Response, StatusCode};
use pki::csr::Usage;
use pki::ocsp::respond::{Answer, NamedBy, Responder, read_request, refuse, respond as sign};
use proto::time::UnixTime;

use crate::authority::Authority;
use crate::http::{RequestBody, ResponseBody, read_all, respond};
use crate::trust_service::{self, TrustService};

/// How long an answer says that it holds.
pub const NEXT_UPDATE: Duration = Duration::from_secs(12 * 3600);
/// Longest request.
const MAX_REQUEST_BYTES: usize = 4096;
/// Longest certificate signing request.
const MAX_CSR_BYTES: usize = 16 * 1024;
const ANSWER_TYPE: &str = "application/ocsp-response";
/// OCSPResponseStatus malformedRequest and tryLater.
const MALFORMED_REQUEST: u8 = 1;
const TRY_LATER: u8 = 3;

/// What the responder does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers.
    #[default]
    Answers,
    /// Takes the request and says nothing more.
    Silent,
    /// Says "try later", properly.
    TriesLater,
    /// Answers with status 503.
    Unavailable,
    /// Answers as of so long ago.
    Stale(Duration),
}

/// A running responder; dropping it stops it.
pub type OcspResponder = TrustService<Behaviour>;

type Shared = trust_service::Shared<Behaviour>;

impl OcspResponder {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(
        address: SocketAddr,
        authority: Arc<Authority>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        Self::listen(address, authority, clock, answer).await
    }
    /// Its address as certificates and configurations carry it.
    pub fn url(&self) -> String {
        self.url_of("/ocsp")
    }
    /// Where its CA takes certificate signing requests; `signing` or `authentication` follows.
    pub fn certify_url(&self) -> String {
        self.url_of("/certify")
    }
}

async fn answer(shared: Arc<Shared>, request: Request<RequestBody>) -> Response<ResponseBody> {
    match request.uri().path() {
        "/certify/signing" => return certify(&shared, Usage::Signing, request).await,
        "/certify/authentication" => return certify(&shared, Usage::Authentication, request).await,
        _ => {}
    }
    let (_, behaviour) = shared.take();
    let age = match behaviour {
        Behaviour::Answers => Duration::ZERO,
        Behaviour::Stale(age) => age,
        Behaviour::Silent => std::future::pending().await,
        Behaviour::TriesLater => return respond(StatusCode::OK, ANSWER_TYPE, refuse(TRY_LATER)),
        Behaviour::Unavailable => {
            return respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "the responder is away\n");
        }
    };
    let der = match *request.method() {
        Method::POST => read_all(request.into_body(), MAX_REQUEST_BYTES).await.ok().map(Vec::from),
        Method::GET => from_path(request.uri().path()),
        _ => return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "POST or GET\n"),
    };
    let now = shared.clock.now();
    let answer = der
        .and_then(|der| shared.say(&der, now.minus(age), now))
        .unwrap_or_else(|| refuse(MALFORMED_REQUEST));
    respond(StatusCode::OK, ANSWER_TYPE, answer)
}

/// A certificate for whoever asks.
async fn certify(
    shared: &Arc<Shared>,
    usage: Usage,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    let refuse = |why: String| respond(StatusCode::BAD_REQUEST, "text/plain", format!("{why}\n"));
    if request.method() != Method::POST {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "POST\n");
    }
    let Ok(csr) = read_all(request.into_body(), MAX_CSR_BYTES).await else {
        return refuse(format!("the request is larger than {MAX_CSR_BYTES} bytes"));
    };
    let shared = Arc::clone(shared);
    let issued = move || shared.authority.certify(&csr, usage, shared.clock.now());
    match tokio::task::spawn_blocking(issued).await {
        Ok(Ok(cert)) => respond(StatusCode::OK, "application/x-pem-file", cert.to_pem()),
        Ok(Err(error)) => refuse(error.to_string()),
        Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n")),
    }
}

/// The base64 of a request, percent-encoded, behind the last part of the responder's own path.
fn from_path(path: &str) -> Option<Vec<u8>> {
    let encoded = path.strip_prefix("/ocsp/").or_else(|| path.strip_prefix('/'))?;
    let text = percent_encoding::percent_decode_str(encoded).decode_utf8().ok()?;
    STANDARD.decode(text.as_bytes()).ok().filter(|der| der.len() <= MAX_REQUEST_BYTES)
}

impl Shared {
    /// The signed answer as of `at`; `None` for what is no request, or asks about certificates of several CAs at once.
    fn say(&self, der: &[u8], at: UnixTime, now: UnixTime) -> Option<Vec<u8>> {
        let asked = read_request(der)?;
        let statuses: Vec<_> = asked.iter().map(|cert_id| self.authority.status(cert_id)).collect();
        let (_, cert, key) = *statuses.first()?;
        if statuses.iter().any(|(_, other, _)| *other != cert) {
            return None;
        }
        let answers: Vec<_> = asked
            .into_iter()
            .zip(statuses)
            .map(|(cert_id, (status, ..))| Answer {
                cert_id,
                status,
                this_update: at,
                next_update: Some(at.plus(NEXT_UPDATE)),
            })
            .collect();
        let responder = Responder { cert, key, named_by: NamedBy::Key, algorithm: key.default_algorithm() };
        sign(&answers, responder, now).ok()
    }
}

#[cfg(test)]
mod tests {
    use host::http::Client;
    use pki::cert::Certificate;
    use pki::key::{KeyKind, PrivateKey};
    use pki::ocsp::{self, OcspError, Responders, Rules, Status};
    use proto::id::{MemberId, ServerId};

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);
    const RULES: Rules = Rules {
        freshness: Duration::from_secs(3600),
        verify_next_update: true,
        future_tolerance: Some(Duration::from_secs(300)),
    };

    struct Scene {
        _dir: tempfile::TempDir,
        ca: Arc<Authority>,
        responder: OcspResponder,
        cert: Certificate,
        http: Client,
    }

    impl Scene {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let ca = Arc::new(Authority::open(dir.path(), KeyKind::P256, "", NOW).unwrap());
            let member = MemberId::new("DEMO", "MUN", "1");
            let server = ServerId { owner: member.clone(), code: "ss".into() };
            let spki = PrivateKey::generate(KeyKind::P256).unwrap().spki();
            let cert = ca.signing(&member, &server, &spki, NOW).unwrap();
            let address = "127.0.0.1:0".parse().unwrap();
            let responder = OcspResponder::start(address, Arc::clone(&ca), Clock::fixed(NOW)).await.unwrap();
            let http = Client::new(Duration::from_secs(5), Duration::from_secs(5), &[]);
            Self { _dir: dir, ca, responder, cert, http }
        }
        async fn ask(&self, cert: &Certificate, issuer: &Certificate) -> Result<UnixTime, OcspError> {
            let request = ocsp::request(cert, issuer).into();
            let url = self.responder.url();
            let answer = self.http.post(&url, "application/ocsp-request", request, 65536).await.unwrap();
            self.judge(&answer.body, cert, issuer)
        }
        fn judge(&self, der: &[u8], cert: &Certificate, issuer: &Certificate) -> Result<UnixTime, OcspError> {
            let known = [self.ca.root().clone(), self.ca.intermediate().clone()];
            let responders = Responders { configured: &[], known: &known };
            let response = ocsp::Response::parse(der)?;
            response.verify(cert, issuer, responders, &RULES, NOW).map(|good| good.this_update)
        }
    }

    #[tokio::test]
    async fn answers_for_both_cas_over_post_and_get() {
        let scene = Scene::new().await;
        let (root, middle) = (scene.ca.root().clone(), scene.ca.intermediate().clone());
        assert_eq!(scene.ask(&scene.cert, &middle).await, Ok(NOW));
        assert_eq!(scene.ask(&middle, &root).await, Ok(NOW));
        let encoded = STANDARD.encode(ocsp::request(&scene.cert, &middle));
        let encoded = percent_encoding::utf8_percent_encode(&encoded, percent_encoding::NON_ALPHANUMERIC);
        let answer = scene.http.get(&format!("{}/{encoded}", scene.responder.url()), 65536).await.unwrap();
        assert_eq!(scene.judge(&answer.body, &scene.cert, &middle), Ok(NOW));
        assert_eq!(scene.responder.requests(), 3);
    }

    #[tokio::test]
    async fn says_revoked_and_unknown() {
        let scene = Scene::new().await;
        let middle = scene.ca.intermediate().clone();
        scene.ca.revoke(&scene.cert, NOW).unwrap();
        assert_eq!(scene.ask(&scene.cert, &middle).await, Err(OcspError::NotGood(Status::Revoked)));
        let stranger = scene.ca.responder().clone();
        assert_eq!(scene.ask(&stranger, &middle).await, Err(OcspError::NotGood(Status::Unknown)));
    }

    #[tokio::test]
    async fn fails_as_it_is_told() {
        let scene = Scene::new().await;
        let middle = scene.ca.intermediate().clone();
        scene.responder.behave(Behaviour::Stale(Duration::from_secs(3601)));
        assert_eq!(scene.ask(&scene.cert, &middle).await, Err(OcspError::TooOld));
        scene.responder.behave(Behaviour::TriesLater);
        assert_eq!(scene.ask(&scene.cert, &middle).await, Err(OcspError::Malformed));
        scene.responder.behave(Behaviour::Silent);
        let http = Client::new(Duration::from_secs(1), Duration::from_millis(100), &[]);
        let silent = http.post(&scene.responder.url(), "application/ocsp-request", vec![].into(), 10).await;
        assert!(silent.is_err());
        scene.responder.behave(Behaviour::Unavailable);
        let answer = scene.http.get(&scene.responder.url(), 100).await.unwrap();
        assert_eq!(answer.status, 503);
        scene.responder.behave(Behaviour::Answers);
        let junk = scene.http.post(&scene.responder.url(), "", b"junk".to_vec().into(), 100).await.unwrap();
        assert_eq!(junk.body, refuse(MALFORMED_REQUEST));
    }
}
