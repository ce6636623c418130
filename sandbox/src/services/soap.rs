//! The population register over SOAP 1.1: `residentDetails`, described by `population.wsdl` [PR-MESS §2].
//!
//! The answer carries the request's header element as it stood, since the provider's security server compares it field by field.
//! A broken request and an unknown code are SOAP faults with status 500 and 200, as information systems do it. Whatever is attached to a
//! request is attached to its answer.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use hyper::{Method, Request, Response, StatusCode};

use proto::media_type;
use proto::multipart::{self, PartHead};
use proto::soap::parts::{Decoder, Event, Limits, MULTIPART_RELATED, PartsError};
use proto::soap::related::Related;
use proto::xml::{self, escape_attribute, escape_text};
use roxmltree::Node;

use super::base_url;
use super::population::{self, Resident};
use crate::http::{RequestBody, ResponseBody, read_all, respond};

/// Where it lies on the sample server.
pub const BASE: &str = "/soap";
/// Namespace of requests and answers.
pub const NAMESPACE: &str = "http://metsola.example/population";

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const WSDL: &str = include_str!("population.wsdl");
/// Largest request; the bench sends one of a kilobyte.
const REQUEST_LIMIT_BYTES: usize = 1 << 20;

/// Answers a request for `path` below [`BASE`].
pub(super) async fn answer(path: &str, request: Request<RequestBody>) -> Response<ResponseBody> {
    match (request.method(), path) {
        (&Method::GET, "/population.wsdl") => respond(
            StatusCode::OK,
            "text/xml; charset=UTF-8",
            WSDL.replace("@BASE@", &base_url(&request, BASE)),
        ),
        (&Method::POST, "") => {
            let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok());
            let content_type = content_type.unwrap_or_default().to_owned();
            let Ok(body) = read_all(request.into_body(), REQUEST_LIMIT_BYTES).await else {
                return fault(StatusCode::INTERNAL_SERVER_ERROR, "The request could not be read.");
            };
            match Attached::read(&content_type, body) {
                Ok(attached) => call(&attached),
                Err(_) => {
                    fault(StatusCode::INTERNAL_SERVER_ERROR, "The parts of the request could not be read.")
                }
            }
        }
        _ => respond(StatusCode::NOT_FOUND, "text/plain", "There is nothing here.\n"),
    }
}

/// An envelope with what is attached to it.
struct Attached {
    envelope: Bytes,
    head: PartHead,
    attachments: Vec<(PartHead, BytesMut)>,
    content_type: String,
}

impl Attached {
    fn read(content_type: &str, body: Bytes) -> Result<Self, PartsError> {
        let plain = Self {
            envelope: body.clone(),
            head: PartHead::default(),
            attachments: Vec::new(),
            content_type: content_type.to_owned(),
        };
        if !media_type::is(content_type, MULTIPART_RELATED) {
            return Ok(plain);
        }
        let limits = Limits {
            parts: multipart::Limits::default(),
            message_bytes: REQUEST_LIMIT_BYTES,
            attachments: 100,
        };
        let mut decoder = Decoder::new(content_type, limits)?;
        decoder.feed(body);
        decoder.finish();
        let mut read = plain;
        while let Some(event) = decoder.poll()? {
            match event {
                Event::Envelope { head, raw } => (read.head, read.envelope) = (head, raw),
                Event::AttachmentHead(head) => read.attachments.push((head, BytesMut::new())),
                Event::AttachmentData(data) => {
                    read.attachments
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|(_, content)| content.extend(&data));
                }
                Event::AttachmentEnd | Event::End { .. } => {}
            }
        }
        Ok(read)
    }

    /// `answer`, with the attachments under the request's own type.
    fn respond(&self, answer: String) -> Response<ResponseBody> {
        let Ok(Some(related)) = Related::of(&self.content_type, self.attachments.len(), "metsola") else {
            return respond(StatusCode::OK, "text/xml; charset=UTF-8", answer);
        };
        let mut body = related.head(true, &self.head).to_vec();
        body.extend_from_slice(answer.as_bytes());
        for (head, content) in &self.attachments {
            body.extend_from_slice(&related.head(false, head));
            body.extend_from_slice(content);
        }
        body.extend_from_slice(&related.end());
        respond(StatusCode::OK, related.content_type(), body)
    }
}

fn call(attached: &Attached) -> Response<ResponseBody> {
    let request = &attached.envelope;
    let limits = xml::Limits { bytes: REQUEST_LIMIT_BYTES, ..xml::Limits::default() };
    let Ok(document) = xml::tree(request, &limits) else {
        return fault(StatusCode::INTERNAL_SERVER_ERROR, "The request is not XML.");
    };
    let envelope = document.root_element();
    let child = |of: Node<'_, '_>, namespace, name| {
        of.children().find(|node| node.has_tag_name((namespace, name))).map(|node| node.id())
    };
    let node = |id| document.get_node(id).expect("ids come from this document");
    let header = child(envelope, ENVELOPE, "Header").map(node);
    let code = child(envelope, ENVELOPE, "Body")
        .and_then(|body| child(node(body), NAMESPACE, "residentDetails"))
        .and_then(|details| child(node(details), NAMESPACE, "code"))
        .and_then(|code| node(code).text());
    let (Some(header), Some(code)) = (header, code) else {
        return fault(StatusCode::INTERNAL_SERVER_ERROR, "The request is no residentDetails request.");
    };
    match population::resident(code) {
        Some(resident) => {
            attached.respond(envelope_around(envelope, &document.input_text()[header.range()], resident))
        }
        None => fault(StatusCode::OK, "No resident has this code."),
    }
}

