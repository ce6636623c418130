//! Messages of this server's own: they take the way of every information system's, in this process and without a socket.
//!
//! Management requests are such messages [PR-MSERV]. The connection shows the server's own certificate, which may speak for every
//! client here, so a request is admitted, signed, logged and answered by the one path that all messages take. What is sent and what
//! comes back is held whole: both are small.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use super::{Caller, one_request, server_limits};
use crate::context::Context;
use crate::http1::client::{CallBody, CallError, ClientConnection, ClientResponse, request_head};
use crate::http1::server::ServerConnection;
use crate::http1::wire::WireError;
use crate::tls::Stream;

/// Bytes that one end may be ahead of the other.
const BUFFER: usize = 64 * 1024;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Status code.
    pub(crate) status: u16,
    /// `Content-Type`, or empty.
    pub(crate) content_type: String,
    /// The body.
    pub(crate) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnError {
    /// The exchange ended without an answer.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The answer broke off.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// More than is expected of it.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Sends a SOAP message for a client of this server and waits for the answer, however long: the caller bounds the wait, and the exchange
/// goes to its end even when nobody waits any more, since the other side may have acted.
///
/// # Errors
/// [`OwnError`]; a fault is an answer.
pub(crate) async fn send(
    cx: &Context,
    content_type: &str,
    body: Bytes,
    limit: usize,
) -> Result<Reply, OwnError> {
    let lines = [("Content-Type", content_type.as_bytes())];
    let length = body.len() as u64;
    let head = request_head("POST", "/", "localhost", lines.into_iter(), Some(length));
    let body = CallBody { length, stream: stream::once(async { Ok(body) }).boxed() };
    exchange(cx, "POST", head, Some(body), limit).await
}

/// Asks for a REST resource for a client of this server, which `lines` name, as [`send`] does for SOAP.
///
/// # Errors
/// [`OwnError`]; an error is an answer.
pub(crate) async fn get(
    cx: &Context,
    path: &str,
    lines: &[(&str, &str)],
    limit: usize,
) -> Result<Reply, OwnError> {
    let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
    let head = request_head("GET", path, "localhost", lines, None);
    exchange(cx, "GET", head, None, limit).await
}

async fn exchange(
    cx: &Context,
    method: &str,
    head: BytesMut,
    body: Option<CallBody>,
    limit: usize,
) -> Result<Reply, OwnError> {
    let (near, far) = tokio::io::duplex(BUFFER);
    tokio::spawn(answer(cx.clone(), Stream::Own(far)));
    let ClientResponse { head, body: mut incoming } =
        ClientConnection::new(near).call(method, head, body, None).await?;
    let content_type = head.headers.text("content-type").unwrap_or_default().to_owned();
    let mut bytes = BytesMut::new();
    while let Some(data) = incoming.next().await? {
        if bytes.len() + data.len() > limit {
            return Err(OwnError::TooLarge(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Reply { status: head.status, content_type, body: bytes.freeze() })
}

/// The other end: one exchange, as an information system with the server's own certificate would have it.
async fn answer(cx: Context, stream: Stream) {
    let caller = Caller { secure: true, cert: Some(cx.internal_tls.cert().clone()) };
    let mut connection = ServerConnection::new(stream, server_limits(&cx));
    match connection.request().await {
        Ok(Some(head)) => drop(one_request(&cx, &caller, &mut connection, &head).await),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "a message of the server's own could not be read"),
    }
}
