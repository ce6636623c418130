//! Retention: segments go, whole, when every record in them was archived, sent where that was asked, and kept for long enough.
//!
//! A segment is removed when all of this holds; otherwise it stays:
//!
//! - it is full, or old enough to have been closed ([`CLOSE_AFTER`]);
//! - archiving is done with all of its records; those that could not be archived are kept beside the log ([`aside`]) and reported;
//! - the records of each local subsystem are older than they are kept, or the log is larger than it may be;
//! - no record elsewhere has its body in it, no stamp in it is for a record elsewhere, no exchange under way uses it;
//! - the tree has the leaves of its records.
//!
//! The order is: signed [`Mark`], index, segment. A crash in between is finished at the next start.
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use pki::note::{Signer, Verifier};
use prost::Message;
use proto::id::ClientId;
use proto::time::UnixTime;

use super::archive::state::State;
use super::aside;
use super::expiry::{self, Mark, Reason};
use super::store::format::{Client, Kind, RecordHead, StampHead, StartHead};
use super::store::index::{Gone, Index};
use super::store::recovery::start_of;
use super::store::segment::{self, ReadError, Readable, Step};
use super::store::writer::lock;
use super::tree::Tree;
use super::{LogError, MessageLog};

/// A segment that was started so long ago is closed, so that a quiet server does not keep records for years.
pub(super) const CLOSE_AFTER: Duration = Duration::from_secs(86_400);

/// Checked settings.
#[derive(Clone, Debug, Default)]
pub struct RetentionSettings {
    /// How long records are kept.
    pub keep: Duration,
    /// The same for local subsystems with a time of their own.
    pub keep_subsystems: HashMap<ClientId, Duration>,
    /// Most bytes of the log; older records go earlier. `None` without bound.
    pub max_bytes: Option<u64>,
    /// Between runs.
    pub interval: Duration,
}

impl RetentionSettings {
    fn keep(&self, subsystem: &Client) -> Duration {
        self.keep_subsystems.get(&ClientId::from(subsystem)).copied().unwrap_or(self.keep)
    }
    fn shortest(&self) -> Duration {
        self.keep_subsystems.values().copied().min().unwrap_or(self.keep).min(self.keep)
    }
}

/// What is known of a full segment.
#[derive(Debug, Default)]
struct Summary {
    /// Time of the newest record, by local party.
    newest: Vec<(Client, i64)>,
    /// Records that stamps in it are for.
    stamped: Vec<u64>,
    /// Those of its records that have parts of their bodies in other segments.
    elsewhere: Vec<Gone>,
}

/// Why a segment stays or goes could not be found out, or it could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A segment.
    #[error("{0}")]
    Segment(String),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ReadError> for RetentionError {
    fn from(error: ReadError) -> Self {
        Self::Segment(error.to_string())
    }
}

/// Removes what may go. Remembers what segments hold from run to run.
#[derive(Debug, Default)]
pub(super) struct Retention {
    known: BTreeMap<u64, Summary>,
}

impl Retention {
    /// One run; how many segments went. The index has caught up. Blocks.
    ///
    /// # Errors
    /// What came before stays removed.
    pub(super) fn run(
        &mut self,
        log: &MessageLog,
        state: &State,
        tree: &Tree,
        signer: &Signer,
        now: UnixTime,
    ) -> Result<usize, RetentionError> {
        let inner = &log.inner;
        let Some(active) = lock(&inner.shared.tail).as_ref().map(|tail| tail.segment) else { return Ok(0) };
        // In this order: an exchange that ends meanwhile has told the index before it let go of its body.
        let used_from = lock(&inner.shared.claims).values().copied().min().unwrap_or(active);
        inner.index.barrier();
        let numbers: Vec<u64> = segment::list(&inner.dir)?.into_iter().filter(|n| *n < active).collect();
        let mut excess =
            log_bytes(log)?.saturating_sub(inner.settings.retention.max_bytes.unwrap_or(u64::MAX));
        let mut removed = 0;
        for number in numbers.into_iter().filter(|n| *n < used_from) {
            let Some(next) = start_of(&inner.dir, number + 1).or_else(|| next_by_mark(log, number, signer))
            else {
                continue;
            };
            let reason = if excess > 0 { Reason::Space } else { Reason::Time };
            if next.first_sequence > state.done_to() + 1
                || !self.may_go(log, number, &next, reason, now)?
                || tree.size() + 1 < next.first_sequence
            {
                continue;
            }
            let bytes = std::fs::metadata(segment::path_of(&inner.dir, number))?.len();
            let damaged = aside::keep(&inner.dir, number, &state.unreadable)?;
            if damaged > 0 {
                let into = aside::dir_of(&inner.dir);
                tracing::error!(segment = number, damaged, into = %into.display(),
                    "a segment that is removed was damaged; what was not whole is kept beside the log");
            }
            self.remove(log, number, &next, tree, signer, (reason, now))?;
            excess = excess.saturating_sub(bytes);
            removed += 1;
        }
        Ok(removed)
    }

