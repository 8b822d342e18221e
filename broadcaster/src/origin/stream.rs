//! One stream in the origin: which segments exist, which are listed, which are still fetchable. Sans-IO.
//!
//! The source decides the timeline. Each finished source segment gets a *slot* with its number, duration, date and
//! discontinuity; every rendition fills the same slots, so all playlists agree on numbers, dates and discontinuities. Numbers
//! continue when a publisher comes back.
//!
//! A slot of a rendition, once finished or declared a gap, never changes: a player may have seen it. Neither does a part that is listed:
//! where its worker is lost, the parts are taken out of the playlist, and the segment that another worker makes is listed whole.
//!
//! The playlist of a rendition lists its segments up to the first that is not finished, and of that one the parts. Where the two meet is
//! its [`Edge`].
//!
//! A publisher whose picture grows or shrinks midway gets another ladder. Players keep the playlist that they chose: where a rung
//! is not made, its playlist lists the segments of the highest rung that is.

use super::OriginError;
use super::rendition::{Description, Init, Part, Progress, Rendition, Segment};
use crate::events::TICKS_PER_SECOND;
use crate::segmenter::{MAX_SEGMENT_BYTES, target_duration};
use bytes::Bytes;
use millrace_media::captions::Captions;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

mod listing;

pub(crate) use listing::Lags;
pub(super) use listing::{Edge, Entry, Hint, Tail};

/// Name of the rendition that is the source itself.
pub const SOURCE: &str = "source";
/// Name of the audio rendition.
pub const AUDIO: &str = "audio";
/// Segments listed at least: 20 s at the usual 2 s, well over the three target durations that RFC 8216 asks of a live playlist, and
/// enough for a player to pause a little.
pub const WINDOW: usize = 10;
/// A segment of a rendition that is so many behind the source's newest is not waited for any more: three are then still listed, and
/// RFC 8216 lets no live playlist list less.
const TOO_LATE: u64 = WINDOW as u64 - 3;
/// A publisher that vanished may come back for so long before its playlists end, unless the configuration says otherwise.
pub const LINGER: Duration = Duration::from_secs(10);
/// A rendition's last segments may come so long after the end of their stream, however it ended.
const LAST_SEGMENTS: Duration = Duration::from_secs(10);
/// Ended streams stay for players that are still reading the end: three windows.
pub const KEEP_ENDED: Duration = Duration::from_secs(60);
/// Bytes of one stream, all renditions, unless the configuration says otherwise: 20 s listed and 22 s delisted at 80 Mb/s. Past it the
/// oldest segments go early.
pub const STREAM_BYTES: usize = 512 << 20;
/// Streams, live and ended, that are kept unless [`Keep::streams`] says otherwise.
const STREAMS: usize = 256;
/// Rendition segments may run so far ahead of the last finished source segment.
const AHEAD: u64 = 2;

/// One segment of the timeline that all renditions share.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u64,
    /// Ticks.
    pub(super) duration: i64,
    /// Unix milliseconds.
    pub(super) date: i64,
    /// The source's segment starts with a key picture.
    pub(super) independent: bool,
    pub(super) discontinuity: bool,
    /// It is longer than the target duration: no playlist may list it.
    pub(super) too_long: bool,
    /// Once delisted: until when it stays fetchable.
    evict_at: Option<Instant>,
}

impl Slot {
    /// `duration` in ticks, `date` in unix milliseconds.
    pub(super) fn new(number: u64, duration: i64, date: i64, independent: bool) -> Self {
        Self { number, duration, date, independent, discontinuity: false, too_long: false, evict_at: None }
    }
}

/// Forgets what holds for no segment from `start` on.
fn forget_before<T>(since: &mut BTreeMap<u64, T>, start: u64) {
    if let Some(holds) = since.range(..=start).next_back().map(|(from, _)| *from) {
        *since = since.split_off(&holds);
    }
}

/// Longest part in ticks, known from the first segment on: as the target duration, it never changes. 0 where frames are so long that parts
/// gain nothing.
#[derive(Default)]
struct PartTargets {
    video: Option<i64>,
    audio: Option<i64>,
}

/// How much a stream keeps.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// A publisher that vanished may come back for so long.
    pub linger: Duration,
    /// Playlists reach so far back, or [`WINDOW`] segments where that is more.
    pub window: Duration,
    /// Bytes of all renditions. Past it the oldest segments go early.
    pub bytes: usize,
    /// Streams, live and ended. One more takes the place of the one that ended first.
    pub streams: usize,
}

