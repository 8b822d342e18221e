//! Packets of a made-up publisher through the intake, on a clock of the test's own.

use super::intake::{Intake, IntakeError};
use super::reorder::Packet;
use crate::events::{IngestEvent, TrackKind};
use bytes::Bytes;
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
    let mut intake = Intake::new("demo", false, now).unwrap();
    let events: Vec<_> = pictures(6).iter().flat_map(|p| push(&mut intake, p, now).unwrap()).collect();
    assert!(matches!(&events[0], IngestEvent::Started { video: Some(track), audio: None, .. } if track.width == 64));
    assert_eq!(units(&events), [(0, true), (1, false), (2, false), (3, true), (4, false), (5, false)]);
}

#[test]
fn sound_that_was_announced_is_waited_for_and_then_done_without() {
    let now = Instant::now();
    let mut intake = Intake::new("demo", true, now).unwrap();
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
    let mut intake = Intake::new("demo", false, now).unwrap();
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
    let mut intake = Intake::new("demo", false, now).unwrap();
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
    let mut intake = Intake::new("demo", false, now).unwrap();
    let mut pictures = pictures(3);
    for (picture, timestamp) in pictures.iter_mut().zip([0, 2 * FRAME, FRAME]) {
        picture.iter_mut().for_each(|packet| packet.timestamp = timestamp);
    }
    push(&mut intake, &pictures[0], now).unwrap();
    push(&mut intake, &pictures[1], now).unwrap();
    let error = push(&mut intake, &pictures[2], now).unwrap_err();
    assert!(matches!(error, IntakeError::Reordered) && error.to_string().contains("B-frames"));
}
