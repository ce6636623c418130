//! Vectors `ocsp` and `timestamps`, and `captures/trust-io`: what live servers asked responders and timestamping services, and what
//! those said.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::globalconf::{GlobalConf, load_directory};
use pki::key::PrivateKey;
use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};
use pki::ocsp::{self, Responders, Response, Rules, Status};
use pki::trust::{self, TrustError};
use pki::tsp::stamp::Request;
use pki::tsp::{self, Token, TspError};
use proto::fault::Style;
use proto::time::UnixTime;
use serde_json::Value;
use testkit::vectors::{self, Tally};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// DER, PEM, or base64 without more.
fn certificate(path: &Path) -> Certificate {
    let bytes = read(path);
    Certificate::parse(&bytes).unwrap_or_else(|_| {
        let base64: Vec<u8> = bytes.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
        Certificate::parse(&STANDARD.decode(base64).unwrap()).unwrap()
    })
}

fn store(root: &Path, file: &str) -> (Certificate, PrivateKey) {
    let (key, certs) = PrivateKey::from_pkcs12(&read(&root.join(file)), "test").unwrap();
    (Certificate::parse(&certs[0]).unwrap(), key)
}

/// `now+1d`, `now-12.3s`.
fn instant(text: &str, now: UnixTime) -> UnixTime {
    let (sign, amount) = text.strip_prefix("now").unwrap().split_at(1);
    let (number, unit) = amount.split_at(amount.len() - 1);
    let unit = match unit {
        "d" => 86_400.0,
        "h" => 3600.0,
        "s" => 1.0,
        _ => panic!("unknown unit in {text}"),
    };
    let length = Duration::from_secs_f64(number.parse::<f64>().unwrap() * unit);
    if sign == "+" { now.plus(length) } else { now.minus(length) }
}

/// An answer to make, in the words of `make`.
struct Make {
    subject: Certificate,
    issuer: (Certificate, PrivateKey),
    signer: Option<(Certificate, PrivateKey)>,
    status: Status,
    this_update: UnixTime,
    next_update: Option<UnixTime>,
    verified_with_subject: bool,
}

impl Make {
    fn read(make: &str, root: &Path, now: UnixTime) -> Self {
        let base = "certs/common-test/test_chain/";
        let (subject, rest) =
            make.strip_prefix("subject = ").unwrap().split_once(", issuer = responder = ").unwrap();
        let (issuer, rest) = rest.split_once("; ").unwrap();
        let mut this = Self {
            subject: store(root, subject).0,
            issuer: store(root, &format!("{base}{issuer}")),
            signer: None,
            status: Status::Good,
            this_update: now,
            next_update: None,
            verified_with_subject: false,
        };
        for clause in rest.split([',', ';']).map(str::trim) {
            if let Some(at) = clause.strip_prefix("thisUpdate ") {
                this.this_update = instant(at, now);
            } else if let Some(at) = clause.strip_prefix("nextUpdate now") {
                this.next_update = Some(instant(&format!("now{at}"), now));
            } else if let Some(signer) = clause.strip_prefix("signed by ") {
                let file = signer.split_whitespace().next().unwrap();
                this.signer = Some(another_ca(root, file));
            } else {
                match clause {
                    "status good" => this.status = Status::Good,
                    "status revoked" => this.status = Status::Revoked,
                    "status unknown" => this.status = Status::Unknown,
                    "no nextUpdate" | "nextUpdate verification on" => {}
                    "verified with issuer = the subject certificate" => this.verified_with_subject = true,
                    other => panic!("cannot make: {other}"),
                }
            }
        }
        this
    }

