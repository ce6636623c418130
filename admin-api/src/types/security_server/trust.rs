//! What the global configuration says.
#![expect(missing_docs, reason = "a field is what its name says")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An approved CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateAuthority {
    pub name: String,
    pub subject_distinguished_name: String,
    pub issuer_distinguished_name: String,
    pub ocsp_response: String,
    pub not_after: String,
    pub top_ca: bool,
    pub path: String,
    pub authentication_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_profile_info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_csr_format: Option<String>,
    pub acme_capable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_server_ip_addresses: Option<Vec<String>>,
    pub ocsp_responders: Vec<OcspResponder>,
}

/// An OCSP responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OcspResponder {
    pub url: String,
    pub cost_type: String,
}

/// A field of the subject that a CA wants in requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CsrSubjectFieldDescription {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_key: Option<String>,
    pub default_value: String,
    pub read_only: bool,
    pub required: bool,
    pub localized: bool,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct XRoadInstance {
    pub identifier: String,
    pub local: bool,
}

/// A member's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberName {
    pub member_name: String,
}

/// A security server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityServer {
    pub id: String,
    pub instance_id: String,
    pub member_class: String,
    pub member_code: String,
    pub server_code: String,
    pub server_address: String,
}

/// Whether a CA wants an account, and the member has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcmeEabCredentialsStatus {
    pub acme_eab_required: bool,
    pub has_acme_external_account_credentials: bool,
}
