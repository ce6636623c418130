//! A strict pull reader over the tokenizer; the module above says what it promises.
//!
//! The tokenizer (`quick-xml`) finds where tags, text and references begin and end, and that end tags fit. Everything else is
//! decided here, on slices of the input: nothing is copied until a caller asks for a value that holds references.
use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::errors::{Error, SyntaxError};
use quick_xml::events::Event;

use super::lexical::{
    MAX_NAME_BYTES, attribute_value, check_attribute_value, has_forbidden_char, is_space, next_attribute,
    processing_instruction, qualified, resolve, within,
};
use super::{Limits, XmlError};

/// From here on, doubles are looked for by sorting.
const MANY_ATTRIBUTES: usize = 16;
const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NS: &str = "http://www.w3.org/2000/xmlns/";
const BOM: &str = "\u{feff}";

/// One step through a document.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// An element begins; an empty one is followed by its [`Node::End`] like any other.
    Start(Element<'a>),
    /// The innermost open element ends.
    End,
    /// Character data as written, without references, line ends not normalised: see [`Node::append_to`].
    Text(&'a str),
    /// The content of a CDATA section, as written.
    CData(&'a str),
    /// A character reference or one of the five entities.
    Char(char),
    /// A comment or processing instruction.
    Other,
}

impl Node<'_> {
    /// Adds what the node says to `text`, line ends as XML 1.0 §2.11 has them.
    pub fn append_to(&self, text: &mut String) {
        match self {
            Node::Text(run) | Node::CData(run) if run.contains('\r') => {
                text.push_str(&run.replace("\r\n", "\n").replace('\r', "\n"));
            }
            Node::Text(run) | Node::CData(run) => text.push_str(run),
            Node::Char(c) => text.push(*c),
            Node::Start(_) | Node::End | Node::Other => {}
        }
    }
}

/// The start tag of an element.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// Its prefix, empty when it has none.
    pub prefix: &'a str,
    /// Its name without prefix.
    pub local: &'a str,
    /// Whether it was written as an empty-element tag.
    pub empty: bool,
    uri: Option<usize>,
}

/// An attribute, namespace declarations apart.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its prefix, empty when it has none.
    pub prefix: &'a str,
    /// Its name without prefix.
    pub local: &'a str,
    /// Its value as written between the quotes.
    pub raw: &'a str,
    uri: Option<usize>,
}

impl<'a> Attribute<'a> {
    /// The value with references resolved, white space normalised (XML 1.0 §3.3.3).
    pub fn value(&self) -> Cow<'a, str> {
        attribute_value(self.raw)
    }
}

/// A namespace declaration in scope.
#[derive(Debug)]
struct Binding<'a> {
    prefix: &'a str,
    /// Empty: the default namespace is undeclared.
    uri: Cow<'a, str>,
    /// Index of the first binding in scope with this URI, so that URIs compare as numbers.
    same_as: usize,
    depth: usize,
}

/// Reads one document, node by node.
#[derive(Debug)]
pub struct Pull<'a> {
    reader: Reader<&'a [u8]>,
    text: &'a str,
    /// Bytes of the byte order mark before `text`.
    base: usize,
    limits: Limits,
    bindings: Vec<Binding<'a>>,
    attributes: Vec<Attribute<'a>>,
    span: Range<usize>,
    depth: usize,
    elements: usize,
    /// An empty-element tag was given as start; its end is due.
    end_due: bool,
    started: bool,
    rooted: bool,
    encoding: Option<&'a str>,
}

impl<'a> Pull<'a> {
    /// Over a whole document, with or without a byte order mark.
    ///
    /// # Errors
    /// More bytes than `limits` has, or a character that XML does not.
    pub fn new(text: &'a str, limits: Limits) -> Result<Self, XmlError> {
        if text.len() > limits.bytes {
            return Err(XmlError::Limit { what: "bytes", limit: limits.bytes });
        }
        let base = if text.starts_with(BOM) { BOM.len() } else { 0 };
        let text = &text[base..];
        // The tokenizer would pass over a second mark, and its positions would no longer be ours.
        if text.starts_with(BOM) {
            return Err(XmlError::malformed("a second byte order mark"));
        }
        if has_forbidden_char(text) {
            return Err(XmlError::malformed("a character that XML does not have"));
        }
        let mut reader = Reader::from_str(text);
        reader.config_mut().enable_all_checks(true);
        let xml = Binding { prefix: "xml", uri: Cow::Borrowed(XML_NS), same_as: 0, depth: 0 };
        Ok(Self {
            reader,
            text,
            base,
            limits,
            bindings: vec![xml],
            attributes: Vec::new(),
            span: base..base,
            depth: 0,
            elements: 0,
            end_due: false,
            started: false,
            rooted: false,
            encoding: None,
        })
    }

