//! The message log: every message of every exchange, durable before it has any effect, evidence for years.
//!
//! | Module | Holds |
//! |---|---|
//! | [`store`] | append-only segments, one writer, group commit, the index |
//! | [`policy`] | what of a message is logged |
//! | `draft` | what a caller makes of a message before the writer sees it |
//! | [`spool`] | bodies on their way in, and where they lie |
//! | [`crypt`] | encryption at rest |
//! | [`record`] | records as they are read back |
//! | [`timestamper`], [`services`] | timestamps: when, and from whom |
//! | [`container`] | ASiC-E containers of records |
//! | [`keeper`] | the task for all that follows: |
//! | [`background`] | the threads it works on, which give way to messages |
//! | [`archive`] | containers in chained ZIP files, and sending them |
//! | [`retention`], [`expiry`], `aside` | what may be removed, and what stays of it |
//! | [`tree`] | Merkle tree, signed heads, proofs |
//! | [`holders`], [`held`] | heads with those who keep them outside, and a log held against them |
//! | [`offline`] | a log's folder without its server |
//! | `passing` | files of bodies that no record will hold |
//! | [`download`] | the answers to `/asic` and `/verificationconf` |
//!
//! The path of a body: a [`Spool`] takes its bytes as they pass (memory while small, frames of the log itself when not); the record
//! that [`MessageLog::append`] commits names them; [`Stored::stream`] gives them back from where they lie.
//!
//! ```text
//! <data>/log/                 segments and index, see [`store`]
//! <data>/log/timestamping     since when timestamping fails; deleting it forgets that
//! ```

pub mod archive;
mod aside;
pub mod background;
pub mod container;
pub mod crypt;
pub mod download;
mod draft;
pub mod expiry;
pub mod held;
pub mod holders;
pub mod keeper;
pub mod offline;
mod passing;
pub mod policy;
pub mod record;
pub mod retention;
pub mod services;
pub mod settings;
pub mod spool;
pub(crate) mod store;
#[cfg(test)]
mod tests;
pub mod timestamper;
pub mod tree;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use pki::hash_chain::Parts;
use pki::note::{Signer, Verifier};
use proto::id::{ClientId, ServiceId};
use proto::time::UnixTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::archive::keys::Ending;
use self::passing::PassingFiles;
use self::services::Services;
use self::settings::LogSettings;
pub use self::spool::{Spool, Stored};
use self::store::faults::Faults;
use self::store::format::Chain;
use self::store::index::Index;
use self::store::queue::Entrance;
use self::store::reader::Reader;
use self::store::recovery::{self, Recovered, Tail};
pub use self::store::recovery::{Damage, Report};
use self::store::segment::Writable;
use self::store::writer::{Document, Queued, Request, Shared, Start, Writer, lock, random};
use self::timestamper::{Order, Surroundings, Timestamper, Timestamping, state_path};

/// Records and stamps that may wait for the writer.
const QUEUE: usize = 4096;
/// Parts of big bodies that may wait for the writer, of all exchanges together.
const BODY_QUEUE: usize = 128;
/// Requests to stamp at once that may wait.
const ORDERS: usize = 16;
/// How often free space is looked at.
const SPACE_CHECK_MS: i64 = 1000;

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MessageLog {
    inner: Arc<Inner>,
    /// Whether bodies taken through this handle may become part of a record.
    keeps_bodies: bool,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    settings: LogSettings,
    queue: Entrance<Queued>,
    slots: Arc<Semaphore>,
    body_slots: Arc<Semaphore>,
    shared: Arc<Shared>,
    index: Index,
    reader: Arc<Reader>,
    next_spool: AtomicU64,
    passing: PassingFiles,
    remembered: Mutex<VecDeque<Document>>,
    space: Space,
    surroundings: Arc<dyn Surroundings>,
    timestamping: Mutex<Timestamping>,
    orders: mpsc::Sender<Order>,
    downloads: Semaphore,
    signer: Arc<Signer>,
    services: Services,
    /// The alarm about late timestamps was given.
    alarmed: AtomicBool,
    /// Holders of tree heads that do not take them, and since when.
    lagging: Mutex<Vec<(String, UnixTime)>>,
    /// Keys of archives that have ended or will soon.
    ending_keys: Mutex<Vec<Ending>>,
}

