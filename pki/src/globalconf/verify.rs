//! Whether a signed directory, and the parts it lists, are what the configuration source signed.
//!
//! The order is the reference's, since it decides the code: certificate by hash, signature, content, expiry. Digests are SHA-256,
//! 384 or 512; signatures RSA PKCS#1, RSA-PSS or ECDSA (as ASN.1 DER) with these. The certificates only carry public keys: their
//! validity says nothing.

use proto::fault::FaultCode;
use proto::globalconf::directory::{Directory, DirectoryError, Part, SignedDirectory};
use proto::time::UnixTime;

use crate::algorithm::{EcdsaForm, SignatureAlgorithm};
use crate::cert::Certificate;
use crate::digest::{DigestAlgorithm, Hasher};

/// Why a directory is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// It is not a directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// No certificate of the location has the hash that it names.
    #[error(
        "no verification certificate has the hash {hash}: an anchor with the present signing keys is needed"
    )]
    NoVerificationCert {
        /// In base64, as the directory has it.
        hash: String,
    },
    /// The signature is not over these bytes by that key, or is made in a way that is not accepted.
    #[error("the signature of the directory does not verify")]
    Signature,
    /// It was good once.
    #[error("the directory expired at {}", .0.to_iso8601())]
    Expired(UnixTime),
}

impl ConfigurationError {
    /// What an administrator is told.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Directory(error) => error.fault_code(),
            Self::NoVerificationCert { .. } => FaultCode::GlobalConfMissingVerificationCert,
            Self::Signature => FaultCode::GlobalConfSignatureVerificationFailure,
            Self::Expired(_) => FaultCode::GlobalConfOutdated,
        }
    }
}

/// A directory that one of the location's certificates signed and that holds now; [`verify_directory`] alone makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDirectory(Directory);

impl VerifiedDirectory {
    /// What it says.
    pub fn directory(&self) -> &Directory {
        &self.0
    }
}

/// Parses and verifies a directory. `certs` are those of the location it came from: DER, or PEM text.
///
/// # Errors
/// The first check that fails.
pub fn verify_directory(
    document: &[u8],
    certs: &[Vec<u8>],
    now: UnixTime,
) -> Result<VerifiedDirectory, ConfigurationError> {
    let signed = SignedDirectory::parse(document)?;
    let cert = verification_cert(&signed, certs)?;
    verify_signature(&signed, &cert)?;
    let directory = signed.directory()?;
    if directory.expires <= now {
        return Err(ConfigurationError::Expired(directory.expires));
    }
    Ok(VerifiedDirectory(directory))
}

fn verification_cert(
    signed: &SignedDirectory<'_>,
    certs: &[Vec<u8>],
) -> Result<Certificate, ConfigurationError> {
    use base64::Engine as _;
    let wanted = &signed.signature.cert_hash;
    let algorithm = accepted_digest(&signed.signature.cert_hash_algorithm_uri);
    let fits = |cert: &Certificate| algorithm.is_some_and(|a| a.digest(cert.der()).value == *wanted);
    certs.iter().filter_map(|cert| Certificate::parse(cert).ok()).find(fits).ok_or_else(|| {
        let hash = base64::engine::general_purpose::STANDARD.encode(wanted);
        ConfigurationError::NoVerificationCert { hash }
    })
}

fn verify_signature(signed: &SignedDirectory<'_>, cert: &Certificate) -> Result<(), ConfigurationError> {
    let algorithm = SignatureAlgorithm::from_uri(&signed.signature.algorithm_uri)
        .filter(|algorithm| algorithm.digest.for_signatures().is_some())
        .ok_or(ConfigurationError::Signature)?;
    cert.verify(algorithm, EcdsaForm::Der, signed.signed, &signed.signature.value)
        .map_err(|_| ConfigurationError::Signature)
}

/// A digest algorithm that may protect the configuration.
fn accepted_digest(uri: &str) -> Option<DigestAlgorithm> {
    DigestAlgorithm::from_uri(uri).and_then(DigestAlgorithm::for_signatures)
}

/// Whether the hash algorithm of a part is one that may protect it.
pub fn is_accepted(part: &Part) -> bool {
    accepted_digest(&part.hash_algorithm_uri).is_some()
}

/// Whether `bytes` are the part that the directory lists. An algorithm that is not accepted fits nothing.
pub fn is_part(part: &Part, bytes: &[u8]) -> bool {
    accepted_digest(&part.hash_algorithm_uri).is_some_and(|a| a.digest(bytes).value == part.hash)
}

/// The hash of a part that is not in memory as a whole.
pub struct PartHash {
    hasher: Hasher,
    listed: Vec<u8>,
}

impl PartHash {
    /// For what the directory lists; `None` with an algorithm that is not accepted.
    pub fn new(part: &Part) -> Option<Self> {
        let algorithm = accepted_digest(&part.hash_algorithm_uri)?;
        Some(Self { hasher: algorithm.hasher(), listed: part.hash.clone() })
    }

    /// More of the part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Whether these were the bytes that the directory lists.
    pub fn fits(self) -> bool {
        self.hasher.finish().value == self.listed
    }
}

/// What people compare when an anchor is installed: SHA-224 of the file in upper-case hex, pairs separated by colons.
pub fn anchor_fingerprint(file: &[u8]) -> String {
    let pairs: Vec<String> = openssl::sha::sha224(file).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}
