//! Records of messages whose bodies are not logged, and of bodies above the loggable size.
use super::*;

const REQUEST: &str = "POST\r\n/r1/DEV/GOV/provider/sub/service/path?secret=1\r\nAuthorization:x\r\n\
                       X-Road-Client:DEV/GOV/consumer/sub\r\nx-road-request-id:u\r\nx-road-id:id-2\r\n";

/// Whether `needle` stands anywhere in a file below `dir`.
pub(super) fn is_in_files(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_in_files(&path, needle),
            false => memchr::memmem::find(&std::fs::read(&path).unwrap(), needle).is_some(),
        }
    })
}

fn request(body: Stored) -> Entry {
    let message = Bytes::from(REQUEST);
    let parts = vec![("/message.xml".into(), DigestAlgorithm::Sha512.digest(&message))].into();
    Entry { message, parts, ..entry(2, &signature(2), vec![body]) }
}

#[tokio::test]
async fn bodies_that_are_not_logged_pass_and_reach_no_file_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let none = LogSettings { bodies: BodyLogging::default(), ..settings() };
    let log = try_open(dir.path(), none, Faults::default()).unwrap();
    for length in [500, 5_000, 300_000] {
        let body = noise(length, 77);
        let stored = spooled(&log.for_producer(&member("provider"), true), &body, 9_999).await;
        let logged = log.append(request(stored)).await.unwrap();
        assert_eq!(body_of(&logged.attachments[0]).await, body, "it goes on to whoever it is for");
        log.indexed().await;
        let record = log.read(logged.id).unwrap();
        assert!(record.stripped && record.attachments[0].is_left_out());
        assert_eq!(record.parts[0].1, DigestAlgorithm::Sha512.digest(REQUEST.as_bytes()), "as it was signed");
        let left = String::from_utf8(record.message.to_vec()).unwrap();
        assert!(left.starts_with("POST\r\n/r1/DEV/GOV/provider/sub/service\r\nX-Road-Client:"), "{left}");
        for secret in [&body[100..140], b"secret", b"Authorization"] {
            assert!(!is_in_files(dir.path(), secret), "{length}");
        }
    }
    assert_eq!(log.verify().await.unwrap().damage, []);
}

#[tokio::test]
async fn larger_bodies_pass_when_they_may_and_leave_their_digest() {
    let dir = tempfile::tempdir().unwrap();
    let limited = LogSettings { max_body_bytes: 400_000, larger_bodies_pass: true, ..settings() };
    let log = try_open(dir.path(), limited, Faults::default()).unwrap();
    for (length, kept) in [(400_000, true), (400_001, false), (3_000_000, false)] {
        let body = noise(length, 5);
        let stored = spooled(&log, &body, 30_000).await;
        assert_eq!(stored.len(), length as u64);
        let small = Stored::from(Bytes::from_static(b"second"));
        let entry = Entry { attachments: vec![stored, small], ..entry(3, &signature(3), vec![]) };
        let logged = log.append(entry).await.unwrap();
        assert_eq!(body_of(&logged.attachments[0]).await, body, "{length}");
        log.indexed().await;
        let record = log.read(logged.id).unwrap();
        assert!(!record.stripped);
        assert_eq!(record.attachments[0].is_left_out(), !kept, "{length}");
        assert_eq!(record.attachments[0].len(), length as u64);
        assert_eq!(body_of(&record.attachments[1]).await, b"second");
    }
    assert_eq!(log.verify().await.unwrap().damage, []);
}

/// What has gone on already and no record will hold is nobody's: not a byte of it is kept, in memory or in a file.
#[tokio::test]
async fn a_body_that_was_passed_on_is_kept_for_the_log_alone() {
    let dir = tempfile::tempdir().unwrap();
    let limited = LogSettings { max_body_bytes: 400_000, larger_bodies_pass: true, ..settings() };
    let log = try_open(dir.path(), limited, Faults::default()).unwrap();
    let unlogged = MessageLog { keeps_bodies: false, ..log.clone() };
    for (log, length, kept) in
        [(&log, 500, true), (&log, 400_000, true), (&log, 400_001, false), (&unlogged, 500, false)]
    {
        let body = noise(length, 6);
        let mut spool = log.spool().passed_on();
        for chunk in body.chunks(30_000) {
            spool.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        let stored = spool.finish().await.unwrap();
        assert_eq!((stored.len(), stored.is_left_out()), (length as u64, !kept));
        let entry = Entry { attachments: vec![stored], ..entry(4, &signature(4), vec![]) };
        let logged = log.append(entry).await.unwrap();
        log.indexed().await;
        let record = log.read(logged.id).unwrap();
        assert_eq!(
            (record.attachments[0].len(), record.attachments[0].is_left_out()),
            (length as u64, !kept)
        );
        if kept {
            assert_eq!(body_of(&record.attachments[0]).await, body);
        }
    }
    assert_eq!(log.verify().await.unwrap().damage, []);
}

/// What is announced as too long for the log does not touch its segments; what is announced as short enough lies there as ever.
#[tokio::test]
async fn an_announced_length_decides_before_the_first_byte() {
    let dir = tempfile::tempdir().unwrap();
    let limited = LogSettings { max_body_bytes: 400_000, larger_bodies_pass: true, ..settings() };
    let log = try_open(dir.path(), limited, Faults::default()).unwrap();
    let cases = [(400_000, Some(400_000), true), (400_001, Some(400_001), false), (400_001, None, false)];
    for (seed, (length, announced, kept)) in (10..).step_by(2).zip(cases) {
        let body = noise(length, seed);
        let mut spool = log.spool().announced(announced);
        for chunk in body.chunks(30_000) {
            spool.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        let stored = spool.finish().await.unwrap();
        assert_eq!(body_of(&stored).await, body, "{length}");
        assert_eq!(stored.is_for_log(), kept, "{length}");
        let untouched = announced.is_some() && !kept;
        assert_eq!(is_in_files(dir.path(), &body[100..140]), !untouched, "{length}, {announced:?}");
    }
}
