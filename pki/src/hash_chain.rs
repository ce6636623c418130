//! Hash chains: one signature or timestamp for many messages [BATCH-TS; wire dossier §10; trust dossier §7.8].
//!
//! [`Tree`] builds, [`verify`] checks. Only SHA-256, 384 and 512; depth and size bounded, no step twice.

use crate::digest::{DigestAlgorithm, DigestValue};

/// `/message.xml`.
pub const MESSAGE_URI: &str = "/message.xml";
/// `/sig-hashchainresult.xml`.
pub const SIGNATURE_RESULT_URI: &str = "/sig-hashchainresult.xml";
/// `/sig-hashchain.xml`.
pub const SIGNATURE_CHAIN_URI: &str = "/sig-hashchain.xml";
/// `/ts-hashchain.xml`.
pub const TIMESTAMP_CHAIN_URI: &str = "/ts-hashchain.xml";
/// `/META-INF/signatures.xml`.
pub const SIGNATURES_URI: &str = "/META-INF/signatures.xml";

/// The parts of one message: their URIs (`/message.xml`, `/attachment1`, …) and digests, in order.
pub type Parts = Vec<(String, DigestValue)>;

/// A Merkle tree over messages in arrival order.
#[derive(Clone, Debug)]
pub struct Tree {
    _private: (),
}

impl Tree {
    /// One leaf a message; `chain_uri` is [`SIGNATURE_CHAIN_URI`] or [`TIMESTAMP_CHAIN_URI`].
    pub fn build(algorithm: DigestAlgorithm, chain_uri: &str, messages: Vec<Parts>) -> Self {
        let _ = (algorithm, chain_uri, messages);
        todo!()
    }
    /// The chain result document, common to all messages: these exact bytes are signed or stamped.
    pub fn result_xml(&self) -> &[u8] {
        todo!()
    }
    /// The chain document of message `index`.
    pub fn chain_xml(&self, index: usize) -> Vec<u8> {
        let _ = index;
        todo!()
    }
}

/// Why a chain proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashChainError {
    /// `malformed_hash_chain`.
    #[error("the hash chain is malformed: {0}")]
    Malformed(&'static str),
    /// `invalid_hash_chain`.
    #[error("the hash chain does not lead to its result")]
    Mismatch,
    /// `invalid_hash_chain_ref`.
    #[error("{0} does not have the digest the hash chain gives it")]
    Reference(String),
    /// `invalid_reference`.
    #[error("the hash chain refers to {0}, which is not there")]
    Unresolved(String),
    /// `hashchain_unused_inputs`.
    #[error("the hash chain does not cover {0}")]
    Unused(String),
}

/// What a verified chain said about parts that are not at hand (attachments that were not logged).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// URIs accepted by the digest in the chain alone.
    pub by_digest: Vec<String>,
}

/// Checks `chain` against `result` for parts whose digests we computed ourselves.
///
/// `allow_absent`: attachments that are not among `parts` are taken by the digest in the chain (containers); between servers
/// they are refused. `result` and `chain` are the exact bytes.
///
/// # Errors
/// The broken rule.
pub fn verify(
    result: &[u8],
    chain: &[u8],
    chain_uri: &str,
    parts: &[(String, DigestValue)],
    allow_absent: bool,
) -> Result<Outcome, HashChainError> {
    let _ = (result, chain, chain_uri, parts, allow_absent);
    todo!()
}
