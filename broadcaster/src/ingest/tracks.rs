//! From the tracks of any protocol to ingest events: which tracks there are, and one clean timeline for them. Sans-IO.
//!
//! A protocol says what its tracks are and hands over their units with the times that it has. Here it is decided when the stream
//! starts (both tracks are waited for a moment), what a missing time is, and that decoding times rise: those that stand still or
//! step back a little are moved by the least that makes them rise. Larger steps pass through, for the segmenter to break the stream
//! there. A clock that wraps is made into one that does not by [`Unwrap`].

use crate::events::{AccessUnit, IngestEvent, TICKS_PER_SECOND, TIMELINE_JUMP, TrackKind};
use bytes::Bytes;
use millrace_media::cmaf::{AudioTrack, VideoTrack};
use std::collections::VecDeque;

/// How much of one track is held back for the configuration of the other, ticks. Encoders send both within a few frames.
const START_WAIT: i64 = TICKS_PER_SECOND;
/// And how many bytes: two seconds at 16 Mb/s.
const START_BYTES: usize = 4 << 20;
/// Sound that is kept while a picture must come first, in units: a second.
const START_SOUND: usize = 50;
/// The least step between two decoding times, ticks: RTMP's resolution, one millisecond.
const LEAST_STEP: i64 = 90;

/// Why a publication cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TracksError {
    /// Audio without video.
    #[error("audio-only streams are not served yet: add a video track")]
    NoVideo,
}

/// Whether a track is waited for before the stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// For a second.
    #[default]
    May,
    /// For as long as it takes: the protocol has promised it.
    Must,
    /// No: it is not coming, though it may still join.
    Not,
}

/// The times of a unit as far as its protocol gives them: 90 kHz ticks, without wraps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stamp {
    /// Decoding time.
    pub dts: Option<i64>,
    /// Presentation time.
    pub pts: Option<i64>,
}

/// State of one publication.
pub struct Tracks {
    name: String,
    video: Line<VideoTrack>,
    audio: Line<AudioTrack>,
    started: bool,
    held: VecDeque<AccessUnit>,
    held_bytes: usize,
    out: VecDeque<IngestEvent>,
}

/// One track.
struct Line<T> {
    track: Option<T>,
    expect: Expect,
    last: Option<i64>,
    /// From one unit to the next, for units without times.
    step: i64,
}

impl<T> Line<T> {
    fn new(step: i64) -> Self {
        Self { track: None, expect: Expect::May, last: None, step }
    }

    fn place(&mut self, stamp: Stamp) -> (i64, i64) {
        let guess = || self.last.map_or(0, |last| last + self.step);
        let time = stamp.dts.or(stamp.pts).unwrap_or_else(guess);
        let dts = match self.last {
            Some(last) if time <= last && last - time <= TIMELINE_JUMP => last + LEAST_STEP,
            _ => time,
        };
        if let Some(step) =
            self.last.map(|last| dts - last).filter(|step| (LEAST_STEP..TICKS_PER_SECOND).contains(step))
        {
            self.step = step;
        }
        self.last = Some(dts);
        (dts, stamp.pts.unwrap_or(dts).max(dts))
    }
}

