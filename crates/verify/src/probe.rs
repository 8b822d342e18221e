//! Layer A: is the rendition what was agreed, frame for frame? Container facts only; no picture is decoded.
//!
//! What bytes can tell ends early: a static scene honestly compresses to almost nothing, so a low bit rate is no proof, and a
//! source's own size is none either (many encoders pad to a constant rate). The floor here is what an empty frame costs; whether
//! the bits were spent well is layer D's question.

use crate::Fault;
use serde::{Deserialize, Serialize};

/// Ticks per second of every video timestamp.
pub const TIMESCALE: u64 = 90_000;
/// H.264 profiles that every player decodes: baseline, main, high. All are 4:2:0 at 8 bit.
pub const PROFILES: [u8; 3] = [66, 77, 100];
/// The display aspect may be off by 1/50: sizes are even, so 426x240 or 854x480 miss 16:9 a little.
pub const ASPECT_TOLERANCE: u64 = 50;
/// Key frames beyond the source's own and the first: one each half second. Encoders cut at scene changes, which is fine; a
/// rendition of nothing but key frames saves the worker the search for motion and wastes the agreed bits.
pub const TICKS_PER_EXTRA_KEY: u64 = TIMESCALE / 2;
/// No frame takes less, with its length prefix and its header: x264's smallest skipped frame has 12 and more.
pub const MIN_BYTES_PER_FRAME: u64 = 8;
/// The ceiling is this many percent of what the rate and a full buffer allow: encoders overshoot on content like noise.
pub const MAX_RATE_PERCENT: u64 = 150;
/// The encoder's buffer holds one second at the agreed rate, and a segment may use all of it.
pub const BUFFER_TICKS: u64 = TIMESCALE;
/// Container bytes per frame (a part of one frame is the worst case: `moof` and `mdat` around every one).
pub const OVERHEAD_PER_FRAME: u64 = 256;

/// What the container and the parameter sets say of one segment. Filled by who parses them; nothing here is decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentShape {
    /// Width in pixels, after cropping.
    pub width: u32,
    /// Height in pixels, after cropping.
    pub height: u32,
    /// Sample aspect ratio; a zero in it means "not said", hence square.
    pub sar: (u32, u32),
    /// Codec, by the name that profiles use: `h264`.
    pub codec: String,
    /// H.264 `profile_idc`.
    pub profile: u8,
    /// Number of frames.
    pub frames: u32,
    /// Presentation times in 90 kHz ticks, one for each frame, in any order.
    pub pts: Vec<i64>,
    /// Sum of the frames' durations in 90 kHz ticks.
    pub duration: u64,
    /// Which frames are key frames, in decoding order.
    pub keys: Vec<bool>,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Whether the first frame in decoding order is an IDR, by its NAL units and not by what the container claims.
    pub starts_with_idr: bool,
}

/// What the assignment asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bits per second.
    pub bitrate: u32,
    /// Codec, by the name that profiles use.
    pub codec: String,
}

/// Compares a rendition of a segment with its source and with what was asked for. The first fault found is returned.
pub fn probe(source: &SegmentShape, rendition: &SegmentShape, want: &Wanted) -> Result<(), Fault> {
    consistent(rendition)?;
    format(source, rendition, want)?;
    times(source, rendition)?;
    keys(source, rendition)?;
    bytes(rendition, want)
}

fn consistent(shape: &SegmentShape) -> Result<(), Fault> {
    let frames = shape.frames as usize;
    if shape.pts.len() == frames && shape.keys.len() == frames {
        return Ok(());
    }
    let (pts, keys) = (shape.pts.len(), shape.keys.len());
    Err(Fault::Unreadable { reason: format!("{frames} frames with {pts} timestamps and {keys} key flags") })
}

