//! Parts in playlists: what is listed when, and that it never changes.

use super::playlist;
use super::rendition::{Description, Part};
use super::stream::{AUDIO, LINGER, SOURCE, Slot};
use super::tests::{Bench, SECOND};
use crate::segmenter::PART_TARGET;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// 6 pictures at 30 fps.
const PART: i64 = SECOND / 5;

fn part(ticks: i64, independent: bool) -> Part {
    Part { bytes: Bytes::from_static(b"part"), duration: ticks, independent, first_sample_end: 2 }
}

impl Bench {
    fn parts(&mut self, name: &str, number: u64, indices: std::ops::Range<u32>, ticks: i64) {
        for index in indices {
            self.stream.add_part(name, number, index, part(ticks, index == 0 || name == AUDIO)).unwrap();
        }
    }

    /// One segment of the source as ten parts.
    fn in_parts(&mut self, number: u64) {
        self.parts(SOURCE, number, 0..10, PART);
        self.end(number, 10 * PART);
    }

    fn end(&mut self, number: u64, ticks: i64) {
        self.now += Duration::from_secs(2);
        let slot = Slot::new(number, ticks, number as i64 * 2000, true);
        self.stream.finish_source(SOURCE, slot, 60, self.now).unwrap();
    }

    fn made(&mut self, number: u64) {
        self.parts("360p", number, 0..10, PART);
        self.stream.finish_segment("360p", number, None).unwrap();
    }

    /// The parts of a playlist by their URI.
    fn named(&self, name: &str) -> Vec<String> {
        let text = self.playlist(name);
        let uris = text.lines().filter(|line| line.starts_with("#EXT-X-PART:"));
        uris.map(|line| line.split('"').nth(1).unwrap().split('?').next().unwrap().to_owned()).collect()
    }

    fn hint(&self, name: &str) -> Option<String> {
        let text = self.playlist(name);
        let hint = text.lines().find_map(|line| line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\""))?;
        Some(hint.split('?').next().unwrap().to_owned())
    }

    fn edge(&self, name: &str) -> (u64, u32) {
        let edge = self.stream.edge(name, self.now);
        (edge.next, edge.parts)
    }
}

#[test]
fn parts_are_listed_as_they_come_and_the_next_one_is_hinted_at() {
    let mut bench = Bench::new();
    bench.in_parts(0);
    let text = bench.playlist(SOURCE);
    for tag in [
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,PART-HOLD-BACK=0.63000\n",
        "#EXT-X-PART-INF:PART-TARGET=0.21000\n",
        "#EXT-X-PART:DURATION=0.20000,URI=\"0.0.m4s?v=t\",INDEPENDENT=YES\n",
        "#EXT-X-PART:DURATION=0.20000,URI=\"0.9.m4s?v=t\"\n#EXTINF:2.00000,\n0.m4s?v=t\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"1.0.m4s?v=t\"\n",
    ] {
        assert!(text.contains(tag), "{tag}: {text}");
    }
    bench.parts(SOURCE, 1, 0..3, PART);
    assert_eq!((bench.named(SOURCE).len(), bench.hint(SOURCE).unwrap().as_str()), (13, "1.3.m4s"));
    assert_eq!((bench.listed(SOURCE).len(), bench.edge(SOURCE)), (1, (1, 3)));
    // Full as the one before it: the next part is of the next segment.
    bench.parts(SOURCE, 1, 3..10, PART);
    assert_eq!(bench.hint(SOURCE).unwrap(), "2.0.m4s");
    bench.end(1, 10 * PART);
    assert_eq!((bench.named(SOURCE).len(), bench.edge(SOURCE)), (20, (2, 0)));
    // Only what is near the edge has parts.
    for number in 2..8 {
        bench.in_parts(number);
    }
    assert_eq!(bench.named(SOURCE).len(), 20);
    assert_eq!(bench.named(SOURCE)[0], "6.0.m4s");
    bench.stream.end(true, bench.now);
    let text = bench.playlist(SOURCE);
    assert!(text.contains("ENDLIST") && !text.contains("PART") && !text.contains("SERVER-CONTROL"), "{text}");
}

