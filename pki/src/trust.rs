//! Whether a certificate may speak for a client: path, OCSP answers, binding [wire dossier §3.2, §11].
//!
//! Verdicts are pure and carry the instant until which they hold, so that callers may cache them under strong keys.

use proto::fault::FaultCode;
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::globalconf::GlobalConf;
use crate::ocsp;

/// Why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// (Variants are completed by the owner of this module.)
    #[error("{subject} was not issued by an approved certification service")]
    UnknownIssuer {
        /// The certificate's subject.
        subject: String,
    },
}

impl TrustError {
    /// The nested part of the fault code, for instance `invalid_cert_path.cert_validation`.
    pub fn fault_path(&self) -> Vec<FaultCode> {
        todo!()
    }
}

/// A certificate found good at an instant.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// The verdict holds until here: path validity and OCSP answers.
    pub until: UnixTime,
    /// The leaf's OCSP answer.
    pub ocsp: ocsp::Good,
}

/// A signing certificate of `member` at `at` [§11.1 row 1, §11.3].
///
/// # Errors
/// The first check that fails.
pub fn signer(
    conf: &GlobalConf,
    cert: &Certificate,
    extra: &[Certificate],
    ocsp: &[Vec<u8>],
    member: &MemberId,
    at: UnixTime,
) -> Result<Trusted, TrustError> {
    let _ = (conf, cert, extra, ocsp, member, at);
    todo!()
}

/// The TLS chain (leaf first) of a security server that acts for `client` at `at` [§3.2, §11.1 rows 2 and 3].
///
/// `client` is the service's client when the provider is checked, the message's client when the consumer is.
///
/// # Errors
/// The first check that fails.
pub fn tls_peer(
    conf: &GlobalConf,
    chain: &[Certificate],
    ocsp: &[Vec<u8>],
    client: &ClientId,
    at: UnixTime,
) -> Result<Trusted, TrustError> {
    let _ = (conf, chain, ocsp, client, at);
    todo!()
}
