//! The rules of live playlists, on a clock that the test owns.

use super::playlist;
use super::rendition::{Description, Part};
use super::stream::{AUDIO, KEEP_ENDED, Keep, LINGER, SOURCE, Slot, Stream, WINDOW};
use bytes::Bytes;
use std::time::{Duration, Instant};

pub(super) const SECOND: i64 = 90_000;

/// A whole segment of two seconds as one part.
fn part(bytes: Bytes) -> Part {
    Part { bytes, duration: 2 * SECOND, independent: true, first_sample_end: 1 }
}

pub(super) struct Bench {
    pub(super) stream: Stream,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_linger(LINGER)
    }

    fn with_linger(linger: Duration) -> Self {
        Self::keeping(Keep { linger, ..Keep::default() })
    }

    fn keeping(keep: Keep) -> Self {
        let mut bench = Self { stream: Stream::new("t".into(), keep), now: Instant::now() };
        bench.publish();
        bench
    }

    pub(super) fn publish(&mut self) -> u64 {
        let (_, base) = self.stream.begin(self.now);
        let about = |codec: &str, channels| Description {
            codec: codec.into(),
            width: 1280,
            height: 720,
            channels,
            ..Description::default()
        };
        self.stream.add_source(base, about("avc1.64001f", 0), true);
        self.stream.add_rendition(AUDIO, base, about("mp4a.40.2", 2));
        let ladder = Description { bitrate: 1_000_000, ..about("avc1.4d401f", 0) };
        self.stream.set_ladder(vec![("360p".into(), ladder)], base);
        for name in [SOURCE, AUDIO, "360p"] {
            self.stream.set_init(name, Bytes::from(format!("init of {name} at {base}")), 90_000).unwrap();
        }
        base
    }

    /// One segment of source and audio; time passes as it does live.
    pub(super) fn source(&mut self, number: u64, seconds: f64) {
        let ticks = (seconds * SECOND as f64) as i64;
        self.now += Duration::from_secs_f64(seconds);
        for name in [SOURCE, AUDIO] {
            self.stream.add_part(name, number, 0, part(Bytes::from(vec![0; 1000]))).unwrap();
        }
        let slot = Slot::new(number, ticks, number as i64 * 2000, true);
        self.stream.finish_source(SOURCE, slot, 60, self.now).unwrap();
        self.stream.finish_segment(AUDIO, number, Some(ticks + 500)).unwrap();
    }

    pub(super) fn rendition(&mut self, number: u64) {
        self.stream.add_part("360p", number, 0, part(Bytes::from_static(b"part"))).unwrap();
        self.stream.finish_segment("360p", number, None).unwrap();
    }

    pub(super) fn playlist(&self, name: &str) -> String {
        playlist::media(&self.stream, name, self.now, false).map(|media| media.text).unwrap_or_default()
    }

    /// The segments of a playlist, gaps with a `-`.
    pub(super) fn listed(&self, name: &str) -> Vec<String> {
        let mut gap = false;
        let mut listed = Vec::new();
        for line in self.playlist(name).lines() {
            match line.split_once(".m4s").filter(|_| !line.starts_with('#')) {
                Some((number, _)) => {
                    listed.push(if gap { format!("-{number}") } else { number.to_owned() });
                    gap = false;
                }
                None => gap |= line == "#EXT-X-GAP",
            }
        }
        listed
    }

    pub(super) fn tag(&self, name: &str, tag: &str) -> u64 {
        let text = self.playlist(name);
        let value = text.lines().find_map(|line| line.strip_prefix(tag)).unwrap_or_else(|| panic!("{tag}: {text}"));
        value.parse().unwrap()
    }
}

#[test]
fn a_late_rendition_ends_earlier_and_is_never_reordered() {
    let mut bench = Bench::new();
    for number in 0..3 {
        bench.source(number, 2.0);
    }
    bench.rendition(0);
    bench.rendition(2);
    assert_eq!(bench.listed("360p"), ["0"]);
    bench.rendition(1);
    assert_eq!(bench.listed("360p"), ["0", "1", "2"]);
}

