//! The tracks of a stream: codec, configuration, and what follows from it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cmaf::CmafError;
use crate::h264::{self, AvcConfig};
use crate::h265::{self, HevcConfig, RandomAccess};
use crate::nal::{NalError, PictureFormat};
use crate::vpx::{self, KeyFrame};
use crate::{VIDEO_TIMESCALE, av1};

/// A video codec of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// H.264 / AVC.
    H264,
    /// H.265 / HEVC: of a source only, as all that follow.
    H265,
    /// AV1.
    Av1,
    /// VP9.
    Vp9,
    /// VP8.
    Vp8,
}

impl Codec {
    /// The name that profiles and people use: `h264`, `hevc`, `av1`, `vp9`, `vp8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "hevc",
            Self::Av1 => "av1",
            Self::Vp9 => "vp9",
            Self::Vp8 => "vp8",
        }
    }

    /// Whether there are players that take it in CMAF. No browser takes VP8 so: its viewers get the ladder alone.
    pub fn is_playable(self) -> bool {
        self != Self::Vp8
    }
}

/// A video track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// The codec.
    pub codec: Codec,
    /// Width in samples, after cropping.
    pub width: u16,
    /// Height in samples, after cropping.
    pub height: u16,
    /// Ticks per second; [`VIDEO_TIMESCALE`] everywhere in the network.
    pub timescale: u32,
    /// Payload of the `avcC`, `hvcC`, `av1C` or `vpcC` box, the last with its version and flags.
    pub config: Bytes,
}

impl VideoTrack {
    /// The H.264 track that an `avcC` record describes, at 90 kHz.
    pub fn h264(config: Bytes) -> Result<Self, CmafError> {
        let format = AvcConfig::parse(&config)?.parse_sps()?.format;
        Ok(Self::of(Codec::H264, &format, config))
    }

    /// The HEVC track that an `hvcC` record describes, at 90 kHz. What the record repeats of its parameter sets is taken from those,
    /// and encoders' remarks are left out.
    pub fn h265(record: &[u8]) -> Result<Self, CmafError> {
        let config = HevcConfig::parse(record)?;
        Ok(Self::of(Codec::H265, &config.parse_sps()?.format, config.to_record()?))
    }

    /// The AV1 track that an `av1C` record describes, at 90 kHz. The record must hold the sequence header, and nothing else of it is kept.
    pub fn av1(record: &[u8]) -> Result<Self, CmafError> {
        Self::of_av1(av1::parse_record(record)?)
    }

    /// The VP8 or VP9 track of pictures of this size that a `vpcC` record describes, at 90 kHz.
    pub(crate) fn vpx(codec: Codec, record: &[u8], width: u16, height: u16) -> Result<Self, CmafError> {
        let config = vpx::parse_record(record)?;
        Ok(Self::of(codec, &vpx::format_of(&config, width, height)?, config))
    }

    /// The track that a key frame of AV1, VP9 or VP8 describes, at 90 kHz: those carry all that is to know. `None` for a frame that is
    /// none, and for H.264 and HEVC.
    ///
    /// # Errors
    /// When the frame is malformed, or a key frame says what is not taken. An AV1 key frame must come with its sequence header.
    pub fn of_key_frame(codec: Codec, frame: &[u8]) -> Result<Option<Self>, CmafError> {
        let of_vpx =
            |key: Option<KeyFrame>| key.map(|key| Ok(Self::of(codec, &key.format, key.to_record()?))).transpose();
        match codec {
            Codec::H264 | Codec::H265 => Ok(None),
            Codec::Av1 if av1::is_key(frame) => Self::of_av1(av1::record(frame)?).map(Some),
            Codec::Av1 => Ok(None),
            Codec::Vp9 => of_vpx(vpx::vp9_key_frame(frame)?),
            Codec::Vp8 => of_vpx(vpx::vp8_key_frame(frame)?),
        }
    }

    fn of_av1(config: Bytes) -> Result<Self, CmafError> {
        Ok(Self::of(Codec::Av1, &av1::header_of(&config)?.format, config))
    }

    fn of(codec: Codec, format: &PictureFormat, config: Bytes) -> Self {
        // A size past u16 was refused with the SPS.
        let (width, height) = (format.width as u16, format.height as u16);
        Self { codec, width, height, timescale: VIDEO_TIMESCALE, config }
    }

    /// The RFC 6381 name, as playlists give it: `avc1.64001f`, `hvc1.1.6.L93.B0`, `av01.0.04M.08`, `vp09.00.31.08`.
    pub fn codec_string(&self) -> String {
        match (self.codec, self.config.get(1..13)) {
            (Codec::H264, Some([profile, constraints, level, ..])) => {
                format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
            }
            (Codec::H264, _) => "avc1".to_owned(),
            (Codec::H265, Some([profile, a, b, c, d, constraints @ .., level])) => {
                let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
                let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
                let compatibility = u32::from_be_bytes([*a, *b, *c, *d]).reverse_bits();
                let mut name = format!("hvc1.{space}{}.{compatibility:X}.{tier}{level}", profile & 0x1f);
                let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                for byte in &constraints[..used] {
                    name += &format!(".{byte:X}");
                }
                name
            }
            (Codec::H265, _) => "hvc1".to_owned(),
            (Codec::Av1, _) => match *self.config {
                [_, level, flags, ..] => {
                    let tier = if flags & 0x80 == 0 { 'M' } else { 'H' };
                    let depth = [8, 8, 10, 12][usize::from(flags >> 5 & 3)];
                    format!("av01.{}.{:02}{tier}.{depth:02}", level >> 5, level & 0x1f)
                }
                _ => "av01".to_owned(),
            },
            (Codec::Vp9 | Codec::Vp8, _) => {
                let name = if self.codec == Codec::Vp9 { "vp09" } else { "vp08" };
                match *self.config {
                    [_, _, _, _, profile, level, depth, ..] => {
                        format!("{name}.{profile:02}.{level:02}.{:02}", depth >> 4)
                    }
                    _ => name.to_owned(),
                }
            }
        }
    }

