//! The settings file of a security server: every key with its unit and default, resolved once into checked settings.
//!
//! Sections are named after the reference's components and keys after its parameters where it has them; a port and its address are one
//! key here (`client-http-port` and `connector-host` are `client-http-listen`). `deploy/security-server.toml` is rendered from this
//! file. Every bound of the relay is a key of `[limits]`; what a bound protects stands beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use admin_api::config::{ApiSettings, ManagementApi};
pub use host::settings::{ConfigError, Listen};
use pki::key::KeyKind;
use proto::fault::Style;

/// Where the configuration anchor is in the data folder, unless the settings name another place.
pub const ANCHOR_FILE: &str = "configuration-anchor.xml";

host::settings! {
    /// Settings of a security server. Every key has the value shown unless it is set.
    pub struct File {
        /// Folder of everything the server keeps: state, keys, message log, global configuration.
        pub data_dir: PathBuf = "/var/lib/causeway/security-server".into(),
        /// Log lines on standard error: `text` for people, `json` for machines.
        pub log_format: host::logging::Format = host::logging::Format::Text,
        /// What is logged, as in RUST_LOG, which overrides it.
        pub log_filter: String = "info".into(),
        /// Health (`/health`) and Prometheus metrics (`/metrics`), for this machine only; `off` for none.
        pub health_check_listen: Listen = Listen::at([127, 0, 0, 1], 5588),
        /// Seconds that exchanges under way may take when the server is told to stop.
        pub drain_time: u64 = 30,
    }
    sections {
        pub proxy: Proxy,
        pub configuration_client: ConfigurationClient,
        pub signer: SignerSection,
        pub management_api: ManagementApi,
        pub message_log: MessageLogSection,
        pub management_requests: crate::management::settings::Section,
        pub service_descriptions: crate::service_description::settings::Section,
        pub backup: admin_api::backup::Section,
        pub limits: LimitsSection,
    }
}

host::settings! {
    /// Where the server listens, and how it talks to information systems and to other security servers.
    pub struct Proxy {
        /// Information systems over HTTP (client-http-port); `off` for none. Plain HTTP is for this machine or a trusted network.
        pub client_http_listen: Listen = Listen::at([127, 0, 0, 1], 8080),
        /// Information systems over HTTPS (client-https-port); `off` for none.
        pub client_https_listen: Listen = Listen::at([0, 0, 0, 0], 8443),
        /// Messages of other security servers (server-listen-address and -port).
        pub server_listen: SocketAddr = ([0, 0, 0, 0], 5500).into(),
        /// The port of other security servers for messages.
        pub server_port: u16 = 5500,
        /// OCSP answers of our own certificates, for other security servers (ocsp-responder-listen-address and -port).
        pub ocsp_responder_listen: SocketAddr = ([0, 0, 0, 0], 5577).into(),
        /// The port of other security servers for OCSP answers.
        pub ocsp_responder_port: u16 = 5577,
        /// TLS with other security servers, in both roles: `auto` is TLS 1.3 or 1.2 with authenticated encryption where the other side
        /// can, else the TLS 1.2 CBC suites of stock servers; `modern-only` never takes those; `cbc-only` takes nothing else, as
        /// stock servers do. A server that was met with TLS 1.3 is not asked with CBC suites again, until
        /// `causeway peer forget`.
        pub tls_edge: TlsEdge = TlsEdge::Auto,
        /// Milliseconds that connecting to another security server may take, its TLS handshake included.
        pub client_timeout: u64 = 30_000,
        /// Milliseconds that another security server may be silent while we wait for its answer; 0 is without limit.
        pub client_httpclient_timeout: u64 = 600_000,
        /// Keep connections to other security servers that keep theirs.
        pub pool_enable_connection_reuse: bool = true,
        /// Keep connections of security servers that are not of our own kind. Our own are always kept.
        pub server_support_clients_pooled_connections: bool = false,
        /// Refuse information systems whose stored certificate is outside its validity; otherwise they are only logged.
        pub enforce_client_is_cert_validity_period_check: bool = false,
        /// Refuse other security servers older than this version (for instance "7.6.0"); not set: none.
        pub server_min_supported_client_version: Option<String> = None,
        /// The release whose spelling of fault codes is written: "7.8" (access_denied) or "7.7" (AccessDenied). Both are read.
        pub fault_code_style: FaultCodeStyle = FaultCodeStyle::Release78,
    }
}

