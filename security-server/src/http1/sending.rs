//! A message on its way out: its head, then its body as it comes, in as few writes as it takes.
//!
//! A message that is here whole is one write, its head included: what is small is gathered, what is larger goes out from where it lies,
//! in the same write where the stream takes several slices. A body is asked for more only when there is room, so whoever reads slowly
//! slows down whoever writes. Each step of progress may take the idle time and no longer. Nothing is spawned: the message moves when its
//! owner polls it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use super::wire::WireError;

/// A body is asked for no more than makes so many bytes with what waits, and the piece that goes beyond.
const GATHER_BYTES: usize = 32 * 1024;
/// A larger piece is not copied, unless the stream takes one slice at a time and it still fits.
const COPY_BYTES: usize = 2 * 1024;
/// Most slices of one write.
const SLICES: usize = 8;

/// A body as its owner has it.
pub enum Body {
    /// None.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// From where it lies.
    Stream {
        /// Its length.
        length: u64,
        /// Its bytes.
        stream: Pieces,
    },
    /// As it comes, its length not known: in chunked coding, or up to the end of the connection for whoever does not know that.
    Pieces(Pieces),
}

/// The bytes of a body, one after the other; an error breaks the message off.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// What is written around the pieces of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// Nothing; so many bytes are left.
    Counted(u64),
    Chunked,
    /// Nothing; the end of the connection is the end.
    ToEnd,
}

/// A message that is being written.
pub(super) struct Sending {
    /// Written first.
    waiting: VecDeque<Bytes>,
    /// Bytes in it.
    waiting_bytes: usize,
    /// Written after it: what is being gathered.
    last: BytesMut,
    /// A body that is here whole and not yet in either.
    whole: Bytes,
    pieces: Option<Pieces>,
    coding: Coding,
    /// Something was written since the last flush.
    flush_due: bool,
    idle: Option<Duration>,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Sending {
    /// `head` ends with the empty line and announces `body` as it is written; `to_end`: pieces go out without a coding.
    pub(super) fn new(head: BytesMut, body: Body, to_end: bool, idle: Option<Duration>) -> Self {
        let (whole, pieces, coding) = match body {
            Body::Empty => (Bytes::new(), None, Coding::Counted(0)),
            Body::Bytes(bytes) => (bytes, None, Coding::Counted(0)),
            Body::Stream { length, stream } => (Bytes::new(), Some(stream), Coding::Counted(length)),
            Body::Pieces(stream) if to_end => (Bytes::new(), Some(stream), Coding::ToEnd),
            Body::Pieces(stream) => (Bytes::new(), Some(stream), Coding::Chunked),
        };
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last: head,
            whole,
            pieces,
            coding,
            flush_due: true,
            idle,
            stalled: None,
        }
    }

    /// Writes as much as there is and as `io` takes; ready when all of it is written and flushed. While it is pending without anything
    /// to write, it waits for its body.
    ///
    /// # Errors
    /// Socket, a reader that stalls, a body that breaks off or has another length than announced.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WireError>> {
        // A stream that takes one slice at a time would make a write of each.
        let copied = if io.is_write_vectored() { COPY_BYTES } else { GATHER_BYTES };
        let whole = std::mem::take(&mut self.whole);
        self.put(whole, copied);
        loop {
            self.gather(copied, cx)?;
            if self.is_to_write() {
                ready!(self.poll_write(io, cx))?;
                continue;
            }
            if self.flush_due {
                let flushed = Pin::new(&mut *io).poll_flush(cx);
                ready!(self.watch(cx, flushed))?;
                self.flush_due = false;
            }
            return if self.pieces.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
    }

    fn is_to_write(&self) -> bool {
        !self.last.is_empty() || !self.waiting.is_empty()
    }

