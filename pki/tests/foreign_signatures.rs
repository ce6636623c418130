//! Signature documents that nothing of ours has made: written as text in their canonical form, digested and signed by openssl.
//!
//! Every algorithm that is accepted, in both XAdES shapes: the classic one (its own root, inclusive canonicalisation, the signing
//! certificate by version 1) and the plain one (no root of its own, exclusive canonicalisation, version 2). And what is not accepted.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::digest::{DigestAlgorithm, DigestValue};
use pki::message_signature::{Evidence, check_coverage};
use pki::xades::Document;

const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const XADES: &str = "http://uri.etsi.org/01903/v1.3.2#";
const ASIC: &str = "http://uri.etsi.org/02918/v1.2.1#";
const INCLUSIVE: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";

/// What is signed, with its URI.
const PARTS: [(&str, &[u8]); 3] =
    [("/message.xml", b"<message/>"), ("/attachment1", b"one"), ("/attachment2", b"")];

/// Runs openssl in `folder`; `None` when it is not installed.
fn openssl(folder: &Path, arguments: &str) -> Option<()> {
    let mut command = testkit::tools::tool("openssl", "signatures made by openssl")?;
    let output = command.args(arguments.split(' ')).current_dir(folder).output().expect("openssl runs");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

fn write(folder: &Path, name: &str, data: &[u8]) {
    std::fs::write(folder.join(name), data).expect("the file writes");
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("the file reads")
}

/// Digest by openssl, base64.
fn digest(folder: &Path, name: &str, data: &[u8]) -> Option<String> {
    write(folder, "data", data);
    openssl(folder, &format!("dgst -{name} -binary -out digest data"))?;
    Some(STANDARD.encode(read(folder, "digest")))
}

/// A key with its certificate, in files.
fn make_key(folder: &Path, kind: &str) -> Option<()> {
    openssl(folder, &format!("genpkey {kind} -out key.pem"))?;
    openssl(folder, "req -x509 -key key.pem -subj /CN=signer -days 2 -outform DER -out cert.der")
}

/// `SEQUENCE { r, s }` as two halves of `field` bytes.
fn raw_ecdsa(der: &[u8], field: usize) -> Vec<u8> {
    let mut rest = &der[if der[1] < 0x80 { 2 } else { 3 }..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (value, after) = rest[2..].split_at(usize::from(rest[1]));
        let value = value.strip_prefix(&[0]).unwrap_or(value);
        out.extend(std::iter::repeat_n(0, field - value.len()));
        out.extend_from_slice(value);
        rest = after;
    }
    out
}

/// The two shapes.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Classic,
    Plain,
}

/// How a document is made.
struct Recipe<'a> {
    shape: Shape,
    /// Of openssl, for references and for the value.
    digest: &'a str,
    digest_uri: &'a str,
    method: &'a str,
    sign_options: &'a str,
    /// Bytes of half a value, for ECDSA.
    field: Option<usize>,
}

