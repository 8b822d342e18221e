use super::adts::tests::frame;
use super::intake::{Intake, IntakeError};
use super::mux::{Mux, pes};
use crate::events::{AccessUnit, IngestEvent, TrackKind};

/// Baseline 1.0, 64x64.
const SPS: &[u8] =
    &[0x67, 0x42, 0xC0, 0x0A, 0xD9, 0x04, 0x26, 0xC0, 0x44, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xC8, 0x3C, 0x48, 0x99, 0x20];
const PPS: &[u8] = &[0x68, 0xCB, 0x83, 0xCB, 0x20];
const VIDEO: (u8, u16, &[u8]) = (0x1b, 0x100, b"");
const AUDIO: (u8, u16, &[u8]) = (0x0f, 0x101, b"");
/// From one picture to the next.
const FRAME: u64 = 3_600;

fn annexb(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}

fn key() -> Vec<u8> {
    annexb(&[&[9, 0x10], SPS, PPS, &[0x65, 0x88, 1]])
}

fn delta() -> Vec<u8> {
    annexb(&[&[9, 0x30], &[0x41, 0x9a, 2]])
}

fn with(streams: &[(u8, u16, &[u8])]) -> Mux {
    let mut mux = Mux::default();
    mux.tables(streams);
    mux
}

fn run(bytes: &[u8]) -> Result<Vec<IngestEvent>, IntakeError> {
    let mut intake = Intake::new("demo");
    for bytes in bytes.chunks(1_316) {
        intake.push(bytes, false)?;
    }
    intake.finish()?;
    Ok(std::iter::from_fn(|| intake.poll()).collect())
}

fn units(events: &[IngestEvent], kind: TrackKind) -> Vec<&AccessUnit> {
    let units = events.iter().filter_map(|event| match event {
        IngestEvent::Unit(unit) if unit.track == kind => Some(unit),
        _ => None,
    });
    units.collect()
}

fn times(events: &[IngestEvent], kind: TrackKind) -> Vec<i64> {
    units(events, kind).iter().map(|unit| unit.dts).collect()
}

