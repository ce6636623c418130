//! A central server's data directory, opened by a program instead of the server: to set an instance up, or to look at it.
//!
//! | Folder | Owner | If it is deleted |
//! |---|---|---|
//! | `state/` | [`crate::registry`] | the registry is lost |
//! | `keys/` | `signer` | configuration signing keys are lost: new ones and new anchors for everybody |
//! | `public/` | [`crate::configuration_source`] | it is generated again |
//! | `anchors/` | [`crate::configuration_source`] | they are written again |
//! | `admin/` | [`admin_api`] | API keys, users and the audit log are lost |
//! | `backup/` | [`admin_api::backup`] | backups are lost, and those kept elsewhere can be restored on an empty server alone |
//! | `tls/` | [`admin_api::tls`] | another self-signed certificate is made |
//!
//! The directory is locked as long as its handle lives, so the server must be stopped. Everything here blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::clock::Clock;
use host::data_dir::{DataDir, DataDirError};
use pki::key::KeyKind;
use proto::globalconf::anchor::AnchorError;
use signer::SoftwareSigner;
use signer::TokenError;

use crate::configuration_source::keys::{self, SigningKeyError};
use crate::configuration_source::{Incomplete, documents};
use crate::registry::{Command, Registry, RegistryError, SourceKind};

/// What stands in `FORMAT` of the data directory.
pub const ROLE: &str = "central-server";
/// The form of the data directory that this program writes; an older one is converted when it is opened.
pub const FORMAT: u32 = 1;
/// Label of the token.
const LABEL: &str = "softToken-0";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// In use, newer, or unusable.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Signing keys.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// There is no anchor to give yet.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// The anchor cannot be written.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
}

/// An opened, locked data directory.
#[derive(Debug)]
pub struct Offline {
    data: DataDir,
    registry: Arc<Registry>,
    clock: Clock,
}

impl Offline {
    /// Opens or creates a data directory.
    ///
    /// # Errors
    /// It is in use or cannot be read.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, OfflineError> {
        let data = DataDir::open(dir, ROLE, FORMAT)?;
        let registry = Arc::new(Registry::open(&data.folder("state")?, clock.clone())?);
        Ok(Self { data, registry, clock })
    }

    /// Opening it carried out a restore.
    pub fn was_restored(&self) -> bool {
        self.data.was_restored()
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Carries commands out: all of them or none.
    ///
    /// # Errors
    /// The first that is refused; or the disk.
    pub fn execute_all(&self, actor: &str, commands: Vec<Command>) -> Result<(), OfflineError> {
        Ok(self.registry.execute_all(actor, commands)?)
    }

    /// The token, logged in; created when there is none.
    ///
    /// # Errors
    /// Wrong PIN, or the disk.
    pub fn token(&self, pin: &str) -> Result<SoftwareSigner, OfflineError> {
        let folder = self.folder("keys")?;
        if !SoftwareSigner::exists(&folder) {
            return Ok(SoftwareSigner::create(&folder, LABEL, pin)?);
        }
        let token = SoftwareSigner::open(&folder)?;
        token.login(pin, self.clock.now())?;
        Ok(token)
    }

    /// Makes sure that every source has a key that signs.
    ///
    /// # Errors
    /// Wrong PIN, the library, or the disk.
    pub fn ensure_signing_keys(&self, actor: &str, pin: &str, kind: KeyKind) -> Result<(), OfflineError> {
        let token = self.token(pin)?;
        for source in SourceKind::ALL {
            if self.registry.state().active_key(source).is_none() {
                keys::add(&self.registry, &token, actor, source, kind, source.name())?;
            }
        }
        Ok(())
    }

    /// The anchor file of a source.
    ///
    /// # Errors
    /// The instance has no name or the source no key yet.
    pub fn anchor(&self, source: SourceKind) -> Result<Vec<u8>, OfflineError> {
        Ok(documents::anchor(&self.registry.state(), source)?.write()?)
    }

    /// A folder of the data directory.
    ///
    /// # Errors
    /// Disk.
    pub fn folder(&self, name: &str) -> Result<PathBuf, OfflineError> {
        Ok(self.data.folder(name)?)
    }
}
