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

/// The key file of an operator who rotates: each text is another year of it.
fn keys(text: &str) -> LogSettings {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    LogSettings { keys: Arc::new(crate::message_log::crypt::Keys::read(file.path()).unwrap()), ..settings() }
}

#[tokio::test]
async fn after_rotation_old_records_open_with_old_keys_and_a_lost_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, three) = ("1".repeat(64), "2".repeat(64), "3".repeat(64));
    let years = [
        format!("key 2025 {one}\nuse * 2025\n"),
        format!("key 2025 {one}\nkey 2026 {two}\nuse * 2026\n"),
        format!("key 2025 {one}\nkey 2026 {two}\nkey own {three}\nuse * 2026\nuse DEV/GOV/consumer own\n"),
    ];
    for (number, year) in (1..).zip(&years) {
        let log = try_open(dir.path(), keys(year), Faults::default()).unwrap();
        let body = spooled(&log, &noise(100_000, number), 200_000).await;
        log.append(entry(number, &signature(number), vec![body])).await.unwrap();
        log.indexed().await;
        for earlier in 1..=number {
            let record = log.read(RecordId(earlier)).unwrap();
            assert_is(&record, earlier);
            assert_eq!(body_of(&record.attachments[0]).await, noise(100_000, earlier), "{number}: {earlier}");
        }
        close(log).await;
    }
    let readable = |text: String| {
        let dir = dir.path().to_owned();
        async move {
            let log = try_open(&dir, keys(&text), Faults::default()).unwrap();
            let read =
                [1, 2, 3].map(|number| log.read(RecordId(number)).map(drop).map_err(|e| e.to_string()));
            close(log).await;
            read
        }
    };
    let [first, second, third] = readable(format!("key 2026 {two}\nkey own {three}\nuse * 2026\n")).await;
    assert_eq!((second, third), (Ok(()), Ok(())));
    let error = first.unwrap_err();
    assert!(error.contains("encrypted with key 2025, which is not in encryption-keys-file"), "{error}");
    // Another secret under the old name is no key either.
    let [first, second, _] = readable(format!("key 2025 {two}\nkey 2026 {two}\nuse * 2026\n")).await;
    assert_eq!(second, Ok(()));
    let error = first.unwrap_err();
    assert!(error.contains("does not open with key 2025"), "{error}");
}
