//! Random requests made from the API document: nothing but the caller's mistake is ever answered, and nothing changes without a 2xx.
//!
//! The seed is fixed; `CAUSEWAY_SEED` gives another one, and `CAUSEWAY_REQUESTS` another number of requests.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use admin_api::operation::{BodyKind, Operation};
use central_server::admin_api::{Api, table};
use central_server::registry::State;
use scene::Scene;
use serde_json::{Map, Value, json};

/// A small generator whose numbers are the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

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

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth > 3 { 6 } else { 9 }) {
        0..=3 => json!(random.pick(&TEXTS)),
        4 => json!(random.next() as i64),
        5 => match random.below(3) {
            0 => Value::Null,
            1 => json!(1.5),
            _ => json!(random.below(2) == 0),
        },
        6 => Value::Array((0..random.below(4)).map(|_| value(random, depth + 1)).collect()),
        7 => json!("x".repeat(random.below(2000))),
        _ => Value::Object(Map::from_iter([(random.pick(&TEXTS).to_owned(), value(random, depth + 1))])),
    }
}

/// A value that a schema asks for, mostly.
fn from_schema(random: &mut Random, schema: &Value, all: &Value, depth: usize) -> Value {
    if depth > 6 || random.below(12) == 0 {
        return value(random, depth);
    }
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return from_schema(random, &all["components"]["schemas"][name], all, depth + 1);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let index = random.below(any.len());
        return from_schema(random, &any[index], all, depth + 1);
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds[random.below(kinds.len())].as_str().unwrap().to_owned(),
        _ => String::new(),
    };
    match kind.as_str() {
        "object" => {
            let mut object = Map::new();
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                if random.below(6) != 0 {
                    object.insert(key.clone(), from_schema(random, schema, all, depth + 1));
                }
            }
            Value::Object(object)
        }
        "array" => {
            let count = random.below(3);
            Value::Array((0..count).map(|_| from_schema(random, &schema["items"], all, depth + 1)).collect())
        }
        "string" => json!(random.pick(&TEXTS)),
        "integer" | "number" => json!(random.below(1000) as i64 - 10),
        "boolean" => json!(random.below(2) == 0),
        _ => value(random, depth),
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b":-.".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// Path with query, media type and body of a random call of an operation.
fn call(random: &mut Random, row: &Operation<Api>, document: &Value) -> (String, Option<String>, Vec<u8>) {
    let segments: Vec<String> = row
        .path
        .split('/')
        .map(|part| if part.starts_with('{') { escaped(random.pick(&TEXTS)) } else { part.to_owned() })
        .collect();
    let mut target = format!("/api/v1{}", segments.join("/"));
    for (index, name) in row.query.iter().enumerate() {
        let sign = if index == 0 { '?' } else { '&' };
        let text = escaped(random.pick(&TEXTS));
        target.push_str(&format!("{sign}{name}={text}"));
    }
    let schema = &document["paths"][row.path][row.verb.name().to_lowercase()]["requestBody"]["content"];
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
            let body = from_schema(random, &schema["application/json"]["schema"], document, 0).to_string();
            (target, Some("application/json".into()), body.into_bytes())
        }
    }
}

fn content(scene: &Scene) -> State {
    let mut state = State::clone(&scene.offline.registry().state());
    // A refusal is recorded, and that is all it does.
    state.revision = 0;
    state
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
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
    let mut before = content(&scene);
    for index in 0..number("CAUSEWAY_REQUESTS", 2_000) {
        let row = &rows[random.below(rows.len())];
        let caller = random.pick(&["all", "all", "all", "all", "ms", "none"]);
        let (target, media_type, body) = call(&mut random, row, &document);
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
        let after = content(&scene);
        assert!(status < 300 || before == after, "{}", shown());
        before = after;
    }
}
