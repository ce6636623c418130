//! Where an error becomes an answer: which side raised it, its code, what the reader is told, what the log keeps.
//!
//! Each error family of the relay chooses its fault path here or in its own module, in an exhaustive match; [`Failure`] puts the side
//! in front. The cause goes to the log under the id that the fault carries as its detail, and nowhere else.
//! A fault of the other side is passed on as it came, unless it is too long to be passed on (row 12).
//!
//! | Edge | Form | Status |
//! |---|---|---|
//! | REST | JSON, or XML when `Accept` asks for it; `X-Road-Error` | 500 for `server.…`, else 400; 503 when busy |
//! | SOAP | SOAP fault, `text/xml` | 200 |
//! | 5500 | SOAP fault, plain or in the multipart | 200 |

use bytes::Bytes;
use pki::message_signature::VerifyError;
use pki::trust::TrustError;
use proto::fault::{Fault, FaultCode, Side, Style};
use proto::rest::{Place, RestError};
use proto::soap::SoapError;
use proto::transport::TransportError;

use crate::admission::Busy;
use crate::batcher::SignError;
use crate::budget::Exhausted;
use crate::exchange::reading::ReadError;
use crate::exchange::short;
use crate::http1::Headers;
use crate::http1::server::{Answer, AnswerBody};
use crate::message_log::LogError;
use crate::peers::PeerError;
use crate::replay::Replayed;

/// Why an exchange ends without its answer.
#[derive(Debug)]
pub enum Refusal {
    /// We refuse, or cannot.
    Ours(Failure),
    /// The other side said so: the fault as read, and its exact bytes.
    Theirs(Box<Fault>, Bytes),
}

/// A failure of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    side: Side,
    path: Vec<FaultCode>,
    /// One sentence for the reader.
    message: String,
    /// For the log.
    cause: String,
    busy: bool,
}

/// An error that knows its place among the fault codes.
pub trait Faulty: std::fmt::Display {
    /// What stands after the side.
    fn path(&self) -> Vec<FaultCode>;
    /// What the reader is told: a fixed sentence, with identifiers of the reader's own request at most.
    fn sentence(&self) -> String {
        self.to_string()
    }
    /// It would work another time.
    fn busy(&self) -> bool {
        false
    }
}

impl Failure {
    /// `error` as `side` puts it.
    pub fn of(side: Side, error: &impl Faulty) -> Self {
        Self {
            side,
            path: error.path(),
            message: short(error.sentence()),
            cause: short(error.to_string()),
            busy: error.busy(),
        }
    }
    /// A failure without a family of its own.
    pub fn new(side: Side, path: &[FaultCode], message: impl Into<String>) -> Self {
        let message = short(message.into());
        Self { side, path: path.to_vec(), cause: message.clone(), message, busy: false }
    }
    /// A REST message that cannot be taken at `place`.
    pub fn of_rest(error: &RestError, place: Place) -> Self {
        let side = match place {
            Place::ConsumerEdge | Place::ConsumerPort => Side::ClientProxy,
            Place::ProviderPort | Place::ProviderEdge => Side::ServerProxy,
        };
        Self::new(side, error.fault_path(place), error.to_string())
    }
    /// A SOAP message that cannot be taken at `place`.
    pub fn of_soap(error: &SoapError, place: Place) -> Self {
        let (side, path) = error.fault(place);
        Self::new(side, &path, error.to_string())
    }
    /// With a cause that only the log learns.
    #[must_use]
    pub fn because(self, cause: impl std::fmt::Display) -> Self {
        Self { cause: cause.to_string(), ..self }
    }
    /// Found while a message of the next hop was read: `service_failed` comes first.
    #[must_use]
    pub fn of_next_hop(mut self) -> Self {
        if self.path.first() != Some(&FaultCode::ServiceFailed) {
            self.path.insert(0, FaultCode::ServiceFailed);
        }
        self
    }
    /// What the reader is told.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// Whether the reader is told to come back later.
    pub fn is_busy(&self) -> bool {
        self.busy
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Ours(failure)
    }
}

/// A refusal ready to be written, its id given and its cause logged.
#[derive(Debug)]
pub struct Told {
    /// The fault.
    pub fault: Fault,
    /// As a SOAP envelope; theirs byte for byte.
    pub soap: Bytes,
    busy: bool,
}

