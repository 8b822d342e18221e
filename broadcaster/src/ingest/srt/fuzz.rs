//! A door for the fuzz targets of `fuzz/`.

use super::intake::Intake;
use super::stream_id;
use crate::events::{IngestEvent, TIMELINE_JUMP, TrackKind};

/// Bytes of a datagram's payload.
const PAYLOAD: usize = 7 * 188;

/// A stream id and the payloads that follow it; the first byte says which of the first eight something is missing before.
pub fn publication(data: &[u8]) {
    let _ = stream_id::key(data);
    let Some((gaps, data)) = data.split_first() else { return };
    let mut intake = Intake::new("demo");
    let mut last = [None; 2];
    let mut check = |intake: &mut Intake| {
        while let Some(event) = intake.poll() {
            let IngestEvent::Unit(unit) = event else { continue };
            let last = &mut last[usize::from(unit.track == TrackKind::Audio)];
            assert!(unit.pts >= unit.dts);
            assert!(
                last.is_none_or(|last| unit.dts > last || last - unit.dts > TIMELINE_JUMP),
                "times that do not rise"
            );
            *last = Some(unit.dts);
        }
    };
    for (n, payload) in data.chunks(PAYLOAD).enumerate() {
        if intake.push(payload, n < 8 && gaps >> n & 1 == 1).is_err() {
            return;
        }
        check(&mut intake);
    }
    if intake.finish().is_ok() {
        check(&mut intake);
    }
}
