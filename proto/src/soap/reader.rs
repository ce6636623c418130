//! One pass over a SOAP document: header fields, the body's element, a fault.
//!
//! Elements count by their expanded name and their depth: envelope 1, header and body 2, header fields and the body's element 3,
//! parts of identifiers 4. Everything else is passed over. The order in which rules are checked is the reference's: while reading,
//! doubles, object types, blank codes and the version; what is missing, when the envelope ends.
use super::splice::HashPlace;
use super::{LIMITS, REPRESENTATION_NS, SoapError, SoapHeader, XROAD_NS};
use crate::fault::{ENVELOPE_NS, Fault, FaultReader};
use crate::id::{ClientId, IDENTIFIERS_NS, MAX_CODE_CHARS, MemberId, ObjectType, ServerId, ServiceId};
use crate::xml::{Element, Node, Pull};

/// What was found.
pub(super) struct Found {
    pub(super) fault: Option<Fault>,
    /// Complete, unless there is a fault.
    pub(super) header: Option<(SoapHeader, HashPlace)>,
    pub(super) is_response: bool,
}

/// A header element that the protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    UserId,
    Issue,
    ProtocolVersion,
    RequestHash,
    Client,
    Service,
    SecurityServer,
    RepresentedParty,
}

impl Field {
    const COUNT: usize = 9;

    const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::UserId => "userId",
            Self::Issue => "issue",
            Self::ProtocolVersion => "protocolVersion",
            Self::RequestHash => "requestHash",
            Self::Client => "client",
            Self::Service => "service",
            Self::SecurityServer => "securityServer",
            Self::RepresentedParty => "representedParty",
        }
    }
    const ALL: [Self; Self::COUNT] = [
        Self::Id,
        Self::UserId,
        Self::Issue,
        Self::ProtocolVersion,
        Self::RequestHash,
        Self::Client,
        Self::Service,
        Self::SecurityServer,
        Self::RepresentedParty,
    ];
    /// The children that hold its parts; other children are passed over.
    const fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Client => &["xRoadInstance", "memberClass", "memberCode", "subsystemCode"],
            Self::Service => &[
                "xRoadInstance",
                "memberClass",
                "memberCode",
                "subsystemCode",
                "serviceCode",
                "serviceVersion",
            ],
            Self::SecurityServer => &["xRoadInstance", "memberClass", "memberCode", "serverCode"],
            Self::RepresentedParty => &["partyClass", "partyCode"],
            Self::Id | Self::UserId | Self::Issue | Self::ProtocolVersion | Self::RequestHash => &[],
        }
    }
    const fn parts_namespace(self) -> &'static str {
        match self {
            Self::RepresentedParty => REPRESENTATION_NS,
            _ => IDENTIFIERS_NS,
        }
    }
    /// The object types that may stand at it.
    const fn types(self) -> &'static [ObjectType] {
        match self {
            Self::Client => &[ObjectType::Member, ObjectType::Subsystem],
            Self::Service => &[ObjectType::Service],
            Self::SecurityServer => &[ObjectType::Server],
            _ => &[],
        }
    }
}

/// Parts of one field, in the order of [`Field::parts`].
type Parts = [Option<String>; 6];

#[derive(Default)]
struct Reader {
    section: Option<Section>,
    header_seen: bool,
    bodies: usize,
    body_element: Option<String>,
    /// The field that is open.
    field: Option<Field>,
    /// The index of its part that is open.
    part: Option<usize>,
    text: String,
    parts: Parts,
    values: [Option<String>; Field::COUNT],
    client: Option<ClientId>,
    service: Option<ServiceId>,
    security_server: Option<ServerId>,
    represented_party: Option<(Option<String>, String)>,
    place: HashPlace,
    hash_start: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Header,
    Body,
}

pub(super) fn read(text: &str) -> Result<Found, SoapError> {
    let mut pull = Pull::new(text, LIMITS)?;
    let mut reader = Reader::default();
    let mut fault = FaultReader::default();
    let mut header = None;
    while let Some(node) = pull.next()? {
        fault.take(&pull, &node);
        match &node {
            Node::Start(element) => reader.start(&pull, element)?,
            Node::End if pull.depth() == 0 && !fault.found() => header = Some(reader.complete()?),
            Node::End => reader.end(&pull)?,
            Node::Text(_) | Node::CData(_) | Node::Char(_) => reader.character_data(pull.depth(), &node),
            Node::Other => {}
        }
    }
    let is_response = reader.body_element.is_some_and(|name| name.ends_with("Response"));
    Ok(Found { fault: fault.finish(), header, is_response })
}

