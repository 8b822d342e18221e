//! Bodies of RTMP audio and video messages: FLV tags; those in the FourCC form are read by [`enhanced`].
//!
//! Accepted are H.264 and AAC in either form, and HEVC, AV1, VP9 and VP8 in the FourCC form. Any other codec is named in the error.

use super::enhanced;
use bytes::{Buf, Bytes};
use millrace_media::cmaf::Codec;

/// What one message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// An `avcC` record.
    VideoConfig(Bytes),
    /// An `hvcC` record.
    HevcConfig(Bytes),
    /// An `av1C` record.
    Av1Config(Bytes),
    /// One picture: NAL units with length prefixes, composition time in milliseconds, and what the tag says of its kind.
    Video {
        /// Presentation less decoding time, milliseconds, signed.
        composition_ms: i32,
        /// The access unit.
        data: Bytes,
    },
    /// One picture of AV1, VP9 or VP8, whose key frames say themselves what the track is.
    Frame(Codec, Bytes),
    /// An AudioSpecificConfig.
    AudioConfig(Bytes),
    /// One raw AAC frame.
    Audio(Bytes),
    /// The track says that it ends.
    End,
    /// Nothing of use.
    Skip,
}

/// Why a tag is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// A video codec of no kind that is taken, or not in this form.
    #[error(
        "video codec {0} is not accepted: send H.264 (AVC), or by Enhanced RTMP HEVC (hvc1), AV1 (av01), VP9 (vp09) or VP8 (vp08)"
    )]
    VideoCodec(String),
    /// An audio codec other than AAC.
    #[error("audio codec {0} is not accepted: send AAC")]
    AudioCodec(String),
    /// The tag ends within its header.
    #[error("an flv {0} tag ends within its header")]
    Truncated(&'static str),
}

const AVC: u8 = 7;
const AAC: u8 = 10;
const EXTENDED_AUDIO: u8 = 9;
/// Frame type of a tag that holds a command and no picture.
pub(super) const COMMAND_FRAME: u8 = 5;

/// Reads the body of a video message.
pub fn video(mut body: Bytes) -> Result<Tag, FlvError> {
    const CUT: FlvError = FlvError::Truncated("video");
    let Some(&first) = body.first() else { return Ok(Tag::Skip) }; // an empty message is a keep-alive of some encoders
    body.advance(1);
    if first & 0x80 != 0 {
        return enhanced::video(first, body);
    }
    if first >> 4 == COMMAND_FRAME {
        return Ok(Tag::Skip);
    }
    match first & 0x0F {
        AVC => {}
        other => return Err(FlvError::VideoCodec(video_codec_name(other))),
    }
    let (kind, composition_ms) = match body.first_chunk::<4>() {
        Some([kind, time @ ..]) => (*kind, signed24(*time)),
        None => return Err(CUT),
    };
    body.advance(4);
    Ok(match kind {
        0 if !body.is_empty() => Tag::VideoConfig(body),
        1 if !body.is_empty() => Tag::Video { composition_ms, data: body },
        2 => Tag::End,
        _ => Tag::Skip,
    })
}

/// Reads the body of an audio message.
pub fn audio(mut body: Bytes) -> Result<Tag, FlvError> {
    const CUT: FlvError = FlvError::Truncated("audio");
    let Some(&first) = body.first() else { return Ok(Tag::Skip) };
    body.advance(1);
    match first >> 4 {
        AAC => {
            let Some(&kind) = body.first() else { return Err(CUT) };
            body.advance(1);
            Ok(match kind {
                // FFmpeg sends an empty one first when it does not know the configuration yet.
                0 if !body.is_empty() => Tag::AudioConfig(body),
                1 if !body.is_empty() => Tag::Audio(body),
                _ => Tag::Skip,
            })
        }
        EXTENDED_AUDIO => enhanced::audio(first, body),
        other => Err(FlvError::AudioCodec(audio_codec_name(other))),
    }
}

/// A signed number of three bytes.
pub(super) fn signed24([a, b, c]: [u8; 3]) -> i32 {
    i32::from_be_bytes([a, b, c, 0]) >> 8
}

fn video_codec_name(id: u8) -> String {
    match id {
        2 => "Sorenson H.263 (FLV1)".into(),
        3 | 6 => "Screen Video".into(),
        4 | 5 => "VP6".into(),
        12 => "HEVC under the id 12".into(),
        other => format!("number {other}"),
    }
}

fn audio_codec_name(id: u8) -> String {
    match id {
        0 | 3 => "PCM".into(),
        1 => "ADPCM".into(),
        2 | 14 => "MP3".into(),
        4..=6 => "Nellymoser".into(),
        7 | 8 => "G.711".into(),
        11 => "Speex".into(),
        other => format!("number {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(data: &'static [u8]) -> Bytes {
        Bytes::from_static(data)
    }

    #[test]
    fn h264_and_aac_are_read_in_both_forms() {
        let frame = Tag::Video { composition_ms: -2, data: bytes(b"nal") };
        assert_eq!(video(bytes(b"\x17\x01\xff\xff\xfenal")).unwrap(), frame);
        assert_eq!(video(bytes(b"\x91avc1\xff\xff\xfenal")).unwrap(), frame);
        assert_eq!(video(bytes(b"\x91hvc1\xff\xff\xfenal")).unwrap(), frame);
        assert_eq!(video(bytes(b"\x17\x00\0\0\0cfg")).unwrap(), Tag::VideoConfig(bytes(b"cfg")));
        assert_eq!(video(bytes(b"\x90avc1cfg")).unwrap(), Tag::VideoConfig(bytes(b"cfg")));
        assert_eq!(video(bytes(b"\x90hvc1cfg")).unwrap(), Tag::HevcConfig(bytes(b"cfg")));
        assert_eq!(video(bytes(b"\x17\x02\0\0\0")).unwrap(), Tag::End);
        assert_eq!(audio(bytes(b"\xaf\x01raw")).unwrap(), Tag::Audio(bytes(b"raw")));
        assert_eq!(audio(bytes(b"\x91mp4araw")).unwrap(), Tag::Audio(bytes(b"raw")));
    }

    #[test]
    fn messages_without_use_are_skipped() {
        assert_eq!(video(Bytes::new()).unwrap(), Tag::Skip);
        assert_eq!(audio(bytes(b"\xaf\x00")).unwrap(), Tag::Skip);
    }

    #[test]
    fn other_codecs_are_named() {
        let name = |error: FlvError| error.to_string();
        assert!(name(video(bytes(b"\x1cdata")).unwrap_err()).contains("Enhanced RTMP"));
        assert!(name(video(bytes(b"\x12data")).unwrap_err()).contains("H.263"));
        assert!(name(video(bytes(b"\x14data")).unwrap_err()).contains("VP6"));
        assert!(name(audio(bytes(b"\x2fdata")).unwrap_err()).contains("MP3"));
    }
}
