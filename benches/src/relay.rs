//! Whole exchanges through two security servers, beside what the same machine does without them, in one run.
//!
//! Every row alternates windows: (a) consumer → our two servers → backend, signed, logged durably, timestamped in the background, OCSP
//! checked; (b) the same client and backend through two nginx relays ([`crate::nginx`]); (c) straight to the backend. A window of each
//! side follows another, so that a machine that is busy for a while is busy for all of them; the ratio is that of neighbours, its
//! median and range those of all such pairs.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use hyper::Method;
use pki::key::KeyKind;
use sandbox::ecosystem::{Ecosystem, Mode, Options};
use sandbox::information_system::{Call, Kind};
use sandbox::{parties, services};

use crate::load::{self, Arrivals, Content, Outcome, Plan, Target};
use crate::nginx::Pair;
use crate::report::{Report, Row, Side};
use crate::servers::{Moment, Servers};
use crate::steps;

/// For exchanges under way at the end.
const DRAIN: Duration = Duration::from_secs(40);
/// What the settings have as default.
const LOG_SEGMENT_BYTES: u64 = 256 << 20;
/// Connections of an open loop.
const OPEN_CONNECTIONS: usize = 256;
/// For samples of where the CPU goes.
const SAMPLES: Duration = Duration::from_secs(6);

/// How much of it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// That it runs, not how fast.
    Smoke,
    Quick,
    Usual,
    Full,
}

