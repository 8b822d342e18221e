//! The transcoder's section of the configuration.

use serde::{Deserialize, Serialize};

/// `[transcoder]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranscoderConfig {
    /// The orchestrator's address; where it is, is in the registry.
    pub orchestrator: String,
    /// Which encoder: `auto`, `nvenc` or `x264`.
    pub encoder: String,
    /// Own bond in the registry, MILL.
    pub bond_mill: String,
    /// Price asked, wei per million pixels of renditions.
    pub price_per_megapixel: u64,
    /// What a winning ticket pays, wei.
    pub face_value_wei: String,
    /// Megapixels a second to take on; 0: as calibrated at start.
    pub capacity: u32,
    /// Winners that wait before they are redeemed together.
    pub redeem_batch: usize,
    /// How long a winner may wait for company, seconds.
    pub redeem_after_s: u64,
    /// Returns `black` frames or the `previous` segment: to see verification at work. Empty for honest work.
    pub lie: String,
}

/// Each key and what it does, for the reference and the command line.
pub const DOCS: &[(&str, &str)] = &[
    ("orchestrator", "address of the orchestrator to work for; where it is, is in the registry"),
    ("encoder", "auto, nvenc or x264: auto takes NVENC where an encode session opens, x264 otherwise"),
    ("bond_mill", "the node's own bond in the registry, MILL; a node whose bond is smaller adds to it at its start"),
    ("price_per_megapixel", "price asked, wei per million pixels of renditions"),
    ("face_value_wei", "what a winning ticket pays, wei; at least 50 redemptions' cost"),
    ("capacity", "megapixels a second of renditions to take on; 0 for what calibration finds at start"),
    ("redeem_batch", "winners that wait before they are redeemed together"),
    ("redeem_after_s", "how long a winner may wait for company before it is redeemed, seconds"),
    ("lie", "black or previous: returns wrong pictures, to see verification catch it; empty for honest work"),
];

impl Default for TranscoderConfig {
    fn default() -> Self {
        Self {
            orchestrator: String::new(),
            encoder: "auto".into(),
            bond_mill: "100".into(),            // the least one that the registry takes
            price_per_megapixel: 1_000_000_000, // 1,000 wei a pixel
            face_value_wei: "1000000000000000".into(),
            capacity: 0,
            redeem_batch: 8,
            redeem_after_s: 7200,
            lie: String::new(),
        }
    }
}
