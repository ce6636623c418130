//! What live central servers were asked and answered, played in order against a fresh server of ours with ids mapped.
//!
//! Compared are status, code, metadata, warnings, failed rules, and of answers every key with its value, except times, numbers and hashes,
//! which differ by nature. Calls outside what this server offers, and calls whose credentials were not recorded, count as not applicable.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scene::Scene;
use serde_json::{Map, Value, json};
use testkit::vectors::{self, Tally};

/// Paths that this server does not offer yet, with the reason.
const ELSEWHERE: [(&str, &str); 8] = [
    ("/backups", "backups are not offered yet"),
    ("/trusted-anchors", "trusted anchors are not offered yet"),
    ("/configuration-parts", "configuration parts are not offered yet"),
    (
        "/management-services-configuration/certificate",
        "certificates of the management services are not offered yet",
    ),
    (
        "/management-services-configuration/generate-csr",
        "certificates of the management services are not offered yet",
    ),
    (
        "/management-services-configuration/upload-certificate",
        "certificates of the management services are not offered yet",
    ),
    (
        "/management-services-configuration/download-certificate",
        "certificates of the management services are not offered yet",
    ),
    ("/no-such-thing-", "reserved"),
];

/// Keys whose values differ by nature; that they are there is compared.
const VOLATILE: [&str; 16] = [
    "created_at",
    "updated_at",
    "generated_at",
    "added_to_group",
    "configuration_generated",
    "id",
    "hash",
    "info",
    "timestamp",
    "file_updated_at",
    "not_after",
    "not_before",
    "key_algorithm",
    "label",
    "username",
    "token_id",
];

/// Answers that are better here on purpose: method, end of the path, recorded status and code, and what is answered instead.
const BETTER: [(&str, &str, u16, Option<&str>, u16, Option<&str>); 6] = [
    ("PUT", "/login", 500, Some("token_activation_failed"), 400, Some("token_activation_failed")),
    ("POST", "/members", 500, None, 400, Some("validation_failure")),
    (
        "PUT",
        "/re-create",
        500,
        Some("no_configuration_signing_keys_configured"),
        409,
        Some("no_configuration_signing_keys_configured"),
    ),
    ("GET", "/ocsp-responders/999999", 403, None, 404, Some("ocsp_responder_not_found")),
    ("GET", "/ocsp-responders/1", 403, None, 200, None),
    ("GET", "/ocsp-responders/3", 403, None, 200, None),
];

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
            if call["server"] == "cs" && call["method"].is_string() {
                let time = call["time"].as_str().unwrap_or_default().to_owned();
                all.push(Recorded { call, time });
            }
        }
    }
    all.sort_by(|a, b| a.time.cmp(&b.time));
    Some(all)
}

/// Ids of the recording to ours, by what they are of.
#[derive(Default)]
struct Ids(BTreeMap<(String, String), String>);

impl Ids {
    /// A recorded path with our ids in it.
    fn path(&self, path: &str) -> String {
        let mut out: Vec<String> = Vec::new();
        let mut before = String::new();
        for segment in path.split('/') {
            let key = (before.clone(), segment.to_owned());
            out.push(self.0.get(&key).cloned().unwrap_or_else(|| segment.to_owned()));
            before = segment.to_owned();
        }
        out.join("/")
    }

    /// Learns from two answers to the same call.
    fn learn(&mut self, path: &str, theirs: &Value, ours: &Value) {
        let kind = path
            .rsplit('/')
            .find(|part| !part.is_empty() && part.parse::<u64>().is_err())
            .unwrap_or_default();
        if let (Value::Array(theirs), Value::Array(ours)) = (theirs, ours) {
            for (a, b) in theirs.iter().zip(ours) {
                self.learn(path, a, b);
            }
        }
        let text = |value: &Value| match &value["id"] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        if let (Some(a), Some(b)) = (text(theirs), text(ours)) {
            self.0.insert((kind.to_owned(), a), b);
        }
    }
}

/// An answer without what differs by nature, lists of texts in order.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let plain_entry = |(key, value): (&String, &Value)| {
                let value = if VOLATILE.contains(&key.as_str()) && !value.is_object() {
                    json!("…")
                } else {
                    plain(value)
                };
                (key.clone(), value)
            };
            Value::Object(map.iter().map(plain_entry).collect::<Map<_, _>>())
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
    let metadata = if error["code"] == "invalid_pagination_properties" {
        Value::Null
    } else {
        error["metadata"].clone()
    };
    let code = if error.is_object() { error["code"].clone() } else { Value::Null };
    json!([status, code, metadata, rules, plain(&body["warnings"])])
}

fn better(call: &Value, status: u64, code: Option<&str>) -> Option<(u16, Option<&'static str>)> {
    let path = call["path"].as_str().unwrap_or_default();
    BETTER
        .iter()
        .find(|(method, end, was, was_code, _, _)| {
            call["method"] == *method && path.ends_with(end) && u64::from(*was) == status && *was_code == code
        })
        .map(|(_, _, _, _, is, is_code)| (*is, *is_code))
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_live_servers_are_answered_alike() {
    let Some(recorded) = recorded() else { return };
    let mut scene = Scene::start().await;
    let mut ids = Ids::default();
    let mut tally = Tally::new("recordings (central server)");
    for Recorded { call, time } in &recorded {
        scene.go_to(time);
        let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
        let (method, path, caller) = (text("method"), text("path"), text("as"));
        let below = path.strip_prefix("/api/v1").unwrap_or(&path).to_owned();
        if let Some((_, reason)) = ELSEWHERE.iter().find(|(part, _)| below.contains(part)) {
            tally.not_applicable(reason);
            continue;
        }
        if below.starts_with("/api-keys") || !path.starts_with("/api/") || !scene.knows(&caller) {
            tally.not_applicable("the credential was not recorded");
            continue;
        }
        scene.catch_up(call["seq"].as_u64().unwrap_or_default()).await;
        let request = &call["request"];
        let body = match &request["body"] {
            Value::Object(map) if map.contains_key("base64") => {
                STANDARD.decode(map["base64"].as_str().unwrap()).unwrap()
            }
            Value::Object(map) if map.contains_key("json") => map["json"].to_string().into_bytes(),
            Value::Object(map) if map.contains_key("text") => {
                map["text"].as_str().unwrap().as_bytes().to_vec()
            }
            _ => Vec::new(),
        };
        let header = |name: &str| {
            let headers = request["headers"].as_object()?;
            headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_str().map(str::to_owned)
        };
        let query = call["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", ids.path(&path));
        let (status, answer) = scene
            .send(
                &method,
                &target,
                &caller,
                header("content-type").as_deref(),
                header("accept").as_deref(),
                &body,
            )
            .await;
        let theirs = &call["response"]["body"]["json"];
        let was = call["status"].as_u64().unwrap_or_default();
        let case = format!("{} {method} {below}{query} as {caller}", call["seq"]);
        let ours: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        if let Some((status_now, code_now)) = better(call, was, theirs["error"]["code"].as_str()) {
            tally.equal(case, (status, ours["error"]["code"].as_str()), (status_now, code_now));
            continue;
        }
        if was >= 300 || u64::from(status) != was {
            let detail = if u64::from(status) != was {
                String::from_utf8_lossy(&answer).into_owned()
            } else {
                String::new()
            };
            tally.equal(format!("{case} {detail}"), refusal(status.into(), &ours), refusal(was, theirs));
            continue;
        }
        ids.learn(&path, theirs, &ours);
        tally.equal(case, plain(&ours), plain(theirs));
    }
    tally.finish();
}
