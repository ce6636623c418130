//! SOAP files and suite cases, as far as the message decides them. Attachments and running proxies belong to `security-server`.
use std::path::Path;

use bytes::Bytes;
use proto::fault::{Fault, Side, Style};
use proto::media_type;
use proto::multipart::{self, Event};
use proto::rest::Place;
use proto::soap::{Soap, SoapError, check_soap_action, parse};
use proto::transport::{Direction, Protocol};
use serde_json::Value;
use testkit::vectors::{self, Tally};

use crate::exchange::decode;

/// The `files`: what the parser alone says.
#[test]
fn documents() {
    let Some((folder, expected)) = vectors::area("soap") else { return };
    let mut tally = Tally::new("soap files");
    for file in expected["files"].as_array().expect("files is an array") {
        let name = file["file"].as_str().expect("a file has a name");
        let found = parse(read(&folder, name), "text/xml; charset=UTF-8");
        match file["expect"]["verdict"].as_str() {
            Some("accept") => tally.ok(name, accepted(found, &file["expect"]["parsed"])),
            Some("reject") => {
                tally.equal(name, code(found.map(drop)), file["expect"]["code"].as_str().map(str::to_owned))
            }
            _ => tally.not_applicable("bodies of cases and samples"),
        }
    }
    tally.finish();
}

fn read(folder: &Path, name: &str) -> Bytes {
    std::fs::read(folder.join(name)).expect("the file is there").into()
}

fn code(found: Result<(), SoapError>) -> Option<String> {
    found.err().map(|error| error.fault_code().text(Style::Snake).to_owned())
}

fn accepted(found: Result<Soap, SoapError>, parsed: &Value) -> Result<(), String> {
    let message = match found {
        Ok(Soap::Message(message)) => message,
        other => return Err(format!("{other:?}")),
    };
    let header = &message.header;
    let client = header.client.short();
    // Written with a place for the subsystem, even where there is none.
    let provider = &header.service.client;
    let subsystem = provider.subsystem.as_deref().unwrap_or_default();
    let service = format!("{}/{subsystem}/{}", provider.member.short(), header.service.code);
    let checks = [
        ("client", client == parsed["client"].as_str().unwrap_or(&client)),
        ("service", service == parsed["service"].as_str().unwrap_or(&service)),
        ("userId", parsed["userId"].is_null() || header.user_id.as_deref() == parsed["userId"].as_str()),
        ("id", parsed["id"].is_null() || Some(header.id.as_str()) == parsed["id"].as_str()),
        ("response", parsed["response"] != true || message.is_response),
        ("request", parsed["request"] != true || !message.is_response),
    ];
    match checks.iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(format!("{what} of {header:?}")),
        None => Ok(()),
    }
}

/// The `cases`: request and answer of each, at the places where they are parsed.
#[test]
fn suite_cases() {
    let Some((folder, expected)) = vectors::area("soap") else { return };
    let mut tally = Tally::new("soap cases");
    for case in expected["cases"].as_array().expect("cases is an array") {
        let name = case["name"].as_str().expect("a case has a name");
        match name {
            "parser: invalid content type" => {
                let found =
                    parse(read(&folder, "simple.query"), case["content_type"].as_str().expect("a type"));
                tally.equal(name, code(found.map(drop)), case["expect"]["code"].as_str().map(str::to_owned));
            }
            "parser: bytes kept" => {
                let raw = read(&folder, case["file"].as_str().expect("a file"));
                let kept = matches!(parse(raw.clone(), "text/xml"), Ok(Soap::Message(m)) if m.raw == raw);
                tally.equal(name, kept, true);
            }
            "parser: consistent request and answer" => {
                let [query, answer] =
                    ["getstate.query", "getstate.answer"].map(|f| parse(read(&folder, f), "text/xml"));
                tally.ok(name, consistent(query, answer));
            }
            "SOAPAction header value" => {
                let found = check_soap_action(case["value"].as_str());
                tally.equal(name, code(found), case["expect"]["code"].as_str().map(str::to_owned));
            }
            _ => suite_case(&mut tally, &folder, name, case),
        }
    }
    tally.finish();
}

