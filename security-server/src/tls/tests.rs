//! TLS towards information systems over real sockets: who is seen, what is pinned, what does not hold a listener.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::testing::{NOW, ca};

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
