//! Names, characters, attributes and references, as XML 1.0 and Namespaces in XML 1.0 spell them.
use std::borrow::Cow;

use super::{XmlError, is_xml_char};

/// Longest name or namespace URI in bytes; keeps every comparison cheap.
pub(super) const MAX_NAME_BYTES: usize = 1024;

pub(super) fn within(count: usize, what: &'static str, limit: usize) -> Result<(), XmlError> {
    if count <= limit { Ok(()) } else { Err(XmlError::Limit { what, limit }) }
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Controls other than tab and line ends, U+FFFE and U+FFFF; surrogates cannot be in a `str`.
pub(super) fn has_forbidden_char(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().any(|&b| b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r'))
        || memchr::memmem::find_iter(bytes, b"\xef\xbf").any(|at| bytes[at + 2] >= 0xbe)
}

/// Parts a qualified name into prefix and local name.
pub(super) fn qualified(name: &str) -> Result<(&str, &str), XmlError> {
    let (prefix, local) = name.split_once(':').unwrap_or(("", name));
    let good = is_nc_name(local) && (is_nc_name(prefix) || (prefix.is_empty() && local.len() == name.len()));
    if !good {
        return Err(XmlError::malformed("a name that is none"));
    }
    within(name.len(), "bytes in a name", MAX_NAME_BYTES)?;
    Ok((prefix, local))
}

/// `NCName` of Namespaces in XML 1.0 §3.
fn is_nc_name(name: &str) -> bool {
    let start = |c: char| {
        matches!(c, 'A'..='Z' | 'a'..='z' | '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
            | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
            | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
            | '\u{10000}'..='\u{effff}')
    };
    let follow = |c: char| {
        start(c)
            || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
    };
    let mut chars = name.chars();
    chars.next().is_some_and(start) && chars.all(follow)
}

/// Takes ` name = "value"` off the front; `None` when only white space is left.
pub(super) fn next_attribute<'a>(rest: &mut &'a str) -> Result<Option<(&'a str, &'a str)>, XmlError> {
    let refused = || XmlError::malformed("an attribute of another form");
    let after_space = rest.trim_start_matches(is_space);
    if after_space.is_empty() {
        return Ok(None);
    }
    if after_space.len() == rest.len() {
        return Err(refused());
    }
    let (name, value) = after_space.split_once('=').ok_or_else(refused)?;
    let value = value.trim_start_matches(is_space);
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or_else(refused)?;
    let (value, after) = value[1..].split_once(quote).ok_or_else(refused)?;
    *rest = after;
    Ok(Some((name.trim_end_matches(is_space), value)))
}

pub(super) fn check_attribute_value(raw: &str) -> Result<(), XmlError> {
    if raw.contains('<') {
        return Err(XmlError::malformed("a tag inside an attribute value"));
    }
    let mut rest = raw;
    while let Some((_, after)) = rest.split_once('&') {
        let (name, after) =
            after.split_once(';').ok_or_else(|| XmlError::malformed("a reference that does not end"))?;
        resolve(name)?;
        rest = after;
    }
    Ok(())
}

/// Resolves a value that [`check_attribute_value`] has let through.
pub(super) fn attribute_value(raw: &str) -> Cow<'_, str> {
    if !raw.contains(['&', '\t', '\n', '\r']) {
        return Cow::Borrowed(raw);
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\t', '\n', '\r']) {
        value.push_str(&rest[..at]);
        let (special, after) = rest[at..].split_at(1);
        rest = after;
        if special != "&" {
            rest = if special == "\r" { rest.strip_prefix('\n').unwrap_or(rest) } else { rest };
            value.push(' ');
        } else if let Some((name, after)) = rest.split_once(';') {
            value.extend(resolve(name));
            rest = after;
        }
    }
    value.push_str(rest);
    Cow::Owned(value)
}

/// What stands between `&` and `;`: one of the five entities, or a character by number.
pub(super) fn resolve(name: &str) -> Result<char, XmlError> {
    let numbered = |digits: &str, radix: u32| {
        let valid = !digits.is_empty() && digits.len() <= 32 && digits.chars().all(|c| c.is_digit(radix));
        valid
            .then(|| u32::from_str_radix(digits, radix).ok())
            .flatten()
            .and_then(char::from_u32)
            .filter(|c| is_xml_char(*c))
    };
    let found = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix('#') {
            Some(number) => {
                number.strip_prefix('x').map_or_else(|| numbered(number, 10), |hex| numbered(hex, 16))
            }
            None => None,
        },
    };
    found.ok_or_else(|| XmlError::malformed("a reference to what is not declared"))
}

pub(super) fn processing_instruction(content: &str) -> Result<(), XmlError> {
    let target = content.split(is_space).next().unwrap_or_default();
    if is_nc_name(target) && !target.eq_ignore_ascii_case("xml") {
        Ok(())
    } else {
        Err(XmlError::malformed("a processing instruction without a usable target"))
    }
}
