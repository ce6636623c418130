//! REST messages: the header part that is signed, its rules, its identifiers [PR-REST §4].
//!
//! Both messages keep `raw`, the exact bytes of the header part; all fields are read from it or were written into it. A header part
//! is lines ended by CR LF: two first lines, then `Name:value` without white space around the colon and without an empty line at
//! the end. Names are HTTP tokens and values hold no control character but tab, so that nothing inside a value can become a line.
//!
//! Identifiers are shared, not copied: by both messages of an exchange where both have them in the same bytes, and by whoever keeps
//! them longer than the message.
//!
//! Header bytes of an information system are ISO-8859-1 and stand in the part as UTF-8; [`to_service_value`] and
//! [`to_client_value`] are the ways back. Which bodies come with a message is not decided here.
use std::borrow::Cow;

use crate::fault::FaultCode;
use crate::id::{IdError, MAX_CODE_CHARS};

mod lines;
mod request;
mod response;
pub use lines::Headers;
pub use request::{EdgeRequest, RestRequest};
pub use response::RestResponse;

/// Never part of a signed header part: they belong to one connection or are made by whoever sends.
const CONNECTION_HEADERS: [&str; 13] = [
    "transfer-encoding",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "connection",
    "user-agent",
    "host",
    "content-length",
    "server",
    "expect",
];

/// Headers of the protocol.
mod name {
    pub(super) const CLIENT: &str = "x-road-client";
    pub(super) const SERVICE: &str = "x-road-service";
    pub(super) const ID: &str = "x-road-id";
    pub(super) const REQUEST_ID: &str = "x-road-request-id";
    pub(super) const REQUEST_HASH: &str = "x-road-request-hash";
    pub(super) const SECURITY_SERVER: &str = "x-road-security-server";
    pub(super) const REPRESENTED_PARTY: &str = "x-road-represented-party";
    pub(super) const ERROR: &str = "x-road-error";
}

/// `X-Road-Represented-Party` or `repr:representedParty`: class, if given, and code.
pub type RepresentedParty = (Option<String>, String);

/// Where a REST message is being read or built; the same mistake is told differently at each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Consumer's server: a request of an information system. Faults go under `server.clientproxy`.
    ConsumerEdge,
    /// Provider's server: a request of a peer. Faults go under `server.serverproxy`.
    ProviderPort,
    /// Provider's server: the answer of an information system. Faults go under `server.serverproxy`.
    ProviderEdge,
    /// Consumer's server: the response of a peer. Faults go under `server.clientproxy`.
    ConsumerPort,
}

