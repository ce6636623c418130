//! Endpoint patterns and the paths they are held against.
//!
//! A pattern: `*` is any run of characters within one segment, `**` (or more stars) is anything, `\*` and `\\` are themselves, all else
//! is literal. `*` is possessive: it takes the whole run, so a literal after it inside one segment never matches.
//!
//! A path is split at `/` as it was sent and each segment decoded once, so what is matched is what the service receives: an escaped
//! `?` or `#` is an ordinary character and empty segments count. An escaped slash, and a backslash however written, divide the path for
//! some servers and not for others: they are characters of their segment, yet nothing that `*` runs over. A path with a dot segment,
//! also one made by decoding, is refused for everybody.

/// Longest pattern an operator may write, bytes.
pub const MAX_PATTERN_BYTES: usize = 2048;

/// A slash that separates segments.
const SLASH: u16 = b'/' as u16;
/// A slash that an escape made: part of its segment, yet nothing a `*` may run over.
const ESCAPED_SLASH: u16 = 0x100 | SLASH;
/// Nothing a `*` may run over either.
const BACKSLASH: u16 = b'\\' as u16;
/// A `*` of a pattern that is held against another one.
const ANY_RUN: u16 = 0x200;
/// A `**` of such a pattern.
const ANYTHING: u16 = 0x201;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(u8),
    /// `*`.
    Run,
    /// `**`.
    Anything,
}

/// A decoded path, ready to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePath(Vec<u16>);

/// Why a path is refused whatever the rights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%` without two hex digits.
    #[error("the path holds a broken escape")]
    BrokenEscape,
    /// A segment is `.` or `..`, or becomes one when decoded.
    #[error("the path holds a dot segment")]
    DotSegment,
}

impl Pattern {
    /// Compiles `text`; every text is a pattern.
    pub fn new(text: &str) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            let (token, used) = match (first, tail.first()) {
                (b'\\', Some(&escaped @ (b'*' | b'\\'))) => (Token::Literal(escaped), 2),
                (b'*', Some(b'*')) => (Token::Anything, rest.iter().take_while(|b| **b == b'*').count()),
                (b'*', _) => (Token::Run, 1),
                (literal, _) => (Token::Literal(literal), 1),
            };
            tokens.push(token);
            rest = &rest[used..];
        }
        Self(tokens)
    }

    /// The pattern that covers every path.
    pub fn covers_all(&self) -> bool {
        self.0 == [Token::Anything]
    }

    /// Whether every path that `other` matches is one that this matches too. It says no in some cases where it is so, when a `**`
    /// stands before something that a `*` of this would have to meet.
    pub fn covers(&self, other: &Self) -> bool {
        let symbol = |token: &Token| match token {
            Token::Literal(byte) => u16::from(*byte),
            Token::Run => ANY_RUN,
            Token::Anything => ANYTHING,
        };
        self.matches_symbols(&other.0.iter().map(symbol).collect::<Vec<_>>())
    }

    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &ServicePath) -> bool {
        self.matches_symbols(&path.0)
    }

    /// Between two `**` every token takes a fixed stretch of input from a given place, and a later start never ends earlier; so it is
    /// enough to go back to the last `**`, and the cost is at most pattern times path.
    fn matches_symbols(&self, input: &[u16]) -> bool {
        let tokens = &self.0[..];
        let (mut token, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match tokens.get(token) {
                Some(Token::Anything) => {
                    token += 1;
                    retry = Some((token, at));
                    continue;
                }
                Some(Token::Run) => {
                    token += 1;
                    at += input[at..].iter().take_while(|c| runs_over(**c)).count();
                    continue;
                }
                Some(Token::Literal(literal)) if input.get(at) == Some(&u16::from(*literal)) => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                None if at == input.len() => return true,
                Some(Token::Literal(_)) | None => {}
            }
            match retry {
                Some((after, from)) if from < input.len() => {
                    (token, at) = (after, from + 1);
                    retry = Some((after, from + 1));
                }
                _ => return false,
            }
        }
    }
}

impl ServicePath {
    /// Decodes the raw (escaped) path after the service code: empty, or `/…`.
    ///
    /// # Errors
    /// The path is refused, also for those who may call every endpoint.
    pub fn decode(raw: &str) -> Result<Self, PathError> {
        let mut decoded = Vec::with_capacity(raw.len());
        for (index, segment) in raw.split('/').enumerate() {
            if index > 0 {
                decoded.push(SLASH);
            }
            let start = decoded.len();
            decode_segment(segment.as_bytes(), &mut decoded)?;
            if decoded[start..].split(|c| matches!(*c, ESCAPED_SLASH | BACKSLASH)).any(is_dots) {
                return Err(PathError::DotSegment);
            }
        }
        Ok(Self(decoded))
    }
}

fn runs_over(symbol: u16) -> bool {
    !matches!(symbol, SLASH | ESCAPED_SLASH | BACKSLASH | ANYTHING)
}

fn decode_segment(mut raw: &[u8], into: &mut Vec<u16>) -> Result<(), PathError> {
    while let Some((&first, tail)) = raw.split_first() {
        if first != b'%' {
            into.push(u16::from(first));
            raw = tail;
            continue;
        }
        let digits = tail.get(..2).ok_or(PathError::BrokenEscape)?;
        let value = (hex_digit(digits[0])? << 4) | hex_digit(digits[1])?;
        into.push(if value == b'/' { ESCAPED_SLASH } else { u16::from(value) });
        raw = &tail[2..];
    }
    Ok(())
}

