//! What live security servers were asked and answered, played in order against fresh servers of ours with ids, hashes and addresses mapped.
//!
//! Compared are status, code, metadata, warnings, failed rules, and of answers the keys with their values, except what differs by nature
//! ([`VOLATILE`]). Certificates are made by a CA of ours for our own requests; anchors are those of our central server. A GET that shows
//! something else is asked again for a little while with a new configuration, as the script that was recorded waited too.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_server::registry::Command;
use host::clock::Clock;
use pki::cert::Certificate;
use pki::csr::{Request, Usage};
use proto::id::ServerId;
use serde_json::{Map, Value, json};
use testkit::calls::{recorded_body, recorded_header};
use testkit::vectors::{self, Tally};

use crate::contract::cert_of;
use crate::world::{SecurityServer, World, member, provider};

/// Parts of paths that are not offered, with the reason.
const ELSEWHERE: [(&str, &str); 4] = [
    ("/api-keys", "the credential was not recorded"),
    ("acme", "ACME is not offered yet"),
    ("/language", "not served by either"),
    ("openapi.yaml", "the document is our own"),
];

/// Keys whose values differ by nature; that they are there is compared.
const VOLATILE: [&str; 37] = [
    "id",
    "hash",
    "created_at",
    "updated_at",
    "generated_at",
    "refreshed_at",
    "rights_given_at",
    "not_after",
    "not_before",
    "serial",
    "signature",
    "signature_algorithm",
    "public_key_algorithm",
    "key_algorithm",
    "issuer_distinguished_name",
    "issuer_common_name",
    "subject_distinguished_name",
    "subject_common_name",
    "info",
    "java_version",
    "min_java_version",
    "max_java_version",
    "using_supported_java_version",
    "java_vendor",
    "java_runtime_version",
    "prev_update_at",
    "next_update_at",
    "last_successful_url",
    "username",
    "csr_id",
    "max_memory",
    "total_memory",
    "used_memory",
    "usage_percent",
    "ocsp_response",
    "path",
    "ocsp_status",
];

/// Keys that only one of the two has, on purpose: types of keys that differ, and fields that older tools want.
const OWN: [&str; 8] = [
    "rsa_public_key_modulus",
    "rsa_public_key_exponent",
    "ec_public_parameters",
    "ec_public_key_point",
    "subject_alternative_names",
    "status_code",
    "possible_actions",
    "threshold",
];

/// Number, and the status and code that are answered instead, on purpose.
const BETTER: [(u64, u16, Option<&str>); 25] = [
    // Sources, report and mail are this server's own.
    (494, 200, None),
    (784, 200, None),
    (881, 200, None),
    (883, 200, None),
    (879, 409, Some("operational_monitoring_not_available")),
    // The description of our central server names its address.
    (220, 201, None),
    (129, 200, None),
    (131, 400, Some("malformed_anchor")),
    (212, 200, None),
    (214, 400, Some("malformed_anchor")),
    (320, 400, Some("unsupported_openapi_version")),
    (909, 400, Some("validation_failure")),
    (1220, 400, Some("invalid_encoded_id")),
    (1461, 404, Some("token_not_found")),
    (2256, 200, None),
    (2258, 409, Some("anchor_not_found")),
    (2259, 404, Some("anchor_file_not_found")),
    (2261, 500, Some("core.malformed_server_conf")),
    (2262, 500, Some("core.malformed_server_conf")),
    (2263, 500, Some("core.malformed_server_conf")),
    (2264, 500, Some("core.malformed_server_conf")),
    (2265, 500, Some("core.malformed_server_conf")),
    (2273, 500, Some("conf_verification.unreachable")),
    (2274, 500, Some("conf_verification.signature_invalid")),
    (342, 200, None),
];

/// Single calls that say nothing about us, with the reason.
const SINGLE: [(u64, &str); 13] = [
    (931, "a PIN that was changed is no wrong PIN"),
    (2341, "it depends on calls that are kept apart"),
    (2342, "it depends on calls that are kept apart"),
    (2351, "it depends on calls that are kept apart"),
    (2352, "it depends on calls that are kept apart"),
    (437, "the certificate is of our own making"),
    (888, "a certificate for their key"),
    (892, "the certificate is of our own making"),
    (1007, "the hash is told as it was asked for"),
    (1011, "the credential was not recorded"),
    (1012, "the credential was not recorded"),
    (2031, "the credential was not recorded"),
    (315, "the words of another parser"),
];

