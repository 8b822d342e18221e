//! The broadcaster's section of the configuration.

use serde::{Deserialize, Serialize};

/// `[broadcaster]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcasterConfig {
    /// Where encoders publish by RTMP.
    pub rtmp_listen: String,
    /// UDP ports for publishers by WHIP: a range, or 0 for free ones.
    pub whip_udp_ports: String,
    /// The address that publishers by WHIP reach this machine by, where it is not its own.
    pub whip_public_address: String,
    /// Where encoders publish by SRT; empty: nowhere.
    pub srt_listen: String,
    /// What publishers by SRT encrypt with; empty: nothing.
    pub srt_passphrase: String,
    /// How long a lost packet of SRT may take to come, ms.
    pub srt_latency_ms: u32,
    /// Stream keys, and the public name that each stands for.
    pub keys: Vec<StreamKey>,
    /// The ladder, highest first.
    pub ladder: Vec<Rung>,
    /// Orchestrators by address, best first; found through the registry.
    pub orchestrators: Vec<String>,
    /// The most paid, wei per million pixels.
    pub max_price_per_megapixel: u64,
    /// Locked for each orchestrator at the ticket broker, wei.
    pub orchestrator_lock_wei: String,
    /// Whose money this node spends; empty: its own.
    pub payer: String,
    /// How long after a segment's last part its ladder may come, ms.
    pub ladder_ms: u64,
    /// Whether orchestrators hold renditions back until they are verified.
    pub verify_before_publish: bool,
}

/// A stream key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamKey {
    /// The public name, part of the HLS URL.
    pub name: String,
    /// The secret that the encoder sends.
    pub key: String,
}

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Length of the shorter side, pixels.
    pub height: u32,
    /// Video bit rate, bit/s.
    pub bitrate: u32,
}

/// Each key and what it does, for the reference and the command line.
pub const DOCS: &[(&str, &str)] = &[
    ("rtmp_listen", "TCP address on which encoders publish by RTMP; port 0 takes a free one"),
    (
        "whip_udp_ports",
        "UDP ports of publishers by WHIP, one for each: a range such as 40000-40099, or 0 for 32 that the system picks",
    ),
    (
        "whip_public_address",
        "the IP address that publishers by WHIP reach this machine by, where NAT gives it another than its own; empty for its own",
    ),
    (
        "srt_listen",
        "UDP address on which encoders publish by SRT, such as 0.0.0.0:8890; port 0 takes a free one; empty for no SRT",
    ),
    (
        "srt_passphrase",
        "passphrase of all publishers by SRT, 10 to 79 characters, without which none is let in; empty for no encryption; the environment is a better place for it than a flag",
    ),
    (
        "srt_latency_ms",
        "how long a packet lost on the way to SRT may take to be sent again, ms, 20 to 8000: three to four round trips; an encoder that asks for more gets more",
    ),
    ("keys", "stream keys: a list of { name, key }, the public name and the secret"),
    ("ladder", "renditions, highest first: a list of { height, bitrate }, the shorter side in pixels and bit/s"),
    ("orchestrators", "orchestrators' addresses, best first; where they are is in the registry"),
    ("max_price_per_megapixel", "the most paid to an orchestrator, wei per million pixels of renditions"),
    ("orchestrator_lock_wei", "locked at the ticket broker for each orchestrator, wei"),
    (
        "payer",
        "address of the account whose money this node spends, if it has made this node's key a session key; empty for the node's own",
    ),
    ("ladder_ms", "how long after a segment's last part its renditions may come, ms; then they are marked as a gap"),
    ("verify_before_publish", "whether orchestrators hold renditions back until they are verified"),
];

impl Default for BroadcasterConfig {
    fn default() -> Self {
        let rung = |height, bitrate| Rung { height, bitrate };
        Self {
            rtmp_listen: "0.0.0.0:1935".into(),
            whip_udp_ports: "0".into(),
            whip_public_address: String::new(),
            srt_listen: String::new(),
            srt_passphrase: String::new(),
            srt_latency_ms: 200, // four round trips of 50 ms; SRT's own default is 120
            keys: Vec::new(),
            ladder: vec![rung(720, 2_500_000), rung(480, 1_200_000), rung(360, 700_000)],
            orchestrators: Vec::new(),
            max_price_per_megapixel: 2_000_000_000,            // 2,000 wei a pixel
            orchestrator_lock_wei: "20000000000000000".into(), // 20 face values of the default
            payer: String::new(),
            ladder_ms: 12_000, // three attempts and a transcoder's return
            verify_before_publish: false,
        }
    }
}

/// A rendition of a source of `width` x `height` for each rung that does not enlarge it, or one of the source's own size for the
/// lowest rung: (name, width, height, bit rate). Sides are even, and the shorter one is the rung's. The name is the rung's, so that
/// a player that chose a rung stays on it when the source's size changes.
pub fn ladder(rungs: &[Rung], width: u32, height: u32) -> Vec<(String, u32, u32, u32)> {
    let short = width.min(height);
    let fit = |rung: u32| {
        let scale = |side: u32| {
            let scaled = (u64::from(side) * u64::from(rung) + u64::from(short) / 2) / u64::from(short.max(1));
            (scaled as u32 + 1) & !1
        };
        (scale(width), scale(height))
    };
    let made = |rung: &Rung, side: u32| {
        let (w, h) = fit(side);
        (format!("{}p", rung.height), w, h, rung.bitrate)
    };
    let mut ladder: Vec<_> =
        rungs.iter().filter(|rung| rung.height <= short).map(|rung| made(rung, rung.height)).collect();
    if ladder.is_empty() {
        ladder.extend(rungs.iter().min_by_key(|rung| rung.height).map(|lowest| made(lowest, short & !1)));
    }
    ladder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(width: u32, height: u32) -> Vec<(String, u32, u32)> {
        ladder(&BroadcasterConfig::default().ladder, width, height).into_iter().map(|(n, w, h, _)| (n, w, h)).collect()
    }

    #[test]
    fn rungs_never_enlarge_the_source_and_keep_its_shape() {
        assert_eq!(
            sizes(1280, 720),
            [("720p".into(), 1280, 720), ("480p".into(), 854, 480), ("360p".into(), 640, 360)]
        );
        assert_eq!(sizes(720, 1280)[1], ("480p".into(), 480, 854));
        assert_eq!(sizes(640, 360), [("360p".into(), 640, 360)]);
        assert_eq!(sizes(640, 272), [("360p".into(), 640, 272)]);
        assert_eq!(sizes(177, 145), [("360p".into(), 176, 144)]);
    }
}
