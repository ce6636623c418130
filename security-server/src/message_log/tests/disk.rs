//! Disks that are full, broken, read-only, and come back.
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Instant;

use super::*;
use crate::message_log::store::faults::{Operation, SLOW};

const EVERYTHING: u32 =
    Operation::Create as u32 | Operation::Write as u32 | Operation::Sync as u32 | Operation::Cut as u32;

async fn until_ready(log: &MessageLog, now: UnixTime) {
    let began = Instant::now();
    while let Err(error) = log.check_ready(now) {
        assert!(began.elapsed() < Duration::from_secs(60), "still refused: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn refuses_while_the_disk_fails_and_goes_on_by_itself() {
    let cases = [
        ("write", Operation::Write as u32),
        ("sync", Operation::Sync as u32),
        ("write and create", Operation::Write as u32 | Operation::Create as u32),
        ("everything", EVERYTHING),
    ];
    for (name, operations) in cases {
        let dir = tempfile::tempdir().unwrap();
        let switch = Arc::new(AtomicU32::new(0));
        let faults = Faults::switched_by(switch.clone());
        let log = try_open(dir.path(), settings(), faults).unwrap();
        let now = UnixTime(0);
        for number in 1..=3 {
            append(&log, number).await.unwrap();
        }
        let half_way = {
            let mut spool = log.spool();
            spool.write(Bytes::from(vec![5; 300_000])).await.unwrap();
            spool
        };
        switch.store(operations, Ordering::SeqCst);
        assert!(matches!(append(&log, 4).await, Err(LogError::Disk(_))), "{name}");
        if operations & Operation::Create as u32 != 0 {
            let refused = log.check_ready(now).unwrap_err();
            assert!(
                matches!(&refused, LogError::Disk(reason) if reason.contains("no space")),
                "{name}: {refused}"
            );
            assert!(matches!(append(&log, 5).await, Err(LogError::Disk(_))), "{name}");
        }
        switch.store(0, Ordering::SeqCst);
        until_ready(&log, now).await;
        assert_eq!(append(&log, 6).await.unwrap(), RecordId(4), "{name}: numbers have no gaps");
        // Parts that were written before the failure may be lost, so the body is refused, not logged with a hole.
        let stored = match half_way.finish().await {
            Ok(stored) => log.append(entry(9, &signature(9), vec![stored])).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(matches!(stored, Err(LogError::Disk(_))), "{name}: {stored:?}");
        log.indexed().await;
        for (id, number) in [(1, 1), (2, 2), (3, 3), (4, 6)] {
            assert_is(&log.read(RecordId(id)).unwrap(), number);
        }
        assert_eq!(log.verify().await.unwrap().damage, [], "{name}");
        close(log).await;
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        let log = open(dir.path());
        assert_is(&log.read(RecordId(4)).unwrap(), 6);
        assert_eq!(log.verify().await.unwrap().records, 4, "{name}: nothing unacknowledged came back");
    }
}

#[tokio::test]
async fn refuses_new_exchanges_when_free_space_runs_low() {
    let dir = tempfile::tempdir().unwrap();
    let log = try_open(dir.path(), LogSettings { min_free_bytes: u64::MAX, ..settings() }, Faults::default())
        .unwrap();
    let refused = log.check_ready(UnixTime(5000)).unwrap_err().to_string();
    assert!(refused.contains("are to stay free"), "{refused}");
    append(&log, 1).await.expect("what is under way is still logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_makes_messages_wait_together_and_refuses_none() {
    let dir = tempfile::tempdir().unwrap();
    let switch = Arc::new(AtomicU32::new(0));
    let log = try_open(dir.path(), settings(), Faults::switched_by(switch.clone())).unwrap();
    switch.store(Operation::SlowSync as u32, Ordering::SeqCst);
    let began = Instant::now();
    let tasks: Vec<_> = (1..=300)
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move { (append(&log, number).await.unwrap(), number) })
        })
        .collect();
    assert!(log.check_ready(UnixTime(0)).is_ok());
    let mut logged = Vec::new();
    for task in tasks {
        logged.push(task.await.unwrap());
    }
    // One after the other they would take a minute, and each segment that fills takes its time as well.
    assert!(began.elapsed() < 100 * SLOW, "{:?}", began.elapsed());
    log.indexed().await;
    for (id, number) in logged {
        assert_is(&log.read(id).unwrap(), number);
    }
    assert_eq!(log.verify().await.unwrap().damage, []);
    switch.store(0, Ordering::SeqCst);
    close(log).await;
}

/// Two batches at a time are on their way to the disk, and it fails under them: what was acknowledged is there, what was refused is
/// not, and no number is left out or used twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_again_and_again_under_load_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let switch = Arc::new(AtomicU32::new(0));
    let log = try_open(dir.path(), settings(), Faults::switched_by(switch.clone())).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..16_u64)
        .map(|task| {
            let (log, over) = (log.clone(), over.clone());
            tokio::spawn(async move {
                let (mut logged, mut refused, mut number) = (Vec::new(), 0, task);
                while !over.load(Ordering::SeqCst) {
                    number += 16;
                    let body = write_body(&log, 3000).await;
                    let appended = match body {
                        Ok(body) => log.append(entry(number, &signature(number), vec![body])).await,
                        Err(error) => Err(error),
                    };
                    match appended {
                        Ok(done) => logged.push((done.id, number)),
                        Err(_) => {
                            refused += 1;
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                (logged, refused)
            })
        })
        .collect();
    for operation in [Operation::Sync, Operation::Write, Operation::Sync, Operation::Create] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        switch.store(operation as u32, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        switch.store(0, Ordering::SeqCst);
        until_ready(&log, UnixTime(0)).await;
    }
    over.store(true, Ordering::SeqCst);
    let (mut logged, mut refused) = (Vec::new(), 0);
    for task in tasks {
        let (of_task, refusals) = task.await.unwrap();
        logged.extend(of_task);
        refused += refusals;
    }
    assert!(refused > 0 && !logged.is_empty(), "{refused} refused, {} logged", logged.len());
    log.indexed().await;
    for (id, number) in &logged {
        assert_is(&log.read(*id).unwrap(), *number);
    }
    logged.sort_unstable();
    let numbers: Vec<u64> = logged.iter().map(|(id, _)| id.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a number was given twice");
    let report = log.verify().await.unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(report.records, numbers.len() as u64, "nothing that was refused is on record");
    close(log).await;
}

/// A real small file system, where we may mount one.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .output();
        mount.is_ok_and(|done| done.status.success()).then(|| Self(at.to_owned()))
    }
    fn remount(&self, options: &str) {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_full_file_system_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(dir.path(), "6m") else {
        println!("skipped: only root may mount a small file system");
        return;
    };
    let log = open(&dir.path().join("log"));
    let (mut logged, mut number) = (Vec::new(), 0);
    let refused = loop {
        number += 1;
        let body = match write_body(&log, 60_000).await {
            Ok(body) => body,
            Err(error) => break error,
        };
        match log.append(entry(number, &signature(number), vec![body])).await {
            Ok(done) => logged.push((done.id, number)),
            Err(error) => break error,
        }
        assert!(number < 1000, "the disk is never full");
    };
    assert!(matches!(&refused, LogError::Disk(reason) if reason.contains("No space left")), "{refused}");
    assert!(logged.len() > 10);
    assert!(matches!(log.check_ready(UnixTime(0)), Err(LogError::Disk(_))));
    disk.remount("size=20m");
    until_ready(&log, UnixTime(0)).await;
    number += 1;
    logged.push((append(&log, number).await.unwrap(), number));
    log.indexed().await;
    for (id, number) in &logged {
        assert_is(&log.read(*id).unwrap(), *number);
    }
    assert_eq!(log.verify().await.unwrap().damage, []);
    close(log).await;
}

async fn write_body(log: &MessageLog, length: usize) -> Result<Stored, LogError> {
    let mut spool = log.spool();
    spool.write(Bytes::from(noise(length, 1))).await?;
    spool.finish().await
}
