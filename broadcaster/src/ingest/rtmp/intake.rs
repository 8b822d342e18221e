//! From FLV tags to ingest events: which tracks there are, and one clean timeline for them. Sans-IO.
//!
//! Milliseconds that wrap at 32 bits become 90 kHz ticks that do not. Decoding times that stand still or step back a little
//! are moved by the least that makes them rise; larger steps pass through, for the segmenter to break the stream there.

use super::amf0::Value;
use super::flv::{FlvError, Tag};
use crate::events::{AccessUnit, IngestEvent, TICKS_PER_SECOND, TIMELINE_JUMP, TrackKind};
use crate::ingest::aac::{self, AacError};
use millrace_media::cmaf::{AudioTrack, CmafError, Codec, VideoTrack};
use millrace_media::h265::{self, nals};
use std::collections::VecDeque;

/// How much of one track is held back for the configuration of the other. Encoders send both within a few frames.
const START_WAIT: i64 = 90_000;
/// And how many bytes: two seconds at 16 Mb/s.
const START_BYTES: usize = 4 << 20;
/// How long a stream of HEVC may have no other keyframes than CRA pictures in open GOPs: some send an IDR now and then.
const OPEN_SECONDS: i64 = 10;
/// The least step between two decoding times: RTMP's own resolution, one millisecond.
const LEAST_STEP: i64 = 90;

/// Why a publication cannot go on. The message goes to the publisher and to the log.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A codec that is not taken, or a broken tag.
    #[error(transparent)]
    Flv(#[from] FlvError),
    /// An AAC configuration that is not taken.
    #[error(transparent)]
    Aac(#[from] AacError),
    /// A sequence header that does not describe an H.264 or HEVC track.
    #[error("the video configuration is not accepted: {0}")]
    Video(#[from] CmafError),
    /// NAL lengths that do not add up.
    #[error("a picture is malformed: its nal lengths do not fit its size")]
    Picture,
    /// Keyframes of HEVC that need what was before them.
    #[error(
        "hevc with open gops is not accepted: no keyframe for {OPEN_SECONDS} s from which a player could start; \
         close the gops (x265: open-gop=0), or send no b-frames"
    )]
    OpenGop,
    /// Audio without video.
    #[error("audio-only streams are not served yet: add an H.264 video track")]
    NoVideo,
}

/// State of one publication.
#[derive(Default)]
pub struct Intake {
    clock: Clock,
    video: Option<VideoTrack>,
    audio: Option<AudioTrack>,
    /// The metadata named a video codec and no audio codec.
    video_only: bool,
    started: bool,
    held: VecDeque<AccessUnit>,
    held_bytes: usize,
    /// The first picture since the last closed start at which only an open one is possible.
    open_since: Option<i64>,
    last_video: Option<i64>,
    last_audio: Option<i64>,
}

impl Intake {
    /// True once the tracks were announced.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Takes the object of an `onMetaData`. It is a hint, which only shortens the wait for a second track.
    pub fn metadata(&mut self, object: &Value) {
        self.video_only = object.get("videocodecid").is_some() && object.get("audiocodecid").is_none();
    }

