//! No transport message has its effect twice.
//!
//! A request is told by its signature value (what only the signer could write of it), its place in the batch that was signed and the
//! digest of its message part. It is remembered for as long as the OCSP answers in its signature hold, since after that it is refused
//! anyway. What is kept is a keyed 64-bit hash, so that an hour of heavy traffic fits into memory: at most [`ENTRIES`], the ones that end first make room, which is
//! counted and logged. Each security server of a cluster has a memory of its own.
//!
//! The memory outlives the process in the file `replay/seen`: eight bytes of name, 32 of key, then one record of 16 bytes per request,
//! its hash and the minute in which it ends, big-endian. [`Replay::save`] adds what is new, every second and at the end, so that a crash
//! forgets the last second. If the file is deleted, requests from before can be executed once more until their evidence ends.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::time::UnixTime;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// In the folder `replay/` of the data directory.
pub const FILE: &str = "seen";
/// Most messages remembered.
pub const ENTRIES: usize = 4_000_000;
/// What is remembered ends by the minute.
const SPAN_MS: i64 = 60_000;

const MAGIC: &[u8; 8] = b"cwreplay";
const KEY_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + KEY_BYTES;
const RECORD_BYTES: usize = 16;
/// The file is written anew when it has so many records more than twice what is remembered.
const SLACK: usize = 100_000;
/// As many records as no file has: the next time it is written whole.
const WHOLE_NEXT: usize = usize::MAX / 2;
/// A larger file is none of ours.
const MAX_FILE_BYTES: u64 = (HEADER_BYTES + RECORD_BYTES * (2 * ENTRIES + 2 * SLACK)) as u64;

/// What tells one request from all others.
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone)]
pub struct Replay(Arc<Inner>);

struct Inner {
    key: hmac::Key,
    seen: Mutex<Seen>,
    /// `None`: nothing outlives the process.
    journal: Option<Mutex<Journal>>,
}

#[derive(Debug, Default)]
struct Seen {
    all: HashSet<u64>,
    /// What ends in which minute.
    by_end: BTreeMap<i64, Vec<u64>>,
    /// What is not in the file yet.
    unsaved: Vec<Record>,
}

/// A request's hash and the minute in which it ends.
type Record = (u64, i64);

/// The file, open at its end.
struct Journal {
    path: PathBuf,
    key: [u8; KEY_BYTES],
    file: File,
    records: usize,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("remembered", &self.0.seen().all.len()).finish_non_exhaustive()
    }
}

impl Default for Replay {
    fn default() -> Self {
        Self::new()
    }
}

impl Replay {
    /// Remembers nothing yet, and not beyond the process.
    pub fn new() -> Self {
        Self(Arc::new(Inner { key: signing(&new_key()), seen: Mutex::default(), journal: None }))
    }

    /// Remembers what the file `path` says, and keeps it up to date; none is an empty one. Blocks.
    ///
    /// # Errors
    /// The disk, or the file is none of ours.
    pub fn open(path: &Path, now: UnixTime) -> io::Result<Self> {
        let (key, records) = match read(path)? {
            Some(found) => found,
            None => (new_key(), Vec::new()),
        };
        let mut seen = Seen::default();
        for (hash, minute) in records {
            if minute >= minute_of(now) {
                seen.insert(hash, minute, ENTRIES);
            }
        }
        seen.unsaved.clear();
        let journal = Some(Mutex::new(Journal::write(path, key, &seen.records())?));
        Ok(Self(Arc::new(Inner { key: signing(&key), seen: Mutex::new(seen), journal })))
    }

    /// Remembers a request until `until`.
    ///
    /// # Errors
    /// [`Replayed`] when it is remembered already.
    pub fn first_time(&self, trace: &Trace<'_>, until: UnixTime, now: UnixTime) -> Result<(), Replayed> {
        let hash = hash(&self.0.key, trace);
        let mut seen = self.0.seen();
        seen.forget_before(minute_of(now));
        let new = seen.insert(hash, minute_of(until).max(minute_of(now)), ENTRIES);
        if self.0.journal.is_none() {
            seen.unsaved.clear();
        }
        if new { Ok(()) } else { Err(Replayed) }
    }