host::settings! {
    /// The download of the global configuration.
    pub struct ConfigurationClient {
        /// The configuration anchor; not set: configuration-anchor.xml in the data folder, where `causeway apply` puts it.
        pub configuration_anchor_file: Option<PathBuf> = None,
        /// Seconds between downloads.
        pub update_interval: u64 = 60,
        /// Other instances whose configuration is downloaded: `none`, `all`, or a list such as "FI,IS".
        pub allowed_federations: String = "none".into(),
        /// Seconds by which a downloaded directory may expire earlier than the stored one; an older one is refused.
        pub directory_age_tolerance: u64 = 300,
        /// Milliseconds that connecting to a configuration source may take.
        pub downloader_connect_timeout: u64 = 10_000,
        /// Milliseconds that one download may take in all.
        pub downloader_read_timeout: u64 = 30_000,
    }
}

host::settings! {
    /// Keys and their certificates.
    pub struct SignerSection {
        /// A file with the PIN of the token, readable by the server alone; not set: token-pin in the data folder when it is there.
        pub pin_file: Option<PathBuf> = None,
        /// The socket of a signer that is a process of its own (its `socket`); not set: this server keeps the keys itself. The PIN is
        /// then the signer's matter. Security servers that know only the CBC suites of TLS 1.2, as stock ones do, need its setting
        /// share-authentication-key: OpenSSL signs with a key that it has.
        pub socket: Option<PathBuf> = None,
        /// Seconds that a signature waits for such a signer, a restart of it included.
        pub wait_time: u64 = 10,
        /// Seconds after which a failed fetch of an OCSP answer is tried again.
        pub ocsp_retry_delay: u64 = 60,
        /// Which OCSP responders are asked first, by their cost in the global configuration: `none` (as configured), `only-free`,
        /// `only-paid`, `free-first` or `paid-first`.
        pub ocsp_prioritization_strategy: signer::ocsp_fetcher::Prioritization =
            signer::ocsp_fetcher::Prioritization::None,
        /// PINs that are set through the management API must have ten characters of three kinds.
        pub enforce_token_pin_policy: bool = false,
        /// Authentication keys made together with a request for a certificate: `RSA` or `EC`.
        pub authentication_key_algorithm: KeyAlgorithm = KeyAlgorithm::Rsa,
        /// Signing keys made together with a request for a certificate: `RSA` or `EC`.
        pub signing_key_algorithm: KeyAlgorithm = KeyAlgorithm::Rsa,
    }
}

