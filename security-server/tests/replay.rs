//! The recorded messages of port 5500, each played to one server of ours: what a stock consumer's server sent goes into our server
//! proxy, what a stock provider's server answered comes back to our client proxy.
//!
//! The bytes are sent as they were recorded, chunks and all, under the recorded configuration and keys, at the time of the recording.
//! In the provider's role the code of a refusal is equal, and of an answer the signed header part is equal byte for byte (REST) or as
//! a message (SOAP). In the consumer's role an information system gets the recorded fault, or of SOAP the very bytes that were
//! recorded; an answer of REST names the request id of its recorded request, so that it must get through every check up to that one.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use host::clock::Clock;
use pki::globalconf::load_directory;
use proto::time::UnixTime;
use proto::transport::{Decoder, Direction, Event, Limits};
use security_server::ocsp_port;
use security_server::tls::{PeerTls, Stack};
use serde_json::Value;
use signer::AuthIdentity;
use support::client::{Reply, ask, parse};
use support::pki::{Pair, Pki, TestSigner, auth_identity_of, signing_identity};
use support::recorded::{Service, consumer_state, member, pair, provider_state, recorded};
use support::{Options, Parts, Server, peer};
use testkit::vectors::{self, Tally};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Before all recordings, and less than the freshness of OCSP answers before the last.
const NOW: UnixTime = UnixTime::from_secs(1_795_285_200);

/// A server of ours in either role, opposite a recorded one.
struct Stage {
    clock: Clock,
    consumer: Server,
    provider: Server,
    service: Service,
    /// What the recorded provider's server answers.
    says: Arc<Mutex<Vec<u8>>>,
}

/// Who issued the certificates of the servers, from the leaf up.
struct Issuers(Vec<Pki>);

impl Issuers {
    fn of(env: &Path) -> Self {
        let pki =
            |ca: &str, responder: &str| Pki { ca: pair(env, ca), responder: pair(env, responder), now: NOW };
        Self(match env.join("pki/intermediate.der").exists() {
            true => vec![pki("intermediate", "ocsp"), pki("ca", "ocsp-root")],
            false => vec![pki("ca", "ocsp")],
        })
    }
    /// Intermediate certificates, and good answers for `cert` and each of them.
    fn answers(&self, cert: &Pair) -> (Vec<pki::cert::Certificate>, Vec<Bytes>) {
        let above: Vec<_> = self.0[..self.0.len() - 1].iter().map(|pki| pki.ca.cert.clone()).collect();
        let chain = std::iter::once(&cert.cert).chain(&above);
        let answers = chain.zip(&self.0).map(|(cert, issuer)| issuer.good(cert)).collect();
        (above, answers)
    }
    fn auth(&self, pair: &Pair) -> Arc<AuthIdentity> {
        let (above, answers) = self.answers(pair);
        auth_identity_of(pair, &above, answers, NOW)
    }
    fn signer(&self, env: &Path, server: &str, class: &str, code: &str) -> Arc<TestSigner> {
        let signing = pair(env, &format!("{server}-sign"));
        let (intermediates, ocsp) = self.answers(&signing);
        let mut identity = signing_identity(&member(class, code), &signing, ocsp, NOW);
        Arc::get_mut(&mut identity).unwrap().intermediates = intermediates;
        TestSigner::with(identity, &signing.key, self.auth(&pair(env, &format!("{server}-auth"))))
    }
}

impl Stage {
    /// `None` when this machine does not have the addresses that the recorded configuration names.
    async fn start(captures: &Path, env: &str) -> Option<Self> {
        let (env, services) = (captures.join(env), captures.join("env-rsa"));
        let issuers = Issuers::of(&env);
        let service = Service::start().await;
        let conf = load_directory(&env.join("globalconf")).unwrap();
        let globalconf = Arc::new(ArcSwap::from_pointee(Some(Arc::new(conf))));
        let (clock, options) =
            (Clock::fixed(NOW), Options { max_body_bytes: 16 << 20, ..Options::default() });
        let recorded = TcpListener::bind("127.0.0.3:0").await.ok()?;
        let ocsp = TcpListener::bind("127.0.0.3:0").await.ok()?;
        let ports = (recorded.local_addr().unwrap().port(), ocsp.local_addr().unwrap().port());
        let parts = Parts { clock: &clock, globalconf: &globalconf, options: &options, ports };
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (keys, state) =
            (issuers.signer(&env, "ss2", "GOV", "2222"), provider_state(&services, service.address));
        let provider =
            parts.start(keys, &state, listen().await.unwrap(), pair(&services, "ss2-internal-tls")).await;
        tokio::spawn(ocsp_port::serve(
            ocsp,
            provider.signer.clone(),
            provider.cx.settings.limits.ocsp_port,
            provider.cx.shutdown.clone(),
        ));
        let (keys, state) = (issuers.signer(&env, "ss1", "COM", "1111"), consumer_state(&services));
        let consumer =
            parts.start(keys, &state, listen().await.unwrap(), pair(&services, "ss1-internal-tls")).await;
        let says: Arc<Mutex<Vec<u8>>> = Arc::default();
        let saying = says.clone();
        peer::play_provider(recorded, provider.peer_tls.clone(), move |_| {
            let answer = saying.lock().unwrap().clone();
            async move { answer }
        });
        Some(Self { clock, consumer, provider, service, says })
    }

