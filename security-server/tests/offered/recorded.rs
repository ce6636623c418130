//! What a live server was asked and answered about its clients and services, played in order with numbers and addresses mapped.
//!
//! The documents of the laboratory were not recorded: they are written here so that they say what the answers show. Calls that are
//! kept apart are made where their effect shows ([`Play::gap`]). What sends requests to the central server is played elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use pki::globalconf::{Builder, GlobalConf, Instance};
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{GlobalGroup, Member, SecurityServer, SharedParameters, Source};
use proto::id::{GlobalGroupId, MemberId, ServerId};
use security_server::serverconf::event::Event;
use security_server::serverconf::status::ClientStatus;
use serde_json::{Value, json};
use testkit::calls::{recorded_body, recorded_header};
use testkit::vectors::{self, Tally};

use crate::scene::{Scene, certificate, client};
use crate::services::{pets, wsdl_of};

/// First segments of the paths that are played.
const OURS: [&str; 5] = ["clients", "services", "service-descriptions", "endpoints", "local-groups"];
/// Ends of paths of clients that are played elsewhere, with the requests that they send and the token that they look at.
const ELSEWHERE: [&str; 7] =
    ["/register", "/unregister", "/make-owner", "/disable", "/enable", "/rename", "/sign-certificates"];
/// The address of the laboratory's documents.
const LABORATORY: &str = "http://ca:8880";
/// What differs by nature; there is no token here.
const VOLATILE: [&str; 7] = [
    "refreshed_at",
    "rights_given_at",
    "updated_at",
    "created_at",
    "not_before",
    "not_after",
    "has_valid_local_sign_cert",
];
/// Number of the call, and what is answered instead.
const BETTER: [(u64, u64, &str); 1] = [(320, 400, "unsupported_openapi_version")];
/// A body may be missing.
const WITHOUT_BODY: [u64; 2] = [342, 371];

const BOTH: [&str; 2] = ["getRandom.v1", "helloService.v1"];

fn conf(listed: &[&str]) -> GlobalConf {
    let member = |class: &str, code: &str| MemberId::new("DEV", class, code);
    let mut parameters =
        SharedParameters { instance: "DEV".into(), ocsp_freshness_seconds: 3600, ..Default::default() };
    let certs = vec![certificate("DEV")];
    let address = "cs".to_owned();
    parameters.sources.push(Source { address, internal_certs: certs.clone(), external_certs: certs });
    parameters.member_classes =
        ["COM", "ORG", "GOV"].map(|class| (class.to_owned(), class.to_owned())).into();
    let members = [
        ("GOV", "55", "Government 55", None),
        ("COM", "1234", "Management Member", Some("MANAGEMENT")),
        ("ORG", "7", "Organisation 7", None),
        ("COM", "4321", "Test Member", Some("TEST").filter(|_| !listed.is_empty())),
    ];
    for (class, code, name, subsystem) in members {
        parameters.members.push(Member {
            id: member(class, code),
            class_description: class.into(),
            name: name.into(),
            subsystems: subsystem.map(|code| (code.to_owned(), None)).into_iter().collect(),
        });
    }
    let servers = [("1234", "SS0", "ss0", &["DEV:COM:1234:MANAGEMENT"][..]), ("4321", "SS1", "ss1", listed)];
    for (owner, code, address, clients) in servers {
        parameters.servers.push(SecurityServer {
            id: ServerId { owner: member("COM", owner), code: code.into() },
            address: Some(address.into()),
            auth_cert_hashes: Vec::new(),
            clients: clients.iter().map(|id| client(id)).collect(),
            maintenance: None,
        });
    }
    parameters.groups.push(GlobalGroup {
        id: GlobalGroupId { instance: "DEV".into(), code: "security-server-owners".into() },
        description: "Security server owners".into(),
        members: vec![client("DEV:COM:1234"), client("DEV:COM:4321")],
    });
    let private = PrivateParameters {
        instance: "DEV".into(),
        federation_anchors: Vec::new(),
        auth_cert_reg_address: "http://cs:4001".into(),
        auth_cert_reg_cert: None,
        management_provider: client("DEV:COM:1234:MANAGEMENT"),
        timestamping_interval_seconds: 60,
    };
    let instance = Arc::new(Instance::new(parameters, 6).unwrap());
    Builder::new("DEV").instance(instance, None).private(Arc::new(private), None).build().unwrap()
}

