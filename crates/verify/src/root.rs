//! The commitment to a segment's fingerprints that a receipt carries as `hashRoot`.

use crate::Fingerprint;
use sha2::{Digest, Sha256};

// Leaves, nodes and the empty list are hashed under tags of their own, so that none can pass for another.
const LEAF: u8 = 0;
const NODE: u8 = 1;
const EMPTY: u8 = 2;

/// SHA-256 Merkle root over (rendition name, fingerprint of its key frame) in the order given. A leaf is
/// `0 ‖ length of the name (u32, big-endian) ‖ name ‖ fingerprint bytes`, a node `1 ‖ left ‖ right`; the odd one out of a level goes
/// up as it is. No fingerprints have the root SHA-256(`2`).
pub fn hash_root(fingerprints: &[(String, Fingerprint)]) -> [u8; 32] {
    let mut level: Vec<[u8; 32]> = fingerprints
        .iter()
        .map(|(name, fingerprint)| {
            digest(&[&[LEAF], &(name.len() as u32).to_be_bytes(), name.as_bytes(), &fingerprint.to_bytes()])
        })
        .collect();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => digest(&[&[NODE], left, right]),
                _ => pair[0],
            })
            .collect();
    }
    level.first().copied().unwrap_or_else(|| digest(&[&[EMPTY]]))
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PictureRef, fingerprint};

    fn leaves(count: u8) -> Vec<(String, Fingerprint)> {
        let of = |level: u8| {
            let (y, c) = ([level; 4], [128]);
            fingerprint(PictureRef { width: 2, height: 2, y: &y, u: &c, v: &c }).unwrap()
        };
        (0..count).map(|i| (format!("{i}p"), of(i))).collect()
    }

    #[test]
    fn every_leaf_its_name_and_the_order_change_the_root() {
        for count in 0..6 {
            let root = hash_root(&leaves(count));
            assert_eq!(root, hash_root(&leaves(count)));
            assert_ne!(root, hash_root(&leaves(count + 1)));
            for i in 0..usize::from(count) {
                let mut changed = leaves(count);
                changed[i].1.luma[1023] += 1;
                assert_ne!(root, hash_root(&changed));
                let mut renamed = leaves(count);
                renamed[i].0.push('x');
                assert_ne!(root, hash_root(&renamed));
                let mut turned = leaves(count);
                turned.rotate_left(i);
                assert_eq!(i == 0, root == hash_root(&turned));
            }
        }
    }

    #[test]
    fn the_encoding_is_fixed() {
        assert_eq!(leaves(1)[0].1.to_bytes().len(), 64 + 2 * (1024 + 512));
    }
}
