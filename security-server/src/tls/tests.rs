//! TLS over real sockets: who is seen, what is pinned, who gets past the handshake on 5500, what does not hold a listener.

use std::sync::Mutex;

use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, SignatureScheme, SupportedProtocolVersion};
use signer::Signer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::testing::{NOW, StillSigner, TestServer, ca, globalconf, shared};

const LIMIT: Duration = Duration::from_secs(10);

fn internal(name: &str) -> InternalTls {
    let (key, cert) = ca().tls(name);
    InternalTls::new(&key, cert).unwrap()
}

/// What `connect` makes of a listener that accepts once with `acceptor`, and what the listener saw.
async fn meet<T, F: Future<Output = T>>(
    acceptor: Acceptor,
    connect: impl FnOnce(TcpStream) -> F,
) -> (Result<Accepted, AcceptError>, T) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accept = async {
        let (socket, from) = listener.accept().await.unwrap();
        acceptor.accept(socket, from).await
    };
    tokio::join!(accept, connect(socket))
}

#[tokio::test]
async fn an_information_system_is_seen_with_the_certificate_it_shows() {
    let (server, client) = (internal("server"), internal("client"));
    let (accepted, connected) =
        meet(Acceptor::internal(server.clone(), LIMIT), |socket| client.connect(socket, "127.0.0.1", None))
            .await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(accepted.chain[0].der(), client.cert().der());
    assert!(accepted.secure && !accepted.causeway);
    connected.write_all(b"ping").await.unwrap();
    let mut read = [0; 4];
    accepted.stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ping");
}

#[tokio::test]
async fn an_information_system_may_show_nothing() {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier::AnyServer(algorithms)))
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("is.example").unwrap();
    let (accepted, connected) = meet(Acceptor::internal(internal("server"), LIMIT), |socket| {
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket)
    })
    .await;
    assert!(connected.is_ok() && accepted.unwrap().chain.is_empty());
}

#[tokio::test]
async fn a_service_must_show_a_pinned_certificate_also_when_resumed() {
    let (service, other, client) = (internal("service"), internal("other"), internal("client"));
    let right = [service.cert().clone()];
    let wrong = [other.cert().clone()];
    for _ in 0..2 {
        let acceptor = || Acceptor::internal(service.clone(), LIMIT);
        let (_accepted, pinned) = meet(acceptor(), |s| client.connect(s, "127.0.0.1", Some(&right))).await;
        // A ticket arrives with the first bytes; reading it makes the next handshake a resumed one.
        let mut pinned = pinned.unwrap();
        drop(_accepted);
        let _ = pinned.read(&mut [0; 1]).await;
        let (_accepted, refused) = meet(acceptor(), |s| client.connect(s, "127.0.0.1", Some(&wrong))).await;
        assert!(matches!(refused, Err(ServiceTlsError::NotPinned)), "{refused:?}");
        let (_accepted, refused) = meet(acceptor(), |s| client.connect(s, "127.0.0.1", Some(&[]))).await;
        assert!(matches!(refused, Err(ServiceTlsError::NotPinned)));
    }
}

#[tokio::test]
async fn plain_http_and_silence_do_not_hold_a_tls_listener() {
    let acceptor = Acceptor::internal(internal("server"), Duration::from_millis(200));
    let (accepted, _socket) = meet(acceptor.clone(), |mut socket| async {
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        socket
    })
    .await;
    assert!(matches!(accepted, Err(AcceptError::Handshake { .. })), "{accepted:?}");
    let (accepted, _socket) = meet(acceptor, |socket| async { socket }).await;
    assert!(matches!(accepted, Err(AcceptError::Timeout { .. })), "{accepted:?}");
}

