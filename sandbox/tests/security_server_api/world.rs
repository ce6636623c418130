//! A central server whose registry the test holds, trust services, and security servers that start empty, all in this process.
//!
//! The management APIs are served without TLS, since TLS is not what is tried here. Security servers download when they are told to,
//! besides every hour, so that what a test sees between two calls does not depend on time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use admin_api::Frame;
use admin_api::auth::users;
use admin_api::operation::Role;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_server::Offline;
use central_server::configuration_source::ConfigurationSource;
use central_server::configuration_source::web::Web;
use central_server::management_service::listener::{self, Listener};
use central_server::management_service::{ManagementService, Service};
use central_server::registry::state::id_of;
use central_server::registry::{CaSettings, Command, Parameter, Registry, SourceKind};
use central_server::token::TokenSlot;
use host::clock::Clock;
use host::http::{Limits, Transport, serve};
use host::settings::Listen;
use host::shutdown::Shutdown;
use pki::key::KeyKind;
use proto::globalconf::shared_parameters::CostType;
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;
use sandbox::authority::Authority;
use sandbox::loopback::Claim;
use sandbox::ocsp_responder::OcspResponder;
use sandbox::tsa::Tsa;
use security_server::admin_api::Api;
use security_server::foundation::Foundation;
use security_server::relay;
use security_server::tasks::Tasks;
use testkit::calls::{Call, Session};
use tokio::net::TcpListener;

const PIN: &str = "Secret1234";
/// Of every user.
pub(crate) const PASSWORD: &str = "correct horse battery";
const PROFILE: &str = "ee.ria.xroad.common.certificateprofile.impl.FiVRKCertificateProfileInfoProvider";
const ANY: &str = "127.0.0.1:0";

/// Keys by what recordings call them.
const KEYS: [(&str, &[Role]); 6] = [
    (
        "all",
        &[
            Role::SecurityOfficer,
            Role::RegistrationOfficer,
            Role::ServiceAdministrator,
            Role::SystemAdministrator,
            Role::Observer,
        ],
    ),
    ("so", &[Role::SecurityOfficer]),
    ("ro", &[Role::RegistrationOfficer]),
    ("sa", &[Role::ServiceAdministrator]),
    ("sy", &[Role::SystemAdministrator]),
    ("ob", &[Role::Observer]),
];

/// Everything but security servers.
pub(crate) struct World {
    pub(crate) authority: Arc<Authority>,
    pub(crate) tsas: [Tsa; 2],
    pub(crate) ocsp: OcspResponder,
    pub(crate) internal_anchor: Vec<u8>,
    pub(crate) external_anchor: Vec<u8>,
    /// Where the configuration is.
    pub(crate) central: SocketAddr,
    /// Where the configuration is that expired yesterday.
    pub(crate) expired: SocketAddr,
    /// Where management requests go that a security server passes on.
    pub(crate) management: SocketAddr,
    pub(crate) registry: Arc<Offline>,
    pub(crate) source: Arc<ConfigurationSource>,
    _shutdown: Shutdown,
    folder: tempfile::TempDir,
}

pub(crate) fn member(class: &str, code: &str) -> MemberId {
    MemberId::new("DEV", class, code)
}

pub(crate) fn provider() -> ClientId {
    ClientId { member: member("COM", "1234"), subsystem: Some("MANAGEMENT".into()) }
}

