//! The global configuration as the relay reads it: one immutable snapshot with constant-time lookups [PR-GCONF].
//!
//! Built from verified documents only ([`load_directory`] reads what the configuration client stored, in the reference's layout).
//! An exchange takes one `Arc` of it and keeps it to its end. Instances that expired vanish from lookups; when the main one has
//! expired [`GlobalConf::check_valid`] says so.

use std::path::Path as FsPath;
use std::sync::Arc;

use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{ApprovedTsa, OcspInfo};
use proto::id::{ClientId, GlobalGroupId, ServerId};
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::ocsp;
use crate::profile::Profile;

/// The snapshot.
#[derive(Debug)]
pub struct GlobalConf {
    _private: (),
}

/// Where a provider's security server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderServer {
    /// Its identifier.
    pub id: ServerId,
    /// Host name or address.
    pub address: String,
    /// In maintenance, with the administrator's message.
    pub maintenance: Option<Option<String>>,
}

/// What is known of the CA that issued a certificate.
#[derive(Clone, Debug)]
pub struct CaInfo {
    /// The CA certificate.
    pub cert: Certificate,
    /// Its instance.
    pub instance: String,
    /// Certificate profile of the approved certification service.
    pub profile: Option<Profile>,
    /// Not a trust anchor for signatures.
    pub authentication_only: bool,
    /// Its responders.
    pub ocsp: Vec<OcspInfo>,
    /// Explicitly trusted responder certificates, parsed.
    pub responders: Vec<Certificate>,
}

/// Why a configuration folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GlobalConfError {
    /// A file is missing or unreadable.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not parse.
    #[error("{path}: {reason}")]
    Malformed {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// The main instance has expired (`global_conf_outdated`).
    #[error("the global configuration expired at {0}")]
    Outdated(String),
}

/// Loads a folder in the reference's layout (trust dossier §2.9).
///
/// # Errors
/// The file that stops it. A federated instance that does not load is left out.
pub fn load_directory(dir: &FsPath) -> Result<GlobalConf, GlobalConfError> {
    let _ = dir;
    todo!()
}

impl GlobalConf {
    /// Own instance.
    pub fn instance(&self) -> &str {
        todo!()
    }
    /// A number that differs for every snapshot with other content: part of trust cache keys.
    pub fn generation(&self) -> u64 {
        todo!()
    }
    /// Configuration version of the main instance.
    pub fn version(&self) -> u32 {
        todo!()
    }
    /// When the main instance expires.
    pub fn expires(&self) -> Option<UnixTime> {
        todo!()
    }
    /// Main private and shared parameters are unexpired.
    ///
    /// # Errors
    /// [`GlobalConfError::Outdated`].
    pub fn check_valid(&self, now: UnixTime) -> Result<(), GlobalConfError> {
        let _ = now;
        todo!()
    }
    /// This instance is known and unexpired.
    pub fn knows_instance(&self, instance: &str, now: UnixTime) -> bool {
        let _ = (instance, now);
        todo!()
    }
    /// Servers (with an address) where exactly this client is owner or client.
    pub fn providers(&self, client: &ClientId) -> &[ProviderServer] {
        let _ = client;
        todo!()
    }
    /// A server by identifier.
    pub fn server(&self, id: &ServerId) -> Option<&ProviderServer> {
        let _ = id;
        todo!()
    }
    /// The server an authentication certificate is registered for.
    pub fn server_by_auth_cert(&self, cert: &Certificate) -> Option<&ServerId> {
        let _ = cert;
        todo!()
    }
    /// The client is the owner or a client of that server.
    pub fn is_client_of(&self, client: &ClientId, server: &ServerId) -> bool {
        let _ = (client, server);
        todo!()
    }
    /// The approved CA (top or intermediate) that issued `cert`, by issuer name, within `instance`.
    pub fn ca_for(&self, cert: &Certificate, instance: &str) -> Option<&Arc<CaInfo>> {
        let _ = (cert, instance);
        todo!()
    }
    /// All CA certificates, for CertificateRequest lists and responder look-up.
    pub fn ca_certs(&self) -> &[Certificate] {
        todo!()
    }
    /// Exact membership in a global group.
    pub fn is_in_group(&self, client: &ClientId, group: &GlobalGroupId) -> bool {
        let _ = (client, group);
        todo!()
    }
    /// All members of a group.
    pub fn group_members(&self, group: &GlobalGroupId) -> &[ClientId] {
        let _ = group;
        todo!()
    }
    /// Certificates that may sign timestamps, of all instances.
    pub fn tsa_certs(&self) -> &[Certificate] {
        todo!()
    }
    /// Approved TSAs of the own instance.
    pub fn tsas(&self) -> &[ApprovedTsa] {
        todo!()
    }
    /// Members and subsystems of an instance with their names, for `listClients`.
    pub fn clients(&self, instance: &str) -> Vec<(ClientId, String)> {
        let _ = instance;
        todo!()
    }
    /// Private parameters of the main instance.
    pub fn private(&self) -> Option<&PrivateParameters> {
        todo!()
    }
    /// How strict to be with OCSP answers.
    pub fn ocsp_rules(&self) -> ocsp::Rules {
        todo!()
    }
    /// Seconds between OCSP fetches: the optional part, else 1200, at least 60.
    pub fn ocsp_fetch_interval_seconds(&self) -> u64 {
        todo!()
    }
}
