//! The folder of a token, and what is known of its keys.
//!
//! | File | Holds | If it is lost |
//! |---|---|---|
//! | `token.json` | which keys and certificates exist, in which state; the token's key, sealed under the PIN | the keys are lost: restore the backup |
//! | `<key id>.key` | one private key (PKCS#8), sealed under the token's key | that key is lost |
//! | `ocsp/` | OCSP answers of own certificates, see `ocsp_store` | they are fetched again |
//!
//! `token.json` is replaced whole ([`host::files`]); a key file is written before `token.json` names it and removed after, so that a
//! crash leaves at worst a key file that nobody names. Files have mode 0600. `token.json` carries the number of its format; a newer one
//! is refused.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::cert::Certificate;
use pki::issue::Subject;
use pki::name;
use proto::id::MemberId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::TokenError;
use crate::seal::{self, SecretKey};
use crate::{KeyId, Purpose};

/// Layout that is written.
pub(crate) const FORMAT: u32 = 1;
const TOKEN_FILE: &str = "token.json";
/// Largest `token.json` or key file.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
const SEALED_TOKEN_KEY: &str = "token key";

/// What a key is for, once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUsage {
    /// TLS between security servers, and the request that registers it.
    Authentication,
    /// Messages and management requests of a member.
    Signing,
    /// Configuration directories of a central server.
    Configuration,
    /// Not said yet: the first certificate signing request, or the first certificate, does.
    Unassigned,
}

impl KeyUsage {
    /// The key may make this signature.
    pub fn allows(self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Message | Purpose::ManagementRequest => self == Self::Signing,
            Purpose::Registration | Purpose::Handshake => self == Self::Authentication,
            Purpose::Csr => self != Self::Configuration,
            Purpose::Configuration => self == Self::Configuration,
        }
    }
}

/// State of a certificate, spelled as the reference does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertStatus {
    /// Imported, not registered yet.
    #[serde(rename = "saved")]
    Saved,
    /// The registration request was sent.
    #[serde(rename = "registration in progress")]
    RegistrationInProgress,
    /// In the global configuration; signing certificates from the start.
    #[serde(rename = "registered")]
    Registered,
    /// The deletion request was sent.
    #[serde(rename = "deletion in progress")]
    DeletionInProgress,
    /// Was registered, and is not in the global configuration any more.
    #[serde(rename = "global error")]
    GlobalError,
}

/// A certificate of a key.
#[derive(Clone, Debug)]
pub struct CertInfo {
    /// The certificate.
    pub cert: Certificate,
    /// Whose messages it signs; `None` for a server's certificate.
    pub member: Option<MemberId>,
    /// Its state.
    pub status: CertStatus,
    /// The administrator lets it be used.
    pub active: bool,
}

impl CertInfo {
    /// Names it: lower-case hex SHA-256 of the DER.
    pub fn id(&self) -> String {
        hex::encode(self.cert.sha256())
    }
    /// In use, as far as the administrator and the registry are concerned.
    pub(crate) fn is_live(&self) -> bool {
        self.active && self.status == CertStatus::Registered
    }
}

/// What a certificate is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrRequest {
    /// Whose messages it will sign; `None` for a server's certificate.
    pub member: Option<MemberId>,
    /// Class name of the certificate profile, as the global configuration has it.
    pub profile: String,
    /// Fields of the subject, in order.
    pub subject: Subject,
    /// Subject alternative names.
    pub dns_names: Vec<String>,
}

/// A certificate signing request that is remembered; it is written anew whenever it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrInfo {
    /// Its name.
    pub id: String,
    /// What it asks for.
    pub request: CsrRequest,
}

/// A key as an administrator sees it.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// Its name.
    pub id: KeyId,
    /// What it was called when it was made.
    pub label: String,
    /// What the administrator calls it.
    pub name: String,
    /// Certificates that were asked for and did not come yet.
    pub csrs: Vec<CsrInfo>,
    /// What it is for.
    pub usage: KeyUsage,
    /// DER of the SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Its certificates.
    pub certs: Vec<CertInfo>,
}

/// What a token holds, without the private keys.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) label: String,
    pub(crate) lock: PinLock,
    pub(crate) keys: Vec<KeyInfo>,
}

