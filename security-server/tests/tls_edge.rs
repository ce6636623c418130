//! Port 5500 with the suites of stock servers, which here are `openssl s_client` and `openssl s_server`; then our own two proxies with
//! either side forced to them.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use host::metrics::Metrics;
use pki::cert::Certificate;
use pki::globalconf::{Builder, GlobalConf, Instance};
use pki::key::KeyKind;
use pki::ocsp::Status;
use proto::globalconf::shared_parameters::CaInfo;
use security_server::config::TlsEdge;
use security_server::tls::seen::{FILE, SeenPeers};
use security_server::tls::{Acceptor, ConnectError, PeerConnector, PeerStream, PeerTls, Stack};
use support::client::{ask, rest};
use support::pki::{NOW, Pair, Pki, TestSigner, auth_identity};
use support::{Options, World, parameters};
use testkit::tools::tool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(20);

/// The three suites, each with the kind of key that the server needs for it.
const SUITES: [(&str, KeyKind); 3] = [
    ("ECDHE-RSA-AES256-SHA384", KeyKind::Rsa(2048)),
    ("DHE-RSA-AES256-SHA256", KeyKind::Rsa(2048)),
    ("ECDHE-ECDSA-AES256-SHA384", KeyKind::P256),
];

type Shared = Arc<ArcSwap<Option<Arc<GlobalConf>>>>;

/// A CA, an intermediate below it, and the files that `openssl` reads.
struct Scene {
    pki: Pki,
    middle: Pair,
    folder: tempfile::TempDir,
}

/// One end of a connection: a certificate and what stands between it and the root.
struct Party {
    name: &'static str,
    pair: Pair,
    between: Vec<Certificate>,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new("Test CA");
        let middle = pki.intermediate("Test Intermediate CA");
        Self { pki, middle, folder: tempfile::tempdir().unwrap() }
    }

    /// With its PEM files in the folder.
    fn party(&self, name: &'static str, kind: KeyKind, below_middle: bool) -> Party {
        let ca = if below_middle { &self.middle } else { &self.pki.ca };
        let pair = self.pki.auth_below(ca, name, kind);
        let between = if below_middle { vec![self.middle.cert.clone()] } else { Vec::new() };
        let write = |suffix: &str, text: &str| std::fs::write(self.file(name, suffix), text).unwrap();
        write("key", &pki::pem::encode("PRIVATE KEY", &pair.key.to_pkcs8()));
        write("crt", &pair.cert.to_pem());
        write("chain", &between.iter().map(Certificate::to_pem).collect::<String>());
        Party { name, pair, between }
    }

    fn file(&self, name: &str, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{suffix}"))
    }

    /// As arguments of `openssl`.
    fn shown(&self, party: &Party) -> Vec<String> {
        let path = |suffix: &str| self.file(party.name, suffix).display().to_string();
        let mut arguments = vec!["-cert".to_owned(), path("crt"), "-key".to_owned(), path("key")];
        if !party.between.is_empty() {
            arguments.extend(["-cert_chain".to_owned(), path("chain")]);
        }
        arguments
    }

    /// A configuration that knows both CAs and these two as servers.
    fn conf(&self, one: &Certificate, other: &Certificate) -> GlobalConf {
        let mut parameters = parameters(&self.pki, one, other);
        let middle = CaInfo { cert: self.middle.cert.der().to_vec(), ocsp: Vec::new() };
        parameters.approved_cas[0].intermediates.push(middle);
        let instance = Instance::new(parameters, 6).unwrap();
        Builder::new("DEV").instance(Arc::new(instance), Some(NOW.plus(LIMIT))).build().unwrap()
    }

    fn shared(&self, one: &Party, other: &Party) -> Shared {
        Arc::new(ArcSwap::from_pointee(Some(Arc::new(self.conf(&one.pair.cert, &other.pair.cert)))))
    }

    fn signer(&self, party: &Party) -> Arc<TestSigner> {
        let ocsp = vec![self.pki.good(&party.pair.cert); 1 + party.between.len()];
        let mut identity = Arc::into_inner(auth_identity(&party.pair, ocsp, NOW)).unwrap();
        identity.chain.extend(party.between.iter().cloned());
        let signer = TestSigner::default();
        *signer.own.lock().unwrap() =
            Arc::new(signer::OwnKeys { auth: Some(Arc::new(identity)), ..signer::OwnKeys::default() });
        Arc::new(signer)
    }
}

