//! The TLS certificate of the published configuration: self-signed, made at the first start, kept in `tls/`.
//!
//! Clients do not rely on it: integrity comes from the signatures. An operator may put a certificate of a CA in its place; the file
//! holds the chain, leaf first.

use std::fs;
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

const KEY: &str = "global-conf.key";
const CERT: &str = "global-conf.crt";
/// How long a certificate of our own making holds.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The TLS configuration with the certificate in `folder`; one for `host` is made when there is none. Blocks.
///
/// # Errors
/// The files cannot be read, or key and certificate do not fit.
pub fn server_config(folder: &Path, host: &str, now: UnixTime) -> anyhow::Result<Arc<ServerConfig>> {
    if !folder.join(KEY).exists() {
        make(folder, host, now).context("a TLS certificate could not be made")?;
    }
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| path.display().to_string())
    };
    let key = PrivateKey::from_pem(&read(KEY)?).with_context(|| format!("{KEY} holds no key"))?;
    let chain =
        Certificate::parse_all(&read(CERT)?).with_context(|| format!("{CERT} holds no certificate"))?;
    ensure!(
        chain.first().is_some_and(|leaf| leaf.spki() == key.spki()),
        "the first certificate of {CERT} is not for the key in {KEY}"
    );
    let chain = chain.iter().map(|cert| CertificateDer::from(cert.der().to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn make(folder: &Path, host: &str, now: UnixTime) -> anyhow::Result<()> {
    let key = PrivateKey::generate(KeyKind::P256)?;
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok();
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
    let cert = self_signed(&template, &key)?;
    // The key last: it says that the pair is complete.
    write_atomic(&folder.join(CERT), cert.to_pem().as_bytes(), 0o644)?;
    write_atomic(&folder.join(KEY), pem::encode("PRIVATE KEY", &key.to_pkcs8()).as_bytes(), 0o600)?;
    tracing::info!(host, "a self-signed TLS certificate was made for the published configuration");
    Ok(())
}
