//! What a hostile security server, information system or service tries, and that nothing comes of it.
//!
//! `peers.rs` and `refusals.rs` hold the codes of single broken rules; here each test is one attack, and asserts its safe outcome.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::time::{Duration, Instant};

use support::World;
use support::client::{Reply, ask, envelope, rest, soap};
use support::peer::{REST_REQUEST, SIGNATURE, Signatory, Transport, fault};

const SP: &str = "server.serverproxy.";

/// As the consumer's server writes it, for `service`.
fn header_part(client_lines: &str, service: &str, id: &str) -> String {
    format!(
        "GET\r\n/r1/DEV/GOV/2222/PROVIDER/{service}\r\n{client_lines}\
         x-road-request-id:11111111-2222-3333-4444-555555555555\r\nx-road-id:{id}\r\n"
    )
}

const CONSUMER: &str = "X-Road-Client:DEV/COM/1111/CONSUMER\r\n";
const NORIGHTS: &str = "X-Road-Client:DEV/COM/1111/NORIGHTS\r\n";

/// A request of the consumer's server, signed by its member.
fn request(world: &World, header_part: &str, body: Option<&[u8]>) -> Transport {
    let pair = &world.consumer_signing;
    let signatory = Signatory { pair, ocsp: vec![world.pki.good(&pair.cert).to_vec()] };
    let ocsp = world.consumer.signer.own.lock().unwrap().auth.as_ref().unwrap().ocsp.clone();
    Transport::rest(&ocsp, REST_REQUEST, header_part, body, &signatory)
}

async fn send(world: &World, transport: &Transport) -> Reply {
    transport.send(&world.consumer.peer_tls, world.provider.messages).await
}

fn code(reply: &Reply) -> Option<String> {
    fault(reply).map(|(code, ..)| code)
}

/// The unsigned parts of a signature can be exchanged by whoever holds the message; it is the same message still.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_other_unsigned_properties_is_the_same_message() {
    let world = World::start().await;
    let mut message = request(&world, &header_part(CONSUMER, "echo/x", "id-1"), None);
    assert_eq!(code(&send(&world, &message).await), None);
    let document = String::from_utf8(message.part(SIGNATURE).clone()).unwrap();
    let (start, end) = ("<xades:EncapsulatedOCSPValue", "</xades:EncapsulatedOCSPValue>");
    let (at, to) = (document.find(start).unwrap(), document.find(end).unwrap() + end.len());
    let again = document[at..to].replace("ocsp-response-1", "ocsp-response-2");
    *message.part(SIGNATURE) = [&document[..to], &again, &document[to..]].concat().into_bytes();
    message.header("x-road-request-id", Some("99999999-2222-3333-4444-555555555555"));
    assert_eq!(code(&send(&world, &message).await), Some(format!("{SP}invalid_message")));
    assert_eq!((world.records().await, world.backend.calls()), ((0, 1 + 1), 1), "no second effect");
}

/// A registered server whose client has no right must not be able to fill the disk with bodies that nobody asked for.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_those_who_may_not_ask_never_reach_the_log() {
    let world = World::start().await;
    let body = vec![b'x'; 4 << 20];
    let post = |client: &str, id: &str| header_part(client, "echo/x", id).replacen("GET", "POST", 1);
    let before = world.provider.log_bytes();
    for id in ["id-1", "id-2", "id-3"] {
        let reply = send(&world, &request(&world, &post(NORIGHTS, id), Some(&body))).await;
        assert_eq!(code(&reply), Some(format!("{SP}access_denied")), "{}", reply.head);
    }
    let grown = world.provider.log_bytes() - before;
    assert!(grown < 1 << 20, "{grown} bytes for three refused requests");
    assert_eq!((world.records().await, world.backend.calls()), ((0, 0), 0));
    // Those who may are served as ever.
    let reply = send(&world, &request(&world, &post(CONSUMER, "id-4"), Some(&body))).await;
    assert_eq!((code(&reply), world.backend.calls()), (None, 1), "{}", reply.head);
}

/// A document of a few kilobytes must not become gigabytes, nor minutes, while its canonical form is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_document_that_grows_is_refused_at_once() {
    let world = World::start().await;
    let long = "n".repeat(1 << 20);
    let many = "<p:x/>".repeat(9000);
    let prefixes = "p ".repeat(500_000);
    let transform = |list: &str| {
        format!(
            "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\">\
             <ec:InclusiveNamespaces xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"{list}\"/>\
             </ds:Transform></ds:Transforms>"
        )
    };
    let cases =
        [("a long namespace name", long.as_str(), ""), ("a long list of prefixes", "urn:p", &prefixes)];
    for (name, namespace, list) in cases {
        let mut message =
            request(&world, &header_part(CONSUMER, "echo/x", name.split(' ').next_back().unwrap()), None);
        let document = String::from_utf8(message.part(SIGNATURE).clone()).unwrap();
        let properties_reference = document.find("URI=\"#signed-properties\"").unwrap();
        let inside = properties_reference + document[properties_reference..].find('>').unwrap() + 1;
        let document = [&document[..inside], &transform(list), &document[inside..]].concat();
        let document = document
            .replacen("<ds:Signature ", &format!("<ds:Signature xmlns:p=\"{namespace}\" "), 1)
            .replacen("</xades:SignedProperties>", &format!("{many}</xades:SignedProperties>"), 1);
        *message.part(SIGNATURE) = document.into_bytes();
        let begun = Instant::now();
        let reply = send(&world, &message).await;
        let malformed = format!("{SP}signature_verification.malformed_signature");
        assert_eq!(code(&reply), Some(malformed), "{name}: {}", reply.text());
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}: {:?}", begun.elapsed());
    }
    assert_eq!((world.records().await, world.backend.calls()), ((0, 0), 0));
}

/// Identifiers of SOAP are as long as their sender makes them; what is told and logged is not.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_identifier_is_not_echoed() {
    let world = World::start().await;
    let envelope = envelope(&"x".repeat(1 << 20), "testQuery", "id-1");
    let reply = ask(world.consumer.http, &soap("Content-Type: text/xml\r\n", &envelope)).await;
    let (code, message, _) = reply.fault().expect("a fault");
    assert_eq!(code, "server.clientproxy.unknown_member");
    assert!(message.len() <= 1000, "{} bytes", message.len());
    assert_eq!(world.records().await, (0, 0));
}

/// Rights are checked for the last `X-Road-Client`; a service that reads the first must not see another.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_sees_no_client_but_the_one_that_was_checked() {
    let world = World::start().await;
    let victim = "X-Road-Client:DEV/GOV/2222/PROVIDER\r\n";
    let lines = format!("{victim}X-Kept:1\r\nX-Kept:2\r\n{CONSUMER}");
    let reply = send(&world, &request(&world, &header_part(&lines, "echo/x", "id-1"), None)).await;
    assert_eq!(code(&reply), None, "{}", reply.text());
    let head = world.backend.last().head.to_ascii_lowercase();
    let values = |name: &str| {
        head.lines().filter_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values("x-road-client:"), ["dev/com/1111/consumer"], "{head}");
    assert_eq!(values("x-kept:"), ["1", "2"], "other headers may be repeated: {head}");

    // The same from an information system, through an honest server.
    let lines = "X-Road-Client: DEV/COM/1111/CONSUMER\r\nX-Road-Id: second\r\n";
    let reply = ask(world.consumer.http, &rest("GET", "NORIGHTS", "echo/x", lines, b"")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!world.backend.last().head.contains("NORIGHTS"), "{}", world.backend.last().head);
}
