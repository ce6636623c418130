//! HTTP/1.1 of every message, towards information systems and between security servers, as server and as client [RFC 9112].
//!
//! The head of a REST message is what gets signed: names as they were written, lines in the order of arrival, values as bytes, the
//! target untouched. General libraries lower-case names and regroup lines, so the edges read and write HTTP here; `httparse` splits
//! the tokens, this module owns framing and limits. Between security servers it is used because a connection then belongs to the
//! exchange that uses it: no task beside it, no hand-over, one write for a message that is here whole.
//!
//! | Module | Holds |
//! |---|---|
//! | [`head`] | heads of requests and answers: limits, strict rules, framing |
//! | [`body`] | chunked, counted and close-delimited bodies, without I/O |
//! | [`wire`] | bytes of one connection with a bound on every wait |
//! | [`sending`] | a message on its way out: head, body, coding |
//! | [`server`] | one connection of an information system, or of another security server |
//! | [`client`] | one call of a service, or of another security server |
//!
//! As a server, and towards another one, it is strict: whatever could be read in two ways is refused, with 400 and a close where there
//! is somebody to tell. Of services it takes what deployed ones send, short of ambiguous framing. Not here: which targets are taken (`proto::edge`), TLS (`tls`), connections that are
//! kept (`server_proxy`, `peers`).

pub mod body;
pub mod client;
#[cfg(test)]
mod differential;
pub mod head;
pub mod sending;
pub mod server;
pub mod wire;

pub use head::{Framing, Headers, RequestHead, ResponseHead};
