//! Management requests [PR-MSERV]: what a security server asks of the central server, over SOAP, signed or not.
//!
//! A signed request is `multipart/related`: the SOAP document, then what proves it. Signatures are over the bytes of the first part, and
//! algorithms stand beside them by their Java names. An answer is the request with its body's element renamed and `requestId`
//! added; the rest is passed back byte for byte.
//!
//! What is written is spelled as in the field, down to a namespace that nothing uses: a reader that compares would find no difference.
//!
//! Bounds: [`MAX_BYTES`] a request, [`MAX_PARTS`] parts. Not here: whether a signature or a certificate holds, and what is decided.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use roxmltree::Node;

use crate::id::{ClientId, IDENTIFIERS_NS, MemberId, ObjectType, ServerId, XmlId};
use crate::media_type;
use crate::multipart::{self, Decoder, Event, MultipartError};
use crate::soap::{REPRESENTATION_NS, XROAD_NS};
use crate::xml::{Limits, XmlError, escape_text, tree};

/// Largest request.
pub const MAX_BYTES: usize = 100_000;
/// Parts of the largest kind, and one more to be refused.
pub const MAX_PARTS: usize = 7;
/// Media type of all parts but the first, and of the whole.
pub const OCTETS: &str = "application/octet-stream";
/// Media type of the document.
pub const DOCUMENT: &str = "text/xml; charset=UTF-8";

const LIMITS: Limits =
    Limits { bytes: MAX_BYTES, depth: 50, attributes: 100, namespaces: 100, elements: 1_000 };

/// Why bytes are no management request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    /// Not XML that is taken.
    #[error("the document cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// The multipart is broken.
    #[error("the parts cannot be read: {0}")]
    Multipart(#[from] MultipartError),
    /// No part at all.
    #[error("the request is empty")]
    Empty,
    /// No such service.
    #[error("{0} is no management request")]
    UnknownKind(String),
    /// A child that must be there is not, or cannot be read.
    #[error("the request has no usable {0}")]
    Child(&'static str),
    /// Not the answer that is due.
    #[error("the answer is no {0}Response with a request number")]
    Answer(&'static str),
}

/// What is asked for, with its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "what a field holds, the variant says")]
pub enum Request {
    /// Registers an authentication certificate; `dry_run` only asks whether that could be done.
    AuthCertReg { address: Option<String>, cert: Vec<u8>, dry_run: bool },
    /// Deletes an authentication certificate.
    AuthCertDeletion { cert: Vec<u8> },
    /// Registers a client, with the name of a subsystem.
    ClientReg { client: ClientId, name: Option<String> },
    /// Deletes a client.
    ClientDeletion { client: ClientId },
    /// Disables a client.
    ClientDisable { client: ClientId },
    /// Enables a client.
    ClientEnable { client: ClientId },
    /// Renames a subsystem.
    ClientRename { client: ClientId, name: String },
    /// Makes a client the owner.
    OwnerChange { client: ClientId },
    /// Changes the server's address.
    AddressChange { address: String },
    /// Enables maintenance mode.
    MaintenanceModeEnable { message: Option<String> },
    /// Disables maintenance mode.
    MaintenanceModeDisable,
}

impl Request {
    /// The service, and the name of the body's element.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AuthCertReg { .. } => "authCertReg",
            Self::AuthCertDeletion { .. } => "authCertDeletion",
            Self::ClientReg { .. } => "clientReg",
            Self::ClientDeletion { .. } => "clientDeletion",
            Self::ClientDisable { .. } => "clientDisable",
            Self::ClientEnable { .. } => "clientEnable",
            Self::ClientRename { .. } => "clientRename",
            Self::OwnerChange { .. } => "ownerChange",
            Self::AddressChange { .. } => "addressChange",
            Self::MaintenanceModeEnable { .. } => "maintenanceModeEnable",
            Self::MaintenanceModeDisable => "maintenanceModeDisable",
        }
    }

    /// Its sender signs it; the rest rests on the signature of the message that carries it.
    pub const fn is_signed(&self) -> bool {
        !matches!(self, Self::AuthCertDeletion { .. } | Self::ClientDeletion { .. })
    }
}

