//! The syntax of a header part: its lines, and what may stand in them.
use super::{CONNECTION_HEADERS, Headers, RestError};

/// The lines of a part, without their ends. Only the last may lack its own.
pub(super) struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    /// Over a whole part.
    ///
    /// # Errors
    /// Bytes that are not UTF-8, a CR or LF that is not part of a line end, any other control character but tab.
    pub(super) fn new(raw: &'a [u8]) -> Result<Self, RestError> {
        let rest = std::str::from_utf8(raw).map_err(|_| RestError::Syntax("bytes that are not UTF-8"))?;
        let mut bytes = rest.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' if bytes.next() == Some(b'\n') => {}
                b'\r' | b'\n' => return Err(RestError::Syntax("half a line end")),
                byte if is_control(byte) => return Err(RestError::Syntax("a control character")),
                _ => {}
            }
        }
        Ok(Self { rest })
    }

    /// One of the first two lines.
    pub(super) fn first(&mut self, what: &'static str) -> Result<&'a str, RestError> {
        self.next().ok_or(RestError::Incomplete(what))
    }

    /// All lines that are left, as headers.
    pub(super) fn headers(self) -> Result<Headers, RestError> {
        self.map(|line| {
            let (name, value) = line.split_once(':').ok_or(RestError::Incomplete("the colon of a header"))?;
            check_name(name)?;
            match connection_header(name) {
                Some(forbidden) => Err(RestError::ForbiddenHeader(forbidden)),
                None => Ok((name.to_owned(), value.to_owned())),
            }
        })
        .collect()
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once("\r\n").unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(line)
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
