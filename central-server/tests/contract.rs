//! The contract of every tier 1 operation, from the table: who may call it, an example that succeeds and fits its schema, and each refusal
//! that the table names. Every other operation is at least held against its rights.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use std::collections::{BTreeMap, BTreeSet};

use admin_api::operation::{Access, Role};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_server::admin_api::{rights::RIGHTS, table};
use pki::cert::Certificate;
use pki::issue::{Role as Use, Template, issue, self_signed};
use pki::key::{KeyKind, PrivateKey};
use proto::time::UnixTime;
use scene::Scene;
use serde_json::{Value, json};

/// What takes a fresh server to an instance with a registered server.
const TIER_1: [&str; 27] = [
    "getInitializationStatus",
    "initCentralServer",
    "getSystemVersion",
    "getTokens",
    "loginToken",
    "addKey",
    "downloadAnchor",
    "getMemberClasses",
    "addMemberClass",
    "addMember",
    "getMember",
    "addSubsystem",
    "findClients",
    "findSecurityServers",
    "getSecurityServer",
    "findManagementRequests",
    "getManagementRequest",
    "addManagementRequest",
    "approveManagementRequest",
    "getManagementServicesConfiguration",
    "updateManagementServicesConfiguration",
    "registerServiceProvider",
    "getCertificationServices",
    "addCertificationService",
    "addCertificationServiceOcspResponder",
    "getTimestampingServices",
    "addTimestampingService",
];

const PROFILE: &str = "ee.ria.xroad.common.certificateprofile.impl.FiVRKCertificateProfileInfoProvider";

struct Pki {
    ca: Certificate,
    ca_key: PrivateKey,
}

fn template<'a>(subject: &'a pki::issue::Subject, role: Use, serial: &'a [u8]) -> Template<'a> {
    Template {
        subject,
        role,
        serial,
        not_before: UnixTime(0),
        not_after: UnixTime::from_secs(2_145_916_800),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    }
}

impl Pki {
    fn new() -> Self {
        let ca_key = PrivateKey::generate(KeyKind::P256).unwrap();
        let subject = vec![(pki::name::COMMON_NAME, "Contract CA".to_owned())];
        Self { ca: self_signed(&template(&subject, Use::Authority(0), &[1]), &ca_key).unwrap(), ca_key }
    }

    fn auth(&self, serial: u8) -> String {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let subject = vec![(pki::name::COMMON_NAME, format!("ss{serial}"))];
        let serial = [serial];
        let cert = issue(
            &template(&subject, Use::Authentication, &serial),
            key.public_key(),
            &self.ca,
            &self.ca_key,
        );
        STANDARD.encode(cert.unwrap().der())
    }
}

/// A body with its media type.
enum Body {
    None,
    Json(Value),
    Form(Vec<(&'static str, Option<&'static str>, Vec<u8>)>),
}

impl Body {
    fn bytes(&self) -> (Option<&'static str>, Vec<u8>) {
        match self {
            Self::None => (None, Vec::new()),
            Self::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
            Self::Form(fields) => {
                let mut body = Vec::new();
                for (name, file, bytes) in fields {
                    let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
                    body.extend(
                        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n")
                            .bytes(),
                    );
                    body.extend(bytes);
                    body.extend(b"\r\n");
                }
                body.extend(b"--b--\r\n");
                (Some("multipart/form-data; boundary=b"), body)
            }
        }
    }
}

/// One call of the story: operation, path, query included, body, and what must come of it.
struct Step {
    id: &'static str,
    path: String,
    body: Body,
    status: u16,
    code: Option<&'static str>,
}

