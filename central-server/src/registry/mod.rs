//! The registry of one X-Road instance: members, servers, groups, trust services, signing keys; decided, recorded, applied.
//!
//! | Module | Holds |
//! |---|---|
//! | this | [`Registry`]: one change at a time, durable before it is acknowledged |
//! | [`command`] | what may be asked |
//! | [`decide`](mod@decide) | whether it may happen, and what then happens; pure |
//! | [`event`] | what was decided, as it is stored |
//! | [`state`] | the sum of all events |
//! | [`request`] | management requests: pairs, approval, what happens at once |
//! | [`refusal`] | why something does not happen |
//! | [`snapshot`] | the state as it was, so that a start does not replay everything |
//!
//! ```text
//! <folder>/           the event log, see host::store
//! <folder>/registry.snapshot  the state as it was some events ago
//! <folder>/parts/     bytes of optional parts, one file each, named by their SHA-256
//! ```
//!
//! A refused command is recorded too, with who asked; it changes nothing. Deleting the folder loses the registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use host::clock::Clock;
use host::files::write_atomic;
use host::store::{EventLog, Store, StoreError};
use proto::time::UnixTime;
use tokio::sync::watch;

pub mod command;
pub mod decide;
pub mod event;
pub mod refusal;
pub mod request;
mod snapshot;
pub mod state;
#[cfg(test)]
mod tests;

pub use command::{CaSettings, Command, Parameter};
pub use decide::decide;
pub use event::{Acme, Event, SourceKind};
pub use refusal::{Refusal, RequestRefusal};
pub use request::{Origin, RequestKind, Submission};
pub use state::{Inconsistent, State};

/// The tree of the event log.
const TREE: &str = "registry";
/// Folder of the bytes of optional parts.
const PARTS: &str = "parts";
/// Events are recorded in groups of so many, so that a large import stays in bounded batches.
const BATCH: usize = 5_000;

/// Why a change did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It may not happen.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part could not be kept.
    #[error("{path}: {source}")]
    Part {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is recorded makes no sense.
    #[error("event {sequence} of the registry does not fit those before it: restore a backup")]
    Inconsistent {
        /// Its number.
        sequence: u64,
    },
}

/// The registry.
#[derive(Debug)]
pub struct Registry {
    log: EventLog,
    store: Store,
    folder: PathBuf,
    /// Revision of the last snapshot.
    kept: AtomicU64,
    parts: PathBuf,
    clock: Clock,
    /// Held while a change is decided, recorded and applied.
    state: Mutex<Arc<State>>,
    changed: watch::Sender<u64>,
}

