//! The bytes of one connection, with a bound on every wait.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::body::{BodyDecoder, BodyError, Step};

/// Most room made for a head, and for a body, bytes.
pub(super) const HEAD_READ: usize = 8 * 1024;
pub(super) const BODY_READ: usize = 128 * 1024;
/// Room made at first: more when a read has filled it, less when it was much more than a read needed.
const LEAST_READ: usize = 4 * 1024;

/// Why reading or writing stopped.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Silence.
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    /// Nothing was taken.
    #[error("nothing was taken for {0:?}")]
    WriteStalled(Duration),
    /// The body's framing.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// What was to be sent.
    #[error("the body that was being sent broke off: {0}")]
    Source(io::Error),
}

/// A stream with what was read ahead of it.
#[derive(Debug)]
pub struct Wire<S> {
    pub(super) io: S,
    pub(super) buf: BytesMut,
    pub(super) ended: bool,
    idle: Option<Duration>,
    room: usize,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// `idle` bounds each single wait; `None` waits for ever.
    pub fn new(io: S, idle: Option<Duration>) -> Self {
        Self { io, buf: BytesMut::new(), ended: false, idle, room: LEAST_READ }
    }
    /// The same with another bound on waits.
    #[must_use]
    pub fn with_idle(self, idle: Option<Duration>) -> Self {
        Self { idle, ..self }
    }
    /// Reads more into the buffer, with at most `room` made for it; nothing new means that the other side ended. Loses nothing when
    /// dropped.
    ///
    /// # Errors
    /// Socket, silence.
    pub async fn fill(&mut self, room: usize) -> Result<usize, WireError> {
        match self.idle {
            None => self.fill_unhurried(room).await,
            Some(idle) => {
                timeout(idle, self.fill_unhurried(room)).await.map_err(|_| WireError::Idle(idle))?
            }
        }
    }
    /// [`Self::fill`] without a bound: for whoever bounds the wait otherwise.
    pub(super) async fn fill_unhurried(&mut self, room: usize) -> Result<usize, WireError> {
        std::future::poll_fn(|cx| self.poll_fill(cx, room)).await
    }
    /// [`Self::fill_unhurried`] for whoever does something else meanwhile.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<usize, WireError>> {
        self.buf.reserve(self.room.min(room));
        // A read holds nothing between two polls.
        let n = ready!(pin!(self.io.read_buf(&mut self.buf)).poll(cx))?;
        self.ended |= n == 0;
        if n >= self.room {
            self.room = (self.room * 2).min(BODY_READ);
        } else if n < self.room / 4 {
            self.room = (self.room / 2).max(LEAST_READ);
        }
        Poll::Ready(Ok(n))
    }
    /// The other side has ended or broken the connection. What it sends instead is kept, and then nobody looks further.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.buf.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx, HEAD_READ)) {
            Ok(n) if n > 0 => Poll::Pending,
            Ok(_) | Err(_) => Poll::Ready(()),
        }
    }
    /// [`Self::next`] without a bound on its waits.
    pub(super) fn poll_next(
        &mut self,
        decoder: &mut BodyDecoder,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, WireError>> {
        loop {
            match decoder.decode(&mut self.buf, self.ended)? {
                Step::Data(data) => return Poll::Ready(Ok(Some(data))),
                Step::End => return Poll::Ready(Ok(None)),
                Step::More => _ = ready!(self.poll_fill(cx, BODY_READ))?,
            }
        }
    }
    /// The next bytes of a body; `None` at its end.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn next(&mut self, decoder: &mut BodyDecoder) -> Result<Option<Bytes>, WireError> {
        loop {
            match decoder.decode(&mut self.buf, self.ended)? {
                Step::Data(data) => return Ok(Some(data)),
                Step::End => return Ok(None),
                Step::More => _ = self.fill(BODY_READ).await?,
            }
        }
    }
}