#[test]
fn a_declared_gap_is_listed_and_stays_one() {
    let mut bench = Bench::new();
    for number in 0..3 {
        bench.source(number, 2.0);
    }
    bench.rendition(0);
    bench.stream.add_part("360p", 1, 0, part(Bytes::from_static(b"half"))).unwrap();
    bench.stream.gap("360p", 1);
    bench.rendition(2);
    assert_eq!(bench.listed("360p"), ["0", "-1", "2"]);
    bench.rendition(1);
    bench.stream.gap("360p", 2);
    assert_eq!(bench.listed("360p"), ["0", "-1", "2"]);
    assert!(bench.stream.segment("360p", 1).is_none());
}

#[test]
fn a_rendition_that_is_never_made_has_a_playlist_of_gaps() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    assert_eq!(bench.playlist("360p"), "", "it may still come: players wait");
    bench.stream.gap("360p", 0);
    bench.source(1, 2.0);
    bench.stream.gap("360p", 1);
    assert_eq!(bench.listed("360p"), ["-0", "-1"]);
    assert!(!bench.playlist("360p").contains("#EXT-X-MAP"));
    bench.source(2, 2.0);
    bench.rendition(2);
    assert_eq!(bench.listed("360p"), ["-0", "-1", "2"]);
    assert!(bench.playlist("360p").contains("#EXT-X-MAP"));
    bench.stream.end(true, bench.now);
    assert!(bench.playlist("360p").contains("#EXT-X-ENDLIST"));
}

#[test]
fn no_playlist_runs_empty_however_late_its_rendition_is() {
    let mut bench = Bench::new();
    for number in 0..30 {
        bench.source(number, 2.0);
        if number == 20 {
            bench.rendition(14); // just in time; the one before was given up
            bench.rendition(13);
        }
        let expected = (number + 1).min(WINDOW as u64).saturating_sub(7);
        assert_eq!(bench.listed("360p").len() as u64, expected + u64::from(number == 20), "{number}");
    }
    assert_eq!(bench.listed("360p"), ["-20", "-21", "-22"]);
    assert!(bench.stream.segment("360p", 13).is_none() && bench.stream.segment("360p", 14).is_some());
}

#[test]
fn a_new_attempt_replaces_an_unfinished_segment_only() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.stream.add_part("360p", 0, 0, part(Bytes::from_static(b"lost"))).unwrap();
    bench.stream.reset_segment("360p", 0);
    bench.stream.set_init("360p", Bytes::from_static(b"another encoder"), 90_000).unwrap();
    bench.rendition(0);
    bench.stream.reset_segment("360p", 0);
    assert_eq!(bench.stream.segment("360p", 0).unwrap().parts, [part(Bytes::from_static(b"part"))]);
    assert!(bench.playlist("360p").contains("init-1.mp4"));
    assert!(bench.stream.add_part("360p", 1, 1, part(Bytes::new())).is_err(), "part 0 is missing");
    assert!(bench.stream.add_part("360p", 99, 0, part(Bytes::new())).is_err(), "far ahead of the source");
}

#[test]
fn variants_agree_on_sequence_numbers_discontinuities_and_target_duration() {
    let mut bench = Bench::new();
    for number in 0..25 {
        if number == 5 || number == 20 {
            bench.stream.break_at(number);
        }
        bench.source(number, 2.0);
        bench.rendition(number);
        for tag in ["#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-DISCONTINUITY-SEQUENCE:", "#EXT-X-TARGETDURATION:"] {
            let value = bench.tag(SOURCE, tag);
            assert_eq!([bench.tag(AUDIO, tag), bench.tag("360p", tag)], [value; 2]);
        }
    }
    assert_eq!(bench.tag(SOURCE, "#EXT-X-MEDIA-SEQUENCE:"), 15);
    assert_eq!(bench.tag(SOURCE, "#EXT-X-DISCONTINUITY-SEQUENCE:"), 1);
    assert_eq!(bench.playlist(SOURCE).matches("#EXT-X-DISCONTINUITY\n").count(), 1);
    assert_eq!(bench.listed(SOURCE).len(), WINDOW);
    assert!(bench.playlist(SOURCE).contains("#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:30.000Z"));
}

