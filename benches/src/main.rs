//! What an exchange costs: `cargo run --release -p benches -- relay`. What the message log costs: [`log`].
//!
//! Both security servers and the central server run as child processes (this program again, in another role); load, backend and trust
//! services run here. Each workload is warmed up, then measured; CPU time and memory are the kernel's figures for each process. All of
//! it shares one machine, so the rate is that of a whole exchange with everything it needs, not of one server.
//!
//! | Option | |
//! |---|---|
//! | `--quick` | shorter rows, under three minutes in all |
//! | `--smoke` | a second per row: that it runs, not how fast |
//! | `--json` | one object on standard output: `rows[]`, `headline` |

mod load;
mod log;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use host::metrics::Process;
use hyper::Method;
use pki::key::KeyKind;
use sandbox::ecosystem::{Ecosystem, Mode, Options, Role};
use sandbox::information_system::Call;
use sandbox::{child, parties};

use load::Plan;
use report::{Memory, Report, Row, round};

/// For exchanges under way at the end.
const DRAIN: Duration = Duration::from_secs(40);
/// Exchanges under way, of the headline among others.
const CONCURRENCY: usize = 64;
/// The same for bodies of a mebibyte, which would otherwise measure the loopback interface alone.
const CONCURRENCY_LARGE: usize = 16;

/// What the settings have as default.
const LOG_SEGMENT_BYTES: u64 = 256 << 20;

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
    #[command(name = "security-server", hide = true)]
    SecurityServer(Child),
    #[command(name = "central-server", hide = true)]
    CentralServer(Child),
}

#[derive(Debug, clap::Args)]
struct Relay {
    /// Shorter rows, under three minutes in all.
    #[arg(long)]
    quick: bool,
    /// A second per row: that it runs, not how fast.
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
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

/// Name, call, least length of the answer, connections.
fn workloads() -> [(&'static str, Call, u64, usize); 4] {
    let (school, probe) = (parties::school(), parties::probe());
    let echo = |bytes: usize| {
        Call::rest(
            &school,
            &probe,
            Method::POST,
            "/echo",
            Some(("application/octet-stream", vec![b'x'; bytes].into())),
        )
    };
    // A comment fills the request up to a kilobyte.
    let content = format!(
        r#"<residentDetails xmlns="{}"><code>M-2019-0502</code><!--{}--></residentDetails>"#,
        sandbox::services::soap::NAMESPACE,
        "x".repeat(200)
    );
    [
        ("REST without body", Call::rest(&school, &probe, Method::GET, "/size/0", None), 0, CONCURRENCY),
        ("REST 10 KiB", echo(10 << 10), 10 << 10, CONCURRENCY),
        ("REST 1 MiB", echo(1 << 20), 1 << 20, CONCURRENCY_LARGE),
        ("SOAP 1 KiB", Call::soap(&school, &parties::resident_details(), &content), 500, CONCURRENCY),
    ]
}

fn relay(args: &Relay) -> anyhow::Result<()> {
    let (warm_up, measure) = match (args.smoke, args.quick) {
        (true, _) => (Duration::from_millis(200), Duration::from_secs(1)),
        (false, true) => (Duration::from_secs(3), Duration::from_secs(15)),
        (false, false) => (Duration::from_secs(5), Duration::from_secs(60)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // On this thread, from which the servers must be started (see `sandbox::child`).
    let report = runtime.block_on(async {
        let dir = tempfile::tempdir()?;
        let program = std::env::current_exe()?;
        let options = Options {
            mode: Mode::Processes { program },
            keys: args.keys,
            log_segment_bytes: LOG_SEGMENT_BYTES,
            ..Options::default()
        };
        let ecosystem = Ecosystem::build(dir.path(), options, |stage| eprintln!("{stage}")).await?;
        let rows = rows(&ecosystem, args.keys, warm_up, measure).await;
        let stopped = ecosystem.stop(DRAIN).await;
        let report = Report::new(rows?).context("there are rows")?;
        stopped?;
        anyhow::Ok(report)
    })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", report.table())?;
    }
    Ok(())
}

async fn rows(
    ecosystem: &Ecosystem,
    keys: KeyKind,
    warm_up: Duration,
    measure: Duration,
) -> anyhow::Result<Vec<Row>> {
    let target = ecosystem.consumer().address.to_string();
    let pids = [ecosystem.consumer().pid, ecosystem.provider().pid, std::process::id()];
    let mut rows = Vec::new();
    for (name, call, answer_bytes, concurrency) in workloads() {
        eprintln!("{name}, {concurrency} at once, {} s", measure.as_secs());
        let plan = Plan { target: target.clone(), call, answer_bytes, concurrency, warm_up, measure };
        let (before, outcome) = load::run(&plan, || figures(pids)).await.context(name)?;
        let after = figures(pids)?;
        let cpu = [0, 1, 2].map(|n| after[n].cpu_seconds - before[n].cpu_seconds);
        let resident = |figures: &Process| round(figures.resident_bytes as f64 / f64::from(1 << 20), 1);
        let memory = Memory { consumer: resident(&after[0]), provider: resident(&after[1]) };
        rows.push(Row::new(name, &format!("{keys:?}"), concurrency, &outcome, cpu, memory));
    }
    Ok(rows)
}

fn figures(pids: [u32; 3]) -> anyhow::Result<[Process; 3]> {
    let figures = pids.map(Process::of);
    match figures {
        [Some(consumer), Some(provider), Some(load)] => Ok([consumer, provider, load]),
        _ => bail!("/proc does not tell CPU time and memory of a server: it ended, or this is not Linux"),
    }
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
