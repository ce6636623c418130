//! The same bytes to hyper and to this module: what is read here is read alike there, and what is refused there is refused here.
//!
//! Where hyper takes what we refuse, the case says so; nothing is the other way about, and nothing is read by both with two meanings.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto::time::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::Headers;
use super::client::{Body, ClientConnection};
use super::head::HeadLimits;
use super::server::{Answer, AnswerBody, Sender, ServerConnection, ServerLimits};

const HEAD: HeadLimits = HeadLimits { bytes: 16 << 10, lines: 100 };
const ROOM: usize = 1 << 20;

/// What becomes of the bytes here, seen from there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Here {
    Alike,
    /// Less is read than there.
    Stricter,
}
use Here::{Alike, Stricter};

/// Method and body of every request that was read whole.
type Requests = Vec<(String, Vec<u8>)>;

async fn requests_here(bytes: &[u8]) -> Requests {
    let (mut sender, ours) = duplex(ROOM);
    sender.write_all(bytes).await.expect("room");
    sender.shutdown().await.expect("open");
    let (idle, keep_alive) = (Duration::from_secs(30), Duration::from_secs(30));
    let limits = ServerLimits { head: HEAD, idle, keep_alive, sender: Sender::SecurityServer };
    let mut connection = ServerConnection::new(ours, limits);
    let mut found = Requests::new();
    while let Ok(Some(head)) = connection.request().await {
        let Ok(body) = connection.body().collect().await else { break };
        found.push((head.method.clone(), body.to_bytes().to_vec()));
        let answer = Answer::new(200, Headers::default(), AnswerBody::Empty);
        match connection.respond(Some(&head), answer, false, UnixTime(0)).await {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    found
}

async fn requests_there(bytes: &[u8]) -> Requests {
    let (mut sender, theirs) = duplex(ROOM);
    sender.write_all(bytes).await.expect("room");
    sender.shutdown().await.expect("open");
    let found = Arc::new(Mutex::new(Requests::new()));
    let service = service_fn(|request: http::Request<Incoming>| {
        let found = found.clone();
        async move {
            let method = request.method().to_string();
            if let Ok(body) = request.into_body().collect().await {
                found.lock().expect("no panic").push((method, body.to_bytes().to_vec()));
            }
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::new())))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let _ = builder.half_close(true).max_headers(100).serve_connection(TokioIo::new(theirs), service).await;
    let found = found.lock().expect("no panic");
    found.clone()
}

#[tokio::test]
async fn requests_are_read_as_hyper_reads_them_or_not_at_all() {
    let one = |lines: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}");
    let many = "X: y\r\n".repeat(99);
    let cases = [
        (Alike, one("", "")),
        (Alike, one("Content-Length: 3\r\n", "abc")),
        (Alike, one("Content-Length: 0\r\n", "") + &one("", "")),
        (Alike, one("Content-Length: 3\r\n", "abc") + &one("Content-Length: 2\r\n", "de")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n") + &one("", "")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n") + &one("", "")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "03\r\nabc\r\n00\r\n\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\r\nabcX\r\n0\r\n\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "-3\r\nabc\r\n0\r\n\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
        (Stricter, one("Transfer-Encoding: chunked\r\n", "3 \r\nabc\r\n0\r\n\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\nabc\n0\n\n")),
        (Alike, one("Connection: close\r\n", "") + &one("", "")),
        (Alike, one("Connection: Keep-Alive, close\r\n", "") + &one("", "")),
        (Alike, "POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na".to_owned() + &one("", "")),
        (
            Alike,
            "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na".to_owned()
                + &one("", ""),
        ),
        (Alike, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        (Alike, one("Content-Length: 5\r\n", "abc")),
        (Alike, one("Content-Length: +3\r\n", "abc")),
        (Alike, one("Content-Length: 3 3\r\n", "abc")),
        (Alike, one("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd")),
        (Stricter, one("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")),
        (Stricter, one("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Stricter, one("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Stricter, one("Transfer-Encoding: gzip, chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Alike, one("Transfer-Encoding: chunked, gzip\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Alike, one("Transfer-Encoding: xchunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Alike, one("Transfer-Encoding : chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Alike, one("X: a\r\n folded\r\n", "")),
        (Alike, one("X: a\0b\r\n", "")),
        (Alike, one("X\0: ab\r\n", "")),
        (Alike, one(": ab\r\n", "")),
        (Stricter, "POST / HTTP/1.1\nHost: h\n\n".into()),
        (Stricter, "POST / HTTP/1.1\r\n\r\n".into()),
        (Stricter, one("Host: other\r\n", "")),
        (Alike, "POST / HTTP/2.0\r\nHost: h\r\n\r\n".into()),
        (Alike, "PO ST / HTTP/1.1\r\nHost: h\r\n\r\n".into()),
        (Alike, "\r\nPOST / HTTP/1.1\r\nHost: h\r\n\r\n".into()),
        (Alike, "\x16\x03\x01\x02\x00".into()),
        (Alike, one(&many, "")),
        (Alike, one(&(many.clone() + "X: y\r\n"), "")),
        (Alike, one("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc")),
        (Stricter, one("Expect: magic\r\nContent-Length: 3\r\n", "abc")),
    ];
    for (here, bytes) in cases {
        let (ours, theirs) = (requests_here(bytes.as_bytes()).await, requests_there(bytes.as_bytes()).await);
        match here {
            Alike => assert_eq!(ours, theirs, "{bytes:?}"),
            Stricter => assert!(
                ours.len() < theirs.len() && theirs.starts_with(&ours),
                "{bytes:?}: {ours:?}, {theirs:?}"
            ),
        }
    }
}

/// Status and body of an answer that was read whole.
type Read = Option<(u16, Vec<u8>)>;

async fn answer_here(bytes: &[u8]) -> Read {
    let (ours, mut server) = duplex(ROOM);
    server.write_all(bytes).await.expect("room");
    server.shutdown().await.expect("open");
    let request = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"[..].into();
    let pieces = Body::Pieces(Box::pin(futures_util::stream::empty()));
    let mut answer =
        ClientConnection::to_server(ours, HEAD).send("POST", request, pieces, None).await.ok()?;
    let mut body = Vec::new();
    while let Some(data) = answer.body.next().await.ok()? {
        body.extend_from_slice(&data);
    }
    Some((answer.head.status, body))
}

async fn answer_there(bytes: &[u8]) -> Read {
    let (theirs, mut server) = duplex(ROOM);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(theirs)).await.ok()?;
    let running = tokio::spawn(connection);
    let request = http::Request::post("/").header("host", "h").body(Full::new(Bytes::new())).expect("valid");
    let answered = async {
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.into_body().collect().await.ok()?.to_bytes().to_vec()))
    };
    let serving = async {
        // Whatever comes before the request is none of its answer.
        let _ = server.read(&mut [0; 1024]).await;
        server.write_all(bytes).await.expect("room");
        server.shutdown().await.expect("open");
    };
    let (answer, ()) = tokio::join!(answered, serving);
    running.abort();
    answer
}

#[tokio::test]
async fn answers_of_servers_are_read_as_hyper_reads_them_or_not_at_all() {
    let one = |lines: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}");
    let cases = [
        (Alike, one("Content-Length: 3\r\n", "abc")),
        (Alike, one("Content-Length: 0\r\n", "")),
        (Alike, one("Content-Length: 5\r\n", "abc")),
        (Alike, one("Connection: close\r\n", "abc")),
        (Alike, one("", "abc")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n")),
        (Alike, one("Transfer-Encoding: chunked\r\n", "3\r\nabcX\r\n0\r\n\r\n")),
        (Alike, "HTTP/1.0 200 OK\r\n\r\nabc".into()),
        (Alike, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc".into()),
        (Alike, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        (Alike, "HTTP/1.1 204 No Content\r\n\r\n".into()),
        (Alike, "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na".into()),
        (Alike, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na".into()),
        (Alike, "HTTP/2.0 200 OK\r\n\r\n".into()),
        (Alike, "HTTP/1.1 20 OK\r\n\r\n".into()),
        (Alike, "HTTP/1.1 200 OK\r\nX".into()),
        (Alike, String::new()),
        (Alike, one("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd")),
        (Alike, one("Content-Length: x\r\n", "abcd")),
        (Alike, one("X : a\r\n", "")),
        (Alike, one("X: a\r\n b\r\n", "")),
        (Alike, one("X: a\0b\r\n", "")),
        (Stricter, one("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")),
        (Stricter, one("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        (Stricter, one("Transfer-Encoding: gzip\r\n", "abc")),
        (Stricter, "HTTP/1.1 200 OK\nContent-Length: 1\n\na".into()),
    ];
    for (here, bytes) in cases {
        let (ours, theirs) = (answer_here(bytes.as_bytes()).await, answer_there(bytes.as_bytes()).await);
        match here {
            Alike => assert_eq!(ours, theirs, "{bytes:?}"),
            Stricter => assert!(ours.is_none() && theirs.is_some(), "{bytes:?}: {ours:?}, {theirs:?}"),
        }
    }
}
