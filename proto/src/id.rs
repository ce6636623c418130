//! Identifiers of members, subsystems, services, servers and groups, in each of their written forms.
//!
//! | Form | Looks like | Where | Written | Read |
//! |---|---|---|---|---|
//! | long | `SUBSYSTEM:EE/GOV/1/sub` | logs | `Display` | `FromStr` |
//! | short | `EE/GOV/1/sub` | certificate subjects | `short` | `parse_short` |
//! | encoded | `EE:GOV:1:sub`, `EE:GOV:1:sub:svc.v1` | configuration files, admin APIs | `encoded` | `parse_encoded` |
//! | header | `EE/GOV/1/s%C3%B5` | REST paths and headers [PR-REST §4.2] | `to_header` | `from_header` |
//! | XML | `<… id:objectType="SUBSYSTEM"><id:xRoadInstance>…` | SOAP, global configuration | | [`XmlId`] |
//!
//! Comparison is exact everywhere: codes are case-sensitive and never normalised. A code has at most [`MAX_CODE_CHARS`]
//! characters. The long and short forms of a service are not read back, since without a subsystem they are ambiguous.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod forms;
mod xml;
use forms::{
    checked_code, client, global_group, header, header_codes, join, member_only, plain_codes, push_header,
    server, typed, write_long,
};
pub(crate) use forms::{decode_segment, unescape};
pub use forms::{has_discouraged_character, is_strict_code};
pub use xml::{IDENTIFIERS_NS, ObjectType, XmlId};

/// Longest code, message id or request id; what the reference's tables hold.
pub const MAX_CODE_CHARS: usize = 255;

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
    /// A part over [`MAX_CODE_CHARS`].
    #[error("code {index} is longer than {MAX_CODE_CHARS} characters")]
    TooLong {
        /// Its position, from 0.
        index: usize,
    },
    /// The object type is unknown, missing, or not one that may stand here.
    #[error("the object type is not {expected}")]
    ObjectType {
        /// What may stand here, in words.
        expected: &'static str,
    },
    /// A child of the XML form that the type needs.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// A child of the XML form that the type does not have, or that is there twice.
    #[error("{0} does not belong here")]
    Unexpected(&'static str),
}

impl MemberId {
    /// From its three codes, unchecked.
    pub fn new(instance: impl Into<String>, class: impl Into<String>, code: impl Into<String>) -> Self {
        Self { instance: instance.into(), class: class.into(), code: code.into() }
    }
    /// All codes in order.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        [self.instance.as_str(), &self.class, &self.code].into_iter()
    }
    /// `EE/GOV/1`.
    pub fn short(&self) -> String {
        join(self.codes(), '/')
    }
    /// `EE:GOV:1`.
    pub fn encoded(&self) -> String {
        join(self.codes(), ':')
    }
    /// Reads [`MemberId::short`].
    ///
    /// # Errors
    /// Anything but three codes.
    pub fn parse_short(text: &str) -> Result<Self, IdError> {
        member_only(plain_codes(text, '/')?)
    }
    /// Reads [`MemberId::encoded`].
    ///
    /// # Errors
    /// Anything but three codes.
    pub fn parse_encoded(text: &str) -> Result<Self, IdError> {
        member_only(plain_codes(text, ':')?)
    }
    /// The member as a client.
    pub fn client(self) -> ClientId {
        ClientId { member: self, subsystem: None }
    }
    /// A subsystem of the member.
    pub fn subsystem(self, code: impl Into<String>) -> ClientId {
        ClientId { member: self, subsystem: Some(code.into()) }
    }
}

impl ClientId {
    /// `MEMBER` or `SUBSYSTEM`.
    pub fn object_type(&self) -> ObjectType {
        if self.subsystem.is_some() { ObjectType::Subsystem } else { ObjectType::Member }
    }
    /// All codes in order.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.member.codes().chain(self.subsystem.as_deref())
    }
    /// `EE/GOV/1/sub`.
    pub fn short(&self) -> String {
        join(self.codes(), '/')
    }
    /// `EE:GOV:1:sub`.
    pub fn encoded(&self) -> String {
        join(self.codes(), ':')
    }
    /// `EE/GOV/1/s%C3%B5`.
    pub fn to_header(&self) -> String {
        header(self.codes())
    }
    /// Adds [`ClientId::to_header`] to a text.
    pub(crate) fn push_header(&self, text: &mut String) {
        push_header(text, self.codes());
    }
    /// Reads [`ClientId::short`].
    ///
    /// # Errors
    /// Anything but three or four codes.
    pub fn parse_short(text: &str) -> Result<Self, IdError> {
        client(plain_codes(text, '/')?)
    }
    /// Reads [`ClientId::encoded`].
    ///
    /// # Errors
    /// Anything but three or four codes.
    pub fn parse_encoded(text: &str) -> Result<Self, IdError> {
        client(plain_codes(text, ':')?)
    }
    /// Reads [`ClientId::to_header`]: the value of `X-Road-Client`.
    ///
    /// # Errors
    /// Anything but three or four codes, or a broken escape.
    pub fn from_header(text: &str) -> Result<Self, IdError> {
        client(header_codes(text)?)
    }
    /// A service of this client, without version.
    pub fn service(self, code: impl Into<String>) -> ServiceId {
        ServiceId { client: self, code: code.into(), version: None }
    }
}

