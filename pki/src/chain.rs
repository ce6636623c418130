//! Certificate paths: from a leaf over given intermediates to one trust anchor [RFC 5280 §6; wire dossier §11.1].
//!
//! Revocation is not here (`ocsp`, `trust`).

use proto::time::UnixTime;

use crate::cert::Certificate;

/// A sound path: leaf first, then intermediates, without the anchor.
#[derive(Clone, Debug)]
pub struct Path {
    /// Each with its issuer in the next place; the last one was issued by `anchor`.
    pub certs: Vec<Certificate>,
    /// The trust anchor.
    pub anchor: Certificate,
    /// When the first certificate of it stops holding.
    pub not_after: UnixTime,
}

/// Why there is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// (Variants are completed by the owner of this module.)
    #[error("no path leads from {subject} to {anchor}")]
    NoPath {
        /// The leaf.
        subject: String,
        /// The anchor.
        anchor: String,
    },
    /// Expired or not yet valid.
    #[error("{subject} is outside its validity")]
    Validity {
        /// Which.
        subject: String,
    },
}

/// Builds and checks the path at `at`.
///
/// # Errors
/// The broken rule.
pub fn build(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchor: &Certificate,
    at: UnixTime,
) -> Result<Path, ChainError> {
    let _ = (leaf, intermediates, anchor, at);
    todo!()
}
