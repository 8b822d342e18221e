//! The segmenter: access units in, CMAF segments and parts out. Sans-IO: it reads no clock and waits for nothing.
//!
//! Video decides. A segment begins with an IDR and ends before the first IDR past the target; audio is cut at the same times.
//! Without video, audio is cut every two seconds.
//! Where no IDR comes in time, it ends without one: the source plays on, and what follows until the next IDR has no renditions,
//! since nobody could decode it alone.
//!
//! Where one of two tracks stops, the last keyframe or silence stands in for it, so that the other plays on.
//!
//! A sample is written once the next one has shown its duration, so each track is one access unit behind its publisher.
//!
//! Times. Each *epoch* (from the start, or from a discontinuity, to the next) begins with an IDR, whose decoding time becomes
//! [`START`] after what the playlist has of publications before in the first epoch, and the end of what was before in later ones: output
//! times never run backwards or below zero.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | epochs, discontinuities, what cuts a segment |
//! | `absence` | what stands in for a track that has stopped |
//! | `video`, `audio` | samples into parts, parts into segments |

mod absence;
mod audio;
mod video;

#[cfg(test)]
mod tests;

use crate::events::{AccessUnit, IngestEvent, SegmentEvent, TICKS_PER_SECOND, TIMELINE_JUMP, TrackKind};
use absence::Absence;
use audio::Audio;
use millrace_media::captions::Captions;
use millrace_media::cmaf::{self, AudioTrack, CmafError, Track, VideoTrack};
use std::collections::VecDeque;
use video::Video;

/// Where output times start: room for audio that begins before the first picture.
pub const START: i64 = TICKS_PER_SECOND;
/// A segment ends at the first IDR from here on: what players and transcoders are tuned to.
pub const SEGMENT_TARGET: i64 = 2 * TICKS_PER_SECOND;
/// RTMP rounds times to milliseconds and encoders place IDRs by frame count: an IDR this close to the target is on it.
const SEGMENT_SLACK: i64 = TICKS_PER_SECOND / 10;
/// No part is longer, unless one frame is. With 210 ms every common rate fills it to 90 % or more: 24 and 23.976 fps (5 frames),
/// 25 (5), 29.97 and 30 (6), 50 (10), 60 (12); AAC at 44.1 and 48 kHz (9). With 200 ms, 24 and 29.97 fps would reach 83 % only,
/// below what LL-HLS asks.
pub const PART_TARGET: i64 = 210 * TICKS_PER_SECOND / 1000;
/// A segment that was cut early, to keep the next below the target duration, is at least so long.
const SEGMENT_LEAST: i64 = TICKS_PER_SECOND / 2;
/// Bytes of one segment: ten seconds at 25 Mb/s. It is cut there.
pub const MAX_SEGMENT_BYTES: usize = 32 << 20;
/// Longest segment while no target duration is fixed, ticks: common encoders place a keyframe every 250 frames if not told otherwise.
const FIRST_LIMIT: i64 = 10 * TICKS_PER_SECOND + SEGMENT_SLACK;
/// Without a keyframe for so many seconds, a stream ends: whoever tunes in sees nothing.
pub const MAX_GOP_SECONDS: i64 = 60;
/// Audio frames that wait for video to catch up: ten seconds. Of a publisher whose video stands still for longer, the oldest go.
const MAX_HELD_AUDIO: usize = 500;

