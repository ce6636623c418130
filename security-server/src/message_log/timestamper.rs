//! Timestamps in the background: one token for up to `timestamp-records-limit` records, so that the log stays proof.
//!
//! The records that wait are taken in order, every timestamping interval of the global configuration (clamped to
//! [`MIN_INTERVAL`]…[`MAX_INTERVAL`]), and at once on demand or, where the operator wants it, for every message before it goes on. A
//! token is kept in a stamp frame that names the records. A record alone is stamped by its own signature value, as the reference does
//! it.
//!
//! After a failure one record is tried every `timestamp-retry-delay`, until one succeeds. [`Timestamping`] is kept in the file
//! `timestamping` beside the segments, so that a restart does not forget since when it fails.
//!
//! **Too late.** The OCSP answer in a signature is fresh for so long; a record that is stamped after that proves nothing. Such records
//! are counted, and an alarm is given while there is still half of the time.
//!
//! Not here: which services there are ([`Surroundings`]), asking them (`services`), what a token is (`pki::tsp`).
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use host::clock::Clock;
use host::contacts::Contacts;
use host::shutdown::Shutdown;
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::globalconf::GlobalConf;
use pki::xades::Document;
use proto::globalconf::shared_parameters::CostType;
use proto::time::UnixTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::background::{self, Haste};
use super::record::tree_of;
use super::services::{Kept, Preference};
use super::store::format::StampHead;
use super::store::index::Waiting;
use super::store::writer::{Request, lock};
use super::{LogError, MessageLog, RecordId};
use crate::serverconf::ServerConf;

/// Shortest time between batches.
pub const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Longest time between batches.
pub const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
/// After the start of the server.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// How often the figures for operators are refreshed.
const FIGURES_EVERY: Duration = Duration::from_secs(15);
/// Whether timestamping keeps up, which decides if the message log takes more messages.
///
/// Without timestamps the log loses its value as proof, so a server that has failed for longer
/// than `acceptable-timestamp-failure-period` stops relaying [DM-ML §1.6, UG-SYSPAR].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamping {
    /// The last attempt succeeded.
    #[default]
    Healthy,
    /// `since` is the first failure after the last success.
    Failing {
        /// When it began.
        since: UnixTime,
    },
}

impl Timestamping {
    /// The state after an attempt.
    #[must_use]
    pub fn after(self, succeeded: bool, now: UnixTime) -> Self {
        match self {
            _ if succeeded => Self::Healthy,
            Self::Healthy => Self::Failing { since: now },
            Self::Failing { .. } => self,
        }
    }

    /// `limit` of `None` switches the check off.
    pub fn accepts_messages(self, limit: Option<Duration>, now: UnixTime) -> bool {
        match (self, limit) {
            (Self::Failing { since }, Some(limit)) => now.since(since) <= limit,
            (Self::Healthy, _) | (_, None) => true,
        }
    }

    /// How long messages are still taken if nothing succeeds; `None` for as long as one likes.
    pub fn countdown(self, limit: Option<Duration>, now: UnixTime) -> Option<Duration> {
        match (self, limit) {
            (Self::Failing { since }, Some(limit)) => Some(limit.saturating_sub(now.since(since))),
            (Self::Healthy, _) | (_, None) => None,
        }
    }

    /// Reads the file; one that is missing or damaged says `Healthy`, since the next attempt tells.
    pub(super) fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        match text.strip_prefix("failing since ").and_then(|since| since.trim().parse().ok()) {
            Some(since) => Self::Failing { since: UnixTime(since) },
            None => Self::Healthy,
        }
    }

    fn store(self, path: &Path) -> std::io::Result<()> {
        let text = match self {
            Self::Healthy => "healthy\n".to_owned(),
            Self::Failing { since } => format!("failing since {}\n", since.0),
        };
        host::files::write_atomic(path, text.as_bytes(), 0o600)
    }
}

