//! The store against real files, damage of every kind, and the order of system calls before an acknowledgement.
use std::os::unix::fs::FileExt;
use std::process::Command;

use proto::time::UnixTime;

use super::*;

fn put(key: &str, value: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.into(), Some(value.into()))
}

fn delete(key: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.into(), None)
}

fn texts(entries: Entries) -> Vec<String> {
    entries
        .iter()
        .map(|(k, v)| format!("{}={}", String::from_utf8_lossy(k), String::from_utf8_lossy(v)))
        .collect()
}

#[test]
fn reads_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.commit("a", &[put("1", "x"), put("2", "y"), put("3", "z")]).unwrap();
    store.commit("a", &[delete("2"), put("3", "zz")]).unwrap();
    store.commit("b", &[put("1", "other")]).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(texts(store.scan("a").unwrap()), ["1=x", "3=zz"]);
    assert_eq!(store.get("b", b"1").unwrap().unwrap(), b"other");
    assert_eq!(texts(store.scan_from("a", b"2", 9).unwrap()), ["3=zz"]);
    assert_eq!(store.last("a").unwrap().unwrap().0, b"3");
    assert!(!store.was_reset());
}

#[test]
fn a_snapshot_alone_opens_as_the_store_it_was_taken_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.commit("a", &[put("1", "x"), put("2", "y")]).unwrap();
    let taken = store.snapshot().unwrap();
    store.commit("a", &[put("2", "later")]).unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join(SNAPSHOT), taken).unwrap();
    let copy = Store::open(other.path()).unwrap();
    assert_eq!(texts(copy.scan("a").unwrap()), ["1=x", "2=y"]);
    copy.commit("a", &[put("3", "z")]).unwrap();
    drop(copy);
    let copy = Store::open(other.path()).unwrap();
    assert_eq!(texts(copy.scan("a").unwrap()), ["1=x", "2=y", "3=z"]);
}

#[test]
fn refuses_what_sled_would_store_badly() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let big = (b"k".to_vec(), Some(vec![0; MAX_VALUE_BYTES + 1]));
    assert!(matches!(store.commit("a", &[big]), Err(StoreError::TooLarge { .. })));
    store.commit("a", &[put("k", "v")]).unwrap();
}

/// Damage of every kind, each followed by a start that must find all that was acknowledged.
#[test]
fn restores_what_a_damaged_database_lost() {
    let whole = |dir: &Path| std::fs::read(dir.join("sled/db")).unwrap();
    type Damage<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Damage<'_>); 6] = [
        ("the database folder is gone", &|dir| std::fs::remove_dir_all(dir.join("sled")).unwrap()),
        ("the data file is empty", &|dir| std::fs::write(dir.join("sled/db"), b"").unwrap()),
        ("the data file is noise", &|dir| {
            let noise: Vec<u8> = (0..whole(dir).len()).map(|i| (i * 31 + i / 7) as u8).collect();
            std::fs::write(dir.join("sled/db"), noise).unwrap();
        }),
        ("half of it is zeros", &|dir| {
            let mut bytes = whole(dir);
            let half = bytes.len() / 2;
            bytes[..half].fill(0);
            std::fs::write(dir.join("sled/db"), bytes).unwrap();
        }),
        ("its configuration is noise", &|dir| {
            std::fs::write(dir.join("sled/conf"), b"nothing that sled would write").unwrap()
        }),
        ("the last journal frame is cut", &|dir| {
            let journal = std::fs::read(dir.join("journal")).unwrap();
            std::fs::write(dir.join("journal"), [&journal[..], &[40, 0, 0, 0, 1, 2]].concat()).unwrap();
        }),
    ];
    for (name, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.commit("a", &[put("old", "1"), put("gone", "1")]).unwrap();
        store.export().unwrap();
        store.commit("a", &[put("new", "2"), delete("gone")]).unwrap();
        drop(store);
        damage(dir.path());
        let store = Store::open(dir.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(texts(store.scan("a").unwrap()), ["new=2", "old=1"], "{name}");
        store.commit("a", &[put("later", "3")]).unwrap();
        drop(store);
        assert_eq!(Store::open(dir.path()).unwrap().scan("a").unwrap().len(), 3, "{name}");
    }
}

