//! Our documents read back, taken apart, changed, and shown to xmlsec1.

use std::sync::LazyLock;

use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::c14n::{self, Method};
use crate::digest::DigestAlgorithm;
use crate::hash_chain::{MESSAGE_URI, SIGNATURE_RESULT_URI};
use crate::key::{KeyKind, PrivateKey};

pub(super) const MESSAGE: &[u8] = b"GET\r\n/r1/DEV/COM/1/sub/svc\r\n";
const NOW: UnixTime = UnixTime(1_764_000_000_117);

pub(super) struct Signer {
    key: PrivateKey,
    pub(super) cert: Certificate,
}

impl Signer {
    fn new(kind: KeyKind, name: &str) -> Self {
        let key = PrivateKey::generate(kind).expect("a key is made");
        Self { cert: certify(&key, name), key }
    }

    pub(super) fn sign(
        &self,
        template: &Template,
        algorithm: SignatureAlgorithm,
        uri: &str,
        data: &[u8],
    ) -> Vec<u8> {
        let unsigned = template.prepare(uri, &DigestAlgorithm::Sha512.digest(data), NOW);
        let value = self.key.sign(algorithm, EcdsaForm::Raw, unsigned.signed_info()).expect("the key signs");
        unsigned.finish(&value)
    }

    fn template(&self, intermediates: &[Certificate]) -> Template {
        Template::new(&self.cert, intermediates, &[b"ocsp".to_vec()], self.key.default_algorithm())
    }
}

fn certify(key: &PrivateKey, name: &str) -> Certificate {
    let subject = vec![(crate::name::COMMON_NAME, name.to_owned())];
    let template = crate::issue::Template {
        subject: &subject,
        role: crate::issue::Role::Signing,
        serial: &[1],
        not_before: UnixTime::from_secs(1_700_000_000),
        not_after: UnixTime::from_secs(2_300_000_000),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    crate::issue::self_signed(&template, key).expect("a certificate is made")
}

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new(KeyKind::Rsa(2048), "rsa & <co>, \"x\"\r"));
static P256: LazyLock<Signer> = LazyLock::new(|| Signer::new(KeyKind::P256, "p256"));
static P384: LazyLock<Signer> = LazyLock::new(|| Signer::new(KeyKind::P384, "p384"));

pub(super) fn signers() -> [(&'static Signer, SignatureAlgorithm); 4] {
    let pss = SignatureAlgorithm::new(Scheme::RsaPss, DigestAlgorithm::Sha512);
    [
        (&RSA, RSA.key.default_algorithm()),
        (&RSA, pss),
        (&P256, P256.key.default_algorithm()),
        (&P384, P384.key.default_algorithm()),
    ]
}

/// A document over [`MESSAGE`], as text.
fn document() -> String {
    let template = P256.template(std::slice::from_ref(&P384.cert));
    let xml = P256.sign(&template, P256.key.default_algorithm(), MESSAGE_URI, MESSAGE);
    String::from_utf8(xml).expect("XML is UTF-8")
}

fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn judge(xml: &str) -> Result<Document, SignatureError> {
    let document = Document::parse(xml.as_bytes())?;
    document.verify()?;
    Ok(document)
}

#[test]
fn what_is_written_is_read_back_and_holds() {
    for (signer, algorithm) in signers() {
        let ocsp = [b"first".to_vec(), b"second".to_vec()];
        let extra = [RSA.cert.clone(), P384.cert.clone()];
        let template = Template::new(&signer.cert, &extra, &ocsp, algorithm);
        for uri in [MESSAGE_URI, SIGNATURE_RESULT_URI] {
            let xml = signer.sign(&template, algorithm, uri, MESSAGE);
            let read = Document::parse(&xml).expect("our own document parses");
            assert_eq!(read.verify(), Ok(()), "{algorithm:?}");
            assert_eq!(read.algorithm, algorithm);
            assert_eq!(read.references, [(uri.to_owned(), DigestAlgorithm::Sha512.digest(MESSAGE))]);
            assert_eq!(read.signing, signer.cert);
            assert_eq!(read.extra, extra);
            assert_eq!(read.ocsp, ocsp);
            assert_eq!(read.signing_time, Some(NOW));
            assert_eq!(read.timestamp, None);
        }
    }
}

/// Whoever has a document can write its value in other ways that hold; to us it stays the same signature.
#[test]
fn a_value_written_differently_has_the_same_mark() {
    let xml = document();
    let read = judge(&xml).expect("our own document holds");
    let (r, s) = read.value.split_at(read.value.len() / 2);
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).expect("a curve");
    let mut context = openssl::bn::BigNumContext::new().expect("memory");
    let (mut order, mut other) = (openssl::bn::BigNum::new().expect("memory"), read.value.clone());
    group.order(&mut order, &mut context).expect("a curve has an order");
    let s = &order - &openssl::bn::BigNum::from_slice(s).expect("a number");
    other[r.len()..].copy_from_slice(&s.to_vec_padded(32).expect("it is below the order"));
    let written = xml.replace(&encode(&read.value), &encode(&other));
    let again = judge(&written).expect("it holds all the same");
    assert_ne!(again.value, read.value);
    assert_eq!(again.mark(), read.mark());

    let padded = Document { value: [&[0], r, &[0], &read.value[r.len()..]].concat(), ..read.clone() };
    assert_eq!(padded.mark(), read.mark());
    assert_ne!(judge(&document()).expect("it holds").mark(), read.mark(), "another signature");
    let rsa = RSA.sign(&RSA.template(&[]), RSA.key.default_algorithm(), MESSAGE_URI, MESSAGE);
    let rsa = Document::parse(&rsa).expect("our own document parses");
    assert_eq!(rsa.mark(), rsa.value);
}

