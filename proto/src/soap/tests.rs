//! Every header and body rule with its near misses, encodings, and the splice of the request hash.
use proptest::prelude::*;

use super::*;

const CLIENT: &str = "<x:client i:objectType='SUBSYSTEM'><i:xRoadInstance>EE</i:xRoadInstance><i:memberClass>COM</i:memberClass>\
    <i:memberCode>2</i:memberCode><i:subsystemCode>c</i:subsystemCode></x:client>";
const SERVICE: &str = "<x:service i:objectType='SERVICE'><i:xRoadInstance>EE</i:xRoadInstance><i:memberClass>GOV</i:memberClass>\
    <i:memberCode>1</i:memberCode><i:subsystemCode>s</i:subsystemCode><i:serviceCode>get</i:serviceCode></x:service>";
const ID: &str = "<x:id>m1</x:id>";
const VERSION: &str = "<x:protocolVersion>4.0</x:protocolVersion>";
const BODY: &str = "<e:Body><get/></e:Body>";

fn envelope(inner: &str) -> String {
    format!(
        "<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/' xmlns:x='{XROAD_NS}' xmlns:r='{REPRESENTATION_NS}' \
         xmlns:i='http://x-road.eu/xsd/identifiers'>{inner}</e:Envelope>"
    )
}

fn message(header: &[&str], body: &str) -> String {
    envelope(&format!("<e:Header>{}</e:Header>{body}", header.concat()))
}

fn read(xml: &str) -> Result<Soap, SoapError> {
    parse(Bytes::from(xml.to_owned()), "text/xml; charset=UTF-8")
}

fn read_message(xml: &str) -> SoapMessage {
    match read(xml) {
        Ok(Soap::Message(message)) => *message,
        other => panic!("{xml}: {other:?}"),
    }
}

#[test]
fn every_field_is_read_as_it_stands() {
    let xml = message(
        &[
            "<x:userId> <![CDATA[<u>]]>&amp;\r\n</x:userId><x:issue/><x:unknown>z</x:unknown><x:id> m<!-- -->1<x:id>no</x:id></x:id>",
            "<i:id>no</i:id><r:representedParty><r:partyClass>COM</r:partyClass><r:partyCode>9</r:partyCode></r:representedParty>",
            "<x:securityServer i:objectType='SERVER'><i:xRoadInstance>EE</i:xRoadInstance><i:memberClass>GOV</i:memberClass>",
            "<i:memberCode>1</i:memberCode><i:serverCode>ss</i:serverCode><i:groupCode/></x:securityServer>",
            "<x:requestHash algorithmId='a'>h</x:requestHash>",
            CLIENT,
            SERVICE,
            VERSION,
        ],
        "text<e:Body>text<getResponse><get/><x:id/></getResponse>text</e:Body>",
    );
    let found = read_message(&xml);
    assert_eq!(found.raw, xml);
    assert!(found.is_response);
    let header = found.header;
    assert_eq!(header.client.to_string(), "SUBSYSTEM:EE/COM/2/c");
    assert_eq!(header.service.to_string(), "SERVICE:EE/GOV/1/s/get");
    assert_eq!(header.id, " m1");
    assert_eq!((header.user_id.as_deref(), header.issue.as_deref()), (Some(" <u>&\n"), Some("")));
    assert_eq!(header.represented_party, Some((Some("COM".into()), "9".into())));
    assert_eq!(header.security_server.expect("it is there").to_string(), "SERVER:EE/GOV/1/ss");
    assert_eq!((header.protocol_version.as_str(), header.request_hash.as_deref()), ("4.0", Some("h")));
}