#[test]
fn the_internal_key_is_made_once_and_a_broken_pair_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = InternalTls::open(folder.path(), NOW).unwrap();
    let second = InternalTls::open(folder.path(), NOW).unwrap();
    assert_eq!(first.cert().der(), second.cert().der());
    std::fs::write(folder.path().join("internal.crt"), ca().tls("x").1.to_pem()).unwrap();
    assert!(InternalTls::open(folder.path(), NOW).unwrap_err().to_string().contains("internal.crt"));
    std::fs::remove_file(folder.path().join("internal.crt")).unwrap();
    assert!(InternalTls::open(folder.path(), NOW).is_err(), "a key without its certificate is not replaced");
}

/// Shows what it is given, and notes which CAs the server would like.
#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>, Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.1.lock().unwrap() = hints.iter().map(|hint| hint.to_vec()).collect();
        self.0.clone()
    }
    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// What another security server meets on port 5500.
#[tokio::test]
async fn only_registered_certificates_get_past_the_handshake_on_5500() {
    let (own, registered, stranger) = (ca().auth("own"), ca().auth("registered"), ca().auth("stranger"));
    let server = TestServer {
        id: "EE/GOV/1/ss1",
        address: "a",
        auth: Some(&registered.chain[0]),
        ..Default::default()
    };
    let tls = Arc::new(PeerTls::new(shared(globalconf(&[server], &[])), StillSigner::with_auth(own)));
    let (v12, v13): (&SupportedProtocolVersion, _) = (&rustls::version::TLS12, &rustls::version::TLS13);
    let cases = [
        ("registered, 1.3", v13, Some(&registered), true, None),
        ("registered, 1.2", v12, Some(&registered), false, None),
        ("a stranger, 1.3", v13, Some(&stranger), true, Some(AlertDescription::CertificateUnknown)),
        ("a stranger, 1.2", v12, Some(&stranger), true, Some(AlertDescription::CertificateUnknown)),
        ("nothing, 1.3", v13, None, true, Some(AlertDescription::CertificateRequired)),
        ("nothing, 1.2", v12, None, true, Some(AlertDescription::CertificateRequired)),
    ];
    for (name, version, shown, causeway, alert) in cases {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let shows = Arc::new(Shows(shown.map(|auth| auth.certified.clone()), Mutex::default()));
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier::AnyServer(algorithms)))
            .with_client_cert_resolver(shows.clone());
        if causeway {
            config.alpn_protocols = vec![ALPN_CAUSEWAY.to_vec()];
        }
        let to = rustls::pki_types::ServerName::try_from("any.name").unwrap();
        let (accepted, said) = meet(Acceptor::peer(tls.clone(), LIMIT), |socket| async {
            let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(to, socket).await?;
            // Where the handshake is done for the client before the server has judged its certificate.
            if alert.is_some() { stream.read(&mut [0; 1]).await } else { Ok(0) }
        })
        .await;
        match alert {
            None => {
                let accepted = accepted.unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!((accepted.secure, accepted.causeway), (true, causeway), "{name}");
                assert_eq!(accepted.chain, registered.chain, "{name}");
            }
            Some(alert) => {
                assert!(accepted.is_err(), "{name}");
                let said = said.unwrap_err();
                let said = said.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
                assert_eq!(said, Some(&rustls::Error::AlertReceived(alert)), "{name}");
            }
        }
        assert_eq!(*shows.1.lock().unwrap(), [ca().cert.subject_der()], "{name}");
    }
}

#[tokio::test]
async fn without_an_authentication_key_nobody_is_accepted_on_5500() {
    let tls = Arc::new(PeerTls::new(shared(globalconf(&[], &[])), Arc::new(StillSigner::default())));
    assert!(tls.connector().is_none());
    let (accepted, _socket) = meet(Acceptor::peer(tls, LIMIT), |socket| async { socket }).await;
    assert!(matches!(accepted, Err(AcceptError::NoKey)));
}

