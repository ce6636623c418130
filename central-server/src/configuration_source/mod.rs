//! The configuration source: generates, signs and publishes the internal and the external configuration [PR-GCONF].
//!
//! | Module | Holds |
//! |---|---|
//! | this | [`ConfigurationSource`]: one pass over all versions, at an interval and after every change |
//! | [`documents`] | state of the registry to documents and anchors; pure |
//! | [`keys`] | signing keys and their certificates |
//! | [`publication`] | the published files |
//! | [`web`] | serving them over HTTP and HTTPS |
//! | [`optional_parts`] | declarations of parts in INI files |
//!
//! A pass makes every version from one state. It commits only when all of them are good; a pass that fails leaves what is published,
//! which then expires. The present anchors lie in `anchors/`, `internal.xml` and `external.xml`, for security servers and for
//! partners.

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::background::{self, BackgroundError, Pace};
use host::clock::Clock;
use host::files::write_atomic;
use host::shutdown::Shutdown;
use pki::algorithm::EcdsaForm;
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::globalconf::verify::anchor_fingerprint;
use proto::globalconf::anchor::AnchorError;
use proto::globalconf::directory::{Directory, DirectoryError, Part, Signature, envelope};
use proto::globalconf::{
    MAX_VERSION, PRIVATE_PARAMETERS, PRIVATE_PARAMETERS_FILE, SHARED_PARAMETERS, SHARED_PARAMETERS_FILE,
};
use proto::time::UnixTime;
use serde::Serialize;
use signer::{Purpose, SignerError};
use tokio::sync::Notify;

pub mod documents;
pub mod keys;
pub mod optional_parts;
pub mod publication;
#[cfg(test)]
mod tests;
pub mod web;

use crate::registry::state::{SigningKey, State};
use crate::registry::{Registry, RegistryError, SourceKind};
use crate::token::TokenSlot;
pub use documents::Incomplete;
use publication::{Content, Publication, Published, Writing, Written};

/// What certificates are named by in directories.
const CERT_HASH: DigestAlgorithm = DigestAlgorithm::Sha512;
/// Several changes within this time make one pass.
const SETTLE: Duration = Duration::from_millis(50);

/// Per cent of one core, and of the disk, that a pass takes while the server serves.
const SHARE: u32 = 10;

/// Why nothing new was published.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// The registry does not hold enough yet.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// A part cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A directory cannot be written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// An anchor cannot be written.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The token does not sign.
    #[error("the {} configuration could not be signed: {error}", source_kind.name())]
    Signing {
        /// Which source.
        source_kind: SourceKind,
        /// Why.
        error: SignerError,
    },
    /// The signature does not verify with the certificate that would be named.
    #[error("the signing key of the {} configuration does not fit its certificate", .0.name())]
    KeyMismatch(SourceKind),
    /// Disk.
    #[error("the configuration could not be written: {0}")]
    Disk(#[from] io::Error),
}

/// How generation is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// When the last pass ended.
    pub last_run: Option<UnixTime>,
    /// When the last good pass ended.
    pub last_success: Option<UnixTime>,
    /// What the last pass failed of; `None` after a success.
    pub last_error: Option<String>,
    /// Since when passes have failed.
    pub failing_since: Option<UnixTime>,
    /// When what is published expires.
    pub expires: Option<UnixTime>,
}

impl Status {
    /// What is published holds.
    pub fn is_good(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|expires| now < expires)
    }
}

/// The source.
pub struct ConfigurationSource {
    registry: Arc<Registry>,
    token: Arc<TokenSlot>,
    clock: Clock,
    versions: RangeInclusive<u32>,
    anchors: PathBuf,
    /// One pass at a time.
    publication: Mutex<Publication>,
    status: Mutex<Status>,
    /// What this process has published, apart from the lock that is held for a whole pass.
    published: Mutex<Vec<Published>>,
    /// A pass is wanted though nothing has changed.
    wanted: Notify,
}

impl ConfigurationSource {
    /// Publishes versions from `minimum_version` on into `public` and the anchors into `anchors`.
    pub fn new(
        registry: Arc<Registry>,
        token: Arc<TokenSlot>,
        clock: Clock,
        minimum_version: u32,
        public: PathBuf,
        anchors: PathBuf,
    ) -> Self {
        Self {
            registry,
            token,
            clock,
            versions: minimum_version..=MAX_VERSION,
            anchors,
            publication: Mutex::new(Publication::new(public)),
            wanted: Notify::new(),
            status: Mutex::default(),
            published: Mutex::default(),
        }
    }

