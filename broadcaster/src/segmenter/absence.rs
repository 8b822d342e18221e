//! What stands in for a track that has stopped while the other goes on: its last keyframe again and again, or silence.
//! Players wait for both tracks: without it, the one that is there would stop too.

use super::PART_TARGET;
use crate::events::{AccessUnit, TICKS_PER_SECOND, TIMELINE_JUMP, TrackKind};
use crate::ingest::aac;
use bytes::Bytes;
use millrace_media::cmaf::AudioTrack;

/// From one still picture to the next, ticks: each is a part.
const STILL: i64 = PART_TARGET;
/// A step of the other track's clock that counts as time gone by.
const MAX_STEP: i64 = TICKS_PER_SECOND;

/// The two tracks of a publication, each with its absence from the other.
#[derive(Default)]
pub(super) struct Absence {
    video: Track,
    audio: Track,
}

/// One track.
#[derive(Default)]
struct Track {
    /// Decoding time of its newest unit, sent or put in its place.
    at: Option<i64>,
    /// How long the other track has gone on since, ticks.
    gone: i64,
    /// Others stand in for its units.
    absent: bool,
    /// What would stand in, and how long it lasts, ticks.
    stand_in: Option<(Bytes, i64)>,
}

impl Absence {
    /// Pictures from now on are of another configuration than the last keyframe.
    pub(super) fn new_video(&mut self) {
        self.video.stand_in = None;
    }

    /// Sound from now on is of this configuration.
    pub(super) fn new_audio(&mut self, track: &AudioTrack) {
        let frame = aac::frame_samples(&track.config) * TICKS_PER_SECOND / i64::from(track.sample_rate.max(1));
        let stand_in = aac::silence(&track.config).map(|silence| (silence, frame));
        self.audio = Track { stand_in, ..Track::default() }; // it is not owed for the time before
    }

    /// How long the next keyframe is away at most, where the last one stands in for pictures, ticks.
    pub(super) fn next_still(&self) -> Option<i64> {
        self.video.absent.then_some(STILL)
    }

    /// Takes note of a unit that was sent, and returns what stands in for the other track until then, once that is more than
    /// `patience` ticks behind where it should be. The flag says whether the unit is of use: pictures that come back are not
    /// before a keyframe past those that stood in for them.
    pub(super) fn note(&mut self, unit: &AccessUnit, patience: i64) -> (Vec<AccessUnit>, bool) {
        let (own, other) = match unit.track {
            TrackKind::Video => (&mut self.video, &mut self.audio),
            TrackKind::Audio => (&mut self.audio, &mut self.video),
        };
        let step = own.at.map_or(0, |at| unit.dts - at);
        if own.absent {
            let another_timeline = step.abs() > TIMELINE_JUMP;
            if unit.track == TrackKind::Video && !(unit.key && (step > 0 || another_timeline)) {
                // Pictures that are late catch up by themselves; those that are on time want a keyframe.
                own.gone = if step > 0 { own.gone } else { 0 };
                return (Vec::new(), false);
            }
        }
        (own.at, own.gone, own.absent) = (Some(unit.dts), 0, false);
        if unit.track == TrackKind::Video && unit.key {
            own.stand_in = Some((unit.data.clone(), STILL));
        }
        if (0..=MAX_STEP).contains(&step) {
            other.gone += step;
        }
        let Some((data, length)) = other.stand_in.clone() else { return (Vec::new(), true) };
        other.absent |= other.gone > patience;
        let mut units = Vec::new();
        let due = unit.dts - other.gone;
        // The clock may have jumped since.
        let mut at = other.at.filter(|at| (due - at).abs() <= TIMELINE_JUMP).unwrap_or(due);
        while other.absent && other.gone >= length {
            (at, other.gone) = (at + length, other.gone - length);
            units.push(AccessUnit { track: unit.track.other(), dts: at, pts: at, key: true, data: data.clone() });
        }
        other.at = Some(at);
        (units, true)
    }
}