/// Free space as it was when last looked at.
#[derive(Debug, Default)]
struct Space {
    looked_at: AtomicI64,
    free: AtomicU64,
}

/// Which of the two messages of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Consumer to provider.
    Request,
    /// Provider to consumer.
    Response,
}

/// A message ready to be logged. All bytes are the signed ones.
#[derive(Debug)]
pub struct Entry {
    /// Which of the two.
    pub direction: Direction,
    /// The local party is the client (consumer side) rather than the service's owner.
    pub consumer_side: bool,
    /// `X-Road-Id` or `xroad:id`.
    pub message_id: Arc<str>,
    /// `x-road-request-id`.
    pub request_id: Arc<str>,
    /// Who asks.
    pub client: Arc<ClientId>,
    /// What is asked.
    pub service: Arc<ServiceId>,
    /// REST header part or SOAP envelope.
    pub message: Bytes,
    /// It is a REST header part.
    pub rest: bool,
    /// Signature document; shared by a batch. Give every message of a batch a clone of the same [`Bytes`]: its digest is then made
    /// once.
    pub signature: Bytes,
    /// Chain result and chain.
    pub hash_chain: Option<(Bytes, Bytes)>,
    /// Bodies or attachments, in order: all, or none when `parts` alone stand for them.
    pub attachments: Vec<Stored>,
    /// URIs and digests of all parts, as signed.
    pub parts: Arc<Parts>,
    /// When it was signed or verified.
    pub at: UnixTime,
    /// Until when its certificate and OCSP answer hold: a later timestamp comes too late.
    pub until: UnixTime,
}

impl Entry {
    /// Which of the two parties is ours.
    fn local(&self) -> &ClientId {
        if self.consumer_side { &self.client } else { &self.service.client }
    }
}

/// Identifies a record for good: its sequence number in this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// Proof that a message is in the log; [`MessageLog::append`] alone makes one.
#[derive(Debug)]
#[allow(clippy::manual_non_exhaustive, reason = "the rest of this crate shall not make one either")]
pub struct Logged {
    /// Which record.
    pub id: RecordId,
    /// Its attachments, to be released from where they lie.
    pub attachments: Vec<Stored>,
    _proof: (),
}

/// Why the log takes no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// `logging_failed.timestamping_failed`.
    #[error(
        "timestamping has failed for longer than the server may go on without: check the timestamping service"
    )]
    TimestampingFailed,
    /// `logging_failed.mlog.no_timestamping_provider_found`.
    #[error("no timestamping service is configured")]
    NoTimestampingService,
    /// The disk is full or failed.
    #[error("the message log cannot be written: {0}")]
    Disk(String),
    /// A body above the loggable size.
    #[error("the body is larger than the {limit} bytes that are logged")]
    BodyTooLarge {
        /// The bound.
        limit: u64,
    },
    /// The log is shutting down.
    #[error("the message log is closed")]
    Closed,
}

/// Why a log cannot be opened or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message log: {0}")]
pub struct OpenError(String);

impl MessageLog {
    /// Opens or creates the log in `dir`: finds its end, reports what is damaged, brings the index up to date, starts the writer.
    /// The caller owns the [`Timestamper`] and runs it. Blocks.
    ///
    /// # Errors
    /// The disk, or a log that this program cannot continue.
    pub fn open(
        dir: &Path,
        settings: LogSettings,
        clock: Clock,
        surroundings: Arc<dyn Surroundings>,
    ) -> Result<(Self, Timestamper), OpenError> {
        Self::open_with(dir, settings, clock, surroundings, Faults::default())
    }

