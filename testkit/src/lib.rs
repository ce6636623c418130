//! What the tests of all crates share. A dev-dependency only: nothing that ships may use it (`tests/layering.rs` sees to that).
//!
//! | Module | Holds |
//! |---|---|
//! | [`vectors`] | conformance vectors: where they lie, what they expect, how many of them held |
//!
//! It knows none of the other crates, so that the test of a lower one does not build the higher ones. A whole exchange for scenario
//! tests (own loopback addresses, CA, OCSP, TSA, services) is the `sandbox`; name it as a dev-dependency where it is needed.

pub mod vectors;