    /// The next node; `None` after the whole document.
    ///
    /// # Errors
    /// The first broken rule; the reader is of no use afterwards.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not say that it failed and is done")]
    pub fn next(&mut self) -> Result<Option<Node<'a>>, XmlError> {
        if self.end_due {
            self.end_due = false;
            self.span.start = self.span.end;
            self.close();
            return Ok(Some(Node::End));
        }
        loop {
            let start = self.position();
            let event = self.reader.read_event().map_err(|e| self.refusal(&e))?;
            self.span = self.base + start..self.base + self.position();
            let written = &self.text[start..self.position()];
            let first = !std::mem::replace(&mut self.started, true);
            let node = match event {
                Event::Start(_) => Node::Start(self.open(&written[1..written.len() - 1], false)?),
                Event::Empty(_) => Node::Start(self.open(&written[1..written.len() - 2], true)?),
                Event::End(_) => {
                    self.close();
                    Node::End
                }
                Event::Text(_) => self.character_data(written)?,
                Event::CData(_) => {
                    self.inside("a CDATA section")?;
                    Node::CData(&written["<![CDATA[".len()..written.len() - "]]>".len()])
                }
                Event::GeneralRef(_) => {
                    self.inside("a reference")?;
                    Node::Char(resolve(&written[1..written.len() - 1])?)
                }
                Event::Decl(_) if first => {
                    self.declaration(&written["<?xml".len()..written.len() - "?>".len()])?;
                    continue;
                }
                Event::Decl(_) => {
                    return Err(XmlError::malformed("an XML declaration that is not at the start"));
                }
                Event::PI(_) => {
                    processing_instruction(&written["<?".len()..written.len() - "?>".len()])?;
                    Node::Other
                }
                Event::Comment(_) => Node::Other,
                Event::DocType(_) => return Err(XmlError::Doctype),
                Event::Eof => return self.finish(),
            };
            return Ok(Some(node));
        }
    }

    /// Where the last node stands in the text that was given; an [`Node::End`] that was not written is empty.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// How many elements are open: after [`Node::Start`] with it, after [`Node::End`] without it.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// How many elements have begun until now.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The encoding that the XML declaration names.
    pub fn declared_encoding(&self) -> Option<&'a str> {
        self.encoding
    }

    /// The namespace of an element that is still open.
    pub fn namespace(&self, element: &Element<'a>) -> Option<&str> {
        element.uri.map(|index| &*self.bindings[index].uri)
    }

    /// Whether an element that is still open has this expanded name.
    pub fn is(&self, element: &Element<'a>, namespace: &str, local: &str) -> bool {
        element.local == local && self.namespace(element) == Some(namespace)
    }

    /// Whether the element of the last [`Node::Start`] declares this prefix itself; empty is the default namespace.
    pub fn declares_here(&self, prefix: &str) -> bool {
        self.bindings.iter().rev().take_while(|b| b.depth == self.depth).any(|b| b.prefix == prefix)
    }

    /// Attributes of the last [`Node::Start`], in order.
    pub fn attributes(&self) -> &[Attribute<'a>] {
        &self.attributes
    }

    /// The value of an attribute of the last [`Node::Start`]; `None` as namespace is an attribute without prefix.
    pub fn attribute(&self, namespace: Option<&str>, local: &str) -> Option<Cow<'a, str>> {
        let fits =
            |a: &&Attribute<'a>| a.local == local && a.uri.map(|i| &*self.bindings[i].uri) == namespace;
        self.attributes.iter().find(fits).map(Attribute::value)
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).expect("a position lies inside the text")
    }

    fn open(&mut self, tag: &'a str, empty: bool) -> Result<Element<'a>, XmlError> {
        if self.depth == 0 && std::mem::replace(&mut self.rooted, true) {
            return Err(XmlError::malformed("a second root element"));
        }
        self.depth += 1;
        self.elements += 1;
        within(self.depth, "nested elements", self.limits.depth)?;
        within(self.elements, "elements", self.limits.elements)?;
        let (name, rest) = tag.split_at(tag.find(is_space).unwrap_or(tag.len()));
        let (prefix, local) = qualified(name)?;
        // Reserved (Namespaces in XML 1.0 §3), and not every reader lets an element have it.
        if prefix == "xml" {
            return Err(XmlError::malformed("an element with the reserved prefix xml"));
        }
        self.read_attributes(rest)?;
        self.resolve_attributes()?;
        let uri = self.lookup(prefix)?;
        self.end_due = empty;
        Ok(Element { prefix, local, empty, uri })
    }

    fn close(&mut self) {
        while self.bindings.last().is_some_and(|b| b.depth == self.depth && b.depth > 0) {
            self.bindings.pop();
        }
        self.depth -= 1;
    }

    /// Takes namespace declarations into scope and the other attributes into the list.
    fn read_attributes(&mut self, mut rest: &'a str) -> Result<(), XmlError> {
        self.attributes.clear();
        while let Some((name, raw)) = next_attribute(&mut rest)? {
            check_attribute_value(raw)?;
            match qualified(name)? {
                ("", "xmlns") => self.bind("", raw)?,
                ("xmlns", prefix) => self.bind(prefix, raw)?,
                (prefix, local) => {
                    within(self.attributes.len() + 1, "attributes of an element", self.limits.attributes)?;
                    self.attributes.push(Attribute { prefix, local, raw, uri: None });
                }
            }
        }
        Ok(())
    }

    fn bind(&mut self, prefix: &'a str, raw: &'a str) -> Result<(), XmlError> {
        let uri = attribute_value(raw);
        within(uri.len(), "bytes in a name", MAX_NAME_BYTES)?;
        within(self.bindings.len(), "namespace declarations in scope", self.limits.namespaces)?;
        let reserved = prefix == "xmlns" || uri == XMLNS_NS || (prefix == "xml") != (uri == XML_NS);
        if reserved || (uri.is_empty() && !prefix.is_empty()) {
            return Err(XmlError::malformed("a namespace declaration that is not allowed"));
        }
        if self.bindings.iter().rev().take_while(|b| b.depth == self.depth).any(|b| b.prefix == prefix) {
            return Err(XmlError::malformed("an attribute that is there twice"));
        }
        let same_as = self.bindings.iter().position(|b| b.uri == uri).unwrap_or(self.bindings.len());
        self.bindings.push(Binding { prefix, uri, same_as, depth: self.depth });
        Ok(())
    }

    /// Gives each attribute its namespace and looks for doubles, by expanded name.
    fn resolve_attributes(&mut self) -> Result<(), XmlError> {
        let many = self.attributes.len() > MANY_ATTRIBUTES;
        for index in 0..self.attributes.len() {
            let Attribute { prefix, local, .. } = self.attributes[index];
            let uri = if prefix.is_empty() { None } else { self.lookup(prefix)? };
            self.attributes[index].uri = uri;
            if !many && self.attributes[..index].iter().any(|a| a.uri == uri && a.local == local) {
                return Err(XmlError::malformed("an attribute that is there twice"));
            }
        }
        if many {
            let mut names: Vec<_> = self.attributes.iter().map(|a| (a.uri, a.local)).collect();
            names.sort_unstable();
            if names.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(XmlError::malformed("an attribute that is there twice"));
            }
        }
        Ok(())
    }

    /// The namespace of a prefix, as the index of the first binding in scope that has its URI.
    fn lookup(&self, prefix: &str) -> Result<Option<usize>, XmlError> {
        match self.bindings.iter().rev().find(|b| b.prefix == prefix) {
            Some(binding) if binding.uri.is_empty() => Ok(None),
            Some(binding) => Ok(Some(binding.same_as)),
            None if prefix.is_empty() => Ok(None),
            None => Err(XmlError::malformed("a prefix that is not declared")),
        }
    }

    fn character_data(&self, run: &'a str) -> Result<Node<'a>, XmlError> {
        if self.depth == 0 && !run.chars().all(is_space) {
            return Err(XmlError::malformed("text outside the root element"));
        }
        if memchr::memmem::find(run.as_bytes(), b"]]>").is_some() {
            return Err(XmlError::malformed("the end of a CDATA section in text"));
        }
        Ok(Node::Text(run))
    }

    fn inside(&self, what: &str) -> Result<(), XmlError> {
        if self.depth > 0 {
            Ok(())
        } else {
            Err(XmlError::malformed(format!("{what} outside the root element")))
        }
    }

    /// `version`, then perhaps `encoding`, then perhaps `standalone` (XML 1.0 §2.8).
    fn declaration(&mut self, mut rest: &'a str) -> Result<(), XmlError> {
        let refused = || XmlError::malformed("an XML declaration of another form");
        let mut names = ["version", "encoding", "standalone"].iter();
        let mut version = None;
        while let Some((name, value)) = next_attribute(&mut rest)? {
            names.find(|n| **n == name).ok_or_else(refused)?;
            match name {
                "version" => version = Some(value),
                "encoding" => self.encoding = Some(value),
                _ => {
                    if value != "yes" && value != "no" {
                        return Err(refused());
                    }
                }
            }
        }
        match version {
            Some("1.0") => Ok(()),
            // Read by the rules of 1.0, which have fewer characters; line ends that only 1.1 knows would be a second reading.
            Some("1.1") if !self.text.contains(['\u{85}', '\u{2028}']) => Ok(()),
            _ => Err(refused()),
        }
    }

    fn finish(&self) -> Result<Option<Node<'a>>, XmlError> {
        if self.depth > 0 {
            Err(XmlError::malformed("an element that is not closed"))
        } else if !self.rooted {
            Err(XmlError::malformed("no root element"))
        } else {
            Ok(None)
        }
    }

    fn refusal(&self, error: &Error) -> XmlError {
        let what = match error {
            Error::Syntax(SyntaxError::UnclosedDoctype) => return XmlError::Doctype,
            Error::Syntax(_) => "markup that does not end",
            Error::IllFormed(_) => "a tag, comment or reference that does not fit",
            _ => "markup",
        };
        XmlError::malformed(format!("{what} before byte {}", self.base + self.position()))
    }
}