#[test]
fn a_removed_segment_stays_fetchable_for_its_duration_and_the_playlists() {
    let mut bench = Bench::new();
    let mut gone_at = None;
    for number in 0..40 {
        bench.source(number, 2.0);
        let listed = bench.listed(SOURCE).contains(&"0".to_owned());
        let fetchable = bench.stream.segment(SOURCE, 0).is_some();
        assert!(fetchable || !listed);
        if !fetchable && gone_at.is_none() {
            gone_at = Some(number);
        }
    }
    // Delisted with segment 10; then 2 s of its own and 22 s of the playlist that named it, at most, as 11 to 12 segments.
    assert!((21..=23).contains(&gone_at.unwrap()), "{gone_at:?}");
}

#[test]
fn a_window_is_as_long_as_the_operator_sets_it_and_no_larger_than_its_memory() {
    let hour = Keep { window: Duration::from_secs(60), ..Keep::default() };
    let mut bench = Bench::keeping(hour);
    for number in 0..100 {
        bench.source(number, 1.5);
        bench.rendition(number);
        assert_eq!(bench.listed(SOURCE).len() as u64, (number + 1).min(40), "{number}");
    }
    assert_eq!(bench.tag("360p", "#EXT-X-MEDIA-SEQUENCE:"), 60);
    // A segment of the bench has 2004 bytes in all.
    let mut bench = Bench::keeping(Keep { bytes: 20 * 2004, ..hour });
    for number in 0..100 {
        bench.source(number, 1.5);
        bench.rendition(number);
        assert!(bench.listed(SOURCE).len() <= 20);
    }
    assert_eq!(bench.listed(SOURCE).len(), 20);
}

#[test]
fn a_segment_beyond_the_target_duration_is_a_gap_in_every_variant() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.rendition(0);
    bench.source(1, 6.0);
    bench.rendition(1);
    bench.source(2, 2.4);
    for name in [SOURCE, AUDIO, "360p"] {
        assert_eq!(bench.listed(name)[..2], ["0", "-1"], "{name}");
        for line in bench.playlist(name).lines().filter_map(|line| line.strip_prefix("#EXTINF:")) {
            let seconds: f64 = line.trim_end_matches(',').parse().unwrap();
            assert!(seconds.round() <= 2.0);
        }
    }
    assert_eq!(bench.listed(SOURCE), ["0", "-1", "2"]);
}

#[test]
fn a_long_first_segment_sets_a_long_target_duration() {
    let mut bench = Bench::new();
    bench.source(0, 8.33);
    assert_eq!(bench.tag(SOURCE, "#EXT-X-TARGETDURATION:"), 9);
}

#[test]
fn a_clean_end_is_listed_at_once_and_an_unclean_one_after_the_linger() {
    for clean in [true, false] {
        let mut bench = Bench::new();
        bench.source(0, 2.0);
        bench.stream.end(clean, bench.now);
        assert_eq!(bench.playlist(SOURCE).contains("#EXT-X-ENDLIST"), clean);
        bench.now += LINGER;
        assert!(bench.playlist(SOURCE).contains("#EXT-X-ENDLIST"));
        assert!(!bench.stream.is_spent(bench.now));
        assert!(bench.stream.is_spent(bench.now + KEEP_ENDED));
    }
}

#[test]
fn how_long_a_publisher_is_waited_for_is_set_and_takes_no_last_segment_away() {
    let mut bench = Bench::with_linger(6 * LINGER);
    bench.source(0, 2.0);
    bench.stream.end(false, bench.now);
    bench.now += 5 * LINGER;
    assert!(!bench.playlist(SOURCE).contains("#EXT-X-ENDLIST"));
    bench.now += LINGER;
    assert!(bench.playlist(SOURCE).contains("#EXT-X-ENDLIST"));

    let mut bench = Bench::with_linger(Duration::ZERO);
    bench.source(0, 2.0);
    bench.stream.end(false, bench.now);
    assert!(bench.playlist(SOURCE).contains("#EXT-X-ENDLIST"));
    assert!(!bench.playlist("360p").contains("#EXT-X-ENDLIST"));
    bench.rendition(0);
    assert!(bench.playlist("360p").contains("#EXT-X-ENDLIST"));
}

