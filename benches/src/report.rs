//! What a run found, as a table for people, as one JSON object, and as a plot.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::goals::{self, Goal};
use crate::relay::Extent;
use crate::relay::floor::Floor;
use crate::relay::members::{Large, Start};
use crate::relay::soak::Slice;

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

/// One window of ours; a run that was not warm, or a machine that was busy, shows here.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) exchanges_per_second: f64,
    pub(crate) cpu_ms_per_exchange: f64,
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
    pub(crate) connections_between_servers: f64,
}

/// MiB, the most while the row ran. The servers run through many rows, so what earlier ones left is in it.
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
    pub(crate) ours_windows: Vec<Window>,
    pub(crate) nginx: Option<Side>,
    pub(crate) direct: Option<Side>,
    pub(crate) ratio_to_nginx: Option<Ratio>,
    pub(crate) cpu_ms_per_exchange: Cpu,
    pub(crate) per_exchange: Work,
    pub(crate) rss_mb: Memory,
    /// Of both bodies of all exchanges.
    pub(crate) body_mib_per_second: Option<f64>,
    /// What the server that wrote more gave to its files, for each byte of the bodies that it relayed; of large ones alone.
    pub(crate) written_per_body_byte: Option<f64>,
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

/// A part of the run of which there are no figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) part: String,
    pub(crate) error: String,
}

/// What was measured, as it came.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: Vec<Row>,
    /// Resident bytes of both servers before the first exchange.
    pub(crate) idle: [u64; 2],
    /// Shares of the CPU time of the headline's row.
    pub(crate) shares: Vec<(String, f64)>,
    /// Taken beside the rows that are compared with it.
    pub(crate) floors: Vec<Floor>,
    pub(crate) start: Option<Start>,
    pub(crate) registry: Option<Large>,
    pub(crate) soak: Vec<Slice>,
    pub(crate) failures: Vec<Failure>,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) version: &'static str,
    pub(crate) commit: String,
    pub(crate) extent: String,
    /// Memory of the servers before the first exchange.
    pub(crate) idle_rss_mb: Memory,
    /// `None` when the run had no such row.
    pub(crate) headline: Option<Headline>,
    pub(crate) rows: Vec<Row>,
    /// Of the headline's row; empty where nothing takes samples.
    pub(crate) steps: Vec<Step>,
    /// What the machine could do at best.
    pub(crate) floor: Option<Floor>,
    pub(crate) start: Option<Start>,
    pub(crate) registry: Option<Large>,
    pub(crate) soak: Vec<Slice>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) failures: Vec<Failure>,
}

