//! Durable small state: sled 0.34 with a real fdatasync, and event logs on top of it.
//!
//! sled's `flush` does not reach the disk on Linux. [`Store::commit`] applies a batch, flushes, then fdatasyncs sled's file
//! through a descriptor of our own; only then does it return. After each commit a full snapshot file is due (see
//! [`Store::export`]), so that a damaged database is moved aside and restored. Values stay under 64 KiB.
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An opened store.
#[derive(Clone, Debug)]
pub struct Store {
    _private: (),
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled or the disk.
    #[error("the state database failed: {0}")]
    Database(String),
    /// A stored value does not read back.
    #[error("a stored value cannot be read: {0}")]
    Value(String),
}

impl Store {
    /// Opens or creates; restores from the exported snapshot when the database is damaged, and says so in the log.
    ///
    /// # Errors
    /// Nothing usable is there.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let _ = dir;
        todo!()
    }
    /// Applies puts (`Some`) and deletes (`None`) of one tree at once; durable on return. Blocks: not on an async worker.
    ///
    /// # Errors
    /// Nothing was acknowledged.
    pub fn commit(&self, tree: &str, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let _ = (tree, changes);
        todo!()
    }
    /// One value.
    ///
    /// # Errors
    /// Database.
    pub fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = (tree, key);
        todo!()
    }
    /// All entries of a tree in key order.
    ///
    /// # Errors
    /// Database.
    pub fn scan(&self, tree: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let _ = tree;
        todo!()
    }
    /// Writes every tree to the snapshot file beside the database.
    ///
    /// # Errors
    /// Disk.
    pub fn export(&self) -> Result<(), StoreError> {
        todo!()
    }
}

/// An append-only log of decided events in one tree: what happened, when, by whom.
#[derive(Clone, Debug)]
pub struct EventLog {
    _private: (),
}

/// One recorded event.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Recorded<E> {
    /// From 1, without gaps.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at: proto::time::UnixTime,
    /// Who asked for it.
    pub actor: String,
    /// What was decided.
    pub event: E,
}

impl EventLog {
    /// The log in `tree`.
    ///
    /// # Errors
    /// Database.
    pub fn open(store: &Store, tree: &str) -> Result<Self, StoreError> {
        let _ = (store, tree);
        todo!()
    }
    /// Every event in order.
    ///
    /// # Errors
    /// Database, or an event of an unknown version.
    pub fn replay<E: DeserializeOwned>(&self) -> Result<Vec<Recorded<E>>, StoreError> {
        todo!()
    }
    /// Records events together; durable on return. Blocks.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub fn record<E: Serialize>(
        &self,
        at: proto::time::UnixTime,
        actor: &str,
        events: &[E],
    ) -> Result<(), StoreError> {
        let _ = (at, actor, events);
        todo!()
    }
}
