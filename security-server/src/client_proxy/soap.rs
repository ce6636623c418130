//! A SOAP request of an information system, and every request that no other handler takes [PR-MESS; wire dossier §8, §12].
//!
//! [`relay`] is the protocol in its order, as `rest` has it for REST; the envelope is held whole, since who asks for what stands in
//! it, and is bounded. What the information system did wrong is a fault of the side `client`. Faults are HTTP 200 here.
//!
//! Not here yet: attachments. A multipart request is refused.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use proto::fault::{FaultCode, Side};
use proto::media_type;
use proto::rest::Place;
use proto::soap::{self, Soap, SoapMessage};
use proto::transport::{self, Protocol};
use signer::SigningIdentity;

use super::Request;
use super::caller::Admitted;
use super::provider::{self, AnswerHead};
use crate::budget::Hold;
use crate::context::Context;
use crate::exchange::{self, Ids, Logged, Signed, Verified, View, Whole, writing};
use crate::faults::{Failure, OrFail, Refusal};
use crate::http1::Headers;
use crate::http1::server::{Answer, AnswerBody};
use crate::message_log::Direction;
use crate::peers::{Connection, PeerResponse};

const SIDE: Side = Side::ClientProxy;

/// Within this time the envelope must be there (wire dossier §12.2).
const ENVELOPE: Duration = Duration::from_secs(30);

/// Relays one request and gives the provider's answer, or the reason why there is none.
pub(super) async fn relay(cx: &Context, mut incoming: Request<'_>) -> Result<Answer, Refusal> {
    // 1. One valid snapshot of everything, kept to the end.
    let now = cx.clock.now();
    let view = View::take(cx, SIDE, now)?;
    view.require_auth_key()?;

    // 2. The envelope as it will be signed; its identifiers.
    let content_type = check_head(&incoming)?;
    let mut hold = cx.kept.budget.hold();
    let raw = read_envelope(&mut incoming, cx.settings.limits.message_bytes, &mut hold).await?;
    let request = parse(raw, &content_type)?;
    let ids = ids(&request);
    ids.record();

    // 3. The client is ours, and this connection may speak for it.
    let admitted = incoming.caller.speaks_for(cx, &view.server, &ids.client, now)?;

    // 4. The log takes messages, and the client has a slot.
    cx.log.check_ready(now).or_fail(SIDE)?;
    let _slot = cx.client_slots.enter(&ids.client.to_string()).or_fail(SIDE)?;

    // 5. A verified connection to a server of the provider, and a key to sign with.
    let target = request.header.security_server.as_ref();
    let connection = cx.peers.connect(&view.conf, &ids.service.client, target, now).await.or_fail(SIDE)?;
    tracing::Span::current().record("peer", connection.address());
    let identity = view.signing(&ids.client.member, now)?.clone();

    // 6. OCSP answers and envelope go out; then signature and log; only then the signature part.
    let (sent, answer) =
        send(cx, &incoming, request, &content_type, &ids, admitted, connection, &identity).await?;

    // 7. The answer is read to its end. A fault anywhere in it is the answer.
    let (mut reader, head) =
        provider::open(answer, Some(Protocol::Soap), &cx.settings.limits, cx.kept.budget.hold())?;
    let first = provider::first(&mut reader).await?;
    let label = head.label()?;
    let part_type = first.head.get("content-type").unwrap_or(transport::TEXT_XML).to_owned();
    let response = parse_response(first.raw, &part_type)?;
    let remainder = provider::rest(&mut reader, &cx.log, label).await?;
    if !remainder.attachments.is_empty() {
        return Err(attachments(SIDE).of_next_hop().into());
    }

    // 8. The provider signed exactly this, and it answers exactly our request.
    remainder.evidence.require_pair(SIDE)?;
    let (whole, labelled) = Whole::received(response, label, remainder.attachments);
    let signer = &ids.service.client;
    let verified = cx
        .kept
        .trust
        .verify(whole, &labelled, remainder.evidence, signer, &view.conf, cx.clock.now())
        .or_fail(SIDE)?;
    check_consistent(&verified, &sent)?;

    // 9. The log has it; then the information system may.
    let logged = exchange::log(&cx.log, verified, Direction::Response, true, &ids).await.or_fail(SIDE)?;
    exchange::record_sizes(sent.size(), logged.size());
    Ok(release(logged, &head, &part_type))
}

/// Method, content type and SOAPAction; gives the content type.
fn check_head(incoming: &Request<'_>) -> Result<String, Failure> {
    let refuse = |code, message: &str| Err(Failure::new(Side::Client, &[code], message));
    if incoming.head.method != "POST" {
        return refuse(FaultCode::InvalidHttpMethod, "a SOAP message must be sent with POST");
    }
    let content_type = incoming.head.headers.get("content-type").map(provider::latin1).unwrap_or_default();
    if media_type::is(&content_type, "multipart/related") {
        return Err(attachments(Side::Client));
    }
    if !is_soap_type(&content_type) {
        let message = "the content type of a SOAP message must be text/xml";
        return refuse(FaultCode::InvalidContentType, message);
    }
    let action = incoming.head.headers.get("soapaction").map(provider::latin1);
    soap::check_soap_action(action.as_deref()).map_err(|e| Failure::of_soap(&e, Place::ConsumerEdge))?;
    Ok(content_type)
}

