//! The security server's management API, with everything around it that it needs: a central server, trust services, other servers.
//!
//! | Module | Tries |
//! |---|---|
//! | `world` | what is around it |
//! | `recordings` | what live servers were asked and answered |
//! | `contract` | every operation's rights; its examples, schemas and named refusals |
//! | `documents` | service descriptions for servers to read |
//! | `random_requests` | random requests |

#![allow(clippy::unwrap_used, dead_code, reason = "a test: its panic is the report")]

mod contract;
mod documents;
mod random_requests;
mod recordings;
mod world;
