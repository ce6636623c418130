//! Timestamps: requests and tokens [RFC 3161; trust dossier §3.10, §8.2].

use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::digest::DigestValue;

/// DER of a request: the imprint, no nonce, no policy, no certificate asked for.
pub fn request(imprint: &DigestValue) -> Vec<u8> {
    let _ = imprint;
    todo!()
}

/// Why a response or token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TspError {
    /// Not a response or token.
    #[error("the timestamp cannot be read")]
    Malformed,
    /// The service said no.
    #[error("the timestamping service refused with status {0}")]
    NotGranted(u32),
    /// Stamps something else.
    #[error("the timestamp is for other data")]
    Imprint,
    /// Signer is no approved TSA.
    #[error("the timestamp is not signed by an approved timestamping service")]
    UnknownSigner,
    /// Bad signature.
    #[error("the timestamp's signature does not verify")]
    Signature,
}

/// A timestamp token (CMS ContentInfo), beside its DER.
#[derive(Clone, Debug)]
pub struct Token {
    _private: (),
}

impl Token {
    /// From a `TimeStampResp`; the status must be granted or grantedWithMods.
    ///
    /// # Errors
    /// [`TspError::Malformed`], [`TspError::NotGranted`].
    pub fn from_response(der: &[u8]) -> Result<Self, TspError> {
        let _ = der;
        todo!()
    }
    /// From the DER of a token.
    ///
    /// # Errors
    /// [`TspError::Malformed`].
    pub fn parse(der: &[u8]) -> Result<Self, TspError> {
        let _ = der;
        todo!()
    }
    /// Its DER.
    pub fn der(&self) -> &[u8] {
        todo!()
    }
    /// The same token with `cert` among its CMS certificates, as the reference stores it.
    pub fn with_certificate(&self, cert: &Certificate) -> Self {
        let _ = cert;
        todo!()
    }
    /// genTime, without checking anything.
    pub fn gen_time(&self) -> UnixTime {
        todo!()
    }
    /// The stamped digest.
    pub fn imprint(&self) -> &DigestValue {
        todo!()
    }
    /// Signed by one of `tsas` over `data`; gives genTime and the signer.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(&self, data: &[u8], tsas: &[Certificate]) -> Result<(UnixTime, Certificate), TspError> {
        let _ = (data, tsas);
        todo!()
    }
}
