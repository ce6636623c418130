//! The receiving end of a transport message: events in protocol order, bodies into the log's spool while they are hashed.
//!
//! Every wait is bounded by the caller's idle time, and the whole message by a time of its own. Nothing of a body is held beyond the
//! chunk that passes; what must be held whole is counted against the server's [`crate::budget`].

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use pki::digest::{DigestAlgorithm, DigestValue, Hasher};
use proto::multipart::{PartHead, Watch};
use proto::transport::{Decoder, Event, MessageKind, TransportError};

use tokio::time::Instant;

use super::Evidence;
use crate::budget::{Exhausted, Hold};
use crate::message_log::{LogError, MessageLog, Stored};

/// What is read and dropped of a message that was refused.
pub const DRAIN_BYTES: usize = 256 << 20;
/// For how long.
pub const DRAIN: Duration = Duration::from_secs(30);

/// Why a transport message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its form.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Its connection.
    #[error("the connection broke while the message was read: {0}")]
    Connection(String),
    /// Silence.
    #[error("nothing came for {0:?} while the message was read")]
    Idle(Duration),
    /// It came drop by drop.
    #[error("the message was not there whole within {0:?}")]
    Slow(Duration),
    /// Its attachments, together.
    #[error("the attachments of the message are larger than {limit} bytes")]
    Attachments {
        /// The bound.
        limit: u64,
    },
    /// Bytes that would fall apart when the message is written for an information system.
    #[error("a part of the message holds the delimiter that separates its parts")]
    Delimiter,
    /// Its body could not be kept.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no memory for it now.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// The message part, and what stood before it.
#[derive(Debug)]
pub struct First {
    /// OCSP answers of the sender's TLS chain, DER.
    pub ocsp: Vec<Bytes>,
    /// What the part is.
    pub kind: MessageKind,
    /// Its part headers.
    pub head: PartHead,
    /// Its bytes.
    pub raw: Bytes,
}

/// Everything after the message part.
#[derive(Debug)]
pub struct Remainder {
    /// REST body or SOAP attachments, each with its head and digest.
    pub attachments: Vec<Attachment>,
    /// Signature and chain.
    pub evidence: Evidence,
}

impl Remainder {
    /// Takes the part headers out: they are not signed, and needed only to write the message for an information system.
    pub fn take_heads(&mut self) -> Vec<PartHead> {
        self.attachments.iter_mut().map(|attachment| std::mem::take(&mut attachment.head)).collect()
    }
}

/// One attachment.
#[derive(Debug)]
pub struct Attachment {
    /// Its part headers; unsigned.
    pub head: PartHead,
    /// Where its bytes lie.
    pub stored: Stored,
    /// SHA-512 of its bytes.
    pub digest: DigestValue,
    /// The digest that the transport header names, when it is another one.
    pub labelled: Option<DigestValue>,
}

/// What may come where a message is due.
#[derive(Debug)]
pub enum Or<T> {
    /// What was due.
    Message(T),
    /// A fault in its place; the exact bytes.
    Fault(Bytes),
}

/// Bounds on one transport message beyond those of its decoder.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Each wait for more of the body.
    pub idle: Option<Duration>,
    /// The whole message.
    pub whole: Duration,
    /// All attachments of SOAP together.
    pub attachments_bytes: u64,
}

/// Reads one transport message from an HTTP body.
#[derive(Debug)]
pub struct Incoming<B> {
    body: B,
    decoder: Decoder,
    bounds: Bounds,
    begun: Instant,
    /// Attachments of SOAP that may still come, bytes; `None` for REST.
    attachments_left: Option<u64>,
    /// Looks for delimiters in SOAP parts.
    boundary: Option<String>,
    ended: bool,
    hold: Hold,
    /// Bytes fed to the decoder that did not come out as a body: what it, or we, hold.
    collected: usize,
}

