//! The task that looks after what was logged: the tree and its heads, archiving, sending, retention. There is one per log.
//!
//! All of it happens behind the exchanges and survives being interrupted anywhere. Each part is due by itself; one that fails is
//! tried again at the next round and holds back only what depends on it: nothing is removed that was not archived, nothing is
//! removed from the folder that was not sent.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::clock::Clock;
use host::http::Client;
use host::shutdown::Shutdown;
use pki::note::Signer;
use proto::time::UnixTime;

use super::archive::keys::Ending;
use super::archive::state::{self, State};
use super::archive::{ArchiveError, Archiver};
use super::background::{self, Haste, MOST_PRESSURE};
use super::holders::Holders;
use super::retention::{CLOSE_AFTER, Retention, RetentionError, log_bytes};
use super::store::segment;
use super::store::writer::lock;
use super::timestamper::Timestamping;
use super::tree::Tree;
use super::{LogError, MessageLog, OpenError};

/// Between rounds.
const ROUND: Duration = Duration::from_secs(20);
/// The same for a log that may have a size, which full load can come to within seconds.
const SIZED_ROUND: Duration = Duration::from_secs(1);
/// Steps of archiving in a round, so that what was archived can go before more is.
const ROUND_STEPS: usize = 4;
/// Connecting to a target, and one file in all.
const CONNECT: Duration = Duration::from_secs(20);
const TOTAL: Duration = Duration::from_secs(3600);
/// A head in all.
const HEAD_TOTAL: Duration = Duration::from_secs(60);
/// How often the keys of archives are looked at, and said to end.
const LOOK_AT_KEYS: Duration = Duration::from_secs(6 * 3600);

/// The task.
pub struct Keeper {
    log: MessageLog,
    clock: Clock,
    client: Client,
    /// For heads.
    courier: Client,
    signer: Arc<Signer>,
    dir: PathBuf,
    work: Arc<Mutex<Work>>,
    holders: Holders,
    /// Size of the newest head.
    newest: u64,
    head_at: Option<UnixTime>,
    clean_at: Option<UnixTime>,
    /// Up to where archiving was done with records then.
    cleaned_to: u64,
    keys_at: Option<UnixTime>,
    /// Where the log ended at the last run of archiving.
    archived_at: (u64, u64),
    /// There is more to archive.
    unfinished: bool,
    /// It was said that the log is much too large.
    overflows: bool,
}

/// A signed head.
#[derive(Clone, Debug)]
pub struct Head {
    /// Records that it binds.
    pub size: u64,
    /// The note.
    pub note: String,
    /// Its timestamp, when it has one.
    pub token: Option<Vec<u8>>,
}

/// What the blocking parts work on.
struct Work {
    state: State,
    tree: Tree,
    retention: Retention,
}

