//! The XML form of identifiers: an element with the attribute `id:objectType` and one child a code.
//!
//! [`XmlId`] collects the children, whichever reader finds them, and then makes the identifier that is wanted. Two rules exist for
//! clients: [`XmlId::client`] lets the children decide, as messages need it; [`XmlId::typed_client`] holds them against
//! `objectType`, as everything else does.
use std::fmt;

use super::{ClientId, GlobalGroupId, IdError, MemberId, ServerId, ServiceId, Subject, checked_code};

/// Namespace of `objectType` and of the children.
pub const IDENTIFIERS_NS: &str = "http://x-road.eu/xsd/identifiers";

/// The kinds of identifiers. `CENTRALSERVICE` is gone from the protocol and is refused like any unknown name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectType {
    /// A member.
    Member,
    /// A subsystem of a member.
    Subsystem,
    /// A service.
    Service,
    /// A security server.
    Server,
    /// A group of the central server.
    GlobalGroup,
    /// A group of one subsystem on one security server.
    LocalGroup,
}

impl ObjectType {
    /// As written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "MEMBER",
            Self::Subsystem => "SUBSYSTEM",
            Self::Service => "SERVICE",
            Self::Server => "SERVER",
            Self::GlobalGroup => "GLOBALGROUP",
            Self::LocalGroup => "LOCALGROUP",
        }
    }
    /// Reads [`ObjectType::name`], exactly.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Member, Self::Subsystem, Self::Service, Self::Server, Self::GlobalGroup, Self::LocalGroup]
            .into_iter()
            .find(|t| t.name() == name)
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an identifier element held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmlId {
    /// `id:objectType`.
    pub object_type: ObjectType,
    codes: [Option<String>; NAMES.len()],
}

/// Local names of the children, in the order of the schema.
const NAMES: [&str; 8] = [
    "xRoadInstance",
    "memberClass",
    "memberCode",
    "subsystemCode",
    "groupCode",
    "serviceCode",
    "serviceVersion",
    "serverCode",
];
const INSTANCE: usize = 0;
const CLASS: usize = 1;
const MEMBER: usize = 2;
const SUBSYSTEM: usize = 3;
const GROUP: usize = 4;
const SERVICE: usize = 5;
const VERSION: usize = 6;
const SERVER: usize = 7;

