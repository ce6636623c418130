//! Exchanges of two stock servers: every transport message is read and written again, every REST header part is built from what
//! the edges saw, every SOAP response spliced, and compared with what the servers sent.
use std::path::{Path, PathBuf};

use proto::edge::check_target;
use proto::fault::Fault;
use proto::media_type;
use proto::rest::{EdgeRequest, RestRequest, RestResponse};
use proto::soap::{Soap, SoapMessage, parse};
use proto::transport::{Direction, MESSAGE_TYPE, MessageKind, Protocol};
use testkit::vectors::{self, Tally};

use crate::exchange::{Transport, decode, encode};
use crate::http::Message;

/// Folders of one exchange each, all areas.
fn exchanges() -> Option<Vec<PathBuf>> {
    let captures = vectors::dir()?.join("captures");
    let mut folders = vec![captures];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the vectors reads").flatten() {
            let path = entry.path();
            // `tls` holds port 5577.
            if path.is_dir() && !path.ends_with("tls") {
                folders.push(path);
            } else if path.is_file()
                && path.file_name().is_some_and(|n| n.to_string_lossy().ends_with("request.http"))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Some(found)
}

fn name(path: &Path) -> String {
    let parts: Vec<_> =
        path.components().rev().take(3).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

fn protocol(request: &Message) -> Protocol {
    if request.get(MESSAGE_TYPE).as_deref() == Some("REST") { Protocol::Rest } else { Protocol::Soap }
}

fn read(
    message: &Message,
    direction: Direction,
    protocol: Protocol,
    size: usize,
) -> Result<Transport, String> {
    let content_type = message.get("content-type").unwrap_or_default();
    decode(&content_type, direction, Some(protocol), &message.body, size).map_err(|e| e.to_string())
}

/// Requests and responses of port 5500: `request.http`, or `001-request.http` in a batch.
fn port_5500() -> Option<Vec<(PathBuf, Message, Option<Message>)>> {
    let of_5500 = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let prefix = file.strip_suffix("request.http").unwrap_or_default();
        prefix.is_empty() || prefix.trim_end_matches('-').bytes().all(|b| b.is_ascii_digit())
    };
    let read = |path: PathBuf| {
        let response = path.to_string_lossy().replace("request.http", "response.http");
        let request = Message::read(&path).expect("a request has a head");
        Some((path, request, Message::read(Path::new(&response))))
    };
    Some(exchanges()?.into_iter().filter(of_5500).filter_map(read).collect())
}

#[test]
fn transport_messages_are_read_and_written_again() {
    let Some(all) = port_5500() else {
        eprintln!("vectors captures: skipped, no vectors found");
        return;
    };
    let mut tally = Tally::new("captures, transport messages");
    for (path, request, response) in all {
        let protocol = protocol(&request);
        tally.ok(name(&path), again(&request, Direction::Request, protocol));
        if let Some(response) = response.filter(|r| !r.body.is_empty()) {
            tally.ok(format!("{} response", name(&path)), again(&response, Direction::Response, protocol));
        }
    }
    tally.finish();
}

fn again(message: &Message, direction: Direction, protocol: Protocol) -> Result<(), String> {
    let content_type = message.get("content-type").unwrap_or_default();
    let whole = read(message, direction, protocol, message.body.len())?;
    let pieces = read(message, direction, protocol, 17)?;
    if format!("{whole:?}") != format!("{pieces:?}") {
        return Err("read otherwise in pieces".to_owned());
    }
    if media_type::is(&content_type, "text/xml") {
        let code = whole.fault.as_deref().and_then(Fault::from_soap).map(|fault| fault.code);
        return code.filter(|code| code.starts_with("server.")).map(drop).ok_or("no fault".to_owned());
    }
    if whole.fault.is_none() && !whole.ended {
        return Err("no end".to_owned());
    }
    match encode(&content_type, &whole) {
        Some(written) if written == message.body => Ok(()),
        _ => Err("written otherwise".to_owned()),
    }
}

#[test]
fn rest_header_parts_are_built_as_the_servers_build_them() {
    let Some(all) = port_5500() else { return };
    let mut tally = Tally::new("captures, REST header parts");
    for (path, request, response) in all.iter().filter(|(_, request, _)| protocol(request) == Protocol::Rest)
    {
        let folder = path.parent().expect("a file has a folder");
        let sent = read(request, Direction::Request, Protocol::Rest, 4096).expect("read by another test");
        let Some((MessageKind::RestRequest, _, raw)) = sent.message else { panic!("{}", path.display()) };
        let parsed = RestRequest::parse(raw).expect("a stock server sent it");
        match Message::read(&folder.join("consumer-request.http")) {
            Some(edge) if path.ends_with("request.http") => {
                tally.equal(name(path), rebuilt(&edge, &parsed), Ok(parsed.raw.clone()));
            }
            _ => tally.not_applicable("requests without their edge"),
        }
        let received =
            response.as_ref().and_then(|r| read(r, Direction::Response, Protocol::Rest, 4096).ok());
        let Some((MessageKind::RestResponse, _, raw)) = received.and_then(|r| r.message) else { continue };
        let theirs = RestResponse::parse(raw).expect("a stock server sent it");
        assert_eq!(theirs.inconsistency(&parsed, &theirs.request_hash), None, "{}", path.display());
        match Message::read(&folder.join("backend-response.http")) {
            Some(_) if is_metadata(&parsed.service.code) => {
                tally.not_applicable("answers of the servers themselves")
            }
            Some(backend) if path.ends_with("request.http") => {
                let request_id = request.get("x-road-request-id").expect("a stock server sends it");
                let built = answered(&backend, &parsed, &request_id, &theirs.request_hash);
                tally.equal(format!("{} response", name(path)), built, Ok(theirs.raw));
            }
            _ => tally.not_applicable("responses without their edge"),
        }
    }
    tally.finish();
}