/// Our side of port 5500: says which certificates it saw, then closes.
struct Accepting {
    address: SocketAddr,
}

impl Accepting {
    async fn start(tls: Arc<PeerTls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::peer(tls, LIMIT);
        tokio::spawn(async move {
            while let Ok((socket, from)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut accepted) = acceptor.accept(socket, from).await else { return };
                    let hashes: Vec<String> =
                        accepted.chain.iter().map(|cert| hex::encode(cert.sha1())).collect();
                    let line = format!("saw {}\n", hashes.join(" "));
                    accepted.stream.write_all(line.as_bytes()).await.unwrap();
                    accepted.stream.shutdown().await.unwrap();
                    // Until the other side has closed too, or its answer to our close meets a reset.
                    let _ = accepted.stream.read_to_end(&mut Vec::new()).await;
                });
            }
        });
        Self { address }
    }

    /// All that `openssl s_client` says of a connection to us.
    async fn meet(&self, openssl: &str, arguments: &[String]) -> String {
        let mut command = tokio::process::Command::new(openssl);
        let address = self.address.to_string();
        command.args(["s_client", "-connect", &address, "-ign_eof", "-showcerts"]).args(arguments);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(LIMIT, output).await.expect("s_client ends").unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn saw(party: &Party) -> String {
    let chain = std::iter::once(&party.pair.cert).chain(&party.between);
    let hashes: Vec<String> = chain.map(|cert| hex::encode(cert.sha1())).collect();
    format!("saw {}\n", hashes.join(" "))
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

/// Every suite, both kinds of client keys, with and without an intermediate, anew and resumed by ticket and by id.
#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_are_accepted_and_resume_with_their_whole_chain() {
    if tool("openssl", "tls_edge").is_none() {
        return;
    }
    let scene = Scene::new();
    let rsa = scene.party("client-rsa", KeyKind::Rsa(2048), true);
    let ec = scene.party("client-ec", KeyKind::P256, false);
    for (suite, kind) in SUITES {
        let own = scene.party("own", kind, true);
        let client = if suite.starts_with("DHE") { &ec } else { &rsa };
        let tls = Arc::new(PeerTls::new(scene.shared(&own, client), scene.signer(&own)));
        let accepting = Accepting::start(tls).await;
        for resumed_by in ["ticket", "id"] {
            let session = scene.file(suite, resumed_by).display().to_string();
            let mut arguments = [scene.shown(client), words(&["-tls1_2", "-cipher", suite])].concat();
            arguments.extend((resumed_by == "id").then(|| "-no_ticket".to_owned()));
            let name = format!("{suite}, by {resumed_by}");

            let first = [&arguments[..], &words(&["-sess_out", &session])].concat();
            let text = accepting.meet("openssl", &first).await;
            assert!(text.contains(&format!("New, TLSv1.2, Cipher is {suite}")), "{name}: {text}");
            assert!(text.contains(&saw(client)), "{name}: {text}");
            // Our chain: certificate and intermediate, and not the root.
            assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "{name}: {text}");
            for ca in ["Test CA", "Test Intermediate CA"] {
                assert!(
                    text.contains(&format!("CN = {ca}")),
                    "{name}: asked for certificates of {ca}: {text}"
                );
            }

            let again = [&arguments[..], &words(&["-sess_in", &session])].concat();
            let text = accepting.meet("openssl", &again).await;
            assert!(text.contains(&format!("Reused, TLSv1.2, Cipher is {suite}")), "{name}: {text}");
            assert!(text.contains(&saw(client)), "{name}, resumed: {text}");
        }
    }
}

