//! Timestamps by a service of our own over real HTTP.
use std::sync::atomic::{AtomicBool, AtomicU32};

use host::http::{Limits, Peer, RequestBody, ResponseBody, Transport, full, read_all, serve};
use host::shutdown::Shutdown;
use http::{Request as HttpRequest, Response, StatusCode};
use pki::algorithm::EcdsaForm;
use pki::cert::Certificate;
use pki::hash_chain;
use pki::issue::{self, Role};
use pki::key::{KeyKind, PrivateKey};
use pki::tsp::Token;
use pki::tsp::stamp::{Request as StampRequest, Stamper, grant};
use pki::xades::{Document as Signature, Template};

use super::*;
use crate::message_log::timestamper::{TimestampError, Timestamper};

pub(super) const NOW: UnixTime = UnixTime(1_700_000_000_000);

fn certified(role: Role) -> (Certificate, PrivateKey) {
    static SERIAL: AtomicU32 = AtomicU32::new(1);
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let template = issue::Template {
        subject: &vec![("2.5.4.3", format!("{role:?}"))],
        role,
        serial: &SERIAL.fetch_add(1, Ordering::SeqCst).to_be_bytes(),
        not_before: UnixTime(0),
        not_after: UnixTime(2_000_000_000_000),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    (issue::self_signed(&template, &key).unwrap(), key)
}

/// A timestamping service and what a server knows of it.
pub(super) struct Tsa {
    url: String,
    cert: Certificate,
    pub(super) down: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Tsa {
    pub(super) async fn start() -> Self {
        let (cert, key) = certified(Role::Timestamping);
        Self::start_with(cert, key, NOW).await
    }
    pub(super) async fn start_with(cert: Certificate, key: PrivateKey, at: UnixTime) -> Self {
        let (down, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state = Arc::new(State { cert: cert.clone(), key, at, down: down.clone(), asked: asked.clone() });
        let handler = move |request: HttpRequest<RequestBody>, _: Arc<Peer>| {
            let state = state.clone();
            async move { answer(request, &state).await }
        };
        tokio::spawn(serve(listener, Transport::Plain, Limits::default(), Shutdown::default(), handler));
        Self { url, cert, down, asked }
    }
    fn asked(&self) -> u32 {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

struct State {
    cert: Certificate,
    key: PrivateKey,
    at: UnixTime,
    down: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

async fn answer(request: HttpRequest<RequestBody>, state: &State) -> Response<ResponseBody> {
    assert_eq!(request.headers()["content-type"], "application/timestamp-query");
    let serial = u64::from(state.asked.fetch_add(1, Ordering::SeqCst)) + 1;
    let query = read_all(request.into_body(), 10_000).await.unwrap();
    if state.down.load(Ordering::SeqCst) {
        return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(full("down")).unwrap();
    }
    let request = StampRequest::parse(&query).unwrap();
    let stamper = Stamper { cert: &state.cert, key: &state.key, policy: "1.2.3" };
    Response::new(full(grant(&request, stamper, serial, state.at).unwrap()))
}

#[derive(Debug)]
pub(super) struct Known {
    services: Vec<(String, String)>,
    trusted: Option<Vec<Certificate>>,
    freshness: Option<Duration>,
}

impl Surroundings for Known {
    fn services(&self) -> Vec<(String, String)> {
        self.services.clone()
    }
    fn has_services(&self) -> bool {
        !self.services.is_empty()
    }
    fn trusted(&self, _: UnixTime) -> Option<Vec<Certificate>> {
        self.trusted.clone()
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }
    fn freshness(&self) -> Option<Duration> {
        self.freshness
    }
}

pub(super) fn knows(tsas: &[&Tsa]) -> Arc<Known> {
    let services = tsas.iter().zip(1..).map(|(tsa, n)| (format!("tsa{n}"), tsa.url.clone())).collect();
    Arc::new(Known {
        services,
        trusted: Some(tsas.iter().map(|tsa| tsa.cert.clone()).collect()),
        freshness: None,
    })
}

pub(super) fn open_knowing(
    dir: &Path,
    known: Arc<Known>,
    settings: LogSettings,
) -> (MessageLog, Timestamper, Clock) {
    let clock = Clock::fixed(NOW);
    let (log, timestamper) =
        MessageLog::open_with(dir, settings, clock.clone(), known, Faults::default()).unwrap();
    (log, timestamper, clock)
}

/// A real signature document over `message.xml`; each is another.
pub(super) fn signed(number: u64) -> Bytes {
    let (cert, key) = certified(Role::Signing);
    let digest = DigestAlgorithm::Sha512.digest(format!("message {number}").as_bytes());
    let unsigned = Template::new(&cert, &[], &[vec![0x30, 0]], key.default_algorithm()).prepare(
        "/message.xml",
        &digest,
        NOW,
    );
    let value = key.sign(key.default_algorithm(), EcdsaForm::Raw, unsigned.signed_info()).unwrap();
    unsigned.finish(&value).into()
}

pub(super) async fn log_signed(log: &MessageLog, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        log.append(entry(number, &signed(number), vec![])).await.unwrap();
    }
}

/// What a verifier would check: the token is for this record and nothing else.
fn assert_stamped(record: &Record, tsa: &Tsa) {
    let stamp = record.stamp.as_ref().unwrap_or_else(|| panic!("record {} has no stamp", record.id.0));
    let token = Token::parse(&stamp.token).unwrap();
    assert!(
        token.certificates().iter().any(|cert| cert == tsa.cert.der()),
        "the certificate is in the token"
    );
    let stamped = match &stamp.batch {
        Some((result, chain)) => {
            let part =
                [(hash_chain::SIGNATURES_URI.to_owned(), DigestAlgorithm::Sha512.digest(&record.signature))];
            hash_chain::verify(result, chain, hash_chain::TIMESTAMP_CHAIN_URI, &part, false).unwrap();
            result.to_vec()
        }
        None => Signature::parse(&record.signature).unwrap().value,
    };
    let (at, _) = token.verify(&stamped, std::slice::from_ref(&tsa.cert)).unwrap();
    assert_eq!((at, stamp.at), (NOW, NOW));
}

/// Runs a timestamper that stamps when it is told to; its own first time is too far off to come, however slow the machine.
pub(super) fn run(mut timestamper: Timestamper) -> Shutdown {
    timestamper.first_after = timestamper::MAX_INTERVAL;
    run_as_it_is(timestamper)
}

fn run_as_it_is(timestamper: Timestamper) -> Shutdown {
    let shutdown = Shutdown::default();
    let (running, busy) = (timestamper.run(shutdown.clone()), shutdown.busy());
    tokio::spawn(async move {
        running.await;
        drop(busy);
    });
    shutdown
}

/// Stops a timestamper, and waits until it has let go of the log.
pub(super) async fn stop(shutdown: &Shutdown) {
    shutdown.stop();
    assert!(shutdown.drained(Duration::from_secs(60)).await, "it ends");
}

#[tokio::test]
async fn many_share_one_token_and_one_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let limited = LogSettings { timestamp_records: NonZeroUsize::new(5).unwrap(), ..settings() };
    let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), limited.clone());
    log_signed(&log, 1..=12).await;
    let shutdown = run(timestamper);
    log.stamp_now(Some(RecordId(3))).await.unwrap();
    assert_eq!(tsa.asked(), 1);
    log.stamp_now(Some(RecordId(3))).await.unwrap();
    assert_eq!(tsa.asked(), 0, "it has a stamp");
    log.stamp_now(None).await.unwrap();
    assert_eq!(tsa.asked(), 3, "5 + 5 + 1 records");
    log.indexed().await;
    assert_eq!(log.unstamped(), 0);
    shutdown.stop();
    log.close().await;
    for (number, alone) in (1..=12).map(|n| (n, n == 3 || n == 12)) {
        let record = log.read(RecordId(number)).unwrap();
        assert_stamped(&record, &tsa);
        assert_eq!(record.stamp.unwrap().batch.is_none(), alone, "{number}");
    }
    assert_eq!(log.verify().await.unwrap().stamped, 12);
}

#[tokio::test]
async fn stamps_survive_restarts_and_the_loss_of_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), settings());
    log_signed(&log, 1..=4).await;
    let shutdown = run(timestamper);
    log.stamp_now(None).await.unwrap();
    log_signed(&log, 5..=6).await;
    stop(&shutdown).await;
    log.close().await;
    drop(log);
    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let (log, _timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), settings());
        assert_eq!(log.unstamped(), 2, "index lost: {lost}");
        (1..=4).for_each(|number| assert_stamped(&log.read(RecordId(number)).unwrap(), &tsa));
        assert!(log.read(RecordId(5)).unwrap().stamp.is_none());
        close(log).await;
    }
}

