//! Doors for the fuzz targets of `fuzz/`.

use super::offer::{Fragment, Offer};
use super::picture::{Assembler, MOST_BYTES};
use super::reorder::{Packet, Reorder};
use bytes::Bytes;
use millrace_media::cmaf::{Codec, VideoTrack};
use millrace_media::h264;
use std::time::{Duration, Instant};

/// In front of each packet: step of its number, step of its time, marker, size.
const HEAD: usize = 4;

/// A body that is an offer, or a fragment.
pub fn bodies(text: &str) {
    let _ = Offer::read(text);
    let _ = Fragment::read(text);
}

/// Packets as they arrive, in any order, behind a byte that chooses their codec.
pub fn packets(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let codec = [Codec::H264, Codec::Vp8, Codec::Vp9][usize::from(choice % 3)];
    let now = Instant::now();
    let (mut order, mut assembler, mut pictures) = (Reorder::new(Duration::ZERO), Assembler::new(codec), Vec::new());
    let (mut sequence, mut timestamp, mut rest) = (0_u16, 0_u32, data);
    while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
        let [step, time, marker, size] = *head;
        let (payload, next) = after.split_at(usize::from(size).min(after.len()));
        rest = next;
        sequence = sequence.wrapping_add_signed(i16::from(step.cast_signed()));
        timestamp = timestamp.wrapping_add(u32::from(time & 1) * 3_000);
        let payload = Bytes::copy_from_slice(payload);
        order.push(Packet { sequence, timestamp, marker: marker & 1 == 1, payload }, now);
        while let Some((lost, packet)) = order.pop(now) {
            assembler.push(lost, packet, &mut pictures);
        }
        for picture in pictures.drain(..) {
            assert!(picture.data.len() <= MOST_BYTES);
            if codec == Codec::H264 {
                assert!(h264::nals(&picture.data).all(|nal| nal.is_ok()), "a picture whose units do not add up");
            }
            let _ = VideoTrack::of_key_frame(codec, &picture.data);
        }
    }
}