/// The token's key under the PIN.
#[derive(Clone, Debug)]
pub(crate) struct PinLock {
    iterations: u32,
    salt: Vec<u8>,
    sealed: Vec<u8>,
}

impl PinLock {
    /// Seals `key` under `pin`. Slow on purpose.
    pub(crate) fn new(pin: &str, key: &SecretKey) -> Result<Self, TokenError> {
        if pin.is_empty() {
            return Err(TokenError::EmptyPin);
        }
        let salt = seal::salt()?.to_vec();
        let outer = SecretKey::from_pin(pin, &salt, seal::ITERATIONS).ok_or(TokenError::NoRandom)?;
        let sealed = outer.seal(SEALED_TOKEN_KEY, key.bytes())?;
        Ok(Self { iterations: seal::ITERATIONS, salt, sealed })
    }
    /// The token's key, when `pin` is right. Slow on purpose.
    pub(crate) fn open(&self, pin: &str) -> Option<SecretKey> {
        let outer = SecretKey::from_pin(pin, &self.salt, self.iterations)?;
        SecretKey::from_bytes(&outer.open(SEALED_TOKEN_KEY, &self.sealed)?)
    }
}

impl Token {
    pub(crate) fn key(&self, id: &str) -> Option<&KeyInfo> {
        self.keys.iter().find(|key| key.id == id)
    }
    pub(crate) fn key_mut(&mut self, id: &str) -> Option<&mut KeyInfo> {
        self.keys.iter_mut().find(|key| key.id == id)
    }
    pub(crate) fn key_of(&self, spki: &[u8]) -> Option<&KeyInfo> {
        self.keys.iter().find(|key| key.spki == spki)
    }
    pub(crate) fn cert_mut(&mut self, id: &str) -> Option<&mut CertInfo> {
        self.keys.iter_mut().flat_map(|key| &mut key.certs).find(|cert| cert.id() == id)
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
    fn token_file(&self) -> PathBuf {
        self.0.join(TOKEN_FILE)
    }
    fn key_file(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.key"))
    }
    pub(crate) fn has_token(&self) -> bool {
        self.token_file().exists()
    }

    pub(crate) fn read_token(&self) -> Result<Token, TokenError> {
        let path = self.token_file();
        let bytes = self.read(&path)?;
        let malformed = |reason: String| TokenError::Malformed { path: path.clone(), reason };
        let probe: Format = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if probe.format > FORMAT {
            return Err(TokenError::Newer { path: path.clone(), found: probe.format, known: FORMAT });
        }
        let stored: StoredToken =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        stored.read().ok_or_else(|| malformed("a key or certificate in it cannot be read".to_owned()))
    }

    pub(crate) fn write_token(&self, token: &Token) -> Result<(), TokenError> {
        let path = self.token_file();
        let malformed = |error: serde_json::Error| TokenError::Malformed {
            path: path.clone(),
            reason: error.to_string(),
        };
        let mut bytes = serde_json::to_vec_pretty(&StoredToken::of(token)).map_err(malformed)?;
        bytes.push(b'\n');
        host::files::write_atomic(&path, &bytes, 0o600).map_err(|source| TokenError::Io { path, source })
    }

    pub(crate) fn read_key(&self, id: &str, key: &SecretKey) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let path = self.key_file(id);
        let sealed = self.read(&path)?;
        let reason = || "it was changed, or belongs to another token".to_owned();
        key.open(id, &sealed).ok_or_else(|| TokenError::Malformed { path, reason: reason() })
    }

    pub(crate) fn write_key(&self, id: &str, key: &SecretKey, pkcs8: &[u8]) -> Result<(), TokenError> {
        let path = self.key_file(id);
        let sealed = key.seal(id, pkcs8)?;
        host::files::write_atomic(&path, &sealed, 0o600).map_err(|source| TokenError::Io { path, source })
    }

    pub(crate) fn remove_key(&self, id: &str) -> Result<(), TokenError> {
        let path = self.key_file(id);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(TokenError::Io { path, source })
            }
            _ => Ok(()),
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(io)?.len() > MAX_FILE_BYTES {
            return Err(TokenError::Malformed {
                path: path.to_owned(),
                reason: "it is too large".to_owned(),
            });
        }
        std::fs::read(path).map_err(io)
    }
}

