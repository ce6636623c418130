//! The index: where a record lies, by number, by message id and client, and which records wait for a timestamp.
//!
//! It is a sled tree and some files in `log/index/`, kept by a thread of its own, behind the commits. It holds nothing that is not in the
//! segments: at a start it is brought up to date from the last segment, or rebuilt from all of them when it is missing. Deleting the
//! folder costs one rebuild. New records are found in memory; they are written once [`UNWRITTEN`] of them have gathered or the log has
//! grown by [`UNWRITTEN_BYTES`], so that a start after a crash reads no more than that again.
//!
//! | Key | Value |
//! |---|---|
//! | `w` number | first and last record of ranges that wait |
//! | `t` first record of a range | its last record, segment and offset of the stamp, place of the first in its batch |
//! | `d` | the list of sorted runs, which are files of their own ([`runs`]): first 16 bytes of SHA-256(message id ‖ 0 ‖ local client), response (1), record |
//! | `r` segment, record | nothing: the record lies in a later segment and has its body in this one |
//! | `v` | how far the index has come: segment, offset, next sequence, chain value |
//! | `n` | how far the log was durable, at most [`WITNESS_EVERY`] ago |
//!
//! | File of slots ([`slots`]) | Slot of a record |
//! |---|---|
//! | `places/` | segment, offset, leaf of the tree |
//! | `waiting/` | of one that waits: SHA-512 of the signature document (64), time of the record (8), until when a stamp is in time (8) |
//!
//! Numbers are big-endian.
mod by_number;
mod contents;
mod notes;
mod ranges;
mod runs;
mod slots;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use host::store::{Store, StoreError};
use pki::merkle::Hash;
use pki::note::Verifier;
use prost::Message;
use proto::time::UnixTime;
use ring::digest::{Context, SHA256};
use tokio::sync::oneshot;

use self::contents::{Contents, Records};
use self::notes::{Note, Notes};
use self::runs::{Merge, Run};
use super::format::{CHAIN_BYTES, Client, Kind, Named, RecordHead, StampHead};
use super::recovery::{Tail, bounds};
use super::segment::{ReadError, Readable, Step};
use super::writer::lock;
use crate::message_log::LogError;

const TREE: &str = "log";
/// Another letter than in the forms of the index before, so that an older one is rebuilt.
const MARKER: &[u8] = b"v";
const WITNESS: &[u8] = b"n";
/// What each record has lies beside the store, in files.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Records, and bytes of the log, that are not written at most.
const UNWRITTEN: usize = 8192;
const UNWRITTEN_BYTES: u64 = 64 << 20;
/// Of merges, which nobody waits for.
const MERGE_NICENESS: i32 = 15;
/// How often the store hears up to where the log is durable.
const WITNESS_EVERY: Duration = Duration::from_millis(500);

type Change = (Vec<u8>, Option<Vec<u8>>);

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// A record that waits for a timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) sequence: u64,
    /// SHA-512 of its signature document.
    pub(crate) leaf: [u8; 64],
    /// Time of the record, milliseconds since 1970.
    pub(crate) at: i64,
    /// Until when a stamp is in time; 0 when that is not known.
    pub(crate) until: i64,
}

impl Waiting {
    /// A stamp of this time comes too late for the OCSP answer.
    pub(crate) fn is_late(&self, stamped: UnixTime) -> bool {
        self.until > 0 && stamped.0 > self.until
    }
}

/// What the index keeps of a record besides its place: made by whoever brings the record, so that its head need not come along.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Of message id and local client, see [`id_hash`].
    pub(crate) id: [u8; 16],
    pub(crate) response: bool,
    pub(crate) at: i64,
    pub(crate) until: i64,
    /// SHA-512 of its signature document.
    pub(crate) signature: [u8; 64],
    /// Segments that parts of its bodies lie in.
    pub(crate) bodies: Vec<u64>,
}

impl Facts {
    fn of(head: &RecordHead, signature: [u8; 64]) -> Self {
        Self {
            id: id_hash(&head.message_id, &head.local().into()),
            response: head.response,
            at: head.at,
            until: head.good_until,
            signature,
            bodies: head.extents().map(|extent| extent.segment).collect(),
        }
    }
}

