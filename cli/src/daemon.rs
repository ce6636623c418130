//! What the servers' commands share: their arguments, the runtime, stopping on SIGTERM and Ctrl-C, the last log lines.

use std::path::PathBuf;
use std::time::Duration;

use host::shutdown::Shutdown;

use crate::exit::Exit;

/// For the last log lines to be written.
const LAST_LINES: Duration = Duration::from_secs(2);
/// For threads that block, in a look-up of a name for instance: whatever must not be cut off was waited for before.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Arguments of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The settings file (TOML); `causeway config sample` prints a documented one.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Written when the server can do its work: one JSON object with its process id and the addresses it listens on.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Be killed when this process ends; it must be the one that starts us.
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "PID", hide = true)]
    with_parent: Option<u32>,
}

impl Args {
    /// A server of the demo does not outlive it.
    pub(crate) fn tie_to_parent(&self) -> anyhow::Result<()> {
        #[cfg(feature = "sandbox")]
        if let Some(parent) = self.with_parent {
            sandbox::child::die_with(parent)?;
        }
        Ok(())
    }
}

/// Runs `server` until it ends; SIGTERM and Ctrl-C make it drain.
pub(crate) fn run(server: impl AsyncFnOnce(Shutdown) -> anyhow::Result<()>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::default();
        shutdown.on_signals()?;
        server(shutdown).await
    });
    // A runtime that is dropped waits for them for ever.
    runtime.shutdown_timeout(LAST_THREADS);
    host::logging::flush(LAST_LINES);
    outcome.map(|()| Exit::Done)
}