impl Side {
    pub(crate) fn new(exchanges: u64, elapsed: Duration, cpu: f64, latencies: &Histogram<u64>) -> Self {
        let quantile = |q| millis(latencies, q);
        Self {
            exchanges,
            exchanges_per_second: rate(exchanges, elapsed),
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

/// A quantile of microseconds.
pub(crate) fn millis(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

impl Row {
    /// What all `exchanges` took: CPU seconds of consumer, provider and load, and resident bytes.
    pub(crate) fn taken(&mut self, exchanges: u64, cpu: [f64; 3], resident: [u64; 2]) {
        let [consumer, provider, load] = cpu.map(|seconds| round(seconds * 1000.0 / exchanges as f64, 4));
        self.cpu_ms_per_exchange = Cpu { consumer, provider, servers: round(consumer + provider, 4), load };
        self.rss_mb = Memory::of(resident);
    }

    /// A line for those who wait.
    pub(crate) fn in_short(&self) -> String {
        let Side { exchanges_per_second, p50_ms, p99_ms, .. } = self.ours;
        let cpu = self.cpu_ms_per_exchange.servers;
        let nginx = self
            .nginx
            .map_or(String::new(), |side| format!(", nginx {}/s", shown(side.exchanges_per_second, 1)));
        let exchanges_per_second = shown(exchanges_per_second, 1);
        format!("{exchanges_per_second}/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, CPU {cpu:.3} ms{nginx}")
    }

    /// The row that is followed from change to change.
    fn is_headline(&self) -> bool {
        self.name == "REST without body" && self.concurrency == 64 && self.keys == "Rsa(2048)"
    }
}

impl Memory {
    pub(crate) fn of([consumer, provider]: [u64; 2]) -> Self {
        let mib = |bytes: u64| round(bytes as f64 / f64::from(1 << 20), 1);
        Self { consumer: mib(consumer), provider: mib(provider) }
    }

    /// Of the larger server.
    pub(crate) fn most(&self) -> f64 {
        self.consumer.max(self.provider)
    }
}

impl Report {
    /// The headline's row comes first.
    pub(crate) fn new(extent: Extent, mut found: Found) -> Self {
        found.rows.sort_by_key(|row| !row.is_headline());
        let first = found.rows.first().filter(|row| row.is_headline());
        let headline = first.map(|first| Headline {
            exchanges_per_second: first.ours.exchanges_per_second,
            cpu_ms_per_exchange: first.cpu_ms_per_exchange.servers,
            p99_ms: first.ours.p99_ms,
            rss_mb_max: first.rss_mb.most(),
            ratio_to_nginx: first.ratio_to_nginx.map(|ratio| ratio.median),
        });
        let sampled = found.rows.first().map_or(0.0, |row| row.cpu_ms_per_exchange.servers);
        let step = |(step, percent): (String, f64)| Step {
            step,
            percent: round(percent, 1),
            ms_per_exchange: round(percent * sampled / 100.0, 4),
        };
        let steps = found.shares.drain(..).map(step).collect();
        let mut report = Self {
            machine: machine(),
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            extent: format!("{extent:?}").to_lowercase(),
            idle_rss_mb: Memory::of(found.idle),
            headline,
            rows: found.rows,
            steps,
            floor: Floor::mean(&found.floors),
            start: found.start,
            registry: found.registry,
            soak: found.soak,
            goals: Vec::new(),
            failures: found.failures,
        };
        report.goals = goals::of(&report);
        report
    }

    /// Nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.start.is_none() && self.registry.is_none() && self.soak.is_empty()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}, commit {}, {} run\n\n", self.machine, self.commit, self.extent);
        self.rows_table(&mut text);
        if !self.steps.is_empty() {
            text.push_str("\nWhere the servers' CPU time goes, REST without body, 64 at once:\n");
        }
        for Step { step, percent, ms_per_exchange } in &self.steps {
            let _ = writeln!(text, "{percent:>6.1} % {ms_per_exchange:>8.4} ms  {step}");
        }
        self.soak_table(&mut text);
        self.others(&mut text);
        goals::table(&self.goals, &mut text);
        for Failure { part, error } in &self.failures {
            let _ = writeln!(text, "FAILED: {part}: {error}");
        }
        text
    }

    fn rows_table(&self, text: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let head = [
            "exch./s", "nginx", "ratio", "(range)", "direct", "p50 ms", "p99 ms", "p99.9", "CPU ms", "nginx",
            "keys", "verif.", "fsync", "KiB", "RSS MB",
        ];
        let _ = write!(text, "{:<22} {:>8} {:>5}", "", "keys", "conc.");
        let _ = writeln!(text, "{}", head.map(|word| format!(" {word:>11}")).concat());
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        let Memory { consumer, provider } = self.idle_rss_mb;
        let _ = write!(
            text,
            "\nCPU ms, keys (private-key operations), verif. (signatures and certificates checked), fsync and KiB (written to the \
             log) are of\nboth servers per exchange; ratio is the median of neighbouring windows. Load, backend and trust services \
             ran beside the\nservers on the same cores. \
             Idle, before the first exchange: {consumer} and {provider} MB.\n"
        );
    }

    fn soak_table(&self, text: &mut String) {
        if self.soak.is_empty() {
            return;
        }
        text.push_str("\nFull load, 64 at once, log cut by size:\n");
        let head =
            ["seconds", "exch./s", "p50 ms", "p99 ms", "p99.9", "CPU ms", "RSS MB", "log MiB", "archive MiB"];
        let _ = writeln!(text, "{}", head.map(|word| format!(" {word:>11}")).concat());
        for slice in &self.soak {
            let figures =
                [slice.seconds, slice.exchanges_per_second, slice.p50_ms, slice.p99_ms, slice.p999_ms];
            let mut cells = figures.map(|figure| format!("{figure:.1}")).to_vec();
            cells.push(format!("{:.3}", slice.cpu_ms_per_exchange));
            cells.push(format!("{:.0}/{:.0}", slice.rss_mb.consumer, slice.rss_mb.provider));
            cells.extend([slice.log_mib, slice.archive_mib].map(|figure| format!("{figure:.0}")));
            let _ = writeln!(text, "{}", cells.iter().map(|cell| format!(" {cell:>11}")).collect::<String>());
        }
    }

    fn others(&self, text: &mut String) {
        if let Some(Floor { signature_ms, verification_ms, commit_ms, body_mib_per_second }) = &self.floor {
            let _ = writeln!(
                text,
                "\nOf this machine: one signature {signature_ms:.3} ms, one verification {verification_ms:.3} ms, one commit of \
                 8 KiB {commit_ms:.3} ms;\nall cores hash, seal, open and hash bodies at {body_mib_per_second:.0} MiB/s."
            );
        }
        if let Some(Start { members, to_first_exchange_seconds, rss_mb }) = &self.start {
            let _ = writeln!(
                text,
                "\n{members} members known: {to_first_exchange_seconds:.3} s from start to first exchange, {:.0} MB.",
                rss_mb.most()
            );
        }
        if let Some(large) = &self.registry {
            let _ = writeln!(
                text,
                "\n{} members and {} servers known: {:.3} s from start to first exchange, {:.0} MB at most, {:.3} ms CPU for an \
                 exchange,\nlookups {:?} ns at a hundredth, a tenth and all of it. At {:.0} exchanges/s p99 {:.1} ms; while \
                 {} new configurations came in, {:.1} s each,\np99 {:.1} ms.",
                large.start.members,
                large.servers,
                large.start.to_first_exchange_seconds,
                large.rss_mb.most(),
                large.cpu_ms_per_exchange,
                large.lookup_ns,
                large.offered_per_second,
                large.p99_ms,
                large.reloads,
                large.reload_seconds,
                large.reloading_p99_ms,
            );
        }
    }
}

impl Row {
    fn line(&self) -> String {
        let other = |side: &Option<Side>, figure: fn(&Side) -> f64, digits: usize| {
            side.as_ref().map_or_else(|| "-".to_owned(), |side| shown(figure(side), digits))
        };
        let rate = |side: &Side| side.exchanges_per_second;
        let (ratio, range) = self.ratio_to_nginx.map_or(("-".to_owned(), "-".to_owned()), |ratio| {
            (format!("{:.3}", ratio.median), format!("{:.2}-{:.2}", ratio.least, ratio.most))
        });
        let cells = [
            shown(self.ours.exchanges_per_second, 1),
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
            format!("{:.2}", self.per_exchange.verifications),
            format!("{:.2}", self.per_exchange.fsyncs),
            format!("{:.1}", self.per_exchange.written_kib),
            format!("{:.0}/{:.0}", self.rss_mb.consumer, self.rss_mb.provider),
        ];
        let keys = self.keys.to_lowercase().replace(['(', ')'], "");
        let start = format!("{:<22} {keys:>8} {:>5}", self.name, self.concurrency);
        start + &cells.map(|cell| format!(" {cell:>11}")).concat()
    }
}

/// With so many digits, or more where it would look like nothing.
fn shown(figure: f64, digits: usize) -> String {
    if figure < 10.0 { format!("{figure:.3}") } else { format!("{figure:.digits$}") }
}

/// A second; large bodies come to a fraction.
pub(crate) fn rate(exchanges: u64, elapsed: Duration) -> f64 {
    let rate = exchanges as f64 / elapsed.as_secs_f64();
    round(rate, if rate < 100.0 { 4 } else { 1 })
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
