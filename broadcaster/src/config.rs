//! The broadcaster's section of the configuration.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::B256;
use millrace_hop::account::AccountError;
use serde::{Deserialize, Serialize};

use crate::ingest::{CONNECTIONS_PER_STREAM, Limits, MOST_STREAMS, keyring, webhook};
use crate::origin::{self, Access, Keep, LEAST_SECRET};
use crate::recording::{self, Options, Policy};

/// Rungs of a ladder at most.
const MOST_RUNGS: usize = 8;
/// Bounds of a rung's height, pixels: what encoders take, and 4K.
const RUNG_HEIGHTS: std::ops::RangeInclusive<u32> = 64..=2_160;
/// Bounds of a rung's bit rate, bit/s.
const RUNG_BITRATES: std::ops::RangeInclusive<u32> = 50_000..=50_000_000;
/// Bounds of a playlist's length, seconds: four hours are 7,200 segments, and half a megabyte of playlist.
const WINDOWS: std::ops::RangeInclusive<u64> = 0..=14_400;
/// Bounds of the memory of one stream, MiB.
const STREAM_MEGABYTES: std::ops::RangeInclusive<u64> = 64..=65_536;
/// The longest wait for a publisher to come back, ms: its stream keeps its memory meanwhile.
const MOST_RECONNECT_MS: u64 = 600_000;

/// `[broadcaster]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcasterConfig {
    /// Where encoders publish by RTMP.
    pub rtmp_listen: String,
    /// Where encoders publish by RTMPS; empty: nowhere.
    pub rtmps_listen: String,
    /// The certificate of RTMPS, a PEM file; empty: the node's.
    pub tls_certificate: String,
    /// Its private key, a PEM file.
    pub tls_key: String,
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
    /// Stream keys, and the public name that each stands for, beside those in the database.
    pub keys: Vec<StreamKey>,
    /// Program of the operator that is asked for each publisher; empty: none is.
    pub auth_webhook: String,
    /// Signs what it is asked.
    pub auth_webhook_secret: String,
    /// How long it may take, ms.
    pub auth_webhook_ms: u64,
    /// Whether keys that this node knows are good while it fails.
    pub auth_webhook_fail_open: bool,
    /// Live streams at once.
    pub max_streams: usize,
    /// Live streams at once from one address.
    pub max_streams_per_address: usize,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// Wrong keys from one address in a minute, then it is refused for a while; 0: any number.
    pub wrong_keys_per_minute: u32,
    /// How long playlists wait for a publisher that vanished, ms.
    pub reconnect_ms: u64,
    /// How far playlists reach back, seconds.
    pub window_seconds: u64,
    /// Memory of one stream, all renditions, MiB.
    pub stream_megabytes: u64,
    /// Signs playback addresses; empty: anybody may watch.
    pub playback_secret: String,
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
    /// Where streams are recorded to: a directory, or `s3://bucket/prefix`; empty: nowhere.
    pub recording: String,
    /// Which of them: `all` or `asked`.
    pub record: String,
    /// How long recordings stay, hours; 0: for ever.
    pub recording_retention_hours: u64,
    /// Bytes of all recordings, past which the oldest go; 0: any number.
    pub recording_max_bytes: u64,
}

/// A stream key: itself, or its hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamKey {
    /// The public name, part of the HLS URL.
    pub name: String,
    /// The secret that the encoder sends.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Instead of it its SHA-256, 64 hex digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
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

/// Keys whose values are never told.
pub const SECRETS: &[&str] = &["srt_passphrase", "keys", "auth_webhook", "auth_webhook_secret", "playback_secret"];

