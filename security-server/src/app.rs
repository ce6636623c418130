//! Builds every part of a security server, owns every task, drains.
//!
//! | Folder of the data directory | Owner | If it is deleted |
//! |---|---|---|
//! | `state/` | `serverconf` | clients, services and rights are lost; `causeway apply` fills it again |
//! | `keys/` | `signer` | private keys are lost for good |
//! | `tls/` | `tls` | another internal certificate is made; information systems that compare must be told. Of `tls13-peers` alone: peers may use CBC suites again |
//! | `replay/` | `replay` | messages from before can be executed once more until their evidence ends |
//! | `log/` | `message_log` | evidence is lost for good |
//! | `archive/` | `message_log::archive` | archive files that were not copied elsewhere are lost |
//! | `globalconf/` | `configuration_client` | it is downloaded again |
//!
//! Start: state, keys, kept global configuration, log; then listeners are bound, so that a wrong address fails the start; then tasks.
//! Stop: listeners close, exchanges under way have `drain-time` to end, then the log is closed with everything in it on disk. A task
//! that ends before it is told to ends the server.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use host::clock::Clock;
use host::data_dir::DataDir;
use host::http::Client;
use host::metrics::Metrics;
use host::shutdown::Shutdown;
use host::store::Store;
use proto::id::ServerId;
use serde_json::json;
use signer::process::TokenLock;
use signer::software::SoftwareSigner;
use signer::{RemoteSigner, TokenService, ocsp_fetcher};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::admission::Admission;
use crate::config::{MessageLogSection, Settings};
use crate::configuration_client::{ConfigurationClient, Published};
use crate::context::Context;
use crate::exchange::Kept;
use crate::health::Watched;
use crate::message_log::MessageLog;
use crate::message_log::keeper::Keeper;
use crate::message_log::settings::LogSettings;
use crate::message_log::timestamper::{Snapshots, Timestamper};
use crate::peers::Peers;
use crate::replay::{self, Replay};
use crate::serverconf::ServerConf;
use crate::serverconf::state::State;
use crate::serverconf::store::ServerConfStore;
use crate::tls::seen::{self, SeenPeers};
use crate::tls::{Acceptor, InternalTls, PeerTls};
use crate::{client_proxy, ocsp_port, server_proxy};