#[test]
fn a_rendition_that_is_still_being_made_ends_when_it_is_complete() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.source(1, 2.0);
    bench.rendition(0);
    bench.stream.end(true, bench.now);
    assert!(!bench.playlist("360p").contains("#EXT-X-ENDLIST"));
    bench.rendition(1);
    assert!(bench.playlist("360p").contains("#EXT-X-ENDLIST"));
}

#[test]
fn a_publisher_that_comes_back_in_time_continues_the_playlist_with_a_discontinuity() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.source(1, 2.0);
    bench.rendition(0);
    bench.stream.end(false, bench.now);
    bench.now += LINGER / 2;
    assert_eq!(bench.publish(), 2);
    bench.source(2, 2.0);
    bench.rendition(2);
    assert_eq!(bench.listed(SOURCE), ["0", "1", "2"]);
    let text = bench.playlist(SOURCE);
    let after = text.split_once("#EXT-X-DISCONTINUITY\n").unwrap().1;
    assert!(after.starts_with("#EXT-X-MAP:URI=\"init-1.mp4"));
    assert!(!text.contains("ENDLIST"));
    // What the first publication's transcoder still owes may come, or be given up.
    assert_eq!(bench.listed("360p"), ["0"]);
    bench.rendition(1);
    assert_eq!(bench.listed("360p"), ["0", "1", "2"]);
}

#[test]
fn after_the_end_was_listed_a_new_publication_is_a_new_playlist_with_rising_numbers() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.stream.end(true, bench.now);
    assert_eq!(bench.publish(), 1);
    bench.source(1, 6.0);
    assert_eq!(bench.listed(SOURCE), ["1"]);
    assert_eq!(bench.tag(SOURCE, "#EXT-X-MEDIA-SEQUENCE:"), 1);
    assert_eq!(bench.tag(SOURCE, "#EXT-X-TARGETDURATION:"), 6);
}

#[test]
fn a_rendition_that_left_the_ladder_goes_on_as_gaps_and_can_return() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.rendition(0);
    bench.stream.end(false, bench.now);
    let (_, base) = bench.stream.begin(bench.now);
    bench.stream.add_source(base, Description::default(), true);
    bench.stream.add_rendition(AUDIO, base, Description::default());
    bench.source(1, 2.0);
    bench.source(2, 2.0);
    assert_eq!(bench.listed("360p"), ["0", "-1", "-2"]);
    bench.stream.set_ladder(vec![("360p".into(), Description::default())], 3);
    bench.source(3, 2.0);
    bench.rendition(3);
    assert_eq!(bench.listed("360p"), ["0", "-1", "-2", "3"]);
}

#[test]
fn a_rung_that_a_new_ladder_lacks_is_not_waited_for() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.rendition(0);
    bench.stream.set_ladder(Vec::new(), 1);
    bench.source(1, 2.0);
    assert_eq!(bench.listed("360p"), ["0", "../source/1"]);
    assert!(!playlist::master(&bench.stream).unwrap().contains("360p"));
}

