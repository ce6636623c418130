//! The request target of an information system: which paths are taken, and in which spelling they are signed [wire dossier §12.2].
//!
//! A path is never decoded and never normalised: what is taken is passed on byte for byte. Refused is whatever a server behind us
//! could read as another path: empty segments, encoded dot segments and dots with parameters, encoded backslashes, percent signs and
//! controls, escapes that are none or no UTF-8. Literal dot segments pass here; the provider's server refuses them.

use std::fmt::Write as _;

/// A target split at its question mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Raw path, still escaped; `*` for the asterisk form.
    pub path: String,
    /// Raw query without the question mark; bytes beyond ASCII are escaped, as they are signed.
    pub query: Option<String>,
}

/// Why a target is refused, with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request target is not accepted: {0}")]
pub struct TargetError(pub &'static str);

/// Reads a request target in origin, absolute or asterisk form.
///
/// # Errors
/// The first broken rule.
pub fn parse(target: &[u8]) -> Result<Target, TargetError> {
    if target == b"*" {
        return Ok(Target { path: "*".into(), query: None });
    }
    let target = without_authority(target);
    let target = target.split(|&b| b == b'#').next().unwrap_or_default();
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    let path = if path.is_empty() && query.is_none() { b"/" } else { path };
    check_path(path)?;
    let path = std::str::from_utf8(path).map_err(|_| TargetError("a byte beyond ASCII must be escaped"))?;
    Ok(Target { path: path.to_owned(), query: query.map(escaped) })
}

fn without_authority(target: &[u8]) -> &[u8] {
    match super::head::authority(target) {
        // The authority is a part of the target, so the search for where it ends cannot fail.
        Some(authority) => {
            let scheme = memchr::memmem::find(target, b"://").map_or(0, |at| at + 3);
            &target[scheme + authority.len()..]
        }
        None => target,
    }
}

fn check_path(path: &[u8]) -> Result<(), TargetError> {
    let Some(rest) = path.strip_prefix(b"/") else {
        return Err(TargetError("the path must begin with a slash"));
    };
    if path.iter().any(|&b| b <= b' ' || b >= 0x7f || br#"[]\|^{}"<>`"#.contains(&b)) {
        return Err(TargetError("the path holds a character that must be escaped"));
    }
    let segments = rest.split(|&b| b == b'/').count();
    for (index, segment) in rest.split(|&b| b == b'/').enumerate() {
        if segment.is_empty() && index + 1 < segments {
            return Err(TargetError("a path segment is empty"));
        }
        check_segment(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &[u8]) -> Result<(), TargetError> {
    let decoded = decode(segment)?;
    if std::str::from_utf8(&decoded).is_err() {
        return Err(TargetError("an escape is not UTF-8"));
    }
    let name = segment.split(|&b| b == b';').next().unwrap_or_default();
    let dots = decode(name)?;
    let literal = segment == b"." || segment == b"..";
    if (dots == b"." || dots == b"..") && !literal {
        return Err(TargetError("a dot segment is escaped or has a parameter"));
    }
    Ok(())
}

/// Decodes escapes, refusing those that nobody needs and that servers disagree about.
fn decode(segment: &[u8]) -> Result<Vec<u8>, TargetError> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            decoded.push(first);
            continue;
        }
        let (hex, tail) = rest.split_at_checked(2).ok_or(TargetError("an escape is cut off"))?;
        let digits = hex.iter().all(u8::is_ascii_hexdigit);
        let byte =
            std::str::from_utf8(hex).ok().filter(|_| digits).and_then(|h| u8::from_str_radix(h, 16).ok());
        match byte.ok_or(TargetError("an escape is no hexadecimal number"))? {
            b'%' => return Err(TargetError("an escaped percent sign is not accepted")),
            b'\\' => return Err(TargetError("an escaped backslash is not accepted")),
            byte if byte < b' ' || byte == 0x7f => {
                return Err(TargetError("an escaped control character is not accepted"));
            }
            byte => decoded.push(byte),
        }
        rest = tail;
    }
    Ok(decoded)
}

fn escaped(query: &[u8]) -> String {
    let mut text = String::with_capacity(query.len());
    for &b in query {
        if b.is_ascii() {
            text.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{b:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_and_splits_as_signed() {
        let cases = [
            ("/r1/A/B/C/D/E", "/r1/A/B/C/D/E", None),
            ("/a?x=1&y=/..", "/a", Some("x=1&y=/..")),
            ("/a?", "/a", Some("")),
            ("/a%2Fb%2fc/%3F%23%20%5B", "/a%2Fb%2fc/%3F%23%20%5B", None),
            ("/a/../b/./c/..", "/a/../b/./c/..", None),
            ("/a;v=1/b*@:+", "/a;v=1/b*@:+", None),
            ("/a/", "/a/", None),
            ("/a#frag?x", "/a", None),
            ("/a?b=ä", "/a", Some("b=%C3%A4")),
            ("/a?b[]={}|^\"<>", "/a", Some("b[]={}|^\"<>")),
            ("http://h:1/a?b", "/a", Some("b")),
            ("HTTP://h", "/", None),
            ("*", "*", None),
            ("/%C3%84%20b/a...b/...", "/%C3%84%20b/a...b/...", None),
        ];
        for (target, path, query) in cases {
            let found = parse(target.as_bytes()).expect(target);
            assert_eq!((found.path.as_str(), found.query.as_deref()), (path, query), "{target}");
        }
    }

    #[test]
    fn refuses_what_could_be_read_as_another_path() {
        let cases = [
            "/a/%2e/b",
            "/a/%2E%2e/b",
            "/a/.%2e/b",
            "/a/..;/b",
            "/a/.;x",
            "/a/%2e;x",
            "/a//b",
            "//a",
            "/a//",
            "/a/%252e",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a%0D%0A",
            "/a%7F",
            "/a%zz",
            "/a%2",
            "/a%",
            "/a%u0041",
            "/a%+1",
            "/a%E4",
            "/a%C0%AF",
            "/a b",
            "/a\tb",
            "/ä",
            "/a|b",
            "/a^b",
            "/a{b}",
            "/a[1]",
            "/a\"b",
            "/a<b>",
            "/a`b",
            "a/b",
            "",
            "?x",
        ];
        for target in cases {
            // An empty target cannot come out of a request line, but must not be taken for a path either.
            let refused = parse(target.as_bytes()).is_err() || target.is_empty();
            assert!(refused, "{target:?} was taken");
        }
    }
}
