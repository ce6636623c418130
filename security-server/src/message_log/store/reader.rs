//! Frames by place. A few segments stay open; everything here blocks, so not on an async worker.
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::format::{Extent, Kind};
use super::index::Place;
use super::segment::{Frame, ReadError, Readable};
use super::writer::lock;
use crate::message_log::crypt::Keys;
use crate::message_log::record::StampFrame;

/// Segments kept open.
const MAX_OPEN: usize = 32;

/// Reads frames of any segment.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    pub(crate) keys: Arc<Keys>,
    /// The one used last stands first.
    open: Mutex<VecDeque<Arc<Readable>>>,
    /// Stamps of batches, each with its tree, as long as records are read in order.
    pub(crate) stamps: Mutex<VecDeque<(Place, Arc<StampFrame>)>>,
}

impl Reader {
    pub(crate) fn new(dir: &Path, keys: Arc<Keys>) -> Self {
        Self { dir: dir.to_owned(), keys, open: Mutex::default(), stamps: Mutex::default() }
    }

    /// The frame of this kind at a place.
    pub(crate) fn frame(&self, segment: u64, offset: u64, kind: Kind) -> Result<Frame, ReadError> {
        let frame = self.segment(segment)?.frame(offset)?;
        match frame.kind == kind {
            true => Ok(frame),
            false => Err(ReadError::Damaged { segment, offset, what: "there is a frame of another kind" }),
        }
    }

    /// A payload that a record names.
    pub(crate) fn payload(&self, extent: &Extent, kind: Kind) -> Result<Bytes, ReadError> {
        let Extent { segment, offset, length } = *extent;
        let payload = self.frame(segment, offset, kind)?.payload;
        match payload.len() as u64 == length {
            true => Ok(payload),
            false => Err(ReadError::Damaged { segment, offset, what: "a payload has another length" }),
        }
    }

    /// Lets go of a segment that was removed.
    pub(crate) fn forget(&self, number: u64) {
        lock(&self.open).retain(|readable| readable.number != number);
    }

    fn segment(&self, number: u64) -> Result<Arc<Readable>, ReadError> {
        let mut open = lock(&self.open);
        let found = match open.iter().position(|readable| readable.number == number) {
            Some(at) => open.remove(at),
            None => None,
        };
        let readable = match found {
            Some(readable) => readable,
            None => Arc::new(Readable::open(&self.dir, number)?),
        };
        open.push_front(readable.clone());
        open.truncate(MAX_OPEN);
        Ok(readable)
    }
}
