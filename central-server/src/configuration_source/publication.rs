//! The files that are published, and how one configuration takes the place of another.
//!
//! ```text
//! <folder>/V<n>/internalconf, externalconf     signed directories, replaced every minute
//! <folder>/V<n>/<stamp>/<part>                 the parts they list
//! ```
//!
//! Parts are written under a new stamp when something changed; else the directories are signed anew over the parts that are there.
//! Directories of all versions are written as `.tmp` first and renamed when all of them are good. A stamp that is no longer listed
//! stays for [`KEEP`], for readers with a directory that is a little older. Deleting the folder loses nothing: everything is
//! generated again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host::background::Pace;
use host::files::{SyncedFile, sync_dir, write_synced};
use pki::digest::DigestAlgorithm;
use proto::globalconf::directory::Part;
use proto::time::UnixTime;

use crate::registry::SourceKind;

/// How long parts stay that no directory lists any more.
pub const KEEP: Duration = Duration::from_secs(600);
/// What directories list parts by.
const HASH: DigestAlgorithm = DigestAlgorithm::Sha512;
/// What a directory is called until all of them are good.
const SUFFIX: &str = ".tmp";

/// A part to be published that is small enough for memory.
#[derive(Clone, Debug)]
pub struct Content {
    /// Content identifier.
    pub identifier: String,
    /// File name.
    pub name: String,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// The parts of one version as they lie on the disk.
#[derive(Clone, Debug)]
pub struct Written {
    /// Of which revision of what the registry publishes.
    pub revision: u64,
    /// The stamp they lie under.
    stamp: String,
    /// When they were written.
    at: UnixTime,
    /// As directories list them.
    pub parts: Vec<Part>,
}

/// One version as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which.
    pub version: u32,
    /// Where its parts lie, for [`KEEP`] at least after others have taken their place.
    pub folder: PathBuf,
    /// Since when.
    pub written_at: UnixTime,
}

/// The published folder.
#[derive(Debug)]
pub struct Publication {
    folder: PathBuf,
    written: HashMap<u32, Written>,
}

impl Publication {
    /// Over a folder, which may hold an earlier publication.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, written: HashMap::new() }
    }

    /// The parts of a version, when those on the disk are of this revision.
    pub fn parts_of(&self, version: u32, revision: u64) -> Option<&Written> {
        self.written.get(&version).filter(|written| written.revision == revision)
    }

    /// What is published, from the lowest version up.
    pub fn published(&self) -> Vec<Published> {
        let of_version = |(version, written): (&u32, &Written)| Published {
            version: *version,
            folder: self.folder.join(format!("V{version}")).join(&written.stamp),
            written_at: written.at,
        };
        let mut all: Vec<_> = self.written.iter().map(of_version).collect();
        all.sort_by_key(|of| of.version);
        all
    }

    /// Makes room for the parts of a version under a new stamp. No directory lists them yet.
    ///
    /// # Errors
    /// Disk.
    pub fn begin(&self, version: u32, instance: &str, now: UnixTime) -> io::Result<Writing<'_>> {
        let of_version = self.folder.join(format!("V{version}"));
        fs::create_dir_all(&of_version)?;
        let stamp = new_stamp(&of_version, now)?;
        Ok(Writing { folder: &self.folder, version, instance: instance.to_owned(), stamp, parts: Vec::new() })
    }

    /// Lets signed directories take the place of the present ones, all of them at once as far as a file system can.
    ///
    /// # Errors
    /// Disk. Some of the new directories may be in place, each good in itself.
    pub fn commit(
        &mut self,
        directories: &[(u32, SourceKind, Vec<u8>)],
        written: HashMap<u32, Written>,
        now: UnixTime,
    ) -> io::Result<()> {
        let path = |version: u32, source: SourceKind| {
            self.folder.join(format!("V{version}")).join(source.directory())
        };
        for (version, source, bytes) in directories {
            write_synced(File::create(temporary(&path(*version, *source)))?, bytes)?;
        }
        for (version, source, _) in directories {
            let target = path(*version, *source);
            fs::rename(temporary(&target), &target)?;
        }
        for (version, new) in &written {
            let of_version = self.folder.join(format!("V{version}"));
            sync_dir(&of_version)?;
            // From now on the time of what was listed until now runs. After a start nobody knows which stamp that was.
            match self.written.get(version) {
                Some(old) if old.stamp != new.stamp => touch(&of_version.join(&old.stamp), now),
                Some(_) => {}
                None => stamps(&of_version).for_each(|(_, path)| touch(&path, now)),
            }
        }
        self.written = written;
        Ok(())
    }

    /// Removes stamps that have not been listed for [`KEEP`], and versions that are no longer published.
    pub fn clean(&self, now: UnixTime) {
        for version in proto::globalconf::MIN_VERSION..=proto::globalconf::MAX_VERSION {
            let of_version = self.folder.join(format!("V{version}"));
            let used = self.written.get(&version).map(|written| written.stamp.as_str());
            if used.is_none() {
                for source in SourceKind::ALL {
                    let path = of_version.join(source.directory());
                    if path.exists() {
                        report(&path, fs::remove_file(&path));
                    }
                }
            }
            for (stamp, path) in stamps(&of_version) {
                if Some(stamp.as_str()) != used && is_old(&path, now) {
                    report(&path, fs::remove_dir_all(&path));
                }
            }
        }
    }
}

