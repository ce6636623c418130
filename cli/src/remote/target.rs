//! `causeway target` and `causeway login`: which servers there are, and by what they know us.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use serde_json::{Value, json};

use super::connection::{Answer, Body, Call, Connection, encode, first_contact};
use super::failure::Failure;
use super::output::{self, Format, column};
use super::secrets;
use super::session::Flags;
use super::targets::{Kind, Session, Target, Targets, check_url};
use super::tls;
use crate::exit::{Exit, Usage};

/// Servers that commands are sent to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Adds a server; shows the fingerprint of its certificate and asks whether it is the right one.
    Add(Add),
    /// Lists the servers.
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Removes a server with the key and session that are kept for it.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// What it is to be called.
    name: String,
    /// Address of its management API, such as https://ss1:4000.
    url: String,
    /// What it is; found out when it is not said.
    #[arg(long)]
    kind: Option<Kind>,
    /// SHA-256 of its certificate, for scripts: nothing is asked then.
    #[arg(long, value_name = "HEX", conflicts_with = "ca")]
    fingerprint: Option<String>,
    /// Or a file with CA certificates (PEM) that vouch for it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A file with its API key, readable by you alone.
    #[arg(long, value_name = "FILE", conflicts_with = "key_env")]
    key_file: Option<PathBuf>,
    /// Or an environment variable with it.
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// Take the place of a target of this name.
    #[arg(long)]
    replace: bool,
    /// Seconds that the first contact may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// Runs `causeway target`.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Add(args) => add(args)?,
        Verb::List { format } => list(format)?,
        Verb::Remove { name } => {
            let mut targets = Targets::load()?;
            let target =
                targets.target.remove(name).ok_or_else(|| Usage(format!("there is no target {name:?}")))?;
            target.forget()?;
            targets.store()?;
        }
    }
    Ok(Exit::Done)
}

fn add(args: &Add) -> anyhow::Result<()> {
    let mut targets = Targets::load()?;
    if targets.target.contains_key(&args.name) && !args.replace {
        return Err(Usage(format!(
            "there is a target {:?}; --replace puts this one in its place",
            args.name
        ))
        .into());
    }
    check_url(&args.url)?;
    let timeout = Duration::from_secs(args.timeout.max(1));
    let fingerprint = match (&args.fingerprint, &args.ca) {
        (Some(text), _) if tls::is_fingerprint(text) => Some(text.clone()),
        (Some(text), _) => return Err(Usage(format!("{text} is no SHA-256 fingerprint")).into()),
        (None, Some(_)) => None,
        (None, None) => Some(compared(&args.url, timeout)?),
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| path.display().to_string());
    let mut target = Target {
        name: args.name.clone(),
        url: args.url.trim_end_matches('/').to_owned(),
        kind: args.kind,
        fingerprint,
        ca: args.ca.as_ref().map(absolute).transpose()?,
        key_file: args.key_file.as_ref().map(absolute).transpose()?,
        key_env: args.key_env.clone(),
    };
    if target.kind.is_none() {
        target.kind = Some(kind_of(&target, timeout)?);
    }
    targets.target.insert(args.name.clone(), target);
    targets.store()
}

/// First contact: the fingerprint, compared by the operator.
fn compared(url: &str, timeout: Duration) -> anyhow::Result<String> {
    let shown = first_contact(url, timeout)?;
    eprintln!("{url} shows the certificate with SHA-256 fingerprint\n  {shown}");
    eprintln!(
        "Compare it with the certificate on the server (of Causeway tls/management-api.crt in its data folder), or ask its administrator."
    );
    if secrets::agrees("is it the right one?")? {
        return Ok(shown);
    }
    Err(Usage(format!("nothing was added; without a terminal: --fingerprint {shown}")).into())
}

