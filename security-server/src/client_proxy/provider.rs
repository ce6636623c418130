//! One exchange with the provider's security server, as REST and SOAP share it: what goes out, what comes back, who fails first.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use pki::digest::DigestAlgorithm;
use proto::fault::{FaultCode, Side};
use proto::transport::{self, Decoder, Direction, Protocol};

use super::Request;
use crate::budget::Hold;
use crate::config::Limits;
use crate::exchange;
use crate::exchange::reading::{Bounds, First, Incoming, Or, ReadError, Remainder};
use crate::exchange::writing::Gone;
use crate::faults::{Failure, OrFail, Refusal};
use crate::message_log::{LogError, MessageLog};
use crate::peers::{Lines, PeerBody, PeerError, PeerResponse};

const SIDE: Side = Side::ClientProxy;
/// What we say we are to servers that refuse old ones: the release whose protocol this is.
const PROTOCOL_VERSION: &str = "7.8.0";

/// Why a request did not go out whole.
pub(super) enum SendError {
    /// The connection went first: its error, or an early answer, tells why.
    Gone,
    /// We could not go on.
    Failed(Failure),
}

impl From<Gone> for SendError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<LogError> for SendError {
    fn from(error: LogError) -> Self {
        Self::Failed(Failure::of(SIDE, &error))
    }
}