/// Between looks for a changed configuration: how long a client that was registered or removed may wait.
const REFRESH: Duration = Duration::from_millis(250);
/// Between measurements, and between clearings of what has waited for too long.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// Between savings of what the memory against repeated messages has learnt.
const SAVE: Duration = Duration::from_secs(1);
/// Between looks whether the server can exchange messages, until it first can.
const READINESS: Duration = Duration::from_millis(20);
/// For tasks to end by themselves after the drain.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Runs a security server until `shutdown` says stop, then drains.
///
/// `ready_file` is written, whole, when the server can first exchange messages: `{"pid": …, "listeners": {"client-http": …}}` with
/// the addresses bound, for starters that gave port 0.
///
/// # Errors
/// It could not start, or a part of it failed for good.
pub async fn run(settings: Settings, ready_file: Option<&Path>, shutdown: Shutdown) -> anyhow::Result<()> {
    signer::process::forbid_core_dumps().context("core dumps cannot be switched off")?;
    let metrics = Metrics::install();
    let settings = Arc::new(settings);
    let (opened, _locked) = {
        let (settings, shutdown) = (settings.clone(), shutdown.clone());
        tokio::task::spawn_blocking(move || Opened::open(settings, shutdown)).await??
    };
    let listeners = Listeners::bind(&settings).await?;
    let mut bound = listeners.addresses()?;
    let watched = opened.watched();
    let mut tasks = JoinSet::new();
    if let Some(address) = settings.health_listen {
        let asked = watched.clone();
        let check: host::health::Check = Arc::new(move || asked.check());
        let (address, serve) = host::health::listen(address, metrics, check, shutdown.clone())
            .await
            .with_context(|| format!("health-check-listen = {address}"))?;
        bound.insert("health", address);
        spawn(&mut tasks, "health", serve);
    }
    let server = watched.ctx.serverconf.load().server_id().to_string();
    let (log, replay) = (watched.ctx.log.clone(), watched.ctx.kept.replay.clone());
    start_tasks(&mut tasks, opened, listeners);
    if let Some(path) = ready_file {
        spawn(&mut tasks, "ready file", ready(watched, path.to_owned(), bound.clone()));
    }
    tracing::info!(server, ?bound, "the security server has started");

    let outcome = wait(&mut tasks, &shutdown).await;
    shutdown.stop();
    tracing::info!(limit = ?settings.drain, "draining");
    if !shutdown.drained(settings.drain).await {
        tracing::warn!("exchanges were still under way at the end of the drain time");
    }
    let _ = tokio::time::timeout(LAST_MOMENT, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
    save(&replay).await;
    log.close().await;
    tracing::info!("the security server has stopped");
    outcome
}

/// The data directory, and the token when it is in it.
type Locks = (DataDir, Option<TokenLock>);

/// What is opened before anything runs.
struct Opened {
    ctx: Context,
    conf: Arc<ServerConfStore>,
    signer: Arc<dyn TokenService>,
    configuration: Arc<ConfigurationClient>,
    timestamper: Timestamper,
    keeper: Keeper,
    peer_tls: Arc<PeerTls>,
}

impl Opened {
    /// Blocks: opens databases and logs in. The data directory is locked as long as its handle lives.
    fn open(settings: Arc<Settings>, shutdown: Shutdown) -> anyhow::Result<(Self, Locks)> {
        let clock = Clock::System;
        let data = DataDir::open(&settings.data_dir, crate::ROLE, crate::FORMAT)?;
        let conf = Arc::new(ServerConfStore::open(&Store::open(&data.folder("state")?)?)?);
        let state = conf.state();
        let folder = data.root().display();
        if state.server.is_none() {
            bail!(
                "{folder} holds no server yet: fill it with `causeway apply -f server.yaml --offline {folder}`"
            );
        }
        let (signer, token_lock) = open_token(&data.folder("keys")?, &settings, &clock)?;
        let internal_tls = InternalTls::open(&data.folder("tls")?, clock.now())?;

        let download = &settings.configuration;
        let http = Client::new(download.connect, download.total, &[]);
        let kept = data.folder("globalconf")?;
        let configuration = Arc::new(ConfigurationClient::new(download.clone(), kept, http, clock.clone()));
        let globalconf = configuration.published();
        let serverconf = snapshot(&state, &globalconf).context("the server has no identity")?;
        let serverconf = Arc::new(ArcSwap::from_pointee(serverconf));
        refresh_keys(signer.as_ref(), &globalconf, state.server.as_ref(), &clock);

        let log_settings = LogSettings::resolve(&settings.message_log, settings.limits.memory_body_bytes)?;
        let snapshots = Snapshots {
            globalconf: globalconf.clone(),
            serverconf: serverconf.clone(),
            preference: log_settings.preference,
        };
        let (log, timestamper) =
            MessageLog::open(&data.folder("log")?, log_settings, clock.clone(), Arc::new(snapshots))?;
        let keeper = Keeper::new(&log, clock.clone(), &target_roots(&settings.message_log)?)?;

        let seen = data.folder("tls")?.join(seen::FILE);
        let seen = SeenPeers::open(seen.clone()).with_context(|| seen.display().to_string())?;
        let peer_tls = PeerTls::new(globalconf.clone(), signer.clone()).edge(settings.tls_edge, seen);
        let peer_tls = Arc::new(peer_tls);
        let seen = data.folder("replay")?.join(replay::FILE);
        let replay = Replay::open(&seen, clock.now()).with_context(|| seen.display().to_string())?;
        let limits = &settings.limits;
        let ctx = Context {
            clock: clock.clone(),
            peers: Peers::new(&settings, clock.clone(), globalconf.clone(), peer_tls.clone()),
            globalconf,
            serverconf,
            signer: signer.clone(),
            log,
            internal_tls,
            client_slots: Admission::new(limits.client_exchanges, limits.client_exchanges_per_client),
            server_slots: Admission::new(limits.server_exchanges, limits.server_exchanges_per_peer),
            kept: Kept { replay, ..Kept::new(signer.clone(), clock) },
            shutdown,
            settings,
        };
        Ok((Self { ctx, conf, signer, configuration, timestamper, keeper, peer_tls }, (data, token_lock)))
    }

    fn watched(&self) -> Watched {
        let (configuration, signer) = (self.configuration.clone(), self.signer.clone());
        Watched { ctx: self.ctx.clone(), configuration, signer }
    }
}

/// The signer's process, or the token in `folder`, which is then locked.
fn open_token(
    folder: &Path,
    settings: &Settings,
    clock: &Clock,
) -> anyhow::Result<(Arc<dyn TokenService>, Option<TokenLock>)> {
    let Some(socket) = &settings.signer_socket else {
        let lock = TokenLock::take(folder)?;
        return Ok((Arc::new(own_token(folder, &settings.pin_file, clock)?), Some(lock)));
    };
    if SoftwareSigner::exists(folder) {
        tracing::warn!(folder = %folder.display(), "there is a token here too, which is not used: the signer has its own");
    }
    let signer = RemoteSigner::open(socket, settings.signer_wait, &folder.join("ocsp"))?;
    Ok((Arc::new(signer), None))
}

/// The token of this process, logged in when there is a PIN.
fn own_token(folder: &Path, pin_file: &Path, clock: &Clock) -> anyhow::Result<SoftwareSigner> {
    let pin = match std::fs::read_to_string(pin_file) {
        Ok(text) => Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("signer.pin-file = {}", pin_file.display())),
    };
    if !SoftwareSigner::exists(folder) {
        bail!("there is no token in {}: `causeway apply` makes one", folder.display());
    }
    let signer = SoftwareSigner::open(folder)?;
    match pin {
        Some(pin) => signer
            .login(&pin, clock.now())
            .with_context(|| format!("the PIN in {} was not taken", pin_file.display()))?,
        None => tracing::error!(
            file = %pin_file.display(),
            "there is no PIN file, so the token is not logged in and no message can be signed: write the PIN of the token into this \
             file, for the server's user alone (mode 0600), and start again"
        ),
    }
    Ok(signer)
}

