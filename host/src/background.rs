//! Long work that nobody waits for, on threads of low priority.
//!
//! What takes seconds of a core, such as reading a large configuration, would take them from requests that wait. On a thread of its own
//! with a niceness it gets what they leave. Such a thread must hold no lock for long that others need: they would wait for a thread that
//! gets no time. Threads are made for each piece of work, since Linux lets an unprivileged thread lower its priority and never raise it.
//!
//! Low priority is not enough where requests need most of all cores: what runs when they wait for a disk or a peer still takes caches and
//! memory from them, and each of its syncs is one that theirs wait for. So the longest work also keeps to a [`Pace`].

use std::io::{self, Read};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What a server's own long work adds to the niceness of requests: about a tenth of a core that is wanted by one other thread.
pub const NICENESS: i32 = 10;
/// The least priority there is.
pub const LEAST: i32 = 19;

/// Work between two looks at the clock.
const SLICE: Duration = Duration::from_millis(4);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause after a sync: on a slow disk a peer's patience ends sooner than a file.
const MAX_DISK_PAUSE: Duration = Duration::from_millis(50);

/// Keeps one piece of work to a share of one core and of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Per cent; `None` never pauses.
    share: Option<u32>,
    since: Instant,
    /// What the thread had worked by then.
    worked: Duration,
}

impl Pace {
    /// So many per cent, 1 to 100.
    pub fn of(percent: u32) -> Self {
        Self { share: Some(percent.clamp(1, 100)), since: Instant::now(), worked: cpu_time() }
    }

    /// For work that somebody waits for.
    pub fn hurried() -> Self {
        Self { share: None, ..Self::of(100) }
    }

    /// After each step of some milliseconds on the thread at hand: pauses when it is time to. What the thread has waited for counts as a
    /// pause.
    pub fn step(&mut self) {
        let Some(share) = self.share else { return };
        let elapsed = self.since.elapsed();
        if elapsed < SLICE {
            return;
        }
        let worked = cpu_time().saturating_sub(self.worked);
        std::thread::sleep(pause(worked, elapsed, share));
        *self = Self::of(share);
    }

    /// Makes the disk write, and then leaves it to others.
    ///
    /// # Errors
    /// Those of `sync`.
    pub fn sync<E>(&mut self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let began = Instant::now();
        sync()?;
        if let Some(share) = self.share {
            let took = began.elapsed();
            std::thread::sleep(pause(took, took, share).min(MAX_DISK_PAUSE));
        }
        Ok(())
    }
}

/// What is read by work that keeps to a pace: each read is a step.
#[derive(Debug)]
pub struct Paced<R> {
    input: R,
    pace: Pace,
}

impl<R: Read> Paced<R> {
    /// Reads from `input`.
    pub fn new(input: R, pace: Pace) -> Self {
        Self { input, pace }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.pace.step();
        self.input.read(room)
    }
}

/// What is left to pause after `worked` within `elapsed`.
fn pause(worked: Duration, elapsed: Duration, share: u32) -> Duration {
    (worked * 100 / share).saturating_sub(elapsed).min(MAX_PAUSE)
}

/// What this thread has worked.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// Why a piece of work has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// The system is out of threads.
    #[error("a thread for {name} was refused: {source}")]
    NoThread {
        /// What it was to be called.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It panicked.
    #[error("the thread {name} has broken off")]
    BrokenOff {
        /// The thread.
        name: String,
    },
}

/// Runs `task` on a thread called `name`, with so much more niceness than the one at hand.
///
/// # Errors
/// No thread, or the task panicked.
pub async fn run<T: Send + 'static>(
    name: &str,
    niceness: i32,
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BackgroundError> {
    let (answer, done) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        lower_priority(niceness);
        // It fails when nobody waits any more.
        let _ = answer.send(task());
    });
    thread.map_err(|source| BackgroundError::NoThread { name: name.to_owned(), source })?;
    done.await.map_err(|_| BackgroundError::BrokenOff { name: name.to_owned() })
}

/// Adds to the niceness of the thread at hand, and of no other, for the rest of its life.
pub fn lower_priority(niceness: i32) {
    if niceness <= 0 {
        return;
    }
    // Where it is refused the work is only less polite.
    if let Ok(usual) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, (usual + niceness).min(LEAST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_as_long_as_the_share_says_and_no_longer() {
        let ms = Duration::from_millis;
        let cases = [
            ("a quarter", (8, 8), 25, 24),
            ("a half", (8, 8), 50, 8),
            ("it had to wait for most of that", (8, 30), 25, 2),
            ("it had to wait for longer", (8, 40), 25, 0),
            ("all of it", (8, 8), 100, 0),
            ("a long step", (900, 900), 1, 200),
        ];
        for (name, (worked, elapsed), share, expected) in cases {
            assert_eq!(pause(ms(worked), ms(elapsed), share), ms(expected), "{name}");
        }
        for mut pace in [Pace::of(0), Pace::of(1000), Pace::hurried()] {
            assert_eq!(pace.sync(|| Err("the disk")), Err("the disk"));
            pace.step();
            let mut text = String::new();
            Paced::new("as it is".as_bytes(), pace).read_to_string(&mut text).unwrap();
            assert_eq!(text, "as it is");
        }
    }

    #[test]
    fn the_kernel_tells_what_a_thread_has_worked() {
        let before = cpu_time();
        let mut number = 1_u64;
        while cpu_time() < before + Duration::from_millis(2) {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        let began = (cpu_time(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        assert!(cpu_time() - began.0 < began.1.elapsed(), "sleeping is no work");
    }

    #[tokio::test]
    async fn work_has_a_low_priority_and_the_others_keep_theirs() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        for more in [0, NICENESS, LEAST, 99] {
            assert_eq!(run("test", more, niceness).await.unwrap(), (before + more).min(LEAST));
        }
        assert_eq!(niceness(), before);
        let broken = run("test", 0, || -> u8 { panic!("on purpose") }).await;
        assert!(matches!(broken, Err(BackgroundError::BrokenOff { .. })));
    }
}