/// What stands in a call on the laboratory's service descriptions, which were not recorded, and on what hangs on them.
const LABORATORY: [&str; 12] = [
    "ca:8880",
    "/service-descriptions/13",
    "/service-descriptions/18",
    "/service-descriptions/23",
    "getRandom",
    "helloService",
    "TEST:pets",
    "\"pets\"",
    "oas310",
    "/endpoints/2",
    "/endpoints/1",
    "/endpoints/3",
];

/// A recorded call.
struct Recorded {
    call: Value,
    time: String,
}

fn recorded() -> Option<Vec<Recorded>> {
    let folder = vectors::dir()?.join("recordings");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let call: Value = serde_json::from_str(line).unwrap();
            if call["method"].is_string() {
                let time = call["time"].as_str().unwrap_or_default().to_owned();
                all.push(Recorded { call, time });
            }
        }
    }
    all.sort_by(|a, b| a.time.cmp(&b.time));
    Some(all)
}

/// What of theirs is what of ours.
#[derive(Default)]
struct Ids {
    /// Ids and hashes by the server and by what stands before them in a path.
    ids: BTreeMap<(String, String), String>,
    /// Our key, by the public key of theirs.
    keys: BTreeMap<Vec<u8>, String>,
    /// Texts in bodies and answers: theirs, ours.
    texts: Vec<(String, String)>,
}

impl Ids {
    fn path(&self, server: &str, path: &str) -> String {
        let part = |segment: &str| {
            let key = (server.to_owned(), segment.to_owned());
            self.ids.get(&key).cloned().unwrap_or_else(|| segment.to_owned())
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    fn body(&self, server: &str, text: &str) -> String {
        let of_server = self.ids.iter().filter(|((of, id), _)| of == server && id.len() < 6);
        let text = of_server.fold(text.to_owned(), |text, ((_, theirs), ours)| {
            text.replace(&format!(r#""id":"{theirs}""#), &format!(r#""id":"{ours}""#))
        });
        self.texts.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
    }

    fn theirs(&self, text: &str) -> String {
        self.texts.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(ours, theirs))
    }

    /// Learns from two answers to the same call.
    fn learn(&mut self, server: &str, theirs: &Value, ours: &Value) {
        match (theirs, ours) {
            (Value::Object(a), Value::Object(b)) => {
                for key in ["id", "csr_id", "hash"] {
                    let text =
                        |map: &Map<String, Value>| map.get(key).and_then(Value::as_str).map(str::to_owned);
                    if let (Some(a), Some(b)) = (text(a), text(b))
                        && !a.contains(':')
                        && a != b
                    {
                        self.ids.insert((server.to_owned(), a), b);
                    }
                }
                for (key, value) in a {
                    if let Some(other) = b.get(key) {
                        self.learn(server, value, other);
                    }
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                let mut left: Vec<&Value> = b.iter().collect();
                for theirs in a {
                    // The one that says the same, for lists in another order.
                    let found = left.iter().position(|ours| plain(ours) == plain(theirs));
                    if let Some(index) = found {
                        self.learn(server, theirs, left.remove(index));
                    }
                }
            }
            _ => {}
        }
    }
}

/// An answer without what differs by nature, lists in order of their contents.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let volatile = VOLATILE.contains(&key.as_str()) && !value.is_object() && !value.is_array();
                (key.clone(), if volatile { json!("…") } else { plain(value) })
            };
            // Older tools look for the name of a group's member under another key too.
            let twice = |key: &str| key == "name" && map.contains_key("member_name");
            let there = map.iter().filter(|(key, _)| !OWN.contains(&key.as_str()) && !twice(key));
            Value::Object(there.map(entry).collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(plain).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    }
}

/// What of a refusal scripts look at.
fn refusal(status: u64, body: &Value) -> Value {
    let error = &body["error"];
    let mut rules = error["validation_errors"].clone();
    if let Value::Object(map) = &mut rules {
        for failed in map.values_mut() {
            // A sentence instead of the name of a rule is each server's own.
            let named = failed
                .as_array()
                .is_some_and(|all| all.iter().all(|rule| !rule.as_str().unwrap_or(" ").contains(' ')));
            *failed = if named { plain(failed) } else { json!("…") };
        }
    }
    let code = if error.is_object() { error["code"].clone() } else { Value::Null };
    json!([status, code, error["metadata"], rules, plain(&body["warnings"])])
}

fn text<'a>(call: &'a Value, key: &str) -> &'a str {
    call[key].as_str().unwrap_or_default()
}

