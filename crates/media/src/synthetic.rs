//! A moving picture made here, encoded as a live source would be: for calibration, and for tests on machines without clips.

use bytes::Bytes;

use crate::av::{AvError, Frame};
use crate::cmaf::{Sample, VideoTrack};
use crate::h264::{self, AvcConfig};
use crate::nal::PictureFormat;
use crate::transcode::{EncoderKind, RenditionSpec, TranscodeError, open_encoder};
use crate::{VIDEO_TIMESCALE, cmaf::CmafError};

/// Makes `frames` pictures at `fps` per second, with an IDR every `gop` pictures: panned texture with fine grain over a gradient, which costs
/// an encoder about what camera footage does. The same arguments give the same bytes.
///
/// # Errors
/// When the encoder does not open: sides must be even and `fps` must divide 90,000.
pub fn source(
    width: u32,
    height: u32,
    fps: u32,
    frames: u32,
    gop: u32,
) -> Result<(VideoTrack, Vec<Sample>), TranscodeError> {
    let texture = texture();
    encode(width, height, fps, frames, gop, |n| paint(&texture, width, height, n))
}

/// Makes `frames` black pictures: the least that an encoder can be given.
///
/// # Errors
/// As [`source`].
pub fn black(width: u32, height: u32, fps: u32, frames: u32) -> Result<(VideoTrack, Vec<Sample>), TranscodeError> {
    encode(width, height, fps, frames, frames.max(1), |_| {
        Frame::paint_yuv420p(width, height, |plane, _, row| row.fill(if plane == 0 { 16 } else { 128 }))
    })
}

fn encode(
    width: u32,
    height: u32,
    fps: u32,
    frames: u32,
    gop: u32,
    picture: impl Fn(u32) -> Result<Frame, AvError>,
) -> Result<(VideoTrack, Vec<Sample>), TranscodeError> {
    if fps == 0 || !VIDEO_TIMESCALE.is_multiple_of(fps) || gop == 0 {
        return Err(TranscodeError::Ladder(format!("no source of {fps} pictures a second, an IDR every {gop}")));
    }
    let format = PictureFormat { fps: Some((fps, 1)), color: (1, 1, 1), ..PictureFormat::plain(width, height) };
    // Six bits a pixel and second: what streamers send.
    let spec = RenditionSpec { name: "source".to_owned(), width, height, bitrate: (width * height * 6).max(100_000) };
    let mut encoder = open_encoder(&format, &spec, &EncoderKind::X264 { preset: "ultrafast".to_owned() })?;
    let config = AvcConfig::from_annexb(encoder.extradata()).map_err(CmafError::from)?;
    let track = VideoTrack::h264(config.to_record().map_err(CmafError::from)?)?;
    let duration = VIDEO_TIMESCALE / fps;
    let mut samples = Vec::with_capacity(frames as usize);
    for n in 0..frames {
        let mut frame = picture(n)?;
        frame.prepare(i64::from(n * duration), n % gop == 0);
        for packet in encoder.encode(&frame)? {
            let data: Bytes = h264::annexb_to_sample(&packet.data);
            samples.push(Sample { dts: packet.pts, pts: packet.pts, duration, key: packet.key, data });
        }
    }
    Ok((track, samples))
}

/// Side of the texture tile, a power of two.
const TILE: usize = 256;

/// Smooth noise: random values, averaged with their neighbours so that motion search has something to find.
fn texture() -> Vec<u8> {
    let mut state = 0x2545_f491u32;
    let noise: Vec<u8> = (0..TILE * TILE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let at = |x: usize, y: usize| u32::from(noise[(y % TILE) * TILE + x % TILE]);
    (0..TILE * TILE)
        .map(|i| {
            let (x, y) = (i % TILE, i / TILE);
            let sum: u32 =
                (0..4).flat_map(|dy| (0..4).map(move |dx| (dx, dy))).map(|(dx, dy)| at(x + dx, y + dy)).sum();
            (sum / 16) as u8
        })
        .collect()
}

fn paint(texture: &[u8], width: u32, height: u32, n: u32) -> Result<Frame, AvError> {
    let (width, n) = (width as usize, n as usize);
    Frame::paint_yuv420p(width as u32, height, |plane, y, row| {
        let half = usize::from(plane > 0);
        // The upper half pans one way, the lower the other and faster: no single motion vector fits all.
        let pan = if y << half < height as usize / 2 { n * 2 } else { TILE - n * 5 % TILE };
        for (x, out) in row.iter_mut().enumerate() {
            let grain = texture[(y & (TILE - 1)) * TILE + ((x + (pan >> half)) & (TILE - 1))];
            *out = match plane {
                0 => (grain / 2).saturating_add((x * 120 / width) as u8),
                _ => 112 + grain / 8,
            };
        }
    })
}
