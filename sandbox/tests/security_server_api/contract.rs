//! The contract of the management API: every operation's rights, from its table; of every tier 1 operation an example that fits the served
//! API document and the reference's, and each refusal that its row names, from `contract.txt`.

use std::time::Duration;

use admin_api::operation::{Access, BodyKind, Role};
use central_server::registry::Command;
use host::clock::Clock;
use pki::cert::Certificate;
use pki::csr::{self, Usage};
use pki::issue::{Role as Use, Template, self_signed};
use pki::key::{KeyKind, PrivateKey};
use proto::id::ServerId;
use proto::time::UnixTime;
use security_server::admin_api::rights::RIGHTS;
use serde_json::{Value, json};
use testkit::contract::{Case, Contract, Line, Names, Row, lines};
use testkit::vectors;

use crate::documents::Documents;
use crate::world::{SecurityServer, World, member, provider};

/// What takes a fresh server to its first message, and everything that the toolkit calls; backups have a story of their own.
const TIER_1: [&str; 75] = [
    "getInitializationStatus",
    "initSecurityServer",
    "uploadInitialAnchor",
    "getAnchor",
    "systemVersion",
    "getConfiguredTimestampingServices",
    "addConfiguredTimestampingService",
    "generateSystemTlsKeyAndCertificate",
    "downloadSystemCertificate",
    "generateSystemCertificateRequest",
    "importSystemCertificate",
    "getApprovedCertificateAuthorities",
    "getApprovedTimestampingServices",
    "getXRoadInstances",
    "getMemberClasses",
    "getMemberClassesForInstance",
    "findMemberName",
    "getSecurityServers",
    "getTokens",
    "getToken",
    "loginToken",
    "addKeyAndCsr",
    "getKey",
    "updateKey",
    "deleteKey",
    "generateCsr",
    "downloadCsr",
    "deleteCsr",
    "importCertificate",
    "getCertificate",
    "deleteCertificate",
    "activateCertificate",
    "disableCertificate",
    "getPossibleActionsForCertificate",
    "registerCertificate",
    "unregisterAuthCertificate",
    "findClients",
    "addClient",
    "getClient",
    "updateClient",
    "deleteClient",
    "registerClient",
    "unregisterClient",
    "changeOwner",
    "addClientTlsCertificate",
    "getClientServiceDescriptions",
    "addClientServiceDescription",
    "getServiceDescription",
    "updateServiceDescription",
    "deleteServiceDescription",
    "enableServiceDescription",
    "disableServiceDescription",
    "refreshServiceDescription",
    "updateService",
    "addEndpoint",
    "getEndpoint",
    "updateEndpoint",
    "deleteEndpoint",
    "getServiceServiceClients",
    "addServiceServiceClients",
    "deleteServiceServiceClients",
    "getEndpointServiceClients",
    "addEndpointServiceClients",
    "deleteEndpointServiceClients",
    "findServiceClientCandidates",
    "addServiceClientAccessRights",
    "getClientLocalGroups",
    "addClientLocalGroup",
    "getLocalGroup",
    "deleteLocalGroup",
    "addLocalGroupMember",
    "deleteLocalGroupMember",
    "getGlobalConfDiagnostics",
    "getOcspRespondersDiagnostics",
    "getTimestampingServicesDiagnostics",
];

/// Refusals that no call of this test draws.
const UNDRAWN: [(&str, &str, &str); 2] = [
    (
        "uploadInitialAnchor",
        "internal_anchor_upload_invalid_instance_id",
        "only where somebody took the anchor of an initialised server away by hand",
    ),
    ("importCertificate", "global_conf_outdated", "the configuration of a test does not grow old"),
];

/// Required fields of the reference's document that live servers leave out; and those of RSA keys, which these are not.
const LEFT_OUT: [&str; 7] = [
    "ocsp_status",
    "owner_id",
    "status",
    "serial_number",
    "subject_alternative_names",
    "rsa_public_key_modulus",
    "rsa_public_key_exponent",
];

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

/// A bring-up goes on; gives the answer.
async fn good(server: &SecurityServer, call: &str, body: &Value) -> Value {
    let (method, path) = call.split_once(' ').unwrap();
    let (status, answer) = server.call(method, path, &body.to_string()).await;
    assert!(status < 300, "{call} {body}: {status} {answer}");
    answer
}

/// Bytes sent.
async fn upload(server: &SecurityServer, path: &str, bytes: &[u8]) {
    let media = [Some("application/octet-stream"), None];
    let (status, _, answer) = server.send("POST", &format!("/api/v1{path}"), "all", media, bytes).await;
    assert!(status < 300, "{path}: {status} {}", String::from_utf8_lossy(&answer));
}

