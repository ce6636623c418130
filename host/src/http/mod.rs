//! HTTP/1: a bounded server loop over any accepted stream, and a bounded client for configuration, OCSP and timestamps.
//!
//! | Module | Holds |
//! |---|---|
//! | [`server`] | [`serve`](server::serve): accept, TLS, limits, drain |
//! | [`client`] | [`Client`](client::Client): one timeout for all of a call, bounded answers |
//! | [`body`] | request bodies that give up on silence, response bodies |
//! | [`write_limit`] | streams that give up on whoever does not read |
//!
//! There is no HTTP/2 and no ALPN of its own; TLS is rustls with a provider passed explicitly.

pub mod body;
pub mod client;
pub mod server;
pub mod write_limit;

pub use body::{BodyError, RequestBody, ResponseBody, empty, file, full, read_all};
pub use client::{Answer, Client, ClientError, Upload};
pub use server::{Limits, Peer, TlsPeer, Transport, serve};
pub use write_limit::WriteLimited;
