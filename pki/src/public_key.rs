//! Public keys and the verification of signatures with them [RFC 8017, FIPS 186-5].
//!
//! RSA of 2048 bits and more is ring's work. OpenSSL does what ring cannot: ECDSA with SHA-512 (the only ECDSA these protocols
//! write), P-521, and what old evidence needs. [`Strength::Current`] is the rule for anything signed today;
//! [`Strength::OldEvidence`] also takes RSA from 1024 bits and SHA-1, and is for certificates, OCSP answers and timestamps that were
//! made before [`SHA1_END`]. Someone who could forge one of today would have to date it back, and then it is too old to be taken.
//!
//! Values longer than [`MAX_SIGNATURE_BYTES`] are refused unread. An ECDSA value has exactly one DER form here.

use std::sync::OnceLock;

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use proto::time::UnixTime;
use ring::signature::{self, RsaParameters, UnparsedPublicKey};
use x509_parser::asn1_rs::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::algorithm::{EcdsaForm, Scheme, SignatureAlgorithm};
use crate::digest::DigestAlgorithm;

/// Longest signature value: RSA-8192.
pub const MAX_SIGNATURE_BYTES: usize = 1024;
/// Shortest RSA key of today, bits.
pub const MIN_RSA_BITS: u32 = 2048;
/// Shortest RSA key of old evidence, bits.
pub const MIN_OLD_RSA_BITS: u32 = 1024;
/// Longest RSA key, bits.
pub const MAX_RSA_BITS: u32 = 8192;

/// An elliptic curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    /// Bytes of a coordinate.
    pub const fn field_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
    /// By OpenSSL's number.
    pub(crate) fn from_nid(nid: Option<Nid>) -> Option<Self> {
        match nid? {
            Nid::X9_62_PRIME256V1 => Some(Self::P256),
            Nid::SECP384R1 => Some(Self::P384),
            Nid::SECP521R1 => Some(Self::P521),
            _ => None,
        }
    }
}

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RSA with so many bits.
    Rsa(u32),
    /// On a curve.
    Ec(Curve),
}

/// How old the thing may be that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// RSA from [`MIN_RSA_BITS`], no SHA-1.
    Current,
    /// RSA from [`MIN_OLD_RSA_BITS`], SHA-1 too.
    OldEvidence,
}

impl Strength {
    /// What fits a thing made at `made`, when the maker's clock can be trusted or a later check ties it to the present.
    pub fn of(made: UnixTime) -> Self {
        if made < SHA1_END { Self::OldEvidence } else { Self::Current }
    }
}

/// 2020-01-01: chosen-prefix collisions of SHA-1 were practical from then on.
pub const SHA1_END: UnixTime = UnixTime::from_secs(1_577_836_800);

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The value is wrong.
    #[error("the signature does not verify")]
    Signature,
    /// Key, algorithm or strength do not fit.
    #[error("the algorithm does not fit the key or is too weak")]
    Algorithm,
}

