//! A SOAP message with attachments as an information system sends it: `multipart/related` in, envelope and attachments out
//! [PR-MESS §2.7].
//!
//! The first part is the envelope, whatever `start` says, and must say that it is SOAP; it is given whole. Every further part is an
//! attachment and must say its type; nested multiparts are opened, so that their parts are attachments of their own. Bytes are never
//! changed and transfer encodings never decoded: `multipart/related` carries MTOM and SwA alike. The way back is in [`super::related`].
use bytes::{Bytes, BytesMut};

use super::{SoapError, check_content_type};
use crate::fault::{FaultCode, Side};
use crate::media_type;
use crate::multipart::{self, Leaves, MultipartError, PartHead};
use crate::rest::Place;

/// The type of a body with attachments.
pub const MULTIPART_RELATED: &str = "multipart/related";

/// Bounds on one message.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the multipart reader, at every level.
    pub parts: multipart::Limits,
    /// Largest envelope.
    pub message_bytes: usize,
    /// Most attachments.
    pub attachments: usize,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The whole first part.
    Envelope {
        /// Its headers.
        head: PartHead,
        /// Its bytes: what is hashed and signed as `/message.xml`.
        raw: Bytes,
    },
    /// An attachment begins.
    AttachmentHead(PartHead),
    /// Bytes of the attachment; never empty.
    AttachmentData(Bytes),
    /// The attachment is complete.
    AttachmentEnd,
    /// The closing delimiter, or the end of the input.
    End {
        /// The closing delimiter was there.
        closed: bool,
    },
}

/// Why a body is no message with attachments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The MIME layer.
    #[error("the multipart cannot be read: {0}")]
    Mime(#[from] MultipartError),
    /// The envelope's part says another type, or an attachment says none.
    #[error("a part of the message has no fitting content type")]
    ContentType,
    /// Not one part.
    #[error("the multipart has no SOAP part")]
    MissingSoap,
    /// The envelope is over its bound.
    #[error("the SOAP message is larger than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// More attachments than are taken.
    #[error("the message has more than {limit} attachments")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

impl PartsError {
    /// What the other side is told, without the prefixes of [`PartsError::fault`].
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Mime(MultipartError::Boundary) | Self::ContentType => FaultCode::InvalidContentType,
            Self::Mime(
                MultipartError::HeaderLine { .. }
                | MultipartError::HeaderBytes { .. }
                | MultipartError::Outside { .. }
                | MultipartError::Parts { .. },
            ) => FaultCode::MimeParsingFailed,
            Self::MissingSoap => FaultCode::MissingSoap,
            Self::TooLarge { .. } => FaultCode::InvalidSoap,
            Self::TooMany { .. } => FaultCode::InvalidMessage,
        }
    }

    /// Side and path of the fault at each edge; bad input of an information system that asks is its own.
    pub fn fault(&self, place: Place) -> (Side, Vec<FaultCode>) {
        let code = self.fault_code();
        match place {
            Place::ConsumerEdge => (Side::Client, vec![code]),
            Place::ConsumerPort => (Side::ClientProxy, vec![FaultCode::ServiceFailed, code]),
            Place::ProviderPort | Place::ProviderEdge => {
                (Side::ServerProxy, vec![FaultCode::ServiceFailed, code])
            }
        }
    }
}

/// Reads one message. Feed, poll until `None`, feed again, finish.
#[derive(Debug)]
pub struct Decoder {
    leaves: Leaves,
    limits: Limits,
    part: Part,
    attachments: usize,
}

/// The part being read.
#[derive(Debug)]
enum Part {
    /// Before the first.
    None,
    Envelope {
        head: PartHead,
        content: BytesMut,
    },
    Attachment,
}

impl Decoder {
    /// For a body with this `Content-Type`, which must be a `multipart/related`.
    ///
    /// # Errors
    /// No usable boundary; an empty one never finds a part.
    pub fn new(content_type: &str, limits: Limits) -> Result<Self, PartsError> {
        if media_type::parameter(content_type, "boundary").is_some_and(|boundary| boundary.is_empty()) {
            return Err(PartsError::MissingSoap);
        }
        let leaves = Leaves::new(content_type, limits.parts)?;
        Ok(Self { leaves, limits, part: Part::None, attachments: 0 })
    }

    /// More of the body.
    pub fn feed(&mut self, chunk: Bytes) {
        self.leaves.feed(chunk);
    }

    /// The body ended.
    pub fn finish(&mut self) {
        self.leaves.finish();
    }

