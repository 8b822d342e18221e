//! The segmenter on made-up streams: what is cut where, and that no time is lost.

use super::*;
use bytes::Bytes;
use millrace_media::cmaf::read_part;
use millrace_media::h264::AvcConfig;

fn avcc() -> Bytes {
    let sps =
        [0x67, 0x42, 0xC0, 0x0A, 0xD9, 0x04, 0x26, 0xC0, 0x44, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xC8, 0x3C, 0x48, 0x99, 0x20];
    let pps = [0x68, 0xCB, 0x83, 0xCB, 0x20];
    let mut record = vec![1, 0x42, 0xC0, 0x0A, 0xFF, 0xE1, 0, sps.len() as u8];
    record.extend(sps);
    record.extend([1, 0, pps.len() as u8]);
    record.extend(pps);
    record.into()
}

fn video_track() -> VideoTrack {
    VideoTrack::h264(avcc()).unwrap()
}

fn audio_track(sample_rate: u32) -> AudioTrack {
    AudioTrack { sample_rate, channels: 2, config: Bytes::from_static(&[0x12, 0x10]) }
}

fn started(audio: Option<AudioTrack>) -> IngestEvent {
    IngestEvent::Started { key_name: "demo".into(), video: Some(video_track()), audio }
}

/// Milliseconds, as RTMP gives them.
fn picture(ms: i64, key: bool) -> IngestEvent {
    let data = Bytes::from_static(if key { &[0, 0, 0, 1, 0x65] } else { &[0, 0, 0, 1, 0x41] });
    IngestEvent::Unit(AccessUnit { track: TrackKind::Video, dts: ms * 90, pts: ms * 90, key, data })
}

fn sound(ms: i64) -> IngestEvent {
    let data = Bytes::from_static(b"raw");
    IngestEvent::Unit(AccessUnit { track: TrackKind::Audio, dts: ms * 90, pts: ms * 90, key: true, data })
}

/// Frame `n` of a stream with `num`/`den` frames per second, rounded to milliseconds as encoders do.
fn frame_ms(n: i64, num: i64, den: i64) -> i64 {
    n * 1000 * den / num
}

fn run(segmenter: &mut Segmenter, events: impl IntoIterator<Item = IngestEvent>) -> Vec<SegmentEvent> {
    events.into_iter().flat_map(|event| segmenter.push(1_000_000, event).unwrap()).collect()
}

