//! The conformance vectors of the wire protocols, each area driven from its `expected.json`.
//!
//! Verdicts and codes are those of the reference. Where our rules are stricter on purpose, the case is listed by name with the
//! rule it falls under; everything else must be equal.

mod captures;
mod codes;
mod exchange;
mod http;
mod identifiers;
mod probes;
mod proxy_messages;
mod rest;
mod soap;
