//! Scaling and conversion to yuv420p.

use std::ffi::c_int;
use std::mem::transmute;
use std::ptr;

use ffmpeg_sys_next as ff;

use super::{AvError, Frame};

/// Scales pictures to one size, as 8 bit 4:2:0 of limited range. The input's size and format may change from picture to picture.
pub(crate) struct Scaler {
    context: *mut ff::SwsContext,
    width: u32,
    height: u32,
}

// SAFETY: the context has one owner and is used from one thread at a time.
unsafe impl Send for Scaler {}

impl Scaler {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { context: ptr::null_mut(), width, height }
    }

    /// Whether `source` is already what `scale` would make of it.
    pub(crate) fn is_identity(&self, source: &Frame) -> bool {
        source.is_yuv420p() && (source.width(), source.height()) == (self.width, self.height)
    }

    /// A fresh picture (an encoder may still hold the last one) with the content of `source` and its closed captions; times and type are not carried over.
    pub(crate) fn scale(&mut self, source: &Frame) -> Result<Frame, AvError> {
        let doing = "scaling";
        let mut target = Frame::new_yuv420p(self.width, self.height)?;
        let input = source.raw();
        // SAFETY: the format is one that FFmpeg's own decoder set, so it is a value of the enumeration; the planes of both frames belong to
        // the sizes and formats told; the old context is freed or kept by the call, and null is taken for none.
        let rows = unsafe {
            self.context = ff::sws_getCachedContext(
                self.context,
                input.width,
                input.height,
                transmute::<c_int, ff::AVPixelFormat>(input.format),
                self.width as c_int,
                self.height as c_int,
                ff::AVPixelFormat::AV_PIX_FMT_YUV420P,
                // What FFmpeg's own scale filter takes by default: the ladder looks as one made by hand does.
                ff::SWS_BICUBIC as c_int,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            );
            if self.context.is_null() {
                return Err(AvError::other(
                    doing,
                    format!("no way from {}x{} to {}x{}", input.width, input.height, self.width, self.height),
                ));
            }
            ff::sws_scale(
                self.context,
                input.data.as_ptr().cast(),
                input.linesize.as_ptr(),
                0,
                input.height,
                target.raw_mut().data.as_ptr(),
                target.raw_mut().linesize.as_ptr(),
            )
        };
        if rows != self.height as c_int {
            return Err(AvError::other(doing, format!("{rows} of {} rows were written", self.height)));
        }
        target.caption_as(source)?;
        Ok(target)
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: ours, and null is taken.
        unsafe { ff::sws_freeContext(self.context) };
    }
}
