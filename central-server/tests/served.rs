//! A central server as a whole: set up offline, run, asked over HTTP and HTTPS, followed by a security server's configuration client,
//! stopped and started again.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use central_server::config::Settings;
use central_server::offline::Offline;
use central_server::registry::{Command, SourceKind};
use host::clock::Clock;
use host::http::Client;
use host::shutdown::Shutdown;
use pki::key::KeyKind;
use proto::globalconf::anchor::Anchor;
use proto::id::MemberId;
use security_server::config::{ConfigurationSettings, Federations};
use security_server::configuration_client::ConfigurationClient;
use serde_json::Value;

const PIN: &str = "Secret1234";

fn set_up(dir: &Path) {
    let member = MemberId::new("XX", "GOV", "1");
    let offline = Offline::open(dir, Clock::System).unwrap();
    let commands = vec![
        Command::Initialise { instance: "XX".into(), address: "127.0.0.1".into() },
        Command::AddMemberClass { code: "GOV".into(), description: "Government".into() },
        Command::AddMember { id: member.clone(), name: "One".into() },
        Command::AddSubsystem { id: member.clone().subsystem("mgmt"), name: None },
        Command::SetManagementProvider { provider: member.subsystem("mgmt") },
    ];
    offline.execute_all("setup", commands).unwrap();
    offline.ensure_signing_keys("setup", PIN, KeyKind::P256).unwrap();
}

fn settings(dir: &Path) -> Settings {
    let any = "127.0.0.1:0";
    let text = format!(
        "data-dir = '{}'\nhealth-check-listen = '{any}'\n[center]\nhttp-listen = '{any}'\nhttps-listen = '{any}'\n\
         [management-api]\nlisten = '{any}'\n\
         [management-service]\nregistration-listen = '{any}'\nmanagement-listen = '{any}'\n",
        dir.display()
    );
    host::settings::parse::<central_server::config::File>(&text, "test").unwrap().resolve().unwrap()
}

