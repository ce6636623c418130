//! What the log's appends are held against: the disk alone, and the disk with somebody in front of it.
//!
//! | Loop | What it does |
//! |---|---|
//! | [`bare_loop`] | one thread writes as many bytes as all that wait would and syncs, over and over |
//! | [`handed_over`] | as many tasks as wait make the records that the log is given and hand their bodies to one thread, which writes and syncs what has come and answers; no format, no checksum, no index |
//!
//! Both write preallocated files and go on in a new one when one is full. A file is never written to twice, as a log's is not: space
//! that was written before is quicker.
use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::oneshot;

const CAPACITY: u64 = 256 << 20;
/// Most pieces in one system call (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// The file that is written to.
#[derive(Debug)]
struct Reserved {
    path: PathBuf,
    file: File,
    at: u64,
}

impl Reserved {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, CAPACITY)?;
        file.sync_all()?;
        // It goes when it is closed.
        std::fs::remove_file(path)?;
        Ok(Self { path: path.to_owned(), file, at: 0 })
    }

    /// Where `bytes` more are to be written.
    fn room_for(&mut self, bytes: u64) -> anyhow::Result<u64> {
        if self.at + bytes > CAPACITY {
            *self = Self::new(&self.path)?;
        }
        self.at += bytes;
        Ok(self.at - bytes)
    }

    fn commit(&mut self, bodies: &[Bytes]) -> anyhow::Result<()> {
        let mut at = self.room_for(bodies.iter().map(|body| body.len() as u64).sum())?;
        let mut slices: Vec<_> = bodies.iter().map(|body| IoSlice::new(body)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let written = rustix::io::pwritev(&self.file, &rest[..rest.len().min(MAX_SLICES)], at)?;
            anyhow::ensure!(written > 0, "nothing was written");
            at += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(self.file.sync_data()?)
    }
}

/// Writes `waiting` times `bytes` and syncs, over and over; records a second.
pub(crate) fn bare_loop(path: &Path, bytes: usize, waiting: usize, time: Duration) -> anyhow::Result<f64> {
    let mut reserved = Reserved::new(path)?;
    let batch = crate::log::noise(bytes * waiting, 7);
    let (began, mut written) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let at = reserved.room_for(batch.len() as u64)?;
        reserved.file.write_all_at(&batch, at)?;
        reserved.file.sync_data()?;
        written += waiting as u64;
    }
    Ok(written as f64 / began.elapsed().as_secs_f64())
}

/// What was handed over and not taken yet.
#[derive(Debug, Default)]
struct Handed {
    state: Mutex<State>,
    come: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Bytes, oneshot::Sender<()>)>,
    sleeping: bool,
    over: bool,
}

impl Handed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, body: Bytes) -> oneshot::Receiver<()> {
        let (answer, done) = oneshot::channel();
        let mut state = self.lock();
        state.waiting.push_back((body, answer));
        if std::mem::take(&mut state.sleeping) {
            drop(state);
            self.come.notify_one();
        }
        done
    }

    fn end(&self) {
        self.lock().over = true;
        self.come.notify_one();
    }

    /// What has come; `None` once it is over.
    fn take(&self) -> Option<VecDeque<(Bytes, oneshot::Sender<()>)>> {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.over {
            state.sleeping = true;
            state = self.come.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let taken = std::mem::take(&mut state.waiting);
        (!taken.is_empty()).then_some(taken)
    }

    /// The one thread.
    fn serve(&self, mut reserved: Reserved) -> anyhow::Result<()> {
        while let Some(taken) = self.take() {
            let (bodies, answers): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
            reserved.commit(&bodies)?;
            answers.into_iter().for_each(|answer| _ = answer.send(()));
        }
        Ok(())
    }
}

/// `waiting` tasks, each of which makes what the log is given (`make`) and hands `body` over, one after the other; records a second.
pub(crate) async fn handed_over<T: 'static>(
    path: &Path,
    body: &Bytes,
    waiting: usize,
    time: Duration,
    make: impl Fn(u64) -> T + Clone + Send + 'static,
) -> anyhow::Result<f64> {
    let reserved = Reserved::new(path)?;
    let (handed, done) = (Arc::new(Handed::default()), Arc::new(AtomicU64::new(0)));
    let thread = std::thread::spawn({
        let handed = handed.clone();
        move || handed.serve(reserved)
    });
    let began = Instant::now();
    let tasks: Vec<_> = (0..waiting as u64)
        .map(|task| {
            let (handed, done, body, make) = (handed.clone(), done.clone(), body.clone(), make.clone());
            tokio::spawn(async move {
                let mut number = task;
                while began.elapsed() < time {
                    std::hint::black_box(make(number));
                    number += waiting as u64;
                    handed.put(body.clone()).await.context("the thread has failed")?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    handed.end();
    thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    Ok(rate)
}
