//! Verification before payment: the returned bytes against the source that was kept, layers A (probe) and B (key frames)
//! of the protocol, on every segment and every rendition. Everything is recomputed here; nothing the worker says counts.

use alloy::primitives::B256;
use bytes::Bytes;
use millrace_hop::assign::Rendition;
use millrace_media::cmaf::{self, Sample, Track, VideoTrack};
use millrace_media::picture::decode_key_frame;
use millrace_tickets::Profile;
use millrace_verify::{
    Comparison, FULL_RATE, Fault, Fingerprint, Pick, PictureRef, QUALITY_RATE, SegmentShape, Thresholds, Wanted,
    compare, fingerprint, judge, pick, probe, sampled,
};

/// What verification found in one rendition of one segment: a sample of the worker's record.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rendition's name.
    pub rendition: String,
    /// The fault, or none.
    pub fault: Option<Fault>,
    /// How its key frame compares; none where a fault was found before.
    pub comparison: Option<Comparison>,
}

/// Why a segment could not be judged at all: the source's fault, not the worker's.
#[derive(Debug, thiserror::Error)]
#[error("the source cannot be read, so nothing can be judged by it: {0}")]
pub struct SourceUnreadable(String);

/// Frames that are held against an honest encoding in a segment that is drawn for that.
const QUALITY_FRAMES: u32 = 6;

/// What of a segment has to be looked at beyond its key frames (layers C and D of the protocol).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// Every frame of one rendition.
    pub full: Option<Pick>,
    /// Some frames of one rendition.
    pub quality: Option<Pick>,
}

/// Draws for a segment of `renditions` with `frames` each, by the secret of its assignment's epoch and the EIP-712 digest of the
/// signed receipt. Nothing else goes in: with the secret, once it is revealed, anyone draws the same.
pub fn draw(secret: B256, receipt: B256, renditions: u32, frames: u32) -> Draw {
    let of = |rate, count| {
        sampled(&secret, &receipt, rate).then(|| pick(&secret, &receipt, renditions, frames, count)).flatten()
    };
    Draw { full: of(FULL_RATE, frames), quality: of(QUALITY_RATE, QUALITY_FRAMES) }
}

/// Judges every rendition of a segment. Takes some 20 ms of CPU for three renditions of 720p: call it off the async threads.
pub fn verify(
    source_init: &[u8],
    source_parts: &[Bytes],
    profiles: &[Profile],
    renditions: &[Rendition],
) -> Result<Vec<Finding>, SourceUnreadable> {
    let source = Segment::read(source_init, source_parts).map_err(SourceUnreadable)?;
    let original = source.key_frame().map_err(SourceUnreadable)?;
    let findings = profiles.iter().zip(renditions).map(|(profile, rendition)| {
        let compared = compare_rendition(&source, &original, profile, rendition);
        let judged = compared.clone().and_then(|comparison| judge(&comparison, &Thresholds::default()));
        Finding { rendition: profile.name.clone(), fault: judged.err(), comparison: compared.ok() }
    });
    Ok(findings.collect())
}

fn compare_rendition(
    source: &Segment,
    original: &Fingerprint,
    profile: &Profile,
    rendition: &Rendition,
) -> Result<Comparison, Fault> {
    let unreadable = |reason| Fault::Unreadable { reason };
    let segment = Segment::read(&rendition.init, &rendition.parts).map_err(unreadable)?;
    let wanted =
        Wanted { width: profile.width, height: profile.height, bitrate: profile.bitrate, codec: profile.codec.clone() };
    probe(&source.shape, &segment.shape, &wanted)?;
    let key = segment.key_frame().map_err(unreadable)?;
    Ok(compare(original, &key))
}

/// A segment as its bytes tell it.
struct Segment {
    track: VideoTrack,
    first: Option<Sample>,
    shape: SegmentShape,
}

impl Segment {
    fn read(init: &[u8], parts: &[Bytes]) -> Result<Self, String> {
        let track = match cmaf::read_init(init).map_err(|e| e.to_string())? {
            Track::Video(track) => track,
            Track::Audio(_) => return Err("an audio track where video is due".into()),
        };
        let mut samples = Vec::new();
        for part in parts {
            samples.extend(cmaf::read_part(part).map_err(|e| e.to_string())?);
        }
        let format = track.format().map_err(|e| e.to_string())?;
        let shape = SegmentShape {
            // What the decoder will make of it counts, not what the container says.
            width: format.width,
            height: format.height,
            sar: (format.sar.0.into(), format.sar.1.into()),
            codec: track.codec.name().into(),
            profile: track.profile(),
            frames: samples.len() as u32,
            pts: samples.iter().map(|s| s.pts).collect(),
            duration: samples.iter().map(|s| u64::from(s.duration)).sum(),
            keys: samples.iter().map(|s| s.key).collect(),
            bytes: samples.iter().map(|s| s.data.len() as u64).sum(),
            starts_with_idr: samples.first().is_some_and(|s| s.key && track.is_start(&s.data)),
        };
        Ok(Self { track, first: samples.into_iter().next(), shape })
    }

    fn key_frame(&self) -> Result<Fingerprint, String> {
        let first = self.first.as_ref().ok_or("the segment holds no frame")?;
        let picture = decode_key_frame(&self.track, first).map_err(|e| e.to_string())?;
        let (width, height) = (picture.width as usize, picture.height as usize);
        fingerprint(PictureRef { width, height, y: &picture.y, u: &picture.u, v: &picture.v })
            .map_err(|e| e.to_string())
    }
}
