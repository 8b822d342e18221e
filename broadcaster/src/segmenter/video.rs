//! Video samples into parts and segments.

use super::{PART_TARGET, SegmenterError};
use crate::events::{AccessUnit, SegmentEvent, TICKS_PER_SECOND};
use millrace_media::cmaf::{self, Sample};

/// Bytes at which a part is cut short. No picture is larger (ingest sees to that), and a message of the network holds it.
const MAX_PART_BYTES: usize = 6 << 20;
/// Samples of one part, for streams with absurd frame rates.
const MAX_PART_SAMPLES: usize = 256;

/// The video track of one epoch.
pub(super) struct Video {
    /// The newest access unit in output time; its duration shows when the next one comes.
    pending: Option<AccessUnit>,
    last_input: i64,
    last_duration: i64,
    last_key: i64,
    samples: Vec<Sample>,
    part_duration: i64,
    part_bytes: usize,
    fragment: u32,
    segment: Segment,
    /// Wall clock in unix milliseconds of output time 0.
    epoch_ms: i64,
}

struct Segment {
    seq: u64,
    start: i64,
    independent: bool,
    duration: i64,
    parts: u32,
    frames: u32,
    bytes: usize,
}

impl Segment {
    fn new(seq: u64, start: i64, independent: bool) -> Self {
        Self { seq, start, independent, duration: 0, parts: 0, frames: 0, bytes: 0 }
    }
}

impl Video {
    pub(super) fn new(seq: u64, start: i64, now_ms: i64) -> Self {
        Self {
            pending: None,
            last_input: 0,
            last_duration: TICKS_PER_SECOND / 30, // used only by a stream of one picture
            last_key: start,
            samples: Vec::new(),
            part_duration: 0,
            part_bytes: 0,
            fragment: 0,
            segment: Segment::new(seq, start, true),
            epoch_ms: now_ms - start / 90,
        }
    }

    /// Decoding time of the newest access unit, in input time.
    pub(super) fn last_input(&self) -> i64 {
        self.last_input
    }

    pub(super) fn seq(&self) -> u64 {
        self.segment.seq
    }

    pub(super) fn segment_start(&self) -> i64 {
        self.segment.start
    }

    /// Output time at which what was written ends.
    pub(super) fn end(&self) -> i64 {
        self.segment.start + self.segment.duration
    }

    pub(super) fn since_key(&self, dts: i64) -> i64 {
        dts - self.last_key
    }

    /// Bytes of the segment so far.
    pub(super) fn size(&self) -> usize {
        self.segment.bytes
    }

    /// Decoding and presentation time of the unit that waits for the next, in output time, and whether it is a keyframe.
    pub(super) fn pending(&self) -> Option<(i64, i64, bool)> {
        self.pending.as_ref().map(|unit| (unit.dts, unit.pts, unit.key))
    }

    /// Duration of the newest unit that was written.
    pub(super) fn last_duration(&self) -> i64 {
        self.last_duration
    }

    /// Keeps the newest access unit, given in input time.
    pub(super) fn take(&mut self, mut unit: AccessUnit, shift: i64) {
        self.last_input = unit.dts;
        unit.dts += shift;
        unit.pts += shift;
        if unit.key {
            self.last_key = unit.dts;
        }
        self.pending = Some(unit);
    }

    /// Writes the pending unit, now that the next begins at `next_dts` (output time).
    pub(super) fn flush_pending(&mut self, next_dts: i64, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        match self.pending.take() {
            Some(unit) => {
                self.last_duration = (next_dts - unit.dts).max(1);
                self.write(unit, out)
            }
            None => Ok(()),
        }
    }

    /// Writes the last unit, for which the duration of the one before must do.
    pub(super) fn flush_last(&mut self, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        match self.pending.take() {
            Some(unit) => self.write(unit, out),
            None => Ok(()),
        }
    }

    fn write(&mut self, unit: AccessUnit, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        let (duration, size) = (self.last_duration, unit.data.len());
        if self.part_duration + duration > PART_TARGET || self.part_bytes + size > MAX_PART_BYTES {
            self.end_part(out)?;
        }
        self.samples.push(Sample {
            dts: unit.dts,
            pts: unit.pts,
            duration: duration as u32,
            key: unit.key,
            data: unit.data,
        });
        self.part_duration += duration;
        self.part_bytes += size;
        self.segment.duration += duration;
        self.segment.frames += 1;
        self.segment.bytes += size;
        // The next frame will most likely be as long as this one: a part that it would overfill need not wait for it.
        if self.part_duration + duration > PART_TARGET || self.samples.len() == MAX_PART_SAMPLES {
            self.end_part(out)?;
        }
        Ok(())
    }

    fn end_part(&mut self, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        let Some(first) = self.samples.first() else { return Ok(()) };
        self.fragment += 1;
        let index = self.segment.parts;
        out.push(SegmentEvent::VideoPart {
            seq: self.segment.seq,
            index,
            independent: index == 0 && self.segment.independent,
            start_pts: first.pts,
            duration: self.part_duration,
            bytes: cmaf::write_part(self.fragment, &self.samples)?,
        });
        self.segment.parts += 1;
        self.samples.clear();
        (self.part_duration, self.part_bytes) = (0, 0);
        Ok(())
    }

    pub(super) fn end_segment(&mut self, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        self.end_part(out)?;
        let Segment { seq, start, duration, parts, frames, independent, .. } = self.segment;
        let program_date_time = self.epoch_ms + start / 90;
        out.push(SegmentEvent::VideoSegmentEnd { seq, duration, parts, frames, independent, program_date_time });
        Ok(())
    }

    /// Begins the next segment, at a key picture if `independent`, and returns its number.
    pub(super) fn begin_segment(&mut self, start: i64, independent: bool) -> u64 {
        self.segment = Segment::new(self.segment.seq + 1, start, independent);
        self.segment.seq
    }
}
