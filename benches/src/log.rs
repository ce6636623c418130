//! What the message log costs: `cargo run --release -p benches -- log`.
//!
//! | Row | What is measured |
//! |---|---|
//! | append | durable records a second with 1, 16 and 128 waiting, of 4 and 100 KiB, beside the bare disk and a hand-over of the same records without a log ([`crate::bare`]) |
//! | tree | CPU time of the Merkle tree over all records, beside that of logging them |
//! | rebuild | the index of a log, made anew from its segments |
//! | lookup | one record by message id and client |
//! | stamp | records that waited for a timestamping service, stamped once it is back (the service runs in this process) |
//! | archive | CPU time of archiving a record ([`crate::archive`]) |
//! | verify | containers ([`crate::containers`]) on one core, beside `openssl speed` of the same run |
//!
//! The loops and the log take turns, so that a busy machine is busy for all.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::clock::Clock;
use host::http::{Limits, Peer, RequestBody, ResponseBody, Transport, full, read_all, serve};
use host::shutdown::Shutdown;
use hyper::{Request, Response};
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::issue::{self, Role};
use pki::key::{KeyKind, PrivateKey};
use pki::tsp::stamp::{Request as Query, Stamper, grant};
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;
use security_server::message_log::keeper::Keeper;
use security_server::message_log::settings::LogSettings;
use security_server::message_log::timestamper::{Surroundings, Timestamper};
use security_server::message_log::{Direction, Entry, MessageLog};
use serde::Serialize;

use crate::bare::{bare_loop, handed_over};
use crate::containers::{self, Containers, cpu_seconds};
use crate::no_service::NoService;

/// Of a signature document, about what one with an OCSP answer has.
const SIGNATURE_BYTES: usize = 6 << 10;
/// Of the head of a record's frame, about.
const HEAD_BYTES: usize = 400;
const WAITING: [usize; 3] = [1, 16, 128];
const SIZES: [usize; 2] = [4 << 10, 100 << 10];
/// How often the loops take turns in a row of appends.
const TURNS: u32 = 2;
/// Records on their way at once when a log is filled.
const FILLING: usize = 512;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds for each row of appends; 0 leaves them out.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Records of the log whose index is rebuilt and searched, and which are stamped; 0 leaves these rows out.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Records that are archived; 0 leaves this row out.
    #[arg(long, default_value_t = 20_000)]
    archived: u64,
    /// Where files are written; a temporary folder when not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A folder of containers to verify; without it two servers are started and make some.
    #[arg(long, requires = "conf")]
    containers: Option<PathBuf>,
    /// Verify no containers.
    #[arg(long)]
    no_containers: bool,
    /// The global configuration for them.
    #[arg(long)]
    conf: Option<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct AppendRow {
    bytes: usize,
    waiting: usize,
    log_per_second: f64,
    bare_per_second: f64,
    handed_per_second: f64,
    /// To the bare loop.
    ratio: f64,
    /// CPU time of this process for each record of the log, and of the hand-over.
    log_cpu_micros: f64,
    handed_cpu_micros: f64,
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    append: Vec<AppendRow>,
    records: u64,
    filled_per_second: f64,
    rebuild_seconds_per_million: Option<f64>,
    lookup_micros: Option<f64>,
    stamped_per_second: Option<f64>,
    /// CPU time a record, without its messages' cryptography.
    logging_cpu_micros: Option<f64>,
    tree_cpu_micros: Option<f64>,
    archiving_cpu_micros: Option<f64>,
    archive_bytes_per_record: Option<f64>,
    containers_per_second_and_core: Option<f64>,
    openssl_rsa2048_verify_per_second: Option<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(measure(args, &dir))?;
    if args.json {
        serde_json::to_writer_pretty(std::io::stdout().lock(), &outcome)?;
    } else {
        use std::io::Write;
        std::io::stdout().lock().write_all(outcome.text().as_bytes())?;
    }
    Ok(())
}

