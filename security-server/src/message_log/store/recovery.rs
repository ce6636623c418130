//! What is found in the segments at a start, and what of it counts.
//!
//! Only the last segment is walked. A power cut may leave any part of what was written since the last fdatasync: frames cut off,
//! missing between others, or zeros. None of that was acknowledged, so everything from the first gap on is cut off, unless a whole
//! record stands behind the gap or the index had seen it as durable: then the gap is damage to something that may have been
//! acknowledged, and it is kept, reported and gone around.
//!
//! [`verify`] walks through everything: every checksum, every chain value, everything that a record names.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use pki::note::Verifier;
use prost::Message;

use super::format::{Chain, Extent, Kind, RecordHead, SealHead, StampHead, StartHead};
use super::segment::{self, ReadError, Readable, Seen, Step};
use crate::message_log::expiry::Mark;

/// Most missing records of one gap that are named one by one: how wide a gap is, the file says itself.
const NAMED: u64 = 1000;

/// The point where a log goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) segment: u64,
    pub(crate) end: u64,
    pub(crate) chain: Chain,
    pub(crate) next_sequence: u64,
}

/// Something in the log that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in it.
    pub offset: u64,
    /// What is wrong, in words.
    pub what: String,
    /// The record that is no longer whole, when that can be told.
    pub record: Option<u64>,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { segment, offset, what, record } = self;
        match record {
            Some(record) => write!(f, "record {record}: {what} (segment {segment}, offset {offset})"),
            None => write!(f, "{what} (segment {segment}, offset {offset})"),
        }
    }
}

/// The outcome of a start.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) log_id: Vec<u8>,
    pub(crate) tail: Tail,
    pub(crate) salt: u32,
    /// The last segment is full: the next one is to be started.
    pub(crate) sealed: bool,
    pub(crate) damage: Vec<Damage>,
    /// Something unacknowledged was cut off.
    pub(crate) torn: bool,
}

/// Finds the end of the log in `dir`; `durable` is a point up to which the index saw everything on the disk. `None` for a new log.
///
/// # Errors
/// The last segment cannot be read; nothing was changed.
pub(crate) fn recover(dir: &Path, durable: Option<&Tail>) -> Result<Option<Recovered>, ReadError> {
    find_end(dir, durable, |path| std::fs::remove_file(path))
}

/// The same for a log that belongs to somebody else: nothing is changed.
///
/// # Errors
/// The last segment cannot be read.
pub(crate) fn look(dir: &Path) -> Result<Option<Recovered>, ReadError> {
    find_end(dir, None, |_| Ok(()))
}

