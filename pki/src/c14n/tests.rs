//! Golden forms after the examples of the two recommendations, and the same documents through xmllint.

use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;

fn exclusive(prefixes: &[&str]) -> Method {
    Method::Exclusive { prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect() }
}

fn whole(xml: &str, method: &Method) -> String {
    let document = Document::parse(xml).expect("the example is XML");
    String::from_utf8(canonicalize_document(&document, method)).expect("a canonical form is UTF-8")
}

/// The canonical form of the first element with this local name.
fn part(xml: &str, name: &str, method: &Method) -> String {
    let document = Document::parse(xml).expect("the example is XML");
    let is_it = |node: &Node<'_, '_>| node.tag_name().name() == name;
    let element = document.descendants().find(is_it).expect("the example has it");
    String::from_utf8(canonicalize(element, method)).expect("a canonical form is UTF-8")
}

/// REC-xml-c14n §3.1 to §3.4, without the parts that need a document type.
#[test]
fn whole_documents_inclusive() {
    let cases = [
        (
            "processing instructions and comments",
            "<?xml version=\"1.0\"?>\n\n<?xml-stylesheet   href=\"doc.xsl\"\n   type=\"text/xsl\"   ?>\n\n\
             <doc>Hello, world!<!-- Comment 1 --></doc>\n\n<?pi-without-data     ?>\n\n<!-- Comment 2 -->\n",
            "<?xml-stylesheet href=\"doc.xsl\"\n   type=\"text/xsl\"   ?>\n<doc>Hello, world!</doc>\n\
             <?pi-without-data?>",
        ),
        (
            "white space in content",
            "<doc>\n   <clean>   </clean>\n   <mixed>\n      A\n      <clean>   </clean>\n   </mixed>\n</doc>",
            "<doc>\n   <clean>   </clean>\n   <mixed>\n      A\n      <clean>   </clean>\n   </mixed>\n</doc>",
        ),
        (
            "start tags, empty elements, order of attributes",
            "<doc>\n<e1   />\n<e2   ></e2>\n<e3   name = \"elem3\"   id=\"elem3\"   />\n<e5 a:attr=\"out\" b:attr=\
             \"sorted\" attr2=\"all\" attr=\"I'm\"\n xmlns:b=\"http://www.ietf.org\"\n \
             xmlns:a=\"http://www.w3.org\"\n xmlns=\"http://example.org\"/>\n<e6 xmlns=\"\" \
             xmlns:a=\"http://www.w3.org\">\n<e7 xmlns=\"http://www.ietf.org\">\n<e8 xmlns=\"\" \
             xmlns:a=\"http://www.w3.org\">\n<e9 xmlns=\"\" xmlns:a=\"http://www.ietf.org\" attr='z'/>\n\
             </e8>\n</e7>\n</e6>\n</doc>",
            "<doc>\n<e1></e1>\n<e2></e2>\n<e3 id=\"elem3\" name=\"elem3\"></e3>\n<e5 \
             xmlns=\"http://example.org\" xmlns:a=\"http://www.w3.org\" xmlns:b=\"http://www.ietf.org\" \
             attr=\"I'm\" attr2=\"all\" b:attr=\"sorted\" a:attr=\"out\"></e5>\n<e6 \
             xmlns:a=\"http://www.w3.org\">\n<e7 xmlns=\"http://www.ietf.org\">\n<e8 xmlns=\"\">\n<e9 \
             xmlns:a=\"http://www.ietf.org\" attr=\"z\"></e9>\n</e8>\n</e7>\n</e6>\n</doc>",
        ),
        (
            "character references and the sections",
            "<doc>\n<text>First line&#x0d;&#10;Second line</text>\n<value>&#x32;</value>\n\
             <compute><![CDATA[value>\"0\" && value<\"10\" ?\"valid\":\"error\"]]></compute>\n\
             <compute expr='value>\"0\" &amp;&amp; value&lt;\"10\" ?\"valid\":\"error\"'>valid</compute>\n\
             <norm attr=' &apos;   &#x20;&#13;&#xa;&#9;   &apos; '/>\n</doc>",
            "<doc>\n<text>First line&#xD;\nSecond line</text>\n<value>2</value>\n\
             <compute>value&gt;\"0\" &amp;&amp; value&lt;\"10\" ?\"valid\":\"error\"</compute>\n\
             <compute expr=\"value>&quot;0&quot; &amp;&amp; value&lt;&quot;10&quot; \
             ?&quot;valid&quot;:&quot;error&quot;\">valid</compute>\n\
             <norm attr=\" '    &#xD;&#xA;&#x9;   ' \"></norm>\n</doc>",
        ),
        (
            "literal line ends",
            "<doc a=\"x\r\ny\tz\">1\r\n2\r3<?p a\r\nb?></doc>",
            "<doc a=\"x y z\">1\n2\n3<?p a\nb?></doc>",
        ),
        ("a namespace to be escaped", "<x xmlns:a='u&amp;\"v'/>", "<x xmlns:a=\"u&amp;&quot;v\"></x>"),
        (
            "two prefixes of one name",
            "<b:x xmlns:a=\"u\" xmlns:b=\"u\" b:q=\"1\"/>",
            "<b:x xmlns:a=\"u\" xmlns:b=\"u\" b:q=\"1\"></b:x>",
        ),
    ];
    for (name, xml, expected) in cases {
        assert_eq!(whole(xml, &Method::Inclusive), expected, "{name}");
    }
}

