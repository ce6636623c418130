//! Files without a name, for bodies that no record will hold: a body lies in one of its own until its exchange is over.
//!
//! What a new file costs is its pages: the system takes memory for them and gives it back, which takes longer than the writing. So a
//! file that an exchange has done with waits a moment ([`IDLE`]) for the next, whose bytes go over the old ones. At most [`WAITING`]
//! wait, of [`MOST_BYTES`] each, and no body begins in one older than [`AGE`], since systems bring pages to the disk when they are some
//! thirty seconds old. Nothing is read from behind what this body wrote: there may be the body before.
//!
//! Nothing of a file is given to the kernel to send by itself (`sendfile`): it would still read pages that the next body is written to.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::store::segment::write_slices;
use super::store::writer::lock;

/// How long a file waits for its next body.
const IDLE: Duration = Duration::from_secs(5);
/// No body begins in an older one.
const AGE: Duration = Duration::from_secs(20);
/// Files that wait.
const WAITING: usize = 8;
/// A longer one does not wait.
const MOST_BYTES: u64 = 128 << 20;

/// Where such files come from, and where they wait.
#[derive(Debug)]
pub(super) struct PassingFiles(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    dir: PathBuf,
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    file: File,
    born: Instant,
    since: Instant,
}

/// A file that is one body's; it waits for another when it is dropped.
#[derive(Debug)]
pub(super) struct PassingFile {
    /// `None` once it is dropped.
    file: Option<File>,
    born: Instant,
    /// Where the farthest write of this body ended.
    end: AtomicU64,
    home: Weak<Pool>,
}

impl PassingFiles {
    /// In this folder.
    pub(super) fn new(dir: &Path) -> Self {
        Self(Arc::new(Pool { dir: dir.to_owned(), waiting: Mutex::default() }))
    }

    /// One that waits, or a new one. Blocks.
    pub(super) fn open(&self) -> io::Result<PassingFile> {
        self.0.purge();
        // The one that waits the shortest, so that those too many end.
        let waited = lock(&self.0.waiting).pop();
        let (file, born) = match waited {
            Some(waited) => (waited.file, waited.born),
            None => (super::nameless(&self.0.dir)?, Instant::now()),
        };
        let home = Arc::downgrade(&self.0);
        Ok(PassingFile { file: Some(file), born, end: AtomicU64::new(0), home })
    }
}

impl Pool {
    /// Ends those that have waited too long, or are too old.
    fn purge(&self) {
        let now = Instant::now();
        let over = |waiting: &mut Waiting| now - waiting.since >= IDLE || now - waiting.born >= AGE;
        let old: Vec<_> = lock(&self.waiting).extract_if(.., over).collect();
        close(old);
    }

    fn put(self: Arc<Self>, file: File, born: Instant, runtime: &Handle) {
        {
            let mut waiting = lock(&self.waiting);
            if waiting.len() >= WAITING {
                drop(waiting);
                return close(file);
            }
            waiting.push(Waiting { file, born, since: Instant::now() });
        }
        let pool = Arc::downgrade(&self);
        runtime.spawn(async move {
            tokio::time::sleep(IDLE).await;
            if let Some(pool) = pool.upgrade() {
                pool.purge();
            }
        });
    }
}

/// The end of a long file gives back all its pages, which takes a while.
fn close(files: impl Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn_blocking(move || drop(files)));
    }
}

impl PassingFile {
    /// All of `slices`, from `at` on. Blocks.
    pub(super) fn write(&self, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        self.end.fetch_max(at + length as u64, Ordering::Relaxed);
        write_slices(self.file()?, slices, at)
    }

    /// Fills `part` from `at` on. Blocks.
    pub(super) fn read(&self, part: &mut [u8], at: u64) -> io::Result<()> {
        self.within(part, at)?;
        self.file()?.read_exact_at(part, at)
    }

    /// The same, when it takes no waiting for the disk; `false` when it would, or when the system cannot tell.
    pub(super) fn read_cached(&self, part: &mut [u8], at: u64) -> bool {
        self.within(part, at).is_ok() && self.file().is_ok_and(|file| read_cached(file, part, at))
    }

