//! A tree over thousands of messages of one part each that were digested before: what a timestamp of a batch is made for.
//!
//! It is the tree that [`super::Tree`] makes of them, document for document. Digests lie one behind the other, since at ten thousand
//! leaves an allocation for each takes more memory and time than the hashes themselves.

use super::build::{ChainWriter, result_xml, room_for};
use super::digest_list;
use crate::digest::{DigestAlgorithm, DigestValue};

const ALGORITHM: DigestAlgorithm = DigestAlgorithm::Sha512;
/// Of a digest.
const LEAF_BYTES: usize = 64;

/// The tree.
#[derive(Clone, Debug)]
pub struct FlatTree {
    part_uri: &'static str,
    /// Leaves first, the children of the root last.
    levels: Vec<Vec<u8>>,
    result: Vec<u8>,
}

/// The list of two digests that a step is the digest of; all but the digests is always the same.
struct Step {
    list: Vec<u8>,
    places: [usize; 2],
}

impl Step {
    fn new() -> Self {
        let zeros = DigestValue { algorithm: ALGORITHM, value: vec![0; LEAF_BYTES] };
        // Tag and length of the one, and of the digest in it, take two bytes each.
        let single = digest_list([&zeros]).len() - 2;
        let list = digest_list([&zeros, &zeros]);
        let first = list.len() - 2 * single + 4;
        Self { list, places: [first, first + single] }
    }

    fn digest(&mut self, pair: &[u8]) -> [u8; LEAF_BYTES] {
        for (place, digest) in self.places.into_iter().zip(pair.chunks_exact(LEAF_BYTES)) {
            self.list[place..place + LEAF_BYTES].copy_from_slice(digest);
        }
        crate::digest::sha512(&self.list)
    }
}

impl FlatTree {
    /// A tree over SHA-512 digests, one behind the other, each of the part `part_uri` of its message. No leaves make an empty result
    /// and no chain; bytes behind the last whole digest are not looked at.
    pub fn build(chain_uri: &str, part_uri: &'static str, leaves: &[u8]) -> Self {
        let mut tree = Self { part_uri, levels: Vec::new(), result: Vec::new() };
        let mut level = leaves[..leaves.len() - leaves.len() % LEAF_BYTES].to_vec();
        let root = match level.len() / LEAF_BYTES {
            0 => return tree,
            // As with [`super::Tree`], a step over its one part.
            1 => {
                let root = ALGORITHM.digest(&digest_list([&value(&level)]));
                tree.levels.push(level);
                root
            }
            _ => {
                let mut step = Step::new();
                while level.len() > LEAF_BYTES {
                    let mut parents = Vec::with_capacity(level.len().div_ceil(2));
                    for pair in level.chunks(2 * LEAF_BYTES) {
                        match pair.len() {
                            LEAF_BYTES => parents.extend_from_slice(pair),
                            _ => parents.extend_from_slice(&step.digest(pair)),
                        }
                    }
                    tree.levels.push(std::mem::replace(&mut level, parents));
                }
                value(&level)
            }
        };
        tree.result = result_xml(chain_uri, &root);
        tree
    }

    /// The chain result document, common to all messages.
    pub fn result_xml(&self) -> &[u8] {
        &self.result
    }

    /// The chain document of message `index`; empty when there is no such message.
    pub fn chain_xml(&self, index: usize) -> Vec<u8> {
        let Some(leaf) = self.at(0, index) else { return Vec::new() };
        // The way from the root down to the leaf, orphans passed over.
        let way: Vec<(bool, &[u8])> = (0..self.levels.len())
            .rev()
            .filter_map(|height| {
                let place = index >> height;
                self.at(height, place ^ 1).map(|sibling| (place & 1 == 1, sibling))
            })
            .collect();
        let mut writer = ChainWriter::new(ALGORITHM, room_for(way.len()));
        for (number, (sibling_first, sibling)) in way.iter().enumerate() {
            writer.begin_step();
            if *sibling_first {
                writer.hash_value(ALGORITHM, sibling);
            }
            match number + 1 == way.len() {
                true => writer.data_ref(self.part_uri, ALGORITHM, leaf),
                false => writer.step_ref(number + 1),
            }
            if !sibling_first {
                writer.hash_value(ALGORITHM, sibling);
            }
            writer.end_step();
        }
        if way.is_empty() {
            writer.begin_step();
            writer.data_ref(self.part_uri, ALGORITHM, leaf);
            writer.end_step();
        }
        writer.finish().into_bytes()
    }

    /// The digest of message `index`.
    pub fn leaf(&self, index: usize) -> Option<&[u8]> {
        self.at(0, index)
    }

    fn at(&self, height: usize, place: usize) -> Option<&[u8]> {
        let from = place.checked_mul(LEAF_BYTES)?;
        self.levels.get(height)?.get(from..from + LEAF_BYTES)
    }
}

fn value(digest: &[u8]) -> DigestValue {
    DigestValue { algorithm: ALGORITHM, value: digest.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::super::{SIGNATURES_URI, TIMESTAMP_CHAIN_URI, Tree};
    use super::*;

    #[test]
    fn it_is_the_other_tree_to_the_byte() {
        for count in (0..=40).chain([63, 64, 65, 127, 128, 129, 1000]) {
            let leaves: Vec<DigestValue> =
                (0..count).map(|number: usize| ALGORITHM.digest(&number.to_be_bytes())).collect();
            let messages = leaves.iter().map(|leaf| vec![(SIGNATURES_URI.to_owned(), leaf.clone())]);
            let tree = Tree::build(ALGORITHM, TIMESTAMP_CHAIN_URI, messages.collect());
            let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.value.clone()).collect();
            let flat = FlatTree::build(TIMESTAMP_CHAIN_URI, SIGNATURES_URI, &bytes);
            assert_eq!(flat.result_xml(), tree.result_xml(), "{count} leaves");
            for index in 0..=count {
                assert_eq!(flat.chain_xml(index), tree.chain_xml(index), "{index} of {count}");
            }
        }
        let cut = FlatTree::build(TIMESTAMP_CHAIN_URI, SIGNATURES_URI, &[7; LEAF_BYTES + 1]);
        assert_eq!(
            cut.result_xml(),
            FlatTree::build(TIMESTAMP_CHAIN_URI, SIGNATURES_URI, &[7; LEAF_BYTES]).result_xml()
        );
    }
}