impl Default for Keep {
    fn default() -> Self {
        Self { linger: LINGER, window: Duration::ZERO, bytes: STREAM_BYTES, streams: STREAMS }
    }
}

/// The stream.
pub(super) struct Stream {
    /// Distinguishes the files of this process from those of one before it, for caches.
    pub(super) tag: String,
    slots: VecDeque<Slot>,
    window_start: u64,
    next_number: u64,
    pub(super) discontinuity_sequence: u64,
    breaks: BTreeSet<u64>,
    pub(super) renditions: BTreeMap<String, Rendition>,
    /// Order of the master playlist.
    pub(super) ladder: Vec<String>,
    /// The publication has video, listed or not.
    pub(super) video: bool,
    captions: Captions,
    /// The highest rung that is made, by the segment from which on it is.
    highest: BTreeMap<u64, String>,
    pub(super) target: Option<i64>,
    /// Output times of what the publisher sent have come so far, ticks.
    pub(super) reached: i64,
    part_targets: PartTargets,
    /// Frames per second of the source, once measured.
    pub(super) frame_rate: Option<f64>,
    /// A new publication may have another rate.
    measure_rate: bool,
    publications: u64,
    base: u64,
    keep: Keep,
    /// First segment since players were last told that the playlists have ended.
    since: u64,
    ended: Option<(Instant, bool)>,
    bytes: usize,
}

impl Stream {
    pub(super) fn new(tag: String, keep: Keep) -> Self {
        Self {
            tag,
            slots: VecDeque::new(),
            window_start: 0,
            next_number: 0,
            discontinuity_sequence: 0,
            breaks: BTreeSet::new(),
            renditions: BTreeMap::new(),
            ladder: Vec::new(),
            video: false,
            captions: Captions::default(),
            highest: BTreeMap::new(),
            target: None,
            reached: 0,
            part_targets: PartTargets::default(),
            frame_rate: None,
            measure_rate: false,
            publications: 0,
            base: 0,
            keep,
            since: 0,
            ended: None,
            bytes: 0,
        }
    }

    /// A publisher begins, or begins again. Returns the number of the publication and the number of its segment 0.
    pub(super) fn begin(&mut self, now: Instant) -> (u64, u64) {
        if self.is_over(now) {
            // Players have seen the end: what follows is a new playlist, whose numbers only go on.
            self.delist(self.next_number, now);
            (self.target, self.part_targets) = (None, PartTargets::default());
            self.since = self.next_number;
        }
        (self.publications, self.base, self.ended) = (self.publications + 1, self.next_number, None);
        self.measure_rate = true;
        if self.base > 0 {
            self.breaks.insert(self.base);
        }
        for rendition in self.renditions.values_mut() {
            for segment in rendition.segments.split_off(&self.base).into_values() {
                self.bytes -= segment.bytes;
            }
            rendition.made.insert(self.base, false);
        }
        self.ladder.clear();
        (self.video, self.captions) = (false, Captions::default());
        (self.publications, self.base)
    }

    pub(super) fn is_current(&self, publication: u64) -> bool {
        self.publications == publication
    }

    /// Adds the source, or brings it back, or another encoding of it, from segment `from` on. One that no player takes is kept for its
    /// timeline alone: no playlist names it, and the one of its own name lists the segments of the highest rung.
    pub(super) fn add_source(&mut self, from: u64, about: Description, playable: bool) {
        self.add_rendition(SOURCE, from, about);
        self.video = true;
        if let Some(source) = self.renditions.get_mut(SOURCE).filter(|_| !playable) {
            source.made.insert(from.max(self.next_number), false);
            self.ladder.retain(|name| name != SOURCE);
        }
    }

    /// Adds a rendition, or brings it back, from segment `from` on.
    pub(super) fn add_rendition(&mut self, name: &str, from: u64, about: Description) {
        let rendition = self.renditions.entry(name.to_owned()).or_default();
        if !rendition.is_active() {
            rendition.made.insert(from.max(self.next_number), true); // what is finished may have been shown to players
        }
        rendition.about = about;
        rendition.about.captions = self.captions;
        if name != AUDIO && !self.ladder.iter().any(|known| known == name) {
            self.ladder.push(name.to_owned());
        }
        self.advance();
    }