fn find_end(
    dir: &Path,
    durable: Option<&Tail>,
    drop_blank: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<Option<Recovered>, ReadError> {
    let io = |source| ReadError::Io { segment: 0, source };
    let mut segments = segment::list(dir).map_err(io)?;
    while let Some(last) = segments.pop() {
        match recover_segment(dir, last, durable.filter(|d| d.segment == last))? {
            Some(recovered) => return Ok(Some(recovered)),
            // A crash while the segment was being made: it never held anything.
            None => drop_blank(&segment::path_of(dir, last)).map_err(io)?,
        }
    }
    Ok(None)
}

fn recover_segment(dir: &Path, number: u64, durable: Option<&Tail>) -> Result<Option<Recovered>, ReadError> {
    let readable = match Readable::open(dir, number) {
        Ok(readable) => readable,
        Err(ReadError::Damaged { .. }) if is_blank(&segment::path_of(dir, number)) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut walker = readable.walk(0, None, durable.map_or(0, |d| d.end))?;
    let mut scan = Scan::new(number);
    let torn = loop {
        match walker.step()? {
            Step::Frame(seen) => scan.frame(&seen),
            Step::Damage { from, kind, .. } => scan.gap(from, kind, None),
            Step::End { dirty, .. } => break dirty || scan.pending.is_some(),
        }
    };
    let Some(log_id) = scan.log_id.take() else {
        let what = "the first frame is missing";
        return if durable.is_none() && scan.valid.is_empty() {
            Ok(None)
        } else {
            Err(ReadError::Damaged { segment: number, offset: 0, what })
        };
    };
    let mut tail = scan.kept;
    if let Some(durable) = durable
        && durable.end > tail.end
    {
        scan.damage.extend(scan.pending.take());
        scan.damage.append(&mut scan.more_pending);
        let what = format!("records up to {} were on the disk and are gone", durable.next_sequence - 1);
        scan.damage.push(Damage { segment: number, offset: tail.end, what, record: None });
        tail = durable.clone();
    }
    let torn = torn && scan.pending.take().is_none_or(|gap| gap.offset >= tail.end);
    Ok(Some(Recovered {
        log_id,
        tail,
        salt: readable.salt(),
        sealed: scan.sealed,
        damage: scan.damage,
        torn,
    }))
}

/// No frame was ever written to the file: at most its head, and zeros.
fn is_blank(path: &Path) -> bool {
    let head_bytes = super::format::FILE_HEAD_BYTES as usize;
    std::fs::read(path).is_ok_and(|bytes| bytes.iter().skip(head_bytes).all(|b| *b == 0))
}

/// What a walk through one segment knows so far.
struct Scan {
    segment: u64,
    log_id: Option<Vec<u8>>,
    /// Up to here everything counts.
    kept: Tail,
    /// The chain's value and the next sequence number as far as the walk has come.
    chain: Option<Chain>,
    next_sequence: u64,
    /// The first gap since `kept`.
    pending: Option<Damage>,
    more_pending: Vec<Damage>,
    damage: Vec<Damage>,
    /// Frames that are whole.
    valid: BTreeSet<u64>,
    sealed: bool,
}

impl Scan {
    fn new(segment: u64) -> Self {
        Self {
            segment,
            log_id: None,
            kept: Tail { segment, end: 0, chain: Chain::default(), next_sequence: 1 },
            chain: None,
            next_sequence: 1,
            pending: None,
            more_pending: Vec::new(),
            damage: Vec::new(),
            valid: BTreeSet::new(),
            sealed: false,
        }
    }

    fn gap(&mut self, offset: u64, kind: Option<Kind>, record: Option<u64>) {
        let what = match kind {
            Some(kind) => format!("a frame ({kind:?}) is damaged"),
            None => "there are bytes that are no frame".to_owned(),
        };
        let damage = Damage { segment: self.segment, offset, what, record };
        if kind.is_none_or(Kind::is_chained) && record.is_none() {
            self.chain = None;
        }
        match self.pending {
            None => self.pending = Some(damage),
            Some(_) => self.more_pending.push(damage),
        }
    }

    fn frame(&mut self, seen: &Seen) {
        self.check_chain(seen);
        let proof = self.read_head(seen);
        if seen.payload_whole == Some(false) {
            let record = (seen.kind == Kind::Record).then(|| self.next_sequence.saturating_sub(1));
            return self.gap(seen.offset, Some(seen.kind), record);
        }
        self.valid.insert(seen.offset);
        if self.pending.is_some() && !proof {
            return;
        }
        // Behind a gap only a whole record proves that the gap was more than a torn write.
        self.damage.extend(self.pending.take());
        self.damage.append(&mut self.more_pending);
        self.kept = Tail {
            segment: self.segment,
            end: seen.offset + frame_bytes(seen),
            chain: self.chain.unwrap_or_default(),
            next_sequence: self.next_sequence,
        };
    }

    fn check_chain(&mut self, seen: &Seen) {
        let Some(found) = seen.chain else { return };
        if let Some(before) = self.chain
            && !seen.follows(&before)
        {
            let what = "the chain does not lead here: something before was changed or removed".to_owned();
            self.damage.push(Damage { segment: self.segment, offset: seen.offset, what, record: None });
        }
        self.chain = Some(found);
    }

    /// Takes note of what a head says; whether the frame is a record, stamp or seal with everything it needs.
    fn read_head(&mut self, seen: &Seen) -> bool {
        let head = seen.head.as_slice();
        match seen.kind {
            Kind::Start => {
                if let Ok(start) = StartHead::decode(head) {
                    self.next_sequence = start.first_sequence;
                    self.log_id = Some(start.log_id);
                }
                false
            }
            Kind::Record => RecordHead::decode(head).is_ok_and(|record| {
                self.next_sequence = record.sequence.saturating_add(1);
                record.extents().all(|e| e.segment != self.segment || self.valid.contains(&e.offset))
            }),
            Kind::Stamp => true,
            Kind::Seal => {
                self.sealed = true;
                if let Ok(seal) = SealHead::decode(head) {
                    self.next_sequence = seal.next_sequence;
                }
                true
            }
            Kind::Document | Kind::Body | Kind::Void | Kind::Other(_) => false,
        }
    }
}

fn frame_bytes(seen: &Seen) -> u64 {
    let chain = if seen.chain.is_some() { super::format::CHAIN_BYTES } else { 0 };
    let before_payload = super::format::PREFIX_BYTES + chain + seen.head.len();
    super::format::padded(before_payload as u64 + seen.payload_bytes)
}

/// How much of each segment counts, in order: what the next one says, or the mark of the next one when it has expired, and `tail` for
/// the last.
pub(crate) fn bounds(dir: &Path, tail: &Tail, key: Option<&Verifier>) -> Result<Vec<(u64, u64)>, ReadError> {
    let numbers = segment::list(dir).map_err(|source| ReadError::Io { segment: 0, source })?;
    let mut bounds = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let end = match numbers.get(index + 1) {
            _ if *number >= tail.segment => tail.end,
            Some(next) if *next == number + 1 => {
                start_of(dir, *next).map_or(u64::MAX, |start| start.previous_end)
            }
            Some(_) => {
                let mark = key.and_then(|key| Mark::load(dir, number + 1, key).ok().flatten());
                mark.map_or(u64::MAX, |mark| mark.ends.0)
            }
            None => u64::MAX,
        };
        bounds.push((*number, end));
    }
    Ok(bounds)
}

/// What the first frame of a segment says.
pub(crate) fn start_of(dir: &Path, number: u64) -> Option<StartHead> {
    let frame = Readable::open(dir, number).ok()?.frame(super::format::FILE_HEAD_BYTES).ok()?;
    (frame.kind == Kind::Start).then(|| StartHead::decode(frame.head.as_slice()).ok())?
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments walked.
    pub segments: u64,
    /// Records whose head is whole.
    pub records: u64,
    /// Records that a stamp names.
    pub stamped: u64,
    /// Of these, records that were stamped too late for their OCSP answer: their containers do not verify.
    pub late: u64,
    /// Records that have expired, as signed marks say.
    pub expired: u64,
    /// Everything that is wrong, in the order of the log.
    pub damage: Vec<Damage>,
}

/// Walks through the whole log up to `tail`.
///
/// # Errors
/// The disk; damage is a result.
pub(crate) fn verify(dir: &Path, tail: &Tail, key: Option<&Verifier>) -> Result<Report, ReadError> {
    let mut check = Check::default();
    for (number, end) in bounds(dir, tail, key)? {
        check.expired(dir, number, key);
        check.segment(dir, number, end)?;
    }
    check.finish();
    Ok(check.report)
}

#[derive(Default)]
struct Check {
    report: Report,
    chain: Option<Chain>,
    next_sequence: Option<u64>,
    next_segment: Option<u64>,
    /// Frames with damage, to find the records that name them.
    bad: BTreeSet<(u64, u64)>,
    /// Records that have no stamp yet, and until when it is in time.
    deadlines: HashMap<u64, i64>,
    /// Records by what they name outside their own frame.
    needs: BTreeMap<(u64, u64), Vec<u64>>,
}

impl Check {
    /// The segments between the last one and `number` have expired, each as its mark says.
    fn expired(&mut self, dir: &Path, number: u64, key: Option<&Verifier>) {
        for gone in self.next_segment.unwrap_or(1)..number {
            let mark = match key.map_or(Ok(None), |key| Mark::load(dir, gone, key)) {
                Ok(Some(mark)) => mark,
                Ok(None) => {
                    self.note(gone, 0, "the segment is missing", None);
                    self.chain = None;
                    continue;
                }
                Err(reason) => {
                    self.note(
                        gone,
                        0,
                        &format!("the segment is missing, and its mark does not hold: {reason}"),
                        None,
                    );
                    self.chain = None;
                    continue;
                }
            };
            if self.chain.is_some_and(|before| before != mark.chain.0) {
                self.note(gone, 0, "the chain does not lead to the segment that has expired", None);
            }
            self.chain = Some(mark.chain.1);
            self.missing(gone, 0, mark.records.0);
            self.next_sequence = Some(mark.records.1);
            self.report.expired += mark.records.1.saturating_sub(mark.records.0);
        }
        self.next_segment = Some(number + 1);
    }

    /// Notes records that should stand before `found`.
    fn missing(&mut self, segment: u64, offset: u64, found: u64) {
        let from = self.next_sequence.unwrap_or(found);
        let named = found.min(from.saturating_add(NAMED));
        for missing in from..named {
            self.note(segment, offset, "the record is missing", Some(missing));
        }
        if named < found && from < found {
            let more = format!("{} more records up to {} are missing", found - named, found - 1);
            self.note(segment, offset, &more, None);
        }
    }

    fn segment(&mut self, dir: &Path, number: u64, end: u64) -> Result<(), ReadError> {
        self.report.segments += 1;
        let readable = match Readable::open(dir, number) {
            Ok(readable) => readable,
            Err(ReadError::Damaged { what, .. }) => {
                self.chain = None;
                self.note(number, 0, what, None);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let mut walker = readable.walk(0, Some(end), 0)?;
        loop {
            match walker.step()? {
                Step::Frame(seen) => self.frame(number, &seen),
                Step::Damage { from, kind, .. } => {
                    if kind.is_none_or(Kind::is_chained) {
                        self.chain = None;
                    }
                    self.bad.insert((number, from));
                    self.note(number, from, "a frame is damaged", None);
                }
                Step::End { at, dirty } => {
                    if dirty {
                        self.chain = None;
                        self.note(number, at, "the end of the segment is damaged", None);
                    }
                    return Ok(());
                }
            }
        }
    }

    fn frame(&mut self, segment: u64, seen: &Seen) {
        if let Some(found) = seen.chain {
            if self.chain.is_some_and(|before| !seen.follows(&before)) {
                let what = "the chain does not lead here: something before was changed or removed";
                self.note(segment, seen.offset, what, None);
            }
            self.chain = Some(found);
        }
        let payload_lost = seen.payload_whole == Some(false);
        if payload_lost {
            self.bad.insert((segment, seen.offset));
        }
        let mut record = None;
        match seen.kind {
            Kind::Record => match RecordHead::decode(seen.head.as_slice()) {
                Ok(head) => {
                    record = Some(head.sequence);
                    self.record(segment, seen.offset, &head);
                }
                Err(_) => self.note(segment, seen.offset, "the head of a record cannot be read", None),
            },
            Kind::Stamp => {
                if let Ok(head) = StampHead::decode(seen.head.as_slice()) {
                    self.stamp(&head);
                }
            }
            Kind::Start | Kind::Document | Kind::Body | Kind::Void | Kind::Seal | Kind::Other(_) => {}
        }
        if payload_lost {
            self.note(segment, seen.offset, "a payload is damaged", record);
        }
    }

    fn stamp(&mut self, head: &StampHead) {
        self.report.stamped += head.sequences.len() as u64;
        for sequence in &head.sequences {
            let until = self.deadlines.remove(sequence);
            self.report.late += u64::from(until.is_some_and(|until| head.stamped_at > until));
        }
    }

    fn record(&mut self, segment: u64, offset: u64, head: &RecordHead) {
        self.report.records += 1;
        if head.good_until > 0 {
            self.deadlines.insert(head.sequence, head.good_until);
        }
        self.missing(segment, offset, head.sequence);
        self.next_sequence = Some(head.sequence.saturating_add(1));
        for Extent { segment, offset, .. } in head.extents() {
            self.needs.entry((*segment, *offset)).or_default().push(head.sequence);
        }
        // Damage lies before what needs it; only the needs of damaged frames matter.
        let bad = &self.bad;
        self.needs.retain(|place, _| bad.contains(place));
    }

    fn finish(&mut self) {
        for ((segment, offset), records) in std::mem::take(&mut self.needs) {
            for record in records {
                self.note(segment, offset, "a part of the record is damaged", Some(record));
            }
        }
    }

    fn note(&mut self, segment: u64, offset: u64, what: &str, record: Option<u64>) {
        self.report.damage.push(Damage { segment, offset, what: what.to_owned(), record });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_any_width_is_told_in_bounded_memory() {
        let mut check = Check { next_sequence: Some(5), ..Check::default() };
        check.missing(1, 64, u64::MAX);
        let damage = &check.report.damage;
        assert_eq!(damage.len() as u64, NAMED + 1);
        assert_eq!(damage[0].record, Some(5));
        let last = damage.last().map(|d| d.what.as_str());
        let rest = u64::MAX - 5 - NAMED;
        assert_eq!(last, Some(format!("{rest} more records up to {} are missing", u64::MAX - 1).as_str()));
    }

    #[test]
    fn the_last_number_there_is_does_not_overflow() {
        let mut check = Check::default();
        check.record(1, 64, &RecordHead { sequence: u64::MAX, ..RecordHead::default() });
        assert_eq!(check.next_sequence, Some(u64::MAX));
        check.missing(1, 128, 7);
        assert!(check.report.damage.is_empty(), "nothing is missing before a smaller number");
    }
}