/// The server, and its numbers by those of the recording.
struct Play {
    scene: Scene,
    numbers: BTreeMap<String, String>,
}

impl Play {
    async fn start() -> Self {
        let owner = MemberId::new("DEV", "COM", "4321");
        let scene = Scene::of(ServerId { owner, code: "SS1".into() }).await;
        scene.publish(conf(&[]));
        let play = Self { scene, numbers: BTreeMap::new() };
        play.soap("/w.wsdl", &BOTH);
        play.soap("/random.wsdl", &BOTH);
        let two = "  /pets:\n    get: {responses: {}}\n    post: {responses: {}}\n";
        for (path, version) in [("/pets.yaml", "3.0.1"), ("/oas310.yaml", "3.1.0"), ("/oas311.yaml", "3.1.1")]
        {
            play.scene.document(path, pets(two).replace("3.0.1", version));
        }
        play.scene.document("/oas2.yaml", "swagger: '2.0'\npaths: {}\n");
        play.scene.document("/broken.yaml", "a: [b\n");
        play
    }

    fn soap(&self, path: &str, operations: &[&str]) {
        self.scene.document(path, wsdl_of(operations, &format!("{LABORATORY}/soap"), false));
    }

    /// What was done between two recorded calls, as the second shows.
    async fn gap(&mut self, seq: u64) {
        match seq {
            302 => {
                let (client, status) = (client("DEV:COM:4321:TEST"), ClientStatus::RegistrationInProgress);
                self.scene
                    .foundation
                    .change("test", vec![Event::ClientStatusSet { client, status }])
                    .unwrap();
            }
            306 => self.scene.publish(conf(&["DEV:COM:4321:TEST"])),
            332 => {
                let rest = json!({"url": "https://host/a", "type": "REST", "rest_service_code": "a"});
                let made = self.scene.post("/clients/DEV:COM:4321:TEST/service-descriptions", rest).await.1;
                self.numbers.insert("28".into(), made["id"].as_str().unwrap().to_owned());
            }
            349 => {
                let endpoint = json!({"service_code": "pets", "method": "DELETE", "path": "/pets/*"});
                let path = "/services/DEV:COM:4321:TEST:pets/endpoints";
                assert_eq!(self.scene.post(path, endpoint).await.0, 201);
            }
            356 => {
                let owners =
                    json!({"id": "DEV:security-server-owners", "service_client_type": "GLOBALGROUP"});
                let path = format!("/endpoints/{}/service-clients", self.numbers["21"]);
                assert_eq!(self.scene.post(&path, json!({ "items": [owners] })).await.0, 201);
            }
            372 => {
                let changed = "  /pets:\n    get: {responses: {}}\n  /dogs:\n    get: {responses: {}}\n";
                self.scene.document("/pets.yaml", pets(changed));
                let path = format!("/service-descriptions/{}/refresh", self.numbers["18"]);
                assert_eq!(self.scene.put(&path, json!({"ignore_warnings": true})).await.0, 200);
                self.soap("/w.wsdl", &BOTH[..1]);
            }
            374 => self.soap("/w.wsdl", &BOTH),
            _ => {}
        }
    }

    /// A text of the recording with our numbers.
    fn ours(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let places = [
            ("/service-descriptions/", '/'),
            ("/endpoints/", '/'),
            ("/local-groups/", '/'),
            ("\"id\":\"", '"'),
        ];
        for (place, end) in places {
            let Some(at) = text.find(place).map(|at| at + place.len()) else { continue };
            let to = text[at..].find(end).map_or(text.len(), |length| at + length);
            if let Some(number) = self.numbers.get(&text[at..to]) {
                text.replace_range(at..to, number);
            }
        }
        text
    }

    /// Numbers that two answers have at the same place.
    fn learn(&mut self, theirs: &Value, ours: &Value) {
        match (theirs, ours) {
            (Value::Object(theirs), Value::Object(ours)) => {
                if let (Some(a), Some(b)) = (number(theirs.get("id")), number(ours.get("id"))) {
                    self.numbers.insert(a.to_owned(), b.to_owned());
                }
                for (key, value) in theirs {
                    self.learn(value, ours.get(key).unwrap_or(&Value::Null));
                }
            }
            (Value::Array(theirs), Value::Array(ours)) => {
                let sorted = |all: &[Value]| {
                    let mut all: Vec<Value> = all.to_vec();
                    all.sort_by_key(|item| plain(item).to_string());
                    all
                };
                sorted(theirs).iter().zip(sorted(ours)).for_each(|(a, b)| self.learn(a, &b));
            }
            _ => {}
        }
    }

