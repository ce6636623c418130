//! What a live server answered to one call of everything about things that are not there: status, code, metadata, failed rules.

use serde_json::{Value, json};
use testkit::calls::{recorded_body, recorded_header};
use testkit::vectors::{self, Tally};

use crate::scene::Scene;

/// First segments of the paths that are ours here.
const OURS: [&str; 5] = ["clients", "services", "service-descriptions", "endpoints", "local-groups"];

/// Method, path, recorded status, and what is answered instead: a mistake of the caller is none of the server.
const BETTER: [(&str, &str, u64, u64); 1] = [("POST", "/local-groups/999999/members", 500, 400)];
/// Without a body these do what they do with an empty one.
const OPTIONAL_BODY: [&str; 2] = ["/disable", "/refresh"];

fn said(body: &Value) -> Value {
    let error = &body["error"];
    json!([error["code"], error["metadata"], error["validation_errors"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_about_nothing_are_answered_as_recorded() {
    let Some(folder) = vectors::dir() else { return };
    let text = std::fs::read_to_string(folder.join("recordings/20-sweep-ss0.jsonl")).unwrap();
    let scene = Scene::start(&[]).await;
    let mut tally = Tally::new("recordings: the sweep over clients and services");
    for line in text.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let method = call["method"].as_str().unwrap();
        let path = call["path"].as_str().unwrap().strip_prefix("/api/v1").unwrap();
        if !OURS.contains(&path.split('/').nth(1).unwrap_or_default()) {
            continue;
        }
        let body = recorded_body(&call);
        let header = |name| Some((name, recorded_header(&call, name)?));
        let lines: Vec<_> = ["Content-Type", "Accept"].into_iter().filter_map(header).collect();
        let (status, answer) = scene.send_as(call["as"].as_str().unwrap(), method, path, &lines, &body).await;
        let case = format!("{} {} {method} {path}", call["seq"], call["name"]);
        let expected = call["status"].as_u64().unwrap();
        let better = BETTER.iter().find(|(m, p, was, _)| (*m, *p, *was) == (method, path, expected));
        let optional = OPTIONAL_BODY.iter().any(|end| path.ends_with(end)) && body.is_empty();
        match better {
            Some((.., is)) => tally.equal(case, u64::from(status), *is),
            None if expected == 415 && optional => tally.not_applicable("a body may be missing"),
            None => {
                let recorded = &call["response"]["body"]["json"];
                tally.equal(case, (u64::from(status), said(&answer)), (expected, said(recorded)));
            }
        }
    }
    tally.finish();
}
