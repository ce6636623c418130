//! `causeway cs`, `ss`, `target`, `login`, `api`, `apply` as operators and scripts use them, against real servers of ours on port 0.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod central;
mod daily;
mod ecosystem;
mod instance;
mod scene;
mod targets;
mod toolkit;