#[test]
fn a_rendition_lists_parts_of_one_open_segment_and_stands_where_its_own_are() {
    let mut bench = Bench::new();
    bench.in_parts(0);
    bench.made(0);
    bench.in_parts(1);
    bench.parts(SOURCE, 2, 0..2, PART);
    bench.parts("360p", 1, 0..7, PART);
    bench.parts("360p", 2, 0..1, PART);
    assert_eq!((bench.edge(SOURCE), bench.edge("360p")), ((2, 2), (1, 7)));
    assert_eq!(bench.named("360p").last().unwrap(), "1.6.m4s");
    let text = bench.playlist(SOURCE);
    assert!(text.contains("#EXT-X-RENDITION-REPORT:URI=\"../360p/index.m3u8\",LAST-MSN=1,LAST-PART=6\n"), "{text}");
    bench.parts("360p", 1, 7..10, PART);
    bench.stream.finish_segment("360p", 1, None).unwrap();
    assert_eq!(bench.edge("360p"), (2, 1));
    assert!(bench.playlist("360p").contains("URI=\"../source/index.m3u8\",LAST-MSN=2,LAST-PART=1\n"));
    // Where no part of the next segment is there, the last one is of the segment before.
    bench.parts(SOURCE, 2, 2..10, PART);
    bench.end(2, 10 * PART);
    assert!(bench.playlist("360p").contains("URI=\"../source/index.m3u8\",LAST-MSN=2,LAST-PART=9\n"));
}

#[test]
fn parts_of_a_lost_worker_are_taken_back_and_the_next_attempt_is_listed_whole() {
    let mut bench = Bench::new();
    bench.in_parts(0);
    bench.made(0);
    bench.in_parts(1);
    bench.stream.reset_segment("360p", 1);
    bench.parts("360p", 1, 0..4, PART);
    assert_eq!(bench.edge("360p"), (1, 4), "nothing had come: nothing was shown");
    bench.stream.reset_segment("360p", 1);
    bench.stream.set_init("360p", Bytes::from_static(b"another encoder"), 90_000).unwrap();
    assert_eq!((bench.edge("360p"), bench.hint("360p").unwrap().as_str()), ((1, 0), "2.0.m4s"));
    bench.parts("360p", 1, 0..10, PART);
    assert_eq!(bench.edge("360p"), (1, 0));
    assert!(bench.stream.part("360p", 1, 0).is_none(), "its URL was of other bytes");
    bench.stream.finish_segment("360p", 1, None).unwrap();
    assert_eq!((bench.edge("360p"), bench.listed("360p").len()), ((2, 0), 2));
    assert!(!bench.named("360p").iter().any(|uri| uri.starts_with("1.")));
    assert!(bench.playlist("360p").contains("#EXT-X-MAP:URI=\"init-1.mp4"));
    bench.parts("360p", 2, 0..1, PART);
    assert_eq!(bench.edge("360p"), (2, 1));
}

#[test]
fn key_pictures_are_listed_by_their_bytes_in_the_same_slots() {
    let mut bench = Bench::new();
    for number in 0..3 {
        bench.in_parts(number);
    }
    bench.made(0);
    bench.stream.gap("360p", 1);
    bench.made(2);
    let text = playlist::key_pictures(&bench.stream, "360p", bench.now).unwrap().text;
    let picture = |number| format!("#EXT-X-BYTERANGE:2@0\n#EXTINF:2.00000,\n{number}.m4s?v=t\n");
    assert!(text.contains("#EXT-X-I-FRAMES-ONLY\n#EXT-X-MAP:URI=\"init-0.mp4?v=t\"\n"), "{text}");
    assert!(
        text.contains(&picture(0))
            && text.contains("#EXT-X-GAP\n#EXTINF:2.00000,\n1.m4s")
            && text.contains(&picture(2))
    );
    assert!(!text.contains("PART"), "{text}");
    let master = playlist::master(&bench.stream).unwrap();
    let pictures: Vec<_> = master.lines().filter(|line| line.starts_with("#EXT-X-I-FRAME-STREAM-INF:")).collect();
    // Two bytes in two seconds.
    assert_eq!(pictures.len(), 2);
    assert!(pictures[1].starts_with("#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=8,CODECS=\"avc1.4d401f\","), "{master}");
    assert!(pictures[1].ends_with(",URI=\"360p/iframes.m3u8\""), "{master}");
}

#[test]
fn a_gap_has_no_parts() {
    let mut bench = Bench::new();
    bench.in_parts(0);
    bench.in_parts(1);
    bench.parts("360p", 0, 0..5, PART);
    bench.stream.gap("360p", 0);
    assert_eq!(
        (bench.listed("360p"), bench.named("360p").len(), bench.edge("360p")),
        (vec!["-0".to_owned()], 0, (1, 0))
    );
}

