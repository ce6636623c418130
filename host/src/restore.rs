//! Putting another state into a data directory, so that a crash at any moment leaves the old state or the new one.
//!
//! ```text
//! restore/             being filled and checked; without effect, removed by whoever opens the directory next
//! restore-committed/   the same after one rename, the commit point; carried out by whoever opens the directory next
//!   items              what is replaced, one path a line: `+ state` for what comes, `- anchor.xml` for what only goes
//!   new/PATH           what comes
//!   old/PATH           what was there
//! restore-done/        carried out; removed by whoever opens the directory next
//! restore-scratch/     copies that the new state was tried with; removed likewise
//! ```
//!
//! Carrying out is a sequence of renames within one file system, each of which can be found done when it is come to again. A server
//! commits, stops using the directory, and opens it again; a server that is killed in between does the same at its next start.
//! [`crate::data_dir::DataDir::open`] carries out, under its lock and before anything is read. Not here: what the files mean.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::files;

const STAGED: &str = "restore";
const COMMITTED: &str = "restore-committed";
const DONE: &str = "restore-done";
const SCRATCH: &str = "restore-scratch";
const ITEMS: &str = "items";
/// Names of a data directory that no restore touches: its lock, its format, and ours.
const NEVER: [&str; 6] = ["LOCK", "FORMAT", STAGED, COMMITTED, DONE, SCRATCH];
/// A database that was just closed may still be putting its files away.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// Told before every change on the disk; tests end the process there, so to speak.
type Step<'a> = &'a mut dyn FnMut() -> io::Result<()>;

/// One path of the data directory that is replaced, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// A file or folder, relative to the data directory.
    pub path: String,
    /// There is something new in its place; otherwise what is there only goes.
    pub comes: bool,
}

/// A state that is being put together beside the present one. Dropped without [`Self::commit`], it is gone.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
}

impl Staging {
    /// Begins; what an earlier attempt left is removed. One at a time: that is the caller's matter.
    ///
    /// # Errors
    /// Disk.
    pub fn begin(root: &Path) -> io::Result<Self> {
        remove(&root.join(STAGED))?;
        remove(&root.join(SCRATCH))?;
        let this = Self { root: root.to_owned() };
        make_private(&this.new_state())?;
        Ok(this)
    }

    /// Where files of the new state are put, under their paths in the data directory.
    pub fn new_state(&self) -> PathBuf {
        self.root.join(STAGED).join("new")
    }

    /// A copy of the new state to try it with; whatever is done there has no effect. Blocks.
    ///
    /// # Errors
    /// Disk.
    pub fn scratch(&self) -> io::Result<PathBuf> {
        let scratch = self.root.join(SCRATCH);
        copy_tree(&self.new_state(), &scratch)?;
        Ok(scratch)
    }

    /// Makes the new state the one that counts: after return, whoever opens the data directory next finds it there.
    ///
    /// # Errors
    /// The disk, or an item that may not be replaced; the old state counts then.
    pub fn commit(self, items: &[Item]) -> io::Result<()> {
        self.commit_by(items, &mut || Ok(()))
    }

    fn commit_by(&self, items: &[Item], step: Step<'_>) -> io::Result<()> {
        let staged = self.root.join(STAGED);
        let mut text = String::new();
        for item in items {
            if !may_be_replaced(&item.path) || item.comes != self.new_state().join(&item.path).exists() {
                return Err(io::Error::other(format!("{} cannot be replaced", item.path)));
            }
            text.push_str(if item.comes { "+ " } else { "- " });
            text.push_str(&item.path);
            text.push('\n');
        }
        step()?;
        sync_tree(&self.new_state())?;
        step()?;
        files::write_atomic(&staged.join(ITEMS), text.as_bytes(), 0o600)?;
        step()?;
        std::fs::rename(&staged, self.root.join(COMMITTED))?;
        // It counts from here on, so this is no failure any more; a power cut now leaves the old state or the new one as well.
        if let Err(error) = files::sync_dir(&self.root) {
            tracing::warn!(%error, path = %self.root.display(), "a restore that was decided may not be on the disk yet");
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for leftover in [STAGED, SCRATCH] {
            // What cannot be removed now goes when the directory is opened next.
            let _ = remove(&self.root.join(leftover));
        }
    }
}

/// Carries out what was committed, and removes what was not. `true` when there is another state than before.
///
/// # Errors
/// The disk; to be called again.
pub(crate) fn carry_on(root: &Path) -> io::Result<bool> {
    carry_on_by(root, &mut || Ok(()))
}

fn carry_on_by(root: &Path, step: Step<'_>) -> io::Result<bool> {
    for leftover in [STAGED, SCRATCH, DONE] {
        if root.join(leftover).exists() {
            step()?;
            remove(&root.join(leftover))?;
        }
    }
    let committed = root.join(COMMITTED);
    if !committed.exists() {
        return Ok(false);
    }
    for item in read_items(&committed.join(ITEMS))? {
        replace(root, &committed, &item, step)?;
    }
    step()?;
    std::fs::rename(&committed, root.join(DONE))?;
    files::sync_dir(root)?;
    step()?;
    remove(&root.join(DONE))?;
    Ok(true)
}

fn replace(root: &Path, committed: &Path, item: &Item, step: Step<'_>) -> io::Result<()> {
    let here = root.join(&item.path);
    let (old, new) = (committed.join("old").join(&item.path), committed.join("new").join(&item.path));
    // Without it the exchange of this item was finished before.
    let due = !item.comes || exists(&new)?;
    if due && exists(&here)? && !exists(&old)? {
        step()?;
        move_to(&here, &old)?;
    }
    if item.comes && exists(&new)? {
        step()?;
        move_to(&new, &here)?;
    }
    Ok(())
}

/// A rename that survives a power cut.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    let folders = [from, to].map(|path| path.parent().unwrap_or(path));
    make_private(folders[1])?;
    std::fs::rename(from, to)?;
    files::sync_dir(folders[1])?;
    files::sync_dir(folders[0])
}

