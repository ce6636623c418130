//! Prometheus metrics: one recorder for the process, rendered on request, and process figures (resident memory, CPU).
//!
//! Anything may count with the `metrics` macros at any time; what was counted before [`Metrics::install`] is lost. Histograms whose
//! name ends in `_seconds` have buckets from 50 µs to two minutes, those ending in `_bytes` from 256 B to 4 GiB, those ending in
//! `_records` from 1 to 10,000. What a histogram was given is folded into its buckets every few seconds, whether or not anybody asks for
//! it, since until then it takes memory.
use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Renders what the process has counted so far.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 120.0,
];
const BYTES: &[f64] =
    &[256.0, 1024.0, 4096.0, 16384.0, 65536.0, 1_048_576.0, 16_777_216.0, 268_435_456.0, 4_294_967_296.0];
const RECORDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1000.0, 10_000.0];

/// Between two times that what histograms were given is folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

impl Metrics {
    /// Installs the recorder; the same handle when called again.
    pub fn install() -> Self {
        static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
        let handle = INSTALLED.get_or_init(|| {
            let recorder = builder().expect("the bucket lists are not empty").build_recorder();
            let handle = recorder.handle();
            tend(handle.clone(), UPKEEP);
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed already; ours stays empty");
            }
            handle
        });
        Self { handle: handle.clone() }
    }

    /// Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        let mut text = self.handle.render();
        if let Some(figures) = Process::read() {
            figures.render(&mut text);
        }
        text
    }
}

/// Does what only a scrape would do otherwise, for as long as the process lives.
fn tend(handle: PrometheusHandle, every: Duration) {
    let tended = std::thread::Builder::new().name("metrics".into()).spawn(move || {
        loop {
            std::thread::sleep(every);
            handle.run_upkeep();
        }
    });
    if let Err(error) = tended {
        tracing::warn!(%error, "no thread for metrics: until they are asked for, they take more and more memory");
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_records".into()), RECORDS)
}

/// What the kernel says about a process, under the names that Prometheus client libraries agree on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Threads.
    pub threads: u64,
}

impl Process {
    /// Of this process; `None` where there is no `/proc`.
    pub fn read() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Of any process; `None` when it is gone. Another user's open files are not to be seen and count as none.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let open_fds =
            std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
        Self::parse(
            &stat,
            open_fds,
            rustix::param::clock_ticks_per_second() as f64,
            rustix::param::page_size() as u64,
        )
    }

    /// proc(5): the second field is in parentheses and may hold anything, so counting starts after the last one.
    fn parse(stat: &str, open_fds: u64, ticks: f64, page: u64) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
            threads: field(20)?,
            resident_bytes: field(24)? * page,
            open_fds,
        })
    }

    fn render(&self, out: &mut String) {
        let figures = [
            ("process_cpu_seconds_total", "counter", self.cpu_seconds),
            ("process_resident_memory_bytes", "gauge", self.resident_bytes as f64),
            ("process_open_fds", "gauge", self.open_fds as f64),
            ("process_threads", "gauge", self.threads as f64),
        ];
        for (name, kind, value) in figures {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted_and_the_process() {
        let first = Metrics::install();
        let again = Metrics::install();
        metrics::counter!("test_things_total", "kind" => "a").increment(3);
        metrics::histogram!("test_wait_seconds").record(0.2);
        let text = again.render();
        assert!(text.contains("test_things_total{kind=\"a\"} 3"), "{text}");
        assert!(text.contains("test_wait_seconds_bucket{le=\"0.25\"} 1"), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(first.render().contains("test_things_total"));
    }

    #[test]
    fn what_nobody_asks_for_does_not_gather() {
        let recorder = builder().unwrap().build_recorder();
        tend(recorder.handle(), Duration::from_millis(1));
        let before = Process::read().unwrap().resident_bytes;
        metrics::with_local_recorder(&recorder, || {
            let histogram = metrics::histogram!("test_gathered_seconds");
            // Each takes sixteen bytes until it is in its bucket.
            (0..15_000_000).for_each(|_| histogram.record(0.1));
        });
        let grown = Process::read().unwrap().resident_bytes.saturating_sub(before);
        assert!(grown < 120 << 20, "{grown} bytes");
    }

    #[test]
    fn reads_a_process_with_an_odd_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 500 0 0 0 250 50 0 0 20 0 9 0 100 20000000 1000 18446744073709551615";
        let read = Process::parse(stat, 5, 100.0, 4096).unwrap();
        assert_eq!(read, Process { cpu_seconds: 3.0, resident_bytes: 4_096_000, open_fds: 5, threads: 9 });
        assert_eq!(Process::parse("7 (x", 0, 100.0, 4096), None);
    }
}
