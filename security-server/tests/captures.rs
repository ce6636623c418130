//! The recorded exchanges of two stock servers, played again: the same request of the information system, through two servers of
//! ours under the same configuration and keys, to a service that answers as it did.
//!
//! Compared are what the service was sent and what the information system got: request line, header lines with their spelling and
//! order, bodies, status, fault codes. Free are ids and times of ours, framing, wording, and what the HTTP libraries add. Where ours
//! deliberately differs the difference itself is checked.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use host::clock::Clock;
use pki::globalconf::load_directory;
use proto::time::UnixTime;
use security_server::ocsp_port;
use support::client::{Reply, ask, ask_tls, parse};
use support::pki::Pki;
use support::recorded::{Sent, Service, consumer_state, member, pair, provider_state, recorded};
use support::{Options, Parts, Server, signer};
use testkit::vectors::{self, Tally};
use tokio::net::TcpListener;

/// After all recordings, and before their OCSP answers of ours grow old.
const NOW: UnixTime = UnixTime::from_secs(1_795_288_000);

/// Two servers of ours in the place of the recorded ones.
struct Replay {
    consumer: Server,
    provider: Server,
    service: Service,
}

impl Replay {
    /// `None` when this machine does not have the addresses that the recorded configuration names.
    async fn start(captures: &Path) -> Option<Self> {
        let env = captures.join("env-rsa");
        let pki = Pki { ca: pair(&env, "ca"), responder: pair(&env, "ocsp"), now: NOW };
        let service = Service::start().await;
        let conf = load_directory(&env.join("globalconf")).unwrap();
        let globalconf = Arc::new(ArcSwap::from_pointee(Some(Arc::new(conf))));
        let clock = Clock::fixed(NOW);
        let options = Options { min_free_bytes: 0, max_body_bytes: 16 << 20, ..Options::default() };

        let messages = TcpListener::bind("127.0.0.3:0").await.ok()?;
        let ocsp = TcpListener::bind("127.0.0.3:0").await.ok()?;
        let ports = (messages.local_addr().unwrap().port(), ocsp.local_addr().unwrap().port());
        let parts = Parts { clock: &clock, globalconf: &globalconf, options: &options, ports };
        let provider_signer =
            signer(&pki, &member("GOV", "2222"), &pair(&env, "ss2-sign"), &pair(&env, "ss2-auth"));
        let state = provider_state(&env, service.address);
        let provider = parts.start(provider_signer, &state, messages, pair(&env, "ss2-internal-tls")).await;
        tokio::spawn(ocsp_port::serve(
            ocsp,
            provider.signer.clone(),
            provider.cx.settings.limits.ocsp_port,
            provider.cx.shutdown.clone(),
        ));
        let consumer_signer =
            signer(&pki, &member("COM", "1111"), &pair(&env, "ss1-sign"), &pair(&env, "ss1-auth"));
        let messages = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let consumer = parts
            .start(consumer_signer, &consumer_state(&env), messages, pair(&env, "ss1-internal-tls"))
            .await;
        Some(Self { consumer, provider, service })
    }

    /// Sends what the information system sent; gives what it got and what reached the service.
    async fn play(&self, case: &Path) -> (Reply, Option<Sent>) {
        let recorded = std::fs::read(case.join("backend-response.http")).ok();
        // A service that the stock servers never reached may be reached by ours; one that gave no answer gives none.
        let reached = case.ends_with("provider-timeout");
        let otherwise = (!reached).then(|| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
        *self.service.answer.lock().unwrap() = recorded.or(otherwise);
        *self.service.seen.lock().unwrap() = None;
        let request = std::fs::read(case.join("consumer-request.http")).unwrap();
        let reply = if case.ends_with("https-8443") {
            ask_tls(self.consumer.https, None, &request).await
        } else {
            ask(self.consumer.http, &request).await
        };
        (reply, self.service.seen.lock().unwrap().take())
    }
}

/// Header lines that are no part of the message: framing, ids and times of ours, what HTTP libraries add.
const FREE: [&str; 13] = [
    "date",
    "connection",
    "content-length",
    "transfer-encoding",
    "host",
    "user-agent",
    "accept-encoding",
    "cookie",
    "x-road-request-id",
    "x-road-request-hash",
    "retry-after",
    "server",
    "keep-alive",
];

/// The lines that count, in order; a message id that was made up by the server is only counted.
fn lines(head: &str) -> Vec<String> {
    let counted = head.lines().skip(1).filter(|line| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !line.is_empty() && !FREE.contains(&name.as_str())
    });
    let made_up = |line: &str| match line.split_once(": PEER-") {
        Some((name, id)) if id.trim().len() == 36 => format!("{name}: PEER-"),
        _ => line.trim_end().to_owned(),
    };
    counted.map(made_up).collect()
}

