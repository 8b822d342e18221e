//! AV1 as bytes: OBUs, the sequence header, the `av1C` record, and where decoding may begin. No decoding happens here.
//!
//! Everything reads hostile input: lengths are checked, loops are bounded by the bytes given, and nothing panics.

use bytes::{BufMut, Bytes, BytesMut};

use crate::nal::{Bits, MAX_SIDE, NalError, PictureFormat, at_most};

/// Longest sequence header taken, in bytes. Real ones have under 20; one that uses all that the standard has, some 400.
const MAX_HEADER: usize = 1024;
const RECORD: &str = "av1C record";
const SEQUENCE_HEADER: &str = "AV1 sequence header";

const OBU_SEQUENCE_HEADER: u8 = 1;
const OBU_TEMPORAL_DELIMITER: u8 = 2;
const OBU_FRAME_HEADER: u8 = 3;
const OBU_FRAME: u8 = 6;
const OBU_TILE_LIST: u8 = 8;
const OBU_PADDING: u8 = 15;

/// What a sequence header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceHeader {
    /// `seq_profile`: 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `seq_level_idx` of the first operating point: 0 is level 2.0, 8 is 4.0.
    pub level: u8,
    /// The high tier of that operating point.
    pub high_tier: bool,
    /// `chroma_sample_position`: 0 unknown, 1 vertical, 2 colocated.
    pub chroma_position: u8,
    /// Size, rate and colours.
    pub format: PictureFormat,
}

/// Reads a sequence header, given as the payload of its OBU.
pub fn parse_sequence_header(payload: &[u8]) -> Result<SequenceHeader, NalError> {
    let mut r = Bits::of(SEQUENCE_HEADER, payload);
    let profile = at_most(r.bits(3)?, 2, "AV1 profile")? as u8;
    r.flag()?; // still_picture
    if r.flag()? {
        return Err(NalError::Range("AV1 header: that of a still picture"));
    }
    let mut fps = None;
    let mut delay_bits = None;
    if r.flag()? {
        let (units, scale) = (r.bits(32)?, r.bits(32)?);
        if r.flag()? {
            let ticks = r.ue()?.saturating_add(1);
            fps = units.checked_mul(ticks).filter(|units| *units > 0 && scale > 0).map(|units| (scale, units));
        }
        if r.flag()? {
            delay_bits = Some(r.bits(5)? + 1);
            r.bits(32)?; // num_units_in_decoding_tick
            r.bits(10)?; // lengths of two times
        }
    }
    let display_delay = r.flag()?;
    let (mut level, mut high_tier) = (0, false);
    for point in 0..=r.bits(5)? {
        r.bits(12)?; // operating_point_idc
        let this = r.bits(5)? as u8;
        let high = this > 7 && r.flag()?;
        if point == 0 {
            (level, high_tier) = (this, high);
        }
        if let Some(bits) = delay_bits
            && r.flag()?
        {
            r.bits(bits)?; // decoder_buffer_delay, encoder_buffer_delay, low_delay_mode
            r.bits(bits)?;
            r.flag()?;
        }
        if display_delay && r.flag()? {
            r.bits(4)?;
        }
    }
    let (width_bits, height_bits) = (r.bits(4)? + 1, r.bits(4)? + 1);
    let width = at_most(r.bits(width_bits)? + 1, MAX_SIDE, "picture width")?;
    let height = at_most(r.bits(height_bits)? + 1, MAX_SIDE, "picture height")?;
    if r.flag()? {
        r.bits(7)?; // lengths of frame ids
    }
    r.bits(7)?; // superblock size, intra tools, compounds, warped motion, dual filter
    let order_hint = r.flag()?;
    if order_hint {
        r.bits(2)?; // jnt_comp, ref_frame_mvs
    }
    let screen_content = r.flag()? || r.flag()?;
    if screen_content && !r.flag()? {
        r.flag()?; // seq_force_integer_mv
    }
    if order_hint {
        r.bits(3)?;
    }
    r.bits(3)?; // superres, cdef, restoration
    let mut format = PictureFormat { fps, ..PictureFormat::plain(width, height) };
    let chroma_position = color(&mut r, profile, &mut format)?;
    Ok(SequenceHeader { profile, level, high_tier, chroma_position, format })
}

