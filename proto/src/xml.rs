//! The one gate for XML from outside: no DOCTYPE, no entities of its own, everything bounded.
//!
//! Every foreign document passes [`check`] before a tree is made of it; [`tree`] does both.

/// Bounds on one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub bytes: usize,
    /// Nesting depth.
    pub depth: usize,
    /// Attributes of one element.
    pub attributes: usize,
    /// Namespace declarations in scope.
    pub namespaces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, depth: 100, attributes: 128, namespaces: 128 }
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

/// One pass over the document that builds nothing.
///
/// # Errors
/// The first broken rule.
pub fn check(xml: &[u8], limits: &Limits) -> Result<(), XmlError> {
    let _ = (xml, limits);
    todo!()
}

/// [`check`], then a read-only tree.
///
/// # Errors
/// The first broken rule.
pub fn tree<'a>(xml: &'a [u8], limits: &Limits) -> Result<roxmltree::Document<'a>, XmlError> {
    let _ = (xml, limits);
    todo!()
}
