//! The cases, one file per protocol document.
//!
//! Where a document promises one thing and the servers in use do another, what servers in use accept of each other counts, and the case
//! takes both. Texts of faults are never compared: they are free.

mod access;
mod metadata;
mod metadata_rest;
mod rest;
mod rest_bodies;
mod rest_errors;
mod rest_headers;
mod soap;
mod soap_attachments;
mod soap_errors;
mod transport;

use crate::case::Case;

const TABLES: [&[Case]; 11] = [
    rest::CASES,
    rest_headers::CASES,
    rest_bodies::CASES,
    rest_errors::CASES,
    access::CASES,
    soap::CASES,
    soap_attachments::CASES,
    soap_errors::CASES,
    metadata::CASES,
    metadata_rest::CASES,
    transport::CASES,
];

/// All of them, document by document.
pub fn all() -> impl Iterator<Item = &'static Case> {
    TABLES.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_case_has_an_id_of_its_own_a_clause_and_something_that_must_hold() {
        let mut ids = HashSet::new();
        for case in all() {
            assert!(ids.insert(case.id()), "{} stands for two cases", case.id());
            assert!(!case.title.is_empty() && !case.clause.is_empty(), "{}", case.id());
            assert!(!case.holds.is_empty(), "{} asks for nothing", case.id());
        }
        assert!(ids.len() > 100, "{} cases", ids.len());
    }
}
