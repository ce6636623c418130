//! Conformance vectors, area `signatures`: verdict and code of every document and case.
//!
//! Two things of the upstream test are its own: for instance EE a certificate profile that reads the common name as member code, and
//! everywhere OCSP answers from the future, which we refuse. The steps are therefore taken one by one, in
//! the order of `message_signature::verify`, with both set right.

mod recorded;

use std::path::PathBuf;

use pki::cert::Certificate;
use pki::chain;
use pki::digest::{DigestAlgorithm, DigestValue};
use pki::globalconf::GlobalConf;
use pki::hash_chain::Parts;
use pki::message_signature::{self, Evidence, VerifyError};
use pki::name::COMMON_NAME;
use pki::ocsp::{self, Responders, Response};
use pki::trust::TrustError;
use pki::xades::Document;
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;
use recorded::{code, load_conf, read_file};
use serde_json::Value;
use testkit::vectors::{self, Tally};

struct Area {
    folder: PathBuf,
    ee: GlobalConf,
    dev: GlobalConf,
}

/// One thing to judge.
struct Case<'a> {
    file: &'a str,
    signer: ClientId,
    at: UnixTime,
    parts: Option<Parts>,
    chain: Option<(Vec<u8>, Vec<u8>)>,
    parse_only: bool,
}

impl Area {
    /// Code of the verdict, empty when accepted.
    fn judge(&self, case: &Case<'_>) -> String {
        let signature = read_file(&self.folder.join(case.file));
        let hash_chain = case.chain.as_ref().map(|(result, chain)| (result.as_slice(), chain.as_slice()));
        let evidence = Evidence { signature: &signature, hash_chain };
        // Without parts the case is about something that comes before them.
        let parts = case.parts.clone().unwrap_or_default();
        let outcome = self.step_by_step(evidence, &parts, case);
        outcome.err().map(|error| code(&error.fault_path())).unwrap_or_default()
    }

    fn step_by_step(
        &self,
        evidence: Evidence<'_>,
        parts: &Parts,
        case: &Case<'_>,
    ) -> Result<(), VerifyError> {
        let document = Document::parse(evidence.signature)?;
        if case.parse_only {
            return Ok(());
        }
        let cert = &document.signing;
        if !cert.is_signing() {
            return Err(TrustError::NotSigning { subject: cert.subject() }.into());
        }
        let (found, expected) = (self.member(cert, &case.signer.member), &case.signer.member);
        if found != *expected {
            return Err(
                TrustError::OtherMember { found: found.to_string(), expected: expected.to_string() }.into()
            );
        }
        document.verify()?;
        message_signature::check_coverage(&document, evidence, parts, false)?;
        let answered = self.check_trust(&document, expected, case.at)?;
        if expected.instance == "DEV" {
            // The same in one call, as soon as the OCSP answer is no longer from the future.
            let at = case.at.max(answered);
            message_signature::verify(evidence, parts, &case.signer, &self.dev, at, false)?;
        }
        Ok(())
    }

    fn conf(&self, instance: &str) -> &GlobalConf {
        if instance == "EE" { &self.ee } else { &self.dev }
    }

    /// Whom the certificate names: by the profile of its CA, in EE by that of the upstream test.
    fn member(&self, cert: &Certificate, asked: &MemberId) -> MemberId {
        if asked.instance == "EE" {
            let code = cert.subject_name().last(COMMON_NAME).expect("a common name");
            return MemberId::new(&asked.instance, &asked.class, code);
        }
        let ca = self.dev.ca_for(cert, &asked.instance).expect("the CA is configured");
        ca.profile.expect("with a profile").member(cert, &asked.instance).expect("which reads the subject")
    }

    /// Path and OCSP; gives the time of the last OCSP answer.
    fn check_trust(
        &self,
        document: &Document,
        member: &MemberId,
        at: UnixTime,
    ) -> Result<UnixTime, TrustError> {
        let conf = self.conf(&member.instance);
        let subject = || document.signing.subject();
        let ca = conf.ca_for(&document.signing, &member.instance);
        let ca = ca.ok_or(TrustError::UnknownIssuer { subject: subject() })?;
        let path = chain::build(&document.signing, &document.extra, &ca.cert, at)?;
        let answers: Vec<Response> =
            document.ocsp.iter().map(|der| Response::parse(der).expect("it parses")).collect();
        let rules = ocsp::Rules { future_tolerance: None, ..conf.ocsp_rules() };
        let responders = Responders { configured: &ca.responders, known: conf.ca_certs() };
        let mut answered = at;
        for (cert, issuer) in path.links() {
            let good = ocsp::judge(&answers, cert, issuer, responders, &rules, at);
            let good = good.map_err(|reason| TrustError::Ocsp { subject: subject(), reason })?;
            answered = answered.max(good.this_update);
        }
        Ok(answered)
    }

    /// What the area's texts say of a part: a file, or its bytes, or its digest in words.
    fn part(&self, uri: &str, text: &str) -> (String, DigestValue) {
        let (text, algorithm) = match text.strip_prefix("SHA-512 of ") {
            Some(rest) => (rest, DigestAlgorithm::Sha512),
            None => (text, DigestAlgorithm::Sha512),
        };
        let data = if self.folder.join(text).is_file() {
            read_file(&self.folder.join(text))
        } else if let Some(byte) = text.strip_prefix("the single byte 0x") {
            vec![u8::from_str_radix(byte, 16).expect("a byte in hexadecimal")]
        } else if let Some((_, word)) = text.split_once(" bytes ") {
            word.as_bytes().to_vec()
        } else {
            panic!("a part is described as {text:?}")
        };
        (uri.to_owned(), algorithm.digest(&data))
    }