impl ServiceId {
    /// All codes in order, the version last.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.client.codes().chain([self.code.as_str()]).chain(self.version.as_deref())
    }
    /// `EE/GOV/1/sub/svc/v1`.
    pub fn short(&self) -> String {
        join(self.codes(), '/')
    }
    /// `EE:GOV:1:sub:svc.v1`.
    pub fn encoded(&self) -> String {
        let mut text = join(self.client.codes().chain([self.code.as_str()]), ':');
        if let Some(version) = &self.version {
            text.push('.');
            text.push_str(version);
        }
        text
    }
    /// `EE/GOV/1/sub/svc`; a version is never written over REST.
    pub fn to_header(&self) -> String {
        header(self.client.codes().chain([self.code.as_str()]))
    }
    /// Adds [`ServiceId::to_header`] to a text.
    pub(crate) fn push_header(&self, text: &mut String) {
        push_header(text, self.client.codes().chain([self.code.as_str()]));
    }
    /// Reads [`ServiceId::encoded`]. A dot in the last code parts code and version, so there may be one at most.
    ///
    /// # Errors
    /// Anything but four codes (a member's service) or five, or a second dot.
    pub fn parse_encoded(text: &str) -> Result<Self, IdError> {
        let mut codes = plain_codes(text, ':')?;
        let found = codes.len();
        if !(4..=5).contains(&found) {
            return Err(IdError::CodeCount { expected: "4 or 5", found });
        }
        let last = codes.pop().expect("there are four codes or five");
        let (code, version) = match last.split_once('.') {
            None => (last, None),
            Some((_, version)) if version.contains('.') => return Err(IdError::Unexpected("a second dot")),
            Some(("", _) | (_, "")) => return Err(IdError::EmptyCode { index: found - 1 }),
            Some((code, version)) => (code.to_owned(), Some(version.to_owned())),
        };
        Ok(Self { client: client(codes)?, code, version })
    }
    /// Reads the value of `X-Road-Service`: always with a subsystem, never with a version.
    ///
    /// # Errors
    /// Anything but five codes, or a broken escape.
    pub fn from_header(text: &str) -> Result<Self, IdError> {
        Self::from_codes(header_codes(text)?)
    }
    /// From the five codes of a REST identifier.
    pub(crate) fn from_codes(mut codes: Vec<String>) -> Result<Self, IdError> {
        if codes.len() != 5 {
            return Err(IdError::CodeCount { expected: "5", found: codes.len() });
        }
        let code = codes.pop().expect("there are five codes");
        Ok(Self { client: client(codes)?, code, version: None })
    }
}

impl ServerId {
    /// All codes in order.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.owner.codes().chain([self.code.as_str()])
    }
    /// `EE/GOV/1/ss1`.
    pub fn short(&self) -> String {
        join(self.codes(), '/')
    }
    /// `EE:GOV:1:ss1`.
    pub fn encoded(&self) -> String {
        join(self.codes(), ':')
    }
    /// `EE/GOV/1/ss1`, escaped.
    pub fn to_header(&self) -> String {
        header(self.codes())
    }
    /// Reads [`ServerId::short`].
    ///
    /// # Errors
    /// Anything but four codes.
    pub fn parse_short(text: &str) -> Result<Self, IdError> {
        server(plain_codes(text, '/')?)
    }
    /// Reads [`ServerId::encoded`].
    ///
    /// # Errors
    /// Anything but four codes.
    pub fn parse_encoded(text: &str) -> Result<Self, IdError> {
        server(plain_codes(text, ':')?)
    }
    /// Reads the value of `X-Road-Security-Server`.
    ///
    /// # Errors
    /// Anything but four codes, or a broken escape.
    pub fn from_header(text: &str) -> Result<Self, IdError> {
        server(header_codes(text)?)
    }
}