impl Registry {
    /// The database with the events, which backups are made of.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Opens or creates the registry in `folder`. Blocks.
    ///
    /// # Errors
    /// The disk, or a damaged log.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, RegistryError> {
        let store = Store::open(folder)?;
        let log = EventLog::open(&store, TREE)?;
        let mut state = snapshot::read(folder).unwrap_or_default();
        if state.revision > log.last() {
            tracing::warn!("the snapshot of the registry is ahead of its events and is not used");
            state = State::default();
        }
        let from = state.revision + 1;
        for recorded in log.replay_from::<Event>(from) {
            let recorded = recorded?;
            apply_all(&mut state, vec![recorded.event], recorded.at)?;
        }
        if state.revision >= from + snapshot::EVERY {
            snapshot::write(folder, &state);
        }
        let changed = watch::Sender::new(state.revision);
        let parts = folder.join(PARTS);
        let folder = folder.to_owned();
        let kept = AtomicU64::new(state.revision);
        Ok(Self { log, store, folder, kept, parts, clock, state: Mutex::new(Arc::new(state)), changed })
    }

    /// The present state.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.lock())
    }

    /// Tells the revision whenever the state has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Carries a command out: on return it is durable and applied. `actor` is who asked. Blocks: not on an async worker.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn execute(&self, actor: &str, command: Command) -> Result<(), RegistryError> {
        self.execute_all(actor, vec![command])
    }

    /// As [`Self::execute`]; gives the state right after it, in which the last numbers are those that it was given.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn execute_for_state(&self, actor: &str, command: Command) -> Result<Arc<State>, RegistryError> {
        self.carry_out(actor, vec![command])
    }

    /// Carries commands out in order, each judged by what those before it left; recorded together. All of them or none.
    ///
    /// # Errors
    /// The first that is refused, and nothing changed; or a failing disk.
    pub fn execute_all(&self, actor: &str, commands: Vec<Command>) -> Result<(), RegistryError> {
        self.carry_out(actor, commands).map(drop)
    }

    fn carry_out(&self, actor: &str, commands: Vec<Command>) -> Result<Arc<State>, RegistryError> {
        let mut held = self.lock();
        let at = self.clock.now();
        let parts: Vec<_> = commands.iter().filter_map(part_of).collect();
        let before: Vec<_> = held.parts.values().map(|part| part.digest.clone()).collect();
        let (events, after) = match decide_all(&held, commands, at) {
            Ok(decided) => decided,
            Err((asked, refusal)) => {
                self.record_refusal(&mut held, actor, asked, &refusal)?;
                return Err(refusal.into());
            }
        };
        for bytes in &parts {
            self.keep_part(bytes)?;
        }
        for batch in events.chunks(BATCH) {
            self.log.record(at, actor, batch)?;
        }
        let count = events.len() as u64;
        match after {
            Some(after) => *held = Arc::new(after),
            // Copies only while somebody reads the state as it was.
            None => apply_all(Arc::make_mut(&mut held), events, at)?,
        }
        if !parts_stay(&held, &before) {
            self.forget_parts(&held, &before);
        }
        self.changed.send_replace(held.revision);
        metrics::counter!("registry_events_total").increment(count);
        if held.revision >= self.kept.load(Ordering::Relaxed) + snapshot::EVERY {
            snapshot::write(&self.folder, &held);
            self.kept.store(held.revision, Ordering::Relaxed);
        }
        Ok(Arc::clone(&held))
    }

    fn record_refusal(
        &self,
        held: &mut Arc<State>,
        actor: &str,
        asked: &str,
        refusal: &Refusal,
    ) -> Result<(), RegistryError> {
        let event = Event::Refused { asked: asked.to_owned(), reason: refusal.to_string() };
        let at = self.clock.now();
        self.log.record(at, actor, std::slice::from_ref(&event))?;
        tracing::info!(actor, asked, %refusal, "refused");
        metrics::counter!("registry_refusals_total").increment(1);
        apply_all(Arc::make_mut(held), vec![event], at)
    }

    /// Bytes of a published part.
    ///
    /// # Errors
    /// The file is gone or is not what was published.
    pub fn part(&self, digest: &str) -> Result<Vec<u8>, RegistryError> {
        let path = self.parts.join(digest);
        let failed = |source| RegistryError::Part { path: path.clone(), source };
        let bytes = fs::read(&path).map_err(failed)?;
        if state::id_of(&bytes) != digest {
            return Err(failed(std::io::Error::other("the file is damaged: publish the part again")));
        }
        Ok(bytes)
    }

    /// Before the event that names it is recorded, so that no event names a file that is not there.
    fn keep_part(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let path = self.parts.join(state::id_of(bytes));
        let kept = fs::create_dir_all(&self.parts).and_then(|()| write_atomic(&path, bytes, 0o600));
        kept.map_err(|source| RegistryError::Part { path, source })
    }

    /// Removes the files that neither the present state names nor the one `before`, which may just be being published: otherwise every
    /// upload would stay, on the disk and in all backups.
    fn forget_parts(&self, state: &State, before: &[String]) {
        let named = |name: &str| {
            before.iter().any(|digest| digest == name) || state.parts.values().any(|part| part.digest == name)
        };
        for entry in fs::read_dir(&self.parts).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !named(name)) {
                // What cannot be removed now is tried again at the next change of a part.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// A panic while the lock was held left the old state in place, so the lock can be used again.
    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What follows from commands, and the state after it where that was needed to judge them.
type Decided = (Vec<Event>, Option<State>);

/// Judges commands in order, each by what those before it leave. Of several it gives the state after them too, which was needed to
/// judge them: a large registry is not copied twice.
fn decide_all(
    state: &State,
    mut commands: Vec<Command>,
    at: UnixTime,
) -> Result<Decided, (&'static str, Refusal)> {
    if commands.len() == 1 {
        let command = commands.remove(0);
        let asked = command.name();
        return decide(state, command).map(|events| (events, None)).map_err(|refusal| (asked, refusal));
    }
    let mut scratch = state.clone();
    let mut events = Vec::new();
    for command in commands {
        let asked = command.name();
        let decided = decide(&scratch, command).map_err(|refusal| (asked, refusal))?;
        apply_all(&mut scratch, decided.clone(), at).map_err(|_| (asked, Refusal::Misdirected { asked }))?;
        events.extend(decided);
    }
    Ok((events, Some(scratch)))
}

fn apply_all(state: &mut State, events: Vec<Event>, at: UnixTime) -> Result<(), RegistryError> {
    for event in events {
        let sequence = state.revision + 1;
        state.apply(event, at).map_err(|Inconsistent| RegistryError::Inconsistent { sequence })?;
    }
    Ok(())
}

/// The state names the same files as before.
fn parts_stay(state: &State, before: &[String]) -> bool {
    state.parts.values().map(|part| &part.digest).eq(before)
}

/// The bytes that a command brings along.
fn part_of(command: &Command) -> Option<Vec<u8>> {
    match command {
        Command::PublishPart { bytes, .. } => Some(bytes.clone()),
        _ => None,
    }
}