/// The header's text stands in an envelope that declares what the request's envelope declared, so its prefixes keep their meaning.
fn envelope_around(request: Node<'_, '_>, header: &str, resident: &Resident) -> String {
    let mut xml = String::from(r#"<?xml version="1.0" encoding="UTF-8"?>"#);
    let prefix = request.lookup_prefix(ENVELOPE).map_or(String::new(), |prefix| format!("{prefix}:"));
    let mut put = |text: std::fmt::Arguments<'_>| xml.write_fmt(text).expect("a String takes everything");
    put(format_args!("<{prefix}Envelope"));
    for namespace in request.namespaces() {
        let name = namespace.name().map_or("xmlns".to_owned(), |name| format!("xmlns:{name}"));
        put(format_args!(r#" {name}="{}""#, escape_attribute(namespace.uri())));
    }
    put(format_args!(r#">{header}<{prefix}Body><r:residentDetailsResponse xmlns:r="{NAMESPACE}">"#));
    let single = [
        ("code", Some(resident.code)),
        ("givenName", Some(resident.given_name)),
        ("familyName", Some(resident.family_name)),
        ("born", Some(resident.born)),
        ("address", Some(resident.address)),
        ("movedTo", resident.moved_to),
    ];
    let guardians = resident.guardians.iter().map(|code| ("guardian", Some(*code)));
    for (name, value) in single.into_iter().chain(guardians) {
        if let Some(value) = value {
            put(format_args!("<r:{name}>{}</r:{name}>", escape_text(value)));
        }
    }
    put(format_args!("</r:residentDetailsResponse></{prefix}Body></{prefix}Envelope>"));
    xml
}

fn fault(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="{ENVELOPE}"><e:Body><e:Fault><faultcode>e:Server</faultcode><faultstring>{}</faultstring></e:Fault></e:Body></e:Envelope>"#,
        escape_text(text)
    );
    respond(status, "text/xml; charset=UTF-8", body)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const HEADER: &str = r#"<SOAP-ENV:Header><x:client id:objectType="SUBSYSTEM"><id:xRoadInstance>DEMO</id:xRoadInstance></x:client><x:id>1 &amp; 2</x:id></SOAP-ENV:Header>"#;

    fn request(code: &str) -> String {
        format!(
            r#"<?xml version="1.0"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE}" xmlns:x="http://x-road.eu/xsd/xroad.xsd" xmlns:id="http://x-road.eu/xsd/identifiers" xmlns="urn:other">{HEADER}<SOAP-ENV:Body><residentDetails xmlns="{NAMESPACE}"><code>{code}</code></residentDetails></SOAP-ENV:Body></SOAP-ENV:Envelope>"#
        )
    }

    async fn answer_to(request: &str) -> (u16, String) {
        let body = Bytes::copy_from_slice(request.as_bytes());
        let response = call(&Attached::read("text/xml; charset=UTF-8", body).unwrap());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_answer_has_the_header_of_the_request() {
        let (status, xml) = answer_to(&request("M-2019-0502")).await;
        assert_eq!(status, 200);
        assert!(xml.contains(HEADER), "{xml}");
        let document = roxmltree::Document::parse(&xml).unwrap();
        let text = |name| {
            document
                .descendants()
                .find(|node| node.has_tag_name((NAMESPACE, name)))
                .and_then(|node| node.text())
        };
        assert_eq!(text("givenName"), Some("Säde"));
        assert_eq!(text("movedTo"), Some("Rannala"));
        assert_eq!(
            document.descendants().filter(|node| node.has_tag_name((NAMESPACE, "guardian"))).count(),
            2
        );
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_a_fault() {
        let cases = [
            ("an unknown code", request("M-0"), 200),
            ("not XML", "<a".into(), 500),
            ("another question", request("1").replace("residentDetails", "other"), 500),
        ];
        for (name, request, expected) in cases {
            let (status, xml) = answer_to(&request).await;
            assert_eq!(status, expected, "{name}");
            assert!(xml.contains("<e:Fault>"), "{name}: {xml}");
        }
    }

    #[test]
    fn the_wsdl_describes_the_operation_with_its_version() {
        let document = roxmltree::Document::parse(WSDL).unwrap();
        let version = document
            .descendants()
            .find(|node| node.has_tag_name(("http://x-road.eu/xsd/xroad.xsd", "version")));
        assert_eq!(version.and_then(|node| node.text()), Some("v1"));
        assert!(document.descendants().any(|node| node.has_tag_name("element") || node.attribute("name") == Some("residentDetails")));
    }
}
