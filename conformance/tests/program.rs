//! The program as an operator sees it before there is any server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway-conformance")).args(args).output().unwrap()
}

const SETTINGS: &str = "consumer = 'http://127.0.0.1:9'\nclient = 'T/G/1/c'\nprovider = 'T/G/2/p'\n\
    provider-server = 'T/G/2/s'\nlisten = '127.0.0.1:0'\n";

#[test]
fn it_says_what_it_needs_and_what_it_would_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("conformance.toml");
    std::fs::write(&config, SETTINGS).unwrap();
    let config = config.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--list"], 0, "PR-MREST 5     pr-mrest/getopenapi-"),
        (&["--config", config, "--services"], 0, "conformance-disabled"),
        (&["--config", config, "--client", "T/G/1"], 2, "client = \"T/G/1\""),
        (&[], 2, "consumer"),
        (&["--config", "/nonexistent.toml"], 2, "/nonexistent.toml"),
    ];
    for (args, status, said) in cases {
        let output = program(args);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(status) && text.contains(said), "{args:?}: {output:?}");
    }
}

/// Nobody answers at the consumer's address: every case that is run fails, and both reports say so.
#[test]
fn failures_are_in_the_reports_and_in_the_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("conformance.toml"), SETTINGS).unwrap();
    let (config, json, junit) = (path("conformance.toml"), path("report.json"), path("report.xml"));
    let output =
        program(&["--config", &config, "--only", "pr-rest/a-redirect", "--json", &json, "--junit", &junit]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2 cases: 0 passed, 2 failed"), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!((&report["failed"], report["results"].as_array().unwrap().len()), (&2.into(), 2));
    let report = std::fs::read_to_string(junit).unwrap();
    assert!(
        report.contains("<testsuite name=\"PR-REST\" tests=\"2\" failures=\"2\" skipped=\"0\">"),
        "{report}"
    );
}
