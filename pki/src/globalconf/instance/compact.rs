//! Many short texts and the rows that name them, without an allocation for each.
//!
//! A registry of a hundred thousand members has a million names and codes. They stand in one text ([`Texts`]), rows hold their places,
//! and an [`Index`] finds rows by the hash of their keys and holds no keys of its own. All positions are 32 bits wide: documents are
//! bounded far below that.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// Most different texts that are remembered while a document is read, so that what is repeated is kept once.
const REMEMBERED: usize = 4096;
/// Longest text that is remembered.
const REMEMBERED_BYTES: usize = 64;

/// A place in [`Texts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    start: u32,
    bytes: u32,
}

impl Text {
    /// No text, which is another thing than an empty one.
    pub(super) const NONE: Self = Self { start: u32::MAX, bytes: 0 };
}

/// All texts of an instance, one after the other.
#[derive(Debug, Default)]
pub(super) struct Texts {
    all: String,
}

impl Texts {
    /// What stands there; nothing for [`Text::NONE`].
    pub(super) fn get(&self, text: Text) -> Option<&str> {
        (text != Text::NONE).then(|| &self.all[index(text.start)..index(text.start + text.bytes)])
    }

    /// A text that every row has.
    pub(super) fn known(&self, text: Text) -> &str {
        self.get(text).unwrap_or_default()
    }

    /// Memory that it holds.
    pub(super) fn heap_bytes(&self) -> usize {
        self.all.capacity()
    }
}

/// Texts while they are collected.
#[derive(Debug, Default)]
pub(super) struct Collector {
    texts: Texts,
    /// Classes, and codes and names of subsystems, are the same ones again and again.
    repeated: HashMap<Box<str>, Text>,
}

impl Collector {
    /// Keeps a text that few others are the same as.
    pub(super) fn once(&mut self, text: &str) -> Text {
        let start = row(self.texts.all.len());
        self.texts.all.push_str(text);
        Text { start, bytes: row(text.len()) }
    }

    /// Keeps a text that many others may be the same as.
    pub(super) fn often(&mut self, text: &str) -> Text {
        if let Some(there) = self.repeated.get(text) {
            return *there;
        }
        let place = self.once(text);
        if self.repeated.len() < REMEMBERED && text.len() <= REMEMBERED_BYTES {
            self.repeated.insert(text.into(), place);
        }
        place
    }

    /// What was collected until now.
    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// All of it, without room to grow.
    pub(super) fn finish(mut self) -> Texts {
        self.texts.all.shrink_to_fit();
        self.texts
    }
}

/// Row numbers by hash of their keys. The keys stay in the rows, so whoever asks says how to compare.
#[derive(Debug, Default)]
pub(super) struct Index {
    hasher: RandomState,
    rows: HashTable<u32>,
}

impl Index {
    /// An empty one that takes so many rows without growing.
    pub(super) fn with_room_for(rows: usize) -> Self {
        Self { hasher: RandomState::new(), rows: HashTable::with_capacity(rows) }
    }

    /// The row whose key is `key`, as `is_it` says.
    pub(super) fn find(&self, key: impl Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.rows.find(self.hasher.hash_one(key), |row| is_it(*row)).copied()
    }

    /// Notes `row` under `key`, which `key_of` gives for every row; unless a row with that key is there, which is then returned.
    pub(super) fn insert<K: Hash + Eq>(&mut self, row: u32, key_of: impl Fn(u32) -> K) -> Option<u32> {
        let key = key_of(row);
        let hash = self.hasher.hash_one(&key);
        let Self { hasher, rows } = self;
        if let Some(there) = rows.find(hash, |there| key_of(*there) == key) {
            return Some(*there);
        }
        rows.insert_unique(hash, row, |row| hasher.hash_one(key_of(*row)));
        None
    }

    /// As [`Self::insert`], and takes the place of the row that is there.
    pub(super) fn replace<K: Hash + Eq>(&mut self, row: u32, key_of: impl Fn(u32) -> K) {
        let key = key_of(row);
        let hash = self.hasher.hash_one(&key);
        let Self { hasher, rows } = self;
        match rows.find_mut(hash, |there| key_of(*there) == key) {
            Some(there) => *there = row,
            None => {
                rows.insert_unique(hash, row, |row| hasher.hash_one(key_of(*row)));
            }
        }
    }

    /// Memory that it holds: a row number and a byte for each place.
    pub(super) fn heap_bytes(&self) -> usize {
        // The table is filled to seven eighths at most.
        self.rows.capacity() * 8 / 7 * (size_of::<u32>() + 1)
    }
}

/// A position as a row number: documents are bounded far below its range.
pub(super) fn row(position: usize) -> u32 {
    u32::try_from(position).expect("a document has fewer than 2^32 bytes")
}

/// A row number as a position.
pub(super) fn index(row: u32) -> usize {
    usize::try_from(row).expect("a usize has at least 32 bits here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_whole_and_repeated_ones_once() {
        let mut collector = Collector::default();
        let (one, gov) = (collector.once("jäär"), collector.often("GOV"));
        let (empty, again) = (collector.once(""), collector.often("GOV"));
        assert_eq!(gov, again);
        for number in 0..2 * REMEMBERED {
            collector.often(&format!("code {number}"));
        }
        assert_eq!(collector.repeated.len(), REMEMBERED);
        let late = collector.often("no longer remembered");
        let texts = collector.finish();
        let found = [one, gov, empty, late].map(|text| texts.get(text));
        assert_eq!(found, [Some("jäär"), Some("GOV"), Some(""), Some("no longer remembered")]);
        assert_eq!(texts.get(Text::NONE), None);
    }

    #[test]
    fn rows_are_found_by_keys_that_stay_in_the_rows() {
        let keys: Vec<String> = (0..5_000_u32).map(|number| format!("{}", number % 4_000)).collect();
        let key_of = |row: u32| keys[index(row)].as_str();
        let (mut first, mut last) = (Index::default(), Index::default());
        for number in 0..5_000 {
            let there = first.insert(number, key_of);
            assert_eq!(there, (number >= 4_000).then(|| number - 4_000), "{number}");
            last.replace(number, key_of);
        }
        for (key, at_first, at_last) in
            [("0", Some(0), Some(4_000)), ("999", Some(999), Some(4_999)), ("4000", None, None)]
        {
            assert_eq!(first.find(key, |row| key_of(row) == key), at_first);
            assert_eq!(last.find(key, |row| key_of(row) == key), at_last);
        }
    }
}
