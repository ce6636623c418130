//! Batches that are written and being synced: more than one at a time, answered in the order of the log.
//!
//! Each hand of the writer ([`super::writer`]) syncs its own batch through its own handle of the file, which hears of every error of
//! the file whoever met it first. A batch is answered once its own sync and those of all batches before it have returned, since its
//! records carry on the chain of theirs; after a failed one nothing is, until the writer has fallen back to what was synced.
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::index::{Added, Commit, Index};
use super::recovery::Tail;
use super::segment::Writable;
use super::steps::Step;
use super::writer::{Answer, Shared, lock};
use crate::message_log::{LogError, RecordId};

/// Commits of a batch: who is answered once it is on the disk, and what the index hears of them.
#[derive(Debug, Default)]
pub(super) struct Commits {
    records: Vec<(Answer<RecordId>, RecordId)>,
    stamps: Vec<Answer<()>>,
    added: Vec<Added>,
    /// Heads of its records.
    pub(super) heads: Vec<u8>,
}

impl Commits {
    pub(super) fn len(&self) -> usize {
        self.added.len()
    }

    pub(super) fn record(&mut self, answer: Answer<RecordId>, id: RecordId, added: Added) {
        self.records.push((answer, id));
        self.added.push(added);
    }

    pub(super) fn stamp(&mut self, answer: Answer<()>, added: Added) {
        self.stamps.push(answer);
        self.added.push(added);
    }

    /// All of them; what is left has room for as many, since lists that grow are copied again and again.
    pub(super) fn take(&mut self) -> Self {
        let room = Self {
            records: Vec::with_capacity(self.records.len()),
            stamps: Vec::new(),
            added: Vec::with_capacity(self.added.len()),
            heads: Vec::with_capacity(self.heads.len()),
        };
        std::mem::replace(self, room)
    }

    /// Nobody's request of these is done.
    pub(super) fn refuse(self, reason: &LogError) {
        self.records.into_iter().for_each(|(answer, _)| drop(answer.send(Err(reason.clone()))));
        self.stamps.into_iter().for_each(|answer| drop(answer.send(Err(reason.clone()))));
    }
}

/// A batch in the file, not yet on the disk.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) commits: Commits,
    /// Where the log ends with it.
    pub(super) tail: Tail,
    pub(super) began: Instant,
}

/// A batch whose sync is due.
#[derive(Debug)]
pub(super) struct Departure {
    number: u64,
    flights: Arc<Flights>,
    file: Arc<Writable>,
}

