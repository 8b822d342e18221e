//! VP8 and VP9 as bytes: the head of a frame, the `vpcC` record, and where decoding may begin. No decoding happens here.
//!
//! Neither has parameter sets: what a record says comes from a key frame. Everything reads hostile input: lengths are checked, loops
//! are bounded by the bytes given, and nothing panics.

use bytes::Bytes;

use crate::nal::{Bits, MAX_SIDE, NalError, PictureFormat, at_most};

const RECORD: &str = "vpcC record";
const HEAD: &str = "frame header";
/// Sizes, pictures a second at 60 of them, and the tenfold level of VP9 that has room for both.
const LEVELS: [(u64, u64, u8); 14] = [
    (36_864, 829_440, 10),
    (73_728, 2_764_800, 11),
    (122_880, 4_608_000, 20),
    (245_760, 9_216_000, 21),
    (552_960, 20_736_000, 30),
    (983_040, 36_864_000, 31),
    (2_228_224, 83_558_400, 40),
    (2_228_224, 160_432_128, 41),
    (8_912_896, 311_951_360, 50),
    (8_912_896, 588_251_136, 51),
    (8_912_896, 1_176_502_272, 52),
    (35_651_584, 1_176_502_272, 60),
    (35_651_584, 2_353_004_544, 61),
    (35_651_584, 4_706_009_088, 62),
];
/// Neither codec says its frame rate or level: the level is that of the highest rate in common use.
const ASSUMED_FPS: u64 = 60;

/// What a key frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFrame {
    /// VP9's profile, 0 to 3; VP8's version, likewise.
    pub profile: u8,
    /// Size and colours.
    pub format: PictureFormat,
}

impl KeyFrame {
    /// Writes the `vpcC` record, with the box's version and flags in front.
    pub fn to_record(&self) -> Result<Bytes, NalError> {
        let KeyFrame { profile, format } = self;
        let chroma = format.chroma_format; // 1 is 4:2:0 colocated with luma, as the codecs have it
        let (a, b, c) = format.color;
        let level = level(format.width, format.height);
        let record = [1, 0, 0, 0, *profile, level, format.bit_depth << 4 | chroma << 1, a, b, c, 0, 0];
        parse_record(&record)
    }
}

fn level(width: u32, height: u32) -> u8 {
    let size = u64::from(width) * u64::from(height);
    let fits = |(most, rate, _): &&(u64, u64, u8)| size <= *most && size * ASSUMED_FPS <= *rate;
    LEVELS.iter().find(fits).map_or(62, |(.., level)| *level)
}

/// Reads a `vpcC` record, given with the box's version and flags, and returns it without what does not belong to it.
pub fn parse_record(record: &[u8]) -> Result<Bytes, NalError> {
    let head = record.first_chunk::<12>().ok_or(NalError::Truncated(RECORD))?;
    let [version, _, _, _, profile, _, sampling, _, _, matrix, ..] = *head;
    if version != 1 {
        return Err(NalError::Range("vpcC version"));
    }
    at_most(profile.into(), 3, "vpcC profile")?;
    if !matches!(sampling >> 4, 8 | 10 | 12) {
        return Err(NalError::Range("vpcC bit depth"));
    }
    let chroma = at_most(u32::from(sampling >> 1 & 7), 3, "vpcC chroma subsampling")?;
    if matrix == 0 && chroma != 3 {
        return Err(NalError::Range("vpcC matrix: RGB that is subsampled"));
    }
    let mut record = *head;
    (record[1..4]).fill(0);
    (record[10..]).fill(0); // neither codec has initialisation data
    Ok(Bytes::copy_from_slice(&record))
}

/// What a record says of pictures of this size.
pub fn format_of(record: &[u8], width: u16, height: u16) -> Result<PictureFormat, NalError> {
    let record = parse_record(record)?;
    let (width, height) =
        (at_most(width.into(), MAX_SIDE, "picture width")?, at_most(height.into(), MAX_SIDE, "picture height")?);
    if width == 0 || height == 0 {
        return Err(NalError::Range("picture size"));
    }
    Ok(PictureFormat {
        chroma_format: (record[6] >> 1 & 7).max(1),
        bit_depth: record[6] >> 4,
        color: (record[7], record[8], record[9]),
        ..PictureFormat::plain(width, height)
    })
}

/// The head of a frame.
struct Head {
    /// It is a key frame, which says this.
    key: Option<KeyFrame>,
    shown: bool,
}

/// Reads the key frame that a VP8 frame is. `None` for other frames.
pub fn vp8_key_frame(frame: &[u8]) -> Result<Option<KeyFrame>, NalError> {
    Ok(vp8(frame)?.key)
}

/// Whether a VP8 frame is shown. One that is not only stands for others to come: an alternate reference.
pub fn is_vp8_shown(frame: &[u8]) -> bool {
    vp8(frame).is_ok_and(|head| head.shown)
}

