//! Long work that nobody waits for, on threads of low priority.
//!
//! What takes seconds of a core, such as reading a large configuration, would take them from requests that wait. On a thread of its own
//! with a niceness it gets what they leave. Such a thread must hold no lock for long that others need: they would wait for a thread that
//! gets no time. Threads are made for each piece of work, since Linux lets an unprivileged thread lower its priority and never raise it.

use std::io;

/// Of 0, the priority of requests, to 19: about a tenth of a core that is wanted by one other thread.
pub const NICENESS: i32 = 10;

/// Runs `task` on a thread called `name`, with [`NICENESS`].
///
/// # Errors
/// No thread, or the task panicked.
pub async fn run<T: Send + 'static>(name: &str, task: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (answer, done) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        lower_priority();
        // It fails when nobody waits any more.
        let _ = answer.send(task());
    })?;
    done.await.map_err(|_| io::Error::other("a task has broken off"))
}

/// Gives the thread at hand, and no other, [`NICENESS`] for the rest of its life.
pub fn lower_priority() {
    // Where it is refused the work is only less polite.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_has_a_low_priority_and_the_others_keep_theirs() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        assert_eq!(run("test", niceness).await.unwrap(), NICENESS.max(before));
        assert_eq!(niceness(), before);
        let broken = run("test", || -> u8 { panic!("on purpose") }).await;
        assert!(broken.is_err());
    }
}
