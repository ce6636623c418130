//! The log as a whole, against real files.
mod archive;
mod crash;
mod crypt;
mod damage;
mod disk;
mod evidence;
mod policy;
mod s3;
mod sealed;
mod stamps;
mod vectors;

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::TryStreamExt;
use pki::digest::DigestAlgorithm;
use proto::id::MemberId;

use super::policy::BodyLogging;
use super::record::{Found, Record};
use super::*;

pub(super) fn settings() -> LogSettings {
    LogSettings {
        bodies: BodyLogging::all(),
        max_body_bytes: 64 * 1024 * 1024,
        larger_bodies_pass: false,
        memory_body_bytes: 1000,
        segment_bytes: 256 * 1024,
        min_free_bytes: 0,
        acceptable_timestamp_failure: None,
        timestamp_retry: Duration::from_secs(60),
        timestamp_records: NonZeroUsize::new(10_000).unwrap(),
        ..LogSettings::default()
    }
}

/// A server with one timestamping service that nobody can reach.
#[derive(Debug)]
struct Unreachable;

impl Surroundings for Unreachable {
    fn services(&self) -> Vec<(String, String)> {
        vec![("nobody".into(), "http://127.0.0.1:1/".into())]
    }
    fn has_services(&self) -> bool {
        true
    }
    fn trusted(&self, _: UnixTime) -> Option<Vec<pki::cert::Certificate>> {
        Some(vec![])
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }
}

pub(super) fn try_open(dir: &Path, settings: LogSettings, faults: Faults) -> Result<MessageLog, OpenError> {
    let clock = Clock::fixed(UnixTime(1_700_000_000_000));
    MessageLog::open_with(dir, settings, clock, Arc::new(Unreachable), faults).map(|(log, _)| log)
}

pub(super) fn open(dir: &Path) -> MessageLog {
    try_open(dir, settings(), Faults::default()).unwrap()
}

/// Closes the log and lets go of its files, so that it can be opened again.
pub(super) async fn close(log: MessageLog) {
    log.close().await;
}

pub(super) fn member(code: &str) -> ClientId {
    let member = MemberId { instance: "DEV".into(), class: "GOV".into(), code: code.into() };
    ClientId { member, subsystem: Some("sub".into()) }
}

/// An entry that can be told from every other, with a signature that the entries of one `batch` share.
pub(super) fn entry(number: u64, batch: &Bytes, attachments: Vec<Stored>) -> Entry {
    let message = Bytes::from(format!("message {number} {}", "x".repeat((number % 300) as usize)));
    let digest = DigestAlgorithm::Sha512.digest(&message);
    let chain = Bytes::from(format!("<chain of {number}/>"));
    Entry {
        direction: if number.is_multiple_of(2) { Direction::Request } else { Direction::Response },
        consumer_side: true,
        message_id: format!("id-{number}").into(),
        request_id: format!("request-{number}").into(),
        client: member("consumer").into(),
        service: member("provider").service("service").into(),
        message,
        rest: true,
        signature: batch.clone(),
        hash_chain: Some((Bytes::from_static(b"<result/>"), chain)),
        attachments,
        parts: vec![("/message.xml".into(), digest)].into(),
        at: UnixTime(1_700_000_000_000 + number as i64),
        until: UnixTime(1_700_000_000_000 + 3_600_000),
    }
}

pub(super) fn signature(number: u64) -> Bytes {
    Bytes::from(format!("<signature {number}/>").repeat(20))
}

pub(super) async fn append(log: &MessageLog, number: u64) -> Result<RecordId, LogError> {
    log.append(entry(number, &signature(number), vec![])).await.map(|logged| logged.id)
}

pub(super) fn assert_is(record: &Record, number: u64) {
    let expected = entry(number, &signature(number), vec![]);
    assert_eq!(record.message_id, *expected.message_id);
    assert_eq!(record.message, expected.message, "{number}");
    assert_eq!(record.hash_chain, expected.hash_chain, "{number}");
    assert_eq!(record.parts, *expected.parts, "{number}");
    assert_eq!((record.direction, record.at), (expected.direction, expected.at));
}

async fn body_of(stored: &Stored) -> Vec<u8> {
    let chunks: Vec<Bytes> = stored.stream().try_collect().await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 64 * 1024));
    chunks.concat()
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

