//! Values of `Content-Type`, read leniently: peers write types with two slashes and lists where one type belongs.
//!
//! Nothing is validated beyond what the caller asks for. Follows RFC 9110 §5.6.6 for parameters.
use std::borrow::Cow;

/// The type without parameters, as written; compare it without case.
pub fn base(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether the type without parameters is `expected`, whatever the case.
pub fn is(content_type: &str, expected: &str) -> bool {
    base(content_type).eq_ignore_ascii_case(expected)
}

/// The value of a parameter, its name compared without case; quotes and escapes are taken off.
pub fn parameter<'a>(content_type: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut rest = content_type.split_once(';')?.1;
    loop {
        let (found, after) = match rest.find(['=', ';']) {
            Some(at) if rest.as_bytes()[at] == b'=' => (&rest[..at], &rest[at + 1..]),
            Some(at) => {
                rest = &rest[at + 1..];
                continue;
            }
            None => return None,
        };
        let (value, after) = take_value(after.trim_start());
        if found.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.split_once(';')?.1;
    }
}

/// A token up to the next semicolon, or a quoted string; and what follows it.
fn take_value(text: &str) -> (Cow<'_, str>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (Cow::Borrowed(text[..end].trim()), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Cow::Owned(value), &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (Cow::Owned(value), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_without_parameters_and_case() {
        assert!(is("Text/XML ; charset=utf-8", "text/xml"));
        assert!(is("signature/bdoc-1.0/ts", "signature/bdoc-1.0/ts"));
        assert!(!is("text/xml, text/xml", "text/xml"));
        assert_eq!(base(""), "");
    }

    #[test]
    fn parameters_are_found() {
        let cases = [
            ("a/b; boundary=x", Some("x")),
            ("a/b;charset=UTF-8;BOUNDARY = x ;y=z", Some("x")),
            ("a/b; boundary=\"x;\\\"y\"; c=d", Some("x;\"y")),
            ("a/b; note=\"boundary=no\"; boundary=x", Some("x")),
            ("a/b; flag; boundary=x", Some("x")),
            ("a/b; boundary=", Some("")),
            ("a/b; boundary=\"open", Some("open")),
            ("a/b; xboundary=x", None),
            ("boundary=x", None),
            ("a/b", None),
            ("", None),
        ];
        for (content_type, expected) in cases {
            assert_eq!(parameter(content_type, "boundary").as_deref(), expected, "{content_type}");
        }
    }
}
