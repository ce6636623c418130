//! Port 5577 as stock servers have it: what they answered to questions of every kind, and what they ask.
//!
//! As the server: the recorded questions go to ours; status and number of parts must agree, and the parts must stand in the order of
//! the questions. As the client: a listener says what a stock server said, byte for byte, and ours must find the same answers in it.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::shutdown::Shutdown;
use pki::cert::Certificate;
use security_server::ocsp_port::{self, OcspPortClient, OcspPortError};
use support::client::{ask_briefly, parse, unchunk};
use support::differences::assert_listed;
use support::pki::TestSigner;
use testkit::vectors::{self, Tally};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(10);

/// Certificates that the recorded server had answers about: of its TLS chain, of its signatures.
const KNOWN: [&str; 2] = ["ss2-auth", "ss2-sign"];

/// Where ours answers otherwise on purpose, as `docs/differences.md` says under this heading.
const HEADING: &str = "Port 5577 answers about what we show";
const DIFFERENT: [&str; 5] = ["ca", "many", "long", "xss", "dotdot"];

fn cert(folder: &Path, name: &str) -> Certificate {
    Certificate::parse(&std::fs::read(folder.join(format!("{name}.der"))).unwrap()).unwrap()
}

/// The parts of a multipart answer, by a reading of its own.
fn parts(head: &str, body: &[u8]) -> Vec<Vec<u8>> {
    let Some((_, boundary)) = head.split_once("boundary=") else { return Vec::new() };
    let delimiter = format!("--{}", boundary.split(['\r', '\n', ';']).next().unwrap());
    let finder = |from: usize, what: &[u8]| {
        body[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let mut found = Vec::new();
    let mut at = finder(0, delimiter.as_bytes()).unwrap() + delimiter.len();
    while !body[at..].starts_with(b"--") {
        let start = finder(at, b"\r\n\r\n").unwrap() + 4;
        let end = finder(start, format!("\r\n{delimiter}").as_bytes()).unwrap();
        found.push(body[start..end].to_vec());
        at = end + 2 + delimiter.len();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_on_5577_are_answered_alike() {
    let Some((folder, expected)) = vectors::area("probes/7-ocsp-port") else { return };
    assert_listed([HEADING]);
    let pki = folder.join("../environment/pki");
    let answer_about = |name: &str| Bytes::from(format!("\r\nwhat is said about {name}\r\n--"));
    let signer = Arc::new(TestSigner::default());
    let mut own = signer::OwnKeys::default();
    let mut names = Vec::new();
    for name in KNOWN {
        let hash = hex::encode(cert(&pki, name).sha1());
        own.ocsp_by_sha1.insert(hash.clone(), answer_about(name));
        names.push((hash, name));
    }
    *signer.own.lock().unwrap() = Arc::new(own);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = security_server::config::File::default().resolve().unwrap().limits.ocsp_port;
    tokio::spawn(ocsp_port::serve(listener, signer, bounds, Shutdown::default()));

    let mut tally = Tally::new("probes/7-ocsp-port");
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let question = std::fs::read(folder.join(case["request_file"].as_str().unwrap())).unwrap();
        let recorded =
            std::fs::read(folder.join(case["dir"].as_str().unwrap()).join("response.bin")).unwrap();
        let stock = parse(&recorded);
        let stock_parts =
            if stock.status == 200 { parts(&stock.head, &whole_body(&recorded)).len() } else { 0 };
        let Some(ours) = ask_briefly(address, false, None, &question).await else {
            tally.fail(name, "no answer");
            continue;
        };
        let our_parts = if ours.status == 200 { parts(&ours.head, &ours.body) } else { Vec::new() };
        let text = String::from_utf8_lossy(&question).into_owned();
        // Nothing of a question comes back.
        if ours.status >= 400 && (ours.text().contains("script") || ours.text().contains("X:y")) {
            tally.fail(name, "an echo");
        }
        let same = (u64::from(ours.status), our_parts.len()) == (u64::from(stock.status), stock_parts);
        match (same, DIFFERENT.contains(&name)) {
            (true, true) => tally.fail(name, "answered as stock servers do, against what this test says"),
            (false, false) => tally.fail(
                name,
                format_args!(
                    "{} with {} parts instead of {} with {stock_parts}",
                    ours.status,
                    our_parts.len(),
                    stock.status
                ),
            ),
            (false, true) => tally.pass(),
            (true, false) => {
                let asked = asked(&text, &names);
                let given: Vec<Bytes> = our_parts.into_iter().map(Bytes::from).collect();
                let wanted: Vec<Bytes> =
                    if given.is_empty() { vec![] } else { asked.iter().map(|n| answer_about(n)).collect() };
                tally.equal(name, given, wanted);
            }
        }
    }
    tally.finish();
}

/// Chunked, by length, or to the end of the connection.
fn whole_body(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let chunked = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase().contains("chunked");
    if chunked { unchunk(&answer[end..]) } else { answer[end..].to_vec() }
}

/// Whom a question is about, in its order.
fn asked<'a>(question: &str, names: &[(String, &'a str)]) -> Vec<&'a str> {
    let target = question.split(' ').nth(1).unwrap_or_default().replace("%33", "3");
    let certs = target.split(['?', '&']).filter_map(|pair| pair.strip_prefix("cert=").map(str::to_owned));
    certs.filter_map(|hash| names.iter().find(|(known, _)| *known == hash).map(|(_, name)| *name)).collect()
}

