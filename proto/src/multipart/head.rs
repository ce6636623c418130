//! The headers of one part: collected line by line, then parsed once.
use std::borrow::Cow;

use bytes::{Buf, Bytes};

use super::{Limits, MultipartError};

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
    /// The part's `Content-Type`; `text/plain` when it says none (RFC 2045 §5.2).
    pub fn content_type(&self) -> &str {
        self.get("content-type").unwrap_or("text/plain")
    }
    /// The part's `Content-Type`; that of any bytes when it says none.
    pub fn content_type_or_binary(&self) -> &str {
        self.get("content-type").unwrap_or("application/octet-stream")
    }
}

/// What may stand around a value.
const BLANKS: [char; 2] = [' ', '\t'];
/// Room for the headers of most parts.
const USUAL_BYTES: usize = 256;

/// Header lines so far, line ends included.
#[derive(Debug, Default)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
    /// Where the line begins that is not complete yet.
    line: usize,
}

impl HeadBuffer {
    /// For the next part.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.line = 0;
    }

    /// Takes lines off the front of `data`; `true` once the empty line that ends the headers was taken.
    pub(super) fn take(&mut self, data: &mut Bytes, limits: &Limits) -> Result<bool, MultipartError> {
        while !data.is_empty() {
            let end = memchr::memchr(b'\n', data);
            let count = end.map_or(data.len(), |at| at + 1);
            // Measured before it is copied: an endless line costs no more than its limit.
            let line_end = usize::from(end.is_some());
            if self.bytes.len() - self.line + count - line_end > limits.header_line_bytes + 1 {
                return Err(MultipartError::HeaderLine { limit: limits.header_line_bytes });
            }
            if self.bytes.len() + count > limits.header_bytes {
                return Err(MultipartError::HeaderBytes { limit: limits.header_bytes });
            }
            if self.bytes.capacity() == 0 {
                self.bytes.reserve(USUAL_BYTES);
            }
            self.bytes.extend_from_slice(&data[..count]);
            data.advance(count);
            if end.is_some() {
                let line = without_line_end(&self.bytes[self.line..]);
                if line.len() > limits.header_line_bytes {
                    return Err(MultipartError::HeaderLine { limit: limits.header_line_bytes });
                }
                if line.is_empty() {
                    return Ok(true);
                }
                self.line = self.bytes.len();
            }
        }
        Ok(false)
    }

    /// The headers; lines without a colon are passed over, as is a continuation of nothing.
    pub(super) fn parse(&self) -> PartHead {
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut open = false;
        for line in self.bytes.split_inclusive(|b| *b == b'\n').map(without_line_end) {
            if line.first().is_some_and(is_blank) {
                if let (true, Some((_, value))) = (open, headers.last_mut()) {
                    value.extend(line.iter().map(|b| char::from(*b)));
                }
                continue;
            }
            let colon = memchr::memchr(b':', line).filter(|at| *at > 0);
            open = colon.is_some();
            if let Some(at) = colon {
                let value = &line[at + 1..];
                let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
                headers.push((latin1(&line[..at]).trim().to_owned(), latin1(&value[start..]).into_owned()));
            }
        }
        for (_, value) in &mut headers {
            let trimmed = value.trim_matches(BLANKS);
            if trimmed.len() != value.len() {
                *value = trimmed.to_owned();
            }
        }
        PartHead { headers }
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Header bytes are ISO-8859-1.
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().map(|b| char::from(*b)).collect()),
    }
}
