//! Bodies: on their way into the log ([`Spool`]) and where they lie afterwards ([`Stored`]).
//!
//! Up to `memory-body-bytes` a body stays in memory and becomes part of the record's own frame. A larger one is written to the log in
//! frames of [`PART_BYTES`] as it comes, a few of them on their way at a time, so that memory stays flat whatever its size; the
//! record then names these frames. When the exchange fails instead, a void frame says so.
//!
//! A body that no record will hold (its producer's bodies are not logged, or it is above the loggable size and may pass) never
//! reaches a segment: it lies in a file without a name (`passing`) that goes with the exchange. One that has gone on to the other side
//! while it came is not kept at all then: nobody will ask for it.
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::sync::oneshot;

use super::crypt::DataKey;
use super::passing::PassingFile;
use super::store::format::{Extent, Kind};
use super::store::reader::Reader;
use super::store::segment::Payload;
use super::store::writer::{Placed, Request, Shared, lock};
use super::{Inner, LogError};

/// Of one part of a body in the log.
pub(crate) const PART_BYTES: usize = 128 * 1024;
/// Written to, or read from, a file of its own at once.
const FILE_PART_BYTES: usize = 2 * PART_BYTES;
/// A smaller piece is copied, so that it does not hold the buffer that it came in.
const LEAST_PIECE: usize = 8 * 1024;
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
    /// Not yet handed on.
    held: Held,
    /// Most bytes that a record may hold of it; `None` once none will.
    keep: Option<u64>,
    /// Where it goes once it is too big for memory.
    spilled: Option<Goes>,
    /// It is taken for the log and nobody else.
    for_log_alone: bool,
}

/// Bytes of a body, mostly where they were read to.
#[derive(Debug, Default)]
struct Held {
    pieces: VecDeque<Bytes>,
    /// Behind them: small ones, copied.
    last: BytesMut,
    bytes: usize,
}

impl Held {
    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        if chunk.len() < LEAST_PIECE {
            self.last.extend_from_slice(&chunk);
        } else {
            self.close();
            self.pieces.push_back(chunk);
        }
    }

    fn close(&mut self) {
        if !self.last.is_empty() {
            self.pieces.push_back(self.last.split().freeze());
        }
    }

    /// The first `most` bytes, or all.
    fn take(&mut self, most: usize) -> Vec<Bytes> {
        self.close();
        let (mut taken, mut left) = (Vec::new(), most.min(self.bytes));
        self.bytes -= left;
        while left > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            if piece.len() > left {
                self.pieces.push_front(piece.split_off(left));
            }
            left -= piece.len();
            taken.push(piece);
        }
        taken
    }

    /// All of it.
    fn join(mut self) -> Bytes {
        let mut pieces = self.take(usize::MAX);
        match pieces.as_mut_slice() {
            [one] => std::mem::take(one),
            more => more.concat().into(),
        }
    }
}

#[derive(Debug)]
enum Goes {
    /// Into frames of the log.
    Log(Spilled),
    /// Into a file of its own, which ends with the exchange.
    File(Arc<PassingFile>, u64),
}

#[derive(Debug)]
struct Spilled {
    claim: Claim,
    /// Parts are encrypted with it.
    key: Option<Arc<DataKey>>,
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
        lock(&self.shared.claims).remove(&self.spool);
        if !self.kept.load(Ordering::Relaxed) {
            lock(&self.shared.voids).push(self.spool);
        }
    }
}

impl Spool {
    /// A record may hold up to `keep` bytes; `None`: none will. More than `limit` is refused.
    pub(super) fn new(log: Arc<Inner>, keep: Option<u64>, limit: u64) -> Self {
        Self { log, limit, length: 0, held: Held::default(), keep, spilled: None, for_log_alone: false }
    }

    /// The body goes on to the other side while it is taken here: what no record will hold is counted and dropped.
    #[must_use]
    pub fn passed_on(self) -> Self {
        Self { for_log_alone: true, ..self }
    }