/// Headers of a transport request. `extra` come first; what cannot be sent as a header is left out.
pub(super) fn headers(content_type: &str, request_id: &str, extra: &[(&'static str, &[u8])]) -> Lines {
    let own = [
        (transport::HASH_ALGORITHM, "SHA-512".as_bytes()),
        (transport::REQUEST_ID, request_id.as_bytes()),
        (transport::PROXY_VERSION, PROTOCOL_VERSION.as_bytes()),
        ("content-type", content_type.as_bytes()),
    ];
    let mut lines = Lines::default();
    extra.iter().copied().chain(own).for_each(|(name, value)| lines.push(name, value));
    lines
}

/// Sends while listening. An answer that comes before the request is out can only be a refusal.
///
/// `in_pieces`: the request goes out while it comes in. One that is here whole waits in the channel until it is signed and logged, and
/// then goes out in one piece: one write here, one read and one wake-up there.
///
/// # Errors
/// Ours, or the fault of the other side.
pub(super) async fn converse<T, A>(
    mut sending: Pin<&mut impl Future<Output = Result<T, SendError>>>,
    mut answer: Pin<&mut A>,
    in_pieces: bool,
    limits: &Limits,
    hold: Hold,
) -> Result<T, Refusal>
where
    A: Future<Output = Result<PeerResponse, PeerError>>,
{
    let early = tokio::select! {
        biased;
        sent = &mut sending => match sent {
            Ok(sent) => return Ok(sent),
            Err(SendError::Failed(failure)) => return Err(failure.into()),
            Err(SendError::Gone) => answer.await.or_fail(SIDE)?,
        },
        early = &mut answer, if in_pieces => early.or_fail(SIDE)?,
    };
    // `sending` stays until the answer is read: dropped, it would break the connection under it.
    let refusal = early_refusal(early, limits, hold).await;
    Err(refusal.unwrap_or_else(|refusal| refusal))
}

/// Waits for the answer to a request that is out, as long as somebody waits for it with us. What the provider does with the request is
/// in its log, as the request is in ours.
///
/// # Errors
/// The connection, or nobody waits.
pub(super) async fn answer(
    answer: Pin<&mut impl Future<Output = Result<PeerResponse, PeerError>>>,
    incoming: &Request<'_>,
) -> Result<PeerResponse, Failure> {
    tokio::select! {
        biased;
        answer = answer => answer.or_fail(SIDE),
        () = incoming.body.hung_up() => Err(nobody_waits()),
    }
}

fn nobody_waits() -> Failure {
    Failure::new(SIDE, &[FaultCode::IoError], "the information system hung up")
}

async fn early_refusal(answer: PeerResponse, limits: &Limits, hold: Hold) -> Result<Refusal, Refusal> {
    let mut reader = open(answer, None, limits, hold)?.0;
    match reader.first().await.map_err(|e| failure(&e))? {
        Or::Fault(xml) => Ok(Refusal::theirs(SIDE, xml)),
        Or::Message(_) => {
            let path = [FaultCode::ServiceFailed, FaultCode::InvalidMessage];
            Ok(Failure::new(SIDE, &path, "the provider's security server answered before it had the request")
                .into())
        }
    }
}

/// What the head of an answer says about the rest.
#[derive(Debug)]
pub(super) struct AnswerHead {
    label: Option<String>,
    /// `x-original-content-type`.
    pub(super) original_content_type: Option<String>,
}

impl AnswerHead {
    /// The digest that the answer's parts are labelled with.
    pub(super) fn label(&self) -> Result<DigestAlgorithm, Failure> {
        exchange::label(self.label.as_deref(), SIDE)
    }
}

/// Looks at the head of an answer and opens its body.
///
/// # Errors
/// `http_error`, `invalid_content_type`.
pub(super) fn open(
    answer: PeerResponse,
    protocol: Option<Protocol>,
    limits: &Limits,
    hold: Hold,
) -> Result<(Incoming<PeerBody>, AnswerHead), Failure> {
    let PeerResponse { head, body } = answer;
    if !matches!(head.status, 200 | 500) {
        let message = format!("the provider's security server answered with HTTP status {}", head.status);
        return Err(Failure::new(SIDE, &[FaultCode::HttpError], message));
    }
    let text = |name: &str| head.headers.get(name).map(latin1);
    let Some(content_type) = text("content-type") else {
        let message = "the answer of the provider's security server has no content type";
        return Err(Failure::new(SIDE, &[FaultCode::InvalidContentType], message));
    };
    let decoder = Decoder::new(&content_type, Direction::Response, limits.transport).or_fail(SIDE)?;
    let decoder = match protocol {
        Some(protocol) => decoder.expect(protocol),
        None => decoder,
    };
    let head = AnswerHead {
        label: text(transport::HASH_ALGORITHM),
        original_content_type: text(transport::ORIGINAL_CONTENT_TYPE),
    };
    let bounds = Bounds {
        idle: limits.peer_answer,
        whole: limits.message_time,
        attachments_bytes: limits.attachments_bytes,
    };
    Ok((Incoming::new(body, decoder, bounds, hold), head))
}

/// The message part of an answer, which REST announces before its service has answered. Once it is here, the answer is read and logged,
/// whoever waits for it.
///
/// # Errors
/// Ours, or the fault that stands in its place; or nobody waits.
pub(super) async fn first(reader: &mut Incoming<PeerBody>, incoming: &Request<'_>) -> Result<First, Refusal> {
    let first = tokio::select! {
        biased;
        first = reader.first() => first,
        () = incoming.body.hung_up() => return Err(nobody_waits().into()),
    };
    match first.map_err(|e| failure(&e))? {
        Or::Message(first) => Ok(first),
        Or::Fault(xml) => Err(Refusal::theirs(SIDE, xml)),
    }
}

/// The parts of the answer are to be written between delimiters with this boundary, so none may hold one.
///
/// # Errors
/// The message part holds one.
pub(super) fn keep_apart(
    reader: &mut Incoming<PeerBody>,
    boundary: &str,
    message: &Bytes,
) -> Result<(), Failure> {
    reader.keep_apart(boundary, message).map_err(|e| failure(&e))
}

/// The rest of an answer, read to the end of its connection's turn.
///
/// # Errors
/// Ours, or the fault that stands in the place of a part.
pub(super) async fn rest(
    reader: &mut Incoming<PeerBody>,
    log: &MessageLog,
    label: DigestAlgorithm,
) -> Result<Remainder, Refusal> {
    let remainder = match reader.rest(Some(log), label).await.map_err(|e| failure(&e))? {
        Or::Message(remainder) => remainder,
        Or::Fault(xml) => return Err(Refusal::theirs(SIDE, xml)),
    };
    reader.drain().await;
    Ok(remainder)
}

/// A connection that breaks inside an answer is the next hop's failure; what breaks before it is the network's.
fn failure(error: &ReadError) -> Failure {
    let failure = Failure::of(SIDE, error);
    match error {
        ReadError::Connection(_) | ReadError::Idle(_) | ReadError::Slow(_) => failure.of_next_hop(),
        ReadError::Transport(_)
        | ReadError::Attachments { .. }
        | ReadError::Delimiter
        | ReadError::Log(_)
        | ReadError::Exhausted(_) => failure,
    }
}

/// Header bytes as text, one character a byte.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Text as header bytes; what ISO-8859-1 does not have becomes a question mark, and so does a control character,
/// which a part header may hold and an HTTP header must not.
pub(super) fn to_latin1(text: &str) -> Bytes {
    let byte = |c: char| u8::try_from(c).ok().filter(|b| !b.is_ascii_control()).unwrap_or(b'?');
    text.chars().map(byte).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_end_gets_from_a_part_header_into_an_http_header() {
        assert_eq!(to_latin1("text/xml;x=\r\n\0\u{7f}y\u{e4}\u{20ac}"), &b"text/xml;x=????y\xe4?"[..]);
    }
}
