//! The next segment's file, made while the present one fills, so that no commit waits for space to be reserved.
//!
//! ```text
//! log/next.spare    reserved, with its file head; renamed when it becomes a segment; one that a crash left is removed at a start
//! ```
//!
//! A spare that cannot be made is no failure: the segment is then made when it is needed, and says why it cannot be.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use super::faults::Faults;
use super::segment::{Writable, path_of};
use super::steps::Step;

/// The spare: none, or one on its way.
#[derive(Debug)]
pub(super) struct Spare {
    dir: PathBuf,
    faults: Faults,
    coming: Option<Receiver<io::Result<Made>>>,
}

/// A file that can become a segment.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) file: Writable,
    pub(super) salt: u32,
    pub(super) capacity: u64,
}

impl Spare {
    /// None yet; what a crash left of one is removed.
    pub(super) fn none(dir: &Path, faults: Faults) -> Self {
        let this = Self { dir: dir.to_owned(), faults, coming: None };
        this.remove();
        this
    }

    /// Has one made with `capacity` bytes, on a thread of its own; nothing to do when there is one.
    pub(super) fn prepare(&mut self, capacity: u64) {
        if self.coming.is_some() {
            return;
        }
        let (made, coming) = channel();
        let (path, faults) = (self.path(), self.faults.clone());
        let thread = std::thread::Builder::new().name("log-spare".into()).spawn(move || {
            let file = super::writer::random_salt().and_then(|salt| {
                let file = Step::Spare.timed(|| Writable::create_at(&path, salt, capacity, faults))?;
                Ok((file, salt))
            });
            let _ = made.send(file.map(|(file, salt)| Made { file, salt, capacity }));
        });
        self.coming = thread.is_ok().then_some(coming);
    }

    /// The spare as segment `number`, when there is one with at least `capacity` bytes; not durable under its name yet. Waits for one
    /// that is being made, which is sooner than making another.
    pub(super) fn take(&mut self, number: u64, capacity: u64) -> Option<Made> {
        let made = self.coming.take()?.recv().ok()?.ok()?;
        if made.capacity < capacity || std::fs::rename(self.path(), path_of(&self.dir, number)).is_err() {
            self.remove();
            return None;
        }
        Some(made)
    }

    /// Gives back what is reserved.
    pub(super) fn discard(&mut self) {
        if let Some(coming) = self.coming.take() {
            let _ = coming.recv();
            self.remove();
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("next.spare")
    }

    fn remove(&self) {
        // It is mostly not there; one that stays is only in the way of the next, which then is not made.
        let _ = std::fs::remove_file(self.path());
    }
}
