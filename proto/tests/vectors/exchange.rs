//! Reads a whole transport message, and writes it again part by part.
use bytes::{Bytes, BytesMut};
use proto::multipart::PartHead;
use proto::transport::{Decoder, Direction, Encoder, Event, Limits, MessageKind, Protocol, TransportError};

/// A transport message, whole.
#[derive(Debug, Default)]
pub(crate) struct Transport {
    pub(crate) ocsp: Vec<Bytes>,
    pub(crate) message: Option<(MessageKind, PartHead, Bytes)>,
    pub(crate) attachments: Vec<(PartHead, Vec<u8>)>,
    pub(crate) chain: (Option<Bytes>, Option<Bytes>),
    pub(crate) signature: Option<Bytes>,
    pub(crate) fault: Option<Bytes>,
    pub(crate) ended: bool,
}

/// Decodes `body`, given in chunks of `size`.
pub(crate) fn decode(
    content_type: &str,
    direction: Direction,
    protocol: Option<Protocol>,
    body: &[u8],
    size: usize,
) -> Result<Transport, TransportError> {
    let body = Bytes::copy_from_slice(body);
    let mut decoder = Decoder::new(content_type, direction, Limits::default())?;
    if let Some(protocol) = protocol {
        decoder = decoder.expect(protocol);
    }
    let mut found = Transport::default();
    let mut at = 0;
    let mut finished = false;
    loop {
        let Some(event) = decoder.poll()? else {
            if finished {
                return Ok(found);
            }
            let end = body.len().min(at + size);
            if at == end {
                decoder.finish();
                finished = true;
            } else {
                decoder.feed(body.slice(at..end));
                at = end;
            }
            continue;
        };
        match event {
            Event::Ocsp(der) => found.ocsp.push(der),
            Event::Message { kind, head, raw } => found.message = Some((kind, head, raw)),
            Event::AttachmentHead { number, head } => {
                assert_eq!(number as usize, found.attachments.len() + 1);
                found.attachments.push((head, Vec::new()));
            }
            Event::AttachmentData(data) => {
                found.attachments.last_mut().expect("a head came first").1.extend_from_slice(&data);
            }
            Event::AttachmentEnd => {}
            Event::HashChainResult(xml) => found.chain.0 = Some(xml),
            Event::HashChain(xml) => found.chain.1 = Some(xml),
            Event::Signature(xml) => found.signature = Some(xml),
            Event::Fault(xml) => found.fault = Some(xml),
            Event::End => found.ended = true,
        }
    }
}

/// Writes what was read, with the boundary that it had.
pub(crate) fn encode(content_type: &str, message: &Transport) -> Option<BytesMut> {
    let mut encoder = Encoder::new(content_type.split_once("boundary=xtop")?.1);
    assert_eq!(encoder.content_type(), content_type);
    let mut out = BytesMut::new();
    message.ocsp.iter().for_each(|der| encoder.ocsp(&mut out, der));
    if let Some((kind, head, raw)) = &message.message {
        match kind {
            MessageKind::Soap => encoder.soap(&mut out, head.content_type(), &head.headers, raw),
            MessageKind::RestRequest | MessageKind::RestResponse => encoder.rest(&mut out, *kind, raw),
        }
        for (attachment, content) in &message.attachments {
            match kind {
                MessageKind::Soap => encoder.attachment_head(&mut out, attachment),
                MessageKind::RestRequest | MessageKind::RestResponse => encoder.rest_body_head(&mut out),
            }
            out.extend_from_slice(content);
        }
    }
    if let (Some(result), Some(chain)) = &message.chain {
        encoder.hash_chain(&mut out, result, chain);
    }
    match (&message.signature, &message.fault) {
        (Some(xml), _) => encoder.signature(&mut out, xml),
        (None, Some(fault)) => encoder.fault(&mut out, fault),
        (None, None) => {}
    }
    Some(out)
}
