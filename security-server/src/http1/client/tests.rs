//! One call of a service, over a pipe.
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const IDLE: Option<Duration> = Some(Duration::from_millis(200));

fn body(chunks: &[&'static str]) -> CallBody {
    let length = chunks.iter().map(|c| c.len() as u64).sum();
    let chunks: Vec<_> = chunks.iter().map(|c| Ok(Bytes::from_static(c.as_bytes()))).collect();
    CallBody { length, stream: futures_util::stream::iter(chunks).boxed() }
}

fn head(framed: Option<u64>) -> BytesMut {
    request_head("POST", "/x", "h:1", [("X-A", &b"1"[..])].into_iter(), framed)
}

async fn read_body(response: &mut ClientResponse<DuplexStream>) -> Result<Vec<u8>, WireError> {
    let mut data = Vec::new();
    while let Some(chunk) = response.body.next().await? {
        data.extend_from_slice(&chunk);
    }
    Ok(data)
}

#[tokio::test]
async fn calls_twice_over_one_connection() {
    let (client, mut server) = duplex(64);
    let mut connection = ClientConnection::new(client);
    let expected = "POST /x HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nabcde";
    for _ in 0..2 {
        let service = async {
            let mut request = vec![0; expected.len()];
            server.read_exact(&mut request).await.expect("request");
            assert_eq!(String::from_utf8_lossy(&request), expected);
            server
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .await
        };
        let call = connection.call("POST", head(Some(5)), Some(body(&["abc", "de"])), IDLE);
        let (response, sent) = tokio::join!(call, service);
        sent.expect("answered");
        let mut response = response.expect("an answer");
        assert_eq!(response.head.status, 200);
        assert_eq!(read_body(&mut response).await.expect("body"), b"hi");
        connection = response.body.into_connection().expect("kept");
    }
}

/// An echo that streams must not deadlock: neither buffer holds the body.
#[tokio::test]
async fn reads_the_answer_while_it_writes() {
    let (client, server) = duplex(1024);
    let connection = ClientConnection::new(client);
    let chunks = vec!["0123456789abcdef"; 4096];
    let length = chunks.len() * 16;
    let request_length = head(Some(length as u64)).len();
    let (mut read, mut write) = tokio::io::split(server);
    let echo = async move {
        write
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
            .await
            .expect("head");
        let mut head = vec![0; request_length];
        read.read_exact(&mut head).await.expect("head");
        tokio::io::copy(&mut read.take(length as u64), &mut write).await.expect("copied");
    };
    let call = async {
        let call = connection.call("POST", head(Some(length as u64)), Some(body(&chunks)), IDLE);
        let mut response = call.await.expect("an answer");
        read_body(&mut response).await.expect("body").len()
    };
    let (found, ()) = tokio::join!(call, echo);
    assert_eq!(found, length);
}

#[tokio::test]
async fn hears_an_answer_that_comes_before_the_request_was_read() {
    let (client, mut server) = duplex(64);
    let connection = ClientConnection::new(client);
    let service = async {
        server.write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nno").await.expect("answered");
        drop(server);
    };
    let chunks = vec!["0123456789abcdef"; 64];
    let call = connection.call("POST", head(Some(1024)), Some(body(&chunks)), IDLE);
    let (response, ()) = tokio::join!(call, service);
    let mut response = response.expect("an answer");
    assert_eq!(response.head.status, 413);
    assert_eq!(read_body(&mut response).await.expect("body"), b"no");
    assert!(response.body.into_connection().is_none());
}

#[tokio::test]
async fn tells_failures_apart() {
    type Case<'a> = (&'a str, &'a [u8], fn(&CallError) -> bool);
    let cases: [Case<'_>; 5] = [
        ("no answer", b"", |e| matches!(e, CallError::NoAnswer)),
        ("half a head", b"HTTP/1.1 200 OK\r\nX", |e| matches!(e, CallError::Head(_))),
        ("no HTTP", b"hello there\r\n\r\n", |e| matches!(e, CallError::Head(_))),
        ("another protocol", b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n", |e| matches!(e, CallError::Switching)),
        ("endless 1xx", &b"HTTP/1.1 103 Early\r\n\r\n".repeat(20), |e| matches!(e, CallError::Head(_))),
    ];
    for (name, bytes, expected) in cases {
        let (client, mut server) = duplex(4096);
        server.write_all(bytes).await.expect("answered");
        server.shutdown().await.expect("closed");
        let found = ClientConnection::new(client).call("GET", head(None), None, IDLE).await;
        let error = found.err().unwrap_or_else(|| panic!("{name}: an answer"));
        assert!(expected(&error), "{name}: {error:?}");
    }
    let (client, _server) = duplex(4096);
    let found = ClientConnection::new(client).call("GET", head(None), None, IDLE).await;
    assert!(matches!(found.err(), Some(CallError::Wire(WireError::Idle(_)))), "silence");
}

#[tokio::test]
async fn a_body_that_lies_about_its_length_is_noticed_and_the_connection_not_kept() {
    let cases: [(&[u8], bool, bool); 4] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", false, false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcde", true, false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", false, false),
        (b"HTTP/1.1 200 OK\r\n\r\nab", true, false),
    ];
    for (bytes, ok, kept) in cases {
        let (client, mut server) = duplex(4096);
        server.write_all(bytes).await.expect("answered");
        server.shutdown().await.expect("closed");
        let call = ClientConnection::new(client).call("GET", head(None), None, IDLE).await;
        let mut response = call.expect("an answer");
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(read_body(&mut response).await.is_ok(), ok, "{text}");
        assert_eq!(response.body.into_connection().is_some(), kept, "{text}");
    }
}

/// The other side would wait for the rest, and we for its answer.
#[tokio::test]
async fn a_request_that_breaks_off_here_is_not_waited_for() {
    let (client, mut server) = duplex(4096);
    let cut = [Ok(Bytes::from("abc")), Err(std::io::Error::other("gone"))];
    let body = Body::Pieces(futures_util::stream::iter(cut).boxed());
    let limits = HeadLimits { bytes: 1024, lines: 10 };
    let found = ClientConnection::to_server(client, limits).send("POST", head(None), body, None).await;
    assert!(matches!(found, Err(CallError::Wire(WireError::Source(_)))), "{found:?}");
    let mut sent = Vec::new();
    server.read_to_end(&mut sent).await.expect("read");
    assert!(!sent.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn answers_of_servers_have_bounded_heads() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(10));
    let endless = "x".repeat(2000);
    for bytes in [long, many, endless] {
        let (client, mut server) = duplex(4096);
        server.write_all(bytes.as_bytes()).await.expect("room");
        let limits = HeadLimits { bytes: 1024, lines: 10 };
        let connection = ClientConnection::to_server(client, limits);
        let found = connection.send("POST", head(Some(0)), Body::Empty, None).await;
        assert!(matches!(found, Err(CallError::Head(_))), "{found:?}");
    }
}
