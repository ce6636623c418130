//! The pull reader behind every configuration document: strict about what the schema allows, bounded, one pass.
//!
//! Elements are asked for in the order of the schema's `xs:sequence`, so that a document that does not follow the schema is refused
//! by the first element out of place. Elements inside the root have no namespace, identifiers have [`IDENTIFIERS`]; only extension
//! points skip what they do not know. What is XML at all, and how deep and large, [`Pull`] decides. Values are copied out; nothing
//! keeps the input alive.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::id::{ClientId, MemberId};
use crate::xml::{Element, Limits, Node, Pull, XmlError};

/// Namespace of the root of every configuration document.
pub(super) const XROAD: &str = "http://x-road.eu/xsd/xroad.xsd";
/// Namespace of identifiers.
pub(super) const IDENTIFIERS: &str = "http://x-road.eu/xsd/identifiers";

/// Largest configuration document: room for a hundred thousand members with their subsystems and servers.
pub const MAX_DOCUMENT_BYTES: usize = 128 << 20;

/// Bounds on one document.
pub(super) const LIMITS: Limits =
    Limits { bytes: MAX_DOCUMENT_BYTES, depth: 32, attributes: 16, namespaces: 32, elements: 8_000_000 };

/// Base64 as XML documents have it: padding may be missing, as some writers leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a configuration document is refused, or cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not XML that we take.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// The root is another element.
    #[error("the root element is not {0}")]
    Root(&'static str),
    /// A required element is not where the schema wants it.
    #[error("element {0} is missing")]
    Missing(&'static str),
    /// An element, or text between elements, that the schema does not allow there.
    #[error("{0} is not allowed here")]
    Unexpected(String),
    /// A value that is not of its type.
    #[error("the value of {0} is not valid")]
    Value(&'static str),
    /// The same `id` twice.
    #[error("id {0} is used twice")]
    DuplicateId(String),
    /// A reference to an `id` that does not exist, or is of the wrong kind.
    #[error("there is no element with id {0}")]
    UnknownId(String),
    /// It could not be read from where it lies.
    #[error("{0}")]
    Input(String),
    /// Not a version from 2 to 6.
    #[error("configuration version {0} is not supported")]
    Version(u32),
    /// A character that XML cannot carry.
    #[error("a character of {0} cannot be written in XML")]
    Character(&'static str),
}

/// The next thing in the document, with comments, processing instructions and white space gone.
enum Token<'a> {
    Start(Element<'a>),
    End,
    Eof,
}

/// The reader. Errors leave it useless.
pub(super) struct Reader<'a> {
    xml: Pull<'a>,
    /// Read ahead by [`Self::at`].
    next: Option<Token<'a>>,
    /// Where the start tag of the root ends.
    root_end: usize,
}

/// How far a document was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where the start tag of the root ends.
    pub(super) root_end: usize,
    /// Behind what was read.
    pub(super) end: usize,
    /// Elements in what was read.
    pub(super) elements: usize,
}

impl<'a> Reader<'a> {
    /// Enters the root, `name` in [`XROAD`].
    pub(super) fn open(bytes: &'a [u8], name: &'static str) -> Result<Self, DocumentError> {
        if bytes.len() > LIMITS.bytes {
            return Err(XmlError::Limit { what: "bytes", limit: LIMITS.bytes }.into());
        }
        Self::over(std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?, name, LIMITS)
    }

    /// As [`Self::open`], of text within `limits`.
    pub(super) fn over(text: &'a str, name: &'static str, limits: Limits) -> Result<Self, DocumentError> {
        let mut reader = Self { xml: Pull::new(text, limits)?, next: None, root_end: 0 };
        let root = reader.take()?;
        reader.root_end = reader.xml.span().end;
        if !reader.xml.declared_encoding().is_none_or(is_utf8_name) {
            return Err(XmlError::Encoding.into());
        }
        match root {
            Token::Start(root) if reader.xml.is(&root, XROAD, name) => Ok(reader),
            Token::Start(_) | Token::End | Token::Eof => Err(DocumentError::Root(name)),
        }
    }

    /// How far the document was read; what was only looked at ahead is not.
    pub(super) fn place(&self) -> Place {
        let (span, elements) = (self.xml.span(), self.xml.elements());
        let (end, elements) = match &self.next {
            None => (span.end, elements),
            Some(Token::Start(_)) => (span.start, elements - 1),
            Some(Token::End | Token::Eof) => (span.start, elements),
        };
        Place { root_end: self.root_end, end, elements }
    }

    /// Whether the next element is `name`, without a namespace.
    pub(super) fn at(&mut self, name: &str) -> Result<bool, DocumentError> {
        self.at_in(None, name)
    }

    fn at_in(&mut self, namespace: Option<&str>, name: &str) -> Result<bool, DocumentError> {
        let token = self.take()?;
        let fits = self.fits(&token, namespace, name);
        self.next = Some(token);
        Ok(fits)
    }

    fn fits(&self, token: &Token<'a>, namespace: Option<&str>, name: &str) -> bool {
        matches!(token, Token::Start(e) if e.local == name && self.xml.namespace(e) == namespace)
    }

    /// Enters the required element `name`; its `id` attribute, if it has one.
    pub(super) fn enter(&mut self, name: &'static str) -> Result<Option<String>, DocumentError> {
        self.start(None, name)?;
        Ok(self.xml.attribute(None, "id").map(|id| id.into_owned()))
    }

    fn start(&mut self, namespace: Option<&str>, name: &'static str) -> Result<(), DocumentError> {
        let token = self.take()?;
        if self.fits(&token, namespace, name) { Ok(()) } else { Err(DocumentError::Missing(name)) }
    }

    /// Leaves the element that was entered last; nothing may be left in it.
    pub(super) fn leave(&mut self) -> Result<(), DocumentError> {
        match self.take()? {
            Token::End => Ok(()),
            Token::Start(element) => Err(DocumentError::Unexpected(element.local.to_owned())),
            Token::Eof => Err(DocumentError::Unexpected("the end of the document".into())),
        }
    }

    /// Leaves the root, skipping extension elements when there may be some, and checks that nothing follows.
    pub(super) fn close(mut self, extensions: bool) -> Result<(), DocumentError> {
        while extensions && self.at_any()? {
            self.skip()?;
        }
        self.leave()?;
        match self.take()? {
            Token::Eof => Ok(()),
            Token::Start(_) | Token::End => {
                Err(DocumentError::Unexpected("an element after the root".into()))
            }
        }
    }

    fn at_any(&mut self) -> Result<bool, DocumentError> {
        let token = self.take()?;
        let any = matches!(token, Token::Start(_));
        self.next = Some(token);
        Ok(any)
    }

    /// Skips the next element with all that is in it.
    pub(super) fn skip(&mut self) -> Result<(), DocumentError> {
        self.take()?;
        // The depth counts the element just entered, and no longer does when its end has been read.
        let depth = self.xml.depth();
        while self.xml.depth() >= depth {
            self.xml.next()?;
        }
        Ok(())
    }

    /// Text of the required element `name`, white space as written.
    pub(super) fn text(&mut self, name: &'static str) -> Result<String, DocumentError> {
        self.text_in(None, name)
    }

    fn text_in(&mut self, namespace: Option<&str>, name: &'static str) -> Result<String, DocumentError> {
        self.start(namespace, name)?;
        let mut text = String::new();
        loop {
            match self.xml.next()? {
                Some(Node::End) => return Ok(text),
                Some(Node::Start(_)) | None => return Err(DocumentError::Value(name)),
                Some(node) => node.append_to(&mut text),
            }
        }
    }

    /// Text of `name` when it is next.
    pub(super) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, DocumentError> {
        if self.at(name)? { self.text(name).map(Some) } else { Ok(None) }
    }

    /// `xs:base64Binary`.
    pub(super) fn binary(&mut self, name: &'static str) -> Result<Vec<u8>, DocumentError> {
        let mut text = self.text(name)?;
        text.retain(|c| !c.is_ascii_whitespace());
        BASE64.decode(text).map_err(|_| DocumentError::Value(name))
    }

    /// `xs:base64Binary` when it is next.
    pub(super) fn optional_binary(&mut self, name: &'static str) -> Result<Option<Vec<u8>>, DocumentError> {
        if self.at(name)? { self.binary(name).map(Some) } else { Ok(None) }
    }

    /// Every consecutive `name` as `xs:base64Binary`.
    pub(super) fn binaries(&mut self, name: &'static str) -> Result<Vec<Vec<u8>>, DocumentError> {
        let mut found = Vec::new();
        while self.at(name)? {
            found.push(self.binary(name)?);
        }
        Ok(found)
    }

    /// `xs:boolean`.
    pub(super) fn boolean(&mut self, name: &'static str) -> Result<bool, DocumentError> {
        match self.text(name)?.trim() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(DocumentError::Value(name)),
        }
    }

    /// `xs:integer` of a count of seconds: never negative.
    pub(super) fn seconds(&mut self, name: &'static str) -> Result<u64, DocumentError> {
        let text = self.text(name)?;
        text.trim().parse().map_err(|_| DocumentError::Value(name))
    }

    /// `XRoadClientIdentifierType` in the required element `name`: whether there is a subsystem code decides the kind.
    pub(super) fn client_id(&mut self, name: &'static str) -> Result<ClientId, DocumentError> {
        self.start(None, name)?;
        let kind = self.xml.attribute(Some(IDENTIFIERS), "objectType");
        if !matches!(kind.as_deref(), Some("MEMBER" | "SUBSYSTEM")) {
            return Err(DocumentError::Value(name));
        }
        let member = MemberId {
            instance: self.text_in(Some(IDENTIFIERS), "xRoadInstance")?,
            class: self.text_in(Some(IDENTIFIERS), "memberClass")?,
            code: self.text_in(Some(IDENTIFIERS), "memberCode")?,
        };
        let subsystem = if self.at_in(Some(IDENTIFIERS), "subsystemCode")? {
            Some(self.text_in(Some(IDENTIFIERS), "subsystemCode")?)
        } else {
            None
        };
        self.leave()?;
        Ok(ClientId { member, subsystem })
    }

    fn take(&mut self) -> Result<Token<'a>, DocumentError> {
        if let Some(token) = self.next.take() {
            return Ok(token);
        }
        loop {
            match self.xml.next()? {
                Some(Node::Start(element)) => return Ok(Token::Start(element)),
                Some(Node::End) => return Ok(Token::End),
                None => return Ok(Token::Eof),
                Some(Node::Text(text)) if text.bytes().all(|b| b.is_ascii_whitespace()) => {}
                Some(Node::Text(_) | Node::CData(_) | Node::Char(_)) => {
                    return Err(DocumentError::Unexpected("text between elements".into()));
                }
                Some(Node::Other) => {}
            }
        }
    }
}

/// Names under which a declaration may announce what is read as UTF-8.
fn is_utf8_name(name: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known))
}
