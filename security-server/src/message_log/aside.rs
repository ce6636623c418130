//! What was damaged in a segment that goes: its bytes are kept beside the log, as they stood there.
//!
//! A damaged record cannot be archived, and must not keep its whole segment for ever. When retention removes the segment, everything in
//! it that is not whole is copied first, together with the frames of records that could not be archived: whoever can still read something
//! out of them may try. The state of archiving ([`super::archive`]) says which records they were.
//!
//! ```text
//! <data>/log/damaged/0000000001.frames   pieces: offset in the segment and length (8 bytes each, big-endian), then the bytes;
//!                                        nothing reads them, and deleting them loses what was left of those records
//! ```
//!
//! Pieces are as long as the damage; a segment's copy is never longer than the segment.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use prost::Message;

use super::store::format::{Kind, RecordHead};
use super::store::segment::{ReadError, Readable, Step};

/// Read at once.
const CHUNK_BYTES: u64 = 1 << 20;

pub(super) fn dir_of(log_dir: &Path) -> PathBuf {
    log_dir.join("damaged")
}

/// Keeps what is damaged in a segment, and the frames of `records` in it; how many pieces. Durable on return. Blocks.
///
/// # Errors
/// The disk.
pub(super) fn keep(log_dir: &Path, segment: u64, records: &BTreeSet<u64>) -> Result<usize, ReadError> {
    let readable = Readable::open(log_dir, segment)?;
    let pieces = pieces(&readable, records)?;
    if !pieces.is_empty() {
        write(log_dir, &readable, &pieces).map_err(|source| ReadError::Io { segment, source })?;
    }
    Ok(pieces.len())
}

/// Where they begin and end.
fn pieces(readable: &Readable, records: &BTreeSet<u64>) -> Result<BTreeMap<u64, u64>, ReadError> {
    let mut pieces = BTreeMap::new();
    let mut walker = readable.walk(0, None, 0)?;
    loop {
        match walker.step()? {
            Step::Damage { from, .. } => {
                pieces.insert(from, walker.at());
            }
            Step::Frame(seen) => {
                let may_be_wanted = seen.kind == Kind::Record && !records.is_empty();
                let record = may_be_wanted.then(|| RecordHead::decode(seen.head.as_slice()).ok());
                let wanted = record.flatten().filter(|head| records.contains(&head.sequence));
                if seen.payload_whole == Some(false) || wanted.is_some() {
                    pieces.insert(seen.offset, walker.at());
                }
                let own = wanted.iter().flat_map(RecordHead::extents);
                for extent in own.filter(|extent| extent.segment == readable.number) {
                    let mut at = readable.walk(extent.offset, None, u64::MAX)?;
                    at.step()?;
                    pieces.insert(extent.offset, at.at());
                }
            }
            Step::End { at, dirty } => {
                if dirty {
                    pieces.insert(at, readable.length()?);
                }
                return Ok(pieces);
            }
        }
    }
}

fn write(log_dir: &Path, readable: &Readable, pieces: &BTreeMap<u64, u64>) -> io::Result<()> {
    let dir = dir_of(log_dir);
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{:010}.frames", readable.number));
    let mut options = File::options();
    // What a crash left of it is made anew.
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    for (from, to) in pieces {
        out.write_all(&from.to_be_bytes())?;
        out.write_all(&(to - from).to_be_bytes())?;
        for at in (*from..*to).step_by(CHUNK_BYTES as usize) {
            let mut chunk = vec![0; (to - at).min(CHUNK_BYTES) as usize];
            readable.bytes(&mut chunk, at).map_err(io::Error::other)?;
            out.write_all(&chunk)?;
        }
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    host::files::sync_dir(&dir)?;
    host::files::sync_dir(log_dir)
}
