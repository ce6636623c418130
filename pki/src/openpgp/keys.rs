//! OpenPGP keys: read from what `gpg --export` writes, judged at a given time, made.
//!
//! A key counts for what its own valid self-signatures say (RFC 9580 §5.2.3.10): the newest of each kind decides about expiry and
//! use. Certifications by others are not looked at: whoever puts a key into the folder vouches for it. A revocation that holds ends
//! a key for good, whatever its reason.
use pgp::composed::{
    ArmorOptions, Deserializable, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{self, KeyFlags, Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{
    EncryptionKey, EskType, KeyDetails, Password, PkeskBytes, PublicParams, SigningKey, Tag, Timestamp,
};
use proto::time::UnixTime;
use rand_core::OsRng;

/// Largest file with keys.
pub const MAX_KEY_BYTES: usize = 4 << 20;
/// Most keys of one file.
const MAX_KEYS: usize = 1000;

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not what `gpg --export` writes.
    #[error("it is no OpenPGP key: {0}")]
    Unreadable(String),
    /// More than is read.
    #[error("it is larger than {MAX_KEY_BYTES} bytes, or holds more than {MAX_KEYS} keys")]
    TooLarge,
    /// A secret key is wanted.
    #[error("there is no secret key in it")]
    NoSecret,
    /// One key is wanted.
    #[error("there is more than one key in it")]
    Several,
    /// Nothing holds it together.
    #[error("key {0} has no valid signature of its own")]
    Unsigned(String),
    /// Its owner took it back.
    #[error("key {0} was revoked")]
    Revoked(String),
    /// Its time is over.
    #[error("key {key} expired at {at}")]
    Expired {
        /// Which.
        key: String,
        /// ISO 8601.
        at: String,
    },
    /// No part of it is for encryption.
    #[error("key {0} cannot encrypt: it has no part that is valid now and made for that")]
    CannotEncrypt(String),
    /// No part of it is for signing.
    #[error("key {0} cannot sign: it has no part that is valid now and made for that")]
    CannotSign(String),
    /// Nobody can tell which one is meant.
    #[error("several keys have a part {0}: name the one that is meant by its own fingerprint")]
    Ambiguous(String),
    /// A passphrase is wanted, or another one.
    #[error("key {0} is protected by a passphrase")]
    Protected(String),
    /// It could not be made.
    #[error("the key cannot be made: {0}")]
    Make(String),
}

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey(pub(super) SignedPublicKey);

/// A secret key, not protected by a passphrase.
#[derive(Clone)]
pub struct SecretKey {
    pub(super) key: SignedSecretKey,
    public: PublicKey,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SecretKey").field(&self.public.fingerprint()).finish()
    }
}

/// The part of a public key that encrypts.
pub(super) enum Encrypting<'a> {
    Primary(&'a packet::PublicKey),
    Subkey(&'a packet::PublicSubkey),
}

fn seconds(at: Timestamp) -> i64 {
    i64::from(at.as_secs())
}

/// Whether what was made at `made` for so many seconds is over; when.
fn over(made: Timestamp, lasts: Option<pgp::types::Duration>, now: UnixTime) -> Option<UnixTime> {
    let lasts = lasts.map_or(0, |lasts| i64::from(lasts.as_secs()));
    let end = UnixTime((seconds(made) + lasts) * 1000);
    (lasts > 0 && end <= now).then_some(end)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map_or(0, seconds))
}

fn encrypts(flags: &KeyFlags) -> bool {
    flags.encrypt_comms() || flags.encrypt_storage()
}

/// The one of `keys` that is called `id`, or has a part that is. Its own name counts first, since anybody can bind the parts of
/// somebody else's key to a key of his. Of several copies of one key the one that was taken back is given.
///
/// # Errors
/// [`KeyError::Ambiguous`]: different keys answer to it.
pub fn called<'a>(
    keys: impl IntoIterator<Item = &'a PublicKey>,
    id: &str,
) -> Result<Option<&'a PublicKey>, KeyError> {
    let (mut found, mut with_part) = (Vec::new(), Vec::new());
    for key in keys {
        if key.is_called(id) {
            found.push(key);
        } else if key.has_part(id) {
            with_part.push(key);
        }
    }
    if found.is_empty() {
        found = with_part;
    }
    let Some(first) = found.first().copied() else { return Ok(None) };
    if found.iter().any(|key| key.fingerprint() != first.fingerprint()) {
        return Err(KeyError::Ambiguous(id.to_owned()));
    }
    Ok(Some(found.into_iter().find(|key| key.is_revoked()).unwrap_or(first)))
}