/// Reads `color_config`, and returns the position of the chroma samples.
fn color(r: &mut Bits<'_>, profile: u8, format: &mut PictureFormat) -> Result<u8, NalError> {
    let high = r.flag()?;
    format.bit_depth = match high {
        true if profile == 2 && r.flag()? => 12,
        true => 10,
        false => 8,
    };
    let monochrome = profile != 1 && r.flag()?;
    if r.flag()? {
        format.color = (r.bits(8)? as u8, r.bits(8)? as u8, r.bits(8)? as u8);
    }
    if monochrome {
        format.chroma_format = 0;
        return Ok(0);
    }
    if format.color == (1, 13, 0) {
        format.chroma_format = 3;
        return Ok(0);
    }
    r.flag()?; // color_range
    format.chroma_format = match profile {
        0 => 1,
        1 => 3,
        _ if format.bit_depth < 12 => 2,
        _ if !r.flag()? => 3,
        _ if r.flag()? => 1,
        _ => 2,
    };
    Ok(if format.chroma_format == 1 { r.bits(2)? as u8 } else { 0 })
}

/// One open bitstream unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    /// `obu_type`.
    pub kind: u8,
    /// The byte that tells its layers, where it has one.
    pub extension: Option<u8>,
    /// What it carries.
    pub payload: &'a [u8],
}

impl Obu<'_> {
    fn write(&self, out: &mut BytesMut) {
        out.put_u8(self.kind << 3 | u8::from(self.extension.is_some()) << 2 | 2);
        out.extend(self.extension);
        let mut size = self.payload.len();
        while size > 0x7f {
            out.put_u8(size as u8 | 0x80);
            size >>= 7;
        }
        out.put_u8(size as u8);
        out.put_slice(self.payload);
    }
}

