//! The probes: what stock servers answered to ordinary, odd and hostile input, held against what ours answer to the same bytes.
//!
//! Compared are the status, the fault code, what the information system was sent, and what the answer holds (`probed/compare.rs` says
//! what is free); where a provider answers our consumer by script, also what that provider was sent. Where ours answers otherwise on
//! purpose, `probed/rules.rs` says what it answers instead and names the heading of `docs/differences.md` that says why.
//! `CAUSEWAY_PROBE=name` plays one case and tells all.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod probed;
mod support;

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use testkit::vectors::{self, Tally};

use crate::probed::Laboratory;
use crate::probed::compare::{Outcome, differences};
use crate::probed::fake::{Fake, described, described_recording};
use crate::probed::play::{Step, Target, ask, steps};
use crate::probed::rules;
use crate::probed::service::find;
use crate::support::pki::copy;

/// Sends what a case sent, to the place it was sent to.
async fn play(laboratory: &Laboratory, case: &Value, steps: Vec<Step>, answers: usize) -> Outcome {
    let pair = match case["tls"].as_str() {
        Some("ss1-internal-tls") => Some(copy(&laboratory.internal)),
        name => name
            .filter(|name| laboratory.environment.join(format!("pki/{name}.der")).exists())
            .map(|name| laboratory.pair(name)),
    };
    let (address, secure) = match case["to"].as_str().unwrap_or_default() {
        "127.0.1.3:5500" => (laboratory.provider.messages, true),
        // Clear text sent to the port for TLS.
        "127.0.1.2:8443" if case["tls"].is_null() => (laboratory.consumer.https, false),
        "127.0.1.2:8443" => (laboratory.consumer.https, true),
        "127.0.1.3:8080" => (laboratory.provider.http, false),
        _ => (laboratory.consumer.http, false),
    };
    laboratory.service.take();
    let request: Vec<u8> = steps.iter().flat_map(Step::bytes).copied().collect();
    let target = Target { address, tls: secure.then_some(pair.as_ref()), answers };
    let answer = ask(target, steps).await;
    Outcome::new(answer, laboratory.service.take(), &request)
}

