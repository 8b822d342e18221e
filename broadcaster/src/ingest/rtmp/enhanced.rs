//! Audio and video messages of Enhanced RTMP v2: codecs by their FourCC, extensions in front of a packet, several tracks in one message.
//!
//! A stream has one video and one audio track here: those with the id 0, which clients give to what plain players should take. Other
//! tracks, packet types that are not known, metadata (colours, which the parameter sets give too) and extensions (ModEx) are skipped, as
//! the specification asks. The one extension that is defined refines a timestamp by less than the millisecond that RTMP counts in.

use super::flv::{COMMAND_FRAME, FlvError, Tag, signed24};
use bytes::{Buf, Bytes};
use millrace_media::cmaf::Codec;

/// Packet types, the same for audio and video where both have them.
mod packet {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const SEQUENCE_END: u8 = 2;
    /// Video whose presentation time is its decoding time.
    pub(super) const CODED_FRAMES_X: u8 = 3;
    pub(super) const VIDEO_MULTITRACK: u8 = 6;
    pub(super) const AUDIO_MULTITRACK: u8 = 5;
    pub(super) const MOD_EX: u8 = 7;
}

/// How a message with tracks is laid out. 1 stands for many tracks of one codec.
mod layout {
    pub(super) const ONE_TRACK: u8 = 0;
    pub(super) const MANY_TRACKS_MANY_CODECS: u8 = 2;
}

/// The track that is taken.
const TRACK: u8 = 0;

/// One packet of the track that is taken.
struct Packet {
    kind: u8,
    codec: [u8; 4],
    body: Bytes,
}

/// Reads a video message behind its first byte.
pub(super) fn video(first: u8, mut body: Bytes) -> Result<Tag, FlvError> {
    const CUT: FlvError = FlvError::Truncated("video");
    let kind = skip_mod_ex(first & 0x0F, &mut body).ok_or(CUT)?;
    if (first >> 4) & 7 == COMMAND_FRAME {
        return Ok(Tag::Skip);
    }
    let Some(packet) = packet(kind, packet::VIDEO_MULTITRACK, body).ok_or(CUT)? else { return Ok(Tag::Skip) };
    let Packet { kind, codec, mut body } = packet;
    if kind > packet::CODED_FRAMES_X {
        return Ok(Tag::Skip);
    }
    let frames = match &codec {
        b"avc1" | b"hvc1" => None,
        b"av01" => Some(Codec::Av1),
        b"vp09" => Some(Codec::Vp9),
        b"vp08" => Some(Codec::Vp8),
        other => return Err(FlvError::VideoCodec(video_codec_name(other))),
    };
    let composition_ms = if kind == packet::CODED_FRAMES && frames.is_none() {
        let time = body.first_chunk::<3>().copied().ok_or(CUT)?;
        body.advance(3);
        signed24(time)
    } else {
        0
    };
    Ok(match (kind, frames) {
        (packet::SEQUENCE_END, _) => Tag::End,
        _ if body.is_empty() => Tag::Skip,
        (packet::SEQUENCE_START, _) => match &codec {
            b"avc1" => Tag::VideoConfig(body),
            b"hvc1" => Tag::HevcConfig(body),
            b"av01" => Tag::Av1Config(body),
            _ => Tag::Skip, // the key frames of VP9 and VP8 say all of it
        },
        (_, Some(codec)) => Tag::Frame(codec, body),
        (_, None) => Tag::Video { composition_ms, data: body },
    })
}

/// Reads an audio message behind its first byte.
pub(super) fn audio(first: u8, mut body: Bytes) -> Result<Tag, FlvError> {
    const CUT: FlvError = FlvError::Truncated("audio");
    let kind = skip_mod_ex(first & 0x0F, &mut body).ok_or(CUT)?;
    let Some(packet) = packet(kind, packet::AUDIO_MULTITRACK, body).ok_or(CUT)? else { return Ok(Tag::Skip) };
    let Packet { kind, codec, body } = packet;
    if kind > packet::SEQUENCE_END {
        return Ok(Tag::Skip);
    }
    if &codec != b"mp4a" {
        return Err(FlvError::AudioCodec(audio_codec_name(&codec)));
    }
    Ok(match kind {
        packet::SEQUENCE_END => Tag::End,
        _ if body.is_empty() => Tag::Skip,
        packet::SEQUENCE_START => Tag::AudioConfig(body),
        _ => Tag::Audio(body),
    })
}

