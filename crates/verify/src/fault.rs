//! What can be wrong with a rendition: one list, with numbers that signed verdicts carry and that therefore never change.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a rendition fails. [`Fault::code`] goes into the signed verdict, the message to people.
///
/// 1xx: the probe of layer A. 2xx: the pictures of layer B. 3xx and 4xx are kept for layers C and D.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fault {
    /// The rendition did not come at all.
    #[error("rendition {name} is missing")]
    Missing {
        /// Name of the rendition.
        name: String,
    },
    /// Its container could not be read, or contradicts itself.
    #[error("the rendition cannot be read: {reason}")]
    Unreadable {
        /// What the reader met.
        reason: String,
    },
    /// Another codec than agreed.
    #[error("the codec is {got}, {want} was agreed")]
    Codec {
        /// What was agreed.
        want: String,
        /// What came.
        got: String,
    },
    /// An H.264 profile that players do not decode.
    #[error("H.264 profile {got} is not 4:2:0 at 8 bit, use baseline (66), main (77) or high (100)")]
    Profile {
        /// `profile_idc` that came.
        got: u8,
    },
    /// Another picture size than agreed.
    #[error("the picture is {got_width}x{got_height}, {want_width}x{want_height} was agreed")]
    Size {
        /// Agreed width in pixels.
        want_width: u32,
        /// Agreed height in pixels.
        want_height: u32,
        /// Width that came.
        got_width: u32,
        /// Height that came.
        got_height: u32,
    },
    /// Pixels neither square nor of the shape that keeps the source's display aspect.
    #[error("the sample aspect ratio is {width}:{height}, which is neither square nor keeps the source's shape")]
    PixelShape {
        /// Horizontal part.
        width: u32,
        /// Vertical part.
        height: u32,
    },
    /// Fewer frames than the source.
    #[error("{missing} of the source's {source_frames} frames are missing")]
    FramesMissing {
        /// How many are missing.
        missing: u32,
        /// How many the source has.
        source_frames: u32,
    },
    /// More frames than the source.
    #[error("{added} frames were added to the source's {source_frames}")]
    FramesAdded {
        /// How many are too many.
        added: u32,
        /// How many the source has.
        source_frames: u32,
    },
    /// A frame that is not at its source's time.
    #[error("frame {frame} is at {got} ticks, its source is at {want}")]
    Timestamp {
        /// Index in presentation order.
        frame: u32,
        /// The source's time in 90 kHz ticks.
        want: i64,
        /// The rendition's.
        got: i64,
    },
    /// Lasts longer or shorter than the source by more than a frame.
    #[error("the segment lasts {got} ticks, its source {want}")]
    Duration {
        /// The source's duration in 90 kHz ticks.
        want: u64,
        /// The rendition's.
        got: u64,
    },
    /// Cannot be decoded from its start.
    #[error("the segment does not start with an IDR frame")]
    NoIdr,
    /// Key frames in place of motion.
    #[error("{keys} key frames, at most {limit} are accepted in this segment")]
    KeyFrames {
        /// Key frames that came.
        keys: u32,
        /// The most that is accepted.
        limit: u32,
    },
    /// Fewer bytes than any encoder needs.
    #[error("{bytes} bytes are too few for {frames} frames, an encoder needs at least {limit}")]
    TooFewBytes {
        /// Bytes that came.
        bytes: u64,
        /// Frames in them.
        frames: u32,
        /// The least that is accepted.
        limit: u64,
    },
    /// More bytes than the agreed bit rate explains.
    #[error("{bytes} bytes are more than the agreed bit rate explains, at most {limit}")]
    TooManyBytes {
        /// Bytes that came.
        bytes: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// The key frame does not decode.
    #[error("the key frame cannot be decoded: {reason}")]
    Undecodable {
        /// What the decoder or the fingerprint said.
        reason: String,
    },
    /// A cell of the picture is brighter or darker than the source's.
    #[error(
        "brightness differs from the source by {difference}/16 levels in its worst cell, {limit}/16 are accepted there"
    )]
    Luma {
        /// Difference in the cell that exceeds its limit most, in sixteenths of a level.
        difference: u32,
        /// That cell's limit, in sixteenths of a level.
        limit: u32,
    },
    /// A cell of the picture has another colour than the source's.
    #[error(
        "colour differs from the source by {difference}/16 levels in its worst cell, {limit}/16 are accepted there"
    )]
    Chroma {
        /// Difference in the cell that exceeds its limit most, in sixteenths of a level.
        difference: u32,
        /// That cell's limit, in sixteenths of a level.
        limit: u32,
    },
    /// Another picture, or the same one moved, turned or mirrored.
    #[error("the picture's structure differs from the source in {distance} of {firm} hash bits, {limit} are accepted")]
    Structure {
        /// Bits that differ among the firm ones.
        distance: u32,
        /// Bits that are firm in the source.
        firm: u32,
        /// The most that may differ.
        limit: u32,
    },
}

impl Fault {
    /// The number that a signed verdict carries. 0 is a pass and belongs to no fault.
    pub fn code(&self) -> u16 {
        match self {
            Fault::Missing { .. } => 100,
            Fault::Unreadable { .. } => 101,
            Fault::Codec { .. } => 102,
            Fault::Profile { .. } => 103,
            Fault::Size { .. } => 104,
            Fault::PixelShape { .. } => 105,
            Fault::FramesMissing { .. } => 106,
            Fault::FramesAdded { .. } => 107,
            Fault::Timestamp { .. } => 108,
            Fault::Duration { .. } => 109,
            Fault::NoIdr => 110,
            Fault::KeyFrames { .. } => 111,
            Fault::TooFewBytes { .. } => 112,
            Fault::TooManyBytes { .. } => 113,
            Fault::Undecodable { .. } => 200,
            Fault::Luma { .. } => 201,
            Fault::Chroma { .. } => 202,
            Fault::Structure { .. } => 203,
        }
    }
}
