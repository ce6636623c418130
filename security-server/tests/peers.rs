//! The two roles on port 5500, each against another server that says what a test wants it to say.
//!
//! Codes are those of the recorded answers of stock servers, and of docs/differences.md.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use pki::digest::DigestAlgorithm;
use pki::hash_chain::{MESSAGE_URI, SIGNATURE_RESULT_URI};
use pki::ocsp::Status;
use proto::time::UnixTime;
use security_server::tls::{PeerTls, Stack};
use support::client::{Reply, ask, rest};
use support::peer::{
    CHAIN, CHAIN_RESULT, OCSP, REST_BODY, REST_REQUEST, REST_RESPONSE, Received, SIGNATURE, Signatory,
    Transport, document, fault, play_provider,
};
use support::pki::{NOW, Pair};
use support::{Options, World, consumer_member, member, provider_member};

const SP: &str = "server.serverproxy.";
const CP: &str = "server.clientproxy.";

/// As the consumer's server writes it.
const HEADER_PART: &str = "GET\r\n/r1/DEV/GOV/2222/PROVIDER/echo/x\r\nX-Road-Client:DEV/COM/1111/CONSUMER\r\n\
                           x-road-request-id:11111111-2222-3333-4444-555555555555\r\nx-road-id:id-1\r\n";

fn signed_by<'a>(world: &World, pair: &'a Pair) -> Signatory<'a> {
    Signatory { pair, ocsp: vec![world.pki.good(&pair.cert).to_vec()] }
}

/// OCSP answers of the consumer server's TLS chain.
fn tls_ocsp(world: &World) -> Vec<bytes::Bytes> {
    world.consumer.signer.own.lock().unwrap().auth.as_ref().unwrap().ocsp.clone()
}

fn request(world: &World, header_part: &str, body: Option<&[u8]>) -> Transport {
    let signatory = signed_by(world, &world.consumer_signing);
    Transport::rest(&tls_ocsp(world), REST_REQUEST, header_part, body, &signatory)
}

async fn send(world: &World, transport: &Transport) -> Reply {
    transport.send(&world.consumer.peer_tls, world.provider.messages).await
}