/// What must be equal, or why it is not.
fn compare(case: &Path, reply: &Reply, seen: Option<&Sent>) -> Result<(), String> {
    let stock = parse(&std::fs::read(case.join("consumer-response.http")).map_err(|e| e.to_string())?);
    let fault = |reply: &Reply| reply.fault().map(|(code, ..)| code).filter(|code| code.contains('.'));
    if (stock.status, fault(&stock)) != (reply.status, fault(reply)) {
        let found = (reply.status, fault(reply), reply.text());
        return Err(format!("{found:?} instead of {:?}", (stock.status, fault(&stock))));
    }
    let plain_http = matches!(stock.status, 400 | 414 | 431) && stock.header("x-road-error").is_none();
    if !plain_http {
        equal("lines of the answer", sorted(lines(&reply.head)), sorted(lines(&stock.head)))?;
    }
    if fault(&stock).is_none() && !plain_http {
        let of = |reply: &Reply| multipart(reply.header("content-type").unwrap_or_default(), &reply.body);
        match (of(reply), of(&stock)) {
            (Some(ours), Some(theirs)) => compare_parts(&ours, &theirs)?,
            (None, None) => compare_bodies(&reply.body, &stock.body)?,
            _ => return Err("one of the answers has parts, the other has none".into()),
        }
    }
    match (seen, recorded(case.join("backend-request.http"))) {
        (None, None) => Ok(()),
        (Some((head, body)), Some((stock_head, stock_body))) => {
            let target = |head: &str| head.lines().next().unwrap_or_default().to_owned();
            equal("request line at the service", target(head), target(&stock_head))?;
            equal("lines at the service", lines(head), lines(&stock_head))?;
            let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: "));
            let content_type = content_type.unwrap_or_default();
            match (multipart(content_type, body), multipart(content_type, &stock_body)) {
                (Some(ours), Some(theirs)) => equal("parts at the service", ours, theirs),
                _ => {
                    equal("body at the service", body.len(), stock_body.len())?;
                    if body == &stock_body { Ok(()) } else { Err("another body at the service".into()) }
                }
            }
        }
        (found, _) => Err(format!("the service was {}called", if found.is_some() { "" } else { "not " })),
    }
}

/// Faults and SOAP answers name their lines differently in case only where HTTP does not care.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.iter_mut().for_each(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line.as_str(), ""));
        *line = format!("{}:{}", name.to_ascii_lowercase(), value.trim_end());
    });
    lines.sort();
    lines
}

/// Header lines of a part, sorted, and its content.
type Part = (Vec<String>, Vec<u8>);

/// The parts of a `multipart/related`, split as text: every delimiter and every head line counts as it is written. The stock servers
/// write the lines of a head in no order.
fn multipart(content_type: &str, body: &[u8]) -> Option<Vec<Part>> {
    if !content_type.to_ascii_lowercase().starts_with("multipart/related") {
        return None;
    }
    let boundary = proto::media_type::parameter(content_type, "boundary")?;
    let text: String = body.iter().copied().map(char::from).collect();
    let text = text.strip_prefix(&format!("--{boundary}\r\n"))?;
    let text = text.strip_suffix(&format!("\r\n--{boundary}--\r\n"))?;
    let delimiter = format!("\r\n--{boundary}\r\n");
    let parts = text.split(&delimiter).map(|part| {
        let (head, content) = part.split_once("\r\n\r\n").unwrap_or((part, ""));
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        lines.sort();
        (lines, content.chars().map(|c| c as u8).collect())
    });
    Some(parts.collect())
}

/// The envelopes as messages, all else as it is.
fn compare_parts(ours: &[Part], stock: &[Part]) -> Result<(), String> {
    let heads = |parts: &[Part]| parts.iter().map(|(head, _)| head.clone()).collect::<Vec<_>>();
    equal("part heads", heads(ours), heads(stock))?;
    compare_bodies(&ours[0].1, &stock[0].1)?;
    if ours[1..] == stock[1..] { Ok(()) } else { Err("other attachments".into()) }
}

