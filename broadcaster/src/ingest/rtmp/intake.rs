//! From FLV tags to ingest events: what the tags say of their tracks, and RTMP's clock. Sans-IO.

use super::amf0::Value;
use super::flv::{FlvError, Tag};
use crate::events::{IngestEvent, TICKS_PER_SECOND, TrackKind};
use crate::ingest::aac::{self, AacError};
use crate::ingest::tracks::{Expect, Stamp, Tracks, Unwrap};
use bytes::Bytes;
use millrace_media::cmaf::{CmafError, Codec, VideoTrack};
use millrace_media::h265::{self, nals};
use millrace_media::{NalError, av1};

/// Ticks in one unit of RTMP's clock.
const TICKS_PER_MS: i64 = 90;
/// How long a stream of HEVC may have no other keyframes than CRA pictures in open GOPs: some send an IDR now and then.
const OPEN_SECONDS: i64 = 10;

/// Why a publication cannot go on. The message goes to the publisher and to the log.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A codec that is not taken, or a broken tag.
    #[error(transparent)]
    Flv(#[from] FlvError),
    /// An AAC configuration that is not taken.
    #[error(transparent)]
    Aac(#[from] AacError),
    /// A sequence header, or a key frame in its place, that does not describe a track.
    #[error("the video configuration is not accepted: {0}")]
    Video(#[from] CmafError),
    /// NAL lengths that do not add up.
    #[error("a picture is malformed: its nal lengths do not fit its size")]
    Picture,
    /// A frame of VP8 or VP9 that shows nothing: an alternate reference by itself.
    #[error(
        "{0} with frames that are not shown is not accepted: send none (libvpx: auto-alt-ref=0), or pack each with the next one"
    )]
    Hidden(&'static str),
    /// Keyframes of HEVC that need what was before them.
    #[error(
        "hevc with open gops is not accepted: no keyframe for {OPEN_SECONDS} s from which a player could start; \
         close the gops (x265: open-gop=0), or send no b-frames"
    )]
    OpenGop,
}

/// State of one publication.
pub struct Intake {
    /// Of both tracks. The specification has 32 bits, FFmpeg sends 31; what differs in the last bit alone is the same time to both.
    clock: Unwrap<31>,
    tracks: Tracks,
    /// The first picture since the last closed start at which only an open one is possible.
    open_since: Option<i64>,
}

impl Intake {
    /// For the stream with this public name.
    pub fn new(name: &str) -> Self {
        Self { clock: Unwrap::default(), tracks: Tracks::new(name), open_since: None }
    }

