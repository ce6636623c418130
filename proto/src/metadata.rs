//! Metadata services in SOAP: what is asked, and the documents that answer [PR-META §2–§4].
//!
//! An answer is the request's own envelope with another body ([`answer`]), so that every header element comes back, also those that
//! nobody here knows. It is UTF-8 whatever the request was. A WSDL is given out as its owner wrote it, except for the addresses of
//! his information systems ([`hide_addresses`]).
//!
//! What comes in has the bounds of SOAP messages and of [`WSDL_LIMITS`]. Which services there are, fetching a WSDL, and the metadata
//! services of REST are the security server's.
use std::ops::Range;

use bytes::Bytes;

use crate::fault::ENVELOPE_NS;
use crate::id::{ClientId, IDENTIFIERS_NS, MemberId, ServerId, ServiceId};
use crate::soap::{LIMITS, SoapError, SoapMessage, XROAD_NS};
use crate::xml::{Limits, Node, Pull, XmlError, encoding, escape_text};

/// Bounds on a WSDL.
pub const WSDL_LIMITS: Limits =
    Limits { bytes: 10 << 20, depth: 200, attributes: 200, namespaces: 200, elements: 500_000 };

/// What stands in a WSDL in place of every address.
pub const HIDDEN_ADDRESS: &str = "http://example.org/xroad-endpoint";

/// Namespace of the SOAP binding of WSDL 1.1.
const WSDL_SOAP_NS: &str = "http://schemas.xmlsoap.org/wsdl/soap/";

/// What a `getWsdl` request names. Empty is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetWsdl {
    /// `xroad:serviceCode`.
    pub code: Option<String>,
    /// `xroad:serviceVersion`.
    pub version: Option<String>,
}

