//! Keys that a file names: read and checked against their certificates before anything is changed, then put into the token.
//!
//! They count as registered and active; the server aligns that with the global configuration when it runs. A token that is not there
//! is made, also an empty one, so that the server has where to log in.

use std::path::Path;

use pki::cert::Certificate;
use pki::key::PrivateKey;
use proto::id::MemberId;
use proto::time::UnixTime;
use signer::process::TokenLock;
use signer::software::SoftwareSigner;
use signer::token::KeyInfo;
use zeroize::Zeroizing;

use super::file::{self, Files, Mistake};
use super::{ApplyError, Change, Line};

/// What the token is called.
const TOKEN_LABEL: &str = "softToken-0";

/// A key with its certificate, ready for the token.
pub(super) struct NamedKey {
    /// Where the file names it.
    pub(super) place: String,
    pub(super) label: String,
    /// Whose messages it signs; `None` is an authentication key.
    pub(super) member: Option<MemberId>,
    pub(super) key: PrivateKey,
    pub(super) cert: Certificate,
}

/// All keys of `server`, authentication first.
pub(super) fn read(
    place: &str,
    server: &file::Server,
    files: &Files,
    now: UnixTime,
) -> Result<Vec<NamedKey>, Mistake> {
    let mut keys = Vec::new();
    for (index, wanted) in server.keys.authentication.iter().enumerate() {
        let place = format!("{place}.keys.authentication[{index}]");
        if wanted.member.is_some() {
            return Err(Mistake::new(place, "an authentication key is the server's: leave `member` out"));
        }
        let key = read_one(place, wanted, None, files, now)?;
        match key.cert.is_authentication() {
            Ok(true) => keys.push(key),
            Ok(false) | Err(_) => {
                return Err(Mistake::new(
                    key.place,
                    "the certificate is not one for authentication: see its key usage",
                ));
            }
        }
    }
    for (index, wanted) in server.keys.signing.iter().enumerate() {
        let place = format!("{place}.keys.signing[{index}]");
        let member = wanted.member.as_ref().map_or(&server.owner.0, |id| &id.0).clone();
        let key = read_one(place, wanted, Some(member), files, now)?;
        if !key.cert.is_signing() {
            return Err(Mistake::new(
                key.place,
                "the certificate is not one for signing: its key usage lacks nonRepudiation",
            ));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn read_one(
    place: String,
    wanted: &file::Key,
    member: Option<MemberId>,
    files: &Files,
    now: UnixTime,
) -> Result<NamedKey, Mistake> {
    let (key, certs) = match (&wanted.pkcs12, &wanted.key, &wanted.certificate) {
        (Some(path), None, None) => {
            let password = match &wanted.password {
                Some(secret) => files.secret(&format!("{place}.password"), secret)?,
                None => Zeroizing::default(),
            };
            PrivateKey::from_pkcs12(&files.read(&place, path)?, &password)
                .map_err(|e| Mistake::new(&place, format!("{}: {e}", path.display())))?
        }
        (None, Some(key), Some(certificate)) => {
            let read = PrivateKey::from_pem(&files.read(&place, key)?);
            let read = read.map_err(|e| Mistake::new(&place, format!("{}: {e}", key.display())))?;
            let cert = Certificate::parse(&files.read(&place, certificate)?);
            let cert = cert.map_err(|e| Mistake::new(&place, format!("{}: {e}", certificate.display())))?;
            (read, vec![cert.der().to_vec()])
        }
        _ => return Err(Mistake::new(place, "name either `pkcs12`, or `key` and `certificate`")),
    };
    let certs = certs.iter().filter_map(|der| Certificate::parse(der).ok());
    let cert = certs.into_iter().find(|cert| cert.spki() == key.spki());
    let cert = cert.ok_or_else(|| Mistake::new(&place, "the certificate is not one of this key"))?;
    if cert.not_after() < now {
        return Err(Mistake::new(place, format!("the certificate of {} has expired", cert.subject())));
    }
    let label = wanted.label.clone().unwrap_or_else(|| cert.subject());
    Ok(NamedKey { place, label, member, key, cert })
}

/// Puts into the token in `folder` what it lacks of `keys`. Without a `pin` there is nothing to do.
pub(super) fn import(
    folder: &Path,
    place: &str,
    pin: Option<&str>,
    keys: Vec<NamedKey>,
    now: UnixTime,
    dry_run: bool,
) -> Result<Vec<Line>, ApplyError> {
    let Some(pin) = pin else { return Ok(Vec::new()) };
    let pin_place = format!("{place}.pin");
    let failed = |place: &str, reason: &dyn std::fmt::Display| ApplyError::Token {
        place: place.to_owned(),
        reason: reason.to_string(),
    };
    let mut lines = Vec::new();
    let token = if SoftwareSigner::exists(folder) {
        Some(SoftwareSigner::open(folder).map_err(|e| failed(&pin_place, &e))?)
    } else {
        lines.push(Line { change: Change::Add, what: "token".to_owned() });
        None
    };
    let present = token.as_ref().map(SoftwareSigner::keys).unwrap_or_default();
    let missing: Vec<_> = keys.into_iter().filter(|key| !key.is_in(&present)).collect();
    lines.extend(missing.iter().map(NamedKey::line));
    if dry_run || lines.is_empty() {
        return Ok(lines);
    }
    // A signer of its own may be using the folder although the server is stopped.
    let _lock = match &token {
        Some(_) => Some(TokenLock::take(folder).map_err(|e| failed(&pin_place, &e))?),
        None => None,
    };
    let token = match token {
        None => SoftwareSigner::create(folder, TOKEN_LABEL, pin).map_err(|e| failed(&pin_place, &e))?,
        Some(token) => {
            token.login(pin, now).map_err(|e| failed(&pin_place, &e))?;
            token
        }
    };
    for key in missing {
        let NamedKey { place, label, member, key, cert } = key;
        token.import_pair(&label, key, &cert, member).map_err(|e| failed(&place, &e))?;
    }
    Ok(lines)
}

impl NamedKey {
    fn is_in(&self, present: &[KeyInfo]) -> bool {
        present.iter().flat_map(|key| &key.certs).any(|known| known.cert == self.cert)
    }
    fn line(&self) -> Line {
        let what = match &self.member {
            None => format!("authentication key {}", self.label),
            Some(member) => format!("signing key {} of {member}", self.label),
        };
        Line { change: Change::Add, what }
    }
}
