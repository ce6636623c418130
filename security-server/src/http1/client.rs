//! One call of a service, or of another security server, over one connection: the request goes out while the answer may already come in.
//!
//! No redirects, no cookies, no retries. Whoever answers before it has read the request is heard; interim answers (1xx) are skipped. A
//! wait is bounded by the idle time of the call; the whole call is bounded by its caller. The connection is its caller's: nothing runs
//! beside the call, and what is dropped is closed.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::body::{BodyDecoder, Step};
use super::head::{self, Answers, Framing, HeadError, HeadLimits, ResponseHead, write_line};
use super::sending::Sending;
pub use super::sending::{Body, Pieces};
use super::wire::{HEAD_READ, Wire, WireError};

/// Bounds on the head of a service's answer.
const SERVICE_HEAD: HeadLimits = HeadLimits { bytes: 64 * 1024, lines: 1024 };
/// Most interim answers before the real one.
const INTERIM: usize = 16;
/// Most room made for one read.
const ROOM: usize = 4 * HEAD_READ;

/// A body that is sent with its length.
pub struct CallBody {
    /// Its length.
    pub length: u64,
    /// Its bytes.
    pub stream: Pieces,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection, or silence.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The answer's head.
    #[error("the answer cannot be read: {0}")]
    Head(#[from] HeadError),
    /// The connection ended without an answer.
    #[error("the connection was closed without an answer")]
    NoAnswer,
    /// The other side wants another protocol.
    #[error("the other side wants to switch protocols")]
    Switching,
}

/// A connection that is free for a call.
#[derive(Debug)]
pub struct ClientConnection<S> {
    wire: Wire<S>,
    limits: HeadLimits,
    whose: Answers,
}

/// An answer.
#[derive(Debug)]
pub struct ClientResponse<S> {
    /// Its head.
    pub head: ResponseHead,
    /// Its body, to be read.
    pub body: ClientBody<S>,
}

/// The body of an answer, and with it the connection.
#[derive(Debug)]
pub struct ClientBody<S> {
    talk: Talk<S>,
    decoder: BodyDecoder,
    limits: HeadLimits,
    whose: Answers,
    /// The other side will take another request.
    kept: bool,
}

/// The request head: request line, `lines` in order, then what frames it.
///
/// `framed`: `Content-Length` is written, also for a length of zero.
pub fn request_head<'a>(
    method: &str,
    target: &str,
    host: &str,
    lines: impl Iterator<Item = (&'a str, &'a [u8])>,
    framed: Option<u64>,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024);
    out.put_slice(method.as_bytes());
    out.put_u8(b' ');
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    write_line(&mut out, "Host", host.as_bytes());
    for (name, value) in lines {
        write_line(&mut out, name, value);
    }
    if let Some(length) = framed {
        write_line(&mut out, "Content-Length", length.to_string().as_bytes());
    }
    out.put_slice(b"\r\n");
    out
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientConnection<S> {
    /// A fresh connection to a service.
    pub fn new(io: S) -> Self {
        Self { wire: Wire::new(io, None), limits: SERVICE_HEAD, whose: Answers::Services }
    }

    /// A fresh connection to a security server, whose answers have heads within `limits`.
    pub fn to_server(io: S, limits: HeadLimits) -> Self {
        Self { wire: Wire::new(io, None), limits, whose: Answers::Servers }
    }

    /// Nothing arrived while nobody asked: neither bytes nor the end.
    pub fn is_quiet(&mut self) -> bool {
        self.wire.buf.is_empty() && self.wire.fill_unhurried(1).now_or_never().is_none()
    }

    /// Sends a request and waits for the head of the answer. `idle` bounds every wait of this call.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        self,
        method: &str,
        head: BytesMut,
        body: Option<CallBody>,
        idle: Option<Duration>,
    ) -> Result<ClientResponse<S>, CallError> {
        let body = body.map_or(Body::Empty, |CallBody { length, stream }| Body::Stream { length, stream });
        self.send(method, head, body, idle).await
    }

    /// [`Self::call`] with a body of any kind, which `head` announces.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send(
        self,
        method: &str,
        head: BytesMut,
        body: Body,
        idle: Option<Duration>,
    ) -> Result<ClientResponse<S>, CallError> {
        let Self { wire, limits, whose } = self;
        let sending = Some(Sending::new(head, body, false, idle));
        let mut talk = Talk { wire: wire.with_idle(idle), sending, failed: None };
        let head = talk.head(method, &limits, whose).await?;
        let decoder = BodyDecoder::new(head.framing);
        let kept = head.keep_alive && head.framing != Framing::ToEnd;
        Ok(ClientResponse { head, body: ClientBody { talk, decoder, limits, whose, kept } })
    }
}

