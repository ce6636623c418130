//! Reads one transport message: which part may follow which, and where a fault may stand instead.
use bytes::{Bytes, BytesMut};

use super::{
    Direction, Event, HASH_CHAIN, HASH_CHAIN_RESULT, Limits, MULTIPART_MIXED, MessageKind, OCSP_RESPONSE,
    Protocol, REST_BODY, REST_REQUEST, REST_RESPONSE, SIGNATURE, TEXT_XML, TransportError, XOP_XML,
};
use crate::media_type;
use crate::multipart::{self, PartHead};
use crate::soap::{self, Soap};

/// Reads one transport message. Feed, poll until `None`, feed again, finish.
#[derive(Debug)]
pub struct Decoder {
    body: Body,
    direction: Direction,
    protocol: Option<Protocol>,
    limits: Limits,
    due: Due,
    current: Current,
    ocsp_parts: usize,
    attachments: u32,
}

#[derive(Debug)]
enum Body {
    Multipart(Box<multipart::Decoder>),
    /// A plain fault.
    Plain {
        content: Content,
        finished: bool,
    },
    Done,
}

/// What may come next; each also admits what comes after it, up to the next that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    OcspOrMessage,
    RestBody,
    Attachments,
    ChainResult,
    Chain,
    Signature,
    Nothing,
}

/// The part being read.
#[derive(Debug)]
enum Current {
    None,
    Collected { part: Part, head: PartHead, content: Content },
    RestBody,
    Attachments { inner: Box<multipart::Decoder>, state: Nested },
}

/// How far the nested multipart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nested {
    Open,
    /// Its closing delimiter was read; the rest of the part is passed over.
    Closed,
    /// The part has ended, its own end has not been read yet.
    Ending,
}

/// Parts that are given whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ocsp,
    Message(MessageKind),
    ChainResult,
    Chain,
    Signature,
    Fault,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Ocsp => "OCSP",
            Self::Message(_) => "message",
            Self::ChainResult => "chain result",
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::Fault => "fault",
        }
    }
    const fn limit(self, limits: &Limits) -> usize {
        match self {
            Self::Ocsp => limits.ocsp_bytes,
            Self::Message(_) | Self::Fault => limits.message_bytes,
            Self::ChainResult | Self::Chain | Self::Signature => limits.signature_bytes,
        }
    }
}

/// Bytes of one part: the slice itself while there is one, a copy from the second on.
#[derive(Debug, Default)]
struct Content {
    first: Bytes,
    joined: BytesMut,
}

