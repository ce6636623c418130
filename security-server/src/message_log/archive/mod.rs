//! Archiving: stamped records leave the log as containers in ZIP files, each file a link of a chain.
//!
//! | Module | Holds |
//! |---|---|
//! | [`state`] | how far archiving has come, which files still have to be sent |
//! | [`file`] | one archive file being written |
//! | [`keys`], [`seal`] | to whom files are encrypted, and doing it |
//! | [`target`] | sending files: HTTP POST, S3 |
//! | [`s3`], [`multipart`] | signing of requests to S3, large files in parts |
//!
//! Records are taken in the order of the log, up to the first that waits for a timestamp. A step of at most [`STEP_RECORDS`] writes
//! its files under temporary names, commits the [`state::State`] that names them, and only then gives them their names; whatever
//! a crash leaves in between is finished or thrown away at the next start, so that no record is archived twice or left out.
//!
//! ```text
//! <archive-path>/mlog-[group-]first-last-digest.zip     whole files; with a target they may go once it has them. Encrypted: .zip.gpg
//! <archive-path>/.mlog-….tmp                            being written; removed at the next start when nobody names them
//! <data>/log/archive.json                               the state; deleting it archives everything again from the first record
//! ```
//!
//! Not here: what may be deleted (`retention`), what an archive proves (`pki::archive`).
pub(super) mod file;
pub mod keys;
mod multipart;
pub(super) mod s3;
mod seal;
pub(super) mod state;
pub mod target;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host::shutdown::Shutdown;
use proto::time::UnixTime;

use self::file::{Maker, Sealing, Writer};
use self::keys::{EncryptionSettings, Keyring, KeyringError};
use self::state::{Last, State};
pub use self::target::Target;
use super::background::{Haste, Pace};
use super::container::ContainerError;
use super::expiry::{self, Mark};
use super::record::{Record, RecordError};
use super::store::writer::lock;
use super::{LogError, MessageLog, RecordId};

/// Records of one step, and so of one file at most.
pub const STEP_RECORDS: u64 = 10_000;
/// Groups whose files are open at the same time.
const MAX_OPEN: usize = 128;

/// How records are put together into files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// All in one chain.
    #[default]
    None,
    /// A chain for each local member.
    Member,
    /// A chain for each local subsystem.
    Subsystem,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// Between runs; `None` archives nothing, and nothing is ever deleted.
    pub interval: Option<Duration>,
    /// Where files go; not set: `archive` beside the log's folder.
    pub dir: Option<PathBuf>,
    /// A file that holds more is finished.
    pub max_file_bytes: u64,
    /// How records are put together.
    pub grouping: Grouping,
    /// To whom files are encrypted; `None` leaves them in clear.
    pub encryption: Option<EncryptionSettings>,
    /// Where files are sent; `None` leaves them in the folder, which is then the target.
    pub target: Option<Target>,
    /// Remove files once the target has them.
    pub remove_sent: bool,
}

/// Why nothing was archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The folder, or the state.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A key of encryption at rest is missing.
    #[error("{0}: put the key back; until then nothing is archived or removed")]
    Locked(String),
    /// A key is missing or cannot be used.
    #[error("nothing is archived in clear: {0}")]
    Keys(#[from] KeyringError),
}

impl Grouping {
    /// The chain that a record belongs to.
    fn group(self, record: &Record) -> String {
        match self {
            Self::None => String::new(),
            Self::Member => record.local().member.short(),
            Self::Subsystem => record.local().short(),
        }
    }
}

/// Archives what is ready; one step at a time, so that the state on the disk is never far behind.
pub(super) struct Archiver<'a> {
    pub(super) log: &'a MessageLog,
    pub(super) settings: &'a ArchiveSettings,
    pub(super) dir: &'a Path,
    /// Ends a step early, with what it has.
    pub(super) shutdown: Option<&'a Shutdown>,
    /// Whether messages come first.
    pub(super) haste: Haste,
}

