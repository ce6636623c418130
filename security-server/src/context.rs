//! What one exchange reads. Built once by `app`; snapshots are taken once per exchange and kept to its end.

use std::sync::Arc;

use arc_swap::ArcSwap;
use host::clock::Clock;
use host::shutdown::Shutdown;
use pki::globalconf::GlobalConf;
use signer::Signer;

use crate::config::Settings;
use crate::message_log::MessageLog;
use crate::peers::Peers;
use crate::serverconf::ServerConf;
use crate::tls::InternalTls;

/// The parts an exchange uses. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Checked settings.
    pub settings: Arc<Settings>,
    /// Time.
    pub clock: Clock,
    /// `None` until the first configuration was verified.
    pub globalconf: Arc<ArcSwap<Option<Arc<GlobalConf>>>>,
    /// Clients, services, rights.
    pub serverconf: Arc<ArcSwap<ServerConf>>,
    /// Private keys and own certificates.
    pub signer: Arc<dyn Signer>,
    /// Evidence.
    pub log: MessageLog,
    /// Other security servers.
    pub peers: Peers,
    /// The internal TLS key: towards information systems in both roles.
    pub internal_tls: InternalTls,
    /// Slots for information systems.
    pub client_slots: crate::admission::Admission,
    /// Slots for other security servers.
    pub server_slots: crate::admission::Admission,
    /// What the two proxies keep between exchanges.
    pub kept: crate::exchange::Kept,
    /// Drain.
    pub shutdown: Shutdown,
}