    fn parts(&self, described: &Value) -> Option<Parts> {
        let described = described.as_object()?;
        Some(described.iter().map(|(uri, text)| self.part(uri, text.as_str().expect("a text"))).collect())
    }
}

/// Midnight of a date.
fn midnight(date: &str) -> UnixTime {
    UnixTime::from_iso8601(&format!("{date}T00:00:00Z")).expect("a date")
}

fn signer(value: &Value) -> Option<ClientId> {
    let field = |name: &str| value[name].as_str().map(str::to_owned);
    Some(MemberId::new(field("instance")?, field("memberClass")?, field("memberCode")?).client())
}

/// The conditions of a file's own entry; `cases` override some of them.
fn case_of<'a>(area: &Area, entry: &'a Value) -> Case<'a> {
    let expect = &entry["expect"];
    let resolve = expect["resolve"].as_object();
    let chain = expect["hash_chain_result"].as_str().zip(resolve).map(|(result, resolve)| {
        let chain =
            resolve.iter().find(|(uri, _)| uri.contains("hashchain")).expect("the chain is resolved").1;
        let file = |name: &str| read_file(&area.folder.join(name));
        (file(result), file(chain.as_str().expect("by a file")))
    });
    let mut parts = area.parts(&expect["parts"]);
    if let Some(resolve) = resolve {
        let named = resolve.iter().filter(|(uri, _)| !uri.contains("hashchain"));
        parts = Some(named.map(|(uri, text)| area.part(uri, text.as_str().expect("a text"))).collect());
    }
    Case {
        file: entry["file"].as_str().expect("an entry names its file"),
        signer: signer(&expect["signer"])
            .unwrap_or_else(|| MemberId::new("EE", "BUSINESS", "consumer").client()),
        at: midnight(expect["at"].as_str().unwrap_or("2014-10-30")),
        parts,
        chain,
        parse_only: expect["when"] == "parse",
    }
}

fn area() -> Option<(Area, Value)> {
    let (folder, expected) = vectors::area("signatures")?;
    let params = folder.join("../globalconf/params");
    let area = Area {
        ee: load_conf(&params.join("globalconf_good_v6")),
        dev: load_conf(&params.join("globalconf_good2_v3")),
        folder,
    };
    Some((area, expected))
}

#[test]
fn verdicts_and_codes() {
    let Some((area, expected)) = area() else { return };
    let mut tally = Tally::new("signatures");
    let files = expected["files"].as_array().expect("the area has files");
    for entry in files {
        let expect = &entry["expect"];
        let wanted = match expect["verdict"].as_str() {
            Some("accept") => String::new(),
            Some("reject") => expect["code"].as_str().expect("a rejection has a code").to_owned(),
            Some(_) => {
                tally.not_applicable("a sample without a verdict");
                continue;
            }
            None => continue,
        };
        let case = case_of(&area, entry);
        tally.equal(case.file, area.judge(&case), wanted);
    }
    for entry in expected["cases"].as_array().expect("the area has cases") {
        let name = entry["name"].as_str().expect("a case has a name");
        let of_file =
            files.iter().find(|file| file["file"] == entry["file"]).expect("a case is about a file");
        let mut case = case_of(&area, of_file);
        case.signer = signer(&entry["signer"]).unwrap_or(case.signer);
        if let Some(at) = entry["at"].as_str() {
            case.at = midnight(at);
        }
        for (uri, digest) in area.parts(&entry["parts"]).unwrap_or_default() {
            let parts = case.parts.get_or_insert_default();
            parts.retain(|(known, _)| *known != uri);
            parts.push((uri, digest));
        }
        let wanted = entry["expect"]["code"].as_str().unwrap_or_default();
        tally.equal(name, area.judge(&case), wanted.to_owned());
    }
    tally.finish();
}

/// What was computed of each document by others: our reading of it says the same.
#[test]
fn documents_are_read_as_others_read_them() {
    let Some((area, expected)) = area() else { return };
    let mut tally = Tally::new("signatures (facts)");
    for entry in expected["files"].as_array().expect("the area has files") {
        let checked = &entry["checked"];
        let Some(references) = checked["references_match"].as_object() else { continue };
        let name = entry["file"].as_str().expect("an entry names its file");
        let document = match Document::parse(&read_file(&area.folder.join(name))) {
            Ok(document) => document,
            Err(error) => {
                // Manifests of 2012, and documents whose form is what the case is about.
                let refused = entry["expect"]["verdict"] == "reject"
                    || references.keys().any(|uri| uri.contains("manifest"));
                assert!(refused, "{name}: {error}");
                tally.not_applicable("of a form that is refused");
                continue;
            }
        };
        let mut uris: Vec<&str> =
            references.keys().map(String::as_str).filter(|uri| !uri.starts_with('#')).collect();
        uris.sort_unstable();
        let mut found: Vec<&str> = document.references.iter().map(|(uri, _)| uri.as_str()).collect();
        found.sort_unstable();
        let algorithm = document.algorithm.uri().rsplit('#').next().unwrap_or_default().to_owned();
        let properties =
            references.iter().filter(|(uri, _)| uri.starts_with('#')).all(|(_, matches)| matches == true);
        let holds = checked["signature_value_ok"] == true && properties;
        tally.equal(
            name,
            (algorithm.as_str(), found, document.verify().is_ok(), document.signing_time),
            (
                checked["algorithm"].as_str().expect("the algorithm"),
                uris,
                holds,
                UnixTime::from_iso8601(checked["signing_time"].as_str().expect("the time")),
            ),
        );
    }
    tally.finish();
}