/// The stock signer wraps base64 with CR LF and writes the CR as a reference: a reader that lost it would refuse every signature.
#[test]
fn a_carriage_return_from_a_reference_stays() {
    let xml = "<v>AAAA&#13;\nBBBB</v>";
    let document = Document::parse(xml).expect("the example is XML");
    assert_eq!(document.root_element().text(), Some("AAAA\r\nBBBB"));
    assert_eq!(whole(xml, &Method::Inclusive), "<v>AAAA&#xD;\nBBBB</v>");
}

/// Found by the fuzzer: XML 1.0 lets any white space follow `<?xml`.
#[test]
fn a_declaration_is_no_part_of_it_whatever_follows_its_name() {
    for space in [" ", "\t", "\n", "\r\n"] {
        let xml = format!("<?xml{space}version=\"1.0\" encoding=\"UTF-8\"?>\n<?other  a?>\n<v/>");
        assert_eq!(whole(&xml, &Method::Inclusive), "<?other a?>\n<v></v>", "{space:?}");
    }
}

#[test]
fn an_element_takes_its_surroundings_along_when_inclusive() {
    let xml = "<r:root xmlns:r=\"urn:r\" xmlns=\"urn:d\" xmlns:z=\"urn:z\" xml:lang=\"et\" xml:space=\"preserve\" id=\"no\">\
               <mid xml:lang=\"en\" xmlns:z=\"urn:y\"><e z:a=\"1\" b=\"2\"><r:f xmlns=\"\"><g/></r:f></e></mid></r:root>";
    assert_eq!(
        part(xml, "e", &Method::Inclusive),
        "<e xmlns=\"urn:d\" xmlns:r=\"urn:r\" xmlns:z=\"urn:y\" b=\"2\" xml:lang=\"en\" xml:space=\"preserve\" z:a=\"1\">\
         <r:f xmlns=\"\"><g></g></r:f></e>"
    );
    assert_eq!(
        part(xml, "e", &exclusive(&[])),
        "<e xmlns=\"urn:d\" xmlns:z=\"urn:y\" b=\"2\" z:a=\"1\"><r:f xmlns:r=\"urn:r\"><g xmlns=\"\"></g></r:f></e>"
    );
}

/// REC-xml-exc-c14n §2.2: the same element in two surroundings, and the list of prefixes that behave inclusively.
#[test]
fn exclusive_forms() {
    let first = "<n0:local xmlns:n0=\"foo:bar\" xmlns:n3=\"ftp://example.org\"><n1:elem2 xmlns:n1=\"http://example.net\" \
                 xml:lang=\"en\"><n3:stuff xmlns:n3=\"ftp://example.org\"/></n1:elem2></n0:local>";
    let second = "<n2:pdu xmlns:n1=\"http://example.com\" xmlns:n2=\"http://foo.example\" xml:lang=\"fr\" \
                  xml:space=\"retain\"><n1:elem2 xmlns:n1=\"http://example.net\" xml:lang=\"en\"><n3:stuff \
                  xmlns:n3=\"ftp://example.org\"/></n1:elem2></n2:pdu>";
    let expected = "<n1:elem2 xmlns:n1=\"http://example.net\" xml:lang=\"en\"><n3:stuff \
                    xmlns:n3=\"ftp://example.org\"></n3:stuff></n1:elem2>";
    assert_eq!(part(first, "elem2", &exclusive(&[])), expected);
    assert_eq!(part(second, "elem2", &exclusive(&[])), expected);
    assert_eq!(
        part(second, "elem2", &exclusive(&["n2", "n1", "absent"])),
        "<n1:elem2 xmlns:n1=\"http://example.net\" xmlns:n2=\"http://foo.example\" xml:lang=\"en\"><n3:stuff \
         xmlns:n3=\"ftp://example.org\"></n3:stuff></n1:elem2>"
    );
    assert_eq!(
        part("<a xmlns=\"urn:a\" xmlns:p=\"urn:p\"><p:b><c/></p:b></a>", "b", &exclusive(&["#default"])),
        "<p:b xmlns=\"urn:a\" xmlns:p=\"urn:p\"><c></c></p:b>"
    );
}

#[test]
fn methods_by_uri() {
    assert_eq!(Method::from_uri(INCLUSIVE, None), Some(Method::Inclusive));
    assert_eq!(Method::from_uri(EXCLUSIVE, None), Some(exclusive(&[])));
    assert_eq!(Method::from_uri(EXCLUSIVE, Some(" a  #default ")), Some(exclusive(&["a", "#default"])));
    assert_eq!(Method::from_uri(INCLUSIVE, Some("a")), None);
    assert_eq!(Method::from_uri(&format!("{INCLUSIVE}#WithComments"), None), None);
    assert_eq!(Method::from_uri("http://www.w3.org/2006/12/xml-c14n11", None), None);
}