/// The alerts of stock servers, and sessions that outlive the registration of their certificate.
#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_without_a_registered_certificate_are_refused() {
    if tool("openssl", "tls_edge").is_none() {
        return;
    }
    let scene = Scene::new();
    let (own, client) =
        (scene.party("own", KeyKind::Rsa(2048), false), scene.party("client", KeyKind::P256, false));
    let stranger = scene.party("stranger", KeyKind::P256, true);
    let conf = scene.shared(&own, &client);
    let tls = Arc::new(PeerTls::new(conf.clone(), scene.signer(&own)));
    let accepting = Accepting::start(tls.clone()).await;
    let stock = words(&["-tls1_2", "-cipher", SUITES[0].0]);
    let cases = [
        ("no certificate", Vec::new(), "SSL alert number 40"),
        ("not registered", scene.shown(&stranger), "SSL alert number 46"),
        (
            "TLS 1.1",
            [scene.shown(&client), words(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])].concat(),
            "SSL alert number 70",
        ),
    ];
    for (name, shown, alert) in cases {
        let arguments = if name == "TLS 1.1" { shown } else { [shown, stock.clone()].concat() };
        let text = accepting.meet("openssl", &arguments).await;
        assert!(text.contains(alert) && !text.contains("saw "), "{name}: {text}");
    }

    let session = scene.file("client", "session").display().to_string();
    let arguments = [scene.shown(&client), stock.clone(), words(&["-sess_out", &session])].concat();
    assert!(accepting.meet("openssl", &arguments).await.contains(&saw(&client)));
    let resume = [scene.shown(&client), stock.clone(), words(&["-sess_in", &session])].concat();
    // Another configuration that still has the certificate: the session holds.
    conf.store(Arc::new(Some(Arc::new(scene.conf(&client.pair.cert, &own.pair.cert)))));
    let text = accepting.meet("openssl", &resume).await;
    assert!(text.contains("Reused") && text.contains(&saw(&client)), "{text}");
    // One that does not.
    conf.store(Arc::new(Some(Arc::new(scene.conf(&stranger.pair.cert, &own.pair.cert)))));
    let text = accepting.meet("openssl", &resume).await;
    assert!(!text.contains("saw "), "a session of a certificate that is no longer registered: {text}");

    // Where an operator does not want the suites of stock servers at all.
    let modern = PeerTls::new(conf, scene.signer(&own)).edge(TlsEdge::ModernOnly, SeenPeers::default());
    let accepting = Accepting::start(Arc::new(modern)).await;
    let text = accepting.meet("openssl", &[scene.shown(&stranger), stock].concat()).await;
    assert!(text.contains("SSL alert number 40") && !text.contains("saw "), "{text}");
}

/// `openssl s_server`, ended when dropped.
struct SServer {
    child: Child,
    address: SocketAddr,
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl SServer {
    /// Answers GET with a page that describes the connection.
    fn start(arguments: &[String]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-www", "-Verify", "3"]).args(arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        let out = child.stdout.as_mut().unwrap();
        while !(said.contains("ACCEPT ") && said.ends_with('\n')) {
            let mut byte = [0];
            out.read_exact(&mut byte).expect("s_server starts");
            said.push(char::from(byte[0]));
        }
        let address = said.split("ACCEPT ").nth(1).unwrap().trim().parse().unwrap();
        Self { child, address }
    }

    /// Handshake by `stack`, and the page.
    async fn meet(
        &self,
        connector: &PeerConnector,
        stack: Stack,
    ) -> Result<(PeerStream, String), ConnectError> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let mut stream = connector.connect(stack, socket, "127.0.0.1", LIMIT).await?;
        stream.stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut page = Vec::new();
        let _ = stream.stream.read_to_end(&mut page).await;
        let _ = stream.stream.shutdown().await;
        Ok((stream, String::from_utf8_lossy(&page).into_owned()))
    }
}

