//! The contract of the management API: every operation's rights, from its table; of every tier 1 operation an example that fits the served
//! API document and the reference's, and each refusal that its row names, from `contract.txt`.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use admin_api::operation::{Access, Role};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_server::admin_api::{rights::RIGHTS, table};
use pki::cert::Certificate;
use pki::issue::{Role as Use, Template, issue, self_signed};
use pki::key::{KeyKind, PrivateKey};
use proto::time::UnixTime;
use scene::Scene;
use serde_json::Value;
use testkit::contract::{Contract, Line, Names, Row, lines};
use testkit::vectors;

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

/// Refusals that no call of this test draws.
const UNDRAWN: [(&str, &str, &str); 1] = [(
    "approveManagementRequest",
    "management_request_server_not_found",
    "a server goes between a request and its approval: the registry's own tests",
)];

/// Required fields of the reference's document that live servers leave out; and those of RSA keys, which these are not.
const LEFT_OUT: [&str; 7] = [
    "keys",
    "items",
    "security_server_id",
    "service_provider_name",
    "subject_alternative_names",
    "rsa_public_key_modulus",
    "rsa_public_key_exponent",
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

/// The bytes of `form FIELD=VALUE; FIELD=FILE@WHAT`.
fn form(text: &str, pki: &Pki) -> Vec<u8> {
    let mut body = Vec::new();
    for field in text.split("; ") {
        let (name, value) = field.split_once('=').unwrap();
        let (file, content) = match value.split_once('@') {
            Some((file, "ca")) => (format!("; filename=\"{file}\""), pki.ca.to_pem()),
            Some((file, what)) => (format!("; filename=\"{file}\""), what.to_owned()),
            None => (String::new(), value.to_owned()),
        };
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend(format!("{head}{content}\r\n").bytes());
    }
    body.extend(b"--b--\r\n");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_1_operation_keeps_its_contract() {
    let (scene, pki, mut names) = (Scene::start().await, Pki::new(), Names::default());
    names.keep("cert", pki.auth(9));
    names.keep("ca", STANDARD.encode(pki.ca.der()));
    names.keep("profile", PROFILE);
    let (_, ours) = scene.send("GET", "/api/v1/openapi.yaml", "none", None, None, b"").await;
    let yaml = |bytes: &[u8]| serde_yaml_ng::from_slice::<Value>(bytes).unwrap();
    let theirs = vectors::dir().map(|folder| {
        yaml(&std::fs::read(folder.join("openapi/central-server-openapi-definition.yaml")).unwrap())
    });
    let rows = table::operations().into_iter().map(|row| Row {
        id: row.id,
        method: row.verb.name(),
        path: row.path,
        json: row.response.is_some(),
        refusals: row.refusals,
    });
    let mut contract = Contract::new(rows, yaml(&ours), theirs, &LEFT_OUT);
    for line in lines(include_str!("contract.txt")) {
        let case = match line {
            // A wrong PIN makes the next one wait.
            Line::Act(_) => {
                scene.clock.set(scene.clock.now().plus(std::time::Duration::from_secs(90)));
                continue;
            }
            Line::Call(case) => case,
        };
        let body = names.fill(case.body);
        let (media, bytes) = match body.strip_prefix("form ") {
            Some(fields) => (Some("multipart/form-data; boundary=b"), form(fields, &pki)),
            None => ((!body.is_empty()).then_some("application/json"), body.as_bytes().to_vec()),
        };
        let (row, target) = (contract.row(&case), format!("/api/v1{}", names.fill(case.path)));
        let (status, answer) = scene.send(row.method, &target, "all", media, None, &bytes).await;
        let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_default();
        contract.judge(&case, &names, &json(&bytes), status, &json(&answer));
    }
    contract.finish(&TIER_1, &UNDRAWN);
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
