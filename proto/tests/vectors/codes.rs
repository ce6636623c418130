//! `error-codes.json`: every code in both spellings.
use proto::fault::{FaultCode, Side, Style, known_codes};
use serde_json::Value;
use testkit::vectors::{self, Tally};

#[test]
fn every_code_is_known_in_both_spellings() {
    let Some(dir) = vectors::dir() else {
        eprintln!("vectors error-codes: skipped, no vectors found");
        return;
    };
    let text = std::fs::read(dir.join("error-codes.json")).expect("the table is there");
    let table: Value = serde_json::from_slice(&text).expect("the table is JSON");
    let mut tally = Tally::new("error-codes");
    for row in table["codes"].as_array().expect("codes is an array") {
        let name = row["constant"].as_str().expect("a row has a name");
        let (old, new) = (row["before_7_8"].as_str(), row["since_7_8"].as_str());
        match name {
            "CLIENT_X" => side(&mut tally, name, Side::Client, old, new),
            "SERVER_CLIENTPROXY_X" => side(&mut tally, name, Side::ClientProxy, old, new),
            "SERVER_SERVERPROXY_X" => side(&mut tally, name, Side::ServerProxy, old, new),
            "SERVER_SERVER_PROXY_OPMONITOR_X" => side(&mut tally, name, Side::OpMonitor, old, new),
            "SIGNER_X" => side(&mut tally, name, Side::Signer, old, new),
            _ => code(&mut tally, name, old, new),
        }
    }
    tally.finish();
}

fn side(tally: &mut Tally, name: &str, side: Side, old: Option<&str>, new: Option<&str>) {
    tally.equal(name, (Some(side.text(Style::Camel)), Some(side.text(Style::Snake))), (old, new));
    for text in [old, new].into_iter().flatten() {
        assert_eq!(known_codes(text), (Some(side), vec![]), "{name}");
    }
}

fn code(tally: &mut Tally, name: &str, old: Option<&str>, new: Option<&str>) {
    let known: Vec<Option<FaultCode>> = [new, old].into_iter().flatten().map(FaultCode::from_text).collect();
    let Some(Some(code)) = known.first().copied() else { return tally.fail(name, "not known") };
    let written = (old.map(|_| code.text(Style::Camel)), new.map(|_| code.text(Style::Snake)));
    tally.equal(name, (known.iter().all(|k| *k == Some(code)), written), (true, (old, new)));
}
