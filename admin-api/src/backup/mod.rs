//! Backups of a server's configuration: made while it runs, kept in a folder, restored by a restart within the process.
//!
//! | Module | Holds |
//! |---|---|
//! | this | [`Backups`]: the folder, and all that is done with it |
//! | [`archive`] | the file |
//! | [`operations`] | the operations of the management API, the same on both servers |
//!
//! ```text
//! <data>/backup/NAME.gpg   one backup
//! <data>/backup/seal-key   the secret that seals backups of this server (32 bytes in hex); never part of one
//! ```
//!
//! A backup holds the state database as one consistent snapshot, the token's files as they are on the disk (keys under the PIN), and
//! what else [`What`] names. It never holds a PIN, the message log, or who may manage the server: API keys, users and the audit log stay
//! as they are when an older state is restored, so that a revoked key does not come back.
//!
//! **Restoring** puts the new state together beside the present one, tries it, keeps a backup of the present one, has the server drain,
//! and commits by one rename ([`host::restore`]); then the server starts again in the same process and finds the new state. A server
//! that is somebody's takes back only what it sealed itself, so that whoever may restore cannot make up a state; one that is nobody's yet
//! takes any sound backup, which is how a lost machine is replaced.

pub mod archive;
pub mod operations;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::clock::Clock;
use host::files;
use host::restore::{Item, Staging};
use host::shutdown::Shutdown;
use host::store::{SNAPSHOT, Store, StoreError};
use pki::mac::MacKey;
use proto::time::UnixTime;

use archive::{About, Archive, ArchiveError, Content, Limits, Source};

host::settings! {
    /// Backups of the configuration: registry or own configuration, token, TLS keys.
    pub struct Section {
        /// Most bytes of the files in one backup, uncompressed; a larger one is neither made nor taken.
        pub max_size: u64 = 512 * 1024 * 1024,
        /// Most files in one.
        pub max_files: usize = 10_000,
    }
}

impl Section {
    /// Checks what the reader of the file cannot.
    ///
    /// # Errors
    /// The key that must be above 0.
    pub fn resolve(&self) -> Result<Limits, &'static str> {
        match (self.max_size, self.max_files) {
            (0, _) => Err("backup.max-size"),
            (_, 0) => Err("backup.max-files"),
            (bytes, files) => Ok(Limits { bytes, files }),
        }
    }
}

/// The folder in the data directory.
const FOLDER: &str = "backup";
/// Folder of the state database.
const STATE: &str = "state";
const SEAL_KEY: &str = "seal-key";
/// Files that are being written.
const UNFINISHED: &str = ".unfinished";
const ENDING: &str = ".gpg";
const MAX_NAME_BYTES: usize = 255;
/// A backup is begun anew when files change while it is made.
const TRIES: u32 = 5;
/// Depth of folders.
const MAX_DEPTH: u32 = 4;

/// What of a server is backed up.
pub struct What {
    /// Kind of server, as in `FORMAT`.
    pub role: &'static str,
    /// Form of the data directory.
    pub format: u32,
    /// The data directory.
    pub root: PathBuf,
    /// The state database, in `state/`.
    pub state: Store,
    /// What else.
    pub parts: Vec<Part>,
    /// Who the server is; `None` while it is nobody's.
    pub owner: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Whether this program can work with a data directory, of which it is given a copy. Blocks.
    pub check: fn(&Path) -> Result<(), String>,
    /// Uploads must look like what their names say, as central servers have it.
    pub judges_uploads: bool,
}

