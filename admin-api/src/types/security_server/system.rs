//! The server itself: initialisation, anchor, version, TLS, timestamping, diagnostics, backups.
#![expect(missing_docs, reason = "a field is what its name says")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::{Flag, Text};

/// First configuration; parts already done are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct InitialServerConf {
    pub owner_member_class: Option<Text>,
    pub owner_member_code: Option<Text>,
    pub security_server_code: Option<Text>,
    pub software_token_pin: Option<Text>,
    pub ignore_warnings: Option<Flag>,
}

/// How far the first configuration is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InitializationStatus {
    pub is_anchor_imported: bool,
    pub is_server_code_initialized: bool,
    pub is_server_owner_initialized: bool,
    pub software_token_init_status: String,
    pub enforce_token_pin_policy: bool,
}

/// A configuration anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Anchor {
    pub hash: String,
    pub created_at: String,
}

/// Version of the server. There is no Java; scripts that look for it find numbers that satisfy them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionInfo {
    pub info: String,
    pub java_version: u32,
    pub min_java_version: u32,
    pub max_java_version: u32,
    pub using_supported_java_version: bool,
    pub java_vendor: String,
    pub java_runtime_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_configuration_version: Option<u32>,
}

/// Part of a cluster or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeType {
    pub node_type: String,
}

/// A timestamping service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimestampingService {
    pub name: String,
    pub url: String,
    pub cost_type: String,
}

/// A timestamping service to take or to leave.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TimestampingServiceNamed {
    pub name: Option<Text>,
    pub url: Option<Text>,
    pub cost_type: Option<Text>,
}

/// A distinguished name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct DistinguishedName {
    pub name: Option<Text>,
}

/// Facts for the banner of a user interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alerts {
    pub global_conf_valid: bool,
    pub global_conf_valid_check_success: bool,
    pub soft_token_pin_entered: bool,
    pub soft_token_pin_entered_check_success: bool,
    pub certificate_renewal_job_success: bool,
}

/// Why something fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeWithDetails {
    pub code: String,
    pub metadata: Vec<String>,
    pub validation_errors: std::collections::BTreeMap<String, Vec<String>>,
}

/// How the download of the global configuration does. `status_code` is for tools older than release 7.8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalConfDiagnostics {
    pub status_class: String,
    pub status_code: String,
    pub prev_update_at: String,
    pub next_update_at: String,
    pub last_successful_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CodeWithDetails>,
}

/// How the responders of a CA do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaOcspDiagnostics {
    pub distinguished_name: String,
    pub ocsp_responders: Vec<OcspResponderDiagnostics>,
}

/// How an OCSP responder does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OcspResponderDiagnostics {
    pub url: String,
    pub cost_type: String,
    pub status_class: String,
    pub status_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_update_at: Option<String>,
    pub next_update_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CodeWithDetails>,
}

/// How a timestamping service does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimestampingServiceDiagnostics {
    pub url: String,
    pub cost_type: String,
    pub status_class: String,
    pub status_code: String,
    pub prev_update_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CodeWithDetails>,
}

/// Which additions there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddOnStatus {
    pub messagelog_enabled: bool,
    pub opmonitoring_enabled: bool,
}

/// Whether backups are encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupEncryptionStatus {
    pub backup_encryption_status: bool,
    pub backup_encryption_keys: Vec<String>,
}

/// Whether the message log is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageLogEncryptionStatus {
    pub message_log_archive_encryption_status: bool,
    pub message_log_database_encryption_status: bool,
    pub message_log_grouping_rule: String,
    pub members: Vec<MessageLogMember>,
}

/// Keys by which the archive of a member is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageLogMember {
    pub member_id: String,
    pub keys: Vec<String>,
    pub default_key_used: bool,
}

/// Memory of the server process, bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProxyMemoryUsageStatus {
    pub max_memory: u64,
    pub total_memory: u64,
    pub used_memory: u64,
    pub usage_percent: u64,
    pub is_used_over_threshold: bool,
}

/// Whether something that the server depends on can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionStatus {
    pub status_class: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CodeWithDetails>,
}

/// Whether a configuration source can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalConfConnectionStatus {
    pub download_url: String,
    pub connection_status: ConnectionStatus,
}

/// Requests of a span of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationalDataInterval {
    pub interval_start_time: String,
    pub success_count: u64,
    pub failure_count: u64,
}

/// What is told by mail, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailNotificationStatus {
    pub enabled_notifications: Vec<String>,
    pub configuration_present: bool,
    pub recipients_emails: Vec<String>,
}

/// Whom a mail is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MailRecipient {
    pub mail_address: Option<Text>,
}

/// What came of a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestMailResponse {
    pub status: String,
    pub text: String,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    pub filename: String,
    pub created_at: String,
}

impl From<crate::backup::Kept> for Backup {
    fn from(kept: crate::backup::Kept) -> Self {
        Self { filename: kept.name, created_at: crate::types::date(kept.at) }
    }
}

/// A backup that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupExt {
    pub filename: String,
    pub created_at: String,
    pub local_conf_present: bool,
}

/// What a restore did to tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokensLoggedOut {
    pub hsm_tokens_logged_out: bool,
}

/// An uploaded backup.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct BackupUpload {
    pub file: Option<Vec<u8>>,
}
