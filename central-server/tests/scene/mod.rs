//! A central server's management API over a fresh data directory, at a clock that the test moves.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use admin_api::Frame;
use admin_api::config::ManagementApi;
use admin_api::operation::Role;
use central_server::Offline;
use central_server::admin_api::Api;
use central_server::config::AutoApprove;
use central_server::configuration_source::ConfigurationSource;
use central_server::management_service::ManagementService;
use central_server::token::TokenSlot;
use host::clock::Clock;
use host::http::{Limits, Transport, serve};
use host::shutdown::Shutdown;
use pki::key::KeyKind;
use proto::time::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Keys by what recordings call them.
const KEYS: [(&str, &[Role]); 5] = [
    ("all", &[Role::SecurityOfficer, Role::RegistrationOfficer, Role::SystemAdministrator]),
    ("so", &[Role::SecurityOfficer]),
    ("ro", &[Role::RegistrationOfficer]),
    ("sy", &[Role::SystemAdministrator]),
    ("ms", &[Role::ManagementService]),
];

/// Serves an API; gives its address and its keys.
async fn serve_one(
    api: Api,
    offline: &Offline,
    folder: &str,
    clock: &Clock,
    shutdown: &Shutdown,
) -> (SocketAddr, BTreeMap<&'static str, String>) {
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
    let handler = move |request, peer| Arc::clone(&frame).answer(request, peer);
    tokio::spawn(serve(listener, Transport::Plain, Limits::default(), shutdown.clone(), handler));
    (address, keys)
}

/// The server.
pub(crate) struct Scene {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) management: ManagementService,
    pub(crate) source: Arc<ConfigurationSource>,
    keys: BTreeMap<&'static str, String>,
    automatic: (SocketAddr, BTreeMap<&'static str, String>),
    pub(crate) offline: Arc<Offline>,
    _shutdown: Shutdown,
    _folder: tempfile::TempDir,
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
        let api = |auto_approve| Api {
            registry: Arc::clone(offline.registry()),
            token: Arc::clone(&token),
            source: Arc::clone(&source),
            registration_cert: None,
            public: public.clone(),
            clock: clock.clone(),
            auto_approve,
            internal_key: KeyKind::P256,
            external_key: KeyKind::P256,
        };
        let shutdown = Shutdown::default();
        let (address, keys) =
            serve_one(api(AutoApprove::default()), &offline, "admin", &clock, &shutdown).await;
        let all = AutoApprove { auth_certs: true, clients: true, owner_changes: true };
        let automatic = serve_one(api(all), &offline, "automatic", &clock, &shutdown).await;
        let management =
            ManagementService::new(Arc::clone(offline.registry()), clock.clone(), AutoApprove::default());
        Self {
            address,
            clock,
            management,
            source,
            keys,
            automatic,
            offline,
            _shutdown: shutdown,
            _folder: folder,
        }
    }

    /// From now on requests of security servers approve themselves where they can.
    pub(crate) fn approve_automatically(&mut self) {
        (self.address, self.keys) = self.automatic.clone();
    }

    /// Moves the clock to a time of a recording.
    pub(crate) fn go_to(&self, time: &str) {
        self.clock.set(UnixTime::from_iso8601(time).unwrap());
    }

    pub(crate) fn knows(&self, caller: &str) -> bool {
        caller == "none" || self.keys.contains_key(caller)
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
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: cs:4000\r\nConnection: close\r\n");
        if let Some(key) = self.keys.get(caller) {
            head.push_str(&format!("Authorization: X-Road-ApiKey token={key}\r\n"));
        }
        for (name, value) in [("Content-Type", content_type), ("Accept", accept)] {
            if let Some(value) = value {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses early need not read all of it.
        let _ = stream.write_all(body).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let status = std::str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap();
        (status, bytes[end..].to_vec())
    }
}