impl XmlId {
    /// Nothing but the type yet.
    pub fn new(object_type: ObjectType) -> Self {
        Self { object_type, codes: Default::default() }
    }
    /// Whether a child of this local name, in [`IDENTIFIERS_NS`], holds a code.
    pub fn knows(local: &str) -> bool {
        NAMES.contains(&local)
    }
    /// Takes the text of one child.
    ///
    /// # Errors
    /// A name that no identifier has, or one that was there before.
    pub fn set(&mut self, local: &str, text: String) -> Result<(), IdError> {
        let index =
            NAMES.iter().position(|n| *n == local).ok_or(IdError::Unexpected("an unknown element"))?;
        if self.codes[index].replace(text).is_some() {
            return Err(IdError::Unexpected(NAMES[index]));
        }
        Ok(())
    }
    /// Reads an element of a tree. Children of other namespaces are passed over.
    ///
    /// # Errors
    /// No object type, or an element that does not belong there.
    pub fn from_node(node: roxmltree::Node<'_, '_>) -> Result<Self, IdError> {
        let object_type = node
            .attribute((IDENTIFIERS_NS, "objectType"))
            .and_then(ObjectType::from_name)
            .ok_or(IdError::ObjectType { expected: "a known one" })?;
        let mut id = Self::new(object_type);
        for child in node.children().filter(|c| c.tag_name().namespace() == Some(IDENTIFIERS_NS)) {
            let text: String =
                child.children().filter_map(|c| c.is_text().then(|| c.text()).flatten()).collect();
            id.set(child.tag_name().name(), text)?;
        }
        Ok(id)
    }
    /// A client, whichever of `MEMBER` and `SUBSYSTEM` it says: a subsystem code makes it a subsystem.
    ///
    /// # Errors
    /// Another type, or codes missing or too many.
    pub fn client(mut self) -> Result<ClientId, IdError> {
        self.must_be(&[ObjectType::Member, ObjectType::Subsystem], "MEMBER or SUBSYSTEM")?;
        let client = self.take_client()?;
        self.must_be_empty()?;
        Ok(client)
    }
    /// A client whose type and children agree.
    ///
    /// # Errors
    /// As [`XmlId::client`], and when they disagree.
    pub fn typed_client(self) -> Result<ClientId, IdError> {
        let object_type = self.object_type;
        let client = self.client()?;
        match (object_type, &client.subsystem) {
            (ObjectType::Member, Some(_)) => Err(IdError::Unexpected(NAMES[SUBSYSTEM])),
            (ObjectType::Subsystem, None) => Err(IdError::Missing(NAMES[SUBSYSTEM])),
            _ => Ok(client),
        }
    }
    /// A service.
    ///
    /// # Errors
    /// Another type, or codes missing or too many.
    pub fn service(mut self) -> Result<ServiceId, IdError> {
        self.must_be(&[ObjectType::Service], "SERVICE")?;
        let client = self.take_client()?;
        let code = self.take(SERVICE)?;
        let version = self.take_optional(VERSION)?;
        self.must_be_empty()?;
        Ok(ServiceId { client, code, version })
    }
    /// A security server.
    ///
    /// # Errors
    /// Another type, or codes missing or too many.
    pub fn server(mut self) -> Result<ServerId, IdError> {
        self.must_be(&[ObjectType::Server], "SERVER")?;
        let owner = self.take_member()?;
        let code = self.take(SERVER)?;
        self.must_be_empty()?;
        Ok(ServerId { owner, code })
    }
    /// A global group.
    ///
    /// # Errors
    /// Another type, or codes missing or too many.
    pub fn global_group(mut self) -> Result<GlobalGroupId, IdError> {
        self.must_be(&[ObjectType::GlobalGroup], "GLOBALGROUP")?;
        let (instance, code) = (self.take(INSTANCE)?, self.take(GROUP)?);
        self.must_be_empty()?;
        Ok(GlobalGroupId { instance, code })
    }
    /// A client, typed, or a group.
    ///
    /// # Errors
    /// Another type, or codes missing or too many.
    pub fn subject(mut self) -> Result<Subject, IdError> {
        match self.object_type {
            ObjectType::Member | ObjectType::Subsystem => self.typed_client().map(Subject::Client),
            ObjectType::GlobalGroup => self.global_group().map(Subject::GlobalGroup),
            ObjectType::LocalGroup => {
                let code = self.take(GROUP)?;
                self.must_be_empty()?;
                Ok(Subject::LocalGroup(code))
            }
            ObjectType::Service | ObjectType::Server => {
                Err(IdError::ObjectType { expected: "a client or a group" })
            }
        }
    }

    fn take_client(&mut self) -> Result<ClientId, IdError> {
        Ok(ClientId { member: self.take_member()?, subsystem: self.take_optional(SUBSYSTEM)? })
    }
    fn take_member(&mut self) -> Result<MemberId, IdError> {
        Ok(MemberId { instance: self.take(INSTANCE)?, class: self.take(CLASS)?, code: self.take(MEMBER)? })
    }
    fn take(&mut self, index: usize) -> Result<String, IdError> {
        self.take_optional(index)?.ok_or(IdError::Missing(NAMES[index]))
    }
    fn take_optional(&mut self, index: usize) -> Result<Option<String>, IdError> {
        self.codes[index].take().map(|code| checked_code(&code, index).map(|_| ()).map(|()| code)).transpose()
    }
    fn must_be(&self, types: &[ObjectType], expected: &'static str) -> Result<(), IdError> {
        if types.contains(&self.object_type) { Ok(()) } else { Err(IdError::ObjectType { expected }) }
    }
    fn must_be_empty(&self) -> Result<(), IdError> {
        match self.codes.iter().position(Option::is_some) {
            Some(index) => Err(IdError::Unexpected(NAMES[index])),
            None => Ok(()),
        }
    }
}
