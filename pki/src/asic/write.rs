//! Writing containers: entries, order, comment and times as the stock servers have them.

use std::io::{self, Read, Seek, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::time::UnixTime;
use zip::write::FullFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::{
    ASIC_MANIFEST, ATTACHMENT, MANIFEST, MEDIA_TYPE, MESSAGE, MIMETYPE, SIGNATURE, SIGNATURE_CHAIN,
    SIGNATURE_CHAIN_RESULT, TIMESTAMP, TIMESTAMP_CHAIN, TIMESTAMP_CHAIN_RESULT,
};
use crate::digest::DigestAlgorithm;

/// Of deflating: entries are small, and what is long in them is Base64. The highest level makes them one per cent smaller.
const LEVEL: i64 = 2;
/// Header id of the extended timestamp extra field.
const EXTENDED_TIMESTAMP: u16 = 0x5455;

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
    /// `attachment1` …: readers, so that large ones stream; each below 4 GiB. `None` for one that is proven by its digest only.
    pub attachments: Vec<Option<Box<dyn Read + Send + 'a>>>,
    /// Modification time of the entries.
    pub time: UnixTime,
}

/// Writes the container.
///
/// # Errors
/// What `out` or an attachment reader says.
pub fn write<W: Write + Seek>(content: Content<'_>, out: W) -> io::Result<()> {
    let mut zip = ZipWriter::new(out);
    zip.set_comment(format!("mimetype={MEDIA_TYPE}"))?;
    let options = options(content.time)?;
    let manifest = manifest(&content);
    let asic_manifest = content.batch_timestamp.map(|(result, ..)| asic_manifest(result));
    let entries = [
        (MIMETYPE, Some(MEDIA_TYPE.as_bytes())),
        (MESSAGE, Some(content.message)),
        (SIGNATURE, Some(content.signature)),
        (SIGNATURE_CHAIN_RESULT, content.signature_chain.map(|(result, _)| result)),
        (SIGNATURE_CHAIN, content.signature_chain.map(|(_, chain)| chain)),
        (TIMESTAMP_CHAIN_RESULT, content.batch_timestamp.map(|(result, ..)| result)),
        (TIMESTAMP_CHAIN, content.batch_timestamp.map(|(_, chain, _)| chain)),
        (MANIFEST, Some(manifest.as_bytes())),
        (ASIC_MANIFEST, asic_manifest.as_deref().map(str::as_bytes)),
        (TIMESTAMP, content.batch_timestamp.map(|(.., token)| token)),
    ];
    for (name, data) in entries {
        if let Some(data) = data {
            zip.start_file(name, options.clone())?;
            zip.write_all(data)?;
        }
    }
    for (number, attachment) in (1..).zip(content.attachments) {
        let Some(mut attachment) = attachment else { continue };
        zip.start_file(format!("{ATTACHMENT}{number}"), options.clone())?;
        io::copy(&mut attachment, &mut zip)?;
    }
    zip.finish()?;
    Ok(())
}

/// Deflated, also `mimetype`; the time in both forms, the old one as UTC.
fn options(time: UnixTime) -> io::Result<FullFileOptions<'static, 'static>> {
    let mut options = FullFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(dos_time(time));
    if let Ok(seconds) = i32::try_from(time.as_secs()) {
        let [a, b, c, d] = seconds.to_le_bytes();
        options.add_extra_field(EXTENDED_TIMESTAMP, [1, a, b, c, d], false)?;
    }
    Ok(options)
}

/// Years before 1980 or after 2107 cannot be written; the extended field has them.
fn dos_time(time: UnixTime) -> DateTime {
    time::OffsetDateTime::from_unix_timestamp(time.as_secs())
        .ok()
        .and_then(|at| {
            let year = u16::try_from(at.year()).ok()?;
            DateTime::from_date_and_time(
                year,
                at.month().into(),
                at.day(),
                at.hour(),
                at.minute(),
                at.second(),
            )
            .ok()
        })
        .unwrap_or(DateTime::DEFAULT)
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
