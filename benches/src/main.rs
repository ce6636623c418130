//! What an exchange costs: `cargo run --release -p benches -- relay` ([`relay`]). What the message log costs: [`log`]; large
//! registries: [`registry`].
//!
//! Both security servers and the central server run as child processes (this program again, in another role); load, backend and trust
//! services run here, and two nginx relays to compare with. Each workload is warmed up, then measured; CPU time and memory are the
//! kernel's figures for each process. All of it shares one machine, so the rate is that of a whole exchange with everything it needs,
//! not of one server.
//!
//! | Option | |
//! |---|---|
//! | `--quick` | fewer and shorter rows, under three minutes in all; without an option under fifteen |
//! | `--full` | everything, under 90 minutes |
//! | `--smoke` | half a second per row: that it runs, not how fast |
//! | `--row NAME` | only what has a name that begins so |
//! | `--json` | one object on standard output: `rows[]`, `headline`, `goals[]`, `failures[]` |
//! | `--svg FILE` | a plot |
//!
//! What fails is told, the rest is measured all the same, and the program ends with a failure. The lengths hold on a machine that has
//! nothing else to do.

mod archive;
mod bare;
mod containers;
mod goals;
mod load;
mod log;
mod nginx;
mod no_service;
mod plot;
mod registry;
mod relay;
mod report;
mod servers;
mod steps;
mod tls;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pki::key::KeyKind;
use relay::Extent;
use sandbox::child;
use sandbox::ecosystem::Role;

/// As `causeway` has it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Debug, Parser)]
#[command(name = "benches", about = "What an exchange costs")]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Whole exchanges through two security servers.
    Relay(Relay),
    /// The message log.
    Log(log::Args),
    /// Large registries.
    Registry(registry::Args),
    #[command(name = "security-server", hide = true)]
    SecurityServer(Child),
    #[command(name = "central-server", hide = true)]
    CentralServer(Child),
}

#[derive(Debug, clap::Args)]
struct Relay {
    /// Fewer and shorter rows, under three minutes in all.
    #[arg(long, group = "extent")]
    quick: bool,
    /// Everything, under 90 minutes.
    #[arg(long, group = "extent")]
    full: bool,
    /// Half a second per row: that it runs, not how fast.
    #[arg(long, group = "extent")]
    smoke: bool,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// A plot of the run, as an SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only rows and other parts whose name begins so, whatever the extent says of them.
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// Members of the large registry; a tenth as many servers.
    #[arg(long, default_value_t = 100_000)]
    members: u32,
    /// Keys of the members: rsa2048, rsa3072, p256, p384.
    #[arg(long, default_value = "rsa2048", value_parser = keys)]
    keys: KeyKind,
}

/// This program as a server.
#[derive(Debug, clap::Args)]
struct Child {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    ready_file: PathBuf,
    #[arg(long)]
    with_parent: u32,
}

fn main() -> ExitCode {
    let outcome = match Program::parse().command {
        Command::Relay(args) => relay(&args),
        Command::Log(args) => log::run(&args),
        Command::Registry(args) => registry::run(&args),
        Command::SecurityServer(child) => server(&child, Role::SecurityServer),
        Command::CentralServer(child) => server(&child, Role::CentralServer),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keys(text: &str) -> Result<KeyKind, String> {
    match text {
        "rsa2048" => Ok(KeyKind::Rsa(2048)),
        "rsa3072" => Ok(KeyKind::Rsa(3072)),
        "p256" => Ok(KeyKind::P256),
        "p384" => Ok(KeyKind::P384),
        _ => Err("one of rsa2048, rsa3072, p256, p384".into()),
    }
}

fn relay(args: &Relay) -> anyhow::Result<()> {
    let extent = match (args.smoke, args.quick, args.full) {
        (true, ..) => Extent::Smoke,
        (_, true, _) => Extent::Quick,
        (_, _, true) => Extent::Full,
        _ => Extent::Usual,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // On this thread, from which the servers must be started (see `sandbox::child`).
    let report = runtime.block_on(relay::run(args.keys, extent, args.row.as_deref(), args.members));
    anyhow::ensure!(!(report.is_empty() && report.failures.is_empty()), "nothing has a name that begins so");
    if let Some(file) = &args.svg {
        std::fs::write(file, plot::svg(&report))?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", report.table())?;
    }
    let failed: Vec<_> = report.failures.iter().map(|failure| failure.part.as_str()).collect();
    anyhow::ensure!(failed.is_empty(), "without figures: {}", failed.join("; "));
    Ok(())
}

fn server(args: &Child, role: Role) -> anyhow::Result<()> {
    child::die_with(args.with_parent)?;
    signer::process::forbid_core_dumps()?;
    host::logging::init(host::logging::Format::Text, "warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = host::shutdown::Shutdown::default();
        shutdown.on_signals()?;
        role.run(&args.config, &args.ready_file, shutdown).await
    })
}
