//! The times of both tracks on one line, which is the video's own clock. Sans-IO.
//!
//! Each track counts its own time from a random start. Sender reports tie both to the publisher's wall clock; until both have
//! come, and where they make no sense, the arrival of the fastest packet of each does.

use std::time::Instant;

/// Microseconds in a second, for all that is not in a track's own units.
const MICROS: i64 = 1_000_000;
/// Reports and arrivals that differ by more than this are not of one clock: then arrivals count.
const BELIEVABLE: i64 = MICROS;
/// A new estimate that is nearer than this to the last is no news: the clocks of reports are read with some jitter.
const NEWS: i64 = 5_000;

/// The time of one track.
struct Track {
    rate: i64,
    /// The last timestamp, in 32 bits and counted from the first.
    last: Option<(u32, i64)>,
    /// Arrival less media time of the packet that was fastest, µs since the line began.
    fastest: Option<i64>,
    /// Wall clock less media time by the last report, µs.
    report: Option<i64>,
}

impl Track {
    fn new(rate: i64) -> Self {
        Self { rate, last: None, fastest: None, report: None }
    }

    /// Counts a timestamp past 32 bits, from the first as 0.
    fn count(&mut self, timestamp: u32) -> i64 {
        let (last, count) = *self.last.get_or_insert((timestamp, 0));
        let count = count + i64::from(timestamp.wrapping_sub(last) as i32);
        self.last = Some((timestamp, count));
        count
    }

    fn micros(&self, count: i64) -> i64 {
        count * MICROS / self.rate
    }

    fn arrived(&mut self, micros: i64, timestamp: u32) -> i64 {
        let count = self.count(timestamp);
        let late = micros - self.micros(count);
        self.fastest = Some(self.fastest.map_or(late, |fastest| fastest.min(late)));
        count
    }
}

/// Both tracks.
pub(super) struct Clock {
    began: Instant,
    video: Track,
    audio: Track,
    /// Where audio begins on the line, µs; what was told last.
    offset: Option<i64>,
}

/// Samples per second of Opus, and of its RTP clock.
pub(super) const AUDIO_RATE: i64 = 48_000;

impl Clock {
    /// A line that begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            video: Track::new(crate::events::TICKS_PER_SECOND),
            audio: Track::new(AUDIO_RATE),
            offset: None,
        }
    }

    /// Notes the arrival of a packet.
    pub(super) fn video_arrived(&mut self, timestamp: u32, now: Instant) {
        let micros = self.micros(now);
        self.video.arrived(micros, timestamp);
    }

    /// Notes the arrival of a packet.
    pub(super) fn audio_arrived(&mut self, timestamp: u32, now: Instant) {
        let micros = self.micros(now);
        self.audio.arrived(micros, timestamp);
    }

    /// Takes a sender report: `ntp` is the wall clock in 32.32 seconds, and `timestamp` the track's at the same moment.
    pub(super) fn video_report(&mut self, ntp: u64, timestamp: u32) {
        report(&mut self.video, ntp, timestamp);
    }

    /// The same for audio.
    pub(super) fn audio_report(&mut self, ntp: u64, timestamp: u32) {
        report(&mut self.audio, ntp, timestamp);
    }

    /// A picture's place on the line, ticks of 90 kHz.
    pub(super) fn video(&mut self, timestamp: u32) -> i64 {
        near(&self.video, timestamp)
    }

    /// A sound's place on the line in samples, or `None` while there is no video to place it by.
    pub(super) fn audio(&mut self, timestamp: u32) -> Option<i64> {
        let by_arrival = self.audio.fastest? - self.video.fastest?;
        let by_report = self.audio.report.zip(self.video.report).map(|(audio, video)| audio.wrapping_sub(video));
        let estimate = by_report.filter(|offset| offset.abs_diff(by_arrival) < BELIEVABLE as u64).unwrap_or(by_arrival);
        let offset = self.offset.filter(|offset| (offset - estimate).abs() < NEWS).unwrap_or(estimate);
        self.offset = Some(offset);
        Some(near(&self.audio, timestamp) + offset * AUDIO_RATE / MICROS)
    }

    fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.began).as_micros() as i64
    }
}

