//! The configuration client: downloads the global configuration, verifies it, stores it, swaps it in [PR-GCONF].
//!
//! | Module | Holds |
//! |---|---|
//! | this | [`ConfigurationClient`]: one run after another, what is published, what is told |
//! | [`location`] | where to look, in which order, with whose certificates |
//! | [`download`] | one location: version, directory, parts, everything verified before anything is written |
//! | `shared_part` | shared parameters as a file: received, hashed, read, put in place |
//! | [`store`] | files in the reference's layout |
//!
//! A run that fails changes nothing: what was good stays until it expires, and then [`GlobalConf::check_valid`] says so to every
//! exchange. Expired federated instances are taken out of the snapshot. Integrity comes from the signature alone, never from TLS.
//! A directory that is older than the stored one beyond [`ConfigurationSettings::age_tolerance`], or of a lower version, is refused, since
//! whoever can play an old one back could undo a removal.
//!
//! A new configuration is read and built on threads of low priority while exchanges go on under the old one; the old one is freed there
//! too, once the last exchange that has it is done.
//!
//! It knows nothing of the relay and serves any kind of server. Metrics: `causeway_globalconf_runs_total{outcome}`,
//! `causeway_globalconf_expires_seconds`, `causeway_globalconf_last_success_seconds` (Unix time).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use host::background;
use host::clock::Clock;
use host::http::Client;
use host::shutdown::Shutdown;
use pki::globalconf::{Builder, GlobalConf, Instance, load_directory};
use proto::fault::Style;
use proto::globalconf::INSTANCE_FILE;
use proto::globalconf::anchor::Anchor;
use proto::globalconf::private_parameters::PrivateParameters;
use proto::time::UnixTime;
use serde::Serialize;

use crate::config::ConfigurationSettings;

pub mod download;
mod error;
pub mod location;
mod shared_part;
pub mod store;
#[cfg(test)]
mod tests;

pub use error::DownloadError;

use download::{Accept, Downloaded};
use location::Location;
use shared_part::Checked;

/// Longest anchor file.
const MAX_ANCHOR_BYTES: u64 = 4 << 20;
/// Most locations that are tried for one instance in one run.
const MAX_LOCATIONS: usize = 50;
/// Wait after the first failure while there is no configuration at all; it doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How long an old configuration is waited for, and how often it is looked at.
const OUTLIVED: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is published: `None` until the first configuration was verified.
pub type Published = Arc<ArcSwap<Option<Arc<GlobalConf>>>>;

/// How the client is doing, for health and diagnostics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// When the last run ended.
    pub last_run: Option<UnixTime>,
    /// When the last run of the main instance succeeded.
    pub last_success: Option<UnixTime>,
    /// What the last run failed of; `None` after a success.
    pub last_error: Option<Failure>,
    /// Where the last good directory came from.
    pub source: Option<String>,
    /// Configuration version in use.
    pub version: Option<u32>,
    /// When the configuration in use expires.
    pub expires: Option<UnixTime>,
    /// What federated instances failed of in the last run.
    pub federated_errors: BTreeMap<String, Failure>,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The code that stock servers give.
    pub code: &'static str,
    /// In words.
    pub reason: String,
}

impl From<&DownloadError> for Failure {
    fn from(error: &DownloadError) -> Self {
        Self { code: error.fault_code().text(Style::Snake), reason: error.to_string() }
    }
}

/// The client.
pub struct ConfigurationClient {
    settings: ConfigurationSettings,
    folder: PathBuf,
    http: Client,
    clock: Clock,
    published: Published,
    status: Mutex<Status>,
    /// One run at a time; what it remembers for the next.
    memory: tokio::sync::Mutex<Memory>,
}

/// What one run leaves for the next.
#[derive(Default)]
struct Memory {
    /// Shared parameters by instance, also of instances whose expiry has taken them out of the snapshot.
    instances: HashMap<String, Arc<Instance>>,
    /// URL of the location that worked last, by instance.
    last_good: HashMap<String, String>,
    /// What the stored files of shared parameters were found to be, by instance.
    checked: HashMap<String, Checked>,
}

impl ConfigurationClient {
    /// A client over what is stored in `folder` already, which is published at once. `http` needs no trusted roots: TLS is not
    /// relied on.
    pub fn new(settings: ConfigurationSettings, folder: PathBuf, http: Client, clock: Clock) -> Self {
        let stored = match load_directory(&folder) {
            Ok(conf) => Some(conf),
            Err(error) => {
                if folder.join(INSTANCE_FILE).exists() {
                    tracing::warn!(%error, "the stored global configuration cannot be used; it is downloaded again");
                }
                None
            }
        };
        let mut memory = Memory::default();
        if let Some(conf) = &stored {
            let shared = conf.instances().into_iter().filter_map(|name| Some((name, conf.shared(name)?.0)));
            memory.instances = shared.map(|(name, shared)| (name.to_owned(), Arc::clone(shared))).collect();
        }
        let client = Self {
            settings,
            folder,
            http,
            clock,
            published: Arc::new(ArcSwap::from_pointee(None)),
            status: Mutex::default(),
            memory: tokio::sync::Mutex::new(memory),
        };
        if let Some(conf) = stored {
            client.publish(conf);
        }
        client
    }

