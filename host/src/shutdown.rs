//! Stopping: one signal that every task sees, and a count of exchanges still under way.
//!
//! A server that is to start again in the same process ([`Shutdown::restart`]) stops in the same way; who runs it asks
//! [`Shutdown::restarting`], waits until nothing holds its parts any more ([`released`]), and opens them anew.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

/// Between looks whether a part is still held.
const LOOK: Duration = Duration::from_millis(10);

/// Held by every task; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stop: Arc<watch::Sender<bool>>,
    busy: Arc<watch::Sender<usize>>,
    again: Arc<AtomicBool>,
}

/// Counts one exchange until dropped.
#[derive(Debug)]
pub struct Busy(Arc<watch::Sender<usize>>);

impl Drop for Busy {
    fn drop(&mut self) {
        // Whoever waits has subscribed before it looked, so under the lock it is seen here.
        self.0.send_if_modified(|n| {
            *n -= 1;
            self.0.receiver_count() > 0
        });
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            stop: Arc::new(watch::Sender::new(false)),
            busy: Arc::new(watch::Sender::new(0)),
            again: Arc::default(),
        }
    }
}

impl Shutdown {
    /// Tells everybody to stop taking new work.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
    /// Tells everybody to stop, and who runs the server to start it again.
    pub fn restart(&self) {
        self.again.store(true, Ordering::Release);
        self.stop();
    }
    /// The server is to start again once it has stopped.
    pub fn restarting(&self) -> bool {
        self.again.load(Ordering::Acquire)
    }
    /// One of its own for one run of a server: it stops when this one does, and may be stopped alone.
    pub fn of_one_run(&self) -> Self {
        let (all, one) = (self.clone(), Self::default());
        let run = one.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = all.stopped() => run.stop(),
                () = run.stopped() => {}
            }
        });
        one
    }
    /// Was it said?
    pub fn stopping(&self) -> bool {
        *self.stop.borrow()
    }
    /// Waits until it is said.
    pub async fn stopped(&self) {
        let mut seen = self.stop.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = seen.wait_for(|stop| *stop).await;
    }
    /// Marks an exchange as under way.
    pub fn busy(&self) -> Busy {
        // Nobody waits for more.
        self.busy.send_if_modified(|n| {
            *n += 1;
            false
        });
        Busy(self.busy.clone())
    }
    /// Waits until nothing is under way, at most `limit`; `false` when something still is.
    pub async fn drained(&self, limit: Duration) -> bool {
        self.drained_but(0, limit).await
    }
    /// Waits until no more than `others` are under way, the caller's own for instance.
    pub async fn drained_but(&self, others: usize, limit: Duration) -> bool {
        let mut seen = self.busy.subscribe();
        tokio::time::timeout(limit, async move { seen.wait_for(|n| *n <= others).await.is_ok() })
            .await
            .unwrap_or(false)
    }
    /// [`Self::stop`] on SIGTERM or Ctrl-C.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            this.stop();
        });
        Ok(())
    }
}

/// Waits until nobody holds a part of a stopped server any more, at most `limit`; `false` when somebody still does.
pub async fn released<T: ?Sized>(part: Weak<T>, limit: Duration) -> bool {
    let gone = async {
        while part.strong_count() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(limit, gone).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_run_stops_with_the_process_or_alone() {
        let all = Shutdown::default();
        let (first, second) = (all.of_one_run(), all.of_one_run());
        first.restart();
        assert!(first.stopping() && first.restarting() && !second.stopping() && !all.stopping());
        all.stop();
        second.stopped().await;
        assert!(!second.restarting());
    }

    #[tokio::test]
    async fn the_one_who_waits_does_not_wait_for_itself() {
        let shutdown = Shutdown::default();
        let (_mine, other) = (shutdown.busy(), shutdown.busy());
        assert!(!shutdown.drained_but(1, Duration::ZERO).await);
        drop(other);
        assert!(shutdown.drained_but(1, LONG).await);
    }

    #[tokio::test]
    async fn a_part_is_released_by_its_last_holder() {
        let part = Arc::new(());
        assert!(!released(Arc::downgrade(&part), Duration::ZERO).await);
        let weak = Arc::downgrade(&part);
        drop(part);
        assert!(released(weak, LONG).await);
    }
}
