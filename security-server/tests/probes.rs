//! The probes: what stock servers answered to ordinary, odd and hostile input, held against what ours answer to the same bytes.
//!
//! Compared are the status, the fault code, and whether the service was called. Where a probe says `must_differ`, ours must refuse,
//! or do what wire dossier §22 has for it; where ours differs otherwise, [`KNOWN`] says why. Cases whose point is what the service
//! answers, how bytes are paced, or a part that does not exist yet, are counted as such.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use host::clock::Clock;
use pki::cert::Certificate;
use pki::globalconf::load_directory;
use pki::key::PrivateKey;
use proto::id::{ClientId, GlobalGroupId, MemberId, ServerId, Subject};
use proto::time::UnixTime;
use security_server::ocsp_port;
use security_server::serverconf::event::{Endpoint, Event, ServiceSettings};
use security_server::serverconf::state::State;
use security_server::serverconf::{ConnectionType, ServiceKind};
use serde_json::Value;
use support::backend::read_message;
use support::client::{Reply, ask_briefly};
use support::peer;
use support::pki::{Pair, Pki, copy};
use support::{Options, Parts, Server, signer};
use testkit::vectors::{self, Tally};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// The evening of the recordings.
const NOW: UnixTime = UnixTime::from_secs(1_795_305_600);

