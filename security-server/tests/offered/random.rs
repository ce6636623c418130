//! Random requests to every operation: nothing but the caller's mistake is ever answered, and nothing changes without a 2xx.
//!
//! The seed is fixed; `CAUSEWAY_SEED` gives another one, and `CAUSEWAY_REQUESTS` another number of requests.

use admin_api::operation::BodyKind;
use security_server::admin_api::table;
use serde_json::{Value, json};
use testkit::requests::{Maker, Random, number};

use crate::scene::Scene;

const TEXTS: [&str; 44] = [
    "",
    " ",
    "COM",
    "DEV",
    "DEV:COM:1",
    "DEV:COM:1:A",
    "DEV:COM:1:B",
    "DEV:COM:2",
    "DEV:COM:2:X",
    "DEV:GOV:3:Y",
    "DEV:COM:1:SS1",
    "DEV:COM:1:A:a",
    "DEV:COM:1:A:pets",
    "DEV:offices",
    "offices",
    "a",
    "pets",
    "A",
    "B",
    "X",
    "g1",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "-1",
    "99999999999999999999",
    "AUTHENTICATION",
    "SIGNING",
    "DER",
    "HTTP",
    "REST",
    "SUBSYSTEM",
    "GLOBALGROUP",
    "true",
    "/pets/*",
    "http://127.0.0.1:1/",
    "ss1.example",
    "j\u{f5}gi",
    "a\u{0}b\u{200b}",
    "../../etc/passwd",
];

/// Making and opening a token is slow on purpose, and each wrong PIN makes the next try wait.
const SLOW: [&str; 3] = ["initSecurityServer", "loginToken", "updateTokenPin"];

/// Failures that are said as what they are: nobody has made the server a part of an instance, or the central server cannot be asked.
fn is_kept(answer: &Value) -> bool {
    let code = answer["error"]["code"].as_str().unwrap_or_default();
    code.starts_with("core.") || code.starts_with("conf_") || code == "anchor_file_not_found"
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_and_nothing_changes_without_success() {
    let scene = Scene::with_client().await;
    for code in ["a", "pets"] {
        let rest =
            json!({"url": format!("http://127.0.0.1:1/{code}"), "type": "REST", "rest_service_code": code});
        assert_eq!(scene.post("/clients/DEV:COM:1:A/service-descriptions", rest).await.0, 201);
    }
    let group = json!({"code": "g1", "description": "d"});
    assert_eq!(scene.post("/clients/DEV:COM:1:A/local-groups", group).await.0, 201);
    let document = scene.document_of_api().await;
    let maker = Maker { texts: &TEXTS, document: &document };
    let seed = number("CAUSEWAY_SEED", 11);
    let mut random = Random(seed);
    let rows: Vec<_> = table::operations().into_iter().filter(|row| !SLOW.contains(&row.id)).collect();
    let mut before = scene.foundation.conf.state();
    for index in 0..number("CAUSEWAY_REQUESTS", 2_000) {
        let row = &rows[random.below(rows.len())];
        let caller = random.pick(&["all", "all", "all", "so", "sy", "none"]);
        let target = maker.target(&mut random, row.path, row.query);
        let (media_type, body) = match row.body {
            BodyKind::None => (None, Vec::new()),
            BodyKind::Form => (Some("multipart/form-data; boundary=b"), b"--b--\r\n".to_vec()),
            BodyKind::Octets => (Some("application/octet-stream"), random.pick(&TEXTS).into()),
            BodyKind::Json | BodyKind::OptionalJson => {
                (Some("application/json"), maker.body(&mut random, row.path, row.verb.name()))
            }
        };
        let lines: Vec<_> = media_type.into_iter().map(|media_type| ("Content-Type", media_type)).collect();
        let (status, answer) = scene.send_as(caller, row.verb.name(), &target, &lines, &body).await;
        let shown = || {
            let body = String::from_utf8_lossy(&body);
            format!("seed {seed}, request {index}: {} {target} {body}: {status} {answer}", row.verb.name())
        };
        assert!(status < 500 || is_kept(&answer), "{}", shown());
        let after = scene.foundation.conf.state();
        assert!(status < 300 || before == after, "{}", shown());
        before = after;
    }
}
