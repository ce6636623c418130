//! The TLS key of both services for management requests and its certificate, which can be replaced while they run.
//!
//! Connections that are there go on with what they began with. Security servers know the registration service by its certificate, which
//! the configuration names, so whoever changes it here changes it there ([`crate::admin_api`] does).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use admin_api::tls::{Pair, new_pair, pair, replace};
use anyhow::Context as _;
use host::http::Transport;
use pki::cert::Certificate;
use pki::key::PrivateKey;
use proto::time::UnixTime;
use rustls::ServerConfig;

use super::{Service, listener};

/// Name of its files.
const NAME: &str = "management-service";

/// The key with its certificate, as files and in use.
#[derive(Debug)]
pub struct ManagementTls {
    folder: PathBuf,
    host: String,
    /// PEM of the clients that the management service takes.
    clients: Option<Vec<u8>>,
    /// Held while it is replaced.
    current: Mutex<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    cert: Certificate,
    registration: Arc<ServerConfig>,
    management: Arc<ServerConfig>,
}

impl ManagementTls {
    /// Reads the pair in `folder`; makes one for `host` when there is none. Blocks.
    ///
    /// # Errors
    /// The files, or the clients.
    pub fn open(
        folder: PathBuf,
        host: &str,
        clients: Option<Vec<u8>>,
        now: UnixTime,
    ) -> anyhow::Result<Self> {
        let current = current(&pair(&folder, NAME, host, now)?, clients.as_deref())?;
        Ok(Self { folder, host: host.to_owned(), clients, current: Mutex::new(current) })
    }

    /// The certificate that is shown.
    pub fn cert(&self) -> Certificate {
        self.lock().cert.clone()
    }

    /// For the listener of a service: what is shown now, at each connection.
    pub fn transport(self: &Arc<Self>, service: Service) -> Transport {
        let this = Arc::clone(self);
        Transport::Tls(Arc::new(move || {
            let current = this.lock();
            Some(Arc::clone(match service {
                Service::Registration => &current.registration,
                Service::Management => &current.management,
            }))
        }))
    }

    /// The private key, for a request for a certificate. Blocks.
    ///
    /// # Errors
    /// The file.
    pub fn key(&self) -> anyhow::Result<PrivateKey> {
        let _replacing = self.lock();
        Ok(pair(&self.folder, NAME, &self.host, UnixTime(0))?.key)
    }

    /// Makes another key with a self-signed certificate and shows it from now on. Blocks.
    ///
    /// # Errors
    /// The library, or the disk; the present one stays.
    pub fn renew(&self, now: UnixTime) -> anyhow::Result<()> {
        self.put(&new_pair(&self.host, now)?, self.lock())
    }

    /// Shows another certificate of the present key from now on, with its chain. False when it is for another key. Blocks.
    ///
    /// # Errors
    /// TLS cannot use it, or the disk; the present one stays.
    pub fn certify(&self, chain: Vec<Certificate>) -> anyhow::Result<bool> {
        let held = self.lock();
        let key = pair(&self.folder, NAME, &self.host, UnixTime(0))?.key;
        if chain.first().is_none_or(|leaf| leaf.spki() != key.spki()) {
            return Ok(false);
        }
        self.put(&Pair { key, chain }, held).map(|()| true)
    }

    fn put(&self, pair: &Pair, mut held: MutexGuard<'_, Current>) -> anyhow::Result<()> {
        let next = current(pair, self.clients.as_deref())?;
        replace(&self.folder, NAME, pair)?;
        *held = next;
        Ok(())
    }

    /// A panic while it was held left the old pair in place.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current(pair: &Pair, clients: Option<&[u8]>) -> anyhow::Result<Current> {
    let cert = pair.chain.first().context("there is no certificate")?.clone();
    let (registration, management) = (listener::tls(pair, None)?, listener::tls(pair, clients)?);
    Ok(Current { cert, registration, management })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_another_key_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let now = UnixTime::from_secs(1_790_000_000);
        let tls = ManagementTls::open(folder.path().to_owned(), "cs.example", None, now).unwrap();
        let first = tls.cert();
        assert!(!tls.certify(new_pair("cs.example", now).unwrap().chain).unwrap());
        assert!(!tls.certify(vec![]).unwrap());
        assert_eq!(tls.cert(), first);
        tls.renew(now).unwrap();
        assert_ne!(tls.cert(), first);
        assert_eq!(tls.key().unwrap().spki(), tls.cert().spki());
        assert!(!tls.certify(vec![first]).unwrap(), "the key is another one now");
        assert!(tls.certify(vec![tls.cert()]).unwrap());
        let again = ManagementTls::open(folder.path().to_owned(), "cs.example", None, now).unwrap();
        assert_eq!(again.cert(), tls.cert());
    }
}
