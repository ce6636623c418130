//! What a run found, as a table for people and as one JSON object.

use serde::Serialize;

use crate::load::Outcome;

/// CPU milliseconds per exchange, by process.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cpu {
    /// The consumer's security server.
    pub(crate) consumer: f64,
    /// The provider's.
    pub(crate) provider: f64,
    /// Both servers together.
    pub(crate) servers: f64,
    /// This process: load, backend, trust services.
    pub(crate) load: f64,
}

/// Resident memory at the end of a row, MiB. The servers run through all rows, so what earlier ones and the timestamps of each minute
/// left is in it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    /// The consumer's security server.
    pub(crate) consumer: f64,
    /// The provider's.
    pub(crate) provider: f64,
}

/// One workload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was asked.
    pub(crate) name: String,
    /// Kind of the members' signing keys.
    pub(crate) keys: String,
    /// Exchanges under way at any time.
    pub(crate) concurrency: usize,
    /// Exchanges measured.
    pub(crate) exchanges: u64,
    /// For how long.
    pub(crate) seconds: f64,
    /// Rate.
    pub(crate) exchanges_per_second: f64,
    /// Median latency.
    pub(crate) p50_ms: f64,
    /// 99th percentile.
    pub(crate) p99_ms: f64,
    /// CPU.
    pub(crate) cpu_ms_per_exchange: Cpu,
    /// Memory.
    pub(crate) rss_mb: Memory,
}

/// The figures that are followed from change to change: REST without body, RSA-2048, concurrency 64.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Headline {
    /// Rate.
    pub(crate) exchanges_per_second: f64,
    /// Of both servers together.
    pub(crate) cpu_ms_per_exchange: f64,
    /// 99th percentile.
    pub(crate) p99_ms: f64,
    /// Of the larger server, MiB.
    pub(crate) rss_mb_max: f64,
    /// Rate relative to plain nginx as a reverse proxy on the same machine; not measured yet.
    pub(crate) ratio_to_nginx: Option<f64>,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where it ran.
    pub(crate) machine: String,
    /// Version of the program.
    pub(crate) version: &'static str,
    /// Every workload.
    pub(crate) rows: Vec<Row>,
    /// The first row's.
    pub(crate) headline: Headline,
}

impl Row {
    /// Puts the figures of one workload together; `cpu` holds seconds of consumer, provider and this process.
    pub(crate) fn new(
        name: &str,
        keys: &str,
        concurrency: usize,
        outcome: &Outcome,
        cpu: [f64; 3],
        rss_mb: Memory,
    ) -> Self {
        let seconds = outcome.elapsed.as_secs_f64();
        let exchanges = outcome.exchanges as f64;
        let quantile = |q| outcome.latencies.value_at_quantile(q) as f64 / 1000.0;
        let [consumer, provider, load] = cpu.map(|seconds| round(seconds * 1000.0 / exchanges, 4));
        Self {
            name: name.to_owned(),
            keys: keys.to_owned(),
            concurrency,
            exchanges: outcome.exchanges,
            seconds: round(seconds, 2),
            exchanges_per_second: round(exchanges / seconds, 1),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            cpu_ms_per_exchange: Cpu { consumer, provider, servers: round(consumer + provider, 4), load },
            rss_mb,
        }
    }
}

impl Report {
    /// The first row is the headline's.
    pub(crate) fn new(rows: Vec<Row>) -> Option<Self> {
        let first = rows.first()?;
        let headline = Headline {
            exchanges_per_second: first.exchanges_per_second,
            cpu_ms_per_exchange: first.cpu_ms_per_exchange.servers,
            p99_ms: first.p99_ms,
            rss_mb_max: first.rss_mb.consumer.max(first.rss_mb.provider),
            ratio_to_nginx: None,
        };
        Some(Self { machine: machine(), version: env!("CARGO_PKG_VERSION"), rows, headline })
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{}\n\n{:<22} {:>5} {:>10} {:>9} {:>9} {:>10} {:>10} {:>10} {:>9} {:>9}\n",
            self.machine,
            "",
            "conc.",
            "exch./s",
            "p50 ms",
            "p99 ms",
            "CPU ms",
            "consumer",
            "provider",
            "RSS cons.",
            "RSS prov."
        );
        for row in &self.rows {
            let cpu = row.cpu_ms_per_exchange;
            text.push_str(&format!(
                "{:<22} {:>5} {:>10.1} {:>9.2} {:>9.2} {:>10.3} {:>10.3} {:>10.3} {:>6.0} MB {:>6.0} MB\n",
                row.name,
                row.concurrency,
                row.exchanges_per_second,
                row.p50_ms,
                row.p99_ms,
                cpu.servers,
                cpu.consumer,
                cpu.provider,
                row.rss_mb.consumer,
                row.rss_mb.provider,
            ));
        }
        text.push_str(
            "\nCPU is that of both servers per exchange; load, backend and trust services ran beside them.\n\
             RSS is at the end of a row, with what the rows before it left.\n",
        );
        text
    }
}

/// Digits after the point that still mean something.
pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// Processor and how many of them, so that figures of two machines are not compared by mistake.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| {
        line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
    });
    format!("{cpus} × {}", model.unwrap_or_else(|| "unknown processor".into()))
}