/// Whom https targets of archives and heads are held to.
fn target_roots(log: &MessageLogSection) -> anyhow::Result<Vec<Vec<u8>>> {
    let urls = [&log.archive_transfer_url, &log.archive_s3_endpoint, &log.tree_head_url];
    if !urls.iter().any(|url| url.starts_with("https://")) {
        return Ok(Vec::new());
    }
    let path = &log.archive_transfer_ca_file;
    let name = || format!("message-log.archive-transfer-ca-file = {}", path.display());
    let text = std::fs::read(path).with_context(name)?;
    let roots = pki::pem::blocks(&text, "CERTIFICATE");
    // Without any, nothing would be verified.
    if roots.is_empty() {
        bail!("{}: there is no certificate in it", name());
    }
    Ok(roots)
}

fn snapshot(state: &State, globalconf: &Published) -> Option<ServerConf> {
    ServerConf::build(state, globalconf.load().as_ref().as_deref())
}

/// Aligns the states of certificates with the configuration and makes the snapshot of keys anew. Blocks.
fn refresh_keys(signer: &dyn TokenService, globalconf: &Published, server: Option<&ServerId>, clock: &Clock) {
    let conf = globalconf.load();
    let (Some(conf), Some(server)) = (conf.as_ref(), server) else { return };
    if let Err(error) = signer.align(conf, server, false) {
        tracing::error!(%error, "the states of certificates could not be recorded");
    }
    signer.refresh(conf, Some(server), clock.now());
    signer.wake();
}

