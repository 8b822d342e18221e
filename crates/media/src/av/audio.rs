//! Opus into AAC: packets in, frames out, on the times that the packets came with.
//!
//! The output is one unbroken line of samples: what was lost is silence, and where the publisher's clock and the count of samples
//! drift apart, sound is stretched by a little instead of torn.

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};

use bytes::Bytes;
use ffmpeg_sys_next as ff;

use super::{AvError, Context, Frame, RawPacket, check};
use crate::cmaf::AudioTrack;

/// Opus always decodes to this rate, whatever was recorded; the AAC keeps it.
pub const SAMPLE_RATE: u32 = 48_000;
/// WebRTC negotiates Opus with two channels and sends mono in them when it has mono.
const CHANNELS: usize = 2;
/// Bits per second of the AAC: transparent for stereo from Opus at its usual rates.
const BITRATE: i64 = 128_000;
/// How the encoder looks for its quantisers. FFmpeg's manual holds this way for better than its default at such rates, and it takes half
/// of the time, which is most of what a publisher by WebRTC costs.
const CODER: &CStr = c"fast";
/// Samples of an AAC frame.
const AAC_FRAME: usize = 1024;
/// The longest Opus packet, RFC 6716: 120 ms.
const LONGEST_PACKET: i64 = 5_760;
/// From here on a hole is a hole and filled with silence, and an overlap is cut; below, sound is stretched. 10 ms: shorter than nearly
/// every packet, longer than any jitter of a clock.
const STEP: i64 = 480;
/// A difference of less than this, 1 ms, is left alone.
const SLACK: i64 = 48;
/// Over so many samples a small difference is made good: at most 10 ms in 2 s, which nobody hears.
const STRETCH: i64 = 96_000;
/// A longer hole, 1 s, is not filled: the line starts anew behind it.
const LONGEST_HOLE: i64 = 48_000;

/// One AAC frame of 1,024 samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AacFrame {
    /// Presentation time in samples, on the line of the packets' times.
    pub pts: i64,
    /// The raw frame, without ADTS.
    pub data: Bytes,
}

/// An Opus decoder and an AAC encoder, with what keeps them in time.
pub struct OpusToAac {
    track: AudioTrack,
    chain: Chain,
    /// Where the next packet should begin, and from where on a new stretch may be asked for; samples.
    next: Option<(i64, i64)>,
}

impl OpusToAac {
    /// Opens both codecs.
    ///
    /// # Errors
    /// When this FFmpeg lacks one of them.
    pub fn new() -> Result<Self, AvError> {
        let chain = Chain::open()?;
        let config = Bytes::copy_from_slice(chain.encoder.extradata());
        Ok(Self { track: AudioTrack { sample_rate: SAMPLE_RATE, channels: CHANNELS as u8, config }, chain, next: None })
    }

    /// The AAC track that comes out. It never changes.
    pub fn track(&self) -> &AudioTrack {
        &self.track
    }

    /// Takes one packet, whose first sample is heard at `pts` (samples at 48 kHz), and returns the frames that are complete.
    ///
    /// # Errors
    /// When the packet is no Opus. The next one may be given all the same: what is missing becomes silence.
    pub fn push(&mut self, pts: i64, packet: &[u8]) -> Result<Vec<AacFrame>, AvError> {
        let duration = packet_samples(packet)
            .ok_or_else(|| AvError::other("reading an Opus packet", "its header names no length up to 120 ms"))?;
        let (mut next, mut settled) = self.next.unwrap_or((pts, pts));
        if self.next.is_none() {
            self.chain.start_at(pts);
        } else if pts - next > LONGEST_HOLE {
            self.chain = Chain::open()?;
            self.chain.start_at(pts);
            (next, settled) = (pts, pts);
        }
        let off = pts - next;
        let mut cut = 0;
        if off >= STEP {
            self.chain.silence(off)?;
            next = pts;
        } else if off <= -STEP {
            cut = -off;
        } else if off.abs() > SLACK && pts >= settled {
            self.chain.stretch(off)?;
            (next, settled) = (pts, pts + STRETCH);
        }
        if cut >= duration {
            return Ok(Vec::new());
        }
        self.next = Some((next + duration - cut, settled));
        let decoded = self.chain.decode(packet, cut as usize);
        if decoded.is_err() {
            self.chain.silence(duration - cut)?; // keeps the line whole
        }
        let frames = self.chain.encode()?;
        decoded.map(|()| frames)
    }
}

