//! A token's life, and the snapshot it gives for keys, certificates, OCSP answers and configuration of a small instance.

use bytes::Bytes;
use pki::csr;
use pki::issue::{self, Role, Template};
use pki::name::{COMMON_NAME, COUNTRY, ORGANIZATION};
use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};
use pki::ocsp::{Response, Status};
use proto::globalconf::shared_parameters::{
    ApprovedCa, CaInfo, Member, OcspInfo, SecurityServer, SharedParameters, Source,
};
use proto::id::ClientId;

use super::*;

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);
const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const PIN: &str = "correct horse";

/// A folder with a new token.
pub(crate) fn new_token() -> (tempfile::TempDir, SoftwareSigner) {
    let dir = tempfile::tempdir().unwrap();
    let signer = SoftwareSigner::create(&dir.path().join("keys"), "a token", PIN).unwrap();
    (dir, signer)
}

fn member(code: &str) -> MemberId {
    MemberId { instance: "XX".to_owned(), class: "GOV".to_owned(), code: code.to_owned() }
}

/// A CA, and the server whose keys are looked after.
pub(crate) struct Scene {
    pub(crate) ca: Certificate,
    ca_key: PrivateKey,
    middle: Certificate,
    middle_key: PrivateKey,
    pub(crate) server: ServerId,
    pub(crate) registered: Vec<Certificate>,
    pub(crate) ocsp_url: String,
    serial: std::cell::Cell<u8>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let (ca_key, middle_key) = (p256(), p256());
        let ca = issue::self_signed(&template(&subject("CA"), Role::Authority(1), &[1]), &ca_key).unwrap();
        let named = subject("Middle");
        let middle = template(&named, Role::Authority(0), &[2]);
        let middle = issue::issue(&middle, middle_key.public_key(), &ca, &ca_key).unwrap();
        let server = ServerId { owner: member("1"), code: "SS1".to_owned() };
        let (registered, ocsp_url) = (vec![], String::new());
        Self { ca, ca_key, middle, middle_key, server, registered, ocsp_url, serial: 3.into() }
    }
    /// A certificate of `code` by the intermediate.
    pub(crate) fn issue(&self, code: &str, role: Role, spki: &[u8]) -> Certificate {
        self.serial.set(self.serial.get() + 1);
        let key = pki::public_key::PublicKey::from_spki(spki).unwrap();
        let serial = [self.serial.get()];
        issue::issue(&template(&subject(code), role, &serial), &key, &self.middle, &self.middle_key).unwrap()
    }
    /// What the CA or the intermediate says about `cert`.
    pub(crate) fn say(&self, cert: &Certificate, status: Status, this_update: UnixTime) -> Vec<u8> {
        let (issuer, key) =
            if *cert == self.middle { (&self.ca, &self.ca_key) } else { (&self.middle, &self.middle_key) };
        let answer = Answer::about(cert, issuer, status, this_update, None).unwrap();
        let algorithm = key.default_algorithm();
        respond(&[answer], Responder { cert: issuer, key, named_by: NamedBy::Key, algorithm }, this_update)
            .unwrap()
    }
    /// Keeps good answers for `certs` and the intermediate.
    pub(crate) fn answer(&self, signer: &dyn TokenService, certs: &[&Certificate], at: UnixTime) {
        for cert in certs.iter().copied().chain([&self.middle]) {
            let response = Response::parse(&self.say(cert, Status::Good, at)).unwrap();
            signer.derived().ocsp().put(cert, response).unwrap();
        }
    }
    pub(crate) fn middle(&self) -> &Certificate {
        &self.middle
    }
    pub(crate) fn conf(&self) -> GlobalConf {
        let info = || vec![OcspInfo { url: self.ocsp_url.clone(), ..OcspInfo::default() }];
        let ca = |cert: &Certificate| CaInfo { cert: cert.der().to_vec(), ocsp: info() };
        let client = ClientId { member: member("1"), subsystem: Some("SUB".to_owned()) };
        let parameters = SharedParameters {
            instance: "XX".to_owned(),
            sources: vec![Source::default()],
            approved_cas: vec![ApprovedCa {
                name: "CA".to_owned(),
                top: ca(&self.ca),
                intermediates: vec![ca(&self.middle)],
                profile: pki::profile::Profile::Ejbca.class_name(),
                ..ApprovedCa::default()
            }],
            members: vec![Member {
                id: member("1"),
                class_description: String::new(),
                name: "One".to_owned(),
                subsystems: vec![("SUB".to_owned(), None)],
            }],
            servers: vec![SecurityServer {
                id: self.server.clone(),
                address: Some("ss1".to_owned()),
                auth_cert_hashes: self.registered.iter().map(|cert| cert.sha256().to_vec()).collect(),
                clients: vec![client],
                maintenance: None,
            }],
            ocsp_freshness_seconds: 3600,
            ..SharedParameters::default()
        };
        let instance = pki::globalconf::Instance::new(parameters, 6).unwrap();
        pki::globalconf::Builder::new("XX").instance(instance.into(), None).build().unwrap()
    }
}

