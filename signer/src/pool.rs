//! A few threads for private-key operations: an RSA signature takes up to a millisecond and must not hold up an async worker.
//!
//! As many threads as cores. At most [`MAX_WAITING`] operations wait or run; who comes later waits for a place without using a
//! thread. The threads end when the pool is dropped.
//!
//! They have less priority than what brings messages ([`NICENESS`]), and an operation asks what it is over when it begins: when the
//! cores are busy more messages gather for one signature, which is what makes room for them; on an idle machine nothing waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

/// Most operations that are in the pool at a time.
pub(crate) const MAX_WAITING: usize = 1024;

/// Added to the threads' niceness. A private key has one signature in flight, and the next is for all that came meanwhile.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The pool.
#[derive(Debug)]
pub(crate) struct Pool {
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
}

/// What waits for a thread. A job wakes one thread and no more, which a channel behind a lock would not do.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The pool was dropped.
    ended: bool,
}

impl Pool {
    /// With `threads` threads, at least one.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let pool = Self { queue: Arc::default(), places: Arc::new(Semaphore::new(MAX_WAITING)) };
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&pool.queue);
            std::thread::Builder::new().name(format!("signer-{number}")).spawn(move || work(&queue))?;
        }
        Ok(pool)
    }

    /// Runs `job` on one of the threads; `None` when it panicked.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // The semaphore is never closed while the pool is borrowed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let (answer, answered) = oneshot::channel();
        let job = move || {
            let made = job();
            drop(place);
            // It fails when nobody waits any more: the caller was cancelled.
            let _ = answer.send(made);
        };
        self.queue.lock().jobs.push_back(Box::new(job));
        self.queue.more.notify_one();
        answered.await.ok()
    }

    /// How many operations wait or run.
    pub(crate) fn busy(&self) -> usize {
        MAX_WAITING - self.places.available_permits()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.more.notify_all();
    }
}

impl Queue {
    /// No job runs while the lock is held, so nothing can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let idle = |state: &mut State| state.jobs.is_empty() && !state.ended;
        let mut state = self.more.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        state.jobs.pop_front()
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.lock().jobs.len()).finish_non_exhaustive()
    }
}

fn work(queue: &Queue) {
    host::background::lower_priority(NICENESS);
    while let Some(job) = queue.next() {
        // A panic ends one operation, not the thread; whoever waits for it sees its channel closed.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

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
    async fn threads_give_way_to_what_brings_messages_and_the_others_keep_their_priority() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let pool = Pool::new(1).unwrap();
        assert_eq!(pool.run(niceness).await, Some((before + NICENESS).min(host::background::LEAST)));
        assert_eq!(niceness(), before);
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
