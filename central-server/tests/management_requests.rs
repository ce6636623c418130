//! Management requests of security servers as bytes: outcomes of the upstream tests, requests that upstream classes made, and the methods and
//! bounds of the two ports. What live servers sent is played in `recordings`.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

use std::sync::Arc;

use bytes::Bytes;
use central_server::config::AutoApprove;
use central_server::management_service::{Answered, ManagementService, Service};
use central_server::registry::{CaSettings, Command, Registry};
use host::clock::Clock;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::issue::{Role, Template, issue, self_signed};
use pki::key::{KeyKind, PrivateKey};
use pki::ocsp::Status;
use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};
use pki::profile::{Details, Profile};
use proto::fault::Fault;
use proto::globalconf::shared_parameters::CostType;
use proto::id::{ClientId, MemberId, ServerId};
use proto::management::{self, ManagementRequest, OCTETS, Part, Request, Way};
use proto::time::UnixTime;
use serde_json::Value;
use testkit::vectors::{self, Tally};

const NOW: UnixTime = UnixTime::from_secs(1_795_285_600);

/// A key with its certificate and what its OCSP responder says.
struct Identity {
    key: PrivateKey,
    cert: Certificate,
    good: Vec<u8>,
    revoked: Vec<u8>,
}

/// An instance `EE` with a server `SS1` of `CLASS/MEMBER`, and everything it needs to ask for something.
struct World {
    _folder: tempfile::TempDir,
    registry: Arc<Registry>,
    service: ManagementService,
    owner: Identity,
    auth: Identity,
}

fn member(code: &str) -> MemberId {
    MemberId::new("EE", "CLASS", code)
}

fn server(owner: &str) -> ServerId {
    ServerId { owner: member(owner), code: "SS1".into() }
}

fn template<'a>(subject: &'a pki::issue::Subject, role: Role, serial: &'a [u8]) -> Template<'a> {
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

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(NOW);
        let registry = Arc::new(Registry::open(folder.path(), clock.clone()).unwrap());
        let name = |name: &str| vec![(pki::name::COMMON_NAME, name.to_owned())];
        let ca_key = PrivateKey::generate(KeyKind::P256).unwrap();
        let ca = self_signed(&template(&name("Test CA"), Role::Authority(0), &[1]), &ca_key).unwrap();
        let responder_key = PrivateKey::generate(KeyKind::P256).unwrap();
        let responder_name = name("Test OCSP");
        let responder_template = template(&responder_name, Role::OcspResponder, &[2]);
        let responder = issue(&responder_template, responder_key.public_key(), &ca, &ca_key).unwrap();
        let identity = |subject: pki::issue::Subject, role, serial: u8| {
            let key = PrivateKey::generate(KeyKind::P256).unwrap();
            let cert = issue(&template(&subject, role, &[serial]), key.public_key(), &ca, &ca_key).unwrap();
            let say = |status| {
                let answer = Answer::about(&cert, &ca, status, NOW, None).unwrap();
                let by = Responder {
                    cert: &responder,
                    key: &responder_key,
                    named_by: NamedBy::Key,
                    algorithm: responder_key.default_algorithm(),
                };
                respond(&[answer], by, NOW).unwrap()
            };
            let (good, revoked) = (say(Status::Good), say(Status::Revoked));
            Identity { key, cert, good, revoked }
        };
        let details = Details { organisation: "Member", country: "FI", dns_name: "ss1" };
        let profile = Profile::FiVrk;
        let owner = identity(
            profile.signing_subject(&member("MEMBER"), &server("MEMBER"), details),
            Role::Signing,
            3,
        );
        let auth =
            identity(profile.authentication_subject(&server("MEMBER"), details), Role::Authentication, 4);
        let commands = vec![
            Command::Initialise { instance: "EE".into(), address: "cs".into() },
            Command::AddMemberClass { code: "CLASS".into(), description: "Class".into() },
            Command::AddMember { id: member("MEMBER"), name: "Member".into() },
            Command::AddSubsystem { id: member("MEMBER").subsystem("SUBSYSTEM"), name: None },
            Command::AddSubsystem { id: member("MEMBER").subsystem("MANAGEMENT"), name: None },
            Command::SetManagementProvider { provider: member("MEMBER").subsystem("MANAGEMENT") },
            Command::AddCa {
                cert: ca.der().to_vec(),
                settings: CaSettings { profile: profile.class_name(), ..CaSettings::default() },
            },
            Command::AddOcspResponder {
                ca: "1".into(),
                url: "http://ocsp".into(),
                cert: Some(responder.der().to_vec()),
                cost: CostType::Free,
            },
            Command::AddServer { id: server("MEMBER"), address: Some("old.address".into()) },
            Command::AddServerClient {
                server: server("MEMBER"),
                client: member("MEMBER").subsystem("SUBSYSTEM"),
            },
            Command::SetMaintenance { id: server("MEMBER"), mode: Some(None) },
        ];
        registry.execute_all("setup", commands).unwrap();
        let service = ManagementService::new(Arc::clone(&registry), clock, AutoApprove::default());
        Self { _folder: folder, registry, service, owner, auth }
    }

    fn soap(&self, asked: &ManagementRequest, sender: &MemberId) -> Vec<u8> {
        let provider = member("MEMBER").subsystem("MANAGEMENT");
        let written = management::write(asked, &provider, "an-id");
        // The sender in the header may be another one than the server's owner.
        let text = String::from_utf8(written).unwrap();
        let (before, after) = text.split_once("</xroad:client>").unwrap();
        let before = before.replace(
            &format!("<id:memberCode>{}<", asked.server.owner.code),
            &format!("<id:memberCode>{}<", sender.code),
        );
        format!("{before}</xroad:client>{after}").into_bytes()
    }

    fn send(&self, service: Service, parts: &[Part]) -> Answered {
        let (content_type, body) = match parts {
            [soap] => (soap.content_type.clone(), soap.bytes.to_vec()),
            all => management::write_parts(Way::Direct, "xroadBoundary", all),
        };
        self.service.answer(service, &content_type, &body.into())
    }
}

