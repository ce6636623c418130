//! `causeway log` and what verifies its output: find, stats, proofs, a log that was changed, archives in a chain.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::openpgp::SecretKey;
use proto::id::MemberId;
use proto::time::UnixTime;
use security_server::message_log::keeper::Keeper;
use security_server::message_log::settings::LogSettings;
use security_server::message_log::timestamper::Surroundings;
use security_server::message_log::{Direction, Entry, MessageLog};
use serde_json::Value;
use testkit::vectors;

const NOW: UnixTime = UnixTime(1_700_000_000_000);

#[derive(Debug)]
struct NoService;

impl Surroundings for NoService {
    fn services(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn has_services(&self) -> bool {
        false
    }
    fn trusted(&self, _: UnixTime) -> Option<Vec<Certificate>> {
        None
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }
}

fn entry(number: u64) -> Entry {
    let message = Bytes::from(format!("message {number}"));
    let subsystem = |member: &str| MemberId::new("DEV", "GOV", member).subsystem("sub");
    Entry {
        direction: if number.is_multiple_of(2) { Direction::Request } else { Direction::Response },
        consumer_side: true,
        message_id: format!("id-{number}").into(),
        request_id: format!("request-{number}").into(),
        client: subsystem(if number.is_multiple_of(3) { "third" } else { "consumer" }).into(),
        service: subsystem("provider").service("service").into(),
        parts: vec![("/message.xml".into(), DigestAlgorithm::Sha512.digest(&message))].into(),
        message,
        rest: true,
        signature: Bytes::from(format!("<signature {number}/>")),
        hash_chain: None,
        attachments: Vec::new(),
        at: NOW.plus(Duration::from_secs(number * 3600)),
        until: UnixTime(0),
    }
}

/// Appends records and signs a head; no service stamps it.
async fn grow(dir: &Path, numbers: std::ops::RangeInclusive<u64>) {
    let settings = LogSettings { min_free_bytes: 0, segment_bytes: 64 * 1024, ..LogSettings::default() };
    let clock = Clock::fixed(NOW);
    let (log, timestamper) =
        MessageLog::open(dir, settings, clock.clone(), Arc::new(NoService)).expect("a log");
    let shutdown = host::shutdown::Shutdown::default();
    let stamping = tokio::spawn(timestamper.run(shutdown.clone()));
    for number in numbers {
        log.append(entry(number)).await.expect("it is logged");
    }
    let mut keeper = Keeper::new(&log, clock, &[]).expect("a keeper");
    let error = keeper.head(NOW).await.expect_err("nobody stamps it").to_string();
    assert!(error.contains("not timestamped"), "{error}");
    shutdown.stop();
    stamping.await.expect("it ends");
    log.close().await;
}

fn causeway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway")).args(arguments).output().expect("the program runs")
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_counted_proven_and_missed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    grow(&log, 1..=20).await;
    // A data folder will do as well.
    let dir = text(folder.path());

