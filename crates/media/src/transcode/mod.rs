//! A live transcoding session: one decoder, and per rendition a scaler and an encoder on a thread of their own.
//!
//! ```text
//! push_part ─▶ read ─▶ decode ─┬─▶ lane 0: scale ─▶ encode ─┐
//!            (this thread)     ├─▶ lane 1: scale ─▶ encode ─┼─▶ cut into parts ─▶ outputs
//!                              └─▶ lane 2: scale ─▶ encode ─┘
//! ```
//!
//! Invariants: every segment of every rendition starts with an IDR; pictures keep the source's presentation times to the tick; a rendition has
//! as many pictures and parts as its source; nothing is carried from one segment into the next but open codecs, so that any segment can be
//! made by another session. Each lane scales from the decoded picture itself: best quality, no lane waits for another.

mod lane;
mod pipeline;

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::VIDEO_TIMESCALE;
use crate::av::{AvError, Decoder};
use crate::cmaf::{self, CmafError, Sample, Track};
use crate::nal::NalError;
pub(crate) use lane::open_encoder;
use pipeline::Pipeline;

/// x264's preset of a live software lane. One 720p30 stream to 720p, 480p and 360p costs 0.5 core with it and 0.8 with `veryfast`, for about a
/// tenth more bits at equal quality: a lane that falls behind costs more than that.
pub const X264_PRESET: &str = "superfast";
/// Most renditions of one session: each is a thread and an encoder.
pub const MAX_RENDITIONS: usize = 8;
/// Most pictures of one segment: a minute at 60 per second, thirty times the usual segment.
pub const MAX_SEGMENT_FRAMES: usize = 3600;
/// Largest side of a rendition, in samples: level 6.2 and NVENC's limit for H.264 twice over.
const MAX_SIDE: u32 = 8192;
/// Frame rate assumed until the first part shows another. Encoders share their bits out by it, so it must be near the truth.
const ASSUMED_FPS: (u32, u32) = (30, 1);
/// Frame rates that a source without a true one in its headers is taken to have, the nearest: sessions that meet the stream at different
/// places then write the same parameter sets.
const COMMON_FPS: [u32; 12] = [5, 10, 15, 20, 24, 25, 30, 48, 50, 60, 90, 120];

/// One rendition to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenditionSpec {
    /// Its name, such as "720p".
    pub name: String,
    /// Width in samples, even.
    pub width: u32,
    /// Height in samples, even.
    pub height: u32,
    /// Bits per second: the mean, and the most over any second.
    pub bitrate: u32,
}

/// Which encoder makes the renditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderKind {
    /// libx264, one thread per rendition.
    X264 {
        /// x264's preset; [`X264_PRESET`] by default.
        preset: String,
    },
    /// NVENC through FFmpeg.
    Nvenc {
        /// CUDA's number of the GPU.
        gpu: u32,
    },
}

impl EncoderKind {
    /// x264 with the preset of a live lane.
    pub fn x264() -> Self {
        Self::X264 { preset: X264_PRESET.to_owned() }
    }
}