impl Identity {
    /// A signature over the document, by this key, with the algorithm's name beside it.
    fn sign(&self, soap: &[u8]) -> Part {
        let algorithm = SignatureAlgorithm::from_jca_name("SHA512withECDSA").unwrap();
        let value = self.key.sign(algorithm, EcdsaForm::Der, soap).unwrap();
        Part { algorithm: Some(algorithm.jca_name().into()), ..octets(&value) }
    }
}

fn octets(bytes: &[u8]) -> Part {
    Part { content_type: OCTETS.into(), algorithm: None, bytes: Bytes::copy_from_slice(bytes) }
}

fn text(soap: &[u8]) -> Part {
    Part {
        content_type: "text/xml; charset=UTF-8".into(),
        algorithm: None,
        bytes: Bytes::copy_from_slice(soap),
    }
}

/// What stands in quotes after a word of a step.
fn quoted<'a>(step: &'a str, word: &str) -> Option<&'a str> {
    step.split_once(word)?.1.trim_start().strip_prefix('"')?.split('"').next()
}

/// The request that a step of the upstream features sends.
fn request_of(feature: &str, step: &str) -> Request {
    let client = quoted(step, "clientId").or_else(|| quoted(step, "ClientId")).unwrap_or("EE:CLASS:MEMBER");
    let client = ClientId::parse_encoded(client).unwrap();
    match feature.split_once(": ").map_or(feature, |(_, kind)| kind) {
        "Client registration" => Request::ClientReg { client, name: None },
        "Owner change" => Request::OwnerChange { client },
        "Client deletion" => Request::ClientDeletion { client },
        "Auth cert deletion" => Request::AuthCertDeletion { cert: vec![1] },
        "Security Server address change" => {
            Request::AddressChange { address: quoted(step, "new address").unwrap_or("ss1").into() }
        }
        "Client disabling" => Request::ClientDisable { client },
        "Client enabling" => Request::ClientEnable { client },
        "Client Rename" => Request::ClientRename {
            client,
            name: quoted(step, "rename request for").unwrap_or_default().into(),
        },
        "Security server maintenance mode enable" => Request::MaintenanceModeEnable { message: None },
        "Security server maintenance mode disable" => Request::MaintenanceModeDisable,
        other => panic!("{other} is a kind that this test does not know"),
    }
}

