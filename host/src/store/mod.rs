//! Durable small state: sled 0.34 with a real fdatasync, and event logs on top of it.
//!
//! sled's `flush` does not reach the disk on Linux. [`Store::commit`] applies a batch, flushes, then fdatasyncs sled's file
//! through a descriptor of our own; only then does it return. Commits that arrive while one is under way share the next sync.
//!
//! ```text
//! <dir>/sled/       the database
//! <dir>/snapshot    every tree as it was when the snapshot was written        } together they hold every
//! <dir>/journal     every change since then, each with a checksum, fdatasynced } acknowledged change
//! <dir>/damaged-N/  a database that could not be opened, moved aside
//! ```
//!
//! A store opened with [`Store::open`] keeps snapshot and journal, and compares the database with them at every start: what the
//! database lost is put back, and said in the log. Deleting `sled/` loses nothing; deleting all three loses the state.
//! One opened with [`Store::open_rebuildable`] has the database only, and [`Store::put_lazily`] does not wait for the disk: for
//! indexes and caches whose owner can make them again.
//!
//! Keys are at most [`MAX_KEY_BYTES`], values at most [`MAX_VALUE_BYTES`]. Everything here blocks: not on an async worker. After a
//! failed sync the store refuses all further commits, because nobody knows what the disk then holds.
mod backup;
mod events;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup::{Backup, BackupError, Contents, Found};
pub use events::{EventLog, Recorded};

use crate::files;

/// The file with all that a store held at one moment.
pub const SNAPSHOT: &str = "snapshot";
/// Longest key.
pub const MAX_KEY_BYTES: usize = 4096;
/// Longest value: above a quarter of its segment sled makes one file per value.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// sled gives its lock back a little after the last handle is dropped, when its own threads have ended.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Lazy changes that are applied at once: sled keeps every page that a batch replaces, once per change, until all of it is in.
const LAZY_CHANGES: usize = 256;
/// Memory that sled may use for its cache.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Changes of one tree: puts (`Some`) and deletes (`None`).
pub type Changes = [(Vec<u8>, Option<Vec<u8>>)];

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Entries of one tree in key order.
pub type Entries = Vec<Entry>;

/// An opened store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: sled::Db,
    /// sled's data file, through a descriptor of our own.
    file: File,
    /// Snapshot and journal; `None` for a rebuildable store. Its lock also orders changes.
    backup: Option<Mutex<Backup>>,
    /// Commits applied so far, and (under the lock) how many of them are on the disk.
    applied: AtomicU64,
    synced: Mutex<u64>,
    failed: AtomicBool,
    was_reset: bool,
}

/// Why the store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// sled or the disk.
    #[error("the state database failed: {0}")]
    Database(String),
    /// A stored value does not read back.
    #[error("a stored value cannot be read: {0}")]
    Value(String),
    /// A key or value over its bound.
    #[error("a key or value of {found} bytes; at most {limit} are stored")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// An earlier sync failed.
    #[error("the state database failed earlier and takes no more changes: check the disk, then restart")]
    Failed,
}

