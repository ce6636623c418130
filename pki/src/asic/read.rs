//! Reading containers: the entries that belong to one, each within its bound.
//!
//! The small ones are read into memory; attachments stay where they are and are digested when a signature asks for them.

use std::collections::HashMap;
use std::io::{self, Read, Seek};

use proto::fault::FaultCode;
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

use super::{
    ASIC_MANIFEST, ATTACHMENT, MANIFEST, MEDIA_TYPE, MESSAGE, MIMETYPE, Rejection, SIGNATURE,
    SIGNATURE_CHAIN, SIGNATURE_CHAIN_RESULT, TIMESTAMP, TIMESTAMP_CHAIN, TIMESTAMP_CHAIN_RESULT,
};
use crate::digest::{DigestAlgorithm, DigestValue};
use crate::{hash_chain, tsp, xades};

/// Most entries.
const MAX_ENTRIES: usize = 10_000;
/// Largest message.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Largest manifest, which nothing here reads.
const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Most bytes that attachments are inflated to, together.
const MAX_ATTACHMENT_BYTES: u64 = 8 << 30;

pub(super) const STEP_FILES: &str = "the container holds what it must";

/// A container whose entries are all there; nothing is verified yet.
pub struct Container<R> {
    archive: ZipArchive<R>,
    entries: HashMap<&'static str, Vec<u8>>,
    /// `/attachment1` and so on, with the place in the archive.
    attachments: Vec<(String, usize)>,
    /// What was computed already, so that a chain cannot ask twice.
    digests: HashMap<(String, DigestAlgorithm), DigestValue>,
    inflated: u64,
}

impl<R> std::fmt::Debug for Container<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("attachments", &self.attachments).finish_non_exhaustive()
    }
}

impl<R: Read + Seek> Container<R> {
    /// Reads the entries and checks that those which must be there are.
    ///
    /// # Errors
    /// The first that is missing, empty, or over its bound; `asic_mime_type_not_found` also when it is no ZIP at all.
    pub fn open(container: R) -> Result<Self, Rejection> {
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let archive = ZipArchive::with_config(config, container).map_err(|error| {
            rejected(FaultCode::AsicMimeTypeNotFound, format!("it is no ZIP archive: {error}"))
        })?;
        let mut opened = Self {
            archive,
            entries: HashMap::new(),
            attachments: Vec::new(),
            digests: HashMap::new(),
            inflated: 0,
        };
        opened.read_entries()?;
        opened.check_entries()?;
        Ok(opened)
    }

    fn read_entries(&mut self) -> Result<(), Rejection> {
        if self.archive.len() > MAX_ENTRIES {
            return Err(rejected(
                FaultCode::AsicInvalidContainer,
                format!("it has more than {MAX_ENTRIES} entries"),
            ));
        }
        self.archive
            .validate_header_consistency()
            .map_err(|error| rejected(FaultCode::AsicInvalidContainer, error))?;
        for index in 0..self.archive.len() {
            let entry = self.archive.by_index(index).map_err(damaged)?;
            let name = entry.name().map_err(damaged)?.into_owned();
            if let Some((known, limit)) = known_entry(&name) {
                let mut data = Vec::new();
                entry.take(limit as u64 + 1).read_to_end(&mut data).map_err(damaged)?;
                if data.len() > limit {
                    let reason = format!("{known} is larger than {limit} bytes");
                    return Err(rejected(FaultCode::AsicInvalidContainer, reason));
                }
                self.entries.insert(known, data);
            } else if name.starts_with(ATTACHMENT) {
                self.attachments.push((format!("/{name}"), index));
            }
        }
        Ok(())
    }

