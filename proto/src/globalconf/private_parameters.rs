//! Private parameters: management services, federation anchors, timestamping interval [PR-GCONF §3.4; trust dossier §2.8.2].
use crate::id::ClientId;

use super::anchor::Anchor;

/// Everything in one `private-params.xml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateParameters {
    /// Instance it belongs to.
    pub instance: String,
    /// Anchors of federated instances.
    pub federation_anchors: Vec<Anchor>,
    /// Where authCertReg goes.
    pub auth_cert_reg_address: String,
    /// DER of the TLS certificate expected there.
    pub auth_cert_reg_cert: Option<Vec<u8>>,
    /// The subsystem that offers the management services.
    pub management_provider: ClientId,
    /// Seconds between batch timestamps.
    pub timestamping_interval_seconds: u64,
}
