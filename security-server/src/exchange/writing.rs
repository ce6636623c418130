//! The sending end of a transport message: parts go into a bounded channel, the connection takes them out.
//!
//! A body that is abandoned before [`Outgoing::finish`] or [`Outgoing::fault`] ends in an error, so that a cut never looks like an
//! end. The channel is short: whoever reads slowly slows down whoever writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use proto::transport::{Encoder, MessageKind};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Logged, Proven, Signed};
use crate::exchange::Message;

/// Chunks under way between the two ends: no fewer than the last pieces of a message, which are handed on before anybody takes them.
const DEPTH: usize = 4;
/// Small parts are gathered up to this size before they are handed on.
const GATHER_BYTES: usize = 32 * 1024;

/// What is gathered of most messages: all of it but the signature, which goes out from where it lies.
const SMALL_BYTES: usize = 8 * 1024;

/// A reader that takes nothing for so long is gone: it must not hold its slot, and the service behind it, for ever.
const STALLED: Duration = Duration::from_secs(120);

/// The other end is gone: the connection broke, nobody wants the rest, or nobody takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is gone")]
pub struct Gone;

enum Piece {
    Data(Bytes),
    /// What ends the message.
    Last(Bytes),
}

/// The sending end.
#[derive(Debug)]
pub struct Outgoing {
    encoder: Encoder,
    gathered: BytesMut,
    pieces: mpsc::Sender<Piece>,
}

/// The end that a connection reads from.
#[derive(Debug)]
pub struct OutgoingBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

/// Both ends of a new transport message.
pub fn channel() -> (Outgoing, OutgoingBody) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    let outgoing = Outgoing {
        encoder: Encoder::new(&boundary_suffix()),
        gathered: BytesMut::with_capacity(SMALL_BYTES),
        pieces: sender,
    };
    (outgoing, OutgoingBody { pieces: receiver, ended: false })
}

/// A boundary for a message that came without one.
pub fn random_boundary() -> String {
    format!("xrel{}", boundary_suffix())
}

/// 30 random letters.
fn boundary_suffix() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyzABCDEFGHIJKL";
    crate::names::random::<30>().iter().map(|b| char::from(LETTERS[usize::from(b & 63)])).collect()
}

impl Outgoing {
    /// The `Content-Type` of the body.
    pub fn content_type(&self) -> String {
        self.encoder.content_type()
    }
    /// One OCSP answer.
    pub fn ocsp(&mut self, der: &[u8]) {
        self.encoder.ocsp(&mut self.gathered, der);
    }
    /// The REST header part.
    pub fn rest(&mut self, kind: MessageKind, raw: &[u8]) {
        self.encoder.rest(&mut self.gathered, kind, raw);
    }
    /// The SOAP part.
    pub fn soap(&mut self, content_type: &str, headers: &[(String, String)], raw: &[u8]) {
        self.encoder.soap(&mut self.gathered, content_type, headers, raw);
    }
    /// Opens the REST body part.
    pub fn rest_body(&mut self) {
        self.encoder.rest_body_head(&mut self.gathered);
    }
    /// Opens an attachment.
    pub fn attachment(&mut self, head: &proto::multipart::PartHead) {
        self.encoder.attachment_head(&mut self.gathered, head);
    }
    /// Bytes of the part that is open.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn data(&mut self, chunk: Bytes) -> Result<(), Gone> {
        if self.gathered.len() + chunk.len() <= GATHER_BYTES {
            self.gathered.extend_from_slice(&chunk);
            return Ok(());
        }
        self.flush().await?;
        self.hand_on(Piece::Data(chunk)).await
    }
    /// Hands on what was gathered.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn flush(&mut self) -> Result<(), Gone> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = self.gathered.split().freeze();
        self.hand_on(Piece::Data(gathered)).await
    }
    /// Chain and signature, then the closing delimiter: only of a message that is in the log.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn finish<M: Message>(mut self, logged: &Logged<Signed<M>>) -> Result<(), Gone>
    where
        Signed<M>: Proven,
    {
        let evidence = logged.evidence();
        if let Some((result, chain)) = &evidence.hash_chain {
            self.encoder.hash_chain(&mut self.gathered, result, chain);
        }
        self.encoder.signature_head(&mut self.gathered);
        self.flush().await?;
        // The messages of a batch share their document: it is not copied for each of them.
        self.hand_on(Piece::Data(evidence.document.clone())).await?;
        self.encoder.end(&mut self.gathered);
        self.end().await
    }
    /// A fault in place of whatever was due, then the closing delimiter.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn fault(mut self, soap_fault: &[u8]) -> Result<(), Gone> {
        self.encoder.fault(&mut self.gathered, soap_fault);
        self.end().await
    }

    async fn end(mut self) -> Result<(), Gone> {
        let last = self.gathered.split().freeze();
        self.hand_on(Piece::Last(last)).await
    }

    async fn hand_on(&self, piece: Piece) -> Result<(), Gone> {
        match self.pieces.try_send(piece) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Gone),
            Err(TrySendError::Full(piece)) => {
                let sent = tokio::time::timeout(STALLED, self.pieces.send(piece)).await;
                sent.map_err(|_| Gone)?.map_err(|_| Gone)
            }
        }
    }
}