host::settings! {
    /// The message log: evidence of every exchange.
    pub struct MessageLogSection {
        /// Keep the bodies of messages, not just their digests. Without them records say who exchanged what and when, and no
        /// container of them verifies by itself.
        pub message_body_logging: bool = true,
        /// Subsystems of ours whose services are logged with bodies while message-body-logging is off: INSTANCE/CLASS/CODE/SUBSYSTEM,
        /// separated by commas.
        pub enabled_body_logging_local_producer_subsystems: String = String::new(),
        /// The same for subsystems of others whose services our clients use.
        pub enabled_body_logging_remote_producer_subsystems: String = String::new(),
        /// Subsystems of ours whose services are logged without bodies while message-body-logging is on.
        pub disabled_body_logging_local_producer_subsystems: String = String::new(),
        /// The same for subsystems of others whose services our clients use.
        pub disabled_body_logging_remote_producer_subsystems: String = String::new(),
        /// Largest body that is kept, bytes; the exchange of a larger one is refused.
        pub max_loggable_message_body_size: u64 = 10 * 1024 * 1024,
        /// Let larger bodies pass: the record then has their digest instead.
        pub truncated_body_allowed: bool = false,
        /// Seconds that timestamping may fail before messages are refused; 0 is without limit.
        pub acceptable_timestamp_failure_period: u64 = 14_400,
        /// Seconds after which a failed timestamp is tried again.
        pub timestamp_retry_delay: u64 = 60,
        /// Most records in one timestamp.
        pub timestamp_records_limit: u32 = 10_000,
        /// Give every message a timestamp of its own before it goes on; one that gets none is refused.
        pub timestamp_immediately: bool = false,
        /// Which timestamping services are asked first, by their cost in the global configuration: `none` (as configured), `only-free`,
        /// `only-paid`, `free-first` or `paid-first`.
        pub timestamping_prioritization_strategy: crate::message_log::services::Preference =
            crate::message_log::services::Preference::None,
        /// Bytes of one segment file.
        pub segment_size: u64 = 256 * 1024 * 1024,
        /// Bytes that must stay free on the disk; below them new exchanges are refused.
        pub min_free_space: u64 = 256 * 1024 * 1024,
        /// Encrypt messages and bodies at rest with the keys of this file: lines `key ID SECRET` (64 hexadecimal digits) and
        /// `use MEMBER ID` (INSTANCE/CLASS/CODE, or `*` for all others). Not set: no encryption. Archives have keys of their own.
        pub encryption_keys_file: Option<PathBuf> = None,
        /// Seconds between runs of archiving, which also begins when the log has grown by archive-max-filesize; 0 archives nothing,
        /// and nothing is ever removed from the log.
        pub archive_interval: u64 = 21_600,
        /// Folder for archive files; not set: `archive` in the data folder.
        pub archive_path: Option<PathBuf> = None,
        /// Bytes of containers after which an archive file is finished.
        pub archive_max_filesize: u64 = 32 * 1024 * 1024,
        /// Which records are archived together: `none` (all), `member` or `subsystem`.
        pub archive_grouping: crate::message_log::archive::Grouping = crate::message_log::archive::Grouping::None,
        /// Sign and encrypt archive files with OpenPGP; their names then end with .zip.gpg. Without the keys nothing is archived.
        pub archive_encryption_enabled: bool = false,
        /// Folder of the keys: server.key, and public keys (.asc, .pgp, .gpg). See `causeway log archive-key`.
        pub archive_keys_directory: Option<PathBuf> = None,
        /// A file with lines `INSTANCE/CLASS/CODE = KEY`: to which keys archives of a member are encrypted while archive-grouping is
        /// `member` or `subsystem`. KEY is a fingerprint or a key id of 16 digits.
        pub archive_encryption_keys_config: Option<PathBuf> = None,
        /// The key for all other archives; empty: the server's own.
        pub archive_default_encryption_key: String = String::new(),
        /// Days before a key of archives ends from which on health, metrics and log say so; 0: once it has ended.
        pub archive_key_warning_days: u64 = 30,
        /// Where archive files are sent, by POST of a form with the field `file`; empty: they stay in the folder.
        pub archive_transfer_url: String = String::new(),
        /// The same for S3-compatible storage: https://host. At most one of the two.
        pub archive_s3_endpoint: String = String::new(),
        /// Region of the storage.
        pub archive_s3_region: String = "us-east-1".into(),
        /// Bucket.
        pub archive_s3_bucket: String = String::new(),
        /// In front of the file names, such as `ss1/`.
        pub archive_s3_prefix: String = String::new(),
        /// The bucket stands in the path; otherwise in front of the host.
        pub archive_s3_path_style: bool = true,
        /// A file with two lines: key id and secret.
        pub archive_s3_credentials_file: Option<PathBuf> = None,
        /// Bytes of a part: a larger archive file is sent in parts, and when sending breaks off it goes on behind those that arrived.
        pub archive_s3_part_size: u64 = 16 * 1024 * 1024,
        /// Certificates (PEM) that are trusted for https targets.
        pub archive_transfer_ca_file: PathBuf = "/etc/ssl/certs/ca-certificates.crt".into(),
        /// Remove archive files once they were sent.
        pub archive_remove_transferred: bool = false,
        /// Days for which records are kept in the log. Nothing is removed before it was archived and, where that is asked, sent.
        pub keep_records_for: u64 = 30,
        /// Days for local subsystems of their own: INSTANCE/CLASS/CODE/SUBSYSTEM=DAYS, separated by commas.
        pub keep_records_for_subsystems: String = String::new(),
        /// Bytes of the log above which archived records go earlier; 0 is without bound. From half of it on archiving stands back less
        /// and less, and records are timestamped as soon as timestamp-records-limit of them wait.
        pub max_log_size: u64 = 0,
        /// Seconds between looks at what may be removed.
        pub clean_interval: u64 = 43_200,
        /// How far archiving, retention, the tree and timestamps stand back behind messages: 0 (not at all) to 19. Archiving does not
        /// stand back when space is short: the log above max-log-size, or less than twice min-free-space.
        pub background_niceness: u8 = 15,
        /// Per cent of one core that archiving may take while messages come; without messages, and the further the log is above
        /// max-log-size, it takes more.
        pub background_share: u8 = 25,
        /// Seconds between signed heads of the log's tree, at least 60.
        pub tree_head_interval: u64 = 3_600,
        /// A folder that somebody else holds, for copies of the heads.
        pub tree_head_folder: Option<PathBuf> = None,
        /// Where heads are sent, by POST; empty: nowhere.
        pub tree_head_url: String = String::new(),
        /// A REST service of another member that keeps heads (its tree-head-receiver-listen), INSTANCE/CLASS/CODE/SUBSYSTEM/SERVICE
        /// as in a request line: heads are sent to it as ordinary messages through client-http-listen; empty: to nobody.
        pub tree_head_service: String = String::new(),
        /// The subsystem of ours that calls it, with plain HTTP as its connection type: INSTANCE/CLASS/CODE/SUBSYSTEM.
        pub tree_head_client: String = String::new(),
        /// Seconds after which a holder that did not take a head is tried again; doubled with every failure.
        pub tree_head_retry_delay: u64 = 60,
        /// Seconds between tries at most.
        pub tree_head_retry_max_delay: u64 = 3_600,
        /// Most heads that wait for a holder; of more the oldest are passed over, as later ones bind their records too.
        pub tree_head_backlog: usize = 1_000,
        /// Seconds that a holder may fail before it is an alarm.
        pub tree_head_alarm_after: u64 = 14_400,
        /// Where heads of other members are taken: an address of this machine alone, that a client of ours offers as a REST service.
        pub tree_head_receiver_listen: Listen = Listen(None),
        /// The folder for them.
        pub tree_head_receiver_folder: Option<PathBuf> = None,
        /// Most heads that are kept for one client.
        pub tree_head_receiver_max_heads: usize = 100_000,
    }
}

