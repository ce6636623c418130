//! Configuration signing keys: made here, kept in the token, known to the registry by their certificates.
//!
//! The certificate is a container of the public key: self-signed, serial 1, CN `internalSigningKey` or `externalSigningKey`, valid from
//! 1970 to 2038. A key is in the token before the registry names it and leaves it after, so that a crash leaves at worst a key
//! that nobody uses.

use pki::algorithm::{Scheme, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::issue::{Role, Template, self_signed};
use pki::key::{KeyError, KeyKind, PrivateKey};
use pki::public_key::KeyType;
use proto::time::UnixTime;
use signer::SoftwareSigner;
use signer::TokenError;
use signer::token::KeyUsage;

use crate::registry::{Command, Registry, RegistryError, SourceKind};

/// 2038-01-01.
const NOT_AFTER: UnixTime = UnixTime::from_secs(2_145_916_800);

/// Why a key could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The library.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Makes a key for a source; the first one of a source becomes active. Gives its name. Blocks, up to some seconds for RSA.
///
/// # Errors
/// The token is logged out, or the source has two keys already.
pub fn add(
    registry: &Registry,
    token: &SoftwareSigner,
    actor: &str,
    source: SourceKind,
    kind: KeyKind,
    label: &str,
) -> Result<String, SigningKeyError> {
    let key = PrivateKey::generate(kind)?;
    let cert = certificate(&key, source)?;
    let id = token.import_key(KeyUsage::Configuration, label, key)?;
    let command = Command::AddSigningKey {
        source,
        key: id.clone(),
        cert: cert.der().to_vec(),
        label: label.to_owned(),
    };
    if let Err(error) = registry.execute(actor, command) {
        if let Err(left) = token.delete_key(&id) {
            tracing::warn!(key = id, error = %left, "a key that is not used could not be removed from the token");
        }
        return Err(error.into());
    }
    Ok(id)
}

/// Removes a key that is not active, from the registry and then from the token. Blocks.
///
/// # Errors
/// It is active, or does not exist.
pub fn remove(
    registry: &Registry,
    token: &SoftwareSigner,
    actor: &str,
    key: &str,
) -> Result<(), SigningKeyError> {
    registry.execute(actor, Command::RemoveSigningKey { key: key.to_owned() })?;
    Ok(token.delete_key(&key.to_owned())?)
}

fn certificate(key: &PrivateKey, source: SourceKind) -> Result<Certificate, KeyError> {
    let template = Template {
        subject: &vec![(pki::name::COMMON_NAME, format!("{}SigningKey", source.name()))],
        role: Role::Configuration,
        serial: &[1],
        not_before: UnixTime(0),
        not_after: NOT_AFTER,
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    self_signed(&template, key)
}

/// What a key signs directories with: SHA-512 with RSA PKCS#1 v1.5, which every release verifies, or with ECDSA.
pub(super) fn algorithm(cert: &Certificate) -> Option<SignatureAlgorithm> {
    let scheme = match cert.public_key().key_type()? {
        KeyType::Rsa(_) => Scheme::RsaPkcs1,
        KeyType::Ec(_) => Scheme::Ecdsa,
    };
    Some(SignatureAlgorithm { scheme, digest: DigestAlgorithm::Sha512 })
}
