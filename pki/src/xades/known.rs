//! Reading a signature document beside one of the same certificate that was read before.
//!
//! For hours all documents of a member carry the same certificate and OCSP answers. Where they stand as [`Template`] writes them,
//! which is how they are written in the field, two of them differ in a few texts: which of two names is referred to, its digest, that of
//! the properties, the value and the time. [`Known`] holds everything else. A document that has the same bytes there, and in those places
//! nothing but such a text, is as XML what the known one is with the texts replaced: so it is read without the gate and the tree, which
//! takes a tenth of the time. Whatever stands otherwise is for [`Document::parse`].
//!
//! Nothing is verified here that [`Document::parse`] does not verify, and nothing less: a test holds both readings against each other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::time::UnixTime;

use super::write::{
    BEFORE_TIME, PROPERTIES_END, PROPERTIES_ID, PROPERTIES_TAG, Pieces, SIGNED_INFO_END, SIGNED_INFO_TAG,
    Template, VALUE_TAG, before_digest, mime_of,
};
use super::{Document, MAX_BYTES};
use crate::digest::{DigestAlgorithm, DigestValue};
use crate::hash_chain::{MESSAGE_URI, SIGNATURE_RESULT_URI};

/// A document that was read and stands as we write them.
#[derive(Debug)]
pub struct Known {
    template: Template,
    document: Document,
}

impl Known {
    /// Of `document`, which was read from `xml`; `None` when it stands otherwise.
    pub fn of(xml: &[u8], document: &Document) -> Option<Self> {
        let Document { signing, extra, ocsp, algorithm, .. } = document;
        let known =
            Self { template: Template::new(signing, extra, ocsp, *algorithm), document: document.clone() };
        known.read(xml).is_some_and(|read| read.is(document)).then_some(known)
    }

    /// What [`Document::parse`] makes of `xml`; `None` when it is not one of the same certificate and OCSP answers, or stands otherwise.
    pub fn read(&self, xml: &[u8]) -> Option<Document> {
        if xml.len() > MAX_BYTES {
            return None;
        }
        let pieces: &Pieces = &self.template.0;
        let mut rest = Rest(xml);
        rest.pass(&pieces.head)?;
        rest.pass(SIGNED_INFO_TAG)?;
        let info = rest.0;
        rest.pass(">")?;
        rest.pass(&pieces.before_uri)?;
        let uri = rest.text(b'"')?;
        let uri = [MESSAGE_URI, SIGNATURE_RESULT_URI].into_iter().find(|known| known.as_bytes() == uri)?;
        rest.pass("\">")?;
        rest.pass(&before_digest(DigestAlgorithm::Sha512))?;
        let digest = rest.text(b'<')?;
        rest.pass(&pieces.before_properties)?;
        let properties_digest = rest.text(b'<')?;
        rest.pass(SIGNED_INFO_END)?;
        let info = &info[..info.len() - rest.0.len()];
        rest.pass(VALUE_TAG)?;
        let value = rest.text(b'<')?;
        rest.pass(&pieces.certificate)?;
        rest.pass(PROPERTIES_TAG)?;
        let properties = rest.0;
        rest.pass(PROPERTIES_ID)?;
        rest.pass(BEFORE_TIME)?;
        let time = read_time(rest.text(b'<')?)?;
        rest.pass(&pieces.before_mime)?;
        rest.pass(mime_of(uri))?;
        rest.pass(PROPERTIES_END)?;
        let properties = &properties[..properties.len() - rest.0.len()];
        rest.pass(&pieces.tail)?;
        if !rest.0.is_empty() {
            return None;
        }

        let mut digested = DigestAlgorithm::Sha512.hasher();
        for piece in [PROPERTIES_TAG.as_bytes(), pieces.namespaces.as_bytes(), properties] {
            digested.update(piece);
        }
        Some(Document {
            signed_info: [SIGNED_INFO_TAG.as_bytes(), pieces.namespaces.as_bytes(), info].concat(),
            value: base64(value)?,
            references: vec![(uri.to_owned(), sha512(digest)?)],
            signing_time: Some(time),
            properties_match: digested.finish() == sha512(properties_digest)?,
            ..self.document.clone()
        })
    }
}

impl Document {
    /// What differs between documents with one certificate is the same.
    fn is(&self, other: &Self) -> bool {
        self.signed_info == other.signed_info
            && self.value == other.value
            && self.references == other.references
            && self.signing_time == other.signing_time
            && self.properties_match == other.properties_match
            && self.timestamp.is_none()
    }
}

