//! Memory does not grow with a body: a big answer, and a big attachment, pass through both servers while this process stays small.
//!
//! A program of its own, because it measures its process.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use support::client::rest;
use support::{Options, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Resident memory in bytes, as the kernel counts it.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

async fn fetch(world: &World, size: usize) -> usize {
    let mut socket = TcpStream::connect(world.consumer.http).await.unwrap();
    socket.write_all(&rest("GET", "CONSUMER", &format!("echo/zeros/{size}"), "", b"")).await.unwrap();
    let (mut buffer, mut taken, mut most) = (vec![0; 64 << 10], 0, 0);
    loop {
        let n = socket.read(&mut buffer).await.unwrap();
        if n == 0 {
            break;
        }
        if taken == 0 {
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..n]));
        }
        taken += n;
        most = most.max(resident());
    }
    assert!(taken > size, "{taken} of {size} bytes came through");
    most
}

/// Sends one attachment of so many bytes to a service that reads and drops it; gives the most memory that was seen.
async fn attach(world: &World, size: usize) -> usize {
    let envelope = support::client::envelope("CONSUMER", "sinkQuery", "big");
    let first =
        format!("--B\r\nContent-Type: text/xml\r\n\r\n{envelope}\r\n--B\r\nContent-Type: a/b\r\n\r\n");
    let (last, chunk) = (b"\r\n--B--\r\n", vec![b'\n'; 64 << 10]);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: multipart/related; boundary=B\r\n\
         Content-Length: {}\r\n\r\n",
        first.len() + size + last.len()
    );
    let mut socket = TcpStream::connect(world.consumer.http).await.unwrap();
    socket.write_all(&[head.as_bytes(), first.as_bytes()].concat()).await.unwrap();
    let mut most = 0;
    for _ in 0..size / chunk.len() {
        socket.write_all(&chunk).await.unwrap();
        most = most.max(resident());
    }
    socket.write_all(last).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains(&format!("<p:sinkQueryResponse>{}<", size + first.len() + 7)), "{answer}");
    most.max(resident())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_body_passes_through_small_memory() {
    if resident() == 0 {
        println!("skipped: this system does not say how much memory a process has");
        return;
    }
    // `.ci/slow` has time for sizes that people send.
    let slow = std::env::var_os("CAUSEWAY_SLOW").is_some();
    let world = World::with(Options { max_body_bytes: 4 << 30, ..Options::default() }).await;
    let size = if slow { 2 << 30 } else { 96 << 20 };
    // The first one warms up: code, connections, buffers.
    let warm = fetch(&world, 8 << 20).await;
    let most = fetch(&world, size).await;
    let grown = most.saturating_sub(warm);
    println!("{} MiB through both servers: {} KiB more than for 8 MiB", size >> 20, grown / 1024);
    assert!(grown < 24 << 20, "resident memory grew by {grown} bytes for a body of {size}");

    // One process, so one after the other: an attachment on its way to the service. Line feeds are the slowest to search.
    let size = if slow { 650 << 20 } else { size };
    let warm = attach(&world, 8 << 20).await;
    let most = attach(&world, size).await;
    let grown = most.saturating_sub(warm);
    println!(
        "{} MiB of attachment through both servers: {} KiB more than for 8 MiB",
        size >> 20,
        grown / 1024
    );
    assert!(grown < 24 << 20, "resident memory grew by {grown} bytes for an attachment of {size}");
}
