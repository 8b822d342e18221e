//! FFmpeg's decoder, scaler and encoder: the only unsafe code of the workspace, kept to what cannot be had otherwise.
//!
//! Every pointer that FFmpeg gives is owned by one type here, which frees it. Nothing here knows of segments or renditions.

pub(crate) mod audio;
mod decoder;
mod encoder;
mod log;
mod scaler;

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::{Encoder, EncoderSettings, Packet};
use ffmpeg_sys_next as ff;
pub(crate) use log::init;
pub(crate) use scaler::Scaler;

/// A failed call of FFmpeg: what was being done, and why it failed in FFmpeg's words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing} failed: {reason}")]
pub struct AvError {
    /// What was being done: "decoding", "opening the encoder h264_nvenc".
    pub doing: String,
    /// FFmpeg's text for the code, and the last line that it logged about it.
    pub reason: String,
}

impl AvError {
    fn new(doing: impl Into<String>, code: c_int) -> Self {
        let mut text = [0; 256];
        // SAFETY: FFmpeg writes at most `len` bytes and ends them with a zero, also for codes it does not know.
        let text = unsafe {
            ff::av_strerror(code, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr())
        };
        let text = text.to_string_lossy();
        let reason = match log::take_last() {
            Some(line) => format!("{text} ({line})"),
            None => text.into_owned(),
        };
        Self { doing: doing.into(), reason }
    }

    fn other(doing: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { doing: doing.into(), reason: reason.into() }
    }

    fn out_of_memory(doing: &str) -> Self {
        Self::other(doing, "out of memory")
    }
}

fn check(code: c_int, doing: &str) -> Result<(), AvError> {
    if code < 0 { Err(AvError::new(doing, code)) } else { Ok(()) }
}

/// A picture with reference-counted planes.
pub(crate) struct Frame(NonNull<ff::AVFrame>);

// SAFETY: the planes are reference-counted with atomics, and a shared frame is only read: to change one takes `&mut`.
unsafe impl Send for Frame {}
// SAFETY: as above.
unsafe impl Sync for Frame {}

impl Frame {
    fn empty() -> Result<Self, AvError> {
        // SAFETY: plain allocation; null is refused.
        NonNull::new(unsafe { ff::av_frame_alloc() })
            .map(Self)
            .ok_or_else(|| AvError::out_of_memory("allocating a frame"))
    }

    /// A fresh yuv420p picture whose content is not set.
    pub(crate) fn new_yuv420p(width: u32, height: u32) -> Result<Self, AvError> {
        let mut frame = Self::empty()?;
        let raw = frame.raw_mut();
        raw.width = width as c_int;
        raw.height = height as c_int;
        raw.format = ff::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
        // SAFETY: the frame is ours and says its format and size; 0 lets FFmpeg choose the alignment.
        check(unsafe { ff::av_frame_get_buffer(raw, 0) }, "allocating a picture")?;
        Ok(frame)
    }

    /// A fresh yuv420p picture, painted row by row: `paint(plane, row number, row)`.
    pub(crate) fn paint_yuv420p(
        width: u32,
        height: u32,
        mut paint: impl FnMut(usize, usize, &mut [u8]),
    ) -> Result<Self, AvError> {
        let mut frame = Self::new_yuv420p(width, height)?;
        for plane in 0..3 {
            let (width, height) = plane_size(width, height, plane);
            let (data, stride) = (frame.raw_mut().data[plane], frame.raw().linesize[plane] as isize);
            for row in 0..height {
                // SAFETY: the planes were just allocated with this many rows of at least this width, each a stride apart, and are shared
                // with nobody yet.
                let pixels = unsafe { std::slice::from_raw_parts_mut(data.offset(row as isize * stride), width) };
                paint(plane, row, pixels);
            }
        }
        Ok(frame)
    }

    fn raw(&self) -> &ff::AVFrame {
        // SAFETY: allocated in `empty`, freed in `drop` alone.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut ff::AVFrame {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { self.0.as_mut() }
    }

    pub(crate) fn width(&self) -> u32 {
        self.raw().width.unsigned_abs()
    }

    pub(crate) fn height(&self) -> u32 {
        self.raw().height.unsigned_abs()
    }

