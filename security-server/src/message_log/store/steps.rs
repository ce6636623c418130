//! How long each step of a commit takes, and the file work beside it: a stall of some hundred milliseconds is seen by name.
use std::time::{Duration, Instant};

/// A step that took longer is told.
const LONG: Duration = Duration::from_millis(100);

/// What may make messages wait, or the disk busy while they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A batch is written, with zeros ahead.
    Write,
    /// It is synced.
    Sync,
    /// It is synced, and the batch before it is not.
    Order,
    /// The index, far behind, lets the writer wait.
    Index,
    /// The segment is sealed and the next one begun.
    Roll,
    /// The next segment's file is made, beside the commits.
    Spare,
    /// The rest of a full one is given back, beside the commits.
    Cut,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Order => "order",
            Self::Index => "index",
            Self::Roll => "roll",
            Self::Spare => "spare",
            Self::Cut => "cut",
        }
    }

    /// Does the step.
    pub(super) fn timed<T>(self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.took(began.elapsed());
        done
    }

    /// The step was done.
    pub(super) fn took(self, time: Duration) {
        let step = self.name();
        metrics::histogram!("causeway_message_log_step_seconds", "step" => step).record(time.as_secs_f64());
        if time >= LONG {
            tracing::debug!(
                step,
                milliseconds = time.as_millis() as u64,
                "a step of the message log took long"
            );
        }
    }
}
