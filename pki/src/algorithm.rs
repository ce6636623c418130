//! Signature algorithms: XML-DSig URIs, the names management requests use, X.509 OIDs, and verification with each.

use crate::digest::DigestAlgorithm;

/// How a signature value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1,
    /// RSASSA-PSS with MGF1 of the same digest, salt as long as the digest.
    RsaPss,
    /// ECDSA on the key's curve.
    Ecdsa,
}

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureAlgorithm {
    /// Scheme.
    pub scheme: Scheme,
    /// Digest.
    pub digest: DigestAlgorithm,
}

/// How an ECDSA value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcdsaForm {
    /// ASN.1 `SEQUENCE { r, s }`: certificates, OCSP, configuration directories, management requests.
    Der,
    /// r‖s, equal halves, possibly shorter than the field: XML signatures.
    Raw,
}

impl SignatureAlgorithm {
    /// XML-DSig URI.
    pub fn uri(self) -> &'static str {
        todo!()
    }
    /// By XML-DSig URI.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let _ = uri;
        todo!()
    }
    /// By the names of management requests: `SHA512withRSA`, `SHA512withRSAandMGF1`, `SHA512withECDSA`.
    pub fn from_jca_name(name: &str) -> Option<Self> {
        let _ = name;
        todo!()
    }
}
