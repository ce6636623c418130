//! Vectors `certs` and `signer`, and the software tokens of the recorded servers: certificates, paths, PKCS#12 stores.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::algorithm::EcdsaForm;
use pki::cert::Certificate;
use pki::chain;
use pki::key::PrivateKey;
use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};
use pki::ocsp::{self, Responders, Response, Rules, Status};
use pki::profile::Profile;
use pki::public_key::{Curve, KeyType};
use pki::trust::TrustError;
use proto::fault::Style;
use proto::id::MemberId;
use proto::time::UnixTime;
use serde_json::Value;
use testkit::vectors::{self, Tally};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// Some files are base64 without the lines around it.
fn armoured(bytes: Vec<u8>) -> Vec<u8> {
    let bare: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(bare).unwrap_or(bytes)
}

/// First key and all certificates of a store.
fn store(dir: &Path, file: &str, password: &str) -> (PrivateKey, Vec<Certificate>) {
    let bytes = std::fs::read(dir.join(file)).unwrap();
    let (key, certs) =
        PrivateKey::from_pkcs12(&bytes, password).unwrap_or_else(|error| panic!("{file}: {error}"));
    (key, certs.iter().map(|der| Certificate::parse(der).unwrap()).collect())
}

/// RFC 2253 text with values of dotted types as text, which is how the facts were written.
fn readable(name: &str) -> String {
    let part = |part: &str| match part.split_once("=#") {
        Some((oid, hex)) => {
            let der = hex::decode(hex).unwrap();
            format!("{oid}={}", String::from_utf8_lossy(&der[2..]))
        }
        None => part.to_owned(),
    };
    let mut parts: Vec<String> = Vec::new();
    for piece in name.split(',') {
        match parts.last_mut().filter(|last| last.ends_with('\\')) {
            Some(last) => *last = format!("{last},{piece}"),
            None => parts.push(piece.to_owned()),
        }
    }
    parts.iter().map(|piece| part(piece)).collect::<Vec<_>>().join(",")
}

/// What is known of a certificate against what we read.
fn check_facts(cert: &Certificate, facts: &Value) -> Result<(), String> {
    let key = match cert.public_key().key_type() {
        Some(KeyType::Rsa(bits)) => format!("RSA-{bits}"),
        Some(KeyType::Ec(Curve::P256)) => "EC-secp256r1".to_owned(),
        Some(KeyType::Ec(curve)) => format!("EC-{curve:?}"),
        None => "unknown".to_owned(),
    };
    let found = [
        ("subject", readable(&cert.subject())),
        ("issuer", readable(&cert.issuer())),
        ("serial", cert.serial_decimal()),
        ("not_before", cert.not_before().to_iso8601()),
        ("not_after", cert.not_after().to_iso8601()),
        ("key", key),
    ];
    for (name, found) in found {
        if found != text(facts, name) {
            return Err(format!("{name} is {found}, not {}", text(facts, name)));
        }
    }
    Ok(())
}

fn check_store(dir: &Path, entry: &Value) -> Result<(), String> {
    let (key, certs) = store(dir, text(entry, "file"), text(entry, "password"));
    let facts = entry["store"]["certificates"].as_array().unwrap();
    if facts.len() != certs.len() {
        return Err(format!("{} certificates, not {}", certs.len(), facts.len()));
    }
    let file = std::fs::read(dir.join(text(entry, "file"))).unwrap();
    if PrivateKey::from_pkcs12(&file, "another password").is_ok() {
        return Err("any password opens it".to_owned());
    }
    let own = certs.first().ok_or("no certificate")?;
    let algorithm = key.default_algorithm();
    let value = key.sign(algorithm, EcdsaForm::Raw, b"message").map_err(|error| error.to_string())?;
    own.verify(algorithm, EcdsaForm::Raw, b"message", &value).map_err(|error| format!("own key: {error}"))?;
    for facts in facts.iter().filter(|facts| facts["subject"].is_string()) {
        let reasons: Vec<_> = certs.iter().map(|cert| check_facts(cert, facts)).collect();
        if !reasons.contains(&Ok(())) {
            return Err(format!("{facts} is none of {reasons:?}"));
        }
    }
    Ok(())
}

