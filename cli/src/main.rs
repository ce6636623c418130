//! `causeway`: one program for every role a machine can have, and for the operator.
//!
//! | File | Command |
//! |---|---|
//! | [`demo`] | `causeway demo`: a whole exchange on this machine |
//! | [`security_server`], [`central_server`] | the two servers; [`daemon`] is what they share |
//! | [`signer_process`] | `causeway signer`: the private keys in a process of their own; log-in and log-out of its token |
//! | [`apply`] | fills a stopped security server from a file |
//! | [`verify`] | says whether containers, archives, logs, configurations hold |
//! | [`log`] | looks into a message log |
//! | [`accounts`] | the first API key and users of a server's management API |
//! | [`remote`] | `ss`, `cs`, `target`, `login`, `api`: everything over the servers' management APIs |
//! | [`peer`] | what is known of other security servers' TLS |
//! | [`config`] | prints documented sample settings |
//! | [`exit`] | what the exit status says |

mod accounts;
mod apply;
mod central_server;
mod config;
mod daemon;
#[cfg(feature = "sandbox")]
mod demo;
mod exit;
mod log;
mod peer;
mod remote;
mod security_server;
mod signer_process;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;

/// For the servers: the system's allocator joins and splits its free memory for every buffer of more than a kilobyte, and gives pages
/// back that the next exchange needs again (docs/performance.md).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Secure data exchange between organisations, compatible with X-Road 7.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, propagate_version = true, after_help = exit::HELP)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "sandbox")]
    Demo(demo::Args),
    /// Runs a security server until it is told to stop.
    SecurityServer(daemon::Args),
    /// Runs a central server until it is told to stop.
    CentralServer(daemon::Args),
    Signer(signer_process::Args),
    Apply(remote::apply::ApplyArgs),
    Diff(remote::apply::DiffArgs),
    Export(remote::apply::ExportArgs),
    Verify(verify::Args),
    Log(log::Args),
    Peer(peer::Args),
    Config(config::Args),
    Ss(remote::SecurityArgs),
    Cs(remote::CentralArgs),
    Target(remote::target::Args),
    Login(remote::target::LoginArgs),
    Api(remote::api::Args),
    Diagnose(remote::diagnose::Args),
    Wait(remote::waiting::Args),
    /// What the exit status says.
    #[command(name = "exit-status", long_about = exit::HELP)]
    ExitStatus,
    Completion(remote::completion::Args),
    #[command(hide = true, name = "__complete")]
    Complete(remote::completion::Words),
    ApiKey(accounts::KeyArgs),
    User(accounts::UserArgs),
}

fn main() -> ExitCode {
    // Keys are in memory: no core dump, in whatever role. Where the kernel refuses, the servers say so when they start.
    let _ = signer::process::forbid_core_dumps();
    let outcome = match Program::parse().command {
        #[cfg(feature = "sandbox")]
        Command::Demo(args) => demo::run(&args),
        Command::CentralServer(args) => central_server::run(&args),
        Command::SecurityServer(args) => security_server::run(&args),
        Command::Signer(args) => signer_process::run(&args),
        Command::Apply(args) => remote::apply::apply(&args),
        Command::Diff(args) => remote::apply::diff(&args),
        Command::Export(args) => remote::apply::export(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Peer(args) => peer::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Ss(args) => remote::security(&args),
        Command::Cs(args) => remote::central(&args),
        Command::Target(args) => remote::target::run(&args),
        Command::Login(args) => remote::told(args.flags(), remote::target::login(&args)),
        Command::Api(args) => remote::told(args.flags(), remote::api::run(&args)),
        Command::Diagnose(args) => remote::told(args.flags(), remote::diagnose::run(&args)),
        Command::Wait(args) => remote::told(args.flags(), remote::waiting::run(&args)),
        Command::ExitStatus => exit::print_help(),
        Command::Completion(args) => remote::completion::run(&args),
        Command::Complete(args) => {
            remote::completion::complete(&args, <Program as clap::CommandFactory>::command())
        }
        Command::ApiKey(args) => accounts::api_key(&args),
        Command::User(args) => accounts::user(&args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("causeway: {}", exit::told(&error));
            Exit::of(&error).into()
        }
    }
}
