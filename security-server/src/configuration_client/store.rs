//! The stored configuration, in the layout that other tools read.
//!
//! ```text
//! <folder>/instance-identifier            main instance
//! <folder>/<encoded instance>/<part>      as downloaded
//! <folder>/<encoded instance>/<part>.metadata
//! ```
//!
//! Every file is replaced whole. A part and its metadata are two files: after a crash between them the next run finds the part good
//! and writes the metadata. Deleting the folder loses nothing that cannot be downloaded again, except that an older configuration
//! is then no longer recognised as older.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use host::files::write_atomic;
use proto::globalconf::metadata::{self, Metadata};
use proto::globalconf::{INSTANCE_FILE, MAX_DOCUMENT_BYTES, SHARED_PARAMETERS_FILE, folder_name};
use proto::time::UnixTime;

use super::download::{Content, Held};
use super::error::DownloadError;
use super::shared_part::Checked;

/// Other tools of the server's group read these files.
pub(super) const MODE: u32 = 0o640;

/// What the stored directory of an instance said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// When it expires.
    pub expires: Option<UnixTime>,
    /// Its configuration version.
    pub version: Option<u32>,
}

/// What is stored of an instance. Nothing, also when it cannot be read: then there is nothing to be older than.
pub fn stored(folder: &Path, instance: &str) -> Stored {
    let file = path(folder, instance, &format!("{SHARED_PARAMETERS_FILE}{}", metadata::SUFFIX));
    let metadata = fs::read(file).ok().and_then(|bytes| Metadata::read(&bytes).ok());
    metadata.map_or_else(Stored::default, |metadata| Stored {
        expires: metadata.expiration_date,
        version: metadata.version().ok(),
    })
}

/// Where a part is stored.
pub(super) fn path(folder: &Path, instance: &str, name: &str) -> PathBuf {
    folder.join(folder_name(instance)).join(name)
}

/// A stored part that is read whole, if it is there and not larger than any part may be.
pub(super) fn read(folder: &Path, instance: &str, name: &str) -> Result<Option<Vec<u8>>, DownloadError> {
    let file = path(folder, instance, name);
    let Some(opened) = open(&file)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = opened.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| DownloadError::StoredFile { file, source })?;
    Ok((bytes.len() <= MAX_DOCUMENT_BYTES).then_some(bytes))
}

/// A stored file, if it is there.
pub(super) fn open(file: &Path) -> Result<Option<fs::File>, DownloadError> {
    match fs::File::open(file) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DownloadError::StoredFile { file: file.to_owned(), source }),
    }
}

/// Stores the parts of an instance, each with its metadata, and removes what is not among them.
/// What the shared parameters are then is for the next run.
pub(super) fn write(
    folder: &Path,
    instance: &str,
    contents: &mut [Content],
) -> Result<Option<Checked>, DownloadError> {
    let mut checked = None;
    let dir = folder.join(folder_name(instance));
    fs::create_dir_all(&dir).map_err(|source| DownloadError::SaveFile { file: dir.clone(), source })?;
    for content in &mut *contents {
        match &mut content.held {
            Held::Shared(shared) => checked = shared.store(&content.part)?,
            Held::Small { unchanged: true, .. } => {}
            Held::Small { bytes, unchanged: false } => {
                let file = dir.join(&content.name);
                write_atomic(&file, bytes, MODE)
                    .map_err(|source| DownloadError::SaveFile { file: file.clone(), source })?;
            }
        }
        let beside = dir.join(format!("{}{}", content.name, metadata::SUFFIX));
        let metadata = content.metadata.write();
        // Mostly the directory is the one that was there before.
        if fs::read(&beside).is_ok_and(|stored| stored == metadata) {
            continue;
        }
        write_atomic(&beside, &metadata, MODE)
            .map_err(|source| DownloadError::SaveMetadata { file: beside.clone(), source })?;
    }
    let listed = |name: &str| {
        let part = name.strip_suffix(metadata::SUFFIX).unwrap_or(name);
        contents.iter().any(|content| content.name == part)
    };
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        let unlisted = entry.file_name().to_str().is_none_or(|name| !listed(name));
        if unlisted && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            remove(&entry.path(), fs::remove_file(entry.path()));
        }
    }
    Ok(checked)
}

/// The folder belongs to `instance` or to nobody yet.
pub(super) fn check_instance(folder: &Path, instance: &str) -> Result<(), DownloadError> {
    match fs::read_to_string(folder.join(INSTANCE_FILE)) {
        Ok(stored) if stored.trim() != instance && !stored.trim().is_empty() => {
            Err(DownloadError::OtherInstance {
                anchor: instance.to_owned(),
                stored: stored.trim().to_owned(),
            })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Names the main instance.
pub(super) fn write_instance(folder: &Path, instance: &str) -> Result<(), DownloadError> {
    let file = folder.join(INSTANCE_FILE);
    if fs::read(&file).is_ok_and(|stored| stored == instance.as_bytes()) {
        return Ok(());
    }
    write_atomic(&file, instance.as_bytes(), MODE)
        .map_err(|source| DownloadError::SaveInstance { file, source })
}

/// Removes the folders of instances that are no longer downloaded.
pub(super) fn remove_other_instances(folder: &Path, kept: &[String]) {
    let kept: Vec<String> = kept.iter().map(|instance| folder_name(instance)).collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let other = entry.file_name().to_str().is_none_or(|name| !kept.iter().any(|kept| kept == name));
        // Nothing but what an earlier run made.
        let stored = entry.path().join(SHARED_PARAMETERS_FILE).is_file();
        if other && stored && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path(), fs::remove_dir_all(entry.path()));
        }
    }
}

/// What cannot be removed now is tried again in the next run.
fn remove(path: &Path, outcome: io::Result<()>) {
    match outcome {
        Ok(()) => tracing::info!(path = %path.display(), "removed from the stored configuration"),
        Err(error) => tracing::warn!(%error, path = %path.display(), "a stored file could not be removed"),
    }
}