    fn open_with(
        dir: &Path,
        settings: LogSettings,
        clock: Clock,
        surroundings: Arc<dyn Surroundings>,
        faults: Faults,
    ) -> Result<(Self, Timestamper), OpenError> {
        let failed = |reason: String| OpenError(format!("{}: {reason}", dir.display()));
        let keys = settings.keys.clone();
        let shared = Arc::new(Shared::default());
        let (index, queue, signer) =
            start_writer(dir, &settings, clock.clone(), faults, &shared).map_err(failed)?;
        let (orders, ordered) = mpsc::channel(ORDERS);
        let inner = Inner {
            dir: dir.to_owned(),
            settings,
            surroundings: surroundings.clone(),
            timestamping: Mutex::new(Timestamping::load(&state_path(dir))),
            orders,
            downloads: Semaphore::new(download::MAX_AT_ONCE),
            signer: Arc::new(signer),
            services: Services::new(clock.clone(), surroundings),
            alarmed: AtomicBool::new(false),
            lagging: Mutex::default(),
            ending_keys: Mutex::default(),
            queue,
            slots: Arc::new(Semaphore::new(QUEUE)),
            body_slots: Arc::new(Semaphore::new(BODY_QUEUE)),
            shared,
            index,
            reader: Arc::new(Reader::new(dir, keys)),
            next_spool: AtomicU64::new(1),
            passing: PassingFiles::new(dir),
            remembered: Mutex::default(),
            space: Space::default(),
        };
        let log = Self { inner: Arc::new(inner), keeps_bodies: true };
        let timestamper = Timestamper::new(log.clone(), ordered, clock);
        Ok((log, timestamper))
    }

    /// Whether a new exchange may start: space, timestamps. Cheap.
    ///
    /// # Errors
    /// The reason, with its fault code.
    pub fn check_ready(&self, now: UnixTime) -> Result<(), LogError> {
        self.inner.shared.check()?;
        self.inner.check_space(now)?;
        if !self.inner.surroundings.has_services() {
            return Err(LogError::NoTimestampingService);
        }
        match self.timestamping().accepts_messages(self.inner.settings.acceptable_timestamp_failure, now) {
            true => Ok(()),
            false => Err(LogError::TimestampingFailed),
        }
    }

    /// A handle for the bodies of messages about a service of `producer`: those that will not be logged do not reach the log's
    /// files. `consumer_side`: our client asks.
    #[must_use]
    pub fn for_producer(&self, producer: &ClientId, consumer_side: bool) -> Self {
        let keeps_bodies = self.inner.settings.bodies.keeps(producer, consumer_side);
        Self { inner: self.inner.clone(), keeps_bodies }
    }

    /// Starts taking a body that is to be logged.
    pub fn spool(&self) -> Spool {
        let limit = if self.inner.settings.larger_bodies_pass { u64::MAX } else { self.loggable_bytes() };
        Spool::new(self.inner.clone(), self.keeps_bodies.then(|| self.loggable_bytes()), limit)
    }

    /// Starts taking a body of up to `limit` bytes, which may be kept only until the message has been passed on.
    pub fn spool_within(&self, limit: u64) -> Spool {
        Spool::new(self.inner.clone(), self.keeps_bodies.then(|| self.loggable_bytes()), limit)
    }

    /// Most bytes of bodies that a record keeps.
    pub fn loggable_bytes(&self) -> u64 {
        self.inner.settings.max_body_bytes
    }