#[test]
fn deep_nesting_needs_no_stack() {
    let xml = format!("{}{}", "<a>".repeat(50_000), "</a>".repeat(50_000));
    // A tree this deep is never let in; the walk must not be the reason.
    let parsed = std::thread::Builder::new().stack_size(256 << 20).spawn(move || {
        let document = Document::parse(&xml).expect("deep, but XML");
        let root = document.root_element();
        std::thread::scope(|scope| {
            let walk = std::thread::Builder::new().stack_size(128 << 10);
            let walk = walk.spawn_scoped(scope, || canonicalize(root, &Method::Inclusive).len());
            assert_eq!(walk.expect("a thread starts").join().expect("no overflow"), 350_000);
        });
    });
    parsed.expect("a thread starts").join().expect("no overflow");
}

/// A document with everything that canonical forms treat specially, except comments, which xmllint keeps.
fn documents() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec![
        "",
        "x",
        " \n ",
        "a&amp;b",
        "&lt;&gt;",
        "&#13;\n",
        "\r\n",
        "tab\there",
        "õ€",
        "<![CDATA[<&>]]>",
        "<?pi some data ?>",
        "&quot;'",
    ]);
    let namespaces = prop::sample::subsequence(
        vec![
            "xmlns=\"urn:1\"",
            "xmlns:p=\"urn:2\"",
            "xmlns:q=\"urn:2\"",
            "xmlns:p2=\"urn:5\"",
            "xml:lang=\"en\"",
        ],
        0..=5,
    );
    let redeclared =
        prop::sample::subsequence(vec!["xmlns=\"\"", "xmlns:p=\"urn:3\"", "xmlns:q=\"urn:4\""], 0..=3);
    let attributes = prop::sample::subsequence(
        vec![
            "z=\"&#9;&#10;&#13;\"",
            "a='\"&lt;>'",
            "p:a=\"1\"",
            "q:b=\"2\n3\"",
            "xml:space=\"preserve\"",
            "b=\" ' \"",
        ],
        0..=6,
    );
    let name = prop::sample::select(vec!["e", "p:e", "q:e"]);
    let leaf = (name.clone(), redeclared.clone(), attributes.clone(), text.clone()).prop_map(
        |(name, ns, attributes, text)| {
            format!("<{name} {} {}>{text}</{name}>", ns.join(" "), attributes.join("\n"))
        },
    );
    let tree = leaf.prop_recursive(4, 24, 4, move |inner| {
        (
            name.clone(),
            redeclared.clone(),
            attributes.clone(),
            prop::collection::vec((text.clone(), inner), 0..4),
        )
            .prop_map(|(name, ns, attributes, children)| {
                let content: String =
                    children.into_iter().map(|(text, child)| text.to_owned() + &child).collect();
                format!("<{name}\t{}   {}  >{content}</{name}>", ns.join(" "), attributes.join(" "))
            })
    });
    (namespaces, tree).prop_map(|(namespaces, tree)| {
        // `p` and `q` are always bound, so that every document is namespace well-formed.
        let mut declared = namespaces.join(" ");
        for default in ["xmlns:p=\"urn:2\"", "xmlns:q=\"urn:2\""] {
            if !declared.contains(default) {
                declared = format!("{declared} {default}");
            }
        }
        format!("<?xml version=\"1.0\"?>\n<?before?>\n<root {declared}>{tree}</root>\n<?after  x?>\n")
    })
}

/// xmllint's own canonical forms of many documents in one run: `--c14n` or `--exc-c14n`.
fn xmllint(option: &str, documents: &[String]) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    documents
        .iter()
        .enumerate()
        .map(|(number, xml)| {
            let file = folder.path().join(format!("{number}.xml"));
            std::fs::write(&file, xml).expect("the file writes");
            let mut command = testkit::tools::tool("xmllint", "canonical forms against xmllint")?;
            let output = command.args(["--nonet", option]).arg(&file).output().expect("xmllint runs");
            assert!(output.status.success(), "{xml}\n{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).expect("a canonical form is UTF-8"))
        })
        .collect()
}

#[test]
fn agrees_with_xmllint() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let count = testkit::tools::rounds(150, 3000);
    let documents: Vec<_> =
        (0..count).map(|_| documents().new_tree(&mut runner).expect("a document").current()).collect();
    for (option, method) in [("--c14n", Method::Inclusive), ("--exc-c14n", exclusive(&[]))] {
        let Some(theirs) = xmllint(option, &documents) else { return };
        for (xml, theirs) in documents.iter().zip(theirs) {
            assert_eq!(whole(xml, &method), theirs, "{option} of {xml}");
        }
    }
}
