//! Hashes that name work. Only fixed-width words are hashed: strings enter as their own hash, so no two inputs share
//! an encoding.

use alloy::primitives::{Address, B256, b256, keccak256};
use alloy::sol_types::{SolStruct, SolValue};

use crate::objects::{Domain, Profile, RenditionFacts, SegmentReceipt};

// Each use of keccak256 has a tag of its own, so that a leaf never reads as a node, nor one list as another kind.
const PREPAY: B256 = tag(1);
const PROFILES: B256 = tag(2);
const LEAF: B256 = tag(3);
const NODE: B256 = tag(4);
const ROOT: B256 = tag(5);
pub(crate) const PAYEE_RAND: B256 = tag(6);

/// "millrace" in ASCII, zeros, then the number.
const fn tag(n: u8) -> B256 {
    let mut word = b256!("6d696c6c72616365000000000000000000000000000000000000000000000000");
    word.0[31] = n;
    word
}

/// The hash of a ladder, for an assignment's `profileHash`. Order matters.
pub fn profiles_hash(profiles: &[Profile]) -> B256 {
    profiles.iter().fold(keccak256((PROFILES, profiles.len() as u64).abi_encode()), |hash, profile| {
        keccak256((PROFILES, hash, profile.eip712_hash_struct()).abi_encode())
    })
}

/// The Merkle root over a segment's renditions, for a receipt's `renditionRoot`. Order matters; the root binds the
/// number of leaves, and an odd node moves up unpaired, so no list is a rewriting of another.
pub fn rendition_root(renditions: &[RenditionFacts]) -> B256 {
    let mut level: Vec<B256> =
        renditions.iter().map(|facts| keccak256((LEAF, facts.eip712_hash_struct()).abi_encode())).collect();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => keccak256((NODE, *left, *right).abi_encode()),
                odd => odd[0],
            })
            .collect();
    }
    let top = level.first().copied().unwrap_or_default();
    keccak256((ROOT, renditions.len() as u64, top).abi_encode())
}

/// The work hash of a segment: the EIP-712 digest of its receipt. The receipt's signature stays outside, so signing
/// twice makes no second piece of work.
pub fn work_hash(receipt: &SegmentReceipt, domain: &Domain) -> B256 {
    receipt.eip712_signing_hash(&domain.eip712())
}

/// Segments that are paid before any work at a stream's start: the most that a payer can lose to a worker.
pub const PREPAID_SEGMENTS: u8 = 2;

/// The work hash of prepaid segment `index` (0 or 1, see [`PREPAID_SEGMENTS`]) of a stream on one hop.
pub fn prepay_work_hash(stream: B256, payer: Address, payee: Address, index: u8) -> B256 {
    keccak256((PREPAY, stream, payer, payee, u64::from(index)).abi_encode())
}
