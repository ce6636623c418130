//! The relay's parts and tasks: what runs once the server has an identity and a token, and not before.
//!
//! [`start`] opens log, memory against repeated messages and peers, binds the listeners, so that a wrong address fails, and spawns the
//! tasks. At the start of a server that is filled this is part of the start; a server that was empty gets here when the management
//! API has made it one, in the same process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use host::http::Client;
use signer::{TokenService, ocsp_fetcher};
use tokio::net::TcpListener;

use crate::admission::Admission;
use crate::config::MessageLogSection;
use crate::context::Context;
use crate::exchange::Kept;
use crate::foundation::Foundation;
use crate::head_receiver::{self, Receiver};
use crate::health::Watched;
use crate::message_log::MessageLog;
use crate::message_log::archive::keys::SERVER_KEY;
use crate::message_log::keeper::Keeper;
use crate::message_log::settings::LogSettings;
use crate::message_log::timestamper::{Snapshots, Timestamper};
use crate::peers::Peers;
use crate::replay::{self, Replay};
use crate::tasks::{Tasks, pause};
use crate::tls::seen::{self, SeenPeers};
use crate::tls::{Acceptor, PeerTls};
use crate::{client_proxy, ocsp_port, server_proxy};

/// Between measurements, and between clearings of what has waited for too long.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// Between savings of what the memory against repeated messages has learnt.
const SAVE: Duration = Duration::from_secs(1);

/// A relay that runs.
pub struct Relay {
    /// What is looked at to say how it does.
    pub watched: Watched,
    /// Addresses bound.
    pub bound: BTreeMap<&'static str, SocketAddr>,
}

/// Starts the relay of a server that has an identity and a token.
///
/// # Errors
/// A part cannot be opened, or an address is taken.
pub async fn start(foundation: &Arc<Foundation>, tasks: &mut Tasks) -> anyhow::Result<Relay> {
    let opened = {
        let foundation = Arc::clone(foundation);
        tokio::task::spawn_blocking(move || Opened::open(&foundation)).await??
    };
    let listeners = Listeners::bind(foundation)?;
    let bound = listeners.addresses()?;
    let watched = opened.watched(foundation);
    foundation.relay_runs(opened.ctx.clone());
    opened.start_tasks(foundation, tasks, listeners);
    Ok(Relay { watched, bound })
}

impl Relay {
    /// Puts everything that was taken on the disk. The tasks have ended.
    pub async fn close(&self) {
        save(&self.watched.ctx.kept.replay).await;
        self.watched.ctx.log.close().await;
    }
}

/// What is opened before anything runs.
struct Opened {
    ctx: Context,
    token: Arc<dyn TokenService>,
    timestamper: Timestamper,
    keeper: Keeper,
    peer_tls: Arc<PeerTls>,
}