/// Sockets that are bound and not served yet.
struct Listeners {
    client_http: Option<TcpListener>,
    client_https: Option<TcpListener>,
    server: TcpListener,
    ocsp: TcpListener,
}

impl Listeners {
    async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        async fn one(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
            TcpListener::bind(address).await.with_context(|| format!("{key} = {address}"))
        }
        async fn maybe(key: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
            match address {
                Some(address) => one(key, address).await.map(Some),
                None => Ok(None),
            }
        }
        Ok(Self {
            client_http: maybe("proxy.client-http-listen", settings.client_http).await?,
            client_https: maybe("proxy.client-https-listen", settings.client_https).await?,
            server: one("proxy.server-listen", settings.server_listen).await?,
            ocsp: one("proxy.ocsp-responder-listen", settings.ocsp_listen).await?,
        })
    }

    fn addresses(&self) -> std::io::Result<BTreeMap<&'static str, SocketAddr>> {
        let named = [
            ("client-http", self.client_http.as_ref()),
            ("client-https", self.client_https.as_ref()),
            ("server", Some(&self.server)),
            ("ocsp", Some(&self.ocsp)),
        ];
        let there = named.into_iter().filter_map(|(name, listener)| Some((name, listener?)));
        there.map(|(name, listener)| Ok((name, listener.local_addr()?))).collect()
    }
}

/// Every task of the server; each ends when the server is told to stop.
fn start_tasks(tasks: &mut JoinSet<&'static str>, opened: Opened, listeners: Listeners) {
    let watched = opened.watched();
    let Opened { ctx, conf, signer, configuration, timestamper, keeper, peer_tls } = opened;
    let (shutdown, clock, handshake) = (&ctx.shutdown, &ctx.clock, ctx.settings.limits.handshake);
    let handshakes = ctx.settings.limits.handshakes;
    let server = ctx.serverconf.load().server_id().clone();

    spawn(tasks, "configuration client", {
        let shutdown = shutdown.clone();
        async move { configuration.run(shutdown).await }
    });
    let surroundings: ocsp_fetcher::Surroundings = {
        let (ctx, server) = (ctx.clone(), server.clone());
        Box::new(move || {
            let conf = ctx.globalconf.load_full();
            let valid = conf.as_ref().clone().filter(|conf| conf.check_valid(ctx.clock.now()).is_ok());
            (valid, Some(server.clone()))
        })
    };
    let http = Client::new(ocsp_fetcher::CONNECT_TIMEOUT, ocsp_fetcher::TOTAL_TIMEOUT, &[]);
    let fetching =
        ocsp_fetcher::Settings { retry_delay: ctx.settings.ocsp_retry, ..ocsp_fetcher::Settings::default() };
    let fetcher =
        ocsp_fetcher::run(signer.clone(), surroundings, http, fetching, clock.clone(), shutdown.clone());
    spawn(tasks, "OCSP fetcher", fetcher);
    spawn(tasks, "timestamper", timestamper.run(shutdown.clone()));
    spawn(tasks, "log keeper", keeper.run(shutdown.clone()));
    spawn(tasks, "configuration watch", watch(ctx.clone(), conf, signer.clone(), server));
    spawn(tasks, "housekeeping", housekeeping(watched));
    spawn(tasks, "replay memory", remember(ctx.clone()));

    if let Some(listener) = listeners.client_http {
        spawn(tasks, "client proxy", client_proxy::serve(ctx.clone(), listener, Acceptor::plain()));
    }
    if let Some(listener) = listeners.client_https {
        let acceptor = Acceptor::internal(ctx.internal_tls.clone(), handshake).handshakes(handshakes);
        spawn(tasks, "client proxy", client_proxy::serve(ctx.clone(), listener, acceptor));
    }
    let acceptor = Acceptor::peer(peer_tls, handshake).handshakes(handshakes);
    spawn(tasks, "server proxy", server_proxy::serve(ctx.clone(), listeners.server, acceptor));
    spawn(tasks, "OCSP port", ocsp_port::serve(listeners.ocsp, ctx.signer.clone(), shutdown.clone()));
}

