//! Metadata services: what this server answers itself, in the name of the subsystem that is asked [PR-META].
//!
//! | Service | SOAP | REST (`GET` only) |
//! |---|---|---|
//! | `listMethods` | services of kind WSDL | of kinds REST and OPENAPI3, with endpoints |
//! | `allowedMethods` | those that the client may call | the same, with the endpoints it may call |
//! | `getWsdl`, `getOpenAPI` | the WSDL as an attachment | the document |
//!
//! No right is needed, being a member is enough; everything else is checked, signed and logged as for any request. Disabled services
//! are not listed. Neither headers of the request nor addresses of information systems come back.
//!
//! The answer is whole and in the log before the first byte of it leaves. Documents are fetched within [`describe`]'s bounds and
//! counted against the server's [`crate::budget`].

use bytes::Bytes;
use pki::digest::DigestAlgorithm;
use proto::fault::{FaultCode, Side};
use proto::id::ServiceId;

use super::answer::{Accepted, Opened};
use super::asked::Asked;
use super::services::ServiceError;
use crate::context::Context;
use crate::exchange::{self, Logged, Message, Passed, Signed, Whole};
use crate::faults::{Failure, Faulty, OrFail, Refusal};
use crate::message_log::Direction;

mod describe;
mod openapi;
mod rest;
mod soap;

use openapi::OpenApiError;

const SIDE: Side = Side::ServerProxy;

/// A metadata service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// What there is.
    ListMethods,
    /// What the client may call.
    AllowedMethods,
    /// A WSDL or an OpenAPI document.
    Describe,
}

