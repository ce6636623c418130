//! The proxy test suite of the stock servers, SOAP: each of its cases sent through two servers of ours.
//!
//! A case is a request, what the service (or a made-up provider's server) answers, and what the information system gets. What a case
//! sets up besides stands in words in `expected.json` and in [`Case::set_up`] here. TLS of their own does not apply.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use host::clock::Clock;
use pki::globalconf::{Builder, GlobalConf, Instance};
use proto::globalconf::shared_parameters::SharedParameters;
use proto::id::{ClientId, MemberId, ServerId, Subject};
use proto::soap::{Soap, SoapHeader};
use security_server::ocsp_port;
use security_server::serverconf::event::{Endpoint, Event, ServiceSettings};
use security_server::serverconf::state::State;
use security_server::serverconf::{ConnectionType, ServerConf, ServiceKind};
use serde_json::Value;
use support::backend::read_message;
use support::client::{Reply, ask, ask_tls};
use support::peer::{RESET, Transport, fault};
use support::pki::{NOW, Pair, Pki};
use support::{Options, Parts, Server, World, signer};
use testkit::vectors::{self, Tally};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// What a listener answers, whatever it is sent; nothing is a close.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Vec<u8>>>);

impl Script {
    fn set(&self, status: &str, content_type: &str, body: &[u8]) {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nx-hash-algorithm: SHA-512\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        self.raw([head.as_bytes(), body].concat());
    }
    fn raw(&self, answer: Vec<u8>) {
        *self.0.lock().unwrap() = answer;
    }
    fn get(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

struct Suite {
    folder: std::path::PathBuf,
    consumer: Server,
    provider: Server,
    /// A server of the consumer that is sent to a made-up provider's server.
    misled: Server,
    service: std::net::SocketAddr,
    service_says: Script,
    provider_says: Script,
    is_pair: Pair,
    /// The configuration, and the same without an address of the provider's server.
    known: Arc<Option<Arc<GlobalConf>>>,
    addressless: Arc<Option<Arc<GlobalConf>>>,
}

fn member(code: &str) -> MemberId {
    MemberId { instance: "EE".into(), class: "BUSINESS".into(), code: code.into() }
}

impl Suite {
    async fn start(folder: &Path, headers: &[SoapHeader]) -> Self {
        let (pki, clock, options) = (Pki::new("Suite CA"), Clock::fixed(NOW), Options::default());
        let (auth1, auth2) = (pki.auth("ss1"), pki.auth("ss2"));
        let conf = |address| Arc::new(Some(Arc::new(conf(&pki, headers, &auth1, &auth2, address))));
        let (known, addressless) = (conf(Some("127.0.0.1".to_owned())), conf(None));
        let globalconf = Arc::new(ArcSwap::new(known.clone()));
        let is_pair = pki.tls("IS");
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (messages, ocsp, made_up) =
            (listen().await.unwrap(), listen().await.unwrap(), listen().await.unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let real = Parts {
            clock: &clock,
            globalconf: &globalconf,
            options: &options,
            ports: (port(&messages), port(&ocsp)),
        };
        let misleading = Parts { ports: (port(&made_up), port(&ocsp)), ..real };

        let (sign1, sign2) = (pki.signing(&member("consumer")), pki.signing(&member("producer")));
        let named = |code: &str, owner: &str| {
            State::replay([Event::ServerNamed { id: ServerId { owner: member(owner), code: code.into() } }])
                .unwrap()
        };
        let provider = real
            .start(
                signer(&pki, &member("producer"), &sign2, &auth2),
                &named("SS2", "producer"),
                messages,
                pki.tls("ss2"),
            )
            .await;
        tokio::spawn(ocsp_port::serve(
            ocsp,
            provider.signer.clone(),
            provider.cx.settings.limits.ocsp_port,
            provider.cx.shutdown.clone(),
        ));
        let one = signer(&pki, &member("consumer"), &sign1, &auth1);
        let consumer =
            real.start(one, &named("SS1", "consumer"), listen().await.unwrap(), pki.tls("ss1")).await;
        let two = signer(&pki, &member("consumer"), &sign1, &auth1);
        let misled =
            misleading.start(two, &named("SS1", "consumer"), listen().await.unwrap(), pki.tls("ss1")).await;

        let (service_says, provider_says) = (Script::default(), Script::default());
        let service = listen().await.unwrap();
        let address = service.local_addr().unwrap();
        serve(service, service_says.clone());
        play(made_up, &provider, provider_says.clone());
        Self {
            folder: folder.to_owned(),
            consumer,
            provider,
            misled,
            service: address,
            service_says,
            provider_says,
            is_pair,
            known,
            addressless,
        }
    }
}

/// The service.
fn serve(listener: TcpListener, script: Script) {
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            if read_message(&mut socket).await.is_some() {
                let _ = socket.write_all(&script.get()).await;
            }
        }
    });
}

