//! Bounded slots, fairly shared: so many exchanges in all, so many per client or peer; past that a refusal at once, never a queue.

use std::sync::Arc;

/// Slots of one listener.
#[derive(Clone, Debug)]
pub struct Admission {
    _private: Arc<()>,
}

/// A slot, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    _private: (),
}

/// No slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The listener is full.
    #[error("the server handles as many exchanges as it may: try again later")]
    Total,
    /// This party has all it may have.
    #[error("this party has as many exchanges under way as it may: try again later")]
    Share,
}

impl Admission {
    /// `total` slots, at most `share` of them for one party.
    pub fn new(total: usize, share: usize) -> Self {
        let _ = (total, share);
        todo!()
    }
    /// A slot for `party` (a client id, a server id, or an address).
    ///
    /// # Errors
    /// [`Busy`].
    pub fn enter(&self, party: &str) -> Result<Slot, Busy> {
        let _ = party;
        todo!()
    }
}
