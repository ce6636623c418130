//! TLS on every edge: which stack, which keys, what a handshake proves and what it does not.
//!
//! | Edge | Ours | Theirs |
//! |---|---|---|
//! | 5500 server | authentication key | required, hash registered in the present global configuration |
//! | 5500 client | authentication key | anything in the handshake; `peers` verifies before a byte is sent |
//! | 8443 server | internal key | wanted, anything; the connection type of the client decides later |
//! | services | internal key | byte-equal to a stored certificate, or anything when the service does not verify |
//!
//! rustls with ring everywhere, TLS 1.3 and 1.2 with AEAD suites; on 5500 also OpenSSL, for stock servers, which have nothing but three
//! CBC suites of TLS 1.2 ([`cbc`]). [`Acceptor::accept`] is the one place where the stack of an accepted connection is chosen, by the
//! ClientHello ([`hello`]); [`PeerConnector`] chooses for connections that we make ([`peer`], [`seen`]). Whichever it was, the same
//! code verifies the same chain afterwards. Configurations are rebuilt when keys or the global configuration change ([`peer`]); connections that live
//! keep what they have, and what they may still do is decided per message. Names in SNI and certificates are never looked at: a
//! server is who its certificate's registration says.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pki::cert::Certificate;
use rustls::crypto::CryptoProvider;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

mod cbc;
mod handshakes;
pub mod hello;
mod internal;
mod peer;
mod read_ahead;
pub mod seen;
mod verifier;

use handshakes::Handshakes;
pub use internal::{InternalTls, InternalTlsError, ServiceTlsError};
pub use peer::{ConnectError, PeerConnector, PeerIo, PeerStream, PeerTls, Stack};
pub use read_ahead::ReadAhead;

/// Marks a connection between two servers of our own kind.
pub const ALPN_CAUSEWAY: &[u8] = b"causeway/1";
/// What everybody else speaks.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// An accepted connection whose handshake, if any, is done.
#[derive(Debug)]
pub struct Accepted {
    /// Bytes in both directions.
    pub stream: Stream,
    /// What the other side showed, leaf first; empty without TLS or without a certificate.
    pub chain: Vec<Certificate>,
    /// It is TLS.
    pub secure: bool,
    /// The peer is of our own kind (ALPN [`ALPN_CAUSEWAY`]): the connection may be kept.
    pub causeway: bool,
    /// Where it came from.
    pub from: SocketAddr,
}

/// An accepted stream of any kind.
#[derive(Debug)]
pub enum Stream {
    /// No TLS.
    Plain(TcpStream),
    /// TLS by rustls.
    Rustls(Box<tokio_rustls::server::TlsStream<ReadAhead<TcpStream>>>),
    /// TLS of stock servers, by OpenSSL.
    OpenSsl(Box<cbc::ServerStream>),
    /// Of this process: messages of the server's own.
    Own(tokio::io::DuplexStream),
}

impl Stream {
    /// The socket below; OpenSSL keeps its own to itself.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Rustls(stream) => Some(stream.get_ref().0.get_ref()),
            Self::OpenSsl(_) | Self::Own(_) => None,
        }
    }
}

/// What a listener does with a new connection before HTTP begins. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    kind: Kind,
    handshake: Duration,
    slots: Handshakes,
}

/// Most bytes that TLS takes for one write: more than `http1` gives it at once, so that a piece and what frames it are one.
const WRITE_BYTES: usize = 256 * 1024;

/// Handshakes at once, unless [`Acceptor::handshakes`] says otherwise.
const HANDSHAKES: usize = 512;

#[derive(Clone, Debug)]
enum Kind {
    Plain,
    /// Information systems.
    Internal(InternalTls),
    /// Other security servers.
    Peer(Arc<PeerTls>),
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The socket or the handshake failed.
    #[error("handshake with {from}: {source}")]
    Handshake {
        /// Where it came from.
        from: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The handshake took too long.
    #[error("handshake with {from}: not done in time")]
    Timeout {
        /// Where it came from.
        from: SocketAddr,
    },
    /// A session of a certificate that is not registered, for instance one resumed after it was removed.
    #[error("the certificate of {from} is not registered for any security server")]
    NotRegistered {
        /// Where it came from.
        from: SocketAddr,
    },
    /// There is no key to show.
    #[error("there is no usable authentication key")]
    NoKey,
}

impl Acceptor {
    /// No TLS: the stream as it is.
    pub fn plain() -> Self {
        Self::new(Kind::Plain, Duration::ZERO)
    }
    /// HTTPS for information systems.
    pub fn internal(tls: InternalTls, handshake: Duration) -> Self {
        Self::new(Kind::Internal(tls), handshake)
    }
    /// Mutual TLS with other security servers.
    pub fn peer(tls: Arc<PeerTls>, handshake: Duration) -> Self {
        Self::new(Kind::Peer(tls), handshake)
    }
    fn new(kind: Kind, handshake: Duration) -> Self {
        Self { kind, handshake, slots: Handshakes::new(HANDSHAKES) }
    }
    /// At most so many handshakes at once.
    #[must_use]
    pub fn handshakes(self, count: usize) -> Self {
        Self { slots: Handshakes::new(count), ..self }
    }