impl Question {
    /// The metadata service that is asked for, whose name no service of a client can take. Case counts, the version does not.
    pub(super) fn of(asked: &Asked, service: &ServiceId) -> Option<Self> {
        let describe = match asked {
            Asked::Rest(request) if request.method == "GET" => "getOpenAPI",
            Asked::Rest(_) => return None,
            Asked::Soap(_) => "getWsdl",
        };
        match service.code.as_str() {
            "listMethods" => Some(Self::ListMethods),
            "allowedMethods" => Some(Self::AllowedMethods),
            code if code == describe => Some(Self::Describe),
            _ => None,
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum MetadataError {
    /// A description of what?
    #[error("the request does not say with serviceCode which service is meant")]
    MissingServiceCode,
    /// SOAP: not there.
    #[error("{0} is not offered here")]
    UnknownService(Box<ServiceId>),
    /// SOAP: not SOAP.
    #[error("{0} is not a SOAP service and has no WSDL")]
    ServiceType(Box<ServiceId>),
    /// REST: not there, or without an OpenAPI document.
    #[error("{0} is not offered here, or has no OpenAPI document")]
    NoDocument(Box<ServiceId>),
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] ServiceError),
    /// Not 200.
    #[error("the description of the service was answered with HTTP status {0}")]
    Status(u16),
    /// Over the bound.
    #[error("the description of the service has more than {0} bytes")]
    TooLarge(usize),
    /// Over the bound on time.
    #[error("the description of the service was not there in time")]
    Late,
    /// No memory for it now.
    #[error(transparent)]
    Exhausted(#[from] crate::budget::Exhausted),
    /// No WSDL.
    #[error("the WSDL of the service cannot be read: {0}")]
    Wsdl(#[from] proto::xml::XmlError),
    /// No OpenAPI.
    #[error(transparent)]
    OpenApi(#[from] OpenApiError),
    /// The envelope cannot carry the answer.
    #[error("the answer cannot be written into the envelope of the request: {0}")]
    Envelope(#[from] proto::soap::SoapError),
}

impl Faulty for MetadataError {
    fn path(&self) -> Vec<FaultCode> {
        match self {
            Self::MissingServiceCode => vec![FaultCode::InvalidRequest],
            Self::UnknownService(_) => vec![FaultCode::UnknownService],
            Self::ServiceType(_) => vec![FaultCode::ServiceType],
            Self::Fetch(error) => error.path(),
            Self::NoDocument(_)
            | Self::Status(_)
            | Self::TooLarge(_)
            | Self::Late
            | Self::Exhausted(_)
            | Self::Wsdl(_)
            | Self::OpenApi(_)
            | Self::Envelope(_) => vec![FaultCode::InternalError],
        }
    }
    fn sentence(&self) -> String {
        match self {
            Self::Fetch(error) => error.sentence(),
            // What stands in a document of the service's owner is not for its clients.
            Self::Wsdl(_) => "the WSDL of the service cannot be read".into(),
            Self::OpenApi(OpenApiError::Unreadable(_)) => {
                "the OpenAPI document of the service cannot be read".into()
            }
            _ => self.to_string(),
        }
    }
    fn busy(&self) -> bool {
        matches!(self, Self::Exhausted(_))
    }
}

/// Answers: nothing is opened before the whole answer is in the log.
pub(super) async fn open(cx: &Context, accepted: Accepted<Question>) -> Result<Opened, Refusal> {
    match accepted.request.message() {
        Asked::Rest(request) => rest::open(cx, &accepted, request).await,
        Asked::Soap(asked) => soap::open(cx, &accepted, &asked.message).await,
    }
}

/// Signs the answer and puts it into the log.
async fn keep<M: Message>(
    cx: &Context,
    accepted: &Accepted<Question>,
    message: M,
    attachment: Option<&Bytes>,
) -> Result<Logged<Signed<M>>, Failure> {
    let mut passed = Passed::default();
    if let Some(bytes) = attachment {
        let mut spool = cx.log.for_producer(&accepted.ids.service.client, false).spool();
        spool.write(bytes.clone()).await.or_fail(SIDE)?;
        passed.stored.push(spool.finish().await.or_fail(SIDE)?);
        passed.digests.push(DigestAlgorithm::Sha512.digest(bytes));
    }
    let whole = Whole::new(message, passed);
    let signed = cx.kept.batcher.sign(&accepted.identity, whole).await.or_fail(SIDE)?;
    let logged =
        exchange::log(&cx.log, signed, Direction::Response, false, &accepted.ids).await.or_fail(SIDE)?;
    exchange::record_sizes(accepted.request.size(), logged.size());
    Ok(logged)
}

#[cfg(test)]
mod tests {
    use proto::metadata::{GetWsdl, HIDDEN_ADDRESS, hide_addresses};
    use proto::soap::{Soap, parse};
    use testkit::vectors::{self, Tally};

    use super::openapi;
    use crate::service_description::tree::Form;

    /// The notes of the vectors, in place: what may change in a document, and what must not.
    #[test]
    fn vectors_metaservices() {
        let Some((folder, expected)) = vectors::area("metaservices") else { return };
        let mut tally = Tally::new("metaservices");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        for file in expected["files"].as_array().unwrap() {
            let name = file["file"].as_str().unwrap();
            let bytes = std::fs::read(folder.join(name)).unwrap();
            let holds = match name {
                "petstore.yaml" => {
                    let yaml = text(openapi::hide_addresses(&bytes, Form::Yaml).unwrap());
                    let list = "- url:\n  - \"this\"\n  - \"should\"\n  - \"be\"\n  - \"a string\"\n";
                    !yaml.contains("http://petstore.swagger.io/v1/cats")
                        && yaml.matches("/v1/cats").count() == 1
                        && yaml.matches("url: null\n").count() == 2
                        && yaml.matches("url: \"\"\n").count() == 1
                        && yaml.contains(list)
                        && yaml.contains("\"200\":")
                }
                "petstore.json" => {
                    let json = text(openapi::hide_addresses(&bytes, Form::Json).unwrap());
                    json.contains("\"url\":\"/v2\"")
                        && json.contains("https://{username}.petstore.swagger.io:{port}/{basePath}")
                }
                "wsdl.wsdl" => {
                    let address = "https://172.28.128.2:8084/mocktestServiceBinding";
                    let hidden = text(hide_addresses(&bytes).unwrap().to_vec());
                    hidden == text(bytes).replace(address, HIDDEN_ADDRESS)
                }
                // An answer with its WSDL, as it was before addresses were hidden.
                "wsdl_response.xml" => {
                    let all = text(bytes);
                    let wsdl = &all[all.rfind("<?xml").unwrap()..all.rfind("--xroad").unwrap()];
                    let hidden = text(hide_addresses(wsdl.trim_end().as_bytes()).unwrap().to_vec());
                    hidden.contains(HIDDEN_ADDRESS) && !hidden.contains("172.28.128.2:8084/mocktest")
                }
                query => match parse(bytes.into(), "text/xml") {
                    Ok(Soap::Message(message)) => {
                        let code = GetWsdl::read(&message).unwrap().code;
                        let asked = query == format!("{}.query", message.header.service.code);
                        asked && code.as_deref() == (query == "getWsdl.query").then_some("getRandom")
                    }
                    _ => false,
                },
            };
            tally.equal(name, holds, true);
        }
        tally.finish();
    }
}
