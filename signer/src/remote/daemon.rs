//! The signer's process: its settings, and its life from the lock on its folder to the last answer.
//!
//! Start: core dumps and debuggers are shut out, the folder of the token is locked, the token opened and, when there is a PIN file,
//! logged in; then the socket is there. Stop: the socket goes, requests that were taken are answered, `drain-time` at most.
//! The process needs no network: a token that has no PIN file waits for `causeway signer login`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::shutdown::Shutdown;
use zeroize::Zeroizing;

use super::serving::Serving;
use super::socket::{self, SocketError};
use crate::error::TokenError;
use crate::{SoftwareSigner, process};

/// Where the socket is unless the settings say otherwise.
pub const SOCKET: &str = "/run/causeway-signer/socket";

host::settings! {
    /// Settings of the signer as a process of its own. Every key has the value shown unless it is set.
    pub struct File {
        /// Folder of the token: what is `keys` in the data folder of a security server that signs by itself.
        pub key_dir: PathBuf = "/var/lib/causeway/signer/keys".into(),
        /// Where the security server finds the signer (its `signer.socket`). Only the same user and root may use it; its folder must
        /// not be writable by others.
        pub socket: PathBuf = SOCKET.into(),
        /// A file with the PIN of the token, readable by this user alone; not set: `causeway signer login` is waited for.
        pub pin_file: Option<PathBuf> = None,
        /// Whether the security server gets a copy of its authentication key, in memory, for the TLS of X-Road servers that know only the
        /// CBC suites of TLS 1.2: OpenSSL speaks it, and signs with a key that it has. Without it such servers cannot be reached, and
        /// cannot reach this one. Keys of members, which sign messages, never leave the signer.
        pub share_authentication_key: bool = false,
        /// Log lines on standard error: `text` for people, `json` for machines.
        pub log_format: host::logging::Format = host::logging::Format::Text,
        /// What is logged, as in RUST_LOG, which overrides it.
        pub log_filter: String = "info".into(),
        /// Seconds that requests under way may take when the signer is told to stop.
        pub drain_time: u64 = 5,
    }
}

/// Why a signer does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The PIN file.
    #[error("pin-file: {path}: {source}")]
    PinFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The PIN in the file.
    #[error("the PIN in {path} was not taken: {source}")]
    Pin {
        /// Which.
        path: PathBuf,
        /// Why.
        source: TokenError,
    },
    /// The socket.
    #[error("socket: {0}")]
    Socket(#[from] SocketError),
    /// The system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs a signer until `shutdown` says stop, then drains. `ready_file` is written when the socket is there: `{"pid": …, "listeners": {}}`.
///
/// # Errors
/// It could not start.
pub async fn run(settings: File, ready_file: Option<&Path>, shutdown: Shutdown) -> Result<(), StartError> {
    process::forbid_core_dumps()?;
    process::forbid_debuggers()?;
    let clock = Clock::System;
    let (token, _lock) = {
        let (settings, now) = (settings.clone(), clock.now());
        tokio::task::spawn_blocking(move || open(&settings, now)).await.map_err(std::io::Error::other)??
    };
    let listener = socket::bind(&settings.socket)?;
    if let Some(path) = ready_file {
        let text = serde_json::json!({ "pid": std::process::id(), "listeners": {} }).to_string();
        host::files::write_atomic(path, text.as_bytes(), 0o644)?;
    }
    tracing::info!(
        socket = %settings.socket.display(),
        label = token.label(),
        logged_in = token.is_logged_in(),
        "the signer has started"
    );
    let serving =
        Serving { token, clock, shutdown: shutdown.clone(), shares_key: settings.share_authentication_key };
    let serving = serving.serve(listener);
    let drained = async {
        shutdown.stopped().await;
        tokio::time::sleep(Duration::from_secs(settings.drain_time)).await;
    };
    tokio::select! {
        () = serving => {}
        () = drained => tracing::warn!("requests were still under way at the end of the drain time"),
    }
    // A leftover does no harm: the next start replaces it.
    let _ = std::fs::remove_file(&settings.socket);
    tracing::info!("the signer has stopped");
    Ok(())
}

/// Blocks.
fn open(
    settings: &File,
    now: proto::time::UnixTime,
) -> Result<(Arc<SoftwareSigner>, process::TokenLock), StartError> {
    if !SoftwareSigner::exists(&settings.key_dir) {
        return Err(TokenError::Missing(settings.key_dir.clone()).into());
    }
    let lock = process::TokenLock::take(&settings.key_dir)?;
    let token = SoftwareSigner::open(&settings.key_dir)?;
    if let Some(path) = &settings.pin_file {
        let pin = read_pin(path).map_err(|source| StartError::PinFile { path: path.clone(), source })?;
        token.login(&pin, now).map_err(|source| StartError::Pin { path: path.clone(), source })?;
    }
    Ok((Arc::new(token), lock))
}

/// Longest PIN file.
const MAX_PIN_BYTES: u64 = 4096;

/// The PIN in a file, without the end of its line.
///
/// # Errors
/// The file; one that others can read is refused.
pub fn read_pin(path: &Path) -> std::io::Result<Zeroizing<String>> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::File::open(path)?;
    let mode = file.metadata()?.mode();
    if mode & 0o077 != 0 {
        let problem = format!("others may use it (mode {:o}): make it 600", mode & 0o777);
        return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, problem));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_PIN_BYTES).read_to_string(&mut text)?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample is rendered from this file; `CAUSEWAY_RENDER=1 cargo test` writes it anew.
    #[test]
    fn the_sample_in_deploy_is_this_file_rendered() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/signer.toml");
        let rendered = host::settings::render_sample::<File>();
        if std::env::var_os("CAUSEWAY_RENDER").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), rendered, "run with CAUSEWAY_RENDER=1");
    }

    #[test]
    fn a_pin_file_is_for_its_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        std::fs::write(&path, "12 34\r\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(read_pin(&path).unwrap_err().to_string().contains("640"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(read_pin(&path).unwrap().as_str(), "12 34");
    }
}