impl Extent {
    /// Windows of each side in a row, warm-up and length of each.
    fn windows(self) -> (u32, Duration, Duration) {
        let millis = |warm_up, length| (Duration::from_millis(warm_up), Duration::from_millis(length));
        let (number, (warm_up, length)) = match self {
            Self::Smoke => (1, millis(300, 1000)),
            Self::Quick => (3, millis(300, 2000)),
            Self::Usual => (3, millis(500, 3000)),
            Self::Full => (7, millis(1000, 5000)),
        };
        (number, warm_up, length)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// REST without a body, either way.
    Nothing,
    /// REST, so many bytes there and back.
    Echo(u64),
    Soap,
    SoapWithAttachment,
}

/// One row to be.
#[derive(Clone, Copy, Debug)]
struct Spec {
    name: &'static str,
    asked: Asked,
    concurrency: usize,
    new_connections: bool,
    /// An open loop, at half the rate that the closed one came to.
    half_rate: bool,
    least: Extent,
}

const fn row(name: &'static str, asked: Asked, concurrency: usize, least: Extent) -> Spec {
    Spec { name, asked, concurrency, new_connections: false, half_rate: false, least }
}

/// The headline comes first.
const ROWS: [Spec; 15] = [
    row("REST without body", Asked::Nothing, 64, Extent::Smoke),
    row("REST 10 KiB", Asked::Echo(10 << 10), 64, Extent::Smoke),
    row("REST 1 MiB", Asked::Echo(1 << 20), 16, Extent::Smoke),
    row("SOAP 1 KiB", Asked::Soap, 64, Extent::Smoke),
    row("REST without body", Asked::Nothing, 1, Extent::Quick),
    Spec { half_rate: true, ..row("REST, half the rate", Asked::Nothing, OPEN_CONNECTIONS, Extent::Quick) },
    row("REST without body", Asked::Nothing, 16, Extent::Usual),
    row("REST without body", Asked::Nothing, 256, Extent::Usual),
    row("REST 1 KiB", Asked::Echo(1 << 10), 64, Extent::Usual),
    Spec { new_connections: true, ..row("REST, new connections", Asked::Nothing, 64, Extent::Usual) },
    row("SOAP 1 KiB", Asked::Soap, 1, Extent::Usual),
    row("SOAP with attachment", Asked::SoapWithAttachment, 64, Extent::Usual),
    row("REST 100 MiB", Asked::Echo(100 << 20), 4, Extent::Usual),
    row("REST 100 MiB", Asked::Echo(100 << 20), 1, Extent::Full),
    row("REST 10 GiB", Asked::Echo(10 << 30), 1, Extent::Full),
];

/// Keys that have a row of their own beside the run's, and from which extent on.
const OTHER_KEYS: [(KeyKind, Extent); 2] =
    [(KeyKind::Rsa(3072), Extent::Usual), (KeyKind::P256, Extent::Usual)];

/// Runs everything that belongs to `extent`, or the rows whose name begins with `only`.
///
/// # Errors
/// A server ended, or an answer was not the right one: then there are no figures.
pub(crate) async fn run(keys: KeyKind, extent: Extent, only: Option<&str>) -> anyhow::Result<Report> {
    let rows: Vec<Spec> = match only {
        None => ROWS.into_iter().filter(|spec| spec.least <= extent).collect(),
        Some(name) => ROWS.into_iter().filter(|spec| spec.name.starts_with(name)).collect(),
    };
    let (mut rows, idle, shares) = with_keys(keys, extent, &rows).await?;
    if only.is_some() {
        return Report::new(rows, idle, shares).context("no row has a name that begins so");
    }
    for (other, least) in OTHER_KEYS {
        if extent >= least && other != keys {
            rows.extend(with_keys(other, extent, &ROWS[..1]).await?.0);
        }
    }
    Report::new(rows, idle, shares).context("there are rows")
}

type Measured = (Vec<Row>, [u64; 2], Vec<(String, f64)>);

async fn with_keys(keys: KeyKind, extent: Extent, rows: &[Spec]) -> anyhow::Result<Measured> {
    let dir = tempfile::tempdir()?;
    let mode = Mode::Processes { program: std::env::current_exe()? };
    let options = Options { mode, keys, log_segment_bytes: LOG_SEGMENT_BYTES, ..Options::default() };
    let ecosystem = Ecosystem::build(dir.path(), options, |stage| eprintln!("{stage}")).await?;
    let nginx = Pair::start(dir.path(), ecosystem.services().address()).await?;
    let scene =
        Scene { servers: Servers::of(&ecosystem)?, ecosystem: &ecosystem, nginx: nginx.as_ref(), keys };
    let measured = scene.measure(dir.path(), extent, rows).await;
    if let Some(nginx) = nginx {
        nginx.stop().await;
    }
    let stopped = ecosystem.stop(DRAIN).await;
    let measured = measured?;
    stopped?;
    Ok(measured)
}

struct Scene<'a> {
    servers: Servers,
    ecosystem: &'a Ecosystem,
    nginx: Option<&'a Pair>,
    keys: KeyKind,
}

