//! The authentication key as rustls wants it: a key that signs handshakes here and never leaves.
//!
//! Ring holds this copy of the key, since rustls signs with ring's types. After log-out it signs nothing, also for a TLS
//! configuration that lives on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pki::cert::Certificate;
use pki::key::{KeyError, PrivateKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

/// An authentication key.
#[derive(Debug)]
pub(crate) struct TlsKey {
    key: Arc<dyn SigningKey>,
    open: Arc<AtomicBool>,
}

/// From a private key; it signs as long as `open` is true.
pub(crate) fn key(key: &PrivateKey, open: Arc<AtomicBool>) -> Result<TlsKey, KeyError> {
    let pkcs8 = key.to_pkcs8();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
    let key = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|_| KeyError::Kind)?;
    Ok(TlsKey { key, open })
}

/// The chain with the key behind it.
pub(crate) fn certified(chain: &[Certificate], key: Arc<dyn SigningKey>) -> Arc<CertifiedKey> {
    let chain = chain.iter().map(|cert| CertificateDer::from(cert.der().to_vec())).collect();
    Arc::new(CertifiedKey::new(chain, key))
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        if self.open.load(Ordering::Acquire) { self.key.choose_scheme(offered) } else { None }
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}