    /// In the order of the reference.
    fn check_entries(&self) -> Result<(), Rejection> {
        let media_type = self.needed(MIMETYPE, FaultCode::AsicMimeTypeNotFound)?;
        if !media_type.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()) {
            return Err(rejected(FaultCode::AsicInvalidMimeType, "its mimetype is another"));
        }
        self.needed(MESSAGE, FaultCode::AsicMessageNotFound)?;
        self.needed(SIGNATURE, FaultCode::AsicSignatureNotFound)?;
        self.check_pair(SIGNATURE_CHAIN_RESULT, SIGNATURE_CHAIN)?;
        self.not_blank(TIMESTAMP, FaultCode::AsicTimestampNotFound)?;
        self.check_pair(TIMESTAMP_CHAIN_RESULT, TIMESTAMP_CHAIN)?;
        self.not_blank(MANIFEST, FaultCode::AsicManifestNotFound)?;
        self.not_blank(ASIC_MANIFEST, FaultCode::AsicManifestNotFound)
    }

    fn needed(&self, name: &'static str, code: FaultCode) -> Result<&[u8], Rejection> {
        let found = self.entry(name).filter(|data| !is_blank(data));
        found.ok_or_else(|| rejected(code, format!("{name} is not there or is empty")))
    }

    fn not_blank(&self, name: &'static str, code: FaultCode) -> Result<(), Rejection> {
        if self.entry(name).is_some_and(is_blank) {
            return Err(rejected(code, format!("{name} is empty")));
        }
        Ok(())
    }

    fn check_pair(&self, result: &'static str, chain: &'static str) -> Result<(), Rejection> {
        if [result, chain].iter().all(|name| self.entry(name).is_none_or(is_blank)) {
            return Ok(());
        }
        self.needed(result, FaultCode::AsicHashChainResultNotFound)?;
        self.needed(chain, FaultCode::AsicHashChainNotFound)?;
        Ok(())
    }

    pub(super) fn entry(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name).map(Vec::as_slice)
    }

    /// A pair of chain result and chain, which are both there or neither.
    pub(super) fn chain(&self, result: &str, chain: &str) -> Option<(&[u8], &[u8])> {
        self.entry(result).zip(self.entry(chain)).filter(|(result, _)| !is_blank(result))
    }

    /// URIs of the message and of the attachments that are here.
    pub(super) fn parts(&self) -> Vec<String> {
        let attachments = self.attachments.iter().map(|(uri, _)| uri.clone());
        std::iter::once(hash_chain::MESSAGE_URI.to_owned()).chain(attachments).collect()
    }

    /// The digest of an attachment; `None` when it is not here.
    pub(super) fn attachment_digest(
        &mut self,
        uri: &str,
        algorithm: DigestAlgorithm,
    ) -> io::Result<Option<DigestValue>> {
        let Some((_, index)) = self.attachments.iter().find(|(known, _)| known == uri) else {
            return Ok(None);
        };
        let key = (uri.to_owned(), algorithm);
        if let Some(known) = self.digests.get(&key) {
            return Ok(Some(known.clone()));
        }
        let mut entry = self.archive.by_index(*index)?;
        let mut hasher = algorithm.hasher();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = entry.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.inflated += count as u64;
            if self.inflated > MAX_ATTACHMENT_BYTES {
                return Err(io::Error::other(format!(
                    "attachments of more than {MAX_ATTACHMENT_BYTES} bytes"
                )));
            }
            hasher.update(&buffer[..count]);
        }
        let digest = hasher.finish();
        self.digests.insert(key, digest.clone());
        Ok(Some(digest))
    }
}

/// The entries that mean something, each with its bound.
fn known_entry(name: &str) -> Option<(&'static str, usize)> {
    [
        (MIMETYPE, 1024),
        (MESSAGE, MAX_MESSAGE_BYTES),
        (SIGNATURE, xades::MAX_BYTES),
        (SIGNATURE_CHAIN_RESULT, hash_chain::MAX_BYTES),
        (SIGNATURE_CHAIN, hash_chain::MAX_BYTES),
        (TIMESTAMP_CHAIN_RESULT, hash_chain::MAX_BYTES),
        (TIMESTAMP_CHAIN, hash_chain::MAX_BYTES),
        (MANIFEST, MAX_MANIFEST_BYTES),
        (ASIC_MANIFEST, MAX_MANIFEST_BYTES),
        (TIMESTAMP, tsp::MAX_TOKEN_BYTES),
    ]
    .into_iter()
    .find(|(known, _)| *known == name)
}

fn is_blank(data: &[u8]) -> bool {
    data.iter().all(u8::is_ascii_whitespace)
}

fn rejected(code: FaultCode, reason: impl ToString) -> Rejection {
    Rejection::new(STEP_FILES, &[code], reason)
}

fn damaged(error: impl Into<io::Error>) -> Rejection {
    rejected(FaultCode::IoError, format!("it is damaged: {}", error.into()))
}