impl Reader {
    fn start(&mut self, pull: &Pull<'_>, element: &Element<'_>) -> Result<(), SoapError> {
        match (pull.depth(), self.section) {
            (1, _) if !pull.is(element, ENVELOPE_NS, "Envelope") => Err(SoapError::Envelope),
            (2, _) => self.open_section(pull, element),
            (3, Some(Section::Header)) => self.open_field(pull, element),
            (3, Some(Section::Body)) => self.open_body_element(pull, element),
            (4, Some(Section::Header)) => self.open_part(pull, element),
            _ => Ok(()),
        }
    }

    fn open_section(&mut self, pull: &Pull<'_>, element: &Element<'_>) -> Result<(), SoapError> {
        self.section = if pull.is(element, ENVELOPE_NS, "Header") {
            Some(Section::Header)
        } else if pull.is(element, ENVELOPE_NS, "Body") {
            self.bodies += 1;
            Some(Section::Body)
        } else {
            None
        };
        Ok(())
    }

    fn open_body_element(&mut self, pull: &Pull<'_>, element: &Element<'_>) -> Result<(), SoapError> {
        if pull.is(element, ENVELOPE_NS, "Fault") || self.bodies > 1 {
            return Ok(());
        }
        if self.body_element.is_some() {
            return Err(SoapError::BodyElements);
        }
        self.body_element = Some(element.local.to_owned());
        Ok(())
    }

    fn open_field(&mut self, pull: &Pull<'_>, element: &Element<'_>) -> Result<(), SoapError> {
        let namespace = pull.namespace(element);
        let known = Field::ALL.into_iter().find(|field| {
            let expected = if *field == Field::RepresentedParty { REPRESENTATION_NS } else { XROAD_NS };
            element.local == field.name() && namespace == Some(expected)
        });
        let Some(field) = known else { return Ok(()) };
        if self.has(field) {
            return Err(SoapError::DuplicateField(field.name()));
        }
        if !field.types().is_empty() {
            let written = pull.attribute(Some(IDENTIFIERS_NS), "objectType");
            let object_type = written.as_deref().and_then(ObjectType::from_name);
            if !object_type.is_some_and(|t| field.types().contains(&t)) {
                return Err(SoapError::ObjectType(field.name()));
            }
        }
        match field {
            Field::Id => {
                self.place.id.start = pull.span().start;
                self.place.prefix = element.prefix.to_owned();
                self.place.declared_there = pull.declares_here(element.prefix);
            }
            Field::RequestHash => self.hash_start = pull.span().start,
            _ => {}
        }
        self.field = Some(field);
        self.text.clear();
        Ok(())
    }

    fn has(&self, field: Field) -> bool {
        match field {
            Field::Client => self.client.is_some(),
            Field::Service => self.service.is_some(),
            Field::SecurityServer => self.security_server.is_some(),
            Field::RepresentedParty => self.represented_party.is_some(),
            _ => self.values[field as usize].is_some(),
        }
    }

    fn open_part(&mut self, pull: &Pull<'_>, element: &Element<'_>) -> Result<(), SoapError> {
        let Some(field) = self.field else { return Ok(()) };
        if pull.namespace(element) != Some(field.parts_namespace()) {
            return Ok(());
        }
        let Some(index) = field.parts().iter().position(|name| *name == element.local) else { return Ok(()) };
        if self.parts[index].is_some() {
            return Err(SoapError::DuplicateField(field.parts()[index]));
        }
        self.part = Some(index);
        self.text.clear();
        Ok(())
    }

    /// Text counts directly in a plain field, or directly in a part of one.
    fn character_data(&mut self, depth: usize, node: &Node<'_>) {
        let wanted = match (self.field, self.part) {
            (Some(_), Some(_)) => depth == 4,
            (Some(field), None) => depth == 3 && field.parts().is_empty(),
            (None, _) => false,
        };
        if wanted {
            node.append_to(&mut self.text);
        }
    }