/// The answer is a refusal with this code, of the one form that there is before an answer opens.
fn check(name: &str, reply: &Reply, code: &str) {
    let Some((found, message, detail)) = fault(reply) else {
        panic!("{name}: no fault in {} {}", reply.head, reply.text());
    };
    assert_eq!((found.as_str(), reply.status), (code, 200), "{name}: {message}");
    assert!(uuid::Uuid::parse_str(&detail).is_ok() && message.len() > 10, "{name}: {message} {detail}");
    assert_eq!(reply.header("content-type"), Some("text/xml;charset=utf-8"), "{name}");
    assert_eq!(reply.header("connection"), Some("close"), "{name}: not of our own kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_servers_message_is_answered_once() {
    let world = World::start().await;
    let message = request(&world, HEADER_PART, Some(b"a body on GET"));
    let reply = send(&world, &message).await;
    let text = reply.text();
    assert!(fault(&reply).is_none(), "{text}");
    assert_eq!((reply.status, reply.header("x-hash-algorithm")), (200, Some("SHA-512")));
    assert!(
        reply
            .header("content-type")
            .is_some_and(|t| t.starts_with("multipart/mixed; charset=UTF-8; boundary=xtop"))
    );
    let parts = [
        "application/x-road-rest-response\r\n\r\n200\r\nOK\r\n",
        "application/x-road-rest-body\r\n\r\na body on GET\r\n",
    ];
    parts.iter().for_each(|part| assert!(text.contains(part), "{part} in {text}"));
    assert!(text.trim_end().ends_with("--"), "the closing delimiter");
    assert!(world.backend.last().head.starts_with("GET /rest/x "));
    assert_eq!(world.backend.last().body, b"a body on GET", "delivered, whatever the method");
    assert_eq!((world.records().await, world.backend.calls()), ((0, 2), 1));

    check("replayed", &send(&world, &message).await, &format!("{SP}invalid_message"));
    assert_eq!((world.records().await, world.backend.calls()), ((0, 2), 1), "no second effect");
}

type Change = Box<dyn Fn(&World, &mut Transport)>;

fn change(change: impl Fn(&World, &mut Transport) + 'static) -> Change {
    Box::new(change)
}

/// A header part in which `from` is `to`, signed as it stands.
fn resigned(from: &'static str, to: &'static str) -> Change {
    change(move |world, transport| *transport = request(world, &HEADER_PART.replace(from, to), None))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_too_old_is_refused() {
    let world = World::with(Options { min_client_version: Some([7, 6, 0]), ..Options::default() }).await;
    for (version, accepted) in
        [("7.6.0", true), ("7.10.1", true), ("7.5.3", false), ("7.6.0-rc", false), ("", false)]
    {
        let mut message = request(&world, HEADER_PART, None);
        message.header("x-proxy-version", Some(version));
        let reply = send(&world, &message).await;
        match accepted {
            true => assert_ne!(
                fault(&reply).map(|(code, ..)| code),
                Some(format!("{SP}client_proxy_version_not_supported"))
            ),
            false => check(version, &reply, &format!("{SP}client_proxy_version_not_supported")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_written_as_the_release_that_is_set_has_them() {
    let fault_style = proto::fault::Style::Camel;
    let world = World::with(Options { fault_style, ..Options::default() }).await;
    let mut message = request(&world, HEADER_PART, None);
    message.method = "GET".into();
    check("port", &send(&world, &message).await, "Server.ServerProxy.InvalidHttpMethod");
    for (edge, request, code) in [
        ("REST, ours", rest("GET", "UNKNOWN", "echo/a", "", b""), "Server.ClientProxy.UnknownMember"),
        ("REST, theirs", rest("GET", "CONSUMER", "noaccess/a", "", b""), "Server.ServerProxy.AccessDenied"),
        (
            "SOAP",
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec(),
            "Client.InvalidHttpMethod",
        ),
    ] {
        let reply = ask(world.consumer.http, &request).await;
        assert_eq!(reply.fault().map(|(found, ..)| found).as_deref(), Some(code), "{edge}");
        assert_eq!(reply.status, if edge == "SOAP" { 200 } else { 500 }, "{edge}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_message_is_told() {
    let world = World::start().await;
    let head = |name: &'static str, value: Option<&'static str>| change(move |_, t| t.header(name, value));
    let with_body = |next: fn(&World, &mut Transport)| {
        change(move |world, transport| {
            *transport = request(world, HEADER_PART, Some(b"body"));
            next(world, transport);
        })
    };
    let rows: Vec<(&str, Change, &str)> = vec![
        ("GET", change(|_, t| t.method = "GET".into()), "invalid_http_method"),
        ("no hash algorithm", head("x-hash-algorithm", None), "internal_error"),
        ("an empty hash algorithm", head("x-hash-algorithm", Some("")), "service_failed.internal_error"),
        ("SHA-1", head("x-hash-algorithm", Some("SHA-1")), "invalid_message"),
        ("no content type", head("content-type", None), "service_failed.invalid_content_type"),
        ("text/xml", head("content-type", Some("text/xml")), "service_failed.invalid_content_type"),
        ("REST parts under SOAP", head("x-road-message-type", Some("rest")), "missing_soap"),
        ("no request id", head("x-road-request-id", None), "missing_header_field"),
        ("no OCSP answers", change(|_, t| t.without(OCSP)), "service_failed.ssl_authentication_failed"),
        ("no message", change(|_, t| t.without(REST_REQUEST)), "service_failed.invalid_content_type"),
        ("no signature", change(|_, t| t.without(SIGNATURE)), "missing_signature"),
        (
            "an empty signature",
            change(|_, t| t.part(SIGNATURE).clear()),
            "signature_verification.invalid_xml",
        ),
        (
            "two messages",
            change(|_, t| t.parts.insert(1, t.parts[1].clone())),
            "service_failed.invalid_content_type",
        ),
        (
            "more after the signature",
            change(|_, t| t.parts.push(("text/plain".into(), b"x".to_vec()))),
            "service_failed.invalid_message",
        ),
        ("half a chain", with_body(|_, t| t.without(CHAIN_RESULT)), "signature_verification.internal_error"),
        (
            "a long part header",
            change(|_, t| t.parts[0].0 = format!("{OCSP}; x={}", "x".repeat(2000))),
            "mime_parsing_failed",
        ),
        (
            "cut off in the signature",
            change(|_, t| {
                t.part(SIGNATURE).truncate(500);
                t.closing.clear()
            }),
            "io_error",
        ),
        (
            "cut off before the signature",
            change(|_, t| {
                t.without(SIGNATURE);
                t.closing.clear()
            }),
            "io_error",
        ),
        (
            "a space after the colon",
            resigned("X-Road-Client:", "X-Road-Client: "),
            "service_failed.internal_error",
        ),
        (
            "a lone carriage return",
            resigned("x-road-id:id-1", "x-road-id:id-1\rX-Road-Client:DEV/COM/1111/X"),
            "invalid_message",
        ),
        ("a name with a space", resigned("x-road-id", "x road"), "invalid_message"),
        (
            "a header of the connection",
            resigned("x-road-id:", "Host:h\r\nx-road-id:"),
            "service_failed.internal_error",
        ),
        ("no client", resigned("X-Road-Client", "X-Other"), "service_failed.internal_error"),
        ("no message id", resigned("x-road-id:id-1\r\n", ""), "missing_header_field"),
        ("an empty message id", resigned("x-road-id:id-1", "x-road-id:"), "missing_header_field"),
        (
            "a client of another server",
            resigned("COM/1111/CONSUMER", "GOV/2222/PROVIDER"),
            "service_failed.ssl_authentication_failed",
        ),
        (
            "a provider of another server",
            resigned("GOV/2222/PROVIDER/echo", "COM/1111/CONSUMER/echo"),
            "service_failed.unknown_member",
        ),
        ("unknown service", resigned("/echo/x", "/nosuch/x"), "unknown_service"),
        ("no right", resigned("/echo/x", "/noaccess/x"), "access_denied"),
        ("dot segments", resigned("/echo/x", "/echo/%2e%2e/x"), "access_denied"),
        ("disabled", resigned("/echo/x", "/disabled/x"), "service_disabled"),
        (
            "a body on TRACE",
            change(|world, t| *t = request(world, &HEADER_PART.replace("GET\r\n", "TRACE\r\n"), Some(b"x"))),
            "invalid_http_method",
        ),
        (
            "other bytes than signed",
            change(|_, t| t.part(REST_REQUEST).extend(b"X-More:1\r\n")),
            "signature_verification.invalid_signature_value",
        ),
        (
            "another body than signed",
            with_body(|_, t| *t.part(REST_BODY) = b"bodY".to_vec()),
            "signature_verification.malformed_signature.invalid_hash_chain",
        ),
        (
            "a body that is not signed",
            with_body(|world, t| {
                let digest = DigestAlgorithm::Sha512.digest(HEADER_PART.as_bytes());
                *t.part(SIGNATURE) =
                    document(MESSAGE_URI, &digest, &signed_by(world, &world.consumer_signing));
                t.without(CHAIN);
                t.without(CHAIN_RESULT);
            }),
            "signature_verification.malformed_signature",
        ),
        (
            "a chain beside the point",
            change(|world, t| {
                let chained = request(world, HEADER_PART, Some(b"body"));
                let digest = DigestAlgorithm::Sha512.digest(b"another result");
                t.parts = chained.parts;
                *t.part(SIGNATURE) =
                    document(SIGNATURE_RESULT_URI, &digest, &signed_by(world, &world.consumer_signing));
            }),
            "signature_verification.invalid_signature_value",
        ),
        (
            "another member's signature",
            by(|world| world.pki.signing(&member("GOV", "4711")), Status::Good, NOW),
            "signature_verification.incorrect_certificate",
        ),
        (
            "an expired certificate",
            by(|world| world.pki.expired_signing(&consumer_member()), Status::Good, NOW),
            "signature_verification.cannot_create_cert_path.internal_error",
        ),
        (
            "a revoked certificate",
            by(|world| world.pki.signing(&consumer_member()), Status::Revoked, NOW),
            "signature_verification.invalid_cert_path.cert_validation",
        ),
        (
            "an old OCSP answer",
            by(|world| world.pki.signing(&consumer_member()), Status::Good, ago(3700)),
            "signature_verification.invalid_cert_path.incorrect_validation_info",
        ),
        (
            "an OCSP answer from the future",
            by(|world| world.pki.signing(&consumer_member()), Status::Good, ago(-400)),
            "signature_verification.invalid_cert_path.incorrect_validation_info",
        ),
        (
            "an authentication certificate",
            by(|world| world.pki.auth("x"), Status::Good, NOW),
            "signature_verification.malformed_signature",
        ),
        (
            "a CA that nobody approved",
            by(|_| support::pki::Pki::new("Rogue CA").signing(&consumer_member()), Status::Good, NOW),
            "signature_verification.internal_error",
        ),
        ("a revoked TLS certificate", tls(Status::Revoked, NOW), "service_failed.ssl_authentication_failed"),
        (
            "an old OCSP answer for TLS",
            tls(Status::Good, ago(3700)),
            "service_failed.ssl_authentication_failed",
        ),
    ];
    for (name, change, code) in rows {
        let mut transport = request(&world, HEADER_PART, None);
        change(&world, &mut transport);
        check(name, &send(&world, &transport).await, &format!("{SP}{code}"));
        assert_eq!(world.records().await, (0, 0), "{name}");
    }
    assert_eq!(world.backend.calls(), 0);
}

fn ago(seconds: i64) -> UnixTime {
    UnixTime(NOW.0 - seconds * 1000)
}

/// Signed with another certificate.
fn by(pair: impl Fn(&World) -> Pair + 'static, status: Status, at: UnixTime) -> Change {
    change(move |world, transport| {
        let pair = pair(world);
        let ocsp = vec![world.pki.ocsp(&pair.cert, status, at).to_vec()];
        let signatory = Signatory { pair: &pair, ocsp };
        *transport = Transport::rest(&tls_ocsp(world), REST_REQUEST, HEADER_PART, None, &signatory);
    })
}

/// With another OCSP answer for the TLS certificate.
fn tls(status: Status, at: UnixTime) -> Change {
    change(move |world, transport| {
        let own = world.consumer.signer.own.lock().unwrap().clone();
        let leaf = &own.auth.as_ref().unwrap().chain[0];
        *transport.part(OCSP) = world.pki.ocsp(leaf, status, at).to_vec();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_certificates_speak_for_their_own_server_only() {
    let world = World::start().await;
    let tls_of = |auth: &Pair| {
        let signer = support::signer(&world.pki, &consumer_member(), &world.consumer_signing, auth);
        (PeerTls::new(world.globalconf.clone(), signer.clone()), world.pki.good(&auth.cert))
    };
    // Registered, but for the provider's server, where this client is not.
    let own = world.provider.signer.own.lock().unwrap().auth.clone().unwrap();
    let signatory = signed_by(&world, &world.consumer_signing);
    let message = Transport::rest(&own.ocsp, REST_REQUEST, HEADER_PART, None, &signatory);
    let reply = message.send(&world.provider.peer_tls, world.provider.messages).await;
    check("another server's certificate", &reply, &format!("{SP}service_failed.ssl_authentication_failed"));
    // Not registered at all: the handshake fails, or the connection ends with it.
    let (tls, ocsp) = tls_of(&world.pki.auth("stranger"));
    let message = Transport::rest(&[ocsp], REST_REQUEST, HEADER_PART, None, &signatory);
    let socket = tokio::net::TcpStream::connect(world.provider.messages).await.unwrap();
    let connected =
        tls.connector().unwrap().connect(Stack::Modern, socket, "127.0.0.1", Duration::from_secs(5)).await;
    if connected.is_ok() {
        let reply = tokio::spawn(async move { message.send(&tls, world.provider.messages).await });
        // TLS 1.3 tells the client about its certificate after the handshake: the request meets a closed connection.
        assert!(
            reply.await.map_or(true, |reply| reply.status == 0),
            "an unregistered certificate was served"
        );
    }
}

/// The answer that the provider's server would give to `received`.
fn response(
    world_pki: &support::pki::Pki,
    provider: &Pair,
    received: &Received,
    lines: &str,
    body: Option<&[u8]>,
) -> Transport {
    let header_part = format!(
        "200\r\nOK\r\nContent-Type:text/plain\r\n{lines}x-road-id:id-1\r\nx-road-client:DEV/COM/1111/CONSUMER\r\n\
         x-road-service:DEV/GOV/2222/PROVIDER/echo\r\nx-road-request-id:{}\r\nx-road-request-hash:{}\r\n",
        received.request_id, received.hash
    );
    respond(world_pki, provider, &header_part, body)
}

fn respond(pki: &support::pki::Pki, provider: &Pair, header_part: &str, body: Option<&[u8]>) -> Transport {
    let signatory = Signatory { pair: provider, ocsp: vec![pki.good(&provider.cert).to_vec()] };
    Transport::rest(&[], REST_RESPONSE, header_part, body, &signatory)
}

type Answer = Box<dyn Fn(&support::pki::Pki, &Pair, &Received) -> Vec<u8> + Send + Sync>;

/// A proper answer, changed before it is signed and after.
fn but(
    lines: &'static str,
    next: impl Fn(&support::pki::Pki, &mut Transport) + Send + Sync + 'static,
) -> Answer {
    Box::new(move |pki, provider, received| {
        let mut transport = response(pki, provider, received, lines, Some(b"the answer"));
        next(pki, &mut transport);
        transport.answer()
    })
}

/// A proper answer whose header part has `to` in place of `from`, signed as it stands.
fn with(from: &'static str, to: &'static str) -> Answer {
    Box::new(move |pki, provider, received| {
        let mut transport = response(pki, provider, received, "", None);
        let part = String::from_utf8(transport.part(REST_RESPONSE).clone()).unwrap();
        assert!(part.contains(from), "{from} in {part}");
        respond(pki, provider, &part.replace(from, to), Some(b"the answer")).answer()
    })
}

fn raw(text: &str) -> Answer {
    let text = text.as_bytes().to_vec();
    Box::new(move |_, _, _| text.clone())
}

fn plain(status: &str, content_type: &str, body: &str) -> Answer {
    raw(&format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn soap_fault(code: &str, message: &str) -> String {
    let fault = proto::fault::Fault {
        code: code.into(),
        message: message.into(),
        detail: "their-id".into(),
        ..Default::default()
    };
    String::from_utf8(fault.to_soap()).unwrap()
}

/// What an information system gets: status, code or body.
async fn relayed(answer: Answer) -> (World, Reply) {
    let mut world = World::with(Options { play_provider: true, ..Options::default() }).await;
    let port = world.provider_port.take().unwrap();
    let pki = support::pki::Pki {
        ca: support::pki::copy(&world.pki.ca),
        responder: support::pki::copy(&world.pki.responder),
        now: NOW,
    };
    let (provider, answer) = (support::pki::copy(&world.provider_signing), Arc::new(answer));
    let shared = Arc::new((pki, provider));
    play_provider(port, world.provider.peer_tls.clone(), move |received| {
        let (shared, answer) = (shared.clone(), answer.clone());
        async move { answer(&shared.0, &shared.1, &received) }
    });
    let reply =
        ask(world.consumer.http, &rest("GET", "CONSUMER", "echo/x", "X-Road-Id: id-1\r\n", b"")).await;
    (world, reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_passed_on() {
    let (world, reply) = relayed(but("X-Kept:yes\r\nX-Road-Error:server.spoofed\r\n", |_, _| {})).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "the answer"), "{}", reply.head);
    assert_eq!((reply.header("x-kept"), reply.header("x-road-error")), (Some("yes"), None));
    assert_eq!(world.records().await.0, 2);
    for (status, body) in [("204", false), ("304", false), ("404", true), ("599", true)] {
        let status_line: &'static str = Box::leak(format!("{status}\r\nOK").into_boxed_str());
        let (_, reply) = relayed(with("200\r\nOK", status_line)).await;
        assert_eq!(reply.status.to_string(), status);
        assert_eq!(
            (reply.text().as_str(), reply.header("content-length").is_some()),
            if body { ("the answer", true) } else { ("", false) }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_refused() {
    let long = soap_fault("server.serverproxy.access_denied", &"x".repeat(1001));
    let big: &'static str = Box::leak(format!("X-Big:{}\r\n", "x".repeat(66_000)).into_boxed_str());
    let rows: Vec<(&str, Answer, String)> = vec![
        ("HTTP 404", plain("404 X", "text/xml", &soap_fault("a", "b")), format!("{CP}http_error")),
        (
            "no content type",
            raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx"),
            format!("{CP}invalid_content_type"),
        ),
        (
            "JSON",
            plain("200 OK", "application/json", "{}"),
            format!("{CP}service_failed.invalid_content_type"),
        ),
        (
            "garbage for a fault",
            plain("200 OK", "text/xml", "garbage"),
            format!("{CP}service_failed.invalid_soap"),
        ),
        (
            "an endless fault",
            plain("200 OK", "text/xml", &long),
            format!("{CP}service_failed.invalid_message"),
        ),
        ("no message", but("", |_, t| t.parts.clear()), format!("{CP}missing_rest")),
        (
            "a request for an answer",
            but("", |_, t| t.parts[0].0 = REST_REQUEST.into()),
            format!("{CP}service_failed.internal_error"),
        ),
        ("no signature", but("", |_, t| t.without(SIGNATURE)), format!("{CP}missing_signature")),
        ("cut off", but("", |_, t| t.closing.clear()), format!("{CP}io_error")),
        (
            "no hash algorithm",
            but("", |_, t| t.header("x-hash-algorithm", None)),
            format!("{CP}internal_error"),
        ),
        (
            "another body",
            but("", |_, t| *t.part(REST_BODY) = b"the ansver".to_vec()),
            format!("{CP}signature_verification.malformed_signature.invalid_hash_chain"),
        ),
        (
            "a body that is missing",
            but("", |_, t| t.without(REST_BODY)),
            format!("{CP}signature_verification.malformed_signature.invalid_reference"),
        ),
        (
            "another member's signature",
            signed_by_other(),
            format!("{CP}signature_verification.incorrect_certificate"),
        ),
        (
            "another message id",
            with("x-road-id:id-1", "x-road-id:id-2"),
            format!("{CP}inconsistent_response"),
        ),
        ("another client", with("CONSUMER", "NORIGHTS"), format!("{CP}inconsistent_response")),
        ("another service", with("PROVIDER/echo", "PROVIDER/other"), format!("{CP}inconsistent_response")),
        (
            "another request id",
            with("x-road-request-id:", "x-road-request-id:0"),
            format!("{CP}inconsistent_response"),
        ),
        (
            "another request hash",
            with("x-road-request-hash:", "x-road-request-hash:AAAA"),
            format!("{CP}inconsistent_response"),
        ),
        ("status 101", with("200\r\nOK", "101\r\nOK"), format!("{CP}service_failed.invalid_message")),
        ("status 999", with("200\r\nOK", "999\r\nOK"), format!("{CP}service_failed.invalid_message")),
        (
            "a lone line feed",
            with("x-road-id:", "X-A:b\nX-C:d\r\nx-road-id:"),
            format!("{CP}service_failed.invalid_message"),
        ),
        (
            "a length among the headers",
            with("x-road-id:", "Content-Length:3\r\nx-road-id:"),
            format!("{CP}service_failed.internal_error"),
        ),
        ("headers without measure", but(big, |_, _| {}), format!("{CP}service_failed.invalid_message")),
        ("closed without an answer", raw(""), format!("{CP}io_error")),
    ];
    for (name, answer, code) in rows {
        let (world, reply) = relayed(answer).await;
        assert_eq!(
            reply.header("x-road-error"),
            Some(code.as_str()),
            "{name}: {} {}",
            reply.head,
            reply.text()
        );
        let (found, _, detail) = reply.fault().unwrap_or_else(|| panic!("{name}: {}", reply.text()));
        assert_eq!((reply.status, found.as_str()), (500, code.as_str()), "{name}");
        assert!(uuid::Uuid::parse_str(&detail).is_ok(), "{name}: {detail}");
        assert_eq!(world.records().await.0, 1, "{name}: the request alone was logged");
    }
}

/// Signed by the consumer's own member.
fn signed_by_other() -> Answer {
    Box::new(|pki, _, received| {
        let other = pki.signing(&consumer_member());
        assert_ne!(consumer_member(), provider_member());
        response(pki, &other, received, "", None).answer()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_provider_are_passed_on_unchanged() {
    for code in ["server.serverproxy.access_denied", "Server.ServerProxy.AccessDenied", "client.some_thing"] {
        let (_, reply) =
            relayed(plain("200 OK", "text/xml;charset=utf-8", &soap_fault(code, "their <words>"))).await;
        let expected = if code.starts_with("client") { 400 } else { 500 };
        assert_eq!((reply.status, reply.header("x-road-error")), (expected, Some(code)));
        assert_eq!(reply.fault(), Some((code.to_owned(), "their <words>".to_owned(), "their-id".to_owned())));
    }
    // In place of the signature, after everything else was sent.
    let late = but("", |_, transport| {
        transport.without(SIGNATURE);
        let fault = soap_fault("server.serverproxy.logging_failed", "too late");
        transport.parts.push(("text/xml; charset=UTF-8".into(), fault.into_bytes()));
    });
    let (world, reply) = relayed(late).await;
    assert_eq!(reply.header("x-road-error"), Some("server.serverproxy.logging_failed"));
    assert_eq!(world.records().await.0, 1);
}
