//! Whom we believe to be the server: a pinned certificate (SHA-256 of its DER form), or one that a CA file vouches for.
//!
//! A pinned certificate is compared byte for byte, so its names and dates play no part: it was compared by eye, or by a script, when the
//! target was added. The handshake proves the key in either case.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use pki::digest::DigestAlgorithm;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::targets::Target;

/// What the server has shown, for messages.
pub(crate) type Seen = Arc<Shown>;

/// See [`Seen`].
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Option<String>>);

impl Shown {
    fn set(&self, certificate: &CertificateDer<'_>) -> String {
        let text = fingerprint(certificate);
        if let Ok(mut slot) = self.0.lock() {
            *slot = Some(text.clone());
        }
        text
    }
    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.0.lock().ok().and_then(|slot| slot.clone())
    }
}

/// SHA-256 of a certificate: upper-case hex with a colon between bytes, as people compare it.
fn fingerprint(certificate: &[u8]) -> String {
    let digest = DigestAlgorithm::Sha256.digest(certificate);
    digest.value.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// Whether two spellings mean the same; colons and case play no part.
pub(crate) fn same(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_hexdigit()).collect::<String>().to_uppercase()
}

/// Whether a text can be a fingerprint.
pub(crate) fn is_fingerprint(text: &str) -> bool {
    plain(text).len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == ' ')
}

/// TLS towards a target.
///
/// # Errors
/// A CA file that cannot be read; a target that says neither whom to believe.
pub(crate) fn config(target: &Target) -> anyhow::Result<(ClientConfig, Seen)> {
    let seen = Seen::default();
    if let Some(pinned) = &target.fingerprint {
        return Ok((with(Whom::Pinned(pinned.clone()), &seen), seen));
    }
    if let Some(file) = &target.ca {
        return Ok((with(Whom::Vouched(vouched(file)?), &seen), seen));
    }
    if target.url.starts_with("http:") {
        // Only to this machine: `targets` refuses others.
        return Ok((with(Whom::Pinned(String::new()), &seen), seen));
    }
    bail!("the target has neither a fingerprint nor a CA file: add it again with `causeway target add`")
}

/// TLS that takes any certificate and tells which it was; nothing secret is sent over it.
pub(crate) fn first_contact() -> (ClientConfig, Seen) {
    let seen = Seen::default();
    (with(Whom::Anybody, &seen), seen)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn vouched(file: &Path) -> anyhow::Result<Arc<dyn ServerCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let name = || file.display().to_string();
    for certificate in CertificateDer::pem_file_iter(file).with_context(name)? {
        roots.add(certificate.with_context(name)?).with_context(name)?;
    }
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    Ok(verifier.with_context(name)?)
}

#[derive(Debug)]
enum Whom {
    Pinned(String),
    Vouched(Arc<dyn ServerCertVerifier>),
    Anybody,
}

#[derive(Debug)]
struct Verifier {
    whom: Whom,
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

fn with(whom: Whom, seen: &Seen) -> ClientConfig {
    let provider = provider();
    let verifier = Arc::new(Verifier { whom, seen: Arc::clone(seen), provider: Arc::clone(&provider) });
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the ring provider has suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = self.seen.set(end_entity);
        match &self.whom {
            Whom::Anybody => Ok(ServerCertVerified::assertion()),
            Whom::Pinned(pinned) if same(pinned, &shown) => Ok(ServerCertVerified::assertion()),
            Whom::Pinned(_) => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Whom::Vouched(roots) => roots.verify_server_cert(end_entity, intermediates, name, ocsp, now),
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_32_bytes_however_it_is_written() {
        let text = fingerprint(b"x");
        assert_eq!(text.len(), 32 * 3 - 1);
        assert!(is_fingerprint(&text) && is_fingerprint(&text.replace(':', "").to_lowercase()));
        assert!(same(&text, &text.to_lowercase().replace(':', "")));
        assert!(!is_fingerprint("AB:CD") && !is_fingerprint(&format!("{text}; rm")));
        assert!(!same(&text, &fingerprint(b"y")));
    }
}
