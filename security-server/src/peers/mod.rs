//! Connections to providers' security servers: mutual TLS on port 5500, verified before a byte is sent, then kept.
//!
//! [`Peers::connect`] reads as the protocol's steps: choose ([`choose`]), take a waiting connection or make one ([`link`]), verify the
//! peer for this client ([`verify`]). TLS is chosen by `tls` ([`crate::tls::PeerConnector`]); ALPN `causeway/1` marks a peer of our
//! own kind. A connection is used for a
//! client only when the binding of the peer's certificate to that client was checked on it under the present configuration.
//!
//! A request that found its waiting connection closed before anything was sent goes out on a new one; any other is never sent twice.

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{BufMut, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use host::clock::Clock;
use metrics::Counter;
use pki::globalconf::GlobalConf;
use proto::fault::FaultCode;
use proto::id::{ClientId, ServerId};
use proto::time::UnixTime;
use signer::AuthIdentity;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::Settings;
use crate::http1::client::{CallError, Pieces};
use crate::http1::head::{is_value, write_line};
use crate::http1::wire::WireError;
use crate::tls::{ConnectError, PeerConnector, PeerTls};

mod choose;
mod link;
mod verify;

use choose::Health;
use link::{Home, Link, Met, Pool, PoolKey, Tried};
pub use link::{PeerBody, PeerResponse};
use verify::Verifier;

/// Before the next address is tried beside one that has not answered yet.
const STAGGER: Duration = Duration::from_millis(300);

/// What may go wrong before or while sending; each has its fault path after `server.clientproxy.`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PeerError {
    /// Codes.
    pub path: Vec<FaultCode>,
    /// One sentence for the information system.
    pub message: String,
    /// What the log says.
    pub cause: String,
}

impl PeerError {
    fn new(code: FaultCode, message: &str, cause: impl std::fmt::Display) -> Self {
        Self { path: vec![code], message: message.to_owned(), cause: cause.to_string() }
    }
    fn network(cause: impl std::fmt::Display) -> Self {
        Self::new(FaultCode::NetworkError, "The provider's security server cannot be reached", cause)
    }
    fn handshake(cause: impl std::fmt::Display) -> Self {
        let message = "The TLS handshake with the provider's security server failed";
        Self::new(FaultCode::SslAuthenticationFailed, message, cause)
    }
    /// The peer ended the connection in place of an answer, or what it sent is none; a connection that fails is the network's.
    fn broken(address: &str, error: &CallError) -> Self {
        let cause = format!("{address}: {error}");
        match error {
            // With TLS 1.3 a server refuses our certificate after what is the end of the handshake for us.
            CallError::Wire(WireError::Io(source)) if is_alert(source) => Self::handshake(cause),
            // TLS that ends without a farewell.
            CallError::Wire(WireError::Io(source)) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::no_answer(cause)
            }
            CallError::Wire(_) => Self::network(cause),
            CallError::Head(_) | CallError::NoAnswer | CallError::Switching => Self::no_answer(cause),
        }
    }
    fn no_answer(cause: impl std::fmt::Display) -> Self {
        Self::new(FaultCode::IoError, "The provider's security server gave no answer", cause)
    }
    /// About who the peer is, which says more than that another address could not be reached.
    fn is_about_trust(&self) -> bool {
        self.path.first() == Some(&FaultCode::SslAuthenticationFailed)
    }
}

