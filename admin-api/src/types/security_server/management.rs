//! Operations that send management requests.
#![expect(missing_docs, reason = "a field is what its name says, and the types say the rest")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::Text;

/// Where a security server is reached by others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerAddress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Text>,
}

/// The address in the global configuration, and the one that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerAddressStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_address: Option<ServerAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_change: Option<ServerAddress>,
}

/// What those are told who meet a server in maintenance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MaintenanceModeMessage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
}

/// How far maintenance mode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaintenanceModeStatus {
    #[serde(rename = "PENDING_ENABLE_MAINTENANCE_MODE")]
    PendingEnable,
    #[serde(rename = "ENABLED_MAINTENANCE_MODE")]
    Enabled,
    #[serde(rename = "PENDING_DISABLE_MAINTENANCE_MODE")]
    PendingDisable,
    #[serde(rename = "DISABLED_MAINTENANCE_MODE")]
    Disabled,
}

/// Maintenance mode of a security server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MaintenanceMode {
    pub status: MaintenanceModeStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub is_management_services_provider: bool,
}

/// A name for a subsystem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientName {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<Text>,
}
