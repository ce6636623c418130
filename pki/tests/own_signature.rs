//! Our signature for the inputs of every recorded one: same message, key, certificates, OCSP answers and time. The two documents may
//! differ in nothing but white space and the signature value, which covers that white space.

mod recorded;

use std::path::Path;

use pki::algorithm::EcdsaForm;
use pki::cert::Certificate;
use pki::key::PrivateKey;
use pki::xades::{Document, Template};
use proto::transport::Direction;
use recorded::{Recorded, beside, read_file};
use testkit::vectors::{self, Tally};

/// Signing keys of an environment with their certificates.
fn signing_keys(folder: &Path) -> Vec<(Certificate, PrivateKey)> {
    let names = ["ss1-sign", "ss2-sign"];
    let pair = |name: &str| {
        let cert =
            Certificate::parse(&read_file(&folder.join(format!("{name}.pem")))).expect("a certificate");
        let key = PrivateKey::from_pem(&read_file(&folder.join(format!("{name}.key.pem")))).expect("its key");
        (cert, key)
    };
    names.map(pair).into()
}

/// Signs again what `theirs` signs.
fn sign_again(theirs: &Document, key: &PrivateKey) -> Vec<u8> {
    let template = Template::new(&theirs.signing, &theirs.extra, &theirs.ocsp, theirs.algorithm);
    let [(uri, digest)] = theirs.references.as_slice() else { panic!("stock servers make one reference") };
    let unsigned = template.prepare(uri, digest, theirs.signing_time.expect("stock servers say when"));
    let value = key.sign(theirs.algorithm, EcdsaForm::Raw, unsigned.signed_info()).expect("the key signs");
    unsigned.finish(&value)
}

/// Every element with its attributes and its own text without white space, in document order, the signature value left out.
fn shape(xml: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(xml).expect("a document in UTF-8");
    let tree = roxmltree::Document::parse(text).expect("which is XML");
    let elements = tree.descendants().filter(roxmltree::Node::is_element);
    elements
        .map(|element| {
            let mut attributes: Vec<_> =
                element.attributes().map(|a| format!("{}={}", a.name(), a.value())).collect();
            attributes.sort();
            let own: String =
                element.children().filter(|node| node.is_text()).filter_map(|node| node.text()).collect();
            let own: String = own.split_whitespace().collect();
            let value = element.tag_name().name() == "SignatureValue";
            // With its prefix, since readers go by it.
            let name = text[element.range().start + 1..].split([' ', '>', '/']).next().unwrap_or_default();
            format!("{name} {attributes:?} {}", if value { "" } else { &own })
        })
        .collect()
}

#[test]
fn ours_differs_from_the_recorded_one_only_where_it_must() {
    for area in ["rest", "soap", "ec"] {
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let keys = signing_keys(&beside(&folder, expected["pki"].as_str().expect("the keys are named")));
        let mut tally = Tally::new(&format!("captures/{area} (signed again)"));
        for (name, _) in expected["cases"].as_object().expect("the area has cases") {
            for (file, direction) in
                [("request.http", Direction::Request), ("response.http", Direction::Response)]
            {
                let http = read_file(&folder.join(name).join(file));
                let Some(recorded) = Recorded::read(&http, direction).expect("a message reads").signature
                else {
                    continue;
                };
                let theirs = Document::parse(&recorded).expect("a recorded document");
                let key = keys.iter().find(|(cert, _)| *cert == theirs.signing);
                let (_, key) = key.expect("it was signed with a key of the environment");
                let ours = sign_again(&theirs, key);
                assert_eq!(Document::parse(&ours).expect("our own document").verify(), Ok(()));
                tally.equal(format!("{name}/{file}"), shape(&ours), shape(&recorded));
            }
        }
        tally.finish();
    }
}

/// xmlsec1 holds our document for the recorded message good.
#[test]
fn xmlsec1_accepts_ours() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (area, case) in [("rest", "get-small"), ("ec", "soap-simple")] {
        let Some((vectors, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let keys = signing_keys(&beside(&vectors, expected["pki"].as_str().expect("the keys are named")));
        let http = read_file(&vectors.join(case).join("request.http"));
        let message = Recorded::read(&http, Direction::Request).expect("a request reads");
        let theirs = Document::parse(message.evidence().signature).expect("a recorded document");
        let (cert, key) =
            keys.iter().find(|(cert, _)| *cert == theirs.signing).expect("a key of the environment");
        let path = |name: &str| folder.path().join(format!("{area}-{name}"));
        std::fs::write(path("signature.xml"), sign_again(&theirs, key)).expect("the file writes");
        std::fs::write(path("message"), &message.message).expect("the file writes");
        std::fs::write(path("cert.pem"), cert.to_pem()).expect("the file writes");
        let Some(mut xmlsec1) =
            testkit::tools::tool("xmlsec1", "our signatures of recorded messages in xmlsec1")
        else {
            return;
        };
        let output = xmlsec1
            .args(["--verify", "--id-attr:Id", "http://uri.etsi.org/01903/v1.3.2#:SignedProperties"])
            .arg("--pubkey-cert-pem")
            .arg(path("cert.pem"))
            .arg("--url-map:/message.xml")
            .arg(path("message"))
            .arg(path("signature.xml"))
            .output()
            .expect("xmlsec1 runs");
        assert!(output.status.success(), "{area}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
