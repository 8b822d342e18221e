//! The encoding of the messages.

use alloy::primitives::B256;
use bytes::Bytes;
use millrace_tickets::{Domain, Profile, RenditionFacts, SegmentReceipt, Signed, Terms, Ticket, Verdict};
use serde::{Serialize, de::DeserializeOwned};

use super::*;
use crate::messages::*;

fn round_trip<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: M) -> Vec<u8> {
    let bytes = postcard::to_stdvec(&message).unwrap();
    assert_eq!(postcard::from_bytes::<M>(&bytes).unwrap(), message);
    bytes
}

fn open(profiles: usize) -> Up {
    let profile = Profile { name: "720p".into(), width: 1280, height: 720, bitrate: 3_000_000, codec: "h264".into() };
    Up::Open(SegmentOpen {
        stream: B256::repeat_byte(1),
        seq: 7,
        attempt: 0,
        discontinuity: true,
        profiles: vec![profile; profiles],
        source_init: Bytes::from_static(b"ftypmoov"),
        megapixel_rate: 41,
        verify_before_publish: false,
        deadline_ms: 4000,
    })
}

#[test]
fn every_kind_of_message_survives_the_wire() {
    let signer = PrivateKeySigner::random();
    let domain = Domain { chain_id: 1, broker: signer.address() };
    let greeting =
        Greeting { version: VERSION, role: Role::Transcoder, node: "t1".into(), max_streams: 4, payer: None };
    let device = Device {
        name: "cpu".into(),
        kind: DeviceKind::X264,
        detail: "2 cores".into(),
        megapixels_per_second: 90,
        in_use: 41,
        sessions: 1,
    };
    for message in [
        Control::Hello(greeting.clone()),
        Control::Hello(Greeting { payer: Some(signer.address()), ..greeting.clone() }),
        Control::Welcome(greeting),
        Control::Worker(WorkerStatus { devices: vec![device], draining: false }),
        Control::Terms(Terms { price_per_megapixel: 30, face_value: 1 << 90, win_prob: u64::MAX }),
        Control::Commits(vec![B256::repeat_byte(2); MAX_COMMITS]),
        Control::Draining,
        Control::Bye { reason: "upgrade".into() },
    ] {
        round_trip(message);
    }
    let assignment = Signed::sign(Default::default(), &domain, &signer).unwrap();
    for message in [
        open(3),
        Up::End { assignment, parts: 10 },
        Up::Cancel { reason: "hedge won".into() },
        Up::Ticket(Signed::sign(Ticket { nonce: u64::MAX, ..Default::default() }, &domain, &signer).unwrap()),
        Up::Failed(Signed::sign(Verdict { code: 9, ..Default::default() }, &domain, &signer).unwrap()),
    ] {
        round_trip(message);
    }
    let receipt = Signed::sign(SegmentReceipt { pixels: 1, ..Default::default() }, &domain, &signer).unwrap();
    for message in [
        Down::Accepted,
        Down::Refused(Refusal { code: RefusalCode::Busy, message: "41 of 90 megapixel/s are free".into() }),
        Down::Init { rendition: 2, bytes: Bytes::from_static(b"x") },
        Down::Restart,
        Down::Receipt { receipt, facts: vec![RenditionFacts { first_pts: -3, ..Default::default() }] },
        Down::TicketAck { commits: vec![B256::ZERO] },
        Down::TicketRejected { reason: "nonce does not rise".into() },
        Down::TicketLater { reason: "the lock could not be read".into() },
    ] {
        round_trip(message);
    }
}

#[test]
fn a_signature_still_recovers_after_the_wire() {
    let signer = PrivateKeySigner::random();
    let domain = Domain { chain_id: 5, broker: signer.address() };
    let ticket = Signed::sign(Ticket { winProb: 3, ..Default::default() }, &domain, &signer).unwrap();
    let Up::Ticket(back) = postcard::from_bytes(&round_trip(Up::Ticket(ticket))).unwrap() else { panic!() };
    assert_eq!(back.recover(&domain).unwrap(), signer.address());
}

#[test]
fn parts_cost_their_bytes_and_a_few_more() {
    let bytes = round_trip(Up::Part { index: 9, bytes: vec![0xff; 100_000].into() });
    assert!(bytes.len() < 100_010, "{}", bytes.len());
}

#[test]
fn lists_longer_than_their_limit_are_refused() {
    let too_many = postcard::to_stdvec(&open(MAX_RENDITIONS + 1)).unwrap();
    assert!(postcard::from_bytes::<Up>(&too_many).is_err());
    round_trip(open(MAX_RENDITIONS));
    let commits = postcard::to_stdvec(&Control::Commits(vec![B256::ZERO; MAX_COMMITS + 1])).unwrap();
    assert!(postcard::from_bytes::<Control>(&commits).is_err());
}

#[test]
fn no_mutation_of_a_message_panics() {
    let good = postcard::to_stdvec(&open(3)).unwrap();
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _ = postcard::from_bytes::<Up>(&bytes);
            let _ = postcard::from_bytes::<Down>(&bytes);
            let _ = postcard::from_bytes::<Control>(&bytes[at..]);
        }
    }
}