/// The made-up provider's server.
fn play(listener: TcpListener, provider: &Server, script: Script) {
    support::peer::play_provider(listener, provider.peer_tls.clone(), move |_| {
        let answer = script.get();
        async move { answer }
    });
}

/// Everybody who occurs in the requests is a client, at the server of its member.
fn conf(
    pki: &Pki,
    headers: &[SoapHeader],
    auth1: &Pair,
    auth2: &Pair,
    address: Option<String>,
) -> GlobalConf {
    let mut parameters: SharedParameters = support::parameters(pki, &auth1.cert, &auth2.cert);
    parameters.instance = "EE".into();
    parameters.member_classes = vec![("BUSINESS".into(), String::new())];
    let all: BTreeSet<ClientId> =
        headers.iter().flat_map(|h| [h.client.clone(), h.service.client.clone()]).collect();
    for (index, code) in ["consumer", "producer"].into_iter().enumerate() {
        let clients: Vec<ClientId> =
            all.iter().filter(|c| c.member == member(code) && c.subsystem.is_some()).cloned().collect();
        let subsystems = clients.iter().filter_map(|c| Some((c.subsystem.clone()?, None))).collect();
        parameters.members[index].id = member(code);
        parameters.members[index].subsystems = subsystems;
        parameters.servers[index].id = ServerId { owner: member(code), code: format!("SS{}", index + 1) };
        parameters.servers[index].clients = clients;
    }
    parameters.members.truncate(2);
    parameters.servers[1].address = address;
    let instance = Arc::new(Instance::new(parameters, 6).unwrap());
    Builder::new("EE").instance(instance, Some(NOW.plus(Duration::from_secs(600)))).build().unwrap()
}

/// One case of `expected.json`.
struct Case<'a>(&'a Value);

