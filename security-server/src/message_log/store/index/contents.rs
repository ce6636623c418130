//! What the index holds: the newest records in memory, the others in files and in the store.
//!
//! A store of one key for each fact about each record costs more than everything else that is done for the record. So what is new
//! gathers in memory, where it is found as well, and [`Contents::write`] writes it for many records at once: what each record has goes
//! to files of slots and to runs, the little that there is of many together to the store. Until then the segments are all there is of
//! it, which is enough ([`super`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use host::store::{Store, StoreError};
use pki::merkle::{self, Hash};

use super::by_number::ByNumber;
use super::ranges::Ranges;
use super::runs::{Entry, Merge, Run, Runs, entry, sequence_of};
use super::slots::Slots;
use super::{
    Added, Change, Commit, Facts, Gone, MARKER, Place, TREE, WITNESS, Waiting, decode_number, encode_place,
    encode_tail, id_hash, numbered,
};
use crate::message_log::store::format::{Client, StampHead};
use crate::message_log::store::recovery::Tail;

/// Segment, offset, leaf of the tree.
const PLACE_BYTES: usize = 48;
/// Leaf of the timestamp's tree, time, until when.
const WAITING_BYTES: usize = LEAF_BYTES + 16;
const LEAF_BYTES: usize = 64;
/// Ranges of waiting records in one value.
const RANGES: usize = 250;

/// The index's contents. One thread adds to them.
#[derive(Debug)]
pub(super) struct Contents {
    store: Store,
    records: Records,
    recent: Recent,
    unstamped: Ranges,
    /// Values of `w` in the store.
    range_values: usize,
    /// The point in the log up to which everything was added.
    reached: Option<Tail>,
    /// What of that the store has.
    written: Option<Tail>,
    /// What was read from the store last: records are mostly read one after the other.
    last_stamp: Option<StampRange>,
}

/// What is kept of each record, in files beside the store.
#[derive(Debug)]
pub(super) struct Records {
    places: Slots<PLACE_BYTES>,
    /// Of those that have a stamp by now as well, until their file goes.
    waiting: Slots<WAITING_BYTES>,
    runs: Runs,
}

impl Records {
    /// None; what files there are go.
    pub(super) fn empty(index_dir: &Path) -> Result<Self, StoreError> {
        let runs = Runs::empty(index_dir)?;
        let places = Slots::empty(&index_dir.join("places")).map_err(files)?;
        let waiting = Slots::empty(&index_dir.join("waiting")).map_err(files)?;
        Ok(Self { places, waiting, runs })
    }

    /// Those that the store tells of; `None` when some of that is not whole.
    pub(super) fn load(index_dir: &Path, store: &Store) -> Result<Option<Self>, StoreError> {
        let runs = Runs::load(index_dir, store, TREE)?;
        let places = Slots::load(&index_dir.join("places")).map_err(files)?;
        let waiting = Slots::load(&index_dir.join("waiting")).map_err(files)?;
        Ok((|| Some(Self { places: places?, waiting: waiting?, runs: runs? }))())
    }

    fn is_damaged(&self) -> bool {
        self.places.is_damaged() || self.waiting.is_damaged()
    }
}

/// What is not in the store yet.
#[derive(Debug, Default)]
struct Recent {
    places: ByNumber<(Place, Hash)>,
    waiting: ByNumber<Waiting>,
    /// As they came.
    ids: Vec<Entry>,
    /// Segment and record: the record lies in a later segment and has its body in this one.
    used: BTreeSet<(u64, u64)>,
    stamps: BTreeMap<u64, StampRange>,
}

/// Neighbouring records with one stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StampRange {
    first: u64,
    last: u64,
    place: Place,
    /// Place of the first in its batch.
    number: u32,
}

impl Contents {
    pub(super) fn load(store: Store, records: Records) -> Result<Self, StoreError> {
        let (mut unstamped, mut range_values) = (Ranges::default(), 0);
        for (_, value) in store.scan_prefix(TREE, b"w", usize::MAX)? {
            range_values += 1;
            for range in value.chunks_exact(16) {
                if let (Some(first), Some(last)) = (decode_number(&range[..8]), decode_number(&range[8..])) {
                    unstamped.insert(first, last);
                }
            }
        }
        Ok(Self {
            store,
            records,
            recent: Recent::default(),
            unstamped,
            range_values,
            reached: None,
            written: None,
            last_stamp: None,
        })
    }

    /// Records that are not in the store yet.
    pub(super) fn unwritten(&self) -> usize {
        self.recent.places.len()
    }

    /// Everything up to here was added.
    pub(super) fn reached(&mut self, tail: Tail) {
        self.reached = Some(tail);
    }

