//! Heads of HTTP/1.1 messages: found, bounded, split, and their framing decided [RFC 9112 §2–§6].
//!
//! Requests, and answers of security servers, are read strictly: lines end in CRLF, no folding, no control characters, one way to
//! frame the body; requests have one `Host`. Answers of services may fold lines and end them in LF, as deployed services do. Every
//! slice of a head shares the buffer it arrived in.

use bytes::{BufMut, Bytes, BytesMut};

/// Longest request target, bytes: 414 above.
pub const TARGET_BYTES: usize = 8192;
const NOT_HTTP: &str = "the head is not HTTP/1";

/// Header lines in order of arrival; names as written, values trimmed, both as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Bytes, Bytes)>);

impl Headers {
    /// All lines.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(n, v)| (name_text(n), v.as_ref()))
    }
    /// The first value of `name`, compared without case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }
    /// The first value of `name` when it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }
    /// Every value of `name`, compared without case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v.as_ref())
    }
    /// One more line. The caller vouches for a token and a value without line ends.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }
    /// Some comma-separated element of some `name` line is `token`, compared without case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|v| elements(v).any(|e| e.eq_ignore_ascii_case(token.as_bytes())))
    }
    /// Bytes of all lines as written.
    pub fn written_len(&self) -> usize {
        self.0.iter().map(|(n, v)| n.len() + v.len() + 4).sum()
    }
    /// Number of lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// No lines.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn name_text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

/// The elements of a comma-separated list, trimmed.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii)
}

/// Whether `value` can be written behind a name: no control character but the tab.
pub fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&b| (b >= b' ' && b != 0x7f) || b == b'\t')
}

/// `Name: value`, as one line of a head.
pub fn write_line(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// How the body that follows a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked coding.
    Chunked,
    /// All bytes to the end of the connection (answers only).
    ToEnd,
}

impl Framing {
    /// The length that was announced.
    pub fn length(self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(length),
            Self::None | Self::Chunked | Self::ToEnd => None,
        }
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Method as written.
    pub method: String,
    /// Request target as written.
    pub target: Bytes,
    /// HTTP/1.0.
    pub http10: bool,
    /// Header lines.
    pub headers: Headers,
    /// The body's framing.
    pub framing: Framing,
    /// The connection may be used again.
    pub keep_alive: bool,
    /// The sender waits for `100 Continue`.
    pub expects_continue: bool,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Status code, 100–999.
    pub status: u16,
    /// Reason phrase as written, may be empty.
    pub reason: Bytes,
    /// Header lines.
    pub headers: Headers,
    /// The body's framing.
    pub framing: Framing,
    /// The connection may be used again.
    pub keep_alive: bool,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1, or something that can be read in two ways.
    #[error("{0}")]
    Bad(&'static str),
    /// A target over [`TARGET_BYTES`].
    #[error("the request target is longer than {TARGET_BYTES} bytes")]
    TargetTooLong,
    /// A head over its bound.
    #[error("the head is longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// Too many lines.
    #[error("more than {limit} header lines")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// Another version.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// The preface of HTTP/2.
    #[error("HTTP/2 is not spoken here: use HTTP/1.1")]
    Http2,
    /// An `Expect` other than `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
}

impl HeadError {
    /// The status an information system is given, in plain HTTP.
    pub const fn status(self) -> u16 {
        match self {
            Self::Bad(_) => 400,
            Self::TargetTooLong => 414,
            Self::TooLarge { .. } | Self::TooMany { .. } => 431,
            Self::Version => 505,
            Self::Http2 => 426,
            Self::Expectation => 417,
        }
    }
}

/// Bounds on one head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes, the empty line included.
    pub bytes: usize,
    /// Header lines.
    pub lines: usize,
}

/// Where the head at the start of `buf` ends, if it is complete. `strict`: every line ends in CRLF.
///
/// `seen` bytes were looked at before; pass the returned count next time.
///
/// # Errors
/// A line that ends in a bare LF when `strict`.
pub fn find_end(buf: &[u8], seen: &mut usize, strict: bool) -> Result<Option<usize>, HeadError> {
    let mut from = *seen;
    while let Some(at) = memchr::memchr(b'\n', &buf[from..]).map(|i| from + i) {
        let crlf = at > 0 && buf[at - 1] == b'\r';
        if strict && !crlf {
            return Err(HeadError::Bad("a line of the head does not end in CRLF"));
        }
        let line_end = if crlf { at - 1 } else { at };
        let empty = line_end == 0 || buf[line_end - 1] == b'\n';
        if empty && line_end > 0 {
            return Ok(Some(at + 1));
        }
        from = at + 1;
    }
    *seen = from;
    Ok(None)
}

