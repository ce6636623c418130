//! What another security server asks of us: the message part of either protocol, and who may ask it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use pki::globalconf::GlobalConf;
use proto::fault::{FaultCode, Side};
use proto::id::{ClientId, ServiceId};
use proto::multipart::PartHead;
use proto::rest::{Place, RestRequest};
use proto::soap::related::Related;
use proto::soap::{self, Soap, SoapMessage};
use proto::transport::{self, MessageKind, Protocol, TransportError};

use super::metadata::Question;
use crate::exchange::reading::First;
use crate::exchange::writing;
use crate::exchange::{Ids, Message, PeerIdentity, View};
use crate::faults::{Failure, Faulty};
use crate::http1::Headers;
use crate::serverconf::{Service, ServiceKind};

const SIDE: Side = Side::ServerProxy;

/// Longest request id that the message log holds, characters.
const ID_CHARS: usize = 255;

/// A request of either protocol.
#[derive(Debug)]
pub(super) enum Asked {
    /// REST.
    Rest(Box<RestRequest>),
    /// SOAP.
    Soap(Box<SoapAsked>),
}

/// A SOAP request, with what its HTTP head carried.
#[derive(Debug)]
pub(super) struct SoapAsked {
    /// The message.
    pub(super) message: SoapMessage,
    /// Headers of its part.
    pub(super) head: PartHead,
    /// What the information system that asks said it sends.
    pub(super) original_content_type: String,
    /// `SOAPAction` as the information system sent it, if it did.
    pub(super) action: Option<Vec<u8>>,
}

impl Message for Asked {
    fn is_rest(&self) -> bool {
        matches!(self, Self::Rest(_))
    }
    fn raw(&self) -> &Bytes {
        match self {
            Self::Rest(request) => &request.raw,
            Self::Soap(asked) => &asked.message.raw,
        }
    }
}

/// What the HTTP head of a transport request says.
#[derive(Debug)]
pub(super) struct TransportHead<'a> {
    /// Which protocol its message must speak.
    pub(super) protocol: Protocol,
    /// `x-hash-algorithm`.
    pub(super) label: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    original_content_type: Option<Cow<'a, str>>,
    soap_action: Option<&'a [u8]>,
}

impl<'a> TransportHead<'a> {
    pub(super) fn read(headers: &'a Headers) -> Self {
        let text = |name: &str| headers.get(name).map(latin1);
        Self {
            protocol: Self::protocol(headers),
            label: text(transport::HASH_ALGORITHM),
            request_id: text(transport::REQUEST_ID),
            original_content_type: text(transport::ORIGINAL_CONTENT_TYPE),
            soap_action: headers.get(transport::ORIGINAL_SOAP_ACTION),
        }
    }
    /// Which protocol the message must speak.
    pub(super) fn protocol(headers: &Headers) -> Protocol {
        match headers.get(transport::MESSAGE_TYPE) {
            Some(b"REST") => Protocol::Rest,
            Some(_) | None => Protocol::Soap,
        }
    }
}

/// Header bytes as text, one character a byte.
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

impl Asked {
    /// Reads the message part. Everything that will be needed later is looked at here, before the service can be called.
    pub(super) fn read(first: First, head: &TransportHead<'_>) -> Result<(Self, Ids), Failure> {
        match first.kind {
            MessageKind::RestRequest => Self::rest(first.raw, head),
            MessageKind::Soap => Self::soap(first, head),
            MessageKind::RestResponse => Err(Failure::of(SIDE, &TransportError::WrongDirection)),
        }
    }

