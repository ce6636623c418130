//! The token with the configuration signing keys: there from the first configuration on, logged in by a PIN.

use std::path::PathBuf;
use std::sync::OnceLock;

use signer::{SoftwareSigner, TokenError};

/// Label of the token.
pub const LABEL: &str = "softToken-0";

/// The place of the token in a data directory; empty until it is created.
#[derive(Debug)]
pub struct TokenSlot {
    folder: PathBuf,
    token: OnceLock<SoftwareSigner>,
}

impl TokenSlot {
    /// The token in `folder`, logged out, where there is one. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(folder: PathBuf) -> Result<Self, TokenError> {
        let token = OnceLock::new();
        if SoftwareSigner::exists(&folder) {
            let _ = token.set(SoftwareSigner::open(&folder)?);
        }
        Ok(Self { folder, token })
    }

    /// The token, when there is one.
    pub fn get(&self) -> Option<&SoftwareSigner> {
        self.token.get()
    }

    /// Creates the token; it is logged in then. Blocks.
    ///
    /// # Errors
    /// There is one, or the disk.
    pub fn create(&self, pin: &str) -> Result<&SoftwareSigner, TokenError> {
        let token = SoftwareSigner::create(&self.folder, LABEL, pin)?;
        Ok(self.token.get_or_init(|| token))
    }
}

impl From<SoftwareSigner> for TokenSlot {
    fn from(token: SoftwareSigner) -> Self {
        Self { folder: PathBuf::new(), token: OnceLock::from(token) }
    }
}