fn format(source: &SegmentShape, rendition: &SegmentShape, want: &Wanted) -> Result<(), Fault> {
    if rendition.codec != want.codec {
        return Err(Fault::Codec { want: want.codec.clone(), got: rendition.codec.clone() });
    }
    if rendition.codec == "h264" && !PROFILES.contains(&rendition.profile) {
        return Err(Fault::Profile { got: rendition.profile });
    }
    if (rendition.width, rendition.height) != (want.width, want.height) {
        return Err(Fault::Size {
            want_width: want.width,
            want_height: want.height,
            got_width: rendition.width,
            got_height: rendition.height,
        });
    }
    // Square pixels are what a caller means who names a size; the source's display aspect is what FFmpeg's scaler keeps.
    if !is_square(rendition.sar) && !same_aspect(source, rendition) {
        return Err(Fault::PixelShape { width: rendition.sar.0, height: rendition.sar.1 });
    }
    Ok(())
}

fn is_square((width, height): (u32, u32)) -> bool {
    width == height || width == 0 || height == 0
}

fn same_aspect(a: &SegmentShape, b: &SegmentShape) -> bool {
    // Display aspect a.width·a.sar.0 / (a.height·a.sar.1), compared crosswise: eight numbers below 2^32, so two sides below 2^128.
    let side = |shape: &SegmentShape| if is_square(shape.sar) { (1, 1) } else { shape.sar };
    let product = |x: &SegmentShape, y: &SegmentShape| {
        let (wide, high) = (u128::from(x.width) * u128::from(side(x).0), u128::from(y.height) * u128::from(side(y).1));
        wide * high
    };
    let (left, right) = (product(a, b), product(b, a));
    left.abs_diff(right) <= left.min(right) / u128::from(ASPECT_TOLERANCE)
}

fn times(source: &SegmentShape, rendition: &SegmentShape) -> Result<(), Fault> {
    let source_frames = source.pts.len() as u32;
    if rendition.frames < source_frames {
        return Err(Fault::FramesMissing { missing: source_frames - rendition.frames, source_frames });
    }
    if rendition.frames > source_frames {
        return Err(Fault::FramesAdded { added: rendition.frames - source_frames, source_frames });
    }
    let sorted = |shape: &SegmentShape| {
        let mut pts = shape.pts.clone();
        pts.sort_unstable();
        pts
    };
    // Exactly: timestamps are carried through, not computed again.
    let (wanted, got) = (sorted(source), sorted(rendition));
    if let Some(frame) = (0..wanted.len()).find(|&i| wanted[i] != got[i]) {
        return Err(Fault::Timestamp { frame: frame as u32, want: wanted[frame], got: got[frame] });
    }
    // How long the last frame lasts is often a guess, so one frame's worth is forgiven.
    let frame = source.duration / u64::from(source_frames.max(1));
    if source.duration.abs_diff(rendition.duration) > frame {
        return Err(Fault::Duration { want: source.duration, got: rendition.duration });
    }
    Ok(())
}

fn keys(source: &SegmentShape, rendition: &SegmentShape) -> Result<(), Fault> {
    if !rendition.starts_with_idr || rendition.keys.first() != Some(&true) {
        return Err(Fault::NoIdr);
    }
    let count = |shape: &SegmentShape| shape.keys.iter().filter(|&&key| key).count() as u64;
    let limit = 1 + count(source) + source.duration / TICKS_PER_EXTRA_KEY;
    if count(rendition) > limit {
        return Err(Fault::KeyFrames { keys: rendition.frames.min(count(rendition) as u32), limit: limit as u32 });
    }
    Ok(())
}

fn bytes(rendition: &SegmentShape, want: &Wanted) -> Result<(), Fault> {
    let frames = u64::from(rendition.frames);
    let floor = frames * MIN_BYTES_PER_FRAME;
    if rendition.bytes < floor {
        return Err(Fault::TooFewBytes { bytes: rendition.bytes, frames: rendition.frames, limit: floor });
    }
    let ticks = u128::from(rendition.duration) + u128::from(BUFFER_TICKS);
    let bits = u128::from(want.bitrate) * ticks / u128::from(TIMESCALE) * u128::from(MAX_RATE_PERCENT) / 100;
    let ceiling = u64::try_from(bits / 8).unwrap_or(u64::MAX).saturating_add(frames * OVERHEAD_PER_FRAME);
    if rendition.bytes > ceiling {
        return Err(Fault::TooManyBytes { bytes: rendition.bytes, limit: ceiling });
    }
    Ok(())
}
