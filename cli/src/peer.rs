//! `causeway peer list|forget --dir DIR`: other security servers that were met with TLS 1.3, and are not talked to with less since.
//!
//! A server that truly lost its TLS 1.3, for instance because another product took its place under the same certificate, is refused until
//! it is forgotten here. Works on the data directory, whether the server runs or not; the server sees it with its next connection.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use security_server::tls::seen::{self, Promise};

use crate::exit::{Exit, Usage};
use crate::verify::printable;

/// What a security server knows of its peers' TLS.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the servers that were met with TLS 1.3: address and SHA-256 of the certificate.
    List {
        /// The data directory of the security server.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Lets a server speak the CBC suites of TLS 1.2 again.
    Forget {
        /// Its address, or the SHA-256 of its certificate, as listed.
        peer: String,
        /// The data directory of the security server; it may run.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// No data directory, or a file that cannot be read or written; a peer that is not known.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let found = match &args.command {
        Command::List { dir } => file(dir).and_then(|file| Ok(seen::list(&file)?))?,
        Command::Forget { peer, dir } => {
            let file = file(dir)?;
            let forgotten =
                seen::forget(&file, peer).with_context(|| format!("{} cannot be changed", file.display()))?;
            anyhow::ensure!(!forgotten.is_empty(), "{peer} is not among the peers: causeway peer list");
            forgotten
        }
    };
    let mut out = std::io::stdout().lock();
    for Promise { hash, address } in &found {
        writeln!(out, "{} {hash}", printable(address))?;
    }
    Ok(Exit::Done)
}

fn file(dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = dir.join("tls");
    if !folder.is_dir() {
        let rule = format!("{}: no data directory of a security server that has run", dir.display());
        return Err(Usage(rule).into());
    }
    Ok(folder.join(seen::FILE))
}
