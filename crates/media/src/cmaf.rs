//! CMAF: init segments (`ftyp` `moov`) and parts (one `moof` and its `mdat`), written and read. One track per file, track 1.
//!
//! Reading takes bytes from strangers. The containers are walked here, along the one path that is needed and to its depth only, and the
//! crate that knows the boxes reads just the leaves: its own walk recurses as deep as the sender likes.
//! There is no edit list: the first sample is where its `tfdt` says.

use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom::{Atom, Encode, esds};
use serde::{Deserialize, Serialize};

use crate::h264::AvcConfig;
use crate::nal::NalError;
pub use crate::track::{AudioTrack, Codec, Track, VideoTrack};

/// Longest init segment taken, in bytes. Real ones have under 1,500.
pub const MAX_INIT: usize = 16 * 1024;
/// Longest part taken, in bytes: what one message of the wire carries. A part of 200 ms at 100 Mb/s has 2.5 MB.
pub const MAX_PART: usize = 8 * 1024 * 1024;
/// Most samples in one part: a whole 10 s segment at 60 frames per second or of 96 kHz audio fits.
pub const MAX_SAMPLES: usize = 1024;

const TRACK_ID: u32 = 1;
/// Sample flags: depends on no other sample.
const SYNC: u32 = 0x0200_0000;
/// Sample flags: depends on others, is no sync sample.
const NON_SYNC: u32 = 0x0101_0000;
/// The bit of the sample flags that says "no sync sample".
const NON_SYNC_BIT: u32 = 0x0001_0000;