    /// Writes what is new to the file. Blocks; called now and then, and at the end.
    ///
    /// # Errors
    /// The disk; what is new is then only remembered by this process.
    pub fn save(&self) -> io::Result<()> {
        let Some(journal) = &self.0.journal else { return Ok(()) };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        let (unsaved, grown) = {
            let mut seen = self.0.seen();
            let unsaved = std::mem::take(&mut seen.unsaved);
            let grown = journal.records + unsaved.len() > 2 * seen.all.len() + SLACK;
            (unsaved, grown.then(|| seen.records()))
        };
        match grown {
            Some(all) => {
                // Should it fail, what was unsaved is in none of the files: the next one has to be whole as well.
                journal.records = WHOLE_NEXT;
                *journal = Journal::write(&journal.path, journal.key, &all)?;
            }
            None if unsaved.is_empty() => {}
            None => journal.append(&unsaved)?,
        }
        Ok(())
    }
}

impl Inner {
    /// Nothing panics while the lock is held, and what it guards is whole after every statement.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn forget_before(&mut self, minute: i64) {
        while let Some(first) = self.by_end.first_entry()
            && *first.key() < minute
        {
            first.remove().iter().for_each(|hash| _ = self.all.remove(hash));
        }
    }

    /// `false` when it was there already.
    fn insert(&mut self, hash: u64, minute: i64, limit: usize) -> bool {
        if !self.all.insert(hash) {
            return false;
        }
        self.by_end.entry(minute).or_default().push(hash);
        self.unsaved.push((hash, minute));
        if self.all.len() > limit {
            self.forget_some();
        }
        true
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

    fn records(&self) -> Vec<Record> {
        let of = |(minute, hashes): (&i64, &Vec<u64>)| -> Vec<Record> {
            hashes.iter().map(|hash| (*hash, *minute)).collect()
        };
        self.by_end.iter().flat_map(of).collect()
    }
}

impl Journal {
    /// A file with these records and no others.
    fn write(path: &Path, key: [u8; KEY_BYTES], records: &[Record]) -> io::Result<Self> {
        let bytes = [&MAGIC[..], &key, &encode(records)].concat();
        host::files::write_atomic(path, &bytes, 0o600)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { path: path.to_owned(), key, file, records: records.len() })
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let written = self.file.write_all(&encode(records)).and_then(|()| self.file.sync_data());
        // What is missing now is in the next one.
        self.records = if written.is_ok() { self.records + records.len() } else { WHOLE_NEXT };
        written
    }
}

fn encode(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(|(hash, minute)| [hash.to_be_bytes(), minute.to_be_bytes()].concat()).collect()
}

/// Key and records; a record that was cut off is none.
fn read(path: &Path) -> io::Result<Option<([u8; KEY_BYTES], Vec<Record>)>> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_FILE_BYTES => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let bytes = std::fs::read(path)?;
    let not_ours = || io::Error::new(io::ErrorKind::InvalidData, "no memory of messages");
    let (key, records) = bytes
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.split_first_chunk::<KEY_BYTES>())
        .ok_or_else(not_ours)?;
    let number = |half: &[u8]| half.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let records = records.chunks_exact(RECORD_BYTES).map(|record| {
        let (hash, minute) = record.split_at(RECORD_BYTES / 2);
        (number(hash), number(minute).cast_signed())
    });
    Ok(Some((*key, records.collect())))
}

fn minute_of(time: UnixTime) -> i64 {
    time.0.div_euclid(SPAN_MS)
}

fn new_key() -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).expect("the system has randomness");
    key
}