/// What stands between two servers of one configuration.
fn two(own: &str, other: &str) -> (Arc<StillSigner>, Arc<PeerTls>, Arc<StillSigner>, Arc<PeerTls>) {
    let (own, other) = (ca().auth(own), ca().auth(other));
    let certs = [own.chain[0].clone(), other.chain[0].clone()];
    let ids = ["EE/GOV/1/ss1", "EE/GOV/2/ss2"];
    let servers: Vec<TestServer<'_>> = std::iter::zip(ids, &certs)
        .map(|(id, cert)| TestServer { id, address: "a", auth: Some(cert), ..Default::default() })
        .collect();
    let conf = shared(globalconf(&servers, &[]));
    let (own, other) = (StillSigner::with_auth(own), StillSigner::with_auth(other));
    let tls = |signer: &Arc<StillSigner>| Arc::new(PeerTls::new(conf.clone(), signer.clone()));
    (own.clone(), tls(&own), other.clone(), tls(&other))
}

#[tokio::test]
async fn a_key_that_is_gone_is_not_used_by_either_stack() {
    let (signer, tls, _, client) = two("own", "other");
    let connector = client.connector().unwrap();
    let meet_by = async |stack| {
        let (accepted, connected) = meet(Acceptor::peer(tls.clone(), LIMIT), |socket| {
            connector.connect(stack, socket, "127.0.0.1", LIMIT)
        })
        .await;
        (accepted, connected.map(|stream| stream.chain))
    };
    for stack in [Stack::Modern, Stack::Cbc] {
        let first = signer.own_keys().auth.clone().unwrap();
        assert_eq!(meet_by(stack).await.1.unwrap(), first.chain, "{stack:?}");
        let second = ca().auth("own again");
        let chain = second.chain.clone();
        signer.set_auth(Some(second));
        assert_eq!(meet_by(stack).await.1.unwrap(), chain, "{stack:?}");
    }
    signer.set_auth(None);
    for stack in [Stack::Modern, Stack::Cbc] {
        let (accepted, connected) = meet_by(stack).await;
        assert!(matches!(accepted, Err(AcceptError::NoKey)), "{stack:?}: {accepted:?}");
        assert!(connected.is_err());
    }
    assert!(tls.cbc_server().is_none() && tls.connector().is_none());
}

/// A hello that a server answers with its part of the handshake.
fn hello() -> Vec<u8> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier::AnyServer(algorithms)))
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("peer.example").unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// Slots are for those who have said hello, and no address has them all.
#[tokio::test]
async fn silence_and_half_handshakes_do_not_keep_others_out() {
    let (_, tls, _, client) = two("own", "other");
    let acceptor = Acceptor::peer(tls, LIMIT).handshakes(8);
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (done, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, from)) = listener.accept().await {
            let (acceptor, done) = (acceptor.clone(), done.clone());
            tokio::spawn(async move { done.send((from, acceptor.accept(socket, from).await)) });
        }
    });
    let from = async |address: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()
    };
    let mut rude = Vec::new();
    for hello in [&b""[..], &[22, 3, 1, 0, 200, 1]].repeat(20) {
        let mut socket = from([127, 0, 0, 1]).await;
        socket.write_all(hello).await.unwrap();
        rude.push(socket);
    }
    // These two hold a slot each, all that their address has.
    let hello = hello();
    for _ in 0..3 {
        let mut socket = from([127, 0, 0, 1]).await;
        socket.write_all(&hello).await.unwrap();
        rude.push(socket);
    }
    let connector = client.connector().unwrap();
    for stack in [Stack::Modern, Stack::Cbc] {
        let socket = from([127, 0, 0, 2]).await;
        let connected = connector.connect(stack, socket, "127.0.0.1", LIMIT).await;
        assert!(connected.is_ok(), "{stack:?}: {connected:?}");
        let (who, accepted) = accepted.recv().await.unwrap();
        assert_eq!(who.ip(), std::net::IpAddr::from([127, 0, 0, 2]));
        assert!(accepted.is_ok(), "{stack:?}: {accepted:?}");
    }
}
