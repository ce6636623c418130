//! Whole exchanges: information system, two security servers, service, over the real listeners.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::time::Duration;

use support::client::{Reply, ask, envelope, parse, rest, soap};
use support::{Options, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// What a service answers, as it comes out at the other end.
#[tokio::test(flavor = "multi_thread")]
async fn answers_keep_their_status_and_lines() {
    let world = World::start().await;
    let cases =
        [("200", 200), ("201", 201), ("204", 204), ("304", 304), ("404", 404), ("500", 500), ("599", 599)];
    for (status, expected) in cases {
        let reply =
            ask(world.consumer.http, &rest("GET", "CONSUMER", &format!("echo/status/{status}"), "", b""))
                .await;
        assert_eq!((reply.status, reply.header("x-kept")), (expected, Some("yes")), "{}", reply.head);
        let length = (!matches!(status, "204" | "304")).then_some("0");
        assert_eq!(reply.header("content-length"), length, "{status}: {}", reply.head);
        assert_eq!(reply.text(), "");
    }
    // Repeated lines stay where they are.
    let reply = ask(world.consumer.http, &rest("GET", "CONSUMER", "echo", "", b"")).await;
    let lines: Vec<_> =
        reply.head.lines().filter(|l| l.starts_with("X-First") || l.starts_with("X-Second")).collect();
    assert_eq!(lines, ["X-First: 1", "X-Second: 2", "X-First: 3"]);
    // What only a security server says, no service can.
    let reply =
        ask(world.consumer.http, &rest("GET", "CONSUMER", "echo/spoof", "X-Road-Id: mine\r\n", b"")).await;
    assert_eq!(
        (reply.status, reply.header("x-kept"), reply.header("x-road-error")),
        (200, Some("yes"), None)
    );
    assert_eq!(reply.header("x-road-id"), Some("mine"));
    // HEAD has no body and says nothing of one.
    let reply = ask(world.consumer.http, &rest("HEAD", "CONSUMER", "echo/status/200", "", b"")).await;
    assert_eq!((reply.status, reply.header("content-length"), reply.text().as_str()), (200, None, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_answers_are_unpacked_before_they_are_signed() {
    let world = World::start().await;
    let reply =
        ask(world.consumer.http, &rest("GET", "CONSUMER", "echo/gzip", "Accept-Encoding: gzip\r\n", b""))
            .await;
    assert_eq!(
        (reply.text().as_str(), reply.header("content-encoding")),
        ("plain text", None),
        "{}",
        reply.head
    );
}

/// Bodies of both directions, above and below what is kept in memory, with every method and framing.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_unchanged() {
    let world = World::start().await;
    let body = |size: usize| -> Vec<u8> { (0..size).map(|i| (i % 253) as u8).collect() };
    for (method, size) in
        [("POST", 1), ("PUT", 1000), ("POST", 65_536), ("POST", 65_537), ("DELETE", 3), ("GET", 5_000_000)]
    {
        let sent = body(size);
        let reply = ask(world.consumer.http, &rest(method, "CONSUMER", "echo/x", "", &sent)).await;
        assert_eq!(reply.status, 200, "{method} {size}: {}{}", reply.head, reply.text());
        assert!(reply.body == sent, "{method} {size}: {} bytes came back", reply.body.len());
        assert!(world.backend.last().body == sent, "{method} {size}");
        assert_eq!(reply.header("content-length"), Some(size.to_string().as_str()));
    }
    // Chunked, in odd pieces; and an empty body, which is none.
    let head = "POST /r1/DEV/GOV/2222/PROVIDER/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                X-Road-Client: DEV/COM/1111/CONSUMER\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, expected) in [("3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\n", "abcd"), ("0\r\n\r\n", "")] {
        let reply = ask(world.consumer.http, format!("{head}{chunks}").as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.head);
        assert_eq!(world.backend.last().body, expected.as_bytes());
    }
    // No body: a method that has one by custom says so.
    assert!(world.backend.last().head.contains("Content-Length: 0"), "{}", world.backend.last().head);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_on_every_hop() {
    let world = World::start().await;
    let mut socket = TcpStream::connect(world.consumer.http).await.unwrap();
    for n in 0..5 {
        let request = String::from_utf8(rest("POST", "CONSUMER", "echo", "", b"again"))
            .unwrap()
            .replace("Connection: close\r\n", "");
        socket.write_all(request.as_bytes()).await.unwrap();
        let (head, body) =
            support::backend::read_message(&mut socket).await.unwrap_or_else(|| panic!("answer {n}"));
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("close"), "{head}");
        assert_eq!(body, b"again");
    }
    assert_eq!(world.backend.connections(), 1, "one connection to the service for all of them");
    assert_eq!(world.records().await, (10, 10));
}

/// Many at once: signatures are shared, everybody gets his own answer, every record is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_exchanges_at_once_share_signatures() {
    let world = World::start().await;
    let address = world.consumer.http;
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            tokio::spawn(async move {
                ask(address, &rest("POST", "CONSUMER", "echo", "", format!("number {n}").as_bytes())).await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let reply = task.await.unwrap();
        assert_eq!((reply.status, reply.text()), (200, format!("number {n}")), "{}", reply.head);
    }
    assert_eq!(world.records().await, (120, 120));
    let operations = world.consumer.signer.operations();
    assert!((1..=60).contains(&operations), "{operations} private-key operations for 60 requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_services_are_pinned() {
    let world = World::start().await;
    let reply = ask(world.consumer.http, &rest("GET", "CONSUMER", "pinned/x", "", b"")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "/rest/x"), "{}", reply.head);
    let reply = ask(world.consumer.http, &rest("GET", "CONSUMER", "otherpin/x", "", b"")).await;
    assert_eq!(reply.header("x-road-error"), Some("server.serverproxy.ssl_authentication_failed"));
}

/// While the server drains, what is under way ends well and nothing new begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_ends_what_is_under_way() {
    let world = World::start().await;
    let address = world.consumer.http;
    let kept = TcpStream::connect(address).await.unwrap();
    let under_way =
        tokio::spawn(async move { ask(address, &rest("GET", "CONSUMER", "echo/held", "", b"")).await });
    while world.backend.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.consumer.cx.shutdown.stop();
    world.provider.cx.shutdown.stop();
    world.backend.release.notify_one();
    let reply = under_way.await.unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{}", reply.head);
    assert!(world.consumer.cx.shutdown.drained(Duration::from_secs(5)).await);
    assert!(world.provider.cx.shutdown.drained(Duration::from_secs(5)).await);
    let mut rest_of_it = Vec::new();
    let mut kept = kept;
    let ended = tokio::time::timeout(Duration::from_secs(5), kept.read_to_end(&mut rest_of_it)).await;
    assert!(ended.is_ok() && rest_of_it.is_empty(), "an idle connection is closed");
    assert!(TcpStream::connect(address).await.is_err() || parse(&rest_of_it).status == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_instance_are_listed() {
    let world = World::start().await;
    let get = |target: &str, lines: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{lines}\r\n").into_bytes()
    };
    let xml = ask(world.consumer.http, &get("/listClients", "")).await;
    assert_eq!((xml.status, xml.header("content-type")), (200, Some("text/xml; charset=UTF-8")));
    let tree = well_formed(&xml);
    assert!(tree.contains("<id:subsystemCode>PROVIDER</id:subsystemCode>"), "{tree}");
    let json =
        ask(world.consumer.http, &get("/listClients?xRoadInstance=DEV", "Accept: application/json\r\n"))
            .await;
    assert_eq!(json.header("content-type"), Some("application/json; charset=utf-8"));
    let list: serde_json::Value = serde_json::from_slice(&json.body).expect("JSON");
    let ids: Vec<_> = list["member"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| m["id"]["subsystem_code"].clone())
        .collect();
    assert!(ids.contains(&"CONSUMER".into()) && ids.contains(&serde_json::Value::Null), "{ids:?}");
    let unknown = ask(world.consumer.http, &get("/listClients?xRoadInstance=XX", "")).await;
    assert_eq!(unknown.status, 200);
    assert_eq!(unknown.fault().map(|(code, ..)| code), Some("server.clientproxy.internal_error".into()));
}

fn well_formed(reply: &Reply) -> String {
    proto::xml::check(&reply.body, &proto::xml::Limits::default()).expect("well-formed");
    reply.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_for_the_client_it_is_of() {
    let world = World::with(Options::default()).await;
    let reply =
        ask(world.consumer.http, &rest("GET", "CONSUMER", "echo", "X-Road-Id: evidence-1\r\n", b"")).await;
    assert_eq!(reply.status, 200);
    let of = |subsystem: &str, more: &str| {
        let query = format!(
            "queryId=evidence-1&xRoadInstance=DEV&memberClass=COM&memberCode=1111&subsystemCode={subsystem}{more}"
        );
        format!("GET /asic?{query} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes()
    };
    // Not stamped yet, which is as far as it goes without a timestamping service.
    let cases = [("CONSUMER", "", 500), ("TLSONLY", "", 401), ("NOSUCH", "", 401), ("NORIGHTS", "", 404)];
    for (subsystem, more, status) in cases {
        let reply = ask(world.consumer.http, &of(subsystem, more)).await;
        assert_eq!(reply.status, status, "{subsystem}: {}", reply.text());
        assert!(reply.header("content-type").is_some_and(|t| t.starts_with("text/plain")), "{}", reply.head);
    }
    let reply =
        ask(world.consumer.http, b"GET /asic?queryId=x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .await;
    assert_eq!(reply.status, 400);
}
