//! How a message is handed to an information system: the envelope alone, or a `multipart/related` with its attachments.
//!
//! The type that the message had at its sender decides, with its boundary: what leaves is announced by that type, or is refused. Part
//! headers are written as the reference writes them, in the order in which they came; of repeated ones of the same spelling the last
//! counts.
use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::SoapError;
use super::parts::MULTIPART_RELATED;
use crate::media_type;
use crate::multipart::PartHead;

/// Longest boundary that is written, RFC 2046 §5.1.1 and some.
const MAX_BOUNDARY_BYTES: usize = 200;

/// Writes a `multipart/related`. The caller writes the bytes of each part after its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    content_type: String,
    boundary: String,
    /// The reference has a space after the colon where there are no attachments.
    colon: &'static str,
}

impl Related {
    /// For a message that had `original` as its type and has so many attachments; `None` when it goes as the envelope alone.
    /// `random` is the boundary where `original` has none.
    ///
    /// # Errors
    /// Attachments under a type that does not announce them, or a boundary that cannot be used.
    pub fn of(original: &str, attachments: usize, random: &str) -> Result<Option<Self>, SoapError> {
        if !media_type::is(original, MULTIPART_RELATED) {
            return if attachments == 0 { Ok(None) } else { Err(SoapError::ContentType) };
        }
        let boundary = media_type::parameter(original, "boundary").filter(|b| !b.is_empty());
        let (content_type, boundary) = match boundary {
            Some(boundary) => (original.to_owned(), boundary),
            None => (format!("{}; boundary={random}", media_type::base(original)), Cow::Borrowed(random)),
        };
        let usable = boundary.len() <= MAX_BOUNDARY_BYTES && !boundary.contains(char::is_control);
        if !usable || boundary.ends_with(' ') {
            return Err(SoapError::ContentType);
        }
        let colon = if attachments == 0 { ": " } else { ":" };
        Ok(Some(Self { content_type, boundary: boundary.into_owned(), colon }))
    }

    /// The `Content-Type` of the whole.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// What stands between the parts.
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// The delimiter and the headers of a part; of the envelope when `first`.
    pub fn head(&self, first: bool, head: &PartHead) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        out.put_slice(if first { b"--" } else { b"\r\n--" });
        put_latin1(&mut out, &self.boundary);
        out.put_slice(b"\r\n");
        put_header(&mut out, "content-type", self.colon, head.content_type_or_binary());
        for (at, (name, value)) in head.headers.iter().enumerate() {
            let again = head.headers[at + 1..].iter().any(|(later, _)| later == name);
            if !again && !name.eq_ignore_ascii_case("content-type") {
                put_header(&mut out, name, ": ", value);
            }
        }
        out.put_slice(b"\r\n");
        out.freeze()
    }

    /// The closing delimiter.
    pub fn end(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.boundary.len() + 8);
        out.put_slice(b"\r\n--");
        put_latin1(&mut out, &self.boundary);
        out.put_slice(b"--\r\n");
        out.freeze()
    }
}

/// A header that would not be read back as one line is left out: part headers are not signed, and one must not break the message.
fn put_header(out: &mut BytesMut, name: &str, colon: &str, value: &str) {
    let clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\t');
    if clean(name) && clean(value) {
        put_latin1(out, name);
        out.put_slice(colon.as_bytes());
        put_latin1(out, value);
        out.put_slice(b"\r\n");
    }
}

/// Headers are ISO-8859-1, boundaries too.
fn put_latin1(out: &mut BytesMut, text: &str) {
    out.extend(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)]) -> PartHead {
        PartHead { headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect() }
    }

    #[test]
    fn the_original_type_decides_what_is_written() {
        let of = |original, attachments| {
            Related::of(original, attachments, "R").map(|r| r.map(|r| (r.content_type, r.boundary)))
        };
        let some =
            |content_type: &str, boundary: &str| Ok(Some((content_type.to_owned(), boundary.to_owned())));
        let related = "Multipart/Related; type=\"text/xml\"; Boundary=\"a b\"";
        assert_eq!(of("text/xml; boundary=B", 0), Ok(None));
        assert_eq!(of("", 0), Ok(None));
        assert_eq!(of(related, 0), some(related, "a b"));
        assert_eq!(of(related, 3), some(related, "a b"));
        assert_eq!(of("multipart/related; x=y", 1), some("multipart/related; boundary=R", "R"));
        for refused in ["text/xml", "multipart/mixed; boundary=B", "multipart/related; boundary=\"a\tb\""] {
            assert_eq!(of(refused, 1), Err(SoapError::ContentType), "{refused}");
        }
    }

    #[test]
    fn parts_are_written_as_the_reference_writes_them() {
        let related = Related::of("multipart/related; boundary=B", 1, "R").expect("usable").expect("parts");
        let envelope = head(&[("Content-ID", "<r>"), ("Content-Type", "text/xml; charset=UTF-8")]);
        let attachment = head(&[
            ("X-A", "1"),
            ("Content-type", "a/b;\tc=d"),
            ("X-A", "\u{e4}"),
            ("x-a", "3"),
            ("X-B", "\r\n"),
        ]);
        let written = [
            related.head(true, &envelope),
            Bytes::from("<soap/>"),
            related.head(false, &attachment),
            related.end(),
        ]
        .concat();
        let expected =
            b"--B\r\ncontent-type:text/xml; charset=UTF-8\r\nContent-ID: <r>\r\n\r\n<soap/>\r\n--B\r\n\
                         content-type:a/b;\tc=d\r\nX-A: \xe4\r\nx-a: 3\r\n\r\n\r\n--B--\r\n";
        assert_eq!(written, expected, "{}", String::from_utf8_lossy(&written));
        let alone = Related::of("multipart/related; boundary=B", 0, "R").expect("usable").expect("parts");
        assert_eq!(alone.head(true, &head(&[])), "--B\r\ncontent-type: application/octet-stream\r\n\r\n");
    }
}
