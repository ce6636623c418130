//! How long each step of a commit takes, and the file work beside it: a stall of some hundred milliseconds is seen by name.
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use metrics::Histogram;

/// A step that took longer is told.
const LONG: Duration = Duration::from_millis(100);

/// The histogram of each step, in the order of [`Step::ALL`]: looked up at the first commit, when the metrics of the process are there.
static SECONDS: LazyLock<[Histogram; Step::ALL.len()]> = LazyLock::new(|| {
    Step::ALL.map(|step| metrics::histogram!("causeway_message_log_step_seconds", "step" => step.name()))
});

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
    /// In the order of their declaration.
    const ALL: [Self; 7] =
        [Self::Write, Self::Sync, Self::Order, Self::Index, Self::Roll, Self::Spare, Self::Cut];

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
        SECONDS[self as usize].record(time.as_secs_f64());
        if time >= LONG {
            tracing::debug!(
                step = self.name(),
                milliseconds = time.as_millis() as u64,
                "a step of the message log took long"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_the_histogram_of_its_name() {
        for (place, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, place, "{}", step.name());
        }
    }
}