impl Scene<'_> {
    async fn measure(&self, dir: &Path, extent: Extent, rows: &[Spec]) -> anyhow::Result<Measured> {
        let idle = self.servers.now().await?.resident;
        let (mut measured, mut shares, mut highest) = (Vec::<Row>::new(), None, 0.0_f64);
        for spec in rows {
            eprintln!("{}, {} at once", spec.name, spec.concurrency);
            let row = self.row(spec, extent, highest / 2.0).await.context(spec.name)?;
            if spec.asked == Asked::Nothing && !spec.new_connections {
                highest = highest.max(row.ours.exchanges_per_second);
            }
            measured.push(row);
            if shares.is_none() && extent > Extent::Smoke {
                shares = self.shares(dir, spec).await?;
            }
        }
        Ok((measured, idle, shares.unwrap_or_default()))
    }

    async fn row(&self, spec: &Spec, extent: Extent, half: f64) -> anyhow::Result<Row> {
        let (windows, warm_up, length) = extent.windows();
        let arrivals = if spec.half_rate { Arrivals::Open { per_second: half } } else { Arrivals::Closed };
        let plan = |target| Plan {
            target,
            concurrency: spec.concurrency,
            new_connections: spec.new_connections,
            arrivals,
            warm_up,
            measure: length,
        };
        let ours = plan(self.through_us(spec.asked));
        // Half of our rate says nothing about anybody else.
        let beside = |address| (!spec.half_rate).then(|| plan(straight(spec.asked, address)));
        let nginx = self.nginx.and_then(|pair| Some((pair, beside(pair.address.to_string())?)));
        let direct = beside(self.ecosystem.services().address().to_string());
        let mut row = Gathered::default();
        for _ in 0..windows {
            let (before, outcome) = load::run(&ours, async || self.servers.now().await).await?;
            let after = self.servers.now().await?;
            row.add_ours(&before, outcome, &after)?;
            if let Some((pair, plan)) = &nginx {
                let (before, outcome) = load::run(plan, async || Ok(pair.cpu_seconds())).await?;
                row.add_nginx(pair.cpu_seconds() - before, outcome)?;
            }
            if let Some(plan) = &direct {
                let ((), outcome) = load::run(plan, async || Ok(())).await?;
                row.direct.add(0.0, &outcome)?;
            }
        }
        Ok(row.finish(spec.name, self.keys, spec.concurrency, arrivals))
    }

    /// Where the CPU goes while this row's load runs.
    async fn shares(&self, dir: &Path, spec: &Spec) -> anyhow::Result<Option<Vec<(String, f64)>>> {
        let plan = Plan {
            target: self.through_us(spec.asked),
            concurrency: spec.concurrency,
            new_connections: false,
            arrivals: Arrivals::Closed,
            warm_up: Duration::from_millis(500),
            measure: SAMPLES + Duration::from_secs(1),
        };
        let pids = self.servers.pids();
        let load = load::run(&plan, async || Ok(()));
        let (loaded, shares) = tokio::join!(load, async {
            tokio::time::sleep(plan.warm_up).await;
            steps::shares(dir, &pids, SAMPLES).await
        });
        loaded?;
        Ok(shares)
    }

    /// The request as an information system sends it to its security server.
    fn through_us(&self, asked: Asked) -> Target {
        let (school, probe) = (parties::school(), parties::probe());
        let (call, length) = match asked {
            Asked::Nothing => (Call::rest(&school, &probe, Method::GET, "/size/0", None), 0),
            Asked::Echo(bytes) => {
                let typed = Some(("application/octet-stream", bytes::Bytes::new()));
                (Call::rest(&school, &probe, Method::POST, "/echo", typed), bytes)
            }
            Asked::Soap => (Call::soap(&school, &parties::resident_details(), &envelope_content()), 500),
            Asked::SoapWithAttachment => {
                let attachment = ("application/octet-stream", [b'x'; 1 << 10].as_slice());
                let service = parties::resident_details();
                (Call::soap_with_attachment(&school, &service, &envelope_content(), attachment), 500)
            }
        };
        Target {
            address: self.ecosystem.consumer().address.to_string(),
            method: call.method,
            path: call.target,
            headers: call.headers,
            with_ids: call.kind == Kind::Rest,
            content: content(asked, call.body),
            answer_bytes: length,
        }
    }
}

/// The request as the provider's security server sends it to the service.
fn straight(asked: Asked, address: String) -> Target {
    let rest = |method, path: &str, bytes| Target {
        address: address.clone(),
        method,
        path: format!("{}{path}", services::probe::BASE),
        headers: vec![("Content-Type", "application/octet-stream".to_owned())],
        with_ids: false,
        content: content(asked, bytes::Bytes::new()),
        answer_bytes: bytes,
    };
    match asked {
        Asked::Nothing => rest(Method::GET, "/size/0", 0),
        Asked::Echo(bytes) => rest(Method::POST, "/echo", bytes),
        Asked::Soap | Asked::SoapWithAttachment => {
            let call = Call::soap(&parties::school(), &parties::resident_details(), &envelope_content());
            Target {
                address,
                method: call.method,
                path: services::soap::BASE.to_owned(),
                headers: call.headers,
                with_ids: false,
                content: Content::Bytes(call.body),
                answer_bytes: 500,
            }
        }
    }
}