/// Why a stream cannot go on. The message is for its publisher.
#[derive(Debug, thiserror::Error)]
pub enum SegmenterError {
    /// No keyframe for too long.
    #[error("no keyframe for {0} s, the limit is {MAX_GOP_SECONDS} s: set the encoder's keyframe interval to 2 s")]
    NoKeyframe(i64),
    /// The samples cannot be packaged.
    #[error("packaging failed: {0}")]
    Cmaf(#[from] CmafError),
}

/// State of one publication. Numbers count from 0.
#[derive(Default)]
pub struct Segmenter {
    video: Option<VideoTrack>,
    audio: Option<AudioTrack>,
    absence: Absence,
    epoch: Option<Epoch>,
    /// The epoch of a stream without video.
    alone: Option<Alone>,
    /// Audio ahead of video, in input time. It outlives epochs: audio may cross a break before video does.
    held: VecDeque<AccessUnit>,
    /// What was before the first epoch ended here.
    start: i64,
    /// Where the next epoch begins in output time.
    next_base: Option<i64>,
    next_seq: u64,
    captions: Captions,
    /// The next IDR begins a new epoch.
    broken: bool,
    /// Since when pictures are dropped for want of an IDR, input ticks.
    waiting_since: Option<i64>,
    /// Longest distance of two IDRs so far, ticks.
    longest_gop: i64,
    /// Longest segment that the playlist can carry, ticks; known from the first segment on.
    limit: Option<i64>,
    out: Vec<SegmentEvent>,
}

/// One stretch of input on one timeline and one configuration.
struct Epoch {
    /// Output time less input time, ticks.
    shift: i64,
    video: Video,
    audio: Option<Audio>,
}

/// As [`Epoch`], without video.
struct Alone {
    shift: i64,
    last: i64,
    audio: Audio,
}

impl Segmenter {
    /// One whose segments go on in a playlist that has a target duration already, in seconds, behind what ended at `reached`, ticks.
    /// Players must take a step back of times at a discontinuity, and there are those that stand still there.
    pub fn within(target: Option<i64>, reached: i64) -> Self {
        Self { limit: target.map(longest_segment), start: reached, ..Self::default() }
    }

    /// Takes one event. `now_ms` is the wall clock in unix milliseconds, which dates the segments.
    pub fn push(&mut self, now_ms: i64, event: IngestEvent) -> Result<Vec<SegmentEvent>, SegmenterError> {
        match event {
            IngestEvent::Started { video, audio, .. } => {
                if let Some(track) = &audio {
                    self.absence.new_audio(track);
                }
                (self.video, self.audio) = (video, audio);
                self.broken = true;
            }
            IngestEvent::Unit(unit) => {
                let patience = self.limit().min(TIMELINE_JUMP);
                let (stand_ins, of_use) = self.absence.note(&unit, patience);
                if !of_use {
                    self.wait_for_key(&unit)?;
                } else if unit.key && unit.track == TrackKind::Video {
                    self.waiting_since = None;
                }
                for unit in stand_ins.into_iter().chain(of_use.then_some(unit)) {
                    self.unit(now_ms, unit)?;
                }
            }
            IngestEvent::VideoConfig(track) => {
                self.close_epoch()?;
                self.absence.new_video();
                self.video = Some(track);
            }
            IngestEvent::AudioConfig(track) if self.video.is_none() => {
                self.close_epoch()?;
                self.absence.new_audio(&track);
                self.audio = Some(track);
            }
            IngestEvent::AudioConfig(track) => {
                // Audio of the new configuration waits for the next keyframe: all tracks break at the same segment.
                self.broken = true;
                self.absence.new_audio(&track);
                self.audio = Some(track);
                if let Some(Epoch { shift, video, audio: Some(audio) }) = &mut self.epoch {
                    audio.close(&mut self.held, *shift, video.last_input(), &mut self.out)?;
                }
            }
            IngestEvent::Lost(_) => {}
            IngestEvent::Ended { clean } => {
                self.close_epoch()?;
                self.out.push(SegmentEvent::End { clean });
            }
        }
        Ok(std::mem::take(&mut self.out))
    }

    /// Longest segment for now, ticks.
    fn limit(&self) -> i64 {
        self.limit.unwrap_or(FIRST_LIMIT)
    }

    fn unit(&mut self, now_ms: i64, unit: AccessUnit) -> Result<(), SegmenterError> {
        match unit.track {
            TrackKind::Video => self.video_unit(now_ms, unit),
            TrackKind::Audio if self.video.is_some() => self.audio_unit(unit),
            TrackKind::Audio => self.sound_alone(now_ms, unit),
        }
    }