    /// The next event; `None` when more input is needed, or after the last event.
    ///
    /// # Errors
    /// The first broken rule; the decoder is of no use afterwards.
    pub fn poll(&mut self) -> Result<Option<Event>, PartsError> {
        while let Some(event) = self.leaves.poll()? {
            match event {
                multipart::Event::Head(head) => match self.part {
                    Part::None => {
                        let content_type = head.get("content-type").ok_or(PartsError::ContentType)?;
                        check_content_type(content_type).map_err(|_: SoapError| PartsError::ContentType)?;
                        self.part = Part::Envelope { head, content: BytesMut::new() };
                    }
                    Part::Envelope { .. } | Part::Attachment => return self.attachment(head).map(Some),
                },
                multipart::Event::Data(data) => match &mut self.part {
                    Part::Envelope { content, .. } => {
                        if content.len() + data.len() > self.limits.message_bytes {
                            return Err(PartsError::TooLarge { limit: self.limits.message_bytes });
                        }
                        content.extend_from_slice(&data);
                    }
                    Part::None | Part::Attachment => return Ok(Some(Event::AttachmentData(data))),
                },
                multipart::Event::PartEnd { .. } => {
                    return Ok(Some(match std::mem::replace(&mut self.part, Part::Attachment) {
                        Part::Envelope { head, content } => Event::Envelope { head, raw: content.freeze() },
                        Part::None | Part::Attachment => Event::AttachmentEnd,
                    }));
                }
                multipart::Event::End { closed } => {
                    return match self.part {
                        Part::None => Err(PartsError::MissingSoap),
                        Part::Envelope { .. } | Part::Attachment => Ok(Some(Event::End { closed })),
                    };
                }
            }
        }
        Ok(None)
    }

    fn attachment(&mut self, head: PartHead) -> Result<Event, PartsError> {
        self.attachments += 1;
        if self.attachments > self.limits.attachments {
            return Err(PartsError::TooMany { limit: self.limits.attachments });
        }
        match head.get("content-type") {
            Some(_) => Ok(Event::AttachmentHead(head)),
            None => Err(PartsError::ContentType),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        parts: multipart::Limits { parts: 10, header_line_bytes: 100, header_bytes: 200, outside_bytes: 100 },
        message_bytes: 10,
        attachments: 2,
    };

    fn read(input: &str) -> Result<Vec<Event>, PartsError> {
        let mut decoder = Decoder::new("multipart/related; boundary=B", LIMITS)?;
        decoder.feed(Bytes::copy_from_slice(input.as_bytes()));
        decoder.finish();
        let mut events = Vec::new();
        while let Some(event) = decoder.poll()? {
            events.push(event);
        }
        Ok(events)
    }

    #[test]
    fn the_first_part_is_the_envelope_and_the_others_are_attachments() {
        let head = |content_type: &str| PartHead {
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
        };
        let xop = "application/xop+xml; type=\"text/xml\"";
        let input = format!(
            "--B\r\nContent-Type: {xop}\r\n\r\n<soap/>\r\n--B\r\nContent-Type: a/b\r\n\r\n\r\n--B\r\nContent-Type: text/xml\r\n\r\nx"
        );
        let expected = vec![
            Event::Envelope { head: head(xop), raw: "<soap/>".into() },
            Event::AttachmentHead(head("a/b")),
            Event::AttachmentEnd,
            Event::AttachmentHead(head("text/xml")),
            Event::AttachmentData("x".into()),
            Event::AttachmentEnd,
            Event::End { closed: false },
        ];
        assert_eq!(read(&input), Ok(expected));
    }

    #[test]
    fn each_broken_rule_has_its_code() {
        use FaultCode::*;
        let soap = "--B\r\nContent-Type: text/xml\r\n\r\n<soap/>\r\n";
        let attachment = "--B\r\nContent-Type: a/b\r\n\r\nx\r\n";
        let cases = [
            (String::new(), MissingSoap),
            ("<soap/>".to_owned(), MissingSoap),
            ("--b\r\n\r\nx\r\n--b--".to_owned(), MissingSoap),
            (format!("{attachment}{soap}--B--"), InvalidContentType),
            ("--B\r\n\r\n<soap/>\r\n--B--".to_owned(), InvalidContentType),
            (format!("{soap}--B\r\n\r\nx\r\n--B--"), InvalidContentType),
            (format!("{soap}{attachment}{attachment}{attachment}--B--"), InvalidMessage),
            ("--B\r\nContent-Type: text/xml\r\n\r\n12345678901\r\n--B--".to_owned(), InvalidSoap),
            (format!("--B\r\nContent-Type: text/xml\r\nx: {}\r\n\r\n", "x".repeat(100)), MimeParsingFailed),
            ("x".repeat(101), MimeParsingFailed),
        ];
        for (input, code) in cases {
            let error = read(&input).expect_err(&input);
            assert_eq!(error.fault_code(), code, "{input}");
            assert_eq!(error.fault(Place::ConsumerEdge), (Side::Client, vec![code]));
        }
        let of_type = |content_type| Decoder::new(content_type, LIMITS).expect_err(content_type).fault_code();
        assert_eq!(of_type("multipart/related"), InvalidContentType);
        assert_eq!(of_type("multipart/related; boundary=\"\""), MissingSoap);
    }
}
