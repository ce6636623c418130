//! The Merkle tree of a tamper-evident log: hashes, roots and proofs of RFC 9162 §2.1 with SHA-256.
//!
//! A tree is asked through [`Nodes`], which gives the hash of a complete subtree, from wherever it is kept; roots and proofs of any
//! size are put together from those. Verification needs the proof alone.
use ring::digest::{Context, SHA256};

/// A hash of a leaf or a node.
pub type Hash = [u8; 32];

/// Longest proof that is looked at: no tree has 2^63 leaves.
pub const MAX_PROOF: usize = 64;

/// Hash of a leaf (§2.1.1): SHA-256(0x00 ‖ data).
pub fn leaf(data: &[u8]) -> Hash {
    hash(&[&[0], data])
}

/// Hash of a node over its children: SHA-256(0x01 ‖ left ‖ right).
pub fn node(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], left, right])
}

/// Root of the tree without leaves.
pub fn empty() -> Hash {
    hash(&[])
}

fn hash(pieces: &[&[u8]]) -> Hash {
    let mut hasher = Context::new(&SHA256);
    pieces.iter().for_each(|piece| hasher.update(piece));
    let mut out = [0; 32];
    out.copy_from_slice(hasher.finish().as_ref());
    out
}

/// Complete subtrees, from wherever they are kept.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;
    /// The hash over the `1 << level` leaves from `index << level` on, all of which exist.
    ///
    /// # Errors
    /// It cannot be had.
    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Leaf hashes in memory.
impl Nodes for &[Hash] {
    type Error = std::convert::Infallible;
    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        Ok(fold(&self[(index << level) as usize..((index + 1) << level) as usize]))
    }
}

/// The root over a power of two of hashes.
pub fn fold(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty(),
        [one] => *one,
        several => {
            let (left, right) = several.split_at(several.len().div_ceil(2));
            node(&fold(left), &fold(right))
        }
    }
}

/// Hash over the leaves `from..to` of the tree.
fn range<N: Nodes>(nodes: &mut N, from: u64, to: u64) -> Result<Hash, N::Error> {
    let count = to - from;
    if count.is_power_of_two() && from.is_multiple_of(count) {
        let level = count.trailing_zeros();
        return nodes.subtree(level, from >> level);
    }
    let split = from + split(count);
    Ok(node(&range(nodes, from, split)?, &range(nodes, split, to)?))
}

/// The largest power of two below `count`, which is 2 or more.
fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// The root of the tree over the first `size` leaves.
///
/// # Errors
/// A hash cannot be had.
pub fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty()) } else { range(nodes, 0, size) }
}

/// Proof that leaf `index` is in the tree over the first `size` leaves (§2.1.3.1); `index` is below `size`.
///
/// # Errors
/// A hash cannot be had.
pub fn inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut from, mut to, mut proof) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of `old` leaves is the start of the one of `size` (§2.1.4.1); `old` is from 1 to `size`.
///
/// # Errors
/// A hash cannot be had.
pub fn consistency<N: Nodes>(nodes: &mut N, old: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut from, mut to, mut proof) = (0, size, Vec::new());
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    // Whoever asks knows the old root, so that it need not be in the proof where it is a subtree.
    if from != 0 {
        proof.push(range(nodes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether the proof leads from leaf `index` to the root of the tree over `size` leaves (§2.1.3.2).
pub fn is_included(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size || proof.len() > MAX_PROOF {
        return false;
    }
    let (mut position, mut last, mut found) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            found = node(sibling, &found);
            while position & 1 == 0 && position != 0 {
                (position, last) = (position >> 1, last >> 1);
            }
        } else {
            found = node(&found, sibling);
        }
        (position, last) = (position >> 1, last >> 1);
    }
    last == 0 && found == *root
}

/// Whether the proof leads from the old root to the new one (§2.1.4.2).
pub fn is_consistent(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old == 0 || old > size || proof.len() > MAX_PROOF + 1 {
        return false;
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    let mut rest = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut position, mut last) = (old - 1, size - 1);
    while position & 1 == 1 {
        (position, last) = (position >> 1, last >> 1);
    }
    let (mut before, mut after) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            before = node(sibling, &before);
            after = node(sibling, &after);
            while position & 1 == 0 && position != 0 {
                (position, last) = (position >> 1, last >> 1);
            }
        } else {
            after = node(&after, sibling);
        }
        (position, last) = (position >> 1, last >> 1);
    }
    last == 0 && before == *old_root && after == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    /// RFC 9162 as it is written: the hash of a list, by recursion.
    fn by_definition(hashes: &[Hash]) -> Hash {
        match hashes {
            [] => empty(),
            [one] => *one,
            several => {
                let (left, right) = several.split_at(split(several.len() as u64) as usize);
                node(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn known_hashes() {
        let hex = |hash: Hash| hex::encode(hash);
        assert_eq!(hex(empty()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(leaf(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        // Leaves and root of the reference tree of the Certificate Transparency tests.
        let data: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let hashes: Vec<_> = data.iter().map(|data| leaf(data)).collect();
        let whole = root(&mut hashes.as_slice(), 8).unwrap();
        assert_eq!(hex(whole), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
        assert_eq!(
            hex(root(&mut hashes.as_slice(), 3).unwrap()),
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_no_other() {
        let all = leaves(33);
        for size in 1..=33_u64 {
            let whole = root(&mut all.as_slice(), size).unwrap();
            assert_eq!(whole, by_definition(&all[..size as usize]), "{size}");
            for index in 0..size {
                let proof = inclusion(&mut all.as_slice(), index, size).unwrap();
                let included =
                    |leaf: &Hash, index, size, proof: &[Hash]| is_included(leaf, index, size, proof, &whole);
                assert!(included(&all[index as usize], index, size, &proof), "{index} in {size}");
                assert!(!included(&leaf(b"x"), index, size, &proof));
                assert!(!included(&all[index as usize], index + 1, size, &proof));
                let longer = [proof.as_slice(), &[whole]].concat();
                assert!(!included(&all[index as usize], index, size, &longer));
                assert!(proof.is_empty() || !included(&all[index as usize], index, size, &proof[1..]));
            }
            for old in 1..=size {
                let before = root(&mut all.as_slice(), old).unwrap();
                let proof = consistency(&mut all.as_slice(), old, size).unwrap();
                assert!(is_consistent(old, &before, size, &whole, &proof), "{old} to {size}");
                assert!(old == size || !is_consistent(old, &leaf(b"x"), size, &whole, &proof));
                assert!(!is_consistent(old, &before, size, &leaf(b"x"), &proof));
                let longer = [proof.as_slice(), &[whole]].concat();
                assert!(!is_consistent(old, &before, size, &whole, &longer));
            }
        }
        assert!(!is_consistent(0, &empty(), 1, &all[0], &[]) && !is_included(&all[0], 0, 0, &[], &empty()));
    }
}