/// The OBUs of a temporal unit; only the last may lack its size. Stops with an error at one that does not fit.
pub fn obus(unit: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, NalError>> {
    let mut rest = unit;
    std::iter::from_fn(move || {
        let data = std::mem::take(&mut rest);
        let (head, data) = data.split_first()?;
        let (obu, after) = match obu(*head, data) {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        rest = after;
        Some(Ok(obu))
    })
}

fn obu(head: u8, mut data: &[u8]) -> Result<(Obu<'_>, &[u8]), NalError> {
    const CUT: NalError = NalError::Truncated("OBU");
    if head & 0x80 != 0 {
        return Err(NalError::Range("OBU header"));
    }
    let mut extension = None;
    if head & 4 != 0 {
        let (byte, after) = data.split_first().ok_or(CUT)?;
        (extension, data) = (Some(*byte), after);
    }
    let mut size = data.len();
    if head & 2 != 0 {
        let mut read = 0u64;
        // Eight bytes of seven bits are the longest form; sizes past 32 bits are not valid, and fit no sample anyway.
        for at in 0.. {
            let (byte, after) = data.split_first().filter(|_| at < 8).ok_or(CUT)?;
            data = after;
            read |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                break;
            }
        }
        size = usize::try_from(read).map_err(|_| CUT)?;
    }
    let (payload, after) = data.split_at_checked(size).ok_or(CUT)?;
    Ok((Obu { kind: head >> 3 & 0xf, extension, payload }, after))
}

/// The `av1C` record of the first sequence header among these OBUs: a temporal unit with a key frame, or what a record carries.
/// Beside the four bytes of its head it holds that header and nothing else.
pub fn record(unit: &[u8]) -> Result<Bytes, NalError> {
    let header = sequence_header(unit)?;
    let SequenceHeader { profile, level, high_tier, chroma_position, format } = parse_sequence_header(header.payload)?;
    let subsampled = match format.chroma_format {
        0 | 1 => 0b11,
        2 => 0b10,
        _ => 0,
    };
    let deep = u8::from(format.bit_depth > 8) << 6 | u8::from(format.bit_depth == 12) << 5;
    let monochrome = u8::from(format.chroma_format == 0) << 4;
    let mut out = BytesMut::with_capacity(8 + header.payload.len());
    out.put_slice(&[0x81, profile << 5 | level]);
    out.put_u8(u8::from(high_tier) << 7 | deep | monochrome | subsampled << 2 | chroma_position);
    out.put_u8(0); // no initial presentation delay
    header.write(&mut out);
    Ok(out.freeze())
}

/// The same of an `av1C` record: the payload of the box, or the body of an Enhanced RTMP sequence start.
pub fn parse_record(bytes: &[u8]) -> Result<Bytes, NalError> {
    let (head, obus) = bytes.split_first_chunk::<4>().ok_or(NalError::Truncated(RECORD))?;
    if head[0] != 0x81 {
        return Err(NalError::Range("av1C version"));
    }
    record(obus)
}

/// What the sequence header of a record says.
pub fn header_of(record: &[u8]) -> Result<SequenceHeader, NalError> {
    parse_sequence_header(sequence_header(record.get(4..).ok_or(NalError::Truncated(RECORD))?)?.payload)
}

fn sequence_header(unit: &[u8]) -> Result<Obu<'_>, NalError> {
    for obu in obus(unit) {
        let obu = obu?;
        if obu.kind == OBU_SEQUENCE_HEADER {
            let size = obu.payload.len();
            if size > MAX_HEADER {
                return Err(NalError::TooLarge { what: SEQUENCE_HEADER, size, limit: MAX_HEADER });
            }
            return Ok(obu);
        }
    }
    Err(NalError::Missing(SEQUENCE_HEADER))
}

/// Whether a frame of the unit is the first one's key frame, and how many are shown. Frames of no sense count as neither.
fn frames(unit: &[u8]) -> impl Iterator<Item = (bool, bool)> {
    obus(unit).map_while(Result::ok).filter_map(|obu| {
        let first = *obu.payload.first().filter(|_| matches!(obu.kind, OBU_FRAME_HEADER | OBU_FRAME))?;
        let (existing, kind, shown) = (first & 0x80 != 0, first >> 5 & 3, first & 0x10 != 0);
        Some((!existing && kind == 0 && shown, existing || shown))
    })
}

/// Whether decoding may begin with this temporal unit: its first frame is a key frame, and shown. One that is shown later (a delayed
/// random access point) does not count, nor does an intra-only frame.
pub fn is_key(unit: &[u8]) -> bool {
    frames(unit).next().is_some_and(|(key, _)| key)
}

/// Whether a temporal unit shows a picture. All that are whole do.
pub fn is_shown(unit: &[u8]) -> bool {
    frames(unit).any(|(_, shown)| shown)
}

/// A temporal unit as a sample: every OBU with its size, temporal delimiters and padding left out, and in front of a key frame the
/// sequence header of `record` where it has none.
///
/// # Errors
/// When the bytes are no OBUs.
pub fn to_sample(unit: &[u8], record: &[u8]) -> Result<Bytes, NalError> {
    let mut out = BytesMut::with_capacity(unit.len() + 16);
    if is_key(unit) && sequence_header(unit).is_err() {
        out.put_slice(record.get(4..).unwrap_or_default());
    }
    for obu in obus(unit) {
        let obu = obu?;
        if !matches!(obu.kind, OBU_TEMPORAL_DELIMITER | OBU_TILE_LIST | OBU_PADDING) {
            obu.write(&mut out);
        }
    }
    Ok(out.freeze())
}

#[cfg(test)]
#[path = "av1_tests.rs"]
mod tests;
