//! `causeway config sample ROLE`: documented settings with every default, as in `deploy/`, rendered from the code.

use std::io::Write;

use clap::{Subcommand, ValueEnum};

use crate::exit::Exit;

/// Settings files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints a documented settings file with every default.
    Sample {
        /// Whose settings.
        role: Role,
    },
}

/// The daemons that have a settings file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// One member's security server.
    SecurityServer,
    /// The central server of an instance.
    CentralServer,
    /// The signer as a process of its own.
    Signer,
}

impl Role {
    /// The documented sample.
    pub(crate) fn sample(self) -> String {
        match self {
            Self::SecurityServer => host::settings::render_sample::<security_server::config::File>(),
            Self::CentralServer => host::settings::render_sample::<central_server::config::File>(),
            Self::Signer => host::settings::render_sample::<signer::remote::daemon::File>(),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Verb::Sample { role } = &args.verb;
    std::io::stdout().write_all(role.sample().as_bytes())?;
    Ok(Exit::Done)
}