/// The packet in a message of this kind, or that of the track that is taken where there are several. The outer `None`: the message
/// ends within a field. The inner one: it holds nothing for that track.
fn packet(kind: u8, multitrack: u8, mut body: Bytes) -> Option<Option<Packet>> {
    if kind != multitrack {
        let codec = four_cc(&mut body)?;
        return Some(Some(Packet { kind, codec, body }));
    }
    let head = byte(&mut body)?;
    let (layout, kind) = (head >> 4, head & 0x0F);
    if layout > layout::MANY_TRACKS_MANY_CODECS || kind == multitrack {
        return Some(None);
    }
    let shared = if layout == layout::MANY_TRACKS_MANY_CODECS { None } else { Some(four_cc(&mut body)?) };
    while !body.is_empty() {
        let codec = match shared {
            Some(codec) => codec,
            None => four_cc(&mut body)?,
        };
        let track = byte(&mut body)?;
        let size = if layout == layout::ONE_TRACK {
            body.len()
        } else {
            let [a, b, c] = *body.first_chunk::<3>()?;
            body.advance(3);
            u32::from_be_bytes([0, a, b, c]) as usize
        };
        if size > body.len() {
            return None;
        }
        let body = body.split_to(size);
        if track == TRACK {
            return Some(Some(Packet { kind, codec, body }));
        }
    }
    Some(None)
}

/// Skips ModEx extensions in front of a packet and returns the packet's own type; `None` when the body ends within one.
fn skip_mod_ex(mut kind: u8, body: &mut Bytes) -> Option<u8> {
    while kind == packet::MOD_EX {
        let mut size = usize::from(byte(body)?) + 1;
        if size == 256 {
            size = usize::from(u16::from_be_bytes(*body.first_chunk::<2>()?)) + 1;
            body.advance(2);
        }
        if body.len() <= size {
            return None;
        }
        body.advance(size);
        kind = byte(body)? & 0x0F; // high four bits: which extension it was
    }
    Some(kind)
}

fn byte(body: &mut Bytes) -> Option<u8> {
    let first = *body.first()?;
    body.advance(1);
    Some(first)
}

fn four_cc(body: &mut Bytes) -> Option<[u8; 4]> {
    let code = *body.first_chunk::<4>()?;
    body.advance(4);
    Some(code)
}

fn video_codec_name(code: &[u8; 4]) -> String {
    match code {
        b"vvc1" => "VVC (vvc1)".into(),
        other => format!("'{}'", other.escape_ascii()),
    }
}

