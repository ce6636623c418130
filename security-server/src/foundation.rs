//! What every security server has from its first start on, before it is anybody's: data directory, own configuration, configuration
//! client, the place of the token, internal TLS key. The management API works on it; the relay is built upon it when the server has an
//! identity and a token.
//!
//! Changes of the server's own configuration go through [`Foundation::change`]: decided and recorded by the store, then in the relay's
//! snapshot when the call returns.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use host::clock::Clock;
use host::data_dir::{DataDir, DataDirError};
use host::http::Client;
use host::shutdown::Shutdown;
use host::sockets::Sockets;
use host::store::Store;
use pki::globalconf::GlobalConf;
use proto::id::ServerId;
use signer::token::KeyUsage;
use tokio::sync::Notify;

use crate::config::Settings;
use crate::configuration_client::{ConfigurationClient, Published};
use crate::context::Context;
use crate::serverconf::event::Event;
use crate::serverconf::state::State;
use crate::serverconf::store::{ChangeError, ServerConfStore};
use crate::serverconf::{ServerConf, status};
use crate::service_description::download::Downloads;
use crate::tasks::pause;
use crate::tls::InternalTls;
use crate::token_slot::TokenSlot;

/// Between looks for a changed configuration: how long a client that was registered or removed may wait.
const REFRESH: Duration = Duration::from_millis(250);

/// Who records what the global configuration says.
const ALIGNER: &str = "global configuration";

/// The parts that every server has.
pub struct Foundation {
    /// Checked settings.
    pub settings: Arc<Settings>,
    /// Time.
    pub clock: Clock,
    /// Drain.
    pub shutdown: Shutdown,
    /// Who the server is, its clients, services and rights.
    pub conf: ServerConfStore,
    /// Download of the global configuration.
    pub configuration: Arc<ConfigurationClient>,
    /// The global configuration; `None` until the first was verified.
    pub globalconf: Published,
    /// The token, once there is one.
    pub token: TokenSlot,
    /// The internal TLS key.
    pub internal_tls: InternalTls,
    /// Fetches descriptions of services.
    pub descriptions: Downloads,
    /// The database in `state/`, which backups are made of.
    pub state: Store,
    /// Listening sockets, which outlive a restart within the process.
    pub sockets: Sockets,
    data: DataDir,
    relay: OnceLock<Context>,
    /// One snapshot is built at a time, so that an older one never replaces a newer.
    building: Mutex<()>,
    /// Told when the relay can start.
    complete: Notify,
}

impl Foundation {
    /// Opens the data directory, which stays locked as long as this lives, and logs in where there is a PIN file. Blocks.
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn open(settings: Arc<Settings>, clock: Clock, shutdown: Shutdown) -> anyhow::Result<Self> {
        let data = DataDir::open(&settings.data_dir, crate::ROLE, crate::FORMAT)?;
        let state = Store::open(&data.folder("state")?)?;
        let conf = ServerConfStore::open(&state)?;
        let token = TokenSlot::open(data.folder("keys")?, &settings, &clock, data.was_restored())?;
        let internal_tls = InternalTls::open(&data.folder("tls")?, clock.now())?;
        let download = &settings.configuration;
        let http = Client::new(download.connect, download.total, &[]);
        let kept = data.folder("globalconf")?;
        let configuration = ConfigurationClient::new(download.clone(), kept, http, clock.clone());
        Ok(Self {
            descriptions: Downloads::new(settings.descriptions),
            globalconf: configuration.published(),
            configuration: Arc::new(configuration),
            settings,
            clock,
            shutdown,
            conf,
            token,
            internal_tls,
            state,
            sockets: Sockets::default(),
            data,
            relay: OnceLock::new(),
            building: Mutex::default(),
            complete: Notify::new(),
        })
    }

