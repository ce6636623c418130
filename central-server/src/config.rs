//! The settings file of a central server: every key with its unit and default, resolved once into checked settings.
//!
//! Sections are named after the reference's components and keys after its parameters where it has them. What the reference keeps in
//! its database (system parameters) is in the registry here too. `deploy/central-server.toml` is rendered from this file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use admin_api::config::{ApiSettings, ManagementApi};
pub use host::settings::ConfigError;
use host::settings::Listen;
use pki::key::KeyKind;
use proto::globalconf::{MAX_VERSION, MIN_VERSION};

use crate::registry::RequestKind;

host::settings! {
    /// Settings of a central server. Every key has the value shown unless it is set.
    pub struct File {
        /// Folder of everything the server keeps: registry, keys, published configuration.
        pub data_dir: PathBuf = "/var/lib/causeway/central-server".into(),
        /// Log lines on standard error: `text` for people, `json` for machines.
        pub log_format: host::logging::Format = host::logging::Format::Text,
        /// What is logged, as in RUST_LOG, which overrides it.
        pub log_filter: String = "info".into(),
        /// Health (`/health`) and Prometheus metrics (`/metrics`), for this machine only; `off` for none.
        pub health_check_listen: Listen = Listen::at([127, 0, 0, 1], 5589),
        /// Seconds that answers under way may take when the server is told to stop.
        pub drain_time: u64 = 30,
    }
    sections {
        pub center: Center,
        pub admin_service: AdminService,
        pub management_api: ManagementApi,
        pub management_service: ManagementServiceSection,
        pub signer: SignerSection,
        pub backup: admin_api::backup::Section,
        pub limits: Limits,
    }
}

host::settings! {
    /// The published configuration.
    pub struct Center {
        /// Configuration over HTTP; every security server needs it. Its port must be in the address of the central server unless it is 80.
        pub http_listen: SocketAddr = ([0, 0, 0, 0], 80).into(),
        /// Configuration over HTTPS; `off` for none.
        pub https_listen: Listen = Listen::at([0, 0, 0, 0], 443),
        /// Lowest configuration version that is published, 2 to 6. Releases up to 7.3 read version 2 alone.
        pub minimum_global_configuration_version: u32 = MIN_VERSION,
        /// Folder with declarations (`*.ini`: content-identifier and file-name) of optional parts beyond those that every security server knows.
        pub configuration_parts: Option<PathBuf> = None,
        /// Seconds that the trial download of another instance's anchor may take before the anchor is trusted.
        pub trusted_anchor_download_time: u64 = 30,
        /// Registrations of authentication certificates by known members need nobody's approval.
        pub auto_approve_auth_cert_reg_requests: bool = false,
        /// Registrations of clients of known members need nobody's approval.
        pub auto_approve_client_reg_requests: bool = false,
        /// Owner changes to known members need nobody's approval.
        pub auto_approve_owner_change_requests: bool = false,
    }
}

host::settings! {
    /// Generation of the configuration.
    pub struct AdminService {
        /// Seconds between generations; after a change one comes at once.
        pub global_configuration_generation_rate_in_seconds: u64 = 60,
        /// New signing keys of the internal source: `RSA` or `EC`. Releases up to 7.5 verify RSA alone.
        pub internal_key_algorithm: KeyAlgorithm = KeyAlgorithm::Rsa,
        /// New signing keys of the external source: `RSA` or `EC`.
        pub external_key_algorithm: KeyAlgorithm = KeyAlgorithm::Rsa,
    }
}

host::settings! {
    /// Management requests of security servers.
    pub struct ManagementServiceSection {
        /// Registration of authentication certificates, HTTPS; `off` for none.
        pub registration_listen: Listen = Listen::at([0, 0, 0, 0], 4001),
        /// All other requests, HTTPS, from the security server that offers the management services; `off` for none.
        pub management_listen: Listen = Listen::at([127, 0, 0, 1], 4002),
        /// A PEM file with the TLS certificates that this security server shows; without it `management-listen` must be a loopback address.
        pub client_certificates: Option<PathBuf> = None,
        /// Registrations a minute from one address; -1 for any number.
        pub registration_requests_per_minute: i64 = 10,
    }
}

