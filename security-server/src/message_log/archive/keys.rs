//! Who may read an archive file: the folder of OpenPGP keys, and which member's archives are encrypted to which of them [UG-SS §11.1.7].
//!
//! ```text
//! <archive-keys-directory>/server.key         the server's own secret key: signs every archive; readable by the server alone
//! <archive-keys-directory>/FINGERPRINT.asc    a public key, as `gpg --armor --export` writes it; any *.asc, *.pgp or *.gpg is read
//! ```
//!
//! Archives of a member's group (archive-grouping `member` or `subsystem`) are encrypted to the keys that the mapping file has for
//! the member: lines `INSTANCE/CLASS/CODE = KEY`, several for several keys, `\=` and `\#` for such characters in a code. All others go
//! to archive-default-encryption-key, or without one to the server's own key. KEY is a fingerprint or a key id of 16 digits. Folder
//! and file are read anew for every step, so that a key is changed without a restart; one that is missing, revoked or expired stops
//! archiving, and nothing is written.
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pki::openpgp::{self, KeyError, MAX_KEY_BYTES, PublicKey, SecretKey};
use proto::id::MemberId;
use proto::time::UnixTime;

/// The server's own secret key.
pub const SERVER_KEY: &str = "server.key";
/// Files with public keys.
const PUBLIC: [&str; 3] = ["asc", "pgp", "gpg"];
/// Most files in the folder that are read.
const MAX_FILES: usize = 1000;
/// Largest mapping file.
const MAX_MAPPING_BYTES: u64 = 1 << 20;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct EncryptionSettings {
    /// The folder.
    pub dir: PathBuf,
    /// The mapping file.
    pub members: Option<PathBuf>,
    /// For all that the mapping does not have.
    pub default_key: Option<String>,
    /// How long before a key ends that is said.
    pub warning: Duration,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file with a key.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// A key for archives of somebody.
    #[error("the key for archives of {whose}: {source}")]
    Key {
        /// Whose archives.
        whose: String,
        /// Why.
        source: KeyError,
    },
    /// None is called so.
    #[error("the key for archives of {whose}: there is no key {key} in {dir}")]
    Missing {
        /// Whose archives.
        whose: String,
        /// As it is written.
        key: String,
        /// Where it should be.
        dir: PathBuf,
    },
    /// A line of the mapping.
    #[error("{path}: line {line} is not INSTANCE/CLASS/CODE = KEY")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// Encryption needs it.
    #[error("{0}: there is no key of the server's own; `causeway log archive-key create` makes one")]
    NoServerKey(PathBuf),
    /// It would be lost.
    #[error(
        "{0}: there is a key of the server's own already; archives that only it opens would be lost with it"
    )]
    HasServerKey(PathBuf),
    /// The bound.
    #[error("{0}: there are more than {MAX_FILES} files in it, or one is too large")]
    TooLarge(PathBuf),
}

/// The keys of the folder, and whose they are.
#[derive(Debug)]
pub struct Keyring {
    dir: PathBuf,
    own: SecretKey,
    keys: Vec<PublicKey>,
    members: HashMap<MemberId, Vec<String>>,
    default_key: Option<String>,
}

impl EncryptionSettings {
    /// Reads folder and mapping, and looks up every key that is named in them.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub fn load(&self) -> Result<Keyring, KeyringError> {
        let own = self.dir.join(SERVER_KEY);
        if !own.exists() {
            return Err(KeyringError::NoServerKey(self.dir.clone()));
        }
        let data = zeroize::Zeroizing::new(read(&own)?);
        let own = SecretKey::read(&data, None).map_err(|source| KeyringError::File { path: own, source })?;
        let members = self.members.as_deref().map(mapping).transpose()?.unwrap_or_default();
        let keyring = Keyring {
            dir: self.dir.clone(),
            own,
            keys: list(&self.dir)?,
            members,
            default_key: self.default_key.clone(),
        };
        keyring.all()?;
        Ok(keyring)
    }
}

impl Keyring {
    /// The key that signs.
    pub fn own(&self) -> &SecretKey {
        &self.own
    }

    /// Those to whom an archive is encrypted: of a member's group, or of all.
    ///
    /// # Errors
    /// A key is not in the folder.
    pub fn recipients(&self, member: Option<&MemberId>) -> Result<Vec<&PublicKey>, KeyringError> {
        match (member.and_then(|member| Some((member, self.members.get(member)?))), &self.default_key) {
            (Some((member, ids)), _) => ids.iter().map(|id| self.find(id, &member.short())).collect(),
            (None, Some(id)) => Ok(vec![self.find(id, "all others")?]),
            (None, None) => Ok(vec![self.own.public()]),
        }
    }

