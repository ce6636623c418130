//! What live central servers were asked and answered, played in order against a fresh server of ours with ids mapped.
//!
//! Compared are status, code, metadata, warnings, failed rules, and of answers every key with its value, except times, numbers and hashes,
//! which differ by nature. Calls outside what this server offers, and calls whose credentials were not recorded, count as not applicable.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use central_server::management_service::Service;
use central_server::registry::{Command, SourceKind};
use proto::fault::Fault;
use proto::time::UnixTime;
use scene::Scene;
use serde_json::{Map, Value, json};
use testkit::calls::{recorded_body, recorded_header};
use testkit::vectors::{self, Tally};

/// Paths that this server does not offer yet, with the reason.
const ELSEWHERE: [(&str, &str); 1] = [("/no-such-thing-", "reserved")];

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

/// Method, end of the path, recorded status and code, and what is answered instead.
type Better = (&'static str, &'static str, u16, Option<&'static str>, u16, Option<&'static str>);

/// Answers that are better here on purpose.
const BETTER: [Better; 9] = [
    // The certificate is of our own making.
    ("GET", "/management-services-configuration/certificate", 200, None, 200, None),
    (
        "POST",
        "/configuration-parts",
        500,
        Some("core.malformed_optional_parts_conf"),
        400,
        Some("configuration_part_validation_failed"),
    ),
    ("PUT", "/restore", 500, Some("backup_file_not_found"), 404, Some("backup_file_not_found")),
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

/// Calls that the recording lacks and whose effect its next calls show: before which, by whom, method, path, body.
const GAPS: [(u64, &str, &str, &str, &str); 11] = [
    (
        50,
        "all",
        "PATCH",
        "/management-services-configuration",
        r#"{"service_provider_id":"DEV:COM:1234:MANAGEMENT"}"#,
    ),
    (
        201,
        "all",
        "POST",
        "/management-services-configuration/register-provider",
        r#"{"security_server_id":"DEV:COM:1234:SS0"}"#,
    ),
    (1735, "all", "PUT", "/tokens/0/logout", ""),
    (1743, "all", "PUT", "/tokens/0/login", r#"{"password":"Secret1234"}"#),
    (1752, "all", "POST", "/global-groups", r#"{"code":"g1","description":"x"}"#),
    (
        1759,
        "all",
        "POST",
        "/global-groups/g1/members/add",
        r#"{"items":["DEV:ORG:7","DEV:GOV:55","DEV:COM:4321:TEST"]}"#,
    ),
    (1768, "all", "DELETE", "/global-groups/g1/members/DEV:ORG:7", ""),
    (
        1788,
        "all",
        "POST",
        "/subsystems",
        r#"{"subsystem_id":{"member_class":"COM","member_code":"4321","subsystem_code":"T2"}}"#,
    ),
    (1803, "all", "POST", "/member-classes", r#"{"code":"TMP","description":"x"}"#),
    (
        1808,
        "all",
        "POST",
        "/members",
        r#"{"member_id":{"member_class":"ORG","member_code":"tmp"},"member_name":"x"}"#,
    ),
    (1812, "all", "DELETE", "/subsystems/DEV:COM:4321:T2", ""),
];

/// From here on the recorded server approved requests of security servers by itself.
const WITH_AUTOMATIC_APPROVAL: u64 = 2299;

/// Calls that show what recordings did that are kept apart.
const APART: [u64; 23] = [
    1735, 1743, 1766, 1769, 1773, 1776, 1778, 1779, 1780, 1810, 1834, 1835, 1857, 1909, 1911, 1914, 1915,
    2007, 2198, 2205, 2206, 2295, 2308,
];
/// Here more is answered than recorded, on purpose: the filter `server_id` of the reference's document works.
const ON_PURPOSE: [u64; 1] = [2208];

/// Before this call the recorded server had made no configuration.
const FIRST_GENERATION: u64 = 111;
/// Calls whose answers show what was generated a moment ago.
const FRESH: [&str; 3] = ["/configuration-parts", "/trusted-anchors", "/high-availability-cluster/status"];

/// A certificate that their laboratory made for their server's key.
const FOR_THEIR_KEY: u64 = 1875;

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

/// A management request as it came over the wire, and what was answered.
struct Captured {
    name: String,
    at: UnixTime,
    service: Service,
    content_type: String,
    body: Bytes,
    status: u16,
    answer: Vec<u8>,
}

/// The captured requests, the last first.
fn wire() -> Vec<Captured> {
    let Some(folder) = vectors::dir().map(|dir| dir.join("captures/management-wire")) else {
        return Vec::new();
    };
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let mut all: Vec<_> =
        index.as_array().unwrap().iter().filter_map(|entry| captured(&folder, entry)).collect();
    all.sort_by_key(|request| std::cmp::Reverse(request.at));
    all
}

/// One captured POST; `None` for other methods, which the listener answers.
fn captured(folder: &std::path::Path, entry: &Value) -> Option<Captured> {
    let name = entry["file"].as_str()?.to_owned();
    let read = |kind: &str| std::fs::read(folder.join(format!("{name}.{kind}.bin"))).unwrap();
    let end_of_head = |bytes: &[u8]| Some(bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4);
    let (bytes, answer) = (read("request"), read("response"));
    let end = end_of_head(&bytes)?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-type:"))?;
    let at: f64 = entry["time"].as_str()?.parse().ok()?;
    Some(Captured {
        at: UnixTime((at * 1000.0) as i64),
        service: if entry["front_port"] == 4001 { Service::Registration } else { Service::Management },
        content_type: line.split_once(':')?.1.trim().to_owned(),
        body: Bytes::copy_from_slice(&bytes[end..]),
        status: std::str::from_utf8(&answer[9..12]).ok()?.parse().ok()?,
        answer: answer[end_of_head(&answer)?..].to_vec(),
        name,
    })
}

/// Hands in what security servers had handed in by then.
fn play_wire(scene: &Scene, wire: &mut Vec<Captured>, until: &str, tally: &mut Tally) {
    let until = UnixTime::from_iso8601(until).unwrap();
    while let Some(request) = wire.pop_if(|request| request.at <= until) {
        scene.clock.set(request.at);
        let service = request.service;
        let answered = scene.management.answer(service, &request.content_type, &request.body);
        let said = |body: &[u8]| Fault::from_soap(body).map(|fault| (fault.code, fault.message));
        let found = (answered.status, said(&answered.body));
        tally.equal(&request.name, found, (request.status, said(&request.answer)));
        if request.name.starts_with("019") {
            // Staff approved this one; the call is kept apart.
            let id = scene.offline.registry().state().numbers.request;
            scene.offline.registry().execute("staff", Command::ApproveRequest { id }).unwrap();
        }
    }
    scene.clock.set(until);
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
        // Lists may be in another order; certificates are told apart by their hash.
        if let (Value::Array(theirs), Value::Array(ours)) = (theirs, ours) {
            for theirs in theirs.iter().filter(|item| item["hash"].is_string()) {
                if let Some(ours) = ours.iter().find(|ours| ours["hash"] == theirs["hash"]) {
                    self.learn(path, theirs, ours);
                }
            }
        }
        let name = if kind == "trusted-anchors" { "hash" } else { "id" };
        let text = |value: &Value| match &value[name] {
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

/// A body with other bytes in place of the first of a pair.
fn in_place(body: &[u8], (theirs, ours): &(Vec<u8>, Vec<u8>)) -> Vec<u8> {
    let found = body.windows(theirs.len().max(1)).position(|window| window == theirs);
    match found {
        Some(start) => [&body[..start], ours, &body[start + theirs.len()..]].concat(),
        None => body.to_vec(),
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

/// A recorded form with the anchor in it that leads to where the recorded one led: to one of our sources, or to nobody.
fn scene_anchor(scene: &Scene, form: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(form).unwrap();
    let (Some(from), Some(to)) = (text.find("<?xml"), text.rfind("\r\n--")) else { return text.into_bytes() };
    let recorded = &text[from..to];
    let ours = match ["http://cs/internalconf", "http://cs/externalconf"].map(|url| recorded.contains(url)) {
        [true, _] => scene.anchor(SourceKind::Internal),
        [_, true] => scene.anchor(SourceKind::External),
        _ => recorded.replace("10.77.0.1:9", "127.0.0.1:9").into_bytes(),
    };
    [&text.as_bytes()[..from], &ours, &text.as_bytes()[to..]].concat()
}

fn better(call: &Value, status: u64, code: Option<&str>) -> Option<(u16, Option<&'static str>)> {
    let path = call["path"].as_str().unwrap_or_default();
    BETTER
        .iter()
        .find(|(method, end, was, was_code, _, _)| {
            call["as"] == "all"
                && call["method"] == *method
                && path.ends_with(end)
                && u64::from(*was) == status
                && *was_code == code
        })
        .map(|(_, _, _, _, is, is_code)| (*is, *is_code))
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_live_servers_are_answered_alike() {
    let Some(recorded) = recorded() else { return };
    let mut scene = Scene::start().await;
    let mut ids = Ids::default();
    let mut wire = wire();
    let mut logins = 0;
    // The recorded backup, and ours in its place.
    let mut backup = (Vec::new(), Vec::new());
    let mut on_the_wire = Tally::new("captures/management-wire");
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
        let seq = call["seq"].as_u64().unwrap_or_default();
        play_wire(&scene, &mut wire, time, &mut on_the_wire);
        for (_, caller, method, path, body) in GAPS.iter().filter(|gap| gap.0 == seq) {
            let media_type =
                if body.starts_with("--b") { "multipart/form-data; boundary=b" } else { "application/json" };
            let target = format!("/api/v1{}", ids.path(path));
            let (status, answer) =
                scene.send(method, &target, caller, Some(media_type), None, body.as_bytes()).await;
            if status >= 300 {
                let answer = String::from_utf8_lossy(&answer).into_owned();
                tally.fail(format!("before {seq}: {method} {path}"), answer);
            }
        }
        if seq > FIRST_GENERATION && FRESH.iter().any(|part| below.contains(part)) {
            scene.publish().await;
        }
        if seq == WITH_AUTOMATIC_APPROVAL {
            scene.approve_automatically();
        }
        if below.ends_with("/login") {
            // The reference lets a right PIN in at once after a wrong one; here each try waits longer.
            logins += 1;
            scene.clock.set(scene.clock.now().plus(std::time::Duration::from_secs(90 * logins)));
        }
        if !call["status"].is_u64() || APART.contains(&seq) {
            tally.not_applicable("it depends on calls that are kept apart");
            continue;
        }
        if seq == FOR_THEIR_KEY {
            tally.not_applicable("a certificate for their key");
            continue;
        }
        if ON_PURPOSE.contains(&seq) || seq == 2306 {
            tally.not_applicable("answered otherwise on purpose, or lists what is kept apart");
            continue;
        }
        let body = recorded_body(call);
        let body = if below.starts_with("/trusted-anchors") { scene_anchor(&scene, body) } else { body };
        let body = if below == "/backups/upload" { in_place(&body, &backup) } else { body };
        let query = call["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", ids.path(&path));
        let (status, answer) = scene
            .send(
                &method,
                &target,
                &caller,
                recorded_header(call, "content-type"),
                recorded_header(call, "accept"),
                &body,
            )
            .await;
        let theirs = &call["response"]["body"]["json"];
        let was = call["status"].as_u64().unwrap_or_default();
        let case = format!("{} {method} {below}{query} as {caller}", call["seq"]);
        let mut ours: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        if method == "POST" && below == "/backups" && status == 201 {
            // It is called after the second in which it was made.
            let named = theirs["filename"].clone();
            scene.rename_backup(ours["filename"].as_str().unwrap(), named.as_str().unwrap());
            ours["filename"] = named;
        }
        if below.ends_with("/download")
            && let Some(theirs) = call["response"]["body"]["base64"].as_str()
            && below.starts_with("/backups/")
        {
            backup = (STANDARD.decode(theirs).unwrap(), answer.clone());
        }
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
    on_the_wire.finish();
    tally.finish();
}