impl Recipe<'_> {
    fn document(&self, folder: &Path) -> Option<Vec<u8>> {
        let (all, xades, ds, method, version) = match self.shape {
            Shape::Classic => {
                let all = format!(" xmlns:asic=\"{ASIC}\" xmlns:ds=\"{DS}\" xmlns:xades=\"{XADES}\"");
                (all.clone(), all, String::new(), INCLUSIVE, "SigningCertificate")
            }
            Shape::Plain => {
                let (ds, xades) = (format!(" xmlns:ds=\"{DS}\""), format!(" xmlns:xades=\"{XADES}\""));
                (ds.clone(), xades, ds, EXCLUSIVE, "SigningCertificateV2")
            }
        };
        let cert = read(folder, "cert.der");
        let digest_method =
            |ds: &str| format!("<ds:DigestMethod{ds} Algorithm=\"{}\"></ds:DigestMethod>", self.digest_uri);
        let properties = format!(
            "<xades:SignedProperties{xades} Id=\"props\"><xades:SignedSignatureProperties>\
             <xades:SigningTime>2026-01-02T03:04:05Z</xades:SigningTime><xades:{version}><xades:Cert><xades:CertDigest>{}\
             <ds:DigestValue{ds}>{}</ds:DigestValue></xades:CertDigest></xades:Cert></xades:{version}>\
             </xades:SignedSignatureProperties></xades:SignedProperties>",
            digest_method(&ds),
            digest(folder, self.digest, &cert)?
        );
        let mut references = String::new();
        for (uri, data) in PARTS {
            references.push_str(&format!(
                "<ds:Reference URI=\"{uri}\">{}<ds:DigestValue>{}</ds:DigestValue></ds:Reference>",
                digest_method(""),
                digest(folder, self.digest, data)?
            ));
        }
        let transform = match self.shape {
            Shape::Classic => String::new(),
            Shape::Plain => {
                format!(
                    "<ds:Transforms><ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform></ds:Transforms>"
                )
            }
        };
        references.push_str(&format!(
            "<ds:Reference Type=\"http://uri.etsi.org/01903#SignedProperties\" URI=\"#props\">{transform}{}\
             <ds:DigestValue>{}</ds:DigestValue></ds:Reference>",
            digest_method(""),
            digest(folder, self.digest, properties.as_bytes())?
        ));
        let info = format!(
            "<ds:SignedInfo{all}><ds:CanonicalizationMethod Algorithm=\"{method}\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{}\"></ds:SignatureMethod>{references}</ds:SignedInfo>",
            self.method
        );
        write(folder, "info", info.as_bytes());
        openssl(
            folder,
            format!("dgst -{} -sign key.pem {} -out value info", self.digest, self.sign_options)
                .replace("  ", " ")
                .as_str(),
        )?;
        let value = read(folder, "value");
        let value = self.field.map_or(value.clone(), |field| raw_ecdsa(&value, field));
        let signature = format!(
            "<ds:Signature xmlns:ds=\"{DS}\" Id=\"sig\">{info}<ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>\
             <ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo><ds:Object>\
             <xades:QualifyingProperties xmlns:xades=\"{XADES}\" Target=\"#sig\">{properties}<xades:UnsignedProperties>\
             <xades:UnsignedSignatureProperties><xades:RevocationValues><xades:OCSPValues><xades:EncapsulatedOCSPValue>AA==\
             </xades:EncapsulatedOCSPValue></xades:OCSPValues></xades:RevocationValues></xades:UnsignedSignatureProperties>\
             </xades:UnsignedProperties></xades:QualifyingProperties></ds:Object></ds:Signature>",
            STANDARD.encode(value),
            STANDARD.encode(cert)
        );
        Some(match self.shape {
            Shape::Plain => signature.into_bytes(),
            Shape::Classic => {
                format!("<asic:XAdESSignatures xmlns:asic=\"{ASIC}\">{signature}</asic:XAdESSignatures>")
                    .into_bytes()
            }
        })
    }
}

/// Value and coverage hold; over any other part, value or certificate they do not.
fn check(xml: &[u8], algorithm: DigestAlgorithm) -> Result<(), String> {
    let document = Document::parse(xml).map_err(|e| e.to_string())?;
    document.verify().map_err(|e| e.to_string())?;
    let parts: Vec<(String, DigestValue)> =
        PARTS.iter().map(|(uri, data)| ((*uri).to_owned(), algorithm.digest(data))).collect();
    let evidence = Evidence { signature: xml, hash_chain: None };
    let covers =
        |parts: &[(String, DigestValue)]| check_coverage(&document, evidence, parts, false).map(drop);
    covers(&parts).map_err(|e| e.to_string())?;
    let mut changed = parts.clone();
    changed[1].1 = algorithm.digest(b"other");
    let more = [parts.clone(), vec![("/attachment3".to_owned(), algorithm.digest(b""))]].concat();
    for (name, wrong) in
        [("a changed part", &changed[..]), ("one more", &more[..]), ("one less", &parts[..2])]
    {
        assert!(covers(wrong).is_err(), "{name}");
    }
    Ok(())
}

