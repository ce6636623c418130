//! The index: where a record lies, by number, by message id and client, and which records wait for a timestamp.
//!
//! It is a sled tree in `log/index/`, written lazily by a thread of its own, behind the commits. It holds nothing that is not in the
//! segments: at a start it is brought up to date from the last segment, or rebuilt from all of them when it is missing. Deleting the
//! folder costs one rebuild.
//!
//! | Key | Value |
//! |---|---|
//! | `s` sequence | segment, offset, leaf of the tree |
//! | `i` first 16 bytes of SHA-256(message id ‖ 0 ‖ local client), response (1), sequence | nothing |
//! | `u` sequence | waiting: SHA-512 of the signature document (64), time of the record (8), until when a stamp is in time (8) |
//! | `t` sequence | segment and offset of the stamp, place in its batch |
//! | `r` segment, sequence | nothing: the record lies in a later segment and has its body in this one |
//! | `n` | how far the index has come: segment, offset, next sequence, chain value |
//!
//! Numbers are big-endian.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use host::store::Store;
use pki::merkle::{self, Hash};
use pki::note::Verifier;
use prost::Message;
use proto::time::UnixTime;
use ring::digest::{SHA256, digest};
use tokio::sync::oneshot;

use super::format::{CHAIN_BYTES, Client, Kind, RecordHead, StampHead};
use super::recovery::{Tail, bounds};
use super::segment::{ReadError, Readable, Step};
use crate::message_log::LogError;

const TREE: &str = "log";
/// Another letter than in the first form of the index, so that an older one is rebuilt.
const MARKER: &[u8] = b"n";
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Notes that may wait for the index's thread.
const QUEUE: usize = 16 * 1024;
/// Changes written at once.
const MAX_BATCH: usize = 4096;

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
    pub(crate) leaf: Vec<u8>,
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

/// What the writer tells the index after a commit.
pub(crate) enum Note {
    Record {
        place: Place,
        head: Box<RecordHead>,
        /// The head as it was written.
        bytes: Vec<u8>,
    },
    Stamp {
        place: Place,
        head: Box<StampHead>,
    },
    /// Everything up to here was told.
    Reached(Tail),
    /// Answer when everything before is in.
    Barrier(oneshot::Sender<()>),
    /// Write to the disk what there is, answer, end.
    Close(oneshot::Sender<()>),
}

/// The index, and the way to tell it things.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    store: Store,
    notes: SyncSender<Note>,
    waiting: Arc<AtomicU64>,
    /// It could not be written, and misses records until the next start.
    behind: Arc<AtomicBool>,
}

impl Index {
    /// Opens the store and says how far it has come.
    pub(crate) fn open_store(dir: &Path) -> Result<(Store, Option<Tail>), LogError> {
        let store = Store::open_rebuildable(&dir.join("index"), CACHE_BYTES).map_err(disk)?;
        let marker = store.get(TREE, MARKER).map_err(disk)?.and_then(|value| decode_tail(&value));
        Ok((store, marker))
    }

    /// Brings the index up to `tail` and starts its thread.
    pub(crate) fn start(
        dir: &Path,
        store: Store,
        marker: Option<Tail>,
        tail: &Tail,
        key: &Verifier,
    ) -> Result<Self, LogError> {
        let caught_up = catch_up(dir, &store, marker, tail, key).map_err(disk)?;
        if caught_up > 0 {
            tracing::info!(records = caught_up, "the index of the message log was brought up to date");
        }
        let count = store.count_prefix(TREE, b"u").map_err(disk)?;
        let waiting = Arc::new(AtomicU64::new(count));
        let (notes, queue) = sync_channel(QUEUE);
        let behind = Arc::new(AtomicBool::new(false));
        let (thread_store, counter, misses) = (store.clone(), waiting.clone(), behind.clone());
        std::thread::Builder::new()
            .name("log-index".into())
            .spawn(move || {
                let closing = run(&thread_store, &counter, &misses, &queue);
                drop(thread_store);
                if let Some(answer) = closing {
                    let _ = answer.send(());
                }
            })
            .map_err(disk)?;
        Ok(Self { store, notes, waiting, behind })
    }

    /// Tells the index; waits when it is far behind.
    pub(crate) fn tell(&self, note: Note) {
        // The thread ends only after `Close`, and then nobody cares.
        let _ = self.notes.send(note);
    }

    /// Waits until everything told so far can be found.
    pub(crate) async fn caught_up(&self) {
        let (done, reached) = oneshot::channel();
        let index = self.clone();
        let _ = tokio::task::spawn_blocking(move || index.tell(Note::Barrier(done))).await;
        let _ = reached.await;
    }

    /// The same, by blocking.
    pub(crate) fn barrier(&self) {
        let (done, reached) = oneshot::channel();
        self.tell(Note::Barrier(done));
        let _ = reached.blocking_recv();
    }

