//! What comes out of the log: containers, downloads, and what a verifier makes of them.
use std::io::Cursor;

use host::shutdown::Shutdown;

use super::stamps::{Tsa, knows, log_signed, open_knowing, run, signed};
use super::*;
use crate::message_log::download::{AsicAnswer, AsicQuery, verification_conf};

fn query(rest: &str) -> AsicQuery {
    AsicQuery::parse(&format!(
        "xRoadInstance=DEV&memberClass=GOV&memberCode=consumer&subsystemCode=sub&{rest}"
    ))
    .unwrap()
}

async fn bytes_of(answer: AsicAnswer) -> Vec<u8> {
    let length = answer.body.len();
    let chunks: Vec<Bytes> = answer.body.stream().try_collect().await.unwrap();
    let all = chunks.concat();
    assert_eq!(all.len() as u64, length);
    all
}

fn entries(zip: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (entry.name().unwrap().into_owned(), content)
        })
        .collect()
}

fn names(zip: &[u8]) -> Vec<String> {
    entries(zip).into_iter().map(|(name, _)| name).collect()
}

/// Two exchanges with the message id `id-2`: records 1 to 4, request and response by turns, the fourth not stamped.
async fn log_with_documents(dir: &Path, tsa: &Tsa) -> (MessageLog, Shutdown) {
    let (log, timestamper, _) = open_knowing(dir, knows(&[tsa]), settings());
    for (number, direction, length) in
        [(1, Direction::Request, 10), (2, Direction::Response, 500_000), (3, Direction::Request, 0)]
    {
        let body = if length == 0 { vec![] } else { vec![spooled(&log, &noise(length, number), 9000).await] };
        let entry = Entry { direction, message_id: "id-2".into(), ..entry(number, &signed(number), body) };
        log.append(entry).await.unwrap();
    }
    let shutdown = run(timestamper);
    log.stamp_now(None).await.unwrap();
    log_signed(&log, 4..=4).await;
    (log, shutdown)
}

#[tokio::test]
async fn downloads_answer_like_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let (log, _shutdown) = log_with_documents(dir.path(), &tsa).await;
    let errors = [
        ("", 400, "Parameter \"queryId\"  must be specified."),
        ("queryId=", 400, "Parameter \"queryId\"  must be specified."),
        (
            "queryId=id-2&requestOnly&responseOnly",
            400,
            "Parameters \"requestOnly\" and \"responseOnly\" cannot be used at the same time.",
        ),
        ("queryId=nosuch", 404, "No signed documents found"),
        ("queryId=nosuch&unique", 404, "No signed documents found"),
        (
            "queryId=id-2&unique",
            400,
            "Parameter \"unique\" not applicable without \"requestOnly\" or \"responseOnly\".",
        ),
        ("queryId=id-4", 500, "Message signature has not been timestamped yet!"),
        ("queryId=id-2&requestOnly&unique", 500, "More than one signed document found"),
    ];
    for (asked, status, text) in errors {
        let answer = log.download(&query(asked)).await;
        assert_eq!((answer.status, answer.content_type), (status, "text/plain; charset=UTF-8"), "{asked}");
        assert_eq!(String::from_utf8(bytes_of(answer).await).unwrap(), text, "{asked}");
    }
    let mut other = query("queryId=id-2");
    other.client = member("provider");
    assert_eq!(log.download(&other).await.status, 404, "another client's documents");

    let both = log.download(&query("queryId=id-2")).await;
    assert_eq!((both.status, both.content_type), (200, "application/zip"));
    assert_eq!(both.disposition.as_deref(), Some("attachment; filename=\"id-2.zip\""));
    let expected = ["id-2-request-1.asice", "id-2-response-2.asice", "id-2-request-3.asice"];
    assert_eq!(names(&bytes_of(both).await), expected);

    let requests = log.download(&query("queryId=id-2&requestOnly")).await;
    assert_eq!(requests.disposition.as_deref(), Some("attachment; filename=\"id-2-request.zip\""));
    assert_eq!(names(&bytes_of(requests).await), ["id-2-request-1.asice", "id-2-request-3.asice"]);

    let unique = log.download(&query("queryId=id-2&responseOnly&unique")).await;
    assert_eq!((unique.status, unique.content_type), (200, "application/vnd.etsi.asic-e+zip"));
    assert_eq!(unique.disposition.as_deref(), Some("attachment; filename=\"id-2-response-2.asice\""));
    let container = entries(&bytes_of(unique).await);
    let body = container.iter().find(|(name, _)| name == "attachment1").unwrap();
    assert_eq!(body.1, noise(500_000, 2), "a body from the log's own frames");
    assert!(
        std::fs::read_dir(dir.path()).unwrap().all(|e| !e
            .unwrap()
            .path()
            .to_string_lossy()
            .contains("download"))
    );
}

