//! Work that nobody waits for: threads of low priority, and pauses while messages come.
//!
//! Archiving, the tree, retention and the making of timestamps' trees go on behind the exchanges and may take all the time they need; an
//! exchange may not wait for them. So each runs on a thread of its own with the niceness of `background-niceness`, and the long ones ask
//! [`Pace`] after each step: while messages come they use at most `background-share` of one core, and less where they had to wait for
//! it; an idle server lets them run.
//!
//! Archiving is what makes space. The nearer the log comes to the size that it may have, the more archiving gets: first it gives way
//! less and less, then its share grows ([`Haste::Pressed`]), so that under a load that stays it settles where it keeps up, and does not
//! rest and rush by turns. When the disk itself is short of space it runs as anything else does ([`Haste::Urgent`]).
//!
//! Threads and their priority are those of [`host::background`]. What holds a lock that the log's own threads need must be short: they
//! would wait for a thread that gets no time.

use std::time::{Duration, Instant};

use host::background::{self, BackgroundError, cpu_time};

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
    /// So many per cent of the way to where it may not wait any longer: from 100 on it does not give way, at [`MOST_PRESSURE`] it
    /// does not pause.
    Pressed(u8),
    /// Exchanges will be refused if it is not done.
    Urgent,
}

/// Of [`Haste::Pressed`].
pub(super) const MOST_PRESSURE: u8 = 200;

impl Haste {
    /// How a log of `bytes` presses that may have `most`: from half of it on, and in full at half as much again.
    pub(super) fn of_size(bytes: u64, most: u64) -> Self {
        let percent = u128::from(bytes) * 200 / u128::from(most.max(1));
        match percent.saturating_sub(100).min(u128::from(MOST_PRESSURE)) {
            0 => Self::Patient,
            pressure => Self::Pressed(pressure as u8),
        }
    }

    fn niceness(self, settings: BackgroundSettings) -> i32 {
        let niceness = i32::from(settings.niceness);
        match self {
            Self::Patient => niceness,
            Self::Pressed(pressure) => niceness * (100 - i32::from(pressure)).max(0) / 100,
            Self::Urgent => 0,
        }
    }

    /// Part of the time that is worked while messages come; 1 never pauses.
    fn share(self, settings: BackgroundSettings) -> f64 {
        let share = f64::from(settings.share) / 100.0;
        match self {
            Self::Patient => share,
            Self::Pressed(pressure) => {
                share + (1.0 - share) * f64::from(pressure.saturating_sub(100)) / 100.0
            }
            Self::Urgent => 1.0,
        }
    }
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
    let ran = background::run(name, haste.niceness(settings), task).await;
    ran.map_err(|error| match error {
        BackgroundError::NoThread { .. } => LogError::Disk(error.to_string()),
        BackgroundError::BrokenOff { .. } => LogError::Closed,
    })
}

/// Keeps one piece of work to its share.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    log: &'a MessageLog,
    share: f64,
    since: Instant,
    /// What the thread had worked by then, when space is short; otherwise waiting for a core counts as work.
    worked: Option<Duration>,
    records: u64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(log: &'a MessageLog, haste: Haste) -> Self {
        let share = haste.share(log.inner.settings.background);
        let worked = (haste != Haste::Patient).then(cpu_time);
        Self { log, share, since: Instant::now(), worked, records: log.records() }
    }

    /// After each step of some microseconds to milliseconds: pauses when it is time to.
    pub(super) fn step(&mut self) {
        let elapsed = self.since.elapsed();
        if elapsed < SLICE {
            return;
        }
        let (records, now) = (self.log.records(), self.worked.map(|_| cpu_time()));
        // Who presses and gave way for long enough need not pause as well.
        let worked = now.zip(self.worked).map_or(elapsed, |(now, before)| now.saturating_sub(before));
        if let Some(pause) = pause(worked, elapsed, records != self.records, self.share) {
            std::thread::sleep(pause);
        }
        *self = Self { since: Instant::now(), worked: now, records, ..*self };
    }
}

/// How long to pause after `worked` within `elapsed`.
fn pause(worked: Duration, elapsed: Duration, messages_come: bool, share: f64) -> Option<Duration> {
    let pause = worked.div_f64(share).saturating_sub(elapsed);
    (messages_come && share < 1.0 && !pause.is_zero()).then(|| pause.min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use host::background::LEAST;

    use super::*;

    #[tokio::test]
    async fn patient_work_has_the_niceness_that_was_set_and_urgent_work_that_of_messages() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let settings = BackgroundSettings { niceness: 19, share: 50 };
        assert_eq!(run("test", settings, Haste::Patient, niceness).await, Ok(LEAST));
        assert_eq!(run("test", settings, Haste::Pressed(60), niceness).await, Ok((before + 7).min(LEAST)));
        assert_eq!(run("test", settings, Haste::Pressed(100), niceness).await, Ok(before));
        assert_eq!(run("test", settings, Haste::Urgent, niceness).await, Ok(before));
        assert_eq!(niceness(), before, "other threads keep theirs");
        let panicked = run("test", settings, Haste::Patient, || -> u8 { panic!("on purpose") }).await;
        assert_eq!(panicked, Err(LogError::Closed));
    }

    #[test]
    fn pauses_only_while_messages_come_and_no_longer_than_the_share_says() {
        let ms = Duration::from_millis;
        let cases = [
            ("nobody comes", (8, 8), false, 0.25, None),
            ("a quarter", (8, 8), true, 0.25, Some(ms(24))),
            ("a half", (8, 8), true, 0.5, Some(ms(8))),
            ("it had to wait for most of that", (8, 30), true, 0.25, Some(ms(2))),
            ("it had to wait for longer", (8, 40), true, 0.25, None),
            ("all of it", (8, 8), true, 1.0, None),
            ("a long step", (900, 900), true, 0.01, Some(MAX_PAUSE)),
        ];
        for (name, (worked, elapsed), come, share, expected) in cases {
            assert_eq!(pause(ms(worked), ms(elapsed), come, share), expected, "{name}");
        }
    }

    #[test]
    fn a_growing_log_presses_without_a_step() {
        let settings = BackgroundSettings { niceness: 15, share: 25 };
        let mut before = (15, 0.25);
        for bytes in 0..=2000_u64 {
            let haste = Haste::of_size(bytes, 1000);
            let now = (haste.niceness(settings), haste.share(settings));
            assert!(before.0 - now.0 <= 1 && now.0 <= before.0, "{bytes}: {before:?} {now:?}");
            assert!(now.1 - before.1 < 0.01 && now.1 >= before.1, "{bytes}: {before:?} {now:?}");
            match bytes {
                0..505 => assert_eq!(haste, Haste::Patient),
                1000 => assert_eq!(now, (0, 0.25), "at its size it does not give way"),
                1500.. => assert_eq!(now, (0, 1.0)),
                _ => {}
            }
            before = now;
        }
        assert_eq!(Haste::of_size(u64::MAX, 0), Haste::Pressed(MOST_PRESSURE));
    }
}
