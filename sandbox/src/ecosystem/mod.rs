//! The whole ecosystem in one call: [`Ecosystem::build`] makes it in a folder, or takes up again what was made there.
//!
//! | Module | Holds |
//! |---|---|
//! | `state` | where things listened, in `sandbox.json` |
//! | `members` | keys and certificates of the members |
//! | `more_members` | a registry as large as one likes |
//! | `registry` | what the central server must know |
//! | `files` | settings and descriptions that the servers are given |
//! | `build` | the steps between a folder and a running ecosystem |
//! | `front_door` | the calls of the management APIs that fill empty servers |
//! | `kept` | what such servers must learn when addresses or ports could not be had again |
//! | [`run`] | the servers, as tasks of this process or as processes of their own |
//!
//! ```text
//! DIR/LOCK, DIR/FORMAT, DIR/sandbox.json
//! DIR/trust/             the CA, see `authority`
//! DIR/central-server/    settings, PIN, server.log, data/
//! DIR/ss-rannala/        the same, with keys, certificates, anchor and server.yaml as an operator would bring them
//! DIR/ss-metsola/
//! ```
//!
//! There are two ways to fill the servers ([`Filling`]): as people do, through their management APIs, or offline, by the functions behind the
//! operator's commands, where the relay is tested or measured and its bring-up is not the matter. Both stand a kill at any time: offline every
//! step finds out for itself what is already done; through the APIs a bring-up that was not finished begins anew. Addresses and
//! ports are had again when they are free; when not, new ones are registered and configured.

mod build;
mod files;
mod front_door;
mod kept;
mod members;
mod more_members;
mod registry;
pub mod run;
mod state;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use host::data_dir::DataDir;
use host::http::Client;
use pki::globalconf::load_directory;
use pki::key::KeyKind;
use proto::globalconf::{MAX_VERSION, MIN_VERSION};
use proto::id::ServerId;
use proto::time::UnixTime;

use crate::admin::Admin;
use crate::authority::Authority;
use crate::information_system::InformationSystem;
use crate::loopback::Claim;
use crate::ocsp_responder::OcspResponder;
use crate::parties;
use crate::services::SampleServices;
use crate::tsa::Tsa;
pub use run::{Mode, Role, Server};

/// For a question to a server of ours.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer to such a question.
const ASK_LIMIT_BYTES: usize = 16 << 20;

/// How empty servers are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filling {
    /// While they are stopped, in one step each: hundreds of tests and benches start from here.
    #[default]
    Offline,
    /// Through their management APIs, call by call, as people do. Knows no signers of their own, further services or clients.
    FrontDoor,
}

/// How to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the servers run.
    pub mode: Mode,
    /// How empty servers are filled.
    pub filling: Filling,
    /// Keys of the members and of the CA. Kept keys stay what they are.
    pub keys: KeyKind,
    /// Bytes of a segment of the message log, which takes its place on the disk at once.
    pub log_segment_bytes: u64,
    /// The security servers' private keys are in processes of their own, which run as the servers do.
    pub signers: bool,
    /// Services of the population register besides its own, as `apply` reads them.
    pub services: Vec<serde_json::Value>,
    /// Clients of the consumer's security server besides the school office, as `apply` reads them.
    pub clients: Vec<serde_json::Value>,
    /// Members that are registered besides those of the sandbox, each with two subsystems; a tenth as many security servers, which do
    /// not exist, are theirs. Offline only.
    pub more_members: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Tasks,
            filling: Filling::Offline,
            keys: KeyKind::Rsa(2048),
            log_segment_bytes: 16 << 20,
            signers: false,
            services: Vec::new(),
            clients: Vec::new(),
            more_members: 0,
        }
    }
}

/// What is being done; reported before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// CA, OCSP responder, TSA, services; keys and certificates of the members.
    Trust,
    /// Registry, signed configuration.
    Central,
    /// Owner, anchor, keys, clients, services, rights; start.
    SecurityServers,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trust => "Trust services (CA, OCSP, timestamping); keys of two members",
            Self::Central => "Central server: who is who, published as signed configuration",
            Self::SecurityServers => "Security servers of two cities, who trust each other through it",
        })
    }
}

/// A running ecosystem; dropping it ends everything at once, [`Ecosystem::stop`] properly.
#[derive(Debug)]
pub struct Ecosystem {
    dir: PathBuf,
    mode: Mode,
    // Fields are dropped in order: servers before what they use.
    central: Server,
    consumer: Server,
    provider: Server,
    signers: Vec<Server>,
    trust: Trust,
    _claims: [Claim; 3],
    _lock: DataDir,
}

/// What runs in this process in any case.
#[derive(Debug)]
struct Trust {
    authority: Arc<Authority>,
    ocsp: OcspResponder,
    tsa: Tsa,
    services: SampleServices,
}

