//! What a run found, as a table for people, as one JSON object, and as a plot.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::servers::Counted;

/// One side of a row: us, nginx, or nobody in between.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Side {
    pub(crate) exchanges: u64,
    pub(crate) exchanges_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// Of the two relays together; 0 where there are none.
    pub(crate) cpu_ms_per_exchange: f64,
}

/// Our rate relative to the one beside it, over all pairs of neighbouring windows.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// CPU milliseconds per exchange, by process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) consumer: f64,
    pub(crate) provider: f64,
    pub(crate) servers: f64,
    /// Load, backend and trust services.
    pub(crate) load: f64,
}

/// Of both servers together, per exchange.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Work {
    pub(crate) private_key_operations: f64,
    pub(crate) verifications: f64,
    pub(crate) fsyncs: f64,
    pub(crate) written_kib: f64,
}

/// MiB. The servers run through all rows, so what earlier ones left is in it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) consumer: f64,
    pub(crate) provider: f64,
}

/// One workload.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Kind of the members' signing keys.
    pub(crate) keys: String,
    /// Connections.
    pub(crate) concurrency: usize,
    /// Requests were due at this rate; `None`: whenever an answer was there.
    pub(crate) offered_per_second: Option<f64>,
    pub(crate) ours: Side,
    pub(crate) nginx: Option<Side>,
    pub(crate) direct: Option<Side>,
    pub(crate) ratio_to_nginx: Option<Ratio>,
    pub(crate) cpu_ms_per_exchange: Cpu,
    pub(crate) per_exchange: Work,
    pub(crate) rss_mb: Memory,
}

/// The figures that are followed from change to change: REST without body, RSA-2048, concurrency 64.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Headline {
    pub(crate) exchanges_per_second: f64,
    /// Of both servers together.
    pub(crate) cpu_ms_per_exchange: f64,
    pub(crate) p99_ms: f64,
    /// Of the larger server, MiB.
    pub(crate) rss_mb_max: f64,
    /// Median of neighbouring windows.
    pub(crate) ratio_to_nginx: Option<f64>,
}

/// Part of the CPU time of both servers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) step: String,
    pub(crate) percent: f64,
    pub(crate) ms_per_exchange: f64,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) version: &'static str,
    pub(crate) commit: String,
    /// Memory of the servers before the first exchange.
    pub(crate) idle_rss_mb: Memory,
    pub(crate) headline: Headline,
    pub(crate) rows: Vec<Row>,
    /// Of the headline's row; empty where nothing takes samples.
    pub(crate) steps: Vec<Step>,
}

impl Side {
    pub(crate) fn new(exchanges: u64, elapsed: Duration, cpu: f64, latencies: &Histogram<u64>) -> Self {
        let quantile = |q| latencies.value_at_quantile(q) as f64 / 1000.0;
        Self {
            exchanges,
            exchanges_per_second: round(exchanges as f64 / elapsed.as_secs_f64(), 1),
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            cpu_ms_per_exchange: round(cpu * 1000.0 / exchanges as f64, 4),
        }
    }
}

impl Ratio {
    /// `None` of nothing.
    pub(crate) fn of(mut pairs: Vec<f64>) -> Option<Self> {
        pairs.sort_by(f64::total_cmp);
        let middle = pairs.len() / 2;
        let median = match pairs.len() % 2 {
            1 => pairs[middle],
            _ => (pairs.get(middle.checked_sub(1)?)? + pairs.get(middle)?) / 2.0,
        };
        let (least, most) = (*pairs.first()?, *pairs.last()?);
        Some(Self { median: round(median, 4), least: round(least, 4), most: round(most, 4) })
    }
}

impl Row {
    /// What each of `exchanges` took: CPU seconds of consumer, provider and load, and what was counted.
    pub(crate) fn per_exchange(
        &mut self,
        exchanges: u64,
        cpu: [f64; 3],
        counted: &Counted,
        resident: [u64; 2],
    ) {
        let each = |amount: f64| round(amount / exchanges as f64, 4);
        let [consumer, provider, load] = cpu.map(|seconds| each(seconds * 1000.0));
        self.cpu_ms_per_exchange = Cpu { consumer, provider, servers: round(consumer + provider, 4), load };
        self.per_exchange = Work {
            private_key_operations: each(counted.signatures),
            verifications: each(counted.verifications),
            fsyncs: each(counted.fsyncs),
            written_kib: each(counted.written_bytes / 1024.0),
        };
        self.rss_mb = Memory::of(resident);
    }
}

impl Memory {
    fn of([consumer, provider]: [u64; 2]) -> Self {
        let mib = |bytes: u64| round(bytes as f64 / f64::from(1 << 20), 1);
        Self { consumer: mib(consumer), provider: mib(provider) }
    }
}

