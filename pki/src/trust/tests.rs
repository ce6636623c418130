//! Signers and peers of a small instance: root, intermediate, a server with one client.

use std::slice;
use std::time::Duration;

use proto::globalconf::shared_parameters::{
    ApprovedCa, CaInfo, Member, OcspInfo, SecurityServer, SharedParameters, Source,
};
use proto::id::ServerId;

use super::*;
use crate::globalconf::{Builder, Instance};
use crate::issue::{Role, Template};
use crate::key::{KeyKind, PrivateKey};
use crate::name::{COMMON_NAME, COUNTRY, ORGANIZATION};
use crate::ocsp::Status;
use crate::ocsp::respond::{Answer, NamedBy, Responder, respond};
use crate::profile::Profile;
use crate::test_pki::{DAY, NOW, TestCa};

const FRESHNESS: Duration = Duration::from_secs(3600);

/// The instance's parts, before they become a configuration.
struct Scene {
    root: TestCa,
    middle: TestCa,
    key: PrivateKey,
    member: MemberId,
    client: ClientId,
    server: ServerId,
    /// The configuration also lists the intermediate.
    lists_middle: bool,
    authentication_only: bool,
    profile: String,
    responders: Vec<Certificate>,
    registered: Vec<Certificate>,
}

impl Scene {
    fn new() -> Self {
        let root = TestCa::root();
        let middle = root.intermediate("Test Intermediate CA", 0);
        let member = MemberId { instance: "XX".to_owned(), class: "GOV".to_owned(), code: "1".to_owned() };
        let client = ClientId { member: member.clone(), subsystem: Some("SUB".to_owned()) };
        let server = ServerId { owner: member.clone(), code: "SS1".to_owned() };
        Self {
            root,
            middle,
            key: PrivateKey::generate(KeyKind::P256).unwrap(),
            member,
            client,
            server,
            lists_middle: false,
            authentication_only: false,
            profile: Profile::Ejbca.class_name(),
            responders: vec![],
            registered: vec![],
        }
    }
    fn conf(&self) -> GlobalConf {
        Builder::new("XX")
            .instance(Instance::new(self.parameters(), 6).unwrap().into(), None)
            .build()
            .unwrap()
    }
    fn parameters(&self) -> SharedParameters {
        let ca = |cert: &Certificate| CaInfo {
            cert: cert.der().to_vec(),
            ocsp: self
                .responders
                .iter()
                .map(|cert| OcspInfo { cert: Some(cert.der().to_vec()), ..OcspInfo::default() })
                .collect(),
        };
        SharedParameters {
            instance: "XX".to_owned(),
            sources: vec![Source::default()],
            approved_cas: vec![ApprovedCa {
                name: "CA".to_owned(),
                authentication_only: self.authentication_only,
                top: ca(&self.root.cert),
                intermediates: if self.lists_middle { vec![ca(&self.middle.cert)] } else { vec![] },
                profile: self.profile.clone(),
                ..ApprovedCa::default()
            }],
            members: vec![Member {
                id: self.member.clone(),
                class_description: String::new(),
                name: "Member".to_owned(),
                subsystems: vec![("SUB".to_owned(), None)],
            }],
            servers: vec![SecurityServer {
                id: self.server.clone(),
                address: Some("ss1".to_owned()),
                auth_cert_hashes: self.registered.iter().map(|cert| cert.sha256().to_vec()).collect(),
                clients: vec![self.client.clone()],
                maintenance: None,
            }],
            ocsp_freshness_seconds: FRESHNESS.as_secs(),
            ..SharedParameters::default()
        }
    }
    fn leaf(&self, ca: &TestCa, role: Role, change: impl FnOnce(&mut Template<'_>)) -> Certificate {
        let subject = [(COUNTRY, "XX"), (ORGANIZATION, "GOV"), (COMMON_NAME, "1")];
        let subject = subject.map(|(oid, value)| (oid, value.to_owned())).to_vec();
        ca.certify(&subject, role, &self.key, change)
    }
    fn signer(
        &self,
        cert: &Certificate,
        extra: &[Certificate],
        ocsp: &[Vec<u8>],
    ) -> Result<UnixTime, TrustError> {
        signer(&self.conf(), cert, extra, ocsp, &self.member, NOW).map(|trusted| trusted.until)
    }
    fn peer(&self, chain: &[Certificate], ocsp: &[Vec<u8>]) -> Result<UnixTime, TrustError> {
        tls_peer(&self.conf(), chain, ocsp, &self.client, NOW).map(|trusted| trusted.until)
    }
}

/// The CA itself answers.
fn answer(ca: &TestCa, cert: &Certificate, status: Status, this_update: UnixTime) -> Vec<u8> {
    let answer = Answer::about(cert, &ca.cert, status, this_update, None).unwrap();
    let algorithm = ca.key.default_algorithm();
    let responder = Responder { cert: &ca.cert, key: &ca.key, named_by: NamedBy::Name, algorithm };
    respond(&[answer], responder, NOW).unwrap()
}

fn good(ca: &TestCa, cert: &Certificate) -> Vec<u8> {
    answer(ca, cert, Status::Good, NOW.minus(Duration::from_secs(60)))
}

/// Code of a refusal, as a signature tells it.
fn code(outcome: Result<UnixTime, TrustError>) -> String {
    text(outcome.map_err(|error| error.fault_path()))
}

fn tls_code(outcome: Result<UnixTime, TrustError>) -> String {
    text(outcome.map_err(|error| error.tls_fault_path()))
}

fn text(outcome: Result<UnixTime, Vec<FaultCode>>) -> String {
    match outcome {
        Ok(_) => "good".to_owned(),
        Err(path) => {
            let parts: Vec<_> = path.iter().map(|code| code.text(proto::fault::Style::Snake)).collect();
            parts.join(".")
        }
    }
}

#[test]
fn a_signer_is_trusted_until_its_first_proof_ends() {
    let scene = Scene::new();
    let cert = scene.leaf(&scene.root, Role::Signing, |_| {});
    let fresh = scene.signer(&cert, &[], &[good(&scene.root, &cert)]);
    assert_eq!(fresh, Ok(NOW.minus(Duration::from_secs(60)).plus(FRESHNESS)));
    let soon = NOW.plus(Duration::from_secs(5));
    let short = scene.leaf(&scene.root, Role::Signing, |template| template.not_after = soon);
    assert_eq!(scene.signer(&short, &[], &[good(&scene.root, &short)]), Ok(soon));
}

/// Codes as recorded of the reference where it has been recorded.
#[test]
fn signers_that_are_refused() {
    let scene = Scene::new();
    let (root, stranger) = (&scene.root, TestCa::root());
    let other_name = TestCa::named("Unknown CA", PrivateKey::generate(KeyKind::P256).unwrap());
    let cert = scene.leaf(root, Role::Signing, |_| {});
    let subject =
        vec![(COUNTRY, "XX".to_owned()), (ORGANIZATION, "COM".to_owned()), (COMMON_NAME, "1".to_owned())];
    let other_class = root.certify(&subject, Role::Signing, &scene.key, |_| {});
    let nameless = root.certify(&subject[..2].to_vec(), Role::Signing, &scene.key, |_| {});
    let authentication = scene.leaf(root, Role::Authentication, |_| {});
    let expired = scene.leaf(root, Role::Signing, |template| template.not_after = NOW.minus(DAY));
    let early = scene.leaf(root, Role::Signing, |template| template.not_before = NOW.plus(DAY));
    let foreign = scene.leaf(&other_name, Role::Signing, |_| {});
    let same_name = scene.leaf(&stranger, Role::Signing, |_| {});
    let old = NOW.minus(DAY);
    let revoked = answer(root, &cert, Status::Revoked, NOW);
    let cases = [
        ("good", &cert, vec![good(root, &cert)], "good"),
        ("other class", &other_class, vec![good(root, &other_class)], "incorrect_certificate"),
        ("no name", &nameless, vec![good(root, &nameless)], "incorrect_certificate"),
        ("not for signing", &authentication, vec![good(root, &authentication)], "malformed_signature"),
        ("expired", &expired, vec![good(root, &expired)], "cannot_create_cert_path.internal_error"),
        ("not yet valid", &early, vec![good(root, &early)], "cannot_create_cert_path.internal_error"),
        ("unknown CA", &foreign, vec![good(&other_name, &foreign)], "internal_error"),
        (
            "CA of the same name",
            &same_name,
            vec![good(&stranger, &same_name)],
            "cannot_create_cert_path.internal_error",
        ),
        ("no answer", &cert, vec![], "invalid_cert_path.cert_validation"),
        ("answer for another", &cert, vec![good(root, &other_class)], "invalid_cert_path.cert_validation"),
        (
            "unknown",
            &cert,
            vec![answer(root, &cert, Status::Unknown, NOW)],
            "invalid_cert_path.cert_validation",
        ),
        ("revoked", &cert, vec![revoked.clone()], "invalid_cert_path.cert_validation"),
        ("good, then revoked", &cert, vec![good(root, &cert), revoked], "invalid_cert_path.cert_validation"),
        (
            "old answer",
            &cert,
            vec![answer(root, &cert, Status::Good, old)],
            "invalid_cert_path.incorrect_validation_info",
        ),
        (
            "answer from the future",
            &cert,
            vec![answer(root, &cert, Status::Good, NOW.plus(DAY * 2))],
            "invalid_cert_path.incorrect_validation_info",
        ),
        ("no response", &cert, vec![b"garbage".to_vec()], "malformed_signature"),
        ("too many responses", &cert, vec![good(root, &cert); 17], "malformed_signature"),
    ];
    for (name, cert, ocsp, expected) in cases {
        assert_eq!(code(scene.signer(cert, &[], &ocsp)), expected, "{name}");
    }
}

#[test]
fn the_configuration_decides_about_signers() {
    let mut scene = Scene::new();
    let cert = scene.leaf(&scene.root, Role::Signing, |_| {});
    let ocsp = [good(&scene.root, &cert)];
    let mut other = scene.member.clone();
    other.instance = "YY".to_owned();
    let elsewhere = signer(&scene.conf(), &cert, &[], &ocsp, &other, NOW);
    assert!(matches!(elsewhere, Err(TrustError::UnknownIssuer { .. })), "{elsewhere:?}");
    scene.authentication_only = true;
    assert!(matches!(scene.signer(&cert, &[], &ocsp), Err(TrustError::AuthenticationOnly { .. })));
    scene.authentication_only = false;
    scene.profile = "org.example.Unknown".to_owned();
    assert!(matches!(scene.signer(&cert, &[], &ocsp), Err(TrustError::NoProfile { .. })));
}

/// A responder that only the configuration makes one.
#[test]
fn configured_responders_may_answer() {
    let mut scene = Scene::new();
    let cert = scene.leaf(&scene.root, Role::Signing, |_| {});
    let other = TestCa::named("Outside", PrivateKey::generate(KeyKind::P256).unwrap());
    let about = Answer::about(&cert, &scene.root.cert, Status::Good, NOW, None).unwrap();
    let algorithm = other.key.default_algorithm();
    let by = Responder { cert: &other.cert, key: &other.key, named_by: NamedBy::Key, algorithm };
    let ocsp = [respond(&[about], by, NOW).unwrap()];
    assert_eq!(code(scene.signer(&cert, &[], &ocsp)), "invalid_cert_path.incorrect_validation_info");
    scene.responders = vec![other.cert.clone()];
    assert_eq!(code(scene.signer(&cert, &[], &ocsp)), "good");
}

/// Through an intermediate: the configuration knows it, or the chain ends below the root.
#[test]
fn peers_through_an_intermediate() {
    let mut scene = Scene::new();
    let leaf = scene.leaf(&scene.middle, Role::Authentication, |_| {});
    scene.registered = vec![leaf.clone()];
    let chain = [leaf.clone(), scene.middle.cert.clone()];
    let (of_leaf, of_middle) = (good(&scene.middle, &leaf), good(&scene.root, &scene.middle.cert));
    let both = [of_leaf.clone(), of_middle.clone()];
    let needs = "ssl_authentication_failed.invalid_cert_path.cert_validation";
    assert_eq!(tls_code(scene.peer(&chain, &both)), "good");
    assert_eq!(tls_code(scene.peer(&chain, slice::from_ref(&of_leaf))), needs);
    assert_eq!(tls_code(scene.peer(&chain, &[of_middle])), needs);
    let revoked = answer(&scene.root, &scene.middle.cert, Status::Revoked, NOW);
    assert_eq!(tls_code(scene.peer(&chain, &[of_leaf.clone(), revoked])), needs);
    assert_eq!(tls_code(scene.peer(&chain[..1], &both)), "internal_error");
    scene.lists_middle = true;
    assert_eq!(tls_code(scene.peer(&chain[..1], slice::from_ref(&of_leaf))), "good");
    // A stranger at the end of the chain does not help, nor does it harm.
    let stranger = TestCa::named("Unknown CA", PrivateKey::generate(KeyKind::P256).unwrap());
    assert_eq!(tls_code(scene.peer(&[leaf, stranger.cert], &[of_leaf])), "good");
}

#[test]
fn peers_that_are_refused() {
    let mut scene = Scene::new();
    let root = &scene.root;
    let leaf = scene.leaf(root, Role::Authentication, |_| {});
    let unregistered = scene.leaf(root, Role::Authentication, |_| {});
    let signing = scene.leaf(root, Role::Signing, |_| {});
    let no_usage = scene.leaf(root, Role::Authority(0), |_| {});
    let expired = scene.leaf(root, Role::Authentication, |template| template.not_after = NOW.minus(DAY));
    let failed = "ssl_authentication_failed";
    let validation = "ssl_authentication_failed.invalid_cert_path";
    let cases = [
        ("good", vec![leaf.clone()], vec![good(root, &leaf)], "good".to_owned()),
        ("no certificate", vec![], vec![good(root, &leaf)], failed.to_owned()),
        ("no answer at all", vec![leaf.clone()], vec![], failed.to_owned()),
        (
            "answer for another",
            vec![leaf.clone()],
            vec![good(root, &signing)],
            format!("{validation}.cert_validation"),
        ),
        ("garbage", vec![leaf.clone()], vec![b"garbage".to_vec()], "io_error".to_owned()),
        ("not registered", vec![unregistered.clone()], vec![good(root, &unregistered)], failed.to_owned()),
        ("for signing", vec![signing.clone()], vec![good(root, &signing)], failed.to_owned()),
        ("a CA", vec![no_usage.clone()], vec![good(root, &no_usage)], failed.to_owned()),
        (
            "expired",
            vec![expired.clone()],
            vec![good(root, &expired)],
            format!("{failed}.cannot_create_cert_path.internal_error"),
        ),
        (
            "old answer",
            vec![leaf.clone()],
            vec![answer(root, &leaf, Status::Good, NOW.minus(DAY))],
            format!("{validation}.incorrect_validation_info"),
        ),
    ];
    scene.registered = vec![leaf.clone(), signing, expired];
    for (name, chain, ocsp, expected) in cases {
        assert_eq!(tls_code(scene.peer(&chain, &ocsp)), expected, "{name}");
    }
    let ocsp = [good(&scene.root, &leaf)];
    let other = ClientId { member: scene.member.clone(), subsystem: Some("OTHER".to_owned()) };
    let found = tls_peer(&scene.conf(), slice::from_ref(&leaf), &ocsp, &other, NOW);
    assert!(matches!(found, Err(TrustError::NotClient { .. })), "{found:?}");
    let owner = ClientId { member: scene.member.clone(), subsystem: None };
    assert!(tls_peer(&scene.conf(), &[leaf], &ocsp, &owner, NOW).is_ok());
}

/// Two federated instances may have registered one certificate, each for a server of its own.
#[test]
fn the_instance_of_the_client_says_whose_the_certificate_is() {
    let mut scene = Scene::new();
    let leaf = scene.leaf(&scene.root, Role::Authentication, |_| ());
    scene.registered = vec![leaf.clone()];
    let mut other = scene.parameters();
    other.instance = "YY".to_owned();
    let there = MemberId { instance: "YY".to_owned(), class: "GOV".to_owned(), code: "9".to_owned() };
    let guest = ClientId { member: there.clone(), subsystem: Some("GUEST".to_owned()) };
    other.members[0] = Member {
        id: there.clone(),
        subsystems: vec![("GUEST".to_owned(), None)],
        ..other.members[0].clone()
    };
    other.servers[0].id = ServerId { owner: there, code: "SS9".to_owned() };
    other.servers[0].clients = vec![guest.clone()];
    let ocsp = [good(&scene.root, &leaf)];
    for main in ["XX", "YY"] {
        let conf = Builder::new(main)
            .instance(Instance::new(scene.parameters(), 6).unwrap().into(), None)
            .instance(Instance::new(other.clone(), 6).unwrap().into(), None)
            .build()
            .unwrap();
        for client in [&scene.client, &guest] {
            let found = tls_peer(&conf, slice::from_ref(&leaf), &ocsp, client, NOW);
            assert!(found.is_ok(), "{client} in the configuration of {main}: {found:?}");
        }
        assert_eq!(conf.server_of(&leaf, "ZZ"), None);
    }
}
