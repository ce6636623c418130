//! Tokens made by our own service, checked; and what the `openssl` program says to our bytes.

use super::stamp::{Request, Stamper, grant, refuse};
use super::*;
use crate::issue::Role;
use crate::key::{KeyKind, PrivateKey};
use crate::test_pki::{NOW, TestCa, rsa_key};

struct Scene {
    ca: TestCa,
    cert: Certificate,
    key: PrivateKey,
}

impl Scene {
    fn new(key: PrivateKey) -> Self {
        let ca = TestCa::root();
        let subject = vec![(crate::name::COMMON_NAME, "Test TSA".to_owned())];
        let cert = ca.certify(&subject, Role::Timestamping, &key, |_| {});
        Self { ca, cert, key }
    }
    fn response(&self, request: &[u8]) -> Vec<u8> {
        let stamper = Stamper { cert: &self.cert, key: &self.key, policy: "1.2.3.4.1" };
        grant(&Request::parse(request).unwrap(), stamper, 7, NOW).unwrap()
    }
    fn token(&self, data: &[u8]) -> Token {
        let request = request(&DigestAlgorithm::Sha512.digest(data));
        Token::from_response(&self.response(&request)).unwrap()
    }
}

#[test]
fn a_token_proves_its_data() {
    for key in [
        rsa_key(),
        PrivateKey::generate(KeyKind::P256).unwrap(),
        PrivateKey::generate(KeyKind::P384).unwrap(),
    ] {
        let scene = Scene::new(key);
        let token = scene.token(b"data");
        let tsas = [scene.ca.cert.clone(), scene.cert.clone()];
        assert_eq!(token.verify(b"data", &tsas), Ok((NOW, scene.cert.clone())));
        assert_eq!(token.verify(b"other", &tsas).err(), Some(TspError::Imprint));
        assert_eq!(token.verify(b"data", &tsas[..1]).err(), Some(TspError::UnknownSigner));
        let sha256 = DigestAlgorithm::Sha256.digest(b"data");
        assert_eq!(token.verify_digest(&sha256, &tsas).err(), Some(TspError::Imprint));
        assert_eq!(token.gen_time(), NOW);
    }
}

/// The certificate is put in once, and changes nothing else.
#[test]
fn takes_a_certificate() {
    let scene = Scene::new(rsa_key());
    let token = scene.token(b"data");
    assert!(token.certificates().is_empty());
    let with = token.with_certificate(&scene.cert);
    assert_eq!(with.certificates(), [scene.cert.der().to_vec()]);
    assert_eq!(with.with_certificate(&scene.cert).der(), with.der());
    let both = with.with_certificate(&scene.ca.cert);
    assert_eq!(both.certificates(), [scene.cert.der().to_vec(), scene.ca.cert.der().to_vec()]);
    for token in [with, both] {
        assert!(token.verify(b"data", std::slice::from_ref(&scene.cert)).is_ok());
    }
}

/// No flipped bit is overlooked. What the signature does not cover (versions, the outer digest list, the choice of the signer's own
/// certificate) may change without making the token false, so a token that still verifies must say the same.
#[test]
fn no_bit_is_free() {
    let scene = Scene::new(PrivateKey::generate(KeyKind::P256).unwrap());
    let whole = scene.token(b"data").der().to_vec();
    for index in 0..whole.len() {
        let mut bad = whole.clone();
        bad[index] ^= 1;
        let Ok(token) = Token::parse(&bad) else { continue };
        if let Ok(verdict) = token.verify(b"data", std::slice::from_ref(&scene.cert)) {
            assert_eq!(verdict, (NOW, scene.cert.clone()), "{index}");
            assert_eq!(token.imprint(), &DigestAlgorithm::Sha512.digest(b"data"));
        }
        assert!(Token::parse(&whole[..index]).is_err());
    }
}