/// REST bodies are equal. SOAP answers are written anew by the stock servers, so they are compared as messages.
fn compare_bodies(ours: &[u8], stock: &[u8]) -> Result<(), String> {
    if ours == stock {
        return Ok(());
    }
    let read = |body: &[u8]| match proto::soap::parse(bytes::Bytes::copy_from_slice(body), "text/xml") {
        Ok(proto::soap::Soap::Message(message)) => Ok((message.header.clone(), message.is_response)),
        other => Err(format!("no SOAP message: {other:?}")),
    };
    equal("SOAP header", read(ours)?, read(stock)?)?;
    let content = |body: &[u8]| {
        let text = String::from_utf8_lossy(body).into_owned();
        text.split_once(":Body").map(|(_, rest)| rest.split_whitespace().collect::<String>())
    };
    equal("SOAP body", content(ours), content(stock))
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

/// What must hold of a case that is to differ.
type Differs = fn(&Reply, Option<&Sent>) -> bool;

/// The headings of `docs/differences.md` that say why.
const BODY: &str = "A signed body is delivered";
const PATH: &str = "Access is decided on the path as it was signed";
const DISABLED: &str = "Disabled is disabled";
const METADATA: &str = "Metadata has an order of ours";

fn known(area: &str, name: &str) -> Option<(&'static str, Differs)> {
    Some(match (area, name) {
        ("rest", "delete-with-body") => (BODY, |reply, seen| {
            reply.status == 200 && seen.is_some_and(|(_, body)| body == b"{\"why\":\"x\"}")
        }),
        ("rest", "path-escaped") => {
            (PATH, |reply, seen| reply.status == 200 && seen.is_some_and(|(head, _)| head.contains("%20")))
        }
        ("metaservices", "rest-listMethods" | "rest-allowedMethods") => (DISABLED, |reply, _| {
            let endpoints = r#"[{"method":"GET","path":"/hello"},{"method":"POST","path":"/echo"}]"#;
            let petstore = format!(r#""service_code":"petstore","endpoint_list":{endpoints}"#);
            let text = reply.text();
            reply.status == 200 && text.contains(&petstore) && !text.contains("disabledsvc")
        }),
        ("metaservices", "soap-listMethods") => {
            (METADATA, |reply, _| lists(reply, 6) && reply.text().contains("noaccessQuery"))
        }
        ("metaservices", "soap-allowedMethods") => {
            (METADATA, |reply, _| lists(reply, 5) && !reply.text().contains("noaccessQuery"))
        }
        // The stock servers write the WSDL anew.
        ("metaservices", "soap-getWsdl") => (METADATA, |reply, seen| {
            let (kind, text) = (reply.header("content-type").unwrap_or_default(), reply.text());
            kind.starts_with("multipart/related; type=\"text/xml\"; charset=UTF-8; boundary=")
                && text.contains("\r\nContent-ID: <wsdl=")
                && text.contains("<soap:address location=\"http://example.org/xroad-endpoint\"/>")
                && seen.is_some_and(|(head, _)| head.starts_with("GET /files/service.wsdl HTTP/1.1"))
        }),
        ("metaservices", "listClients-xml") => {
            (METADATA, |reply, _| reply.status == 200 && reply.text().matches("<xroad:member>").count() > 3)
        }
        // The recorded folder was a link.
        ("metaservices", "verificationconf") => (METADATA, |reply, _| {
            reply.status == 200 && reply.header("content-type") == Some("application/zip")
        }),
        _ => return None,
    })
}

/// A list of so many SOAP services.
fn lists(reply: &Reply, count: usize) -> bool {
    reply.text().matches("<xroad:service id:objectType=\"SERVICE\"><id:").count() == count
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_exchanges_come_out_the_same() {
    let areas = ["rest", "soap", "errors-rest", "errors-soap", "jetty-probes", "metaservices"];
    let Some(captures) = vectors::dir().map(|dir| dir.join("captures")) else {
        areas.iter().for_each(|area| drop(vectors::area(&format!("captures/{area}"))));
        return;
    };
    let Some(replay) = Replay::start(&captures).await else {
        return println!("skipped: this machine does not answer on 127.0.0.3");
    };
    let (stored, data) = (captures.join("env-rsa/globalconf"), &replay.consumer.cx.settings.data_dir);
    support::copy_folder(&stored, &data.join("globalconf"));
    support::differences::assert_listed([BODY, PATH, DISABLED, METADATA]);
    for area in areas {
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let mut tally = Tally::new(&format!("captures/{area} through both proxies"));
        for name in expected["cases"].as_object().unwrap().keys() {
            let case = folder.join(name);
            let rule = known(area, name);
            let (reply, seen) = replay.play(&case).await;
            match rule {
                Some((_, holds)) if holds(&reply, seen.as_ref()) => tally.pass(),
                Some(_) => {
                    tally.fail(name, format_args!("not as ours must differ: {} {}", reply.head, reply.text()))
                }
                _ => tally.ok(name, compare(&case, &reply, seen.as_ref())),
            }
        }
        tally.finish();
    }
}

/// OCSP answers that are missing or bad, each case on servers of its own, which have seen nothing better before.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_failures_of_ocsp_come_out_the_same() {
    let Some((folder, expected)) = vectors::area("captures/errors-ocsp") else { return };
    let captures = folder.join("..");
    let mut tally = Tally::new("captures/errors-ocsp through both proxies");
    for name in expected["cases"].as_object().unwrap().keys() {
        let Some(replay) = Replay::start(&captures).await else {
            return println!("skipped: this machine does not answer on 127.0.0.3");
        };
        // A server uses no certificate without a good OCSP answer: it has no keys.
        let without = match name.rsplit_once('-').unwrap().0 {
            "provider-has-no-ocsp" | "provider-certs-revoked" => &replay.provider,
            "consumer-has-no-ocsp" => &replay.consumer,
            other => panic!("nobody knows how to make {other}"),
        };
        *without.signer.own.lock().unwrap() = Arc::default();
        let case = folder.join(name);
        let (reply, seen) = replay.play(&case).await;
        tally.ok(name, compare(&case, &reply, seen.as_ref()));
        assert!(seen.is_none(), "{name}: the service was called");
    }
    tally.finish();
}