    /// The rungs that are made from segment `from` on, highest first. Source and audio are not in question.
    pub(super) fn set_ladder(&mut self, rungs: Vec<(String, Description)>, from: u64) {
        self.ladder.retain(|name| name == SOURCE || rungs.iter().any(|(rung, _)| rung == name));
        for (name, rendition) in &mut self.renditions {
            if name != AUDIO && !self.ladder.contains(name) && rendition.is_active() {
                rendition.made.insert(from, false);
            }
        }
        self.highest.insert(from, rungs.first().map_or(SOURCE, |(name, _)| name).to_owned());
        for (name, about) in rungs {
            self.add_rendition(&name, from, about);
        }
    }

    /// The channels of closed captions of the publication. A player that came before finds them in the pictures.
    pub(super) fn set_captions(&mut self, captions: Captions) {
        self.captions = captions;
        for rendition in self.renditions.values_mut() {
            rendition.about.captions = captions;
        }
    }

    /// The init segment of the parts that follow, whose durations count so many units a second. The same again changes nothing.
    pub(super) fn set_init(&mut self, name: &str, bytes: Bytes, timescale: u32) -> Result<(), OriginError> {
        let rendition = self.renditions.get_mut(name).ok_or_else(|| unknown(name))?;
        let init = Init { bytes, timescale: timescale.into() };
        if rendition.inits.last_key_value().is_some_and(|(_, last)| *last == init) {
            return Ok(());
        }
        rendition.inits.insert(rendition.next_init, init);
        rendition.next_init += 1;
        // Only what a kept segment needs is kept, and the newest.
        let newest = rendition.next_init - 1;
        let used: BTreeSet<u32> = rendition.segments.values().map(|segment| segment.init).collect();
        rendition.inits.retain(|id, _| *id == newest || used.contains(id));
        Ok(())
    }

    pub(super) fn set_codec(&mut self, name: &str, codec: String) {
        if let Some(rendition) = self.renditions.get_mut(name) {
            rendition.about.codec = codec;
        }
    }

    pub(super) fn add_part(&mut self, name: &str, number: u64, index: u32, part: Part) -> Result<(), OriginError> {
        if number < self.window_start {
            return Ok(()); // too late to be of use to anyone
        }
        if number > self.next_number + AHEAD {
            return Err(OriginError::TooFarAhead { number, newest: self.next_number });
        }
        let rendition = self.renditions.get_mut(name).ok_or_else(|| unknown(name))?;
        let init = rendition.next_init.checked_sub(1).ok_or_else(|| OriginError::NoInit(name.to_owned()))?;
        let segment = rendition.segments.entry(number).or_insert_with(|| Segment::open(init));
        if segment.progress != Progress::Open {
            return Ok(()); // players have seen it: it stays as it is
        }
        if segment.parts.len() as u32 != index {
            return Err(OriginError::PartOrder { number, index, expected: segment.parts.len() as u32 });
        }
        let size = part.bytes.len();
        if segment.bytes + size > MAX_SEGMENT_BYTES {
            return Err(OriginError::SegmentTooLarge(number));
        }
        if segment.parts.is_empty() {
            segment.init = init; // a new attempt may come from another encoder
        }
        segment.bytes += size;
        self.bytes += size;
        segment.parts.push(part);
        Ok(())
    }

    /// Forgets what came of an unfinished segment: another attempt follows. Players may have some of its parts, which those of another
    /// encoder do not continue: the segment will be listed whole.
    pub(super) fn reset_segment(&mut self, name: &str, number: u64) {
        if let Some(rendition) = self.renditions.get_mut(name)
            && let Some(segment) = rendition.segments.get_mut(&number)
            && segment.progress == Progress::Open
            && !segment.parts.is_empty()
        {
            self.bytes -= segment.bytes;
            *segment = Segment { whole: true, ..Segment::open(segment.init) };
        }
    }

