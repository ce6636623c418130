//! `causeway demo`: from nothing to signed, logged, timestamped messages between two members, on this machine, in one command.
//!
//! The ecosystem (`sandbox`) is built or taken up again in DIR; each server is a child process of this same program on a loopback
//! address of its own. Then the school office of one city asks the population register of another over REST and SOAP, and the evidence
//! of both messages of each exchange is fetched and verified offline against the stored configuration. Without `--once` everything goes
//! on running until Ctrl-C.

mod exchanges;
mod report;
mod story;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use proto::time::UnixTime;
use sandbox::ecosystem::{Ecosystem, Filling, Mode, Options, Role};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use exchanges::Asked;
use report::{Report, Server};
use story::{Story, seconds};

/// A file in the demo's folder, for the shell.
const ENVIRONMENT: &str = "env";
/// For exchanges under way when the demo is told to stop.
const DRAIN: Duration = Duration::from_secs(40);

/// Runs a whole exchange on this machine: central server, two security servers, trust and sample services.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run the exchanges, have them timestamped, check everything and exit; 0 only when all held.
    #[arg(long)]
    once: bool,
    /// Where keys, registry and message logs are kept; a second start uses them again.
    #[arg(long, value_name = "DIR", default_value = "causeway-demo")]
    dir: PathBuf,
    /// Written when all parts answer; removed first.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Print what was found as one JSON object on standard output; the story goes to standard error.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // `block_on` polls on this thread, the main one, from which the servers must be started (see `sandbox::child`).
    runtime.block_on(demo(args))
}

async fn demo(args: &Args) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let mut story = Story::new(args.json);
    let mut stop = Stop::listen()?;
    forget(args.ready_file.as_deref())?;
    story.line(&format!(
        "Causeway {}: two cities exchange messages, all in {}\n",
        env!("CARGO_PKG_VERSION"),
        args.dir.display()
    ));

    let program = std::env::current_exe().context("this program's own path")?;
    let options =
        Options { mode: Mode::Processes { program }, filling: Filling::FrontDoor, ..Options::default() };
    let built = Ecosystem::build(&args.dir, options, |stage| story.step(&stage.to_string()));
    let mut ecosystem = tokio::select! {
        built = built => built.context("the demo could not be started")?,
        // Dropping what was built so far kills the servers; what they keep on disk stands a kill at any time.
        () = stop.told() => {
            story.done();
            bail!("stopped before everything ran; what was built stays for the next start");
        }
    };
    story.done();
    for_administrators(&ecosystem)?;
    let servers = servers(&ecosystem);
    if let Some(path) = &args.ready_file {
        let ready = serde_json::json!({ "instance": sandbox::parties::INSTANCE, "servers": servers });
        host::files::write_atomic(path, ready.to_string().as_bytes(), 0o644)
            .with_context(|| path.display().to_string())?;
    }
    let outcome = tokio::select! {
        outcome = exchange(&mut story, &ecosystem, servers, began) => outcome,
        () = stop.told() => Err(anyhow::anyhow!("stopped before the exchanges were done")),
    };
    let held = match &outcome {
        Ok((report, asked)) => {
            tell(&story, args, report, asked, &ecosystem)?;
            if !args.once {
                tell_administrators(&story, &ecosystem, ecosystem.dir())?;
            }
            asked.iter().all(Asked::held)
        }
        Err(_) => false,
    };
    let ended = if outcome.is_ok() && !args.once {
        keep_running(&story, &mut ecosystem, &mut stop).await
    } else {
        Ok(())
    };
    story.step("Stopping: exchanges under way come to their end");
    let drained = ecosystem.stop(DRAIN).await;
    story.done();
    outcome?;
    ended?;
    drained?;
    Ok(if held { Exit::Done } else { Exit::Failed })
}

