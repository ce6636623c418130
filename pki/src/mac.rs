//! HMAC-SHA-256 [RFC 2104]: whether bytes were made by whoever has a secret.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a secret and of a code.
pub const BYTES: usize = 32;

/// A secret.
pub struct MacKey(hmac::Key);

impl MacKey {
    /// A secret of 32 bytes.
    pub fn new(secret: &[u8; BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A new secret; `None` when the system gives no random bytes.
    pub fn random_secret() -> Option<[u8; BYTES]> {
        let mut secret = [0; BYTES];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(secret)
    }

    /// The code of `data`.
    pub fn code(&self, data: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, data).as_ref().to_vec()
    }

    /// Whether `code` is that of `data`, in a time that does not tell how much of it is right.
    pub fn is_of(&self, data: &[u8], code: &[u8]) -> bool {
        hmac::verify(&self.0, data, code).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_that_of_one_secret_and_one_text() {
        // RFC 4231 §4.7 has longer keys; §4.2's key padded with zeros is the same key to HMAC.
        let mut secret = [0; BYTES];
        secret[..20].fill(0x0b);
        let key = MacKey::new(&secret);
        let code = hex::decode("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7").unwrap();
        assert_eq!(key.code(b"Hi There"), code);
        assert!(key.is_of(b"Hi There", &code));
        assert!(!key.is_of(b"Hi there", &code) && !key.is_of(b"Hi There", &code[..31]));
        assert_ne!(MacKey::random_secret().unwrap(), MacKey::random_secret().unwrap());
    }
}