host::settings! {
    /// Configuration signing keys.
    pub struct SignerSection {
        /// A file with the PIN of the token, readable by the server alone; not set: token-pin in the data folder when it is there.
        pub pin_file: Option<PathBuf> = None,
    }
}

host::settings! {
    /// Bounds of the listeners.
    pub struct Limits {
        /// Most connections at once, per listener.
        pub connections: usize = 2000,
        /// Seconds that a request may take to arrive.
        pub request_time: u64 = 10,
        /// Seconds of silence after which a connection is closed.
        pub idle_time: u64 = 30,
    }
}

/// Which requests of security servers need nobody's approval where the member is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoApprove {
    /// Authentication certificates.
    pub auth_certs: bool,
    /// Clients.
    pub clients: bool,
    /// Owner changes.
    pub owner_changes: bool,
}

impl AutoApprove {
    /// Whether requests like this one are among them.
    pub const fn covers(self, kind: &RequestKind) -> bool {
        match kind {
            RequestKind::AuthCertRegistration { .. } => self.auth_certs,
            RequestKind::ClientRegistration { .. } => self.clients,
            RequestKind::OwnerChange { .. } => self.owner_changes,
            _ => false,
        }
    }
}

/// What kind of signing keys are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyAlgorithm {
    /// RSA with 2048 bits.
    Rsa,
    /// P-256.
    Ec,
}

impl KeyAlgorithm {
    /// As the library has it.
    pub fn kind(self) -> KeyKind {
        match self {
            Self::Rsa => KeyKind::Rsa(2048),
            Self::Ec => KeyKind::P256,
        }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder.
    pub data_dir: PathBuf,
    /// Log lines.
    pub log_format: host::logging::Format,
    /// What is logged.
    pub log_filter: String,
    /// Health and metrics.
    pub health_listen: Option<SocketAddr>,
    /// For answers under way at the end.
    pub drain: Duration,
    /// Bounds of backups.
    pub backup: admin_api::backup::archive::Limits,
    /// Configuration over HTTP.
    pub http_listen: SocketAddr,
    /// Configuration over HTTPS.
    pub https_listen: Option<SocketAddr>,
    /// Lowest version that is published.
    pub minimum_version: u32,
    /// Declarations of optional parts.
    pub parts_folder: Option<PathBuf>,
    /// For the trial of another instance's anchor.
    pub anchor_trial: Duration,
    /// Between generations.
    pub generation_interval: Duration,
    /// New internal signing keys.
    pub internal_key: KeyKind,
    /// New external signing keys.
    pub external_key: KeyKind,
    /// The PIN of the token.
    pub pin_file: PathBuf,
    /// The management API.
    pub api: ApiSettings,
    /// Registration of authentication certificates.
    pub registration_listen: Option<SocketAddr>,
    /// All other management requests.
    pub management_listen: Option<SocketAddr>,
    /// Who may hand those in.
    pub management_clients: Option<PathBuf>,
    /// Registrations a minute from one address.
    pub registration_rate: Option<u32>,
    /// What needs nobody's approval.
    pub auto_approve: AutoApprove,
    /// Of both listeners.
    pub limits: host::http::Limits,
}

impl File {
    /// Checks what the reader of the file cannot.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn resolve(&self) -> Result<Settings, ConfigError> {
        let center = &self.center;
        let version = center.minimum_global_configuration_version;
        if !(MIN_VERSION..=MAX_VERSION).contains(&version) {
            let rule = format!("must be from {MIN_VERSION} to {MAX_VERSION}");
            return Err(ConfigError { key: "center.minimum-global-configuration-version", rule });
        }
        let health_listen = self.health_check_listen.0;
        if health_listen.is_some_and(|address| !address.ip().is_loopback()) {
            let rule = "must be a loopback address: there is no authentication".to_owned();
            return Err(ConfigError { key: "health-check-listen", rule });
        }
        let rate = self.admin_service.global_configuration_generation_rate_in_seconds;
        let limits = host::http::Limits {
            connections: above_zero("limits.connections", self.limits.connections)?,
            head_read: seconds("limits.request-time", self.limits.request_time)?,
            idle: seconds("limits.idle-time", self.limits.idle_time)?,
            head_bytes: 16 * 1024,
            ..host::http::Limits::default()
        };
        let api = self.management_api.resolve().map_err(|(key, rule)| ConfigError { key, rule })?;
        let service = &self.management_service;
        let beyond = service.management_listen.0.is_some_and(|address| !address.ip().is_loopback());
        if beyond && service.client_certificates.is_none() {
            let rule = "must be a loopback address, unless management-service.client-certificates is set: \
                        some of these requests are not signed";
            let rule = rule.to_owned();
            return Err(ConfigError { key: "management-service.management-listen", rule });
        }
        Ok(Settings {
            registration_listen: service.registration_listen.0,
            management_listen: service.management_listen.0,
            management_clients: service.client_certificates.clone(),
            registration_rate: u32::try_from(service.registration_requests_per_minute).ok(),
            api,
            auto_approve: AutoApprove {
                auth_certs: center.auto_approve_auth_cert_reg_requests,
                clients: center.auto_approve_client_reg_requests,
                owner_changes: center.auto_approve_owner_change_requests,
            },
            data_dir: self.data_dir.clone(),
            log_format: self.log_format,
            log_filter: self.log_filter.clone(),
            health_listen,
            drain: Duration::from_secs(self.drain_time),
            backup: self
                .backup
                .resolve()
                .map_err(|key| ConfigError { key, rule: "must be above 0".to_owned() })?,
            http_listen: center.http_listen,
            https_listen: center.https_listen.0,
            minimum_version: version,
            parts_folder: center.configuration_parts.clone(),
            anchor_trial: seconds(
                "center.trusted-anchor-download-time",
                center.trusted_anchor_download_time,
            )?,
            generation_interval: seconds(
                "admin-service.global-configuration-generation-rate-in-seconds",
                rate,
            )?,
            internal_key: self.admin_service.internal_key_algorithm.kind(),
            external_key: self.admin_service.external_key_algorithm.kind(),
            pin_file: self.signer.pin_file.clone().unwrap_or_else(|| self.data_dir.join("token-pin")),
            limits,
        })
    }
}

