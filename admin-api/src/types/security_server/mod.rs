//! Requests and answers of the security server's management API, a module for each kind of thing.
//!
//! | Module | Holds |
//! |---|---|
//! | [`system`] | initialisation, anchor, version, TLS, timestamping, diagnostics, backups |
//! | [`trust`] | what the global configuration says |
//! | [`tokens`] | tokens, keys, CSRs, certificates |
//! | [`clients`] | clients, local groups |
//! | [`services`] | service descriptions, services, endpoints, access rights |
//! | [`management`] | operations that send management requests |

pub mod clients;
pub mod management;
pub mod services;
pub mod system;
pub mod tokens;
pub mod trust;