fn audio_codec_name(code: &[u8; 4]) -> String {
    match code {
        b"Opus" => "Opus".into(),
        b".mp3" => "MP3".into(),
        b"ac-3" => "AC-3".into(),
        b"ec-3" => "E-AC-3".into(),
        b"fLaC" => "FLAC".into(),
        other => format!("'{}'", other.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::flv::{audio, video};
    use super::*;

    fn bytes(data: &'static [u8]) -> Bytes {
        Bytes::from_static(data)
    }

    fn picture(data: &'static [u8]) -> Tag {
        Tag::Video { composition_ms: 0, data: bytes(data) }
    }

    #[test]
    fn extensions_commands_metadata_and_unknown_packets_are_skipped() {
        // ModEx of three bytes (a nanosecond offset), then a CodedFramesX packet; then the same behind a long one.
        assert_eq!(video(bytes(b"\xa7\x02\x00\x01\x02\x03hvc1nal")).unwrap(), picture(b"nal"));
        let long = [&b"\x97\xff\x00\xff"[..], &[0; 256], b"\x03avc1nal"].concat();
        assert_eq!(video(long.into()).unwrap(), picture(b"nal"));
        assert_eq!(audio(bytes(b"\x97\x00\x00\x01mp4araw")).unwrap(), Tag::Audio(bytes(b"raw")));
        for skipped in [&b"\x94hvc1metadata"[..], b"\x94av01metadata", b"\xd0\x00", b"\x9bavc1what", b"\x93avc1"] {
            assert_eq!(video(bytes(skipped)).unwrap(), Tag::Skip, "{}", skipped.escape_ascii());
        }
        assert!(video(bytes(b"\x97\xff")).is_err());
        assert_eq!(audio(bytes(b"\x94mp4achannels")).unwrap(), Tag::Skip);
    }

    #[test]
    fn of_several_tracks_the_first_is_taken() {
        // One track: the codec, the track, the packet.
        assert_eq!(video(bytes(b"\x96\x03hvc1\x00nal")).unwrap(), picture(b"nal"));
        assert_eq!(video(bytes(b"\x96\x00hvc1\x00cfg")).unwrap(), Tag::HevcConfig(bytes(b"cfg")));
        assert_eq!(video(bytes(b"\x96\x03av01\x01obu")).unwrap(), Tag::Skip, "another track may have any codec");
        // Many: each with its size; and with its own codec.
        let composed = Tag::Video { composition_ms: 5, data: bytes(b"nal") };
        assert_eq!(video(bytes(b"\x96\x11avc1\x01\0\0\x02xx\x00\0\0\x06\0\0\x05nal")).unwrap(), composed);
        assert_eq!(video(bytes(b"\x96\x23av01\x01\0\0\x01xhvc1\x00\0\0\x03nal")).unwrap(), picture(b"nal"));
        assert_eq!(video(bytes(b"\x96\x13avc1\x01\0\0\x01x\x02\0\0\x01y")).unwrap(), Tag::Skip);
        assert_eq!(audio(bytes(b"\x95\x01mp4a\x00raw")).unwrap(), Tag::Audio(bytes(b"raw")));
        assert_eq!(audio(bytes(b"\x95\x01Opus\x01raw")).unwrap(), Tag::Skip);
        // Tracks within tracks, and layouts to come.
        assert_eq!(video(bytes(b"\x96\x06hvc1\x00nal")).unwrap(), Tag::Skip);
        assert_eq!(video(bytes(b"\x96\x33hvc1\x00nal")).unwrap(), Tag::Skip);
        assert!(video(bytes(b"\x96\x13avc1\x01\0\0\x09x")).is_err());
    }

    #[test]
    fn frames_that_say_what_they_are_have_no_composition_time() {
        for (code, codec) in [("av01", Codec::Av1), ("vp09", Codec::Vp9), ("vp08", Codec::Vp8)] {
            for head in [&b"\x91"[..], b"\x93", b"\x97\x02\x00\x01\x02\x01"] {
                let message = [head, code.as_bytes(), b"abc"].concat();
                assert_eq!(video(message.into()).unwrap(), Tag::Frame(codec, bytes(b"abc")), "{code}");
            }
            let start = [b"\x90", code.as_bytes(), b"cfg"].concat();
            let expected = if codec == Codec::Av1 { Tag::Av1Config(bytes(b"cfg")) } else { Tag::Skip };
            assert_eq!(video(start.into()).unwrap(), expected, "{code}");
            for (kind, expected) in [(b"\x92", Tag::End), (b"\x91", Tag::Skip), (b"\x95", Tag::Skip)] {
                assert_eq!(video([kind, code.as_bytes()].concat().into()).unwrap(), expected, "{code}");
            }
        }
        assert_eq!(video(bytes(b"\x96\x01av01\x00obu")).unwrap(), Tag::Frame(Codec::Av1, bytes(b"obu")));
    }

    #[test]
    fn other_codecs_are_named() {
        let name = |error: FlvError| error.to_string();
        assert!(name(video(bytes(b"\x90vvc1cfg")).unwrap_err()).contains("VVC"));
        assert!(name(video(bytes(b"\x96\x00vvc1\x00cfg")).unwrap_err()).contains("VVC"));
        assert!(name(audio(bytes(b"\x90Opuscfg")).unwrap_err()).contains("Opus"));
    }

    #[test]
    fn bent_and_cut_messages_are_refused_or_read_and_never_panic() {
        let whole: [&[u8]; 5] = [
            b"\xa1av01obu",
            b"\xa7\x02\x00\x01\x02\x03hvc1nal",
            b"\x96\x11avc1\x01\0\0\x02xx\x00\0\0\x06\0\0\x05nal",
            b"\x96\x23av01\x01\0\0\x01xhvc1\x00\0\0\x03nal",
            b"\x95\x01mp4a\x00raw",
        ];
        for message in whole {
            for at in 0..message.len() {
                let cut = Bytes::from_static(&message[..at]);
                let _ = (video(cut.clone()), audio(cut));
                for value in 0..=255 {
                    let mut bent = message.to_vec();
                    bent[at] = value;
                    let bent = Bytes::from(bent);
                    let _ = (video(bent.clone()), audio(bent));
                }
            }
        }
    }
}
