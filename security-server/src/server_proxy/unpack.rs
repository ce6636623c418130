//! Answers of services that come compressed: unpacked as the reference does, since the signed body is the plain one.
//!
//! `gzip`, `x-gzip` and `deflate` (with or without the zlib frame). Output comes in small steps, so that memory stays flat however
//! much a packed byte becomes; beyond [`FREE_BYTES`] the whole may be at most [`RATIO`] times its input.

use std::io::Write;

use bytes::{Buf, Bytes};
use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};

/// Output that may come of any input.
const FREE_BYTES: u64 = 4 << 20;
/// Most output per input beyond that.
const RATIO: u64 = 300;
/// Input taken per step: at deflate's best it becomes a megabyte.
const STEP_BYTES: usize = 1024;

/// Why a packed body cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is not what its head says.
    #[error("the compressed body cannot be unpacked: {0}")]
    Broken(#[from] std::io::Error),
    /// It becomes too much.
    #[error("the compressed body becomes more than {RATIO} times its size")]
    Ratio,
}

/// Unpacks one body.
#[derive(Debug)]
pub struct Unpacker {
    coder: Coder,
    input: Bytes,
    taken: u64,
    given: u64,
}

#[derive(Debug)]
enum Coder {
    Gzip(Box<GzDecoder<Vec<u8>>>),
    /// `deflate` before its first two bytes, which tell the two forms apart.
    Undecided(Vec<u8>),
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
    Raw(Box<DeflateDecoder<Vec<u8>>>),
}

impl Unpacker {
    /// For a body with this `Content-Encoding`; `None` when it passes as it is.
    pub fn new(content_encoding: &[u8]) -> Option<Self> {
        let coder = match content_encoding.trim_ascii().to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Coder::Gzip(Box::new(GzDecoder::new(Vec::new()))),
            b"deflate" => Coder::Undecided(Vec::new()),
            _ => return None,
        };
        Some(Self { coder, input: Bytes::new(), taken: 0, given: 0 })
    }
    /// More packed bytes, once [`Self::step`] has nothing left.
    pub fn feed(&mut self, input: Bytes) {
        self.input = input;
    }
    /// The next plain bytes; `None` when more input is needed.
    ///
    /// # Errors
    /// [`UnpackError`].
    pub fn step(&mut self) -> Result<Option<Bytes>, UnpackError> {
        while !self.input.is_empty() {
            let piece = self.input.split_to(self.input.len().min(STEP_BYTES));
            self.taken += piece.len() as u64;
            self.coder.write(&piece)?;
            let plain = self.coder.take_output();
            self.given += plain.len() as u64;
            if self.given > FREE_BYTES && self.given > self.taken.saturating_mul(RATIO) {
                return Err(UnpackError::Ratio);
            }
            if !plain.is_empty() {
                return Ok(Some(plain.into()));
            }
        }
        Ok(None)
    }
    /// The input ended; what is left of the output.
    ///
    /// # Errors
    /// It ended too early.
    pub fn finish(&mut self) -> Result<Option<Bytes>, UnpackError> {
        if self.taken == 0 {
            return Ok(None);
        }
        self.coder.finish()?;
        let plain = self.coder.take_output();
        Ok((!plain.is_empty()).then(|| plain.into()))
    }
}

