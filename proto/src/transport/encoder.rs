//! Writes one transport message, byte for byte as the reference lays it out.
use bytes::{BufMut, BytesMut};

use super::{
    HASH_CHAIN, HASH_CHAIN_RESULT, MessageKind, OCSP_RESPONSE, REST_BODY, REST_REQUEST, REST_RESPONSE,
    SIGNATURE,
};
use crate::multipart::PartHead;

/// Longest part header line that is written; peers read no longer one.
const MAX_HEADER_LINE_BYTES: usize = 990;

/// Writes one transport message into a buffer that the caller drains.
///
/// Parts go out in the order of the calls; the order of the protocol is the caller's to keep.
#[derive(Debug)]
pub struct Encoder {
    suffix: String,
    begun: bool,
    nested: bool,
}

impl Encoder {
    /// `suffix` makes the boundaries (`xtop…`, `xatt…`): 30 ASCII letters, random.
    pub fn new(suffix: &str) -> Self {
        Self { suffix: suffix.to_owned(), begun: false, nested: false }
    }

    /// The `Content-Type` of the whole body.
    pub fn content_type(&self) -> String {
        format!("multipart/mixed; charset=UTF-8; boundary=xtop{}", self.suffix)
    }

    /// One OCSP response.
    pub fn ocsp(&mut self, out: &mut BytesMut, der: &[u8]) {
        self.whole(out, OCSP_RESPONSE, der);
    }

    /// The SOAP part: its content type, its other headers, its bytes.
    pub fn soap(&mut self, out: &mut BytesMut, content_type: &str, headers: &[(String, String)], raw: &[u8]) {
        self.delimiter(out);
        write_head(out, content_type, headers);
        out.put_slice(raw);
    }

    /// The REST header part.
    pub fn rest(&mut self, out: &mut BytesMut, kind: MessageKind, raw: &[u8]) {
        let content_type = match kind {
            MessageKind::RestRequest => REST_REQUEST,
            MessageKind::RestResponse => REST_RESPONSE,
            MessageKind::Soap => super::TEXT_XML,
        };
        self.whole(out, content_type, raw);
    }

    /// Opens the REST body part; its bytes are written by the caller straight after.
    pub fn rest_body_head(&mut self, out: &mut BytesMut) {
        self.whole(out, REST_BODY, b"");
    }

    /// Opens one SOAP attachment (and the nested multipart before the first); its bytes follow.
    pub fn attachment_head(&mut self, out: &mut BytesMut, head: &PartHead) {
        if !self.nested {
            let content_type = format!("multipart/mixed; charset=UTF-8; boundary=xatt{}", self.suffix);
            self.whole(out, &content_type, b"");
            self.nested = true;
        }
        put(out, &["\r\n--xatt", &self.suffix, "\r\n"]);
        write_head(out, head.content_type_or_binary(), &head.headers);
    }

    /// Chain result and chain.
    pub fn hash_chain(&mut self, out: &mut BytesMut, result: &[u8], chain: &[u8]) {
        self.whole(out, HASH_CHAIN_RESULT, result);
        self.whole(out, HASH_CHAIN, chain);
    }

    /// Opens the part of the signature; its bytes are written by the caller straight after, and then [`Encoder::end`].
    pub fn signature_head(&mut self, out: &mut BytesMut) {
        self.whole(out, SIGNATURE, b"");
    }

    /// The closing delimiter.
    pub fn end(&mut self, out: &mut BytesMut) {
        put(out, &["\r\n--xtop", &self.suffix, "--\r\n"]);
    }

    /// The signature, then the closing delimiter.
    pub fn signature(&mut self, out: &mut BytesMut, xml: &[u8]) {
        self.whole(out, SIGNATURE, xml);
        self.end(out);
    }

    /// A fault in place of what was due, then the closing delimiter.
    pub fn fault(&mut self, out: &mut BytesMut, soap_fault: &[u8]) {
        self.whole(out, "text/xml; charset=UTF-8", soap_fault);
        self.end(out);
    }

    fn whole(&mut self, out: &mut BytesMut, content_type: &str, content: &[u8]) {
        self.delimiter(out);
        write_head(out, content_type, &[]);
        out.put_slice(content);
    }

    /// Opens a part of the outer multipart; the first delimiter stands at byte 0.
    fn delimiter(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.nested) {
            put(out, &["\r\n--xatt", &self.suffix, "--\r\n"]);
        }
        let line_end = if std::mem::replace(&mut self.begun, true) { "\r\n" } else { "" };
        put(out, &[line_end, "--xtop", &self.suffix, "\r\n"]);
    }
}

/// The content type, the other headers, and the empty line. A header that could not be read back as it is, because of a control
/// character or its length, is left out: part headers are not signed, and one must not break the message.
fn write_head(out: &mut BytesMut, content_type: &str, headers: &[(String, String)]) {
    put_header(out, "content-type", content_type);
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
        put_header(out, name, value);
    }
    out.put_slice(b"\r\n");
}

fn put_header(out: &mut BytesMut, name: &str, value: &str) {
    let clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\t');
    if clean(name) && clean(value) && name.len() + value.len() <= MAX_HEADER_LINE_BYTES {
        put_latin1(out, name);
        out.put_slice(b": ");
        put_latin1(out, value);
        out.put_slice(b"\r\n");
    }
}

/// Part headers are ISO-8859-1.
fn put_latin1(out: &mut BytesMut, text: &str) {
    if text.is_ascii() {
        out.put_slice(text.as_bytes());
    } else {
        out.extend(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')));
    }
}

fn put(out: &mut BytesMut, pieces: &[&str]) {
    pieces.iter().for_each(|piece| out.put_slice(piece.as_bytes()));
}
