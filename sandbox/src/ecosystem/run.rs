//! The three servers, as tasks of this process (tests) or as child processes of this program (demo, benches).
//!
//! Both read the same settings file and say in the same ready file when they can do their work and where they listen.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use host::http::Client;
use host::shutdown::Shutdown;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::files::Files;
use crate::child::{Child, Ready, Start, read_ready};

/// For a server to get ready; generous, since test machines are busy and registries may be large.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Between two looks for a ready file.
const POLL: Duration = Duration::from_millis(5);

/// For a question about its health.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
const ASK_LIMIT_BYTES: usize = 1 << 20;

/// Where servers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Tasks of this process.
    Tasks,
    /// Processes of their own.
    Processes {
        /// The program, which takes a role as its subcommand; see [`crate::child::Start`].
        program: PathBuf,
    },
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One per instance.
    CentralServer,
    /// One per member.
    SecurityServer,
    /// One per security server, when it is a process of its own.
    Signer,
}

impl Role {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CentralServer => central_server::ROLE,
            Self::SecurityServer => security_server::ROLE,
            Self::Signer => "signer",
        }
    }

    /// Format of its data directory.
    pub(super) fn format(self) -> u32 {
        match self {
            Self::CentralServer => central_server::FORMAT,
            Self::SecurityServer => security_server::FORMAT,
            // It has no data directory, only a token in its server's.
            Self::Signer => 0,
        }
    }

    /// The listener that its clients speak plain HTTP to.
    fn main_listener(self) -> Option<&'static str> {
        match self {
            Self::CentralServer => Some("http"),
            Self::SecurityServer => Some("client-http"),
            Self::Signer => None,
        }
    }

    /// Reads the settings file and runs the server until `shutdown` says stop.
    ///
    /// # Errors
    /// The settings, or what the server says.
    pub async fn run(self, config: &Path, ready_file: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
        match self {
            Self::CentralServer => {
                let file: central_server::config::File = host::settings::load(config)?;
                central_server::app::run(file.resolve()?, Some(ready_file), shutdown).await
            }
            Self::SecurityServer => {
                let file: security_server::config::File = host::settings::load(config)?;
                security_server::app::run(file.resolve()?, Some(ready_file), shutdown).await
            }
            Self::Signer => {
                let file: signer::remote::daemon::File = host::settings::load(config)?;
                Ok(signer::remote::daemon::run(file, Some(ready_file), shutdown).await?)
            }
        }
    }
}

/// A running server; ended at once when dropped.
#[derive(Debug)]
pub struct Server {
    /// `INSTANCE/CLASS/OWNER/CODE`; of the central server the instance.
    pub id: String,
    /// Which kind.
    pub role: Role,
    /// Where its clients reach it over HTTP: information systems, or security servers that download. Nowhere (0.0.0.0:0) for a signer, and for a
    /// security server that is empty.
    pub address: SocketAddr,
    /// Its process, perhaps this one.
    pub pid: u32,
    ready: Ready,
    /// Its ready file.
    written: PathBuf,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    Process(Child),
    Task(Shutdown, AbortOnDrop),
    /// Between its end and its next start.
    Ended,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<anyhow::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Starts a server whose files are in place, and waits until it can do its work.
    pub(super) async fn start(mode: &Mode, role: Role, id: &str, files: &Files) -> anyhow::Result<Self> {
        let (handle, ready) = match mode {
            Mode::Processes { program } => {
                let start = Start {
                    program: program.clone(),
                    role: role.name(),
                    config: files.settings(),
                    ready_file: files.ready(),
                    log: files.log(),
                };
                let child = Child::start(&start, START_LIMIT).await?;
                let ready = child.ready().clone();
                (Handle::Process(child), ready)
            }
            Mode::Tasks => start_task(role, files).await.with_context(|| id.to_owned())?,
        };
        let (nowhere, written) = ((std::net::Ipv4Addr::UNSPECIFIED, 0).into(), files.ready());
        let mut server =
            Self { id: id.to_owned(), role, address: nowhere, pid: ready.pid, ready, written, handle };
        server.locate();
        Ok(server)
    }

    /// Where its clients reach it, if they do by now.
    fn locate(&mut self) -> bool {
        let Some(name) = self.role.main_listener() else { return true };
        let found = self.listener(name);
        self.address = found.unwrap_or(self.address);
        found.is_some()
    }