host::settings! {
    /// Bounds of the relay. Past them an exchange is refused at once; nothing waits in an unbounded queue.
    pub struct LimitsSection {
        /// Most exchanges at once from information systems.
        pub client_exchanges: usize = 2_000,
        /// Of these, most of one client.
        pub client_exchanges_per_client: usize = 1_000,
        /// Most exchanges at once from other security servers (max-parallel-connections).
        pub server_exchanges: usize = 5_000,
        /// Of these, most of one security server.
        pub server_exchanges_per_peer: usize = 1_000,
        /// Most open connections per listener.
        pub connections: usize = 10_000,
        /// Of these, most from one address (of IPv6: from one /64 network). Raise it where a proxy or an address translation stands
        /// in front of the server.
        pub connections_per_address: usize = 2_000,
        /// Most open connections of those who ask for OCSP answers (port 5577); an answer takes moments.
        pub ocsp_connections: usize = 256,
        /// Of these, most from one address.
        pub ocsp_connections_per_address: usize = 64,
        /// Most TLS handshakes at once per listener, a quarter of them from one address; more wait, within handshake-time.
        pub handshakes: usize = 512,
        /// Seconds that a TLS handshake of an accepted connection may take, from its first byte to its last.
        pub handshake_time: u64 = 15,
        /// Largest head of a request or answer, bytes.
        pub head_bytes: usize = 65_536,
        /// Largest head of a request of an information system, bytes. The value is the stock servers'; raise it for information
        /// systems that send longer headers.
        pub client_head_bytes: usize = 8_202,
        /// Most header lines of a head.
        pub headers: usize = 1_024,
        /// Largest SOAP envelope or REST header part, bytes.
        pub message_bytes: usize = 10 * 1024 * 1024,
        /// Bytes of a body that are kept in memory; a larger one goes to the message log's own files as it passes.
        pub memory_body_bytes: usize = 65_536,
        /// Seconds of silence after which a connection that should be sending is given up.
        pub idle_time: u64 = 30,
        /// Seconds for which a connection that waits for its next request is kept.
        pub keep_alive_time: u64 = 60,
        /// Idle connections kept per security server.
        pub pooled_connections_per_peer: usize = 256,
        /// Most parts of a transport message.
        pub parts: usize = 1_024,
        /// Most attachments of a message.
        pub attachments: usize = 1_000,
        /// All attachments of one SOAP message together, bytes. Those of a message that has more of them than
        /// message-log.max-loggable-message-body-size pass, and are in the log by their digests.
        pub attachments_bytes: u64 = 1024 * 1024 * 1024,
        /// Largest head of one part, bytes.
        pub part_head_bytes: usize = 65_536,
        /// Most bytes outside of the parts of a multipart: before its first delimiter, or after its last.
        pub outside_parts_bytes: usize = 65_536,
        /// Most seconds for one whole message to come in, however slowly its sender writes.
        pub message_time: u64 = 3_600,
        /// Most OCSP answers in front of a message.
        pub ocsp_parts: usize = 16,
        /// Largest OCSP answer, bytes.
        pub ocsp_bytes: usize = 65_536,
        /// Largest signature, hash chain result or hash chain, bytes each.
        pub signature_bytes: usize = 4 * 1024 * 1024,
    }
}

