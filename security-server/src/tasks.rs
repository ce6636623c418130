//! The tasks of a server, each with its name, so that one that ends before it should is told by it.

use std::future::Future;
use std::time::Duration;

use host::shutdown::Shutdown;
use tokio::task::{JoinError, JoinSet};

/// All tasks that run.
#[derive(Debug, Default)]
pub struct Tasks(JoinSet<&'static str>);

impl Tasks {
    /// Runs a task to its end.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// The next one that ends; `None` when there is none left.
    pub async fn ended(&mut self) -> Option<Result<&'static str, JoinError>> {
        self.0.join_next().await
    }

    /// Waits for all of them for so long, then ends those that are left.
    pub async fn finish(&mut self, limit: Duration) {
        let _ = tokio::time::timeout(limit, async { while self.0.join_next().await.is_some() {} }).await;
        self.0.shutdown().await;
    }
}

/// `true` when the server was told to stop meanwhile.
pub async fn pause(shutdown: &Shutdown, time: Duration) -> bool {
    tokio::time::timeout(time, shutdown.stopped()).await.is_ok()
}