/// Certificates, stores and verdicts of one area.
fn check_files(dir: &Path, expected: &Value, tally: &mut Tally) {
    for entry in expected["files"].as_array().unwrap() {
        let file = text(entry, "file");
        let bytes = armoured(std::fs::read(dir.join(file)).unwrap());
        if entry["store"].is_object() {
            tally.ok(file, check_store(dir, entry));
        }
        let readable = |facts: &&Vec<Value>| facts.iter().all(|facts| facts["subject"].is_string());
        if let Some(facts) = entry["certificates"].as_array().filter(readable) {
            let certs = Certificate::parse_all(&bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(certs.len(), facts.len(), "{file}");
            for (cert, facts) in certs.iter().zip(facts) {
                tally.ok(file, check_facts(cert, facts));
            }
        }
        let expect = &entry["expect"];
        match (expect["verdict"].as_str(), expect["code"].as_str(), expect["note"].as_str()) {
            (Some("accept"), ..) if expect["merge"].is_string() => {
                tally.not_applicable("about key configurations of the reference, which is not our format");
            }
            (Some("accept"), ..) => tally.equal(file, Certificate::parse_all(&bytes).is_ok(), true),
            (Some("reject"), None, Some("must not be accepted as a certificate")) => {
                tally.equal(file, Certificate::parse_all(&bytes).is_ok(), false);
            }
            (Some("reject"), ..) => tally.not_applicable("about an import into a running server"),
            _ => {}
        }
        if let Some(names) = expect["san"].as_str() {
            let dns: Vec<_> = names.split(", ").filter_map(|name| name.strip_prefix("DNS:")).collect();
            let found = Certificate::parse(&bytes).unwrap();
            tally.equal(
                file,
                found.dns_names().to_vec(),
                dns.iter().map(|name| (*name).to_owned()).collect(),
            );
        }
        if text(entry, "what").contains("private key") || text(entry, "what").starts_with("its key") {
            tally.ok(file, PrivateKey::from_pem(&bytes).map(|_| ()));
        }
    }
}

/// The path of a case, then an OCSP answer for each of its certificates, as `trust` asks for.
fn check_chain(dir: &Path, case: &Value) -> Result<(), String> {
    let one = |file: &Value| store(dir, file.as_str().unwrap(), "test").1.remove(0);
    let (root, user) = (one(&case["root"]), one(&case["user"]));
    let intermediates: Vec<_> = case["intermediates"].as_array().unwrap().iter().map(one).collect();
    let day = std::time::Duration::from_secs(86_400);
    let at = match text(case, "at") {
        "now" => UnixTime::from_iso8601("2026-11-21T00:00:00Z").unwrap(),
        "user notBefore + 1 day" => user.not_before().plus(day),
        "root notBefore + 1 day" => root.not_before().plus(day),
        other => panic!("unknown time {other}"),
    };
    let path_code = |error: chain::ChainError| code(&TrustError::from(error));
    let path = chain::build(&user, &intermediates, &root, at).map_err(path_code)?;
    let answers = case["ocsp"].as_str().unwrap_or_default();
    assert!(answers.starts_with("good answers for"), "{answers}");
    let without = answers.split("all but ").nth(1).map(|name| format!("common-test/test_chain/{name}.p12"));
    let without = without.map(|file| one(&file.into()));
    let (key, signer) = store(dir, "common-test/ocspsigner.p12", "test");
    let responses: Vec<_> = path
        .links()
        .filter(|(cert, _)| without.as_ref() != Some(*cert))
        .map(|(cert, issuer)| {
            let answer = Answer::about(cert, issuer, Status::Good, at, None).unwrap();
            let algorithm = key.default_algorithm();
            let by = Responder { cert: &signer[0], key: &key, named_by: NamedBy::Name, algorithm };
            Response::parse(&respond(&[answer], by, at).unwrap()).unwrap()
        })
        .collect();
    let responders = Responders { configured: &signer[..1], known: std::slice::from_ref(&root) };
    let rules = Rules { freshness: day, verify_next_update: true, future_tolerance: None };
    for (cert, issuer) in path.links() {
        let ocsp_code = |reason| code(&TrustError::Ocsp { subject: cert.subject(), reason });
        ocsp::judge(&responses, cert, issuer, responders, &rules, at).map_err(ocsp_code)?;
    }
    Ok(())
}

fn code(error: &TrustError) -> String {
    let parts = error.fault_path();
    parts.iter().map(|code| code.text(Style::Snake)).collect::<Vec<_>>().join(".")
}

#[test]
fn certificates_and_their_stores() {
    let Some((dir, expected)) = vectors::area("certs") else { return };
    let mut tally = Tally::new("certs");
    check_files(&dir, &expected, &mut tally);
    // An organisation of Estonia, as its profile's own test of the reference reads it.
    let organisation = armoured(std::fs::read(dir.join("common-test/NTREE.pem")).unwrap());
    let member = Profile::SkKlass3.member(&Certificate::parse(&organisation).unwrap(), "XX");
    tally.equal("NTREE under SkKlass3", member, Ok(MemberId::new("XX", "COM", "10747013")));
    for case in expected["cases"].as_array().unwrap() {
        let (name, expect) = (text(case, "name"), &case["expect"]);
        let found = check_chain(&dir, case);
        match (text(expect, "verdict"), expect["code"].as_str()) {
            ("accept", _) => tally.ok(name, found),
            (_, Some(code)) => {
                assert_eq!(expect["match"].as_str(), Some("prefix"));
                tally.equal(name, found.err().is_some_and(|found| found.starts_with(code)), true);
            }
            (_, None) => tally.equal(name, found.is_err(), true),
        }
    }
    tally.finish();
}

/// Stores of the area, and every software token of the recorded servers: its key is the one that their key configuration names.
#[test]
fn software_tokens_of_the_reference() {
    let Some((dir, expected)) = vectors::area("signer") else { return };
    let mut tally = Tally::new("signer");
    check_files(&dir, &expected, &mut tally);
    for _ in expected["cases"].as_array().unwrap() {
        tally.not_applicable("about key configurations of the reference, which is not our format");
    }
    let root = vectors::dir().unwrap();
    let tokens = [
        ("captures/env-rsa/signer-ss1", "1234"),
        ("captures/env-rsa/signer-ss2", "1234"),
        ("captures/env-ec/signer-ss1", "1234"),
        ("captures/env-ec/signer-ss2", "1234"),
        ("instance/signer", "Secret1234"),
    ];
    for (token, pin) in tokens {
        let folder = root.join(token);
        let keyconf: String =
            std::fs::read_to_string(folder.join("keyconf.xml")).unwrap().split_whitespace().collect();
        for entry in std::fs::read_dir(folder.join("softtoken")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let file = format!("{token}/softtoken/{name}");
            let bytes = std::fs::read(root.join(&file)).unwrap();
            if name.starts_with('.') {
                let wrong = PrivateKey::from_pkcs12(&bytes, "wrong PIN").err();
                tally.equal(&file, wrong, Some(pki::key::KeyError::Password));
                continue;
            }
            let (key, _) = store(&root, &file, pin);
            tally.equal(&file, keyconf.contains(&STANDARD.encode(key.spki())), true);
        }
    }
    tally.finish();
}