/// Every suite, both kinds of our keys, with and without an intermediate, anew and resumed by ticket and by id.
#[tokio::test(flavor = "multi_thread")]
async fn stock_servers_are_reached_after_rustls_has_tried() {
    if tool("openssl", "tls_edge").is_none() {
        return;
    }
    let scene = Scene::new();
    let rsa = scene.party("own-rsa", KeyKind::Rsa(2048), true);
    let ec = scene.party("own-ec", KeyKind::P256, false);
    for (suite, kind) in SUITES {
        let server = scene.party("server", kind, true);
        let own = if suite.starts_with("DHE") { &ec } else { &rsa };
        for resumed_by in ["ticket", "id"] {
            let name = format!("{suite}, by {resumed_by}");
            let mut arguments = [scene.shown(&server), words(&["-tls1_2", "-cipher", suite])].concat();
            arguments.extend((resumed_by == "id").then(|| "-no_ticket".to_owned()));
            let s_server = SServer::start(&arguments);
            let tls = PeerTls::new(scene.shared(own, &server), scene.signer(own));
            let connector = tls.connector().unwrap();
            let refused = s_server.meet(&connector, Stack::Modern).await;
            assert!(matches!(refused, Err(ConnectError::NothingInCommon(_))), "{name}: {refused:?}");
            for (turn, expected) in ["New", "Reused", "Reused"].into_iter().enumerate() {
                let (stream, page) = s_server.meet(&connector, Stack::Cbc).await.unwrap();
                assert!(
                    page.contains(&format!("{expected}, TLSv1.2, Cipher is {suite}")),
                    "{name}, {turn}: {page}"
                );
                let chain: Vec<_> =
                    std::iter::once(&server.pair.cert).chain(&server.between).cloned().collect();
                assert_eq!(stream.chain, chain, "{name}, {turn}");
                assert!(!stream.causeway && !stream.tls13);
            }
        }
    }
}

/// Status and text of one exchange.
async fn exchange(world: &World) -> (u16, String) {
    let reply = ask(world.consumer.http, &rest("POST", "CONSUMER", "echo/a", "", b"over the edge")).await;
    let text = if reply.status == 200 { reply.text() } else { format!("{}{}", reply.head, reply.text()) };
    (reply.status, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_two_proxies_exchange_messages_whichever_side_is_stock() {
    use TlsEdge::{Auto, CbcOnly, ModernOnly};
    let cases = [
        (Auto, Auto, true),
        (CbcOnly, Auto, true),
        (Auto, CbcOnly, true),
        (CbcOnly, CbcOnly, true),
        (ModernOnly, CbcOnly, false),
        (CbcOnly, ModernOnly, false),
    ];
    for (consumer, provider, goes) in cases {
        let world =
            World::with(Options { edge: provider, consumer_edge: Some(consumer), ..Options::default() })
                .await;
        // The second is on what the first has taught.
        for turn in 0..3 {
            let (status, text) = exchange(&world).await;
            if goes {
                assert_eq!(
                    (status, text.as_str()),
                    (200, "over the edge"),
                    "{consumer:?} to {provider:?}, {turn}"
                );
            } else {
                assert!(
                    text.contains("server.clientproxy.ssl_authentication_failed"),
                    "{consumer:?} to {provider:?}: {text}"
                );
            }
        }
        let records = if goes { (6, 6) } else { (0, 0) };
        assert_eq!(world.records().await.1, records.1, "{consumer:?} to {provider:?}");
    }
}

/// A connection for each exchange, as stock servers make them: all but the first resume.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_not_kept_resume_their_session() {
    let metrics = Metrics::install();
    let resumed = |role: &str| -> f64 {
        let line = format!("causeway_tls_cbc_handshakes_total{{role=\"{role}\",resumed=\"yes\"}} ");
        let text = metrics.render();
        text.lines().find_map(|found| found.strip_prefix(&line)).map_or(0.0, |count| count.parse().unwrap())
    };
    let options = Options { edge: TlsEdge::CbcOnly, ..Options::default() };
    let world = World::with(options).await;
    let before = (resumed("client"), resumed("server"));
    for _ in 0..4 {
        assert_eq!(exchange(&world).await.0, 200);
    }
    // Other tests of this program count as well.
    assert!(resumed("client") >= before.0 + 3.0, "{}", metrics.render());
    assert!(resumed("server") >= before.1 + 3.0, "{}", metrics.render());
}

/// A resumed session says nothing about today: the OCSP answers of each message do.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_revoked_after_its_session_was_made_is_refused() {
    let world = World::with(Options { edge: TlsEdge::CbcOnly, ..Options::default() }).await;
    assert_eq!(exchange(&world).await.0, 200);
    let auth = world.consumer.signer.own.lock().unwrap().auth.clone().unwrap();
    let leaf = auth.chain[0].clone();
    let revoked = world.pki.ocsp(&leaf, Status::Revoked, NOW);
    let identity = signer::AuthIdentity {
        chain: auth.chain.clone(),
        ocsp: vec![revoked],
        certified: auth.certified.clone(),
        key: auth.key.clone(),
        until: auth.until,
    };
    {
        let mut own = world.consumer.signer.own.lock().unwrap();
        let (signing, ocsp_by_sha1) = (own.signing.clone(), own.ocsp_by_sha1.clone());
        *own = Arc::new(signer::OwnKeys { signing, ocsp_by_sha1, auth: Some(Arc::new(identity)) });
    }
    let (status, text) = exchange(&world).await;
    assert_eq!(status, 500, "{text}");
    assert!(text.contains("ssl_authentication_failed"), "{text}");
}

