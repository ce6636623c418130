//! OpenPGP messages (RFC 9580): signed, then encrypted to keys of those who may read them, as archives of the message log are.
//!
//! [`seal`] writes what `gpg --sign --encrypt` of release 2.2 writes and reads: one-pass signature with SHA-512, AES-256 with integrity
//! protection (SEIPD version 1), no compression. [`open`] reads that and what newer releases write. Both stream: memory is bounded by
//! [`CHUNK_BYTES`], output by what the caller allows. Nothing of an opened message may be used before [`open`] has returned, since
//! the check of its integrity stands at its end.
//!
//! RSA keys are used to encrypt, to verify, and, where an operator brought such a key, to sign or open files; nobody outside learns how
//! long that takes. Not here: which key belongs to whom (`security-server`, `message_log::archive`).
mod keys;

use std::io::{self, BufRead, Read, Write};

use pgp::composed::{
    DecryptionOptions, Message, MessageBuilder, SubpacketConfig, TheRing, VerificationResult,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{Signature, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Password, Seipdv1ReadMode, SigningKey, VerifyingKey};
use proto::time::UnixTime;
use rand_core::OsRng;

use self::keys::timestamp;
pub use self::keys::{KeyError, MAX_KEY_BYTES, PublicKey, SecretKey, called};

/// Bytes that are worked on at once.
pub const CHUNK_BYTES: u32 = 64 << 10;
/// Layers of a message that are looked into: compression, signature, content.
const MAX_LAYERS: usize = 4;

/// Why a message was not made or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// A key that cannot do it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody could read it.
    #[error("there is no key to encrypt to")]
    NoRecipient,
    /// Reading or writing.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not such a message, or a damaged one.
    #[error("it is not an OpenPGP message that can be read: {0}")]
    Unreadable(String),
    /// It could be anybody's.
    #[error("it is not encrypted")]
    NotEncrypted,
    /// Encrypted to others.
    #[error("it is not encrypted to the key that was given")]
    OtherKey,
    /// The caller's bound.
    #[error("it holds more than {0} bytes")]
    TooLarge(u64),
    /// A signature that none of the expected keys made.
    #[error("it is not signed by any of the keys that were given")]
    Signature,
}

/// Signs and encrypts all of `input`.
///
/// # Errors
/// [`MessageError`]; what was written by then is no message.
pub fn seal<R: Read, W: Write>(
    input: R,
    out: W,
    to: &[&PublicKey],
    by: &SecretKey,
    now: UnixTime,
) -> Result<(), MessageError> {
    if to.is_empty() {
        return Err(MessageError::NoRecipient);
    }
    let failed = |e: pgp::errors::Error| MessageError::Io(io::Error::other(e.to_string()));
    let signer = by.signing(now)?;
    let mut message = MessageBuilder::from_reader("", input).seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
    for key in to {
        message.encrypt_to_key(OsRng, &key.encrypting(now)?).map_err(failed)?;
    }
    message.partial_chunk_size(CHUNK_BYTES).map_err(failed)?;
    let subpackets = subpackets(signer, now).map_err(failed)?;
    message.sign_with_subpackets(signer, Password::empty(), HashAlgorithm::Sha512, subpackets);
    message.to_writer(OsRng, out).map_err(failed)
}

/// What the signature says of itself.
fn subpackets(signer: &dyn SigningKey, now: UnixTime) -> pgp::errors::Result<SubpacketConfig> {
    let at = timestamp(now).unwrap_or_default();
    Ok(SubpacketConfig::UserDefined {
        hashed: vec![
            Subpacket::regular(SubpacketData::IssuerFingerprint(signer.fingerprint()))?,
            Subpacket::critical(SubpacketData::SignatureCreationTime(at))?,
        ],
        unhashed: vec![Subpacket::regular(SubpacketData::IssuerKeyId(signer.legacy_key_id()))?],
    })
}

/// Decrypts a message into `out`, at most `max` bytes. `signers`: the keys of which one must have signed it; empty, nobody need have.
/// The fingerprint of the one that did.
///
/// # Errors
/// [`MessageError`]; what was written by then must not be used.
pub fn open<R: BufRead + Send + std::fmt::Debug, W: Write>(
    input: R,
    mut out: W,
    key: &SecretKey,
    signers: &[PublicKey],
    max: u64,
) -> Result<Option<String>, MessageError> {
    let unreadable = |e: pgp::errors::Error| MessageError::Unreadable(e.to_string());
    let (message, _) = Message::from_reader(input).map_err(unreadable)?;
    if !message.is_encrypted() {
        return Err(MessageError::NotEncrypted);
    }
    let (password, options) = (Password::empty(), DecryptionOptions::new().enable_gnupg_aead());
    let ring = TheRing {
        secret_keys: vec![&key.key],
        key_passwords: vec![&password],
        decrypt_options: options.set_seipdv1_read_mode(Seipdv1ReadMode::Streaming),
        ..TheRing::default()
    };
    let opened = message.decrypt_the_ring(ring, true);
    let (mut message, _) = opened.map_err(|error| match error {
        pgp::errors::Error::MissingKey => MessageError::OtherKey,
        other => unreadable(other),
    })?;
    for _ in 0..MAX_LAYERS {
        if !message.is_compressed() {
            break;
        }
        message = message.decompress().map_err(unreadable)?;
    }
    copy(&mut message, &mut out, max)?;
    signed_by(&message, signers)
}

fn copy(message: &mut Message<'_>, out: &mut impl Write, max: u64) -> Result<(), MessageError> {
    let (mut buffer, mut left) = (vec![0; CHUNK_BYTES as usize], max);
    loop {
        let count = message.read(&mut buffer).map_err(|e| MessageError::Unreadable(e.to_string()))?;
        if count == 0 {
            return Ok(());
        }
        left = left.checked_sub(count as u64).ok_or(MessageError::TooLarge(max))?;
        out.write_all(&buffer[..count])?;
    }
}

/// Which of `signers` signed the message.
fn signed_by(message: &Message<'_>, signers: &[PublicKey]) -> Result<Option<String>, MessageError> {
    if signers.is_empty() {
        return Ok(None);
    }
    for signer in signers {
        let parts = signer.0.public_subkeys.iter().filter(|part| {
            part.signatures.iter().any(|binding| binding.key_flags().sign())
                && part.verify_bindings(&signer.0.primary_key).is_ok()
        });
        let mut keys: Vec<&dyn VerifyingKey> = vec![&signer.0.primary_key];
        keys.extend(parts.map(|part| &part.key as &dyn VerifyingKey));
        let found = message.verify_nested(&keys);
        let found = found.map_err(|e| MessageError::Unreadable(e.to_string()))?;
        if found.iter().any(|result| matches!(result, VerificationResult::Valid(by) if counts(by))) {
            // Whoever has a key that was taken back can write any time into its signatures.
            return match signer.is_revoked() {
                true => Err(KeyError::Revoked(signer.fingerprint()).into()),
                false => Ok(Some(signer.fingerprint())),
            };
        }
    }
    Err(MessageError::Signature)
}

/// A signature of a document (not of a key) with a digest that nobody can make collide.
fn counts(signature: &Signature) -> bool {
    let strong = matches!(
        signature.hash_alg(),
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
    );
    strong && matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text))
}

#[cfg(test)]
mod tests;
