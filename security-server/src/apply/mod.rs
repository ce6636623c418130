//! `causeway apply -f server.yaml --offline DIR`: fills the data directory of a stopped server from files.
//!
//! Everything is read and checked first (the file, what it names, every change against the rules), so that a mistake changes nothing;
//! then keys go into the token, then the events of [`plan`] are recorded together, then the anchor is put in its place. A second run
//! finds nothing to do. What the file does not name stays, unless it is told to prune; keys and the owner always stay.

use std::path::{Path, PathBuf};

use host::data_dir::{DataDir, DataDirError};
use host::store::{Store, StoreError};
use proto::globalconf::anchor::Anchor;
use proto::time::UnixTime;

use crate::serverconf::store::{ChangeError, ServerConfStore};

mod file;
mod keys;
mod plan;

use file::{Files, Server};
pub use file::{MAX_FILE_BYTES, Mistake};
use plan::Plan;
pub use plan::{Change, Line};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The YAML file.
    pub file: PathBuf,
    /// The server's data directory.
    pub data_dir: PathBuf,
    /// Which of several servers in the file, by `target` or `code`.
    pub target: Option<String>,
    /// Remove what the file does not name.
    pub prune: bool,
    /// Change nothing, only report.
    pub dry_run: bool,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// In the file or in what it names.
    #[error("{0}")]
    Mistake(Mistake),
    /// The data directory; most likely the server runs.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The state database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The recorded configuration.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The token.
    #[error("{place}: {reason}")]
    Token {
        /// Where the file names the key.
        place: String,
        /// Why it was not taken.
        reason: String,
    },
    /// The anchor could not be written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl From<Mistake> for ApplyError {
    fn from(mistake: Mistake) -> Self {
        Self::Mistake(mistake)
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of doing.
    pub lines: Vec<Line>,
}

/// Applies a file. Blocks.
///
/// # Errors
/// Nothing was changed, unless the disk failed half-way; then a second run finishes.
pub fn run(options: &Options, actor: &str, now: UnixTime) -> Result<Report, ApplyError> {
    let document = file::read(&options.file)?;
    let (place, server) = choose(&document, options)?;
    let files = Files { folder: options.file.parent().unwrap_or(Path::new("")).to_owned() };
    check(&document, &place, server)?;
    let keys = keys::read(&place, server, &files, now)?;
    let anchor = server.anchor.as_ref().map(|path| anchor(&place, server, path, &files)).transpose()?;

    let pin = server.pin.as_ref().map(|pin| files.secret(&format!("{place}.pin"), pin)).transpose()?;

    let ground = Ground::open(options)?;
    let store = Store::open(&ground.state)?;
    let conf = ServerConfStore::open(&store)?;
    let plan = Plan::make((*conf.state()).clone(), &place, server, &files, options.prune)?;
    let pin = pin.as_ref().map(|pin| pin.as_str());
    let mut lines = keys::import(&ground.keys, &place, pin, keys, now, options.dry_run)?;
    if !options.dry_run {
        conf.change(now, actor, plan.events)?;
    }
    lines.extend(plan.lines);
    if let Some(bytes) = anchor {
        lines.extend(put_anchor(&options.data_dir, &bytes, options.dry_run)?);
    }
    Ok(Report { lines })
}

/// What a run works on. A dry run has a copy of the state, since opening a store writes to it, and makes no folder.
struct Ground {
    state: PathBuf,
    keys: PathBuf,
    /// Nobody else works on the folder meanwhile; a dry run on a folder that is not there has none.
    _data: Option<DataDir>,
    _copy: Option<tempfile::TempDir>,
}

impl Ground {
    fn open(options: &Options) -> Result<Self, ApplyError> {
        let root = &options.data_dir;
        let open = || DataDir::open(root, crate::ROLE, crate::FORMAT);
        if !options.dry_run {
            let data = open()?;
            return Ok(Self {
                state: data.folder("state")?,
                keys: data.folder("keys")?,
                _data: Some(data),
                _copy: None,
            });
        }
        let data = root.join("FORMAT").exists().then(open).transpose()?;
        let state = root.join("state");
        let io = |source| ApplyError::Io { path: state.display().to_string(), source };
        let copy = tempfile::tempdir().map_err(io)?;
        if state.exists() {
            copy_folder(&state, copy.path()).map_err(io)?;
        }
        Ok(Self { state: copy.path().to_owned(), keys: root.join("keys"), _data: data, _copy: Some(copy) })
    }
}

/// Copies the files and folders in `from` into the folder `to`.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The one server of the file, or the one asked for.
fn choose<'a>(document: &'a file::Document, options: &Options) -> Result<(String, &'a Server), Mistake> {
    let name = options.file.display().to_string();
    let mut found = document.servers.iter().enumerate().filter(|(_, server)| match &options.target {
        Some(target) => server.target.as_ref() == Some(target) || server.code == *target,
        None => true,
    });
    match (found.next(), found.next()) {
        (Some((index, server)), None) => Ok((format!("{name}: servers[{index}]"), server)),
        (Some(_), Some(_)) => Err(Mistake::new(name, "several servers: name one with --target")),
        (None, _) => Err(Mistake::new(name, "no such server in `servers`")),
    }
}

fn check(document: &file::Document, place: &str, server: &Server) -> Result<(), Mistake> {
    if let Some(instance) = document.instance.as_ref().filter(|i| **i != server.owner.0.instance) {
        return Err(Mistake::new(format!("{place}.owner"), format!("is not of instance {instance}")));
    }
    if (!server.keys.authentication.is_empty() || !server.keys.signing.is_empty()) && server.pin.is_none() {
        return Err(Mistake::new(format!("{place}.keys"), "keys need a `pin` to be kept under"));
    }
    plan::check_service_urls(place, server)
}

/// The anchor's bytes, when they are an anchor of the right instance.
fn anchor(place: &str, server: &Server, path: &Path, files: &Files) -> Result<Vec<u8>, Mistake> {
    let place = format!("{place}.anchor");
    let bytes = files.read(&place, path)?;
    let anchor =
        Anchor::read(&bytes).map_err(|e| Mistake::new(&place, format!("{}: {e}", path.display())))?;
    if anchor.instance != server.owner.0.instance {
        let problem =
            format!("is of instance {}, the server of {}", anchor.instance, server.owner.0.instance);
        return Err(Mistake::new(place, problem));
    }
    Ok(bytes)
}

fn put_anchor(data_dir: &Path, bytes: &[u8], dry_run: bool) -> Result<Option<Line>, ApplyError> {
    let path = data_dir.join(crate::config::ANCHOR_FILE);
    let change = match std::fs::read(&path) {
        Ok(present) if present == bytes => return Ok(None),
        Ok(_) => Change::Modify,
        Err(_) => Change::Add,
    };
    if !dry_run {
        host::files::write_atomic(&path, bytes, 0o600)
            .map_err(|source| ApplyError::Io { path: path.display().to_string(), source })?;
    }
    Ok(Some(Line { change, what: "configuration anchor".to_owned() }))
}

#[cfg(test)]
mod tests;
