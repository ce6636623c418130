//! What every server process needs and no protocol knows about.
//!
//! | Module | Holds |
//! |---|---|
//! | [`background`] | long work on threads of low priority |
//! | [`clock`] | the one place where time is read |
//! | [`data_dir`] | `LOCK`, `FORMAT`, folders of one server's data |
//! | [`files`] | write, sync, rename; large files a piece at a time |
//! | [`restore`] | another state in a data directory, by one rename |
//! | [`store`] | sled with real durability, and event logs on it |
//! | [`settings`] | TOML files: defaults, unknown keys refused with a hint, samples rendered from the code |
//! | [`logging`], [`metrics`] | tracing, Prometheus text |
//! | [`http`], [`health`] | a bounded HTTP/1 server loop and a bounded client; `/health` and `/metrics` |
//! | [`shutdown`], [`sockets`] | stop listening, drain, end, or start again with the same listeners |
//!
//! It is a crate because both servers and the signer need it and neither owns it; X-Road words do not occur in it.

pub mod background;
pub mod clock;
pub mod contacts;
pub mod data_dir;
pub mod files;
pub mod health;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod restore;
pub mod settings;
pub mod shutdown;
pub mod sockets;
pub mod store;
