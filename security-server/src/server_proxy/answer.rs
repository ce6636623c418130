//! One request of another security server, from its head to the last byte of the answer [PR-MESSTRANSP §3].
//!
//! [`answer`] is the protocol in its order, which is the order in which a bad request is refused by every server. Until the answer
//! opens, a refusal is a plain SOAP fault; afterwards it is a part of the multipart. The request is read to its end before a refusal
//! goes out, within bounds, because senders write everything before they listen.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use host::shutdown::Busy;
use proto::fault::{FaultCode, Side};
use proto::multipart::PartHead;
use proto::soap::related::Related;
use proto::transport::{self, Decoder, Direction as TransportDirection, TransportError};
use signer::SigningIdentity;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use super::asked::{Asked, Authorised, Permit, TransportHead};
use super::{Peer, metadata, rest, soap};
use crate::admission::Slot;
use crate::budget::Hold;
use crate::context::Context;
use crate::ended::{Ended, OK};
use crate::exchange::reading::{self, Bounds, Incoming, Or};
use crate::exchange::writing::{Gone, OutgoingBody};
use crate::exchange::{self, Ids, Logged, Message, Outgoing, Proven, Signed, Verified, View, Whole, in_span};
use crate::faults::{Failure, OrFail, Refusal, SOAP_FAULT_TYPE, Told};
use crate::http1::head::is_value;
use crate::http1::server::{Answer, AnswerBody, ServerConnection};
use crate::http1::{Headers, RequestHead};
use crate::message_log::{Direction, Stored};
use crate::replay::Trace;
use crate::tls;

const SIDE: Side = Side::ServerProxy;
/// The outcome of an exchange that nobody waits for any more.
const GONE: &str = "the peer is gone";

/// A request that has passed every check and is in the log: what may be called, and with what the answer is signed.
pub(super) struct Accepted<A = Authorised> {
    /// The request.
    pub(super) request: Logged<Verified<Asked>>,
    /// The service that may be called, or the metadata service that is asked.
    pub(super) authorised: A,
    /// The key of the service's owner.
    pub(super) identity: Arc<SigningIdentity>,
    /// Who asks for what.
    pub(super) ids: Ids,
    /// How its parts are written for a service of SOAP, when it does not get the envelope alone.
    pub(super) related: Option<Related>,
    /// Part headers of the attachments.
    pub(super) heads: Vec<PartHead>,
    /// Snapshots.
    pub(super) view: View,
}

/// Why an answer is not written to its end.
pub(super) enum Broken {
    /// With a fault.
    Refused(Refusal),
    /// Nobody reads it.
    Gone,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.into())
    }
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Gone> for Broken {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Ends an answer: with its signature when it is in the log, with a fault when it was refused. Gives the outcome when that is no answer.
pub(super) async fn end<M: Message>(
    cx: &Context,
    out: Outgoing,
    written: Result<Logged<Signed<M>>, Broken>,
) -> Option<String> {
    match written {
        Ok(logged) => {
            // A peer that is gone misses an answer that is in the log.
            let _ = out.finish(&logged).await;
            None
        }
        Err(Broken::Refused(refusal)) => fault(cx, out, refusal).await,
        Err(Broken::Gone) => Some(GONE.to_owned()),
    }
}

impl Accepted {
    /// REST body or SOAP attachments, from where they lie.
    pub(super) fn attachments(&self) -> &[Stored] {
        self.request.attachments()
    }
}

/// An answer that is being written: its head, its body, and the work that fills it.
pub(super) struct Opened {
    /// `Content-Type` of the multipart.
    pub(super) content_type: String,
    /// `x-original-content-type`, of SOAP.
    pub(super) original_content_type: Option<String>,
    /// What the connection reads from.
    pub(super) body: OutgoingBody,
    /// What writes into it; gives the fault's code when it ends in one.
    pub(super) work: Pin<Box<dyn Future<Output = Option<String>> + Send>>,
    /// What the exchange holds to its end.
    pub(super) guard: Option<Guard>,
}

/// Held until the last byte of the answer was handed to the connection: while it is read, not only while it is written.
pub(super) struct Guard {
    _busy: Busy,
    _slot: Slot,
    /// The memory of the request, which the work needs to its end.
    _hold: Hold,
}

/// Answers one request; never fails, since a refusal is an answer. `true` when the connection may bring another.
pub(super) async fn respond(
    cx: &Context,
    peer: &Peer,
    connection: &mut ServerConnection<tls::Stream>,
    head: &RequestHead,
) -> bool {
    let span = tracing::info_span!(
        "exchange",
        side = "server",
        request_id = Empty,
        message_id = Empty,
        client = Empty,
        service = Empty,
        peer = Empty,
        fault = Empty,
        bytes_in = Empty,
        bytes_out = Empty,
    );
    let begun = Instant::now();
    let kind = match TransportHead::protocol(&head.headers) {
        transport::Protocol::Rest => "rest",
        transport::Protocol::Soap => "soap",
    };
    let answered = in_span(&span, pin!(answer(cx, peer, connection, head))).await;
    let answered = match answered {
        Ok(opened) => {
            let answer = pin!(multipart(opened, cx.kept.ended.clone(), kind, begun, span.clone()));
            connection.unless_gone(answer).await.ok_or(Broken::Gone)
        }
        Err(broken) => Err(broken),
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(Broken::Refused(refusal)) => {
            let answer = span.in_scope(|| refused(cx, kind, begun, refusal));
            let limits = &cx.settings.limits;
            reading::drain(&mut connection.body(), Some(limits.idle), limits.message_time).await;
            answer
        }
        Err(Broken::Gone) => {
            span.in_scope(|| cx.kept.ended.count("server", kind, GONE, begun));
            return false;
        }
    };
    let last = !(peer.causeway || cx.settings.keep_stock_connections) || cx.shutdown.stopping();
    connection.respond(Some(head), answer, last, cx.clock.now()).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "an answer did not reach the security server that asked");
        false
    })
}

