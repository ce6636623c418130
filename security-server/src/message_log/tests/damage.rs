//! Torn writes and flipped bits: what is lost, what is named, what goes on.
use std::collections::BTreeSet;

use super::*;
use crate::message_log::store::format::{Kind, RecordHead};
use crate::message_log::store::segment::{ReadError, Readable, Step, path_of, remove};

/// Offsets of the frames of one segment, with their kinds.
fn frames(dir: &Path, number: u64) -> Vec<(u64, Kind)> {
    let readable = Readable::open(dir, number).unwrap();
    let mut walker = readable.walk(0, None, 0).unwrap();
    let mut frames = Vec::new();
    while let Step::Frame(seen) = walker.step().unwrap() {
        frames.push((seen.offset, seen.kind));
    }
    frames
}

/// A closed log of one segment with `count` records and its bytes.
async fn closed_log(count: u64) -> (tempfile::TempDir, Vec<u8>, Vec<(u64, Kind)>) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for number in 1..=count {
        append(&log, number).await.unwrap();
    }
    close(log).await;
    let bytes = std::fs::read(path_of(dir.path(), 1)).unwrap();
    let frames = frames(dir.path(), 1);
    (dir, bytes, frames)
}

fn forget_index(dir: &Path) {
    std::fs::remove_dir_all(dir.join("index")).unwrap();
}

/// Everything before the cut is kept, nothing behind it comes back, and the log goes on.
#[tokio::test]
async fn cuts_off_what_a_torn_write_left() {
    let (dir, bytes, frames) = closed_log(6).await;
    let records: Vec<u64> =
        frames.iter().filter(|(_, kind)| *kind == Kind::Record).map(|(at, _)| *at).collect();
    let last_write = frames[frames.len() - 2].0; // The last record and its signature document.
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    let cuts: BTreeSet<usize> =
        (last_write as usize..end).step_by(41).chain([records[5] as usize + 3, end - 1]).collect();
    for cut in cuts {
        type Tear = fn(&mut Vec<u8>, usize, usize);
        let kinds: [(&str, Tear); 4] = [
            ("zeros", |b, cut, _| b[cut..].fill(0)),
            ("the end of the file", |b, cut, _| b.truncate(cut)),
            ("garbage", |b, cut, end| b[cut..end].fill(0xa7)),
            ("a hole", |b, cut, end| b[cut..(cut + 16).min(end)].fill(0)),
        ];
        for (name, tear) in kinds {
            let mut torn = bytes.clone();
            tear(&mut torn, cut, end);
            std::fs::write(path_of(dir.path(), 1), &torn).unwrap();
            forget_index(dir.path());
            let log = open(dir.path());
            for number in 1..=5 {
                assert_is(&log.read(RecordId(number)).unwrap(), number);
            }
            assert!(log.read(RecordId(6)).is_err(), "{name} at {cut}: the torn record is gone");
            assert_eq!(
                append(&log, 77).await.unwrap(),
                RecordId(6),
                "{name} at {cut}: its number is used again"
            );
            let report = log.verify().await.unwrap();
            assert_eq!((report.records, report.damage), (6, vec![]), "{name} at {cut}");
            close(log).await;
        }
    }
}

/// One flipped bit anywhere in a frame costs the record that the frame belongs to and no other, with and without the index.
#[tokio::test]
async fn a_flipped_bit_isolates_one_record() {
    let (dir, bytes, frames) = closed_log(8).await;
    let at = |record: usize, kind: Kind| {
        frames.iter().filter(|(_, k)| *k == kind).nth(record - 1).map(|(offset, _)| *offset as usize).unwrap()
    };
    let record = at(5, Kind::Record);
    let mut cases = vec![("its signature document", at(6, Kind::Document) + 90)];
    for (name, offset) in [("its prefix", 9), ("its checksum", 29), ("its chain value", 40), ("its head", 80)]
    {
        cases.push((name, record + offset));
    }
    let needle = b"message 5 xxxxx";
    cases.push(("its payload", bytes.windows(needle.len()).position(|w| w == needle).unwrap()));
    let index = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("index"), index.path());
    for (name, position) in cases {
        for with_index in [true, false] {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x10;
            std::fs::write(path_of(dir.path(), 1), &damaged).unwrap();
            forget_index(dir.path());
            if with_index {
                copy_dir(index.path(), &dir.path().join("index"));
            }
            let log = open(dir.path());
            for number in (1..=8).filter(|n| *n != 5) {
                assert_is(&log.read(RecordId(number)).unwrap(), number);
            }
            let error = log.read(RecordId(5)).unwrap_err().to_string();
            assert!(
                error.contains("record 5 cannot be read") || error == "there is no record 5",
                "{name}: {error}"
            );
            let report = log.verify().await.unwrap();
            let named: BTreeSet<u64> = report.damage.iter().filter_map(|d| d.record).collect();
            assert_eq!(named, [5].into(), "{name}: {:?}", report.damage);
            assert_eq!(append(&log, 9).await.unwrap(), RecordId(9), "{name}: the log goes on behind it");
            close(log).await;
        }
    }
}

