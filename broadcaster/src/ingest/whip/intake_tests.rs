//! Packets of a made-up publisher through the intake, on a clock of the test's own.

use super::intake::{Intake, IntakeError};
use super::reorder::Packet;
use crate::events::{IngestEvent, TrackKind};
use bytes::Bytes;
use millrace_media::cmaf::Codec;
use millrace_media::h264::{AvcConfig, nals};
use std::time::{Duration, Instant};

const FRAME: u32 = 3_000;

/// The packets of each picture: 30 a second, a key picture every three, each NAL unit in a packet of its own.
fn pictures(count: u32) -> Vec<Vec<Packet>> {
    let (track, samples) = millrace_media::synthetic::source(64, 64, 30, count, 3).unwrap();
    let config = AvcConfig::parse(&track.config).unwrap();
    let mut sequence = 0;
    let picture = |(n, sample): (usize, &millrace_media::cmaf::Sample)| {
        let sets = if sample.key { [config.sps.clone(), config.pps.clone()].concat() } else { Vec::new() };
        let slices = nals(&sample.data).map(|nal| Bytes::copy_from_slice(nal.unwrap()));
        let mut packets: Vec<Packet> = sets
            .into_iter()
            .chain(slices)
            .map(|payload| {
                sequence += 1;
                Packet { sequence, timestamp: n as u32 * FRAME, marker: false, payload }
            })
            .collect();
        packets.last_mut().unwrap().marker = true;
        packets
    };
    samples.iter().enumerate().map(picture).collect()
}

fn push(intake: &mut Intake, packets: &[Packet], now: Instant) -> Result<Vec<IngestEvent>, IntakeError> {
    for packet in packets {
        intake.packet(TrackKind::Video, packet.clone(), now)?;
    }
    Ok(std::iter::from_fn(|| intake.poll()).collect())
}

fn units(events: &[IngestEvent]) -> Vec<(i64, bool)> {
    let unit = |event: &IngestEvent| match event {
        IngestEvent::Unit(unit) => Some((unit.dts / i64::from(FRAME), unit.key)),
        _ => None,
    };
    events.iter().filter_map(unit).collect()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_stream_without_sound_starts_with_its_first_key_picture() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::H264, false, now).unwrap();
    let events: Vec<_> = pictures(6).iter().flat_map(|p| push(&mut intake, p, now).unwrap()).collect();
    assert!(matches!(&events[0], IngestEvent::Started { video: Some(track), audio: None, .. } if track.width == 64));
    assert_eq!(units(&events), [(0, true), (1, false), (2, false), (3, true), (4, false), (5, false)]);
}

#[test]
fn sound_that_was_announced_is_waited_for_and_then_done_without() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::H264, true, now).unwrap();
    let pictures = pictures(45);
    let events = pictures[..30].iter().flat_map(|p| push(&mut intake, p, now).unwrap()).count();
    assert_eq!(events, 0);
    let events: Vec<_> = pictures[30..].iter().flat_map(|p| push(&mut intake, p, now).unwrap()).collect();
    assert!(matches!(&events[0], IngestEvent::Started { audio: None, .. }));
    assert_eq!(units(&events).len(), 45, "nothing of what was held back is lost");
    // A packet of 20 ms of silence, again and again: sound that joins late has its configuration told first.
    let late: Vec<_> = (0..10u16)
        .flat_map(|n| {
            let payload = Bytes::from_static(&[0xfc, 0xff, 0xfe]);
            let packet = Packet { sequence: n, timestamp: u32::from(n) * 960, marker: false, payload };
            intake.packet(TrackKind::Audio, packet, now + ms(1_500 + 20 * u64::from(n))).unwrap();
            std::iter::from_fn(|| intake.poll()).collect::<Vec<_>>()
        })
        .collect();
    assert!(matches!(&late[0], IngestEvent::AudioConfig(_)));
    assert!(late[1..].iter().all(|event| matches!(event, IngestEvent::Unit(unit) if unit.track == TrackKind::Audio)));
}

#[test]
fn after_a_loss_nothing_is_passed_on_until_the_next_key_picture() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::H264, false, now).unwrap();
    let pictures = pictures(9);
    let mut events = Vec::new();
    for (n, packets) in pictures.iter().enumerate() {
        if n != 4 {
            events.extend(push(&mut intake, packets, now).unwrap());
        }
    }
    assert_eq!(units(&events).len(), 4, "what comes behind the hole waits for what is asked for again");
    let due = intake.next_timeout().unwrap();
    intake.advance(due).unwrap();
    let later: Vec<_> = std::iter::from_fn(|| intake.poll()).collect();
    assert_eq!(units(&later), [(6, true), (7, false), (8, false)]);
    assert_eq!((intake.counts.pictures, intake.counts.dropped), (7, 1));
}

