//! The message between two security servers: one HTTP body on port 5500 [PR-MESSTRANSP §3].
//!
//! [`Decoder`] turns body chunks into [`Event`]s in the order the protocol demands and refuses any other order;
//! [`Encoder`] writes the parts byte for byte as the reference does. Neither holds a body: attachment bytes pass through as they
//! come; the other parts are collected, each within its bound.
//!
//! A message is complete only with its signature and the closing delimiter: an answer may end with its connection, and a cut must
//! never look like an end. A plain `text/xml` body, which is how a server answers before it has opened a multipart, is read by
//! the same decoder and gives one [`Event::Fault`].
//!
//! Not here: hashing, signatures (`pki`), sockets (`security-server`).
use bytes::Bytes;

use crate::fault::FaultCode;
use crate::multipart::{Limits as PartLimits, MultipartError, PartHead};
use crate::soap::SoapError;

mod decoder;
mod encoder;
pub use decoder::Decoder;
pub use encoder::Encoder;

/// `x-hash-algorithm`, lower case on the wire: peers look it up so.
pub const HASH_ALGORITHM: &str = "x-hash-algorithm";
/// `x-original-content-type`, on every SOAP message.
pub const ORIGINAL_CONTENT_TYPE: &str = "x-original-content-type";
/// `x-original-soapaction`.
pub const ORIGINAL_SOAP_ACTION: &str = "x-original-soapaction";
/// `x-road-message-type`; the value `REST` selects REST handling.
pub const MESSAGE_TYPE: &str = "x-road-message-type";
/// `x-road-request-id`.
pub const REQUEST_ID: &str = "x-road-request-id";
/// `x-proxy-version`.
pub const PROXY_VERSION: &str = "x-proxy-version";

/// Part type of an OCSP response.
pub const OCSP_RESPONSE: &str = "application/ocsp-response";
/// Part type of a REST request's header part.
pub const REST_REQUEST: &str = "application/x-road-rest-request";
/// Part type of a REST response's header part.
pub const REST_RESPONSE: &str = "application/x-road-rest-response";
/// Part type of a REST body.
pub const REST_BODY: &str = "application/x-road-rest-body";
/// Part type of a chain result.
pub const HASH_CHAIN_RESULT: &str = "application/hash-chain-result";
/// Part type of a chain.
pub const HASH_CHAIN: &str = "application/hash-chain";
/// Part type of the signature, with its two slashes.
pub const SIGNATURE: &str = "signature/bdoc-1.0/ts";
/// Part type of SOAP, of a fault, and of the body of a plain fault.
pub const TEXT_XML: &str = "text/xml";
/// Part type of SOAP that refers to attachments.
pub const XOP_XML: &str = "application/xop+xml";
/// Type of the body, and of the part that holds the attachments.
pub const MULTIPART_MIXED: &str = "multipart/mixed";

/// What the message part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// `text/xml` or `application/xop+xml`.
    Soap,
    /// `application/x-road-rest-request`.
    RestRequest,
    /// `application/x-road-rest-response`.
    RestResponse,
}

/// Which direction is being read; decides which parts may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Consumer to provider: OCSP parts first.
    Request,
    /// Provider to consumer: a fault may stand in place of any part.
    Response,
}

/// Which protocol the exchange speaks: chosen by the request's `x-road-message-type`, or by what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// [PR-MESS].
    #[default]
    Soap,
    /// [PR-REST].
    Rest,
}

/// Bounds on one transport message.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the multipart reader.
    pub parts: PartLimits,
    /// Most OCSP parts.
    pub ocsp_parts: usize,
    /// Largest OCSP part.
    pub ocsp_bytes: usize,
    /// Largest SOAP or REST header part.
    pub message_bytes: usize,
    /// Largest signature, chain result and chain part, each.
    pub signature_bytes: usize,
    /// Most attachments.
    pub attachments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parts: PartLimits::default(),
            ocsp_parts: 16,
            ocsp_bytes: 64 << 10,
            message_bytes: 16 << 20,
            signature_bytes: 4 << 20,
            attachments: 1000,
        }
    }
}

