//! The answer to a SOAP request: opened when the service has answered [PR-MESS §2].
//!
//! The service gets the message in the form in which its sender had it: the envelope alone, or with its attachments as a
//! `multipart/related`, streamed from where they lie. A fault of the service is passed on byte for byte, unsigned. A message gets the
//! hash of its request put in before it is signed; its attachments pass while they are read.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use proto::fault::{FaultCode, Side};
use proto::media_type;
use proto::multipart::PartHead;
use proto::rest::Place;
use proto::soap::parts::MULTIPART_RELATED;
use proto::soap::{self, Soap, SoapMessage};
use proto::transport;

use super::answer::{Accepted, Broken, Opened, end};
use super::asked::{Asked, SoapAsked};
use super::services::{Call, Reply, ServiceError};
use crate::budget::Hold;
use crate::context::Context;
use crate::exchange::parts::{Parts, Source, related_body};
use crate::exchange::{self, Logged, Outgoing, Passed, Signed, Whole, writing};
use crate::faults::{Failure, OrFail, Refusal};
use crate::http1::Framing;
use crate::http1::client::CallBody;
use crate::message_log::Direction;

const SIDE: Side = Side::ServerProxy;

/// What a service is told an envelope is.
const SERVICE_CONTENT_TYPE: &str = "text/xml; charset=UTF-8";

impl Source for Reply {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        Reply::next(self).await.map_err(|e| Failure::of(SIDE, &e).of_next_hop())
    }
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
        let written = write(&cx, &accepted, reply, &content_type, &mut out).await;
        end(&cx, out, written).await
    });
    Ok(Opened { content_type: out_type, original_content_type: original, body, work, guard: None })
}

async fn call(cx: &Context, accepted: &Accepted, asked: &SoapAsked) -> Result<Reply, Failure> {
    let service = accepted.authorised.service();
    let client = accepted.view.server.client(&service.id.client);
    let raw = asked.message.raw.clone();
    let action = asked.action.as_ref().map(|action| ("SOAPAction".into(), action.into()));
    let (content_type, (length, stream)) = match &accepted.related {
        None => {
            let length = raw.len() as u64;
            (SERVICE_CONTENT_TYPE, (length, futures_util::stream::once(std::future::ready(Ok(raw))).boxed()))
        }
        Some(related) => {
            let attachments = accepted.heads.iter().zip(accepted.attachments());
            (related.content_type(), related_body(related, &asked.head, raw, attachments))
        }
    };
    let content_type = content_type.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
    let call = Call {
        service,
        pins: client.map_or(&[], |client| &client.certs),
        method: "POST",
        path: "",
        query: None,
        lines: action.into_iter().chain([("Content-Type".into(), content_type)]).collect(),
        body: Some(CallBody { length, stream }),
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
    let soap = [transport::TEXT_XML, transport::XOP_XML, MULTIPART_RELATED];
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
    mut reply: Reply,
    content_type: &str,
    out: &mut Outgoing,
) -> Result<Logged<Signed<SoapMessage>>, Broken> {
    let (mut hold, limits) = (cx.kept.budget.hold(), &cx.settings.limits);
    let (head, raw, mut parts) = if media_type::is(content_type, MULTIPART_RELATED) {
        let mut parts = Parts::new(content_type, limits.soap_parts(), Place::ProviderEdge, hold)?;
        let (head, raw) = parts.envelope(&mut reply).await?;
        (head, raw, Some(parts))
    } else {
        let raw = read_envelope(&mut reply, limits.message_bytes, &mut hold).await?;
        (PartHead::default(), raw, None)
    };
    let part_type = head.get("content-type").unwrap_or(content_type);
    let response = read(raw, part_type, accepted)?;
    out.soap(part_type, &head.headers, &response.raw);
    let passed = match &mut parts {
        None => Passed::default(),
        Some(parts) => pass_attachments(cx, accepted, parts, &mut reply, out).await?,
    };
    let whole = Whole::new(response, passed);
    let signed = cx.kept.batcher.sign(&accepted.identity, whole).await.or_fail(SIDE)?;
    let logged =
        exchange::log(&cx.log, signed, Direction::Response, false, &accepted.ids).await.or_fail(SIDE)?;
    exchange::record_sizes(accepted.request.size(), logged.size());
    Ok(logged)
}

/// The envelope as it is signed: with the hash of its request.
fn read(raw: Bytes, content_type: &str, accepted: &Accepted) -> Result<SoapMessage, Refusal> {
    let of_service = |e| Failure::of_soap(&e, Place::ProviderEdge);
    let mut response = match soap::parse(raw, content_type).map_err(of_service)? {
        Soap::Message(message) => *message,
        Soap::Fault(fault, raw) => return Err(Refusal::Theirs(Box::new(fault), raw)),
    };
    let hash = exchange::request_hash(accepted.request.parts(), false);
    response.raw = response.with_request_hash(&hash).map_err(of_service)?;
    Ok(response)
}

async fn pass_attachments(
    cx: &Context,
    accepted: &Accepted,
    parts: &mut Parts,
    reply: &mut Reply,
    out: &mut Outgoing,
) -> Result<Passed, Broken> {
    let log = cx.log.for_producer(&accepted.ids.service.client, false);
    let passed = parts.pass::<Broken>(reply, out, &log, cx.settings.limits.attachments_bytes).await?;
    if !parts.is_closed() && reply.head.framing == Framing::ToEnd {
        // Nothing tells this end from a cut.
        let path = [FaultCode::ServiceFailed, FaultCode::IoError];
        let message = "the connection to the service ended inside its answer";
        return Err(Failure::new(SIDE, &path, message).into());
    }
    Ok(passed)
}

/// The whole envelope, within `limit` bytes.
async fn read_envelope(reply: &mut Reply, limit: usize, hold: &mut Hold) -> Result<Bytes, Failure> {
    let mut raw = BytesMut::new();
    while let Some(data) = Source::next(reply).await? {
        if raw.len() + data.len() > limit {
            let message = format!("the answer of the service is larger than {limit} bytes");
            return Err(Failure::new(SIDE, &[FaultCode::ServiceFailed, FaultCode::InvalidSoap], message));
        }
        hold.grow_to(raw.len() + data.len()).or_fail(SIDE)?;
        raw.extend_from_slice(&data);
    }
    Ok(raw.freeze())
}