/// Samples at 48 kHz that a packet holds, by its first two bytes (RFC 6716, section 3). `None` when it is malformed.
pub fn packet_samples(packet: &[u8]) -> Option<i64> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame: i64 = match config {
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => i64::from(packet.get(1)? & 0x3f),
    };
    Some(frame * count).filter(|samples| (1..=LONGEST_PACKET).contains(samples))
}

/// Decoder, resampler, encoder, and what waits between the last two.
struct Chain {
    decoder: Context,
    resampler: Resampler,
    encoder: Encoder,
    packet: RawPacket,
    pcm: [Vec<f32>; CHANNELS],
    /// Presentation time of the first sample of `pcm`.
    pts: i64,
}

impl Chain {
    fn open() -> Result<Self, AvError> {
        super::init();
        let doing = "opening the Opus decoder";
        // SAFETY: looks a codec up in FFmpeg's own list.
        let codec = unsafe { ff::avcodec_find_decoder(ff::AVCodecID::AV_CODEC_ID_OPUS) };
        if codec.is_null() {
            return Err(AvError::other(doing, "this FFmpeg has none"));
        }
        let mut decoder = Context::new(codec)?;
        let raw = decoder.raw_mut();
        raw.sample_rate = SAMPLE_RATE as c_int;
        // SAFETY: fills a layout that is ours; the context is made for this codec and not open yet.
        unsafe { ff::av_channel_layout_default(&mut raw.ch_layout, CHANNELS as c_int) };
        raw.request_sample_fmt = ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        // SAFETY: as above.
        check(unsafe { ff::avcodec_open2(decoder.raw_mut(), codec, ptr::null_mut()) }, doing)?;
        Ok(Self {
            decoder,
            resampler: Resampler::open()?,
            encoder: Encoder::open()?,
            packet: RawPacket::new()?,
            pcm: Default::default(),
            pts: 0,
        })
    }

    fn start_at(&mut self, pts: i64) {
        self.pts = pts;
    }

    fn silence(&mut self, samples: i64) -> Result<(), AvError> {
        let zeros = vec![0f32; samples.clamp(0, LONGEST_HOLE) as usize];
        self.resampler.convert([&zeros, &zeros], &mut self.pcm)
    }

    fn stretch(&mut self, samples: i64) -> Result<(), AvError> {
        self.resampler.stretch(samples)
    }

    /// Decodes one packet, less its first `cut` samples, into what waits for the encoder.
    fn decode(&mut self, packet: &[u8], cut: usize) -> Result<(), AvError> {
        let doing = "decoding Opus";
        let size = c_int::try_from(packet.len()).map_err(|_| AvError::other(doing, "the packet is over 2 GiB"))?;
        // SAFETY: the packet is ours; FFmpeg allocates `size` bytes with padding, which are then all written.
        unsafe {
            ff::av_packet_unref(self.packet.as_ptr());
            check(ff::av_new_packet(self.packet.as_ptr(), size), doing)?;
            ptr::copy_nonoverlapping(packet.as_ptr(), (*self.packet.as_ptr()).data, packet.len());
            check(ff::avcodec_send_packet(self.decoder.raw_mut(), self.packet.as_ptr()), doing)?;
        }
        loop {
            let mut frame = Frame::empty()?;
            // SAFETY: both are ours; the frame is filled or left empty.
            let code = unsafe { ff::avcodec_receive_frame(self.decoder.raw_mut(), frame.raw_mut()) };
            if code == ff::AVERROR(ff::EAGAIN) || code == ff::AVERROR_EOF {
                return Ok(());
            }
            check(code, doing)?;
            let raw = frame.raw();
            let planar = ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP as c_int;
            if raw.format != planar || raw.ch_layout.nb_channels != CHANNELS as c_int {
                return Err(AvError::other(doing, "the decoder gives another sample format than it was asked for"));
            }
            let count = raw.nb_samples.unsigned_abs() as usize;
            // SAFETY: a planar frame of two channels has two planes of `nb_samples` floats each, alive as long as the frame.
            let plane = |n: usize| unsafe { std::slice::from_raw_parts(raw.data[n].cast::<f32>(), count) };
            let cut = cut.min(count);
            self.resampler.convert([&plane(0)[cut..], &plane(1)[cut..]], &mut self.pcm)?;
        }
    }

