//! A SOAP request of an information system, and every request that no other handler takes [PR-MESS].
//!
//! [`relay`] is the protocol in its order, as `rest` has it for REST; the envelope is held whole, since who asks for what stands in
//! it, and is bounded. Attachments pass while they are read, and are released from where they lie. What the information system did
//! wrong is a fault of the side `client`. Faults are HTTP 200 here.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use proto::fault::{FaultCode, Side};
use proto::media_type;
use proto::multipart::PartHead;
use proto::rest::Place;
use proto::soap::parts::MULTIPART_RELATED;
use proto::soap::related::Related;
use proto::soap::{self, Soap, SoapMessage};
use proto::transport::{self, Protocol};
use signer::SigningIdentity;

use super::Request;
use super::caller::Admitted;
use super::provider::{self, AnswerHead, SendError};
use crate::budget::Hold;
use crate::context::Context;
use crate::exchange::parts::{Parts, Source, related_body};
use crate::exchange::{self, Ids, Logged, Outgoing, Passed, Signed, Verified, View, Whole, writing};
use crate::faults::{Failure, OrFail, Refusal};
use crate::http1::Headers;
use crate::http1::server::{Answer, AnswerBody};
use crate::message_log::Direction;
use crate::peers::Lines;

const SIDE: Side = Side::ClientProxy;

/// Within this time the envelope must be there.
const ENVELOPE: Duration = Duration::from_secs(30);

/// Relays one request and gives the provider's answer, or the reason why there is none.
pub(super) async fn relay(cx: &Context, mut incoming: Request<'_>) -> Result<Answer, Refusal> {
    // 1. One valid snapshot of everything, kept to the end.
    let now = cx.clock.now();
    let view = View::take(cx, SIDE, now)?;
    view.require_auth_key()?;

    // 2. The envelope as it will be signed; its identifiers.
    let content_type = check_head(&incoming)?;
    let mut sending = read_first(cx, &mut incoming, &content_type).await?;
    let request = parse(sending.raw.clone(), sending.part_type(&content_type))?;
    let ids = ids(&request);
    ids.record();

    // 3. The client is ours, and this connection may speak for it.
    let admitted = incoming.caller.speaks_for(cx, &view.server, &ids.client, now)?;

    // 4. The log takes messages, and the client has a slot.
    cx.log.check_ready(now).or_fail(SIDE)?;
    let slot = cx.client_slots.enter(&ids.client.to_string()).or_fail(SIDE)?;

    // 5. A verified connection to a server of the provider, and a key to sign with.
    let target = request.header.security_server.as_ref();
    let connection = cx.peers.connect(&view.conf, &ids.service.client, target, now).await.or_fail(SIDE)?;
    tracing::Span::current().record("peer", connection.address());
    let identity = view.signing(&ids.client.member, now)?.clone();

    // 6. OCSP answers, envelope and attachments go out; then signature and log; only then the signature part.
    let (out, body) = writing::channel();
    let headers = headers(&incoming, &out, &ids);
    let own_tls = connection.identity().clone();
    let mut answer = pin!(connection.send(headers, body.boxed()));
    let in_pieces = sending.parts.is_some();
    let going = send(cx, &mut incoming, out, &mut sending, request, &own_tls.ocsp, &ids, admitted, &identity);
    let hold = cx.kept.budget.hold();
    let sent = provider::converse(pin!(going), answer.as_mut(), in_pieces, &cx.settings.limits, hold).await?;
    let answer = provider::answer(answer, &incoming).await?;

    // 7. The answer is read to its end, its attachments into the log's spool. A fault anywhere in it is the answer.
    let (mut reader, head) =
        provider::open(answer, Some(Protocol::Soap), &cx.settings.limits, cx.kept.budget.hold())?;
    let first = provider::first(&mut reader, &incoming).await?;
    let label = head.label()?;
    let part_type = first.head.get("content-type").unwrap_or(transport::TEXT_XML).to_owned();
    let original = original_type(&head, &part_type);
    if let Ok(Some(related)) = Related::of(original, 0, "") {
        provider::keep_apart(&mut reader, related.boundary(), &first.raw)?;
    }
    let response = parse_response(first.raw, &part_type)?;
    let log = cx.log.for_producer(&ids.service.client, true);
    let mut remainder = provider::rest(&mut reader, &log, label).await?;
    let (heads, random) = (remainder.take_heads(), writing::random_boundary());
    let related =
        Related::of(original, heads.len(), &random).map_err(|e| Failure::of_soap(&e, Place::ConsumerPort))?;

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
    let answer = release(&logged, original, related.as_ref(), &first.head, &heads);
    Ok(answer.holding((slot, reader.into_hold())))
}

