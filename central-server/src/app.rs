//! Builds every part of a central server, owns every task, drains.
//!
//! Start: registry, token (logged in with the PIN file when there is one), a first generation; then listeners are bound, so that a wrong
//! address fails the start; then tasks. A server whose first generation fails serves what an earlier run published, as long as that
//! holds, and says so in its health. Stop: listeners close, answers under way have `drain-time` to end. A task that ends before it
//! is told to ends the server. To restore a backup the server stops in the same way and starts again in the same process, with the sockets
//! that it had.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admin_api::Frame;
use anyhow::{Context as _, bail};
use host::clock::Clock;
use host::health::Health;
use host::http::{Transport, serve};
use host::metrics::Metrics;
use host::shutdown::{Shutdown, released};
use host::sockets::Sockets;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin_api::{Api, backups};
use crate::config::Settings;
use crate::configuration_source::web::Web;
use crate::configuration_source::{ConfigurationSource, documents};
use crate::federation::Trial;
use crate::management_service::listener::Listener;
use crate::management_service::tls::ManagementTls;
use crate::management_service::{ManagementService, Service};
use crate::offline::Offline;
use crate::registry::{Command, Parameter, Registry};
use crate::token::TokenSlot;

/// For tasks to end by themselves after the drain.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// For a call that outlived the drain to end, before a start in the same process.
const LAST_CALL: Duration = Duration::from_secs(30);

/// Runs a central server until `shutdown` says stop, then drains.
///
/// `ready_file` is written, whole, when all listeners answer: `{"pid": …, "listeners": {"http": …, "https": …, "health": …}}` with the
/// addresses bound, for starters that gave port 0.
///
/// # Errors
/// It could not start, or a part of it failed for good.
pub async fn run(settings: Settings, ready_file: Option<&Path>, shutdown: Shutdown) -> anyhow::Result<()> {
    signer::process::forbid_core_dumps().context("core dumps cannot be switched off")?;
    let sockets = Sockets::default();
    while run_once(&settings, ready_file, &shutdown.of_one_run(), &sockets).await? && !shutdown.stopping() {
        tracing::info!("the central server starts again");
    }
    Ok(())
}