fn refused(cx: &Context, kind: &'static str, begun: Instant, refusal: Refusal) -> Answer {
    let outcome = refusal.outcome(cx.settings.fault_style);
    let told = refusal.tell(cx.settings.fault_style);
    tracing::Span::current().record("fault", told.fault.code.as_str());
    cx.kept.ended.count("server", kind, &outcome, begun);
    plain(&told)
}

/// The protocol in its order.
async fn answer(
    cx: &Context,
    peer: &Peer,
    connection: &mut ServerConnection<tls::Stream>,
    head: &RequestHead,
) -> Result<Opened, Broken> {
    // 1. POST; one valid snapshot of everything; a sender that is not too old; its slot.
    if !head.method.eq_ignore_ascii_case("POST") {
        let message = "a message between security servers must be sent with POST";
        return Err(Failure::new(SIDE, &[FaultCode::InvalidHttpMethod], message).into());
    }
    let now = cx.clock.now();
    let view = View::take(cx, SIDE, now)?;
    check_version(cx, head)?;
    let server = peer.chain.first().and_then(|leaf| view.conf.server_by_auth_cert(leaf));
    let party = server.map_or_else(|| "unknown".to_owned(), ToString::to_string);
    tracing::Span::current().record("peer", party.as_str());
    let busy = cx.shutdown.busy();
    let slot = cx.server_slots.enter(&party).or_fail(SIDE)?;

    // 2. OCSP answers and the message part.
    let transport = TransportHead::read(&head.headers);
    let label = exchange::label(transport.label.as_deref(), SIDE)?;
    let content_type = head.headers.text("content-type").filter(|text| text.is_ascii()).unwrap_or_default();
    let decoder = Decoder::new(content_type, TransportDirection::Request, cx.settings.limits.transport)
        .or_fail(SIDE)?
        .expect(transport.protocol);
    let limits = &cx.settings.limits;
    let bounds = Bounds {
        idle: Some(limits.idle),
        whole: limits.message_time,
        attachments_bytes: limits.attachments_bytes,
    };
    let mut reader = Incoming::new(connection.body(), decoder, bounds, cx.kept.budget.hold());
    let Or::Message(first) = reader.first().await.or_fail(SIDE)? else {
        return Err(Failure::of(SIDE, &TransportError::MissingSoap).into());
    };
    let ocsp = first.ocsp.clone();
    let (asked, ids) = Asked::read(first, &transport)?;
    ids.record();

    // 3. It is for a client of ours that can sign, from a server that may speak for its client.
    asked.check_addressee(&view, &ids)?;
    let identity = view.signing(&ids.service.client.member, now).map_err(Failure::of_next_hop)?.clone();
    if ocsp.is_empty() {
        let message = "the OCSP answers of the sender's TLS certificate are missing";
        return Err(Failure::new(SIDE, &[FaultCode::SslAuthenticationFailed], message).of_next_hop().into());
    }
    let trusted = cx.kept.trust.tls_peer(&peer.chain, &ocsp, &ids.client, &view.conf, now);
    let peer_identity = trusted.map_err(|e| Failure::of(SIDE, &e).of_next_hop())?;

    // 4. The rest of the message, its body into the log's spool; but not one byte of whoever may not ask.
    cx.log.check_ready(now).or_fail(SIDE)?;
    let permit = Permit::check(&view, &asked, &ids, peer_identity).or_fail(SIDE);
    let log = permit.is_ok().then(|| cx.log.for_producer(&ids.service.client, false));
    if let Ok(Some(related)) = asked.related(0) {
        reader.keep_apart(related.boundary(), asked.raw()).or_fail(SIDE)?;
    }
    let Or::Message(mut remainder) = reader.rest(log.as_ref(), label).await.or_fail(SIDE)? else {
        return Err(Failure::of(SIDE, &TransportError::MissingSignature).into());
    };
    reader.drain().await;

    // 5. The service exists, speaks this protocol, is allowed and enabled.
    let permit = permit?;
    asked.check_body(!remainder.attachments.is_empty()).or_fail(SIDE)?;
    let heads = remainder.take_heads();

    // 6. The client's member signed exactly this, and it was not here before.
    remainder.evidence.require_pair(SIDE)?;
    let (whole, labelled) = Whole::received(asked, label, remainder.attachments);
    let now = cx.clock.now();
    let verified = cx
        .kept
        .trust
        .verify(whole, &labelled, remainder.evidence, &ids.client, &view.conf, now)
        .or_fail(SIDE)?;
    remember(cx, &verified, now)?;
    let related = verified.whole().message.related(heads.len())?;

    // 7. The log has it; then the service may be called.
    let request = exchange::log(&cx.log, verified, Direction::Request, false, &ids).await.or_fail(SIDE)?;

    // 8. REST answers while the service is read; SOAP when the service has answered; metadata when we know. For as long as somebody waits.
    let hold = reader.into_hold();
    let opening = pin!(async {
        match permit {
            Permit::Service(authorised) => {
                let accepted = Accepted { request, authorised, identity, ids, related, heads, view };
                match accepted.request.message() {
                    Asked::Rest(_) => Ok(rest::open(cx, accepted)),
                    Asked::Soap(_) => soap::open(cx, accepted).await,
                }
            }
            Permit::Metadata(question) => {
                let accepted =
                    Accepted { request, authorised: question, identity, ids, related, heads, view };
                Box::pin(metadata::open(cx, accepted)).await
            }
        }
    });
    let mut opened = connection.unless_gone(opening).await.ok_or(Gone)??;
    opened.guard = Some(Guard { _busy: busy, _slot: slot, _hold: hold });
    Ok(opened)
}

