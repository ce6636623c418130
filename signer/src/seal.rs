//! How keys lie on the disk: each sealed under the token's own key, and that one under the PIN.
//!
//! PIN → PBKDF2-HMAC-SHA-256 with a random salt → AES-256-GCM → the token's key → AES-256-GCM → a private key. The label of what
//! is sealed goes in as associated data, so that files cannot change places. A new PIN seals one key anew, not all of them.
//! Everything secret is wiped when dropped. A wrong PIN shows itself by the tag, and by nothing else.

use std::num::NonZeroU32;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Rounds for a new token: a good part of a second, once per log-in. Tests log in often.
pub(crate) const ITERATIONS: u32 = if cfg!(test) { 1000 } else { 600_000 };
/// More rounds than this in a file would keep a log-in busy for a minute.
pub(crate) const MAX_ITERATIONS: u32 = 50_000_000;
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// A symmetric key.
#[derive(Clone)]
pub(crate) struct SecretKey(Zeroizing<[u8; KEY_BYTES]>);

/// The operating system has no random numbers, or a library refused what it never refuses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SealError;

impl SecretKey {
    /// A new one.
    pub(crate) fn random() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(bytes.as_mut()).map_err(|_| SealError)?;
        Ok(Self(bytes))
    }
    /// From a PIN. Slow on purpose: not on an async worker.
    pub(crate) fn from_pin(pin: &str, salt: &[u8], iterations: u32) -> Option<Self> {
        let iterations = NonZeroU32::new(iterations.min(MAX_ITERATIONS))?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, pin.as_bytes(), bytes.as_mut());
        Some(Self(bytes))
    }
    /// From bytes that were sealed.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }
    /// The bytes, for sealing them.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        UnboundKey::new(&AES_256_GCM, self.bytes()).map(LessSafeKey::new).map_err(|_| SealError)
    }
    /// Nonce, ciphertext and tag of `secret`, which is labelled `label`. Nonces are random: a token seals far fewer than 2³² times.
    pub(crate) fn seal(&self, label: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError)?;
        let mut sealed = Zeroizing::new(secret.to_vec());
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SealError)?;
        Ok([&nonce, sealed.as_slice(), tag.as_ref()].concat())
    }
    /// What was sealed; `None` under another key or label, or when it was changed.
    pub(crate) fn open(&self, label: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut secret = Zeroizing::new(rest.to_vec());
        let length =
            self.cipher().ok()?.open_in_place(nonce, Aad::from(label.as_bytes()), &mut secret).ok()?.len();
        secret.truncate(length);
        Some(secret)
    }
}

/// A salt for a new PIN.
pub(crate) fn salt() -> Result<[u8; SALT_BYTES], SealError> {
    random()
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SealError)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_under_its_own_key_and_label_only() {
        let key = SecretKey::random().unwrap();
        let sealed = key.seal("a", b"secret").unwrap();
        assert_eq!(key.open("a", &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open("b", &sealed).is_none());
        assert!(SecretKey::random().unwrap().open("a", &sealed).is_none());
        for index in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[index] ^= 1;
            assert!(key.open("a", &bad).is_none() && key.open("a", &sealed[..index]).is_none(), "{index}");
        }
        assert_ne!(key.seal("a", b"secret").unwrap(), sealed);
    }

    #[test]
    fn a_pin_gives_one_key_per_salt() {
        let (one, other) = (salt().unwrap(), salt().unwrap());
        let derive = |pin, salt: &[u8]| SecretKey::from_pin(pin, salt, 1000).unwrap().bytes().to_vec();
        assert_eq!(derive("1234", &one), derive("1234", &one));
        assert_ne!(derive("1234", &one), derive("1235", &one));
        assert_ne!(derive("1234", &one), derive("1234", &other));
        assert!(SecretKey::from_pin("1234", &one, 0).is_none());
    }

    /// RFC 7914 §11 has this vector for PBKDF2 with SHA-256.
    #[test]
    fn derivation_is_the_standard_one() {
        let key = SecretKey::from_pin("Password", b"NaCl", 80_000).unwrap();
        assert_eq!(
            hex::encode(key.bytes()),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
        );
    }
}
