//! Who is slow, who never ends, and who is gone: each costs its own bounded slot, and no record.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::time::Duration;

use security_server::tls::Stack;
use support::client::{ask, envelope, parse, plain_or_tls, rest};
use support::peer::{REST_REQUEST, Signatory, Transport, fault};
use support::{Options, World};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// The slot of a client whose program died is free again long before its service would have answered; what was logged stays.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_works_for_an_information_system_that_is_gone() {
    let world = World::with(Options { exchanges_per_client: 1, ..Options::default() }).await;
    for secure in [false, true] {
        let calls = world.backend.calls();
        let address = if secure { world.consumer.https } else { world.consumer.http };
        let socket = TcpStream::connect(address).await.unwrap();
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        let mut stream = plain_or_tls(socket, secure).await;
        stream.write_all(&rest("GET", "CONSUMER", "echo/slow", "", b"")).await.unwrap();
        stream.flush().await.unwrap();
        until(|| world.backend.calls() > calls).await;
        drop(stream);
        let mut status = 503;
        for _ in 0..200 {
            status = ask(world.consumer.http, &rest("GET", "CONSUMER", "echo", "", b"")).await.status;
            if status != 503 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(status, 200, "the slot is free");
    }
    // Two requests whose answers nobody heard, and two exchanges.
    assert_eq!(world.records().await.0, 6);
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}

/// One that has said all it has to say still listens.
#[tokio::test(flavor = "multi_thread")]
async fn an_information_system_may_close_its_side() {
    let world = World::start().await;
    let mut socket = TcpStream::connect(world.consumer.http).await.unwrap();
    socket.write_all(&rest("GET", "CONSUMER", "echo/pause", "", b"")).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// Writes `one` again and again until an answer comes, and reads it to its end.
async fn drip(stream: impl AsyncRead + AsyncWrite + Unpin, first: &[u8], one: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let writing = async {
        write.write_all(first).await.unwrap();
        write.flush().await.unwrap();
        while write.write_all(one).await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = writing => {}
        read = read.read_buf(&mut answer) => drop(read.unwrap()),
    }
    let _ = read.read_to_end(&mut answer).await;
    answer
}

/// Never silent for long, and never done.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_drop_by_drop_has_an_end() {
    let world = World::with(Options { message_time: Duration::from_millis(400), ..Options::default() }).await;
    let chunked = "Host: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
    let body = format!(
        "POST /r1/DEV/GOV/2222/PROVIDER/echo HTTP/1.1\r\nX-Road-Client: DEV/COM/1111/CONSUMER\r\n{chunked}\r\n"
    );
    let attachment = format!(
        "POST / HTTP/1.1\r\nContent-Type: multipart/related; boundary=B\r\n{chunked}\r\n1000\r\n{:<4096}\r\n",
        format!(
            "--B\r\nContent-Type: text/xml\r\n\r\n{}\r\n--B\r\nContent-Type: a/b\r\n\r\n",
            envelope("CONSUMER", "attachQuery", "id")
        )
    );
    for (first, code) in
        [(&body, "server.clientproxy.io_error"), (&attachment, "server.clientproxy.io_error")]
    {
        let socket = TcpStream::connect(world.consumer.http).await.unwrap();
        let reply = parse(&drip(socket, first.as_bytes(), b"1\r\nx\r\n").await);
        assert_eq!(reply.fault().map(|(found, ..)| found).as_deref(), Some(code), "{}", reply.text());
    }
    assert_eq!((world.records().await, world.backend.calls()), ((0, 0), 0));
}

/// The consumer's server as a test has it write.
fn message(world: &World) -> Transport {
    let pair = &world.consumer_signing;
    let signatory = Signatory { pair, ocsp: vec![world.pki.good(&pair.cert).to_vec()] };
    let ocsp = world.consumer.signer.own.lock().unwrap().auth.as_ref().unwrap().ocsp.clone();
    let part = "GET\r\n/r1/DEV/GOV/2222/PROVIDER/echo\r\nX-Road-Client:DEV/COM/1111/CONSUMER\r\n\
                x-road-request-id:11111111-2222-3333-4444-555555555555\r\nx-road-id:slow\r\n";
    Transport::rest(&ocsp, REST_REQUEST, part, None, &signatory)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_has_as_long_and_no_endless_preamble() {
    let world = World::with(Options { message_time: Duration::from_millis(400), ..Options::default() }).await;
    let good = message(&world);
    let body = good.body();
    let mut head =
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n".to_owned();
    good.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    // The OCSP answers and the message are there; the signature is to come.
    let cut = body.windows(9).position(|window| window == b"signature").unwrap();
    let mut first = format!("{head}\r\n{cut:x}\r\n").into_bytes();
    first.extend_from_slice(&body[..cut]);
    first.extend_from_slice(b"\r\n");
    let socket = TcpStream::connect(world.provider.messages).await.unwrap();
    let connector = world.consumer.peer_tls.connector().unwrap();
    let stream = connector.connect(Stack::Modern, socket, "127.0.0.1", Duration::from_secs(5)).await.unwrap();
    let reply = parse(&drip(stream.stream, &first, b"1\r\nx\r\n").await);
    assert_eq!(
        fault(&reply).map(|(code, ..)| code).as_deref(),
        Some("server.serverproxy.io_error"),
        "{}",
        reply.text()
    );

    let mut endless = good;
    endless.parts.clear();
    endless.closing = "x".repeat(200_000);
    let reply = endless.send(&world.consumer.peer_tls, world.provider.messages).await;
    let code = fault(&reply).map(|(code, ..)| code);
    assert_eq!(code.as_deref(), Some("server.serverproxy.mime_parsing_failed"), "{}", reply.text());
    assert_eq!((world.records().await, world.backend.calls()), ((0, 0), 0));
}