    /// So long it will be, as far as that is known: what no record will hold is not brought to the log to be taken out again.
    #[must_use]
    pub fn announced(self, length: Option<u64>) -> Self {
        let keep = self.keep.filter(|most| length.is_none_or(|length| length <= *most));
        Self { keep, ..self }
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
        if self.keep.is_some_and(|most| self.length > most) {
            self.leave_log().await?;
        }
        if self.is_dropped() {
            return Ok(());
        }
        self.held.push(chunk);
        if self.spilled.is_none() && self.held.bytes > self.log.settings.memory_body_bytes {
            self.spilled = Some(match self.keep {
                Some(_) => Goes::Log(Spilled::new(&self.log)?),
                None => Goes::File(self.own_file().await?, 0),
            });
        }
        let part = match &self.spilled {
            None => return Ok(()),
            Some(Goes::Log(_)) => PART_BYTES,
            Some(Goes::File(..)) => FILE_PART_BYTES,
        };
        while self.held.bytes >= part {
            let pieces = self.held.take(part);
            self.send(pieces).await?;
        }
        Ok(())
    }

    /// Nobody will ask for its bytes.
    fn is_dropped(&self) -> bool {
        self.for_log_alone && self.keep.is_none()
    }

    async fn send(&mut self, part: Vec<Bytes>) -> Result<(), LogError> {
        match &mut self.spilled {
            Some(Goes::Log(spilled)) => spilled.send(&self.log, part).await,
            Some(Goes::File(file, end)) => {
                let (file, at) = (file.clone(), *end);
                *end += part.iter().map(|piece| piece.len() as u64).sum::<u64>();
                blocking(move || {
                    let mut slices: Vec<_> = part.iter().map(|piece| IoSlice::new(piece)).collect();
                    file.write(&mut slices, at)
                })
                .await
            }
            None => Ok(()),
        }
    }

    /// The body turned out to be larger than what is logged: what is in the log already becomes void, and a file takes over.
    async fn leave_log(&mut self) -> Result<(), LogError> {
        self.keep = None;
        let spilled = self.spilled.take();
        if self.for_log_alone {
            self.held = Held::default();
            return Ok(());
        }
        let Some(Goes::Log(mut spilled)) = spilled else { return Ok(()) };
        while !spilled.on_the_way.is_empty() {
            spilled.arrive().await?;
        }
        self.spilled = Some(Goes::File(self.own_file().await?, 0));
        for (number, extent) in (0..).zip(spilled.extents) {
            let (reader, key) = (self.log.reader.clone(), spilled.key.clone());
            let part = blocking(move || read_from(&reader, key.as_deref(), number, &extent)).await?;
            self.send(vec![part]).await?;
        }
        Ok(())
    }

    async fn own_file(&self) -> Result<Arc<PassingFile>, LogError> {
        let log = self.log.clone();
        blocking(move || log.passing.open().map(Arc::new)).await
    }

    /// The body is complete. A spool that is dropped instead leaves frames that are void.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub async fn finish(mut self) -> Result<Stored, LogError> {
        if self.is_dropped() {
            return Ok(Stored::left_out(self.length));
        }
        if self.spilled.is_none() {
            let bytes = self.held.join();
            let place = if self.keep.is_some() { Lying::Memory(bytes) } else { Lying::Passing(bytes) };
            return Ok(Stored { place });
        }
        if self.held.bytes > 0 {
            let rest = self.held.take(usize::MAX);
            self.send(rest).await?;
        }
        let place = match self.spilled.take() {
            Some(Goes::Log(mut spilled)) => {
                while !spilled.on_the_way.is_empty() {
                    spilled.arrive().await?;
                }
                Lying::InLog(Arc::new(InLog {
                    length: self.length,
                    extents: spilled.extents,
                    epoch: spilled.epoch,
                    key: spilled.key,
                    claim: Some(spilled.claim),
                    reader: self.log.reader.clone(),
                }))
            }
            Some(Goes::File(file, length)) => Lying::InFile(file, length),
            None => Lying::Passing(Bytes::new()),
        };
        Ok(Stored { place })
    }
}

