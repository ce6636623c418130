//! Bodies: on their way into the log ([`Spool`]) and where they lie afterwards ([`Stored`]).
//!
//! Up to `memory-body-bytes` a body stays in memory and becomes part of the record's own frame. A larger one is written to the log in
//! frames of [`PART_BYTES`] as it comes, a few of them on their way at a time, so that memory stays flat whatever its size; the
//! record then names these frames. When the exchange fails instead, a void frame says so.
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::sync::oneshot;

use super::store::format::{Extent, Kind};
use super::store::reader::Reader;
use super::store::writer::{Placed, Request, Shared, lock};
use super::{Inner, LogError};

/// Of one part of a body in the log.
pub(crate) const PART_BYTES: usize = 128 * 1024;
/// Parts of one body that may be on their way to the disk.
const MAX_ON_THE_WAY: usize = 4;
/// What [`Stored::stream`] gives at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A body on its way into the log.
#[derive(Debug)]
pub struct Spool {
    log: Arc<Inner>,
    /// Most bytes.
    limit: u64,
    length: u64,
    /// Not yet handed to the writer.
    buffer: BytesMut,
    /// Set once the body is too big for memory.
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    claim: Claim,
    number: u32,
    epoch: Option<u64>,
    extents: Vec<Extent>,
    on_the_way: VecDeque<oneshot::Receiver<Result<Placed, LogError>>>,
}

/// Frames of one body that no record names yet. Dropped without [`Claim::keep`], they are declared void.
#[derive(Debug)]
struct Claim {
    spool: u64,
    shared: Arc<Shared>,
    kept: AtomicBool,
}

impl Claim {
    fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            lock(&self.shared.voids).push(self.spool);
        }
    }
}

impl Spool {
    pub(super) fn new(log: Arc<Inner>, limit: u64) -> Self {
        Self { log, limit, length: 0, buffer: BytesMut::new(), spilled: None }
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Nothing was taken so far.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// More bytes of the body.
    ///
    /// # Errors
    /// [`LogError::Disk`], [`LogError::BodyTooLarge`].
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), LogError> {
        let limit = self.limit;
        self.length += chunk.len() as u64;
        if self.length > limit {
            return Err(LogError::BodyTooLarge { limit });
        }
        self.buffer.extend_from_slice(&chunk);
        if self.spilled.is_none() && self.buffer.len() > self.log.settings.memory_body_bytes {
            self.spilled = Some(Spilled::new(&self.log));
        }
        if let Some(spilled) = &mut self.spilled {
            while self.buffer.len() >= PART_BYTES {
                spilled.send(&self.log, self.buffer.split_to(PART_BYTES).freeze()).await?;
            }
        }
        Ok(())
    }

    /// The body is complete. A spool that is dropped instead leaves frames that are void.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub async fn finish(mut self) -> Result<Stored, LogError> {
        let Some(mut spilled) = self.spilled.take() else {
            return Ok(Stored::from(self.buffer.freeze()));
        };
        if !self.buffer.is_empty() {
            spilled.send(&self.log, self.buffer.freeze()).await?;
        }
        while !spilled.on_the_way.is_empty() {
            spilled.arrive().await?;
        }
        let body = InLog {
            length: self.length,
            extents: spilled.extents,
            epoch: spilled.epoch,
            claim: Some(spilled.claim),
            reader: self.log.reader.clone(),
        };
        Ok(Stored { place: Lying::InLog(Arc::new(body)) })
    }
}

impl Spilled {
    fn new(log: &Inner) -> Self {
        let spool = log.next_spool.fetch_add(1, Ordering::Relaxed);
        let claim = Claim { spool, shared: log.shared.clone(), kept: AtomicBool::new(false) };
        Self { claim, number: 0, epoch: None, extents: Vec::new(), on_the_way: VecDeque::new() }
    }

    async fn send(&mut self, log: &Inner, bytes: Bytes) -> Result<(), LogError> {
        if self.on_the_way.len() >= MAX_ON_THE_WAY {
            self.arrive().await?;
        }
        let (answer, placed) = oneshot::channel();
        let (spool, number) = (self.claim.spool, self.number);
        self.number += 1;
        log.ask(&log.body_slots, Request::Body { spool, number, bytes, answer }).await?;
        self.on_the_way.push_back(placed);
        Ok(())
    }