    /// Leaves of at most `limit` records from number `first` on, in order. An index that misses records gives none, since nobody
    /// could tell them from lost ones.
    pub(crate) fn leaves(&self, first: u64, limit: usize) -> Result<Vec<(u64, Hash)>, LogError> {
        if self.behind.load(Ordering::Acquire) {
            return Err(disk("it misses records; the next start mends it"));
        }
        let found = self.store.scan_from(TREE, &numbered(b's', first), limit).map_err(disk)?;
        let records = found.iter().take_while(|(key, _)| key.first() == Some(&b's'));
        let leaf = |(key, value): &(Vec<u8>, Vec<u8>)| {
            Some((decode_number(key.get(1..)?)?, value.get(16..)?.try_into().ok()?))
        };
        Ok(records.filter_map(leaf).collect())
    }

    /// Whether a record of another segment has its body in this one.
    pub(crate) fn is_used(&self, segment: u64) -> Result<bool, LogError> {
        Ok(!self.store.scan_prefix(TREE, &numbered(b'r', segment), 1).map_err(disk)?.is_empty())
    }

    /// Takes records out whose segment goes; durable on return.
    pub(crate) fn forget(&self, records: &[(Place, RecordHead)]) -> Result<(), LogError> {
        for chunk in records.chunks(MAX_BATCH / 4) {
            let mut changes = Vec::new();
            for (place, head) in chunk {
                record_changes(*place, head, &[], &mut changes);
                changes.push((numbered(b't', head.sequence), None));
            }
            changes.iter_mut().for_each(|(_, value)| *value = None);
            self.store.put_lazily(TREE, &changes).map_err(disk)?;
        }
        self.store.sync().map_err(disk)
    }

    /// Records that wait for a timestamp.
    pub(crate) fn waiting_count(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The first `limit` of them, in order.
    pub(crate) fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, LogError> {
        let found = self.store.scan_prefix(TREE, b"u", limit).map_err(disk)?;
        Ok(found.iter().filter_map(|(key, value)| decode_waiting(key, value)).collect())
    }

    /// One of them.
    pub(crate) fn waiting_one(&self, sequence: u64) -> Result<Option<Waiting>, LogError> {
        let key = numbered(b'u', sequence);
        Ok(self.store.get(TREE, &key).map_err(disk)?.and_then(|value| decode_waiting(&key, &value)))
    }

    /// Where a record lies.
    pub(crate) fn record(&self, sequence: u64) -> Result<Option<Place>, LogError> {
        Ok(self
            .store
            .get(TREE, &numbered(b's', sequence))
            .map_err(disk)?
            .and_then(|value| decode_place(&value)))
    }

    /// Where a record's stamp lies, and its place in the batch.
    pub(crate) fn stamp(&self, sequence: u64) -> Result<Option<(Place, usize)>, LogError> {
        let value = self.store.get(TREE, &numbered(b't', sequence)).map_err(disk)?;
        Ok(value.and_then(|v| {
            Some((decode_place(&v)?, u32::from_be_bytes(v.get(16..20)?.try_into().ok()?) as usize))
        }))
    }

    /// Numbers of records that may have this message id and local client; at most `limit`.
    pub(crate) fn by_message_id(&self, id: &str, local: &Client, limit: usize) -> Result<Vec<u64>, LogError> {
        let found = self.store.scan_prefix(TREE, &id_prefix(id, local), limit).map_err(disk)?;
        Ok(found.iter().filter_map(|(key, _)| decode_number(key.get(key.len().checked_sub(8)?..)?)).collect())
    }
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

fn encode_place(place: Place) -> Vec<u8> {
    [place.segment.to_be_bytes(), place.offset.to_be_bytes()].concat()
}

fn decode_place(value: &[u8]) -> Option<Place> {
    Some(Place { segment: decode_number(value.get(..8)?)?, offset: decode_number(value.get(8..16)?)? })
}

fn decode_waiting(key: &[u8], value: &[u8]) -> Option<Waiting> {
    let (leaf, times) = value.split_at_checked(64)?;
    let (at, until) = times.split_at_checked(8)?;
    let time = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
    let (at, until) = (time(at)?, time(until)?);
    Some(Waiting { sequence: decode_number(key.get(1..)?)?, leaf: leaf.to_vec(), at, until })
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

fn id_prefix(id: &str, local: &Client) -> Vec<u8> {
    let subsystem = local.subsystem.as_deref();
    let parts = [id, &local.instance, &local.class, &local.code, subsystem.unwrap_or_default()];
    let kind = [if subsystem.is_some() { "s" } else { "m" }];
    let text: Vec<u8> = parts.iter().chain(&kind).flat_map(|part| part.bytes().chain([0])).collect();
    [&b"i"[..], &digest(&SHA256, &text).as_ref()[..16]].concat()
}

/// What a record adds.
fn record_changes(place: Place, head: &RecordHead, bytes: &[u8], changes: &mut Vec<Change>) {
    let mut id_key = id_prefix(&head.message_id, head.local());
    id_key.push(u8::from(head.response));
    id_key.extend_from_slice(&head.sequence.to_be_bytes());
    let mut waiting = head.signature.sha512.clone();
    waiting.extend_from_slice(&head.at.to_be_bytes());
    waiting.extend_from_slice(&head.good_until.to_be_bytes());
    let mut lies = encode_place(place);
    lies.extend_from_slice(&merkle::leaf(bytes));
    for extent in head.extents().filter(|extent| extent.segment != place.segment) {
        let key = [numbered(b'r', extent.segment), head.sequence.to_be_bytes().to_vec()].concat();
        changes.push((key, Some(Vec::new())));
    }
    changes.push((numbered(b's', head.sequence), Some(lies)));
    changes.push((id_key, Some(Vec::new())));
    changes.push((numbered(b'u', head.sequence), Some(waiting)));
}

/// What a stamp changes.
fn stamp_changes(place: Place, head: &StampHead, changes: &mut Vec<Change>) {
    for (number, sequence) in (0_u32..).zip(&head.sequences) {
        let value = [encode_place(place).as_slice(), &number.to_be_bytes()].concat();
        changes.push((numbered(b't', *sequence), Some(value)));
        changes.push((numbered(b'u', *sequence), None));
    }
}

/// Reads what the segments have beyond the marker. sled may have lost the newest changes in a crash, the marker with them.
fn catch_up(
    dir: &Path,
    store: &Store,
    marker: Option<Tail>,
    tail: &Tail,
    key: &Verifier,
) -> Result<u64, String> {
    let known = marker.filter(|m| (m.segment, m.end) <= (tail.segment, tail.end) && !store.was_reset());
    if known.is_none() {
        store.clear(TREE).map_err(|e| e.to_string())?;
    }
    let (first, offset) = known.map_or((0, 0), |m| (m.segment, m.end));
    let (mut changes, mut added) = (Vec::new(), 0);
    for (number, end) in
        bounds(dir, tail, Some(key)).map_err(|e| e.to_string())?.into_iter().filter(|(n, _)| *n >= first)
    {
        let from = if number == first { offset } else { 0 };
        match walk(dir, number, from..end, store, &mut changes, &mut added) {
            Ok(()) => {}
            Err(ReadError::Damaged { segment, offset, what }) => {
                tracing::error!(segment, offset, what, "a segment of the message log cannot be indexed");
            }
            Err(e) => return Err(e.to_string()),
        }
    }
    changes.push((MARKER.to_vec(), Some(encode_tail(tail))));
    store.put_lazily(TREE, &changes).map_err(|e| e.to_string())?;
    Ok(added)
}

fn walk(
    dir: &Path,
    number: u64,
    range: std::ops::Range<u64>,
    store: &Store,
    changes: &mut Vec<Change>,
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
                        record_changes(place, &head, &seen.head, changes);
                    }
                    Kind::Stamp => {
                        let Ok(head) = StampHead::decode(seen.head.as_slice()) else { continue };
                        stamp_changes(place, &head, changes);
                    }
                    Kind::Start | Kind::Document | Kind::Body | Kind::Void | Kind::Seal | Kind::Other(_) => {}
                }
            }
            Step::Damage { .. } => {}
            Step::End { .. } => return Ok(()),
        }
        if changes.len() >= MAX_BATCH {
            let written = store.put_lazily(TREE, changes);
            written.map_err(|e| ReadError::Io { segment: number, source: std::io::Error::other(e) })?;
            changes.clear();
        }
    }
}

