//! REST message cases: those of the message itself; those of a running proxy belong to `security-server`.
use proto::fault::FaultCode;
use proto::rest::{EdgeRequest, Place, RestRequest, RestResponse};
use serde_json::Value;
use testkit::vectors::{self, Tally};

type Headers<'a> = Vec<(&'a str, &'a [u8])>;

fn headers(value: &Value) -> Headers<'_> {
    let list = value.as_array().into_iter().flatten();
    list.map(|h| (h[0].as_str().expect("a name"), h[1].as_str().expect("a value").as_bytes())).collect()
}

/// Builds the request of a case; a query may stand in the path.
fn build(case: &Value) -> Result<RestRequest, proto::rest::RestError> {
    let whole = case["path"].as_str().expect("a path");
    let (path, query) = whole.split_once('?').map_or((whole, None), |(path, query)| (path, Some(query)));
    let query = case["query"].as_str().or(query);
    let headers = headers(&case["headers"]);
    let edge = EdgeRequest { method: case["verb"].as_str().expect("a verb"), path, query, headers: &headers };
    RestRequest::from_edge(&edge, case["xRequestId"].as_str().unwrap_or("xid"), "EE-new")
}

#[test]
fn requests_and_responses() {
    let Some((_, expected)) = vectors::area("rest") else { return };
    let mut tally = Tally::new("rest");
    for case in expected["cases"].as_array().expect("cases is an array") {
        let name = case["name"].as_str().expect("a case has a name");
        match case["expect"]["verdict"].as_str() {
            Some("accept") => tally.ok(name, accepted(case)),
            Some("reject") => tally.equal(name, build(case).is_err(), true),
            _ if case["response"].is_object() => tally.ok(name, response(case)),
            _ => edge(&mut tally, name, case),
        }
    }
    tally.finish();
}

/// Serialise, parse, serialise gives the same bytes.
fn accepted(case: &Value) -> Result<(), String> {
    let built = build(case).map_err(|e| e.to_string())?;
    let read = RestRequest::parse(built.raw.clone()).map_err(|e| e.to_string())?;
    let party = read.represented_party.as_ref().map(|(class, code)| (class.as_deref(), Some(code.as_str())));
    let expected = &case["expect"]["representedParty"];
    let expected = expected.is_object().then(|| (expected["class"].as_str(), expected["code"].as_str()));
    match read.raw == built.raw && party == expected && read.headers == built.headers {
        true => Ok(()),
        false => Err(format!("read back as {read:?}")),
    }
}

fn response(case: &Value) -> Result<(), String> {
    let request = build(&case["request"]).map_err(|e| e.to_string())?;
    let (answer, sent) = (&case["response"], headers(&case["response"]["headers"]));
    let status = u16::try_from(answer["code"].as_u64().unwrap_or_default()).map_err(|e| e.to_string())?;
    let reason = answer["reason"].as_str().unwrap_or_default();
    let built = RestResponse::from_service(status, reason, &sent, &request, &request.request_id, "aGFzaA==");
    let read = RestResponse::parse(built.map_err(|e| e.to_string())?.raw).map_err(|e| e.to_string())?;
    match (read.inconsistency(&request, "aGFzaA=="), read.service.code.contains('/')) {
        (None, true) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// What the message decides of a case that a running proxy answers.
fn edge(tally: &mut Tally, name: &str, case: &Value) {
    let built = build(&case["request"]);
    match (case["expect"]["status"].as_u64(), built) {
        (Some(500), Err(error)) => {
            let path = error.fault_path(Place::ConsumerEdge);
            let expected = [[FaultCode::InvalidClientIdentifier], [FaultCode::InternalError]];
            tally.equal(name, expected.iter().any(|e| e == path), true);
        }
        (_, Ok(request)) => match case["expect"]["service_sees_path"].as_str() {
            Some(path) => tally.equal(name, request.service_path(), path),
            None => tally.not_applicable("need a running proxy, run in security-server"),
        },
        (_, Err(error)) => tally.fail(name, error),
    }
}