    /// Waits for the oldest part on its way.
    async fn arrive(&mut self) -> Result<(), LogError> {
        let Some(next) = self.on_the_way.pop_front() else { return Ok(()) };
        let placed = next.await.map_err(|_| LogError::Closed)??;
        if *self.epoch.get_or_insert(placed.epoch) != placed.epoch {
            return Err(LogError::Disk("the disk failed while the body was being written".into()));
        }
        self.extents.push(placed.extent);
        Ok(())
    }
}

/// A body that lies in memory or in the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stored {
    place: Lying,
}

#[derive(Clone, Debug)]
enum Lying {
    Memory(Bytes),
    InLog(Arc<InLog>),
}

#[derive(Debug)]
struct InLog {
    length: u64,
    extents: Vec<Extent>,
    epoch: Option<u64>,
    claim: Option<Claim>,
    reader: Arc<Reader>,
}

impl From<Bytes> for Stored {
    fn from(bytes: Bytes) -> Self {
        Self { place: Lying::Memory(bytes) }
    }
}

impl Stored {
    /// A body that a record names.
    pub(super) fn in_log(length: u64, extents: Vec<Extent>, reader: Arc<Reader>) -> Self {
        Self { place: Lying::InLog(Arc::new(InLog { length, extents, epoch: None, claim: None, reader })) }
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        match &self.place {
            Lying::Memory(bytes) => bytes.len() as u64,
            Lying::InLog(body) => body.length,
        }
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, when it is in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.place {
            Lying::Memory(bytes) => Some(bytes),
            Lying::InLog(_) => None,
        }
    }

    /// Where its parts lie, when they lie in the log, and in which epoch they were written.
    pub(super) fn extents(&self) -> (&[Extent], Option<u64>) {
        match &self.place {
            Lying::Memory(_) => (&[], None),
            Lying::InLog(body) => (&body.extents, body.epoch),
        }
    }

    /// A record names it from now on.
    pub(super) fn keep(&self) {
        if let Lying::InLog(body) = &self.place
            && let Some(claim) = &body.claim
        {
            claim.keep();
        }
    }

    /// Its bytes, in chunks of at most 64 KiB.
    pub fn stream(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (ready, left) = match &self.place {
            Lying::Memory(bytes) => (bytes.clone(), None),
            Lying::InLog(body) => (Bytes::new(), Some((body.clone(), 0))),
        };
        futures_util::stream::try_unfold((ready, left), |(mut ready, mut left)| async move {
            while ready.is_empty() {
                let Some((body, number)) = left.take() else { return Ok(None) };
                if number < body.extents.len() {
                    ready = read_part(body.clone(), number).await?;
                    left = Some((body, number + 1));
                }
            }
            let chunk = ready.split_to(ready.len().min(CHUNK_BYTES));
            Ok(Some((chunk, (ready, left))))
        })
    }

    /// Its bytes, read by blocking.
    pub fn reader(&self) -> StoredReader {
        StoredReader { stored: self.clone(), number: 0, ready: Bytes::new() }
    }

    fn part(&self, number: usize) -> io::Result<Option<Bytes>> {
        match &self.place {
            Lying::Memory(bytes) => Ok((number == 0).then(|| bytes.clone())),
            Lying::InLog(body) => body.extents.get(number).map(|extent| body.part(extent)).transpose(),
        }
    }
}

impl InLog {
    fn part(&self, extent: &Extent) -> io::Result<Bytes> {
        self.reader.payload(extent, Kind::Body).map_err(io::Error::other)
    }
}

async fn read_part(body: Arc<InLog>, number: usize) -> io::Result<Bytes> {
    tokio::task::spawn_blocking(move || body.part(&body.extents[number])).await.map_err(io::Error::other)?
}

/// Reads a [`Stored`] from its start.
pub struct StoredReader {
    stored: Stored,
    number: usize,
    ready: Bytes,
}

impl Read for StoredReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            match self.stored.part(self.number)? {
                Some(part) => self.ready = part,
                None => return Ok(0),
            }
            self.number += 1;
        }
        let count = buffer.len().min(self.ready.len());
        buffer[..count].copy_from_slice(&self.ready.split_to(count));
        Ok(count)
    }
}
