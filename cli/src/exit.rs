//! What the exit status of `causeway` says.
//!
//! A command gives `Ok` with the status of an outcome that it has already explained (a rejected container), or an error, which `main`
//! prints. Each command's module has `Args` for clap and `run(&Args) -> anyhow::Result<Exit>`. An error is [`Exit::Failed`] unless a [`Usage`] or a failure
//! of a management API stands in its chain.

use std::process::ExitCode;

/// The exit statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Refused, or failed on the way.
    Failed = 1,
    /// Arguments or files that cannot be used as they are; also clap's own.
    Usage = 2,
    /// A server cannot be reached, or is not the one that was pinned.
    Unreachable = 3,
    /// A server does not take the key or session, or it may not do this.
    NotAuthorised = 4,
    /// What was waited for did not come in time.
    TimedOut = 5,
    /// There are differences; a dry run found something to do.
    Differs = 6,
    /// Verification failed.
    NotVerified = 7,
}

/// What `causeway help exit-status` and the long help say.
pub(crate) const HELP: &str = "\
Exit status:
  0  done
  1  refused by the server, or failed on the way
  2  usage: arguments or files that cannot be used as they are
  3  a server cannot be reached, or shows another certificate than the pinned one
  4  not authorised: no or no good key or session, or its roles do not allow it
  5  what was waited for did not come in time
  6  there are differences (diff, --dry-run)
  7  verification failed";

/// Runs `causeway exit-status`.
pub(crate) fn print_help() -> anyhow::Result<Exit> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{HELP}")?;
    Ok(Exit::Done)
}

/// Put on an error whose remedy is another argument or another file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// An error with its causes; a cause that stands in the text before it is not said again.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

impl Exit {
    /// The status for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<Usage>()) {
            return Self::Usage;
        }
        crate::remote::exit_of(error).unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("a.toml: {source}")]
        struct Outer {
            source: std::io::Error,
        }
        let source = std::io::Error::from_raw_os_error(2);
        let os = source.to_string();
        let error = anyhow::Error::new(Outer { source }).context("settings");
        assert_eq!(told(&error), format!("settings: a.toml: {os}"));
    }
}
