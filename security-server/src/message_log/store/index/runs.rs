//! Which records have a message id: sorted runs, merged as they become many.
//!
//! Ids come in no order, so keeping each where it belongs would touch another page for each. Instead every write of the index adds one
//! sorted file; [`FANOUT`] files of one size become one of the next, up to [`LEVELS`] sizes. A lookup reads one block of each file, since
//! the first hash of every block is in memory: some twenty reads of 4 KB among ten million records. Entries of records that have expired
//! go when they are merged, or with their whole file.
//!
//! ```text
//! log/index/ids/NUMBER.run   blocks of 4 KB: entries, zeros, CRC-32C; then the first eight bytes of each block, and their CRC-32C
//! ```
//!
//! A file is on the disk before the list that names it, and goes after a list without it is on the disk; [`Runs::load`] removes what a
//! crash left beside the list. A file that the list names and that is not whole means that the index must be made anew.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host::store::{Store, StoreError};

/// Of an id and its client, a direction and a record: 16 bytes of a hash, 1, 8.
pub(super) const ENTRY_BYTES: usize = 25;
const BLOCK_BYTES: usize = 4096;
const CRC_BYTES: usize = 4;
/// Entries of one block.
const PER_BLOCK: usize = (BLOCK_BYTES - CRC_BYTES) / ENTRY_BYTES;
const FENCE_BYTES: usize = 8;
const FANOUT: usize = 8;
/// The largest holds some thirty million entries.
const LEVELS: u8 = 5;
/// Key of the list of runs.
const DIRECTORY: &[u8] = b"d";
const RUN_BYTES: usize = 33;

/// Sorts by hash, then direction, then record.
pub(super) type Entry = [u8; ENTRY_BYTES];
type Change = (Vec<u8>, Option<Vec<u8>>);

/// The entry of one record.
pub(super) fn entry(hash: &[u8; 16], response: bool, sequence: u64) -> Entry {
    let mut entry = [0; ENTRY_BYTES];
    entry[..16].copy_from_slice(hash);
    entry[16] = u8::from(response);
    entry[17..].copy_from_slice(&sequence.to_be_bytes());
    entry
}

/// The record of an entry.
pub(super) fn sequence_of(entry: &Entry) -> u64 {
    number(&entry[17..])
}

/// All of them.
#[derive(Debug)]
pub(super) struct Runs {
    dir: PathBuf,
    runs: Vec<Arc<Run>>,
    next: u64,
}

/// One sorted file.
#[derive(Debug)]
pub(crate) struct Run {
    listed: Listed,
    file: File,
    /// The first bytes of each block.
    fences: Vec<u64>,
}

/// What the list says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    number: u64,
    level: u8,
    first_record: u64,
    last_record: u64,
    entries: u64,
}

/// Runs that are to become one. Needs nothing of the index, so that it can be done beside it.
#[derive(Debug)]
pub(crate) struct Merge {
    dir: PathBuf,
    old: Vec<Arc<Run>>,
    number: u64,
    level: u8,
    /// The first record that there still is.
    lowest: u64,
}

impl Runs {
    /// Without a run; what files there are go.
    pub(super) fn empty(index_dir: &Path) -> Result<Self, StoreError> {
        let dir = index_dir.join("ids");
        let this = Self { dir, runs: Vec::new(), next: 0 };
        this.remove_others().map_err(|e| this.failed(&e))?;
        Ok(this)
    }

    /// Reads the list and opens what it names; `None` when some of that is not whole.
    pub(super) fn load(index_dir: &Path, store: &Store, tree: &str) -> Result<Option<Self>, StoreError> {
        let dir = index_dir.join("ids");
        let bytes = store.get(tree, DIRECTORY)?.unwrap_or_default();
        let (next, list) = bytes.split_at(bytes.len().min(8));
        let runs =
            list.as_chunks::<RUN_BYTES>().0.iter().map(|listed| Run::open(&dir, Listed::decode(listed)));
        let runs = match runs.collect::<io::Result<Vec<_>>>() {
            Ok(runs) => runs.into_iter().map(Arc::new).collect(),
            Err(error) => {
                tracing::warn!(%error, "the index of message ids is not whole and is made anew");
                return Ok(None);
            }
        };
        let this = Self { dir, runs, next: number(next) };
        this.remove_others().map_err(|e| this.failed(&e))?;
        Ok(Some(this))
    }

