//! Writing containers: entries, order, comment and times as the stock servers have them.
//!
//! Neighbours share most of what is in them: the messages of one batch a signature document, thousands of records a timestamp. So a
//! [`Writer`] remembers the last documents with what they were deflated to, and takes that when the same document comes again.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use proto::time::UnixTime;

use super::deflate::Deflater;
use super::{
    ASIC_MANIFEST, ATTACHMENT, MANIFEST, MEDIA_TYPE, MESSAGE, MIMETYPE, SIGNATURE, SIGNATURE_CHAIN,
    SIGNATURE_CHAIN_RESULT, TIMESTAMP, TIMESTAMP_CHAIN, TIMESTAMP_CHAIN_RESULT,
};
use crate::digest::DigestAlgorithm;
use crate::pack::{self, Head, Method, Pack};

/// Of deflating what is not small: what is long in it is mostly Base64, and the highest level makes it one per cent smaller.
const LEVEL: u32 = 2;
/// Documents that are remembered: of two batches on their way, and some before.
const KEPT: usize = 24;
/// Larger documents are not remembered.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// One message as it lies in the log, ready to become a container. All bytes exact.
pub struct Content<'a> {
    /// `message.xml`: SOAP or REST header part.
    pub message: &'a [u8],
    /// Signature document (with the token inside when it was stamped singly).
    pub signature: &'a [u8],
    /// `sig-hashchainresult.xml`, `sig-hashchain.xml`.
    pub signature_chain: Option<(&'a [u8], &'a [u8])>,
    /// `ts-hashchainresult.xml`, `ts-hashchain.xml` and the token of a batch timestamp.
    pub batch_timestamp: Option<(&'a [u8], &'a [u8], &'a [u8])>,
    /// `attachment1` …, each below 4 GiB. `None` for one that is proven by its digest only.
    pub attachments: Vec<Option<Attachment<'a>>>,
    /// Modification time of the entries.
    pub time: UnixTime,
}

/// An attachment.
pub enum Attachment<'a> {
    /// It is in memory.
    Bytes(&'a [u8]),
    /// A reader, so that a large one streams.
    Reader(Box<dyn Read + Send + 'a>),
}

/// Writes one container.
///
/// # Errors
/// What `out` or an attachment reader says.
pub fn write<W: Write + Seek>(content: Content<'_>, out: W) -> io::Result<()> {
    Writer::default().write(content, out)
}

/// Writes containers, one after the other.
#[derive(Default)]
pub struct Writer {
    deflater: Deflater,
    /// The one used last stands first.
    kept: VecDeque<Ready>,
    /// The last chain result with its manifest.
    asic_manifest: Option<(Vec<u8>, String)>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

/// Whose a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// Of one container.
    None,
    /// Of those of a batch of messages.
    Few,
    /// Of thousands: to deflate it as far as it goes costs nothing.
    Many,
}

/// A document, and what it is deflated to.
struct Ready {
    document: Vec<u8>,
    crc: u32,
    deflated: Vec<u8>,
}

impl Writer {
    /// Writes one container.
    ///
    /// # Errors
    /// What `out` or an attachment reader says.
    pub fn write<W: Write + Seek>(&mut self, content: Content<'_>, out: W) -> io::Result<()> {
        let mut pack = Pack::new(out);
        let manifest = manifest(&content);
        let asic_manifest = content.batch_timestamp.map(|(result, ..)| self.asic_manifest(result));
        use Share::{Few, Many, None as Own};
        let entries = [
            (MIMETYPE, Many, Some(MEDIA_TYPE.as_bytes())),
            (MESSAGE, Own, Some(content.message)),
            (SIGNATURE, Few, Some(content.signature)),
            (SIGNATURE_CHAIN_RESULT, Few, content.signature_chain.map(|(result, _)| result)),
            (SIGNATURE_CHAIN, Own, content.signature_chain.map(|(_, chain)| chain)),
            (TIMESTAMP_CHAIN_RESULT, Many, content.batch_timestamp.map(|(result, ..)| result)),
            (TIMESTAMP_CHAIN, Own, content.batch_timestamp.map(|(_, chain, _)| chain)),
            (MANIFEST, Many, Some(manifest.as_bytes())),
            (ASIC_MANIFEST, Many, asic_manifest.as_deref().map(str::as_bytes)),
            (TIMESTAMP, Many, content.batch_timestamp.map(|(.., token)| token)),
        ];
        for (name, share, document) in entries {
            let Some(document) = document else { continue };
            self.put_shared(&mut pack, &head(name, content.time), document, share)?;
        }
        for (number, attachment) in (1..).zip(content.attachments) {
            let name = format!("{ATTACHMENT}{number}");
            let head = head(&name, content.time);
            match attachment {
                Some(Attachment::Bytes(bytes)) => self.put(&mut pack, &head, bytes)?,
                Some(Attachment::Reader(mut reader)) => pack.stream(&head, &mut *reader, LEVEL)?,
                None => {}
            }
        }
        pack.finish(&format!("mimetype={MEDIA_TYPE}"))?.flush()
    }

    fn put<W: Write + Seek>(
        &mut self,
        pack: &mut Pack<W>,
        head: &Head<'_>,
        mut document: &[u8],
    ) -> io::Result<()> {
        let Some(deflated) = self.deflater.deflate(document) else {
            return pack.stream(head, &mut document, LEVEL);
        };
        let (length, packed) = (document.len() as u64, deflated.len() as u64);
        pack.put(&Head { crc: pack::crc(document), length, packed, ..*head }, &deflated)
    }

    /// The same for a document that may have come before.
    fn put_shared<W: Write + Seek>(
        &mut self,
        pack: &mut Pack<W>,
        head: &Head<'_>,
        document: &[u8],
        share: Share,
    ) -> io::Result<()> {
        if share == Share::None || document.len() > MAX_KEPT_BYTES {
            return self.put(pack, head, document);
        }
        let ready = match self.kept.iter().position(|ready| ready.document == document) {
            Some(at) => self.kept.remove(at),
            None => None,
        };
        let ready = ready.map_or_else(|| self.ready(document, share), Ok)?;
        let (length, packed) = (document.len() as u64, ready.deflated.len() as u64);
        let written = pack.put(&Head { crc: ready.crc, length, packed, ..*head }, &ready.deflated);
        self.kept.push_front(ready);
        self.kept.truncate(KEPT);
        written
    }

    fn ready(&mut self, document: &[u8], share: Share) -> io::Result<Ready> {
        let quick = if share == Share::Few { self.deflater.deflate(document) } else { None };
        let deflated = match quick {
            Some(deflated) => deflated,
            None => {
                let mut thorough = DeflateEncoder::new(Vec::new(), Compression::default());
                thorough.write_all(document)?;
                thorough.finish()?
            }
        };
        Ok(Ready { document: document.to_vec(), crc: pack::crc(document), deflated })
    }

    fn asic_manifest(&mut self, chain_result: &[u8]) -> String {
        if let Some((_, text)) = self.asic_manifest.as_ref().filter(|(of, _)| of == chain_result) {
            return text.clone();
        }
        let text = asic_manifest(chain_result);
        self.asic_manifest = Some((chain_result.to_vec(), text.clone()));
        text
    }
}

/// Deflated, also `mimetype`; the time in both forms, the old one as UTC.
fn head(name: &str, time: UnixTime) -> Head<'_> {
    Head { name, time, extended_time: true, method: Method::Deflated, crc: 0, length: 0, packed: 0 }
}