/// `(seq, duration, frames)` of each video segment.
fn segments(events: &[SegmentEvent]) -> Vec<(u64, i64, u32)> {
    let end = |event: &SegmentEvent| match *event {
        SegmentEvent::VideoSegmentEnd { seq, duration, frames, .. } => Some((seq, duration, frames)),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

/// `(seq, duration)` of each audio segment.
fn audio_segments(events: &[SegmentEvent]) -> Vec<(u64, i64)> {
    let end = |event: &SegmentEvent| match *event {
        SegmentEvent::AudioSegmentEnd { seq, duration, .. } => Some((seq, duration)),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

fn samples(events: &[SegmentEvent], of: TrackKind) -> Vec<cmaf::Sample> {
    let part = |event: &SegmentEvent| match (of, event) {
        (TrackKind::Video, SegmentEvent::VideoPart { bytes, .. })
        | (TrackKind::Audio, SegmentEvent::AudioPart { bytes, .. }) => Some(read_part(bytes).unwrap()),
        _ => None,
    };
    events.iter().filter_map(part).flatten().collect()
}

fn contiguous(samples: &[cmaf::Sample]) -> bool {
    samples.windows(2).all(|pair| pair[0].dts + i64::from(pair[0].duration) == pair[1].dts)
}

#[test]
fn parts_fill_85_to_100_percent_of_the_part_target_at_every_common_rate() {
    for (num, den) in [(24, 1), (24000, 1001), (25, 1), (30, 1), (30000, 1001), (50, 1), (60, 1), (60000, 1001)] {
        let mut segmenter = Segmenter::default();
        let frames = 20 * num / den;
        let gop = (2 * num + den / 2) / den;
        let pictures = (0..frames).map(|n| picture(frame_ms(n, num, den), n % gop == 0));
        let stream = std::iter::once(started(None)).chain(pictures).chain([IngestEvent::Ended { clean: true }]);
        let events = run(&mut segmenter, stream);
        assert_eq!(segments(&events).len() as i64, (frames + gop - 1) / gop, "{num}/{den}");
        let mut short = Vec::new();
        for event in &events {
            match *event {
                SegmentEvent::VideoPart { index, independent, duration, .. } => {
                    assert!(duration <= PART_TARGET, "{num}/{den}: a part of {duration}");
                    assert_eq!(independent, index == 0);
                    short.push(duration * 100 < PART_TARGET * 85);
                }
                SegmentEvent::VideoSegmentEnd { .. } => {
                    short.pop(); // the last part is what is left
                    assert!(!short.contains(&true), "{num}/{den}");
                    short.clear();
                }
                _ => {}
            }
        }
        let samples = samples(&events, TrackKind::Video);
        assert_eq!(samples.len() as i64, frames);
        assert!(contiguous(&samples));
        assert_eq!(samples[0].dts, START);
    }
}

#[test]
fn audio_is_cut_where_video_is_and_does_not_drift_with_milliseconds() {
    for rate in [44_100, 48_000] {
        let mut events = vec![started(Some(audio_track(rate)))];
        let (mut frame, mut sound_frame) = (0, 0);
        // Interleaved by time for 60 s.
        while frame < 1800 {
            let (video, audio) = (frame_ms(frame, 30, 1), frame_ms(sound_frame, i64::from(rate), 1024));
            if audio <= video {
                events.push(sound(audio));
                sound_frame += 1;
            } else {
                events.push(picture(video, frame % 60 == 0));
                frame += 1;
            }
        }
        events.push(IngestEvent::Ended { clean: true });
        let events = run(&mut Segmenter::default(), events);
        let (video, audio) = (segments(&events), audio_segments(&events));
        assert_eq!(video.len(), 30);
        assert_eq!(audio.iter().map(|a| a.0).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
        let frame_ticks = 1024 * 90_000 / i64::from(rate);
        let mut ends = (0, 0);
        for ((_, v, _), (_, a)) in video.iter().zip(&audio).take(29) {
            ends = (ends.0 + v, ends.1 + a);
            assert!((ends.0 - ends.1).abs() <= frame_ticks + 2, "{ends:?}");
        }
        let samples = samples(&events, TrackKind::Audio);
        assert_eq!(samples.len() as i64, sound_frame);
        assert!(contiguous(&samples), "sample counting leaves no holes");
        let full = events.iter().filter_map(|event| match event {
            SegmentEvent::AudioPart { duration, .. } => Some(duration * 90_000 / i64::from(rate)),
            _ => None,
        });
        assert!(full.clone().all(|duration| duration <= PART_TARGET));
        assert!(full.filter(|duration| duration * 100 >= PART_TARGET * 85).count() > 250);
    }
}

#[test]
fn a_gap_in_audio_beyond_the_resync_threshold_is_a_hole_and_not_a_shift() {
    let mut events = vec![started(Some(audio_track(48_000)))];
    for n in 0..100 {
        events.push(picture(n * 40, n % 50 == 0));
        // 21.33 ms frames, two per picture on average; none between 1.0 and 1.5 s.
        for k in 0..2 {
            let ms = n * 40 + k * 20;
            if !(1000..1500).contains(&ms) {
                events.push(sound(ms));
            }
        }
    }
    let events = run(&mut Segmenter::default(), events);
    let samples = samples(&events, TrackKind::Audio);
    let holes: Vec<_> = samples.windows(2).filter(|p| p[1].dts - p[0].dts > 1024).collect();
    assert_eq!(holes.len(), 1);
    let at_ms = (holes[0][1].dts * 1000 / 48_000) - 1000;
    assert!((1499..1502).contains(&at_ms), "{at_ms}");
}

#[test]
fn a_jump_of_time_is_a_discontinuity_and_output_time_goes_on() {
    for jump in [-50_000, 10_000] {
        let mut events = vec![started(Some(audio_track(48_000)))];
        for n in 0..200 {
            let offset = 60_000 + if n >= 100 { jump } else { 0 };
            // Audio crosses the jump a little before video does.
            let audio_offset = 60_000 + if n >= 97 { jump } else { 0 };
            events.push(sound(n * 40 + audio_offset));
            events.push(sound(n * 40 + 20 + audio_offset));
            events.push(picture(n * 40 + offset, n % 50 == 0));
        }
        events.push(IngestEvent::Ended { clean: false });
        let events = run(&mut Segmenter::default(), events);
        let breaks: Vec<_> = events.iter().filter(|e| matches!(e, SegmentEvent::Discontinuity { seq: 2 })).collect();
        assert_eq!(breaks.len(), 1, "{jump}");
        assert_eq!(segments(&events).iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(audio_segments(&events).iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let samples = samples(&events, TrackKind::Video);
        assert_eq!(samples.len(), 200);
        assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
        assert!(matches!(events.last(), Some(SegmentEvent::End { clean: false })));
    }
}

#[test]
fn a_new_configuration_breaks_at_the_next_keyframe_with_new_inits() {
    let mut segmenter = Segmenter::default();
    run(&mut segmenter, [started(Some(audio_track(48_000)))]);
    let events = run(&mut segmenter, (0..30).map(|n| picture(n * 40, n == 0)));
    assert_eq!(events.iter().filter(|e| matches!(e, SegmentEvent::VideoInit(..))).count(), 1);
    let audio = IngestEvent::AudioConfig(audio_track(44_100));
    let events = run(&mut segmenter, std::iter::once(audio).chain((30..60).map(|n| picture(n * 40, n == 50))));
    let order: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SegmentEvent::VideoSegmentEnd { .. } => Some("end"),
            SegmentEvent::Discontinuity { seq: 1 } => Some("break"),
            SegmentEvent::VideoInit(..) => Some("video"),
            SegmentEvent::AudioInit(_, track) => Some(if track.sample_rate == 44_100 { "audio" } else { "old" }),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["end", "break", "video", "audio"]);
}

#[test]
fn every_video_configuration_is_in_the_stream_too() {
    let other = VideoTrack {
        config: AvcConfig {
            pps: vec![Bytes::from_static(&[0x68, 0xCE, 0x3C, 0x80])],
            ..AvcConfig::parse(&avcc()).unwrap()
        }
        .to_record()
        .unwrap(),
        ..video_track()
    };
    let mut stream = vec![started(None)];
    stream.extend((0..50).map(|n| picture(n * 40, n == 0)));
    stream.push(IngestEvent::VideoConfig(other));
    stream.extend((50..100).map(|n| picture(n * 40, n == 55 || n == 80)));
    stream.push(IngestEvent::Ended { clean: true });
    let events = run(&mut Segmenter::default(), stream);
    let samples = samples(&events, TrackKind::Video);
    let nals = |sample: &cmaf::Sample| -> Vec<u8> {
        millrace_media::h264::nals(&sample.data).map(|nal| nal.unwrap()[0] & 0x1F).collect()
    };
    assert_eq!(samples.len(), 95, "pictures before the keyframe of the new configuration are left out");
    let with_sets: Vec<_> = (0..95).filter(|n| nals(&samples[*n]).len() > 1).collect();
    assert_eq!(with_sets, [0, 50]);
    assert_eq!(nals(&samples[50]), [7, 8, 5]);
}

#[test]
fn keyframes_at_scene_cuts_never_make_a_segment_longer_than_the_target_duration_allows() {
    // Two seconds at most between keyframes, and extra ones where scenes change.
    let extra = [17, 130, 260, 275, 391, 555];
    let mut events = vec![started(None)];
    let mut last = 0;
    for n in 0..900i64 {
        let key = n == 0 || n - last == 50 || (n > 100 && extra.contains(&n));
        if key {
            last = n;
        }
        events.push(picture(n * 40, key));
    }
    let events = run(&mut Segmenter::default(), events);
    let segments = segments(&events);
    let target = target_duration(segments[0].1);
    assert_eq!(target, 2);
    assert!(segments.iter().all(|s| (s.1 + 45_000) / 90_000 <= target), "{segments:?}");
}

/// `(independent, duration in ms)` of each video segment of pictures every 40 ms, with a keyframe where `key` says.
fn cuts(frames: i64, key: impl Fn(i64) -> bool) -> Vec<(bool, i64)> {
    let pictures = (0..frames).map(|n| picture(n * 40, key(n)));
    let stream = std::iter::once(started(None)).chain(pictures).chain([IngestEvent::Ended { clean: true }]);
    let events = run(&mut Segmenter::default(), stream);
    assert!(contiguous(&samples(&events, TrackKind::Video)));
    assert_eq!(samples(&events, TrackKind::Video).len() as i64, frames);
    let cut = |event: &SegmentEvent| match *event {
        SegmentEvent::VideoSegmentEnd { independent, duration, .. } => Some((independent, duration / 90)),
        _ => None,
    };
    events.iter().filter_map(cut).collect()
}

#[test]
fn gops_of_any_length_give_segments_that_the_playlist_can_carry() {
    // Every picture a keyframe, and every eight seconds one, as encoders do by themselves.
    assert_eq!(cuts(500, |_| true)[..9], [(true, 1920); 9]);
    assert_eq!(cuts(600, |n| n % 200 == 0), [(true, 8000); 3]);
    // The first segment fixed two seconds; then a keyframe every eight.
    let eight = cuts(450, |n| n == 0 || n >= 50 && (n - 50) % 200 == 0);
    assert_eq!(eight[..5], [(true, 2000), (true, 2480), (false, 2480), (false, 2480), (false, 560)]);
    assert_eq!(eight[5], (true, 2480));
    // Thirty seconds from the start.
    let thirty = cuts(1500, |n| n % 750 == 0);
    assert_eq!(thirty[..3], [(true, 10_080), (false, 11_480), (false, 8440)]);
    assert_eq!(thirty[3..], [(true, 11_480), (false, 11_480), (false, 7040)]);
}

#[test]
fn a_pause_of_the_publisher_makes_no_segment_that_the_playlist_cannot_carry() {
    // The segment ends before the picture that lasts. Sound goes on, and a still stands in for pictures that are too late for it.
    for (at, pause, cuts, stills) in [(100, 2_500, 5, 12), (100, 700, 5, 0), (90, 2_000, 5, 0), (60, 500, 5, 0)] {
        let time = |n: i64| n * 40 + if n >= at { pause } else { 0 };
        let pictures = (0..200).map(|n| (time(n), picture(time(n), n % 50 == 0)));
        let mut timed: Vec<_> = pictures.chain((0..(8_000 + pause) / 20).map(|n| (n * 20, sound(n * 20)))).collect();
        timed.sort_by_key(|(time, _)| *time);
        let stream =
            std::iter::once(started(Some(audio_track(51_200)))).chain(timed.into_iter().map(|(_, event)| event));
        let events = run(&mut Segmenter::default(), stream.chain([IngestEvent::Ended { clean: true }]));
        let sounds = audio_segments(&events);
        assert!(sounds.iter().all(|(_, duration)| *duration < 225_000), "{at} {pause}: {sounds:?}");
        assert!(contiguous(&samples(&events, TrackKind::Audio)), "{at} {pause}");
        let cut = segments(&events);
        assert!(cut.iter().all(|(_, duration, _)| *duration < 225_000), "{at} {pause}: {cut:?}");
        assert_eq!(cut.iter().map(|cut| cut.2).sum::<u32>(), 200 + stills, "{at} {pause}: {cut:?}");
        assert!((cuts - 1..=cuts).contains(&cut.len()), "{at} {pause}: {cut:?}");
        assert!(!events.iter().any(|event| matches!(event, SegmentEvent::Discontinuity { .. })), "{at} {pause}");
    }
}

/// Pictures every 40 ms with a keyframe every two seconds, and sound every 20 ms, interleaved, where `has` keeps them.
fn both(seconds: i64, has: impl Fn(TrackKind, i64) -> bool) -> Vec<IngestEvent> {
    let pair = |ms: i64| {
        let video = (ms % 40 == 0 && has(TrackKind::Video, ms)).then(|| picture(ms, ms % 2000 == 0));
        let audio = has(TrackKind::Audio, ms).then(|| sound(ms));
        video.into_iter().chain(audio)
    };
    std::iter::once(started(Some(audio_track(51_200))))
        .chain((0..seconds * 50).map(|n| n * 20).flat_map(pair))
        .collect()
}

#[test]
fn where_one_track_stops_something_stands_in_for_it_until_it_comes_back() {
    for (gone, from, until) in [
        (TrackKind::Video, 5_000, 13_700),
        (TrackKind::Audio, 5_000, 13_700),
        (TrackKind::Video, 5_000, 20_000),
        (TrackKind::Audio, 0, 20_000),
    ] {
        let mut stream = both(20, |track, ms| track != gone || !(from..until).contains(&ms));
        stream.push(IngestEvent::Ended { clean: true });
        let events = run(&mut Segmenter::default(), stream);
        let case = format!("{gone:?} {from} {until}");
        let (video, audio) = (segments(&events), audio_segments(&events));
        assert!(video.len() >= 9, "{case}: {video:?}");
        assert!(video.iter().all(|(_, duration, _)| *duration < 225_000), "{case}: {video:?}");
        assert!(audio.iter().all(|(_, duration)| (1..225_000).contains(duration)), "{case}: {audio:?}");
        assert_eq!(
            video.iter().map(|s| s.0).collect::<Vec<_>>(),
            audio.iter().map(|s| s.0).collect::<Vec<_>>(),
            "{case}"
        );
        assert!(!events.iter().any(|event| matches!(event, SegmentEvent::Discontinuity { .. })), "{case}");
        assert!(
            events.iter().all(|event| !matches!(event, SegmentEvent::VideoSegmentEnd { independent: false, .. })),
            "{case}"
        );
        for track in [TrackKind::Video, TrackKind::Audio] {
            let samples = samples(&events, track);
            assert!(contiguous(&samples), "{case}: {track:?}");
            let rate = if track == TrackKind::Video { 90_000 } else { 51_200 };
            let played: i64 = samples.iter().map(|sample| i64::from(sample.duration)).sum::<i64>() * 1000 / rate;
            // What is not yet stood in for at the end is less than the patience.
            assert!((17_500..20_300).contains(&played), "{case}: {track:?} {played}");
        }
        let stood_in = samples(&events, gone).iter().filter(|sample| sample.key && sample.data.len() != 3).count();
        assert!(stood_in > 30, "{case}: {stood_in}");
    }
}

#[test]
fn sound_that_joins_late_is_not_stood_in_for_before_and_a_jump_of_the_clock_is_followed() {
    let mut segmenter = Segmenter::default();
    let pictures = |from: i64, until: i64| (from / 40..until / 40).map(|n| picture(n * 40, n % 50 == 0));
    run(&mut segmenter, std::iter::once(started(None)).chain(pictures(0, 600_000)));
    let joined = IngestEvent::AudioConfig(audio_track(51_200));
    let mut events = run(&mut segmenter, std::iter::once(joined).chain(pictures(600_000, 602_000)));
    assert!(samples(&events, TrackKind::Audio).is_empty(), "ten minutes of silence");
    // The clock jumps, and no sound comes behind it.
    events.extend(run(&mut segmenter, [sound(602_000)]));
    events.extend(run(&mut segmenter, pictures(602_000, 604_000).chain(pictures(700_000, 712_000))));
    events.extend(run(&mut segmenter, [IngestEvent::Ended { clean: true }]));
    let silence = samples(&events, TrackKind::Audio).iter().map(|sample| i64::from(sample.duration)).sum::<i64>();
    assert!((9..=13).contains(&(silence / 51_200)), "{silence}");
}

#[test]
fn pictures_that_come_back_late_are_shown_from_a_keyframe_past_what_stood_in() {
    // Ten seconds without pictures; then they come, three seconds behind for ever.
    let pictures = (0..2000).map(|n| (n * 40 + if n < 125 { 0 } else { 3_000 }, n * 40));
    let pictures =
        pictures.filter(|(_, ms)| !(5_000..15_000).contains(ms)).map(|(at, ms)| (at, picture(ms, ms % 2000 == 0)));
    let mut timed: Vec<_> = pictures.chain((0..4_000).map(|n| (n * 20, sound(n * 20)))).collect();
    timed.sort_by_key(|(at, _)| *at);
    let stream = std::iter::once(started(Some(audio_track(51_200)))).chain(timed.into_iter().map(|(_, event)| event));
    let events = run(&mut Segmenter::default(), stream);
    let samples = samples(&events, TrackKind::Video);
    assert!(contiguous(&samples));
    let shown = samples.iter().filter(|sample| sample.duration == 3600).count();
    assert!(shown > 1_600, "{shown}");
    assert!(segments(&events).iter().all(|(_, duration, _)| *duration < 225_000));
}

#[test]
fn a_stream_without_keyframes_ends_with_a_reason() {
    let mut segmenter = Segmenter::default();
    run(&mut segmenter, [started(None)]);
    let error = (0..2000).find_map(|n| segmenter.push(0, picture(n * 40, n == 0)).err()).unwrap();
    assert!(error.to_string().contains("keyframe interval"));
    let mut never = Segmenter::default();
    run(&mut never, [started(None)]);
    assert!((0..2000).any(|n| never.push(0, picture(n * 40, false)).is_err()));
    let mut again = Segmenter::default();
    let stream = both(80, |track, ms| track == TrackKind::Audio || ms < 2_000 || ms > 7_000 && ms % 2000 != 0);
    assert!(stream.into_iter().any(|event| again.push(0, event).is_err()), "not after they stopped once either");
}

#[test]
fn a_segment_of_too_many_bytes_is_cut_without_a_keyframe() {
    let mut segmenter = Segmenter::default();
    let mut events = run(&mut segmenter, [started(None)]);
    let data = Bytes::from(vec![0; 3 << 20]);
    for n in 0..15 {
        let unit =
            AccessUnit { track: TrackKind::Video, dts: n * 3600, pts: n * 3600, key: n == 0, data: data.clone() };
        events.extend(run(&mut segmenter, [IngestEvent::Unit(unit)]));
    }
    assert_eq!(segments(&events).iter().map(|s| s.2).collect::<Vec<_>>(), [10]);
}

#[test]
fn sound_alone_is_cut_every_two_seconds_until_pictures_join_it() {
    for rate in [44_100, 48_000] {
        let mut segmenter = Segmenter::default();
        let start = IngestEvent::Started { key_name: "demo".into(), video: None, audio: Some(audio_track(rate)) };
        let frame = |n: i64| sound(5_000 + frame_ms(n, i64::from(rate), 1024));
        let until = |ms: i64| ms * i64::from(rate) / 1024 / 1000;
        let mut events = run(&mut segmenter, std::iter::once(start).chain((0..until(11_000)).map(frame)));
        let alone: Vec<_> = events
            .iter()
            .filter_map(|event| match *event {
                SegmentEvent::AudioSegmentEnd { seq, duration, alone, .. } => {
                    Some((seq, duration / 900, alone.unwrap()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(alone.len(), 5);
        for (n, (seq, duration, date)) in alone.iter().enumerate() {
            assert_eq!(*seq, n as u64);
            assert!((198..202).contains(duration), "{alone:?}");
            assert!((date - 1_000_000 - n as i64 * 2_000).abs() < 30, "{alone:?}");
        }
        // The camera comes on.
        events.extend(run(&mut segmenter, [IngestEvent::VideoConfig(video_track())]));
        let pictures = (0..100).map(|n| picture(16_000 + n * 40, n % 50 == 10));
        let mut both: Vec<_> = pictures.chain((until(11_000)..until(15_000)).map(frame)).collect();
        both.sort_by_key(|event| if let IngestEvent::Unit(unit) = event { unit.dts } else { 0 });
        events.extend(run(&mut segmenter, both));
        events.extend(run(&mut segmenter, [IngestEvent::Ended { clean: true }]));
        assert_eq!(segments(&events).iter().map(|s| s.0).collect::<Vec<_>>(), [6, 7]);
        assert_eq!(audio_segments(&events).iter().map(|s| s.0).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        assert_eq!(events.iter().filter(|e| matches!(e, SegmentEvent::Discontinuity { seq: 6 })).count(), 1);
        let samples = samples(&events, TrackKind::Audio);
        assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
    }
}

#[test]
fn program_date_time_follows_media_time_from_the_clock_at_the_start() {
    let events = run(
        &mut Segmenter::default(),
        std::iter::once(started(None)).chain((0..201).map(|n| picture(7_000 + n * 40, n % 50 == 0))),
    );
    let dates: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SegmentEvent::VideoSegmentEnd { program_date_time, .. } => Some(*program_date_time),
            _ => None,
        })
        .collect();
    assert_eq!(dates, [1_000_000, 1_002_000, 1_004_000, 1_006_000]);
}

#[test]
fn no_segment_outgrows_a_playlist_whose_target_is_set_by_one_that_was_cut_short() {
    let most = longest_segment(2);
    let gops = |from: i64, gop: i64| (0..300).map(move |n| picture(from + n * 1000 / 30, n % gop == 0));
    // The encoder changes its picture within the first segment, and then makes a keyframe every 2.8 s.
    let mut segmenter = Segmenter::default();
    let mut events = run(&mut segmenter, [started(None)].into_iter().chain(gops(0, 84).take(30)));
    events.extend(run(&mut segmenter, [IngestEvent::VideoConfig(video_track())].into_iter().chain(gops(1_000, 84))));
    let lengths = segments(&events);
    assert!(lengths.len() > 4 && lengths.iter().all(|(_, duration, _)| *duration <= most), "{lengths:?}");
    // A publisher comes back with a keyframe every four seconds, to a playlist of segments of two.
    let mut segmenter = Segmenter::within(Some(2), 7 * SEGMENT_TARGET);
    let events = run(&mut segmenter, [started(None)].into_iter().chain(gops(0, 120)));
    let begins = events.iter().find_map(|event| match event {
        SegmentEvent::VideoPart { start_pts, .. } => Some(*start_pts),
        _ => None,
    });
    assert_eq!(begins, Some(7 * SEGMENT_TARGET + START), "its times go on behind what was there");
    let lengths = segments(&events);
    assert!(lengths.len() > 3 && lengths.iter().all(|(_, duration, _)| *duration <= most), "{lengths:?}");
    // Sound alone has set it.
    let mut segmenter = Segmenter::default();
    let alone = IngestEvent::Started { key_name: "demo".into(), video: None, audio: Some(audio_track(48_000)) };
    run(&mut segmenter, [alone].into_iter().chain((0..300).map(|n| sound(n * 64 / 3))));
    let joined = [IngestEvent::VideoConfig(video_track())].into_iter().chain(gops(6_400, 120));
    let lengths = segments(&run(&mut segmenter, joined));
    assert!(lengths.len() > 3 && lengths.iter().all(|(_, duration, _)| *duration <= most), "{lengths:?}");
}