fn p256() -> PrivateKey {
    PrivateKey::generate(KeyKind::P256).unwrap()
}

fn subject(code: &str) -> Subject {
    [(COUNTRY, "XX"), (ORGANIZATION, "GOV"), (COMMON_NAME, code)]
        .map(|(oid, value)| (oid, value.to_owned()))
        .to_vec()
}

fn template<'a>(subject: &'a Subject, role: Role, serial: &'a [u8]) -> Template<'a> {
    Template {
        subject,
        role,
        serial,
        not_before: NOW.minus(DAY),
        not_after: NOW.plus(DAY * 365),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    }
}

/// An authentication key and a signing key of member 1 with certificates, all in use.
pub(crate) fn furnished(scene: &mut Scene) -> (tempfile::TempDir, SoftwareSigner, Certificate, Certificate) {
    let (dir, signer) = new_token();
    let (authentication, signing) = (p256(), p256());
    let auth_cert = scene.issue("SS1", Role::Authentication, &authentication.spki());
    let sign_cert = scene.issue("1", Role::Signing, &signing.spki());
    scene.registered = vec![auth_cert.clone()];
    signer.import_pair("auth", authentication, &auth_cert, None).unwrap();
    signer.import_pair("sign", signing, &sign_cert, Some(member("1"))).unwrap();
    (dir, signer, auth_cert, sign_cert)
}

#[test]
fn a_token_survives_a_restart() {
    let (dir, signer) = new_token();
    let path = dir.path().join("keys");
    assert!(matches!(SoftwareSigner::create(&path, "again", PIN), Err(TokenError::Exists(_))));
    let ids: Vec<_> = [KeyKind::Rsa(2048), KeyKind::P256, KeyKind::P384]
        .map(|kind| signer.generate(KeyUsage::Signing, kind, "key").unwrap())
        .into();
    let algorithm = |kind: &KeyInfo| {
        let kind = pki::public_key::PublicKey::from_spki(&kind.spki).unwrap().key_type().unwrap();
        match kind {
            pki::public_key::KeyType::Rsa(_) => SignatureAlgorithm::from_jca_name("SHA512withRSA").unwrap(),
            pki::public_key::KeyType::Ec(_) => SignatureAlgorithm::from_jca_name("SHA512withECDSA").unwrap(),
        }
    };
    drop(signer);
    let signer = SoftwareSigner::open(&path).unwrap();
    assert_eq!(signer.keys().iter().map(|key| key.id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(signer.label(), "a token");
    for info in signer.keys() {
        let sign =
            || signer.sign_blocking(&info.id, Purpose::Message, algorithm(&info), EcdsaForm::Der, b"message");
        signer.logout();
        assert_eq!(sign(), Err(SignerError::LoggedOut));
        signer.login(PIN, NOW).unwrap();
        let key = pki::public_key::PublicKey::from_spki(&info.spki).unwrap();
        let strength = pki::public_key::Strength::Current;
        key.verify(algorithm(&info), EcdsaForm::Der, strength, b"message", &sign().unwrap()).unwrap();
    }
    signer.delete_key(&ids[0]).unwrap();
    drop(signer);
    assert_eq!(SoftwareSigner::open(&path).unwrap().keys().len(), 2);
    let files = std::fs::read_dir(&path)
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "key"));
    assert_eq!(files.count(), 2);
    assert!(matches!(SoftwareSigner::open(dir.path()), Err(TokenError::Missing(_))));
}

