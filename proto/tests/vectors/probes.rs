//! Ordinary, odd and hostile inputs to stock servers: where a message alone decides, we decide alike; what reached an information
//! system there is what we would send it.
use std::path::Path;

use proto::edge::check_target;
use proto::fault::{Fault, Side, Style};
use proto::media_type;
use proto::rest::{EdgeRequest, Place, RestRequest};
use proto::soap::{Soap, parse};
use proto::transport::{Direction, MESSAGE_TYPE, MessageKind, Protocol};
use serde_json::Value;
use testkit::vectors::{self, Tally};

use crate::exchange::decode;
use crate::http::Message;

const ELSEWHERE: &str = "are decided outside the message";

/// The cases of an area with the request of each, where it was recorded as one.
fn cases(area: &str) -> Option<(Value, Vec<Option<Message>>)> {
    let (folder, expected) = vectors::area(area)?;
    let request = |case: &Value| Message::read(&folder.join(Path::new(case["request_file"].as_str()?)));
    let requests = expected["cases"].as_array().expect("cases is an array").iter().map(request).collect();
    Some((expected, requests))
}

fn told(side: Side, path: &[proto::fault::FaultCode]) -> String {
    Fault::new(side, path, "", "", Style::Snake).code
}

#[test]
fn rest_requests_at_the_consumer_edge() {
    let Some((expected, requests)) = cases("probes/1-consumer-rest") else { return };
    let mut tally = Tally::new("probes/1-consumer-rest, messages");
    for (case, request) in expected["cases"].as_array().expect("cases is an array").iter().zip(requests) {
        let name = case["name"].as_str().expect("a case has a name");
        let line = request.as_ref().and_then(Message::request_line);
        let line = line.filter(|(_, target)| !target.is_empty());
        let (Some(request), Some((method, target))) = (&request, line) else {
            tally.not_applicable(ELSEWHERE);
            continue;
        };
        let target = match check_target(&target) {
            Ok(target) if target.path.starts_with("/r1/") => target,
            Ok(_) => {
                tally.not_applicable(ELSEWHERE);
                continue;
            }
            Err(_) => {
                tally.equal(name, case["response"]["status"].as_u64(), Some(400));
                continue;
            }
        };
        let headers: Vec<_> = request.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let edge = EdgeRequest {
            method: &method,
            path: target.path,
            query: target.query.as_deref(),
            headers: &headers,
        };
        let code = case["fault"]["code"].as_str();
        let delivered =
            case["backend"].as_array().and_then(|all| all.first()).filter(|b| b["request_line"].is_string());
        match (RestRequest::from_edge(&edge, "rid", "new-id"), delivered) {
            // The listener of the reference refuses before the message is looked at.
            (Err(_), _) if case["response"]["status"] == 400 => tally.pass(),
            (Err(error), _) => tally.equal(
                name,
                Some(told(Side::ClientProxy, error.fault_path(Place::ConsumerEdge)).as_str()),
                code,
            ),
            (Ok(_), _) if code == Some("server.clientproxy.invalid_client_identifier") => {
                tally.fail(name, "accepted")
            }
            (Ok(_), _) if case["must_differ"].is_string() => {
                tally.not_applicable("are refused by the provider or answered otherwise")
            }
            (Ok(request), Some(backend)) => tally.ok(name, same_call(&request, backend)),
            (Ok(_), None) => tally.not_applicable(ELSEWHERE),
        }
    }
    tally.finish();
}

