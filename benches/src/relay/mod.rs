//! Whole exchanges through two security servers, beside what the same machine does without them, in one run.
//!
//! | Module | Holds |
//! |---|---|
//! | `rows` | which rows there are, and the requests behind them |
//! | `scene` | an ecosystem beside two nginx relays, and the windows of a row |
//! | `windows` | windows put together to a row |
//! | [`floor`] | what the machine could do at best |
//! | [`members`] | starts and reloads with many members known |
//! | [`soak`] | minutes of full load |
//!
//! Every row alternates windows: (a) consumer → our two servers → backend, signed, logged durably, timestamped in the background, OCSP
//! checked; (b) the same client and backend through two nginx relays ([`crate::nginx`]); (c) straight to the backend. A window of each
//! side follows another, so that a machine that is busy for a while is busy for all of them; the ratio is that of neighbours, its
//! median and range those of all such pairs.
//!
//! A part that fails is reported and ends the run with a failure; the other parts are measured all the same. Every part has its bound.

pub(crate) mod floor;
pub(crate) mod members;
mod rows;
mod scene;
pub(crate) mod soak;
mod windows;

use std::time::{Duration, Instant};

use anyhow::Context;
use pki::key::KeyKind;

use crate::load::Length;
use crate::report::{Failure, Found, Report, Row};
use floor::Floor;
pub(crate) use rows::Extent;
use rows::{HEADLINE, LARGE, LARGEST, ROWS, Setup, Spec};
use scene::Scene;

/// Longest that one part may take, whatever its own bounds are.
const PART: Duration = Duration::from_secs(600);
const LARGE_PART: Duration = Duration::from_secs(2_400);
/// For a rate that an open loop needs and no row has given.
const CALIBRATION: Duration = Duration::from_secs(2);

/// Names of the parts that are no rows, for `--row`.
const START: &str = "start, 1,000 members known";
const REGISTRY: &str = "registry, 100,000 members known";
const SOAK: &str = "three minutes at full load";

/// Keys that have a row of their own beside the run's, and from which extent on.
const OTHER_KEYS: [(KeyKind, Extent); 2] =
    [(KeyKind::P256, Extent::Usual), (KeyKind::Rsa(3072), Extent::Usual)];

/// Runs everything that belongs to `extent`, or what has a name that begins with `only`; `members` are those of the large registry.
pub(crate) async fn run(keys: KeyKind, extent: Extent, only: Option<&str>, members: u32) -> Report {
    let wanted = |name: &str| only.is_none_or(|only| name.starts_with(only));
    let rows = ROWS.iter().filter(|spec| wanted(spec.name) && (only.is_some() || spec.is_in(extent)));
    // Its memory is the figure, so it has servers that have done nothing else.
    let (apart, rows): (Vec<Spec>, Vec<Spec>) = rows.copied().partition(|spec| spec.name == LARGEST);
    let asked = only.is_some();
    let (start, large, soak) = (
        wanted(START),
        wanted(REGISTRY) && (asked || matches!(extent, Extent::Smoke | Extent::Usual | Extent::Full)),
        wanted(SOAK) && (asked || matches!(extent, Extent::Smoke | Extent::Usual | Extent::Full)),
    );
    let others = OTHER_KEYS.iter().filter(|(other, least)| !asked && extent >= *least && *other != keys);
    let others: Vec<KeyKind> = others.map(|(other, _)| *other).collect();
    let extras = usize::from(start) + usize::from(large) + usize::from(soak);
    let mut run = Run {
        extent,
        began: Instant::now(),
        parts: rows.len() + apart.len() + others.len() + extras,
        part: 0,
        highest: 0.0,
        found: Found::default(),
    };
    if !rows.is_empty() {
        run.scene(keys, &rows, true).await;
    }
    if !apart.is_empty() {
        run.scene(keys, &apart, rows.is_empty()).await;
    }
    for other in others {
        run.scene(other, &[HEADLINE], false).await;
    }
    let few = extent == Extent::Smoke;
    if start {
        let members = if few { 20 } else { 1_000 };
        run.found.start = run.part(START, PART, members::start(keys, members)).await;
    }
    if soak {
        run.found.soak = run.part(SOAK, PART, soak::run(keys, extent)).await.unwrap_or_default();
    }
    if large {
        let members = if few { 1_000 } else { members };
        run.found.registry = run.part(REGISTRY, LARGE_PART, members::large(keys, members, extent)).await;
    }
    Report::new(extent, run.found)
}

/// A run so far.
struct Run {
    extent: Extent,
    began: Instant,
    parts: usize,
    part: usize,
    /// Exchanges a second of the best row so far.
    highest: f64,
    found: Found,
}

impl Run {
    /// Says what is measured now.
    fn says(&mut self, name: &str) {
        self.part += 1;
        eprintln!("{:>5.0} s {:>3}/{} {name}", self.began.elapsed().as_secs_f64(), self.part, self.parts);
    }