    /// Finishes a segment of any rendition but the source's. `duration` is the segment's own, if it differs from the source's.
    pub(super) fn finish_segment(&mut self, name: &str, number: u64, duration: Option<i64>) -> Result<(), OriginError> {
        let slot_duration = self.slot(number).map(|slot| slot.duration);
        let target = self.target;
        let rendition = self.renditions.get_mut(name).ok_or_else(|| unknown(name))?;
        let Some(segment) = rendition.segments.get_mut(&number) else {
            // Nothing came for it (or it is long gone).
            self.gap(name, number);
            return Ok(());
        };
        if segment.progress != Progress::Open {
            return Ok(());
        }
        let ticks = duration.or(slot_duration).unwrap_or(0);
        if segment.parts.is_empty() || target.is_some_and(|target| rounded(ticks) > target) {
            self.gap(name, number);
            return Ok(());
        }
        segment.progress = Progress::Ready;
        segment.duration = duration;
        // A short rest of a segment says nothing about the rate (RFC 8216bis measures over half a target duration or more).
        rendition.measure(number, ticks, target.unwrap_or(2) * TICKS_PER_SECOND / 2);
        if name == AUDIO && self.part_targets.audio.is_none() {
            self.part_targets.audio = self.measure_parts(name, number);
        }
        self.advance();
        Ok(())
    }

    /// The part target that segment `number` of `name` suggests; 0 where a part is as good as a segment.
    fn measure_parts(&self, name: &str, number: u64) -> Option<i64> {
        let longest = self.renditions.get(name)?.measured_part_target(number);
        Some(if longest * 2 > self.target? * TICKS_PER_SECOND { 0 } else { longest })
    }

    /// Finishes a segment of what the publisher sent, of which number, duration, date and independence are given, and so opens its
    /// slot. `name` is the source's, or that of audio where there is no video.
    pub(super) fn finish_source(
        &mut self,
        name: &str,
        mut slot: Slot,
        frames: u32,
        now: Instant,
    ) -> Result<(), OriginError> {
        let Slot { number, duration, .. } = slot;
        if number != self.next_number {
            return Err(OriginError::SegmentOrder { number, expected: self.next_number });
        }
        let target = *self.target.get_or_insert_with(|| target_duration(duration));
        slot.too_long = rounded(duration) > target;
        if slot.too_long {
            let seconds = duration / TICKS_PER_SECOND;
            tracing::warn!(number, seconds, target, "segment is longer than the playlist allows and is left out");
        }
        if duration > 0 && frames > 0 && (self.frame_rate.is_none() || std::mem::take(&mut self.measure_rate)) {
            self.frame_rate = Some(f64::from(frames) * TICKS_PER_SECOND as f64 / duration as f64);
        }
        slot.discontinuity = self.breaks.remove(&number);
        self.slots.push_back(slot);
        self.next_number += 1;
        self.finish_segment(name, number, None)?;
        if name == SOURCE && self.part_targets.video.is_none() {
            self.part_targets.video = self.measure_parts(name, number);
        }
        if let Some(late) = self.next_number.checked_sub(TOO_LATE + 1) {
            let names: Vec<String> = self.renditions.keys().cloned().collect();
            for name in names {
                self.gap(&name, late); // unless it is finished
            }
        }
        self.delist(self.oldest_listed(), now);
        self.evict(now);
        self.advance();
        Ok(())
    }

    /// Declares that a rendition will never have this segment.
    pub(super) fn gap(&mut self, name: &str, number: u64) {
        let Some(rendition) = self.renditions.get_mut(name) else { return };
        if number < self.window_start || number > self.next_number + AHEAD {
            return;
        }
        let segment = rendition.segments.entry(number).or_insert_with(Segment::gap);
        if segment.progress == Progress::Open {
            self.bytes -= segment.bytes;
            *segment = Segment::gap();
        }
        self.advance();
    }

    /// Moves the edges of all playlists on. What is listed stays listed: they only rise.
    fn advance(&mut self) {
        let reached = |(name, rendition): (&String, &Rendition)| {
            let from = rendition.listed_to.max(self.window_start);
            let slots = (from..).map_while(|number| self.slot(number));
            let done = slots.take_while(|slot| self.stands(name, slot).1 != Progress::Open).count() as u64;
            (from + done > rendition.listed_to).then(|| (name.clone(), from + done))
        };
        let moved: Vec<(String, u64)> = self.renditions.iter().filter_map(reached).collect();
        for (name, listed_to) in moved {
            if let Some(rendition) = self.renditions.get_mut(&name) {
                rendition.listed_to = listed_to;
            }
        }
    }

    /// The first segment after a break of the source.
    pub(super) fn break_at(&mut self, number: u64) {
        self.breaks.insert(number);
    }

    pub(super) fn end(&mut self, clean: bool, now: Instant) {
        self.ended = Some((now, clean));
    }

