//! Bodies: of requests, which give up when the sender falls silent, and of responses, in one boxed form.
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// An answer's body from bytes.
pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> ResponseBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Bytes of a file that are read at once.
const FILE_CHUNK: usize = 64 * 1024;

/// An answer's body from the first `bytes` bytes of a file, read as they are sent.
pub fn file(file: std::fs::File, bytes: u64) -> ResponseBody {
    let file = tokio::fs::File::from_std(file);
    FileBody { file, left: bytes, chunk: vec![0; FILE_CHUNK] }.map_err(Into::into).boxed_unsync()
}

struct FileBody {
    file: tokio::fs::File,
    left: u64,
    chunk: Vec<u8>,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(this.left).unwrap_or(FILE_CHUNK).min(FILE_CHUNK);
        let mut buffer = ReadBuf::new(&mut this.chunk[..most]);
        let read = ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer));
        let bytes = buffer.filled();
        Poll::Ready(Some(match read {
            Err(error) => Err(error),
            Ok(()) if bytes.is_empty() => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(()) => {
                this.left -= bytes.len() as u64;
                Ok(Frame::data(Bytes::copy_from_slice(bytes)))
            }
        }))
    }
    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing came for so long.
    #[error("nothing was received for {0:?}")]
    Idle(Duration),
    /// More than the reader takes.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The connection broke, or the framing is wrong.
    #[error("the body cannot be read: {0}")]
    Broken(#[from] hyper::Error),
}

/// A request's body. A read that waits longer than the idle limit fails; time between reads, while the reader is busy, does not
/// count.
#[derive(Debug)]
pub struct RequestBody {
    inner: hyper::body::Incoming,
    idle: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// `inner`, bounded by `idle`. Also of use for answers of peers.
    pub fn new(inner: hyper::body::Incoming, idle: Duration) -> Self {
        Self { inner, idle, waiting: None }
    }
    /// Without the bound.
    pub fn into_inner(self) -> hyper::body::Incoming {
        self.inner
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|f| f.map_err(BodyError::Broken)));
        }
        let idle = this.idle;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Idle(idle)))),
            Poll::Pending => Poll::Pending,
        }
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Reads a whole body of at most `limit` bytes; one that announces more is refused before it is read.
///
/// # Errors
/// [`BodyError`].
pub async fn read_all(mut body: RequestBody, limit: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        // A second chunk: only now is a copy worth it.
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
