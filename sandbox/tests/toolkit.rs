//! A security server set up by the calls of the X-Road Security Server Toolkit (`xrdsst apply`), in its order and with its habits: a key
//! made with a name and a password, numbers for codes, a content type on every call, everything asked for twice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use admin_api::auth::users;
use admin_api::operation::Role as ApiRole;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use host::data_dir::DataDir;
use host::http::{Client, Upload, full};
use host::settings::Listen;
use host::shutdown::Shutdown;
use hyper::Method;
use pki::key::KeyKind;
use proto::id::MemberId;
use sandbox::admin::{Admin, Body};
use sandbox::ecosystem::{Ecosystem, Filling, Options, Role};
use sandbox::information_system::Call;
use sandbox::loopback::{Claim, OCSP_PORT, SERVER_PORT};
use sandbox::parties;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "toolkit and nobody else";

/// The member that the toolkit sets up.
fn owner() -> MemberId {
    MemberId::new(parties::INSTANCE, parties::CITIES, "4001")
}

/// Calls as the toolkit makes them.
struct Toolkit {
    http: Client,
    url: String,
    key: String,
}

impl Toolkit {
    async fn send(
        &self,
        method: &'static str,
        path: &str,
        body: Bytes,
        kind: &str,
        key: &str,
    ) -> (u16, Value) {
        let (status, body) = self.fetch(method, path, body, kind, key).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn fetch(
        &self,
        method: &'static str,
        path: &str,
        body: Bytes,
        kind: &str,
        key: &str,
    ) -> (u16, Bytes) {
        let begun = Instant::now();
        loop {
            let headers = [("Authorization", key), ("Content-Type", kind)];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            let (url, length) = (format!("{}/api/v1{path}", self.url), body.len() as u64);
            let upload = Upload { method, url, headers, length, body: full(body.clone()) };
            let answer = self.http.upload(upload, 1 << 20).await.unwrap();
            // It is slower than this test, and never meets the limit of calls a second.
            if answer.status != 429 || begun.elapsed() > LIMIT {
                return (answer.status, answer.body);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn call(&self, method: &'static str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let key = format!("X-Road-apikey token={}", self.key);
        self.send(method, path, body, "application/json", &key).await
    }

    async fn expect(&self, status: u16, method: &'static str, path: &str, body: Value) -> Value {
        let (found, given) = self.call(method, path, body).await;
        assert_eq!(found, status, "{method} {path}: {given}");
        given
    }

    async fn octets(&self, status: u16, path: &str, bytes: &[u8]) -> Value {
        let key = format!("X-Road-ApiKey token={}", self.key);
        let body = Bytes::copy_from_slice(bytes);
        let (found, given) = self.send("POST", path, body, "application/octet-stream", &key).await;
        assert_eq!(found, status, "POST {path}: {given}");
        given
    }

    /// What it asks before each step.
    async fn look(&self) {
        for path in [
            "/user",
            "/system/version",
            "/diagnostics/globalconf",
            "/initialization/status",
            "/security-servers?current_server=True",
            "/system/timestamping-services",
            "/tokens/0",
        ] {
            let given = self.expect(200, "GET", path, Value::Null).await;
            if path == "/diagnostics/globalconf" {
                assert_eq!(given["status_code"], "SUCCESS", "{given}");
            }
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.expect(200, "GET", path, Value::Null).await
    }

    async fn wait_for(&self, path: &str, field: &str, wanted: &str) {
        let begun = Instant::now();
        loop {
            let given = self.get(path).await;
            if given[field] == wanted {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "{path}: {given}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// An empty security server; gives its listeners.
async fn start(folder: &Path, claim: &Claim, shutdown: &Shutdown) -> BTreeMap<String, SocketAddr> {
    let free = Listen(Some(claim.with_port(0)));
    let data_dir = folder.join("data");
    let mut file = security_server::config::File {
        data_dir: data_dir.clone(),
        health_check_listen: free,
        ..Default::default()
    };
    file.proxy.client_http_listen = free;
    file.proxy.client_https_listen = free;
    file.proxy.server_listen = claim.with_port(SERVER_PORT);
    file.proxy.ocsp_responder_listen = claim.with_port(OCSP_PORT);
    file.management_api.listen = free;
    file.configuration_client.update_interval = 1;
    file.message_log.segment_size = 16 << 20;
    let config = folder.join("settings.toml");
    drop(DataDir::open(&data_dir, security_server::ROLE, security_server::FORMAT).unwrap());
    std::fs::create_dir_all(data_dir.join("admin")).unwrap();
    std::fs::write(&config, toml::to_string(&file).unwrap()).unwrap();
    let roles = ApiRole::ALL.into_iter().filter(|role| *role != ApiRole::ManagementService);
    users::set(&data_dir.join("admin/users"), "toolkit", &roles.collect::<Vec<_>>(), PASSWORD).unwrap();
    let (ready, told) = (folder.join("ready.json"), shutdown.clone());
    let written = ready.clone();
    let running =
        tokio::spawn(async move { Role::SecurityServer.run(&config, &written, told).await.unwrap() });
    loop {
        assert!(!running.is_finished(), "the server has ended");
        if let Ok(text) = std::fs::read(&ready) {
            let ready: sandbox::child::Ready = serde_json::from_slice(&text).unwrap();
            return ready.listeners;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Approves the request that waits.
async fn approve(cs: &Admin, kind: &str) {
    let waiting = cs.get("/management-requests?status=WAITING").await.unwrap();
    let request = &waiting["items"][0];
    assert_eq!(request["type"], kind, "{waiting}");
    let path = format!("/management-requests/{}/approval", request["id"]);
    cs.expect(200, "POST", &path, Body::None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_toolkit_sets_a_server_up() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { keys: KeyKind::P256, filling: Filling::FrontDoor, ..Options::default() };
    let ecosystem = Ecosystem::build(&dir.path().join("ecosystem"), options, |_| {}).await.unwrap();
    let cs = ecosystem.admin(ecosystem.central()).unwrap();
    let member = json!({ "member_class": owner().class, "member_code": owner().code });
    cs.post(201, "/members", json!({ "member_id": member, "member_name": "City of tools" })).await.unwrap();
    let anchor = "/configuration-sources/INTERNAL/anchor/download";
    let anchor = cs.expect(200, "GET", anchor, Body::None).await.unwrap().body;

    let (claim, shutdown) = (Claim::take(None).unwrap(), Shutdown::default());
    let folder = dir.path().join("toolkit");
    let listeners = start(&folder, &claim, &shutdown).await;
    // It does not look at the certificate.
    let http = Client::new(LIMIT, LIMIT, &[]);
    let url = format!("https://{}", listeners["api"]);
    let mut toolkit = Toolkit { http, url, key: String::new() };

    // A key, with a name and a password on the host; it needs id and key.
    let basic = format!("Basic {}", STANDARD.encode(format!("toolkit:{PASSWORD}")));
    let roles = json!([
        "XROAD_SYSTEM_ADMINISTRATOR",
        "XROAD_SERVICE_ADMINISTRATOR",
        "XROAD_SECURITY_OFFICER",
        "XROAD_REGISTRATION_OFFICER",
    ]);
    let (status, made) =
        toolkit.send("POST", "/api-keys", roles.to_string().into(), "application/json", &basic).await;
    assert_eq!(status, 200, "{made}");
    assert!(made["id"].is_number(), "{made}");
    toolkit.key = made["key"].as_str().unwrap().to_owned();

    // init
    toolkit.octets(201, "/system/anchor", &anchor).await;
    let init = json!({
        "owner_member_class": owner().class, "owner_member_code": 4001, "security_server_code": "ss-tools",
        "software_token_pin": 123_456_789, "ignore_warnings": true,
    });
    toolkit.expect(201, "POST", "/initialization", init).await;
    toolkit.look().await;

    // token login, twice
    let login = json!({ "password": 123_456_789 });
    toolkit.expect(200, "PUT", "/tokens/0/login", login.clone()).await;
    toolkit.expect(409, "PUT", "/tokens/0/login", login).await;
    toolkit.look().await;

    // timestamping, twice and without its cost
    let approved = toolkit.get("/timestamping-services").await;
    let tsa = json!({ "name": approved[0]["name"], "url": approved[0]["url"] });
    toolkit.expect(201, "POST", "/system/timestamping-services", tsa.clone()).await;
    toolkit.expect(409, "POST", "/system/timestamping-services", tsa).await;
    toolkit.look().await;

    // client add, twice
    let client = owner().subsystem("tools");
    let add = json!({
        "client": {
            "member_class": owner().class, "member_code": 4001, "subsystem_code": "tools", "connection_type": "HTTP",
        },
        "ignore_warnings": true,
    });
    toolkit.expect(201, "POST", "/clients", add.clone()).await;
    toolkit.expect(409, "POST", "/clients", add).await;
    toolkit.look().await;

    // keys and CSRs: the last CA, always DER
    let cas = toolkit.get("/certificate-authorities").await;
    let ca = cas.as_array().unwrap().last().unwrap()["name"].clone();
    let mut csrs = Vec::new();
    for (usage, label, cn) in
        [("SIGNING", "sign", owner().code), ("AUTHENTICATION", "auth", claim.address().to_string())]
    {
        let body = json!({
            "key_label": format!("ss-tools-default-{label}-key"),
            "csr_generate_request": {
                "key_usage_type": usage, "ca_name": ca, "csr_format": "DER", "member_id": owner().encoded(),
                "subject_field_values": {
                    "C": "FI", "O": "City of tools", "CN": cn, "serialNumber": "DEMO/ss-tools/MUN", "subjectAltName": "tools",
                },
            },
        });
        let made = toolkit.expect(200, "POST", "/tokens/0/keys-with-csrs", body).await;
        csrs.push((usage, made["key"]["id"].as_str().unwrap().to_owned(), made["csr_id"].clone()));
    }
    toolkit.look().await;

    // client TLS certificates
    let path = format!("/clients/{}", client.encoded());
    let root = ecosystem.authority().root();
    toolkit.octets(201, &format!("{path}/tls-certificates"), root.der()).await;

    // local groups
    let group = json!({ "code": "friends", "description": "Who may ask" });
    let group = toolkit.expect(201, "POST", &format!("{path}/local-groups"), group).await;
    toolkit.look().await;

    // certificate import, twice
    let mut auth = String::new();
    let plain = Client::new(LIMIT, LIMIT, &[]);
    for (usage, key, csr) in csrs {
        let target = format!("/keys/{key}/csrs/{}?csr_format=DER", csr.as_str().unwrap());
        let authorization = format!("X-Road-apikey token={}", toolkit.key);
        let asked = toolkit.fetch("GET", &target, Bytes::new(), "application/json", &authorization);
        let (status, csr) = asked.await;
        assert_eq!(status, 200, "{target}");
        let url = format!("{}/{}", ecosystem.ocsp().certify_url(), usage.to_lowercase());
        let cert = plain.post(&url, "application/octet-stream", csr, 1 << 20).await.unwrap();
        assert_eq!(cert.status, 200);
        let imported = toolkit.octets(201, "/token-certificates", &cert.body).await;
        let again = toolkit.octets(409, "/token-certificates", &cert.body).await;
        assert_eq!(again["error"]["code"], "certificate_already_exists");
        if usage == "AUTHENTICATION" {
            auth = imported["certificate_details"]["hash"].as_str().unwrap().to_owned();
        }
    }
    toolkit.look().await;

    // group members
    let members = format!("/local-groups/{}/members", group["id"].as_str().unwrap());
    toolkit.expect(201, "POST", &members, json!({ "items": [parties::school().encoded()] })).await;

    // certificate register and activate, each twice
    let cert = format!("/token-certificates/{auth}");
    let address = json!({ "address": claim.address().to_string() });
    toolkit.expect(204, "PUT", &format!("{cert}/register"), address.clone()).await;
    toolkit.expect(409, "PUT", &format!("{cert}/register"), address).await;
    approve(&cs, "AUTH_CERT_REGISTRATION_REQUEST").await;
    toolkit.expect(204, "PUT", &format!("{cert}/activate"), json!({})).await;
    let again = toolkit.expect(409, "PUT", &format!("{cert}/activate"), json!({})).await;
    assert_eq!(again["error"]["code"], "action_not_possible");
    toolkit.wait_for(&cert, "status", "REGISTERED").await;
    // The server that carries the next request must have heard of it too.
    ecosystem.admin(ecosystem.provider()).unwrap().knows_server("DEMO:MUN:4001:ss-tools").await.unwrap();
    toolkit.look().await;

    // service descriptions
    let services = ecosystem.services();
    let mut descriptions = Vec::new();
    for body in [
        json!({ "type": "REST", "url": services.probe_url(), "rest_service_code": "probe", "ignore_warnings": true }),
        json!({ "type": "OPENAPI3", "url": services.openapi_url(), "rest_service_code": "register", "ignore_warnings": true }),
        json!({ "type": "WSDL", "url": services.wsdl_url(), "rest_service_code": "", "ignore_warnings": true }),
    ] {
        let target = format!("{path}/service-descriptions");
        descriptions.push(toolkit.expect(201, "POST", &target, body.clone()).await);
        toolkit.expect(409, "POST", &target, body).await;
    }
    // enable
    for description in &descriptions {
        let target = format!("/service-descriptions/{}/enable", description["id"].as_str().unwrap());
        toolkit.expect(200, "PUT", &target, json!({})).await;
    }
    // access
    let probe = format!("/services/{}", descriptions[0]["services"][0]["id"].as_str().unwrap());
    let candidates = toolkit.get(&format!("{path}/service-client-candidates")).await;
    let school = parties::school().encoded();
    let friends = candidates.as_array().unwrap().iter().find(|c| c["local_group_code"] == "friends").unwrap();
    assert!(candidates.as_array().unwrap().iter().any(|c| c["id"] == school.as_str()), "{candidates}");
    let items = json!({ "items": [{ "id": friends["id"], "service_client_type": "LOCALGROUP" }] });
    toolkit.expect(200, "POST", &format!("{probe}/service-clients"), items).await;
    // parameters
    for description in &descriptions {
        let service = &description["services"][0];
        let target = format!("/services/{}", service["id"].as_str().unwrap());
        let settings = json!({
            "url": service["url"], "timeout": 50, "ssl_auth": false, "url_all": false, "timeout_all": false,
            "ssl_auth_all": false, "ignore_warnings": true,
        });
        let changed = toolkit.expect(200, "PATCH", &target, settings).await;
        assert_eq!(changed["timeout"], 50);
    }
    // endpoints and their access
    let body = json!({ "service_code": "probe", "method": "GET", "path": "/status/*" });
    let endpoint = toolkit.expect(201, "POST", &format!("{probe}/endpoints"), body).await;
    let target = format!("/endpoints/{}/service-clients", endpoint["id"].as_str().unwrap());
    let items = json!({ "items": [{ "id": school, "service_client_type": "SUBSYSTEM" }] });
    toolkit.expect(201, "POST", &target, items).await;
    toolkit.look().await;

    // client register, twice; client update; status
    toolkit.expect(204, "PUT", &format!("{path}/register"), json!({})).await;
    toolkit.expect(409, "PUT", &format!("{path}/register"), json!({})).await;
    approve(&cs, "CLIENT_REGISTRATION_REQUEST").await;
    let update = json!({ "connection_type": "HTTPS_NO_AUTH" });
    assert_eq!(toolkit.expect(200, "PATCH", &path, update).await["connection_type"], "HTTPS_NO_AUTH");
    toolkit.wait_for(&path, "status", "REGISTERED").await;
    toolkit.look().await;

    // What was set up works: through the local group, from another city.
    let call = Call::rest(&parties::school(), &client.service("probe"), Method::GET, "/size/1000", None);
    let begun = Instant::now();
    loop {
        let mut call = call.clone();
        call.message_id = uuid::Uuid::new_v4().to_string();
        let answer = ecosystem.information_system().send(&call).await.unwrap();
        if answer.status == 200 {
            assert_eq!(answer.body.len(), 1000);
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{}", String::from_utf8_lossy(&answer.body));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // It leaves no key behind.
    let (path, body) = (format!("/api-keys/{}", made["id"]), Bytes::from_static(b"{}"));
    let (status, given) = toolkit.send("DELETE", &path, body, "application/json", &basic).await;
    assert_eq!(status, 200, "{given}");
    toolkit.expect(401, "GET", "/user", Value::Null).await;
    shutdown.stop();
    ecosystem.stop(LIMIT).await.unwrap();
}
