//! Connections to other security servers over real sockets: verified, kept, checked again, replaced.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pki::cert::Certificate;
use pki::ocsp::Status;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::testing::{NOW, Shared, StillSigner, TestServer, ca, client, globalconf, ocsp, shared};
use crate::tls::Acceptor;

const PROVIDER: &str = "EE/GOV/2/register";
const CONSUMER: &str = "EE/GOV/1/school";
const LIMIT: Duration = Duration::from_secs(30);

/// A provider's server that counts, and a consumer's [`Peers`] towards it.
struct Bench {
    conf: Shared,
    peers: Peers,
    provider_cert: Certificate,
    consumer_cert: Certificate,
    provider_keys: Arc<StillSigner>,
    consumer_keys: Arc<StillSigner>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    /// An answer has come whole.
    answered: Arc<Notify>,
    ocsp_questions: Arc<AtomicUsize>,
    address: Ipv4Addr,
}

/// What the provider does with a connection after its handshake.
#[derive(Clone, Copy, PartialEq)]
enum Provider {
    Answers,
    /// One answer per connection, not announced.
    ClosesQuietly,
    /// Reads and closes without an answer.
    BreaksOff,
}

impl Bench {
    /// Every test has a loopback address of its own, since ports are the same for all servers of a configuration.
    async fn new(provider: Provider) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(2);
        let last = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
        let address = Ipv4Addr::new(127, 71, u8::try_from(std::process::id() % 250).unwrap(), last);
        let (provider_auth, consumer_auth) = (ca().auth("provider"), ca().auth("consumer"));
        let (provider_cert, consumer_cert) = (provider_auth.chain[0].clone(), consumer_auth.chain[0].clone());
        let host = address.to_string();
        let conf = shared(conf_of(&host, Some(&provider_cert), Some(&consumer_cert)));
        let (provider_keys, consumer_keys) =
            (StillSigner::with_auth(provider_auth), StillSigner::with_auth(consumer_auth));

        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let ocsp_listener = TcpListener::bind((address, 0)).await.unwrap();
        let mut settings = crate::config::File::default().resolve().unwrap();
        settings.server_port = listener.local_addr().unwrap().port();
        settings.ocsp_port = ocsp_listener.local_addr().unwrap().port();
        settings.limits.connect = LIMIT;
        let tls = |keys: &Arc<StillSigner>| Arc::new(PeerTls::new(conf.clone(), keys.clone()));
        let bench = Self {
            peers: Peers::new(&settings, Clock::fixed(NOW), conf.clone(), tls(&consumer_keys)),
            connections: Arc::default(),
            requests: Arc::default(),
            closed: Arc::default(),
            answered: Arc::default(),
            ocsp_questions: Arc::default(),
            address,
            provider_cert,
            consumer_cert,
            provider_keys: provider_keys.clone(),
            consumer_keys,
            conf: conf.clone(),
        };
        bench.vouch(Status::Good);
        let acceptor = Acceptor::peer(tls(&provider_keys), LIMIT);
        let counts = [&bench.connections, &bench.requests, &bench.closed].map(Arc::clone);
        tokio::spawn(serve(listener, acceptor, provider, counts, bench.answered.clone()));
        tokio::spawn(count_and_serve(ocsp_listener, provider_keys, bench.ocsp_questions.clone()));
        bench
    }

    fn vouch(&self, status: Status) {
        let der = ocsp(&self.provider_cert, status, NOW.minus(Duration::from_secs(60)));
        self.provider_keys.set_ocsp([(hex::encode(self.provider_cert.sha1()), der)].into());
    }

    /// Replaces the configuration.
    fn configure(&self, provider: Option<&Certificate>, consumer: Option<&Certificate>) {
        self.conf.store(Arc::new(Some(Arc::new(conf_of(&self.address.to_string(), provider, consumer)))));
    }

    async fn connect(&self) -> Result<Connection, PeerError> {
        let conf = self.conf.load_full();
        self.peers.connect(conf.as_ref().as_ref().unwrap(), &client(PROVIDER), None, NOW).await
    }

    async fn exchange(&self, body: RequestBody) -> Result<Bytes, PeerError> {
        let answer = self.connect().await?.send(Lines::default(), body).await?;
        let answer = answer.body.collect().await.map_err(PeerError::network)?.to_bytes();
        self.answered.notify_waiters();
        Ok(answer)
    }

    /// The provider has closed so many connections.
    async fn until_closed(&self, count: usize) {
        let closed = async {
            while self.closed.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, closed).await.expect("the provider closes");
    }

    fn counts(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

fn conf_of(
    provider_host: &str,
    provider: Option<&Certificate>,
    consumer: Option<&Certificate>,
) -> GlobalConf {
    let provider = TestServer {
        id: "EE/GOV/2/ss2",
        address: provider_host,
        auth: provider,
        clients: &[PROVIDER],
        ..Default::default()
    };
    let consumer = TestServer {
        id: "EE/GOV/1/ss1",
        address: "127.0.0.1",
        auth: consumer,
        clients: &[CONSUMER],
        ..Default::default()
    };
    globalconf(&[provider, consumer], &[])
}

async fn serve(
    listener: TcpListener,
    acceptor: Acceptor,
    how: Provider,
    [connections, requests, closed]: [Arc<AtomicUsize>; 3],
    answered: Arc<Notify>,
) {
    loop {
        let (socket, from) = listener.accept().await.unwrap();
        let (acceptor, connections, requests) = (acceptor.clone(), connections.clone(), requests.clone());
        let answered = answered.clone();
        let one = async move {
            let Ok(mut accepted) = acceptor.accept(socket, from).await else { return };
            connections.fetch_add(1, Ordering::SeqCst);
            if how == Provider::BreaksOff {
                let _ = accepted.stream.read(&mut [0; 1024]).await;
                requests.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let served = requests.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                served.fetch_add(1, Ordering::SeqCst);
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(http::Response::new(Full::new(body)))
                }
            });
            let mut connection = std::pin::pin!(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(accepted.stream), service)
            );
            if how == Provider::ClosesQuietly {
                // Not before the consumer has its answer.
                tokio::select! { _ = connection.as_mut() => {}, () = answered.notified() => {} }
            } else {
                let _ = connection.await;
            }
        };
        let closed = closed.clone();
        tokio::spawn(async move {
            one.await;
            closed.fetch_add(1, Ordering::SeqCst);
        });
    }
}

