//! The load: so many connections, closed loop or open.
//!
//! In a *closed* loop each connection sends its next request when the last answer is complete: what the servers can do with a given
//! number of exchanges under way; its latencies are those of a full house. In an *open* loop requests are due at a fixed rate, whatever
//! became of those before; a request that had to wait for a free connection has waited since it was due, so that no stall of the
//! servers is left out of the latencies. Each answer must have the status and the length that were foretold, so that no error counts
//! as speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use hdrhistogram::Histogram;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

/// Of one piece of a body that is made while it is sent.
const PIECE: usize = 64 << 10;

static PATTERN: [u8; PIECE] = [b'x'; PIECE];

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What is sent as a body.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// So many, made on the way.
    Made(u64),
}

/// Where a load goes, and what it asks there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
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

/// What to send and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// Connections.
    pub(crate) concurrency: usize,
    /// A new connection for every request.
    pub(crate) new_connections: bool,
    pub(crate) arrivals: Arrivals,
    /// Not counted, at the start.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) measure: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exchanges that ended within the measured time.
    pub(crate) exchanges: u64,
    /// How long that was.
    pub(crate) elapsed: Duration,
    /// Microseconds of each.
    pub(crate) latencies: Histogram<u64>,
}

/// Runs a plan; `at_start` is called when the warm-up is over, and its result given back.
///
/// # Errors
/// A connection broke or an answer was not the right one.
pub(crate) async fn run<T>(
    plan: &Plan,
    at_start: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Outcome)> {
    let began = Instant::now();
    let from = began + plan.warm_up;
    let schedule = Arc::new(Schedule { began, from, until: from + plan.measure, next: AtomicU64::new(0) });
    let mut connections = JoinSet::new();
    for number in 0..plan.concurrency {
        let (plan, schedule) = (plan.clone(), schedule.clone());
        connections.spawn(async move { connection(&plan, number, &schedule).await });
    }
    tokio::time::sleep_until(from.into()).await;
    let at_start = at_start().await?;
    let mut latencies = histogram();
    let mut last = from;
    while let Some(ended) = connections.join_next().await {
        let (recorded, ended_at) = ended.context("a connection's task failed")??;
        latencies.add(recorded).context("both histograms have the same bounds")?;
        last = last.max(ended_at);
    }
    ensure!(!latencies.is_empty(), "no exchange ended within {:?}", plan.measure);
    Ok((at_start, Outcome { exchanges: latencies.len(), elapsed: last - from, latencies }))
}

/// From a microsecond to ten minutes, three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid")
}

/// When requests are due, shared by all connections.
struct Schedule {
    began: Instant,
    from: Instant,
    until: Instant,
    next: AtomicU64,
}

impl Schedule {
    /// When the next request is due: `now` in a closed loop. An open loop hands out one instant after the other.
    async fn due(&self, arrivals: Arrivals, now: Instant) -> Instant {
        match arrivals {
            Arrivals::Closed => now,
            Arrivals::Open { per_second } => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let due = self.began + Duration::from_secs_f64(number as f64 / per_second);
                tokio::time::sleep_until(due.min(self.until).into()).await;
                due
            }
        }
    }
}

async fn connection(
    plan: &Plan,
    number: usize,
    schedule: &Schedule,
) -> anyhow::Result<(Histogram<u64>, Instant)> {
    let mut kept = None;
    let mut latencies = histogram();
    let mut sent = 0_u64;
    let mut now = Instant::now();
    while now < schedule.until {
        let due = schedule.due(plan.arrivals, now).await;
        if due >= schedule.until {
            break;
        }
        let mut connected = match kept.take() {
            Some(connected) => connected,
            None => Connected::open(&plan.target.address).await?,
        };
        connected.exchange(&plan.target, &format!("bench-{number}-{sent}")).await?;
        if !plan.new_connections {
            kept = Some(connected);
        }
        sent += 1;
        now = Instant::now();
        // Large bodies take longer than a window: what ends after it counts with the time that it took.
        if due >= schedule.from && (now <= schedule.until || latencies.is_empty()) {
            latencies.record(u64::try_from((now - due).as_micros())?)?;
        }
    }
    let ended = if latencies.len() == 1 { now } else { now.min(schedule.until) };
    Ok((latencies, ended.max(schedule.from)))
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
    async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: tokio::spawn(driver).abort_handle() })
    }

    async fn exchange(&mut self, target: &Target, id: &str) -> anyhow::Result<()> {
        let mut request =
            Request::builder().method(&target.method).uri(&target.path).header("host", &target.address);
        for (name, value) in &target.headers {
            request = request.header(*name, value);
        }
        if target.with_ids {
            request = request.header("x-road-id", id);
        }
        let body = match &target.content {
            Content::Bytes(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
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

/// A body of so many bytes that nobody holds.
fn made(length: u64) -> Body {
    let pieces = stream::unfold(length, |left| async move {
        let next = left.min(PIECE as u64);
        (next > 0).then(|| (Ok(Frame::data(Bytes::from_static(&PATTERN[..next as usize]))), left - next))
    });
    BodyExt::boxed_unsync(StreamBody::new(pieces))
}
