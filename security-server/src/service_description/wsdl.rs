//! WSDL 1.1: the operations that can be called over SOAP, with their versions and addresses [WSDL 1.1 §2, §3; PR-MESS §2.7].
//!
//! An operation of a port whose binding is SOAP 1.1 or 1.2 over HTTP is a service: its code is the operation's name, its version what
//! the binding's operation holds in an element `version`, its title what the documentation of the port type's operation holds in
//! `title`, its address the port's. Imports are not followed, so a binding defined elsewhere offers nothing.
//!
//! Reading takes a document type declaration, entities and other encodings than UTF-8 for an error, and bounds by [`LIMITS`]. Beyond
//! that, [`Wsdl::faults`] are mistakes with which clients cannot be generated, [`Wsdl::remarks`] are doubtful but usable.

use std::collections::BTreeMap;

use proto::xml::{self, XmlError};
use roxmltree::{Document, Node};

use super::remark;

/// Bounds on a document.
pub const LIMITS: xml::Limits =
    xml::Limits { bytes: 10 << 20, depth: 100, attributes: 128, namespaces: 256, elements: 500_000 };
/// Most operations of one document.
pub const MAX_SERVICES: usize = 2_000;

const WSDL: &str = "http://schemas.xmlsoap.org/wsdl/";
const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";
const SOAP: [&str; 2] = ["http://schemas.xmlsoap.org/wsdl/soap/", "http://schemas.xmlsoap.org/wsdl/soap12/"];
const HTTP_TRANSPORT: &str = "http://schemas.xmlsoap.org/soap/http";

/// A document that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wsdl {
    /// In the order of the document.
    pub services: Vec<WsdlService>,
    /// With them no client can be generated.
    pub faults: Vec<String>,
    /// To be accepted.
    pub remarks: Vec<String>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsdlService {
    /// Its name.
    pub code: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// What it is called for people.
    pub title: Option<String>,
    /// Where it is, as written; empty when the port has no address.
    pub url: String,
}

/// Why a document is no WSDL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WsdlError {
    /// Not XML, or more of it than is read.
    #[error("the document cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// XML of another kind.
    #[error("the document is no WSDL: its root is {0}")]
    Root(String),
    /// An operation without a name.
    #[error("an operation of the binding {0:?} has no name")]
    Unnamed(String),
    /// One port type holds the same operation twice.
    #[error("WSDL violates specification: Duplicate operation with name={0}")]
    Duplicate(String),
    /// Too many.
    #[error("the document describes more than {MAX_SERVICES} operations")]
    TooMany,
}

impl WsdlService {
    /// Code and version as the management API writes them.
    pub fn full_code(&self) -> String {
        full_code(&self.code, self.version.as_deref())
    }
}

/// Code and version as the management API writes them.
pub fn full_code(code: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{code}.{version}"),
        None => code.to_owned(),
    }
}

/// Reads a document.
///
/// # Errors
/// [`WsdlError`].
pub fn read(bytes: &[u8]) -> Result<Wsdl, WsdlError> {
    let document = xml::tree(bytes, &LIMITS)?;
    let root = document.root_element();
    if !is(root, WSDL, "definitions") {
        return Err(WsdlError::Root(root.tag_name().name().to_owned()));
    }
    let parts = Parts::of(&document);
    let mut wsdl = Wsdl { faults: schema_faults(root), ..Wsdl::default() };
    parts.check(&mut wsdl)?;
    for port in children(root, WSDL, "service").flat_map(|service| children(service, WSDL, "port")) {
        let Some(binding) = parts.referred(&parts.bindings, port, "binding") else { continue };
        if !is_soap_over_http(binding) {
            continue;
        }
        let address = port.children().find(|node| is_soap(*node, "address"));
        let url = address.and_then(|node| node.attribute("location")).unwrap_or_default().trim();
        let port_type = parts.referred(&parts.port_types, binding, "type");
        for operation in children(binding, WSDL, "operation") {
            let service = service(operation, port_type, url).ok_or_else(|| {
                WsdlError::Unnamed(binding.attribute("name").unwrap_or_default().to_owned())
            })?;
            // One operation over SOAP 1.1 and 1.2 is one service.
            let same =
                |known: &WsdlService| (&known.code, &known.version) == (&service.code, &service.version);
            if !wsdl.services.iter().any(same) {
                wsdl.services.push(service);
            }
            if wsdl.services.len() > MAX_SERVICES {
                return Err(WsdlError::TooMany);
            }
        }
    }
    Ok(wsdl)
}

