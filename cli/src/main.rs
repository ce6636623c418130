//! `causeway`: one program for every role a machine can have, and for the operator.
//!
//! | File | Command |
//! |---|---|
//! | `demo` | `causeway demo`: a whole exchange on this machine |
//! | `security_server`, `central_server` | the two servers |
//! | `apply` | fills a stopped security server from a file |
//! | `verify` | says whether a container is evidence |
//! | [`config`] | prints documented sample settings |
//! | [`exit`] | what the exit status says |

mod apply;
mod config;
mod exit;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;

/// Secure data exchange between organisations, compatible with X-Road 7.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Apply(apply::Args),
    Config(config::Args),
    Verify(verify::Args),
}

fn main() -> ExitCode {
    // Keys are in memory: no core dump, no debugger of the same user. Where the kernel cannot do it the program still runs.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let outcome = match Program::parse().command {
        Command::Apply(args) => apply::run(args),
        Command::Config(args) => config::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("causeway: {error:#}");
            Exit::of(&error).into()
        }
    }
}