/// Read first, so that a newer file says so instead of being malformed.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// `token.json`. Bytes are base64.
#[derive(Serialize, Deserialize)]
struct StoredToken {
    format: u32,
    label: String,
    iterations: u32,
    salt: String,
    sealed_key: String,
    keys: Vec<StoredKey>,
}

/// Attribute types that the subject of a request may have.
pub(crate) const ATTRIBUTES: [&str; 7] = [
    name::COMMON_NAME,
    name::SERIAL_NUMBER,
    name::COUNTRY,
    name::ORGANIZATION,
    name::ORGANIZATIONAL_UNIT,
    name::BUSINESS_CATEGORY,
    name::ORGANIZATION_IDENTIFIER,
];

#[derive(Serialize, Deserialize)]
struct StoredCsr {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    member: Option<MemberId>,
    profile: String,
    /// Dotted OIDs with values.
    subject: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    dns_names: Vec<String>,
}

impl StoredCsr {
    fn of(csr: &CsrInfo) -> Self {
        let CsrRequest { member, profile, subject, dns_names } = csr.request.clone();
        let subject = subject.into_iter().map(|(oid, value)| (oid.to_owned(), value)).collect();
        Self { id: csr.id.clone(), member, profile, subject, dns_names }
    }

    fn read(self) -> Option<CsrInfo> {
        let field =
            |(oid, value): (String, String)| Some((*ATTRIBUTES.iter().find(|known| **known == oid)?, value));
        let subject = self.subject.into_iter().map(field).collect::<Option<_>>()?;
        let Self { id, member, profile, dns_names, .. } = self;
        Some(CsrInfo { id, request: CsrRequest { member, profile, subject, dns_names } })
    }
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    id: String,
    label: String,
    usage: KeyUsage,
    public_key: String,
    certificates: Vec<StoredCert>,
    /// Absent in older files: then it is the label.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    requests: Vec<StoredCsr>,
}

#[derive(Serialize, Deserialize)]
struct StoredCert {
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    member: Option<MemberId>,
    status: CertStatus,
    active: bool,
}

impl StoredToken {
    fn of(token: &Token) -> Self {
        let cert = |cert: &CertInfo| StoredCert {
            certificate: STANDARD.encode(cert.cert.der()),
            member: cert.member.clone(),
            status: cert.status,
            active: cert.active,
        };
        let key = |key: &KeyInfo| StoredKey {
            id: key.id.clone(),
            label: key.label.clone(),
            usage: key.usage,
            public_key: STANDARD.encode(&key.spki),
            certificates: key.certs.iter().map(cert).collect(),
            name: (key.name != key.label).then(|| key.name.clone()),
            requests: key.csrs.iter().map(StoredCsr::of).collect(),
        };
        Self {
            format: FORMAT,
            label: token.label.clone(),
            iterations: token.lock.iterations,
            salt: STANDARD.encode(&token.lock.salt),
            sealed_key: STANDARD.encode(&token.lock.sealed),
            keys: token.keys.iter().map(key).collect(),
        }
    }

    fn read(self) -> Option<Token> {
        let bytes = |text: &str| STANDARD.decode(text).ok();
        let cert = |stored: StoredCert| {
            let cert = Certificate::parse(&bytes(&stored.certificate)?).ok()?;
            Some(CertInfo { cert, member: stored.member, status: stored.status, active: stored.active })
        };
        let key = |stored: StoredKey| {
            Some(KeyInfo {
                spki: bytes(&stored.public_key)?,
                certs: stored.certificates.into_iter().map(cert).collect::<Option<_>>()?,
                // The id becomes a file name.
                id: Some(stored.id).filter(|id| is_key_id(id))?,
                name: stored.name.unwrap_or_else(|| stored.label.clone()),
                label: stored.label,
                usage: stored.usage,
                csrs: stored.requests.into_iter().map(StoredCsr::read).collect::<Option<_>>()?,
            })
        };
        Some(Token {
            label: self.label,
            lock: PinLock {
                iterations: Some(self.iterations)
                    .filter(|rounds| (1..=seal::MAX_ITERATIONS).contains(rounds))?,
                salt: bytes(&self.salt)?,
                sealed: bytes(&self.sealed_key)?,
            },
            keys: self.keys.into_iter().map(key).collect::<Option<_>>()?,
        })
    }
}

