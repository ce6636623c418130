//! PR-MESS 2.2, 2.3, 2.5: messages that are refused, and how.

use crate::case::{Body, Case, Holds::*, Outcome, SOAP_CALL, fault};

const REFUSED: &[crate::case::Holds] = &[Check(faulty), NotCalled];

const fn refused(
    clause: &'static str,
    title: &'static str,
    edits: &'static [(&'static str, &'static str)],
) -> Case {
    Case { clause, title, edits, holds: REFUSED, ..SOAP_CALL }
}

const fn answered(title: &'static str, answer: &'static str, holds: &'static [crate::case::Holds]) -> Case {
    Case { clause: "2.5", title, answer, holds, ..SOAP_CALL }
}

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case {
        clause: "2.5",
        title: "a fault has a code, a text and a detail, and status 200",
        edits: &[("conformanceSoap", "noSuchService")],
        holds: &[
            Status(&[200]),
            Fault(&["server.serverproxy.unknown_service"]),
            NotCalled,
            Check(whole_fault),
        ],
        ..SOAP_CALL
    },
    refused("2.2", "a request without a client in its header is refused", &[("xroad:client", "xroad:other")]),
    refused(
        "2.2",
        "a request without a service in its header is refused",
        &[("xroad:service", "xroad:other")],
    ),
    refused("2.2", "a request without an id is refused", &[("<xroad:id>{id}</xroad:id>", "")]),
    refused(
        "2.2",
        "a request without a protocol version is refused",
        &[("<xroad:protocolVersion>4.0</xroad:protocolVersion>", "")],
    ),
    refused("2.2", "another version of the message protocol is refused", &[(">4.0<", ">3.1<")]),
    refused(
        "2.2",
        "a header element that stands twice is refused",
        &[("<xroad:id>{id}</xroad:id>", "<xroad:id>{id}</xroad:id><xroad:id>{id}</xroad:id>")],
    ),
    refused("2.2", "a message without a header is refused", &[("SOAP-ENV:Header", "SOAP-ENV:Other")]),
    refused(
        "2.3",
        "an empty body is refused",
        &[("<c:conformanceSoap xmlns:c=\"urn:c\"><c:text>jäär</c:text></c:conformanceSoap>", "")],
    ),
    refused(
        "2.3",
        "a body of two elements is refused",
        &[("<SOAP-ENV:Body>", "<SOAP-ENV:Body><conformanceSoap/>")],
    ),
    refused(
        "2.3",
        "a body that is not named after the service is refused",
        &[("<c:conformanceSoap xmlns:c=\"urn:c\"><c:text>jäär</c:text></c:conformanceSoap>", "<other/>")],
    ),
    refused("2.2", "XML that is cut is refused", &[("</SOAP-ENV:Envelope>", "")]),
    refused(
        "2.2",
        "another version of SOAP is refused",
        &[("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope")],
    ),
    refused(
        "2.2",
        "a document type declaration is refused",
        &[("<SOAP-ENV:Envelope", "<!DOCTYPE x [<!ENTITY e \"x\">]><SOAP-ENV:Envelope")],
    ),
    Case {
        title: "an unknown client in the header is refused by the consumer's server",
        edits: &[(
            "{client-xml}",
            "<id:xRoadInstance>{instance}</id:xRoadInstance><id:memberClass>NO</id:memberClass><id:memberCode>SUCH</id:memberCode><id:subsystemCode>CLIENT</id:subsystemCode>",
        )],
        holds: &[Status(&[200]), Fault(&["server.clientproxy.unknown_member"]), NotCalled],
        ..SOAP_CALL
    },
    Case {
        title: "an unknown provider in the header is refused by the consumer's server",
        edits: &[(
            "{provider-xml}",
            "<id:xRoadInstance>{instance}</id:xRoadInstance><id:memberClass>NO</id:memberClass><id:memberCode>SUCH</id:memberCode><id:subsystemCode>PROVIDER</id:subsystemCode>",
        )],
        holds: &[Status(&[200]), Fault(&["server.clientproxy.unknown_member"]), NotCalled],
        ..SOAP_CALL
    },
    Case {
        title: "another version of a service is an unknown service",
        edits: &[(">v1<", ">v2<")],
        holds: &[Status(&[200]), Fault(&["server.serverproxy.unknown_service"]), NotCalled],
        ..SOAP_CALL
    },
    Case {
        title: "a REST service is no SOAP service",
        edits: &[
            (
                "<id:serviceCode>conformanceSoap</id:serviceCode><id:serviceVersion>v1</id:serviceVersion>",
                "<id:serviceCode>conformance</id:serviceCode>",
            ),
            ("c:conformanceSoap", "c:conformance"),
        ],
        holds: &[
            Status(&[200]),
            Fault(&["server.serverproxy.service_type", "server.serverproxy.unknown_service"]),
            NotCalled,
        ],
        ..SOAP_CALL
    },
    Case {
        title: "a GET that is no other service is refused",
        line: "GET /",
        body: Body::None,
        holds: &[Status(&[200]), Fault(&["client.invalid_http_method"]), NotCalled],
        ..SOAP_CALL
    },
    Case {
        title: "a content type that is no XML is refused",
        headers: &["Content-Type: application/json"],
        holds: REFUSED,
        ..SOAP_CALL
    },
    Case { title: "a request without a body is refused", body: Body::Text(""), holds: REFUSED, ..SOAP_CALL },
    answered(
        "an answer with another status is an error of the service",
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n<html/>",
        &[Status(&[200]), Fault(&["server.serverproxy.service_failed.http_error"])],
    ),
    answered(
        "an answer that is no XML is an error of the service",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n<html/>",
        &[Check(of_service)],
    ),
    answered(
        "an answer of another service is an error of the service",
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><x/></e:Body></e:Envelope>",
        &[Check(of_service)],
    ),
    answered(
        "a service that hangs up without an answer is an error of the service",
        "",
        &[Check(of_service)],
    ),
];

/// A fault, or an HTTP error where the message never was one of SOAP.
pub(super) fn faulty(outcome: &Outcome<'_>) -> Result<(), String> {
    if fault(outcome.got).is_some() || outcome.got.status() >= 400 {
        return Ok(());
    }
    Err(format!(
        "no fault: {} {}",
        outcome.got.start,
        outcome.got.text().chars().take(100).collect::<String>()
    ))
}

fn of_service(outcome: &Outcome<'_>) -> Result<(), String> {
    match fault(outcome.got) {
        Some(code) if code.to_lowercase().starts_with("server.serverproxy.") => Ok(()),
        other => Err(format!("the fault code is {other:?}, not one of the provider's server")),
    }
}

fn whole_fault(outcome: &Outcome<'_>) -> Result<(), String> {
    let text = outcome.got.text();
    let document = roxmltree::Document::parse(&text).map_err(|error| error.to_string())?;
    for name in ["faultcode", "faultstring", "faultDetail"] {
        let element = document.descendants().find(|node| node.tag_name().name() == name);
        if element.and_then(|node| node.text()).is_none_or(str::is_empty) {
            return Err(format!("the fault has no {name}: {text}"));
        }
    }
    Ok(())
}