#[test]
fn a_delta_update_leaves_out_what_is_old_and_nothing_else() {
    let mut bench = Bench::new();
    for number in 0..9 {
        if number == 2 {
            bench.stream.break_at(2);
        }
        bench.in_parts(number);
        let full = bench.playlist(SOURCE);
        let delta = playlist::media(&bench.stream, SOURCE, bench.now, true).unwrap().text;
        if number < 6 {
            assert_eq!(full, delta);
            continue;
        }
        let skipped = number as usize - 5;
        assert!(delta.contains("#EXT-X-VERSION:9\n") && full.contains("#EXT-X-VERSION:8\n"));
        assert!(delta.contains(&format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n")), "{delta}");
        // Both go on with the same lines.
        let first = delta.split_once("#EXT-X-SKIP").unwrap().1.split_once('\n').unwrap().1;
        assert!(full.ends_with(first), "{full}\n\n{first}");
        assert_eq!(full.matches("#EXTINF").count() - first.matches("#EXTINF").count(), skipped);
    }
}

#[test]
fn the_part_target_fits_the_stream_and_what_does_not_fit_it_is_not_listed() {
    // 12 fps: two pictures are 167 ms, which would be 79 % of 210 ms.
    let mut bench = Bench::new();
    bench.parts(SOURCE, 0, 0..12, SECOND / 6);
    bench.end(0, 2 * SECOND);
    assert!(bench.playlist(SOURCE).contains("PART-TARGET=0.17500\n"), "{}", bench.playlist(SOURCE));
    bench.parts(SOURCE, 1, 0..2, SECOND / 6);
    bench.parts(SOURCE, 1, 2..3, PART);
    bench.parts(SOURCE, 1, 3..5, SECOND / 6);
    assert_eq!(bench.edge(SOURCE), (1, 2), "from the first part that is too long");
    // 2 fps.
    let mut bench = Bench::new();
    bench.parts(SOURCE, 0, 0..4, SECOND / 2);
    bench.end(0, 2 * SECOND);
    assert!(bench.playlist(SOURCE).contains("PART-TARGET=0.52500\n"));
    // A picture a second and a bit: parts are no gain, and reloads still block.
    let mut bench = Bench::new();
    bench.parts(SOURCE, 0, 0..2, SECOND);
    bench.end(0, 2 * SECOND);
    let text = bench.playlist(SOURCE);
    assert!(text.contains("CAN-BLOCK-RELOAD=YES") && !text.contains("PART"), "{text}");
    // A segment that grows beyond what a playlist may list.
    let mut bench = Bench::new();
    bench.in_parts(0);
    bench.parts(SOURCE, 1, 0..15, PART);
    assert_eq!(bench.edge(SOURCE), (1, 12));
}

#[test]
fn a_short_part_is_listed_with_its_segment_and_not_before() {
    let mut bench = Bench::new();
    for number in 0..2 {
        bench.parts(SOURCE, number, 0..10, PART);
        bench.parts(SOURCE, number, 10..11, SECOND / 10);
        assert_eq!(bench.edge(SOURCE), (number, if number == 0 { 0 } else { 10 }), "no part target is known at first");
        bench.end(number, 2 * SECOND + SECOND / 10);
        assert_eq!((bench.named(SOURCE).len() as u64, bench.edge(SOURCE)), (11 * (number + 1), (number + 1, 0)));
    }
    bench.parts("360p", 0, 0..10, PART);
    bench.parts("360p", 0, 10..11, SECOND / 10);
    assert_eq!((bench.edge("360p"), bench.named("360p").len()), ((0, 10), 0), "nothing is listed before a segment");
    bench.stream.finish_segment("360p", 0, None).unwrap();
    bench.parts("360p", 1, 0..10, PART);
    bench.parts("360p", 1, 10..11, SECOND / 10);
    // It is hinted at, and a player that asks for it has it.
    assert_eq!((bench.edge("360p"), bench.hint("360p").unwrap().as_str()), ((1, 10), "1.10.m4s"));
    assert!(bench.stream.part("360p", 1, 10).is_some());
    bench.stream.finish_segment("360p", 1, None).unwrap();
    assert_eq!((bench.edge("360p"), bench.named("360p").last().unwrap().as_str()), ((2, 0), "1.10.m4s"));
}

/// A camera in changing light, a browser on a busy machine: between 10 and 60 pictures a second, by the segmenter's own rules.
#[test]
fn whatever_the_frame_rate_does_no_part_is_listed_that_breaks_the_rules() {
    let (mut short, mut listed) = (0, 0);
    for seed in 0..50u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut bench = Bench::new();
        for number in 0..6 {
            let (mut parts, mut part, mut frame) = (Vec::new(), 0, SECOND / 30);
            while parts.iter().sum::<i64>() + part < 2 * SECOND {
                if number > 0 && random(4) == 0 {
                    frame = SECOND / [10, 12, 15, 20, 24, 25, 30, 48, 60][random(9) as usize];
                }
                if part + frame > PART_TARGET {
                    parts.push(std::mem::take(&mut part));
                }
                part += frame;
                if part + frame > PART_TARGET {
                    parts.push(std::mem::take(&mut part));
                }
            }
            parts.extend(Some(part).filter(|part| *part > 0));
            let before = |parts: &[i64]| parts.iter().any(|ticks| ticks * 100 < PART_TARGET * 85);
            short += u32::from(before(&parts[..parts.len() - 1]));
            for name in [SOURCE, "360p"] {
                for (index, ticks) in (0..).zip(&parts) {
                    bench.parts(name, number, index..index + 1, *ticks);
                    listed += rules_are_kept(&bench.playlist(name));
                }
                if name == SOURCE {
                    bench.end(number, parts.iter().sum());
                } else {
                    bench.stream.finish_segment(name, number, None).unwrap();
                }
                listed += rules_are_kept(&bench.playlist(name));
            }
        }
    }
    assert!(short > 50 && listed > 10_000, "{short} segments have short parts within, {listed} parts were listed");
}

/// RFC 8216bis, 4.4.4.9: no part is longer than the target, and none but the last of a segment is shorter than 85 % of it. Returns how
/// many there are.
fn rules_are_kept(text: &str) -> usize {
    let target = |line: &str| line.strip_prefix("#EXT-X-PART-INF:PART-TARGET=").and_then(|rest| rest.parse().ok());
    let Some(target): Option<f64> = text.lines().find_map(target) else { return 0 };
    let (mut parts, mut short) = (0, None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#EXT-X-PART:DURATION=") {
            let duration: f64 = rest.split(',').next().unwrap().parse().unwrap();
            assert!(duration <= target + 1e-5, "{line} is too long for {target}: {text}");
            assert_eq!(short, None, "{line} follows a part that is too short: {text}");
            short = Some(line).filter(|_| duration < 0.85 * target - 1e-5);
            parts += 1;
        } else if line.starts_with("#EXTINF") {
            short = None;
        }
    }
    assert_eq!(short, None, "its segment is not listed: {text}");
    parts
}

