//! Random requests made from the API document: nothing but the caller's mistake is ever answered, and nothing changes without a 2xx.
//!
//! The seed is fixed; `CAUSEWAY_SEED` gives another one, and `CAUSEWAY_REQUESTS` another number of requests.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use std::path::Path;
use std::sync::Arc;

use admin_api::operation::{BodyKind, Operation};
use central_server::Offline;
use central_server::admin_api::{Api, table};
use central_server::registry::State;
use scene::Scene;
use serde_json::Value;
use testkit::requests::{Maker, Random, number};

const TEXTS: [&str; 30] = [
    "",
    " ",
    "COM",
    "DEV",
    "1234",
    "DEV:COM:1234",
    "DEV:COM:1234:SUB",
    "DEV:COM:1234:SS1",
    "security-server-owners",
    "g",
    "0",
    "1",
    "-1",
    "99999999999999999999",
    "INTERNAL",
    "EXTERNAL",
    "CENTER",
    "SECURITY_SERVER",
    "CLIENT_REGISTRATION_REQUEST",
    "OWNER_CHANGE_REQUEST",
    "AUTH_CERT_REGISTRATION_REQUEST",
    "MAINTENANCE_MODE_ENABLE_REQUEST",
    "true",
    "FREE",
    "DER",
    "http://host/",
    "ss1.example",
    "j\u{f5}gi",
    "a\u{0}b\u{200b}",
    "../../etc/passwd",
];

/// Path with query, media type and body of a random call of an operation.
fn call(random: &mut Random, row: &Operation<Api>, maker: Maker<'_>) -> (String, Option<String>, Vec<u8>) {
    let target = format!("/api/v1{}", maker.target(random, row.path, row.query));
    match row.body {
        BodyKind::None => (target, None, Vec::new()),
        BodyKind::Form => {
            let mut body = Vec::new();
            for name in [
                "certificate",
                "url",
                "cost_type",
                "certificate_profile_info",
                "default_csr_format",
                "tls_auth",
            ] {
                if random.below(5) != 0 {
                    let file = if name == "certificate" { "; filename=\"a.pem\"" } else { "" };
                    let text = random.pick(&TEXTS);
                    body.extend(
                        format!(
                            "--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n"
                        )
                        .bytes(),
                    );
                }
            }
            body.extend(b"--b--\r\n");
            (target, Some("multipart/form-data; boundary=b".into()), body)
        }
        _ => {
            let body = maker.body(random, row.path, row.verb.name());
            (target, Some("application/json".into()), body)
        }
    }
}

/// A refusal is recorded, and that is all it does.
fn unrecorded(state: &State) -> State {
    State { revision: 0, ..State::clone(state) }
}

/// Nothing has changed but the record of refusals.
fn alike(before: &Arc<State>, after: &Arc<State>) -> bool {
    Arc::ptr_eq(before, after) || unrecorded(before) == unrecorded(after)
}

/// What another process finds that starts on what is on the disk now, as after a kill.
fn found_after_a_kill(scene: &Scene) -> Arc<State> {
    let folder = tempfile::tempdir().unwrap();
    copy(scene.folder(), folder.path());
    let again = Offline::open(folder.path(), scene.clock.clone()).unwrap();
    again.registry().state()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_and_nothing_changes_without_success() {
    let scene = Scene::start().await;
    let seed = number("CAUSEWAY_SEED", 7);
    let mut random = Random(seed);
    let (_, document) = scene.send("GET", "/api/v1/openapi.yaml", "none", None, None, b"").await;
    let document: Value = serde_yaml_ng::from_slice(&document).unwrap();
    let json = Some("application/json");
    let setup = [
        (
            "/initialization",
            r#"{"instance_identifier":"DEV","central_server_address":"cs","software_token_pin":"Secret1234"}"#,
        ),
        ("/member-classes", r#"{"code":"COM","description":"Commercial"}"#),
        ("/members", r#"{"member_id":{"member_class":"COM","member_code":"1234"},"member_name":"One"}"#),
        (
            "/subsystems",
            r#"{"subsystem_id":{"member_class":"COM","member_code":"1234","subsystem_code":"SUB"}}"#,
        ),
    ];
    for (path, body) in setup {
        scene.send("POST", &format!("/api/v1{path}"), "all", json, None, body.as_bytes()).await;
    }
    // Each wrong PIN makes the next try wait, and each initialisation of a token is slow; neither is of interest here.
    let rows: Vec<Operation<Api>> =
        table::operations().into_iter().filter(|row| row.id != "loginToken").collect();
    let mut before = scene.offline.registry().state();
    for index in 0..number("CAUSEWAY_REQUESTS", 10_000) {
        let row = &rows[random.below(rows.len())];
        let caller = random.pick(&["all", "all", "all", "all", "ms", "none"]);
        let (target, media_type, body) = call(&mut random, row, Maker { texts: &TEXTS, document: &document });
        let (status, answer) =
            scene.send(row.verb.name(), &target, caller, media_type.as_deref(), None, &body).await;
        let shown = || {
            format!(
                "seed {seed}, request {index}: {} {target} {}: {status} {}",
                row.verb.name(),
                String::from_utf8_lossy(&body),
                String::from_utf8_lossy(&answer)
            )
        };
        assert!(status < 500, "{}", shown());
        let after = scene.offline.registry().state();
        assert!(status < 300 || alike(&before, &after), "{}", shown());
        if index % 500 == 0 {
            assert!(alike(&found_after_a_kill(&scene), &after), "{}", shown());
        }
        before = after;
    }
}
