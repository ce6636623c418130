//! What the index holds: the newest records in memory, the others in the store, many to a value.
//!
//! A store of one key for each fact about each record costs more than everything else that is done for the record. So what is new
//! gathers in memory, where it is found as well, and [`Contents::write`] puts it into the store for many records at once; until then
//! the segments are all there is of it, which is enough ([`super`]).

use std::collections::{BTreeMap, BTreeSet};

use host::store::{Store, StoreError};
use pki::merkle::{self, Hash};

use super::by_number::ByNumber;
use super::ranges::Ranges;
use super::runs::{Entry, Merge, Run, Runs, entry, sequence_of};
use super::{
    Added, Change, Commit, Facts, Gone, MARKER, Place, TREE, WITNESS, Waiting, decode_number, encode_place,
    encode_tail, id_hash, numbered,
};
use crate::message_log::store::format::{Client, StampHead};
use crate::message_log::store::recovery::Tail;

/// Records in one value, whether of places or of what waits: a few KB, since the store reads and writes some sixteen values as one page.
const BLOCK: u64 = 64;
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
    recent: Recent,
    unstamped: Ranges,
    runs: Runs,
    /// Values of `w` in the store.
    range_values: usize,
    /// The point in the log up to which everything was added.
    reached: Option<Tail>,
    /// What of that the store has.
    written: Option<Tail>,
    /// What was read from the store last: records are mostly read one after the other.
    last_places: Option<(u64, Vec<u8>)>,
    last_stamp: Option<StampRange>,
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
    /// Blocks of records that may all be stamped by now.
    stamped_blocks: BTreeSet<u64>,
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
    pub(super) fn load(store: Store, runs: Runs) -> Result<Self, StoreError> {
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
            recent: Recent::default(),
            unstamped,
            runs,
            range_values,
            reached: None,
            written: None,
            last_places: None,
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
                self.recent.stamped_blocks.extend(from / BLOCK..=to / BLOCK);
            }
            number += run.len() as u32;
        }
    }

    /// Writes everything to the store, with the point in the log up to which it then holds.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        self.write_places(&mut changes)?;
        self.write_waiting(&mut changes)?;
        let mut recent = std::mem::take(&mut self.recent);
        for (segment, number) in &recent.used {
            changes.push((used_key(*segment, *number), Some(Vec::new())));
        }
        changes.extend(recent.stamps.values().map(stamp_change));
        self.last_places = None;
        recent.ids.sort_unstable();
        recent.ids.dedup();
        self.runs.add(&recent.ids)?;
        // What tells how far the rest has come goes last: the store keeps the order of its changes.
        self.write_unstamped(&mut changes);
        changes.push(self.runs.directory());
        let marker = self.reached.as_ref().map(encode_tail);
        changes.extend(
            marker
                .into_iter()
                .flat_map(|tail| [(MARKER.to_vec(), Some(tail.clone())), (WITNESS.to_vec(), Some(tail))]),
        );
        self.store.put_lazily(TREE, &changes)?;
        self.written.clone_from(&self.reached);
        Ok(())
    }

    /// Runs of ids that are to be merged, when there are such.
    pub(super) fn merge_due(&mut self) -> Result<Option<Merge>, StoreError> {
        if !self.runs.is_due() {
            return Ok(None);
        }
        let lowest = self.lowest()?;
        Ok(self.runs.due(lowest))
    }

    /// Takes the outcome of a merge.
    pub(super) fn merged(&mut self, merge: &Merge, made: Option<Run>) -> Result<(), StoreError> {
        self.runs.replace(merge, made, &self.store, TREE)
    }

    fn write_places(&self, changes: &mut Vec<Change>) -> Result<(), StoreError> {
        let records = self.recent.places.from(0);
        for of_block in records.chunk_by(|(one, _), (next, _)| one / BLOCK == next / BLOCK) {
            let Some((first, _)) = of_block.first() else { continue };
            let key = numbered(b's', *first / BLOCK);
            let mut value = self.store.get(TREE, &key)?.unwrap_or_default();
            for (number, (place, leaf)) in of_block {
                let slot = slot(&mut value, *number, PLACE_BYTES);
                slot[..16].copy_from_slice(&encode_place(*place));
                slot[16..].copy_from_slice(leaf);
            }
            changes.push((key, Some(value)));
        }
        Ok(())
    }

    fn write_waiting(&self, changes: &mut Vec<Change>) -> Result<(), StoreError> {
        let records = self.recent.waiting.from(0);
        let mut written = BTreeSet::new();
        for of_block in records.chunk_by(|(one, _), (next, _)| one / BLOCK == next / BLOCK) {
            let Some(block) = of_block.first().map(|(number, _)| number / BLOCK) else { continue };
            if !self.unstamped.meets(block * BLOCK..=block * BLOCK + BLOCK - 1) {
                continue;
            }
            let key = numbered(b'u', block);
            let mut value = self.store.get(TREE, &key)?.unwrap_or_default();
            for (number, waiting) in of_block {
                let slot = slot(&mut value, *number, WAITING_BYTES);
                let (leaf, times) = slot.split_at_mut(LEAF_BYTES);
                leaf.copy_from_slice(&waiting.leaf);
                times[..8].copy_from_slice(&waiting.at.to_be_bytes());
                times[8..].copy_from_slice(&waiting.until.to_be_bytes());
            }
            written.insert(block);
            changes.push((key, Some(value)));
        }
        for block in self.recent.stamped_blocks.difference(&written) {
            if !self.unstamped.meets(block * BLOCK..=block * BLOCK + BLOCK - 1) {
                changes.push((numbered(b'u', *block), None));
            }
        }
        Ok(())
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

    /// The first record there still is.
    fn lowest(&self) -> Result<u64, StoreError> {
        let first = self.store.scan_prefix(TREE, b"s", 1)?.pop();
        Ok(first.and_then(|(key, _)| decode_number(&key[1..])).map_or(0, |block| block * BLOCK))
    }

    /// How many records wait for a timestamp.
    pub(super) fn unstamped(&self) -> u64 {
        self.unstamped.len()
    }

    /// The first `limit` of them, in order.
    pub(super) fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let mut found = Vec::new();
        let mut block: Option<(u64, Vec<u8>)> = None;
        for number in self.unstamped.iter().flat_map(|(first, last)| first..=last) {
            if found.len() == limit {
                break;
            }
            if let Some(waiting) = self.recent.waiting.get(number) {
                found.push(waiting.clone());
                continue;
            }
            if block.as_ref().is_none_or(|(loaded, _)| *loaded != number / BLOCK) {
                let value = self.store.get(TREE, &numbered(b'u', number / BLOCK))?;
                block = Some((number / BLOCK, value.unwrap_or_default()));
            }
            found.extend(block.as_ref().and_then(|(_, value)| waiting_in(value, number)));
        }
        Ok(found)
    }

    /// One of them.
    pub(super) fn waiting_one(&self, number: u64) -> Result<Option<Waiting>, StoreError> {
        if !self.unstamped.contains(number) {
            return Ok(None);
        }
        if let Some(waiting) = self.recent.waiting.get(number) {
            return Ok(Some(waiting.clone()));
        }
        let value = self.store.get(TREE, &numbered(b'u', number / BLOCK))?;
        Ok(value.and_then(|value| waiting_in(&value, number)))
    }

    /// Where a record lies.
    pub(super) fn place(&mut self, number: u64) -> Result<Option<Place>, StoreError> {
        if let Some((place, _)) = self.recent.places.get(number) {
            return Ok(Some(*place));
        }
        let block = number / BLOCK;
        if self.last_places.as_ref().is_none_or(|(read, _)| *read != block) {
            self.last_places = self.store.get(TREE, &numbered(b's', block))?.map(|value| (block, value));
        }
        let read = self.last_places.as_ref().filter(|(read, _)| *read == block);
        Ok(read.and_then(|(_, value)| place_in(value, number)).map(|(place, _)| place))
    }

    /// Leaves of at most `limit` records from number `first` on, in order.
    pub(super) fn leaves(&self, first: u64, limit: usize) -> Result<Vec<(u64, Hash)>, StoreError> {
        // A block that is not full, at each end.
        let blocks = limit / BLOCK as usize + 2;
        let mut found = BTreeMap::new();
        for (key, value) in self.store.scan_from(TREE, &numbered(b's', first / BLOCK), blocks)? {
            let Some(block) = key.strip_prefix(b"s").and_then(decode_number) else { break };
            let numbers = block * BLOCK..(block + 1) * BLOCK;
            found.extend(numbers.filter_map(|number| Some((number, place_in(&value, number)?.1))));
        }
        let recent = self.recent.places.from(first).iter().take(limit);
        found.extend(recent.map(|(number, (_, leaf))| (*number, *leaf)));
        Ok(found.range(first..).take(limit).map(|(number, leaf)| (*number, *leaf)).collect())
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
        let mut found = self.runs.find(&hash, limit)?;
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
    pub(super) fn forget(&mut self, records: &[Gone], (first, next): (u64, u64)) -> Result<(), StoreError> {
        self.write()?;
        (self.last_places, self.last_stamp) = (None, None);
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
            for (letter, size) in [(b's', PLACE_BYTES), (b'u', WAITING_BYTES)] {
                self.clear_blocks(letter, size, first, last, &mut changes)?;
            }
            self.cut_stamps(first, last, &mut changes)?;
        }
        self.write_unstamped(&mut changes);
        self.store.put_lazily(TREE, &changes)?;
        self.store.sync()
    }

    fn clear_blocks(
        &self,
        letter: u8,
        size: usize,
        first: u64,
        last: u64,
        changes: &mut Vec<Change>,
    ) -> Result<(), StoreError> {
        for block in first / BLOCK..=last / BLOCK {
            let key = numbered(letter, block);
            let Some(mut value) = self.store.get(TREE, &key)? else { continue };
            let (from, to) = (first.max(block * BLOCK), last.min(block * BLOCK + BLOCK - 1));
            let (start, end) = (at(from, size).min(value.len()), (at(to, size) + size).min(value.len()));
            value[start..end].fill(0);
            let left = value.iter().any(|byte| *byte != 0);
            // An earlier range of this call may have changed the block as well.
            changes.push((key, left.then_some(value)));
            self.store.put_lazily(TREE, &std::mem::take(changes))?;
        }
        Ok(())
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

/// Where a record's bytes stand in its block.
fn at(number: u64, size: usize) -> usize {
    (number % BLOCK) as usize * size
}

/// The same for writing, in a block that is long enough then.
fn slot(block: &mut Vec<u8>, number: u64, size: usize) -> &mut [u8] {
    let start = at(number, size);
    block.resize(block.len().max(start + size), 0);
    &mut block[start..start + size]
}

fn place_in(block: &[u8], number: u64) -> Option<(Place, Hash)> {
    let bytes = block.get(at(number, PLACE_BYTES)..)?.get(..PLACE_BYTES)?;
    let place = super::decode_place(&bytes[..16])?;
    // Segments are numbered from 1.
    (place.segment > 0).then_some((place, bytes[16..].try_into().ok()?))
}

fn waiting_in(block: &[u8], number: u64) -> Option<Waiting> {
    let bytes = block.get(at(number, WAITING_BYTES)..)?.get(..WAITING_BYTES)?;
    let time = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
    let (leaf, times) = bytes.split_at(LEAF_BYTES);
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
