//! Two security servers in one process, as one instance would have them, over a hand-made global configuration.
//!
//! `COM/1111` owns the consumer's server, `GOV/2222` the provider's; time stands still at [`pki::NOW`]. Both logs count their records.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::pki::cert::Certificate;
use ::pki::globalconf::{Builder, GlobalConf};
use arc_swap::ArcSwap;
use host::clock::Clock;
use host::shutdown::Shutdown;
use proto::globalconf::shared_parameters::{
    ApprovedCa, CaInfo, Member, OcspInfo, SecurityServer, SharedParameters, Source,
};
use proto::id::{ClientId, MemberId, ServerId, Subject};
use proto::time::UnixTime;
use security_server::admission::Admission;
use security_server::config::{File, Settings, TlsEdge};
use security_server::context::Context;
use security_server::exchange::Kept;
use security_server::message_log::MessageLog;
use security_server::message_log::holders::HeadSettings;
use security_server::message_log::settings::LogSettings;
use security_server::message_log::timestamper::{Surroundings, Timestamper};
use security_server::peers::Peers;
use security_server::serverconf::event::{Endpoint, Event, ServiceSettings};
use security_server::serverconf::state::State;
use security_server::serverconf::{ConnectionType, ServerConf, ServiceKind};
use security_server::tls::seen::SeenPeers;
use security_server::tls::{Acceptor, InternalTls, PeerTls};
use security_server::{client_proxy, ocsp_port, server_proxy};
use tokio::net::TcpListener;

use self::backend::Backend;
use self::pki::{NOW, Pair, Pki, TestSigner};

pub mod backend;
pub mod client;
pub mod differences;
pub mod peer;
pub mod pki;
pub mod recorded;

pub fn member(class: &str, code: &str) -> MemberId {
    MemberId { instance: "DEV".into(), class: class.into(), code: code.into() }
}

pub fn subsystem(member: MemberId, code: &str) -> ClientId {
    ClientId { member, subsystem: Some(code.into()) }
}

pub fn consumer_member() -> MemberId {
    member("COM", "1111")
}

pub fn provider_member() -> MemberId {
    member("GOV", "2222")
}

pub fn provider() -> ClientId {
    subsystem(provider_member(), "PROVIDER")
}

fn server_id(owner: MemberId, code: &str) -> ServerId {
    ServerId { owner, code: code.into() }
}

/// What a test may want otherwise.
#[derive(Clone)]
pub struct Options {
    /// The provider's port is left to the test: see [`World::provider_port`].
    pub play_provider: bool,
    pub min_free_bytes: u64,
    pub max_body_bytes: u64,
    pub exchanges_per_client: usize,
    pub exchanges_per_peer: usize,
    pub idle: Duration,
    pub message_time: Duration,
    pub has_tsa: bool,
    /// Senders must be of this release or later.
    pub min_client_version: Option<[u32; 3]>,
    /// How fault codes are written.
    pub fault_style: proto::fault::Style,
    /// TLS between the servers; of the consumer, where it differs.
    pub edge: TlsEdge,
    pub consumer_edge: Option<TlsEdge>,
    /// Where servers that were met with TLS 1.3 are remembered.
    pub tls13_peers: Option<PathBuf>,
    /// What answers the provider's service `heads`.
    pub heads: Option<SocketAddr>,
    /// Where the consumer's log sends its heads.
    pub consumer_heads: Option<HeadSettings>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            play_provider: false,
            min_free_bytes: 0,
            max_body_bytes: 64 << 20,
            exchanges_per_client: 100,
            exchanges_per_peer: 100,
            idle: Duration::from_secs(5),
            message_time: Duration::from_secs(3600),
            has_tsa: true,
            min_client_version: None,
            fault_style: proto::fault::Style::Snake,
            edge: TlsEdge::Auto,
            consumer_edge: None,
            tls13_peers: None,
            heads: None,
            consumer_heads: None,
        }
    }
}

/// A running server.
pub struct Server {
    pub cx: Context,
    pub signer: Arc<TestSigner>,
    /// For information systems.
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// For other servers.
    pub messages: SocketAddr,
    pub peer_tls: Arc<PeerTls>,
    _timestamper: Timestamper,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Where its log lies.
    pub fn log_dir(&self) -> PathBuf {
        self._dir.path().join("log")
    }

