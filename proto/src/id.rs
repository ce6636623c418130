//! Identifiers of members, subsystems, services, servers and groups, in each of their written forms.
//!
//! Forms (trust dossier §1.2): *long* `SUBSYSTEM:EE/GOV/1/sub` for logs, *short* `EE/GOV/1/sub`, *encoded* `EE:GOV:1:sub` for
//! configuration and admin APIs, *header* `EE/GOV/1/s%C3%B5` for REST paths and headers [PR-REST §4.2]. Comparison is exact.
use serde::{Deserialize, Serialize};

/// A member: the legal owner of subsystems and servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberId {
    /// X-Road instance.
    pub instance: String,
    /// Member class, such as `GOV`.
    pub class: String,
    /// Member code.
    pub code: String,
}

/// A security server client: a member, or one of its subsystems.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientId {
    /// The member that it is or belongs to.
    pub member: MemberId,
    /// The subsystem code; `None` means the member itself.
    pub subsystem: Option<String>,
}

/// A service of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceId {
    /// Who offers it.
    pub client: ClientId,
    /// Service code.
    pub code: String,
    /// Version, a free string; always `None` over REST.
    pub version: Option<String>,
}

/// A security server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServerId {
    /// The member that owns it.
    pub owner: MemberId,
    /// Server code.
    pub code: String,
}

/// A group maintained at the central server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GlobalGroupId {
    /// X-Road instance.
    pub instance: String,
    /// Group code.
    pub code: String,
}

/// Who an access right is given to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// Exactly this member or subsystem.
    Client(ClientId),
    /// Whoever is in this global group.
    GlobalGroup(GlobalGroupId),
    /// Whoever is in the service owner's local group with this code.
    LocalGroup(String),
}

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Wrong number of parts.
    #[error("expected {expected} codes, found {found}")]
    CodeCount {
        /// How many the form has, in words.
        expected: &'static str,
        /// How many there were.
        found: usize,
    },
    /// An empty part.
    #[error("code {index} is empty")]
    EmptyCode {
        /// Its position, from 0.
        index: usize,
    },
    /// A broken escape or a character that must be escaped.
    #[error("code {index} is not valid percent-encoded UTF-8")]
    PercentEncoding {
        /// Its position, from 0.
        index: usize,
    },
}
