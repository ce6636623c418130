//! The contract of the management API: every operation's rights, from its table; of every operation an example that fits the served API
//! document and the reference's, and each refusal that its row names, from `contract.txt`.
//!
//! Two servers play: `ss0` offers the management services, and refuses therefore some of what `ss1` may do.

use std::collections::BTreeMap;
use std::time::Duration;

use admin_api::operation::{Access, BodyKind, Role, Verb};
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
use testkit::contract::{Case, Contract, EXAMPLE, Line, Names, Row, form, lines, unrecorded, with_common};
use testkit::vectors;

use crate::documents::Documents;
use crate::world::{PASSWORD, SecurityServer, World, member, provider};

/// Refusals that no call of this test draws, and operations that never succeed.
const UNDRAWN: [(&str, &str, &str); 5] = [
    ("uploadBackup", "invalid_file_content_type", "central servers alone look at what is uploaded"),
    (
        "uploadInitialAnchor",
        "internal_anchor_upload_invalid_instance_id",
        "only where somebody took the anchor of an initialised server away by hand",
    ),
    ("deleteToken", EXAMPLE, "the software token is never away"),
    ("importCertificateFromToken", EXAMPLE, "certificates lie beside the keys, never on the token alone"),
    ("getOperationalDataIntervals", EXAMPLE, "there is no operational monitoring"),
];

/// They are no GET, and leave everything as it is.
const CHANGE_NOTHING: [&str; 3] = ["previewAnchor", "resetAlerts", "sendTestMail"];