/// What a request for a certificate of a usage asks for, without the braces; a signing one needs its member besides.
fn wanted(usage: &str) -> String {
    let fields = match usage {
        "SIGNING" => json!({ "O": "Test", "subjectAltName": "ss" }),
        _ => json!({ "CN": "ss", "O": "Test", "subjectAltName": "ss" }),
    };
    let wanted = json!({
        "key_usage_type": usage, "ca_name": "LabCA", "csr_format": "DER", "subject_field_values": fields,
    });
    wanted.to_string().trim_start_matches('{').trim_end_matches('}').to_owned() + "}"
}

/// The certificate that the CA makes of a request.
fn certified(world: &World, server: &SecurityServer, key: &str, csr: &str) -> Certificate {
    let token = server.foundation.token.get().unwrap();
    let found = token.keys().into_iter().find(|known| known.id == key).unwrap();
    let usage = match found.usage {
        signer::token::KeyUsage::Signing => Usage::Signing,
        _ => Usage::Authentication,
    };
    let der = token.write_csr(&found.id, csr).unwrap();
    world.authority.certify(&der, usage, Clock::System.now()).unwrap()
}

/// An empty server becomes DEV:COM:4321:SS1 with both certificates.
pub(crate) async fn bring_up(world: &World, server: &SecurityServer) {
    upload(server, "/system/anchor", &world.internal_anchor).await;
    let init = json!({
        "owner_member_class": "COM", "owner_member_code": "4321", "security_server_code": "SS1",
        "software_token_pin": "Secret1234",
    });
    good(server, "POST /initialization", &init).await;
    good(server, "PUT /tokens/0/login", &json!({ "password": "Secret1234" })).await;
    for (usage, member) in [("AUTHENTICATION", ""), ("SIGNING", r#","member_id":"DEV:COM:4321""#)] {
        let csr: Value = serde_json::from_str(&format!("{{{}{member}}}", wanted(usage))).unwrap();
        let body = json!({ "key_label": usage, "csr_generate_request": csr });
        let made = good(server, "POST /tokens/0/keys-with-csrs", &body).await;
        let text = |pointer| made.pointer(pointer).and_then(Value::as_str).unwrap();
        let cert = certified(world, server, text("/key/id"), text("/csr_id"));
        upload(server, "/token-certificates", cert.der()).await;
    }
}

/// The server whose contract is tried, and what it needs around it.
struct Scene {
    world: World,
    server: SecurityServer,
    documents: Documents,
    names: Names,
    /// The last certificate that was made out of nothing.
    last: Vec<u8>,
}

impl Scene {
    async fn start() -> Self {
        let world = World::start().await;
        let server = world.security_server("contract", true).await;
        let documents = Documents::start().await;
        let mut names = Names::default();
        names.keep("auth", wanted("AUTHENTICATION"));
        names.keep("sign", wanted("SIGNING"));
        names.keep("doc", documents.url(""));
        names.keep("host", server.host.clone());
        names.keep("tsa", world.tsas[1].url());
        names.keep("management_wsdl", format!("http://{}/managementservices.wsdl", world.central));
        names.keep("management_url", format!("https://{}/managementservice/manage/", world.management));
        Self { world, server, documents, names, last: Vec::new() }
    }

    /// What happens besides the calls.
    async fn act(&self, what: &str) {
        match what.split_once(' ').unwrap_or((what, "")) {
            ("serve", what) => self.documents.serve(what),
            ("approve", _) => self.world.approve_all(),
            ("offer", _) => {
                let server = ServerId { owner: member("COM", "1234"), code: "SS0".into() };
                let command = Command::AddServerClient { server, client: provider() };
                self.world.registry.registry().execute("staff", command).unwrap();
                self.world.publish();
            }
            _ => panic!("nobody can {what}"),
        }
        if !what.starts_with("serve") {
            self.server.download().await;
        }
    }

    /// The bytes that a line of the table means.
    fn bytes(&mut self, what: &str) -> Vec<u8> {
        let (name, more) = what.split_once(' ').unwrap_or((what, ""));
        let anchor = || String::from_utf8(self.world.internal_anchor.clone()).unwrap();
        let instead = |address: &str| anchor().replace(&self.world.central.to_string(), address).into_bytes();
        match name {
            "@text" => more.as_bytes().to_vec(),
            "@anchor" => self.world.internal_anchor.clone(),
            "@anchor-external" => self.world.external_anchor.clone(),
            "@anchor-nobody" => instead("127.0.0.1:1"),
            "@anchor-expired" => instead(&self.world.expired.to_string()),
            "@anchor-rubbish" => {
                self.documents.serve("/internalconf text rubbish");
                instead(&self.documents.address().to_string())
            }
            "@anchor-wrong-cert" => {
                let other = String::from_utf8(self.world.external_anchor.clone()).unwrap();
                anchor().replace(cert_of(&anchor()), cert_of(&other)).into_bytes()
            }
            "@again" => self.last.clone(),
            "@certified" => {
                let (key, csr) = more.split_once(' ').unwrap();
                certified(&self.world, &self.server, key, csr).der().to_vec()
            }
            "@certificate" => {
                let keys = self.server.foundation.token.get().unwrap().keys();
                let mut certs = keys.into_iter().flat_map(|key| key.certs);
                certs.find(|cert| cert.id().eq_ignore_ascii_case(more)).unwrap().cert.der().to_vec()
            }
            _ => {
                self.last = self.certificate(name, more).der().to_vec();
                self.last.clone()
            }
        }
    }

    /// Certificates that do not belong to a request.
    fn certificate(&self, name: &str, more: &str) -> Certificate {
        let (authority, now) = (&self.world.authority, Clock::System.now());
        let key = || PrivateKey::generate(KeyKind::P256).unwrap();
        let common_name = |name: &str| vec![(pki::name::COMMON_NAME, name.to_owned())];
        match name {
            "@tls" => authority.tls("is", &[], key().public_key().spki(), now).unwrap(),
            "@ca" => authority.root().clone(),
            "@of-internal-tls" => {
                let spki = self.server.foundation.internal_tls.cert().spki().to_vec();
                authority.tls("ss0", &[], &spki, now).unwrap()
            }
            "@of-another-ca" => {
                let template = Template {
                    subject: &common_name("ss"),
                    role: Use::Authentication,
                    serial: &[7],
                    not_before: UnixTime(0),
                    not_after: now.plus(Duration::from_secs(86_400)),
                    dns_names: &[],
                    addresses: &[],
                    ocsp_url: None,
                };
                self_signed(&template, &key()).unwrap()
            }
            "@of-another-key" => {
                let der = csr::request(&key(), Usage::Authentication, &common_name("ss"), &[]).unwrap();
                authority.certify(&der, Usage::Authentication, now).unwrap()
            }
            "@of-another-member" => {
                let subject = vec![
                    (pki::name::COUNTRY, "FI".to_owned()),
                    (pki::name::ORGANIZATION, "Test".to_owned()),
                    (pki::name::SERIAL_NUMBER, "DEV/SS0/GOV".to_owned()),
                    (pki::name::COMMON_NAME, "55".to_owned()),
                ];
                let token = self.server.foundation.token.get().unwrap();
                let der = token.csr(&more.to_owned(), &subject, &[]).unwrap();
                authority.certify(&der, Usage::Signing, now).unwrap()
            }
            _ => panic!("nobody makes {name}"),
        }
    }

    /// One line: sent, until it comes where it takes its time.
    async fn play(&mut self, case: &Case<'_>, contract: &mut Contract) {
        let (row, path) = (contract.row(case), self.names.fill(case.path));
        let body = self.names.fill(case.body);
        let (media, bytes) = match body.as_str() {
            "" => (None, Vec::new()),
            octets if octets.starts_with('@') => (Some("application/octet-stream"), self.bytes(octets)),
            // Of a key that stands twice the last counts, so that a line can say what is other.
            json => {
                let value: Value = serde_json::from_str(json).unwrap();
                (Some("application/json"), value.to_string().into_bytes())
            }
        };
        let target = format!("/api/v1{path}");
        let began = std::time::Instant::now();
        let (status, answer) = loop {
            let (status, _, answer) =
                self.server.send(row.method, &target, "all", [media, None], &bytes).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let late = began.elapsed() > Duration::from_secs(30);
            if !case.eventually || late || case.is_met(&self.names, status, &answer) {
                break (status, answer);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.world.publish();
            self.server.download().await;
        };
        let sent = serde_json::from_str(&body).unwrap_or_default();
        contract.judge(case, &self.names, &sent, status, &answer);
        for (name, pointer) in &case.keep {
            let value = answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            self.names.keep(name, value);
        }
    }
}

/// The base64 of the first verification certificate of an anchor.
pub(crate) fn cert_of(anchor: &str) -> &str {
    let start = anchor.find("verificationCert>").unwrap() + "verificationCert>".len();
    &anchor[start..start + anchor[start..].find('<').unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_1_operation_keeps_its_contract() {
    let mut scene = Scene::start().await;
    let (_, _, ours) = scene.server.send("GET", "/api/v1/openapi.yaml", "none", [None, None], b"").await;
    let yaml = |bytes: &[u8]| serde_yaml_ng::from_slice::<Value>(bytes).unwrap();
    let theirs = vectors::dir().map(|folder| {
        yaml(&std::fs::read(folder.join("openapi/security-server-openapi-definition.yaml")).unwrap())
    });
    let rows = scene.server.frame.operations().iter().map(|row| Row {
        id: row.id,
        method: row.verb.name(),
        path: row.path,
        json: row.response.is_some(),
        refusals: row.refusals,
    });
    let mut contract = Contract::new(rows.collect::<Vec<_>>(), yaml(&ours), theirs, &LEFT_OUT);
    for line in lines(include_str!("contract.txt")) {
        match line {
            Line::Act(what) => scene.act(what).await,
            Line::Call(case) => scene.play(&case, &mut contract).await,
        }
    }
    contract.finish(&TIER_1, &UNDRAWN);
    scene.server.stop().await;
}