#[test]
fn a_damaged_snapshot_is_written_again_from_the_database() {
    // The last one makes a frame longer than the file, as if the journal ended inside it.
    for (file, at) in [("snapshot", 20), ("journal", 20), ("journal", 3)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.commit("a", &[put("1", "x")]).unwrap();
        store.export().unwrap();
        store.commit("a", &[put("2", "y")]).unwrap();
        store.commit("a", &[put("3", "z")]).unwrap();
        drop(store);
        let path = dir.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(Backup::read(dir.path()).is_err(), "{file}, byte {at}: the damage is seen");
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(texts(store.scan("a").unwrap()), ["1=x", "2=y", "3=z"], "{file}");
        assert!(Backup::read(dir.path()).is_ok(), "{file}: mended");
    }
}

/// What was committed together comes back together, wherever a power cut ends the journal.
#[test]
fn a_commit_is_in_the_journal_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let store = Store::open(dir.path()).unwrap();
    store.commit("a", &[put("1", "x")]).unwrap();
    let before = std::fs::read(&path).unwrap().len();
    store.commit("a", &[put("2", "y"), delete("1"), put("3", "z")]).unwrap();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    for end in before..=whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let contents = Backup::read(dir.path()).unwrap().unwrap();
        let keys: Vec<&[u8]> = contents["a"].keys().map(Vec::as_slice).collect();
        let expected: &[&[u8]] = if end == whole.len() { &[b"2", b"3"] } else { &[b"1"] };
        assert_eq!(keys, expected, "cut at {end} of {}", whole.len());
    }
}

#[test]
fn says_so_when_nothing_usable_is_left() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    std::fs::write(dir.path().join("sled/conf"), b"nothing that sled would write").unwrap();
    std::fs::write(dir.path().join("snapshot"), b"nothing that sled would write").unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("restore a backup"), "{error}");
}

#[test]
fn a_rebuildable_store_starts_empty_after_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_rebuildable(dir.path(), 1 << 20).unwrap();
    store.put_lazily("a", &[put("1", "x")]).unwrap();
    store.sync().unwrap();
    drop(store);
    std::fs::write(dir.path().join("sled/conf"), b"nothing that sled would write").unwrap();
    let store = Store::open_rebuildable(dir.path(), 1 << 20).unwrap();
    assert!(store.was_reset());
    assert!(store.scan("a").unwrap().is_empty());
    assert!(dir.path().join("damaged-1").exists());
}

#[test]
fn concurrent_commits_are_all_there_in_both_places() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = store.clone();
            scope.spawn(move || {
                for i in 0..20 {
                    store.commit("a", &[put(&format!("{thread}-{i}"), "v")]).unwrap();
                }
            });
        }
    });
    let contents = Backup::read(dir.path()).unwrap().unwrap();
    assert_eq!(contents["a"].len(), 160);
    assert_eq!(store.scan("a").unwrap().len(), 160);
}

#[test]
fn a_long_journal_becomes_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let value = "v".repeat(60_000);
    for i in 0..20 {
        store.commit("a", &[put(&format!("{i:02}"), &value)]).unwrap();
    }
    assert!(std::fs::metadata(dir.path().join("journal")).unwrap().len() < 1_000_000);
    assert!(std::fs::metadata(dir.path().join("snapshot")).unwrap().len() > 1_000_000);
    assert_eq!(Backup::read(dir.path()).unwrap().unwrap()["a"].len(), 20);
}

#[test]
fn events_are_numbered_and_come_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = EventLog::open(&store, "registry").unwrap();
    log.record(UnixTime(5), "admin", &["a", "b"]).unwrap();
    log.record::<&str>(UnixTime(6), "admin", &[]).unwrap();
    drop((log, store));
    let store = Store::open(dir.path()).unwrap();
    let log = EventLog::open(&store, "registry").unwrap();
    log.clone().record(UnixTime(7), "other", &["c"]).unwrap();
    let all: Vec<Recorded<String>> = log.replay().unwrap();
    let short: Vec<_> =
        all.iter().map(|r| (r.sequence, r.at.0, r.actor.as_str(), r.event.as_str())).collect();
    assert_eq!(short, [(1, 5, "admin", "a"), (2, 5, "admin", "b"), (3, 7, "other", "c")]);
}

