//! `causeway apply -f server.yaml --offline DIR`: fills the data directory of a stopped security server from files.
//!
//! What a file may say and in which order things are done: `security_server::apply`. One line per change on standard output, `+` for
//! what comes, `~` for what changes, `-` for what goes; nothing when there is nothing to do.

use std::io::Write;
use std::path::PathBuf;

use security_server::apply::{self, ApplyError};

use crate::exit::{Exit, Usage};

/// What is to be done.
pub(crate) struct Job {
    /// The file, as documented in deploy/server.yaml.
    pub(crate) file: PathBuf,
    /// The data directory of the stopped server.
    pub(crate) offline: PathBuf,
    /// Which of several servers in the file, by `target` or `code`.
    pub(crate) target: Option<String>,
    /// Also remove what the file does not name.
    pub(crate) prune: bool,
    /// Change nothing.
    pub(crate) dry_run: bool,
}

/// Runs the command.
pub(crate) fn run(job: Job) -> anyhow::Result<Exit> {
    let Job { file, offline, target, prune, dry_run } = job;
    let options = apply::Options { file, data_dir: offline, target, prune, dry_run };
    let report = match apply::run(&options, &actor(), host::clock::Clock::System.now()) {
        Ok(report) => report,
        Err(ApplyError::Mistake(mistake)) => return Err(Usage(mistake.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    let mut out = std::io::stdout().lock();
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    Ok(if dry_run && !report.lines.is_empty() { Exit::Differs } else { Exit::Done })
}

/// Who the recorded events are said to come from: the operating system's user.
fn actor() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}
