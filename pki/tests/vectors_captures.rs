//! Conformance vectors, recorded exchanges: every signature that crossed port 5500, verified to the end with its environment and
//! time, and the hash chains rebuilt to the byte.

mod recorded;

use std::collections::BTreeMap;
use std::path::Path;

use pki::digest::DigestAlgorithm;
use pki::globalconf::GlobalConf;
use pki::hash_chain::{Parts, SIGNATURE_CHAIN_URI, Tree};
use pki::message_signature;
use proto::time::UnixTime;
use proto::transport::Direction;
use recorded::{Recorded, beside, code, load_conf, read_file};
use serde_json::Value;
use testkit::vectors::{self, Tally};

/// Areas whose cases are exchanges, some of them refused for other reasons than the signature.
const AREAS: [&str; 8] =
    ["rest", "soap", "ec", "batch", "digest-sha256", "metaservices", "errors-rest", "errors-soap"];

/// Request and answer of one exchange, by file name.
struct Exchange {
    name: String,
    request: Vec<u8>,
    response: Vec<u8>,
    at: UnixTime,
}

fn exchanges(folder: &Path, name: &str, case: &Value) -> Vec<Exchange> {
    let at =
        UnixTime::from_iso8601(case["time"].as_str().expect("a case has a time")).expect("which is ISO 8601");
    let pair = |request: &str, response: &str| {
        let file = |file: &str| folder.join(name).join(file);
        (file(request).is_file() && file(response).is_file()).then(|| Exchange {
            name: format!("{name}/{request}"),
            request: read_file(&file(request)),
            response: read_file(&file(response)),
            at,
        })
    };
    let Some(messages) = case["messages"].as_array() else {
        return pair("request.http", "response.http").into_iter().collect();
    };
    let names = messages.iter().filter_map(|message| message["file"].as_str());
    let requests = names.filter_map(|file| file.strip_suffix("-request.http"));
    requests
        .map(|number| {
            let found = pair(&format!("{number}-request.http"), &format!("{number}-response.http"));
            found.expect("both files of a listed message are there")
        })
        .collect()
}

/// What the stock server said of the request's signature, in the fault it answered with.
fn expected_code(response: &Recorded) -> String {
    let fault = response.fault.as_ref().map(|fault| fault.code.as_str()).unwrap_or_default();
    fault.split_once("signature_verification.").map(|(_, code)| code.to_owned()).unwrap_or_default()
}

fn verdict(message: &Recorded, conf: &GlobalConf, at: UnixTime) -> String {
    let Some(signer) = message.signer() else { return "the sender cannot be read".to_owned() };
    match message_signature::verify(message.evidence(), &message.parts(), &signer, conf, at, false) {
        Ok(verified) => {
            assert_eq!(verified.member, signer.member);
            assert!(verified.trusted.until > at && verified.signing_time.is_some());
            String::new()
        }
        Err(error) => code(&error.fault_path()),
    }
}

#[test]
fn every_recorded_signature_is_judged_as_it_was() {
    for area in AREAS {
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let mut tally = Tally::new(&format!("captures/{area} (signatures)"));
        for (name, case) in expected["cases"].as_object().expect("the area has cases") {
            let conf_path = case["globalconf"].as_str().or(expected["globalconf"].as_str());
            let conf = load_conf(&beside(&folder, conf_path.expect("the configuration is named")));
            for exchange in exchanges(&folder, name, case) {
                let request = Recorded::read(&exchange.request, Direction::Request);
                let response = Recorded::read(&exchange.response, Direction::Response);
                let (Ok(request), Ok(response)) = (request, response) else {
                    tally.not_applicable("not a transport message");
                    continue;
                };
                tally.equal(&exchange.name, verdict(&request, &conf, exchange.at), expected_code(&response));
                if response.signature.is_some() {
                    let name = format!("{} (answer)", exchange.name);
                    tally.equal(name, verdict(&response, &conf, exchange.at), String::new());
                } else {
                    tally.not_applicable("answered with a fault, which nobody signs");
                }
            }
        }
        tally.finish();
    }
}

