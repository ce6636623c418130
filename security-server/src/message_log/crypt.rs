//! Encryption at rest: messages and bodies in the log's files, under keys by member [issue 6.2].
//!
//! Every record has a data key of its own, and so has every body that went to the log's files before its record was made; payloads
//! are AES-256-GCM under those. A data key stands in its record's head, wrapped with AES-256-GCM under the key that is current for
//! the local member. Rotation is another current key: what was written before stays readable as long as its key is in the file. What
//! says who exchanged what and when, digests and signature documents are not encrypted. Archives and containers are made of what is
//! decrypted, so a key that is gone keeps its records in the log, named and counted; archives have keys of their own (`archive::keys`).
//!
//! ```text
//! key 2026-1 4f6e…           an id, and 32 random bytes in hexadecimal
//! key 2026-2 91c0…
//! use * 2026-2               the key for members that have none of their own; must be there
//! use DEV/GOV/1234 2026-1
//! ```
use std::collections::HashMap;
use std::path::Path;

use proto::id::MemberId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::store::writer::random;

/// Of an authentication tag.
pub(super) const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// Largest key file.
const MAX_BYTES: u64 = 1 << 20;
/// What a wrapped key is for, so that no payload passes for one.
const WRAPPING: &[u8] = b"causeway message log data key v1";

type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// The keys of a log, by id, and which is current for whom.
#[derive(Default)]
pub struct Keys {
    keys: HashMap<String, Secret>,
    members: HashMap<MemberId, String>,
    usual: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.keys.keys().collect();
        f.debug_struct("Keys").field("ids", &ids).field("usual", &self.usual).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads a key file.
    ///
    /// # Errors
    /// The disk, or the first line that is not as it must be.
    pub fn read(path: &Path) -> Result<Self, String> {
        let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
        if length > MAX_BYTES {
            return Err(format!("it is larger than {MAX_BYTES} bytes"));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| e.to_string())?);
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let wrong = |why: &str| format!("line {number}: {why}");
            match words.as_slice() {
                [] => {}
                ["key", id, secret] => {
                    let mut key = Secret::default();
                    hex::decode_to_slice(secret, &mut *key)
                        .map_err(|_| wrong("a key is 64 hexadecimal digits"))?;
                    if found.keys.insert((*id).to_owned(), key).is_some() {
                        return Err(wrong("there is a key of this id already"));
                    }
                }
                ["use", "*", id] => found.usual = Some((*id).to_owned()),
                ["use", member, id] => {
                    let member = MemberId::parse_short(member)
                        .map_err(|_| wrong("a member is INSTANCE/CLASS/CODE"))?;
                    found.members.insert(member, (*id).to_owned());
                }
                _ => return Err(wrong("it is neither `key ID SECRET` nor `use MEMBER ID`")),
            }
        }
        let used = found.members.values().chain(&found.usual);
        match used.into_iter().find(|id| !found.keys.contains_key(*id)) {
            Some(id) => Err(format!("there is no key {id}")),
            None if found.usual.is_none() => Err("there is no `use *`".to_owned()),
            None => Ok(found),
        }
    }

    /// Nothing is encrypted.
    pub(super) fn is_empty(&self) -> bool {
        self.usual.is_none()
    }

    /// The id of the key that is current for a member; `None` when nothing is encrypted.
    pub(super) fn current(&self, member: &MemberId) -> Option<&str> {
        self.members.get(member).or(self.usual.as_ref()).map(String::as_str)
    }

    /// Whether there is a key of this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// A data key under the key of this id.
    pub(super) fn wrap(&self, id: &str, data: &DataKey) -> std::io::Result<Vec<u8>> {
        let failed = || std::io::Error::other("a key cannot be used");
        let key = cipher(self.keys.get(id).ok_or_else(failed)?).ok_or_else(failed)?;
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = data.0.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce_used, Aad::from(WRAPPING), &mut sealed).map_err(|_| failed())?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The data key; `None` when the key is not here or is another.
    pub(super) fn unwrap(&self, id: &str, wrapped: &[u8]) -> Option<DataKey> {
        let key = cipher(self.keys.get(id)?)?;
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = key.open_in_place(nonce, Aad::from(WRAPPING), &mut sealed).ok()?;
        let mut data = Secret::default();
        data.copy_from_slice(opened.get(..KEY_BYTES).filter(|_| opened.len() == KEY_BYTES)?);
        Some(DataKey(data))
    }
}

fn cipher(key: &Secret) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, &**key).ok().map(LessSafeKey::new)
}

/// The key of one record, or of one body: used for it and never again, so that parts are told apart by their numbers alone.
pub(super) struct DataKey(Secret);

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey")
    }
}

impl DataKey {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    /// Part `number` encrypted, with its tag.
    pub(super) fn seal(&self, number: u64, mut data: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let failed = || std::io::Error::other("a part cannot be encrypted");
        let key = cipher(&self.0).ok_or_else(failed)?;
        key.seal_in_place_append_tag(nonce(number), Aad::empty(), &mut data).map_err(|_| failed())?;
        Ok(data)
    }

    /// Part `number`; `None` when it is another or was changed.
    pub(super) fn open(&self, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut data = sealed.to_vec();
        let length = cipher(&self.0)?.open_in_place(nonce(number), Aad::empty(), &mut data).ok()?.len();
        data.truncate(length);
        Some(data)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two keys, the first usual, the second of one member.
    pub(in super::super) fn two_keys(member: &str) -> Keys {
        let text = format!(
            "key a {}\nkey b {} # newer\nuse * a\nuse {member} b\n",
            "01".repeat(32),
            "02".repeat(32)
        );
        Keys::parse(&text).unwrap()
    }

    #[test]
    fn keys_are_found_by_member() {
        let keys = two_keys("DEV/GOV/1");
        assert_eq!(keys.current(&MemberId::new("DEV", "GOV", "1")), Some("b"));
        assert_eq!(keys.current(&MemberId::new("DEV", "GOV", "2")), Some("a"));
        for (text, expected) in [
            ("key a 00\nuse * a", "64 hexadecimal"),
            ("use * a", "no key a"),
            ("", "no `use *`"),
            ("key a b c", "neither"),
            ("use DEV/GOV a", "INSTANCE/CLASS/CODE"),
        ] {
            let error = Keys::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn nothing_opens_with_another_key_or_number_or_after_a_change() {
        let keys = two_keys("DEV/GOV/1");
        let data = DataKey::new().unwrap();
        let wrapped = keys.wrap("a", &data).unwrap();
        let opened = keys.unwrap("a", &wrapped).unwrap();
        assert!(keys.unwrap("b", &wrapped).is_none() && keys.unwrap("c", &wrapped).is_none());
        let sealed = data.seal(3, b"text".to_vec()).unwrap();
        assert_eq!(sealed.len(), 4 + TAG_BYTES);
        assert_eq!(opened.open(3, &sealed).unwrap(), b"text");
        assert!(opened.open(2, &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opened.open(3, &changed).is_none());
        }
        let mut changed = wrapped.clone();
        changed[20] ^= 1;
        assert!(keys.unwrap("a", &changed).is_none());
        assert!(DataKey::new().unwrap().open(3, &sealed).is_none());
    }
}
