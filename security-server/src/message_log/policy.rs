//! What of a message goes into the log: all of it, or what says that it was exchanged.
//!
//! A record is made either way; without the body it holds the digests of all parts, as they were signed, the signature, and the
//! [`stripped`] message. Such a record says who exchanged what and when, and proves a body that somebody else kept; a container of
//! it does not verify by itself.
use std::collections::HashSet;

use bytes::Bytes;
use proto::id::ClientId;
use proto::rest::{self, RestRequest, RestResponse};
use proto::soap::{self, Soap, SoapHeader};

use crate::config::{ConfigError, MessageLogSection};

/// Content type under which a logged SOAP message is read again.
const SOAP_TYPE: &str = "text/xml; charset=UTF-8";
const SOAP_NS: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const IDENTIFIERS_NS: &str = "http://x-road.eu/xsd/identifiers";

/// Whose messages are logged with their bodies. The subsystem that counts is always the producer's: the one whose service it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyLogging {
    /// For all but the exceptions.
    pub usual: bool,
    /// Services of ours to which the opposite applies.
    pub local_exceptions: HashSet<ClientId>,
    /// Services of others, asked by our clients.
    pub remote_exceptions: HashSet<ClientId>,
}

impl BodyLogging {
    /// Bodies of all messages.
    pub fn all() -> Self {
        Self { usual: true, ..Self::default() }
    }

    /// From the keys of the section.
    ///
    /// # Errors
    /// An identifier that is none, or exceptions that the general setting makes meaningless.
    pub fn resolve(section: &MessageLogSection) -> Result<Self, ConfigError> {
        let lists = [
            (
                "message-log.enabled-body-logging-local-producer-subsystems",
                &section.enabled_body_logging_local_producer_subsystems,
                false,
            ),
            (
                "message-log.enabled-body-logging-remote-producer-subsystems",
                &section.enabled_body_logging_remote_producer_subsystems,
                false,
            ),
            (
                "message-log.disabled-body-logging-local-producer-subsystems",
                &section.disabled_body_logging_local_producer_subsystems,
                true,
            ),
            (
                "message-log.disabled-body-logging-remote-producer-subsystems",
                &section.disabled_body_logging_remote_producer_subsystems,
                true,
            ),
        ];
        let mut found = Self { usual: section.message_body_logging, ..Self::default() };
        for (number, (key, list, with_usual)) in lists.into_iter().enumerate() {
            let subsystems = subsystems(key, list)?;
            if subsystems.is_empty() {
                continue;
            }
            if with_usual != found.usual {
                let rule = format!("has no meaning while message-body-logging is {}", found.usual);
                return Err(ConfigError { key, rule });
            }
            let remote = number % 2 == 1;
            *(if remote { &mut found.remote_exceptions } else { &mut found.local_exceptions }) = subsystems;
        }
        Ok(found)
    }

    /// Whether bodies are kept of messages about a service of `producer`; `consumer_side`: our client asks.
    pub fn keeps(&self, producer: &ClientId, consumer_side: bool) -> bool {
        let exceptions = if consumer_side { &self.remote_exceptions } else { &self.local_exceptions };
        self.usual != exceptions.contains(producer)
    }
}

/// `INSTANCE/CLASS/CODE/SUBSYSTEM`, separated by commas.
pub(super) fn subsystems(key: &'static str, list: &str) -> Result<HashSet<ClientId>, ConfigError> {
    let named = list.split(',').map(str::trim).filter(|text| !text.is_empty());
    named.map(|text| subsystem(key, text)).collect()
}

/// `INSTANCE/CLASS/CODE/SUBSYSTEM`.
pub(super) fn subsystem(key: &'static str, text: &str) -> Result<ClientId, ConfigError> {
    let id = ClientId::parse_short(text).ok().filter(|id| id.subsystem.is_some());
    id.ok_or_else(|| ConfigError { key, rule: format!("{text} is not INSTANCE/CLASS/CODE/SUBSYSTEM") })
}