async fn spooled(log: &MessageLog, body: &[u8], piece: usize) -> Stored {
    let mut spool = log.spool();
    for chunk in body.chunks(piece) {
        spool.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    spool.finish().await.unwrap()
}

#[tokio::test]
async fn gives_back_exactly_what_was_logged() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for (number, length) in [(1, 0), (2, 1000), (3, 1001), (4, 131_072), (5, 131_073), (6, 3_000_000)] {
        let body = noise(length, number);
        let stored = spooled(&log, &body, 7777).await;
        assert_eq!(stored.len(), length as u64);
        assert_eq!(stored.in_memory().is_some(), length <= 1000, "{length}");
        let entry =
            entry(number, &signature(number), vec![stored, Stored::from(Bytes::from_static(b"second"))]);
        let logged = log.append(entry).await.unwrap();
        assert_eq!(logged.id, RecordId(number));
        assert_eq!(body_of(&logged.attachments[0]).await, body, "released from where it lies");
    }
    log.indexed().await;
    let mut log = Some(log);
    for reopened in [false, true] {
        if reopened {
            close(log.take().unwrap()).await;
            log = Some(open(dir.path()));
        }
        let log = log.as_ref().unwrap();
        for (number, length) in [(1, 0), (2, 1000), (3, 1001), (4, 131_072), (5, 131_073), (6, 3_000_000)] {
            let record = log.read(RecordId(number)).unwrap();
            assert_is(&record, number);
            assert_eq!(record.signature, signature(number));
            assert_eq!(body_of(&record.attachments[0]).await, noise(length, number));
            let mut read = Vec::new();
            std::io::Read::read_to_end(&mut record.attachments[0].reader(), &mut read).unwrap();
            assert_eq!(read, noise(length, number));
            assert_eq!(body_of(&record.attachments[1]).await, b"second");
        }
        let report = log.verify().await.unwrap();
        assert_eq!((report.records, &report.damage[..]), (6, &[][..]));
        assert!(report.segments > 5, "{} segments", report.segments);
    }
}

#[tokio::test]
async fn finds_by_message_id_and_local_client() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut provider_side = entry(7, &signature(7), vec![]);
    provider_side.consumer_side = false;
    for entry in [
        entry(7, &signature(7), vec![]),
        provider_side,
        entry(8, &signature(8), vec![]),
        entry(7, &signature(9), vec![]),
    ] {
        log.append(entry).await.unwrap();
    }
    log.indexed().await;
    let ids = |id: &str, client: &ClientId| -> Vec<u64> {
        log.find(id, client).unwrap().iter().map(|found: &Found| found.id.0).collect()
    };
    assert_eq!(ids("id-7", &member("consumer")), [1, 4]);
    assert_eq!(ids("id-7", &member("provider")), [2]);
    assert_eq!(ids("id-8", &member("consumer")), [3]);
    let whole_member = ClientId { subsystem: None, ..member("consumer") };
    assert!(ids("id-7", &whole_member).is_empty());
    assert!(ids("id-", &member("consumer")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_appends_are_all_there_and_share_documents_and_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let shared = signature(0);
    let tasks: Vec<_> = (0..400_u64)
        .map(|number| {
            let (log, shared) = (log.clone(), shared.clone());
            tokio::spawn(async move {
                let body = noise(if number % 9 == 0 { 40_000 } else { 200 }, number);
                let stored = spooled(&log, &body, 10_000).await;
                (number, log.append(entry(number, &shared, vec![stored])).await.unwrap().id)
            })
        })
        .collect();
    log.indexed().await;
    let mut seen = std::collections::BTreeSet::new();
    for task in tasks {
        let (number, id) = task.await.unwrap();
        log.indexed().await;
        let record = log.read(id).unwrap();
        assert_is(&record, number);
        assert_eq!(record.signature, shared);
        let length = if number % 9 == 0 { 40_000 } else { 200 };
        assert_eq!(body_of(&record.attachments[0]).await, noise(length, number));
        seen.insert(id.0);
    }
    assert_eq!(seen, (1..=400).collect());
    let report = log.verify().await.unwrap();
    assert_eq!(report.damage, []);
    let mut documents = 0;
    for (number, end) in
        recovery::bounds(dir.path(), &lock(&log.inner.shared.tail).clone().unwrap(), None).unwrap()
    {
        let readable = store::segment::Readable::open(dir.path(), number).unwrap();
        let mut walker = readable.walk(0, Some(end), 0).unwrap();
        while let store::segment::Step::Frame(seen) = walker.step().unwrap() {
            documents += u64::from(seen.kind == store::format::Kind::Document);
        }
    }
    assert_eq!(documents, 2 * report.segments, "one signature and one chain result in each segment");
}

#[tokio::test]
async fn bodies_above_the_loggable_size_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        try_open(dir.path(), LogSettings { max_body_bytes: 5000, ..settings() }, Faults::default()).unwrap();
    let mut spool = log.spool();
    spool.write(Bytes::from(vec![0; 5000])).await.unwrap();
    assert_eq!(spool.write(Bytes::from_static(b"x")).await, Err(LogError::BodyTooLarge { limit: 5000 }));
}

