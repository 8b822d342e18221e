//! What nodes sign (EIP-712 structs) and the domain they sign it in.
//!
//! Field names and types are the Solidity ones, because the hash covers them: one spelling in Rust, Solidity and a
//! wallet's dialog. Changing any of them is a new protocol version.

use alloy::primitives::Address;
use alloy::sol;
use alloy::sol_types::{Eip712Domain, eip712_domain};
use serde::{Deserialize, Serialize};

sol! {
    /// One segment given to one worker, signed by the assigner once the source is complete.
    #[derive(Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct Assignment {
        /// The stream, as the assigner calls it.
        bytes32 streamId;
        /// The segment's number in its stream, from 0.
        uint64 seq;
        /// The number of this try on this hop, from 0.
        uint32 attempt;
        /// keccak256 of the source's init and parts, in order.
        bytes32 sourceHash;
        /// The ladder asked for: [`crate::profiles_hash`].
        bytes32 profileHash;
        /// What the segment pays, wei.
        uint256 price;
        /// When the renditions must be there, unix seconds.
        uint40 deadline;
        /// The assigner, who pays.
        address payer;
        /// The worker, who is paid.
        address worker;
        /// The commitment to the verifier's sampling secret of this epoch.
        bytes32 sampleCommit;
    }

    /// What a worker made of one assignment, signed by the worker.
    #[derive(Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct SegmentReceipt {
        /// EIP-712 digest of the assignment.
        bytes32 assignmentHash;
        /// Merkle root over the renditions' facts: [`crate::rendition_root`].
        bytes32 renditionRoot;
        /// Root over the renditions' perceptual hashes; zero when the worker sends none.
        bytes32 hashRoot;
        /// Pixels encoded, summed over renditions and frames: what is billed.
        uint64 pixels;
        /// Frames encoded, summed over renditions.
        uint32 frames;
        /// The segment's length in ticks of 1/90000 s.
        uint64 duration;
        /// When the worker signed, unix seconds.
        uint40 time;
    }

    /// A verifier's finding on one receipt. A pass is implied by the ticket that pays the receipt.
    #[derive(Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct Verdict {
        /// EIP-712 digest of the receipt.
        bytes32 receiptHash;
        /// Whether the renditions are what was asked for.
        bool pass;
        /// The fault's code when they are not (`crates/verify`), else 0.
        uint16 code;
    }

    /// A lottery ticket: pays `faceValue` with probability `winProb` / 2^64.
    #[derive(Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct Ticket {
        /// Who signs and pays.
        address payer;
        /// Who is paid.
        address payee;
        /// What a winner pays, wei.
        uint96 faceValue;
        /// The probability to win, times 2^64.
        uint64 winProb;
        /// 40 bits of issue time (unix seconds), then a 24-bit counter; rises strictly for a pair.
        uint64 nonce;
        /// The last second at which it can be redeemed, unix seconds.
        uint40 expiry;
        /// keccak256 of the payee's 32 random bytes, handed out before the ticket was made.
        bytes32 payeeCommit;
        /// The payer's 32 random bytes, drawn for this ticket.
        bytes32 payerRand;
        /// The work that it pays; outside the draw. At most one ticket pays a work hash.
        bytes32 workHash;
    }

    /// One rung of the ladder, as the broadcaster asks for it.
    #[derive(Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct Profile {
        /// The rendition's name, such as "720p".
        string name;
        /// Width in pixels, even.
        uint32 width;
        /// Height in pixels, even.
        uint32 height;
        /// Target bit rate, bit/s.
        uint32 bitrate;
        /// The codec, "h264".
        string codec;
    }

    /// What a worker states about one rendition of a segment. A leaf of the receipt's `renditionRoot`.
    #[derive(Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct RenditionFacts {
        /// The rendition's name, as in its profile.
        string name;
        /// keccak256 of the rendition's parts, in order.
        bytes32 bytes_hash;
        /// Length of those bytes.
        uint64 length;
        /// Width in pixels.
        uint32 width;
        /// Height in pixels.
        uint32 height;
        /// The codec string, such as "avc1.64001f".
        string codec;
        /// Frames in the segment.
        uint32 frames;
        /// Lowest presentation time, ticks of 1/90000 s.
        int64 first_pts;
        /// Highest presentation time, ticks of 1/90000 s.
        int64 last_pts;
    }
}

/// Where signatures are valid: one chain and one ticket broker. The same bytes mean nothing anywhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Domain {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The ticket broker's address, the domain's `verifyingContract`.
    pub broker: Address,
}

impl Domain {
    /// The EIP-712 domain: name "Millrace", version "1".
    pub fn eip712(&self) -> Eip712Domain {
        eip712_domain! { name: "Millrace", version: "1", chain_id: self.chain_id, verifying_contract: self.broker, }
    }
}
