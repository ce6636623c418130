//! Building a hash chain: a Merkle tree over messages, and the documents that lead from its root to each of them.
//!
//! Leaf of a message: the digest of its one part, or one step over the digests of its parts. Inner node: one step over two
//! children; a node without a sibling moves up unchanged. The text is the stock servers', to the byte.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{DS, HASH_CHAIN, Parts, digest_list};
use crate::digest::{DigestAlgorithm, DigestValue};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";

/// A Merkle tree over messages in arrival order.
#[derive(Clone, Debug)]
pub struct Tree {
    algorithm: DigestAlgorithm,
    messages: Vec<Parts>,
    /// Leaves first, the children of the root last; the root itself is in `result`.
    levels: Vec<Vec<DigestValue>>,
    result: Vec<u8>,
}

impl Tree {
    /// One leaf a message; `chain_uri` is [`super::SIGNATURE_CHAIN_URI`] or [`super::TIMESTAMP_CHAIN_URI`].
    ///
    /// A single message makes one step over its parts (when it has one part only, it is better signed without a chain).
    /// No messages make an empty result and no chain.
    pub fn build(algorithm: DigestAlgorithm, chain_uri: &str, messages: Vec<Parts>) -> Self {
        let mut tree = Self { algorithm, levels: Vec::new(), result: Vec::new(), messages };
        let mut level: Vec<DigestValue> = match tree.messages.as_slice() {
            [] => return tree,
            [single] => vec![step(algorithm, single.iter().map(|(_, digest)| digest))],
            several => several.iter().map(|parts| leaf(algorithm, parts)).collect(),
        };
        while level.len() > 1 {
            let parents = level.chunks(2).map(|pair| match pair {
                [orphan] => orphan.clone(),
                both => step(algorithm, both),
            });
            let parents = parents.collect();
            tree.levels.push(std::mem::replace(&mut level, parents));
        }
        tree.result = result_xml(chain_uri, &level[0]);
        tree
    }

    /// The chain result document, common to all messages: these exact bytes are signed or stamped.
    pub fn result_xml(&self) -> &[u8] {
        &self.result
    }

    /// The chain document of message `index`; empty when there is no such message.
    pub fn chain_xml(&self, index: usize) -> Vec<u8> {
        let Some(parts) = self.messages.get(index) else { return Vec::new() };
        // The way from the root down to the leaf: at each level our place and the sibling, orphans passed over.
        let way: Vec<(bool, &DigestValue)> = (0..self.levels.len())
            .rev()
            .filter_map(|height| {
                let place = index >> height;
                self.levels[height].get(place ^ 1).map(|sibling| (place & 1 == 1, sibling))
            })
            .collect();
        let mut writer = ChainWriter::new(self.algorithm, way.len());
        let last = way.len().saturating_sub(1);
        for (number, (sibling_first, sibling)) in way.iter().enumerate() {
            writer.begin_step();
            if *sibling_first {
                writer.hash_value(sibling.algorithm, &sibling.value);
            }
            match parts.as_slice() {
                [(uri, digest)] if number == last => writer.data_ref(uri, digest.algorithm, &digest.value),
                _ => writer.step_ref(number + 1),
            }
            if !sibling_first {
                writer.hash_value(sibling.algorithm, &sibling.value);
            }
            writer.end_step();
        }
        if way.is_empty() || parts.len() != 1 {
            writer.begin_step();
            for (uri, digest) in parts {
                writer.data_ref(uri, digest.algorithm, &digest.value);
            }
            writer.end_step();
        }
        writer.finish()
    }
}

fn leaf(algorithm: DigestAlgorithm, parts: &Parts) -> DigestValue {
    match parts.as_slice() {
        [(_, only)] => only.clone(),
        several => step(algorithm, several.iter().map(|(_, digest)| digest)),
    }
}

fn step<'a>(algorithm: DigestAlgorithm, digests: impl IntoIterator<Item = &'a DigestValue>) -> DigestValue {
    algorithm.digest(&digest_list(digests))
}

pub(super) fn result_xml(chain_uri: &str, root: &DigestValue) -> Vec<u8> {
    format!(
        "{DECLARATION}<ns2:HashChainResult URI=\"{chain_uri}#STEP0\" xmlns=\"{DS}\" xmlns:ns2=\"{HASH_CHAIN}\">\n    \
         <DigestMethod Algorithm=\"{}\"/>\n    <DigestValue>{}</DigestValue>\n</ns2:HashChainResult>\n",
        root.algorithm.uri(),
        STANDARD.encode(&root.value)
    )
    .into_bytes()
}

/// Writes a chain document, step by step.
pub(super) struct ChainWriter {
    algorithm: DigestAlgorithm,
    steps: usize,
    out: String,
}

impl ChainWriter {
    pub(super) fn new(algorithm: DigestAlgorithm, steps: usize) -> Self {
        let mut out = String::with_capacity(512 + 256 * (steps + 1));
        for piece in [
            DECLARATION,
            "<ns2:HashChain xmlns=\"",
            DS,
            "\" xmlns:ns2=\"",
            HASH_CHAIN,
            "\">\n    <ns2:DefaultDigestMethod Algorithm=\"",
            algorithm.uri(),
            "\"/>\n",
        ] {
            out.push_str(piece);
        }
        Self { algorithm, steps: 0, out }
    }

    pub(super) fn begin_step(&mut self) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "    <ns2:HashStep id=\"STEP{}\">", self.steps);
        self.steps += 1;
    }

    pub(super) fn end_step(&mut self) {
        self.out.push_str("    </ns2:HashStep>\n");
    }

    pub(super) fn step_ref(&mut self, number: usize) {
        let _ = writeln!(self.out, "        <ns2:StepRef URI=\"#STEP{number}\"/>");
    }

    pub(super) fn hash_value(&mut self, algorithm: DigestAlgorithm, digest: &[u8]) {
        self.out.push_str("        <ns2:HashValue>\n");
        self.digest(algorithm, digest);
        self.out.push_str("        </ns2:HashValue>\n");
    }

    pub(super) fn data_ref(&mut self, uri: &str, algorithm: DigestAlgorithm, digest: &[u8]) {
        self.out.push_str("        <ns2:DataRef URI=\"");
        self.out.push_str(&quick_xml::escape::escape(uri));
        self.out.push_str("\">\n");
        self.digest(algorithm, digest);
        self.out.push_str("        </ns2:DataRef>\n");
    }

    fn digest(&mut self, algorithm: DigestAlgorithm, digest: &[u8]) {
        if algorithm != self.algorithm {
            self.out.push_str("            <DigestMethod Algorithm=\"");
            self.out.push_str(algorithm.uri());
            self.out.push_str("\"/>\n");
        }
        self.out.push_str("            <DigestValue>");
        STANDARD.encode_string(digest, &mut self.out);
        self.out.push_str("</DigestValue>\n");
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push_str("</ns2:HashChain>\n");
        self.out.into_bytes()
    }
}
