//! The probes of area 4: lists of members, evidence, unknown paths and the metadata services of REST, as stock servers answered them.
//!
//! Status, fault code and the kind of answer are compared for every case, and what the answer says: lists as sets of their entries,
//! documents byte for byte, archives by their entries. Where ours answers otherwise on purpose, [`RULES`] says what and why.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod probed;
mod support;

use std::collections::BTreeSet;
use std::io::{Cursor, Read};

use serde_json::Value;
use testkit::vectors::{self, Tally};

use crate::probed::Laboratory;
use crate::probed::compare::Outcome;
use crate::probed::play::{Answer, Step, Target, ask, steps};
use crate::probed::service::Call;

const AREA: &str = "probes/4-metadata";

/// What ours answers otherwise: a status instead of the recorded one, or entries that are missing or there besides.
enum Ours {
    Status(u16),
    Code(&'static str),
    /// The answer's entries differ by exactly those that hold one of these texts.
    Entries(&'static [&'static str]),
    NotPlayed,
}

/// Services that are there since a later area was recorded.
const LATER: &str = "\"ist950";

const METADATA: &str = "Metadata services answer what was asked";

/// A heading of `docs/differences.md`, or why a case is not played; what ours does; where.
const RULES: &[(&str, Ours, &[&str])] = &[
    (
        "Disabled is disabled",
        Ours::Entries(&["\"disabled\"", "\"disabled2\"", LATER]),
        &["rm-lm", "rm-lm-norights", "rm-lm-path", "rm-lm-headers"],
    ),
    (
        METADATA,
        Ours::Entries(&[
            "\"disabled\"",
            "\"disabled2\"",
            LATER,
            "\"/pre*post\"",
            "\"/esc\\\\*\"",
            "\"/q?x=1\"",
        ]),
        &["rm-am"],
    ),
    (
        "What is wrong with a request is the client's to hear",
        Ours::Code("client.invalid_content_type"),
        &["lc-m-POST", "asic-post"],
    ),
    (METADATA, Ours::Status(400), &["asic-emptyid"]),
    ("Metadata has an order of ours", Ours::Entries(&["shared-params.xml"]), &["vc-query"]),
    (
        "needs a timestamp: tests of the message log play these",
        Ours::NotPlayed,
        &["asic-requestid", "asic-timestamp", "asic-ts-all", "asic-ts-req", "asic-ts-unique"],
    ),
];

fn rule(name: &str) -> Option<&'static (&'static str, Ours, &'static [&'static str])> {
    RULES.iter().find(|(_, _, cases)| cases.contains(&name))
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_answered_alike_or_better() {
    let Some((folder, expected)) = vectors::area(AREA) else { return };
    let played = RULES.iter().filter(|(_, ours, _)| !matches!(ours, Ours::NotPlayed));
    support::differences::assert_listed(played.map(|(heading, ..)| *heading));
    let environment = folder.join("../environment");
    let Some(laboratory) = Laboratory::start(&environment).await else {
        return testkit::say(&format!("vectors {AREA}: skipped, this machine has no 127.0.1.3"));
    };
    let stored = laboratory.consumer.cx.settings.data_dir.join("globalconf");
    support::copy_folder(&environment.join("globalconf"), &stored);
    // What `/asic` is asked for.
    let asked =
        b"GET /r1/PRB/GOV/2222/PROVIDER/echo HTTP/1.1\r\nHost: h\r\nX-Road-Client: PRB/COM/1111/CONSUMER\r\n\
        X-Road-Id: asic-probe-1\r\n\r\n";
    let answered = send(&laboratory, &Value::Null, vec![Step::Send(asked.to_vec())]).await;
    assert_eq!(answered.status(), Some(200), "{answered:?}");

    let mut tally = Tally::new(AREA);
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let rule = rule(name);
        if let Some((reason, Ours::NotPlayed, _)) = rule {
            tally.not_applicable(reason);
            continue;
        }
        let at = folder.join(case["dir"].as_str().unwrap());
        let ours = send(&laboratory, case, steps(&at).unwrap()).await;
        tally.ok(name, judge(&ours, &Outcome::recorded(&at), rule.map(|(_, ours, _)| ours)));
    }
    tally.finish();
}

async fn send(laboratory: &Laboratory, case: &Value, steps: Vec<Step>) -> Outcome {
    let secure = case["to"] == "127.0.1.2:8443";
    let address = if secure { laboratory.consumer.https } else { laboratory.consumer.http };
    laboratory.service.take();
    let request: Vec<u8> = steps.iter().flat_map(Step::bytes).copied().collect();
    let target = Target { address, tls: secure.then_some(None), answers: 1 };
    let answer = ask(target, steps).await;
    Outcome::new(answer, laboratory.service.take(), &request)
}

