//! TLS on port 5500 in both roles: one configuration each, rebuilt when the authentication key or the global configuration changes,
//! and the choice between rustls and OpenSSL.
//!
//! Accepting: OpenSSL when the ClientHello offers no suite that rustls has. Connecting: rustls first; when the other side says that
//! version or suites will not do, OpenSSL, on a new connection; what worked is remembered per address. A certificate that was met with
//! TLS 1.3 is not talked to by CBC suites ([`super::seen`]). `tls-edge` takes either stack out.
//!
//! Tickets and sessions outlive a change of the configuration (what they resume is checked again) and end with the key.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::ServerName;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig, DistinguishedName, ProtocolVersion, ServerConfig};
use signer::{AuthIdentity, Signer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::cbc::{self, CbcClient, CbcServer};
use super::hello::Hello;
use super::read_ahead::ReadAhead;
use super::seen::SeenPeers;
use super::verifier::{AnyServer, RegisteredClient};
use super::{ALPN_CAUSEWAY, ALPN_HTTP, WRITE_BYTES, parse_chain, provider};
use crate::config::TlsEdge;

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
    pub(super) fn generation(&self) -> Option<u64> {
        self.0.load().as_ref().as_ref().map(|conf| conf.generation())
    }
    /// Of all instances.
    pub(super) fn ca_certs(&self) -> Vec<Certificate> {
        self.0.load().as_ref().as_ref().map_or(Vec::new(), |conf| conf.ca_certs().to_vec())
    }
    fn hints(&self) -> Vec<DistinguishedName> {
        self.ca_certs().iter().map(|ca| DistinguishedName::from(ca.subject_der().to_vec())).collect()
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
    edge: TlsEdge,
    seen: Arc<SeenPeers>,
    server: Mutex<Option<Server>>,
    cbc_server: Mutex<Option<CbcMade>>,
    client: Mutex<Option<PeerConnector>>,
}

/// For which key; `None` when it is one that OpenSSL cannot use.
type CbcMade = (Arc<CertifiedKey>, Option<Arc<CbcServer>>);

/// A TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// rustls: TLS 1.3 and 1.2 with authenticated encryption.
    Modern,
    /// OpenSSL: the CBC suites of stock servers.
    Cbc,
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
    /// `None` when the key cannot leave its token.
    cbc: Option<Arc<CbcClient>>,
    edge: TlsEdge,
    seen: Arc<SeenPeers>,
}

/// Why there is no TLS with a peer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The other side knows no version or suite of ours.
    #[error("no TLS version or cipher suite in common: {0}")]
    NothingInCommon(io::Error),
    /// It failed for another reason.
    #[error("{0}")]
    Handshake(#[from] io::Error),
    /// It did not end in time.
    #[error("not done within {0:?}")]
    Timeout(Duration),
    /// A certificate that was met with TLS 1.3 before was shown in a handshake of a weaker kind.
    #[error(
        "the peer spoke TLS 1.3 before and offers CBC suites only now; if that is right: causeway peer forget"
    )]
    Downgraded,
    /// The key is in a token that OpenSSL cannot use.
    #[error("the authentication key cannot leave its token, so the suites of stock servers cannot be used")]
    NoKey,
}

/// A connection to a peer whose handshake is done and whose certificate is not verified.
#[derive(Debug)]
pub struct PeerStream {
    /// Bytes in both directions.
    pub stream: PeerIo,
    /// What the peer showed, leaf first.
    pub chain: Vec<Certificate>,
    /// It is of our own kind.
    pub causeway: bool,
    /// It is TLS 1.3.
    pub tls13: bool,
}

/// A stream of either library.
pub enum PeerIo {
    /// rustls.
    Rustls(Box<tokio_rustls::client::TlsStream<ReadAhead<TcpStream>>>),
    /// OpenSSL.
    OpenSsl(Box<cbc::ClientStream>),
}

impl std::fmt::Debug for PeerIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rustls(_) => "Rustls",
            Self::OpenSsl(_) => "OpenSsl",
        })
    }
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTls").field("conf", &self.conf).finish_non_exhaustive()
    }
}

impl PeerTls {
    /// Reads both whenever a connection begins.
    pub fn new(globalconf: Arc<ArcSwap<Option<Arc<GlobalConf>>>>, signer: Arc<dyn Signer>) -> Self {
        Self {
            conf: CurrentConf(globalconf),
            signer,
            edge: TlsEdge::Auto,
            seen: Arc::default(),
            server: Mutex::new(None),
            cbc_server: Mutex::new(None),
            client: Mutex::new(None),
        }
    }

    /// Which stacks may be used, and what is known of peers from earlier runs.
    #[must_use]
    pub fn edge(self, edge: TlsEdge, seen: SeenPeers) -> Self {
        Self { edge, seen: Arc::new(seen), ..self }
    }

    /// There is a key to show.
    pub(super) fn has_key(&self) -> bool {
        self.signer.own_keys().auth.is_some()
    }

    /// Whether a connection that begins like this is OpenSSL's.
    pub(super) fn takes_cbc(&self, hello: Hello) -> bool {
        match self.edge {
            TlsEdge::Auto => hello == Hello::Legacy,
            TlsEdge::ModernOnly => false,
            TlsEdge::CbcOnly => true,
        }
    }

