//! One call of a service over one connection: the request goes out while the answer may already come in.
//!
//! No redirects, no cookies, no retries. A service that answers before it has read the request is heard; interim answers (1xx) are
//! skipped. Waits are bounded by the idle time of the [`Wire`]; the whole call is bounded by its caller.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use super::body::BodyDecoder;
use super::head::{self, Framing, HeadError, HeadLimits, ResponseHead};
use super::server::write_line;
use super::wire::{self, HEAD_READ, Wire, WireError};

/// Bounds on the head of an answer.
const HEAD: HeadLimits = HeadLimits { bytes: 64 * 1024, lines: 1024 };
/// Most interim answers before the real one.
const INTERIM: usize = 16;

/// A body that is sent with its length.
pub struct CallBody {
    /// Its length.
    pub length: u64,
    /// Its bytes.
    pub stream: BoxStream<'static, std::io::Result<Bytes>>,
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
    #[error("the service closed the connection without an answer")]
    NoAnswer,
    /// The service wants another protocol.
    #[error("the service wants to switch protocols")]
    Switching,
}

/// A connection to a service, free for a call.
#[derive(Debug)]
pub struct ClientConnection<S> {
    wire: Wire<ReadHalf<S>>,
    out: WriteHalf<S>,
}

type Writing<S> = Pin<Box<dyn Future<Output = (WriteHalf<S>, Result<(), WireError>)> + Send>>;

/// An answer whose body is being read.
pub struct ClientResponse<S> {
    /// Its head.
    pub head: ResponseHead,
    wire: Wire<ReadHalf<S>>,
    decoder: BodyDecoder,
    out: Output<S>,
}

/// The sending side while the answer is read.
enum Output<S> {
    Idle(WriteHalf<S>),
    Writing(Writing<S>),
    Broken,
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

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ClientConnection<S> {
    /// A fresh connection.
    pub fn new(io: S) -> Self {
        let (read, out) = tokio::io::split(io);
        Self { wire: Wire::new(read, None), out }
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
        let Self { wire, out } = self;
        let mut response = Exchange {
            wire: wire.with_idle(idle),
            out: Output::Writing(Box::pin(write(out, head, body, idle))),
            failed: None,
        };
        let head = response.head(method).await?;
        let decoder = BodyDecoder::new(head.framing);
        Ok(ClientResponse { head, wire: response.wire, decoder, out: response.out })
    }
}

async fn write<S: AsyncRead + AsyncWrite>(
    mut out: WriteHalf<S>,
    mut head: BytesMut,
    body: Option<CallBody>,
    idle: Option<Duration>,
) -> (WriteHalf<S>, Result<(), WireError>) {
    let result = async {
        let Some(CallBody { length, mut stream }) = body else {
            return wire::write_all(&mut out, &head, idle).await;
        };
        let mut left = length;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            left = left.saturating_sub(chunk.len() as u64);
            // The first chunk goes out with the head: most requests are one write.
            if !head.is_empty() {
                head.extend_from_slice(&chunk);
                wire::write_all(&mut out, &head, idle).await?;
                head = BytesMut::new();
                continue;
            }
            wire::write_all(&mut out, &chunk, idle).await?;
        }
        if left > 0 {
            return Err(std::io::Error::other("the stored body is shorter than recorded").into());
        }
        wire::write_all(&mut out, &head, idle).await
    }
    .await;
    let result = match result {
        Ok(()) => wire::flush(&mut out, idle).await,
        failed => failed,
    };
    (out, result)
}

/// Both directions of a call until the head of the answer is there.
struct Exchange<S> {
    wire: Wire<ReadHalf<S>>,
    out: Output<S>,
    failed: Option<WireError>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<S> {
    async fn head(&mut self, method: &str) -> Result<ResponseHead, CallError> {
        for _ in 0..INTERIM {
            let bytes = self.next_head().await?;
            let head = head::parse_response(&bytes, method, &HEAD)?;
            match head.status {
                101 => return Err(CallError::Switching),
                100..=199 => {}
                _ => return Ok(head),
            }
        }
        Err(HeadError::Bad("interim answers without end").into())
    }

    async fn next_head(&mut self) -> Result<Bytes, CallError> {
        let mut seen = 0;
        loop {
            let end = head::find_end(&self.wire.buf, &mut seen, false)?;
            if end.unwrap_or(self.wire.buf.len()) > HEAD.bytes {
                return Err(HeadError::TooLarge { limit: HEAD.bytes }.into());
            }
            if let Some(end) = end {
                return Ok(self.wire.buf.split_to(end).freeze());
            }
            match fill(&mut self.wire, &mut self.out, &mut self.failed).await {
                Ok(n) if n > 0 => {}
                // A request that could not be sent explains a missing answer better than the silence after it.
                Ok(_) if self.wire.buf.is_empty() => {
                    return Err(self.failed.take().map_or(CallError::NoAnswer, CallError::Wire));
                }
                Ok(_) => return Err(HeadError::Bad("the connection ended inside the head").into()),
                Err(e) => return Err(self.failed.take().unwrap_or(e).into()),
            }
        }
    }
}

/// Reads more of the answer while the request goes on being written. The read is bounded only once the request is out.
async fn fill<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<ReadHalf<S>>,
    out: &mut Output<S>,
    failed: &mut Option<WireError>,
) -> Result<usize, WireError> {
    loop {
        let Output::Writing(writing) = out else {
            return wire.fill(HEAD_READ * 4).await;
        };
        tokio::select! {
            biased;
            (half, result) = writing => {
                *out = match result {
                    Ok(()) => Output::Idle(half),
                    Err(e) => { *failed = Some(e); Output::Broken }
                };
            }
            read = wire.fill_unhurried(HEAD_READ * 4) => return read,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientResponse<S> {
    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            match self.decoder.decode(&mut self.wire.buf, self.wire.ended)? {
                super::body::Step::Data(data) => return Ok(Some(data)),
                super::body::Step::End => return Ok(None),
                super::body::Step::More => {
                    let mut failed = None;
                    fill(&mut self.wire, &mut self.out, &mut failed).await?;
                }
            }
        }
    }
    /// The connection, when the body was read to its end and both sides keep it.
    pub fn into_connection(self) -> Option<ClientConnection<S>> {
        let Output::Idle(out) = self.out else { return None };
        let clean =
            self.head.keep_alive && self.decoder.is_done() && self.wire.buf.is_empty() && !self.wire.ended;
        (clean && self.head.framing != Framing::ToEnd).then_some(ClientConnection { wire: self.wire, out })
    }
}

#[cfg(test)]
mod tests;