/// A request about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementRequest {
    /// Which server.
    pub server: ServerId,
    /// What is asked for.
    pub request: Request,
}

/// One part of a multipart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its `content-type`.
    pub content_type: String,
    /// Its `signature-algorithm-id`, for signatures.
    pub algorithm: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// The parts of a body: those of a multipart, or the whole of anything else.
///
/// # Errors
/// The framing, or no part.
pub fn parts(content_type: &str, body: &Bytes) -> Result<Vec<Part>, ManagementError> {
    if body.is_empty() {
        return Err(ManagementError::Empty);
    }
    if !media_type::base(content_type).to_ascii_lowercase().starts_with("multipart/") {
        return Ok(vec![Part {
            content_type: content_type.to_owned(),
            algorithm: None,
            bytes: body.clone(),
        }]);
    }
    let limits = multipart::Limits { parts: MAX_PARTS, ..multipart::Limits::default() };
    let mut decoder = Decoder::new(content_type, limits)?;
    decoder.feed(body.clone());
    decoder.finish();
    let mut parts: Vec<Part> = Vec::new();
    let mut data = BytesMut::new();
    while let Some(event) = decoder.poll()? {
        match event {
            Event::Head(head) => parts.push(Part {
                content_type: head.content_type().to_owned(),
                algorithm: head.get("signature-algorithm-id").map(|id| id.trim().to_owned()),
                bytes: Bytes::new(),
            }),
            Event::Data(bytes) => data.extend_from_slice(&bytes),
            Event::PartEnd { .. } => {
                if let Some(part) = parts.last_mut() {
                    part.bytes = data.split().freeze();
                }
            }
            Event::End { .. } => break,
        }
    }
    if parts.is_empty() { Err(ManagementError::Empty) } else { Ok(parts) }
}

/// Reads the request in a SOAP document, whose envelope and header [`crate::soap::parse`] judges.
///
/// # Errors
/// The first child that is missing or cannot be read.
pub fn read(soap: &[u8]) -> Result<ManagementRequest, ManagementError> {
    let document = tree(soap, &LIMITS)?;
    let node = body_element(document.root_element()).ok_or(ManagementError::Child("body"))?;
    let name = node.tag_name().name();
    if node.tag_name().namespace() != Some(XROAD_NS) {
        return Err(ManagementError::UnknownKind(name.to_owned()));
    }
    let server = child(node, "server").and_then(|node| XmlId::from_node(node).ok()?.server().ok());
    let server = server.ok_or(ManagementError::Child("server"))?;
    Ok(ManagementRequest { server, request: request(node, name)? })
}

fn request(node: Node<'_, '_>, name: &str) -> Result<Request, ManagementError> {
    let client = || {
        let client = child(node, "client").and_then(|node| XmlId::from_node(node).ok()?.client().ok());
        client.ok_or(ManagementError::Child("client"))
    };
    let text = |name: &str| child(node, name).map(text_of);
    let cert = || {
        let text = text("authCert").ok_or(ManagementError::Child("authCert"))?;
        let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        STANDARD.decode(compact).map_err(|_| ManagementError::Child("authCert"))
    };
    Ok(match name {
        "authCertReg" => {
            let dry_run = text("dryRun").is_some_and(|flag| matches!(flag.trim(), "true" | "1"));
            Request::AuthCertReg { address: text("address"), cert: cert()?, dry_run }
        }
        "authCertDeletion" => Request::AuthCertDeletion { cert: cert()? },
        "clientReg" => Request::ClientReg { client: client()?, name: text("subsystemName") },
        "clientDeletion" => Request::ClientDeletion { client: client()? },
        "clientDisable" => Request::ClientDisable { client: client()? },
        "clientEnable" => Request::ClientEnable { client: client()? },
        "clientRename" => {
            Request::ClientRename { client: client()?, name: text("subsystemName").unwrap_or_default() }
        }
        "ownerChange" => Request::OwnerChange { client: client()? },
        "addressChange" => {
            Request::AddressChange { address: text("address").ok_or(ManagementError::Child("address"))? }
        }
        "maintenanceModeEnable" => Request::MaintenanceModeEnable { message: text("message") },
        "maintenanceModeDisable" => Request::MaintenanceModeDisable,
        other => return Err(ManagementError::UnknownKind(other.to_owned())),
    })
}