fn spawn(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

/// Until the server is told to stop, or a task ends that should not.
async fn wait(tasks: &mut JoinSet<&'static str>, shutdown: &Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.stopped() => return Ok(()),
            Some(ended) = tasks.join_next() => match ended {
                Ok("ready file") => {}
                Ok(_) if shutdown.stopping() => return Ok(()),
                Ok(name) => bail!("a part of the server has ended: {name}"),
                Err(error) => return Err(error).context("a part of the server has failed"),
            }
        }
    }
}

/// Rebuilds what depends on the global configuration when that has changed.
async fn watch(ctx: Context, conf: Arc<ServerConfStore>, signer: Arc<dyn TokenService>, server: ServerId) {
    let generation = |ctx: &Context| ctx.globalconf.load().as_ref().as_ref().map(|conf| conf.generation());
    // Nothing yet: what was published between the first snapshots and now is not missed.
    let mut seen = None;
    while !pause(&ctx.shutdown, REFRESH).await {
        let now = generation(&ctx);
        if now == seen {
            continue;
        }
        seen = now;
        if let Some(next) = snapshot(&conf.state(), &ctx.globalconf) {
            ctx.serverconf.store(Arc::new(next));
        }
        let (signer, globalconf) = (signer.clone(), ctx.globalconf.clone());
        let (server, clock) = (server.clone(), ctx.clock.clone());
        let refreshed = tokio::task::spawn_blocking(move || {
            refresh_keys(signer.as_ref(), &globalconf, Some(&server), &clock)
        });
        if let Err(error) = refreshed.await {
            tracing::error!(%error, "keys could not be aligned with the global configuration");
        }
    }
}

/// Measures, and clears what has waited for too long.
async fn housekeeping(watched: Watched) {
    loop {
        watched.measure();
        watched.ctx.peers.purge();
        watched.ctx.kept.services.purge();
        if pause(&watched.ctx.shutdown, HOUSEKEEPING).await {
            return;
        }
    }
}

/// Saves what was received, so that another process knows it.
async fn remember(ctx: Context) {
    while !pause(&ctx.shutdown, SAVE).await {
        save(&ctx.kept.replay).await;
    }
}

async fn save(replay: &Replay) {
    let replay = replay.clone();
    let saved =
        tokio::task::spawn_blocking(move || replay.save()).await.map_err(std::io::Error::other).flatten();
    if let Err(error) = saved {
        tracing::error!(%error, "the memory against repeated messages could not be saved");
    }
}

/// Writes the ready file when messages can be exchanged.
async fn ready(watched: Watched, path: PathBuf, bound: BTreeMap<&'static str, SocketAddr>) {
    while !watched.is_ready() {
        if pause(&watched.ctx.shutdown, READINESS).await {
            return;
        }
    }
    let text = json!({ "pid": std::process::id(), "listeners": bound }).to_string();
    if let Err(error) = host::files::write_atomic(&path, text.as_bytes(), 0o644) {
        tracing::error!(path = %path.display(), %error, "the ready file could not be written");
    }
}

/// `true` when the server was told to stop meanwhile.
async fn pause(shutdown: &Shutdown, time: Duration) -> bool {
    tokio::time::timeout(time, shutdown.stopped()).await.is_ok()
}

#[cfg(test)]
mod tests {
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
            assert!(!ready.exists(), "no message can be exchanged without a configuration");
            let twice = start_error(settings.clone()).await;
            assert!(twice.contains("in use"), "{twice}");
            shutdown.stop();
            running.await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_that_cannot_succeed_says_why() {
        let empty = tempfile::tempdir().unwrap();
        let error = start_error(settings(empty.path())).await;
        assert!(error.contains("causeway apply"), "{error}");

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
