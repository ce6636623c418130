//! Users with passwords, from a file of the host: one a line, `name:ROLE,ROLE:$argon2id$…`; `#` begins a comment.
//!
//! The file is read at every log-in, so that an edit acts at once. A password is checked by Argon2id, by few threads at a time, and as long for a
//! name that does not exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::operation::Role;

/// Largest file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Longest name or password, in characters.
const MAX_CHARS: usize = 255;

/// Why the file cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that cannot stand in the file.
    #[error("a user name has 1 to 255 letters, digits, dots, hyphens and underscores")]
    Name,
    /// A password that nobody should have.
    #[error("a password has 12 to 255 characters")]
    Password,
    /// Somebody without a role may nothing.
    #[error("a user needs a role")]
    NoRole,
    /// The hash could not be made.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
    /// Disk.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The users of a host.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    /// One check at a time: each takes much memory on purpose.
    checking: Mutex<()>,
}

impl Users {
    /// Those in the file at `path`; none while there is no file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, checking: Mutex::new(()) }
    }

    /// The roles of a user, when the password is right. Blocks for a good part of a second.
    pub fn check(&self, name: &str, password: &str) -> Option<BTreeSet<Role>> {
        if name.chars().count() > MAX_CHARS || password.chars().count() > MAX_CHARS {
            return None;
        }
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        let text = read(&self.path).inspect_err(|error| {
            tracing::error!(%error, path = %self.path.display(), "the file of users cannot be read");
        });
        let text = text.unwrap_or_default();
        let found = text.lines().filter_map(parse).find(|user| user.name == name);
        // An unknown name takes as long as a wrong password.
        let hash: &str = match &found {
            Some(user) => user.hash,
            None => nobody(),
        };
        let right = PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        found.filter(|_| right).map(|user| user.roles).filter(|roles| !roles.is_empty())
    }
}

struct User<'a> {
    name: &'a str,
    roles: BTreeSet<Role>,
    hash: &'a str,
}

fn parse(line: &str) -> Option<User<'_>> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.splitn(3, ':');
    let (name, roles, hash) = (fields.next()?, fields.next()?, fields.next()?);
    Some(User { name, roles: roles.split(',').filter_map(|role| Role::of(role.trim())).collect(), hash })
}

/// Adds a user to the file, or gives one another password and other roles.
///
/// # Errors
/// The file is as it was.
pub fn set(path: &Path, name: &str, roles: &[Role], password: &str) -> Result<(), UserError> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    if !(1..=MAX_CHARS).contains(&name.chars().count()) || !name.chars().all(plain) {
        return Err(UserError::Name);
    }
    if !(12..=MAX_CHARS).contains(&password.chars().count()) {
        return Err(UserError::Password);
    }
    if roles.is_empty() {
        return Err(UserError::NoRole);
    }
    let io = |source| UserError::Io { path: path.to_owned(), source };
    let text = read(path).map_err(io)?;
    let others = text.lines().filter(|line| parse(line).is_none_or(|user| user.name != name));
    let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let own = format!("{name}:{}:{}", roles.join(","), hash(password)?);
    let mut lines: Vec<&str> = others.collect();
    lines.push(&own);
    host::files::write_atomic(path, (lines.join("\n") + "\n").as_bytes(), 0o600).map_err(io)
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES).read_to_string(&mut text).map(|_| text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(text),
        Err(error) => Err(error),
    }
}

/// What OWASP advises: 19 MiB, two passes.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).unwrap_or(Params::DEFAULT);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &str) -> Result<String, UserError> {
    let wrong = |error: argon2::password_hash::Error| UserError::Hash(error.to_string());
    let salt = SaltString::encode_b64(uuid::Uuid::new_v4().as_bytes()).map_err(wrong)?;
    Ok(argon2().hash_password(password.as_bytes(), &salt).map_err(wrong)?.to_string())
}

/// A hash that no password is checked against in earnest.
fn nobody() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash(&uuid::Uuid::new_v4().to_string()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_checked_and_edits_act_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let users = Users::new(path.clone());
        assert_eq!(users.check("ann", "correct horse battery"), None, "no file yet");
        set(&path, "ann", &[Role::SystemAdministrator], "correct horse battery").unwrap();
        set(&path, "bob", &[Role::SecurityOfficer], "another long password").unwrap();
        set(&path, "ann", &[Role::RegistrationOfficer], "correct horse battery 2").unwrap();
        assert_eq!(users.check("ann", "correct horse battery"), None);
        assert_eq!(
            users.check("ann", "correct horse battery 2").unwrap(),
            BTreeSet::from([Role::RegistrationOfficer])
        );
        assert!(users.check("bob", "another long password").is_some());
        assert_eq!(users.check("carl", "another long password"), None);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() == 2 && text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    }

    #[test]
    fn what_cannot_be_a_user() {
        let path = Path::new("/nonexistent/users");
        let roles = [Role::Observer];
        assert!(matches!(set(path, "a:b", &roles, "long enough now"), Err(UserError::Name)));
        assert!(matches!(set(path, "ann", &roles, "short"), Err(UserError::Password)));
        assert!(matches!(set(path, "ann", &[], "long enough now"), Err(UserError::NoRole)));
    }
}
