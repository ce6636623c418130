//! The load: so many connections, each sending its next request when the last answer is complete (a closed loop).
//!
//! A closed loop measures what the servers can do with a given number of exchanges under way; its latencies are those of a full
//! house, not of a visitor. Each answer must have the status and the length that were foretold, so that no error counts as speed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sandbox::information_system::Call;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What to send and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `host:port` of the client proxy.
    pub(crate) target: String,
    /// Makes the request of every exchange; message ids are added here.
    pub(crate) call: Call,
    /// Least length of an answer.
    pub(crate) answer_bytes: u64,
    /// Connections.
    pub(crate) concurrency: usize,
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
    at_start: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Outcome)> {
    let began = Instant::now();
    let (from, until) = (began + plan.warm_up, began + plan.warm_up + plan.measure);
    let mut connections = JoinSet::new();
    for number in 0..plan.concurrency {
        let plan = plan.clone();
        connections.spawn(async move { connection(&plan, number, from, until).await });
    }
    tokio::time::sleep_until(from.into()).await;
    let at_start = at_start()?;
    let mut latencies = histogram();
    let mut last = from;
    while let Some(ended) = connections.join_next().await {
        let (recorded, ended_at) = ended.context("a connection's task failed")??;
        latencies.add(recorded).context("both histograms have the same bounds")?;
        last = last.max(ended_at);
    }
    Ok((at_start, Outcome { exchanges: latencies.len(), elapsed: last - from, latencies }))
}

/// From a microsecond to two minutes, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("these bounds are valid")
}

async fn connection(
    plan: &Plan,
    number: usize,
    from: Instant,
    until: Instant,
) -> anyhow::Result<(Histogram<u64>, Instant)> {
    let stream =
        TcpStream::connect(&plan.target).await.with_context(|| format!("connecting to {}", plan.target))?;
    stream.set_nodelay(true)?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let mut latencies = histogram();
    let mut sent = 0_u64;
    let mut now = Instant::now();
    while now < until {
        let began = now;
        exchange(plan, &mut sender, &format!("bench-{number}-{sent}")).await?;
        sent += 1;
        now = Instant::now();
        if began >= from && now <= until {
            latencies.record(u64::try_from((now - began).as_micros())?)?;
        }
    }
    driver.abort();
    Ok((latencies, now.min(until)))
}

async fn exchange(plan: &Plan, sender: &mut SendRequest<Full<Bytes>>, id: &str) -> anyhow::Result<()> {
    let mut request =
        Request::builder().method(&plan.call.method).uri(&plan.call.target).header("host", &plan.target);
    for (name, value) in &plan.call.headers {
        request = request.header(*name, value);
    }
    let request = match plan.call.kind {
        sandbox::information_system::Kind::Rest => request.header("x-road-id", id),
        sandbox::information_system::Kind::Soap => request,
    };
    sender.ready().await.context("the client proxy closed the connection")?;
    let answer = sender.send_request(request.body(Full::new(plan.call.body.clone()))?).await?;
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
    ensure!(length >= plan.answer_bytes, "an answer of {length} bytes: {}", String::from_utf8_lossy(&start));
    Ok(())
}
