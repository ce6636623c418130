//! What the exit status of `causeway` says [admin-surface dossier §5.2].
//!
//! A command gives `Ok` with the status of an outcome that it has already explained (a rejected container), or an error, which `main`
//! prints. Each command's module has `Args` for clap and `run(&Args) -> anyhow::Result<Exit>`. An error is [`Exit::Failed`] unless a [`Usage`] stands in its chain.

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
    /// There are differences; a dry run found something to do.
    Differs = 6,
    /// Verification failed.
    NotVerified = 7,
}

/// Put on an error whose remedy is another argument or another file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Exit {
    /// The status for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<Usage>()) { Self::Usage } else { Self::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
