//! `listMethods`, `allowedMethods` and `getOpenAPI` for REST.
//!
//! Whatever follows the name in the path is passed over.

use bytes::Bytes;
use proto::id::ServiceId;
use proto::rest::{Place, RestRequest, RestResponse};
use proto::transport::MessageKind;
use serde::Serialize;

use super::super::answer::{Accepted, Opened};
use super::openapi;
use super::{MetadataError, Question, SIDE, describe, keep};
use crate::context::Context;
use crate::exchange::{self, View, writing};
use crate::faults::{Failure, OrFail, Refusal};
use crate::serverconf::event::Endpoint;
use crate::serverconf::{Service, ServiceKind};
use crate::service_description::tree::Form;

/// Of a document whose source says nothing about it.
const TEXT: &[u8] = b"text/plain";

pub(super) async fn open(
    cx: &Context,
    accepted: &Accepted<Question>,
    request: &RestRequest,
) -> Result<Opened, Refusal> {
    let mut hold = cx.kept.budget.hold();
    let (content_type, body) = match accepted.authorised {
        Question::ListMethods => (b"application/json".to_vec(), list(&accepted.view, request, false)),
        Question::AllowedMethods => (b"application/json".to_vec(), list(&accepted.view, request, true)),
        Question::Describe => document(cx, &accepted.view, request, &mut hold).await.or_fail(SIDE)?,
    };
    let hash = exchange::request_hash(accepted.request.parts(), true);
    let lines = [("Content-Type", content_type.as_slice())];
    let response = RestResponse::from_service(200, "OK", &lines, request, &accepted.ids.request_id, &hash)
        .map_err(|e| Failure::of_rest(&e, Place::ProviderEdge))?;
    let logged = keep(cx, accepted, response, Some(&body)).await?;

    let (mut out, stream) = writing::channel();
    let content_type = out.content_type();
    let work = Box::pin(async move {
        let _held = hold;
        out.rest(MessageKind::RestResponse, &logged.message().raw);
        out.rest_body();
        if out.data(body).await.is_ok() {
            // A peer that is gone misses an answer that is in the log.
            let _ = out.finish(&logged).await;
        }
        None
    });
    Ok(Opened { content_type, original_content_type: None, body: stream, work, guard: None })
}

/// One service of a list, its fields in the order in which they are known to be written.
#[derive(Serialize)]
struct Listed<'a> {
    member_class: &'a str,
    member_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subsystem_code: Option<&'a str>,
    service_code: &'a str,
    endpoint_list: Vec<&'a Endpoint>,
    object_type: &'static str,
    service_type: &'static str,
    xroad_instance: &'a str,
}

#[derive(Serialize)]
struct List<'a> {
    service: Vec<Listed<'a>>,
}

/// The enabled services of the one that is asked; with `allowed` only what the client of the request may call.
fn list(view: &View, request: &RestRequest, allowed: bool) -> Bytes {
    let services = view.server.services(&request.service.client);
    let listed = services.iter().filter(|service| service.disabled.is_none()).filter_map(|service| {
        let service_type = match service.kind {
            ServiceKind::Rest => "REST",
            ServiceKind::OpenApi3 => "OPENAPI",
            ServiceKind::Wsdl => return None,
        };
        let endpoint_list = if allowed {
            view.server.allowed_endpoints(&view.conf, &request.client, &service.id)?
        } else {
            let endpoints = view.server.endpoints(&service.id);
            endpoints.filter(|endpoint| **endpoint != Endpoint::service_level()).collect()
        };
        let Service { id: ServiceId { client, code, .. }, .. } = &**service;
        Some(Listed {
            member_class: &client.member.class,
            member_code: &client.member.code,
            subsystem_code: client.subsystem.as_deref(),
            service_code: code,
            endpoint_list,
            object_type: "SERVICE",
            service_type,
            xroad_instance: &client.member.instance,
        })
    });
    let list = List { service: listed.collect() };
    serde_json::to_vec(&list).expect("strings can be written as JSON").into()
}

/// The OpenAPI document of the service that the query names, and its type.
async fn document(
    cx: &Context,
    view: &View,
    request: &RestRequest,
    hold: &mut crate::budget::Hold,
) -> Result<(Vec<u8>, Bytes), MetadataError> {
    let code = service_code(request.query.as_deref().unwrap_or_default())
        .ok_or(MetadataError::MissingServiceCode)?;
    let id = ServiceId { client: request.service.client.clone(), code, version: None };
    let service = view.server.service(&id).filter(|service| service.kind == ServiceKind::OpenApi3);
    let service = service.ok_or_else(|| MetadataError::NoDocument(Box::new(id)))?;
    let path = service.description.split(['?', '#']).next().unwrap_or_default();
    let named_json = path.ends_with(".json");
    describe::fetch(cx, view, service, hold, move |description| {
        let content_type = description.content_type.unwrap_or_else(|| TEXT.to_vec());
        let body = openapi::hide_addresses(&description.bytes, form(&content_type, named_json))?;
        Ok((content_type, body.into()))
    })
    .await
}

/// The content type decides, then the name of the file.
fn form(content_type: &[u8], named_json: bool) -> Form {
    let text = String::from_utf8_lossy(content_type);
    if text.contains("application/json") || (named_json && text != "application/x-yaml") {
        Form::Json
    } else {
        Form::Yaml
    }
}

/// The last `serviceCode` of a query, whatever its letter case; nothing when that is empty.
fn service_code(query: &str) -> Option<String> {
    let decode = |text: &str| {
        let spaces = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaces).decode_utf8_lossy().into_owned()
    };
    let pairs = query.split(['&', ';']).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut codes = pairs.filter(|(name, _)| decode(name).eq_ignore_ascii_case("serviceCode"));
    codes.next_back().map(|(_, value)| decode(value)).filter(|code| !code.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_service_code_counts() {
        let cases = [
            ("serviceCode=a", Some("a")),
            ("SERVICECODE=a&servicecode=b", Some("b")),
            ("x=1&serviceCode=o%61s+%C3%A4", Some("oas \u{e4}")),
            ("serviceCode=a&serviceCode=", None),
            ("serviceCode", None),
            ("service=a", None),
            ("", None),
        ];
        for (query, expected) in cases {
            assert_eq!(service_code(query).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn the_type_tells_the_form_then_the_name() {
        let cases: [(&[u8], bool, Form); 6] = [
            (b"application/json; charset=utf-8", false, Form::Json),
            (b"application/x-yaml", true, Form::Yaml),
            (b"text/yaml", false, Form::Yaml),
            (b"text/plain", true, Form::Json),
            (b"application/octet-stream", false, Form::Yaml),
            (b"", true, Form::Json),
        ];
        for (content_type, named_json, expected) in cases {
            assert_eq!(form(content_type, named_json), expected, "{content_type:?} {named_json}");
        }
    }
}
