//! Memory for what must be held whole: envelopes, header parts, signatures. Shared by all exchanges, so that many big ones at once
//! are refused instead of held.
//!
//! Bodies are not counted: they pass in bounded pieces. The first [`FREE_BYTES`] of a message are free, which is all that most need.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that every message (one [`Hold`]) may keep uncounted; an exchange has two messages.
pub const FREE_BYTES: usize = 64 * 1024;
/// What one permit stands for.
const UNIT: usize = 1024;

/// There is no memory left for this message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many large messages are under way: try again later")]
pub struct Exhausted;

/// The memory of one server. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

/// What one message holds; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Budget,
    held: usize,
    permits: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// So many bytes in all.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }
    /// Nothing held yet.
    pub fn hold(&self) -> Hold {
        Hold { budget: self.clone(), held: FREE_BYTES, permits: None }
    }
}

impl Hold {
    /// Holds `bytes` in all from now on, if it held less.
    ///
    /// # Errors
    /// [`Exhausted`]; what was held stays held.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= self.held {
            return Ok(());
        }
        let units = (bytes - self.held).div_ceil(UNIT);
        let count = u32::try_from(units).map_err(|_| Exhausted)?;
        let more = self.budget.0.clone().try_acquire_many_owned(count).map_err(|_| Exhausted)?;
        match &mut self.permits {
            Some(permits) => permits.merge(more),
            none => *none = Some(more),
        }
        self.held += units * UNIT;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn big_messages_share_what_there_is() {
        let budget = Budget::new(100 * UNIT);
        let (mut one, mut other) = (budget.hold(), budget.hold());
        one.grow_to(FREE_BYTES).expect("free");
        one.grow_to(FREE_BYTES + 60 * UNIT).expect("room");
        one.grow_to(1).expect("less than it holds");
        assert_eq!(other.grow_to(FREE_BYTES + 41 * UNIT), Err(Exhausted));
        other.grow_to(FREE_BYTES + 40 * UNIT).expect("the rest");
        assert_eq!(one.grow_to(FREE_BYTES + 61 * UNIT), Err(Exhausted));
        drop(other);
        one.grow_to(FREE_BYTES + 61 * UNIT).expect("given back");
        assert_eq!(budget.hold().grow_to(usize::MAX), Err(Exhausted));
    }
}
