//! Conformance vectors, probes of port 5500: hostile and odd signatures that a stock provider server was shown.
//!
//! What it refused for its signature we refuse; what it took although it is unsafe (`must_differ`) we refuse as well; what else it
//! took we take, unless one of our stricter rules stands against it, which is counted by rule.

mod recorded;

use std::io::Read;
use std::path::Path;

use pki::globalconf::GlobalConf;
use pki::hash_chain::HashChainError;
use pki::message_signature::{self, VerifyError};
use pki::xades::SignatureError;
use proto::time::UnixTime;
use proto::transport::Direction;
use recorded::{Recorded, code, load_conf, read_file};
use serde_json::Value;
use testkit::vectors::{self, Tally};

/// After the last recording; certificates and OCSP answers hold for years, those from the future are two days ahead.
const AT: &str = "2026-11-21T22:00:00Z";

/// Reasons for `must_differ` that are about signatures.
const ABOUT_SIGNATURES: [&str; 5] = [
    "signature that does not cover",
    "external entities or DTD",
    "MD5 or SHA-1",
    "transform on a message reference",
    "OCSP answer from the future",
];

enum Expected {
    Accepted,
    Refused(String),
    /// Taken by the stock server, and must not be.
    Unsafe,
    /// Never came to the signature.
    Unknown,
}

fn expected(case: &Value) -> Expected {
    if let Some(reason) = case["must_differ"].as_str() {
        let about_signatures = ABOUT_SIGNATURES.iter().any(|known| reason.starts_with(known));
        return if about_signatures { Expected::Unsafe } else { Expected::Unknown };
    }
    match case["fault"]["code"].as_str() {
        Some(code) => match code.split_once("signature_verification.") {
            Some((_, code)) => Expected::Refused(code.to_owned()),
            None => Expected::Unknown,
        },
        // The information system was asked, so the signature was found good.
        None if case["backend"].as_array().is_some_and(|asked| !asked.is_empty()) => Expected::Accepted,
        None => Expected::Unknown,
    }
}

/// The rule of ours that a refusal names, where it is one that the stock servers do not have.
fn stricter_rule(error: &VerifyError) -> Option<&'static str> {
    let texts = [
        ("document type", "no document type"),
        ("an id stands twice", "every id once"),
        ("Object has", "one ds:Object"),
        ("Signature has an element", "one ds:Object"),
        ("the root has", "one signature"),
        ("a part is referred to twice", "every part once"),
        ("neither to a part nor", "no reference to anything else"),
        ("is not named by the SignedProperties", "SigningCertificate is the certificate"),
        ("digest algorithm", "SHA-2 only"),
        ("signature algorithm is not", "SHA-2 only"),
        ("canonicalisation is not", "canonical forms without comments"),
        ("holds something else than text", "values are plain text"),
        ("has an attribute that", "no unknown attributes"),
    ];
    let text = match error {
        VerifyError::Signature(SignatureError::Malformed(text))
        | VerifyError::Chain(HashChainError::Malformed(text)) => text,
        VerifyError::Signature(SignatureError::OtherCertificate) => {
            return Some("SigningCertificate is the certificate");
        }
        VerifyError::Superfluous(_) => return Some("a chain or references, not both"),
        VerifyError::Uncovered(_) => return Some("every part is covered"),
        _ => return None,
    };
    texts.iter().find(|(part, _)| text.contains(part)).map(|(_, rule)| *rule)
}

/// Codes that differ because our rule names the form, where the stock server stumbled over the consequences.
fn says_malformed(code: &str) -> bool {
    code == "malformed_signature" || code == "malformed_signature.malformed_hash_chain"
}

fn judge(folder: &Path, case: &Value, conf: &GlobalConf) -> Option<Result<(), VerifyError>> {
    let name = case["request_file"].as_str()?;
    let mut http = read_file(&folder.join(name));
    if name.ends_with(".gz") {
        let packed = std::mem::take(&mut http);
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut http).expect("it unpacks");
    }
    // A message whose multipart is broken is for the transport to refuse.
    let message = Recorded::read(&http, Direction::Request).ok()?;
    message.signature.as_ref()?;
    let signer = message.signer()?;
    let at = UnixTime::from_iso8601(AT).expect("a time");
    let verdict = message_signature::verify(message.evidence(), &message.parts(), &signer, conf, at, false);
    Some(verdict.map(drop))
}

#[test]
fn signatures_shown_to_the_stock_provider() {
    let Some((folder, file)) = vectors::area("probes/5-provider-port") else { return };
    let conf = load_conf(&folder.join("../environment/globalconf"));
    let mut tally = Tally::new("probes/5-provider-port (signatures)");
    for case in file["cases"].as_array().expect("the area has cases") {
        let name = case["name"].as_str().expect("a case has a name");
        let expected = expected(case);
        if matches!(expected, Expected::Unknown) {
            continue;
        }
        let Some(verdict) = judge(&folder, case, &conf) else {
            tally.not_applicable("not a message the transport lets through");
            continue;
        };
        match (expected, verdict) {
            (Expected::Accepted, Ok(())) | (Expected::Unsafe, Err(_)) => tally.pass(),
            (Expected::Accepted, Err(error)) => match stricter_rule(&error) {
                Some(rule) => tally.not_applicable(&format!("against our rule: {rule}")),
                None => tally.fail(name, format_args!("refused: {error}")),
            },
            (Expected::Refused(wanted), Err(error)) => {
                let found = code(&error.fault_path());
                if found == wanted || says_malformed(&found) {
                    tally.pass();
                } else {
                    tally.fail(name, format_args!("found {found} ({error}), expected {wanted}"));
                }
            }
            (Expected::Refused(wanted), Ok(())) => {
                tally.fail(name, format_args!("accepted, expected {wanted}"))
            }
            (Expected::Unsafe, Ok(())) => tally.fail(name, "accepted, and must not be"),
            (Expected::Unknown, _) => {}
        }
    }
    tally.finish();
}
