//! OCSP: requests, responses, and how long to believe them [RFC 6960; wire dossier §11.2].

use std::time::Duration;

use proto::time::UnixTime;

use crate::cert::Certificate;

/// How strict to be; from global configuration.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `ocspFreshnessSeconds`.
    pub freshness: Duration,
    /// `verifyNextUpdate` of the optional part, on by default.
    pub verify_next_update: bool,
    /// How far ahead thisUpdate may lie: 300 s (wire dossier §22 row 8). `None` for old evidence in conformance vectors.
    pub future_tolerance: Option<Duration>,
}

/// DER of a request for one certificate: SHA-1 CertID, no nonce, unsigned.
pub fn request(cert: &Certificate, issuer: &Certificate) -> Vec<u8> {
    let _ = (cert, issuer);
    todo!()
}

/// A parsed response, beside its DER.
#[derive(Clone, Debug)]
pub struct Response {
    _private: (),
}

/// Certificate status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Good.
    Good,
    /// Revoked.
    Revoked,
    /// Unknown to the responder.
    Unknown,
}

/// Why a response does not vouch for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not an OCSP response, or not a successful one.
    #[error("the OCSP response cannot be read")]
    Malformed,
    /// For another certificate.
    #[error("the OCSP response is for another certificate")]
    OtherCertificate,
    /// No certificate for its responder id.
    #[error("the OCSP responder is not known")]
    UnknownResponder,
    /// Its signature does not verify.
    #[error("the OCSP response's signature does not verify")]
    Signature,
    /// The responder may not speak for this CA.
    #[error("the OCSP responder is not authorised for this CA")]
    NotAuthorised,
    /// thisUpdate too old.
    #[error("the OCSP response is too old")]
    TooOld,
    /// thisUpdate in the future.
    #[error("the OCSP response is from the future")]
    FromTheFuture,
    /// nextUpdate has passed.
    #[error("a newer OCSP response must exist")]
    Superseded,
    /// Revoked or unknown.
    #[error("the certificate is {0:?}")]
    NotGood(Status),
}

/// Who may answer for an issuer.
#[derive(Clone, Copy, Debug)]
pub struct Responders<'a> {
    /// Certificates configured for the issuer's CA.
    pub configured: &'a [Certificate],
    /// Every CA certificate of the configuration, for finding a responder by id.
    pub known: &'a [Certificate],
}

/// A good answer.
#[derive(Clone, Debug)]
pub struct Good {
    /// thisUpdate.
    pub this_update: UnixTime,
    /// nextUpdate.
    pub next_update: Option<UnixTime>,
    /// producedAt.
    pub produced_at: UnixTime,
    /// The responder's certificate.
    pub responder: Certificate,
    /// Last instant at which these rules still take it.
    pub believe_until: UnixTime,
}

impl Response {
    /// Parses DER, at most 64 KiB.
    ///
    /// # Errors
    /// [`OcspError::Malformed`].
    pub fn parse(der: &[u8]) -> Result<Self, OcspError> {
        let _ = der;
        todo!()
    }
    /// It is about this certificate (SHA-1 CertID of its first answer).
    pub fn is_for(&self, cert: &Certificate, issuer: &Certificate) -> bool {
        let _ = (cert, issuer);
        todo!()
    }
    /// All checks, in the reference's order.
    ///
    /// # Errors
    /// The first that fails.
    pub fn verify(
        &self,
        cert: &Certificate,
        issuer: &Certificate,
        responders: Responders<'_>,
        rules: &Rules,
        at: UnixTime,
    ) -> Result<Good, OcspError> {
        let _ = (cert, issuer, responders, rules, at);
        todo!()
    }
}
