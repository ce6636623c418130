//! When a batch should let others go first: the rule that the message log's commits and the signatures share.
//!
//! A batcher without timers takes what waits when it is free. Where its own step is quick and cores are short, it is free too often: it
//! comes back before those who are about to bring something had a core to do so, and the batches stay small. So a batch that is not alone
//! yields once more for as long as that brought something, a few times at most. Where cores are idle, yielding returns at once; and one
//! that is alone, as always on an idle server, never yields.

/// Most times that a batch lets others go first.
const MAX_YIELDS: u32 = 8;

/// Of one batch: whether to yield before it is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Company {
    /// The batch before this one had more than one.
    before: bool,
    yields: u32,
    /// How many there were at the last yield.
    had: usize,
}

impl Company {
    /// Whether to yield now that the batch has `taken`.
    pub(crate) fn may_bring_more(&mut self, taken: usize) -> bool {
        let in_company = self.before || taken > 1;
        let grows = self.yields == 0 || taken > self.had;
        if !in_company || !grows || self.yields >= MAX_YIELDS {
            return false;
        }
        (self.yields, self.had) = (self.yields + 1, taken);
        true
    }

    /// For the batch after one of `taken`.
    pub(crate) fn after(self, taken: usize) -> Self {
        Self { before: taken > 1, ..Self::default() }
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
        let mut growing = Company::default();
        let yields = (2..).take_while(|taken| growing.may_bring_more(*taken)).count();
        assert_eq!(yields as u32, MAX_YIELDS, "however it grows");
    }
}