/// Why a REST message cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// Fewer lines than a message has, an empty one, or a header line without colon.
    #[error("the header part lacks {0}")]
    Incomplete(&'static str),
    /// A line that does not end with CR LF, a control character, bytes that are not UTF-8.
    #[error("the header part holds {0}")]
    Syntax(&'static str),
    /// A name that is no HTTP token.
    #[error("a header name is not a token")]
    HeaderName,
    /// A header that belongs to a connection, in a signed part.
    #[error("the header {0} does not belong into a message")]
    ForbiddenHeader(&'static str),
    /// A method other than the eight.
    #[error("the method is not one of the protocol")]
    Method,
    /// Not `/r1/` and five segments.
    #[error("the path does not name a service")]
    Path,
    /// A character that must be escaped.
    #[error("the request target holds a character that must be escaped")]
    TargetCharacter,
    /// A broken escape.
    #[error("the request target holds a broken escape")]
    TargetEscape,
    /// The service identifier.
    #[error("the service identifier in the path is wrong: {0}")]
    Service(IdError),
    /// No `X-Road-Client`.
    #[error("there is no X-Road-Client header")]
    MissingClient,
    /// An unreadable `X-Road-Client`.
    #[error("the X-Road-Client header is wrong: {0}")]
    Client(IdError),
    /// An unreadable `X-Road-Security-Server`.
    #[error("the X-Road-Security-Server header is wrong: {0}")]
    SecurityServer(IdError),
    /// An unreadable `X-Road-Represented-Party`.
    #[error("the X-Road-Represented-Party header is wrong")]
    RepresentedParty,
    /// No message id, or an empty one.
    #[error("there is no X-Road-Id header")]
    MissingId,
    /// No request id.
    #[error("there is no X-Road-Request-Id header")]
    MissingRequestId,
    /// A message id or request id over [`MAX_CODE_CHARS`].
    #[error("{0} has more than {MAX_CODE_CHARS} characters")]
    TooLong(&'static str),
    /// The status is no number.
    #[error("the status is not a number")]
    StatusSyntax,
    /// The status is not one that may be passed on.
    #[error("the status {0} is not one of 200 to 599")]
    Status(u64),
    /// A response without the hash of its request.
    #[error("there is no X-Road-Request-Hash header")]
    MissingRequestHash,
    /// A response that lacks what its request says.
    #[error("the response has no {0} header")]
    MissingInResponse(&'static str),
    /// `X-Road-Service` of a response.
    #[error("the X-Road-Service header is wrong: {0}")]
    ResponseService(IdError),
}

impl RestError {
    /// What the other side is told, after the prefix of the side that `place` is on.
    ///
    /// Exhaustive on purpose: a new variant does not compile until it has chosen its codes.
    pub fn fault_path(&self, place: Place) -> &'static [FaultCode] {
        use FaultCode::*;
        match self {
            Self::Syntax(_) | Self::HeaderName => match place {
                Place::ConsumerEdge => &[InternalError],
                Place::ProviderPort => &[InvalidMessage],
                Place::ProviderEdge | Place::ConsumerPort => &[ServiceFailed, InvalidMessage],
            },
            Self::MissingClient if place == Place::ConsumerEdge => &[InvalidClientIdentifier],
            // Nobody with so long a code can be registered.
            Self::Client(IdError::TooLong { .. }) if place == Place::ConsumerEdge => &[UnknownMember],
            Self::TargetEscape => &[InternalError],
            Self::MissingId | Self::MissingRequestId => match place {
                Place::ConsumerEdge | Place::ProviderPort => &[MissingHeaderField],
                Place::ProviderEdge | Place::ConsumerPort => &[ServiceFailed, InternalError],
            },
            Self::TooLong(_) => match place {
                Place::ConsumerEdge => &[IoError],
                Place::ProviderPort | Place::ProviderEdge => &[LoggingFailed, DatabaseError],
                Place::ConsumerPort => &[ServiceFailed, InvalidMessage],
            },
            Self::Status(_) => match place {
                Place::ProviderEdge => &[ServiceFailed, HttpError],
                Place::ConsumerEdge | Place::ProviderPort | Place::ConsumerPort => {
                    &[ServiceFailed, InvalidMessage]
                }
            },
            Self::MissingInResponse(_) => &[InconsistentResponse],
            Self::Incomplete(_)
            | Self::ForbiddenHeader(_)
            | Self::Method
            | Self::Path
            | Self::TargetCharacter
            | Self::Service(_)
            | Self::MissingClient
            | Self::Client(_)
            | Self::SecurityServer(_)
            | Self::RepresentedParty
            | Self::StatusSyntax
            | Self::MissingRequestHash
            | Self::ResponseService(_) => match place {
                Place::ConsumerEdge => &[InternalError],
                Place::ProviderPort | Place::ProviderEdge | Place::ConsumerPort => {
                    &[ServiceFailed, InternalError]
                }
            },
        }
    }
}

/// A signed value as bytes toward a provider's information system: ISO-8859-1, where the bytes 80 to 9F and all characters beyond
/// FF become `?`, as the reference sends them.
pub fn to_service_value(value: &str) -> Cow<'_, [u8]> {
    to_latin1(value, |byte| if (0x80..0xa0).contains(&byte) { b'?' } else { byte })
}

/// A signed value as bytes toward the consumer's information system: ISO-8859-1, characters beyond FF become `?`.
pub fn to_client_value(value: &str) -> Cow<'_, [u8]> {
    to_latin1(value, |byte| byte)
}

fn to_latin1(value: &str, map: impl Fn(u8) -> u8) -> Cow<'_, [u8]> {
    match value.is_ascii() {
        true => Cow::Borrowed(value.as_bytes()),
        false => Cow::Owned(value.chars().map(|c| u8::try_from(c).map_or(b'?', &map)).collect()),
    }
}

/// Refuses an id that the message log could not hold.
fn check_length(id: &str, what: &'static str) -> Result<(), RestError> {
    match id.len() > MAX_CODE_CHARS && id.chars().count() > MAX_CODE_CHARS {
        true => Err(RestError::TooLong(what)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
