//! Clients and local groups.
#![expect(missing_docs, reason = "a field is what its name says")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::{Flag, Text};

/// How information systems of a client identify themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConnectionType {
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "HTTPS")]
    Https,
    #[serde(rename = "HTTPS_NO_AUTH")]
    HttpsNoAuth,
}

/// A member or subsystem; of one that is no client of this server only who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    pub id: String,
    pub instance_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_name: Option<String>,
    pub member_class: String,
    pub member_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_name: Option<String>,
    /// It owns this server.
    pub owner: bool,
    pub has_valid_local_sign_cert: bool,
    /// It serves the management requests of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_management_services_provider: Option<bool>,
    /// `NAME_SET` or `NAME_SUBMITTED` as long as a name waits to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<ConnectionType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A client to add.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClientAdd {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<NewClient>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_warnings: Option<Flag>,
}

/// Who is to be a client, and how it connects.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NewClient {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_class: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_code: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_code: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_name: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<ConnectionType>,
}

/// A connection type to set; without one nothing changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionTypeWrapper {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<ConnectionType>,
}

/// Whether keys or certificates are left of a member that is no client any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrphanInformation {
    pub orphans_exist: bool,
}

/// A local group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalGroup {
    pub id: String,
    pub code: String,
    pub description: String,
    pub member_count: usize,
    pub updated_at: String,
    pub members: Vec<GroupMember>,
}

/// Who is in a local group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupMember {
    pub id: String,
    /// As `member_name`, for scripts older than that.
    pub name: String,
    pub member_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_name: Option<String>,
    pub created_at: String,
}

/// A local group to add.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LocalGroupAdd {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
}

/// What a local group is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LocalGroupDescription {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
}

/// Encoded identifiers of members of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Members {
    #[serde(default)]
    pub items: Vec<Text>,
}