fn service(operation: Node<'_, '_>, port_type: Option<Node<'_, '_>>, url: &str) -> Option<WsdlService> {
    let code = operation.attribute("name").filter(|name| !name.is_empty())?;
    let version = operation.children().find(|node| node.is_element() && node.tag_name().name() == "version");
    let abstract_operation = port_type.and_then(|port_type| {
        children(port_type, WSDL, "operation").find(|other| other.attribute("name") == Some(code))
    });
    let documentation = abstract_operation.and_then(|node| children(node, WSDL, "documentation").next());
    let title =
        documentation.and_then(|node| node.children().find(|child| child.tag_name().name() == "title"));
    Some(WsdlService {
        code: code.to_owned(),
        version: version.and_then(text_of),
        title: title.and_then(text_of).map(|title| title.chars().take(255).collect()),
        url: url.to_owned(),
    })
}

/// Named parts of a document.
struct Parts<'a, 'i> {
    /// Where names are defined; others cannot be looked up.
    namespace: &'a str,
    /// Parts may be defined elsewhere.
    imports: bool,
    messages: BTreeMap<&'a str, Node<'a, 'i>>,
    port_types: BTreeMap<&'a str, Node<'a, 'i>>,
    bindings: BTreeMap<&'a str, Node<'a, 'i>>,
}

impl<'a, 'i> Parts<'a, 'i> {
    fn of(document: &'a Document<'i>) -> Self {
        let root = document.root_element();
        let named =
            |local| children(root, WSDL, local).filter_map(|node| Some((node.attribute("name")?, node)));
        Self {
            namespace: root.attribute("targetNamespace").unwrap_or_default(),
            imports: children(root, WSDL, "import").next().is_some(),
            messages: named("message").collect(),
            port_types: named("portType").collect(),
            bindings: named("binding").collect(),
        }
    }

    /// What the qualified name in `attribute` of `node` names.
    fn referred(
        &self,
        parts: &BTreeMap<&'a str, Node<'a, 'i>>,
        node: Node<'_, '_>,
        attribute: &str,
    ) -> Option<Node<'a, 'i>> {
        let (namespace, local) = qualified(node, node.attribute(attribute)?)?;
        parts.get(local).copied().filter(|_| namespace == self.namespace)
    }

    /// Port types and bindings that do not fit together.
    fn check(&self, wsdl: &mut Wsdl) -> Result<(), WsdlError> {
        for (name, port_type) in &self.port_types {
            let mut known = BTreeMap::new();
            for operation in children(*port_type, WSDL, "operation") {
                let code = operation.attribute("name").unwrap_or_default();
                let signature = ["input", "output"].map(|local| {
                    children(operation, WSDL, local).next().and_then(|node| node.attribute("name"))
                });
                if known.insert((code, signature), ()).is_some() {
                    return Err(WsdlError::Duplicate(code.to_owned()));
                }
                self.check_messages(name, code, operation, wsdl);
            }
        }
        for (name, binding) in &self.bindings {
            if !self.imports && self.referred(&self.port_types, *binding, "type").is_none() {
                remark(&mut wsdl.remarks, format!("binding {name}: its port type is not defined"));
            }
        }
        Ok(())
    }