/// Wrong PINs cost time, also to who comes with the right one too early; the right one in time forgets them.
#[test]
fn wrong_pins_have_to_wait() {
    let (_dir, signer) = new_token();
    signer.logout();
    let mut at = NOW;
    for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(matches!(signer.login("wrong", at), Err(TokenError::WrongPin)));
        let early = at.plus(Duration::from_millis(delay * 1000 - 1));
        assert!(matches!(signer.login(PIN, early), Err(TokenError::Locked { .. })), "{delay}");
        assert!(!signer.is_logged_in());
        at = at.plus(Duration::from_secs(delay));
    }
    signer.login(PIN, at).unwrap();
    assert!(matches!(signer.login("wrong", at), Err(TokenError::WrongPin)));
    assert!(signer.is_logged_in(), "a wrong PIN does not log out");
    assert!(matches!(signer.login(PIN, at), Err(TokenError::Locked { seconds: 1 })));
}

#[test]
fn a_new_pin_replaces_the_old_one() {
    let (dir, signer) = new_token();
    let key = signer.generate(KeyUsage::Configuration, KeyKind::P256, "key").unwrap();
    assert!(matches!(signer.change_pin(PIN, "", NOW), Err(TokenError::EmptyPin)));
    signer.change_pin(PIN, "new", NOW).unwrap();
    let signer = SoftwareSigner::open(&dir.path().join("keys")).unwrap();
    assert!(matches!(signer.login(PIN, NOW), Err(TokenError::WrongPin)));
    signer.login("new", NOW.plus(DAY)).unwrap();
    let algorithm = SignatureAlgorithm::from_jca_name("SHA512withECDSA").unwrap();
    signer.sign_blocking(&key, Purpose::Configuration, algorithm, EcdsaForm::Der, b"directory").unwrap();
}

#[tokio::test]
async fn keys_sign_for_their_purpose_only() {
    let (_dir, signer) = new_token();
    let algorithm = SignatureAlgorithm::from_jca_name("SHA512withECDSA").unwrap();
    for usage in [KeyUsage::Authentication, KeyUsage::Signing, KeyUsage::Configuration] {
        let key = signer.generate(usage, KeyKind::P256, "key").unwrap();
        for purpose in [
            Purpose::Message,
            Purpose::ManagementRequest,
            Purpose::Registration,
            Purpose::Csr,
            Purpose::Configuration,
        ] {
            let made =
                signer.sign(&key, purpose, algorithm, EcdsaForm::Raw, Bytes::from_static(b"message")).await;
            match usage.allows(purpose) {
                true => assert_eq!(made.unwrap().len(), 64),
                false => assert_eq!(made, Err(SignerError::Purpose { key: key.clone(), purpose })),
            }
        }
        let rsa = SignatureAlgorithm::from_jca_name("SHA512withRSA").unwrap();
        let purpose = [Purpose::Message, Purpose::Registration, Purpose::Configuration]
            .into_iter()
            .find(|purpose| usage.allows(*purpose))
            .unwrap();
        let misfit = signer.sign(&key, purpose, rsa, EcdsaForm::Der, Bytes::new()).await;
        assert!(matches!(misfit, Err(SignerError::Failed(_))), "{misfit:?}");
    }
    let unknown =
        signer.sign(&"AB".to_owned(), Purpose::Message, algorithm, EcdsaForm::Der, Bytes::new()).await;
    assert_eq!(unknown, Err(SignerError::NoKey("AB".to_owned())));
}

