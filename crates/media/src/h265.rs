//! HEVC as bytes: sequence parameter sets, the `hvcC` record, and where decoding may begin. No decoding happens here.
//!
//! Everything reads hostile input: lengths are checked, loops are bounded by the bytes given, and nothing panics.

use bytes::{BufMut, Bytes, BytesMut};

use crate::nal::{self, Bits, at_most, crop, unescape, vui_start};
pub use crate::nal::{LENGTH_SIZE, MAX_SIDE, NalError, PictureFormat, annexb_nals, nals};

/// Longest `hvcC` record taken, in bytes: an init segment must hold it. Real ones have under 300 without the encoder's remarks.
const MAX_RECORD: usize = 8 * 1024;

const NAL_BLA_W_LP: u8 = 16;
const NAL_BLA_N_LP: u8 = 18;
const NAL_IDR_W_RADL: u8 = 19;
const NAL_IDR_N_LP: u8 = 20;
const NAL_CRA: u8 = 21;
const NAL_VPS: u8 = 32;
const NAL_SPS: u8 = 33;
const NAL_PPS: u8 = 34;
const NAL_DELIMITER: u8 = 35;
const NAL_FILLER: u8 = 38;
const NAL_PREFIX_SEI: u8 = 39;
/// SEI messages that hold for the whole stream: mastering display, content light level. Others in a record are remarks.
const HDR_SEI: [u8; 2] = [137, 144];

/// The `nal_unit_type` of a NAL unit that is not empty.
fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte >> 1 & 0x3f)
}

/// `profile_tier_level` as far as it holds for the whole stream: what a record repeats and a codec's name spells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileTierLevel {
    /// `general_profile_space`, tier flag and `general_profile_idc` in one byte: 1 Main, 2 Main 10, 4 range extensions.
    pub profile: u8,
    /// The compatibility flags.
    pub compatibility: u32,
    /// The constraint flags.
    pub constraints: [u8; 6],
    /// `general_level_idc`: thirty times the level.
    pub level: u8,
}

/// What a sequence parameter set says about the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// Profile, tier and level.
    pub general: ProfileTierLevel,
    /// Temporal layers, 1 to 7.
    pub layers: u8,
    /// Whether any picture may switch up to a higher temporal layer.
    pub nested: bool,
    /// Most pictures that precede one in decoding and follow it in output. 0: pictures come in the order in which they are shown.
    pub reorder: u32,
    /// Size, shape, rate and colours.
    pub format: PictureFormat,
}

/// Reads a sequence parameter set, given as a NAL unit with its header.
pub fn parse_sps(nal: &[u8]) -> Result<Sps, NalError> {
    if kind(nal) != NAL_SPS || nal.len() < 3 {
        return Err(NalError::Missing("sequence parameter set"));
    }
    let rbsp = unescape(&nal[2..]);
    let mut r = Bits::new(&rbsp);
    r.bits(4)?; // sps_video_parameter_set_id
    let layers = at_most(r.bits(3)?, 6, "number of temporal layers")? + 1;
    let nested = r.flag()?;
    let general = profile_tier_level(&mut r, layers)?;
    at_most(r.ue()?, 15, "sequence parameter set id")?;
    let chroma_format = at_most(r.ue()?, 3, "chroma format")?;
    let separate_planes = chroma_format == 3 && r.flag()?;
    let (mut width, mut height) =
        (at_most(r.ue()?, MAX_SIDE, "picture width")?, at_most(r.ue()?, MAX_SIDE, "picture height")?);
    if width == 0 || height == 0 {
        return Err(NalError::Range("picture size"));
    }
    if r.flag()? {
        let chroma = if separate_planes { 0 } else { chroma_format };
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 };
        let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
        width = crop(width, left, right, unit_x).ok_or(NalError::Range("crop"))?;
        height = crop(height, top, bottom, unit_y).ok_or(NalError::Range("crop"))?;
    }
    let bit_depth = 8 + at_most(r.ue()?, 8, "bit depth")? as u8;
    at_most(r.ue()?, 8, "chroma bit depth")?;
    let order_bits = 4 + at_most(r.ue()?, 12, "picture order count length")?;
    let every_layer = r.flag()?;
    let mut reorder = 0;
    for _ in 0..if every_layer { layers } else { 1 } {
        at_most(r.ue()?, 15, "decoded picture buffer")?;
        reorder = at_most(r.ue()?, 15, "number of reordered pictures")?; // the last is that of the whole stream
        r.ue()?; // max_latency_increase_plus1
    }
    for _ in 0..6 {
        r.ue()?; // sizes of coding and transform blocks, depths of transform trees
    }
    if r.flag()? && r.flag()? {
        skip_scaling_lists(&mut r)?;
    }
    r.bits(2)?; // amp, sample_adaptive_offset
    if r.flag()? {
        r.bits(8)?; // depths of PCM samples
        r.ue()?;
        r.ue()?;
        r.flag()?;
    }
    skip_reference_sets(&mut r)?;
    if r.flag()? {
        for _ in 0..at_most(r.ue()?, 32, "number of long-term references")? {
            r.bits(order_bits + 1)?;
        }
    }
    r.bits(2)?; // temporal_mvp, strong_intra_smoothing
    let mut format =
        PictureFormat { chroma_format: chroma_format as u8, bit_depth, ..PictureFormat::plain(width, height) };
    if r.flag()? {
        vui(&mut r, &mut format)?;
    }
    Ok(Sps { general, layers: layers as u8, nested, reorder, format })
}

