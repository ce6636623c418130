//! Canonical XML: the one byte form of an element that its digest is taken over.
//!
//! Inclusive 1.0 (W3C REC-xml-c14n-20010315) and exclusive 1.0 (REC-xml-exc-c14n-20020718, with its list of inclusive
//! prefixes), both without comments; other methods do not occur in X-Road and are not here. The input is a tree that has passed
//! the gate of `proto::xml`, so no document type, no entities of its own, and depth and namespaces are bounded; the walk is
//! iterative all the same. Nothing fails.
//!
//! Prefixes are read from the source text, because a tree keeps names expanded and one name may have several prefixes.

use roxmltree::{Document, Node, NodeType};

/// Namespace of the `xml` prefix, which is always declared and never written.
const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";

/// URI of inclusive Canonical XML 1.0 without comments.
pub const INCLUSIVE: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
/// URI of exclusive Canonical XML 1.0 without comments; also the namespace of its `InclusiveNamespaces` element.
pub const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

/// A canonicalisation method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every namespace in scope is written.
    Inclusive,
    /// Namespaces are written where they are used.
    Exclusive {
        /// Prefixes treated as [`Method::Inclusive`] treats all; `#default` means the default namespace.
        prefixes: Vec<String>,
    },
}

impl Method {
    /// By algorithm URI; `prefix_list` is the `PrefixList` of an `InclusiveNamespaces` child, if there is one.
    pub fn from_uri(uri: &str, prefix_list: Option<&str>) -> Option<Self> {
        match (uri, prefix_list) {
            (INCLUSIVE, None) => Some(Self::Inclusive),
            (EXCLUSIVE, list) => Some(Self::Exclusive {
                prefixes: list.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
            }),
            _ => None,
        }
    }
}

/// Canonical form of `element` with everything below it, in the namespaces it inherits.
pub fn canonicalize(element: Node<'_, '_>, method: &Method) -> Vec<u8> {
    let length = element.range().len();
    let mut writer = Writer::new(method, length + length / 8 + 256);
    writer.subtree(element);
    writer.out
}

/// Canonical form of a whole document: its element, and the processing instructions around it.
pub fn canonicalize_document(document: &Document<'_>, method: &Method) -> Vec<u8> {
    let mut writer = Writer::new(method, document.input_text().len() + 256);
    let mut after_element = false;
    for node in document.root().children() {
        match node.node_type() {
            NodeType::Element => {
                writer.subtree(node);
                after_element = true;
            }
            // The tree takes a declaration for an instruction when what follows its name is no blank but a tab or a line end.
            NodeType::PI if node.pi().is_some_and(|pi| pi.target == "xml") => {}
            NodeType::PI if after_element => {
                writer.out.push(b'\n');
                writer.open(node, false);
            }
            NodeType::PI => {
                writer.open(node, false);
                writer.out.push(b'\n');
            }
            NodeType::Root | NodeType::Comment | NodeType::Text => {}
        }
    }
    writer.out
}

/// A prefix (`None` for the default namespace) and what it is bound to.
type Binding<'a> = (Option<&'a str>, &'a str);

struct Writer<'m, 'a> {
    method: &'m Method,
    out: Vec<u8>,
    /// Bindings written on the elements that are open, outermost first.
    written: Vec<Binding<'a>>,
    /// How long `written` was when each open element began.
    marks: Vec<usize>,
}

impl<'m, 'a> Writer<'m, 'a> {
    fn new(method: &'m Method, capacity: usize) -> Self {
        Self { method, out: Vec::with_capacity(capacity), written: Vec::new(), marks: Vec::new() }
    }

    fn subtree(&mut self, apex: Node<'a, '_>) {
        let mut node = apex;
        loop {
            self.open(node, node == apex);
            if let Some(child) = node.first_child() {
                node = child;
                continue;
            }
            // Nothing below: close this node and every ancestor that ends with it.
            loop {
                self.close(node);
                if node == apex {
                    return;
                }
                if let Some(next) = node.next_sibling() {
                    node = next;
                    break;
                }
                node = node.parent().expect("a node below the apex has a parent");
            }
        }
    }

    fn open(&mut self, node: Node<'a, '_>, is_apex: bool) {
        match node.node_type() {
            NodeType::Element => self.start_tag(node, is_apex),
            NodeType::Text => escape_text(&mut self.out, node.text().unwrap_or_default()),
            NodeType::PI => {
                let pi = node.pi().expect("the node is a processing instruction");
                self.write(&["<?", pi.target]);
                if let Some(value) = pi.value.filter(|value| !value.is_empty()) {
                    // The tree keeps these line ends as they came, unlike those of text.
                    self.write(&[" ", &value.replace("\r\n", "\n").replace('\r', "\n")]);
                }
                self.write(&["?>"]);
            }
            NodeType::Root | NodeType::Comment => {}
        }
    }

    fn close(&mut self, node: Node<'a, '_>) {
        if node.is_element() {
            self.write(&["</", qualified_name(node), ">"]);
            let mark = self.marks.pop().expect("every open element left a mark");
            self.written.truncate(mark);
        }
    }

