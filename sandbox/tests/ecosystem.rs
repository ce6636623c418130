//! The whole ecosystem in this process: it relays, keeps its evidence, and finds itself again when its addresses and ports are taken.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use pki::key::KeyKind;
use proto::id::MemberId;
use sandbox::ecosystem::{Ecosystem, Options};
use sandbox::information_system::{Call, Message};
use sandbox::loopback::{Claim, SERVER_PORT};
use sandbox::parties;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(30);

async fn build(dir: &Path) -> Ecosystem {
    // Elliptic keys are made in no time; RSA is the demo's.
    let options = Options { keys: KeyKind::P256, ..Options::default() };
    Ecosystem::build(dir, options, |_| {}).await.unwrap()
}

/// One exchange with a body, and the evidence of its answer.
async fn exchange(ecosystem: &Ecosystem) {
    let system = ecosystem.information_system();
    let body = Bytes::from_static(br#"{"movedTo":"Rannala"}"#);
    let call = Call::rest(
        &parties::school(),
        &parties::register(),
        Method::POST,
        "/searches",
        Some(("application/json", body)),
    );
    let answer = system.send(&call).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, StatusCode::OK, "{text}");
    // The register tells who asked, which it can know from the message alone.
    assert!(text.contains(r#""askedBy":"DEMO/MUN/2001/school""#), "{text}");
    let container = system.container(&parties::school(), &call.message_id, Message::Response).await.unwrap();
    assert_eq!(container.status, StatusCode::OK, "{}", String::from_utf8_lossy(&container.body));
    let conf = pki::globalconf::load_directory(&ecosystem.consumer_globalconf()).unwrap();
    let proven = pki::asic::verify(Cursor::new(container.body), &conf).unwrap();
    assert_eq!((proven.signer, proven.message_id), (parties::population(), call.message_id));
}

/// One exchange with an attachment, and the evidence of both of its messages, which holds the attachment too.
async fn exchange_with_attachment(ecosystem: &Ecosystem) {
    let system = ecosystem.information_system();
    let content = format!(
        r#"<residentDetails xmlns="{}"><code>M-2019-0502</code></residentDetails>"#,
        sandbox::services::soap::NAMESPACE
    );
    // More than stays in memory.
    let attachment: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let call = Call::soap_with_attachment(
        &parties::school(),
        &parties::resident_details(),
        &content,
        ("application/octet-stream", &attachment),
    );
    let answer = system.send(&call).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!((answer.status, answer.fault()), (StatusCode::OK, None), "{text}");
    assert!(text.contains("Korpi"), "{text}");
    assert!(answer.body.windows(attachment.len()).any(|window| window == attachment));
    let conf = pki::globalconf::load_directory(&ecosystem.consumer_globalconf()).unwrap();
    for message in [Message::Request, Message::Response] {
        let container = system.container(&parties::school(), &call.message_id, message).await.unwrap();
        assert_eq!(container.status, StatusCode::OK, "{}", String::from_utf8_lossy(&container.body));
        let proven = pki::asic::verify(Cursor::new(&container.body), &conf).unwrap();
        assert_eq!(
            (&proven.message_id, &proven.by_digest),
            (&call.message_id, &Vec::new()),
            "nothing is left out"
        );
    }
}

/// Takes an address and hangs up on everybody. Listeners of ended tasks are closed a moment later, hence the patience.
async fn occupy(address: SocketAddr) -> JoinHandle<()> {
    for _ in 0..1000 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return tokio::spawn(async move {
                loop {
                    drop(listener.accept().await);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{address} is not given back");
}

/// Claims the address. An ecosystem of another test may have been quicker, and keeps it until that test is over.
async fn claim(address: Ipv4Addr) -> Claim {
    for _ in 0..6000 {
        if let Some(claim) = Claim::take_this(address).unwrap() {
            return claim;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{address} is not given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_and_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let ecosystem = build(dir.path()).await;
    exchange(&ecosystem).await;
    exchange_with_attachment(&ecosystem).await;
    let system = ecosystem.information_system();
    let get = |client, service: &_, path| Call::rest(client, service, Method::GET, path, None);
    // Through a global group, through a local group, by nobody.
    let cases = [
        ("a body of a megabyte", get(&parties::school(), &parties::probe(), "/size/1000000"), 200, None),
        ("a status of the service", get(&parties::school(), &parties::probe(), "/status/418"), 418, None),
        ("a resident", get(&parties::school(), &parties::register(), "/residents/M-2019-0502"), 200, None),
        (
            "an endpoint without a right",
            get(&parties::school(), &parties::register(), "/openapi.json"),
            500,
            Some("server.serverproxy.access_denied"),
        ),
        (
            "a client of the other server",
            get(&parties::population(), &parties::register(), "/residents/M-2019-0502"),
            500,
            Some("server.clientproxy.unknown_member"),
        ),
    ];
    for (name, call, status, fault) in cases {
        let answer = system.send(&call).await.unwrap();
        assert_eq!(answer.fault().as_deref(), fault, "{name}");
        assert_eq!(answer.status, status, "{name}: {}", String::from_utf8_lossy(&answer.body));
    }
    assert_eq!(ecosystem.published_versions().await.unwrap(), [2, 3, 4, 5, 6]);
    ecosystem.stop(LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_new_addresses_and_ports_when_the_old_ones_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let first = build(dir.path()).await;
    exchange(&first).await;
    let peer_address = first.consumer().listener("server").unwrap();
    let ports =
        [first.central().address, first.ocsp().address(), first.tsa().address(), first.services().address()];
    let records = first.log_records().await.unwrap();
    assert_eq!(records, 4);
    first.stop(LIMIT).await.unwrap();

    // Somebody else is quicker everywhere.
    for address in ports {
        occupy(address).await;
    }
    let IpAddr::V4(address) = peer_address.ip() else { panic!("{peer_address}") };
    let _claim = claim(address).await;
    let second = build(dir.path()).await;
    assert_ne!(second.consumer().listener("server").unwrap(), peer_address);
    assert_eq!(second.consumer().listener("server").unwrap().port(), SERVER_PORT);
    exchange(&second).await;
    assert_eq!(second.log_records().await.unwrap(), records + 4);
    second.stop(LIMIT).await.unwrap();
}

/// The private keys are elsewhere: exchanges, their signatures and TLS need them, and wait while they are away.
#[tokio::test(flavor = "multi_thread")]
async fn relays_with_signers_of_their_own_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { keys: KeyKind::P256, signers: true, ..Options::default() };
    let mut ecosystem = Ecosystem::build(dir.path(), options, |_| {}).await.unwrap();
    exchange(&ecosystem).await;
    let system = ecosystem.information_system();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let system = system.clone();
        calls.spawn(async move {
            // Some before the restart, some while the signers are away, some after it.
            tokio::time::sleep(Duration::from_millis(number * 10)).await;
            let path = "/size/1000";
            system.send(&Call::rest(&parties::school(), &parties::probe(), Method::GET, path, None)).await
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    ecosystem.restart_signers(Duration::from_millis(300)).await.unwrap();
    for answer in calls.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.fault());
    }
    exchange(&ecosystem).await;
    ecosystem.stop(LIMIT).await.unwrap();
}

/// A registry with members and servers that only stand in it.
#[tokio::test(flavor = "multi_thread")]
async fn knows_as_many_members_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { keys: KeyKind::P256, more_members: 20, ..Options::default() };
    let ecosystem = Ecosystem::build(dir.path(), options, |_| {}).await.unwrap();
    exchange(&ecosystem).await;
    let conf = pki::globalconf::load_directory(&ecosystem.consumer_globalconf()).unwrap();
    let client = MemberId::new(parties::INSTANCE, parties::CITIES, "90000019").subsystem("school-office");
    assert!(conf.is_known(&client));
    assert_eq!(conf.providers(&client).len(), 1, "its server");
    ecosystem.stop(LIMIT).await.unwrap();
}
