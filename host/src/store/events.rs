//! Event logs: what was decided, when, by whom, in order, in one tree of a store.
//!
//! The key is the sequence number, big-endian; the value is JSON with a version: `{"v":1,"sequence":…,"at":…,"actor":…,"event":…}`.
//! What an event holds, and how an old form of it is converted, is its owner's matter.
use std::sync::{Arc, Mutex};

use proto::time::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, lock};

/// Of the envelope around an event.
const VERSION: u32 = 1;
/// Events that are read together.
const AT_ONCE: usize = 1_000;

/// An append-only log of decided events in one tree: what happened, when, by whom.
#[derive(Clone, Debug)]
pub struct EventLog {
    store: Store,
    tree: Arc<str>,
    /// The number that the next event gets.
    next: Arc<Mutex<u64>>,
}

/// One recorded event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded<E> {
    /// From 1, without gaps.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at: UnixTime,
    /// Who asked for it.
    pub actor: String,
    /// What was decided.
    pub event: E,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    recorded: T,
}

impl EventLog {
    /// The log in `tree`.
    ///
    /// # Errors
    /// Database.
    pub fn open(store: &Store, tree: &str) -> Result<Self, StoreError> {
        let next = match store.last(tree)? {
            Some((key, _)) => sequence_of(&key)? + 1,
            None => 1,
        };
        Ok(Self { store: store.clone(), tree: tree.into(), next: Arc::new(Mutex::new(next)) })
    }

    /// Every event in order.
    ///
    /// # Errors
    /// Database, an event of an unknown version, or a gap.
    pub fn replay<E: DeserializeOwned>(&self) -> Result<Vec<Recorded<E>>, StoreError> {
        self.replay_from(1).collect()
    }

    /// The number of the last event; 0 when there is none.
    pub fn last(&self) -> u64 {
        lock(&self.next).saturating_sub(1)
    }

    /// Every event in order, from number `first` on, or what [`Self::replay`] refuses. Some [`AT_ONCE`] are in memory at a time.
    pub fn replay_from<E: DeserializeOwned>(
        &self,
        first: u64,
    ) -> impl Iterator<Item = Result<Recorded<E>, StoreError>> {
        let begins = (first..).step_by(AT_ONCE).take_while(|begin| *begin <= self.last());
        begins.flat_map(|begin| match self.store.scan_from(&self.tree, &begin.to_be_bytes(), AT_ONCE) {
            Ok(entries) => {
                let numbered = entries.iter().zip(begin..);
                numbered.map(|((key, value), expected)| self.read(key, value, expected)).collect()
            }
            Err(error) => vec![Err(error)],
        })
    }

    /// Records events together; durable on return. Blocks.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub fn record<E: Serialize>(&self, at: UnixTime, actor: &str, events: &[E]) -> Result<(), StoreError> {
        let mut next = lock(&self.next);
        let changes = events
            .iter()
            .zip(*next..)
            .map(|(event, sequence)| {
                let recorded = Recorded { sequence, at, actor: actor.to_owned(), event };
                let json = serde_json::to_vec(&Versioned { v: VERSION, recorded });
                let value = json.map_err(|e| StoreError::Value(format!("{}: {e}", self.tree)))?;
                Ok((sequence.to_be_bytes().to_vec(), Some(value)))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        self.store.commit(&self.tree, &changes)?;
        *next += events.len() as u64;
        Ok(())
    }

    fn read<E: DeserializeOwned>(
        &self,
        key: &[u8],
        value: &[u8],
        expected: u64,
    ) -> Result<Recorded<E>, StoreError> {
        let wrong = |what: String| StoreError::Value(format!("event {expected} of {}: {what}", self.tree));
        let found = sequence_of(key)?;
        if found != expected {
            return Err(wrong(format!("{found} stands in its place")));
        }
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let Version { v } = serde_json::from_slice(value).map_err(|e| wrong(e.to_string()))?;
        if v != VERSION {
            return Err(wrong(format!("version {v}, this program knows {VERSION}")));
        }
        let read: Versioned<Recorded<E>> = serde_json::from_slice(value).map_err(|e| wrong(e.to_string()))?;
        if read.recorded.sequence != expected {
            return Err(wrong(format!("it says that it is {}", read.recorded.sequence)));
        }
        Ok(read.recorded)
    }
}

fn sequence_of(key: &[u8]) -> Result<u64, StoreError> {
    let bytes =
        key.try_into().map_err(|_| StoreError::Value("a key of an event log is not a number".into()))?;
    Ok(u64::from_be_bytes(bytes))
}