/// A running server.
struct Running {
    addresses: Value,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(dir: &Path) -> Self {
        let (settings, shutdown) = (settings(dir), Shutdown::default());
        let ready = dir.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let task = tokio::spawn({
            let (ready, shutdown) = (ready.clone(), shutdown.clone());
            async move { central_server::run(settings, Some(&ready), shutdown).await }
        });
        let text = async {
            loop {
                match std::fs::read_to_string(&ready) {
                    Ok(text) => return text,
                    Err(_) if task.is_finished() => return String::new(),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let text = tokio::time::timeout(Duration::from_secs(60), text).await.unwrap();
        if text.is_empty() {
            panic!("{:?}", task.await);
        }
        let addresses = serde_json::from_str::<Value>(&text).unwrap();
        assert_eq!(addresses["pid"], std::process::id());
        Self { addresses: addresses["listeners"].clone(), shutdown, task }
    }

    fn url(&self, listener: &str, path: &str) -> String {
        let address: SocketAddr = self.addresses[listener].as_str().unwrap().parse().unwrap();
        let scheme = if listener == "https" { "https" } else { "http" };
        format!("{scheme}://{address}{path}")
    }

    async fn stop(self) {
        self.shutdown.stop();
        tokio::time::timeout(Duration::from_secs(30), self.task).await.unwrap().unwrap().unwrap();
    }
}

fn http() -> Client {
    Client::new(Duration::from_secs(5), Duration::from_secs(20), &[])
}

/// A configuration client with the central server's anchor, which leads to the port that was bound.
fn client(running: &Running, anchor: &[u8], dir: &Path) -> ConfigurationClient {
    let mut anchor = Anchor::read(anchor).unwrap();
    anchor.sources.truncate(1);
    anchor.sources[0].url = running.url("http", "/internalconf");
    let anchor_file: PathBuf = dir.join("anchor.xml");
    std::fs::write(&anchor_file, anchor.write().unwrap()).unwrap();
    let settings = ConfigurationSettings {
        anchor_file,
        interval: Duration::from_secs(60),
        federations: Federations::None,
        age_tolerance: Duration::from_secs(300),
        connect: Duration::from_secs(5),
        total: Duration::from_secs(20),
    };
    ConfigurationClient::new(settings, dir.join("globalconf"), http(), Clock::System)
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_what_security_servers_need_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    tokio::task::spawn_blocking({
        let dir = dir.path().to_owned();
        move || set_up(&dir)
    })
    .await
    .unwrap();
    std::fs::write(dir.path().join("token-pin"), format!("{PIN}\n")).unwrap();

    let running = Running::start(dir.path()).await;
    let get = |listener: &'static str, path: &str| {
        let url = running.url(listener, path);
        async move { http().get(&url, 1 << 20).await.unwrap() }
    };
    for listener in ["http", "https"] {
        for version in 2..=6 {
            let answer = get(listener, &format!("/internalconf?version={version}")).await;
            assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/octet-stream"));
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(text.contains(&format!("\r\nVersion: {version}\r\n")), "{text}");
        }
        assert_eq!(get(listener, "/externalconf").await.status, 200);
        for missing in
            ["/internalconf?version=7", "/", "/internalconf/../anchors/internal.xml", "/V6/internalconf"]
        {
            assert_eq!(get(listener, missing).await.status, 404, "{missing}");
        }
    }
    let posted =
        http().post(&running.url("http", "/internalconf"), "text/plain", "x".into(), 100).await.unwrap();
    assert_eq!(posted.status, 405);
    let health = get("health", "/health").await;
    assert_eq!(health.status, 200, "{:?}", health.body);
    let metrics = String::from_utf8(get("health", "/metrics").await.body.to_vec()).unwrap();
    for name in
        ["configuration_generations_total", "configuration_requests_total", "configuration_expires_seconds"]
    {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }

    let anchor = std::fs::read(dir.path().join("anchors/internal.xml")).unwrap();
    let own = tempfile::tempdir().unwrap();
    let follower = client(&running, &anchor, own.path());
    follower.run_once().await.unwrap();
    let conf = follower.published().load().as_ref().clone().unwrap();
    assert_eq!((conf.instance(), conf.version()), ("XX", 6));
    assert_eq!(conf.private().unwrap().management_provider.short(), "XX/GOV/1/mgmt");
    assert!(Offline::open(dir.path(), Clock::System).is_err(), "the server has the directory");
    running.stop().await;

    // Stopped, changed, started again: the same keys, so the same client follows with what it stored.
    let offline = Offline::open(dir.path(), Clock::System).unwrap();
    let added = Command::AddMember { id: MemberId::new("XX", "GOV", "2"), name: "Two".into() };
    offline.execute_all("setup", vec![added]).unwrap();
    assert_eq!(offline.anchor(SourceKind::Internal).unwrap(), anchor, "members do not change the anchor");
    drop(offline);
    let running = Running::start(dir.path()).await;
    let follower = client(&running, &anchor, own.path());
    follower.run_once().await.unwrap();
    let conf = follower.published().load().as_ref().clone().unwrap();
    assert_eq!(conf.clients("XX").len(), 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_its_pin_serves_but_does_not_sign() {
    let dir = tempfile::tempdir().unwrap();
    tokio::task::spawn_blocking({
        let dir = dir.path().to_owned();
        move || set_up(&dir)
    })
    .await
    .unwrap();
    let running = Running::start(dir.path()).await;
    let health = http().get(&running.url("health", "/health"), 1 << 20).await.unwrap();
    assert_eq!(health.status, 503);
    let text = String::from_utf8(health.body.to_vec()).unwrap();
    assert!(text.contains("not logged in"), "{text}");
    let answer = http().get(&running.url("http", "/internalconf"), 1 << 20).await.unwrap();
    assert_eq!(answer.status, 404, "nothing was ever published");
    running.stop().await;

    std::fs::write(dir.path().join("token-pin"), "wrong").unwrap();
    let error = central_server::run(settings(dir.path()), None, Shutdown::default()).await.unwrap_err();
    assert!(format!("{error:#}").contains("PIN"), "{error:#}");
}
