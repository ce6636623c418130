//! What both sides of an exchange share: a message with its parts, the proofs it gathers on its way, and the two ends of the wire.
//!
//! A message becomes [`Signed`] by the batcher alone, [`Verified`] by the trust cache alone, and [`Logged`] by [`log`] alone, which
//! takes one of the first two. What releases a message takes the proof by value ([`Outgoing::finish`], the release of a body to an
//! information system, the call of a service), so that leaving a step out does not compile.
//!
//! | Proof | Says | Made by |
//! |---|---|---|
//! | [`Signed`] | our signature is over exactly these parts | `batcher` |
//! | [`Verified`] | the other side's signature, certificate and OCSP answers held, over exactly these parts | `trust_cache` |
//! | [`PeerIdentity`] | the TLS certificate may speak for the message's client | `trust_cache` |
//! | [`Logged`] | the message is durable in the message log | [`log`] |
//!
//! Reading and writing of transport messages is in [`reading`] and [`writing`].

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use host::clock::Clock;
use pki::digest::{DigestAlgorithm, DigestValue};
use pki::hash_chain::{MESSAGE_URI, Parts};
use proto::fault::{FaultCode, Side};
use proto::id::{ClientId, ServiceId};
use proto::rest::{RestRequest, RestResponse};
use proto::soap::SoapMessage;
use proto::time::UnixTime;
use signer::Signer;
use tracing::Span;

use crate::admission::Admission;
use crate::batcher::Batcher;
use crate::budget::Budget;
use crate::client_proxy::Listings;
use crate::ended::Ended;
use crate::faults::Failure;
use crate::message_log::{self, Direction, LogError, MessageLog, Stored};
use crate::replay::Replay;
use crate::server_proxy::services::Services;
use crate::trust_cache::TrustCache;

pub mod parts;
pub mod reading;
pub mod view;
pub mod writing;

pub use crate::batcher::Signed;
pub use crate::trust_cache::{PeerIdentity, Verified};
pub use parts::Passed;
use reading::Attachment;
pub use view::View;
pub use writing::Outgoing;

/// Who asks whom for what, and under which ids: the same for both messages of an exchange.
#[derive(Clone, Debug)]
pub struct Ids {
    /// Who asks.
    pub client: Arc<ClientId>,
    /// What is asked.
    pub service: Arc<ServiceId>,
    /// `X-Road-Id` or `xroad:id`.
    pub message_id: Arc<str>,
    /// `x-road-request-id`.
    pub request_id: Arc<str>,
}

impl Ids {
    /// Puts them into the span of the exchange.
    pub fn record(&self) {
        let span = Span::current();
        if span.is_disabled() {
            return;
        }
        span.record("message_id", &*self.message_id);
        span.record("request_id", &*self.request_id);
        span.record("client", short(self.client.to_string()));
        span.record("service", short(self.service.to_string()));
    }
}

/// Longest text of a message that is logged or told, characters.
const TEXT_CHARS: usize = 1000;

/// `text`, cut to what a log line or a fault may hold: identifiers of SOAP are as long as their sender makes them.
pub fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS) {
        text.truncate(end);
    }
    text
}

/// What the two proxies keep between exchanges. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kept {
    /// One signature for many messages.
    pub batcher: Batcher,
    /// Verdicts on signatures and certificates.
    pub trust: TrustCache,
    /// Requests seen lately.
    pub replay: Replay,
    /// Connections to the information systems that offer services.
    pub services: Services,
    /// Memory for what must be held whole.
    pub budget: Budget,
    /// Lists of members that information systems asked for.
    pub listings: Listings,
    /// Counts exchanges.
    pub ended: Ended,
}

/// Bytes of envelopes, header parts and signatures that all exchanges together may hold.
const HELD_BYTES: usize = 512 << 20;

impl Kept {
    /// Nothing kept yet. `signer` makes the signatures of the exchanges that hold `slots`.
    pub fn new(signer: Arc<dyn Signer>, clock: Clock, slots: [Admission; 2]) -> Self {
        Self {
            batcher: Batcher::new(signer, clock, slots),
            trust: TrustCache::new(),
            replay: Replay::new(),
            services: Services::new(),
            budget: Budget::new(HELD_BYTES),
            listings: Listings::default(),
            ended: Ended::default(),
        }
    }
}

/// A message of one of the two protocols, as far as signing and logging look into it.
pub trait Message {
    /// It is REST: its raw bytes are a header part and no XML.
    fn is_rest(&self) -> bool;
    /// What is hashed and signed as `/message.xml`.
    fn raw(&self) -> &Bytes;
}

