//! Answers made by our own responder, judged; and what the `openssl` program says to our bytes.

use der::asn1::{Any, BitString, OctetString};

use super::respond::{Answer, NamedBy, Responder, read_request, refuse, respond};
use super::*;
use crate::issue::Role;
use crate::key::PrivateKey;
use crate::public_key::SHA1_END;
use crate::test_pki::{DAY, NOW, TestCa, rsa_key};

const MINUTE: Duration = Duration::from_secs(60);
const RULES: Rules = Rules {
    freshness: Duration::from_secs(3600),
    verify_next_update: true,
    future_tolerance: Some(Duration::from_secs(300)),
};

/// A CA, a certificate of it, and its delegated responder.
struct Scene {
    ca: TestCa,
    cert: Certificate,
    responder: (Certificate, PrivateKey),
}

impl Scene {
    fn new() -> Self {
        let ca = TestCa::root();
        let cert = ca.issue("leaf", Role::Signing).0;
        let responder = ca.issue("responder", Role::OcspResponder);
        Self { ca, cert, responder }
    }
    fn by<'a>(cert: &'a Certificate, key: &'a PrivateKey) -> Responder<'a> {
        Responder { cert, key, named_by: NamedBy::Key, algorithm: key.default_algorithm() }
    }
    fn answer(&self, status: Status, this_update: UnixTime, next_update: Option<UnixTime>) -> Response {
        self.answer_by(Self::by(&self.responder.0, &self.responder.1), status, this_update, next_update)
    }
    fn answer_by(
        &self,
        responder: Responder<'_>,
        status: Status,
        this_update: UnixTime,
        next_update: Option<UnixTime>,
    ) -> Response {
        let answer = Answer::about(&self.cert, &self.ca.cert, status, this_update, next_update).unwrap();
        Response::parse(&respond(&[answer], responder, NOW).unwrap()).unwrap()
    }
    fn verify(&self, response: &Response) -> Result<Good, OcspError> {
        response.verify(&self.cert, &self.ca.cert, NOBODY, &RULES, NOW)
    }
    fn judge(&self, answers: &[Response]) -> Result<UnixTime, OcspError> {
        judge(answers, &self.cert, &self.ca.cert, NOBODY, &RULES, NOW).map(|good| good.this_update)
    }
}

const NOBODY: Responders<'static> = Responders { configured: &[], known: &[] };

/// Both ends of every time rule, and every status.
#[test]
fn times_and_status_decide() {
    let scene = Scene::new();
    let (freshness, tolerance) = (RULES.freshness, Duration::from_secs(300));
    let second = Duration::from_secs(1);
    let cases = [
        ("fresh", Status::Good, NOW.minus(MINUTE), None, None),
        ("as old as allowed", Status::Good, NOW.minus(freshness), None, None),
        ("older", Status::Good, NOW.minus(freshness + second), None, Some(OcspError::TooOld)),
        ("ahead as allowed", Status::Good, NOW.plus(tolerance), None, None),
        ("further ahead", Status::Good, NOW.plus(tolerance + second), None, Some(OcspError::FromTheFuture)),
        ("next just now", Status::Good, NOW.minus(MINUTE), Some(NOW), None),
        ("next over", Status::Good, NOW.minus(MINUTE), Some(NOW.minus(second)), Some(OcspError::Superseded)),
        ("revoked", Status::Revoked, NOW, None, Some(OcspError::NotGood(Status::Revoked))),
        ("unknown", Status::Unknown, NOW, None, Some(OcspError::NotGood(Status::Unknown))),
        ("revoked and old", Status::Revoked, NOW.minus(DAY), None, Some(OcspError::TooOld)),
    ];
    for (name, status, this, next, expected) in cases {
        let found = scene.verify(&scene.answer(status, this, next)).err();
        assert_eq!(found, expected, "{name}");
    }
    let lax = Rules { verify_next_update: false, future_tolerance: None, ..RULES };
    let odd = scene.answer(Status::Good, NOW.plus(DAY * 2), Some(NOW.minus(DAY)));
    assert!(odd.verify(&scene.cert, &scene.ca.cert, NOBODY, &lax, NOW).is_ok());
}

