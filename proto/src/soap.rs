//! SOAP messages: header, body rules, request hash [PR-MESS §2].
//!
//! A message keeps `raw`, the exact bytes that arrived, byte order mark included: they are what is signed as `/message.xml`.
//! [`parse`] reads the whole document in one pass, keeps the X-Road header and the name of the body element, and builds nothing of
//! the rest. The request hash goes into a response as a splice of its bytes ([`SoapMessage::with_request_hash`]).
//!
//! The document's encoding is what its byte order mark or declaration says: UTF-8, US-ASCII, ISO-8859-1 or UTF-16. The charset of
//! the content type only has to be a known one. No DOCTYPE, no entities but the five, and the bounds of [`LIMITS`].
//! Attachments are parts of their own: [`parts`] reads them from an information system, [`related`] writes them for one, `transport`
//! carries them between servers. Calling the information system is the server's.
use bytes::Bytes;

use crate::fault::{Fault, FaultCode, Side};
use crate::id::{ClientId, MAX_CODE_CHARS, ServerId, ServiceId};
use crate::media_type;
use crate::rest::{Place, RepresentedParty};
use crate::transport::{TEXT_XML, XOP_XML};
use crate::xml::encoding::decode;
use crate::xml::{Limits, XmlError};

mod action;
pub mod parts;
mod reader;
pub mod related;
mod splice;
pub use action::check_soap_action;
use splice::HashPlace;

/// Namespace of the X-Road header elements.
pub const XROAD_NS: &str = "http://x-road.eu/xsd/xroad.xsd";
/// Namespace of the represented party.
pub const REPRESENTATION_NS: &str = "http://x-road.eu/xsd/representation.xsd";

/// Bounds on one SOAP document. Wide, since the reference has none: bodies are the information systems' own.
pub const LIMITS: Limits =
    Limits { bytes: 64 << 20, depth: 10_000, attributes: 10_000, namespaces: 200, elements: 8_000_000 };

/// The X-Road header of a SOAP message. Values are as written, white space included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoapHeader {
    /// `xroad:client`.
    pub client: ClientId,
    /// `xroad:service`.
    pub service: ServiceId,
    /// `xroad:id`.
    pub id: String,
    /// `xroad:userId`; absent and empty differ.
    pub user_id: Option<String>,
    /// `xroad:issue`.
    pub issue: Option<String>,
    /// `repr:representedParty`: class and code.
    pub represented_party: Option<RepresentedParty>,
    /// `xroad:securityServer`.
    pub security_server: Option<ServerId>,
    /// `xroad:protocolVersion`.
    pub protocol_version: String,
    /// `xroad:requestHash`, base64.
    pub request_hash: Option<String>,
}

/// A SOAP message that obeys the protocol.
#[derive(Clone, Debug)]
pub struct SoapMessage {
    /// The exact bytes.
    pub raw: Bytes,
    /// Its X-Road header.
    pub header: SoapHeader,
    /// Its body element's name ends with `Response`.
    pub is_response: bool,
    place: HashPlace,
}

/// What a SOAP document turned out to be.
#[derive(Clone, Debug)]
pub enum Soap {
    /// A message.
    Message(Box<SoapMessage>),
    /// A fault, with its exact bytes.
    Fault(Fault, Bytes),
}