    /// Commits one record; durable on return, and stamped where every message is. Commits of concurrent exchanges share one fdatasync.
    ///
    /// # Errors
    /// Nothing was logged.
    pub async fn append(&self, entry: Entry) -> Result<Logged, LogError> {
        let kept = self.inner.kept(&entry);
        let draft = self.inner.draft(&entry, &kept)?;
        let slot = Inner::place(&self.inner.slots).await?;
        // From here on the record may be written even when the exchange gives up, and not before.
        kept.attachments.iter().flatten().for_each(|stored| stored.keep());
        let (answer, done) = oneshot::channel();
        self.inner.send(Request::Record { draft: Box::new(draft), answer }, slot)?;
        let id = done.await.map_err(|_| LogError::Closed)??;
        if self.inner.settings.timestamp_immediately
            && let Err(error) = self.stamp_at_once(id, &entry.signature).await
        {
            tracing::warn!(record = id.0, %error, "a message was not timestamped at once and is refused");
            return Err(LogError::TimestampingFailed);
        }
        Ok(Logged { id, attachments: entry.attachments, _proof: () })
    }

    /// Walks through the whole log: every checksum, every chain value, everything that a record names.
    ///
    /// # Errors
    /// The disk; damage is a result.
    pub async fn verify(&self) -> Result<Report, LogError> {
        let inner = self.inner.clone();
        let tail = lock(&inner.shared.tail).clone().ok_or(LogError::Closed)?;
        let walk = tokio::task::spawn_blocking(move || {
            recovery::verify(&inner.dir, &tail, Some(inner.signer.verifier()))
        });
        walk.await.map_err(|_| LogError::Closed)?.map_err(|e| LogError::Disk(e.to_string()))
    }

    /// Closes the segment when it holds records and was started before this time, so that it can be removed some day.
    pub(super) async fn roll(&self, before: UnixTime) -> Result<(), LogError> {
        let (answer, done) = oneshot::channel();
        self.inner.ask(&self.inner.slots, Request::Roll { before: before.0, answer }).await?;
        done.await.map_err(|_| LogError::Closed)?
    }

    /// The public key of heads and expiry marks.
    pub fn public_key(&self) -> &Verifier {
        self.inner.signer.verifier()
    }

    /// Those who keep heads of the tree outside and do not take them, and since when.
    pub fn lagging_holders(&self) -> Vec<(String, UnixTime)> {
        lock(&self.inner.lagging).clone()
    }

    /// Keys of archives that have ended, or will within the time of warning.
    pub fn ending_archive_keys(&self) -> Vec<Ending> {
        lock(&self.inner.ending_keys).clone()
    }

    /// How long messages are still taken while timestamping fails; `None` while it does not, or without limit.
    pub fn timestamping_countdown(&self, now: UnixTime) -> Option<Duration> {
        self.timestamping().countdown(self.inner.settings.acceptable_timestamp_failure, now)
    }

    /// The oldest record without a timestamp must have one soon, or it proves nothing.
    pub fn timestamp_alarm(&self) -> bool {
        self.inner.alarmed.load(Ordering::Relaxed)
    }

    /// How many records were ever written, durable ones only.
    pub fn records(&self) -> u64 {
        lock(&self.inner.shared.tail).as_ref().map_or(0, |tail| tail.next_sequence - 1)
    }

    /// Writes what waits, syncs the index and ends the writer; later appends fail with [`LogError::Closed`].
    pub async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.inner.queue.put(Queued { request: Request::Close { answer }, _slot: None }) {
            let _ = closed.await;
        }
    }
}

impl Inner {
    /// Hands a request to the writer, waiting for a place in its queue.
    async fn ask(&self, slots: &Arc<Semaphore>, request: Request) -> Result<(), LogError> {
        let place = Self::place(slots).await?;
        self.send(request, place)
    }