    /// Where snapshots are published; for everybody who reads the configuration.
    pub fn published(&self) -> Published {
        Arc::clone(&self.published)
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs until told to stop.
    pub async fn run(&self, shutdown: Shutdown) {
        let mut retry = FIRST_RETRY;
        loop {
            let outcome = tokio::select! {
                outcome = self.run_once() => outcome,
                () = shutdown.stopped() => return,
            };
            let wait = if outcome.is_err() && self.published.load().is_none() {
                let wait = retry.min(self.settings.interval);
                retry = retry.saturating_mul(2);
                wait
            } else {
                retry = FIRST_RETRY;
                self.settings.interval
            };
            if !self.wait(wait, &shutdown).await {
                return;
            }
        }
    }

    /// Waits for the next run and takes federated instances out on time; `false` when told to stop.
    async fn wait(&self, wait: Duration, shutdown: &Shutdown) -> bool {
        let end = tokio::time::Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return true;
            }
            let now = self.clock.now();
            let expiry =
                self.published.load().as_ref().as_ref().and_then(|conf| conf.next_federated_expiry());
            let expiry = expiry.filter(|expiry| *expiry > now).map(|expiry| expiry.since(now));
            tokio::select! {
                () = tokio::time::sleep(expiry.map_or(left, |expiry| expiry.min(left))) => {}
                () = shutdown.stopped() => return false,
            }
            self.drop_expired();
        }
    }

    /// Downloads once. Whatever fails leaves what was good.
    ///
    /// # Errors
    /// Why the main instance could not be downloaded; a federated one that fails is only told in [`Self::status`].
    pub async fn run_once(&self) -> Result<(), DownloadError> {
        let mut memory = self.memory.lock().await;
        let outcome = self.main_and_federated(&mut memory).await;
        let now = self.clock.now();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_run = Some(now);
        let label = match &outcome {
            Ok((source, federated_errors)) => {
                if status.last_error.take().is_some() {
                    tracing::info!(source, "the global configuration is downloaded again");
                }
                status.last_success = Some(now);
                status.source = Some(source.clone());
                status.federated_errors = federated_errors.clone();
                metrics::gauge!("causeway_globalconf_last_success_seconds").set(seconds(now));
                "success"
            }
            Err(error) => {
                let failure = Failure::from(error);
                if status.last_error.as_ref() != Some(&failure) {
                    tracing::warn!(code = failure.code, %error, "the global configuration could not be downloaded");
                }
                status.last_error = Some(failure);
                "failure"
            }
        };
        metrics::counter!("causeway_globalconf_runs_total", "outcome" => label).increment(1);
        drop(status);
        self.drop_expired();
        outcome.map(drop)
    }

    async fn main_and_federated(
        &self,
        memory: &mut Memory,
    ) -> Result<(String, BTreeMap<String, Failure>), DownloadError> {
        let anchor = self.read_anchor()?;
        store::check_instance(&self.folder, &anchor.instance)?;
        let (main, source) = self.instance(memory, &anchor, Accept::Everything).await?;
        store::write_instance(&self.folder, &anchor.instance)?;
        let private = main.private.clone().ok_or(DownloadError::PartMissing("private parameters"))?;
        let mut builder = Builder::new(&anchor.instance)
            .instance(main.shared, Some(main.expires))
            .private(Arc::clone(&private), Some(main.expires));
        let (parts, problems) = main.optional;
        builder = problems.into_iter().fold(builder.optional(parts), Builder::problem);
        let mut errors = BTreeMap::new();
        let mut kept = vec![anchor.instance.clone()];
        for federated in self.federation(&private) {
            kept.push(federated.instance.clone());
            match self.instance(memory, federated, Accept::SharedParameters).await {
                Ok((found, _)) => builder = builder.instance(found.shared, Some(found.expires)),
                Err(error) => {
                    tracing::warn!(instance = federated.instance, %error, "a federated configuration could not be downloaded");
                    errors.insert(federated.instance.clone(), Failure::from(&error));
                    if let Some((shared, expires)) = self.still_good(&federated.instance) {
                        builder = builder.instance(shared, expires);
                    }
                }
            }
        }
        store::remove_other_instances(&self.folder, &kept);
        memory.instances.retain(|instance, _| kept.contains(instance));
        memory.last_good.retain(|instance, _| kept.contains(instance));
        memory.checked.retain(|instance, _| kept.contains(instance));
        self.publish(builder.build().map_err(|error| DownloadError::Unusable(error.to_string()))?);
        Ok((source, errors))
    }

    /// Anchors of the instances to download besides our own.
    fn federation<'p>(&'p self, private: &'p PrivateParameters) -> impl Iterator<Item = &'p Anchor> {
        let allowed = |anchor: &&Anchor| {
            anchor.instance != private.instance && self.settings.federations.allow(&anchor.instance)
        };
        private.federation_anchors.iter().filter(allowed)
    }

    fn still_good(&self, instance: &str) -> Option<(Arc<Instance>, Option<UnixTime>)> {
        let conf = self.published.load();
        let (shared, expires) = conf.as_ref().as_ref()?.shared(instance)?;
        Some((Arc::clone(shared), expires))
    }

    /// One instance: every candidate location in turn until one is good.
    async fn instance(
        &self,
        memory: &mut Memory,
        anchor: &Anchor,
        accept: Accept,
    ) -> Result<(Downloaded, String), DownloadError> {
        let known = memory.instances.get(&anchor.instance);
        let sources = known.map_or(&[][..], |shared| shared.sources());
        let last_good = memory.last_good.get(&anchor.instance).map(String::as_str);
        let candidates = location::candidates(anchor, sources, last_good);
        let mut failures = Vec::new();
        for location in candidates.into_iter().take(MAX_LOCATIONS) {
            let checked = memory.checked.get(&anchor.instance);
            match self.location(&location, anchor, accept, (known, checked)).await {
                Ok(mut found) => {
                    memory.checked.remove(&anchor.instance);
                    memory.checked.extend(found.checked.take().map(|now| (anchor.instance.clone(), now)));
                    memory.last_good.insert(anchor.instance.clone(), location.url.clone());
                    memory.instances.insert(anchor.instance.clone(), Arc::clone(&found.shared));
                    return Ok((found, location.url));
                }
                Err(error) => {
                    tracing::debug!(url = location.url, %error, "a configuration source failed");
                    failures.push(error);
                }
            }
        }
        Err(error::most_telling(failures))
    }

    async fn location(
        &self,
        location: &Location,
        anchor: &Anchor,
        accept: Accept,
        (known, checked): (Option<&Arc<Instance>>, Option<&Checked>),
    ) -> Result<Downloaded, DownloadError> {
        let now = self.clock.now();
        let job = download::Job {
            http: &self.http,
            location,
            instance: &anchor.instance,
            folder: &self.folder,
            accept,
            age_tolerance: self.settings.age_tolerance,
            known: known.cloned(),
            checked: checked.cloned(),
        };
        job.run(now).await
    }

    fn read_anchor(&self) -> Result<Anchor, DownloadError> {
        let file = &self.settings.anchor_file;
        let failed = |source| DownloadError::AnchorFile { file: file.clone(), source };
        let length = std::fs::metadata(file).map_err(failed)?.len();
        if length > MAX_ANCHOR_BYTES {
            return Err(failed(std::io::Error::other(format!("larger than {MAX_ANCHOR_BYTES} bytes"))));
        }
        Ok(Anchor::read(&std::fs::read(file).map_err(failed)?)?)
    }

    fn publish(&self, conf: GlobalConf) {
        let conf = conf.without_expired(self.clock.now()).unwrap_or(conf);
        let before = self.published.load();
        if before.as_ref().as_ref().is_none_or(|before| before.generation() != conf.generation()) {
            tracing::info!(
                instance = conf.instance(),
                version = conf.version(),
                "a new global configuration is in use"
            );
            for problem in conf.problems() {
                tracing::warn!(problem, "a part of the global configuration cannot be used");
            }
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        (status.version, status.expires) = (Some(conf.version()), conf.expires());
        if let Some(expires) = conf.expires() {
            metrics::gauge!("causeway_globalconf_expires_seconds").set(seconds(expires));
        }
        self.swap(conf);
    }

    /// Lets exchanges that begin now have `conf`. The one before is freed by nobody who has other things to do.
    fn swap(&self, conf: GlobalConf) {
        let before = self.published.swap(Arc::new(Some(Arc::new(conf))));
        // Where no thread is to be had, whoever has it last frees it.
        let _ = std::thread::Builder::new().name("globalconf".to_owned()).spawn(move || free(before));
    }

    fn drop_expired(&self) {
        let conf = self.published.load();
        let Some(rest) = conf.as_ref().as_ref().and_then(|conf| conf.without_expired(self.clock.now()))
        else {
            return;
        };
        tracing::warn!(left = ?rest.instances(), "the configuration of a federated instance has expired");
        self.swap(rest);
    }
}

/// Waits until no exchange has a configuration any more, then frees it; after [`OUTLIVED`], leaves it to the last that has it.
fn free(before: Arc<Option<Arc<GlobalConf>>>) {
    background::lower_priority(background::NICENESS);
    let in_use = |conf: &Arc<Option<Arc<GlobalConf>>>| {
        Arc::strong_count(conf) > 1 || conf.as_ref().as_ref().is_some_and(|conf| Arc::strong_count(conf) > 1)
    };
    let began = std::time::Instant::now();
    while in_use(&before) && began.elapsed() < OUTLIVED {
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Unix time as metrics have it.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds fit a double for the next two hundred thousand years"
)]
fn seconds(at: UnixTime) -> f64 {
    at.0 as f64 / 1000.0
}
