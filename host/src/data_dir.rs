//! One server's data directory: `LOCK` (held while a process uses it), `FORMAT` (role and number), one folder per owner.
//!
//! `LOCK` is an advisory lock of the kernel's: it goes with the process, so nothing has to be cleaned up after a crash, and holds
//! the process id for people to read. `FORMAT` is one line, `security-server 1`. A newer number than the program knows is
//! refused; an older one is converted in one place, [`DataDir::open`]. Deleting `LOCK` does no harm while no process runs;
//! deleting `FORMAT` makes the directory count as new. A restore that was committed is carried out when the directory is opened.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::{files, restore};

/// An opened, locked data directory; the lock is given back when it is dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    restored: bool,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{path} is in use by another process{holder}: stop it first, or name another folder")]
    Locked {
        /// Which.
        path: PathBuf,
        /// ` (1234)` when the other process said who it is.
        holder: String,
    },
    /// Written by a newer program.
    #[error("{path} has format {found}, this program knows {known}: install a newer causeway")]
    Newer {
        /// Which.
        path: PathBuf,
        /// In the file.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Belongs to another kind of server.
    #[error("{path} is the data of a {found}, not of a {wanted}: name another folder")]
    Role {
        /// Which.
        path: PathBuf,
        /// In the file.
        found: String,
        /// Asked for.
        wanted: String,
    },
    /// `FORMAT` cannot be understood.
    #[error("{path}/FORMAT is damaged: it should hold a role and a number, such as `security-server 1`")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// Of another user than the one who runs this: what root wrote there, that user could not read afterwards.
    #[error("{path} belongs to user {owner}: run this as that user (`sudo -u '#{owner}' ...`)")]
    Owner {
        /// Which.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Disk.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl DataDir {
    /// Opens or creates `root` for `role` (`security-server`, `central-server`): takes the lock, checks the format.
    ///
    /// # Errors
    /// In use, newer, another role's, another user's, or unusable.
    pub fn open(root: &Path, role: &str, format: u32) -> Result<Self, DataDirError> {
        make_private(root)?;
        check_owner(root)?;
        let lock = lock(root)?;
        let path = root.join("FORMAT");
        match std::fs::read_to_string(&path) {
            Ok(text) => check_format(root, &text, role, format)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                files::write_atomic(&path, format!("{role} {format}\n").as_bytes(), 0o600)
                    .map_err(at(&path))?;
            }
            Err(e) => return Err(at(&path)(e)),
        }
        let restored = restore::carry_on(root).map_err(at(root))?;
        if restored {
            tracing::warn!(path = %root.display(), "a backup was restored");
        }
        Ok(Self { root: root.to_owned(), restored, _lock: lock })
    }

    /// A folder of it, created with mode 0700.
    ///
    /// # Errors
    /// Disk.
    pub fn folder(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.root.join(name);
        make_private(&path)?;
        files::sync_dir(&self.root).map_err(at(&self.root))?;
        Ok(path)
    }

    /// Opening it carried out a restore: its state is not the one that this server last had.
    pub fn was_restored(&self) -> bool {
        self.restored
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn make_private(path: &Path) -> Result<(), DataDirError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

/// Root alone can open the folder of another user; the others have been refused by the disk.
fn check_owner(root: &Path) -> Result<(), DataDirError> {
    let owner = std::fs::metadata(root).map_err(at(root))?.uid();
    if rustix::process::geteuid().is_root() && owner != 0 {
        return Err(DataDirError::Owner { path: root.to_owned(), owner });
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let holder = match holder.trim() {
                "" => String::new(),
                pid => format!(" ({pid})"),
            };
            return Err(DataDirError::Locked { path: root.to_owned(), holder });
        }
        Err(e) => return Err(at(&path)(e.into())),
    }
    file.set_len(0).map_err(at(&path))?;
    writeln!(file, "{}", std::process::id()).map_err(at(&path))?;
    Ok(file)
}

/// The one place where data of an older format would be converted. There is only format 1 so far.
fn check_format(root: &Path, text: &str, role: &str, known: u32) -> Result<(), DataDirError> {
    let damaged = || DataDirError::Damaged { path: root.to_owned() };
    let (found_role, number) = text.trim().split_once(' ').ok_or_else(damaged)?;
    let found: u32 = number.parse().map_err(|_| damaged())?;
    if found_role != role {
        return Err(DataDirError::Role {
            path: root.to_owned(),
            found: found_role.to_owned(),
            wanted: role.to_owned(),
        });
    }
    if found > known {
        return Err(DataDirError::Newer { path: root.to_owned(), found, known });
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), "security-server", 1).unwrap();
        let second = DataDir::open(dir.path(), "security-server", 1);
        let me = format!("({})", std::process::id());
        assert!(matches!(second, Err(DataDirError::Locked { holder, .. }) if holder.contains(&me)));
        drop(first);
        DataDir::open(dir.path(), "security-server", 1).unwrap();
    }

    #[test]
    fn refuses_newer_foreign_and_damaged_formats() {
        type Check = fn(&DataDirError) -> bool;
        let cases: [(&str, &str, Check); 4] = [
            ("newer", "security-server 2\n", |e| matches!(e, DataDirError::Newer { found: 2, known: 1, .. })),
            ("another role", "central-server 1\n", |e| matches!(e, DataDirError::Role { .. })),
            ("no number", "security-server\n", |e| matches!(e, DataDirError::Damaged { .. })),
            ("empty", "", |e| matches!(e, DataDirError::Damaged { .. })),
        ];
        for (name, text, check) in cases {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("FORMAT"), text).unwrap();
            let error = DataDir::open(dir.path(), "security-server", 1).unwrap_err();
            assert!(check(&error), "{name}: {error}");
            assert_eq!(
                std::fs::read_to_string(dir.path().join("FORMAT")).unwrap(),
                text,
                "{name}: untouched"
            );
        }
    }

    #[test]
    fn root_leaves_no_files_in_the_folder_of_another_user() {
        if !rustix::process::geteuid().is_root() {
            return; // Nobody else can give a folder away.
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
        let error = DataDir::open(dir.path(), "security-server", 1).unwrap_err();
        assert!(matches!(error, DataDirError::Owner { owner: 12345, .. }), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn folders_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("a/b"), "central-server", 1).unwrap();
        let folder = data.folder("state").unwrap();
        assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_to_string(data.root().join("FORMAT")).unwrap(), "central-server 1\n");
    }
}