    /// Fingerprints of the keys that a member has of its own.
    ///
    /// # Errors
    /// A key is not in the folder.
    pub fn of_member(&self, member: &MemberId) -> Result<Vec<String>, KeyringError> {
        if !self.members.contains_key(member) {
            return Ok(Vec::new());
        }
        Ok(self.recipients(Some(member))?.into_iter().map(PublicKey::fingerprint).collect())
    }

    /// Whether every key that is named can do its work now.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self, now: UnixTime) -> Result<(), KeyringError> {
        let failed = |whose: &str, source| KeyringError::Key { whose: whose.to_owned(), source };
        self.own.check_signs(now).map_err(|source| failed("this server, by which it signs", source))?;
        for (whose, key) in self.all()? {
            key.check_encrypts(now).map_err(|source| failed(&whose, source))?;
        }
        Ok(())
    }

    /// Keys that cannot do their work now, or in the time that comes `within`.
    ///
    /// # Errors
    /// A key is not in the folder.
    pub fn ending(&self, now: UnixTime, within: Duration) -> Result<Vec<Ending>, KeyringError> {
        let signs = |at| self.own.check_signs(at);
        let own = Ending::of("this server, by which it signs", self.own.public(), now, within, &signs);
        let mut endings: Vec<_> = own.into_iter().collect();
        for (whose, key) in self.all()? {
            endings.extend(Ending::of(&whose, key, now, within, &|at| key.check_encrypts(at)));
        }
        Ok(endings)
    }

    fn all(&self) -> Result<Vec<(String, &PublicKey)>, KeyringError> {
        let mut all = Vec::new();
        for member in self.members.keys() {
            all.extend(self.recipients(Some(member))?.into_iter().map(|key| (member.short(), key)));
        }
        all.extend(self.recipients(None)?.into_iter().map(|key| ("all others".to_owned(), key)));
        Ok(all)
    }

    fn find(&self, id: &str, whose: &str) -> Result<&PublicKey, KeyringError> {
        let found = openpgp::called(self.keys.iter().chain([self.own.public()]), id);
        let found = found.map_err(|source| KeyringError::Key { whose: whose.to_owned(), source })?;
        found.ok_or_else(|| KeyringError::Missing {
            whose: whose.to_owned(),
            key: id.to_owned(),
            dir: self.dir.clone(),
        })
    }
}

/// A key whose time is over, or soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whose archives.
    pub whose: String,
    /// Its fingerprint.
    pub key: String,
    /// When it can do its work no longer; `None` when it cannot now.
    pub at: Option<UnixTime>,
    /// Why not, then.
    pub reason: String,
}

impl Ending {
    /// A key that is not there, or cannot be read.
    pub(crate) fn missing(error: &KeyringError) -> Self {
        Self { whose: "the server".to_owned(), key: String::new(), at: None, reason: error.to_string() }
    }

    /// Asks the key itself about times to come, since a part of it may end before it does.
    fn of(
        whose: &str,
        key: &PublicKey,
        now: UnixTime,
        within: Duration,
        check: &dyn Fn(UnixTime) -> Result<(), KeyError>,
    ) -> Option<Self> {
        let reason = check(now.plus(within)).err()?.to_string();
        let (whose, key) = (whose.to_owned(), key.fingerprint());
        if let Err(error) = check(now) {
            return Some(Self { whose, key, at: None, reason: error.to_string() });
        }
        let (mut good, mut bad) = (0, within.as_secs());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match check(now.plus(Duration::from_secs(middle))) {
                Ok(()) => good = middle,
                Err(_) => bad = middle,
            }
        }
        Some(Self { whose, key, at: Some(now.plus(Duration::from_secs(bad))), reason })
    }
}

