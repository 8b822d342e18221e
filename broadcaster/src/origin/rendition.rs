//! What a stream holds of one rendition: parts, segments and init segments. Sans-IO.

use super::stream::Slot;
use crate::events::TICKS_PER_SECOND;
use crate::segmenter::PART_TARGET;
use bytes::Bytes;
use millrace_media::captions::Captions;
use millrace_media::cmaf::{CmafError, read_head};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// LL-HLS asks of every part but the last of its segment that it fill so much of the part target, in hundredths.
const LEAST_FILL: i64 = 85;
/// A part target that is measured leaves so much room, in hundredths: frames are never quite as long as the one before.
const MEASURED_ROOM: i64 = 105;

/// Where a rendition's segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Ready,
    Gap,
}

/// One `moof` and `mdat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Units of the track's timescale.
    pub(super) duration: i64,
    /// It starts with a key sample.
    pub(super) independent: bool,
    /// Bytes to the end of its first sample.
    pub(super) first_sample_end: usize,
}

impl Part {
    /// Reads what the playlist says of a part.
    pub(super) fn read(bytes: Bytes) -> Result<Self, CmafError> {
        let head = read_head(&bytes)?;
        let duration = head.duration.min(u64::from(u32::MAX)) as i64;
        Ok(Self { duration, independent: head.key, first_sample_end: head.first_sample_end, bytes })
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) init: u32,
    pub(super) parts: Vec<Part>,
    pub(super) progress: Progress,
    pub(super) bytes: usize,
    /// Own duration in ticks, where it differs from the slot's (audio).
    pub(super) duration: Option<i64>,
    /// Parts of another attempt have been shown: this one is listed whole, and its parts never are.
    pub(super) whole: bool,
}

impl Segment {
    pub(super) fn open(init: u32) -> Self {
        Self { init, parts: Vec::new(), progress: Progress::Open, bytes: 0, duration: None, whole: false }
    }

    /// Bytes to the end of the key picture that it begins with.
    pub(super) fn key_picture(&self) -> Option<usize> {
        self.parts.first().filter(|part| part.independent).map(|part| part.first_sample_end)
    }

    pub(super) fn gap() -> Self {
        Self { progress: Progress::Gap, ..Self::open(0) }
    }
}

/// What a rendition is, for the master playlist.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) codec: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Configured bit/s; 0 for what is only measured.
    pub(crate) bitrate: u32,
    /// Those of the source, which are in every picture made of it.
    #[serde(default)]
    pub(crate) captions: Captions,
    /// Audio only.
    pub(crate) channels: u8,
}

#[derive(Debug, Default)]
pub(super) struct Rendition {
    pub(super) about: Description,
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) inits: BTreeMap<u32, Init>,
    pub(super) next_init: u32,
    /// From which segment on it is made, and from which on it is not.
    pub(super) made: BTreeMap<u64, bool>,
    /// Its playlist lists the segments before this one.
    pub(super) listed_to: u64,
    /// Highest bit rate of any segment, bit/s.
    pub(super) peak: u64,
    /// The same of the key picture that it begins with alone.
    pub(super) key_peak: u64,
    total_bits: u64,
    total_ticks: u64,
}

/// An init segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Init {
    pub(super) bytes: Bytes,
    /// Units per second of the parts that need it.
    pub(super) timescale: i64,
}

impl Rendition {
    /// Bit/s over all segments so far.
    pub(super) fn average(&self) -> u64 {
        (self.total_bits * TICKS_PER_SECOND as u64).checked_div(self.total_ticks).unwrap_or(0)
    }

    /// Counts segment `number`, of so many ticks, in the bit rates. One shorter than `least` says nothing about the peaks.
    pub(super) fn measure(&mut self, number: u64, ticks: i64, least: i64) {
        let Some(segment) = self.segments.get(&number).filter(|_| ticks > 0) else { return };
        let bits = segment.bytes as u64 * 8;
        self.total_bits += bits;
        self.total_ticks += ticks as u64;
        if self.peak == 0 || ticks >= least {
            let rate = |bits: u64| (bits * TICKS_PER_SECOND as u64).div_ceil(ticks as u64);
            self.peak = self.peak.max(rate(bits));
            self.key_peak = self.key_peak.max(segment.key_picture().map_or(0, |bytes| rate(bytes as u64 * 8)));
        }
    }

    /// False once it was taken out of the ladder.
    pub(super) fn is_active(&self) -> bool {
        self.is_made(u64::MAX)
    }

    pub(super) fn is_made(&self, number: u64) -> bool {
        at(&self.made, number).copied().unwrap_or(false)
    }

    pub(super) fn progress(&self, slot: &Slot) -> Progress {
        if slot.too_long {
            return Progress::Gap;
        }
        self.segments.get(&slot.number).map_or(Progress::Open, |segment| segment.progress)
    }

    /// Duration of a part of `segment` in ticks.
    pub(super) fn ticks(&self, segment: &Segment, part: &Part) -> i64 {
        let timescale = self.inits.get(&segment.init).map_or(TICKS_PER_SECOND, |init| init.timescale);
        part.duration * TICKS_PER_SECOND / timescale.max(1)
    }

    /// The parts of segment `number` that a playlist may name, with their ticks: none from the first on that is longer than the part
    /// target or too short for it, and none of what makes the segment longer than `limit` ticks. The last part of a segment may be
    /// short, and a player knows it to be the last when the segment is listed: it is named then, and not before.
    pub(super) fn parts(&self, number: u64, part_target: i64, limit: i64) -> Vec<(&Part, i64)> {
        let Some(segment) = self.segments.get(&number).filter(|segment| !segment.whole) else { return Vec::new() };
        let last = segment.parts.len().checked_sub(1).filter(|_| segment.progress == Progress::Ready);
        let mut sum = 0;
        let parts = segment.parts.iter().map(|part| (part, self.ticks(segment, part)));
        let fits = |index: usize, ticks: i64| {
            ticks <= part_target && (ticks * 100 >= part_target * LEAST_FILL || Some(index) == last)
        };
        let listed = parts.enumerate().take_while(|(index, (_, ticks))| {
            sum += ticks;
            fits(*index, *ticks) && sum <= limit
        });
        listed.map(|(_, part)| part).collect()
    }

    /// The part target in ticks that the parts of segment `number` suggest, where they are typical of the stream.
    pub(super) fn measured_part_target(&self, number: u64) -> i64 {
        let Some(segment) = self.segments.get(&number) else { return PART_TARGET };
        let full = segment.parts.split_last().map_or(&[][..], |(_, full)| full);
        match full.iter().map(|part| self.ticks(segment, part)).max() {
            Some(longest) if longest > PART_TARGET || longest * 100 < PART_TARGET * LEAST_FILL => {
                (longest * MEASURED_ROOM).div_euclid(100)
            }
            _ => PART_TARGET,
        }
    }
}

/// What holds for segment `number`, of what is noted by the segment that it holds from.
pub(super) fn at<T>(since: &BTreeMap<u64, T>, number: u64) -> Option<&T> {
    since.range(..=number).next_back().map(|(_, value)| value)
}