async fn count_and_serve(listener: TcpListener, keys: Arc<StillSigner>, questions: Arc<AtomicUsize>) {
    // In front of the real server, so that questions are counted.
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: SocketAddr = inner.local_addr().unwrap();
    let bounds = crate::config::File::default().resolve().unwrap().limits.ocsp_port;
    tokio::spawn(crate::ocsp_port::serve(inner, keys, bounds, host::shutdown::Shutdown::default()));
    loop {
        let (mut outer, _) = listener.accept().await.unwrap();
        questions.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let mut inner = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
        });
    }
}

fn body(text: &'static str) -> RequestBody {
    futures_util::stream::iter([Ok(Bytes::from_static(text.as_bytes()))]).boxed()
}

#[tokio::test]
async fn exchanges_share_a_verified_connection() {
    let bench = Bench::new(Provider::Answers).await;
    for text in ["one", "two", "three"] {
        assert_eq!(bench.exchange(body(text)).await.unwrap(), text);
    }
    assert_eq!(bench.counts(), (1, 3));
    assert_eq!(bench.ocsp_questions.load(Ordering::SeqCst), 1);
    let connection = bench.connect().await.unwrap();
    assert!(connection.causeway());
    assert_eq!(connection.identity().chain[0].der(), bench.consumer_cert.der());
}

