//! `causeway diagnose -t ss1`: every check that the management API allows, each with outcome, finding and what to do; with `--from` and `--to`
//! the path of one message.
//!
//! What is read comes from a server; what it means is judged by pure functions in [`checks`]. A call that this key may not make is a check
//! that was left out, never one that passed. Exit status 1 when a check fails; warnings do not count.

mod checks;
mod path;

use std::time::Duration;

use http::Method;
use proto::time::UnixTime;
use serde::Serialize;
use serde_json::Value;

use super::connection::Call;
use super::failure::failure_of;
use super::output::{self, column};
use super::session::{Flags, Session};
use super::targets::Kind;
use crate::exit::Exit;

/// Says what is wrong with a security server, and what to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Follow a message from this client of the server …
    #[arg(long, value_name = "CLIENT", requires = "to")]
    from: Option<String>,
    /// … to this service, such as DEV:COM:1234:APP:getRandom.
    #[arg(long, value_name = "SERVICE", requires = "from")]
    to: Option<String>,
    /// Where the server takes calls of information systems, to ask whether the service may be called: http://ss1:8080.
    #[arg(long, value_name = "URL", requires = "to")]
    proxy: Option<String>,
    /// Address of the server's health check, such as http://ss1:5588/health.
    #[arg(long, value_name = "URL")]
    health: Option<String>,
}

impl Args {
    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok,
    Warn,
    Fail,
    /// It could not be made.
    Skip,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) group: &'static str,
    pub(super) check: String,
    pub(super) outcome: Outcome,
    pub(super) finding: String,
    pub(super) remedy: String,
}

/// All checks so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
    group: &'static str,
}