/// The promise that lets us digest without canonicalising: the texts are canonical already.
#[test]
fn our_text_is_its_own_canonical_form() {
    let unsigned = RSA.template(std::slice::from_ref(&RSA.cert)).prepare(
        MESSAGE_URI,
        &DigestAlgorithm::Sha512.digest(MESSAGE),
        NOW,
    );
    let expected = unsigned.signed_info().to_vec();
    let xml = String::from_utf8(unsigned.finish(&[1, 2, 3])).expect("XML is UTF-8");
    let tree = roxmltree::Document::parse(&xml).expect("our own document is XML");
    let element =
        |name: &str| tree.descendants().find(|node| node.tag_name().name() == name).expect("it is there");
    assert_eq!(c14n::canonicalize(element("SignedInfo"), &Method::Inclusive), expected);

    let properties = c14n::canonicalize(element("SignedProperties"), &Method::Inclusive);
    let read = Document::parse(xml.as_bytes()).expect("our own document parses");
    assert!(read.properties_match, "{}", String::from_utf8_lossy(&properties));
    // Nothing in the whole document is written in a way that its canonical form would not keep.
    let root = String::from_utf8(c14n::canonicalize(tree.root_element(), &Method::Inclusive)).expect("UTF-8");
    assert_eq!(
        xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>"),
        Some(&*root)
    );
}

/// What a reader of the classic shape goes by: prefixes and positions.
#[test]
fn the_shape_is_the_classic_one() {
    let xml = document();
    for piece in [
        "<asic:XAdESSignatures xmlns:asic=\"http://uri.etsi.org/02918/v1.2.1#\"",
        "><ds:Signature Id=\"signature\"><ds:SignedInfo><ds:CanonicalizationMethod",
        "<ds:Object><xades:QualifyingProperties Target=\"#signature\"><xades:SignedProperties Id=\"signed-properties\">",
        "<xades:SigningTime>2025-11-24T16:00:00.117Z</xades:SigningTime>",
        "<xades:UnsignedProperties><xades:UnsignedSignatureProperties><xades:CompleteCertificateRefs",
        "<xades:Cert URI=\"#encapsulated-cert-1\"><xades:CertDigest><ds:DigestMethod",
        "<xades:RevocationValues><xades:OCSPValues><xades:EncapsulatedOCSPValue Id=\"ocsp-response-1\">",
    ] {
        assert!(xml.contains(piece), "{piece}");
    }
}