    /// When the last publication ended, if none goes on.
    pub(super) fn ended(&self) -> Option<Instant> {
        self.ended.map(|(at, _)| at)
    }

    /// True when the playlists have ended: no player waits for more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ended.is_some_and(|(at, clean)| clean || now >= at + self.keep.linger)
    }

    /// True when nothing of it needs to be kept.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.ended.is_some_and(|(at, _)| now >= at + self.keep.linger + KEEP_ENDED)
    }

    /// Whether the playlist of `name` has ended. One whose last segments are still being made ends when they are there, or when they are
    /// not coming.
    pub(super) fn has_ended(&self, name: &str, now: Instant) -> bool {
        let complete = self.renditions.get(name).is_none_or(|rendition| rendition.listed_to >= self.next_number);
        let late = self.ended.is_some_and(|(at, _)| now >= at + LAST_SEGMENTS);
        self.is_over(now) && (complete || late)
    }

    /// A finished segment that may be fetched, listed or not.
    pub(super) fn segment(&self, name: &str, number: u64) -> Option<&Segment> {
        let segment = self.renditions.get(name)?.segments.get(&number)?;
        (segment.progress == Progress::Ready).then_some(segment)
    }

    /// Part `index` of a segment that may be fetched, finished or not.
    pub(super) fn part(&self, name: &str, number: u64, index: u32) -> Option<&Part> {
        let segment = self.renditions.get(name)?.segments.get(&number).filter(|segment| !segment.whole)?;
        segment.parts.get(index as usize)
    }

    /// Number of the source segment that is not finished yet.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// First segment of the playlists that are open now, or ended last.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// The slots from `number` on that are kept, listed or not.
    pub(super) fn kept_from(&self, number: u64) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.number >= number)
    }

    pub(super) fn window_start(&self) -> u64 {
        self.window_start
    }

    #[cfg(test)]
    pub(super) fn ladders_noted(&self) -> usize {
        self.highest.len() + self.renditions.values().map(|rendition| rendition.made.len()).sum::<usize>()
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        let first = self.slots.front()?.number;
        self.slots.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Where playlists begin, now that the newest segment is there.
    fn oldest_listed(&self) -> u64 {
        let window = self.keep.window.as_secs() as i64 * TICKS_PER_SECOND;
        let mut behind = 0;
        let within = self.slots.iter().rev().enumerate().take_while(|(listed, slot)| {
            let wanted = *listed < WINDOW || behind < window;
            behind += slot.duration;
            wanted
        });
        within.last().map_or(self.next_number, |(_, slot)| slot.number)
    }

    /// Takes the segments before `start` out of the playlists. They stay fetchable for their own duration and that of the
    /// longest playlist that named them.
    fn delist(&mut self, start: u64, now: Instant) {
        let listed: i64 =
            self.slots.iter().filter(|slot| slot.number >= self.window_start).map(|slot| slot.duration).sum();
        for slot in &mut self.slots {
            if slot.number < start && slot.evict_at.is_none() {
                self.discontinuity_sequence += u64::from(slot.discontinuity);
                slot.evict_at = Some(now + ticks(slot.duration) + ticks(listed));
            }
        }
        self.window_start = self.window_start.max(start);
    }

    fn evict(&mut self, now: Instant) {
        while let Some(oldest) = self.slots.front() {
            let spent = oldest.evict_at.is_some_and(|at| now >= at);
            if !spent && (self.bytes <= self.keep.bytes || self.slots.len() == 1) {
                break;
            }
            let number = oldest.number;
            self.delist(number + 1, now);
            self.slots.pop_front();
            for rendition in self.renditions.values_mut() {
                let kept = rendition.segments.split_off(&(number + 1));
                for segment in std::mem::replace(&mut rendition.segments, kept).into_values() {
                    self.bytes -= segment.bytes;
                }
                forget_before(&mut rendition.made, number + 1);
            }
            forget_before(&mut self.highest, number + 1);
        }
    }
}

fn unknown(name: &str) -> OriginError {
    OriginError::UnknownRendition(name.to_owned())
}

/// Whole seconds, as the rule on target durations rounds.
fn rounded(ticks: i64) -> i64 {
    (ticks + TICKS_PER_SECOND / 2) / TICKS_PER_SECOND
}

fn ticks(ticks: i64) -> Duration {
    Duration::from_micros(ticks.unsigned_abs() * 100 / 9)
}