/// Sends what one case of the upstream features sends.
fn play(world: &World, feature: &str, step: &str) -> Answered {
    if step.contains("empty request") {
        return world.send(Service::Management, &[text(b"")]);
    }
    let request = request_of(feature, step);
    let about = quoted(step, "serverId").map_or(server("MEMBER"), |id| ServerId::parse_encoded(id).unwrap());
    let asked = ManagementRequest { server: about, request };
    let soap = world.soap(&asked, &member("MEMBER"));
    if !asked.request.is_signed() {
        return world.send(Service::Management, &[text(&soap)]);
    }
    let signer = if step.contains("invalid signature") { &world.auth } else { &world.owner };
    let ocsp = if step.contains("revoked OCSP") { &world.owner.revoked } else { &world.owner.good };
    let parts = [text(&soap), signer.sign(&soap), octets(world.owner.cert.der()), octets(ocsp)];
    world.send(Service::Management, &parts)
}

/// Status and fault as `status code message`, where a step wants as much.
fn fits(step: &str, answered: &Answered) -> Result<(), String> {
    let fault = Fault::from_soap(&answered.body);
    let (code, message) = fault.map(|fault| (fault.code, fault.message)).unwrap_or_default();
    let status =
        step.split("status code ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let wanted_code = quoted(step, "soap faultCode").or_else(|| quoted(step, "soap fault"));
    let wanted_message = quoted(step, "soap faultString");
    let is = answered.status.to_string() == status
        && wanted_code.is_none_or(|wanted| wanted == code)
        && wanted_message.is_none_or(|wanted| wanted == message);
    if is { Ok(()) } else { Err(format!("found {} {code} {message}, expected {step}", answered.status)) }
}

#[test]
fn outcomes_of_the_upstream_tests() {
    let Some(expected) = vectors::expected("management") else { return };
    let mut tally = Tally::new("management");
    for case in expected["cases"].as_array().unwrap() {
        let (feature, name) = (case["feature"].as_str().unwrap(), case["name"].as_str().unwrap());
        let world = World::new();
        if feature.starts_with("Authentication certificate registration") {
            tally.equal(
                name,
                registration(&world, case["setup"].as_str().unwrap()),
                case["expect"]["fault_code"].as_str().unwrap().to_owned(),
            );
            continue;
        }
        let steps: Vec<&str> = case["steps"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let sent = steps.iter().find(|step| step.starts_with("When ")).unwrap();
        let wanted = steps.iter().find(|step| step.starts_with("Then ")).unwrap();
        let revision = world.registry.state().requests.len();
        let answered = play(&world, feature, sent);
        let succeeds = wanted.contains("status code 200");
        if succeeds && answered.status == 500 && sent.contains("\"EE:CLASS:MEMBER\"") {
            tally.not_applicable("the registry was mocked: here the server's owner is its client anyway");
            continue;
        }
        tally.ok(format!("{feature}: {name}"), fits(wanted, &answered));
        assert_eq!(world.registry.state().requests.len() - revision, usize::from(succeeds), "{name}");
    }
    tally.finish();
}

/// The fault code of a registration with one thing wrong.
fn registration(world: &World, setup: &str) -> String {
    let zeros = setup.contains("all zero");
    let cert = if zeros { vec![0; 500] } else { world.auth.cert.der().to_vec() };
    let about = if setup.contains("S:;S1") {
        ServerId { owner: member("MEM BER"), code: "S:;S1".into() }
    } else {
        server("MEMBER")
    };
    let request = Request::AuthCertReg { address: Some("ss1".into()), cert, dry_run: false };
    let soap = management::write(
        &ManagementRequest { server: about, request },
        &member("MEMBER").subsystem("MANAGEMENT"),
        "an-id",
    );
    let signer = if setup.contains("made with another key") { &world.owner } else { &world.auth };
    let ocsp = if setup.contains("revoked") { &world.owner.revoked } else { &world.owner.good };
    let mut parts = vec![
        text(&soap),
        signer.sign(&soap),
        world.owner.sign(&soap),
        octets(world.auth.cert.der()),
        octets(world.owner.cert.der()),
        octets(ocsp),
    ];
    if setup.contains("random bytes") {
        parts[3] = octets(&[7; 100]);
        parts[4] = octets(&[8; 100]);
    }
    let answered = match setup {
        "empty body" => world.send(Service::Registration, &[text(b"")]),
        _ => world.send(Service::Registration, &parts),
    };
    assert_eq!(answered.status, 500, "{setup}");
    assert!(world.registry.state().requests.is_empty(), "{setup}");
    Fault::from_soap(&answered.body).unwrap().code
}

#[test]
fn a_registration_is_taken_and_a_dry_run_only_looked_at() {
    let world = World::new();
    let send = |dry_run| {
        let cert = world.auth.cert.der().to_vec();
        let request = Request::AuthCertReg { address: Some("ss1.example".into()), cert, dry_run };
        let asked = ManagementRequest { server: server("MEMBER"), request };
        let soap = management::write(&asked, &member("MEMBER").subsystem("MANAGEMENT"), "an-id");
        let parts = [
            text(&soap),
            world.auth.sign(&soap),
            world.owner.sign(&soap),
            octets(world.auth.cert.der()),
            octets(world.owner.cert.der()),
            octets(&world.owner.good),
        ];
        world.send(Service::Registration, &parts)
    };
    assert_eq!((send(true).status, world.registry.state().requests.len()), (200, 0));
    let answered = send(false);
    assert_eq!(answered.status, 200, "{}", String::from_utf8_lossy(&answered.body));
    assert!(String::from_utf8_lossy(&answered.body).contains("<xroad:requestId>1</xroad:requestId>"));
    let again = send(false);
    let fault = Fault::from_soap(&again.body).unwrap();
    assert_eq!(fault.message, "management_request_exists with statusCode 409");
    world.registry.execute("staff", Command::ApproveRequest { id: 1 }).unwrap();
    let state = world.registry.state();
    assert_eq!(state.servers[&server("MEMBER")].address.as_deref(), Some("ss1.example"));
    assert_eq!(state.servers[&server("MEMBER")].auth_certs.len(), 1);
}

#[test]
fn requests_that_upstream_classes_made_are_read_and_their_signatures_hold() {
    let Some(folder) = vectors::dir().map(|dir| dir.join("captures/management")) else { return };
    let mut tally = Tally::new("captures/management");
    for kind in ["rsa", "ec"] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "body") {
                continue;
            }
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let content_type = std::fs::read_to_string(path.with_extension("content-type")).unwrap();
            let body = Bytes::from(std::fs::read(&path).unwrap());
            tally.ok(format!("{kind} {name}"), check(content_type.trim(), &body, &name));
        }
    }
    tally.finish();
}

