//! No transport message has its effect twice.
//!
//! A request is told by its signature value (what only the signer could write of it), its place in the batch that was signed and the
//! digest of its message part. It is remembered for as long as the OCSP answers in its signature hold, since after that it is refused
//! anyway. What is kept is a keyed 64-bit hash, so that an hour of heavy traffic fits into memory: at most [`ENTRIES`], the ones that end
//! first make room, which is counted and logged. Each security server of a cluster has a memory of its own.
//!
//! The memory outlives the process in the file `replay/seen`: eight bytes of name, 32 of key, then one record of 16 bytes per request,
//! its hash and the minute in which it ends, big-endian. [`Replay::save`] adds what is new, every second and at the end, so that a crash
//! forgets the last second. If the file is deleted, requests from before can be executed once more until their evidence ends.
//! Millions of requests are read and written one by one: a start needs no more memory than it leaves behind.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host::files::Replacement;
use proto::time::UnixTime;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// In the folder `replay/` of the data directory.
pub const FILE: &str = "seen";
/// Most messages remembered; one more, and those go that end in the same five minutes as the first.
pub const ENTRIES: usize = 4_000_000;
const MINUTE_MS: i64 = 60_000;
/// What ends in the same so many minutes is remembered and forgotten as one: a set of hashes. Every request is looked for in all of
/// them, a dozen where evidence holds for an hour.
const SPAN_MINUTES: i64 = 5;

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
    /// What ends in which span, by its last minute.
    spans: BTreeMap<i64, Span>,
    /// Hashes in all of them.
    count: usize,
    /// What is not in the file yet.
    unsaved: Vec<Record>,
}

/// Hashes of requests, in [`TABLES`] sets: one that grows copies itself while requests wait, and is there twice meanwhile.
#[derive(Debug)]
struct Span([HashSet<u64, BuildHasherDefault<AsItIs>>; TABLES]);

const TABLES: usize = 64;

impl Default for Span {
    fn default() -> Self {
        Self(std::array::from_fn(|_| HashSet::default()))
    }
}

impl Span {
    /// Which one is in the middle of the hash: sets look at its ends.
    fn table(hash: u64) -> usize {
        (hash >> 32) as usize % TABLES
    }

    fn contains(&self, hash: u64) -> bool {
        self.0[Self::table(hash)].contains(&hash)
    }

    /// `false` when it was there already.
    fn insert(&mut self, hash: u64) -> bool {
        self.0[Self::table(hash)].insert(hash)
    }

    fn len(&self) -> usize {
        self.0.iter().map(HashSet::len).sum()
    }
}

