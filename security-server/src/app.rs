//! Builds every part of a security server, owns every task, drains.
//!
//! | Folder of the data directory | Owner | If it is deleted |
//! |---|---|---|
//! | `state/` | `serverconf` | identity, clients, services and rights are lost |
//! | `keys/` | `signer` | private keys are lost for good |
//! | `admin/` | `admin_api` | API keys, users and audit log are lost |
//! | `backup/` | `admin_api::backup` | backups are lost, and those kept elsewhere can be restored on an empty server alone |
//! | `tls/` | `tls`, `admin_api` | other internal and management certificates are made; information systems that compare must be told. Of `tls13-peers` alone: peers may use CBC suites again |
//! | `replay/` | `replay` | messages from before can be executed once more until their evidence ends |
//! | `log/` | `message_log` | evidence is lost for good |
//! | `archive/` | `message_log::archive` | archive files that were not copied elsewhere are lost |
//! | `globalconf/` | `configuration_client` | it is downloaded again |
//!
//! Start: what every server has ([`crate::foundation`]), health and management API; then, where the server has an identity and a token, the
//! relay ([`crate::relay`]). An empty server goes on without it until the management API has filled it, and the relay starts then. Stop:
//! listeners close, exchanges under way have `drain-time` to end, then the log is closed with everything in it on disk. A task that
//! ends before it is told to ends the server. To restore a backup the server stops in the same way and starts again in the same process,
//! with the sockets that it had.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use admin_api::Frame;
use anyhow::{Context as _, bail};
use host::clock::Clock;
use host::http::Transport;
use host::metrics::Metrics;
use host::shutdown::{Shutdown, released};
use host::sockets::Sockets;
use serde_json::json;

use crate::admin_api::Api;
use crate::config::Settings;
use crate::foundation::Foundation;
use crate::health::{self, Watched};
use crate::relay::{self, Relay};
use crate::tasks::{Tasks, pause};

/// Between looks whether the server can exchange messages, until it first can.
const READINESS: Duration = Duration::from_millis(20);
/// Between attempts to start the relay of a server that was just filled, when an address is taken.
const RELAY_RETRY: Duration = Duration::from_secs(5);
/// For tasks to end by themselves after the drain.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// For a call that outlived the drain to end, before a start in the same process.
const LAST_CALL: Duration = Duration::from_secs(30);
/// A task that ends when it is done.
const READY_FILE: &str = "ready file";

/// Runs a security server until `shutdown` says stop, then drains.
///
/// `ready_file` is written, whole, when the server can first exchange messages: `{"pid": …, "listeners": {"client-http": …}}` with
/// the addresses bound, for starters that gave port 0. For a server that lacks an identity or certificates it is written at once, since
/// only the management API can help it (`api` among the listeners), and again when its relay has started.
///
/// # Errors
/// It could not start, or a part of it failed for good.
pub async fn run(settings: Settings, ready_file: Option<&Path>, shutdown: Shutdown) -> anyhow::Result<()> {
    signer::process::forbid_core_dumps().context("core dumps cannot be switched off")?;
    let (settings, sockets) = (Arc::new(settings), Sockets::default());
    while run_once(&settings, ready_file, &shutdown.of_one_run(), &sockets).await? && !shutdown.stopping() {
        tracing::info!("the security server starts again");
    }
    Ok(())
}