    /// Asks for a pass soon: the token can sign again.
    pub fn wake(&self) {
        self.wanted.notify_one();
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What this process has published, from the lowest version up.
    pub fn published(&self) -> Vec<Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Generates at every `interval` and after every change, until told to stop. The first pass is the caller's.
    pub async fn run(self: Arc<Self>, interval: Duration, shutdown: Shutdown) {
        let mut changes = self.registry.changes();
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.wanted.notified() => {}
                changed = changes.changed() => match changed {
                    Ok(()) => tokio::time::sleep(SETTLE).await,
                    // The registry lives as long as this source does.
                    Err(_) => return,
                },
                () = shutdown.stopped() => return,
            }
            changes.mark_unchanged();
            let this = Arc::clone(&self);
            // A large registry takes a core for seconds, and whoever asks meanwhile comes first; for the first configuration somebody waits.
            let pace = if self.published().is_empty() { Pace::hurried() } else { Pace::of(SHARE) };
            let generate = move || this.generate_at(pace);
            match background::run("configuration", background::NICENESS, generate).await {
                Ok(Ok(())) => {}
                // Status, log and metrics have it from the pass itself.
                Ok(Err(error)) => tracing::debug!(%error, "nothing new is published"),
                Err(error) => self.broken(&error),
            }
        }
    }

    /// A pass ended without an outcome. The next one begins anew: nothing was committed, or all of it.
    fn broken(&self, error: &BackgroundError) {
        tracing::error!(%error, "a generation of the configuration has no outcome");
        metrics::counter!("configuration_generations_total", "outcome" => "broken").increment(1);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        (status.last_run, status.last_error) =
            (Some(now), Some(format!("the generation has broken off: {error}")));
        status.failing_since.get_or_insert(now);
    }

    /// One pass over all versions, as fast as can be. Blocks. Its outcome is in [`Self::status`], in the log and in the metrics.
    ///
    /// # Errors
    /// Nothing new was published.
    pub fn generate(&self) -> Result<(), GenerationError> {
        self.generate_at(Pace::hurried())
    }

    fn generate_at(&self, pace: Pace) -> Result<(), GenerationError> {
        let mut publication = self.publication.lock().unwrap_or_else(PoisonError::into_inner);
        let began = std::time::Instant::now();
        let outcome = self.pass(&mut publication, pace);
        metrics::histogram!("configuration_generation_seconds").record(began.elapsed().as_secs_f64());
        let now = self.clock.now();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_run = Some(now);
        let label = match &outcome {
            Ok(expires) => {
                if status.last_error.take().is_some() || status.last_success.is_none() {
                    tracing::info!(expires = expires.to_iso8601(), "the configuration is published");
                }
                (status.last_success, status.failing_since, status.expires) =
                    (Some(now), None, Some(*expires));
                metrics::gauge!("configuration_expires_seconds").set(expires.as_secs() as f64);
                "success"
            }
            Err(error) => {
                let text = error.to_string();
                if status.last_error.as_ref() != Some(&text) {
                    say(error, status.last_success.is_none());
                }
                status.last_error = Some(text);
                status.failing_since.get_or_insert(now);
                "failure"
            }
        };
        metrics::counter!("configuration_generations_total", "outcome" => label).increment(1);
        outcome.map(drop)
    }

    fn pass(&self, publication: &mut Publication, pace: Pace) -> Result<UnixTime, GenerationError> {
        let state = self.registry.state();
        let now = self.clock.now();
        let instance = state.instance.as_deref().ok_or(Incomplete::Instance)?;
        let keys = SourceKind::ALL.map(|source| (source, state.active_key(source)));
        let expires = now.plus(Duration::from_secs(state.parameters.conf_expire_interval_seconds));
        // Whole seconds, as directories have them.
        let expires = UnixTime::from_secs(expires.as_secs());
        let mut written = HashMap::new();
        let mut directories = Vec::new();
        let mut documents = None;
        for version in self.versions.clone() {
            let of_version = match publication.parts_of(version, state.content_revision) {
                Some(there) => there.clone(),
                None => {
                    let documents = match &mut documents {
                        Some(made) => made,
                        none => none.insert(Documents::of(&state, pace)?),
                    };
                    let mut writing = publication.begin(version, instance, now)?;
                    documents.write_shared(version, &mut writing, &written)?;
                    for content in self.small(&state, version)? {
                        writing.whole(&content, &written)?;
                    }
                    writing.finish(state.content_revision, now)?
                }
            };
            for (source, key) in keys {
                let key = key.ok_or(Incomplete::SigningKey(source))?;
                let parts = parts_for(source, &of_version);
                let directory = Directory { expires, version: Some(version), parts };
                directories.push((version, source, self.sign(&directory, source, key)?));
            }
            written.insert(version, of_version);
        }
        publication.commit(&directories, written, now)?;
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = publication.published();
        publication.clean(now);
        self.write_anchors(&state)?;
        Ok(expires)
    }

    /// All parts of a version but the shared parameters.
    fn small(&self, state: &State, version: u32) -> Result<Vec<Content>, GenerationError> {
        let part = |identifier: &str, name: &str, bytes| Content {
            identifier: identifier.to_owned(),
            name: name.to_owned(),
            bytes,
        };
        let private = documents::private_parameters(state)?.write(version).map_err(Incomplete::from)?;
        let mut contents = vec![part(PRIVATE_PARAMETERS, PRIVATE_PARAMETERS_FILE, private)];
        for published in state.parts.values() {
            let bytes = self.registry.part(&published.digest)?;
            contents.push(part(&published.content_identifier, &published.file_name, bytes));
        }
        Ok(contents)
    }

    fn sign(
        &self,
        directory: &Directory,
        source: SourceKind,
        key: &SigningKey,
    ) -> Result<Vec<u8>, GenerationError> {
        let cert = Certificate::parse(&key.cert.0).map_err(|_| GenerationError::KeyMismatch(source))?;
        let algorithm = keys::algorithm(&cert).ok_or(GenerationError::KeyMismatch(source))?;
        let (outer, inner) = (boundary(), boundary());
        let signed = directory.signed_bytes(&inner)?;
        let token = self.token.get().ok_or(Incomplete::SigningKey(source))?;
        let value = token
            .sign_blocking(&key.key, Purpose::Configuration, algorithm, EcdsaForm::Der, &signed)
            .map_err(|error| GenerationError::Signing { source_kind: source, error })?;
        cert.verify(algorithm, EcdsaForm::Der, &signed, &value)
            .map_err(|_| GenerationError::KeyMismatch(source))?;
        let signature = Signature {
            algorithm_uri: algorithm.uri().to_owned(),
            cert_hash: CERT_HASH.digest(cert.der()).value,
            cert_hash_algorithm_uri: CERT_HASH.uri().to_owned(),
            value,
        };
        Ok(envelope(&outer, &inner, &signed, &signature))
    }

    /// Keeps the anchor files as the registry has them.
    fn write_anchors(&self, state: &State) -> Result<(), GenerationError> {
        std::fs::create_dir_all(&self.anchors)?;
        for source in SourceKind::ALL {
            let bytes = documents::anchor(state, source)?.write()?;
            let path = self.anchors.join(format!("{}.xml", source.name()));
            if std::fs::read(&path).is_ok_and(|present| present == bytes) {
                continue;
            }
            write_atomic(&path, &bytes, 0o644)?;
            let hash = anchor_fingerprint(&bytes);
            tracing::info!(path = %path.display(), hash, "a new anchor is ready to be handed out");
        }
        Ok(())
    }
}

