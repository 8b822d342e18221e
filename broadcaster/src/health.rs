//! How well a publisher's stream comes in, measured from its access units as they arrive, with a warning in words for each
//! thing that its encoder or its network could do better. Sans-IO: the clock is given.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::events::{AccessUnit, TICKS_PER_SECOND, TIMELINE_JUMP, TrackKind};
use crate::segmenter::{MAX_GOP_SECONDS, SEGMENT_TARGET};

/// What rates are measured over.
const WINDOW: Duration = Duration::from_secs(5);
/// Units kept for it at most: 240 pictures and 100 frames of sound a second.
const MAX_UNITS: usize = 1_700;
/// Keyframe intervals that are looked back on.
const GOPS: usize = 8;
/// How often lateness and drift are noted, and for how long: two minutes.
const NOTE_EVERY: Duration = Duration::from_secs(1);
const NOTES: usize = 120;
/// Lateness that viewers' players notice: half of what they keep in hand.
const LATE: i64 = 3 * TICKS_PER_SECOND;
/// Sound this far from where it was beside the picture is seen on lips (ITU-R BT.1359: 45 to 125 ms).
const DRIFT: i64 = TICKS_PER_SECOND / 8;
/// Pictures a second below which motion is not smooth.
const LOW_FPS: f64 = 10.0;

/// State of one publication.
#[derive(Debug, Default)]
pub(crate) struct Health {
    units: VecDeque<Unit>,
    last: [Option<i64>; 2],
    last_key: Option<i64>,
    gops: VecDeque<i64>,
    /// Once a second: arrival less decoding time of video, and audio's decoding time less video's, both in ticks.
    notes: VecDeque<Note>,
    /// The first unit.
    began: Option<Instant>,
    jumps: u64,
    lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    at: Instant,
    kind: TrackKind,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Note {
    at: Instant,
    delay: i64,
    skew: Option<i64>,
}

/// How an ingest is, as the API gives it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct HealthView {
    /// Bit/s of video and audio over the last five seconds.
    video_bitrate: u64,
    audio_bitrate: u64,
    /// Pictures a second over the same.
    fps: f64,
    /// Longest of the last eight distances between keyframes, or the one that goes on if it is longer; milliseconds.
    keyframe_interval_ms: Option<u64>,
    /// How much later than at its best in the last two minutes the stream arrives, milliseconds.
    late_ms: u64,
    /// How far sound has moved against the picture in the last two minutes, milliseconds; positive when it runs ahead.
    drift_ms: i64,
    /// Times that the publisher's clock has jumped.
    jumps: u64,
    /// Pictures that did not arrive whole and were left out.
    lost: u64,
    /// What to do better, in words.
    warnings: Vec<String>,
}

impl Health {
    /// Takes one unit that arrived at `now`.
    pub(crate) fn unit(&mut self, unit: &AccessUnit, now: Instant) {
        let began = *self.began.get_or_insert(now);
        while self.units.len() == MAX_UNITS || self.units.front().is_some_and(|first| first.at + WINDOW < now) {
            self.units.pop_front();
        }
        self.units.push_back(Unit { at: now, kind: unit.track, bytes: unit.data.len() });
        let last = &mut self.last[usize::from(unit.track == TrackKind::Audio)];
        if last.replace(unit.dts).is_some_and(|last| (unit.dts - last).abs() > TIMELINE_JUMP)
            && unit.track == TrackKind::Video
        {
            // Another timeline: nothing before can be compared with it.
            self.jumps += 1;
            self.notes.clear();
            self.last_key = None;
        }
        if unit.track == TrackKind::Video {
            if unit.key
                && let Some(before) = self.last_key.replace(unit.dts)
            {
                if self.gops.len() == GOPS {
                    self.gops.pop_front();
                }
                self.gops.push_back(unit.dts - before);
            } else if unit.key {
                self.last_key = Some(unit.dts);
            }
            if self.notes.back().is_none_or(|note| note.at + NOTE_EVERY <= now) {
                self.note(unit.dts, now - began, now);
            }
        }
    }

    /// Notes pictures that did not arrive whole.
    pub(crate) fn lost(&mut self, pictures: u32) {
        self.lost += u64::from(pictures);
    }

    fn note(&mut self, dts: i64, since: Duration, now: Instant) {
        if self.notes.len() == NOTES {
            self.notes.pop_front();
        }
        let arrived = (since.as_millis() as i64) * TICKS_PER_SECOND / 1000;
        let heard = self.units.iter().rev().find(|unit| unit.kind == TrackKind::Audio);
        let sounds = heard.is_some_and(|unit| unit.at + NOTE_EVERY >= now);
        let skew = self.last[1].map(|audio| audio - dts).filter(|skew| sounds && skew.abs() <= TIMELINE_JUMP);
        self.notes.push_back(Note { at: now, delay: arrived - dts, skew });
    }

