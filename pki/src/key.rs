//! Private keys: generation, PKCS#8, PKCS#12, signing. Used by the signer, the central server and the sandbox; nobody else.
//!
//! OpenSSL generates and signs: ring makes no RSA keys, signs RSA at half the rate, and has no ECDSA with SHA-512, which is what
//! messages need. PKCS#12 is read in `pkcs12`.
//! Input is at most [`MAX_KEY_FILE_BYTES`]. Keys are RSA of 2048 to 8192 bits, P-256 or P-384; others are refused when read.

use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use zeroize::Zeroizing;

use crate::algorithm::{EcdsaForm, Scheme, SignatureAlgorithm};
use crate::cert::Certificate;
use crate::digest::DigestAlgorithm;
use crate::pkcs12;
use crate::public_key::{Curve, MAX_RSA_BITS, MIN_RSA_BITS, PublicKey};

/// Longest key or PKCS#12 file.
pub const MAX_KEY_FILE_BYTES: usize = 1024 * 1024;

/// What kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with so many bits: 2048, 3072, 4096.
    Rsa(u32),
    /// P-256.
    P256,
    /// P-384.
    P384,
}

/// A private key, held in memory; OpenSSL wipes it when dropped.
pub struct PrivateKey {
    key: PKey<Private>,
    kind: KeyKind,
    public: PublicKey,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a key we read.
    #[error("the private key cannot be read")]
    Malformed,
    /// The library refused.
    #[error("the key operation failed")]
    Failed,
    /// The algorithm does not fit the key.
    #[error("the algorithm does not fit the key")]
    Algorithm,
    /// Wrong password.
    #[error("the password is wrong")]
    Password,
    /// Too short, or of a kind or on a curve that is not used here.
    #[error("keys are RSA from 2048 bits, P-256 or P-384; this is another")]
    Kind,
}

impl From<openssl::error::ErrorStack> for KeyError {
    fn from(_: openssl::error::ErrorStack) -> Self {
        Self::Failed
    }
}