    /// A folder of the data directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, DataDirError> {
        self.data.folder(name)
    }

    /// Who the server is, once it is named.
    pub fn server_id(&self) -> Option<ServerId> {
        self.conf.state().server.clone()
    }

    /// The global configuration, when it is valid now.
    pub fn valid_globalconf(&self) -> Option<Arc<GlobalConf>> {
        let conf = self.globalconf.load_full();
        conf.as_ref().clone().filter(|conf| conf.check_valid(self.clock.now()).is_ok())
    }

    /// What exchanges read, while the relay runs.
    pub fn relay(&self) -> Option<&Context> {
        self.relay.get()
    }

    /// The relay can be started: there are an identity and a token.
    pub fn can_relay(&self) -> bool {
        self.token.get().is_some() && self.server_id().is_some()
    }

    /// There is what an exchange needs of a server itself: an identity, and certificates of both kinds.
    pub fn is_set_up(&self) -> bool {
        let keys = self.token.get().map(|token| token.keys()).unwrap_or_default();
        let has =
            |usage| keys.iter().any(|key| key.usage == usage && key.certs.iter().any(|cert| cert.active));
        self.can_relay() && has(KeyUsage::Authentication) && has(KeyUsage::Signing)
    }

    /// Returns when the relay can be started.
    pub async fn completed(&self) {
        loop {
            let told = self.complete.notified();
            if self.can_relay() {
                return;
            }
            told.await;
        }
    }

    /// The relay runs: from now on it is given every new snapshot.
    pub(crate) fn relay_runs(&self, ctx: Context) {
        let _ = self.relay.set(ctx);
        self.rebuild();
    }

    /// Decides, records and applies `events`, all of them or none; the relay sees them when this returns. Blocks.
    ///
    /// # Errors
    /// The first refusal, or the disk; nothing has changed then.
    pub fn change(&self, actor: &str, events: Vec<Event>) -> Result<(), ChangeError> {
        self.conf.change(self.clock.now(), actor, events)?;
        self.rebuild();
        Ok(())
    }

    /// As [`Self::change`], with events that `plan` makes of the state that they will meet, and what else it found. Blocks.
    ///
    /// # Errors
    /// What `plan` says, the first refusal, or the disk; nothing has changed then.
    pub fn change_with<T, E: From<ChangeError>>(
        &self,
        actor: &str,
        plan: impl FnOnce(&State) -> Result<(Vec<Event>, T), E>,
    ) -> Result<T, E> {
        let found = self.conf.change_with(self.clock.now(), actor, plan)?;
        self.rebuild();
        Ok(found)
    }

    /// Records what a valid global configuration says about the server and its clients ([`status::aligned`]). Blocks.
    ///
    /// # Errors
    /// The disk; nothing has changed then.
    pub fn align(&self) -> Result<(), ChangeError> {
        let Some(conf) = self.valid_globalconf() else { return Ok(()) };
        let keys = self.token.get().map(|token| token.keys()).unwrap_or_default();
        let authentication = keys.into_iter().filter(|key| key.usage == KeyUsage::Authentication);
        let certs: Vec<_> = authentication.flat_map(|key| key.certs).map(|cert| cert.cert).collect();
        let aligned = |state: &State| Ok::<_, ChangeError>((status::aligned(state, &conf, &certs), ()));
        self.conf.change_with(self.clock.now(), ALIGNER, aligned)
    }

    /// The snapshot of clients, services and rights; `None` while the server is nobody's.
    pub(crate) fn snapshot(&self) -> Option<ServerConf> {
        ServerConf::build(&self.conf.state(), self.globalconf.load().as_ref().as_deref())
    }

    /// Gives the relay a new snapshot, and tells those who wait for the server to be complete.
    pub fn rebuild(&self) {
        let _one_at_a_time = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.relay.get(), self.snapshot()) {
            (Some(ctx), Some(next)) => ctx.serverconf.store(Arc::new(next)),
            (None, _) => self.complete.notify_waiters(),
            (Some(_), None) => {}
        }
    }

    /// Aligns the states of certificates with the configuration and makes the snapshot of keys anew. Blocks.
    pub fn refresh_keys(&self) {
        let conf = self.globalconf.load_full();
        let (Some(conf), Some(server), Some(token)) = (conf.as_ref(), self.server_id(), self.token.get())
        else {
            return;
        };
        if let Err(error) = token.align(conf, &server, self.settings.management.activate) {
            tracing::error!(%error, "the states of certificates could not be recorded");
        }
        token.refresh(conf, Some(&server), self.clock.now());
        token.wake();
    }

    /// Keeps the states of clients and certificates, and snapshots, in line with the global configuration, until told to stop.
    pub async fn watch(self: Arc<Self>) {
        let generation = |this: &Self| this.globalconf.load().as_ref().as_ref().map(|conf| conf.generation());
        // Nothing yet: what was published between the first snapshots and now is not missed.
        let mut seen = None;
        let mut aligned = self.conf.state();
        while !pause(&self.shutdown, REFRESH).await {
            let (now, state) = (generation(&self), self.conf.state());
            let renewed = now != seen;
            // Also after a change: what the configuration says about it may have come before it.
            if !renewed && Arc::ptr_eq(&state, &aligned) {
                continue;
            }
            (seen, aligned) = (now, state);
            let this = Arc::clone(&self);
            let refreshed = tokio::task::spawn_blocking(move || {
                if let Err(error) = this.align() {
                    tracing::error!(%error, "the states of clients could not be recorded");
                }
                this.rebuild();
                if renewed {
                    this.refresh_keys();
                }
            });
            if let Err(error) = refreshed.await {
                tracing::error!(%error, "keys could not be aligned with the global configuration");
            }
        }
    }
}