impl Departure {
    /// Syncs, and answers whoever can be answered then.
    pub(super) fn land(self) {
        let began = Instant::now();
        let synced = Step::Sync.timed(|| self.file.sync());
        self.flights.landed(self.number, synced, began.elapsed());
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Flights {
    shared: Arc<Shared>,
    state: Mutex<State>,
    empty: Condvar,
}

/// The outcome of a sync, and when that was.
type Synced = (bool, Instant);

#[derive(Debug)]
struct State {
    /// `None` once the log is closed.
    index: Option<Index>,
    /// In the order of the log.
    air: VecDeque<(u64, Flight, Option<Synced>)>,
    next: u64,
    /// Where the log ends, as far as everything before is synced.
    synced: Tail,
    failed: Option<String>,
    /// One was refused, and so are all behind it.
    broken: bool,
    /// How long the last sync took.
    sync: Duration,
}

impl Flights {
    pub(super) fn new(shared: Arc<Shared>, index: Index, synced: Tail) -> Self {
        *lock(&shared.tail) = Some(synced.clone());
        let air = VecDeque::new();
        let state = State {
            index: Some(index),
            air,
            next: 0,
            synced,
            failed: None,
            broken: false,
            sync: Duration::ZERO,
        };
        Self { shared, state: Mutex::new(state), empty: Condvar::new() }
    }

    /// Takes a batch that was written; `None` when it is refused, because the disk has failed.
    pub(super) fn depart(self: &Arc<Self>, flight: Flight, file: Arc<Writable>) -> Option<Departure> {
        let mut state = lock(&self.state);
        if let Some(reason) = &state.failed {
            flight.commits.refuse(&LogError::Disk(reason.clone()));
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.air.push_back((number, flight, None));
        Some(Departure { number, flights: self.clone(), file })
    }

    fn landed(&self, number: u64, synced: io::Result<()>, took: Duration) {
        let mut state = lock(&self.state);
        state.sync = took;
        if let Err(error) = &synced {
            let reason = error.to_string();
            self.shared.fail(&reason);
            state.failed.get_or_insert(reason);
        }
        if let Some((_, _, outcome)) = state.air.iter_mut().find(|(known, ..)| *known == number) {
            *outcome = Some((synced.is_ok(), Instant::now()));
        }
        while let Some((well, synced)) = state.air.front().and_then(|(.., outcome)| *outcome) {
            let Some((_, flight, _)) = state.air.pop_front() else { break };
            state.broken |= !well;
            if state.broken {
                let reason = LogError::Disk(state.failed.clone().unwrap_or_default());
                flight.commits.refuse(&reason);
                continue;
            }
            Step::Order.took(synced.elapsed());
            state.synced = flight.tail.clone();
            *lock(&self.shared.tail) = Some(flight.tail.clone());
            answer(flight, state.index.as_ref());
        }
        if state.air.is_empty() {
            self.empty.notify_all();
        }
    }

    /// Commits that are under way, and how long the last sync took.
    pub(super) fn under_way(&self) -> (usize, Duration) {
        let state = lock(&self.state);
        (state.air.iter().map(|(_, flight, _)| flight.commits.len()).sum(), state.sync)
    }

    /// Has a batch of `commits` wait until what is under way has landed, unless it has `enough` and is not the smaller one; `false` when
    /// it did not wait.
    pub(super) fn wait_behind_larger(&self, commits: usize, enough: usize) -> bool {
        let state = lock(&self.state);
        let under_way: usize = state.air.iter().map(|(_, flight, _)| flight.commits.len()).sum();
        if under_way == 0 || (commits >= enough && commits >= under_way) {
            return false;
        }
        let landed = self.empty.wait_while(state, |state| !state.air.is_empty());
        drop(landed.unwrap_or_else(PoisonError::into_inner));
        true
    }

    /// Whether the disk has failed since [`Self::settle`].
    pub(super) fn failed(&self) -> bool {
        lock(&self.state).failed.is_some()
    }

    /// Waits for all that are on their way; up to where the log is synced then, and why not further. What failed is forgotten: the
    /// caller falls back to there.
    pub(super) fn settle(&self) -> (Tail, Option<String>) {
        let settled = self.empty.wait_while(lock(&self.state), |state| !state.air.is_empty());
        let mut state = settled.unwrap_or_else(PoisonError::into_inner);
        state.broken = false;
        (state.synced.clone(), state.failed.take())
    }

    /// The log goes on from here, in a new segment; nothing is on its way.
    pub(super) fn begin(&self, tail: Tail) {
        *lock(&self.shared.tail) = Some(tail.clone());
        lock(&self.state).synced = tail;
    }

    /// Has the index closed, after everything was settled.
    pub(super) fn close(&self) {
        let index = lock(&self.state).index.take();
        if let Some(index) = index {
            index.close();
        }
    }
}

fn answer(flight: Flight, index: Option<&Index>) {
    let (took, commits) = (flight.began.elapsed(), flight.commits.len());
    let Commits { records, stamps, added, heads } = flight.commits;
    // The index hears first, so that whoever was answered can wait for the index.
    if let Some(index) = index {
        let commit = Commit { added, heads, tail: Some(flight.tail) };
        Step::Index.timed(|| index.tell(commit));
    }
    // A receiver that is gone is an exchange that was given up; its record stays.
    records.into_iter().for_each(|(answer, id)| drop(answer.send(Ok(id))));
    stamps.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
    metrics::counter!("causeway_message_log_fsync_total").increment(1);
    metrics::histogram!("causeway_message_log_commit_seconds").record(took.as_secs_f64());
    metrics::histogram!("causeway_message_log_batch_records").record(commits as f64);
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::faults::Faults;
    use super::super::format::Chain;
    use super::*;

    fn tail(end: u64) -> Tail {
        Tail { segment: 1, end, chain: Chain::default(), next_sequence: end }
    }

    type Waiter = oneshot::Receiver<Result<RecordId, LogError>>;

    /// Batches of one record each, which end at 1, 2 and so on.
    fn depart(flights: &Arc<Flights>, count: u64) -> Vec<Waiter> {
        let dir = tempfile::tempdir().unwrap();
        let file = Writable::create(dir.path(), 1, 7, 1 << 16, Faults::default()).unwrap();
        let file = Arc::new(file);
        let each = (1..=count).map(|number| {
            let (answer, waiter) = oneshot::channel();
            let place = super::super::index::Place { segment: 1, offset: 64 };
            let stamp = Added::Stamp { place, head: Box::default() };
            let mut commits = Commits::default();
            commits.record(answer, RecordId(number), stamp);
            let flight = Flight { commits, tail: tail(number), began: Instant::now() };
            let _ = flights.depart(flight, file.clone());
            waiter
        });
        each.collect()
    }

    /// What each waiter was told so far: well, refused, nothing.
    fn told(waiters: &mut [Waiter]) -> String {
        let of = |waiter: &mut Waiter| match waiter.try_recv() {
            Ok(Ok(_)) => 'w',
            Ok(Err(_)) => 'r',
            Err(_) => '-',
        };
        waiters.iter_mut().map(of).collect()
    }

    /// Which sync returns in which order, and whether well; what each waiter is newly told after each; how many batches are synced.
    type Case = (&'static [(u64, bool)], &'static [&'static str], u64);

    #[test]
    fn answers_come_in_order_and_nothing_behind_a_failed_sync_is_acknowledged() {
        let cases: [Case; 5] = [
            (&[(0, true), (1, true), (2, true)], &["w--", "-w-", "--w"], 3),
            (&[(2, true), (1, true), (0, true)], &["---", "---", "www"], 3),
            (&[(1, false), (2, true), (0, true)], &["---", "---", "wrr"], 1),
            (&[(0, false), (1, true), (2, true)], &["r--", "-r-", "--r"], 0),
            (&[(2, false), (0, true), (1, true)], &["---", "w--", "-wr"], 2),
        ];
        for (order, expected, synced) in cases {
            let air = VecDeque::new();
            let state = State {
                index: None,
                air,
                next: 0,
                synced: tail(0),
                failed: None,
                broken: false,
                sync: Duration::ZERO,
            };
            let shared = Arc::new(Shared::default());
            let flights =
                Arc::new(Flights { shared: shared.clone(), state: Mutex::new(state), empty: Condvar::new() });
            let mut waiters = depart(&flights, 3);
            for ((number, well), expected) in order.iter().zip(expected) {
                let result = if *well { Ok(()) } else { Err(io::Error::other("a test says so")) };
                flights.landed(*number, result, Duration::ZERO);
                assert_eq!(told(&mut waiters), *expected, "{order:?}");
            }
            let failed = order.iter().any(|(_, well)| !well);
            assert_eq!(shared.check().is_err(), failed, "{order:?}");
            assert_eq!(told(&mut depart(&flights, 1)) == "r", failed, "until it was settled nothing departs");
            if !failed {
                flights.landed(3, Ok(()), Duration::ZERO);
            }
            let (end, reason) = flights.settle();
            assert_eq!((end.end, reason.is_some()), (if failed { synced } else { 1 }, failed), "{order:?}");
            assert!(!flights.failed());
        }
    }
}