    /// How the ingest is at `now`.
    pub(crate) fn view(&self, now: Instant) -> HealthView {
        let fresh = || self.units.iter().filter(|unit| unit.at + WINDOW >= now);
        let span = fresh().next().map_or(WINDOW, |first| now - first.at).clamp(Duration::from_secs(1), WINDOW);
        let rate = |kind: TrackKind| {
            let (count, bytes) = fresh().filter(|u| u.kind == kind).fold((0, 0), |(n, b), u| (n + 1, b + u.bytes));
            (f64::from(count) / span.as_secs_f64(), (bytes as f64 * 8.0 / span.as_secs_f64()) as u64)
        };
        let ((fps, video_bitrate), (_, audio_bitrate)) = (rate(TrackKind::Video), rate(TrackKind::Audio));
        let going_on = self.last[0].zip(self.last_key).map(|(last, key)| last - key);
        let gop = self.gops.iter().copied().max().max(going_on.filter(|gop| *gop > SEGMENT_TARGET));
        let best = self.notes.iter().map(|note| note.delay).min();
        let late = best.zip(self.notes.back()).map_or(0, |(best, last)| last.delay - best);
        let drift = self.drift();
        let mut view = HealthView {
            video_bitrate,
            audio_bitrate,
            fps: (fps * 10.0).round() / 10.0,
            keyframe_interval_ms: gop.map(ms),
            late_ms: ms(late),
            drift_ms: drift / (TICKS_PER_SECOND / 1000),
            jumps: self.jumps,
            lost: self.lost,
            warnings: Vec::new(),
        };
        view.warnings = self.warnings(&view, now);
        view
    }

    /// The mean skew of the last quarter of the notes less that of the first.
    fn drift(&self) -> i64 {
        let skews: Vec<i64> = self.notes.iter().filter_map(|note| note.skew).collect();
        let quarter = skews.len() / 4;
        if quarter < 2 {
            return 0;
        }
        let mean = |of: &[i64]| of.iter().sum::<i64>() / of.len() as i64;
        mean(&skews[skews.len() - quarter..]) - mean(&skews[..quarter])
    }

    fn warnings(&self, view: &HealthView, now: Instant) -> Vec<String> {
        let mut said = Vec::new();
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let target = SEGMENT_TARGET / TICKS_PER_SECOND;
        match view.keyframe_interval_ms {
            Some(interval) if interval > ms(SEGMENT_TARGET) + 500 => said.push(format!(
                "a keyframe comes every {:.1} s: set the encoder's keyframe interval to {target} s. Viewers are further behind live \
                 until then, renditions may have gaps, and after {MAX_GOP_SECONDS} s without one the stream ends",
                seconds(interval)
            )),
            _ => {}
        }
        if view.late_ms > ms(LATE) {
            said.push(format!(
                "the stream arrives {:.1} s later than it did: the network from the encoder is too slow for {} kb/s, lower the bit rate",
                seconds(view.late_ms),
                (view.video_bitrate + view.audio_bitrate) / 1000
            ));
        }
        if view.drift_ms.unsigned_abs() > ms(DRIFT) {
            let way = if view.drift_ms > 0 { "ahead of" } else { "behind" };
            said.push(format!(
                "sound has moved {} ms {way} the picture: the encoder's audio clock is off, restart its capture",
                view.drift_ms.unsigned_abs()
            ));
        }
        let settled = self.began.is_some_and(|began| began + WINDOW <= now);
        if settled && self.last[0].is_some() && view.fps == 0.0 && view.audio_bitrate > 0 {
            said.push("no picture arrives any more: viewers see the last keyframe, with the sound".to_owned());
        } else if settled && self.last[0].is_some() && view.fps < LOW_FPS {
            said.push(format!("{:.1} pictures a second arrive: motion will not be smooth", view.fps));
        }
        if settled && self.last[1].is_some() && view.audio_bitrate == 0 {
            said.push(
                "no sound arrives any more, though the stream has a track for it: viewers hear silence".to_owned(),
            );
        }
        if self.jumps > 0 {
            said.push(format!(
                "the encoder's clock has jumped {} times: each is a break that viewers may notice",
                self.jumps
            ));
        }
        if self.lost > 0 {
            said.push(format!(
                "{} pictures were lost on the way from the encoder: use a wired network, or a lower bit rate",
                self.lost
            ));
        }
        said
    }
}

