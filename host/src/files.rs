//! Files that are replaced whole: temporary file, fsync, rename, fsync of the folder.
//!
//! A reader sees the old bytes or the new ones, never a mixture, and after a power cut one of the two is there. Temporary files
//! are dot files beside their target; one that a crash left behind is never read and may be deleted.
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::background::Pace;

/// Bytes that are written between two syncs. The sync of a large file keeps a disk busy for as long as it takes, and whoever waits for
/// a small one waits for all of it.
const SYNC_BYTES: usize = 2 << 20;

/// Replaces `path` by `bytes`; after return it survives a power cut. `mode` is that of the new file.
///
/// # Errors
/// Disk; the old file is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut replacement = Replacement::create(path, mode)?;
    replacement.write_all(bytes)?;
    replacement.commit()
}

/// Writes `bytes` to a file, and syncs it a piece at a time.
///
/// # Errors
/// Disk.
pub fn write_synced(file: File, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = SyncedFile::new(file, Pace::hurried());
    file.write_all(bytes)?;
    file.finish()
}

/// A new file that is synced a piece at a time.
#[derive(Debug)]
pub struct SyncedFile {
    file: File,
    /// Between syncs.
    pace: Pace,
    /// Bytes written since the last sync.
    unsynced: usize,
}

impl SyncedFile {
    /// From where `file` stands. `pace` says how much of the disk it may take.
    pub fn new(file: File, pace: Pace) -> Self {
        Self { file, pace, unsynced: 0 }
    }

    /// After return, what was written survives a power cut.
    ///
    /// # Errors
    /// Disk.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for SyncedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.unsynced == SYNC_BYTES {
            self.pace.sync(|| self.file.sync_data())?;
            self.unsynced = 0;
        }
        let piece = &bytes[..bytes.len().min(SYNC_BYTES - self.unsynced)];
        let written = self.file.write(piece)?;
        self.unsynced += written;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A file that is to take the place of another, which may be too large for memory: written piece by piece, read back, and put in place
/// when it was found to be good. Dropped before, it is gone.
#[derive(Debug)]
pub struct Replacement {
    file: SyncedFile,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl Replacement {
    /// An empty one for `target`. `mode` is that of the new file.
    ///
    /// # Errors
    /// Disk.
    pub fn create(target: &Path, mode: u32) -> std::io::Result<Self> {
        let temporary = beside(target)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&temporary)?;
        let file = SyncedFile::new(file, Pace::hurried());
        Ok(Self { file, temporary, target: target.to_owned(), committed: false })
    }

    /// Leaves the disk to others between its syncs.
    pub fn paced(mut self, pace: Pace) -> Self {
        self.file.pace = pace;
        self
    }

    /// All that was written until now, from its start.
    ///
    /// # Errors
    /// Disk.
    pub fn read(&mut self) -> std::io::Result<&mut File> {
        self.file.file.seek(SeekFrom::Start(0))?;
        Ok(&mut self.file.file)
    }

    /// Puts it in place; after return it survives a power cut.
    ///
    /// # Errors
    /// Disk; the old file is then still there.
    pub fn commit(mut self) -> std::io::Result<()> {
        self.file.finish()?;
        std::fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        sync_dir(folder_of(&self.target))
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.committed {
            // The target is what matters; a leftover is harmless.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Makes the entries of a folder (creations, renames, removals) survive a power cut.
///
/// # Errors
/// Disk.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The mode of a file with a secret that others than its owner may use; `None` when it is well kept or not there.
pub fn shared_mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A name in the same folder that nobody else uses: this process and a counter are in it.
fn beside(path: &Path) -> std::io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{number}.tmp", std::process::id()));
    Ok(folder_of(path).join(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_whole_files_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchor.xml");
        for bytes in [b"first".as_slice(), b"second and longer", b""] {
            write_atomic(&path, bytes, 0o640).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_large_file_is_read_back_before_it_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.xml");
        std::fs::write(&path, b"old").unwrap();
        let content: Vec<u8> = (0..SYNC_BYTES * 2 + 7).map(|at| at as u8).collect();
        for committed in [false, true] {
            let mut replacement = Replacement::create(&path, 0o640).unwrap();
            content.chunks(70_001).for_each(|piece| replacement.write_all(piece).unwrap());
            let mut back = Vec::new();
            replacement.read().unwrap().read_to_end(&mut back).unwrap();
            assert!(back == content);
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
            if committed {
                replacement.commit().unwrap();
                assert!(std::fs::read(&path).unwrap() == content);
            } else {
                drop(replacement);
            }
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{committed}");
        }
        write_synced(File::create(&path).unwrap(), &content).unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
    }

    #[test]
    fn keeps_the_old_file_when_the_new_one_cannot_be_put_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("folder");
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("inside"), b"kept").unwrap();
        assert!(write_atomic(&target, b"x", 0o600).is_err());
        assert_eq!(std::fs::read(target.join("inside")).unwrap(), b"kept");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn a_secret_that_others_may_use_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        assert_eq!(shared_mode(&path), None);
        write_atomic(&path, b"1", 0o600).unwrap();
        assert_eq!(shared_mode(&path), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(shared_mode(&path), Some(0o640));
    }
}
