//! Conformance vectors: bytes of the real product, read where they lie and never copied into the repository.
//!
//! [`dir`] finds the folder: `CAUSEWAY_VECTORS`, else `../shared/vectors` beside the repository. One folder per area, each with an
//! `expected.json` that [`expected`] reads. A test walks *every* entry with a verdict and books it in a [`Tally`], which prints
//!
//! ```text
//! vectors ocsp: 12 cases, 11 passed, 1 not applicable (1 needs a token)
//! ```
//!
//! and fails the test when a case failed, or when there was none. Lines go to standard error past the test runner's capture, so
//! that a run shows them: a run without vectors says which areas it skipped, and is no evidence. `.ci/run` makes its table of them.
//!
//! When `CAUSEWAY_VECTORS` is set but names no folder, tests fail: whoever set it wanted the vectors.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::say;

/// Names the folder of the vectors.
pub const VARIABLE: &str = "CAUSEWAY_VECTORS";

/// The folder of the vectors, if it is there.
///
/// # Panics
/// `CAUSEWAY_VECTORS` is set to something that is no folder.
pub fn dir() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(set) => {
            let set = PathBuf::from(set);
            assert!(set.is_dir(), "{VARIABLE} is set to {}, which is no folder", set.display());
            Some(set)
        }
        None => {
            let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
            beside.canonicalize().ok().filter(|dir| dir.is_dir())
        }
    }
}

/// The folder of one area and its `expected.json`; `None`, and a line that says so, when there are no vectors at all.
///
/// `area` may go deeper: `captures/rest`.
///
/// # Panics
/// The vectors are there, but this file is not, or is not JSON.
pub fn area(area: &str) -> Option<(PathBuf, Value)> {
    let Some(dir) = dir() else {
        say(&format!("vectors {area}: skipped, no vectors found: set {VARIABLE}"));
        return None;
    };
    let folder = dir.join(area);
    let file = folder.join("expected.json");
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Some((folder, value))
}

/// `expected.json` of one area; see [`area`].
pub fn expected(name: &str) -> Option<Value> {
    area(name).map(|(_, value)| value)
}

/// How the cases of one area went. Consume it with [`Tally::finish`].
#[derive(Debug)]
#[must_use = "a tally that is not finished asserts nothing"]
pub struct Tally {
    area: String,
    passed: usize,
    failed: Vec<String>,
    not_applicable: BTreeMap<String, usize>,
}

impl Tally {
    /// Starts counting for `area`.
    pub fn new(area: &str) -> Self {
        Self { area: area.to_owned(), passed: 0, failed: Vec::new(), not_applicable: BTreeMap::new() }
    }

    /// This case held.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// This case did not hold.
    pub fn fail(&mut self, case: impl Display, why: impl Display) {
        self.failed.push(format!("{case}: {why}"));
    }

    /// This case says nothing about us, or not yet; `reason` in words that a reader of the table understands.
    pub fn not_applicable(&mut self, reason: &str) {
        *self.not_applicable.entry(reason.to_owned()).or_default() += 1;
    }

    /// Passes when both are equal.
    pub fn equal<T: PartialEq + Debug>(&mut self, case: impl Display, found: T, expected: T) {
        if found == expected {
            self.pass();
        } else {
            self.fail(case, format_args!("found {found:?}, expected {expected:?}"));
        }
    }

    /// Passes on `Ok`, fails with the error's text otherwise.
    pub fn ok<E: Display>(&mut self, case: impl Display, outcome: Result<(), E>) {
        match outcome {
            Ok(()) => self.pass(),
            Err(error) => self.fail(case, error),
        }
    }

    fn line(&self) -> String {
        let skipped: usize = self.not_applicable.values().sum();
        let cases = self.passed + self.failed.len() + skipped;
        let mut line =
            format!("vectors {}: {cases} cases, {} passed, {skipped} not applicable", self.area, self.passed);
        if skipped > 0 {
            let reasons: Vec<_> =
                self.not_applicable.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            line.push_str(&format!(" ({})", reasons.join("; ")));
        }
        if !self.failed.is_empty() {
            line.push_str(&format!(", {} FAILED", self.failed.len()));
        }
        line
    }

    /// Prints the area's line.
    ///
    /// # Panics
    /// A case failed, or none passed or failed: then the test did not read the area's file as it is written.
    pub fn finish(self) {
        say(&self.line());
        self.judge();
    }

    fn judge(&self) {
        assert!(self.failed.is_empty(), "vectors {}:\n  {}", self.area, self.failed.join("\n  "));
        assert!(self.passed > 0, "vectors {}: no case ran", self.area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_and_says_why_cases_do_not_apply() {
        let mut tally = Tally::new("demo");
        tally.pass();
        tally.equal("same", 1, 1);
        tally.ok("fine", Ok::<(), String>(()));
        tally.not_applicable("of attachments");
        tally.not_applicable("of attachments");
        assert_eq!(tally.line(), "vectors demo: 5 cases, 3 passed, 2 not applicable (2 of attachments)");
        tally.equal("differs", "a", "b");
        assert!(tally.line().ends_with(", 1 FAILED"), "{}", tally.line());
        assert_eq!(tally.failed, [r#"differs: found "a", expected "b""#]);
    }

    #[test]
    #[should_panic(expected = "no case ran")]
    fn a_tally_of_nothing_is_a_failure() {
        let mut tally = Tally::new("self-test");
        tally.not_applicable("for this test");
        tally.judge();
    }
}