#[tokio::test]
async fn the_next_service_is_asked_when_one_fails_or_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let (down, stranger, good) = (Tsa::start().await, Tsa::start().await, Tsa::start().await);
    down.down.store(true, Ordering::SeqCst);
    let mut known = Arc::into_inner(knows(&[&down, &stranger, &good])).unwrap();
    known.trusted.as_mut().unwrap().remove(1);
    let (log, timestamper, _) = open_knowing(dir.path(), Arc::new(known), settings());
    log_signed(&log, 1..=2).await;
    let _shutdown = run(timestamper);
    log.stamp_now(None).await.unwrap();
    log.indexed().await;
    assert_stamped(&log.read(RecordId(1)).unwrap(), &good);
    assert_eq!(log.read(RecordId(1)).unwrap().stamp.unwrap().service, "tsa3");
    assert_eq!((down.asked(), stranger.asked(), good.asked()), (1, 1, 1));
}

#[tokio::test]
async fn an_outage_stops_messages_only_after_the_acceptable_period_and_a_restart_does_not_forget_it() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let four_hours = Duration::from_secs(14_400);
    let limited = LogSettings { acceptable_timestamp_failure: Some(four_hours), ..settings() };
    let (log, timestamper, clock) = open_knowing(dir.path(), knows(&[&tsa]), limited.clone());
    log_signed(&log, 1..=3).await;
    let shutdown = run(timestamper);
    tsa.down.store(true, Ordering::SeqCst);
    let failed = log.stamp_now(None).await;
    assert!(matches!(&failed, Err(TimestampError::Services(reason)) if reason.contains("503")), "{failed:?}");
    clock.set(NOW.plus(Duration::from_secs(1000)));
    assert!(log.stamp_now(None).await.is_err());
    assert_eq!(log.timestamping(), Timestamping::Failing { since: NOW }, "the first failure counts");
    assert_eq!(log.check_ready(NOW.plus(four_hours)), Ok(()));
    let later = NOW.plus(four_hours + Duration::from_millis(1));
    assert_eq!(log.check_ready(later), Err(LogError::TimestampingFailed));
    stop(&shutdown).await;
    log.close().await;
    drop(log);

    let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), limited);
    assert_eq!(log.check_ready(later), Err(LogError::TimestampingFailed), "still known");
    let _shutdown = run(timestamper);
    tsa.down.store(false, Ordering::SeqCst);
    tsa.asked();
    log.stamp_now(None).await.unwrap();
    assert_eq!(tsa.asked(), 2, "one record first, then the rest");
    assert_eq!(log.check_ready(later), Ok(()));
    log.indexed().await;
    (1..=3).for_each(|number| assert_stamped(&log.read(RecordId(number)).unwrap(), &tsa));
}