/// Where a leaf stands among the others: at each step whether it is in the second half. Orphans skip steps, so the order of these
/// texts is the order of the leaves.
fn way(chain: &str) -> String {
    let steps = chain.split("<ns2:HashStep ").skip(1);
    let inner = steps.filter(|step| step.contains("HashValue"));
    inner.map(|step| if step.find("HashValue") < step.find("Ref URI") { '1' } else { '0' }).collect()
}

/// Chains whose messages were all recorded, built again from the parts.
#[test]
fn recorded_chains_are_built_to_the_byte() {
    let mut tally = Tally::new("captures (chains rebuilt)");
    for area in AREAS {
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        // By chain result: the way to each leaf, its parts and its chain.
        let mut trees: BTreeMap<String, BTreeMap<String, (Parts, String)>> = BTreeMap::new();
        for (name, case) in expected["cases"].as_object().expect("the area has cases") {
            for exchange in exchanges(&folder, name, case) {
                for (http, direction) in
                    [(&exchange.request, Direction::Request), (&exchange.response, Direction::Response)]
                {
                    let message = Recorded::read(http, direction).expect("a message reads");
                    let (Some(result), Some(chain)) = (&message.chain_result, &message.chain) else {
                        continue;
                    };
                    let text = |raw: &[u8]| String::from_utf8(raw.to_vec()).expect("chains are UTF-8");
                    let chain = text(chain);
                    let leaves = trees.entry(text(result)).or_default();
                    leaves.insert(way(&chain), (message.parts(), chain));
                }
            }
        }
        for (result, leaves) in trees {
            let parts = leaves.values().map(|(parts, _)| parts.clone()).collect();
            let tree = Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, parts);
            if result.contains("#sha256") {
                tally.not_applicable("of a sender that mixes digest algorithms");
            } else if !result.contains("ns2:HashChainResult") {
                tally.not_applicable("written with the other choice of prefixes");
            } else if tree.result_xml() == result.as_bytes() {
                let same =
                    leaves.values().enumerate().all(|(n, (_, chain))| tree.chain_xml(n) == chain.as_bytes());
                tally.equal(format!("{area}: {} leaves", leaves.len()), same, true);
            } else if leaves.len() > 1 || leaves.keys().any(|way| !way.is_empty()) {
                tally.not_applicable("of batches with messages that were not recorded");
            } else {
                tally.fail(format!("{area}: one message"), result);
            }
        }
    }
    tally.finish();
}

/// Not one bit of a message, its chain or its signature can be changed so that something else is proven.
#[test]
fn a_changed_bit_proves_nothing_else() {
    for (area, case) in [("rest", "get-small"), ("rest", "post-json"), ("ec", "soap-simple")] {
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let conf =
            load_conf(&beside(&folder, expected["globalconf"].as_str().expect("the configuration is named")));
        let exchange = exchanges(&folder, case, &expected["cases"][case]).remove(0);
        let good = Recorded::read(&exchange.request, Direction::Request).expect("a request reads");
        let signer = good.signer().expect("it says who sent it");
        let judge = |message: &Recorded, parts: &Parts| {
            message_signature::verify(message.evidence(), parts, &signer, &conf, exchange.at, false)
        };
        let proven = judge(&good, &good.parts()).expect("the recorded message is good");
        for part in ["message", "attachment", "result", "chain", "signature"] {
            for round in 0..testkit::tools::rounds(60, 3000) {
                let mut message = good.clone();
                let Some(data) = message.part_mut(part).filter(|data| !data.is_empty()) else { continue };
                let at = round.wrapping_mul(2_654_435_761) % (data.len() * 8);
                let mut changed = data.to_vec();
                changed[at / 8] ^= 1 << (at % 8);
                *data = changed.into();
                let outcome = judge(&message, &message.parts());
                if part == "message" || part == "attachment" {
                    assert!(outcome.is_err(), "{area}/{case}: {part}, bit {at}");
                } else if let Ok(other) = outcome {
                    // White space, or something unsigned that does not matter.
                    assert_eq!((&other.cert, other.signing_time), (&proven.cert, proven.signing_time));
                    assert_eq!(other.by_digest, proven.by_digest);
                }
            }
        }
    }
}
