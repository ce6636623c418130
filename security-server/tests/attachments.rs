//! SOAP messages with attachments, through two servers and back: what arrives, what is logged, what is refused.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::io::Read;

use pki::digest::DigestAlgorithm;
use security_server::message_log::{Direction, record::Record};
use support::client::{Reply, ask, envelope, soap};
use support::{Options, Server, World, consumer_member, subsystem};

/// A request with this type and body.
fn related(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\nSOAPAction: \"\"\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const TYPE: &str = "multipart/related; type=\"text/xml\"; start=\"<root>\"; boundary=\"b 1\"";

/// A body of [`TYPE`]: the envelope, then these parts with their headers.
fn parts(envelope: &str, attachments: &[(&str, &[u8])]) -> Vec<u8> {
    let first = "Content-Type: text/xml; charset=UTF-8\r\nContent-ID: <root>";
    let mut body = format!("--b 1\r\n{first}\r\n\r\n{envelope}").into_bytes();
    for (head, content) in attachments {
        body.extend(format!("\r\n--b 1\r\n{head}\r\n\r\n").bytes());
        body.extend_from_slice(content);
    }
    body.extend(b"\r\n--b 1--\r\n");
    body
}

/// The same as an information system gets it.
fn rebuilt(envelope: &str, attachments: &[(&str, &[u8])]) -> Vec<u8> {
    let spelled = |text: &str| text.replace("Content-Type: ", "content-type:");
    let first = spelled("Content-Type: text/xml; charset=UTF-8\r\nContent-ID: <root>");
    let mut body = format!("--b 1\r\n{first}\r\n\r\n{envelope}").into_bytes();
    for (head, content) in attachments {
        body.extend(format!("\r\n--b 1\r\n{}\r\n\r\n", spelled(head)).bytes());
        body.extend_from_slice(content);
    }
    body.extend(b"\r\n--b 1--\r\n");
    body
}

fn code(reply: &Reply) -> String {
    reply.fault().map(|(code, ..)| code).unwrap_or_default()
}

/// The records of one message id, in order.
async fn records(server: &Server, id: &str, consumer_side: bool) -> Vec<Record> {
    server.cx.log.indexed().await;
    let local = match consumer_side {
        true => subsystem(consumer_member(), "CONSUMER"),
        false => support::provider(),
    };
    let (log, id) = (server.cx.log.clone(), id.to_owned());
    let read =
        move || log.find(&id, &local).unwrap().iter().map(|found| log.read(found.id).unwrap()).collect();
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_pass_in_both_directions_and_into_the_log() {
    let world = World::start().await;
    let every: Vec<u8> = (0..=255).collect();
    // Large enough to leave memory, and full of what is nearly a delimiter.
    let large = b"\r\n--b 1x\r\n--b\r\n--".repeat(40_000);
    let attachments: [(&str, &[u8]); 5] = [
        (
            "Content-Type: application/octet-stream\r\nContent-ID: <a1>\r\nContent-Transfer-Encoding: binary",
            &every,
        ),
        ("Content-Type: text/plain; name=\"\u{e4}\"\r\nX-Custom: v", b""),
        ("Content-Type: application/pdf\r\nContent-ID: <a3>", &large),
        ("Content-Type: text/plain\r\nContent-Transfer-Encoding: base64", b"YXR0\r\n"),
        ("Content-Type: text/xml", b"\r\n\r\n"),
    ];
    let envelope = envelope("CONSUMER", "attachQuery", "att-1");
    let reply = ask(world.consumer.http, &related(TYPE, &parts(&envelope, &attachments))).await;
    assert_eq!(reply.status, 200, "{}{}", reply.head, reply.text());
    let seen = world.backend.last();
    assert!(seen.head.contains(&format!("Content-Type: {TYPE}\r\n")), "{}", seen.head);
    assert!(seen.body == rebuilt(&envelope, &attachments), "{}", String::from_utf8_lossy(&seen.body));
    // The service sent it back; the request's hash is all that is new.
    assert_eq!(reply.header("content-type"), Some(format!("{TYPE};charset=utf-8").as_str()));
    let start = reply.body.windows(11).position(|w| w == b"\r\n    <xroad").map_or(0, |at| at);
    let (before, hash) =
        reply.text().split_once("<xroad:requestHash").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(start == 0 && before.contains("att-1") && hash.contains("</xroad:requestHash>"));
    let back = rebuilt(&envelope, &attachments);
    let tail = back.len() - b"--b 1\r\n".len() - 1400;
    assert!(reply.body.ends_with(&back[back.len() - tail..]), "attachments came back unchanged");

    assert_eq!(world.records().await, (2, 2));
    for (server, consumer_side) in [(&world.consumer, true), (&world.provider, false)] {
        let found = records(server, "att-1", consumer_side).await;
        assert_eq!(
            found.iter().map(|r| r.direction).collect::<Vec<_>>(),
            [Direction::Request, Direction::Response]
        );
        for record in found {
            assert_eq!((record.parts.len(), record.attachments.len()), (6, 5));
            assert!(record.hash_chain.is_some());
            for (number, ((uri, digest), (_, content))) in
                record.parts[1..].iter().zip(&attachments).enumerate()
            {
                assert_eq!(uri, &format!("/attachment{}", number + 1));
                assert_eq!(digest, &DigestAlgorithm::Sha512.digest(content));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_part_and_parts_in_parts() {
    let world = World::start().await;
    let envelope = |service: &str| envelope("CONSUMER", service, "id");
    // Without attachments the multipart stays one, in the other spelling.
    let alone = envelope("attachQuery");
    let reply = ask(world.consumer.http, &related(TYPE, &parts(&alone, &[]))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let expected =
        String::from_utf8(rebuilt(&alone, &[])).unwrap().replace("content-type:", "content-type: ");
    assert_eq!(String::from_utf8_lossy(&world.backend.last().body), expected);
    // Without a boundary in the answer's type there is one in what is released.
    assert!(reply.text().starts_with("--b 1\r\ncontent-type: text/xml"), "{}", reply.text());

    // What lies in a nested multipart or a message is an attachment of its own.
    let inner = "--in\r\nContent-Type: text/plain\r\n\r\none\r\n--in\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\
                 Content-Type: text/html\r\n\r\ntwo\r\n--in--";
    let nested: [(&str, &[u8]); 2] =
        [("Content-Type: multipart/mixed; boundary=in", inner.as_bytes()), ("Content-Type: a/b", b"three")];
    let reply = ask(world.consumer.http, &related(TYPE, &parts(&alone, &nested))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let flat: [(&str, &[u8]); 3] = [
        ("Content-Type: text/plain", b"one"),
        ("Content-Type: text/html\r\nSubject: x", b"two"),
        ("Content-Type: a/b", b"three"),
    ];
    assert_eq!(
        String::from_utf8_lossy(&world.backend.last().body),
        String::from_utf8_lossy(&rebuilt(&alone, &flat))
    );

    // The same at the provider's edge, with a plain request.
    let plain = |service: &str| soap("Content-Type: text/xml\r\nSOAPAction: \"\"\r\n", &envelope(service));
    let reply = ask(world.consumer.http, &plain("nestedQuery")).await;
    assert_eq!(reply.header("content-type"), Some("multipart/related; boundary=rb;charset=utf-8"));
    let text = reply.text();
    let tail = "\r\n--rb\r\ncontent-type:text/plain\r\n\r\nn1\r\n--rb\r\ncontent-type:text/plain\r\n\r\nn2\r\n\
                --rb\r\ncontent-type:a/b\r\nContent-Id: <a2>\r\n\r\nlast\r\n--rb--\r\n";
    assert!(
        text.starts_with("--rb\r\ncontent-type:text/xml; charset=UTF-8\r\n\r\n<?xml") && text.ends_with(tail),
        "{text}"
    );
    // An end without delimiter is one where the length said so, and a cut where nothing did.
    let reply = ask(world.consumer.http, &plain("unclosedQuery")).await;
    assert!(reply.text().ends_with(tail), "{}", reply.text());
    let reply = ask(world.consumer.http, &plain("cutQuery")).await;
    assert_eq!(code(&reply), "server.serverproxy.service_failed.io_error", "{}", reply.text());
    let reply = ask(world.consumer.http, &plain("partfaultQuery")).await;
    assert_eq!(code(&reply), "Server.MyOwn", "a fault is passed on from inside a multipart too");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_multiparts_are_refused_before_the_service_is_called() {
    let world = World::start().await;
    let envelope = envelope("CONSUMER", "attachQuery", "id");
    let good = parts(&envelope, &[("Content-Type: a/b", b"x")]);
    let text = String::from_utf8(good.clone()).unwrap();
    let many: Vec<(&str, &[u8])> = vec![("Content-Type: a/b", b"x".as_slice()); 1001];
    let long = format!("Content-Type: a/b\r\nX-Long: {}", "x".repeat(1000));
    let big_head = format!("Content-Type: a/b{}", "\r\nX-A: 0123456789".repeat(5000));
    let cases: Vec<(&str, &str, Vec<u8>, &str)> = vec![
        ("no boundary", "multipart/related", good.clone(), "client.invalid_content_type"),
        ("an empty boundary", "multipart/related; boundary=\"\"", good.clone(), "client.missing_soap"),
        (
            "another multipart",
            "multipart/mixed; boundary=\"b 1\"",
            good.clone(),
            "client.invalid_content_type",
        ),
        ("another boundary", "multipart/related; boundary=other", good.clone(), "client.missing_soap"),
        (
            "no SOAP type",
            TYPE,
            text.replace("text/xml", "text/html").into_bytes(),
            "client.invalid_content_type",
        ),
        ("no type", TYPE, parts(&envelope, &[("X-A: b", b"x")]), "client.invalid_content_type"),
        ("an empty envelope", TYPE, parts("", &[]), "client.invalid_soap"),
        ("too many", TYPE, parts(&envelope, &many), "client.invalid_message"),
        ("a long line", TYPE, parts(&envelope, &[(&long, b"x")]), "client.mime_parsing_failed"),
        ("a long head", TYPE, parts(&envelope, &[(&big_head, b"x")]), "client.mime_parsing_failed"),
        ("a preamble", TYPE, [vec![b'x'; 70_000], good.clone()].concat(), "client.mime_parsing_failed"),
        ("an epilogue", TYPE, [good.clone(), vec![b'x'; 200_000]].concat(), "client.mime_parsing_failed"),
    ];
    for (name, content_type, body, expected) in cases {
        let reply = ask(world.consumer.http, &related(content_type, &body)).await;
        assert_eq!((reply.status, code(&reply).as_str()), (200, expected), "{name}: {}", reply.text());
    }
    assert_eq!(world.backend.calls(), 0);
    assert_eq!(world.records().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_more_than_the_log_keeps_passes_and_is_logged_by_digest() {
    let world = World::with(Options { max_body_bytes: 100_000, ..Options::default() }).await;
    let envelope = envelope("CONSUMER", "attachQuery", "big-1");
    let (one, two) = (vec![1_u8; 90_000], vec![2_u8; 20_000]);
    let attachments: [(&str, &[u8]); 2] = [("Content-Type: a/b", &one), ("Content-Type: c/d", &two)];
    let reply = ask(world.consumer.http, &related(TYPE, &parts(&envelope, &attachments))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(world.backend.last().body == rebuilt(&envelope, &attachments));
    assert!(reply.body.len() > 110_000 && reply.body.ends_with(b"\r\n--b 1--\r\n"));
    assert_eq!(world.records().await, (2, 2));
    for (server, consumer_side) in [(&world.consumer, true), (&world.provider, false)] {
        for record in records(server, "big-1", consumer_side).await {
            assert!(record.attachments.is_empty());
            let digests: Vec<_> = record.parts[1..].iter().map(|(_, digest)| digest.clone()).collect();
            assert_eq!(digests, [&one, &two].map(|data| DigestAlgorithm::Sha512.digest(data)));
        }
    }
    // Below it, bodies are kept whole, and can be read from where they lie.
    let attachments: [(&str, &[u8]); 1] = [("Content-Type: a/b", &one)];
    let envelope = envelope.replace("big-1", "small-1");
    ask(world.consumer.http, &related(TYPE, &parts(&envelope, &attachments))).await;
    for record in records(&world.provider, "small-1", false).await {
        let stored = record.attachments[0].clone();
        let mut bytes = Vec::new();
        let read =
            tokio::task::spawn_blocking(move || stored.reader().read_to_end(&mut bytes).map(|_| bytes));
        assert!(read.await.unwrap().unwrap() == one);
    }
}