    fn encode(&mut self) -> Result<Vec<AacFrame>, AvError> {
        let mut frames = Vec::new();
        while self.pcm[0].len() >= AAC_FRAME {
            self.encoder.encode(self.pts, [&self.pcm[0][..AAC_FRAME], &self.pcm[1][..AAC_FRAME]], &mut frames)?;
            for plane in &mut self.pcm {
                plane.drain(..AAC_FRAME);
            }
            self.pts += AAC_FRAME as i64;
        }
        Ok(frames)
    }
}

/// Passes samples on at the rate they came with, or a little faster or slower for a while.
struct Resampler(NonNull<ff::SwrContext>);

// SAFETY: it may be used from any one thread at a time, and has no other owner.
unsafe impl Send for Resampler {}

impl Resampler {
    fn open() -> Result<Self, AvError> {
        let doing = "opening the resampler";
        let mut raw = ptr::null_mut();
        // SAFETY: the layout is filled before it is read; the options are set on the context that FFmpeg has just made, which is freed on
        // drop. Resampling is switched on from the start: to switch it on later would click.
        unsafe {
            let mut layout: ff::AVChannelLayout = std::mem::zeroed();
            ff::av_channel_layout_default(&mut layout, CHANNELS as c_int);
            let (format, rate) = (ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP, SAMPLE_RATE as c_int);
            let code = ff::swr_alloc_set_opts2(
                &mut raw,
                &mut layout,
                format,
                rate,
                &mut layout,
                format,
                rate,
                0,
                ptr::null_mut(),
            );
            check(code, doing)?;
            let this = NonNull::new(raw).map(Self).ok_or_else(|| AvError::out_of_memory(doing))?;
            check(ff::av_opt_set(raw.cast(), c"flags".as_ptr(), c"+res".as_ptr(), 0), doing)?;
            check(ff::swr_init(raw), doing)?;
            Ok(this)
        }
    }

    /// Makes `samples` more (or fewer) of the samples that follow, over [`STRETCH`].
    fn stretch(&mut self, samples: i64) -> Result<(), AvError> {
        // SAFETY: the context is initialised.
        let code = unsafe { ff::swr_set_compensation(self.0.as_ptr(), samples as c_int, STRETCH as c_int) };
        check(code, "adjusting the resampler")
    }

    fn convert(&mut self, planes: [&[f32]; CHANNELS], out: &mut [Vec<f32>; CHANNELS]) -> Result<(), AvError> {
        let count = planes[0].len().min(planes[1].len());
        // Twice what can come of it: the stretch is under one per cent, and the filter holds some 32 samples.
        let room = count * 2 + 256;
        let at = out[0].len();
        for plane in &mut *out {
            plane.resize(at + room, 0.0);
        }
        let [left, right] = out;
        let mut to = [left[at..].as_mut_ptr().cast::<u8>(), right[at..].as_mut_ptr().cast::<u8>()];
        let mut from = [planes[0].as_ptr().cast::<u8>(), planes[1].as_ptr().cast::<u8>()];
        // SAFETY: two planes each way: `room` floats are there to be written, `count` to be read. The element type of the input array is
        // `*const u8`, and some versions of the bindings ask for a mutable pointer to it.
        let made = unsafe {
            ff::swr_convert(self.0.as_ptr(), to.as_mut_ptr(), room as c_int, from.as_mut_ptr().cast(), count as c_int)
        };
        for plane in out {
            plane.truncate(at + made.max(0) as usize);
        }
        check(made, "resampling")
    }
}

