//! Programs that some tests compare us with (xmlsec1, xmllint, strace, openssl, gpg): run when there, skipped with a reason when not.
//!
//! A fresh machine has none of them, and `cargo test` must pass there; `.ci/run` installs them and sets `CAUSEWAY_CI`, under which
//! a missing one is a failure. `CAUSEWAY_SLOW` asks the tests that repeat something for the long run of `.ci/slow`.

use std::process::{Command, Stdio};

use crate::say;

/// A command for `program`; `None`, and a line that says what is skipped, when it is not installed.
///
/// # Panics
/// It is not installed and `CAUSEWAY_CI` is set.
pub fn tool(program: &str, test: &str) -> Option<Command> {
    // Any exit status will do: not every tool knows `--version`.
    let mut probe = Command::new(program);
    probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if probe.status().is_ok() {
        return Some(Command::new(program));
    }
    assert!(std::env::var_os("CAUSEWAY_CI").is_none(), "{test} needs {program}, which is not installed");
    say(&format!("skipped {test}: {program} is not installed"));
    None
}

/// Says that `test` is skipped and why; a failure under `CAUSEWAY_CI`.
///
/// # Panics
/// `CAUSEWAY_CI` is set.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CAUSEWAY_CI").is_none(), "{test} was skipped: {why}");
    say(&format!("skipped {test}: {why}"));
}

/// How often to repeat: `usual` times, `slow` times under `.ci/slow`.
pub fn rounds(usual: usize, slow: usize) -> usize {
    if std::env::var_os("CAUSEWAY_SLOW").is_some() { slow } else { usual }
}