/// What the message log asks the rest of the server.
pub trait Surroundings: Send + Sync + std::fmt::Debug {
    /// Timestamping services: name and URL, in order.
    fn services(&self) -> Vec<(String, String)>;
    /// Whether there is any.
    fn has_services(&self) -> bool;
    /// Certificates that may sign tokens; `None` without a valid global configuration.
    fn trusted(&self, now: UnixTime) -> Option<Vec<Certificate>>;
    /// Between batches, as the global configuration says.
    fn interval(&self) -> Duration;
    /// `ocspFreshnessSeconds`, when there is a global configuration.
    fn freshness(&self) -> Option<Duration> {
        None
    }
}

/// The snapshots of a running server.
#[derive(Clone)]
pub struct Snapshots {
    /// `None` until the first configuration was verified.
    pub globalconf: Arc<ArcSwap<Option<Arc<GlobalConf>>>>,
    /// Which services to use.
    pub serverconf: Arc<ArcSwap<ServerConf>>,
    /// Which of them come first.
    pub preference: Preference,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshots")
    }
}

impl Surroundings for Snapshots {
    fn services(&self) -> Vec<(String, String)> {
        let conf = self.globalconf.load();
        let cost = |url: &str| {
            let tsas = conf.as_ref().as_ref().map(|conf| conf.tsas());
            let known = tsas.and_then(|tsas| tsas.iter().find(|tsa| tsa.url == url));
            known.map_or(CostType::Undefined, |tsa| tsa.cost)
        };
        self.preference.order(self.serverconf.load().tsas(), cost)
    }
    fn has_services(&self) -> bool {
        !self.serverconf.load().tsas().is_empty()
    }
    fn trusted(&self, now: UnixTime) -> Option<Vec<Certificate>> {
        let conf = self.globalconf.load();
        let conf = conf.as_ref().as_ref().filter(|conf| conf.check_valid(now).is_ok())?;
        Some(conf.tsa_certs().to_vec())
    }
    fn interval(&self) -> Duration {
        let conf = self.globalconf.load();
        let private = conf.as_ref().as_ref().and_then(|conf| conf.private());
        private.map_or(MIN_INTERVAL, |p| Duration::from_secs(p.timestamping_interval_seconds))
    }
    fn freshness(&self) -> Option<Duration> {
        let conf = self.globalconf.load();
        conf.as_ref().as_ref().map(|conf| conf.ocsp_rules().freshness)
    }
}

/// Why records have no timestamp yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// None is configured.
    #[error("no timestamping service is configured")]
    NoService,
    /// Without it nobody knows whose tokens count.
    #[error("there is no valid global configuration")]
    NoGlobalConf,
    /// Every service was asked in vain; the last reason of each.
    #[error("no timestamping service gave a usable timestamp: {0}")]
    Services(String),
    /// The record's signature has no value to stamp.
    #[error("record {record} cannot be stamped: {reason}")]
    Record {
        /// Which.
        record: u64,
        /// Why.
        reason: String,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The server is stopping.
    #[error("timestamping has ended")]
    Ended,
}

/// A request to stamp at once.
pub(super) enum Order {
    /// One record, or all that wait.
    Records(Option<RecordId>, oneshot::Sender<Result<(), TimestampError>>),
    /// Something else; the answer is the token.
    Data(Bytes, oneshot::Sender<Result<Vec<u8>, TimestampError>>),
}

impl MessageLog {
    /// Has one record stamped at once, alone, or every record that waits; done when the stamps are durable. A record that has a
    /// stamp already is left as it is.
    ///
    /// # Errors
    /// [`TimestampError`]; the records go on waiting.
    pub async fn stamp_now(&self, record: Option<RecordId>) -> Result<(), TimestampError> {
        let (answer, done) = oneshot::channel();
        self.inner.orders.send(Order::Records(record, answer)).await.map_err(|_| TimestampError::Ended)?;
        done.await.map_err(|_| TimestampError::Ended)?
    }