/// Method, content type and SOAPAction; gives the content type.
fn check_head(incoming: &Request<'_>) -> Result<String, Failure> {
    let refuse = |code, message: &str| Err(Failure::new(Side::Client, &[code], message));
    if incoming.head.method != "POST" {
        return refuse(FaultCode::InvalidHttpMethod, "a SOAP message must be sent with POST");
    }
    let content_type = incoming.head.headers.get("content-type").map(provider::latin1).unwrap_or_default();
    if !is_soap_type(&content_type) && !media_type::is(&content_type, MULTIPART_RELATED) {
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

/// The envelope as it came; its attachments are still to come.
struct Sending {
    raw: Bytes,
    head: PartHead,
    parts: Option<Parts>,
    _hold: Option<Hold>,
}

impl Sending {
    /// The type of the envelope: of its part, or of the body when that is all.
    fn part_type<'a>(&'a self, content_type: &'a str) -> &'a str {
        self.head.get("content-type").unwrap_or(content_type)
    }
}

/// Reads as far as the end of the envelope, within [`ENVELOPE`].
async fn read_first(
    cx: &Context,
    incoming: &mut Request<'_>,
    content_type: &str,
) -> Result<Sending, Failure> {
    let (limits, mut hold) = (&cx.settings.limits, cx.kept.budget.hold());
    let first = async {
        if !media_type::is(content_type, MULTIPART_RELATED) {
            let raw = read_envelope(incoming, limits.message_bytes, &mut hold).await?;
            return Ok(Sending { raw, head: PartHead::default(), parts: None, _hold: Some(hold) });
        }
        let mut parts = Parts::new(content_type, limits.soap_parts(), Place::ConsumerEdge, hold)?;
        let (head, raw) = parts.envelope(incoming).await?;
        Ok(Sending { raw, head, parts: Some(parts), _hold: None })
    };
    tokio::time::timeout(ENVELOPE, first).await.unwrap_or_else(|_| {
        let message = format!("the SOAP message was not there within {ENVELOPE:?}");
        Err(Failure::new(SIDE, &[FaultCode::InternalError], message))
    })
}

/// The whole envelope, within `limit` bytes.
async fn read_envelope(incoming: &mut Request<'_>, limit: usize, hold: &mut Hold) -> Result<Bytes, Failure> {
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
        client: request.header.client.clone().into(),
        service: request.header.service.clone().into(),
        message_id: request.header.id.as_str().into(),
        request_id: crate::names::uuid().to_string().into(),
    }
}

/// Headers of the transport request.
fn headers(incoming: &Request<'_>, out: &Outgoing, ids: &Ids) -> Lines {
    let sent = |name: &str| incoming.head.headers.get(name).unwrap_or_default();
    let extra = [
        (transport::ORIGINAL_CONTENT_TYPE, sent("content-type")),
        (transport::ORIGINAL_SOAP_ACTION, sent("soapaction")),
    ];
    provider::headers(&out.content_type(), &ids.request_id, &extra)
}

/// Step 6: writes the request; gives it as it was logged.
#[expect(clippy::too_many_arguments, reason = "one step of the story above, each argument made by another")]
async fn send(
    cx: &Context,
    incoming: &mut Request<'_>,
    mut out: Outgoing,
    sending: &mut Sending,
    request: SoapMessage,
    ocsp: &[Bytes],
    ids: &Ids,
    _admitted: Admitted,
    identity: &Arc<SigningIdentity>,
) -> Result<Logged<Signed<SoapMessage>>, SendError> {
    ocsp.iter().for_each(|der| out.ocsp(der));
    let content_type = incoming.head.headers.get("content-type").map(provider::latin1).unwrap_or_default();
    out.soap(sending.part_type(&content_type), &sending.head.headers, &request.raw);
    if sending.parts.is_some() {
        out.flush().await?;
    }
    let passed = match &mut sending.parts {
        None => Passed::default(),
        Some(parts) => {
            let limit = cx.settings.limits.attachments_bytes;
            let log = cx.log.for_producer(&ids.service.client, true);
            parts.pass::<SendError>(incoming, &mut out, &log, limit).await?
        }
    };
    let signed = cx.kept.batcher.sign(identity, Whole::new(request, passed)).await.or_fail(SIDE)?;
    let logged = exchange::log(&cx.log, signed, Direction::Request, true, ids).await?;
    out.finish(&logged).await?;
    Ok(logged)
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

/// What the provider's information system said it sends, when that can be told.
fn original_type<'a>(head: &'a AnswerHead, part_type: &'a str) -> &'a str {
    let known = |t: &&str| is_soap_type(t) || media_type::is(t, MULTIPART_RELATED);
    head.original_content_type.as_deref().filter(known).unwrap_or(part_type)
}

/// What the information system gets, byte for byte, under the type its peer gave it: the envelope, with attachments from where they lie.
fn release(
    logged: &Logged<Verified<SoapMessage>>,
    original: &str,
    related: Option<&Related>,
    head: &PartHead,
    heads: &[PartHead],
) -> Answer {
    let raw = logged.message().raw.clone();
    let (original, body) = match related {
        None => (original, AnswerBody::Bytes(raw)),
        Some(related) => {
            let (length, stream) = related_body(related, head, raw, heads.iter().zip(logged.attachments()));
            (related.content_type(), AnswerBody::Stream { length, stream })
        }
    };
    let content_type = match media_type::parameter(original, "charset") {
        Some(_) => Cow::Borrowed(original),
        None => Cow::Owned(format!("{original};charset=utf-8")),
    };
    let mut headers = Headers::default();
    headers.push("Content-Type", provider::to_latin1(&content_type));
    Answer::new(200, headers, body)
}