    fn start_tag(&mut self, node: Node<'a, '_>, is_apex: bool) {
        self.marks.push(self.written.len());
        self.write(&["<", qualified_name(node)]);
        for (prefix, uri) in self.new_bindings(node) {
            match prefix {
                Some(prefix) => self.write(&[" xmlns:", prefix, "=\""]),
                None => self.write(&[" xmlns=\""]),
            }
            escape_attribute(&mut self.out, uri);
            self.out.push(b'"');
            self.written.push((prefix, uri));
        }
        for (_, _, name, value) in self.attributes(node, is_apex) {
            self.write(&[" ", name, "=\""]);
            escape_attribute(&mut self.out, value);
            self.out.push(b'"');
        }
        self.out.push(b'>');
    }

    /// The declarations this start tag must carry, in their order: default namespace first, then by prefix.
    fn new_bindings(&self, node: Node<'a, '_>) -> Vec<Binding<'a>> {
        let mut new: Vec<Binding<'a>> = match self.method {
            Method::Inclusive => node
                .namespaces()
                .map(|namespace| (namespace.name(), namespace.uri()))
                .filter(|binding| self.is_new(binding))
                .collect(),
            Method::Exclusive { prefixes } => {
                let own = std::iter::once(prefix_of(qualified_name(node)));
                // An attribute without a prefix is in no namespace and uses none.
                let attributes = node.attributes().map(|a| prefix_of(attribute_name(node, &a)));
                let listed = prefixes.iter().map(|p| (p != "#default").then_some(p.as_str()));
                own.chain(attributes.filter(Option::is_some))
                    .filter_map(|prefix| {
                        binding_in_scope(node, prefix).or(prefix.is_none().then_some((None, "")))
                    })
                    .chain(listed.filter_map(|prefix| binding_in_scope(node, prefix)))
                    .filter(|binding| self.is_new(binding))
                    .collect()
            }
        };
        new.sort_unstable();
        new.dedup();
        new
    }

    /// Whether the elements written so far leave `binding` unsaid. An empty default namespace needs saying only against another.
    fn is_new(&self, &(prefix, uri): &Binding<'a>) -> bool {
        if prefix == Some("xml") {
            return false;
        }
        match self.written.iter().rev().find(|(written, _)| *written == prefix) {
            Some((_, written)) => *written != uri,
            None => !(prefix.is_none() && uri.is_empty()),
        }
    }

    /// Namespace, local name, qualified name and value, in canonical order.
    fn attributes(&self, node: Node<'a, '_>, is_apex: bool) -> Vec<(&'a str, &'a str, &'a str, &'a str)> {
        let mut attributes = attributes_of(node).collect::<Vec<_>>();
        if is_apex && *self.method == Method::Inclusive {
            // C14N 1.0 §2.4: what `xml:lang` and its like say about the element goes with it; the nearest one counts.
            for ancestor in node.ancestors().skip(1) {
                for inherited in attributes_of(ancestor).filter(|(uri, ..)| *uri == XML_NAMESPACE) {
                    if !attributes.iter().any(|own| (own.0, own.1) == (inherited.0, inherited.1)) {
                        attributes.push(inherited);
                    }
                }
            }
        }
        attributes.sort_unstable();
        attributes
    }

    fn write(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.out.extend_from_slice(piece.as_bytes());
        }
    }
}

fn attributes_of<'a>(node: Node<'a, '_>) -> impl Iterator<Item = (&'a str, &'a str, &'a str, &'a str)> {
    node.attributes().map(move |attribute| {
        let name = attribute_name(node, &attribute);
        let local = name.split_once(':').map_or(name, |(_, local)| local);
        (attribute.namespace().unwrap_or_default(), local, name, attribute.value())
    })
}

/// The element's name as written, with its prefix.
fn qualified_name<'a>(element: Node<'a, '_>) -> &'a str {
    let text = &source(element)[element.range().start + 1..];
    let end = text.find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').unwrap_or(text.len());
    &text[..end]
}

/// The attribute's name as written, with its prefix.
fn attribute_name<'a>(owner: Node<'a, '_>, attribute: &roxmltree::Attribute<'a, '_>) -> &'a str {
    &source(owner)[attribute.range_qname()]
}

/// The document's text, borrowed for as long as its tree is.
fn source<'a>(node: Node<'a, '_>) -> &'a str {
    node.document().input_text()
}

fn prefix_of(qualified_name: &str) -> Option<&str> {
    qualified_name.split_once(':').map(|(prefix, _)| prefix)
}

fn binding_in_scope<'a>(node: Node<'a, '_>, prefix: Option<&str>) -> Option<Binding<'a>> {
    node.namespaces().find(|namespace| namespace.name() == prefix).map(|found| (found.name(), found.uri()))
}

pub(crate) fn escape_text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    });
}

pub(crate) fn escape_attribute(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'"' => Some("&quot;"),
        b'\t' => Some("&#x9;"),
        b'\n' => Some("&#xA;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    });
}

/// Copies `text` in runs, since few characters need escaping.
fn escape(out: &mut Vec<u8>, text: &str, replacement: impl Fn(u8) -> Option<&'static str>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if let Some(escaped) = replacement(byte) {
            out.extend_from_slice(&bytes[done..at]);
            out.extend_from_slice(escaped.as_bytes());
            done = at + 1;
        }
    }
    out.extend_from_slice(&bytes[done..]);
}

#[cfg(test)]
mod tests;
