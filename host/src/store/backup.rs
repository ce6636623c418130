//! Snapshot and journal of a store: what makes a damaged database a nuisance rather than a loss.
//!
//! Both files are frames: length of the rest (4 bytes, little-endian), CRC-32C of the rest (4), then a tree's name and, once or more,
//! key and value, each with its length (4) before it; the value's length is `0xFFFF_FFFF` for a delete. Changes that are committed
//! together are one frame, so that none is there without the others. The snapshot starts with [`MAGIC`] and ends with a frame of
//! length 0 whose checksum field holds the number of frames. The journal may end in the middle of a frame: that commit was never
//! acknowledged. Damage anywhere else makes both files unusable as a source.
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Changes;
use crate::files::{self, Replacement};

const MAGIC: &[u8; 16] = b"causeway-state 1";
const DELETED: u32 = u32::MAX;
/// Below this a journal is not worth a snapshot.
const MIN_JOURNAL_BYTES: u64 = 1024 * 1024;

/// Entries by tree.
pub(super) type Contents = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Tree, key and value of an entry, as the database gives them one after the other.
pub(super) type Found = (std::sync::Arc<str>, sled::IVec, sled::IVec);

/// The two files, the journal open for appending.
#[derive(Debug)]
pub(super) struct Backup {
    dir: PathBuf,
    journal: File,
    journal_bytes: u64,
    snapshot_bytes: u64,
}

/// Why the files say nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackupError {
    /// They are there and cannot be read: not a reason to write them anew.
    #[error("{0}")]
    Unreadable(String),
    /// They were read and are not what was written.
    #[error("the {0} is damaged")]
    Damaged(&'static str),
}

impl Backup {
    /// What the files say: `None` when there is no snapshot yet.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(super) fn read(dir: &Path) -> Result<Option<Contents>, BackupError> {
        let Some(snapshot) = read_file(&dir.join(super::SNAPSHOT))? else { return Ok(None) };
        let mut contents = parse_snapshot(&snapshot).ok_or(BackupError::Damaged("snapshot"))?;
        let journal = read_file(&dir.join("journal"))?.unwrap_or_default();
        let mut rest = journal.as_slice();
        while !rest.is_empty() {
            match take_frame(rest) {
                Frame::Whole(body, after) => {
                    apply_frame(&mut contents, body).ok_or(BackupError::Damaged("journal"))?;
                    rest = after;
                }
                // The end of a file after a power cut can be zeros or anything; no whole frame may follow.
                Frame::Cut | Frame::Bad if later_frame(rest) => return Err(BackupError::Damaged("journal")),
                Frame::Cut | Frame::Bad => break,
            }
        }
        Ok(Some(contents))
    }

    /// Writes a snapshot and begins an empty journal.
    pub(super) fn start(dir: &Path, entries: impl Iterator<Item = io::Result<Found>>) -> io::Result<Self> {
        let (snapshot_bytes, journal) = write_both(dir, entries)?;
        Ok(Self { dir: dir.to_owned(), journal, journal_bytes: 0, snapshot_bytes })
    }

    /// [`Self::start`] again.
    pub(super) fn restart(&mut self, entries: impl Iterator<Item = io::Result<Found>>) -> io::Result<()> {
        *self = Self::start(&self.dir, entries)?;
        Ok(())
    }

    /// Appends changes; not yet synced.
    pub(super) fn append(&mut self, tree: &str, changes: &Changes) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        put_frame(&mut bytes, tree, changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())));
        self.journal.write_all(&bytes)?;
        self.journal_bytes += bytes.len() as u64;
        Ok(())
    }

    /// The journal has outgrown the snapshot.
    pub(super) fn is_long(&self) -> bool {
        self.journal_bytes > self.snapshot_bytes.max(MIN_JOURNAL_BYTES)
    }

    /// A descriptor of the journal, to sync without holding a lock.
    pub(super) fn file(&self) -> io::Result<File> {
        self.journal.try_clone()
    }
}