impl Archiver<'_> {
    /// Finishes what a crash left: names files that the state has, removes those that nobody has. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn recover(&self, state: &mut State) -> Result<(), ArchiveError> {
        let dir = self.dir;
        std::fs::create_dir_all(dir).map_err(|source| io_error(dir, source))?;
        self.place(state)?;
        for entry in std::fs::read_dir(dir).map_err(|source| io_error(dir, source))? {
            let path = entry.map_err(|source| io_error(dir, source))?.path();
            if file::is_temporary(&path) {
                std::fs::remove_file(&path).map_err(|source| io_error(&path, source))?;
            }
        }
        Ok(())
    }

    /// One step: up to [`STEP_RECORDS`] records that lie at `state.archived_to` and before `ready`. Whether there is more to do.
    /// Blocks.
    ///
    /// # Errors
    /// The disk, the index; the state is then what it was.
    pub(super) fn step(&self, state: &mut State, ready: u64) -> Result<bool, ArchiveError> {
        let to = ready.min(state.archived_to + STEP_RECORDS);
        if to <= state.archived_to {
            return Ok(false);
        }
        let mut next = state.clone();
        let (open, keyring) = (BTreeMap::new(), self.keyring()?);
        let maker = Maker::default();
        let mut run = Run { archiver: self, state: &mut next, open, maker, keyring, expired: None };
        let written = run.take(state.archived_to + 1, to).and_then(|taken| run.finish().map(|()| taken));
        let taken = match written {
            Ok(taken) => taken,
            Err(error) => {
                run.open.into_values().for_each(Writer::discard);
                next.files.iter().skip(state.files.len()).for_each(|file| file::discard(self.dir, file));
                return Err(error);
            }
        };
        next.archived_to = taken;
        self.store(&next)?;
        *state = next;
        self.place(state)?;
        metrics::counter!("causeway_archived_records_total").absolute(state.archived_to);
        Ok(taken == to && to < ready)
    }

    /// The keys, every one of them good, where files are encrypted.
    fn keyring(&self) -> Result<Option<Arc<Keyring>>, ArchiveError> {
        let Some(settings) = &self.settings.encryption else { return Ok(None) };
        let keyring = settings.load()?;
        keyring.check(self.now())?;
        Ok(Some(Arc::new(keyring)))
    }

    fn now(&self) -> UnixTime {
        self.log.inner.services.now()
    }

    /// Gives the files of the state their names. What has no target beyond the folder is done with then.
    fn place(&self, state: &mut State) -> Result<(), ArchiveError> {
        let mut changed = false;
        for file in state.files.iter_mut().filter(|file| !file.placed) {
            file::place(self.dir, file).map_err(|source| io_error(&self.dir.join(&file.name), source))?;
            tracing::info!(file = file.name, records = file.records, bytes = file.bytes, "archived");
            metrics::counter!("causeway_archive_files_total").increment(1);
            (file.placed, changed) = (true, true);
        }
        if self.settings.target.is_none() && !state.files.is_empty() {
            (state.files, changed) = (Vec::new(), true);
        }
        if changed { self.store(state) } else { Ok(()) }
    }

    pub(super) fn store(&self, state: &State) -> Result<(), ArchiveError> {
        let path = state::path(&self.log.inner.dir);
        state.store(&path).map_err(|source| io_error(&path, source))
    }
}

/// One step under way.
struct Run<'a, 'b> {
    archiver: &'a Archiver<'b>,
    state: &'a mut State,
    open: BTreeMap<String, Writer>,
    maker: Maker,
    /// Numbers of records that retention removed, once they were asked for.
    expired: Option<Vec<std::ops::Range<u64>>>,
    keyring: Option<Arc<Keyring>>,
}

impl Run<'_, '_> {
    /// Up to where records were taken.
    fn take(&mut self, from: u64, to: u64) -> Result<u64, ArchiveError> {
        // What could not be read the last time is tried again.
        let again: Vec<u64> = self.state.unreadable.iter().copied().collect();
        let mut taken = from - 1;
        let mut pace = Pace::new(self.archiver.log, self.archiver.haste);
        for number in again.into_iter().chain(from..=to) {
            if self.archiver.shutdown.is_some_and(Shutdown::stopping) {
                return Ok(taken);
            }
            taken = taken.max(number);
            pace.step();
            match self.archiver.log.read(RecordId(number)) {
                Ok(record) => self.add(&record)?,
                Err(RecordError::Unknown(_)) => self.is_gone(number)?,
                Err(RecordError::Unreadable { reason, .. }) => self.cannot(number, &reason),
                // It is not damaged: whoever puts the key back has it again.
                Err(error @ RecordError::NoKey { .. }) => {
                    return Err(ArchiveError::Locked(error.to_string()));
                }
                Err(RecordError::Log(error)) => return Err(error.into()),
            }
        }
        Ok(to)
    }