    /// Whether the picture is 8 bit 4:2:0 of limited range: what every encoder here takes.
    pub(crate) fn is_yuv420p(&self) -> bool {
        self.raw().format == ff::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int
    }

    /// Sets the presentation time, and whether the encoder must make an IDR of this picture.
    pub(crate) fn prepare(&mut self, pts: i64, idr: bool) {
        let raw = self.raw_mut();
        raw.pts = pts;
        // The decoder's own picture type would force the encoder's, frame by frame.
        raw.pict_type =
            if idr { ff::AVPictureType::AV_PICTURE_TYPE_I } else { ff::AVPictureType::AV_PICTURE_TYPE_NONE };
    }

    /// Takes over the closed captions of `source`: encoders write those of their pictures.
    fn caption_as(&mut self, source: &Self) -> Result<(), AvError> {
        let kind = ff::AVFrameSideDataType::AV_FRAME_DATA_A53_CC;
        // SAFETY: both frames are whole; what is found belongs to the source and is only referred to, by a reference of its own that
        // the new entry takes, or that is given back where there is none.
        unsafe {
            let found = ff::av_frame_get_side_data(source.raw(), kind);
            if found.is_null() {
                return Ok(());
            }
            let mut own = ff::av_buffer_ref((*found).buf);
            if own.is_null() || ff::av_frame_new_side_data_from_buf(self.raw_mut(), kind, own).is_null() {
                ff::av_buffer_unref(&mut own);
                return Err(AvError::out_of_memory("captioning a picture"));
            }
        }
        Ok(())
    }

    /// A plane of a yuv420p picture (0 luma, 1 and 2 chroma) without padding, row by row. `None` for other formats.
    pub(crate) fn tight_plane(&self, plane: usize) -> Option<Vec<u8>> {
        let raw = self.raw();
        if !self.is_yuv420p() || plane > 2 {
            return None;
        }
        let (width, height) = plane_size(self.width(), self.height(), plane);
        let (data, stride) = (raw.data[plane], raw.linesize[plane] as isize);
        if data.is_null() {
            return None;
        }
        let mut out = Vec::with_capacity(width * height);
        for row in 0..height {
            // SAFETY: a yuv420p picture has this many rows of at least this width, each a stride apart.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(data.offset(row as isize * stride), width) });
        }
        Some(out)
    }
}

/// Width and height of a plane of a yuv420p picture.
fn plane_size(width: u32, height: u32, plane: usize) -> (usize, usize) {
    let half = |n: u32| if plane == 0 { n } else { n.div_ceil(2) };
    (half(width) as usize, half(height) as usize)
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: ours, and not used afterwards.
        unsafe { ff::av_frame_free(&mut raw) };
    }
}

/// A codec context, freed on drop.
struct Context(NonNull<ff::AVCodecContext>);

// SAFETY: a context may be used from any one thread at a time, and it has no other owner.
unsafe impl Send for Context {}

impl Context {
    fn new(codec: *const ff::AVCodec) -> Result<Self, AvError> {
        // SAFETY: the codec comes from FFmpeg's own list; null is refused.
        NonNull::new(unsafe { ff::avcodec_alloc_context3(codec) })
            .map(Self)
            .ok_or_else(|| AvError::out_of_memory("allocating a codec"))
    }

    fn raw(&self) -> &ff::AVCodecContext {
        // SAFETY: allocated in `new`, freed in `drop` alone.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut ff::AVCodecContext {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: ours, and not used afterwards.
        unsafe { ff::avcodec_free_context(&mut raw) };
    }
}

/// A packet, freed on drop.
struct RawPacket(NonNull<ff::AVPacket>);

// SAFETY: it is only used from the thread that owns it, and its bytes are reference-counted with atomics.
unsafe impl Send for RawPacket {}

impl RawPacket {
    fn new() -> Result<Self, AvError> {
        // SAFETY: plain allocation; null is refused.
        NonNull::new(unsafe { ff::av_packet_alloc() })
            .map(Self)
            .ok_or_else(|| AvError::out_of_memory("allocating a packet"))
    }

    fn as_ptr(&self) -> *mut ff::AVPacket {
        self.0.as_ptr()
    }
}

impl Drop for RawPacket {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: ours, and not used afterwards.
        unsafe { ff::av_packet_free(&mut raw) };
    }
}