#[test]
fn what_information_systems_get_away_with() {
    let versioned = SERVICE.replace("</x:service>", "<i:serviceVersion>v1</i:serviceVersion></x:service>");
    let cases = [
        ("no declaration", message(&[CLIENT, SERVICE, ID, VERSION], BODY)),
        ("any order", message(&[VERSION, ID, SERVICE, CLIENT], BODY)),
        (
            "a header after the body",
            envelope(&format!("{BODY}<e:Header>{CLIENT}{SERVICE}{ID}{VERSION}</e:Header>")),
        ),
        (
            "two headers",
            envelope(&format!(
                "<e:Header>{CLIENT}{SERVICE}</e:Header><e:Header>{ID}{VERSION}</e:Header>{BODY}"
            )),
        ),
        ("a version of the service", message(&[CLIENT, &versioned, ID, VERSION], BODY)),
        ("a longer body name", message(&[CLIENT, SERVICE, ID, VERSION], "<e:Body><getMore/></e:Body>")),
        ("an empty id", message(&[CLIENT, SERVICE, "<x:id/>", VERSION], BODY)),
        ("version 4.", message(&[CLIENT, SERVICE, ID, "<x:protocolVersion>4.x</x:protocolVersion>"], BODY)),
        ("a party without code", message(&[CLIENT, SERVICE, ID, VERSION, "<r:representedParty/>"], BODY)),
        (
            "MEMBER with a subsystem",
            message(&[&CLIENT.replace("SUBSYSTEM", "MEMBER"), SERVICE, ID, VERSION], BODY),
        ),
        (
            "deep bodies",
            message(
                &[CLIENT, SERVICE, ID, VERSION],
                &format!("<e:Body><get>{}{}</get></e:Body>", "<a>".repeat(3000), "</a>".repeat(3000)),
            ),
        ),
    ];
    for (name, xml) in cases {
        let found = read(&xml);
        assert!(
            matches!(&found, Ok(Soap::Message(m)) if m.header.client.to_string() == "SUBSYSTEM:EE/COM/2/c"),
            "{name}: {found:?}"
        );
    }
    let member = CLIENT.replace("<i:subsystemCode>c</i:subsystemCode>", "");
    let found = read_message(&message(&[&member, SERVICE, ID, VERSION], BODY));
    assert_eq!(found.header.client.to_string(), "MEMBER:EE/COM/2", "the children decide");
}

