//! Which records have a message id: sorted runs, merged as they become many.
//!
//! Ids come in no order, so one key for each would touch another page of the store for each. Instead every write of the index adds
//! one sorted run, in values of [`CHUNK`] entries; [`FANOUT`] runs of one size become one of the next, up to [`LEVELS`] sizes, of
//! which the largest stay as they are. A lookup asks every run once: a few tens among ten million records. Entries of records that
//! have expired go when they are merged, or with their whole run.

use host::store::{Store, StoreError};

/// Of an id and its client, a direction and a record: 16 bytes of a hash, 1, 8.
pub(super) const ENTRY_BYTES: usize = 25;
/// Entries of one value, 4 KB: the store reads and writes some sixteen neighbouring values as one page.
const CHUNK: usize = 160;
const FANOUT: usize = 8;
const LEVELS: u8 = 3;
/// Values written at once.
const AT_ONCE: usize = 256;
/// Key of the list of runs.
const DIRECTORY: &[u8] = b"d";
const RUN_BYTES: usize = 25;

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
    entry[17..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// One sorted list, in chunks under `i` number first-entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    number: u64,
    level: u8,
    first_record: u64,
    last_record: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    next: u64,
}

impl Runs {
    /// Reads the list; chunks that a crash left without a place in it are removed.
    pub(super) fn load(store: &Store, tree: &str) -> Result<Self, StoreError> {
        let bytes = store.get(tree, DIRECTORY)?.unwrap_or_default();
        let (next, list) = bytes.split_at(bytes.len().min(8));
        let runs: Vec<Run> = list.chunks_exact(RUN_BYTES).map(decode).collect();
        let this = Self { runs, next: number(next) };
        let mut from = run_prefix(0);
        while let Some((key, _)) = store.scan_from(tree, &from, 1)?.pop() {
            if key.first() != Some(&b'i') {
                break;
            }
            let found = number(&key[1..9]);
            if this.runs.iter().any(|run| run.number == found) {
                from = run_prefix(found + 1);
            } else {
                store.put_lazily(tree, &[(key, None)])?;
            }
        }
        Ok(this)
    }

    /// What adds a run of `entries`, which are sorted; [`Self::directory`] belongs to the same write.
    pub(super) fn add(&mut self, entries: &[Entry], changes: &mut Vec<Change>) {
        if !entries.is_empty() {
            changes.extend(self.chunks(entries, 0));
        }
    }

    /// The list as it is stored.
    pub(super) fn directory(&self) -> Change {
        let runs = self.runs.iter().flat_map(|run| {
            let numbers = [run.number, run.first_record, run.last_record].map(u64::to_be_bytes).concat();
            numbers.into_iter().chain([run.level])
        });
        (DIRECTORY.to_vec(), Some(self.next.to_be_bytes().into_iter().chain(runs).collect()))
    }

    /// Merges runs of one size that have become too many; `lowest` is the first record that there still is. What a crash
    /// interrupts is done again.
    pub(super) fn tidy(&mut self, store: &Store, tree: &str, lowest: u64) -> Result<(), StoreError> {
        let expired: Vec<Run> = self.runs.iter().filter(|run| run.last_record < lowest).copied().collect();
        self.replace(store, tree, &expired, Vec::new())?;
        for level in 0..LEVELS - 1 {
            let these: Vec<Run> = self.runs.iter().filter(|run| run.level == level).copied().collect();
            if these.len() < FANOUT {
                continue;
            }
            let mut entries = Vec::new();
            for run in &these {
                for (_, chunk) in store.scan_prefix(tree, &run_prefix(run.number), usize::MAX)? {
                    entries.extend(entries_of(&chunk).filter(|entry| sequence_of(entry) >= lowest));
                }
            }
            entries.sort_unstable();
            entries.dedup();
            let merged = self.chunks(&entries, level + 1);
            self.replace(store, tree, &these, merged)?;
        }
        Ok(())
    }

    /// Writes chunks whose run stands in the list already, then the list without `old`, and then removes those.
    fn replace(
        &mut self,
        store: &Store,
        tree: &str,
        old: &[Run],
        chunks: Vec<Change>,
    ) -> Result<(), StoreError> {
        if old.is_empty() {
            return Ok(());
        }
        chunks.chunks(AT_ONCE).try_for_each(|some| store.put_lazily(tree, some))?;
        self.runs.retain(|run| !old.contains(run));
        store.put_lazily(tree, &[self.directory()])?;
        for run in old {
            let gone = store.scan_prefix(tree, &run_prefix(run.number), usize::MAX)?;
            store.put_lazily(tree, &gone.into_iter().map(|(key, _)| (key, None)).collect::<Vec<Change>>())?;
        }
        Ok(())
    }

