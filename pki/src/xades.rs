//! The signature document: XAdES in one fixed shape that we write, and the two shapes that are in the field, which we read
//! [TS 101 903; wire dossier §9].
//!
//! Writing: a [`Template`] per signing certificate and OCSP set is rendered once; a signature fills in the time, two digests and the
//! value. Our text is its own canonical form. Reading: strict, bounded, every id unique, every reference known.

use proto::time::UnixTime;

use crate::algorithm::SignatureAlgorithm;
use crate::cert::Certificate;
use crate::digest::DigestValue;

/// Everything of a signature document that does not change from message to message.
#[derive(Clone, Debug)]
pub struct Template {
    _private: (),
}

/// A document waiting for its signature value.
#[derive(Clone, Debug)]
pub struct Unsigned {
    _private: (),
}

impl Template {
    /// `intermediates` below the trust anchor; `ocsp` DER, the signing certificate's first.
    pub fn new(
        signing: &Certificate,
        intermediates: &[Certificate],
        ocsp: &[Vec<u8>],
        algorithm: SignatureAlgorithm,
    ) -> Self {
        let _ = (signing, intermediates, ocsp, algorithm);
        todo!()
    }
    /// For one reference: [`crate::hash_chain::MESSAGE_URI`] or [`crate::hash_chain::SIGNATURE_RESULT_URI`] with its SHA-512.
    pub fn prepare(&self, uri: &str, digest: &DigestValue, signing_time: UnixTime) -> Unsigned {
        let _ = (uri, digest, signing_time);
        todo!()
    }
}

impl Unsigned {
    /// The canonical SignedInfo: what the key signs.
    pub fn signed_info(&self) -> &[u8] {
        todo!()
    }
    /// The finished document. `value`: RSA as is, ECDSA r‖s.
    pub fn finish(self, value: &[u8]) -> Vec<u8> {
        let _ = value;
        todo!()
    }
}

/// A signature document as read; nothing is verified yet.
#[derive(Clone, Debug)]
pub struct Document {
    /// `ds:SignatureMethod`.
    pub algorithm: SignatureAlgorithm,
    /// Canonical SignedInfo.
    pub signed_info: Vec<u8>,
    /// Decoded signature value.
    pub value: Vec<u8>,
    /// References to parts: URI and digest.
    pub references: Vec<(String, DigestValue)>,
    /// The signing certificate.
    pub signing: Certificate,
    /// Other certificates carried.
    pub extra: Vec<Certificate>,
    /// OCSP responses carried, DER.
    pub ocsp: Vec<Vec<u8>>,
    /// `xades:SigningTime`; informational.
    pub signing_time: Option<UnixTime>,
    /// Token of a single-record timestamp, DER.
    pub timestamp: Option<Vec<u8>>,
}

/// Why a document is no signature. `InvalidValue` and `InvalidReference` come from [`Document::verify`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// `malformed_signature`.
    #[error("the signature document is malformed: {0}")]
    Malformed(String),
    /// `invalid_signature_value`.
    #[error("the signature value or a digest in it is wrong")]
    InvalidValue,
    /// `invalid_reference`.
    #[error("the signature refers to {0}, which is not there")]
    InvalidReference(String),
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`SignatureError::Malformed`].
    pub fn parse(xml: &[u8]) -> Result<Self, SignatureError> {
        let _ = xml;
        todo!()
    }
    /// The value holds over SignedInfo under the signing certificate's key, and SignedProperties has its digest.
    ///
    /// # Errors
    /// [`SignatureError::InvalidValue`].
    pub fn verify(&self) -> Result<(), SignatureError> {
        todo!()
    }
}

/// `xml` with the token of a single-record timestamp put first into `xades:UnsignedSignatureProperties`.
///
/// # Errors
/// [`SignatureError::Malformed`].
pub fn with_timestamp(xml: &[u8], token_der: &[u8]) -> Result<Vec<u8>, SignatureError> {
    let _ = (xml, token_der);
    todo!()
}