fn profile_tier_level(r: &mut Bits<'_>, layers: u32) -> Result<ProfileTierLevel, NalError> {
    let (profile, compatibility) = (r.bits(8)? as u8, r.bits(32)?);
    let mut constraints = [0; 6];
    for byte in &mut constraints {
        *byte = r.bits(8)? as u8;
    }
    let level = r.bits(8)? as u8;
    let mut skip = 0;
    if layers > 1 {
        // Two flags for each of eight possible layers, of which those in use say whether they have a profile and a level.
        for layer in 1..=8 {
            let (profile, level) = (r.flag()?, r.flag()?);
            if layer < layers {
                skip += if profile { 88 } else { 0 } + if level { 8 } else { 0 };
            }
        }
    }
    for _ in 0..skip {
        r.flag()?;
    }
    Ok(ProfileTierLevel { profile, compatibility, constraints, level })
}

fn skip_scaling_lists(r: &mut Bits<'_>) -> Result<(), NalError> {
    for size in 0..4u32 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !r.flag()? {
                r.ue()?; // the list that this one repeats
                continue;
            }
            let coefficients = 64.min(1 << (4 + 2 * size));
            for _ in 0..coefficients + if size > 1 { 1 } else { 0 } {
                r.se()?;
            }
        }
    }
    Ok(())
}

/// Skips the short-term reference picture sets, each of which may be told by its distance from the one before.
fn skip_reference_sets(r: &mut Bits<'_>) -> Result<(), NalError> {
    const WHAT: &str = "number of reference pictures";
    let mut pictures = 0; // in the set before
    for set in 0..at_most(r.ue()?, 64, "number of reference sets")? {
        if set > 0 && r.flag()? {
            r.flag()?; // sign and size of the distance
            r.ue()?;
            let mut kept = 0;
            for _ in 0..=pictures {
                if r.flag()? || r.flag()? {
                    kept += 1;
                }
            }
            pictures = at_most(kept, 16, WHAT)?;
        } else {
            let (before, after) = (at_most(r.ue()?, 16, WHAT)?, at_most(r.ue()?, 16, WHAT)?);
            pictures = at_most(before + after, 16, WHAT)?;
            for _ in 0..pictures {
                r.ue()?;
                r.flag()?;
            }
        }
    }
    Ok(())
}

/// The video usability information, up to the timing.
fn vui(r: &mut Bits<'_>, format: &mut PictureFormat) -> Result<(), NalError> {
    vui_start(r, format)?;
    r.bits(3)?; // neutral_chroma, field_seq, frame_field_info
    if r.flag()? {
        for _ in 0..4 {
            r.ue()?; // default_display_window
        }
    }
    if r.flag()? {
        let (units, scale) = (r.bits(32)?, r.bits(32)?);
        if units > 0 && scale > 0 {
            format.fps = Some((scale, units));
        }
    }
    Ok(())
}

/// The parameter sets of an `hvcC` record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HevcConfig {
    /// Video parameter sets, NAL units with their header; at least one.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets, likewise.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, likewise.
    pub pps: Vec<Bytes>,
    /// Supplemental messages about the range of light of the whole stream; mostly none.
    pub sei: Vec<Bytes>,
}

impl HevcConfig {
    /// A sample with these parameter sets in front of its picture.
    pub fn in_front_of(&self, sample: &[u8]) -> Bytes {
        nal::in_front_of(self.vps.iter().chain(&self.sps).chain(&self.pps), sample)
    }

    /// Reads an `HEVCDecoderConfigurationRecord`: the payload of an `hvcC` box, or the body of an Enhanced RTMP sequence start.
    pub fn parse(record: &[u8]) -> Result<Self, NalError> {
        const WHAT: &str = "hvcC record";
        let cut = || NalError::Truncated(WHAT);
        if record.len() > MAX_RECORD {
            return Err(NalError::TooLarge { what: WHAT, size: record.len(), limit: MAX_RECORD });
        }
        let (head, mut rest) = record.split_first_chunk::<23>().ok_or_else(cut)?;
        if head[0] != 1 {
            return Err(NalError::Range("hvcC version"));
        }
        let size = (head[21] & 3) + 1;
        if usize::from(size) != LENGTH_SIZE {
            return Err(NalError::LengthSize { record: "hvcC", size });
        }
        let mut config = Self::empty();
        for _ in 0..head[22] {
            let (array, after) = rest.split_first_chunk::<3>().ok_or_else(cut)?;
            rest = after;
            for _ in 0..u16::from_be_bytes([array[1], array[2]]) {
                let (size, after) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
                let size = usize::from(u16::from_be_bytes(*size));
                let (nal, after) = after.split_at_checked(size).ok_or_else(cut)?;
                rest = after;
                config.take(nal);
            }
        }
        config.checked()
    }

