//! A central server's management API over a fresh data directory, at a clock that the test moves.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use admin_api::Frame;
use admin_api::auth::users;
use admin_api::config::ManagementApi;
use admin_api::operation::Role;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_server::Offline;
use central_server::admin_api::Api;
use central_server::config::AutoApprove;
use central_server::configuration_source::web::Web;
use central_server::configuration_source::{ConfigurationSource, documents};
use central_server::federation::Trial;
use central_server::management_service::ManagementService;
use central_server::management_service::tls::ManagementTls;
use central_server::registry::SourceKind;
use central_server::token::TokenSlot;
use host::clock::Clock;
use host::http::{Limits, Transport, serve};
use host::shutdown::Shutdown;
use pki::key::KeyKind;
use proto::time::UnixTime;
use testkit::calls::{Call, Session};
use tokio::net::TcpListener;

/// Keys by what recordings call them.
const KEYS: [(&str, &[Role]); 5] = [
    ("all", &[Role::SecurityOfficer, Role::RegistrationOfficer, Role::SystemAdministrator]),
    ("so", &[Role::SecurityOfficer]),
    ("ro", &[Role::RegistrationOfficer]),
    ("sy", &[Role::SystemAdministrator]),
    ("ms", &[Role::ManagementService]),
];

/// Of every user.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// An API that is served.
#[derive(Clone)]
struct Served {
    address: SocketAddr,
    keys: BTreeMap<&'static str, String>,
    frame: Arc<Frame<Api>>,
}

/// Serves an API; gives its address and its keys.
async fn serve_one(api: Api, offline: &Offline, folder: &str, clock: &Clock, shutdown: &Shutdown) -> Served {
    let settings = ManagementApi {
        rate_limit_requests_per_second: -1,
        rate_limit_requests_per_minute: -1,
        ..ManagementApi::default()
    };
    let folder = offline.folder(folder).unwrap();
    let frame = Frame::new(api.server(), settings.resolve().unwrap(), &folder, clock.clone()).unwrap();
    let keys = KEYS.map(|(name, roles)| (name, frame.keys().create(roles).unwrap().key)).into();
    let frame = Arc::new(frame);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::clone(&frame);
    let handler = move |request, peer| Arc::clone(&served).answer(request, peer);
    tokio::spawn(serve(listener, Transport::Plain, Limits::default(), shutdown.clone(), handler));
    Served { address, keys, frame }
}

