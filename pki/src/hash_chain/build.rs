//! Building a hash chain: a Merkle tree over messages, and the documents that lead from its root to each of them.
//!
//! Leaf of a message: the digest of its one part, or one step over the digests of its parts. Inner node: one step over two
//! children; a node without a sibling moves up unchanged. The text is the stock servers', to the byte.

use std::fmt::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use super::{DS, DigestList, HASH_CHAIN, Parts};
use crate::digest::{DigestAlgorithm, DigestValue};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";

/// The longest digest that there is, SHA-512, in base64.
const ENCODED_DIGEST: usize = 88;

/// A Merkle tree over messages in arrival order.
#[derive(Clone, Debug)]
pub struct Tree {
    algorithm: DigestAlgorithm,
    messages: Vec<Arc<Parts>>,
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
        Self::of_shared(algorithm, chain_uri, messages.into_iter().map(Arc::new).collect())
    }

    /// As [`Tree::build`], over parts that their messages keep.
    pub fn of_shared(algorithm: DigestAlgorithm, chain_uri: &str, messages: Vec<Arc<Parts>>) -> Self {
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
        let mut writer = ChainWriter::new(self.algorithm, room_for(way.len()));
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
            for (uri, digest) in parts.iter() {
                writer.data_ref(uri, digest.algorithm, &digest.value);
            }
            writer.end_step();
        }
        writer.finish().into_bytes()
    }
}

fn leaf(algorithm: DigestAlgorithm, parts: &Parts) -> DigestValue {
    match parts.as_slice() {
        [(_, only)] => only.clone(),
        several => step(algorithm, several.iter().map(|(_, digest)| digest)),
    }
}

fn step<'a>(algorithm: DigestAlgorithm, digests: impl IntoIterator<Item = &'a DigestValue>) -> DigestValue {
    let mut list = DigestList::of(2);
    digests.into_iter().for_each(|digest| list.push(digest));
    list.digest(algorithm)
}

/// The result document.
pub(super) fn result_xml(chain_uri: &str, root: &DigestValue) -> Vec<u8> {
    let mut result = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write_result(&mut result, chain_uri, root);
    result.into_bytes()
}

/// The result document, into a text or into whatever it is held against.
pub(super) fn write_result(out: &mut impl Write, chain_uri: &str, root: &DigestValue) -> std::fmt::Result {
    let before = [
        DECLARATION,
        "<ns2:HashChainResult URI=\"",
        chain_uri,
        "#STEP0\" xmlns=\"",
        DS,
        "\" xmlns:ns2=\"",
        HASH_CHAIN,
        "\">\n    <DigestMethod Algorithm=\"",
        root.algorithm.uri(),
        "\"/>\n    <DigestValue>",
    ];
    before.iter().try_for_each(|piece| out.write_str(piece))?;
    write_base64(out, &root.value)?;
    out.write_str("</DigestValue>\n</ns2:HashChainResult>\n")
}

/// A digest, in one piece: what displays any bytes prepares for a kilobyte of them.
fn write_base64(out: &mut impl Write, digest: &[u8]) -> std::fmt::Result {
    let mut room = [0; ENCODED_DIGEST];
    let encoded =
        STANDARD.encode_slice(digest, &mut room).ok().and_then(|n| std::str::from_utf8(&room[..n]).ok());
    match encoded {
        Some(text) => out.write_str(text),
        // What a peer calls a digest may be longer than any.
        None => write!(out, "{}", Base64Display::new(digest, &STANDARD)),
    }
}

/// A text with room for a chain of so many steps on the way.
pub(super) fn room_for(steps: usize) -> String {
    String::with_capacity(512 + 256 * (steps + 1))
}

/// Writes a chain document, step by step: into a text, or into whatever it is held against, which notes what does not fit.
pub(super) struct ChainWriter<W> {
    algorithm: DigestAlgorithm,
    steps: usize,
    out: W,
}

impl<W: Write> ChainWriter<W> {
    /// `algorithm`: what digests have that name no other.
    pub(super) fn new(algorithm: DigestAlgorithm, out: W) -> Self {
        let mut writer = Self { algorithm, steps: 0, out };
        writer.put(&[
            DECLARATION,
            "<ns2:HashChain xmlns=\"",
            DS,
            "\" xmlns:ns2=\"",
            HASH_CHAIN,
            "\">\n    <ns2:DefaultDigestMethod Algorithm=\"",
            algorithm.uri(),
            "\"/>\n",
        ]);
        writer
    }

    fn put(&mut self, pieces: &[&str]) {
        for piece in pieces {
            // What cannot be written is known to `out`.
            let _ = self.out.write_str(piece);
        }
    }

    pub(super) fn begin_step(&mut self) {
        let _ = writeln!(self.out, "    <ns2:HashStep id=\"STEP{}\">", self.steps);
        self.steps += 1;
    }

    pub(super) fn end_step(&mut self) {
        self.put(&["    </ns2:HashStep>\n"]);
    }

    pub(super) fn step_ref(&mut self, number: usize) {
        let _ = writeln!(self.out, "        <ns2:StepRef URI=\"#STEP{number}\"/>");
    }

    pub(super) fn hash_value(&mut self, algorithm: DigestAlgorithm, digest: &[u8]) {
        self.put(&["        <ns2:HashValue>\n"]);
        self.digest(algorithm, digest);
        self.put(&["        </ns2:HashValue>\n"]);
    }

    pub(super) fn data_ref(&mut self, uri: &str, algorithm: DigestAlgorithm, digest: &[u8]) {
        self.put(&["        <ns2:DataRef URI=\"", &quick_xml::escape::escape(uri), "\">\n"]);
        self.digest(algorithm, digest);
        self.put(&["        </ns2:DataRef>\n"]);
    }

    fn digest(&mut self, algorithm: DigestAlgorithm, digest: &[u8]) {
        if algorithm != self.algorithm {
            self.put(&["            <DigestMethod Algorithm=\"", algorithm.uri(), "\"/>\n"]);
        }
        self.put(&["            <DigestValue>"]);
        let _ = write_base64(&mut self.out, digest);
        self.put(&["</DigestValue>\n"]);
    }

    pub(super) fn finish(mut self) -> W {
        self.put(&["</ns2:HashChain>\n"]);
        self.out
    }
}
