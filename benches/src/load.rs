//! The load: so many connections, closed loop or open, for a time or a number of exchanges.
//!
//! In a *closed* loop each connection sends its next request when the last answer is complete: what the servers can do with a given
//! number of exchanges under way; its latencies are those of a full house. In an *open* loop requests are due at a fixed rate, whatever
//! became of those before; a request that had to wait for a free connection has waited since it was due, and each that was due is sent
//! and counted however late it ends, so that no stall of the servers is left out of the latencies.
//!
//! The load goes on while readings are taken, and the exchanges between two readings are those that *ended* between them, whenever they
//! began. Latencies are those of requests that were due in the measured time. Each answer must have the status and the length that were
//! foretold, so that no error counts as speed. Nothing waits without bound: neither an exchange nor a whole run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use hdrhistogram::Histogram;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use crate::tls;

/// Of one piece of a body that is made while it is sent.
const PIECE: usize = 64 << 10;
/// Digits of a number in a body.
const DIGITS: usize = 12;
/// Between looks for a first exchange that is late.
const POLL: Duration = Duration::from_millis(20);

static PATTERN: [u8; PIECE] = [b'x'; PIECE];
/// Runs of this process so far: no two exchanges of it have the same id.
static RUNS: AtomicU64 = AtomicU64::new(0);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What is sent as a body.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// These bytes, with twelve digits at this place that differ from exchange to exchange.
    Numbered(Bytes, usize),
    /// So many, made on the way.
    Made(u64),
}

/// Where a load goes, and what it asks there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) tls: bool,
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// A header with an id of its own is added to every request.
    pub(crate) with_ids: bool,
    pub(crate) content: Content,
    /// Least length of an answer.
    pub(crate) answer_bytes: u64,
}

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    /// When the one before was answered.
    Closed,
    /// At this rate.
    Open { per_second: f64 },
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So long, after a warm-up that is not counted.
    Time { warm_up: Duration, measure: Duration },
    /// So many exchanges on each connection: large bodies, of which a time would cut off a good part.
    Count { each: u32 },
}

/// What to send and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// Connections.
    pub(crate) concurrency: usize,
    /// A new connection for every request.
    pub(crate) new_connections: bool,
    pub(crate) arrivals: Arrivals,
    pub(crate) length: Length,
    /// Longest that one exchange may take.
    pub(crate) patience: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome<T> {
    /// Exchanges that ended between the readings.
    pub(crate) exchanges: u64,
    /// How long that was.
    pub(crate) elapsed: Duration,
    /// Microseconds of each that was due in that time.
    pub(crate) latencies: Histogram<u64>,
    /// The reading at the start, and the one at the end.
    pub(crate) readings: [T; 2],
}

impl Plan {
    /// After this something is wrong.
    fn bound(&self) -> Duration {
        match self.length {
            Length::Time { warm_up, measure } => warm_up + measure + self.patience * 2,
            Length::Count { each } => self.patience * each,
        }
    }
}

