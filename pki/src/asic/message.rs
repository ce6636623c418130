//! Who sent a logged message, and its id, in the words of the message itself.
//!
//! The client of a request, the client of the service in an answer. A REST message is read as the header part it is.

use bytes::Bytes;
use proto::id::ClientId;
use proto::rest::{RestRequest, RestResponse};
use proto::soap::{self, Soap};

/// Content type under which a SOAP message lies in a container.
const SOAP_TYPE: &str = "text/xml; charset=UTF-8";

/// Sender and message id.
pub(super) fn sender(message: &[u8]) -> Result<(ClientId, String), String> {
    let raw = Bytes::copy_from_slice(message);
    let text = message.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(message).trim_ascii_start();
    match text.first() {
        Some(b'<') => match soap::parse(raw, SOAP_TYPE).map_err(|error| error.to_string())? {
            Soap::Message(message) if message.is_response => {
                Ok((message.header.service.client, message.header.id))
            }
            Soap::Message(message) => Ok((message.header.client, message.header.id)),
            Soap::Fault(..) => Err("it is a fault".to_owned()),
        },
        // The first line of an answer is its status, that of a request its method.
        Some(digit) if digit.is_ascii_digit() => {
            let response = RestResponse::parse(raw).map_err(|error| error.to_string())?;
            Ok((response.service.client, response.id))
        }
        _ => {
            let request = RestRequest::parse(raw).map_err(|error| error.to_string())?;
            Ok((request.client, request.id))
        }
    }
}
