//! The answer to a SOAP request: opened when the service has answered [PR-MESS §2; wire dossier §8, §13.4].
//!
//! A fault of the service is passed on byte for byte, unsigned. A message gets the hash of its request put in before it is signed.
//!
//! Not here yet: attachments, in either direction.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use proto::fault::{FaultCode, Side};
use proto::media_type;
use proto::rest::Place;
use proto::soap::{self, Soap, SoapMessage};
use proto::transport;

use super::answer::{Accepted, Opened, fault};
use super::asked::{Asked, SoapAsked};
use super::services::{Call, Reply, ServiceError};
use crate::budget::Hold;
use crate::context::Context;
use crate::exchange::{self, Logged, Outgoing, Signed, Whole, writing};
use crate::faults::{Failure, OrFail, Refusal};
use crate::http1::client::CallBody;
use crate::message_log::Direction;

const SIDE: Side = Side::ServerProxy;

/// What a service is told an envelope is (wire dossier §8.5).
const SERVICE_CONTENT_TYPE: &[u8] = b"text/xml; charset=UTF-8";

/// A message with attachments is refused for now.
pub(super) fn attachments() -> Failure {
    let message = "SOAP messages with attachments are not supported by this release of the security server";
    Failure::new(SIDE, &[FaultCode::ServiceFailed, FaultCode::InvalidContentType], message)
}

/// Calls the service, and opens the answer when it has answered with something that can be SOAP.
pub(super) async fn open(cx: &Context, accepted: Accepted) -> Result<Opened, Refusal> {
    let Asked::Soap(asked) = accepted.request.message() else {
        unreachable!("`open` is called for SOAP alone");
    };
    let reply = call(cx, &accepted, asked).await.map_err(Failure::of_next_hop)?;
    let content_type = content_type(&reply).map_err(|e| Failure::of(SIDE, &e).of_next_hop())?;
    let (mut out, body) = writing::channel();
    let (out_type, original) = (out.content_type(), Some(content_type.clone()));
    let cx = cx.clone();
    let work = Box::pin(async move {
        match write(&cx, &accepted, reply, &content_type, &mut out).await {
            Ok(logged) => {
                // A peer that is gone misses an answer that is in the log.
                let _ = out.finish(&logged).await;
                None
            }
            Err(refusal) => fault(&cx, out, refusal).await,
        }
    });
    Ok(Opened { content_type: out_type, original_content_type: original, body, work })
}

async fn call(cx: &Context, accepted: &Accepted, asked: &SoapAsked) -> Result<Reply, Failure> {
    let service = accepted.authorised.service();
    let client = accepted.view.server.client(&service.id.client);
    let raw = asked.message.raw.clone();
    let action = asked.action.clone().map(|action| ("SOAPAction".to_owned(), action));
    let content_type = ("Content-Type".to_owned(), SERVICE_CONTENT_TYPE.to_vec());
    let body = CallBody {
        length: raw.len() as u64,
        stream: futures_util::stream::once(std::future::ready(Ok(raw))).boxed(),
    };
    let call = Call {
        service,
        pins: client.map_or(&[], |client| &client.certs),
        method: "POST",
        path: "",
        query: None,
        lines: action.into_iter().chain([content_type]).collect(),
        body: Some(body),
    };
    let reply = cx.kept.services.call(&cx.internal_tls, call).await.or_fail(SIDE)?;
    if !matches!(reply.head.status, 200 | 500) {
        return Err(Failure::of(SIDE, &ServiceError::Status(reply.head.status)));
    }
    Ok(reply)
}

fn content_type(reply: &Reply) -> Result<String, ServiceError> {
    let sent = reply.head.headers.get("content-type").unwrap_or_default();
    let content_type: String = sent.iter().copied().map(char::from).collect();
    let soap = [transport::TEXT_XML, transport::XOP_XML];
    if soap.iter().any(|expected| media_type::is(&content_type, expected)) {
        Ok(content_type)
    } else {
        Err(ServiceError::ContentType)
    }
}

/// Reads the service's answer and writes it up to the signature, which the log must have first.
async fn write(
    cx: &Context,
    accepted: &Accepted,
    reply: Reply,
    content_type: &str,
    out: &mut Outgoing,
) -> Result<Logged<Signed<SoapMessage>>, Refusal> {
    let mut hold = cx.kept.budget.hold();
    let raw = read_envelope(reply, cx.settings.limits.message_bytes, &mut hold).await?;
    let of_service = |e| Failure::of_soap(&e, Place::ProviderEdge);
    let mut response = match soap::parse(raw, content_type).map_err(of_service)? {
        Soap::Message(message) => *message,
        Soap::Fault(fault, raw) => return Err(Refusal::Theirs(Box::new(fault), raw)),
    };
    let hash = exchange::request_hash(accepted.request.parts(), false);
    response.raw = response.with_request_hash(&hash).map_err(of_service)?;
    out.soap(content_type, &[], &response.raw);
    let whole = Whole::new(response, Vec::new());
    let signed = cx.kept.batcher.sign(&accepted.identity, whole).await.or_fail(SIDE)?;
    let logged =
        exchange::log(&cx.log, signed, Direction::Response, false, &accepted.ids).await.or_fail(SIDE)?;
    exchange::record_sizes(accepted.request.size(), logged.size());
    Ok(logged)
}

/// The whole envelope, within `limit` bytes.
async fn read_envelope(mut reply: Reply, limit: usize, hold: &mut Hold) -> Result<Bytes, Failure> {
    let mut raw = BytesMut::new();
    while let Some(data) = reply.next().await.map_err(|e| Failure::of(SIDE, &e).of_next_hop())? {
        if raw.len() + data.len() > limit {
            let message = format!("the answer of the service is larger than {limit} bytes");
            return Err(Failure::new(SIDE, &[FaultCode::ServiceFailed, FaultCode::InvalidSoap], message));
        }
        hold.grow_to(raw.len() + data.len()).or_fail(SIDE)?;
        raw.extend_from_slice(&data);
    }
    Ok(raw.freeze())
}
