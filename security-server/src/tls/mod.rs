//! TLS on every edge: which stack, which keys, what a handshake proves and what it does not [wire dossier §3, §12.2, §13.5].
//!
//! | Edge | Ours | Theirs |
//! |---|---|---|
//! | 5500 server | authentication key | required, hash registered in the present global configuration |
//! | 5500 client | authentication key | anything in the handshake; `peers` verifies before a byte is sent |
//! | 8443 server | internal key | wanted, anything; the connection type of the client decides later |
//! | services | internal key | byte-equal to a stored certificate, or anything when the service does not verify |
//!
//! rustls with ring everywhere, TLS 1.3 and 1.2 with AEAD suites. [`Acceptor::accept`] is the one place where the stack of an accepted
//! connection is chosen. Configurations are rebuilt when keys or the global configuration change ([`peer`]); connections that live
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

mod internal;
mod peer;
mod verifier;

pub use internal::{InternalTls, InternalTlsError, ServiceTlsError};
pub use peer::{PeerConnector, PeerStream, PeerTls};

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

/// An accepted stream of either kind.
#[derive(Debug)]
pub enum Stream {
    /// No TLS.
    Plain(TcpStream),
    /// TLS by rustls.
    Rustls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// What a listener does with a new connection before HTTP begins. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    kind: Kind,
    handshake: Duration,
}

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
        Self { kind: Kind::Plain, handshake: Duration::ZERO }
    }
    /// HTTPS for information systems.
    pub fn internal(tls: InternalTls, handshake: Duration) -> Self {
        Self { kind: Kind::Internal(tls), handshake }
    }
    /// Mutual TLS with other security servers.
    pub fn peer(tls: Arc<PeerTls>, handshake: Duration) -> Self {
        Self { kind: Kind::Peer(tls), handshake }
    }

    /// Sets the socket up, chooses the TLS stack, does the handshake within a bounded time.
    ///
    /// # Errors
    /// [`AcceptError`], for the log at debug level: strangers cause it at will.
    pub async fn accept(&self, socket: TcpStream, from: SocketAddr) -> Result<Accepted, AcceptError> {
        let failed = |source| AcceptError::Handshake { from, source };
        socket.set_nodelay(true).map_err(failed)?;
        // The one choice of a stack. A peer that offers nothing but CBC suites would be told apart here, by its ClientHello.
        let config = match &self.kind {
            Kind::Plain => {
                let stream = Stream::Plain(socket);
                return Ok(Accepted { stream, chain: Vec::new(), secure: false, causeway: false, from });
            }
            Kind::Internal(tls) => tls.server_config(),
            Kind::Peer(tls) => tls.server_config().ok_or(AcceptError::NoKey)?,
        };
        let handshake = tokio_rustls::TlsAcceptor::from(config).accept(socket);
        let stream = match tokio::time::timeout(self.handshake, handshake).await {
            Ok(done) => done.map_err(failed)?,
            Err(_) => return Err(AcceptError::Timeout { from }),
        };
        let (_, session) = stream.get_ref();
        let chain = parse_chain(session.peer_certificates().unwrap_or_default());
        // A resumed session brings a certificate that nobody looked at in this handshake.
        if let Kind::Peer(tls) = &self.kind {
            chain
                .first()
                .filter(|leaf| tls.is_registered(leaf))
                .ok_or(AcceptError::NotRegistered { from })?;
        }
        let causeway = session.alpn_protocol() == Some(ALPN_CAUSEWAY);
        Ok(Accepted { chain, secure: true, causeway, from, stream: Stream::Rustls(Box::new(stream)) })
    }
}

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
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Rustls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Rustls(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Rustls(s) => Pin::new(s).poll_shutdown(cx),
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
        }
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(s) => s.is_write_vectored(),
            Self::Rustls(s) => s.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests;