impl Message for RestRequest {
    fn is_rest(&self) -> bool {
        true
    }
    fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl Message for RestResponse {
    fn is_rest(&self) -> bool {
        true
    }
    fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl Message for SoapMessage {
    fn is_rest(&self) -> bool {
        false
    }
    fn raw(&self) -> &Bytes {
        &self.raw
    }
}

/// A message with everything that is signed together: the message part, then its attachments in order.
#[derive(Debug)]
pub struct Whole<M> {
    /// The message part.
    pub message: M,
    /// REST body or SOAP attachments; none of SOAP messages of ours that have more of them than the log keeps.
    pub attachments: Vec<Stored>,
    /// URI and digest of each part.
    pub parts: Arc<Parts>,
}

impl<M: Message> Whole<M> {
    /// A message of ours. Digests the message part; those of the attachments were made as they passed.
    pub fn new(message: M, attachments: Passed) -> Self {
        let Passed { stored, digests } = attachments;
        let parts = parts(DigestAlgorithm::Sha512.digest(message.raw()), digests);
        Self { message, attachments: stored, parts: Arc::new(parts) }
    }
    /// A message of the other side, and the digests with the algorithm that its transport header names when that is not SHA-512.
    pub fn received(message: M, label: DigestAlgorithm, attachments: Vec<Attachment>) -> (Self, Parts) {
        let labelled = match label {
            DigestAlgorithm::Sha512 => Vec::new(),
            other => {
                let digests = attachments.iter().filter_map(|a| a.labelled.clone());
                parts(other.digest(message.raw()), digests)
            }
        };
        let (stored, digests) = attachments.into_iter().map(|a| (a.stored, a.digest)).unzip();
        (Self::new(message, Passed { stored, digests }), labelled)
    }
}

fn parts(message: DigestValue, attachments: impl IntoIterator<Item = DigestValue>) -> Parts {
    let attachments = attachments.into_iter().zip(1_u32..);
    let mut parts = Vec::with_capacity(2);
    parts.push((MESSAGE_URI.to_owned(), message));
    parts.extend(attachments.map(|(digest, number)| (format!("/attachment{number}"), digest)));
    parts
}

/// What `x-hash-algorithm` names.
///
/// # Errors
/// The reference's codes for a header that is not there or cannot be read; a digest that protects nothing is refused.
pub fn label(header: Option<&str>, side: Side) -> Result<DigestAlgorithm, Failure> {
    let Some(name) = header else {
        return Err(Failure::new(
            side,
            &[FaultCode::InternalError],
            "the header x-hash-algorithm is missing",
        ));
    };
    // MD5 is no digest of ours, but it is known: as weak as SHA-1.
    let algorithm = DigestAlgorithm::from_name(name);
    if algorithm.is_none() && !name.eq_ignore_ascii_case("MD5") {
        let path = [FaultCode::ServiceFailed, FaultCode::InternalError];
        return Err(Failure::new(side, &path, "the header x-hash-algorithm names no digest that is known"));
    }
    algorithm.and_then(DigestAlgorithm::for_signatures).ok_or_else(|| {
        Failure::new(
            side,
            &[FaultCode::InvalidMessage],
            "the digest that x-hash-algorithm names is not accepted",
        )
    })
}

/// `x-road-request-hash` or `xroad:requestHash` of a request with these parts, base64.
///
/// REST covers the body with a second digest over both; SOAP covers the envelope alone. The parts are digested with SHA-512.
pub fn request_hash(parts: &Parts, rest: bool) -> String {
    match parts.as_slice() {
        [(_, header), (_, body), ..] if rest => {
            let mut both = DigestAlgorithm::Sha512.hasher();
            both.update(&header.value);
            both.update(&body.value);
            STANDARD.encode(both.finish().value)
        }
        [(_, message), ..] => STANDARD.encode(&message.value),
        [] => String::new(),
    }
}

/// A signature document with its hash chain; exact bytes.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The document; shared by the messages of a batch.
    pub document: Bytes,
    /// Chain result and chain.
    pub hash_chain: Option<(Bytes, Bytes)>,
}

impl Evidence {
    /// A chain and its result come together or not at all. Half a pair has the code that every server gives it.
    ///
    /// # Errors
    /// `signature_verification.internal_error`.
    pub fn require_pair(&self, side: Side) -> Result<(), Failure> {
        let half =
            self.hash_chain.as_ref().is_some_and(|(result, chain)| result.is_empty() || chain.is_empty());
        let path = [FaultCode::SignatureVerification, FaultCode::InternalError];
        let refuse = || Failure::new(side, &path, "the hash chain came without its result, or the reverse");
        if half { Err(refuse()) } else { Ok(()) }
    }
    /// As `pki` takes it.
    pub fn borrowed(&self) -> pki::message_signature::Evidence<'_> {
        pki::message_signature::Evidence {
            signature: &self.document,
            hash_chain: self.hash_chain.as_ref().map(|(result, chain)| (result.as_ref(), chain.as_ref())),
        }
    }
}

