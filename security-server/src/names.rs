//! Random names: ids of requests and messages, boundaries. Never keys, nonces or anything else that is secret.
//!
//! The system is asked for [`AHEAD`] bytes at a time on each thread, instead of four times for an exchange. Every byte is given once.

use std::cell::RefCell;

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

/// Bytes asked for at once.
const AHEAD: usize = 2048;

struct Ahead {
    bytes: [u8; AHEAD],
    given: usize,
}

thread_local! {
    static READY: RefCell<Ahead> = const { RefCell::new(Ahead { bytes: [0; AHEAD], given: AHEAD }) };
}

/// `N` random bytes, at most [`AHEAD`].
pub(crate) fn random<const N: usize>() -> [u8; N] {
    const { assert!(N <= AHEAD) };
    READY.with_borrow_mut(|ready| {
        if AHEAD - ready.given < N {
            SystemRandom::new().fill(&mut ready.bytes).expect("the operating system has random bytes");
            ready.given = 0;
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&ready.bytes[ready.given..ready.given + N]);
        ready.given += N;
        bytes
    })
}

/// A random UUID, version 4.
pub(crate) fn uuid() -> Uuid {
    uuid::Builder::from_random_bytes(random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_is_given_twice_however_many_are_asked_for() {
        let names: HashSet<Uuid> = (0..3 * AHEAD).map(|_| uuid()).collect();
        assert_eq!(names.len(), 3 * AHEAD);
        assert!(names.iter().all(|name| name.get_version_num() == 4));
    }

    #[test]
    fn two_threads_have_names_of_their_own() {
        let names = || std::thread::spawn(|| (0..AHEAD).map(|_| random::<16>()).collect::<HashSet<_>>());
        let (one, other) = (names().join().expect("no panic"), names().join().expect("no panic"));
        assert!(one.is_disjoint(&other));
    }
}
