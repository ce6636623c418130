//! The responder's side: which certificates a request asks about, and signed answers [RFC 6960 §4.1, §4.2].

use der::asn1::{Any, BitString, Null, OctetString};
use der::{Decode, Encode};
use proto::time::UnixTime;

use super::wire::{self, CertId, CertStatus, ResponderId, RevokedInfo};
use super::{MAX_ANSWERS, Status};
use crate::algorithm::{EcdsaForm, SignatureAlgorithm};
use crate::asn1::{AlgorithmIdentifier, write_time};
use crate::cert::Certificate;
use crate::key::{KeyError, PrivateKey};

/// What a request asks about, in order; `None` when it is no request, or asks for too much.
pub fn read_request(der: &[u8]) -> Option<Vec<CertId>> {
    let request = wire::OcspRequest::from_der(der).ok()?;
    let asked: Vec<_> = request.tbs.requests.into_iter().map(|one| one.cert_id).collect();
    (1..=MAX_ANSWERS).contains(&asked.len()).then_some(asked)
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// About which certificate.
    pub cert_id: CertId,
    /// What is said.
    pub status: Status,
    /// Since when it is so.
    pub this_update: UnixTime,
    /// When there will be a newer one.
    pub next_update: Option<UnixTime>,
}

impl Answer {
    /// About `cert` as issued by `issuer`.
    ///
    /// # Errors
    /// [`KeyError::Failed`], which no parsed certificate causes.
    pub fn about(
        cert: &Certificate,
        issuer: &Certificate,
        status: Status,
        this_update: UnixTime,
        next_update: Option<UnixTime>,
    ) -> Result<Self, KeyError> {
        let cert_id = CertId::sha1(cert, issuer).map_err(|_| KeyError::Failed)?;
        Ok(Self { cert_id, status, this_update, next_update })
    }
}

/// How a responder names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// Its subject.
    Name,
    /// SHA-1 of its key.
    Key,
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Responder<'a> {
    /// Its certificate, sent along.
    pub cert: &'a Certificate,
    /// The key to it.
    pub key: &'a PrivateKey,
    /// How it names itself.
    pub named_by: NamedBy,
    /// What it signs with.
    pub algorithm: SignatureAlgorithm,
}

/// DER of a signed, successful response.
///
/// # Errors
/// What the key says.
pub fn respond(
    answers: &[Answer],
    responder: Responder<'_>,
    produced_at: UnixTime,
) -> Result<Vec<u8>, KeyError> {
    let data = response_data(answers, responder, produced_at).map_err(|_| KeyError::Failed)?;
    let signature = responder.key.sign(responder.algorithm, EcdsaForm::Der, &data)?;
    envelope(&data, &signature, responder).map_err(|_| KeyError::Failed)
}

/// DER of a response that only says that there is none, such as 6 for unauthorized [RFC 6960 §4.2.1].
pub fn refuse(status: u8) -> Vec<u8> {
    vec![0x30, 0x03, 0x0a, 0x01, status]
}

fn response_data(
    answers: &[Answer],
    responder: Responder<'_>,
    produced_at: UnixTime,
) -> der::Result<Vec<u8>> {
    let name = || Any::from_der(responder.cert.subject_der());
    let key = || OctetString::new(ring::digest::digest(SHA1, responder.cert.key_bits()).as_ref());
    wire::ResponseData {
        version: None,
        responder: match responder.named_by {
            NamedBy::Name => ResponderId::Name(name()?),
            NamedBy::Key => ResponderId::Key(key()?),
        },
        produced_at: write_time(produced_at)?,
        responses: answers.iter().map(single).collect::<der::Result<_>>()?,
        extensions: None,
    }
    .to_der()
}

const SHA1: &ring::digest::Algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;

fn single(answer: &Answer) -> der::Result<wire::SingleResponse> {
    let since = write_time(answer.this_update)?;
    Ok(wire::SingleResponse {
        cert_id: answer.cert_id.clone(),
        status: match answer.status {
            Status::Good => CertStatus::Good(Null),
            Status::Revoked => CertStatus::Revoked(RevokedInfo { time: since.clone(), reason: None }),
            Status::Unknown => CertStatus::Unknown(Null),
        },
        this_update: since,
        next_update: answer.next_update.map(write_time).transpose()?,
        extensions: None,
    })
}

fn envelope(data: &[u8], signature: &[u8], responder: Responder<'_>) -> der::Result<Vec<u8>> {
    let basic = wire::BasicResponse {
        tbs: Any::from_der(data)?,
        algorithm: Any::encode_from(&AlgorithmIdentifier::of(responder.algorithm)?)?,
        signature: BitString::from_bytes(signature)?,
        certs: Some(vec![Any::from_der(responder.cert.der())?]),
    };
    wire::OcspResponse {
        status: Any::new(der::Tag::Enumerated, [0])?,
        bytes: Some(wire::ResponseBytes {
            kind: wire::BASIC_RESPONSE,
            response: OctetString::new(basic.to_der()?)?,
        }),
    }
    .to_der()
}