    let ids = |arguments: &[&str]| -> Vec<u64> {
        let output = causeway(&[&["log", "find", dir, "--json"], arguments].concat());
        let found = json(&output);
        assert_eq!(
            output.status.code(),
            Some(if found.as_array().is_some_and(Vec::is_empty) { 1 } else { 0 })
        );
        found
            .as_array()
            .expect("an array")
            .iter()
            .map(|line| line["record"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(ids(&["--id", "id-7"]), [7]);
    assert_eq!(ids(&["--record", "9"]), [9]);
    assert_eq!(ids(&["--member", "DEV/GOV/third", "--direction", "request"]), [6, 12, 18]);
    assert_eq!(ids(&["--member", "DEV/GOV/provider/sub", "--limit", "3"]), [1, 2, 3]);
    assert_eq!(ids(&["--since", "2023-11-15T13:13:20Z", "--until", "2023-11-15T15:13:20Z"]), [15, 16, 17]);
    assert_eq!(ids(&["--service", "other"]), [] as [u64; 0]);
    assert_eq!(causeway(&["log", "find", dir, "--since", "yesterday"]).status.code(), Some(2));

    let figures = json(&causeway(&["log", "stats", dir, "--json"]));
    assert_eq!(figures["records"], 20);
    assert_eq!(figures["by_member"]["DEV/GOV/third/sub"]["requests"], 3);
    assert_eq!(figures["by_day"].as_object().expect("days").len(), 2);

    let verified = causeway(&["verify", "log", dir, "--json"]);
    let outcome = json(&verified);
    assert_eq!(verified.status.code(), Some(0), "{outcome}");
    assert_eq!(
        (&outcome["records"], &outcome["tree_size"], &outcome["heads"]),
        (&20.into(), &20.into(), &1.into())
    );

    let (key, proof) = (log.join("key.pub"), folder.path().join("proof.json"));
    let proven = |arguments: &[&str]| {
        causeway(&[&["verify", "proof", text(&proof), "--key", text(&key)], arguments].concat())
    };
    let made = causeway(&["log", "prove", dir, "--record", "13", "-o", text(&proof)]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert_eq!(proven(&[]).status.code(), Some(0));
    let good = std::fs::read_to_string(&proof).expect("a proof");
    std::fs::write(&proof, good.replace("\"number\": 13", "\"number\": 14")).expect("it writes");
    assert_eq!(proven(&[]).status.code(), Some(7));

    // The log goes on; what was handed out before still binds it.
    let held = folder.path().join("held.head");
    std::fs::copy(log.join("tree/heads/00000000000000000020.head"), &held).expect("a head");
    grow(&log, 21..=33).await;
    let made = causeway(&["log", "prove", dir, "--from", "20", "-o", text(&proof)]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert_eq!(proven(&["--head", text(&held)]).status.code(), Some(0));
    // Another log with as many records is not the one that was.
    let other = folder.path().join("other");
    grow(&other, 2..=34).await;
    let foreign = causeway(&["verify", "log", text(&other), "--key", text(&key)]);
    assert_eq!(foreign.status.code(), Some(7), "another log's key");

    damaged(&log, dir);
}

/// One byte of a record's head is another: the record is named.
fn damaged(log: &Path, dir: &str) {
    let segment = log.join("0000000001.segment");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let at = bytes.windows(4).position(|window| window == b"id-5").expect("record 5");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("it writes");
    let verified = causeway(&["verify", "log", dir]);
    assert_eq!(verified.status.code(), Some(7));
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(said.contains("REJECTED") && said.contains("record 5: the record is missing"), "{said}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("it is copied")),
        }
    }
}

/// Somebody with the log's key writes other records and signs them: nothing in the log shows it, and heads outside do.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_off_or_rewritten_is_found_by_heads_outside() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [log, cut, rewritten, outside] =
        ["log", "cut", "rewritten", "outside/DEV%2FGOV%2F1"].map(|name| folder.path().join(name));
    std::fs::create_dir_all(&outside).expect("a folder");
    grow(&log, 1..=10).await;
    copy(&log, &cut);
    copy(&log, &rewritten);
    grow(&log, 11..=20).await;
    grow(&rewritten, 111..=125).await;
    for size in [10, 20] {
        let head = format!("{size:020}.head");
        std::fs::copy(log.join("tree/heads").join(&head), outside.join(&head)).expect("a head");
    }
    let outside = folder.path().join("outside");
    let key = log.join("key.pub");
    let verify = |log: &Path, heads: bool| {
        let mut arguments = vec!["verify", "log", text(log), "--json", "--key", text(&key)];
        if heads {
            arguments.extend(["--heads", text(&outside)]);
        }
        let output = causeway(&arguments);
        (output.status.code(), json(&output))
    };
    let (code, said) = verify(&log, true);
    assert_eq!(
        (code, &said["held"]["hold"], &said["held"]["sound_to"]),
        (Some(0), &2.into(), &20.into()),
        "{said}"
    );
    for (log, expected) in [
        (&cut, "the log had 20 records when this head was signed and has 10: it was cut off"),
        (&rewritten, "the first 20 records are not those that were signed: the log was rewritten"),
    ] {
        assert_eq!(verify(log, false).0, Some(0), "by itself it looks well");
        let (code, said) = verify(log, true);
        assert_eq!(code, Some(7));
        let problems = &said["held"]["problems"];
        assert_eq!(
            problems[0],
            "records 11 to 20 are not, or not all, the ones that were signed; those up to 10 are",
            "{said}"
        );
        assert!(problems[1].as_str().is_some_and(|why| why.ends_with(expected)), "{said}");
    }
    let nothing = folder.path().join("nothing");
    std::fs::create_dir(&nothing).expect("a folder");
    let output = causeway(&["verify", "log", text(&log), "--heads", text(&nothing)]);
    assert_eq!(output.status.code(), Some(7), "no head is no proof");
}

#[test]
fn archives_need_to_know_what_stands_before() {
    let Some((area, _)) = vectors::area("captures/asic") else { return };
    let folder = area.join("../messagelog/archive-ss2");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("archives").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let (first, second) = (text(&files[0]), text(&files[1]));
    let status = |arguments: &[&str]| causeway(&[&["verify", "archive"], arguments].concat()).status.code();
    assert_eq!(status(&[first]), Some(2), "neither --first nor --last-hash");
    assert_eq!(status(&[second, first, "--first"]), Some(0), "in any order");
    assert_eq!(status(&[second, "--first"]), Some(7), "what it continues is not here");
    let said = causeway(&["verify", "archive", first, "--first", "--json"]);
    let last = json(&said)[0]["last_hash"].as_str().expect("a digest").to_owned();
    assert_eq!(status(&[second, "--last-hash", &last]), Some(0));
    assert_eq!(status(&[second, "--last-hash", &"0".repeat(128)]), Some(7));
    assert_eq!(status(&[first, second, second, "--first"]), Some(7), "two continue the same one");
    let conf = area.join("../env-rsa/globalconf");
    let to = tempfile::tempdir().expect("a temporary folder");
    let output = causeway(&[
        "verify",
        "archive",
        first,
        second,
        "--first",
        "--conf",
        text(&conf),
        "--extract",
        text(to.path()),
        "--json",
    ]);
    let verdicts = json(&output);
    let rejected: usize = verdicts
        .as_array()
        .expect("an array")
        .iter()
        .map(|v| v["rejected"].as_array().expect("an array").len())
        .sum();
    let accepted = std::fs::read_dir(to.path()).expect("a folder").count();
    let containers: u64 = verdicts
        .as_array()
        .expect("an array")
        .iter()
        .map(|v| v["containers"].as_u64().expect("a number"))
        .sum();
    assert!(
        accepted > 10 && accepted + rejected == containers as usize,
        "{accepted} {rejected} {containers}"
    );
}

/// Names and contents, in order.
fn entries(zip: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zip)).expect("a ZIP");
    let count = zip.len();
    let read = |index| {
        let mut entry = zip.by_index(index).expect("an entry");
        let (name, mut content) = (entry.name().expect("UTF-8").into_owned(), Vec::new());
        std::io::Read::read_to_end(&mut entry, &mut content).expect("it reads");
        (name, content)
    };
    (0..count).map(read).collect()
}

/// Packed again; without a level nothing is deflated.
fn packed(entries: &[(String, Vec<u8>)], level: Option<i64>) -> Vec<u8> {
    let method =
        if level.is_some() { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options =
        zip::write::SimpleFileOptions::default().compression_method(method).compression_level(level);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(name.as_str(), options).expect("it starts");
        std::io::Write::write_all(&mut zip, content).expect("memory takes it");
    }
    zip.finish().expect("it ends").into_inner()
}

/// Others deflate harder than we do, or not at all; so may we one day.
#[test]
fn archives_verify_however_they_and_their_containers_are_deflated() {
    let Some((area, _)) = vectors::area("captures/asic") else { return };
    let recorded = std::fs::read_dir(area.join("../messagelog/archive-ss2")).expect("archives");
    let mut recorded: Vec<PathBuf> = recorded.map(|entry| entry.expect("an entry").path()).collect();
    recorded.sort();
    let (conf, folder) =
        (area.join("../env-rsa/globalconf"), tempfile::tempdir().expect("a temporary folder"));
    let verdict = |archive: &Path| {
        let output =
            causeway(&["verify", "archive", text(archive), "--first", "--conf", text(&conf), "--json"]);
        let verdict = json(&output)[0].clone();
        (output.status.code(), verdict["containers"].clone(), verdict["rejected"].clone())
    };
    let (original, expected) = (std::fs::read(&recorded[0]).expect("it reads"), verdict(&recorded[0]));
    assert!(expected.1.as_u64().is_some_and(|containers| containers > 5), "{expected:?}");
    for level in std::iter::once(None).chain((1..=9).map(Some)) {
        let mut linking = pki::archive::Linking::after(None);
        let mut again = Vec::new();
        for (name, container) in entries(&original) {
            if name != pki::archive::LINKING_INFO {
                let container = packed(&entries(&container), level);
                linking.add(&name, &DigestAlgorithm::Sha512.digest(&container).value);
                again.push((name, container));
            }
        }
        again.push((pki::archive::LINKING_INFO.to_owned(), linking.text().as_bytes().to_vec()));
        let path = folder.path().join(format!("level-{}.zip", level.unwrap_or_default()));
        std::fs::write(&path, packed(&again, level)).expect("it writes");
        assert_eq!(verdict(&path), expected, "level {level:?}");
    }
}

#[test]
fn encrypted_archives_are_opened_with_their_key_and_their_signer_is_checked() {
    let Some((area, _)) = vectors::area("captures/asic") else { return };
    let recorded = std::fs::read_dir(area.join("../messagelog/archive-ss2")).expect("archives");
    let mut recorded: Vec<PathBuf> = recorded.map(|entry| entry.expect("an entry").path()).collect();
    recorded.sort();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, archive) = (folder.path().join("keys"), folder.path().join("mlog.zip.gpg"));
    let keys = |arguments: &[&str]| {
        let output = causeway(&[&["log", "archive-key"], arguments, &["--dir", text(&dir)]].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(keys(&["list"]).0, Some(2), "there is none yet");
    assert_eq!(keys(&["create", "--name", "DEV/GOV/1/ss"]).0, Some(0));
    assert_eq!(keys(&["create", "--name", "again"]).0, Some(2), "it is not overwritten");
    let (_, server) = keys(&["export"]);
    let member = SecretKey::generate("member", NOW).expect("a key");
    let own = std::fs::read(dir.join("server.key")).expect("the server's key");
    let own = SecretKey::read(&own, None).expect("a key");
    let now = Clock::System.now();
    let input = std::fs::File::open(&recorded[0]).expect("an archive");
    let out = std::fs::File::create(&archive).expect("it is created");
    pki::openpgp::seal(input, out, &[member.public()], &own, now).expect("it is encrypted");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it writes");
        path
    };
    let secret = file("member.key", &member.armored().expect("text"));
    let signer = file("server.asc", &server);
    let public = file("member.asc", &member.public().armored().expect("text"));
    assert_eq!(keys(&["import", text(&public)]).0, Some(0));
    let (code, listed) = keys(&["list"]);
    assert_eq!(code, Some(0));
    assert!(listed.contains(&member.public().fingerprint()) && listed.contains("member: good"), "{listed}");

    let verify = |arguments: &[&str]| {
        let output =
            causeway(&[&["verify", "archive", text(&archive), "--first", "--json"], arguments].concat());
        (output.status.code(), json(&output)[0].clone())
    };
    let (code, said) = verify(&[]);
    assert_eq!((code, said["reason"].as_str()), (Some(7), Some("it is encrypted: give --key to open it")));
    let (code, said) = verify(&["--key", text(&secret), "--signer", text(&signer)]);
    assert_eq!((code, &said["signed_by"]), (Some(0), &own.public().fingerprint().into()), "{said}");
    let plain = json(&causeway(&["verify", "archive", text(&recorded[0]), "--first", "--json"]));
    assert_eq!((&said["last_hash"], &said["containers"]), (&plain[0]["last_hash"], &plain[0]["containers"]));
    let (code, said) = verify(&["--key", text(&secret), "--signer", text(&public)]);
    assert_eq!(code, Some(7), "{said}");
    assert!(said["reason"].as_str().is_some_and(|reason| reason.contains("not signed by")), "{said}");
    let (code, said) = verify(&["--key", text(&dir.join("server.key"))]);
    assert_eq!(code, Some(7), "it was not made for the server: {said}");
    let unsigned = causeway(&[
        "verify",
        "archive",
        text(&recorded[0]),
        "--first",
        "--key",
        text(&secret),
        "--signer",
        text(&signer),
    ]);
    assert_eq!(
        unsigned.status.code(),
        Some(7),
        "whoever asks for a signature gets no unsigned file accepted"
    );
}

#[test]
fn anchors_and_signed_directories_are_judged() {
    let Some((area, expected)) = vectors::area("instance") else { return };
    let anchor = area.join("configuration_anchor_CS_internal.xml");
    assert!(expected.is_object());
    let output = causeway(&["verify", "conf", text(&anchor), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = json(&output);
    assert_eq!(said["instance"], "DEV");
    let judge = |version: &str| {
        let path = area.join("public").join(version).join("internalconf");
        let output = causeway(&["verify", "conf", text(&anchor), text(&path), "--json"]);
        (output.status.code(), json(&output)["directories"][0].clone())
    };
    let (code, verdict) = judge("V6");
    assert_eq!((code, verdict["parts"].as_array().map(Vec::len)), (Some(0), Some(2)), "{verdict}");
    let (code, verdict) = judge("V4");
    assert_eq!(code, Some(7), "an anchor that does not know its key: {verdict}");
    assert_eq!(verdict["step"], "a key of the anchor signed the directory");
    let no_anchor = area.join("cert.cer");
    assert_eq!(causeway(&["verify", "conf", text(&no_anchor)]).status.code(), Some(2));
}