/// The one element of the body.
fn body_element<'a, 'i>(root: Node<'a, 'i>) -> Option<Node<'a, 'i>> {
    let body = root.children().find(|node| node.is_element() && node.tag_name().name() == "Body")?;
    body.children().find(Node::is_element)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children()
        .find(|child| child.tag_name().namespace() == Some(XROAD_NS) && child.tag_name().name() == name)
}

fn text_of(node: Node<'_, '_>) -> String {
    node.children().filter(Node::is_text).filter_map(|child| child.text()).collect()
}

/// The answer to a request: the same document with the body's element renamed and the number of the request in it.
///
/// # Errors
/// The document does not read, or its body's element has no content.
pub fn answer(soap: &[u8], request_id: u64) -> Result<Vec<u8>, ManagementError> {
    let document = tree(soap, &LIMITS)?;
    let node = body_element(document.root_element()).ok_or(ManagementError::Child("body"))?;
    let text = document.input_text();
    let element = &text[node.range()];
    let name_end = element.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/'));
    let qualified = element.get(1..name_end.unwrap_or_default()).ok_or(ManagementError::Child("body"))?;
    let closing = element.rfind("</").ok_or(ManagementError::Child("server"))?;
    let prefix = qualified.split_once(':').map(|(prefix, _)| format!("{prefix}:")).unwrap_or_default();
    let mut out = String::with_capacity(text.len() + 100);
    out.push_str(&text[..node.range().start]);
    out.push_str(&format!("<{qualified}Response"));
    out.push_str(&element[1 + qualified.len()..closing]);
    out.push_str(&format!("<{prefix}requestId>{request_id}</{prefix}requestId></{qualified}Response>"));
    out.push_str(&text[node.range().end..]);
    Ok(out.into_bytes())
}

/// The number that the registry gave to a request, out of the answer to it.
///
/// # Errors
/// The document does not read, or answers something else.
pub fn read_answer(soap: &[u8], code: &'static str) -> Result<u64, ManagementError> {
    let document = tree(soap, &LIMITS)?;
    let node = body_element(document.root_element()).ok_or(ManagementError::Child("body"))?;
    let name = node.tag_name();
    let answers = name.namespace() == Some(XROAD_NS) && name.name().strip_suffix("Response") == Some(code);
    let id = child(node, "requestId").filter(|_| answers);
    id.and_then(|id| text_of(id).trim().parse().ok()).ok_or(ManagementError::Answer(code))
}

/// Writes the SOAP document of a request: `client` is the owner of the server, `provider` offers the management services, `id` is the
/// message id.
pub fn write(request: &ManagementRequest, provider: &ClientId, id: &str) -> Vec<u8> {
    let code = request.request.code();
    let owner = member_codes(&request.server.owner);
    let subsystem =
        provider.subsystem.as_deref().map(|code| element("id:subsystemCode", code)).unwrap_or_default();
    let service = format!("{}{subsystem}{}", member_codes(&provider.member), element("id:serviceCode", code));
    let server = format!("{owner}{}", element("id:serverCode", &request.server.code));
    let fields = fields(&request.request);
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\" ?><SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:id=\"{IDENTIFIERS_NS}\" xmlns:xroad=\"{XROAD_NS}\"><SOAP-ENV:Header xmlns:ns4=\"{REPRESENTATION_NS}\">\
         <xroad:client id:objectType=\"MEMBER\">{owner}</xroad:client>\
         <xroad:service id:objectType=\"SERVICE\">{service}</xroad:service>{}\
         <xroad:protocolVersion>4.0</xroad:protocolVersion></SOAP-ENV:Header><SOAP-ENV:Body><xroad:{code}>\
         <xroad:server id:objectType=\"SERVER\">{server}</xroad:server>{fields}</xroad:{code}></SOAP-ENV:Body></SOAP-ENV:Envelope>",
        element("xroad:id", id),
    )
    .into_bytes()
}

