//! Long work that nobody waits for, on threads of low priority.
//!
//! What takes seconds of a core, such as reading a large configuration, would take them from requests that wait. On a thread of its own
//! with a niceness it gets what they leave. Such a thread must hold no lock for long that others need: they would wait for a thread that
//! gets no time. Threads are made for each piece of work, since Linux lets an unprivileged thread lower its priority and never raise it.

use std::io;

/// What a server's own long work adds to the niceness of requests: about a tenth of a core that is wanted by one other thread.
pub const NICENESS: i32 = 10;
/// The least priority there is.
pub const LEAST: i32 = 19;

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
