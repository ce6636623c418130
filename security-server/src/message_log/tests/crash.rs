//! Processes that are killed while they write, and the order of system calls before an acknowledgement.
//!
//! `CAUSEWAY_SLOW=1` kills hundreds of times instead of a few.
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "message_log::tests::crash::child_that_appends";

/// The child's part: appends with bodies of all sizes from several tasks until it is killed, and says what was acknowledged.
/// By itself it does nothing.
#[test]
fn child_that_appends() {
    let Some(dir) = std::env::var_os("CAUSEWAY_TEST_LOG") else { return };
    let first: u64 = std::env::var("CAUSEWAY_TEST_FIRST").unwrap().parse().unwrap();
    let count: u64 = std::env::var("CAUSEWAY_TEST_COUNT").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open(Path::new(&dir));
        let next = Arc::new(AtomicU64::new(first));
        let tasks: Vec<_> = (0..if count == u64::MAX { 8 } else { 1 })
            .map(|_| {
                let (log, next) = (log.clone(), next.clone());
                tokio::spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= first.saturating_add(count) {
                            return;
                        }
                        let body = spooled(&log, &noise(length_of(number), number), 30_000).await;
                        let id = log.append(entry(number, &signature(number), vec![body])).await.unwrap().id;
                        // One system call, so that the parent never reads half a line.
                        std::io::stderr().write_all(format!("ack {} {number}\n", id.0).as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn length_of(number: u64) -> usize {
    [0, 100, 999, 5_000, 140_000, 400_000][(number % 6) as usize]
}

fn child(dir: &Path, first: u64, count: u64, wrapper: &[&str]) -> Command {
    let me = std::env::current_exe().unwrap();
    let mut command = match wrapper.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(me);
            command
        }
        None => Command::new(me),
    };
    command
        .args(["--exact", CHILD, "--nocapture"])
        .env("CAUSEWAY_TEST_LOG", dir)
        .env("CAUSEWAY_TEST_FIRST", first.to_string())
        .env("CAUSEWAY_TEST_COUNT", count.to_string());
    command
}

/// Kills a writing process at random moments; whatever it acknowledged is whole afterwards.
#[test]
fn every_acknowledged_record_survives_being_killed() {
    let rounds = if std::env::var_os("CAUSEWAY_SLOW").is_some() { 300 } else { 6 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let first = 1 + round * 1_000_000;
        let mut process = child(dir.path(), first, u64::MAX, &[])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let pause = Duration::from_millis(5 + (round * 7919) % 150);
        let mut new = Vec::new();
        let mut killed = false;
        while let Some(Ok(line)) = lines.next() {
            let Some(numbers) = line.strip_prefix("ack ") else { continue };
            let (id, number) = numbers.split_once(' ').unwrap();
            new.push((RecordId(id.parse().unwrap()), number.parse::<u64>().unwrap()));
            if !killed {
                std::thread::sleep(pause);
                process.kill().unwrap(); // SIGKILL
                killed = true;
            }
        }
        process.wait().unwrap();
        assert!(!new.is_empty(), "round {round}");
        acknowledged.extend(new.iter().copied());
        let all = round + 1 == rounds;
        runtime.block_on(check(dir.path(), if all { &acknowledged } else { &new }, round));
    }
    println!("{rounds} kills, {} acknowledged records whole", acknowledged.len());
}

async fn check(dir: &Path, acknowledged: &[(RecordId, u64)], round: u64) {
    let log = open(dir);
    for (id, number) in acknowledged {
        let record = log.read(*id).unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_is(&record, *number);
        assert_eq!(
            body_of(&record.attachments[0]).await,
            noise(length_of(*number), *number),
            "round {round}"
        );
    }
    let report = log.verify().await.unwrap();
    assert_eq!(report.damage, [], "round {round}");
    close(log).await;
}

/// Watches the system calls of a child: before each acknowledgement there is an fdatasync of a segment.
#[test]
fn acknowledges_only_after_fdatasync() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let file = trace.to_str().unwrap();
    let strace = ["strace", "-f", "-y", "-s", "64", "-e", "trace=fdatasync,pwritev,write", "-o", file];
    let run = child(&dir.path().join("log"), 1, 12, &strace).output().unwrap();
    let text = std::fs::read_to_string(&trace).unwrap_or_default();
    if text.is_empty() {
        println!("skipped: strace may not trace here: {}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(acknowledgements_in_order(&text), 12, "{text}");
}

/// Counts acknowledgements; each must come after a write to a segment and a later fdatasync of it since the one before.
fn acknowledgements_in_order(trace: &str) -> usize {
    let (mut written, mut synced, mut count) = (false, false, 0);
    let mut unfinished = std::collections::HashMap::new();
    for line in trace.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default();
        let call = if line.contains(" resumed>") {
            unfinished.remove(thread).unwrap_or_default()
        } else if line.contains("<unfinished") {
            unfinished.insert(thread, line);
            continue;
        } else {
            line
        };
        if call.contains(".segment>") {
            written |= call.contains("pwritev(");
            synced |= written && call.contains("fdatasync(");
        } else if call.contains("\"ack ") {
            assert!(synced, "acknowledged before the sync: {call}");
            (written, synced) = (false, false);
            count += 1;
        }
    }
    count
}