impl Case<'_> {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }
    /// Why it says nothing about us.
    fn not_applicable(&self) -> Option<&'static str> {
        match self.text("name") {
            "AttachmentBig" => Some("of size, run in memory.rs with fewer bytes"),
            "NoSignatureToServerProxy" | "UnsignedMessageFromClientProxy" => {
                Some("between servers without TLS")
            }
            "SslAuthCertNotMatchesOrg"
            | "SslAuthTrustManagerError"
            | "SslClientCertVerificationError"
            | "SslClientCipherSuiteSetupError"
            | "SslSelectFastestProxy"
            | "SslToServiceAuth"
            | "SslToServiceNoAuth"
            | "SslToServiceNoISCerts"
            | "SslClientAuthExpiredISCert" => Some("of certificates, which other tests have"),
            _ => None,
        }
    }

    /// Clients, service and rights as the case wants them.
    fn set_up(&self, suite: &Suite, header: Option<&SoapHeader>) {
        let name = self.text("name");
        let conf = if name == "InvalidProviderAddress3" { &suite.addressless } else { &suite.known };
        suite.consumer.cx.globalconf.store(conf.clone());
        let Some(header) = header else { return };
        let mut consumer =
            vec![Event::ServerNamed { id: ServerId { owner: member("consumer"), code: "SS1".into() } }];
        let connection =
            if name.starts_with("SslClientAuth") { ConnectionType::HttpsAuth } else { ConnectionType::Http };
        if header.client.subsystem.is_some() && name != "MissingOrg" {
            consumer.push(Event::ClientAdded { client: header.client.clone(), connection });
        } else {
            consumer.push(Event::ConnectionSet {
                client: ClientId { member: member("consumer"), subsystem: None },
                connection,
            });
        }
        if name == "SslClientAuth" {
            consumer.push(Event::TlsCertAdded {
                client: header.client.clone(),
                der: suite.is_pair.cert.der().to_vec(),
            });
        }
        let consumer = State::replay(consumer).unwrap();
        [&suite.consumer, &suite.misled].iter().for_each(|server| store(server, &consumer));
        store(&suite.provider, &self.provider_state(suite, header));
    }

    fn provider_state(&self, suite: &Suite, header: &SoapHeader) -> State {
        let (name, service) = (self.text("name"), &header.service);
        let mut events =
            vec![Event::ServerNamed { id: ServerId { owner: member("producer"), code: "SS2".into() } }];
        let client = service.client.clone();
        if client.subsystem.is_some() {
            events.push(Event::ClientAdded { client: client.clone(), connection: ConnectionType::Http });
        }
        if name == "UnknownService" {
            return State::replay(events).unwrap();
        }
        let url = match name {
            "InvalidServiceAddress" => "http://non.existing.site.invalid/service".to_owned(),
            _ => format!("http://{}/service", suite.service),
        };
        let settings = ServiceSettings { url, timeout_seconds: 10, verify_tls: false, title: None };
        let (code, version, description) = (service.code.clone(), service.version.clone(), "d".to_owned());
        events.push(Event::DescriptionAdded {
            client: client.clone(),
            url: description.clone(),
            kind: ServiceKind::Wsdl,
            disabled: None,
        });
        events.push(Event::ServiceAdded {
            client: client.clone(),
            description: description.clone(),
            code: code.clone(),
            version,
            settings,
        });
        if name != "NotAllowed" {
            let subject = Subject::Client(header.client.clone());
            events.push(Event::RightGranted {
                client: client.clone(),
                code,
                endpoint: Endpoint::service_level(),
                subject,
            });
        }
        if name == "ServiceDisabled" {
            let disabled = Some("Service is disabled".to_owned());
            events.push(Event::DescriptionSwitched { client, url: description, disabled });
        }
        State::replay(events).unwrap()
    }

    /// What the service, or the made-up server, answers.
    fn script(&self, suite: &Suite, id: &str) {
        let body = match self.text("answer") {
            "" => Vec::new(),
            file => with_id(std::fs::read(suite.folder.join(file)).unwrap(), id, self.0["bom"] == true),
        };
        let content_type = self.text("answer_content_type");
        suite.service_says.set("200 OK", content_type, &body);
        suite.provider_says.set("200 OK", content_type, &body);
        match self.text("name") {
            "ServiceHttpError" => suite.service_says.set("502 Bad", "text/html", b""),
            "ServiceConnectionAborted" => {
                suite.service_says.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec())
            }
            "ServerProxyHttpError" => suite.provider_says.set("502 Bad", "text/html", b""),
            "ServerProxyConnectionAborted" => suite.provider_says.raw(RESET.to_vec()),
            "ServerProxyConnectionAborted2" => {
                suite.provider_says.raw(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n".to_vec(),
                );
            }
            _ => {}
        }
    }

    async fn send(&self, suite: &Suite, request: &[u8]) -> Reply {
        let method = if self.text("http_method").is_empty() { "POST" } else { self.text("http_method") };
        let action = match self.text("name") {
            "SoapActionHeader" => "SOAPAction: \"\"\r\n",
            "SoapActionEmptyHeader" => "SOAPAction:\r\n",
            _ => "",
        };
        let head = format!(
            "{method} / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: {}\r\n{action}Content-Length: {}\r\n\r\n",
            self.text("request_content_type"),
            request.len()
        );
        let message = [head.as_bytes(), request].concat();
        let made_up =
            self.0.get("answer_from").is_some() || self.text("name") == "ServerProxyConnectionAborted";
        match self.text("name") {
            "SslClientAuth" | "SslClientAuthNoISCert" => {
                ask_tls(suite.consumer.https, Some(&suite.is_pair), &message).await
            }
            _ if made_up => ask(suite.misled.http, &message).await,
            _ => ask(suite.consumer.http, &message).await,
        }
    }

    async fn run(&self, suite: &Suite) -> Result<(), String> {
        let file = self.text("request");
        let id = uuid::Uuid::new_v4().to_string();
        let request = match self.text("name") {
            "EmptyQuery" => Vec::new(),
            _ => with_id(std::fs::read(suite.folder.join(file)).unwrap(), &id, self.0["bom"] == true),
        };
        self.set_up(suite, header(&request).as_ref());
        self.script(suite, &id);
        suite
            .consumer
            .signer
            .logged_out
            .store(self.text("name") == "SigningFailsInClientProxy", Ordering::Relaxed);
        let code = if self.text("to") == "server proxy" {
            fault(&self.send_to_provider(suite, &request).await).map(|(code, ..)| code)
        } else {
            let reply = self.send(suite, &request).await;
            if reply.status != 200 {
                return Err(format!("HTTP {}: {}", reply.status, reply.text()));
            }
            reply.fault().map(|(code, ..)| code)
        };
        let expected = (self.0["expect"]["verdict"] == "reject")
            .then(|| self.0["expect"]["code"].as_str().unwrap_or_default());
        if code.as_deref() == expected { Ok(()) } else { Err(format!("{code:?} instead of {expected:?}")) }
    }

    async fn send_to_provider(&self, suite: &Suite, request: &[u8]) -> Reply {
        let content_type = self.text("request_content_type").to_owned();
        let headers = [("Content-Type", content_type.as_str()), ("x-hash-algorithm", "SHA-512")];
        let transport = Transport {
            method: "POST".into(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            parts: Vec::new(),
            closing: String::from_utf8(request.to_vec()).unwrap(),
        };
        transport.send(&suite.consumer.peer_tls, suite.provider.messages).await
    }
}