/// Who was met with TLS 1.3 is not talked down, over restarts, until an operator allows it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_talked_down_from_tls13() {
    let scene = Scene::new();
    let (own, server) =
        (scene.party("own", KeyKind::P256, false), scene.party("server", KeyKind::P256, false));
    let file = scene.folder.path().join(FILE);
    let connector = || {
        let seen = SeenPeers::open(file.clone()).unwrap();
        let tls = PeerTls::new(scene.shared(&own, &server), scene.signer(&own)).edge(TlsEdge::Auto, seen);
        tls.connector().unwrap()
    };
    let there = Arc::new(PeerTls::new(scene.shared(&own, &server), scene.signer(&server)));
    let stock = PeerTls::new(scene.shared(&own, &server), scene.signer(&server))
        .edge(TlsEdge::CbcOnly, SeenPeers::default());
    let (modern, stock) = (Accepting::start(there).await, Accepting::start(Arc::new(stock)).await);
    let meet = async |stack, to: &Accepting| {
        let socket = TcpStream::connect(to.address).await.unwrap();
        connector().connect(stack, socket, "127.0.0.1", LIMIT).await
    };
    assert!(meet(Stack::Modern, &modern).await.unwrap().tls13);
    assert!(meet(Stack::Cbc, &stock).await.is_ok(), "met, but not verified");
    std::fs::write(&file, format!("{} 127.0.0.1\n", hex::encode(server.pair.cert.sha256()))).unwrap();
    let refused = meet(Stack::Cbc, &stock).await;
    assert!(matches!(refused, Err(ConnectError::Downgraded)), "{refused:?}");
    std::fs::write(&file, "").unwrap();
    assert!(meet(Stack::Cbc, &stock).await.is_ok(), "an operator took the line out");
}

/// The line is written by an exchange that was verified.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_over_tls13_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let options = Options { tls13_peers: Some(file.clone()), ..Options::default() };
    let world = World::with(options).await;
    assert_eq!(exchange(&world).await.0, 200);
    let leaf = world.provider.signer.own.lock().unwrap().auth.clone().unwrap().chain[0].sha256();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("{} 127.0.0.1\n", hex::encode(leaf)));
}