impl PrivateKey {
    /// A new key. RSA takes a good part of a second: not on an async worker.
    ///
    /// # Errors
    /// [`KeyError::Failed`].
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let on_curve = |nid| PKey::from_ec_key(EcKey::generate(EcGroup::from_curve_name(nid)?.as_ref())?);
        let key = match kind {
            KeyKind::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits)?)?,
            KeyKind::P256 => on_curve(Nid::X9_62_PRIME256V1)?,
            KeyKind::P384 => on_curve(Nid::SECP384R1)?,
        };
        Self::from_openssl(key)
    }
    /// From unencrypted PKCS#8 DER.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Kind`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyError::Malformed);
        }
        Self::from_openssl(PKey::private_key_from_pkcs8(der).map_err(|_| KeyError::Malformed)?)
    }
    /// From PEM text: PKCS#8, or the older RSA and EC forms. Text around the block is ignored.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Kind`]; [`KeyError::Password`] when the key is encrypted.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        if pem.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyError::Malformed);
        }
        let block = |label| crate::pem::blocks(pem, label).into_iter().next().map(Zeroizing::new);
        if let Some(der) = block("PRIVATE KEY") {
            return Self::from_pkcs8(&der);
        }
        let key = if let Some(der) = block("RSA PRIVATE KEY") {
            Rsa::private_key_from_der(&der).and_then(PKey::from_rsa)
        } else if let Some(der) = block("EC PRIVATE KEY") {
            EcKey::private_key_from_der(&der).and_then(PKey::from_ec_key)
        } else if block("ENCRYPTED PRIVATE KEY").is_some() {
            return Err(KeyError::Password);
        } else {
            return Err(KeyError::Malformed);
        };
        Self::from_openssl(key.map_err(|_| KeyError::Malformed)?)
    }
    /// First key of a PKCS#12 file with the DER of the certificates in it: the key's own first, then its issuers upwards, then
    /// the rest.
    ///
    /// # Errors
    /// [`KeyError::Password`], [`KeyError::Malformed`], [`KeyError::Kind`].
    pub fn from_pkcs12(file: &[u8], password: &str) -> Result<(Self, Vec<Vec<u8>>), KeyError> {
        if file.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyError::Malformed);
        }
        let (pkcs8, certs) = pkcs12::open(file, password)?;
        let key = Self::from_pkcs8(&pkcs8)?;
        let certs = key.own_first(certs);
        Ok((key, certs))
    }
    fn own_first(&self, mut rest: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut sorted = Vec::with_capacity(rest.len());
        let mut last: Option<Certificate> = None;
        let comes_next = |last: &Option<Certificate>, cert: &Certificate| match last {
            None => cert.spki() == self.public.spki(),
            Some(last) => !last.is_self_issued() && cert.subject_name().matches(last.issuer_name()),
        };
        while let Some((index, cert)) = rest.iter().enumerate().find_map(|(index, der)| {
            let cert = Certificate::parse(der).ok()?;
            comes_next(&last, &cert).then_some((index, cert))
        }) {
            sorted.push(rest.remove(index));
            last = Some(cert);
        }
        sorted.extend(rest);
        sorted
    }
    fn from_openssl(key: PKey<Private>) -> Result<Self, KeyError> {
        let kind = match key.id() {
            Id::RSA if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&key.bits()) => KeyKind::Rsa(key.bits()),
            Id::EC => match Curve::from_nid(key.ec_key()?.group().curve_name()) {
                Some(Curve::P256) => KeyKind::P256,
                Some(Curve::P384) => KeyKind::P384,
                Some(Curve::P521) | None => return Err(KeyError::Kind),
            },
            _ => return Err(KeyError::Kind),
        };
        let public = PublicKey::from_spki(&key.public_key_to_der()?).ok_or(KeyError::Malformed)?;
        Ok(Self { key, kind, public })
    }

    /// Its kind.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }
    /// Unencrypted PKCS#8 DER, wiped when dropped.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let der = self.key.private_key_to_pkcs8();
        Zeroizing::new(der.expect("OpenSSL writes a key that it made or read"))
    }
    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> Vec<u8> {
        self.public.spki().to_vec()
    }
    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
    /// What it signs with by default: SHA-512 with RSA PKCS#1 or ECDSA.
    pub fn default_algorithm(&self) -> SignatureAlgorithm {
        match self.kind {
            KeyKind::Rsa(_) => SignatureAlgorithm::new(Scheme::RsaPkcs1, DigestAlgorithm::Sha512),
            KeyKind::P256 | KeyKind::P384 => SignatureAlgorithm::new(Scheme::Ecdsa, DigestAlgorithm::Sha512),
        }
    }
    /// Signs `message`. RSA takes up to a millisecond: not on an async worker.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`], [`KeyError::Failed`].
    pub fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let algorithm = algorithm.for_signatures().ok_or(KeyError::Algorithm)?;
        match (self.kind, algorithm.scheme) {
            (KeyKind::Rsa(_), Scheme::RsaPkcs1 | Scheme::RsaPss) => self.sign_rsa(algorithm, message),
            (KeyKind::P256, Scheme::Ecdsa) => self.sign_ecdsa(Curve::P256, algorithm, form, message),
            (KeyKind::P384, Scheme::Ecdsa) => self.sign_ecdsa(Curve::P384, algorithm, form, message),
            (KeyKind::Rsa(_), Scheme::Ecdsa)
            | (KeyKind::P256 | KeyKind::P384, Scheme::RsaPkcs1 | Scheme::RsaPss) => Err(KeyError::Algorithm),
        }
    }

    fn sign_rsa(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let digest = openssl_digest(algorithm.digest);
        let mut signer = Signer::new(digest, &self.key)?;
        if algorithm.scheme == Scheme::RsaPss {
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            signer.set_rsa_mgf1_md(digest)?;
        }
        Ok(signer.sign_oneshot_to_vec(message)?)
    }

    fn sign_ecdsa(
        &self,
        curve: Curve,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let digest = algorithm.digest.digest(message).value;
        let key = self.key.ec_key()?;
        let value = EcdsaSig::sign(&digest, key.as_ref())?;
        match form {
            EcdsaForm::Der => Ok(value.to_der()?),
            EcdsaForm::Raw => {
                let half = i32::try_from(curve.field_bytes()).map_err(|_| KeyError::Failed)?;
                let mut raw = value.r().to_vec_padded(half)?;
                raw.extend(value.s().to_vec_padded(half)?);
                Ok(raw)
            }
        }
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

pub(crate) fn openssl_digest(digest: DigestAlgorithm) -> MessageDigest {
    match digest {
        DigestAlgorithm::Sha1 => MessageDigest::sha1(),
        DigestAlgorithm::Sha256 => MessageDigest::sha256(),
        DigestAlgorithm::Sha384 => MessageDigest::sha384(),
        DigestAlgorithm::Sha512 => MessageDigest::sha512(),
    }
}

/// Lets `rcgen` write requests and certificates that this key signs: RSA and P-256 with SHA-256, P-384 with SHA-384.
impl rcgen::PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.public.bits()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.kind {
            KeyKind::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            KeyKind::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let algorithm = match self.kind {
            KeyKind::Rsa(_) => SignatureAlgorithm::new(Scheme::RsaPkcs1, DigestAlgorithm::Sha256),
            KeyKind::P256 => SignatureAlgorithm::new(Scheme::Ecdsa, DigestAlgorithm::Sha256),
            KeyKind::P384 => SignatureAlgorithm::new(Scheme::Ecdsa, DigestAlgorithm::Sha384),
        };
        Self::sign(self, algorithm, EcdsaForm::Der, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::CertError;
    use crate::public_key::Strength;

    fn verify(
        key: &PrivateKey,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        value: &[u8],
    ) -> Result<(), CertError> {
        Ok(key.public_key().verify(algorithm, form, Strength::Current, b"message", value)?)
    }

    /// Every kind of key with every algorithm: made and verified by different libraries where ring can do it.
    #[test]
    fn what_is_signed_verifies() {
        use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
        for kind in [KeyKind::Rsa(2048), KeyKind::P256, KeyKind::P384] {
            let key = PrivateKey::generate(kind).unwrap();
            let again = PrivateKey::from_pkcs8(&key.to_pkcs8()).unwrap();
            assert_eq!((again.spki(), again.kind()), (key.spki(), kind));
            for scheme in [Scheme::RsaPkcs1, Scheme::RsaPss, Scheme::Ecdsa] {
                for digest in [Sha1, Sha256, Sha384, Sha512] {
                    for form in [EcdsaForm::Der, EcdsaForm::Raw] {
                        let algorithm = SignatureAlgorithm::new(scheme, digest);
                        let fits =
                            digest != Sha1 && matches!(kind, KeyKind::Rsa(_)) == (scheme != Scheme::Ecdsa);
                        let Ok(mut value) = key.sign(algorithm, form, b"message") else {
                            assert!(!fits, "{kind:?} {algorithm:?}");
                            continue;
                        };
                        assert!(fits, "{kind:?} {algorithm:?}");
                        assert_eq!(
                            verify(&key, algorithm, form, &value),
                            Ok(()),
                            "{kind:?} {algorithm:?} {form:?}"
                        );
                        *value.last_mut().unwrap() ^= 1;
                        let refused = verify(&key, algorithm, form, &value);
                        assert_eq!(refused, Err(CertError::BadSignature), "{kind:?} {algorithm:?} {form:?}");
                    }
                }
            }
        }
    }

    /// Only two halves of at most the field's length are r and s.
    #[test]
    fn raw_ecdsa_values_are_two_halves() {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let algorithm = key.default_algorithm();
        let full = key.sign(algorithm, EcdsaForm::Raw, b"message").unwrap();
        assert_eq!(verify(&key, algorithm, EcdsaForm::Raw, &full), Ok(()));
        let padded = [&[0], &full[..32], &[0], &full[32..]].concat();
        for bad in [&[][..], &[0], &[0, 0], &full[1..], &padded, &[1; 2000]] {
            assert_eq!(verify(&key, algorithm, EcdsaForm::Raw, bad), Err(CertError::BadSignature), "{bad:?}");
        }
    }

    /// A DER value with something behind it, or written longer than needed, is another value.
    #[test]
    fn ecdsa_der_has_one_form() {
        let key = PrivateKey::generate(KeyKind::P384).unwrap();
        let algorithm = key.default_algorithm();
        let value = key.sign(algorithm, EcdsaForm::Der, b"message").unwrap();
        let longer = [&[0x30, 0x81, value[1]], &value[2..]].concat();
        let trailed = [&value[..], &[0]].concat();
        for bad in [longer, trailed] {
            assert_eq!(verify(&key, algorithm, EcdsaForm::Der, &bad), Err(CertError::BadSignature));
        }
    }

    #[test]
    fn refuses_keys_of_other_kinds() {
        let short = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let p521 = EcKey::generate(&EcGroup::from_curve_name(Nid::SECP521R1).unwrap()).unwrap();
        let p521 = PKey::from_ec_key(p521).unwrap();
        for key in [short, p521, PKey::generate_ed25519().unwrap()] {
            let pem = key.private_key_to_pem_pkcs8().unwrap();
            assert_eq!(PrivateKey::from_pem(&pem).err(), Some(KeyError::Kind));
        }
        for junk in [&b""[..], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\x30\x00"]
        {
            assert_eq!(PrivateKey::from_pem(junk).err(), Some(KeyError::Malformed));
        }
    }

    /// The older forms that key files in the field have.
    #[test]
    fn reads_traditional_pem() {
        let rsa = Rsa::generate(2048).unwrap();
        let ec = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
        for pem in [rsa.private_key_to_pem().unwrap(), ec.private_key_to_pem().unwrap()] {
            assert!(PrivateKey::from_pem(&pem).is_ok());
        }
    }
}
