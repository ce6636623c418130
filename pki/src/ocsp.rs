//! OCSP: requests, responses, and how long to believe them [RFC 6960].
//!
//! [`Response::parse`] reads one; [`judge`] decides over all answers at hand for one certificate. Only the first single answer of a
//! response says whom it is about, as the reference has it. There is no nonce: a server fetches a response once and hands it to
//! every peer. [`respond`] is the other side, for a responder.
//!
//! Input is at most [`MAX_RESPONSE_BYTES`]; times are always passed in. Not here: fetching and keeping (`signer`), the path (`chain`).

use std::time::Duration;

use der::{Decode, Encode};
use proto::time::UnixTime;

use crate::algorithm::{EcdsaForm, SignatureAlgorithm};
use crate::asn1::read_time;
use crate::cert::{Certificate, EKU_OCSP_SIGNING};
use crate::public_key::Strength;

pub mod respond;
mod wire;

pub use wire::CertId;

/// Longest response.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Most certificates in a response that are looked at.
const MAX_CERTS: usize = 8;
/// Most single answers in a response.
const MAX_ANSWERS: usize = 64;

/// How strict to be; from global configuration.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `ocspFreshnessSeconds`.
    pub freshness: Duration,
    /// `verifyNextUpdate` of the optional part, on by default.
    pub verify_next_update: bool,
    /// How far ahead thisUpdate may lie: 300 s. `None` for old evidence in conformance vectors.
    pub future_tolerance: Option<Duration>,
}

/// DER of a request for one certificate: SHA-1 CertID, no nonce, unsigned.
pub fn request(cert: &Certificate, issuer: &Certificate) -> Vec<u8> {
    let request = |cert_id| wire::OcspRequest {
        tbs: wire::TbsRequest {
            version: None,
            requestor: None,
            requests: vec![wire::SingleRequest { cert_id, extensions: None }],
            extensions: None,
        },
        signature: None,
    };
    CertId::sha1(cert, issuer)
        .and_then(|cert_id| request(cert_id).to_der())
        .expect("digests and the serial number of a parsed certificate are far below DER's limits")
}

/// A parsed response, beside its DER.
#[derive(Clone, Debug)]
pub struct Response {
    der: Vec<u8>,
    /// The bytes that were signed.
    tbs: Vec<u8>,
    responder: wire::ResponderId,
    produced_at: UnixTime,
    algorithm: Option<SignatureAlgorithm>,
    signature: Vec<u8>,
    certs: Vec<Certificate>,
    first: Single,
    /// The rest, for contradictions.
    more: Vec<Single>,
}

#[derive(Clone, Debug)]
struct Single {
    cert_id: CertId,
    status: Status,
    this_update: UnixTime,
    next_update: Option<UnixTime>,
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

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown to its responder",
        })
    }
}