impl Tracks {
    /// For the stream with this public name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            video: Line::new(TICKS_PER_SECOND / 30),
            audio: Line::new(1024 * TICKS_PER_SECOND / 48_000),
            started: false,
            held: VecDeque::new(),
            held_bytes: 0,
            out: VecDeque::new(),
        }
    }

    /// True once the tracks were announced.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Says whether to wait for a track.
    pub fn expect(&mut self, kind: TrackKind, expect: Expect) {
        match kind {
            TrackKind::Video => self.video.expect = expect,
            TrackKind::Audio => self.audio.expect = expect,
        }
    }

    /// The video track, once it is known.
    pub fn video(&self) -> Option<&VideoTrack> {
        self.video.track.as_ref()
    }

    /// The audio track, once it is known.
    pub fn audio(&self) -> Option<&AudioTrack> {
        self.audio.track.as_ref()
    }

    /// The configuration of the video that follows. The same again changes nothing.
    pub fn video_config(&mut self, track: VideoTrack) -> Result<(), TracksError> {
        if self.video.track.as_ref() != Some(&track) {
            self.video.track = Some(track.clone());
            self.reconfigured(TrackKind::Video, IngestEvent::VideoConfig(track));
        }
        self.try_start()
    }

    /// The configuration of the audio that follows. The same again changes nothing.
    pub fn audio_config(&mut self, track: AudioTrack) -> Result<(), TracksError> {
        if self.audio.track.as_ref() != Some(&track) {
            self.audio.track = Some(track.clone());
            self.reconfigured(TrackKind::Audio, IngestEvent::AudioConfig(track));
        }
        self.try_start()
    }

    /// Takes one unit; `key` says whether decoding can start there. Media before its configuration is left out: nobody could decode it.
    pub fn unit(&mut self, kind: TrackKind, stamp: Stamp, key: bool, data: Bytes) -> Result<(), TracksError> {
        let (dts, pts) = match kind {
            TrackKind::Video if self.video.track.is_some() => self.video.place(stamp),
            TrackKind::Audio if self.audio.track.is_some() => self.audio.place(stamp),
            _ => return Ok(()),
        };
        let unit = AccessUnit { track: kind, dts, pts, key, data };
        if self.started {
            self.out.push_back(IngestEvent::Unit(unit));
            return Ok(());
        }
        self.held_bytes += unit.data.len();
        self.held.push_back(unit);
        self.try_start()
    }

    /// Notes a picture that did not arrive whole, or builds on one.
    pub fn lost(&mut self) {
        if self.started {
            self.out.push_back(IngestEvent::Lost(1));
        }
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<IngestEvent> {
        self.out.pop_front()
    }

    fn reconfigured(&mut self, kind: TrackKind, event: IngestEvent) {
        if self.started {
            self.out.push_back(event);
        } else {
            self.held.retain(|unit| unit.track != kind);
            self.held_bytes = self.held.iter().map(|unit| unit.data.len()).sum();
        }
    }

    fn try_start(&mut self) -> Result<(), TracksError> {
        if self.started {
            return Ok(());
        }
        let span = match (self.held.front(), self.held.back()) {
            (Some(first), Some(last)) => (last.dts - first.dts).abs(),
            _ => 0,
        };
        let waited = span >= START_WAIT || self.held_bytes >= START_BYTES;
        let given_up = |expect: Expect| match expect {
            Expect::May => waited,
            Expect::Must => false,
            Expect::Not => !self.held.is_empty(),
        };
        let ready = match (&self.video.track, &self.audio.track) {
            (Some(_), Some(_)) => true,
            (Some(_), None) => given_up(self.audio.expect),
            (None, Some(_)) if given_up(self.video.expect) => return Err(TracksError::NoVideo),
            (None, _) => false,
        };
        if ready {
            self.started = true;
            let (video, audio) = (self.video.track.clone(), self.audio.track.clone());
            self.out.push_back(IngestEvent::Started { key_name: self.name.clone(), video, audio });
            self.out.extend(self.held.drain(..).map(IngestEvent::Unit));
            self.held_bytes = 0;
        } else if self.held.len() > START_SOUND && self.video.track.is_none() {
            // Sound before the first picture: only the newest is worth keeping.
            self.held_bytes -= self.held.pop_front().map_or(0, |unit| unit.data.len());
        }
        Ok(())
    }
}

/// A clock of `BITS` bits, made into one that does not wrap.
#[derive(Debug, Default)]
pub struct Unwrap<const BITS: u32> {
    last: Option<i64>,
}

