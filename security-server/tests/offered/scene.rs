//! A security server's management API over a fresh data directory, a global configuration that the test writes, and documents to be
//! fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use admin_api::Frame;
use admin_api::config::ManagementApi;
use admin_api::operation::Role;
use host::clock::Clock;
use host::http::{Limits, Transport, serve};
use host::shutdown::Shutdown;
use pki::globalconf::{Builder, GlobalConf, Instance};
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{GlobalGroup, Member, SecurityServer, SharedParameters, Source};
use proto::id::{ClientId, GlobalGroupId, MemberId, ServerId};
use proto::time::UnixTime;
use security_server::admin_api::Api;
use security_server::foundation::Foundation;
use security_server::serverconf::ServerConf;
use security_server::serverconf::event::Event;
use serde_json::Value;
use testkit::calls::Call;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_285_600);

pub(crate) fn client(encoded: &str) -> ClientId {
    ClientId::parse_encoded(encoded).unwrap()
}

/// A served API.
pub(crate) struct Scene {
    pub(crate) foundation: Arc<Foundation>,
    address: SocketAddr,
    key: String,
    /// Of somebody with one role, by what recordings call it.
    others: BTreeMap<&'static str, String>,
    documents: Documents,
    _shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// The server `DEV:COM:1:SS1`, with clients that the global configuration lists with it.
    pub(crate) async fn start(listed: &[&str]) -> Self {
        let owner = MemberId::new("DEV", "COM", "1");
        let scene = Self::of(ServerId { owner, code: "SS1".into() }).await;
        scene.list(listed);
        scene
    }

    /// A server without a global configuration.
    pub(crate) async fn of(id: ServerId) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(NOW);
        let shutdown = Shutdown::default();
        let mut file =
            security_server::config::File { data_dir: folder.path().join("data"), ..Default::default() };
        file.signer.pin_file = Some(folder.path().join("pin"));
        let settings = Arc::new(file.resolve().unwrap());
        let opened = {
            let (clock, shutdown) = (clock.clone(), shutdown.clone());
            tokio::task::spawn_blocking(move || Foundation::open(settings, clock, shutdown)).await.unwrap()
        };
        let foundation = Arc::new(opened.unwrap());
        foundation.change("test", vec![Event::ServerNamed { id }]).unwrap();

        let rates = ManagementApi {
            rate_limit_requests_per_second: -1,
            rate_limit_requests_per_minute: -1,
            ..ManagementApi::default()
        };
        let admin = foundation.folder("admin").unwrap();
        let api = Api::new(Arc::clone(&foundation));
        let frame = Frame::new(api.server(), rates.resolve().unwrap(), &admin, clock).unwrap();
        let roles = [Role::RegistrationOfficer, Role::ServiceAdministrator];
        let key = frame.keys().create(&roles).unwrap().key;
        let one = |role| frame.keys().create(&[role]).unwrap().key;
        let others = [("so", one(Role::SecurityOfficer)), ("sy", one(Role::SystemAdministrator))].into();
        let frame = Arc::new(frame);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = move |request, peer| Arc::clone(&frame).answer(request, peer);
        tokio::spawn(serve(listener, Transport::Plain, Limits::default(), shutdown.clone(), handler));
        let documents = Documents::start().await;
        Self { foundation, address, key, others, documents, _shutdown: shutdown, _folder: folder }
    }

    /// A scene with one registered client, `DEV:COM:1:A`.
    pub(crate) async fn with_client() -> Self {
        let scene = Self::start(&["DEV:COM:1:A"]).await;
        let new = serde_json::json!({"client": {"member_class": "COM", "member_code": "1", "subsystem_code": "A",
            "connection_type": "HTTP"}});
        assert_eq!(scene.post("/clients", new).await.0, 201);
        scene
    }

    /// The global configuration lists these clients with the server from now on, and what follows is recorded.
    pub(crate) fn list(&self, clients: &[&str]) {
        self.publish(conf(clients));
    }

    /// Another global configuration; what follows from it is recorded.
    pub(crate) fn publish(&self, conf: GlobalConf) {
        self.foundation.globalconf.store(Arc::new(Some(Arc::new(conf))));
        self.foundation.align().unwrap();
        self.foundation.rebuild();
    }

    /// What exchanges would be decided by.
    pub(crate) fn served(&self) -> ServerConf {
        let conf = self.foundation.globalconf.load();
        ServerConf::build(&self.foundation.conf.state(), conf.as_ref().as_deref()).unwrap()
    }

    /// Where a document is, which is put there.
    pub(crate) fn document(&self, path: &str, content: impl Into<String>) -> String {
        self.documents.content.lock().unwrap().insert(path.to_owned(), content.into());
        self.at(path)
    }

    /// The address of a path on the server of documents.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.documents.address)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, None).await
    }
    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("POST", path, Some(body)).await
    }
    pub(crate) async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PATCH", path, Some(body)).await
    }
    pub(crate) async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PUT", path, Some(body)).await
    }
    pub(crate) async fn delete(&self, path: &str) -> u16 {
        self.send("DELETE", path, None).await.0
    }

    /// Status and body; nothing is `Null`.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let bytes = body.map(|body| body.to_string().into_bytes());
        self.send_bytes(method, path, "application/json", &bytes.unwrap_or_default()).await
    }

    pub(crate) async fn send_bytes(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let has_body = !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH");
        let lines: &[_] = if has_body { &[("Content-Type", content_type)] } else { &[] };
        self.send_as("all", method, path, lines, body).await
    }

    /// A call of somebody else, with these header lines.
    pub(crate) async fn send_as(
        &self,
        who: &str,
        method: &str,
        path: &str,
        lines: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Value) {
        let key = if who == "all" { Some(&self.key) } else { self.others.get(who) };
        let target = format!("/api/v1{path}");
        let call = Call { method, target: &target, key: key.map(String::as_str), lines, body };
        let answer = call.send(self.address).await;
        (answer.status, answer.json())
    }

    /// The server's own API document.
    pub(crate) async fn document_of_api(&self) -> Value {
        let call = Call { method: "GET", target: "/api/v1/openapi.yaml", key: None, lines: &[], body: &[] };
        serde_yaml_ng::from_slice(&call.send(self.address).await.body).unwrap()
    }

    /// Every call is refused with its status and code; `""` is a body without a code.
    pub(crate) async fn assert_refused(&self, calls: &[(&str, &str, Value, u16, &str)]) {
        for (method, path, body, status, code) in calls {
            let before = self.foundation.conf.state();
            let (found, answer) = self.send(method, path, Some(body.clone())).await;
            let found_code = answer["error"]["code"].as_str().unwrap_or_default();
            assert_eq!((found, found_code), (*status, *code), "{method} {path} {body}: {answer}");
            assert_eq!(self.foundation.conf.state(), before, "{method} {path} {body} changed something");
        }
    }
}