/// A part of the data directory, besides the state database.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// A folder, replaced as a whole, without these of its files.
    Folder(&'static str, &'static [&'static str]),
    /// The files of a folder, replaced one by one, without these; others stay.
    Files(&'static str, &'static [&'static str]),
    /// A file.
    File(&'static str),
}

impl Part {
    /// It holds this path.
    fn holds(self, path: &str) -> bool {
        match self {
            Self::Folder(folder, except) | Self::Files(folder, except) => path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| !except.contains(&name)),
            Self::File(name) => path == name,
        }
    }
}

/// Backups of one server.
pub struct Backups {
    what: What,
    folder: PathBuf,
    limits: Limits,
    clock: Clock,
    shutdown: Shutdown,
    drain: Duration,
    /// One change of the folder at a time.
    changing: Mutex<()>,
    /// A restore is under way, or was committed and waits for the restart.
    restoring: AtomicBool,
}

/// A file that is being written. It goes with this, unless it got its name: what failed must not keep a disk full.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A backup in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// When it was made or uploaded.
    pub at: UnixTime,
}

/// Why something about backups did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Not a name of a backup.
    #[error("{0:?} is no name of a backup: letters, digits, `_`, `-` and `.`, ending in .gpg")]
    Name(String),
    /// Not there.
    #[error("there is no backup {0}")]
    Missing(String),
    /// There already.
    #[error("there is a backup {0} already")]
    Exists(String),
    /// A restore is under way.
    #[error("a backup is being restored")]
    Restoring,
    /// Files change faster than they are read.
    #[error("the server's files changed while they were backed up: try again")]
    Changing,
    /// Not a sound backup.
    #[error("the backup cannot be used: {0}")]
    Archive(#[from] ArchiveError),
    /// Of another server.
    #[error("the backup is of {found}, this server is {own}")]
    Foreign {
        /// In the backup.
        found: String,
        /// This server.
        own: String,
    },
    /// Not sealed by this server.
    #[error("the backup was not sealed by this server")]
    Unsealed,
    /// A file that is no part of this kind of server.
    #[error("the backup holds {0}, which is no part of this server's backups")]
    Path(String),
    /// The state in it cannot be worked with.
    #[error("the state in the backup cannot be used: {0}")]
    Unusable(String),
    /// The state database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Disk.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Backups {
    /// Of a server that stops and starts again by `shutdown`, with `drain` for what is under way.
    pub fn new(what: What, limits: Limits, clock: Clock, shutdown: Shutdown, drain: Duration) -> Self {
        let folder = what.root.join(FOLDER);
        Self {
            what,
            folder,
            limits,
            clock,
            shutdown,
            drain,
            changing: Mutex::default(),
            restoring: AtomicBool::new(false),
        }
    }

    /// Uploads must look like what their names say.
    pub fn judges_uploads(&self) -> bool {
        self.what.judges_uploads
    }

    /// All of them, the newest first.
    ///
    /// # Errors
    /// Disk.
    pub fn list(&self) -> Result<Vec<Kept>, BackupError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&self.folder))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&self.folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // One that was deleted meanwhile is not there.
            if is_name(&name)
                && let Ok(kept) = self.kept(&name)
            {
                all.push(kept);
            }
        }
        all.sort_by(|a, b| (b.at, &b.name).cmp(&(a.at, &a.name)));
        Ok(all)
    }

    /// Makes one. Blocks.
    ///
    /// # Errors
    /// Too large, changing, disk.
    pub fn create(&self) -> Result<Kept, BackupError> {
        let _one = self.change()?;
        self.make("conf_backup")
    }

    /// One to read, and its length.
    ///
    /// # Errors
    /// There is none of this name, or the disk.
    pub fn open(&self, name: &str) -> Result<(File, u64), BackupError> {
        let missing = || BackupError::Missing(name.to_owned());
        if !is_name(name) {
            return Err(missing());
        }
        let path = self.folder.join(name);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            file => {
                let file = file.map_err(at(&path))?;
                let bytes = file.metadata().map_err(at(&path))?.len();
                Ok((file, bytes))
            }
        }
    }

    /// Takes one that was made elsewhere, or downloaded. One of ours must be sound; others are kept for whoever can read them.
    /// Blocks.
    ///
    /// # Errors
    /// The name, one that is there and is not to be replaced, damage, disk.
    pub fn upload(&self, name: &str, bytes: &[u8], replace: bool) -> Result<Kept, BackupError> {
        if !is_name(name) {
            return Err(BackupError::Name(name.to_owned()));
        }
        let _one = self.change()?;
        let path = self.folder.join(name);
        if path.exists() && !replace {
            return Err(BackupError::Exists(name.to_owned()));
        }
        let (unfinished, mut file) = self.unfinished()?;
        io::Write::write_all(&mut file, bytes).map_err(at(&unfinished.0))?;
        file.sync_all().map_err(at(&unfinished.0))?;
        if archive::is_ours(bytes) {
            file.rewind().map_err(at(&unfinished.0))?;
            Archive::open(file, self.limits)?.unpack(None)?;
        }
        self.keep(&unfinished, name)
    }

    /// Removes one.
    ///
    /// # Errors
    /// There is none of this name, or the disk.
    pub fn delete(&self, name: &str) -> Result<(), BackupError> {
        let missing = || BackupError::Missing(name.to_owned());
        if !is_name(name) {
            return Err(missing());
        }
        let _one = self.change()?;
        let path = self.folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            removed => removed.and_then(|()| files::sync_dir(&self.folder)).map_err(at(&path)),
        }
    }

    /// Puts the server back to one. On success the server is about to start again, with the other state. Blocks until everything else
    /// that is under way has ended, or its time is over.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn restore(&self, name: &str) -> Result<(), BackupError> {
        let (file, _) = self.open(name)?;
        if self.restoring.swap(true, Ordering::AcqRel) {
            return Err(BackupError::Restoring);
        }
        let restored = self.stage(file).and_then(|(staging, items)| {
            // From here on nobody is promised anything that the restore would undo.
            self.shutdown.restart();
            let quiet = self.shutdown.drained_but(1, self.drain);
            if !tokio::runtime::Handle::current().block_on(quiet) {
                tracing::warn!("a backup is restored although calls are still under way");
            }
            staging.commit(&items).map_err(at(&self.what.root))
        });
        if restored.is_err() {
            self.restoring.store(false, Ordering::Release);
        }
        restored
    }

    /// Unpacks, judges and tries a backup, and keeps one of the present state.
    fn stage(&self, file: File) -> Result<(Staging, Vec<Item>), BackupError> {
        let _one = self.lock();
        let mut archive = Archive::open(file, self.limits)?;
        let own = (self.what.owner)();
        self.judge(&archive, own.as_deref())?;
        let staging = Staging::begin(&self.what.root).map_err(at(&self.what.root))?;
        archive.unpack(Some(&staging.new_state()))?;
        let tried = staging.scratch().map_err(at(&self.what.root))?;
        (self.what.check)(&tried).map_err(BackupError::Unusable)?;
        if own.is_some() {
            self.make("conf_prerestore_backup")?;
        }
        let items = self.items(archive.manifest());
        Ok((staging, items))
    }

    /// Whether a backup is one for this server.
    fn judge(&self, archive: &Archive, own: Option<&str>) -> Result<(), BackupError> {
        let about = &archive.manifest().about;
        let foreign = |found: &str, own: &str| BackupError::Foreign { found: found.into(), own: own.into() };
        if about.role != self.what.role {
            return Err(foreign(&about.role, self.what.role));
        }
        if about.data_format > self.what.format {
            return Err(BackupError::Unusable("it is of a newer program".into()));
        }
        if let Some(own) = own {
            if about.owner.as_deref() != Some(own) {
                return Err(foreign(about.owner.as_deref().unwrap_or("nobody's server"), own));
            }
            if !self.seal_key()?.is_some_and(|key| archive.is_sealed_by(&key)) {
                return Err(BackupError::Unsealed);
            }
        }
        for entry in &archive.manifest().files {
            let path = &entry.path;
            let state = *path == format!("{STATE}/{SNAPSHOT}");
            if !state && !self.what.parts.iter().any(|part| part.holds(path)) {
                return Err(BackupError::Path(path.clone()));
            }
        }
        Ok(())
    }

    /// What a restore of these files replaces.
    fn items(&self, manifest: &archive::Manifest) -> Vec<Item> {
        let there = |path: &str| {
            let below = format!("{path}/");
            manifest.files.iter().any(|file| file.path == path || file.path.starts_with(&below))
        };
        let mut items = vec![Item { path: STATE.into(), comes: there(STATE) }];
        for part in &self.what.parts {
            match part {
                // Those within the state go with it.
                Part::Folder(path, _) if path.starts_with("state/") => {}
                Part::Folder(path, _) | Part::File(path) => {
                    items.push(Item { path: (*path).into(), comes: there(path) });
                }
                Part::Files(..) => {
                    let files = manifest.files.iter().filter(|file| part.holds(&file.path));
                    items.extend(files.map(|file| Item { path: file.path.clone(), comes: true }));
                }
            }
        }
        items
    }

    /// Makes a backup whose files are all of one moment: files that changed while the state was read, or while they were read
    /// themselves, are read again. The caller holds the lock.
    fn make(&self, prefix: &str) -> Result<Kept, BackupError> {
        for _ in 0..TRIES {
            let before = self.digests()?;
            let state = self.what.state.snapshot()?;
            let (unfinished, mut file) = self.unfinished()?;
            let state = Source { path: format!("{STATE}/{SNAPSHOT}"), content: Content::Bytes(state) };
            let others = before
                .keys()
                .map(|path| Source { path: path.clone(), content: Content::File(self.what.root.join(path)) });
            let sources = std::iter::once(state).chain(others).collect();
            let now = self.clock.now();
            let about = About {
                program: env!("CARGO_PKG_VERSION").into(),
                role: self.what.role.into(),
                data_format: self.what.format,
                owner: (self.what.owner)(),
                created_at: crate::types::date(now),
            };
            let key = self.make_seal_key()?;
            let written = archive::write(&mut file, about, now, sources, &key, self.limits);
            let manifest = match written {
                // A file that is gone is a change.
                Err(ArchiveError::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                written => written?,
            };
            let mut after = self.digests()?;
            let of_written = manifest.files.iter().skip(1);
            let same = of_written.clone().count() == after.len()
                && of_written.into_iter().all(|file| after.remove(&file.path).as_ref() == Some(&file.sha256));
            if same {
                return self.keep(&unfinished, &self.free_name(prefix, now));
            }
        }
        Err(BackupError::Changing)
    }

    /// Every file besides the state database, and its SHA-256.
    fn digests(&self) -> Result<BTreeMap<String, String>, BackupError> {
        let mut found = BTreeMap::new();
        for part in &self.what.parts {
            let path = match part {
                Part::Folder(path, _) | Part::Files(path, _) | Part::File(path) => path,
            };
            let depth = if matches!(part, Part::Files(..)) { 1 } else { MAX_DEPTH };
            self.collect(part, path, depth, &mut found)?;
        }
        Ok(found)
    }

    fn collect(
        &self,
        part: &Part,
        path: &str,
        depth: u32,
        found: &mut BTreeMap<String, String>,
    ) -> Result<(), BackupError> {
        let full = self.what.root.join(path);
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match std::fs::metadata(&full) {
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(at(&full)(error)),
            Ok(about) if about.is_dir() && depth > 0 => {}
            Ok(about) if about.is_file() && part.holds(path) => {
                if found.len() >= self.limits.files {
                    return Err(ArchiveError::TooMany(self.limits.files).into());
                }
                match archive::digest_of(&full) {
                    Err(error) if gone(&error) => {}
                    digest => drop(found.insert(path.to_owned(), digest.map_err(at(&full))?)),
                }
                return Ok(());
            }
            Ok(_) => return Ok(()),
        }
        for entry in std::fs::read_dir(&full).map_err(at(&full))? {
            let name = entry.map_err(at(&full))?.file_name();
            let name = name.to_string_lossy();
            // Files that are just being replaced.
            if !name.starts_with('.') {
                self.collect(part, &format!("{path}/{name}"), depth - 1, found)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change the folder.
    fn change(&self) -> Result<MutexGuard<'_, ()>, BackupError> {
        if self.restoring.load(Ordering::Acquire) {
            return Err(BackupError::Restoring);
        }
        Ok(self.lock())
    }

    /// A file that is being written. One at a time, since the caller holds the lock; what a crash left is replaced.
    fn unfinished(&self) -> Result<(Unfinished, File), BackupError> {
        self.make_folder()?;
        let path = self.folder.join(UNFINISHED);
        let _ = std::fs::remove_file(&path);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(at(&path))?;
        Ok((Unfinished(path), file))
    }

    /// Gives a finished file its name.
    fn keep(&self, unfinished: &Unfinished, name: &str) -> Result<Kept, BackupError> {
        let path = self.folder.join(name);
        std::fs::rename(&unfinished.0, &path)
            .and_then(|()| files::sync_dir(&self.folder))
            .map_err(at(&path))?;
        self.kept(name)
    }

    fn kept(&self, name: &str) -> Result<Kept, BackupError> {
        let path = self.folder.join(name);
        let modified = std::fs::metadata(&path).and_then(|about| about.modified()).map_err(at(&path))?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let time = UnixTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Ok(Kept { name: name.to_owned(), at: time })
    }

    /// A name with a time that no backup has yet.
    fn free_name(&self, prefix: &str, now: UnixTime) -> String {
        let digits: Vec<char> = now.to_iso8601().chars().filter(char::is_ascii_digit).take(14).collect();
        let (day, time) = digits.split_at(digits.len().min(8));
        let stem = format!("{prefix}_{}-{}", day.iter().collect::<String>(), time.iter().collect::<String>());
        let numbered = (2_u32..).map(|n| format!("{stem}_{n}{ENDING}"));
        let mut names = std::iter::once(format!("{stem}{ENDING}")).chain(numbered);
        names.find(|name| !self.folder.join(name).exists()).unwrap_or(stem)
    }

    fn make_folder(&self) -> Result<(), BackupError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(at(&self.folder))
    }

    /// The secret of this server, where it has one.
    fn seal_key(&self) -> Result<Option<MacKey>, BackupError> {
        let path = self.folder.join(SEAL_KEY);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(at(&path))?,
        };
        let secret = hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        let damaged = || at(&path)(io::Error::other("it is no secret of 32 bytes in hex"));
        Ok(Some(MacKey::new(&secret.ok_or_else(damaged)?)))
    }

    /// The secret of this server; made when there is none.
    fn make_seal_key(&self) -> Result<MacKey, BackupError> {
        if let Some(key) = self.seal_key()? {
            return Ok(key);
        }
        let path = self.folder.join(SEAL_KEY);
        let secret = MacKey::random_secret().ok_or_else(|| io::Error::other("no random bytes"));
        let secret = secret.map_err(at(&path))?;
        files::write_atomic(&path, hex::encode(secret).as_bytes(), 0o600).map_err(at(&path))?;
        Ok(MacKey::new(&secret))
    }
}

/// `^(?!\.)[\w.-]+\.gpg$` of at most 255 bytes.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    name.len() > ENDING.len()
        && name.len() <= MAX_NAME_BYTES
        && name.ends_with(ENDING)
        && !name.starts_with('.')
        && name.bytes().all(plain)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}