async fn measure(args: &Args, dir: &Path) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let time = Duration::from_secs(args.seconds);
    for bytes in SIZES.into_iter().filter(|_| args.seconds > 0) {
        for waiting in WAITING {
            eprintln!("{} KiB, {waiting} waiting", bytes >> 10);
            outcome.append.push(append_row(dir, bytes, waiting, time / TURNS).await?);
        }
    }
    if args.records > 0 {
        long_log(args.records, &dir.join("long"), &mut outcome).await?;
    }
    if args.archived > 0 {
        let tsa = Arc::new(Tsa::start().await?);
        let (micros, bytes) = crate::archive::cost(args.archived, &dir.join("archived"), tsa).await?;
        (outcome.archiving_cpu_micros, outcome.archive_bytes_per_record) = (Some(micros), Some(bytes));
    }
    if !args.no_containers {
        eprintln!("containers");
        let containers = match (&args.containers, &args.conf) {
            (Some(containers), Some(conf)) => Containers::read(containers, conf),
            _ => Containers::make().await,
        };
        match containers.and_then(|containers| containers.verified_per_second()) {
            Ok(rate) => outcome.containers_per_second_and_core = Some(rate),
            // What was measured before is not to be lost with it.
            Err(error) => eprintln!("no containers were verified: {error:#}"),
        }
        outcome.openssl_rsa2048_verify_per_second = containers::openssl();
    }
    Ok(outcome)
}

/// Every loop in turn, [`TURNS`] times, each for this time.
async fn append_row(dir: &Path, bytes: usize, waiting: usize, time: Duration) -> anyhow::Result<AppendRow> {
    let body = Bytes::from(noise(bytes, 3));
    let (mut bare, mut log, mut handed) = (0.0, Cost::default(), Cost::default());
    for turn in 0..TURNS {
        bare += bare_loop(&dir.join(format!("bare-{turn}")), bytes, waiting, time)? / f64::from(TURNS);
        let cpu = cpu_seconds()?;
        log.add(appends(&dir.join("append"), bytes, waiting, time).await?, time, cpu_seconds()? - cpu);
        let (cpu, signatures) = (cpu_seconds()?, Arc::new(Signatures::default()));
        let make = {
            let body = body.clone();
            move |number| entry(number, &body, signatures.of(number / waiting as u64))
        };
        let rate = handed_over(&dir.join(format!("handed-{turn}")), &body, waiting, time, make).await?;
        handed.add(rate, time, cpu_seconds()? - cpu);
    }
    Ok(AppendRow {
        bytes,
        waiting,
        log_per_second: log.per_second / f64::from(TURNS),
        bare_per_second: bare,
        handed_per_second: handed.per_second / f64::from(TURNS),
        ratio: log.per_second / f64::from(TURNS) / bare,
        log_cpu_micros: log.cpu_micros(),
        handed_cpu_micros: handed.cpu_micros(),
    })
}

/// Of all turns of one loop.
#[derive(Debug, Default)]
struct Cost {
    per_second: f64,
    records: f64,
    cpu: f64,
}

impl Cost {
    fn add(&mut self, rate: f64, time: Duration, cpu: f64) {
        self.per_second += rate;
        self.records += rate * time.as_secs_f64();
        self.cpu += cpu;
    }
    fn cpu_micros(&self) -> f64 {
        self.cpu * 1e6 / self.records
    }
}

