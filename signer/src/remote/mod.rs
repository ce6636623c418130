//! The signer as a process of its own: the same token behind a Unix socket, and a client that the servers use like the token itself.
//!
//! ```text
//! server ── RemoteSigner ── link ══ socket, mode 0600 ══ serving ── SoftwareSigner
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | `frame` | frames of the socket's stream, read without any socket |
//! | `wire` | messages of `signer.proto` and what they are on our side |
//! | `socket` | the socket file: who may reach it, and who is at the other end |
//! | `serving` | the process's side: requests in, answers out |
//! | `link` | the client's connection: pipelining, deadlines, connecting again |
//! | [`client`] | [`RemoteSigner`](client::RemoteSigner), and what an operator's commands need |
//! | [`daemon`] | settings of the process, and its life |
//!
//! A private key never crosses the socket. OCSP answers and the global configuration stay on the server's side: the process with the
//! keys needs no network at all.

pub mod client;
pub mod daemon;
pub mod frame;
mod link;
mod serving;
mod socket;
mod wire;

#[cfg(test)]
mod tests;