/// Required fields of the reference's document that live servers leave out; and those of RSA keys, which these are not.
const LEFT_OUT: [&str; 8] = [
    "error",
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
    for (name, _) in ROLES {
        server.add_user(name).await;
        let form = format!("username={name}&password={PASSWORD}").replace(' ', "+");
        assert_eq!(server.log_in(name, form.as_bytes()).await.0, 200, "{name}");
    }
    let mut tried = 0;
    for row in server.frame.operations() {
        let changes = row.verb != Verb::Get && !CHANGE_NOTHING.contains(&row.id);
        assert_eq!(row.event.is_some(), changes, "{} in the audit log", row.id);
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
            // Keys are managed by people.
            let manages_keys = row.path.starts_with("/api-keys");
            let caller = if manages_keys { format!("session-{caller}") } else { caller.to_owned() };
            let (status, _, answer) = server.send(row.verb.name(), &target, &caller, media, body).await;
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

/// The servers whose contract is tried, and what they need around them.
struct Scene {
    world: World,
    servers: BTreeMap<&'static str, SecurityServer>,
    documents: Documents,
    names: Names,
    /// The last certificate that was made out of nothing.
    last: Vec<u8>,
    /// The last file that was downloaded.
    file: Vec<u8>,
}

/// The one who calls, and where.
fn caller_of<'a>(case: &Case<'a>) -> (&'a str, &'a str) {
    case.caller.split_once('@').unwrap_or((case.caller, "ss0"))
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
        names.keep("tsa2", world.tsas[0].url());
        names.keep("tsa", world.tsas[1].url());
        names.keep("password", PASSWORD.replace(' ', "+"));
        names.keep("management_wsdl", format!("http://{}/managementservices.wsdl", world.central));
        names.keep("management_url", format!("https://{}/managementservice/manage/", world.management));
        let servers = BTreeMap::from([("ss0", server)]);
        Self { world, servers, documents, names, last: Vec::new(), file: Vec::new() }
    }

    /// What happens besides the calls.
    async fn act(&mut self, what: &str) {
        let backups = self.servers["ss0"].foundation.settings.data_dir.join("backup");
        match what.split_once(' ').unwrap_or((what, "")) {
            ("serve", what) => return self.documents.serve(what),
            ("user", name) => return self.servers["ss0"].add_user(name).await,
            ("restart", what) => return self.restart(what).await,
            ("block", "backups") => {
                std::fs::rename(&backups, backups.with_extension("aside")).unwrap();
                return std::fs::write(&backups, "in the way").unwrap();
            }
            ("unblock", "backups") => {
                std::fs::remove_file(&backups).unwrap();
                return std::fs::rename(backups.with_extension("aside"), &backups).unwrap();
            }
            ("approve", _) => self.world.approve_all(),
            ("begin", "ss1") => self.begin_other().await,
            ("offer", _) => {
                let server = ServerId { owner: member("COM", "1234"), code: "SS0".into() };
                let command = Command::AddServerClient { server, client: provider() };
                self.world.registry.registry().execute("staff", command).unwrap();
                self.world.publish();
            }
            _ => panic!("nobody can {what}"),
        }
        for server in self.servers.values() {
            server.download().await;
        }
    }

    /// A second server, with both certificates.
    async fn begin_other(&mut self) {
        let server = self.world.security_server("other", false).await;
        bring_up(&self.world, &server).await;
        let keys = server.foundation.token.get().unwrap().keys();
        let key = keys.iter().find(|key| key.usage == signer::token::KeyUsage::Authentication).unwrap();
        self.names.keep("auth_cert1", key.certs[0].id().to_uppercase());
        self.names.keep("host1", server.host.clone());
        self.servers.insert("ss1", server);
    }

    /// A server ends and starts again, `in two days` for one whose configuration is to have expired.
    async fn restart(&mut self, what: &str) {
        let (name, later) = what.split_once(' ').unwrap_or((what, ""));
        let (name, server) = self.servers.remove_entry(name).unwrap();
        let clock = match later {
            "" => Clock::System,
            "in two days" => Clock::fixed(Clock::System.now().plus(Duration::from_secs(2 * 86_400))),
            _ => panic!("nobody can restart {what}"),
        };
        self.servers.insert(name, server.start_again_at(clock).await);
    }

    /// The bytes that a line of the table means.
    fn bytes(&mut self, server: &str, what: &str) -> Vec<u8> {
        let (name, more) = what.split_once(' ').unwrap_or((what, ""));
        let anchor = || String::from_utf8(self.world.internal_anchor.clone()).unwrap();
        let instead = |address: &str| anchor().replace(&self.world.central.to_string(), address).into_bytes();
        match name {
            "@text" => more.as_bytes().to_vec(),
            "@anchor" => self.world.internal_anchor.clone(),
            "@anchor-external" => self.world.external_anchor.clone(),
            "@anchor-nobody" => instead("127.0.0.1:1"),
            "@anchor-foreign" => anchor().replace(">DEV<", ">EE<").into_bytes(),
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
                certified(&self.world, &self.servers[server], key, csr).der().to_vec()
            }
            "@certificate" => {
                let keys = self.servers[server].foundation.token.get().unwrap().keys();
                let mut certs = keys.into_iter().flat_map(|key| key.certs);
                certs.find(|cert| cert.id().eq_ignore_ascii_case(more)).unwrap().cert.der().to_vec()
            }
            _ => {
                self.last = self.certificate(name, more).der().to_vec();
                self.last.clone()
            }
        }
    }

    /// The files of forms.
    fn file(&self, what: &str) -> Option<Vec<u8>> {
        match what {
            "downloaded" => Some(self.file.clone()),
            // Its last byte is another.
            "damaged" => {
                let mut bytes = self.file.clone();
                bytes.pop();
                Some(bytes)
            }
            _ => None,
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
                let spki = self.servers["ss0"].foundation.internal_tls.cert().spki().to_vec();
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
                let token = self.servers["ss0"].foundation.token.get().unwrap();
                let der = token.csr(&more.to_owned(), &subject, &[]).unwrap();
                authority.certify(&der, Usage::Signing, now).unwrap()
            }
            _ => panic!("nobody makes {name}"),
        }
    }

    /// One line: sent, until it comes where it takes its time.
    async fn play(&mut self, case: &Case<'_>, contract: &mut Contract) {
        let (row, path) = (contract.row(case), self.names.fill(case.path));
        let (caller, at) = caller_of(case);
        let body = self.names.fill(case.body);
        let (media, bytes) = match body.as_str() {
            "" => (None, Vec::new()),
            octets if octets.starts_with('@') => (Some("application/octet-stream"), self.bytes(at, octets)),
            fields if fields.starts_with("form ") => {
                (media_type(BodyKind::Form), form(&fields["form ".len()..], |what| self.file(what)))
            }
            text if !row.documented => (None, text.as_bytes().to_vec()),
            // Of a key that stands twice the last counts, so that a line can say what is other.
            json => {
                let value: Value = serde_json::from_str(json).unwrap();
                (Some("application/json"), value.to_string().into_bytes())
            }
        };
        let server = &self.servers[at];
        let began = std::time::Instant::now();
        let (status, answer) = loop {
            let (status, answer) = match row.id {
                "login" => server.log_in("all", &bytes).await,
                id => {
                    let base = if id == "logout" { "" } else { "/api/v1" };
                    let target = format!("{base}{path}");
                    let sent = server.send(row.method, &target, caller, [media, None], &bytes).await;
                    (sent.0, sent.2)
                }
            };
            let file = answer;
            let answer: Value = serde_json::from_slice(&file).unwrap_or_default();
            let late = began.elapsed() > Duration::from_secs(30);
            if !case.eventually || late || case.is_met(&self.names, status, &answer) {
                if row.path.ends_with("/download") && status == 200 {
                    self.file = file;
                }
                break (status, answer);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.world.publish();
            server.download().await;
        };
        let sent = serde_json::from_str(&body).unwrap_or_default();
        contract.judge(case, &self.names, &sent, status, &answer);
        self.names.keep_of(case, &answer);
    }
}