impl GlobalGroupId {
    /// All codes in order.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        [self.instance.as_str(), &self.code].into_iter()
    }
    /// `EE/group`.
    pub fn short(&self) -> String {
        join(self.codes(), '/')
    }
    /// `EE:group`.
    pub fn encoded(&self) -> String {
        join(self.codes(), ':')
    }
    /// Reads [`GlobalGroupId::short`].
    ///
    /// # Errors
    /// Anything but two codes.
    pub fn parse_short(text: &str) -> Result<Self, IdError> {
        global_group(plain_codes(text, '/')?)
    }
    /// Reads [`GlobalGroupId::encoded`].
    ///
    /// # Errors
    /// Anything but two codes.
    pub fn parse_encoded(text: &str) -> Result<Self, IdError> {
        global_group(plain_codes(text, ':')?)
    }
}

impl Subject {
    /// The type that precedes its codes.
    pub fn object_type(&self) -> ObjectType {
        match self {
            Self::Client(client) => client.object_type(),
            Self::GlobalGroup(_) => ObjectType::GlobalGroup,
            Self::LocalGroup(_) => ObjectType::LocalGroup,
        }
    }
    /// The typed encoded form, `SUBSYSTEM:EE:GOV:1:sub`, `GLOBALGROUP:EE:group`, `LOCALGROUP:group`.
    pub fn encoded(&self) -> String {
        let codes = match self {
            Self::Client(client) => client.encoded(),
            Self::GlobalGroup(group) => group.encoded(),
            Self::LocalGroup(code) => code.clone(),
        };
        format!("{}:{codes}", self.object_type())
    }
    /// Reads [`Subject::encoded`].
    ///
    /// # Errors
    /// An unknown type, or codes that do not fit it.
    pub fn parse_encoded(text: &str) -> Result<Self, IdError> {
        Self::parse_typed(text, ':')
    }
    fn parse_typed(text: &str, separator: char) -> Result<Self, IdError> {
        let (object_type, codes) = typed(text)?;
        let codes = plain_codes(codes, separator)?;
        match object_type {
            ObjectType::Member => member_only(codes).map(|member| Self::Client(member.client())),
            ObjectType::Subsystem if codes.len() == 3 => Err(IdError::CodeCount { expected: "4", found: 3 }),
            ObjectType::Subsystem => client(codes).map(Self::Client),
            ObjectType::GlobalGroup => global_group(codes).map(Self::GlobalGroup),
            ObjectType::LocalGroup => match <[String; 1]>::try_from(codes) {
                Ok([code]) => Ok(Self::LocalGroup(code)),
                Err(codes) => Err(IdError::CodeCount { expected: "1", found: codes.len() }),
            },
            ObjectType::Service | ObjectType::Server => {
                Err(IdError::ObjectType { expected: "a client or a group" })
            }
        }
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_long(f, ObjectType::Member, self.codes())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_long(f, self.object_type(), self.codes())
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_long(f, ObjectType::Service, self.codes())
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_long(f, ObjectType::Server, self.codes())
    }
}

impl fmt::Display for GlobalGroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_long(f, ObjectType::GlobalGroup, self.codes())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => client.fmt(f),
            Self::GlobalGroup(group) => group.fmt(f),
            Self::LocalGroup(code) => write_long(f, ObjectType::LocalGroup, [code.as_str()].into_iter()),
        }
    }
}

impl FromStr for MemberId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match typed(text)? {
            (ObjectType::Member, codes) => Self::parse_short(codes),
            _ => Err(IdError::ObjectType { expected: "MEMBER" }),
        }
    }
}

impl FromStr for ClientId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match Subject::parse_typed(text, '/') {
            Ok(Subject::Client(client)) => Ok(client),
            Ok(Subject::GlobalGroup(_) | Subject::LocalGroup(_)) => {
                Err(IdError::ObjectType { expected: "MEMBER or SUBSYSTEM" })
            }
            Err(error) => Err(error),
        }
    }
}

impl FromStr for ServerId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match typed(text)? {
            (ObjectType::Server, codes) => Self::parse_short(codes),
            _ => Err(IdError::ObjectType { expected: "SERVER" }),
        }
    }
}

impl FromStr for GlobalGroupId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match typed(text)? {
            (ObjectType::GlobalGroup, codes) => Self::parse_short(codes),
            _ => Err(IdError::ObjectType { expected: "GLOBALGROUP" }),
        }
    }
}

impl FromStr for Subject {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse_typed(text, '/')
    }
}

#[cfg(test)]
mod tests;
