//! Bodies of HTTP/1.1 messages without I/O: bytes in, data out, the end found [RFC 9112 §6, §7].
//!
//! Chunk extensions and trailers are read and dropped, within bounds. Data is handed on in the buffers it arrived in.

use bytes::{Buf, Bytes, BytesMut};

use super::head::Framing;

/// Longest chunk-size line and all trailers together, bytes.
const LINE_BYTES: usize = 4096;
const TRAILER_BYTES: usize = 8192;

/// Why a body cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Chunked coding that is none.
    #[error("the chunked coding is broken: {0}")]
    Chunked(&'static str),
    /// The connection ended inside the body.
    #[error("the body ended before its announced length")]
    Truncated,
}

/// What the decoder has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes of the body.
    Data(Bytes),
    /// More input is needed.
    More,
    /// The body is complete.
    End,
}

/// Finds the bytes of one body.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes are left.
    Counted(u64),
    ToEnd,
    ChunkSize,
    /// So many bytes of a chunk are left.
    ChunkData(u64),
    /// The CRLF after a chunk.
    ChunkEnd,
    /// Trailer lines; so many bytes were taken.
    Trailer(usize),
    Done,
}

impl BodyDecoder {
    /// For a body framed so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(n) => State::Counted(n),
            Framing::Chunked => State::ChunkSize,
            Framing::ToEnd => State::ToEnd,
        };
        Self { state }
    }
    /// Nothing more belongs to the body.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Counted(0))
    }

    /// Takes what it can from `buf`. `ended`: nothing will follow.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(&mut self, buf: &mut BytesMut, ended: bool) -> Result<Step, BodyError> {
        loop {
            match self.state {
                State::Done | State::Counted(0) => {
                    self.state = State::Done;
                    return Ok(Step::End);
                }
                State::ToEnd if buf.is_empty() => return Ok(if ended { Step::End } else { Step::More }),
                State::ToEnd => return Ok(Step::Data(buf.split().freeze())),
                State::Counted(_) | State::ChunkData(_) if buf.is_empty() => return more(ended),
                State::Counted(left) => {
                    let data = take(buf, left);
                    self.state = State::Counted(left - data.len() as u64);
                    return Ok(Step::Data(data));
                }
                State::ChunkData(left) => {
                    let data = take(buf, left);
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(Step::Data(data));
                }
                State::ChunkSize => match line(buf, LINE_BYTES)? {
                    None => return more(ended),
                    Some(text) => {
                        let size = chunk_size(&text)?;
                        self.state = if size == 0 { State::Trailer(0) } else { State::ChunkData(size) };
                    }
                },
                State::ChunkEnd => match line(buf, 2)? {
                    None => return more(ended),
                    Some(text) if text.is_empty() => self.state = State::ChunkSize,
                    Some(_) => return Err(BodyError::Chunked("a chunk is longer than announced")),
                },
                State::Trailer(taken) => match line(buf, TRAILER_BYTES.saturating_sub(taken))? {
                    None => return more(ended),
                    Some(text) if text.is_empty() => self.state = State::Done,
                    Some(text) => self.state = State::Trailer(taken + text.len() + 2),
                },
            }
        }
    }
}

fn more(ended: bool) -> Result<Step, BodyError> {
    if ended { Err(BodyError::Truncated) } else { Ok(Step::More) }
}

fn take(buf: &mut BytesMut, at_most: u64) -> Bytes {
    let n = usize::try_from(at_most).unwrap_or(usize::MAX).min(buf.len());
    buf.split_to(n).freeze()
}

/// A line without its CRLF; `None` when it is not there yet.
fn line(buf: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, BodyError> {
    let Some(at) = memchr::memchr(b'\n', buf) else {
        return if buf.len() > limit { Err(BodyError::Chunked("a line is too long")) } else { Ok(None) };
    };
    if at >= limit.max(2) || at == 0 || buf[at - 1] != b'\r' {
        return Err(BodyError::Chunked("a line does not end in CRLF or is too long"));
    }
    let text = buf.split_to(at - 1).freeze();
    buf.advance(2);
    Ok(Some(text))
}

fn chunk_size(line: &[u8]) -> Result<u64, BodyError> {
    let digits = line.split(|&b| b == b';').next().unwrap_or_default();
    let fits = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| fits);
    text.and_then(|t| u64::from_str_radix(t, 16).ok()).ok_or(BodyError::Chunked("a chunk size is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        let (mut decoder, mut buf, mut data) = (BodyDecoder::new(framing), BytesMut::new(), Vec::new());
        let mut pieces = pieces.iter();
        let mut ended = false;
        buf.extend_from_slice(pieces.next().copied().unwrap_or_default());
        loop {
            match decoder.decode(&mut buf, ended)? {
                Step::Data(bytes) => data.extend_from_slice(&bytes),
                Step::End => return Ok((data, buf.to_vec())),
                Step::More => match pieces.next() {
                    Some(piece) => buf.extend_from_slice(piece),
                    None => ended = true,
                },
            }
        }
    }

    #[test]
    fn finds_the_end_of_every_framing() {
        let chunked = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\nNEXT";
        type Case = (&'static str, Framing, &'static [u8], &'static [u8], &'static [u8]);
        let cases: [Case; 5] = [
            ("no body", Framing::None, b"NEXT", b"", b"NEXT"),
            ("a length", Framing::Length(5), b"abcdeNEXT", b"abcde", b"NEXT"),
            ("to the end", Framing::ToEnd, b"abcde", b"abcde", b""),
            ("chunks with extension and trailer", Framing::Chunked, chunked, b"abcde", b"NEXT"),
            ("no chunks", Framing::Chunked, b"0\r\n\r\nNEXT", b"", b"NEXT"),
        ];
        for (name, framing, input, body, rest) in cases {
            let (found, left) = read(framing, &[input]).expect(name);
            assert_eq!((found.as_slice(), left.as_slice()), (body, rest), "{name}");
            // Byte by byte the same body comes out; what follows it was not fed yet.
            let single: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(read(framing, &single).expect(name).0, body, "{name}, byte by byte");
        }
    }

    #[test]
    fn refuses_broken_bodies() {
        let cases: [(&str, Framing, &[u8]); 10] = [
            ("cut length", Framing::Length(5), b"abc"),
            ("cut chunk", Framing::Chunked, b"5\r\nabc"),
            ("no last chunk", Framing::Chunked, b"3\r\nabc\r\n"),
            ("size of letters", Framing::Chunked, b"xyz\r\n"),
            ("empty size", Framing::Chunked, b"\r\n"),
            ("signed size", Framing::Chunked, b"+3\r\nabc\r\n0\r\n\r\n"),
            ("size and a space", Framing::Chunked, b"3 \r\nabc\r\n0\r\n\r\n"),
            ("chunk longer than announced", Framing::Chunked, b"3\r\nabcd\r\n0\r\n\r\n"),
            ("LF only", Framing::Chunked, b"3\nabc\n0\n\n"),
            ("size beyond 60 bits", Framing::Chunked, b"ffffffffffffffff\r\n"),
        ];
        for (name, framing, input) in cases {
            assert!(read(framing, &[input]).is_err(), "{name}");
        }
        let endless = [b"1;".as_slice(), &[b'x'; 5000]].concat();
        assert!(read(Framing::Chunked, &[&endless]).is_err(), "endless extension");
        let trailers = [b"0\r\n".as_slice(), &b"T: 1\r\n".repeat(2000)].concat();
        assert!(read(Framing::Chunked, &[&trailers]).is_err(), "endless trailers");
    }
}
