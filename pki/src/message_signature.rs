//! Does this signature prove this message of this member? The whole of wire dossier §9.5 and §10.4, with the rules of §22.
//!
//! Used alike for messages that arrive (at now) and for containers (at the timestamp's time).

use proto::fault::FaultCode;
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::digest::DigestValue;
use crate::globalconf::GlobalConf;
use crate::hash_chain::HashChainError;
use crate::trust::{TrustError, Trusted};
use crate::xades::{Document, SignatureError};

/// A signature with its chain, as it came; exact bytes.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Signature document.
    pub signature: &'a [u8],
    /// Chain result and chain, which come as a pair.
    pub hash_chain: Option<(&'a [u8], &'a [u8])>,
}

/// Why the signature does not prove the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The document.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] HashChainError),
    /// Not a signing certificate, or of another member.
    #[error("the signing certificate belongs to {found}, not to {expected}")]
    Signer {
        /// Whose it is.
        found: String,
        /// Whose it must be.
        expected: String,
    },
    /// Path or OCSP.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl VerifyError {
    /// The fault code's parts after `signature_verification`.
    pub fn fault_path(&self) -> Vec<FaultCode> {
        todo!()
    }
}

/// A signature that proves a message.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who signed.
    pub member: MemberId,
    /// With which certificate.
    pub cert: Certificate,
    /// Path and OCSP verdict.
    pub trusted: Trusted,
    /// Informational.
    pub signing_time: Option<UnixTime>,
    /// Attachments proven by digest only (containers).
    pub by_digest: Vec<String>,
}

/// The cheap, per-message half: the document's references (or the chain) cover exactly `parts`.
///
/// Between servers `allow_absent` is false: every received part must be covered and nothing else may be named.
///
/// # Errors
/// The broken rule.
pub fn check_coverage(
    document: &Document,
    evidence: Evidence<'_>,
    parts: &[(String, DigestValue)],
    allow_absent: bool,
) -> Result<Vec<String>, VerifyError> {
    let _ = (document, evidence, parts, allow_absent);
    todo!()
}

/// The dear, cacheable half: value, certificate, path, OCSP, for `signer` at `at`. Depends on the document's bytes, `signer`, the
/// configuration and the time only, so a batch's document is checked once.
///
/// # Errors
/// The broken rule.
pub fn check_document(
    document: &Document,
    signer: &ClientId,
    conf: &GlobalConf,
    at: UnixTime,
) -> Result<Trusted, VerifyError> {
    let _ = (document, signer, conf, at);
    todo!()
}

/// Both halves in the reference's order, from bytes.
///
/// # Errors
/// The broken rule.
pub fn verify(
    evidence: Evidence<'_>,
    parts: &[(String, DigestValue)],
    signer: &ClientId,
    conf: &GlobalConf,
    at: UnixTime,
    allow_absent: bool,
) -> Result<Verified, VerifyError> {
    let _ = (evidence, parts, signer, conf, at, allow_absent);
    todo!()
}