/// The two APIs have documents of different titles.
fn kind_of(target: &Target, timeout: Duration) -> anyhow::Result<Kind> {
    let connection = Connection::new(target, None, timeout, false)?;
    let answer = connection.call(&Call::get("/openapi.yaml"))?;
    let document: serde_yaml_ng::Value = serde_yaml_ng::from_slice(&answer.body).unwrap_or_default();
    let title = document["info"]["title"].as_str().unwrap_or_default().to_lowercase();
    if title.contains("central server") {
        return Ok(Kind::CentralServer);
    }
    if title.contains("security server") {
        return Ok(Kind::SecurityServer);
    }
    bail!(Usage("it does not say what it is: --kind ss or --kind cs".into()))
}

fn list(format: &Format) -> anyhow::Result<()> {
    let targets = Targets::load()?;
    let rows = targets.target.values().map(|target| {
        json!({
            "name": target.name,
            "kind": target.kind.map(Kind::word),
            "url": target.url,
            "fingerprint": target.fingerprint,
            "ca": target.ca,
            "known_by": known_by(target),
        })
    });
    let rows: Value = rows.collect();
    let columns =
        ["Name=name", "Kind=kind", "URL=url", "Known by=known_by", "Fingerprint=fingerprint", "CA=ca"];
    output::print(format, &rows, ".", &columns.map(column))
}

fn known_by(target: &Target) -> String {
    match (&target.key_env, &target.key_file) {
        (Some(name), _) => format!("key in ${name}"),
        (None, Some(file)) => format!("key in {}", file.display()),
        (None, None) => match target.credential() {
            Ok(Some(super::targets::Credential::Key(_))) => "key".into(),
            Ok(Some(super::targets::Credential::Session(_))) => "session".into(),
            Ok(None) => String::new(),
            Err(error) => error.to_string(),
        },
    }
}

/// Logs in with a user's name and password; the session is kept for the target.
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    flags: Flags,
    /// Name of the user; asked for when it is not given.
    #[arg(long, env = "CAUSEWAY_USER")]
    user: Option<String>,
    /// A file with the password, readable by you alone; without it CAUSEWAY_PASSWORD, or it is asked for.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password from standard input.
    #[arg(long)]
    password_stdin: bool,
}

impl LoginArgs {
    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }
}

/// Runs `causeway login`.
pub(crate) fn login(args: &LoginArgs) -> anyhow::Result<Exit> {
    let target = Targets::load()?.choose(args.flags.target.as_deref(), None)?;
    let timeout = Duration::from_secs(args.flags.timeout.max(1));
    let connection = Connection::new(&target, None, timeout, args.flags.trace)?;
    let user = match &args.user {
        Some(user) => user.clone(),
        None => secrets::ask_openly(&format!("user of {}", target.name))?,
    };
    let password =
        secrets::read("password", args.password_file.as_deref(), args.password_stdin, "CAUSEWAY_PASSWORD")?;
    let form = format!("username={}&password={}", encode(&user), encode(&password));
    let call = Call::new(Method::POST, "/login").body(Body::UrlEncoded(form));
    let answer = connection.call_at("", &call)?;
    if answer.status != 200 {
        return Err(match answer.status {
            401 => anyhow::anyhow!(Failure::of(&answer, "POST /login".into(), &target.name, true))
                .context("the user or the password is wrong"),
            _ => Failure::of(&answer, "POST /login".into(), &target.name, true).into(),
        });
    }
    let session = Session { cookie: cookie(&answer, "JSESSIONID")?, token: cookie(&answer, "XSRF-TOKEN")? };
    target.keep_session(&session)?;
    if !args.flags.format.quiet {
        eprintln!("{user} is logged in to {}", target.name);
    }
    Ok(Exit::Done)
}

fn cookie(answer: &Answer, name: &str) -> anyhow::Result<String> {
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let mut values =
        cookies.filter_map(|cookie| cookie.split(';').next()?.trim().strip_prefix(name)?.strip_prefix('='));
    values.next().map(str::to_owned).with_context(|| format!("the server gave no cookie {name}"))
}