    /// A token over something that is no record.
    ///
    /// # Errors
    /// [`TimestampError`].
    pub(super) async fn stamp_data(&self, data: &[u8]) -> Result<Vec<u8>, TimestampError> {
        let (answer, done) = oneshot::channel();
        let order = Order::Data(Bytes::copy_from_slice(data), answer);
        self.inner.orders.send(order).await.map_err(|_| TimestampError::Ended)?;
        done.await.map_err(|_| TimestampError::Ended)?
    }

    /// The state of timestamping.
    pub fn timestamping(&self) -> Timestamping {
        *lock(&self.inner.timestamping)
    }

    /// What came of asking timestamping services.
    pub fn timestampers(&self) -> &Contacts {
        &self.inner.services.contacts
    }

    /// Records that wait for a timestamp.
    pub fn unstamped(&self) -> u64 {
        self.inner.index.waiting_count()
    }
}

impl MessageLog {
    /// Stamps a record that was just written, alone; durable on return.
    pub(super) async fn stamp_at_once(&self, id: RecordId, signature: &[u8]) -> Result<(), TimestampError> {
        let document = Document::parse(signature);
        let document =
            document.map_err(|e| TimestampError::Record { record: id.0, reason: e.to_string() })?;
        let kept = self.inner.services.ask(&document.value).await?;
        let head = StampHead {
            sequences: vec![id.0],
            token: kept.token,
            stamped_at: kept.at.0,
            service: kept.service,
            leaves_sha256: DigestAlgorithm::Sha256.digest(&[]).value,
            ..StampHead::default()
        };
        self.write_stamp(head, Bytes::new()).await?;
        metrics::counter!("causeway_timestamped_records_total").increment(1);
        Ok(())
    }

    async fn write_stamp(&self, head: StampHead, leaves: Bytes) -> Result<(), TimestampError> {
        let (answer, done) = oneshot::channel();
        self.inner.ask(&self.inner.slots, Request::Stamp { head: Box::new(head), leaves, answer }).await?;
        Ok(done.await.map_err(|_| LogError::Closed)??)
    }
}

/// The task that stamps; there is one per log.
#[derive(Debug)]
pub struct Timestamper {
    log: MessageLog,
    orders: mpsc::Receiver<Order>,
    clock: Clock,
    /// From the start to the first stamps.
    pub(super) first_after: Duration,
}

impl Timestamper {
    pub(super) fn new(log: MessageLog, orders: mpsc::Receiver<Order>, clock: Clock) -> Self {
        Self { log, orders, clock, first_after: FIRST_AFTER }
    }

