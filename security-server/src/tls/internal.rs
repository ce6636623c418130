//! The internal TLS key: how this server shows itself to information systems, in both roles.
//!
//! `internal.key` and `internal.crt` in the folder `tls/` of the data directory, PEM, made at the first start. The management API makes
//! another key, or takes a certificate of a CA for the present one. If they are deleted new ones are made, and information systems that compare must be told.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pki::cert::Certificate;
use pki::issue::{Role, Template};
use pki::key::{KeyError, KeyKind, PrivateKey};
use pki::name::COMMON_NAME;
use proto::time::UnixTime;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;

use super::read_ahead::ReadAhead;
use super::verifier::{AnyClient, AnyServer};
use super::{ALPN_HTTP, provider};

/// Key file.
const KEY_FILE: &str = "internal.key";
/// Certificate file.
const CERT_FILE: &str = "internal.crt";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The server's internal TLS key: shown to information systems in both roles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InternalTls(Arc<ArcSwap<Inner>>);

#[derive(Debug)]
struct Inner {
    cert: Certificate,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Why there is no internal TLS key.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct InternalTlsError {
    /// Which file or folder.
    path: String,
    /// What is wrong with it.
    reason: String,
}

/// Why TLS towards a service failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceTlsError {
    /// `ssl_authentication_failed`.
    #[error("the service's certificate is none of those stored for the client")]
    NotPinned,
    /// `network_error` or `io_error`.
    #[error("handshake with the service: {0}")]
    Handshake(#[from] io::Error),
}

impl InternalTls {
    /// Reads the key from `folder`, or makes it there.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn open(folder: &Path, now: UnixTime) -> Result<Self, InternalTlsError> {
        let (key_path, cert_path) = (folder.join(KEY_FILE), folder.join(CERT_FILE));
        let at = |path: &Path| {
            let path = path.display().to_string();
            move |reason: String| InternalTlsError { path, reason }
        };
        if !key_path.exists() && !cert_path.exists() {
            make(&key_path, &cert_path, now).map_err(at(folder))?;
        }
        let key = std::fs::read(&key_path).map_err(|e| e.to_string());
        let key = key
            .and_then(|pem| PrivateKey::from_pem(&pem).map_err(|e| e.to_string()))
            .map_err(at(&key_path))?;
        let cert = std::fs::read(&cert_path).map_err(|e| e.to_string());
        let cert = cert
            .and_then(|pem| Certificate::parse(&pem).map_err(|e| e.to_string()))
            .map_err(at(&cert_path))?;
        Self::new(&key, cert).map_err(at(&cert_path))
    }

    /// Makes another key with a self-signed certificate in `folder` and shows it from now on; connections that are there go on with
    /// the old one. Blocks.
    ///
    /// # Errors
    /// The library, or the disk.
    pub fn renew(&self, folder: &Path, now: UnixTime) -> Result<(), InternalTlsError> {
        let path = folder.display().to_string();
        make(&folder.join(KEY_FILE), &folder.join(CERT_FILE), now)
            .map_err(|reason| InternalTlsError { path, reason })?;
        self.read_again(folder, now)
    }

    /// Shows another certificate of the same key from now on, and keeps it in `folder`. Blocks.
    ///
    /// # Errors
    /// TLS cannot use it, or the disk.
    pub fn certify(&self, folder: &Path, cert: &Certificate, now: UnixTime) -> Result<(), InternalTlsError> {
        let path = folder.join(CERT_FILE);
        let failed = |reason: String| InternalTlsError { path: path.display().to_string(), reason };
        Self::new(&self.key(folder)?, cert.clone()).map_err(failed)?;
        let pem = pki::pem::encode("CERTIFICATE", cert.der());
        host::files::write_atomic(&path, pem.as_bytes(), 0o600).map_err(|e| failed(e.to_string()))?;
        self.read_again(folder, now)
    }

