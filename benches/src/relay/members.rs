//! What knowing many members costs: the time from a start to the first exchange, memory, lookups, and exchanges while a new configuration
//! comes in.
//!
//! The members are registered at the central server, which publishes them; the security servers download, verify and build as they always
//! do. For the reloads a member is added through the management API as soon as both servers have the configuration with the one before, so
//! that a new configuration is on its way all the time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use pki::key::KeyKind;
use sandbox::admin::Admin;
use sandbox::parties;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinHandle;

use super::rows::{Extent, HALF_RATE, HEADLINE, ROWS};
use super::scene::Scene;
use crate::load::{self, Arrivals, Length, Plan};
use crate::registry;
use crate::report::{Memory, millis, round};
use crate::servers::Moment;

/// From a start to the first exchange.
const PATIENCE: Duration = Duration::from_secs(60);
/// A reload that takes longer has failed.
const RELOAD: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
/// Starts, of which the median counts.
const STARTS: usize = 3;

/// How soon servers work that were just started.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) members: u32,
    /// From the start of both security servers to the first whole answer; the median of some.
    pub(crate) to_first_exchange_seconds: f64,
    /// At that moment.
    pub(crate) rss_mb: Memory,
}

/// What a large registry costs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Large {
    pub(crate) start: Start,
    pub(crate) servers: u32,
    /// The most during all of it.
    pub(crate) rss_mb: Memory,
    /// REST without body, 64 at once.
    pub(crate) exchanges_per_second: f64,
    pub(crate) cpu_ms_per_exchange: f64,
    /// What an exchange asks of the configuration, at a hundredth, a tenth and all of it.
    pub(crate) lookup_ns: Vec<f64>,
    /// Open loop at half of that rate.
    pub(crate) offered_per_second: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// The same while new configurations come in.
    pub(crate) reloading_p99_ms: f64,
    pub(crate) reloading_p999_ms: f64,
    pub(crate) reloads: u32,
    /// From a change at the central server until both servers have stored it.
    pub(crate) reload_seconds: f64,
}

/// # Errors
/// A server does not start, or no exchange succeeds.
pub(super) async fn start(keys: KeyKind, members: u32) -> anyhow::Result<Start> {
    let mut scene = Scene::build(keys, members).await?;
    let started = starts(&mut scene, members).await;
    scene.close().await?;
    started
}

