//! FFmpeg and CMAF behind a safe API.
//!
//! | module | what |
//! | --- | --- |
//! | [`cmaf`] | init segments and parts, written and read; pure Rust, bounded on hostile input |
//! | [`h264`], [`h265`] | parameter sets, `avcC` and `hvcC`, NAL framing; pure Rust |
//! | [`av1`], [`vpx`] | sequence and frame headers, `av1C` and `vpcC`, OBUs; pure Rust |
//! | [`audio`] | Opus into AAC, in time with its packets |
//! | [`captions`] | which channels of closed captions a picture has; pure Rust |
//! | [`transcode`] | a [`Session`](transcode::Session): decode once, scale, encode every rendition |
//! | [`progressive`] | samples as one MP4 that plays while it is fetched; pure Rust |
//! | [`picture`] | one decoded picture, for verification |
//! | [`jpeg`] | a key picture as a thumbnail |
//! | [`nvenc`] | is there an NVENC that works? |
//! | [`synthetic`] | a moving picture made here, for calibration and tests |
//! | [`demux`] | a media file as a track and its samples, for tests and benchmarks |
//!
//! Video times are in ticks of [`VIDEO_TIMESCALE`], audio times in samples. Nothing here knows of streams, peers or money.

pub mod audio;
// The only unsafe code of the workspace: calls into FFmpeg, and the file reader's two looks into its structures.
#[allow(unsafe_code)]
mod av;
pub mod av1;
pub mod captions;
pub mod cmaf;
#[allow(unsafe_code)]
pub mod demux;
pub mod h264;
pub mod h265;
pub mod jpeg;
mod nal;
pub mod nvenc;
pub mod picture;
pub mod progressive;
pub mod synthetic;
mod track;
pub mod transcode;
pub mod vpx;

pub use av::AvError;
pub use nal::{NalError, PictureFormat};

/// Ticks per second of every video track in the network: 90 kHz holds every common frame rate exactly.
pub const VIDEO_TIMESCALE: u32 = 90_000;