/// Each key and what it does, for the reference and the command line.
pub const DOCS: &[(&str, &str)] = &[
    ("rtmp_listen", "TCP address on which encoders publish by RTMP; port 0 takes a free one"),
    (
        "rtmps_listen",
        "TCP address on which encoders publish by RTMPS (RTMP over TLS), such as 0.0.0.0:1936; empty for none",
    ),
    (
        "tls_certificate",
        "PEM file with the certificate of rtmps_listen, where that is not node.tls_certificate; read again within 30 s of a change",
    ),
    ("tls_key", "PEM file with the private key of tls_certificate, without a passphrase"),
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
    (
        "keys",
        "stream keys, beside those that millrace key makes: a list of { name, key }, the public name and the secret, or of { name, \
         hash }, where hash is the secret's SHA-256",
    ),
    (
        "auth_webhook",
        "URL that is asked, by a signed POST, whether a publisher may publish, under which name and with which ladder; empty for none",
    ),
    ("auth_webhook_secret", "what the webhook's requests are signed with, 16 characters or more"),
    ("auth_webhook_ms", "how long the webhook may take, ms, 8000 at most"),
    (
        "auth_webhook_fail_open",
        "whether keys that this node itself knows let publishers in while the webhook does not answer as it should",
    ),
    ("max_streams", "live streams at once, 1 to 1024"),
    ("max_streams_per_address", "live streams at once from one address, 1 to 1024"),
    (
        "max_connections_per_address",
        "connections at once from one address, by protocols that have connections, live or not, 1 to 4096",
    ),
    (
        "wrong_keys_per_minute",
        "after so many wrong keys from one address in a minute, all its publishers are refused for 5 minutes; 0 for never; not on \
         loopback",
    ),
    ("reconnect_ms", "how long playlists wait for a publisher that vanished before they end, ms, 600000 at most"),
    (
        "window_seconds",
        "how far back viewers can go, seconds, 0 to 14400; ten segments at least, and no more than stream_megabytes holds; as much again \
         stays fetchable behind it for players that are slow",
    ),
    (
        "stream_megabytes",
        "memory of one stream with all its renditions, MiB, 64 to 65536: past it the oldest segments go early",
    ),
    (
        "playback_secret",
        "signs playback addresses, 16 characters or more: only who has an address by millrace key sign, or one signed alike, may watch; \
         empty: anybody; the environment is a better place for it than a flag",
    ),
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
    (
        "recording",
        "where streams are recorded to, with all renditions: a directory, or s3://BUCKET/PREFIX, for which the environment has \
         AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; empty for nowhere",
    ),
    (
        "record",
        "which streams are recorded: all (but those of which the auth webhook says no), or asked (only those of which it says yes)",
    ),
    ("recording_retention_hours", "how long after its end a recording is deleted, hours; 0 for never"),
    (
        "recording_max_bytes",
        "how many bytes all recordings may have together, before the oldest are deleted; 0 for any number; one that goes on is never \
         deleted",
    ),
];

impl Default for BroadcasterConfig {
    fn default() -> Self {
        let rung = |height, bitrate| Rung { height, bitrate };
        let limits = Limits::default();
        Self {
            rtmp_listen: "0.0.0.0:1935".into(),
            rtmps_listen: String::new(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            whip_udp_ports: "0".into(),
            whip_public_address: String::new(),
            srt_listen: String::new(),
            srt_passphrase: String::new(),
            srt_latency_ms: 200, // four round trips of 50 ms; SRT's own default is 120
            keys: Vec::new(),
            auth_webhook: String::new(),
            auth_webhook_secret: String::new(),
            auth_webhook_ms: 3_000, // a slow database behind it, and a person who waits for their stream to start
            auth_webhook_fail_open: false,
            max_streams: limits.streams,
            max_streams_per_address: limits.streams_per_address,
            max_connections_per_address: limits.connections_per_address,
            wrong_keys_per_minute: limits.wrong_keys_per_minute,
            reconnect_ms: origin::LINGER.as_millis() as u64,
            window_seconds: 20,
            stream_megabytes: (origin::STREAM_BYTES >> 20) as u64,
            playback_secret: String::new(),
            ladder: vec![rung(720, 2_500_000), rung(480, 1_200_000), rung(360, 700_000)],
            orchestrators: Vec::new(),
            max_price_per_megapixel: 2_000_000_000,            // 2,000 wei a pixel
            orchestrator_lock_wei: "20000000000000000".into(), // 20 face values of the default
            payer: String::new(),
            ladder_ms: 12_000, // three attempts and a transcoder's return
            verify_before_publish: false,
            recording: String::new(),
            record: "all".into(),
            recording_retention_hours: 0,
            recording_max_bytes: 0,
        }
    }
}

impl BroadcasterConfig {
    /// The keys of the configuration by their hashes, with their names. Refuses what could never let anybody in, and one key for two
    /// names.
    pub fn keys_by_hash(&self) -> Result<HashMap<B256, String>, AccountError> {
        let mut keys = HashMap::new();
        for StreamKey { name, key, hash } in &self.keys {
            let wrong = |reason: String| wrong("broadcaster.keys", name, reason);
            origin::check_name(name).map_err(|error| wrong(error.to_string()))?;
            let hash = match (key.as_str(), hash.as_str()) {
                ("", "") => return Err(wrong("it has neither key nor hash: give one of them".into())),
                (key, "") => keyring::hash(key),
                ("", hash) => hash
                    .parse()
                    .map_err(|error| wrong(format!("its hash is not the 64 hex digits of a SHA-256: {error}")))?,
                _ => return Err(wrong("it has both key and hash: give one of them".into())),
            };
            if let Some(other) = keys.insert(hash, name.clone()).filter(|other| other != name) {
                return Err(wrong(format!("its key is that of {other} too: give each name a key of its own")));
            }
        }
        Ok(keys)
    }

