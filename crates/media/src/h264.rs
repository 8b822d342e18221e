//! H.264 as bytes: sequence parameter sets, the `avcC` record, and NAL units in both framings. No decoding happens here.
//!
//! Everything reads hostile input: lengths are checked, loops are bounded by the bytes given, and nothing panics.

use bytes::{BufMut, Bytes, BytesMut};

/// NAL unit type of a slice of an IDR picture.
pub const NAL_IDR: u8 = 5;
/// NAL unit type of a sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// NAL unit type of a picture parameter set.
pub const NAL_PPS: u8 = 8;
/// NAL unit type of an access unit delimiter.
pub const NAL_DELIMITER: u8 = 9;
/// NAL unit type of filler.
pub const NAL_FILLER: u8 = 12;

/// Samples always carry 4-byte NAL lengths: what every muxer writes, and what lets parts pass between nodes untouched.
pub const LENGTH_SIZE: usize = 4;

/// Largest side of a picture taken, in luma samples: level 6.2's 8,192 doubled. Keeps sizes inside `u16` and memory bounded.
pub const MAX_SIDE: u32 = 16_384;

/// Why H.264 bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
    /// The bytes end inside a field.
    #[error("the {0} ends too early")]
    Truncated(&'static str),
    /// A field has a value outside of the specification, or outside of what is taken.
    #[error("the {0} is out of range")]
    Range(&'static str),
    /// The `avcC` record uses another NAL length than four bytes.
    #[error("the avcC record has {0}-byte NAL lengths; only 4 are taken")]
    LengthSize(u8),
    /// No SPS or no PPS where one is needed.
    #[error("there is no {0}")]
    Missing(&'static str),
}

/// What a sequence parameter set says about the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High, 110 High 10, 122 High 4:2:2.
    pub profile: u8,
    /// The constraint flags byte.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
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
    /// Frames per second as a fraction, where the SPS gives a timing.
    pub fps: Option<(u32, u32)>,
    /// Colour primaries, transfer function and matrix by their numbers in ITU-T H.273; 2 is "unspecified".
    pub color: (u8, u8, u8),
}

/// Reads a sequence parameter set, given as a NAL unit with its header byte.
pub fn parse_sps(nal: &[u8]) -> Result<Sps, H264Error> {
    if nal.first().is_none_or(|b| b & 0x1f != NAL_SPS) {
        return Err(H264Error::Missing("sequence parameter set"));
    }
    let rbsp = unescape(&nal[1..]);
    let mut r = Bits { data: &rbsp, at: 0 };
    let (profile, constraints, level) = (r.bits(8)? as u8, r.bits(8)? as u8, r.bits(8)? as u8);
    r.ue()?; // seq_parameter_set_id
    let (mut chroma_format, mut bit_depth, mut separate_planes) = (1, 8, false);
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma_format = at_most(r.ue()?, 3, "chroma format")? as u8;
        if chroma_format == 3 {
            separate_planes = r.flag()?;
        }
        bit_depth = 8 + at_most(r.ue()?, 6, "bit depth")? as u8;
        at_most(r.ue()?, 6, "chroma bit depth")?;
        r.flag()?; // qpprime_y_zero_transform_bypass
        if r.flag()? {
            for i in 0..if chroma_format == 3 { 12 } else { 8 } {
                if r.flag()? {
                    skip_scaling_list(&mut r, if i < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    at_most(r.ue()?, 12, "frame number length")?;
    match r.ue()? {
        0 => {
            at_most(r.ue()?, 12, "picture order count length")?;
        }
        1 => {
            r.flag()?;
            r.ue()?; // offset_for_non_ref_pic, signed: only skipped
            r.ue()?;
            for _ in 0..at_most(r.ue()?, 255, "reference frame cycle")? {
                r.ue()?;
            }
        }
        2 => {}
        _ => return Err(H264Error::Range("picture order count type")),
    }
    r.ue()?; // max_num_ref_frames
    r.flag()?; // gaps_in_frame_num_allowed
    let columns = at_most(r.ue()?, MAX_SIDE / 16 - 1, "picture width")? + 1;
    let map_rows = at_most(r.ue()?, MAX_SIDE / 16 - 1, "picture height")? + 1;
    let frames_only = r.flag()?;
    if !frames_only {
        r.flag()?; // mb_adaptive_frame_field
    }
    r.flag()?; // direct_8x8_inference
    let rows = map_rows * if frames_only { 1 } else { 2 };
    let (mut width, mut height) = (columns * 16, rows * 16);
    if r.flag()? {
        let chroma = if separate_planes { 0 } else { chroma_format };
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 } * if frames_only { 1 } else { 2 };
        let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
        width = crop(width, left, right, unit_x).ok_or(H264Error::Range("crop"))?;
        height = crop(height, top, bottom, unit_y).ok_or(H264Error::Range("crop"))?;
    }
    let mut sps = Sps {
        profile,
        constraints,
        level,
        width,
        height,
        sar: (1, 1),
        chroma_format,
        bit_depth,
        fps: None,
        color: (2, 2, 2),
    };
    if r.flag()? {
        vui(&mut r, &mut sps)?;
    }
    Ok(sps)
}

/// The start of the video usability information, up to the timing.
fn vui(r: &mut Bits<'_>, sps: &mut Sps) -> Result<(), H264Error> {
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
    if r.flag()? {
        let sar = match r.bits(8)? {
            255 => (r.bits(16)? as u16, r.bits(16)? as u16),
            index => RATIOS.get((index as usize).wrapping_sub(1)).copied().unwrap_or((1, 1)),
        };
        if sar.0 > 0 && sar.1 > 0 {
            sps.sar = sar;
        }
    }
    if r.flag()? {
        r.flag()?; // overscan_appropriate
    }
    if r.flag()? {
        r.bits(4)?; // video_format, full_range
        if r.flag()? {
            sps.color = (r.bits(8)? as u8, r.bits(8)? as u8, r.bits(8)? as u8);
        }
    }
    if r.flag()? {
        r.ue()?; // chroma_sample_loc_type, both fields
        r.ue()?;
    }
    if r.flag()? {
        let (units, scale) = (r.bits(32)?, r.bits(32)?);
        // One frame is two units, since a unit is a field.
        if let (Some(den), true) = (units.checked_mul(2).filter(|d| *d > 0), scale > 0) {
            sps.fps = Some((scale, den));
        }
    }
    Ok(())
}

fn crop(size: u32, first: u32, last: u32, unit: u32) -> Option<u32> {
    let cut = first.checked_add(last)?.checked_mul(unit)?;
    size.checked_sub(cut).filter(|left| *left > 0)
}

fn skip_scaling_list(r: &mut Bits<'_>, size: usize) -> Result<(), H264Error> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + r.se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

fn at_most(value: u32, limit: u32, what: &'static str) -> Result<u32, H264Error> {
    if value > limit { Err(H264Error::Range(what)) } else { Ok(value) }
}

/// Takes the emulation prevention bytes out of a NAL unit's payload.
fn unescape(nal: &[u8]) -> Vec<u8> {
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

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Result<bool, H264Error> {
        let byte = self.data.get(self.at / 8).ok_or(H264Error::Truncated("sequence parameter set"))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    fn bits(&mut self, count: u32) -> Result<u32, H264Error> {
        let mut value = 0u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// Unsigned Exp-Golomb.
    fn ue(&mut self) -> Result<u32, H264Error> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(H264Error::Range("Exp-Golomb code"));
            }
        }
        Ok((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// Signed Exp-Golomb.
    fn se(&mut self) -> Result<i64, H264Error> {
        let code = i64::from(self.ue()?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }
}

/// The parameter sets of an `avcC` record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcConfig {
    /// Sequence parameter sets, NAL units with their header byte; at least one.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, likewise.
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// Reads an `AVCDecoderConfigurationRecord`: the payload of an `avcC` box, or the body of an RTMP sequence header.
    pub fn parse(record: &[u8]) -> Result<Self, H264Error> {
        const WHAT: &str = "avcC record";
        let head = record.get(..6).ok_or(H264Error::Truncated(WHAT))?;
        if head[0] != 1 {
            return Err(H264Error::Range("avcC version"));
        }
        let length_size = (head[4] & 3) + 1;
        if usize::from(length_size) != LENGTH_SIZE {
            return Err(H264Error::LengthSize(length_size));
        }
        let mut at = 5;
        let mut take = |count_mask: u8| -> Result<Vec<Bytes>, H264Error> {
            let count = record.get(at).ok_or(H264Error::Truncated(WHAT))? & count_mask;
            at += 1;
            let mut sets = Vec::with_capacity(count.into());
            for _ in 0..count {
                let size = record.get(at..at + 2).ok_or(H264Error::Truncated(WHAT))?;
                let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
                let set = record.get(at + 2..at + 2 + size).ok_or(H264Error::Truncated(WHAT))?;
                sets.push(Bytes::copy_from_slice(set));
                at += 2 + size;
            }
            Ok(sets)
        };
        let (sps, pps) = (take(0x1f)?, take(0xff)?);
        Self { sps, pps }.checked()
    }

    /// Collects the parameter sets of an Annex B byte stream, such as MPEG-TS carries in front of each IDR.
    pub fn from_annexb(stream: &[u8]) -> Result<Self, H264Error> {
        let (mut sps, mut pps) = (Vec::new(), Vec::new());
        for nal in annexb_nals(stream) {
            let sets = match nal[0] & 0x1f {
                NAL_SPS => &mut sps,
                NAL_PPS => &mut pps,
                _ => continue,
            };
            if !sets.iter().any(|s: &Bytes| s == nal) {
                sets.push(Bytes::copy_from_slice(nal));
            }
        }
        Self { sps, pps }.checked()
    }

    fn checked(self) -> Result<Self, H264Error> {
        if self.sps.is_empty() || self.sps.len() > 31 {
            return Err(H264Error::Missing("sequence parameter set"));
        }
        if self.pps.is_empty() || self.pps.len() > 255 {
            return Err(H264Error::Missing("picture parameter set"));
        }
        Ok(self)
    }

    /// What the first sequence parameter set says.
    pub fn parse_sps(&self) -> Result<Sps, H264Error> {
        parse_sps(self.sps.first().ok_or(H264Error::Missing("sequence parameter set"))?)
    }

    /// A sample with these parameter sets in front of its pictures. Players that read one init segment only find there that the
    /// encoding has changed.
    pub fn in_front_of(&self, sample: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(sample.len() + 128);
        for set in self.sps.iter().chain(&self.pps) {
            out.put_u32(set.len() as u32);
            out.put_slice(set);
        }
        out.put_slice(sample);
        out.freeze()
    }

    /// Writes the `avcC` record, with 4-byte NAL lengths and the extension that High profiles want.
    pub fn to_record(&self) -> Result<Bytes, H264Error> {
        let sps = self.parse_sps()?;
        let mut out = BytesMut::new();
        out.put_slice(&[1, sps.profile, sps.constraints, sps.level, 0xfc | (LENGTH_SIZE as u8 - 1)]);
        for (sets, mark) in [(&self.sps, 0xe0), (&self.pps, 0)] {
            out.put_u8(mark | sets.len() as u8);
            for set in sets {
                out.put_u16(u16::try_from(set.len()).map_err(|_| H264Error::Range("parameter set size"))?);
                out.put_slice(set);
            }
        }
        if matches!(sps.profile, 100 | 110 | 122 | 144 | 244) {
            let depth = 0xf8 | (sps.bit_depth - 8);
            out.put_slice(&[0xfc | sps.chroma_format, depth, depth, 0]);
        }
        Ok(out.freeze())
    }
}

/// The NAL units of a sample with 4-byte lengths. Stops with an error at a length that does not fit.
pub fn nals(sample: &[u8]) -> impl Iterator<Item = Result<&[u8], H264Error>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let data = std::mem::take(&mut rest);
        let Some((size, body)) = data.split_first_chunk::<LENGTH_SIZE>() else {
            return Some(Err(H264Error::Truncated("NAL length")));
        };
        let size = u32::from_be_bytes(*size) as usize;
        if size == 0 || size > body.len() {
            return Some(Err(H264Error::Truncated("NAL unit")));
        }
        let (nal, next) = body.split_at(size);
        rest = next;
        Some(Ok(nal))
    })
}

/// Whether a sample with 4-byte lengths holds an IDR picture. `false` for bytes that are no NAL units.
pub fn is_idr(sample: &[u8]) -> bool {
    nals(sample).map_while(Result::ok).any(|nal| nal[0] & 0x1f == NAL_IDR)
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

/// Turns one access unit from Annex B into a sample with 4-byte lengths. Parameter sets, delimiters and filler are left out:
/// the parameter sets are in the `avcC` record, and the others carry nothing.
pub fn annexb_to_sample(stream: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(stream.len() + 8);
    for nal in annexb_nals(stream) {
        if !matches!(nal[0] & 0x1f, NAL_SPS | NAL_PPS | NAL_DELIMITER | NAL_FILLER) {
            out.put_u32(nal.len() as u32);
            out.put_slice(nal);
        }
    }
    out.freeze()
}

/// Turns a sample with 4-byte lengths into Annex B, with the parameter sets of `config` in front when it is given.
pub fn sample_to_annexb(sample: &[u8], config: Option<&AvcConfig>) -> Result<Bytes, H264Error> {
    let mut out = BytesMut::with_capacity(sample.len() + 64);
    let sets = config.into_iter().flat_map(|c| c.sps.iter().chain(&c.pps)).map(|set| Ok(&set[..]));
    for nal in sets.chain(nals(sample)) {
        out.put_slice(&[0, 0, 0, 1]);
        out.put_slice(nal?);
    }
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS_1080: &[u8] = &[
        0x67, 0x64, 0x00, 0x2a, 0xac, 0x24, 0x8c, 0x07, 0x80, 0x22, 0x7e, 0x5c, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00,
        0x40, 0x00, 0x00, 0x1e, 0x38, 0xa0, 0x00, 0x0b, 0x71, 0xb0, 0x00, 0x16, 0xe3, 0x7b, 0xde, 0xe0, 0x3e, 0x11,
        0x08, 0xa7,
    ];
    const PPS: &[u8] = &[0x68, 0xde, 0xbc, 0xb0];

    fn stream() -> Vec<u8> {
        let mut out = vec![0, 0, 0, 1, 0x09, 0xf0];
        for nal in [SPS_1080, PPS, &[0x65, 0x88, 0x84]] {
            out.extend_from_slice(&[0, 0, 0, 1]);
            out.extend_from_slice(nal);
        }
        out
    }

    #[test]
    fn reads_size_after_cropping_and_frame_rate() {
        let sps = parse_sps(SPS_1080).unwrap();
        assert_eq!((sps.profile, sps.level, sps.width, sps.height), (100, 42, 1920, 1080));
        assert_eq!((sps.chroma_format, sps.bit_depth, sps.sar), (1, 8, (1, 1)));
        let (num, den) = sps.fps.unwrap();
        assert!((f64::from(num) / f64::from(den) - 60.0).abs() < 0.1, "{num}/{den}");
    }

    #[test]
    fn every_truncation_is_an_error_or_a_picture_size_and_never_a_panic() {
        for end in 0..SPS_1080.len() {
            let _ = parse_sps(&SPS_1080[..end]);
            let mut bent = SPS_1080.to_vec();
            for bit in 0..8 {
                bent[end] ^= 1 << bit;
                let _ = parse_sps(&bent);
                bent[end] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn parameter_sets_survive_annexb_to_avcc_and_back() {
        let config = AvcConfig::from_annexb(&stream()).unwrap();
        let record = config.to_record().unwrap();
        assert_eq!(AvcConfig::parse(&record).unwrap(), config);
        assert_eq!(&config.sps[0][..], SPS_1080);
        assert_eq!(&config.pps[0][..], PPS);
        for end in 0..record.len() - 4 {
            assert!(AvcConfig::parse(&record[..end]).is_err(), "a record cut at {end} was taken");
        }
    }

    #[test]
    fn access_units_change_framing_and_keep_their_slices() {
        let sample = annexb_to_sample(&stream());
        assert_eq!(&sample[..], [0, 0, 0, 3, 0x65, 0x88, 0x84]);
        assert!(is_idr(&sample));
        assert_eq!(&sample_to_annexb(&sample, None).unwrap()[..], [0, 0, 0, 1, 0x65, 0x88, 0x84]);
        assert!(!is_idr(&[0, 0, 0, 9, 0x65]));
        assert!(sample_to_annexb(&[0, 0, 0, 9, 0x65], None).is_err());
    }
}