#[test]
fn a_source_that_shrinks_and_grows_leaves_no_player_without_segments() {
    let rungs = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Description::default())).collect();
    let mut bench = Bench::new();
    let segment = |bench: &mut Bench, number: u64, made: &[&str]| {
        bench.source(number, 2.0);
        for name in made {
            bench.stream.set_init(name, Bytes::from(format!("{name} {}", made.len())), 90_000).unwrap();
            bench.stream.add_part(name, number, 0, part(Bytes::from_static(b"part"))).unwrap();
            bench.stream.finish_segment(name, number, None).unwrap();
        }
    };
    segment(&mut bench, 0, &["360p"]);
    bench.stream.set_ladder(rungs(&["720p", "480p", "360p"]), 1);
    bench.stream.break_at(1);
    segment(&mut bench, 1, &["720p", "480p", "360p"]);
    assert_eq!(bench.listed("720p"), ["../360p/0", "1"]);
    bench.stream.set_ladder(rungs(&["480p", "360p"]), 2);
    bench.stream.break_at(2);
    segment(&mut bench, 2, &["360p"]);
    assert_eq!(bench.listed("720p"), ["../360p/0", "1"], "it waits for the rung that stands in for it");
    segment(&mut bench, 3, &["360p"]);
    bench.stream.gap("480p", 2);
    bench.stream.add_part("480p", 3, 0, part(Bytes::from_static(b"part"))).unwrap();
    bench.stream.finish_segment("480p", 3, None).unwrap();
    bench.stream.set_ladder(rungs(&["720p", "480p", "360p"]), 4);
    bench.stream.break_at(4);
    segment(&mut bench, 4, &["720p", "480p", "360p"]);
    assert_eq!(bench.listed("720p"), ["../360p/0", "1", "-../480p/2", "../480p/3", "4"]);
    assert_eq!(bench.listed("480p"), ["../360p/0", "1", "-2", "3", "4"]);
    assert_eq!(bench.listed("360p"), ["0", "1", "2", "3", "4"]);
    let maps: Vec<_> =
        bench.playlist("720p").lines().filter(|line| line.starts_with("#EXT-X-MAP")).map(str::to_owned).collect();
    let map = |uri: &str| format!("#EXT-X-MAP:URI=\"{uri}?v=t\"");
    let expected = ["../360p/init-1.mp4", "init-0.mp4", "init-0.mp4", "../480p/init-0.mp4", "init-0.mp4"].map(map);
    assert_eq!(maps, expected);
    // What was noted of ladders is forgotten with the segments that it was for.
    for number in 5..100 {
        bench.stream.set_ladder(rungs(if number % 2 == 0 { &["720p", "360p"] } else { &["360p"] }), number);
        segment(&mut bench, number, if number % 2 == 0 { &["720p", "360p"] } else { &["360p"] });
    }
    assert!(bench.stream.ladders_noted() < 50, "{}", bench.stream.ladders_noted());
    assert_eq!(bench.listed("720p").len(), WINDOW);
    assert!(!bench.listed("720p").iter().any(|listed| listed.starts_with('-')));
}

#[test]
fn the_master_lists_source_and_ladder_with_audio_once_the_source_is_measured() {
    let mut bench = Bench::new();
    assert!(playlist::master(&bench.stream).is_none());
    bench.source(0, 2.0);
    let text = playlist::master(&bench.stream).unwrap();
    let variants: Vec<_> = text.lines().filter(|line| line.starts_with("#EXT-X-STREAM-INF:")).collect();
    assert_eq!(variants.len(), 2);
    // 1000 bytes in 2 s each of video and audio (whose segment is 500 ticks longer); a peak is rounded up, since it bounds
    assert!(variants[0].contains("BANDWIDTH=7989,AVERAGE-BANDWIDTH=7988,CODECS=\"avc1.64001f,mp4a.40.2\""), "{text}");
    assert!(variants[0].contains("RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"audio\""), "{text}");
    assert!(variants[1].contains("BANDWIDTH=1103989"), "{text}");
    assert!(text.contains("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\"") && text.contains("CHANNELS=\"2\""));
}