/// OpenDocument manifest of everything outside META-INF but `mimetype`.
fn manifest(content: &Content<'_>) -> String {
    let mut entries = vec![("/".to_owned(), MEDIA_TYPE), (MESSAGE.to_owned(), "text/xml")];
    let mut pair = |present: bool, names: [&str; 2]| {
        if present {
            entries.extend(names.map(|name| (name.to_owned(), "text/xml")));
        }
    };
    pair(content.signature_chain.is_some(), [SIGNATURE_CHAIN_RESULT, SIGNATURE_CHAIN]);
    pair(content.batch_timestamp.is_some(), [TIMESTAMP_CHAIN_RESULT, TIMESTAMP_CHAIN]);
    let attachments = (1..).zip(&content.attachments).filter(|(_, attachment)| attachment.is_some());
    entries
        .extend(attachments.map(|(number, _)| (format!("{ATTACHMENT}{number}"), "application/octet-stream")));
    let entries: String = entries
        .iter()
        .map(|(path, media_type)| {
            format!(
                "    <manifest:file-entry manifest:media-type=\"{media_type}\" \
                 manifest:full-path=\"{path}\"/>\n"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<manifest:manifest \
         xmlns:manifest=\"urn:oasis:names:tc:opendocument:xmlns:manifest:1.0\" manifest:version=\"1.2\">\n\
         {entries}</manifest:manifest>\n"
    )
}

/// What the batch timestamp stamps, for readers of the general standard. Its namespace lacks the zero that the signature's has.
fn asic_manifest(chain_result: &[u8]) -> String {
    let digest = DigestAlgorithm::Sha512.digest(chain_result);
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<asic:ASiCManifest \
         xmlns:asic=\"http://uri.etsi.org/2918/v1.2.1#\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">\n\
         <asic:SigReference URI=\"{TIMESTAMP}\" MimeType=\"vnd.etsi.timestamp-token\"/>\n\
         <asic:DataObjectReference URI=\"{TIMESTAMP_CHAIN_RESULT}\" MimeType=\"text/xml\">\n\
         <ds:DigestMethod Algorithm=\"{}\" />\n<ds:DigestValue>{}</ds:DigestValue>\n\
         </asic:DataObjectReference>\n</asic:ASiCManifest>",
        digest.algorithm.uri(),
        STANDARD.encode(&digest.value)
    )
}
