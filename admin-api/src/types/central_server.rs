//! Requests and answers of the central server's management API.
#![expect(missing_docs, reason = "a field is what its name says, and the types say the rest")]

use proto::id::{ClientId as Client_, MemberId, ServerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::Text;
use crate::page::{PagingMetadata, PagingSorting};
pub use crate::types::certificate::CertificateDetails;

/// A member or subsystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientId {
    #[serde(rename = "type")]
    pub kind: String,
    pub instance_id: String,
    pub member_class: String,
    pub member_code: String,
    pub encoded_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_code: Option<String>,
}

impl From<&Client_> for ClientId {
    fn from(id: &Client_) -> Self {
        Self {
            kind: if id.subsystem.is_some() { "SUBSYSTEM" } else { "MEMBER" }.into(),
            instance_id: id.member.instance.clone(),
            member_class: id.member.class.clone(),
            member_code: id.member.code.clone(),
            encoded_id: id.encoded(),
            subsystem_code: id.subsystem.clone(),
        }
    }
}

impl From<&MemberId> for ClientId {
    fn from(id: &MemberId) -> Self {
        Self::from(&id.clone().client())
    }
}

/// A security server's identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityServerId {
    #[serde(rename = "type")]
    pub kind: String,
    pub instance_id: String,
    pub member_class: String,
    pub member_code: String,
    pub encoded_id: String,
    pub server_code: String,
}

impl From<&ServerId> for SecurityServerId {
    fn from(id: &ServerId) -> Self {
        Self {
            kind: "SERVER".into(),
            instance_id: id.owner.instance.clone(),
            member_class: id.owner.class.clone(),
            member_code: id.owner.code.clone(),
            encoded_id: id.encoded(),
            server_code: id.code.clone(),
        }
    }
}

/// First configuration; parts already done are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct InitialServerConf {
    pub instance_identifier: Option<Text>,
    pub central_server_address: Option<Text>,
    pub software_token_pin: Option<Text>,
}

/// How far the first configuration is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InitializationStatus {
    pub instance_identifier: String,
    pub central_server_address: String,
    pub software_token_init_status: String,
}

/// Whether there are several nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HighAvailabilityStatus {
    pub is_ha_configured: bool,
    pub node_name: String,
}

/// Nodes of the central server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HighAvailabilityClusterStatus {
    pub is_ha_configured: bool,
    pub node_name: String,
    pub nodes: Vec<Node>,
    pub all_nodes_ok: bool,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    pub node_name: String,
    pub node_address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_generated: Option<String>,
    pub status: String,
}

/// Both of the above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemStatus {
    pub high_availability_status: HighAvailabilityStatus,
    pub initialization_status: InitializationStatus,
}

/// Version of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    pub info: String,
}

/// Host of the central server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CentralServerAddress {
    pub central_server_address: Option<Text>,
}

/// Something that people should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    pub error_code: String,
    pub metadata: Vec<String>,
}

/// PIN of a token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TokenPassword {
    pub password: Option<Text>,
}

/// A token with configuration signing keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub active: bool,
    pub available: bool,
    pub id: String,
    pub logged_in: bool,
    pub name: String,
    pub possible_actions: Vec<String>,
    pub configuration_signing_keys: Vec<ConfigurationSigningKey>,
    pub status: String,
}

/// A configuration signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationSigningKey {
    pub active: bool,
    pub available: bool,
    pub created_at: String,
    pub id: String,
    pub token_id: String,
    pub label: KeyLabel,
    pub possible_actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<String>,
    pub key_algorithm: String,
}

/// What a key is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyLabel {
    pub label: String,
}

/// A new configuration signing key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationSigningKeyAdd {
    pub key_label: Option<Text>,
    pub token_id: Option<Text>,
}

/// An anchor, where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationAnchorContainer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<ConfigurationAnchor>,
}

/// Hash and time of an anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationAnchor {
    pub created_at: String,
    pub hash: String,
}

/// Where a directory is downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalConfDownloadUrl {
    pub url: String,
}

/// One part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationPart {
    pub content_identifier: String,
    pub file_name: String,
    pub optional: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_updated_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// A form with an optional part.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationPartUpload {
    pub content_identifier: Option<Text>,
    pub file: Option<Text>,
}

/// The anchor of another instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrustedAnchor {
    pub instance_identifier: String,
    pub generated_at: String,
    pub hash: String,
}

/// A form with the anchor of another instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TrustedAnchorFile {
    pub anchor: Option<Text>,
}

/// A member class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberClass {
    pub description: String,
    pub code: String,
}

/// A new member class.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemberClassAdd {
    pub code: Option<Text>,
    pub description: Option<Text>,
}

/// What something is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    pub description: Option<Text>,
}

/// A new member.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemberAdd {
    pub member_id: Option<NewMemberId>,
    pub member_name: Option<Text>,
}

/// Class and code of a new member.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NewMemberId {
    pub member_class: Option<Text>,
    pub member_code: Option<Text>,
}

/// Name of a member.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemberName {
    pub member_name: Option<Text>,
}

/// A member or subsystem with the name of the member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_name: Option<String>,
    pub client_id: ClientId,
}

/// A page of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PagedClients {
    pub clients: Vec<Client>,
    pub paging_metadata: PagingMetadata,
}

/// A new subsystem.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SubsystemAdd {
    pub subsystem_id: Option<NewSubsystemId>,
    pub subsystem_name: Option<Text>,
}