fn signing(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

/// Lengths in between, so that no two traces run together alike.
fn hash(key: &hmac::Key, trace: &Trace<'_>) -> u64 {
    let mut context = hmac::Context::with_key(key);
    for bytes in [trace.signature_value, trace.message] {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    }
    for step in trace.position {
        context.update(&(*step as u64).to_be_bytes());
    }
    let tag = context.sign();
    tag.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
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
        for minute in 0..12 {
            assert!(seen.insert(minute, i64::try_from(minute).expect("small"), 10), "new");
        }
        assert!(seen.all.len() <= 10);
        assert!(!seen.insert(11, 1, 10), "the last is there");
        assert!(seen.insert(0, 1, 10), "the first is not");
    }

    #[test]
    fn remembers_over_restarts_until_the_evidence_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (now, until, later) = (UnixTime(0), UnixTime(10 * MINUTE), UnixTime(20 * MINUTE));
        let replay = Replay::open(&path, now).unwrap();
        replay.first_time(&trace(b"early"), until, now).unwrap();
        replay.first_time(&trace(b"late"), later, now).unwrap();
        replay.save().unwrap();
        replay.first_time(&trace(b"lost"), later, now).unwrap();
        drop(replay);
        // The process died while it wrote.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[1, 2, 3]).unwrap();

        let replay = Replay::open(&path, now).unwrap();
        let again = |replay: &Replay, name: &str, now| {
            replay.first_time(&trace(name.as_bytes()), later, now).is_err()
        };
        assert!(again(&replay, "early", now) && again(&replay, "late", now));
        assert!(!again(&replay, "lost", now), "it was never saved");
        replay.save().unwrap();
        let replay = Replay::open(&path, UnixTime(11 * MINUTE)).unwrap();
        assert!(again(&replay, "late", now) && again(&replay, "lost", now));
        assert!(!again(&replay, "early", UnixTime(11 * MINUTE)), "its evidence has ended");
    }

    #[test]
    fn the_file_does_not_grow_with_what_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let replay = Replay::open(&path, UnixTime(0)).unwrap();
        let count = u32::try_from(SLACK).unwrap() + 10;
        for number in 0..count {
            replay.first_time(&trace(&number.to_be_bytes()), UnixTime(0), UnixTime(0)).unwrap();
        }
        replay.save().unwrap();
        let full = std::fs::metadata(&path).unwrap().len();
        replay.first_time(&trace(b"next"), UnixTime(5 * MINUTE), UnixTime(5 * MINUTE)).unwrap();
        replay.save().unwrap();
        let after = std::fs::metadata(&path).unwrap().len();
        assert!(
            full > 16 * u64::from(count) && after == (HEADER_BYTES + RECORD_BYTES) as u64,
            "{full} then {after}"
        );
        assert!(replay.first_time(&trace(b"next"), UnixTime(5 * MINUTE), UnixTime(5 * MINUTE)).is_err());
    }

    #[test]
    fn what_a_full_disk_kept_out_of_the_file_is_in_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, aside) = (folder.path().join("replay"), folder.path().join("aside"));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join(FILE);
        let (now, until) = (UnixTime(0), UnixTime(10 * MINUTE));
        let replay = Replay::open(&path, now).unwrap();
        for number in 0..u32::try_from(SLACK).unwrap() + 10 {
            replay.first_time(&trace(&number.to_be_bytes()), now, now).unwrap();
        }
        replay.save().unwrap();
        // The minute is over, so that the file is to be written anew, and that fails.
        let later = UnixTime(2 * MINUTE);
        replay.first_time(&trace(b"kept"), until, later).unwrap();
        std::fs::rename(&dir, &aside).unwrap();
        assert!(replay.save().is_err());
        std::fs::rename(&aside, &dir).unwrap();
        for number in 0..u32::try_from(2 * SLACK).unwrap() {
            replay.first_time(&trace(&number.to_be_bytes()), until, later).unwrap();
        }
        replay.save().unwrap();
        let replay = Replay::open(&path, later).unwrap();
        assert!(replay.first_time(&trace(b"kept"), until, later).is_err(), "it was forgotten");
    }

    #[test]
    fn another_file_is_not_taken_for_an_empty_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for bytes in
            [&b""[..], b"cwreplay and too short", b"something else that is long enough to be a header"]
        {
            std::fs::write(&path, bytes).unwrap();
            assert!(Replay::open(&path, UnixTime(0)).is_err(), "{bytes:?}");
        }
    }
}
