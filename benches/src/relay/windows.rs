//! Windows of one row, put together.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use pki::key::KeyKind;

use super::rows::Spec;
use crate::load::{self, Arrivals, Outcome};
use crate::report::{Ratio, Row, Side, Window, Work, rate, round};
use crate::servers::{Counted, Moment};

/// Windows of one side, together.
struct Windows {
    exchanges: u64,
    elapsed: Duration,
    cpu: f64,
    latencies: Histogram<u64>,
    each: Vec<Window>,
}

impl Default for Windows {
    fn default() -> Self {
        let latencies = load::histogram();
        Self { exchanges: 0, elapsed: Duration::ZERO, cpu: 0.0, latencies, each: Vec::new() }
    }
}

impl Windows {
    fn add<T>(&mut self, cpu: f64, outcome: &Outcome<T>) -> anyhow::Result<()> {
        self.exchanges += outcome.exchanges;
        self.elapsed += outcome.elapsed;
        self.cpu += cpu;
        self.latencies.add(&outcome.latencies).context("all histograms have the same bounds")?;
        self.each.push(Window {
            exchanges_per_second: rate(outcome.exchanges, outcome.elapsed),
            cpu_ms_per_exchange: round(cpu * 1000.0 / outcome.exchanges as f64, 4),
        });
        Ok(())
    }

    fn side(&self) -> Option<Side> {
        (self.exchanges > 0).then(|| Side::new(self.exchanges, self.elapsed, self.cpu, &self.latencies))
    }
}

/// All windows of a row.
#[derive(Default)]
pub(super) struct Gathered {
    ours: Windows,
    nginx: Windows,
    direct: Windows,
    /// CPU seconds of consumer, provider and load.
    cpu: [f64; 3],
    counted: [Counted; 2],
    resident: [u64; 2],
}

impl Gathered {
    pub(super) fn add_ours(&mut self, outcome: Outcome<Moment>, resident: [u64; 2]) -> anyhow::Result<()> {
        let [before, after] = &outcome.readings;
        let cpu = [0, 1, 2].map(|n| after.cpu[n] - before.cpu[n]);
        for server in [0, 1] {
            let counted = after.counted[server].with(before.counted[server], |after, before| after - before);
            self.counted[server] = self.counted[server].with(counted, |sum, new| sum + new);
            self.resident[server] = self.resident[server].max(resident[server]).max(after.resident[server]);
        }
        self.cpu = [0, 1, 2].map(|n| self.cpu[n] + cpu[n]);
        self.ours.add(cpu[0] + cpu[1], &outcome)
    }

    pub(super) fn add_nginx(&mut self, outcome: Outcome<f64>) -> anyhow::Result<()> {
        self.nginx.add(outcome.readings[1] - outcome.readings[0], &outcome)
    }

    pub(super) fn add_direct(&mut self, outcome: Outcome<f64>) -> anyhow::Result<()> {
        self.direct.add(0.0, &outcome)
    }

    pub(super) fn finish(self, spec: &Spec, keys: KeyKind, arrivals: Arrivals) -> Row {
        let of = |window: &Window| window.exchanges_per_second;
        let pairs = self.ours.each.iter().zip(&self.nginx.each);
        let pairs = pairs.map(|(ours, nginx)| of(ours) / of(nginx)).collect();
        let offered_per_second = match arrivals {
            Arrivals::Closed => None,
            Arrivals::Open { per_second } => Some(round(per_second, 1)),
        };
        let ours = Side::new(self.ours.exchanges, self.ours.elapsed, self.ours.cpu, &self.ours.latencies);
        let body_bytes = spec.body_bytes() as f64;
        let mib = ours.exchanges_per_second * body_bytes / f64::from(1 << 20);
        let mut row = Row {
            name: spec.name.to_owned(),
            keys: format!("{keys:?}"),
            concurrency: spec.concurrency,
            offered_per_second,
            ours,
            nginx: self.nginx.side(),
            direct: self.direct.side(),
            // At a rate that is given there is nothing to compare.
            ratio_to_nginx: Ratio::of(pairs).filter(|_| !spec.half_rate),
            body_mib_per_second: (body_bytes > 0.0).then(|| round(mib, 1)),
            per_exchange: per_exchange(&self.counted, self.ours.exchanges),
            ours_windows: self.ours.each,
            ..Row::default()
        };
        let most = self.counted.map(|server| server.to_files / self.ours.exchanges as f64 / body_bytes);
        row.written_per_body_byte = spec.is_large().then(|| round(most[0].max(most[1]), 2));
        row.taken(self.ours.exchanges, self.cpu, self.resident);
        row
    }
}

/// Both servers together. Each server's counts are divided by the exchanges that the same page of it counts.
fn per_exchange(counted: &[Counted; 2], exchanges: u64) -> Work {
    let each = |figure: fn(&Counted) -> f64| {
        let of = |server: &Counted| match server.exchanges {
            none if none < 1.0 => figure(server) / exchanges as f64,
            counted => figure(server) / counted,
        };
        round(counted.iter().map(of).sum(), 4)
    };
    Work {
        private_key_operations: each(|c| c.signatures),
        verifications: each(|c| c.verifications),
        fsyncs: each(|c| c.fsyncs),
        written_kib: each(|c| c.written_bytes / 1024.0),
        connections_between_servers: each(|c| c.connections),
    }
}