impl Stream for OutgoingBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        Poll::Ready(match piece {
            Some(Piece::Data(data)) => Some(Ok(data)),
            Some(Piece::Last(data)) => {
                self.ended = true;
                Some(Ok(data))
            }
            None => {
                self.ended = true;
                Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the message was abandoned")))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, TryStreamExt};

    use super::*;

    #[test]
    fn boundaries_are_letters_and_differ() {
        let suffix = boundary_suffix();
        assert!(suffix.len() == 30 && suffix.bytes().all(|b| b.is_ascii_alphabetic()), "{suffix}");
        assert_ne!(suffix, boundary_suffix());
    }

    #[tokio::test]
    async fn an_abandoned_message_ends_in_an_error() {
        let (mut out, mut body) = channel();
        out.ocsp(b"x");
        out.flush().await.expect("taken");
        assert!(body.next().await.expect("a piece").is_ok());
        drop(out);
        assert!(body.next().await.expect("a piece").is_err());
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_reader_slows_the_writer() {
        let (mut out, mut body) = channel();
        let big = Bytes::from(vec![0; GATHER_BYTES + 1]);
        for _ in 0..DEPTH {
            out.data(big.clone()).await.expect("room");
        }
        let mut next = Box::pin(out.data(big));
        assert!((&mut next).now_or_never().is_none(), "the channel is full");
        body.next().await.expect("a piece").expect("data");
        next.await.expect("room again");
    }

    /// What is held for a reader, a slot among it, is free again when nothing was taken for [`STALLED`], and not before.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let slots = crate::admission::Admission::new(1, 1);
        let slot = slots.enter("peer").expect("free");
        let (mut out, mut body) = channel();
        let writing = tokio::spawn(async move {
            let _slot = slot;
            let big = Bytes::from(vec![0; GATHER_BYTES + 1]);
            while out.data(big.clone()).await.is_ok() {}
        });
        let almost = STALLED - Duration::from_secs(1);
        tokio::time::sleep(almost).await;
        body.next().await.expect("a piece").expect("data");
        tokio::time::sleep(almost).await;
        assert_eq!(slots.in_use(), 1, "something was taken meanwhile");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(slots.in_use(), 0, "nothing was taken for {STALLED:?}");
        writing.await.expect("it ended with an error");
    }

    #[tokio::test]
    async fn a_fault_ends_the_message() {
        let (out, body) = channel();
        out.fault(b"<f/>").await.expect("taken");
        let pieces: Vec<Bytes> = body.try_collect().await.expect("a whole body");
        let text = pieces.concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("\r\n<f/>\r\n--xtop") || text.contains("<f/>\r\n--xtop"), "{text}");
        assert!(text.ends_with("--\r\n"), "{text}");
    }
}