/// Reads the head of a request; `head` ends with the empty line.
///
/// # Errors
/// The first broken rule.
pub fn parse_request(head: &Bytes, limits: &HeadLimits) -> Result<RequestHead, HeadError> {
    let mut lines = vec![httparse::EMPTY_HEADER; line_count(head, limits)?];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Bad("the head is not complete")),
        Err(_) => return Err(unreadable(head)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Bad(NOT_HTTP));
    };
    if target.len() > TARGET_BYTES {
        return Err(HeadError::TargetTooLong);
    }
    let headers = collect(head, parsed.headers)?;
    let http10 = minor == 0;
    let mut request = RequestHead {
        method: method.to_owned(),
        target: head.slice_ref(target.as_bytes()),
        http10,
        framing: request_framing(&headers, http10)?,
        keep_alive: persistent(&headers, http10),
        expects_continue: false,
        headers,
    };
    check_host(&request)?;
    check_upgrade(&request.headers)?;
    request.expects_continue = expectation(&request)?;
    Ok(request)
}

/// The header lines of `head`, as a bound for those who read them.
fn line_count(head: &[u8], limits: &HeadLimits) -> Result<usize, HeadError> {
    // The first line and the empty one are none.
    let count = memchr::memchr_iter(b'\n', head).count().saturating_sub(2);
    if count > limits.lines { Err(HeadError::TooMany { limit: limits.lines }) } else { Ok(count) }
}

/// Another version of HTTP, none at all, or something else that is wrong.
fn unreadable(head: &[u8]) -> HeadError {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&b| b == b' ').filter(|word| !word.is_empty()).collect();
    match words[..] {
        [_, _, version] if version.starts_with(b"HTTP/2") => HeadError::Http2,
        [method, ..] if !method.iter().copied().all(is_token_byte) => HeadError::Bad(NOT_HTTP),
        [_, _, version] if !matches!(version, b"HTTP/1.0" | b"HTTP/1.1") => HeadError::Version,
        [_] | [_, _] => HeadError::Version,
        _ => HeadError::Bad(NOT_HTTP),
    }
}

/// What no request can begin with, such as the greeting of TLS, is refused before more of it is waited for.
///
/// # Errors
/// It begins so.
pub fn check_first(buf: &[u8]) -> Result<(), HeadError> {
    match buf.first() {
        Some(first) if *first != b'\r' && !is_token_byte(*first) => Err(HeadError::Bad(NOT_HTTP)),
        _ => Ok(()),
    }
}

/// A byte of a method or a name [RFC 9110 §5.6.2].
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Bytes of the target in a first line that may go on.
pub fn target_so_far(buf: &[u8]) -> usize {
    let line = buf.split(|&b| b == b'\r' || b == b'\n').next().unwrap_or_default();
    line.split(|&b| b == b' ').nth(1).map_or(0, <[u8]>::len)
}

fn persistent(headers: &Headers, http10: bool) -> bool {
    !headers.lists("connection", "close") && (!http10 || headers.lists("connection", "keep-alive"))
}

fn collect(head: &Bytes, lines: &[httparse::Header<'_>]) -> Result<Headers, HeadError> {
    let mut headers = Headers(Vec::with_capacity(lines.len() + 4));
    for line in lines {
        if !is_value(line.value) {
            return Err(HeadError::Bad("a header value holds a control character"));
        }
        headers.push(head.slice_ref(line.name.as_bytes()), head.slice_ref(line.value.trim_ascii()));
    }
    Ok(headers)
}

fn request_framing(headers: &Headers, http10: bool) -> Result<Framing, HeadError> {
    Ok(strict_framing(headers, http10)?
        .filter(|framing| *framing != Framing::Length(0))
        .unwrap_or(Framing::None))
}

/// One framing, none, or a refusal: what two readers could understand differently can smuggle a message.
fn strict_framing(headers: &Headers, http10: bool) -> Result<Option<Framing>, HeadError> {
    let mut codings = headers.all("transfer-encoding");
    let mut lengths = headers.all("content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(None),
        (None, Some(length)) => {
            if lengths.next().is_some() {
                return Err(HeadError::Bad("Content-Length is repeated"));
            }
            content_length(length).map(|n| Some(Framing::Length(n)))
        }
        (Some(_), Some(_)) => Err(HeadError::Bad("Content-Length and Transfer-Encoding exclude each other")),
        (Some(coding), None) => {
            let chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            if !chunked || http10 {
                return Err(HeadError::Bad("the only transfer coding is chunked"));
            }
            Ok(Some(Framing::Chunked))
        }
    }
}

fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    let parsed = digits.then(|| name_text(value).parse().ok()).flatten();
    parsed.ok_or(HeadError::Bad("Content-Length is no number"))
}

/// One `Host` in HTTP/1.1, which names no user. Whether the target fits it is the caller's to ask.
fn check_host(request: &RequestHead) -> Result<(), HeadError> {
    if request.method == "CONNECT" {
        return Err(HeadError::Bad("this is no forward proxy"));
    }
    let mut hosts = request.headers.all("host");
    let host = hosts.next();
    let unusable = host.is_some_and(|h| h.is_empty() || !h.iter().copied().all(is_host_byte));
    if unusable || hosts.next().is_some() || (host.is_none() && !request.http10) {
        return Err(HeadError::Bad("there must be exactly one Host"));
    }
    Ok(())
}

