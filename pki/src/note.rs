//! Signed notes: what a log says of itself, in a form that people read, other tools verify and no server takes for a message.
//!
//! The format is the one that transparency logs share (C2SP `signed-note`, `tlog-checkpoint`): lines of text, an empty line, and
//! lines `— name base64(key hash ‖ signature)` with Ed25519 over the text. A text begins with a name that holds no colon and no
//! method, so it is neither XML nor a REST header part, and the key signs nothing else.
//!
//! [`Checkpoint`] is a tree head. At most [`MAX_BYTES`].
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::digest::DigestAlgorithm;
use crate::merkle::Hash;

/// Of a note with all its signatures.
pub const MAX_BYTES: usize = 1 << 20;
/// What Ed25519 is in a key's hash.
const ED25519_TYPE: u8 = 1;
/// Em dash and blank, in front of a signature.
const SIGNATURE: &str = "\u{2014} ";

/// Why a note proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not text, empty line and signatures.
    #[error("it is not a signed note")]
    Form,
    /// No signature of this key.
    #[error("it is not signed by {0}")]
    Unsigned(String),
    /// A signature of this key that does not hold.
    #[error("the signature of {0} does not hold")]
    Signature(String),
    /// A text that is not what it should be.
    #[error("it does not say what it should: {0}")]
    Text(&'static str),
    /// A key that cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(&'static str),
}

/// A key that signs notes.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.verifier).finish()
    }
}

impl Signer {
    /// A new key as PKCS#8.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, NoteError> {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let key = key.map_err(|_| NoteError::Key("the system gives no random numbers"))?;
        Ok(Zeroizing::new(key.as_ref().to_vec()))
    }

    /// The key that signs as `name`.
    ///
    /// # Errors
    /// No such key, or no such name.
    pub fn new(name: &str, pkcs8: &[u8]) -> Result<Self, NoteError> {
        let pair =
            Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| NoteError::Key("it is not PKCS#8 with Ed25519"))?;
        let mut key = [0; 32];
        key.copy_from_slice(pair.public_key().as_ref());
        let verifier = Verifier::new(name, key)?;
        Ok(Self { pair, verifier })
    }

    /// What others need to verify.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The note over `text`, which ends with a line end and holds no empty line.
    pub fn sign(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let value = STANDARD.encode([&self.verifier.hash()[..], signature.as_ref()].concat());
        format!("{text}\n{SIGNATURE}{} {value}\n", self.verifier.name)
    }
}

/// Name and public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: [u8; 32],
}

impl Verifier {
    fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        let fits =
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
        if !fits {
            return Err(NoteError::Key("its name is empty or holds a blank or a plus"));
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// Reads the form `name+hash+key`, as [`Verifier::to_string`](ToString) writes it.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let wrong = NoteError::Key("it is not name+hash+key");
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong);
        };
        let key = STANDARD.decode(key).map_err(|_| wrong.clone())?;
        let Some((&ED25519_TYPE, key)) = key.split_first() else { return Err(wrong) };
        let verifier = Self::new(name, key.try_into().map_err(|_| wrong.clone())?)?;
        if hex::encode(verifier.hash()) == hash { Ok(verifier) } else { Err(wrong) }
    }

    /// Who signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's short name: the first bytes of SHA-256(name ‖ LF ‖ type ‖ key).
    fn hash(&self) -> [u8; 4] {
        let data = [self.name.as_bytes(), b"\n", &[ED25519_TYPE], &self.key].concat();
        let digest = DigestAlgorithm::Sha256.digest(&data).value;
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// The text of a note that this key signed.
    ///
    /// # Errors
    /// No note, or no good signature of this key.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        if note.len() > MAX_BYTES {
            return Err(NoteError::Form);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let mut found = Err(NoteError::Unsigned(self.name.clone()));
        for line in signatures.lines() {
            let (name, value) =
                line.strip_prefix(SIGNATURE).and_then(|l| l.split_once(' ')).ok_or(NoteError::Form)?;
            let value = STANDARD.decode(value).map_err(|_| NoteError::Form)?;
            let (hash, signature) = value.split_at_checked(4).ok_or(NoteError::Form)?;
            if name != self.name || hash != self.hash() {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, &self.key)
                .verify(text.as_bytes(), signature)
                .map_err(|_| NoteError::Signature(self.name.clone()))?;
            found = Ok(text);
        }
        found
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = STANDARD.encode([&[ED25519_TYPE][..], &self.key].concat());
        write!(f, "{}+{}+{key}", self.name, hex::encode(self.hash()))
    }
}

/// A tree head: how many leaves there are and what they hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
    /// Further lines, such as when.
    pub more: Vec<String>,
}

impl Checkpoint {
    /// The text to sign.
    pub fn text(&self) -> String {
        let more: String = self.more.iter().map(|line| format!("{line}\n")).collect();
        format!("{}\n{}\n{}\n{more}", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`NoteError::Text`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.lines();
        let origin = lines.next().filter(|origin| !origin.is_empty());
        let origin = origin.ok_or(NoteError::Text("there is no origin"))?.to_owned();
        let size = lines.next().filter(|size| size.bytes().all(|b| b.is_ascii_digit()));
        let size = size.and_then(|size| size.parse().ok()).ok_or(NoteError::Text("there is no size"))?;
        let root =
            lines.next().and_then(|root| STANDARD.decode(root).ok()).and_then(|root| root.try_into().ok());
        let root = root.ok_or(NoteError::Text("there is no root"))?;
        Ok(Self { origin, size, root, more: lines.map(str::to_owned).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(name: &str) -> Signer {
        Signer::new(name, &Signer::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_note_opens_with_its_key_alone() {
        let (ours, other) = (signer("causeway/a"), signer("causeway/a"));
        let note = ours.sign("causeway/a\n3\n");
        let verifier = Verifier::parse(&ours.verifier().to_string()).unwrap();
        assert_eq!(&verifier, ours.verifier());
        assert_eq!(verifier.open(&note), Ok("causeway/a\n3\n"));
        assert_eq!(other.verifier().open(&note), Err(NoteError::Unsigned("causeway/a".into())));
        // Of the text alone: the key's hash may hold any digit too.
        let changed = note.replacen("\n3\n", "\n4\n", 1);
        assert_eq!(verifier.open(&changed), Err(NoteError::Signature("causeway/a".into())));
        for broken in ["", "text\n", "text\n\nno dash", "text\n\n\u{2014} a notbase64!\n"] {
            assert_eq!(verifier.open(broken), Err(NoteError::Form), "{broken:?}");
        }
        assert!(Signer::new("a b", &Signer::generate().unwrap()).is_err());
    }

    /// The example of the C2SP specification.
    #[test]
    fn notes_of_others_open() {
        let verifier =
            Verifier::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert!(verifier.open(note).is_ok());
    }

    #[test]
    fn heads_read_back() {
        let head =
            Checkpoint { origin: "causeway/x".into(), size: 7, root: [9; 32], more: vec!["at 1".into()] };
        assert_eq!(Checkpoint::parse(&head.text()), Ok(head));
        for text in ["", "o\n-1\nAA==\n", "o\n1\nAA==\n", "o\n1\n"] {
            assert!(Checkpoint::parse(text).is_err(), "{text:?}");
        }
    }
}
