//! Full load for minutes, with a log that may not grow beyond a size: memory, latency and disk over time.
//!
//! The log is archived and cut all the time; what was archived stays in its folder, as it does until somebody takes it away.

use std::path::Path;
use std::time::Duration;

use pki::key::KeyKind;
use sandbox::parties;
use serde::Serialize;

use super::rows::{Extent, HEADLINE};
use super::scene::Scene;
use crate::load::{self, Arrivals, Length, Plan};
use crate::report::{Memory, millis, round};

/// Of the time, so that a trend shows.
const SLICES: u32 = 6;
/// Bytes of the log above which the oldest records go once they are archived.
const MOST_LOG_BYTES: u64 = 256 << 20;
const SEGMENT_BYTES: u64 = 32 << 20;
/// Seconds between runs of archiving and of retention, the least there is.
const INTERVAL: u64 = 60;

/// One part of the time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Slice {
    pub(crate) seconds: f64,
    pub(crate) exchanges_per_second: f64,
    pub(crate) cpu_ms_per_exchange: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// The most of it.
    pub(crate) rss_mb: Memory,
    /// Of the consumer's server, at its end.
    pub(crate) log_mib: f64,
    pub(crate) archive_mib: f64,
}

/// # Errors
/// An exchange failed.
pub(super) async fn run(keys: KeyKind, extent: Extent) -> anyhow::Result<Vec<Slice>> {
    let mut scene = Scene::build(keys, 0).await?;
    let measured = slices(&mut scene, extent).await;
    scene.close().await?;
    measured
}

async fn slices(scene: &mut Scene, extent: Extent) -> anyhow::Result<Vec<Slice>> {
    let settings = |_: &_, settings: &mut security_server::config::File| {
        let log = &mut settings.message_log;
        (log.max_log_size, log.segment_size) = (MOST_LOG_BYTES, SEGMENT_BYTES);
        (log.archive_interval, log.clean_interval) = (INTERVAL, INTERVAL);
    };
    scene.restart(settings).await?;
    scene.warm_up(extent).await?;
    let seconds = if extent == Extent::Smoke { 0.5 } else { 30.0 };
    let data = scene.ecosystem.dir().join(parties::consumer_server().code).join("data");
    let mut slices = Vec::new();
    for number in 0..SLICES {
        eprintln!("       {number} of {SLICES}");
        let plan = Plan {
            target: scene.ours(&HEADLINE),
            concurrency: HEADLINE.concurrency,
            new_connections: false,
            arrivals: Arrivals::Closed,
            length: Length::Time { warm_up: Duration::ZERO, measure: Duration::from_secs_f64(seconds) },
            patience: HEADLINE.patience(),
        };
        let watch = scene.servers.watch();
        let outcome = load::run(&plan, async || scene.servers.now().await).await?;
        let [before, after] = &outcome.readings;
        let cpu = after.cpu[0] + after.cpu[1] - before.cpu[0] - before.cpu[1];
        slices.push(Slice {
            seconds: round(outcome.elapsed.as_secs_f64(), 1),
            exchanges_per_second: round(outcome.exchanges as f64 / outcome.elapsed.as_secs_f64(), 1),
            cpu_ms_per_exchange: round(cpu * 1000.0 / outcome.exchanges as f64, 4),
            p50_ms: millis(&outcome.latencies, 0.5),
            p99_ms: millis(&outcome.latencies, 0.99),
            p999_ms: millis(&outcome.latencies, 0.999),
            rss_mb: Memory::of(watch.most()),
            log_mib: mib(&data.join("log")),
            archive_mib: mib(&data.join("archive")),
        });
    }
    Ok(slices)
}

/// What the files of a folder take.
fn mib(folder: &Path) -> f64 {
    let mut total = 0.0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => total += mib(&entry.path()),
            Ok(metadata) => total += metadata.len() as f64 / f64::from(1 << 20),
            // It went a moment ago.
            Err(_) => {}
        }
    }
    round(total, 1)
}
