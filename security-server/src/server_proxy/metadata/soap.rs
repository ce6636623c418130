//! `listMethods`, `allowedMethods` and `getWsdl` for SOAP.

use bytes::Bytes;
use proto::id::ServiceId;
use proto::metadata::{self, GetWsdl};
use proto::multipart::PartHead;
use proto::soap::{self, Soap, SoapError, SoapMessage};

use super::super::answer::{Accepted, Opened};
use super::{MetadataError, Question, SIDE, describe, keep};
use crate::budget::Hold;
use crate::context::Context;
use crate::exchange::{self, View, writing};
use crate::faults::{OrFail, Refusal};
use crate::serverconf::{Service, ServiceKind};

/// Of the envelope.
const ENVELOPE_TYPE: &str = "text/xml; charset=UTF-8";

pub(super) async fn open(
    cx: &Context,
    accepted: &Accepted<Question>,
    request: &SoapMessage,
) -> Result<Opened, Refusal> {
    let mut hold = cx.kept.budget.hold();
    let view = &accepted.view;
    let (element, wsdl) = match accepted.authorised {
        Question::ListMethods => (list(view, request, "listMethods", |_| true), None),
        Question::AllowedMethods => {
            let may = |service: &Service| {
                view.server.is_allowed(&view.conf, &request.header.client, &service.id, None)
            };
            (list(view, request, "allowedMethods", may), None)
        }
        Question::Describe => {
            let (element, wsdl) = wsdl(cx, view, request, &mut hold).await.or_fail(SIDE)?;
            (element, Some(wsdl))
        }
    };
    let hash = exchange::request_hash(accepted.request.parts(), false);
    let response = envelope(request, &element, &hash).map_err(MetadataError::from).or_fail(SIDE)?;
    let logged = keep(cx, accepted, response, wsdl.as_ref()).await?;

    let (mut out, stream) = writing::channel();
    let content_type = out.content_type();
    let original = match wsdl {
        // The boundary is nobody's: whoever passes the message on chooses one.
        Some(_) => format!(
            "multipart/related; type=\"text/xml\"; charset=UTF-8; boundary=xroad{}",
            uuid::Uuid::new_v4().simple()
        ),
        None => ENVELOPE_TYPE.to_owned(),
    };
    let work = Box::pin(async move {
        let _held = hold;
        out.soap(ENVELOPE_TYPE, &[], &logged.message().raw);
        if let Some(wsdl) = wsdl {
            out.attachment(&wsdl_head());
            if out.data(wsdl).await.is_err() {
                return None;
            }
        }
        // A peer that is gone misses an answer that is in the log.
        let _ = out.finish(&logged).await;
        None
    });
    Ok(Opened { content_type, original_content_type: Some(original), body: stream, work, guard: None })
}

/// The request's envelope with `element` as body and the request's hash.
fn envelope(request: &SoapMessage, element: &str, hash: &str) -> Result<SoapMessage, SoapError> {
    let raw = metadata::answer(request, element)?;
    let Soap::Message(mut message) = soap::parse(raw, ENVELOPE_TYPE)? else {
        return Err(SoapError::MissingBody);
    };
    message.raw = message.with_request_hash(hash)?;
    Ok(*message)
}

/// The enabled SOAP services of the one that is asked, as far as `may` says so.
fn list(view: &View, request: &SoapMessage, name: &str, may: impl Fn(&Service) -> bool) -> String {
    let services = view.server.services(&request.header.service.client).iter();
    let soap = services.filter(|service| service.kind == ServiceKind::Wsdl && service.disabled.is_none());
    metadata::method_list(name, soap.filter(|service| may(service)).map(|service| &service.id))
}

/// What `getWsdl` answers: its element, and the WSDL.
async fn wsdl(
    cx: &Context,
    view: &View,
    request: &SoapMessage,
    hold: &mut Hold,
) -> Result<(String, Bytes), MetadataError> {
    let asked = GetWsdl::read(request)?;
    let code = asked.code.clone().ok_or(MetadataError::MissingServiceCode)?;
    let client = request.header.service.client.clone();
    let id = ServiceId { client, code, version: asked.version.clone() };
    let Some(service) = view.server.service(&id) else {
        return Err(MetadataError::UnknownService(Box::new(id)));
    };
    if service.kind != ServiceKind::Wsdl {
        return Err(MetadataError::ServiceType(Box::new(id)));
    }
    let wsdl = describe::fetch(cx, view, service, hold, |description| {
        Ok(metadata::hide_addresses(&description.bytes)?)
    });
    Ok((asked.response(), wsdl.await?))
}

fn wsdl_head() -> PartHead {
    let id = format!("<wsdl={}@x-road.eu>", uuid::Uuid::new_v4());
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![
        header("content-type", "text/xml"),
        header("Content-ID", &id),
        header("Content-Transfer-Encoding", "binary"),
    ];
    PartHead { headers }
}
