//! PR-MESS 2.1–2.3, 2.6: headers, body and encodings of SOAP messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::case::{Body, Case, Holds::*, Outcome, SOAP_CALL};
use crate::run::sha512;

const DELIVERED: &[crate::case::Holds] =
    &[Status(&[200]), NoFault, SeesBody("{soap}"), GotElement("answer", "kuu")];

const fn edited(
    clause: &'static str,
    title: &'static str,
    edits: &'static [(&'static str, &'static str)],
) -> Case {
    Case { clause, title, edits, holds: DELIVERED, ..SOAP_CALL }
}

/// See the module.
pub(super) const CASES: &[Case] = &[
    edited("2.2", "a request goes through byte for byte and its answer comes back", &[]),
    Case {
        title: "the service is called with POST at its address",
        holds: &[Sees("POST", "/soap"), Check(xml_type_seen)],
        ..SOAP_CALL
    },
    Case {
        title: "SOAPAction is passed on",
        headers: &["Content-Type: text/xml; charset=UTF-8", "SOAPAction: \"urn:do-it\""],
        holds: &[NoFault, SeesHeader("SOAPAction", "\"urn:do-it\"")],
        ..SOAP_CALL
    },
    Case {
        title: "a request without SOAPAction goes through",
        headers: &["Content-Type: text/xml; charset=UTF-8"],
        holds: DELIVERED,
        ..SOAP_CALL
    },
    Case { title: "any path takes SOAP messages", line: "POST /some/path?x", holds: DELIVERED, ..SOAP_CALL },
    Case {
        title: "a body in chunks is taken",
        line: "POST /",
        body: Body::Text("{soap}"),
        headers: &["Content-Type: text/xml"],
        holds: DELIVERED,
        ..SOAP_CALL
    },
    Case {
        title: "the answer repeats client, service, id, user and version",
        holds: &[
            GotElement("id", "{id}"),
            GotElement("userId", "EE12345678901"),
            GotElement("protocolVersion", "4.0"),
            GotElement("serviceCode", "conformanceSoap"),
            GotElement("serviceVersion", "v1"),
        ],
        ..SOAP_CALL
    },
    Case {
        title: "the answer holds the hash of the request",
        holds: &[NoFault, Check(request_hash)],
        ..SOAP_CALL
    },
    edited("2.2", "an issue is passed on", &[("<xroad:id>", "<xroad:issue>7/12</xroad:issue><xroad:id>")]),
    edited(
        "2.2",
        "a request without a user goes through",
        &[("<xroad:userId>EE12345678901</xroad:userId>", "")],
    ),
    edited("2.2", "another minor version of the protocol goes through", &[(">4.0<", ">4.1<")]),
    edited(
        "2.2",
        "the provider's server can be named in the header",
        &[(
            "<xroad:id>",
            "<xroad:securityServer id:objectType=\"SERVER\">{server-xml}</xroad:securityServer><xroad:id>",
        )],
    ),
    edited(
        "2.2",
        "a represented party is passed on in the header",
        &[(
            "<xroad:id>",
            "<r:representedParty xmlns:r=\"http://x-road.eu/xsd/representation.xsd\"><r:partyClass>COM</r:partyClass>\
             <r:partyCode>1234567</r:partyCode></r:representedParty><xroad:id>",
        )],
    ),
    edited(
        "2.2",
        "a security token is passed on untouched",
        &[(
            "<xroad:id>",
            "<t:securityToken xmlns:t=\"http://x-road.eu/xsd/security-token.xsd\" tokenType=\"urn:jwt\">abc</t:securityToken><xroad:id>",
        )],
    ),
    edited(
        "2.2",
        "header elements that nobody knows are passed on",
        &[("<xroad:id>", "<o:own xmlns:o=\"urn:own\"><o:x a=\"1\"/></o:own><xroad:id>")],
    ),
    edited(
        "2.2",
        "the order of header elements is free",
        &[
            ("<xroad:protocolVersion>4.0</xroad:protocolVersion>", ""),
            ("<SOAP-ENV:Header>", "<SOAP-ENV:Header><xroad:protocolVersion>4.0</xroad:protocolVersion>"),
        ],
    ),
    edited(
        "2.2",
        "prefixes are free",
        &[
            ("xmlns:xroad", "xmlns:x"),
            ("<xroad:", "<x:"),
            ("</xroad:", "</x:"),
            ("xmlns:SOAP-ENV", "xmlns:s"),
            ("<SOAP-ENV:", "<s:"),
            ("</SOAP-ENV:", "</s:"),
        ],
    ),
    edited(
        "2.2",
        "comments and white space are passed on",
        &[("<xroad:id>", "<!-- a comment -->\n\t<xroad:id>")],
    ),
    edited(
        "2.2",
        "a document without an XML declaration goes through",
        &[("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "")],
    ),
    edited("2.3", "the body's element may have any namespace", &[("urn:c", "http://example.org/any")]),
    edited("2.3", "CDATA and character references are passed on", &[("jäär", "<![CDATA[a<b]]>&#xE4;&amp;")]),
    edited(
        "2.3",
        "attributes and deep elements are passed on",
        &[("jäär", "<a b='1'><c><d xmlns=\"\"/></c></a>")],
    ),
    edited("2.6", "text outside ASCII is passed on in the header", &[("EE12345678901", "jäär-Ωμέγα")]),
    Case {
        clause: "2.6",
        title: "text outside the basic plane is passed on",
        edits: &[("jäär", "𝕏")],
        holds: DELIVERED,
        ..SOAP_CALL
    },
    Case {
        clause: "2.6",
        title: "a content type without a charset is UTF 8",
        headers: &["Content-Type: text/xml"],
        holds: DELIVERED,
        ..SOAP_CALL
    },
    Case {
        clause: "2.6",
        title: "a byte order mark is taken",
        body: Body::Text("\u{feff}{soap}"),
        holds: &[Status(&[200]), NoFault, GotElement("answer", "kuu")],
        ..SOAP_CALL
    },
    Case {
        clause: "2.3",
        title: "a large body is passed on",
        edits: &[("jäär", LARGE)],
        holds: DELIVERED,
        ..SOAP_CALL
    },
    Case {
        clause: "2.5",
        title: "a fault of the service is passed on",
        answer: "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n<?xml version=\"1.0\"?><SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\"><SOAP-ENV:Body><SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode><faultstring>not today</faultstring></SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>",
        holds: &[
            Status(&[200]),
            GotElement("faultcode", "SOAP-ENV:Server"),
            GotElement("faultstring", "not today"),
        ],
        ..SOAP_CALL
    },
    Case {
        clause: "2.5",
        title: "a fault with status 200 is passed on",
        answer: "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><e:Fault><faultcode>own.code</faultcode><faultstring>x</faultstring><detail><faultDetail>y</faultDetail></detail></e:Fault></e:Body></e:Envelope>",
        holds: &[Status(&[200]), GotElement("faultcode", "own.code"), GotElement("faultDetail", "y")],
        ..SOAP_CALL
    },
];

/// About twenty thousand characters.
const LARGE: &str = {
    static TEXT: [u8; 20_000] = [b'z'; 20_000];
    match std::str::from_utf8(&TEXT) {
        Ok(text) => text,
        Err(_) => panic!("ASCII is UTF-8"),
    }
};

fn xml_type_seen(outcome: &Outcome<'_>) -> Result<(), String> {
    let found = outcome.seen.first().and_then(|seen| seen.header("Content-Type")).unwrap_or_default();
    if found.to_lowercase().starts_with("text/xml") {
        Ok(())
    } else {
        Err(format!("the provider sees the type {found:?}"))
    }
}

/// `requestHash` is base64 of the SHA-512 of the very bytes that were sent.
fn request_hash(outcome: &Outcome<'_>) -> Result<(), String> {
    let text = outcome.got.text();
    let document = roxmltree::Document::parse(&text).map_err(|error| error.to_string())?;
    let element = document
        .descendants()
        .find(|node| node.has_tag_name(("http://x-road.eu/xsd/xroad.xsd", "requestHash")));
    let element = element.ok_or("the answer has no requestHash")?;
    let wanted = STANDARD.encode(sha512(outcome.sent));
    let (found, algorithm) =
        (element.text().unwrap_or_default(), element.attribute("algorithmId").unwrap_or_default());
    if found == wanted && algorithm == "http://www.w3.org/2001/04/xmlenc#sha512" {
        Ok(())
    } else {
        Err(format!("requestHash is {found:?} by {algorithm:?}, not {wanted}"))
    }
}
