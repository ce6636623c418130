//! HTTP/1.1 towards information systems, as their server and as their client [RFC 9112].
//!
//! The head of a REST message is what gets signed: names as they were written, lines in the order of arrival, values as bytes, the
//! target untouched. General libraries lower-case names and regroup lines, so the edges read and write HTTP here; `httparse` splits
//! the tokens, this module owns framing and limits.
//!
//! | Module | Holds |
//! |---|---|
//! | [`head`] | heads of requests and answers: limits, strict rules, framing |
//! | [`body`] | chunked, counted and close-delimited bodies, without I/O |
//! | [`wire`] | bytes of one connection with a bound on every wait |
//! | [`server`] | one connection of an information system |
//! | [`client`] | one call of a service |
//!
//! As a server it is strict: whatever could be read in two ways is refused with 400 and a close. As a client it takes what deployed
//! services send, short of ambiguous framing. Not here: which targets are taken (`proto::edge`), TLS (`tls`), connections that are
//! kept (`server_proxy`).

pub mod body;
pub mod client;
pub mod head;
pub mod server;
pub mod wire;

pub use head::{Framing, Headers, RequestHead, ResponseHead};