fn vp8(frame: &[u8]) -> Result<Head, NalError> {
    let (tag, rest) = frame.split_first_chunk::<3>().ok_or(NalError::Truncated(HEAD))?;
    let tag = u32::from_le_bytes([tag[0], tag[1], tag[2], 0]);
    let version = at_most(tag >> 1 & 7, 3, "VP8 version")? as u8;
    let shown = tag >> 4 & 1 == 1;
    if tag & 1 == 1 {
        return Ok(Head { key: None, shown });
    }
    let Some([0x9d, 0x01, 0x2a, a, b, c, d]) = rest.first_chunk::<7>() else {
        return Err(NalError::Range("VP8 start code"));
    };
    // The upper two bits of each side are a hint for showing it larger.
    let side = |low: &u8, high: &u8| u32::from(u16::from_le_bytes([*low, *high]) & 0x3fff);
    let (width, height) = (side(a, b), side(c, d));
    if width == 0 || height == 0 {
        return Err(NalError::Range("picture size"));
    }
    Ok(Head { key: Some(KeyFrame { profile: version, format: PictureFormat::plain(width, height) }), shown })
}

/// Reads the key frame that a VP9 frame, or the first of a superframe, is. `None` for other frames.
pub fn vp9_key_frame(unit: &[u8]) -> Result<Option<KeyFrame>, NalError> {
    let first = vp9_frames(unit).next().ok_or(NalError::Truncated(HEAD))?;
    Ok(vp9(first)?.key)
}

/// Whether a VP9 frame, or one of a superframe, is shown.
pub fn is_vp9_shown(unit: &[u8]) -> bool {
    vp9_frames(unit).any(|frame| vp9(frame).is_ok_and(|head| head.shown))
}

fn vp9(frame: &[u8]) -> Result<Head, NalError> {
    let mut r = Bits::of(HEAD, frame);
    if r.bits(2)? != 2 {
        return Err(NalError::Range("VP9 frame marker"));
    }
    let profile = u8::from(r.flag()?) | u8::from(r.flag()?) << 1;
    if profile == 3 && r.flag()? {
        return Err(NalError::Range("VP9 profile"));
    }
    if r.flag()? {
        return Ok(Head { key: None, shown: true });
    }
    let (inter, shown) = (r.flag()?, r.flag()?);
    r.flag()?; // error_resilient_mode
    if inter {
        return Ok(Head { key: None, shown });
    }
    if r.bits(24)? != 0x49_83_42 {
        return Err(NalError::Range("VP9 start code"));
    }
    let mut format = PictureFormat::plain(0, 0);
    if profile > 1 {
        format.bit_depth = if r.flag()? { 12 } else { 10 };
    }
    let space = r.bits(3)?;
    format.color = match space {
        1 => (5, 6, 5),
        2 => (1, 1, 1),
        3 => (6, 6, 6),
        4 => (7, 7, 7),
        5 => (9, 14, 9),
        7 => (1, 13, 0),
        _ => (2, 2, 2),
    };
    let other_sampling = profile & 1 == 1;
    format.chroma_format = match (space, other_sampling) {
        (7, false) => return Err(NalError::Range("VP9 colour space")),
        (7, true) => 3,
        (_, false) => {
            r.flag()?; // color_range
            1
        }
        (_, true) => match r.bits(3)? & 3 {
            0 => 3,
            2 => 2,
            _ => return Err(NalError::Range("VP9 chroma subsampling")),
        },
    };
    if other_sampling {
        r.flag()?; // reserved_zero
    }
    format.width = at_most(r.bits(16)? + 1, MAX_SIDE, "picture width")?;
    format.height = at_most(r.bits(16)? + 1, MAX_SIDE, "picture height")?;
    Ok(Head { key: Some(KeyFrame { profile, format }), shown })
}

/// The frames of a superframe, by the index at its end; or the one that it is.
fn vp9_frames(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let index = unit.last().filter(|last| **last & 0xe0 == 0xc0).and_then(|last| {
        let (width, count) = (usize::from(last >> 3 & 3) + 1, usize::from(last & 7) + 1);
        let (_, index) = unit.split_at_checked(unit.len().checked_sub(2 + width * count)?)?;
        (index[0] == *last).then(|| index[1..index.len() - 1].chunks_exact(width))
    });
    let mut sizes = match index {
        Some(sizes) => sizes.map(|size| size.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))).collect(),
        None => vec![unit.len()],
    }
    .into_iter();
    let mut rest = unit;
    std::iter::from_fn(move || {
        let (frame, after) = rest.split_at_checked(sizes.next()?)?;
        rest = after;
        Some(frame)
    })
    .filter(|frame| !frame.is_empty())
}

#[cfg(test)]
#[path = "vpx_tests.rs"]
mod tests;