    fn chunks(&mut self, entries: &[Entry], level: u8) -> Vec<Change> {
        let number = self.next;
        self.next += 1;
        let records = || entries.iter().map(sequence_of);
        let (first_record, last_record) = (records().min().unwrap_or(0), records().max().unwrap_or(0));
        self.runs.push(Run { number, level, first_record, last_record });
        let key = |chunk: &[Entry]| [run_prefix(number).as_slice(), &chunk[0]].concat();
        entries.chunks(CHUNK).map(|chunk| (key(chunk), Some(chunk.concat()))).collect()
    }

    /// Entries with this hash, at most `limit` of each run.
    pub(super) fn find(
        &self,
        store: &Store,
        tree: &str,
        hash: &[u8; 16],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        for run in &self.runs {
            let prefix = run_prefix(run.number);
            let wanted = [prefix.as_slice(), &entry(hash, false, 0)].concat();
            // The chunk that holds the first of them may begin before it.
            let before = store.at_or_before(tree, &wanted)?.filter(|(key, _)| key.starts_with(&prefix));
            let mut from = before.map_or(wanted, |(key, _)| key);
            let enough = found.len() + limit;
            'run: while let Some((key, chunk)) = store.scan_from(tree, &from, 1)?.pop() {
                if !key.starts_with(&prefix) {
                    break;
                }
                for entry in entries_of(&chunk).skip_while(|entry| entry[..16] < hash[..]) {
                    if entry[..16] != hash[..] || found.len() >= enough {
                        break 'run;
                    }
                    found.push(entry);
                }
                from = [key.as_slice(), &[0]].concat();
            }
        }
        Ok(found)
    }
}

fn run_prefix(number: u64) -> Vec<u8> {
    [&b"i"[..], &number.to_be_bytes()].concat()
}

fn entries_of(chunk: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    chunk.as_chunks().0.iter().copied()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn decode(bytes: &[u8]) -> Run {
    Run {
        number: number(&bytes[..8]),
        first_record: number(&bytes[8..16]),
        last_record: number(&bytes[16..24]),
        level: bytes[24],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> [u8; 16] {
        let mut hash = [0; 16];
        hash.copy_from_slice(
            &ring::digest::digest(&ring::digest::SHA256, &number.to_be_bytes()).as_ref()[..16],
        );
        hash
    }

    /// Every record is found under its id, one id of very many records up to the limit, through merges, expiry and a restart.
    #[test]
    fn finds_every_entry_whatever_was_merged() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open_rebuildable(dir.path(), 8 << 20).expect("a store");
        let mut runs = Runs::load(&store, "log").expect("an empty list");
        let (writes, each, common) = (FANOUT as u64 * FANOUT as u64 + 3, 300, [7; 16]);
        for write in 0..writes {
            let records = write * each + 1..=(write + 1) * each;
            let mut entries: Vec<Entry> = records.clone().map(|n| entry(&hash(n), n % 2 == 0, n)).collect();
            entries.extend(records.map(|n| entry(&common, true, n)));
            entries.sort_unstable();
            let mut changes = Vec::new();
            runs.add(&entries, &mut changes);
            changes.push(runs.directory());
            store.put_lazily("log", &changes).expect("written");
            runs.tidy(&store, "log", 0).expect("merged");
        }
        assert!(runs.runs.len() < 3 * FANOUT && runs.runs.iter().any(|run| run.level == 2), "{runs:?}");
        // A crash before the list was written leaves chunks that nobody names.
        let stray = [run_prefix(runs.next).as_slice(), &entry(&hash(1), false, 999_999)].concat();
        store.put_lazily("log", &[(stray, Some(entry(&hash(1), false, 999_999).to_vec()))]).expect("written");
        for lowest in [0, 1000] {
            let mut runs = Runs::load(&store, "log").expect("the list");
            runs.tidy(&store, "log", lowest).expect("merged");
            for n in 1..=writes * each {
                let found = runs.find(&store, "log", &hash(n), 10).expect("it reads");
                let expected = entry(&hash(n), n % 2 == 0, n);
                assert_eq!(found, [expected], "record {n}");
            }
            assert!(runs.find(&store, "log", &hash(0), 10).expect("it reads").is_empty());
            let many = runs.find(&store, "log", &common, 100_000).expect("it reads");
            assert_eq!(many.len() as u64, writes * each);
            let few = runs.find(&store, "log", &common, 10).expect("it reads");
            assert_eq!(few.len(), 10 * runs.runs.len(), "{lowest}: so many of every run");
        }
        let mut runs = Runs::load(&store, "log").expect("the list");
        runs.tidy(&store, "log", u64::MAX).expect("all have expired");
        assert!(runs.runs.is_empty() && store.scan_prefix("log", b"i", 1).expect("it reads").is_empty());
    }
}
