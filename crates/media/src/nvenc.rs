//! Is there an NVENC that works? FFmpeg names the encoder on any machine, and CUDA does not tell either (an H100 has no NVENC): only opening it does.

use crate::av::Frame;
use crate::nal::PictureFormat;
use crate::transcode::{EncoderKind, RenditionSpec, open_encoder};

/// Size of the probe: small, and over the least that any generation of NVENC takes.
const PROBE: (u32, u32) = (640, 360);

/// An NVENC that encoded a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvencFound {
    /// CUDA's number of the GPU.
    pub gpu: u32,
    /// FFmpeg's name of the encoder.
    pub encoder: &'static str,
}

/// Opens a small encoding session on a GPU and encodes one picture. Takes under a millisecond where there is no driver, some 200 ms where there is.
///
/// # Errors
/// In words, why there is none: no driver, no such GPU, a GPU without the engine, no session left.
pub fn probe(gpu: u32) -> Result<NvencFound, String> {
    let source = PictureFormat { fps: Some((30, 1)), ..PictureFormat::plain(PROBE.0, PROBE.1) };
    let spec = RenditionSpec { name: "probe".to_owned(), width: PROBE.0, height: PROBE.1, bitrate: 500_000 };
    let mut encoder = open_encoder(&source, &spec, &EncoderKind::Nvenc { gpu }).map_err(|e| e.to_string())?;
    let mut frame = Frame::paint_yuv420p(PROBE.0, PROBE.1, |_, _, row| row.fill(128)).map_err(|e| e.to_string())?;
    frame.prepare(0, true);
    match encoder.encode(&frame).map_err(|e| e.to_string())?.as_slice() {
        [packet] if packet.key => Ok(NvencFound { gpu, encoder: "h264_nvenc" }),
        _ => Err("the encoder opened and gave no picture for the one it got".to_owned()),
    }
}
