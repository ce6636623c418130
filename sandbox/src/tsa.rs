//! The timestamping service over HTTP [RFC 3161 §3.4], with the failures that tests ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use host::clock::Clock;
use hyper::{Method, Request, Response, StatusCode};
use pki::tsp::stamp::{self, MAX_REQUEST_BYTES, Stamper};
use proto::time::UnixTime;

use crate::authority::Authority;
use crate::http::{RequestBody, ResponseBody, read_all, respond};
use crate::trust_service::{Shared, TrustService};

/// Policy under which it stamps, in the arc for documentation [RFC 5612].
pub const POLICY: &str = "1.3.6.1.4.1.32473.1";
const ANSWER_TYPE: &str = "application/timestamp-reply";
/// PKIFailureInfo badDataFormat, timeNotAvailable, systemFailure.
const BAD_DATA_FORMAT: u8 = 5;
const TIME_NOT_AVAILABLE: u8 = 14;
const SYSTEM_FAILURE: u8 = 25;

/// What the service does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Stamps.
    #[default]
    Stamps,
    /// Takes the request and says nothing more.
    Silent,
    /// Refuses, properly: it has no time.
    Refuses,
    /// Answers with status 503.
    Unavailable,
}

/// A running service; dropping it stops it.
pub type Tsa = TrustService<Behaviour>;

impl Tsa {
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
    /// Its address as configurations carry it.
    pub fn url(&self) -> String {
        self.url_of("/tsa")
    }
}

async fn answer(shared: Arc<Shared<Behaviour>>, request: Request<RequestBody>) -> Response<ResponseBody> {
    let (number, behaviour) = shared.take();
    match behaviour {
        Behaviour::Stamps => {}
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Refuses => return respond(StatusCode::OK, ANSWER_TYPE, stamp::refuse(TIME_NOT_AVAILABLE)),
        Behaviour::Unavailable => {
            return respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "the service is away\n");
        }
    }
    if request.method() != Method::POST {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "POST\n");
    }
    let der = read_all(request.into_body(), MAX_REQUEST_BYTES).await.unwrap_or_default();
    let now = shared.clock.now();
    let answer = match stamp::Request::parse(&der) {
        None => stamp::refuse(BAD_DATA_FORMAT),
        Some(request) => {
            let tsa = shared.authority.tsa();
            let stamper = Stamper { cert: &tsa.cert, key: &tsa.key, policy: POLICY };
            stamp::grant(&request, stamper, serial(now, number), now)
                .unwrap_or_else(|_| stamp::refuse(SYSTEM_FAILURE))
        }
    };
    respond(StatusCode::OK, ANSWER_TYPE, answer)
}

/// Different for every token, also after a restart: the time in milliseconds, then the request's number.
fn serial(now: UnixTime, number: u64) -> u64 {
    let millis = u64::try_from(now.0).unwrap_or(0);
    (millis << 20) | (number & 0xf_ffff)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host::http::Client;
    use pki::digest::DigestAlgorithm;
    use pki::key::KeyKind;
    use pki::tsp::{Token, TspError, request};

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);

    #[tokio::test]
    async fn stamps_and_fails_as_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Arc::new(Authority::open(dir.path(), KeyKind::P256, "", NOW).unwrap());
        let address = "127.0.0.1:0".parse().unwrap();
        let tsa = Tsa::start(address, Arc::clone(&ca), Clock::fixed(NOW)).await.unwrap();
        let http = Client::new(Duration::from_secs(5), Duration::from_secs(5), &[]);
        let asked = request(&DigestAlgorithm::Sha512.digest(b"data"));
        let url = tsa.url();
        let ask = |der: Vec<u8>| http.post(&url, "application/timestamp-query", der.into(), 65536);
        let answer = ask(asked.clone()).await.unwrap();
        let token = Token::from_response(&answer.body).unwrap();
        assert_eq!(token.verify(b"data", &[ca.tsa().cert.clone()]).unwrap().0, NOW);
        let again = Token::from_response(&ask(asked.clone()).await.unwrap().body).unwrap();
        assert_ne!(token.der(), again.der(), "serial numbers differ");
        let junk = ask(b"junk".to_vec()).await.unwrap();
        assert!(matches!(Token::from_response(&junk.body), Err(TspError::NotGranted(2))));
        tsa.behave(Behaviour::Refuses);
        let refused = ask(asked.clone()).await.unwrap();
        assert!(matches!(Token::from_response(&refused.body), Err(TspError::NotGranted(2))));
        tsa.behave(Behaviour::Unavailable);
        assert_eq!(ask(asked).await.unwrap().status, 503);
        assert_eq!(tsa.requests(), 5);
    }
}