fn is_alert(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// The body of a request to a peer.
pub type RequestBody = Pieces;

/// The header lines of a request to a peer, as they are written.
#[derive(Debug)]
pub struct Lines(BytesMut);

impl Default for Lines {
    fn default() -> Self {
        let mut head = BytesMut::with_capacity(1024);
        head.put_slice(b"POST / HTTP/1.1\r\n");
        Self(head)
    }
}

impl Lines {
    /// One more, unless the value cannot be written as one.
    pub fn push(&mut self, name: &'static str, value: &[u8]) {
        if is_value(value) {
            write_line(&mut self.0, name, value);
        }
    }

    fn end(mut self, host: &str, port: u16, keep: bool) -> BytesMut {
        // Writing to a buffer that grows cannot fail.
        let _ = write!(self.0, "host: {host}:{port}\r\n");
        if !keep {
            write_line(&mut self.0, "connection", b"close");
        }
        write_line(&mut self.0, "transfer-encoding", b"chunked");
        self.0.put_slice(b"\r\n");
        self.0
    }
}

/// Finds, connects, verifies, pools. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Inner>);

struct Inner {
    port: u16,
    connect: Duration,
    answer: Option<Duration>,
    reuse: bool,
    head_bytes: usize,
    clock: Clock,
    globalconf: Arc<ArcSwap<Option<Arc<GlobalConf>>>>,
    tls: Arc<PeerTls>,
    verifier: Verifier,
    health: Health,
    pool: Arc<Pool>,
    /// Connections that were made, and those that had waited.
    used: [Counter; 2],
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("port", &self.port).field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// A verified connection for one exchange.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    /// It waited in the pool, so the peer may have closed it meanwhile.
    waited: bool,
    address: String,
    provider: ClientId,
    identity: Arc<AuthIdentity>,
    peers: Peers,
}

impl Peers {
    /// Connects as `tls` says, with the bounds of `settings`.
    pub fn new(
        settings: &Settings,
        clock: Clock,
        globalconf: Arc<ArcSwap<Option<Arc<GlobalConf>>>>,
        tls: Arc<PeerTls>,
    ) -> Self {
        let limits = &settings.limits;
        Self(Arc::new(Inner {
            port: settings.server_port,
            connect: limits.connect,
            answer: limits.peer_answer,
            reuse: settings.reuse_connections,
            head_bytes: limits.head_bytes,
            clock,
            globalconf,
            tls,
            verifier: Verifier::new(settings.ocsp_port, limits.connect),
            health: Health::default(),
            pool: Arc::new(Pool::new(limits.keep_alive, limits.pooled_per_peer)),
            used: ["new", "kept"]
                .map(|kind| metrics::counter!("causeway_peer_connections_total", "kind" => kind)),
        }))
    }

    /// A verified connection to a server that offers `provider`; `target` names one server.
    ///
    /// # Errors
    /// `unknown_member`, `invalid_security_server`, `maintenance_mode`, `network_error`, `ssl_authentication_failed…`.
    pub async fn connect(
        &self,
        conf: &GlobalConf,
        provider: &ClientId,
        target: Option<&ServerId>,
        now: UnixTime,
    ) -> Result<Connection, PeerError> {
        let inner = &*self.0;
        let connector = inner.tls.connector().ok_or_else(|| {
            let message = "This security server has no usable authentication key";
            PeerError::new(
                FaultCode::SslAuthenticationFailed,
                message,
                "no authentication key with a good OCSP answer",
            )
        })?;
        let addresses =
            choose::candidates(conf, provider, target, now).map_err(|e| e.into_peer_error(provider))?;
        // The usual case needs no race.
        if let [only] = addresses.as_slice() {
            let tried = self.attempt(conf, &connector, provider, only.clone(), now).await;
            return tried.inspect_err(not_usable);
        }
        let mut waiting = inner.health.order(addresses, Instant::now()).into_iter();
        let mut attempts = FuturesUnordered::new();
        let mut worst: Option<PeerError> = None;
        loop {
            if let Some(address) = waiting.next() {
                attempts.push(self.attempt(conf, &connector, provider, address, now));
            } else if attempts.is_empty() {
                return Err(worst.unwrap_or_else(|| PeerError::network("there was no address to try")));
            }
            // While others wait for their turn an attempt has only a moment to itself.
            let moment = if waiting.len() > 0 { STAGGER } else { Duration::MAX };
            match tokio::time::timeout(moment, attempts.next()).await {
                Ok(Some(Ok(connection))) => return Ok(connection),
                Ok(Some(Err(error))) => {
                    not_usable(&error);
                    if worst.as_ref().is_none_or(|old| error.is_about_trust() || !old.is_about_trust()) {
                        worst = Some(error);
                    }
                }
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// One address: a waiting connection if there is one, else a new one.
    async fn attempt(
        &self,
        conf: &GlobalConf,
        connector: &PeerConnector,
        provider: &ClientId,
        address: String,
        now: UnixTime,
    ) -> Result<Connection, PeerError> {
        let inner = &*self.0;
        let key = pool_key(&address, connector.identity());
        let found = inner.pool.take(&key);
        let waited = found.is_some();
        let failed = || inner.health.failed(&address, Instant::now());
        let mut tried = match found {
            Some(link) => Tried::pooled(link, Home { key, pool: inner.pool.clone() }),
            // What is rare is put aside: it would make every exchange larger.
            None => Tried::fresh(Box::pin(self.dial(connector, &address)).await.inspect_err(|_| failed())?),
        };
        if !tried.link().peer.is_bound(conf.generation(), provider, now)
            && let Err(error) =
                Box::pin(self.verify(conf, &mut tried.link().peer, &address, provider, now)).await
        {
            drop(tried.take());
            failed();
            return Err(error);
        }
        let link = tried.take();
        inner.health.answered(&address);
        inner.used[usize::from(waited)].increment(1);
        let (identity, provider) = (connector.identity().clone(), provider.clone());
        Ok(Connection { link, waited, address, provider, identity, peers: self.clone() })
    }

    /// Finds out whether the peer may speak for `provider`, and remembers it on the link.
    async fn verify(
        &self,
        conf: &GlobalConf,
        peer: &mut Met,
        address: &str,
        provider: &ClientId,
        now: UnixTime,
    ) -> Result<(), PeerError> {
        let inner = &*self.0;
        let until = inner.verifier.check(conf, &peer.chain, address, provider, now).await?;
        peer.bind(conf.generation(), provider.clone(), until);
        if let (true, Some(leaf)) = (peer.tls13, peer.chain.first()) {
            inner.tls.met_with_tls13(leaf, address);
        }
        Ok(())
    }

    /// A new connection, its peer not verified yet.
    async fn dial(&self, connector: &PeerConnector, address: &str) -> Result<Link, PeerError> {
        let inner = &*self.0;
        let socket = || async {
            let socket = tokio::time::timeout(inner.connect, tcp(address, inner.port));
            socket.await.map_err(|_| PeerError::network(format!("{address}: no connection in time")))?
        };
        let first = connector.first(address);
        let mut tried = connector.connect(first, socket().await?, address, inner.connect).await;
        if let Some(second) = tried.as_ref().err().and_then(|error| connector.second(first, error, address)) {
            tried = connector.connect(second, socket().await?, address, inner.connect).await;
        }
        let stream = tried.map_err(|error| no_tls(address, &error))?;
        Ok(Link::new(stream, inner.head_bytes))
    }

    /// Closes connections that have waited for too long; called now and then.
    pub fn purge(&self) {
        self.0.pool.purge();
        metrics::gauge!("causeway_peer_connections_waiting").set(self.0.pool.len() as f64);
    }
}

fn not_usable(error: &PeerError) {
    tracing::debug!(fault = ?error.path, cause = error.cause, "a provider's server was not usable");
}

/// The first address of the name that takes a connection.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, PeerError> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|e| {
        PeerError::new(
            FaultCode::UnknownHost,
            "The address of the provider's security server is not known",
            format!("{host}: {e}"),
        )
    })?;
    let mut last = PeerError::network(format!("{host}: the name has no address"));
    for address in found {
        match TcpStream::connect(address).await.and_then(|socket| socket.set_nodelay(true).map(|()| socket)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = PeerError::network(format!("{address}: {error}")),
        }
    }
    Err(last)
}

fn no_tls(address: &str, error: &ConnectError) -> PeerError {
    match error {
        ConnectError::Downgraded => {
            let message = "The provider's security server offers weaker TLS than before";
            tracing::warn!(peer = address, %error, "a connection was refused");
            PeerError::new(FaultCode::SslAuthenticationFailed, message, format!("{address}: {error}"))
        }
        ConnectError::NothingInCommon(_)
        | ConnectError::Handshake(_)
        | ConnectError::Timeout(_)
        | ConnectError::NoKey => PeerError::handshake(format!("{address}: TLS: {error}")),
    }
}

fn pool_key(address: &str, identity: &AuthIdentity) -> PoolKey {
    let own_leaf = identity.chain.first().map(|leaf| leaf.sha256()).unwrap_or_default();
    PoolKey { address: address.to_owned(), own_leaf }
}

impl Connection {
    /// Our own TLS identity on this connection: its OCSP answers go in front of the message.
    pub fn identity(&self) -> &Arc<AuthIdentity> {
        &self.identity
    }
    /// The peer is of our own kind (ALPN).
    pub fn causeway(&self) -> bool {
        self.link.peer.causeway
    }
    /// Where the peer is, for the log.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends one request (method POST, path `/`, `Host` and framing are set here) and waits for the head of the answer.
    ///
    /// Nothing moves but by polling this, and then the answer: the request's body may still be under way when the head arrives. The
    /// connection goes back to the pool when the answer's body has been read to its end and the peer keeps connections.
    ///
    /// # Errors
    /// `network_error`, `io_error`.
    pub async fn send(self, lines: Lines, body: RequestBody) -> Result<PeerResponse, PeerError> {
        let head = lines.end(&self.address, self.peers.0.port, self.peers.0.reuse);
        match self.peers.0.answer {
            None => pin!(self.send_request(head, body)).await,
            Some(limit) => tokio::time::timeout(limit, pin!(self.send_request(head, body)))
                .await
                .unwrap_or_else(|_| Err(PeerError::network(format!("no answer within {limit:?}")))),
        }
    }

    async fn send_request(mut self, head: BytesMut, body: RequestBody) -> Result<PeerResponse, PeerError> {
        // Closed while it waited, or while we signed; not a byte was sent so far.
        if self.waited && !self.link.is_open() {
            self.link = Box::pin(self.redial()).await?;
            self.waited = false;
        }
        if !self.waited && !self.link.is_open() {
            let cause = format!("{}: closed before the request", self.address);
            // A new connection, so with TLS 1.3 this is how our certificate is refused.
            let tls13 = self.link.peer.tls13;
            return Err(if tls13 { PeerError::handshake(cause) } else { PeerError::network(cause) });
        }
        let home = Home { key: pool_key(&self.address, &self.identity), pool: self.peers.0.pool.clone() };
        self.link.send(head, body, home).await.map_err(|error| {
            self.peers.0.health.failed(&self.address, Instant::now());
            PeerError::broken(&self.address, &error)
        })
    }

    /// A new connection in place of one that was closed while it waited; verified as any other.
    async fn redial(&self) -> Result<Link, PeerError> {
        let inner = &*self.peers.0;
        let connector =
            inner.tls.connector().ok_or_else(|| PeerError::network("the authentication key is gone"))?;
        if pool_key("", connector.identity()) != pool_key("", &self.identity) {
            return Err(PeerError::network("the authentication key has changed meanwhile"));
        }
        let conf = inner.globalconf.load_full();
        let conf =
            conf.as_ref().as_ref().ok_or_else(|| PeerError::network("there is no global configuration"))?;
        let now = inner.clock.now();
        let mut link = self.peers.dial(&connector, &self.address).await?;
        self.peers.verify(conf, &mut link.peer, &self.address, &self.provider, now).await?;
        Ok(link)
    }
}

#[cfg(test)]
mod tests;