/// A timestamp that has arrived already, counted without moving the count: packets leave in another order than they came.
fn near(track: &Track, timestamp: u32) -> i64 {
    track.last.map_or(0, |(last, count)| count + i64::from(timestamp.wrapping_sub(last) as i32))
}

fn report(track: &mut Track, ntp: u64, timestamp: u32) {
    if ntp != 0 && track.last.is_some() {
        let wall = ((u128::from(ntp) * MICROS as u128) >> 32) as i64;
        track.report = Some(wall - track.micros(near(track, timestamp)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn ntp(seconds: f64) -> u64 {
        ((3_900_000_000.0 + seconds) * 4_294_967_296.0) as u64
    }

    /// Both tracks begin at once at the publisher, but pictures take 120 ms to be encoded.
    fn two_tracks() -> (Clock, Instant) {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        for n in 0..50u32 {
            clock.audio_arrived(u32::MAX.wrapping_add(n * 960), now + ms(30 + u64::from(n) * 20));
            if n % 2 == 0 {
                clock.video_arrived(7_000 + n * 1_800, now + ms(150 + u64::from(n) * 20));
            }
        }
        (clock, now)
    }

    #[test]
    fn arrivals_place_sound_until_both_reports_have_come() {
        let (mut clock, _) = two_tracks();
        assert_eq!(clock.video(7_000 + 3_600), 3_600);
        assert_eq!(clock.audio(u32::MAX), Some(-120 * 48), "as it arrived");
        clock.video_report(ntp(100.0), 7_000 + 90_000);
        assert_eq!(clock.audio(u32::MAX), Some(-120 * 48));
        clock.audio_report(ntp(100.0), u32::MAX.wrapping_add(48_000));
        let placed = clock.audio(u32::MAX).unwrap();
        assert!(placed.abs() < 48, "{placed} samples: as it was recorded");
    }

    #[test]
    fn reports_that_make_no_sense_are_not_believed() {
        let (mut clock, _) = two_tracks();
        clock.video_report(ntp(100.0), 7_000);
        clock.audio_report(ntp(5_000.0), u32::MAX);
        assert_eq!(clock.audio(u32::MAX), Some(-120 * 48));
        clock.video_report(u64::MAX, 0);
        clock.audio_report(1, u32::MAX / 2);
        assert_eq!(clock.audio(u32::MAX), Some(-120 * 48));
    }

    #[test]
    fn jitter_of_reports_moves_nothing_and_a_real_change_does() {
        let (mut clock, _) = two_tracks();
        clock.video_report(ntp(100.0), 7_000 + 90_000);
        clock.audio_report(ntp(100.0), u32::MAX.wrapping_add(48_000));
        let first = clock.audio(u32::MAX).unwrap();
        clock.audio_report(ntp(101.003), u32::MAX.wrapping_add(96_000));
        assert_eq!(clock.audio(u32::MAX).unwrap(), first);
        clock.audio_report(ntp(101.008), u32::MAX.wrapping_add(96_000));
        let moved = clock.audio(u32::MAX).unwrap() - first;
        assert!((moved - 8 * 48).abs() < 4, "{moved} samples");
    }

    #[test]
    fn sound_without_video_has_no_place() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        clock.audio_arrived(1, now);
        assert_eq!(clock.audio(1), None);
    }

    #[test]
    fn times_go_on_past_the_wrap() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        clock.video_arrived(u32::MAX - 899, now);
        clock.video_arrived(900, now + ms(20));
        assert_eq!((clock.video(u32::MAX - 899), clock.video(900)), (0, 1_800));
    }
}