impl Content {
    fn push(&mut self, data: Bytes, part: Part, limits: &Limits) -> Result<(), TransportError> {
        let limit = part.limit(limits);
        if self.first.len() + self.joined.len() + data.len() > limit {
            return Err(TransportError::TooLarge { part: part.name(), limit });
        }
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = data;
        } else {
            let first = std::mem::take(&mut self.first);
            self.joined.extend_from_slice(&first);
            self.joined.extend_from_slice(&data);
        }
        Ok(())
    }
    fn take(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

impl Decoder {
    /// For a body with this `Content-Type`.
    ///
    /// # Errors
    /// When the type is not one of a transport message, or has no usable boundary.
    pub fn new(content_type: &str, direction: Direction, limits: Limits) -> Result<Self, TransportError> {
        let body = if media_type::is(content_type, MULTIPART_MIXED) {
            Body::Multipart(Box::new(multipart::Decoder::new(content_type, limits.parts)?))
        } else if direction == Direction::Response && media_type::is(content_type, TEXT_XML) {
            Body::Plain { content: Content::default(), finished: false }
        } else {
            return Err(TransportError::ContentType { found: shortened(media_type::base(content_type)) });
        };
        Ok(Self {
            body,
            direction,
            protocol: None,
            limits,
            due: Due::OcspOrMessage,
            current: Current::None,
            ocsp_parts: 0,
            attachments: 0,
        })
    }

    /// Only takes a message of this protocol; without, either.
    #[must_use]
    pub fn expect(self, protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// More of the body.
    pub fn feed(&mut self, chunk: Bytes) {
        match &mut self.body {
            Body::Multipart(outer) => outer.feed(chunk),
            Body::Plain { content, .. } => {
                // What goes over the bound is noticed by `poll`, so one chunk more than it is held at most.
                if content.first.len() + content.joined.len() <= self.limits.message_bytes {
                    let unbounded = Limits { message_bytes: usize::MAX, ..self.limits };
                    content.push(chunk, Part::Fault, &unbounded).expect("there is no bound here");
                }
            }
            Body::Done => {}
        }
    }

    /// The body ended.
    pub fn finish(&mut self) {
        match &mut self.body {
            Body::Multipart(outer) => outer.finish(),
            Body::Plain { finished, .. } => *finished = true,
            Body::Done => {}
        }
    }

    /// The next event; `None` when more input is needed, or after the last event.
    ///
    /// # Errors
    /// The first broken rule; the decoder is of no use afterwards.
    pub fn poll(&mut self) -> Result<Option<Event>, TransportError> {
        loop {
            if let Current::Attachments { inner, .. } = &mut self.current
                && let Some(event) = inner.poll()?
            {
                match self.attachment_event(event)? {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            let event = match &mut self.body {
                Body::Multipart(outer) => outer.poll()?,
                Body::Plain { .. } => return self.plain_fault(),
                Body::Done => None,
            };
            let event = match event {
                None => return Ok(None),
                Some(multipart::Event::Head(head)) => self.begin(head)?,
                Some(multipart::Event::Data(data)) => self.data(data)?,
                Some(multipart::Event::PartEnd { delimited: true }) => self.end_of_part()?,
                Some(multipart::Event::PartEnd { delimited: false }) => return Err(self.cut_off()),
                Some(multipart::Event::End { closed }) => return self.end(closed).map(Some),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Decides by its type what a part is; some begin with an event.
    fn begin(&mut self, head: PartHead) -> Result<Option<Event>, TransportError> {
        let content_type = head.content_type();
        let is = |expected| media_type::is(content_type, expected);
        let part = match self.due {
            Due::OcspOrMessage if is(OCSP_RESPONSE) => {
                self.ocsp_parts += 1;
                if self.ocsp_parts > self.limits.ocsp_parts {
                    return Err(TransportError::TooMany { part: "OCSP", limit: self.limits.ocsp_parts });
                }
                Part::Ocsp
            }
            Due::OcspOrMessage => self.message_part(content_type)?,
            Due::RestBody if is(REST_BODY) => {
                self.due = Due::ChainResult;
                self.current = Current::RestBody;
                self.attachments = 1;
                return Ok(Some(Event::AttachmentHead { number: 1, head }));
            }
            Due::Attachments if is(MULTIPART_MIXED) => {
                self.due = Due::ChainResult;
                let inner = Box::new(multipart::Decoder::new(content_type, self.limits.parts)?);
                self.current = Current::Attachments { inner, state: Nested::Open };
                return Ok(None);
            }
            Due::RestBody | Due::Attachments | Due::ChainResult if is(HASH_CHAIN_RESULT) => {
                self.due = Due::Chain;
                Part::ChainResult
            }
            Due::RestBody | Due::Attachments | Due::ChainResult | Due::Chain if is(HASH_CHAIN) => {
                self.due = Due::Signature;
                Part::Chain
            }
            Due::Nothing => return Err(TransportError::AfterSignature),
            _ if is(SIGNATURE) => {
                self.due = Due::Nothing;
                Part::Signature
            }
            _ if is(TEXT_XML) => match self.direction {
                Direction::Response => Part::Fault,
                Direction::Request => return Err(TransportError::MissingSignature),
            },
            due => return Err(unexpected(content_type, due)),
        };
        if part == Part::Fault {
            self.due = Due::Nothing;
        }
        self.current = Current::Collected { part, head, content: Content::default() };
        Ok(None)
    }

    fn message_part(&mut self, content_type: &str) -> Result<Part, TransportError> {
        let is = |expected| media_type::is(content_type, expected);
        let kind = if is(TEXT_XML) || is(XOP_XML) {
            MessageKind::Soap
        } else if is(REST_REQUEST) {
            MessageKind::RestRequest
        } else if is(REST_RESPONSE) {
            MessageKind::RestResponse
        } else {
            return Err(unexpected(content_type, Due::OcspOrMessage));
        };
        match (kind, self.direction, self.protocol) {
            (MessageKind::RestRequest, Direction::Response, _)
            | (MessageKind::RestResponse, Direction::Request, _) => {
                return Err(TransportError::WrongDirection);
            }
            (MessageKind::RestRequest | MessageKind::RestResponse, _, Some(Protocol::Soap)) => {
                return Err(TransportError::MissingSoap);
            }
            _ => {}
        }
        self.due = if kind == MessageKind::Soap { Due::Attachments } else { Due::RestBody };
        Ok(Part::Message(kind))
    }

    fn data(&mut self, data: Bytes) -> Result<Option<Event>, TransportError> {
        match &mut self.current {
            Current::None => Ok(None),
            Current::Collected { part, content, .. } => {
                content.push(data, *part, &self.limits).map(|()| None)
            }
            Current::RestBody => Ok(Some(Event::AttachmentData(data))),
            Current::Attachments { inner, .. } => {
                inner.feed(data);
                Ok(None)
            }
        }
    }

    /// The outer delimiter came.
    fn end_of_part(&mut self) -> Result<Option<Event>, TransportError> {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::None | Current::Attachments { state: Nested::Closed, .. } => Ok(None),
            Current::Collected { part, head, content } => {
                self.collected(part, head, content.take()).map(Some)
            }
            Current::RestBody => Ok(Some(Event::AttachmentEnd)),
            Current::Attachments { mut inner, .. } => {
                // Its closing delimiter may have come without a line end, and is only known for one now.
                inner.finish();
                self.current = Current::Attachments { inner, state: Nested::Ending };
                Ok(None)
            }
        }
    }

    fn collected(&mut self, part: Part, head: PartHead, raw: Bytes) -> Result<Event, TransportError> {
        match part {
            Part::Ocsp => Ok(Event::Ocsp(raw)),
            Part::Message(kind) => self.message(kind, head, raw),
            Part::ChainResult => Ok(Event::HashChainResult(raw)),
            Part::Chain => Ok(Event::HashChain(raw)),
            Part::Signature => Ok(Event::Signature(raw)),
            Part::Fault => self.fault(raw, head.content_type()),
        }
    }

    fn message(&mut self, kind: MessageKind, head: PartHead, raw: Bytes) -> Result<Event, TransportError> {
        if kind == MessageKind::Soap && self.direction == Direction::Response {
            // A look for the word spares ordinary answers a second parse.
            let maybe = memchr::memmem::find(&raw, b"Fault").is_some();
            if maybe && matches!(soap::parse(raw.clone(), head.content_type()), Ok(Soap::Fault(..))) {
                return self.fault(raw, head.content_type());
            }
        }
        if kind == MessageKind::Soap && self.protocol == Some(Protocol::Rest) {
            // Not SOAP at all is told before SOAP in the wrong place.
            soap::parse(raw, head.content_type())?;
            return Err(TransportError::SoapForRest { direction: self.direction });
        }
        Ok(Event::Message { kind, head, raw })
    }

    /// Whatever follows a fault says nothing: it is not signed, and neither is the fault.
    fn fault(&mut self, raw: Bytes, content_type: &str) -> Result<Event, TransportError> {
        match soap::parse(raw, content_type)? {
            Soap::Fault(_, raw) => {
                self.body = Body::Done;
                Ok(Event::Fault(raw))
            }
            Soap::Message(_) => Err(TransportError::NotAFault),
        }
    }

    fn plain_fault(&mut self) -> Result<Option<Event>, TransportError> {
        let Body::Plain { content, finished } = &mut self.body else { return Ok(None) };
        let limit = self.limits.message_bytes;
        if content.first.len() + content.joined.len() > limit {
            return Err(TransportError::TooLarge { part: Part::Fault.name(), limit });
        }
        if !*finished {
            return Ok(None);
        }
        let raw = std::mem::take(content).take();
        self.fault(raw, TEXT_XML).map(Some)
    }

    fn attachment_event(&mut self, event: multipart::Event) -> Result<Option<Event>, TransportError> {
        match event {
            multipart::Event::Head(head) => {
                self.attachments += 1;
                if self.attachments as usize > self.limits.attachments {
                    return Err(TransportError::TooMany {
                        part: "attachment",
                        limit: self.limits.attachments,
                    });
                }
                Ok(Some(Event::AttachmentHead { number: self.attachments, head }))
            }
            multipart::Event::Data(data) => Ok(Some(Event::AttachmentData(data))),
            multipart::Event::PartEnd { delimited: true } => Ok(Some(Event::AttachmentEnd)),
            multipart::Event::End { closed: true } => {
                self.current = match std::mem::replace(&mut self.current, Current::None) {
                    Current::Attachments { inner, state: Nested::Open } => {
                        Current::Attachments { inner, state: Nested::Closed }
                    }
                    _ => Current::None,
                };
                Ok(None)
            }
            multipart::Event::PartEnd { delimited: false } | multipart::Event::End { closed: false } => {
                Err(TransportError::Truncated)
            }
        }
    }

    /// The outer multipart ended, with its closing delimiter or without.
    fn end(&mut self, closed: bool) -> Result<Event, TransportError> {
        self.body = Body::Done;
        match self.due {
            Due::Nothing if closed => Ok(Event::End),
            Due::Nothing => Err(TransportError::Truncated),
            _ => Err(self.missing()),
        }
    }

    /// The input ended inside a part.
    fn cut_off(&self) -> TransportError {
        match (&self.current, self.due) {
            (Current::Collected { part: Part::Ocsp, .. }, _) | (Current::None, _) => self.missing(),
            _ => TransportError::Truncated,
        }
    }

    fn missing(&self) -> TransportError {
        match (self.due, self.protocol) {
            (Due::OcspOrMessage, Some(Protocol::Rest)) => {
                TransportError::MissingRest { direction: self.direction }
            }
            (Due::OcspOrMessage, _) => TransportError::MissingSoap,
            _ => TransportError::MissingSignature,
        }
    }
}

fn unexpected(content_type: &str, due: Due) -> TransportError {
    let due = match due {
        Due::OcspOrMessage => "an OCSP response or a message",
        Due::RestBody => "a REST body, a hash chain or a signature",
        Due::Attachments => "attachments, a hash chain or a signature",
        Due::ChainResult | Due::Chain => "a hash chain or a signature",
        Due::Signature => "a signature",
        Due::Nothing => "nothing",
    };
    TransportError::UnexpectedPart { found: shortened(media_type::base(content_type)), due }
}

/// Types go into errors, and errors into logs.
fn shortened(content_type: &str) -> String {
    content_type.chars().take(100).collect()
}
