//! How many TLS handshakes run at once on a listener: a handshake costs a private-key operation, and its memory before anyone is known.
//!
//! More wait their turn, first behind others of their own address, then behind all; the caller bounds the wait. One address holds a
//! quarter at most, so that it cannot keep the others out with handshakes that it does not finish.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::door::network;

/// Of all handshakes, one address may have one in so many.
const SHARE: usize = 4;

/// The slots of one listener. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    share: usize,
    by_address: Arc<Mutex<HashMap<IpAddr, Waiting>>>,
}

/// Of one address.
#[derive(Debug)]
struct Waiting {
    share: Arc<Semaphore>,
    /// Handshakes that have or await a slot.
    count: usize,
}

/// A slot, given back when dropped.
#[derive(Debug)]
#[must_use = "the slot is given back when this is dropped"]
pub(super) struct Slot {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _place: Place,
}

/// A handshake is counted for its address.
#[derive(Debug)]
struct Place {
    by_address: Arc<Mutex<HashMap<IpAddr, Waiting>>>,
    address: IpAddr,
}

impl Handshakes {
    pub(super) fn new(count: usize) -> Self {
        let all = Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Self { all, share: (count / SHARE).max(1), by_address: Arc::default() }
    }

    /// Waits for a slot for `from`.
    pub(super) async fn enter(&self, from: IpAddr) -> Slot {
        let address = network(from);
        let share = {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let none = || Waiting { share: Arc::new(Semaphore::new(self.share)), count: 0 };
            let waiting = by_address.entry(address).or_insert_with(none);
            waiting.count += 1;
            waiting.share.clone()
        };
        // From here on the place is given back also when the caller stops waiting.
        let place = Place { by_address: self.by_address.clone(), address };
        let permit = |found: Result<OwnedSemaphorePermit, _>| found.expect("the semaphore is never closed");
        let one = permit(share.acquire_owned().await);
        let other = permit(self.all.clone().acquire_owned().await);
        Slot { _permits: (one, other), _place: place }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = by_address.get_mut(&self.address) {
            waiting.count -= 1;
            if waiting.count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn one_address_waits_for_itself_before_it_makes_others_wait() {
        let slots = Handshakes::new(8);
        let (greedy, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut held: Vec<Slot> = (0..2).map(|_| poll(pin!(slots.enter(greedy))).unwrap()).collect();
        let mut third = pin!(slots.enter(greedy));
        assert!(poll(third.as_mut()).is_none());
        let guest = poll(pin!(slots.enter(other)));
        assert!(guest.is_some());
        held.pop();
        let third = poll(third).expect("a slot of its own address is free");
        drop((held, third, guest));
        assert!(slots.by_address.lock().unwrap().is_empty(), "addresses that left are forgotten");
    }

    #[test]
    fn all_addresses_together_have_no_more_than_all_slots() {
        let slots = Handshakes::new(4);
        let at = |n: u8| IpAddr::from([10, 0, 0, n]);
        let held: Vec<Slot> = (0..4).map(|n| poll(pin!(slots.enter(at(n)))).unwrap()).collect();
        {
            let mut fifth = pin!(slots.enter(at(9)));
            assert!(poll(fifth.as_mut()).is_none());
        }
        drop(held);
        assert!(slots.by_address.lock().unwrap().is_empty(), "also those that gave up");
    }
}