/// The base64 of the first verification certificate of an anchor.
pub(crate) fn cert_of(anchor: &str) -> &str {
    let start = anchor.find("verificationCert>").unwrap() + "verificationCert>".len();
    &anchor[start..start + anchor[start..].find('<').unwrap()]
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
    let mut scene = Scene::start().await;
    let server = &scene.servers["ss0"];
    let (_, _, ours) = server.send("GET", "/api/v1/openapi.yaml", "none", [None, None], b"").await;
    let yaml = |bytes: &[u8]| serde_yaml_ng::from_slice::<Value>(bytes).unwrap();
    let theirs = vectors::dir().map(|folder| {
        let document = |name| yaml(&std::fs::read(folder.join("openapi").join(name)).unwrap());
        let common = document("common-openapi-definition.yaml");
        with_common(document("security-server-openapi-definition.yaml"), &common)
    });
    let rows = server.frame.operations().iter().map(|row| Row {
        id: row.id,
        method: row.verb.name(),
        path: row.path,
        documented: true,
        json: row.response.is_some(),
        refusals: row.refusals,
    });
    let rows: Vec<_> = rows.chain(outside()).collect();
    let mut contract = Contract::new(rows, yaml(&ours), theirs, &LEFT_OUT);
    for line in lines(include_str!("contract.txt")) {
        match line {
            // On the heap: together they are more than a test's stack takes.
            Line::Act(what) => Box::pin(scene.act(what)).await,
            Line::Call(case) => Box::pin(scene.play(&case, &mut contract)).await,
        }
    }
    contract.finish(&UNDRAWN);
    let log = |server: &SecurityServer| {
        std::fs::read_to_string(server.foundation.folder("admin").unwrap().join("audit.log")).unwrap()
    };
    let whole: String = scene.servers.values().map(log).collect();
    let rows = scene.servers["ss0"].frame.operations().iter();
    let rows = rows.map(|row| (row.id, row.event, !row.refusals.is_empty()));
    let missing = unrecorded(&whole, rows, &UNDRAWN);
    assert!(missing.is_empty(), "not in the audit log: {missing:#?}");
    for event in ["Log in user", "Log in user failed", "Log out user", "API key authentication failed"] {
        assert!(whole.contains(&format!("\"{event}\"")), "{event}");
    }
    for server in scene.servers.into_values() {
        server.stop().await;
    }
}
