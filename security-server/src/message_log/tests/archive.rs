//! Archiving, sending and retention with real files, a real timestamping service and real HTTP.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU16;

use host::http::{Limits, Peer, RequestBody, ResponseBody, Transport, full, read_all, serve};
use host::shutdown::Shutdown;
use http::{Request as HttpRequest, Response, StatusCode};
use pki::archive::Archive;

use super::stamps::{NOW, Tsa, knows, log_signed, open_knowing, run, signed, stop};
use super::*;
use crate::message_log::archive::target::Credentials;
use crate::message_log::archive::{ArchiveSettings, Grouping, Target};
use crate::message_log::crypt::Keys;
use crate::message_log::keeper::Keeper;
use crate::message_log::retention::RetentionSettings;

const CHILD: &str = "message_log::tests::archive::child_that_archives_and_removes";

pub(super) fn archiving(dir: &Path) -> LogSettings {
    let usual = settings();
    LogSettings {
        segment_bytes: 128 * 1024,
        archive: ArchiveSettings {
            interval: Some(Duration::from_secs(3600)),
            dir: Some(dir.join("archive")),
            ..usual.archive
        },
        // Not a day longer than they must.
        retention: RetentionSettings::default(),
        ..usual
    }
}

/// When all records of these tests are older than they are kept.
fn later() -> UnixTime {
    NOW.plus(Duration::from_secs(30 * 86_400))
}

pub(super) struct Setup {
    pub(super) dir: tempfile::TempDir,
    tsa: Tsa,
}

impl Setup {
    pub(super) async fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), tsa: Tsa::start().await }
    }
    pub(super) fn log_dir(&self) -> PathBuf {
        self.dir.path().join("log")
    }
    pub(super) fn open(&self, settings: LogSettings) -> (MessageLog, Keeper, Shutdown) {
        let (log, timestamper, clock) = open_knowing(&self.log_dir(), knows(&[&self.tsa]), settings);
        let keeper = Keeper::new(&log, clock, &[]).unwrap();
        (log, keeper, run(timestamper))
    }
    pub(super) fn archives(&self) -> Vec<PathBuf> {
        archives(self.dir.path())
    }
}

fn archives(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("archive")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "zip")).collect();
    found.sort();
    found
}