#[test]
fn refuses_documents_that_break_a_rule_of_form() {
    let good = document();
    assert!(judge(&good).is_ok());
    let reference = {
        let start = good.find("<ds:Reference Id=\"signature-reference-0\"").expect("it is there");
        let end = start + good[start..].find("</ds:Reference>").expect("it ends") + "</ds:Reference>".len();
        &good[start..end]
    };
    let transforms = "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#base64\"/></ds:Transforms>";
    let signature = "<ds:Signature Id=\"signature\">";
    let edits: [(&str, &str, String); 17] = [
        ("a document type", "<asic:XAdESSignatures ", "<!DOCTYPE x><asic:XAdESSignatures ".to_owned()),
        ("an id twice", "Id=\"ocsp-response-1\"", "Id=\"signed-properties\"".to_owned()),
        ("an id twice, spelt otherwise", "Id=\"ocsp-response-1\"", "xml:id=\"signed-properties\"".to_owned()),
        ("two signatures", signature, format!("<ds:Signature/>{signature}")),
        ("a part twice", reference, reference.to_owned() + &reference.replace("reference-0", "reference-9")),
        ("a transform on a part", "URI=\"/message.xml\">", format!("URI=\"/message.xml\">{transforms}")),
        (
            "a transform on the properties",
            "URI=\"#signed-properties\">",
            format!("URI=\"#signed-properties\">{transforms}"),
        ),
        ("a reference into the document", "URI=\"/message.xml\"", "URI=\"#ocsp-response-1\"".to_owned()),
        (
            "no reference to the properties",
            "Type=\"http://uri.etsi.org/01903#SignedProperties\" ",
            String::new(),
        ),
        ("SHA-1", "xmlenc#sha512\"></ds:DigestMethod>", "x\"></ds:DigestMethod>".to_owned()),
        ("an unknown signature algorithm", "ecdsa-sha512", "hmac-sha512".to_owned()),
        (
            "an unknown canonical form",
            "REC-xml-c14n-20010315",
            "REC-xml-c14n-20010315#WithComments".to_owned(),
        ),
        ("a comment in a value", "</ds:SignatureValue>", "<!-- --></ds:SignatureValue>".to_owned()),
        (
            "no OCSP response",
            "<xades:EncapsulatedOCSPValue Id=\"ocsp-response-1\">b2NzcA==</xades:EncapsulatedOCSPValue>",
            String::new(),
        ),
        ("no place for one", "xades:RevocationValues>", "xades:OtherValues>".to_owned()),
        ("a time that is none", "2025-11-24T16", "yesterday".to_owned()),
        ("an element without its id", " Id=\"encapsulated-cert-1\"", String::new()),
    ];
    for (name, from, to) in edits {
        assert!(good.contains(from), "{name}");
        let error = judge(&good.replace(from, &to)).expect_err(name);
        assert!(matches!(error, SignatureError::Malformed(_)), "{name}: {error}");
    }
    for (name, xml) in [("cut off", &good[..good.len() / 2]), ("empty", ""), ("no XML", "garbage")] {
        assert!(matches!(judge(xml), Err(SignatureError::Xml(_))), "{name}");
    }
}

#[test]
fn refuses_what_was_changed_after_signing() {
    let good = document();
    let other_digest = encode(&P384.cert.sha512());
    let own_digest = encode(&P256.cert.sha512());
    let value_start = good.find("signature-value\">").expect("it is there") + "signature-value\">".len();
    let value_end = good.find("</ds:SignatureValue>").expect("it ends");
    let cases = [
        ("time", good.replace("16:00:00.117Z", "16:00:00.118Z"), SignatureError::InvalidValue),
        ("policy", good.replace("OIDAsURN", "OIDAsURI"), SignatureError::InvalidValue),
        ("URI", good.replace("/message.xml", "/attachment1"), SignatureError::InvalidValue),
        (
            "white space in SignedInfo",
            good.replace("<ds:SignedInfo>", "<ds:SignedInfo>\n"),
            SignatureError::InvalidValue,
        ),
        (
            "a namespace above",
            good.replace("<asic:XAdESSignatures ", "<asic:XAdESSignatures xmlns:n=\"urn:n\" "),
            SignatureError::InvalidValue,
        ),
        ("no value", good[..value_start].to_owned() + &good[value_end..], SignatureError::EmptyValue),
        (
            "the certificate in KeyInfo",
            good.replace(&encode(P256.cert.der()), &encode(P384.cert.der())),
            SignatureError::InvalidValue,
        ),
        ("the certificate's digest", good.replace(&own_digest, &other_digest), SignatureError::InvalidValue),
        (
            "the digest of an intermediate",
            good.replace(&other_digest, &own_digest),
            SignatureError::Malformed(
                "a certificate does not have the digest that is given for it".to_owned(),
            ),
        ),
    ];
    for (name, xml, expected) in cases {
        assert_ne!(xml, good, "{name}");
        assert_eq!(judge(&xml).expect_err(name), expected, "{name}");
    }
}