impl Store {
    /// Opens or creates; what the database lost is restored from snapshot and journal, and said in the log.
    ///
    /// # Errors
    /// Nothing usable is there.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        make_folder(dir)?;
        let read = match Backup::read(dir) {
            Err(BackupError::Unreadable(reason)) => {
                let hint = "the server's user has to own and read its data folder";
                return Err(StoreError::Database(format!("{reason}: {hint}")));
            }
            read => read,
        };
        let had_database = dir.join("sled").exists();
        let (db, file, was_reset) = open_or_reset(dir, CACHE_BYTES)?;
        match read {
            Ok(Some(contents)) => {
                let mended = mend(&db, contents)?;
                if !had_database {
                    tracing::info!(entries = mended, path = %dir.display(),
                        "the state database was made from its snapshot");
                } else if mended > 0 || was_reset {
                    tracing::error!(entries = mended, path = %dir.display(),
                        "the state database had lost entries; they were restored from the snapshot");
                }
            }
            Ok(None) if was_reset => {
                return Err(unusable(dir, "the database is damaged and there is no snapshot"));
            }
            Ok(None) => {}
            Err(reason) if was_reset => {
                return Err(unusable(dir, &format!("database and snapshot are damaged: {reason}")));
            }
            Err(reason) => tracing::error!(%reason, path = %dir.display(),
                "the snapshot of the state database is damaged; a new one is written from the database"),
        }
        db.flush().map_err(database)?;
        file.sync_data().map_err(database)?;
        let backup = Backup::start(dir, entries_of(&db)).map_err(database)?;
        Ok(Self::new(db, file, Some(Mutex::new(backup)), was_reset))
    }

    /// Opens or creates a store that its owner can fill again; a damaged one is moved aside and [`Self::was_reset`] then says so.
    /// `cache_bytes` bounds its memory.
    ///
    /// # Errors
    /// The disk.
    pub fn open_rebuildable(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        make_folder(dir)?;
        let (db, file, was_reset) = open_or_reset(dir, cache_bytes)?;
        Ok(Self::new(db, file, None, was_reset))
    }

    fn new(db: sled::Db, file: File, backup: Option<Mutex<Backup>>, was_reset: bool) -> Self {
        let inner = Inner {
            db,
            file,
            backup,
            applied: AtomicU64::new(0),
            synced: Mutex::new(0),
            failed: AtomicBool::new(false),
            was_reset,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The database was damaged when it was opened, and moved aside.
    pub fn was_reset(&self) -> bool {
        self.inner.was_reset
    }

    /// Applies puts (`Some`) and deletes (`None`) of one tree at once; durable on return. Blocks.
    ///
    /// # Errors
    /// Nothing was acknowledged.
    pub fn commit(&self, tree: &str, changes: &Changes) -> Result<(), StoreError> {
        check_sizes(changes)?;
        let inner = &*self.inner;
        if inner.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        // A failure below leaves memory, file and journal at odds, so it is final.
        let done = inner.apply(tree, changes).and_then(|mine| inner.sync_past(mine));
        done.inspect_err(|_| inner.failed.store(true, Ordering::Release))
    }

    /// Applies changes of one tree without waiting for the disk; they reach it within a second or so. A crash may lose the last of
    /// them, in their order, but none before another.
    ///
    /// # Errors
    /// Database; some may have been applied.
    pub fn put_lazily(&self, tree: &str, changes: &Changes) -> Result<(), StoreError> {
        check_sizes(changes)?;
        let tree = self.tree(tree)?;
        changes.chunks(LAZY_CHANGES).try_for_each(|some| tree.apply_batch(batch_of(some)).map_err(database))
    }

    /// Makes everything that was put lazily durable. Blocks.
    ///
    /// # Errors
    /// Disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.inner.db.flush().map_err(database)?;
        self.inner.file.sync_data().map_err(database)
    }

    /// One value.
    ///
    /// # Errors
    /// Database.
    pub fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tree(tree)?.get(key).map_err(database)?.map(|value| value.to_vec()))
    }

    /// All entries of a tree in key order.
    ///
    /// # Errors
    /// Database.
    pub fn scan(&self, tree: &str) -> Result<Entries, StoreError> {
        self.scan_from(tree, &[], usize::MAX)
    }

    /// At most `limit` entries of a tree in key order, from `key` on.
    ///
    /// # Errors
    /// Database.
    pub fn scan_from(&self, tree: &str, key: &[u8], limit: usize) -> Result<Entries, StoreError> {
        collect(self.tree(tree)?.range(key..).take(limit))
    }

    /// The entry with the greatest key that is not greater than `key`.
    ///
    /// # Errors
    /// Database.
    pub fn at_or_before(&self, tree: &str, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(collect(self.tree(tree)?.range(..=key).rev().take(1))?.pop())
    }

    /// At most `limit` entries of a tree whose keys begin with `prefix`, in key order.
    ///
    /// # Errors
    /// Database.
    pub fn scan_prefix(&self, tree: &str, prefix: &[u8], limit: usize) -> Result<Entries, StoreError> {
        collect(self.tree(tree)?.scan_prefix(prefix).take(limit))
    }

    /// How many keys begin with `prefix`.
    ///
    /// # Errors
    /// Database.
    pub fn count_prefix(&self, tree: &str, prefix: &[u8]) -> Result<u64, StoreError> {
        let mut keys = self.tree(tree)?.scan_prefix(prefix).keys();
        keys.try_fold(0, |count, key| key.map(|_| count + 1)).map_err(database)
    }

    /// The entry with the greatest key.
    ///
    /// # Errors
    /// Database.
    pub fn last(&self, tree: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.tree(tree)?.last().map_err(database)?.map(|(k, v)| (k.to_vec(), v.to_vec())))
    }

    /// Removes all entries of a tree, without waiting for the disk; for rebuildable stores.
    ///
    /// # Errors
    /// Database.
    pub fn clear(&self, tree: &str) -> Result<(), StoreError> {
        self.tree(tree)?.clear().map_err(database)
    }

    /// Writes every tree to the snapshot file and starts a new journal. Happens by itself when the journal has grown; a rebuildable
    /// store has neither.
    ///
    /// # Errors
    /// Disk.
    pub fn export(&self) -> Result<(), StoreError> {
        match &self.inner.backup {
            Some(backup) => lock(backup).restart(entries_of(&self.inner.db)).map_err(database),
            None => Ok(()),
        }
    }

    /// Everything in it at one moment, between two commits, in the form of the snapshot file. A folder with nothing but this file, named
    /// [`SNAPSHOT`], opens as a store with these contents. Blocks.
    ///
    /// # Errors
    /// Database.
    pub fn snapshot(&self) -> Result<Vec<u8>, StoreError> {
        let _no_commits = self.inner.backup.as_ref().map(lock);
        let mut bytes = Vec::new();
        backup::write_snapshot(&mut bytes, entries_of(&self.inner.db)).map_err(database)?;
        Ok(bytes)
    }

    fn tree(&self, name: &str) -> Result<sled::Tree, StoreError> {
        self.inner.db.open_tree(name).map_err(database)
    }
}