impl Opened {
    /// Blocks: opens databases.
    fn open(foundation: &Foundation) -> anyhow::Result<Self> {
        let Foundation { settings, clock, .. } = foundation;
        let token = Arc::clone(foundation.token.get().context("the server has no token")?);
        let serverconf = foundation.snapshot().context("the server has no identity")?;
        let serverconf = Arc::new(ArcSwap::from_pointee(serverconf));
        let globalconf = foundation.configuration.published();
        foundation.refresh_keys();

        warn_of_shared_keys(&settings.message_log);
        let log_settings = LogSettings::resolve(&settings.message_log, settings.limits.memory_body_bytes)?;
        let snapshots = Snapshots {
            globalconf: globalconf.clone(),
            serverconf: serverconf.clone(),
            preference: log_settings.preference,
        };
        let folder = foundation.folder("log")?;
        let (log, timestamper) = MessageLog::open(&folder, log_settings, clock.clone(), Arc::new(snapshots))?;
        let keeper = Keeper::new(&log, clock.clone(), &target_roots(&settings.message_log)?)?;

        let seen = foundation.folder("tls")?.join(seen::FILE);
        let seen = SeenPeers::open(seen.clone()).with_context(|| seen.display().to_string())?;
        let signer: Arc<dyn signer::Signer> = token.clone();
        let peer_tls = PeerTls::new(globalconf.clone(), signer.clone()).edge(settings.tls_edge, seen);
        let peer_tls = Arc::new(peer_tls);
        let seen = foundation.folder("replay")?.join(replay::FILE);
        let replay = Replay::open(&seen, clock.now()).with_context(|| seen.display().to_string())?;
        let limits = &settings.limits;
        let client_slots = Admission::new(limits.client_exchanges, limits.client_exchanges_per_client);
        let server_slots = Admission::new(limits.server_exchanges, limits.server_exchanges_per_peer);
        let slots = [client_slots.clone(), server_slots.clone()];
        let ctx = Context {
            clock: clock.clone(),
            peers: Peers::new(settings, clock.clone(), globalconf.clone(), peer_tls.clone()),
            globalconf,
            serverconf,
            signer: signer.clone(),
            log,
            internal_tls: foundation.internal_tls.clone(),
            client_slots,
            server_slots,
            kept: Kept { replay, ..Kept::new(signer, clock.clone(), slots) },
            shutdown: foundation.shutdown.clone(),
            settings: Arc::clone(settings),
        };
        Ok(Self { ctx, token, timestamper, keeper, peer_tls })
    }

    fn watched(&self, foundation: &Foundation) -> Watched {
        let (configuration, signer) = (Arc::clone(&foundation.configuration), self.token.clone());
        Watched { ctx: self.ctx.clone(), configuration, signer }
    }

    /// Every task of the relay; each ends when the server is told to stop.
    fn start_tasks(self, foundation: &Arc<Foundation>, tasks: &mut Tasks, listeners: Listeners) {
        let watched = self.watched(foundation);
        let Self { ctx, token, timestamper, keeper, peer_tls } = self;
        let (shutdown, handshake) = (&ctx.shutdown, ctx.settings.limits.handshake);
        let handshakes = ctx.settings.limits.handshakes;

        tasks.spawn("OCSP fetcher", fetch_ocsp(&ctx, token));
        tasks.spawn("timestamper", timestamper.run(shutdown.clone()));
        let client_proxy = listeners.client_http.as_ref().and_then(|listener| listener.local_addr().ok());
        tasks.spawn("log keeper", keeper.through(client_proxy).run(shutdown.clone()));
        if let Some((listener, receiver)) = listeners.heads {
            tasks.spawn("head receiver", head_receiver::serve(listener, receiver, shutdown.clone()));
        }
        tasks.spawn("housekeeping", housekeeping(watched));
        tasks.spawn("replay memory", remember(ctx.clone()));

        if let Some(listener) = listeners.client_http {
            tasks.spawn("client proxy", client_proxy::serve(ctx.clone(), listener, Acceptor::plain()));
        }
        if let Some(listener) = listeners.client_https {
            let acceptor = Acceptor::internal(ctx.internal_tls.clone(), handshake).handshakes(handshakes);
            tasks.spawn("client proxy", client_proxy::serve(ctx.clone(), listener, acceptor));
        }
        let acceptor = Acceptor::peer(peer_tls, handshake).handshakes(handshakes);
        tasks.spawn("server proxy", server_proxy::serve(ctx.clone(), listeners.server, acceptor));
        tasks.spawn(
            "OCSP port",
            ocsp_port::serve(
                listeners.ocsp,
                ctx.signer.clone(),
                ctx.settings.limits.ocsp_port,
                shutdown.clone(),
            ),
        );
    }
}

