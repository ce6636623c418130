//! Streaming MIME multipart (RFC 2046 §5.1) without I/O: bytes go in, events come out, part bytes are never changed.
//!
//! Lenient where the reference's parser is (wire dossier §6.3), bounded everywhere by [`Limits`]. One level; a nested multipart
//! is read by a second [`Decoder`] fed with the outer part's data.
use bytes::Bytes;

/// Bounds on what a peer may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most parts in one multipart.
    pub parts: usize,
    /// Longest header line, as the reference: 1000.
    pub header_line_bytes: usize,
    /// Most bytes of headers in one part.
    pub header_bytes: usize,
}

/// Headers of one part, in order, names as written, values unfolded and trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// Name and value.
    pub headers: Vec<(String, String)>,
}

impl PartHead {
    /// First value of a header, compared without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// What the decoder found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Head(PartHead),
    /// Bytes of the current part, exactly as sent.
    Data(Bytes),
    /// The current part ended. `false` when the input ended without a delimiter.
    PartEnd {
        /// A delimiter closed it.
        delimited: bool,
    },
    /// The closing delimiter was read, or the input ended.
    End {
        /// The closing delimiter was there.
        closed: bool,
    },
}

/// Why the input is no multipart we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// No usable `boundary` parameter.
    #[error("the content type has no usable boundary")]
    Boundary,
    /// A header line over the limit.
    #[error("a part header line is longer than {limit} bytes")]
    HeaderLine {
        /// The bound.
        limit: usize,
    },
    /// Too many header bytes in a part.
    #[error("the headers of a part are longer than {limit} bytes")]
    HeaderBytes {
        /// The bound.
        limit: usize,
    },
    /// Too many parts.
    #[error("more than {limit} parts")]
    Parts {
        /// The bound.
        limit: usize,
    },
}

/// The state machine. Feed it, then poll until it says `None`.
#[derive(Debug)]
pub struct Decoder {
    _private: (),
}

impl Decoder {
    /// For the body of a message with this `Content-Type` value.
    ///
    /// # Errors
    /// [`MultipartError::Boundary`].
    pub fn new(content_type: &str, limits: Limits) -> Result<Self, MultipartError> {
        let _ = (content_type, limits);
        todo!()
    }
    /// More input.
    pub fn feed(&mut self, chunk: Bytes) {
        let _ = chunk;
        todo!()
    }
    /// There is no more input.
    pub fn finish(&mut self) {
        todo!()
    }
    /// The next event, or `None` when more input is needed (or [`Event::End`] was given).
    ///
    /// # Errors
    /// A broken rule; the decoder is of no use afterwards.
    pub fn poll(&mut self) -> Result<Option<Event>, MultipartError> {
        todo!()
    }
}