/// The call that we would make is the call that was made.
fn same_call(request: &RestRequest, backend: &Value) -> Result<(), String> {
    let line = backend["request_line"].as_str().unwrap_or_default();
    let query = request.query.as_ref().map(|q| format!("?{q}")).unwrap_or_default();
    let target = line.split(' ').nth(1).unwrap_or_default();
    // A service URL may have a query of its own, or end with the slash that the path begins with.
    let path = request.service_path().trim_start_matches('/');
    if !line.starts_with(request.method) || !target.contains(path) || !target.ends_with(&*query) {
        return Err(format!("called {line}, signed {} {}", request.path, query));
    }
    // What the library of the stock server adds; its cookies are other clients' too.
    let own = [
        "host",
        "connection",
        "user-agent",
        "content-length",
        "transfer-encoding",
        "cookie",
        "accept-encoding",
    ];
    let foreign = |name: &str| own.iter().any(|o| o.eq_ignore_ascii_case(name));
    let masked = |name: &str, value: &str| match name.to_ascii_lowercase().as_str() {
        "x-road-request-id" => (name.to_owned(), String::new()),
        "x-road-id" if value.contains('{') || value == "new-id" => (name.to_owned(), String::new()),
        _ => (name.to_owned(), abbreviated(value)),
    };
    let theirs: Vec<_> = backend["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|h| (h[0].as_str().unwrap_or_default(), h[1].as_str().unwrap_or_default()))
        .filter(|(name, _)| !foreign(name))
        .map(|(name, value)| masked(name, value))
        .collect();
    // A rule of ours: the client whose rights were checked is the only one that a service sees.
    let is_client = |(name, _): &(String, String)| name.eq_ignore_ascii_case("x-road-client");
    let counts = theirs.iter().rposition(is_client);
    let theirs: Vec<_> = theirs
        .into_iter()
        .enumerate()
        .filter(|(index, header)| !is_client(header) || Some(*index) == counts)
        .map(|(_, header)| header)
        .collect();
    let text = |bytes: &[u8]| bytes.iter().map(|b| char::from(*b)).collect::<String>();
    let ours: Vec<_> = request
        .service_headers()
        .filter(|(name, _)| !foreign(name))
        .map(|(name, value)| masked(name, &text(&value)))
        .collect();
    if ours == theirs { Ok(()) } else { Err(format!("sent {theirs:?}, would send {ours:?}")) }
}

/// Long values are recorded by their beginning and their length.
fn abbreviated(value: &str) -> String {
    match value.chars().count() {
        count @ 301.. => format!("{}…({count} chars)", value.chars().take(60).collect::<String>()),
        _ => value.to_owned(),
    }
}

#[test]
fn soap_requests_at_the_consumer_edge() {
    /// No type or an unknown charset is an error of its own there; ours says what is wrong.
    const CLEARER: [&str; 3] = ["ct-empty", "ct-cs-unknown", "ct-cs-empty"];
    let Some((expected, requests)) = cases("probes/2-consumer-soap") else { return };
    let mut tally = Tally::new("probes/2-consumer-soap, messages");
    for (case, request) in expected["cases"].as_array().expect("cases is an array").iter().zip(requests) {
        let name = case["name"].as_str().expect("a case has a name");
        let Some(request) = request.filter(|r| r.first.starts_with(b"POST ")) else {
            tally.not_applicable(ELSEWHERE);
            continue;
        };
        let length = request.get("content-length").and_then(|length| length.parse::<usize>().ok());
        if length.is_some_and(|length| length > request.body.len()) {
            tally.not_applicable("stall, run in security-server");
            continue;
        }
        let content_type = request.get("content-type").unwrap_or_default();
        if media_type::base(&content_type).to_ascii_lowercase().starts_with("multipart/") {
            tally.not_applicable("have attachments, run in security-server");
            continue;
        }
        let code = case["fault"]["code"].as_str();
        match parse(request.body.into(), &content_type) {
            Err(error) if CLEARER.contains(&name) => tally.equal(
                name,
                error.fault(Place::ConsumerEdge).1,
                vec![proto::fault::FaultCode::InvalidContentType],
            ),
            Err(error) => {
                let (side, path) = error.fault(Place::ConsumerEdge);
                tally.equal(name, Some(told(side, &path).as_str()), code);
            }
            Ok(Soap::Fault(fault, _)) => {
                tally.equal(name, Some(format!("client.{}", fault.code.to_lowercase()).as_str()), code)
            }
            Ok(Soap::Message(_))
                if code.is_some_and(|c| c.starts_with("client.") && !c.contains("soap_action")) =>
            {
                tally.fail(name, "accepted")
            }
            Ok(Soap::Message(_)) if code.is_none() => tally.pass(),
            Ok(Soap::Message(_)) => tally.not_applicable(ELSEWHERE),
        }
    }
    tally.finish();
}

#[test]
fn transport_messages_at_the_provider_port() {
    /// Where our rules are stricter, and which rule it is.
    const STRICTER: [(&str, &str); 8] = [
        ("mime-nofinal", "server.serverproxy.io_error"), // the closing delimiter must be there
        ("head-lf", "server.serverproxy.invalid_message"), // lines end with CR LF
        ("head-cr-inject", "server.serverproxy.invalid_message"), // no control characters
        ("head-hdr-ctl", "server.serverproxy.invalid_message"), // no control characters
        ("head-hdr-name-space", "server.serverproxy.invalid_message"), // names are tokens
        ("head-hdr-emptyname", "server.serverproxy.invalid_message"), // names are tokens
        ("head-id-empty", "server.serverproxy.missing_header_field"), // an id is needed before the call
        ("mime-trunc-sig", "server.serverproxy.io_error"), // a cut message is not looked at
    ];
    let Some((expected, requests)) = cases("probes/5-provider-port") else { return };
    let mut tally = Tally::new("probes/5-provider-port, messages");
    for (case, request) in expected["cases"].as_array().expect("cases is an array").iter().zip(requests) {
        let name = case["name"].as_str().expect("a case has a name");
        let Some(request) = request.filter(|r| r.first.to_ascii_uppercase().starts_with(b"POST ")) else {
            tally.not_applicable(ELSEWHERE);
            continue;
        };
        let Some(content_type) = request.get("content-type") else {
            tally.not_applicable(ELSEWHERE);
            continue;
        };
        let code = case["fault"]["code"].as_str();
        let found = at_provider(&request, &content_type).err();
        if let Some((_, ours)) = STRICTER.iter().find(|(stricter, _)| *stricter == name) {
            tally.equal(name, found.as_deref(), Some(*ours));
        } else if case["must_differ"].is_string() {
            tally.not_applicable("are answered otherwise");
        } else if code.is_some_and(|c| {
            ["ssl_auth", "signature_verification", "access_denied", "logging_failed", "io_error"]
                .iter()
                .any(|later| c.contains(later))
        }) {
            // Another check comes first there, or comes later.
            tally.not_applicable(ELSEWHERE);
        } else {
            match (found, code) {
                (None, None) => tally.pass(),
                (None, Some(_)) if !is_of_message(name, code) => tally.not_applicable(ELSEWHERE),
                (found, code) => tally.equal(name, found.as_deref(), code),
            }
        }
    }
    tally.finish();
}

/// Whether a code that we did not come to is one that a message alone can cause.
fn is_of_message(name: &str, code: Option<&str>) -> bool {
    let outside = [
        "unknown_member",
        "unknown_service",
        "service_",
        "network_error",
        "http_method",
        "soap_action",
        "invalid_security_server",
    ];
    let headers = ["h-", "v-", "m-", "p-", "chain-", "meta-"];
    let odd_path = ["head-path-pctspace", "head-client-otherinst", "soap-fault"];
    let is_outside = |c: &str| {
        outside.iter().any(|o| {
            c.trim_start_matches("server.serverproxy.").trim_start_matches("service_failed.").contains(o)
        })
    };
    !code.is_some_and(is_outside) && !headers.iter().any(|h| name.starts_with(h)) && !odd_path.contains(&name)
}

/// Reads the message like a provider's server; the code of the first broken rule.
fn at_provider(request: &Message, content_type: &str) -> Result<(), String> {
    let protocol =
        if request.get(MESSAGE_TYPE).as_deref() == Some("REST") { Protocol::Rest } else { Protocol::Soap };
    let found = decode(content_type, Direction::Request, Some(protocol), &request.body, 1000);
    let found = found.map_err(|error| told(Side::ServerProxy, &error.fault_path()))?;
    let Some((kind, head, raw)) = found.message else { return Ok(()) };
    match kind {
        MessageKind::Soap => parse(raw, head.content_type()).map(drop).map_err(|error| {
            let (side, path) = error.fault(Place::ProviderPort);
            told(side, &path)
        }),
        MessageKind::RestRequest | MessageKind::RestResponse => RestRequest::parse(raw)
            .map(drop)
            .map_err(|error| told(Side::ServerProxy, error.fault_path(Place::ProviderPort))),
    }
}
