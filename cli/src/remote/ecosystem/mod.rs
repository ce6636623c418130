//! `causeway apply`, `diff` and `export` over the management APIs: an ecosystem file says how things should be, a plan says what that takes.
//!
//! | File | Holds |
//! |---|---|
//! | [`model`], [`xrdsst`] | the file, and that of the Security Server Toolkit |
//! | [`now`] | what is there, in the same words |
//! | [`plan`], [`servers`] | from wanted and there to ordered steps: pure |
//! | [`step`] | one step |
//! | [`execute`] | carries steps out, and waits where configuration has to travel |
//!
//! A second run changes nothing. `export` then `apply` changes nothing. A saved plan is refused when the servers or the file have changed.

pub(crate) mod execute;
pub(crate) mod model;
pub(crate) mod now;
pub(crate) mod plan;
mod servers;
pub(crate) mod step;
mod xrdsst;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use pki::digest::DigestAlgorithm;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::session::{Flags, Session};
use super::targets::{Kind, Targets};
use crate::exit::{Exit, Usage};
use execute::{Ended, Executor};
use model::{Approve, Ecosystem, Format};
use now::Now;
use plan::Options;
use step::{Act, Step};

/// What `apply` and `diff` have in common.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) flags: Flags,
    pub(crate) options: Options,
    pub(crate) wait: Duration,
    pub(crate) save_plan: Option<PathBuf>,
    pub(crate) format: Format,
}

/// A saved plan.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    /// The file that it was made from, and its SHA-256.
    file: PathBuf,
    #[serde(default)]
    format: Format,
    file_sha256: String,
    /// Of what was there.
    state_sha256: String,
    steps: Vec<Step>,
}

const PLAN_VERSION: u32 = 1;

/// Sessions of all targets that a file names.
fn sessions(flags: &Flags, wanted: &Ecosystem) -> anyhow::Result<BTreeMap<String, Session>> {
    let mut sessions = BTreeMap::new();
    let central = wanted.central.iter().map(|central| (&central.target, Kind::CentralServer));
    for (target, kind) in
        central.chain(wanted.servers.iter().map(|server| (&server.target, Kind::SecurityServer)))
    {
        let flags = Flags { target: Some(target.clone()), ..flags.clone() };
        sessions.insert(target.clone(), Session::open(&flags, kind)?);
    }
    Ok(sessions)
}

fn read(wanted: &Ecosystem, sessions: &BTreeMap<String, Session>) -> anyhow::Result<Now> {
    let mut now = Now::default();
    for (target, session) in sessions {
        let context = || format!("target {target}");
        match session.kind {
            Kind::CentralServer => {
                let central = now::read_central(session).with_context(context)?;
                if central.initialized && central.instance != wanted.instance {
                    let text = format!(
                        "{target} is of instance {}, the file of {}",
                        central.instance, wanted.instance
                    );
                    return Err(Usage(text).into());
                }
                now.central = Some(central);
            }
            Kind::SecurityServer => {
                now.servers.insert(target.clone(), now::read_server(session).with_context(context)?);
            }
        }
    }
    Ok(now)
}