    fn rest(raw: Bytes, head: &TransportHead<'_>) -> Result<(Self, Ids), Failure> {
        let request = RestRequest::parse(raw).map_err(|e| Failure::of_rest(&e, Place::ProviderPort))?;
        let Some(request_id) = head.request_id.as_deref().filter(|id| !id.is_empty()) else {
            let message = "the header x-road-request-id is missing";
            return Err(Failure::new(SIDE, &[FaultCode::MissingHeaderField], message));
        };
        let ids = Ids {
            client: request.client.clone(),
            service: request.service.clone(),
            message_id: request.id.clone(),
            request_id: request_id.into(),
        };
        check_lengths(&ids)?;
        Ok((Self::Rest(Box::new(request)), ids))
    }

    fn soap(first: First, head: &TransportHead<'_>) -> Result<(Self, Ids), Failure> {
        let content_type = first.head.get("content-type").unwrap_or(transport::TEXT_XML);
        let message = match soap::parse(first.raw, content_type) {
            Ok(Soap::Message(message)) => *message,
            Ok(Soap::Fault(..)) => return Err(Failure::of(SIDE, &TransportError::MissingSoap)),
            Err(error) => return Err(Failure::of_soap(&error, Place::ProviderPort)),
        };
        let Some(original_content_type) = head.original_content_type.as_deref().map(str::to_owned) else {
            let path = [FaultCode::ServiceFailed, FaultCode::InternalError];
            return Err(Failure::new(SIDE, &path, "the header x-original-content-type is missing"));
        };
        let action = head.soap_action.map(latin1);
        soap::check_soap_action(action.as_deref()).map_err(|e| Failure::of_soap(&e, Place::ProviderPort))?;
        let ids = Ids {
            client: message.header.client.clone().into(),
            service: message.header.service.clone().into(),
            message_id: message.header.id.as_str().into(),
            request_id: head.request_id.as_deref().unwrap_or_default().into(),
        };
        check_lengths(&ids)?;
        let action = head.soap_action.map(<[u8]>::to_vec);
        let asked = SoapAsked { message, head: first.head, original_content_type, action };
        Ok((Self::Soap(Box::new(asked)), ids))
    }

    /// It is for this server, and for a client of it.
    pub(super) fn check_addressee(&self, view: &View, ids: &Ids) -> Result<(), Failure> {
        let target = match self {
            Self::Soap(asked) => asked.message.header.security_server.as_ref(),
            // The consumer's server has chosen by it; here it says nothing.
            Self::Rest(_) => None,
        };
        let refuse = |code, message: String| Err(Failure::new(SIDE, &[code], message).of_next_hop());
        if target.is_some_and(|target| target != view.server.server_id()) {
            return refuse(
                FaultCode::InvalidSecurityServer,
                "the message is for another security server".into(),
            );
        }
        let provider = &ids.service.client;
        if !view.server.client(provider).is_some_and(|client| client.registered) {
            return refuse(
                FaultCode::UnknownMember,
                format!("{provider} is not a client of this security server"),
            );
        }
        Ok(())
    }

    /// How a service gets a SOAP message with so many attachments: its parts, or nothing where the envelope goes alone.
    pub(super) fn related(&self, attachments: usize) -> Result<Option<Related>, Failure> {
        match self {
            Self::Rest(_) => Ok(None),
            Self::Soap(asked) => {
                Related::of(&asked.original_content_type, attachments, &writing::random_boundary())
                    .map_err(|e| Failure::of_soap(&e, Place::ProviderPort))
            }
        }
    }

    /// A body only where the method has one.
    pub(super) fn check_body(&self, has_body: bool) -> Result<(), AccessError> {
        match self {
            Self::Rest(request) if has_body && request.forbids_body() => Err(AccessError::Body),
            Self::Rest(_) | Self::Soap(_) => Ok(()),
        }
    }

    /// Method and raw path of REST, nothing of SOAP.
    fn endpoint(&self) -> Option<(&str, &str)> {
        match self {
            Self::Rest(request) => Some((request.method, request.service_path())),
            Self::Soap(_) => None,
        }
    }
}

