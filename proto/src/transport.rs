//! The message between two security servers: one HTTP body on port 5500 [PR-MESSTRANSP §3; wire dossier §5, §6].
//!
//! [`Decoder`] turns body chunks into [`Event`]s in the order the protocol demands and refuses any other order;
//! [`Encoder`] writes the parts. Neither holds a body: attachment bytes pass through as they come.
//! Not here: hashing, signatures (`pki`), sockets (`security-server`).
use bytes::{Bytes, BytesMut};

use crate::multipart::{Limits as PartLimits, MultipartError, PartHead};

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
    /// Bytes of the attachment.
    AttachmentData(Bytes),
    /// The attachment is complete.
    AttachmentEnd,
    /// The hash chain result, exactly as sent: what the signature refers to.
    HashChainResult(Bytes),
    /// The hash chain.
    HashChain(Bytes),
    /// The signature document.
    Signature(Bytes),
    /// A SOAP fault in place of whatever should have followed; the last event.
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
    /// A part where another was due.
    #[error("a part of type {found:?} where {due} was due")]
    UnexpectedPart {
        /// The type it has.
        found: String,
        /// What may come here.
        due: &'static str,
    },
    /// Something after the signature.
    #[error("there is a part after the signature")]
    AfterSignature,
    /// The message part never came.
    #[error("there is no message part")]
    MissingMessage,
    /// The signature never came.
    #[error("there is no signature part")]
    MissingSignature,
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

/// Reads one transport message. Feed, poll until `None`, feed again, finish.
#[derive(Debug)]
pub struct Decoder {
    _private: (),
}

impl Decoder {
    /// For a body with this `Content-Type`.
    ///
    /// # Errors
    /// When the type has no usable boundary.
    pub fn new(content_type: &str, direction: Direction, limits: Limits) -> Result<Self, TransportError> {
        let _ = (content_type, direction, limits);
        todo!()
    }
    /// More of the body.
    pub fn feed(&mut self, chunk: Bytes) {
        let _ = chunk;
        todo!()
    }
    /// The body ended.
    pub fn finish(&mut self) {
        todo!()
    }
    /// The next event; `None` when more input is needed.
    ///
    /// # Errors
    /// The first broken rule; the decoder is of no use afterwards.
    pub fn poll(&mut self) -> Result<Option<Event>, TransportError> {
        todo!()
    }
}

/// Writes one transport message into a buffer that the caller drains.
#[derive(Debug)]
pub struct Encoder {
    _private: (),
}

impl Encoder {
    /// `suffix` makes the boundaries (`xtop…`, `xatt…`): 30 ASCII letters, random.
    pub fn new(suffix: &str) -> Self {
        let _ = suffix;
        todo!()
    }
    /// The `Content-Type` of the whole body.
    pub fn content_type(&self) -> String {
        todo!()
    }
    /// One OCSP response.
    pub fn ocsp(&mut self, out: &mut BytesMut, der: &[u8]) {
        let _ = (out, der);
        todo!()
    }
    /// The SOAP part: its content type, its other headers, its bytes.
    pub fn soap(&mut self, out: &mut BytesMut, content_type: &str, headers: &[(String, String)], raw: &[u8]) {
        let _ = (out, content_type, headers, raw);
        todo!()
    }
    /// The REST header part.
    pub fn rest(&mut self, out: &mut BytesMut, kind: MessageKind, raw: &[u8]) {
        let _ = (out, kind, raw);
        todo!()
    }
    /// Opens the REST body part; its bytes are written by the caller straight after.
    pub fn rest_body_head(&mut self, out: &mut BytesMut) {
        let _ = out;
        todo!()
    }
    /// Opens one SOAP attachment (and the nested multipart before the first); its bytes follow.
    pub fn attachment_head(&mut self, out: &mut BytesMut, head: &PartHead) {
        let _ = (out, head);
        todo!()
    }
    /// Chain result and chain.
    pub fn hash_chain(&mut self, out: &mut BytesMut, result: &[u8], chain: &[u8]) {
        let _ = (out, result, chain);
        todo!()
    }
    /// The signature, then the closing delimiter.
    pub fn signature(&mut self, out: &mut BytesMut, xml: &[u8]) {
        let _ = (out, xml);
        todo!()
    }
    /// A fault in place of what was due, then the closing delimiter.
    pub fn fault(&mut self, out: &mut BytesMut, soap_fault: &[u8]) {
        let _ = (out, soap_fault);
        todo!()
    }
}