/// A public key, ready to verify.
#[derive(Debug)]
pub struct PublicKey {
    spki: Vec<u8>,
    bits: Vec<u8>,
    key_type: Option<KeyType>,
    openssl: OnceLock<Option<PKey<Public>>>,
}

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo. A key of a kind that we cannot verify with is kept all the same: it may stand in a
    /// certificate that is only compared.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let (rest, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let bits = info.subject_public_key.data.to_vec();
        let mut key = Self { spki: der.to_vec(), bits, key_type: None, openssl: OnceLock::new() };
        key.key_type = key.openssl().and_then(key_type);
        Some(key)
    }
    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
    /// The bits inside.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }
    /// Its kind, if we can verify with it.
    pub fn key_type(&self) -> Option<KeyType> {
        self.key_type
    }
    fn openssl(&self) -> Option<&PKey<Public>> {
        self.openssl.get_or_init(|| PKey::public_key_from_der(&self.spki).ok()).as_ref()
    }

    /// Verifies `signature` over `message`.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        strength: Strength,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        if signature.len() > MAX_SIGNATURE_BYTES {
            return Err(VerifyError::Signature);
        }
        if strength == Strength::Current && algorithm.for_signatures().is_none() {
            return Err(VerifyError::Algorithm);
        }
        match (self.key_type.ok_or(VerifyError::Algorithm)?, algorithm.scheme) {
            (KeyType::Rsa(bits), Scheme::RsaPkcs1 | Scheme::RsaPss) => {
                let least = if strength == Strength::Current { MIN_RSA_BITS } else { MIN_OLD_RSA_BITS };
                if !(least..=MAX_RSA_BITS).contains(&bits) {
                    return Err(VerifyError::Algorithm);
                }
                match ring_rsa(algorithm).filter(|_| bits >= MIN_RSA_BITS) {
                    Some(ring) => UnparsedPublicKey::new(ring, &self.bits)
                        .verify(message, signature)
                        .map_err(|_| VerifyError::Signature),
                    None => self.verify_openssl_rsa(algorithm, message, signature),
                }
            }
            (KeyType::Ec(curve), Scheme::Ecdsa) => {
                let value = ecdsa_value(curve, form, signature).ok_or(VerifyError::Signature)?;
                let digest = algorithm.digest.digest(message).value;
                self.verify_ecdsa(&value, &digest)
            }
            (KeyType::Rsa(_), Scheme::Ecdsa) | (KeyType::Ec(_), Scheme::RsaPkcs1 | Scheme::RsaPss) => {
                Err(VerifyError::Algorithm)
            }
        }
    }

    fn verify_ecdsa(&self, value: &EcdsaSig, digest: &[u8]) -> Result<(), VerifyError> {
        let key = self.openssl().and_then(|key| key.ec_key().ok()).ok_or(VerifyError::Algorithm)?;
        match value.verify(digest, &key) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(VerifyError::Signature),
        }
    }

    fn verify_openssl_rsa(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        let key = self.openssl().ok_or(VerifyError::Algorithm)?;
        let good = (|| {
            let digest = crate::key::openssl_digest(algorithm.digest);
            let mut verifier = openssl::sign::Verifier::new(digest, key)?;
            if algorithm.scheme == Scheme::RsaPss {
                verifier.set_rsa_padding(openssl::rsa::Padding::PKCS1_PSS)?;
                verifier.set_rsa_pss_saltlen(openssl::sign::RsaPssSaltlen::DIGEST_LENGTH)?;
                verifier.set_rsa_mgf1_md(digest)?;
            }
            verifier.verify_oneshot(signature, message)
        })();
        match good {
            Ok(true) => Ok(()),
            Ok(false) | Err(openssl::error::ErrorStack { .. }) => Err(VerifyError::Signature),
        }
    }
}

fn key_type(key: &PKey<Public>) -> Option<KeyType> {
    match key.id() {
        Id::RSA | Id::RSA_PSS => Some(KeyType::Rsa(key.bits())),
        Id::EC => Some(KeyType::Ec(Curve::from_nid(key.ec_key().ok()?.group().curve_name())?)),
        _ => None,
    }
}

/// Ring's parameters for RSA keys of today; it has none for SHA-1 with them that we would use.
fn ring_rsa(algorithm: SignatureAlgorithm) -> Option<&'static RsaParameters> {
    match (algorithm.scheme, algorithm.digest) {
        (Scheme::RsaPkcs1, DigestAlgorithm::Sha256) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        (Scheme::RsaPkcs1, DigestAlgorithm::Sha384) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        (Scheme::RsaPkcs1, DigestAlgorithm::Sha512) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        (Scheme::RsaPss, DigestAlgorithm::Sha256) => Some(&signature::RSA_PSS_2048_8192_SHA256),
        (Scheme::RsaPss, DigestAlgorithm::Sha384) => Some(&signature::RSA_PSS_2048_8192_SHA384),
        (Scheme::RsaPss, DigestAlgorithm::Sha512) => Some(&signature::RSA_PSS_2048_8192_SHA512),
        (Scheme::RsaPkcs1 | Scheme::RsaPss, DigestAlgorithm::Sha1) | (Scheme::Ecdsa, _) => None,
    }
}

/// Reads r and s. Raw halves may be shorter than the field, since their writer strips leading zeros of the longer one;
/// the DER form must be the canonical one.
fn ecdsa_value(curve: Curve, form: EcdsaForm, bytes: &[u8]) -> Option<EcdsaSig> {
    match form {
        EcdsaForm::Der => {
            let value = EcdsaSig::from_der(bytes).ok()?;
            (value.to_der().ok()? == bytes).then_some(value)
        }
        EcdsaForm::Raw => {
            let half = bytes.len() / 2;
            if !bytes.len().is_multiple_of(2) || half == 0 || half > curve.field_bytes() {
                return None;
            }
            let (r, s) = bytes.split_at(half);
            EcdsaSig::from_private_components(BigNum::from_slice(r).ok()?, BigNum::from_slice(s).ok()?).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writers strip the zeros that both halves start with.
    #[test]
    fn raw_halves_may_be_short() {
        let raw = [&[0x7f; 31][..], &[0x01; 31]].concat();
        let value = ecdsa_value(Curve::P256, EcdsaForm::Raw, &raw).unwrap();
        assert_eq!((value.r().to_vec(), value.s().to_vec()), (vec![0x7f; 31], vec![0x01; 31]));
    }

    #[test]
    fn refuses_what_is_no_key() {
        for junk in [&b""[..], b"\x30\x00", b"\x30\x80\x00\x00"] {
            assert!(PublicKey::from_spki(junk).is_none());
        }
    }
}