    /// What its log takes on the disk, in whole segments.
    pub fn log_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let files = std::fs::read_dir(self._dir.path().join("log")).unwrap().map(|file| file.unwrap());
        files.map(|file| file.metadata().unwrap()).filter(|m| m.is_file()).map(|m| m.blocks() * 512).sum()
    }
}

/// Everything.
pub struct World {
    pub pki: Pki,
    pub clock: Clock,
    pub globalconf: Arc<ArcSwap<Option<Arc<GlobalConf>>>>,
    pub consumer: Server,
    pub provider: Server,
    pub backend: Backend,
    /// Certificate of an information system that is stored for TLSAUTH.
    pub is_pair: Pair,
    /// Signing certificates of both members.
    pub consumer_signing: Pair,
    pub provider_signing: Pair,
    /// Where the consumer expects the provider, when [`Options::play_provider`] says so.
    pub provider_port: Option<TcpListener>,
}

#[derive(Debug)]
struct TestSurroundings(bool);

impl Surroundings for TestSurroundings {
    fn services(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn has_services(&self) -> bool {
        self.0
    }
    fn trusted(&self, _now: UnixTime) -> Option<Vec<Certificate>> {
        None
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let pki = Pki::new("Test CA");
        let clock = Clock::fixed(NOW);
        let backend = Backend::start().await;
        let is_pair = pki.tls("IS");
        let (pinned, other) = (pki.tls("service"), pki.tls("other service"));
        let secure = [Backend::start_tls(&pinned).await, Backend::start_tls(&other).await];
        let (consumer_auth, provider_auth) = (pki.auth("ss1"), pki.auth("ss2"));
        let conf = global_conf(&pki, &consumer_auth.cert, &provider_auth.cert);
        let globalconf = Arc::new(ArcSwap::from_pointee(Some(Arc::new(conf))));

        // The provider listens first: configurations carry hosts, so its ports are the consumer's settings.
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (messages, ocsp) = (listen().await.unwrap(), listen().await.unwrap());
        let ports = (messages.local_addr().unwrap().port(), ocsp.local_addr().unwrap().port());
        let (consumer_signing, provider_signing) =
            (pki.signing(&consumer_member()), pki.signing(&provider_member()));
        let provider_signer = signer(&pki, &provider_member(), &provider_signing, &provider_auth);
        let server = Parts { clock: &clock, globalconf: &globalconf, options: &options, ports };
        let provider_state = provider_state(
            backend.address,
            &pinned.cert,
            secure.map(|backend| backend.address),
            options.heads,
        );
        let (provider_port, messages) = match options.play_provider {
            true => (Some(messages), listen().await.unwrap()),
            false => (None, messages),
        };
        let provider =
            server.start(provider_signer, &provider_state, messages, pki.tls("ss2 internal")).await;
        tokio::spawn(ocsp_port::serve(
            ocsp,
            provider.signer.clone(),
            provider.cx.settings.limits.ocsp_port,
            provider.cx.shutdown.clone(),
        ));

        let edge = options.consumer_edge.unwrap_or(options.edge);
        let server = Parts { options: &Options { edge, ..options.clone() }, ..server };
        let consumer_signer = signer(&pki, &consumer_member(), &consumer_signing, &consumer_auth);
        let consumer_state = consumer_state(&is_pair.cert);
        let messages = listen().await.unwrap();
        let consumer =
            server.start(consumer_signer, &consumer_state, messages, pki.tls("ss1 internal")).await;
        Self {
            pki,
            clock,
            globalconf,
            consumer,
            provider,
            backend,
            is_pair,
            consumer_signing,
            provider_signing,
            provider_port,
        }
    }

    /// Records in both logs, every one of them whole.
    pub async fn records(&self) -> (u64, u64) {
        (records(&self.consumer).await, records(&self.provider).await)
    }
}

async fn records(server: &Server) -> u64 {
    let report = server.cx.log.verify().await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    report.records
}

/// A signer with one signing key, named after the member's code, and one authentication key.
pub fn signer(pki: &Pki, member: &MemberId, signing: &Pair, auth: &Pair) -> Arc<TestSigner> {
    let identity = pki::signing_identity(member, signing, vec![pki.good(&signing.cert)], pki.now);
    let auth = pki::auth_identity(auth, vec![pki.good(&auth.cert)], pki.now);
    TestSigner::with(identity, &signing.key, auth)
}

/// What servers of one world have in common.
pub struct Parts<'a> {
    pub clock: &'a Clock,
    pub globalconf: &'a Arc<ArcSwap<Option<Arc<GlobalConf>>>>,
    pub options: &'a Options,
    /// Of the provider, for messages and OCSP answers.
    pub ports: (u16, u16),
}

