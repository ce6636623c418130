//! The request target of an information system's request, as the consumer edge accepts it.
//!
//! Whatever has two readings is refused here with a plain 400, before anything is signed: encoded dot segments, empty segments,
//! doubly escaped text, controls, characters that a URI does not have. What passes is signed and called as it stands, apart from a
//! fragment, which is cut off, and raw UTF-8 in the query, which is escaped. Lengths are the listener's to bound.
use std::borrow::Cow;
use std::fmt::Write as _;

/// A request target that may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The raw path; `*` for the asterisk form.
    pub path: &'a str,
    /// The raw query, without the `?`.
    pub query: Option<Cow<'a, str>>,
    /// The authority of an absolute form, which must be that of the `Host` header: see [`Target::fits_host`].
    pub authority: Option<&'a str>,
}

/// Why a target is refused; always with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither a path, nor `*`, nor an absolute URI with one.
    #[error("the request target is not a path")]
    Form,
    /// A user name before the host.
    #[error("the request target holds user information")]
    UserInfo,
    /// A character that a target must not hold as it is.
    #[error("the request target holds a character that must be escaped")]
    Character,
    /// A broken escape, or bytes that are not UTF-8.
    #[error("the request target holds a broken escape")]
    Escape,
    /// An escape that hides something: a control, a backslash, another escape.
    #[error("the request target holds an escape that is not accepted")]
    Hidden,
    /// Two slashes.
    #[error("the request path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, escaped or with a parameter.
    #[error("the request path has a disguised dot segment")]
    DotSegment,
}

impl Target<'_> {
    /// Whether an absolute form names the host that the `Host` header does.
    pub fn fits_host(&self, host: &str) -> bool {
        self.authority.is_none_or(|authority| authority.eq_ignore_ascii_case(host))
    }
}

/// Reads the raw request target of a request line.
///
/// # Errors
/// The first broken rule.
pub fn check_target(raw: &[u8]) -> Result<Target<'_>, TargetError> {
    let raw = std::str::from_utf8(raw).map_err(|_| TargetError::Escape)?;
    if raw == "*" {
        return Ok(Target { path: raw, query: None, authority: None });
    }
    let (authority, origin) = split_authority(raw)?;
    let origin = origin.split_once('#').map_or(origin, |(before, _)| before);
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    check_path(path)?;
    Ok(Target { path, query: query.map(escaped_query).transpose()?, authority })
}

/// Parts `http://host` from the path behind it.
fn split_authority(raw: &str) -> Result<(Option<&str>, &str), TargetError> {
    if raw.starts_with('/') {
        return Ok((None, raw));
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = &raw[scheme.ok_or(TargetError::Form)?.len()..];
    let slash = rest.find('/').ok_or(TargetError::Form)?;
    let (authority, path) = rest.split_at(slash);
    match authority {
        authority if authority.contains('@') => Err(TargetError::UserInfo),
        authority if authority.is_empty() || authority.contains(['?', '#']) => Err(TargetError::Form),
        authority => Ok((Some(authority), path)),
    }
}

fn check_path(path: &str) -> Result<(), TargetError> {
    let mut segments = path.split('/');
    if segments.next() != Some("") {
        return Err(TargetError::Form);
    }
    let mut segments = segments.peekable();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(segment) = segments.next() {
        // An empty last segment is a slash at the end.
        if segment.is_empty() && segments.peek().is_some() {
            return Err(TargetError::EmptySegment);
        }
        check_segment(segment, &mut decoded)?;
    }
    Ok(())
}

/// `decoded` is a buffer.
fn check_segment(segment: &str, decoded: &mut Vec<u8>) -> Result<(), TargetError> {
    decoded.clear();
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit =
                    || bytes.next().and_then(|b| char::from(b).to_digit(16)).ok_or(TargetError::Escape);
                let escaped = (digit()? * 16 + digit()?) as u8;
                if escaped.is_ascii_control() || matches!(escaped, b'%' | b'\\') {
                    return Err(TargetError::Hidden);
                }
                escaped
            }
            b' ' | b'"' | b'<' | b'>' | b'[' | b'\\' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                return Err(TargetError::Character);
            }
            byte if byte.is_ascii_control() => return Err(TargetError::Character),
            byte => byte,
        };
        decoded.push(byte);
    }
    std::str::from_utf8(decoded).map_err(|_| TargetError::Escape)?;
    let plain_dots = matches!(segment, "." | "..");
    let name = decoded.split(|b| *b == b';').next().unwrap_or_default();
    match name {
        b"." | b".." if !plain_dots => Err(TargetError::DotSegment),
        _ => Ok(()),
    }
}