#[test]
fn refuses_what_is_no_response() {
    let scene = Scene::new(rsa_key());
    let token = scene.token(b"data");
    assert_eq!(Token::from_response(&refuse(2)).err(), Some(TspError::NotGranted(2)));
    for junk in [&b""[..], b"\x30\x00", token.der(), &vec![0x30; MAX_TOKEN_BYTES + 1]] {
        assert_eq!(Token::from_response(junk).err(), Some(TspError::Malformed));
    }
}

/// Tokens with indefinite lengths are read, and kept as they are.
#[test]
fn reads_ber() {
    let scene = Scene::new(rsa_key());
    let token = scene.token(b"data");
    // ContentInfo, its [0] and the SignedData, each made indefinite.
    let parts = asn1::raw_elements(token.der()).unwrap();
    let inside = asn1::raw_elements(parts[1]).unwrap();
    let data = asn1::raw_elements(inside[0]).unwrap().concat();
    let end = [0, 0];
    let ber = [&[0x30, 0x80], parts[0], &[0xa0, 0x80, 0x30, 0x80], &data, &end, &end, &end].concat();
    let read = Token::parse(&ber).unwrap();
    assert_eq!(read.der(), ber);
    assert!(read.verify(b"data", std::slice::from_ref(&scene.cert)).is_ok());
    let response = [&[0x30, 0x80, 0x30, 0x03, 0x02, 0x01, 0x00], &ber[..], &end].concat();
    assert_eq!(Token::from_response(&response).unwrap().der(), ber);
    assert_eq!(read.with_certificate(&scene.cert).certificates().len(), 1);
}

/// The `openssl` program takes our tokens, and we take its.
#[test]
fn openssl_agrees() {
    let Some(openssl) = crate::test_pki::openssl("what openssl says to our timestamps") else { return };
    let scene = Scene::new(rsa_key());
    let dir = crate::test_pki::scratch("tsp");
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();
    write("data", b"data");
    write("ca.pem", scene.ca.cert.to_pem().as_bytes());
    write("tsa.pem", scene.cert.to_pem().as_bytes());
    write("tsa.key", crate::pem::encode("PRIVATE KEY", &scene.key.to_pkcs8()).as_bytes());
    write("serial", b"01\n");
    write(
        "tsa.cnf",
        format!(
            "[t]\nserial={}\ncrypto_device=builtin\nsigner_digest=sha256\ndefault_policy=1.2.3\ndigests=sha512\n",
            path("serial")
        )
        .as_bytes(),
    );
    // Theirs request, our answer: with nonce and certificate.
    openssl(&["ts", "-query", "-data", &path("data"), "-sha512", "-cert", "-out", &path("theirs.tsq")]);
    write("ours.tsr", &scene.response(&std::fs::read(path("theirs.tsq")).unwrap()));
    let at = NOW.as_secs().to_string();
    let verify = ["ts", "-verify", "-queryfile", &path("theirs.tsq"), "-in", &path("ours.tsr")];
    let said = openssl(&[&verify[..], &["-CAfile", &path("ca.pem"), "-attime", &at]].concat());
    assert!(said.contains("Verification: OK"), "{said}");
    // Our request, their answer.
    write("ours.tsq", &request(&DigestAlgorithm::Sha512.digest(b"data")));
    let reply =
        ["ts", "-reply", "-config", &path("tsa.cnf"), "-section", "t", "-queryfile", &path("ours.tsq")];
    let with = ["-signer", &path("tsa.pem"), "-inkey", &path("tsa.key"), "-out", &path("theirs.tsr")];
    let said = openssl(&[&reply[..], &with].concat());
    let answer = std::fs::read(path("theirs.tsr")).unwrap_or_else(|error| panic!("{error}: {said}"));
    let token = Token::from_response(&answer).unwrap();
    let verdict = token.verify(b"data", std::slice::from_ref(&scene.cert));
    assert_eq!(verdict.map(|verdict| verdict.1), Ok(scene.cert.clone()));
    std::fs::remove_dir_all(dir).unwrap();
}
