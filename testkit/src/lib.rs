//! What the tests of all crates share. A dev-dependency only: nothing that ships may use it (`tests/layering.rs` sees to that).
//!
//! | Module | Holds |
//! |---|---|
//! | [`calls`] | calls of management APIs, and recorded ones |
//! | [`vectors`] | conformance vectors: where they lie, what they expect, how many of them held |
//! | [`contract`] | the contract of a management API as a table of calls, and its judge |
//! | [`requests`] | random requests made from an API document |
//! | [`tools`] | programs that some tests compare us with; what is skipped without them |
//!
//! It knows none of the other crates, so that the test of a lower one does not build the higher ones. A whole exchange for scenario
//! tests (own loopback addresses, CA, OCSP, TSA, services) is the `sandbox`; name it as a dev-dependency where it is needed.

use std::io::Write;

pub mod calls;
pub mod contract;
pub mod requests;
pub mod tools;
pub mod vectors;

/// A line past the capture of the test runner, which holds back `println!` and `eprintln!` of tests that pass.
pub fn say(line: &str) {
    // One write, so that lines of parallel tests do not mix; a closed standard error is nobody's failure.
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