/// The task that keeps OCSP answers fresh. Whose they are is asked each time: the owner of a server may change.
fn fetch_ocsp(ctx: &Context, token: Arc<dyn TokenService>) -> impl Future<Output = ()> + Send + use<> {
    let surroundings: ocsp_fetcher::Surroundings = {
        let ctx = ctx.clone();
        Box::new(move || {
            let conf = ctx.globalconf.load_full();
            let valid = conf.as_ref().clone().filter(|conf| conf.check_valid(ctx.clock.now()).is_ok());
            (valid, Some(ctx.serverconf.load().server_id().clone()))
        })
    };
    let http = Client::new(ocsp_fetcher::CONNECT_TIMEOUT, ocsp_fetcher::TOTAL_TIMEOUT, &[]);
    let settings = ctx.settings.ocsp.clone();
    ocsp_fetcher::run(token, surroundings, http, settings, ctx.clock.clone(), ctx.shutdown.clone())
}

/// Files with keys of messages and archives that others may use are named, as the file with the PIN is.
fn warn_of_shared_keys(log: &MessageLogSection) {
    let own = log.archive_keys_directory.as_ref().map(|dir| dir.join(SERVER_KEY));
    for file in log.encryption_keys_file.iter().chain(&own) {
        if let Some(mode) = host::files::shared_mode(file) {
            tracing::warn!(file = %file.display(), mode = format!("{mode:o}"), "others may use a file with secret keys: make it 600");
        }
    }
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

/// Sockets that are bound and not served yet.
struct Listeners {
    client_http: Option<TcpListener>,
    client_https: Option<TcpListener>,
    server: TcpListener,
    ocsp: TcpListener,
    /// Takes tree heads of other members.
    heads: Option<(TcpListener, Receiver)>,
}

impl Listeners {
    fn bind(foundation: &Foundation) -> anyhow::Result<Self> {
        let (settings, sockets) = (&foundation.settings, &foundation.sockets);
        let one = |key: &'static str, address: SocketAddr| {
            sockets.bind(key, address).with_context(|| format!("{key} = {address}"))
        };
        let maybe = |key: &'static str, address: Option<SocketAddr>| match address {
            Some(address) => one(key, address).map(Some),
            None => Ok(None),
        };
        Ok(Self {
            client_http: maybe("proxy.client-http-listen", settings.client_http)?,
            client_https: maybe("proxy.client-https-listen", settings.client_https)?,
            server: one("proxy.server-listen", settings.server_listen)?,
            ocsp: one("proxy.ocsp-responder-listen", settings.ocsp_listen)?,
            heads: receiver(foundation)?,
        })
    }

    fn addresses(&self) -> std::io::Result<BTreeMap<&'static str, SocketAddr>> {
        let named = [
            ("client-http", self.client_http.as_ref()),
            ("client-https", self.client_https.as_ref()),
            ("server", Some(&self.server)),
            ("ocsp", Some(&self.ocsp)),
            ("heads", self.heads.as_ref().map(|(listener, _)| listener)),
        ];
        let there = named.into_iter().filter_map(|(name, listener)| Some((name, listener?)));
        there.map(|(name, listener)| Ok((name, listener.local_addr()?))).collect()
    }
}

/// What takes tree heads of other members. Whoever reaches it says who they are, so nobody but this machine may.
fn receiver(foundation: &Foundation) -> anyhow::Result<Option<(TcpListener, Receiver)>> {
    let log = &foundation.settings.message_log;
    let Some(address) = log.tree_head_receiver_listen.0 else { return Ok(None) };
    let name = || format!("message-log.tree-head-receiver-listen = {address}");
    if !address.ip().is_loopback() {
        bail!("{}: it must be an address of this machine alone, such as 127.0.0.1", name());
    }
    let folder = log.tree_head_receiver_folder.as_ref();
    let folder =
        folder.context("message-log.tree-head-receiver-folder must be set for tree-head-receiver-listen")?;
    let listener = foundation.sockets.bind("tree-heads", address).with_context(name)?;
    Ok(Some((listener, Receiver::new(folder, log.tree_head_receiver_max_heads))))
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