impl Parts<'_> {
    pub async fn start(
        &self,
        signer: Arc<TestSigner>,
        state: &State,
        messages: TcpListener,
        internal: Pair,
    ) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let settings = self.settings(dir.path());
        let log = LogSettings {
            max_body_bytes: self.options.max_body_bytes,
            memory_body_bytes: 64 << 10,
            segment_bytes: 8 << 20,
            min_free_bytes: self.options.min_free_bytes,
            acceptable_timestamp_failure: None,
            heads: self.options.consumer_heads.clone().unwrap_or_else(|| LogSettings::default().heads),
            ..LogSettings::default()
        };
        let surroundings = Arc::new(TestSurroundings(self.options.has_tsa));
        let (log, timestamper) =
            MessageLog::open(&dir.path().join("log"), log, self.clock.clone(), surroundings).unwrap();
        let conf = self.globalconf.load_full();
        let serverconf = ServerConf::build(state, conf.as_ref().as_ref().map(Arc::as_ref)).unwrap();
        let seen = self.options.tls13_peers.clone().map(|path| SeenPeers::open(path).unwrap());
        let peer_tls = PeerTls::new(self.globalconf.clone(), signer.clone());
        let peer_tls = Arc::new(peer_tls.edge(self.options.edge, seen.unwrap_or_default()));
        let limits = &settings.limits;
        let slots = [
            Admission::new(limits.client_exchanges, limits.client_exchanges_per_client),
            Admission::new(limits.server_exchanges, limits.server_exchanges_per_peer),
        ];
        let cx = Context {
            clock: self.clock.clone(),
            globalconf: self.globalconf.clone(),
            serverconf: Arc::new(ArcSwap::from_pointee(serverconf)),
            signer: signer.clone(),
            log,
            peers: Peers::new(&settings, self.clock.clone(), self.globalconf.clone(), peer_tls.clone()),
            internal_tls: InternalTls::new(&internal.key, internal.cert).unwrap(),
            kept: Kept::new(signer.clone(), self.clock.clone(), slots.clone()),
            client_slots: slots[0].clone(),
            server_slots: slots[1].clone(),
            shutdown: Shutdown::default(),
            settings: Arc::new(settings),
        };
        let (http, https) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let addresses = [&http, &https, &messages].map(|listener| listener.local_addr().unwrap());
        let handshake = Duration::from_secs(5);
        tokio::spawn(client_proxy::serve(cx.clone(), http, Acceptor::plain()));
        tokio::spawn(client_proxy::serve(
            cx.clone(),
            https,
            Acceptor::internal(cx.internal_tls.clone(), handshake),
        ));
        tokio::spawn(server_proxy::serve(cx.clone(), messages, Acceptor::peer(peer_tls.clone(), handshake)));
        let [http, https, messages] = addresses;
        Server { cx, signer, http, https, messages, peer_tls, _timestamper: timestamper, _dir: dir }
    }

    fn settings(&self, dir: &std::path::Path) -> Settings {
        let mut settings = File { data_dir: dir.to_owned(), ..File::default() }.resolve().unwrap();
        settings.server_port = self.ports.0;
        settings.ocsp_port = self.ports.1;
        settings.limits.client_exchanges_per_client = self.options.exchanges_per_client;
        settings.limits.server_exchanges_per_peer = self.options.exchanges_per_peer;
        settings.limits.idle = self.options.idle;
        settings.min_client_version = self.options.min_client_version;
        settings.limits.message_time = self.options.message_time;
        settings.fault_style = self.options.fault_style;
        settings
    }
}

