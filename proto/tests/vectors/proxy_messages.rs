//! Bodies exchanged between security servers: which parts are found, which are refused.
use std::path::Path;

use proto::multipart::PartHead;
use proto::soap::related::Related;
use proto::soap::{Soap, parse};
use proto::transport::{Direction, MessageKind, Protocol, TransportError};
use serde_json::Value;
use testkit::vectors::{self, Tally};

use crate::exchange::{Transport, decode};

#[test]
fn parts_of_transport_messages() {
    let Some((folder, expected)) = vectors::area("proxy-messages") else { return };
    let mut tally = Tally::new("proxy-messages");
    let all = ["files", "cases"].into_iter().flat_map(|list| expected[list].as_array().expect("an array"));
    for case in all {
        let name = case["name"].as_str().or(case["file"].as_str()).expect("a case has a name");
        match (case["expect"]["verdict"].as_str(), case["content_type"].as_str()) {
            (Some("accept" | "reject"), Some(content_type)) => {
                run(&mut tally, &folder, name, content_type, case)
            }
            (Some(_), _) => tally.not_applicable("samples without a verdict"),
            (None, _) if name == "client proxy version check" => {
                tally.not_applicable("versions of peers, compared in security-server");
            }
            (None, _) if name == "soapContentMime" => tally.ok(name, for_a_service(case)),
            (None, _) => tally.not_applicable("in words, tested where bodies are written"),
        }
    }
    tally.finish();
}

fn run(tally: &mut Tally, folder: &Path, name: &str, content_type: &str, case: &Value) {
    let body = match case["file"].as_str() {
        Some(file) => std::fs::read(folder.join(file)).expect("the file is there"),
        None => Vec::new(),
    };
    let expect = &case["expect"];
    let parts: Vec<&str> =
        expect["parts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let results = [body.len().max(1), 1].map(|size| {
        // The upstream decoder is told nothing about direction, and takes faults.
        let found = decode(content_type, Direction::Response, Some(Protocol::Soap), &body, size);
        found.map(|found| names(&found)).map_err(|error| code(&error))
    });
    let expected = match expect["code"].as_str() {
        Some(code) => Err(code.to_owned()),
        None => Ok(parts.into_iter().map(str::to_owned).collect()),
    };
    tally.equal(name, &results, &[expected.clone(), expected]);
}

/// The body that an information system gets, byte for byte.
fn for_a_service(case: &Value) -> Result<(), String> {
    let text = |name: &str| case[name].as_str().expect("a text");
    let related = Related::of(text("original_content_type"), 0, "").ok().flatten().ok_or("no multipart")?;
    let head = PartHead { headers: vec![("content-type".into(), "text/xml; charset=UTF-8".into())] };
    let body = [&related.head(true, &head)[..], text("soap").as_bytes(), &related.end()].concat();
    let found = String::from_utf8_lossy(&body);
    if found == text("expect_bytes") { Ok(()) } else { Err(format!("{found:?}")) }
}

fn code(error: &TransportError) -> String {
    error.fault_code().text(proto::fault::Style::Snake).to_owned()
}

/// The parts as the vectors call them.
fn names(found: &Transport) -> Vec<String> {
    let mut names = vec!["ocsp"; found.ocsp.len()];
    if let Some((kind, head, raw)) = &found.message {
        assert_eq!(*kind, MessageKind::Soap);
        match parse(raw.clone(), head.content_type()) {
            Ok(Soap::Message(_)) => names.push("soap"),
            other => panic!("{other:?}"),
        }
    }
    names.extend(found.attachments.iter().map(|_| "attachment"));
    names.extend(found.signature.as_ref().map(|_| "signature"));
    names.extend(found.fault.as_ref().map(|_| "fault"));
    names.into_iter().map(str::to_owned).collect()
}
