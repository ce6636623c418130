//! When a batch departs: the rules that decide how many commits share one sync. There is no timer in them.
//!
//! * What waits is taken, and a batch that has company lets whoever is ready to run go first ([`Company`]): where cores are short, those
//!   who are about to bring something come before the sync; where they are idle, yielding returns at once. It does so until a yield has
//!   brought nobody; in a crowd ([`CROWD`]), which soon brings somebody, until [`PATIENCE`] in a row have.
//! * While another batch is being synced, a batch of few ([`WORTH_A_SYNC`]), or one smaller than that one, waits for it: a sync costs the
//!   same for one commit as for fifty.
//! * Where very many wait ([`WORTH_HALVING`]) and making a batch takes about as long as syncing it, it takes half of them: one half is
//!   made while the other is synced. On a slow disk making is nothing beside a sync, and all go in one.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::flights::Flights;
use super::queue::Exit;
use crate::company::Company;

/// Commits for which a batch does not wait until the one before it is synced.
const WORTH_A_SYNC: usize = 16;
/// Commits from which on a batch takes half.
const WORTH_HALVING: usize = 64;
/// Making is worth overlapping with syncing when it takes this part of it.
const MAKING_PART: u32 = 4;
/// Commits known at a time that are a crowd. With fewer, what a yield costs (the core may be gone for milliseconds) is more than what
/// it brings.
const CROWD: usize = 12;
/// Yields in a row that may bring nobody, in a crowd.
const PATIENCE: u32 = 6;

/// What is remembered from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Habit {
    company: Company,
    /// All commits that were known when the last batch departed.
    crowd: usize,
    /// How long it took to make.
    making: Duration,
}

/// A batch that is being put together.
#[derive(Debug)]
pub(super) struct Gathering {
    taken: usize,
    company: Company,
    /// As it was at the beginning.
    anew: Company,
    /// Commits at which it is closed.
    enough: usize,
    began: Instant,
    /// For another batch, since then.
    waited: Duration,
}

impl Habit {
    /// Begins a batch; `waiting` requests are there.
    pub(super) fn begin(&self, flights: &Flights, waiting: usize) -> Gathering {
        let (under_way, sync) = flights.under_way();
        let crowd = self.crowd.max(under_way + waiting);
        let company = self.company.with_patience(if crowd >= CROWD { PATIENCE } else { 1 });
        let enough = half_of(crowd, self.making, sync);
        Gathering { taken: 0, company, anew: company, enough, began: Instant::now(), waited: Duration::ZERO }
    }

    /// The batch is closed with so many commits, and so many requests are left.
    pub(super) fn learn(&mut self, batch: &Gathering, flights: &Flights, commits: usize, left: usize) {
        self.company = batch.company.after(batch.taken);
        self.crowd = flights.under_way().0 + commits + left;
        self.making = batch.began.elapsed().saturating_sub(batch.waited);
    }
}

impl Gathering {
    /// One more was taken; whether the batch is to be closed now that it has so many commits.
    pub(super) fn took_one(&mut self, commits: usize, most: usize) -> bool {
        self.taken += 1;
        self.taken >= most || commits >= self.enough
    }

    /// Waits for the batch under way when this one is not worth a sync of its own; `false` when it did not.
    pub(super) fn waits(&mut self, flights: &Flights, commits: usize) -> bool {
        let began = Instant::now();
        if commits == 0 || !flights.wait_behind_larger(commits, WORTH_A_SYNC) {
            return false;
        }
        self.waited += began.elapsed();
        // Whoever was answered just now may bring the next thing.
        self.company = self.anew;
        true
    }

    /// Takes what waits to `ready`; when nothing does, what those bring who are ready to run.
    pub(super) fn brings_more<T>(&mut self, queue: &Exit<T>, ready: &mut VecDeque<T>) -> bool {
        loop {
            if queue.take(ready) {
                return true;
            }
            if !self.company.may_bring_more(self.taken) {
                return false;
            }
            std::thread::yield_now();
        }
    }
}

/// Commits at which a batch leaves what else there is to the next one.
fn half_of(all: usize, making: Duration, sync: Duration) -> usize {
    match all >= WORTH_HALVING && making * MAKING_PART >= sync {
        true => all / 2,
        false => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_made_of_many_and_where_making_takes_its_time() {
        let micros = Duration::from_micros;
        let cases = [
            (128, 300, 500, 64),
            (64, 300, 1200, 32),
            (63, 300, 500, usize::MAX),
            (128, 300, 1201, usize::MAX),
            (128, 300, 8000, usize::MAX),
        ];
        for (all, making, sync, expected) in cases {
            assert_eq!(half_of(all, micros(making), micros(sync)), expected, "{all} {making} {sync}");
        }
    }
}