/// The play.
struct Play {
    world: World,
    servers: BTreeMap<String, SecurityServer>,
    ids: Ids,
}

impl Play {
    /// What a central server's staff did, as far as security servers see it.
    async fn central(&mut self, call: &Value) {
        let (method, path) = (text(call, "method"), text(call, "path"));
        if method == "POST" && path.contains("/approval") && call["status"] == 200 {
            self.world.approve_all();
            self.download().await;
        }
    }

    async fn download(&self) {
        for server in self.servers.values() {
            server.download().await;
        }
    }

    /// The bytes that stand in for a recorded body.
    fn request_body(&self, call: &Value) -> Vec<u8> {
        let (path, body) = (text(call, "path"), recorded_body(call));
        if path.contains("/system/anchor") && body.starts_with(b"<?xml") {
            let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (ours, other) = (utf8(&self.world.internal_anchor), utf8(&self.world.external_anchor));
            match call["name"].as_str().unwrap_or_default() {
                "anchor-unreachable" => {
                    let nobody = "127.0.0.1:1";
                    return ours.replace(&self.world.central.to_string(), nobody).into_bytes();
                }
                "anchor-wrong-cert" => {
                    return ours.replace(cert_of(&ours), cert_of(&other)).into_bytes();
                }
                _ => {}
            }
            let external = String::from_utf8_lossy(&body).contains("externalconf");
            return if external {
                self.world.external_anchor.clone()
            } else {
                self.world.internal_anchor.clone()
            };
        }
        if path.ends_with("/token-certificates") {
            return self.certificate(text(call, "server"), &body).unwrap_or(body);
        }
        match String::from_utf8(body) {
            Ok(json) => self.ids.body(text(call, "server"), &json).into_bytes(),
            Err(error) => error.into_bytes(),
        }
    }

    /// A certificate of our CA for our key, in place of one of theirs for theirs.
    fn certificate(&self, server: &str, theirs: &[u8]) -> Option<Vec<u8>> {
        let theirs = Certificate::parse(theirs).ok()?;
        let id = self.ids.keys.get(theirs.spki())?;
        let token = self.servers[server].foundation.token.get()?.clone();
        let key = token.keys().into_iter().find(|key| key.id == *id)?;
        // The same certificate again is the same here too.
        if let Some(present) = key.certs.first() {
            return Some(present.cert.der().to_vec());
        }
        let csr = key.csrs.first()?;
        let usage = if theirs.is_signing() { Usage::Signing } else { Usage::Authentication };
        let der = token.write_csr(&key.id, &csr.id).ok()?;
        Some(self.world.authority.certify(&der, usage, Clock::System.now()).ok()?.der().to_vec())
    }

    async fn send(&self, call: &Value) -> (u16, Vec<u8>) {
        let server = &self.servers[text(call, "server")];
        let query = call["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", self.ids.path(text(call, "server"), text(call, "path")));
        let media = ["content-type", "accept"].map(|name| recorded_header(call, name));
        let body = self.request_body(call);
        let (status, _, answer) =
            server.send(text(call, "method"), &target, text(call, "as"), media, &body).await;
        if (text(call, "method"), text(call, "path"), status) == ("POST", "/api/v1/backups", 201) {
            return (status, self.named_as_recorded(call, &answer));
        }
        (status, answer)
    }

    /// A backup is called after the second in which it was made; ours gets the recorded name.
    fn named_as_recorded(&self, call: &Value, answer: &[u8]) -> Vec<u8> {
        let mut answer: Value = serde_json::from_slice(answer).unwrap();
        let named = call["response"]["body"]["json"]["filename"].clone();
        self.rename_backup(
            text(call, "server"),
            answer["filename"].as_str().unwrap(),
            named.as_str().unwrap(),
        );
        answer["filename"] = named;
        answer.to_string().into_bytes()
    }