    /// For accepting stock servers; `None` without an authentication key that OpenSSL can use.
    pub(super) fn cbc_server(&self) -> Option<Arc<CbcServer>> {
        let mut server = self.cbc_server.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is kept of a key that is gone.
        let current = server.take();
        let identity = self.signer.own_keys().auth.clone()?;
        let holds = |(key, made): &CbcMade| {
            same_key(key, &identity.certified) && made.as_ref().is_none_or(|made| !made.is_old())
        };
        if let Some(current) = current.filter(holds) {
            return server.insert(current).1.clone();
        }
        if identity.key.is_none() {
            tracing::warn!("the authentication key cannot leave its signer, so stock servers cannot connect");
        }
        let made = CbcServer::new(&identity, self.conf.clone()).unwrap_or_else(|error| {
            tracing::error!(%error, "the authentication key cannot be used for the suites of stock servers");
            None
        });
        server.insert((identity.certified.clone(), made.map(Arc::new))).1.clone()
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
                PeerConnector { identity, ..same }
            }
            _ => PeerConnector {
                config: build_client(&identity)?,
                cbc: CbcClient::new(identity.clone()).map(Arc::new),
                edge: self.edge,
                seen: self.seen.clone(),
                identity,
            },
        };
        Some(client.insert(connector).clone())
    }

    /// A server that was verified showed `leaf` in a TLS 1.3 handshake at `address`.
    pub(crate) fn met_with_tls13(&self, leaf: &Certificate, address: &str) {
        self.seen.met_with_tls13(leaf.sha256(), address);
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

    /// What to try first at `host`.
    pub(crate) fn first(&self, host: &str) -> Stack {
        match self.edge {
            TlsEdge::CbcOnly => Stack::Cbc,
            TlsEdge::Auto if self.seen.needs_cbc(host, Instant::now()) => Stack::Cbc,
            TlsEdge::Auto | TlsEdge::ModernOnly => Stack::Modern,
        }
    }

    /// What else to try at `host`, on a new connection, after `first` came to `error`.
    pub(crate) fn second(&self, first: Stack, error: &ConnectError, host: &str) -> Option<Stack> {
        match (self.edge, first, error) {
            (TlsEdge::Auto, Stack::Modern, ConnectError::NothingInCommon(_)) => Some(Stack::Cbc),
            (TlsEdge::Auto, Stack::Cbc, ConnectError::Handshake(_) | ConnectError::Downgraded) => {
                self.seen.forget(host);
                Some(Stack::Modern)
            }
            _ => None,
        }
    }

    /// The handshake with the server at `host`, within `limit`. The peer's certificate is not verified by this.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        stack: Stack,
        socket: TcpStream,
        host: &str,
        limit: Duration,
    ) -> Result<PeerStream, ConnectError> {
        let handshake = async {
            match stack {
                Stack::Modern => self.modern(socket, host).await,
                Stack::Cbc => self.cbc(socket, host).await,
            }
        };
        tokio::time::timeout(limit, handshake).await.unwrap_or(Err(ConnectError::Timeout(limit)))
    }

    async fn modern(&self, socket: TcpStream, host: &str) -> Result<PeerStream, ConnectError> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        let mut stream = connector.connect(name, ReadAhead::new(socket)).await.map_err(sort)?;
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(WRITE_BYTES));
        let chain = parse_chain(session.peer_certificates().unwrap_or_default());
        let causeway = session.alpn_protocol() == Some(ALPN_CAUSEWAY);
        let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        Ok(PeerStream { stream: PeerIo::Rustls(Box::new(stream)), chain, causeway, tls13 })
    }

    async fn cbc(&self, socket: TcpStream, host: &str) -> Result<PeerStream, ConnectError> {
        let client = self.cbc.as_ref().ok_or(ConnectError::NoKey)?;
        let (stream, chain) = client.connect(socket, host).await?;
        if self.edge == TlsEdge::Auto {
            if chain.first().is_some_and(|leaf| self.seen.is_modern(leaf.sha256())) {
                return Err(ConnectError::Downgraded);
            }
            self.seen.needed_cbc(host, Instant::now());
        }
        Ok(PeerStream { stream: PeerIo::OpenSsl(Box::new(stream)), chain, causeway: false, tls13: false })
    }
}

/// Tells what another stack might mend from what it would not.
fn sort(error: io::Error) -> ConnectError {
    use rustls::Error::{AlertReceived, PeerIncompatible};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(
            PeerIncompatible(_)
            | AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            ),
        ) => ConnectError::NothingInCommon(error),
        _ => ConnectError::Handshake(error),
    }
}

impl AsyncRead for PeerIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Rustls(s) => Pin::new(s).poll_read(cx, buf),
            Self::OpenSsl(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Rustls(s) => Pin::new(s).poll_write(cx, buf),
            Self::OpenSsl(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Rustls(s) => Pin::new(s).poll_flush(cx),
            Self::OpenSsl(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Rustls(s) => Pin::new(s).poll_shutdown(cx),
            Self::OpenSsl(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Rustls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::OpenSsl(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Rustls(s) => s.is_write_vectored(),
            Self::OpenSsl(s) => s.is_write_vectored(),
        }
    }
}
