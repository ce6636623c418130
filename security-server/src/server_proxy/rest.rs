//! The answer to a REST request: written while the service is read [PR-REST §4.3].

use futures_util::StreamExt;
use pki::digest::DigestAlgorithm;
use proto::fault::Side;
use proto::rest::{Place, RestRequest, RestResponse};
use proto::transport::MessageKind;

use super::answer::{Accepted, Broken, Opened, end};
use super::asked::Asked;
use super::services::{Call, Reply};
use crate::context::Context;
use crate::exchange::{self, Outgoing, Passed, Whole, writing};
use crate::faults::{Failure, OrFail};
use crate::http1::client::CallBody;
use crate::message_log::{Direction, MessageLog};

const SIDE: Side = Side::ServerProxy;

/// Opens the answer; what follows is a part of it.
pub(super) fn open(cx: &Context, accepted: Accepted) -> Opened {
    let (mut out, body) = writing::channel();
    let content_type = out.content_type();
    let cx = cx.clone();
    let work = Box::pin(async move {
        let written = write(&cx, &accepted, &mut out).await;
        end(&cx, out, written).await
    });
    Opened { content_type, original_content_type: None, body, work, guard: None }
}

/// Calls the service and writes its answer up to the signature, which the log must have first.
async fn write(
    cx: &Context,
    accepted: &Accepted,
    out: &mut Outgoing,
) -> Result<exchange::Logged<exchange::Signed<RestResponse>>, Broken> {
    let Asked::Rest(request) = accepted.request.message() else {
        unreachable!("`open` is called for REST alone");
    };
    let mut reply = call(cx, accepted, request).await?;
    let response = header_part(accepted, request, &reply)?;
    out.rest(MessageKind::RestResponse, &response.raw);
    let bodies = if has_body(request.method, response.status) {
        let log = cx.log.for_producer(&accepted.ids.service.client, false);
        pass_body(&log, &mut reply, out).await?
    } else {
        // Read to its end, so that the connection can be used again.
        while reply.next().await.or_fail(SIDE)?.is_some() {}
        Passed::default()
    };
    let whole = Whole::new(response, bodies);
    let signed = cx.kept.batcher.sign(&accepted.identity, whole).await.or_fail(SIDE)?;
    let logged =
        exchange::log(&cx.log, signed, Direction::Response, false, &accepted.ids).await.or_fail(SIDE)?;
    exchange::record_sizes(accepted.request.size(), logged.size());
    Ok(logged)
}

/// The request as it was signed: its header lines in order, its path and query behind the URL of the service, its body whatever
/// the method.
async fn call(cx: &Context, accepted: &Accepted, request: &RestRequest) -> Result<Reply, Failure> {
    let service = accepted.authorised.service();
    let client = accepted.view.server.client(&service.id.client);
    let lines = request.service_headers().map(|(name, value)| (name.into(), value));
    let body = accepted
        .attachments()
        .first()
        .map(|stored| CallBody { length: stored.len(), stream: stored.stream().boxed() });
    let call = Call {
        service,
        pins: client.map_or(&[], |client| &client.certs),
        method: request.method,
        path: request.service_path(),
        query: request.query.as_deref(),
        lines: lines.collect(),
        body,
    };
    let reply = cx.kept.services.call(&cx.internal_tls, call).await.or_fail(SIDE)?;
    tracing::debug!(status = reply.head.status, "the service answered");
    Ok(reply)
}

/// The header part of the answer; what was unpacked says so no more.
fn header_part(accepted: &Accepted, request: &RestRequest, reply: &Reply) -> Result<RestResponse, Failure> {
    let of_packing = |name: &str| {
        ["content-encoding", "content-md5"].iter().any(|packing| name.eq_ignore_ascii_case(packing))
    };
    let lines: Vec<(&str, &[u8])> =
        reply.head.headers.iter().filter(|(name, _)| !(reply.unpacked && of_packing(name))).collect();
    let reason: String = reply.head.reason.iter().copied().map(char::from).collect();
    let hash = exchange::request_hash(accepted.request.parts(), true);
    RestResponse::from_service(reply.head.status, &reason, &lines, request, &accepted.ids.request_id, &hash)
        .map_err(|e| Failure::of_rest(&e, Place::ProviderEdge))
}

/// Whether the answer has a body part, be it empty.
fn has_body(method: &str, status: u16) -> bool {
    method != "HEAD" && !matches!(status, 204 | 205 | 304)
}

/// Sends the body on, digests it and keeps it, in one pass.
async fn pass_body(log: &MessageLog, reply: &mut Reply, out: &mut Outgoing) -> Result<Passed, Broken> {
    let mut spool = log.spool().passed_on().announced(reply.body_length());
    let mut hasher = DigestAlgorithm::Sha512.hasher();
    out.rest_body();
    while let Some(data) = reply.next().await.or_fail(SIDE)? {
        hasher.update(&data);
        spool.write(data.clone()).await.or_fail(SIDE)?;
        out.data(data).await?;
    }
    Ok(Passed { stored: vec![spool.finish().await.or_fail(SIDE)?], digests: vec![hasher.finish()] })
}
