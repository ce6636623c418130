//! The one writer: takes what waits, writes it in one go, syncs once, and answers everybody.
//!
//! There is no timer. While a sync is under way requests gather, and they make up the next batch: one alone when the server is idle,
//! hundreds under load. The writer has two hands ([`Desk`]): threads that take turns in gathering and writing, so that a batch is
//! written while the one before is being synced, and two syncs are on their way at most; [`super::flights`] answers them in order.
//! When a batch departs: [`super::gathering`]. A batch without a commit (parts of bodies on their way) is written and not synced.
//!
//! **Zeros ahead.** The first write to a reserved block makes the file system note that it holds data, and a sync then waits for its
//! journal as well. So a small batch that comes to such blocks writes zeros to the next ones along with it ([`AHEAD_BYTES`]), and
//! those that follow find blocks that are in use already. A large batch is not worth the second write.
//!
//! **Failure.** When the disk refuses, nothing of the batch or of those behind it is acknowledged, the segment is cut back to its last synced byte, and a
//! new one is started as soon as the disk takes it; until then everything is refused with the reason. Parts of bodies written since
//! the last sync may be lost with it, so they carry an epoch, and a record that names parts of an earlier epoch is refused.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::clock::Clock;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::faults::Faults;
use super::flights::{Commits, Departure, Flight, Flights};
use super::format::{
    self, BodyHead, Chain, DocumentHead, Extent, FILE_HEAD_BYTES, Kind, PlacedDocument, SealHead, StampHead,
    StartHead, VoidHead, next_chain, padded,
};
use super::gathering::Habit;
use super::index::{Added, Facts, Index, Place};
use super::queue::{Came, Exit};
use super::recovery::Tail;
use super::segment::{Payload, Run, Writable};
use super::spare::{Made, Spare};
use super::steps::Step;
use crate::message_log::{LogError, RecordId};

/// Most requests in one batch, and most bytes after which it is closed.
const MAX_BATCH: usize = 1024;
const MAX_BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// Kept free at the end of a segment for its seal.
const SEAL_BYTES: u64 = 128;
/// What prefix, chain value and padding of a frame take at most.
const FRAME_OVERHEAD: u64 = 128;
/// What a record's head grows by when it is placed.
const PLACED_BYTES: usize = 256;
/// Batches that are under way at the same time.
const HANDS: usize = 2;
/// Zeros written ahead, by batches of at most half of it.
const AHEAD_BYTES: u64 = 256 * 1024;
const PAGE_BYTES: u64 = 4096;
/// How often a failed disk is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// A record that is ready but for its number and place.
#[derive(Debug)]
pub(crate) struct Draft {
    /// A [`super::format::RecordHead`] without what a [`format::place_head`] adds.
    pub(crate) head: Vec<u8>,
    pub(crate) facts: Facts,
    pub(crate) payload: Payload,
    pub(crate) signature: Document,
    pub(crate) chain_result: Option<Document>,
    /// Epoch of the body parts that it names, when it names any.
    pub(crate) epoch: Option<u64>,
}

/// A document that records may share.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) sha512: [u8; 64],
}

/// A part of a body, written but not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) extent: Extent,
    pub(crate) epoch: u64,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, LogError>>;

/// What the writer is asked.
pub(crate) enum Request {
    Body {
        spool: u64,
        number: u32,
        payload: Payload,
        answer: Answer<Placed>,
    },
    Record {
        draft: Box<Draft>,
        answer: Answer<RecordId>,
    },
    Stamp {
        head: Box<StampHead>,
        leaves: Bytes,
        answer: Answer<()>,
    },
    /// Close the segment when it holds records and was started before this time.
    Roll {
        before: i64,
        answer: Answer<()>,
    },
    Close {
        answer: oneshot::Sender<()>,
    },
}

/// A request with its place in the bounded queue, given back when the writer takes it.
pub(crate) struct Queued {
    pub(crate) request: Request,
    pub(crate) _slot: Option<OwnedSemaphorePermit>,
}

/// What the writer and the rest of the log both see.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    failing: AtomicBool,
    failure: Mutex<String>,
    epoch: AtomicU64,
    /// Bodies that will never be named.
    pub(crate) voids: Mutex<Vec<u64>>,
    /// Bodies that are being used, each with the first segment that its parts may lie in.
    pub(crate) claims: Mutex<BTreeMap<u64, u64>>,
    /// Where the log ends, as far as it is synced.
    pub(crate) tail: Mutex<Option<Tail>>,
}

