//! A REST request of an information system, from its head to the last byte of the answer [PR-REST §4].
//!
//! [`relay`] is the protocol in its order. The body goes through once: to the provider's server, through the digest and into the
//! message log's spool at the same time; the answer's body lies in the log when it is released. Memory does not grow with either.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use pki::digest::DigestAlgorithm;
use proto::fault::{FaultCode, Side};
use proto::rest::{EdgeRequest, Place, RestRequest, RestResponse};
use proto::transport::{self, MessageKind, Protocol};
use signer::SigningIdentity;

use super::Request;
use super::caller::Admitted;
use super::provider::{self, SendError};
use crate::context::Context;
use crate::exchange::parts::Source;
use crate::exchange::{self, Ids, Logged, Outgoing, Passed, Signed, Verified, View, Whole, writing};
use crate::faults::{Failure, OrFail, Refusal};
use crate::http1::Headers;
use crate::http1::server::{Answer, AnswerBody};
use crate::message_log::{Direction, LogError, MessageLog};
use crate::peers::Connection;

const SIDE: Side = Side::ClientProxy;

/// Most bytes of headers that are passed to an information system.
const ANSWER_HEAD_BYTES: usize = 64 * 1024;

/// Relays one request and gives the provider's answer, or the reason why there is none.
pub(super) async fn relay(cx: &Context, mut incoming: Request<'_>) -> Result<Answer, Refusal> {
    // 1. One valid snapshot of everything, kept to the end.
    let now = cx.clock.now();
    let view = View::take(cx, SIDE, now)?;
    view.require_auth_key()?;

    // 2. The header part as it will be signed; its identifiers.
    let request = read_request(&incoming, view.conf.instance())?;
    let ids = ids(&request);
    ids.record();

    // 3. The client is ours, and this connection may speak for it.
    let admitted = incoming.caller.speaks_for(cx, &view.server, &request.client, now)?;

    // 4. The log takes messages, and the client has a slot.
    cx.log.check_ready(now).or_fail(SIDE)?;
    let slot = cx.client_slots.enter(&request.client.to_string()).or_fail(SIDE)?;

    // 5. A verified connection to a server of the provider, and a key to sign with.
    let connection = cx
        .peers
        .connect(&view.conf, &request.service.client, request.target_server.as_ref(), now)
        .await
        .or_fail(SIDE)?;
    tracing::Span::current().record("peer", connection.address());
    let identity = view.signing(&request.client.member, now)?.clone();

    // 6. OCSP answers, header part and body go out; then signature and log; only then the signature part.
    let (sent, answer) =
        pin!(send(cx, &mut incoming, request, &ids, admitted, connection, &identity)).await?;

    // 7. The answer is read to its end, its body into the log's spool. A fault anywhere in it is the answer.
    let (mut reader, head) =
        provider::open(answer, Some(Protocol::Rest), &cx.settings.limits, cx.kept.budget.hold())?;
    let first = provider::first(&mut reader, &incoming).await?;
    let label = head.label()?;
    let response = RestResponse::parse_answer(first.raw, sent.message());
    let response = response.map_err(|e| Failure::of_rest(&e, Place::ConsumerPort))?;
    let log = cx.log.for_producer(&ids.service.client, true);
    let remainder = provider::rest(&mut reader, &log, label).await?;

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
    Ok(release(logged).holding((slot, reader.into_hold())))
}

/// Builds the header part from the request as it came.
fn read_request(incoming: &Request<'_>, instance: &str) -> Result<RestRequest, Failure> {
    let lines: Vec<(&str, &[u8])> = incoming.head.headers.iter().collect();
    let edge = EdgeRequest {
        method: &incoming.head.method,
        path: incoming.target.path,
        query: incoming.target.query.as_deref(),
        headers: &lines,
    };
    let new_id = format!("{instance}-{}", crate::names::uuid());
    let request = RestRequest::from_edge(&edge, &crate::names::uuid().to_string(), &new_id)
        .map_err(|e| Failure::of_rest(&e, Place::ConsumerEdge))?;
    if request.forbids_body() && incoming.has_body() {
        let message = "a request of this method must not have a body";
        return Err(Failure::new(SIDE, &[FaultCode::InvalidHttpMethod], message));
    }
    Ok(request)
}

fn ids(request: &RestRequest) -> Ids {
    Ids {
        client: request.client.clone(),
        service: request.service.clone(),
        message_id: request.id.clone(),
        request_id: request.request_id.clone(),
    }
}