/// Why a response does not vouch for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not an OCSP response, or not a successful one.
    #[error("the OCSP response cannot be read")]
    Malformed,
    /// There is none for this certificate.
    #[error("there is no OCSP response for the certificate")]
    Missing,
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
    #[error("the certificate is {0}")]
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
        Self::read(der).ok_or(OcspError::Malformed)
    }

    fn read(der: &[u8]) -> Option<Self> {
        if der.len() > MAX_RESPONSE_BYTES {
            return None;
        }
        let outer = wire::OcspResponse::from_der(der).ok()?;
        let successful = outer.status.header().tag() == der::Tag::Enumerated && outer.status.value() == [0];
        let bytes = outer.bytes.filter(|bytes| successful && bytes.kind == wire::BASIC_RESPONSE)?;
        let basic = wire::BasicResponse::from_der(bytes.response.as_bytes()).ok()?;
        let tbs = basic.tbs.to_der().ok()?;
        let data = wire::ResponseData::from_der(&tbs).ok()?;
        if data.version.unwrap_or(0) != 0 || data.responses.len() > MAX_ANSWERS {
            return None;
        }
        let mut answers = data.responses.into_iter().map(Single::read);
        let first = answers.next()??;
        // A certificate that does not parse cannot be the responder's, but it does no harm either.
        let certs = basic.certs.unwrap_or_default();
        let certs =
            certs.iter().take(MAX_CERTS).filter_map(|cert| Certificate::parse(&cert.to_der().ok()?).ok());
        Some(Self {
            certs: certs.collect(),
            produced_at: read_time(&data.produced_at)?,
            responder: data.responder,
            algorithm: SignatureAlgorithm::from_identifier(&basic.algorithm.to_der().ok()?),
            signature: basic.signature.as_bytes()?.to_vec(),
            more: answers.collect::<Option<_>>()?,
            first,
            tbs,
            der: der.to_vec(),
        })
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// What it says of the first certificate in it, whoever signed it.
    pub fn first_status(&self) -> Status {
        self.first.status
    }
    /// thisUpdate of its first answer; nothing is checked.
    pub fn this_update(&self) -> UnixTime {
        self.first.this_update
    }
    /// It is about this certificate (SHA-1 CertID of its first answer).
    pub fn is_for(&self, cert: &Certificate, issuer: &Certificate) -> bool {
        self.first.cert_id.is(cert, issuer)
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
        let responder = self.authenticate(cert, issuer, responders)?;
        self.check_times(rules, at)?;
        match self.status(cert, issuer) {
            Status::Good => Ok(self.good(responder, rules)),
            status => Err(OcspError::NotGood(status)),
        }
    }

    /// Is it about the certificate, and from someone who may say so? Gives the responder's certificate.
    fn authenticate(
        &self,
        cert: &Certificate,
        issuer: &Certificate,
        responders: Responders<'_>,
    ) -> Result<Certificate, OcspError> {
        if !self.is_for(cert, issuer) {
            return Err(OcspError::OtherCertificate);
        }
        let everyone =
            responders.configured.iter().chain([issuer]).chain(responders.known).chain(&self.certs);
        let mut failure = OcspError::UnknownResponder;
        for candidate in everyone.filter(|candidate| self.responder.is(candidate)) {
            // Several certificates may have the responder's name, for instance after its key was changed.
            if !self.is_signed_by(candidate) {
                if failure == OcspError::UnknownResponder {
                    failure = OcspError::Signature;
                }
            } else if self.is_authorised(candidate, issuer, responders.configured) {
                return Ok(candidate.clone());
            } else {
                failure = OcspError::NotAuthorised;
            }
        }
        Err(failure)
    }

    /// When it was made. thisUpdate is held against the clock and producedAt is not, so an early producedAt alone does not make an answer
    /// one of former times, when weaker signatures were good.
    fn made(&self) -> UnixTime {
        self.produced_at.max(self.first.this_update)
    }

    /// Certificates sent along, which prove nothing by themselves.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certs
    }
    /// The signature verifies with this certificate's key; whether it may speak is another question.
    pub fn is_signed_by(&self, responder: &Certificate) -> bool {
        let Some(algorithm) = self.algorithm else { return false };
        let strength = Strength::of(self.made());
        let key = responder.public_key();
        key.verify(algorithm, EcdsaForm::Der, strength, &self.tbs, &self.signature).is_ok()
    }

    /// Configured for the CA, the CA itself, or named by the CA for this purpose (and in its validity when it answered).
    fn is_authorised(
        &self,
        responder: &Certificate,
        issuer: &Certificate,
        configured: &[Certificate],
    ) -> bool {
        configured.contains(responder)
            || responder == issuer
            || (responder.issuer_name().matches(issuer.subject_name())
                && responder.extended_key_usage().iter().any(|usage| usage == EKU_OCSP_SIGNING)
                && responder.is_valid_at(self.made())
                && responder.verify_issued_by(issuer).is_ok())
    }

    fn check_times(&self, rules: &Rules, at: UnixTime) -> Result<(), OcspError> {
        if self.first.this_update < at.minus(rules.freshness) {
            return Err(OcspError::TooOld);
        }
        if rules.future_tolerance.is_some_and(|tolerance| self.first.this_update > at.plus(tolerance)) {
            return Err(OcspError::FromTheFuture);
        }
        let next = self.first.next_update.filter(|_| rules.verify_next_update);
        if next.is_some_and(|next| next < at) { Err(OcspError::Superseded) } else { Ok(()) }
    }

    /// The worst that it says about the certificate.
    fn status(&self, cert: &Certificate, issuer: &Certificate) -> Status {
        let others = self.more.iter().filter(|single| single.cert_id.is(cert, issuer));
        std::iter::once(&self.first)
            .chain(others)
            .map(|single| single.status)
            .find(|status| *status != Status::Good)
            .unwrap_or(Status::Good)
    }

    fn good(&self, responder: Certificate, rules: &Rules) -> Good {
        let stale = self.first.this_update.plus(rules.freshness);
        let next = self.first.next_update.filter(|_| rules.verify_next_update);
        Good {
            this_update: self.first.this_update,
            next_update: self.first.next_update,
            produced_at: self.produced_at,
            responder,
            believe_until: next.map_or(stale, |next| next.min(stale)),
        }
    }
}

impl Single {
    fn read(single: wire::SingleResponse) -> Option<Self> {
        Some(Self {
            status: match single.status {
                wire::CertStatus::Good(_) => Status::Good,
                wire::CertStatus::Revoked(_) => Status::Revoked,
                wire::CertStatus::Unknown(_) => Status::Unknown,
            },
            this_update: read_time(&single.this_update)?,
            next_update: match single.next_update {
                Some(next) => Some(read_time(&next)?),
                None => None,
            },
            cert_id: single.cert_id,
        })
    }
}

/// Judges a certificate by all answers at hand: every answer for it must be authentic, any that is not good decides, else the newest
/// one. Answers for other certificates do not matter.
///
/// # Errors
/// [`OcspError::Missing`] when none is for it; else as [`Response::verify`].
pub fn judge(
    answers: &[Response],
    cert: &Certificate,
    issuer: &Certificate,
    responders: Responders<'_>,
    rules: &Rules,
    at: UnixTime,
) -> Result<Good, OcspError> {
    let mut newest: Option<&Response> = None;
    for answer in answers.iter().filter(|answer| answer.is_for(cert, issuer)) {
        answer.authenticate(cert, issuer, responders)?;
        // Not good is worse than good, then newer than older.
        let rank =
            |answer: &Response| (answer.status(cert, issuer) != Status::Good, answer.first.this_update);
        if newest.is_none_or(|newest| rank(answer) > rank(newest)) {
            newest = Some(answer);
        }
    }
    newest.ok_or(OcspError::Missing)?.verify(cert, issuer, responders, rules, at)
}

#[cfg(test)]
mod tests;