/// What kind of keys are made.
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

/// How fault codes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FaultCodeStyle {
    /// `server.serverproxy.access_denied`, as releases from 7.8.
    #[serde(rename = "7.8")]
    Release78,
    /// `Server.ServerProxy.AccessDenied`, as releases to 7.7.
    #[serde(rename = "7.7")]
    Release77,
}

/// Which TLS is spoken with other security servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsEdge {
    /// The best that the other side can.
    Auto,
    /// Never the CBC suites of stock servers.
    ModernOnly,
    /// Nothing but the CBC suites of stock servers.
    CbcOnly,
}

/// Checked settings, as the relay reads them.
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
    /// For exchanges under way at the end.
    pub drain: Duration,
    /// Bounds of backups.
    pub backup: admin_api::backup::archive::Limits,
    /// `fault-code-style`.
    pub fault_style: Style,
    /// `tls-edge`.
    pub tls_edge: TlsEdge,
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
    /// Keep connections to peers that keep theirs.
    pub reuse_connections: bool,
    /// Keep connections of peers that are not of our own kind.
    pub keep_stock_connections: bool,
    /// `enforce-client-is-cert-validity-period-check`.
    pub enforce_client_cert_validity: bool,
    /// `server-min-supported-client-version`.
    pub min_client_version: Option<[u32; 3]>,
    /// The global configuration's download.
    pub configuration: ConfigurationSettings,
    /// The token's PIN.
    pub pin_file: PathBuf,
    /// Where the signer is, when it is a process of its own.
    pub signer_socket: Option<PathBuf>,
    /// How long a signature waits for it.
    pub signer_wait: Duration,
    /// `ocsp-retry-delay`, `ocsp-prioritization-strategy`.
    pub ocsp: signer::ocsp_fetcher::Settings,
    /// `enforce-token-pin-policy`.
    pub pin_policy: bool,
    /// Kinds of new keys: authentication, signing.
    pub key_kinds: [KeyKind; 2],
    /// The management API.
    pub api: ApiSettings,
    /// The message log.
    pub message_log: MessageLogSection,
    /// Management requests.
    pub management: crate::management::settings::Limits,
    /// Descriptions of services.
    pub descriptions: crate::service_description::settings::Bounds,
    /// Bounds of the relay.
    pub limits: Limits,
}

/// How the global configuration is downloaded.
#[derive(Clone, Debug)]
pub struct ConfigurationSettings {
    /// The anchor.
    pub anchor_file: PathBuf,
    /// Between downloads.
    pub interval: Duration,
    /// Which other instances.
    pub federations: Federations,
    /// How much earlier than the stored one a directory may expire.
    pub age_tolerance: Duration,
    /// Connecting.
    pub connect: Duration,
    /// One download in all.
    pub total: Duration,
}

/// Which other instances' configuration is downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Federations {
    /// Our own only.
    None,
    /// Whatever the private parameters name.
    All,
    /// These of them, in upper case.
    Listed(Vec<String>),
}

impl Federations {
    /// Whether the configuration of `instance` is downloaded.
    pub fn allow(&self, instance: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Listed(list) => list.contains(&instance.to_uppercase()),
        }
    }
}