/// Says `answer` to everybody, and keeps what it was asked first.
async fn play(answer: Vec<u8>) -> (u16, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, question) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut head).await.unwrap() > 0);
        }
        let _ = asked.send(String::from_utf8_lossy(&head).into_owned());
        socket.write_all(&answer).await.unwrap();
        let _ = socket.shutdown().await;
    });
    (port, question)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_stock_servers_are_read_in_their_order() {
    let Some((folder, expected)) = vectors::area("probes/7-ocsp-port") else { return };
    let pki = folder.join("../environment/pki");
    let (auth, sign) = (cert(&pki, "ss2-auth"), cert(&pki, "ss2-sign"));
    let mut tally = Tally::new("probes/7-ocsp-port, as the client");
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let recorded =
            std::fs::read(folder.join(case["dir"].as_str().unwrap()).join("response.bin")).unwrap();
        let stock = parse(&recorded);
        let asked = match name {
            "two" => vec![&auth, &sign],
            "dup" => vec![&auth, &auth],
            "many" => {
                tally.not_applicable("more certificates than we ever ask about");
                continue;
            }
            _ if name.contains("HEAD") || name.contains("head") => {
                tally.not_applicable("a method that we do not use");
                continue;
            }
            _ => vec![&auth],
        };
        let found = fetch(&recorded, &asked).await.map(|(found, _)| found);
        if stock.status == 200 {
            let wanted: Vec<Bytes> =
                parts(&stock.head, &whole_body(&recorded)).into_iter().map(Bytes::from).collect();
            assert_eq!(wanted.len(), asked.len(), "{name}");
            tally.equal(name, found, Ok(wanted));
        } else {
            tally.equal(name, found, Err(OcspPortError::Status(stock.status)));
        }
    }
    tally.finish();
}

async fn fetch(answer: &[u8], certs: &[&Certificate]) -> Result<(Vec<Bytes>, String), OcspPortError> {
    let (port, question) = play(answer.to_vec()).await;
    let found = OcspPortClient::new(port, LIMIT, LIMIT).fetch("127.0.0.1", certs).await?;
    Ok((found, question.await.unwrap()))
}

/// The question of a live server about a live server's certificate, and the answer to it.
#[tokio::test(flavor = "multi_thread")]
async fn we_ask_as_stock_servers_do() {
    let Some(captures) = vectors::dir().map(|dir| dir.join("captures")) else { return };
    let (question, answer) = (
        std::fs::read_to_string(captures.join("tls/5577-request.http")).unwrap(),
        std::fs::read(captures.join("tls/5577-response.http")).unwrap(),
    );
    let leaf = cert(&captures.join("env-rsa/pki"), "ss2-auth");
    let (found, ours) = fetch(&answer, &[&leaf]).await.unwrap();
    assert_eq!(ours.lines().next(), question.lines().next());
    assert_eq!(found.len(), 1);
    pki::ocsp::Response::parse(&found[0]).unwrap();
    // What is missing does not pass for an answer, and neither does one too many.
    let refused = fetch(&answer, &[&leaf, &leaf]).await.map(|(found, _)| found);
    assert_eq!(refused, Err(OcspPortError::Count { asked: 2, found: 1 }));
}