/// What is kept of a message whose body is not: method and service without path, query and foreign headers; or the SOAP header
/// over an empty body element. A message that cannot be read keeps nothing.
pub(super) fn stripped(message: &Bytes, rest: bool, response: bool) -> Bytes {
    match (rest, response) {
        (true, false) => RestRequest::parse(message.clone()).map(|request| rest_request(&request)),
        (true, true) => RestResponse::parse(message.clone()).map(|response| rest_response(&response)),
        (false, _) => return soap_envelope(message, response),
    }
    .map(Bytes::from)
    .unwrap_or_default()
}

fn rest_request(request: &RestRequest) -> String {
    let service = &request.path[..request.path.len() - request.service_path().len()];
    format!("{}\r\n{service}\r\n{}", request.method, own_headers(&request.headers))
}

fn rest_response(response: &RestResponse) -> String {
    let headers = own_headers(&response.headers);
    format!("{}\r\n{}\r\n{headers}", response.status, response.reason)
}

fn own_headers(headers: &rest::Headers) -> String {
    let is_own = |name: &str| name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("x-road-"));
    headers
        .iter()
        .filter(|(name, _)| is_own(name))
        .map(|(name, value)| format!("{name}:{value}\r\n"))
        .collect()
}

fn soap_envelope(message: &Bytes, response: bool) -> Bytes {
    let Ok(Soap::Message(parsed)) = soap::parse(message.clone(), SOAP_TYPE) else { return Bytes::new() };
    let code = escaped(&parsed.header.service.code);
    let element = if response { format!("{code}Response") } else { code };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"{SOAP_NS}\" \
         xmlns:xroad=\"{}\" xmlns:id=\"{IDENTIFIERS_NS}\"><soap:Header>{}</soap:Header><soap:Body><{element}/>\
         </soap:Body></soap:Envelope>",
        soap::XROAD_NS,
        header_elements(&parsed.header)
    )
    .into()
}