/// Built-in services may ask an information system, but do not pass its answer on as it is.
fn is_metadata(service: &str) -> bool {
    ["listMethods", "allowedMethods", "getOpenAPI", "getWsdl"].contains(&service)
}

fn rebuilt(edge: &Message, recorded: &RestRequest) -> Result<bytes::Bytes, String> {
    let (method, target) = edge.request_line().ok_or("no request line")?;
    let target = check_target(&target).map_err(|e| e.to_string())?;
    let headers: Vec<_> =
        edge.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let edge =
        EdgeRequest { method: &method, path: target.path, query: target.query.as_deref(), headers: &headers };
    let built =
        RestRequest::from_edge(&edge, &recorded.request_id, &recorded.id).map_err(|e| e.to_string())?;
    Ok(built.raw)
}

fn answered(
    backend: &Message,
    request: &RestRequest,
    request_id: &str,
    hash: &str,
) -> Result<bytes::Bytes, String> {
    let (status, reason) = backend.status_line().ok_or("no status line")?;
    // The HTTP library of the stock server unpacks, and then drops what described the packed form.
    let unpacked = backend.get("content-encoding").is_some();
    let gone = |name: &str| {
        unpacked && ["content-encoding", "content-md5"].iter().any(|h| h.eq_ignore_ascii_case(name))
    };
    let headers = backend.headers.iter().filter(|(name, _)| !gone(name));
    let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let built = RestResponse::from_service(status, &reason, &headers, request, request_id, hash);
    built.map(|built| built.raw).map_err(|e| e.to_string())
}

#[test]
fn soap_messages_mean_what_the_servers_sent() {
    let Some(all) = port_5500() else { return };
    let mut tally = Tally::new("captures, SOAP messages");
    for (path, request, response) in all.iter().filter(|(_, request, _)| protocol(request) == Protocol::Soap)
    {
        let folder = path.parent().expect("a file has a folder");
        let sent = read(request, Direction::Request, Protocol::Soap, 4096).expect("read by another test");
        let query = soap(&sent).expect("a stock server sent it");
        match Message::read(&folder.join("consumer-request.http")) {
            Some(edge) if path.ends_with("request.http") => {
                let multipart =
                    media_type::is(&edge.get("content-type").unwrap_or_default(), "multipart/related");
                let kept = match multipart {
                    true => memchr::memmem::find(&edge.body, &query.raw).is_some(),
                    false => edge.body == query.raw,
                };
                tally.equal(name(path), kept, true);
            }
            _ => tally.not_applicable("requests without their edge"),
        }
        let received =
            response.as_ref().and_then(|r| read(r, Direction::Response, Protocol::Soap, 4096).ok());
        let Some(theirs) = received.as_ref().and_then(soap) else { continue };
        let hash = theirs.header.request_hash.clone().expect("a stock server writes it");
        assert_eq!(theirs.inconsistency(&query.header, &hash), None, "{}", path.display());
        let backend = Message::read(&folder.join("backend-response.http"));
        let plain = |m: &Message| media_type::is(&m.get("content-type").unwrap_or_default(), "text/xml");
        match backend.filter(plain).filter(|_| !is_metadata(&query.header.service.code)) {
            Some(backend) if path.ends_with("request.http") => {
                let content_type = backend.get("content-type").unwrap_or_default();
                let Ok(Soap::Message(answer)) = parse(backend.body.into(), &content_type) else {
                    panic!("an answer")
                };
                let ours = answer.with_request_hash(&hash).expect("there is a place");
                let Ok(Soap::Message(ours)) = parse(ours, &content_type) else { panic!("our own splice") };
                tally.equal(format!("{} response", name(path)), &ours.header, &theirs.header);
            }
            _ => tally.not_applicable("responses without their edge"),
        }
    }
    tally.finish();
}

fn soap(transport: &Transport) -> Option<SoapMessage> {
    let (kind, head, raw) = transport.message.as_ref()?;
    assert_eq!(*kind, MessageKind::Soap);
    match parse(raw.clone(), head.content_type()) {
        Ok(Soap::Message(message)) => Some(*message),
        other => panic!("{other:?}"),
    }
}
