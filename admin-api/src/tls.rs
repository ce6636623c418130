//! TLS of a listener: a self-signed key and certificate made at the first start, kept as two PEM files in a folder.
//!
//! An operator may put a certificate of a CA in their place; the file holds the chain, leaf first. Deleting both makes new ones at the next
//! start.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use host::files::write_atomic;
use pki::cert::Certificate;
use pki::issue::{Role, Template, self_signed};
use pki::key::{KeyKind, PrivateKey};
use pki::pem;
use proto::time::UnixTime;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Ending of a file with a pair that is about to take the place of the present one.
const REPLACING: &str = "replacing";
/// How long a certificate of our own making holds.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A private key with its chain, leaf first.
#[derive(Debug)]
pub struct Pair {
    /// The key.
    pub key: PrivateKey,
    /// Leaf first; never empty.
    pub chain: Vec<Certificate>,
}

/// Reads `<name>.key` and `<name>.crt` in `folder`; makes a pair for `host` when there is none. Blocks.
///
/// # Errors
/// The files cannot be read or written, or key and certificate do not fit.
pub fn pair(folder: &Path, name: &str, host: &str, now: UnixTime) -> anyhow::Result<Pair> {
    finish_replacing(folder, name)?;
    if !folder.join(format!("{name}.key")).exists() {
        make(folder, name, host, now).context("a TLS certificate could not be made")?;
        tracing::info!(host, name, "a self-signed TLS certificate was made");
    }
    read(folder, name)
}

/// Puts another pair in the place of the one that is there: all of it or nothing, also when the server ends in between. Blocks.
///
/// # Errors
/// The first certificate is not for the key, or the disk.
pub fn replace(folder: &Path, name: &str, pair: &Pair) -> anyhow::Result<()> {
    ensure!(
        pair.chain.first().is_some_and(|leaf| leaf.spki() == pair.key.spki()),
        "the first certificate is not for the key"
    );
    let chain: String = pair.chain.iter().map(Certificate::to_pem).collect();
    let both = chain + &pem::encode("PRIVATE KEY", &pair.key.to_pkcs8());
    write_atomic(&folder.join(format!("{name}.{REPLACING}")), both.as_bytes(), 0o600)?;
    finish_replacing(folder, name)
}

/// Completes a [`replace`] that was decided; the two files may be of different pairs until then.
fn finish_replacing(folder: &Path, name: &str) -> anyhow::Result<()> {
    let decided = folder.join(format!("{name}.{REPLACING}"));
    let text = match fs::read_to_string(&decided) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| decided.display().to_string()),
    };
    let key_at =
        text.find("-----BEGIN PRIVATE KEY").context("a TLS pair that was to replace another has no key")?;
    let (chain, key) = text.split_at(key_at);
    write_atomic(&folder.join(format!("{name}.crt")), chain.as_bytes(), 0o644)?;
    write_atomic(&folder.join(format!("{name}.key")), key.as_bytes(), 0o600)?;
    fs::remove_file(&decided).with_context(|| decided.display().to_string())
}

/// A new key with a self-signed certificate for `host`.
///
/// # Errors
/// The library.
pub fn new_pair(host: &str, now: UnixTime) -> anyhow::Result<Pair> {
    let key = PrivateKey::generate(KeyKind::P256)?;
    let cert = certificate(&key, host, now)?;
    Ok(Pair { key, chain: vec![cert] })
}

/// The TLS configuration of [`pair`], without client authentication.
///
/// # Errors
/// As [`pair`].
pub fn server_config(
    folder: &Path,
    name: &str,
    host: &str,
    now: UnixTime,
) -> anyhow::Result<Arc<ServerConfig>> {
    let pair = pair(folder, name, host, now)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(pair.rustls_chain(), pair.rustls_key())?;
    Ok(Arc::new(config))
}

impl Pair {
    /// For rustls.
    pub fn rustls_chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().map(|cert| CertificateDer::from(cert.der().to_vec())).collect()
    }

    /// For rustls.
    pub fn rustls_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_pkcs8().to_vec()))
    }
}

fn read(folder: &Path, name: &str) -> anyhow::Result<Pair> {
    let file = |ending: &str| {
        let path = folder.join(format!("{name}.{ending}"));
        fs::read(&path).with_context(|| path.display().to_string())
    };
    let key = PrivateKey::from_pem(&file("key")?).with_context(|| format!("{name}.key holds no key"))?;
    let chain =
        Certificate::parse_all(&file("crt")?).with_context(|| format!("{name}.crt holds no certificate"))?;
    ensure!(
        chain.first().is_some_and(|leaf| leaf.spki() == key.spki()),
        "the first certificate of {name}.crt is not for the key in {name}.key"
    );
    Ok(Pair { key, chain })
}

/// Puts a new key with a self-signed certificate for `host` in place of what is there. Blocks.
///
/// # Errors
/// The library, or the disk.
pub fn make(folder: &Path, name: &str, host: &str, now: UnixTime) -> anyhow::Result<()> {
    let pair = new_pair(host, now)?;
    let path = |ending: &str| folder.join(format!("{name}.{ending}"));
    let cert: String = pair.chain.iter().map(Certificate::to_pem).collect();
    // The key last: it says that the pair is complete.
    write_atomic(&path("crt"), cert.as_bytes(), 0o644)?;
    write_atomic(&path("key"), pem::encode("PRIVATE KEY", &pair.key.to_pkcs8()).as_bytes(), 0o600)?;
    Ok(())
}

fn certificate(key: &PrivateKey, host: &str, now: UnixTime) -> anyhow::Result<Certificate> {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let names = if address.is_some() || host.is_empty() { vec![] } else { vec![host.to_owned()] };
    let template = Template {
        subject: &vec![(pki::name::COMMON_NAME, host.to_owned())],
        role: Role::Tls,
        serial: &[1],
        not_before: now.minus(Duration::from_secs(3600)),
        not_after: now.plus(VALIDITY),
        dns_names: &names,
        addresses: &Vec::from_iter(address),
        ocsp_url: None,
    };
    Ok(self_signed(&template, key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let now = UnixTime::from_secs(1_790_000_000);
        let open = || pair(folder.path(), "x", "host.example", now).unwrap();
        let first = open();
        let second = new_pair("host.example", now).unwrap();
        // The server ended between the two files.
        replace(folder.path(), "x", &second).unwrap();
        fs::write(folder.path().join("x.key"), pem::encode("PRIVATE KEY", &first.key.to_pkcs8())).unwrap();
        assert!(pair(folder.path(), "x", "host.example", now).is_err());
        let both = second.chain[0].to_pem() + &pem::encode("PRIVATE KEY", &second.key.to_pkcs8());
        fs::write(folder.path().join("x.replacing"), both).unwrap();
        assert_eq!(open().chain, second.chain);
        assert!(!folder.path().join("x.replacing").exists());
        // A certificate of another key replaces nothing.
        let foreign = Pair { key: first.key, chain: second.chain.clone() };
        assert!(replace(folder.path(), "x", &foreign).is_err());
        assert_eq!(open().chain, second.chain);
    }
}