fn is_soap_type(content_type: &str) -> bool {
    // Of a list the first counts.
    let first = content_type.split(',').next().unwrap_or_default();
    [transport::TEXT_XML, transport::XOP_XML].iter().any(|expected| media_type::is(first, expected))
}

fn attachments(side: Side) -> Failure {
    let message = "SOAP messages with attachments are not supported by this release of the security server";
    Failure::new(side, &[FaultCode::InvalidContentType], message)
}

/// The whole envelope, within `limit` bytes and [`ENVELOPE`].
async fn read_envelope(incoming: &mut Request<'_>, limit: usize, hold: &mut Hold) -> Result<Bytes, Failure> {
    let all = async {
        let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
        while let Some(data) = incoming.next().await? {
            if first.len() + joined.len() + data.len() > limit {
                let message = format!("the SOAP message is larger than {limit} bytes");
                return Err(Failure::new(Side::Client, &[FaultCode::InvalidSoap], message));
            }
            hold.grow_to(first.len() + joined.len() + data.len()).or_fail(SIDE)?;
            if first.is_empty() && joined.is_empty() {
                first = data;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut first));
                joined.extend_from_slice(&data);
            }
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    };
    tokio::time::timeout(ENVELOPE, all).await.unwrap_or_else(|_| {
        let message = format!("the SOAP message was not there within {ENVELOPE:?}");
        Err(Failure::new(SIDE, &[FaultCode::InternalError], message))
    })
}

/// Reads the envelope. A fault that an information system sends comes back to it.
fn parse(raw: Bytes, content_type: &str) -> Result<SoapMessage, Refusal> {
    match soap::parse(raw, content_type) {
        Ok(Soap::Message(message)) => Ok(*message),
        Ok(Soap::Fault(fault, _)) => Err(Refusal::returned(fault)),
        Err(error) => Err(Failure::of_soap(&error, Place::ConsumerEdge).into()),
    }
}

fn parse_response(raw: Bytes, content_type: &str) -> Result<SoapMessage, Refusal> {
    match soap::parse(raw, content_type) {
        Ok(Soap::Message(message)) => Ok(*message),
        Ok(Soap::Fault(_, raw)) => Err(Refusal::theirs(SIDE, raw)),
        Err(error) => Err(Failure::of_soap(&error, Place::ConsumerPort).into()),
    }
}

fn ids(request: &SoapMessage) -> Ids {
    Ids {
        client: request.header.client.clone(),
        service: request.header.service.clone(),
        message_id: request.header.id.clone(),
        request_id: uuid::Uuid::new_v4().to_string(),
    }
}

/// Step 6: the request as it was logged, and the head of the answer.
#[expect(clippy::too_many_arguments, reason = "one step of the story above, each argument made by another")]
async fn send(
    cx: &Context,
    incoming: &Request<'_>,
    request: SoapMessage,
    content_type: &str,
    ids: &Ids,
    _admitted: Admitted,
    connection: Connection,
    identity: &Arc<SigningIdentity>,
) -> Result<(Logged<Signed<SoapMessage>>, PeerResponse), Refusal> {
    let (mut out, body) = writing::channel();
    let extra = [
        (transport::ORIGINAL_CONTENT_TYPE, incoming.head.headers.get("content-type").unwrap_or_default()),
        (transport::ORIGINAL_SOAP_ACTION, incoming.head.headers.get("soapaction").unwrap_or_default()),
    ];
    let headers = provider::headers(&out.content_type(), &ids.request_id, &extra);
    let own_tls = connection.identity().clone();
    let answer = connection.send(headers, body.boxed());
    let sending = async {
        own_tls.ocsp.iter().for_each(|der| out.ocsp(der));
        out.soap(content_type, &[], &request.raw);
        out.flush().await?;
        let signed = cx.kept.batcher.sign(identity, Whole::new(request, Vec::new())).await.or_fail(SIDE)?;
        let logged = exchange::log(&cx.log, signed, Direction::Request, true, ids).await?;
        out.finish(&logged).await?;
        Ok(logged)
    };
    provider::converse(sending, answer, &cx.settings.limits, cx.kept.budget.hold()).await
}

/// The response is about this request.
fn check_consistent(
    verified: &Verified<SoapMessage>,
    sent: &Logged<Signed<SoapMessage>>,
) -> Result<(), Failure> {
    use exchange::Proven;
    let hash = exchange::request_hash(sent.parts(), false);
    let response = &verified.whole().message;
    match response.inconsistency(&sent.message().header, &hash) {
        None => Ok(()),
        Some(field) => {
            let message = format!("the answer does not belong to the request: {field} differs");
            let failure = Failure::new(SIDE, &[FaultCode::InconsistentResponse], message);
            // The reference compares the hash itself and leaves the other fields to the reader of the message.
            Err(if field == "requestHash" { failure } else { failure.of_next_hop() })
        }
    }
}

/// What the information system gets: the envelope, byte for byte, under the type its peer gave it.
fn release(logged: Logged<Verified<SoapMessage>>, head: &AnswerHead, part_type: &str) -> Answer {
    let original = head.original_content_type.as_deref().filter(|t| is_soap_type(t)).unwrap_or(part_type);
    let content_type = match media_type::parameter(original, "charset") {
        Some(_) => Cow::Borrowed(original),
        None => Cow::Owned(format!("{original};charset=utf-8")),
    };
    let mut headers = Headers::default();
    headers.push("Content-Type", provider::to_latin1(&content_type));
    Answer { status: 200, headers, body: AnswerBody::Bytes(logged.message().raw.clone()) }
}