#[tokio::test]
async fn another_configuration_has_the_peer_checked_again() {
    let bench = Bench::new(Provider::Answers).await;
    bench.exchange(body("x")).await.unwrap();
    let other = ca().auth("other").chain[0].clone();
    bench.configure(Some(&other), Some(&bench.consumer_cert));
    let error = bench.exchange(body("x")).await.unwrap_err();
    assert_eq!(error.path[0], FaultCode::SslAuthenticationFailed, "{error:?}");
    assert_eq!(bench.counts().1, 1, "nothing was sent");
    bench.configure(Some(&bench.provider_cert), Some(&bench.consumer_cert));
    bench.exchange(body("x")).await.unwrap();
}

#[tokio::test]
async fn a_peer_without_good_ocsp_answers_is_sent_nothing() {
    let bench = Bench::new(Provider::Answers).await;
    bench.provider_keys.set_ocsp(Default::default());
    let error = bench.exchange(body("x")).await.unwrap_err();
    assert_eq!(error.path, [FaultCode::SslAuthenticationFailed, FaultCode::InternalError]);
    bench.vouch(Status::Revoked);
    let error = bench.exchange(body("x")).await.unwrap_err();
    let revoked = [FaultCode::SslAuthenticationFailed, FaultCode::InvalidCertPath, FaultCode::CertValidation];
    assert_eq!(error.path, revoked);
    assert_eq!(bench.counts().1, 0);
    bench.vouch(Status::Good);
    bench.exchange(body("x")).await.expect("a bad answer is asked for again");
}

#[tokio::test]
async fn a_server_that_is_not_registered_is_refused_in_the_handshake() {
    let bench = Bench::new(Provider::Answers).await;
    bench.configure(Some(&bench.provider_cert), None);
    let error = bench.exchange(body("x")).await.unwrap_err();
    assert_eq!(error.path, [FaultCode::SslAuthenticationFailed], "{error:?}");
    assert_eq!(bench.counts(), (0, 0));
}