    /// Stamps until `shutdown` says stop, even while a service keeps us waiting.
    pub async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.stopped() => {}
            () = self.serve() => {}
        }
    }

    async fn serve(&mut self) {
        let mut due = Instant::now() + self.first_after;
        let mut figures_due = due;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    let began = Instant::now();
                    let done = self.stamp_waiting().await;
                    due = began + self.pause(done.is_ok());
                }
                () = tokio::time::sleep_until(figures_due) => {}
                order = self.orders.recv() => {
                    let Some(order) = order else { return };
                    match self.obey(order).await {
                        Some(true) => due = Instant::now() + self.pause(true),
                        Some(false) => due = due.min(Instant::now() + self.pause(false)),
                        None => {}
                    }
                }
            }
            self.figures().await;
            figures_due = Instant::now() + FIGURES_EVERY;
        }
    }

    /// Stamps what was asked for; for everything that waits, whether it went well.
    async fn obey(&self, order: Order) -> Option<bool> {
        // Whoever asked may have gone.
        match order {
            Order::Data(data, answer) => {
                let _ = answer.send(self.log.inner.services.ask(&data).await.map(|kept| kept.token));
                None
            }
            Order::Records(Some(record), answer) => {
                let done = self.stamp_one(record).await;
                // Whoever asked finds the stamp.
                self.log.indexed().await;
                let _ = answer.send(done);
                None
            }
            Order::Records(None, answer) => {
                let done = self.stamp_waiting().await;
                let went_well = done.is_ok();
                self.log.indexed().await;
                let _ = answer.send(done);
                Some(went_well)
            }
        }
    }

    pub(super) fn pause(&self, succeeded: bool) -> Duration {
        let interval = self.log.inner.surroundings.interval().clamp(MIN_INTERVAL, MAX_INTERVAL);
        if succeeded { interval } else { interval.min(self.log.inner.settings.timestamp_retry) }
    }

    /// Stamps everything that waits, batch by batch; while timestamping fails, a single record first.
    async fn stamp_waiting(&self) -> Result<(), TimestampError> {
        let done = self.batches().await;
        if let Err(error) = &done {
            let limit = self.log.inner.settings.acceptable_timestamp_failure;
            let left = self.log.timestamping().countdown(limit, self.clock.now()).or(limit);
            let seconds_left = left.map(|left| left.as_secs());
            let waiting = self.log.unstamped();
            tracing::warn!(%error, waiting, seconds_left, "records could not be timestamped");
        }
        self.note(done.is_ok()).await;
        done
    }

    async fn batches(&self) -> Result<(), TimestampError> {
        let most = self.log.inner.settings.timestamp_records.get();
        let mut limit = match self.log.timestamping() {
            Timestamping::Healthy => most,
            Timestamping::Failing { .. } => 1,
        };
        loop {
            let waiting = self.waiting(limit).await?;
            let done = match waiting.as_slice() {
                [] => return Ok(()),
                [one] => self.stamp_single(one).await,
                several => self.stamp_batch(several).await,
            };
            match done {
                // Damage must not stop the others: together with them it is stamped by its leaf.
                Err(TimestampError::Record { record, reason }) => {
                    tracing::error!(record, reason, "a damaged record cannot be stamped alone");
                    if limit == most {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
                Ok(()) => self.note(true).await,
            }
            if waiting.len() < limit {
                return Ok(());
            }
            limit = most;
        }
    }

    async fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, TimestampError> {
        self.log.indexed().await;
        let index = self.log.inner.index.clone();
        let found = tokio::task::spawn_blocking(move || index.waiting(limit)).await;
        Ok(found.map_err(|_| TimestampError::Ended)??)
    }

    async fn stamp_one(&self, record: RecordId) -> Result<(), TimestampError> {
        self.log.indexed().await;
        match self.log.inner.index.waiting_one(record.0)? {
            Some(waiting) => self.stamp_single(&waiting).await,
            None => Ok(()),
        }
    }

    /// One record: its decoded signature value is stamped.
    async fn stamp_single(&self, waiting: &Waiting) -> Result<(), TimestampError> {
        let number = waiting.sequence;
        let log = self.log.clone();
        let value = tokio::task::spawn_blocking(move || {
            let record = log.read(RecordId(number)).map_err(|e| e.to_string())?;
            Document::parse(&record.signature).map(|document| document.value).map_err(|e| e.to_string())
        });
        let value = value.await.map_err(|_| TimestampError::Ended)?;
        let value = value.map_err(|reason| TimestampError::Record { record: number, reason })?;
        let token = self.log.inner.services.ask(&value).await?;
        self.keep(token, std::slice::from_ref(waiting), Vec::new(), Bytes::new()).await
    }

    /// Several records: the result of a hash chain over their signature documents is stamped.
    async fn stamp_batch(&self, batch: &[Waiting]) -> Result<(), TimestampError> {
        let leaves: Bytes = batch.iter().flat_map(|waiting| waiting.leaf.iter().copied()).collect();
        let for_tree = leaves.clone();
        let settings = self.log.inner.settings.background;
        let result = background::run("log-stamper", settings, Haste::Patient, move || {
            tree_of(&for_tree).result_xml().to_vec()
        })
        .await?;
        let token = self.log.inner.services.ask(&result).await?;
        self.keep(token, batch, result, leaves).await
    }

    /// Writes the stamp; durable on return.
    async fn keep(
        &self,
        kept: Kept,
        records: &[Waiting],
        chain_result: Vec<u8>,
        leaves: Bytes,
    ) -> Result<(), TimestampError> {
        let count = records.len();
        let late = records.iter().filter(|record| record.is_late(kept.at)).count();
        let service = kept.service.clone();
        let head = StampHead {
            sequences: records.iter().map(|record| record.sequence).collect(),
            token: kept.token,
            chain_result,
            stamped_at: kept.at.0,
            service: kept.service,
            leaves_sha256: DigestAlgorithm::Sha256.digest(&leaves).value,
        };
        self.log.write_stamp(head, leaves).await?;
        metrics::counter!("causeway_timestamped_records_total").increment(count as u64);
        metrics::counter!("causeway_timestamp_late_records_total").increment(late as u64);
        if late > 0 {
            tracing::error!(
                late,
                service,
                "records were stamped too late: their OCSP answers were too old by then"
            );
        }
        tracing::debug!(records = count, "timestamped");
        Ok(())
    }

    /// Remembers the outcome, on the disk when it changed something.
    async fn note(&self, succeeded: bool) {
        let now = self.clock.now();
        let (before, after) = {
            let mut state = lock(&self.log.inner.timestamping);
            let before = *state;
            *state = before.after(succeeded, now);
            (before, *state)
        };
        if before == after {
            return;
        }
        let path = state_path(&self.log.inner.dir);
        let stored = tokio::task::spawn_blocking(move || after.store(&path)).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!(%error, "the state of timestamping could not be stored");
        }
    }

    /// The oldest record's OCSP answer has lived for half of its time, and there is no timestamp yet.
    fn alarm(&self, oldest: Option<&Waiting>, now: UnixTime) {
        let freshness = self.log.inner.surroundings.freshness();
        let left = oldest.filter(|oldest| oldest.until > 0).map(|oldest| UnixTime(oldest.until).since(now));
        let due = left.zip(freshness).is_some_and(|(left, freshness)| left <= freshness / 2);
        metrics::gauge!("causeway_timestamp_alarm").set(f64::from(u8::from(due)));
        let before = self.log.inner.alarmed.swap(due, Ordering::Relaxed);
        if let Some(oldest) = oldest.filter(|_| due && !before) {
            let seconds_left = left.map(|left| left.as_secs());
            tracing::error!(
                record = oldest.sequence,
                seconds_left,
                "the oldest record without a timestamp must have one soon, or it proves nothing: check the timestamping service"
            );
        }
    }

    pub(super) async fn figures(&self) {
        let now = self.clock.now();
        let inner = &self.log.inner;
        let first = self.waiting(1).await.ok().and_then(|waiting| waiting.into_iter().next());
        let oldest = first.as_ref().map_or(0.0, |first| now.since(UnixTime(first.at)).as_secs_f64());
        self.alarm(first.as_ref(), now);
        let limit = inner.settings.acceptable_timestamp_failure;
        let state = self.log.timestamping();
        let countdown =
            state.countdown(limit, now).or(limit).map_or(f64::INFINITY, |left| left.as_secs_f64());
        metrics::gauge!("causeway_timestamp_backlog_records").set(self.log.unstamped() as f64);
        metrics::gauge!("causeway_timestamp_oldest_unstamped_seconds").set(oldest);
        metrics::gauge!("causeway_timestamp_failing")
            .set(f64::from(u8::from(state != Timestamping::Healthy)));
        metrics::gauge!("causeway_timestamp_countdown_seconds").set(countdown);
        if let (Timestamping::Failing { .. }, Some(left)) = (state, state.countdown(limit, now)) {
            tracing::debug!(seconds_left = left.as_secs(), "timestamping fails");
        }
    }
}

pub(super) fn state_path(dir: &Path) -> PathBuf {
    dir.join("timestamping")
}
