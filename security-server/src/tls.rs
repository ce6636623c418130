//! TLS on every edge: which stack, which keys, what a handshake proves and what it does not [wire dossier §3, §12.2, §13.5].
//!
//! | Edge | Ours | Theirs |
//! |---|---|---|
//! | 5500 server | authentication key | required, hash registered in the present global configuration |
//! | 5500 client | authentication key | anything in the handshake; `peers` verifies before a byte is sent |
//! | 8443 server | internal key | wanted, anything; the connection type of the client decides later |
//! | services | internal key | byte-equal to a stored certificate, or anything when the service does not verify |
//!
//! [`Acceptor::accept`] is the one place where the stack of an accepted connection is chosen. Configurations are rebuilt when keys or
//! the global configuration change; connections that live keep what they have.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use pki::cert::Certificate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Marks a connection between two servers of our own kind.
pub const ALPN_CAUSEWAY: &[u8] = b"causeway/1";

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
    _private: (),
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake failed or took too long.
    #[error("handshake with {from}: {source}")]
    Handshake {
        /// Where it came from.
        from: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A resumed session of a certificate that is registered no longer.
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
        Self { _private: () }
    }
    /// Sets the socket up, chooses the TLS stack, does the handshake within a bounded time.
    ///
    /// # Errors
    /// [`AcceptError`], for the log at debug level: strangers cause it at will.
    pub async fn accept(&self, socket: TcpStream, from: SocketAddr) -> Result<Accepted, AcceptError> {
        let _ = (socket, from);
        todo!()
    }
}

/// The server's internal TLS key: shown to information systems in both roles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InternalTls {
    _private: (),
}

/// Why TLS towards a service failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceTlsError {
    /// `ssl_authentication_failed`.
    #[error("the service's certificate is none of those stored for the client")]
    NotPinned,
    /// `network_error` or `io_error`.
    #[error("handshake with the service: {0}")]
    Handshake(#[from] std::io::Error),
}

impl InternalTls {
    /// Its certificate: an information system that shows it is accepted for any client (wire dossier §12.4).
    pub fn cert(&self) -> &Certificate {
        todo!()
    }
    /// TLS to a service at `host`. With `pins` the leaf must be byte-equal to one of them; without, any certificate will do.
    ///
    /// # Errors
    /// [`ServiceTlsError`].
    pub async fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        pins: Option<&[Certificate]>,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ServiceTlsError> {
        let _ = (socket, host, pins);
        todo!()
    }
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
