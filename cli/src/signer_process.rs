//! `causeway signer --config FILE`: the private keys in a process of their own, and what an operator does with its token.
//!
//! | Command | Does |
//! |---|---|
//! | `causeway signer --config FILE` | serves the token until it is told to stop |
//! | `causeway signer login` | loads the private keys; asks for the PIN on the terminal, or takes it from `--pin-file` |
//! | `causeway signer logout` | forgets them |
//! | `causeway signer status` | says what the token is; exit status 1 when it is logged out |
//!
//! The commands find the signer by `--config` (the signer's own settings) or `--socket`. A PIN is never an argument: those are seen by
//! every user of the machine.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use signer::remote::client::Operator;
use signer::remote::daemon::{self as signer_daemon, File, SOCKET, read_pin};

use crate::daemon;
use crate::exit::{Exit, Usage};

/// For a signer to answer; making the token's key out of the PIN is slow on purpose.
const WAIT: Duration = Duration::from_secs(15);

/// Keeps the private keys of a security server in a process of their own.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[group(id = "signer")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    server: Option<daemon::Args>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Loads the private keys of a running signer.
    Login {
        #[command(flatten)]
        place: Place,
        /// A file with the PIN, instead of being asked.
        #[arg(long, value_name = "FILE")]
        pin_file: Option<PathBuf>,
    },
    /// Makes a running signer forget its private keys.
    Logout {
        #[command(flatten)]
        place: Place,
    },
    /// Says what the token of a running signer is.
    Status {
        #[command(flatten)]
        place: Place,
    },
}

/// Where the signer is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The settings file of the signer.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Its socket.
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
}

impl Place {
    fn operator(&self) -> anyhow::Result<Operator> {
        let socket = match (&self.socket, &self.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(config)) => load(config)?.socket,
            (None, None) => SOCKET.into(),
        };
        // Whoever waits for a signer that starts does not ask for its state.
        if !socket.exists() {
            bail!("{}: there is no such socket: does the signer run?", socket.display());
        }
        Ok(Operator::new(socket, WAIT)?)
    }
}

fn load(config: &std::path::Path) -> Result<File, Usage> {
    host::settings::load(config).map_err(|error| Usage(error.to_string()))
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        None => serve(args.server.as_ref().ok_or_else(|| Usage("--config FILE is missing".to_owned()))?),
        Some(Verb::Login { place, pin_file }) => {
            let pin = match pin_file {
                Some(path) => read_pin(path)
                    .map_err(|error| Usage(format!("--pin-file {}: {error}", path.display())))?,
                None => crate::remote::secrets::ask("PIN")?,
            };
            place.operator()?.login(&pin)?;
            say("the token is logged in")?;
            Ok(Exit::Done)
        }
        Some(Verb::Logout { place }) => {
            place.operator()?.logout()?;
            say("the token is logged out")?;
            Ok(Exit::Done)
        }
        Some(Verb::Status { place }) => {
            let state = place.operator()?.state()?;
            let how = if state.logged_in { "logged in" } else { "logged out" };
            say(&format!("token {}: {how}, {} keys", state.label, state.keys))?;
            Ok(if state.logged_in { Exit::Done } else { Exit::Failed })
        }
    }
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

fn serve(args: &daemon::Args) -> anyhow::Result<Exit> {
    args.tie_to_parent()?;
    let settings = load(&args.config)?;
    host::logging::init(settings.log_format, &settings.log_filter);
    daemon::run(
        async |shutdown| Ok(signer_daemon::run(settings, args.ready_file.as_deref(), shutdown).await?),
    )
}
