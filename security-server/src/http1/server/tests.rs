//! One connection of an information system, over a pipe.
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

const LIMITS: ServerLimits = ServerLimits {
    head: HeadLimits { bytes: 8200, lines: 200 },
    idle: Duration::from_millis(200),
    keep_alive: Duration::from_millis(400),
};
const NOW: UnixTime = UnixTime(1_795_291_200_000);

fn pair() -> (DuplexStream, ServerConnection<DuplexStream>) {
    let (client, server) = duplex(1 << 20);
    (client, ServerConnection::new(server, LIMITS))
}

fn answer(body: AnswerBody) -> Answer {
    let mut headers = Headers::default();
    headers.push("X-A", "b");
    Answer::new(200, headers, body)
}

async fn everything(mut client: DuplexStream) -> String {
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.expect("read");
    String::from_utf8(text).expect("text")
}

async fn collect(connection: &mut ServerConnection<DuplexStream>) -> Result<Vec<u8>, WireError> {
    let (mut data, mut body) = (Vec::new(), connection.body());
    while let Some(chunk) = body.next().await? {
        data.extend_from_slice(&chunk);
    }
    Ok(data)
}

#[tokio::test]
async fn serves_two_requests_of_one_connection() {
    let (mut client, mut connection) = pair();
    client
        .write_all(
            b"\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\nHost: h\r\n\
              Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n",
        )
        .await
        .expect("sent");
    for (target, body) in [("/a", "abc"), ("/b", "de")] {
        let head = connection.request().await.expect("read").expect("a request");
        assert_eq!(head.target, target);
        assert_eq!(collect(&mut connection).await.expect("body"), body.as_bytes());
        let kept = connection.respond(Some(&head), answer(AnswerBody::Bytes(body.into())), false, NOW).await;
        assert!(kept.expect("sent"), "{target}");
    }
    drop(connection);
    let text = everything(client).await;
    let one = "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 20:00:00 GMT\r\nX-A: b\r\nContent-Length: ";
    assert_eq!(text, format!("{one}3\r\n\r\nabc{one}2\r\n\r\nde"));
}

#[tokio::test]
async fn answers_without_a_body_where_there_can_be_none() {
    let cases = [("HEAD", 200, false), ("GET", 204, false), ("GET", 304, false), ("GET", 200, true)];
    for (method, status, length) in cases {
        let (mut client, mut connection) = pair();
        client.write_all(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.expect("sent");
        let head = connection.request().await.expect("read").expect("a request");
        let body = if length { AnswerBody::Empty } else { AnswerBody::Bytes("never seen".into()) };
        let answer = Answer { status, ..answer(body) };
        connection.respond(Some(&head), answer, false, NOW).await.expect("sent");
        drop(connection);
        let text = everything(client).await;
        assert_eq!(text.contains("Content-Length: 0"), length, "{method} {status}");
        assert!(text.ends_with("\r\n\r\n"), "{method} {status}: {text}");
    }
}

/// A slot and memory are in use while the answer is read, not only while it is made.
#[tokio::test]
async fn an_answer_holds_what_is_held_for_it_until_it_was_read() {
    let (mut client, server) = duplex(1024);
    let mut connection = ServerConnection::new(server, LIMITS);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
    let head = connection.request().await.expect("read").expect("a request");
    for body in [AnswerBody::Bytes(vec![b'x'; 100_000].into()), AnswerBody::Bytes(vec![b'x'; 2000].into())] {
        let slots = crate::admission::Admission::new(1, 1);
        let answer = answer(body).holding(slots.enter("a client").expect("free"));
        let mut sending = Box::pin(connection.respond(Some(&head), answer, false, NOW));
        assert!((&mut sending).now_or_never().is_none(), "nobody reads yet");
        assert_eq!(slots.in_use(), 1);
        let mut taken = [0; 512];
        while tokio::select! {
            biased;
            kept = &mut sending => !kept.expect("sent"),
            read = client.read(&mut taken) => read.expect("read") > 0,
        } {}
        drop(sending);
        assert_eq!(slots.in_use(), 0);
        while client.read(&mut taken).now_or_never().is_some() {}
    }
}

#[tokio::test]
async fn asks_for_the_body_only_when_it_is_wanted() {
    let (mut client, mut connection) = pair();
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.write_all(request).await.expect("sent");
    let head = connection.request().await.expect("read").expect("a request");
    let kept = connection.respond(Some(&head), answer(AnswerBody::Empty), false, NOW).await.expect("sent");
    assert!(!kept, "the body may or may not follow, so the connection is of no more use");

    let (mut client, mut connection) = pair();
    client.write_all(request).await.expect("sent");
    connection.request().await.expect("read").expect("a request");
    let (body, ()) = tokio::join!(collect(&mut connection), async {
        let mut interim = [0; 25];
        client.read_exact(&mut interim).await.expect("100 Continue");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ok").await.expect("sent");
    });
    assert_eq!(body.expect("body"), b"ok");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_closes() {
    let (mut client, mut connection) = pair();
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nfew").await.expect("sent");
    let head = connection.request().await.expect("read").expect("a request");
    let kept = connection.respond(Some(&head), answer(AnswerBody::Empty), false, NOW).await.expect("sent");
    assert!(!kept);
    drop(connection);
    assert!(everything(client).await.contains("Connection: close\r\n"));
}

#[tokio::test]
async fn bounds_heads_and_silence() {
    let long_line = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let long_target = format!("GET /{}", "x".repeat(9000));
    let long_both = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(8180));
    let cases = [
        (long_line.as_str(), 431),
        (long_both.as_str(), 431),
        (long_target.as_str(), 414),
        ("GET / HTTP/1.1\nHost: h\n\n", 400),
        // TLS where HTTP is spoken: answered at once, though no line ever ends.
        ("\x16\x03\x01", 400),
    ];
    for (text, status) in cases {
        let (mut client, mut connection) = pair();
        client.write_all(text.as_bytes()).await.expect("sent");
        let found = connection.request().await;
        assert!(matches!(found, Err(RequestError::Head(e)) if e.status() == status), "{status}: {found:?}");
    }
    for text in ["", "GET / HT"] {
        let (mut client, mut connection) = pair();
        client.write_all(text.as_bytes()).await.expect("sent");
        let found = connection.request().await;
        assert!(matches!(found, Err(RequestError::Wire(WireError::Idle(_)))), "{text:?}: {found:?}");
    }
    let (mut client, mut connection) = pair();
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc").await.expect("sent");
    connection.request().await.expect("read").expect("a request");
    assert!(matches!(collect(&mut connection).await, Err(WireError::Idle(_))), "a body that stalls is cut");
}

#[tokio::test]
async fn a_stored_body_must_have_its_recorded_length() {
    for (length, ok) in [(6, true), (5, false), (7, false)] {
        let (mut client, mut connection) = pair();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
        let head = connection.request().await.expect("read").expect("a request");
        let chunks = [Ok(Bytes::from("abc")), Ok(Bytes::from("def"))];
        let stream = futures_util::stream::iter(chunks).boxed();
        let sent =
            connection.respond(Some(&head), answer(AnswerBody::Stream { length, stream }), false, NOW).await;
        assert_eq!(sent.is_ok(), ok, "announced {length}");
    }
}
