//! A video decoder in software: packets in, pictures out in presentation order.

use std::ffi::{CStr, c_int};
use std::ptr;

use ffmpeg_sys_next as ff;

use super::{AvError, Context, Frame, RawPacket, check};
use crate::cmaf::{Codec, VideoTrack};

/// Most pixels of one picture: level 6.2, 8,192 by 4,320. More would let a stranger's header take the memory of a node.
const MAX_PIXELS: i64 = 8192 * 4320;
/// Most pictures that the standard lets a stream hold back for reordering.
const MAX_REORDER: u32 = 16;

pub(crate) struct Decoder {
    context: Context,
    packet: RawPacket,
}

impl Decoder {
    /// Opens a decoder for the stream that a track's configuration describes.
    pub(crate) fn open(track: &VideoTrack) -> Result<Self, AvError> {
        super::init();
        // FFmpeg's own AV1 decoder needs hardware: one of the libraries it is.
        let (names, doing): (&[&CStr], _) = match track.codec {
            Codec::H264 => (&[c"h264"], "opening the H.264 decoder"),
            Codec::H265 => (&[c"hevc"], "opening the HEVC decoder"),
            Codec::Av1 => (&[c"libdav1d", c"libaom-av1"], "opening the AV1 decoder"),
            Codec::Vp9 => (&[c"vp9"], "opening the VP9 decoder"),
            Codec::Vp8 => (&[c"vp8"], "opening the VP8 decoder"),
        };
        let config = &track.config;
        // SAFETY: looks codecs up by name in FFmpeg's own list.
        let mut found = names.iter().map(|name| unsafe { ff::avcodec_find_decoder_by_name(name.as_ptr()) });
        let codec = found.find(|codec| !codec.is_null()).unwrap_or(ptr::null());
        if codec.is_null() {
            return Err(AvError::other(doing, "this FFmpeg has none"));
        }
        let mut context = Context::new(codec)?;
        let raw = context.raw_mut();
        // SAFETY: FFmpeg wants memory of its own, padded with zeros, which the context then owns and frees.
        unsafe {
            let extradata = ff::av_mallocz(config.len() + ff::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
            if extradata.is_null() {
                return Err(AvError::out_of_memory(doing));
            }
            ptr::copy_nonoverlapping(config.as_ptr(), extradata, config.len());
            raw.extradata = extradata;
        }
        raw.extradata_size = config.len() as c_int;
        // One thread: frame threads would hold pictures back, and the encoders use the other cores.
        raw.thread_count = 1;
        raw.max_pixels = MAX_PIXELS;
        raw.pkt_timebase = ff::AVRational { num: 1, den: crate::VIDEO_TIMESCALE as c_int };
        // SAFETY: the context was made for this codec and is not open yet.
        check(unsafe { ff::avcodec_open2(context.raw_mut(), codec, ptr::null_mut()) }, doing)?;
        Ok(Self { context, packet: RawPacket::new()? })
    }

    /// Tells how many pictures come before others that are shown earlier. Without it FFmpeg learns this from its first mistake, which
    /// costs a picture.
    pub(crate) fn expect_reorder(&mut self, pictures: u32) {
        let raw = self.context.raw_mut();
        raw.has_b_frames = raw.has_b_frames.max(pictures.min(MAX_REORDER) as c_int);
    }

    /// Decodes one sample and hands each finished picture to `sink`.
    pub(crate) fn decode<E: From<AvError>>(
        &mut self,
        data: &[u8],
        dts: i64,
        pts: i64,
        sink: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        let doing = "decoding";
        let size = c_int::try_from(data.len()).map_err(|_| AvError::other(doing, "the access unit is over 2 GiB"))?;
        // SAFETY: the packet is ours; FFmpeg allocates `size` bytes with padding, which are then all written.
        unsafe {
            ff::av_packet_unref(self.packet.as_ptr());
            check(ff::av_new_packet(self.packet.as_ptr(), size), doing)?;
            let packet = &mut *self.packet.as_ptr();
            ptr::copy_nonoverlapping(data.as_ptr(), packet.data, data.len());
            (packet.dts, packet.pts) = (dts, pts);
            check(ff::avcodec_send_packet(self.context.raw_mut(), packet), doing)?;
        }
        self.receive(sink)
    }

    /// Hands the pictures still held back to `sink`, and makes the decoder ready for another key frame.
    pub(crate) fn drain<E: From<AvError>>(&mut self, sink: impl FnMut(Frame) -> Result<(), E>) -> Result<(), E> {
        // SAFETY: a null packet is FFmpeg's mark for the end of the stream; it cannot fail on an open decoder but for being said twice.
        unsafe { ff::avcodec_send_packet(self.context.raw_mut(), ptr::null()) };
        let drained = self.receive(sink);
        self.reset();
        drained
    }

    /// Forgets everything but the configuration: the next sample must be a key frame.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the context is an open decoder.
        unsafe { ff::avcodec_flush_buffers(self.context.raw_mut()) };
    }

    fn receive<E: From<AvError>>(&mut self, mut sink: impl FnMut(Frame) -> Result<(), E>) -> Result<(), E> {
        loop {
            let mut frame = Frame::empty()?;
            // SAFETY: both are ours; the frame is filled or left empty.
            let code = unsafe { ff::avcodec_receive_frame(self.context.raw_mut(), frame.raw_mut()) };
            if code == ff::AVERROR(ff::EAGAIN) || code == ff::AVERROR_EOF {
                return Ok(());
            }
            check(code, "decoding")?;
            sink(frame)?;
        }
    }
}