    /// The private key, for a request for a certificate. Blocks.
    ///
    /// # Errors
    /// The file.
    pub fn key(&self, folder: &Path) -> Result<PrivateKey, InternalTlsError> {
        let path = folder.join(KEY_FILE);
        let failed = |reason: String| InternalTlsError { path: path.display().to_string(), reason };
        let pem = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        PrivateKey::from_pem(&pem).map_err(|e| failed(e.to_string()))
    }

    fn read_again(&self, folder: &Path, now: UnixTime) -> Result<(), InternalTlsError> {
        self.0.store(Self::open(folder, now)?.0.load_full());
        Ok(())
    }

    /// From a key and its certificate.
    ///
    /// # Errors
    /// They do not belong together, or TLS cannot use them.
    pub fn new(key: &PrivateKey, cert: Certificate) -> Result<Self, String> {
        let der = PrivateKeyDer::Pkcs8(key.to_pkcs8().to_vec().into());
        let provider = provider();
        let certified =
            CertifiedKey::from_der(vec![CertificateDer::from(cert.der().to_vec())], der, &provider)
                .map_err(|e| e.to_string())?;
        let certified = Arc::new(SingleCertAndKey::from(certified));
        let algorithms = provider.signature_verification_algorithms;

        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_client_cert_verifier(Arc::new(AnyClient(algorithms)))
            .with_cert_resolver(certified.clone());
        server.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        server.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|e| e.to_string())?;

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(algorithms)))
            .with_client_cert_resolver(certified);
        client.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        let inner = Inner { cert, server: Arc::new(server), client: Arc::new(client) };
        Ok(Self(Arc::new(ArcSwap::from_pointee(inner))))
    }

    /// Its certificate: an information system that shows it is accepted for any client.
    pub fn cert(&self) -> Certificate {
        self.0.load().cert.clone()
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        self.0.load().server.clone()
    }

    /// TLS to a service at `host`. With `pins` the leaf must be byte-equal to one of them; without, any certificate will do. A resumed
    /// session is held to the pins as well. The caller bounds the wait.
    ///
    /// # Errors
    /// [`ServiceTlsError`].
    pub async fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        pins: Option<&[Certificate]>,
    ) -> Result<tokio_rustls::client::TlsStream<ReadAhead<TcpStream>>, ServiceTlsError> {
        let name = match host.parse::<IpAddr>() {
            Ok(ip) => ServerName::IpAddress(ip.into()),
            Err(_) => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let connector = tokio_rustls::TlsConnector::from(self.0.load().client.clone());
        let stream = connector.connect(name, ReadAhead::new(socket)).await?;
        if let Some(pins) = pins {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let pinned = shown.is_some_and(|leaf| pins.iter().any(|pin| pin.der() == &leaf[..]));
            if !pinned {
                return Err(ServiceTlsError::NotPinned);
            }
        }
        Ok(stream)
    }
}

/// RSA, because information systems that know nothing else are in the field.
fn make(key_path: &Path, cert_path: &Path, now: UnixTime) -> Result<(), String> {
    let key = PrivateKey::generate(KeyKind::Rsa(2048)).map_err(|e| e.to_string())?;
    let cert = self_signed(&key, now).map_err(|e| e.to_string())?;
    let write = |path: &Path, label: &str, der: &[u8]| {
        host::files::write_atomic(path, pki::pem::encode(label, der).as_bytes(), 0o600)
            .map_err(|e| e.to_string())
    };
    // The certificate last: with a key alone the next start says what is missing instead of making another.
    write(key_path, "PRIVATE KEY", &key.to_pkcs8())?;
    write(cert_path, "CERTIFICATE", cert.der())
}

/// Names nobody: information systems know it by its bytes.
fn self_signed(key: &PrivateKey, now: UnixTime) -> Result<Certificate, KeyError> {
    let subject = vec![(COMMON_NAME, "causeway".to_owned())];
    let mut serial = *uuid::Uuid::new_v4().as_bytes();
    // Positive, and as long as it looks.
    serial[0] = serial[0] & 0x7f | 0x40;
    let template = Template {
        subject: &subject,
        role: Role::Tls,
        serial: &serial,
        not_before: now.minus(DAY),
        not_after: now.plus(20 * 365 * DAY),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    pki::issue::self_signed(&template, key)
}
