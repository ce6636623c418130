//! SOAP messages with attachments at the two edges: read from an information system, passed on while they come, and handed to one
//! [PR-MESS §2.7].
//!
//! The envelope is held whole and counted against the server's budget; attachments pass in the pieces in which they come, each piece
//! digested once. What is to be logged of them goes into the log's spool on the way, until it is more than the log keeps.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use pki::digest::{DigestAlgorithm, DigestValue};
use proto::fault::{FaultCode, Side};
use proto::multipart::PartHead;
use proto::rest::Place;
use proto::soap::parts::{Decoder, Event, Limits, PartsError};
use proto::soap::related::Related;

use super::Outgoing;
use super::writing::Gone;
use crate::budget::Hold;
use crate::faults::{Failure, OrFail};
use crate::message_log::{MessageLog, Spool, Stored};

/// Where the bytes of a body come from.
pub trait Source {
    /// The next bytes, never empty; `None` at the end.
    ///
    /// # Errors
    /// As its side says it.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;
}

/// The attachments of one message after they have passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// Where they lie; empty when they are more than the log keeps.
    pub stored: Vec<Stored>,
    /// SHA-512 of each.
    pub digests: Vec<DigestValue>,
}

/// Reads one `multipart/related` from an information system.
#[derive(Debug)]
pub struct Parts {
    decoder: Decoder,
    place: Place,
    hold: Hold,
    /// Bytes fed to the decoder that did not come out as an attachment.
    held: usize,
    ended: bool,
    /// The closing delimiter was there.
    closed: bool,
}

impl Parts {
    /// For a body of this type; `place` chooses the faults.
    ///
    /// # Errors
    /// The type has no usable boundary.
    pub fn new(content_type: &str, limits: Limits, place: Place, hold: Hold) -> Result<Self, Failure> {
        let decoder = Decoder::new(content_type, limits).map_err(|e| failure(&e, place))?;
        Ok(Self { decoder, place, hold, held: 0, ended: false, closed: false })
    }

    /// Everything up to the end of the first part.
    ///
    /// # Errors
    /// The first broken rule, or the source.
    pub async fn envelope(&mut self, source: &mut impl Source) -> Result<(PartHead, Bytes), Failure> {
        match self.event(source).await? {
            Some(Event::Envelope { head, raw }) => Ok((head, raw)),
            // The decoder gives nothing else first.
            _ => Err(failure(&PartsError::MissingSoap, self.place)),
        }
    }

    /// Sends all attachments on, to the end of the body.
    ///
    /// # Errors
    /// The first broken rule, the source, the log, or nobody who takes them.
    pub async fn pass<E: From<Failure> + From<Gone>>(
        &mut self,
        source: &mut impl Source,
        out: &mut Outgoing,
        log: &MessageLog,
        limit: u64,
    ) -> Result<Passed, E> {
        let (side, _) = PartsError::MissingSoap.fault(self.place);
        let (mut digests, mut stored) = (Vec::new(), Some(Vec::new()));
        let (mut hasher, mut spool, mut total) = (DigestAlgorithm::Sha512.hasher(), None::<Spool>, 0_u64);
        while let Some(event) = self.event(source).await? {
            match event {
                Event::AttachmentHead(head) => {
                    out.attachment(&head);
                    hasher = DigestAlgorithm::Sha512.hasher();
                    spool = stored.is_some().then(|| log.spool());
                }
                Event::AttachmentData(data) => {
                    total += data.len() as u64;
                    if total > limit {
                        return Err(too_many_bytes(limit, self.place).into());
                    }
                    hasher.update(&data);
                    if total > log.loggable_bytes() {
                        (spool, stored) = (None, None);
                    }
                    if let Some(spool) = &mut spool {
                        spool.write(data.clone()).await.or_fail(side)?;
                    }
                    out.data(data).await?;
                }
                Event::AttachmentEnd => {
                    let hasher = std::mem::replace(&mut hasher, DigestAlgorithm::Sha512.hasher());
                    digests.push(hasher.finish());
                    if let (Some(spool), Some(stored)) = (spool.take(), &mut stored) {
                        stored.push(spool.finish().await.or_fail(side)?);
                    }
                }
                Event::Envelope { .. } => {}
                Event::End { closed } => self.closed = closed,
            }
        }
        Ok(Passed { stored: stored.unwrap_or_default(), digests })
    }

    /// The closing delimiter was read.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The next event; `None` when the body was read to its end.
    async fn event(&mut self, source: &mut impl Source) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.decoder.poll().map_err(|e| failure(&e, self.place))? {
                if let Event::AttachmentData(data) = &event {
                    self.held = self.held.saturating_sub(data.len());
                }
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            match source.next().await? {
                Some(data) => {
                    self.held += data.len();
                    let (side, _) = PartsError::MissingSoap.fault(self.place);
                    self.hold.grow_to(self.held).or_fail(side)?;
                    self.decoder.feed(data);
                }
                None => {
                    self.ended = true;
                    self.decoder.finish();
                }
            }
        }
    }
}

fn failure(error: &PartsError, place: Place) -> Failure {
    let (side, path) = error.fault(place);
    Failure::new(side, &path, error.to_string())
}

/// More attachment bytes than are taken of one message.
fn too_many_bytes(limit: u64, place: Place) -> Failure {
    let (side, path): (Side, Vec<FaultCode>) = PartsError::TooMany { limit: 0 }.fault(place);
    Failure::new(side, &path, format!("the attachments of the message are larger than {limit} bytes"))
}

/// The body that an information system gets, and its length.
pub fn related_body<'a>(
    related: &Related,
    head: &PartHead,
    envelope: Bytes,
    attachments: impl Iterator<Item = (&'a PartHead, &'a Stored)>,
) -> (u64, BoxStream<'static, std::io::Result<Bytes>>) {
    let ready = |bytes: Bytes| stream::once(std::future::ready(Ok(bytes))).boxed();
    let mut length = 0;
    let mut pieces = Vec::new();
    let mut put = |size: u64, piece: BoxStream<'static, std::io::Result<Bytes>>| {
        length += size;
        pieces.push(piece);
    };
    for bytes in [related.head(true, head), envelope] {
        put(bytes.len() as u64, ready(bytes));
    }
    for (head, stored) in attachments {
        let head = related.head(false, head);
        put(head.len() as u64, ready(head));
        put(stored.len(), stored.stream().boxed());
    }
    let end = related.end();
    put(end.len() as u64, ready(end));
    (length, stream::iter(pieces).flatten().boxed())
}