    /// Sets the socket up, chooses the TLS stack, does the handshake within a bounded time.
    ///
    /// # Errors
    /// [`AcceptError`], for the log at debug level: strangers cause it at will.
    pub async fn accept(&self, socket: TcpStream, from: SocketAddr) -> Result<Accepted, AcceptError> {
        socket.set_nodelay(true).map_err(|source| AcceptError::Handshake { from, source })?;
        if let Kind::Plain = self.kind {
            let stream = Stream::Plain(socket);
            return Ok(Accepted { stream, chain: Vec::new(), secure: false, causeway: false, from });
        }
        let handshake = self.handshake(socket, from);
        tokio::time::timeout(self.handshake, handshake).await.unwrap_or(Err(AcceptError::Timeout { from }))
    }

    async fn handshake(&self, mut socket: TcpStream, from: SocketAddr) -> Result<Accepted, AcceptError> {
        let failed = |source| AcceptError::Handshake { from, source };
        if let Kind::Peer(tls) = &self.kind
            && !tls.has_key()
        {
            return Err(AcceptError::NoKey);
        }
        let (hello, seen) = hello::read(&mut socket).await.map_err(failed)?;
        let socket = ReadAhead::with(seen, socket);
        // Only now: a connection that says nothing takes no slot from those that do.
        let _slot = self.slots.enter(from.ip()).await;
        let config = match &self.kind {
            Kind::Peer(tls) => {
                acknowledge_quickly(socket.get_ref());
                if tls.takes_cbc(hello) {
                    let (stream, chain) = match tls.cbc_server() {
                        Some(server) => server.accept(socket).await.map_err(failed)?,
                        None => return Err(AcceptError::NoKey),
                    };
                    return self.accepted(Stream::OpenSsl(Box::new(stream)), chain, false, from);
                }
                tls.server_config().ok_or(AcceptError::NoKey)?
            }
            Kind::Internal(tls) => tls.server_config(),
            Kind::Plain => return Err(AcceptError::NoKey),
        };
        let mut stream = tokio_rustls::TlsAcceptor::from(config).accept(socket).await.map_err(failed)?;
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(WRITE_BYTES));
        let chain = parse_chain(session.peer_certificates().unwrap_or_default());
        let causeway = session.alpn_protocol() == Some(ALPN_CAUSEWAY);
        self.accepted(Stream::Rustls(Box::new(stream)), chain, causeway, from)
    }

    /// What both stacks end with. A resumed session brings a certificate that nobody looked at in this handshake.
    fn accepted(
        &self,
        stream: Stream,
        chain: Vec<Certificate>,
        causeway: bool,
        from: SocketAddr,
    ) -> Result<Accepted, AcceptError> {
        if let Kind::Peer(tls) = &self.kind {
            let registered = chain.first().is_some_and(|leaf| tls.is_registered(leaf));
            if !registered {
                return Err(AcceptError::NotRegistered { from });
            }
        }
        Ok(Accepted { stream, chain, secure: true, causeway, from })
    }
}

/// Stock servers end a resumed handshake with two writes, the second of which waits for our acknowledgement of the first.
#[cfg(target_os = "linux")]
fn acknowledge_quickly(socket: &TcpStream) {
    if let Err(error) = rustix::net::sockopt::set_tcp_quickack(socket, true) {
        tracing::debug!(%error, "quick acknowledgements cannot be had");
    }
}
#[cfg(not(target_os = "linux"))]
fn acknowledge_quickly(_socket: &TcpStream) {}

/// Ring, passed explicitly wherever a configuration is built.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates a peer sent, up to the first that cannot be read.
fn parse_chain(sent: &[rustls::pki_types::CertificateDer<'_>]) -> Vec<Certificate> {
    sent.iter().map_while(|der| Certificate::parse(der).ok()).collect()
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Rustls(s) => Pin::new(s).poll_read(cx, buf),
            Self::OpenSsl(s) => Pin::new(s).poll_read(cx, buf),
            Self::Own(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Rustls(s) => Pin::new(s).poll_write(cx, buf),
            Self::OpenSsl(s) => Pin::new(s).poll_write(cx, buf),
            Self::Own(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Rustls(s) => Pin::new(s).poll_flush(cx),
            Self::OpenSsl(s) => Pin::new(s).poll_flush(cx),
            Self::Own(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Rustls(s) => Pin::new(s).poll_shutdown(cx),
            Self::OpenSsl(s) => Pin::new(s).poll_shutdown(cx),
            Self::Own(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::Rustls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::OpenSsl(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::Own(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(s) => s.is_write_vectored(),
            Self::Rustls(s) => s.is_write_vectored(),
            Self::OpenSsl(s) => s.is_write_vectored(),
            Self::Own(s) => s.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests;
