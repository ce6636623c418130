//! X.509 certificates: the parsed fields the protocols ask for, always beside the exact DER [RFC 5280 §4].

use std::sync::Arc;

use proto::time::UnixTime;

use crate::algorithm::{EcdsaForm, SignatureAlgorithm};

/// A parsed certificate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Certificate(#[expect(dead_code)] Arc<Inner>);

#[derive(Debug)]
struct Inner {
    _der: Vec<u8>,
}

/// Why DER is no certificate we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// Not a certificate.
    #[error("the certificate cannot be parsed")]
    Malformed,
    /// The signature does not verify under the key, or the algorithm does not fit.
    #[error("the signature does not verify")]
    BadSignature,
    /// An algorithm we do not take.
    #[error("the algorithm is not supported")]
    Algorithm,
    /// Neither key usage nor extended key usage says what it is for.
    #[error("the certificate has no key usage")]
    NoKeyUsage,
}

impl Certificate {
    /// Parses DER; also accepts PEM text, as one stored configuration has it.
    ///
    /// # Errors
    /// [`CertError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertError> {
        let _ = bytes;
        todo!()
    }
    /// The exact DER.
    pub fn der(&self) -> &[u8] {
        todo!()
    }
    /// DER of the subject name.
    pub fn subject_der(&self) -> &[u8] {
        todo!()
    }
    /// DER of the issuer name.
    pub fn issuer_der(&self) -> &[u8] {
        todo!()
    }
    /// Subject as RFC 2253 text.
    pub fn subject(&self) -> String {
        todo!()
    }
    /// Issuer as RFC 2253 text, as the reference writes it in `ds:X509IssuerName`.
    pub fn issuer(&self) -> String {
        todo!()
    }
    /// Serial number, big-endian without sign byte.
    pub fn serial(&self) -> &[u8] {
        todo!()
    }
    /// Serial number in decimal.
    pub fn serial_decimal(&self) -> String {
        todo!()
    }
    /// First instant it holds.
    pub fn not_before(&self) -> UnixTime {
        todo!()
    }
    /// Last instant it holds.
    pub fn not_after(&self) -> UnixTime {
        todo!()
    }
    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        todo!()
    }
    /// The key bits inside the SubjectPublicKeyInfo (what OCSP key hashes cover).
    pub fn key_bits(&self) -> &[u8] {
        todo!()
    }
    /// Key usage says nonRepudiation (trust dossier §3.1).
    pub fn is_signing(&self) -> bool {
        todo!()
    }
    /// extendedKeyUsage clientAuth, or digitalSignature, keyEncipherment, dataEncipherment.
    ///
    /// # Errors
    /// [`CertError::NoKeyUsage`] when there is nothing to go by.
    pub fn is_authentication(&self) -> Result<bool, CertError> {
        todo!()
    }
    /// Issuer and subject are the same name.
    pub fn is_self_issued(&self) -> bool {
        todo!()
    }
    /// SHA-1 of the DER.
    pub fn sha1(&self) -> [u8; 20] {
        todo!()
    }
    /// SHA-256 of the DER.
    pub fn sha256(&self) -> [u8; 32] {
        todo!()
    }
    /// SHA-512 of the DER.
    pub fn sha512(&self) -> [u8; 64] {
        todo!()
    }
    /// Verifies `signature` over `message` with this certificate's key.
    ///
    /// # Errors
    /// [`CertError::BadSignature`], [`CertError::Algorithm`].
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CertError> {
        let _ = (algorithm, form, message, signature);
        todo!()
    }
    /// Verifies that `issuer` signed this certificate.
    ///
    /// # Errors
    /// [`CertError::BadSignature`], [`CertError::Algorithm`].
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), CertError> {
        let _ = issuer;
        todo!()
    }
}