    /// Everything that is here of the body, as long as there is room for it.
    fn gather(&mut self, copied: usize, cx: &mut Context<'_>) -> Result<(), WireError> {
        while self.waiting_bytes + self.last.len() < GATHER_BYTES
            && let Some(pieces) = &mut self.pieces
        {
            match Pin::new(pieces).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(piece)) => self.piece(piece.map_err(WireError::Source)?, copied)?,
                Poll::Ready(None) => self.end()?,
            }
        }
        Ok(())
    }

    fn piece(&mut self, piece: Bytes, copied: usize) -> Result<(), WireError> {
        // A chunk without bytes would be the last one.
        if piece.is_empty() {
            return Ok(());
        }
        match &mut self.coding {
            Coding::Counted(left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or_else(wrong_length)?;
                self.put(piece, copied);
            }
            Coding::Chunked => {
                let _ = std::fmt::Write::write_fmt(&mut self.last, format_args!("{:x}\r\n", piece.len()));
                self.put(piece, copied);
                self.last.extend_from_slice(b"\r\n");
            }
            Coding::ToEnd => self.put(piece, copied),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), WireError> {
        self.pieces = None;
        match self.coding {
            Coding::Counted(0) | Coding::ToEnd => {}
            Coding::Counted(_) => return Err(wrong_length()),
            Coding::Chunked => self.last.extend_from_slice(b"0\r\n\r\n"),
        }
        Ok(())
    }

    /// Behind everything else. What is at most `copied` is copied where that does not make too much of it.
    fn put(&mut self, bytes: Bytes, copied: usize) {
        if bytes.len() <= copied && self.last.len() + bytes.len() <= GATHER_BYTES {
            return self.last.extend_from_slice(&bytes);
        }
        for bytes in [self.last.split().freeze(), bytes] {
            if !bytes.is_empty() {
                self.waiting_bytes += bytes.len();
                self.waiting.push_back(bytes);
            }
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WireError>> {
        let io = Pin::new(io);
        let written = match self.waiting.front() {
            None => io.poll_write(cx, &self.last),
            Some(_) if io.is_write_vectored() => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let all = self.waiting.iter().map(|bytes| &bytes[..]).chain([&self.last[..]]);
                slices.iter_mut().zip(all).for_each(|(slice, bytes)| *slice = IoSlice::new(bytes));
                io.poll_write_vectored(cx, &slices)
            }
            Some(first) => io.poll_write(cx, first),
        };
        let count = ready!(self.watch(cx, written))?;
        if count == 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
        }
        self.flush_due = true;
        self.advance(count);
        Poll::Ready(Ok(()))
    }

    /// So much was written.
    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.waiting.front_mut() {
            let of_first = count.min(first.len());
            first.advance(of_first);
            self.waiting_bytes -= of_first;
            count -= of_first;
            if !first.is_empty() {
                return;
            }
            self.waiting.pop_front();
        }
        self.last.advance(count);
    }

    /// A wait for the other end is bounded.
    fn watch<T>(&mut self, cx: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<Result<T, WireError>> {
        if let Poll::Ready(done) = step {
            self.stalled = None;
            return Poll::Ready(done.map_err(Into::into));
        }
        let Some(idle) = self.idle else { return Poll::Pending };
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(WireError::WriteStalled(idle)))
    }
}

