//! Every document of the vectors, judged as an administrator who adds it is answered.

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