#[test]
fn certificates_go_to_keys_they_fit() {
    let scene = Scene::new();
    let (_dir, signer) = new_token();
    let auth = signer.generate(KeyUsage::Authentication, KeyKind::P256, "auth").unwrap();
    let sign = signer.generate(KeyUsage::Signing, KeyKind::P256, "sign").unwrap();
    let spki = |id: &KeyId| signer.keys().into_iter().find(|key| key.id == *id).unwrap().spki;
    let sign_cert = scene.issue("1", Role::Signing, &spki(&sign));
    let auth_cert = scene.issue("SS1", Role::Authentication, &spki(&auth));
    let import = |cert: &Certificate, member| signer.import_certificate(cert, member, CertStatus::Saved);
    let swapped = scene.issue("1", Role::Signing, &spki(&auth));
    assert!(matches!(
        import(&swapped, Some(member("1"))),
        Err(TokenError::Usage { wanted: "authentication" })
    ));
    let swapped = scene.issue("1", Role::Authentication, &spki(&sign));
    assert!(matches!(import(&swapped, Some(member("1"))), Err(TokenError::Usage { wanted: "signing" })));
    assert!(matches!(import(&sign_cert, None), Err(TokenError::Member(_))));
    assert!(matches!(import(&auth_cert, Some(member("1"))), Err(TokenError::Member(_))));
    assert!(matches!(import(scene.middle(), None), Err(TokenError::ForeignCertificate)));
    assert_eq!(import(&sign_cert, Some(member("1"))).unwrap(), sign);
    assert_eq!(import(&auth_cert, None).unwrap(), auth);
    assert!(matches!(import(&auth_cert, None), Err(TokenError::CertificateExists)));
    let states: Vec<_> = signer.keys().iter().map(|key| (key.certs[0].status, key.certs[0].active)).collect();
    assert_eq!(states, [(CertStatus::Saved, false), (CertStatus::Registered, true)]);
    let id = signer.keys()[0].certs[0].id();
    signer.set_active(&id, true).unwrap();
    signer.set_status(&id, CertStatus::DeletionInProgress).unwrap();
    signer.delete_certificate(&id).unwrap();
    assert!(matches!(signer.delete_certificate(&id), Err(TokenError::NoCertificate(_))));
    assert!(signer.keys()[0].certs.is_empty());
}

/// What `apply` does, twice.
#[test]
fn importing_a_pair_again_changes_nothing() {
    let mut scene = Scene::new();
    let (_dir, signer, auth_cert, _) = furnished(&mut scene);
    let other = p256();
    assert!(matches!(signer.import_pair("x", other, &auth_cert, None), Err(TokenError::ForeignCertificate)));
    let before = format!("{:?}", signer.keys());
    let key = p256();
    let cert = scene.issue("2", Role::Signing, &key.spki());
    let again = PrivateKey::from_pkcs8(&key.to_pkcs8()).unwrap();
    let id = signer.import_pair("two", key, &cert, Some(member("2"))).unwrap();
    assert_eq!(signer.import_pair("another label", again, &cert, Some(member("2"))).unwrap(), id);
    signer.delete_key(&id).unwrap();
    assert_eq!(format!("{:?}", signer.keys()), before);
}

#[test]
fn requests_are_made_for_keys_that_get_certificates() {
    let (_dir, signer) = new_token();
    let key = signer.generate(KeyUsage::Signing, KeyKind::P256, "sign").unwrap();
    let der = signer.csr(&key, &subject("1"), &[]).unwrap();
    let request = csr::Request::parse(&der).unwrap();
    assert_eq!(
        (request.subject.rfc2253(), request.key.spki()),
        ("CN=1,O=GOV,C=XX", &signer.keys()[0].spki[..])
    );
    let configuration = signer.generate(KeyUsage::Configuration, KeyKind::P256, "conf").unwrap();
    assert!(matches!(signer.csr(&configuration, &subject("1"), &[]), Err(TokenError::Usage { .. })));
    signer.logout();
    assert!(matches!(signer.csr(&key, &subject("1"), &[]), Err(TokenError::LoggedOut)));
    assert!(matches!(signer.generate(KeyUsage::Signing, KeyKind::P256, "x"), Err(TokenError::LoggedOut)));
}