/// Values of a field in a list.
pub(crate) fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap_or_default()).collect()
}

/// Instance DEV: the server and its clients, three members, one global group with `DEV:GOV:3:Y`.
fn conf(listed: &[&str]) -> GlobalConf {
    let mut parameters =
        SharedParameters { instance: "DEV".into(), ocsp_freshness_seconds: 3600, ..Default::default() };
    let cert = vec![certificate("DEV")];
    let address = "cs.test".to_owned();
    parameters.sources.push(Source { address, internal_certs: cert.clone(), external_certs: cert });
    parameters.member_classes = vec![("COM".into(), "companies".into()), ("GOV".into(), "offices".into())];
    let mut subsystems: BTreeMap<MemberId, BTreeSet<String>> = BTreeMap::new();
    for id in ["DEV:COM:1", "DEV:COM:2:X", "DEV:GOV:3:Y"].iter().chain(listed).map(|id| client(id)) {
        subsystems.entry(id.member).or_default().extend(id.subsystem);
    }
    let names = [("1", "Owner Ltd"), ("2", "Second Ltd"), ("3", "Office")];
    parameters.members = subsystems
        .into_iter()
        .map(|(id, subsystems)| Member {
            name: names
                .iter()
                .find(|(code, _)| *code == id.code)
                .map_or("Other", |(_, name)| name)
                .to_owned(),
            id,
            class_description: "class".into(),
            subsystems: subsystems
                .into_iter()
                .map(|code| (code.clone(), (code == "Y").then(|| "Yearly".to_owned())))
                .collect(),
        })
        .collect();
    parameters.servers.push(SecurityServer {
        id: ServerId { owner: MemberId::new("DEV", "COM", "1"), code: "SS1".into() },
        address: Some("ss1".into()),
        auth_cert_hashes: Vec::new(),
        clients: listed.iter().map(|id| client(id)).collect(),
        maintenance: None,
    });
    parameters.groups.push(GlobalGroup {
        id: GlobalGroupId { instance: "DEV".into(), code: "offices".into() },
        description: "All offices".into(),
        members: vec![client("DEV:GOV:3:Y")],
    });
    let private = PrivateParameters {
        instance: "DEV".into(),
        federation_anchors: Vec::new(),
        auth_cert_reg_address: "http://cs.test:4001".into(),
        auth_cert_reg_cert: None,
        management_provider: client("DEV:COM:1:A"),
        timestamping_interval_seconds: 60,
    };
    let instance = Arc::new(Instance::new(parameters, 6).unwrap());
    Builder::new("DEV").instance(instance, None).private(Arc::new(private), None).build().unwrap()
}

/// A self-signed certificate.
pub(crate) fn certificate(name: &str) -> Vec<u8> {
    use pki::issue::{Role, Template, self_signed};
    use pki::key::{KeyKind, PrivateKey};
    let template = Template {
        subject: &vec![(pki::name::COMMON_NAME, name.to_owned())],
        role: Role::Tls,
        serial: &[1],
        not_before: UnixTime(0),
        not_after: NOW,
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    self_signed(&template, &PrivateKey::generate(KeyKind::P256).unwrap()).unwrap().der().to_vec()
}

/// A web server of documents; what it has not is 404, and `/to` followed by an address redirects there.
struct Documents {
    address: SocketAddr,
    content: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Documents {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let content: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let known = Arc::clone(&content);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut part = [0; 1024];
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut part).await {
                        Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
                        _ => break,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = match (path.strip_prefix("/to"), known.lock().unwrap().get(&path)) {
                    (Some(target), _) => {
                        format!("302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n")
                    }
                    (None, Some(text)) => format!("200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()),
                    (None, None) => "404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, content }
    }
}