#[test]
fn broken_rules_have_the_codes_of_the_reference() {
    use FaultCode::*;
    let all = [CLIENT, SERVICE, ID, VERSION];
    let without = |skip: usize| {
        message(
            &all.iter().enumerate().filter(|(i, _)| *i != skip).map(|(_, f)| *f).collect::<Vec<_>>(),
            BODY,
        )
    };
    let with = |more: &str| message(&[CLIENT, SERVICE, ID, VERSION, more], BODY);
    let client = |from: &str, to: &str| message(&[&CLIENT.replace(from, to), SERVICE, ID, VERSION], BODY);
    let service = |from: &str, to: &str| message(&[CLIENT, &SERVICE.replace(from, to), ID, VERSION], BODY);
    let body = |body: &str| message(&all, body);
    let version = |v: &str| {
        message(&[CLIENT, SERVICE, ID, &format!("<x:protocolVersion>{v}</x:protocolVersion>")], BODY)
    };
    let cases = [
        ("not XML", "garbage".to_owned(), InvalidSoap),
        ("nothing", String::new(), InvalidSoap),
        ("a DOCTYPE", format!("<!DOCTYPE a>{}", message(&all, BODY)), InvalidSoap),
        ("an entity", with("<x:userId>&u;</x:userId>"), InvalidSoap),
        ("a prefix from nowhere", with("<z:userId/>"), InvalidSoap),
        ("text after the end", message(&all, BODY) + "x", InvalidSoap),
        (
            "SOAP 1.2",
            message(&all, BODY)
                .replace("schemas.xmlsoap.org/soap/envelope/", "www.w3.org/2003/05/soap-envelope"),
            InvalidSoap,
        ),
        ("another root", "<a/>".to_owned(), InvalidSoap),
        ("no header", envelope(BODY), MissingHeader),
        ("no client", without(0), MissingHeaderField),
        ("no service", without(1), MissingHeaderField),
        ("no id", without(2), MissingHeaderField),
        ("no version", without(3), MissingHeaderField),
        (
            "another namespace",
            with("").replace("<x:id>", "<i:id>").replace("</x:id>", "</i:id>"),
            MissingHeaderField,
        ),
        ("client twice", with(CLIENT), DuplicateHeaderField),
        ("service twice", with(SERVICE), DuplicateHeaderField),
        ("id twice", with(ID), DuplicateHeaderField),
        ("version twice", with(VERSION), DuplicateHeaderField),
        ("userId twice", with("<x:userId/><x:userId/>"), DuplicateHeaderField),
        ("hash twice", with("<x:requestHash/><x:requestHash/>"), DuplicateHeaderField),
        ("party twice", with("<r:representedParty/><r:representedParty/>"), DuplicateHeaderField),
        (
            "a code twice",
            client("<i:memberClass>", "<i:memberClass>X</i:memberClass><i:memberClass>"),
            DuplicateHeaderField,
        ),
        ("no object type", client("i:objectType='SUBSYSTEM'", ""), InvalidXml),
        ("an unqualified object type", client("i:objectType", "objectType"), InvalidXml),
        ("an unknown object type", client("SUBSYSTEM", "FOO"), InvalidXml),
        ("a service as client", client("SUBSYSTEM", "SERVICE"), InvalidXml),
        ("a central service", service("SERVICE", "CENTRALSERVICE"), InvalidXml),
        ("a member as server", with("<x:securityServer i:objectType='MEMBER'/>"), InvalidXml),
        ("no class", client("<i:memberClass>COM</i:memberClass>", ""), InternalError),
        ("an empty code", client("<i:memberCode>2<", "<i:memberCode><"), InternalError),
        ("an empty subsystem", client("<i:subsystemCode>c<", "<i:subsystemCode> <"), InternalError),
        ("no service code", service("<i:serviceCode>get</i:serviceCode>", ""), InternalError),
        ("version 3.1", version("3.1"), InvalidProtocolVersion),
        ("version 40", version("40"), InvalidProtocolVersion),
        ("version with blanks", version(" 4.0 "), InvalidProtocolVersion),
        ("version empty", version(""), InvalidProtocolVersion),
        (
            "a long id",
            message(&[CLIENT, SERVICE, VERSION, &format!("<x:id>{}</x:id>", "ä".repeat(256))], BODY),
            DatabaseError,
        ),
        ("no body", message(&all, ""), MissingBody),
        ("an empty body", body("<e:Body/>"), InvalidBody),
        ("a body of text", body("<e:Body>get</e:Body>"), InvalidBody),
        ("two elements", body("<e:Body><get/><get/></e:Body>"), InvalidBody),
        ("two bodies", body("<e:Body><get/></e:Body><e:Body><get/></e:Body>"), InconsistentHeaders),
        ("another name", body("<e:Body><put/></e:Body>"), InconsistentHeaders),
        ("a name of other case", body("<e:Body><Get/></e:Body>"), InconsistentHeaders),
    ];
    for (name, xml, expected) in cases {
        let error = read(&xml).expect_err(name);
        assert_eq!(error.fault_code(), expected, "{name}: {error}");
    }
}

#[test]
fn faults_carry_the_side_of_their_place() {
    use FaultCode::*;
    let cases = [
        (SoapError::MissingBody, Place::ConsumerEdge, Side::Client, vec![MissingBody]),
        (SoapError::MissingBody, Place::ProviderPort, Side::ServerProxy, vec![ServiceFailed, MissingBody]),
        (SoapError::MissingBody, Place::ProviderEdge, Side::ServerProxy, vec![ServiceFailed, MissingBody]),
        (SoapError::MissingBody, Place::ConsumerPort, Side::ClientProxy, vec![ServiceFailed, MissingBody]),
        (SoapError::IdTooLong, Place::ConsumerEdge, Side::ClientProxy, vec![LoggingFailed, DatabaseError]),
        (SoapError::IdTooLong, Place::ProviderPort, Side::ServerProxy, vec![LoggingFailed, DatabaseError]),
        (SoapError::Action, Place::ConsumerEdge, Side::Client, vec![InvalidSoapAction]),
        (SoapError::Action, Place::ProviderPort, Side::ServerProxy, vec![InvalidSoapAction]),
    ];
    for (error, place, side, path) in cases {
        assert_eq!(error.fault(place), (side, path), "{error} {place:?}");
    }
}

