//! What is known of the newest records, by their numbers: they come in order, so a list does.

/// Values by number, ascending.
#[derive(Debug)]
pub(super) struct ByNumber<T>(Vec<(u64, T)>);

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByNumber<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a value, or replaces that of the number.
    pub(super) fn insert(&mut self, number: u64, value: T) {
        if self.0.last().is_none_or(|(last, _)| *last < number) {
            return self.0.push((number, value));
        }
        match self.at(number) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (number, value)),
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        self.at(number).ok().map(|at| &self.0[at].1)
    }

    /// All from `first` on.
    pub(super) fn from(&self, first: u64) -> &[(u64, T)] {
        &self.0[self.at(first).unwrap_or_else(|at| at)..]
    }

    fn at(&self, number: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |(known, _)| *known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_whatever_order_they_came() {
        let mut known = ByNumber::default();
        for number in [5, 6, 9, 2, 7, 6, 10] {
            known.insert(number, number * 10);
        }
        known.insert(9, 1);
        let numbers: Vec<_> = known.from(0).to_vec();
        assert_eq!(numbers, [(2, 20), (5, 50), (6, 60), (7, 70), (9, 1), (10, 100)]);
        assert_eq!((known.len(), known.get(7), known.get(8)), (6, Some(&70), None));
        assert_eq!((known.from(8), known.from(11)), (&[(9, 1), (10, 100)][..], &[][..]));
    }
}