#[tokio::test]
async fn without_a_service_or_a_configuration_there_are_no_stamps() {
    let cases = [
        (
            Known { services: vec![], trusted: Some(vec![]), freshness: None },
            TimestampError::NoService,
            Err(LogError::NoTimestampingService),
        ),
        (
            Known {
                services: vec![("a".into(), "http://127.0.0.1:1/".into())],
                trusted: None,
                freshness: None,
            },
            TimestampError::NoGlobalConf,
            Ok(()),
        ),
    ];
    for (known, expected, ready) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (log, timestamper, _) = open_knowing(dir.path(), Arc::new(known), settings());
        assert_eq!(log.check_ready(NOW), ready);
        log_signed(&log, 1..=2).await;
        let _shutdown = run(timestamper);
        assert_eq!(log.stamp_now(None).await, Err(expected));
        assert_eq!(log.timestamping(), Timestamping::Failing { since: NOW });
    }
}

/// A record whose signature cannot be read does not keep the others from being stamped.
#[tokio::test]
async fn a_damaged_record_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), settings());
    append(&log, 1).await.unwrap(); // Its signature document is none.
    let _shutdown = run(timestamper);
    assert_eq!(log.stamp_now(None).await, Ok(()));
    assert_eq!(log.unstamped(), 1, "alone it waits");
    tsa.down.store(true, Ordering::SeqCst);
    log_signed(&log, 2..=4).await;
    assert!(log.stamp_now(None).await.is_err());
    assert!(log.stamp_now(None).await.is_err(), "now a single record is tried first");
    tsa.down.store(false, Ordering::SeqCst);
    log.stamp_now(None).await.unwrap();
    log.indexed().await;
    assert_eq!(log.unstamped(), 0);
    assert_stamped(&log.read(RecordId(1)).unwrap(), &tsa);
}