    /// True once the tracks were announced.
    pub fn started(&self) -> bool {
        self.tracks.started()
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<IngestEvent> {
        self.tracks.poll()
    }

    /// Takes the object of an `onMetaData`. It is a hint, which only shortens the wait for a second track.
    pub fn metadata(&mut self, object: &Value) {
        if object.get("videocodecid").is_some() && object.get("audiocodecid").is_none() {
            self.tracks.expect(TrackKind::Audio, Expect::Not);
        }
    }

    /// Takes one tag with its RTMP timestamp.
    pub fn tag(&mut self, timestamp: u32, tag: Tag) -> Result<(), IntakeError> {
        match tag {
            Tag::VideoConfig(record) => self.tracks.video_config(VideoTrack::h264(record)?),
            Tag::HevcConfig(record) => self.tracks.video_config(VideoTrack::h265(&record)?),
            Tag::Av1Config(record) => match VideoTrack::av1(&record) {
                Err(CmafError::Codec(NalError::Missing(_))) => {} // the key frames have what it lacks
                track => self.tracks.video_config(track?),
            },
            Tag::Frame(codec, data) => self.frame(timestamp, codec, data)?,
            Tag::AudioConfig(config) => self.tracks.audio_config(aac::track(config)?),
            Tag::Video { composition_ms, data } if self.tracks.video().is_some_and(VideoTrack::has_nals) => {
                if nals(&data).any(|nal| nal.is_err()) {
                    return Err(IntakeError::Picture);
                }
                let dts = self.clock.at(timestamp.into()) * TICKS_PER_MS;
                let pts = dts + i64::from(composition_ms) * TICKS_PER_MS;
                let key = self.starts(&data, dts)?;
                self.tracks.unit(TrackKind::Video, Stamp { dts: Some(dts), pts: Some(pts) }, key, data);
            }
            Tag::Audio(data) if self.tracks.audio().is_some() => {
                let time = self.clock.at(timestamp.into()) * TICKS_PER_MS;
                self.tracks.unit(TrackKind::Audio, Stamp { dts: Some(time), pts: None }, true, data);
            }
            // Media before its configuration can be decoded by nobody.
            Tag::Video { .. } | Tag::Audio(_) | Tag::End | Tag::Skip => {}
        }
        Ok(())
    }

    /// Takes a picture of a codec whose key frames say what the track is.
    fn frame(&mut self, timestamp: u32, codec: Codec, mut data: Bytes) -> Result<(), IntakeError> {
        if codec == Codec::Av1 {
            let known = self.tracks.video().filter(|track| track.codec == codec);
            data = av1::to_sample(&data, known.map_or(&[], |track| &track.config)).map_err(CmafError::from)?;
        }
        let described = VideoTrack::of_key_frame(codec, &data)?;
        let key = described.is_some();
        if let Some(track) = described {
            self.tracks.video_config(track);
        }
        let Some(track) = self.tracks.video().filter(|track| track.codec == codec) else { return Ok(()) };
        if !track.is_shown(&data) {
            return Err(IntakeError::Hidden(codec.name()));
        }
        let time = self.clock.at(timestamp.into()) * TICKS_PER_MS;
        self.tracks.unit(TrackKind::Video, Stamp { dts: Some(time), pts: Some(time) }, key, data);
        Ok(())
    }

    /// Whether a segment may start with this picture. Fails once a stream has had nothing but open starts for too long.
    fn starts(&mut self, data: &[u8], dts: i64) -> Result<bool, IntakeError> {
        let Some(track) = self.tracks.video() else { return Ok(false) };
        let key = track.is_start(data);
        if key {
            self.open_since = None;
        } else if track.codec == Codec::H265 && h265::random_access(data).is_some() {
            let since = *self.open_since.get_or_insert(dts);
            if dts - since > OPEN_SECONDS * TICKS_PER_SECOND {
                return Err(IntakeError::OpenGop);
            }
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_media::h265::HevcConfig;

    fn avcc() -> Bytes {
        // Baseline 1.0, 64x64: one SPS, one PPS.
        let sps = [
            0x67, 0x42, 0xC0, 0x0A, 0xD9, 0x04, 0x26, 0xC0, 0x44, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xC8, 0x3C, 0x48, 0x99,
            0x20,
        ];
        let pps = [0x68, 0xCB, 0x83, 0xCB, 0x20];
        let mut record = vec![1, 0x42, 0xC0, 0x0A, 0xFF, 0xE1, 0, sps.len() as u8];
        record.extend(sps);
        record.extend([1, 0, pps.len() as u8]);
        record.extend(pps);
        record.into()
    }

    fn idr() -> Tag {
        Tag::Video { composition_ms: 0, data: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]) }
    }

    fn run(intake: &mut Intake, tags: &[(u32, Tag)]) -> Result<Vec<IngestEvent>, IntakeError> {
        for (timestamp, tag) in tags {
            intake.tag(*timestamp, tag.clone())?;
        }
        Ok(std::iter::from_fn(|| intake.poll()).collect())
    }

    fn times(events: &[IngestEvent]) -> Vec<i64> {
        events
            .iter()
            .filter_map(|event| if let IngestEvent::Unit(unit) = event { Some(unit.dts) } else { None })
            .collect()
    }

    #[test]
    fn a_video_only_stream_starts_after_a_second_or_at_once_when_metadata_says_so() {
        let tags: Vec<_> =
            std::iter::once((0, Tag::VideoConfig(avcc()))).chain((0..30).map(|n| (n * 40, idr()))).collect();
        let events = run(&mut Intake::new("demo"), &tags).unwrap();
        assert!(matches!(&events[0], IngestEvent::Started { audio: None, .. }));
        assert_eq!(times(&events).len(), 30);

        let mut hinted = Intake::new("demo");
        hinted.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(7.0))]));
        assert_eq!(times(&run(&mut hinted, &tags[..2]).unwrap()), [0]);
    }

    #[test]
    fn the_wrap_at_32_bits_does_not_show_and_standing_times_are_moved_by_the_least() {
        let mut intake = Intake::new("demo");
        intake.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(7.0))]));
        let mut tags = vec![(0, Tag::VideoConfig(avcc()))];
        for timestamp in [u32::MAX - 19, 20, 20, 19, 60] {
            tags.push((timestamp, idr()));
        }
        let times = times(&run(&mut intake, &tags).unwrap());
        let from_first: Vec<i64> = times.iter().map(|time| time - times[0]).collect();
        assert_eq!(from_first, [0, 40 * 90, 41 * 90, 42 * 90, 80 * 90]);
    }

    /// 640x360 with B-frames.
    fn hvcc() -> Bytes {
        let sps = b"\x42\x01\x01\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3f\xa0\x05\x02\x01\x71\xf2\xe5\x95\x95\x29\x30\xbc\x05\xa0\x20\0\0\x03\0\x20\0\0\x03\x03\xc1";
        let set = |set: &'static [u8]| vec![Bytes::from_static(set)];
        let config = HevcConfig { vps: set(b"\x40\x01"), sps: set(sps), pps: set(b"\x44\x01"), sei: Vec::new() };
        config.to_record().unwrap()
    }

    fn hevc(kind: u8) -> Tag {
        Tag::Video { composition_ms: 0, data: vec![0, 0, 0, 3, kind << 1, 1, 0xaf].into() }
    }

    #[test]
    fn hevc_has_its_keys_and_an_open_gop_is_refused_with_a_reason() {
        let mut intake = Intake::new("demo");
        intake.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(12.0))]));
        // IDR, trailing, CRA with its leading pictures, and an IDR again before it takes too long.
        let tags = [(0, 19), (40, 1), (4_000, 21), (4_040, 9), (8_000, 20), (10_000, 21), (19_000, 21)];
        let mut all = vec![(0, Tag::HevcConfig(hvcc()))];
        all.extend(tags.map(|(time, kind)| (time, hevc(kind))));
        let events = run(&mut intake, &all).unwrap();
        assert!(matches!(&events[0], IngestEvent::Started { video: Some(track), .. } if track.codec == Codec::H265));
        let keys: Vec<bool> =
            events[1..].iter().map(|event| matches!(event, IngestEvent::Unit(unit) if unit.key)).collect();
        assert_eq!(keys, [true, false, false, false, true, false, false]);
        let error = run(&mut intake, &[(21_000, hevc(21))]).unwrap_err();
        assert!(matches!(error, IntakeError::OpenGop) && error.to_string().contains("open-gop=0"), "{error}");
    }

    #[test]
    fn frames_that_say_what_they_are_start_their_track_and_change_it() {
        let vp8 = |side: u8| vec![0xf0, 0x62, 0, 0x9d, 1, 0x2a, side, 0, side, 0].into();
        let vp9 = |side: u8| {
            let (high, low) = ((side - 1) >> 4, (side - 1) << 4);
            vec![0x82, 0x49, 0x83, 0x42, 0, high, low, high, low].into()
        };
        let inter = |codec| if codec == Codec::Vp8 { b"\x11\0\0" } else { b"\x86\0\0" };
        for (codec, key) in [(Codec::Vp8, &vp8 as &dyn Fn(u8) -> Bytes), (Codec::Vp9, &vp9)] {
            let mut intake = Intake::new("demo");
            intake.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(0.0))]));
            let inter = Tag::Frame(codec, Bytes::from_static(inter(codec)));
            let frames = [inter.clone(), Tag::Frame(codec, key(32)), inter.clone(), Tag::Frame(codec, key(64)), inter];
            let tags: Vec<_> = (0..).map(|n| n * 40).zip(frames).collect();
            let told: Vec<String> = run(&mut intake, &tags).unwrap().into_iter().map(tell).collect();
            assert_eq!(told, ["32x32", "key 3600", "7200", "64x64", "key 10800", "14400"], "{codec:?}");
            // What came of another codec is left out until its key frame comes.
            assert!(run(&mut intake, &[(200, idr())]).unwrap().is_empty());
        }
        let hidden = Tag::Frame(Codec::Vp8, Bytes::from_static(b"\x01\0\0"));
        let mut intake = Intake::new("demo");
        let error = run(&mut intake, &[(0, Tag::Frame(Codec::Vp8, vp8(32))), (40, hidden)]).unwrap_err();
        assert!(matches!(error, IntakeError::Hidden("vp8")) && error.to_string().contains("auto-alt-ref"), "{error}");
        let broken = Tag::Frame(Codec::Vp9, Bytes::from_static(b"\0"));
        assert!(matches!(run(&mut Intake::new("demo"), &[(0, broken)]), Err(IntakeError::Video(_))));
    }

    /// What matters of an event here: a size, or a time and whether it is a key frame's.
    fn tell(event: IngestEvent) -> String {
        match event {
            IngestEvent::Started { video: Some(track), .. } | IngestEvent::VideoConfig(track) => {
                format!("{}x{}", track.width, track.height)
            }
            IngestEvent::Unit(unit) => format!("{}{}", if unit.key { "key " } else { "" }, unit.dts),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn av1_has_its_sequence_header_at_each_key_frame_and_no_delimiters() {
        let header = b"\x0a\x0b\x02\0\0\x05\x21\xe7\xf6\x62\x57\xc8\x02"; // 320x180
        let key = b"\x32\x03\x10\0\x84";
        let inter = b"\x32\x03\x30\x03\x80";
        let record = [b"\x81\0\x0c\0", &header[..]].concat();
        let frame = |parts: &[&[u8]]| Tag::Frame(Codec::Av1, [b"\x12\0", &parts.concat()[..]].concat().into());
        let (with, without) = (frame(&[header, key]), frame(&[key]));
        for (start, first) in [
            (Tag::Av1Config(record.into()), without.clone()),
            // A record without the header, as some muxers write it: the key frame must have it.
            (Tag::Av1Config(Bytes::from_static(b"\x81\0\x0c\0")), with),
        ] {
            let mut intake = Intake::new("demo");
            intake.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(0.0))]));
            let tags = [(0, start), (0, first), (40, frame(&[inter])), (80, without.clone())];
            let events = run(&mut intake, &tags).unwrap();
            assert_eq!(tell(events[0].clone()), "320x180");
            let units: Vec<_> =
                events.iter().filter_map(|e| if let IngestEvent::Unit(unit) = e { Some(unit) } else { None }).collect();
            let whole = [&header[..], key].concat();
            assert_eq!(units.iter().map(|unit| &unit.data[..]).collect::<Vec<_>>(), [&whole, &inter[..], &whole]);
            assert_eq!(units.iter().map(|unit| unit.key).collect::<Vec<_>>(), [true, false, true]);
        }
        let error = run(&mut Intake::new("demo"), &[(0, without)]).unwrap_err();
        assert!(error.to_string().contains("sequence header"), "{error}");
    }

    #[test]
    fn broken_nal_lengths_are_refused() {
        let broken = Tag::Video { composition_ms: 0, data: Bytes::from_static(&[0, 0, 0, 99, 0x65]) };
        let tags = [(0, Tag::VideoConfig(avcc())), (0, broken)];
        assert!(matches!(run(&mut Intake::new("demo"), &tags), Err(IntakeError::Picture)));
    }
}