impl GetWsdl {
    /// Reads the body of `request`. The name of its element plays no part, as for peers.
    ///
    /// # Errors
    /// None that [`crate::soap::parse`] did not find.
    pub fn read(request: &SoapMessage) -> Result<Self, SoapError> {
        let (text, _) = encoding::decode(&request.raw)?;
        let mut xml = Pull::new(&text, LIMITS)?;
        let (mut found, mut in_body, mut field) = (Self::default(), false, None);
        while let Some(node) = xml.next()? {
            match node {
                Node::Start(element) if xml.depth() == 2 => in_body = xml.is(&element, ENVELOPE_NS, "Body"),
                Node::Start(element) if in_body && xml.depth() == 4 => {
                    let is = |local| xml.is(&element, XROAD_NS, local);
                    let name = ["serviceCode", "serviceVersion"].into_iter().find(|name| is(name));
                    field = name.map(|name| (name, String::new()));
                }
                Node::End if xml.depth() == 3 => {
                    if let Some((name, text)) = field.take() {
                        let text = Some(text).filter(|text| !text.trim().is_empty());
                        if name == "serviceCode" { found.code = text } else { found.version = text }
                    }
                }
                Node::Start(_) | Node::End => {}
                text => {
                    if let (Some((_, value)), 4) = (&mut field, xml.depth()) {
                        text.append_to(value);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The element that answers: the parameters again.
    pub fn response(&self) -> String {
        let field = |name: &str, value: &Option<String>| match value {
            Some(value) => format!("<xroad:{name}>{}</xroad:{name}>", escape_text(value)),
            None => String::new(),
        };
        let fields = [field("serviceCode", &self.code), field("serviceVersion", &self.version)].concat();
        format!("<xroad:getWsdlResponse xmlns:xroad=\"{XROAD_NS}\">{fields}</xroad:getWsdlResponse>")
    }
}

/// The message that asks a client of a security server which methods it offers. `id` is the message id.
pub fn list_methods_message(client: &ClientId, target: &ClientId, server: &ServerId, id: &str) -> Vec<u8> {
    let element = |name: &str, code: &str| format!("<id:{name}>{}</id:{name}>", escape_text(code));
    let codes = |member: &MemberId| {
        let codes = [
            ("xRoadInstance", &member.instance),
            ("memberClass", &member.class),
            ("memberCode", &member.code),
        ];
        codes.map(|(name, code)| element(name, code)).concat()
    };
    let client_codes = |client: &ClientId| {
        let subsystem = client.subsystem.as_deref().map(|code| element("subsystemCode", code));
        codes(&client.member) + &subsystem.unwrap_or_default()
    };
    let kind = if client.subsystem.is_some() { "SUBSYSTEM" } else { "MEMBER" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"{ENVELOPE_NS}\" xmlns:id=\"{IDENTIFIERS_NS}\" \
         xmlns:xroad=\"{XROAD_NS}\"><soapenv:Header><xroad:client id:objectType=\"{kind}\">{}</xroad:client>\
         <xroad:service id:objectType=\"SERVICE\">{}{}</xroad:service>\
         <xroad:securityServer id:objectType=\"SERVER\">{}{}</xroad:securityServer><xroad:id>{}</xroad:id>\
         <xroad:protocolVersion>4.0</xroad:protocolVersion></soapenv:Header><soapenv:Body><xroad:listMethods/></soapenv:Body>\
         </soapenv:Envelope>",
        client_codes(client),
        client_codes(target),
        element("serviceCode", "listMethods"),
        codes(&server.owner),
        element("serverCode", &server.code),
        escape_text(id),
    )
    .into_bytes()
}

/// The element that answers `listMethods` or `allowedMethods`, which is `request`.
pub fn method_list<'a>(request: &str, services: impl IntoIterator<Item = &'a ServiceId>) -> String {
    let name = format!("xroad:{request}Response");
    let mut element = format!("<{name} xmlns:xroad=\"{XROAD_NS}\" xmlns:id=\"{IDENTIFIERS_NS}\">");
    for service in services {
        let (client, member) = (&service.client, &service.client.member);
        let codes = [
            ("xRoadInstance", Some(&member.instance)),
            ("memberClass", Some(&member.class)),
            ("memberCode", Some(&member.code)),
            ("subsystemCode", client.subsystem.as_ref()),
            ("serviceCode", Some(&service.code)),
            ("serviceVersion", service.version.as_ref()),
        ];
        element.push_str("<xroad:service id:objectType=\"SERVICE\">");
        for (name, code) in codes {
            if let Some(code) = code {
                element.push_str(&format!("<id:{name}>{}</id:{name}>", escape_text(code)));
            }
        }
        element.push_str("</xroad:service>");
    }
    element.push_str(&format!("</{name}>"));
    element
}

/// The envelope of `request` with `element` as its body, as UTF-8. The request hash is not in it yet.
///
/// # Errors
/// None that [`crate::soap::parse`] did not find.
pub fn answer(request: &SoapMessage, element: &str) -> Result<Bytes, SoapError> {
    let (text, _) = encoding::decode(&request.raw)?;
    let body = body_content(&text)?;
    let mut out = String::with_capacity(text.len() + element.len());
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    out.push_str(&text[after_declaration(&text)..body.start]);
    out.push_str(element);
    out.push_str(&text[body.end..]);
    Ok(out.into_bytes().into())
}

/// What stands between the tags of the SOAP body.
fn body_content(text: &str) -> Result<Range<usize>, SoapError> {
    let mut xml = Pull::new(text, LIMITS)?;
    let mut begun = None;
    while let Some(node) = xml.next()? {
        match (node, begun) {
            (Node::Start(element), _) if xml.depth() == 2 && xml.is(&element, ENVELOPE_NS, "Body") => {
                begun = Some(xml.span().end);
            }
            (Node::End, Some(start)) if xml.depth() == 1 => return Ok(start..xml.span().start),
            _ => {}
        }
    }
    Err(SoapError::MissingBody)
}

fn after_declaration(text: &str) -> usize {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let declared = text[mark..].starts_with("<?xml") && text[mark + 5..].starts_with([' ', '\t', '\r', '\n']);
    match text[mark..].find("?>") {
        Some(end) if declared => mark + end + 2,
        _ => mark,
    }
}

/// The WSDL with [`HIDDEN_ADDRESS`] as the location of every SOAP address, everything else byte for byte.
///
/// # Errors
/// It is not XML that is taken from outside.
pub fn hide_addresses(wsdl: &[u8]) -> Result<Bytes, XmlError> {
    if wsdl.len() > WSDL_LIMITS.bytes {
        return Err(XmlError::Limit { what: "bytes", limit: WSDL_LIMITS.bytes });
    }
    let (text, encoding) = encoding::decode(wsdl)?;
    // UTF-16 makes fewer bytes of text, ISO-8859-1 more.
    let limits = Limits { bytes: 2 * WSDL_LIMITS.bytes, ..WSDL_LIMITS };
    let mut xml = Pull::new(&text, limits)?;
    let (mut out, mut copied) = (String::with_capacity(text.len()), 0);
    while let Some(node) = xml.next()? {
        let Node::Start(element) = node else { continue };
        if !xml.is(&element, WSDL_SOAP_NS, "address") {
            continue;
        }
        for location in xml.attributes().iter().filter(|a| a.prefix.is_empty() && a.local == "location") {
            // The value is a slice of the text.
            let start = location.raw.as_ptr() as usize - text.as_ptr() as usize;
            out.push_str(&text[copied..start]);
            out.push_str(HIDDEN_ADDRESS);
            copied = start + location.raw.len();
        }
    }
    out.push_str(&text[copied..]);
    Ok(encoding::encode(out, encoding)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soap::{Soap, parse};

    const HEADER: &str = "<x:Header xmlns:id=\"http://x-road.eu/xsd/identifiers\">\
        <r:protocolVersion>4.0</r:protocolVersion><r:client id:objectType=\"MEMBER\"><id:xRoadInstance>EE</id:xRoadInstance>\
        <id:memberClass>GOV</id:memberClass><id:memberCode>1</id:memberCode></r:client>\
        <r:service id:objectType=\"SERVICE\"><id:xRoadInstance>EE</id:xRoadInstance><id:memberClass>GOV</id:memberClass>\
        <id:memberCode>2</id:memberCode><id:serviceCode>getWsdl</id:serviceCode></r:service><r:id>1</r:id>\
        <r:requestHash>old</r:requestHash><other xmlns=\"urn:o\">kept</other></x:Header>";

    fn request(declaration: &str, header: &str, body: &str) -> String {
        format!(
            "{declaration}<x:Envelope xmlns:x=\"{ENVELOPE_NS}\" xmlns:r=\"{XROAD_NS}\">{header}\
             <x:Body><!-- c -->{body}</x:Body></x:Envelope>"
        )
    }

    #[test]
    fn a_question_for_methods_is_a_message() {
        let (client, target) =
            (MemberId::new("EE", "GOV", "1 & 2").client(), MemberId::new("EE", "GOV", "3").subsystem("x"));
        let server = ServerId { owner: MemberId::new("EE", "GOV", "3"), code: "ss".into() };
        let written = message(list_methods_message(&client, &target, &server, "<1>"));
        let header = &written.header;
        assert_eq!((&header.client, &header.service), (&client, &target.service("listMethods")));
        assert_eq!((header.security_server.as_ref(), header.id.as_str()), (Some(&server), "<1>"));
    }

    fn message(raw: impl Into<Vec<u8>>) -> SoapMessage {
        match parse(raw.into().into(), "text/xml").unwrap() {
            Soap::Message(message) => *message,
            Soap::Fault(..) => panic!("a message"),
        }
    }

    #[test]
    fn an_answer_is_the_envelope_with_another_body() {
        let list = method_list(
            "getWsdl",
            &[ServiceId {
                client: MemberId::new("EE", "GOV", "<2>").subsystem("s"),
                code: "a&b".into(),
                version: Some("v1".into()),
            }],
        );
        for declaration in
            ["", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n", "\u{feff}<?xml version='1.0'?>"]
        {
            let asked = message(request(declaration, HEADER, "<r:getWsdl/>"));
            let raw = answer(&asked, &list).unwrap();
            let answered = message(message(raw).with_request_hash("new").unwrap());
            let text = String::from_utf8(answered.raw.to_vec()).unwrap();
            assert!(answered.is_response && answered.header.client == asked.header.client, "{text}");
            assert_eq!(answered.header.request_hash.as_deref(), Some("new"), "{text}");
            assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{text}");
            assert!(
                text.contains("kept</other>") && !text.contains("<!-- c -->") && !text.contains("old"),
                "{text}"
            );
            assert!(text.contains("<id:memberCode>&lt;2&gt;</id:memberCode>"), "{text}");
            assert!(text.contains("<id:serviceVersion>v1</id:serviceVersion>"), "{text}");
        }
    }

    #[test]
    fn a_request_in_another_encoding_is_answered_in_utf_8() {
        let header = HEADER.replace("kept", "j\u{e4}\u{e4}r");
        let text = request("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>", &header, "<r:getWsdl/>");
        let latin1: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
        let raw = answer(&message(latin1), "<r:getWsdlResponse/>").unwrap();
        assert!(std::str::from_utf8(&raw).unwrap().contains("j\u{e4}\u{e4}r"));
        assert!(message(raw).is_response);
    }

    #[test]
    fn get_wsdl_names_a_service() {
        let some = |text: &str| Some(text.to_owned());
        let cases = [
            ("<r:getWsdl/>", None, None),
            ("<r:getWsdl><r:serviceCode>a&amp;b</r:serviceCode></r:getWsdl>", some("a&b"), None),
            (
                "<getWsdl><r:serviceVersion>v1</r:serviceVersion><r:serviceCode>a</r:serviceCode></getWsdl>",
                some("a"),
                some("v1"),
            ),
            ("<getWsdl><serviceCode>other namespace</serviceCode></getWsdl>", None, None),
            ("<getWsdl><r:serviceCode> </r:serviceCode><r:serviceVersion/></getWsdl>", None, None),
            ("<getWsdl><p><r:serviceCode>too deep</r:serviceCode></p></getWsdl>", None, None),
        ];
        for (body, code, version) in cases {
            let found = GetWsdl::read(&message(request("", HEADER, body))).unwrap();
            assert_eq!(found, GetWsdl { code, version }, "{body}");
            let again = message(request("", HEADER, &found.response()));
            assert_eq!(GetWsdl::read(&again).unwrap(), found, "{body}");
        }
    }

    #[test]
    fn only_addresses_of_soap_are_hidden() {
        let wsdl = "<?xml version=\"1.0\"?>\n<w:d xmlns:w=\"http://schemas.xmlsoap.org/wsdl/\" xmlns:s=\"http://schemas.xmlsoap.org/wsdl/soap/\">\
            <s:address x='1' location = 'http://10.0.0.1/?a&amp;b' ></s:address><!-- http://kept/ -->\
            <address location=\"http://kept/\"/><s:address\n location=\"\"/><s:address/><w:address location='http://kept/'/></w:d>\n";
        let hidden = String::from_utf8(hide_addresses(wsdl.as_bytes()).unwrap().to_vec()).unwrap();
        let expected = wsdl
            .replace("http://10.0.0.1/?a&amp;b", HIDDEN_ADDRESS)
            .replace("\n location=\"\"", &format!("\n location=\"{HIDDEN_ADDRESS}\""));
        assert_eq!(hidden, expected);
        assert_eq!(hide_addresses(b"<!DOCTYPE a><a/>"), Err(XmlError::Doctype));
        assert!(
            hide_addresses(b"<a>").is_err() && hide_addresses(&vec![b' '; WSDL_LIMITS.bytes + 1]).is_err()
        );
        let utf16: Vec<u8> =
            "\u{feff}<a xmlns='http://schemas.xmlsoap.org/wsdl/soap/'><address location='x'/></a>"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect();
        let hidden = hide_addresses(&utf16).unwrap();
        assert!(hidden.starts_with(&[0xff, 0xfe]) && hidden.len() > utf16.len());
    }
}