/// Runs until `shutdown` says stop; `true` when the server is to start again.
async fn run_once(
    settings: &Settings,
    ready_file: Option<&Path>,
    shutdown: &Shutdown,
    sockets: &Sockets,
) -> anyhow::Result<bool> {
    let metrics = Metrics::install();
    let opened = {
        let (settings, shutdown) = (settings.clone(), shutdown.clone());
        tokio::task::spawn_blocking(move || Opened::open(&settings, shutdown)).await??
    };
    let mut run =
        Run { tasks: JoinSet::new(), bound: BTreeMap::new(), settings, shutdown: shutdown.clone(), sockets };
    let web = Web::new(&opened.public, Clock::System).describing(Arc::clone(opened._data.registry()));
    if let Some(address) = settings.api.listen {
        run.serve_api(address, &opened)?;
    }
    run.serve_management(&opened)?;
    run.serve_web("http", "center.http-listen", settings.http_listen, Transport::Plain, &web)?;
    if let Some(address) = settings.https_listen {
        let transport = Transport::tls(Arc::clone(&opened.tls));
        run.serve_web("https", "center.https-listen", address, transport, &web)?;
    }
    if let Some(address) = settings.health_listen {
        let source = Arc::clone(&opened.source);
        let check: host::health::Check = Arc::new(move || health(&source));
        let listener = run.bind("health", "health-check-listen", address)?;
        run.spawn(host::health::serve_on(listener, metrics, check, shutdown.clone()));
    }
    let Run { mut tasks, bound, .. } = run;
    tasks.spawn(Arc::clone(&opened.source).run(settings.generation_interval, shutdown.clone()));
    if let Some(path) = ready_file {
        let text = json!({ "pid": std::process::id(), "listeners": bound }).to_string();
        host::files::write_atomic(path, text.as_bytes(), 0o644)
            .with_context(|| path.display().to_string())?;
    }
    tracing::info!(?bound, "the central server has started");

    let outcome = wait(&mut tasks, shutdown).await;
    shutdown.stop();
    tracing::info!(limit = ?settings.drain, "draining");
    if !shutdown.drained(settings.drain).await {
        tracing::warn!("answers were still under way at the end of the drain time");
    }
    let _ = tokio::time::timeout(LAST_MOMENT, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
    tracing::info!("the central server has stopped");
    outcome?;
    let held = Arc::downgrade(opened._data.registry());
    drop((web, opened));
    if shutdown.restarting() && !released(held, LAST_CALL).await {
        bail!("a call did not end, so that the server cannot start again by itself: start it anew");
    }
    Ok(shutdown.restarting())
}

/// What is opened before anything runs. The data directory is locked as long as it lives.
struct Opened {
    source: Arc<ConfigurationSource>,
    public: std::path::PathBuf,
    tls: Arc<rustls::ServerConfig>,
    api_tls: Arc<rustls::ServerConfig>,
    api: Arc<Frame<Api>>,
    management: Arc<ManagementService>,
    management_tls: Arc<ManagementTls>,
    _data: Offline,
}

impl Opened {
    /// Blocks: opens databases, logs in, generates.
    fn open(settings: &Settings, shutdown: Shutdown) -> anyhow::Result<Self> {
        let clock = Clock::System;
        let data = Offline::open(&settings.data_dir, clock.clone())?;
        let token = Arc::new(open_token(&data, &settings.pin_file, &clock)?);
        let public = data.folder("public")?;
        let source = Arc::new(ConfigurationSource::new(
            Arc::clone(data.registry()),
            Arc::clone(&token),
            clock.clone(),
            settings.minimum_version,
            public.clone(),
            data.folder("anchors")?,
        ));
        if let Err(error) = source.generate() {
            // Health and log have it from the pass itself; what an earlier run published is served as long as it holds.
            tracing::debug!(%error, "the server starts without a configuration of its own making");
        }
        let address = data.registry().state().address.clone();
        let host = match documents::host_of(&address) {
            "" => "localhost",
            host => host,
        };
        let folder = data.folder("tls")?;
        let tls = admin_api::tls::server_config(&folder, "global-conf", host, clock.now())?;
        let api_tls = admin_api::tls::server_config(&folder, "management-api", host, clock.now())?;
        let clients = match &settings.management_clients {
            Some(path) => Some(std::fs::read(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let management_tls = Arc::new(ManagementTls::open(folder, host, clients, clock.now())?);
        let registration_cert = settings.registration_listen.map(|_| management_tls.cert().der().to_vec());
        announce(data.registry(), registration_cert.as_deref())?;
        let management =
            ManagementService::new(Arc::clone(data.registry()), clock.clone(), settings.auto_approve);
        let api = Api {
            registry: Arc::clone(data.registry()),
            token,
            source: Arc::clone(&source),
            management_tls: Arc::clone(&management_tls),
            offers_registration: settings.registration_listen.is_some(),
            backups: backups::of(
                data.registry(),
                settings.data_dir.clone(),
                settings.backup,
                clock.clone(),
                shutdown,
                settings.drain,
            ),
            public: public.clone(),
            parts_folder: settings.parts_folder.clone(),
            trial: Trial::new(settings.anchor_trial),
            clock: clock.clone(),
            auto_approve: settings.auto_approve,
            internal_key: settings.internal_key,
            external_key: settings.external_key,
        };
        let api = Frame::new(api.server(), settings.api.clone(), &data.folder("admin")?, clock)?;
        Ok(Self {
            source,
            public,
            tls,
            api_tls,
            api: Arc::new(api),
            management: Arc::new(management),
            management_tls,
            _data: data,
        })
    }
}

/// The token, where there is one, logged in when there is a PIN file; with a PIN file it is created. Without one people log in through
/// the management API. A token that stays logged out lets the server serve, but not sign.
fn open_token(data: &Offline, pin_file: &Path, clock: &Clock) -> anyhow::Result<TokenSlot> {
    let token = TokenSlot::open(data.folder("keys")?)?;
    if let Some(mode) = host::files::shared_mode(pin_file) {
        tracing::warn!(file = %pin_file.display(), mode = format!("{mode:o}"), "others may use the file with the PIN: make it 600");
    }
    let pin = match std::fs::read_to_string(pin_file) {
        Ok(pin) => pin,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(file = %pin_file.display(), "there is no PIN file: nothing is signed until somebody logs in");
            return Ok(token);
        }
        Err(error) => return Err(error).with_context(|| pin_file.display().to_string()),
    };
    match token.get() {
        Some(present) => match present.login(pin.trim_end(), clock.now()) {
            // It may have had another PIN then, and waits for somebody who knows it.
            Err(error) if data.was_restored() => {
                tracing::error!(%error, file = %pin_file.display(), "the restored token was not logged in");
            }
            tried => tried.with_context(|| format!("the PIN in {} was not taken", pin_file.display()))?,
        },
        None => drop(token.create(pin.trim_end())?),
    }
    Ok(token)
}

/// Names the certificate of the registration service in the configuration, where nobody has named one.
fn announce(registry: &Registry, cert: Option<&[u8]>) -> anyhow::Result<()> {
    let state = registry.state();
    let Some(cert) = cert.filter(|_| state.instance.is_some()) else { return Ok(()) };
    match &state.parameters.auth_cert_reg_cert {
        Some(named) if named.0 == cert => Ok(()),
        Some(_) => {
            tracing::warn!(
                "the configuration names another certificate for the registration service than this server shows"
            );
            Ok(())
        }
        None => {
            let parameter = Parameter::AuthCertRegCert(Some(cert.to_vec()));
            Ok(registry.execute("system", Command::SetParameter(parameter))?)
        }
    }
}

/// Listeners and tasks of one run.
struct Run<'a> {
    tasks: JoinSet<()>,
    bound: BTreeMap<&'static str, SocketAddr>,
    settings: &'a Settings,
    shutdown: Shutdown,
    sockets: &'a Sockets,
}

impl Run<'_> {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// The socket of a listener; `key` is its setting.
    fn bind(&mut self, name: &'static str, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listener = self.sockets.bind(name, address).with_context(|| format!("{key} = {address}"))?;
        self.bound.insert(name, listener.local_addr()?);
        Ok(listener)
    }

    /// The services for management requests.
    fn serve_management(&mut self, opened: &Opened) -> anyhow::Result<()> {
        let settings = self.settings;
        let ports = [
            ("registration", settings.registration_listen, Service::Registration, settings.registration_rate),
            ("management", settings.management_listen, Service::Management, None),
        ];
        for (name, address, service, rate) in ports {
            let Some(address) = address else { continue };
            let key = format!("management-service.{name}-listen");
            let tcp = self.bind(name, &key, address)?;
            let transport = opened.management_tls.transport(service);
            let listener = Listener::new(Arc::clone(&opened.management), service, rate, Clock::System);
            let handler = move |request, peer| {
                let listener = listener.clone();
                async move { listener.answer(request, peer).await }
            };
            self.spawn(serve(tcp, transport, settings.limits, self.shutdown.clone(), handler));
        }
        Ok(())
    }

    /// The management API.
    fn serve_api(&mut self, address: SocketAddr, opened: &Opened) -> anyhow::Result<()> {
        let listener = self.bind("api", "management-api.listen", address)?;
        let frame = Arc::clone(&opened.api);
        let handler = move |request, peer| Arc::clone(&frame).answer(request, peer);
        let transport = Transport::tls(Arc::clone(&opened.api_tls));
        self.spawn(serve(listener, transport, self.settings.limits, self.shutdown.clone(), handler));
        Ok(())
    }

    /// The published configuration.
    fn serve_web(
        &mut self,
        name: &'static str,
        key: &str,
        address: SocketAddr,
        transport: Transport,
        web: &Web,
    ) -> anyhow::Result<()> {
        let listener = self.bind(name, key, address)?;
        let web = web.clone();
        let handler = move |request, _| {
            let web = web.clone();
            async move { web.answer(request).await }
        };
        self.spawn(serve(listener, transport, self.settings.limits, self.shutdown.clone(), handler));
        Ok(())
    }
}

/// Until the server is told to stop, or a task ends that should not.
async fn wait(tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> anyhow::Result<()> {
    tokio::select! {
        () = shutdown.stopped() => Ok(()),
        Some(ended) = tasks.join_next() => match ended {
            Ok(()) if shutdown.stopping() => Ok(()),
            Ok(()) => bail!("a part of the server has ended"),
            Err(error) => Err(error).context("a part of the server has failed"),
        }
    }
}

/// Ready while what is published holds.
fn health(source: &ConfigurationSource) -> Health {
    let status = source.status();
    Health { ready: status.is_good(Clock::System.now()), details: json!({ "configuration": status }) }
}