    /// What this body wrote, and not the one before it.
    fn within(&self, part: &[u8], at: u64) -> io::Result<()> {
        match part.is_empty() || at + part.len() as u64 <= self.end.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for PassingFile {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let reusable = *self.end.get_mut() <= MOST_BYTES && self.born.elapsed() < AGE;
        match (self.home.upgrade().filter(|_| reusable), Handle::try_current()) {
            (Some(home), Ok(runtime)) => home.put(file, self.born, &runtime),
            _ => close(file),
        }
    }
}

#[cfg(target_os = "linux")]
fn read_cached(file: &File, part: &mut [u8], at: u64) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let length = part.len();
    preadv2(file, &mut [io::IoSliceMut::new(part)], at, ReadWriteFlags::NOWAIT) == Ok(length)
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &File, _part: &mut [u8], _at: u64) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn filled(files: &PassingFiles, with: &[u8]) -> PassingFile {
        let file = files.open().unwrap();
        file.write(&mut [IoSlice::new(with)], 0).unwrap();
        file
    }

    fn inode(file: &PassingFile) -> u64 {
        file.file().unwrap().metadata().unwrap().ino()
    }

    fn waiting(files: &PassingFiles) -> usize {
        lock(&files.0.waiting).len()
    }

    #[tokio::test]
    async fn a_file_serves_one_body_after_the_other_and_never_two_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = PassingFiles::new(dir.path());
        let first = Arc::new(filled(&files, b"first, and longer"));
        let number = inode(&first);
        let still_read = first.clone();
        drop(first);
        assert_ne!(inode(&filled(&files, b"x")), number, "somebody holds the first");
        drop(still_read);
        let next = filled(&files, b"second");
        assert_eq!(inode(&next), number);
        let mut read = [0; 6];
        next.read(&mut read, 0).unwrap();
        assert_eq!(&read, b"second");
        let mut more = [0; 7];
        let found = next.read(&mut more, 0).unwrap_err().kind();
        assert_eq!(found, io::ErrorKind::UnexpectedEof, "the first is there, and not for this one");
        assert!(!next.read_cached(&mut more, 0));
        assert!(next.read(&mut [], 100).is_ok(), "nothing is read there");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "none has a name");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_waits_a_moment_and_grows_no_older_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let files = PassingFiles::new(dir.path());
        drop(filled(&files, b"x"));
        tokio::time::sleep(IDLE / 2).await;
        assert_eq!(waiting(&files), 1);
        tokio::time::sleep(IDLE).await;
        assert_eq!(waiting(&files), 0, "nobody asked for it");

        let old = filled(&files, b"x");
        tokio::time::sleep(AGE).await;
        drop(old);
        assert_eq!(waiting(&files), 0, "it is too old");

        let nearly = filled(&files, b"x");
        let number = inode(&nearly);
        tokio::time::sleep(AGE - Duration::from_secs(1)).await;
        drop(nearly);
        assert_eq!(waiting(&files), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        let next = filled(&files, b"x");
        assert!(next.born.elapsed() < AGE && waiting(&files) == 0, "inode {number}");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_length() {
        let dir = tempfile::tempdir().unwrap();
        let files = PassingFiles::new(dir.path());
        let many: Vec<_> = (0..WAITING + 3).map(|_| filled(&files, b"x")).collect();
        drop(many);
        assert_eq!(waiting(&files), WAITING);
        lock(&files.0.waiting).clear();
        let long = files.open().unwrap();
        long.write(&mut [IoSlice::new(b"x")], MOST_BYTES).unwrap();
        drop(long);
        assert_eq!(waiting(&files), 0, "it is too long");
    }

    #[test]
    fn without_a_runtime_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let files = PassingFiles::new(dir.path());
        drop(filled(&files, b"x"));
        assert_eq!(waiting(&files), 0);
    }

    #[tokio::test]
    async fn what_is_cached_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = filled(&PassingFiles::new(dir.path()), b"0123456789");
        let mut part = [0; 5];
        if file.read_cached(&mut part, 3) {
            assert_eq!(&part, b"34567");
        }
        assert!(!file.read_cached(&mut part, 6), "beyond its end");
    }
}
