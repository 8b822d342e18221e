//! Pictures as JPEG, for people to look at.

use crate::av::{AvError, Decoder, Frame, Scaler};
use crate::cmaf::{self, CmafError, Track, VideoTrack};
use crate::nal::NalError;
use crate::picture::{Picture, PictureError};
use jpeg_encoder::{ColorType, Encoder, EncodingError};

/// Where artefacts do not show at the size of a thumbnail.
const QUALITY: u8 = 80;
/// Luma samples of the largest picture that is decoded for it: 4096 by 2304, some 60 MB while it is made.
const MOST_SAMPLES: u64 = 4096 * 2304;
/// Number of BT.601 among the matrices of ITU-T H.273, of which there are two, and of what is not specified.
const BT601: [u8; 2] = [5, 6];
const UNSPECIFIED: u8 = 2;
/// From so many lines on, unspecified colours are taken to be BT.709: what players do.
const HIGH_DEFINITION: u32 = 720;

/// Why there is no JPEG.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// The bytes do not read.
    #[error(transparent)]
    Cmaf(#[from] CmafError),
    /// The parameter sets do not read.
    #[error("the parameter sets do not read: {0}")]
    ParameterSets(#[from] NalError),
    /// The part does not begin with a key picture.
    #[error("the part does not begin with a key picture")]
    NoKey,
    /// The picture is larger than is decoded for this.
    #[error("a picture of {0}x{1} is too large: at most {MOST_SAMPLES} samples are taken")]
    TooLarge(u32, u32),
    /// It does not decode.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// It cannot be written.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

impl From<AvError> for JpegError {
    fn from(error: AvError) -> Self {
        Self::Picture(error.into())
    }
}

/// The key picture that a part begins with, with square pixels and no side above `most`.
///
/// # Errors
/// When the part begins with none, it is too large, or does not decode.
pub fn of_part(init: &[u8], part: &[u8], most: u16) -> Result<Vec<u8>, JpegError> {
    let Track::Video(track) = cmaf::read_init(init)? else { return Err(JpegError::NoKey) };
    let samples = cmaf::read_part(part)?;
    let key = samples.first().filter(|sample| track.is_start(&sample.data)).ok_or(JpegError::NoKey)?;
    let format = track.format()?;
    if u64::from(format.width) * u64::from(format.height) > MOST_SAMPLES {
        return Err(JpegError::TooLarge(format.width, format.height));
    }
    let frame = decode(&track, key)?;
    let (width, height) = within((frame.width(), frame.height()), format.sar, u32::from(most));
    let matrix = match format.color.2 {
        UNSPECIFIED => frame.height() < HIGH_DEFINITION,
        matrix => BT601.contains(&matrix),
    };
    let picture = Picture::from_frame(Scaler::new(width, height).scale(&frame)?)?;
    let mut out = Vec::new();
    // No side is above `most`, which fits.
    Encoder::new(&mut out, QUALITY).encode(&rgb(&picture, matrix), width as u16, height as u16, ColorType::Rgb)?;
    Ok(out)
}

fn decode(track: &VideoTrack, key: &cmaf::Sample) -> Result<Frame, PictureError> {
    let mut decoder = Decoder::open(track)?;
    let mut first = None;
    let mut keep = |frame| -> Result<(), AvError> {
        first.get_or_insert(frame);
        Ok(())
    };
    decoder.decode(&key.data, key.dts, key.pts, &mut keep)?;
    decoder.drain(&mut keep)?;
    first.ok_or(PictureError::None)
}

/// The size of a picture with square pixels that fits, even, and no larger than it was.
fn within((width, height): (u32, u32), sar: (u16, u16), most: u32) -> (u32, u32) {
    let (shown, height) = (f64::from(width) * f64::from(sar.0) / f64::from(sar.1), f64::from(height));
    let scale = (f64::from(most) / shown.max(height)).min(1.0);
    let even = |side: f64| ((side * scale / 2.0).round() as u32 * 2).clamp(2, most.max(2));
    (even(shown), even(height))
}

/// Red, green and blue of each sample, by the matrix of BT.601 or that of BT.709, limited range.
fn rgb(picture: &Picture, bt601: bool) -> Vec<u8> {
    let (red_v, green_u, green_v, blue_u) =
        if bt601 { (1.596, 0.392, 0.813, 2.017) } else { (1.793, 0.213, 0.533, 2.112) };
    let (width, half) = (picture.width as usize, picture.width.div_ceil(2) as usize);
    let mut out = Vec::with_capacity(picture.y.len() * 3);
    for (row, line) in picture.y.chunks_exact(width).enumerate() {
        let chroma = row / 2 * half;
        for (column, luma) in line.iter().enumerate() {
            let at = chroma + column / 2;
            let y = 1.164 * (f32::from(*luma) - 16.0);
            let (u, v) = (f32::from(picture.u[at]) - 128.0, f32::from(picture.v[at]) - 128.0);
            out.extend([y + red_v * v, y - green_u * u - green_v * v, y + blue_u * u].map(|value| value.round() as u8));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_fits_and_has_square_pixels() {
        assert_eq!(within((1280, 720), (1, 1), 320), (320, 180));
        assert_eq!(within((720, 1280), (1, 1), 320), (180, 320));
        assert_eq!(within((720, 576), (64, 45), 320), (320, 180));
        assert_eq!(within((160, 90), (1, 1), 320), (160, 90));
        assert_eq!(within((16_000, 2), (1, 1), 320), (320, 2));
    }

    #[test]
    fn colours_come_out_as_they_were() {
        let of = |y, u, v, bt601| {
            let picture = Picture { width: 2, height: 2, y: vec![y; 4], u: vec![u], v: vec![v] };
            rgb(&picture, bt601)[..3].to_vec()
        };
        assert_eq!((of(16, 128, 128, true), of(235, 128, 128, false)), (vec![0; 3], vec![255; 3]));
        // Red of both (ITU-R BT.601 and BT.709, 8 bit).
        let is_red = |rgb: Vec<u8>| rgb[0] > 252 && rgb[1] < 3 && rgb[2] < 3;
        assert!(is_red(of(81, 90, 240, true)) && is_red(of(63, 102, 240, false)));
    }

    #[test]
    fn what_is_no_key_picture_is_refused() {
        let (track, samples) = crate::synthetic::source(64, 48, 30, 2, 2).unwrap();
        let init = cmaf::write_init(&Track::Video(track)).unwrap();
        let part = |range| cmaf::write_part(0, &samples[range]).unwrap();
        let jpeg = of_part(&init, &part(0..2), 32).unwrap();
        assert_eq!(jpeg[..2], [0xff, 0xd8]);
        assert!(matches!(of_part(&init, &part(1..2), 32), Err(JpegError::NoKey)));
        assert!(of_part(&init, &jpeg, 32).is_err() && of_part(&jpeg, &part(0..2), 32).is_err());
    }
}