/// Runs until `shutdown` says stop; `true` when the server is to start again.
async fn run_once(
    settings: &Arc<Settings>,
    ready_file: Option<&Path>,
    shutdown: &Shutdown,
    sockets: &Sockets,
) -> anyhow::Result<bool> {
    let metrics = Metrics::install();
    let foundation = {
        let (settings, shutdown) = (settings.clone(), shutdown.clone());
        let open = move || Foundation::open(settings, Clock::System, shutdown);
        let mut opened = tokio::task::spawn_blocking(open).await??;
        opened.sockets = sockets.clone();
        Arc::new(opened)
    };
    let mut server = Server {
        foundation,
        tasks: Tasks::default(),
        bound: BTreeMap::new(),
        ready_file: ready_file.map(Path::to_owned),
        relay: None,
    };
    // First, so that an address that is taken fails the start before anything is promised.
    if server.foundation.can_relay() {
        server.start_relay().await?;
    }
    server.serve_health(metrics)?;
    server.serve_api().await?;
    server.start_tasks();
    server.tell_ready();
    let name = server.foundation.server_id().map(|id| id.to_string());
    tracing::info!(server = name, bound = ?server.bound, "the security server has started");

    let outcome = server.wait().await;
    shutdown.stop();
    tracing::info!(limit = ?settings.drain, "draining");
    if !shutdown.drained(settings.drain).await {
        tracing::warn!("exchanges were still under way at the end of the drain time");
    }
    server.tasks.finish(LAST_MOMENT).await;
    if let Some(relay) = &server.relay {
        relay.close().await;
    }
    tracing::info!("the security server has stopped");
    outcome?;
    let held = Arc::downgrade(&server.foundation);
    drop(server);
    if shutdown.restarting() && !released(held, LAST_CALL).await {
        bail!("a call did not end, so that the server cannot start again by itself: start it anew");
    }
    Ok(shutdown.restarting())
}

/// A server that runs.
struct Server {
    foundation: Arc<Foundation>,
    tasks: Tasks,
    bound: BTreeMap<&'static str, SocketAddr>,
    ready_file: Option<PathBuf>,
    relay: Option<Relay>,
}

impl Server {
    async fn start_relay(&mut self) -> anyhow::Result<()> {
        let relay = relay::start(&self.foundation, &mut self.tasks).await?;
        self.bound.extend(&relay.bound);
        self.relay = Some(relay);
        Ok(())
    }

    fn serve_health(&mut self, metrics: Metrics) -> anyhow::Result<()> {
        let Some(address) = self.foundation.settings.health_listen else { return Ok(()) };
        let foundation = Arc::clone(&self.foundation);
        let check: host::health::Check = Arc::new(move || match Watched::of(&foundation) {
            Some(watched) => watched.check(),
            None => health::uninitialised(&foundation),
        });
        let shutdown = self.foundation.shutdown.clone();
        let listener = self.foundation.sockets.bind("health", address);
        let listener = listener.with_context(|| format!("health-check-listen = {address}"))?;
        self.bound.insert("health", listener.local_addr()?);
        self.tasks.spawn("health", host::health::serve_on(listener, metrics, check, shutdown));
        Ok(())
    }

    async fn serve_api(&mut self) -> anyhow::Result<()> {
        let Some(address) = self.foundation.settings.api.listen else { return Ok(()) };
        let context = || format!("management-api.listen = {address}");
        let foundation = Arc::clone(&self.foundation);
        let (frame, tls) = tokio::task::spawn_blocking(move || open_api(foundation)).await??;
        let listener = self.foundation.sockets.bind("api", address).with_context(context)?;
        self.bound.insert("api", listener.local_addr()?);
        let handler = move |request, peer| Arc::clone(&frame).answer(request, peer);
        let (limits, shutdown) = (host::http::Limits::default(), self.foundation.shutdown.clone());
        let serve = host::http::serve(listener, Transport::tls(tls), limits, shutdown, handler);
        self.tasks.spawn("management API", serve);
        Ok(())
    }

    fn start_tasks(&mut self) {
        let (configuration, shutdown) =
            (Arc::clone(&self.foundation.configuration), self.foundation.shutdown.clone());
        self.tasks.spawn("configuration client", async move { configuration.run(shutdown).await });
        self.tasks.spawn("configuration watch", Arc::clone(&self.foundation).watch());
    }

