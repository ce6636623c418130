//! Work that nobody waits for: threads of low priority, and pauses while messages come.
//!
//! Archiving, the tree, retention and the making of timestamps' trees go on behind the exchanges and may take all the time they need; an
//! exchange may not wait for them. So each runs on a thread of its own with the niceness of `background-niceness`, and the long ones ask
//! [`Pace`] after each step: while messages come they use at most `background-share` of one core; an idle server lets them run.
//!
//! When space is short, archiving is what makes some, and runs as anything else does ([`Haste::Urgent`]).
//!
//! Threads are made for each piece of work, since Linux lets an unprivileged thread lower its priority and never raise it again. What
//! holds a lock that the log's own threads need must be short: they would wait for a thread that gets no time.
use std::time::{Duration, Instant};

use super::{LogError, MessageLog};

/// Work between two looks at the messages that come.
const SLICE: Duration = Duration::from_millis(5);
/// Longest pause, so that the end of the server is noticed.
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackgroundSettings {
    /// 0 is the priority of messages, 19 the least there is.
    pub niceness: u8,
    /// Per cent of one core while messages come, 1 to 100.
    pub share: u8,
}

/// Whether work may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Exchanges come first.
    Patient,
    /// Exchanges will be refused if it is not done.
    Urgent,
}

/// Runs `task` on a thread of its own.
///
/// # Errors
/// No thread, or the task panicked.
pub(super) async fn run<T: Send + 'static>(
    name: &str,
    settings: BackgroundSettings,
    haste: Haste,
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LogError> {
    let (answer, done) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if haste == Haste::Patient {
            // Of this thread alone. Where it is refused the work is only less polite.
            let _ = rustix::process::setpriority_process(None, i32::from(settings.niceness));
        }
        // It fails when nobody waits any more.
        let _ = answer.send(task());
    });
    thread.map_err(|e| LogError::Disk(format!("a thread for {name} was refused: {e}")))?;
    done.await.map_err(|_| LogError::Closed)
}

/// Keeps one piece of work to its share.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    log: &'a MessageLog,
    /// Part of the time that is worked while messages come; 1 never pauses.
    share: f64,
    since: Instant,
    records: u64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(log: &'a MessageLog, haste: Haste) -> Self {
        let share = match haste {
            Haste::Patient => f64::from(log.inner.settings.background.share) / 100.0,
            Haste::Urgent => 1.0,
        };
        Self { log, share, since: Instant::now(), records: log.records() }
    }

    /// After each step of some microseconds to milliseconds: pauses when it is time to.
    pub(super) fn step(&mut self) {
        let worked = self.since.elapsed();
        if worked < SLICE {
            return;
        }
        let records = self.log.records();
        if let Some(pause) = pause(worked, records != self.records, self.share) {
            std::thread::sleep(pause);
        }
        (self.since, self.records) = (Instant::now(), records);
    }
}

/// How long to pause after `worked`.
fn pause(worked: Duration, messages_come: bool, share: f64) -> Option<Duration> {
    let pause = worked.mul_f64((1.0 - share).max(0.0) / share);
    (messages_come && !pause.is_zero()).then(|| pause.min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patient_work_has_the_niceness_that_was_set_and_urgent_work_that_of_messages() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let settings = BackgroundSettings { niceness: 19, share: 50 };
        assert_eq!(run("test", settings, Haste::Patient, niceness).await, Ok(19));
        assert_eq!(run("test", settings, Haste::Urgent, niceness).await, Ok(before));
        assert_eq!(niceness(), before, "other threads keep theirs");
        let panicked = run("test", settings, Haste::Patient, || -> u8 { panic!("on purpose") }).await;
        assert_eq!(panicked, Err(LogError::Closed));
    }

    #[test]
    fn pauses_only_while_messages_come_and_no_longer_than_the_share_says() {
        let ms = Duration::from_millis;
        let cases = [
            ("nobody comes", ms(8), false, 0.25, None),
            ("a quarter", ms(8), true, 0.25, Some(ms(24))),
            ("a half", ms(8), true, 0.5, Some(ms(8))),
            ("all of it", ms(8), true, 1.0, None),
            ("a long step", ms(900), true, 0.01, Some(MAX_PAUSE)),
        ];
        for (name, worked, come, share, expected) in cases {
            assert_eq!(pause(worked, come, share), expected, "{name}");
        }
    }
}
