//! Encryption at rest: nothing readable in the files, everything readable with the keys.
use super::policy::is_in_files;
use super::*;
use crate::message_log::crypt::tests::two_keys;

#[tokio::test]
async fn messages_and_bodies_are_in_no_file_in_clear_and_come_back_with_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = |keys| LogSettings { keys: Arc::new(keys), ..settings() };
    let log = try_open(dir.path(), sealed(two_keys("DEV/GOV/consumer")), Faults::default()).unwrap();
    let lengths = [0, 500, 1001, 131_072, 131_073, 400_000];
    for (number, length) in (1..).zip(lengths) {
        let body = noise(length, number);
        let stored = spooled(&log, &body, 9_999).await;
        let small = Stored::from(Bytes::from_static(b"a second body to look for"));
        let logged = log.append(entry(number, &signature(number), vec![stored, small])).await.unwrap();
        assert_eq!(body_of(&logged.attachments[0]).await, body, "released from where it lies");
        if length > 100 {
            assert!(!is_in_files(dir.path(), &body[50..90]), "{length}");
        }
    }
    for secret in ["message 1", "<chain of 2/>", "a second body to look for"] {
        assert!(!is_in_files(dir.path(), secret.as_bytes()), "{secret}");
    }
    assert!(is_in_files(dir.path(), b"<signature 1/>"), "signature documents stay as they are");
    assert_eq!(log.verify().await.unwrap().damage, [], "without a key");
    close(log).await;
    // The member's key has changed since; the older one is still there.
    let log = try_open(dir.path(), sealed(two_keys("DEV/GOV/other")), Faults::default()).unwrap();
    for (number, length) in (1..).zip(lengths) {
        let record = log.read(RecordId(number)).unwrap();
        assert_is(&record, number);
        assert_eq!(body_of(&record.attachments[0]).await, noise(length, number));
        assert_eq!(body_of(&record.attachments[1]).await, b"a second body to look for");
    }
    append(&log, 7).await.unwrap();
    close(log).await;
    // Without keys there is only what says who and when.
    let log = open(dir.path());
    let error = log.read(RecordId(1)).unwrap_err().to_string();
    assert!(error.contains("key"), "{error}");
    close(log).await;
}
