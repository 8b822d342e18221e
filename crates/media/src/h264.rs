//! H.264 as bytes: sequence parameter sets, the `avcC` record, and access units in both framings. No decoding happens here.
//!
//! Everything reads hostile input: lengths are checked, loops are bounded by the bytes given, and nothing panics.

use bytes::{BufMut, Bytes, BytesMut};

use crate::nal::{self, Bits, at_most, crop, unescape, vui_start};
pub use crate::nal::{LENGTH_SIZE, MAX_SIDE, NalError, PictureFormat, annexb_nals, nals};

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

/// What a sequence parameter set says about the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High, 110 High 10, 122 High 4:2:2.
    pub profile: u8,
    /// The constraint flags byte.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// Size, shape, rate and colours.
    pub format: PictureFormat,
}

/// Reads a sequence parameter set, given as a NAL unit with its header byte.
pub fn parse_sps(nal: &[u8]) -> Result<Sps, NalError> {
    if nal.first().is_none_or(|b| b & 0x1f != NAL_SPS) {
        return Err(NalError::Missing("sequence parameter set"));
    }
    let rbsp = unescape(&nal[1..]);
    let mut r = Bits::new(&rbsp);
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
        _ => return Err(NalError::Range("picture order count type")),
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
        width = crop(width, left, right, unit_x).ok_or(NalError::Range("crop"))?;
        height = crop(height, top, bottom, unit_y).ok_or(NalError::Range("crop"))?;
    }
    let mut format = PictureFormat { chroma_format, bit_depth, ..PictureFormat::plain(width, height) };
    if r.flag()? {
        vui(&mut r, &mut format)?;
    }
    Ok(Sps { profile, constraints, level, format })
}

/// The video usability information, up to the timing.
fn vui(r: &mut Bits<'_>, format: &mut PictureFormat) -> Result<(), NalError> {
    vui_start(r, format)?;
    if r.flag()? {
        let (units, scale) = (r.bits(32)?, r.bits(32)?);
        // One frame is two units, since a unit is a field.
        if let (Some(den), true) = (units.checked_mul(2).filter(|d| *d > 0), scale > 0) {
            format.fps = Some((scale, den));
        }
    }
    Ok(())
}

fn skip_scaling_list(r: &mut Bits<'_>, size: usize) -> Result<(), NalError> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + r.se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
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
    pub fn parse(record: &[u8]) -> Result<Self, NalError> {
        const WHAT: &str = "avcC record";
        let head = record.get(..6).ok_or(NalError::Truncated(WHAT))?;
        if head[0] != 1 {
            return Err(NalError::Range("avcC version"));
        }
        let length_size = (head[4] & 3) + 1;
        if usize::from(length_size) != LENGTH_SIZE {
            return Err(NalError::LengthSize { record: "avcC", size: length_size });
        }
        let mut at = 5;
        let mut take = |count_mask: u8| -> Result<Vec<Bytes>, NalError> {
            let count = record.get(at).ok_or(NalError::Truncated(WHAT))? & count_mask;
            at += 1;
            let mut sets = Vec::with_capacity(count.into());
            for _ in 0..count {
                let size = record.get(at..at + 2).ok_or(NalError::Truncated(WHAT))?;
                let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
                let set = record.get(at + 2..at + 2 + size).ok_or(NalError::Truncated(WHAT))?;
                sets.push(Bytes::copy_from_slice(set));
                at += 2 + size;
            }
            Ok(sets)
        };
        let (sps, pps) = (take(0x1f)?, take(0xff)?);
        Self { sps, pps }.checked()
    }

    /// Collects the parameter sets of an Annex B byte stream, such as MPEG-TS carries in front of each IDR.
    pub fn from_annexb(stream: &[u8]) -> Result<Self, NalError> {
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

    fn checked(self) -> Result<Self, NalError> {
        if self.sps.is_empty() || self.sps.len() > 31 {
            return Err(NalError::Missing("sequence parameter set"));
        }
        if self.pps.is_empty() || self.pps.len() > 255 {
            return Err(NalError::Missing("picture parameter set"));
        }
        Ok(self)
    }

    /// What the first sequence parameter set says.
    pub fn parse_sps(&self) -> Result<Sps, NalError> {
        parse_sps(self.sps.first().ok_or(NalError::Missing("sequence parameter set"))?)
    }

    /// A sample with these parameter sets in front of its picture.
    pub fn in_front_of(&self, sample: &[u8]) -> Bytes {
        nal::in_front_of(self.sps.iter().chain(&self.pps), sample)
    }

    /// Writes the `avcC` record, with 4-byte NAL lengths and the extension that High profiles want.
    pub fn to_record(&self) -> Result<Bytes, NalError> {
        let sps = self.parse_sps()?;
        let mut out = BytesMut::new();
        out.put_slice(&[1, sps.profile, sps.constraints, sps.level, 0xfc | (LENGTH_SIZE as u8 - 1)]);
        for (sets, mark) in [(&self.sps, 0xe0), (&self.pps, 0)] {
            out.put_u8(mark | sets.len() as u8);
            for set in sets {
                out.put_u16(u16::try_from(set.len()).map_err(|_| NalError::Range("parameter set size"))?);
                out.put_slice(set);
            }
        }
        if matches!(sps.profile, 100 | 110 | 122 | 144 | 244) {
            let depth = 0xf8 | (sps.format.bit_depth - 8);
            out.put_slice(&[0xfc | sps.format.chroma_format, depth, depth, 0]);
        }
        Ok(out.freeze())
    }
}

/// Whether a sample with 4-byte lengths holds an IDR picture. `false` for bytes that are no NAL units.
pub fn is_idr(sample: &[u8]) -> bool {
    nals(sample).map_while(Result::ok).any(|nal| nal[0] & 0x1f == NAL_IDR)
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
pub fn sample_to_annexb(sample: &[u8], config: Option<&AvcConfig>) -> Result<Bytes, NalError> {
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
        let format = sps.format;
        assert_eq!((sps.profile, sps.level, format.width, format.height), (100, 42, 1920, 1080));
        assert_eq!((format.chroma_format, format.bit_depth, format.sar), (1, 8, (1, 1)));
        let (num, den) = format.fps.unwrap();
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