/// Of what is a keyed hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
    fn finish(&self) -> u64 {
        self.0
    }
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
        f.debug_struct("Replay").field("remembered", &self.0.seen().count).finish_non_exhaustive()
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
        let mut seen = Seen::default();
        let now = end_of(now);
        let found = read(path, |(hash, minute)| {
            let end = span_of(minute);
            if end >= now {
                seen.put(hash, end, ENTRIES);
            }
        })?;
        let journal = match found {
            Some(journal) => journal,
            None => Journal::write(path, new_key(), &mut |_| None)?,
        };
        let (key, journal) = (signing(&journal.key), Some(Mutex::new(journal)));
        Ok(Self(Arc::new(Inner { key, seen: Mutex::new(seen), journal })))
    }

    /// Remembers a request until `until`.
    ///
    /// # Errors
    /// [`Replayed`] when it is remembered already.
    pub fn first_time(&self, trace: &Trace<'_>, until: UnixTime, now: UnixTime) -> Result<(), Replayed> {
        let hash = hash(&self.0.key, trace);
        let mut seen = self.0.seen();
        let now = end_of(now);
        let end = end_of(until).max(now);
        seen.forget_before(now);
        if !seen.insert(hash, end, ENTRIES) {
            return Err(Replayed);
        }
        if self.0.journal.is_some() {
            seen.unsaved.push((hash, end));
        }
        Ok(())
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
            let grown = journal.records + unsaved.len() > 2 * seen.count + SLACK;
            (unsaved, grown)
        };
        if grown {
            // Should it fail, what was unsaved is in none of the files: the next one has to be whole as well.
            journal.records = WHOLE_NEXT;
            // Requests go on between two spans. What comes meanwhile is unsaved, whether the file has it already or not.
            *journal =
                Journal::write(&journal.path, journal.key, &mut |after| self.0.seen().span_after(after))?;
        } else if !unsaved.is_empty() {
            journal.append(&unsaved)?;
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
    fn forget_before(&mut self, end: i64) {
        while let Some(first) = self.spans.first_entry()
            && *first.key() < end
        {
            self.count -= first.remove().len();
        }
    }

    /// `false` when it was there already.
    fn insert(&mut self, hash: u64, end: i64, limit: usize) -> bool {
        if self.spans.values().any(|span| span.contains(hash)) {
            return false;
        }
        self.put(hash, end, limit);
        true
    }

    /// One that is in no other span.
    fn put(&mut self, hash: u64, end: i64, limit: usize) {
        self.count += usize::from(self.spans.entry(end).or_default().insert(hash));
        if self.count > limit {
            self.forget_some();
        }
    }

    fn forget_some(&mut self) {
        let Some((minute, hashes)) = self.spans.pop_first() else { return };
        self.count -= hashes.len();
        metrics::counter!("causeway_replay_forgotten_total").increment(hashes.len() as u64);
        tracing::warn!(
            minute,
            messages = hashes.len(),
            "the memory against repeated messages is full: the oldest are forgotten"
        );
    }

    /// The first span that ends later than `end`.
    fn span_after(&self, end: i64) -> Option<(i64, Vec<u64>)> {
        let (end, hashes) = self.spans.range((Bound::Excluded(end), Bound::Unbounded)).next()?;
        Some((*end, hashes.0.iter().flatten().copied().collect()))
    }
}

impl Journal {
    /// A file with the spans that `span_after` gives, one after the other, and nothing else.
    fn write(
        path: &Path,
        key: [u8; KEY_BYTES],
        span_after: &mut dyn FnMut(i64) -> Option<(i64, Vec<u64>)>,
    ) -> io::Result<Self> {
        let mut file = BufWriter::new(Replacement::create(path, 0o600)?);
        file.write_all(MAGIC)?;
        file.write_all(&key)?;
        let (mut records, mut last) = (0, i64::MIN);
        while let Some((end, hashes)) = span_after(last) {
            hashes.iter().try_for_each(|hash| file.write_all(&encode(&(*hash, end))))?;
            (records, last) = (records + hashes.len(), end);
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.commit()?;
        Self::append_to(path, key, records)
    }

    fn append_to(path: &Path, key: [u8; KEY_BYTES], records: usize) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { path: path.to_owned(), key, file, records })
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(encode).collect();
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        // What is missing now is in the next one.
        self.records = if written.is_ok() { self.records + records.len() } else { WHOLE_NEXT };
        written
    }
}

fn encode((hash, minute): &Record) -> [u8; RECORD_BYTES] {
    (u128::from(*hash) << 64 | u128::from(minute.cast_unsigned())).to_be_bytes()
}

fn decode(record: [u8; RECORD_BYTES]) -> Record {
    let number = u128::from_be_bytes(record);
    ((number >> 64) as u64, (number as u64).cast_signed())
}

/// Gives `each` record of the file, which goes on behind the last whole one; `None` when there is no file.
fn read(path: &Path, mut each: impl FnMut(Record)) -> io::Result<Option<Journal>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut file = BufReader::new(file);
    let (mut name, mut key) = ([0; MAGIC.len()], [0; KEY_BYTES]);
    let header = file.read_exact(&mut name).and_then(|()| file.read_exact(&mut key));
    if name != *MAGIC || header.is_err() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no memory of messages"));
    }
    let mut record = [0; RECORD_BYTES];
    let records = (length as usize).saturating_sub(HEADER_BYTES) / RECORD_BYTES;
    for _ in 0..records {
        file.read_exact(&mut record)?;
        each(decode(record));
    }
    let journal = Journal::append_to(path, key, records)?;
    journal.file.set_len((HEADER_BYTES + records * RECORD_BYTES) as u64)?;
    Ok(Some(journal))
}

