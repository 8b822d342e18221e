//! The orchestrator's section of the configuration.

use serde::{Deserialize, Serialize};

/// `[orchestrator]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrchestratorConfig {
    /// Where broadcasters and transcoders connect: UDP address of the QUIC endpoint.
    pub listen: String,
    /// The address under which the registry lists this node; empty: `listen` as bound.
    pub advertise: String,
    /// Own bond in the registry, MILL.
    pub bond_mill: String,
    /// Price asked of broadcasters, wei per million pixels of renditions.
    pub price_per_megapixel: u64,
    /// What a winning ticket pays, wei.
    pub face_value_wei: String,
    /// The most paid to a transcoder, wei per million pixels.
    pub max_transcoder_price: u64,
    /// Locked for each transcoder at the ticket broker, wei.
    pub transcoder_lock_wei: String,
    /// How long after a segment's last part a transcoder may deliver, ms; then another one gets it.
    pub attempt_ms: u64,
    /// How often a segment is tried before the broadcaster is told that it failed.
    pub attempts: u32,
    /// Winners that wait before they are redeemed together.
    pub redeem_batch: usize,
    /// How long a winner may wait for company, seconds.
    pub redeem_after_s: u64,
    /// How long a cheater stays suspended, seconds.
    pub suspension_s: u64,
}

/// Each key and what it does, for the reference and the command line.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "UDP address on which broadcasters and transcoders connect by QUIC; port 0 takes a free one"),
    ("advertise", "address that the registry lists; empty for the address that was bound"),
    ("bond_mill", "the node's own bond in the registry, MILL; a node whose bond is smaller adds to it at its start"),
    ("price_per_megapixel", "price asked of broadcasters, wei per million pixels of renditions"),
    ("face_value_wei", "what a winning ticket pays, wei; at least 50 redemptions' cost"),
    ("max_transcoder_price", "the most paid to a transcoder, wei per million pixels"),
    ("transcoder_lock_wei", "locked at the ticket broker for each transcoder, wei"),
    ("attempt_ms", "how long after a segment's last part a transcoder may deliver, ms; then another gets the segment"),
    ("attempts", "how often a segment is tried before the broadcaster is told that it failed"),
    ("redeem_batch", "winners that wait before they are redeemed together"),
    ("redeem_after_s", "how long a winner may wait for company before it is redeemed, seconds"),
    ("suspension_s", "how long a transcoder that failed verification stays suspended, seconds"),
];

impl Default for OrchestratorConfig {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:4433".into(),
            advertise: String::new(),
            bond_mill: "1000".into(), // it answers for its transcoders: ten times theirs
            price_per_megapixel: 1_200_000_000, // 1,200 wei a pixel: what Livepeer's market asks for
            face_value_wei: "1000000000000000".into(), // 0.001 ETH: 50 redemptions at 0.4 gwei
            max_transcoder_price: 1_000_000_000, // leaves the orchestrator a sixth
            transcoder_lock_wei: "20000000000000000".into(), // 20 face values
            attempt_ms: 3_000,        // half of what a plain HLS player has in hand
            attempts: 3,
            redeem_batch: 8,      // a batch costs a fifth of singles (protocol.md, section 3)
            redeem_after_s: 7200, // a tenth of the unlock delay of 72 h
            suspension_s: 86_400, // as long as a dispute takes
        }
    }
}
