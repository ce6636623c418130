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
        // Beside UTF-8 and what resembles it a document may be in UTF-16, whose marks no header part begins with.
        Some(b'<' | 0xFE | 0xFF | 0) => {
            match soap::parse(raw, SOAP_TYPE).map_err(|error| error.to_string())? {
                Soap::Message(message) if message.is_response => {
                    Ok((message.header.service.client, message.header.id))
                }
                Soap::Message(message) => Ok((message.header.client, message.header.id)),
                Soap::Fault(..) => Err("it is a fault".to_owned()),
            }
        }
        // The first line of an answer is its status, that of a request its method.
        Some(digit) if digit.is_ascii_digit() => {
            let response = RestResponse::parse(raw).map_err(|error| error.to_string())?;
            Ok((response.service.client.clone(), response.id.to_string()))
        }
        _ => {
            let request = RestRequest::parse(raw).map_err(|error| error.to_string())?;
            Ok(((*request.client).clone(), request.id.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:x="http://x-road.eu/xsd/xroad.xsd"
 xmlns:i="http://x-road.eu/xsd/identifiers"><s:Header><x:client i:objectType="SUBSYSTEM"><i:xRoadInstance>EE</i:xRoadInstance>
<i:memberClass>GOV</i:memberClass><i:memberCode>1</i:memberCode><i:subsystemCode>jäär</i:subsystemCode></x:client>
<x:service i:objectType="SERVICE"><i:xRoadInstance>EE</i:xRoadInstance><i:memberClass>COM</i:memberClass>
<i:memberCode>2</i:memberCode><i:serviceCode>get</i:serviceCode></x:service><x:id>m-1</x:id>
<x:protocolVersion>4.0</x:protocolVersion></s:Header><s:Body><get/></s:Body></s:Envelope>"#;

    #[test]
    fn a_soap_message_names_its_sender_in_every_encoding_that_is_relayed() {
        let utf16 = |mark: u16, bytes: fn(u16) -> [u8; 2]| {
            let units = std::iter::once(mark).chain(REQUEST.encode_utf16()).filter(|unit| *unit != 0);
            units.flat_map(bytes).collect::<Vec<u8>>()
        };
        let latin1 = format!(r#"<?xml version="1.0" encoding="ISO-8859-1"?>{REQUEST}"#);
        let cases = [
            ("UTF-8", REQUEST.as_bytes().to_vec()),
            ("UTF-8 with a mark", [b"\xEF\xBB\xBF", REQUEST.as_bytes()].concat()),
            ("after blank lines", format!("\r\n\n{REQUEST}").into_bytes()),
            ("ISO-8859-1", latin1.chars().map(|c| u8::try_from(c).expect("Latin")).collect()),
            ("UTF-16, little end first", utf16(0xFEFF, u16::to_le_bytes)),
            ("UTF-16, big end first", utf16(0xFEFF, u16::to_be_bytes)),
            ("UTF-16 without a mark, little end first", utf16(0, u16::to_le_bytes)),
            ("UTF-16 without a mark, big end first", utf16(0, u16::to_be_bytes)),
        ];
        for (name, message) in cases {
            let found = sender(&message).map(|(client, id)| (client.to_string(), id));
            assert_eq!(found, Ok(("SUBSYSTEM:EE/GOV/1/jäär".to_owned(), "m-1".to_owned())), "{name}");
        }
    }
}