/// The last minute of the span in which `time` lies.
fn end_of(time: UnixTime) -> i64 {
    span_of(time.0.div_euclid(MINUTE_MS))
}

/// The last minute of the span of `minute`.
fn span_of(minute: i64) -> i64 {
    minute.div_euclid(SPAN_MINUTES).saturating_mul(SPAN_MINUTES).saturating_add(SPAN_MINUTES - 1)
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

    const MINUTE: i64 = MINUTE_MS;
    const SPAN: i64 = SPAN_MINUTES * MINUTE;

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
        let until = UnixTime(2 * SPAN + 5);
        replay.first_time(&trace(b"m"), until, UnixTime(0)).expect("new");
        assert!(replay.first_time(&trace(b"m"), until, until).is_err(), "at its last instant");
        assert!(replay.first_time(&trace(b"m"), until, UnixTime(3 * SPAN)).is_ok(), "a span later");
    }

    #[test]
    fn forgets_what_ends_first_when_it_is_full() {
        let mut seen = Seen::default();
        for minute in 0..12 {
            assert!(seen.insert(minute, i64::try_from(minute).expect("small"), 10), "new");
        }
        let counted: usize = seen.spans.values().map(Span::len).sum();
        assert!(seen.count <= 10 && seen.count == counted, "{} {counted}", seen.count);
        assert!(!seen.insert(11, 1, 10), "the last is there");
        assert!(seen.insert(0, 1, 10), "the first is not");
    }

    #[test]
    fn remembers_over_restarts_until_the_evidence_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (now, until, later) = (UnixTime(0), UnixTime(2 * SPAN - 1), UnixTime(20 * MINUTE));
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
    fn minutes_of_any_file_are_those_of_their_span() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let replay = Replay::open(&path, UnixTime(0)).unwrap();
        let hashes = [b"first", b"other"].map(|name| hash(&replay.0.key, &trace(name)));
        let records = hashes.iter().zip([6, i64::MAX]).flat_map(|(hash, minute)| encode(&(*hash, minute)));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&records.collect::<Vec<_>>()).unwrap();
        let replay = Replay::open(&path, UnixTime(9 * MINUTE)).unwrap();
        let again = |name: &str| {
            replay.first_time(&trace(name.as_bytes()), UnixTime(9 * MINUTE), UnixTime(9 * MINUTE)).is_err()
        };
        assert!(again("first") && again("other") && !again("another"));
        let mut last = i64::MIN;
        while let Some((end, _)) = replay.0.seen().span_after(last) {
            assert!(end > last, "{end}");
            last = end;
        }
    }

    #[test]
    fn what_comes_while_the_file_is_written_anew_is_in_it_or_in_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let replay = Replay::open(&path, UnixTime(0)).unwrap();
        for number in 0..u32::try_from(SLACK).unwrap() + 10 {
            replay.first_time(&trace(&number.to_be_bytes()), UnixTime(0), UnixTime(0)).unwrap();
        }
        replay.save().unwrap();
        let (now, until) = (UnixTime(SPAN), |number: u32| UnixTime(SPAN * (1 + i64::from(number % 7))));
        let name = |number: u32| [b"during".as_slice(), &number.to_be_bytes()].concat();
        std::thread::scope(|threads| {
            let coming = threads.spawn(|| {
                (0..20_000).for_each(|n| replay.first_time(&trace(&name(n)), until(n), now).unwrap());
            });
            // The first of these writes the file anew, since all that it has is over.
            while !coming.is_finished() {
                replay.save().unwrap();
            }
        });
        replay.save().unwrap();
        let replay = Replay::open(&path, now).unwrap();
        let forgotten =
            (0..20_000).filter(|n| replay.first_time(&trace(&name(*n)), until(*n), now).is_ok()).count();
        assert_eq!(forgotten, 0);
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
        // The span is over, so that the file is to be written anew, and that fails.
        let later = UnixTime(SPAN);
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