#[test]
fn a_fault_needs_no_header() {
    let cases = [
        envelope(
            "<e:Body><e:Fault><faultcode>a.b</faultcode><faultstring>c</faultstring></e:Fault></e:Body>",
        ),
        envelope(&format!(
            "<e:Header>{ID}</e:Header><e:Body><e:Fault><faultcode>a.b</faultcode><faultstring>c</faultstring></e:Fault><x/></e:Body>"
        )),
        message(
            &[CLIENT, SERVICE, ID, VERSION],
            "<e:Body><get/><e:Fault><faultcode>a.b</faultcode><faultstring>c</faultstring></e:Fault></e:Body>",
        ),
    ];
    for xml in cases {
        let Ok(Soap::Fault(fault, raw)) = read(&xml) else { panic!("{xml}") };
        assert_eq!((fault.code.as_str(), fault.message.as_str()), ("a.b", "c"));
        assert_eq!(raw, xml);
    }
}

#[test]
fn content_types() {
    let xml = Bytes::from(message(&[CLIENT, SERVICE, ID, VERSION], BODY));
    for (content_type, accepted) in [
        ("text/xml", true),
        ("TEXT/XML; CHARSET=\"utf-8\"", true),
        ("application/xop+xml; type=x", true),
        ("text/xml;charset=ISO-8859-1", true),
        ("text/xml, text/xml", true),
        ("text/xml; charset=foo", false),
        ("text/xml; charset=", false),
        ("application/soap+xml", false),
        ("text/plain", false),
        ("multipart/related; boundary=x", false),
        ("", false),
    ] {
        let found = parse(xml.clone(), content_type);
        assert_eq!(found.is_ok(), accepted, "{content_type}: {found:?}");
        assert!(accepted || found.is_err_and(|e| e.fault_code() == FaultCode::InvalidContentType));
    }
}

#[test]
fn soap_actions() {
    for (value, accepted) in [
        (None, true),
        (Some(""), true),
        (Some("\"\""), true),
        (Some("\"http://example.org/test\""), true),
        (Some("\"urn:foo\""), true),
        (Some("\"ä\""), true),
        (Some("\"a%20b#c\""), true),
        (Some("http://quotes/missing"), false),
        (Some("\"a b\""), false),
        (Some("\""), false),
        (Some("\"a\"b\""), false),
        (Some("\"%zz\""), false),
        (Some("\"1a:b\""), false),
        (Some("\"urn:\""), false),
        (Some("\"a\u{7f}\""), false),
    ] {
        assert_eq!(check_soap_action(value).is_ok(), accepted, "{value:?}");
    }
}

fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|u| if big_endian { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("the test writes ISO-8859-1")).collect()
}

/// The same document in every encoding, and its declaration.
fn encoded(xml: &str) -> Vec<(&'static str, Vec<u8>, bool)> {
    let declared = |name: &str| format!("<?xml version=\"1.0\" encoding='{name}'?>{xml}");
    vec![
        ("UTF-8", xml.as_bytes().to_vec(), true),
        ("UTF-8 with mark", format!("\u{feff}{xml}").into_bytes(), true),
        ("UTF-8 declared", declared("Utf-8").into_bytes(), true),
        ("ISO-8859-1 declared", latin1(&declared("ISO-8859-1")), true),
        ("UTF-16 LE with mark", utf16(&format!("\u{feff}{}", declared("UTF-16")), false), true),
        ("UTF-16 BE with mark", utf16(&format!("\u{feff}{xml}"), true), true),
        ("UTF-16 LE", utf16(&declared("UTF-16LE"), false), true),
        ("UTF-16 BE", utf16(xml, true), true),
        ("ISO-8859-1 undeclared", latin1(xml), false),
        ("UTF-16 declared UTF-8", utf16(&format!("\u{feff}{}", declared("UTF-8")), false), false),
        ("UTF-8 declared UTF-16", declared("UTF-16").into_bytes(), false),
        ("declared ASCII", declared("US-ASCII").into_bytes(), false),
        ("an unknown encoding", declared("x-foo").into_bytes(), false),
        ("UTF-32", xml.chars().flat_map(|c| (c as u32).to_le_bytes()).collect(), false),
        ("half a UTF-16 unit", [utf16(xml, true), vec![0]].concat(), false),
    ]
}