/// Every bound of the relay, each a key of the `[limits]` section.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request or response head on any edge, bytes.
    pub head_bytes: usize,
    /// Largest request head of an information system, bytes.
    pub client_head_bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// Largest SOAP envelope or REST header part, bytes.
    pub message_bytes: usize,
    /// Bytes of a body kept in memory; more goes through the log's frames.
    pub memory_body_bytes: usize,
    /// Silence after which a reader of a request gives up.
    pub idle: Duration,
    /// For the next request of a kept connection.
    pub keep_alive: Duration,
    /// Connecting to a peer.
    pub connect: Duration,
    /// Waiting for a peer's answer; `None` without limit.
    pub peer_answer: Option<Duration>,
    /// Open connections, per listener.
    pub connections: usize,
    /// Of these, per address.
    pub connections_per_address: usize,
    /// The listener for OCSP answers.
    pub ocsp_port: crate::ocsp_port::Bounds,
    /// TLS handshakes at once, per listener.
    pub handshakes: usize,
    /// For the TLS handshake of an accepted connection.
    pub handshake: Duration,
    /// Exchanges at once of information systems.
    pub client_exchanges: usize,
    /// Of these, per client.
    pub client_exchanges_per_client: usize,
    /// Exchanges at once of peers.
    pub server_exchanges: usize,
    /// Of these, per peer.
    pub server_exchanges_per_peer: usize,
    /// Idle connections kept per peer.
    pub pooled_per_peer: usize,
    /// For one whole message to come in.
    pub message_time: Duration,
    /// All attachments of one SOAP message.
    pub attachments_bytes: u64,
    /// Of transport messages.
    pub transport: proto::transport::Limits,
}

impl Limits {
    /// Of SOAP messages as information systems send them.
    pub fn soap_parts(&self) -> proto::soap::parts::Limits {
        proto::soap::parts::Limits {
            parts: self.transport.parts,
            message_bytes: self.message_bytes,
            attachments: self.transport.attachments,
        }
    }
}

impl File {
    /// Checks what the operator wrote.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn resolve(&self) -> Result<Settings, ConfigError> {
        let proxy = &self.proxy;
        let in_data =
            |file: &Option<PathBuf>, name: &str| file.clone().unwrap_or_else(|| self.data_dir.join(name));
        check_health(self.health_check_listen)?;
        Ok(Settings {
            data_dir: self.data_dir.clone(),
            log_format: self.log_format,
            log_filter: self.log_filter.clone(),
            health_listen: self.health_check_listen.0,
            drain: Duration::from_secs(self.drain_time),
            backup: self.backup.resolve().map_err(zero)?,
            fault_style: match proxy.fault_code_style {
                FaultCodeStyle::Release78 => Style::Snake,
                FaultCodeStyle::Release77 => Style::Camel,
            },
            tls_edge: proxy.tls_edge,
            client_http: proxy.client_http_listen.0,
            client_https: proxy.client_https_listen.0,
            server_listen: proxy.server_listen,
            server_port: above_zero("proxy.server-port", proxy.server_port)?,
            ocsp_listen: proxy.ocsp_responder_listen,
            ocsp_port: above_zero("proxy.ocsp-responder-port", proxy.ocsp_responder_port)?,
            reuse_connections: proxy.pool_enable_connection_reuse,
            keep_stock_connections: proxy.server_support_clients_pooled_connections,
            enforce_client_cert_validity: proxy.enforce_client_is_cert_validity_period_check,
            min_client_version: proxy
                .server_min_supported_client_version
                .as_deref()
                .map(version)
                .transpose()?,
            configuration: ConfigurationSettings {
                anchor_file: in_data(&self.configuration_client.configuration_anchor_file, ANCHOR_FILE),
                ..self.configuration_client.resolve()?
            },
            pin_file: in_data(&self.signer.pin_file, "token-pin"),
            signer_socket: self.signer.socket.clone(),
            signer_wait: seconds("signer.wait-time", self.signer.wait_time)?,
            ocsp: signer::ocsp_fetcher::Settings {
                retry_delay: seconds("signer.ocsp-retry-delay", self.signer.ocsp_retry_delay)?,
                prioritization: self.signer.ocsp_prioritization_strategy,
            },
            pin_policy: self.signer.enforce_token_pin_policy,
            key_kinds: [self.signer.authentication_key_algorithm, self.signer.signing_key_algorithm]
                .map(KeyAlgorithm::kind),
            api: self.management_api.resolve().map_err(|(key, rule)| ConfigError { key, rule })?,
            message_log: self.message_log.clone(),
            management: self.management_requests.resolve().map_err(zero)?,
            descriptions: self.service_descriptions.resolve().map_err(zero)?,
            limits: self.limits.resolve(proxy)?,
        })
    }
}