/// Disk work off the async workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| LogError::Closed)?;
    done.map_err(|e| LogError::Disk(e.to_string()))
}

impl Spilled {
    fn new(log: &Inner) -> Result<Self, LogError> {
        let key = (!log.settings.keys.is_empty()).then(DataKey::new).transpose();
        let key = key.map_err(|e| LogError::Disk(e.to_string()))?.map(Arc::new);
        let spool = log.next_spool.fetch_add(1, Ordering::Relaxed);
        // Its parts will lie in this segment or later ones, which are not removed as long as the claim lives.
        let segment = lock(&log.shared.tail).as_ref().map_or(0, |tail| tail.segment);
        lock(&log.shared.claims).insert(spool, segment);
        let claim = Claim { spool, shared: log.shared.clone(), kept: AtomicBool::new(false) };
        Ok(Self { claim, key, number: 0, epoch: None, extents: Vec::new(), on_the_way: VecDeque::new() })
    }

    async fn send(&mut self, log: &Inner, part: Vec<Bytes>) -> Result<(), LogError> {
        if self.on_the_way.len() >= MAX_ON_THE_WAY {
            self.arrive().await?;
        }
        let (answer, placed) = oneshot::channel();
        let (spool, number) = (self.claim.spool, self.number);
        self.number += 1;
        let payload = match &self.key {
            Some(key) => {
                let sealed = key.seal(u64::from(number), part.concat());
                Payload::from(Bytes::from(sealed.map_err(|e| LogError::Disk(e.to_string()))?))
            }
            None => Payload::new(part),
        };
        log.ask(&log.body_slots, Request::Body { spool, number, payload, answer }).await?;
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

/// A body that lies in memory, in the log or in a passing file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stored {
    place: Lying,
}

#[derive(Clone, Debug)]
enum Lying {
    Memory(Bytes),
    InLog(Arc<InLog>),
    /// In memory, and not for the log.
    Passing(Bytes),
    /// A file without a name, and how much of it.
    InFile(Arc<PassingFile>, u64),
    /// A record has its digest only; so long it was.
    LeftOut(u64),
}

#[derive(Debug)]
struct InLog {
    length: u64,
    extents: Vec<Extent>,
    epoch: Option<u64>,
    key: Option<Arc<DataKey>>,
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
    pub(super) fn in_log(
        length: u64,
        extents: Vec<Extent>,
        key: Option<DataKey>,
        reader: Arc<Reader>,
    ) -> Self {
        let key = key.map(Arc::new);
        let body = InLog { length, extents, epoch: None, key, claim: None, reader };
        Self { place: Lying::InLog(Arc::new(body)) }
    }

    /// What its parts in the log are encrypted with.
    pub(super) fn data_key(&self) -> Option<&DataKey> {
        match &self.place {
            Lying::InLog(body) => body.key.as_deref(),
            Lying::Memory(_) | Lying::Passing(_) | Lying::InFile(..) | Lying::LeftOut(_) => None,
        }
    }

    /// A body that a record has the digest of and nothing else.
    pub(super) fn left_out(length: u64) -> Self {
        Self { place: Lying::LeftOut(length) }
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        match &self.place {
            Lying::Memory(bytes) | Lying::Passing(bytes) => bytes.len() as u64,
            Lying::InLog(body) => body.length,
            Lying::InFile(_, length) | Lying::LeftOut(length) => *length,
        }
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, when it is in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.place {
            Lying::Memory(bytes) | Lying::Passing(bytes) => Some(bytes),
            Lying::InLog(_) | Lying::InFile(..) | Lying::LeftOut(_) => None,
        }
    }

