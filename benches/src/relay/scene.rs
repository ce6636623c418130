//! One ecosystem under load, beside two nginx relays: its rows, each in windows of all sides that take turns.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pki::key::KeyKind;
use sandbox::ecosystem::{Ecosystem, Mode, Options};
use sandbox::parties;
use security_server::config::File;

use super::rows::{Extent, HEADLINE, Setup, Spec};
use super::windows::Gathered;
use crate::load::{self, Arrivals, Length, Plan, Target};
use crate::nginx::Pair;
use crate::report::Row;
use crate::servers::Servers;
use crate::steps;

/// For exchanges under way at the end.
pub(super) const DRAIN: Duration = Duration::from_secs(40);
/// What the settings have as default.
const LOG_SEGMENT_BYTES: u64 = 256 << 20;
/// For samples of where the CPU goes.
const SAMPLES: Duration = Duration::from_secs(4);
/// Servers that take less than this share of a core are at rest.
const AT_REST: f64 = 0.05;
const LOOK: Duration = Duration::from_millis(300);

/// Everything that runs for some rows.
pub(super) struct Scene {
    pub(super) ecosystem: Ecosystem,
    pub(super) servers: Servers,
    nginx: Option<Pair>,
    keys: KeyKind,
    setup: Setup,
    /// Resident bytes of both servers before the first exchange.
    pub(super) idle: [u64; 2],
    // The last to go.
    dir: tempfile::TempDir,
}