fn suite_case(tally: &mut Tally, folder: &Path, name: &str, case: &Value) {
    let expected = case["expect"]["code"].as_str();
    if case["to"] == "server proxy" {
        return between_servers(tally, folder, name, case, "request", Side::ServerProxy, Direction::Request);
    }
    if case["answer_from"].is_string() && case["answer"].is_string() {
        return between_servers(tally, folder, name, case, "answer", Side::ClientProxy, Direction::Response);
    }
    if case["answer_from"].is_string() || !case["request"].is_string() {
        return tally.not_applicable("have no file");
    }
    if case["http_method"].is_string() {
        return tally.not_applicable("are decided before the message is parsed");
    }
    let body = |which: &str| {
        let bom = if case["bom"] == true { "\u{feff}" } else { "" };
        let file = read(folder, case[which].as_str()?);
        let content_type = case[format!("{which}_content_type")].as_str().unwrap_or("text/xml");
        at_edge([bom.as_bytes(), &file].concat().into(), content_type)
    };
    let request = body("request");
    // What is set up fails before an answer counts.
    let answer = if case["setup"].is_string() { None } else { body("answer") };
    let told = |side: Side, path: &[_]| Some(Fault::new(side, path, "", "", Style::Snake).code);
    let found = match (request, answer) {
        (None, _) => Some("client.missing_soap".to_owned()),
        (Some(Err(error)), _) => {
            told(error.fault(Place::ConsumerEdge).0, &error.fault(Place::ConsumerEdge).1)
        }
        (Some(Ok(Soap::Fault(fault, _))), _) => Some(format!("client.{}", fault.code.to_lowercase())),
        (_, Some(Err(error))) => {
            told(error.fault(Place::ProviderEdge).0, &error.fault(Place::ProviderEdge).1)
        }
        (Some(Ok(Soap::Message(request))), Some(Ok(Soap::Message(answer)))) => {
            let hashed = answer.with_request_hash("h").expect("there is a place");
            let Ok(Soap::Message(response)) = parse(hashed, "text/xml") else {
                panic!("{name}: our own splice")
            };
            // The suite gives request and answer one fresh id; the files have different ones.
            let request = proto::soap::SoapHeader { id: response.header.id.clone(), ..request.header };
            let disagrees = response.inconsistency(&request, "h").is_some();
            disagrees.then(|| "server.clientproxy.service_failed.inconsistent_response".to_owned())
        }
        _ => None,
    };
    match (&found, expected) {
        (None, Some(_)) if case["setup"].is_string() || case["tls"] == true => {
            tally.not_applicable("fail for a reason outside the message, run in security-server");
        }
        (None, Some(code))
            if ["unknown_service", "unknown_member", "access_denied"].iter().any(|c| code.ends_with(c)) =>
        {
            tally.not_applicable("fail for a reason outside the message, run in security-server");
        }
        _ if expected.is_none() && case["expect"]["verdict"] != "accept" => {
            tally.not_applicable("fail for a reason outside the message, run in security-server");
        }
        _ => tally.equal(name, found.as_deref(), expected),
    }
}

/// The suite plays the other server: what is sent is a transport message, or should be one.
fn between_servers(
    tally: &mut Tally,
    folder: &Path,
    name: &str,
    case: &Value,
    which: &str,
    side: Side,
    direction: Direction,
) {
    let body = read(folder, case[which].as_str().expect("a file"));
    let content_type = case[format!("{which}_content_type")].as_str().expect("a type");
    let found =
        decode(content_type, direction, Some(Protocol::Soap), &body, 100).map_err(|error| error.fault_path());
    let code = found.map(drop).err().map(|path| Fault::new(side, &path, "", "", Style::Snake).code);
    tally.equal(name, code.as_deref(), case["expect"]["code"].as_str());
}

fn consistent(query: Result<Soap, SoapError>, answer: Result<Soap, SoapError>) -> Result<(), String> {
    match (query, answer) {
        (Ok(Soap::Message(query)), Ok(Soap::Message(answer))) => {
            match answer.inconsistency(&query.header, answer.header.request_hash.as_deref().unwrap_or("none"))
            {
                None | Some("requestHash") => Ok(()),
                Some(field) => Err(field.to_owned()),
            }
        }
        other => Err(format!("{other:?}")),
    }
}

/// The SOAP document of a body, alone or as the first part, as an edge takes it; `None` when there is no part.
fn at_edge(body: Bytes, content_type: &str) -> Option<Result<Soap, SoapError>> {
    if !media_type::is(content_type, "multipart/related") {
        return Some(parse(body, content_type));
    }
    let mut decoder =
        multipart::Decoder::new(content_type, multipart::Limits::default()).expect("there is a boundary");
    decoder.feed(body);
    decoder.finish();
    let (mut parts, mut heads) = (Vec::new(), Vec::new());
    while let Some(event) = decoder.poll().expect("no bound is broken") {
        match event {
            Event::Head(head) => {
                heads.push(head);
                parts.push(Vec::new());
            }
            Event::Data(data) => parts.last_mut().expect("a head came first").extend_from_slice(&data),
            Event::PartEnd { .. } | Event::End { .. } => {}
        }
    }
    let soap = parts.into_iter().next()?;
    // Every part must say what it is.
    if heads.iter().any(|head| head.get("content-type").is_none()) {
        return Some(Err(SoapError::ContentType));
    }
    Some(parse(soap.into(), heads.first()?.content_type()))
}
