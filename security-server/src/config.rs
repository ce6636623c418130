//! The settings file of a security server: every key with unit and default, resolved once into checked settings.

use std::net::SocketAddr;
use std::time::Duration;

/// Checked settings, as the relay reads them. (Completed by the owner of this module; the raw file is declared with
/// `host::settings!`.)
#[derive(Clone, Debug)]
pub struct Settings {
    /// `fault-code-style`.
    pub fault_style: proto::fault::Style,
    /// Information systems over HTTP; `None` is off.
    pub client_http: Option<SocketAddr>,
    /// Information systems over HTTPS.
    pub client_https: Option<SocketAddr>,
    /// Other security servers.
    pub server_listen: SocketAddr,
    /// Port 5500 of peers.
    pub server_port: u16,
    /// OCSP answers for peers.
    pub ocsp_listen: SocketAddr,
    /// Port 5577 of peers.
    pub ocsp_port: u16,
    /// Bounds of the relay.
    pub limits: Limits,
}

/// Every bound of the relay, each a key of the `[limits]` section.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request or response head on any edge, bytes.
    pub head_bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// Largest SOAP envelope or REST header part, bytes.
    pub message_bytes: usize,
    /// Bytes of a body kept in memory; more goes through the log's frames.
    pub memory_body_bytes: usize,
    /// Silence after which a reader of a request gives up.
    pub idle: Duration,
    /// Connecting to a peer.
    pub connect: Duration,
    /// Waiting for a peer's answer; `None` without limit.
    pub peer_answer: Option<Duration>,
    /// Exchanges at once, per listener.
    pub exchanges: usize,
    /// Exchanges at once, per client or peer.
    pub exchanges_per_party: usize,
    /// Of transport messages.
    pub transport: proto::transport::Limits,
}
