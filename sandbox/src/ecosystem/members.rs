//! Keys and certificates of the members, as files beside each server's description: what a real member gets from its CA.
//!
//! A certificate is written after its key and makes the pair complete; after a kill half-way both are made anew. Nothing that is
//! complete is ever replaced.

use std::path::Path;

use anyhow::Context;
use pki::cert::Certificate;
use pki::key::{KeyKind, PrivateKey};
use proto::id::ServerId;
use proto::time::UnixTime;

use super::files::{AUTHENTICATION, Files, KeyFiles, PIN, SIGNING};
use crate::authority::Authority;

/// The pair of one server, made when it is not there: authentication certificate first. Blocks; RSA keys take a good part of a second.
pub(super) fn certificates(
    files: &Files,
    server: &ServerId,
    address: &str,
    authority: &Authority,
    kind: KeyKind,
    now: UnixTime,
) -> anyhow::Result<Certificate> {
    write(&files.pin(), PIN.as_bytes())?;
    let signing = |key: &PrivateKey| Ok(authority.signing(&server.owner, server, &key.spki(), now)?);
    pair(files, &SIGNING, kind, &signing)?;
    let authentication =
        |key: &PrivateKey| Ok(authority.authentication(server, address, &key.spki(), now)?);
    pair(files, &AUTHENTICATION, kind, &authentication)
}

fn pair(
    files: &Files,
    names: &KeyFiles,
    kind: KeyKind,
    certify: &dyn Fn(&PrivateKey) -> anyhow::Result<Certificate>,
) -> anyhow::Result<Certificate> {
    let path = |extension: &str| files.folder.join(format!("{}.{extension}", names.name));
    let certificate = path("crt");
    if let Ok(pem) = std::fs::read(&certificate) {
        return Certificate::parse(&pem).with_context(|| certificate.display().to_string());
    }
    let key = PrivateKey::generate(kind)?;
    let issued = certify(&key)?;
    write(&path("key"), pki::pem::encode("PRIVATE KEY", &key.to_pkcs8()).as_bytes())?;
    write(&certificate, issued.to_pem().as_bytes())?;
    Ok(issued)
}

/// Only the user may read it; whole, or not there.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    host::files::write_atomic(path, bytes, 0o600).with_context(|| path.display().to_string())
}
