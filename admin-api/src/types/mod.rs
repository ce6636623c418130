//! Requests and answers of the management APIs, for servers and for clients. Field names and shapes are those existing scripts read.
//!
//! Requests hold `Option` where a field may be missing, and texts as [`crate::lenient::Text`]: what is missing or wrong is said field by field
//! by the server, not by the reader. What both servers have is here; the rest is in a module of each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod central_server;
pub mod certificate;
pub mod security_server;

/// The signed-in user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Name; of an API key `api-key-<id>`.
    pub username: String,
    /// With `ROLE_` before each.
    pub roles: Vec<String>,
    /// Rights of these roles.
    pub permissions: Vec<String>,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKey {
    /// Its number.
    pub id: u64,
    /// What it may be.
    pub roles: Vec<String>,
    /// The key itself, in the answer to its making alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Whether the session is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionStatus {
    /// It is.
    pub valid: bool,
}

/// A time of an answer: milliseconds, always three digits.
pub fn date(at: proto::time::UnixTime) -> String {
    let text = at.to_iso8601();
    match text.strip_suffix('Z') {
        Some(seconds) if !seconds.contains('.') => format!("{seconds}.000Z"),
        _ => text,
    }
}