/// The index's thread: takes what waits, writes it as one batch. Gives back whom to tell that it has ended.
fn run(
    store: &Store,
    waiting: &AtomicU64,
    behind: &AtomicBool,
    queue: &Receiver<Note>,
) -> Option<oneshot::Sender<()>> {
    while let Ok(first) = queue.recv() {
        let (mut changes, mut answers, mut closing) = (Vec::new(), Vec::new(), None);
        let (mut more, mut fewer) = (0, 0);
        let mut next = Some(first);
        while let Some(note) = next {
            match note {
                Note::Record { place, head, bytes } => {
                    more += 1;
                    record_changes(place, &head, &bytes, &mut changes);
                }
                Note::Stamp { place, head } => {
                    fewer += head.sequences.len() as u64;
                    stamp_changes(place, &head, &mut changes);
                }
                Note::Reached(tail) if !behind.load(Ordering::Relaxed) => {
                    changes.push((MARKER.to_vec(), Some(encode_tail(&tail))))
                }
                Note::Reached(_) => {}
                Note::Barrier(answer) => answers.push(answer),
                Note::Close(answer) => closing = Some(answer),
            }
            let enough = closing.is_some() || changes.len() >= MAX_BATCH;
            next = if enough { None } else { queue.try_recv().ok() };
        }
        if let Err(error) = store.put_lazily(TREE, &changes) {
            // Without a marker beyond this point the next start reads the segments from here on.
            behind.store(true, Ordering::Release);
            tracing::error!(%error, "the index of the message log cannot be written; the next start mends it");
        }
        let count = |n: u64| Some((n + more).saturating_sub(fewer));
        let _ = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        for answer in answers {
            let _ = answer.send(());
        }
        if closing.is_some() {
            if let Err(error) = store.sync() {
                tracing::warn!(%error, "the index of the message log was not synced");
            }
            return closing;
        }
    }
    None
}