fn step(id: &'static str, path: impl Into<String>, body: Body, status: u16, code: &'static str) -> Step {
    Step { id, path: path.into(), body, status, code: (!code.is_empty()).then_some(code) }
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A fresh server becomes an instance; every refusal of tier 1 on the way.
fn story(pki: &Pki) -> Vec<Step> {
    use Body::{Form, Json, None};
    let init = |pin: &str| {
        Json(
            json!({ "instance_identifier": "DEV", "central_server_address": "cs", "software_token_pin": pin }),
        )
    };
    let pem = || pki.ca.to_pem().into_bytes();
    let ca = |profile: &str, name: &'static str, cert: Vec<u8>, more: Vec<(&'static str, &str)>| {
        let mut fields = vec![
            ("certificate", Some(name), cert),
            ("certificate_profile_info", Option::None, text(profile)),
            ("tls_auth", Option::None, text("false")),
            ("default_csr_format", Option::None, text("DER")),
        ];
        fields.extend(more.into_iter().map(|(name, value)| (name, Option::None, text(value))));
        Form(fields)
    };
    let service = |url: &str, cert: Vec<u8>| {
        let (url, cost) = (("url", Option::None, text(url)), ("cost_type", Option::None, text("FREE")));
        Form(vec![url, cost, ("certificate", Some("c.pem"), cert)])
    };
    let request = |kind: &str, server: &str, more: Value| {
        let mut body = json!({ "type": kind, "origin": "CENTER", "security_server_id": server });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Json(body)
    };
    let cert =
        |serial: u8| json!({ "server_address": "ss1", "authentication_certificate": pki.auth(serial) });
    let client = |id: &str| json!({ "client_id": id });
    let key = || Json(json!({ "key_label": "k", "token_id": "0" }));
    let login = |pin: &str| Json(json!({ "password": pin }));
    let member = |class: &str| {
        Json(json!({ "member_id": { "member_class": class, "member_code": 1234 }, "member_name": "One" }))
    };
    let subsystem = |member: &str| {
        let id = json!({ "member_class": "COM", "member_code": member, "subsystem_code": "MANAGEMENT" });
        Json(json!({ "subsystem_id": id }))
    };
    let provider = |id: &str| Json(json!({ "service_provider_id": id }));
    let at = |server: &str| Json(json!({ "security_server_id": server }));
    let (internal, mr) = ("/configuration-sources/INTERNAL", "/management-requests");
    let (msc, register) =
        ("/management-services-configuration", "/management-services-configuration/register-provider");
    let same = cert(9);
    vec![
        step("getInitializationStatus", "/initialization/status", None, 200, ""),
        step("initCentralServer", "/initialization", init("short"), 400, "token_weak_pin"),
        step("initCentralServer", "/initialization", init("Secret1234"), 200, ""),
        step("initCentralServer", "/initialization", init("Secret1234"), 409, "init_already_initialized"),
        step("getSystemVersion", "/system/version", None, 200, ""),
        step("getTokens", "/tokens", None, 200, ""),
        step("addKey", format!("{internal}/signing-keys"), key(), 400, "token_action_not_possible"),
        step("loginToken", "/tokens/7/login", login("x"), 404, "token_not_found"),
        step("loginToken", "/tokens/0/login", login("wrong"), 400, "token_activation_failed"),
        step("loginToken", "/tokens/0/login", login("Secret1234"), 400, "token_pin_locked"),
        step("", "later", None, 0, ""),
        step("loginToken", "/tokens/0/login", login("Secret1234"), 200, ""),
        step("loginToken", "/tokens/0/login", login("Secret1234"), 400, "token_action_not_possible"),
        step("downloadAnchor", format!("{internal}/anchor/download"), None, 404, "configuration_not_found"),
        step(
            "addKey",
            format!("{internal}/signing-keys"),
            Json(json!({ "key_label": "k", "token_id": 7 })),
            404,
            "token_not_found",
        ),
        step("addKey", format!("{internal}/signing-keys"), key(), 200, ""),
        step("downloadAnchor", format!("{internal}/anchor/download"), None, 200, ""),
        step("getMemberClasses", "/member-classes", None, 200, ""),
        step("addMember", "/members", member("COM"), 404, "member_class_not_found"),
        step(
            "addMemberClass",
            "/member-classes",
            Json(json!({ "code": "COM", "description": "Commercial" })),
            201,
            "",
        ),
        step(
            "addMemberClass",
            "/member-classes",
            Json(json!({ "code": "COM", "description": "x" })),
            409,
            "member_class_exists",
        ),
        step("addMember", "/members", member("COM"), 201, ""),
        step("addMember", "/members", member("COM"), 409, "member_exists"),
        step("getMember", "/members/DEV:COM:1234", None, 200, ""),
        step("getMember", "/members/DEV:COM:9", None, 404, "member_not_found"),
        step("getMember", "/members/DEV", None, 400, "invalid_member_id"),
        step("addSubsystem", "/subsystems", subsystem("9"), 404, "member_not_found"),
        step("addSubsystem", "/subsystems", subsystem("1234"), 201, ""),
        step("addSubsystem", "/subsystems", subsystem("1234"), 409, "subsystem_exists"),
        step("findClients", "/clients?q=one&sort=id&desc=True", None, 200, ""),
        step("findClients", "/clients?sort=title", None, 400, "invalid_sort_properties"),
        step("findClients", "/clients?limit=0", None, 400, "invalid_pagination_properties"),
        step(
            "registerServiceProvider",
            register,
            at("DEV:COM:1234:SS1"),
            400,
            "management_service_provider_not_set",
        ),
        step("getManagementServicesConfiguration", msc, None, 200, ""),
        step(
            "updateManagementServicesConfiguration",
            msc,
            provider("DEV:COM:1234"),
            400,
            "invalid_service_provider_id",
        ),
        step(
            "updateManagementServicesConfiguration",
            msc,
            provider("DEV:COM:1234:X"),
            404,
            "subsystem_not_found",
        ),
        step("updateManagementServicesConfiguration", msc, provider("DEV:COM:1234:MANAGEMENT"), 200, ""),
        step("registerServiceProvider", register, at("DEV:COM:1234:SS1"), 404, "security_server_not_found"),
        step(
            "addCertificationService",
            "/certification-services",
            ca(PROFILE, "ca.txt", pem(), vec![]),
            400,
            "invalid_file_extension",
        ),
        step(
            "addCertificationService",
            "/certification-services",
            ca(PROFILE, "ca.pem", text("x"), vec![]),
            400,
            "invalid_certificate",
        ),
        step(
            "addCertificationService",
            "/certification-services",
            ca("no.such", "ca.pem", pem(), vec![]),
            400,
            "certificate_profile_info_class_not_found",
        ),
        step(
            "addCertificationService",
            "/certification-services",
            ca(PROFILE, "ca.pem", pem(), vec![("acme_server_ip_address", "x")]),
            400,
            "invalid_ip_address",
        ),
        step(
            "addCertificationService",
            "/certification-services",
            ca(PROFILE, "ca.pem", pem(), vec![]),
            201,
            "",
        ),
        step("getCertificationServices", "/certification-services", None, 200, ""),
        step(
            "addCertificationServiceOcspResponder",
            "/certification-services/99/ocsp-responders",
            service("http://ca", pem()),
            404,
            "certification_service_not_found",
        ),
        step(
            "addCertificationServiceOcspResponder",
            "/certification-services/1/ocsp-responders",
            service("ca", pem()),
            400,
            "invalid_url",
        ),
        step(
            "addCertificationServiceOcspResponder",
            "/certification-services/1/ocsp-responders",
            service("http://ca", pem()),
            201,
            "",
        ),
        step(
            "addTimestampingService",
            "/timestamping-services",
            service("ftp://x", pem()),
            400,
            "invalid_url",
        ),
        step(
            "addTimestampingService",
            "/timestamping-services",
            service("http://tsa", text("x")),
            400,
            "invalid_certificate",
        ),
        step("addTimestampingService", "/timestamping-services", service("http://tsa", pem()), 201, ""),
        step("getTimestampingServices", "/timestamping-services", None, 200, ""),
        step(
            "addManagementRequest",
            mr,
            request(
                "AUTH_CERT_REGISTRATION_REQUEST",
                "DEV:COM:1234:SS1",
                json!({ "server_address": "ss1", "authentication_certificate": STANDARD.encode(pki.ca.der()) }),
            ),
            400,
            "management_request_invalid_auth_certificate",
        ),
        step(
            "addManagementRequest",
            mr,
            request("AUTH_CERT_REGISTRATION_REQUEST", "DEV:COM:1234:SS1", same.clone()),
            202,
            "",
        ),
        step(
            "addManagementRequest",
            mr,
            request("AUTH_CERT_REGISTRATION_REQUEST", "DEV:COM:1234:SS1", same),
            409,
            "management_request_exists",
        ),
        step("getManagementRequest", format!("{mr}/1"), None, 200, ""),
        step("getManagementRequest", format!("{mr}/99"), None, 404, "management_request_not_found"),
        step(
            "approveManagementRequest",
            format!("{mr}/99/approval"),
            None,
            404,
            "management_request_not_found",
        ),
        step("approveManagementRequest", format!("{mr}/1/approval"), None, 200, ""),
        step(
            "approveManagementRequest",
            format!("{mr}/1/approval"),
            None,
            400,
            "management_request_invalid_state_for_approval",
        ),
        step("findSecurityServers", "/security-servers?sort=owner_name", None, 200, ""),
        step("findSecurityServers", "/security-servers?sort=x", None, 400, "invalid_sort_properties"),
        step(
            "findSecurityServers",
            "/security-servers?offset=-1",
            None,
            400,
            "invalid_pagination_properties",
        ),
        step("getSecurityServer", "/security-servers/DEV:COM:1234:SS1", None, 200, ""),
        step(
            "getSecurityServer",
            "/security-servers/DEV:COM:1234:SS9",
            None,
            404,
            "security_server_not_found",
        ),
        step("registerServiceProvider", register, at("DEV:COM:1234:SS1"), 200, ""),
        step(
            "registerServiceProvider",
            register,
            at("DEV:COM:1234:SS1"),
            400,
            "subsystem_already_registered_to_security_server",
        ),
        step(
            "addManagementRequest",
            mr,
            request("CLIENT_REGISTRATION_REQUEST", "DEV:COM:1234:SS1", client("DEV:COM:1234:MANAGEMENT")),
            409,
            "management_request_client_already_registered",
        ),
        step(
            "addManagementRequest",
            mr,
            request("CLIENT_REGISTRATION_REQUEST", "DEV:COM:1234:SS1", client("DEV:COM:1234")),
            400,
            "management_request_cannot_register_owner",
        ),
        step(
            "addManagementRequest",
            mr,
            request("CLIENT_DELETION_REQUEST", "DEV:COM:1234:SS1", client("DEV:COM:1234:NO")),
            404,
            "management_request_client_registration_not_found",
        ),
        step(
            "findManagementRequests",
            format!("{mr}?types=CLIENT_REGISTRATION_REQUEST&sort=id"),
            None,
            200,
            "",
        ),
        step("findManagementRequests", format!("{mr}?sort=x"), None, 400, "invalid_sort_properties"),
        step("findManagementRequests", format!("{mr}?limit=0"), None, 400, "invalid_pagination_properties"),
    ]
}