impl Report {
    pub(super) fn group(&mut self, group: &'static str) {
        self.group = group;
    }
    fn push(&mut self, outcome: Outcome, check: &str, finding: impl Into<String>, remedy: impl Into<String>) {
        let (check, finding, remedy) = (check.to_owned(), finding.into(), remedy.into());
        self.checks.push(Check { group: self.group, check, outcome, finding, remedy });
    }
    pub(super) fn ok(&mut self, check: &str, finding: impl Into<String>) {
        self.push(Outcome::Ok, check, finding, "");
    }
    pub(super) fn warn(&mut self, check: &str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.push(Outcome::Warn, check, finding, remedy);
    }
    pub(super) fn fail(&mut self, check: &str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.push(Outcome::Fail, check, finding, remedy);
    }
    pub(super) fn skip(&mut self, check: &str, finding: impl Into<String>) {
        self.push(Outcome::Skip, check, finding, "");
    }
    /// `good` or a failure.
    pub(super) fn expect(&mut self, good: bool, check: &str, finding: &str, wrong: &str, remedy: &str) {
        if good { self.ok(check, finding) } else { self.fail(check, wrong, remedy) }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let session = Session::open(&args.flags, Kind::SecurityServer)?;
    let now = host::clock::Clock::System.now();
    let mut report = Report::default();
    reach(&session, now, &mut report)?;
    let ready = setup(&session, &mut report)?;
    if ready {
        everything(&session, now, &mut report)?;
    }
    if let Some(url) = &args.health {
        health(url, &mut report);
    }
    if let (true, Some(from), Some(to)) = (ready, &args.from, &args.to) {
        path::follow(&session, from, to, args.proxy.as_deref(), &mut report)?;
    }
    show(&args.flags, &report)?;
    let failed = report.checks.iter().any(|check| check.outcome == Outcome::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn show(flags: &Flags, report: &Report) -> anyhow::Result<()> {
    let body = serde_json::to_value(&report.checks)?;
    let columns =
        ["Outcome=outcome", "Group=group", "Check=check", "Finding=finding", "Remedy=remedy"].map(column);
    output::print(&flags.format, &body, ".", &columns)
}

/// A body, or a check that is left out: the first failure to reach the server ends the command.
pub(super) fn fetch(
    session: &Session,
    path: &str,
    check: &str,
    report: &mut Report,
) -> anyhow::Result<Option<Value>> {
    match session.get(path) {
        Ok(body) => Ok(Some(body)),
        Err(error) => {
            let Some(failure) = failure_of(&error) else { return Err(error) };
            match failure.exit() {
                Exit::NotAuthorised => report.skip(check, "the roles of this key do not allow it"),
                Exit::Failed => match failure.code() {
                    Some(code) => report.fail(check, code.to_owned(), super::failure::advice(code)),
                    None => report.skip(check, "the server does not offer it"),
                },
                _ => return Err(error),
            }
            Ok(None)
        }
    }
}

fn reach(session: &Session, now: UnixTime, report: &mut Report) -> anyhow::Result<()> {
    report.group("reach");
    let answer = session.try_send(&Call::new(Method::GET, "/user"))?;
    report.ok(
        "connection",
        format!("{} answers and is the server that was pinned", session.connection.target().url),
    );
    checks::clock(answer.header("date"), now, report);
    checks::roles(&answer.json()?, report);
    Ok(())
}

/// Whether there is anything behind the first configuration.
fn setup(session: &Session, report: &mut Report) -> anyhow::Result<bool> {
    report.group("set-up");
    let status = session.get("/initialization/status")?;
    let ready = checks::setup(&status, report);
    if let Some(tokens) = fetch(session, "/tokens", "tokens", report)? {
        checks::tokens(&tokens, report);
    }
    Ok(ready)
}

fn everything(session: &Session, now: UnixTime, report: &mut Report) -> anyhow::Result<()> {
    report.group("configuration");
    if let Some(body) = fetch(session, "/diagnostics/globalconf", "download", report)? {
        checks::download(&body, report);
    }
    if let Some(list) = fetch(session, "/diagnostics/global-conf-status", "sources", report)? {
        checks::sources(&list, report);
    }
    report.group("certificates");
    let certificates = match fetch(session, "/tokens", "certificates", report)? {
        Some(_) => super::security::keys::certificates(session)?,
        None => Vec::new(),
    };
    checks::authentication(&certificates, report);
    checks::expiry(&certificates, now, report);
    report.group("trust");
    if let Some(list) = fetch(session, "/diagnostics/ocsp-responders", "OCSP", report)? {
        checks::ocsp(&list, report);
    }
    if let Some(list) = fetch(session, "/diagnostics/timestamping-services", "timestamping", report)? {
        checks::timestamping(&list, report);
    }
    report.group("clients");
    if let Some(list) = fetch(session, "/clients?internal_search=true&show_members=true", "clients", report)?
    {
        checks::clients(&list, report);
        report.group("services");
        services(session, &list, report)?;
    }
    report.group("housekeeping");
    if let Some(body) = fetch(session, "/system/maintenance-mode", "maintenance mode", report)? {
        checks::maintenance(&body, report);
    }
    if let Some(list) = fetch(session, "/backups", "backup", report)? {
        checks::backups(&list, now, report);
    }
    if let Some(body) =
        fetch(session, "/diagnostics/message-log-encryption-status", "archive encryption", report)?
    {
        checks::encryption(&body, report);
    }
    Ok(())
}

fn services(session: &Session, clients: &Value, report: &mut Report) -> anyhow::Result<()> {
    for client in clients.as_array().into_iter().flatten() {
        let id = output::field(client, "id");
        let path = format!("/clients/{}/service-descriptions", super::connection::encode(&id));
        if let Some(list) = fetch(session, &path, &format!("services of {id}"), report)? {
            checks::services(&id, &list, report);
        }
    }
    Ok(())
}

/// The health check is another address than the API, mostly of the machine itself.
fn health(url: &str, report: &mut Report) {
    const LIMIT_BYTES: usize = 1024 * 1024;
    const WAIT: Duration = Duration::from_secs(10);
    report.group("housekeeping");
    let answer = tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
        runtime.block_on(async { host::http::Client::new(WAIT, WAIT, &[]).get(url, LIMIT_BYTES).await })
    });
    match answer {
        Ok(Ok(answer)) if answer.status == 200 => {
            report.ok("health", "the server calls itself healthy");
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            checks::message_log(&body, report);
        }
        Ok(Ok(answer)) => {
            let text = output::clean(&String::from_utf8_lossy(&answer.body));
            report.fail("health", format!("{}: {text}", answer.status), "the server's log says more");
        }
        Ok(Err(error)) => {
            report.fail("health", error.to_string(), "is health-check-listen set, and the address reachable?")
        }
        Err(error) => report.skip("health", error.to_string()),
    }
}