    /// The profile (of H.264 and HEVC, that of the first sequence parameter set), in the codec's own numbers.
    pub fn profile(&self) -> u8 {
        let byte = |at: usize| self.config.get(at).copied().unwrap_or(0);
        match self.codec {
            Codec::H264 => byte(1),
            Codec::H265 => byte(1) & 0x1f,
            Codec::Av1 => byte(1) >> 5,
            Codec::Vp9 | Codec::Vp8 => byte(4),
        }
    }

    /// What the configuration says of the pictures.
    pub fn format(&self) -> Result<PictureFormat, NalError> {
        Ok(match self.codec {
            Codec::H264 => AvcConfig::parse(&self.config)?.parse_sps()?.format,
            Codec::H265 => HevcConfig::parse(&self.config)?.parse_sps()?.format,
            Codec::Av1 => av1::header_of(&self.config)?.format,
            Codec::Vp9 | Codec::Vp8 => vpx::format_of(&self.config, self.width, self.height)?,
        })
    }

    /// A key sample with the track's parameter sets in front of its picture. Players that read one init segment only find there that the
    /// encoding has changed. VP8 and VP9 have none.
    pub fn in_front_of(&self, sample: &[u8]) -> Result<Bytes, CmafError> {
        Ok(match self.codec {
            Codec::H264 => AvcConfig::parse(&self.config)?.in_front_of(sample),
            Codec::H265 => HevcConfig::parse(&self.config)?.in_front_of(sample),
            Codec::Av1 => av1::to_sample(sample, &self.config)?,
            Codec::Vp9 | Codec::Vp8 => Bytes::copy_from_slice(sample),
        })
    }

    /// Whether the samples are NAL units, and the configuration comes apart from them: H.264 and HEVC.
    pub fn has_nals(&self) -> bool {
        matches!(self.codec, Codec::H264 | Codec::H265)
    }

    /// Whether a segment may start with this sample: it and all that follow decode without what was before. `false` for bytes that
    /// are no sample of the codec.
    ///
    /// An HEVC stream's CRA pictures are such only where no picture is reordered. Elsewhere pictures that are shown before the CRA
    /// and lean on the segment before (RASL) may follow it, and whoever begins there loses them.
    pub fn is_start(&self, sample: &[u8]) -> bool {
        match self.codec {
            Codec::H264 => h264::is_idr(sample),
            Codec::H265 => match h265::random_access(sample) {
                Some(RandomAccess::Closed) => true,
                Some(RandomAccess::Open) => {
                    let sps = HevcConfig::parse(&self.config).and_then(|config| config.parse_sps());
                    sps.is_ok_and(|sps| sps.reorder == 0)
                }
                None => false,
            },
            Codec::Av1 => av1::is_key(sample),
            Codec::Vp9 => matches!(vpx::vp9_key_frame(sample), Ok(Some(_))),
            Codec::Vp8 => matches!(vpx::vp8_key_frame(sample), Ok(Some(_))),
        }
    }

    /// Whether a sample shows a picture. Of VP8 and VP9 some do not, where their encoder works with alternate references that it does not
    /// pack together with another frame: a track of such samples has fewer pictures than samples.
    pub fn is_shown(&self, sample: &[u8]) -> bool {
        match self.codec {
            Codec::H264 | Codec::H265 => true,
            Codec::Av1 => av1::is_shown(sample),
            Codec::Vp9 => vpx::is_vp9_shown(sample),
            Codec::Vp8 => vpx::is_vp8_shown(sample),
        }
    }
}

/// An AAC track. Its timescale is its sample rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioTrack {
    /// Samples per second, which is also the timescale.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// The AudioSpecificConfig.
    pub config: Bytes,
}

impl AudioTrack {
    /// The RFC 6381 name, as playlists give it: `mp4a.40.2` for AAC-LC.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.config.first().map_or(2, |b| b >> 3))
    }
}

/// A track of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Track {
    /// Video.
    Video(VideoTrack),
    /// Audio.
    Audio(AudioTrack),
}

impl Track {
    /// Ticks per second.
    pub fn timescale(&self) -> u32 {
        match self {
            Self::Video(track) => track.timescale,
            Self::Audio(track) => track.sample_rate,
        }
    }

    /// The RFC 6381 name, as playlists give it.
    pub fn codec_string(&self) -> String {
        match self {
            Self::Video(track) => track.codec_string(),
            Self::Audio(track) => track.codec_string(),
        }
    }
}