    fn video_unit(&mut self, now_ms: i64, unit: AccessUnit) -> Result<(), SegmenterError> {
        if let Some(track) = &self.video {
            let captions = self.captions.and(Captions::of_sample(track, &unit.data));
            if captions != self.captions {
                self.captions = captions;
                self.out.push(SegmentEvent::Captions(captions));
            }
        }
        if let Some(epoch) = &self.epoch
            && (unit.dts - epoch.video.last_input()).abs() > TIMELINE_JUMP
        {
            self.close_epoch()?;
        }
        self.pause(&unit)?;
        let limit = self.limit();
        let broken = self.broken || self.epoch.is_none();
        if broken && unit.key {
            return self.open_epoch(now_ms, unit);
        }
        // Pictures between a break and the next IDR can be decoded by nobody; the old epoch goes on when only audio broke.
        let Some(epoch) = &mut self.epoch else {
            return self.wait_for_key(&unit);
        };
        let dts = unit.dts + epoch.shift;
        epoch.video.flush_pending(dts, &mut self.out)?;
        let elapsed = dts - epoch.video.segment_start();
        let since_key = epoch.video.since_key(dts);
        let cut = if unit.key {
            self.longest_gop = self.longest_gop.max(since_key);
            // An encoder that adds keyframes at scene cuts would now and then make a segment that the playlist cannot carry.
            let next = self.absence.next_still().unwrap_or(self.longest_gop);
            let next_too_long = self.limit.is_some() && elapsed >= SEGMENT_LEAST && elapsed + next > limit;
            elapsed + SEGMENT_SLACK >= SEGMENT_TARGET || next_too_long
        } else {
            if since_key / TICKS_PER_SECOND > MAX_GOP_SECONDS {
                return Err(SegmenterError::NoKeyframe(since_key / TICKS_PER_SECOND));
            }
            let full = epoch.video.size() + unit.data.len() > MAX_SEGMENT_BYTES;
            full || elapsed >= SEGMENT_LEAST && elapsed + epoch.video.last_duration() > limit
        };
        if cut {
            self.limit.get_or_insert(longest_segment(target_duration(elapsed)));
            epoch.video.end_segment(&mut self.out)?;
            let seq = epoch.video.begin_segment(dts, unit.key);
            if let Some(audio) = &mut epoch.audio {
                audio.boundary(seq, unit.pts + epoch.shift);
            }
        }
        epoch.video.take(unit, epoch.shift);
        epoch.release_audio(&mut self.held, &mut self.out)
    }

    /// A picture is dropped.
    fn wait_for_key(&mut self, unit: &AccessUnit) -> Result<(), SegmenterError> {
        let seconds = (unit.dts - *self.waiting_since.get_or_insert(unit.dts)) / TICKS_PER_SECOND;
        if seconds > MAX_GOP_SECONDS { Err(SegmenterError::NoKeyframe(seconds)) } else { Ok(()) }
    }

    /// The picture before `unit` may last so long that its segment would be longer than the playlist allows.
    fn pause(&mut self, unit: &AccessUnit) -> Result<(), SegmenterError> {
        let limit = self.limit();
        let Some(epoch) = &mut self.epoch else { return Ok(()) };
        if unit.dts + epoch.shift - epoch.video.segment_start() <= limit {
            return Ok(());
        }
        // That picture alone is too long: it is shown for a moment, and a break follows.
        if unit.dts - epoch.video.last_input() > limit {
            let shown = epoch.video.last_duration();
            return self.close_epoch_with(shown);
        }
        // Sound may have gone on: it is cut at the same place, and none of it is lost.
        if let Some((dts, pts, key)) = epoch.video.pending() {
            epoch.video.end_segment(&mut self.out)?;
            let seq = epoch.video.begin_segment(dts, key);
            if let Some(audio) = &mut epoch.audio {
                audio.boundary(seq, pts);
            }
        }
        Ok(())
    }

    fn audio_unit(&mut self, unit: AccessUnit) -> Result<(), SegmenterError> {
        self.held.push_back(unit);
        if self.held.len() > MAX_HELD_AUDIO {
            self.held.pop_front();
        }
        match &mut self.epoch {
            Some(epoch) => epoch.release_audio(&mut self.held, &mut self.out),
            None => Ok(()),
        }
    }

    /// Takes one frame of a stream that has no video.
    fn sound_alone(&mut self, now_ms: i64, unit: AccessUnit) -> Result<(), SegmenterError> {
        if self.alone.as_ref().is_some_and(|alone| (unit.dts - alone.last).abs() > TIMELINE_JUMP) {
            self.close_epoch()?;
        }
        if self.alone.is_none() {
            let Some(track) = &self.audio else { return Ok(()) };
            let base = self.next_base.unwrap_or(START + self.start);
            if self.next_base.is_some() {
                self.out.push(SegmentEvent::Discontinuity { seq: self.next_seq });
            }
            self.out.push(SegmentEvent::AudioInit(cmaf::write_init(&Track::Audio(track.clone()))?, track.clone()));
            let audio = Audio::alone(track, self.next_seq, base, now_ms);
            self.alone = Some(Alone { shift: base - unit.dts, last: unit.dts, audio });
        }
        let Some(alone) = &mut self.alone else { return Ok(()) };
        alone.last = unit.dts;
        alone.audio.take_alone(unit, alone.shift, &mut self.out)
    }