/// Why something was left undone.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Archiving.
    #[error("archiving: {0}")]
    Archive(#[from] ArchiveError),
    /// Removing.
    #[error("retention: {0}")]
    Retention(#[from] RetentionError),
    /// Log or tree.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Head, target.
    #[error("{0}")]
    Outside(String),
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Takes up where the last run left off. `roots` (DER) are trusted by `https` targets. Blocks.
    ///
    /// # Errors
    /// The disk, or a state that cannot be read.
    pub fn new(log: &MessageLog, clock: Clock, roots: &[Vec<u8>]) -> Result<Self, OpenError> {
        let log_dir = log.inner.dir.clone();
        let failed =
            |path: &Path, error: &dyn std::fmt::Display| OpenError(format!("{}: {error}", path.display()));
        let settings = &log.inner.settings.archive;
        let beside = || log_dir.parent().unwrap_or(&log_dir).join("archive");
        let dir = settings.dir.clone().unwrap_or_else(beside);
        let path = state::path(&log_dir);
        let mut state = State::load(&path).map_err(|e| failed(&path, &e))?;
        if settings.interval.is_some() {
            let archiver = Archiver { log, settings, dir: &dir, shutdown: None, haste: Haste::Urgent };
            archiver.recover(&mut state).map_err(|e| failed(&dir, &e))?;
        }
        let tree = Tree::open(&log_dir).map_err(|e| failed(&log_dir.join("tree"), &e))?;
        let heads = tree.heads().map_err(|e| failed(&log_dir.join("tree"), &e))?;
        let holders = Holders::open(&log_dir, &log.inner.settings.heads);
        Ok(Self {
            holders,
            newest: heads.last().copied().unwrap_or_default(),
            log: log.clone(),
            clock,
            client: Client::new(CONNECT, TOTAL, roots),
            courier: Client::new(CONNECT, HEAD_TOTAL, roots),
            signer: log.inner.signer.clone(),
            dir,
            work: Arc::new(Mutex::new(Work { state, tree, retention: Retention::default() })),
            head_at: None,
            clean_at: None,
            cleaned_to: 0,
            keys_at: None,
            archived_at: (0, 0),
            unfinished: false,
            overflows: false,
        })
    }

    /// Where our own client proxy listens: heads for another member's server go through it.
    #[must_use]
    pub fn through(mut self, client_proxy: Option<SocketAddr>) -> Self {
        self.holders.exchange = client_proxy.map(local);
        self
    }

    /// Works until `shutdown` says stop.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut pause = self.between_rounds();
        loop {
            if tokio::time::timeout(pause, shutdown.stopped()).await.is_ok() {
                return;
            }
            let now = self.clock.now();
            pause = self.round(now, &shutdown).await;
        }
    }

    /// Everything that is due; how long until the next round.
    pub(super) async fn round(&mut self, now: UnixTime, shutdown: &Shutdown) -> Duration {
        let settings = self.log.inner.settings.clone();
        let due = |last: Option<UnixTime>, interval| last.is_none_or(|last| now.since(last) >= interval);
        if due(self.head_at, settings.heads.interval) {
            self.head_at = Some(now);
            said(self.head(now).await);
        } else {
            tokio::select! {
                () = shutdown.stopped() => return ROUND,
                done = self.deliver(now) => said(done),
            }
        }
        if due(self.keys_at, LOOK_AT_KEYS) {
            self.keys_at = Some(now);
            said(self.look_at_keys(now).await);
        }
        let mut pressed = false;
        if let Some(interval) = settings.archive.interval {
            pressed = self.pressed();
            let stamped = pressed
                && self.stamp_full_batches().await.unwrap_or_else(|error| {
                    said(Err(error));
                    false
                });
            let last = UnixTime(lock(&self.work).state.run_at);
            let grown = self.grown() >= settings.archive.max_file_bytes;
            if std::mem::take(&mut self.unfinished) || stamped || grown || now.since(last) >= interval {
                said(self.archive_steps(now, Some(shutdown), ROUND_STEPS).await);
            }
            said(self.send(shutdown).await);
        }
        let done_to = lock(&self.work).state.done_to();
        let can_shrink = pressed && done_to > self.cleaned_to && self.is_too_large();
        if can_shrink || due(self.clean_at, settings.retention.interval) {
            (self.clean_at, self.cleaned_to) = (Some(now), done_to);
            said(self.clean(now).await.map(drop));
        }
        self.figures().await;
        if self.unfinished { Duration::ZERO } else { self.between_rounds() }
    }

    fn between_rounds(&self) -> Duration {
        match self.log.inner.settings.retention.max_bytes {
            Some(_) => SIZED_ROUND,
            None => ROUND,
        }
    }

    /// A log near its size cannot wait for the next timestamps: what has none is not archived. Batches that are full by now are
    /// stamped early, which asks timestamping services hardly more often in all. Whether there were such.
    async fn stamp_full_batches(&self) -> Result<bool, KeeperError> {
        let full = self.log.inner.settings.timestamp_records.get() as u64;
        if self.log.unstamped() < full || self.log.timestamping() != Timestamping::Healthy {
            return Ok(false);
        }
        let stamped = self.log.stamp_now(None).await.map(|()| true);
        stamped.map_err(|e| KeeperError::Outside(format!("records were not timestamped early: {e}")))
    }

    /// Says which keys of archives have ended or will soon: archiving stops with them, and nothing is removed then.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn look_at_keys(&mut self, now: UnixTime) -> Result<(), KeeperError> {
        let Some(keys) = self.log.inner.settings.archive.encryption.clone() else { return Ok(()) };
        let within = keys.warning;
        let ending = self.blocking(move |_, _, _| {
            let ending = keys.load().and_then(|keyring| keyring.ending(now, within));
            // Without one of the keys nothing is archived either.
            Ok(ending.unwrap_or_else(|error| vec![Ending::missing(&error)]))
        });
        let ending = ending.await?;
        let left = |ending: &Ending| ending.at.map_or(0.0, |at| at.since(now).as_secs_f64());
        let least = ending.iter().map(left).reduce(f64::min);
        metrics::gauge!("causeway_archive_keys_ending").set(ending.len() as f64);
        metrics::gauge!("causeway_archive_keys_seconds_left").set(least.unwrap_or(f64::INFINITY));
        for Ending { whose, key, at, reason } in &ending {
            match at {
                Some(at) => {
                    let at = at.to_iso8601();
                    tracing::warn!(whose, key, at, "a key of archives ends soon: archiving stops then");
                }
                None => {
                    tracing::error!(whose, key, reason, "a key of archives has ended: nothing is archived")
                }
            }
        }
        *lock(&self.log.inner.ending_keys) = ending;
        Ok(())
    }

    /// Bytes that the log has grown by since archiving last ran.
    fn grown(&self) -> u64 {
        let Some(tail) = lock(&self.log.inner.shared.tail).clone() else { return 0 };
        let (segment, end) = self.archived_at;
        let segments = tail.segment.saturating_sub(segment);
        (segments * self.log.inner.settings.segment_bytes + tail.end).saturating_sub(end)
    }

    /// Archives all that is stamped; how many records.
    ///
    /// # Errors
    /// What came before is archived.
    pub async fn archive(&mut self, now: UnixTime, shutdown: Option<&Shutdown>) -> Result<u64, KeeperError> {
        let before = lock(&self.work).state.archived_to;
        self.archive_steps(now, shutdown, usize::MAX).await?;
        Ok(lock(&self.work).state.archived_to - before)
    }

    /// As many steps of it at most.
    async fn archive_steps(
        &mut self,
        now: UnixTime,
        shutdown: Option<&Shutdown>,
        most: usize,
    ) -> Result<(), KeeperError> {
        if let Some(tail) = lock(&self.log.inner.shared.tail).clone() {
            self.archived_at = (tail.segment, tail.end);
        }
        let ready = self.log.stamped_to().await?;
        let (mut steps, mut more) = (0, true);
        // Each as hasty as things are then.
        while more && steps < most {
            more = self.archive_step(ready, shutdown).await?;
            steps += 1;
        }
        self.blocking(move |log, work, _| {
            work.state.run_at = now.0;
            Ok(work.state.store(&state::path(&log.inner.dir)).map_err(|e| LogError::Disk(e.to_string()))?)
        })
        .await?;
        self.unfinished = more;
        Ok(())
    }

    /// Whether there is more to do.
    async fn archive_step(&self, ready: u64, shutdown: Option<&Shutdown>) -> Result<bool, KeeperError> {
        let (dir, shutdown, haste) = (self.dir.clone(), shutdown.cloned(), self.haste());
        self.with_haste(haste, move |log, work, _| {
            let settings = &log.inner.settings.archive;
            let archiver = Archiver { log, settings, dir: &dir, shutdown: shutdown.as_ref(), haste };
            Ok(archiver.step(&mut work.state, ready)?)
        })
        .await
    }

    /// Archiving is urgent when the disk is short of space, and presses as the log comes near its size: nothing can be removed before
    /// it is archived.
    fn haste(&self) -> Haste {
        let inner = &self.log.inner;
        if inner.free_bytes().is_ok_and(|free| free < inner.settings.min_free_bytes.saturating_mul(2)) {
            return Haste::Urgent;
        }
        let sizes = inner.settings.retention.max_bytes.zip(log_bytes(&self.log).ok());
        sizes.map_or(Haste::Patient, |(most, bytes)| Haste::of_size(bytes, most))
    }

    /// Whether the log is near its size, or space is short; said where operators look.
    fn pressed(&mut self) -> bool {
        let haste = self.haste();
        let pressure = match haste {
            Haste::Patient => 0,
            Haste::Pressed(pressure) => pressure,
            Haste::Urgent => MOST_PRESSURE,
        };
        metrics::gauge!("causeway_message_log_pressure").set(f64::from(pressure) / 100.0);
        let overflows = pressure == MOST_PRESSURE;
        if overflows && !self.overflows {
            let archived = lock(&self.work).state.archived_to;
            let waiting = self.log.records().saturating_sub(archived);
            tracing::warn!(
                waiting,
                unstamped = self.log.unstamped(),
                "space is short, or the message log far larger than max-log-size: archiving takes a core until that has passed"
            );
        }
        self.overflows = overflows;
        haste != Haste::Patient
    }

    fn is_too_large(&self) -> bool {
        let most = self.log.inner.settings.retention.max_bytes;
        most.zip(log_bytes(&self.log).ok()).is_some_and(|(most, bytes)| bytes > most)
    }

    /// Sends the files that wait, in order.
    ///
    /// # Errors
    /// The target does not have one; it and those behind it are sent in the next round.
    pub async fn send(&mut self, shutdown: &Shutdown) -> Result<(), KeeperError> {
        let Some(target) = self.log.inner.settings.archive.target.clone() else { return Ok(()) };
        loop {
            let next = lock(&self.work).state.files.iter().find(|file| file.placed).cloned();
            let Some(file) = next else { return Ok(()) };
            tokio::select! {
                () = shutdown.stopped() => return Ok(()),
                sent = target.send(&self.client, &self.dir, &file, &self.clock) => {
                    sent.map_err(|reason| KeeperError::Outside(format!("{} was not sent: {reason}", file.name)))?;
                }
            }
            metrics::counter!("causeway_archive_sent_files_total").increment(1);
            tracing::info!(file = file.name, "the archive was sent");
            let dir = self.dir.clone();
            self.blocking(move |log, work, _| {
                let settings = &log.inner.settings.archive;
                work.state.files.retain(|waiting| waiting.name != file.name);
                Archiver { log, settings, dir: &dir, shutdown: None, haste: Haste::Urgent }
                    .store(&work.state)?;
                if settings.remove_sent {
                    // The state says that it was sent, so that one which stays is only in the way.
                    let _ = std::fs::remove_file(dir.join(&file.name));
                }
                Ok(())
            })
            .await?;
        }
    }

    /// Removes what may go; how many segments.
    ///
    /// # Errors
    /// What came before is removed.
    pub async fn clean(&mut self, now: UnixTime) -> Result<usize, KeeperError> {
        if self.log.inner.settings.archive.interval.is_none() {
            return Ok(0);
        }
        self.log.roll(now.minus(CLOSE_AFTER.min(self.log.inner.settings.retention.keep))).await?;
        self.log.indexed().await;
        self.with_haste(self.haste(), move |log, work, signer| {
            grow(log, &mut work.tree)?;
            Ok(work.retention.run(log, &work.state, &work.tree, signer, now)?)
        })
        .await
    }

    /// Signs the tree's head, hands it over, has it stamped.
    ///
    /// # Errors
    /// A head that is not stamped yet is looked at again at the next interval, one that is not handed over earlier.
    pub async fn head(&mut self, now: UnixTime) -> Result<(), KeeperError> {
        let Some(Head { size, note, token }) = self.sign(now).await? else { return Ok(()) };
        let handed = self.deliver(now).await;
        if token.is_none() {
            let stamped = self.log.stamp_data(note.as_bytes()).await;
            let token =
                stamped.map_err(|e| KeeperError::Outside(format!("a head was not timestamped: {e}")))?;
            self.blocking(move |_, work, _| Ok(work.tree.store_token(size, &token).map_err(disk)?)).await?;
        }
        handed
    }

    /// Brings the tree up to date and signs its head, unless that was done; `None` while there is no record.
    ///
    /// # Errors
    /// The disk.
    pub async fn sign(&mut self, now: UnixTime) -> Result<Option<Head>, KeeperError> {
        self.log.indexed().await;
        let signed = self.blocking(move |log, work, signer| {
            grow(log, &mut work.tree)?;
            let size = work.tree.size();
            metrics::gauge!("causeway_message_log_tree_size").set(size as f64);
            work.tree.sign_head(signer, now).map_err(disk)?;
            if size == 0 {
                return Ok(None);
            }
            let (note, token) = work.tree.head(size).map_err(disk)?;
            Ok(Some(Head { size, note, token }))
        });
        let signed = signed.await?;
        self.newest = signed.as_ref().map_or(self.newest, |head| head.size);
        Ok(signed)
    }

    /// Hands the heads that wait to those who hold them, as far as these may be asked again.
    ///
    /// # Errors
    /// Who did not take them; they are tried again later.
    pub async fn deliver(&mut self, now: UnixTime) -> Result<(), KeeperError> {
        if !self.holders.is_due(self.newest, now) {
            return Ok(());
        }
        let heads = self.blocking(move |_, work, _| Ok(work.tree.heads().map_err(disk)?)).await?;
        let origin = self.signer.verifier().name().to_owned();
        let handed = self.holders.deliver(&self.courier, &origin, &heads, now).await;
        *lock(&self.log.inner.lagging) = self.holders.lagging();
        handed.map_err(|reason| KeeperError::Outside(format!("a head was not handed over: {reason}")))
    }

    async fn figures(&self) {
        let records = self.log.records();
        let shown = self.blocking(move |log, work, _| {
            let state = &work.state;
            let waiting = records.saturating_sub(state.archived_to);
            metrics::gauge!("causeway_archive_waiting_records").set(waiting as f64);
            metrics::gauge!("causeway_archive_waiting_files").set(state.files.len() as f64);
            let damaged = state.unreadable.len() + state.lost.len();
            metrics::gauge!("causeway_archive_unreadable_records").set(damaged as f64);
            let bytes = log_bytes(log).unwrap_or_default();
            metrics::gauge!("causeway_message_log_bytes").set(bytes as f64);
            let segments = segment::list(&log.inner.dir).map_or(0, |list| list.len());
            metrics::gauge!("causeway_message_log_segments").set(segments as f64);
            Ok(())
        });
        said(shown.await);
    }

    async fn blocking<T: Send + 'static>(
        &self,
        task: impl FnOnce(&MessageLog, &mut Work, &Signer) -> Result<T, KeeperError> + Send + 'static,
    ) -> Result<T, KeeperError> {
        self.with_haste(Haste::Patient, task).await
    }

    async fn with_haste<T: Send + 'static>(
        &self,
        haste: Haste,
        task: impl FnOnce(&MessageLog, &mut Work, &Signer) -> Result<T, KeeperError> + Send + 'static,
    ) -> Result<T, KeeperError> {
        let (log, work, signer) = (self.log.clone(), self.work.clone(), self.signer.clone());
        let settings = log.inner.settings.background;
        background::run("log-keeper", settings, haste, move || task(&log, &mut lock(&work), &signer)).await?
    }
}

/// The address by which this machine reaches a listener of its own.
fn local(mut listens: SocketAddr) -> SocketAddr {
    if listens.ip().is_unspecified() {
        listens.set_ip(match listens {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    listens
}

/// Takes the leaves of all durable records that the index knows.
fn grow(log: &MessageLog, tree: &mut Tree) -> Result<(), LogError> {
    let last = log.records();
    log.inner.index.barrier();
    tree.grow(&log.inner.index, last)
}

fn disk(error: std::io::Error) -> LogError {
    LogError::Disk(format!("tree: {error}"))
}

fn said(outcome: Result<(), KeeperError>) {
    if let Err(error) = outcome {
        metrics::counter!("causeway_message_log_keeping_failures_total").increment(1);
        tracing::error!(%error, "the message log is kept, but not all that is due could be done with it");
    }
}