/// Serves what is published; gives its address.
async fn serve_web(public: &Path, clock: &Clock, shutdown: &Shutdown) -> SocketAddr {
    let web = Web::new(public, clock.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = move |request, _| {
        let web = web.clone();
        async move { web.answer(request).await }
    };
    tokio::spawn(serve(listener, Transport::Plain, Limits::default(), shutdown.clone(), handler));
    address
}

/// The server.
pub(crate) struct Scene {
    served: Served,
    /// Where the configuration is published.
    pub(crate) web: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) management: ManagementService,
    pub(crate) source: Arc<ConfigurationSource>,
    automatic: Served,
    /// Sessions by the name of their user.
    sessions: Mutex<BTreeMap<String, Session>>,
    pub(crate) offline: Arc<Offline>,
    _shutdown: Shutdown,
    folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(UnixTime::from_secs(1_795_285_600));
        let offline = Arc::new(Offline::open(folder.path(), clock.clone()).unwrap());
        let token = Arc::new(TokenSlot::open(offline.folder("keys").unwrap()).unwrap());
        let public = offline.folder("public").unwrap();
        let source = Arc::new(ConfigurationSource::new(
            Arc::clone(offline.registry()),
            Arc::clone(&token),
            clock.clone(),
            2,
            public.clone(),
            offline.folder("anchors").unwrap(),
        ));
        let tls = offline.folder("tls").unwrap();
        let management_tls = Arc::new(ManagementTls::open(tls, "cs", None, clock.now()).unwrap());
        let api = |auto_approve| Api {
            registry: Arc::clone(offline.registry()),
            token: Arc::clone(&token),
            source: Arc::clone(&source),
            // A restart within the process is `app`'s matter; its signal is not that of this scene's listeners.
            backups: central_server::admin_api::backups::of(
                offline.registry(),
                folder.path().to_owned(),
                admin_api::backup::archive::Limits { bytes: 64 << 20, files: 1_000 },
                clock.clone(),
                Shutdown::default(),
                std::time::Duration::from_secs(1),
            ),
            management_tls: Arc::clone(&management_tls),
            offers_registration: false,
            public: public.clone(),
            parts_folder: None,
            trial: Trial::new(std::time::Duration::from_secs(20)),
            clock: clock.clone(),
            auto_approve,
            internal_key: KeyKind::P256,
            external_key: KeyKind::P256,
        };
        let shutdown = Shutdown::default();
        let web = serve_web(&public, &clock, &shutdown).await;
        let served = serve_one(api(AutoApprove::default()), &offline, "admin", &clock, &shutdown).await;
        let all = AutoApprove { auth_certs: true, clients: true, owner_changes: true };
        let automatic = serve_one(api(all), &offline, "automatic", &clock, &shutdown).await;
        let management =
            ManagementService::new(Arc::clone(offline.registry()), clock.clone(), AutoApprove::default());
        Self {
            served,
            web,
            clock,
            management,
            source,
            automatic,
            sessions: Mutex::default(),
            offline,
            _shutdown: shutdown,
            folder,
        }
    }

    /// Its data directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// From now on requests of security servers approve themselves where they can.
    pub(crate) fn approve_automatically(&mut self) {
        self.served = self.automatic.clone();
    }

    /// Moves the clock to a time of a recording.
    pub(crate) fn go_to(&self, time: &str) {
        self.clock.set(UnixTime::from_iso8601(time).unwrap());
    }

    /// Makes and publishes a configuration of the present state.
    pub(crate) async fn publish(&self) {
        let source = Arc::clone(&self.source);
        tokio::task::spawn_blocking(move || source.generate()).await.unwrap().unwrap();
    }

    /// The anchor of a source as a file, leading to where this scene publishes.
    pub(crate) fn anchor(&self, source: SourceKind) -> Vec<u8> {
        let mut anchor = documents::anchor(&self.offline.registry().state(), source).unwrap();
        anchor.sources.truncate(1);
        anchor.sources[0].url = format!("http://{}/{}", self.web, source.directory());
        anchor.write().unwrap()
    }

    /// Calls a backup otherwise.
    pub(crate) fn rename_backup(&self, from: &str, to: &str) {
        let folder = self.folder.path().join("backup");
        std::fs::rename(folder.join(from), folder.join(to)).unwrap();
    }

    pub(crate) fn knows(&self, caller: &str) -> bool {
        caller == "none" || self.served.keys.contains_key(caller)
    }

    /// The API as it is served.
    pub(crate) fn frame(&self) -> &Frame<Api> {
        &self.served.frame
    }

    /// A user with the roles of a key, and [`PASSWORD`].
    pub(crate) async fn add_user(&self, name: &str) {
        let file = self.offline.folder("admin").unwrap().join("users");
        let (name, roles) = *KEYS.iter().find(|(key, _)| *key == name).unwrap();
        let set = move || users::set(&file, name, roles, PASSWORD).unwrap();
        tokio::task::spawn_blocking(set).await.unwrap();
    }

    /// Logs a user in, who calls as `session-NAME` from then on.
    pub(crate) async fn log_in(&self, name: &str, form: &[u8]) -> (u16, Vec<u8>) {
        let (answer, session) = Session::begin(self.served.address, form).await;
        let mut sessions = self.sessions.lock().unwrap();
        sessions.extend(session.map(|session| (format!("session-{name}"), session)));
        (answer.status, answer.body)
    }

    /// Status and body of an answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        caller: &str,
        content_type: Option<&str>,
        accept: Option<&str>,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let lines = [("Content-Type", content_type), ("Accept", accept)];
        let mut lines: Vec<_> = lines.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
        let session = self.sessions.lock().unwrap().get(caller).cloned();
        lines.extend(session.iter().flat_map(Session::lines));
        let basic = caller.strip_prefix("password-").map(|name| format!("{name}:{PASSWORD}"));
        let basic = basic.map(|text| format!("Basic {}", STANDARD.encode(text)));
        lines.extend(basic.iter().map(|text| ("Authorization", text.as_str())));
        let key = self.served.keys.get(caller).map(String::as_str);
        let answer = Call { method, target, key, lines: &lines, body }.send(self.served.address).await;
        (answer.status, answer.body)
    }
}
