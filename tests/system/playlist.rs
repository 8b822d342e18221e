//! A stream's playlists over time, read by a strict parser, and the segments that they named.

use crate::http;
use crate::media::{Frame, frames, play};
use crate::process::{output, wait_for};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// Between two looks at the playlists: half a segment, so that none passes through the window unseen.
const LOOK: Duration = Duration::from_secs(1);

/// What `tests/browser/playlists.mjs` prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Master {
    pub(crate) variants: Vec<Variant>,
    pub(crate) audio: Vec<Variant>,
}

/// A variant with its media playlist; of an audio rendition the fields with a default are not told.
#[derive(Debug, Deserialize)]
pub(crate) struct Variant {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) width: Option<u64>,
    pub(crate) height: Option<u64>,
    #[serde(default)]
    pub(crate) codecs: String,
    #[serde(rename = "frameRate")]
    pub(crate) frame_rate: Option<f64>,
    #[serde(default)]
    pub(crate) audio: bool,
    pub(crate) media: Media,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Media {
    pub(crate) target_duration: f64,
    pub(crate) ended: bool,
    pub(crate) segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Segment {
    pub(crate) seq: u64,
    url: String,
    init: Option<String>,
    pub(crate) duration: f64,
    pub(crate) gap: bool,
    pub(crate) discontinuity: bool,
    pub(crate) at: Option<f64>,
}

/// Reads a master playlist and all that it names.
pub(crate) fn read(master: &str) -> Result<Master, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/playlists.mjs");
    let told = output(Command::new("node").args([script, master]))?;
    serde_json::from_slice(&told.stdout).map_err(|error| error.to_string())
}

impl Segment {
    /// Its own length in bytes.
    pub(crate) fn payload(&self) -> Result<usize, String> {
        http::get(&self.url).map(|bytes| bytes.len())
    }

    /// Its initialisation and its own bytes, as a player would put them together.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        let init = self.init.as_deref().ok_or_else(|| format!("segment {} has no EXT-X-MAP", self.seq))?;
        Ok([http::get(init)?, http::get(&self.url)?].concat())
    }
}

/// Follows a live stream: every segment of every variant since the first look, with its bytes.
pub(crate) struct Watch {
    master: String,
    looked: Option<Instant>,
    /// By variant name and segment number; no bytes for a gap.
    pub(crate) seen: BTreeMap<String, BTreeMap<u64, (Segment, Vec<u8>)>>,
    pub(crate) last: Option<Master>,
}

impl Watch {
    pub(crate) fn new(master: String) -> Self {
        Self { master, looked: None, seen: BTreeMap::new(), last: None }
    }

    /// Looks at the playlists, at most once in [`LOOK`]. A segment must stay what it was when it was first listed.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let master = read(&self.master)?;
        for variant in &master.variants {
            let seen = self.seen.entry(variant.name.clone()).or_default();
            for segment in &variant.media.segments {
                if let Some((before, _)) = seen.get(&segment.seq) {
                    assert_eq!(before, segment, "a listed segment of {} has changed", variant.name);
                } else {
                    let bytes = if segment.gap { Vec::new() } else { segment.bytes()? };
                    seen.insert(segment.seq, (segment.clone(), bytes));
                }
            }
        }
        self.last = Some(master);
        Ok(())
    }

    /// The newest segment that every variant has listed.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.seen.values().map(|of| of.keys().last().copied()).min().flatten()
    }

    /// Looks on until every variant has listed segment `seq`.
    pub(crate) fn until(&mut self, seq: u64, limit: Duration) {
        wait_for(&format!("segment {seq} in every variant of {}", self.master), limit, || {
            self.look()?;
            let variants: Vec<_> = self.seen.iter().map(|(name, of)| (name, of.keys().last())).collect();
            if self.newest() >= Some(seq) { Ok(()) } else { Err(format!("the newest of each: {variants:?}")) }
        });
    }

    /// Looks on until every variant has listed `more` segments than now.
    pub(crate) fn until_more(&mut self, more: u64, limit: Duration) {
        let seq = self.newest().map_or(more - 1, |newest| newest + more);
        self.until(seq, limit);
    }

    /// Fails unless these variants are listed, in any order, with sound, and ffmpeg's own HLS client plays each.
    pub(crate) fn assert_plays(&self, variants: &[&str]) {
        let master = self.last.as_ref().unwrap();
        let mut listed: Vec<_> = master.variants.iter().map(|v| v.name.as_str()).collect();
        listed.sort_unstable();
        assert_eq!(listed, variants);
        for variant in &master.variants {
            assert!(variant.audio && variant.codecs.contains("mp4a.40.2"), "{}: {}", variant.name, variant.codecs);
            play(&variant.url, 30);
        }
    }

    /// Fails unless every variant has every segment from the first to the last seen, and none is a gap.
    pub(crate) fn assert_whole(&self) {
        for (variant, segments) in &self.seen {
            let gaps: Vec<_> = segments.values().filter(|(s, _)| s.gap).map(|(s, _)| s.seq).collect();
            assert!(gaps.is_empty(), "{variant}: gaps at {gaps:?}");
            let (first, last) = (*segments.keys().next().unwrap(), *segments.keys().last().unwrap());
            let missing: Vec<_> = (first..=last).filter(|seq| !segments.contains_key(seq)).collect();
            assert!(missing.is_empty(), "{variant}: not listed: {missing:?} of {first}..={last}");
        }
    }

    /// Fails unless every segment of every variant starts with a key frame, and has the frames and the duration of its source.
    pub(crate) fn assert_same_frames(&self) {
        let times = |frames: &[Frame]| frames.iter().map(|f| f.pts).collect::<Vec<_>>();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (seq, (of_source, source)) in &self.seen["source"] {
            let source = frames(source).unwrap();
            for (variant, segments) in &self.seen {
                let Some((segment, bytes)) = segments.get(seq) else { continue };
                let of = format!("{variant}, segment {seq}");
                let made = frames(bytes).unwrap();
                assert!(made[0].key, "{of}: does not start with a key frame");
                assert_eq!(times(&made), times(&source), "{of}: not the source's frames");
                assert!((segment.duration - of_source.duration).abs() < 0.001, "{of}: not its source's duration");
                assert_eq!(segment.discontinuity, of_source.discontinuity, "{of}: not its source's discontinuity");
                *counts.entry(variant).or_default() += made.len();
            }
        }
        println!("pictures at the source's times: {counts:?}");
    }
}
