//! Whole exchanges: information system, two security servers, service, over the real listeners.

mod support;

use support::World;
use support::client::{ask, ask_tls, envelope, rest, soap};

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_request_reaches_the_service_and_its_answer_comes_back() {
    let world = World::start().await;
    let lines = "X-Road-UserId: EE123\r\nX-Custom-B: 1\r\nx-custom-a: k\u{e4}\r\n";
    let reply = ask(world.consumer.http, &rest("GET", "CONSUMER", "echo/a/b?q=1", lines, b"")).await;
    assert_eq!(reply.status, 200, "{}{}", reply.head, reply.text());
    assert_eq!(reply.text(), "/rest/a/b?q=1");
    assert_eq!(reply.header("x-road-client"), Some("DEV/COM/1111/CONSUMER"));
    assert_eq!(reply.header("x-road-service"), Some("DEV/GOV/2222/PROVIDER/echo"));
    assert!(reply.header("x-road-id").is_some_and(|id| id.starts_with("DEV-")));
    // The service saw the lines as they were written, in their order, and what its server adds.
    let seen = world.backend.last().head;
    let order =
        ["X-Road-Client: DEV/COM/1111/CONSUMER", "X-Road-UserId: EE123", "X-Custom-B: 1", "x-custom-a: "];
    let places: Vec<_> =
        order.iter().map(|line| seen.find(line).unwrap_or_else(|| panic!("{line} in {seen}"))).collect();
    assert!(places.is_sorted(), "{seen}");
    assert!(!seen.to_ascii_lowercase().contains("connection: close"), "{seen}");
    assert_eq!(world.records().await, (2, 2), "request and response on both sides");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soap_request_gets_its_hash_back() {
    let world = World::start().await;
    let request = soap(
        "Content-Type: text/xml; charset=UTF-8\r\nSOAPAction: \"\"\r\n",
        &envelope("CONSUMER", "testQuery", "id-1"),
    );
    let reply = ask(world.consumer.http, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    let text = reply.text();
    assert!(text.contains("<p:testQueryResponse>hello"), "{text}");
    assert!(
        text.contains("<xroad:requestHash algorithmId=\"http://www.w3.org/2001/04/xmlenc#sha512\">"),
        "{text}"
    );
    assert_eq!(reply.header("content-type"), Some("text/xml; charset=UTF-8"));
    assert!(world.backend.last().head.contains("SOAPAction: \"\""));
    assert_eq!(world.records().await, (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_callers_are_told_apart() {
    let world = World::start().await;
    let of = |client: &str| rest("GET", client, "echo", "", b"");
    let reply = ask_tls(world.consumer.https, Some(&world.is_pair), &of("TLSAUTH")).await;
    // The caller was accepted, so the provider decides; this client has no right there.
    assert_eq!(reply.header("x-road-error"), Some("server.serverproxy.access_denied"));
}
