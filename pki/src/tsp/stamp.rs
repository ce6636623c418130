//! The service's side: what a request asks for, and signed tokens [RFC 3161 §2.4].

use der::asn1::{Any, Int, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Sequence, Tag};
use proto::time::UnixTime;

use super::{
    CERTIFICATES, CONTENT_TYPE, MESSAGE_DIGEST, MessageImprint, SIGNED_ATTRIBUTES, SIGNING_CERTIFICATE_V2,
    TST_INFO, TimeStampReq, content_info,
};
use crate::algorithm::EcdsaForm;
use crate::asn1::{self, AlgorithmIdentifier};
use crate::cert::Certificate;
use crate::digest::DigestValue;
use crate::key::{KeyError, PrivateKey};

/// Longest request.
pub const MAX_REQUEST_BYTES: usize = 4096;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to stamp.
    pub imprint: DigestValue,
    /// The service's certificate is wanted in the token.
    pub wants_certificate: bool,
    nonce: Option<Int>,
}

impl Request {
    /// Reads the DER; `None` when it is no request, or one for a digest that is not known.
    pub fn parse(der: &[u8]) -> Option<Self> {
        if der.len() > MAX_REQUEST_BYTES {
            return None;
        }
        let request = TimeStampReq::from_der(der).ok().filter(|request| request.version == 1)?;
        Some(Self {
            imprint: request.imprint.read()?,
            wants_certificate: request.cert_req,
            nonce: request.nonce,
        })
    }
}

/// Who stamps, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Stamper<'a> {
    /// Its certificate.
    pub cert: &'a Certificate,
    /// The key to it.
    pub key: &'a PrivateKey,
    /// Policy under which it stamps, dotted OID.
    pub policy: &'a str,
}

/// `TSTInfo`.
#[derive(Sequence)]
struct TstInfo {
    version: u8,
    policy: ObjectIdentifier,
    imprint: MessageImprint,
    serial: u64,
    gen_time: Any,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
}

/// DER of a granting `TimeStampResp`; every token needs a `serial` of its own.
///
/// # Errors
/// What the key says, or [`KeyError::Failed`] when `policy` is no OID.
pub fn grant(
    request: &Request,
    stamper: Stamper<'_>,
    serial: u64,
    at: UnixTime,
) -> Result<Vec<u8>, KeyError> {
    let failed = |_| KeyError::Failed;
    let info = tst_info(request, stamper, serial, at).map_err(failed)?;
    let attributes = signed_attributes(&info, stamper).map_err(failed)?;
    let to_sign = asn1::tlv(Tag::Set, &attributes).map_err(failed)?;
    let signature = stamper.key.sign(stamper.key.default_algorithm(), EcdsaForm::Der, &to_sign)?;
    response(request, stamper, &info, &attributes, &signature).map_err(failed)
}

/// DER of a `TimeStampResp` that refuses: PKIStatus rejection and the bit of PKIFailureInfo.
pub fn refuse(failure: u8) -> Vec<u8> {
    // SEQUENCE { SEQUENCE { INTEGER 2, BIT STRING } }: the named bit is the last one that is written.
    let unused = 7 - failure % 8;
    let mut bits = vec![0; usize::from(failure / 8) + 1];
    if let Some(last) = bits.last_mut() {
        *last = 1 << unused;
    }
    let tlv = |tag, content: &[u8]| asn1::tlv(tag, content).expect("a few bytes");
    let failure = tlv(Tag::BitString, &[&[unused], bits.as_slice()].concat());
    tlv(Tag::Sequence, &tlv(Tag::Sequence, &[tlv(Tag::Integer, &[2]), failure].concat()))
}

fn tst_info(request: &Request, stamper: Stamper<'_>, serial: u64, at: UnixTime) -> der::Result<Vec<u8>> {
    TstInfo {
        version: 1,
        policy: ObjectIdentifier::new(stamper.policy)?,
        imprint: MessageImprint::of(&request.imprint)?,
        serial,
        gen_time: asn1::write_time(at)?,
        nonce: request.nonce.clone(),
    }
    .to_der()
}

/// The attributes in DER order.
fn signed_attributes(info: &[u8], stamper: Stamper<'_>) -> der::Result<Vec<u8>> {
    let attribute = |kind: ObjectIdentifier, value: &[u8]| {
        asn1::tlv(Tag::Sequence, &[kind.to_der()?, asn1::tlv(Tag::Set, value)?].concat())
    };
    let digest = stamper.key.default_algorithm().digest.digest(info).value;
    // SigningCertificateV2 with SHA-256, its default, three sequences deep.
    let mut cert = OctetString::new(stamper.cert.sha256())?.to_der()?;
    for _ in 0..3 {
        cert = asn1::tlv(Tag::Sequence, &cert)?;
    }
    let mut attributes = [
        attribute(CONTENT_TYPE, &TST_INFO.to_der()?)?,
        attribute(MESSAGE_DIGEST, &OctetString::new(digest)?.to_der()?)?,
        attribute(SIGNING_CERTIFICATE_V2, &cert)?,
    ];
    attributes.sort();
    Ok(attributes.concat())
}

fn response(
    request: &Request,
    stamper: Stamper<'_>,
    info: &[u8],
    attributes: &[u8],
    signature: &[u8],
) -> der::Result<Vec<u8>> {
    let algorithm = stamper.key.default_algorithm();
    let digest = AlgorithmIdentifier {
        algorithm: ObjectIdentifier::new(algorithm.digest.oid())?,
        parameters: Some(Any::null()),
    };
    let serial = Any::new(Tag::Integer, stamper.cert.serial_integer())?.to_der()?;
    let signer = [
        1_u8.to_der()?,
        asn1::tlv(Tag::Sequence, &[stamper.cert.issuer_der(), &serial].concat())?,
        digest.to_der()?,
        asn1::tlv(SIGNED_ATTRIBUTES, attributes)?,
        AlgorithmIdentifier::of(algorithm)?.to_der()?,
        OctetString::new(signature)?.to_der()?,
    ];
    let content = asn1::tlv(CERTIFICATES, &OctetString::new(info)?.to_der()?)?;
    let mut data = vec![
        3_u8.to_der()?,
        asn1::tlv(Tag::Set, &digest.to_der()?)?,
        asn1::tlv(Tag::Sequence, &[TST_INFO.to_der()?, content].concat())?,
    ];
    if request.wants_certificate {
        data.push(asn1::tlv(CERTIFICATES, stamper.cert.der())?);
    }
    data.push(asn1::tlv(Tag::Set, &asn1::tlv(Tag::Sequence, &signer.concat())?)?);
    let granted = asn1::tlv(Tag::Sequence, &0_u8.to_der()?)?;
    asn1::tlv(Tag::Sequence, &[granted, content_info(&data.concat())?].concat())
}
