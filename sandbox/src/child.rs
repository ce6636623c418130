//! Servers as child processes of the demo and the benches: started with a settings file, ready when they say so, stopped by SIGTERM.
//!
//! A child runs the same program (`current_exe`) in another role. It is in a process group of its own, so that Ctrl-C reaches the parent
//! alone, which then stops its children in order. It dies with its parent, however that one dies ([`die_with`]): the kernel sends SIGKILL
//! when the *thread* that started it ends, so children are started from a thread that lives as long as the program, the main one.
//!
//! The ready file is written whole, when the server answers: one JSON object, see [`Ready`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::process::{Child as Process, Command};

/// Between two looks for a ready file.
const POLL: Duration = Duration::from_millis(10);
/// Lines of a child's log that an error quotes.
const QUOTED_LINES: usize = 15;

/// What a server writes when it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its process.
    pub pid: u32,
    /// Where it listens, by the name of the listener.
    pub listeners: BTreeMap<String, SocketAddr>,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// The role: its subcommand.
    pub role: &'static str,
    /// Its settings file.
    pub config: PathBuf,
    /// Where it says that it is ready; an old file is removed first.
    pub ready_file: PathBuf,
    /// Where its log lines go; those of the run before are kept beside it, as `….old`.
    pub log: PathBuf,
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: Process,
    ready: Ready,
}

/// Why a child is not there.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// A file, or the process.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{role} ended with {status} before it was ready; the end of {log}:\n{tail}")]
    Ended {
        /// Which.
        role: &'static str,
        /// How.
        status: std::process::ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// Last lines of it.
        tail: String,
    },
    /// It did not get ready.
    #[error("{role} was not ready within {limit:?}; the end of {log}:\n{tail}")]
    NotReady {
        /// Which.
        role: &'static str,
        /// The bound.
        limit: Duration,
        /// Its log file.
        log: PathBuf,
        /// Last lines of it.
        tail: String,
    },
}

impl Child {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// [`ChildError`]; nothing of it is left running.
    pub async fn start(start: &Start, limit: Duration) -> Result<Self, ChildError> {
        forget(&start.ready_file)?;
        let log = new_log(&start.log).map_err(io_error(&start.log))?;
        let mut process = Command::new(&start.program)
            .arg(start.role)
            .arg("--config")
            .arg(&start.config)
            .arg("--ready-file")
            .arg(&start.ready_file)
            .arg("--with-parent")
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(io_error(&start.program))?;
        let tail = || tail(&start.log);
        let ready = async {
            loop {
                if let Some(status) = process.try_wait().map_err(io_error(&start.program))? {
                    return Err(ChildError::Ended {
                        role: start.role,
                        status,
                        log: start.log.clone(),
                        tail: tail(),
                    });
                }
                if let Some(ready) = read_ready(&start.ready_file)? {
                    return Ok(ready);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let late = || ChildError::NotReady { role: start.role, limit, log: start.log.clone(), tail: tail() };
        let ready = tokio::time::timeout(limit, ready).await.map_err(|_| late())??;
        Ok(Self { process, ready })
    }

    /// What it said.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// What the system says.
    pub async fn ended(&mut self) -> io::Result<std::process::ExitStatus> {
        self.process.wait().await
    }

    /// Tells it to drain and end; kills it when that takes longer than `limit`. `true` when it ended by itself, with success.
    pub async fn stop(mut self, limit: Duration) -> bool {
        if let Some(pid) = self.process.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have ended a moment ago; waiting shows.
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(limit, self.process.wait()).await {
            Ok(Ok(status)) => status.success(),
            Ok(Err(_)) | Err(_) => {
                let _ = self.process.kill().await;
                false
            }
        }
    }
}

/// To be called by a child at its start: it is killed when `parent` ends, or has ended already.
///
/// # Errors
/// The parent is gone, or the system has no such thing.
pub fn die_with(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Between its fork and the call above the parent may have ended.
    if getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned()) == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::other(format!("the parent process {parent} is gone")))
    }
}

fn new_log(path: &Path) -> io::Result<File> {
    match std::fs::rename(path, path.with_extension("log.old")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::create(path),
    }
}

/// Removes an old ready file.
pub(crate) fn forget(ready_file: &Path) -> Result<(), ChildError> {
    match std::fs::remove_file(ready_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(ready_file)(error)),
        _ => Ok(()),
    }
}

/// What a server said, if it has.
pub(crate) fn read_ready(path: &Path) -> Result<Option<Ready>, ChildError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| io_error(path)(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path)(error)),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ChildError {
    let what = path.display().to_string();
    move |source| ChildError::Io { what, source }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A program that does what `script` says; `$5` is the ready file.
    fn start(dir: &Path, script: &str) -> Start {
        let program = dir.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
        let (config, ready_file, log) = (dir.join("config"), dir.join("ready"), dir.join("role.log"));
        Start { program, role: "role", config, ready_file, log }
    }

    /// A test beside this one forks, and has the program open for writing until it executes its own: not to be executed meanwhile.
    async fn started(start: &Start, limit: Duration) -> Result<Child, ChildError> {
        loop {
            match Child::start(start, limit).await {
                Err(ChildError::Io { source, .. }) if source.kind() == io::ErrorKind::ExecutableFileBusy => {}
                outcome => return outcome,
            }
        }
    }

    const READY: &str =
        r#"echo '{"pid":'$$',"listeners":{"server":"127.0.0.1:5500"}}' > "$5.new"; mv "$5.new" "$5""#;

    #[tokio::test]
    async fn a_child_is_ready_when_it_says_so_and_stops_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("trap 'kill $!; exit 0' TERM; {READY}; sleep 60 & wait");
        let child = started(&start(dir.path(), &script), LIMIT).await.unwrap();
        assert_eq!(child.ready().listeners["server"], "127.0.0.1:5500".parse().unwrap());
        assert_eq!(Some(child.ready().pid), child.process.id());
        assert!(child.stop(LIMIT).await);
    }

    #[tokio::test]
    async fn a_child_that_does_not_stop_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let child = started(&start(dir.path(), &format!("trap '' TERM; {READY}; exec sleep 60")), LIMIT)
            .await
            .unwrap();
        assert!(!child.stop(Duration::from_millis(100)).await);
    }

    #[tokio::test]
    async fn a_child_that_ends_early_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ready"), "{an old one").unwrap();
        let error = started(&start(dir.path(), "echo no such anchor >&2; exit 3"), LIMIT).await.unwrap_err();
        assert!(matches!(&error, ChildError::Ended { tail, .. } if tail == "no such anchor"), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_never_gets_ready_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            started(&start(dir.path(), "exec sleep 60"), Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(error, ChildError::NotReady { .. }), "{error}");
    }
}
