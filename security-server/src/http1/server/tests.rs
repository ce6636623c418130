//! One connection of an information system, over a pipe.
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

const LIMITS: ServerLimits = ServerLimits {
    head: HeadLimits { bytes: 8200, lines: 200 },
    idle: Duration::from_millis(200),
    keep_alive: Duration::from_millis(400),
    sender: Sender::InformationSystem,
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

const OF_SERVERS: ServerLimits = ServerLimits { sender: Sender::SecurityServer, ..LIMITS };

fn pieces(pieces: &[&'static str]) -> AnswerBody {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
    AnswerBody::Pieces(futures_util::stream::iter(pieces).boxed())
}

/// Byte for byte: names in lower case, and the length only where it is known.
#[tokio::test]
async fn answers_servers_in_their_own_way() {
    let (start, date) = ("HTTP/1.1 200 OK\r\nx-a: b\r\n", "date: Sat, 21 Nov 2026 20:00:00 GMT\r\n\r\n");
    let cases = [
        (
            "1.1",
            false,
            pieces(&["ab", "c"]),
            "transfer-encoding: chunked\r\n",
            "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        (
            "1.1",
            true,
            pieces(&["ab"]),
            "connection: close\r\ntransfer-encoding: chunked\r\n",
            "2\r\nab\r\n0\r\n\r\n",
        ),
        ("1.0", false, pieces(&["ab", "c"]), "connection: close\r\n", "abc"),
        ("1.1", false, AnswerBody::Bytes("ab".into()), "content-length: 2\r\n", "ab"),
        ("1.1", true, AnswerBody::Bytes("ab".into()), "content-length: 2\r\nconnection: close\r\n", "ab"),
        ("1.0", false, AnswerBody::Bytes("ab".into()), "content-length: 2\r\nconnection: close\r\n", "ab"),
    ];
    for (version, last, body, framing, expected) in cases {
        let (mut client, server) = duplex(1 << 16);
        let mut connection = ServerConnection::new(server, OF_SERVERS);
        client.write_all(format!("POST / HTTP/{version}\r\nHost: h\r\n\r\n").as_bytes()).await.expect("sent");
        let head = connection.request().await.expect("read").expect("a request");
        let mut headers = Headers::default();
        headers.push("x-a", "b");
        let kept = connection.respond(Some(&head), Answer::new(200, headers, body), last, NOW).await;
        assert_eq!(kept.expect("sent"), !framing.contains("close"), "{version} {framing}");
        connection.close().await;
        assert_eq!(everything(client).await, format!("{start}{framing}{date}{expected}"), "{version}");
    }
}

/// A server that hangs up waits for nothing; one that is early with its next request does. What it sends is not lost.
#[tokio::test]
async fn work_ends_when_the_server_that_waits_for_it_is_gone() {
    let (mut client, server) = duplex(1 << 16);
    let mut connection = ServerConnection::new(server, OF_SERVERS);
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    client.write_all(request).await.expect("sent");
    let head = connection.request().await.expect("read").expect("a request");
    assert!(connection.unless_gone(std::future::pending::<()>()).now_or_never().is_none(), "it is there");
    client.write_all(request).await.expect("sent");
    assert!(connection.unless_gone(std::future::pending::<()>()).now_or_never().is_none(), "it is early");
    let kept = connection.respond(Some(&head), answer(AnswerBody::Empty), false, NOW).await;
    assert!(kept.expect("sent"));
    let head = connection.request().await.expect("read").expect("the early request");
    let (silent, held) = (futures_util::stream::pending().boxed(), std::sync::Arc::new(()));
    let answer = answer(AnswerBody::Pieces(silent)).holding(held.clone());
    let (sent, ()) = tokio::join!(connection.respond(Some(&head), answer, false, NOW), async {
        drop(client);
    });
    assert!(sent.is_err(), "nobody waits for the rest");
    assert_eq!(std::sync::Arc::strong_count(&held), 1, "and nothing is held for it");
    assert!(connection.unless_gone(std::future::pending::<()>()).await.is_none());
}

/// A stream that knows whether it was ended politely, which with TLS is what tells an end from a cut.
struct Polite(DuplexStream, std::sync::Arc<std::sync::atomic::AtomicBool>);

impl AsyncRead for Polite {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Polite {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.1.store(true, std::sync::atomic::Ordering::Relaxed);
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What breaks off must not look like an end to whoever takes the end of the connection for the end of the answer.
#[tokio::test]
async fn only_a_whole_answer_is_ended_politely() {
    for (whole, version) in [(true, "1.0"), (false, "1.0"), (true, "1.1"), (false, "1.1")] {
        let (mut client, server) = duplex(1 << 16);
        let polite = std::sync::Arc::default();
        let mut connection =
            ServerConnection::new(Polite(server, std::sync::Arc::clone(&polite)), OF_SERVERS);
        client.write_all(format!("POST / HTTP/{version}\r\nHost: h\r\n\r\n").as_bytes()).await.expect("sent");
        let head = connection.request().await.expect("read").expect("a request");
        let last = if whole { Ok(Bytes::from("c")) } else { Err(std::io::Error::other("cut")) };
        let body = futures_util::stream::iter([Ok(Bytes::from("ab")), last]).boxed();
        let sent = connection.respond(Some(&head), answer(AnswerBody::Pieces(body)), true, NOW).await;
        assert_eq!(sent.is_ok(), whole, "{version}");
        connection.close().await;
        assert_eq!(polite.load(std::sync::atomic::Ordering::Relaxed), whole, "{version}");
        assert_eq!(everything(client).await.ends_with("0\r\n\r\n"), whole && version == "1.1", "{version}");
    }
}