/// A message with a signature that holds, ours or theirs.
pub trait Proven {
    /// Its protocol and direction.
    type Message: Message;
    /// The message with its parts.
    fn whole(&self) -> &Whole<Self::Message>;
    /// The signature.
    fn evidence(&self) -> &Evidence;
    /// When it was made or found good.
    fn at(&self) -> UnixTime;
    /// Until when its certificate and OCSP answers hold.
    fn until(&self) -> UnixTime;
}

/// A message that is durable in the message log; [`log`] alone makes one.
#[derive(Debug)]
pub struct Logged<P> {
    proven: P,
    attachments: Vec<Stored>,
}

impl<P: Proven> Logged<P> {
    /// The message part.
    pub fn message(&self) -> &P::Message {
        &self.proven.whole().message
    }
    /// The signature.
    pub fn evidence(&self) -> &Evidence {
        self.proven.evidence()
    }
    /// URI and digest of each part.
    pub fn parts(&self) -> &Parts {
        &self.proven.whole().parts
    }
    /// Bodies, to be released from where they lie.
    pub fn attachments(&self) -> &[Stored] {
        &self.attachments
    }
    /// Bytes of the message with its bodies.
    pub fn size(&self) -> u64 {
        self.message().raw().len() as u64 + self.attachments.iter().map(Stored::len).sum::<u64>()
    }
}

/// Does `work` in `span`, from where it lies: an exchange is some kilobytes of state, which are to be moved as little as its bytes.
pub async fn in_span<T>(span: &Span, mut work: Pin<&mut impl Future<Output = T>>) -> T {
    poll_fn(|cx| span.in_scope(|| work.as_mut().poll(cx))).await
}

/// Puts the sizes of both messages into the span of the exchange.
pub fn record_sizes(request: u64, response: u64) {
    let span = Span::current();
    span.record("bytes_in", request);
    span.record("bytes_out", response);
}

/// Puts a message into the log; durable on return.
///
/// `consumer_side`: this server is the client's, not the service's.
///
/// # Errors
/// Nothing was logged.
pub async fn log<P: Proven>(
    log: &MessageLog,
    proven: P,
    direction: Direction,
    consumer_side: bool,
    ids: &Ids,
) -> Result<Logged<P>, LogError> {
    let (whole, evidence) = (proven.whole(), proven.evidence());
    let attachments = whole.attachments.clone();
    // What is more than the log keeps stands in it by its digests.
    let kept = attachments.iter().map(Stored::len).sum::<u64>() <= log.loggable_bytes();
    let entry = message_log::Entry {
        direction,
        consumer_side,
        message_id: ids.message_id.clone(),
        request_id: ids.request_id.clone(),
        client: ids.client.clone(),
        service: ids.service.clone(),
        message: whole.message.raw().clone(),
        rest: whole.message.is_rest(),
        signature: evidence.document.clone(),
        hash_chain: evidence.hash_chain.clone(),
        attachments: if kept { attachments.clone() } else { Vec::new() },
        parts: whole.parts.clone(),
        at: proven.at(),
        until: proven.until(),
    };
    log.append(entry).await?;
    Ok(Logged { proven, attachments })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by another program.
    #[test]
    fn request_hash_covers_the_body_of_rest_and_only_of_rest() {
        let header = "POST\r\n/r1/DEV/COM/1234/Sub/svc/p?q=1\r\nContent-Type:application/json\r\n\
                      X-Road-Client:DEV/COM/4321/Cli\r\nx-road-request-id:11111111-2222-3333-4444-555555555555\r\n\
                      x-road-id:DEV-1\r\n";
        let sha512 = |data: &[u8]| DigestAlgorithm::Sha512.digest(data);
        let one: Parts = vec![(MESSAGE_URI.into(), sha512(header.as_bytes()))];
        let both: Parts = vec![one[0].clone(), ("/attachment1".into(), sha512(br#"{"a":1}"#))];
        let header_hash =
            "4sJLNSinQAT7pzjVzmC9WCn6YqJ1H1ScTsihXoyASOURq45sBmhZSim7MXEaqc7bnrMB3QcxjraaHi+VU1D5rA==";
        let both_hash =
            "E2ZDanvkEiVk7TsiFwO77pmdpCnBksj5pirBjXEmRLHkKGb6EbPs0XTdV4+LYfW+z8OMOXJq4uxHD7lc5SRPGg==";
        assert_eq!(request_hash(&one, true), header_hash);
        assert_eq!(request_hash(&both, true), both_hash);
        assert_eq!(request_hash(&both, false), header_hash);
    }
}