    /// The webhook, where there is one.
    pub fn webhook(&self) -> Result<Option<webhook::Webhook>, AccountError> {
        if self.auth_webhook.is_empty() {
            return Ok(None);
        }
        let limit = Duration::from_millis(self.auth_webhook_ms);
        let made = webhook::Webhook::new(&self.auth_webhook, &self.auth_webhook_secret, limit);
        made.map(Some).map_err(|error| wrong("broadcaster.auth_webhook", &self.auth_webhook, error.to_string()))
    }

    /// What the node and each address may have.
    pub fn limits(&self) -> Result<Limits, AccountError> {
        let within = |key, value: usize, most: usize| match value {
            value if (1..=most).contains(&value) => Ok(value),
            value => Err(wrong(key, &value.to_string(), format!("it must be 1 to {most}"))),
        };
        let (streams, connections) = (MOST_STREAMS, MOST_STREAMS * CONNECTIONS_PER_STREAM);
        Ok(Limits {
            streams: within("broadcaster.max_streams", self.max_streams, streams)?,
            streams_per_address: within("broadcaster.max_streams_per_address", self.max_streams_per_address, streams)?,
            connections_per_address: within(
                "broadcaster.max_connections_per_address",
                self.max_connections_per_address,
                connections,
            )?,
            wrong_keys_per_minute: self.wrong_keys_per_minute,
            ..Limits::default()
        })
    }

    /// What is recorded, where to and for how long; `None` for nothing.
    pub(crate) fn recording(&self) -> Result<Option<Options>, AccountError> {
        let policy = match self.record.as_str() {
            "all" => Policy::All,
            "asked" => Policy::Asked,
            other => return Err(wrong("broadcaster.record", other, "it must be all or asked".into())),
        };
        if self.recording.is_empty() {
            return Ok(None);
        }
        let store = recording::Store::open(&self.recording)
            .map_err(|error| wrong("broadcaster.recording", &self.recording, error.to_string()))?;
        let keep = recording::Keep { hours: self.recording_retention_hours, bytes: self.recording_max_bytes };
        Ok(Some(Options { store, policy, keep, access: self.access()? }))
    }

    /// How much of a stream is kept.
    pub fn keep(&self) -> Result<Keep, AccountError> {
        let within = |key, value: u64, range: std::ops::RangeInclusive<u64>| match range.contains(&value) {
            true => Ok(value),
            false => Err(wrong(key, &value.to_string(), format!("it must be {} to {}", range.start(), range.end()))),
        };
        let linger = within("broadcaster.reconnect_ms", self.reconnect_ms, 0..=MOST_RECONNECT_MS)?;
        let window = within("broadcaster.window_seconds", self.window_seconds, WINDOWS)?;
        let megabytes = within("broadcaster.stream_megabytes", self.stream_megabytes, STREAM_MEGABYTES)?;
        Ok(Keep {
            linger: Duration::from_millis(linger),
            window: Duration::from_secs(window),
            bytes: (megabytes as usize) << 20,
            streams: 2 * self.max_streams, // as many that have just ended, for their viewers
        })
    }

