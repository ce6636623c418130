//! Black-box conformance: two security servers of any make, seen from both their outer edges.
//!
//! The runner plays both information systems. It asks the consumer's server as one of its clients, answers behind the provider's, and
//! compares what comes out on either side with what the protocol documents promise. It knows the servers by their addresses and
//! identifiers only, and uses none of our other crates.
//!
//! ```text
//! runner ── HTTP ──> consumer's server ══ 5500 ══> provider's server ── HTTP ──> runner
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | where the servers are and what they call themselves |
//! | [`case`] | what a case is: a request, an answer, what must hold |
//! | [`cases`] | the cases, one file per protocol document |
//! | [`services`] | what an operator enters at the provider's server |
//! | [`run`] | one case after the other |
//! | [`report`] | text, JSON, JUnit XML |
//! | `http`, `information_system` | both ends of HTTP, byte by byte |
//!
//! Documents: PR-REST (messages for REST), PR-MESS (messages for SOAP), PR-META (service metadata), PR-MREST (metadata for REST),
//! and what is seen of PR-MESSTRANSP and of the message log from outside.

pub mod case;
pub mod cases;
pub mod config;
pub mod http;
pub mod information_system;
pub mod report;
pub mod run;
pub mod services;
