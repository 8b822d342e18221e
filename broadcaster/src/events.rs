//! What flows inside the broadcaster: access units out of ingest, segments and parts out of the segmenter.
//!
//! Nothing here does anything. All times of video and of ingest are in ticks of 90 kHz; audio that has been packaged counts
//! samples (its timescale is the sample rate).

use bytes::Bytes;
use millrace_media::captions::Captions;
use millrace_media::cmaf::{AudioTrack, VideoTrack};

/// Ticks per second of every video timestamp and of every timestamp out of ingest.
pub const TICKS_PER_SECOND: i64 = 90_000;
/// A timestamp further than this from its neighbour, forth or back, is a new timeline and no jitter. Encoders that lose their
/// network for longer reconnect anyway.
pub const TIMELINE_JUMP: i64 = 3 * TICKS_PER_SECOND;

/// The two kinds of track a stream can have; one of each at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// H.264, HEVC, AV1, VP9 or VP8.
    Video,
    /// AAC.
    Audio,
}

impl TrackKind {
    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::Video => Self::Audio,
            Self::Audio => Self::Video,
        }
    }
}

/// One coded picture or one AAC frame, as the publisher sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Which track it belongs to.
    pub track: TrackKind,
    /// Decoding time in 90 kHz ticks. Rises strictly within a track, but for jumps back of more than three seconds.
    pub dts: i64,
    /// Presentation time in 90 kHz ticks, never before `dts`.
    pub pts: i64,
    /// True where a segment may start: at an IDR picture, or one as good; always true for audio.
    pub key: bool,
    /// NAL units with a length prefix of four bytes, or one raw AAC frame.
    pub data: Bytes,
}

/// What a publication says, in order: one `Started`, then units and changes, then one `Ended`.
#[derive(Debug, Clone)]
pub enum IngestEvent {
    /// The tracks are known and units follow.
    Started {
        /// Public name of the stream that the key stands for.
        key_name: String,
        /// The video track, absent in a stream of sound alone.
        video: Option<VideoTrack>,
        /// The audio track, absent in a video-only stream.
        audio: Option<AudioTrack>,
    },
    /// One access unit.
    Unit(AccessUnit),
    /// The video configuration changed, or video joined late: what follows starts with an IDR of the new one.
    VideoConfig(VideoTrack),
    /// The audio configuration changed, or audio joined late.
    AudioConfig(AudioTrack),
    /// So many pictures did not arrive whole, and were left out.
    Lost(u32),
    /// Nothing follows.
    Ended {
        /// True when the publisher said that it was done; false when it vanished or was cut off.
        clean: bool,
    },
}

/// What the segmenter makes of a publication. Segments count from 0 and audio shares the numbers of video, where there is video.
#[derive(Debug, Clone)]
pub enum SegmentEvent {
    /// A `ftyp`+`moov` that the video segments after it need.
    VideoInit(Bytes, VideoTrack),
    /// The same for audio.
    AudioInit(Bytes, AudioTrack),
    /// The pictures have had closed captions on these channels; said again when there are more.
    Captions(Captions),
    /// One `moof`+`mdat` of video.
    VideoPart {
        /// Segment that it belongs to.
        seq: u64,
        /// Place within the segment, from 0.
        index: u32,
        /// True when it starts with a key picture: the first of each segment, but for those that were cut for want of one.
        independent: bool,
        /// Presentation time of its first sample in decoding order, 90 kHz.
        start_pts: i64,
        /// Sum of its sample durations, 90 kHz ticks.
        duration: i64,
        /// The part.
        bytes: Bytes,
    },
    /// The video segment is complete.
    VideoSegmentEnd {
        /// Which segment.
        seq: u64,
        /// Sum of its sample durations, 90 kHz ticks.
        duration: i64,
        /// Parts in it.
        parts: u32,
        /// Pictures in it.
        frames: u32,
        /// Whether it starts with a key picture, so that decoding can.
        independent: bool,
        /// Wall clock of its start, unix milliseconds.
        program_date_time: i64,
    },
    /// One `moof`+`mdat` of audio.
    AudioPart {
        /// Segment that it belongs to.
        seq: u64,
        /// Place within the segment, from 0.
        index: u32,
        /// Duration in samples.
        duration: i64,
        /// The part.
        bytes: Bytes,
    },
    /// The audio segment is complete.
    AudioSegmentEnd {
        /// Which segment.
        seq: u64,
        /// Duration in 90 kHz ticks. Zero when no audio came for the segment: there is then nothing to serve.
        duration: i64,
        /// Parts in it.
        parts: u32,
        /// Where there is no video, the wall clock of its start, unix milliseconds: the stream's segments are then audio's.
        alone: Option<i64>,
    },
    /// The encoding or the clock of the source changed: segment `seq` is the first after the break.
    Discontinuity {
        /// First segment after the break.
        seq: u64,
    },
    /// The stream is over.
    End {
        /// As in [`IngestEvent::Ended`].
        clean: bool,
    },
}