/// Both kinds of token: requests are remembered under an id, a key without a usage gets the first request's.
pub(crate) fn requests_are_remembered(token: &dyn TokenService, scene: &Scene) {
    let key = token.generate(KeyUsage::Unassigned, KeyKind::P256, "label").unwrap();
    let info = || token.keys().into_iter().find(|info| info.id == key).unwrap();
    token.rename(Some(&key), "name").unwrap();
    token.rename(None, "another token").unwrap();
    let here = info();
    assert_eq!(
        (here.label.as_str(), here.name.as_str(), here.usage),
        ("label", "name", KeyUsage::Unassigned)
    );
    assert_eq!(token.label(), "another token");
    assert!(matches!(token.rename(Some(&"AB".to_owned()), "x"), Err(TokenError::NoKey(_))));
    let request = |code: &str| CsrRequest {
        member: Some(member(code)),
        profile: "x.Y".to_owned(),
        subject: subject(code),
        dns_names: vec!["a.xx".to_owned()],
    };
    let one = token.request_certificate(&key, KeyUsage::Signing, request("1")).unwrap();
    let two = token.request_certificate(&key, KeyUsage::Signing, request("2")).unwrap();
    assert!(
        token.request_certificate(&key, KeyUsage::Authentication, request("1")).is_err(),
        "it is for signing"
    );
    let here = info();
    assert_eq!((here.usage, here.csrs.len()), (KeyUsage::Signing, 2));
    assert_eq!((&here.csrs[0].id, &here.csrs[0].request), (&one, &request("1")));
    let der = token.write_csr(&key, &one).unwrap();
    assert_eq!(csr::Request::parse(&der).unwrap().subject.rfc2253(), "CN=1,O=GOV,C=XX");
    assert!(matches!(token.write_csr(&key, "AB"), Err(TokenError::NoCsr(_))));
    // The certificate of one member fulfils that member's request.
    let cert = scene.issue("1", Role::Signing, &here.spki);
    token.import_certificate(&cert, Some(member("1")), CertStatus::Saved).unwrap();
    assert_eq!(info().csrs.iter().map(|csr| &csr.id).collect::<Vec<_>>(), [&two]);
    token.delete_csr(&two).unwrap();
    assert!(matches!(token.delete_csr(&two), Err(TokenError::NoCsr(_))));
    // A certificate says what an undecided key is for, and the key then does it.
    let other = token.generate(KeyUsage::Unassigned, KeyKind::P256, "").unwrap();
    let spki = token.keys().into_iter().find(|info| info.id == other).unwrap().spki;
    let cert = scene.issue("ss", Role::Authentication, &spki);
    token.import_certificate(&cert, None, CertStatus::Saved).unwrap();
    assert_eq!(token.keys().last().unwrap().usage, KeyUsage::Authentication);
    token.csr(&other, &subject("ss"), &[]).unwrap();
}

#[test]
fn requests_are_remembered_over_a_restart() {
    let (dir, signer) = new_token();
    requests_are_remembered(&signer, &Scene::new());
    let keys = format!("{:?}", signer.keys());
    let again = SoftwareSigner::open(&dir.path().join("keys")).unwrap();
    assert_eq!(format!("{:?}", again.keys()), keys);
}

/// A certificate comes into the snapshot when everything is there, and leaves it when anything goes.
#[test]
fn the_snapshot_holds_what_can_be_used() {
    let mut scene = Scene::new();
    let (_dir, signer, auth_cert, sign_cert) = furnished(&mut scene);
    let certs = [&auth_cert, &sign_cert];
    let at = |now: UnixTime| {
        signer.refresh(&scene.conf(), Some(&scene.server), now);
        let own = signer.own_keys();
        (own.auth.is_some(), own.signing.contains_key(&member("1")), own.ocsp_by_sha1.len())
    };
    assert_eq!(at(NOW), (false, false, 0), "no OCSP answers");
    scene.answer(&signer, &certs, NOW);
    assert_eq!(at(NOW), (true, true, 3));
    let freshness = Duration::from_secs(3600);
    let own = signer.own_keys();
    let (auth, sign) = (own.auth.as_ref().unwrap(), &own.signing[&member("1")]);
    assert_eq!((auth.until, sign.until), (NOW.plus(freshness), NOW.plus(freshness)));
    assert_eq!(auth.chain, [auth_cert.clone(), scene.middle().clone()]);
    assert_eq!((&sign.cert, &sign.intermediates), (&sign_cert, &vec![scene.middle().clone()]));
    assert_eq!((auth.ocsp.len(), sign.ocsp.len(), auth.certified.cert.len()), (2, 2, 2));
    assert!(own.ocsp_by_sha1.contains_key(&hex::encode(scene.middle().sha1())));
    assert_eq!(at(NOW.plus(freshness)), (true, true, 3));
    assert_eq!(at(NOW.plus(freshness + Duration::from_secs(1))), (false, false, 0), "answers are stale");
    // An older answer does not replace a newer one.
    scene.answer(&signer, &certs, NOW.minus(DAY));
    assert_eq!(at(NOW), (true, true, 3));
    signer.set_active(&hex::encode(sign_cert.sha256()), false).unwrap();
    assert_eq!(at(NOW), (true, false, 2));
    signer.set_active(&hex::encode(sign_cert.sha256()), true).unwrap();
    scene.answer(&signer, &certs, NOW.plus(DAY * 366));
    assert_eq!(at(NOW.plus(DAY * 366)), (false, false, 0), "certificates have expired");
}