/// The certificate in KeyInfo is not signed: another one with the same key would verify, were it not for the digest that is.
#[test]
fn a_signature_holds_for_the_certificate_it_names() {
    let renewed = certify(&P256.key, "renewed");
    let xml = document().replace(&encode(P256.cert.der()), &encode(renewed.der()));
    let read = Document::parse(xml.as_bytes()).expect("it parses");
    assert_eq!(read.signing, renewed);
    assert_eq!(read.verify(), Err(SignatureError::OtherCertificate));
}

#[test]
fn references_are_bounded() {
    let good = document();
    let start = good.find("<ds:Reference Id=\"signature-reference-0\"").expect("it is there");
    let end = start + good[start..].find("</ds:Reference>").expect("it ends") + "</ds:Reference>".len();
    let with = |count: usize| {
        let references: String = (0..count)
            .map(|n| {
                let named = good[start..end].replace("reference-0", &format!("reference-a{n}"));
                named.replace("/message.xml", &format!("/attachment{n}"))
            })
            .collect();
        Document::parse((good[..start].to_owned() + &references + &good[end..]).as_bytes())
    };
    assert_eq!(
        with(MAX_REFERENCES - 1).expect("as many as there may be").references.len(),
        MAX_REFERENCES - 1
    );
    assert_eq!(with(MAX_REFERENCES).expect_err("one more"), SignatureError::TooManyReferences);
    let large = good.replace("</ds:Signature>", &format!("</ds:Signature>{}", " ".repeat(MAX_BYTES)));
    assert!(matches!(judge(&large), Err(SignatureError::Malformed(_))));
}

/// The shapes that a reader must take although we do not write them.
#[test]
fn takes_other_surroundings_of_the_same_signature() {
    let good = document();
    for (name, from, to) in [
        ("white space around", "<ds:Signature Id=\"signature\">", "\n  <ds:Signature Id=\"signature\">"),
        (
            "a comment around",
            "<ds:Signature Id=\"signature\">",
            "<!-- c --><ds:Signature Id=\"signature\"><?pi?>",
        ),
        (
            "a comment in SignedInfo, which canonical forms drop",
            "<ds:SignedInfo>",
            "<ds:SignedInfo><!-- c -->",
        ),
        ("another root", "asic:XAdESSignatures", "asic:Other"),
        (
            "a second certificate in KeyInfo",
            "</ds:X509Certificate>",
            "</ds:X509Certificate><ds:X509Certificate/>",
        ),
        (
            "rubbish for a timestamp",
            "<xades:UnsignedSignatureProperties>",
            "<xades:UnsignedSignatureProperties><xades:SignatureTimeStamp>?</xades:SignatureTimeStamp>",
        ),
    ] {
        let read = judge(&good.replace(from, to)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.references.len(), 1, "{name}");
    }
}

#[test]
fn a_timestamp_goes_first_into_the_unsigned_properties() {
    let good = document();
    let stamped = with_timestamp(good.as_bytes(), b"token").expect("there is a place");
    let expected = good.replace(
        "<xades:UnsignedSignatureProperties>",
        "<xades:UnsignedSignatureProperties><xades:SignatureTimeStamp><xades:EncapsulatedTimeStamp>dG9rZW4=\
         </xades:EncapsulatedTimeStamp></xades:SignatureTimeStamp>",
    );
    assert_eq!(String::from_utf8_lossy(&stamped), expected);
    let read = judge(&expected).expect("the signature still holds");
    assert_eq!(read.timestamp.as_deref(), Some(&b"token"[..]));

    let spread =
        good.replace("<xades:UnsignedSignatureProperties>", "<xades:UnsignedSignatureProperties a='>'>\n ");
    let stamped = with_timestamp(spread.as_bytes(), b"token").expect("there is a place");
    assert_eq!(Document::parse(&stamped).expect("it parses").timestamp.as_deref(), Some(&b"token"[..]));
    for bad in [
        good.replace("UnsignedSignatureProperties", "Other"),
        good.replace("xades:", "x:").replace("xmlns:xades", "xmlns:x"),
    ] {
        assert!(matches!(with_timestamp(bad.as_bytes(), b"token"), Err(SignatureError::Malformed(_))));
    }
}