/// The public keys of a folder.
///
/// # Errors
/// The disk, or a file that holds none.
pub fn list(dir: &Path) -> Result<Vec<PublicKey>, KeyringError> {
    let failed = |source| KeyringError::Io { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(failed)?.take(MAX_FILES + 1);
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    if paths.len() > MAX_FILES {
        return Err(KeyringError::TooLarge(dir.to_owned()));
    }
    paths.sort();
    let mut keys = Vec::new();
    for path in paths {
        if path.extension().is_some_and(|extension| PUBLIC.iter().any(|known| extension == *known)) {
            let found = PublicKey::read_all(&read(&path)?);
            keys.extend(found.map_err(|source| KeyringError::File { path, source })?);
        }
    }
    Ok(keys)
}

/// Makes the server's own key; its public half.
///
/// # Errors
/// There is one, or the disk.
pub fn create(dir: &Path, name: &str, now: UnixTime) -> Result<PublicKey, KeyringError> {
    let path = dir.join(SERVER_KEY);
    let key = SecretKey::generate(name, now).map_err(|source| KeyringError::File { path, source })?;
    store_own(dir, &key)?;
    Ok(key.public().clone())
}

/// Takes keys into the folder: public ones under their fingerprints, a secret one as the server's own. The public keys.
///
/// # Errors
/// No such keys, a server's key that is there already, or the disk.
pub fn import(dir: &Path, from: &Path, passphrase: Option<&str>) -> Result<Vec<PublicKey>, KeyringError> {
    let data = zeroize::Zeroizing::new(read(from)?);
    let failed = |source| KeyringError::File { path: from.to_owned(), source };
    match SecretKey::read(&data, passphrase) {
        Ok(key) => {
            store_own(dir, &key)?;
            return Ok(vec![key.public().clone()]);
        }
        Err(KeyError::NoSecret) => {}
        Err(error) => return Err(failed(error)),
    }
    let keys = PublicKey::read_all(&data).map_err(failed)?;
    std::fs::create_dir_all(dir).map_err(|source| KeyringError::Io { path: dir.to_owned(), source })?;
    for key in &keys {
        let path = dir.join(format!("{}.asc", key.fingerprint()));
        check_not_brought_back(&path, key)?;
        let text = key.armored().map_err(failed)?;
        host::files::write_atomic(&path, text.as_bytes(), 0o644)
            .map_err(|source| KeyringError::Io { path, source })?;
    }
    Ok(keys)
}

/// An older copy of a key does not take the place of one that says it was revoked.
fn check_not_brought_back(path: &Path, key: &PublicKey) -> Result<(), KeyringError> {
    if key.is_revoked() || !path.exists() {
        return Ok(());
    }
    let failed = |source| KeyringError::File { path: path.to_owned(), source };
    match PublicKey::read_all(&read(path)?).map_err(failed)?.iter().any(PublicKey::is_revoked) {
        true => Err(failed(KeyError::Revoked(key.fingerprint()))),
        false => Ok(()),
    }
}

fn store_own(dir: &Path, key: &SecretKey) -> Result<(), KeyringError> {
    let path = dir.join(SERVER_KEY);
    if path.exists() {
        return Err(KeyringError::HasServerKey(dir.to_owned()));
    }
    let text = key.armored().map_err(|source| KeyringError::File { path: path.clone(), source })?;
    let stored =
        std::fs::create_dir_all(dir).and_then(|()| host::files::write_atomic(&path, text.as_bytes(), 0o600));
    stored.map_err(|source| KeyringError::Io { path, source })
}

fn read(path: &Path) -> Result<Vec<u8>, KeyringError> {
    let failed = |source| KeyringError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_KEY_BYTES as u64 {
        return Err(KeyringError::TooLarge(path.to_owned()));
    }
    std::fs::read(path).map_err(failed)
}

fn mapping(path: &Path) -> Result<HashMap<MemberId, Vec<String>>, KeyringError> {
    let failed = |source| KeyringError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_MAPPING_BYTES {
        return Err(KeyringError::TooLarge(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text).map_err(|line| KeyringError::Line { path: path.to_owned(), line })
}

/// Keys by member, or the number of the first line that is none.
fn parse(text: &str) -> Result<HashMap<MemberId, Vec<String>>, usize> {
    let mut found = HashMap::<MemberId, Vec<String>>::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = line.char_indices().find(|(at, c)| *c == '=' && !line[..*at].ends_with('\\'));
        let (member, key) = at.map(|(at, _)| (&line[..at], line[at + 1..].trim())).ok_or(number)?;
        let member = member.trim().replace("\\=", "=").replace("\\#", "#");
        let member = MemberId::parse_short(&member).map_err(|_| number)?;
        if key.is_empty() {
            return Err(number);
        }
        found.entry(member).or_default().push(key.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_is_read_as_it_is_documented() {
        let text = "# a comment\n\n  DEV/GOV/1 = AB CD \nDEV/GOV/1=EF\n\\#42/CLASS/\\#123 = 01\nDEV/class\\=x/\\\\=code = 02\n";
        let found = parse(text).unwrap();
        let of =
            |instance: &str, class: &str, code: &str| found[&MemberId::new(instance, class, code)].clone();
        assert_eq!(of("DEV", "GOV", "1"), ["AB CD", "EF"]);
        assert_eq!(of("#42", "CLASS", "#123"), ["01"]);
        assert_eq!(of("DEV", "class=x", "\\=code"), ["02"]);
        for (text, line) in [("DEV/GOV/1", 1), ("\nDEV/GOV = 1", 2), ("DEV/GOV/1 =", 1), ("= 1", 1)] {
            assert_eq!(parse(text), Err(line), "{text:?}");
        }
    }

    /// Revoking is what `gpg` does.
    #[test]
    fn an_older_copy_does_not_bring_a_revoked_key_back() {
        if testkit::tools::tool("gpg", "revoked keys of archives").is_none() {
            return;
        }
        let home = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let (home, dir) = (home.path(), home.path().join("keys"));
        let gpg = |arguments: &[&str]| {
            let mut gpg = std::process::Command::new("gpg");
            gpg.args(["--batch", "--no-tty", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]);
            let done = gpg.arg("--homedir").arg(home).args(arguments).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            done.stdout
        };
        gpg(&["--quick-generate-key", "member", "future-default", "default", "never"]);
        let (old, new) = (home.join("old"), home.join("new"));
        std::fs::write(&old, gpg(&["--export"])).unwrap();
        let fingerprint = PublicKey::read_all(&std::fs::read(&old).unwrap()).unwrap()[0].fingerprint();
        let revocation = home.join("openpgp-revocs.d").join(format!("{fingerprint}.rev"));
        let text = std::fs::read_to_string(&revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
        std::fs::write(&revocation, text).unwrap();
        gpg(&["--import", revocation.to_str().unwrap()]);
        std::fs::write(&new, gpg(&["--export"])).unwrap();
        let _ =
            std::process::Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).status();

        import(&dir, &old, None).unwrap();
        import(&dir, &new, None).unwrap();
        let refused = import(&dir, &old, None).unwrap_err();
        assert!(matches!(refused, KeyringError::File { source: KeyError::Revoked(_), .. }), "{refused}");
        assert!(list(&dir).unwrap()[0].is_revoked());
    }

    #[test]
    fn keys_are_found_by_member_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixTime(1_795_000_000_000);
        let mut settings = EncryptionSettings {
            dir: dir.path().join("keys"),
            members: None,
            default_key: None,
            warning: Duration::ZERO,
        };
        assert!(matches!(settings.load(), Err(KeyringError::NoServerKey(_))));
        let own = create(&settings.dir, "DEV/GOV/1/ss", now).unwrap();
        assert!(matches!(create(&settings.dir, "again", now), Err(KeyringError::HasServerKey(_))));
        let others: Vec<_> = ["a", "b"].map(|name| SecretKey::generate(name, now).unwrap()).into();
        for key in &others {
            std::fs::write(dir.path().join("export"), key.public().armored().unwrap()).unwrap();
            import(&settings.dir, &dir.path().join("export"), None).unwrap();
        }
        let (a, b) = (others[0].public().fingerprint(), others[1].public().fingerprint());
        let map = dir.path().join("map");
        std::fs::write(&map, format!("DEV/GOV/1 = {a}\nDEV/GOV/1 = {}\n", &b[24..])).unwrap();
        settings.members = Some(map.clone());
        let prints = |keyring: &Keyring, member: Option<&MemberId>| -> Vec<String> {
            keyring.recipients(member).unwrap().iter().map(|key| key.fingerprint()).collect()
        };
        let keyring = settings.load().unwrap();
        keyring.check(now).unwrap();
        let (one, two) = (MemberId::new("DEV", "GOV", "1"), MemberId::new("DEV", "GOV", "2"));
        assert_eq!(prints(&keyring, Some(&one)), [a.clone(), b.clone()]);
        assert_eq!(prints(&keyring, Some(&two)), [own.fingerprint()]);
        settings.default_key = Some(b.clone());
        assert_eq!(prints(&settings.load().unwrap(), None), [b]);
        std::fs::write(&map, "DEV/GOV/2 = 0123456789ABCDEF\n").unwrap();
        let error = settings.load().unwrap_err().to_string();
        assert!(error.contains("archives of DEV/GOV/2: there is no key 0123456789ABCDEF"), "{error}");
    }
}