    /// Collects the parameter sets of an Annex B byte stream.
    pub fn from_annexb(stream: &[u8]) -> Result<Self, NalError> {
        let mut config = Self::empty();
        annexb_nals(stream).for_each(|nal| config.take(nal));
        config.checked()
    }

    fn empty() -> Self {
        Self { vps: Vec::new(), sps: Vec::new(), pps: Vec::new(), sei: Vec::new() }
    }

    /// Keeps a NAL unit that belongs into a record and is not there yet.
    fn take(&mut self, nal: &[u8]) {
        let sets = match kind(nal) {
            NAL_VPS => &mut self.vps,
            NAL_SPS => &mut self.sps,
            NAL_PPS => &mut self.pps,
            NAL_PREFIX_SEI if nal.get(2).is_some_and(|kind| HDR_SEI.contains(kind)) => &mut self.sei,
            _ => return,
        };
        if !sets.iter().any(|set| set == nal) {
            sets.push(Bytes::copy_from_slice(nal));
        }
    }

    fn checked(self) -> Result<Self, NalError> {
        // As many of each as the standard has ids for.
        for (sets, limit, what) in [
            (&self.vps, 16, "video parameter set"),
            (&self.sps, 16, "sequence parameter set"),
            (&self.pps, 64, "picture parameter set"),
        ] {
            if sets.is_empty() || sets.len() > limit {
                return Err(NalError::Missing(what));
            }
        }
        Ok(self)
    }

    /// What the first sequence parameter set says.
    pub fn parse_sps(&self) -> Result<Sps, NalError> {
        parse_sps(self.sps.first().ok_or(NalError::Missing("sequence parameter set"))?)
    }

    /// Writes the `hvcC` record, with 4-byte NAL lengths; what it repeats is taken from the parameter sets.
    pub fn to_record(&self) -> Result<Bytes, NalError> {
        let sps = self.parse_sps()?;
        let (general, format) = (&sps.general, &sps.format);
        let mut out = BytesMut::new();
        out.put_slice(&[1, general.profile]);
        out.put_u32(general.compatibility);
        out.put_slice(&general.constraints);
        out.put_u8(general.level);
        out.put_u16(0xf000); // no minimum of spatial segments
        out.put_slice(&[0xfc, 0xfc | format.chroma_format, 0xf8 | (format.bit_depth - 8) & 7]);
        out.put_u8(0xf8 | (format.bit_depth - 8) & 7);
        out.put_u16(0); // no average frame rate
        out.put_u8(sps.layers << 3 | u8::from(sps.nested) << 2 | (LENGTH_SIZE as u8 - 1));
        let arrays = [(NAL_VPS, &self.vps), (NAL_SPS, &self.sps), (NAL_PPS, &self.pps), (NAL_PREFIX_SEI, &self.sei)];
        let used = arrays.into_iter().filter(|(_, sets)| !sets.is_empty());
        out.put_u8(used.clone().count() as u8);
        for (kind, sets) in used {
            // Of parameter sets, all are here; supplemental messages may come in between.
            out.put_u8(if kind == NAL_PREFIX_SEI { kind } else { 0x80 | kind });
            out.put_u16(sets.len() as u16);
            for set in sets {
                out.put_u16(u16::try_from(set.len()).map_err(|_| NalError::Range("parameter set size"))?);
                out.put_slice(set);
            }
        }
        Ok(out.freeze())
    }
}

/// A picture at which decoding may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RandomAccess {
    /// Everything that follows decodes: an IDR, or a BLA without skipped leading pictures.
    Closed,
    /// A CRA or BLA that leading pictures may follow which lean on what was before it (RASL): begun here, those are lost.
    Open,
}

/// How decoding may begin at a sample with 4-byte lengths. `None` for other pictures, and for bytes that are no NAL units.
pub fn random_access(sample: &[u8]) -> Option<RandomAccess> {
    nals(sample).map_while(Result::ok).find_map(|nal| match kind(nal) {
        NAL_IDR_W_RADL | NAL_IDR_N_LP => Some(RandomAccess::Closed),
        NAL_CRA | NAL_BLA_W_LP => Some(RandomAccess::Open),
        NAL_BLA_W_LP..=NAL_BLA_N_LP => Some(RandomAccess::Closed),
        _ => None,
    })
}

/// Turns one access unit from Annex B into a sample with 4-byte lengths. Parameter sets, delimiters and filler are left out:
/// the parameter sets are in the `hvcC` record, and the others carry nothing.
pub fn annexb_to_sample(stream: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(stream.len() + 8);
    for nal in annexb_nals(stream) {
        if !matches!(kind(nal), NAL_VPS | NAL_SPS | NAL_PPS | NAL_DELIMITER | NAL_FILLER) {
            out.put_u32(nal.len() as u32);
            out.put_slice(nal);
        }
    }
    out.freeze()
}

#[cfg(test)]
#[path = "h265_tests.rs"]
mod tests;