impl ConfigurationClient {
    /// All but the anchor's place.
    fn resolve(&self) -> Result<ConfigurationSettings, ConfigError> {
        let federations = match self.allowed_federations.trim() {
            "" | "none" => Federations::None,
            "all" => Federations::All,
            list => Federations::Listed(list.split(',').map(|code| code.trim().to_uppercase()).collect()),
        };
        Ok(ConfigurationSettings {
            anchor_file: PathBuf::new(),
            interval: seconds("configuration-client.update-interval", self.update_interval)?,
            federations,
            age_tolerance: Duration::from_secs(self.directory_age_tolerance),
            connect: millis(
                "configuration-client.downloader-connect-timeout",
                self.downloader_connect_timeout,
            )?,
            total: millis("configuration-client.downloader-read-timeout", self.downloader_read_timeout)?,
        })
    }
}

impl LimitsSection {
    fn resolve(&self, proxy: &Proxy) -> Result<Limits, ConfigError> {
        let at_least_8k = |key, value: usize| {
            let rule = || ConfigError { key, rule: "must be 8192 or more".into() };
            if value >= 8192 { Ok(value) } else { Err(rule()) }
        };
        Ok(Limits {
            head_bytes: at_least_8k("limits.head-bytes", self.head_bytes)?,
            client_head_bytes: at_least_8k("limits.client-head-bytes", self.client_head_bytes)?,
            headers: above_zero("limits.headers", self.headers)?,
            message_bytes: at_least_8k("limits.message-bytes", self.message_bytes)?,
            memory_body_bytes: self.memory_body_bytes,
            idle: seconds("limits.idle-time", self.idle_time)?,
            keep_alive: seconds("limits.keep-alive-time", self.keep_alive_time)?,
            connect: millis("proxy.client-timeout", proxy.client_timeout)?,
            peer_answer: Some(proxy.client_httpclient_timeout)
                .filter(|ms| *ms > 0)
                .map(Duration::from_millis),
            connections: above_zero("limits.connections", self.connections)?,
            connections_per_address: above_zero(
                "limits.connections-per-address",
                self.connections_per_address,
            )?,
            ocsp_port: self.ocsp_port()?,
            handshakes: above_zero("limits.handshakes", self.handshakes)?,
            handshake: seconds("limits.handshake-time", self.handshake_time)?,
            client_exchanges: above_zero("limits.client-exchanges", self.client_exchanges)?,
            client_exchanges_per_client: above_zero(
                "limits.client-exchanges-per-client",
                self.client_exchanges_per_client,
            )?,
            server_exchanges: above_zero("limits.server-exchanges", self.server_exchanges)?,
            server_exchanges_per_peer: above_zero(
                "limits.server-exchanges-per-peer",
                self.server_exchanges_per_peer,
            )?,
            pooled_per_peer: self.pooled_connections_per_peer,
            message_time: seconds("limits.message-time", self.message_time)?,
            attachments_bytes: self.attachments_bytes,
            transport: self.transport()?,
        })
    }

    fn ocsp_port(&self) -> Result<crate::ocsp_port::Bounds, ConfigError> {
        Ok(crate::ocsp_port::Bounds {
            connections: above_zero("limits.ocsp-connections", self.ocsp_connections)?,
            connections_per_address: above_zero(
                "limits.ocsp-connections-per-address",
                self.ocsp_connections_per_address,
            )?,
            idle: seconds("limits.idle-time", self.idle_time)?,
        })
    }

    fn transport(&self) -> Result<proto::transport::Limits, ConfigError> {
        Ok(proto::transport::Limits {
            parts: proto::multipart::Limits {
                parts: above_zero("limits.parts", self.parts)?,
                header_line_bytes: PART_HEADER_LINE_BYTES,
                header_bytes: above_zero("limits.part-head-bytes", self.part_head_bytes)?,
                outside_bytes: above_zero("limits.outside-parts-bytes", self.outside_parts_bytes)?,
            },
            ocsp_parts: above_zero("limits.ocsp-parts", self.ocsp_parts)?,
            ocsp_bytes: above_zero("limits.ocsp-bytes", self.ocsp_bytes)?,
            message_bytes: self.message_bytes,
            signature_bytes: above_zero("limits.signature-bytes", self.signature_bytes)?,
            attachments: self.attachments,
        })
    }
}

/// Longest header line of a part: the protocol's own bound, which stock servers keep to.
const PART_HEADER_LINE_BYTES: usize = 1000;

