//! `causeway wait`: until a server is ready, its configuration is fresh, a client or a certificate has a status.

use std::time::Duration;

use super::connection::encode;
use super::failure::failure_of;
use super::ids::{self, Shape};
use super::names::{self, What};
use super::output::field;
use super::session::{Flags, Session};
use super::targets::{Kind, Targets};
use super::verb::time;
use crate::exit::Exit;

/// Waits for something to be so; exit status 5 when it is not in time.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Thing,
    #[command(flatten)]
    flags: Flags,
    /// How long at most: 90s, 10m, 2h.
    #[arg(long = "for", global = true, value_name = "TIME", value_parser = time, default_value = "5m")]
    limit: Duration,
}

#[derive(Debug, clap::Subcommand)]
enum Thing {
    /// Until the server answers, whatever it is.
    Ready,
    /// Until a security server has a fresh global configuration.
    Configuration,
    /// Until a client of a security server has a status.
    Client {
        /// Such as COM:4321:TEST.
        id: String,
        /// The status.
        #[arg(long, default_value = "REGISTERED")]
        status: String,
    },
    /// Until a certificate of a security server has a status.
    Certificate {
        /// The beginning of its hash.
        hash: String,
        /// The status.
        #[arg(long, default_value = "REGISTERED")]
        status: String,
    },
}

impl Args {
    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let open = |kind| Session::open(&args.flags, kind);
    match &args.what {
        Thing::Ready => {
            let target = Targets::load()?.choose(args.flags.target.as_deref(), None)?;
            let session = open(target.kind.unwrap_or(Kind::SecurityServer))?;
            session.wait_until(&target.url, args.limit, || match session.get("/initialization/status") {
                Ok(_) => Ok((true, String::new(), ())),
                Err(error)
                    if failure_of(&error).is_some_and(|failure| failure.exit() == Exit::Unreachable) =>
                {
                    Ok((false, "not reachable".into(), ()))
                }
                Err(error) => Err(error),
            })?;
        }
        Thing::Configuration => {
            let session = open(Kind::SecurityServer)?;
            session.wait("/diagnostics/globalconf", "status_class", "OK", args.limit)?;
        }
        Thing::Client { id, status } => {
            let session = open(Kind::SecurityServer)?;
            let id = ids::complete(&session, id, Shape::Client)?;
            session.wait(
                &format!("/clients/{}", encode(&id)),
                "status",
                &status.to_uppercase(),
                args.limit,
            )?;
        }
        Thing::Certificate { hash, status } => {
            let session = open(Kind::SecurityServer)?;
            let hash = names::find(&session, What::Certificate, hash)?;
            let path = format!("/token-certificates/{}", encode(&hash));
            let body = session.wait(&path, "status", &status.to_uppercase(), args.limit)?;
            if !args.flags.format.quiet {
                eprintln!("{}", field(&body, "status"));
            }
        }
    }
    Ok(Exit::Done)
}