/// Says where `value` does not fit `schema`.
fn misfit(schema: &Value, value: &Value, all: &Value, place: &str) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return misfit(&all["components"]["schemas"][name], value, all, place);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let misfits: Vec<_> = any.iter().map(|one| misfit(one, value, all, place)).collect();
        return if misfits.iter().any(Option::is_none) { None } else { misfits.into_iter().flatten().next() };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return Some(format!("{place} is {kind}, not {kinds:?}"));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|key| value.get(key).is_none()) {
        return Some(format!("{place} has no {missing}"));
    }
    let items = value.as_array().into_iter().flatten();
    let misfit_of_item =
        items.filter_map(|item| misfit(&schema["items"], item, all, &format!("{place}[]"))).next();
    let fields = value.as_object().into_iter().flatten();
    let misfit_of_field = fields
        .filter_map(|(key, field)| match schema["properties"].get(key) {
            Some(schema) => misfit(schema, field, all, &format!("{place}.{key}")),
            None => Some(format!("{place}.{key} is not in the schema")),
        })
        .next();
    misfit_of_item.or(misfit_of_field)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_1_operation_keeps_its_contract() {
    let scene = Scene::start().await;
    let pki = Pki::new();
    let (_, document) = scene.send("GET", "/api/v1/openapi.yaml", "none", None, None, b"").await;
    let document: Value = serde_yaml_ng::from_slice(&document).unwrap();
    let rows: BTreeMap<&str, _> = table::operations().into_iter().map(|row| (row.id, row)).collect();
    let mut succeeded = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for Step { id, path, body, status, code } in story(&pki) {
        if id.is_empty() {
            scene.clock.set(scene.clock.now().plus(std::time::Duration::from_secs(90)));
            continue;
        }
        let row = &rows[id];
        let (media_type, bytes) = body.bytes();
        let target = format!("/api/v1{path}");
        let (found, answer) = scene.send(row.verb.name(), &target, "all", media_type, None, &bytes).await;
        let shown = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(found, status, "{id} {path}: {shown}");
        let answer: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        assert_eq!(answer["error"]["code"].as_str(), code, "{id} {path}: {shown}");
        match code {
            Some(code) => drop(refused.insert((id, status, code))),
            None => {
                succeeded.insert(id);
                let operation = &document["paths"][row.path][row.verb.name().to_lowercase()];
                assert_eq!(operation["operationId"], id);
                let schema =
                    &operation["responses"][status.to_string()]["content"]["application/json"]["schema"];
                if row.response.is_some() {
                    assert_eq!(misfit(schema, &answer, &document, id), None, "{shown}");
                }
            }
        }
    }
    for id in TIER_1 {
        assert!(succeeded.contains(id), "{id} has no example");
        for (status, code) in rows[id].refusals {
            // Provoked at the registry's own tests: a server goes between a request and its approval.
            let elsewhere = *code == "management_request_server_not_found";
            assert!(elsewhere || refused.contains(&(id, *status, code)), "{id} is never refused with {code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_asks_for_its_right() {
    let scene = Scene::start().await;
    let names = [
        ("so", Role::SecurityOfficer),
        ("ro", Role::RegistrationOfficer),
        ("sy", Role::SystemAdministrator),
        ("ms", Role::ManagementService),
    ];
    for row in table::operations() {
        let path: Vec<&str> =
            row.path.split('/').map(|part| if part.starts_with('{') { "INTERNAL" } else { part }).collect();
        let target = format!("/api/v1{}", path.join("/"));
        let media_type = row.body.media_type();
        let (status, _) = scene.send(row.verb.name(), &target, "none", media_type, None, b"").await;
        assert_eq!(status, 401, "{} without a credential", row.id);
        let Access::Rights(wanted) = &row.access else { continue };
        for (name, role) in names {
            let has = RIGHTS.iter().any(|right| wanted.contains(&right.name) && right.roles.contains(&role));
            if !has {
                let (status, _) = scene.send(row.verb.name(), &target, name, media_type, None, b"").await;
                assert_eq!(status, 403, "{} as {name}", row.id);
            }
        }
    }
}
