//! The central server: the registry of one X-Road instance, and the publication of its signed configuration.
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | the settings file, resolved once |
//! | [`app`] | builds every part, owns every task, drains |
//! | [`registry`] | members, servers, groups, trust services, keys: decide, record, apply |
//! | [`configuration_source`] | generates, signs and publishes the configuration |
//! | [`offline`] | the data directory of a stopped server |
//!
//! What happens to a change: [`registry::Registry::execute`] judges and records it, [`configuration_source`] sees the new revision and
//! publishes all versions, and security servers fetch them within a minute.

pub mod app;
pub mod config;
pub mod configuration_source;
pub mod offline;
pub mod registry;

pub use app::run;
pub use offline::{FORMAT, Offline, ROLE};