impl Coder {
    fn write(&mut self, mut piece: &[u8]) -> std::io::Result<()> {
        if let Self::Undecided(begun) = self {
            begun.extend_from_slice(piece);
            let [first, second, ..] = begun[..] else { return Ok(()) };
            let whole = Bytes::from(std::mem::take(begun));
            // The zlib header: method 8, and a checksum over both bytes [RFC 1950 §2.2].
            let zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
            *self = if zlib {
                Self::Zlib(Box::new(ZlibDecoder::new(Vec::new())))
            } else {
                Self::Raw(Box::new(DeflateDecoder::new(Vec::new())))
            };
            return self.write(whole.chunk());
        }
        while !piece.is_empty() {
            let n = match self {
                Self::Gzip(coder) => coder.write(piece)?,
                Self::Zlib(coder) => coder.write(piece)?,
                Self::Raw(coder) => coder.write(piece)?,
                Self::Undecided(_) => 0,
            };
            // Bytes after the end of the packed data say nothing.
            if n == 0 {
                return Ok(());
            }
            piece = &piece[n..];
        }
        Ok(())
    }
    fn finish(&mut self) -> std::io::Result<()> {
        match self {
            Self::Gzip(coder) => coder.try_finish(),
            Self::Zlib(coder) => coder.try_finish(),
            Self::Raw(coder) => coder.try_finish(),
            Self::Undecided(_) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
    fn take_output(&mut self) -> Vec<u8> {
        match self {
            Self::Gzip(coder) => std::mem::take(coder.get_mut()),
            Self::Zlib(coder) => std::mem::take(coder.get_mut()),
            Self::Raw(coder) => std::mem::take(coder.get_mut()),
            // What was collected is input.
            Self::Undecided(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn packed(encoding: &str, plain: &[u8]) -> Vec<u8> {
        let level = Compression::best();
        match encoding {
            "zlib" => {
                let mut coder = ZlibEncoder::new(Vec::new(), level);
                coder.write_all(plain).and_then(|()| coder.finish()).expect("packed")
            }
            "raw" => {
                let mut coder = DeflateEncoder::new(Vec::new(), level);
                coder.write_all(plain).and_then(|()| coder.finish()).expect("packed")
            }
            _ => {
                let mut coder = GzEncoder::new(Vec::new(), level);
                coder.write_all(plain).and_then(|()| coder.finish()).expect("packed")
            }
        }
    }

    fn unpack(encoding: &str, pieces: &[&[u8]]) -> Result<Vec<u8>, UnpackError> {
        let mut unpacker = Unpacker::new(encoding.as_bytes()).expect("a known coding");
        let mut plain = Vec::new();
        for piece in pieces {
            unpacker.feed(Bytes::copy_from_slice(piece));
            while let Some(bytes) = unpacker.step()? {
                plain.extend_from_slice(&bytes);
            }
        }
        plain.extend(unpacker.finish()?.into_iter().flatten());
        Ok(plain)
    }

    #[test]
    fn unpacks_every_form_however_it_arrives() {
        let plain = b"hello hello hello, from the provider information system".repeat(100);
        for (encoding, form) in
            [("gzip", "gzip"), ("X-GZIP", "gzip"), ("deflate", "zlib"), ("deflate", "raw")]
        {
            let whole = packed(form, &plain);
            assert_eq!(unpack(encoding, &[&whole]).expect(form), plain, "{encoding} {form}");
            let single: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(unpack(encoding, &single).expect(form), plain, "{encoding} {form}, byte by byte");
        }
        assert_eq!(unpack("gzip", &[]).expect("nothing"), b"");
        assert!(Unpacker::new(b"br").is_none() && Unpacker::new(b"identity").is_none());
        let trailing = [packed("gzip", &plain), b"trailing".to_vec()].concat();
        assert_eq!(unpack("gzip", &[&trailing]).expect("trailing bytes"), plain);
    }

    #[test]
    fn refuses_what_is_broken_or_becomes_too_much() {
        let plain = b"hello".repeat(1000);
        let gzip = packed("gzip", &plain);
        assert!(unpack("gzip", &[&gzip[..gzip.len() - 4]]).is_err(), "cut off");
        assert!(unpack("gzip", &[b"not gzip at all"]).is_err(), "something else");
        assert!(unpack("deflate", &[b"x"]).is_err(), "one byte");
        let bomb = packed("gzip", &vec![0; 64 << 20]);
        assert!(matches!(unpack("gzip", &[&bomb]), Err(UnpackError::Ratio)));
        let fine = packed("gzip", &vec![0; 2 << 20]);
        assert_eq!(unpack("gzip", &[&fine]).expect("a small one may be all zeros").len(), 2 << 20);
    }
}