/// A byte of `host:port`, brackets of an IPv6 address and escapes included [RFC 3986 §3.2.2].
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']' | b'!' | b'$' | b'&'..=b',' | b';' | b'='
        )
}

/// An upgrade that `Connection` does not name is none: what stands behind would understand it otherwise.
fn check_upgrade(headers: &Headers) -> Result<(), HeadError> {
    for name in ["upgrade", "http2-settings"] {
        if headers.get(name).is_some() && !headers.lists("connection", name) {
            return Err(HeadError::Bad("an upgrade that Connection does not name"));
        }
    }
    Ok(())
}

fn expectation(request: &RequestHead) -> Result<bool, HeadError> {
    let mut expected = false;
    for value in request.headers.all("expect") {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError::Expectation);
        }
        expected = !request.http10 && request.framing != Framing::None;
    }
    Ok(expected)
}

/// Whose answers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Services': lines may be folded, end in LF, and say their length twice, as deployed services do.
    Services,
    /// Security servers': read as strictly as requests.
    Servers,
}

impl Answers {
    /// Every line must end in CRLF.
    pub fn strict(self) -> bool {
        self == Self::Servers
    }
}

/// Reads the head of an answer to a request with `method`; `head` ends with the empty line.
///
/// # Errors
/// The first broken rule.
pub fn parse_response(
    head: &Bytes,
    method: &str,
    limits: &HeadLimits,
    whose: Answers,
) -> Result<ResponseHead, HeadError> {
    let mut lines = vec![httparse::EMPTY_HEADER; line_count(head, limits)?];
    let mut parsed = httparse::Response::new(&mut lines);
    let mut rules = httparse::ParserConfig::default();
    rules
        .allow_obsolete_multiline_headers_in_responses(!whose.strict())
        .allow_spaces_after_header_name_in_responses(!whose.strict());
    match rules.parse_response(&mut parsed, head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Bad("the head is not complete")),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Bad(NOT_HTTP)),
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(HeadError::Bad(NOT_HTTP));
    };
    let headers = unfold(collect_answer(head, parsed.headers)?);
    let framing = match whose {
        _ if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) => Framing::None,
        Answers::Services => response_framing(&headers)?,
        Answers::Servers => strict_framing(&headers, minor == 0)?.unwrap_or(Framing::ToEnd),
    };
    let keep_alive = persistent(&headers, minor == 0) && framing != Framing::ToEnd;
    Ok(ResponseHead { status, reason: reason(head), headers, framing, keep_alive })
}

/// The reason phrase as written; `httparse` gives none when it holds bytes beyond ASCII.
fn reason(head: &Bytes) -> Bytes {
    let line_end = memchr::memchr(b'\n', head).unwrap_or(head.len());
    let line = head[..line_end].trim_ascii();
    match line.splitn(3, |&b| b == b' ').nth(2) {
        Some(reason) => head.slice_ref(reason.trim_ascii()),
        None => Bytes::new(),
    }
}

fn collect_answer(head: &Bytes, lines: &[httparse::Header<'_>]) -> Result<Headers, HeadError> {
    let mut headers = Headers(Vec::with_capacity(lines.len() + 8));
    for line in lines {
        if line.value.iter().any(|&b| (b < b' ' && !matches!(b, b'\t' | b'\r' | b'\n')) || b == 0x7f) {
            return Err(HeadError::Bad("a header value holds a control character"));
        }
        headers.push(head.slice_ref(line.name.as_bytes()), head.slice_ref(line.value.trim_ascii()));
    }
    Ok(headers)
}

/// Folded lines become one: each fold is replaced by a space [RFC 9112 §5.2].
fn unfold(mut headers: Headers) -> Headers {
    for (_, value) in &mut headers.0 {
        if value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            let parts: Vec<&[u8]> = value
                .split(|b| matches!(b, b'\r' | b'\n'))
                .map(<[u8]>::trim_ascii)
                .filter(|p| !p.is_empty())
                .collect();
            *value = parts.join(&b' ').into();
        }
    }
    headers
}

fn response_framing(headers: &Headers) -> Result<Framing, HeadError> {
    let mut codings = headers.all("transfer-encoding").flat_map(elements).peekable();
    if codings.peek().is_some() {
        // A coding overrides a length [RFC 9112 §6.3]; only one coding, or the body is not what we would sign.
        let only_chunked =
            codings.next().is_some_and(|c| c.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none();
        return if only_chunked {
            Ok(Framing::Chunked)
        } else {
            Err(HeadError::Bad("the transfer coding is not known"))
        };
    }
    let mut found = None;
    for value in headers.all("content-length").flat_map(elements) {
        let length = content_length(value)?;
        if found.is_some_and(|n| n != length) {
            return Err(HeadError::Bad("Content-Length has two values"));
        }
        found = Some(length);
    }
    Ok(found.map_or(Framing::ToEnd, Framing::Length))
}

#[cfg(test)]
mod tests;