impl Shared {
    /// # Errors
    /// The reason why the disk takes nothing at present.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        match self.failing.load(Ordering::Acquire) {
            true => Err(LogError::Disk(lock(&self.failure).clone())),
            false => Ok(()),
        }
    }
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
    /// Nothing more is taken for now.
    pub(super) fn fail(&self, reason: &str) {
        reason.clone_into(&mut lock(&self.failure));
        self.failing.store(true, Ordering::Release);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the writer needs to start.
pub(crate) struct Start {
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) log_id: Vec<u8>,
    pub(crate) tail: Tail,
    /// The segment at `tail`, open for more, with its salt and its start; without one the next is started.
    pub(crate) open: Option<(Writable, u32, StartHead)>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) index: Index,
    pub(crate) shared: Arc<Shared>,
}

/// The writer's state.
pub(crate) struct Writer {
    start: Start,
    segment: Option<Open>,
    /// Whose turn it is.
    hand: usize,
    /// Taken from the queue and not looked at yet.
    ready: VecDeque<Queued>,
    /// Written, and about to be written.
    written: Tail,
    next: Tail,
    run: Run,
    commits: Commits,
    bodies: Vec<(Answer<Placed>, Extent)>,
    flights: Arc<Flights>,
    /// Documents of this segment, so that the records of a batch share them.
    documents: HashMap<[u8; 64], Extent>,
    last_try: Option<Instant>,
    habit: Habit,
    spare: Spare,
}

struct Open {
    /// One handle for each hand.
    files: [Arc<Writable>; HANDS],
    salt: u32,
    capacity: u64,
    /// Up to here blocks are in use.
    used_to: u64,
    /// When the segment was started, and its first record.
    started: (i64, u64),
}

impl Open {
    fn new(
        dir: &std::path::Path,
        made: Made,
        used_to: u64,
        started: (i64, u64),
        number: u64,
    ) -> std::io::Result<Self> {
        let other = made.file.again(&super::segment::path_of(dir, number))?;
        let files = [Arc::new(made.file), Arc::new(other)];
        Ok(Self { files, salt: made.salt, capacity: made.capacity, used_to, started })
    }

    /// How many zeros a batch of `bytes` that ends at `end` writes behind itself.
    fn zeros_behind(&self, end: u64, bytes: u64) -> u64 {
        if end <= self.used_to || bytes > AHEAD_BYTES / 2 || !self.files.iter().all(|file| file.reserves()) {
            return 0;
        }
        let to = (end + AHEAD_BYTES).next_multiple_of(PAGE_BYTES).min(self.capacity);
        to.saturating_sub(end)
    }
}

/// Where the writer sits: the hand that holds it gathers and writes, the other one syncs meanwhile.
struct Desk {
    /// `None` once the log is closed.
    writer: Option<Writer>,
    queue: Exit<Queued>,
}

/// Starts both hands, which serve requests until the log is closed or everybody has gone.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(writer: Writer, queue: Exit<Queued>) -> std::io::Result<()> {
    let desk = Arc::new(Mutex::new(Desk { writer: Some(writer), queue }));
    for hand in 0..HANDS {
        let desk = desk.clone();
        let thread = std::thread::Builder::new().name("log-writer".into());
        thread.spawn(move || work(&desk, hand))?;
    }
    Ok(())
}

fn work(desk: &Mutex<Desk>, hand: usize) {
    loop {
        // A hand that came to grief at the desk left a batch half made: then the log is closed.
        let turn = desk.lock().map_or(Turn::Closed, |mut desk| desk.turn(hand));
        // From here on the desk is free for the other one.
        match turn {
            Turn::Idle => {}
            Turn::Sync(departure) => departure.land(),
            Turn::Closed => return,
        }
    }
}

/// What a hand does after it has left the desk.
enum Turn {
    /// Nothing came.
    Idle,
    Sync(Departure),
    Closed,
}

