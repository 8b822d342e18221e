//! An H.264 encoder, by name: libx264 or h264_nvenc. One picture in, one packet out.

use std::ffi::{CString, c_int};
use std::ptr;

use bytes::Bytes;
use ffmpeg_sys_next as ff;

use super::{AvError, Context, Frame, RawPacket, check};

/// What an encoder is opened with.
pub(crate) struct EncoderSettings<'a> {
    /// FFmpeg's name of the encoder.
    pub(crate) name: &'a str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bits per second: the target, the most over the buffer, and the buffer is one second of it.
    pub(crate) bitrate: u32,
    /// Frames per second as a fraction: for the level and the first frames' bits; times come with the pictures.
    pub(crate) fps: (u32, u32),
    /// Shape of one sample.
    pub(crate) sar: (u16, u16),
    /// Primaries, transfer and matrix of ITU-T H.273, passed through.
    pub(crate) color: (u8, u8, u8),
    /// The encoder's own options.
    pub(crate) options: &'a [(&'a str, &'a str)],
}

/// One encoded picture, in Annex B.
pub(crate) struct Packet {
    pub(crate) pts: i64,
    pub(crate) key: bool,
    pub(crate) data: Bytes,
}

pub(crate) struct Encoder {
    context: Context,
    packet: RawPacket,
}

impl Encoder {
    pub(crate) fn open(settings: &EncoderSettings<'_>) -> Result<Self, AvError> {
        super::init();
        let doing = format!("opening the encoder {} for {}x{}", settings.name, settings.width, settings.height);
        let text = |s: &str| CString::new(s).map_err(|_| AvError::other(&doing, "an option holds a zero byte"));
        let name = text(settings.name)?;
        // SAFETY: a name with its end in place.
        let codec = unsafe { ff::avcodec_find_encoder_by_name(name.as_ptr()) };
        if codec.is_null() {
            return Err(AvError::other(doing, "this FFmpeg has no such encoder"));
        }
        let mut context = Context::new(codec)?;
        let raw = context.raw_mut();
        raw.width = settings.width as c_int;
        raw.height = settings.height as c_int;
        raw.pix_fmt = ff::AVPixelFormat::AV_PIX_FMT_YUV420P;
        raw.time_base = ff::AVRational { num: 1, den: crate::VIDEO_TIMESCALE as c_int };
        raw.framerate = ff::AVRational { num: settings.fps.0 as c_int, den: settings.fps.1 as c_int };
        raw.sample_aspect_ratio = ff::AVRational { num: settings.sar.0.into(), den: settings.sar.1.into() };
        raw.color_range = ff::AVColorRange::AVCOL_RANGE_MPEG;
        raw.bit_rate = settings.bitrate.into();
        raw.rc_max_rate = settings.bitrate.into();
        raw.rc_buffer_size = c_int::try_from(settings.bitrate).unwrap_or(c_int::MAX);
        raw.max_b_frames = 0;
        raw.thread_count = 1;
        // The parameter sets go into the init segment, not into each IDR.
        raw.flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as c_int;
        let (primaries, transfer, matrix) = settings.color;
        let color = [("color_primaries", primaries), ("color_trc", transfer), ("colorspace", matrix)];
        // Through options, which check the numbers: a stranger's number is no value of the enumeration until then.
        for (key, value) in color {
            let (key, value) = (text(key)?, text(&value.to_string())?);
            // SAFETY: the context is ours; a number that FFmpeg does not know is refused and leaves "unspecified".
            unsafe { ff::av_opt_set((&raw mut *raw).cast(), key.as_ptr(), value.as_ptr(), 0) };
        }
        for (key, value) in settings.options {
            let (name, value) = (text(key)?, text(value)?);
            // SAFETY: as above; the codec's own options lie one level down.
            let code = unsafe {
                ff::av_opt_set(
                    (&raw mut *raw).cast(),
                    name.as_ptr(),
                    value.as_ptr(),
                    ff::AV_OPT_SEARCH_CHILDREN as c_int,
                )
            };
            check(code, &format!("setting the option {key} of {}", settings.name))?;
        }
        super::log::take_last();
        // SAFETY: the context was made for this codec and is not open yet.
        check(unsafe { ff::avcodec_open2(context.raw_mut(), codec, ptr::null_mut()) }, &doing)?;
        Ok(Self { context, packet: RawPacket::new()? })
    }

    /// The parameter sets, in Annex B.
    pub(crate) fn extradata(&self) -> &[u8] {
        let raw = self.context.raw();
        if raw.extradata.is_null() {
            return &[];
        }
        // SAFETY: the context owns this many bytes, and does not change them once it is open.
        unsafe { std::slice::from_raw_parts(raw.extradata, raw.extradata_size.unsigned_abs() as usize) }
    }

    /// Encodes one picture and returns the packets that are ready: one, with the options used here.
    pub(crate) fn encode(&mut self, frame: &Frame) -> Result<Vec<Packet>, AvError> {
        let doing = "encoding";
        // SAFETY: FFmpeg takes a reference to the planes and leaves the frame alone.
        check(unsafe { ff::avcodec_send_frame(self.context.raw_mut(), frame.raw()) }, doing)?;
        let mut packets = Vec::with_capacity(1);
        loop {
            // SAFETY: both are ours; the packet is filled, or left empty with a negative code.
            let code = unsafe { ff::avcodec_receive_packet(self.context.raw_mut(), self.packet.as_ptr()) };
            if code == ff::AVERROR(ff::EAGAIN) || code == ff::AVERROR_EOF {
                return Ok(packets);
            }
            check(code, doing)?;
            // SAFETY: a received packet has `size` bytes at `data`, until it is unreferenced.
            let packet = unsafe {
                let raw = &*self.packet.as_ptr();
                let data =
                    Bytes::copy_from_slice(std::slice::from_raw_parts(raw.data, raw.size.unsigned_abs() as usize));
                let key = raw.flags & ff::AV_PKT_FLAG_KEY as c_int != 0;
                let packet = Packet { pts: raw.pts, key, data };
                ff::av_packet_unref(self.packet.as_ptr());
                packet
            };
            packets.push(packet);
        }
    }
}