/// The consumer's and the provider's server, their owners, clients and CA.
pub fn global_conf(pki: &Pki, consumer: &Certificate, provider: &Certificate) -> GlobalConf {
    let instance = |parameters| Arc::new(::pki::globalconf::Instance::new(parameters, 6).unwrap());
    Builder::new("DEV")
        .instance(instance(parameters(pki, consumer, provider)), Some(NOW.plus(Duration::from_secs(600))))
        .build()
        .unwrap()
}

/// Shared parameters of the two servers.
pub fn parameters(pki: &Pki, consumer: &Certificate, provider_cert: &Certificate) -> SharedParameters {
    let of = |id: MemberId, subsystems: &[&str]| Member {
        class_description: String::new(),
        name: id.code.clone(),
        subsystems: subsystems.iter().map(|s| ((*s).to_owned(), None)).collect(),
        id,
    };
    let server = |id: ServerId, cert: &Certificate, clients: Vec<ClientId>| SecurityServer {
        id,
        address: Some("127.0.0.1".into()),
        auth_cert_hashes: vec![cert.sha256().to_vec()],
        clients,
        maintenance: None,
    };
    let clients = ["CONSUMER", "NORIGHTS", "TLSONLY", "TLSAUTH"];
    let consumer_clients = clients.iter().map(|code| subsystem(consumer_member(), code)).collect();
    SharedParameters {
        instance: "DEV".into(),
        sources: vec![Source {
            address: "127.0.0.1".into(),
            internal_certs: vec![pki.ca.cert.der().to_vec()],
            external_certs: vec![pki.ca.cert.der().to_vec()],
        }],
        approved_cas: vec![ApprovedCa {
            name: "Test CA".into(),
            top: CaInfo {
                cert: pki.ca.cert.der().to_vec(),
                ocsp: vec![OcspInfo {
                    url: "http://127.0.0.1:1".into(),
                    cert: Some(pki.responder.cert.der().to_vec()),
                    ..OcspInfo::default()
                }],
            },
            profile: "ee.ria.xroad.common.certificateprofile.impl.EjbcaCertificateProfileInfoProvider".into(),
            ..ApprovedCa::default()
        }],
        members: vec![
            of(consumer_member(), &clients),
            of(provider_member(), &["PROVIDER", "NOTHERE"]),
            of(member("NEE", "9999"), &["NOWHERE"]),
        ],
        servers: vec![
            server(server_id(consumer_member(), "SS1"), consumer, consumer_clients),
            server(
                server_id(provider_member(), "SS2"),
                provider_cert,
                vec![provider(), subsystem(provider_member(), "NOTHERE")],
            ),
        ],
        member_classes: vec![
            ("COM".into(), String::new()),
            ("GOV".into(), String::new()),
            ("NEE".into(), String::new()),
        ],
        ocsp_freshness_seconds: 3600,
        ..SharedParameters::default()
    }
}

fn consumer_state(is_cert: &Certificate) -> State {
    let client = |code| subsystem(consumer_member(), code);
    let added = |code, connection| Event::ClientAdded { client: client(code), connection };
    State::replay([
        Event::ServerNamed { id: server_id(consumer_member(), "SS1") },
        added("CONSUMER", ConnectionType::Http),
        added("NORIGHTS", ConnectionType::Http),
        added("TLSONLY", ConnectionType::HttpsNoAuth),
        added("TLSAUTH", ConnectionType::HttpsAuth),
        Event::TlsCertAdded { client: client("TLSAUTH"), der: is_cert.der().to_vec() },
    ])
    .unwrap()
}