/// Upper-case hex of at most 64 characters.
fn is_key_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

/// A new key id: 160 random bits, as the reference has.
pub(crate) fn new_key_id() -> Result<KeyId, TokenError> {
    Ok(hex::encode_upper(seal::random::<20>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> (Token, SecretKey) {
        let key = SecretKey::random().unwrap();
        let lock = PinLock::new("1234", &key).unwrap();
        let info = KeyInfo {
            id: new_key_id().unwrap(),
            label: "a key".to_owned(),
            name: "its name".to_owned(),
            usage: KeyUsage::Signing,
            spki: vec![1, 2, 3],
            certs: vec![],
            csrs: vec![CsrInfo {
                id: "AB".to_owned(),
                request: CsrRequest {
                    member: Some(MemberId::new("EE", "GOV", "1")),
                    profile: "x.Y".to_owned(),
                    subject: vec![(name::COUNTRY, "EE".to_owned()), (name::COMMON_NAME, "1".to_owned())],
                    dns_names: vec!["a.ee".to_owned()],
                },
            }],
        };
        (Token { label: "token".to_owned(), lock, keys: vec![info] }, key)
    }

    #[test]
    fn a_folder_gives_back_what_was_put_in() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let (token, key) = token();
        assert!(!folder.has_token());
        folder.write_token(&token).unwrap();
        let id = &token.keys[0].id;
        folder.write_key(id, &key, b"private").unwrap();
        let read = folder.read_token().unwrap();
        assert_eq!((&read.label, &read.keys[0].id, &read.keys[0].spki), (&token.label, id, &vec![1, 2, 3]));
        assert_eq!((&read.keys[0].name, &read.keys[0].csrs), (&token.keys[0].name, &token.keys[0].csrs));
        let opened = read.lock.open("1234").unwrap();
        assert!(read.lock.open("12345").is_none() && read.lock.open("").is_none());
        assert_eq!(folder.read_key(id, &opened).unwrap().as_slice(), b"private");
        // A key file under another name does not open.
        let other = new_key_id().unwrap();
        std::fs::rename(folder.key_file(id), folder.key_file(&other)).unwrap();
        assert!(matches!(folder.read_key(&other, &opened), Err(TokenError::Malformed { .. })));
        folder.remove_key(&other).unwrap();
        folder.remove_key(&other).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let (token, _) = token();
        folder.write_token(&token).unwrap();
        let whole = String::from_utf8(std::fs::read(folder.token_file()).unwrap()).unwrap();
        let id = &token.keys[0].id;
        let cases = [
            ("cut", whole[..whole.len() / 2].to_owned()),
            ("a path for an id", whole.replace(id, "../../etc/passwd")),
            ("no rounds", whole.replace("\"iterations\": 1000", "\"iterations\": 0")),
            ("no base64", whole.replace("\"salt\": \"", "\"salt\": \"!")),
            ("unknown status", whole.replace("\"usage\": \"signing\"", "\"usage\": \"both\"")),
        ];
        for (name, text) in cases {
            assert_ne!(text, whole, "{name}");
            std::fs::write(folder.token_file(), text).unwrap();
            assert!(matches!(folder.read_token(), Err(TokenError::Malformed { .. })), "{name}");
        }
        let newer = whole.replace("\"format\": 1", "\"format\": 2");
        std::fs::write(folder.token_file(), newer).unwrap();
        assert!(matches!(folder.read_token(), Err(TokenError::Newer { found: 2, known: 1, .. })));
    }

    #[test]
    fn usages_are_separate() {
        use KeyUsage::{Authentication, Configuration, Signing};
        use Purpose::{Csr, ManagementRequest, Message, Registration};
        let cases = [
            (Message, [false, true, false]),
            (ManagementRequest, [false, true, false]),
            (Registration, [true, false, false]),
            (Csr, [true, true, false]),
            (Purpose::Configuration, [false, false, true]),
        ];
        for (purpose, expected) in cases {
            let found = [Authentication, Signing, Configuration].map(|usage| usage.allows(purpose));
            assert_eq!(found, expected, "{purpose:?}");
        }
    }
}