impl Inner {
    /// Writes the journal and the database, journal first; gives the number of this commit.
    fn apply(&self, tree: &str, changes: &Changes) -> Result<u64, StoreError> {
        let opened = self.db.open_tree(tree).map_err(database)?;
        let mut backup = self.backup.as_ref().map(lock);
        if let Some(backup) = &mut backup {
            backup.append(tree, changes).map_err(database)?;
        }
        opened.apply_batch(batch_of(changes)).map_err(database)?;
        let mine = self.applied.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(backup) = &mut backup
            && backup.is_long()
        {
            backup.restart(entries_of(&self.db)).map_err(database)?;
        }
        Ok(mine)
    }

    /// Waits until commit `mine` is on the disk. Whoever gets the lock syncs for all that were applied by then.
    fn sync_past(&self, mine: u64) -> Result<(), StoreError> {
        let mut synced = lock(&self.synced);
        if *synced >= mine {
            return Ok(());
        }
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        let covers = self.applied.load(Ordering::Acquire);
        let journal = match &self.backup {
            Some(backup) => Some(lock(backup).file().map_err(database)?),
            None => None,
        };
        let written = self.db.flush().map_err(database).and_then(|_| {
            self.file.sync_data().map_err(database)?;
            journal.map_or(Ok(()), |journal| journal.sync_data().map_err(database))
        });
        // Said while the lock is held, so that no waiter takes a later sync's success for its own.
        written.inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        *synced = covers;
        Ok(())
    }
}

/// A panic elsewhere cannot leave these counters or files half changed in a way that matters: a failed commit is final anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn database(error: impl std::fmt::Display) -> StoreError {
    StoreError::Database(error.to_string())
}

fn unusable(dir: &Path, reason: &str) -> StoreError {
    StoreError::Database(format!("{}: {reason}; restore a backup", dir.display()))
}

fn check_sizes(changes: &Changes) -> Result<(), StoreError> {
    for (key, value) in changes {
        let value = value.as_deref().unwrap_or_default();
        for (part, limit) in [(key.as_slice(), MAX_KEY_BYTES), (value, MAX_VALUE_BYTES)] {
            if part.len() > limit {
                return Err(StoreError::TooLarge { found: part.len(), limit });
            }
        }
    }
    Ok(())
}

fn batch_of(changes: &Changes) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(key.as_slice(), value.as_slice()),
            None => batch.remove(key.as_slice()),
        }
    }
    batch
}

fn collect(
    entries: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
) -> Result<Entries, StoreError> {
    entries.map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(database)).collect()
}

fn make_folder(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(database)
}