/// Why a segment or session failed. After any error but those of `open` the session is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The source's bytes do not read.
    #[error("the source does not read: {0}")]
    Source(#[from] CmafError),
    /// The source's parameter sets do not read.
    #[error("the source's parameter sets do not read: {0}")]
    ParameterSets(#[from] NalError),
    /// The source is audio, or has another timescale.
    #[error("the source must be a video track of {VIDEO_TIMESCALE} ticks per second")]
    NotVideo,
    /// The ladder asks for what cannot be made.
    #[error("the ladder cannot be made: {0}")]
    Ladder(String),
    /// FFmpeg failed.
    #[error(transparent)]
    Codec(#[from] AvError),
    /// The operating system gave no thread.
    #[error("no thread for an encoder: {0}")]
    Thread(#[from] std::io::Error),
    /// The segment does not start with an IDR picture, or one as good.
    #[error("the segment does not start with an IDR picture")]
    NoIdr,
    /// More pictures than a segment may have.
    #[error("the segment has more than {MAX_SEGMENT_FRAMES} pictures: cut it shorter")]
    TooLong,
    /// Two pictures whose distance in time does not fit 32 bits of ticks.
    #[error("the pictures at ticks {0} and {1} are too far apart")]
    Times(i64, i64),
    /// Pictures were lost on the way.
    #[error("{what} has {got} pictures where the source has {expected}")]
    Lost {
        /// "the decoder" or the rendition.
        what: String,
        /// Pictures of the source.
        expected: u32,
        /// Pictures that came out.
        got: u32,
    },
    /// An encoder gave no answer, or ended.
    #[error("the encoder of {0} gave no answer for {limit:?}", limit = pipeline::STALL)]
    Stalled(String),
}

/// What comes out of a session. Renditions are numbered as in the ladder given to [`Session::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The rendition's init segment: first in each segment, so that a segment can be used by who saw none before it.
    Init {
        /// Which rendition.
        rendition: u8,
        /// `ftyp` and `moov`.
        bytes: Bytes,
    },
    /// A part of a rendition.
    Part {
        /// Which rendition.
        rendition: u8,
        /// Its number in the segment, from 0.
        index: u32,
        /// `moof` and `mdat`.
        bytes: Bytes,
    },
}

/// What was made of one segment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentStats {
    /// Pictures of the source.
    pub frames: u32,
    /// Time spent reading and decoding.
    pub decode: Duration,
    /// One for each rendition.
    pub renditions: Vec<RenditionStats>,
}

/// What was made of one segment in one rendition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RenditionStats {
    /// Pictures.
    pub frames: u32,
    /// Pixels encoded: width times height times pictures.
    pub pixels: u64,
    /// Parts.
    pub parts: u32,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Presentation time of the first picture, in ticks.
    pub first_pts: i64,
    /// Presentation time of the last picture, in ticks.
    pub last_pts: i64,
    /// Time spent scaling and encoding.
    pub encode: Duration,
}

/// An open decoder and its encoders.
pub struct Session {
    decoder: Decoder,
    pipeline: Pipeline,
    decode: Duration,
    failed: bool,
}

impl Session {
    /// Opens the decoder for a source's init segment, and an encoder for each rendition.
    ///
    /// # Errors
    /// When the init segment is no video of a codec that is taken at 90 kHz, the ladder is empty or over a limit, or an encoder does not open.
    pub fn open(source_init: &[u8], specs: &[RenditionSpec], encoder: &EncoderKind) -> Result<Self, TranscodeError> {
        let Track::Video(track) = cmaf::read_init(source_init)? else { return Err(TranscodeError::NotVideo) };
        if track.timescale != VIDEO_TIMESCALE {
            return Err(TranscodeError::NotVideo);
        }
        check_ladder(specs)?;
        let mut format = track.format()?;
        format.fps = format.fps.filter(|(num, den)| (1..=300).contains(&(num / den)) && i32::try_from(*num).is_ok());
        let decoder = Decoder::open(&track)?;
        let pipeline = Pipeline::open(track, format, specs, encoder)?;
        Ok(Self { decoder, pipeline, decode: Duration::ZERO, failed: false })
    }

    /// The init segments of the renditions, in the ladder's order. They hold from the first part on: it may show that the source's frame rate
    /// is not what its headers say.
    pub fn inits(&self) -> impl Iterator<Item = &Bytes> {
        self.pipeline.inits()
    }

    /// Starts a segment: the next picture becomes an IDR in each rendition. What was pushed of an unfinished segment is forgotten.
    pub fn begin_segment(&mut self) {
        self.decoder.reset();
        self.pipeline.begin();
        self.decode = Duration::ZERO;
    }

    /// Takes one part of the source and returns the rendition parts that it completes, in each rendition in order. Returns when all pictures
    /// decoded so far are encoded.
    ///
    /// # Errors
    /// See [`TranscodeError`]. Open another session after one.
    pub fn push_part(&mut self, bytes: &[u8]) -> Result<Vec<Output>, TranscodeError> {
        self.once(|session| {
            let samples = cmaf::read_part(bytes)?;
            session.pipeline.expect_part(&samples)?;
            session.decoder.expect_reorder(reorder_depth(&samples));
            for Sample { data, dts, pts, .. } in &samples {
                session
                    .decode_with(|decoder, pipeline| decoder.decode(data, *dts, *pts, |frame| pipeline.feed(frame)))?;
            }
            session.pipeline.finish_encoding()?;
            session.pipeline.cut(false)
        })
    }