/// Metrics tell a stranger what the server does, so they stay on this machine.
fn check_health(listen: Listen) -> Result<(), ConfigError> {
    match listen.0 {
        Some(address) if !address.ip().is_loopback() => {
            Err(ConfigError { key: "health-check-listen", rule: "must be a loopback address".into() })
        }
        _ => Ok(()),
    }
}

fn zero(key: &'static str) -> ConfigError {
    ConfigError { key, rule: "must be above 0".into() }
}

fn above_zero<T: PartialEq + Default>(key: &'static str, value: T) -> Result<T, ConfigError> {
    if value == T::default() {
        return Err(zero(key));
    }
    Ok(value)
}

fn seconds(key: &'static str, value: u64) -> Result<Duration, ConfigError> {
    above_zero(key, value).map(Duration::from_secs)
}

fn millis(key: &'static str, value: u64) -> Result<Duration, ConfigError> {
    above_zero(key, value).map(Duration::from_millis)
}

fn version(text: &str) -> Result<[u32; 3], ConfigError> {
    let parts: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    let whole = text.split('.').count() == 3;
    parts.try_into().ok().filter(|_| whole).ok_or_else(|| ConfigError {
        key: "proxy.server-min-supported-client-version",
        rule: format!("{text:?} is no version such as \"7.6.0\""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let file: File = host::settings::parse(text, "test").map_err(|e| e.to_string())?;
        file.resolve().map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let settings = read("").unwrap();
        assert_eq!(settings.client_http, Some(([127, 0, 0, 1], 8080).into()));
        assert_eq!(settings.pin_file, PathBuf::from("/var/lib/causeway/security-server/token-pin"));
        assert_eq!(settings.limits.peer_answer, Some(Duration::from_secs(600)), "every wait has an end");
        assert_eq!(settings.configuration.federations, Federations::None);
        assert_eq!(settings.min_client_version, None);
    }

    #[test]
    fn values_are_resolved() {
        let settings = read(
            "data-dir = '/d'\n[proxy]\nclient-http-listen = 'off'\nfault-code-style = '7.7'\n\
             server-min-supported-client-version = '7.6.0'\nclient-httpclient-timeout = 1500\n\
             [configuration-client]\nallowed-federations = 'fi, is'\n",
        )
        .unwrap();
        assert_eq!(settings.client_http, None);
        assert_eq!(settings.fault_style, Style::Camel);
        assert_eq!(settings.min_client_version, Some([7, 6, 0]));
        assert_eq!(settings.limits.peer_answer, Some(Duration::from_millis(1500)));
        assert_eq!(settings.configuration.federations, Federations::Listed(vec!["FI".into(), "IS".into()]));
        assert_eq!(settings.configuration.anchor_file, PathBuf::from("/d/configuration-anchor.xml"));
    }

    #[test]
    fn refuses_with_the_key_and_the_rule() {
        let cases = [
            ("[limits]\nheaders = 0", "limits.headers: must be above 0"),
            ("[limits]\nhead-bytes = 100", "limits.head-bytes: must be 8192 or more"),
            ("[proxy]\nserver-port = 0", "proxy.server-port: must be above 0"),
            ("health-check-listen = '0.0.0.0:1'", "health-check-listen: must be a loopback address"),
            (
                "[proxy]\nserver-min-supported-client-version = '7.6'",
                "proxy.server-min-supported-client-version: \"7.6\" is no version such as \"7.6.0\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        }
        let unknown = read("[proxy]\nclient-http-port = 80").unwrap_err();
        assert!(unknown.contains("client-http-port") && unknown.contains("client-http-listen"), "{unknown}");
        let no_port = read("[proxy]\nclient-http-listen = '127.0.0.1'").unwrap_err();
        assert!(no_port.contains("such as 127.0.0.1:8080"), "{no_port}");
    }

    /// The sample is rendered from this file; `CAUSEWAY_RENDER=1 cargo test` writes it anew.
    #[test]
    fn the_sample_in_deploy_is_this_file_rendered() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/security-server.toml");
        let rendered = host::settings::render_sample::<File>();
        if std::env::var_os("CAUSEWAY_RENDER").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &rendered).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), rendered, "run with CAUSEWAY_RENDER=1");
        assert_eq!(host::settings::parse::<File>(&rendered, "sample").unwrap(), File::default());
    }
}