#[tokio::test]
async fn stamps_by_itself_soon_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), settings());
    log_signed(&log, 1..=2).await;
    let _shutdown = run_as_it_is(timestamper);
    let stamped = async {
        while log.unstamped() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stamped).await.unwrap();
    assert_stamped(&log.read(RecordId(2)).unwrap(), &tsa);
}

#[tokio::test]
async fn waits_for_the_interval_or_after_a_failure_for_the_retry_delay() {
    #[derive(Debug)]
    struct Every(u64);
    impl Surroundings for Every {
        fn services(&self) -> Vec<(String, String)> {
            vec![]
        }
        fn has_services(&self) -> bool {
            false
        }
        fn trusted(&self, _: UnixTime) -> Option<Vec<Certificate>> {
            None
        }
        fn interval(&self) -> Duration {
            Duration::from_secs(self.0)
        }
    }
    for (interval, normal, retry) in
        [(0, 60, 60), (59, 60, 60), (600, 600, 90), (70, 70, 70), (100_000, 86_400, 90)]
    {
        let dir = tempfile::tempdir().unwrap();
        let slow = LogSettings { timestamp_retry: Duration::from_secs(90), ..settings() };
        let opened = MessageLog::open_with(
            dir.path(),
            slow,
            Clock::fixed(NOW),
            Arc::new(Every(interval)),
            Faults::default(),
        );
        let timestamper = opened.unwrap().1;
        assert_eq!(timestamper.pause(true).as_secs(), normal, "{interval}");
        assert_eq!(timestamper.pause(false).as_secs(), retry, "{interval}");
    }
}

#[tokio::test]
async fn stops_at_once_even_while_a_service_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let services = vec![("silent".into(), format!("http://{}/", silent.local_addr().unwrap()))];
    let known = Known { services, trusted: Some(vec![]), freshness: None };
    let (log, timestamper, _) = open_knowing(dir.path(), Arc::new(known), settings());
    log_signed(&log, 1..=1).await;
    let shutdown = Shutdown::default();
    let task = tokio::spawn(timestamper.run(shutdown.clone()));
    let asked = tokio::spawn(async move { log.stamp_now(None).await });
    let connection = silent.accept().await.unwrap();
    shutdown.stop();
    tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
    assert_eq!(asked.await.unwrap(), Err(TimestampError::Ended));
    drop(connection);
}