async fn bind(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl World {
    pub(crate) async fn start() -> Self {
        let (folder, clock, shutdown) = (tempfile::tempdir().unwrap(), Clock::System, Shutdown::default());
        let any: SocketAddr = ANY.parse().unwrap();
        let (ocsp, ocsp_address) = bind(ANY).await;
        drop(ocsp);
        let authority = {
            let (dir, now) = (folder.path().join("trust"), clock.now());
            let url = format!("http://{ocsp_address}/ocsp");
            let open = move || Authority::open(&dir, KeyKind::P256, &url, now).unwrap();
            Arc::new(tokio::task::spawn_blocking(open).await.unwrap())
        };
        let ocsp = OcspResponder::start(ocsp_address, authority.clone(), clock.clone()).await.unwrap();
        let tsas = [
            Tsa::start(any, authority.clone(), clock.clone()).await.unwrap(),
            Tsa::start(any, authority.clone(), clock.clone()).await.unwrap(),
        ];
        let (web, central) = bind(ANY).await;
        let (registration, registration_address) = bind(ANY).await;
        let (management, management_address) = bind(ANY).await;
        let offline = Arc::new(Offline::open(&folder.path().join("cs"), clock.clone()).unwrap());
        let pair =
            admin_api::tls::pair(&offline.folder("tls").unwrap(), "management", "localhost", clock.now());
        let pair = pair.unwrap();
        let mut commands = instance(central, registration_address, pair.chain[0].der());
        commands.extend(trust_services(&authority, &ocsp, &tsas));
        offline.execute_all("test", commands).unwrap();
        offline.ensure_signing_keys("test", PIN, KeyKind::P256).unwrap();
        let token = Arc::new(TokenSlot::open(offline.folder("keys").unwrap()).unwrap());
        token.get().unwrap().login(PIN, clock.now()).unwrap();
        let public = offline.folder("public").unwrap();
        let anchors = offline.folder("anchors").unwrap();
        let registry = Arc::clone(offline.registry());
        let expired_token = Arc::clone(&token);
        let source =
            ConfigurationSource::new(registry.clone(), token, clock.clone(), 2, public.clone(), anchors);
        let source = Arc::new(source);
        source.generate().unwrap();
        let site = Web::new(&public, clock.clone()).describing(registry.clone());
        let answer = move |request, _| {
            let site = site.clone();
            async move { site.answer(request).await }
        };
        tokio::spawn(serve(web, Transport::Plain, Limits::default(), shutdown.clone(), answer));
        let expired = serve_expired(&registry, &expired_token, folder.path(), &shutdown).await;
        let service = Arc::new(ManagementService::new(registry, clock.clone(), Default::default()));
        for (listener, kind) in [(registration, Service::Registration), (management, Service::Management)] {
            let transport = Transport::tls(listener::tls(&pair, None).unwrap());
            let handler = Listener::new(service.clone(), kind, None, clock.clone());
            let answer = move |request, peer| {
                let handler = handler.clone();
                async move { handler.answer(request, peer).await }
            };
            tokio::spawn(serve(listener, transport, Limits::default(), shutdown.clone(), answer));
        }
        Self {
            internal_anchor: offline.anchor(SourceKind::Internal).unwrap(),
            external_anchor: offline.anchor(SourceKind::External).unwrap(),
            authority,
            tsas,
            ocsp,
            central,
            expired,
            management: management_address,
            registry: offline,
            source,
            _shutdown: shutdown,
            folder,
        }
    }

    /// Everything that waits for staff is approved, and published.
    pub(crate) fn approve_all(&self) {
        let registry = self.registry.registry();
        for id in 1..=registry.state().numbers.request {
            // What does not wait is refused.
            let _ = registry.execute("staff", Command::ApproveRequest { id });
        }
        self.publish();
    }

    /// The configuration of now.
    pub(crate) fn publish(&self) {
        self.source.generate().unwrap();
    }

    /// An empty security server.
    pub(crate) async fn security_server(&self, name: &str, pin_policy: bool) -> SecurityServer {
        SecurityServer::start(&self.folder.path().join(name), pin_policy).await
    }
}

/// The same configuration as it was signed two days ago.
async fn serve_expired(
    registry: &Arc<Registry>,
    token: &Arc<TokenSlot>,
    folder: &Path,
    shutdown: &Shutdown,
) -> SocketAddr {
    let (listener, address) = bind(ANY).await;
    let (public, anchors) = (folder.join("expired"), folder.join("expired-anchors"));
    for folder in [&public, &anchors] {
        std::fs::create_dir(folder).unwrap();
    }
    let then = Clock::fixed(UnixTime(Clock::System.now().0 - 2 * 86_400_000));
    let source = ConfigurationSource::new(registry.clone(), token.clone(), then, 2, public.clone(), anchors);
    source.generate().unwrap();
    let site = Web::new(&public, Clock::System);
    let answer = move |request, _| {
        let site = site.clone();
        async move { site.answer(request).await }
    };
    tokio::spawn(serve(listener, Transport::Plain, Limits::default(), shutdown.clone(), answer));
    address
}

fn instance(central: SocketAddr, registration: SocketAddr, cert: &[u8]) -> Vec<Command> {
    let url = format!("https://{registration}/managementservice/");
    let mut commands = vec![
        Command::Initialise { instance: "DEV".into(), address: central.to_string() },
        Command::SetParameter(Parameter::AuthCertRegUrl(Some(url))),
        Command::SetParameter(Parameter::AuthCertRegCert(Some(cert.to_vec()))),
    ];
    for (code, description) in [("COM", "Commercial"), ("GOV", "Government"), ("ORG", "Non-profit")] {
        commands.push(Command::AddMemberClass { code: code.into(), description: description.into() });
    }
    let members = [
        ("COM", "1234", "Management Member"),
        ("COM", "4321", "Test Member"),
        ("GOV", "55", "Government 55"),
        ("ORG", "7", "Organisation 7"),
    ];
    for (class, code, name) in members {
        commands.push(Command::AddMember { id: member(class, code), name: name.into() });
    }
    commands.push(Command::AddSubsystem { id: provider(), name: None });
    commands.push(Command::SetManagementProvider { provider: provider() });
    commands
}

fn trust_services(authority: &Authority, ocsp: &OcspResponder, tsas: &[Tsa; 2]) -> Vec<Command> {
    let (root, intermediate) = (authority.root(), authority.intermediate());
    let settings = CaSettings {
        name: Some("LabCA".into()),
        profile: PROFILE.into(),
        default_csr_format: Some("DER".into()),
        ..CaSettings::default()
    };
    let ca = id_of(root.der());
    let mut commands = vec![
        Command::AddCa { cert: root.der().to_vec(), settings },
        Command::AddIntermediateCa { ca: ca.clone(), cert: intermediate.der().to_vec() },
    ];
    for ca in [ca, id_of(intermediate.der())] {
        commands.push(Command::AddOcspResponder { ca, url: ocsp.url(), cert: None, cost: CostType::Free });
    }
    for (tsa, name, cost) in [(&tsas[0], "LabTSA2", CostType::Paid), (&tsas[1], "LabTSA", CostType::Free)] {
        let (name, url, cert) = (Some(name.to_owned()), tsa.url(), authority.tsa().cert.der().to_vec());
        commands.push(Command::AddTsa { name, url, cert, cost });
    }
    commands
}

/// A security server.
pub(crate) struct SecurityServer {
    pub(crate) foundation: Arc<Foundation>,
    pub(crate) frame: Arc<Frame<Api>>,
    api: SocketAddr,
    /// Where peers reach it; the global configuration knows hosts alone, so that this one is its own.
    pub(crate) host: String,
    keys: BTreeMap<&'static str, String>,
    /// Sessions by the name of their user.
    sessions: Mutex<BTreeMap<String, Session>>,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
    claim: Claim,
}

fn settings(folder: &Path, claim: &Claim, pin_policy: bool) -> security_server::config::Settings {
    let any: SocketAddr = ANY.parse().unwrap();
    let mut file = security_server::config::File { data_dir: folder.to_owned(), ..Default::default() };
    file.health_check_listen = Listen(None);
    file.proxy.client_http_listen = Listen(Some(any));
    file.proxy.client_https_listen = Listen(None);
    file.proxy.server_listen = claim.with_port(5500);
    file.proxy.ocsp_responder_listen = claim.with_port(5577);
    file.management_api.rate_limit_requests_per_second = -1;
    file.management_api.rate_limit_requests_per_minute = -1;
    file.signer.enforce_token_pin_policy = pin_policy;
    file.configuration_client.update_interval = 3600;
    file.configuration_client.downloader_connect_timeout = 2_000;
    file.message_log.segment_size = 1024 * 1024;
    file.message_log.min_free_space = 0;
    file.resolve().unwrap()
}

impl SecurityServer {
    async fn start(folder: &Path, pin_policy: bool) -> Self {
        let claim = Claim::take(None).unwrap();
        Self::open(settings(folder, &claim, pin_policy), claim, Clock::System).await
    }

    async fn open(settings: security_server::config::Settings, claim: Claim, clock: Clock) -> Self {
        let shutdown = Shutdown::default();
        let (api, stop) = (settings.api.clone(), shutdown.clone());
        let open = move || {
            let foundation = Foundation::open(Arc::new(settings), clock.clone(), stop).unwrap();
            let foundation = Arc::new(foundation);
            let admin = foundation.folder("admin").unwrap();
            let frame = Frame::new(Api::new(foundation.clone()).server(), api, &admin, clock);
            (foundation, Arc::new(frame.unwrap()))
        };
        let (foundation, frame) = tokio::task::spawn_blocking(open).await.unwrap();
        let keys = KEYS.map(|(name, roles)| (name, frame.keys().create(roles).unwrap().key)).into();
        let (listener, api) = bind(ANY).await;
        let (handler, stop) = (Arc::clone(&frame), shutdown.clone());
        let answer = move |request, peer| Arc::clone(&handler).answer(request, peer);
        tokio::spawn(serve(listener, Transport::Plain, Limits::default(), stop, answer));
        let running = tokio::spawn(run(foundation.clone()));
        let host = claim.address().to_string();
        let sessions = Mutex::default();
        Self { foundation, frame, api, host, keys, sessions, shutdown, running, claim }
    }

    pub(crate) fn knows(&self, caller: &str) -> bool {
        caller == "none" || self.keys.contains_key(caller)
    }

    /// Downloads the configuration now, and lets it take effect.
    pub(crate) async fn download(&self) {
        let _ = self.foundation.configuration.run_once().await;
        let foundation = Arc::clone(&self.foundation);
        // What the server does when it sees the new one, done when this returns.
        let refresh = move || {
            foundation.align().unwrap();
            foundation.rebuild();
            foundation.refresh_keys();
        };
        tokio::task::spawn_blocking(refresh).await.unwrap();
    }

    /// A user with the roles of a key, and [`PASSWORD`].
    pub(crate) async fn add_user(&self, name: &str) {
        let file = self.foundation.folder("admin").unwrap().join("users");
        let (name, roles) = *KEYS.iter().find(|(key, _)| *key == name).unwrap();
        let set = move || users::set(&file, name, roles, PASSWORD).unwrap();
        tokio::task::spawn_blocking(set).await.unwrap();
    }

    /// Logs a user in, who calls as `session-NAME` from then on.
    pub(crate) async fn log_in(&self, name: &str, form: &[u8]) -> (u16, Vec<u8>) {
        let (answer, session) = Session::begin(self.api, form).await;
        let mut sessions = self.sessions.lock().unwrap();
        sessions.extend(session.map(|session| (format!("session-{name}"), session)));
        (answer.status, answer.body)
    }

    /// Status, headers and body of an answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        caller: &str,
        media: [Option<&str>; 2],
        body: &[u8],
    ) -> (u16, String, Vec<u8>) {
        let lines = ["Content-Type", "Accept"].into_iter().zip(media);
        let mut lines: Vec<_> = lines.filter_map(|(name, value)| Some((name, value?))).collect();
        let session = self.sessions.lock().unwrap().get(caller).cloned();
        lines.extend(session.iter().flat_map(Session::lines));
        let basic = caller.strip_prefix("password-").map(|name| format!("{name}:{PASSWORD}"));
        let basic = basic.map(|text| format!("Basic {}", STANDARD.encode(text)));
        lines.extend(basic.iter().map(|text| ("Authorization", text.as_str())));
        let key = self.keys.get(caller).map(String::as_str);
        let answer = Call { method, target, key, lines: &lines, body }.send(self.api).await;
        (answer.status, answer.head, answer.body)
    }

    /// A call with JSON by somebody who may do anything.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let media = [(!body.is_empty()).then_some("application/json"), None];
        let target = format!("/api/v1{path}");
        let (status, _, answer) = self.send(method, &target, "all", media, body.as_bytes()).await;
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Ends it, and starts it in the same folder and at the same address, with other keys for its callers and without their sessions.
    pub(crate) async fn start_again(self) -> Self {
        self.start_again_at(Clock::System).await
    }

    /// The same, by another clock.
    pub(crate) async fn start_again_at(self, clock: Clock) -> Self {
        self.shutdown.stop();
        tokio::time::timeout(Duration::from_secs(10), self.running).await.unwrap().unwrap();
        let settings = self.foundation.settings.as_ref().clone();
        let held = Arc::downgrade(&self.foundation);
        drop((self.foundation, self.frame));
        assert!(host::shutdown::released(held, Duration::from_secs(10)).await, "a call did not end");
        Self::open(settings, self.claim, clock).await
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.shutdown.stop();
        let _ = tokio::time::timeout(Duration::from_secs(10), self.running).await;
    }
}

/// What `app` does: the relay as soon as it can run, and the watch.
async fn run(foundation: Arc<Foundation>) {
    let watch = tokio::spawn(foundation.clone().watch());
    let mut tasks = Tasks::default();
    let relay = tokio::select! {
        () = foundation.completed() => Some(relay::start(&foundation, &mut tasks).await.unwrap()),
        () = foundation.shutdown.stopped() => None,
    };
    foundation.shutdown.stopped().await;
    tasks.finish(Duration::from_secs(5)).await;
    if let Some(relay) = relay {
        relay.close().await;
    }
    let _ = watch.await;
}