fn store(server: &Server, state: &State) {
    let conf = server.cx.globalconf.load_full();
    let built = ServerConf::build(state, conf.as_ref().as_ref().map(Arc::as_ref)).unwrap();
    server.cx.serverconf.store(Arc::new(built));
}

/// Of the envelope, which may stand between delimiters.
fn header(request: &[u8]) -> Option<SoapHeader> {
    let find = |what: &[u8]| request.windows(what.len()).position(|w| w == what);
    let part = request.starts_with(b"--").then(|| {
        let (start, end) = (find(b"<?xml")?, find(b":Envelope>")? + b":Envelope>".len());
        request.get(start..end)
    });
    let envelope = part.flatten().unwrap_or(request);
    match proto::soap::parse(Bytes::copy_from_slice(envelope), "text/xml") {
        Ok(Soap::Message(message)) => Some(message.header.clone()),
        _ => None,
    }
}

/// As the suite does: the content of the first element `id` is replaced.
fn with_id(mut message: Vec<u8>, id: &str, bom: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(&message).into_owned();
    let open = text.match_indices(":id>").find(|(at, _)| {
        text[..*at]
            .rfind('<')
            .is_some_and(|lt| !text[lt + 1..*at].starts_with('/') && !text[lt + 1..*at].contains('>'))
    });
    if let Some((at, _)) = open
        && let Some(length) = text[at + 4..].find("</")
    {
        message = format!("{}{id}{}", &text[..at + 4], &text[at + 4 + length..]).into_bytes();
    }
    if bom && !message.starts_with(b"\xef\xbb\xbf") {
        message.splice(0..0, *b"\xef\xbb\xbf");
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_suite_ends_as_it_does_there() {
    let Some((folder, expected)) = vectors::area("soap") else { return };
    let cases: Vec<Case<'_>> =
        expected["cases"].as_array().unwrap().iter().filter(|c| c.get("to").is_some()).map(Case).collect();
    let requests = cases.iter().filter_map(|case| std::fs::read(folder.join(case.text("request"))).ok());
    let headers: Vec<SoapHeader> = requests.filter_map(|request| header(&request)).collect();
    let suite = Suite::start(&folder, &headers).await;
    let mut tally = Tally::new("soap (proxy suite)");
    for case in &cases {
        match case.not_applicable() {
            Some(reason) => tally.not_applicable(reason),
            None => tally.ok(case.text("name"), case.run(&suite).await),
        }
    }
    tally.finish();
}

/// The REST part of the suite, under the identifiers of our world and with its services.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_suite_ends_as_it_does_there() {
    let Some((_, expected)) = vectors::area("rest") else { return };
    let world = World::start().await;
    let mut tally = Tally::new("rest (proxy suite)");
    for case in expected["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["test"].as_str().unwrap().contains("RestProxyTest"))
    {
        let name = case["name"].as_str().unwrap();
        if name == "shouldAcceptPercentEncodedIdentifiers" {
            tally.not_applicable("about identifiers that the message decides, run in proto");
            continue;
        }
        tally.ok(name, rest_case(&world, case).await);
    }
    tally.finish();
}

/// Where a service of the suite is in our world.
fn rest_target(name: &str, path: &str) -> String {
    let path = match name {
        "shouldNotFollow302Redirects" => path.replace("/service", "/echo/redirect"),
        "shouldNotAllowPATCH" => path.replace("/service", "/endpoint/a/b"),
        _ => path.replace("/echo", "/echo/mirror").replace("/test?bytes=", "/echo/big/"),
    };
    path.replace("EE/BUSINESS/producer/sub/", "DEV/GOV/2222/PROVIDER/")
}

fn rest_request(name: &str, request: &Value, more: &[(&str, &str)]) -> Vec<u8> {
    let (verb, target) =
        (request["verb"].as_str().unwrap(), rest_target(name, request["path"].as_str().unwrap()));
    let body = request["body"].as_str().unwrap_or_default();
    let mut head = format!("{verb} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
    let own = request["headers"].as_array().unwrap().iter();
    let own = own.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    for (name, value) in own.chain(more.iter().copied()) {
        let value = if name == "X-Road-Client" { "DEV/COM/1111/CONSUMER" } else { value };
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn rest_case(world: &World, case: &Value) -> Result<(), String> {
    let (name, request, expect) = (case["name"].as_str().unwrap(), &case["request"], &case["expect"]);
    let same = |what: &str, found: Option<&str>, expected: &str| match found {
        Some(found) if found == expected => Ok(()),
        found => Err(format!("{what}: {found:?} instead of {expected:?}")),
    };
    if let Some(rows) = expect["rows"].as_array() {
        for row in rows {
            let accept: Vec<_> =
                row["Accept"].as_str().map(|accept| ("Accept", accept)).into_iter().collect();
            let reply = ask(world.consumer.http, &rest_request(name, request, &accept)).await;
            same("type", reply.header("content-type"), row["Content-Type"].as_str().unwrap())?;
        }
        return Ok(());
    }
    let times = request["repeat"].as_u64().unwrap_or(1);
    let mut hashes = BTreeSet::new();
    for _ in 0..times {
        let reply = ask(world.consumer.http, &rest_request(name, request, &[])).await;
        let seen = if reply.status == 200 { world.backend.last().head } else { String::new() };
        let status = expect["status"].as_u64().unwrap_or(200);
        same("status", Some(&reply.status.to_string()), &status.to_string())?;
        if let Some(header) = expect["header_present"].as_str() {
            hashes.insert(reply.header(header).ok_or(format!("no {header}"))?.to_owned());
        }
        for (header, value) in expect["header"].as_object().into_iter().flatten() {
            same(header, reply.header(header), value.as_str().unwrap())?;
        }
        for (header, value) in expect["service_sees_header"].as_object().into_iter().flatten() {
            let line = format!("{header}: {}", value.as_str().unwrap());
            if !seen.lines().any(|found| found.eq_ignore_ascii_case(&line)) {
                return Err(format!("the service saw no {line}"));
            }
        }
        if expect["json"].is_object() {
            let found: Value = serde_json::from_slice(&reply.body).map_err(|e| e.to_string())?;
            same("body", Some(&found.to_string()), &expect["json"].to_string())?;
        }
        if let Some(length) = expect["body_length"].as_u64() {
            same("length", Some(&reply.body.len().to_string()), &length.to_string())?;
        }
    }
    same("different answers", Some(&hashes.len().max(1).to_string()), &times.to_string())
}