#[tokio::test]
async fn force_stamps_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let (log, _shutdown) = log_with_documents(dir.path(), &tsa).await;
    tsa.down.store(true, Ordering::SeqCst);
    let failed = log.download(&query("queryId=id-4&force")).await;
    assert_eq!(failed.status, 500);
    assert_eq!(bytes_of(failed).await, b"Could not create missing timestamp!");
    assert_eq!(
        log.timestamping(),
        Timestamping::Healthy,
        "what a client asks for does not start the countdown"
    );
    tsa.down.store(false, Ordering::SeqCst);
    let forced = log.download(&query("queryId=id-4&force&requestOnly&unique")).await;
    assert_eq!(forced.status, 200);
    let container = entries(&bytes_of(forced).await);
    let signature = &container.iter().find(|(name, _)| name == "META-INF/signatures.xml").unwrap().1;
    assert!(
        pki::xades::Document::parse(signature).unwrap().timestamp.is_some(),
        "the token is in the signature"
    );
}

#[tokio::test]
async fn containers_hold_the_logged_bytes_and_their_proofs() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let (log, _shutdown) = log_with_documents(dir.path(), &tsa).await;
    log.indexed().await;
    assert!(
        log.read(RecordId(4)).unwrap().write_container(Cursor::new(Vec::new())).is_err(),
        "no stamp, no proof"
    );
    let record = log.read(RecordId(1)).unwrap();
    let mut out = Cursor::new(Vec::new());
    record.write_container(&mut out).unwrap();
    let found = entries(out.get_ref());
    let (result, chain) = record.stamp.as_ref().unwrap().batch.clone().unwrap();
    let (sig_result, sig_chain) = record.hash_chain.clone().unwrap();
    let expected: [(&str, &[u8]); 8] = [
        ("message.xml", &record.message),
        ("META-INF/signatures.xml", &record.signature),
        ("sig-hashchainresult.xml", &sig_result),
        ("sig-hashchain.xml", &sig_chain),
        ("ts-hashchainresult.xml", &result),
        ("ts-hashchain.xml", &chain),
        ("META-INF/timestamp.tst", &record.stamp.as_ref().unwrap().token),
        ("attachment1", &noise(10, 1)),
    ];
    for (name, content) in expected {
        let entry = found.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(entry.1, content, "{name}");
    }
}

#[test]
fn a_verification_conf_holds_what_a_verifier_needs_and_no_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("real");
    for instance in ["DEV", "OTHER"] {
        std::fs::create_dir_all(conf.join(instance)).unwrap();
        for (part, identifier) in
            [("shared-params.xml", "SHARED-PARAMETERS"), ("private-params.xml", "PRIVATE-PARAMETERS")]
        {
            std::fs::write(conf.join(instance).join(part), format!("<{instance} {part}/>")).unwrap();
            let metadata = format!(
                "{{\"contentIdentifier\":\"{identifier}\",\"instanceIdentifier\":\"{instance}\",\
                 \"expirationDate\":\"2026-11-21T18:00:00Z\",\"configurationVersion\":\"6\"}}"
            );
            std::fs::write(conf.join(instance).join(format!("{part}.metadata")), metadata).unwrap();
        }
    }
    std::fs::write(conf.join("instance-identifier"), "DEV").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&conf, &link).unwrap();
    for folder in [&conf, &link] {
        let mut found = entries(&verification_conf(folder).unwrap());
        found.sort();
        let texts: Vec<_> =
            found.iter().map(|(n, c)| (n.as_str(), std::str::from_utf8(c).unwrap())).collect();
        assert_eq!(
            texts,
            [
                ("verificationconf/DEV/shared-params.xml", "<DEV shared-params.xml/>"),
                ("verificationconf/DEV/shared-params.xml.metadata", "{\"configurationVersion\":\"6\"}"),
                ("verificationconf/OTHER/shared-params.xml", "<OTHER shared-params.xml/>"),
                ("verificationconf/OTHER/shared-params.xml.metadata", "{\"configurationVersion\":\"6\"}"),
                ("verificationconf/instance-identifier", "DEV"),
            ]
        );
    }
}
