//! Codes to text and back: joined, split, escaped, and made into identifiers by their number.
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{ClientId, GlobalGroupId, IdError, MAX_CODE_CHARS, MemberId, ObjectType, ServerId};

/// Whether a code holds a character that the reference logs a warning about, though it lets the message pass: `:` `;` `/` `\`
/// `%`, controls, the zero width space and the zero width no-break space.
pub fn has_discouraged_character(code: &str) -> bool {
    code.chars()
        .any(|c| matches!(c, ':' | ';' | '/' | '\\' | '%' | '\u{200b}' | '\u{feff}') || c.is_control())
}

/// Whether a code keeps to the strict set: `A-Z a-z 0-9 ' ( ) + , - . = ?`, at least one of them.
pub fn is_strict_code(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+,-.=?".contains(&b))
}

/// What is escaped in a path segment: all but unreserved characters, sub-delimiters, `:` and `@` (RFC 3986 §3.3).
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Whether a byte may stand unescaped in a segment of a header form.
fn is_segment_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

/// Decodes one segment of a header form. `index` is for the error.
pub(crate) fn decode_segment(segment: &str, index: usize) -> Result<String, IdError> {
    let decoded = unescape(segment).ok_or(IdError::PercentEncoding { index })?;
    checked_code(&decoded, index)?;
    Ok(decoded)
}

/// Takes escapes off; `None` for a broken one, for a NUL, and for a character that should have been escaped.
pub(crate) fn unescape(segment: &str) -> Option<String> {
    if segment.bytes().all(is_segment_literal) {
        return Some(segment.to_owned());
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            decoded.push((high * 16 + low) as u8);
        } else if is_segment_literal(byte) {
            decoded.push(byte);
        } else {
            return None;
        }
    }
    String::from_utf8(decoded).ok().filter(|text| !text.contains('\0'))
}

pub(super) fn checked_code(code: &str, index: usize) -> Result<&str, IdError> {
    if code.is_empty() {
        Err(IdError::EmptyCode { index })
    } else if code.len() > MAX_CODE_CHARS && code.chars().count() > MAX_CODE_CHARS {
        Err(IdError::TooLong { index })
    } else {
        Ok(code)
    }
}

/// No form has more codes than a versioned service; the check before the split bounds the work.
fn split(text: &str, separator: char) -> Result<std::str::Split<'_, char>, IdError> {
    match text.split(separator).count() {
        found @ 7.. => Err(IdError::CodeCount { expected: "at most 6", found }),
        _ => Ok(text.split(separator)),
    }
}

pub(super) fn plain_codes(text: &str, separator: char) -> Result<Vec<String>, IdError> {
    split(text, separator)?
        .enumerate()
        .map(|(index, code)| checked_code(code, index).map(str::to_owned))
        .collect()
}

pub(super) fn header_codes(text: &str) -> Result<Vec<String>, IdError> {
    split(text, '/')?.enumerate().map(|(index, segment)| decode_segment(segment, index)).collect()
}

pub(super) fn member_only(codes: Vec<String>) -> Result<MemberId, IdError> {
    match <[String; 3]>::try_from(codes) {
        Ok([instance, class, code]) => Ok(MemberId { instance, class, code }),
        Err(codes) => Err(IdError::CodeCount { expected: "3", found: codes.len() }),
    }
}

pub(super) fn client(mut codes: Vec<String>) -> Result<ClientId, IdError> {
    match codes.len() {
        3 => member_only(codes).map(MemberId::client),
        4 => {
            let subsystem = codes.pop();
            Ok(ClientId { member: member_only(codes)?, subsystem })
        }
        found => Err(IdError::CodeCount { expected: "3 or 4", found }),
    }
}

pub(super) fn server(mut codes: Vec<String>) -> Result<ServerId, IdError> {
    if codes.len() != 4 {
        return Err(IdError::CodeCount { expected: "4", found: codes.len() });
    }
    let code = codes.pop().expect("there are four codes");
    Ok(ServerId { owner: member_only(codes)?, code })
}

pub(super) fn global_group(codes: Vec<String>) -> Result<GlobalGroupId, IdError> {
    match <[String; 2]>::try_from(codes) {
        Ok([instance, code]) => Ok(GlobalGroupId { instance, code }),
        Err(codes) => Err(IdError::CodeCount { expected: "2", found: codes.len() }),
    }
}

/// Parts `TYPE:` from what follows it.
pub(super) fn typed(text: &str) -> Result<(ObjectType, &str), IdError> {
    let unknown = IdError::ObjectType { expected: "a known type before the first colon" };
    let (name, codes) = text.split_once(':').ok_or_else(|| unknown.clone())?;
    Ok((ObjectType::from_name(name).ok_or(unknown)?, codes))
}

pub(super) fn join<'a>(codes: impl Iterator<Item = &'a str>, separator: char) -> String {
    let mut text = String::new();
    for code in codes {
        if !text.is_empty() {
            text.push(separator);
        }
        text.push_str(code);
    }
    text
}

pub(super) fn header<'a>(codes: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    push_header(&mut text, codes);
    text
}

/// Adds the header form to a text.
pub(super) fn push_header<'a>(text: &mut String, codes: impl Iterator<Item = &'a str>) {
    for (index, code) in codes.enumerate() {
        if index > 0 {
            text.push('/');
        }
        text.extend(utf8_percent_encode(code, ESCAPED));
    }
}

pub(super) fn write_long<'a>(
    f: &mut fmt::Formatter<'_>,
    object_type: ObjectType,
    codes: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    f.write_str(object_type.name())?;
    let mut separator = ":";
    for code in codes {
        f.write_str(separator)?;
        f.write_str(code)?;
        separator = "/";
    }
    Ok(())
}