    /// Takes one tag with its RTMP timestamp. `name` is the public name of the stream, for the first event.
    pub fn tag(
        &mut self,
        name: &str,
        timestamp: u32,
        tag: Tag,
        out: &mut VecDeque<IngestEvent>,
    ) -> Result<(), IntakeError> {
        match tag {
            Tag::VideoConfig(record) => self.video_config(VideoTrack::h264(record)?, out),
            Tag::HevcConfig(record) => self.video_config(VideoTrack::h265(&record)?, out),
            Tag::AudioConfig(config) => {
                let track = aac::track(config)?;
                if self.audio.as_ref() != Some(&track) {
                    self.audio = Some(track.clone());
                    if self.started {
                        out.push_back(IngestEvent::AudioConfig(track));
                    } else {
                        self.held.retain(|unit| unit.track == TrackKind::Video);
                    }
                }
            }
            // Media before its configuration can be decoded by nobody.
            Tag::Video { composition_ms, data } if self.video.is_some() => {
                if nals(&data).any(|nal| nal.is_err()) {
                    return Err(IntakeError::Picture);
                }
                let time = self.clock.ticks(timestamp);
                let dts = rising(&mut self.last_video, time);
                let pts = (time + i64::from(composition_ms) * 90).max(dts);
                let key = self.starts(&data, dts)?;
                self.unit(AccessUnit { track: TrackKind::Video, dts, pts, key, data }, out);
            }
            Tag::Audio(data) if self.audio.is_some() => {
                let time = self.clock.ticks(timestamp);
                let dts = rising(&mut self.last_audio, time);
                self.unit(AccessUnit { track: TrackKind::Audio, dts, pts: dts, key: true, data }, out);
            }
            Tag::Video { .. } | Tag::Audio(_) | Tag::End | Tag::Skip => {}
        }
        if !self.started {
            self.try_start(name, out)?;
        }
        Ok(())
    }

    fn video_config(&mut self, track: VideoTrack, out: &mut VecDeque<IngestEvent>) {
        if self.video.as_ref() != Some(&track) {
            self.video = Some(track.clone());
            if self.started {
                out.push_back(IngestEvent::VideoConfig(track));
            } else {
                self.held.retain(|unit| unit.track == TrackKind::Audio);
            }
        }
    }

    /// Whether a segment may start with this picture. Fails once a stream has had nothing but open starts for too long.
    fn starts(&mut self, data: &[u8], dts: i64) -> Result<bool, IntakeError> {
        let Some(track) = &self.video else { return Ok(false) };
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

    fn unit(&mut self, unit: AccessUnit, out: &mut VecDeque<IngestEvent>) {
        if self.started {
            out.push_back(IngestEvent::Unit(unit));
        } else {
            self.held_bytes += unit.data.len();
            self.held.push_back(unit);
        }
    }

    fn try_start(&mut self, name: &str, out: &mut VecDeque<IngestEvent>) -> Result<(), IntakeError> {
        let span = match (self.held.front(), self.held.back()) {
            (Some(first), Some(last)) => (last.dts - first.dts).abs(),
            _ => 0,
        };
        let waited = span >= START_WAIT || self.held_bytes >= START_BYTES;
        let ready = match (&self.video, &self.audio) {
            (Some(_), Some(_)) => true,
            (Some(_), None) => waited || (self.video_only && !self.held.is_empty()),
            (None, Some(_)) if waited => return Err(IntakeError::NoVideo),
            (None, _) => false,
        };
        if ready {
            self.started = true;
            out.push_back(IngestEvent::Started {
                key_name: name.to_owned(),
                video: self.video.clone(),
                audio: self.audio.clone(),
            });
            out.extend(self.held.drain(..).map(IngestEvent::Unit));
            self.held_bytes = 0;
        }
        Ok(())
    }
}

/// Milliseconds modulo 2^32 of both tracks, made into ticks on one line.
#[derive(Default)]
struct Clock {
    last: Option<i64>,
}

impl Clock {
    fn ticks(&mut self, timestamp: u32) -> i64 {
        let ms = match self.last {
            None => i64::from(timestamp),
            // The nearest of all times that read the same modulo 2^32.
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32) as i32),
        };
        self.last = Some(ms);
        ms * 90
    }
}

