//! The demo as a newcomer runs it: from empty, from the state it kept, after kill -9; every exchange verified, nothing left running.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// For waits that should be short.
const PATIENCE: Duration = Duration::from_secs(120);

fn demo(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.arg("demo").arg("--dir").arg(dir).stdin(Stdio::null());
    command
}

/// One run to the end, its JSON checked.
fn once(dir: &Path) -> Value {
    let output = demo(dir).args(["--once", "--json"]).output().unwrap();
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{story}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    check(&report);
    report
}

fn check(report: &Value) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(report),
        ["elapsed_ms", "exchanges", "globalconf", "instance", "log", "servers"],
        "{report}"
    );
    let servers = report["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 3, "{report}");
    for server in servers {
        assert_eq!(keys(server), ["address", "admin_url", "id", "pid", "role"]);
        let admin = server["admin_url"].as_str().unwrap();
        assert!(admin.starts_with("https://127.") && admin.ends_with("/api/v1"), "{admin}");
        assert!(server["address"].as_str().unwrap().starts_with("127."));
    }
    assert_eq!(report["globalconf"]["versions"], serde_json::json!([2, 3, 4, 5, 6]));
    assert!(report["globalconf"]["expires"].as_str().unwrap().ends_with('Z'));
    let exchanges = report["exchanges"].as_array().unwrap();
    let kinds: Vec<_> = exchanges.iter().map(|exchange| exchange["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["rest", "rest", "soap"]);
    for exchange in exchanges {
        assert_eq!(exchange["status"], 200);
        assert_eq!(exchange["verified"], true, "{exchange}");
        assert_eq!(exchange["signed_by"], "DEMO/MUN/1001/population");
        assert!(exchange["timestamped_at"].as_str().unwrap().ends_with('Z'));
        let container = std::fs::read(exchange["container"].as_str().unwrap()).unwrap();
        assert!(container.starts_with(b"PK"), "a ZIP file");
    }
    // Request and response on each side.
    assert!(report["log"]["records"].as_u64().unwrap() >= 4 * exchanges.len() as u64, "{report}");
}

/// A demo that keeps running; killed when dropped.
struct Running {
    child: Child,
}

impl Running {
    /// Waits for the ready file; gives the servers' processes.
    fn start(dir: &Path) -> (Self, Vec<u32>) {
        let ready = dir.with_extension("ready");
        let child = demo(dir)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Self { child };
        let began = Instant::now();
        let text = loop {
            if let Ok(text) = std::fs::read(&ready) {
                break text;
            }
            assert!(running.child.try_wait().unwrap().is_none(), "the demo ended before it was ready");
            assert!(began.elapsed() < PATIENCE, "the demo is not ready");
            std::thread::sleep(Duration::from_millis(20));
        };
        let ready: Value = serde_json::from_slice(&text).unwrap();
        let servers = ready["servers"].as_array().unwrap();
        (running, servers.iter().map(|server| server["pid"].as_u64().unwrap() as u32).collect())
    }

    /// Lines of the story up to the one that holds `text`.
    fn story_until(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for line in BufReader::new(self.child.stdout.as_mut().unwrap()).lines().map(Result::unwrap) {
            let last = line.contains(text);
            lines.push(line);
            if last {
                return lines;
            }
        }
        panic!("the story ended without {text:?}:\n{}", lines.join("\n"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing has this number, or only a process that has ended and whose parent has not looked.
fn gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    }
}

fn all_gone(pids: &[u32]) {
    let began = Instant::now();
    while !pids.iter().copied().all(gone) {
        assert!(began.elapsed() < PATIENCE, "servers outlive the demo: {pids:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn runs_once_from_empty_and_again_from_what_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("demo");
    let first = once(&dir);
    let second = once(&dir);
    let records = |report: &Value| report["log"]["records"].as_u64().unwrap();
    assert!(records(&second) >= records(&first) + 12, "the message logs are kept");
    let id = |report: &Value| report["servers"][1]["id"].clone();
    assert_eq!(id(&first), id(&second));
}

#[test]
fn stands_a_kill_at_any_time_and_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("demo");
    for round in 0..testkit::tools::rounds(2, 20) {
        let (mut running, pids) = Running::start(&dir);
        if round % 2 == 1 {
            running.story_until("Everything runs");
        }
        drop(running);
        all_gone(&pids);
    }
    once(&dir);
}

#[test]
fn runs_until_it_is_interrupted_and_its_curl_lines_work() {
    let dir = tempfile::tempdir().unwrap();
    let (mut running, pids) = Running::start(&dir.path().join("demo"));
    let story = running.story_until("Everything runs");
    let lines: Vec<_> =
        story.iter().filter(|line| line.starts_with("curl ") || line.starts_with("id=")).collect();
    assert!(lines.len() >= 4, "{story:?}");
    if testkit::tools::tool("curl", "the demo's curl lines").is_some() {
        // Whoever pastes a line pastes it again.
        for line in lines.iter().chain(&lines) {
            let output = Command::new("sh").args(["-ec", line]).current_dir(dir.path()).output().unwrap();
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && out.contains("Korpi"), "{line}\n{out}\n{err}");
        }
    }
    let pid = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = running.child.wait().unwrap();
    assert!(status.success(), "{status}");
    all_gone(&pids);
}

#[test]
fn two_demos_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("demo");
    let (_running, _) = Running::start(&dir);
    let output = demo(&dir).args(["--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{output:?}");
}

/// The commands that the README shows, as they stand there.
#[test]
fn a_new_member_joins_the_running_demo_by_commands_within_a_minute() {
    if testkit::tools::tool("curl", "joining the demo").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("demo");
    let (_running, _) = Running::start(&demo);
    let program = Path::new(env!("CARGO_BIN_EXE_causeway"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/join-the-demo.sh");
    let begun = Instant::now();
    let output = Command::new("timeout")
        .args(["60", "sh", "-c", ". \"$0/env\" && . \"$1\""])
        .arg(&demo)
        .arg(script)
        .env("PATH", path)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("Korpi"), "{}\n{out}\n{err}", output.status);
    println!("joined in {:.1} s", begun.elapsed().as_secs_f64());
}

#[test]
fn the_readme_shows_the_commands_that_were_tried() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (script, readme) = (read("tests/join-the-demo.sh"), read("../README.md"));
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let missing: Vec<&str> = lines.filter(|line| *line != "set -e" && !readme.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