/// The shared parameters of one pass.
struct Documents<'s> {
    shared: documents::Shared<'s>,
    /// The version that was written last, and all that have the same text.
    last: Option<(u32, RangeInclusive<u32>)>,
    pace: Pace,
}

impl<'s> Documents<'s> {
    fn of(state: &'s State, pace: Pace) -> Result<Self, Incomplete> {
        Ok(Self { shared: documents::Shared::of(state)?, last: None, pace })
    }

    fn write_shared(
        &mut self,
        version: u32,
        writing: &mut Writing<'_>,
        written: &HashMap<u32, Written>,
    ) -> Result<(), GenerationError> {
        let (identifier, name) = (SHARED_PARAMETERS, SHARED_PARAMETERS_FILE);
        let last = self.last.as_ref().filter(|(_, same)| same.contains(&version));
        let same = last.and_then(|(last, _)| written.get(last));
        if same.is_some_and(|same| writing.same(same, identifier, name)) {
            return Ok(());
        }
        let shared = &mut self.shared;
        let write = |take: &mut dyn FnMut(&str) -> Result<(), GenerationError>| shared.write(version, take);
        let same = writing.by_pieces((identifier, name), self.pace, write)?;
        self.last = Some((version, same));
        Ok(())
    }
}

/// Says what a pass failed of. What is yet to be set up on a new server is no failure: it is said with what to do about it.
fn say(error: &GenerationError, is_first: bool) {
    let next = match error {
        GenerationError::Incomplete(incomplete) if is_first => incomplete.next_step(),
        _ => None,
    };
    match next {
        Some(next) => tracing::info!(next, "nothing is published yet: {error}"),
        None => tracing::error!(%error, "no configuration could be generated"),
    }
}

/// External directories list the shared parameters alone.
fn parts_for(source: SourceKind, written: &Written) -> Vec<Part> {
    let all = written.parts.iter();
    match source {
        SourceKind::Internal => all.cloned().collect(),
        SourceKind::External => {
            all.filter(|part| part.content_identifier == SHARED_PARAMETERS).cloned().collect()
        }
    }
}

/// Twenty random letters and digits.
fn boundary() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..20].to_owned()
}
