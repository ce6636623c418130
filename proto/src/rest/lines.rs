//! The syntax of a header part: its lines, and what may stand in them.
use std::fmt;

use bytes::Bytes;

use super::{CONNECTION_HEADERS, RestError};

/// Room that is made for lines at once.
const USUAL_LINES: usize = 16;

/// Header lines of a part in order, names and values as the signed bytes have them: where they stand in these bytes.
#[derive(Clone)]
pub struct Headers {
    part: Bytes,
    lines: Vec<Line>,
}

/// Where a line begins, has its colon, and ends.
#[derive(Clone, Copy)]
struct Line {
    start: usize,
    colon: usize,
    end: usize,
}

impl Headers {
    /// Name and value of each line.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + DoubleEndedIterator {
        let part = std::str::from_utf8(&self.part).expect("it was read as UTF-8");
        self.lines.iter().map(move |line| (&part[line.start..line.colon], &part[line.colon + 1..line.end]))
    }
    /// As [`Headers::iter`], cut out of the part.
    pub(super) fn slices(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        let cut = |line: &Line| {
            (self.part.slice(line.start..line.colon), self.part.slice(line.colon + 1..line.end))
        };
        self.lines.iter().map(cut)
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
    /// The last one with this name, compared without case.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        self.iter().rfind(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The lines of a part, without their ends. Only the last may lack its own.
pub(super) struct Lines<'a> {
    part: &'a Bytes,
    text: &'a str,
    /// Where the next line begins.
    at: usize,
}

impl<'a> Lines<'a> {
    /// Over a whole part.
    ///
    /// # Errors
    /// Bytes that are not UTF-8, a CR or LF that is not part of a line end, any other control character but tab.
    pub(super) fn new(part: &'a Bytes) -> Result<Self, RestError> {
        let text = std::str::from_utf8(part).map_err(|_| RestError::Syntax("bytes that are not UTF-8"))?;
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' if bytes.next() == Some(b'\n') => {}
                b'\r' | b'\n' => return Err(RestError::Syntax("half a line end")),
                byte if is_control(byte) => return Err(RestError::Syntax("a control character")),
                _ => {}
            }
        }
        Ok(Self { part, text, at: 0 })
    }

    /// One of the first two lines.
    pub(super) fn first(&mut self, what: &'static str) -> Result<&'a str, RestError> {
        self.next().ok_or(RestError::Incomplete(what))
    }

    /// All lines that are left, as headers.
    pub(super) fn headers(mut self) -> Result<Headers, RestError> {
        let mut lines = Vec::with_capacity(USUAL_LINES);
        loop {
            let start = self.at;
            let Some(line) = self.next() else { break };
            let name = line.find(':').ok_or(RestError::Incomplete("the colon of a header"))?;
            check_name(&line[..name])?;
            if let Some(forbidden) = connection_header(&line[..name]) {
                return Err(RestError::ForbiddenHeader(forbidden));
            }
            lines.push(Line { start, colon: start + name, end: start + line.len() });
        }
        Ok(Headers { part: self.part.clone(), lines })
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\r\n");
        self.at += end.map_or(rest.len(), |end| end + 2);
        Some(&rest[..end.unwrap_or(rest.len())])
    }
}

/// The name of a header that never travels in a message.
pub(super) fn connection_header(name: &str) -> Option<&'static str> {
    CONNECTION_HEADERS.into_iter().find(|header| header.eq_ignore_ascii_case(name))
}

/// `token` of RFC 9110 §5.6.2.
pub(super) fn check_name(name: &str) -> Result<(), RestError> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.is_empty() && name.bytes().all(token) { Ok(()) } else { Err(RestError::HeaderName) }
}

/// Adds one line. `value` is what an information system sent: ISO-8859-1, blanks around it dropped.
pub(super) fn push_latin1(part: &mut String, name: &str, value: &[u8]) -> Result<(), RestError> {
    check_name(name)?;
    let value = trim_blanks(value);
    if value.iter().copied().any(is_control) {
        return Err(RestError::Syntax("a control character"));
    }
    part.push_str(name);
    part.push(':');
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => part.push_str(text),
        _ => part.extend(value.iter().map(|b| char::from(*b))),
    }
    part.push_str("\r\n");
    Ok(())
}

/// Adds one line of our own.
pub(super) fn push(part: &mut String, name: &str, value: &str) -> Result<(), RestError> {
    if value.bytes().any(is_control) {
        return Err(RestError::Syntax("a control character"));
    }
    for piece in [name, ":", value, "\r\n"] {
        part.push_str(piece);
    }
    Ok(())
}

/// Adds one line whose value `write` adds: an identifier, in which every control character is escaped.
pub(super) fn push_with(part: &mut String, name: &str, write: impl FnOnce(&mut String)) {
    part.push_str(name);
    part.push(':');
    write(part);
    part.push_str("\r\n");
}

/// Without the blanks that HTTP allows around a value.
pub(super) fn trim_blanks(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    &value[start..end]
}

/// Tab apart, controls of ASCII; those beyond travel as the two bytes of UTF-8 that they are.
pub(super) fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}
