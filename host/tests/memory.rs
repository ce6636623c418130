//! Memory does not grow with the number of changes that are put lazily at once: a timestamp of the message log is one such batch, of
//! twenty thousand.
//!
//! A program of its own, because it measures its process.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use host::metrics::Process;
use host::store::Store;

const RECORDS: u64 = 10_000;

fn resident() -> u64 {
    Process::of(std::process::id()).map_or(0, |process| process.resident_bytes)
}

fn key(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}

#[test]
fn many_lazy_changes_at_once_pass_through_small_memory() {
    if resident() == 0 {
        println!("skipped: this system does not say how much memory a process has");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_rebuildable(dir.path(), 64 << 20).unwrap();
    let wait: Vec<_> = (0..RECORDS).map(|n| (key(b'u', n), Some(vec![7; 72]))).collect();
    for some in wait.chunks(100) {
        store.put_lazily("log", some).unwrap();
    }
    let before = resident();
    let stamped = |n| [(key(b't', n), Some(vec![1; 20])), (key(b'u', n), None)];
    let changes: Vec<_> = (0..RECORDS).flat_map(stamped).collect();
    store.put_lazily("log", &changes).unwrap();
    let grown = resident().saturating_sub(before);
    println!("{} changes at once: {} KiB more", changes.len(), grown / 1024);
    assert!(grown < 24 << 20, "resident memory grew by {grown} bytes");
    assert_eq!(store.count_prefix("log", b"u").unwrap(), 0);
    assert_eq!(store.count_prefix("log", b"t").unwrap(), RECORDS);
}
