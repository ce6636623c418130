//! One server's data directory: `LOCK` (held while a process uses it), `FORMAT` (a number), one folder per owner.
//!
//! A newer `FORMAT` than the program knows is refused; an older one is converted in one place, [`DataDir::open`].
use std::path::{Path, PathBuf};

/// An opened, locked data directory.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{path} is in use by another process: stop it first, or name another folder")]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error("{path} has format {found}, this program knows {known}: install a newer causeway")]
    Newer {
        /// Which.
        path: PathBuf,
        /// In the file.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Disk.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl DataDir {
    /// Opens or creates `root` for `role` (`security-server`, `central-server`): takes the lock, checks the format.
    ///
    /// # Errors
    /// In use, newer, or unusable.
    pub fn open(root: &Path, role: &str, format: u32) -> Result<Self, DataDirError> {
        let _ = (root, role, format);
        todo!()
    }
    /// A folder of it, created with mode 0700.
    ///
    /// # Errors
    /// Disk.
    pub fn folder(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let _ = name;
        todo!()
    }
    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