    /// Runs a part within `bound`; says why there is nothing of it.
    async fn part<T>(
        &mut self,
        name: &str,
        bound: Duration,
        part: impl Future<Output = anyhow::Result<T>>,
    ) -> Option<T> {
        self.says(name);
        let done = tokio::time::timeout(bound, part).await;
        let done = done.with_context(|| format!("not over after {bound:?}")).and_then(|done| done);
        done.inspect_err(|error| self.failed(name, error)).ok()
    }

    fn failed(&mut self, part: &str, error: &anyhow::Error) {
        eprintln!("        {part} FAILED: {error:#}");
        self.found.failures.push(Failure { part: part.to_owned(), error: format!("{error:#}") });
    }

    /// Rows with one kind of keys; `first`: those that the run is about.
    async fn scene(&mut self, keys: KeyKind, rows: &[Spec], first: bool) {
        let built = tokio::time::timeout(PART, async {
            let scene = Scene::build(keys, 0).await?;
            scene.warm_up(self.extent).await?;
            anyhow::Ok(scene)
        });
        let mut scene = match built.await.context("it was not built in time").and_then(|built| built) {
            Ok(scene) => scene,
            Err(error) => {
                self.part += rows.len();
                return self.failed(&format!("an ecosystem with {keys:?}"), &error);
            }
        };
        if first {
            self.found.idle = scene.idle;
        }
        for spec in rows {
            let name = format!("{}, {} at once, {keys:?}", spec.name, spec.concurrency);
            self.says(&name);
            let bound = if spec.is_large() { LARGE_PART } else { PART };
            let done = tokio::time::timeout(bound, self.row(&mut scene, spec, keys, first)).await;
            match done.with_context(|| format!("not over after {bound:?}")).and_then(|done| done) {
                Ok(row) => {
                    eprintln!("        {}", row.in_short());
                    self.found.rows.push(row);
                }
                Err(error) => self.failed(&name, &error),
            }
        }
        match tokio::time::timeout(PART, scene.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.failed("the end of an ecosystem", &error),
            Err(_) => self.failed("the end of an ecosystem", &anyhow::anyhow!("not over after {PART:?}")),
        }
    }

    async fn row(
        &mut self,
        scene: &mut Scene,
        spec: &Spec,
        keys: KeyKind,
        first: bool,
    ) -> anyhow::Result<Row> {
        scene.set(spec, self.extent).await?;
        scene.take_archives_away();
        room_for(spec, self.extent, scene.dir())?;
        let for_floor = first && (spec.is_plain() && spec.concurrency == 1 || spec.name == LARGE);
        if spec.half_rate || for_floor {
            scene.rest(self.extent).await;
        }
        if for_floor || first && self.found.floors.is_empty() {
            self.floor(scene, keys).await?;
        }
        if spec.half_rate && self.highest == 0.0 {
            self.highest = scene.rate(CALIBRATION).await?;
        }
        let row = scene.row(spec, self.extent, self.highest / 2.0).await?;
        if first && spec.is_plain() {
            self.highest = self.highest.max(row.ours.exchanges_per_second);
        }
        if for_floor {
            self.floor(scene, keys).await?;
        }
        let is_headline = first && spec.is_plain() && spec.concurrency == HEADLINE.concurrency;
        if is_headline && self.extent > Extent::Smoke {
            self.found.shares = scene.shares().await?.unwrap_or_default();
        }
        Ok(row)
    }

    async fn floor(&mut self, scene: &Scene, keys: KeyKind) -> anyhow::Result<()> {
        let dir = scene.dir().to_owned();
        let measured: Floor = tokio::task::spawn_blocking(move || floor::measure(&dir, keys)).await??;
        self.found.floors.push(measured);
        Ok(())
    }
}

/// Most that both servers write in a second of small requests, their archives included.
const WRITTEN_PER_SECOND: u64 = 512 << 20;

/// Bodies lie on the disk for a while, at the server that receives them until it has seen their signature; logged ones for good, at both.
fn room_for(spec: &Spec, extent: Extent, dir: &std::path::Path) -> anyhow::Result<()> {
    let at_once = spec.body_bytes() * spec.concurrency as u64;
    let needed = match (spec.setup, spec.windows(extent)) {
        (Setup::LoggedBodies, (windows, Length::Count { each })) => {
            2 * at_once * u64::from(windows) * u64::from(each)
        }
        (_, (windows, Length::Time { warm_up, measure })) => {
            u64::from(windows) * (warm_up + measure).as_millis() as u64 * WRITTEN_PER_SECOND / 1_000
        }
        _ => at_once,
    };
    // And what else is written meanwhile.
    let needed = needed + needed / 4;
    let disk = rustix::fs::statvfs(dir)?;
    let free = disk.f_bavail * disk.f_frsize;
    anyhow::ensure!(free >= needed, "{} MiB are needed on the disk, {} are free", needed >> 20, free >> 20);
    Ok(())
}
