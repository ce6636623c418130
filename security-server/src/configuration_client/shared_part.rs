//! The shared parameters as a file: they may have more than fifty megabytes, so they are never in memory as a whole.
//!
//! What comes from a source is hashed and written beside the stored file as it comes, read from there, and put in place when all else
//! is good. Whether the stored file still is what a directory lists is found by hashing it once; after that by its [`Stamp`], as long as
//! nobody has touched it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use host::background::{Pace, Paced};
use host::files::Replacement;
use pki::digest::{DigestAlgorithm, Hasher};
use pki::globalconf::Instance;
use pki::globalconf::verify::PartHash;
use proto::globalconf::directory::Part;
use proto::globalconf::{ParametersError, SHARED_PARAMETERS_FILE};
use tokio::sync::mpsc::Receiver;

use super::error::DownloadError;
use super::store;

/// Bytes of a file that are hashed at a time.
const PIECE: usize = 256 << 10;

/// What the stored file was found to be.
#[derive(Clone, Debug)]
pub struct Checked {
    stamp: Stamp,
    hash_algorithm_uri: String,
    hash: Vec<u8>,
    sha256: [u8; 32],
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// Of the inode, seconds and nanoseconds: no program can set it.
    changed: (i64, i64),
}

/// Shared parameters with the hash that the directory lists.
pub(super) struct SharedPart {
    sha256: [u8; 32],
    path: PathBuf,
    /// `None`: the stored file is it.
    new: Option<Replacement>,
}

impl SharedPart {
    /// The stored file, when it is the part that is listed. `checked` is what it was the last time.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn stored(
        folder: &Path,
        instance: &str,
        part: &Part,
        checked: Option<&Checked>,
    ) -> Result<Option<Self>, DownloadError> {
        let path = store::path(folder, instance, SHARED_PARAMETERS_FILE);
        let failed = |source| DownloadError::StoredFile { file: path.clone(), source };
        let Some(mut file) = store::open(&path)? else { return Ok(None) };
        let stamp = stamp(&file).map_err(failed)?;
        let same_file = |checked: &&Checked| {
            checked.stamp == stamp && checked.hash_algorithm_uri == part.hash_algorithm_uri
        };
        let sha256 = match checked.filter(same_file) {
            Some(checked) => (checked.hash == part.hash).then_some(checked.sha256),
            None => hash(&mut file, part).map_err(failed)?,
        };
        Ok(sha256.map(|sha256| Self { sha256, path, new: None }))
    }

    /// What comes from a source, `None` when it is not the part that is listed. Blocks until the other end is closed; the other end waits
    /// as `pace` says.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn receive(
        folder: &Path,
        instance: &str,
        part: &Part,
        mut pieces: Receiver<Bytes>,
        mut pace: Pace,
    ) -> Result<Option<Self>, DownloadError> {
        let path = store::path(folder, instance, SHARED_PARAMETERS_FILE);
        let failed = |source| DownloadError::SaveFile { file: path.clone(), source };
        let Some(mut sums) = Sums::new(part) else { return Ok(None) };
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
        let mut new = Replacement::create(&path, store::MODE).map_err(failed)?.paced(pace);
        while let Some(piece) = pieces.blocking_recv() {
            sums.update(&piece);
            new.write_all(&piece).map_err(failed)?;
            pace.step();
        }
        Ok(sums.finish().map(|sha256| Self { sha256, path, new: Some(new) }))
    }

    /// Reads it, unless `known` was read from the same bytes.
    ///
    /// # Errors
    /// It does not follow the schema.
    pub(super) fn parse(
        &mut self,
        version: u32,
        known: Option<Arc<Instance>>,
        pace: Pace,
    ) -> Result<Arc<Instance>, DownloadError> {
        let same = |known: &Arc<Instance>| known.version() == version && known.digest() == self.sha256;
        if let Some(known) = known.filter(same) {
            return Ok(known);
        }
        let location = || SHARED_PARAMETERS_FILE.to_owned();
        let malformed = |source: ParametersError| DownloadError::PartContent { location: location(), source };
        let failed = |source| DownloadError::StoredFile { file: self.path.clone(), source };
        let opened;
        let file = match &mut self.new {
            Some(new) => new.read().map_err(failed)?,
            None => {
                opened = File::open(&self.path).map_err(failed)?;
                &opened
            }
        };
        let read = Instance::read_from(&mut Paced::new(file, pace), version);
        let read = read.map_err(malformed)?;
        // The file may be another one since it was hashed.
        if read.digest() == self.sha256 {
            Ok(Arc::new(read))
        } else {
            Err(DownloadError::PartHash(location()))
        }
    }

    /// Puts it in place of the stored file, unless it is that; and says what is stored now, for the next time.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn store(&mut self, part: &Part) -> Result<Option<Checked>, DownloadError> {
        let failed = |source| DownloadError::SaveFile { file: self.path.clone(), source };
        self.new.take().map_or(Ok(()), Replacement::commit).map_err(failed)?;
        // Without it the file is hashed again.
        let stamp = File::open(&self.path).and_then(|file| stamp(&file)).ok();
        Ok(stamp.map(|stamp| Checked {
            stamp,
            hash_algorithm_uri: part.hash_algorithm_uri.clone(),
            hash: part.hash.clone(),
            sha256: self.sha256,
        }))
    }
}

/// The hash that is listed, and the one that snapshots are told apart by.
struct Sums {
    listed: PartHash,
    sha256: Hasher,
}

impl Sums {
    /// `None` when the listed hash is of an algorithm that is not accepted.
    fn new(part: &Part) -> Option<Self> {
        Some(Self { listed: PartHash::new(part)?, sha256: DigestAlgorithm::Sha256.hasher() })
    }

    fn update(&mut self, bytes: &[u8]) {
        self.listed.update(bytes);
        self.sha256.update(bytes);
    }

    /// The SHA-256, when the listed hash fits.
    fn finish(self) -> Option<[u8; 32]> {
        let sha256 = self.sha256.finish().value.try_into().expect("a SHA-256 value has 32 bytes");
        self.listed.fits().then_some(sha256)
    }
}

fn hash(file: &mut File, part: &Part) -> io::Result<Option<[u8; 32]>> {
    let Some(mut sums) = Sums::new(part) else { return Ok(None) };
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sums.finish()),
            read => sums.update(&piece[..read]),
        }
    }
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Ok(Stamp { inode: metadata.ino(), bytes: metadata.len(), changed })
}