    fn verdict(&self, now: UnixTime) -> Result<(), TrustError> {
        let (issuer, issuer_key) = &self.issuer;
        let (signer, key) = self.signer.as_ref().map_or((issuer, issuer_key), |(signer, key)| (signer, key));
        let answer =
            Answer::about(&self.subject, issuer, self.status, self.this_update, self.next_update).unwrap();
        let by = Responder { cert: signer, key, named_by: NamedBy::Name, algorithm: key.default_algorithm() };
        let response = Response::parse(&respond(&[answer], by, now).unwrap()).unwrap();
        let known = [issuer.clone(), signer.clone()];
        let responders = Responders { configured: &[], known: &known };
        // As upstream verifies: no bound on the future. Ours is tested where it is made, and stands in docs/differences.md.
        let rules =
            Rules { freshness: Duration::from_secs(3600), verify_next_update: true, future_tolerance: None };
        let issuer = if self.verified_with_subject { &self.subject } else { issuer };
        let found = response.verify(&self.subject, issuer, responders, &rules, now);
        found.map(|_| ()).map_err(|reason| TrustError::Ocsp { subject: self.subject.subject(), reason })
    }
}

/// A store by its name, wherever it lies; one that was not passed on stands for any other CA, and so does the old root.
fn another_ca(root: &Path, file: &str) -> (Certificate, PrivateKey) {
    let places = ["certs/common-test", "certs/tls", "certs/common-test/test_chain"];
    let found = places.iter().map(|place| format!("{place}/{file}")).find(|file| root.join(file).exists());
    store(root, &found.unwrap_or_else(|| "certs/common-test/root-ca.p12".to_owned()))
}

/// Last part of the code, since the area names it without `invalid_cert_path`.
fn last_code(error: &TrustError) -> String {
    error.fault_path().last().unwrap().text(Style::Snake).to_owned()
}

#[test]
fn ocsp_answers() {
    let Some((dir, expected)) = vectors::area("ocsp") else { return };
    let root = vectors::dir().unwrap();
    let mut tally = Tally::new("ocsp");
    for entry in expected["files"].as_array().unwrap() {
        let response = Response::parse(&read(&dir.join(text(entry, "file")))).unwrap();
        let signers = response.certificates();
        let by_embedded = signers.iter().any(|cert| response.is_signed_by(cert));
        tally.equal(
            text(entry, "file"),
            by_embedded,
            text(&entry["expect"], "note").contains("signature verifies"),
        );
    }
    let now = UnixTime::from_iso8601("2026-11-21T12:00:00Z").unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let found = Make::read(text(case, "make"), &root, now).verdict(now);
        let expect = &case["expect"];
        let wanted = if text(expect, "verdict") == "accept" { None } else { expect["code"].as_str() };
        tally.equal(text(case, "name"), found.err().as_ref().map(last_code).as_deref(), wanted);
    }
    tally.finish();
}

/// `file`, or `file with byte 42 set to 0x01`.
fn stamped_data(dir: &Path, data: &str) -> Vec<u8> {
    let (file, change) = data.split_once(" with byte ").unwrap_or((data, ""));
    let mut bytes = read(&dir.join(file));
    if let Some((index, value)) = change.split_once(" set to 0x") {
        bytes[index.parse::<usize>().unwrap()] = u8::from_str_radix(value, 16).unwrap();
    }
    bytes
}

fn verify_token(dir: &Path, file: &str, data: &str, tsas: &[Certificate]) -> Result<(), TspError> {
    let token = Token::parse(&read(&dir.join(file)))?;
    token.verify(&stamped_data(dir, data), tsas).map(|_| ())
}