/// Both directions of a call.
#[derive(Debug)]
struct Talk<S> {
    wire: Wire<S>,
    /// The request, until it is out.
    sending: Option<Sending>,
    /// Why it never will be.
    failed: Option<WireError>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn head(
        &mut self,
        method: &str,
        limits: &HeadLimits,
        whose: Answers,
    ) -> Result<ResponseHead, CallError> {
        for _ in 0..INTERIM {
            let bytes = self.next_head(limits, whose).await?;
            let head = head::parse_response(&bytes, method, limits, whose)?;
            match head.status {
                101 => return Err(CallError::Switching),
                100..=199 => {}
                _ => return Ok(head),
            }
        }
        Err(HeadError::Bad("interim answers without end").into())
    }

    async fn next_head(&mut self, limits: &HeadLimits, whose: Answers) -> Result<Bytes, CallError> {
        let mut seen = 0;
        loop {
            let end = head::find_end(&self.wire.buf, &mut seen, whose.strict())?;
            if end.unwrap_or(self.wire.buf.len()) > limits.bytes {
                return Err(HeadError::TooLarge { limit: limits.bytes }.into());
            }
            if let Some(end) = end {
                return Ok(self.wire.buf.split_to(end).freeze());
            }
            match self.fill().await {
                Ok(n) if n > 0 => {}
                // A request that could not be sent explains a missing answer better than the silence after it.
                Ok(_) if self.wire.buf.is_empty() => {
                    return Err(self.failed.take().map_or(CallError::NoAnswer, CallError::Wire));
                }
                Ok(_) => return Err(HeadError::Bad("the connection ended inside the head").into()),
                // What TLS was told explains both.
                Err(WireError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(WireError::Io(e).into());
                }
                Err(e) => return Err(self.failed.take().unwrap_or(e).into()),
            }
        }
    }

    /// Reads more of the answer while the request goes on being written. The read is bounded only once the request is out.
    async fn fill(&mut self) -> Result<usize, WireError> {
        let read = poll_fn(|cx| match self.poll_sending(cx) {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(()) if self.sending.is_none() => Poll::Ready(None),
            Ok(()) => self.wire.poll_fill(cx, ROOM).map(Some),
        });
        match read.await {
            Some(read) => read,
            None => self.wire.fill(ROOM).await,
        }
    }

    /// [`Self::fill`] without a bound.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WireError>> {
        self.poll_sending(cx)?;
        self.wire.poll_fill(cx, ROOM)
    }

    /// A request that the other side does not take may have an answer all the same; one that breaks off here has none.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<(), WireError> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let Poll::Ready(result) = sending.poll(&mut self.wire.io, cx) else { return Ok(()) };
        self.sending = None;
        match result {
            Ok(()) => {}
            Err(WireError::Source(error)) => return Err(WireError::Source(error)),
            Err(error) => self.failed = Some(error),
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientBody<S> {
    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            match self.decoder.decode(&mut self.talk.wire.buf, self.talk.wire.ended)? {
                Step::Data(data) => return Ok(Some(data)),
                Step::End => return Ok(None),
                Step::More => _ = self.talk.fill().await?,
            }
        }
    }
    /// [`Self::next`] for whoever bounds the waits.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, WireError>> {
        loop {
            match self.decoder.decode(&mut self.talk.wire.buf, self.talk.wire.ended)? {
                Step::Data(data) => return Poll::Ready(Ok(Some(data))),
                Step::End => return Poll::Ready(Ok(None)),
                Step::More => _ = ready!(self.talk.poll_fill(cx))?,
            }
        }
    }
    /// The body was read to its end.
    pub fn is_read(&self) -> bool {
        self.decoder.is_done()
    }
    /// The connection, when the body was read to its end and both sides keep it. One that is not kept is ended politely after a whole
    /// answer, as far as that takes no waiting: a session of TLS that ends otherwise may not be resumed.
    pub fn into_connection(self) -> Option<ClientConnection<S>> {
        let Self { talk: Talk { mut wire, sending, failed }, decoder, limits, whose, kept } = self;
        let whole = decoder.is_done() && sending.is_none() && failed.is_none();
        if whole && kept && wire.buf.is_empty() && !wire.ended {
            return Some(ClientConnection { wire, limits, whose });
        }
        if whole {
            let _ = wire.io.shutdown().now_or_never();
        }
        None
    }
}

#[cfg(test)]
mod tests;