/// Why a SOAP document cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoapError {
    /// Not a type of SOAP 1.1, or a charset that nobody knows.
    #[error("the content type is not one of SOAP")]
    ContentType,
    /// The `SOAPAction` header.
    #[error("the SOAPAction header is neither empty nor a quoted URI")]
    Action,
    /// Not XML, or not XML that is taken from outside.
    #[error("the document cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// The root is not an envelope of SOAP 1.1.
    #[error("the document is not a SOAP envelope")]
    Envelope,
    /// No `Header`.
    #[error("there is no header")]
    MissingHeader,
    /// A field that must be there.
    #[error("the header has no {0}")]
    MissingField(&'static str),
    /// A field that is there twice.
    #[error("the header has {0} twice")]
    DuplicateField(&'static str),
    /// `id:objectType` is missing, unknown, or not one that may stand there.
    #[error("{0} has no fitting objectType")]
    ObjectType(&'static str),
    /// A part of an identifier that must be there, or must not be blank.
    #[error("{0} lacks a code or has a blank one")]
    BlankCode(&'static str),
    /// Not 4.x.
    #[error("the protocol version is not 4.x")]
    ProtocolVersion,
    /// A message id that the message log could not hold.
    #[error("the message id has more than {MAX_CODE_CHARS} characters")]
    IdTooLong,
    /// No `Body`.
    #[error("there is no body")]
    MissingBody,
    /// A body with no element, or with more than one.
    #[error("the body does not have exactly one element")]
    BodyElements,
    /// Two `Body` elements.
    #[error("there are two bodies")]
    TwoBodies,
    /// The body's element is named after another service.
    #[error("the body's element does not begin with the service code")]
    ServiceCode,
}

impl SoapError {
    /// What the other side is told, without the prefixes of [`SoapError::fault`].
    ///
    /// Exhaustive on purpose: a new variant does not compile until it has chosen its code.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::ContentType => FaultCode::InvalidContentType,
            Self::Action => FaultCode::InvalidSoapAction,
            Self::Xml(_) | Self::Envelope => FaultCode::InvalidSoap,
            Self::MissingHeader => FaultCode::MissingHeader,
            Self::MissingField(_) => FaultCode::MissingHeaderField,
            Self::DuplicateField(_) => FaultCode::DuplicateHeaderField,
            Self::ObjectType(_) => FaultCode::InvalidXml,
            Self::BlankCode(_) => FaultCode::InternalError,
            Self::ProtocolVersion => FaultCode::InvalidProtocolVersion,
            Self::IdTooLong => FaultCode::DatabaseError,
            Self::MissingBody => FaultCode::MissingBody,
            Self::BodyElements => FaultCode::InvalidBody,
            Self::TwoBodies | Self::ServiceCode => FaultCode::InconsistentHeaders,
        }
    }

    /// Side and path of the fault at each place: bad input of an information system is the client's, the rest is the next hop's.
    pub fn fault(&self, place: Place) -> (Side, Vec<FaultCode>) {
        let code = self.fault_code();
        match (self, place) {
            (Self::IdTooLong, Place::ConsumerEdge | Place::ConsumerPort) => {
                (Side::ClientProxy, vec![FaultCode::LoggingFailed, code])
            }
            (Self::IdTooLong, Place::ProviderPort | Place::ProviderEdge) => {
                (Side::ServerProxy, vec![FaultCode::LoggingFailed, code])
            }
            (Self::Action, Place::ProviderPort) => (Side::ServerProxy, vec![code]),
            (_, Place::ConsumerEdge) => (Side::Client, vec![code]),
            (_, Place::ProviderPort | Place::ProviderEdge) => {
                (Side::ServerProxy, vec![FaultCode::ServiceFailed, code])
            }
            (_, Place::ConsumerPort) => (Side::ClientProxy, vec![FaultCode::ServiceFailed, code]),
        }
    }
}

/// Reads a SOAP document. `content_type` is that of the body or part it came in.
///
/// # Errors
/// The first broken rule, in the reference's order.
pub fn parse(raw: Bytes, content_type: &str) -> Result<Soap, SoapError> {
    check_content_type(content_type)?;
    let (text, _) = decode(&raw)?;
    let found = reader::read(&text)?;
    if let Some(fault) = found.fault {
        return Ok(Soap::Fault(fault, raw));
    }
    let (header, place) = found.header.ok_or(SoapError::MissingHeader)?;
    let is_response = found.is_response;
    Ok(Soap::Message(Box::new(SoapMessage { raw, header, is_response, place })))
}

/// A type of SOAP 1.1 with a known charset or none. Of a list the first counts: the provider's server refuses it as a part.
fn check_content_type(content_type: &str) -> Result<(), SoapError> {
    let base = media_type::base(content_type).split(',').next().unwrap_or_default().trim();
    let is_soap = [TEXT_XML, XOP_XML].iter().any(|known| known.eq_ignore_ascii_case(base));
    let charset = media_type::parameter(content_type, "charset");
    if is_soap && charset.is_none_or(|charset| is_known_charset(&charset)) {
        Ok(())
    } else {
        Err(SoapError::ContentType)
    }
}

/// Names of charsets in use; the document says itself how it is encoded.
fn is_known_charset(name: &str) -> bool {
    let name = name.split(',').next().unwrap_or_default().trim();
    let families = [
        "utf-8",
        "utf8",
        "utf-16",
        "utf-32",
        "us-ascii",
        "ascii",
        "iso-8859-",
        "iso8859",
        "latin",
        "windows-125",
        "cp125",
    ];
    families
        .iter()
        .any(|family| name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family)))
}

impl SoapMessage {
    /// The bytes of this response with `request_hash` (base64 SHA-512 of the request) put after `xroad:id`, any older one removed.
    ///
    /// Everything else stays, byte for byte, encoding, declaration and byte order mark included.
    ///
    /// # Errors
    /// When the document's encoding leaves no safe place to write it.
    pub fn with_request_hash(&self, request_hash: &str) -> Result<Bytes, SoapError> {
        splice::with_request_hash(&self.raw, &self.place, request_hash)
    }

    /// The first header field in which this response disagrees with `request`; `request_hash` is our own.
    ///
    /// For `requestHash` the fault is `inconsistent_response`, for every other field `service_failed.inconsistent_response`.
    pub fn inconsistency(&self, request: &SoapHeader, request_hash: &str) -> Option<&'static str> {
        let ours = &self.header;
        let agreements = [
            (ours.client == request.client, "client"),
            (ours.service == request.service, "service"),
            (ours.id == request.id, "id"),
            (ours.user_id == request.user_id, "userId"),
            (ours.issue == request.issue, "issue"),
            (ours.represented_party == request.represented_party, "representedParty"),
            (ours.request_hash.as_deref() == Some(request_hash), "requestHash"),
        ];
        agreements.into_iter().find_map(|(agrees, name)| (!agrees).then_some(name))
    }
}

#[cfg(test)]
mod tests;