    /// Writes all that is complete. The epoch is over; its successor waits for an IDR.
    fn close_epoch(&mut self) -> Result<(), SegmenterError> {
        self.close_epoch_with(TIMELINE_JUMP)
    }

    /// The same with sound up to so many ticks past the last picture.
    fn close_epoch_with(&mut self, sound: i64) -> Result<(), SegmenterError> {
        self.broken = true;
        if let Some(mut alone) = self.alone.take() {
            alone.audio.finish(&mut self.held, alone.shift, alone.last, sound, &mut self.out)?;
            self.next_seq = alone.audio.seq() + 1;
            self.next_base = Some(alone.audio.end());
            self.limit.get_or_insert(longest_segment(target_duration(SEGMENT_TARGET)));
        }
        let Some(mut epoch) = self.epoch.take() else { return Ok(()) };
        epoch.video.flush_last(&mut self.out)?;
        let elapsed = epoch.video.end() - epoch.video.segment_start();
        self.limit.get_or_insert(longest_segment(target_duration(elapsed)));
        epoch.video.end_segment(&mut self.out)?;
        if let Some(audio) = &mut epoch.audio {
            audio.finish(&mut self.held, epoch.shift, epoch.video.last_input(), sound, &mut self.out)?;
        }
        self.next_seq = epoch.video.seq() + 1;
        let audio_end = epoch.audio.as_ref().map_or(0, Audio::end);
        self.next_base = Some(epoch.video.end().max(audio_end));
        Ok(())
    }

    fn open_epoch(&mut self, now_ms: i64, mut unit: AccessUnit) -> Result<(), SegmenterError> {
        let Some(video) = self.video.clone() else { return Ok(()) };
        if let Some(epoch) = &mut self.epoch {
            epoch.video.flush_pending(unit.dts + epoch.shift, &mut self.out)?;
        }
        self.close_epoch()?;
        self.broken = false;
        let base = self.next_base.unwrap_or(START + self.start);
        let shift = base - unit.dts;
        if self.next_base.is_some() {
            self.out.push(SegmentEvent::Discontinuity { seq: self.next_seq });
        }
        unit.data = video.in_front_of(&unit.data)?;
        self.out.push(SegmentEvent::VideoInit(cmaf::write_init(&Track::Video(video.clone()))?, video));
        let audio = match &self.audio {
            Some(track) => {
                let init = cmaf::write_init(&Track::Audio(track.clone()))?;
                self.out.push(SegmentEvent::AudioInit(init, track.clone()));
                Some(Audio::new(track, self.next_seq, unit.pts + shift, self.next_base.is_none()))
            }
            None => None,
        };
        let mut video = Video::new(self.next_seq, base, now_ms);
        video.take(unit, shift);
        let epoch = self.epoch.insert(Epoch { shift, video, audio });
        epoch.release_audio(&mut self.held, &mut self.out)
    }
}

impl Epoch {
    fn release_audio(
        &mut self,
        held: &mut VecDeque<AccessUnit>,
        out: &mut Vec<SegmentEvent>,
    ) -> Result<(), SegmenterError> {
        match &mut self.audio {
            Some(audio) => audio.release(held, self.shift, self.video.last_input(), out),
            None => Ok(()),
        }
    }
}

/// The most ticks of a segment that a playlist of this target duration, in seconds, may list.
pub fn longest_segment(target: i64) -> i64 {
    target * TICKS_PER_SECOND + TICKS_PER_SECOND / 2 - 1
}

/// The target duration in whole seconds of a playlist whose first segment takes `first` ticks. It never changes after, so it is
/// chosen when that segment is known, and later segments are cut to fit it. Where the encoder's keyframes have missed the target
/// once, they get room to miss it by a little more: the next whole second.
pub fn target_duration(first: i64) -> i64 {
    let missed = if first > SEGMENT_TARGET + SEGMENT_SLACK { first } else { SEGMENT_TARGET };
    missed.div_euclid(TICKS_PER_SECOND) + i64::from(missed % TICKS_PER_SECOND > 0)
}
