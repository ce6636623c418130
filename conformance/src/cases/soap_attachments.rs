//! PR-MESS 2.4, annexes F and G: attachments, also by MTOM, in both directions.

use crate::case::{Body, Case, Holds::*, SOAP_CALL};

const RELATED: &[&str] = &[
    "Content-Type: multipart/related; type=\"text/xml\"; start=\"<soap>\"; boundary=\"part\"",
    "SOAPAction: \"\"",
];

const fn parts(title: &'static str, body: &'static str, holds: &'static [crate::case::Holds]) -> Case {
    Case { clause: "2.4", title, headers: RELATED, body: Body::Text(body), holds, ..SOAP_CALL }
}

/// See the module.
pub(super) const CASES: &[Case] = &[
    parts(
        "an attachment goes through",
        "--part\r\nContent-Type: text/xml; charset=UTF-8\r\nContent-ID: <soap>\r\n\r\n{soap}\r\n--part\r\nContent-Type: text/plain\r\nContent-ID: <one>\r\n\r\nhello\r\nworld\r\n--part--\r\n",
        &[
            Status(&[200]),
            NoFault,
            SeesText("{soap}"),
            SeesText("hello\r\nworld"),
            SeesText("<one>"),
            GotElement("answer", "kuu"),
        ],
    ),
    parts(
        "several attachments go through in order",
        "--part\r\nContent-Type: text/xml; charset=UTF-8\r\n\r\n{soap}\r\n--part\r\nContent-Type: text/plain\r\nContent-ID: <1>\r\n\r\nfirst\r\n--part\r\nContent-Type: image/png\r\nContent-ID: <2>\r\nContent-Transfer-Encoding: binary\r\n\r\nsecond\r\n--part--\r\n",
        &[NoFault, SeesText("first"), SeesText("second"), SeesText("image/png"), Check(in_order)],
    ),
    parts(
        "an empty attachment goes through",
        "--part\r\nContent-Type: text/xml; charset=UTF-8\r\n\r\n{soap}\r\n--part\r\nContent-Type: text/plain\r\nContent-ID: <empty>\r\n\r\n\r\n--part--\r\n",
        &[NoFault, SeesText("<empty>"), GotElement("answer", "kuu")],
    ),
    parts(
        "a message in parts without attachments goes through",
        "--part\r\nContent-Type: text/xml; charset=UTF-8\r\n\r\n{soap}\r\n--part--\r\n",
        &[NoFault, SeesText("{soap}"), GotElement("answer", "kuu")],
    ),
    parts(
        "base64 of an attachment is passed on as it is",
        "--part\r\nContent-Type: text/xml; charset=UTF-8\r\n\r\n{soap}\r\n--part\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <b>\r\n\r\naGVsbG8=\r\n--part--\r\n",
        &[NoFault, SeesText("aGVsbG8="), SeesText("base64")],
    ),
    parts(
        "a preamble and an epilogue do no harm",
        "before\r\n--part\r\nContent-Type: text/xml; charset=UTF-8\r\n\r\n{soap}\r\n--part\r\nContent-Type: text/plain\r\n\r\nx1\r\n--part--\r\nafter\r\n",
        &[NoFault, SeesText("x1"), GotElement("answer", "kuu")],
    ),
    Case {
        clause: "annex G",
        title: "an MTOM message goes through",
        headers: &[
            "Content-Type: multipart/related; type=\"application/xop+xml\"; start=\"<soap>\"; start-info=\"text/xml\"; boundary=\"part\"",
            "SOAPAction: \"\"",
        ],
        body: Body::Text(
            "--part\r\nContent-Type: application/xop+xml; charset=UTF-8; type=\"text/xml\"\r\nContent-ID: <soap>\r\n\r\n{soap}\r\n--part\r\nContent-Type: application/octet-stream\r\nContent-ID: <data>\r\n\r\noptimised\r\n--part--\r\n",
        ),
        edits: &[(
            "jäär",
            "<xop:Include xmlns:xop=\"http://www.w3.org/2004/08/xop/include\" href=\"cid:data\"/>",
        )],
        holds: &[
            NoFault,
            SeesText("{soap}"),
            SeesText("optimised"),
            SeesText("application/xop+xml"),
            GotElement("answer", "kuu"),
        ],
        ..SOAP_CALL
    },
    Case {
        clause: "annex F",
        title: "an attachment of an answer comes through",
        answer: "HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type=\"text/xml\"; boundary=\"back\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n--back\r\nContent-Type: text/xml; charset=UTF-8\r\n\r\n<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:id=\"http://x-road.eu/xsd/identifiers\" xmlns:xroad=\"http://x-road.eu/xsd/xroad.xsd\">{seen-header}<SOAP-ENV:Body><conformanceSoapResponse/></SOAP-ENV:Body></SOAP-ENV:Envelope>\r\n--back\r\nContent-Type: text/plain\r\nContent-ID: <file>\r\n\r\nthe file\r\n--back--\r\n",
        holds: &[Status(&[200]), NoFault, GotText("the file"), GotText("<file>"), Check(multipart)],
        ..SOAP_CALL
    },
    Case {
        clause: "2.4",
        title: "parts whose first is no SOAP are refused",
        headers: RELATED,
        body: Body::Text("--part\r\nContent-Type: text/plain\r\n\r\nno SOAP\r\n--part--\r\n"),
        holds: &[Check(super::soap_errors::faulty), NotCalled],
        ..SOAP_CALL
    },
];

fn in_order(outcome: &crate::case::Outcome<'_>) -> Result<(), String> {
    let text = outcome.seen.first().map(|seen| seen.text()).unwrap_or_default();
    match (text.find("first"), text.find("second")) {
        (Some(first), Some(second)) if first < second => Ok(()),
        _ => Err("the attachments are not in order".to_owned()),
    }
}

fn multipart(outcome: &crate::case::Outcome<'_>) -> Result<(), String> {
    let found = outcome.got.header("Content-Type").unwrap_or_default();
    if found.to_lowercase().starts_with("multipart/related") {
        Ok(())
    } else {
        Err(format!("the answer is of type {found:?}"))
    }
}
