//! The token of a server: there once somebody made one, logged in by a PIN file at the start or by the management API.
//!
//! With a signer that is a process of its own the token is that process's, and always there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use host::clock::Clock;
use signer::process::TokenLock;
use signer::{RemoteSigner, SoftwareSigner, TokenError, TokenService};
use zeroize::Zeroizing;

use crate::config::Settings;

/// What a token is called until somebody renames it.
pub const LABEL: &str = "softToken-0";

/// The place of the token.
pub struct TokenSlot {
    folder: PathBuf,
    token: OnceLock<Arc<dyn TokenService>>,
    /// Held as long as the token in the folder is used by this process.
    lock: Mutex<Option<TokenLock>>,
}

impl TokenSlot {
    /// The signer's process, or the token in `folder` where there is one, logged in when there is a PIN. A token that was just
    /// `restored` may have had another PIN, and then waits for somebody who knows it. Blocks.
    ///
    /// # Errors
    /// It cannot be opened, or the PIN is not the token's.
    pub fn open(folder: PathBuf, settings: &Settings, clock: &Clock, restored: bool) -> anyhow::Result<Self> {
        let slot = Self { token: OnceLock::new(), lock: Mutex::default(), folder };
        if let Some(socket) = &settings.signer_socket {
            if SoftwareSigner::exists(&slot.folder) {
                tracing::warn!(folder = %slot.folder.display(), "there is a token here too, which is not used: the signer has its own");
            }
            let signer = RemoteSigner::open(socket, settings.signer_wait, &slot.folder.join("ocsp"))?;
            slot.fill(Arc::new(signer), None);
        } else if SoftwareSigner::exists(&slot.folder) {
            let lock = TokenLock::take(&slot.folder)?;
            let token = own_token(&slot.folder, &settings.pin_file, clock, restored)?;
            slot.fill(Arc::new(token), Some(lock));
        }
        Ok(slot)
    }

    /// The token, when there is one.
    pub fn get(&self) -> Option<&Arc<dyn TokenService>> {
        self.token.get()
    }

    /// Makes an empty token under a PIN, logged out. Blocks for a good part of a second.
    ///
    /// # Errors
    /// There is one, the PIN is empty, or the disk.
    pub fn create(&self, pin: &str) -> anyhow::Result<&Arc<dyn TokenService>> {
        if self.token.get().is_some() {
            return Err(TokenError::Exists(self.folder.clone()).into());
        }
        let lock = TokenLock::take(&self.folder)?;
        let token = SoftwareSigner::create(&self.folder, LABEL, pin)?;
        token.logout();
        Ok(self.fill(Arc::new(token), Some(lock)))
    }

    fn fill(&self, token: Arc<dyn TokenService>, lock: Option<TokenLock>) -> &Arc<dyn TokenService> {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
        self.token.get_or_init(|| token)
    }
}

/// The token of this process, logged in when there is a PIN.
fn own_token(
    folder: &Path,
    pin_file: &Path,
    clock: &Clock,
    restored: bool,
) -> anyhow::Result<SoftwareSigner> {
    if let Some(mode) = host::files::shared_mode(pin_file) {
        tracing::warn!(file = %pin_file.display(), mode = format!("{mode:o}"), "others may use the file with the PIN: make it 600");
    }
    let pin = match std::fs::read_to_string(pin_file) {
        Ok(text) => Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("signer.pin-file = {}", pin_file.display())),
    };
    let signer = SoftwareSigner::open(folder)?;
    match pin {
        Some(pin) => match signer.login(&pin, clock.now()) {
            Err(error) if restored => {
                tracing::error!(%error, file = %pin_file.display(), "the restored token was not logged in");
            }
            tried => tried.with_context(|| format!("the PIN in {} was not taken", pin_file.display()))?,
        },
        None => tracing::warn!(
            file = %pin_file.display(),
            "there is no PIN file: no message can be signed until somebody logs in to the token"
        ),
    }
    Ok(signer)
}
