//! Each form and rule, with its near misses.
use super::*;

fn verdict(xml: &str) -> Result<(), XmlError> {
    check(xml.as_bytes(), &Limits::default())
}

#[test]
fn well_formed_documents_pass_and_become_trees() {
    let cases = [
        "<a/>",
        "\u{feff}<a/>",
        "<?xml version='1.0'?><a/>",
        "<?xml version='1.1'?><a/>",
        "<?xml version=\"1.0\" encoding=\"utf-8\" standalone='yes' ?>\r\n<!-- c --><?pi x?><a>\n</a>\n<!-- d -->",
        "<a b = 'x > y' c=\"it's\"\n\td='&lt;&#x41;&#10;'>&amp;<![CDATA[<&]]>&#9;]]</a >",
        "<p:a xmlns:p='u' xmlns='v' p:b='1' b='2' xml:lang='et'><b xmlns=''/></p:a>",
        "<õ-1.x xmlns:ä='u' ä:ö=''/>",
        "<a>\u{fffd}\u{1f600}</a>",
    ];
    for xml in cases {
        assert_eq!(verdict(xml), Ok(()), "{xml}");
        assert!(tree(xml.as_bytes(), &Limits::default()).is_ok(), "{xml}");
    }
}

#[test]
fn broken_documents_are_refused() {
    let cases = [
        "",
        " ",
        "x",
        "<a>",
        "</a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a",
        "<a b",
        "< a/>",
        "<a / >",
        "<a></a b='1'>",
        "<a b>",
        "<a b=1/>",
        "<a b='1'c='2'/>",
        "<a b='1' b='2'/>",
        "<a b='<'/>",
        "<a b='&x;'/>",
        "<a b='&'/>",
        "<a b='&#0;'/>",
        "<a>&x;</a>",
        "<a>&</a>",
        "<a>&#xD800;</a>",
        "<a>&#1;</a>",
        "<a>&#X41;</a>",
        "<a>&#x;</a>",
        "<a>&#+65;</a>",
        "<a>]]></a>",
        "<a><!-- -- --></a>",
        "<a><!-- ---></a>",
        "<a><!-- </a>",
        "<a><![CDATA[</a>",
        "<a/>&amp;",
        "<a/><![CDATA[]]>",
        "<1a/>",
        "<a:/>",
        "<:a/>",
        "<a:b:c/>",
        "<p:a/>",
        "<a p:b=''/>",
        "<a xmlns:p=''/>",
        "<a xmlns:xml='u'/>",
        "<a xmlns:xmlns='u'/>",
        "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        "<xmlns:a/>",
        "<xml:a/>",
        "<a><xml:b>c</xml:b></a>",
        "<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>",
        "<a xmlns:p='u' xmlns:p='v'/>",
        "<a xmlns='u' xmlns='v'/>",
        " <?xml version='1.0'?><a/>",
        "<a/><?xml version='1.0'?>",
        "<?xml?><a/>",
        "<?xml version='2.0'?><a/>",
        "<?xml version='1.1'?><a>\u{85}</a>",
        "<?xml version='1.1'?><a>&#1;</a>",
        "<?xml encoding='UTF-8' version='1.0'?><a/>",
        "<?xml version='1.0' x='y'?><a/>",
        "<?XML x?><a/>",
        "<? x?><a/>",
        "<??><a/>",
        "<a>\u{1}</a>",
        "<a>\u{0}</a>",
        "<a>\u{ffff}</a>",
        "<a>\u{fffe}</a>",
        "<a b='\u{1f}'/>",
        "<a/>\u{feff}",
        "\u{feff}\u{feff}<a/>",
        "\u{feff}\u{feff}<?zml version='1.0'?><a/>",
    ];
    for xml in cases {
        assert!(matches!(verdict(xml), Err(XmlError::Malformed(_))), "{xml:?}: {:?}", verdict(xml));
    }
}

#[test]
fn document_types_and_foreign_encodings_are_refused() {
    for xml in [
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'",
        "<!doctype a><a/>",
    ] {
        assert_eq!(verdict(xml), Err(XmlError::Doctype), "{xml}");
    }
    assert_eq!(check(b"<a>\xff</a>", &Limits::default()), Err(XmlError::Encoding));
    assert_eq!(verdict("<?xml version='1.0' encoding='ISO-8859-1'?><a/>"), Err(XmlError::Encoding));
    assert_eq!(verdict("<?xml version='1.0' encoding='US-ASCII'?><a/>"), Ok(()));
}

