//! Decoded pictures for those who look at them: verification, not transcoding.

use crate::av::{AvError, Decoder, Frame, Scaler};
use crate::cmaf::{Sample, VideoTrack};

/// Why no picture could be had.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// FFmpeg failed.
    #[error(transparent)]
    Codec(#[from] AvError),
    /// The sample holds no picture that decodes by itself.
    #[error("the sample holds no picture that decodes by itself")]
    None,
}

/// One picture, 8 bit 4:2:0, its planes row by row without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in luma samples.
    pub width: u32,
    /// Height in luma samples.
    pub height: u32,
    /// Luma, `width * height` bytes.
    pub y: Vec<u8>,
    /// Blue difference, half as wide and high, rounded up.
    pub u: Vec<u8>,
    /// Red difference, likewise.
    pub v: Vec<u8>,
}

impl Picture {
    pub(crate) fn from_frame(frame: Frame) -> Result<Self, AvError> {
        let (width, height) = (frame.width(), frame.height());
        let frame = if frame.is_yuv420p() { frame } else { Scaler::new(width, height).scale(&frame)? };
        let plane = |n| frame.tight_plane(n).unwrap_or_default();
        Ok(Self { width, height, y: plane(0), u: plane(1), v: plane(2) })
    }
}

/// Decodes a key frame by itself.
///
/// # Errors
/// When the decoder refuses the sample, or gives no picture for it.
pub fn decode_key_frame(track: &VideoTrack, sample: &Sample) -> Result<Picture, PictureError> {
    decode_all(track, std::slice::from_ref(sample))?.into_iter().next().ok_or(PictureError::None)
}

/// Decodes samples that start with an IDR or as good, such as a segment, to their pictures in presentation order. Each 720p picture takes 1.4 MB: give no more
/// samples than there is memory for.
///
/// # Errors
/// When the decoder refuses a sample.
pub fn decode_all(track: &VideoTrack, samples: &[Sample]) -> Result<Vec<Picture>, PictureError> {
    let mut decoder = Decoder::open(track)?;
    decoder.expect_reorder(crate::transcode::reorder_depth(samples));
    let mut pictures = Vec::with_capacity(samples.len());
    let mut keep = |frame| -> Result<(), PictureError> {
        pictures.push(Picture::from_frame(frame)?);
        Ok(())
    };
    for sample in samples {
        decoder.decode(&sample.data, sample.dts, sample.pts, &mut keep)?;
    }
    decoder.drain(&mut keep)?;
    Ok(pictures)
}