const SHA: [(&str, &str, DigestAlgorithm); 3] = [
    ("sha256", "http://www.w3.org/2001/04/xmlenc#sha256", DigestAlgorithm::Sha256),
    ("sha384", "http://www.w3.org/2001/04/xmldsig-more#sha384", DigestAlgorithm::Sha384),
    ("sha512", "http://www.w3.org/2001/04/xmlenc#sha512", DigestAlgorithm::Sha512),
];

/// Options of the key, name of the scheme in URIs, options of signing, half a value.
const KEYS: [(&str, &str, &str, Option<usize>); 5] = [
    ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "rsa", "", None),
    (
        "-algorithm RSA -pkeyopt rsa_keygen_bits:3072",
        "pss",
        "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1",
        None,
    ),
    ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ecdsa", "", Some(32)),
    ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "ecdsa", "", Some(48)),
    ("-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "ecdsa", "", Some(66)),
];

fn method(scheme: &str, digest: &str) -> String {
    match scheme {
        "pss" => format!("http://www.w3.org/2007/05/xmldsig-more#{digest}-rsa-MGF1"),
        scheme => format!("{MORE}{scheme}-{digest}"),
    }
}

#[test]
fn every_accepted_algorithm_holds_in_both_shapes() {
    for (kind, scheme, sign_options, field) in KEYS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if make_key(folder.path(), kind).is_none() {
            return;
        }
        for (digest, digest_uri, algorithm) in SHA {
            for shape in [Shape::Classic, Shape::Plain] {
                let method = method(scheme, digest);
                let recipe = Recipe { shape, digest, digest_uri, method: &method, sign_options, field };
                let Some(xml) = recipe.document(folder.path()) else { return };
                assert_eq!(check(&xml, algorithm), Ok(()), "{kind} {method} {shape:?}");
                // Of the value, of a property, of what is signed about a part.
                let text = String::from_utf8(xml).expect("it is text");
                let changes =
                    [("T03:04:05Z", "T03:04:06Z"), ("URI=\"/attachment1\"", "URI=\"/attachment9\"")];
                for (from, to) in changes {
                    let changed = text.replace(from, to);
                    assert!(
                        changed != text && check(changed.as_bytes(), algorithm).is_err(),
                        "{method} {from}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_too_weak_or_of_another_key_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (sha512, sha1) = (SHA[2], ("sha1", "http://www.w3.org/2000/09/xmldsig#sha1"));
    let (rsa, ec) = (KEYS[0].0, KEYS[2].0);
    let rsa_sha1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1";
    let rsa_sha512 = &format!("{MORE}rsa-sha512");
    let ecdsa_sha512 = &format!("{MORE}ecdsa-sha512");
    let short = "-algorithm RSA -pkeyopt rsa_keygen_bits:1024";
    let pss = KEYS[1].2;
    let short_salt = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20";
    let pss_sha512 = &method("pss", "sha512");
    // Key, digest, its URI, signature method, options of signing.
    let cases = [
        ("a digest that is none any more", rsa, sha1.0, sha1.1, rsa_sha512.as_str(), ""),
        ("a signature that is none any more", rsa, sha1.0, sha1.1, rsa_sha1, ""),
        ("a short key", short, sha512.0, sha512.1, rsa_sha512, ""),
        ("the method of another kind of key", rsa, sha512.0, sha512.1, ecdsa_sha512, ""),
        ("PSS said to be PKCS #1", rsa, sha512.0, sha512.1, rsa_sha512, pss),
        ("PKCS #1 said to be PSS", rsa, sha512.0, sha512.1, pss_sha512, ""),
        ("another salt", rsa, sha512.0, sha512.1, pss_sha512, short_salt),
        ("DER where two halves are due", ec, sha512.0, sha512.1, ecdsa_sha512, ""),
    ];
    for (name, kind, digest, digest_uri, method, sign_options) in cases {
        if make_key(folder, kind).is_none() {
            return;
        }
        let recipe = Recipe { shape: Shape::Classic, digest, digest_uri, method, sign_options, field: None };
        let Some(xml) = recipe.document(folder) else { return };
        assert!(check(&xml, DigestAlgorithm::Sha512).is_err(), "{name}");
    }
}