fn hex_digit(digit: u8) -> Result<u8, PathError> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(PathError::BrokenEscape)
}

/// `.` or `..`, also when a `;parameter` follows: servers that cut parameters off would see a dot segment.
fn is_dots(piece: &[u16]) -> bool {
    const DOT: u16 = b'.' as u16;
    let name = piece.split(|c| *c == u16::from(b';')).next().unwrap_or_default();
    matches!(name, [DOT] | [DOT, DOT])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, raw: &str) -> Result<bool, PathError> {
        ServicePath::decode(raw).map(|path| Pattern::new(pattern).matches(&path))
    }

    /// Patterns of the admin interface against raw paths.
    #[test]
    fn patterns_match_whole_paths_segment_by_segment() {
        let cases = [
            ("**", "", true),
            ("**", "/any/thing", true),
            ("***", "/any/thing", true),
            ("/", "/", true),
            ("/", "", false),
            ("/a", "/a/", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/d/c", false),
            ("/a/**/c", "/a/b/d/c", true),
            ("/a/**c", "/a/xyc", true),
            ("/a/**/c", "/a/c", false),
            ("/a**", "/a", true),
            ("/**/b/**", "/x/b/y/b/z", true),
            ("/**/b/*", "/x/b/y/b/z", true),
            ("/**/b/*", "/x/b/y/z", false),
            ("/foo*bar", "/fooxbar", false),
            ("/foo*bar", "/foobar", false),
            ("/foo*", "/foobar", true),
            ("/foo**bar", "/fooxbar", true),
            (r"/a\*", "/a*", true),
            (r"/a\*", "/ab", false),
            (r"/a\\", "/a%5C", true),
            (r"/a\b", "/a%5Cb", true),
            ("/a.b", "/axb", false),
            ("/a(b)+", "/a(b)+", true),
            ("/jäär", "/j%C3%A4%C3%A4r", true),
            ("/a b", "/a%20b", true),
            ("/A", "/a", false),
        ];
        for (pattern, raw, expected) in cases {
            assert_eq!(matches(pattern, raw), Ok(expected), "{pattern} against {raw}");
        }
    }

    /// What is matched is what is sent.
    #[test]
    fn escapes_never_move_a_path_to_another_endpoint() {
        let cases = [
            ("/a", "/a%3Fx", false),
            ("/a", "/a%23x", false),
            ("/a?x", "/a%3Fx", true),
            ("/b", "//a/b", false),
            ("//a/b", "//a/b", true),
            ("/a/b", "/a//b", false),
            ("/a/b", "/a%2Fb", false),
            ("/a/*", "/a/b%2Fc", false),
            ("/a/**", "/a/b%2fc", true),
            ("/*", "/a%2Fb", false),
            ("/a/*", "/a/b%5Cc", false),
            ("/a/*", "/a/b\\c", false),
            ("/a/**", "/a/b%5cc", true),
            ("/%41", "/%2541", true),
            ("/A", "/%2541", false),
            ("/a%2Fb", "/a%252Fb", true),
            ("/a", "/a%00", false),
            ("/*", "/%FF%FE", true),
            ("/a..b", "/a..b", true),
            ("/...", "/...", true),
        ];
        for (pattern, raw, expected) in cases {
            assert_eq!(matches(pattern, raw), Ok(expected), "{pattern} against {raw}");
        }
    }

    /// Refused for everybody.
    #[test]
    fn refuses_dot_segments_however_they_are_made() {
        let dots = [
            "/..",
            "/../a",
            "/a/..",
            "/a/../b",
            "/.",
            "/a/./b",
            "..",
            ".",
            "/%2e%2e/a",
            "/%2E./a",
            "/.%2e",
            "/a/%2e",
            "/a%2F..%2Fb",
            "/..%2Fb",
            "/a%2f%2e%2e",
            "/a%5C..%5Cb",
            "/..\\b",
            "/a\\..",
            "/..;x/a",
            "/%2e%2e%3Bx",
            "/.;a=b",
        ];
        for raw in dots {
            assert_eq!(matches("**", raw), Err(PathError::DotSegment), "{raw}");
        }
        for raw in ["/%", "/%2", "/%G1", "/%2G", "/a%u0041", "/%+1"] {
            assert_eq!(matches("**", raw), Err(PathError::BrokenEscape), "{raw}");
        }
    }

    #[test]
    fn a_pattern_covers_what_is_narrower() {
        let cases = [
            ("**", "/a/*/c", true),
            ("/pets", "/pets", true),
            ("/pets/*", "/pets/*", true),
            ("/pets/*", "/pets/a", true),
            ("/pets/a", "/pets/*", false),
            ("/pets/*", "/pets/**", false),
            ("/pets/**", "/pets/*/x", true),
            ("/pets/**", "/pets/**", true),
            ("/*/x", "/a*/x", true),
            ("/a*b", "/a*b", false),
            ("/**/x", "/**/x", true),
            (r"/\*", "/*", false),
            ("/*", r"/\*", true),
            ("/*", r"/a\\b", false),
        ];
        for (wide, narrow, expected) in cases {
            assert_eq!(Pattern::new(wide).covers(&Pattern::new(narrow)), expected, "{wide} and {narrow}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_pattern_times_path() {
        let pattern = Pattern::new(&"**a".repeat(600));
        let path = ServicePath::decode(&format!("/{}b", "a".repeat(8000))).unwrap();
        assert!(!pattern.matches(&path));
    }
}
