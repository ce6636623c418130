//! `causeway verify` as a user runs it: verdicts, exit statuses, forms of configuration.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testkit::vectors::{self, Tally};

fn verify(arguments: &[&Path], conf: &Path, json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.arg("verify").args(arguments).arg("--conf").arg(conf);
    if json {
        command.arg("--json");
    }
    command.output().expect("the program runs")
}

fn objects(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    let value: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    value.as_array().expect("an array").clone()
}

#[test]
fn every_container_of_the_vectors_gets_its_verdict() {
    let Some((folder, expected)) = vectors::area("asic") else { return };
    let conf = folder.join("../globalconf/params/globalconf_good2_v3");
    let mut tally = Tally::new("asic (causeway verify)");
    let files = expected["files"].as_array().expect("the area has files");
    let judged = files.iter().filter(|file| {
        // Whether a container merely opens is no question to this command; one that does not is rejected all the same.
        file["expect"]["level"] == "verify" || file["expect"]["verdict"] == "reject"
    });
    let judged: Vec<_> = judged.filter(|file| file["expect"]["verdict"] != "info").collect();
    let paths: Vec<PathBuf> =
        judged.iter().map(|file| folder.join(file["file"].as_str().expect("a name"))).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let output = verify(&paths, &conf, true);
    assert_eq!(output.status.code(), Some(7), "some are rejected");
    for ((file, path), object) in judged.iter().zip(&paths).zip(objects(&output)) {
        let expect = &file["expect"];
        let found = (&object["file"], &object["verdict"], &object["code"]);
        let code = expect.get("code").unwrap_or(&Value::Null);
        tally.equal(
            path.display(),
            found,
            (&Value::from(path.display().to_string()), &expect["verdict"], code),
        );
        let accepted = object["verdict"] == "accept";
        for key in ["step", "reason"] {
            assert_eq!(object[key].is_null(), accepted, "{key} of {object}");
        }
        for key in ["signer", "signed_at", "timestamped_at"] {
            assert_eq!(object[key].is_string(), accepted, "{key} of {object}");
        }
    }
    tally.finish();
}

/// Containers below a folder, however deep; of those that hold, messages and attachments are unpacked, of others nothing.
#[test]
fn a_folder_is_judged_whole_and_what_holds_is_unpacked() {
    let Some((area, _)) = vectors::area("captures/asic") else { return };
    let conf = area.join("../env-rsa/globalconf");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (deep, to) = (folder.path().join("in/deep"), folder.path().join("out"));
    std::fs::create_dir_all(&deep).expect("a folder");
    let mut containers = Vec::new();
    for entry in std::fs::read_dir(&area).expect("containers") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "asice") {
            containers.push(path);
        }
    }
    containers.sort();
    let kept = containers.iter().take(6);
    for (number, container) in kept.enumerate() {
        let to = if number % 2 == 0 { folder.path().join("in") } else { deep.clone() };
        std::fs::copy(container, to.join(format!("c{number}.asice"))).expect("it is copied");
    }
    std::fs::write(folder.path().join("in/notes.txt"), "no container").expect("it writes");
    let all = folder.path().join("in");
    let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .arg("verify")
        .arg(&all)
        .arg("--conf")
        .arg(&conf)
        .arg("--json")
        .arg("--extract")
        .arg(&to)
        .output()
        .expect("the program runs");
    let objects = objects(&output);
    assert_eq!(objects.len(), containers.len().min(6));
    let (accepted, rejected): (Vec<_>, Vec<_>) =
        objects.iter().partition(|object| object["verdict"] == "accept");
    assert_eq!(output.status.code(), Some(if rejected.is_empty() { 0 } else { 7 }));
    assert!(!accepted.is_empty(), "{objects:?}");
    let stem = |object: &Value| {
        let file = object["file"].as_str().expect("a name");
        Path::new(file).file_stem().expect("a name").to_owned()
    };
    for object in accepted {
        assert!(to.join(stem(object)).join("message.xml").is_file(), "{object}");
    }
    for object in rejected {
        assert!(!to.join(stem(object)).exists(), "{object}");
    }
}

/// The folder as servers keep it, the ZIP that they hand out, and what it unpacks to.
#[test]
fn configuration_comes_in_three_forms() {
    let Some((area, _)) = vectors::area("captures/asic") else { return };
    let container = area.join("rest-get-consumer-request.asice");
    let conf = area.join("../env-rsa/globalconf");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unpacked = folder.path().join("unpacked");
    let zip = folder.path().join("verificationconf.zip");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&zip).expect("a file"));
    let files: [(&str, Vec<u8>); 3] = [
        ("instance-identifier", read(&conf.join("instance-identifier"))),
        ("PEER/shared-params.xml", read(&conf.join("PEER/shared-params.xml"))),
        // What the reference puts beside it: no expiry.
        ("PEER/shared-params.xml.metadata", b"{\"configurationVersion\":\"6\"}".to_vec()),
    ];
    for (name, data) in &files {
        let name = format!("verificationconf/{name}");
        let path = unpacked.join(&name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, data).expect("the file writes");
        archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("an entry");
        archive.write_all(data).expect("it writes");
    }
    archive.finish().expect("it ends");
    for conf in [&conf, &zip, &unpacked, &unpacked.join("verificationconf")] {
        let output = verify(&[&container], conf, true);
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", conf.display());
        let [object] = objects(&output).try_into().expect("one object");
        assert_eq!(object["signer"], "SUBSYSTEM:PEER/COM/1111/CONSUMER");
        assert_eq!(object["timestamped_at"], "2026-11-21T18:32:12Z");
    }
}

#[test]
fn files_are_judged_one_by_one_and_in_words() {
    let Some((area, _)) = vectors::area("captures/asic") else { return };
    let conf = area.join("../env-rsa/globalconf");
    let good = area.join("soap-attachments-provider-response.asice");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bad = folder.path().join("bad.asice");
    std::fs::write(&bad, "no container").expect("the file writes");
    let output = verify(&[&bad, &good], &conf, true);
    assert_eq!(output.status.code(), Some(7));
    // A name that was mistyped is nobody's verdict.
    let absent = verify(&[Path::new("no-such-file.asice"), &good], &conf, false);
    assert_eq!((absent.status.code(), absent.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("no-such-file.asice"));
    let verdicts: Vec<_> = objects(&output).iter().map(|object| object["verdict"].clone()).collect();
    assert_eq!(verdicts, ["reject", "accept"]);
    let folder = verify(&[&area], &conf, true);
    assert_eq!(
        (folder.status.code(), objects(&folder).len() > 20),
        (Some(0), true),
        "every container of a folder"
    );

    let output = verify(&[&good], &conf, false);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).expect("text");
    for piece in [": accepted\n", "SUBSYSTEM:PEER/GOV/2222/PROVIDER", "timestamped by CN=Peer Test TSA"] {
        assert!(said.contains(piece), "{piece} in {said}");
    }
    let output = verify(&[&bad], &conf, false);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains(": REJECTED\n"), "{said}");
}

#[test]
fn what_cannot_be_used_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let no_zip = folder.path().join("conf.zip");
    std::fs::write(&no_zip, "no archive").expect("the file writes");
    for conf in [folder.path(), &no_zip, Path::new("/no/such/folder")] {
        let output = verify(&[Path::new("x.asice")], conf, true);
        assert_eq!(output.status.code(), Some(2), "{}", conf.display());
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains(&conf.display().to_string()));
    }
    let no_file = Command::new(env!("CARGO_BIN_EXE_causeway")).args(["verify", "--conf", "."]).output();
    assert_eq!(no_file.expect("the program runs").status.code(), Some(2));
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