    /// Who may watch.
    pub fn access(&self) -> Result<Access, AccountError> {
        let length = self.playback_secret.chars().count();
        if (1..LEAST_SECRET).contains(&length) {
            let value = format!("({length} characters)");
            return Err(wrong(
                "broadcaster.playback_secret",
                &value,
                format!("the least is {LEAST_SECRET} characters"),
            ));
        }
        Ok(Access::new(&self.playback_secret))
    }
}

fn wrong(key: &'static str, value: &str, reason: String) -> AccountError {
    AccountError::Config { key, value: value.to_owned(), reason }
}

/// Puts a ladder that somebody else made in order, highest first, or says what is wrong with it. An empty one is good: the stream then
/// has its source only.
pub fn check_ladder(mut rungs: Vec<Rung>) -> Result<Vec<Rung>, String> {
    if rungs.len() > MOST_RUNGS {
        return Err(format!("it has {} rungs, and the most is {MOST_RUNGS}", rungs.len()));
    }
    for Rung { height, bitrate } in &rungs {
        if !RUNG_HEIGHTS.contains(height) {
            let (least, most) = RUNG_HEIGHTS.into_inner();
            return Err(format!("a height of {height} is not within {least} to {most} pixels"));
        }
        if !RUNG_BITRATES.contains(bitrate) {
            let (least, most) = RUNG_BITRATES.into_inner();
            return Err(format!("a bit rate of {bitrate} is not within {least} to {most} bit/s"));
        }
    }
    rungs.sort_by_key(|rung| std::cmp::Reverse(rung.height));
    if let Some(twice) = rungs.windows(2).find(|pair| pair[0].height == pair[1].height) {
        return Err(format!("it has the height {} twice", twice[0].height));
    }
    Ok(rungs)
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

    #[test]
    fn keys_are_given_themselves_or_by_their_hash_and_what_could_never_work_is_named() {
        let key =
            |name: &str, key: &str, hash: &str| StreamKey { name: name.into(), key: key.into(), hash: hash.into() };
        let read = |keys: &[StreamKey]| BroadcasterConfig { keys: keys.to_vec(), ..Default::default() }.keys_by_hash();
        // printf %s secret | sha256sum
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let by_key = read(&[key("show", "secret", ""), key("show", "other", "")]).unwrap();
        assert_eq!(by_key.len(), 2, "several keys may have one name");
        assert_eq!(by_key[&read(&[key("show", "", hash)]).unwrap().into_keys().next().unwrap()], "show");
        for (keys, words) in [
            (vec![key("show", "", "")], "neither"),
            (vec![key("show", "secret", hash)], "both"),
            (vec![key("show", "", "2bb8")], "64 hex digits"),
            (vec![key("no/path", "secret", "")], "no/path"),
            (vec![key("show", "secret", ""), key("other", "", hash)], "show too"),
        ] {
            let error = read(&keys).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_its_bounds() {
        let read = |config: BroadcasterConfig| {
            config.limits()?;
            config.keep()?;
            config.access()?;
            config.recording()?;
            config.webhook()
        };
        let fine = BroadcasterConfig::default;
        assert!(matches!(read(fine()), Ok(None)));
        let hook = || BroadcasterConfig { auth_webhook: "https://auth.example".into(), ..fine() };
        let secret = "0123456789abcdef".to_owned();
        for (config, words) in [
            (BroadcasterConfig { max_streams: 0, ..fine() }, "1 to 1024"),
            (BroadcasterConfig { max_streams_per_address: 1025, ..fine() }, "1 to 1024"),
            (BroadcasterConfig { max_connections_per_address: 4097, ..fine() }, "1 to 4096"),
            (BroadcasterConfig { reconnect_ms: 600_001, ..fine() }, "600000"),
            (BroadcasterConfig { window_seconds: 14_401, ..fine() }, "0 to 14400"),
            (BroadcasterConfig { stream_megabytes: 63, ..fine() }, "64 to 65536"),
            (BroadcasterConfig { playback_secret: "fifteen letters".into(), ..fine() }, "the least is 16 characters"),
            (BroadcasterConfig { record: "some".into(), ..fine() }, "all or asked"),
            (BroadcasterConfig { recording: "s3://".into(), ..fine() }, "s3://BUCKET"),
            (hook(), "auth_webhook_secret"),
            (BroadcasterConfig { auth_webhook_secret: "short".into(), ..hook() }, "5 characters"),
            (BroadcasterConfig { auth_webhook: "ftp://auth.example".into(), ..hook() }, "http"),
            (BroadcasterConfig { auth_webhook_secret: secret.clone(), auth_webhook_ms: 8_001, ..hook() }, "1 to 8000"),
            (BroadcasterConfig { auth_webhook_secret: secret, auth_webhook_ms: 0, ..hook() }, "1 to 8000"),
        ] {
            let error = read(config).err().unwrap().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn a_ladder_from_elsewhere_is_put_in_order_and_kept_within_bounds() {
        let rung = |height, bitrate| Rung { height, bitrate };
        let sorted = check_ladder(vec![rung(360, 700_000), rung(720, 2_000_000)]).unwrap();
        assert_eq!(sorted, [rung(720, 2_000_000), rung(360, 700_000)]);
        assert_eq!(check_ladder(Vec::new()), Ok(Vec::new()));
        let nine: Vec<_> = (1..=9).map(|n| rung(n * 100, 700_000)).collect();
        for (ladder, words) in [
            (nine, "9 rungs"),
            (vec![rung(20_000, 700_000)], "20000"),
            (vec![rung(0, 700_000)], "pixels"),
            (vec![rung(360, 7)], "bit/s"),
            (vec![rung(360, 700_000), rung(360, 800_000)], "360 twice"),
        ] {
            assert!(check_ladder(ladder).unwrap_err().contains(words), "{words}");
        }
    }
}
