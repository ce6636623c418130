//! When a batch should let others go first: the rule that the message log's commits and the signatures share.
//!
//! A batcher without timers takes what waits when it is free. Where its own step is quick and cores are short, it is free too often: it
//! comes back before those who are about to bring something had a core to do so, and the batches stay small. So a batch that is not alone
//! yields once more for as long as that brought something, a few times at most. Where cores are idle, yielding returns at once; and one
//! that is alone, as always on an idle server, never yields.

/// Most times that a batch lets others go first.
const MAX_YIELDS: u32 = 16;

/// Of one batch: whether to yield before it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Company {
    /// Yields in a row that may bring nobody.
    patience: u32,
    /// The batch before this one had more than one.
    before: bool,
    yields: u32,
    /// How many there were at the last yield.
    had: usize,
    /// Yields since somebody came.
    fruitless: u32,
}

impl Default for Company {
    fn default() -> Self {
        Self { patience: 1, before: false, yields: 0, had: 0, fruitless: 0 }
    }
}

impl Company {
    /// Goes on until so many yields in a row have brought nobody.
    pub(crate) fn with_patience(self, patience: u32) -> Self {
        Self { patience, ..self }
    }

    /// Whether to yield now that the batch has `taken`.
    pub(crate) fn may_bring_more(&mut self, taken: usize) -> bool {
        let in_company = self.before || taken > 1;
        self.fruitless = if self.yields > 0 && taken == self.had { self.fruitless + 1 } else { 0 };
        if !in_company || self.fruitless >= self.patience || self.yields >= MAX_YIELDS {
            return false;
        }
        (self.yields, self.had) = (self.yields + 1, taken);
        true
    }

    /// For the batch after one of `taken`.
    pub(crate) fn after(self, taken: usize) -> Self {
        Self { before: taken > 1, patience: self.patience, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_alone_never_waits_and_company_waits_while_it_grows() {
        let mut idle = Company::default();
        for _ in 0..3 {
            assert!(!idle.may_bring_more(1));
            idle = idle.after(1);
        }
        let mut load = Company::default();
        assert!(load.may_bring_more(2), "it is not alone");
        assert!(load.may_bring_more(5), "yielding brought three");
        assert!(!load.may_bring_more(5), "yielding brought nobody");
        let mut next = load.after(5);
        assert!(next.may_bring_more(1), "there was company the last time");
        assert!(!next.may_bring_more(1));
        let mut patient = Company::default().with_patience(2);
        let asked = [2, 2, 2, 3, 3].map(|taken| patient.may_bring_more(taken));
        assert_eq!(asked, [true, true, false, true, true], "two yields in a row may bring nobody");
        let mut growing = Company::default();
        let yields = (2..).take_while(|taken| growing.may_bring_more(*taken)).count();
        assert_eq!(yields as u32, MAX_YIELDS, "however it grows");
    }
}