/// What comes next in a transport message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One OCSP response of the sender's TLS chain, DER.
    Ocsp(Bytes),
    /// The whole message part, exactly as sent.
    Message {
        /// What it is.
        kind: MessageKind,
        /// Its part headers (content type first looked up there).
        head: PartHead,
        /// Its bytes: what is hashed and signed as `/message.xml`.
        raw: Bytes,
    },
    /// Attachment `number` (from 1) begins; a REST body is attachment 1.
    AttachmentHead {
        /// From 1.
        number: u32,
        /// Its part headers; unsigned.
        head: PartHead,
    },
    /// Bytes of the attachment; never empty.
    AttachmentData(Bytes),
    /// The attachment is complete.
    AttachmentEnd,
    /// The hash chain result, exactly as sent: what the signature refers to.
    HashChainResult(Bytes),
    /// The hash chain.
    HashChain(Bytes),
    /// The signature document. Good for nothing before [`Event::End`].
    Signature(Bytes),
    /// A SOAP fault in place of whatever should have followed; the last event. The bytes as sent, which
    /// [`Fault::from_soap`](crate::fault::Fault::from_soap) reads.
    Fault(Bytes),
    /// The closing delimiter was read after the signature.
    End,
}

/// Why the bytes are no transport message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The MIME layer.
    #[error("the multipart cannot be read: {0}")]
    Mime(#[from] MultipartError),
    /// The body is neither a multipart nor, where one may come, a plain fault.
    #[error("a body of type {found:?} where multipart/mixed was due")]
    ContentType {
        /// The type it has.
        found: String,
    },
    /// A part where another was due.
    #[error("a part of type {found:?} where {due} was due")]
    UnexpectedPart {
        /// The type it has.
        found: String,
        /// What may come here.
        due: &'static str,
    },
    /// A REST request among responses or the reverse.
    #[error("a message part of the other direction")]
    WrongDirection,
    /// A SOAP message where REST was announced.
    #[error("a SOAP part where a REST part was announced")]
    SoapForRest {
        /// In which direction.
        direction: Direction,
    },
    /// Something after the signature, or after a fault.
    #[error("there is a part after the last one")]
    AfterSignature,
    /// The SOAP part never came.
    #[error("there is no SOAP part")]
    MissingSoap,
    /// The REST header part never came.
    #[error("there is no REST part")]
    MissingRest {
        /// In which direction.
        direction: Direction,
    },
    /// The signature never came.
    #[error("there is no signature part")]
    MissingSignature,
    /// Where a fault must be, there is an ordinary message.
    #[error("no SOAP fault where one was due")]
    NotAFault,
    /// Where a fault must be, there is no SOAP.
    #[error("no SOAP fault where one was due: {0}")]
    Soap(#[from] SoapError),
    /// The input ended before the closing delimiter.
    #[error("the message is cut off")]
    Truncated,
    /// A part over its bound.
    #[error("a {part} part is larger than {limit} bytes")]
    TooLarge {
        /// Which.
        part: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Too many of a kind.
    #[error("more than {limit} {part} parts")]
    TooMany {
        /// Which.
        part: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl TransportError {
    /// What the other side is told, after the side's own prefix.
    ///
    /// Exhaustive on purpose: a new variant does not compile until it has chosen its code.
    pub fn fault_path(&self) -> Vec<FaultCode> {
        use FaultCode::*;
        match self {
            Self::Mime(MultipartError::Boundary) => vec![ServiceFailed, InvalidContentType],
            Self::Mime(
                MultipartError::HeaderLine { .. }
                | MultipartError::HeaderBytes { .. }
                | MultipartError::Outside { .. }
                | MultipartError::Parts { .. },
            ) => vec![MimeParsingFailed],
            Self::ContentType { .. } | Self::UnexpectedPart { .. } => vec![ServiceFailed, InvalidContentType],
            Self::WrongDirection => vec![ServiceFailed, InternalError],
            Self::AfterSignature | Self::NotAFault | Self::TooLarge { .. } | Self::TooMany { .. } => {
                vec![ServiceFailed, InvalidMessage]
            }
            Self::Soap(error) => vec![ServiceFailed, error.fault_code()],
            Self::MissingSoap => vec![MissingSoap],
            Self::SoapForRest { direction: Direction::Response } => vec![ServiceFailed, InvalidContentType],
            // The reference says so for requests; for responses it has codes of their own.
            Self::SoapForRest { direction: Direction::Request }
            | Self::MissingRest { direction: Direction::Request } => vec![InternalError],
            Self::MissingRest { direction: Direction::Response } => vec![MissingRest],
            Self::MissingSignature => vec![MissingSignature],
            Self::Truncated => vec![IoError],
        }
    }

    /// The last part of [`TransportError::fault_path`].
    pub fn fault_code(&self) -> FaultCode {
        *self.fault_path().last().expect("every path has a code")
    }
}

#[cfg(test)]
mod tests;
