//! The tracks of a stream: codec, configuration, and what follows from it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::VIDEO_TIMESCALE;
use crate::cmaf::CmafError;
use crate::h264::{self, AvcConfig};
use crate::h265::{self, HevcConfig, RandomAccess};
use crate::nal::{NalError, PictureFormat};

/// A video codec of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// H.264 / AVC.
    H264,
    /// H.265 / HEVC: of a source only.
    H265,
}

impl Codec {
    /// The name that profiles and people use: `h264`, `hevc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "hevc",
        }
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
    /// Payload of the `avcC` or `hvcC` box.
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

    fn of(codec: Codec, format: &PictureFormat, config: Bytes) -> Self {
        // A size past u16 was refused with the SPS.
        let (width, height) = (format.width as u16, format.height as u16);
        Self { codec, width, height, timescale: VIDEO_TIMESCALE, config }
    }

    /// The RFC 6381 name, as playlists give it: `avc1.64001f`, `hvc1.1.6.L93.B0`.
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
        }
    }

    /// `profile_idc` as the first sequence parameter set gives it, in the codec's own numbers.
    pub fn profile(&self) -> u8 {
        let byte = self.config.get(1).copied().unwrap_or(0);
        match self.codec {
            Codec::H264 => byte,
            Codec::H265 => byte & 0x1f,
        }
    }

    /// What the first sequence parameter set says of the pictures.
    pub fn format(&self) -> Result<PictureFormat, NalError> {
        Ok(match self.codec {
            Codec::H264 => AvcConfig::parse(&self.config)?.parse_sps()?.format,
            Codec::H265 => HevcConfig::parse(&self.config)?.parse_sps()?.format,
        })
    }

    /// A sample with the track's parameter sets in front of its picture. Players that read one init segment only find there that the
    /// encoding has changed.
    pub fn in_front_of(&self, sample: &[u8]) -> Result<Bytes, CmafError> {
        Ok(match self.codec {
            Codec::H264 => AvcConfig::parse(&self.config)?.in_front_of(sample),
            Codec::H265 => HevcConfig::parse(&self.config)?.in_front_of(sample),
        })
    }

    /// Whether a segment may start with this sample: it and all that follow decode without what was before. `false` for bytes that
    /// are no NAL units.
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