/// Something new in the log.
#[derive(Debug)]
pub(crate) enum Added {
    Record {
        place: Place,
        sequence: u64,
        facts: Facts,
        /// Its head, as it was written, among [`Commit::heads`].
        head: Range<usize>,
    },
    Stamp {
        place: Place,
        head: Box<StampHead>,
    },
}

/// What one commit added.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    pub(crate) added: Vec<Added>,
    /// Heads of all its records, one behind the other.
    pub(crate) heads: Vec<u8>,
    /// With it everything up to here was told.
    pub(crate) tail: Option<Tail>,
}

impl Commit {
    /// Records that it brings.
    fn records(&self) -> u64 {
        self.added.iter().filter(|added| matches!(added, Added::Record { .. })).count() as u64
    }
}

/// A record whose segment goes.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) sequence: u64,
    /// Other segments that have parts of its bodies.
    pub(crate) bodies_in: Vec<u64>,
}

/// What the store knows of the log when it is opened.
pub(crate) struct Known {
    /// Up to here the index has everything.
    indexed: Option<Tail>,
    /// Up to here the log was on the disk.
    pub(crate) durable: Option<Tail>,
}

/// The index, and the way to tell it things.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    contents: Arc<Mutex<Contents>>,
    notes: Arc<Notes>,
    waiting: Arc<AtomicU64>,
    /// It could not be written, and misses records until the next start.
    behind: Arc<AtomicBool>,
}

impl Index {
    /// Opens the store and says how far it has come, and up to where it saw the log on the disk.
    pub(crate) fn open_store(dir: &Path) -> Result<(Store, Known), LogError> {
        let store = Store::open_rebuildable(&dir.join("index"), CACHE_BYTES).map_err(disk)?;
        let tail = |key| Ok(store.get(TREE, key).map_err(disk)?.and_then(|value| decode_tail(&value)));
        let known = Known { indexed: tail(MARKER)?, durable: tail(WITNESS)? };
        Ok((store, known))
    }

    /// Brings the index up to `tail` and starts its thread.
    pub(crate) fn start(
        dir: &Path,
        store: Store,
        known: Known,
        tail: &Tail,
        key: &Verifier,
    ) -> Result<Self, LogError> {
        let caught_up = match catch_up(dir, &store, known.indexed, tail, key) {
            Err(error) if store.get(TREE, MARKER).is_ok_and(|marker| marker.is_none()) => {
                tracing::warn!(error, "the index of the message log is damaged and is made anew");
                catch_up(dir, &store, None, tail, key)
            }
            caught_up => caught_up,
        };
        let (contents, caught_up) = caught_up.map_err(disk)?;
        if caught_up > 0 {
            tracing::info!(records = caught_up, "the index of the message log was brought up to date");
        }
        let waiting = Arc::new(AtomicU64::new(contents.unstamped()));
        let notes = Arc::new(Notes::default());
        let keeper = Keeper {
            contents: Arc::new(Mutex::new(contents)),
            waiting: waiting.clone(),
            behind: Arc::new(AtomicBool::new(false)),
            witnessed: Instant::now(),
            notes: notes.clone(),
            stop: Arc::new(AtomicBool::new(false)),
            merging: None,
        };
        let (contents, behind) = (keeper.contents.clone(), keeper.behind.clone());
        let thread = std::thread::Builder::new().name("log-index".into());
        thread.spawn(move || keeper.run()).map_err(disk)?;
        Ok(Self { contents, notes, waiting, behind })
    }

    /// Tells the index what a commit added; waits when it is far behind.
    pub(crate) fn tell(&self, commit: Commit) {
        // Whoever is told of a record afterwards finds it counted.
        self.waiting.fetch_add(commit.records(), Ordering::Relaxed);
        self.notes.push(Note::Added(commit));
    }