#[test]
fn sound_alone_is_listed_and_pictures_may_join_it() {
    let now = Instant::now();
    let mut stream = Stream::new("t".into(), Keep::default());
    stream.begin(now);
    stream.add_rendition(AUDIO, 0, Description { codec: "mp4a.40.2".into(), channels: 2, ..Description::default() });
    stream.set_init(AUDIO, Bytes::from_static(b"init"), 90_000).unwrap();
    assert!(playlist::master(&stream).is_none());
    let sound = |stream: &mut Stream, number: u64| {
        stream.add_part(AUDIO, number, 0, part(Bytes::from(vec![0; 1000]))).unwrap();
        stream.finish_source(AUDIO, Slot::new(number, 2 * SECOND, 0, true), 0, now).unwrap();
    };
    sound(&mut stream, 0);
    sound(&mut stream, 1);
    let text = playlist::master(&stream).unwrap();
    assert!(text.ends_with("BANDWIDTH=4000,AVERAGE-BANDWIDTH=4000,CODECS=\"mp4a.40.2\"\naudio/index.m3u8\n"), "{text}");
    let mut bench = Bench { stream, now };
    assert_eq!(bench.listed(AUDIO), ["0", "1"]);

    bench.stream.break_at(2);
    bench.stream.add_source(0, Description { codec: "avc1.64001f".into(), ..Description::default() }, true);
    bench.stream.set_init(SOURCE, Bytes::from_static(b"init"), 90_000).unwrap();
    bench.source(2, 2.0);
    assert_eq!(bench.listed(AUDIO), ["0", "1", "2"]);
    assert_eq!(bench.listed(SOURCE), ["-0", "-1", "2"]);
    assert!(playlist::master(&bench.stream).unwrap().contains("AUDIO=\"audio\"\nsource/index.m3u8"));
}

#[test]
fn a_source_that_no_player_takes_is_in_no_playlist_and_what_it_was_before_stays_listed() {
    let mut bench = Bench::new();
    bench.source(0, 2.0);
    bench.rendition(0);
    // The publisher goes on in another codec: whoever plays the source goes on with the highest rung.
    bench.stream.add_source(1, Description { codec: "vp08.00.40.08".into(), ..Description::default() }, false);
    bench.stream.set_init(SOURCE, Bytes::from_static(b"another"), 90_000).unwrap();
    bench.stream.set_ladder(vec![("360p".into(), Description::default())], 1);
    bench.stream.break_at(1);
    bench.source(1, 2.0);
    bench.rendition(1);
    let text = playlist::master(&bench.stream).unwrap();
    assert!(text.contains("\n360p/index.m3u8") && !text.contains("source") && !text.contains("vp08"), "{text}");
    assert!(text.contains("AUDIO=\"audio\""), "{text}");
    assert_eq!(bench.listed(SOURCE), ["0", "../360p/1"]);

    // From the start: nothing is listed before the ladder is known, and sound is not taken for all there is.
    bench.stream.end(true, bench.now);
    let (_, base) = bench.stream.begin(bench.now);
    bench.stream.add_rendition(AUDIO, base, Description::default());
    bench.stream.add_source(base, Description::default(), false);
    assert_eq!(playlist::master(&bench.stream), None);
    bench.stream.set_ladder(vec![("480p".into(), Description::default())], base);
    assert!(playlist::master(&bench.stream).unwrap().contains("480p/index.m3u8"));
    // And back.
    bench.stream.add_source(base, Description::default(), true);
    assert!(playlist::master(&bench.stream).unwrap().contains("source/index.m3u8"));
}

#[test]
fn a_new_stream_takes_the_place_of_the_one_that_ended_first_and_never_of_a_live_one() {
    let origin = super::Origin::keeping(Keep { streams: 3, ..Keep::default() });
    let [a, _b, c] = ["a", "b", "c"].map(|name| origin.stream(name).unwrap());
    let full = origin.stream("d").map(drop).unwrap_err();
    assert!(matches!(full, super::OriginError::TooManyStreams(3)), "{full}");
    c.end(true);
    a.end(true);
    origin.stream("d").unwrap();
    assert!(origin.find("c").is_none() && origin.find("a").is_some() && origin.find("b").is_some());
    origin.stream("a").unwrap(); // its own place
    assert!(origin.stream("e").is_err());

    let origin = super::Origin::keeping(Keep { streams: 2, ..Keep::default() });
    let [vanished, done] = ["vanished", "done"].map(|name| origin.stream(name).unwrap());
    vanished.end(false);
    done.end(true);
    origin.stream("new").unwrap();
    assert!(origin.find("done").is_none() && origin.find("vanished").is_some(), "its publisher may come back");
}

#[test]
fn names_that_could_leave_their_path_are_refused() {
    for name in ["", "..", "a/b", "a b", ".hidden", &"x".repeat(65)] {
        assert!(super::Origin::new().stream(name).is_err(), "{name}");
    }
}
