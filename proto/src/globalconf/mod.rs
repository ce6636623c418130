//! Global configuration documents: anchor, signed directory, shared and private parameters, versions 2 to 6 [PR-GCONF].
//!
//! | Document | Module |
//! |---|---|
//! | `configuration-anchor.xml` | [`anchor`] |
//! | signed directory | [`directory`] |
//! | `shared-params.xml` | [`shared_parameters`] |
//! | `private-params.xml` | [`private_parameters`] |
//! | optional parts | [`optional_parts`] |
//! | `.metadata` of stored parts | [`metadata`] |
//! | where directories and parts are | [`location`] |
//!
//! Readers are strict: what the schema of a version does not allow is refused, except behind its extension points. Writers give
//! exactly what the schema of the asked version demands, laid out as the reference lays it out. Certificates are kept as they were
//! encoded (DER, or PEM text as some writers have it); nothing is decided about them here.

pub mod anchor;
pub mod directory;
pub mod location;
pub mod metadata;
pub mod optional_parts;
pub mod private_parameters;
mod reader;
pub mod shared_parameters;
mod windows;
mod writer;

pub use reader::{DocumentError, MAX_DOCUMENT_BYTES};

use crate::fault::FaultCode;

/// Lowest version that is read, written and asked for.
pub const MIN_VERSION: u32 = 2;
/// Highest version that is read, written and asked for.
pub const MAX_VERSION: u32 = 6;

/// Content identifier of shared parameters.
pub const SHARED_PARAMETERS: &str = "SHARED-PARAMETERS";
/// Content identifier of private parameters.
pub const PRIVATE_PARAMETERS: &str = "PRIVATE-PARAMETERS";
/// File of the shared parameters.
pub const SHARED_PARAMETERS_FILE: &str = "shared-params.xml";
/// File of the private parameters.
pub const PRIVATE_PARAMETERS_FILE: &str = "private-params.xml";
/// File that names the main instance.
pub const INSTANCE_FILE: &str = "instance-identifier";

/// A configuration part that does not follow its schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration part cannot be used: {0}")]
pub struct ParametersError(#[from] pub DocumentError);

impl ParametersError {
    /// What an administrator is told.
    pub fn fault_code(&self) -> FaultCode {
        FaultCode::MalformedGlobalConf
    }
}

fn check_version(version: u32) -> Result<(), DocumentError> {
    if (MIN_VERSION..=MAX_VERSION).contains(&version) { Ok(()) } else { Err(DocumentError::Version(version)) }
}

/// Folder of an instance: form encoding of its identifier, as the reference has it (a space becomes `+`).
pub fn folder_name(instance: &str) -> String {
    let mut name = String::with_capacity(instance.len());
    for byte in instance.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                name.push(char::from(byte))
            }
            b' ' => name.push('+'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    // The only names made of allowed characters that mean something else to a file system.
    match name.as_str() {
        "." => "%2E".into(),
        ".." => "%2E%2E".into(),
        _ => name,
    }
}

#[cfg(test)]
mod tests;