#[tokio::test]
async fn every_message_has_its_own_stamp_before_it_goes_on_where_that_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let immediate = LogSettings { timestamp_immediately: true, ..settings() };
    let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), immediate);
    log_signed(&log, 1..=3).await;
    log.indexed().await;
    assert_eq!((tsa.asked(), log.unstamped()), (3, 0));
    for number in 1..=3 {
        let record = log.read(RecordId(number)).unwrap();
        assert_stamped(&record, &tsa);
        assert!(record.stamp.unwrap().batch.is_none());
    }
    tsa.down.store(true, Ordering::SeqCst);
    let refused = log.append(entry(4, &signed(4), vec![])).await;
    assert_eq!(refused.err(), Some(LogError::TimestampingFailed));
    log.indexed().await;
    assert_eq!(log.unstamped(), 1, "the record of the refused message is there, and gets its stamp later");
    tsa.down.store(false, Ordering::SeqCst);
    let _shutdown = run(timestamper);
    log.stamp_now(None).await.unwrap();
    assert_stamped(&log.read(RecordId(4)).unwrap(), &tsa);
}

#[tokio::test]
async fn a_service_that_failed_is_asked_last_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (Tsa::start().await, Tsa::start().await);
    let (log, timestamper, clock) = open_knowing(dir.path(), knows(&[&first, &second]), settings());
    let _shutdown = run(timestamper);
    first.down.store(true, Ordering::SeqCst);
    for (asked, after) in [((1, 1), 0), ((0, 1), 0), ((1, 1), 11), ((0, 1), 0), ((0, 1), 11), ((1, 1), 10)] {
        clock.set(clock.now().plus(Duration::from_secs(after)));
        log_signed(&log, 1..=2).await;
        log.stamp_now(None).await.unwrap();
        assert_eq!((first.asked(), second.asked()), asked, "after {after} seconds");
    }
}

#[tokio::test]
async fn records_that_are_stamped_too_late_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let (log, timestamper, _) = open_knowing(dir.path(), knows(&[&tsa]), settings());
    for (number, until) in [(1, NOW.0 - 1), (2, NOW.0), (3, 0)] {
        log.append(Entry { until: UnixTime(until), ..entry(number, &signed(number), vec![]) }).await.unwrap();
    }
    let _shutdown = run(timestamper);
    log.stamp_now(None).await.unwrap();
    let report = log.verify().await.unwrap();
    assert_eq!((report.stamped, report.late), (3, 1));
}

#[tokio::test]
async fn there_is_an_alarm_while_half_of_the_oldest_records_time_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let tsa = Tsa::start().await;
    let known =
        Known { freshness: Some(Duration::from_secs(1000)), ..Arc::into_inner(knows(&[&tsa])).unwrap() };
    let (log, mut timestamper, clock) = open_knowing(dir.path(), Arc::new(known), settings());
    timestamper.first_after = Duration::from_secs(3600);
    for (number, seconds) in [(1, 1000), (2, 5000)] {
        let until = NOW.plus(Duration::from_secs(seconds));
        log.append(Entry { until, ..entry(number, &signed(number), vec![]) }).await.unwrap();
    }
    let alarm = async |seconds| {
        clock.set(NOW.plus(Duration::from_secs(seconds)));
        timestamper.figures().await;
        log.timestamp_alarm()
    };
    assert_eq!(
        (alarm(0).await, alarm(499).await, alarm(500).await, alarm(1500).await),
        (false, false, true, true)
    );
    let _shutdown = run(timestamper);
    log.stamp_now(None).await.unwrap();
    let report = log.verify().await.unwrap();
    assert_eq!((report.stamped, log.unstamped()), (2, 0));
}