/// What of a document was not looked at yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Over `piece`, which must come next.
    fn pass(&mut self, piece: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(piece.as_bytes())?;
        Some(())
    }
    /// The text up to `end`, which is not passed. Its callers take base64, a name or a time of it and nothing else, so that it means
    /// itself.
    fn text(&mut self, end: u8) -> Option<&'a [u8]> {
        let (text, rest) = self.0.split_at(self.0.iter().position(|byte| *byte == end)?);
        self.0 = rest;
        Some(text)
    }
}

/// Without white space, and not empty.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

fn sha512(text: &[u8]) -> Option<DigestValue> {
    Some(DigestValue { algorithm: DigestAlgorithm::Sha512, value: base64(text)? })
}

fn read_time(text: &[u8]) -> Option<UnixTime> {
    let means_itself = |byte: &u8| byte.is_ascii_digit() || b"-:.+TZ".contains(byte);
    let text = text.iter().all(means_itself).then(|| std::str::from_utf8(text).ok()).flatten()?;
    UnixTime::from_iso8601(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MESSAGE, signers};
    use super::*;
    use crate::algorithm::SignatureAlgorithm;
    use crate::cert::Certificate;

    /// Two documents of one template for each signer, with and without certificates beside the signing one.
    fn pairs() -> Vec<[Vec<u8>; 2]> {
        let of = |(signer, algorithm): (&'static super::super::tests::Signer, SignatureAlgorithm),
                  extra: &[Certificate]| {
            let template =
                Template::new(&signer.cert, extra, &[b"first".to_vec(), b"second".to_vec()], algorithm);
            [(MESSAGE_URI, MESSAGE), (SIGNATURE_RESULT_URI, b"another".as_slice())]
                .map(|(uri, data)| signer.sign(&template, algorithm, uri, data))
        };
        let extra = [signers()[3].0.cert.clone()];
        signers().into_iter().flat_map(|signer| [of(signer, &[]), of(signer, &extra)]).collect()
    }

    fn slowly(xml: &[u8]) -> Option<String> {
        Document::parse(xml).ok().map(|read| format!("{read:?}"))
    }

    fn known(xml: &[u8]) -> Known {
        Known::of(xml, &Document::parse(xml).expect("it is ours")).expect("it stands as we write")
    }

    #[test]
    fn the_next_document_of_a_certificate_is_read_as_it_stands() {
        let pairs = pairs();
        for [first, second] in &pairs {
            for (one, other) in [(first, second), (second, first), (first, first)] {
                let read = known(one).read(other).expect("the same certificate");
                assert_eq!(Some(format!("{read:?}")), slowly(other));
                assert_eq!(read.verify(), Ok(()));
            }
        }
        // Another certificate, other certificates beside it, another algorithm of the same key.
        for (number, [first, _]) in pairs.iter().enumerate() {
            for (other_number, [_, other]) in pairs.iter().enumerate() {
                assert_eq!(known(first).read(other).is_some(), number == other_number);
            }
        }
    }

    /// Whatever is changed, this reading is the slow one or none.
    #[test]
    fn no_change_is_read_otherwise_than_as_xml() {
        let [first, second] = &pairs()[5];
        let known = known(first);
        let mut taken = 0;
        for at in 0..second.len() {
            for byte in [b'0', b'=', b' ', b'\n', b'"', b'&', b'<', 0xff] {
                let mut changed = second.clone();
                changed[at] = byte;
                if let Some(read) = known.read(&changed) {
                    taken += 1;
                    let slow = slowly(&changed);
                    assert_eq!(Some(format!("{read:?}")), slow, "{}", String::from_utf8_lossy(&changed));
                }
            }
            let mut cut = second.clone();
            cut.remove(at);
            if let Some(read) = known.read(&cut) {
                assert_eq!(Some(format!("{read:?}")), slowly(&cut), "{}", String::from_utf8_lossy(&cut));
            }
        }
        assert!(taken > 0, "a digit of the value can be another");
        for longer in [[second.as_slice(), b" "].concat(), [b" ", second.as_slice()].concat()] {
            assert!(known.read(&longer).is_none());
        }
    }

    #[test]
    fn a_document_with_a_timestamp_is_not_known() {
        let [first, _] = &pairs()[0];
        let stamped = super::super::with_timestamp(first, b"token").expect("there is a place");
        let read = Document::parse(&stamped).expect("it reads");
        assert!(Known::of(&stamped, &read).is_none());
        assert!(known(first).read(&stamped).is_none());
    }
}
