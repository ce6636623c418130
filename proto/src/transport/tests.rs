//! The order of parts, the end of a message, faults in every place, and that what is written is read back however it is cut.
use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::fault::{Fault, Side, Style};

const TYPE: &str = "multipart/mixed; boundary=B";

/// One character a byte, so that nothing is lost.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// Events by short names; data of an attachment joined.
fn read_by(
    content_type: &str,
    direction: Direction,
    protocol: Option<Protocol>,
    limits: Limits,
    chunks: &[&[u8]],
) -> Result<Vec<String>, TransportError> {
    let mut decoder = Decoder::new(content_type, direction, limits)?;
    if let Some(protocol) = protocol {
        decoder = decoder.expect(protocol);
    }
    let (mut chunks, mut finished, mut events) = (chunks.iter(), false, Vec::<String>::new());
    loop {
        let event = match decoder.poll()? {
            Some(event) => event,
            None if finished => return Ok(events),
            None => {
                match chunks.next() {
                    Some(chunk) => decoder.feed(Bytes::copy_from_slice(chunk)),
                    None => {
                        decoder.finish();
                        finished = true;
                    }
                }
                continue;
            }
        };
        match event {
            Event::Ocsp(der) => events.push(format!("ocsp {}", text(&der))),
            Event::Message { kind, raw, .. } => events.push(format!("{kind:?} {}", text(&raw))),
            Event::AttachmentHead { number, .. } => events.push(format!("attachment {number} ")),
            Event::AttachmentData(data) => {
                events.last_mut().expect("a head came first").push_str(&text(&data))
            }
            Event::AttachmentEnd => events.last_mut().expect("a head came first").push('.'),
            Event::HashChainResult(xml) => events.push(format!("result {}", text(&xml))),
            Event::HashChain(xml) => events.push(format!("chain {}", text(&xml))),
            Event::Signature(xml) => events.push(format!("signature {}", text(&xml))),
            Event::Fault(xml) => {
                events.push(format!("fault {}", Fault::from_soap(&xml).expect("a fault reads").code))
            }
            Event::End => events.push("end".to_owned()),
        }
    }
}

fn read(direction: Direction, protocol: Protocol, input: &[u8]) -> Result<Vec<String>, TransportError> {
    let whole = read_by(TYPE, direction, Some(protocol), Limits::default(), &[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read_by(TYPE, direction, Some(protocol), Limits::default(), &bytes), whole, "byte by byte");
    whole
}

/// A body of parts, each `type|content`.
fn body(parts: &[&str]) -> Vec<u8> {
    let mut text = String::new();
    for part in parts {
        let (content_type, content) = part.split_once('|').expect("the test writes type|content");
        text.push_str(&format!("--B\r\ncontent-type: {content_type}\r\n\r\n{content}\r\n"));
    }
    (text + "--B--\r\n").into_bytes()
}

const OCSP: &str = "application/ocsp-response|o";
const REQ: &str = "application/x-road-rest-request|q";
const RES: &str = "application/x-road-rest-response|r";
const SOAP: &str = "text/xml; charset=UTF-8|<s/>";
const BODY: &str = "application/x-road-rest-body|b";
const RESULT: &str = "application/hash-chain-result|hr";
const CHAIN: &str = "application/hash-chain|hc";
const SIG: &str = "signature/bdoc-1.0/ts|sig";
const ATTACHMENTS: &str = "multipart/mixed; boundary=A|\r\n--A\r\n\r\none\r\n--A\r\n\r\n\r\n--A--\r\n";

fn fault() -> String {
    let fault = Fault::new(Side::ServerProxy, &[FaultCode::AccessDenied], "m", "d", Style::Snake);
    format!("text/xml; charset=UTF-8|{}", String::from_utf8(fault.to_soap()).expect("XML is text"))
}

#[test]
fn parts_come_in_the_order_of_the_protocol() {
    use Direction::*;
    use Protocol::*;
    let cases: &[(Direction, Protocol, &[&str], &[&str])] = &[
        (
            Request,
            Rest,
            &[OCSP, OCSP, REQ, SIG],
            &["ocsp o", "ocsp o", "RestRequest q", "signature sig", "end"],
        ),
        (
            Request,
            Rest,
            &[REQ, BODY, RESULT, CHAIN, SIG],
            &["RestRequest q", "attachment 1 b.", "result hr", "chain hc", "signature sig", "end"],
        ),
        (
            Request,
            Rest,
            &[REQ, "application/x-road-rest-body|", SIG],
            &["RestRequest q", "attachment 1 .", "signature sig", "end"],
        ),
        (
            Request,
            Rest,
            &["APPLICATION/X-Road-REST-request; charset=utf-8|q", "SIGNATURE/BDOC-1.0/TS|sig"],
            &["RestRequest q", "signature sig", "end"],
        ),
        (Request, Soap, &[OCSP, SOAP, SIG], &["ocsp o", "Soap <s/>", "signature sig", "end"]),
        (
            Request,
            Soap,
            &["application/xop+xml; type=x|<s/>", ATTACHMENTS, RESULT, CHAIN, SIG],
            &[
                "Soap <s/>",
                "attachment 1 one.",
                "attachment 2 .",
                "result hr",
                "chain hc",
                "signature sig",
                "end",
            ],
        ),
        (Request, Soap, &[SOAP, RESULT, SIG], &["Soap <s/>", "result hr", "signature sig", "end"]),
        (Request, Soap, &[SOAP, CHAIN, SIG], &["Soap <s/>", "chain hc", "signature sig", "end"]),
        (
            Response,
            Rest,
            &[OCSP, RES, BODY, SIG],
            &["ocsp o", "RestResponse r", "attachment 1 b.", "signature sig", "end"],
        ),
        (Response, Soap, &[SOAP, SIG], &["Soap <s/>", "signature sig", "end"]),
    ];
    for (direction, protocol, parts, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|e| (*e).to_owned()).collect();
        assert_eq!(read(*direction, *protocol, &body(parts)), Ok(expected), "{parts:?}");
    }
}