/// Plays an area in a laboratory of its own.
async fn area(name: &str) {
    let Some(probes) = vectors::dir().map(|dir| dir.join("probes")) else {
        return drop(vectors::area(&format!("probes/{name}")));
    };
    match Laboratory::start(&probes.join("environment")).await {
        Some(laboratory) => walk(&laboratory, name).await.finish(),
        None => testkit::say(&format!("vectors probes/{name}: skipped, this machine has no 127.0.1.3")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_consumers_are_answered_alike_or_better() {
    area("1-consumer-rest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soap_consumers_are_answered_alike_or_better() {
    area("2-consumer-soap").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_rights_are_decided_alike_or_better() {
    area("3-access-rights").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_servers_are_answered_alike_or_better() {
    area("5-provider-port").await;
}

async fn walk(laboratory: &Laboratory, area: &str) -> Tally {
    let (folder, expected) = vectors::area(&format!("probes/{area}")).unwrap();
    let mut tally = Tally::new(&format!("probes/{area}"));
    let only = std::env::var("CAUSEWAY_PROBE").ok();
    let mut seen = HashSet::new();
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let at = folder.join(case["dir"].as_str().unwrap());
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let Some(steps) = steps(&at) else {
            tally.fail(name, "without a request");
            continue;
        };
        // A message arrives once; one that was sent in another case before needs servers that do not know it.
        let again =
            steps.iter().any(|step| matches!(step, Step::Send(bytes) if is_repeated(bytes, &mut seen)));
        let fresh = if again { Laboratory::start(&laboratory.environment).await } else { None };
        let laboratory = fresh.as_ref().unwrap_or(laboratory);
        let stock = Outcome::recorded(&at);
        let answers = 1 + usize::from(stock.answer.as_ref().is_some_and(|answer| !answer.more.is_empty()));
        let ours = play(laboratory, case, steps.clone(), answers).await;
        if only.is_some() {
            testkit::say(&format!("{ours:#?}\n{stock:#?}"));
        }
        let differences = differences(&ours, &stock);
        let mut verdict = rules::judge(area, name, &ours, &differences);
        if !case["must_differ"].is_null() && rules::rule(area, name).is_none() && !ours.calls.is_empty() {
            verdict = Err("must differ, and no rule says how".into());
        }
        if verdict.is_ok() && area == "5-provider-port" && !ours.calls.is_empty() {
            verdict = is_refused_again(laboratory, case, steps).await;
        }
        if let Some(tls) = case["tls_to_is"].get(0)
            && ours.calls.first().and_then(|call| call.shown.as_deref()) != tls["client_cert_sha256"].as_str()
        {
            verdict = Err("another certificate was shown to the service".into());
        }
        tally.ok(name, verdict);
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_answers_are_taken_alike_or_better() {
    const AREA: &str = "5b-fake-provider";
    let Some((folder, expected)) = vectors::area(&format!("probes/{AREA}")) else { return };
    let environment = folder.join("../environment");
    let (laboratory, fake) = loop {
        let Some(laboratory) = Laboratory::start(&environment).await else {
            return testkit::say(&format!("vectors probes/{AREA}: skipped, this machine has no 127.0.1.3"));
        };
        if let Some(fake) = Fake::start(&laboratory).await {
            break (laboratory, fake);
        }
    };
    let mut tally = Tally::new(&format!("probes/{AREA}"));
    let only = std::env::var("CAUSEWAY_PROBE").ok();
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let verdict = match case["sequence"].as_array() {
            Some(sequence) => play_sequence(&laboratory, &fake, sequence).await,
            None => play_scenario(&laboratory, &fake, &folder, case).await,
        };
        tally.ok(name, verdict);
    }
    tally.finish();
}

/// More of what a provider could answer than was recorded: REST, then SOAP.
#[tokio::test(flavor = "multi_thread")]
async fn providers_answers_are_told_apart() {
    let Some(probes) = vectors::dir().map(|dir| dir.join("probes")) else { return };
    let (laboratory, fake) = loop {
        let Some(laboratory) = Laboratory::start(&probes.join("environment")).await else { return };
        if let Some(fake) = Fake::start(&laboratory).await {
            break (laboratory, fake);
        }
    };
    let rest = b"GET /r1/PRB/GOV/3333/FAKE/svc/x HTTP/1.1\r\nHost: h\r\nX-Road-Client: PRB/COM/1111/CONSUMER\r\n\r\n";
    let soap = std::fs::read(probes.join("5b-fake-provider/184-soap-ok/request.bin")).unwrap();
    let mut wrong = Vec::new();
    for (scenario, status, code) in UNRECORDED {
        fake.play(scenario, "good");
        let request = if scenario.starts_with("soap-") { &soap[..] } else { rest };
        let ours = play(&laboratory, &Value::Null, vec![Step::Send(request.to_vec())], 1).await;
        let code = code.map(str::to_owned);
        if ours.summary() != (Some(*status), code.clone(), 0) {
            wrong.push(format!("{scenario}: {:?} instead of {status} {code:?}", ours.summary()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

const UNRECORDED: &[(&str, u16, Option<&str>)] = &[
    ("ok-refs", 200, None),
    ("ok-http10", 200, None),
    ("http-404", 500, Some("server.clientproxy.http_error")),
    ("parts-nosig", 500, Some("server.clientproxy.missing_signature")),
    ("parts-msgtwice", 500, Some("server.clientproxy.service_failed.invalid_content_type")),
    ("parts-extra", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("parts-faultfirst", 500, Some("server.serverproxy.access_denied")),
    ("parts-faultaftermsgbody", 500, Some("server.serverproxy.access_denied")),
    ("parts-faultnotafault", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("sig-ss1-sign", 500, Some("server.clientproxy.signature_verification.incorrect_certificate")),
    ("sig-sign-1111-rogueca", 500, Some("server.clientproxy.signature_verification.internal_error")),
    ("sig-noocsp", 500, Some("server.clientproxy.signature_verification.malformed_signature")),
    ("sig-extra-http", 500, Some("server.clientproxy.signature_verification.internal_error")),
    ("diff-request-id", 500, Some("server.clientproxy.inconsistent_response")),
    ("drop-request-hash", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("empty-id", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("empty-service", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("empty-request-id", 500, Some("server.clientproxy.inconsistent_response")),
    ("twice-wronglast-service", 500, Some("server.clientproxy.inconsistent_response")),
    ("twice-wronglast-request-id", 500, Some("server.clientproxy.inconsistent_response")),
    ("twice-wronglast-request-hash", 500, Some("server.clientproxy.inconsistent_response")),
    ("st-99", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("st-199", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("st-600", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("st-1000", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("st-_1", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("st-0200", 200, None),
    ("st-302", 302, None),
    ("reason-empty", 200, None),
    ("reason-long", 200, None),
    ("hdr-conn", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("hdr-lf-inject", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("hdr-utf8", 200, None),
    ("hdr-date", 200, None),
    ("hdr-ct-twice", 200, None),
    ("head-space", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("head-emptyline", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("head-nocolon", 500, Some("server.clientproxy.service_failed.internal_error")),
    ("h-html", 500, Some("server.clientproxy.service_failed.invalid_content_type")),
    ("h-gzip", 500, Some("server.clientproxy.missing_rest")),
    ("fault-404", 500, Some("server.clientproxy.http_error")),
    ("fault-nodetail", 500, Some("server.serverproxy.access_denied")),
    ("fault-crlf", 500, Some("server.x??X-Inj: 1")),
    ("fault-nofault", 500, Some("server.clientproxy.service_failed.invalid_message")),
    ("fault-soap12", 500, Some("server.clientproxy.service_failed.invalid_soap")),
    ("fault-utf8code", 500, Some("server.?")),
    ("net-trunc", 500, Some("server.clientproxy.service_failed.io_error")),
    ("net-slow", 200, None),
    ("early", 500, Some("server.serverproxy.access_denied")),
    ("soap-hashwrong", 200, Some("server.clientproxy.inconsistent_response")),
    ("soap-id", 200, Some("server.clientproxy.service_failed.inconsistent_response")),
    ("soap-client", 200, Some("server.clientproxy.service_failed.inconsistent_response")),
    ("soap-notresponse", 200, None),
    ("soap-doctype", 200, Some("server.clientproxy.service_failed.invalid_soap")),
    ("soap-proto", 200, None),
];

/// One request of an information system, answered by the provider that is none.
async fn play_scenario(
    laboratory: &Laboratory,
    fake: &Fake,
    folder: &Path,
    case: &Value,
) -> Result<(), String> {
    const AREA: &str = "5b-fake-provider";
    let name = case["name"].as_str().unwrap();
    let at = folder.join(case["dir"].as_str().unwrap());
    let (scenario, ocsp) = match name.strip_prefix("ocsp5577-") {
        Some(mode) => ("ok", mode),
        None => (scenario(name), "good"),
    };
    fake.play(scenario, ocsp);
    let ours = play(laboratory, case, steps(&at).ok_or("without a request")?, 1).await;
    let (received, _) = fake.received();
    if received.iter().any(|(call, _)| call.header("cookie").is_some()) {
        return Err("a cookie was kept".into());
    }
    // What the recording has as calls is what the provider received, but for what an external entity fetched.
    let mut stock = Outcome::recorded(&at);
    let calls: Vec<&Value> =
        case["backend"].as_array().unwrap().iter().filter(|call| call["parts"].is_array()).collect();
    stock.calls.clear();
    let mut differences = differences(&ours, &stock);
    if differences.is_empty() || rules::rule(AREA, name).is_none() {
        let ours: Vec<_> = received.iter().map(|(call, request)| described(call, request)).collect();
        let stock: Vec<_> = calls.iter().map(|call| described_recording(call)).collect();
        if ours != stock {
            differences.push(format!("provider received:\n      ours  {ours:?}\n      stock {stock:?}"));
        }
    }
    if !case["must_differ"].is_null() && rules::rule(AREA, name).is_none() {
        return Err(format!("must differ, and no rule says how: {:?}", ours.summary()));
    }
    rules::judge(AREA, name, &ours, &differences)
}

/// The scenario that a case plays.
fn scenario(case: &str) -> &str {
    match case {
        "ok-post" | "cookie-after" | "maint-target" => "ok",
        "head-ok" | "head-ok-nobody" | "head-st-204" | "head-st-304" => &case["head-".len()..],
        _ => case.strip_prefix("xml-").or_else(|| case.strip_prefix("soapreq-")).unwrap_or(case),
    }
}

/// Requests to several providers one after the other, all of which keep their connections.
async fn play_sequence(laboratory: &Laboratory, fake: &Fake, sequence: &[Value]) -> Result<(), String> {
    fake.play("keep", "good");
    for subsystem in sequence.iter().map(|name| name.as_str().unwrap()) {
        let request = format!(
            "GET /r1/PRB/GOV/3333/{subsystem}/svc/x HTTP/1.1\r\nHost: h\r\nX-Road-Client: PRB/COM/1111/CONSUMER\r\n\
             X-Road-Id: {subsystem}\r\n\r\n"
        );
        let ours = play(laboratory, &Value::Null, vec![Step::Send(request.into_bytes())], 1).await;
        if ours.summary() != (Some(200), None, 0) {
            return Err(format!("{subsystem}: {:?}", ours.summary()));
        }
    }
    let (received, _) = fake.received();
    let asked: Vec<String> = received.iter().map(|(_, request)| request.header("x-road-id")).collect();
    let expected: Vec<&str> = sequence.iter().map(|name| name.as_str().unwrap()).collect();
    if asked == expected { Ok(()) } else { Err(format!("the providers were asked {asked:?}")) }
}

/// No message is executed twice.
async fn is_refused_again(laboratory: &Laboratory, case: &Value, steps: Vec<Step>) -> Result<(), String> {
    match play(laboratory, case, steps, 1).await.summary() {
        (Some(200), Some(code), 0) if code == "server.serverproxy.invalid_message" => Ok(()),
        other => Err(format!("sent once more: {other:?}")),
    }
}

/// Whether a message with this signature was sent before.
fn is_repeated(request: &[u8], seen: &mut HashSet<Vec<u8>>) -> bool {
    const TAG: &[u8] = b"<ds:SignatureValue";
    let value = find(request, TAG).and_then(|start| request.get(start..start + 150));
    value.is_some_and(|value| !seen.insert(value.to_vec()))
}

#[test]
fn every_rule_is_in_the_list_of_differences() {
    rules::check();
}
