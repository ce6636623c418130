//! Both ends over a real socket: what works in one process works across two, restarts and log-outs included, and strangers get nothing.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::clock::Clock;
use host::shutdown::Shutdown;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::key::KeyKind;
use pki::public_key::{PublicKey, Strength};
use tokio::task::JoinHandle;

use super::client::{Operator, RemoteSigner};
use super::serving::Serving;
use super::socket;
use super::wire::{AuthenticationKey, answer, request};
use crate::software::tests::{NOW, PIN, Scene, furnished, new_token};
use crate::token::{CertStatus, KeyUsage};
use crate::{Purpose, Signer, SignerError, SoftwareSigner, TokenError, TokenService};

const WAIT: Duration = Duration::from_secs(10);

/// A signer that serves a token, and can be stopped and started again.
struct Signed {
    dir: tempfile::TempDir,
    token: Arc<SoftwareSigner>,
    task: JoinHandle<()>,
    shares_key: bool,
}

impl Signed {
    fn start(dir: tempfile::TempDir, token: SoftwareSigner) -> Self {
        let token = Arc::new(token);
        let task = serve(&dir, &token, false);
        Self { dir, token, task, shares_key: false }
    }
    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
    fn client(&self, wait: Duration) -> RemoteSigner {
        RemoteSigner::open(&self.socket(), wait, &self.dir.path().join("client-ocsp")).unwrap()
    }
    /// Ends it, as a killed process ends: connections are cut, the socket file stays.
    async fn kill(&mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
    fn start_again(&mut self) {
        self.task = serve(&self.dir, &self.token, self.shares_key);
    }
}

fn serve(dir: &tempfile::TempDir, token: &Arc<SoftwareSigner>, shares_key: bool) -> JoinHandle<()> {
    let listener = socket::bind(&dir.path().join("socket")).unwrap();
    let (clock, shutdown) = (Clock::fixed(NOW), Shutdown::default());
    let serving = Serving { token: token.clone(), clock, shutdown, shares_key };
    tokio::spawn(serving.serve(listener))
}

fn ecdsa() -> SignatureAlgorithm {
    SignatureAlgorithm::from_jca_name("SHA512withECDSA").unwrap()
}

/// Signs `message` and verifies it.
async fn sign(client: &RemoteSigner, key: &str, message: Bytes) -> Result<(), SignerError> {
    let purpose = Purpose::Message;
    let value = client.sign(&key.to_owned(), purpose, ecdsa(), EcdsaForm::Raw, message.clone()).await?;
    let info = client.keys().into_iter().find(|info| info.id == key).unwrap();
    let public = PublicKey::from_spki(&info.spki).unwrap();
    public.verify(ecdsa(), EcdsaForm::Raw, Strength::Current, &message, &value).unwrap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_remembered_across_the_socket() {
    let (dir, token) = new_token();
    let signed = Signed::start(dir, token);
    let client = signed.client(WAIT);
    let done = tokio::task::spawn_blocking(move || {
        crate::software::tests::requests_are_remembered(&client, &Scene::new());
    });
    done.await.unwrap();
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WAIT, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_does_everything_over_the_socket() {
    let mut scene = Scene::new();
    let (dir, token, auth_cert, sign_cert) = furnished(&mut scene);
    let signed = Signed::start(dir, token);
    let client = signed.client(WAIT);
    assert_eq!((client.label(), client.is_logged_in()), ("a token".to_owned(), true));
    let ids = |token: &dyn TokenService| -> Vec<_> { token.keys().into_iter().map(|key| key.id).collect() };
    assert_eq!(ids(&client), ids(signed.token.as_ref()));
    let [auth, message] = <[_; 2]>::try_from(ids(&client)).unwrap();

    sign(&client, &message, "hello".into()).await.unwrap();
    let refused = client.sign(&auth, Purpose::Message, ecdsa(), EcdsaForm::Raw, "x".into()).await;
    assert_eq!(refused, Err(SignerError::Purpose { key: auth, purpose: Purpose::Message }));
    let missing = client.sign(&"00".to_owned(), Purpose::Message, ecdsa(), EcdsaForm::Raw, "x".into()).await;
    assert_eq!(missing, Err(SignerError::NoKey("00".to_owned())));

    let key = client.generate(KeyUsage::Signing, KeyKind::P384, "another").unwrap();
    until("the new key", || client.keys().iter().any(|info| info.id == key && info.label == "another")).await;
    let subject = vec![(pki::name::COMMON_NAME, "1".to_owned())];
    assert!(client.csr(&key, &subject, &[]).unwrap().len() > 100);
    let again =
        client.import_certificate(&sign_cert, client.keys()[1].certs[0].member.clone(), CertStatus::Saved);
    assert!(matches!(again, Err(TokenError::CertificateExists)));
    client.delete_key(&key).unwrap();
    assert_eq!(signed.token.keys().len(), 2);

    // Not listed any more: the state changes here and there.
    scene.registered.clear();
    assert_eq!(client.align(&scene.conf(), &scene.server, true).unwrap(), 1);
    assert_eq!(signed.token.keys()[0].certs[0].status, CertStatus::GlobalError);
    until("the new state", || client.keys()[0].certs[0].status == CertStatus::GlobalError).await;
    client.delete_certificate(&hex::encode(auth_cert.sha256())).unwrap();
    assert!(signed.token.keys()[0].certs.is_empty());

    client.change_pin(PIN, "another", NOW).unwrap();
    assert!(matches!(client.login(PIN, NOW), Err(TokenError::WrongPin)));
    assert!(matches!(client.login("another", NOW), Err(TokenError::Locked { seconds: 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_out_takes_identities_away_and_log_in_brings_them_back() {
    let mut scene = Scene::new();
    let (dir, token, auth_cert, sign_cert) = furnished(&mut scene);
    let signed = Signed::start(dir, token);
    let client = signed.client(WAIT);
    scene.answer(&client, &[&auth_cert, &sign_cert], NOW);
    let complete = || {
        client.refresh(&scene.conf(), Some(&scene.server), NOW);
        let own = client.own_keys();
        own.auth.is_some() && own.signing.len() == 1 && own.ocsp_by_sha1.len() == 3
    };
    assert!(complete());
    // The handshake's signature comes from the other side.
    let certified = client.own_keys().auth.as_ref().unwrap().certified.clone();
    let offered = [rustls::SignatureScheme::RSA_PSS_SHA256, rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
    let value = certified.key.choose_scheme(&offered).unwrap().sign(b"handshake").unwrap();
    let sha256 = SignatureAlgorithm::from_jca_name("SHA256withECDSA").unwrap();
    let public = PublicKey::from_spki(auth_cert.spki()).unwrap();
    public.verify(sha256, EcdsaForm::Der, Strength::Current, b"handshake", &value).unwrap();

    let operator = Operator::new(signed.socket(), WAIT).unwrap();
    operator.logout().unwrap();
    until("no identities", || client.own_keys().signing.is_empty()).await;
    assert!(client.own_keys().auth.is_none() && !complete());
    assert!(certified.key.choose_scheme(&offered).is_none());
    let key = client.keys()[1].id.clone();
    assert_eq!(sign(&client, &key, "x".into()).await, Err(SignerError::LoggedOut));
    assert!(matches!(operator.login("wrong"), Err(TokenError::WrongPin)));
    assert!(!operator.state().unwrap().logged_in);
}

/// Many at once, over one connection, while the signer goes away twice.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_wait_for_a_restart() {
    let mut scene = Scene::new();
    let (dir, token, ..) = furnished(&mut scene);
    let mut signed = Signed::start(dir, token);
    let client = Arc::new(signed.client(WAIT));
    let key = client.keys()[1].id.clone();
    let mut signing = tokio::task::JoinSet::new();
    for number in 0..400_u32 {
        let (client, key) = (client.clone(), key.clone());
        signing.spawn(async move { sign(&client, &key, number.to_be_bytes().to_vec().into()).await });
    }
    for _ in 0..2 {
        signed.kill().await;
        signed.start_again();
        until("a new connection", || client.is_logged_in()).await;
    }
    for outcome in signing.join_all().await {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_stays_away_is_not_waited_for_longer_than_set() {
    let (dir, token) = new_token();
    let mut signed = Signed::start(dir, token);
    let wait = Duration::from_millis(200);
    let client = signed.client(wait);
    signed.kill().await;
    until("the end of the connection", || !client.is_logged_in()).await;
    let began = Instant::now();
    let outcome = client.sign(&"00".to_owned(), Purpose::Message, ecdsa(), EcdsaForm::Raw, "x".into()).await;
    assert!(matches!(&outcome, Err(SignerError::Unreachable(why)) if why.contains("200ms")), "{outcome:?}");
    assert!((wait..WAIT).contains(&began.elapsed()));
    signed.start_again();
    until("a new connection", || client.is_logged_in()).await;
    let outcome = client.sign(&"00".to_owned(), Purpose::Message, ecdsa(), EcdsaForm::Raw, "x".into()).await;
    assert_eq!(outcome, Err(SignerError::NoKey("00".to_owned())));
}

/// Sends bytes and gives what comes until the end of the connection.
fn exchange(socket: &std::path::Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    // The other end may close before all is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

const HELLO: &[u8] = &[0, 0, 0, 6, 0x08, 1, 0x12, 2, 0x08, 1];

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_end_the_connection_and_nothing_else() {
    let (dir, token) = new_token();
    let signed = Signed::start(dir, token);
    let client = signed.client(WAIT);
    let greeting = [0, 0, 0, 4, 0x08, 1, 0x12, 0].to_vec();
    let oversized = [HELLO, &[0x00, 0x10, 0x00, 0x01]].concat();
    let garbage = [HELLO, &[0, 0, 0, 2, 0xff, 0xff]].concat();
    let cases = [
        ("a frame over the bound", oversized, greeting.clone()),
        ("garbage", garbage, greeting),
        ("no Hello", vec![0, 0, 0, 4, 0x08, 1, 0x22, 0], vec![]),
        ("another version", vec![0, 0, 0, 6, 0x08, 1, 0x12, 2, 0x08, 2], vec![]),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![]),
    ];
    for (name, bytes, expected) in cases {
        let socket = signed.socket();
        let answer = tokio::task::spawn_blocking(move || exchange(&socket, &bytes)).await.unwrap();
        // The end may overtake the greeting.
        assert!(expected.starts_with(&answer), "{name}: {answer:?}");
    }
    assert!(client.is_logged_in());
    assert!(client.generate(KeyUsage::Signing, KeyKind::P256, "still there").is_ok());
}

/// Run by [`another_user_is_refused`] as another user; alone it has nothing to do.
#[test]
fn knock_as_another_user() {
    if let Some(socket) = std::env::var_os("CAUSEWAY_TEST_SOCKET") {
        assert!(exchange(socket.as_ref(), HELLO).is_empty(), "a stranger was greeted");
        println!("nobody answered");
    }
}

/// Also when the mode of the file would let them in. Only root can become another user.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: a connection of another user is not tried");
        return;
    }
    let (dir, token) = new_token();
    let signed = Signed::start(dir, token);
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(signed.dir.path(), 0o755);
    open(&signed.socket(), 0o666);
    let socket = signed.socket();
    let knocked = tokio::task::spawn_blocking(move || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["remote::tests::knock_as_another_user", "--exact", "--nocapture"])
            .env("CAUSEWAY_TEST_SOCKET", socket)
            .uid(65534)
            .gid(65534)
            .output()
    });
    let output = knocked.await.unwrap().expect("this program can be run by others");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("nobody answered"), "{output:?}");
}

/// The TLS of old suites needs the key itself: the server has it where the settings of the signer say so, and no other key ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_authentication_key_is_shared_only_where_that_is_set() {
    let mut scene = Scene::new();
    let (dir, token, auth_cert, sign_cert) = furnished(&mut scene);
    let mut signed = Signed::start(dir, token);
    let client = signed.client(WAIT);
    scene.answer(&client, &[&auth_cert, &sign_cert], NOW);
    let key = || {
        client.refresh(&scene.conf(), Some(&scene.server), NOW);
        client.own_keys().auth.as_ref().expect("handshakes are signed in any case").key.clone()
    };
    assert!(key().is_none());
    signed.kill().await;
    signed.shares_key = true;
    signed.start_again();
    until("a connection, and the key", || client.is_logged_in() && key().is_some()).await;
    assert_eq!(key().unwrap().spki(), signed.token.keys()[0].spki);

    let message = signed.token.keys()[1].id.clone();
    let body = request::Body::AuthenticationKey(AuthenticationKey { key: message.clone() });
    let serving = Serving {
        token: signed.token.clone(),
        clock: Clock::fixed(NOW),
        shutdown: Shutdown::default(),
        shares_key: true,
    };
    let answer::Body::Failure(refused) = serving.answer(Some(body)).await else {
        panic!("a key of a member")
    };
    let purpose = Purpose::Handshake;
    assert_eq!(refused.into_signer(purpose), SignerError::Purpose { key: message, purpose });
}