#[test]
fn a_long_log_is_read_in_pieces_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(&Store::open(dir.path()).unwrap(), "registry").unwrap();
    for pieces in [999, 1, 1, 1_500_u64] {
        let events: Vec<u64> = (log.last() + 1..=log.last() + pieces).collect();
        log.record(UnixTime(5), "admin", &events).unwrap();
    }
    for first in [1, 2, 1_000, 1_001, 2_500, 2_501, 2_502] {
        let read: Vec<u64> = log.replay_from::<u64>(first).map(|read| read.unwrap().event).collect();
        assert_eq!(read, (first..=2_501).collect::<Vec<_>>(), "from {first}");
    }
}

#[test]
fn events_with_gaps_or_of_unknown_versions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = EventLog::open(&store, "t").unwrap();
    log.record(UnixTime(5), "x", &["a", "b"]).unwrap();
    let key = |n: u64| n.to_be_bytes().to_vec();
    let second = store.get("t", &key(2)).unwrap().unwrap();
    let newer = String::from_utf8(second.clone()).unwrap().replace("\"v\":1", "\"v\":9").into_bytes();
    store.commit("t", &[(key(2), Some(newer))]).unwrap();
    assert!(log.replay::<String>().unwrap_err().to_string().contains("version 9"));
    store.commit("t", &[(key(2), None), (key(3), Some(second))]).unwrap();
    assert!(log.replay::<String>().unwrap_err().to_string().contains("3 stands in its place"));
}

/// The child's part of [`acknowledges_only_after_fdatasync`]: commits, then acknowledges by writing to a file. By itself it does
/// nothing.
#[test]
fn child_that_commits_and_acknowledges() {
    let Some(dir) = std::env::var_os("CAUSEWAY_TEST_STORE") else { return };
    let dir = PathBuf::from(dir);
    let store = Store::open(&dir).unwrap();
    let log = EventLog::open(&store, "events").unwrap();
    let acknowledgements = File::create(dir.join("acknowledged")).unwrap();
    std::thread::sleep(Duration::from_millis(700)); // sled's own periodic sync is not to help.
    for i in 0..5_u64 {
        log.record(UnixTime(1), "test", &[i]).unwrap();
        acknowledgements.write_all_at(b"a", i).unwrap();
    }
}

/// Watches the system calls of a child: between two acknowledgements there is an fdatasync of sled's file and of the journal.
#[test]
fn acknowledges_only_after_fdatasync() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let run = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fdatasync,pwrite64,write", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::child_that_commits_and_acknowledges"])
        .env("CAUSEWAY_TEST_STORE", dir.path())
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&trace).unwrap_or_default();
    if text.is_empty() {
        println!("skipped: strace may not trace here: {}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    assert_eq!(check_order(&text), 5, "{text}");
}

/// Counts acknowledgements in a trace; each must come after a sync of both files since the one before.
fn check_order(trace: &str) -> usize {
    let (mut database, mut journal, mut acknowledged) = (false, false, 0);
    let mut pending = std::collections::HashMap::new();
    for line in trace.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default();
        let synced = if line.contains("fdatasync resumed") {
            pending.remove(thread).unwrap_or_default()
        } else if line.contains("fdatasync(") {
            if line.contains("<unfinished") {
                pending.insert(thread, line);
                continue;
            }
            line
        } else if line.contains("pwrite64(") && line.contains("/acknowledged>") {
            assert!(database && journal, "acknowledged before the sync: {line}");
            (database, journal) = (false, false);
            acknowledged += 1;
            continue;
        } else {
            continue;
        };
        database |= synced.contains("/sled/db>");
        journal |= synced.contains("/journal>");
    }
    acknowledged
}

#[test]
fn a_snapshot_that_cannot_be_read_is_not_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("snapshot");
    // Reading a folder fails whoever asks, as reading another user's file does.
    std::fs::create_dir(&snapshot).unwrap();
    let refused = Store::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("snapshot") && refused.contains("own and read"), "{refused}");
    assert!(snapshot.is_dir() && !dir.path().join("journal").exists(), "nothing was written");
}