fn fields(request: &Request) -> String {
    let optional = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| element(name, text)).unwrap_or_default()
    };
    match request {
        Request::AuthCertReg { address, cert, dry_run } => format!(
            "{}{}{}",
            optional("xroad:address", address),
            cert_element(cert),
            element("xroad:dryRun", &dry_run.to_string()),
        ),
        Request::AuthCertDeletion { cert } => cert_element(cert),
        Request::ClientReg { client, name } => {
            format!("{}{}", client_element(client), optional("xroad:subsystemName", name))
        }
        Request::ClientRename { client, name } => {
            format!("{}{}", client_element(client), element("xroad:subsystemName", name))
        }
        Request::ClientDeletion { client }
        | Request::ClientDisable { client }
        | Request::ClientEnable { client }
        | Request::OwnerChange { client } => client_element(client),
        Request::AddressChange { address } => element("xroad:address", address),
        Request::MaintenanceModeEnable { message } => optional("xroad:message", message),
        Request::MaintenanceModeDisable => String::new(),
    }
}

fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape_text(text))
}

/// None at all stands for a question without a certificate.
fn cert_element(cert: &[u8]) -> String {
    if cert.is_empty() {
        return "<xroad:authCert/>".to_owned();
    }
    element("xroad:authCert", &STANDARD.encode(cert))
}

fn member_codes(id: &MemberId) -> String {
    [("id:xRoadInstance", &id.instance), ("id:memberClass", &id.class), ("id:memberCode", &id.code)]
        .map(|(name, code)| element(name, code))
        .concat()
}

fn client_element(client: &ClientId) -> String {
    let kind = if client.subsystem.is_some() { ObjectType::Subsystem } else { ObjectType::Member };
    let subsystem =
        client.subsystem.as_deref().map(|code| element("id:subsystemCode", code)).unwrap_or_default();
    let codes = member_codes(&client.member);
    format!("<xroad:client id:objectType=\"{kind}\">{codes}{subsystem}</xroad:client>")
}

/// Which way a multipart goes; decides how its part headers are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Straight to the registration service.
    Direct,
    /// As a message, through security servers.
    Message,
}

