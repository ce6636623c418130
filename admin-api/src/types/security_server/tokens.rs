//! Tokens, keys, certificate signing requests and certificates.
#![expect(missing_docs, reason = "a field is what its name says")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::{Flag, Text};
use crate::types::certificate::CertificateDetails;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub r#type: String,
    pub keys: Vec<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    pub logged_in: bool,
    pub available: bool,
    pub saved_to_configuration: bool,
    pub read_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    pub token_infos: Vec<KeyValuePair>,
    pub possible_actions: Vec<String>,
}

/// A fact about a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyValuePair {
    pub key: String,
    pub value: String,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    pub id: String,
    pub name: String,
    pub label: String,
    pub certificates: Vec<TokenCertificate>,
    pub certificate_signing_requests: Vec<TokenCertificateSigningRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    pub available: bool,
    pub saved_to_configuration: bool,
    pub possible_actions: Vec<String>,
    pub key_algorithm: String,
}

/// A certificate that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCertificateSigningRequest {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    pub certificate_profile: String,
    pub possible_actions: Vec<String>,
}

/// A certificate of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCertificate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    pub active: bool,
    pub saved_to_configuration: bool,
    pub renewed_cert_hash: String,
    pub renewal_error: String,
    pub ocsp_verify_before_activation_error: String,
    pub certificate_details: CertificateDetails,
    pub status: String,
    pub possible_actions: Vec<String>,
}

/// A token's new name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TokenName {
    pub name: Option<Text>,
}

/// A PIN.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TokenPassword {
    pub password: Option<Text>,
}

/// A new PIN.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TokenPinUpdate {
    pub old_pin: Option<Text>,
    pub new_pin: Option<Text>,
}

/// A key to make.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct KeyLabel {
    pub label: Option<Text>,
}

/// A key's new name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct KeyName {
    pub name: Option<Text>,
}

/// A certificate to ask for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CsrGenerate {
    pub key_usage_type: Option<Text>,
    pub ca_name: Option<Text>,
    pub csr_format: Option<Text>,
    pub member_id: Option<Text>,
    pub subject_field_values: Option<BTreeMap<String, Text>>,
    pub acme_order: Option<Flag>,
}

/// A key to make, with a certificate to ask for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct KeyLabelWithCsrGenerate {
    pub key_label: Option<Text>,
    pub csr_generate_request: Option<CsrGenerate>,
}

/// A key that was made, and its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyWithCsrId {
    pub key: Key,
    pub csr_id: String,
}