    /// Until the server is told to stop, or a task ends that should not. Starts the relay when it can be started.
    async fn wait(&mut self) -> anyhow::Result<()> {
        let foundation = Arc::clone(&self.foundation);
        let shutdown = &foundation.shutdown;
        loop {
            tokio::select! {
                () = shutdown.stopped() => return Ok(()),
                () = foundation.completed(), if self.relay.is_none() => match self.start_relay().await {
                    Ok(()) => {
                        tracing::info!(bound = ?self.bound, "the server has an identity and a token: its relay has started");
                        self.tell_ready();
                    }
                    // The management API goes on; whoever filled the server finds this in the log and in its health.
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "the relay cannot be started");
                        pause(shutdown, RELAY_RETRY).await;
                    }
                },
                Some(ended) = self.tasks.ended() => match ended {
                    Ok(READY_FILE) => {}
                    Ok(_) if shutdown.stopping() => return Ok(()),
                    Ok(name) => bail!("a part of the server has ended: {name}"),
                    Err(error) => return Err(error).context("a part of the server has failed"),
                }
            }
        }
    }

    /// Has the ready file written, now or when messages can be exchanged.
    fn tell_ready(&mut self) {
        let Some(path) = self.ready_file.clone() else { return };
        let text = json!({ "pid": std::process::id(), "listeners": self.bound }).to_string();
        let exchanging = self.foundation.is_set_up().then(|| Watched::of(&self.foundation)).flatten();
        self.tasks.spawn(READY_FILE, ready(exchanging, path, text));
    }
}

/// The management API over the foundation, with its TLS. Blocks.
fn open_api(foundation: Arc<Foundation>) -> anyhow::Result<(Arc<Frame<Api>>, Arc<rustls::ServerConfig>)> {
    let (settings, clock) = (foundation.settings.api.clone(), foundation.clock.clone());
    let tls = foundation.folder("tls")?;
    let tls = admin_api::tls::server_config(&tls, "management-api", "localhost", clock.now())?;
    let folder = foundation.folder("admin")?;
    let frame = Frame::new(Api::new(foundation).server(), settings, &folder, clock)?;
    Ok((Arc::new(frame), tls))
}

/// Writes the ready file; where messages are to be exchanged first, when they can be.
async fn ready(exchanging: Option<Watched>, path: PathBuf, text: String) {
    if let Some(watched) = exchanging {
        while !watched.is_ready() {
            if pause(&watched.ctx.shutdown, READINESS).await {
                return;
            }
        }
    }
    if let Err(error) = host::files::write_atomic(&path, text.as_bytes(), 0o644) {
        tracing::error!(path = %path.display(), %error, "the ready file could not be written");
    }
}

#[cfg(test)]
mod tests {
    use host::http::Client;
    use tokio::net::TcpListener;

    use super::*;
    use crate::apply;
    use crate::testing::NOW;