fn header_elements(header: &SoapHeader) -> String {
    let element = |name: &str, value: &str| format!("<{name}>{}</{name}>", escaped(value));
    let client = |id: &ClientId| {
        let codes = [
            ("xRoadInstance", &id.member.instance),
            ("memberClass", &id.member.class),
            ("memberCode", &id.member.code),
        ];
        let codes = codes.into_iter().chain(id.subsystem.as_ref().map(|code| ("subsystemCode", code)));
        codes.map(|(name, code)| element(&format!("id:{name}"), code)).collect::<String>()
    };
    let kind = if header.client.subsystem.is_some() { "SUBSYSTEM" } else { "MEMBER" };
    let service = &header.service;
    let version = service.version.as_ref().map(|v| element("id:serviceVersion", v)).unwrap_or_default();
    let mut out = format!(
        "<xroad:client id:objectType=\"{kind}\">{}</xroad:client><xroad:service id:objectType=\"SERVICE\">{}{}{version}\
         </xroad:service>",
        client(&header.client),
        client(&service.client),
        element("id:serviceCode", &service.code),
    );
    for (name, value) in [("xroad:userId", &header.user_id), ("xroad:issue", &header.issue)] {
        out.push_str(&value.as_ref().map(|value| element(name, value)).unwrap_or_default());
    }
    out.push_str(&element("xroad:id", &header.id));
    if let Some(hash) = &header.request_hash {
        out.push_str(&element("xroad:requestHash", hash));
    }
    out.push_str(&element("xroad:protocolVersion", &header.protocol_version));
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#xD;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(change: impl FnOnce(&mut MessageLogSection)) -> MessageLogSection {
        let mut section = MessageLogSection::default();
        change(&mut section);
        section
    }

    #[test]
    fn bodies_are_kept_by_producer_and_side() {
        let id = |text: &str| subsystem("k", text).unwrap();
        let off = section(|s| {
            s.message_body_logging = false;
            s.enabled_body_logging_local_producer_subsystems = "FI/GOV/1/a, FI/GOV/1/b".into();
            s.enabled_body_logging_remote_producer_subsystems = "FI/GOV/2/c".into();
        });
        let off = BodyLogging::resolve(&off).unwrap();
        let on = section(|s| s.disabled_body_logging_remote_producer_subsystems = "FI/GOV/2/c".into());
        let on = BodyLogging::resolve(&on).unwrap();
        for (producer, consumer_side, kept_off, kept_on) in [
            ("FI/GOV/1/a", false, true, true),
            ("FI/GOV/1/b", false, true, true),
            ("FI/GOV/1/a", true, false, true),
            ("FI/GOV/2/c", true, true, false),
            ("FI/GOV/2/c", false, false, true),
            ("FI/GOV/9/z", true, false, true),
        ] {
            assert_eq!(off.keeps(&id(producer), consumer_side), kept_off, "{producer} {consumer_side}");
            assert_eq!(on.keeps(&id(producer), consumer_side), kept_on, "{producer} {consumer_side}");
        }
        let wrong = section(|s| s.enabled_body_logging_local_producer_subsystems = "FI/GOV/1/a".into());
        let error = BodyLogging::resolve(&wrong).unwrap_err();
        assert!(error.to_string().contains("no meaning"), "{error}");
        let wrong = section(|s| s.disabled_body_logging_local_producer_subsystems = "FI/GOV/1".into());
        assert!(BodyLogging::resolve(&wrong).is_err(), "a member is no subsystem");
    }

    #[test]
    fn what_is_left_of_rest_names_the_parties_and_nothing_else() {
        let request = "POST\r\n/r1/DEV/COM/1234/Sub/svc/person/47101010033?secret=1\r\nContent-Type:text/plain\r\n\
                       Authorization:Bearer abc\r\nX-Road-Client:DEV/COM/4321/Cli\r\nx-road-request-id:u\r\n\
                       x-road-id:DEV-1\r\n";
        let left = stripped(&Bytes::from(request), true, false);
        let expected = "POST\r\n/r1/DEV/COM/1234/Sub/svc\r\nX-Road-Client:DEV/COM/4321/Cli\r\nx-road-request-id:u\r\n\
                        x-road-id:DEV-1\r\n";
        assert_eq!(left, expected);
        assert!(RestRequest::parse(left).is_ok());
        assert_eq!(stripped(&Bytes::from_static(b"\xff"), true, false), "");
    }

    #[test]
    fn what_is_left_of_soap_has_its_header_and_an_empty_body() {
        let id = |kind: &str, more: &str| {
            format!(
                "id:objectType=\"{kind}\"><id:xRoadInstance>DEV</id:xRoadInstance><id:memberClass>A&amp;B</id:memberClass>\
                 <id:memberCode>1</id:memberCode><id:subsystemCode>s</id:subsystemCode>{more}"
            )
        };
        let message = format!(
            "<s:Envelope xmlns:s=\"{SOAP_NS}\" xmlns:x=\"{}\" xmlns:id=\"{IDENTIFIERS_NS}\"><s:Header><x:client {}</x:client>\
             <x:service {}</x:service><x:userId>EE1</x:userId><x:id>i-1</x:id><x:protocolVersion>4.0</x:protocolVersion>\
             </s:Header><s:Body><get><secret>7</secret></get></s:Body></s:Envelope>",
            soap::XROAD_NS,
            id("SUBSYSTEM", ""),
            id("SERVICE", "<id:serviceCode>get</id:serviceCode><id:serviceVersion>v1</id:serviceVersion>")
        );
        let before = soap::parse(Bytes::from(message.clone()), SOAP_TYPE);
        let Ok(Soap::Message(before)) = before else { panic!("{before:?}") };
        for response in [false, true] {
            let left = stripped(&Bytes::from(message.clone()), false, response);
            assert!(!String::from_utf8_lossy(&left).contains("secret"));
            let Ok(Soap::Message(after)) = soap::parse(left, SOAP_TYPE) else { panic!("it is no message") };
            assert_eq!((&after.header, after.is_response), (&before.header, response));
        }
    }
}