/// Counts its calls and says yes to everything: JSON to REST, the request back to SOAP.
#[derive(Clone)]
struct Service {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self { address: listener.local_addr().unwrap(), calls: Arc::default() };
        let calls = service.calls.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let calls = calls.clone();
                tokio::spawn(async move {
                    while let Some((head, body)) = read_message(&mut socket).await {
                        calls.fetch_add(1, Ordering::Relaxed);
                        let (kind, body) = match head.contains(" /soap") {
                            true => ("text/xml; charset=UTF-8", body),
                            false => ("application/json", b"{}".to_vec()),
                        };
                        let length = body.len();
                        let head = format!(
                            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
                        );
                        if socket.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        service
    }
}

struct Probes {
    consumer: Server,
    provider: Server,
    service: Service,
    /// The consumer's own, for information systems.
    internal: Pair,
}

impl Probes {
    /// `None` when this machine does not have the addresses that the recorded configuration names.
    async fn start(environment: &Path) -> Option<Self> {
        let pki = Pki { ca: pair(environment, "ca"), responder: pair(environment, "ocsp"), now: NOW };
        let service = Service::start().await;
        let conf = load_directory(&environment.join("globalconf")).unwrap();
        let globalconf = Arc::new(ArcSwap::from_pointee(Some(Arc::new(conf))));
        let (clock, options) =
            (Clock::fixed(NOW), Options { max_body_bytes: 10 << 20, ..Options::default() });
        let messages = TcpListener::bind("127.0.1.3:0").await.ok()?;
        let ocsp = TcpListener::bind("127.0.1.3:0").await.ok()?;
        let ports = (messages.local_addr().unwrap().port(), ocsp.local_addr().unwrap().port());
        let parts = Parts { clock: &clock, globalconf: &globalconf, options: &options, ports };
        let list: Value =
            serde_json::from_slice(&std::fs::read(environment.join("serverconf.json")).unwrap()).unwrap();

        let keys = |server: &str, code: &str, class: &str| {
            let sign = pair(environment, &format!("{server}-sign"));
            signer(&pki, &member(class, code), &sign, &pair(environment, &format!("{server}-auth")))
        };
        let state = state(environment, &list["ss2"], service.address);
        let provider = parts.start(keys("ss2", "2222", "GOV"), &state, messages, pki.tls("internal")).await;
        tokio::spawn(ocsp_port::serve(ocsp, provider.signer.clone(), provider.cx.shutdown.clone()));
        let state = self::state(environment, &list["ss1"], service.address);
        let messages = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (keys, internal) = (keys("ss1", "1111", "COM"), pki.tls("internal"));
        let second = pair(environment, "ss1-sign-5555");
        let ocsp = vec![pki.good(&second.cert)];
        keys.add(support::pki::signing_identity(&member("COM", "5555"), &second, ocsp, NOW), &second.key);
        let consumer = parts.start(keys, &state, messages, copy(&internal)).await;
        Some(Self { consumer, provider, service, internal })
    }
}

fn member(class: &str, code: &str) -> MemberId {
    MemberId { instance: "PRB".into(), class: class.into(), code: code.into() }
}

fn pair(environment: &Path, name: &str) -> Pair {
    let read = |suffix: &str| std::fs::read(environment.join("pki").join(format!("{name}{suffix}"))).unwrap();
    Pair {
        key: PrivateKey::from_pem(&read(".key.pem")).unwrap(),
        cert: Certificate::parse(&read(".der")).unwrap(),
    }
}

fn client(text: &str) -> ClientId {
    let parts: Vec<&str> = text.splitn(4, '/').collect();
    ClientId { member: member(parts[1], parts[2]), subsystem: parts.get(3).map(|s| (*s).to_owned()) }
}

/// `serverconf.json` as events; services are at ours.
fn state(environment: &Path, list: &Value, service: SocketAddr) -> State {
    let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    let owner = client(list["owner"].as_str().unwrap());
    let mut events = vec![Event::ServerNamed {
        id: ServerId { owner: owner.member.clone(), code: text(list, "serverCode").unwrap() },
    }];
    let none = Vec::new();
    let each = |name: &str| list[name].as_array().unwrap_or(&none).clone();
    for found in each("clients").iter().filter(|found| found["status"] == "registered") {
        let id = client(found["id"].as_str().unwrap());
        let connection = match found["connectionType"].as_str() {
            Some("SSLAUTH") => ConnectionType::HttpsAuth,
            Some("SSLNOAUTH") => ConnectionType::HttpsNoAuth,
            _ => ConnectionType::Http,
        };
        events.push(match id == owner {
            true => Event::ConnectionSet { client: id.clone(), connection },
            false => Event::ClientAdded { client: id.clone(), connection },
        });
        for name in found["isCertificates"].as_array().unwrap_or(&none) {
            let der = std::fs::read(environment.join(format!("pki/{}.der", name.as_str().unwrap()))).unwrap();
            events.push(Event::TlsCertAdded { client: id.clone(), der });
        }
    }
    for found in &each("localGroups") {
        let (owner, group) = (client(found["owner"].as_str().unwrap()), text(found, "code").unwrap());
        events.push(Event::GroupAdded {
            client: owner.clone(),
            group: group.clone(),
            description: String::new(),
        });
        for name in found["members"].as_array().unwrap() {
            let member = client(name.as_str().unwrap());
            events.push(Event::GroupMemberAdded { client: owner.clone(), group: group.clone(), member });
        }
    }
    for (index, found) in each("serviceDescriptions").iter().enumerate() {
        describe(&mut events, &format!("d{index}"), found, service);
    }
    for found in &each("accessRights") {
        grant(&mut events, found);
    }
    State::replay(events).unwrap()
}

fn describe(events: &mut Vec<Event>, url: &str, found: &Value, service: SocketAddr) {
    let id = client(found["client"].as_str().unwrap());
    let kind = match found["type"].as_str() {
        Some("WSDL") => ServiceKind::Wsdl,
        Some("OPENAPI3") => ServiceKind::OpenApi3,
        _ => ServiceKind::Rest,
    };
    let disabled =
        (found["disabled"] == true).then(|| found["notice"].as_str().unwrap_or_default().to_owned());
    events.push(Event::DescriptionAdded { client: id.clone(), url: url.into(), kind, disabled });
    for one in found["services"].as_array().unwrap() {
        let to = one["url"].as_str().unwrap_or_default().replace("127.0.1.1:9090", &service.to_string());
        let timeout_seconds = one["timeout"].as_u64().unwrap().try_into().unwrap();
        events.push(Event::ServiceAdded {
            client: id.clone(),
            description: url.into(),
            code: one["code"].as_str().unwrap().into(),
            version: one["version"].as_str().map(str::to_owned),
            settings: ServiceSettings { url: to, timeout_seconds, verify_tls: one["verifyTls"] == true },
        });
    }
}

fn grant(events: &mut Vec<Event>, found: &Value) {
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    let (owner, code) = (client(&text("owner")), text("service"));
    let endpoint = Endpoint { method: text("method"), path: text("path") };
    let subject = text("subject");
    let subject = match subject.split_once(':') {
        Some(("GLOBALGROUP", code)) => {
            let code = code.rsplit('/').next().unwrap_or_default().to_owned();
            Subject::GlobalGroup(GlobalGroupId { instance: "PRB".into(), code })
        }
        Some(("LOCALGROUP", code)) => {
            Subject::LocalGroup(code.rsplit('/').next().unwrap_or_default().to_owned())
        }
        _ => Subject::Client(client(&subject)),
    };
    if endpoint != Endpoint::service_level() {
        events.push(Event::EndpointAdded {
            client: owner.clone(),
            code: code.clone(),
            endpoint: endpoint.clone(),
        });
    }
    events.push(Event::RightGranted { client: owner, code, endpoint, subject });
}

/// Status and fault code as `expected.json` has them, and whether the service was called.
type Outcome = (Option<u64>, Option<String>, bool);

fn recorded(case: &Value) -> Outcome {
    let code = case["fault"]["code"].as_str().map(str::to_owned);
    (
        case["response"]["status"].as_u64(),
        code,
        case["backend"].as_array().is_some_and(|calls| !calls.is_empty()),
    )
}

impl Probes {
    async fn play(&self, environment: &Path, request: &[u8], case: &Value) -> Outcome {
        let before = self.service.calls.load(Ordering::Relaxed);
        let to = case["to"].as_str().unwrap_or_default();
        let pair = match case["tls"].as_str() {
            Some("ss1-internal-tls") => Some(copy(&self.internal)),
            name => name
                .filter(|name| environment.join(format!("pki/{name}.der")).exists())
                .map(|name| pair(environment, name)),
        };
        let address = match to {
            "127.0.1.3:5500" => self.provider.messages,
            "127.0.1.2:8443" => self.consumer.https,
            "127.0.1.3:8080" => self.provider.http,
            _ => self.consumer.http,
        };
        let secure = matches!(to, "127.0.1.3:5500" | "127.0.1.2:8443");
        let reply: Option<Reply> = ask_briefly(address, secure, pair.as_ref(), request).await;
        let fault = reply.as_ref().and_then(|reply| reply.fault().or_else(|| peer::fault(reply)));
        // Without a body, only the header tells.
        let error = reply
            .as_ref()
            .filter(|reply| reply.body.is_empty())
            .and_then(|reply| reply.header("x-road-error"));
        let code = fault
            .map(|(code, ..)| code)
            .filter(|code| code.contains('.'))
            .or_else(|| error.map(str::to_owned));
        let called = self.service.calls.load(Ordering::Relaxed) > before;
        (reply.map(|reply| reply.status.into()), code, called)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_alike_or_better() {
    let Some(probes) = vectors::dir().map(|dir| dir.join("probes")) else {
        drop(vectors::area("probes/1-consumer-rest"));
        return;
    };
    let environment = probes.join("environment");
    let Some(servers) = Probes::start(&environment).await else {
        return println!("vectors probes: skipped, this machine does not answer on 127.0.1.3");
    };
    for area in ["1-consumer-rest", "2-consumer-soap", "3-access-rights", "5-provider-port"] {
        let (folder, expected) = vectors::area(&format!("probes/{area}")).unwrap();
        let mut tally = Tally::new(&format!("probes/{area}"));
        let mut seen = HashSet::new();
        for case in expected["cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let request = std::fs::read(folder.join(case["dir"].as_str().unwrap()).join("request.bin"));
            let skipped = not_applicable(area, name).or(request.is_err().then_some("without plain bytes"));
            if let Some(reason) = skipped {
                tally.not_applicable(reason);
                continue;
            }
            let request = request.unwrap();
            let again = signature(&request).is_some_and(|value| !seen.insert(value.to_vec()));
            let (stock, ours) = (recorded(case), servers.play(&environment, &request, case).await);
            let known = KNOWN.iter().any(|(_, of, names)| *of == area && names.contains(&name));
            match (ours == stock, known) {
                (false, false)
                    if again && ours.1.as_deref() == Some("server.serverproxy.invalid_message") =>
                {
                    tally.not_applicable("refused since an earlier case has the same signature");
                }
                (false, false) if case["must_differ"].is_null() => {
                    tally.fail(name, format_args!("{ours:?} instead of {stock:?}"));
                }
                (true, true) => tally.fail(name, "answered as stock servers do, against what this test says"),
                _ => tally.pass(),
            }
        }
        tally.finish();
    }
}

/// The signature value in a message to 5500.
fn signature(request: &[u8]) -> Option<&[u8]> {
    const TAG: &[u8] = b"<ds:SignatureValue";
    let start = request.windows(TAG.len()).position(|window| window == TAG)?;
    request.get(start..start + 150)
}

/// Cases that are not played.
fn not_applicable(area: &str, name: &str) -> Option<&'static str> {
    const TLS_SERVICES: [&str; 5] =
        ["svc-tls-ok", "svc-tls-bad", "svc-tls-any", "svc-istls-clientcert", "svc-istls-nocert"];
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    match area {
        "1-consumer-rest" | "2-consumer-soap" if begins(&["be-"]) => Some("of what a service answers"),
        "2-consumer-soap" if begins(&["mp-"]) => Some("of attachments"),
        "5-provider-port"
            if begins(&["ok-soap-att-", "h-soap-oct-", "ref-count-29", "ref-count-31", "cover-att-not"]) =>
        {
            Some("of attachments")
        }
        _ if begins(&["meta-", "xxe-listmethods"]) => Some("of metadata services"),
        _ if ["slow", "stall", "idle"].iter().any(|word| name.contains(word)) => Some("of pace"),
        _ if TLS_SERVICES.contains(&name) => Some("of services with TLS"),
        _ if ["svc-own-server", "https-plain-on-8443"].contains(&name) => {
            Some("of ports that this test does not have")
        }
        _ => None,
    }
}

/// Where ours answers otherwise on purpose: why, the area, the cases. Rows are those of wire dossier §22.
const KNOWN: &[(&str, &str, &[&str])] = &[
    (
        "rows 3 and 4: paths are matched segment by segment as they were signed; dot segments are refused, dots in names are not",
        "1-consumer-rest",
        &["path-dot-end", "path-dots3", "path-space-enc", "path-brackets-enc"],
    ),
    ("row 19: TRACE is refused", "1-consumer-rest", &["body-trace"]),
    (
        "a URL of another scheme is unusable, not a failure to connect",
        "1-consumer-rest",
        &["svc-backend-ftp"],
    ),
    (
        "strict HTTP: versions in capitals, lines in CRLF, no chunked coding in HTTP/1.0",
        "1-consumer-rest",
        &["httplower", "hdr-lf", "fr-te-http10", "fr-ch-lf"],
    ),
    (
        "what is wrong with a content type is the client's to hear",
        "2-consumer-soap",
        &["ct-empty", "ct-cs-unknown", "ct-cs-empty"],
    ),
    ("any bytes can be logged", "2-consumer-soap", &["enc-utf16-asutf8"]),
    (
        "rows 3 and 4, as above",
        "3-access-rights",
        &[
            "path-20-_pets_3Fx_1",
            "path-21-_pets_23x",
            "path-23-_pets_",
            "path-26-_pets_x_1",
            "path-29-_pets_x_2f_2f1",
            "path-49-_public_a_b",
            "path-72-_sp_20ace",
            "path-81-_q_3Fx_1",
            "direct-03-_pets",
            "direct-16-_pets_00",
            "direct-17-_pets_0d_0aX_Inj_201",
            "direct-19-_pets_09",
            "direct-30-_public_00_admin",
            "direct-35-_2Fh_pets",
        ],
    ),
    (
        "row 1: no DOCTYPE and no entity in any XML",
        "5-provider-port",
        &["xml-doctype", "xml-xxe-dtd", "xml-xxe-used", "xml-bomb", "chain-xxe", "xxe-dtd-empty"],
    ),
    (
        "row 2: exactly the references there have to be, in a document of one form",
        "5-provider-port",
        &[
            "wrap-junk-first",
            "wrap-other-first",
            "ids-dup-props",
            "ref-msg-twice-wrong",
            "ref-uri-empty",
            "ref-extra-sig-object",
            "ref-count-40-same",
            "chain-both",
            "ok-scert-other",
        ],
    ),
    ("row 4", "5-provider-port", &["head-path-pctspace"]),
    (
        "row 5: no SHA-1, no MD5",
        "5-provider-port",
        &["h-hash-sha1", "h-hash-md5", "ref-digest-md5", "weakchain-sha1"],
    ),
    ("row 6: no transforms", "5-provider-port", &["tr-base64", "tr-enveloped", "tr-xslt", "tr-xpath"]),
    ("row 8: no OCSP answer from the future", "5-provider-port", &["ocsp-tls-future"]),
    ("row 11: ids are checked before the call", "5-provider-port", &["head-id-empty"]),
    (
        "row 14: header lines of one form",
        "5-provider-port",
        &["head-lf", "head-cr-inject", "head-hdr-ctl", "head-hdr-name-space", "head-hdr-emptyname"],
    ),
    ("row 21: no step twice", "5-provider-port", &["chain-loop"]),
    (
        "trap 56: a message that is not complete is not one",
        "5-provider-port",
        &["mime-nofinal", "mime-trunc-sig", "mime-noct"],
    ),
    (
        "the peer has proved who it is: any target will do, and Host may be left out",
        "5-provider-port",
        &["p-dotdot", "p-abs", "v-nohost"],
    ),
    ("strict HTTP, as above", "5-provider-port", &["v-http10-chunked"]),
    ("any bytes can be logged", "5-provider-port", &["soap-utf16"]),
];