#[test]
fn says_how_long_to_believe() {
    let scene = Scene::new();
    for (next, expected) in [
        (None, NOW.plus(RULES.freshness)),
        (Some(NOW.plus(MINUTE)), NOW.plus(MINUTE)),
        (Some(NOW.plus(DAY)), NOW.plus(RULES.freshness)),
    ] {
        let answer = scene.answer(Status::Good, NOW, next);
        let good = scene.verify(&answer).unwrap();
        assert_eq!((good.believe_until, good.next_update, good.produced_at), (expected, next, NOW));
        let at = |at| answer.verify(&scene.cert, &scene.ca.cert, NOBODY, &RULES, at);
        assert!(at(expected).is_ok());
        assert!(at(expected.plus(Duration::from_millis(1))).is_err());
    }
}

/// The CA, its delegate and configured responders may answer, whatever way they name themselves; nobody else may.
#[test]
fn only_the_authorised_answer() {
    let scene = Scene::new();
    let other_ca = TestCa::named("Another CA", rsa_key());
    let foreign = other_ca.issue("responder", Role::OcspResponder);
    let namesake = TestCa::root();
    let forged = namesake.issue("responder", Role::OcspResponder);
    let no_usage = scene.ca.issue("no usage", Role::Signing);
    let expired_key = PrivateKey::generate(crate::key::KeyKind::P256).unwrap();
    let expired = scene.ca.certify(
        &vec![(crate::name::COMMON_NAME, "expired".to_owned())],
        Role::OcspResponder,
        &expired_key,
        |template| template.not_after = NOW.minus(DAY),
    );
    let refused = Some(OcspError::NotAuthorised);
    let cases = [
        ("delegate", &scene.responder.0, &scene.responder.1, None),
        ("the CA", &scene.ca.cert, &scene.ca.key, None),
        ("another CA", &other_ca.cert, &other_ca.key, refused.clone()),
        ("another CA's delegate", &foreign.0, &foreign.1, refused.clone()),
        ("delegate of a CA with the same name", &forged.0, &forged.1, refused.clone()),
        ("without the usage", &no_usage.0, &no_usage.1, refused.clone()),
        ("expired delegate", &expired, &expired_key, refused),
        ("another's key", &scene.responder.0, &foreign.1, Some(OcspError::Signature)),
    ];
    for (name, cert, key, expected) in cases {
        for named_by in [NamedBy::Name, NamedBy::Key] {
            let responder = Responder { named_by, ..Scene::by(cert, key) };
            let found = scene.verify(&scene.answer_by(responder, Status::Good, NOW, None)).err();
            assert_eq!(found, expected, "{name} named by {named_by:?}");
        }
    }
    let configured = [foreign.0.clone()];
    let answer = scene.answer_by(Scene::by(&foreign.0, &foreign.1), Status::Good, NOW, None);
    let responders = Responders { configured: &configured, known: &[] };
    assert!(answer.verify(&scene.cert, &scene.ca.cert, responders, &RULES, NOW).is_ok());
}

#[test]
fn refuses_answers_for_others() {
    let scene = Scene::new();
    let answer = scene.answer(Status::Good, NOW, None);
    let sibling = scene.ca.issue("sibling", Role::Signing).0;
    let namesake = TestCa::root();
    for (cert, issuer) in
        [(&sibling, &scene.ca.cert), (&scene.cert, &namesake.cert), (&scene.cert, &scene.cert)]
    {
        assert!(!answer.is_for(cert, issuer));
        let found = answer.verify(cert, issuer, NOBODY, &RULES, NOW).err();
        assert_eq!(found, Some(OcspError::OtherCertificate));
    }
}

