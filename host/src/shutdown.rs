//! Stopping: one signal that every task sees, and a count of exchanges still under way.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Held by every task; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stop: Arc<watch::Sender<bool>>,
    busy: Arc<watch::Sender<usize>>,
}

/// Counts one exchange until dropped.
#[derive(Debug)]
pub struct Busy(Arc<watch::Sender<usize>>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { stop: Arc::new(watch::Sender::new(false)), busy: Arc::new(watch::Sender::new(0)) }
    }
}

impl Shutdown {
    /// Tells everybody to stop taking new work.
    pub fn stop(&self) {
        self.stop.send_replace(true);
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
        self.busy.send_modify(|n| *n += 1);
        Busy(self.busy.clone())
    }
    /// Waits until nothing is under way, at most `limit`; `false` when something still is.
    pub async fn drained(&self, limit: Duration) -> bool {
        let mut seen = self.busy.subscribe();
        tokio::time::timeout(limit, async move { seen.wait_for(|n| *n == 0).await.is_ok() })
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
