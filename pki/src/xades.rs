//! The signature document: XAdES in one fixed shape that we write, and the two shapes that are in the field, which we read
//! [TS 101 903].
//!
//! Writing ([`Template`]): everything that depends on certificate and OCSP answers is rendered once; a signature fills in the
//! time, two digests and the value. Our text is its own canonical form, but for the namespaces that the canonical form repeats
//! on the two digested elements. Reading ([`Document::parse`]): through the XML gate, at most [`MAX_BYTES`] and
//! [`MAX_REFERENCES`]; one signature, every id unique, every reference known, none twice, none transformed on its way. What is
//! returned comes from the very nodes whose digests are checked. What stands as we write it, beside one of the same certificate that was
//! read before, is read by its bytes ([`Known`]).
//!
//! | | classic (all releases) | since 7.6, without chains |
//! |---|---|---|
//! | root | some element around `ds:Signature` | `ds:Signature` |
//! | canonical form | inclusive 1.0 | exclusive 1.0 |
//! | certificate | `SigningCertificate` | `SigningCertificateV2` |
//!
//! Not here: whether references cover a message ([`crate::message_signature`]), what the certificate is worth ([`crate::trust`]).

use proto::fault::FaultCode;
use proto::time::UnixTime;
use proto::xml;

use crate::algorithm::{EcdsaForm, Scheme, SignatureAlgorithm};
use crate::cert::Certificate;
use crate::digest::DigestValue;
use crate::strict::StrictError;

mod known;
mod read;
mod write;

pub use known::Known;
pub use read::{ReadCert, with_timestamp};
pub use write::{Template, Unsigned};

/// Largest signature document that is read.
pub const MAX_BYTES: usize = 4 << 20;
/// Most references in one document, the one to its own properties included. More parts than that need a hash chain.
pub const MAX_REFERENCES: usize = 30;
/// Most certificates carried beside the signing one: as many as a path is looked for in.
pub const MAX_EXTRA: usize = crate::chain::MAX_INTERMEDIATES;
/// Longest namespace name, bytes. Exclusive canonicalisation writes one again for every element that uses it, so that a long one would
/// make of a small document a canonical form of gigabytes.
const MAX_NAMESPACE_BYTES: usize = 128;

const ASIC: &str = "http://uri.etsi.org/02918/v1.2.1#";
const XADES: &str = "http://uri.etsi.org/01903/v1.3.2#";
/// `Type` of the reference to the SignedProperties.
const SIGNED_PROPERTIES_TYPE: &str = "http://uri.etsi.org/01903#SignedProperties";

/// A signature document as read; nothing but its form is verified yet.
#[derive(Clone, Debug)]
pub struct Document {
    /// `ds:SignatureMethod`.
    pub algorithm: SignatureAlgorithm,
    /// Canonical SignedInfo.
    pub signed_info: Vec<u8>,
    /// Decoded signature value.
    pub value: Vec<u8>,
    /// References to parts: URI and digest, each URI once.
    pub references: Vec<(String, DigestValue)>,
    /// The signing certificate.
    pub signing: Certificate,
    /// Other certificates carried.
    pub extra: Vec<Certificate>,
    /// OCSP responses carried, DER.
    pub ocsp: Vec<Vec<u8>>,
    /// `xades:SigningTime`; informational.
    pub signing_time: Option<UnixTime>,
    /// Token of a single-record timestamp, DER; unread, and empty when it is not base64.
    pub timestamp: Option<Vec<u8>>,
    /// SignedProperties have the digest that SignedInfo gives them.
    properties_match: bool,
    /// SignedProperties name the signing certificate by its digest.
    names_certificate: bool,
}

impl Document {
    /// The digest that the document gives the part `uri`, if it refers to it.
    pub fn reference(&self, uri: &str) -> Option<&DigestValue> {
        self.references.iter().find(|(named, _)| named == uri).map(|(_, digest)| digest)
    }

    /// What tells this signature from all others: the part of its value that nobody but the key's holder can write differently.
    ///
    /// An RSA value has one form. An ECDSA value (r, s) also holds as (r, n − s), and with zeros in front of both halves: r is left.
    pub fn mark(&self) -> &[u8] {
        match self.algorithm.scheme {
            Scheme::RsaPkcs1 | Scheme::RsaPss => &self.value,
            Scheme::Ecdsa => {
                let r = &self.value[..self.value.len() / 2];
                &r[r.iter().take_while(|byte| **byte == 0).count()..]
            }
        }
    }

    /// The value holds over SignedInfo under the signing certificate's key, SignedProperties has its digest and names the certificate.
    ///
    /// # Errors
    /// [`SignatureError::EmptyValue`], [`SignatureError::InvalidValue`], [`SignatureError::OtherCertificate`].
    pub fn verify(&self) -> Result<(), SignatureError> {
        if self.value.is_empty() {
            return Err(SignatureError::EmptyValue);
        }
        self.signing
            .verify(self.algorithm, EcdsaForm::Raw, &self.signed_info, &self.value)
            .map_err(|_| SignatureError::InvalidValue)?;
        if !self.properties_match {
            return Err(SignatureError::InvalidValue);
        }
        if self.names_certificate { Ok(()) } else { Err(SignatureError::OtherCertificate) }
    }
}

/// Why a document is no signature, or not a valid one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not XML.
    #[error("the signature document cannot be read: {0}")]
    Xml(String),
    /// XML that breaks a rule of form.
    #[error("the signature document is malformed: {0}")]
    Malformed(String),
    /// Over [`MAX_REFERENCES`].
    #[error("the signature has more than {MAX_REFERENCES} references")]
    TooManyReferences,
    /// Nothing where the value should be.
    #[error("the signature value is empty")]
    EmptyValue,
    /// The value, or a digest in the document, is wrong.
    #[error("the signature value or a digest in it is wrong")]
    InvalidValue,
    /// Signed over the digest of one certificate, carried with another of the same key.
    #[error("the signature names another certificate than the one it carries")]
    OtherCertificate,
    /// A reference to something that is not there.
    #[error("the signature refers to {0}, which is not there")]
    InvalidReference(String),
}

impl SignatureError {
    /// The last part of the fault code. Three of them are what the stock servers answer, unfitting as it may look.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Xml(_) => FaultCode::InvalidXml,
            Self::Malformed(_) | Self::OtherCertificate => FaultCode::MalformedSignature,
            Self::InvalidValue => FaultCode::InvalidSignatureValue,
            Self::TooManyReferences | Self::EmptyValue | Self::InvalidReference(_) => {
                FaultCode::InternalError
            }
        }
    }
}

impl From<StrictError> for SignatureError {
    fn from(error: StrictError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<xml::XmlError> for SignatureError {
    fn from(error: xml::XmlError) -> Self {
        match error {
            xml::XmlError::Malformed(why) => Self::Xml(why),
            refused @ (xml::XmlError::Doctype | xml::XmlError::Encoding | xml::XmlError::Limit { .. }) => {
                Self::Malformed(refused.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests;