impl Drop for Resampler {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: ours, and not used afterwards.
        unsafe { ff::swr_free(&mut raw) };
    }
}

struct Encoder {
    context: Context,
    packet: RawPacket,
}

impl Encoder {
    fn open() -> Result<Self, AvError> {
        let doing = "opening the AAC encoder";
        // SAFETY: looks a codec up in FFmpeg's own list.
        let codec = unsafe { ff::avcodec_find_encoder(ff::AVCodecID::AV_CODEC_ID_AAC) };
        if codec.is_null() {
            return Err(AvError::other(doing, "this FFmpeg has none"));
        }
        let mut context = Context::new(codec)?;
        let raw = context.raw_mut();
        raw.sample_rate = SAMPLE_RATE as c_int;
        raw.sample_fmt = ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        raw.bit_rate = BITRATE;
        raw.time_base = ff::AVRational { num: 1, den: SAMPLE_RATE as c_int };
        // The configuration goes into the init segment.
        raw.flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as c_int;
        // SAFETY: fills a layout that is ours; the context is made for this codec, with its options at `priv_data`, and not open yet.
        unsafe {
            ff::av_channel_layout_default(&mut raw.ch_layout, CHANNELS as c_int);
            check(ff::av_opt_set(raw.priv_data, c"aac_coder".as_ptr(), CODER.as_ptr(), 0), doing)?;
            check(ff::avcodec_open2(context.raw_mut(), codec, ptr::null_mut()), doing)?;
        }
        Ok(Self { context, packet: RawPacket::new()? })
    }

    fn extradata(&self) -> &[u8] {
        let raw = self.context.raw();
        if raw.extradata.is_null() {
            return &[];
        }
        // SAFETY: the context owns this many bytes, and does not change them once it is open.
        unsafe { std::slice::from_raw_parts(raw.extradata, raw.extradata_size.unsigned_abs() as usize) }
    }

    fn encode(&mut self, pts: i64, planes: [&[f32]; CHANNELS], out: &mut Vec<AacFrame>) -> Result<(), AvError> {
        let doing = "encoding AAC";
        let mut frame = Frame::empty()?;
        let raw = frame.raw_mut();
        raw.nb_samples = AAC_FRAME as c_int;
        raw.format = ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP as c_int;
        raw.sample_rate = SAMPLE_RATE as c_int;
        raw.pts = pts;
        // SAFETY: the frame is ours and says its format and size, so that its planes hold that many floats; the encoder takes a reference.
        unsafe {
            ff::av_channel_layout_default(&mut raw.ch_layout, CHANNELS as c_int);
            check(ff::av_frame_get_buffer(raw, 0), "allocating sound")?;
            for (to, from) in raw.data.iter().zip(planes) {
                ptr::copy_nonoverlapping(from.as_ptr(), to.cast::<f32>(), from.len().min(AAC_FRAME));
            }
            check(ff::avcodec_send_frame(self.context.raw_mut(), raw), doing)?;
        }
        loop {
            // SAFETY: both are ours; a received packet has `size` bytes at `data`, until it is unreferenced.
            unsafe {
                let code = ff::avcodec_receive_packet(self.context.raw_mut(), self.packet.as_ptr());
                if code == ff::AVERROR(ff::EAGAIN) || code == ff::AVERROR_EOF {
                    return Ok(());
                }
                check(code, doing)?;
                let packet = &*self.packet.as_ptr();
                let bytes = std::slice::from_raw_parts(packet.data, packet.size.unsigned_abs() as usize);
                out.push(AacFrame { pts: packet.pts, data: Bytes::copy_from_slice(bytes) });
                ff::av_packet_unref(self.packet.as_ptr());
            }
        }
    }
}
