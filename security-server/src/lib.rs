//! The relay. Sockets, tasks and disks are here; decisions stay in `pki` and `proto`.
//!
//! What happens to one message: `client_proxy/rest.rs` on the consumer's side, `server_proxy/answer.rs` on the provider's.
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | the settings file, resolved once |
//! | [`app`], [`tasks`], [`health`] | starts and ends the server, owns every task, drains |
//! | [`head_receiver`] | keeps heads of other members' logs |
//! | [`foundation`], [`token_slot`] | what every server has, also one that is nobody's yet |
//! | [`relay`] | parts and tasks that run once the server has an identity and a token |
//! | [`admin_api`] | the management API |
//! | [`context`] | what one exchange reads: snapshots and services, taken once |
//! | [`serverconf`] | clients, services, rights: decide, record, apply; the snapshot |
//! | [`service_description`] | reads WSDL and OpenAPI documents |
//! | [`apply`] | fills a stopped server from a file |
//! | [`configuration_client`] | downloads, verifies, swaps the global configuration |
//! | [`peers`] | connections to other security servers: TLS, verification, pool |
//! | [`tls`] | which stack, which keys, on every edge |
//! | [`ocsp_port`], [`ocsp_cache`] | port 5577 in both roles; what peers said and how long it is believed |
//! | [`admission`], [`budget`], [`door`] | fair shares of bounded slots; memory for what must be held whole |
//! | `company`, `names` | when a batch lets others go first; random ids and boundaries |
//! | [`exchange`] | what both sides share: proofs, the two ends of the wire |
//! | [`http1`] | HTTP towards information systems, byte for byte |
//! | [`faults`] | where an error becomes an answer |
//! | [`trust_cache`], [`batcher`], [`replay`] | verdicts kept; one signature for many; no message twice |
//! | [`client_proxy`] | information system → us |
//! | [`server_proxy`] | other security server → us |
//! | [`message_log`] | evidence |
//! | [`management`] | what this server asks of the central server |
//!
//! Both edges have one shape: `serve(ctx: Context, listener: TcpListener, acceptor: tls::Acceptor)`, which accepts until
//! `ctx.shutdown` says stop, hands each connection to [`tls::Acceptor::accept`] in a task of its own, and returns.

pub mod admin_api;
pub mod admission;
pub mod app;
pub mod apply;
pub mod batcher;
pub mod budget;
pub mod client_proxy;
pub(crate) mod company;
pub mod config;
pub mod configuration_client;
pub mod context;
pub mod door;
pub mod ended;
pub mod exchange;
pub mod faults;
pub mod foundation;
pub mod head_receiver;
pub mod health;
pub mod http1;
pub mod management;
pub mod message_log;
pub(crate) mod names;
pub mod ocsp_cache;
pub mod ocsp_port;
pub mod peers;
pub mod relay;
pub mod replay;
pub mod server_proxy;
pub mod serverconf;
pub mod service_description;
pub mod tasks;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod token_slot;
pub mod trust_cache;

pub use app::run;

/// What stands in `FORMAT` of the data directory.
pub const ROLE: &str = "security-server";
/// The form of the data directory that this program writes; an older one is converted when it is opened.
pub const FORMAT: u32 = 1;
