//! The bytes of one connection, with a bound on every wait.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::body::{BodyDecoder, BodyError, Step};

/// Most room made for a head, and for a body, bytes.
pub(super) const HEAD_READ: usize = 8 * 1024;
const BODY_READ: usize = 64 * 1024;
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
        self.buf.reserve(self.room.min(room));
        let n = self.io.read_buf(&mut self.buf).await?;
        self.ended |= n == 0;
        if n >= self.room {
            self.room = (self.room * 2).min(BODY_READ);
        } else if n < self.room / 4 {
            self.room = (self.room / 2).max(LEAST_READ);
        }
        Ok(n)
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

/// Writes all of `bytes`; each step of progress may take `idle`.
///
/// # Errors
/// Socket, or a reader that stalls.
pub(super) async fn write_all<W: AsyncWrite + Unpin>(
    io: &mut W,
    mut bytes: &[u8],
    idle: Option<Duration>,
) -> Result<(), WireError> {
    while !bytes.is_empty() {
        let n = match idle {
            None => io.write(bytes).await?,
            Some(idle) => {
                timeout(idle, io.write(bytes)).await.map_err(|_| WireError::WriteStalled(idle))??
            }
        };
        if n == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Flushes, which TLS needs; bounded like a write.
///
/// # Errors
/// Socket, or a reader that stalls.
pub(super) async fn flush<W: AsyncWrite + Unpin>(
    io: &mut W,
    idle: Option<Duration>,
) -> Result<(), WireError> {
    match idle {
        None => io.flush().await?,
        Some(idle) => timeout(idle, io.flush()).await.map_err(|_| WireError::WriteStalled(idle))??,
    }
    Ok(())
}