    /// How far the log has been written since the index was: `None` in another segment.
    pub(super) fn behind(&self, tail: &Tail) -> Option<u64> {
        let reached = self.written.as_ref().filter(|reached| reached.segment == tail.segment)?;
        Some(tail.end.saturating_sub(reached.end))
    }

    /// Forgets what is not in the store, because it cannot be written.
    pub(super) fn drop_unwritten(&mut self) {
        self.recent = Recent::default();
    }

    /// Makes durable what the store has.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }

    /// Says in the store up to where the log was durable, whether or not the rest of the index is there as well.
    pub(super) fn witness(&self, tail: &Tail) -> Result<(), StoreError> {
        self.store.put_lazily(TREE, &[(WITNESS.to_vec(), Some(encode_tail(tail)))])
    }

    /// Adds what a commit added.
    pub(super) fn add(&mut self, commit: &Commit) {
        for added in &commit.added {
            match added {
                Added::Record { place, sequence, facts, head } => {
                    self.record(*place, *sequence, facts, &commit.heads[head.clone()]);
                }
                Added::Stamp { place, head } => self.stamp(*place, head),
            }
        }
    }

    /// Adds a record; `head` is its head as it was written.
    pub(super) fn record(&mut self, place: Place, number: u64, facts: &Facts, head: &[u8]) {
        let recent = &mut self.recent;
        recent.places.insert(number, (place, merkle::leaf(head)));
        let (leaf, at, until) = (facts.signature, facts.at, facts.until);
        recent.waiting.insert(number, Waiting { sequence: number, leaf, at, until });
        recent.ids.push(entry(&facts.id, facts.response, number));
        let elsewhere = facts.bodies.iter().filter(|segment| **segment != place.segment);
        recent.used.extend(elsewhere.map(|segment| (*segment, number)));
        self.unstamped.insert(number, number);
    }

    /// Adds a stamp. Records that have one already keep it.
    pub(super) fn stamp(&mut self, place: Place, head: &StampHead) {
        let mut number = 0;
        for run in head.sequences.chunk_by(|one, next| one + 1 == *next) {
            let (Some(first), Some(last)) = (run.first().copied(), run.last().copied()) else { continue };
            for (from, to) in self.unstamped.remove(first, last) {
                let range =
                    StampRange { first: from, last: to, place, number: number + (from - first) as u32 };
                self.recent.stamps.insert(from, range);
            }
            number += run.len() as u32;
        }
    }