#[tokio::test]
async fn bodies_of_failed_exchanges_become_void_and_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut dropped = log.spool();
    dropped.write(Bytes::from(vec![1; 300_000])).await.unwrap();
    drop(dropped);
    drop(spooled(&log, &[2; 300_000], 50_000).await);
    let kept = spooled(&log, &[3; 300_000], 50_000).await;
    log.append(entry(1, &signature(1), vec![kept])).await.unwrap();
    let mut voids = Vec::new();
    let tail = lock(&log.inner.shared.tail).clone().unwrap();
    for (number, end) in recovery::bounds(dir.path(), &tail, None).unwrap() {
        let readable = store::segment::Readable::open(dir.path(), number).unwrap();
        let mut walker = readable.walk(0, Some(end), 0).unwrap();
        while let store::segment::Step::Frame(seen) = walker.step().unwrap() {
            if seen.kind == store::format::Kind::Void {
                let head: store::format::VoidHead = prost::Message::decode(seen.head.as_slice()).unwrap();
                voids.extend(head.spools);
            }
        }
    }
    assert_eq!(voids, [1, 2]);
    assert_eq!(log.verify().await.unwrap().damage, []);
}

#[tokio::test]
async fn the_index_is_rebuilt_when_it_is_missing_or_behind() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let body = noise(100_000, 3);
    for number in 1..=20 {
        let stored = spooled(&log, &body, 9999).await;
        log.append(entry(number, &signature(number), vec![stored])).await.unwrap();
    }
    log.indexed().await;
    let early = tempfile::tempdir().unwrap();
    close(log).await;
    copy_dir(&dir.path().join("index"), early.path());
    let log = open(dir.path());
    for number in 21..=40 {
        append(&log, number).await.unwrap();
    }
    close(log).await;
    let index = dir.path().join("index");
    for case in ["missing", "behind", "a store behind its files", "without its files", "a damaged file"] {
        match case {
            "missing" => std::fs::remove_dir_all(&index).unwrap(),
            "behind" => {
                std::fs::remove_dir_all(&index).unwrap();
                copy_dir(early.path(), &index);
            }
            "a store behind its files" => {
                std::fs::remove_dir_all(index.join("sled")).unwrap();
                copy_dir(&early.path().join("sled"), &index.join("sled"));
            }
            "without its files" => std::fs::remove_dir_all(index.join("places")).unwrap(),
            _ => damage_file(&index.join("places/0000000000.slots"), 100),
        }
        let log = open(dir.path());
        for number in 1..=40 {
            assert_is(&log.read(RecordId(number)).unwrap(), number);
            assert_eq!(
                log.find(&format!("id-{number}"), &member("consumer")).unwrap().len(),
                1,
                "{case} {number}"
            );
        }
        assert_eq!(log.inner.index.waiting_count(), 40, "{case}");
        close(log).await;
    }
}

/// A block of the index that turns out to be damaged while the log is in use: what asks for it is told, and the next start makes the
/// index anew.
#[tokio::test]
async fn an_index_that_was_found_damaged_is_made_anew_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for number in 1..=200 {
        append(&log, number).await.unwrap();
    }
    close(log).await;
    let log = open(dir.path());
    // The second block, which nobody has asked for yet.
    damage_file(&dir.path().join("index/places/0000000000.slots"), 4096 + 100);
    assert_is(&log.read(RecordId(1)).unwrap(), 1);
    let error = log.read(RecordId(100)).unwrap_err().to_string();
    assert!(error.contains("block 1 of") && error.contains("the next start makes the index anew"), "{error}");
    close(log).await;
    let log = open(dir.path());
    for number in 1..=200 {
        assert_is(&log.read(RecordId(number)).unwrap(), number);
    }
    close(log).await;
}

/// What it would forget is written with the point up to which it has everything, and that would be wrong.
#[tokio::test]
async fn an_index_that_could_not_be_written_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let places = dir.path().join("index/places");
    std::fs::remove_dir_all(&places).unwrap();
    std::fs::write(&places, b"in the way").unwrap();
    // More than a segment, since the index is written when the next one begins.
    let body = noise(100_000, 3);
    for number in 1..=20 {
        let stored = spooled(&log, &body, 9999).await;
        log.append(entry(number, &signature(number), vec![stored])).await.unwrap();
    }
    log.indexed().await;
    let error = log.inner.index.forget(&[], (1, 3)).unwrap_err().to_string();
    assert!(error.contains("it misses records; the next start mends it"), "{error}");
    close(log).await;
    std::fs::remove_file(&places).unwrap();
    let log = open(dir.path());
    for number in 1..=20 {
        assert_is(&log.read(RecordId(number)).unwrap(), number);
    }
    assert_eq!(log.inner.index.waiting_count(), 20);
    close(log).await;
}

fn damage_file(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn is_closed_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 1).await.unwrap();
    log.close().await;
    assert_eq!(append(&log, 2).await, Err(LogError::Closed));
    assert_eq!(log.read(RecordId(1)).unwrap().message_id, "id-1", "reading goes on");
}