#[test]
fn timestamps() {
    let Some((dir, expected)) = vectors::area("timestamps") else { return };
    let mut tally = Tally::new("timestamps");
    let usual = vec![certificate(&dir.join("tsp.pem"))];
    for entry in expected["files"].as_array().unwrap() {
        let (file, expect) = (text(entry, "file"), &entry["expect"]);
        match expect["verdict"].as_str() {
            Some("accept") => {
                let tsas = [certificate(&dir.join(text(expect, "trusted_tsa")))];
                tally.ok(file, verify_token(&dir, file, text(expect, "data"), &tsas));
            }
            Some("info") => {
                let token = Token::from_response(&read(&dir.join(file))).unwrap();
                tally.ok(file, token.verify_digest(token.imprint(), &usual).map(|_| ()));
            }
            _ => {}
        }
    }
    for case in expected["cases"].as_array().unwrap() {
        let expect = &case["expect"];
        let tsas = match case["trusted_tsa"].as_str() {
            None => usual.clone(),
            Some(text) if text.contains("OCSP responder") => {
                vec![store(&vectors::dir().unwrap(), "certs/common-test/ocspsigner.p12").0]
            }
            Some(file) => vec![certificate(&dir.join(file))],
        };
        let found = verify_token(&dir, text(case, "file"), text(case, "data"), &tsas);
        let wanted = if text(expect, "verdict") == "accept" { None } else { expect["code"].as_str() };
        tally.equal(text(case, "name"), found.err().as_ref().map(TspError::code), wanted);
    }
    tally.finish();
}

/// All certificates of a recorded environment by serial number.
fn by_serial(root: &Path, env: &str, serial: &str) -> Certificate {
    let files = std::fs::read_dir(root.join(env).join("pki")).unwrap();
    let der =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "der"));
    let mut certs = der.map(|path| Certificate::parse(&read(&path)).unwrap());
    certs.find(|cert| cert.serial_decimal() == serial).unwrap_or_else(|| panic!("no {serial} in {env}"))
}

/// The request is ours to the byte, and the answer is good a minute later.
fn check_recorded_ocsp(root: &Path, name: &str, request: &[u8], response: &[u8]) -> Result<(), String> {
    let (kind, serial) = name.strip_prefix("ocsp-").unwrap().split_once('-').unwrap();
    let env = format!("captures/env-{kind}");
    let conf = load_directory(&root.join(&env).join("globalconf")).unwrap();
    let cert = by_serial(root, &env, serial);
    let issuer = conf.ca_for(&cert, conf.instance()).ok_or("no issuer")?.cert.clone();
    if ocsp::request(&cert, &issuer) != request {
        return Err("our request differs".to_owned());
    }
    let response = Response::parse(response).map_err(|error| error.to_string())?;
    let at = response.this_update().plus(Duration::from_secs(60));
    let judged = trust::judge(&conf, &[response], &cert, &issuer, conf.instance(), at);
    judged.map(|_| ()).map_err(|error| error.to_string())
}

fn check_recorded_stamp(conf: &GlobalConf, request: &[u8], response: &[u8]) -> Result<(), String> {
    let asked = Request::parse(request).ok_or("no request")?;
    if tsp::request(&asked.imprint) != request || asked.imprint.algorithm != DigestAlgorithm::Sha512 {
        return Err("our request differs".to_owned());
    }
    let token = Token::from_response(response).map_err(|error| error.to_string())?;
    let (_, tsa) =
        token.verify_digest(&asked.imprint, conf.tsa_certs()).map_err(|error| error.to_string())?;
    let with = token.with_certificate(&tsa);
    let again = with.verify_digest(&asked.imprint, conf.tsa_certs()).map_err(|error| error.to_string())?;
    if again.1 == tsa && with.certificates().len() == 1 {
        Ok(())
    } else {
        Err("certificate not put in".to_owned())
    }
}

#[test]
fn recorded_trust_services() {
    let Some(root) = vectors::dir() else { return };
    let mut tally = Tally::new("captures/trust-io");
    let dir = root.join("captures/trust-io");
    let conf = load_directory(&root.join("captures/env-rsa/globalconf")).unwrap();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if let Some(name) = file.strip_suffix(".req.der") {
            let response = read(&dir.join(format!("{name}.resp.der")));
            tally.ok(&file, check_recorded_ocsp(&root, name, &read(&dir.join(&file)), &response));
        } else if let Some(name) = file.strip_suffix(".tsq") {
            let response = read(&dir.join(format!("{name}.tsr")));
            tally.ok(&file, check_recorded_stamp(&conf, &read(&dir.join(&file)), &response));
        }
    }
    tally.finish();
}