/// Of several answers for one certificate the bad one decides, then the newest; answers for others do not matter.
#[test]
fn the_worst_answer_decides() {
    let scene = Scene::new();
    let good = |age: u32| scene.answer(Status::Good, NOW.minus(MINUTE * age), None);
    let stale = scene.answer(Status::Good, NOW.minus(DAY), None);
    let revoked = scene.answer(Status::Revoked, NOW.minus(MINUTE * 5), None);
    let other_ca = TestCa::named("Another CA", rsa_key());
    let forged = scene.answer_by(Scene::by(&other_ca.cert, &other_ca.key), Status::Good, NOW, None);
    let other = Scene::new().answer(Status::Revoked, NOW, None);
    let cases = [
        ("none", vec![], Err(OcspError::Missing)),
        ("of others", vec![other.clone()], Err(OcspError::Missing)),
        ("newest", vec![good(3), good(1), other, good(2)], Ok(NOW.minus(MINUTE))),
        ("stale beside fresh", vec![stale.clone(), good(1)], Ok(NOW.minus(MINUTE))),
        ("only stale", vec![stale], Err(OcspError::TooOld)),
        ("good, then revoked", vec![good(1), revoked.clone()], Err(OcspError::NotGood(Status::Revoked))),
        ("revoked, then good", vec![revoked, good(1)], Err(OcspError::NotGood(Status::Revoked))),
        ("forged beside good", vec![good(1), forged], Err(OcspError::NotAuthorised)),
    ];
    for (name, answers, expected) in cases {
        assert_eq!(scene.judge(&answers), expected, "{name}");
    }
}

/// The response with its signature made anew with SHA-1, which none of our keys does.
fn signed_with_sha1(response: &Response, key: &PrivateKey) -> Response {
    let mut outer = wire::OcspResponse::from_der(response.der()).unwrap();
    let bytes = outer.bytes.as_mut().unwrap();
    let mut basic = wire::BasicResponse::from_der(bytes.response.as_bytes()).unwrap();
    let key = openssl::pkey::PKey::private_key_from_pkcs8(&key.to_pkcs8()).unwrap();
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha1(), &key).unwrap();
    let value = signer.sign_oneshot_to_vec(&basic.tbs.to_der().unwrap()).unwrap();
    basic.algorithm = Any::from_der(&hex::decode("300d06092a864886f70d0101050500").unwrap()).unwrap();
    basic.signature = BitString::from_bytes(&value).unwrap();
    bytes.response = OctetString::new(basic.to_der().unwrap()).unwrap();
    Response::parse(&outer.to_der().unwrap()).unwrap()
}

/// thisUpdate is held against the clock and producedAt is not: neither alone makes an answer one of former times.
#[test]
fn the_later_of_its_two_times_says_how_strong_its_signature_must_be() {
    let (ca, second) = (TestCa::named("RSA CA", rsa_key()), Duration::from_secs(1));
    let cert = ca.issue("leaf", Role::Signing).0;
    let (then, now) = (SHA1_END.minus(second), SHA1_END);
    let weak = Err(OcspError::Signature);
    let cases = [
        ("both before", then, then, Ok(())),
        ("thisUpdate after", then, now, weak.clone()),
        ("producedAt after", now, then, weak.clone()),
        ("both after", now, now, weak),
    ];
    for (name, produced_at, this_update, expected) in cases {
        let answer = Answer::about(&cert, &ca.cert, Status::Good, this_update, None).unwrap();
        let strong = respond(&[answer], Scene::by(&ca.cert, &ca.key), produced_at).unwrap();
        let strong = Response::parse(&strong).unwrap();
        let verify = |response: &Response| response.verify(&cert, &ca.cert, NOBODY, &RULES, now).map(drop);
        assert_eq!(verify(&strong), Ok(()), "{name}, with SHA-512");
        assert_eq!(verify(&signed_with_sha1(&strong, &ca.key)), expected, "{name}, with SHA-1");
    }
}

