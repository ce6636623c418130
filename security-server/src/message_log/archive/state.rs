//! How far archiving has come: one small file, replaced whole.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// More than any state.
const MAX_BYTES: u64 = 256 << 20;

/// The state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// Records up to this number are in archives, but for those below.
    pub(crate) archived_to: u64,
    /// Milliseconds since 1970 of the last run.
    pub(crate) run_at: i64,
    /// Records that could not be read; they are tried again.
    pub(crate) unreadable: BTreeSet<u64>,
    /// Records of which nothing could be found, or that went with their segment without having been archived.
    pub(crate) lost: BTreeSet<u64>,
    /// The last file of each chain.
    pub(crate) groups: BTreeMap<String, Last>,
    /// Files that are not done with: without their name yet, or not sent.
    pub(crate) files: Vec<ArchiveFile>,
}

/// Where a chain goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    pub(crate) digest: String,
    pub(crate) file: String,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveFile {
    pub(crate) name: String,
    /// Its name until it has its own.
    pub(crate) temporary: String,
    /// It has its own.
    pub(crate) placed: bool,
    /// Least number of a record in it.
    pub(crate) first: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Hexadecimal.
    pub(crate) sha256: String,
}

pub(crate) fn path(log_dir: &Path) -> PathBuf {
    log_dir.join("archive.json")
}

impl State {
    /// Reads the file; a log that was never archived has none.
    ///
    /// # Errors
    /// The disk, or a damaged file.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
            Ok(found) if found.len() > MAX_BYTES => return Err(io::Error::other("it is too large")),
            Ok(_) => {}
        }
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
    }

    pub(crate) fn store(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        host::files::write_atomic(path, &text, 0o600)
    }

    /// Up to here records may go: archived, and sent where that was asked. [`Self::unreadable`] ones are kept beside the log.
    pub(crate) fn done_to(&self) -> u64 {
        let unsent = self.files.iter().map(|file| file.first.saturating_sub(1)).min();
        unsent.unwrap_or(self.archived_to).min(self.archived_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_be_sent_holds_records_back() {
        let file = |first| ArchiveFile {
            name: "n".into(),
            temporary: "t".into(),
            placed: true,
            first,
            records: 1,
            bytes: 1,
            sha256: String::new(),
        };
        let mut state = State { archived_to: 100, ..State::default() };
        assert_eq!(state.done_to(), 100);
        state.files = vec![file(80), file(41), file(90)];
        assert_eq!(state.done_to(), 40);
    }

    #[test]
    fn reads_back_and_refuses_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        assert_eq!(State::load(&path).unwrap(), State::default());
        let mut state = State { archived_to: 7, run_at: 5, ..State::default() };
        state.groups.insert(String::new(), Last { digest: "ab".into(), file: "f".into() });
        state.store(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        std::fs::write(&path, "{").unwrap();
        assert!(State::load(&path).is_err());
    }
}