async fn starts(scene: &mut Scene, members: u32) -> anyhow::Result<Start> {
    let mut seconds = Vec::new();
    for _ in 0..STARTS {
        let began = scene.restart(|_, _| ()).await?;
        first_exchange(scene, began).await?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let rss_mb = Memory::of(scene.servers.now().await?.resident);
    Ok(Start { members, to_first_exchange_seconds: round(seconds[STARTS / 2], 3), rss_mb })
}

async fn first_exchange(scene: &Scene, began: Instant) -> anyhow::Result<()> {
    let plan = Plan {
        target: scene.ours(&HEADLINE),
        concurrency: 1,
        new_connections: false,
        arrivals: Arrivals::Closed,
        length: Length::Count { each: 1 },
        patience: PATIENCE,
    };
    loop {
        match load::run(&plan, async || Ok(())).await {
            Ok(_) => return Ok(()),
            Err(error) => {
                ensure!(began.elapsed() < PATIENCE, "no exchange after {PATIENCE:?}: {error:#}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// # Errors
/// As [`start`], or no configuration comes in.
pub(super) async fn large(keys: KeyKind, members: u32, extent: Extent) -> anyhow::Result<Large> {
    let mut scene = Scene::build(keys, members).await?;
    let measured = reloads(&mut scene, members, extent).await;
    scene.close().await?;
    let mut measured = measured?;
    // In this process, once it has the machine to itself.
    measured.lookup_ns =
        tokio::task::spawn_blocking(move || registry::lookups_at([members / 100, members / 10, members]))
            .await??;
    Ok(measured)
}

async fn reloads(scene: &mut Scene, members: u32, extent: Extent) -> anyhow::Result<Large> {
    let start = starts(scene, members).await?;
    let watch = scene.servers.watch();
    scene.warm_up(extent).await?;
    let window = Duration::from_millis(match extent {
        Extent::Smoke => 2_000,
        Extent::Quick | Extent::Usual => 10_000,
        Extent::Full => 30_000,
    });
    let closed = Plan {
        target: scene.ours(&HEADLINE),
        concurrency: HEADLINE.concurrency,
        new_connections: false,
        arrivals: Arrivals::Closed,
        length: Length::Time { warm_up: window / 20, measure: window / 3 },
        patience: HEADLINE.patience(),
    };
    let busy = load::run(&closed, async || scene.servers.now().await).await?;
    let rate = busy.exchanges as f64 / busy.elapsed.as_secs_f64();
    let open = Plan {
        concurrency: ROWS.iter().find(|row| row.name == HALF_RATE).map_or(1, |row| row.concurrency),
        arrivals: Arrivals::Open { per_second: rate / 2.0 },
        length: Length::Time { warm_up: window / 20, measure: window },
        ..closed
    };
    scene.rest(extent).await;
    let calm = load::run(&open, async || Ok(())).await?.latencies;
    let (reloading, (reloads, reload_seconds)) = while_reloading(scene, &open).await?;
    Ok(Large {
        start,
        servers: members / 10,
        rss_mb: Memory::of(watch.most()),
        exchanges_per_second: round(rate, 1),
        cpu_ms_per_exchange: round(cpu(&busy.readings) * 1000.0 / busy.exchanges as f64, 4),
        lookup_ns: Vec::new(),
        offered_per_second: round(rate / 2.0, 1),
        p99_ms: millis(&calm, 0.99),
        p999_ms: millis(&calm, 0.999),
        reloading_p99_ms: millis(&reloading, 0.99),
        reloading_p999_ms: millis(&reloading, 0.999),
        reloads,
        reload_seconds: round(reload_seconds, 2),
    })
}

fn cpu([before, after]: &[Moment; 2]) -> f64 {
    after.cpu[0] + after.cpu[1] - before.cpu[0] - before.cpu[1]
}

/// The load, again and again until a new configuration has come in meanwhile; then how many did, and how long each took.
async fn while_reloading(scene: &Scene, plan: &Plan) -> anyhow::Result<(Histogram<u64>, (u32, f64))> {
    let changes = Changes {
        admin: scene.ecosystem.admin(scene.ecosystem.central())?,
        files: files(scene),
        done: Arc::default(),
    };
    let done = changes.done.clone();
    let changing = AbortOnDrop(tokio::spawn(changes.go_on()));
    let (mut latencies, began) = (load::histogram(), Instant::now());
    loop {
        latencies.add(load::run(plan, async || Ok(())).await?.latencies)?;
        let (count, seconds) = *done.lock().unwrap_or_else(PoisonError::into_inner);
        if count > 0 {
            return Ok((latencies, (count, seconds / f64::from(count))));
        }
        ensure!(!changing.0.is_finished(), "the configuration could not be changed");
        ensure!(began.elapsed() < RELOAD, "no new configuration has come in after {RELOAD:?}");
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where both servers store what they downloaded.
fn files(scene: &Scene) -> Vec<PathBuf> {
    let file = |code: &str| {
        let folder = scene.ecosystem.dir().join(code).join("data/globalconf");
        folder.join(parties::INSTANCE).join("shared-params.xml")
    };
    [parties::consumer_server(), parties::provider_server()].iter().map(|id| file(&id.code)).collect()
}

/// Members that are added one after the other.
struct Changes {
    admin: Admin,
    files: Vec<PathBuf>,
    /// How many, and the seconds of all of them together.
    done: Arc<Mutex<(u32, f64)>>,
}

impl Changes {
    async fn go_on(self) {
        for number in 0_u32.. {
            let began = Instant::now();
            if let Err(error) = self.one(number).await {
                eprintln!("        {error:#}");
                return;
            }
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done = (done.0 + 1, done.1 + began.elapsed().as_secs_f64());
        }
    }

    async fn one(&self, number: u32) -> anyhow::Result<()> {
        let before = self.stored()?;
        let id = json!({ "member_class": parties::CITIES, "member_code": format!("8{number:07}") });
        self.admin.post(201, "/members", json!({ "member_id": id, "member_name": "New" })).await?;
        while self.stored()?.iter().zip(&before).any(|(now, before)| now == before) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn stored(&self) -> anyhow::Result<Vec<SystemTime>> {
        let when = |file: &PathBuf| {
            let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified());
            modified.with_context(|| file.display().to_string())
        };
        self.files.iter().map(when).collect()
    }
}