fn is_id_of(key: &impl KeyDetails, id: &str) -> bool {
    let id: String = id.chars().filter(|c| !c.is_whitespace()).collect();
    let id = id.strip_prefix("0x").unwrap_or(&id).trim_end_matches('!').to_ascii_lowercase();
    id == hex::encode(key.fingerprint().as_bytes()) || id == hex::encode(key.legacy_key_id().as_ref())
}

impl PublicKey {
    /// All keys of a file, armoured or not. Secret keys are read as their public halves.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read_all(data: &[u8]) -> Result<Vec<Self>, KeyError> {
        if data.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLarge);
        }
        if let Ok(secret) = secret_keys(data)
            && !secret.is_empty()
        {
            return Ok(secret.iter().map(|key| Self(key.to_public_key())).collect());
        }
        let unreadable = |e: pgp::errors::Error| KeyError::Unreadable(e.to_string());
        let (found, _) = SignedPublicKey::from_reader_many(data).map_err(unreadable)?;
        let keys: Vec<_> = found.take(MAX_KEYS + 1).collect::<Result<_, _>>().map_err(unreadable)?;
        match keys.len() {
            0 => Err(KeyError::Unreadable("it is empty".into())),
            count if count > MAX_KEYS => Err(KeyError::TooLarge),
            _ => Ok(keys.into_iter().map(Self).collect()),
        }
    }

    /// Hexadecimal, capital letters.
    pub fn fingerprint(&self) -> String {
        hex::encode_upper(self.0.primary_key.fingerprint().as_bytes())
    }

    /// The names that its owner gave it.
    pub fn names(&self) -> Vec<String> {
        let names = self.0.details.users.iter();
        names.map(|user| String::from_utf8_lossy(user.id.id()).into_owned()).collect()
    }

    /// Whether it is called so: a fingerprint or a 16-digit key id, blanks and `0x` aside.
    pub fn is_called(&self, id: &str) -> bool {
        is_id_of(&self.0.primary_key, id)
    }

    /// Whether it has bound a part that is called so.
    fn has_part(&self, id: &str) -> bool {
        let primary = &self.0.primary_key;
        self.0.public_subkeys.iter().filter(|part| is_id_of(&part.key, id)).any(|part| {
            part.signatures.iter().any(|binding| binding.verify_subkey_binding(primary, &part.key).is_ok())
        })
    }

    /// Its owner took it back.
    pub fn is_revoked(&self) -> bool {
        let primary = &self.0.primary_key;
        self.0.details.revocation_signatures.iter().any(|revoked| revoked.verify_key(primary).is_ok())
    }

    /// As text that others import.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn armored(&self) -> Result<String, KeyError> {
        self.0.to_armored_string(ArmorOptions::default()).map_err(|e| KeyError::Make(e.to_string()))
    }

    /// Whether something can be encrypted to it now.
    ///
    /// # Errors
    /// Why not.
    pub fn check_encrypts(&self, now: UnixTime) -> Result<(), KeyError> {
        self.encrypting(now).map(drop)
    }

    /// When it ends by itself, as its own signatures say.
    pub fn expires(&self) -> Option<UnixTime> {
        let lasts = self.self_signature()?.key_expiration_time().filter(|lasts| lasts.as_secs() > 0)?;
        Some(UnixTime((seconds(self.0.primary_key.created_at()) + i64::from(lasts.as_secs())) * 1000))
    }

    /// The newest signature by which the key says what it is.
    fn self_signature(&self) -> Option<&Signature> {
        let primary = &self.0.primary_key;
        let direct = self.0.details.direct_signatures.iter();
        let direct = direct.filter(|signature| signature.verify_key(primary).is_ok());
        let named = self.0.details.users.iter().flat_map(|user| {
            let of_user = user.signatures.iter().filter(|signature| signature.is_certification());
            of_user.filter(|signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok())
        });
        newest(direct.chain(named))
    }

    /// What holds for the key as a whole.
    fn check_primary(&self, now: UnixTime) -> Result<&Signature, KeyError> {
        let primary = &self.0.primary_key;
        if self.is_revoked() {
            return Err(KeyError::Revoked(self.fingerprint()));
        }
        let own = self.self_signature().ok_or_else(|| KeyError::Unsigned(self.fingerprint()))?;
        match over(primary.created_at(), own.key_expiration_time(), now) {
            Some(end) => Err(KeyError::Expired { key: self.fingerprint(), at: end.to_iso8601() }),
            None => Ok(own),
        }
    }

    /// The newest binding of a part, when that part is not over.
    fn binding<'a>(
        &self,
        part: &(impl KeyDetails + Serialize),
        signatures: &'a [Signature],
        now: UnixTime,
    ) -> Option<&'a Signature> {
        let valid =
            |signature: &&Signature| signature.verify_subkey_binding(&self.0.primary_key, part).is_ok();
        if signatures
            .iter()
            .filter(valid)
            .any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation))
        {
            return None;
        }
        let binding = newest(signatures.iter().filter(valid))?;
        over(part.created_at(), binding.key_expiration_time(), now).is_none().then_some(binding)
    }

    /// The newest part that encrypts, or the key itself where it does.
    pub(super) fn encrypting(&self, now: UnixTime) -> Result<Encrypting<'_>, KeyError> {
        let own = self.check_primary(now)?;
        let usable = self.0.public_subkeys.iter().filter(|subkey| {
            let binding = self.binding(&subkey.key, &subkey.signatures, now);
            subkey.key.algorithm().can_encrypt()
                && binding.is_some_and(|binding| encrypts(&binding.key_flags()))
        });
        if let Some(subkey) = usable.max_by_key(|subkey| seconds(subkey.key.created_at())) {
            return Ok(Encrypting::Subkey(&subkey.key));
        }
        let primary = &self.0.primary_key;
        if primary.algorithm().can_encrypt() && encrypts(&own.key_flags()) {
            return Ok(Encrypting::Primary(primary));
        }
        Err(KeyError::CannotEncrypt(self.fingerprint()))
    }
}