impl<B> Incoming<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// `hold` counts what is held of it.
    pub fn new(body: B, decoder: Decoder, bounds: Bounds, hold: Hold) -> Self {
        let begun = Instant::now();
        Self {
            body,
            decoder,
            bounds,
            begun,
            attachments_left: None,
            boundary: None,
            ended: false,
            hold,
            collected: 0,
        }
    }

    /// The parts are to be written between delimiters with this boundary, so none may hold one.
    ///
    /// # Errors
    /// The message part, which has been read, holds one.
    pub fn keep_apart(&mut self, boundary: &str, message: &Bytes) -> Result<(), ReadError> {
        let mut watch = Watch::new(boundary);
        if watch.finds(message.clone()) || watch.finds_at_end() {
            return Err(ReadError::Delimiter);
        }
        self.boundary = Some(boundary.to_owned());
        Ok(())
    }

    /// Everything up to the message part.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn first(&mut self) -> Result<Or<First>, ReadError> {
        let mut ocsp = Vec::new();
        loop {
            match self.next().await? {
                Event::Ocsp(der) => ocsp.push(der),
                Event::Message { kind, head, raw } => {
                    self.attachments_left =
                        (kind == MessageKind::Soap).then_some(self.bounds.attachments_bytes);
                    return Ok(Or::Message(First { ocsp, kind, head, raw }));
                }
                Event::Fault(xml) => return Ok(Or::Fault(xml)),
                // The decoder gives nothing else before the message part.
                _ => return Err(TransportError::MissingSoap.into()),
            }
        }
    }

    /// Everything after the message part; bodies go into the log's spool and are digested in the same pass, with SHA-512 and with
    /// what the transport header names (`label`). Without a log they are read and dropped: the message will be refused.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn rest(
        &mut self,
        log: Option<&MessageLog>,
        label: DigestAlgorithm,
    ) -> Result<Or<Remainder>, ReadError> {
        let mut attachments = Vec::new();
        let (mut result, mut chain, mut document) = (None, None, None);
        loop {
            match self.next().await? {
                Event::AttachmentHead { head, .. } => {
                    attachments.push(self.attachment(head, log, label).await?);
                }
                Event::HashChainResult(xml) => result = Some(xml),
                Event::HashChain(xml) => chain = Some(xml),
                Event::Signature(xml) => document = Some(xml),
                Event::Fault(xml) => return Ok(Or::Fault(xml)),
                Event::End => break,
                // The decoder gives nothing else after the message part.
                Event::Ocsp(_) | Event::Message { .. } | Event::AttachmentData(_) | Event::AttachmentEnd => {
                    return Err(TransportError::MissingSignature.into());
                }
            }
        }
        let document = document.ok_or(TransportError::MissingSignature)?;
        // Half a pair is refused where the signature is verified, after everything that is refused earlier.
        let hash_chain = match (result, chain) {
            (None, None) => None,
            (result, chain) => Some((result.unwrap_or_default(), chain.unwrap_or_default())),
        };
        Ok(Or::Message(Remainder { attachments, evidence: Evidence { document, hash_chain } }))
    }

    async fn attachment(
        &mut self,
        head: PartHead,
        log: Option<&MessageLog>,
        label: DigestAlgorithm,
    ) -> Result<Attachment, ReadError> {
        let limit = self.bounds.attachments_bytes;
        let spool = |log: &MessageLog| match self.attachments_left {
            Some(_) => log.spool_within(limit),
            None => log.spool(),
        };
        let (mut spool, mut hasher) = (log.map(spool), DigestAlgorithm::Sha512.hasher());
        let mut labelled = (label != DigestAlgorithm::Sha512).then(|| label.hasher());
        let mut watch = self.boundary.as_deref().map(Watch::new);
        while let Event::AttachmentData(data) = self.next().await? {
            if let Some(left) = &mut self.attachments_left {
                *left = left.checked_sub(data.len() as u64).ok_or(ReadError::Attachments { limit })?;
            }
            if watch.as_mut().is_some_and(|watch| watch.finds(data.clone())) {
                return Err(ReadError::Delimiter);
            }
            hasher.update(&data);
            if let Some(labelled) = &mut labelled {
                labelled.update(&data);
            }
            if let Some(spool) = &mut spool {
                spool.write(data).await?;
            }
        }
        if watch.is_some_and(|mut watch| watch.finds_at_end()) {
            return Err(ReadError::Delimiter);
        }
        let stored = match spool {
            Some(spool) => spool.finish().await?,
            None => Stored::from(Bytes::new()),
        };
        Ok(Attachment { head, stored, digest: hasher.finish(), labelled: labelled.map(Hasher::finish) })
    }

    async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            if let Some(event) = self.decoder.poll()? {
                if let Event::AttachmentData(data) = &event {
                    self.collected = self.collected.saturating_sub(data.len());
                }
                return Ok(event);
            }
            if self.ended {
                return Err(TransportError::Truncated.into());
            }
            match self.chunk().await? {
                Some(data) => {
                    if self.begun.elapsed() > self.bounds.whole {
                        return Err(ReadError::Slow(self.bounds.whole));
                    }
                    self.collected += data.len();
                    self.hold.grow_to(self.collected)?;
                    self.decoder.feed(data);
                }
                None => {
                    self.ended = true;
                    self.decoder.finish();
                }
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        next_data(&mut self.body, self.bounds.idle).await
    }

    /// What is held of the message, for as long as the message is.
    pub fn into_hold(self) -> Hold {
        self.hold
    }

    /// Reads what is left, so that the sender has written all of it and the connection can be used again. Bounded.
    pub async fn drain(&mut self) {
        if !self.ended {
            drain(&mut self.body, self.bounds.idle, self.bounds.whole).await;
        }
    }
}

/// Reads and drops what is left of a body, within [`DRAIN_BYTES`], [`DRAIN`], the time of a `whole` message, and silences of `idle`.
pub async fn drain<B>(body: &mut B, idle: Option<Duration>, whole: Duration)
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let all = async {
        let mut taken = 0;
        while let Ok(Some(data)) = next_data(body, idle).await {
            taken += data.len();
            if taken > DRAIN_BYTES {
                break;
            }
        }
    };
    // What does not end in time is cut by the close.
    let _ = tokio::time::timeout(DRAIN.min(whole), all).await;
}

/// The next data of a body; trailers are passed over.
async fn next_data<B>(body: &mut B, idle: Option<Duration>) -> Result<Option<Bytes>, ReadError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        let frame = match idle {
            None => body.frame().await,
            Some(idle) => {
                tokio::time::timeout(idle, body.frame()).await.map_err(|_| ReadError::Idle(idle))?
            }
        };
        match frame {
            None => return Ok(None),
            Some(Err(e)) => return Err(ReadError::Connection(e.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