#[test]
fn key_pictures_are_asked_for_at_the_start_after_a_loss_and_every_second() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::H264, false, now).unwrap();
    assert!(intake.wants_key_picture(now));
    assert!(!intake.wants_key_picture(now + ms(100)), "asked already");
    assert!(intake.wants_key_picture(now + ms(600)), "and not answered");
    let pictures = pictures(6);
    push(&mut intake, &pictures[0], now + ms(700)).unwrap();
    assert!(!intake.wants_key_picture(now + ms(1_650)));
    assert!(intake.wants_key_picture(now + ms(1_700)));
    push(&mut intake, &pictures[3], now + ms(1_800)).unwrap(); // two are missing before it
    push(&mut intake, &pictures[5], now + ms(1_800)).unwrap();
    intake.advance(now + ms(2_400)).unwrap();
    assert!(intake.wants_key_picture(now + ms(2_400)), "one is missing");
}

#[test]
fn pictures_out_of_the_order_of_showing_end_the_stream_with_a_reason() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::H264, false, now).unwrap();
    let mut pictures = pictures(3);
    for (picture, timestamp) in pictures.iter_mut().zip([0, 2 * FRAME, FRAME]) {
        picture.iter_mut().for_each(|packet| packet.timestamp = timestamp);
    }
    push(&mut intake, &pictures[0], now).unwrap();
    push(&mut intake, &pictures[1], now).unwrap();
    let error = push(&mut intake, &pictures[2], now).unwrap_err();
    assert!(matches!(error, IntakeError::Reordered) && error.to_string().contains("B-frames"));
}

/// A frame of VP8 in one packet, as far as its head goes: a key frame of this size, or one that builds on others.
fn vp8(number: u16, size: Option<(u8, u8)>) -> Packet {
    let frame = match size {
        Some((width, height)) => vec![0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, width, 0, height, 0, 1, 2],
        None => vec![0x10, 0x11, 0, 0, 1, 2],
    };
    Packet { sequence: number, timestamp: u32::from(number) * FRAME, marker: true, payload: frame.into() }
}

#[test]
fn a_key_frame_of_vp8_tells_the_size_and_one_of_another_size_tells_it_anew() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::Vp8, false, now).unwrap();
    let sizes = [None, Some((64, 48)), None, Some((64, 48)), None, Some((48, 64)), None];
    let packets: Vec<_> = (0..).zip(sizes).map(|(n, size)| vp8(n, size)).collect();
    let events = push(&mut intake, &packets, now).unwrap();
    let [IngestEvent::Started { video: Some(track), .. }, ..] = &events[..] else { panic!("{events:?}") };
    assert_eq!((track.codec, track.width, track.height), (Codec::Vp8, 64, 48));
    assert_eq!(units(&events), [(1, true), (2, false), (3, true), (4, false), (5, true), (6, false)]);
    let at = events.iter().position(|event| matches!(event, IngestEvent::VideoConfig(_))).unwrap();
    assert!(matches!(&events[at], IngestEvent::VideoConfig(track) if (track.width, track.height) == (48, 64)));
    assert_eq!(units(&events[..at]).len(), 4);
    assert_eq!(intake.counts.dropped, 1, "what came before the first key frame");
}

#[test]
fn frames_of_vp8_behind_a_hole_wait_for_a_key_frame() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::Vp8, false, now).unwrap();
    let packets = [vp8(0, Some((64, 48))), vp8(2, None), vp8(3, Some((64, 48))), vp8(4, None)];
    let mut events = push(&mut intake, &packets, now).unwrap();
    intake.advance(intake.next_timeout().unwrap()).unwrap();
    events.extend(std::iter::from_fn(|| intake.poll()));
    assert_eq!(units(&events), [(0, true), (3, true), (4, false)]);
}

#[test]
fn frames_that_are_not_to_be_shown_end_the_stream_with_a_reason() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", Codec::Vp8, false, now).unwrap();
    push(&mut intake, &[vp8(0, Some((64, 48)))], now).unwrap();
    let hidden = Packet { payload: Bytes::from_static(&[0x10, 0x01, 0, 0, 1]), ..vp8(1, None) };
    let error = push(&mut intake, &[hidden], now).unwrap_err();
    assert!(matches!(error, IntakeError::Hidden) && error.to_string().contains("auto-alt-ref"));
}

#[test]
fn key_frames_that_say_what_cannot_be_end_the_stream_with_a_reason() {
    let now = Instant::now();
    for frame in
        [&[0x10u8, 0x10, 0, 0, 0x9d, 0x01, 0x2b, 64, 0, 64, 0][..], &[0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0, 0, 64, 0]]
    {
        let mut intake = Intake::new("demo", Codec::Vp8, false, now).unwrap();
        let packet = Packet { payload: Bytes::from_static(frame), ..vp8(0, None) };
        assert!(matches!(push(&mut intake, &[packet], now), Err(IntakeError::Video(_))));
    }
}