    fn rename_backup(&self, server: &str, from: &str, to: &str) {
        let folder = self.servers[server].foundation.settings.data_dir.join("backup");
        std::fs::rename(folder.join(from), folder.join(to)).unwrap();
    }

    /// The backups that the next calls show: one of a server with another owner, one of this one, and what is none.
    async fn backups(&self, server: &str) {
        let (status, other) = self.servers["ss0"].call("POST", "/backups", "").await;
        assert_eq!(status, 201, "{other}");
        let of_ss0 = self.servers["ss0"].foundation.settings.data_dir.join("backup");
        let foreign = std::fs::read(of_ss0.join(other["filename"].as_str().unwrap())).unwrap();
        for (name, bytes) in
            [("conf_backup_20261121-185521.gpg", &foreign[..]), ("g.gpg", b"garbage".as_slice())]
        {
            let head =
                format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
            let form = [head.as_bytes(), bytes, b"\r\n--b--\r\n"].concat();
            let media = [Some("multipart/form-data; boundary=b"), None];
            let target = "/api/v1/backups/upload";
            let (status, _, answer) = self.servers[server].send("POST", target, "all", media, &form).await;
            assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        }
        let (status, own) = self.servers[server].call("POST", "/backups", "").await;
        assert_eq!(status, 201, "{own}");
        self.rename_backup(server, own["filename"].as_str().unwrap(), "conf_backup_20261121-185524.gpg");
    }

    /// What `app` does after a restore: the server starts again in the same place. Then somebody logs in.
    async fn start_again(&mut self, name: &str) {
        let server = self.servers.remove(name).unwrap();
        self.servers.insert(name.to_owned(), server.start_again().await);
        let server = &self.servers[name];
        for pin in ["Secret12345", "Secret1234"] {
            let body = json!({ "password": pin }).to_string();
            if server.call("PUT", "/tokens/0/login", &body).await.0 == 200 {
                break;
            }
            // After a wrong PIN the next try has to wait.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        self.download().await;
    }

    /// Learns which key of ours a key of theirs is, from a request for a certificate.
    fn learn_key(&mut self, call: &Value, answer: &[u8]) {
        let Some(theirs) = call["response"]["body"]["base64"].as_str() else { return };
        let theirs = STANDARD.decode(theirs).ok().and_then(|der| Request::parse(&der));
        if let (Some(theirs), Some(ours)) = (theirs, Request::parse(answer)) {
            let token = self.servers[text(call, "server")].foundation.token.get().unwrap();
            let key = token.keys().into_iter().find(|key| key.spki == ours.key.spki());
            if let Some(key) = key {
                self.ids.keys.insert(theirs.key.spki().to_vec(), key.id);
            }
        }
    }
}

impl Play {
    /// What was done between two recorded calls, as the second shows.
    async fn gap(&mut self, call: &Value) {
        match call["seq"].as_u64().unwrap_or_default() {
            180 => {
                self.sign(
                    "ss0",
                    "DEV:COM:1234",
                    "F5989EEC7FDF570CFC08DFC91BFD7BBA565E764DE3843219AE5F364DC090F236",
                )
                .await
            }
            216 => {
                let owner = member("COM", "1234");
                let server = ServerId { owner, code: "SS0".into() };
                let command = Command::AddServerClient { server, client: provider() };
                self.world.registry.registry().execute("staff", command).unwrap();
                self.world.publish();
                self.download().await;
            }
            300 => {
                let body = json!({ "name": "LabTSA", "url": self.world.tsas[1].url(), "cost_type": "FREE" });
                self.do_all("ss1", "POST", "/system/timestamping-services", &body.to_string()).await;
            }
            947 => {
                let path = "/api/v1/token-certificates/B2DB8F5AA076A5E16BCAD0985F72D1071D864FA79DD8530C2B08F1BCCB5B3C77/disable";
                let path = self.ids.path("ss1", path);
                let path = path.trim_start_matches("/api/v1");
                self.do_all("ss1", "PUT", path, "").await;
            }
            276 => {
                self.sign(
                    "ss1",
                    "DEV:COM:4321",
                    "900A196668743F0A6111BC72EF6BE857742E6E0EFF4CF218AAE8109630D79CD6",
                )
                .await
            }
            332 => {
                let body = r#"{"type":"REST","url":"https://host/a","rest_service_code":"a","ignore_warnings":true}"#;
                let (_, made) =
                    self.do_all("ss1", "POST", "/clients/DEV:COM:4321:TEST/service-descriptions", body).await;
                let id = made["id"].as_str().unwrap_or_default().to_owned();
                self.ids.ids.insert(("ss1".into(), "28".into()), id);
            }
            920 => {
                let token = self.servers["ss1"].foundation.token.get().unwrap().clone();
                let csr = token.keys().iter().flat_map(|key| key.csrs.clone()).next_back();
                let theirs = "842CDCBFA2F72DA31262B321359042B792142424".to_owned();
                self.ids.ids.insert(("ss1".into(), theirs), csr.map(|csr| csr.id).unwrap_or_default());
            }
            931 => {
                // After the wrong one before.
                tokio::time::sleep(Duration::from_millis(1_100)).await;
                let body = r#"{"old_pin":"Secret1234","new_pin":"Secret12345"}"#;
                self.do_all("ss1", "PUT", "/tokens/0/pin", body).await;
            }
            943 => {
                let token = self.servers["ss1"].foundation.token.get().unwrap().clone();
                let key = token.keys().pop().unwrap();
                let subject = vec![
                    (pki::name::COUNTRY, "FI".to_owned()),
                    (pki::name::ORGANIZATION, "ss1".to_owned()),
                    (pki::name::SERIAL_NUMBER, "DEV/SS1/COM".to_owned()),
                    (pki::name::COMMON_NAME, "4321".to_owned()),
                ];
                let der = token.csr(&key.id, &subject, &[]).unwrap();
                self.import("ss1", &der, "B2DB8F5AA076A5E16BCAD0985F72D1071D864FA79DD8530C2B08F1BCCB5B3C77")
                    .await;
            }
            2337 => self.backups("ss1").await,
            _ => {}
        }
    }