#[test]
fn only_a_certificate_of_this_server_is_for_tls() {
    let mut scene = Scene::new();
    let (_dir, signer, auth_cert, sign_cert) = furnished(&mut scene);
    scene.answer(&signer, &[&auth_cert, &sign_cert], NOW);
    let other = ServerId { owner: member("1"), code: "SS2".to_owned() };
    for (server, expected) in [(Some(&scene.server), true), (Some(&other), false), (None, false)] {
        signer.refresh(&scene.conf(), server, NOW);
        assert_eq!(signer.own_keys().auth.is_some(), expected);
    }
}

/// Log-out takes the identities away; a TLS configuration that still holds the key signs no more.
#[test]
fn log_out_stops_everything() {
    let mut scene = Scene::new();
    let (_dir, signer, auth_cert, sign_cert) = furnished(&mut scene);
    scene.answer(&signer, &[&auth_cert, &sign_cert], NOW);
    signer.refresh(&scene.conf(), Some(&scene.server), NOW);
    let certified = Arc::clone(&signer.own_keys().auth.as_ref().unwrap().certified);
    let offered = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
    assert!(certified.key.choose_scheme(&offered).unwrap().sign(b"handshake").is_ok());
    signer.logout();
    assert!(certified.key.choose_scheme(&offered).is_none());
    let own = signer.own_keys();
    assert!(own.auth.is_none() && own.signing.is_empty());
    assert_eq!(own.ocsp_by_sha1.len(), 3, "answers are still served");
    signer.refresh(&scene.conf(), Some(&scene.server), NOW);
    assert!(signer.own_keys().auth.is_none() && signer.own_keys().ocsp_by_sha1.len() == 3);
}

/// How the configuration moves the state of a certificate.
#[test]
fn states_follow_the_configuration() {
    use CertStatus::{DeletionInProgress, GlobalError, Registered, RegistrationInProgress, Saved};
    let mut scene = Scene::new();
    let (_dir, signer, auth_cert, _) = furnished(&mut scene);
    let id = hex::encode(auth_cert.sha256());
    let cases = [
        (Saved, true, Registered),
        (Saved, false, Saved),
        (RegistrationInProgress, true, Registered),
        (RegistrationInProgress, false, RegistrationInProgress),
        (Registered, true, Registered),
        (Registered, false, GlobalError),
        (GlobalError, true, Registered),
        (GlobalError, false, GlobalError),
        (DeletionInProgress, true, DeletionInProgress),
        (DeletionInProgress, false, DeletionInProgress),
    ];
    for (before, listed, after) in cases {
        scene.registered = if listed { vec![auth_cert.clone()] } else { vec![] };
        signer.set_status(&id, before).unwrap();
        signer.set_active(&id, false).unwrap();
        let changed = signer.align(&scene.conf(), &scene.server, true).unwrap();
        let cert = signer.keys()[0].certs[0].clone();
        assert_eq!(
            (cert.status, changed),
            (after, usize::from(before != after)),
            "{before:?} listed: {listed}"
        );
        assert_eq!(cert.active, before == RegistrationInProgress && listed, "{before:?}");
    }
}