#[test]
fn every_bound_holds() {
    let limits = Limits { bytes: 1000, depth: 3, attributes: 2, namespaces: 2, elements: 6 };
    let cases = [
        ("<a><b><c/></b></a>".to_owned(), None),
        ("<a><b><c><d/></c></b></a>".to_owned(), Some("nested elements")),
        ("<a b='' c=''/>".to_owned(), None),
        ("<a b='' c='' d=''/>".to_owned(), Some("attributes of an element")),
        ("<a xmlns:p='u'><b xmlns:q='v'/><c xmlns:q='w'/></a>".to_owned(), None),
        (
            "<a xmlns:p='u'><b xmlns:q='v'><c xmlns:q='w'/></b></a>".to_owned(),
            Some("namespace declarations in scope"),
        ),
        (format!("<a>{}</a>", "<b/>".repeat(5)), None),
        (format!("<a>{}</a>", "<b/>".repeat(6)), Some("elements")),
        (format!("<a>{}</a>", "x".repeat(994)), Some("bytes")),
    ];
    for (xml, expected) in cases {
        let found = match check(xml.as_bytes(), &limits) {
            Ok(()) => None,
            Err(XmlError::Limit { what, .. }) => Some(what),
            Err(other) => panic!("{xml}: {other}"),
        };
        assert_eq!(found, expected, "{xml}");
    }
    let long = format!("<{}/>", "a".repeat(1025));
    assert_eq!(verdict(&long), Err(XmlError::Limit { what: "bytes in a name", limit: 1024 }));
}

#[test]
fn the_reader_gives_names_values_and_places() {
    let xml = "\u{feff}<?xml version='1.0' encoding='UTF-8'?><a xmlns='u' xmlns:p='v' p:x='1&#x20;\t2'>t&lt;<p:b x='y'/>\r\n</a>";
    let mut pull = Pull::new(xml, Limits::default()).expect("small");
    let Ok(Some(Node::Start(a))) = pull.next() else { panic!("a start tag") };
    assert!(pull.is(&a, "u", "a") && !pull.is(&a, "v", "a"));
    assert_eq!(pull.attribute(Some("v"), "x").as_deref(), Some("1  2"));
    assert_eq!(pull.attribute(None, "x"), None);
    assert_eq!(pull.declared_encoding(), Some("UTF-8"));
    let mut text = String::new();
    for _ in 0..2 {
        pull.next().expect("well-formed").expect("text").append_to(&mut text);
    }
    assert_eq!(text, "t<");
    let Ok(Some(Node::Start(b))) = pull.next() else { panic!("a start tag") };
    assert_eq!(
        (b.prefix, b.local, b.empty, pull.namespace(&b), pull.depth()),
        ("p", "b", true, Some("v"), 2)
    );
    assert_eq!(&xml[pull.span()], "<p:b x='y'/>");
    assert_eq!(pull.attribute(None, "x").as_deref(), Some("y"));
    assert!(matches!(pull.next(), Ok(Some(Node::End))) && pull.span().is_empty() && pull.depth() == 1);
    pull.next().expect("well-formed").expect("text").append_to(&mut text);
    assert_eq!(text, "t<\n");
    assert!(matches!(pull.next(), Ok(Some(Node::End))));
    assert_eq!(&xml[pull.span()], "</a>");
    assert!(matches!(pull.next(), Ok(None)));
}

#[test]
fn escapes_what_it_must() {
    assert_eq!(escape_text("jäär"), "jäär");
    assert_eq!(escape_text("a<b>&\"\r\n\u{1}"), "a&lt;b&gt;&amp;\"&#13;\n\u{fffd}");
    assert_eq!(escape_attribute("a\"\n\t'"), "a&quot;&#10;&#9;'");
}

/// Whatever passes here, the tree reader takes too: nobody downstream sees an error that the gate did not.
mod agrees_with_the_tree_reader {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn on_markup_soup(xml in "(<[ab/?!:-]{0,3}[ab:x]{0,3}( [ab:]{1,3}=['\"][&;a<#x1]{0,4}['\"])?[/?-]{0,2}>|[ab&;\\]>]{0,3}){0,6}") {
            if check(xml.as_bytes(), &Limits::default()).is_ok() {
                prop_assert!(tree(xml.as_bytes(), &Limits::default()).is_ok());
            }
        }
        #[test]
        fn on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes, &Limits::default());
        }
    }
}