fn wrong_length() -> WireError {
    WireError::Source(io::Error::other("the stored body has another length than recorded"))
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").field("coding", &self.coding).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Counts the writes of a message to a stream with room for all of it, which takes several slices or one; gives what was written.
    async fn written(body: Body, to_end: bool, slices: bool) -> (Result<(), WireError>, usize, Vec<u8>) {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let mut counted = Counted(client, 0, slices);
        let mut sending = Sending::new(b"H\r\n\r\n"[..].into(), body, to_end, None);
        let result = std::future::poll_fn(|cx| sending.poll(&mut counted, cx)).await;
        let count = counted.1;
        drop(counted);
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).await.expect("read");
        (result, count, bytes)
    }

    struct Counted(tokio::io::DuplexStream, usize, bool);

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_write(cx, buf)
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.as_mut().poll_write(cx, &all)
        }
        fn is_write_vectored(&self) -> bool {
            self.2
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn pieces(pieces: &[&'static [u8]]) -> Pieces {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
        stream::iter(pieces).boxed()
    }

    #[tokio::test]
    async fn what_is_here_whole_is_one_write() {
        static LARGER: [u8; 10_000] = [b'x'; 10_000];
        let larger = [b"H\r\n\r\n1\r\na\r\n2710\r\n", &LARGER[..], b"\r\n2\r\nbc\r\n0\r\n\r\n"].concat();
        for slices in [false, true] {
            let counted = Body::Stream { length: 3, stream: pieces(&[b"a", b"bc"]) };
            let chunks = Body::Pieces(pieces(&[b"a", b"", b"bc"]));
            let to_end = Body::Pieces(pieces(&[b"a", b"bc"]));
            let cases: [(&str, Body, bool, &[u8]); 7] = [
                ("nothing", Body::Empty, false, b"H\r\n\r\n"),
                ("bytes", Body::Bytes("abc".into()), false, b"H\r\n\r\nabc"),
                ("a length", counted, false, b"H\r\n\r\nabc"),
                ("chunks", chunks, false, b"H\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
                ("a larger chunk", Body::Pieces(pieces(&[b"a", &LARGER, b"bc"])), false, &larger),
                ("no chunk", Body::Pieces(pieces(&[])), false, b"H\r\n\r\n0\r\n\r\n"),
                ("to the end", to_end, true, b"H\r\n\r\nabc"),
            ];
            for (name, body, to_end, expected) in cases {
                let (result, writes, bytes) = written(body, to_end, slices).await;
                result.expect(name);
                assert!(bytes == expected, "{name}");
                assert_eq!(writes, 1, "{name}, in slices: {slices}");
            }
        }
    }

    #[tokio::test]
    async fn large_pieces_keep_their_place() {
        static LARGE: [u8; 100_000] = [b'x'; 100_000];
        let expected = [
            &b"H\r\n\r\n1\r\na\r\n186a0\r\n"[..],
            &LARGE,
            b"\r\n1\r\nb\r\n186a0\r\n",
            &LARGE,
            b"\r\n0\r\n\r\n",
        ];
        for slices in [false, true] {
            let body = Body::Pieces(pieces(&[b"a", &LARGE, b"b", &LARGE]));
            let (result, _, bytes) = written(body, false, slices).await;
            result.expect("written");
            assert!(bytes == expected.concat());
            let (result, _, bytes) = written(Body::Bytes(Bytes::from_static(&LARGE)), false, slices).await;
            result.expect("written");
            assert!(bytes == [b"H\r\n\r\n", &LARGE[..]].concat());
        }
    }

    #[tokio::test]
    async fn a_body_of_another_length_or_one_that_breaks_off_is_no_message() {
        for length in [2, 4] {
            let body = Body::Stream { length, stream: pieces(&[b"a", b"bc"]) };
            assert!(written(body, false, true).await.0.is_err(), "{length}");
        }
        let cut = stream::iter([Ok(Bytes::from("a")), Err(io::ErrorKind::ConnectionAborted.into())]).boxed();
        let (result, _, bytes) = written(Body::Pieces(cut), false, true).await;
        assert!(result.is_err() && !bytes.ends_with(b"0\r\n\r\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up_and_a_body_that_waits_is_not() {
        let idle = Some(Duration::from_secs(30));
        let (mut client, _server) = tokio::io::duplex(16);
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 1000]))).boxed();
        let mut sending = Sending::new(BytesMut::new(), Body::Pieces(endless), false, idle);
        let found = std::future::poll_fn(|cx| sending.poll(&mut client, cx)).await;
        assert!(matches!(found, Err(WireError::WriteStalled(_))), "{found:?}");

        let (mut client, _server) = tokio::io::duplex(16);
        let mut sending = Sending::new(BytesMut::new(), Body::Pieces(stream::pending().boxed()), false, idle);
        let waiting = std::future::poll_fn(|cx| sending.poll(&mut client, cx));
        assert!(tokio::time::timeout(Duration::from_secs(3600), waiting).await.is_err());
    }

    /// However much the body has, no more than the room is taken of it.
    #[tokio::test]
    async fn a_slow_reader_slows_the_body() {
        let (mut client, _server) = tokio::io::duplex(1000);
        let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counting = taken.clone();
        let endless = stream::repeat_with(move || {
            counting.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
            Ok(Bytes::from_static(&[0; 1000]))
        });
        let mut sending = Sending::new(BytesMut::new(), Body::Pieces(endless.boxed()), false, None);
        assert!(std::future::poll_fn(|cx| sending.poll(&mut client, cx)).now_or_never().is_none());
        assert!(taken.load(std::sync::atomic::Ordering::Relaxed) <= 2 * GATHER_BYTES);
    }
}