    /// Waits until a server that was started empty can exchange messages.
    pub(super) async fn relays(&mut self) -> anyhow::Result<()> {
        let written = self.written.clone();
        let relays = async {
            loop {
                if let Some(ready) = read_ready(&written)? {
                    self.ready = ready;
                }
                if self.locate() && self.healthy().await? {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let limited = tokio::time::timeout(START_LIMIT, relays).await;
        limited.with_context(|| format!("{written:?}: the server does not get ready to exchange messages"))?
    }

    /// Its health check says so.
    async fn healthy(&self) -> anyhow::Result<bool> {
        let Some(address) = self.listener("health") else { return Ok(false) };
        let client = Client::new(ASK_TIMEOUT, ASK_TIMEOUT, &[]);
        Ok(client.get(&format!("http://{address}/health"), ASK_LIMIT_BYTES).await?.status == 200)
    }

    /// Where its management API is.
    pub fn admin_url(&self) -> Option<String> {
        Some(format!("https://{}/api/v1", self.listener("api")?))
    }

    /// Waits until a security server has downloaded the configuration itself: it is ready with the one that it kept, which may name an
    /// address or a port of an earlier start.
    pub(super) async fn has_present_configuration(&self) -> anyhow::Result<()> {
        let downloaded = async {
            while self.health().await?["global_configuration"]["downloaded"].is_null() {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        let limited = tokio::time::timeout(START_LIMIT, downloaded).await;
        limited.with_context(|| format!("{} did not download the configuration", self.id))?
    }

    /// Waits until it has downloaded the configuration once more from now on.
    pub(super) async fn downloads_again(&self) -> anyhow::Result<()> {
        let when = async || anyhow::Ok(self.health().await?["global_configuration"]["downloaded"].take());
        let before = when().await?;
        while when().await? == before {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Details of its health.
    pub(super) async fn health(&self) -> anyhow::Result<Value> {
        let address =
            self.listener("health").with_context(|| format!("{} has no health listener", self.id))?;
        let client = Client::new(ASK_TIMEOUT, ASK_TIMEOUT, &[]);
        let answer = client.get(&format!("http://{address}/health"), ASK_LIMIT_BYTES).await?;
        let mut health: Value = serde_json::from_slice(&answer.body)?;
        Ok(health["details"].take())
    }

    /// Where one of its listeners is.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.ready.listeners.get(name).copied()
    }

    /// Waits until it ends by itself, which it should not, and says so.
    pub async fn ended(&mut self) -> String {
        let how = match &mut self.handle {
            Handle::Process(child) => match child.ended().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Handle::Task(_, task) => match (&mut task.0).await {
                Ok(Ok(())) => "nobody told it to".to_owned(),
                Ok(Err(error)) => format!("{error:#}"),
                Err(error) => error.to_string(),
            },
            Handle::Ended => "it was told to".to_owned(),
        };
        format!("{} has ended: {how}", self.id)
    }

    /// Lets exchanges under way come to their end, then ends it; `true` when that went well.
    pub async fn stop(mut self, limit: Duration) -> bool {
        self.stop_for_now(limit).await
    }

    /// The same for a server that is to be started again.
    pub(super) async fn stop_for_now(&mut self, limit: Duration) -> bool {
        match std::mem::replace(&mut self.handle, Handle::Ended) {
            Handle::Process(child) => child.stop(limit).await,
            Handle::Task(shutdown, mut task) => {
                shutdown.stop();
                matches!(tokio::time::timeout(limit, &mut task.0).await, Ok(Ok(Ok(()))))
            }
            Handle::Ended => true,
        }
    }
}

async fn start_task(role: Role, files: &Files) -> anyhow::Result<(Handle, Ready)> {
    let (config, ready_file) = (files.settings(), files.ready());
    crate::child::forget(&ready_file)?;
    let shutdown = Shutdown::default();
    let told = shutdown.clone();
    let written = ready_file.clone();
    let mut task = AbortOnDrop(tokio::spawn(async move { role.run(&config, &written, told).await }));
    let ready = async {
        loop {
            if let Some(ready) = read_ready(&ready_file)? {
                return anyhow::Ok(ready);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let ready = tokio::select! {
        ready = tokio::time::timeout(START_LIMIT, ready) => ready.context("it was not ready in time")?,
        ended = &mut task.0 => match ended? {
            Ok(()) => bail!("it ended before it was ready"),
            Err(error) => return Err(error),
        },
    }?;
    Ok((Handle::Task(shutdown, task), ready))
}
