//! Bounded slots, fairly shared: so many exchanges in all, so many per client or peer; past that a refusal at once, never a queue.
//!
//! A party that stalls holds its own share and no more, so it cannot keep the others out. What to answer is the caller's business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Slots of one listener. Cheap to clone; clones share the slots.
#[derive(Clone, Debug)]
pub struct Admission {
    total: usize,
    share: usize,
    taken: Arc<Mutex<Taken>>,
}

/// Who holds how many.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_party: HashMap<Box<str>, usize>,
}

/// A slot, given back when dropped.
#[derive(Debug)]
#[must_use = "the slot is given back when this is dropped"]
pub struct Slot {
    taken: Arc<Mutex<Taken>>,
    party: Box<str>,
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
        Self { total, share: share.min(total), taken: Arc::default() }
    }

    /// A slot for `party` (a client id, a server id, or an address).
    ///
    /// # Errors
    /// [`Busy::Share`] first: it tells the party that waiting for others would not help.
    pub fn enter(&self, party: &str) -> Result<Slot, Busy> {
        let mut taken = lock(&self.taken);
        let held = taken.by_party.get(party).copied().unwrap_or(0);
        if held >= self.share {
            return Err(Busy::Share);
        }
        if taken.all >= self.total {
            return Err(Busy::Total);
        }
        taken.all += 1;
        let party: Box<str> = party.into();
        *taken.by_party.entry(party.clone()).or_insert(0) += 1;
        drop(taken);
        Ok(Slot { taken: self.taken.clone(), party })
    }

    /// Slots in use.
    pub fn in_use(&self) -> usize {
        lock(&self.taken).all
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        if let Some(held) = taken.by_party.get_mut(&self.party) {
            *held -= 1;
            if *held == 0 {
                taken.by_party.remove(&self.party);
            }
        }
    }
}

/// Counts are whole after every statement, so a panic elsewhere leaves nothing to repair.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_party_cannot_take_all_slots() {
        let slots = Admission::new(4, 2);
        let greedy: Vec<_> = (0..2).map(|_| slots.enter("a").unwrap()).collect();
        assert_eq!(slots.enter("a").unwrap_err(), Busy::Share);
        let other = slots.enter("b").unwrap();
        drop(greedy);
        assert_eq!(slots.in_use(), 1);
        let _again = slots.enter("a").unwrap();
        drop(other);
        assert_eq!(slots.in_use(), 1);
    }

    #[test]
    fn refuses_past_the_total_and_forgets_parties_that_left() {
        let slots = Admission::new(3, 2);
        let held: Vec<_> = ["a", "b", "c"].map(|p| slots.enter(p).unwrap()).into();
        assert_eq!(slots.enter("d").unwrap_err(), Busy::Total);
        drop(held);
        assert!(lock(&slots.taken).by_party.is_empty());
        let _one = slots.enter("d").unwrap();
    }

    #[test]
    fn a_share_above_the_total_is_the_total() {
        let slots = Admission::new(1, 10);
        let _one = slots.enter("a").unwrap();
        assert_eq!(slots.enter("a").unwrap_err(), Busy::Share);
    }
}
