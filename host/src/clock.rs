//! The one place where time is read; everything else is given a [`UnixTime`].
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proto::time::UnixTime;

/// A clock: the machine's, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// Stands where it was set.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock for tests.
    pub fn fixed(at: UnixTime) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at.0)))
    }
    /// Now.
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    pub fn now(&self) -> UnixTime {
        match self {
            Self::System => {
                let since =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                UnixTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Fixed(at) => UnixTime(at.load(Ordering::Relaxed)),
        }
    }
    /// Moves a fixed clock; nothing happens to the machine's.
    pub fn set(&self, to: UnixTime) {
        if let Self::Fixed(at) = self {
            at.store(to.0, Ordering::Relaxed);
        }
    }
}