    /// Writes everything to the store, with the point in the log up to which it then holds.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        let written = self.write_all();
        self.drop_marker_of_damaged()?;
        written
    }

    fn write_all(&mut self) -> Result<(), StoreError> {
        self.write_records().map_err(files)?;
        let mut changes = Vec::new();
        for (segment, number) in &self.recent.used {
            changes.push((used_key(*segment, *number), Some(Vec::new())));
        }
        changes.extend(self.recent.stamps.values().map(stamp_change));
        self.recent.ids.sort_unstable();
        self.recent.ids.dedup();
        self.records.runs.add(&self.recent.ids)?;
        // What tells how far the rest has come goes last: the store keeps the order of its changes.
        self.write_unstamped(&mut changes);
        changes.push(self.records.runs.directory());
        let marker = self.reached.as_ref().map(encode_tail);
        changes.extend(
            marker
                .into_iter()
                .flat_map(|tail| [(MARKER.to_vec(), Some(tail.clone())), (WITNESS.to_vec(), Some(tail))]),
        );
        self.store.put_lazily(TREE, &changes)?;
        self.recent = Recent::default();
        self.written.clone_from(&self.reached);
        Ok(())
    }

    /// Without a marker the next start makes the index anew.
    fn drop_marker_of_damaged(&self) -> Result<(), StoreError> {
        if self.records.is_damaged() {
            self.store.put_lazily(TREE, &[(MARKER.to_vec(), None)])?;
            self.store.sync()?;
        }
        Ok(())
    }

    /// Runs of ids that are to be merged, when there are such.
    pub(super) fn merge_due(&mut self) -> Result<Option<Merge>, StoreError> {
        if !self.records.runs.is_due() {
            return Ok(None);
        }
        let lowest = self.records.places.lowest().map_err(files)?;
        Ok(self.records.runs.due(lowest))
    }

    /// Takes the outcome of a merge.
    pub(super) fn merged(&mut self, merge: &Merge, made: Option<Run>) -> Result<(), StoreError> {
        self.records.runs.replace(merge, made, &self.store, TREE)
    }

    fn write_records(&mut self) -> io::Result<()> {
        let Self { records, recent, unstamped, .. } = self;
        let places = recent.places.from(0).iter();
        records.places.write(places.map(|(number, (place, leaf))| {
            let mut slot = [0; PLACE_BYTES];
            slot[..16].copy_from_slice(&encode_place(*place));
            slot[16..].copy_from_slice(leaf);
            (*number, slot)
        }))?;
        let waiting = recent.waiting.from(0).iter().filter(|(number, _)| unstamped.contains(*number));
        records.waiting.write(waiting.map(|(number, waiting)| (*number, waiting_slot(waiting))))?;
        records.waiting.retain(|numbers| unstamped.meets(numbers))
    }

    fn write_unstamped(&mut self, changes: &mut Vec<Change>) {
        let ranges: Vec<_> = self.unstamped.iter().collect();
        let values = ranges.chunks(RANGES).map(|some| {
            some.iter().flat_map(|(first, last)| [first.to_be_bytes(), last.to_be_bytes()].concat()).collect()
        });
        let before = changes.len();
        changes.extend((0..).zip(values).map(|(number, value)| (numbered(b'w', number), Some(value))));
        let now = changes.len() - before;
        let superfluous = now as u64..self.range_values as u64;
        changes.extend(superfluous.map(|number| (numbered(b'w', number), None)));
        self.range_values = now;
    }

    /// How many records wait for a timestamp.
    pub(super) fn unstamped(&self) -> u64 {
        self.unstamped.len()
    }

    /// The first `limit` of them, in order.
    pub(super) fn waiting(&mut self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let mut found = Vec::new();
        for number in self.unstamped.iter().flat_map(|(first, last)| first..=last) {
            if found.len() == limit {
                break;
            }
            if let Some(waiting) = self.recent.waiting.get(number) {
                found.push(waiting.clone());
                continue;
            }
            let slot = self.records.waiting.get(number).map_err(files)?;
            found.extend(slot.and_then(|slot| waiting_in(&slot, number)));
        }
        Ok(found)
    }

    /// One of them.
    pub(super) fn waiting_one(&mut self, number: u64) -> Result<Option<Waiting>, StoreError> {
        if !self.unstamped.contains(number) {
            return Ok(None);
        }
        if let Some(waiting) = self.recent.waiting.get(number) {
            return Ok(Some(waiting.clone()));
        }
        let slot = self.records.waiting.get(number).map_err(files)?;
        Ok(slot.and_then(|slot| waiting_in(&slot, number)))
    }

    /// Where a record lies.
    pub(super) fn place(&mut self, number: u64) -> Result<Option<Place>, StoreError> {
        if let Some((place, _)) = self.recent.places.get(number) {
            return Ok(Some(*place));
        }
        let slot = self.records.places.get(number).map_err(files)?;
        Ok(slot.and_then(|slot| super::decode_place(&slot[..16])))
    }

    /// Leaves of at most `limit` records from number `first` on, in order.
    pub(super) fn leaves(&self, first: u64, limit: usize) -> Result<Vec<(u64, Hash)>, StoreError> {
        let written = self.records.places.from(first, limit).map_err(files)?;
        let leaf = |slot: &[u8; PLACE_BYTES]| Hash::try_from(&slot[16..]).ok();
        let mut found: BTreeMap<u64, Hash> =
            written.iter().filter_map(|(number, slot)| Some((*number, leaf(slot)?))).collect();
        let recent = self.recent.places.from(first).iter().take(limit);
        found.extend(recent.map(|(number, (_, leaf))| (*number, *leaf)));
        Ok(found.into_iter().take(limit).collect())
    }

    /// Where a record's stamp lies, and its place in the batch.
    pub(super) fn stamp_of(&mut self, number: u64) -> Result<Option<(Place, usize)>, StoreError> {
        let has = |range: &StampRange| (range.first..=range.last).contains(&number);
        let recent = || self.recent.stamps.range(..=number).next_back().map(|(_, range)| *range);
        // A record that has a stamp keeps it.
        let range = match self.last_stamp.filter(has).or_else(|| recent().filter(has)) {
            Some(range) => Some(range),
            None if self.unstamped.contains(number) => None,
            None => self.stored_stamp(number)?,
        };
        self.last_stamp = range.or(self.last_stamp);
        Ok(range.map(|range| (range.place, range.number as usize + (number - range.first) as usize)))
    }

    fn stored_stamp(&self, number: u64) -> Result<Option<StampRange>, StoreError> {
        let found = self.store.at_or_before(TREE, &numbered(b't', number))?;
        Ok(found.and_then(|(key, value)| decode_stamp(&key, &value)).filter(|range| range.last >= number))
    }

    /// Records that may have this message id and local client; at most `limit`.
    pub(super) fn by_message_id(
        &mut self,
        id: &str,
        local: &Client,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let hash = id_hash(id, &local.into());
        let mut found = self.records.runs.find(&hash, limit)?;
        // All of them are looked at: some thousands, and in no order.
        found.extend(self.recent.ids.iter().filter(|entry| entry[..16] == hash).take(limit));
        found.sort_unstable();
        found.dedup();
        let mut numbers = Vec::new();
        for number in found.iter().map(sequence_of) {
            // Runs keep records that have expired for a while.
            if numbers.len() < limit && self.place(number)?.is_some() {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }

    /// Whether a record of another segment has its body in this one.
    pub(super) fn is_used(&self, segment: u64) -> Result<bool, StoreError> {
        let recent = self.recent.used.range((segment, 0)..=(segment, u64::MAX)).next();
        Ok(recent.is_some() || !self.store.scan_prefix(TREE, &numbered(b'r', segment), 1)?.is_empty())
    }

    /// Takes records out whose segment goes, and all from the first of `numbers` to the one before the second; durable on return.
    pub(super) fn forget(&mut self, records: &[Gone], numbers: (u64, u64)) -> Result<(), StoreError> {
        let forgotten = self.forget_all(records, numbers);
        self.drop_marker_of_damaged()?;
        forgotten
    }

    fn forget_all(&mut self, records: &[Gone], (first, next): (u64, u64)) -> Result<(), StoreError> {
        self.write()?;
        self.last_stamp = None;
        let mut changes = Vec::new();
        let mut gone = Ranges::default();
        if first < next {
            gone.insert(first, next - 1);
        }
        for Gone { sequence, bodies_in } in records {
            gone.insert(*sequence, *sequence);
            changes.extend(bodies_in.iter().map(|segment| (used_key(*segment, *sequence), None)));
        }
        for (first, last) in gone.iter() {
            self.unstamped.remove(first, last);
            self.records.places.clear(first..=last).map_err(files)?;
            self.cut_stamps(first, last, &mut changes)?;
        }
        self.write_unstamped(&mut changes);
        self.store.put_lazily(TREE, &changes)?;
        self.store.sync()
    }

    fn cut_stamps(&self, first: u64, last: u64, changes: &mut Vec<Change>) -> Result<(), StoreError> {
        let mut next = Some(last);
        while let Some((key, value)) =
            next.map(|number| self.store.at_or_before(TREE, &numbered(b't', number))).transpose()?.flatten()
        {
            let Some(range) = decode_stamp(&key, &value).filter(|range| range.last >= first) else { break };
            changes.push((key, None));
            if range.first < first {
                changes.push(stamp_change(&StampRange { last: first - 1, ..range }));
            }
            if range.last > last {
                let number = range.number + (last + 1 - range.first) as u32;
                changes.push(stamp_change(&StampRange { first: last + 1, number, ..range }));
            }
            next = range.first.checked_sub(1);
        }
        Ok(())
    }
}

fn used_key(segment: u64, number: u64) -> Vec<u8> {
    [numbered(b'r', segment), number.to_be_bytes().to_vec()].concat()
}

fn stamp_change(range: &StampRange) -> Change {
    let numbers = [range.last.to_be_bytes().as_slice(), &encode_place(range.place)].concat();
    (numbered(b't', range.first), Some([numbers.as_slice(), &range.number.to_be_bytes()].concat()))
}

fn decode_stamp(key: &[u8], value: &[u8]) -> Option<StampRange> {
    let first = decode_number(key.strip_prefix(b"t")?)?;
    let (last, place) = (decode_number(value.get(..8)?)?, super::decode_place(value.get(8..24)?)?);
    Some(StampRange { first, last, place, number: u32::from_be_bytes(value.get(24..28)?.try_into().ok()?) })
}

fn waiting_slot(waiting: &Waiting) -> [u8; WAITING_BYTES] {
    let mut slot = [0; WAITING_BYTES];
    let (leaf, times) = slot.split_at_mut(LEAF_BYTES);
    leaf.copy_from_slice(&waiting.leaf);
    times[..8].copy_from_slice(&waiting.at.to_be_bytes());
    times[8..].copy_from_slice(&waiting.until.to_be_bytes());
    slot
}

fn waiting_in(slot: &[u8; WAITING_BYTES], number: u64) -> Option<Waiting> {
    let time = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
    let (leaf, times) = slot.split_at(LEAF_BYTES);
    if leaf.iter().all(|byte| *byte == 0) {
        return None;
    }
    Some(Waiting {
        sequence: number,
        leaf: leaf.try_into().ok()?,
        at: time(&times[..8])?,
        until: time(&times[8..])?,
    })
}

fn files(error: io::Error) -> StoreError {
    StoreError::Database(error.to_string())
}