/// The parts of a version while they are written. Versions differ little and a large registry takes long to write, so a part that is the
/// same as in a version written just before is that file under one more name.
#[derive(Debug)]
pub struct Writing<'p> {
    folder: &'p Path,
    version: u32,
    instance: String,
    stamp: String,
    parts: Vec<Part>,
}

impl Writing<'_> {
    /// A part that is at hand, perhaps the same as in one of `others`.
    ///
    /// # Errors
    /// Disk.
    pub fn whole(&mut self, content: &Content, others: &HashMap<u32, Written>) -> io::Result<()> {
        let (identifier, name) = (content.identifier.as_str(), content.name.as_str());
        let hash = HASH.digest(&content.bytes).value;
        let is_it = |part: &&Part| part.hash == hash && part.location.rsplit('/').next() == Some(name);
        let same = others.values().find_map(|other| other.parts.iter().find(is_it));
        if same.is_none_or(|part| fs::hard_link(self.file_of(part), self.path(name)).is_err()) {
            write_synced(File::create(self.path(name))?, &content.bytes)?;
        }
        self.list(identifier, name, hash);
        Ok(())
    }

    /// Takes over a part of another version that is the same; `false` where a file system has no links, or it has none.
    pub fn same(&mut self, other: &Written, identifier: &str, name: &str) -> bool {
        let Some(part) = other.parts.iter().find(|part| part.content_identifier == identifier) else {
            return false;
        };
        let linked = fs::hard_link(self.file_of(part), self.path(name)).is_ok();
        if linked {
            self.list(identifier, name, part.hash.clone());
        }
        linked
    }

    /// A part that is written piece by piece by `write`, with so much of the disk as `pace` says; gives what `write` gives.
    ///
    /// # Errors
    /// Those of `write`, or of the disk.
    pub fn by_pieces<T, E: From<io::Error>>(
        &mut self,
        (identifier, name): (&str, &str),
        mut pace: Pace,
        write: impl FnOnce(&mut dyn FnMut(&str) -> Result<(), E>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut file = SyncedFile::new(File::create(self.path(name))?, pace);
        let mut hasher = HASH.hasher();
        let found = write(&mut |text| {
            hasher.update(text.as_bytes());
            file.write_all(text.as_bytes())?;
            pace.step();
            Ok(())
        })?;
        file.finish()?;
        self.list(identifier, name, hasher.finish().value);
        Ok(found)
    }

    /// All of them, once they are on the disk.
    ///
    /// # Errors
    /// Disk.
    pub fn finish(self, revision: u64, now: UnixTime) -> io::Result<Written> {
        let of_version = self.folder.join(format!("V{}", self.version));
        sync_dir(&of_version.join(&self.stamp))?;
        sync_dir(&of_version)?;
        Ok(Written { revision, stamp: self.stamp, at: now, parts: self.parts })
    }

    fn list(&mut self, identifier: &str, name: &str, hash: Vec<u8>) {
        self.parts.push(Part {
            content_identifier: identifier.to_owned(),
            instance: self.instance.clone(),
            location: format!("/V{}/{}/{name}", self.version, self.stamp),
            file_name: None,
            hash_algorithm_uri: HASH.uri().to_owned(),
            hash,
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("V{}", self.version)).join(&self.stamp).join(name)
    }

    fn file_of(&self, part: &Part) -> PathBuf {
        self.folder.join(part.location.trim_start_matches('/'))
    }
}

/// Name of a folder of parts: the time in UTC down to nanoseconds.
pub fn is_stamp(name: &str) -> bool {
    name.len() == 23 && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The folders of parts of a version.
fn stamps(of_version: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(of_version).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        is_stamp(&name).then(|| (name, entry.path()))
    })
}

/// Creates a folder with the stamp of `now`, or of the next nanosecond that is free.
fn new_stamp(of_version: &Path, now: UnixTime) -> io::Result<String> {
    let format =
        time::macros::format_description!("[year][month][day][hour][minute][second][subsecond digits:9]");
    let first = i128::from(now.0) * 1_000_000;
    for nanos in first.. {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(io::Error::other)?;
        let stamp = at.format(format).map_err(io::Error::other)?;
        match fs::create_dir(of_version.join(&stamp)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|()| stamp),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

fn system(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + time.since(UnixTime(0))
}

fn touch(dir: &Path, now: UnixTime) {
    // Without it the folder goes a little earlier.
    let touched = File::open(dir).and_then(|dir| dir.set_modified(system(now)));
    if let Err(error) = touched {
        tracing::debug!(%error, path = %dir.display(), "the time of a folder could not be set");
    }
}

fn is_old(dir: &Path, now: UnixTime) -> bool {
    let modified = fs::metadata(dir).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| system(now).duration_since(modified).is_ok_and(|age| age > KEEP))
}

fn report(path: &Path, outcome: io::Result<()>) {
    match outcome {
        Ok(()) => tracing::debug!(path = %path.display(), "no longer published"),
        Err(error) => tracing::warn!(%error, path = %path.display(), "could not be removed"),
    }
}
