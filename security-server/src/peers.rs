//! Connections to providers' security servers: mutual TLS on port 5500, verified before a byte is sent, then kept [wire dossier §3].
//!
//! TLS 1.3 by rustls; ALPN `causeway/1` marks a peer of our own kind, whose connections are kept and resumed. A connection is used
//! for a client only when the binding of the peer's certificate to that client was checked (again after any configuration change).
//! Missing OCSP answers of the peer are fetched from its port 5577 and verified before they are kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use proto::fault::FaultCode;
use proto::id::{ClientId, ServerId};
use signer::AuthIdentity;

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

/// The body of a request to a peer.
pub type RequestBody = BoxBody<Bytes, std::io::Error>;

/// An answer of a peer, head read, body not.
pub type PeerResponse = http::Response<PeerBody>;

/// The body of a peer's answer. Read to its end it gives the connection back; dropped before that it closes it.
#[derive(Debug)]
pub struct PeerBody {
    inner: hyper::body::Incoming,
}

impl hyper::body::Body for PeerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}

/// Finds, connects, verifies, pools.
#[derive(Clone, Debug)]
pub struct Peers {
    _private: Arc<()>,
}

/// A verified connection for one exchange.
#[derive(Debug)]
pub struct Connection {
    _private: (),
}

impl Peers {
    /// A verified connection to a server that offers `provider`; `target` names one server.
    ///
    /// # Errors
    /// `unknown_member`, `invalid_security_server`, `maintenance_mode`, `network_error`, `ssl_authentication_failed…`.
    pub async fn connect(
        &self,
        conf: &pki::globalconf::GlobalConf,
        provider: &ClientId,
        target: Option<&ServerId>,
        now: proto::time::UnixTime,
    ) -> Result<Connection, PeerError> {
        let _ = (conf, provider, target, now);
        todo!()
    }
}

impl Connection {
    /// Our own TLS identity on this connection: its OCSP answers go in front of the message.
    pub fn identity(&self) -> &Arc<AuthIdentity> {
        todo!()
    }
    /// The peer is of our own kind (ALPN).
    pub fn causeway(&self) -> bool {
        todo!()
    }
    /// Sends one request (method POST, path `/`, `Host` and framing are set here) and waits for the head of the answer.
    ///
    /// The body may still be under way when the head arrives. The connection goes back to the pool when the answer's body has
    /// been read to its end and the peer keeps connections.
    ///
    /// # Errors
    /// `network_error`, `io_error`.
    pub async fn send(self, headers: http::HeaderMap, body: RequestBody) -> Result<PeerResponse, PeerError> {
        let _ = (headers, body);
        todo!()
    }
}
