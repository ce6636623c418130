//! The central server: the registry of one X-Road instance, and the publication of its signed configuration.
//!
//! | Module | Holds |
//! |---|---|
//! | [`registry`] | members, servers, groups, trust services, keys: decide, record, apply |

pub mod registry;
