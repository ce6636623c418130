//! Every document of the vectors, judged as an administrator who adds it is answered.

use proptest::prelude::*;
use serde_json::Value;
use testkit::vectors::{self, Tally};

use super::*;

/// What came of a document: codes of refusal or of warnings, and what was read.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    code: Option<&'static str>,
    metadata: Vec<String>,
    base_url: Option<String>,
    count: usize,
}

fn judged(file: &str, bytes: &[u8]) -> Outcome {
    let outcome =
        if file.ends_with(".wsdl") || file.ends_with(".xml") { as_wsdl(bytes) } else { as_openapi(bytes) };
    outcome.unwrap_or_else(|unfit| Outcome {
        code: Some(unfit.code()),
        metadata: unfit.metadata(),
        ..Outcome::default()
    })
}

fn as_wsdl(bytes: &[u8]) -> Result<Outcome, Unfit> {
    let wsdl = wsdl::read(bytes)?;
    wsdl.check_identifiers()?;
    wsdl.check_faults()?;
    wsdl.check_urls()?;
    let code = (!wsdl.remarks.is_empty()).then_some("warnings_detected");
    Ok(Outcome { code, metadata: wsdl.remarks, base_url: None, count: wsdl.services.len() })
}

fn as_openapi(bytes: &[u8]) -> Result<Outcome, Unfit> {
    let read = openapi::read(bytes, "https://example.org/openapi")?;
    let code = (!read.remarks.is_empty()).then_some("warnings_detected");
    Ok(Outcome { code, metadata: read.remarks, base_url: Some(read.base_url), count: read.operations.len() })
}

#[test]
fn documents_are_judged_as_recorded() {
    let Some((folder, expected)) = vectors::area("service-descriptions") else { return };
    let mut tally = Tally::new("service-descriptions");
    for entry in expected["files"].as_array().unwrap() {
        let (file, wanted) = (entry["file"].as_str().unwrap(), &entry["expect"]);
        let note = wanted["note"].as_str().unwrap_or_default();
        if note.contains("validator is a mock") {
            tally.not_applicable("its remarks are those of a validator that was made up for the test");
            continue;
        }
        let outcome = judged(file, &std::fs::read(folder.join(file)).unwrap());
        match disagreement(wanted, &outcome) {
            None => tally.pass(),
            Some(why) => tally.fail(file, format!("{why}: {outcome:?}")),
        }
    }
    tally.finish();
}

fn disagreement(wanted: &Value, found: &Outcome) -> Option<&'static str> {
    let warned = found.code == Some("warnings_detected");
    let right_verdict = match wanted["verdict"].as_str().unwrap() {
        // Remarks are accepted on repeat; whether there may be any is said below.
        "accept" => found.code.is_none() || warned,
        "reject" => found.code.is_some(),
        _ => found.code.is_none(),
    };
    let warnings =
        wanted["warnings"].as_bool().or(wanted["output"].as_str().map(|output| output == "warnings"));
    let number = |key: &str| wanted[key].as_u64().map(|number| number as usize);
    let metadata =
        wanted["metadata"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let checks = [
        ("verdict", right_verdict),
        ("warnings", warnings.is_none_or(|wanted| wanted == warned)),
        ("code", wanted["code"].as_str().is_none_or(|code| found.code == Some(code))),
        ("metadata", metadata.is_none_or(|wanted| wanted == found.metadata)),
        ("base URL", wanted["base_url"].as_str().is_none_or(|url| found.base_url.as_deref() == Some(url))),
        ("number", number("services").or(number("operations")).is_none_or(|count| found.count == count)),
    ];
    checks.into_iter().find(|(_, right)| !right).map(|(what, _)| what)
}

/// A document of each kind that has most of what is read.
const DOCUMENTS: [&str; 3] = [
    r#"<d:definitions xmlns:d="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:t" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
    targetNamespace="urn:t"><d:portType name="p"><d:operation name="o"><d:documentation><title>T</title></d:documentation><d:input/>
    </d:operation></d:portType><d:binding name="b" type="t:p"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>
    <d:operation name="o"><version>v1</version></d:operation></d:binding><d:service name="s"><d:port name="q" binding="t:b">
    <s:address location="http://is/"/></d:port></d:service></d:definitions>"#,
    "openapi: 3.0.1\ninfo: {title: t, version: 1}\nservers: [{url: ../api}]\npaths:\n  /a/{b}-{c}:\n    parameters: [{$ref: '#/x~1y'}]\n    \
     get: {operationId: g, responses: {200: {}}}\nx/y: {in: path, name: b}\nc: &c [1, 2]\nd: *c\n",
    r#"{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{"/a":{"put":{}}},"s":{"required":["a","a"]}}"#,
];

proptest! {
    /// Whatever comes over the network: it is read or refused, and what was read keeps to its bounds.
    #[test]
    fn no_document_breaks_a_reader(
        which in 0..DOCUMENTS.len(),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..6),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = DOCUMENTS[which].as_bytes().to_vec();
        for (at, to, value) in cuts {
            let (at, to) = (at.index(bytes.len()), to.index(bytes.len()));
            match value % 3 {
                0 => bytes[at] = value,
                1 => bytes.insert(at, bytes[to]),
                _ => drop(bytes.splice(at.min(to)..at.max(to), noise.iter().copied())),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if let Ok(read) = wsdl::read(&bytes) {
            prop_assert!(read.remarks.len() <= MAX_REMARKS && read.services.len() <= wsdl::MAX_SERVICES);
        }
        if let Ok(read) = openapi::read(&bytes, "http://is/docs/api.yaml") {
            prop_assert!(read.remarks.len() <= MAX_REMARKS);
            prop_assert!(read.operations.iter().all(|(_, path)| path.starts_with('/')));
        }
    }

    /// A redirect leads somewhere or is refused.
    #[test]
    fn no_reference_breaks_the_resolver(base in "\\PC{0,30}", reference in "\\PC{0,30}") {
        uri::resolve(&base, &reference);
        uri::resolve("https://host/a/b?c", &reference);
    }
}