impl Desk {
    /// One batch.
    fn turn(&mut self, hand: usize) -> Turn {
        let Some(writer) = &mut self.writer else { return Turn::Closed };
        writer.hand = hand;
        let came = match writer.ready.is_empty() {
            true => self.queue.wait(&mut writer.ready, RETRY),
            false => Came::Something,
        };
        let closed = match came {
            Came::Something => match writer.gather(&self.queue) {
                Some(answer) => Some(answer),
                None => return writer.commit().map_or(Turn::Idle, Turn::Sync),
            },
            Came::Nothing => {
                writer.while_idle();
                return Turn::Idle;
            }
            Came::End => None,
        };
        if let Some(writer) = self.writer.take() {
            writer.finish(closed);
        }
        Turn::Closed
    }
}

impl Writer {
    /// # Errors
    /// The segment that is to go on cannot be opened again.
    pub(crate) fn new(mut start: Start) -> std::io::Result<Self> {
        let (tail, capacity) = (start.tail.clone(), start.segment_bytes.max(start.tail.end));
        let open = start.open.take().map(|(file, salt, head)| {
            let made = Made { file, salt, capacity };
            Open::new(&start.dir, made, tail.end, (head.at, head.first_sequence), tail.segment)
        });
        let spare = Spare::none(&start.dir, start.faults.clone());
        let flights = Flights::new(start.shared.clone(), start.index.clone(), tail.clone());
        Ok(Self {
            segment: open.transpose()?,
            hand: 0,
            ready: VecDeque::new(),
            written: tail.clone(),
            next: tail,
            run: Run::default(),
            commits: Commits::default(),
            bodies: Vec::new(),
            documents: HashMap::new(),
            last_try: None,
            habit: Habit::default(),
            spare,
            flights: Arc::new(flights),
            start,
        })
    }

    /// Starts the segment that is due at a start, so that a full disk is seen before the first message comes.
    pub(crate) fn prepare(&mut self) -> Result<(), LogError> {
        if self.segment.is_none() { self.begin_segment(0).map_err(|e| self.refuse(&e)) } else { Ok(()) }
    }