/// Services are named after what they are for: `echo` may be called, `endpoint` by its path, `noaccess` by nobody.
fn provider_state(
    backend: SocketAddr,
    pinned: &Certificate,
    secure: [SocketAddr; 2],
    heads: Option<SocketAddr>,
) -> State {
    let base = format!("http://{backend}");
    let nobody = "http://127.0.0.1:1/x".to_owned();
    let mut events = vec![
        Event::ServerNamed { id: server_id(provider_member(), "SS2") },
        Event::ClientAdded { client: provider(), connection: ConnectionType::Http },
    ];
    let everything = Endpoint::service_level();
    let below = |path: &str| Endpoint { method: "GET".into(), path: path.into() };
    let rest = [
        ("echo", format!("{base}/rest"), Some(everything.clone()), 30),
        ("endpoint", format!("{base}/rest"), Some(below("/a/*")), 30),
        ("noaccess", format!("{base}/rest"), None, 30),
        ("impatient", format!("{base}/rest"), Some(everything.clone()), 1),
        ("refused", nobody.clone(), Some(everything.clone()), 5),
        ("nohost", "http://nonexistent.invalid/".to_owned(), Some(everything.clone()), 5),
    ];
    for (code, url, right, timeout) in rest {
        service(&mut events, code, None, &url, ServiceKind::Rest, right, timeout);
    }
    if let Some(address) = heads {
        let url = format!("http://{address}");
        service(&mut events, "heads", None, &url, ServiceKind::Rest, Some(everything.clone()), 30);
    }
    let soap = [
        ("testQuery", format!("{base}/soap/echo")),
        ("faultQuery", format!("{base}/soap/fault")),
        ("nosoapQuery", format!("{base}/soap/nosoap")),
        ("attachQuery", format!("{base}/soap/mirror")),
        ("nestedQuery", format!("{base}/soap/nested")),
        ("sinkQuery", format!("{base}/sink")),
        ("cutQuery", format!("{base}/soap/cut-parts")),
        ("unclosedQuery", format!("{base}/soap/unclosed-parts")),
        ("partfaultQuery", format!("{base}/soap/part-fault")),
        ("otheridQuery", format!("{base}/soap/other-id")),
        ("refusedQuery", nobody),
    ];
    for (code, url) in soap {
        service(&mut events, code, Some("v1"), &url, ServiceKind::Wsdl, Some(everything.clone()), 5);
    }
    let soap = format!("{base}/soap/echo");
    service(&mut events, "wsdl", None, &soap, ServiceKind::Wsdl, Some(everything.clone()), 5);
    for (code, address) in ["pinned", "otherpin"].into_iter().zip(secure) {
        let url = format!("https://{address}/rest");
        service(&mut events, code, None, &url, ServiceKind::Rest, Some(everything.clone()), 5);
        let settings = ServiceSettings { url, timeout_seconds: 5, verify_tls: true, title: None };
        events.push(Event::ServiceChanged { client: provider(), code: code.into(), version: None, settings });
    }
    events.push(Event::TlsCertAdded { client: provider(), der: pinned.der().to_vec() });
    service(&mut events, "disabled", None, &format!("{base}/rest"), ServiceKind::Rest, Some(everything), 5);
    let notice = Some("down for maintenance".to_owned());
    events.push(Event::DescriptionSwitched {
        client: provider(),
        url: "d:disabled".into(),
        disabled: notice,
    });
    State::replay(events).unwrap()
}

fn service(
    events: &mut Vec<Event>,
    code: &str,
    version: Option<&str>,
    url: &str,
    kind: ServiceKind,
    right: Option<Endpoint>,
    timeout_seconds: u32,
) {
    let (client, description) = (provider(), format!("d:{code}"));
    let settings = ServiceSettings { url: url.to_owned(), timeout_seconds, verify_tls: false, title: None };
    events.push(Event::DescriptionAdded {
        client: client.clone(),
        url: description.clone(),
        kind,
        disabled: None,
    });
    events.push(Event::ServiceAdded {
        client: client.clone(),
        description,
        code: code.to_owned(),
        version: version.map(str::to_owned),
        settings,
    });
    let Some(endpoint) = right else { return };
    if endpoint != Endpoint::service_level() {
        events.push(Event::EndpointAdded {
            client: client.clone(),
            code: code.to_owned(),
            endpoint: endpoint.clone(),
            generated: false,
        });
    }
    let subject = Subject::Client(subsystem(consumer_member(), "CONSUMER"));
    events.push(Event::RightGranted { client, code: code.to_owned(), endpoint, subject });
}

/// A folder with all that is in it.
pub fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
