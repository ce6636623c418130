//! What a process that holds private keys does first, and the lock that keeps a token for one process.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::error::TokenError;

/// Switches core dumps off for this process and its children: a dump would hold the keys.
///
/// # Errors
/// The system refuses; it has no reason to.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// Keeps other processes of the same user out of this one's memory: no tracing, nothing readable in `/proc`.
///
/// # Errors
/// The system refuses; it has no reason to.
pub fn forbid_debuggers() -> std::io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Keeps a token for this process; given back when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub struct TokenLock(#[expect(dead_code, reason = "held for its lock")] File);

impl TokenLock {
    /// Takes it.
    ///
    /// # Errors
    /// Another process has it; the disk.
    pub fn take(dir: &Path) -> Result<Self, TokenError> {
        let path = dir.join("LOCK");
        let io = |source| TokenError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(TokenError::InUse(dir.to_owned())),
            Err(error) => Err(io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_is_dumped() {
        forbid_core_dumps().unwrap();
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }

    #[test]
    fn a_token_is_for_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = TokenLock::take(dir.path()).unwrap();
        assert!(matches!(TokenLock::take(dir.path()), Err(TokenError::InUse(_))));
        drop(lock);
        TokenLock::take(dir.path()).unwrap();
    }
}