impl Scene {
    /// With so many members besides those that exchange something.
    pub(super) async fn build(keys: KeyKind, more_members: u32) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mode = Mode::Processes { program: std::env::current_exe()? };
        let log_segment_bytes = LOG_SEGMENT_BYTES;
        let options = Options { mode, keys, log_segment_bytes, more_members, ..Options::default() };
        let ecosystem = Ecosystem::build(dir.path(), options, |_| {}).await?;
        let nginx = Pair::start(dir.path(), ecosystem.services().address()).await?;
        let servers = Servers::of(&ecosystem)?;
        let idle = servers.now().await?.resident;
        Ok(Self { ecosystem, servers, nginx, keys, setup: Setup::Own, idle, dir })
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends all of it, whatever became of the rows.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        if let Some(nginx) = self.nginx {
            nginx.stop().await;
        }
        self.ecosystem.stop(DRAIN).await
    }

    /// Takes away what has been archived, as an archive would: what a long run leaves there fills a disk.
    pub(super) fn take_archives_away(&self) {
        for server in [parties::consumer_server(), parties::provider_server()] {
            let folder = self.ecosystem.dir().join(server.code).join("data/archive");
            for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if file.file_name().to_string_lossy().starts_with("mlog-") {
                    // One that stays is taken the next time.
                    let _ = std::fs::remove_file(file.path());
                }
            }
        }
    }

    /// Starts the security servers anew when the row asks for other settings, and warms them up.
    pub(super) async fn set(&mut self, spec: &Spec, extent: Extent) -> anyhow::Result<()> {
        let setup = spec.setup;
        if setup == self.setup {
            return Ok(());
        }
        // Whatever comes of it, they are no longer what they were.
        self.setup = setup;
        self.restart(|server, settings| setup.apply(server, settings)).await?;
        // Not with large bodies: what they leave in memory is their row's figure.
        let spec = spec.small();
        load::run(&timed(self.ours(&spec), &spec, warm_up_time(extent)), async || Ok(())).await?;
        Ok(())
    }

    /// Starts the security servers anew with other settings; gives the moment at which they were started.
    pub(super) async fn restart(
        &mut self,
        change: impl Fn(&proto::id::ServerId, &mut File),
    ) -> anyhow::Result<Instant> {
        let began = self.ecosystem.restart_security_servers(DRAIN, change).await?;
        self.servers = Servers::of(&self.ecosystem)?;
        Ok(began)
    }

    /// As long on every side, before anything is measured: connections, caches, pages of memory, frequencies of the processor.
    pub(super) async fn warm_up(&self, extent: Extent) -> anyhow::Result<()> {
        for (_, target) in self.sides(&HEADLINE) {
            load::run(&timed(target, &HEADLINE, warm_up_time(extent)), async || Ok(())).await?;
        }
        Ok(())
    }

    /// Waits until both servers have done with what was left to them, archives above all; for some time only.
    pub(super) async fn rest(&self, extent: Extent) {
        let limit = match extent {
            Extent::Smoke => Duration::ZERO,
            Extent::Quick => Duration::from_secs(4),
            Extent::Usual => Duration::from_secs(10),
            Extent::Full => Duration::from_secs(20),
        };
        let began = Instant::now();
        while began.elapsed() < limit {
            let before = self.servers.cpu_seconds();
            tokio::time::sleep(LOOK).await;
            if self.servers.cpu_seconds() - before < AT_REST * LOOK.as_secs_f64() {
                return;
            }
        }
        if !limit.is_zero() {
            eprintln!("       the servers are still busy with what was left to them after {limit:?}");
        }
    }

    /// Our rate at the headline's load, for those who need it before there is such a row.
    pub(super) async fn rate(&self, time: Duration) -> anyhow::Result<f64> {
        let plan = timed(self.ours(&HEADLINE), &HEADLINE, time);
        let outcome = load::run(&plan, async || Ok(())).await?;
        Ok(outcome.exchanges as f64 / outcome.elapsed.as_secs_f64())
    }

    /// A row's windows; `half` is the rate of an open loop.
    pub(super) async fn row(&self, spec: &Spec, extent: Extent, half: f64) -> anyhow::Result<Row> {
        let (windows, length) = spec.windows(extent);
        let arrivals = if spec.half_rate { Arrivals::Open { per_second: half } } else { Arrivals::Closed };
        let mut gathered = Gathered::default();
        for _ in 0..windows {
            for (side, target) in self.sides(spec) {
                let plan = Plan {
                    target,
                    concurrency: spec.concurrency,
                    new_connections: spec.client.is_new(),
                    arrivals,
                    length: if side == Side::Direct { shorter(length) } else { length },
                    patience: spec.patience(),
                };
                self.window(side, &plan, &mut gathered).await.with_context(|| format!("{side:?}"))?;
            }
        }
        if self.setup.is_cbc() {
            let handshakes = self.servers.now().await?.counted[1].cbc_handshakes;
            ensure!(handshakes > 0.0, "the provider's server has met no CBC suites");
        }
        Ok(gathered.finish(spec, self.keys, arrivals))
    }

    async fn window(&self, side: Side, plan: &Plan, gathered: &mut Gathered) -> anyhow::Result<()> {
        match side {
            Side::Ours => {
                let watch = self.servers.watch();
                let outcome = load::run(plan, async || self.servers.now().await).await?;
                gathered.add_ours(outcome, watch.most())
            }
            Side::Nginx => {
                let cpu = async || Ok(self.nginx.as_ref().map_or(0.0, Pair::cpu_seconds));
                gathered.add_nginx(load::run(plan, cpu).await?)
            }
            Side::Direct => gathered.add_direct(load::run(plan, async || Ok(0.0)).await?),
        }
    }

    /// Where the requests of a row go, in the order in which the sides take turns.
    fn sides(&self, spec: &Spec) -> Vec<(Side, Target)> {
        let mut sides = vec![(Side::Ours, self.ours(spec))];
        if let Some(pair) = &self.nginx {
            let address = match (spec.client.is_tls(), spec.setup) {
                (true, _) => pair.tls_address,
                (false, Setup::NewConnections | Setup::Cbc) => pair.fresh_address,
                (false, _) => pair.address,
            };
            sides.push((Side::Nginx, spec.straight(address.to_string(), spec.client.is_tls())));
        }
        let backend = self.ecosystem.services().address().to_string();
        sides.push((Side::Direct, spec.straight(backend, false)));
        sides
    }

    pub(super) fn ours(&self, spec: &Spec) -> Target {
        let consumer = self.ecosystem.consumer();
        let secure = consumer.listener("client-https").filter(|_| spec.client.is_tls());
        spec.through_us(secure.unwrap_or(consumer.address).to_string())
    }

    /// Where the CPU goes while the headline's load runs.
    pub(super) async fn shares(&self) -> anyhow::Result<Option<Vec<(String, f64)>>> {
        let plan = timed(self.ours(&HEADLINE), &HEADLINE, SAMPLES + Duration::from_secs(1));
        let pids = self.servers.pids();
        let (loaded, shares) = tokio::join!(
            load::run(&plan, async || Ok(())),
            tokio::time::timeout(DRAIN, steps::shares(self.dir(), &pids, SAMPLES)),
        );
        loaded?;
        Ok(shares.unwrap_or_else(|_| {
            eprintln!("       skipped: perf did not come to an end, so nothing is said about steps");
            None
        }))
    }
}

/// One side of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Nginx,
    Direct,
}

/// The backend alone needs less time for as good a figure.
fn shorter(length: Length) -> Length {
    match length {
        Length::Time { warm_up, measure } => Length::Time { warm_up, measure: measure / 2 },
        count @ Length::Count { .. } => count,
    }
}

/// Of servers that were just started.
fn warm_up_time(extent: Extent) -> Duration {
    Duration::from_millis(match extent {
        Extent::Smoke => 500,
        Extent::Quick => 2_000,
        Extent::Usual => 3_000,
        Extent::Full => 5_000,
    })
}

fn timed(target: Target, spec: &Spec, time: Duration) -> Plan {
    Plan {
        target,
        concurrency: spec.concurrency,
        new_connections: spec.client.is_new(),
        arrivals: Arrivals::Closed,
        length: Length::Time { warm_up: Duration::ZERO, measure: time },
        patience: spec.patience(),
    }
}
