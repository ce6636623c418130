//! ASiC-E containers: write one message as evidence, read it back, verify it [TS 102 918; wire dossier §15.4; trust dossier §7.7].

use std::io::{Read, Seek, Write};

use proto::id::ClientId;
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::globalconf::GlobalConf;

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
    /// `attachment1` …: readers, so that large ones stream.
    pub attachments: Vec<Box<dyn Read + Send + 'a>>,
    /// Modification time of the entries.
    pub time: UnixTime,
}

/// Writes the container.
///
/// # Errors
/// What `out` or an attachment reader says.
pub fn write<W: Write + Seek>(content: Content<'_>, out: W) -> std::io::Result<()> {
    let _ = (content, out);
    todo!()
}

/// What a good container proves.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who signed the message: the sender.
    pub signer: ClientId,
    /// With which certificate.
    pub cert: Certificate,
    /// Message id in the message.
    pub message_id: String,
    /// `xades:SigningTime`.
    pub signed_at: Option<UnixTime>,
    /// genTime of the timestamp.
    pub timestamped_at: UnixTime,
    /// Subject of the TSA.
    pub tsa: String,
    /// thisUpdate of the OCSP answer.
    pub ocsp_at: UnixTime,
    /// Attachments not in the container, proven by digest only.
    pub by_digest: Vec<String>,
}

/// Why a container proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Rejection {
    /// Code as the reference's verifier gives it, such as `asic_mime_type_not_found` or `malformed_signature.invalid_hash_chain_ref`.
    pub code: String,
    /// Which check, in plain words.
    pub step: &'static str,
    /// What failed.
    pub reason: String,
}

/// Verifies a container at its own timestamp's time, offline. The order of checks is the reference's, since it decides the code.
///
/// # Errors
/// The first failing step.
pub fn verify<R: Read + Seek>(container: R, conf: &GlobalConf) -> Result<Report, Rejection> {
    let _ = (container, conf);
    todo!()
}