impl KeyDetails for Encrypting<'_> {
    fn version(&self) -> pgp::types::KeyVersion {
        self.details().version()
    }
    fn legacy_key_id(&self) -> pgp::types::KeyId {
        self.details().legacy_key_id()
    }
    fn fingerprint(&self) -> pgp::types::Fingerprint {
        self.details().fingerprint()
    }
    fn algorithm(&self) -> pgp::crypto::public_key::PublicKeyAlgorithm {
        self.details().algorithm()
    }
    fn created_at(&self) -> Timestamp {
        self.details().created_at()
    }
    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.details().legacy_v3_expiration_days()
    }
    fn public_params(&self) -> &PublicParams {
        self.details().public_params()
    }
}

impl Encrypting<'_> {
    fn details(&self) -> &dyn KeyDetails {
        match self {
            Self::Primary(key) => *key,
            Self::Subkey(key) => *key,
        }
    }
}

impl std::fmt::Debug for Encrypting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Encrypting").field(&self.fingerprint()).finish()
    }
}

impl EncryptionKey for Encrypting<'_> {
    fn encrypt<R: rand_core::CryptoRng + rand_core::RngCore>(
        &self,
        rng: R,
        plain: &[u8],
        typ: EskType,
    ) -> pgp::errors::Result<PkeskBytes> {
        match self {
            Self::Primary(key) => key.encrypt(rng, plain, typ),
            Self::Subkey(key) => key.encrypt(rng, plain, typ),
        }
    }
}