fn show(flags: &Flags, steps: &[Step]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let format = &flags.format;
    let json = |step: &Step| json!({ "sign": step.sign.text().to_string(), "target": step.target, "kind": step.kind, "what": step.what });
    if format.json {
        let all: Vec<_> = steps.iter().map(json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    for step in steps {
        match format.jsonl {
            true => writeln!(out, "{}", json(step))?,
            false => writeln!(out, "{}", step.line())?,
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    Ok(hex::encode(DigestAlgorithm::Sha256.digest(&bytes).value))
}

/// Shows what `apply` would do.
pub(crate) fn diff(file: &Path, job: &Job) -> anyhow::Result<Exit> {
    let wanted = Ecosystem::load(file, job.format)?;
    let sessions = sessions(&job.flags, &wanted)?;
    let now = read(&wanted, &sessions)?;
    let steps = plan::plan(&wanted, &now, &job.options)?;
    show(&job.flags, &steps)?;
    if let Some(path) = &job.save_plan {
        let saved = Saved {
            version: PLAN_VERSION,
            file: std::path::absolute(file)?,
            format: job.format,
            file_sha256: sha256(file)?,
            state_sha256: now.hash(),
            steps: steps.clone(),
        };
        host::files::write_atomic(path, serde_json::to_string_pretty(&saved)?.as_bytes(), 0o644)
            .with_context(|| path.display().to_string())?;
    }
    Ok(if steps.is_empty() { Exit::Done } else { Exit::Differs })
}

/// Makes things as the file says.
pub(crate) fn apply(file: &Path, job: &Job) -> anyhow::Result<Exit> {
    let wanted = Ecosystem::load(file, job.format)?;
    let sessions = sessions(&job.flags, &wanted)?;
    let now = read(&wanted, &sessions)?;
    let steps = plan::plan(&wanted, &now, &job.options)?;
    carry_out(&wanted, &sessions, &steps, job)
}

/// Makes things as a saved plan says, unless something has changed since.
pub(crate) fn apply_plan(path: &Path, job: &Job) -> anyhow::Result<Exit> {
    let text = std::fs::read(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    let saved: Saved = serde_json::from_slice(&text)
        .map_err(|error| Usage(format!("{} is no plan: {error}", path.display())))?;
    if saved.version != PLAN_VERSION {
        return Err(Usage(format!("{} is a plan of version {}", path.display(), saved.version)).into());
    }
    if sha256(&saved.file)? != saved.file_sha256 {
        return Err(Usage(format!(
            "{} has changed since the plan was made: make another",
            saved.file.display()
        ))
        .into());
    }
    let wanted = Ecosystem::load(&saved.file, saved.format)?;
    let sessions = sessions(&job.flags, &wanted)?;
    execute::unmoved(&read(&wanted, &sessions)?, &saved.state_sha256)?;
    carry_out(&wanted, &sessions, &saved.steps, job)
}

fn carry_out(
    wanted: &Ecosystem,
    sessions: &BTreeMap<String, Session>,
    steps: &[Step],
    job: &Job,
) -> anyhow::Result<Exit> {
    let executor = Executor { wanted, sessions, limit: job.wait };
    // What hangs on a step that waits for people is left to another run.
    let mut left: BTreeMap<&str, String> = BTreeMap::new();
    for step in steps {
        // Both signing requests are wanted at once, so that people sign once.
        let for_people = matches!(step.act, Act::MakeKey { .. } | Act::Certify { .. });
        let why = left.get(step.target.as_str()).filter(|_| !for_people);
        // Requests of clients go through the server of the management services, which may be what is left.
        let why = why.or_else(|| left.values().next().filter(|_| step.act.needs_management()));
        if let Some(why) = why {
            eprintln!("left: {} ({why})", step.line());
            continue;
        }
        match executor.carry_out(step).with_context(|| step.line())? {
            Ended::Done => show(&job.flags, std::slice::from_ref(step))?,
            Ended::Left(why) => {
                eprintln!("left: {}: {why}", step.line());
                left.insert(&step.target, why);
            }
        }
    }
    Ok(if left.is_empty() { Exit::Done } else { Exit::Differs })
}

/// Writes what is there as a file.
///
/// # Errors
/// A target that is not there, or of which the form has no place; whatever the servers refuse.
pub(crate) fn export(
    flags: &Flags,
    names: &[String],
    output: Option<&Path>,
    format: Format,
) -> anyhow::Result<Exit> {
    let targets = Targets::load()?;
    let mut chosen: Vec<(String, Kind)> = Vec::new();
    for (name, target) in &targets.target {
        let kind = target.kind.unwrap_or(Kind::SecurityServer);
        if kind == Kind::CentralServer && format == Format::Xrdsst && names.is_empty() {
            continue;
        }
        if names.is_empty() || names.contains(name) {
            chosen.push((name.clone(), kind));
        }
    }
    if let Some(unknown) = names.iter().find(|name| !targets.target.contains_key(*name)) {
        return Err(Usage(format!("there is no target {unknown:?}")).into());
    }
    let mut found = Ecosystem { approve: Some(Approve::Wait), ..Ecosystem::default() };
    for (name, kind) in chosen {
        let flags = Flags { target: Some(name.clone()), ..flags.clone() };
        let session = Session::open(&flags, kind)?;
        match kind {
            Kind::CentralServer => {
                if format == Format::Xrdsst {
                    return Err(Usage(format!("{name}: that form has no central server")).into());
                }
                let now = now::read_central(&session).with_context(|| format!("target {name}"))?;
                if found.central.is_some() {
                    return Err(Usage("a file has one central server: name the targets".into()).into());
                }
                found.instance.clone_from(&now.instance);
                found.central = Some(now.conf);
            }
            Kind::SecurityServer => {
                let now = now::read_server(&session).with_context(|| format!("target {name}"))?;
                if found.instance.is_empty() {
                    found.instance = now.conf.owner.split(':').next().unwrap_or_default().to_owned();
                }
                found.servers.push(now.conf);
            }
        }
    }
    let url = |name: &str| targets.target.get(name).map(|target| target.url.clone());
    let text = match format {
        Format::Causeway => serde_yaml_ng::to_string(&found)?,
        Format::Xrdsst => {
            format!("{}{}", xrdsst::HEAD, serde_yaml_ng::to_string(&xrdsst::File::of(&found, url))?)
        }
    };
    match output {
        Some(path) => std::fs::write(path, text).with_context(|| path.display().to_string())?,
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(Exit::Done)
}