    /// Takes a batch; gives whoever wants the log closed.
    fn gather(&mut self, queue: &Exit<Queued>) -> Option<oneshot::Sender<()>> {
        self.notice_failure();
        let mut batch = self.habit.begin(&self.flights, self.ready.len());
        'open: loop {
            while let Some(queued) = self.ready.pop_front() {
                if let Request::Close { answer } = queued.request {
                    return Some(answer);
                }
                self.take(queued.request);
                if batch.took_one(self.commits.len(), MAX_BATCH) || self.run.len() >= MAX_BATCH_BYTES {
                    break 'open;
                }
            }
            if !batch.brings_more(queue, &mut self.ready) && !batch.waits(&self.flights, self.commits.len()) {
                break;
            }
        }
        self.habit.learn(&batch, &self.flights, self.commits.len(), self.ready.len());
        None
    }

    /// Tries a failed disk again, so that the server goes on by itself; writes void frames that nobody waits for.
    fn while_idle(&mut self) {
        self.notice_failure();
        if self.segment.is_none() {
            let _ = self.revive();
        }
        if self.segment.is_some() && !lock(&self.start.shared.voids).is_empty() {
            // Without anything else in it there is nothing to sync.
            drop(self.commit());
        }
    }

    fn take(&mut self, request: Request) {
        if self.segment.is_none()
            && let Err(reason) = self.revive()
        {
            return refuse(request, &reason);
        }
        match request {
            Request::Body { spool, number, payload, answer } => {
                self.take_body(spool, number, &payload, answer)
            }
            Request::Record { draft, answer } => self.take_record(*draft, answer),
            Request::Stamp { head, leaves, answer } => self.take_stamp(head, leaves, answer),
            Request::Roll { before, answer } => self.take_roll(before, answer),
            Request::Close { .. } => {}
        }
    }

    fn take_body(&mut self, spool: u64, number: u32, payload: &Payload, answer: Answer<Placed>) {
        let head = BodyHead { spool, number }.encode_to_vec();
        if let Err(reason) = self.make_room(head.len() + payload.len() as usize) {
            return drop(answer.send(Err(reason)));
        }
        let extent = self.put(Kind::Body, &head, payload);
        self.bodies.push((answer, extent));
    }

    fn take_record(&mut self, draft: Draft, answer: Answer<RecordId>) {
        if draft.epoch.is_some_and(|epoch| epoch != self.start.shared.epoch()) {
            let reason = "a part of the body was written before the disk failed".to_owned();
            return drop(answer.send(Err(LogError::Disk(reason))));
        }
        // Room for everything first, so that a record and its documents stand in one segment.
        let documents = [Some(&draft.signature), draft.chain_result.as_ref()];
        let needed =
            documents.into_iter().flatten().map(|d| d.bytes.len() as u64 + 2 * FRAME_OVERHEAD).sum::<u64>()
                + draft.payload.len()
                + (draft.head.len() + PLACED_BYTES) as u64
                + 2 * FRAME_OVERHEAD;
        if let Err(reason) = self.make_room(needed as usize) {
            return drop(answer.send(Err(reason)));
        }
        let signature = self.put_document(draft.signature);
        let chain_result = draft.chain_result.map(|document| self.put_document(document));
        let sequence = self.next.next_sequence;
        self.next.next_sequence += 1;
        let mut heads = std::mem::take(&mut self.commits.heads);
        let start = heads.len();
        heads.extend_from_slice(&draft.head);
        format::place_head(&mut heads, sequence, &signature, chain_result.as_ref());
        let extent = self.put(Kind::Record, &heads[start..], &draft.payload);
        let head = start..heads.len();
        self.commits.heads = heads;
        let place = Place { segment: extent.segment, offset: extent.offset };
        let added = Added::Record { place, sequence, facts: draft.facts, head };
        self.commits.record(answer, RecordId(sequence), added);
    }

    fn take_roll(&mut self, before: i64, answer: Answer<()>) {
        let started = self.segment.as_ref().map(|open| open.started);
        let due = started.is_some_and(|(at, first)| at <= before && self.next.next_sequence > first);
        let rolled = if due { self.roll(0) } else { Ok(()) };
        drop(answer.send(rolled));
    }

    fn take_stamp(&mut self, head: Box<StampHead>, leaves: Bytes, answer: Answer<()>) {
        if let Err(reason) = self.make_room(head.encoded_len() + leaves.len()) {
            return drop(answer.send(Err(reason)));
        }
        let extent = self.put(Kind::Stamp, &head.encode_to_vec(), &leaves.into());
        let place = Place { segment: extent.segment, offset: extent.offset };
        self.commits.stamp(answer, Added::Stamp { place, head });
    }

    fn put_document(&mut self, document: Document) -> PlacedDocument {
        let extent = match self.documents.get(&document.sha512) {
            Some(extent) => *extent,
            None => {
                let head = DocumentHead { sha512: document.sha512.to_vec() }.encode_to_vec();
                let extent = self.put(Kind::Document, &head, &document.bytes.into());
                if self.documents.len() >= MAX_BATCH {
                    self.documents.clear();
                }
                self.documents.insert(document.sha512, extent);
                extent
            }
        };
        PlacedDocument { extent, sha512: document.sha512 }
    }

    /// Adds a frame at the end; [`Self::make_room`] has been called.
    fn put(&mut self, kind: Kind, head: &[u8], payload: &Payload) -> Extent {
        let salt = self.segment.as_ref().map_or(0, |open| open.salt);
        let chain: Option<Chain> = kind.is_chained().then(|| next_chain(&self.next.chain, kind, head));
        let offset = self.next.end;
        self.next.end += self.run.put((salt, offset), kind, chain.as_ref(), head, payload);
        if let Some(chain) = chain {
            self.next.chain = chain;
        }
        Extent { segment: self.next.segment, offset, length: payload.len() }
    }

    /// Starts a new segment when `bytes` more do not fit into this one.
    fn make_room(&mut self, bytes: usize) -> Result<(), LogError> {
        let needed = padded(bytes as u64 + FRAME_OVERHEAD);
        let Some(open) = &self.segment else { return Err(self.why_not()) };
        if self.next.end + needed + SEAL_BYTES <= open.capacity {
            return Ok(());
        }
        self.roll(needed)
    }

    /// Closes the segment, with everything put so far, and starts the next.
    fn roll(&mut self, needed: u64) -> Result<(), LogError> {
        let began = Instant::now();
        let rolled = self.begin_next(needed);
        Step::Roll.took(began.elapsed());
        rolled
    }

    fn begin_next(&mut self, needed: u64) -> Result<(), LogError> {
        let head = SealHead { next_sequence: self.next.next_sequence }.encode_to_vec();
        self.put(Kind::Seal, &head, &Payload::default());
        if !self.write() {
            return Err(self.why_not());
        }
        if let Some(departure) = self.depart() {
            departure.land();
        }
        let (synced, failed) = self.flights.settle();
        if let Some(reason) = failed {
            return Err(self.fall_back(synced, &reason));
        }
        let full = self.segment.take();
        let begun = self.begin_segment(needed).map_err(|e| self.refuse(&e));
        if let Some([one, _]) = full.map(|full| full.files) {
            cut(one, synced.end);
        }
        begun
    }

    /// Starts the next segment, with room for one frame of `at_least` bytes.
    fn begin_segment(&mut self, at_least: u64) -> std::io::Result<()> {
        let before = self.flights.settle().0;
        let number = before.segment + 1;
        let capacity =
            self.start.segment_bytes.max(FILE_HEAD_BYTES + SEAL_BYTES + 4 * FRAME_OVERHEAD + at_least);
        let started_at = self.start.clock.now().0;
        let spare = self.spare.take(number, capacity);
        let was_spare = spare.is_some();
        let made = match spare {
            Some(spare) => spare,
            None => {
                let (salt, faults) = (random_salt()?, self.start.faults.clone());
                let file = Writable::create(&self.start.dir, number, salt, capacity, faults)?;
                Made { file, salt, capacity }
            }
        };
        let head = StartHead {
            log_id: self.start.log_id.clone(),
            segment: number,
            first_sequence: before.next_sequence,
            previous_end: before.end,
            previous_chain: before.chain.to_vec(),
            at: started_at,
        };
        let head = head.encode_to_vec();
        let chain = next_chain(&before.chain, Kind::Start, &head);
        let (mut run, place) = (Run::default(), (made.salt, FILE_HEAD_BYTES));
        let length = run.put(place, Kind::Start, Some(&chain), &head, &Payload::default());
        let named = || if was_spare { host::files::sync_dir(&self.start.dir) } else { Ok(()) };
        let (end, started) = (FILE_HEAD_BYTES + length, (started_at, before.next_sequence));
        let written = made.file.write(&run, FILE_HEAD_BYTES, 0).and_then(|()| made.file.sync());
        let open = written
            .and_then(|()| named())
            .and_then(|()| Open::new(&self.start.dir, made, end, started, number))
            .inspect_err(|_| {
                let _ = std::fs::remove_file(super::segment::path_of(&self.start.dir, number));
            })?;
        let tail = Tail { segment: number, end, chain, next_sequence: before.next_sequence };
        self.flights.begin(tail.clone());
        (self.written, self.next) = (tail.clone(), tail);
        self.documents.clear();
        self.segment = Some(open);
        metrics::counter!("causeway_message_log_segments_total").increment(1);
        Ok(())
    }

    /// Writes the batch and answers what need not be durable; what must be is left to the sync that this gives.
    fn commit(&mut self) -> Option<Departure> {
        if self.segment.is_some() {
            self.put_voids();
        }
        if self.run.is_empty() || !self.write() || self.commits.len() == 0 {
            return None;
        }
        let departure = self.depart();
        if self.segment.as_ref().is_some_and(|open| self.written.end > open.capacity / 2) {
            self.spare.prepare(self.start.segment_bytes);
        }
        departure
    }

    /// What was written since the last time is now to be synced.
    fn depart(&mut self) -> Option<Departure> {
        let file = self.segment.as_ref()?.files.get(self.hand)?.clone();
        let flight =
            Flight { commits: self.commits.take(), tail: self.written.clone(), began: Instant::now() };
        self.flights.depart(flight, file)
    }

    fn put_voids(&mut self) {
        let spools = std::mem::take(&mut *lock(&self.start.shared.voids));
        if spools.is_empty() {
            return;
        }
        let head = VoidHead { spools }.encode_to_vec();
        if self.make_room(head.len()).is_ok() {
            self.put(Kind::Void, &head, &Payload::default());
        }
    }

    /// Writes what was put; `false` when the disk failed and everybody was told.
    fn write(&mut self) -> bool {
        let Some(open) = &mut self.segment else { return false };
        let zeros = open.zeros_behind(self.next.end, self.run.len());
        let file = &open.files[self.hand];
        if let Err(e) = Step::Write.timed(|| file.write(&self.run, self.written.end, zeros as usize)) {
            self.refuse(&e);
            return false;
        }
        open.used_to = open.used_to.max(self.next.end + zeros);
        metrics::counter!("causeway_message_log_written_bytes_total").increment(self.run.len());
        self.run.clear();
        self.written = self.next.clone();
        let epoch = self.start.shared.epoch();
        for (answer, extent) in self.bodies.drain(..) {
            drop(answer.send(Ok(Placed { extent, epoch })));
        }
        true
    }

    /// The disk failed here.
    fn refuse(&mut self, error: &std::io::Error) -> LogError {
        let reason = error.to_string();
        self.start.shared.fail(&reason);
        let (synced, _) = self.flights.settle();
        self.fall_back(synced, &reason)
    }

    /// A sync has failed since the last batch.
    fn notice_failure(&mut self) {
        if !self.flights.failed() {
            return;
        }
        if let (synced, Some(reason)) = self.flights.settle() {
            self.fall_back(synced, &reason);
        }
    }

    /// The disk failed: nobody's request is done, and the segment is left as it was when it was last synced.
    fn fall_back(&mut self, synced: Tail, reason: &str) -> LogError {
        tracing::error!(reason, "the message log cannot be written; messages are refused until it can");
        metrics::counter!("causeway_message_log_failures_total").increment(1);
        self.start.shared.epoch.fetch_add(1, Ordering::AcqRel);
        self.segment = None;
        self.spare.discard();
        self.last_try = Some(Instant::now());
        self.run.clear();
        (self.written, self.next) = (synced.clone(), synced);
        let failed = LogError::Disk(reason.to_owned());
        for (answer, _) in self.bodies.drain(..) {
            drop(answer.send(Err(failed.clone())));
        }
        self.commits.take().refuse(&failed);
        failed
    }

    fn why_not(&self) -> LogError {
        LogError::Disk(lock(&self.start.shared.failure).clone())
    }

    /// Tries to go on after a failure, not too often. What was written behind the last sync is cut off if the disk lets us; the
    /// next segment says how much of this one counts in any case.
    fn revive(&mut self) -> Result<(), LogError> {
        if self.last_try.is_some_and(|at| at.elapsed() < RETRY) {
            return Err(self.why_not());
        }
        self.last_try = Some(Instant::now());
        let synced = self.written.clone();
        if synced.segment > 0 {
            let path = super::segment::path_of(&self.start.dir, synced.segment);
            let cut = std::fs::OpenOptions::new().write(true).open(path).and_then(|file| {
                file.set_len(synced.end)?;
                file.sync_all()
            });
            if let Err(error) = cut {
                tracing::warn!(%error, "the failed segment could not be cut back");
            }
        }
        match self.begin_segment(0) {
            Ok(()) => {
                tracing::info!(segment = self.written.segment, "the message log can be written again");
                self.start.shared.failing.store(false, Ordering::Release);
                Ok(())
            }
            Err(e) => {
                *lock(&self.start.shared.failure) = e.to_string();
                Err(LogError::Disk(e.to_string()))
            }
        }
    }

    /// Writes and syncs what was taken; the index may be behind.
    fn finish(mut self, answer: Option<oneshot::Sender<()>>) {
        if let Some(departure) = self.commit() {
            departure.land();
        }
        self.flights.settle();
        self.spare.discard();
        self.flights.close();
        drop(self);
        if let Some(answer) = answer {
            let _ = answer.send(());
        }
    }
}

fn refuse(request: Request, reason: &LogError) {
    match request {
        Request::Body { answer, .. } => drop(answer.send(Err(reason.clone()))),
        Request::Record { answer, .. } => drop(answer.send(Err(reason.clone()))),
        Request::Stamp { answer, .. } | Request::Roll { answer, .. } => {
            drop(answer.send(Err(reason.clone())));
        }
        Request::Close { answer } => drop(answer.send(())),
    }
}

/// Gives back what a full segment has reserved behind its end; nothing waits for it, and a crash leaves zeros there.
fn cut(file: Arc<Writable>, end: u64) {
    let work = move || {
        if let Err(error) = Step::Cut.timed(|| file.cut(end)) {
            tracing::warn!(%error, "the rest of a full segment was not given back");
        }
    };
    let _ = std::thread::Builder::new().name("log-cut".into()).spawn(work);
}

/// Unpredictable, so that nobody outside can write bytes that look like a frame of ours.
pub(super) fn random_salt() -> std::io::Result<u32> {
    let bytes: [u8; 4] = random()?;
    Ok(u32::from_le_bytes(bytes))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; N];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| std::io::Error::other("the system gives no random numbers"))
}