/// Runs a plan; `reading` is called when the measured time begins and when it ends.
///
/// # Errors
/// A connection broke, an answer was not the right one or did not come in time.
pub(crate) async fn run<T>(
    plan: &Plan,
    reading: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<Outcome<T>> {
    let bound = plan.bound();
    let run = async {
        match plan.length {
            Length::Time { warm_up, measure } => timed(plan, warm_up, measure, reading).await,
            Length::Count { each } => counted(plan, each, reading).await,
        }
    };
    let outcome = tokio::time::timeout(bound, run).await;
    let outcome = outcome.with_context(|| format!("{}: not over after {bound:?}", plan.target.address))??;
    ensure!(!outcome.latencies.is_empty() && outcome.exchanges > 0, "no exchange ended in the measured time");
    Ok(outcome)
}

async fn timed<T>(
    plan: &Plan,
    warm_up: Duration,
    measure: Duration,
    reading: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<Outcome<T>> {
    let began = Instant::now();
    let from = began + warm_up;
    let schedule = Arc::new(Schedule {
        began,
        from,
        until: from + measure,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        phase: AtomicU8::new(WARMING_UP),
    });
    let mut connections = JoinSet::new();
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    for number in 0..plan.concurrency {
        let (plan, schedule) = (plan.clone(), schedule.clone());
        connections.spawn(async move {
            match plan.arrivals {
                Arrivals::Closed => closed(&plan, (run, number), &schedule).await,
                Arrivals::Open { per_second } => open(&plan, (run, number), &schedule, per_second).await,
            }
        });
    }
    let readings = async {
        let mark = || (Instant::now(), schedule.done.load(Ordering::Relaxed));
        tokio::time::sleep_until(schedule.from.into()).await;
        schedule.phase.store(MEASURED, Ordering::Relaxed);
        let before = mark();
        let first = reading().await?;
        tokio::time::sleep_until(schedule.until.into()).await;
        // An exchange may take longer than the time; the whole run has its bound.
        while schedule.done.load(Ordering::Relaxed) == before.1 {
            tokio::time::sleep(POLL).await;
        }
        let after = mark();
        let readings = [first, reading().await?];
        schedule.phase.store(OVER, Ordering::Relaxed);
        anyhow::Ok((before, after, readings))
    };
    let ((before, after, readings), latencies) = tokio::try_join!(readings, all(&mut connections))?;
    Ok(Outcome { exchanges: after.1 - before.1, elapsed: after.0 - before.0, latencies, readings })
}

async fn counted<T>(
    plan: &Plan,
    each: u32,
    reading: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<Outcome<T>> {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let (first, began) = (reading().await?, Instant::now());
    let mut connections = JoinSet::new();
    for number in 0..plan.concurrency {
        let plan = plan.clone();
        connections.spawn(async move {
            let mut caller = Caller::new(&plan, (run, number));
            let mut latencies = histogram();
            for _ in 0..each {
                let began = Instant::now();
                caller.exchange().await?;
                record(&mut latencies, began.elapsed())?;
            }
            Ok(latencies)
        });
    }
    let latencies = all(&mut connections).await?;
    let elapsed = began.elapsed();
    Ok(Outcome { exchanges: latencies.len(), elapsed, latencies, readings: [first, reading().await?] })
}

/// What all connections recorded; the first failure ends it.
async fn all(connections: &mut JoinSet<anyhow::Result<Histogram<u64>>>) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = histogram();
    while let Some(ended) = connections.join_next().await {
        let recorded = ended.context("a connection's task failed")??;
        latencies.add(recorded).context("both histograms have the same bounds")?;
    }
    Ok(latencies)
}

/// From a microsecond to an hour, three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these bounds are valid")
}

fn record(latencies: &mut Histogram<u64>, took: Duration) -> anyhow::Result<()> {
    Ok(latencies.record(u64::try_from(took.as_micros())?.max(1))?)
}

const WARMING_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// Shared by all connections of a run.
struct Schedule {
    began: Instant,
    from: Instant,
    until: Instant,
    /// Number of the next request of an open loop.
    next: AtomicU64,
    /// Exchanges that have ended.
    done: AtomicU64,
    phase: AtomicU8,
}

async fn closed(plan: &Plan, number: (u64, usize), schedule: &Schedule) -> anyhow::Result<Histogram<u64>> {
    let (mut caller, mut latencies) = (Caller::new(plan, number), histogram());
    loop {
        let phase = schedule.phase.load(Ordering::Relaxed);
        if phase == OVER {
            return Ok(latencies);
        }
        let began = Instant::now();
        caller.exchange().await?;
        schedule.done.fetch_add(1, Ordering::Relaxed);
        if phase == MEASURED {
            record(&mut latencies, began.elapsed())?;
        }
    }
}

async fn open(
    plan: &Plan,
    number: (u64, usize),
    schedule: &Schedule,
    per_second: f64,
) -> anyhow::Result<Histogram<u64>> {
    ensure!(per_second.is_finite() && per_second > 0.0, "{per_second} requests a second");
    let (mut caller, mut latencies) = (Caller::new(plan, number), histogram());
    loop {
        let turn = schedule.next.fetch_add(1, Ordering::Relaxed);
        let due = schedule.began + Duration::from_secs_f64(turn as f64 / per_second);
        if due >= schedule.until {
            return Ok(latencies);
        }
        tokio::time::sleep_until(due.into()).await;
        caller.exchange().await?;
        schedule.done.fetch_add(1, Ordering::Relaxed);
        if due >= schedule.from {
            record(&mut latencies, due.elapsed())?;
        }
    }
}

/// One place in the load: a connection, or one after the other.
struct Caller<'a> {
    plan: &'a Plan,
    number: (u64, usize),
    sent: u64,
    kept: Option<Connected>,
}

impl<'a> Caller<'a> {
    fn new(plan: &'a Plan, number: (u64, usize)) -> Self {
        Self { plan, number, sent: 0, kept: None }
    }

    async fn exchange(&mut self) -> anyhow::Result<()> {
        let (plan, (run, number)) = (self.plan, self.number);
        let whole = async {
            let mut connected = match self.kept.take() {
                Some(connected) => connected,
                None => Connected::open(&plan.target).await?,
            };
            connected.exchange(&plan.target, run, number, self.sent).await?;
            if !plan.new_connections {
                self.kept = Some(connected);
            }
            anyhow::Ok(())
        };
        let within = tokio::time::timeout(plan.patience, whole).await;
        within
            .with_context(|| format!("{}: no answer within {:?}", plan.target.address, plan.patience))??;
        self.sent += 1;
        Ok(())
    }
}

