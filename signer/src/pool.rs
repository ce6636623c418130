//! A few threads for private-key operations: an RSA signature takes up to a millisecond and must not hold up an async worker.
//!
//! As many threads as cores. At most [`MAX_WAITING`] operations wait or run; who comes later waits for a place without using a
//! thread. The threads end when the pool is dropped.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

/// Most operations that are in the pool at a time.
pub(crate) const MAX_WAITING: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// The pool.
#[derive(Debug)]
pub(crate) struct Pool {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
}

impl Pool {
    /// With `threads` threads, at least one.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("signer-{number}")).spawn(move || work(&queue))?;
        }
        Ok(Self { jobs, places: Arc::new(Semaphore::new(MAX_WAITING)) })
    }

    /// Runs `job` on one of the threads; `None` when it panicked.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // Neither the semaphore nor the channel is ever closed while the pool is borrowed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let (answer, answered) = oneshot::channel();
        let job = move || {
            let made = job();
            drop(place);
            // It fails when nobody waits any more: the caller was cancelled.
            let _ = answer.send(made);
        };
        self.jobs.send(Box::new(job)).ok()?;
        answered.await.ok()
    }

    /// How many operations wait or run.
    pub(crate) fn busy(&self) -> usize {
        MAX_WAITING - self.places.available_permits()
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic ends one operation, not the thread; whoever waits for it sees its channel closed.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_more_than_it_has_threads_and_survives_panics() {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.run(|| -> u32 { panic!("on purpose") }).await, None);
        let all = (0..200_u64).map(|number| pool.run(move || number * 2));
        let mut sum = 0;
        for one in all {
            sum += one.await.unwrap();
        }
        assert_eq!((sum, pool.busy()), (199 * 200, 0));
    }

    #[tokio::test]
    async fn a_cancelled_caller_gives_its_place_back() {
        let pool = Pool::new(1).unwrap();
        let (go, wait) = channel::<()>();
        let slow = pool.run(move || wait.recv());
        tokio::select! {
            biased;
            _ = slow => panic!("nobody told it to go on"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(pool.busy(), 1);
        drop(go);
        assert_eq!(pool.run(|| 7).await, Some(7));
        assert_eq!(pool.busy(), 0);
    }
}
