//! What the sandbox remembers between starts besides the servers' own data: where things listened, so that a second start finds them
//! where configuration and certificates say. One small JSON file, `sandbox.json`, replaced whole.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's content. A port of 0 was not chosen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Of the servers.
    pub(super) consumer: Option<Ipv4Addr>,
    pub(super) provider: Option<Ipv4Addr>,
    pub(super) central: Option<Ipv4Addr>,
    /// The bring-up through the management APIs was finished.
    pub(super) complete: bool,
    /// The anchor names it, so it stays.
    pub(super) central_port: u16,
    /// On 127.0.0.1.
    pub(super) ocsp_port: u16,
    pub(super) tsa_port: u16,
    pub(super) services_port: u16,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// Disk.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} cannot be read: delete it, and the next start finds new addresses and ports")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

impl State {
    /// What was kept in `dir`; fresh when nothing was.
    pub(super) fn load(dir: &Path) -> Result<Self, StateError> {
        let path = path(dir);
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Self>(&bytes) {
                Ok(state) => Ok(state),
                Err(_) => Err(StateError::Damaged { path }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    /// Keeps it.
    pub(super) fn save(&self, dir: &Path) -> Result<(), StateError> {
        let path = path(dir);
        let json = serde_json::to_vec_pretty(self).expect("numbers and addresses always have a JSON form");
        host::files::write_atomic(&path, &json, 0o600).map_err(|source| StateError::Io { path, source })
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("sandbox.json")
}
