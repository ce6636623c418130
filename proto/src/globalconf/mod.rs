//! Global configuration documents: anchor, signed directory, shared and private parameters, versions 2 to 6 [PR-GCONF].
//!
//! Byte layout of the directory: trust dossier §2.5. Readers stream and are bounded; writers give exactly what the reference's
//! schemas demand for the version asked for.

pub mod anchor;
pub mod directory;
pub mod metadata;
pub mod private_parameters;
pub mod shared_parameters;
