//! An exchange between members of two federated instances, each with its own CA; and what becomes of it when the federation ends.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ::pki::cert::Certificate;
use ::pki::globalconf::{Builder, GlobalConf, Instance};
use arc_swap::ArcSwap;
use host::clock::Clock;
use proto::globalconf::shared_parameters::{Member, SecurityServer, SharedParameters};
use proto::id::{ClientId, MemberId, ServerId, Subject};
use security_server::ocsp_port;
use security_server::serverconf::event::{Endpoint, Event, ServiceSettings};
use security_server::serverconf::state::State;
use security_server::serverconf::{ConnectionType, ServiceKind};
use support::backend::Backend;
use support::client::{Reply, ask};
use support::pki::{NOW, Pki};
use support::{Options, Parts, consumer_member, parameters, signer, subsystem};
use tokio::net::TcpListener;

fn fed() -> MemberId {
    MemberId { instance: "FED".into(), class: "GOV".into(), code: "9".into() }
}

fn fed_server() -> ServerId {
    ServerId { owner: fed(), code: "S9".into() }
}

fn service() -> ClientId {
    subsystem(fed(), "SVC")
}

fn consumer() -> ClientId {
    subsystem(consumer_member(), "CONSUMER")
}

/// The shared parameters of the other instance, which has a CA of its own.
fn fed_parameters(pki: &Pki, auth: &Certificate) -> SharedParameters {
    SharedParameters {
        instance: "FED".into(),
        members: vec![Member {
            class_description: String::new(),
            name: "Nine".into(),
            subsystems: vec![("SVC".into(), None)],
            id: fed(),
        }],
        servers: vec![SecurityServer {
            id: fed_server(),
            address: Some("127.0.0.1".into()),
            auth_cert_hashes: vec![auth.sha256().to_vec()],
            clients: vec![service()],
            maintenance: None,
        }],
        ..parameters(pki, auth, auth)
    }
}

/// What a server of the first instance knows.
fn conf(instances: &[&Arc<Instance>]) -> Option<Arc<GlobalConf>> {
    let mut builder = Builder::new(instances[0].name());
    for instance in instances {
        builder = builder.instance(Arc::clone(instance), Some(NOW.plus(Duration::from_secs(600))));
    }
    Some(Arc::new(builder.build().unwrap()))
}

fn provider_state(backend: &Backend) -> State {
    let (client, description, code) = (service(), "d".to_owned(), "echo".to_owned());
    let url = format!("http://{}/rest", backend.address);
    State::replay([
        Event::ServerNamed { id: fed_server() },
        Event::ClientAdded { client: client.clone(), connection: ConnectionType::Http },
        Event::DescriptionAdded {
            client: client.clone(),
            url: description.clone(),
            kind: ServiceKind::Rest,
            disabled: None,
        },
        Event::ServiceAdded {
            client: client.clone(),
            description,
            code: code.clone(),
            version: None,
            settings: ServiceSettings { url, timeout_seconds: 5, verify_tls: false, title: None },
        },
        Event::RightGranted {
            client,
            code,
            endpoint: Endpoint::service_level(),
            subject: Subject::Client(consumer()),
        },
    ])
    .unwrap()
}

fn consumer_state() -> State {
    let id = ServerId { owner: consumer_member(), code: "SS1".into() };
    State::replay([
        Event::ServerNamed { id },
        Event::ClientAdded { client: consumer(), connection: ConnectionType::Http },
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_federated_instances_exchange_messages() {
    let (dev_pki, fed_pki) = (Pki::new("CA of DEV"), Pki::new("CA of FED"));
    let (dev_auth, fed_auth) = (dev_pki.auth("ss1"), fed_pki.auth("s9"));
    let instance = |parameters| Arc::new(Instance::new(parameters, 6).unwrap());
    let dev = instance(parameters(&dev_pki, &dev_auth.cert, &dev_auth.cert));
    let fed_instance = instance(fed_parameters(&fed_pki, &fed_auth.cert));
    let at_consumer = Arc::new(ArcSwap::from_pointee(conf(&[&dev, &fed_instance])));
    let at_provider = Arc::new(ArcSwap::from_pointee(conf(&[&fed_instance, &dev])));

    let (clock, options, backend) = (Clock::fixed(NOW), Options::default(), Backend::start().await);
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (messages, ocsp) = (listen().await, listen().await);
    let ports = (messages.local_addr().unwrap().port(), ocsp.local_addr().unwrap().port());
    let keys = signer(&fed_pki, &fed(), &fed_pki.signing(&fed()), &fed_auth);
    let parts = Parts { clock: &clock, globalconf: &at_provider, options: &options, ports };
    let provider = parts.start(keys, &provider_state(&backend), messages, fed_pki.tls("s9 internal")).await;
    tokio::spawn(ocsp_port::serve(
        ocsp,
        provider.signer.clone(),
        provider.cx.settings.limits.ocsp_port,
        provider.cx.shutdown.clone(),
    ));
    let keys = signer(&dev_pki, &consumer_member(), &dev_pki.signing(&consumer_member()), &dev_auth);
    let parts = Parts { clock: &clock, globalconf: &at_consumer, options: &options, ports };
    let server = parts.start(keys, &consumer_state(), listen().await, dev_pki.tls("ss1 internal")).await;

    let get = async |path: &str| -> Reply {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Road-Client: DEV/COM/1111/CONSUMER\r\n\r\n"
        );
        ask(server.http, request.as_bytes()).await
    };
    const CALL: &str = "/r1/FED/GOV/9/SVC/echo/x";
    let reply = get(CALL).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "/rest/x"), "{}", reply.head);
    assert_eq!(reply.header("x-road-service"), Some("FED/GOV/9/SVC/echo"));
    let listed = get("/listClients?xRoadInstance=FED").await;
    assert!(listed.text().contains("<id:subsystemCode>SVC</id:subsystemCode>"), "{}", listed.text());

    // The provider's side no longer knows the consumer's instance, so no server of it may speak.
    at_provider.store(Arc::new(conf(&[&fed_instance])));
    let refused = get(CALL).await;
    assert!(refused.status >= 400 && refused.fault().is_some(), "{}{}", refused.head, refused.text());
    // Nor does the consumer's side know the provider's.
    at_consumer.store(Arc::new(conf(&[&dev])));
    let unknown = get(CALL).await;
    assert_eq!(
        unknown.header("x-road-error"),
        Some("server.clientproxy.internal_error"),
        "{}",
        unknown.text()
    );
    let unlisted = get("/listClients?xRoadInstance=FED").await;
    assert_eq!(unlisted.fault().unwrap().0, "server.clientproxy.internal_error");
    assert_eq!(backend.calls(), 1);

    at_provider.store(Arc::new(conf(&[&fed_instance, &dev])));
    at_consumer.store(Arc::new(conf(&[&dev, &fed_instance])));
    assert_eq!(get(CALL).await.status, 200, "and together again");
}
