//! The ASN.1 types of OCSP [RFC 6960 §4], and nothing else. Times and serial numbers stay raw: what is compared is the bytes.

use der::asn1::{Any, BitString, Null, ObjectIdentifier, OctetString};
use der::{Choice, Encode, Sequence};

use crate::asn1::{AlgorithmIdentifier, oid};
use crate::cert::Certificate;
use crate::digest::DigestAlgorithm;
use crate::name::Name;

pub(super) const BASIC_RESPONSE: ObjectIdentifier = oid("1.3.6.1.5.5.7.48.1.1");

/// `OCSPRequest`, unsigned.
#[derive(Clone, Debug, Sequence)]
pub(super) struct OcspRequest {
    pub(super) tbs: TbsRequest,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) signature: Option<Any>,
}

#[derive(Clone, Debug, Sequence)]
pub(super) struct TbsRequest {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) version: Option<u8>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) requestor: Option<Any>,
    pub(super) requests: Vec<SingleRequest>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Any>,
}

#[derive(Clone, Debug, Sequence)]
pub(super) struct SingleRequest {
    pub(super) cert_id: CertId,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Any>,
}

/// Which certificate is meant: digests of the issuer's name and key, and the serial number.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct CertId {
    pub(super) algorithm: AlgorithmIdentifier,
    pub(super) name_hash: OctetString,
    pub(super) key_hash: OctetString,
    pub(super) serial: Any,
}

impl CertId {
    /// With SHA-1, the only kind that X-Road uses.
    ///
    /// # Errors
    /// Only when the serial number is no INTEGER's content, which a parsed certificate rules out.
    pub(super) fn sha1(cert: &Certificate, issuer: &Certificate) -> der::Result<Self> {
        let digest = |data: &[u8]| OctetString::new(DigestAlgorithm::Sha1.digest(data).value);
        Ok(Self {
            algorithm: AlgorithmIdentifier { algorithm: SHA1, parameters: Some(Any::null()) },
            name_hash: digest(cert.issuer_der())?,
            key_hash: digest(issuer.key_bits())?,
            serial: Any::new(der::Tag::Integer, cert.serial_integer())?,
        })
    }
    /// It means `cert` as issued by `issuer`, and says so with SHA-1.
    pub(super) fn is(&self, cert: &Certificate, issuer: &Certificate) -> bool {
        Self::sha1(cert, issuer).is_ok_and(|expected| {
            self.algorithm.algorithm == expected.algorithm.algorithm
                && self.name_hash == expected.name_hash
                && self.key_hash == expected.key_hash
                && self.serial == expected.serial
        })
    }
    /// It means a certificate that `issuer` issued, and says so with SHA-1.
    pub fn is_issued_by(&self, issuer: &Certificate) -> bool {
        let digest = |data: &[u8]| DigestAlgorithm::Sha1.digest(data).value;
        self.algorithm.algorithm == SHA1
            && self.name_hash.as_bytes() == digest(issuer.subject_der())
            && self.key_hash.as_bytes() == digest(issuer.key_bits())
    }
    /// Content of the serial number's INTEGER, sign byte included.
    pub fn serial_integer(&self) -> &[u8] {
        self.serial.value()
    }
}

const SHA1: ObjectIdentifier = oid("1.3.14.3.2.26");

#[derive(Clone, Debug, Sequence)]
pub(super) struct OcspResponse {
    /// ENUMERATED; 0 is successful.
    pub(super) status: Any,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) bytes: Option<ResponseBytes>,
}

#[derive(Clone, Debug, Sequence)]
pub(super) struct ResponseBytes {
    pub(super) kind: ObjectIdentifier,
    pub(super) response: OctetString,
}

#[derive(Clone, Debug, Sequence)]
pub(super) struct BasicResponse {
    /// `ResponseData`, kept as the bytes that were signed.
    pub(super) tbs: Any,
    pub(super) algorithm: Any,
    pub(super) signature: BitString,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) certs: Option<Vec<Any>>,
}

#[derive(Clone, Debug, Sequence)]
pub(super) struct ResponseData {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) version: Option<u8>,
    pub(super) responder: ResponderId,
    pub(super) produced_at: Any,
    pub(super) responses: Vec<SingleResponse>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Any>,
}

#[derive(Clone, Debug, Choice)]
pub(super) enum ResponderId {
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", constructed = "true")]
    Name(Any),
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", constructed = "true")]
    Key(OctetString),
}

impl ResponderId {
    /// `cert` has this name, or this key. It only says whose key to try, so names need not be equal to the byte.
    pub(super) fn is(&self, cert: &Certificate) -> bool {
        match self {
            Self::Name(name) => {
                let name = name.to_der().ok().and_then(|der| Name::parse(&der));
                name.is_some_and(|name| name.matches_either_way(cert.subject_name()))
            }
            Self::Key(hash) => DigestAlgorithm::Sha1.digest(cert.key_bits()).value == hash.as_bytes(),
        }
    }
}

#[derive(Clone, Debug, Sequence)]
pub(super) struct SingleResponse {
    pub(super) cert_id: CertId,
    pub(super) status: CertStatus,
    pub(super) this_update: Any,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) next_update: Option<Any>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Any>,
}

#[derive(Clone, Debug, Choice)]
pub(super) enum CertStatus {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

#[derive(Clone, Debug, Sequence)]
pub(super) struct RevokedInfo {
    pub(super) time: Any,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) reason: Option<Any>,
}
