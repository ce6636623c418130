//! The central server: the registry of one X-Road instance, and the publication of its signed configuration.
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | the settings file, resolved once |
//! | [`app`] | builds every part, owns every task, drains |
//! | [`registry`] | members, servers, groups, trust services, keys: decide, record, apply |
//! | [`configuration_source`] | generates, signs and publishes the configuration |
//! | [`federation`] | tries the anchor of another instance before it is trusted |
//! | [`admin_api`] | the management REST API, one file per resource |
//! | [`management_service`] | management requests of security servers, over SOAP |
//! | [`token`] | the token with the configuration signing keys |
//! | [`offline`] | the data directory of a stopped server |
//!
//! What happens to a change: [`registry::Registry::execute`] judges and records it, [`configuration_source`] sees the new revision and
//! publishes all versions, and security servers fetch them within a minute.

pub mod admin_api;
pub mod app;
pub mod config;
pub mod configuration_source;
pub mod federation;
pub mod management_service;
pub mod offline;
pub mod registry;
pub mod token;

pub use app::run;
pub use offline::{FORMAT, Offline, ROLE};