fn seconds(key: &'static str, value: u64) -> Result<Duration, ConfigError> {
    above_zero(key, value).map(Duration::from_secs)
}

fn above_zero<T: PartialEq + Default>(key: &'static str, value: T) -> Result<T, ConfigError> {
    if value == T::default() {
        Err(ConfigError { key, rule: "must be above 0".to_owned() })
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_used_are_named() {
        let cases = [
            (
                "[center]\nminimum-global-configuration-version = 1",
                "center.minimum-global-configuration-version: must be from 2 to 6",
            ),
            (
                "[center]\nminimum-global-configuration-version = 7",
                "center.minimum-global-configuration-version: must be from 2 to 6",
            ),
            (
                "health-check-listen = '0.0.0.0:1'",
                "health-check-listen: must be a loopback address: there is no authentication",
            ),
            ("[limits]\nconnections = 0", "limits.connections: must be above 0"),
            (
                "[admin-service]\nglobal-configuration-generation-rate-in-seconds = 0",
                "admin-service.global-configuration-generation-rate-in-seconds: must be above 0",
            ),
        ];
        for (text, expected) in cases {
            let file: File = host::settings::parse(text, "x").unwrap();
            assert_eq!(file.resolve().unwrap_err().to_string(), expected, "{text}");
        }
        let unknown = host::settings::parse::<File>("[center]\nhttp-port = 80", "x").unwrap_err().to_string();
        assert!(unknown.contains("http-port") && unknown.contains("http-listen"), "{unknown}");
        let settings = File::default().resolve().unwrap();
        assert_eq!((settings.internal_key, settings.minimum_version), (KeyKind::Rsa(2048), 2));
        assert!(settings.pin_file.ends_with("token-pin"));
    }

    /// The sample is rendered from this file; `CAUSEWAY_RENDER=1 cargo test` writes it anew.
    #[test]
    fn the_sample_in_deploy_is_this_file_rendered() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/central-server.toml");
        let rendered = host::settings::render_sample::<File>();
        if std::env::var_os("CAUSEWAY_RENDER").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), rendered, "run with CAUSEWAY_RENDER=1");
        assert_eq!(host::settings::parse::<File>(&rendered, "sample").unwrap(), File::default());
    }
}