impl Report {
    /// The first row is the headline's, and `shares` are of its CPU time.
    pub(crate) fn new(rows: Vec<Row>, idle: [u64; 2], shares: Vec<(String, f64)>) -> Option<Self> {
        let first = rows.first()?;
        let headline = Headline {
            exchanges_per_second: first.ours.exchanges_per_second,
            cpu_ms_per_exchange: first.cpu_ms_per_exchange.servers,
            p99_ms: first.ours.p99_ms,
            rss_mb_max: first.rss_mb.consumer.max(first.rss_mb.provider),
            ratio_to_nginx: first.ratio_to_nginx.map(|ratio| ratio.median),
        };
        let of_all = first.cpu_ms_per_exchange.servers / 100.0;
        let step = |(step, percent): (String, f64)| Step {
            step,
            percent: round(percent, 1),
            ms_per_exchange: round(percent * of_all, 4),
        };
        let steps = shares.into_iter().map(step).collect();
        let (version, commit) = (env!("CARGO_PKG_VERSION"), commit());
        let idle_rss_mb = Memory::of(idle);
        Some(Self { machine: machine(), version, commit, idle_rss_mb, headline, rows, steps })
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}, commit {}\n\n", self.machine, self.commit);
        let head = [
            "exch./s", "nginx", "ratio", "(range)", "direct", "p50 ms", "p99 ms", "p99.9", "CPU ms", "nginx",
            "keys", "fsync", "KiB", "RSS MB",
        ];
        let _ = write!(text, "{:<22} {:>8} {:>5}", "", "keys", "conc.");
        let _ = writeln!(text, "{}", head.map(|word| format!(" {word:>11}")).concat());
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        let Memory { consumer, provider } = self.idle_rss_mb;
        let _ = write!(
            text,
            "\nCPU ms, keys (private-key operations), fsync and KiB (written to the log) are of both servers per exchange; ratio is \
             the median\nof neighbouring windows. Load, backend and trust services ran beside the servers on the same cores.\n\
             Idle, before the first exchange: {consumer} and {provider} MB.\n"
        );
        if !self.steps.is_empty() {
            text.push_str("\nWhere the servers' CPU time goes, first row:\n");
        }
        for Step { step, percent, ms_per_exchange } in &self.steps {
            let _ = writeln!(text, "{percent:>6.1} % {ms_per_exchange:>8.4} ms  {step}");
        }
        text
    }
}

impl Row {
    fn line(&self) -> String {
        let other = |side: &Option<Side>, figure: fn(&Side) -> f64, digits: usize| {
            side.as_ref().map_or_else(|| "-".to_owned(), |side| format!("{:.digits$}", figure(side)))
        };
        let rate = |side: &Side| side.exchanges_per_second;
        let (ratio, range) = self.ratio_to_nginx.map_or(("-".to_owned(), "-".to_owned()), |ratio| {
            (format!("{:.3}", ratio.median), format!("{:.2}-{:.2}", ratio.least, ratio.most))
        });
        let cells = [
            format!("{:.1}", self.ours.exchanges_per_second),
            other(&self.nginx, rate, 0),
            ratio,
            range,
            other(&self.direct, rate, 0),
            format!("{:.2}", self.ours.p50_ms),
            format!("{:.2}", self.ours.p99_ms),
            format!("{:.2}", self.ours.p999_ms),
            format!("{:.3}", self.cpu_ms_per_exchange.servers),
            other(&self.nginx, |side| side.cpu_ms_per_exchange, 3),
            format!("{:.2}", self.per_exchange.private_key_operations),
            format!("{:.2}", self.per_exchange.fsyncs),
            format!("{:.1}", self.per_exchange.written_kib),
            format!("{:.0}/{:.0}", self.rss_mb.consumer, self.rss_mb.provider),
        ];
        let keys = self.keys.to_lowercase().replace(['(', ')'], "");
        let start = format!("{:<22} {keys:>8} {:>5}", self.name, self.concurrency);
        start + &cells.map(|cell| format!(" {cell:>11}")).concat()
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

/// What was checked out where the program runs.
fn commit() -> String {
    let found = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = found.ok().filter(|done| done.status.success()).map(|done| done.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_its_pairs() {
        let ratio = |pairs: &[f64]| Ratio::of(pairs.to_vec()).map(|r| (r.median, r.least, r.most));
        assert_eq!(ratio(&[]), None);
        assert_eq!(ratio(&[0.3]), Some((0.3, 0.3, 0.3)));
        assert_eq!(ratio(&[0.9, 0.1, 0.2]), Some((0.2, 0.1, 0.9)));
        assert_eq!(ratio(&[0.4, 0.1, 0.2, 0.9]), Some((0.3, 0.1, 0.9)));
    }
}
