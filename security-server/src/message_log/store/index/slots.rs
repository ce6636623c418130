//! Numbered files of slots of one size: what is kept of every record, found by its number.
//!
//! A record's slot lies where its number says. So nothing of this is in memory however long the log is: a lookup reads one block, and
//! the kernel keeps what is read often.
//!
//! ```text
//! NUMBER.slots   up to 4096 blocks of 4 KB: slots, zeros, CRC-32C
//! ```
//!
//! A slot of zeros holds nothing, and so does a block of zeros. What is written is on the disk before the marker that says how far the
//! index has come, and before the next file is begun. So a block that a power cut left half written is mostly in the last file, to which
//! records are added, or in the first, from which they go: [`Slots::load`] reads both. One anywhere else is noticed when it is read
//! ([`Slots::is_damaged`]), and the next start makes the index anew.
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 4096;
const CRC_BYTES: usize = 4;
/// Blocks of one file, which has 16 MiB then.
const BLOCKS: u64 = 4096;
const ENDING: &str = "slots";

type Block = [u8; BLOCK_BYTES];

/// All of one kind.
#[derive(Debug)]
pub(super) struct Slots<const BYTES: usize> {
    dir: PathBuf,
    files: BTreeMap<u64, File>,
    /// What was read last: records are mostly read one after the other.
    last: Option<(u64, Box<Block>)>,
    damaged: Cell<bool>,
}

impl<const BYTES: usize> Slots<BYTES> {
    const PER_BLOCK: u64 = ((BLOCK_BYTES - CRC_BYTES) / BYTES) as u64;
    const PER_FILE: u64 = Self::PER_BLOCK * BLOCKS;

