//! Service descriptions, services, endpoints, access rights.
#![expect(missing_docs, reason = "a field is what its name says")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::{Flag, Number, Text};

/// What describes services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    #[serde(rename = "WSDL")]
    Wsdl,
    #[serde(rename = "REST")]
    Rest,
    #[serde(rename = "OPENAPI3")]
    OpenApi3,
}

/// A service description with its services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDescription {
    pub id: String,
    pub url: String,
    pub r#type: ServiceType,
    pub disabled: bool,
    pub disabled_notice: String,
    pub refreshed_at: String,
    pub services: Vec<Service>,
    pub client_id: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    pub id: String,
    pub full_service_code: String,
    pub service_code: String,
    pub timeout: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub ssl_auth: bool,
    pub url: String,
    pub endpoints: Vec<Endpoint>,
}

/// A method and a pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    pub id: String,
    pub service_code: String,
    pub method: Method,
    pub path: String,
    /// The service's description has it.
    pub generated: bool,
}

/// A method of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[serde(rename = "*")]
    Any,
    Get,
    Post,
    Put,
    Delete,
    Patch,
    Head,
    Options,
    Trace,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Any,
        Self::Get,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Patch,
        Self::Head,
        Self::Options,
        Self::Trace,
    ];

    /// As written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "*",
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
        }
    }

    /// The method of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// A service description to add.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDescriptionAdd {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_service_code: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_warnings: Option<Flag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<ServiceType>,
}

/// What is to change of a service description.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDescriptionUpdate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_service_code: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_rest_service_code: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_warnings: Option<Flag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<ServiceType>,
}

/// What callers of a disabled service are told.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDescriptionDisabledNotice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_notice: Option<Text>,
}

/// Whether warnings are accepted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct IgnoreWarnings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_warnings: Option<Flag>,
}

/// How a service is called; with `…_all` the same for all services of its description.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceUpdate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_auth: Option<Flag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_all: Option<Flag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_all: Option<Flag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_auth_all: Option<Flag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_warnings: Option<Flag>,
}

/// An endpoint to add.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EndpointAdd {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_code: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
}

/// What is to change of an endpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EndpointUpdate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
}

/// What may be given rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceClientType {
    GlobalGroup,
    LocalGroup,
    Subsystem,
}

/// Who has rights, or may be given some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceClient {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_group_code: Option<String>,
    pub service_client_type: ServiceClientType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights_given_at: Option<String>,
}

/// Subjects to grant rights to or to withdraw them from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceClients {
    #[serde(default)]
    pub items: Vec<NamedServiceClient>,
}

/// A subject by its identifier; of a local group by its number.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NamedServiceClient {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_client_type: Option<ServiceClientType>,
}

/// A right on a service as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessRight {
    pub service_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_title: Option<String>,
    pub rights_given_at: String,
}

/// Services to grant or to withdraw.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct AccessRights {
    #[serde(default)]
    pub items: Vec<NamedService>,
}

/// A service by its code.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NamedService {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_code: Option<Text>,
}