fn judge(ours: &Outcome, stock: &Outcome, rule: Option<&Ours>) -> Result<(), String> {
    if let Some(Ours::Status(status)) = rule {
        return if ours.status() == Some(*status) { Ok(()) } else { Err(format!("{:?}", ours.summary())) };
    }
    if let Some(Ours::Code(code)) = rule {
        let found = ours.code();
        return if found.as_deref() == Some(*code) { Ok(()) } else { Err(format!("{found:?}")) };
    }
    if ours.summary() != stock.summary() {
        return Err(format!("{:?} instead of {:?}", ours.summary(), stock.summary()));
    }
    let lines = |calls: &[Call]| calls.iter().map(|call| call.line.clone()).collect::<Vec<_>>();
    if lines(&ours.calls) != lines(&stock.calls) {
        return Err(format!("{:?} instead of {:?}", lines(&ours.calls), lines(&stock.calls)));
    }
    let (Some(mine), Some(theirs)) = (&ours.answer, &stock.answer) else { return Ok(()) };
    if stock.code().is_some() || theirs.status >= 400 {
        return Ok(());
    }
    for header in ["content-type", "content-disposition", "cookie", "x-echo-me"] {
        let stock = theirs.header(header).filter(|_| header.starts_with("content-"));
        // The recorded servers send the request's headers back, its content type first.
        let stock = stock.map(|value| if value == "a/b" { "application/json" } else { value });
        if mine.header(header) != stock {
            return Err(format!("{header}: {:?} instead of {stock:?}", mine.header(header)));
        }
    }
    let known: &[&str] = if let Some(Ours::Entries(known)) = rule { known } else { &[] };
    let (mine, theirs) = (entries(mine), entries(theirs));
    let odd: Vec<&String> = mine.symmetric_difference(&theirs).collect();
    let unknown: Vec<_> = odd.iter().filter(|entry| !known.iter().any(|text| entry.contains(text))).collect();
    match (unknown.is_empty(), known.iter().find(|text| !odd.iter().any(|entry| entry.contains(**text)))) {
        (false, _) => Err(format!("{unknown:#?}")),
        (true, Some(text)) => Err(format!("answered as stock servers do about {text}, against the rule")),
        (true, None) => Ok(()),
    }
}

/// What an answer says, as a set; one entry when it is no list.
fn entries(answer: &Answer) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.body.starts_with(b"PK") {
        let mut archive = zip::ZipArchive::new(Cursor::new(&answer.body)).unwrap();
        let count = archive.len();
        let read = |index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            format!("{} {content}", entry.name().unwrap())
        };
        return (0..count).map(read).collect();
    }
    if text.contains("clientList") {
        return members(&answer.body);
    }
    let Ok(Value::Object(json)) = serde_json::from_str(&text) else { return BTreeSet::from([text]) };
    let Some(list) = json.get("member").or_else(|| json.get("service")).and_then(Value::as_array) else {
        return BTreeSet::from([text]);
    };
    let mut entries = BTreeSet::new();
    for entry in list {
        let mut entry = entry.clone();
        let endpoints = entry.as_object_mut().unwrap().remove("endpoint_list");
        let code = entry["service_code"].to_string();
        let endpoints = endpoints.as_ref().and_then(Value::as_array).into_iter().flatten();
        entries.extend(endpoints.map(|endpoint| format!("{code} {endpoint}")));
        assert!(entries.insert(entry.to_string()), "{entry} is there twice");
    }
    entries
}

/// Each member of a `clientList`: its elements by name, whatever the prefixes are.
fn members(xml: &[u8]) -> BTreeSet<String> {
    let document = proto::xml::tree(xml, &proto::xml::Limits::default()).unwrap();
    let describe = |member: roxmltree::Node<'_, '_>| {
        let leaves = member.descendants().filter(|node| node.is_element());
        let say = |node: roxmltree::Node<'_, '_>| {
            let (name, kind) = (node.tag_name(), node.attributes().map(|a| a.value()).collect::<String>());
            let text = node.text().unwrap_or_default().trim().to_owned();
            format!("{}|{} {kind}{text}; ", name.namespace().unwrap_or_default(), name.name())
        };
        leaves.map(say).collect::<String>()
    };
    document.root_element().children().filter(|node| node.is_element()).map(describe).collect()
}
