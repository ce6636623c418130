//! Reading small XML documents strictly: every element in its place, no stray text, no attribute taken for another's.
//!
//! What schema validation is for elsewhere, for the few documents whose structure carries a proof ([`crate::hash_chain`],
//! [`crate::xades`]). Names are compared with their namespace, prefixes never. Comments and processing instructions may stand
//! between elements, but not inside a value, where they could hide a part of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::{Node, NodeType};

use crate::c14n::{self, Method};
use crate::digest::DigestAlgorithm;

/// XML-DSig.
pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
/// XML Schema instance attributes, which may stand anywhere.
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Most prefixes in the list of a canonicalisation.
const MAX_PREFIXES: usize = 32;

/// Which structural rule a document breaks. Holds nothing of the document, so that it can be logged as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrictError {
    #[error("{child} is not where {parent} must have it")]
    Missing { parent: &'static str, child: &'static str },
    #[error("{0} has an element that does not belong there")]
    Element(&'static str),
    #[error("{0} has an attribute that does not belong there")]
    Attribute(&'static str),
    #[error("{element} lacks its attribute {attribute}")]
    NoAttribute { element: &'static str, attribute: &'static str },
    #[error("{0} has text between its elements")]
    Text(&'static str),
    #[error("{0} holds something else than text")]
    NotText(&'static str),
    #[error("{0} is not base64")]
    Base64(&'static str),
    #[error("{0} names no digest algorithm that is accepted")]
    Digest(&'static str),
    #[error("InclusiveNamespaces lists more than {MAX_PREFIXES} prefixes")]
    Prefixes,
}

/// The child elements of one element, taken in order.
pub(crate) struct Elements<'a, 'input> {
    parent: &'static str,
    next: Option<Node<'a, 'input>>,
}

impl<'a, 'input> Elements<'a, 'input> {
    /// `name` is what errors call the parent.
    pub(crate) fn of(parent: Node<'a, 'input>, name: &'static str) -> Result<Self, StrictError> {
        let is_stray = |node: Node<'_, '_>| {
            node.is_text()
                && node.text().is_some_and(|text| text.bytes().any(|byte| !byte.is_ascii_whitespace()))
        };
        if parent.children().any(is_stray) {
            return Err(StrictError::Text(name));
        }
        Ok(Self { parent: name, next: parent.first_element_child() })
    }

    /// The next element when it has this name.
    pub(crate) fn optional(&mut self, namespace: &str, name: &str) -> Option<Node<'a, 'input>> {
        let found = self.next.filter(|node| is(*node, namespace, name))?;
        self.next = found.next_sibling_element();
        Some(found)
    }

    /// The next element, which must have this name.
    pub(crate) fn required(
        &mut self,
        namespace: &str,
        name: &'static str,
    ) -> Result<Node<'a, 'input>, StrictError> {
        self.optional(namespace, name).ok_or(StrictError::Missing { parent: self.parent, child: name })
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Option<Node<'a, 'input>> {
        let found = self.next?;
        self.next = found.next_sibling_element();
        Some(found)
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), StrictError> {
        if self.next.is_some() { Err(StrictError::Element(self.parent)) } else { Ok(()) }
    }
}

/// The element has this name in this namespace.
pub(crate) fn is(node: Node<'_, '_>, namespace: &str, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name && node.tag_name().namespace() == Some(namespace)
}

/// The value of the attribute `name` that is in no namespace; `Node::attribute` would take one of any namespace.
pub(crate) fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|a| a.namespace().is_none() && a.name() == name).map(|a| a.value())
}

/// [`attribute`], which must be there.
pub(crate) fn required_attribute<'a>(
    node: Node<'a, '_>,
    element: &'static str,
    name: &'static str,
) -> Result<&'a str, StrictError> {
    attribute(node, name).ok_or(StrictError::NoAttribute { element, attribute: name })
}

/// No attributes but these (and those of schema instances).
pub(crate) fn only_attributes(
    node: Node<'_, '_>,
    element: &'static str,
    names: &[&str],
) -> Result<(), StrictError> {
    let known = |a: &roxmltree::Attribute<'_, '_>| match a.namespace() {
        None => names.contains(&a.name()),
        Some(namespace) => namespace == XSI,
    };
    if node.attributes().all(|a| known(&a)) { Ok(()) } else { Err(StrictError::Attribute(element)) }
}

/// The element's text, which is all it holds.
pub(crate) fn text<'a>(node: Node<'a, '_>, name: &'static str) -> Result<&'a str, StrictError> {
    match node.first_child() {
        None => Ok(""),
        Some(only) if only.node_type() == NodeType::Text && only.next_sibling().is_none() => {
            Ok(only.text().unwrap_or_default())
        }
        Some(_) => Err(StrictError::NotText(name)),
    }
}