#[tokio::test]
async fn damage_in_older_segments_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for number in 1..=30 {
        let body = spooled(&log, &noise(50_000, number), 9000).await;
        log.append(entry(number, &signature(number), vec![body])).await.unwrap();
    }
    close(log).await;
    let body = frames(dir.path(), 2).iter().find(|(_, kind)| *kind == Kind::Body).unwrap().0 as usize;
    let mut bytes = std::fs::read(path_of(dir.path(), 2)).unwrap();
    bytes[body + 5000] ^= 1;
    std::fs::write(path_of(dir.path(), 2), bytes).unwrap();
    let log = open(dir.path());
    let report = log.verify().await.unwrap();
    let named: Vec<u64> = report.damage.iter().filter_map(|d| d.record).collect();
    assert_eq!((report.records, named.len()), (30, 1), "{:?}", report.damage);
    for number in 1..=30 {
        let record = log.read(RecordId(number)).unwrap();
        let read: Result<Vec<Bytes>, _> = record.attachments[0].stream().try_collect().await;
        assert_eq!(read.is_ok(), number != named[0], "{number}");
    }
}

#[tokio::test]
async fn a_changed_or_removed_record_breaks_the_chain() {
    let (dir, bytes, frames) = closed_log(4).await;
    let records: Vec<u64> =
        frames.iter().filter(|(_, kind)| *kind == Kind::Record).map(|(at, _)| *at).collect();
    // A record of another log in its place, with good checksums: what a careful forger would do.
    let readable = Readable::open(dir.path(), 1).unwrap();
    let frame = readable.frame(records[1]).unwrap();
    let mut head: RecordHead = prost::Message::decode(frame.head.as_slice()).unwrap();
    head.request_id = head.request_id.replace('2', "3");
    let mut run = store::segment::Run::default();
    let head = prost::Message::encode_to_vec(&head);
    let chain: Chain = bytes[records[1] as usize + 32..][..32].try_into().unwrap();
    run.put((readable.salt(), records[1]), Kind::Record, Some(&chain), &head, &frame.payload.into());
    let forged = dir.path().join("forged");
    let file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(&forged).unwrap();
    drop(file);
    let log = open(dir.path());
    close(log).await;
    let writable =
        Writable::reopen(dir.path(), 1, bytes.len() as u64, bytes.len() as u64, Faults::default()).unwrap();
    writable.write(&run, records[1], 0).unwrap();
    std::fs::remove_file(forged).unwrap();
    let log = open(dir.path());
    let report = log.verify().await.unwrap();
    assert!(
        report.damage.iter().any(|d| d.offset == records[1] && d.what.contains("chain")),
        "{:?}",
        report.damage
    );
}

#[tokio::test]
async fn a_segment_that_was_being_made_is_made_again() {
    let (dir, ..) = closed_log(3).await;
    for bytes in [vec![], vec![0; 4096], store::format::file_head(5).to_vec()] {
        std::fs::write(path_of(dir.path(), 2), bytes).unwrap();
        let log = open(dir.path());
        assert_eq!(log.read(RecordId(3)).unwrap().message_id, "id-3");
        close(log).await;
        assert!(!path_of(dir.path(), 2).exists());
    }
}

#[test]
fn refuses_a_log_of_another_format() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(path_of(dir.path(), 1), b"causeway-log v2\nand more".repeat(10)).unwrap();
    let error = try_open(dir.path(), settings(), Faults::default()).unwrap_err().to_string();
    assert!(error.contains("not one of format 1"), "{error}");
    assert!(path_of(dir.path(), 1).exists());
}

#[tokio::test]
async fn a_segment_that_is_removed_while_it_is_read_is_gone_and_not_damaged() {
    let (dir, _, frames) = closed_log(3).await;
    let readable = Readable::open(dir.path(), 1).unwrap();
    let (last, _) = frames[frames.len() - 1];
    readable.frame(last).unwrap();
    let mut walker = readable.walk(0, None, 0).unwrap();
    remove(dir.path(), 1).unwrap();
    let gone = |error: &ReadError| matches!(error, ReadError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    assert!(readable.frame(last).is_err_and(|error| gone(&error)));
    assert!(walker.step().is_err_and(|error| gone(&error)));
    assert!(Readable::open(dir.path(), 1).is_err_and(|error| gone(&error)));
}
