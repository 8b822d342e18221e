//! Audio frames into parts and segments that follow the video's.
//!
//! Times count samples: RTMP's milliseconds would make every frame a little too long or too short. Only when the publisher's
//! clock and the count differ by more than [`RESYNC_MS`] does the count give in, by a hole or by a dropped frame.

use super::{PART_TARGET, SEGMENT_TARGET, SegmenterError};
use crate::events::{AccessUnit, SegmentEvent, TICKS_PER_SECOND, TIMELINE_JUMP};
use crate::ingest::aac;
use millrace_media::cmaf::{self, AudioTrack, Sample};
use std::collections::VecDeque;

/// Less than this between sound and picture is not noticed (ITU-R BT.1359 puts the threshold at 45 to 125 ms).
const RESYNC_MS: i64 = 100;
/// Sound may begin so long before the first picture of a stream: its first segment is then still one that a playlist of two seconds
/// takes, half a second above.
const EARLY: i64 = TICKS_PER_SECOND / 4;
/// When video is so far past a boundary, audio that has not reached it is not coming.
const LAG: i64 = TIMELINE_JUMP;

/// The audio track of one epoch.
pub(super) struct Audio {
    rate: i64,
    frame: i64,
    /// Output time, in ticks, before which frames are dropped.
    earliest: i64,
    /// Starts of the segments to come, as video cut them: number and output time in ticks.
    boundaries: VecDeque<(u64, i64)>,
    /// Where the next frame begins, in samples of output time.
    next: Option<i64>,
    samples: Vec<Sample>,
    fragment: u32,
    seq: u64,
    segment_start: Option<i64>,
    parts: u32,
    /// The configuration has changed: nothing more belongs here.
    closed: bool,
    /// Without video, the wall clock in unix milliseconds of output time 0.
    alone: Option<i64>,
}

impl Audio {
    /// Audio from segment `seq` on, whose first picture shows at `start` (output ticks).
    pub(super) fn new(track: &AudioTrack, seq: u64, start: i64, first_epoch: bool) -> Self {
        Self {
            rate: track.sample_rate.into(),
            frame: aac::frame_samples(&track.config),
            earliest: if first_epoch { start - EARLY } else { start },
            boundaries: VecDeque::new(),
            next: None,
            samples: Vec::new(),
            fragment: 0,
            seq,
            segment_start: None,
            parts: 0,
            closed: false,
            alone: None,
        }
    }

    /// Audio of a stream without video from segment `seq` on, which begins at `start` (output ticks).
    pub(super) fn alone(track: &AudioTrack, seq: u64, start: i64, now_ms: i64) -> Self {
        Self { alone: Some(now_ms - start / 90), ..Self::new(track, seq, start, false) }
    }