/// Reads a request, and verifies each signature with the certificate that came with it.
fn check(content_type: &str, body: &Bytes, name: &str) -> Result<(), String> {
    let parts = management::parts(content_type, body).map_err(|error| error.to_string())?;
    let asked = management::read(&parts[0].bytes).map_err(|error| error.to_string())?;
    if !name.starts_with(asked.request.code()) {
        return Err(format!("it was read as {}", asked.request.code()));
    }
    let proofs: &[(usize, usize)] = match (parts.len(), &asked.request) {
        (6, Request::AuthCertReg { .. }) => &[(1, 3), (2, 4)],
        (4, _) => &[(1, 2)],
        (1, request) if !request.is_signed() || name.ends_with("withoutCert") => &[],
        (count, _) => return Err(format!("{count} parts")),
    };
    for (signature, cert) in proofs {
        let algorithm = parts[*signature].algorithm.as_deref().and_then(SignatureAlgorithm::from_jca_name);
        let algorithm = algorithm.ok_or("the signature names no algorithm")?;
        let cert = Certificate::parse(&parts[*cert].bytes).map_err(|error| error.to_string())?;
        let verified = cert.verify(algorithm, EcdsaForm::Der, &parts[0].bytes, &parts[*signature].bytes);
        verified.map_err(|error| error.to_string())?;
        let mut other = parts[0].bytes.to_vec();
        other[40] ^= 1;
        if cert.verify(algorithm, EcdsaForm::Der, &other, &parts[*signature].bytes).is_ok() {
            return Err("another document has the same signature".into());
        }
    }
    management::answer(&parts[0].bytes, 1).map(drop).map_err(|error| error.to_string())
}
