//! Vectors `messagelog` and `captures/messagelog`: archive files of live servers, their chains and the containers in them.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use pki::archive::{Archive, ArchiveError};
use pki::asic;
use pki::globalconf::{GlobalConf, load_directory};
use serde_json::Value;
use testkit::vectors::{self, Tally};

/// The message of `captures/errors-soap/response-as-request`.
const RESPONSE_AS_REQUEST: &str = "soap-42c13260-fc88-4026-93b0-9effbcedb8c0-response-";

/// Checks a chain of archives and every container; how many there were, and the last digest.
fn walk(path: &Path, previous: Option<&str>, conf: Option<&GlobalConf>) -> Result<(usize, String), String> {
    let mut archive = Archive::open(File::open(path).unwrap()).map_err(|e: ArchiveError| e.to_string())?;
    archive.check_previous(previous).map_err(|e| e.to_string())?;
    let mut count = 0;
    loop {
        let mut container = Vec::new();
        let Some(name) = archive.next(&mut container).map_err(|e| e.to_string())? else {
            assert_eq!(archive.digest(), archive.claimed_digest());
            return Ok((count, archive.digest().to_owned()));
        };
        if let Some(conf) = conf {
            match asic::verify(Cursor::new(container), conf) {
                Ok(_) => {}
                // A request whose body element is named like an answer's: no verifier can tell that it is one.
                Err(rejection) if name.starts_with(RESPONSE_AS_REQUEST) => {
                    assert_eq!(rejection.step, "the signature is by the sender", "{name}");
                }
                Err(rejection) => return Err(format!("{name}: {rejection}")),
            }
        }
        count += 1;
    }
}

#[test]
fn recorded_archives_have_their_verdicts() {
    let Some((folder, expected)) = vectors::area("messagelog") else { return };
    let conf = load_directory(&folder.join("globalconf")).unwrap();
    let mut tally = Tally::new("messagelog");
    let judged = expected["files"].as_array().unwrap().iter().filter(|file| {
        file["file"].as_str().unwrap().ends_with(".zip") && file["expect"]["verdict"] != "info"
    });
    for file in judged {
        let name = file["file"].as_str().unwrap();
        let expect = &file["expect"];
        // Whether the containers are evidence is known of those that say whose they are.
        let conf = file["containers"].is_array().then_some(&conf);
        // Of the files without one, nothing is said about what stands before.
        let previous = expect["previous_digest_hex"].as_str();
        let found = walk(&folder.join(name), previous, conf);
        let verdict = if found.is_ok() { "accept" } else { "reject" };
        tally.equal(name, Value::from(verdict), expect["verdict"].clone());
    }
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let Some(file) = case["file"].as_str() else {
            tally.not_applicable("a question to the command, tested there");
            continue;
        };
        let found = walk(&folder.join(file), case["previous_digest_hex"].as_str(), None);
        tally.equal(
            name,
            Value::from(if found.is_ok() { "accept" } else { "reject" }),
            case["expect"]["verdict"].clone(),
        );
    }
    tally.finish();
}

#[test]
fn captured_archives_verify_with_everything_in_them() {
    let root = vectors::area("captures/asic").map(|(folder, _)| folder.join("../messagelog"));
    let Some(root) = root else { return };
    let conf = load_directory(&root.join("../env-rsa/globalconf")).unwrap();
    let mut tally = Tally::new("captures/messagelog");
    for server in ["ss1", "ss2"] {
        let mut files: Vec<PathBuf> = std::fs::read_dir(root.join(format!("archive-{server}")))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        let text = std::fs::read(root.join(format!("{server}-last_archive_digest-final.json"))).unwrap();
        let last: Value = serde_json::from_slice(&text).unwrap();
        let mut previous: Option<String> = None;
        for file in &files {
            let walked = walk(file, previous.as_deref(), Some(&conf));
            let (count, digest) = walked.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(count > 0);
            previous = Some(digest);
        }
        tally.equal(server, Value::from(previous.unwrap()), last[0]["digest"].clone());
    }
    tally.finish();
}