    /// Takes one frame of a stream without video. A segment ends with the frame that comes nearest to its target.
    pub(super) fn take_alone(
        &mut self,
        unit: AccessUnit,
        shift: i64,
        out: &mut Vec<SegmentEvent>,
    ) -> Result<(), SegmenterError> {
        let start = self.segment_start.map_or(unit.dts + shift, |start| self.ticks(start));
        if unit.dts + shift - start + self.ticks(self.frame) / 2 >= SEGMENT_TARGET {
            self.boundary(self.seq + 1, unit.dts + shift);
        }
        self.take(unit, shift, out)
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Output time in ticks at which what was written ends, rounded up.
    pub(super) fn end(&self) -> i64 {
        self.next.map_or(0, |next| self.ticks(next) + 1)
    }

    /// Video begins segment `seq` at `start` (output ticks).
    pub(super) fn boundary(&mut self, seq: u64, start: i64) {
        self.boundaries.push_back((seq, start));
    }

    /// Takes what the track can still get under its configuration; what follows belongs to the next epoch.
    pub(super) fn close(
        &mut self,
        held: &mut VecDeque<AccessUnit>,
        shift: i64,
        video: i64,
        out: &mut Vec<SegmentEvent>,
    ) -> Result<(), SegmenterError> {
        self.take_until(held, shift, video, video + TIMELINE_JUMP, out)?;
        self.closed = true;
        Ok(())
    }

    /// Takes the frames that video has caught up with: no cut can come before them any more. `video` is the newest decoding
    /// time of video in input time.
    pub(super) fn release(
        &mut self,
        held: &mut VecDeque<AccessUnit>,
        shift: i64,
        video: i64,
        out: &mut Vec<SegmentEvent>,
    ) -> Result<(), SegmenterError> {
        self.take_until(held, shift, video, video, out)?;
        while let Some(&(seq, start)) = self.boundaries.front()
            && video + shift - start > LAG
        {
            self.begin_segment(seq, out)?;
        }
        Ok(())
    }

    /// Takes what is left of this epoch, up to `past` ticks after video, and ends all its segments.
    pub(super) fn finish(
        &mut self,
        held: &mut VecDeque<AccessUnit>,
        shift: i64,
        video: i64,
        past: i64,
        out: &mut Vec<SegmentEvent>,
    ) -> Result<(), SegmenterError> {
        self.take_until(held, shift, video, video + past, out)?;
        while let Some(&(seq, _)) = self.boundaries.front() {
            self.begin_segment(seq, out)?;
        }
        self.end_segment(out)
    }

    /// Takes the held frames of this timeline up to `until`. Frames far from video are of another timeline and stay held.
    fn take_until(
        &mut self,
        held: &mut VecDeque<AccessUnit>,
        shift: i64,
        video: i64,
        until: i64,
        out: &mut Vec<SegmentEvent>,
    ) -> Result<(), SegmenterError> {
        if self.closed {
            return Ok(());
        }
        for _ in 0..held.len() {
            let Some(unit) = held.pop_front() else { break };
            if (video - TIMELINE_JUMP..=until).contains(&unit.dts) {
                self.take(unit, shift, out)?;
            } else {
                held.push_back(unit);
            }
        }
        Ok(())
    }

    fn take(&mut self, unit: AccessUnit, shift: i64, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        let ticks = unit.dts + shift;
        let given = (ticks * self.rate + TICKS_PER_SECOND / 2).div_euclid(TICKS_PER_SECOND);
        let resync = RESYNC_MS * self.rate / 1000;
        let start = match self.next {
            None if ticks < self.earliest => return Ok(()),
            Some(next) if given < next - resync => return Ok(()),
            Some(next) if given <= next + resync => next,
            _ => {
                self.end_part(out)?; // times within a part follow from durations: a hole needs a part of its own
                given
            }
        };
        while let Some(&(seq, boundary)) = self.boundaries.front()
            && self.ticks(start) >= boundary
        {
            self.begin_segment(seq, out)?;
        }
        self.segment_start.get_or_insert(start);
        self.next = Some(start + self.frame);
        self.samples.push(Sample { dts: start, pts: start, duration: self.frame as u32, key: true, data: unit.data });
        let longer = self.frame * (self.samples.len() as i64 + 1);
        if self.ticks(longer) > PART_TARGET {
            self.end_part(out)?;
        }
        Ok(())
    }

    fn ticks(&self, samples: i64) -> i64 {
        samples * TICKS_PER_SECOND / self.rate
    }

    fn end_part(&mut self, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        if self.samples.is_empty() {
            return Ok(());
        }
        self.fragment += 1;
        let duration = self.frame * self.samples.len() as i64;
        let bytes = cmaf::write_part(self.fragment, &self.samples)?;
        out.push(SegmentEvent::AudioPart { seq: self.seq, index: self.parts, duration, bytes });
        self.parts += 1;
        self.samples.clear();
        Ok(())
    }

    fn end_segment(&mut self, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        self.end_part(out)?;
        let began = self.segment_start.take();
        let duration = match (began, self.next) {
            (Some(start), Some(next)) => self.ticks(next) - self.ticks(start),
            _ => 0,
        };
        let alone = self.alone.map(|epoch_ms| epoch_ms + began.map_or(0, |start| self.ticks(start) / 90));
        out.push(SegmentEvent::AudioSegmentEnd { seq: self.seq, duration, parts: self.parts, alone });
        self.parts = 0;
        Ok(())
    }

    fn begin_segment(&mut self, seq: u64, out: &mut Vec<SegmentEvent>) -> Result<(), SegmenterError> {
        self.boundaries.pop_front();
        self.end_segment(out)?;
        self.seq = seq;
        Ok(())
    }
}