    /// The recorded request, to our server proxy; its answer.
    async fn ask_provider(&self, request: &[u8], service_says: Option<Vec<u8>>) -> Reply {
        let otherwise = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        *self.service.answer.lock().unwrap() = Some(service_says.unwrap_or(otherwise));
        *self.service.seen.lock().unwrap() = None;
        send(&self.consumer.peer_tls, self.provider.messages, request).await
    }
}

/// One connection for one message, as with a stock server.
async fn send(tls: &PeerTls, address: std::net::SocketAddr, request: &[u8]) -> Reply {
    let keep = b"Connection: Keep-Alive";
    let at = request.windows(keep.len()).position(|window| window == keep).unwrap();
    let request = [&request[..at], b"Connection: close", &request[at + keep.len()..]].concat();
    let socket = TcpStream::connect(address).await.unwrap();
    let limit = Duration::from_secs(5);
    let mut stream =
        tls.connector().unwrap().connect(Stack::Modern, socket, "127.0.0.1", limit).await.unwrap().stream;
    stream.write_all(&request).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    parse(&answer)
}

/// What an answer on 5500 holds: the code of its fault, or the bytes of its message part with its attachments.
fn read(reply: &Reply) -> Result<Vec<Vec<u8>>, String> {
    let content_type = reply.header("content-type").unwrap_or_default();
    let mut decoder =
        Decoder::new(content_type, Direction::Response, Limits::default()).map_err(|e| e.to_string())?;
    decoder.feed(reply.body.clone().into());
    decoder.finish();
    let (mut parts, mut signed): (Vec<Vec<u8>>, bool) = (Vec::new(), false);
    while let Some(event) = decoder.poll().map_err(|e| format!("{e}: {}", reply.text()))? {
        match event {
            Event::Message { raw, .. } => parts.push(raw.to_vec()),
            Event::AttachmentHead { .. } => parts.push(Vec::new()),
            Event::AttachmentData(data) => parts.last_mut().unwrap().extend_from_slice(&data),
            Event::Fault(xml) => return Err(proto::fault::Fault::from_soap(&xml).unwrap().code),
            Event::Signature(_) => signed = true,
            _ => {}
        }
    }
    if signed { Ok(parts) } else { Err("not signed".to_owned()) }
}

/// Equal, the envelopes of SOAP as messages: stock servers write them anew.
fn same(ours: &[Vec<u8>], stock: &[Vec<u8>]) -> Result<(), String> {
    let soap = |raw: &[u8]| match proto::soap::parse(Bytes::copy_from_slice(raw), "text/xml") {
        Ok(proto::soap::Soap::Message(message)) => Some(message.header.clone()),
        _ => None,
    };
    let text = |parts: &[Vec<u8>]| String::from_utf8_lossy(&parts[0]).into_owned();
    match (soap(&ours[0]), soap(&stock[0])) {
        (Some(ours), Some(stock)) if ours != stock => return Err(format!("{ours:?} instead of {stock:?}")),
        (Some(_), Some(_)) => {}
        _ if ours[0] != stock[0] => return Err(format!("{} instead of {}", text(ours), text(stock))),
        _ => {}
    }
    if ours[1..] == stock[1..] { Ok(()) } else { Err("other bodies".to_owned()) }
}

/// Time of a case, a moment later.
fn time(case: &Value) -> UnixTime {
    let text = case["time"].as_str().unwrap();
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    UnixTime::from_secs(at.unix_timestamp() + 1)
}

/// Cases of an area with their folders, those alone that have a message on 5500.
fn cases(folder: &Path, expected: &Value) -> Vec<(String, PathBuf, UnixTime)> {
    let all = expected["cases"].as_object().unwrap().iter();
    let all = all.map(|(name, case)| (name.clone(), folder.join(name), time(case)));
    all.filter(|(_, folder, _)| folder.join("request.http").exists()).collect()
}

const AREAS: [(&str, &str); 8] = [
    ("rest", "env-rsa"),
    ("soap", "env-rsa"),
    ("errors-rest", "env-rsa"),
    ("errors-soap", "env-rsa"),
    ("jetty-probes", "env-rsa"),
    ("digest-sha256", "env-ec"),
    ("ec", "env-ec"),
    ("batch", "env-rsa"),
];