    /// Has everything written to the disk and the store closed; waits for it.
    pub(crate) fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.notes.push(Note::Close(done));
        let _ = closed.blocking_recv();
    }

    /// Waits until everything told so far can be found.
    pub(crate) async fn caught_up(&self) {
        let (done, reached) = oneshot::channel();
        self.notes.push(Note::Barrier(done));
        let _ = reached.await;
    }

    /// The same, by blocking.
    pub(crate) fn barrier(&self) {
        let (done, reached) = oneshot::channel();
        self.notes.push(Note::Barrier(done));
        let _ = reached.blocking_recv();
    }

    /// Leaves of at most `limit` records from number `first` on, in order. An index that misses records gives none, since nobody
    /// could tell them from lost ones.
    pub(crate) fn leaves(&self, first: u64, limit: usize) -> Result<Vec<(u64, Hash)>, LogError> {
        self.whole()?.leaves(first, limit).map_err(disk)
    }

    /// The contents of an index that misses nothing; the one that is behind says so while it has the lock.
    fn whole(&self) -> Result<MutexGuard<'_, Contents>, LogError> {
        let contents = lock(&self.contents);
        if self.behind.load(Ordering::Acquire) {
            return Err(disk("it misses records; the next start mends it"));
        }
        Ok(contents)
    }

    /// Whether a record of another segment has its body in this one.
    pub(crate) fn is_used(&self, segment: u64) -> Result<bool, LogError> {
        lock(&self.contents).is_used(segment).map_err(disk)
    }

    /// Takes records out whose segment goes: these, and whatever has a number from the first of `numbers` to the one before the second,
    /// since the heads of damaged ones cannot be read. Durable on return. An index that misses records forgets none: it would say that it
    /// has come as far as the log.
    pub(crate) fn forget(&self, records: &[Gone], numbers: (u64, u64)) -> Result<(), LogError> {
        let mut contents = self.whole()?;
        let before = contents.unstamped();
        contents.forget(records, numbers).map_err(disk)?;
        self.waiting.fetch_sub(before - contents.unstamped(), Ordering::Relaxed);
        Ok(())
    }

    /// Records that wait for a timestamp.
    pub(crate) fn waiting_count(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The first `limit` of them, in order.
    pub(crate) fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, LogError> {
        lock(&self.contents).waiting(limit).map_err(disk)
    }

    /// One of them.
    pub(crate) fn waiting_one(&self, sequence: u64) -> Result<Option<Waiting>, LogError> {
        lock(&self.contents).waiting_one(sequence).map_err(disk)
    }

    /// Where a record lies.
    pub(crate) fn record(&self, sequence: u64) -> Result<Option<Place>, LogError> {
        lock(&self.contents).place(sequence).map_err(disk)
    }

    /// Where a record's stamp lies, and its place in the batch.
    pub(crate) fn stamp(&self, sequence: u64) -> Result<Option<(Place, usize)>, LogError> {
        lock(&self.contents).stamp_of(sequence).map_err(disk)
    }

    /// Numbers of records that may have this message id and local client; at most `limit`.
    pub(crate) fn by_message_id(&self, id: &str, local: &Client, limit: usize) -> Result<Vec<u64>, LogError> {
        lock(&self.contents).by_message_id(id, local, limit).map_err(disk)
    }
}

/// The index's thread.
struct Keeper {
    contents: Arc<Mutex<Contents>>,
    waiting: Arc<AtomicU64>,
    behind: Arc<AtomicBool>,
    witnessed: Instant,
    /// For the outcome of merges.
    notes: Arc<Notes>,
    /// Ends a merge early.
    stop: Arc<AtomicBool>,
    merging: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Takes what waits, a batch at a time, until the log is closed; tells whoever closed it when the store has been let go.
    fn run(mut self) {
        loop {
            let taken = self.notes.take();
            let (mut answers, mut closing, mut reached, mut merged) = (Vec::new(), None, None, None);
            let of_all = self.contents.clone();
            let mut contents = lock(&of_all);
            let mut waited = contents.unstamped();
            for note in taken {
                match note {
                    Note::Added(commit) => {
                        waited += commit.records();
                        contents.add(&commit);
                        reached = commit.tail.or(reached);
                    }
                    Note::Merged(merge, made) => merged = Some((merge, made)),
                    Note::Barrier(answer) => answers.push(answer),
                    Note::Close(answer) => closing = Some(answer),
                }
            }
            self.waiting.fetch_sub(waited - contents.unstamped(), Ordering::Relaxed);
            let behind = self.behind.load(Ordering::Relaxed);
            let written = match reached {
                Some(tail) if !behind => keep(&mut contents, tail, closing.is_some(), &mut self.witnessed),
                None if closing.is_some() && !behind => contents.write(),
                Some(_) | None => Ok(()),
            };
            if let Err(error) = written {
                // Without a marker beyond this point the next start reads the segments from here on.
                self.behind.store(true, Ordering::Release);
                tracing::error!(%error, "the index of the message log cannot be written; the next start mends it");
            }
            if self.behind.load(Ordering::Relaxed) {
                contents.drop_unwritten();
            }
            self.take_merged(&mut contents, merged);
            if closing.is_none() {
                self.merge(&mut contents);
            } else if let Err(error) = contents.sync() {
                tracing::warn!(%error, "the index of the message log was not synced");
            }
            drop(contents);
            answers.into_iter().for_each(|answer| _ = answer.send(()));
            if let Some(closing) = closing {
                self.stop.store(true, Ordering::Relaxed);
                if let Some(merging) = self.merging.take() {
                    let _ = merging.join();
                }
                drop((of_all, self));
                let _ = closing.send(());
                return;
            }
        }
    }