#[test]
fn a_publisher_that_comes_back_begins_its_parts_with_a_discontinuity() {
    let mut bench = Bench::new();
    bench.in_parts(0);
    bench.stream.end(false, bench.now);
    assert_eq!(bench.hint(SOURCE).unwrap(), "1.0.m4s");
    bench.now += LINGER / 2;
    bench.publish();
    bench.parts(SOURCE, 1, 0..1, PART);
    let text = bench.playlist(SOURCE);
    let tail = text.split_once("\n0.m4s?v=t\n").unwrap().1;
    assert!(tail.starts_with("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-1.mp4?v=t\"\n#EXT-X-PART:"), "{text}");
}

/// Whatever happens, in whatever order: what a playlist said once it never says otherwise.
#[test]
fn what_was_listed_is_never_changed() {
    for seed in 0..30u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut bench = Bench::new();
        let (mut next, mut came) = (0u64, 0u32);
        let mut seen: BTreeMap<(String, u64), String> = BTreeMap::new();
        let mut edges: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..400 {
            let late = next.saturating_sub(random(4));
            match random(10) {
                0..=4 if came < 10 => {
                    bench.parts(SOURCE, next, came..came + 1, PART);
                    came += 1;
                }
                0..=4 => {
                    bench.end(next, 10 * PART);
                    (next, came) = (next + 1, 0);
                }
                5 | 6 => {
                    let have = bench.stream.renditions["360p"].segments.get(&late).map_or(0, |s| s.parts.len() as u32);
                    bench.parts("360p", late, have..have + 1, PART);
                }
                7 => bench.stream.finish_segment("360p", late, None).unwrap(),
                8 => bench.stream.reset_segment("360p", late),
                _ if random(8) == 0 => bench.stream.gap("360p", late),
                _ if random(20) == 0 => {
                    bench.stream.set_ladder(vec![("360p".into(), Description::default())], next + 1);
                }
                _ => {}
            }
            for name in [SOURCE, "360p"] {
                let text = bench.playlist(name);
                let (mut number, mut lines) = (bench.stream.window_start(), String::new());
                for line in text.lines().filter(|line| !line.is_empty()) {
                    if line.starts_with("#EXTINF") || line == "#EXT-X-GAP" {
                        lines.push_str(line);
                    } else if !line.starts_with('#') {
                        lines.push_str(line);
                        let before = seen.insert((name.to_owned(), number), lines.clone());
                        assert!(
                            before.as_ref().is_none_or(|b| *b == lines),
                            "seed {seed}, {name}: {before:?}\n{lines}"
                        );
                        (number, lines) = (number + 1, String::new());
                    }
                }
                let before = edges.insert(name.to_owned(), number).unwrap_or(0);
                assert!(text.is_empty() || number >= before, "seed {seed}: {name} went back from {before} to {number}");
            }
        }
    }
}
