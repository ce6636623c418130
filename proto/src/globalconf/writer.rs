//! The writer behind every configuration document: the layout of the reference, so that documents can be compared as text.
//!
//! Four spaces a level, one leaf a line, prefixes `ns2` (identifiers) and `ns3` (root), `standalone="yes"`. Text is escaped; what XML
//! cannot carry is refused.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::reader::{DocumentError, IDENTIFIERS, XROAD};
use crate::id::ClientId;

/// A document being written.
pub(super) struct Writer {
    out: String,
    open: Vec<&'static str>,
    root: &'static str,
}

impl Writer {
    /// Opens a document with root `name`.
    pub(super) fn new(name: &'static str) -> Self {
        let out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
             <ns3:{name} xmlns:ns2=\"{IDENTIFIERS}\" xmlns:ns3=\"{XROAD}\">\n"
        );
        Self { out, open: Vec::new(), root: name }
    }

    /// Closes the root.
    pub(super) fn finish(mut self) -> String {
        self.out.push_str("</ns3:");
        self.out.push_str(self.root);
        self.out.push_str(">\n");
        self.out
    }

    /// What was written, for those who take it before the end.
    pub(super) fn out(&mut self) -> &mut String {
        &mut self.out
    }

    fn indent(&mut self) {
        for _ in 0..=self.open.len() {
            self.out.push_str("    ");
        }
    }

    /// Opens an element.
    pub(super) fn enter(&mut self, name: &'static str) {
        self.enter_with(name, "");
    }

    /// Opens an element with `id="idN"`.
    pub(super) fn enter_with_id(&mut self, name: &'static str, id: u32) {
        self.indent();
        // Nothing that is written to a text fails.
        let _ = writeln!(self.out, "<{name} id=\"id{id}\">");
        self.open.push(name);
    }

    /// A leaf that names the element with `id="idN"`.
    pub(super) fn reference(&mut self, name: &'static str, id: u32) {
        self.indent();
        let _ = writeln!(self.out, "<{name}>id{id}</{name}>");
    }

    fn enter_with(&mut self, name: &'static str, attributes: &str) {
        self.indent();
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(attributes);
        self.out.push_str(">\n");
        self.open.push(name);
    }

    /// Closes the element opened last.
    pub(super) fn leave(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent();
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push_str(">\n");
        }
    }

    /// An element without content.
    pub(super) fn empty(&mut self, name: &'static str) {
        self.indent();
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str("/>\n");
    }

    /// A leaf.
    pub(super) fn text(&mut self, name: &'static str, value: &str) -> Result<(), DocumentError> {
        self.indent();
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        // U+FFFE and U+FFFF begin with this byte.
        let plain = |byte: u8| byte >= b' ' && !matches!(byte, b'&' | b'<' | b'>' | 0xef);
        if value.bytes().all(plain) {
            self.out.push_str(value);
        } else {
            self.escaped(name, value)?;
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
        Ok(())
    }

    fn escaped(&mut self, name: &'static str, value: &str) -> Result<(), DocumentError> {
        for c in value.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                // A bare carriage return would be read back as a line feed.
                '\r' => self.out.push_str("&#13;"),
                '\t' | '\n' => self.out.push(c),
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return Err(DocumentError::Character(name)),
                _ => self.out.push(c),
            }
        }
        Ok(())
    }

    /// A leaf that may be left out.
    pub(super) fn optional_text(
        &mut self,
        name: &'static str,
        value: Option<&str>,
    ) -> Result<(), DocumentError> {
        value.map_or(Ok(()), |value| self.text(name, value))
    }

    /// A leaf of `xs:base64Binary`.
    pub(super) fn binary(&mut self, name: &'static str, value: &[u8]) {
        self.indent();
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        STANDARD.encode_string(value, &mut self.out);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
    }

    /// A client identifier.
    pub(super) fn client_id(&mut self, name: &'static str, id: &ClientId) -> Result<(), DocumentError> {
        let kind = if id.subsystem.is_some() { "SUBSYSTEM" } else { "MEMBER" };
        self.enter_with(name, &format!(" ns2:objectType=\"{kind}\""));
        self.text("ns2:xRoadInstance", &id.member.instance)?;
        self.text("ns2:memberClass", &id.member.class)?;
        self.text("ns2:memberCode", &id.member.code)?;
        self.optional_text("ns2:subsystemCode", id.subsystem.as_deref())?;
        self.leave();
        Ok(())
    }
}
