//! The two stock servers of the recordings: their keys, clients and services, as their environment folder has them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pki::cert::Certificate;
use pki::key::PrivateKey;
use proto::id::{ClientId, GlobalGroupId, MemberId, ServerId, Subject};
use security_server::serverconf::event::{Endpoint, Event, ServiceSettings};
use security_server::serverconf::state::State;
use security_server::serverconf::{ConnectionType, ServiceKind};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::backend::read_message;
use super::client::unchunk;
use super::pki::Pair;
use super::subsystem;

/// Head and body.
pub type Sent = (String, Vec<u8>);

/// What the service is to answer, and what it was sent.
#[derive(Clone)]
pub struct Service {
    pub address: SocketAddr,
    pub answer: Arc<Mutex<Option<Vec<u8>>>>,
    pub seen: Arc<Mutex<Option<Sent>>>,
}

impl Service {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service =
            Self { address: listener.local_addr().unwrap(), answer: Arc::default(), seen: Arc::default() };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let service = serving.clone();
                tokio::spawn(async move {
                    let Some(request) = read_message(&mut socket).await else { return };
                    *service.seen.lock().unwrap() = Some(request);
                    let answer = service.answer.lock().unwrap().clone();
                    // One that was recorded without an answer gave none in time.
                    let Some(answer) = answer else {
                        return tokio::time::sleep(Duration::from_secs(30)).await;
                    };
                    let _ = socket.write_all(&answer).await;
                });
            }
        });
        service
    }
}

pub fn member(class: &str, code: &str) -> MemberId {
    MemberId { instance: "PEER".into(), class: class.into(), code: code.into() }
}

pub fn pair(env: &Path, name: &str) -> Pair {
    let read = |suffix: &str| std::fs::read(env.join("pki").join(format!("{name}{suffix}"))).unwrap();
    Pair {
        key: PrivateKey::from_pem(&read(".key.pem")).unwrap(),
        cert: Certificate::parse(&read(".der")).unwrap(),
    }
}

pub fn consumer_state(env: &Path) -> State {
    let owner = member("COM", "1111");
    let client = |code: &str| subsystem(owner.clone(), code);
    let is_cert = std::fs::read(env.join("pki/is.der")).unwrap();
    State::replay([
        Event::ServerNamed { id: ServerId { owner: owner.clone(), code: "SS1".into() } },
        Event::ClientAdded { client: client("CONSUMER"), connection: ConnectionType::Http },
        Event::ClientAdded { client: client("CONSUMER2"), connection: ConnectionType::Http },
        Event::ClientAdded { client: client("TLSONLY"), connection: ConnectionType::HttpsNoAuth },
        Event::ClientAdded { client: client("TLSAUTH"), connection: ConnectionType::HttpsAuth },
        Event::TlsCertAdded { client: client("TLSAUTH"), der: is_cert },
    ])
    .unwrap()
}

/// The services as recorded, at our service's address.
pub fn provider_state(env: &Path, service: SocketAddr) -> State {
    let owner = member("GOV", "2222");
    let client = subsystem(owner.clone(), "PROVIDER");
    let mut events = vec![
        Event::ServerNamed { id: ServerId { owner, code: "SS2".into() } },
        Event::ClientAdded { client: client.clone(), connection: ConnectionType::Http },
    ];
    let list: Value = serde_json::from_slice(&std::fs::read(env.join("ss2-services.json")).unwrap()).unwrap();
    for found in list.as_array().unwrap() {
        let text = |name: &str| found[name].as_str().map(str::to_owned);
        let (code, version) = (text("servicecode").unwrap(), text("serviceversion"));
        let url = text("url").unwrap().replace("127.0.0.1:9090", &service.to_string());
        let timeout_seconds = found["timeout"].as_u64().unwrap().try_into().unwrap();
        add(
            &mut events,
            &client,
            &code,
            version,
            ServiceSettings { url, timeout_seconds, verify_tls: false, title: None },
        );
    }
    State::replay(events).unwrap()
}

pub fn add(
    events: &mut Vec<Event>,
    client: &ClientId,
    code: &str,
    version: Option<String>,
    settings: ServiceSettings,
) {
    let kind = match (code, &version) {
        ("petstore", _) => ServiceKind::OpenApi3,
        (_, Some(_)) => ServiceKind::Wsdl,
        (_, None) => ServiceKind::Rest,
    };
    let (client, code) = (client.clone(), code.to_owned());
    let disabled = (code == "disabledsvc").then(|| "down for maintenance".to_owned());
    // Where descriptions are asked for, they are beside the services.
    let base = settings.url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let url = match code.as_str() {
        "petstore" => format!("{base}/files/openapi.yaml"),
        "testQuery" => format!("{base}/files/service.wsdl"),
        _ => format!("d:{code}"),
    };
    events.push(Event::DescriptionAdded { client: client.clone(), url: url.clone(), kind, disabled: None });
    events.push(Event::ServiceAdded {
        client: client.clone(),
        description: url.clone(),
        code: code.clone(),
        version,
        settings,
    });
    if disabled.is_some() {
        events.push(Event::DescriptionSwitched { client: client.clone(), url, disabled });
    }
    let described = [("GET", "/hello"), ("POST", "/echo")];
    for (method, path) in described.into_iter().filter(|_| code == "petstore") {
        let endpoint = Endpoint { method: method.into(), path: path.into() };
        events.push(Event::EndpointAdded {
            client: client.clone(),
            code: code.clone(),
            endpoint,
            generated: false,
        });
    }
    let subject = match code.as_str() {
        "noaccess" | "noaccessQuery" => return,
        "groupsvc" => {
            Subject::GlobalGroup(GlobalGroupId { instance: "PEER".into(), code: "consumers".into() })
        }
        _ => Subject::Client(subsystem(member("COM", "1111"), "CONSUMER")),
    };
    events.push(Event::RightGranted { client, code, endpoint: Endpoint::service_level(), subject });
}

/// A recorded HTTP message: head as text, body without its framing.
pub fn recorded(path: PathBuf) -> Option<Sent> {
    let bytes = std::fs::read(path).ok()?;
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head: String = bytes[..end].iter().copied().map(char::from).collect();
    let body = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => unchunk(&bytes[end..]),
        false => bytes[end..].to_vec(),
    };
    Some((head, body))
}