fn rising(last: &mut Option<i64>, time: i64) -> i64 {
    let placed = match *last {
        Some(before) if time <= before && before - time <= TIMELINE_JUMP => before + LEAST_STEP,
        _ => time,
    };
    *last = Some(placed);
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use millrace_media::h265::HevcConfig;

    const LC: &[u8] = &[0x12, 0x10];

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
        let mut out = VecDeque::new();
        for (timestamp, tag) in tags {
            intake.tag("demo", *timestamp, tag.clone(), &mut out)?;
        }
        Ok(out.into())
    }

    fn times(events: &[IngestEvent]) -> Vec<i64> {
        events
            .iter()
            .filter_map(|event| if let IngestEvent::Unit(unit) = event { Some(unit.dts) } else { None })
            .collect()
    }

    #[test]
    fn both_tracks_are_waited_for_and_nothing_is_lost() {
        let audio = Tag::Audio(Bytes::from_static(b"raw"));
        let tags =
            [(0, Tag::VideoConfig(avcc())), (0, idr()), (40, idr()), (0, Tag::AudioConfig(LC.into())), (5, audio)];
        let events = run(&mut Intake::default(), &tags).unwrap();
        assert!(matches!(&events[0], IngestEvent::Started { video: Some(_), audio: Some(_), .. }));
        assert_eq!(times(&events), [0, 3600, 450]);
    }

    #[test]
    fn a_video_only_stream_starts_after_a_second_or_at_once_when_metadata_says_so() {
        let tags: Vec<_> =
            std::iter::once((0, Tag::VideoConfig(avcc()))).chain((0..30).map(|n| (n * 40, idr()))).collect();
        let events = run(&mut Intake::default(), &tags).unwrap();
        assert!(matches!(&events[0], IngestEvent::Started { audio: None, .. }));
        assert_eq!(times(&events).len(), 30);

        let mut hinted = Intake::default();
        hinted.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(7.0))]));
        assert_eq!(times(&run(&mut hinted, &tags[..2]).unwrap()), [0]);
    }

    #[test]
    fn an_audio_only_stream_is_refused_with_a_reason() {
        let audio = |n: u32| (n * 23, Tag::Audio(Bytes::from_static(b"raw")));
        let tags: Vec<_> = std::iter::once((0, Tag::AudioConfig(LC.into()))).chain((0..60).map(audio)).collect();
        assert!(matches!(run(&mut Intake::default(), &tags), Err(IntakeError::NoVideo)));
    }

    #[test]
    fn the_wrap_at_32_bits_does_not_show_and_standing_times_are_moved_by_the_least() {
        let mut intake = Intake::default();
        intake.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(7.0))]));
        let mut tags = vec![(0, Tag::VideoConfig(avcc()))];
        for timestamp in [u32::MAX - 19, 20, 20, 19, 60] {
            tags.push((timestamp, idr()));
        }
        let times = times(&run(&mut intake, &tags).unwrap());
        let from_first: Vec<i64> = times.iter().map(|time| time - times[0]).collect();
        assert_eq!(from_first, [0, 40 * 90, 41 * 90, 42 * 90, 80 * 90]);
    }

    #[test]
    fn a_large_step_back_is_passed_on() {
        let mut intake = Intake::default();
        intake.metadata(&Value::Object(vec![("videocodecid".into(), Value::Number(7.0))]));
        let tags = [(0, Tag::VideoConfig(avcc())), (60_000, idr()), (0, idr())];
        assert_eq!(times(&run(&mut intake, &tags).unwrap()), [60_000 * 90, 0]);
    }

    #[test]
    fn a_changed_configuration_is_an_event_and_a_repeated_one_is_not() {
        let mut intake = Intake::default();
        let lc = || Tag::AudioConfig(LC.into());
        let start = [(0, Tag::VideoConfig(avcc())), (0, lc()), (0, Tag::VideoConfig(avcc())), (0, lc())];
        assert_eq!(run(&mut intake, &start).unwrap().len(), 1);
        let events = run(&mut intake, &[(0, Tag::AudioConfig(Bytes::from_static(&[0x11, 0x90])))]).unwrap();
        assert!(matches!(&events[0], IngestEvent::AudioConfig(track) if track.sample_rate == 48_000));
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
        let mut intake = Intake::default();
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
    fn broken_nal_lengths_are_refused() {
        let broken = Tag::Video { composition_ms: 0, data: Bytes::from_static(&[0, 0, 0, 99, 0x65]) };
        let tags = [(0, Tag::VideoConfig(avcc())), (0, broken)];
        assert!(matches!(run(&mut Intake::default(), &tags), Err(IntakeError::Picture)));
    }
}