fn check_lengths(ids: &Ids) -> Result<(), Failure> {
    let is_long = |id: &str| id.len() > ID_CHARS && id.chars().count() > ID_CHARS;
    let long = is_long(&ids.message_id) || is_long(&ids.request_id);
    if !long {
        return Ok(());
    }
    let path = [FaultCode::LoggingFailed, FaultCode::DatabaseError];
    Err(Failure::new(
        SIDE,
        &path,
        format!("the message id or request id has more than {ID_CHARS} characters"),
    ))
}

/// Why a request may not reach its service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccessError {
    /// Code or version.
    #[error("{0} is not offered here")]
    UnknownService(Box<ServiceId>),
    /// REST asked of SOAP or the reverse.
    #[error("{0} cannot be called with this protocol")]
    ServiceType(Box<ServiceId>),
    /// No right.
    #[error("{client} has no right to make this request of {service}: ask the owner of the service for it")]
    Denied {
        /// Who asked.
        client: Box<ClientId>,
        /// What was asked.
        service: Box<ServiceId>,
    },
    /// Switched off.
    #[error("{service} is disabled: {notice}")]
    Disabled {
        /// What was asked.
        service: Box<ServiceId>,
        /// What its owner has to say.
        notice: String,
    },
    /// A body where the method has none.
    #[error("a request of this method must not have a body")]
    Body,
}

impl Faulty for AccessError {
    fn path(&self) -> Vec<FaultCode> {
        vec![match self {
            Self::UnknownService(_) => FaultCode::UnknownService,
            Self::ServiceType(_) => FaultCode::ServiceType,
            Self::Denied { .. } => FaultCode::AccessDenied,
            Self::Disabled { .. } => FaultCode::ServiceDisabled,
            Self::Body => FaultCode::InvalidHttpMethod,
        }]
    }
}

/// What a request may reach.
#[derive(Debug)]
pub(super) enum Permit {
    /// A service.
    Service(Authorised),
    /// This server itself: rights are not for metadata services.
    Metadata(Question),
}

impl Permit {
    /// Whether the service may be called by a client that the peer may speak for.
    pub(super) fn check(
        view: &View,
        asked: &Asked,
        ids: &Ids,
        peer: PeerIdentity,
    ) -> Result<Self, AccessError> {
        match Question::of(asked, &ids.service) {
            Some(question) => Ok(Self::Metadata(question)),
            None => Authorised::check(view, asked, ids, peer).map(Self::Service),
        }
    }
}

/// The access check said yes, for this client, service, method and path; [`Authorised::check`] alone makes one.
#[derive(Debug)]
pub(super) struct Authorised {
    service: Arc<Service>,
}

impl Authorised {
    /// Whether the service may be called by a client that the peer may speak for.
    fn check(view: &View, asked: &Asked, ids: &Ids, _peer: PeerIdentity) -> Result<Self, AccessError> {
        let id = || Box::new((*ids.service).clone());
        let service = view.server.service(&ids.service).ok_or_else(|| AccessError::UnknownService(id()))?;
        let speaks = match (asked, service.kind) {
            (Asked::Rest(_), ServiceKind::Rest | ServiceKind::OpenApi3)
            | (Asked::Soap(_), ServiceKind::Wsdl) => true,
            (Asked::Rest(_), ServiceKind::Wsdl)
            | (Asked::Soap(_), ServiceKind::Rest | ServiceKind::OpenApi3) => false,
        };
        if !speaks {
            return Err(AccessError::ServiceType(id()));
        }
        let conf: &GlobalConf = &view.conf;
        if !view.server.is_allowed(conf, &ids.client, &ids.service, asked.endpoint()) {
            return Err(AccessError::Denied { client: Box::new((*ids.client).clone()), service: id() });
        }
        if let Some(notice) = service.disabled.clone() {
            return Err(AccessError::Disabled { service: id(), notice });
        }
        Ok(Self { service: service.clone() })
    }
    /// The service that may be called.
    pub(super) fn service(&self) -> &Service {
        &self.service
    }
}
