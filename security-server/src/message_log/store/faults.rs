//! A seam for tests: makes an operation on a segment fail as a disk would. In service nothing is set and a check is one branch.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What may be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create = 1,
    Write = 2,
    Sync = 4,
    Cut = 8,
    /// No failure: a sync that takes [`SLOW`].
    SlowSync = 16,
}

/// How long a slow sync takes.
pub(crate) const SLOW: std::time::Duration = std::time::Duration::from_millis(200);

/// Which operations fail now, by bit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Option<Arc<AtomicU32>>);

impl Faults {
    /// Operations whose bit is set in `switch` fail.
    #[cfg(test)]
    pub(crate) fn switched_by(switch: Arc<AtomicU32>) -> Self {
        Self(Some(switch))
    }

    pub(crate) fn check(&self, operation: Operation) -> io::Result<()> {
        let is_set = |bit: Operation| {
            self.0.as_ref().is_some_and(|switch| switch.load(Ordering::SeqCst) & bit as u32 != 0)
        };
        if operation == Operation::Sync && is_set(Operation::SlowSync) {
            std::thread::sleep(SLOW);
        }
        match &self.0 {
            Some(switch) if switch.load(Ordering::SeqCst) & operation as u32 != 0 => {
                Err(io::Error::other("no space left on device (a test says so)"))
            }
            _ => Ok(()),
        }
    }
}