    fn end(&mut self, pull: &Pull<'_>) -> Result<(), SoapError> {
        match pull.depth() {
            3 => {
                if let Some(index) = self.part.take() {
                    self.parts[index] = Some(std::mem::take(&mut self.text));
                }
                Ok(())
            }
            2 => match self.field.take() {
                Some(field) => self.close_field(field, pull.span().end),
                None => Ok(()),
            },
            1 => {
                self.header_seen |= self.section == Some(Section::Header);
                self.section = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close_field(&mut self, field: Field, end: usize) -> Result<(), SoapError> {
        let mut parts = std::mem::take(&mut self.parts);
        match field {
            Field::Client => self.client = Some(client(field, &mut parts)?),
            Field::Service => {
                let client = client(field, &mut parts)?;
                let code = required(field, &mut parts[4])?;
                self.service = Some(ServiceId { client, code, version: optional(field, &mut parts[5])? });
            }
            Field::SecurityServer => {
                let owner = member(field, &mut parts)?;
                self.security_server = Some(ServerId { owner, code: required(field, &mut parts[3])? });
            }
            Field::RepresentedParty => {
                self.represented_party = Some((parts[0].take(), parts[1].take().unwrap_or_default()));
            }
            Field::Id | Field::UserId | Field::Issue | Field::ProtocolVersion | Field::RequestHash => {
                let value = std::mem::take(&mut self.text);
                match field {
                    Field::ProtocolVersion if !value.starts_with("4.") => {
                        return Err(SoapError::ProtocolVersion);
                    }
                    Field::Id => self.place.id.end = end,
                    Field::RequestHash => self.place.old = Some(self.hash_start..end),
                    _ => {}
                }
                self.values[field as usize] = Some(value);
            }
        }
        Ok(())
    }

    /// The envelope has ended without a fault: everything must be there.
    fn complete(&mut self) -> Result<(SoapHeader, HashPlace), SoapError> {
        if !self.header_seen {
            return Err(SoapError::MissingHeader);
        }
        let missing = |field: Field| SoapError::MissingField(field.name());
        let mut take = |field: Field| self.values[field as usize].take();
        let protocol_version = take(Field::ProtocolVersion).ok_or(missing(Field::ProtocolVersion))?;
        let client = self.client.take().ok_or(missing(Field::Client))?;
        let id = take(Field::Id).ok_or(missing(Field::Id))?;
        let service = self.service.take().ok_or(missing(Field::Service))?;
        let header = SoapHeader {
            client,
            service,
            id,
            user_id: take(Field::UserId),
            issue: take(Field::Issue),
            represented_party: self.represented_party.take(),
            security_server: self.security_server.take(),
            protocol_version,
            request_hash: take(Field::RequestHash),
        };
        match (self.bodies, &self.body_element) {
            (0, _) => Err(SoapError::MissingBody),
            (2.., _) => Err(SoapError::TwoBodies),
            (_, None) => Err(SoapError::BodyElements),
            (_, Some(name)) if !name.starts_with(&header.service.code) => Err(SoapError::ServiceCode),
            _ if header.id.chars().count() > MAX_CODE_CHARS => Err(SoapError::IdTooLong),
            _ => Ok((header, std::mem::take(&mut self.place))),
        }
    }
}

fn client(field: Field, parts: &mut Parts) -> Result<ClientId, SoapError> {
    Ok(ClientId { member: member(field, parts)?, subsystem: optional(field, &mut parts[3])? })
}

fn member(field: Field, parts: &mut Parts) -> Result<MemberId, SoapError> {
    let [instance, class, code, ..] = parts;
    Ok(MemberId {
        instance: required(field, instance)?,
        class: required(field, class)?,
        code: required(field, code)?,
    })
}

fn required(field: Field, part: &mut Option<String>) -> Result<String, SoapError> {
    optional(field, part)?.ok_or(SoapError::BlankCode(field.name()))
}

/// A part that is there must not be blank.
fn optional(field: Field, part: &mut Option<String>) -> Result<Option<String>, SoapError> {
    match part.take() {
        Some(code) if code.trim().is_empty() => Err(SoapError::BlankCode(field.name())),
        code => Ok(code),
    }
}
