//! The one gate for XML from outside: no DOCTYPE, no entities of its own, everything bounded [XML 1.0, Namespaces in XML 1.0].
//!
//! [`Pull`] reads a document as a stream of [`Node`]s and is stricter than the tokenizer under it: names, characters, attribute
//! values and references are held against the grammar, prefixes against their declarations, and every count against [`Limits`].
//! [`check`] runs it to the end; [`tree`] then also builds a read-only tree. What passes here is well-formed for other readers too,
//! so that nobody downstream sees a different document.
//!
//! Input is UTF-8, a byte order mark allowed; SOAP, where information systems choose the encoding, is transcoded before
//! (`encoding`). Validation against schemas is not here.
use std::borrow::Cow;

pub(crate) mod encoding;
mod lexical;
mod pull;
pub use pull::{Attribute, Element, Node, Pull};

/// Bounds on one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub bytes: usize,
    /// Nesting depth.
    pub depth: usize,
    /// Attributes of one element, namespace declarations not counted.
    pub attributes: usize,
    /// Namespace declarations in scope.
    pub namespaces: usize,
    /// Elements in the document.
    pub elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, depth: 100, attributes: 128, namespaces: 128, elements: 1_000_000 }
    }
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not XML.
    #[error("not well-formed: {0}")]
    Malformed(String),
    /// A document type declaration; never taken from outside.
    #[error("a document type declaration is not accepted")]
    Doctype,
    /// Not UTF-8 and not transcoded.
    #[error("the encoding is not supported")]
    Encoding,
    /// Over a bound.
    #[error("more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl XmlError {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

/// One pass over the document that builds nothing.
///
/// # Errors
/// The first broken rule.
pub fn check(xml: &[u8], limits: &Limits) -> Result<(), XmlError> {
    let mut pull = Pull::new(text(xml, limits)?, *limits)?;
    while pull.next()?.is_some() {}
    match pull.declared_encoding() {
        Some(name) if !is_utf8_name(name) => Err(XmlError::Encoding),
        _ => Ok(()),
    }
}

/// [`check`], then a read-only tree.
///
/// # Errors
/// The first broken rule.
pub fn tree<'a>(xml: &'a [u8], limits: &Limits) -> Result<roxmltree::Document<'a>, XmlError> {
    check(xml, limits)?;
    let options = roxmltree::ParsingOptions { allow_dtd: false, ..roxmltree::ParsingOptions::default() };
    roxmltree::Document::parse_with_options(text(xml, limits)?, options)
        .map_err(|e| XmlError::malformed(e.to_string()))
}

/// The document as text, within the bound on bytes.
fn text<'a>(xml: &'a [u8], limits: &Limits) -> Result<&'a str, XmlError> {
    if xml.len() > limits.bytes {
        return Err(XmlError::Limit { what: "bytes", limit: limits.bytes });
    }
    std::str::from_utf8(xml).map_err(|_| XmlError::Encoding)
}

/// Names under which a declaration may announce what is read as UTF-8.
fn is_utf8_name(name: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Text as character data: `&`, `<` and `>` escaped, carriage returns kept by reference, characters that XML cannot hold replaced
/// by U+FFFD.
pub fn escape_text(text: &str) -> Cow<'_, str> {
    escape(text, false)
}

/// Text as the value of an attribute in double quotes; as [`escape_text`], and line breaks, tabs and quotes survive.
pub fn escape_attribute(text: &str) -> Cow<'_, str> {
    escape(text, true)
}

fn escape(text: &str, attribute: bool) -> Cow<'_, str> {
    let reference = |c: char| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '\r' => Some("&#13;"),
        '"' if attribute => Some("&quot;"),
        '\n' if attribute => Some("&#10;"),
        '\t' if attribute => Some("&#9;"),
        c if !is_xml_char(c) => Some("\u{fffd}"),
        _ => None,
    };
    let Some(first) = text.find(|c| reference(c).is_some()) else { return Cow::Borrowed(text) };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for c in text[first..].chars() {
        match reference(c) {
            Some(written) => escaped.push_str(written),
            None => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// `Char` of XML 1.0 §2.2.
pub(crate) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests;