/// Opens the database, or moves a damaged one aside and opens an empty one (the last value then is `true`).
fn open_or_reset(dir: &Path, cache_bytes: u64) -> Result<(sled::Db, File, bool), StoreError> {
    let path = dir.join("sled");
    match open_database(&path, cache_bytes) {
        Ok((db, file)) => Ok((db, file, false)),
        Err(sled::Error::Io(e)) => Err(database(e)),
        Err(reason) => {
            let aside = free_name(dir);
            tracing::error!(%reason, path = %path.display(), moved_to = %aside.display(),
                "the state database is damaged and was moved aside");
            std::fs::rename(&path, &aside).map_err(database)?;
            files::sync_dir(dir).map_err(database)?;
            let (db, file) = open_database(&path, cache_bytes).map_err(database)?;
            Ok((db, file, true))
        }
    }
}

fn open_database(path: &Path, cache_bytes: u64) -> sled::Result<(sled::Db, File)> {
    let mut opened = try_open_database(path, cache_bytes);
    for _ in 0..LOCK_TRIES {
        match &opened {
            Err(sled::Error::Io(e)) if e.to_string().contains("lock") => std::thread::sleep(LOCK_PAUSE),
            _ => break,
        }
        opened = try_open_database(path, cache_bytes);
    }
    opened
}

fn try_open_database(path: &Path, cache_bytes: u64) -> sled::Result<(sled::Db, File)> {
    let config = sled::Config::new().path(path).cache_capacity(cache_bytes);
    // sled panics on some kinds of damage; here every panic counts as damage.
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let db = config.open()?;
        let readable = db
            .tree_names()
            .iter()
            .try_for_each(|name| db.open_tree(name)?.iter().try_for_each(|e| e.map(drop)));
        readable.map(|()| db)
    }));
    let db = opened.unwrap_or_else(|_| Err(sled::Error::ReportableBug("a panic while opening".into())))?;
    let file = File::open(path.join("db"))?;
    files::sync_dir(path)?;
    if let Some(parent) = path.parent() {
        files::sync_dir(parent)?;
    }
    Ok((db, file))
}

fn free_name(dir: &Path) -> PathBuf {
    (1..)
        .map(|n: u32| dir.join(format!("damaged-{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| dir.join("damaged"))
}

/// Every entry of every tree, in order: a database may be larger than anybody wants to have in memory.
fn entries_of(db: &sled::Db) -> impl Iterator<Item = io::Result<Found>> + use<> {
    let db = db.clone();
    let mut names: Vec<_> = db.tree_names();
    names.sort_unstable();
    names.into_iter().flat_map(move |name| {
        let text: Option<Arc<str>> = std::str::from_utf8(&name).ok().map(Arc::from);
        let (entries, error) = match text.map(|text| db.open_tree(&name).map(|tree| (text, tree.iter()))) {
            Some(Ok((text, entries))) => {
                (Some(entries.map(move |entry| entry.map(|(key, value)| (text.clone(), key, value)))), None)
            }
            Some(Err(error)) => (None, Some(Err(error))),
            None => (None, None),
        };
        entries.into_iter().flatten().chain(error).map(|entry| entry.map_err(io::Error::other))
    })
}

/// Makes the database equal to what snapshot and journal say; gives the number of entries that were not.
fn mend(db: &sled::Db, mut wanted: Contents) -> Result<usize, StoreError> {
    let mut mended = 0;
    let names = db.tree_names().into_iter().filter_map(|name| String::from_utf8(name.to_vec()).ok());
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        wanted.entry(name).or_default();
    }
    for (name, wanted) in wanted {
        let tree = db.open_tree(&name).map_err(database)?;
        let mut changes = Vec::new();
        let mut wanted = wanted.into_iter().peekable();
        for found in &tree {
            let (key, value) = found.map_err(database)?;
            while let Some((lost, value)) = wanted.next_if(|(wanted, _)| wanted[..] < key[..]) {
                changes.push((lost, Some(value)));
            }
            match wanted.next_if(|(wanted, _)| wanted[..] == key[..]) {
                Some((_, wanted)) if wanted[..] == value[..] => {}
                Some((key, wanted)) => changes.push((key, Some(wanted))),
                None => changes.push((key.to_vec(), None)),
            }
        }
        changes.extend(wanted.map(|(key, value)| (key, Some(value))));
        mended += changes.len();
        tree.apply_batch(batch_of(&changes)).map_err(database)?;
    }
    Ok(mended)
}