/// Identifier of a new subsystem.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NewSubsystemId {
    pub member_class: Option<Text>,
    pub member_code: Option<Text>,
    pub subsystem_code: Option<Text>,
}

/// Name of a subsystem.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SubsystemName {
    pub subsystem_name: Option<Text>,
}

/// A subsystem with the servers that use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subsystem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_name: Option<String>,
    pub subsystem_id: ClientId,
    pub used_security_servers: Vec<UsedSecurityServer>,
}

/// A server that a subsystem is a client of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsedSecurityServer {
    pub encoded_id: String,
    pub server_code: String,
    pub server_owner: String,
    pub status: String,
}

/// A group that a member or its subsystem is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberGlobalGroup {
    pub group_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<String>,
    pub added_to_group: String,
}

/// A security server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityServer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_address: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    pub server_id: SecurityServerId,
    pub owner_name: String,
    pub in_maintenance_mode: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_mode_message: Option<String>,
}

/// A page of security servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PagedSecurityServers {
    pub items: Vec<SecurityServer>,
    pub paging_metadata: PagingMetadata,
}

/// Address of a security server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SecurityServerAddress {
    pub server_address: Option<Text>,
}

/// A certification service in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificationServiceListItem {
    pub id: u64,
    pub name: String,
    pub not_after: String,
    pub not_before: String,
}

/// A certification service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificationService {
    pub id: u64,
    pub name: String,
    pub issuer_distinguished_name: String,
    pub subject_distinguished_name: String,
    pub not_after: String,
    pub not_before: String,
    pub certificate_profile_info: String,
    pub tls_auth: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_csr_format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_server_directory_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_server_ip_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_certificate_profile_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_certificate_profile_id: Option<String>,
}

/// Settings of a certification service; what is absent stays as it is. In the form of a new one, `certificate` is the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CertificationServiceSettings {
    pub certificate_profile_info: Option<Text>,
    pub tls_auth: Option<Text>,
    pub default_csr_format: Option<Text>,
    pub acme_server_directory_url: Option<Text>,
    pub acme_server_ip_address: Option<Text>,
    pub authentication_certificate_profile_id: Option<Text>,
    pub signing_certificate_profile_id: Option<Text>,
    pub certificate: Option<Text>,
}

/// A form with a certificate, where it stands for a CA.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CertificateFile {
    pub certificate: Option<Text>,
}

/// A form of an address, what it costs, and a certificate.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceForm {
    pub url: Option<Text>,
    pub cost_type: Option<Text>,
    pub certificate: Option<Text>,
}

/// An intermediate CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateAuthority {
    pub id: u64,
    pub ca_certificate: CertificateDetails,
}

/// An OCSP responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OcspResponder {
    pub url: String,
    pub cost_type: String,
    pub id: u64,
    pub has_certificate: bool,
}

/// A timestamping service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimestampingService {
    pub url: String,
    pub cost_type: String,
    pub certificate: CertificateDetails,
    pub id: u64,
    pub timestamping_interval: u64,
}

/// A global group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalGroup {
    pub code: String,
    pub description: String,
    pub created_at: String,
    pub updated_at: String,
    pub member_count: usize,
}

/// A new global group.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct GlobalGroupAdd {
    pub code: Option<Text>,
    pub description: Option<Text>,
}

/// Members or subsystems by encoded id.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Members {
    #[serde(default)]
    pub items: Vec<Text>,
}

/// Which members of a group are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct GroupMembersFilter {
    pub query: Option<Text>,
    pub member_class: Option<Text>,
    pub instance: Option<Text>,
    #[serde(default)]
    pub codes: Option<Vec<Text>>,
    #[serde(default)]
    pub subsystems: Option<Vec<Text>>,
    #[serde(default)]
    pub types: Option<Vec<Text>>,
    pub paging_sorting: Option<PagingSorting>,
}

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupMember {
    pub created_at: String,
    pub id: u64,
    pub client_id: ClientId,
    pub name: String,
}

/// A page of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PagedGroupMembers {
    pub items: Vec<GroupMember>,
    pub paging_metadata: PagingMetadata,
}

/// Values for the menus of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupMembersFilterModel {
    pub instances: Vec<String>,
    pub member_classes: Vec<String>,
    pub codes: Vec<String>,
    pub subsystems: Vec<String>,
}

/// A management request: what is asked in, what became of it out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManagementRequest {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_server_id: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_name: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_address: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_certificate: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
}

/// A management request in a list; the last two fields with its details alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManagementRequestView {
    pub id: u64,
    #[serde(rename = "type")]
    pub kind: String,
    pub origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_server_owner: Option<String>,
    pub security_server_id: SecurityServerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_owner_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_subsystem_name: Option<String>,
    pub created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_details: Option<CertificateDetails>,
}

/// A page of management requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PagedManagementRequests {
    pub items: Vec<ManagementRequestView>,
    pub paging_metadata: PagingMetadata,
}

/// Who offers the management services, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManagementServicesConfiguration {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_provider_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_server_id: Option<String>,
    pub security_server_owners_global_group_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_provider_name: Option<String>,
    pub services_address: String,
    pub wsdl_address: String,
}

/// The provider to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceProviderId {
    pub service_provider_id: Option<Text>,
}

/// Where the provider is to be registered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RegisterServiceProvider {
    pub security_server_id: Option<Text>,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    pub filename: String,
}

impl From<crate::backup::Kept> for Backup {
    fn from(kept: crate::backup::Kept) -> Self {
        Self { filename: kept.name }
    }
}
