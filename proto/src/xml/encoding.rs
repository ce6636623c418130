//! From the bytes of a document to its text, and back: by byte order mark, by the look of the first characters, by the declaration
//! (XML 1.0 appendix F). UTF-8 is not copied.
use std::borrow::Cow;

use super::XmlError;

/// How a document is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    Latin1,
    Utf16 { big_endian: bool },
}

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
/// No declaration is longer.
const DECLARATION_BYTES: usize = 512;

/// The text of a document; a byte order mark stays in it as U+FEFF.
pub(crate) fn decode(raw: &[u8]) -> Result<(Cow<'_, str>, Encoding), XmlError> {
    let encoding = detect(raw)?;
    let text = match encoding {
        Encoding::Utf8 => Cow::Borrowed(std::str::from_utf8(raw).map_err(|_| XmlError::Encoding)?),
        Encoding::Latin1 => Cow::Owned(raw.iter().map(|b| char::from(*b)).collect()),
        Encoding::Utf16 { big_endian } => Cow::Owned(decode_utf16(raw, big_endian)?),
    };
    if let Encoding::Utf16 { .. } = encoding
        && let Some(name) = declared(text.trim_start_matches('\u{feff}').as_bytes())
        && !name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"utf-16"))
    {
        return Err(XmlError::Encoding);
    }
    Ok((text, encoding))
}

/// The bytes of `text`, which [`decode`] gave or which was made from it.
pub(crate) fn encode(text: String, encoding: Encoding) -> Result<Vec<u8>, XmlError> {
    match encoding {
        Encoding::Utf8 => Ok(text.into_bytes()),
        Encoding::Latin1 => text.chars().map(|c| u8::try_from(c).map_err(|_| XmlError::Encoding)).collect(),
        Encoding::Utf16 { big_endian } => {
            let bytes = |unit: u16| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() };
            Ok(text.encode_utf16().flat_map(bytes).collect())
        }
    }
}

fn detect(raw: &[u8]) -> Result<Encoding, XmlError> {
    match raw {
        // UTF-32, of either order, begins like UTF-16.
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err(XmlError::Encoding),
        [0xfe, 0xff, ..] | [0, b'<', 0, ..] => Ok(Encoding::Utf16 { big_endian: true }),
        [0xff, 0xfe, ..] | [b'<', 0, _, 0, ..] => Ok(Encoding::Utf16 { big_endian: false }),
        _ => by_declaration(raw),
    }
}

fn by_declaration(raw: &[u8]) -> Result<Encoding, XmlError> {
    let (marked, rest) = raw.strip_prefix(UTF8_BOM).map_or((false, raw), |rest| (true, rest));
    let is = |name: &[u8], expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
    match declared(rest) {
        None => Ok(Encoding::Utf8),
        Some(name) if is(name, "utf-8") || is(name, "utf8") => Ok(Encoding::Utf8),
        // A document in ASCII is one in UTF-8; what is not ASCII in it is refused there only when it is not UTF-8 either.
        Some(name) if is(name, "us-ascii") || is(name, "ascii") => match raw.is_ascii() || marked {
            true => Ok(Encoding::Utf8),
            false => Err(XmlError::Encoding),
        },
        Some(name) if !marked && (is(name, "iso-8859-1") || is(name, "latin1") || is(name, "iso8859-1")) => {
            Ok(Encoding::Latin1)
        }
        Some(_) => Err(XmlError::Encoding),
    }
}

/// The value of `encoding` in an XML declaration at the front of `bytes`.
fn declared(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.strip_prefix(b"<?xml")?;
    let end = memchr::memmem::find(&bytes[..bytes.len().min(DECLARATION_BYTES)], b"?>")?;
    let declaration = &bytes[..end];
    let after = &declaration[memchr::memmem::find(declaration, b"encoding")? + "encoding".len()..];
    let after = after.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = after.split_first()?;
    let end = memchr::memchr(*quote, value).filter(|_| matches!(quote, b'"' | b'\''))?;
    Some(&value[..end])
}

fn decode_utf16(raw: &[u8], big_endian: bool) -> Result<String, XmlError> {
    if !raw.len().is_multiple_of(2) {
        return Err(XmlError::Encoding);
    }
    let unit = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    };
    char::decode_utf16(raw.chunks_exact(2).map(unit))
        .collect::<Result<_, _>>()
        .map_err(|_| XmlError::Encoding)
}