#[tokio::test(flavor = "multi_thread")]
async fn recorded_requests_are_answered_as_they_were() {
    let Some(captures) = vectors::dir().map(|dir| dir.join("captures")) else {
        return drop(vectors::area("captures/rest"));
    };
    for (area, env) in AREAS {
        let Some(stage) = Stage::start(&captures, env).await else {
            return println!("skipped: this machine does not answer on 127.0.0.3");
        };
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let mut tally = Tally::new(&format!("captures/{area} to the server proxy"));
        if area == "batch" {
            batches(&captures, &expected, &mut tally).await;
            tally.finish();
            continue;
        }
        for (name, case, at) in cases(&folder, &expected) {
            stage.clock.set(at);
            let request = std::fs::read(case.join("request.http")).unwrap();
            let service_says = std::fs::read(case.join("backend-response.http")).ok();
            let known = service_says.is_some();
            let stock = read(&parse(&std::fs::read(case.join("response.http")).unwrap()));
            let again = stock.as_ref().ok().and_then(|parts| envelope_answer(&parts[0]));
            let ours = read(&stage.ask_provider(&request, service_says.or(again)).await);
            let seen = stage.service.seen.lock().unwrap().take().is_some();
            if name == "path-escaped" {
                // An escaped space is a character like any other.
                tally.equal(name, (ours.is_ok(), seen), (true, true));
                continue;
            }
            let outcome = match (&ours, &stock) {
                (Ok(ours), Ok(stock)) if known => same(ours, stock),
                // What the service said is not known, so that ours is another answer.
                (Ok(_), Ok(_)) => Ok(()),
                (Err(ours), Err(stock)) if ours == stock => Ok(()),
                _ => Err(format!("{:?} instead of {:?}", ours.map(|p| p.len()), stock.map(|p| p.len()))),
            };
            let called = recorded(case.join("backend-request.http")).is_some();
            let outcome = match known && seen != called {
                true => Err("the service was called, or was not, other than it was".to_owned()),
                false => outcome,
            };
            tally.ok(name, outcome);
        }
        tally.finish();
    }
}

/// Messages that were signed together: each is taken.
async fn batches(captures: &Path, expected: &Value, tally: &mut Tally) {
    for (name, batch) in expected["cases"].as_object().unwrap() {
        let env = if name.starts_with("ec") { "env-ec" } else { "env-rsa" };
        let Some(stage) = Stage::start(captures, env).await else { return };
        stage.clock.set(time(batch));
        let folder = captures.join("batch").join(name);
        for message in batch["messages"].as_array().unwrap() {
            let file = message["file"].as_str().unwrap();
            if !file.ends_with("-request.http") {
                continue;
            }
            let request = std::fs::read(folder.join(file)).unwrap();
            let answer = folder.join(file.replace("request", "response"));
            let stock = read(&parse(&std::fs::read(answer).unwrap())).unwrap();
            let service_says = envelope_answer(&stock[0]);
            let ours = read(&stage.ask_provider(&request, service_says).await);
            tally.ok(format!("{name}/{file}"), ours.map(drop));
        }
    }
}

/// A service of SOAP answers with the message itself.
fn envelope_answer(raw: &[u8]) -> Option<Vec<u8>> {
    raw.starts_with(b"<?xml").then(|| {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", raw.len());
        [head.as_bytes(), raw].concat()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_are_taken_as_they_were() {
    let Some(captures) = vectors::dir().map(|dir| dir.join("captures")) else {
        return drop(vectors::area("captures/rest"));
    };
    for (area, env) in AREAS.into_iter().filter(|(area, _)| *area != "batch") {
        let Some(stage) = Stage::start(&captures, env).await else {
            return println!("skipped: this machine does not answer on 127.0.0.3");
        };
        let Some((folder, expected)) = vectors::area(&format!("captures/{area}")) else { return };
        let mut tally = Tally::new(&format!("captures/{area} to the client proxy"));
        for (name, case, at) in cases(&folder, &expected) {
            stage.clock.set(at);
            *stage.says.lock().unwrap() = std::fs::read(case.join("response.http")).unwrap();
            let request = std::fs::read(case.join("consumer-request.http")).unwrap();
            if name == "https-8443" {
                tally.not_applicable("over TLS, in captures.rs");
                continue;
            }
            let ours = ask(stage.consumer.http, &request).await;
            let stock = parse(&std::fs::read(case.join("consumer-response.http")).unwrap());
            tally.ok(name, taken(&ours, &stock));
        }
        tally.finish();
    }
}

fn taken(ours: &Reply, stock: &Reply) -> Result<(), String> {
    let code = |reply: &Reply| {
        let header = || reply.header("x-road-error").map(str::to_owned);
        reply.fault().map(|(code, ..)| code).filter(|code| code.contains('.')).or_else(header)
    };
    let rest = stock.header("x-road-id").is_some();
    let expected =
        if rest { Some("server.clientproxy.inconsistent_response".to_owned()) } else { code(stock) };
    if code(ours) != expected {
        return Err(format!("{:?} instead of {expected:?}: {}", code(ours), ours.text()));
    }
    if rest || expected.is_some() || (ours.status, &ours.body) == (stock.status, &stock.body) {
        return Ok(());
    }
    // Part headers of stock servers have no order.
    let sorted = |reply: &Reply| {
        let mut lines: Vec<Vec<u8>> = reply.body.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    match sorted(ours) == sorted(stock) {
        true => Ok(()),
        false => Err(format!("{} instead of {}", ours.text(), stock.text())),
    }
}
