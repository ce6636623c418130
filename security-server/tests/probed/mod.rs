//! The recorded laboratory, built again: both security servers under the recorded configuration, certificates, keys and services, the
//! information system behind them (`service.rs`, `scenarios.rs`, `soap.rs`), and whoever sends the recorded bytes (`play.rs`).
//!
//! Addresses are the recorded ones, since the configuration names them; ports are free ones, and recordings are compared without
//! them. Time stands still on the evening of the recordings. Timeouts of services are shorter ([`timeout`]), pauses in step.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::pki::cert::Certificate;
use ::pki::globalconf::load_directory;
use ::pki::key::PrivateKey;
use arc_swap::ArcSwap;
use host::clock::Clock;
use proto::id::{ClientId, GlobalGroupId, MemberId, ServerId, Subject};
use proto::time::UnixTime;
use security_server::ocsp_port;
use security_server::serverconf::event::{Endpoint, Event, ServiceSettings};
use security_server::serverconf::state::State;
use security_server::serverconf::{ConnectionType, ServiceKind};
use serde_json::Value;
use tokio::net::TcpListener;

use self::service::Service;
use crate::support::pki::{Pair, Pki, copy, signing_identity};
use crate::support::{Options, Parts, Server, signer};

pub mod compare;
pub mod fake;
pub mod fake_answers;
pub mod play;
pub mod rules;
pub mod scenarios;
pub mod service;
pub mod soap;

/// The evening of the recordings.
pub const NOW: UnixTime = UnixTime::from_secs(1_795_305_600);

/// The seconds that a service has here for those it had there.
pub fn timeout(seconds: u64) -> u32 {
    u32::try_from(if seconds > 5 { seconds / 10 } else { seconds.div_ceil(3) }).unwrap()
}

/// Both servers and what is around them.
pub struct Laboratory {
    pub environment: PathBuf,
    pub pki: Pki,
    pub consumer: Server,
    pub provider: Server,
    pub service: Service,
    /// Of every security server, for messages and OCSP answers.
    pub ports: (u16, u16),
    /// The consumer's own, for information systems.
    pub internal: Pair,
}

impl Laboratory {
    /// `None` when this machine does not have the addresses that the recorded configuration names.
    pub async fn start(environment: &Path) -> Option<Self> {
        let options =
            Options { max_body_bytes: 10 << 20, idle: Duration::from_secs(1), ..Options::default() };
        Self::with(environment, &options).await
    }

    /// The same with other limits.
    pub async fn with(environment: &Path, options: &Options) -> Option<Self> {
        let of = |name: &str| pair(environment, name);
        let pki = Pki { ca: of("ca"), responder: of("ocsp"), now: NOW };
        let service = Service::start(&of("backend-tls"), &of("is-other")).await?;
        let conf = load_directory(&environment.join("globalconf")).unwrap();
        let globalconf = Arc::new(ArcSwap::from_pointee(Some(Arc::new(conf))));
        let clock = Clock::fixed(NOW);
        let ([own_messages, messages], messages_port) = everywhere([2, 3]).await?;
        let ([own_ocsp, ocsp], ocsp_port) = everywhere([2, 3]).await?;
        let ports = (messages_port, ocsp_port);
        let parts = Parts { clock: &clock, globalconf: &globalconf, options, ports };
        let list = std::fs::read(environment.join("serverconf.json")).unwrap();
        let list: Value = serde_json::from_slice(&list).unwrap();

        let keys = |server: &str, class: &str, code: &str| {
            let sign = of(&format!("{server}-sign"));
            signer(&pki, &member(class, code), &sign, &of(&format!("{server}-auth")))
        };
        let state = |server: &str| state(environment, &list[server], &service);
        let provider =
            parts.start(keys("ss2", "GOV", "2222"), &state("ss2"), messages, of("ss2-internal-tls")).await;
        tokio::spawn(ocsp_port::serve(
            ocsp,
            provider.signer.clone(),
            provider.cx.settings.limits.ocsp_port,
            provider.cx.shutdown.clone(),
        ));
        let (keys, internal) = (keys("ss1", "COM", "1111"), of("ss1-internal-tls"));
        let second = of("ss1-sign-5555");
        let good = vec![pki.good(&second.cert)];
        keys.add(signing_identity(&member("COM", "5555"), &second, good, NOW), &second.key);
        let consumer = parts.start(keys, &state("ss1"), own_messages, copy(&internal)).await;
        tokio::spawn(ocsp_port::serve(
            own_ocsp,
            consumer.signer.clone(),
            consumer.cx.settings.limits.ocsp_port,
            consumer.cx.shutdown.clone(),
        ));
        let environment = environment.to_owned();
        Some(Self { environment, pki, consumer, provider, service, ports, internal })
    }

    /// A certificate of the laboratory with its key.
    pub fn pair(&self, name: &str) -> Pair {
        pair(&self.environment, name)
    }
}

/// One free port at 127.0.1.x for each `x`, since the configuration names hosts alone; `None` when there is no such address.
pub async fn everywhere<const N: usize>(hosts: [u8; N]) -> Option<([TcpListener; N], u16)> {
    'ports: loop {
        let mut listeners = Vec::new();
        let mut port = 0_u16;
        for host in hosts {
            match TcpListener::bind(std::net::SocketAddr::from(([127, 0, 1, host], port))).await {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => continue 'ports,
                Err(_) => return None,
            }
            port = listeners[0].local_addr().unwrap().port();
        }
        return Some((listeners.try_into().unwrap(), port));
    }
}

/// A member of the recorded instance.
pub fn member(class: &str, code: &str) -> MemberId {
    MemberId { instance: "PRB".into(), class: class.into(), code: code.into() }
}

/// A certificate of the laboratory with its key.
pub fn pair(environment: &Path, name: &str) -> Pair {
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
fn state(environment: &Path, list: &Value, service: &Service) -> State {
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
    for found in &each("serviceDescriptions") {
        describe(&mut events, found, service);
    }
    for found in &each("accessRights") {
        grant(&mut events, found);
    }
    State::replay(events).unwrap()
}

fn describe(events: &mut Vec<Event>, found: &Value, service: &Service) {
    let id = client(found["client"].as_str().unwrap());
    let kind = match found["type"].as_str() {
        Some("WSDL") => ServiceKind::Wsdl,
        Some("OPENAPI3") => ServiceKind::OpenApi3,
        _ => ServiceKind::Rest,
    };
    let here = |url: &str| {
        let places = service::RECORDED.iter().zip(service.addresses);
        places.fold(url.to_owned(), |url, (recorded, here)| url.replace(recorded, &here.to_string()))
    };
    let url = here(found["url"].as_str().unwrap());
    let disabled =
        (found["disabled"] == true).then(|| found["notice"].as_str().unwrap_or_default().to_owned());
    events.push(Event::DescriptionAdded { client: id.clone(), url: url.clone(), kind, disabled });
    for one in found["services"].as_array().unwrap() {
        let timeout_seconds = timeout(one["timeout"].as_u64().unwrap());
        let (to, verify_tls) = (here(one["url"].as_str().unwrap_or_default()), one["verifyTls"] == true);
        events.push(Event::ServiceAdded {
            client: id.clone(),
            description: url.clone(),
            code: one["code"].as_str().unwrap().into(),
            version: one["version"].as_str().map(str::to_owned),
            settings: ServiceSettings { url: to, timeout_seconds, verify_tls, title: None },
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
            generated: false,
        });
    }
    events.push(Event::RightGranted { client: owner, code, endpoint, subject });
}
