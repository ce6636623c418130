//! Bad input of every kind, and what each draws: code, status, shape, an id, and no message in a log that should not have one.
//!
//! Codes are those of the recorded answers of stock servers, and of docs/differences.md.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::time::UnixTime;
use support::client::{Reply, ask, ask_tls, envelope, rest, soap};
use support::pki::NOW;
use support::{Options, World};

const CP: &str = "server.clientproxy.";
const SP: &str = "server.serverproxy.";

/// How many records a refused exchange leaves: on the consumer's side, on the provider's.
type Records = (u64, u64);
/// Refused before anything was signed.
const NONE: Records = (0, 0);
/// The request was signed and logged by the consumer's server; the provider's refused it.
const SENT: Records = (1, 0);
/// The service was called, or should have been; there is no answer.
const CALLED: Records = (1, 1);

/// What a refusal must look like.
fn check(name: &str, reply: &Reply, code: &str, rest: bool) {
    let status = match (rest, code.starts_with("server.")) {
        (false, _) => 200,
        (true, true) => 500,
        (true, false) => 400,
    };
    let Some((found, message, detail)) = reply.fault() else {
        panic!("{name}: no fault in {} {}", reply.head, reply.text());
    };
    assert_eq!((found.as_str(), reply.status), (code, status), "{name}: {message}");
    assert!(uuid::Uuid::parse_str(&detail).is_ok(), "{name}: the id {detail:?}");
    assert!(message.len() > 10, "{name}: {message:?} says nothing");
    if rest {
        assert_eq!(reply.header("x-road-error"), Some(code), "{name}");
    } else {
        assert_eq!(reply.header("soapaction"), Some(""), "{name}");
        assert_eq!(reply.header("content-type"), Some("text/xml;charset=utf-8"), "{name}");
    }
}

/// One row: the request, the code, the records it leaves.
async fn run_rest(world: &World, rows: &[(&str, Vec<u8>, String, Records)]) {
    for (name, request, code, records) in rows {
        let before = world.records().await;
        let reply = ask(world.consumer.http, request).await;
        check(name, &reply, code, true);
        let after = world.records().await;
        assert_eq!((after.0 - before.0, after.1 - before.1), *records, "{name}: records");
    }
}

fn get(client: &str, path: &str) -> Vec<u8> {
    rest("GET", client, path, "", b"")
}

