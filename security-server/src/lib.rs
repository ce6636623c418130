//! The relay. Sockets, tasks and disks are here; decisions stay in `pki` and `proto`.
//!
//! What happens to one message: `client_proxy/rest.rs` on the consumer's side, `server_proxy/answer.rs` on the provider's.

pub mod message_log;