#[test]
fn both_tracks_are_waited_for_and_nothing_is_lost() {
    let mut mux = with(&[VIDEO, AUDIO]);
    mux.video(0, 0, &key());
    mux.video(FRAME, FRAME, &delta());
    mux.audio(500, &[frame(b"one"), frame(b"two"), frame(b"three")].concat());
    mux.audio(500 + 3 * 1_920, &frame(b"four"));
    mux.video(2 * FRAME, 2 * FRAME, &delta());
    let events = run(&mux.bytes).unwrap();
    let IngestEvent::Started { key_name, video: Some(video), audio: Some(audio) } = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!((key_name.as_str(), video.width, video.height), ("demo", 64, 64));
    assert_eq!((audio.sample_rate, audio.channels, &audio.config[..]), (48_000, 2, &[0x11, 0x90][..]));
    let pictures = units(&events, TrackKind::Video);
    assert_eq!(pictures.iter().map(|unit| unit.key).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(&pictures[0].data[..], [0, 0, 0, 3, 0x65, 0x88, 1], "no parameter sets and no delimiter");
    // Several frames in one packet: counted on from its time.
    assert_eq!(times(&events, TrackKind::Audio), [500, 2_420, 4_340, 6_260]);
    assert_eq!(&units(&events, TrackKind::Audio)[2].data[..], b"three");
}

#[test]
fn a_stream_without_sound_starts_at_once_and_one_without_its_promised_sound_after_a_second() {
    let mut mux = with(&[VIDEO]);
    mux.video(0, 0, &key());
    assert!(matches!(&run(&mux.bytes).unwrap()[..], [IngestEvent::Started { audio: None, .. }, IngestEvent::Unit(_)]));
    let mut mux = with(&[VIDEO, AUDIO]);
    mux.video(0, 0, &key());
    for n in 1..20 {
        mux.video(n * FRAME, n * FRAME, &delta());
    }
    assert!(run(&mux.bytes).unwrap().is_empty());
    for n in 20..40 {
        mux.video(n * FRAME, n * FRAME, &delta());
    }
    mux.audio(40 * FRAME, &frame(b"late"));
    let events = run(&mux.bytes).unwrap();
    assert!(matches!(&events[0], IngestEvent::Started { audio: None, .. }));
    assert!(
        matches!(&events[events.len() - 3], IngestEvent::AudioConfig(track) if track.sample_rate == 48_000),
        "{events:?}"
    );
}

#[test]
fn sound_alone_is_a_stream_at_once_or_when_a_promised_picture_does_not_come() {
    for (tables, least) in [(&[AUDIO][..], 60), (&[VIDEO, AUDIO], 90)] {
        let mut mux = with(tables);
        for n in 0..500 {
            mux.audio(n * 1_920, &frame(b"sound"));
        }
        let events = run(&mux.bytes).unwrap();
        assert!(matches!(&events[0], IngestEvent::Started { video: None, audio: Some(_), .. }));
        assert!(units(&events, TrackKind::Audio).len() >= least);
    }
}

#[test]
fn pictures_before_the_first_key_picture_are_dropped_and_waited_through_for_a_minute() {
    let mut mux = with(&[VIDEO]);
    for n in 0..10 {
        mux.video(n * FRAME, n * FRAME, &if n == 4 { key() } else { delta() });
    }
    assert_eq!(times(&run(&mux.bytes).unwrap(), TrackKind::Video)[0], 4 * FRAME as i64);
    let mut mux = with(&[VIDEO]);
    for n in 0..1_600 {
        mux.video(n * FRAME, n * FRAME, &delta());
    }
    assert!(matches!(run(&mux.bytes), Err(IntakeError::NoKey)));
}

#[test]
fn the_wrap_at_33_bits_does_not_show_and_a_large_step_is_passed_on() {
    let mut mux = with(&[VIDEO, AUDIO]);
    let from = (1 << 33) - 2 * FRAME;
    for n in 0..5 {
        mux.video(from + n * FRAME, from + (n + 1) * FRAME, &key());
        mux.audio(from + n * FRAME, &frame(b"sound"));
    }
    let events = run(&mux.bytes).unwrap();
    let expected: Vec<_> = (0..5).map(|n| (from + n * FRAME) as i64).collect();
    assert_eq!(times(&events, TrackKind::Video), expected);
    assert_eq!(times(&events, TrackKind::Audio), expected);
    assert!(units(&events, TrackKind::Video).iter().all(|unit| unit.pts == unit.dts + FRAME as i64));

    let mut mux = with(&[VIDEO]);
    for time in [900_000, 903_600, 903_600, 900, 4_500] {
        mux.video(time, time, &key());
    }
    assert_eq!(times(&run(&mux.bytes).unwrap(), TrackKind::Video), [900_000, 903_600, 903_690, 900, 4_500]);
}

#[test]
fn missing_times_are_counted_on() {
    let mut mux = with(&[VIDEO, AUDIO]);
    let untimed = |id, data: &[u8]| pes(id, None, None, data, true);
    mux.packets(0x100, &untimed(0xe0, &key())); // before any time: nowhere to put it
    mux.video(0, 0, &key());
    mux.video(FRAME, FRAME, &delta());
    mux.packets(0x100, &untimed(0xe0, &delta()));
    mux.packets(0x100, &untimed(0xe0, &[delta(), delta()].concat()));
    mux.video(5 * FRAME, 5 * FRAME, &delta());
    mux.audio(0, &frame(b"one"));
    mux.packets(0x101, &untimed(0xc0, &frame(b"two")));
    let events = run(&mux.bytes).unwrap();
    let expected: Vec<_> = (0..6).map(|n| n * FRAME as i64).collect();
    assert_eq!(times(&events, TrackKind::Video), expected);
    assert_eq!(times(&events, TrackKind::Audio), [0, 1_920]);
}

#[test]
fn b_frames_without_decoding_times_keep_their_order_or_are_refused() {
    // I0 P3 B1 B2 P6 B4 B5, three pictures ahead; of one the decoding time is missing.
    let shown = [3u64, 6, 4, 5, 9, 7, 8];
    let mut mux = with(&[VIDEO]);
    for (n, shown) in shown.iter().enumerate() {
        let data = if n == 0 { key() } else { delta() };
        let dts = (n != 4).then_some(n as u64 * FRAME);
        mux.packets(0x100, &pes(0xe0, Some(shown * FRAME), dts, &data, true));
    }
    let events = run(&mux.bytes).unwrap();
    let found: Vec<_> = units(&events, TrackKind::Video).iter().map(|u| (u.dts / 3_600, u.pts / 3_600)).collect();
    assert_eq!(found, [(0, 3), (1, 6), (2, 4), (3, 5), (4, 9), (5, 7), (6, 8)]);

    let mut mux = with(&[VIDEO]);
    for n in 0..10 {
        for shown in [2, 1] {
            mux.packets(0x100, &pes(0xe0, Some((2 * n + shown) * FRAME), None, &key(), true));
        }
    }
    assert!(matches!(run(&mux.bytes), Err(IntakeError::Reordered)));
}

#[test]
fn a_delimiter_behind_what_belongs_to_its_picture_does_not_split_it() {
    let mut mux = with(&[VIDEO]);
    mux.video(0, 0, &annexb(&[SPS, PPS, &[6, 5, 1, 0, 0x80], &[9, 0x10], &[0x65, 0x88, 1]]));
    mux.video(FRAME, FRAME, &annexb(&[&[6, 5, 1, 0, 0x80], &[9, 0x30], &[0x41, 0x9a, 2]]));
    assert_eq!(times(&run(&mux.bytes).unwrap(), TrackKind::Video), [0, FRAME as i64]);
}

#[test]
fn after_a_loss_pictures_go_on_with_the_next_key_picture() {
    let mut mux = with(&[VIDEO]);
    let mut marks = Vec::new();
    for n in 0..9 {
        marks.push(mux.bytes.len());
        mux.video(n * FRAME, n * FRAME, &if n % 4 == 0 { key() } else { delta() });
    }
    mux.bytes.drain(marks[2]..marks[3]);
    let seen: Vec<_> = times(&run(&mux.bytes).unwrap(), TrackKind::Video).iter().map(|t| t / 3_600).collect();
    // Picture 1 is not whole for all that anybody knows: the loss came before the next one began.
    assert_eq!(seen, [0, 4, 5, 6, 7, 8]);

    // A gap that the port knows of.
    let mut intake = Intake::new("demo");
    intake.push(&mux.bytes[..marks[2]], false).unwrap();
    let mut more = with(&[VIDEO]);
    more.video(3 * FRAME, 3 * FRAME, &delta());
    more.video(4 * FRAME, 4 * FRAME, &key());
    intake.push(&more.bytes, true).unwrap();
    intake.finish().unwrap();
    let events: Vec<_> = std::iter::from_fn(|| intake.poll()).collect();
    assert_eq!(times(&events, TrackKind::Video), [0, 4 * FRAME as i64]);
    assert_eq!(intake.counts.dropped, 2);
}

#[test]
fn parameter_sets_that_change_are_an_event_and_repeated_ones_are_not() {
    let mut wide = SPS.to_vec();
    wide[3] = 0x0b; // another level
    let other = annexb(&[&wide, PPS, &[0x65, 0x88, 1]]);
    let mut mux = with(&[VIDEO]);
    for (n, data) in [key(), key(), other.clone(), delta(), other].iter().enumerate() {
        mux.video(n as u64 * FRAME, n as u64 * FRAME, data);
    }
    let events = run(&mux.bytes).unwrap();
    let changes: Vec<_> = (0..events.len()).filter(|n| matches!(events[*n], IngestEvent::VideoConfig(_))).collect();
    assert_eq!((changes, events.len()), (vec![3], 7));
    // Another rate of the sound.
    let mut mux = with(&[VIDEO, AUDIO]);
    mux.video(0, 0, &key());
    mux.video(FRAME, FRAME, &delta());
    let mut low = frame(b"low");
    low[2] = 0x50; // 44.1 kHz
    mux.audio(0, &[frame(b"high"), low].concat());
    let events = run(&mux.bytes).unwrap();
    assert!(events.iter().any(|event| matches!(event, IngestEvent::AudioConfig(track) if track.sample_rate == 44_100)));
}

#[test]
fn what_one_packet_can_hold_is_bounded() {
    let mut mux = with(&[VIDEO]);
    let mut many = key();
    for n in 0..20_000u32 {
        many.extend(annexb(&[&[&[0x67], &n.to_be_bytes()[..], &[1]].concat()]));
    }
    mux.video(0, 0, &key());
    mux.video(FRAME, FRAME, &(0..20_000).flat_map(|_| delta()).collect::<Vec<_>>());
    assert_eq!(times(&run(&mux.bytes).unwrap(), TrackKind::Video).len(), 65);
    mux.video(2 * FRAME, 2 * FRAME, &many);
    assert!(matches!(run(&mux.bytes), Err(IntakeError::Video(_))), "sets that say nothing are no track");
}

#[test]
fn whatever_arrives_times_rise_and_nothing_stumbles() {
    let mut mux = with(&[VIDEO, AUDIO]);
    for n in 0..40 {
        mux.video(n * FRAME, (n + 1) * FRAME, &if n % 8 == 0 { key() } else { delta() });
        mux.audio(n * FRAME, &[frame(b"one"), frame(b"two")].concat());
    }
    let mut seed = 7u32;
    for round in 0..2_000 {
        let mut bytes = mux.bytes.clone();
        for _ in 0..1 + round % 30 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = seed as usize % bytes.len();
            match seed >> 29 {
                0 => drop(bytes.drain(at / 188 * 188..(at / 188 * 188 + 188).min(bytes.len()))),
                1 => drop(bytes.drain(at..(at + 50).min(bytes.len()))),
                _ => bytes[at] = (seed >> 11) as u8,
            }
        }
        let mut intake = Intake::new("demo");
        let whole = bytes.chunks(1_316).try_for_each(|bytes| intake.push(bytes, false)).and_then(|()| intake.finish());
        let events: Vec<_> = std::iter::from_fn(|| intake.poll()).collect();
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let units = units(&events, kind);
            assert!(units.iter().all(|unit| unit.pts >= unit.dts && !unit.data.is_empty()), "{whole:?}");
            let falls = |w: &[&AccessUnit]| w[1].dts <= w[0].dts && w[0].dts - w[1].dts <= crate::events::TIMELINE_JUMP;
            assert!(!units.windows(2).any(falls), "round {round}: {:?}", times(&events, kind));
        }
    }
}