/// One connection to the target; closed when dropped.
struct Connected {
    sender: SendRequest<Body>,
    driver: AbortHandle,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connected {
    async fn open(target: &Target) -> anyhow::Result<Self> {
        let address = &target.address;
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        if target.tls {
            let (sender, driver) = handshake(TokioIo::new(tls::connect(stream).await?)).await?;
            return Ok(Self { sender, driver: tokio::spawn(driver).abort_handle() });
        }
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: tokio::spawn(driver).abort_handle() })
    }

    async fn exchange(&mut self, target: &Target, run: u64, number: usize, sent: u64) -> anyhow::Result<()> {
        let mut request =
            Request::builder().method(&target.method).uri(&target.path).header("host", &target.address);
        for (name, value) in &target.headers {
            request = request.header(*name, value);
        }
        if target.with_ids {
            request = request.header("x-road-id", format!("bench-{run}-{number}-{sent}"));
        }
        let whole = |bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        let body = match &target.content {
            Content::Bytes(bytes) => whole(bytes.clone()),
            Content::Numbered(bytes, at) => whole(numbered(bytes, *at, [run, number as u64, sent])),
            Content::Made(length) => {
                request = request.header("content-length", *length);
                made(*length)
            }
        };
        self.sender.ready().await.context("the connection was closed")?;
        let answer = self.sender.send_request(request.body(body)?).await?;
        let (head, mut body) = answer.into_parts();
        let mut length = 0;
        let mut start = Bytes::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                length += data.len() as u64;
                if start.is_empty() {
                    start = data;
                }
            }
        }
        if head.status != StatusCode::OK {
            bail!("{}: {}", head.status, String::from_utf8_lossy(&start));
        }
        let enough = length >= target.answer_bytes;
        ensure!(enough, "an answer of {length} bytes: {}", String::from_utf8_lossy(&start));
        Ok(())
    }
}

/// The same body with another number in it: three digits of the run, four of the connection, five of the exchange.
fn numbered(bytes: &Bytes, at: usize, [run, number, sent]: [u64; 3]) -> Bytes {
    let mut body = BytesMut::from(&bytes[..]);
    let digits = format!("{:03}{:04}{:05}", run % 1_000, number % 10_000, sent % 100_000);
    body[at..at + DIGITS].copy_from_slice(digits.as_bytes());
    body.freeze()
}

/// A body of so many bytes that nobody holds.
fn made(length: u64) -> Body {
    let pieces = stream::unfold(length, |left| async move {
        let next = left.min(PIECE as u64);
        (next > 0).then(|| (Ok(Frame::data(Bytes::from_static(&PATTERN[..next as usize]))), left - next))
    });
    BodyExt::boxed_unsync(StreamBody::new(pieces))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every request after `delay` on any connection.
    async fn server(delay: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        tokio::time::sleep(delay).await;
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    }
                });
            }
        });
        address
    }

    fn plan(address: String, arrivals: Arrivals, length: Length) -> Plan {
        let target = Target {
            address,
            tls: false,
            method: Method::GET,
            path: "/".to_owned(),
            headers: Vec::new(),
            with_ids: true,
            content: Content::Bytes(Bytes::new()),
            answer_bytes: 2,
        };
        let patience = Duration::from_secs(20);
        Plan { target, concurrency: 2, new_connections: false, arrivals, length, patience }
    }

    #[tokio::test]
    async fn an_open_loop_leaves_no_late_exchange_out() {
        // Two connections come to twenty a second; fifty are due.
        let address = server(Duration::from_millis(100)).await;
        let length = Length::Time { warm_up: Duration::ZERO, measure: Duration::from_secs(1) };
        let outcome = run(&plan(address, Arrivals::Open { per_second: 50.0 }, length), async || Ok(())).await;
        let latencies = outcome.expect("it runs").latencies;
        assert_eq!(latencies.len(), 50);
        assert!(latencies.max() > 1_000_000, "the last was due within a second and came after two");
    }

    #[tokio::test]
    async fn an_exchange_longer_than_the_time_counts() {
        let address = server(Duration::from_millis(300)).await;
        let length = Length::Time { warm_up: Duration::ZERO, measure: Duration::from_millis(50) };
        let outcome = run(&plan(address, Arrivals::Closed, length), async || Ok(())).await.expect("it runs");
        assert!(outcome.exchanges > 0 && !outcome.latencies.is_empty());
    }

    #[tokio::test]
    async fn a_number_of_exchanges_is_that_number() {
        let address = server(Duration::ZERO).await;
        let outcome = run(&plan(address, Arrivals::Closed, Length::Count { each: 3 }), async || Ok(())).await;
        assert_eq!(outcome.expect("it runs").exchanges, 6);
    }

    #[test]
    fn numbers_differ() {
        let body = Bytes::from_static(b"<id>000000000000</id>");
        assert_eq!(numbered(&body, 4, [7, 12, 345]), "<id>007001200345</id>");
    }
}