    /// A data directory that `apply` filled, and settings with ports of the kernel's choice.
    fn server(yaml: &str) -> (tempfile::TempDir, Settings) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pin"), "1234").unwrap();
        std::fs::write(folder.path().join("server.yaml"), yaml).unwrap();
        let data_dir = folder.path().join("data");
        let file = folder.path().join("server.yaml");
        let options = apply::Options { file, data_dir, target: None, prune: false, dry_run: false };
        apply::run(&options, "test", NOW).unwrap();
        let settings = settings(folder.path());
        (folder, settings)
    }

    fn settings(folder: &Path) -> Settings {
        let mut file = crate::config::File { data_dir: folder.join("data"), ..Default::default() };
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        file.signer.pin_file = Some(folder.join("pin"));
        file.health_check_listen = crate::config::Listen(Some(any));
        file.management_api.listen = crate::config::Listen(Some(any));
        file.proxy.client_http_listen = crate::config::Listen(Some(any));
        file.proxy.client_https_listen = crate::config::Listen(None);
        (file.proxy.server_listen, file.proxy.ocsp_responder_listen) = (any, any);
        file.message_log.segment_size = 1024 * 1024;
        file.message_log.min_free_space = 0;
        file.drain_time = 1;
        file.resolve().unwrap()
    }

    const YAML: &str = "servers:\n- owner: EE:GOV:1\n  code: ss1\n  pin: {file: pin}\n";

    async fn start_error(settings: Settings) -> String {
        format!("{:#}", run(settings, None, Shutdown::default()).await.unwrap_err())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn starts_without_a_configuration_stops_when_told_and_starts_again() {
        let (folder, mut settings) = server(YAML);
        // A loopback address of this test's own, since the port is only told when the server is ready.
        let own = [127, 72, u8::try_from(std::process::id() % 250).unwrap(), 1];
        let health = TcpListener::bind((std::net::IpAddr::from(own), 0)).await.unwrap().local_addr().unwrap();
        settings.health_listen = Some(health);
        let client = Client::new(Duration::from_secs(1), Duration::from_secs(1), &[]);
        for _ in 0..2 {
            let (shutdown, ready) = (Shutdown::default(), folder.path().join("ready"));
            let running = {
                let (settings, shutdown, ready) = (settings.clone(), shutdown.clone(), ready.clone());
                tokio::spawn(async move { run(settings, Some(&ready), shutdown).await })
            };
            let answer = loop {
                assert!(!running.is_finished());
                if let Ok(answer) = client.get(&format!("http://{health}/health"), 10_000).await {
                    break answer;
                }
            };
            assert_eq!(answer.status, 503);
            let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let details = &said["details"];
            assert_eq!(details["server"], "SERVER:EE/GOV/1/ss1");
            assert_eq!(details["keys"]["token_logged_in"], true);
            let reason = details["global_configuration"]["reason"].as_str().unwrap();
            assert!(reason.starts_with("no global configuration"), "{said}");
            // It has no certificate yet, and only the management API can help it.
            let told: serde_json::Value = loop {
                match std::fs::read(&ready) {
                    Ok(text) => break serde_json::from_slice(&text).unwrap(),
                    Err(_) => tokio::time::sleep(READINESS).await,
                }
            };
            assert!(
                told["listeners"]["api"].is_string() && told["listeners"]["server"].is_string(),
                "{told}"
            );
            std::fs::remove_file(&ready).unwrap();
            let twice = start_error(settings.clone()).await;
            assert!(twice.contains("in use"), "{twice}");
            shutdown.stop();
            running.await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_empty_server_starts_with_its_management_api_and_says_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let (shutdown, ready) = (Shutdown::default(), folder.path().join("ready"));
        let running = {
            let (settings, shutdown, ready) = (settings(folder.path()), shutdown.clone(), ready.clone());
            tokio::spawn(async move { run(settings, Some(&ready), shutdown).await })
        };
        let told: serde_json::Value = loop {
            assert!(!running.is_finished());
            match std::fs::read(&ready) {
                Ok(text) => break serde_json::from_slice(&text).unwrap(),
                Err(_) => tokio::time::sleep(READINESS).await,
            }
        };
        assert!(told["listeners"]["api"].is_string(), "{told}");
        let client = Client::new(Duration::from_secs(1), Duration::from_secs(1), &[]);
        let health = format!("http://{}/health", told["listeners"]["health"].as_str().unwrap());
        let answer = client.get(&health, 10_000).await.unwrap();
        assert_eq!(answer.status, 503);
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(said["details"]["lacks"], json!(["anchor", "token", "identity"]), "{said}");
        shutdown.stop();
        running.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_that_cannot_succeed_says_why() {
        let (folder, settings) = server(YAML);
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server_listen = taken.local_addr().unwrap();
        let error = start_error(Settings { server_listen, ..settings.clone() }).await;
        assert!(error.starts_with(&format!("proxy.server-listen = {server_listen}")), "{error}");

        std::fs::write(folder.path().join("pin"), "4321").unwrap();
        let error = start_error(settings).await;
        assert!(error.contains("PIN"), "{error}");
    }
}