/// xmlsec1, which knows nothing of us, accepts what we sign and refuses it over other data. It does not know RSA-PSS.
#[test]
fn xmlsec1_accepts_our_documents() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let known = signers().into_iter().filter(|(_, algorithm)| algorithm.scheme != Scheme::RsaPss);
    for (number, (signer, algorithm)) in known.enumerate() {
        let template =
            Template::new(&signer.cert, std::slice::from_ref(&RSA.cert), &[b"ocsp".to_vec()], algorithm);
        let xml = signer.sign(&template, algorithm, MESSAGE_URI, MESSAGE);
        let path = |name: &str| folder.path().join(format!("{number}-{name}"));
        std::fs::write(path("signature.xml"), &xml).expect("the file writes");
        std::fs::write(path("cert.pem"), signer.cert.to_pem()).expect("the file writes");
        for (data, holds) in [(MESSAGE, true), (&b"other"[..], false)] {
            std::fs::write(path("message.xml"), data).expect("the file writes");
            let Some(mut xmlsec1) = testkit::tools::tool("xmlsec1", "our signature documents in xmlsec1")
            else {
                return;
            };
            let output = xmlsec1
                .args(["--verify", "--id-attr:Id", &format!("{XADES}:SignedProperties")])
                .arg("--pubkey-cert-pem")
                .arg(path("cert.pem"))
                .args(["--enabled-key-data", "key-value,x509"])
                .arg(format!("--url-map:{MESSAGE_URI}"))
                .arg(path("message.xml"))
                .arg(path("signature.xml"))
                .output()
                .expect("xmlsec1 runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), holds, "{algorithm:?}: {said}");
        }
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(document);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A change of one byte is noticed, or is in a place that nothing rests on; nothing panics.
    #[test]
    fn a_changed_byte_changes_nothing_that_is_signed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut xml = DOCUMENT.as_bytes().to_vec();
        let at = at.index(xml.len());
        xml[at] = byte;
        let good = Document::parse(DOCUMENT.as_bytes()).expect("our own document parses");
        if let Ok(read) = Document::parse(&xml) && read.verify().is_ok() {
            prop_assert_eq!(read.signed_info, good.signed_info);
            prop_assert_eq!(read.references, good.references);
            prop_assert_eq!(read.signing, good.signing);
            prop_assert_eq!(read.signing_time, good.signing_time);
        }
    }
}

/// What makes reading dear without making the document large.
#[test]
fn documents_that_grow_when_they_are_read_are_refused() {
    let signer = &*P256;
    let carried: Vec<Certificate> =
        (0..=MAX_EXTRA).map(|n| certify(&signer.key, &format!("extra {n}"))).collect();
    let sign = |extra: &[Certificate]| {
        signer.sign(&signer.template(extra), signer.key.default_algorithm(), MESSAGE_URI, MESSAGE)
    };
    assert!(Document::parse(&sign(&carried[..MAX_EXTRA])).is_ok());
    assert!(matches!(Document::parse(&sign(&carried)), Err(SignatureError::Malformed(_))));

    let declared = |length: usize| {
        let text = String::from_utf8(sign(&[])).expect("text");
        let start = format!("<ds:Signature xmlns:p=\"{}\" ", "n".repeat(length));
        text.replacen("<ds:Signature ", &start, 1).into_bytes()
    };
    assert!(Document::parse(&declared(MAX_NAMESPACE_BYTES)).is_ok());
    assert!(matches!(Document::parse(&declared(MAX_NAMESPACE_BYTES + 1)), Err(SignatureError::Malformed(_))));
}
