//! REST messages: the header part that is signed, its rules, its identifiers [PR-REST §4; wire dossier §7].
//!
//! Both messages keep `raw`, the exact bytes of the header part; all fields are read from it or were written into it.
use bytes::Bytes;

use crate::id::{ClientId, ServerId, ServiceId};

/// Header names and values in order, values as the signed bytes have them.
pub type Headers = Vec<(String, String)>;

/// A REST request as one security server shows it to the other.
#[derive(Clone, Debug)]
pub struct RestRequest {
    /// The header part, as signed.
    pub raw: Bytes,
    /// `GET`, `POST`, …
    pub method: String,
    /// Raw path from `/r1/` on, still escaped.
    pub path: String,
    /// Raw query without the `?`.
    pub query: Option<String>,
    /// All header lines of the part.
    pub headers: Headers,
    /// `X-Road-Client`.
    pub client: ClientId,
    /// From the path.
    pub service: ServiceId,
    /// `X-Road-Id`.
    pub id: String,
    /// `x-road-request-id`.
    pub request_id: String,
    /// `X-Road-Security-Server`.
    pub target_server: Option<ServerId>,
}

/// A request as an information system sent it to the consumer edge.
#[derive(Clone, Debug)]
pub struct EdgeRequest<'a> {
    /// Method token.
    pub method: &'a str,
    /// Raw path.
    pub path: &'a str,
    /// Raw query.
    pub query: Option<&'a str>,
    /// Header lines in order; values are bytes, read as ISO-8859-1.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Why a REST message cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// (Variants are completed by the owner of this module, each with its fault code.)
    #[error("the request line cannot be read")]
    RequestLine,
}

impl RestRequest {
    /// Builds the header part from what an information system sent: filters, appends `x-road-request-id` and, when there is
    /// none (or an empty one), an `x-road-id` of `new_id`.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn from_edge(edge: &EdgeRequest<'_>, request_id: &str, new_id: &str) -> Result<Self, RestError> {
        let _ = (edge, request_id, new_id);
        todo!()
    }
    /// Reads a header part that a peer sent.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn parse(raw: Bytes) -> Result<Self, RestError> {
        let _ = raw;
        todo!()
    }
    /// Raw path after the service code: empty, or `/…`.
    pub fn service_path(&self) -> &str {
        todo!()
    }
}

/// A REST response as the provider's server shows it to the consumer's.
#[derive(Clone, Debug)]
pub struct RestResponse {
    /// The header part, as signed.
    pub raw: Bytes,
    /// 200–599.
    pub status: u16,
    /// Reason phrase, may be empty.
    pub reason: String,
    /// All header lines of the part.
    pub headers: Headers,
    /// `x-road-id`.
    pub id: String,
    /// `x-road-client`.
    pub client: ClientId,
    /// `x-road-service`.
    pub service: ServiceId,
    /// `x-road-request-id`.
    pub request_id: String,
    /// `x-road-request-hash`, base64.
    pub request_hash: String,
}

impl RestResponse {
    /// Builds the header part from the answer of the provider's information system.
    ///
    /// # Errors
    /// A status outside 200–599, or a header that cannot be signed.
    pub fn from_service(
        status: u16,
        reason: &str,
        headers: &[(&str, &[u8])],
        request: &RestRequest,
        request_id: &str,
        request_hash: &str,
    ) -> Result<Self, RestError> {
        let _ = (status, reason, headers, request, request_id, request_hash);
        todo!()
    }
    /// Reads a header part that a peer sent.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn parse(raw: Bytes) -> Result<Self, RestError> {
        let _ = raw;
        todo!()
    }
    /// The first header of `response` that disagrees with `request`, by name [PR-REST §4.5].
    ///
    /// `request_hash` is our own.
    pub fn inconsistency(&self, request: &RestRequest, request_hash: &str) -> Option<&'static str> {
        let _ = (request, request_hash);
        todo!()
    }
}