/// The same two times decide whether a delegate spoke while it was one.
#[test]
fn a_delegate_must_hold_at_the_later_of_the_two_times() {
    let scene = Scene::new();
    let (key, ended) = (PrivateKey::generate(crate::key::KeyKind::P256).unwrap(), NOW.minus(DAY));
    let subject = vec![(crate::name::COMMON_NAME, "former".to_owned())];
    let former = scene.ca.certify(&subject, Role::OcspResponder, &key, |template| template.not_after = ended);
    let lax = Rules { freshness: DAY * 2, ..RULES };
    for (produced_at, this_update, expected) in [
        (ended, ended, None),
        (ended, NOW, Some(OcspError::NotAuthorised)),
        (NOW, ended, Some(OcspError::NotAuthorised)),
    ] {
        let answer = Answer::about(&scene.cert, &scene.ca.cert, Status::Good, this_update, None).unwrap();
        let response = respond(&[answer], Scene::by(&former, &key), produced_at).unwrap();
        let response = Response::parse(&response).unwrap();
        let found = response.verify(&scene.cert, &scene.ca.cert, NOBODY, &lax, NOW).err();
        assert_eq!(found, expected, "produced at {produced_at:?}, of {this_update:?}");
    }
}

/// A response with a second answer that takes back the first.
#[test]
fn contradictions_inside_a_response() {
    let scene = Scene::new();
    let about = |status| Answer::about(&scene.cert, &scene.ca.cert, status, NOW, None).unwrap();
    let answers = [about(Status::Good), about(Status::Revoked)];
    let response = respond(&answers, Scene::by(&scene.responder.0, &scene.responder.1), NOW).unwrap();
    let found = scene.verify(&Response::parse(&response).unwrap()).err();
    assert_eq!(found, Some(OcspError::NotGood(Status::Revoked)));
}

#[test]
fn refuses_what_is_no_response() {
    let scene = Scene::new();
    let whole = scene.answer(Status::Good, NOW, None).der().to_vec();
    for length in 0..whole.len() {
        assert_eq!(Response::parse(&whole[..length]).err(), Some(OcspError::Malformed), "{length}");
    }
    for junk in [refuse(6), [&whole[..], &[0]].concat(), vec![0; MAX_RESPONSE_BYTES + 1]] {
        assert_eq!(Response::parse(&junk).err(), Some(OcspError::Malformed));
    }
    // No flipped bit goes unnoticed, wherever it is.
    for index in 0..whole.len() {
        let mut bad = whole.clone();
        bad[index] ^= 1;
        let verdict = Response::parse(&bad).and_then(|response| scene.verify(&response));
        let in_certificate = index > whole.len() - scene.responder.0.der().len();
        assert!(verdict.is_err() || in_certificate, "{index}: {}", hex::encode(&whole[index - 20..]));
    }
}

#[test]
fn a_request_asks_about_the_certificate() {
    let scene = Scene::new();
    let request = request(&scene.cert, &scene.ca.cert);
    let asked = read_request(&request).unwrap();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].is(&scene.cert, &scene.ca.cert));
    assert_eq!(asked[0].serial_integer(), scene.cert.serial_integer());
    assert!(read_request(&request[..20]).is_none() && read_request(b"").is_none());
}

/// The `openssl` program takes our request and our answer.
#[test]
fn openssl_agrees() {
    let scene = Scene::new();
    let dir = crate::test_pki::scratch("ocsp");
    let Some(openssl) = crate::test_pki::openssl("what openssl says to our OCSP answers") else { return };
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let ca = write("ca.pem", scene.ca.cert.to_pem().as_bytes());
    let cert = write("cert.pem", scene.cert.to_pem().as_bytes());
    let request = write("request.der", &request(&scene.cert, &scene.ca.cert));
    let response = write("response.der", scene.answer(Status::Good, NOW, Some(NOW.plus(DAY))).der());
    let said = openssl(&["ocsp", "-reqin", request.to_str().unwrap(), "-req_text", "-noverify"]);
    assert!(said.contains("Hash Algorithm: sha1"), "{said}");
    let at = NOW.as_secs().to_string();
    let arguments = ["ocsp", "-respin", response.to_str().unwrap(), "-issuer", ca.to_str().unwrap()];
    let more = ["-cert", cert.to_str().unwrap(), "-CAfile", ca.to_str().unwrap(), "-attime", &at];
    let said = openssl(&[&arguments[..], &more].concat());
    assert!(said.contains("Response verify OK") && said.contains("\ngood\n"), "{said}");
    std::fs::remove_dir_all(dir).unwrap();
}