/// Step 6: the request as it was logged, and the head of the answer.
async fn send(
    cx: &Context,
    incoming: &mut Request<'_>,
    request: RestRequest,
    ids: &Ids,
    _admitted: Admitted,
    connection: Connection,
    identity: &Arc<SigningIdentity>,
) -> Result<(Logged<Signed<RestRequest>>, crate::peers::PeerResponse), Refusal> {
    let (mut out, body) = writing::channel();
    let original_type = incoming.head.headers.get("content-type").unwrap_or_default();
    let extra = [(transport::MESSAGE_TYPE, &b"REST"[..]), (transport::ORIGINAL_CONTENT_TYPE, original_type)];
    let headers = provider::headers(&out.content_type(), &ids.request_id, &extra);
    let own_tls = connection.identity().clone();
    let mut answer = pin!(connection.send(headers, body.boxed()));
    let in_pieces = incoming.has_body();
    let sending = async {
        own_tls.ocsp.iter().for_each(|der| out.ocsp(der));
        out.rest(MessageKind::RestRequest, &request.raw);
        if in_pieces {
            out.flush().await?;
        }
        let log = cx.log.for_producer(&ids.service.client, true);
        let bodies = send_body(&log, incoming, &mut out).await?;
        let signed = cx.kept.batcher.sign(identity, Whole::new(request, bodies)).await.or_fail(SIDE)?;
        let logged = exchange::log(&cx.log, signed, Direction::Request, true, ids).await?;
        out.finish(&logged).await?;
        Ok(logged)
    };
    let hold = cx.kept.budget.hold();
    let sent =
        provider::converse(pin!(sending), answer.as_mut(), in_pieces, &cx.settings.limits, hold).await?;
    Ok((sent, provider::answer(answer, incoming).await?))
}

/// Sends the body, digests it and keeps it, in one pass. A body without a byte is no part.
async fn send_body(
    log: &MessageLog,
    incoming: &mut Request<'_>,
    out: &mut Outgoing,
) -> Result<Passed, SendError> {
    let Some(first) = incoming.next().await? else { return Ok(Passed::default()) };
    let mut spool = log.spool().passed_on().announced(incoming.body_length());
    let mut hasher = DigestAlgorithm::Sha512.hasher();
    out.rest_body();
    let mut next = Some(first);
    while let Some(data) = next {
        hasher.update(&data);
        spool.write(data.clone()).await.map_err(too_large_is_io)?;
        out.data(data).await?;
        next = incoming.next().await?;
    }
    Ok(Passed { stored: vec![spool.finish().await?], digests: vec![hasher.finish()] })
}

/// A body that may not be logged is `io_error` at this edge, as information systems know it.
fn too_large_is_io(error: LogError) -> SendError {
    match error {
        LogError::BodyTooLarge { .. } => {
            SendError::Failed(Failure::new(SIDE, &[FaultCode::IoError], error.to_string()))
        }
        LogError::TimestampingFailed
        | LogError::NoTimestampingService
        | LogError::Disk(_)
        | LogError::Closed => error.into(),
    }
}

/// The response is about this request, and can be passed on.
fn check_consistent(
    verified: &Verified<RestResponse>,
    sent: &Logged<Signed<RestRequest>>,
) -> Result<(), Failure> {
    use exchange::Proven;
    let response = &verified.whole().message;
    let hash = exchange::request_hash(sent.parts(), true);
    if let Some(header) = response.inconsistency(sent.message(), &hash) {
        let message = format!("the answer does not belong to the request: {header} differs");
        return Err(Failure::new(SIDE, &[FaultCode::InconsistentResponse], message));
    }
    let head: usize = response.client_headers().map(|(name, value)| name.len() + value.len() + 4).sum();
    if head > ANSWER_HEAD_BYTES {
        let path = [FaultCode::ServiceFailed, FaultCode::InvalidMessage];
        let message = format!("the answer has more than {ANSWER_HEAD_BYTES} bytes of headers");
        return Err(Failure::new(SIDE, &path, message));
    }
    Ok(())
}

/// What the information system gets: the signed header lines, and the body from where it lies.
fn release(logged: Logged<Verified<RestResponse>>) -> Answer {
    let response = logged.message();
    let mut headers = Headers::default();
    for (name, value) in response.client_lines() {
        headers.push(name, value);
    }
    let body = match logged.attachments() {
        [] => AnswerBody::Empty,
        [body, ..] => match body.in_memory() {
            Some(bytes) => AnswerBody::Bytes(bytes.clone()),
            None => AnswerBody::Stream { length: body.len(), stream: body.stream().boxed() },
        },
    };
    Answer::new(response.status, headers, body)
}