#[test]
fn other_orders_are_refused_with_the_code_of_the_reference() {
    use Direction::*;
    use FaultCode::*;
    use Protocol::*;
    let fault = fault();
    let identifier = |name: &str, kind: &str, more: &str| {
        format!(
            "<x:{name} i:objectType='{kind}'><i:xRoadInstance>E</i:xRoadInstance><i:memberClass>C</i:memberClass><i:memberCode>1</i:memberCode>{more}</x:{name}>"
        )
    };
    let whole_soap = format!(
        "text/xml|<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/' xmlns:x='http://x-road.eu/xsd/xroad.xsd' \
         xmlns:i='http://x-road.eu/xsd/identifiers'><e:Header>{}{}<x:id>1</x:id><x:protocolVersion>4.0</x:protocolVersion>\
         </e:Header><e:Body><s/></e:Body></e:Envelope>",
        identifier("client", "MEMBER", ""),
        identifier("service", "SERVICE", "<i:serviceCode>s</i:serviceCode>"),
    );
    let cases: &[(Direction, Protocol, &[&str], &[FaultCode])] = &[
        (Request, Rest, &[REQ, OCSP, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[OCSP, BODY, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[REQ, REQ, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[REQ, BODY, BODY, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[REQ, ATTACHMENTS, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[REQ, SIG, RESULT, CHAIN], &[ServiceFailed, InvalidMessage]),
        (Request, Rest, &[REQ, CHAIN, RESULT, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[REQ, RESULT, CHAIN, CHAIN, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[OCSP], &[InternalError]),
        (Request, Rest, &[], &[InternalError]),
        (Request, Rest, &[SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[RES, SIG], &[ServiceFailed, InternalError]),
        (Request, Rest, &[&whole_soap, SIG], &[InternalError]),
        (Request, Rest, &["text/xml|q", SIG], &[ServiceFailed, InvalidSoap]),
        (Request, Rest, &[REQ, &fault], &[MissingSignature]),
        (Request, Rest, &[REQ, "application/octet-stream|sig"], &[ServiceFailed, InvalidContentType]),
        (Request, Rest, &[";;|q", SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Soap, &[REQ, SIG], &[MissingSoap]),
        (Request, Soap, &[], &[MissingSoap]),
        (Request, Soap, &[SOAP], &[MissingSignature]),
        (Request, Soap, &[SOAP, BODY, SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Soap, &[SOAP, "multipart/mixed|x", SIG], &[ServiceFailed, InvalidContentType]),
        (Request, Soap, &[SOAP, "multipart/mixed; boundary=A|x", SIG], &[IoError]),
        (Response, Rest, &[REQ, SIG], &[ServiceFailed, InternalError]),
        (Response, Rest, &[&whole_soap, SIG], &[ServiceFailed, InvalidContentType]),
        (Response, Rest, &["text/xml|q", SIG], &[ServiceFailed, InvalidSoap]),
        (Response, Rest, &[], &[MissingRest]),
        (Response, Soap, &[], &[MissingSoap]),
        (Response, Soap, &[RES, SIG], &[MissingSoap]),
        (Response, Soap, &[SOAP, SIG, &fault], &[ServiceFailed, InvalidMessage]),
        (Response, Soap, &[SOAP, "text/xml|<s/>"], &[ServiceFailed, InvalidSoap]),
        (Response, Soap, &[SOAP, "text/xml|"], &[ServiceFailed, InvalidSoap]),
    ];
    for (direction, protocol, parts, expected) in cases {
        let error = read(*direction, *protocol, &body(parts)).expect_err(&format!("{parts:?}"));
        assert_eq!(error.fault_path(), *expected, "{parts:?}: {error}");
        assert_eq!(Some(&error.fault_code()), expected.last());
    }
}

/// Both without a closing delimiter and without its own, nothing passes for a whole message.
#[test]
fn no_cut_looks_like_an_end() {
    let whole = body(&[OCSP, SOAP, ATTACHMENTS, RESULT, CHAIN, SIG]);
    for direction in [Direction::Request, Direction::Response] {
        for end in 0..whole.len() - "\r\n".len() {
            let error = read(direction, Protocol::Soap, &whole[..end]).expect_err("a cut");
            let codes = [FaultCode::MissingSoap, FaultCode::MissingSignature, FaultCode::IoError];
            assert!(codes.contains(&error.fault_code()), "{end}: {error}");
        }
        assert!(
            read(direction, Protocol::Soap, &whole[..whole.len() - 2]).is_ok(),
            "the last line end may lack"
        );
    }
}

#[test]
fn a_fault_may_take_the_place_of_any_part_of_a_response() {
    let fault = fault();
    let told = "fault server.serverproxy.access_denied".to_owned();
    let soap: [&[&str]; 4] = [&[], &[SOAP], &[SOAP, ATTACHMENTS], &[SOAP, RESULT, CHAIN]];
    let rest: [&[&str]; 3] = [&[], &[RES], &[RES, BODY]];
    let cases = soap.iter().map(|p| (Protocol::Soap, p)).chain(rest.iter().map(|p| (Protocol::Rest, p)));
    for (protocol, before) in cases {
        let parts = [*before, &[fault.as_str()]].concat();
        let events = read(Direction::Response, protocol, &body(&parts)).expect("a fault is an answer");
        assert_eq!(events.last(), Some(&told), "{before:?}");
    }
}

#[test]
fn a_plain_body_is_a_fault() {
    let (_, xml) = fault().split_once('|').map(|(t, x)| (t.to_owned(), x.to_owned())).expect("type|content");
    let read = |direction, chunks: &[&[u8]]| {
        read_by(
            "text/xml;charset=utf-8",
            direction,
            Some(Protocol::Rest),
            Limits { message_bytes: 1000, ..Limits::default() },
            chunks,
        )
    };
    let expected = Ok(vec!["fault server.serverproxy.access_denied".to_owned()]);
    assert_eq!(read(Direction::Response, &[xml.as_bytes()]), expected);
    let bytes: Vec<&[u8]> = xml.as_bytes().chunks(1).collect();
    assert_eq!(read(Direction::Response, &bytes), expected);
    assert_eq!(
        read(Direction::Response, &[b"garbage"]),
        Err(TransportError::Soap(SoapError::Xml(crate::xml::XmlError::Malformed(
            "text outside the root element".into()
        ))))
    );
    assert_eq!(
        read(Direction::Response, &[&[b' '; 700], &[b' '; 700]]),
        Err(TransportError::TooLarge { part: "fault", limit: 1000 })
    );
    for content_type in ["text/xml", "tsdfsdfsdf", "multipart/related; boundary=B", ""] {
        let error = Decoder::new(content_type, Direction::Request, Limits::default())
            .expect_err("no transport message");
        assert_eq!(error.fault_path(), [FaultCode::ServiceFailed, FaultCode::InvalidContentType]);
    }
}

#[test]
fn every_bound_holds() {
    let limits = Limits {
        ocsp_parts: 1,
        ocsp_bytes: 3,
        message_bytes: 6,
        signature_bytes: 4,
        attachments: 1,
        parts: PartLimits::default(),
    };
    let cases: [(&[&str], Option<&str>); 8] = [
        (&["application/ocsp-response|123", "text/xml|123456", "signature/bdoc-1.0/ts|1234"], None),
        (&["application/ocsp-response|1234"], Some("OCSP")),
        (&[OCSP, OCSP], Some("OCSP")),
        (&["text/xml|1234567"], Some("message")),
        (&[SOAP, "signature/bdoc-1.0/ts|12345"], Some("signature")),
        (&[SOAP, "application/hash-chain-result|12345"], Some("chain result")),
        (&[SOAP, RESULT, "application/hash-chain|12345"], Some("chain")),
        (&[SOAP, ATTACHMENTS], Some("attachment")),
    ];
    for (parts, expected) in cases {
        let input = body(parts);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        let found = match read_by(TYPE, Direction::Request, None, limits, &bytes) {
            Ok(_) => None,
            Err(TransportError::TooLarge { part, .. } | TransportError::TooMany { part, .. }) => Some(part),
            Err(other) => panic!("{parts:?}: {other}"),
        };
        assert_eq!(found, expected, "{parts:?}");
    }
}

/// Line by line as stock servers write it.
#[test]
fn the_layout_is_the_reference_s() {
    let (mut encoder, mut out) = (Encoder::new("Q"), BytesMut::new());
    assert_eq!(encoder.content_type(), "multipart/mixed; charset=UTF-8; boundary=xtopQ");
    encoder.ocsp(&mut out, b"DER");
    encoder.soap(
        &mut out,
        "text/xml; charset=UTF-8",
        &[("X-A".into(), "ö".into()), ("X-B".into(), "a\rb".into())],
        b"<s/>",
    );
    let head = PartHead {
        headers: vec![("Content-ID".into(), "<a1>".into()), ("Content-Type".into(), "a/b".into())],
    };
    encoder.attachment_head(&mut out, &head);
    out.extend_from_slice(b"one");
    encoder.attachment_head(&mut out, &PartHead::default());
    encoder.hash_chain(&mut out, b"<r/>", b"<c/>");
    encoder.signature(&mut out, b"<d/>");
    let expected: &[u8] = b"--xtopQ\r\ncontent-type: application/ocsp-response\r\n\r\nDER\
        \r\n--xtopQ\r\ncontent-type: text/xml; charset=UTF-8\r\nX-A: \xf6\r\n\r\n<s/>\
        \r\n--xtopQ\r\ncontent-type: multipart/mixed; charset=UTF-8; boundary=xattQ\r\n\r\n\
        \r\n--xattQ\r\ncontent-type: a/b\r\nContent-ID: <a1>\r\n\r\none\
        \r\n--xattQ\r\ncontent-type: application/octet-stream\r\n\r\n\
        \r\n--xattQ--\r\n\
        \r\n--xtopQ\r\ncontent-type: application/hash-chain-result\r\n\r\n<r/>\
        \r\n--xtopQ\r\ncontent-type: application/hash-chain\r\n\r\n<c/>\
        \r\n--xtopQ\r\ncontent-type: signature/bdoc-1.0/ts\r\n\r\n<d/>\
        \r\n--xtopQ--\r\n";
    assert_eq!(out, expected, "{}", text(&out));
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        proptest::collection::vec(prop::sample::select(b"\r\n-xtopat".to_vec()), 0..60),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_written_is_read_back(
        ocsp in proptest::collection::vec(content(), 0..3),
        message in content(),
        attachments in proptest::collection::vec(content(), 0..4),
        rest in any::<bool>(),
        chain in proptest::option::of((content(), content())),
        signature in content(),
        cuts in proptest::collection::vec(1usize..50, 0..200),
    ) {
        let (mut encoder, mut out) = (Encoder::new("QQ"), BytesMut::new());
        let mut expected = Vec::new();
        for der in &ocsp {
            encoder.ocsp(&mut out, der);
            expected.push(format!("ocsp {}", text(der)));
        }
        if rest {
            encoder.rest(&mut out, MessageKind::RestRequest, &message);
        } else {
            encoder.soap(&mut out, "text/xml", &[], &message);
        }
        expected.push(format!("{} {}", if rest { "RestRequest" } else { "Soap" }, text(&message)));
        for (index, attachment) in attachments.iter().take(if rest { 1 } else { 4 }).enumerate() {
            match rest {
                true => encoder.rest_body_head(&mut out),
                false => encoder.attachment_head(&mut out, &PartHead::default()),
            }
            out.extend_from_slice(attachment);
            expected.push(format!("attachment {} {}.", index + 1, text(attachment)));
        }
        if let Some((result, chain)) = &chain {
            encoder.hash_chain(&mut out, result, chain);
            expected.push(format!("result {}", text(result)));
            expected.push(format!("chain {}", text(chain)));
        }
        encoder.signature(&mut out, &signature);
        expected.push(format!("signature {}", text(&signature)));
        expected.push("end".to_owned());

        let mut rest_of = &out[..];
        let mut chunks = Vec::new();
        for cut in cuts {
            let (chunk, after) = rest_of.split_at(cut.min(rest_of.len()));
            chunks.push(chunk);
            rest_of = after;
        }
        chunks.push(rest_of);
        let found = read_by(&encoder.content_type(), Direction::Request, None, Limits::default(), &chunks);
        prop_assert_eq!(found, Ok(expected));
    }

    #[test]
    fn takes_any_bytes(parts in proptest::collection::vec(prop::sample::select(vec![
        "--B\r\n", "\r\n--B\r\n", "\r\n--B--\r\n", "content-type: text/xml\r\n\r\n", "content-type: signature/bdoc-1.0/ts\r\n\r\n",
        "content-type: multipart/mixed; boundary=B\r\n\r\n", "\r\n\r\n", "<x/>", "\u{0}"]), 0..20), response in any::<bool>()) {
        let direction = if response { Direction::Response } else { Direction::Request };
        let _ = read_by(TYPE, direction, None, Limits::default(), &[parts.concat().as_bytes()]);
    }
}