    /// Removes files that are not in the list.
    fn remove_others(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !self.runs.iter().any(|run| path_of(&self.dir, run.listed.number) == path) {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        StoreError::Database(format!("{}: {error}", self.dir.display()))
    }

    /// Adds a run of `entries`, which are sorted; on the disk on return. [`Self::directory`] is to be stored next.
    pub(super) fn add(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let written = Draft::begin(&self.dir, self.next, 0).and_then(|mut draft| {
            entries.iter().try_for_each(|entry| draft.put(entry))?;
            draft.finish()
        });
        self.next += 1;
        self.runs.extend(written.map_err(|e| self.failed(&e))?.map(Arc::new));
        Ok(())
    }

    /// The list as it is stored.
    pub(super) fn directory(&self) -> Change {
        let runs = self.runs.iter().flat_map(|run| run.listed.encode());
        (DIRECTORY.to_vec(), Some(self.next.to_be_bytes().into_iter().chain(runs).collect()))
    }

    /// Whether runs of one size have become too many.
    pub(super) fn is_due(&self) -> bool {
        self.full_level().is_some()
    }

    fn full_level(&self) -> Option<u8> {
        (0..LEVELS - 1).find(|level| self.of_level(*level).count() >= FANOUT)
    }

    /// The merge that is due; `lowest` is the first record that there still is.
    pub(super) fn due(&mut self, lowest: u64) -> Option<Merge> {
        let level = self.full_level()?;
        let old = self.of_level(level).cloned().collect();
        self.next += 1;
        Some(Merge { dir: self.dir.clone(), old, number: self.next - 1, level: level + 1, lowest })
    }

    fn of_level(&self, level: u8) -> impl Iterator<Item = &Arc<Run>> {
        self.runs.iter().filter(move |run| run.listed.level == level)
    }

    /// Takes the outcome of a merge, and drops runs of which every record has expired; durable on return.
    pub(super) fn replace(
        &mut self,
        merge: &Merge,
        made: Option<Run>,
        store: &Store,
        tree: &str,
    ) -> Result<(), StoreError> {
        let stays = |run: &Arc<Run>| {
            run.listed.last_record >= merge.lowest && !merge.old.iter().any(|old| Arc::ptr_eq(old, run))
        };
        let (stay, go): (Vec<_>, Vec<_>) = self.runs.drain(..).partition(stays);
        self.runs = stay;
        self.runs.extend(made.map(Arc::new));
        store.put_lazily(tree, &[self.directory()])?;
        store.sync()?;
        for run in go {
            // One that stays is in nobody's way; the next start removes it.
            let _ = std::fs::remove_file(path_of(&self.dir, run.listed.number));
        }
        Ok(())
    }

    /// Entries with this hash, at most `limit` of each run.
    pub(super) fn find(&self, hash: &[u8; 16], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        for run in &self.runs {
            run.find(hash, limit, &mut found).map_err(|e| self.failed(&e))?;
        }
        Ok(found)
    }
}

impl Run {
    fn open(dir: &Path, listed: Listed) -> io::Result<Self> {
        let path = path_of(dir, listed.number);
        let damaged = || io::Error::other(format!("{} is damaged", path.display()));
        let file =
            File::open(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let blocks = listed.entries.div_ceil(PER_BLOCK as u64);
        let (at, length) = (blocks * BLOCK_BYTES as u64, blocks as usize * FENCE_BYTES + CRC_BYTES);
        if file.metadata()?.len() != at + length as u64 {
            return Err(damaged());
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        let fences = checked(&bytes).ok_or_else(damaged)?.as_chunks::<FENCE_BYTES>().0;
        let fences = fences.iter().map(|fence| u64::from_be_bytes(*fence)).collect();
        Ok(Self { listed, file, fences })
    }

    fn block(&self, block: usize) -> io::Result<Vec<Entry>> {
        let mut bytes = vec![0; BLOCK_BYTES];
        self.file.read_exact_at(&mut bytes, (block * BLOCK_BYTES) as u64)?;
        let number = self.listed.number;
        let bytes = checked(&bytes).ok_or_else(|| io::Error::other(format!("run {number} is damaged")))?;
        let before = block as u64 * PER_BLOCK as u64;
        let count = self.listed.entries.saturating_sub(before).min(PER_BLOCK as u64) as usize;
        Ok(bytes.as_chunks().0[..count].to_vec())
    }

    fn find(&self, hash: &[u8; 16], limit: usize, found: &mut Vec<Entry>) -> io::Result<()> {
        let start = number(&hash[..FENCE_BYTES]);
        // The block before the first that begins with it may end with it.
        let first = self.fences.partition_point(|fence| *fence < start).saturating_sub(1);
        let enough = found.len() + limit;
        for block in first..self.fences.len() {
            for entry in self.block(block)?.into_iter().skip_while(|entry| entry[..16] < hash[..]) {
                if entry[..16] != hash[..] || found.len() >= enough {
                    return Ok(());
                }
                found.push(entry);
            }
        }
        Ok(())
    }
}

impl Merge {
    /// Writes the one run; on the disk on return. `None` when every record has expired. Blocks.
    ///
    /// # Errors
    /// The disk, a damaged run, or `stop`.
    pub(super) fn run(&self, stop: &AtomicBool) -> io::Result<Option<Run>> {
        let mut draft = Draft::begin(&self.dir, self.number, self.level)?;
        let mut sources: Vec<Source<'_>> = self.old.iter().map(|run| Source::of(run)).collect();
        let mut heads = BinaryHeap::new();
        for (number, source) in sources.iter_mut().enumerate() {
            heads.extend(source.next()?.map(|entry| Reverse((entry, number))));
        }
        let mut last = None;
        while let Some(Reverse((entry, number))) = heads.pop() {
            if last != Some(entry) && sequence_of(&entry) >= self.lowest {
                draft.put(&entry)?;
            }
            last = Some(entry);
            heads.extend(sources[number].next()?.map(|entry| Reverse((entry, number))));
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        draft.finish()
    }
}

/// A run being read from its start.
struct Source<'a> {
    run: &'a Run,
    block: usize,
    entries: std::vec::IntoIter<Entry>,
}

impl<'a> Source<'a> {
    fn of(run: &'a Run) -> Self {
        Self { run, block: 0, entries: Vec::new().into_iter() }
    }
    fn next(&mut self) -> io::Result<Option<Entry>> {
        if self.entries.as_slice().is_empty() && self.block < self.run.fences.len() {
            self.entries = self.run.block(self.block)?.into_iter();
            self.block += 1;
        }
        Ok(self.entries.next())
    }
}

/// A run being written.
struct Draft {
    dir: PathBuf,
    listed: Listed,
    out: BufWriter<File>,
    block: Vec<u8>,
    fences: Vec<u8>,
}

impl Draft {
    fn begin(dir: &Path, number: u64, level: u8) -> io::Result<Self> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let out = BufWriter::with_capacity(16 * BLOCK_BYTES, options.open(path_of(dir, number))?);
        let listed = Listed { number, level, first_record: u64::MAX, last_record: 0, entries: 0 };
        Ok(Self { dir: dir.to_owned(), listed, out, block: Vec::new(), fences: Vec::new() })
    }

    fn put(&mut self, entry: &Entry) -> io::Result<()> {
        if self.block.is_empty() {
            self.fences.extend_from_slice(&entry[..FENCE_BYTES]);
        }
        self.block.extend_from_slice(entry);
        let (listed, record) = (&mut self.listed, sequence_of(entry));
        listed.entries += 1;
        listed.first_record = listed.first_record.min(record);
        listed.last_record = listed.last_record.max(record);
        if self.block.len() == PER_BLOCK * ENTRY_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.block.resize(BLOCK_BYTES - CRC_BYTES, 0);
        self.out.write_all(&self.block)?;
        self.out.write_all(&crc32c::crc32c(&self.block).to_be_bytes())?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Option<Run>> {
        if self.listed.entries == 0 {
            return std::fs::remove_file(path_of(&self.dir, self.listed.number)).map(|()| None);
        }
        if !self.block.is_empty() {
            self.end_block()?;
        }
        self.out.write_all(&self.fences)?;
        self.out.write_all(&crc32c::crc32c(&self.fences).to_be_bytes())?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        host::files::sync_dir(&self.dir)?;
        let fences = self.fences.as_chunks().0.iter().map(|fence| u64::from_be_bytes(*fence)).collect();
        Ok(Some(Run { listed: self.listed, file, fences }))
    }
}

impl Listed {
    fn encode(&self) -> [u8; RUN_BYTES] {
        let mut bytes = [0; RUN_BYTES];
        let numbers = [self.number, self.first_record, self.last_record, self.entries];
        bytes[..32].copy_from_slice(&numbers.map(u64::to_be_bytes).concat());
        bytes[32] = self.level;
        bytes
    }
    fn decode(bytes: &[u8; RUN_BYTES]) -> Self {
        Self {
            number: number(&bytes[..8]),
            first_record: number(&bytes[8..16]),
            last_record: number(&bytes[16..24]),
            entries: number(&bytes[24..32]),
            level: bytes[32],
        }
    }
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.run"))
}

/// What stands before the checksum at the end; `None` when that is another one.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    (crc32c::crc32c(content) == u32::from_be_bytes(*crc)).then_some(content)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "log";

    fn hash(number: u64) -> [u8; 16] {
        let mut hash = [0; 16];
        hash.copy_from_slice(
            &ring::digest::digest(&ring::digest::SHA256, &number.to_be_bytes()).as_ref()[..16],
        );
        hash
    }

    fn merge_all(runs: &mut Runs, store: &Store, lowest: u64) {
        while let Some(merge) = runs.due(lowest) {
            let made = merge.run(&AtomicBool::new(false)).expect("it merges");
            runs.replace(&merge, made, store, TREE).expect("replaced");
        }
    }

    fn add(runs: &mut Runs, store: &Store, records: std::ops::RangeInclusive<u64>, common: &[u8; 16]) {
        let mut entries: Vec<Entry> = records.clone().map(|n| entry(&hash(n), n % 2 == 0, n)).collect();
        entries.extend(records.map(|n| entry(common, true, n)));
        entries.sort_unstable();
        runs.add(&entries).expect("written");
        store.put_lazily(TREE, &[runs.directory()]).expect("written");
    }

    /// Every record is found under its id, one id of very many records up to the limit, through merges, expiry and a restart.
    #[test]
    fn finds_every_entry_whatever_was_merged() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open_rebuildable(dir.path(), 8 << 20).expect("a store");
        let mut runs = Runs::empty(dir.path()).expect("an empty list");
        let (writes, each, common) = (FANOUT as u64 * FANOUT as u64 + 3, 300, [7; 16]);
        for write in 0..writes {
            add(&mut runs, &store, write * each + 1..=(write + 1) * each, &common);
            merge_all(&mut runs, &store, 0);
        }
        let largest = runs.runs.iter().map(|run| run.listed.level).max();
        assert!(runs.runs.len() < 2 * FANOUT && largest == Some(2), "{runs:?}");
        // A crash before the list was written leaves a file that nobody names.
        let stray = path_of(&dir.path().join("ids"), runs.next);
        std::fs::write(&stray, b"half a block").expect("written");
        for lowest in [0, 1000] {
            let mut runs = Runs::load(dir.path(), &store, TREE).expect("it reads").expect("all are whole");
            assert!(!stray.exists());
            merge_all(&mut runs, &store, lowest);
            for n in 1..=writes * each {
                assert_eq!(
                    runs.find(&hash(n), 10).expect("it reads"),
                    [entry(&hash(n), n % 2 == 0, n)],
                    "{n}"
                );
            }
            assert!(runs.find(&hash(0), 10).expect("it reads").is_empty());
            assert_eq!(runs.find(&common, 100_000).expect("it reads").len() as u64, writes * each);
            let few = runs.find(&common, 10).expect("it reads");
            assert_eq!(few.len(), 10 * runs.runs.len(), "{lowest}: so many of every run");
        }
        let files = || std::fs::read_dir(dir.path().join("ids")).expect("a folder").count();
        let mut runs = Runs::load(dir.path(), &store, TREE).expect("it reads").expect("all are whole");
        assert_eq!(files(), runs.runs.len(), "merged files are gone");
        let first = writes * each + 1;
        (0..FANOUT as u64).for_each(|n| add(&mut runs, &store, first + n..=first + n, &common));
        merge_all(&mut runs, &store, first + 3);
        assert_eq!((runs.runs.len(), files()), (1, 1), "all others have expired");
        assert_eq!(runs.find(&common, 100).expect("it reads").len(), FANOUT - 3, "and some of these");
    }

    #[test]
    fn a_damaged_or_missing_file_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open_rebuildable(dir.path(), 8 << 20).expect("a store");
        let mut runs = Runs::empty(dir.path()).expect("an empty list");
        add(&mut runs, &store, 1..=1000, &[7; 16]);
        let path = path_of(&dir.path().join("ids"), 0);
        let whole = std::fs::read(&path).expect("it is there");
        let load = || Runs::load(dir.path(), &store, TREE).expect("it reads");
        for at in [whole.len() - 1, whole.len() - 9] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).expect("written");
            assert!(load().is_none(), "{at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).expect("written");
        assert!(load().is_none(), "cut");
        let mut damaged = whole.clone();
        damaged[..BLOCK_BYTES][40] ^= 1;
        std::fs::write(&path, &damaged).expect("written");
        let found = load().expect("the rest is whole").find(&[0; 16], 1);
        assert!(found.is_err(), "a block is checked when it is read");
        std::fs::remove_file(&path).expect("removed");
        assert!(load().is_none(), "missing");
        std::fs::write(&path, &whole).expect("written");
        assert_eq!(load().expect("whole").find(&hash(7), 10).expect("it reads").len(), 1);
    }
}