impl Ecosystem {
    /// Makes an ecosystem in `dir`, or takes it up again, and starts it. All its parts answer on return.
    ///
    /// To be called from a thread that outlives the ecosystem when servers are processes of their own, see [`crate::child`].
    ///
    /// # Errors
    /// The folder is in use, or something could not be made or started; nothing is left running.
    pub async fn build(dir: &Path, options: Options, stage: impl FnMut(Stage)) -> anyhow::Result<Self> {
        build::build(dir, options, stage).await
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The central server.
    pub fn central(&self) -> &Server {
        &self.central
    }

    /// The security server of the city that asks.
    pub fn consumer(&self) -> &Server {
        &self.consumer
    }

    /// The security server of the city that answers.
    pub fn provider(&self) -> &Server {
        &self.provider
    }

    /// A file with an API key of a server's management API, for its owner's eyes only.
    pub fn api_key_file(&self, server: &Server) -> PathBuf {
        build::files_of(&self.dir, server).api_key()
    }

    /// The management API of a server, with that key.
    ///
    /// # Errors
    /// It has none.
    pub fn admin(&self, server: &Server) -> anyhow::Result<Admin> {
        build::admin(server, &build::files_of(&self.dir, server))
    }

    /// Kills the signers of both security servers, if they have their own, and starts them again after `pause`.
    ///
    /// # Errors
    /// One does not start.
    pub async fn restart_signers(&mut self, pause: Duration) -> anyhow::Result<()> {
        self.signers.clear();
        tokio::time::sleep(pause).await;
        self.signers = build::start_signers(&self.dir, &self.mode).await?;
        Ok(())
    }

    /// Ends both security servers properly and starts them again, with the settings that `change` makes of those they have; gives the
    /// moment at which they were started. On return they are ready, with the configuration that they kept.
    ///
    /// # Errors
    /// One does not end within `limit`, or does not start.
    pub async fn restart_security_servers(
        &mut self,
        limit: Duration,
        change: impl Fn(&ServerId, &mut security_server::config::File),
    ) -> anyhow::Result<Instant> {
        for server in [&mut self.consumer, &mut self.provider] {
            ensure!(server.stop_for_now(limit).await, "{} did not end well", server.id);
        }
        for (server, id) in
            [(&self.consumer, parties::consumer_server()), (&self.provider, parties::provider_server())]
        {
            build::change_settings(&build::files_of(&self.dir, server), |settings| change(&id, settings))?;
        }
        let began = Instant::now();
        let start = |server: &Server| {
            let (mode, id, files) =
                (self.mode.clone(), server.id.clone(), build::files_of(&self.dir, server));
            async move { Server::start(&mode, Role::SecurityServer, &id, &files).await }
        };
        (self.consumer, self.provider) = tokio::try_join!(start(&self.consumer), start(&self.provider))?;
        Ok(began)
    }

    /// All three, the central server first.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        [&self.central, &self.consumer, &self.provider].into_iter()
    }

    /// The CA.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.trust.authority
    }

    /// The OCSP responder.
    pub fn ocsp(&self) -> &OcspResponder {
        &self.trust.ocsp
    }

    /// The timestamping service.
    pub fn tsa(&self) -> &Tsa {
        &self.trust.tsa
    }

    /// The provider's information systems.
    pub fn services(&self) -> &SampleServices {
        &self.trust.services
    }

    /// The consumer's information system.
    pub fn information_system(&self) -> InformationSystem {
        InformationSystem::new(&format!("http://{}", self.consumer.address))
    }

    /// Where the consumer's security server keeps the global configuration.
    pub fn consumer_globalconf(&self) -> PathBuf {
        build::consumer_files(&self.dir).data().join("globalconf")
    }

    /// When the configuration that the consumer's security server keeps expires.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn expires(&self) -> anyhow::Result<Option<UnixTime>> {
        Ok(load_directory(&self.consumer_globalconf())?.expires())
    }

    /// Versions of the configuration that the central server publishes.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn published_versions(&self) -> anyhow::Result<Vec<u32>> {
        let mut versions = Vec::new();
        for version in MIN_VERSION..=MAX_VERSION {
            let url = format!("http://{}/internalconf?version={version}", self.central.address);
            if asker().get(&url, ASK_LIMIT_BYTES).await?.status == 200 {
                versions.push(version);
            }
        }
        Ok(versions)
    }

    /// Records in the message logs of both security servers together.
    ///
    /// # Errors
    /// One does not say.
    pub async fn log_records(&self) -> anyhow::Result<u64> {
        let mut records = 0;
        for server in [&self.consumer, &self.provider] {
            let found = server.health().await?["message_log"]["records"].as_u64();
            records +=
                found.with_context(|| format!("{} does not say how many records it has", server.id))?;
        }
        Ok(records)
    }

    /// Waits until a server ends by itself, which none should, and says which and how.
    pub async fn server_ended(&mut self) -> String {
        tokio::select! {
            ended = self.central.ended() => ended,
            ended = self.consumer.ended() => ended,
            ended = self.provider.ended() => ended,
        }
    }

    /// Lets exchanges under way come to their end, then ends everything: who asks before who answers.
    ///
    /// # Errors
    /// A server did not end by itself within `limit`, or not well.
    pub async fn stop(self, limit: Duration) -> anyhow::Result<()> {
        for server in [self.consumer, self.provider, self.central].into_iter().chain(self.signers) {
            let id = server.id.clone();
            ensure!(server.stop(limit).await, "{id} did not end well");
        }
        Ok(())
    }
}

fn asker() -> Client {
    Client::new(ASK_TIMEOUT, ASK_TIMEOUT, &[])
}