/// Asks, fetches the evidence, counts.
async fn exchange(
    story: &mut Story,
    ecosystem: &Ecosystem,
    servers: Vec<Server>,
    began: Instant,
) -> anyhow::Result<(Report, Vec<Asked>)> {
    story.step("Rannala's school office asks Metsola's population register");
    let mut asked = exchanges::ask(ecosystem).await?;
    story.done();
    for one in &asked {
        story.line(&format!("      {one}"));
    }
    story.step("Evidence: containers of both messages, verified offline");
    exchanges::fetch_evidence(ecosystem, &mut asked).await?;
    story.done();
    for line in asked.iter().flat_map(Asked::evidence_lines) {
        story.line(&format!("      {line}"));
    }
    let report = Report {
        instance: sandbox::parties::INSTANCE.into(),
        servers,
        globalconf: report::GlobalConf {
            versions: ecosystem.published_versions().await?,
            expires: ecosystem.expires()?.map(UnixTime::to_iso8601),
        },
        exchanges: asked.iter().map(Asked::report).collect(),
        log: report::Log { records: ecosystem.log_records().await? },
        elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Ok((report, asked))
}

/// The end of the story.
fn tell(
    story: &Story,
    args: &Args,
    report: &Report,
    asked: &[Asked],
    ecosystem: &Ecosystem,
) -> anyhow::Result<()> {
    if args.json {
        let mut json = serde_json::to_vec_pretty(report)?;
        json.push(b'\n');
        std::io::stdout().write_all(&json)?;
    }
    let held = asked.iter().filter(|one| one.held()).count();
    let took = seconds(Duration::from_millis(report.elapsed_ms));
    story.line(&format!(
        "\n{held} of {} exchanges held: signed, logged, timestamped, verified; {} records in both message logs; {took} in all.",
        asked.len(),
        report.log.records
    ));
    if !args.once {
        story.line("\nTry it, in another terminal:\n");
        for line in exchanges::curl_lines(ecosystem)? {
            story.line(&format!("{line}\n"));
        }
    }
    Ok(())
}

/// How the servers are administered while they run.
fn tell_administrators(story: &Story, ecosystem: &Ecosystem, folder: &Path) -> anyhow::Result<()> {
    story
        .line("The servers were filled through their management APIs, and go on being administered there:\n");
    for server in ecosystem.servers() {
        let url = server.admin_url().unwrap_or_default();
        let key = ecosystem.api_key_file(server);
        story.line(&format!("{:<10}  {url}\n            API key: {}", name(server), key.display()));
    }
    let program = std::env::current_exe().context("this program's own path")?;
    let (program, consumer) = (program.display(), ecosystem.consumer());
    story.line(&format!(
        "\n. '{}'\n'{program}' cs -t central request list\n'{program}' ss -t {} client list\n\
         key=$(cat '{}') && curl -sk -H \"Authorization: X-Road-ApiKey token=$key\" {}/clients\n",
        folder.join(ENVIRONMENT).display(),
        name(consumer),
        ecosystem.api_key_file(consumer).display(),
        consumer.admin_url().unwrap_or_default(),
    ));
    Ok(())
}

/// What a server is called on the command line.
fn name(server: &sandbox::ecosystem::Server) -> &str {
    match server.role {
        Role::CentralServer => "central",
        Role::SecurityServer | Role::Signer => server.id.rsplit('/').next().unwrap_or_default(),
    }
}

/// Writes what the command line needs to administer the servers: a settings file of targets, and an environment that names it, the CA and
/// where Rannala's information systems ask.
fn for_administrators(ecosystem: &Ecosystem) -> anyhow::Result<()> {
    let mut text = String::from("# Written by causeway demo at every start.\n");
    for server in ecosystem.servers() {
        let kind = if server.role == Role::CentralServer { "cs" } else { "ss" };
        let url = server.admin_url().context("a server without a management API")?;
        let certificate = ecosystem.admin(server)?.fingerprint().to_owned();
        text.push_str(&format!(
            "\n[target.{}]\nurl = {:?}\nkind = {kind:?}\nfingerprint = {certificate:?}\nkey-file = {:?}\n",
            name(server),
            url.trim_end_matches("/api/v1"),
            ecosystem.api_key_file(server).display().to_string(),
        ));
    }
    let targets = ecosystem.dir().join("targets.toml");
    let environment = format!(
        "export CAUSEWAY_TARGETS='{}'\nexport DEMO_CA='{}'\nexport DEMO_RANNALA='http://{}'\n",
        targets.display(),
        ecosystem.ocsp().certify_url(),
        ecosystem.consumer().address,
    );
    for (path, text) in [(targets, text), (ecosystem.dir().join(ENVIRONMENT), environment)] {
        let written = host::files::write_atomic(&path, text.as_bytes(), 0o600);
        written.with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Until it is told to stop, or a server ends by itself.
async fn keep_running(story: &Story, ecosystem: &mut Ecosystem, stop: &mut Stop) -> anyhow::Result<()> {
    story.line("Everything runs until Ctrl-C.");
    tokio::select! {
        () = stop.told() => Ok(()),
        ended = ecosystem.server_ended() => bail!("{ended}"),
    }
}

fn servers(ecosystem: &Ecosystem) -> Vec<Server> {
    ecosystem
        .servers()
        .map(|server| Server {
            id: server.id.clone(),
            role: server.role.name(),
            address: server.address.to_string(),
            pid: server.pid,
            admin_url: server.admin_url(),
        })
        .collect()
}

fn forget(path: Option<&Path>) -> anyhow::Result<()> {
    match path.map(std::fs::remove_file) {
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("the ready file")
        }
        _ => Ok(()),
    }
}

/// Ctrl-C or SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn told(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
    }
}
