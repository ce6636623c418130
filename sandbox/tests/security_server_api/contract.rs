//! Every operation's rights, from the table; and a bring-up call by call: examples with their schemas in the reference's API document,
//! and named refusals on the way.

use admin_api::operation::{Access, BodyKind, Role};
use host::clock::Clock;
use pki::csr::Usage;
use security_server::admin_api::rights::RIGHTS;
use serde_json::{Value, json};
use testkit::vectors;

use crate::world::{SecurityServer, World};

const ROLES: [(&str, Role); 5] = [
    ("so", Role::SecurityOfficer),
    ("ro", Role::RegistrationOfficer),
    ("sa", Role::ServiceAdministrator),
    ("sy", Role::SystemAdministrator),
    ("ob", Role::Observer),
];

fn media_type(body: BodyKind) -> Option<&'static str> {
    match body {
        BodyKind::Form => Some("multipart/form-data; boundary=b"),
        other => other.media_type(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_holds_to_its_rights() {
    let world = World::start().await;
    let server = world.security_server("rights", false).await;
    let mut tried = 0;
    for row in server.frame.operations().iter().filter(|row| !row.path.starts_with("/api-keys")) {
        let path: Vec<_> =
            row.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let target = format!("/api/v1{}", path.join("/"));
        let media = [media_type(row.body), None];
        let body: &[u8] = match row.body {
            BodyKind::Json | BodyKind::OptionalJson => b"{}",
            BodyKind::Form => b"--b--\r\n",
            BodyKind::None | BodyKind::Octets => b"",
        };
        let (status, ..) = server.send(row.verb.name(), &target, "none", media, body).await;
        assert_eq!(status, 401, "{} without a credential", row.id);
        for (caller, role) in ROLES {
            let may = match &row.access {
                Access::SignedIn => true,
                Access::Nobody => false,
                Access::Rights(names) => {
                    RIGHTS.iter().any(|right| names.contains(&right.name) && right.roles.contains(&role))
                }
            };
            let (status, _, answer) = server.send(row.verb.name(), &target, caller, media, body).await;
            let refused = status == 403;
            let answer = String::from_utf8_lossy(&answer);
            // A right for one usage is not one for the other: more is asked than to be let in.
            let by_usage = row.path.contains("certificate-authorities");
            assert!(refused != may || by_usage, "{} as {caller}: {status} {answer}", row.id);
            tried += 1;
        }
    }
    assert!(tried > 400, "{tried}");
    server.stop().await;
}

/// One call with what must come of it: its answer.
async fn step(server: &SecurityServer, call: &str, body: Value, status: u16, code: &str) -> Value {
    let (method, path) = call.split_once(' ').unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (found, answer) = server.call(method, path, &body).await;
    let said = answer["error"]["code"].as_str().unwrap_or_default();
    assert_eq!((found, said), (status, code), "{call} {body}: {answer}");
    if found < 300 {
        fits(method, path, found, &answer);
    }
    answer
}

/// Bytes sent.
async fn upload(server: &SecurityServer, call: &str, bytes: &[u8], status: u16, code: &str) -> Value {
    let (method, path) = call.split_once(' ').unwrap();
    let media = [Some("application/octet-stream"), None];
    let (found, _, answer) = server.send(method, &format!("/api/v1{path}"), "all", media, bytes).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let said = answer["error"]["code"].as_str().unwrap_or_default();
    assert_eq!((found, said), (status, code), "{call}: {answer}");
    answer
}

/// A key of one usage with its certificate; gives the certificate's hash.
async fn certified(world: &World, server: &SecurityServer, usage: &str) -> String {
    let mut csr = json!({
        "key_usage_type": usage, "ca_name": "LabCA", "csr_format": "DER",
        "subject_field_values": { "O": "Test", "subjectAltName": "ss" },
    });
    if usage == "SIGNING" {
        csr["member_id"] = json!("DEV:COM:4321");
    } else {
        csr["subject_field_values"]["CN"] = json!("ss");
    }
    let body = json!({ "key_label": usage, "csr_generate_request": csr });
    let made = step(server, "POST /tokens/0/keys-with-csrs", body, 200, "").await;
    let token = server.foundation.token.get().unwrap().clone();
    let key = made["key"]["id"].as_str().unwrap().to_owned();
    let der = token.write_csr(&key, made["csr_id"].as_str().unwrap()).unwrap();
    let usage = if usage == "SIGNING" { Usage::Signing } else { Usage::Authentication };
    let cert = world.authority.certify(&der, usage, Clock::System.now()).unwrap();
    upload(server, "POST /token-certificates", cert.der(), 201, "").await;
    upload(server, "POST /token-certificates", cert.der(), 409, "certificate_already_exists").await;
    hex::encode_upper(cert.sha256())
}

/// An empty server becomes DEV:COM:4321:SS1 with both certificates; gives their hashes.
pub(crate) async fn bring_up(world: &World, server: &SecurityServer) -> [String; 2] {
    let anchor = &world.internal_anchor;
    step(server, "GET /initialization/status", Value::Null, 200, "").await;
    step(server, "GET /system/anchor", Value::Null, 500, "anchor_file_not_found").await;
    step(server, "POST /initialization", json!({}), 409, "anchor_not_found").await;
    upload(server, "POST /system/anchor/previews", anchor, 200, "").await;
    upload(server, "POST /system/anchor", b"<x/>", 400, "malformed_anchor").await;
    upload(server, "PUT /system/anchor", anchor, 409, "anchor_not_found").await;
    let external = &world.external_anchor;
    upload(server, "POST /system/anchor", external, 500, "conf_verification.missing_private_params").await;
    upload(server, "POST /system/anchor", anchor, 201, "").await;
    upload(server, "POST /system/anchor", anchor, 409, "anchor_already_exists").await;
    upload(server, "PUT /system/anchor", anchor, 201, "").await;
    step(server, "GET /system/anchor", Value::Null, 200, "").await;
    step(server, "GET /member-classes?current_instance=True", Value::Null, 200, "").await;
    step(server, "GET /member-names?member_class=COM&member_code=4321", Value::Null, 200, "").await;
    step(server, "POST /initialization", json!({}), 400, "invalid_init_params").await;
    let whole = |code: &str, ignore: bool| {
        json!({
            "owner_member_class": "COM", "owner_member_code": code, "security_server_code": "SS1",
            "software_token_pin": "Secret1234", "ignore_warnings": ignore,
        })
    };
    step(server, "POST /initialization", whole("none", false), 400, "warnings_detected").await;
    step(server, "POST /initialization", whole("4321", false), 201, "").await;
    step(server, "POST /initialization", whole("4321", true), 409, "server_already_fully_initialized").await;
    let login = |pin: &str| json!({ "password": pin });
    step(server, "PUT /tokens/0/login", json!({}), 400, "missing_token_password").await;
    step(server, "PUT /tokens/9/login", login("x"), 404, "token_not_found").await;
    let add = json!({ "label": "k" });
    step(server, "POST /tokens/0/keys", add, 409, "action_not_possible").await;
    step(server, "PUT /tokens/0/login", login("Secret1234"), 200, "").await;
    step(server, "PUT /tokens/0/login", login("Secret1234"), 409, "action_not_possible").await;
    let auth = certified(world, server, "AUTHENTICATION").await;
    let sign = certified(world, server, "SIGNING").await;
    [auth, sign]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bring_up_with_examples_and_refusals() {
    let world = World::start().await;
    let server = world.security_server("contract", true).await;
    let [auth, sign] = bring_up(&world, &server).await;
    let get = async |path: &str| step(&server, &format!("GET {path}"), Value::Null, 200, "").await;
    for path in [
        "/system/version",
        "/system/node-type",
        "/user",
        "/notifications/alerts",
        "/tokens",
        "/tokens/0",
        "/certificate-authorities?include_intermediate_cas=true",
        "/timestamping-services",
        "/system/timestamping-services",
        "/xroad-instances",
        "/member-classes/DEV",
        "/security-servers",
        "/security-servers?current_server=True",
        "/diagnostics/globalconf",
        "/diagnostics/ocsp-responders",
        "/diagnostics/timestamping-services",
        "/diagnostics/addon-status",
        "/diagnostics/message-log-encryption-status",
        "/diagnostics/backup-encryption-status",
        "/diagnostics/proxy-memory-usage-status",
        "/system/certificate",
        "/clients",
        "/clients/DEV:COM:4321",
        "/clients/DEV:COM:4321/sign-certificates",
    ] {
        get(path).await;
    }
    let fields = "/certificate-authorities/LabCA/csr-subject-fields?key_usage_type";
    get(&format!("{fields}=AUTHENTICATION")).await;
    step(&server, &format!("GET {fields}=SIGNING"), Value::Null, 400, "memberId_required_for_sign_csr").await;
    let stranger = format!("GET {fields}=SIGNING&member_id=DEV:GOV:55");
    step(&server, &stranger, Value::Null, 400, "client_not_found").await;
    let nowhere = "GET /certificate-authorities/NoCA/csr-subject-fields?key_usage_type=AUTHENTICATION";
    step(&server, nowhere, Value::Null, 404, "certificate_authority_not_found").await;
    step(&server, "GET /member-classes/NIX", Value::Null, 404, "instance_identifier_not_found").await;

    let tsa = json!({ "name": "LabTSA", "url": world.tsas[1].url() });
    let unknown = json!({ "name": "LabTSA", "url": "http://nobody" });
    step(&server, "POST /system/timestamping-services", unknown, 400, "timestamping_service_not_found").await;
    step(&server, "POST /system/timestamping-services", tsa.clone(), 201, "").await;
    let twice = "timestamping_service_already_configured";
    step(&server, "POST /system/timestamping-services", tsa.clone(), 409, twice).await;
    step(&server, "POST /system/timestamping-services/delete", tsa.clone(), 204, "").await;
    step(&server, "POST /system/timestamping-services/delete", tsa, 404, "timestamping_service_not_found")
        .await;

    keys(&server).await;
    certificates(&server, &auth, &sign).await;
    token(&server).await;
    server.stop().await;
}

async fn keys(server: &SecurityServer) {
    let made = step(server, "POST /tokens/0/keys", json!({ "label": "third" }), 201, "").await;
    let key = format!("/keys/{}", made["id"].as_str().unwrap());
    step(server, "POST /tokens/0/keys", json!({}), 400, "validation_failure").await;
    step(server, &format!("GET {key}"), Value::Null, 200, "").await;
    step(server, &format!("PATCH {key}"), json!({ "name": "renamed" }), 200, "").await;
    let csr = |ca: &str, format: &str, fields: Value| {
        json!({
            "key_usage_type": "SIGNING", "ca_name": ca, "csr_format": format, "member_id": "DEV:COM:4321",
            "subject_field_values": fields,
        })
    };
    let (post, good) = (format!("POST {key}/csrs"), json!({ "O": "Test", "subjectAltName": "ss" }));
    step(server, &post, csr("NoCA", "DER", good.clone()), 400, "certificate_authority_not_found").await;
    step(server, &post, csr("LabCA", "PEM", good.clone()), 400, "invalid_csr_format").await;
    step(server, &post, csr("LabCA", "DER", json!({ "O": "Test" })), 400, "invalid_dn_parameter").await;
    step(server, &post, csr("LabCA", "DER", good), 200, "").await;
    let shown = step(server, &format!("GET {key}"), Value::Null, 200, "").await;
    let csr = shown["certificate_signing_requests"][0]["id"].as_str().unwrap().to_owned();
    step(server, &format!("GET {key}/csrs/{csr}?csr_format=PEM"), Value::Null, 200, "").await;
    step(server, &format!("GET {key}/csrs/x"), Value::Null, 404, "csr_not_found").await;
    step(server, &format!("DELETE {key}/csrs/{csr}"), Value::Null, 204, "").await;
    step(server, &format!("DELETE {key}/csrs/{csr}"), Value::Null, 404, "csr_not_found").await;
    step(server, &format!("DELETE {key}"), Value::Null, 204, "").await;
    step(server, &format!("DELETE {key}"), Value::Null, 404, "key_not_found").await;
}

async fn certificates(server: &SecurityServer, auth: &str, sign: &str) {
    let at = |hash: &str| format!("/token-certificates/{hash}");
    upload(server, "POST /token-certificates", b"x", 400, "invalid_certificate").await;
    for hash in [auth, sign] {
        step(server, &format!("GET {}", at(&hash.to_lowercase())), Value::Null, 200, "").await;
    }
    let actions = step(server, &format!("GET {}/possible-actions", at(auth)), Value::Null, 200, "").await;
    assert_eq!(actions, json!(["DELETE", "ACTIVATE", "REGISTER"]));
    step(server, &format!("PUT {}/activate", at(auth)), Value::Null, 204, "").await;
    step(server, &format!("PUT {}/activate", at(auth)), Value::Null, 409, "action_not_possible").await;
    step(server, &format!("PUT {}/disable", at(sign)), Value::Null, 204, "").await;
    step(server, &format!("PUT {}/activate", at(sign)), Value::Null, 204, "").await;
    step(server, &format!("DELETE {}", at(auth)), Value::Null, 204, "").await;
    step(server, &format!("DELETE {}", at(auth)), Value::Null, 404, "certificate_not_found").await;
}

async fn token(server: &SecurityServer) {
    let pin = |old: &str, new: &str| json!({ "old_pin": old, "new_pin": new });
    step(server, "PUT /tokens/0/pin", pin("Secret1234", "abc"), 400, "token_weak_pin").await;
    step(server, "PUT /tokens/0/pin", pin("Secret1234", "S\u{e9}cret12345"), 400, "invalid_characters_pin")
        .await;
    step(server, "PUT /tokens/0/pin", pin("Secret1234", "Secret12345"), 204, "").await;
    step(server, "PUT /tokens/0/pin", pin("Secret12345", "Secret1234"), 409, "action_not_possible").await;
    step(server, "PUT /tokens/0/logout", Value::Null, 409, "action_not_possible").await;
    let login = |pin: &str| json!({ "password": pin });
    step(server, "PUT /tokens/0/login", login("Secret1234"), 400, "pin_incorrect").await;
    step(server, "PUT /tokens/0/login", login("Secret12345"), 400, "pin_locked").await;
    step(server, "PATCH /tokens/0", json!({ "name": "Soft" }), 200, "").await;
    step(server, "DELETE /tokens/0", Value::Null, 409, "action_not_possible").await;
}

/// An answer has what the reference's document says of it, but for fields that live servers leave out.
fn fits(method: &str, path: &str, status: u16, answer: &Value) {
    const LEFT_OUT: [&str; 5] =
        ["ocsp_status", "owner_id", "status", "serial_number", "subject_alternative_names"];
    let Some(folder) = vectors::dir() else { return };
    let file = folder.join("openapi/security-server-openapi-definition.yaml");
    let document: Value = serde_yaml_ng::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let path = path.split('?').next().unwrap();
    let alike = |template: &str| {
        let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a == b || a.starts_with('{'))
    };
    let paths = document["paths"].as_object().unwrap();
    // A literal path wins over one with a parameter.
    let exact = paths.get(path);
    let item = exact.or_else(|| paths.iter().find(|(template, _)| alike(template)).map(|(_, item)| item));
    let Some(item) = item else { return };
    let responses = item[method.to_lowercase()]["responses"].as_object().unwrap();
    let good = responses.iter().find(|(code, _)| code.starts_with('2')).unwrap().1;
    let schema = &good["content"]["application/json"]["schema"];
    if answer.is_null() || schema.is_null() {
        return;
    }
    if let Err(why) = check(schema, answer, &document, &LEFT_OUT) {
        panic!("{method} {path} {status}: {why} in {answer}");
    }
}

fn check(schema: &Value, value: &Value, document: &Value, left_out: &[&str]) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = &document["components"]["schemas"][name.rsplit('/').next().unwrap()];
        return check(schema, value, document, left_out);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(part, value, document, left_out)?;
    }
    let right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    };
    if !right {
        return Err(format!("{value} is no {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{value} is none of {words:?}"));
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() && !left_out.contains(&key) {
            return Err(format!("{key} is missing"));
        }
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(inner) = value.get(key) {
            check(schema, inner, document, left_out).map_err(|why| format!("{key}: {why}"))?;
        }
    }
    value
        .as_array()
        .into_iter()
        .flatten()
        .try_for_each(|item| check(&schema["items"], item, document, left_out))
}