    async fn place(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, LogError> {
        slots.clone().acquire_owned().await.map_err(|_| LogError::Closed)
    }

    fn send(&self, request: Request, place: OwnedSemaphorePermit) -> Result<(), LogError> {
        let taken = self.queue.put(Queued { request, _slot: Some(place) });
        taken.then_some(()).ok_or(LogError::Closed)
    }

    /// Space that is free on the log's disk.
    fn free_bytes(&self) -> Result<u64, LogError> {
        let found = rustix::fs::statvfs(&self.dir).map_err(|e| LogError::Disk(e.to_string()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn check_space(&self, now: UnixTime) -> Result<(), LogError> {
        let Space { looked_at, free } = &self.space;
        if (now.0 - looked_at.load(Ordering::Relaxed)).abs() >= SPACE_CHECK_MS {
            free.store(self.free_bytes()?, Ordering::Relaxed);
            looked_at.store(now.0, Ordering::Relaxed);
        }
        let (free, wanted) = (free.load(Ordering::Relaxed), self.settings.min_free_bytes);
        if free < wanted {
            return Err(LogError::Disk(format!("{free} bytes are free, {wanted} are to stay free")));
        }
        Ok(())
    }
}

/// A file that is gone when it is closed, on the log's own disk.
fn nameless(dir: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let number = u64::from_le_bytes(random::<8>()?);
    let path = dir.join(format!("passing-{number:016x}.tmp"));
    let file = std::fs::File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Finds where the log ends, brings the index there, and starts the thread that writes from there on.
fn start_writer(
    dir: &Path,
    settings: &LogSettings,
    clock: Clock,
    faults: Faults,
    shared: &Arc<Shared>,
) -> Result<(Index, Entrance<Queued>, Signer), String> {
    let words = |e: std::io::Error| e.to_string();
    std::fs::create_dir_all(dir).map_err(words)?;
    let (index_store, known) = Index::open_store(dir).map_err(|e| e.to_string())?;
    let found = match recovery::recover(dir, known.durable.as_ref()).map_err(|e| e.to_string())? {
        Some(found) => {
            report(&found);
            found
        }
        None => new_log().map_err(words)?,
    };
    let open = match found.sealed {
        true => None,
        false => {
            let Tail { segment, end, .. } = found.tail;
            let capacity = settings.segment_bytes.max(end);
            let file = Writable::reopen(dir, segment, end, capacity, faults.clone()).map_err(words)?;
            let head = recovery::start_of(dir, segment).unwrap_or_default();
            Some((file, found.salt, head))
        }
    };
    let signer = tree::open_key(dir, &found.log_id).map_err(words)?;
    let index = Index::start(dir, index_store, known, &found.tail, signer.verifier());
    let index = index.map_err(|e| e.to_string())?;
    retention::finish_interrupted(dir, &index, signer.verifier()).map_err(|e| e.to_string())?;
    let mut writer = Writer::new(Start {
        dir: dir.to_owned(),
        segment_bytes: settings.segment_bytes,
        log_id: found.log_id,
        tail: found.tail,
        open,
        clock,
        faults,
        index: index.clone(),
        shared: shared.clone(),
    })
    .map_err(words)?;
    writer.prepare().map_err(|e| e.to_string())?;
    let (queue, requests) = store::queue::queue();
    store::writer::start(writer, requests).map_err(words)?;
    Ok((index, queue, signer))
}

/// A log that holds nothing yet.
fn new_log() -> std::io::Result<Recovered> {
    let log_id: [u8; 16] = random()?;
    let tail = Tail { segment: 0, end: 0, chain: Chain::default(), next_sequence: 1 };
    Ok(Recovered { log_id: log_id.to_vec(), tail, salt: 0, sealed: true, damage: Vec::new(), torn: false })
}

fn report(recovered: &Recovered) {
    let Tail { segment, end, next_sequence, .. } = recovered.tail;
    tracing::info!(segment, end, records = next_sequence - 1, "the message log was opened");
    if recovered.torn {
        tracing::warn!(
            segment,
            end,
            "the server was stopped while it wrote; what was not acknowledged was cut off"
        );
    }
    for damage in &recovered.damage {
        tracing::error!(%damage, "the message log is damaged; the rest of it is not affected");
    }
    metrics::counter!("causeway_message_log_damage_total").increment(recovered.damage.len() as u64);
}