    async fn do_all(&self, server: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, answer) = self.servers[server].call(method, path, body).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        (status, answer)
    }

    /// A signing key with its certificate.
    async fn sign(&mut self, server: &str, member: &str, theirs: &str) {
        let body = json!({
            "key_label": format!("{server}-sign"),
            "csr_generate_request": {
                "key_usage_type": "SIGNING", "ca_name": "LabCA", "csr_format": "DER", "member_id": member,
                "subject_field_values": { "O": server, "subjectAltName": server },
            },
        });
        let (_, made) = self.do_all(server, "POST", "/tokens/0/keys-with-csrs", &body.to_string()).await;
        let token = self.servers[server].foundation.token.get().unwrap().clone();
        let id = made["key"]["id"].as_str().unwrap().to_owned();
        let der = token.write_csr(&id, made["csr_id"].as_str().unwrap()).unwrap();
        self.import(server, &der, theirs).await;
    }

    async fn import(&mut self, server: &str, csr: &[u8], theirs: &str) {
        let cert = self.world.authority.certify(csr, Usage::Signing, Clock::System.now()).unwrap();
        let media = [Some("application/octet-stream"), None];
        let target = "/api/v1/token-certificates";
        let (status, _, answer) = self.servers[server].send("POST", target, "all", media, cert.der()).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        let hash = hex::encode_upper(cert.sha256());
        self.ids.texts.push((theirs.to_owned(), hash.clone()));
        self.ids.ids.insert((server.to_owned(), theirs.to_owned()), hash);
    }
}

