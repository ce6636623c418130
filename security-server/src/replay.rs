//! No transport message has its effect twice while the process lives [wire dossier §22 row 10].
//!
//! A request is told by its signature value (what only the signer could write of it), its place in the batch that was signed and the
//! digest of its message part. It is remembered for as long as the OCSP answers in its signature hold, since after that it is refused anyway. What is kept is a keyed
//! 64-bit hash, so that an hour of heavy traffic fits into memory: at most [`ENTRIES`], the ones that end first make room, which is
//! counted and logged. Each security server of a cluster has a memory of its own, and a restart begins with none: a message that was
//! received before it can have its effect once more until the OCSP answers in it end.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use proto::time::UnixTime;

/// Most messages remembered.
pub const ENTRIES: usize = 4_000_000;
/// What is remembered ends by the minute.
const SPAN_MS: i64 = 60_000;

/// What tells one request from all others.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Trace<'a> {
    /// What of the decoded signature value only its signer could write.
    pub signature_value: &'a [u8],
    /// Place in the signed batch, from the root down.
    pub position: &'a [usize],
    /// Digest of the message part.
    pub message: &'a [u8],
}

/// The message was here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this message was received before: sign it again to have it executed again")]
pub struct Replayed;

/// Requests seen lately. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    hasher: RandomState,
    all: HashSet<u64>,
    /// What ends in which minute.
    by_end: BTreeMap<i64, Vec<u64>>,
}

impl Replay {
    /// Remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a request until `until`.
    ///
    /// # Errors
    /// [`Replayed`] when it is remembered already.
    pub fn first_time(&self, trace: &Trace<'_>, until: UnixTime, now: UnixTime) -> Result<(), Replayed> {
        // Nothing panics while the lock is held, and what it guards is whole after every statement.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(trace, until, now, ENTRIES)
    }
}

impl Seen {
    fn insert(
        &mut self,
        trace: &Trace<'_>,
        until: UnixTime,
        now: UnixTime,
        limit: usize,
    ) -> Result<(), Replayed> {
        let present = now.0.div_euclid(SPAN_MS);
        while let Some(first) = self.by_end.first_entry()
            && *first.key() < present
        {
            first.remove().iter().for_each(|hash| _ = self.all.remove(hash));
        }
        let hash = self.hasher.hash_one(trace);
        if !self.all.insert(hash) {
            return Err(Replayed);
        }
        self.by_end.entry(until.0.div_euclid(SPAN_MS).max(present)).or_default().push(hash);
        if self.all.len() > limit {
            self.forget_some();
        }
        Ok(())
    }

    fn forget_some(&mut self) {
        let Some((minute, hashes)) = self.by_end.pop_first() else { return };
        metrics::counter!("causeway_replay_forgotten_total").increment(hashes.len() as u64);
        tracing::warn!(
            minute,
            messages = hashes.len(),
            "the memory against repeated messages is full: the oldest are forgotten"
        );
        hashes.iter().for_each(|hash| _ = self.all.remove(hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = SPAN_MS;

    fn trace(message: &[u8]) -> Trace<'_> {
        Trace { signature_value: b"value", position: &[0, 1], message }
    }

    #[test]
    fn tells_requests_apart_by_all_three() {
        let replay = Replay::new();
        let (now, until) = (UnixTime(0), UnixTime(10 * MINUTE));
        let first = trace(b"m");
        let others = [
            ("another message", trace(b"n")),
            ("another place", Trace { position: &[0], ..first }),
            ("another signature", Trace { signature_value: b"other", ..first }),
        ];
        assert_eq!(replay.first_time(&first, until, now), Ok(()));
        assert_eq!(replay.first_time(&first, until, now), Err(Replayed));
        for (name, other) in others {
            assert_eq!(replay.first_time(&other, until, now), Ok(()), "{name}");
        }
    }

    #[test]
    fn remembers_until_the_evidence_ends() {
        let replay = Replay::new();
        let until = UnixTime(10 * MINUTE + 5);
        replay.first_time(&trace(b"m"), until, UnixTime(0)).expect("new");
        assert!(replay.first_time(&trace(b"m"), until, until).is_err(), "at its last instant");
        assert!(replay.first_time(&trace(b"m"), until, UnixTime(11 * MINUTE)).is_ok(), "a minute later");
    }

    #[test]
    fn forgets_what_ends_first_when_it_is_full() {
        let mut seen = Seen::default();
        let names: Vec<[u8; 2]> = (0..12_u16).map(u16::to_be_bytes).collect();
        for (minute, name) in names.iter().enumerate() {
            let until = UnixTime(MINUTE * i64::try_from(minute).expect("small"));
            seen.insert(&trace(name), until, UnixTime(0), 10).expect("new");
        }
        assert!(seen.all.len() <= 10);
        assert!(
            seen.insert(&trace(&names[11]), UnixTime(MINUTE), UnixTime(0), 10).is_err(),
            "the last is there"
        );
        assert!(
            seen.insert(&trace(&names[0]), UnixTime(MINUTE), UnixTime(0), 10).is_ok(),
            "the first is not"
        );
    }
}