/// Writes the parts of a signed request; gives the content type and the body.
pub fn write_parts(way: Way, boundary: &str, parts: &[Part]) -> (String, Vec<u8>) {
    let name = match way {
        Way::Direct => "content-type:",
        Way::Message => "Content-Type: ",
    };
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n{name}{}\r\n", part.content_type).as_bytes());
        if let Some(algorithm) = &part.algorithm {
            body.extend_from_slice(format!("signature-algorithm-id: {algorithm}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/related; type=\"{OCTETS}\"; charset=UTF-8; boundary={boundary}"), body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soap::{Soap, parse};

    fn all() -> Vec<Request> {
        let member = MemberId::new("DEV", "COM", "a<b");
        let client = member.clone().subsystem("S&1");
        vec![
            Request::AuthCertReg { address: Some("ss1".into()), cert: vec![1, 2], dry_run: true },
            Request::AuthCertReg { address: None, cert: vec![], dry_run: false },
            Request::AuthCertDeletion { cert: vec![3] },
            Request::ClientReg { client: client.clone(), name: Some("Name".into()) },
            Request::ClientReg { client: member.clone().client(), name: None },
            Request::ClientDeletion { client: client.clone() },
            Request::ClientDisable { client: client.clone() },
            Request::ClientEnable { client: client.clone() },
            Request::ClientRename { client: client.clone(), name: "New".into() },
            Request::OwnerChange { client: member.client() },
            Request::AddressChange { address: "ss1.example".into() },
            Request::MaintenanceModeEnable { message: Some("Back at 18".into()) },
            Request::MaintenanceModeEnable { message: None },
            Request::MaintenanceModeDisable,
        ]
    }

    #[test]
    fn what_is_written_reads_back_and_is_answered() {
        let provider = MemberId::new("DEV", "GOV", "1").subsystem("MANAGEMENT");
        let server = ServerId { owner: MemberId::new("DEV", "COM", "a<b"), code: "SS1".into() };
        for request in all() {
            let code = request.code();
            let asked = ManagementRequest { server: server.clone(), request };
            let soap = write(&asked, &provider, "an-id");
            assert_eq!(read(&soap).unwrap(), asked, "{code}");
            let Soap::Message(message) = parse(soap.clone().into(), "text/xml").unwrap() else {
                panic!("{code}")
            };
            assert_eq!((&message.header.service.code[..], &message.header.service.client), (code, &provider));
            let answered = String::from_utf8(answer(&soap, 17).unwrap()).unwrap();
            let end = format!(
                "<xroad:requestId>17</xroad:requestId></xroad:{code}Response></SOAP-ENV:Body></SOAP-ENV:Envelope>"
            );
            assert!(
                answered.contains(&format!("<xroad:{code}Response>")) && answered.ends_with(&end),
                "{answered}"
            );
            let Soap::Message(message) = parse(answered.into_bytes().into(), "text/xml").unwrap() else {
                panic!("{code}")
            };
            assert!(message.is_response);
            assert_eq!(read_answer(&message.raw, code), Ok(17));
            assert_eq!(read_answer(&message.raw, "another"), Err(ManagementError::Answer("another")));
            assert_eq!(read_answer(&soap, code), Err(ManagementError::Answer(code)));
        }
    }

    #[test]
    fn parts_come_back_as_they_were() {
        let part = |kind: &str, algorithm: Option<&str>, bytes: &'static [u8]| Part {
            content_type: kind.into(),
            algorithm: algorithm.map(str::to_owned),
            bytes: Bytes::from_static(bytes),
        };
        let sent = vec![
            part("text/xml; charset=UTF-8", None, b"<a/>"),
            part(OCTETS, Some("SHA512withRSA"), b"\x00\r\n--x\xff"),
            part(OCTETS, None, b""),
        ];
        for way in [Way::Direct, Way::Message] {
            let (content_type, body) = write_parts(way, "xroadABC", &sent);
            assert_eq!(parts(&content_type, &body.into()).unwrap(), sent, "{way:?}");
        }
        assert_eq!(parts("text/xml", &Bytes::from_static(b"<a/>")).unwrap().len(), 1);
        assert_eq!(parts("text/xml", &Bytes::new()), Err(ManagementError::Empty));
    }

    #[test]
    fn what_is_no_request() {
        let envelope = |body: &str| {
            format!(
                "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:x=\"{XROAD_NS}\" xmlns:id=\"{IDENTIFIERS_NS}\">\
                 <e:Body>{body}</e:Body></e:Envelope>"
            )
        };
        let server = "<x:server id:objectType=\"SERVER\"><id:xRoadInstance>D</id:xRoadInstance><id:memberClass>C</id:memberClass>\
                      <id:memberCode>1</id:memberCode><id:serverCode>S</id:serverCode></x:server>";
        let cases = [
            (String::new(), "body"),
            ("<x:clientReg/>".into(), "server"),
            (format!("<x:clientReg>{server}</x:clientReg>"), "client"),
            (format!("<x:authCertReg>{server}</x:authCertReg>"), "authCert"),
            (format!("<x:authCertReg>{server}<x:authCert>!</x:authCert></x:authCertReg>"), "authCert"),
            (format!("<x:somethingElse>{server}</x:somethingElse>"), "somethingElse"),
            ("<clientReg/>".into(), "clientReg"),
        ];
        for (body, expected) in cases {
            let error = read(envelope(&body).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{body}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parts_that_are_written_are_read(
            contents in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), 1..5),
            signed in proptest::prelude::any::<bool>(),
            direct in proptest::prelude::any::<bool>(),
        ) {
            let part = |bytes: Vec<u8>| Part {
                content_type: OCTETS.to_owned(),
                algorithm: signed.then(|| "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512".to_owned()),
                bytes: bytes.into(),
            };
            let written: Vec<Part> = contents.into_iter().map(part).collect();
            let way = if direct { Way::Direct } else { Way::Message };
            let (content_type, body) = write_parts(way, "a-boundary-that-no-300-bytes-hold", &written);
            proptest::prop_assert_eq!(parts(&content_type, &body.into()), Ok(written));
        }
    }
}