    async fn one(&mut self, call: &Value, tally: &mut Tally) {
        let (seq, method) = (call["seq"].as_u64().unwrap(), call["method"].as_str().unwrap());
        let path = call["path"].as_str().unwrap().trim_start_matches("/api/v1");
        let at = self.scene.at("");
        let body = recorded_body(call);
        let body = match String::from_utf8(body) {
            Ok(json) => self.ours(&json).replace(LABORATORY, &at).into_bytes(),
            Err(file) => file.into_bytes(),
        };
        let header = |name| Some((name, recorded_header(call, name)?));
        let lines: Vec<_> = ["Content-Type", "Accept"].into_iter().filter_map(header).collect();
        let query = call["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", self.ours(path));
        let (status, answer) = self.scene.send_as("all", method, &target, &lines, &body).await;
        let answer: Value = serde_json::from_str(&answer.to_string().replace(&at, LABORATORY)).unwrap();
        let (was, theirs) = (call["status"].as_u64().unwrap(), &call["response"]["body"]["json"]);
        let case = format!("{seq} {} {method} {path}{query}", call["name"]);
        if let Some((_, is, code)) = BETTER.iter().find(|(number, ..)| *number == seq) {
            tally.equal(case, (u64::from(status), answer["error"]["code"].as_str()), (*is, Some(*code)));
            return;
        }
        if was < 300 {
            self.learn(theirs, &answer);
        }
        tally.equal(case, said(status.into(), &answer), said(was, theirs));
    }
}

fn number(value: Option<&Value>) -> Option<&str> {
    let text = value.and_then(Value::as_str)?;
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// An answer without what differs by nature, lists in order.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            // Members of groups have a name more, for older scripts.
            let of_member = map.contains_key("member_name") && map.contains_key("created_at");
            let kept = map.iter().filter(|(key, _)| !(of_member && *key == "name"));
            let hidden = |key: &str, value: &Value| {
                VOLATILE.contains(&key) || (key == "id" && (number(Some(value)).is_some() || value == "null"))
            };
            let entry = |(key, value): (&String, &Value)| {
                (key.clone(), if hidden(key, value) { json!("…") } else { plain(value) })
            };
            Value::Object(kept.map(entry).collect())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(plain).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    }
}

/// What scripts look at: an answer, or what is refused; sentences are each server's own.
fn said(status: u64, body: &Value) -> Value {
    if status < 300 {
        return json!([status, plain(body)]);
    }
    let error = &body["error"];
    let mut metadata = plain(&error["metadata"]);
    if error["code"] == "invalid_wsdl" {
        metadata = json!(metadata.as_array().map(Vec::len));
    }
    let rules = error["validation_errors"].as_object().map(|rules| rules.keys().cloned().collect::<Vec<_>>());
    json!([status, error["code"], metadata, rules, plain(&body["warnings"])])
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_services_are_answered_as_recorded() {
    let Some(folder) = vectors::dir() else { return };
    let mut play = Play::start().await;
    let mut tally = Tally::new("recordings: clients and services of ss1");
    for file in ["14-ss1-clients-services.jsonl", "15-ss1-breadth.jsonl"] {
        let text = std::fs::read_to_string(folder.join("recordings").join(file)).unwrap();
        for line in text.lines() {
            let call: Value = serde_json::from_str(line).unwrap();
            let path = call["path"].as_str().unwrap_or_default().trim_start_matches("/api/v1");
            if call["server"] != "ss1" || !OURS.contains(&path.split('/').nth(1).unwrap_or_default()) {
                continue;
            }
            let seq = call["seq"].as_u64().unwrap();
            play.gap(seq).await;
            let elsewhere = path.starts_with("/clients/") && ELSEWHERE.iter().any(|end| path.ends_with(end));
            if elsewhere || path == "/clients/DEV:COM:4321:S2" {
                tally.not_applicable("played with the requests to the central server");
            } else if call["query"].as_str().is_some_and(|query| query.contains("local_valid_sign_cert")) {
                tally.not_applicable("there is no token here");
            } else if WITHOUT_BODY.contains(&seq) {
                tally.not_applicable("a body may be missing");
            } else {
                play.one(&call, &mut tally).await;
            }
        }
    }
    tally.finish();
}