    /// A record may hold it.
    pub(super) fn is_for_log(&self) -> bool {
        matches!(self.place, Lying::Memory(_) | Lying::InLog(_))
    }

    /// Its bytes cannot be had here.
    pub fn is_left_out(&self) -> bool {
        matches!(self.place, Lying::LeftOut(_))
    }

    /// Where its parts lie, when they lie in the log, and in which epoch they were written.
    pub(super) fn extents(&self) -> (&[Extent], Option<u64>) {
        match &self.place {
            Lying::InLog(body) => (&body.extents, body.epoch),
            Lying::Memory(_) | Lying::Passing(_) | Lying::InFile(..) | Lying::LeftOut(_) => (&[], None),
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
        let (ready, left) = match self.in_memory() {
            Some(bytes) => (bytes.clone(), None),
            None => (Bytes::new(), Some((self.clone(), 0))),
        };
        let used = Bytes::new();
        futures_util::stream::try_unfold((ready, used, left), |(mut ready, mut used, mut left)| async move {
            while ready.is_empty() {
                let Some((stored, number)) = left.take() else { return Ok(None) };
                if let Some((part, stored)) = read_part(stored, number, used).await? {
                    (used, ready) = (part.clone(), part);
                    left = Some((stored, number + 1));
                } else {
                    used = Bytes::new();
                }
            }
            let chunk = ready.split_to(ready.len().min(CHUNK_BYTES));
            Ok(Some((chunk, (ready, used, left))))
        })
    }

    /// Its bytes, read by blocking.
    pub fn reader(&self) -> StoredReader {
        StoredReader { stored: self.clone(), number: 0, ready: Bytes::new() }
    }

    fn part(&self, number: usize) -> io::Result<Option<Bytes>> {
        match &self.place {
            Lying::Memory(bytes) | Lying::Passing(bytes) => Ok((number == 0).then(|| bytes.clone())),
            Lying::InLog(body) => body.part(number).transpose(),
            Lying::InFile(file, length) => {
                let at = (number * FILE_PART_BYTES) as u64;
                let mut part = vec![0; length.saturating_sub(at).min(FILE_PART_BYTES as u64) as usize];
                file.read(&mut part, at)?;
                Ok((!part.is_empty()).then(|| part.into()))
            }
            Lying::LeftOut(_) => Err(io::Error::other("the body is not in the log, only its digest")),
        }
    }
}

impl InLog {
    fn part(&self, number: usize) -> Option<io::Result<Bytes>> {
        let extent = self.extents.get(number)?;
        Some(read_from(&self.reader, self.key.as_deref(), number as u64, extent))
    }
}

/// One part of a body, decrypted.
fn read_from(reader: &Reader, key: Option<&DataKey>, number: u64, extent: &Extent) -> io::Result<Bytes> {
    let part = reader.payload(extent, Kind::Body).map_err(io::Error::other)?;
    match key {
        None => Ok(part),
        Some(key) => {
            let opened = key.open(number, &part);
            opened.map(Bytes::from).ok_or_else(|| io::Error::other("a part of a body cannot be decrypted"))
        }
    }
}

/// `used`: the part before it, in whose memory this one may lie when nobody else has it any more.
async fn read_part(stored: Stored, number: usize, used: Bytes) -> io::Result<Option<(Bytes, Stored)>> {
    if let Lying::InFile(file, length) = &stored.place {
        let at = (number * FILE_PART_BYTES) as u64;
        let size = length.saturating_sub(at).min(FILE_PART_BYTES as u64) as usize;
        let mut part = used.try_into_mut().unwrap_or_default();
        part.resize(size, 0);
        // A hop to another thread takes longer than the copy.
        if file.read_cached(&mut part, at) {
            return Ok((!part.is_empty()).then(|| (part.freeze(), stored)));
        }
    }
    let read = tokio::task::spawn_blocking(move || Ok(stored.part(number)?.map(|part| (part, stored))));
    read.await.map_err(io::Error::other)?
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
