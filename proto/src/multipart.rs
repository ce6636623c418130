//! Streaming MIME multipart (RFC 2046 §5.1) without I/O: bytes go in, events come out, part bytes are never changed.
//!
//! Lenient where the reference's parser is: LF for CRLF, a preamble, an epilogue, white space after a
//! delimiter, folded header lines, header lines without colon, an end without delimiter. The line break before a delimiter belongs
//! to it. Bounded everywhere by [`Limits`].
//!
//! Part bytes leave as slices of the chunks that came in. Only what may be a delimiter, where it straddles two chunks, is copied,
//! so the work is linear in the input for every way to cut it. One level only: a nested multipart is read by a second [`Decoder`]
//! fed with the outer part's data, or by [`Leaves`], which opens all levels. Transfer encodings are never decoded.
use bytes::Bytes;

use crate::media_type;

mod head;
mod leaves;
mod scan;

use head::HeadBuffer;
pub use head::PartHead;
pub use leaves::Leaves;
use scan::{Scan, Scanner};

/// Longest boundary that we read; RFC 2046 has 70.
const MAX_BOUNDARY_BYTES: usize = 200;

/// Bounds on what a peer may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most parts in one multipart.
    pub parts: usize,
    /// Longest header line, as the reference: 1000.
    pub header_line_bytes: usize,
    /// Most bytes of headers in one part.
    pub header_bytes: usize,
    /// Most bytes outside of parts: before the first delimiter, or after the closing one of a nested multipart.
    pub outside_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { parts: 10_000, header_line_bytes: 1000, header_bytes: 64 << 10, outside_bytes: 64 << 10 }
    }
}

/// What the decoder found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Head(PartHead),
    /// Bytes of the current part, exactly as sent; never empty.
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
    /// Too much that belongs to no part.
    #[error("more than {limit} bytes lie outside of the parts")]
    Outside {
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
    scanner: Scanner,
    limits: Limits,
    parts: usize,
    outside: usize,
    /// Of the part that begins.
    head: HeadBuffer,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Before the first delimiter.
    Preamble,
    /// In the headers of a part.
    Head,
    /// In the content of a part; its first bytes may have come with the headers.
    Body(Bytes),
    /// The content has ended, nobody was told yet.
    PartEnd(Next),
    /// The last part was told, the end was not.
    End { closed: bool },
    /// Nothing more to tell; input is dropped.
    Done,
}

/// What ended a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Part,
    Close,
    InputEnd,
}

impl Decoder {
    /// For the body of a message with this `Content-Type` value.
    ///
    /// # Errors
    /// [`MultipartError::Boundary`].
    pub fn new(content_type: &str, limits: Limits) -> Result<Self, MultipartError> {
        let boundary = media_type::parameter(content_type, "boundary").ok_or(MultipartError::Boundary)?;
        let usable =
            (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len()) && !boundary.contains(char::is_control);
        if !usable || boundary.ends_with(' ') {
            return Err(MultipartError::Boundary);
        }
        let scanner = Scanner::new(boundary.as_bytes(), limits.header_line_bytes);
        let head = HeadBuffer::default();
        Ok(Self { scanner, limits, parts: 0, outside: 0, head, stage: Stage::Preamble })
    }

    /// More input. What follows [`Event::End`] is only counted.
    pub fn feed(&mut self, chunk: Bytes) {
        if matches!(self.stage, Stage::Done) {
            self.outside = self.outside.saturating_add(chunk.len());
        } else {
            self.scanner.feed(chunk);
        }
    }

    /// There is no more input.
    pub fn finish(&mut self) {
        self.scanner.finish();
    }

    /// The next event, or `None` when more input is needed (or [`Event::End`] was given).
    ///
    /// # Errors
    /// A broken rule; the decoder is of no use afterwards.
    pub fn poll(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            match &mut self.stage {
                Stage::Preamble => match self.scanner.next() {
                    Scan::Data(data) => {
                        self.outside = self.outside.saturating_add(data.len());
                        self.check_outside()?;
                    }
                    Scan::Delimiter { close } => self.begin(if close { Next::Close } else { Next::Part })?,
                    Scan::End => self.begin(Next::InputEnd)?,
                    Scan::More => return Ok(None),
                },
                Stage::Head => {
                    let (rest, next) = match self.scanner.next() {
                        Scan::Data(mut data) => match self.head.take(&mut data, &self.limits)? {
                            true => (data, None),
                            false => continue,
                        },
                        Scan::Delimiter { close } => {
                            (Bytes::new(), Some(if close { Next::Close } else { Next::Part }))
                        }
                        Scan::End => {
                            // Headers without an end are no part.
                            self.stage = Stage::End { closed: false };
                            continue;
                        }
                        Scan::More => return Ok(None),
                    };
                    let head = self.head.parse();
                    self.stage = next.map_or(Stage::Body(rest), Stage::PartEnd);
                    return Ok(Some(Event::Head(head)));
                }
                Stage::Body(ready) if !ready.is_empty() => {
                    return Ok(Some(Event::Data(std::mem::take(ready))));
                }
                Stage::Body(_) => {
                    let next = match self.scanner.next() {
                        Scan::Data(data) => return Ok(Some(Event::Data(data))),
                        Scan::Delimiter { close: true } => Next::Close,
                        Scan::Delimiter { close: false } => Next::Part,
                        Scan::End => Next::InputEnd,
                        Scan::More => return Ok(None),
                    };
                    self.stage = Stage::PartEnd(next);
                }
                Stage::PartEnd(next) => {
                    let next = *next;
                    self.begin(next)?;
                    return Ok(Some(Event::PartEnd { delimited: next != Next::InputEnd }));
                }
                Stage::End { closed } => {
                    let closed = *closed;
                    self.stage = Stage::Done;
                    self.scanner = Scanner::new(b"", 0);
                    return Ok(Some(Event::End { closed }));
                }
                Stage::Done => return self.check_outside().map(|()| None),
            }
        }
    }

    fn check_outside(&self) -> Result<(), MultipartError> {
        let limit = self.limits.outside_bytes;
        if self.outside > limit { Err(MultipartError::Outside { limit }) } else { Ok(()) }
    }

    fn begin(&mut self, next: Next) -> Result<(), MultipartError> {
        self.stage = match next {
            Next::Part => {
                self.parts += 1;
                if self.parts > self.limits.parts {
                    return Err(MultipartError::Parts { limit: self.limits.parts });
                }
                self.head.clear();
                Stage::Head
            }
            Next::Close => Stage::End { closed: true },
            Next::InputEnd => Stage::End { closed: false },
        };
        Ok(())
    }
}

/// Looks for a delimiter where there must be none: in the bytes of one part that is to stand between delimiters again.
#[derive(Debug)]
pub struct Watch(Scanner);

impl Watch {
    /// For delimiters with this boundary.
    pub fn new(boundary: &str) -> Self {
        Self(Scanner::new(boundary.as_bytes(), usize::MAX))
    }
    /// Takes the next bytes of the part; `true` when they complete a delimiter.
    pub fn finds(&mut self, data: Bytes) -> bool {
        self.0.feed(data);
        self.scan()
    }
    /// The part is complete; `true` when its end is a delimiter.
    pub fn finds_at_end(&mut self) -> bool {
        self.0.finish();
        self.scan()
    }
    fn scan(&mut self) -> bool {
        loop {
            match self.0.next() {
                Scan::Data(_) => {}
                Scan::Delimiter { .. } => return true,
                Scan::More | Scan::End => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests;