fn secret_keys(data: &[u8]) -> Result<Vec<SignedSecretKey>, KeyError> {
    if data.len() > MAX_KEY_BYTES {
        return Err(KeyError::TooLarge);
    }
    let unreadable = |e: pgp::errors::Error| KeyError::Unreadable(e.to_string());
    let (found, _) = SignedSecretKey::from_reader_many(data).map_err(unreadable)?;
    found.take(MAX_KEYS).collect::<Result<_, _>>().map_err(unreadable)
}

impl SecretKey {
    /// The one secret key of a file; `passphrase` opens it where it is protected.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(data: &[u8], passphrase: Option<&str>) -> Result<Self, KeyError> {
        let mut keys = secret_keys(data).map_err(|error| match PublicKey::read_all(data) {
            Ok(_) => KeyError::NoSecret,
            Err(_) => error,
        })?;
        let Some(mut key) = keys.pop() else { return Err(KeyError::NoSecret) };
        if !keys.is_empty() {
            return Err(KeyError::Several);
        }
        let public = PublicKey(key.to_public_key());
        let password = passphrase.map_or_else(Password::empty, Password::from);
        let open = key.primary_key.remove_password(&password).and_then(|()| {
            key.secret_subkeys.iter_mut().try_for_each(|subkey| subkey.key.remove_password(&password))
        });
        open.map_err(|_| KeyError::Protected(public.fingerprint()))?;
        Ok(Self { key, public })
    }

    /// A new key without end: Ed25519 to sign, X25519 to encrypt, in the forms that `gpg` 2.2 reads.
    ///
    /// # Errors
    /// [`KeyError::Make`].
    pub fn generate(name: &str, now: UnixTime) -> Result<Self, KeyError> {
        let words = |e: &dyn std::fmt::Display| KeyError::Make(e.to_string());
        let at = timestamp(now).ok_or_else(|| KeyError::Make("the time is not of this age".into()))?;
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::ECDH(ECCCurve::Curve25519Legacy))
            .can_encrypt(EncryptionCaps::All)
            .created_at(at)
            .build()
            .map_err(|e| words(&e))?;
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(at)
            // Whoever writes to it would fall back to SHA-1 otherwise.
            .preferred_hash_algorithms([HashAlgorithm::Sha512, HashAlgorithm::Sha256].into_iter().collect())
            .preferred_symmetric_algorithms([SymmetricKeyAlgorithm::AES256].into_iter().collect())
            .primary_user_id(name.to_owned())
            .subkeys(vec![subkey])
            .build()
            .map_err(|e| words(&e))?;
        let key = params.generate(OsRng).map_err(|e| words(&e))?;
        let public = PublicKey(key.to_public_key());
        Ok(Self { key, public })
    }

    /// The half for others.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// As text, not protected.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn armored(&self) -> Result<zeroize::Zeroizing<String>, KeyError> {
        let text = self.key.to_armored_string(ArmorOptions::default());
        text.map(zeroize::Zeroizing::new).map_err(|e| KeyError::Make(e.to_string()))
    }

    /// Whether it can sign now.
    ///
    /// # Errors
    /// Why not.
    pub fn check_signs(&self, now: UnixTime) -> Result<(), KeyError> {
        self.signing(now).map(drop)
    }

    /// The newest part that signs, or the key itself where it does.
    pub(super) fn signing(&self, now: UnixTime) -> Result<&dyn SigningKey, KeyError> {
        let own = self.public.check_primary(now)?;
        let usable = self.key.secret_subkeys.iter().filter(|subkey| {
            let binding = self.public.binding(subkey.key.public_key(), &subkey.signatures, now);
            binding.is_some_and(|binding| binding.key_flags().sign())
        });
        if let Some(subkey) = usable.max_by_key(|subkey| seconds(subkey.key.created_at())) {
            return Ok(&subkey.key);
        }
        if own.key_flags().sign() && self.key.primary_key.algorithm().can_sign() {
            return Ok(&self.key.primary_key);
        }
        Err(KeyError::CannotSign(self.public.fingerprint()))
    }
}

/// A time as OpenPGP writes it.
pub(super) fn timestamp(at: UnixTime) -> Option<Timestamp> {
    u32::try_from(at.0.div_euclid(1000)).ok().map(Timestamp::from_secs)
}