    fn add(&mut self, record: &Record) -> Result<(), ArchiveError> {
        let dir = self.archiver.dir;
        let group = self.archiver.settings.grouping.group(record);
        if !self.open.contains_key(&group) {
            if self.open.len() >= MAX_OPEN
                && let Some((_, oldest)) = self.open.pop_first()
            {
                self.close(oldest)?;
            }
            let sealing = self.sealing(record)?;
            let writer = Writer::begin(dir, &group, self.state.groups.get(&group), sealing);
            self.open.insert(group.clone(), writer.map_err(|source| io_error(dir, source))?);
        }
        let Some(writer) = self.open.get_mut(&group) else { return Ok(()) };
        match writer.add(record, &mut self.maker) {
            Ok(()) => drop(self.state.unreadable.remove(&record.id.0)),
            Err(ContainerError::Io(source)) if source.kind() != io::ErrorKind::Other => {
                return Err(io_error(dir, source));
            }
            Err(error) => {
                self.cannot(record.id.0, &error.to_string());
                return Ok(());
            }
        }
        if writer.bytes() > self.archiver.settings.max_file_bytes
            && let Some(full) = self.open.remove(&group)
        {
            self.close(full)?;
        }
        Ok(())
    }

    /// To whom the file of a record is encrypted.
    fn sealing(&self, record: &Record) -> Result<Option<Sealing>, ArchiveError> {
        let Some(keyring) = &self.keyring else { return Ok(None) };
        let member = match self.archiver.settings.grouping {
            Grouping::None => None,
            Grouping::Member | Grouping::Subsystem => Some(&record.local().member),
        };
        let to = keyring.recipients(member)?.into_iter().cloned().collect();
        Ok(Some(Sealing { keyring: keyring.clone(), to, now: self.archiver.now() }))
    }

    /// A record that cannot be read is tried again until its segment goes.
    fn cannot(&mut self, record: u64, reason: &str) {
        if self.state.unreadable.insert(record) {
            tracing::error!(record, reason, "a record cannot be archived; those around it are");
        }
    }

    /// The index does not know a record: it expired (after the state of archiving was deleted), or it is lost.
    fn is_gone(&mut self, record: u64) -> Result<(), ArchiveError> {
        let was_unreadable = self.state.unreadable.remove(&record);
        if self.expired.is_none() {
            self.expired = Some(self.archiver.log.expired()?);
        }
        let expired = self.expired.iter().flatten().any(|records| records.contains(&record));
        if (was_unreadable || !expired) && self.state.lost.insert(record) {
            tracing::error!(record, was_unreadable, "a record was not archived, and is no longer in the log");
        }
        Ok(())
    }

    fn close(&mut self, writer: Writer) -> Result<(), ArchiveError> {
        let dir = self.archiver.dir;
        let group = writer.group().to_owned();
        let Some((file, digest)) = writer.finish().map_err(|source| io_error(dir, source))? else {
            return Ok(());
        };
        self.state.groups.insert(group, Last { digest, file: file.name.clone() });
        self.state.files.push(file);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ArchiveError> {
        while let Some((_, writer)) = self.open.pop_first() {
            self.close(writer)?;
        }
        Ok(())
    }
}

fn io_error(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io { path: path.to_owned(), source }
}

impl MessageLog {
    /// Numbers of the records that retention has removed.
    fn expired(&self) -> Result<Vec<std::ops::Range<u64>>, ArchiveError> {
        let dir = &self.inner.dir;
        let marked = expiry::marked(dir).map_err(|source| io_error(dir, source))?;
        let marks = marked.into_iter().map(|number| Mark::load(dir, number, self.public_key()));
        // One that cannot be read says nothing, which `verify` reports.
        Ok(marks.filter_map(|mark| mark.ok().flatten()).map(|mark| mark.records.0..mark.records.1).collect())
    }

    /// Up to here every record has a timestamp.
    pub(super) async fn stamped_to(&self) -> Result<u64, LogError> {
        let last = lock(&self.inner.shared.tail).as_ref().map_or(0, |tail| tail.next_sequence - 1);
        self.indexed().await;
        let index = self.inner.index.clone();
        let first =
            tokio::task::spawn_blocking(move || index.waiting(1)).await.map_err(|_| LogError::Closed)??;
        Ok(first.first().map_or(last, |waiting| last.min(waiting.sequence - 1)))
    }
}
