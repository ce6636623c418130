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
/// Documents kept, of up to [`KEPT_BYTES`] each: the records of a batch name the same ones.
const DOCUMENTS_KEPT: usize = 16;
const KEPT_BYTES: usize = 64 << 10;

/// Reads frames of any segment.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    pub(crate) keys: Arc<Keys>,
    /// The one used last stands first.
    open: Mutex<VecDeque<Arc<Readable>>>,
    /// Stamps of batches, each with its tree, as long as records are read in order.
    pub(crate) stamps: Mutex<VecDeque<(Place, Arc<StampFrame>)>>,
    /// The one read last stands first.
    documents: Mutex<VecDeque<(Extent, Bytes)>>,
}

impl Reader {
    pub(crate) fn new(dir: &Path, keys: Arc<Keys>) -> Self {
        let (open, stamps, documents) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { dir: dir.to_owned(), keys, open, stamps, documents }
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

    /// A document that the records of a batch share.
    pub(crate) fn document(&self, extent: &Extent) -> Result<Bytes, ReadError> {
        if let Some((_, known)) = lock(&self.documents).iter().find(|(known, _)| known == extent) {
            return Ok(known.clone());
        }
        let document = self.payload(extent, Kind::Document)?;
        if document.len() <= KEPT_BYTES {
            let mut kept = lock(&self.documents);
            kept.push_front((*extent, document.clone()));
            kept.truncate(DOCUMENTS_KEPT);
        }
        Ok(document)
    }

    /// Lets go of a segment that was removed.
    pub(crate) fn forget(&self, number: u64) {
        lock(&self.documents).retain(|(extent, _)| extent.segment != number);
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