fn read_items(path: &Path) -> io::Result<Vec<Item>> {
    let text = std::fs::read_to_string(path)?;
    let item = |line: &str| {
        let (mark, path) = line.split_once(' ')?;
        let comes = match mark {
            "+" => true,
            "-" => false,
            _ => return None,
        };
        may_be_replaced(path).then(|| Item { path: path.to_owned(), comes })
    };
    let wrong = || io::Error::other(format!("{} is damaged: the restore cannot go on", path.display()));
    text.lines().map(|line| item(line).ok_or_else(wrong)).collect()
}

/// A relative path without tricks, and not one of the directory's own.
fn may_be_replaced(path: &str) -> bool {
    let mut components = Path::new(path).components();
    let plain = Path::new(path).components().all(|each| matches!(each, Component::Normal(_)));
    let first = components.next().map(|each| each.as_os_str().to_string_lossy().into_owned());
    plain && !path.contains('\n') && first.is_some_and(|first| !NEVER.contains(&first.as_str()))
}

fn exists(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let mut tries = REMOVE_TRIES;
    loop {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(path)? => return Ok(()),
            Err(error)
                if tries > 0
                    && matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
            }
            other => return other,
        }
        tries -= 1;
        std::thread::sleep(REMOVE_PAUSE);
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    make_private(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Every file and folder in it is on the disk.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            std::fs::File::open(entry.path())?.sync_all()?;
        }
    }
    files::sync_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Present state: the old one.
    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in
            [("LOCK", "1"), ("state/snapshot", "old"), ("state/sled/db", "old"), ("anchor.xml", "old")]
        {
            write(&dir.path().join(path), text);
        }
        for (path, text) in [("keys/a.key", "old"), ("tls/internal.key", "old"), ("log/1", "kept")] {
            write(&dir.path().join(path), text);
        }
        dir
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn stage(root: &Path) -> (Staging, Vec<Item>) {
        let staging = Staging::begin(root).unwrap();
        for path in ["state/snapshot", "keys/b.key", "tls/internal.key", "parts/one"] {
            write(&staging.new_state().join(path), "new");
        }
        write(&staging.scratch().unwrap().join("state/snapshot"), "tried");
        let item = |(path, comes): (&str, bool)| Item { path: path.to_owned(), comes };
        let items = [
            ("state", true),
            ("keys", true),
            ("tls/internal.key", true),
            ("parts", true),
            ("anchor.xml", false),
        ];
        (staging, items.map(item).to_vec())
    }

    /// Every file and what it holds.
    fn files_of(root: &Path) -> BTreeMap<String, String> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                    found.insert(name, std::fs::read_to_string(path).unwrap());
                }
            }
        }
        found
    }

    fn new_files() -> BTreeMap<String, String> {
        [
            ("LOCK", "1"),
            ("keys/b.key", "new"),
            ("log/1", "kept"),
            ("parts/one", "new"),
            ("state/snapshot", "new"),
            ("tls/internal.key", "new"),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into()
    }

    /// Lets `allowed` steps happen, then nothing more, as a killed process would.
    fn killed_after(allowed: usize) -> impl FnMut() -> io::Result<()> {
        let mut left = allowed;
        move || {
            if left == 0 {
                return Err(io::Error::other("killed"));
            }
            left -= 1;
            Ok(())
        }
    }

    #[test]
    fn a_crash_before_any_step_leaves_the_old_state_or_the_new_one() {
        let (mut old, mut new) = (0, 0);
        for allowed in 0..100 {
            let dir = directory();
            let before = files_of(dir.path());
            let (staging, items) = stage(dir.path());
            let (root, mut step) = (dir.path().to_owned(), killed_after(allowed));
            // A killed process runs no destructor, so what is staged stays.
            let staging = std::mem::ManuallyDrop::new(staging);
            let outcome = staging.commit_by(&items, &mut step);
            let done = outcome.and_then(|()| carry_on_by(&root, &mut step)).is_ok();
            // The next start, killed at each of its steps too, until one gets through.
            for again in 0.. {
                assert!(again < 100, "it never ends");
                if carry_on_by(&root, &mut killed_after(again)).is_ok() {
                    break;
                }
            }
            let found = files_of(&root);
            if found == before {
                old += 1;
            } else {
                assert_eq!(found, new_files(), "after {allowed} steps");
                new += 1;
            }
            if done {
                assert_eq!(found, new_files());
                // Three steps to the commit; nothing after it brings the old state back.
                assert_eq!((old, new), (3, allowed + 1 - 3));
                return;
            }
        }
        panic!("it never came to its end");
    }

    #[test]
    fn what_was_not_committed_has_no_effect() {
        let dir = directory();
        let before = files_of(dir.path());
        drop(stage(dir.path()));
        assert_eq!(files_of(dir.path()), before);
        assert!(!carry_on(dir.path()).unwrap());
        assert_eq!(files_of(dir.path()), before);
    }

    #[test]
    fn no_path_leads_out_of_the_directory_or_to_its_own_files() {
        for path in ["../x", "/etc/passwd", "a/../../b", "LOCK", "FORMAT", "restore/new", "", ".", "a\nb"] {
            assert!(!may_be_replaced(path), "{path:?}");
            let dir = directory();
            let staging = Staging::begin(dir.path()).unwrap();
            assert!(staging.commit(&[Item { path: path.to_owned(), comes: false }]).is_err(), "{path:?}");
        }
        assert!(may_be_replaced("state") && may_be_replaced("tls/internal.key"));
    }
}
