//! TLS on port 5500 in both roles: one configuration each, rebuilt when the authentication key or the global configuration changes.
//!
//! Tickets and sessions outlive a change of the configuration (what they resume is checked again) and end with the key.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::ServerName;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DistinguishedName, ServerConfig};
use signer::{AuthIdentity, Signer};
use tokio::net::TcpStream;

use super::verifier::{AnyServer, RegisteredClient};
use super::{ALPN_CAUSEWAY, ALPN_HTTP, parse_chain, provider};

/// Sessions kept for peers that resume without tickets (TLS 1.2).
const SERVER_SESSIONS: usize = 10_000;
/// Servers whose sessions we keep for resumption.
const CLIENT_SESSIONS: usize = 1_024;

/// The present global configuration, `None` before the first.
#[derive(Clone)]
pub(super) struct CurrentConf(pub(super) Arc<ArcSwap<Option<Arc<GlobalConf>>>>);

impl CurrentConf {
    /// Some security server has registered this certificate. Nothing else is said about it.
    pub(super) fn is_registered(&self, leaf: &Certificate) -> bool {
        self.0.load().as_ref().as_ref().is_some_and(|conf| conf.server_by_auth_cert(leaf).is_some())
    }
    fn generation(&self) -> Option<u64> {
        self.0.load().as_ref().as_ref().map(|conf| conf.generation())
    }
    fn hints(&self) -> Vec<DistinguishedName> {
        let conf = self.0.load();
        let certs = conf.as_ref().as_ref().map_or(&[][..], |conf| conf.ca_certs());
        certs.iter().map(|ca| DistinguishedName::from(ca.subject_der().to_vec())).collect()
    }
}

impl std::fmt::Debug for CurrentConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CurrentConf({:?})", self.generation())
    }
}

/// Builds and keeps the configurations of both roles.
pub struct PeerTls {
    conf: CurrentConf,
    signer: Arc<dyn Signer>,
    server: Mutex<Option<Server>>,
    client: Mutex<Option<PeerConnector>>,
}

struct Server {
    generation: Option<u64>,
    key: Arc<CertifiedKey>,
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    config: Arc<ServerConfig>,
}

/// Connects as one authentication key. Cheap to clone.
#[derive(Clone)]
pub struct PeerConnector {
    identity: Arc<AuthIdentity>,
    config: Arc<ClientConfig>,
}

/// A connection to a peer whose handshake is done and whose certificate is not verified.
#[derive(Debug)]
pub struct PeerStream {
    /// Bytes in both directions.
    pub stream: tokio_rustls::client::TlsStream<TcpStream>,
    /// What the peer showed, leaf first.
    pub chain: Vec<Certificate>,
    /// It is of our own kind.
    pub causeway: bool,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTls").field("conf", &self.conf).finish_non_exhaustive()
    }
}

impl PeerTls {
    /// Reads both whenever a connection begins.
    pub fn new(globalconf: Arc<ArcSwap<Option<Arc<GlobalConf>>>>, signer: Arc<dyn Signer>) -> Self {
        Self { conf: CurrentConf(globalconf), signer, server: Mutex::new(None), client: Mutex::new(None) }
    }

    /// For accepting; `None` without an authentication key.
    pub(super) fn server_config(&self) -> Option<Arc<ServerConfig>> {
        let identity = self.signer.own_keys().auth.clone()?;
        let generation = self.conf.generation();
        // Held while a configuration is built, so that a change is met by one build and not by one for each connection.
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let current = server.take().filter(|s| same_key(&s.key, &identity.certified));
        let server = match current {
            Some(same) if same.generation == generation => server.insert(same),
            Some(older) => server.insert(Server {
                config: self.build_server(&identity, &older.tickets, &older.sessions)?,
                generation,
                ..older
            }),
            None => {
                // Without randomness there is no TLS either.
                let tickets = rustls::crypto::ring::Ticketer::new().ok()?;
                let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SERVER_SESSIONS);
                let config = self.build_server(&identity, &tickets, &sessions)?;
                server.insert(Server {
                    generation,
                    key: identity.certified.clone(),
                    tickets,
                    sessions,
                    config,
                })
            }
        };
        Some(server.config.clone())
    }

    fn build_server(
        &self,
        identity: &AuthIdentity,
        tickets: &Arc<dyn ProducesTickets>,
        sessions: &Arc<dyn StoresServerSessions>,
    ) -> Option<Arc<ServerConfig>> {
        let provider = provider();
        let verifier = RegisteredClient {
            algorithms: provider.signature_verification_algorithms,
            conf: self.conf.clone(),
            hints: self.conf.hints(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())));
        config.alpn_protocols = vec![ALPN_CAUSEWAY.to_vec(), ALPN_HTTP.to_vec()];
        config.ticketer = tickets.clone();
        config.session_storage = sessions.clone();
        Some(Arc::new(config))
    }

    /// Some security server has registered this certificate.
    pub(super) fn is_registered(&self, leaf: &Certificate) -> bool {
        self.conf.is_registered(leaf)
    }

    /// For connecting; `None` without an authentication key.
    pub fn connector(&self) -> Option<PeerConnector> {
        let identity = self.signer.own_keys().auth.clone()?;
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = match client.take() {
            // Newer OCSP answers make a new identity with the same key.
            Some(same) if same_key(&same.identity.certified, &identity.certified) => {
                PeerConnector { identity, config: same.config }
            }
            _ => PeerConnector { config: build_client(&identity)?, identity },
        };
        Some(client.insert(connector).clone())
    }
}

fn build_client(identity: &AuthIdentity) -> Option<Arc<ClientConfig>> {
    let provider = provider();
    let verifier = AnyServer(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())));
    config.alpn_protocols = vec![ALPN_CAUSEWAY.to_vec(), ALPN_HTTP.to_vec()];
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(CLIENT_SESSIONS)));
    Some(Arc::new(config))
}

/// The same chain; the key behind it is then the same too.
fn same_key(a: &Arc<CertifiedKey>, b: &Arc<CertifiedKey>) -> bool {
    Arc::ptr_eq(a, b) || a.cert == b.cert
}

impl PeerConnector {
    /// Who we are on connections made so.
    pub fn identity(&self) -> &Arc<AuthIdentity> {
        &self.identity
    }

    /// The handshake with the server at `host`, within `limit`. The peer's certificate is not verified by this.
    ///
    /// # Errors
    /// The handshake failed or took too long.
    pub async fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        limit: Duration,
    ) -> std::io::Result<PeerStream> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let handshake = tokio_rustls::TlsConnector::from(self.config.clone()).connect(name, socket);
        let stream =
            tokio::time::timeout(limit, handshake).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        let (_, session) = stream.get_ref();
        let chain = parse_chain(session.peer_certificates().unwrap_or_default());
        let causeway = session.alpn_protocol() == Some(ALPN_CAUSEWAY);
        Ok(PeerStream { stream, chain, causeway })
    }
}
