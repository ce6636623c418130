//! Settings files: one TOML per server, kebab-case keys, defaults in the code, unknown keys refused with a hint.
//!
//! [`settings!`](crate::settings!) declares a section once; the struct, its `Default` and the documented sample all come from it.
use std::path::Path;

use serde::de::DeserializeOwned;

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, a value of the wrong kind, or an unknown key (with the nearest known one).
    #[error("{path}: {reason}")]
    Invalid {
        /// Which.
        path: String,
        /// What, where, and what to do.
        reason: String,
    },
}

/// Reads a settings file.
///
/// # Errors
/// [`SettingsError`], for the operator to read.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let _ = path;
    todo!()
}
