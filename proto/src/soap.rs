//! SOAP messages: header, body rules, request hash [PR-MESS §2; wire dossier §8].
//!
//! A message keeps `raw`, the exact bytes that arrived, byte order mark included: they are what is signed as `/message.xml`.
use bytes::Bytes;

use crate::fault::Fault;
use crate::id::{ClientId, ServerId, ServiceId};

/// The X-Road header of a SOAP message.
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
    pub represented_party: Option<(Option<String>, String)>,
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
    /// (Variants are completed by the owner of this module, each with its fault code.)
    #[error("the document is not well-formed XML")]
    Xml,
}

/// Reads a SOAP document. `content_type` is that of the body or part it came in.
///
/// # Errors
/// The first broken rule, in the reference's order.
pub fn parse(raw: Bytes, content_type: &str) -> Result<Soap, SoapError> {
    let _ = (raw, content_type);
    todo!()
}

impl SoapMessage {
    /// The bytes of this response with `request_hash` (base64 SHA-512 of the request) put after `xroad:id`, any older one removed.
    ///
    /// # Errors
    /// When the document's encoding leaves no safe place to write it.
    pub fn with_request_hash(&self, request_hash: &str) -> Result<Bytes, SoapError> {
        let _ = request_hash;
        todo!()
    }
    /// The first header field in which this response disagrees with `request`; `request_hash` is our own.
    pub fn inconsistency(&self, request: &SoapHeader, request_hash: &str) -> Option<&'static str> {
        let _ = (request, request_hash);
        todo!()
    }
}