    /// Ends the segment: takes the pictures that the decoder still holds, and returns the last parts and what was made.
    ///
    /// # Errors
    /// See [`TranscodeError`]; above all [`TranscodeError::Lost`] when the source did not decode to all of its pictures.
    pub fn end_segment(&mut self) -> Result<(Vec<Output>, SegmentStats), TranscodeError> {
        self.once(|session| {
            session.decode_with(|decoder, pipeline| decoder.drain(|frame| pipeline.feed(frame)))?;
            session.pipeline.finish_encoding()?;
            let outputs = session.pipeline.cut(true)?;
            Ok((outputs, SegmentStats { decode: session.decode, ..session.pipeline.stats() }))
        })
    }

    /// Runs a step, unless one failed before: a decoder or encoder in the middle of something unknown is not fed on.
    fn once<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, TranscodeError>) -> Result<T, TranscodeError> {
        if self.failed {
            return Err(AvError { doing: "using the session".to_owned(), reason: "it failed before".to_owned() }.into());
        }
        let result = step(self);
        self.failed = result.is_err();
        result
    }

    /// Decodes, and counts the time less what the pipeline took.
    fn decode_with(
        &mut self,
        step: impl FnOnce(&mut Decoder, &mut Pipeline) -> Result<(), TranscodeError>,
    ) -> Result<(), TranscodeError> {
        let (start, fed) = (Instant::now(), self.pipeline.time_fed());
        step(&mut self.decoder, &mut self.pipeline)?;
        self.decode += start.elapsed().saturating_sub(self.pipeline.time_fed() - fed);
        Ok(())
    }
}

fn check_ladder(specs: &[RenditionSpec]) -> Result<(), TranscodeError> {
    let refuse = |why: String| Err(TranscodeError::Ladder(why));
    if specs.is_empty() || specs.len() > MAX_RENDITIONS {
        return refuse(format!("it has {} renditions; 1 to {MAX_RENDITIONS} are taken", specs.len()));
    }
    for spec in specs {
        let good = |side: u32| side.is_multiple_of(2) && (16..=MAX_SIDE).contains(&side);
        if !good(spec.width) || !good(spec.height) {
            return refuse(format!(
                "{} is {}x{}; sides are even, 16 to {MAX_SIDE}",
                spec.name, spec.width, spec.height
            ));
        }
        if spec.bitrate < 1000 || spec.bitrate > i32::MAX as u32 {
            return refuse(format!("{} has {} bit/s; 1,000 to 2^31 are taken", spec.name, spec.bitrate));
        }
    }
    Ok(())
}

/// The frame rate that the samples' durations show, where it is over a tenth off the one assumed.
fn other_fps(samples: &[Sample], assumed: (u32, u32)) -> Option<(u32, u32)> {
    let ticks: u64 = samples.iter().map(|s| u64::from(s.duration)).sum();
    // One picture's duration is no measure.
    if samples.len() < 2 || ticks == 0 {
        return None;
    }
    let shown = samples.len() as f64 * f64::from(VIDEO_TIMESCALE) / ticks as f64;
    let assumed = f64::from(assumed.0) / f64::from(assumed.1);
    let off = |fps: &u32| ((shown / f64::from(*fps)).ln().abs() * 1e6) as u64;
    let nearest = COMMON_FPS.into_iter().min_by_key(off)?;
    ((shown / assumed - 1.0).abs() > 0.1).then_some((nearest, 1))
}

/// How many pictures a decoder must hold back to show these in order: the most that precede one in decoding and follow it in time.
pub(crate) fn reorder_depth(samples: &[Sample]) -> u32 {
    let late = |at: usize| samples[..at].iter().filter(|before| before.pts > samples[at].pts).count();
    (0..samples.len()).map(late).max().unwrap_or(0) as u32
}
