//! `causeway-conformance`: plays the cases against two security servers and writes reports.
//!
//! Exit status 0 when every case held, differed as known, or was skipped; 1 when one failed; 2 when the settings cannot be used.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use conformance::config::{File, Settings};
use conformance::information_system::InformationSystem;
use conformance::report::{self, Tally};
use conformance::run::Runner;
use conformance::{cases, services};

/// Black-box conformance of two X-Road security servers of any make.
#[derive(Debug, Parser)]
#[command(name = "causeway-conformance", version)]
struct Args {
    /// Settings (TOML), see conformance/README.md; arguments stand above them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the consumer's server takes requests: http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    consumer: Option<String>,
    /// Who asks: INSTANCE/CLASS/MEMBER/SUBSYSTEM.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Somebody on the consumer's server without rights.
    #[arg(long, value_name = "ID")]
    stranger: Option<String>,
    /// Whose services are called: INSTANCE/CLASS/MEMBER/SUBSYSTEM.
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// The provider's server: INSTANCE/CLASS/MEMBER/SERVER.
    #[arg(long, value_name = "ID")]
    provider_server: Option<String>,
    /// Where this program listens as the provider's information system.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The same as the provider's server reaches it, if that is another address.
    #[arg(long, value_name = "URL")]
    listen_url: Option<String>,
    /// Run the cases whose id holds this text.
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Write a JSON report.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a JUnit XML report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// List the cases and end.
    #[arg(long)]
    list: bool,
    /// List the services that an operator enters at the provider's server, and end.
    #[arg(long)]
    services: bool,
}

impl Args {
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut file = self.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let set = |to: &mut String, from: &Option<String>| {
            if let Some(value) = from {
                to.clone_from(value);
            }
        };
        set(&mut file.consumer, &self.consumer);
        set(&mut file.client, &self.client);
        set(&mut file.provider, &self.provider);
        set(&mut file.provider_server, &self.provider_server);
        file.stranger = self.stranger.clone().or(file.stranger);
        file.listen = self.listen.or(file.listen);
        file.listen_url = self.listen_url.clone().or(file.listen_url);
        file.check()
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("causeway-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    if args.list {
        for case in cases::all() {
            writeln!(out, "{} {:<5} {}", case.document, case.clause, case.id())?;
        }
        return Ok(true);
    }
    let settings = args.settings()?;
    if args.services {
        write!(out, "{}", services::table(&settings.listen_url, &settings.client.path()))?;
        return Ok(true);
    }
    let system =
        InformationSystem::start(settings.listen).with_context(|| format!("listen = {}", settings.listen))?;
    let results = Runner::new(&settings, system).run_all(&args.only, |result| {
        // Standard output that is gone is no reason to stop: the reports follow.
        let _ = out.write_all(report::line(result).as_bytes());
    });
    let tally = Tally::of(&results);
    writeln!(out, "\n{tally}")?;
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{:#}\n", report::json(&results)))
            .with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, report::junit(&results)).with_context(|| path.display().to_string())?;
    }
    Ok(tally.failed == 0)
}