    fn check_messages(&self, port_type: &str, code: &str, operation: Node<'_, '_>, wsdl: &mut Wsdl) {
        for local in ["input", "output", "fault"] {
            for node in children(operation, WSDL, local) {
                let place = format!("port type {port_type}, operation {code}: its {local}");
                match node.attribute("message") {
                    None => remark(&mut wsdl.remarks, format!("{place} has no message")),
                    Some(_) if self.imports => {}
                    Some(message) if self.referred(&self.messages, node, "message").is_none() => {
                        remark(
                            &mut wsdl.remarks,
                            format!("{place} is the message {message}, which is not defined"),
                        );
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// Names that XML Schema does not take, in schemas that stand in the document.
fn schema_faults(root: Node<'_, '_>) -> Vec<String> {
    let mut faults = Vec::new();
    let schemas = children(root, WSDL, "types").flat_map(|types| types.descendants());
    let named = schemas.filter(|node| {
        let kinds = ["element", "attribute", "complexType", "simpleType", "group", "attributeGroup"];
        node.tag_name().namespace() == Some(SCHEMA) && kinds.contains(&node.tag_name().name())
    });
    for node in named {
        let bad = |name: &&str| !is_ncname(name);
        if let Some(name) = node.attribute("name").filter(bad) {
            remark(
                &mut faults,
                format!("the schema names an {} {name:?}, which is no name", node.tag_name().name()),
            );
        }
    }
    faults
}

/// A name without a colon [Namespaces in XML §3]. Letters of every script count.
fn is_ncname(name: &str) -> bool {
    let start = |c: char| c.is_alphabetic() || c == '_';
    let other = |c: char| start(c) || c.is_numeric() || matches!(c, '-' | '.' | '\u{b7}');
    // Combining marks are not letters for the standard library; a name may hold them.
    name.starts_with(start) && name.chars().all(|c| other(c) || c as u32 >= 0x300)
}

fn is_soap_over_http(binding: Node<'_, '_>) -> bool {
    let soap = binding.children().find(|node| is_soap(*node, "binding"));
    soap.is_some_and(|node| node.attribute("transport") == Some(HTTP_TRANSPORT))
}

fn is_soap(node: Node<'_, '_>, local: &str) -> bool {
    SOAP.iter().any(|namespace| is(node, namespace, local))
}

fn is(node: Node<'_, '_>, namespace: &str, local: &str) -> bool {
    node.is_element() && node.tag_name().name() == local && node.tag_name().namespace() == Some(namespace)
}

fn children<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    namespace: &'static str,
    local: &'static str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| is(*child, namespace, local))
}

/// Namespace and local name of a qualified name, under the prefixes of `node`.
fn qualified<'a>(node: Node<'a, '_>, name: &'a str) -> Option<(&'a str, &'a str)> {
    let name = name.trim();
    match name.split_once(':') {
        Some((prefix, local)) => Some((node.lookup_namespace_uri(Some(prefix))?, local)),
        None => Some((node.lookup_namespace_uri(None).unwrap_or_default(), name)),
    }
}

fn text_of(node: Node<'_, '_>) -> Option<String> {
    node.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(binding: &str, port_type: &str) -> String {
        format!(
            r#"<definitions xmlns="{WSDL}" xmlns:t="urn:t" xmlns:s="{}" xmlns:x="urn:x" targetNamespace="urn:t">
            <message name="m"/>
            <portType name="p">{port_type}</portType>
            <binding name="b" type="t:p">{binding}</binding>
            <service name="s"><port name="o" binding="t:b"><s:address location=" http://is/soap "/></port></service>
            </definitions>"#,
            SOAP[0]
        )
    }

    const OVER_HTTP: &str = r#"<s:binding transport="http://schemas.xmlsoap.org/soap/http"/>"#;

    #[test]
    fn operations_over_soap_and_http_are_services() {
        let operation =
            r#"<operation name="get"><x:version> v1 </x:version></operation><operation name="put"/>"#;
        let titled = r#"<operation name="get"><documentation><x:title>Gets</x:title></documentation>
            <input message="t:m"/></operation>"#;
        let wsdl = read(document(&format!("{OVER_HTTP}{operation}"), titled).as_bytes()).unwrap();
        let get = WsdlService {
            code: "get".into(),
            version: Some("v1".into()),
            title: Some("Gets".into()),
            url: "http://is/soap".into(),
        };
        let put = WsdlService { code: "put".into(), version: None, title: None, ..get.clone() };
        assert_eq!(wsdl, Wsdl { services: vec![get.clone(), put], ..Wsdl::default() });
        assert_eq!(get.full_code(), "get.v1");
        let over = r#"<s:binding transport="http://schemas.xmlsoap.org/soap/smtp"/>"#;
        let wsdl = read(document(&format!("{over}{operation}"), titled).as_bytes()).unwrap();
        assert_eq!(wsdl.services, [], "another transport");
        assert_eq!(read(document(operation, titled).as_bytes()).unwrap().services, [], "no SOAP");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let broken = [
            ("<a", "cannot be read"),
            ("<definitions/>", "no WSDL"),
            ("<!DOCTYPE d><d/>", "document type declaration"),
            ("\u{feff}", "cannot be read"),
        ];
        for (text, expected) in broken {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let unnamed = document(&format!("{OVER_HTTP}<operation/>"), "");
        assert_eq!(read(unnamed.as_bytes()), Err(WsdlError::Unnamed("b".into())));
        let twice = document(OVER_HTTP, r#"<operation name="a"/><operation name="a"/>"#);
        assert_eq!(read(twice.as_bytes()), Err(WsdlError::Duplicate("a".into())));
    }

    #[test]
    fn doubtful_parts_are_remarked_on() {
        let cases = [
            (r#"<operation name="a"><input message="t:m"/></operation>"#, None),
            (r#"<operation name="a"><input/></operation>"#, Some("its input has no message")),
            (r#"<operation name="a"><output message="t:none"/></operation>"#, Some("which is not defined")),
        ];
        for (port_type, expected) in cases {
            let wsdl = read(document(OVER_HTTP, port_type).as_bytes()).unwrap();
            match expected {
                None => assert_eq!(wsdl.remarks, [] as [String; 0], "{port_type}"),
                Some(expected) => assert!(wsdl.remarks[0].contains(expected), "{:?}", wsdl.remarks),
            }
        }
    }

    #[test]
    fn names_of_schemas_are_names() {
        for (name, good) in
            [("a", true), ("_a-b.c", true), ("õ", true), ("", false), ("a:b", false), ("1a", false)]
        {
            assert_eq!(is_ncname(name), good, "{name:?}");
        }
    }
}