fn calls_of_one(call: &Value) -> String {
    let query = call["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
    let below = text(call, "path").trim_start_matches("/api/v1");
    let (server, method, caller) = (text(call, "server"), text(call, "method"), text(call, "as"));
    format!("{} {server} {method} {below}{query} as {caller}", call["seq"])
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_live_servers_are_answered_alike() {
    let Some(recorded) = recorded() else { return };
    let world = World::start().await;
    let mut servers = BTreeMap::new();
    for (name, policy) in [("ss0", false), ("ss1", false), ("ss2", true)] {
        servers.insert(name.to_owned(), world.security_server(name, policy).await);
    }
    let texts = vec![
        ("http://ca:8898".into(), world.tsas[0].url()),
        ("http://ca:8899".into(), world.tsas[1].url()),
        ("http://ca:8888".into(), world.ocsp.url()),
        (r#""address":"ss0""#.into(), format!(r#""address":"{}""#, servers["ss0"].host)),
        (r#""address":"ss1""#.into(), format!(r#""address":"{}""#, servers["ss1"].host)),
        (r#""server_address":"ss0""#.into(), format!(r#""server_address":"{}""#, servers["ss0"].host)),
        (r#""server_address":"ss1""#.into(), format!(r#""server_address":"{}""#, servers["ss1"].host)),
        (
            "https://cs:4002/managementservice/manage/".into(),
            format!("https://{}/managementservice/manage/", world.management),
        ),
        (
            "http://cs/managementservices.wsdl".into(),
            format!("http://{}/managementservices.wsdl", world.central),
        ),
    ];
    let ids = Ids { texts, ..Ids::default() };
    let mut play = Play { world, servers, ids };
    let mut tally = Tally::new("recordings (security server)");
    for Recorded { call, .. } in &recorded {
        let server = text(call, "server");
        if server == "cs" {
            play.central(call).await;
            continue;
        }
        let (path, caller) = (text(call, "path"), text(call, "as"));
        let below = path.strip_prefix("/api/v1").unwrap_or(path);
        if let Some((_, reason)) = ELSEWHERE.iter().find(|(part, _)| below.contains(part)) {
            tally.not_applicable(reason);
            continue;
        }
        if !path.starts_with("/api/") || !play.servers[server].knows(caller) {
            tally.not_applicable("the credential was not recorded");
            continue;
        }
        play.gap(call).await;
        let seq = call["seq"].as_u64().unwrap_or_default();
        if let Some((_, reason)) = SINGLE.iter().find(|(number, _)| *number == seq) {
            tally.not_applicable(reason);
            continue;
        }
        let whole = format!("{path} {} {}", call["request"]["body"], call["response"]["body"]);
        if server == "ss1" && LABORATORY.iter().any(|part| whole.contains(part)) {
            tally.not_applicable("the laboratory's service descriptions were not recorded");
            continue;
        }
        one(&mut play, call, &mut tally).await;
        if path.ends_with("/restore") && play.servers[server].foundation.shutdown.restarting() {
            let server = server.to_owned();
            play.start_again(&server).await;
        }
    }
    tally.finish();
    for server in play.servers.into_values() {
        server.stop().await;
    }
}

async fn one(play: &mut Play, call: &Value, tally: &mut Tally) {
    let case = calls_of_one(call);
    let theirs = &call["response"]["body"]["json"];
    let was = call["status"].as_u64().unwrap_or_default();
    let expected = if was < 300 { json!([was, plain(theirs)]) } else { refusal(was, theirs) };
    let seq = call["seq"].as_u64().unwrap_or_default();
    if let Some((_, status, code)) = BETTER.iter().find(|(number, ..)| *number == seq) {
        let (found, answer) = play.send(call).await;
        let ours: Value = serde_json::from_slice(&answer).unwrap_or_default();
        play.ids.learn(text(call, "server"), theirs, &ours);
        tally.equal(case, (found, ours["error"]["code"].as_str()), (*status, *code));
        return;
    }
    let mut found = Value::Null;
    let mut ours = Value::Null;
    let mut bytes = Vec::new();
    // Times what a person or a script would wait for.
    for attempt in 0..8 {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(if attempt < 4 { 50 } else { 400 })).await;
            play.world.publish();
            play.download().await;
        }
        let (status, answer) = play.send(call).await;
        let text = play.ids.theirs(&String::from_utf8_lossy(&answer));
        ours = serde_json::from_str(&text).unwrap_or(Value::Null);
        found = if status < 300 { json!([status, plain(&ours)]) } else { refusal(status.into(), &ours) };
        bytes = answer;
        // A wrong PIN makes the next try wait.
        let waits = ours["error"]["code"] == "pin_locked";
        if found == expected || !(text_is(call, "method", "GET") || waits) || was >= 300 && !waits {
            break;
        }
        if waits {
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    }
    if was < 300 {
        play.ids.learn(text(call, "server"), theirs, &ours);
        play.learn_key(call, &bytes);
    }
    tally.equal(case, found, expected);
}

fn text_is(call: &Value, key: &str, value: &str) -> bool {
    call[key] == value
}
