//! A socket below TLS that is read in large pieces.
//!
//! TLS libraries ask for a few kilobytes at a time, or for a record's header and then for the rest of it: five reads of the system for
//! one message, and five for every record of a large one. Here a read takes all that the socket has, up to [`SCRATCH_BYTES`]; what the
//! library did not ask for yet waits in a buffer of just its size, which is given back when it is empty. While much comes ([`MUCH`])
//! the connection has a buffer of its own instead, which saves a copy, until it has to wait: a connection that waits holds nothing.
//! What was read of a ClientHello before the library was chosen comes first.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Most bytes of one read: four records.
const SCRATCH_BYTES: usize = 64 * 1024;

/// A read that has found more will be followed by others.
const MUCH: usize = SCRATCH_BYTES / 2;

thread_local! {
    /// Where a read puts what it finds; nothing stays in it from one call to the next.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// A stream that is read ahead of whoever reads it.
#[derive(Debug)]
pub struct ReadAhead<S> {
    ahead: BytesMut,
    /// The last read has found [`MUCH`].
    busy: bool,
    socket: S,
}

impl<S> ReadAhead<S> {
    /// Nothing was read so far.
    pub(super) fn new(socket: S) -> Self {
        Self::with(Bytes::new(), socket)
    }
    /// `first` was read of it already and comes again.
    pub(super) fn with(first: Bytes, socket: S) -> Self {
        Self { ahead: first.into(), busy: false, socket }
    }
    /// The stream below.
    pub(super) fn get_ref(&self) -> &S {
        &self.socket
    }

    /// As much as `buf` takes of what was read ahead.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        if self.ahead.is_empty() && !self.busy {
            self.ahead = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    /// Into the connection's own buffer, which is empty.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.reserve(SCRATCH_BYTES);
        // A read holds nothing between two polls.
        let read = pin!(self.socket.read_buf(&mut self.ahead)).poll(cx);
        let found = read.map_ok(|count| self.busy = count > MUCH);
        if !matches!(found, Poll::Ready(Ok(()))) {
            (self.ahead, self.busy) = (BytesMut::new(), false);
        }
        found
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            self.give(buf);
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= SCRATCH_BYTES {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        if self.busy {
            ready!(self.poll_own(cx))?;
            self.give(buf);
            return Poll::Ready(Ok(()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut found = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut found))?;
            let (now, later) = found.filled().split_at(found.filled().len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                self.ahead = later.into();
            }
            self.busy = now.len() + later.len() > MUCH;
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// What the HTTP library asks of a connector's stream.
impl<S: Connection> Connection for ReadAhead<S> {
    fn connected(&self) -> Connected {
        self.socket.connected()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Counts what it is asked for.
    struct Counted<S>(S, usize);

    impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[tokio::test]
    async fn one_read_below_serves_many_above_and_nothing_is_lost() {
        let sent: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        for size in [1, 5, 4096, SCRATCH_BYTES, 2 * SCRATCH_BYTES] {
            let (mut client, server) = tokio::io::duplex(sent.len());
            client.write_all(&sent).await.unwrap();
            drop(client);
            let mut stream = ReadAhead::with(Bytes::from_static(b"first"), Counted(server, 0));
            let (mut read, mut piece) = (Vec::new(), vec![0; size]);
            loop {
                match stream.read(&mut piece).await.unwrap() {
                    0 => break,
                    count => read.extend_from_slice(&piece[..count]),
                }
            }
            assert_eq!(read, [b"first", &sent[..]].concat(), "in pieces of {size}");
            // Four full pieces and the end.
            assert!(stream.socket.1 <= 5, "{} reads for pieces of {size}", stream.socket.1);
            assert!(stream.ahead.capacity() == 0, "a connection that has ended, or waits, holds nothing");
        }
    }
}