/// Refuses servers that are older than the configured release.
fn check_version(cx: &Context, head: &RequestHead) -> Result<(), Failure> {
    let Some(least) = cx.settings.min_client_version else { return Ok(()) };
    let sent = head.headers.text(transport::PROXY_VERSION);
    if is_of_release(sent, least) {
        return Ok(());
    }
    let [major, minor, patch] = least;
    let message = format!("the sender's security server must be of release {major}.{minor}.{patch} or later");
    Err(Failure::new(SIDE, &[FaultCode::ClientProxyVersionNotSupported], message))
}

fn is_of_release(sent: Option<&str>, least: [u32; 3]) -> bool {
    sent.and_then(version).is_some_and(|sent| sent >= least)
}

/// `7.8.0`, or `7.8.0-suffix`, which is less than the release it leads to.
fn version(text: &str) -> Option<[u32; 3]> {
    let (numbers, suffix) = text.split_once('-').map_or((text, None), |(n, s)| (n, Some(s)));
    let mut parts = numbers.split('.').map(|part| part.parse::<u32>().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    if parts.next().is_some() {
        return None;
    }
    let [major, minor, patch] = version;
    let before = match (patch, minor, major) {
        (1.., ..) => [major, minor, patch - 1],
        (0, 1.., _) => [major, minor - 1, u32::MAX],
        (0, 0, 1..) => [major - 1, u32::MAX, u32::MAX],
        (0, 0, 0) => return None,
    };
    Some(if suffix.is_some() { before } else { version })
}

fn remember(cx: &Context, verified: &Verified<Asked>, now: proto::time::UnixTime) -> Result<(), Failure> {
    let Some((_, message)) = verified.whole().parts.first() else { return Ok(()) };
    let trace = Trace {
        signature_value: verified.signature_value(),
        position: verified.position(),
        message: &message.value,
    };
    cx.kept.replay.first_time(&trace, verified.until(), now).or_fail(SIDE)
}

/// Writes the fault into the multipart, in place of what was due; gives its code.
async fn fault(cx: &Context, out: Outgoing, refusal: Refusal) -> Option<String> {
    let outcome = refusal.outcome(cx.settings.fault_style);
    let told = refusal.tell(cx.settings.fault_style);
    tracing::Span::current().record("fault", told.fault.code.as_str());
    // A peer that is gone needs no fault.
    let _ = out.fault(&told.soap).await;
    Some(outcome)
}

fn plain(told: &Told) -> Answer {
    let mut headers = Headers::default();
    headers.push("content-type", SOAP_FAULT_TYPE);
    headers.push("soapaction", "");
    Answer::new(200, headers, AnswerBody::Bytes(told.soap.clone()))
}

/// The head of an answer, and its body, of which the first piece is here: an answer that is small goes out whole, in one write here,
/// one read and one wake-up there.
async fn multipart(
    opened: Opened,
    ended: Ended,
    kind: &'static str,
    begun: Instant,
    span: tracing::Span,
) -> Answer {
    let Opened { content_type, original_content_type, body, work, guard } = opened;
    let work = async move {
        let outcome = work.await;
        ended.count("server", kind, outcome.as_deref().unwrap_or(OK), begun);
    }
    .instrument(span);
    let mut body = WorkBody { work: Some(Box::pin(work)), body, first: None };
    body.first = Some(body.next().await);
    // Peers look these names up in lower case, which is how they are written.
    let mut headers = Headers::default();
    headers.push("content-type", content_type);
    headers.push(transport::HASH_ALGORITHM, "SHA-512");
    if let Some(original) = original_content_type.filter(|original| is_value(original.as_bytes())) {
        headers.push(transport::ORIGINAL_CONTENT_TYPE, original);
    }
    Answer::new(200, headers, AnswerBody::Pieces(body.boxed())).holding(guard)
}

/// A body together with the work that fills it: both live and end with the connection.
struct WorkBody {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    body: OutgoingBody,
    /// What was waited for before the answer began.
    first: Option<Option<Piece>>,
}

type Piece = Result<Bytes, std::io::Error>;

impl Stream for WorkBody {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Piece>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        if let Some(work) = &mut self.work
            && work.as_mut().poll(cx).is_ready()
        {
            self.work = None;
        }
        self.body.poll_next_unpin(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The work behind an answer runs when the connection asks for its body, which it does not while the socket takes nothing.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_frees_its_slot() {
        let limits = crate::config::File::default().resolve().expect("the defaults are good").limits;
        let slots = crate::admission::Admission::new(1, 1);
        let slot = slots.enter("peer").expect("free");
        let (mut out, body) = exchange::writing::channel();
        let work = Box::pin(async move { while out.data(vec![0; 64 << 10].into()).await.is_ok() {} });
        let body = WorkBody { work: Some(work), body, first: None };
        let answer = Answer::new(200, Headers::default(), AnswerBody::Pieces(body.boxed())).holding(slot);
        let (_peer, ours) = tokio::io::duplex(1024);
        let mut connection = ServerConnection::new(ours, crate::server_proxy::server_limits(&limits));
        let now = proto::time::UnixTime(0);
        let served = tokio::spawn(async move { connection.respond(None, answer, false, now).await });
        tokio::time::sleep(limits.idle / 2).await;
        assert_eq!(slots.in_use(), 1, "it may still read");
        tokio::time::sleep(limits.idle).await;
        assert_eq!(slots.in_use(), 0, "nothing was taken for {:?}", limits.idle);
        assert!(served.await.expect("no panic").is_err());
    }

    #[test]
    fn old_releases_are_refused_as_by_stock_servers() {
        let Some((_, expected)) = testkit::vectors::area("proxy-messages") else { return };
        let mut tally = testkit::vectors::Tally::new("proxy-messages (versions of peers)");
        let cases = expected["cases"].as_array().expect("cases").iter();
        for row in cases.filter_map(|case| case["rows"].as_array()).flatten() {
            let least = row["minimum"].as_str().map(|text| version(text).expect("a version"));
            let taken = least.is_none_or(|least| is_of_release(row["header"].as_str(), least));
            tally.equal(&row["header"], taken, row["expect"]["verdict"] == "accept");
        }
        tally.finish();
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("7.8.0"), Some([7, 8, 0]));
        assert!(version("7.10.0") > version("7.9.9"));
        assert!(version("7.8.0-SNAPSHOT") < version("7.8.0"));
        assert!(version("7.8.0-SNAPSHOT") > version("7.7.9"));
        for text in ["", "unknown", "7.8", "7.8.0.1", "7.x.0"] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