/// Small bodies lie in memory, large ones are made while they are sent.
fn content(asked: Asked, body: bytes::Bytes) -> Content {
    match asked {
        Asked::Echo(length) if length <= 1 << 20 => Content::Bytes(vec![b'x'; length as usize].into()),
        Asked::Echo(length) => Content::Made(length),
        Asked::Nothing | Asked::Soap | Asked::SoapWithAttachment => Content::Bytes(body),
    }
}

/// A comment fills the request up to a kilobyte.
fn envelope_content() -> String {
    format!(
        r#"<residentDetails xmlns="{}"><code>M-2019-0502</code><!--{}--></residentDetails>"#,
        services::soap::NAMESPACE,
        "x".repeat(200)
    )
}

/// Windows of one side, together.
struct Windows {
    exchanges: u64,
    elapsed: Duration,
    cpu: f64,
    latencies: Histogram<u64>,
    /// Rate of each window.
    rates: Vec<f64>,
}

impl Default for Windows {
    fn default() -> Self {
        let latencies = load::histogram();
        Self { exchanges: 0, elapsed: Duration::ZERO, cpu: 0.0, latencies, rates: Vec::new() }
    }
}

impl Windows {
    fn add(&mut self, cpu: f64, outcome: &Outcome) -> anyhow::Result<()> {
        self.exchanges += outcome.exchanges;
        self.elapsed += outcome.elapsed;
        self.cpu += cpu;
        self.latencies.add(&outcome.latencies).context("all histograms have the same bounds")?;
        self.rates.push(outcome.exchanges as f64 / outcome.elapsed.as_secs_f64());
        Ok(())
    }

    fn side(&self) -> Option<Side> {
        (self.exchanges > 0).then(|| Side::new(self.exchanges, self.elapsed, self.cpu, &self.latencies))
    }
}

/// All windows of a row.
#[derive(Default)]
struct Gathered {
    ours: Windows,
    nginx: Windows,
    direct: Windows,
    /// CPU seconds of consumer, provider and load.
    cpu: [f64; 3],
    counted: crate::servers::Counted,
    resident: [u64; 2],
}

impl Gathered {
    fn add_ours(&mut self, before: &Moment, outcome: Outcome, after: &Moment) -> anyhow::Result<()> {
        let cpu = [0, 1, 2].map(|n| after.cpu[n] - before.cpu[n]);
        self.ours.add(cpu[0] + cpu[1], &outcome)?;
        self.cpu = [0, 1, 2].map(|n| self.cpu[n] + cpu[n]);
        let counted = after.counted.since(&before.counted);
        self.counted.signatures += counted.signatures;
        self.counted.verifications += counted.verifications;
        self.counted.fsyncs += counted.fsyncs;
        self.counted.written_bytes += counted.written_bytes;
        self.resident = [0, 1].map(|n| self.resident[n].max(after.resident[n]));
        Ok(())
    }

    fn add_nginx(&mut self, cpu: f64, outcome: Outcome) -> anyhow::Result<()> {
        self.nginx.add(cpu, &outcome)
    }

    fn finish(self, name: &str, keys: KeyKind, concurrency: usize, arrivals: Arrivals) -> Row {
        let pairs = self.ours.rates.iter().zip(&self.nginx.rates).map(|(ours, nginx)| ours / nginx);
        let mut row = Row {
            name: name.to_owned(),
            keys: format!("{keys:?}"),
            concurrency,
            offered_per_second: match arrivals {
                Arrivals::Closed => None,
                Arrivals::Open { per_second } => Some(per_second),
            },
            ours: Side::new(self.ours.exchanges, self.ours.elapsed, self.ours.cpu, &self.ours.latencies),
            nginx: self.nginx.side(),
            direct: self.direct.side(),
            ratio_to_nginx: crate::report::Ratio::of(pairs.collect()),
            ..Row::default()
        };
        row.per_exchange(self.ours.exchanges, self.cpu, &self.counted, self.resident);
        row
    }
}