/// The element's text, decoded from base64; white space in it is skipped.
pub(crate) fn base64(node: Node<'_, '_>, name: &'static str) -> Result<Vec<u8>, StrictError> {
    decode_base64(text(node, name)?).ok_or(StrictError::Base64(name))
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return STANDARD.decode(text).ok();
    }
    let mut compact = Vec::with_capacity(text.len());
    compact.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    STANDARD.decode(compact).ok()
}

/// The algorithm of a `ds:DigestMethod`, one that may protect a signature.
pub(crate) fn digest_method(node: Node<'_, '_>) -> Result<DigestAlgorithm, StrictError> {
    Elements::of(node, "DigestMethod")?.end()?;
    only_attributes(node, "DigestMethod", &["Algorithm"])?;
    DigestAlgorithm::from_uri(required_attribute(node, "DigestMethod", "Algorithm")?)
        .and_then(DigestAlgorithm::for_signatures)
        .ok_or(StrictError::Digest("DigestMethod"))
}

/// The method of a `ds:CanonicalizationMethod` or `ds:Transform`; `None` when it is another algorithm.
pub(crate) fn canonicalization(
    node: Node<'_, '_>,
    name: &'static str,
) -> Result<Option<Method>, StrictError> {
    only_attributes(node, name, &["Algorithm"])?;
    let uri = required_attribute(node, name, "Algorithm")?;
    let mut children = Elements::of(node, name)?;
    let Some(inclusive) = children.optional(c14n::EXCLUSIVE, "InclusiveNamespaces") else {
        // What else may stand below depends on the algorithm; ours have nothing else.
        return Ok(if children.end().is_ok() { Method::from_uri(uri, None) } else { None });
    };
    children.end()?;
    Elements::of(inclusive, "InclusiveNamespaces")?.end()?;
    only_attributes(inclusive, "InclusiveNamespaces", &["PrefixList"])?;
    let list = required_attribute(inclusive, "InclusiveNamespaces", "PrefixList")?;
    // Looked up for every element.
    if list.split_ascii_whitespace().count() > MAX_PREFIXES {
        return Err(StrictError::Prefixes);
    }
    Ok(Method::from_uri(uri, Some(list)))
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn root(xml: &str, check: impl FnOnce(Node<'_, '_>)) {
        check(Document::parse(xml).expect("the example is XML").root_element());
    }

    #[test]
    fn elements_come_in_order_and_all_are_used() {
        root("<r xmlns='u'> <a/> <!-- c --> <b/><?p?> </r>", |r| {
            let mut elements = Elements::of(r, "r").expect("no stray text");
            assert!(elements.optional("u", "b").is_none(), "b is not first");
            assert!(elements.optional("v", "a").is_none(), "a is of another namespace");
            assert!(elements.required("u", "a").is_ok());
            let missing = elements.required("u", "c").expect_err("c is not there");
            assert_eq!(missing, StrictError::Missing { parent: "r", child: "c" });
            assert_eq!(elements.end(), Err(StrictError::Element("r")), "b is left");
        });
        root("<r>x<a/></r>", |r| {
            assert_eq!(Elements::of(r, "r").err(), Some(StrictError::Text("r")));
        });
    }

    #[test]
    fn a_value_is_text_and_nothing_else() {
        let cases = [
            ("<v>QUI=</v>", Ok(b"AB".to_vec())),
            ("<v>\n QU&#13;\nI= </v>", Ok(b"AB".to_vec())),
            ("<v><![CDATA[QUI=]]></v>", Ok(b"AB".to_vec())),
            ("<v/>", Ok(vec![])),
            ("<v>QUI</v>", Err(StrictError::Base64("v"))),
            ("<v>QUI=QUI=</v>", Err(StrictError::Base64("v"))),
            ("<v>QU-_</v>", Err(StrictError::Base64("v"))),
            ("<v>QU<!-- -->I=</v>", Err(StrictError::NotText("v"))),
            ("<v>QU<?p?>I=</v>", Err(StrictError::NotText("v"))),
            ("<v>QU<x/>I=</v>", Err(StrictError::NotText("v"))),
        ];
        for (xml, expected) in cases {
            root(xml, |v| assert_eq!(base64(v, "v"), expected, "{xml}"));
        }
    }

    #[test]
    fn an_attribute_of_a_namespace_is_not_taken_for_a_plain_one() {
        root("<r xmlns:p='u' p:Id='wrong'/>", |r| {
            assert_eq!(attribute(r, "Id"), None);
            assert_eq!(only_attributes(r, "r", &["Id"]), Err(StrictError::Attribute("r")));
        });
        root("<r xmlns:p='u' p:Id='wrong' Id='right'/>", |r| assert_eq!(attribute(r, "Id"), Some("right")));
    }
}