/// Why an init segment or part could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CmafError {
    /// More bytes than are taken.
    #[error("the {what} has {size} bytes; at most {limit} are taken")]
    TooLarge {
        /// "init segment" or "part".
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A part has no sample, or more than [`MAX_SAMPLES`].
    #[error("a part has {0} samples; 1 to {MAX_SAMPLES} are taken")]
    SampleCount(usize),
    /// A needed box is absent.
    #[error("there is no {0} box")]
    Missing(&'static str),
    /// A box says what cannot be.
    #[error("the {0} is not valid here")]
    Invalid(&'static str),
    /// A time that the format cannot hold: negative, or too far from its neighbour.
    #[error("sample {index} has a time that cannot be written: dts {dts}, pts {pts}")]
    Time {
        /// Position in the part.
        index: usize,
        /// Its decode time in ticks.
        dts: i64,
        /// Its presentation time in ticks.
        pts: i64,
    },
    /// A leaf box does not read.
    #[error("a box is malformed: {0}")]
    Box(#[from] mp4_atom::Error),
    /// The codec configuration does not read.
    #[error(transparent)]
    Codec(#[from] NalError),
}

/// One access unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Decode time, in ticks of the track.
    pub dts: i64,
    /// Presentation time, in ticks of the track.
    pub pts: i64,
    /// Duration in ticks: the distance to the next sample's `dts`.
    pub duration: u32,
    /// Whether decoding can start here.
    pub key: bool,
    /// NAL units with 4-byte lengths, OBUs with their sizes, a frame of VP8 or VP9, or one raw AAC frame.
    pub data: Bytes,
}

/// Writes the init segment of a track.
///
/// # Errors
/// When the codec configuration does not read.
pub fn write_init(track: &Track) -> Result<Bytes, CmafError> {
    let mut trak = trak(track)?;
    trak.mdia.minf.stbl.stco = Some(mp4_atom::Stco::default());
    let timescale = track.timescale();
    let moov = mp4_atom::Moov {
        mvhd: mp4_atom::Mvhd { timescale, rate: 1.into(), volume: 1.into(), next_track_id: 2, ..Default::default() },
        mvex: Some(mp4_atom::Mvex {
            mehd: None,
            trex: vec![mp4_atom::Trex {
                track_id: TRACK_ID,
                default_sample_description_index: 1,
                ..Default::default()
            }],
        }),
        trak: vec![trak],
        ..Default::default()
    };
    let ftyp = mp4_atom::Ftyp {
        major_brand: b"iso6".into(),
        minor_version: 0,
        compatible_brands: vec![b"iso6".into(), b"cmfc".into(), b"mp41".into()],
    };
    let mut out = Vec::new();
    ftyp.encode(&mut out)?;
    moov.encode(&mut out)?;
    Ok(out.into())
}

/// A track without samples.
pub(crate) fn trak(track: &Track) -> Result<mp4_atom::Trak, CmafError> {
    let (mut tkhd, mut minf) = (mp4_atom::Tkhd::default(), mp4_atom::Minf::default());
    let (codec, handler, name) = match track {
        Track::Video(video) => {
            let (h, v) = video.format()?.sar;
            tkhd.width = u16::try_from(u32::from(video.width) * u32::from(h) / u32::from(v)).unwrap_or(u16::MAX).into();
            tkhd.height = video.height.into();
            minf.vmhd = Some(mp4_atom::Vmhd::default());
            (sample_entry(video, (h, v))?, b"vide", "VideoHandler")
        }
        Track::Audio(audio) => {
            tkhd.volume = 1.into();
            minf.smhd = Some(mp4_atom::Smhd::default());
            (mp4_atom::Codec::Mp4a(mp4a(audio)), b"soun", "SoundHandler")
        }
    };
    (tkhd.track_id, tkhd.enabled, tkhd.in_movie) = (TRACK_ID, true, true);
    minf.dinf.dref.entries = vec![mp4_atom::DrefEntry::Url(mp4_atom::Url::default())];
    minf.stbl.stsd.codecs = vec![codec];
    let timescale = track.timescale();
    Ok(mp4_atom::Trak {
        tkhd,
        mdia: mp4_atom::Mdia {
            mdhd: mp4_atom::Mdhd { timescale, language: "und".to_owned(), ..Default::default() },
            hdlr: mp4_atom::Hdlr { handler: handler.into(), name: name.to_owned() },
            minf,
        },
        ..Default::default()
    })
}

fn sample_entry(video: &VideoTrack, sar: (u16, u16)) -> Result<mp4_atom::Codec, CmafError> {
    let visual =
        mp4_atom::Visual { data_reference_index: 1, width: video.width, height: video.height, ..Default::default() };
    let pasp = (sar.0 != sar.1).then(|| mp4_atom::Pasp { h_spacing: sar.0.into(), v_spacing: sar.1.into() });
    Ok(match video.codec {
        Codec::H264 => {
            let avcc = mp4_atom::Avcc::decode_body(&mut &video.config[..])?;
            mp4_atom::Codec::Avc1(mp4_atom::Avc1 { visual, avcc, pasp, ..Default::default() })
        }
        Codec::H265 => {
            let hvcc = mp4_atom::Hvcc::decode_body(&mut &video.config[..])?;
            mp4_atom::Codec::Hvc1(mp4_atom::Hvc1 { visual, hvcc, pasp, ..Default::default() })
        }
        Codec::Av1 => {
            let av1c = mp4_atom::Av1c::decode_body(&mut &video.config[..])?;
            mp4_atom::Codec::Av01(mp4_atom::Av01 { visual, av1c, pasp, ..Default::default() })
        }
        Codec::Vp9 => {
            let vpcc = mp4_atom::VpcC::decode_body(&mut &video.config[..])?;
            mp4_atom::Codec::Vp09(mp4_atom::Vp09 { visual, vpcc, pasp, ..Default::default() })
        }
        Codec::Vp8 => {
            let vpcc = mp4_atom::VpcC::decode_body(&mut &video.config[..])?;
            mp4_atom::Codec::Vp08(mp4_atom::Vp08 { visual, vpcc, pasp, ..Default::default() })
        }
    })
}

fn mp4a(audio: &AudioTrack) -> mp4_atom::Mp4a {
    mp4_atom::Mp4a {
        audio: mp4_atom::Audio {
            data_reference_index: 1,
            channel_count: audio.channels.into(),
            sample_size: 16,
            // The field holds 16 bits; players take a higher rate from the AudioSpecificConfig.
            sample_rate: u16::try_from(audio.sample_rate).unwrap_or(0).into(),
        },
        esds: mp4_atom::Esds {
            es_desc: esds::EsDescriptor {
                es_id: TRACK_ID as u16,
                dec_config: esds::DecoderConfig {
                    object_type_indication: 0x40, // MPEG-4 audio
                    stream_type: 5,               // audio
                    dec_specific: Some(esds::DecoderSpecific { raw: audio.config.to_vec(), ..Default::default() }),
                    ..Default::default()
                },
                ..Default::default()
            },
        },
        btrt: None,
        taic: None,
    }
}

/// Reads an init segment: its first track, which must be H.264, HEVC, AV1, VP9, VP8 or AAC.
pub fn read_init(bytes: &[u8]) -> Result<Track, CmafError> {
    if bytes.len() > MAX_INIT {
        return Err(CmafError::TooLarge { what: "init segment", size: bytes.len(), limit: MAX_INIT });
    }
    let mdia = find(find(find(bytes, b"moov")?, b"trak")?, b"mdia")?;
    let timescale = mp4_atom::Mdhd::decode_body(&mut find(mdia, b"mdhd")?)?.timescale;
    if timescale == 0 {
        return Err(CmafError::Invalid("timescale 0"));
    }
    let stsd = find(find(find(mdia, b"minf")?, b"stbl")?, b"stsd")?;
    // Version, flags and entry count are in front of the sample entries.
    let entries = stsd.get(8..).ok_or(CmafError::Missing("sample entry"))?;
    let (kind, entry) = boxes(entries).next().ok_or(CmafError::Missing("sample entry"))??;
    match &kind {
        b"avc1" => {
            let children = entry.get(78..).ok_or(CmafError::Invalid("avc1 sample entry"))?;
            let config = AvcConfig::parse(find(children, b"avcC")?)?.to_record()?;
            Ok(Track::Video(VideoTrack { timescale, ..VideoTrack::h264(config)? }))
        }
        // Parameter sets may lie in the samples too (hev1): those here must do all the same.
        b"hvc1" | b"hev1" => {
            let children = entry.get(78..).ok_or(CmafError::Invalid("hvc1 sample entry"))?;
            Ok(Track::Video(VideoTrack { timescale, ..VideoTrack::h265(find(children, b"hvcC")?)? }))
        }
        b"av01" => {
            let children = entry.get(78..).ok_or(CmafError::Invalid("av01 sample entry"))?;
            Ok(Track::Video(VideoTrack { timescale, ..VideoTrack::av1(find(children, b"av1C")?)? }))
        }
        b"vp09" | b"vp08" => {
            let (head, children) = entry.split_at_checked(78).ok_or(CmafError::Invalid("vp09 or vp08 sample entry"))?;
            let (width, height) = (u16::from_be_bytes([head[24], head[25]]), u16::from_be_bytes([head[26], head[27]]));
            let codec = if &kind == b"vp09" { Codec::Vp9 } else { Codec::Vp8 };
            let track = VideoTrack::vpx(codec, find(children, b"vpcC")?, width, height)?;
            Ok(Track::Video(VideoTrack { timescale, ..track }))
        }
        b"mp4a" => {
            let channels = entry.get(16..18).ok_or(CmafError::Invalid("mp4a sample entry"))?[1];
            let esds = find(entry.get(28..).ok_or(CmafError::Invalid("mp4a sample entry"))?, b"esds")?;
            // Descriptors nest: a bound on the bytes is a bound on the depth.
            if esds.len() > 512 {
                return Err(CmafError::Invalid("esds box"));
            }
            let config = mp4_atom::Esds::decode_body(&mut &esds[..])?.es_desc.dec_config.dec_specific;
            let config = config.filter(|c| c.raw.len() >= 2).ok_or(CmafError::Missing("AudioSpecificConfig"))?;
            Ok(Track::Audio(AudioTrack { sample_rate: timescale, channels, config: config.raw.into() }))
        }
        _ => Err(CmafError::Invalid("codec: only avc1, hvc1, av01, vp09, vp08 and mp4a are taken, the sample entry")),
    }
}

/// Writes one part. `sequence` numbers the fragments of a track from 1, rising.
///
/// # Errors
/// When there is no sample or too many, or a time cannot be written: the first `dts` must not be negative, and the others must follow from
/// the durations, since the format keeps only those.
pub fn write_part(sequence: u32, samples: &[Sample]) -> Result<Bytes, CmafError> {
    let first =
        samples.first().filter(|_| samples.len() <= MAX_SAMPLES).ok_or(CmafError::SampleCount(samples.len()))?;
    let size: usize = samples.iter().map(|s| s.data.len()).sum();
    if size > MAX_PART {
        return Err(CmafError::TooLarge { what: "part", size, limit: MAX_PART });
    }
    let same_duration = samples.iter().all(|s| s.duration == first.duration);
    let offsets = samples.iter().any(|s| s.pts != s.dts);
    // A lone key frame in front, or none at all, costs one flags field; anything else writes the flags of each sample.
    let all_sync = samples.iter().all(|s| s.key);
    let mixed = samples.iter().skip(1).any(|s| s.key != all_sync);
    let mut entries = Vec::with_capacity(samples.len());
    let mut dts = first.dts;
    for (index, sample) in samples.iter().enumerate() {
        let time = || CmafError::Time { index, dts: sample.dts, pts: sample.pts };
        let offset = sample.pts.checked_sub(sample.dts).filter(|o| i32::try_from(*o).is_ok()).ok_or_else(time)?;
        if sample.dts < 0 || sample.dts != dts {
            return Err(time());
        }
        dts = dts.checked_add(sample.duration.into()).ok_or_else(time)?;
        let flags = if sample.key { SYNC } else { NON_SYNC };
        entries.push(mp4_atom::TrunEntry {
            duration: (!same_duration).then_some(sample.duration),
            size: Some(sample.data.len() as u32),
            flags: (mixed || (index == 0 && sample.key != all_sync)).then_some(flags),
            cts: offsets.then_some(offset),
        });
    }
    let mut moof = mp4_atom::Moof {
        mfhd: mp4_atom::Mfhd { sequence_number: sequence },
        traf: vec![mp4_atom::Traf {
            tfhd: mp4_atom::Tfhd {
                track_id: TRACK_ID,
                default_sample_duration: same_duration.then_some(first.duration),
                default_sample_flags: Some(if all_sync { SYNC } else { NON_SYNC }),
                default_base_is_moof: true,
                ..Default::default()
            },
            tfdt: Some(mp4_atom::Tfdt { base_media_decode_time: first.dts.unsigned_abs() }),
            trun: vec![mp4_atom::Trun { data_offset: Some(0), samples: entries.into() }],
            ..Default::default()
        }],
    };
    // The data starts behind the moof, whose size does not depend on the number written in it.
    let mut head = Vec::new();
    moof.encode(&mut head)?;
    moof.traf[0].trun[0].data_offset = Some(head.len() as i32 + 8);
    head.clear();
    moof.encode(&mut head)?;

    let mut out = BytesMut::with_capacity(head.len() + 8 + size);
    out.put_slice(&head);
    out.put_u32(size as u32 + 8);
    out.put_slice(b"mdat");
    for sample in samples {
        out.put_slice(&sample.data);
    }
    Ok(out.freeze())
}

/// What a part is, without its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartHead {
    /// Number of samples.
    pub samples: usize,
    /// Sum of their durations in the track's timescale.
    pub duration: u64,
    /// The first is a key sample.
    pub key: bool,
    /// Bytes from the part's first to the end of its first sample: enough to decode that one.
    pub first_sample_end: usize,
}

/// Reads what a part is. It copies nothing.
///
/// # Errors
/// Those of [`read_part`].
pub fn read_head(bytes: &[u8]) -> Result<PartHead, CmafError> {
    let Fragment { data_at, entries, .. } = fragment(bytes)?;
    let first = entries.first().ok_or(CmafError::SampleCount(0))?;
    Ok(PartHead {
        samples: entries.len(),
        duration: entries.iter().map(|entry| u64::from(entry.duration)).sum(),
        key: first.key,
        first_sample_end: data_at + first.end,
    })
}

/// Reads a segment of several parts: its samples in decode order.
///
/// # Errors
/// As [`read_part`], of each.
pub fn read_segment(bytes: &[u8]) -> Result<Vec<Sample>, CmafError> {
    let (mut samples, mut start, mut at) = (Vec::new(), 0, 0);
    for next in boxes(bytes) {
        let (kind, body) = next?;
        at += body.len() + 8;
        if &kind == b"mdat" {
            samples.extend(read_part(bytes.get(start..at).ok_or(CmafError::Invalid("box size"))?)?);
            start = at;
        }
    }
    if samples.is_empty() { Err(CmafError::Missing("mdat")) } else { Ok(samples) }
}

/// Reads one part: its samples in decode order. Boxes beside the `moof` and `mdat` (`styp`, `prft`, `emsg`) are passed over.
///
/// # Errors
/// When the part is over a limit, is no single fragment of one track, or its samples do not lie in its data.
pub fn read_part(bytes: &[u8]) -> Result<Vec<Sample>, CmafError> {
    let Fragment { mut dts, data, entries, .. } = fragment(bytes)?;
    let data = Bytes::copy_from_slice(data);
    let mut samples = Vec::with_capacity(entries.len());
    for Entry { start, end, duration, key, cts } in entries {
        samples.push(Sample { dts, pts: dts + cts, duration, key, data: data.slice(start..end) });
        dts += i64::from(duration);
    }
    Ok(samples)
}

/// One fragment, checked: every sample lies in its data, and no time overflows.
struct Fragment<'a> {
    dts: i64,
    /// Where `data` lies in the part.
    data_at: usize,
    data: &'a [u8],
    entries: Vec<Entry>,
}

/// A sample by its place in the data.
struct Entry {
    start: usize,
    end: usize,
    duration: u32,
    key: bool,
    cts: i64,
}

fn fragment(bytes: &[u8]) -> Result<Fragment<'_>, CmafError> {
    if bytes.len() > MAX_PART {
        return Err(CmafError::TooLarge { what: "part", size: bytes.len(), limit: MAX_PART });
    }
    let moof = find(bytes, b"moof")?;
    let data = find(bytes, b"mdat")?;
    // `data_offset` counts from the start of the moof, whose header has 8 bytes.
    let offset_of = |part: &[u8]| part.as_ptr().addr() - bytes.as_ptr().addr();
    let (moof_at, data_at) = (offset_of(moof) - 8, offset_of(data));
    let traf = find(moof, b"traf")?;
    let tfhd = mp4_atom::Tfhd::decode_body(&mut find(traf, b"tfhd")?)?;
    let first = mp4_atom::Tfdt::decode_body(&mut find(traf, b"tfdt")?)?.base_media_decode_time;
    let trun = mp4_atom::Trun::decode_body(&mut find(traf, b"trun")?)?;
    let count = trun.samples.len();
    if count == 0 || count > MAX_SAMPLES {
        return Err(CmafError::SampleCount(count));
    }
    let start = trun.data_offset.and_then(|o| usize::try_from(o).ok()).and_then(|o| (moof_at + o).checked_sub(data_at));
    let mut at = start.ok_or(CmafError::Invalid("data offset"))?;
    let mut dts = first;
    let mut entries = Vec::with_capacity(count);
    for entry in &trun.samples {
        let duration = entry.duration.or(tfhd.default_sample_duration).ok_or(CmafError::Missing("sample duration"))?;
        let size = entry.size.or(tfhd.default_sample_size).ok_or(CmafError::Missing("sample size"))? as usize;
        let flags = entry.flags.or(tfhd.default_sample_flags).ok_or(CmafError::Missing("sample flags"))?;
        let end = at.checked_add(size).filter(|end| *end <= data.len()).ok_or(CmafError::Invalid("sample size"))?;
        i64::try_from(dts).ok().filter(|d| *d < i64::MAX / 2).ok_or(CmafError::Invalid("decode time"))?;
        let key = flags & NON_SYNC_BIT == 0;
        entries.push(Entry { start: at, end, duration, key, cts: entry.cts.unwrap_or(0) });
        at = end;
        dts += u64::from(duration);
    }
    Ok(Fragment { dts: first as i64, data_at, data, entries })
}

/// The boxes that lie side by side in `bytes`, as kind and body. An error ends the walk.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = Result<([u8; 4], &[u8]), CmafError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let data = std::mem::take(&mut rest);
        let (head, _) = data.split_first_chunk::<8>()?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        // No 64-bit sizes and no "to the end of the file": nothing here comes near 4 GiB or is written piecemeal.
        if size < 8 || size > data.len() {
            return Some(Err(CmafError::Invalid("box size")));
        }
        rest = &data[size..];
        Some(Ok(([head[4], head[5], head[6], head[7]], &data[8..size])))
    })
}

/// The body of the only box of this kind in `bytes`.
fn find<'a>(bytes: &'a [u8], kind: &'static [u8; 4]) -> Result<&'a [u8], CmafError> {
    let name = std::str::from_utf8(kind).unwrap_or("box");
    let mut found = None;
    for next in boxes(bytes) {
        let (this, body) = next?;
        if &this == kind && found.replace(body).is_some() {
            return Err(CmafError::Invalid("second box of one kind"));
        }
    }
    found.ok_or(CmafError::Missing(name))
}

#[cfg(test)]
#[path = "cmaf_tests.rs"]
mod tests;