/// Walks the chains of all archives; names of the containers by chain position.
pub(super) fn check_chains(archives: &[PathBuf]) -> Vec<String> {
    let mut by_previous = BTreeMap::new();
    let mut starts = Vec::new();
    for path in archives {
        let archive = Archive::open(File::open(path).unwrap()).unwrap();
        match archive.previous().map(|(digest, _)| digest.to_owned()) {
            Some(previous) => {
                let fork = by_previous.insert(previous, archive);
                assert!(fork.is_none(), "two archives continue after the same one");
            }
            None => starts.push(archive),
        }
    }
    let mut names = Vec::new();
    for mut archive in starts {
        loop {
            while let Some(name) = archive.next(std::io::sink()).unwrap() {
                names.push(name);
            }
            match by_previous.remove(archive.digest()) {
                Some(next) => archive = next,
                None => break,
            }
        }
    }
    assert!(by_previous.is_empty(), "an archive continues after one that is not there");
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn stamped_records_are_archived_once_in_one_chain() {
    let setup = Setup::new().await;
    let (log, mut keeper, shutdown) = setup.open(archiving(setup.dir.path()));
    let mut expected = Vec::new();
    for round in 0..3_u64 {
        log_signed(&log, round * 10 + 1..=round * 10 + 10).await;
        log.stamp_now(None).await.unwrap();
        log_signed(&log, 1000..=1000).await; // Waits for its stamp, so it is not taken.
        assert_eq!(keeper.archive(NOW, None).await.unwrap(), if round == 0 { 10 } else { 11 });
        assert_eq!(keeper.archive(NOW, None).await.unwrap(), 0);
        expected.push(setup.archives().len());
    }
    assert_eq!(expected, [1, 2, 3]);
    let names = check_chains(&setup.archives());
    assert_eq!(names.len(), 32);
    assert_eq!(names[0], "id-1-response-1.asice");
    shutdown.stop();
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_group_has_its_own_chain_and_files_have_a_size() {
    let setup = Setup::new().await;
    let mut grouped = archiving(setup.dir.path());
    grouped.archive.grouping = Grouping::Subsystem;
    grouped.archive.max_file_bytes = 10_000;
    let (log, mut keeper, _shutdown) = setup.open(grouped);
    for number in 1..=40 {
        let client = member(["one", "two"][(number % 2) as usize]).into();
        log.append(Entry { client, ..entry(number, &signed(number), vec![]) }).await.unwrap();
    }
    log.stamp_now(None).await.unwrap();
    assert_eq!(keeper.archive(NOW, None).await.unwrap(), 40);
    let archives = setup.archives();
    let of = |group: &str| {
        archives.iter().filter(|path| path.to_string_lossy().contains(group)).cloned().collect()
    };
    let (one, two): (Vec<_>, Vec<_>) = (of("mlog-DEV_GOV_one_sub-"), of("mlog-DEV_GOV_two_sub-"));
    assert!(one.len() > 2 && two.len() > 2 && one.len() + two.len() == archives.len(), "{archives:?}");
    assert_eq!((check_chains(&one).len(), check_chains(&two).len()), (20, 20));
}

/// A server that takes files, or not.
#[derive(Default)]
struct Taker {
    status: AtomicU16,
    taken: Mutex<Vec<Taken>>,
}

/// Method and target, headers, body.
type Taken = (String, Vec<(String, String)>, Bytes);

async fn taker() -> (Arc<Taker>, String) {
    let taker = Arc::new(Taker::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = taker.clone();
    let handler = move |request: HttpRequest<RequestBody>, _: Arc<Peer>| {
        let state = state.clone();
        async move { take(request, &state).await }
    };
    tokio::spawn(serve(listener, Transport::Plain, Limits::default(), Shutdown::default(), handler));
    (taker, url)
}

async fn take(request: HttpRequest<RequestBody>, state: &Taker) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
    let body = read_all(body, 10_000_000).await.unwrap();
    let status = state.status.load(Ordering::SeqCst);
    if status == 200 {
        lock(&state.taken).push((format!("{} {}", head.method, head.uri), headers, body));
    }
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(full("said")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_before_the_target_has_it() {
    for s3 in [false, true] {
        let setup = Setup::new().await;
        let (taker, url) = taker().await;
        let mut sending = archiving(setup.dir.path());
        sending.archive.remove_sent = true;
        let credentials =
            Credentials { id: "key".into(), secret: "secret".to_owned().into(), region: "here".into() };
        let (bucket, prefix) = ("bucket".into(), "logs/".into());
        sending.archive.target = Some(match s3 {
            true => {
                let (endpoint, path_style, part_bytes) = (url.clone(), true, 5 << 20);
                Target::S3 { endpoint, bucket, prefix, path_style, credentials, part_bytes }
            }
            false => Target::Post { url: format!("{url}/upload") },
        });
        let (log, mut keeper, shutdown) = setup.open(sending.clone());
        log_signed(&log, 1..=60).await;
        log.stamp_now(None).await.unwrap();
        keeper.archive(NOW, None).await.unwrap();
        taker.status.store(503, Ordering::SeqCst);
        let error = keeper.send(&shutdown).await.unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("said"), "{error}");
        assert_eq!(keeper.clean(later()).await.unwrap(), 0, "it was not sent");
        // A new process goes on where this one stopped.
        stop(&shutdown).await;
        log.close().await;
        drop((log, keeper));
        let (log, mut keeper, shutdown) = setup.open(sending);
        let file = setup.archives().remove(0);
        let content = std::fs::read(&file).unwrap();
        taker.status.store(200, Ordering::SeqCst);
        keeper.send(&shutdown).await.unwrap();
        let taken = std::mem::take(&mut *lock(&taker.taken));
        let [(target, headers, body)] = taken.as_slice() else { panic!("{} files", taken.len()) };
        let name = file.file_name().unwrap().to_str().unwrap();
        if s3 {
            assert_eq!(*target, format!("PUT /bucket/logs/{name}"));
            assert_eq!(*body, content);
            let header =
                |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap();
            assert_eq!(
                header("x-amz-content-sha256"),
                hex::encode(DigestAlgorithm::Sha256.digest(&content).value)
            );
            assert!(header("authorization").contains("Credential=key/"));
        } else {
            assert_eq!(target, "POST /upload");
            assert!(memchr::memmem::find(body, &content).is_some());
            assert!(memchr::memmem::find(body, format!("filename=\"{name}\"").as_bytes()).is_some());
        }
        assert!(setup.archives().is_empty(), "the target has it");
        assert!(keeper.clean(later()).await.unwrap() > 0);
        shutdown.stop();
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_go_whole_when_their_time_has_come_and_the_rest_still_verifies() {
    let setup = Setup::new().await;
    let day = Duration::from_secs(86_400);
    let mut keeping = archiving(setup.dir.path());
    keeping.retention = RetentionSettings {
        keep: 10 * day,
        keep_subsystems: [(member("long"), 100 * day)].into(),
        ..RetentionSettings::default()
    };
    let (log, mut keeper, shutdown) = setup.open(keeping.clone());
    log_signed(&log, 1..=120).await;
    log.append(Entry { client: member("long").into(), ..entry(121, &signed(121), vec![]) }).await.unwrap();
    log_signed(&log, 122..=240).await;
    log.stamp_now(None).await.unwrap();
    assert_eq!(keeper.clean(NOW.plus(50 * day)).await.unwrap(), 0, "it was not archived");
    keeper.archive(NOW, None).await.unwrap();
    assert_eq!(keeper.clean(NOW.plus(9 * day)).await.unwrap(), 0, "too young");
    keeper.head(NOW).await.unwrap();
    let before = log.verify().await.unwrap();
    let removed = keeper.clean(NOW.plus(11 * day)).await.unwrap();
    assert!(removed >= 2, "{removed} of {}", before.segments);
    assert!(log.read(RecordId(1)).is_err() && log.find("id-1", &member("consumer")).unwrap().is_empty());
    assert_eq!(log.read(RecordId(121)).unwrap().message_id, "id-121", "its subsystem keeps longer");
    assert!(log.read(RecordId(121)).unwrap().stamp.is_some());
    let after = log.verify().await.unwrap();
    assert_eq!(after.damage, []);
    assert_eq!(after.expired + after.records, 240);
    // The log goes on, also after a restart without its index.
    log_signed(&log, 241..=250).await;
    stop(&shutdown).await;
    log.close().await;
    drop((log, keeper));
    std::fs::remove_dir_all(setup.log_dir().join("index")).unwrap();
    let (log, mut keeper, shutdown) = setup.open(keeping);
    assert_eq!(log.verify().await.unwrap().damage, []);
    assert_eq!(log.unstamped(), 10, "stamps of what has gone are not waited for");
    log.stamp_now(None).await.unwrap();
    keeper.archive(NOW, None).await.unwrap();
    assert_eq!(check_chains(&setup.archives()).len(), 250);
    assert!(keeper.clean(NOW.plus(200 * day)).await.unwrap() >= 1);
    assert_eq!(log.verify().await.unwrap().damage, []);
    // A segment that is gone without a mark is missed.
    let mark = std::fs::read_dir(setup.log_dir().join("expired")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(mark).unwrap();
    let damage = log.verify().await.unwrap().damage;
    assert!(damage.iter().any(|d| d.what.contains("missing")), "{damage:?}");
    shutdown.stop();
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_go_first_when_space_runs_out() {
    let setup = Setup::new().await;
    let mut small = archiving(setup.dir.path());
    small.retention = RetentionSettings {
        keep: Duration::from_secs(1 << 30),
        max_bytes: Some(300 * 1024),
        ..RetentionSettings::default()
    };
    let (log, mut keeper, _shutdown) = setup.open(small);
    log_signed(&log, 1..=120).await;
    log.stamp_now(None).await.unwrap();
    keeper.archive(NOW, None).await.unwrap();
    assert!(keeper.clean(later()).await.unwrap() >= 1);
    assert!(log.read(RecordId(1)).is_err() && log.read(RecordId(120)).is_ok());
}

/// Without the timestamps that come once a minute, which would be too late for a log that is full in seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_near_its_size_is_stamped_archived_and_cut_in_one_round() {
    for (max_bytes, pressed) in [(None, false), (Some(64 << 20), false), (Some(300 * 1024), true)] {
        let setup = Setup::new().await;
        let mut small = archiving(setup.dir.path());
        small.archive.max_file_bytes = u64::MAX;
        small.timestamp_records = 50.try_into().unwrap();
        small.retention = RetentionSettings {
            keep: Duration::from_secs(1 << 30),
            max_bytes,
            interval: Duration::from_secs(1 << 30),
            ..RetentionSettings::default()
        };
        let (log, mut keeper, shutdown) = setup.open(small);
        // What is due once a start is behind it.
        keeper.round(NOW, &shutdown).await;
        log_signed(&log, 1..=120).await;
        let pause = keeper.round(NOW, &shutdown).await;
        log.indexed().await;
        assert_eq!(log.unstamped(), if pressed { 0 } else { 120 }, "{max_bytes:?}");
        assert_eq!(setup.archives().len(), usize::from(pressed), "{max_bytes:?}");
        assert_eq!(log.read(RecordId(1)).is_err(), pressed, "{max_bytes:?}");
        assert!(log.read(RecordId(120)).is_ok());
        assert_eq!(pause < Duration::from_secs(20), max_bytes.is_some(), "{max_bytes:?}");
        // Too few for a batch of their own wait for their time.
        log_signed(&log, 121..=140).await;
        keeper.round(NOW, &shutdown).await;
        assert_eq!(log.unstamped(), if pressed { 20 } else { 140 }, "{max_bytes:?}");
        assert_eq!(log.verify().await.unwrap().damage, []);
        shutdown.stop();
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_lies_in_an_older_segment_keeps_it() {
    let setup = Setup::new().await;
    let (log, mut keeper, _shutdown) = setup.open(archiving(setup.dir.path()));
    let body = noise(5_000, 1);
    let held = spooled(&log, &body, 1000).await;
    log_signed(&log, 1..=120).await;
    log.stamp_now(None).await.unwrap();
    keeper.archive(NOW, None).await.unwrap();
    assert_eq!(keeper.clean(later()).await.unwrap(), 0, "an exchange under way uses the first segment");
    let id = log.append(entry(500, &signed(500), vec![held])).await.unwrap().id;
    assert!(keeper.clean(later()).await.unwrap() > 0, "those behind it may go");
    let stays = |number| store::segment::path_of(&setup.log_dir(), number).is_file();
    assert!(stays(1) && !stays(2), "a record has its body in the first");
    log.indexed().await;
    assert_eq!(body_of(&log.read(id).unwrap().attachments[0]).await, body);
}

/// The child's part: logs, stamps, archives and removes until it is killed, and says what was acknowledged.
#[test]
fn child_that_archives_and_removes() {
    let Some(dir) = std::env::var_os("CAUSEWAY_TEST_ARCHIVE") else { return };
    let dir = PathBuf::from(dir);
    let first: u64 = std::env::var("CAUSEWAY_TEST_FIRST").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let tsa = Tsa::start().await;
        let mut killed = archiving(&dir);
        killed.archive.max_file_bytes = 20_000;
        let (log, timestamper, clock) = open_knowing(&dir.join("log"), knows(&[&tsa]), killed);
        let mut keeper = Keeper::new(&log, clock, &[]).unwrap();
        let _shutdown = run(timestamper);
        let document = signed(first);
        for number in first.. {
            let body = spooled(&log, &noise(if number % 7 == 0 { 20_000 } else { 10 }, number), 9_000).await;
            let id = log.append(entry(number, &document, vec![body])).await.unwrap().id;
            std::io::stderr().write_all(format!("ack {} {number}\n", id.0).as_bytes()).unwrap();
            if number % 20 == 0 {
                log.stamp_now(None).await.unwrap();
                keeper.archive(NOW, None).await.unwrap();
                keeper.head(NOW).await.unwrap();
                keeper.clean(later()).await.unwrap();
            }
        }
    });
}

/// Whatever moment the process is killed at: every acknowledged record is in exactly one archive or in the log, and chains hold.
#[test]
fn being_killed_while_archiving_and_removing_loses_nothing() {
    let rounds = if std::env::var_os("CAUSEWAY_SLOW").is_some() { 200 } else { 5 };
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture"])
            .env("CAUSEWAY_TEST_ARCHIVE", dir.path())
            .env("CAUSEWAY_TEST_FIRST", (1 + round * 1_000_000).to_string())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let wanted = 25 + (round * 13) % 40;
        let (mut seen, mut killed) = (0, false);
        for line in lines.map_while(Result::ok) {
            let Some((id, number)) = line.strip_prefix("ack ").and_then(|l| l.split_once(' ')) else {
                continue;
            };
            acknowledged.insert(id.parse::<u64>().unwrap(), number.parse::<u64>().unwrap());
            seen += 1;
            if seen >= wanted && !killed {
                std::thread::sleep(Duration::from_millis((round * 7) % 25));
                process.kill().unwrap(); // SIGKILL
                killed = true;
            }
        }
        process.wait().unwrap();
        assert!(seen >= wanted, "round {round}: only {seen}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut archived, mut logged) = (0, 0);
    runtime.block_on(async {
        let tsa = Tsa::start().await;
        let (log, _timestamper, clock) =
            open_knowing(&dir.path().join("log"), knows(&[&tsa]), archiving(dir.path()));
        let _keeper = Keeper::new(&log, clock, &[]).unwrap();
        let report = log.verify().await.unwrap();
        assert_eq!(report.damage, []);
        assert!(report.expired > 0, "nothing was removed");
        let names = check_chains(&archives(dir.path()));
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "a record was archived twice");
        for (id, number) in &acknowledged {
            let in_archive = names.iter().any(|name| name.starts_with(&format!("id-{number}-")));
            let in_log =
                log.read(RecordId(*id)).is_ok_and(|record| record.message_id == format!("id-{number}"));
            assert!(in_archive || in_log, "record {id}");
            (archived, logged) = (archived + u64::from(in_archive), logged + u64::from(in_log));
        }
        log.close().await;
    });
    println!("{rounds} kills, {} records, {archived} archived, {logged} in the log", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_signed_stamped_and_handed_over_and_hold_offline() {
    let setup = Setup::new().await;
    let (taker, url) = taker().await;
    taker.status.store(200, Ordering::SeqCst);
    let outside = tempfile::tempdir().unwrap();
    let mut with_holders = archiving(setup.dir.path());
    with_holders.heads.folder = Some(outside.path().to_owned());
    with_holders.heads.url = Some(format!("{url}/heads"));
    let (log, mut keeper, shutdown) = setup.open(with_holders);
    let mut held = Vec::new();
    for last in [3, 700] {
        log_signed(&log, if last == 3 { 1..=3 } else { 4..=700 }).await;
        keeper.head(NOW).await.unwrap();
        let [(target, _, note)] = std::mem::take(&mut *lock(&taker.taken)).try_into().unwrap();
        assert_eq!(target, "POST /heads");
        let name = format!("{}-{last:020}.head", log.public_key().name().replace('/', "-"));
        assert_eq!(std::fs::read(outside.path().join(name)).unwrap(), note);
        let text = log.public_key().open(std::str::from_utf8(&note).unwrap()).unwrap().to_owned();
        held.push(pki::note::Checkpoint::parse(&text).unwrap());
    }
    keeper.head(NOW).await.unwrap();
    shutdown.stop();
    log.close().await;
    let offline = offline::Offline::open(&setup.log_dir(), Keys::default()).unwrap();
    let key = log.public_key();
    assert_eq!(offline.verify(Some(key)).unwrap().damage, []);
    let report = offline.verify_tree(Some(key)).unwrap();
    assert_eq!((report.size, report.heads, report.stamped_heads), (700, 2, 2), "{:?}", report.problems);
    assert_eq!((report.compared, report.problems.len()), (700, 0));
    let line =
        offline.find(&offline::Filter { record: Some(300), ..Default::default() }, 1).unwrap().remove(0);
    let (size, proof) = offline.inclusion(300, None).unwrap();
    let leaf = pki::merkle::leaf(&line.leaf);
    assert!(pki::merkle::is_included(&leaf, 299, size, &proof, &held[1].root));
    let (_, proof) = offline.consistency(3, None).unwrap();
    assert!(pki::merkle::is_consistent(3, &held[0].root, size, &held[1].root, &proof));
    // A leaf that was changed afterwards contradicts the record and every head behind it.
    let leaves = setup.log_dir().join("tree/leaves");
    let mut bytes = std::fs::read(&leaves).unwrap();
    bytes[32 * 9] ^= 1;
    std::fs::write(&leaves, bytes).unwrap();
    let problems = offline.verify_tree(Some(key)).unwrap().problems;
    assert!(problems[0].contains("record 10 is not the one"), "{problems:?}");
    assert!(problems[1].contains("hashes above the leaves"), "{problems:?}");
}

/// A damaged record costs itself: the others of its segment are archived, it is named, and the segment goes when its time has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_reported_and_does_not_keep_its_segment() {
    let setup = Setup::new().await;
    let (log, mut keeper, shutdown) = setup.open(archiving(setup.dir.path()));
    log_signed(&log, 1..=240).await;
    log.stamp_now(None).await.unwrap();
    let path = store::segment::path_of(&setup.log_dir(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let message = entry(5, &signed(5), vec![]).message;
    let at = bytes.windows(message.len()).position(|window| window == message).unwrap();
    bytes[at + 3] ^= 4;
    File::options().write(true).open(&path).unwrap().write_all(&bytes).unwrap();
    keeper.archive(NOW, None).await.unwrap();
    let archived = check_chains(&setup.archives());
    assert_eq!(archived.len(), 239, "all but one");
    let damaged = || offline::Offline::open(&setup.log_dir(), Keys::default()).unwrap().damaged();
    assert_eq!(damaged().unwrap(), (vec![5], vec![]));
    assert!(keeper.clean(later()).await.unwrap() >= 1);
    assert!(!path.exists(), "its time has come");
    let kept = std::fs::read(setup.log_dir().join("damaged/0000000001.frames")).unwrap();
    let piece = &bytes[at..at + message.len()];
    assert!(kept.windows(piece.len()).any(|window| window == piece), "as it stood there");
    log_signed(&log, 241..=242).await;
    log.stamp_now(None).await.unwrap();
    keeper.archive(NOW, None).await.unwrap();
    assert_eq!(damaged().unwrap(), (vec![], vec![5]), "it is not forgotten");
    assert_eq!(log.verify().await.unwrap().damage, []);
    stop(&shutdown).await;
    log.close().await;
}