    /// Puts the outcome of a merge in the place of the runs that it was made of.
    fn take_merged(
        &mut self,
        contents: &mut Contents,
        merged: Option<(Merge, std::io::Result<Option<Run>>)>,
    ) {
        let Some((merge, made)) = merged else { return };
        self.merging = None;
        let made = made.map_err(|e| StoreError::Database(e.to_string()));
        if let Err(error) = made.and_then(|made| contents.merged(&merge, made)) {
            tracing::error!(%error, "runs of the message log's index were not merged");
            // Without an end to it: the next start tries again, or makes the index anew.
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Merges runs on a thread of its own that gives way to messages; nothing waits for it.
    fn merge(&mut self, contents: &mut Contents) {
        if self.merging.is_some() || self.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(Some(merge)) = contents.merge_due() else { return };
        let (notes, stop) = (self.notes.clone(), self.stop.clone());
        let thread = std::thread::Builder::new().name("log-merge".into()).spawn(move || {
            let _ = rustix::process::setpriority_process(None, MERGE_NICENESS);
            let made = merge.run(&stop);
            notes.push(Note::Merged(merge, made));
        });
        self.merging = thread.inspect_err(|error| tracing::warn!(%error, "no thread for a merge")).ok();
    }
}

/// Everything up to `tail` was added: writes it when it is much, or `all`.
fn keep(contents: &mut Contents, tail: Tail, all: bool, witnessed: &mut Instant) -> Result<(), StoreError> {
    let far =
        contents.unwritten() >= UNWRITTEN || contents.behind(&tail).is_none_or(|b| b >= UNWRITTEN_BYTES);
    if far || all {
        contents.reached(tail);
        *witnessed = Instant::now();
        return contents.write();
    }
    if witnessed.elapsed() >= WITNESS_EVERY {
        *witnessed = Instant::now();
        contents.witness(&tail)?;
    }
    contents.reached(tail);
    Ok(())
}

fn disk(error: impl std::fmt::Display) -> LogError {
    LogError::Disk(format!("index: {error}"))
}

fn numbered(letter: u8, number: u64) -> Vec<u8> {
    [&[letter][..], &number.to_be_bytes()].concat()
}

fn decode_number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn encode_place(place: Place) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&place.segment.to_be_bytes());
    bytes[8..].copy_from_slice(&place.offset.to_be_bytes());
    bytes
}

fn decode_place(value: &[u8]) -> Option<Place> {
    Some(Place { segment: decode_number(value.get(..8)?)?, offset: decode_number(value.get(8..16)?)? })
}

fn encode_tail(tail: &Tail) -> Vec<u8> {
    let numbers = [tail.segment, tail.end, tail.next_sequence].map(u64::to_be_bytes).concat();
    [numbers.as_slice(), &tail.chain].concat()
}

fn decode_tail(value: &[u8]) -> Option<Tail> {
    let number = |at: usize| decode_number(value.get(at..at + 8)?);
    let chain: [u8; CHAIN_BYTES] = value.get(24..)?.try_into().ok()?;
    Some(Tail { segment: number(0)?, end: number(8)?, next_sequence: number(16)?, chain })
}