/// As many tasks as wait, each appending one record after the other; records a second.
async fn appends(dir: &Path, bytes: usize, waiting: usize, time: Duration) -> anyhow::Result<f64> {
    let (log, _timestamper) = open(dir, Arc::new(NoService))?;
    let body = Bytes::from(noise(bytes, 3));
    let (done, signatures) = (Arc::new(AtomicU64::new(0)), Arc::new(Signatures::default()));
    let began = Instant::now();
    let tasks: Vec<_> = (0..waiting)
        .map(|task| {
            let (log, body, done, signatures) = (log.clone(), body.clone(), done.clone(), signatures.clone());
            tokio::spawn(async move {
                let mut number = task as u64;
                while began.elapsed() < time {
                    let signature = signatures.of(number / waiting as u64);
                    log.append(entry(number, &body, signature)).await?;
                    number += waiting as u64;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    log.close().await;
    drop(log);
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
}

/// Fills a log, has it stamped, rebuilds its index, searches it.
async fn long_log(records: u64, dir: &Path, outcome: &mut Outcome) -> anyhow::Result<()> {
    eprintln!("{records} records");
    let tsa = Arc::new(Tsa::start().await?);
    let (log, timestamper) = open(dir, tsa.clone())?;
    let (next, began, cpu) = (Arc::new(AtomicU64::new(0)), Instant::now(), cpu_seconds()?);
    let (body, signatures) = (Bytes::from_static(b"a small message"), Arc::new(Signatures::default()));
    let tasks: Vec<_> = (0..FILLING)
        .map(|_| {
            let (log, next, body, signatures) = (log.clone(), next.clone(), body.clone(), signatures.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= records {
                        return anyhow::Ok(());
                    }
                    let signature = signatures.of(number / FILLING as u64);
                    log.append(entry(number, &body, signature)).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    outcome.records = records;
    outcome.filled_per_second = records as f64 / began.elapsed().as_secs_f64();
    log.indexed().await;
    let logging = cpu_seconds()? - cpu;
    eprintln!("stamping {} records", log.unstamped());
    let shutdown = Shutdown::default();
    let stamping = tokio::spawn(timestamper.run(shutdown.clone()));
    let began = Instant::now();
    log.stamp_now(None).await?;
    log.indexed().await;
    anyhow::ensure!(log.unstamped() == 0, "{} records have no stamp", log.unstamped());
    outcome.stamped_per_second = Some(records as f64 / began.elapsed().as_secs_f64());
    let micros = |seconds: f64| Some(seconds * 1e6 / records as f64);
    outcome.logging_cpu_micros = micros(logging);
    outcome.tree_cpu_micros = micros(tree_cost(&log, records).await?);
    shutdown.stop();
    stamping.await?;
    log.close().await;
    drop(log);

    eprintln!("rebuilding the index");
    std::fs::remove_dir_all(dir.join("index"))?;
    let began = Instant::now();
    let (log, _timestamper) = open(dir, tsa)?;
    let seconds = began.elapsed().as_secs_f64();
    outcome.rebuild_seconds_per_million = Some(seconds * 1e6 / records as f64);
    let client = client();
    let searched = tokio::task::spawn_blocking({
        let log = log.clone();
        move || -> anyhow::Result<f64> {
            const LOOKUPS: u64 = 2000;
            let began = Instant::now();
            for lookup in 0..LOOKUPS {
                let number = lookup.wrapping_mul(7_919_119) % records;
                anyhow::ensure!(
                    log.find(&format!("id-{number}"), &client)?.len() == 1,
                    "id-{number} was not found"
                );
            }
            Ok(began.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64)
        }
    });
    outcome.lookup_micros = Some(searched.await??);
    log.close().await;
    drop(log);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// CPU seconds of the tree over all records: the hash of each leaf, which is made when the record is logged, and everything above.
async fn tree_cost(log: &MessageLog, records: u64) -> anyhow::Result<f64> {
    eprintln!("the tree");
    let mut keeper = Keeper::new(log, Clock::System, &[])?;
    let began = cpu_seconds()?;
    keeper.head(Clock::System.now()).await?;
    let above = cpu_seconds()? - began;
    let began = cpu_seconds()?;
    for number in 0..records {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&number.to_be_bytes());
        std::hint::black_box(pki::merkle::leaf(&head));
    }
    // What logging took has the leaves in it.
    Ok(above + cpu_seconds()? - began)
}

/// Has all that waits stamped.
pub(crate) async fn stamp(log: &MessageLog, timestamper: Timestamper) -> anyhow::Result<()> {
    let shutdown = Shutdown::default();
    let stamping = tokio::spawn(timestamper.run(shutdown.clone()));
    log.stamp_now(None).await?;
    log.indexed().await;
    anyhow::ensure!(log.unstamped() == 0, "{} records have no stamp", log.unstamped());
    shutdown.stop();
    Ok(stamping.await?)
}

pub(crate) fn open(
    dir: &Path,
    surroundings: Arc<dyn Surroundings>,
) -> anyhow::Result<(MessageLog, Timestamper)> {
    let settings = LogSettings { min_free_bytes: 0, ..LogSettings::default() };
    Ok(MessageLog::open(dir, settings, Clock::System, surroundings)?)
}

fn client() -> ClientId {
    MemberId::new("DEV", "GOV", "1234").subsystem("consumer")
}

/// Signature documents: the records of a batch have clones of one, as in a server.
#[derive(Debug, Default)]
struct Signatures(Mutex<VecDeque<(u64, Bytes)>>);

impl Signatures {
    /// Batches whose records may still be on their way.
    const KEPT: usize = 8;

    fn of(&self, batch: u64) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = kept.iter().find(|(known, _)| *known == batch) {
            return made.clone();
        }
        let mut signature = vec![b'x'; SIGNATURE_BYTES];
        signature[..8].copy_from_slice(&batch.to_be_bytes());
        let signature = Bytes::from(signature);
        kept.push_front((batch, signature.clone()));
        kept.truncate(Self::KEPT);
        signature
    }
}

/// A record with this signature document.
pub(crate) fn entry(number: u64, body: &Bytes, signature: Bytes) -> Entry {
    let digest = DigestAlgorithm::Sha256.digest(&number.to_be_bytes());
    Entry {
        direction: Direction::Request,
        consumer_side: true,
        message_id: format!("id-{number}").into(),
        request_id: format!("00000000-0000-0000-0000-{number:012}").into(),
        client: client().into(),
        service: MemberId::new("DEV", "GOV", "5678").subsystem("provider").service("service").into(),
        message: body.clone(),
        rest: true,
        signature,
        hash_chain: None,
        attachments: Vec::new(),
        parts: vec![("/message.xml".to_owned(), digest)].into(),
        at: Clock::System.now(),
        until: UnixTime(0),
    }
}

pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

/// A timestamping service in this process.
#[derive(Debug)]
struct Tsa {
    url: String,
    cert: Certificate,
}

impl Tsa {
    async fn start() -> anyhow::Result<Self> {
        let key = Arc::new(PrivateKey::generate(KeyKind::P256)?);
        let template = issue::Template {
            subject: &vec![("2.5.4.3", "bench TSA".to_owned())],
            role: Role::Timestamping,
            serial: &[1],
            not_before: UnixTime(0),
            not_after: UnixTime(4_000_000_000_000),
            dns_names: &[],
            addresses: &[],
            ocsp_url: None,
        };
        let cert = issue::self_signed(&template, &key)?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let own = cert.clone();
        let handler = move |request: Request<RequestBody>, _: Arc<Peer>| {
            let (cert, key) = (own.clone(), key.clone());
            async move { answer(request, &cert, &key).await }
        };
        tokio::spawn(serve(listener, Transport::Plain, Limits::default(), Shutdown::default(), handler));
        Ok(Self { url, cert })
    }
}

async fn answer(
    request: Request<RequestBody>,
    cert: &Certificate,
    key: &PrivateKey,
) -> Response<ResponseBody> {
    let granted = async {
        let query = read_all(request.into_body(), 10_000).await.ok()?;
        let query = Query::parse(&query)?;
        grant(&query, Stamper { cert, key, policy: "1.2.3" }, 1, Clock::System.now()).ok()
    };
    match granted.await {
        Some(token) => Response::new(full(token)),
        None => {
            let mut refused = Response::new(full("not a query"));
            *refused.status_mut() = hyper::StatusCode::BAD_REQUEST;
            refused
        }
    }
}

impl Surroundings for Tsa {
    fn services(&self) -> Vec<(String, String)> {
        vec![("bench".to_owned(), self.url.clone())]
    }
    fn has_services(&self) -> bool {
        true
    }
    fn trusted(&self, _: UnixTime) -> Option<Vec<Certificate>> {
        Some(vec![self.cert.clone()])
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(86_400)
    }
}

impl Outcome {
    fn text(&self) -> String {
        let mut out = format!(
            "{:>8} {:>8} {:>12} {:>12} {:>6} {:>12} {:>12} {:>12}\n",
            "KiB", "waiting", "log/s", "bare/s", "ratio", "handed/s", "log CPU µs", "handed CPU µs"
        );
        for row in &self.append {
            let kib = row.bytes >> 10;
            out.push_str(&format!(
                "{kib:>8} {:>8} {:>12.0} {:>12.0} {:>6.2} {:>12.0} {:>12.1} {:>12.1}\n",
                row.waiting,
                row.log_per_second,
                row.bare_per_second,
                row.ratio,
                row.handed_per_second,
                row.log_cpu_micros,
                row.handed_cpu_micros
            ));
        }
        let mut line = |name: &str, value: Option<f64>, unit: &str| {
            if let Some(value) = value {
                out.push_str(&format!("{name:<44} {value:>12.1} {unit}\n"));
            }
        };
        let filled = (self.records > 0).then_some(self.filled_per_second);
        line(&format!("{} records written", self.records), filled, "a second");
        line("waiting records stamped", self.stamped_per_second, "a second");
        line("CPU time of logging one record", self.logging_cpu_micros, "µs");
        line("CPU time of the tree, one record", self.tree_cpu_micros, "µs");
        line("CPU time of archiving one record", self.archiving_cpu_micros, "µs");
        line("archive, for each record", self.archive_bytes_per_record, "bytes");
        line("index rebuilt, per million records", self.rebuild_seconds_per_million, "s");
        line("one record found by its id", self.lookup_micros, "µs");
        line("containers verified on one core", self.containers_per_second_and_core, "a second");
        line(
            "openssl: RSA-2048 verifications on one core",
            self.openssl_rsa2048_verify_per_second,
            "a second",
        );
        out
    }
}