impl Refusal {
    /// A fault that the other side sent, `xml`; one of our own when it is none or cannot be passed on.
    pub fn theirs(side: Side, xml: Bytes) -> Self {
        let own = |path: &[FaultCode], message: &str| Self::Ours(Failure::new(side, path, message));
        match Fault::from_soap(&xml) {
            Some(fault) if fault.is_reasonable() => Self::Theirs(Box::new(fault), xml),
            Some(_) => own(
                &[FaultCode::ServiceFailed, FaultCode::InvalidMessage],
                "the other side refused with a fault that is too long to be passed on",
            ),
            None => own(
                &[FaultCode::ServiceFailed, FaultCode::InvalidSoap],
                "the other side answered with something that is neither a message nor a fault",
            ),
        }
    }

    /// A fault that an information system sent where a message was due: it gets it back, as one of the side `client`.
    pub fn returned(mut fault: Fault) -> Self {
        let code = fault.code.to_lowercase();
        fault.code = if code.starts_with("client.") { code } else { format!("client.{code}") };
        let soap = fault.to_soap().into();
        Self::Theirs(Box::new(fault), soap)
    }

    /// The outcome that metrics count: the code when it is one of ours.
    pub fn outcome(&self, style: Style) -> String {
        match self {
            Self::Ours(failure) => Fault::new(failure.side, &failure.path, "", "", style).code,
            Self::Theirs(..) => "fault of the other side".to_owned(),
        }
    }

    /// Gives the refusal its id and tells the log.
    pub fn tell(self, style: Style) -> Told {
        match self {
            Self::Ours(failure) => {
                let detail = uuid::Uuid::new_v4().to_string();
                let fault = Fault::new(failure.side, &failure.path, &failure.message, &detail, style);
                let Fault { code, .. } = &fault;
                // What an administrator of this server may have to look at, and what others did.
                if failure.path.contains(&FaultCode::LoggingFailed)
                    || failure.path.contains(&FaultCode::CannotCreateSignature)
                {
                    tracing::warn!(fault = %code, detail, cause = %failure.cause, "refused");
                } else {
                    tracing::info!(fault = %code, detail, cause = %failure.cause, "refused");
                }
                Told { soap: fault.to_soap().into(), fault, busy: failure.busy }
            }
            Self::Theirs(fault, soap) => {
                tracing::debug!(fault = %fault.code, detail = %fault.detail, "the other side refused");
                Told { fault: *fault, soap, busy: false }
            }
        }
    }
}

impl Told {
    /// As the REST edge answers; `accept` is every `Accept` line of the request.
    pub fn to_rest<'a>(&self, accept: impl Iterator<Item = &'a [u8]>) -> Answer {
        let (content_type, body) = match xml_type(accept) {
            Some(xml) => (format!("{xml};charset=utf-8"), self.fault.to_xml()),
            None => ("application/json".to_owned(), self.fault.to_json()),
        };
        let mut headers = Headers::default();
        headers.push("X-Road-Error", header_text(&self.fault.code));
        headers.push("Content-Type", content_type);
        if self.busy {
            headers.push("Retry-After", "1");
        }
        let status = if self.busy { 503 } else { self.fault.rest_status() };
        Answer::new(status, headers, AnswerBody::Bytes(body.into()))
    }

    /// As the SOAP edge answers.
    pub fn to_soap(&self) -> Answer {
        let mut headers = Headers::default();
        headers.push("Content-Type", SOAP_FAULT_TYPE);
        headers.push("SOAPAction", "");
        Answer::new(200, headers, AnswerBody::Bytes(self.soap.clone()))
    }
}

/// `Content-Type` of a plain SOAP fault.
pub const SOAP_FAULT_TYPE: &str = "text/xml;charset=utf-8";

/// The XML type that `Accept` asks for, wherever it stands in it; quality values play no part.
fn xml_type<'a>(accept: impl Iterator<Item = &'a [u8]>) -> Option<&'static str> {
    let mut ranges = accept.flat_map(|line| line.split(|&b| b == b','));
    ranges.find_map(|range| {
        let range = range.split(|&b| b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match range.as_slice() {
            b"text/xml" | b"text/*" => Some("text/xml"),
            b"application/xml" => Some("application/xml"),
            _ => None,
        }
    })
}

/// A code of the other side can hold anything; a header cannot.
fn header_text(code: &str) -> Vec<u8> {
    code.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c as u8 } else { b'?' }).collect()
}