    /// Without a slot; what files there are go.
    pub(super) fn empty(dir: &Path) -> io::Result<Self> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(dir)?,
        }
        Ok(Self { dir: dir.to_owned(), files: BTreeMap::new(), last: None, damaged: Cell::default() })
    }

    /// Those of the folder; `None` when they are not whole.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Self>> {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(number) = number.filter(|_| path.extension().is_some_and(|ending| ending == ENDING)) {
                files.insert(number, File::options().read(true).write(true).open(&path)?);
            }
        }
        let this = Self { dir: dir.to_owned(), files, last: None, damaged: Cell::default() };
        let ends: BTreeSet<_> = this
            .files
            .first_key_value()
            .into_iter()
            .chain(this.files.last_key_value())
            .map(|(n, _)| *n)
            .collect();
        for number in ends {
            if let Err(error) = this.blocks_of(number)?.try_for_each(|block| this.read(block).map(drop)) {
                tracing::warn!(%error, "the index of the message log is not whole and is made anew");
                return Ok(None);
            }
        }
        Ok(Some(this))
    }

    /// A block was found that is not as it was written.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.get()
    }

    /// Fills slots, in ascending order; on the disk on return. Zeros are no value.
    pub(super) fn write(&mut self, values: impl Iterator<Item = (u64, [u8; BYTES])>) -> io::Result<()> {
        self.last = None;
        let mut written = None;
        let mut values = values.peekable();
        while let Some((first, _)) = values.peek() {
            let block = first / Self::PER_BLOCK;
            if let Some(before) = written.replace(block / BLOCKS).filter(|before| *before != block / BLOCKS) {
                self.files[&before].sync_data()?;
            }
            let mut bytes = self.read(block)?;
            while let Some((number, value)) = values.next_if(|(number, _)| number / Self::PER_BLOCK == block)
            {
                bytes[Self::at(number)..][..BYTES].copy_from_slice(&value);
            }
            self.put(block, bytes)?;
        }
        written.map_or(Ok(()), |last| self.files[&last].sync_data())
    }

    /// A record's slot.
    pub(super) fn get(&mut self, number: u64) -> io::Result<Option<[u8; BYTES]>> {
        let block = number / Self::PER_BLOCK;
        if self.last.as_ref().is_none_or(|(read, _)| *read != block) {
            self.last = Some((block, self.read(block)?));
        }
        Ok(self.last.as_ref().and_then(|(_, bytes)| Self::slot(bytes, number)))
    }

    /// The first `limit` slots of records from number `first` on.
    pub(super) fn from(&self, first: u64, limit: usize) -> io::Result<Vec<(u64, [u8; BYTES])>> {
        let mut found = Vec::new();
        for file in self.files.range(first / Self::PER_FILE..).map(|(number, _)| *number) {
            for block in self.blocks_of(file)?.skip_while(|block| *block < first / Self::PER_BLOCK) {
                let bytes = self.read(block)?;
                let numbers = Self::numbers(block, Self::PER_BLOCK).skip_while(|number| *number < first);
                found.extend(numbers.filter_map(|number| Some((number, Self::slot(&bytes, number)?))));
                if found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// No record with a slot has a lower number.
    pub(super) fn lowest(&self) -> io::Result<u64> {
        Ok(self.from(0, 1)?.first().map_or(0, |(number, _)| *number))
    }

    /// Empties slots; files that hold nothing any more go. On the disk on return.
    pub(super) fn clear(&mut self, numbers: RangeInclusive<u64>) -> io::Result<()> {
        self.last = None;
        let files: Vec<u64> = self
            .files
            .range(numbers.start() / Self::PER_FILE..=numbers.end() / Self::PER_FILE)
            .map(|(number, _)| *number)
            .collect();
        let before = self.files.len();
        for file in files {
            let of_file = Self::numbers(file, Self::PER_FILE);
            if numbers.contains(of_file.start()) && numbers.contains(of_file.end()) {
                self.remove(file)?;
                continue;
            }
            self.clear_in(file, &numbers)?;
            let is_newest = self.files.last_key_value().is_some_and(|(newest, _)| *newest == file);
            if !is_newest && self.is_empty(file)? {
                self.remove(file)?;
            }
        }
        if self.files.len() < before { host::files::sync_dir(&self.dir) } else { Ok(()) }
    }

    fn clear_in(&self, file: u64, numbers: &RangeInclusive<u64>) -> io::Result<()> {
        let (first, last) = (numbers.start() / Self::PER_BLOCK, numbers.end() / Self::PER_BLOCK);
        for block in
            self.blocks_of(file)?.skip_while(|block| *block < first).take_while(|block| *block <= last)
        {
            let mut bytes = self.read(block)?;
            for number in Self::numbers(block, Self::PER_BLOCK) {
                if numbers.contains(&number) {
                    bytes[Self::at(number)..][..BYTES].fill(0);
                }
            }
            self.write_block(&self.files[&file], block, bytes)?;
        }
        self.files[&file].sync_data()
    }

    /// Removes files of whose records none is `wanted`; the newest stays.
    pub(super) fn retain(&mut self, wanted: impl Fn(RangeInclusive<u64>) -> bool) -> io::Result<()> {
        let mut files: Vec<u64> = self.files.keys().copied().collect();
        files.pop();
        for file in files {
            if !wanted(Self::numbers(file, Self::PER_FILE)) {
                self.remove(file)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, file: u64) -> io::Result<()> {
        self.last = None;
        self.files.remove(&file);
        std::fs::remove_file(self.path_of(file))
    }

    fn is_empty(&self, file: u64) -> io::Result<bool> {
        for block in self.blocks_of(file)? {
            if self.read(block)?.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Blocks that a file has, the last one perhaps not whole.
    fn blocks_of(&self, file: u64) -> io::Result<std::ops::Range<u64>> {
        let first = file * BLOCKS;
        Ok(first..first + self.files[&file].metadata()?.len().div_ceil(BLOCK_BYTES as u64).min(BLOCKS))
    }

    /// A block as it is on the disk; zeros where there is none.
    fn read(&self, block: u64) -> io::Result<Box<Block>> {
        let mut bytes = Box::new([0; BLOCK_BYTES]);
        let Some(file) = self.files.get(&(block / BLOCKS)) else { return Ok(bytes) };
        let (start, mut filled) = (block % BLOCKS * BLOCK_BYTES as u64, 0);
        while filled < BLOCK_BYTES {
            match file.read_at(&mut bytes[filled..], start + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        let (content, crc) = bytes.split_at(BLOCK_BYTES - CRC_BYTES);
        if crc32c::crc32c(content).to_be_bytes() == crc || bytes.iter().all(|byte| *byte == 0) {
            return Ok(bytes);
        }
        self.damaged.set(true);
        let (path, block) = (self.path_of(block / BLOCKS), block % BLOCKS);
        Err(io::Error::other(format!(
            "block {block} of {} is damaged: the next start makes the index anew",
            path.display()
        )))
    }

    fn put(&mut self, block: u64, bytes: Box<Block>) -> io::Result<()> {
        let number = block / BLOCKS;
        if !self.files.contains_key(&number) {
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
            self.files.insert(number, options.open(self.path_of(number))?);
            host::files::sync_dir(&self.dir)?;
        }
        self.write_block(&self.files[&number], block, bytes)
    }

    fn write_block(&self, file: &File, block: u64, mut bytes: Box<Block>) -> io::Result<()> {
        let (content, crc) = bytes.split_at_mut(BLOCK_BYTES - CRC_BYTES);
        let holds_something = content.iter().any(|byte| *byte != 0);
        crc.copy_from_slice(&if holds_something { crc32c::crc32c(content) } else { 0 }.to_be_bytes());
        file.write_all_at(&bytes[..], block % BLOCKS * BLOCK_BYTES as u64)
    }

    fn path_of(&self, file: u64) -> PathBuf {
        self.dir.join(format!("{file:010}.{ENDING}"))
    }

    /// Numbers of the records of a block or of a file, which has so many.
    fn numbers(place: u64, size: u64) -> RangeInclusive<u64> {
        let first = place.saturating_mul(size);
        first..=first.saturating_add(size - 1)
    }

    /// Where a record's slot stands in its block.
    fn at(number: u64) -> usize {
        (number % Self::PER_BLOCK) as usize * BYTES
    }

    fn slot(block: &Block, number: u64) -> Option<[u8; BYTES]> {
        let slot: [u8; BYTES] = block[Self::at(number)..][..BYTES].try_into().ok()?;
        slot.iter().any(|byte| *byte != 0).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Few = Slots<1000>;
    const PER_FILE: u64 = Few::PER_FILE;

    fn value(number: u64) -> [u8; 1000] {
        let mut value = [1; 1000];
        value[..8].copy_from_slice(&number.to_be_bytes());
        value
    }

    fn write(slots: &mut Few, numbers: impl IntoIterator<Item = u64>) {
        slots.write(numbers.into_iter().map(|number| (number, value(number)))).expect("written");
    }

    fn numbers(slots: &Few, first: u64, limit: usize) -> Vec<u64> {
        let found = slots.from(first, limit).expect("read");
        assert!(found.iter().all(|(number, found)| *found == value(*number)));
        found.into_iter().map(|(number, _)| number).collect()
    }

    fn files(slots: &Few) -> usize {
        std::fs::read_dir(&slots.dir).expect("a folder").count()
    }

    #[test]
    fn slots_are_found_by_their_numbers_over_restarts() {
        let dir = tempfile::tempdir().expect("a folder");
        let far = 3 * PER_FILE + 5;
        let mut slots = Few::empty(dir.path()).expect("made");
        write(&mut slots, [1, 2, 3, 9, PER_FILE - 1, PER_FILE]);
        assert_eq!(slots.get(4).expect("read"), None);
        write(&mut slots, [4, far]);
        assert_eq!(slots.get(4).expect("read"), Some(value(4)), "what was read before is not what there is");
        for _ in 0..2 {
            assert_eq!(numbers(&slots, 0, 100), [1, 2, 3, 4, 9, PER_FILE - 1, PER_FILE, far]);
            assert_eq!(numbers(&slots, 3, 2), [3, 4]);
            assert_eq!(numbers(&slots, 10, 1), [PER_FILE - 1]);
            assert_eq!(slots.lowest().expect("read"), 1);
            assert_eq!((slots.get(9).expect("read"), slots.get(10).expect("read")), (Some(value(9)), None));
            assert_eq!(slots.get(2 * PER_FILE).expect("read"), None);
            slots = Few::load(dir.path()).expect("read").expect("whole");
        }
    }

    #[test]
    fn a_file_goes_with_its_last_record() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut slots = Few::empty(dir.path()).expect("made");
        write(&mut slots, (1..20).chain(PER_FILE..PER_FILE + 5).chain([2 * PER_FILE, 3 * PER_FILE]));
        assert_eq!(files(&slots), 4);
        assert_eq!(slots.get(12).expect("read"), Some(value(12)));
        slots.clear(1..=12).expect("cleared");
        assert_eq!(slots.get(12).expect("read"), None);
        assert_eq!((files(&slots), slots.lowest().expect("read")), (4, 13));
        slots.clear(13..=PER_FILE + 1).expect("cleared");
        assert_eq!((files(&slots), slots.lowest().expect("read")), (3, PER_FILE + 2));
        slots.clear(PER_FILE..=3 * PER_FILE).expect("cleared");
        assert_eq!((files(&slots), numbers(&slots, 0, 9)), (1, vec![]), "the newest stays");
        write(&mut slots, [3 * PER_FILE + 1, 4 * PER_FILE, 5 * PER_FILE]);
        slots.retain(|numbers| numbers.contains(&(4 * PER_FILE))).expect("removed");
        assert_eq!(numbers(&slots, 0, 9), [4 * PER_FILE, 5 * PER_FILE]);
    }

    #[test]
    fn damage_is_never_taken_for_content() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut slots = Few::empty(dir.path()).expect("made");
        write(&mut slots, [1, 6, PER_FILE, 2 * PER_FILE]);
        let damage = |file: u64| {
            let path = slots.path_of(file);
            let mut bytes = std::fs::read(&path).expect("read");
            bytes[500] ^= 1;
            std::fs::write(path, bytes).expect("written");
        };
        damage(1);
        let mut loaded = Few::load(dir.path()).expect("read").expect("its ends are whole");
        assert!(!loaded.is_damaged() && loaded.get(PER_FILE).is_err() && loaded.is_damaged());
        assert_eq!(loaded.get(6).expect("read"), Some(value(6)));
        for file in [0, 2] {
            damage(file);
            assert!(Few::load(dir.path()).expect("read").is_none(), "{file}");
            damage(file);
        }
        // A crash while the last block was written.
        let path = slots.path_of(2);
        File::options().write(true).open(&path).expect("opened").set_len(100).expect("cut");
        assert!(Few::load(dir.path()).expect("read").is_none());
        std::fs::remove_dir_all(dir.path()).expect("removed");
        assert!(Few::load(dir.path()).expect("read").is_none());
    }
}
