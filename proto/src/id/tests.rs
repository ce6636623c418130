//! Each form and rule, with its near misses.
use super::*;

/// The forms of `X-Road-Client` in [PR-REST §4.2, §4.3], and the near misses.
#[test]
fn client_id_from_header() {
    use IdError::*;
    let cases = [
        ("a member", "EE/GOV/1234", Ok("MEMBER:EE/GOV/1234")),
        ("a subsystem", "EE/GOV/1234/land", Ok("SUBSYSTEM:EE/GOV/1234/land")),
        ("a UTF-8 code", "EE/GOV/1234/j%C3%A4%c3%a4r", Ok("SUBSYSTEM:EE/GOV/1234/jäär")),
        ("every literal", "EE/GOV/-._~!$&'()*+,;=:@/x", Ok("SUBSYSTEM:EE/GOV/-._~!$&'()*+,;=:@/x")),
        ("an escaped separator inside a code", "EE/GOV/12%2F34", Ok("MEMBER:EE/GOV/12/34")),
        ("encoded separators", "EE%2FGOV%2F1234", Err(CodeCount { expected: "3 or 4", found: 1 })),
        ("a code too many", "EE/GOV/1234/land/map", Err(CodeCount { expected: "3 or 4", found: 5 })),
        ("far too many codes", "a/b/c/d/e/f/g/h", Err(CodeCount { expected: "at most 6", found: 8 })),
        ("an empty code", "EE//1234", Err(EmptyCode { index: 1 })),
        ("nothing", "", Err(EmptyCode { index: 0 })),
        ("a trailing slash", "EE/GOV/1234/", Err(EmptyCode { index: 3 })),
        ("a broken escape", "EE/GOV/%G1", Err(PercentEncoding { index: 2 })),
        ("a cut escape", "EE/GOV/1%4", Err(PercentEncoding { index: 2 })),
        ("a signed escape", "EE/GOV/1%+4", Err(PercentEncoding { index: 2 })),
        ("a stray byte", "EE/GOV/%FF", Err(PercentEncoding { index: 2 })),
        ("an unescaped space", "EE/GOV/12 34", Err(PercentEncoding { index: 2 })),
        ("a leading space", " EE/GOV/1234", Err(PercentEncoding { index: 0 })),
        ("raw UTF-8", "EE/GOV/jäär", Err(PercentEncoding { index: 2 })),
    ];
    for (name, header, expected) in cases {
        let found = ClientId::from_header(header).map(|id| id.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{name}: {header}");
    }
}

#[test]
fn codes_have_255_characters_at_most() {
    let long = |n| format!("EE/GOV/{}", "%C3%A4".repeat(n));
    assert!(ClientId::from_header(&long(255)).is_ok());
    assert_eq!(ClientId::from_header(&long(256)), Err(IdError::TooLong { index: 2 }));
    assert_eq!(
        ClientId::parse_short(&format!("EE/GOV/{}", "a".repeat(256))),
        Err(IdError::TooLong { index: 2 })
    );
}

#[test]
fn every_form_is_read_back() {
    let member = MemberId::new("EE", "GOV", "1 ä/%");
    for client in [member.clone().client(), member.clone().subsystem("s:x")] {
        assert_eq!(ClientId::from_header(&client.to_header()), Ok(client.clone()));
    }
    assert_eq!(member.clone().subsystem("sub").to_header(), "EE/GOV/1%20%C3%A4%2F%25/sub");

    let member = MemberId::new("EE", "GOV", "1");
    let group = GlobalGroupId { instance: "EE".into(), code: "g".into() };
    for subject in [
        Subject::Client(member.clone().client()),
        Subject::Client(member.clone().subsystem("sub")),
        Subject::GlobalGroup(group),
        Subject::LocalGroup("l".into()),
    ] {
        assert_eq!(subject.to_string().parse(), Ok(subject.clone()));
        assert_eq!(Subject::parse_encoded(&subject.encoded()), Ok(subject));
    }
    let server = ServerId { owner: member.clone(), code: "ss1".into() };
    assert_eq!(server.to_string(), "SERVER:EE/GOV/1/ss1");
    assert_eq!("SERVER:EE/GOV/1/ss1".parse(), Ok(server.clone()));
    assert_eq!(ServerId::parse_encoded("EE:GOV:1:ss1"), Ok(server.clone()));
    assert_eq!(ServerId::from_header("EE/GOV/1/ss1"), Ok(server));
    assert_eq!("MEMBER:EE/GOV/1".parse(), Ok(member));
}

#[test]
fn a_subject_fits_its_type() {
    for text in [
        "SUBSYSTEM:EE:GOV:1",
        "MEMBER:EE:GOV:1:sub",
        "SERVER:EE:GOV:1:ss",
        "GLOBALGROUP:g",
        "LOCALGROUP:EE:g",
        "EE:GOV:1",
        "CENTRALSERVICE:EE:x",
    ] {
        assert!(Subject::parse_encoded(text).is_err(), "{text}");
    }
}

#[test]
fn service_versions_follow_a_dot() {
    let plain = MemberId::new("EE", "GOV", "1").subsystem("sub").service("svc");
    let versioned = ServiceId { version: Some("v1".into()), ..plain.clone() };
    assert_eq!(versioned.encoded(), "EE:GOV:1:sub:svc.v1");
    assert_eq!(versioned.to_string(), "SERVICE:EE/GOV/1/sub/svc/v1");
    assert_eq!(ServiceId::parse_encoded("EE:GOV:1:sub:svc.v1"), Ok(versioned));
    assert_eq!(ServiceId::parse_encoded("EE:GOV:1:sub:svc"), Ok(plain.clone()));
    assert_eq!(
        ServiceId::parse_encoded("EE:GOV:1:svc"),
        Ok(MemberId::new("EE", "GOV", "1").client().service("svc"))
    );
    assert_eq!(ServiceId::from_header("EE/GOV/1/sub/svc"), Ok(plain));
    for bad in
        ["EE:GOV:1:sub:svc.v1.2", "EE:GOV:1:sub:svc.", "EE:GOV:1:sub:.v1", "EE:GOV:1", "EE:GOV:1:sub:svc:v1"]
    {
        assert!(ServiceId::parse_encoded(bad).is_err(), "{bad}");
    }
    assert_eq!(ServiceId::from_header("EE/GOV/1/svc"), Err(IdError::CodeCount { expected: "5", found: 4 }));
}

#[test]
fn xml_identifiers_are_held_against_their_type() {
    let read = |object_type: &str, children: &[(&str, &str)]| {
        let inner: String = children.iter().map(|(n, v)| format!("<i:{n}>{v}</i:{n}>")).collect();
        let xml = format!("<x xmlns:i='{IDENTIFIERS_NS}' i:objectType='{object_type}'>{inner}</x>");
        XmlId::from_node(roxmltree::Document::parse(&xml).expect("the test writes XML").root_element())
    };
    let member = [("xRoadInstance", "EE"), ("memberClass", "GOV"), ("memberCode", "1")];
    let sub = [member.as_slice(), &[("subsystemCode", "sub")]].concat();

    let found = read("MEMBER", &sub).expect("well-formed");
    assert_eq!(found.clone().client().map(|c| c.to_string()), Ok("SUBSYSTEM:EE/GOV/1/sub".into()));
    assert_eq!(found.typed_client(), Err(IdError::Unexpected("subsystemCode")));
    let found = read("SUBSYSTEM", &member).expect("well-formed");
    assert_eq!(found.clone().client().map(|c| c.to_string()), Ok("MEMBER:EE/GOV/1".into()));
    assert_eq!(found.typed_client(), Err(IdError::Missing("subsystemCode")));

    assert_eq!(read("SERVICE", &sub).and_then(XmlId::service), Err(IdError::Missing("serviceCode")));
    assert_eq!(
        read("SERVICE", &sub).and_then(XmlId::client),
        Err(IdError::ObjectType { expected: "MEMBER or SUBSYSTEM" })
    );
    assert_eq!(read("MEMBER", &[member[0], member[0]]), Err(IdError::Unexpected("xRoadInstance")));
    assert_eq!(read("MEMBER", &[("city", "Tartu")]), Err(IdError::Unexpected("an unknown element")));
    assert_eq!(read("CENTRALSERVICE", &member), Err(IdError::ObjectType { expected: "a known one" }));
    assert_eq!(
        read("MEMBER", &[member[0], ("memberClass", ""), member[2]]).and_then(XmlId::client),
        Err(IdError::EmptyCode { index: 1 })
    );
}

#[test]
fn discouraged_characters() {
    for (code, expected) in [
        ("CO DE", false),
        ("jäär", false),
        ("CO\tDE", true),
        ("a:b", true),
        ("a%b", true),
        ("\u{85}", true),
        ("a\u{feff}", true),
    ] {
        assert_eq!(has_discouraged_character(code), expected, "{code:?}");
    }
    for (code, expected) in
        [("AZaz09'()+,-.=?", true), ("", false), ("a b", false), ("ä", false), ("a/b", false)]
    {
        assert_eq!(is_strict_code(code), expected, "{code:?}");
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    /// Codes of one to forty characters of any kind but control characters and those that cut a form.
    fn codes() -> impl Strategy<Value = Vec<String>> {
        let code = proptest::collection::vec(any::<char>(), 1..40)
            .prop_map(|chars| {
                chars
                    .into_iter()
                    .filter(|c| !matches!(c, '/' | ':' | '.') && !c.is_control())
                    .collect::<String>()
            })
            .prop_filter("no code is empty", |code| !code.is_empty());
        proptest::collection::vec(code, 6)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(codes in codes(), version in any::<bool>(), subsystem in any::<bool>()) {
            let member = MemberId::new(&codes[0], &codes[1], &codes[2]);
            let client = match subsystem {
                true => member.clone().subsystem(&codes[3]),
                false => member.clone().client(),
            };
            prop_assert_eq!(ClientId::from_header(&client.to_header()), Ok(client.clone()));
            prop_assert_eq!(ClientId::parse_short(&client.short()), Ok(client.clone()));
            prop_assert_eq!(ClientId::parse_encoded(&client.encoded()), Ok(client.clone()));
            prop_assert!(client.to_header().is_ascii() && !client.to_header().contains(['\r', '\n', ' ']));

            let mut service = member.clone().subsystem(&codes[3]).service(&codes[4]);
            service.version = version.then(|| codes[5].clone());
            prop_assert_eq!(ServiceId::parse_encoded(&service.encoded()), Ok(service));

            let server = ServerId { owner: member.clone(), code: codes[3].clone() };
            prop_assert_eq!(ServerId::from_header(&server.to_header()), Ok(server.clone()));
            prop_assert_eq!(ServerId::parse_encoded(&server.encoded()), Ok(server));
            let subject = Subject::Client(client);
            prop_assert_eq!(Subject::parse_encoded(&subject.encoded()), Ok(subject));
        }

        #[test]
        fn no_text_is_too_much_for_the_readers(text in "\\PC{0,80}|[A-Z/:%0-9]{0,40}") {
            let _ = (ClientId::from_header(&text), ServiceId::from_header(&text), ServerId::from_header(&text));
            let _ = (ClientId::parse_short(&text), Subject::parse_encoded(&text), MemberId::parse_encoded(&text));
        }
    }
}