/// What an id and its client are found by.
pub(crate) fn id_hash(id: &str, local: &Named<'_>) -> [u8; 16] {
    let Named { instance, class, code, subsystem } = *local;
    let kind = if subsystem.is_some() { "s" } else { "m" };
    let mut hashed = Context::new(&SHA256);
    for part in [id, instance, class, code, subsystem.unwrap_or_default(), kind] {
        hashed.update(part.as_bytes());
        hashed.update(&[0]);
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&hashed.finish().as_ref()[..16]);
    hash
}

/// Reads what the segments have beyond the marker. sled may have lost the newest changes in a crash, the marker with them.
fn catch_up(
    dir: &Path,
    store: &Store,
    marker: Option<Tail>,
    tail: &Tail,
    key: &Verifier,
) -> Result<(Contents, u64), String> {
    let words = |e: StoreError| e.to_string();
    let known = marker.filter(|m| (m.segment, m.end) <= (tail.segment, tail.end) && !store.was_reset());
    let index_dir = dir.join("index");
    let records = match &known {
        Some(_) => Records::load(&index_dir, store).map_err(words)?,
        None => None,
    };
    let known = known.filter(|_| records.is_some());
    let records = match records {
        Some(records) => records,
        None => {
            // First of all the marker, and for good: the rest goes key by key, and what a crash leaves of it is not to be believed.
            store.put_lazily(TREE, &[(MARKER.to_vec(), None)]).and_then(|()| store.sync()).map_err(words)?;
            store.clear(TREE).map_err(words)?;
            Records::empty(&index_dir).map_err(words)?
        }
    };
    let (first, offset) = known.as_ref().map_or((0, 0), |m| (m.segment, m.end));
    let mut contents = Contents::load(store.clone(), records).map_err(words)?;
    if let Some(known) = known {
        contents.reached(known);
    }
    let mut added = 0;
    for (number, end) in
        bounds(dir, tail, Some(key)).map_err(|e| e.to_string())?.into_iter().filter(|(n, _)| *n >= first)
    {
        let from = if number == first { offset } else { 0 };
        match walk(dir, number, from..end, &mut contents, &mut added) {
            Ok(()) => {}
            Err(ReadError::Damaged { segment, offset, what }) => {
                tracing::error!(segment, offset, what, "a segment of the message log cannot be indexed");
            }
            Err(e) => return Err(e.to_string()),
        }
    }
    contents.reached(tail.clone());
    contents.write().map_err(words)?;
    Ok((contents, added))
}

/// Of a record that lies in the log.
fn facts_of(head: &RecordHead) -> Facts {
    let mut signature = [0; 64];
    let found = head.signature.as_ref().map_or(&[][..], |document| &document.sha512);
    signature.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
    Facts::of(head, signature)
}

/// Merges what is due, while nothing else goes on.
fn merge_all(contents: &mut Contents) -> Result<(), StoreError> {
    while let Some(merge) = contents.merge_due()? {
        let made = merge.run(&AtomicBool::new(false)).map_err(|e| StoreError::Database(e.to_string()))?;
        contents.merged(&merge, made)?;
    }
    Ok(())
}

fn walk(
    dir: &Path,
    number: u64,
    range: Range<u64>,
    contents: &mut Contents,
    added: &mut u64,
) -> Result<(), ReadError> {
    let readable = Readable::open(dir, number)?;
    let mut walker = readable.walk(range.start, Some(range.end), u64::MAX)?;
    loop {
        match walker.step()? {
            Step::Frame(seen) => {
                let place = Place { segment: number, offset: seen.offset };
                match seen.kind {
                    Kind::Record => {
                        let Ok(head) = RecordHead::decode(seen.head.as_slice()) else { continue };
                        *added += 1;
                        contents.record(place, head.sequence, &facts_of(&head), &seen.head);
                    }
                    Kind::Stamp => {
                        let Ok(head) = StampHead::decode(seen.head.as_slice()) else { continue };
                        contents.stamp(place, &head);
                    }
                    Kind::Start | Kind::Document | Kind::Body | Kind::Void | Kind::Seal | Kind::Other(_) => {}
                }
            }
            Step::Damage { .. } => {}
            Step::End { .. } => return Ok(()),
        }
        // The marker stays where it was: a start that is cut short does all of it again.
        if contents.unwritten() >= UNWRITTEN {
            let written = contents.write().and_then(|()| merge_all(contents));
            written.map_err(|e| ReadError::Io { segment: number, source: std::io::Error::other(e) })?;
        }
    }
}