/// The old journal must go before the new snapshot is there? No: replaying it over the new snapshot changes nothing, since every
/// frame in it is a whole value and the last one of a key is what the snapshot has. So the snapshot comes first.
fn write_both(dir: &Path, entries: impl Iterator<Item = io::Result<Found>>) -> io::Result<(u64, File)> {
    let mut snapshot = BufWriter::new(Replacement::create(&dir.join(super::SNAPSHOT), 0o600)?);
    let snapshot_bytes = write_snapshot(&mut snapshot, entries)?;
    snapshot.into_inner().map_err(io::IntoInnerError::into_error)?.commit()?;
    files::write_atomic(&dir.join("journal"), &[], 0o600)?;
    let journal = OpenOptions::new().append(true).mode(0o600).open(dir.join("journal"))?;
    Ok((snapshot_bytes, journal))
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, BackupError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(BackupError::Unreadable(format!("{}: {e}", path.display()))),
    }
}

/// Writes one entry after the other; gives the number of bytes.
pub(super) fn write_snapshot(
    out: &mut impl Write,
    entries: impl Iterator<Item = io::Result<Found>>,
) -> io::Result<u64> {
    out.write_all(MAGIC)?;
    let (mut written, mut count, mut frame) = (MAGIC.len() as u64, 0_u32, Vec::new());
    for entry in entries {
        let (tree, key, value) = entry?;
        frame.clear();
        put_frame(&mut frame, &tree, [(&key[..], Some(&value[..]))]);
        out.write_all(&frame)?;
        (written, count) = (written + frame.len() as u64, count.wrapping_add(1));
    }
    out.write_all(&[0; 4])?;
    out.write_all(&count.to_le_bytes())?;
    Ok(written + 8)
}

fn parse_snapshot(bytes: &[u8]) -> Option<Contents> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut contents = Contents::new();
    let mut count = 0_u32;
    loop {
        if rest.len() == 8 && rest[..4] == [0; 4] {
            return (u32::from_le_bytes(rest[4..].try_into().ok()?) == count).then_some(contents);
        }
        let Frame::Whole(body, after) = take_frame(rest) else { return None };
        apply_frame(&mut contents, body)?;
        count = count.wrapping_add(1);
        rest = after;
    }
}

fn put_frame<'a>(
    out: &mut Vec<u8>,
    tree: &str,
    changes: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    put_part(out, tree.as_bytes());
    for (key, value) in changes {
        put_part(out, key);
        match value {
            Some(value) => put_part(out, value),
            None => out.extend_from_slice(&DELETED.to_le_bytes()),
        }
    }
    let length = (out.len() - start - 8) as u32;
    let checksum = crc32c::crc32c(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_le_bytes());
    out.extend_from_slice(part);
}

enum Frame<'a> {
    /// Its content, and what follows it.
    Whole(&'a [u8], &'a [u8]),
    /// The file ends inside it.
    Cut,
    /// The checksum does not fit.
    Bad,
}

fn take_frame(bytes: &[u8]) -> Frame<'_> {
    let (Some(length), Some(checksum)) = (number(bytes, 0), number(bytes, 4)) else { return Frame::Cut };
    let end = 8 + length as usize;
    match bytes.get(8..end) {
        Some(body) if length > 0 && crc32c::crc32c(body) == checksum => Frame::Whole(body, &bytes[end..]),
        Some(_) => Frame::Bad,
        None => Frame::Cut,
    }
}

/// Whether a whole frame lies anywhere behind the start of `bytes`.
fn later_frame(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|at| matches!(take_frame(&bytes[at..]), Frame::Whole(..)))
}

fn apply_frame(contents: &mut Contents, body: &[u8]) -> Option<()> {
    let (tree, mut rest) = take_part(body)?;
    let entries = contents.entry(String::from_utf8(tree.to_vec()).ok()?).or_default();
    while !rest.is_empty() {
        let (key, after) = take_part(rest)?;
        rest = if number(after, 0)? == DELETED {
            entries.remove(key);
            &after[4..]
        } else {
            let (value, after) = take_part(after)?;
            entries.insert(key.to_vec(), value.to_vec());
            after
        };
    }
    Some(())
}

fn take_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = number(bytes, 0)? as usize;
    bytes[4..].split_at_checked(length)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