#[test]
fn the_document_says_how_it_is_encoded() {
    let xml = message(&[CLIENT, SERVICE, "<x:id>mä</x:id>", VERSION], BODY);
    for (name, raw, accepted) in encoded(&xml) {
        match parse(raw.clone().into(), "text/xml; charset=UTF-8") {
            Ok(Soap::Message(message)) if accepted => {
                assert_eq!((message.header.id.as_str(), &message.raw[..]), ("mä", &raw[..]), "{name}");
            }
            Err(error) if !accepted => {
                assert_eq!(error.fault_code(), FaultCode::InvalidSoap, "{name}: {error}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_request_hash_is_spliced_in() {
    const HASH: &str =
        "<x:requestHash algorithmId=\"http://www.w3.org/2001/04/xmlenc#sha512\">aGFzaA==</x:requestHash>";
    let own = format!("<id xmlns='{XROAD_NS}'>m1</id>");
    let own_hash = format!(
        "<requestHash xmlns=\"{XROAD_NS}\" algorithmId=\"http://www.w3.org/2001/04/xmlenc#sha512\">aGFzaA==</requestHash>"
    );
    let other = format!("<y:id xmlns:y='{XROAD_NS}' a='b'/>");
    let other_hash = format!(
        "<y:requestHash xmlns:y=\"{XROAD_NS}\" algorithmId=\"http://www.w3.org/2001/04/xmlenc#sha512\">aGFzaA==</y:requestHash>"
    );
    let cases = [
        ("no white space", vec![ID], format!("{ID}{HASH}")),
        ("white space is copied", vec!["\n  ", ID, "\n"], format!("\n  {ID}\n  {HASH}\n")),
        ("an empty tag", vec!["<x:id/>"], format!("<x:id/>{HASH}")),
        ("an empty element", vec!["<x:id></x:id >"], format!("<x:id></x:id >{HASH}")),
        ("after text and a comment", vec!["\t<!-- c -->\r\n", ID], format!("\t<!-- c -->\r\n{ID}\r\n{HASH}")),
        ("a namespace of its own", vec![&own], format!("{own}{own_hash}")),
        ("a prefix of its own", vec![&other], format!("{other}{other_hash}")),
        ("an old one after", vec![ID, "\n <x:requestHash>old</x:requestHash>\n"], format!("{ID}{HASH}\n")),
        (
            "an old one later",
            vec![ID, "\n<x:issue/>\n<x:requestHash/>\n"],
            format!("{ID}{HASH}\n<x:issue/>\n"),
        ),
        (
            "an old one before",
            vec!["\n<x:requestHash a='b'>old</x:requestHash>\n ", ID, "\n"],
            format!("\n {ID}\n {HASH}\n"),
        ),
        ("an old one right before", vec!["<x:requestHash/>", ID], format!("{ID}{HASH}")),
        ("an old one with another prefix", vec![ID, &other_hash], format!("{ID}{HASH}")),
    ];
    for (name, header, expected) in cases {
        let xml = message(
            &[VERSION, &header.concat(), CLIENT, SERVICE],
            "<e:Body><getResponse>ä</getResponse></e:Body>",
        );
        let expected =
            message(&[VERSION, &expected, CLIENT, SERVICE], "<e:Body><getResponse>ä</getResponse></e:Body>");
        for ((encoding, raw, accepted), (_, expected, _)) in encoded(&xml).into_iter().zip(encoded(&expected))
        {
            if !accepted {
                continue;
            }
            let Ok(Soap::Message(message)) = parse(raw.into(), "text/xml") else {
                panic!("{name} {encoding}")
            };
            let spliced = message.with_request_hash("aGFzaA==").expect("there is a place");
            assert_eq!(spliced, expected, "{name} {encoding}: {}", String::from_utf8_lossy(&spliced));
            let Ok(Soap::Message(read)) = parse(spliced, "text/xml") else { panic!("{name} {encoding}") };
            assert_eq!(read.header.request_hash.as_deref(), Some("aGFzaA=="), "{name} {encoding}");
        }
    }
}

#[test]
fn responses_must_agree_with_their_requests() {
    let request =
        read_message(&message(&[CLIENT, SERVICE, ID, VERSION, "<x:userId>u</x:userId>"], BODY)).header;
    let hash = "<x:requestHash>h</x:requestHash>";
    let response = |header: &[&str]| {
        read_message(&message(header, "<e:Body><getResponse/></e:Body>")).inconsistency(&request, "h")
    };
    let user = "<x:userId>u</x:userId>";
    let version = VERSION.replace("4.0", "4.1");
    let server = "<x:securityServer i:objectType='SERVER'><i:xRoadInstance>EE</i:xRoadInstance><i:memberClass>G</i:memberClass>\
        <i:memberCode>1</i:memberCode><i:serverCode>ss</i:serverCode></x:securityServer>";
    assert_eq!(
        response(&[CLIENT, SERVICE, ID, &version, user, hash, server]),
        None,
        "version and server are not compared"
    );
    let cases: [(&[&str], &str); 8] = [
        (&[&CLIENT.replace(">c<", ">d<"), SERVICE, ID, VERSION, user, hash], "client"),
        (&[CLIENT, &SERVICE.replace(">s<", ">t<"), ID, VERSION, user, hash], "service"),
        (&[CLIENT, SERVICE, "<x:id>m2</x:id>", VERSION, user, hash], "id"),
        (&[CLIENT, SERVICE, ID, VERSION, hash], "userId"),
        (&[CLIENT, SERVICE, ID, VERSION, user, hash, "<x:issue/>"], "issue"),
        (&[CLIENT, SERVICE, ID, VERSION, user, hash, "<r:representedParty/>"], "representedParty"),
        (&[CLIENT, SERVICE, ID, VERSION, user], "requestHash"),
        (&[CLIENT, SERVICE, ID, VERSION, user, "<x:requestHash>H</x:requestHash>"], "requestHash"),
    ];
    for (header, expected) in cases {
        assert_eq!(response(header), Some(expected));
    }
}

proptest! {
    #[test]
    fn takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), encoding in 0u8..4,
        pieces in proptest::collection::vec(prop::sample::select(vec!["<e:Header>", "</e:Header>", "<e:Body>", "</e:Body>", CLIENT, SERVICE, ID, VERSION,
            "<x:requestHash>", "</x:requestHash>", "<get/>", " ", "&lt;", "<e:Fault>", "</e:Fault>", "ä"]), 0..12)) {
        let xml = envelope(&pieces.concat());
        let raw = match encoding {
            0 => bytes,
            1 => utf16(&xml, true),
            2 => latin1(&format!("<?xml version='1.0' encoding='latin1'?>{xml}")),
            _ => xml.into_bytes(),
        };
        if let Ok(Soap::Message(message)) = parse(raw.clone().into(), "text/xml") {
            let spliced = message.with_request_hash("h").expect("there is a place");
            let read = parse(spliced, "text/xml");
            prop_assert!(matches!(&read, Ok(Soap::Message(m)) if m.header.request_hash.as_deref() == Some("h")), "{:?}", read);
        }
        let _ = Fault::from_soap(&raw);
    }
}
