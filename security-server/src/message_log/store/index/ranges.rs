//! A set of record numbers as ranges: a million records that wait for a timestamp take as much memory as one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Disjoint ranges that do not touch, by their first number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    by_first: BTreeMap<u64, u64>,
    numbers: u64,
}

impl Ranges {
    /// How many numbers there are.
    pub(super) fn len(&self) -> u64 {
        self.numbers
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.by_first.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// The ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.by_first.iter().map(|(first, last)| (*first, *last))
    }

    /// Some number of `range` is in the set.
    pub(super) fn meets(&self, range: RangeInclusive<u64>) -> bool {
        self.by_first.range(..=*range.end()).next_back().is_some_and(|(_, last)| last >= range.start())
    }

    pub(super) fn insert(&mut self, mut first: u64, mut last: u64) {
        // New records come behind all others.
        if let Some(mut newest) = self.by_first.last_entry()
            && newest.get().checked_add(1) == Some(first)
        {
            self.numbers += last - first + 1;
            newest.insert(last);
            return;
        }
        self.remove(first, last);
        if let Some((before, end)) = self.by_first.range(..first).next_back().map(|(f, l)| (*f, *l))
            && end + 1 == first
        {
            self.take(before);
            first = before;
        }
        if let Some(end) = last.checked_add(1).and_then(|next| self.take(next)) {
            last = end;
        }
        self.put(first, last);
    }

    /// Takes `first` to `last` out; gives what of it was there, in order.
    pub(super) fn remove(&mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let from = self.by_first.range(..=first).next_back().map_or(first, |(first, _)| *first);
        let met: Vec<u64> = self.by_first.range(from..=last.max(from)).map(|(first, _)| *first).collect();
        let mut removed = Vec::new();
        for begin in met {
            let Some(end) = self.by_first.get(&begin).copied().filter(|end| *end >= first && begin <= last)
            else {
                continue;
            };
            self.take(begin);
            if begin < first {
                self.put(begin, first - 1);
            }
            if end > last {
                self.put(last + 1, end);
            }
            removed.push((begin.max(first), end.min(last)));
        }
        removed
    }

    fn put(&mut self, first: u64, last: u64) {
        self.by_first.insert(first, last);
        self.numbers += last - first + 1;
    }

    fn take(&mut self, first: u64) -> Option<u64> {
        let last = self.by_first.remove(&first)?;
        self.numbers -= last - first + 1;
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Against a plain set, over every short sequence of insertions and removals that a small generator gives.
    #[test]
    fn holds_what_a_set_of_numbers_holds() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
        for step in 0..5000 {
            let first = 1 + next(60);
            let last = first + next(12);
            if next(2) == 0 {
                ranges.insert(first, last);
                set.extend(first..=last);
            } else {
                let removed: Vec<u64> =
                    ranges.remove(first, last).into_iter().flat_map(|(f, l)| f..=l).collect();
                let expected: Vec<u64> = set.range(first..=last).copied().collect();
                assert_eq!(removed, expected, "step {step}");
                set.retain(|number| !(first..=last).contains(number));
            }
            let all: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
            assert_eq!(all, set.iter().copied().collect::<Vec<_>>(), "step {step}");
            assert_eq!(ranges.len(), set.len() as u64, "step {step}");
            assert_eq!(ranges.contains(first), set.contains(&first), "step {step}");
            assert_eq!(ranges.meets(first..=last), set.range(first..=last).next().is_some(), "step {step}");
            let touching =
                ranges.iter().zip(ranges.iter().skip(1)).any(|((_, last), (first, _))| last + 1 >= first);
            assert!(!touching, "step {step}: {ranges:?}");
        }
    }
}