impl Faulty for ReadError {
    fn path(&self) -> Vec<FaultCode> {
        match self {
            Self::Transport(e) => e.path(),
            Self::Connection(_) | Self::Idle(_) | Self::Slow(_) => vec![FaultCode::IoError],
            Self::Attachments { .. } | Self::Delimiter => {
                vec![FaultCode::ServiceFailed, FaultCode::InvalidMessage]
            }
            Self::Log(e) => e.path(),
            Self::Exhausted(e) => e.path(),
        }
    }
    fn sentence(&self) -> String {
        match self {
            Self::Transport(e) => e.sentence(),
            Self::Connection(_) => "the connection broke while the message was read".into(),
            Self::Idle(_)
            | Self::Slow(_)
            | Self::Attachments { .. }
            | Self::Delimiter
            | Self::Exhausted(_) => self.to_string(),
            Self::Log(e) => e.sentence(),
        }
    }
    fn busy(&self) -> bool {
        matches!(self, Self::Exhausted(_))
    }
}

impl Faulty for TransportError {
    fn path(&self) -> Vec<FaultCode> {
        self.fault_path().to_vec()
    }
    fn sentence(&self) -> String {
        match self {
            // The type came from the other side.
            Self::ContentType { .. } => "the body is not multipart/mixed".into(),
            Self::UnexpectedPart { due, .. } => format!("there is another part where {due} was due"),
            _ => self.to_string(),
        }
    }
}

impl Faulty for LogError {
    fn path(&self) -> Vec<FaultCode> {
        use FaultCode::{DatabaseError, LoggingFailed, MlogNoTimestampingProviderFound, TimestampingFailed};
        match self {
            Self::TimestampingFailed => vec![LoggingFailed, TimestampingFailed],
            Self::NoTimestampingService => vec![LoggingFailed, MlogNoTimestampingProviderFound],
            Self::Disk(_) => vec![LoggingFailed, DatabaseError],
            Self::BodyTooLarge { .. } | Self::Closed => vec![LoggingFailed],
        }
    }
    fn sentence(&self) -> String {
        match self {
            Self::Disk(_) => {
                "the message log cannot be written: tell the administrator of this security server".into()
            }
            _ => self.to_string(),
        }
    }
}

impl Faulty for SignError {
    fn path(&self) -> Vec<FaultCode> {
        vec![FaultCode::CannotCreateSignature]
    }
    fn sentence(&self) -> String {
        match self {
            Self::Signer(_) | Self::Timeout | Self::Ended => {
                "the message could not be signed: tell the administrator of this security server".into()
            }
            Self::QueueFull => self.to_string(),
        }
    }
    fn busy(&self) -> bool {
        match self {
            Self::QueueFull => true,
            Self::Signer(_) | Self::Timeout | Self::Ended => false,
        }
    }
}

impl Faulty for Busy {
    fn path(&self) -> Vec<FaultCode> {
        // No code of the protocol says "later"; the status does where there is one.
        vec![FaultCode::InternalError]
    }
    fn busy(&self) -> bool {
        true
    }
}

impl Faulty for Exhausted {
    fn path(&self) -> Vec<FaultCode> {
        vec![FaultCode::InternalError]
    }
    fn busy(&self) -> bool {
        true
    }
}

impl Faulty for Replayed {
    fn path(&self) -> Vec<FaultCode> {
        vec![FaultCode::InvalidMessage]
    }
}

impl Faulty for VerifyError {
    fn path(&self) -> Vec<FaultCode> {
        let mut path = vec![FaultCode::SignatureVerification];
        path.extend(self.fault_path());
        path
    }
    fn sentence(&self) -> String {
        "the signature of the message was not accepted".into()
    }
}

/// As a provider says it to whoever connects: that the certificate was not accepted, and no more.
impl Faulty for TrustError {
    fn path(&self) -> Vec<FaultCode> {
        self.tls_fault_path().into_iter().take(1).collect()
    }
    fn sentence(&self) -> String {
        "the TLS certificate of the sender's security server was not accepted for the client of the message"
            .into()
    }
}

impl Faulty for PeerError {
    fn path(&self) -> Vec<FaultCode> {
        self.path.clone()
    }
    fn sentence(&self) -> String {
        self.message.clone()
    }
}

/// A failed step of an exchange.
pub trait OrFail<T> {
    /// As a failure of `side`.
    ///
    /// # Errors
    /// The failure.
    fn or_fail(self, side: Side) -> Result<T, Failure>;
}

impl<T, E: Faulty> OrFail<T> for Result<T, E> {
    fn or_fail(self, side: Side) -> Result<T, Failure> {
        self.map_err(|e| Failure::of(side, &e))
    }
}

#[cfg(test)]
mod tests;
