//! The contract of the management API: every operation's rights, from its table; of every operation an example that fits the served API
//! document and the reference's, and each refusal that its row names, from `contract.txt`.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use admin_api::operation::{Access, Role, Verb};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use central_server::admin_api::rights::RIGHTS;
use central_server::registry::SourceKind;
use pki::cert::Certificate;
use pki::issue::{Role as Use, Template, issue, self_signed};
use pki::key::{KeyKind, PrivateKey};
use proto::globalconf::optional_parts::write_fetch_interval;
use proto::time::UnixTime;
use scene::Scene;
use serde_json::Value;
use testkit::contract::{Contract, Line, Names, Row, form, lines, unrecorded, with_common};
use testkit::vectors;

/// Refusals that no call of this test draws, and operations that never succeed.
const UNDRAWN: [(&str, &str, &str); 0] = [];

/// They are no GET, and leave everything as it is.
const CHANGE_NOTHING: [&str; 2] = ["previewTrustedAnchor", "findGlobalGroupMembers"];

/// Their events name the source that they are about.
const NAMED_BY_SOURCE: [&str; 4] = ["addKey", "activateKey", "deleteKey", "reCreateAnchor"];

/// Required fields of the reference's document that live servers leave out; and those of RSA keys, which these are not.
const LEFT_OUT: [&str; 10] = [
    "version",
    "file_updated_at",
    "created_at",
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

    /// The certificate of the key that made a request.
    fn of_csr(&self, pem: &[u8]) -> Vec<u8> {
        let csr = pki::csr::Request::parse(pem);
        let csr = csr.unwrap_or_else(|| panic!("no request: {:?}", String::from_utf8_lossy(pem)));
        let subject = vec![(pki::name::COMMON_NAME, "cs".to_owned())];
        let template = template(&subject, Use::Authentication, &[77]);
        issue(&template, &csr.key, &self.ca, &self.ca_key).unwrap().to_pem().into_bytes()
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

/// The files of forms.
fn file(what: &str, scene: &Scene, pki: &Pki, downloaded: &[u8]) -> Option<Vec<u8>> {
    Some(match what {
        "ca" => pki.ca.to_pem().into_bytes(),
        "management" => pki.of_csr(downloaded),
        "internal" => scene.anchor(SourceKind::Internal),
        "external" => scene.anchor(SourceKind::External),
        "downloaded" => downloaded.to_vec(),
        // Its last byte is missing.
        "damaged" => downloaded[..downloaded.len() - 1].to_vec(),
        // A message in OpenPGP's form that is no backup of ours.
        "pgp" => vec![0xC1, 0x0C, 1, 2, 3],
        "interval" => write_fetch_interval(777).unwrap(),
        _ => return None,
    })
}

/// What happens besides the calls.
async fn act(what: &str, scene: &Scene) {
    let backups = scene.folder().join("backup");
    match what.split_once(' ').unwrap_or((what, "")) {
        // A wrong PIN makes the next one wait.
        ("later", _) => scene.clock.set(scene.clock.now().plus(std::time::Duration::from_secs(90))),
        ("user", name) => scene.add_user(name).await,
        ("publish", _) => scene.publish().await,
        ("block", "backups") => {
            std::fs::rename(&backups, backups.with_extension("aside")).unwrap();
            std::fs::write(&backups, "in the way").unwrap();
        }
        ("unblock", "backups") => {
            std::fs::remove_file(&backups).unwrap();
            std::fs::rename(backups.with_extension("aside"), &backups).unwrap();
        }
        _ => panic!("nobody can {what}"),
    }
}

/// Log-in and log-out, which stand in no API document.
fn outside() -> impl Iterator<Item = Row> {
    [("login", "/login"), ("logout", "/logout")].into_iter().map(|(id, path)| Row {
        id,
        method: "POST",
        path,
        documented: false,
        json: false,
        refusals: &[],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_keeps_its_contract() {
    let (scene, pki, mut names) = (Scene::start().await, Pki::new(), Names::default());
    for serial in [9, 10, 11] {
        names.keep(&format!("cert{serial}"), pki.auth(serial));
    }
    names.keep("ca", STANDARD.encode(pki.ca.der()));
    names.keep("profile", PROFILE);
    names.keep("password", scene::PASSWORD.replace(' ', "+"));
    let (_, ours) = scene.send("GET", "/api/v1/openapi.yaml", "none", None, None, b"").await;
    let yaml = |bytes: &[u8]| serde_yaml_ng::from_slice::<Value>(bytes).unwrap();
    let theirs = vectors::dir().map(|folder| {
        let document = |name| yaml(&std::fs::read(folder.join("openapi").join(name)).unwrap());
        let common = document("common-openapi-definition.yaml");
        with_common(document("central-server-openapi-definition.yaml"), &common)
    });
    let rows = scene.frame().operations().iter().map(|row| Row {
        id: row.id,
        method: row.verb.name(),
        path: row.path,
        documented: true,
        json: row.response.is_some(),
        refusals: row.refusals,
    });
    let rows: Vec<_> = rows.chain(outside()).collect();
    let mut contract = Contract::new(rows, yaml(&ours), theirs, &LEFT_OUT);
    let mut downloaded = Vec::new();
    for line in lines(include_str!("contract.txt")) {
        let case = match line {
            Line::Act(what) => {
                act(what, &scene).await;
                continue;
            }
            Line::Call(case) => case,
        };
        let (row, body) = (contract.row(&case), names.fill(case.body));
        let (media, bytes) = match body.strip_prefix("form ") {
            Some(fields) => {
                let bytes = form(fields, |what| file(what, &scene, &pki, &downloaded));
                (Some("multipart/form-data; boundary=b"), bytes)
            }
            None => ((!body.is_empty()).then_some("application/json"), body.as_bytes().to_vec()),
        };
        let (status, answer) = match row.id {
            "login" => scene.log_in("all", &bytes).await,
            id => {
                let base = if id == "logout" { "" } else { "/api/v1" };
                let target = format!("{base}{}", names.fill(case.path));
                scene.send(row.method, &target, case.caller, media, None, &bytes).await
            }
        };
        let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_default();
        let shown = json(&answer);
        contract.judge(&case, &names, &json(&bytes), status, &shown);
        names.keep_of(&case, &shown);
        if status == 200 && shown.is_null() && !answer.is_empty() {
            downloaded = answer;
        }
    }
    contract.finish(&UNDRAWN);
    let log = std::fs::read_to_string(scene.folder().join("admin/audit.log")).unwrap();
    let rows = scene.frame().operations().iter();
    let rows = rows.filter(|row| !NAMED_BY_SOURCE.contains(&row.id));
    let missing = unrecorded(&log, rows.map(|row| (row.id, row.event, !row.refusals.is_empty())), &UNDRAWN);
    assert!(missing.is_empty(), "not in the audit log: {missing:#?}");
    for event in [
        "Log in user",
        "Log in user failed",
        "Log out user",
        "API key authentication failed",
        "Generate internal configuration signing key",
        "Generate external configuration signing key",
        "Activate internal configuration signing key",
        "Delete internal configuration signing key",
        "Re-create internal configuration anchor",
        "Re-create internal configuration anchor failed",
    ] {
        assert!(log.contains(&format!("\"{event}\"")), "{event}");
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
    for (name, _) in names {
        if name == "ms" {
            continue;
        }
        scene.add_user(name).await;
        let form = format!("username={name}&password={}", scene::PASSWORD.replace(' ', "+"));
        assert_eq!(scene.log_in(name, form.as_bytes()).await.0, 200, "{name}");
    }
    for row in scene.frame().operations() {
        let changes = row.verb != Verb::Get && !CHANGE_NOTHING.contains(&row.id);
        assert_eq!(row.event.is_some(), changes, "{} in the audit log", row.id);
        let path: Vec<&str> =
            row.path.split('/').map(|part| if part.starts_with('{') { "INTERNAL" } else { part }).collect();
        let target = format!("/api/v1{}", path.join("/"));
        let media_type = row.body.media_type();
        let (status, _) = scene.send(row.verb.name(), &target, "none", media_type, None, b"").await;
        assert_eq!(status, 401, "{} without a credential", row.id);
        let Access::Rights(wanted) = &row.access else { continue };
        for (name, role) in names {
            let has = RIGHTS.iter().any(|right| wanted.contains(&right.name) && right.roles.contains(&role));
            // Keys are managed by people, and nobody who signs in hands requests in.
            let manages_keys = row.path.starts_with("/api-keys");
            if manages_keys && name == "ms" {
                continue;
            }
            let caller = if manages_keys { format!("session-{name}") } else { name.to_owned() };
            let (status, answer) = scene.send(row.verb.name(), &target, &caller, media_type, None, b"").await;
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(status == 403, !has, "{} as {name}: {status} {answer}", row.id);
        }
    }
}