impl<const BITS: u32> Unwrap<BITS> {
    /// The nearest to the time before of all times that read as `time` in `BITS` bits; the first as it reads.
    pub fn at(&mut self, time: u64) -> i64 {
        let unused = 64 - BITS;
        let now = match self.last {
            None => (time << unused >> unused) as i64,
            Some(last) => last + ((time.wrapping_sub(last as u64) << unused) as i64 >> unused),
        };
        self.last = Some(now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_media::cmaf::Codec;

    fn video() -> VideoTrack {
        VideoTrack { codec: Codec::H264, width: 64, height: 64, timescale: 90_000, config: Bytes::from_static(b"v") }
    }

    fn audio() -> AudioTrack {
        AudioTrack { sample_rate: 48_000, channels: 2, config: Bytes::from_static(&[0x11, 0x90]) }
    }

    fn stamp(dts: impl Into<Option<i64>>, pts: impl Into<Option<i64>>) -> Stamp {
        Stamp { dts: dts.into(), pts: pts.into() }
    }

    fn events(tracks: &mut Tracks) -> Vec<IngestEvent> {
        std::iter::from_fn(|| tracks.poll()).collect()
    }

    fn times(tracks: &mut Tracks) -> Vec<(i64, i64)> {
        let unit = |event| if let IngestEvent::Unit(unit) = event { Some((unit.dts, unit.pts)) } else { None };
        events(tracks).into_iter().filter_map(unit).collect()
    }

    #[test]
    fn both_tracks_are_waited_for_and_nothing_is_lost() {
        let mut tracks = Tracks::new("demo");
        tracks.unit(TrackKind::Audio, stamp(0, None), true, Bytes::new()).unwrap();
        tracks.video_config(video()).unwrap();
        tracks.unit(TrackKind::Video, stamp(0, None), true, Bytes::new()).unwrap();
        assert!(!tracks.started());
        tracks.audio_config(audio()).unwrap();
        tracks.unit(TrackKind::Audio, stamp(450, None), true, Bytes::new()).unwrap();
        let events = events(&mut tracks);
        assert!(
            matches!(&events[0], IngestEvent::Started { video: Some(_), audio: Some(_), key_name } if key_name == "demo")
        );
        assert_eq!(events.len(), 3, "audio before its configuration is left out");
    }

    #[test]
    fn a_track_that_does_not_come_is_waited_for_as_long_as_it_is_expected() {
        for (expect, units) in [(Expect::May, 31), (Expect::Not, 1)] {
            let mut tracks = Tracks::new("demo");
            tracks.expect(TrackKind::Audio, expect);
            tracks.video_config(video()).unwrap();
            let mut count = 0;
            while !tracks.started() {
                tracks.unit(TrackKind::Video, stamp(count * 3000, None), true, Bytes::new()).unwrap();
                count += 1;
            }
            assert_eq!(count, units);
            assert_eq!(events(&mut tracks).len() as i64, 1 + units);
        }
        let mut tracks = Tracks::new("demo");
        tracks.expect(TrackKind::Video, Expect::Must);
        tracks.audio_config(audio()).unwrap();
        for count in 0..1000 {
            tracks.unit(TrackKind::Audio, stamp(count * 1920, None), true, Bytes::from_static(b"raw")).unwrap();
        }
        tracks.video_config(video()).unwrap();
        let times = times(&mut tracks);
        assert_eq!(times.len(), START_SOUND);
        assert_eq!(times.last(), Some(&(999 * 1920, 999 * 1920)));
    }

    #[test]
    fn an_audio_only_stream_is_refused_with_a_reason() {
        let mut tracks = Tracks::new("demo");
        tracks.audio_config(audio()).unwrap();
        let told = (0..60).find_map(|n| tracks.unit(TrackKind::Audio, stamp(n * 1920, None), true, Bytes::new()).err());
        assert!(matches!(told, Some(TracksError::NoVideo)));
    }

    fn video_only() -> Tracks {
        let mut tracks = Tracks::new("demo");
        tracks.expect(TrackKind::Audio, Expect::Not);
        tracks.video_config(video()).unwrap();
        tracks
    }

    #[test]
    fn standing_times_are_moved_by_the_least_and_large_steps_passed_on() {
        let mut tracks = video_only();
        for time in [0, 3600, 3600, 3510, 7200, 900_000, 0] {
            tracks.unit(TrackKind::Video, stamp(time, time), true, Bytes::new()).unwrap();
        }
        let times: Vec<i64> = times(&mut tracks).into_iter().map(|(dts, _)| dts).collect();
        assert_eq!(times, [0, 3600, 3690, 3780, 7200, 900_000, 0]);
    }

    #[test]
    fn missing_times_are_what_the_neighbours_make_likely() {
        let mut tracks = video_only();
        for stamp in [stamp(0, 3600), stamp(None, 3600), stamp(7200, None), stamp(None, None), stamp(14_400, 0)] {
            tracks.unit(TrackKind::Video, stamp, true, Bytes::new()).unwrap();
        }
        assert_eq!(times(&mut tracks), [(0, 3600), (3600, 3600), (7200, 7200), (10_800, 10_800), (14_400, 14_400)]);
    }

    #[test]
    fn a_changed_configuration_is_an_event_and_a_repeated_one_is_not() {
        let mut tracks = video_only();
        tracks.unit(TrackKind::Video, stamp(0, 0), true, Bytes::new()).unwrap();
        tracks.video_config(video()).unwrap();
        assert_eq!(events(&mut tracks).len(), 2);
        tracks.video_config(VideoTrack { width: 32, ..video() }).unwrap();
        tracks.audio_config(audio()).unwrap();
        assert!(matches!(events(&mut tracks)[..], [IngestEvent::VideoConfig(_), IngestEvent::AudioConfig(_)]));
    }

    #[test]
    fn wraps_do_not_show() {
        let mut clock = Unwrap::<33>::default();
        let wrap = 1 << 33;
        assert_eq!(clock.at(wrap - 10), wrap as i64 - 10);
        assert_eq!(clock.at(5), wrap as i64 + 5);
        assert_eq!(clock.at(wrap - 3), wrap as i64 - 3, "back over the wrap");
        let mut clock = Unwrap::<32>::default();
        for turn in 0..5_u64 {
            for quarter in 0..4_u64 {
                assert_eq!(clock.at(quarter << 30), (turn << 32 | quarter << 30) as i64);
            }
        }
        assert_eq!(Unwrap::<32>::default().at(1 << 40 | 7), 7);
    }
}
