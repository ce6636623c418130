//! ASiC-E containers: write one message as evidence, read it back, verify it [TS 102 918].
//!
//! A container is a ZIP with the message, its signature, the hash chains and timestamp that belong to it, and two manifests for
//! readers of the general standard. [`write()`] makes one as the stock servers do, and a
//! [`Writer`] many that have much in common. [`Container::open`] reads one within bounds and
//! [`Container::verify`] proves it, offline and at the time of its own timestamp, in the order of the stock verifier, because the
//! first check that fails chooses the code.
//!
//! Stricter than that verifier: an attachment in the container must be one that the signature covers and have its digest; the ZIP
//! must say one thing only, whether it is read from its start or from its directory. Expiry of the configuration is not held
//! against evidence.

use std::io::{Read, Seek};

use proto::fault::{FaultCode, Style};
use proto::id::ClientId;
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::globalconf::GlobalConf;

mod deflate;
mod message;
mod read;
mod verify;
mod write;

pub use read::Container;
pub use write::{Attachment, Content, Writer, write};

/// Media type, and what the `mimetype` entry holds.
pub const MEDIA_TYPE: &str = "application/vnd.etsi.asic-e+zip";

const MIMETYPE: &str = "mimetype";
const MESSAGE: &str = "message.xml";
const SIGNATURE: &str = "META-INF/signatures.xml";
const SIGNATURE_CHAIN_RESULT: &str = "sig-hashchainresult.xml";
const SIGNATURE_CHAIN: &str = "sig-hashchain.xml";
const TIMESTAMP_CHAIN_RESULT: &str = "ts-hashchainresult.xml";
const TIMESTAMP_CHAIN: &str = "ts-hashchain.xml";
const MANIFEST: &str = "META-INF/manifest.xml";
const ASIC_MANIFEST: &str = "META-INF/ASiCManifest.xml";
const TIMESTAMP: &str = "META-INF/timestamp.tst";
const ATTACHMENT: &str = "attachment";

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
    /// Code as the reference's verifier gives it, such as `asic_mime_type_not_found` or
    /// `malformed_signature.invalid_hash_chain_ref`.
    pub code: String,
    /// Which check, in plain words.
    pub step: &'static str,
    /// What failed.
    pub reason: String,
}

impl Rejection {
    fn new(step: &'static str, path: &[FaultCode], reason: impl ToString) -> Self {
        let code: Vec<_> = path.iter().map(|part| part.text(Style::Snake)).collect();
        Self { code: code.join("."), step, reason: reason.to_string() }
    }

    /// It was stamped too late: the OCSP answer in it was too old by then.
    pub fn is_too_late(&self) -> bool {
        self.step == verify::STEP_FRESH
    }
}

/// Verifies a container at its own timestamp's time, offline. The order of checks is the reference's, since it decides the code.
///
/// # Errors
/// The first failing step.
pub fn verify<R: Read + Seek>(container: R, conf: &GlobalConf) -> Result<Report, Rejection> {
    Container::open(container)?.verify(conf)
}

#[cfg(test)]
mod tests;