/// A request whose path is written out.
fn to(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Road-Client: DEV/COM/1111/CONSUMER\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_rights_and_headers() {
    let world = World::start().await;
    let client_line = |value: &str| {
        format!("GET /r1/DEV/GOV/2222/PROVIDER/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{value}\r\n")
            .into_bytes()
    };
    let rows = [
        ("unknown client", get("NOSUCH", "echo"), format!("{CP}unknown_member"), NONE),
        (
            "client of another server",
            client_line("X-Road-Client: DEV/GOV/2222/PROVIDER\r\n"),
            format!("{CP}unknown_member"),
            NONE,
        ),
        ("no client", client_line(""), format!("{CP}invalid_client_identifier"), NONE),
        ("empty client", client_line("X-Road-Client:\r\n"), format!("{CP}internal_error"), NONE),
        ("misshapen client", client_line("X-Road-Client: DEV/COM\r\n"), format!("{CP}internal_error"), NONE),
        (
            "two clients, the last without a right",
            client_line("X-Road-Client: DEV/COM/1111/CONSUMER\r\nX-Road-Client: DEV/COM/1111/NORIGHTS\r\n"),
            format!("{SP}access_denied"),
            SENT,
        ),
        ("unknown instance", to("/r1/XX/GOV/2222/PROVIDER/echo"), format!("{CP}internal_error"), NONE),
        ("unknown member", to("/r1/DEV/GOV/4711/PROVIDER/echo"), format!("{CP}unknown_member"), NONE),
        ("unknown subsystem", to("/r1/DEV/GOV/2222/NOSUCH/echo"), format!("{CP}unknown_member"), NONE),
        ("member without a server", to("/r1/DEV/NEE/9999/NOWHERE/echo"), format!("{CP}unknown_member"), NONE),
        (
            "registered but not there",
            to("/r1/DEV/GOV/2222/NOTHERE/echo"),
            format!("{SP}service_failed.unknown_member"),
            SENT,
        ),
        ("unknown service", get("CONSUMER", "nosuch"), format!("{SP}unknown_service"), SENT),
        (
            "REST of a versioned SOAP service",
            get("CONSUMER", "testQuery"),
            format!("{SP}unknown_service"),
            SENT,
        ),
        ("no right for anybody", get("CONSUMER", "noaccess"), format!("{SP}access_denied"), SENT),
        ("no right of this client", get("NORIGHTS", "echo"), format!("{SP}access_denied"), SENT),
        ("no right to this path", get("CONSUMER", "endpoint/b"), format!("{SP}access_denied"), SENT),
        (
            "no right to this method",
            rest("POST", "CONSUMER", "endpoint/a/b", "", b"x"),
            format!("{SP}access_denied"),
            SENT,
        ),
        ("disabled", get("CONSUMER", "disabled"), format!("{SP}service_disabled"), SENT),
        (
            "unknown target server",
            rest("GET", "CONSUMER", "echo", "X-Road-Security-Server: DEV/GOV/2222/SS9\r\n", b""),
            format!("{CP}invalid_security_server"),
            NONE,
        ),
        ("unknown method", rest("FOO", "CONSUMER", "echo", "", b""), format!("{CP}internal_error"), NONE),
        (
            "a body on TRACE",
            rest("TRACE", "CONSUMER", "echo", "", b"x"),
            format!("{CP}invalid_http_method"),
            NONE,
        ),
        (
            "too long a message id",
            rest("GET", "CONSUMER", "echo", &format!("X-Road-Id: {}\r\n", "i".repeat(256)), b""),
            format!("{CP}io_error"),
            NONE,
        ),
        ("TLS demanded", get("TLSONLY", "echo"), format!("{CP}ssl_authentication_failed"), NONE),
        ("a certificate demanded", get("TLSAUTH", "echo"), format!("{CP}ssl_authentication_failed"), NONE),
    ];
    run_rest(&world, &rows).await;
    assert_eq!(world.backend.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tricks_with_the_path() {
    let world = World::start().await;
    let below = |path: &str| get("CONSUMER", &format!("echo/{path}"));
    let rows = [
        ("dot segments", below("a/../b"), format!("{SP}access_denied"), SENT),
        ("up into another service", below("../noaccess"), format!("{SP}access_denied"), SENT),
        ("a dot segment at the end", below("a/.."), format!("{SP}access_denied"), SENT),
        ("dots behind an escaped slash", below("a/..%2Fb"), format!("{SP}access_denied"), SENT),
        (
            "an escaped slash does not end a segment",
            get("CONSUMER", "endpoint/a%2Fb"),
            format!("{SP}access_denied"),
            SENT,
        ),
        (
            "an escaped question mark is a character",
            get("CONSUMER", "endpoint/a%3Fx/b"),
            format!("{SP}access_denied"),
            SENT,
        ),
    ];
    run_rest(&world, &rows).await;
    let refused =
        ["a/%2e%2e/b", "a/.%2E/b", "a//b", "/a", "a/..;/b", "a%5Cb", "a%00b", "a%252e", "a%zz", "a%E4"];
    for path in refused {
        let reply = ask(world.consumer.http, &below(path)).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.head);
        assert!(reply.header("x-road-error").is_none(), "{path}: below the message protocol");
        let id = reply.text().trim().trim_end_matches(')').rsplit('(').next().map(str::to_owned);
        assert!(id.is_some_and(|id| uuid::Uuid::parse_str(&id).is_ok()), "{path}: {}", reply.text());
    }
    assert_eq!((world.records().await.1, world.backend.calls()), (0, 0));
    // What is no trick reaches the service as it was written.
    let reply = ask(world.consumer.http, &below("a%2Fb%20c/%3F?q=%zz")).await;
    assert_eq!(
        reply.header("x-road-error"),
        Some("server.serverproxy.internal_error"),
        "a broken escape in the query"
    );
    let reply = ask(world.consumer.http, &below("a%2Fb%20c/%3F?q=%20")).await;
    assert_eq!(reply.text(), "/rest/a%2Fb%20c/%3F?q=%20");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_that_can_be_read_in_two_ways() {
    let world = World::start().await;
    let base = "POST /r1/DEV/GOV/2222/PROVIDER/echo HTTP/1.1\r\nX-Road-Client: DEV/COM/1111/CONSUMER\r\n";
    let long = "x".repeat(70_000);
    let rows = [
        ("no host", format!("{base}\r\n"), 400),
        ("two hosts", format!("{base}Host: a\r\nHost: b\r\n\r\n"), 400),
        ("two lengths", format!("{base}Host: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400),
        (
            "length and chunks",
            format!("{base}Host: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "chunks and length",
            format!("{base}Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("a folded line", format!("{base}Host: h\r\nX-A: b\r\n c\r\n\r\n"), 400),
        ("a control character", format!("{base}Host: h\r\nX-A: b\x01\r\n\r\n"), 400),
        ("another host in the target", "GET http://other/r1/x HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("a long target", format!("GET /r1/{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        ("a long header", format!("{base}Host: h\r\nX-Long: {long}\r\n\r\n"), 431),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 426),
        ("an expectation", format!("{base}Host: h\r\nExpect: magic\r\n\r\n"), 417),
    ];
    for (name, request, status) in rows {
        let reply = ask(world.consumer.http, request.as_bytes()).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.head);
        assert_eq!(reply.header("connection"), Some("close"), "{name}");
    }
    assert_eq!(world.records().await, NONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_down_slow_or_lie() {
    let world = World::start().await;
    let rows = [
        ("nobody listens", get("CONSUMER", "refused"), format!("{SP}network_error"), CALLED),
        ("unknown host", get("CONSUMER", "nohost"), format!("{SP}unknown_host"), CALLED),
        ("closes without an answer", get("CONSUMER", "echo/down"), format!("{SP}io_error"), CALLED),
        ("no answer in time", get("CONSUMER", "impatient/slow"), format!("{SP}io_error"), CALLED),
        ("stalls in the body", get("CONSUMER", "impatient/stalls"), format!("{SP}io_error"), CALLED),
        ("announces more than it sends", get("CONSUMER", "echo/lies"), format!("{SP}io_error"), CALLED),
        ("two lengths", get("CONSUMER", "echo/two-lengths"), format!("{SP}io_error"), CALLED),
        ("no HTTP", get("CONSUMER", "echo/garbage"), format!("{SP}io_error"), CALLED),
        ("a head without measure", get("CONSUMER", "echo/headers"), format!("{SP}io_error"), CALLED),
        ("status 600", get("CONSUMER", "echo/status/600"), format!("{SP}service_failed.http_error"), CALLED),
        ("a packed bomb", get("CONSUMER", "echo/bomb"), format!("{SP}service_failed.io_error"), CALLED),
    ];
    run_rest(&world, &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soap_that_breaks_the_rules() {
    let world = World::start().await;
    let xml = "Content-Type: text/xml\r\n";
    let good = envelope("CONSUMER", "testQuery", "id-1");
    let of = |text: String| soap(xml, &text);
    let fault = proto::fault::Fault { code: "CODE".into(), ..Default::default() }.to_soap();
    let rows: Vec<(&str, Vec<u8>, String, Records)> = vec![
        (
            "GET",
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec(),
            "client.invalid_http_method".into(),
            NONE,
        ),
        (
            "a path of nobody",
            b"GET /r2/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec(),
            "client.invalid_http_method".into(),
            NONE,
        ),
        ("no content type", soap("", &good), "client.invalid_content_type".into(), NONE),
        (
            "SOAP 1.2",
            soap("Content-Type: application/soap+xml\r\n", &good),
            "client.invalid_content_type".into(),
            NONE,
        ),
        (
            "attachments without a part",
            soap("Content-Type: multipart/related; boundary=x\r\n", &good),
            "client.missing_soap".into(),
            NONE,
        ),
        (
            "a bare SOAPAction",
            soap(&format!("{xml}SOAPAction: urn:x\r\n"), &good),
            "client.invalid_soap_action".into(),
            NONE,
        ),
        ("no XML", of("hello".into()), "client.invalid_soap".into(), NONE),
        ("empty", of(String::new()), "client.invalid_soap".into(), NONE),
        (
            "a DOCTYPE",
            of(good.replace("?>\n", "?>\n<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>")),
            "client.invalid_soap".into(),
            NONE,
        ),
        (
            "no id",
            of(good.replace("<xroad:id>id-1</xroad:id>", "")),
            "client.missing_header_field".into(),
            NONE,
        ),
        (
            "two ids",
            of(good.replace("<xroad:id>", "<xroad:id>x</xroad:id><xroad:id>")),
            "client.duplicate_header_field".into(),
            NONE,
        ),
        (
            "too long an id",
            of(envelope("CONSUMER", "testQuery", &"i".repeat(256))),
            format!("{CP}logging_failed.database_error"),
            NONE,
        ),
        (
            "two body elements",
            of(good.replace("</s:Body>", "<x/></s:Body>")),
            "client.invalid_body".into(),
            NONE,
        ),
        (
            "another service in the body",
            of(good.replace("p:testQuery", "p:other")),
            "client.inconsistent_headers".into(),
            NONE,
        ),
        ("a fault", of(String::from_utf8(fault).unwrap()), "client.code".into(), NONE),
        ("unknown client", of(envelope("NOSUCH", "testQuery", "1")), format!("{CP}unknown_member"), NONE),
        (
            "TLS demanded",
            of(envelope("TLSONLY", "testQuery", "1")),
            format!("{CP}ssl_authentication_failed"),
            NONE,
        ),
        ("no right", of(envelope("NORIGHTS", "testQuery", "1")), format!("{SP}access_denied"), SENT),
        ("unknown version", of(good.replace(">v1<", ">v9<")), format!("{SP}unknown_service"), SENT),
        (
            "SOAP of a REST service",
            of(envelope("CONSUMER", "echo", "1").replace("<id:serviceVersion>v1</id:serviceVersion>", "")),
            format!("{SP}service_type"),
            SENT,
        ),
        (
            "nobody listens",
            of(envelope("CONSUMER", "refusedQuery", "1")),
            format!("{SP}service_failed.network_error"),
            CALLED,
        ),
        (
            "an answer that is no SOAP",
            of(envelope("CONSUMER", "nosoapQuery", "1")),
            format!("{SP}service_failed.invalid_content_type"),
            CALLED,
        ),
        (
            "a fault of the service",
            of(envelope("CONSUMER", "faultQuery", "1")),
            "Server.MyOwn".into(),
            CALLED,
        ),
    ];
    for (name, request, code, records) in rows {
        let before = world.records().await;
        let reply = ask(world.consumer.http, &request).await;
        if matches!(name, "a fault" | "a fault of the service") {
            // Not ours, so it has no id of ours.
            assert_eq!(reply.fault().map(|(code, ..)| code), Some(code), "{name}");
        } else {
            check(name, &reply, &code, false);
        }
        let after = world.records().await;
        assert_eq!((after.0 - before.0, after.1 - before.1), records, "{name}: records");
    }
    // The provider signs whatever its service says; the consumer compares.
    let reply = ask(world.consumer.http, &soap(xml, &envelope("CONSUMER", "otheridQuery", "1"))).await;
    check("another id", &reply, &format!("{CP}service_failed.inconsistent_response"), false);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_over_tls() {
    let world = World::start().await;
    let stranger = world.pki.tls("stranger");
    let denied = format!("{SP}access_denied");
    let failed = format!("{CP}ssl_authentication_failed");
    // Who is accepted comes as far as the provider, where these clients have no rights.
    let rows = [
        ("TLS is enough", "TLSONLY", None, &denied),
        ("any certificate is as good as none", "TLSONLY", Some(&stranger), &denied),
        ("no certificate", "TLSAUTH", None, &failed),
        ("a stranger's certificate", "TLSAUTH", Some(&stranger), &failed),
        ("the stored certificate", "TLSAUTH", Some(&world.is_pair), &denied),
        ("HTTPS for a client of HTTP", "NORIGHTS", None, &denied),
    ];
    for (name, client, pair, code) in rows {
        let reply = ask_tls(world.consumer.https, pair, &get(client, "echo")).await;
        check(name, &reply, code, true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_configuration_stops_both_sides() {
    let world = World::start().await;
    world.clock.set(UnixTime(NOW.0 + 601_000));
    let rows = [("consumer", get("CONSUMER", "echo"), format!("{CP}global_conf_outdated"), NONE)];
    run_rest(&world, &rows).await;
    let reply = ask(
        world.consumer.http,
        &soap("Content-Type: text/xml\r\n", &envelope("CONSUMER", "testQuery", "1")),
    )
    .await;
    check("SOAP", &reply, &format!("{CP}global_conf_outdated"), false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_nothing_stops_exchanges_at_once() {
    let full = World::with(Options { min_free_bytes: u64::MAX, ..Options::default() }).await;
    let no_tsa = World::with(Options { has_tsa: false, ..Options::default() }).await;
    let cases = [
        (&full, "disk full", "logging_failed.database_error"),
        (&no_tsa, "no timestamping service", "logging_failed.mlog.no_timestamping_provider_found"),
    ];
    for (world, name, code) in cases {
        let rows = [(name, rest("POST", "CONSUMER", "echo", "", b"body"), format!("{CP}{code}"), NONE)];
        run_rest(world, &rows).await;
        let reply = ask(
            world.consumer.http,
            &soap("Content-Type: text/xml\r\n", &envelope("CONSUMER", "testQuery", "1")),
        )
        .await;
        check(name, &reply, &format!("{CP}{code}"), false);
        assert_eq!(world.backend.calls(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_loggable_size() {
    let world = World::with(Options { max_body_bytes: 200_000, ..Options::default() }).await;
    let rows = [
        ("a request", rest("POST", "CONSUMER", "echo", "", &[b'x'; 300_000]), format!("{CP}io_error"), NONE),
        ("an answer", get("CONSUMER", "echo/big/300000"), format!("{SP}logging_failed"), CALLED),
    ];
    run_rest(&world, &rows).await;
    // What stock servers said when they were at their limit.
    let Some(folder) = testkit::vectors::dir().map(|dir| dir.join("captures/large")) else { return };
    let files = ["post-100m-default-config.consumer-response.http", "get-100m-default-config.head"];
    for (file, (name, _, code, _)) in files.iter().zip(&rows) {
        let said = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(
            said.contains("HTTP/1.1 500 ") && said.contains(&format!("X-Road-Error: {code}\r\n")),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_out_token() {
    let world = World::start().await;
    world.consumer.signer.logged_out.store(true, Ordering::Relaxed);
    let rows = [(
        "consumer",
        rest("POST", "CONSUMER", "echo", "", b"x"),
        format!("{CP}cannot_create_signature"),
        NONE,
    )];
    run_rest(&world, &rows).await;
    world.consumer.signer.logged_out.store(false, Ordering::Relaxed);
    world.provider.signer.logged_out.store(true, Ordering::Relaxed);
    let rows = [("provider", get("CONSUMER", "echo"), format!("{SP}cannot_create_signature"), CALLED)];
    run_rest(&world, &rows).await;
    world.provider.signer.logged_out.store(false, Ordering::Relaxed);
    assert_eq!(ask(world.consumer.http, &get("CONSUMER", "echo")).await.status, 200, "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_take_all_slots() {
    let world = World::with(Options { exchanges_per_client: 2, ..Options::default() }).await;
    let address = world.consumer.http;
    let slow: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { ask(address, &get("CONSUMER", "echo/slow")).await }))
        .collect();
    while world.backend.calls() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reply = ask(address, &get("CONSUMER", "echo")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{}", reply.head);
    assert_eq!(reply.header("x-road-error"), Some("server.clientproxy.internal_error"));
    let (_, message, detail) = reply.fault().expect("a fault");
    assert!(message.contains("try again") && uuid::Uuid::parse_str(&detail).is_ok(), "{message}");
    // Another client of the same server is not touched.
    let reply = ask(address, &get("NORIGHTS", "echo")).await;
    assert_eq!(reply.header("x-road-error"), Some("server.serverproxy.access_denied"));
    slow.into_iter().for_each(|task| task.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_information_system_that_leaves_or_stalls_leaves_no_record() {
    use tokio::io::AsyncWriteExt;
    let world = World::with(Options { idle: Duration::from_millis(300), ..Options::default() }).await;
    let mut request = rest("POST", "CONSUMER", "echo", "", &[b'x'; 200_000]);
    request.truncate(request.len() - 50_000);
    let mut socket = tokio::net::TcpStream::connect(world.consumer.http).await.unwrap();
    socket.write_all(&request).await.unwrap();
    drop(socket);
    // The same bytes from one that stays and says no more.
    let reply = ask(world.consumer.http, &request).await;
    check("a stalled body", &reply, &format!("{CP}io_error"), true);
    assert_eq!((world.records().await, world.backend.calls()), (NONE, 0));
}