#[tokio::test]
async fn a_resumed_session_is_held_to_the_present_configuration() {
    let bench = Bench::new(Provider::ClosesQuietly).await;
    bench.exchange(body("x")).await.unwrap();
    bench.until_closed(1).await;
    bench.configure(Some(&bench.provider_cert), None);
    assert!(bench.exchange(body("x")).await.is_err());
    assert_eq!(bench.counts().1, 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_waited_is_replaced() {
    let bench = Bench::new(Provider::ClosesQuietly).await;
    for n in 1..4 {
        bench.exchange(body("x")).await.unwrap();
        assert_eq!(bench.counts(), (n, n));
        bench.until_closed(n).await;
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_again() {
    let bench = Bench::new(Provider::BreaksOff).await;
    let error = bench.exchange(body("x")).await.unwrap_err();
    assert_eq!(error.path, [FaultCode::IoError]);
    assert_eq!(bench.counts(), (1, 1));
}

#[tokio::test]
async fn a_connection_with_something_left_on_it_is_not_used_again() {
    let bench = Bench::new(Provider::Answers).await;
    let answer = bench.connect().await.unwrap().send(Lines::default(), body("unread")).await.unwrap();
    drop(answer);
    bench.exchange(body("x")).await.unwrap();
    assert_eq!(bench.counts().0, 2);
}

#[tokio::test]
async fn another_own_key_makes_connections_of_its_own() {
    let bench = Bench::new(Provider::Answers).await;
    bench.exchange(body("x")).await.unwrap();
    let next = ca().auth("consumer 2");
    bench.configure(Some(&bench.provider_cert), Some(&next.chain[0]));
    bench.consumer_keys.set_auth(Some(next));
    bench.exchange(body("x")).await.unwrap();
    assert_eq!(bench.counts(), (2, 2));
    bench.consumer_keys.set_auth(None);
    assert_eq!(bench.exchange(body("x")).await.unwrap_err().path, [FaultCode::SslAuthenticationFailed]);
}

#[tokio::test]
async fn a_stalled_request_body_ends_when_the_answer_is_dropped() {
    let bench = Bench::new(Provider::Answers).await;
    let sent = Arc::new(Mutex::new(()));
    let held = sent.clone();
    let stream = futures_util::stream::unfold(held, |held| async move {
        std::future::pending::<()>().await;
        Some((Ok(Bytes::new()), held))
    });
    let endless = stream.boxed();
    let connection = bench.connect().await.unwrap();
    let waiting =
        tokio::time::timeout(Duration::from_millis(200), connection.send(Lines::default(), endless));
    assert!(waiting.await.is_err());
    let let_go = async {
        while Arc::strong_count(&sent) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, let_go).await.expect("the body is let go with its connection");
    bench.exchange(body("x")).await.unwrap();
}

#[tokio::test]
async fn the_choice_of_a_server_follows_the_configuration() {
    use FaultCode::{InternalError, InvalidSecurityServer, MaintenanceMode, UnknownMember};
    let bench = Bench::new(Provider::Answers).await;
    let conf = globalconf(
        &[
            TestServer {
                id: "EE/GOV/2/down",
                address: "127.0.0.9",
                clients: &["EE/GOV/2/x"],
                maintenance: true,
                ..Default::default()
            },
            TestServer { id: "EE/GOV/3/other", address: "127.0.0.8", clients: &[], ..Default::default() },
        ],
        &[],
    );
    let server = |text| ServerId::parse_short(text).unwrap();
    let cases = [
        ("an unknown instance", "FI/GOV/2/x", None, InternalError),
        ("an unknown subsystem", "EE/GOV/2/y", None, UnknownMember),
        ("in maintenance", "EE/GOV/2/x", None, MaintenanceMode),
        ("in maintenance, asked for", "EE/GOV/2/x", Some("EE/GOV/2/down"), MaintenanceMode),
        ("a server of others", "EE/GOV/2/x", Some("EE/GOV/3/other"), InvalidSecurityServer),
        ("no such server", "EE/GOV/2/x", Some("EE/GOV/3/none"), InvalidSecurityServer),
    ];
    for (name, provider, target, expected) in cases {
        let target = target.map(server);
        let error = bench.peers.connect(&conf, &client(provider), target.as_ref(), NOW).await.unwrap_err();
        assert_eq!(error.path, [expected], "{name}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_does_not_hide_one_that_is_up() {
    let bench = Bench::new(Provider::Answers).await;
    let host = bench.address.to_string();
    let up = TestServer {
        id: "EE/GOV/2/ss2",
        address: &host,
        auth: Some(&bench.provider_cert),
        clients: &[PROVIDER],
        ..Default::default()
    };
    let down = TestServer { id: "EE/GOV/2/ss3", address: "127.0.0.7", ..up };
    let consumer = TestServer {
        id: "EE/GOV/1/ss1",
        address: "127.0.0.1",
        auth: Some(&bench.consumer_cert),
        ..Default::default()
    };
    bench.conf.store(Arc::new(Some(Arc::new(globalconf(&[up, down, consumer], &[])))));
    for _ in 0..6 {
        bench.exchange(body("x")).await.unwrap();
    }
    assert_eq!(bench.counts(), (1, 6));
}

/// As peers are used to see it.
#[test]
fn the_head_of_a_request_is_written_so() {
    for (keep, close) in [(true, ""), (false, "connection: close\r\n")] {
        let mut lines = Lines::default();
        lines.push("x-road-message-type", b"REST");
        lines.push("x-original-content-type", b"cannot\r\nbe: sent");
        lines.push("content-type", b"multipart/mixed");
        let expected = format!(
            "POST / HTTP/1.1\r\nx-road-message-type: REST\r\ncontent-type: multipart/mixed\r\nhost: ss2:5500\r\n{close}\
             transfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&lines.end("ss2", 5500, keep)), expected);
    }
}