fn ms(ticks: i64) -> u64 {
    (ticks.max(0) / (TICKS_PER_SECOND / 1000)).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A stream of 25 pictures and 50 frames of sound a second, on a clock that the test owns.
    struct Encoder {
        health: Health,
        start: Instant,
        now: Instant,
        n: i64,
        gop: i64,
    }

    impl Encoder {
        fn new(gop: i64) -> Self {
            let now = Instant::now();
            Self { health: Health::default(), start: now, now, n: 0, gop }
        }

        /// `arrive` and `skew` are in milliseconds: how late a picture arrives and how far sound is ahead, by media time.
        fn run(&mut self, seconds: i64, arrive: impl Fn(i64) -> i64, skew: impl Fn(i64) -> i64) {
            for _ in 0..seconds * 25 {
                let ms = self.n * 40;
                self.now = self.start + Duration::from_millis((ms + arrive(ms)) as u64);
                for half in [0, 20] {
                    let dts = (ms + half + skew(ms)) * 90;
                    self.send(TrackKind::Audio, dts, true, 100);
                }
                self.send(TrackKind::Video, ms * 90, self.n % self.gop == 0, 10_000);
                self.n += 1;
            }
        }

        fn send(&mut self, track: TrackKind, dts: i64, key: bool, bytes: usize) {
            let unit = AccessUnit { track, dts, pts: dts, key, data: Bytes::from(vec![0; bytes]) };
            self.health.unit(&unit, self.now);
        }

        fn view(&self) -> HealthView {
            self.health.view(self.now)
        }
    }

    #[test]
    fn a_good_stream_is_measured_and_nothing_is_said() {
        let mut encoder = Encoder::new(50);
        encoder.run(300, |ms| ms % 120, |_| 35);
        let view = encoder.view();
        assert!((24.0..26.0).contains(&view.fps), "{view:?}");
        assert!((1_950_000..2_050_000).contains(&view.video_bitrate), "{view:?}");
        assert!((39_000..41_000).contains(&view.audio_bitrate), "{view:?}");
        assert_eq!((view.keyframe_interval_ms, view.drift_ms), (Some(2000), 0));
        assert!(view.late_ms <= 120 && view.warnings.is_empty(), "{view:?}");
        assert!(encoder.health.units.len() <= MAX_UNITS && encoder.health.notes.len() <= NOTES);
    }

    #[test]
    fn each_fault_is_said_in_words_and_nothing_else() {
        let said = |encoder: &Encoder| {
            let warnings = encoder.view().warnings;
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            warnings[0].clone()
        };
        let mut gop = Encoder::new(250);
        gop.run(30, |_| 0, |_| 0);
        assert!(said(&gop).starts_with("a keyframe comes every 10.0 s: set"));
        let mut first = Encoder::new(1_000_000);
        first.run(7, |_| 0, |_| 0);
        assert!(said(&first).starts_with("a keyframe comes every 7.0 s"), "before the second keyframe too");

        let mut slow = Encoder::new(50);
        slow.run(60, |ms| ms / 15, |_| 0);
        assert!(said(&slow).contains("s later than it did"));

        let mut drift = Encoder::new(50);
        drift.run(120, |_| 0, |ms| -ms / 400);
        assert!(said(&drift).contains("behind the picture"));

        let mut mute = Encoder::new(50);
        mute.run(10, |_| 0, |_| 0);
        for n in 250..500 {
            mute.now += Duration::from_millis(40);
            mute.send(TrackKind::Video, n * 3600, n % 50 == 0, 10_000);
        }
        assert!(said(&mute).starts_with("no sound"));

        let mut blind = Encoder::new(50);
        blind.run(10, |_| 0, |_| 0);
        for n in 250..500 {
            blind.now += Duration::from_millis(40);
            blind.send(TrackKind::Audio, n * 3600, true, 100);
        }
        assert!(said(&blind).starts_with("no picture"));

        let mut jump = Encoder::new(50);
        jump.run(10, |_| 0, |_| 0);
        jump.n += 25_000;
        jump.start -= Duration::from_secs(1000);
        jump.run(10, |_| 0, |_| 0);
        assert!(said(&jump).contains("jumped 1 times"));

        let mut lossy = Encoder::new(50);
        lossy.run(10, |_| 0, |_| 0);
        lossy.health.lost(3);
        assert!(said(&lossy).starts_with("3 pictures were lost"));

        let mut stopped = Encoder::new(50);
        stopped.run(10, |_| 0, |_| 0);
        stopped.now += Duration::from_secs(20);
        let view = stopped.view();
        assert_eq!((view.fps, view.video_bitrate), (0.0, 0));
    }
}