    fn may_go(
        &mut self,
        log: &MessageLog,
        number: u64,
        next: &StartHead,
        reason: Reason,
        now: UnixTime,
    ) -> Result<bool, RetentionError> {
        let (settings, index) = (&log.inner.settings.retention, &log.inner.index);
        // The next segment was started when this one was full: nothing in it is newer than that.
        if reason == Reason::Time && UnixTime(next.at).plus(settings.shortest()) > now {
            return Ok(false);
        }
        let known = match self.known.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(summary(log, number)?),
        };
        let old_enough =
            known.newest.iter().all(|(party, at)| UnixTime(*at).plus(settings.keep(party)) <= now);
        if (reason == Reason::Time && !old_enough) || index.is_used(number)? {
            return Ok(false);
        }
        for record in &known.stamped {
            if index.record(*record)?.is_some_and(|place| place.segment != number) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn remove(
        &mut self,
        log: &MessageLog,
        number: u64,
        next: &StartHead,
        tree: &Tree,
        signer: &Signer,
        (reason, at): (Reason, UnixTime),
    ) -> Result<(), RetentionError> {
        let inner = &log.inner;
        let start = start_of(&inner.dir, number).ok_or_else(|| {
            RetentionError::Segment(format!("the start of segment {number} cannot be read"))
        })?;
        let chain = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap_or_default();
        let mark = Mark {
            origin: signer.verifier().name().to_owned(),
            segment: number,
            records: (start.first_sequence, next.first_sequence),
            ends: (start.previous_end, next.previous_end),
            chain: (chain(&start.previous_chain), chain(&next.previous_chain)),
            leaves: tree.leaves_hash(start.first_sequence, next.first_sequence)?,
            reason,
            at,
        };
        mark.store(&inner.dir, signer)?;
        let known = self.known.remove(&number).unwrap_or_default();
        finish(&inner.dir, number, mark.records, &known.elsewhere, &inner.index)?;
        inner.reader.forget(number);
        metrics::counter!("causeway_message_log_expired_records_total")
            .increment(next.first_sequence - start.first_sequence);
        tracing::info!(
            segment = number,
            first = mark.records.0,
            next = mark.records.1,
            ?reason,
            "records have expired"
        );
        Ok(())
    }
}

/// Bytes that the log's segments take.
pub(super) fn log_bytes(log: &MessageLog) -> io::Result<u64> {
    let dir = &log.inner.dir;
    let mut bytes = 0;
    for number in segment::list(dir)? {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(segment::path_of(dir, number))?;
        bytes += found.len().min(found.blocks() * 512);
    }
    Ok(bytes)
}

/// What the start of the next segment would say, when that segment has expired before this one.
fn next_by_mark(log: &MessageLog, number: u64, signer: &Signer) -> Option<StartHead> {
    let mark = Mark::load(&log.inner.dir, number + 1, signer.verifier()).ok()??;
    Some(StartHead {
        segment: number + 1,
        first_sequence: mark.records.0,
        previous_end: mark.ends.0,
        previous_chain: mark.chain.0.to_vec(),
        at: start_of(&log.inner.dir, number)?.at,
        ..StartHead::default()
    })
}

fn summary(log: &MessageLog, number: u64) -> Result<Summary, RetentionError> {
    let mut known = Summary::default();
    walk(&log.inner.dir, number, |seen| match seen {
        Said::Record(head) => {
            let party = head.local();
            match known.newest.iter_mut().find(|(known, _)| known == party) {
                Some((_, at)) => *at = (*at).max(head.at),
                None => known.newest.push((party.clone(), head.at)),
            }
            known.elsewhere.extend(gone(number, &head));
        }
        Said::Stamp(head) => known.stamped.extend(head.sequences),
    })?;
    Ok(known)
}

enum Said {
    Record(Box<RecordHead>),
    Stamp(StampHead),
}

fn walk(dir: &std::path::Path, number: u64, mut take: impl FnMut(Said)) -> Result<(), ReadError> {
    let readable = Readable::open(dir, number)?;
    let mut walker = readable.walk(0, None, u64::MAX)?;
    loop {
        match walker.step()? {
            Step::Frame(seen) if seen.kind == Kind::Record => {
                if let Ok(head) = RecordHead::decode(seen.head.as_slice()) {
                    take(Said::Record(Box::new(head)));
                }
            }
            Step::Frame(seen) if seen.kind == Kind::Stamp => {
                if let Ok(head) = StampHead::decode(seen.head.as_slice()) {
                    take(Said::Stamp(head));
                }
            }
            Step::Frame(_) | Step::Damage { .. } => {}
            Step::End { .. } => return Ok(()),
        }
    }
}

/// What the index must be told of a record whose segment goes, when its number does not say it all.
fn gone(segment: u64, head: &RecordHead) -> Option<Gone> {
    let others = head.extents().map(|extent| extent.segment).filter(|other| *other != segment);
    let gone = Gone { sequence: head.sequence, bodies_in: others.collect() };
    (!gone.bodies_in.is_empty()).then_some(gone)
}

/// Takes a marked segment out of the index, durably, and removes it.
fn finish(
    dir: &std::path::Path,
    number: u64,
    records: (u64, u64),
    elsewhere: &[Gone],
    index: &Index,
) -> Result<(), RetentionError> {
    index.forget(elsewhere, records)?;
    Ok(segment::remove(dir, number)?)
}

/// Finishes removals that a crash interrupted: segments that have a mark and are still there.
///
/// # Errors
/// The disk.
pub(super) fn finish_interrupted(
    dir: &std::path::Path,
    index: &Index,
    key: &Verifier,
) -> Result<(), RetentionError> {
    for number in expiry::marked(dir)? {
        if segment::path_of(dir, number).is_file() {
            let mark = Mark::load(dir, number, key).map_err(RetentionError::Segment)?;
            let (mut elsewhere, mut numbers) = (Vec::new(), (u64::MAX, 0));
            walk(dir, number, |said| {
                if let Said::Record(head) = said {
                    numbers = (numbers.0.min(head.sequence), numbers.1.max(head.sequence + 1));
                    elsewhere.extend(gone(number, &head));
                }
            })?;
            let numbers = mark.map_or(numbers, |mark| mark.records);
            finish(dir, number, numbers, &elsewhere, index)?;
        }
    }
    Ok(())
}
