//! What H.264 and HEVC have in common: NAL units in both framings, the bits of a parameter set, and what it says of the pictures.
//!
//! Everything reads hostile input: lengths are checked, loops are bounded by the bytes given, and nothing panics.

use bytes::{BufMut, Bytes, BytesMut};

/// Samples always carry 4-byte NAL lengths: what every muxer writes, and what lets parts pass between nodes untouched.
pub const LENGTH_SIZE: usize = 4;

/// Largest side of a picture taken, in luma samples: level 6.2's 8,192 doubled. Keeps sizes inside `u16` and memory bounded.
pub const MAX_SIDE: u32 = 16_384;

/// Why the bytes of a codec were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NalError {
    /// The bytes end inside a field.
    #[error("the {0} ends too early")]
    Truncated(&'static str),
    /// A field has a value outside of the specification, or outside of what is taken.
    #[error("the {0} is out of range")]
    Range(&'static str),
    /// The configuration record uses another NAL length than four bytes.
    #[error("the {record} record has {size}-byte NAL lengths; only 4 are taken")]
    LengthSize {
        /// `avcC` or `hvcC`.
        record: &'static str,
        /// Bytes.
        size: u8,
    },
    /// More bytes than are taken.
    #[error("the {what} has {size} bytes; at most {limit} are taken")]
    TooLarge {
        /// "hvcC record".
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A parameter set is absent where one is needed.
    #[error("there is no {0}")]
    Missing(&'static str),
}

/// What parameter sets say about the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFormat {
    /// Width after cropping, in luma samples.
    pub width: u32,
    /// Height after cropping, in luma samples.
    pub height: u32,
    /// Sample aspect ratio, `(1, 1)` when square or unknown.
    pub sar: (u16, u16),
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits per luma sample.
    pub bit_depth: u8,
    /// Frames per second as a fraction, where a timing is given.
    pub fps: Option<(u32, u32)>,
    /// Colour primaries, transfer function and matrix by their numbers in ITU-T H.273; 2 is "unspecified".
    pub color: (u8, u8, u8),
}

impl PictureFormat {
    /// Square samples, 8 bit 4:2:0, no timing, colours unspecified.
    pub(crate) fn plain(width: u32, height: u32) -> Self {
        Self { width, height, sar: (1, 1), chroma_format: 1, bit_depth: 8, fps: None, color: (2, 2, 2) }
    }
}

/// Table E-1 of the specification, from index 1.
const RATIOS: [(u16, u16); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// The start of the video usability information, which both codecs have: shape of a sample, overscan, colours, chroma location.
pub(crate) fn vui_start(r: &mut Bits<'_>, format: &mut PictureFormat) -> Result<(), NalError> {
    if r.flag()? {
        let sar = match r.bits(8)? {
            255 => (r.bits(16)? as u16, r.bits(16)? as u16),
            index => RATIOS.get((index as usize).wrapping_sub(1)).copied().unwrap_or((1, 1)),
        };
        if sar.0 > 0 && sar.1 > 0 {
            format.sar = sar;
        }
    }
    if r.flag()? {
        r.flag()?; // overscan_appropriate
    }
    if r.flag()? {
        r.bits(4)?; // video_format, full_range
        if r.flag()? {
            format.color = (r.bits(8)? as u8, r.bits(8)? as u8, r.bits(8)? as u8);
        }
    }
    if r.flag()? {
        r.ue()?; // chroma_sample_loc_type, both fields
        r.ue()?;
    }
    Ok(())
}

/// A side less what is cut off its ends, in units of `unit` samples. `None` when nothing is left.
pub(crate) fn crop(size: u32, first: u32, last: u32, unit: u32) -> Option<u32> {
    let cut = first.checked_add(last)?.checked_mul(unit)?;
    size.checked_sub(cut).filter(|left| *left > 0)
}

/// The value, or an error that names it.
pub(crate) fn at_most(value: u32, limit: u32, what: &'static str) -> Result<u32, NalError> {
    if value > limit { Err(NalError::Range(what)) } else { Ok(value) }
}

/// Takes the emulation prevention bytes out of a NAL unit's payload.
pub(crate) fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// A header, such as a parameter set's payload, bit by bit.
pub(crate) struct Bits<'a> {
    what: &'static str,
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self::of("parameter set", data)
    }

    /// The bits of something else, which an error names.
    pub(crate) fn of(what: &'static str, data: &'a [u8]) -> Self {
        Self { what, data, at: 0 }
    }

    pub(crate) fn flag(&mut self) -> Result<bool, NalError> {
        let byte = self.data.get(self.at / 8).ok_or(NalError::Truncated(self.what))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    pub(crate) fn bits(&mut self, count: u32) -> Result<u32, NalError> {
        let mut value = 0u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// Unsigned Exp-Golomb.
    pub(crate) fn ue(&mut self) -> Result<u32, NalError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(NalError::Range("Exp-Golomb code"));
            }
        }
        Ok((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// Signed Exp-Golomb.
    pub(crate) fn se(&mut self) -> Result<i64, NalError> {
        let code = i64::from(self.ue()?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }
}

/// A sample with these NAL units in front.
pub(crate) fn in_front_of<'a>(units: impl IntoIterator<Item = &'a Bytes>, sample: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(sample.len() + 128);
    for unit in units {
        out.put_u32(unit.len() as u32);
        out.put_slice(unit);
    }
    out.put_slice(sample);
    out.freeze()
}

/// The NAL units of a sample with 4-byte lengths. Stops with an error at a length that does not fit.
pub fn nals(sample: &[u8]) -> impl Iterator<Item = Result<&[u8], NalError>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let data = std::mem::take(&mut rest);
        let Some((size, body)) = data.split_first_chunk::<LENGTH_SIZE>() else {
            return Some(Err(NalError::Truncated("NAL length")));
        };
        let size = u32::from_be_bytes(*size) as usize;
        if size == 0 || size > body.len() {
            return Some(Err(NalError::Truncated("NAL unit")));
        }
        let (nal, next) = body.split_at(size);
        rest = next;
        Some(Ok(nal))
    })
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros; none is empty.
pub fn annexb_nals(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next_code =
        |from: usize| stream.get(from..).and_then(|s| s.windows(3).position(|w| w == [0, 0, 1])).map(|p| from + p);
    let mut start = next_code(0).map(|p| p + 3);
    std::iter::from_fn(move || {
        loop {
            let from = start?;
            let end = next_code(from);
            start = end.map(|p| p + 3);
            let nal = &stream[from..end.unwrap_or(stream.len())];
            let size = nal.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            if size > 0 {
                return Some(&nal[..size]);
            }
        }
    })
}