/// Raw UTF-8 is escaped, everything else stays.
fn escaped_query(query: &str) -> Result<Cow<'_, str>, TargetError> {
    if query.bytes().any(|b| b == b' ' || b.is_ascii_control()) {
        return Err(TargetError::Character);
    }
    Ok(escape_raw_utf8(query))
}

/// Each byte beyond ASCII as its escape, as a URI has it.
pub(crate) fn escape_raw_utf8(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii() {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a string takes whatever is written");
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Result<(String, Option<String>), TargetError> {
        check_target(raw.as_bytes()).map(|t| (t.path.to_owned(), t.query.map(Cow::into_owned)))
    }

    #[test]
    fn targets_with_one_reading_pass_unchanged() {
        let paths = [
            "/",
            "*",
            "/r1/A/B/C/D/e",
            "/r1/A/B/C/D/e/",
            "/a/./b/../c",
            "/a/..",
            "/a/...",
            "/a..b",
            "/a%2Fb",
            "/a%3F%23%20%5B",
            "/;v=1/a;x",
            "/*@:!$&'()+,=~-_",
            "/%C3%A4%E2%82%AC",
            "/..%2fb",
            "/a%2f%2e%2e%2fb",
            "/%50RB",
        ];
        for path in paths {
            assert_eq!(read(path), Ok((path.to_owned(), None)), "{path}");
        }
    }

    #[test]
    fn targets_with_two_readings_are_refused() {
        use TargetError::*;
        let cases = [
            ("", Form),
            ("r1/a", Form),
            ("host:443", Form),
            ("http://h", Form),
            ("http:///a", Form),
            ("ftp://h/a", Form),
            ("http://u:p@h/a", UserInfo),
            ("//a", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a//", EmptySegment),
            ("/%2e/a", DotSegment),
            ("/a/%2E%2e/b", DotSegment),
            ("/a/.%2e/b", DotSegment),
            ("/..;/b", DotSegment),
            ("/a/.;x", DotSegment),
            ("/a%252Fb", Hidden),
            ("/a%25", Hidden),
            ("/a%5Cb", Hidden),
            ("/a%00", Hidden),
            ("/a%0D%0Ab", Hidden),
            ("/a%7f", Hidden),
            ("/a%zz", Escape),
            ("/a%2", Escape),
            ("/a%", Escape),
            ("/a%u0041", Escape),
            ("/%E4", Escape),
            ("/%C0%AF", Escape),
            ("/a%+1", Escape),
            ("/a\\b", Character),
            ("/a b", Character),
            ("/a\tb", Character),
            ("/ä", Character),
            ("/a[1]", Character),
            ("/a|b", Character),
            ("/a^b", Character),
            ("/a{b}", Character),
            ("/a\"b", Character),
            ("/a<b>", Character),
            ("/a`b", Character),
            ("/a\u{7f}", Character),
            ("/a?b c", Character),
            ("/a?b\u{1}", Character),
        ];
        for (raw, expected) in cases {
            assert_eq!(read(raw), Err(expected), "{raw:?}");
        }
        assert_eq!(check_target(b"/a?\xe4"), Err(Escape));
    }

    #[test]
    fn queries_keep_their_form_and_fragments_go() {
        let cases = [
            ("/a?b=c&d=%20%zz[]{}|^\"<>\\`", "b=c&d=%20%zz[]{}|^\"<>\\`"),
            ("/a?", ""),
            ("/a??x=/../y", "?x=/../y"),
            ("/a?ä=€", "%C3%A4=%E2%82%AC"),
            ("/a?b#c?d", "b"),
        ];
        for (raw, query) in cases {
            assert_eq!(read(raw), Ok(("/a".to_owned(), Some(query.to_owned()))), "{raw}");
        }
        assert_eq!(read("/a#b?c"), Ok(("/a".to_owned(), None)));
    }

    #[test]
    fn an_absolute_form_must_fit_the_host() {
        let target = check_target(b"HTTP://Host:80/a?b").expect("an absolute form");
        assert_eq!(
            (target.path, target.query.as_deref(), target.authority),
            ("/a", Some("b"), Some("Host:80"))
        );
        assert!(target.fits_host("host:80") && !target.fits_host("other"));
        assert!(check_target(b"/a").expect("a path").fits_host("any"));
    }
}
