//! One stream in the origin: which segments exist, which are listed, which are still fetchable. Sans-IO.
//!
//! The source decides the timeline. Each finished source segment gets a *slot* with its number, duration, date and
//! discontinuity; every rendition fills the same slots, so all playlists agree on numbers, dates and discontinuities. Numbers
//! continue when a publisher comes back.
//!
//! A slot of a rendition, once finished or declared a gap, never changes: a player may have seen it.
//!
//! A publisher whose picture grows or shrinks midway gets another ladder. Players keep the playlist that they chose: where a rung
//! is not made, its playlist lists the segments of the highest rung that is.

use super::OriginError;
use crate::events::TICKS_PER_SECOND;
use crate::segmenter::{MAX_SEGMENT_BYTES, target_duration};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Name of the rendition that is the source itself.
pub const SOURCE: &str = "source";
/// Name of the audio rendition.
pub const AUDIO: &str = "audio";
/// Segments listed: 20 s at the usual 2 s, well over the three target durations that RFC 8216 asks of a live playlist, and
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
/// Bytes of one stream, all renditions: 20 s listed and 22 s delisted at 80 Mb/s. Past it the oldest segments go early.
const MAX_STREAM_BYTES: usize = 512 << 20;
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

/// Where a rendition's segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Ready,
    Gap,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) init: u32,
    pub(super) parts: Vec<Bytes>,
    pub(super) progress: Progress,
    pub(super) bytes: usize,
    /// Own duration in ticks, where it differs from the slot's (audio).
    pub(super) duration: Option<i64>,
}

/// What a rendition is, for the master playlist.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Description {
    pub(crate) codec: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Configured bit/s; 0 for what is only measured.
    pub(crate) bitrate: u32,
    /// Audio only.
    pub(crate) channels: u8,
}

#[derive(Debug, Default)]
pub(super) struct Rendition {
    pub(super) about: Description,
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) inits: BTreeMap<u32, Bytes>,
    next_init: u32,
    /// From which segment on it is made, and from which on it is not.
    made: BTreeMap<u64, bool>,
    /// Highest bit rate of any segment, bit/s.
    pub(super) peak: u64,
    total_bits: u64,
    total_ticks: u64,
}

impl Rendition {
    /// Bit/s over all segments so far.
    pub(super) fn average(&self) -> u64 {
        (self.total_bits * TICKS_PER_SECOND as u64).checked_div(self.total_ticks).unwrap_or(0)
    }

    /// False once it was taken out of the ladder.
    pub(super) fn is_active(&self) -> bool {
        self.is_made(u64::MAX)
    }

    fn is_made(&self, number: u64) -> bool {
        at(&self.made, number).copied().unwrap_or(false)
    }

    fn progress(&self, slot: &Slot) -> Progress {
        if slot.too_long {
            return Progress::Gap;
        }
        self.segments.get(&slot.number).map_or(Progress::Open, |segment| segment.progress)
    }
}

/// What holds for segment `number`, of what is noted by the segment that it holds from.
fn at<T>(since: &BTreeMap<u64, T>, number: u64) -> Option<&T> {
    since.range(..=number).next_back().map(|(_, value)| value)
}

/// Forgets what holds for no segment from `start` on.
fn forget_before<T>(since: &mut BTreeMap<u64, T>, start: u64) {
    if let Some(holds) = since.range(..=start).next_back().map(|(from, _)| *from) {
        *since = since.split_off(&holds);
    }
}

/// Tags an entry of a media playlist has.
pub(super) struct Entry<'a> {
    pub(super) slot: &'a Slot,
    /// The rendition whose segment it is: its own, or the one that stands in for it.
    pub(super) of: &'a str,
    /// `None` for a gap.
    pub(super) segment: Option<&'a Segment>,
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
    /// The highest rung that is made, by the segment from which on it is.
    highest: BTreeMap<u64, String>,
    pub(super) target: Option<i64>,
    /// Frames per second of the source, once measured.
    pub(super) frame_rate: Option<f64>,
    /// A new publication may have another rate.
    measure_rate: bool,
    publications: u64,
    base: u64,
    /// First segment since players were last told that the playlists have ended.
    since: u64,
    /// A publisher that vanished may come back for so long.
    linger: Duration,
    ended: Option<(Instant, bool)>,
    bytes: usize,
}

impl Stream {
    pub(super) fn new(tag: String, linger: Duration) -> Self {
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
            highest: BTreeMap::new(),
            target: None,
            frame_rate: None,
            measure_rate: false,
            publications: 0,
            base: 0,
            since: 0,
            linger,
            ended: None,
            bytes: 0,
        }
    }

    /// A publisher begins, or begins again. Returns the number of the publication and the number of its segment 0.
    pub(super) fn begin(&mut self, now: Instant) -> (u64, u64) {
        if self.is_over(now) {
            // Players have seen the end: what follows is a new playlist, whose numbers only go on.
            self.delist(self.next_number, now);
            self.target = None;
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
        self.video = false;
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
        if name != AUDIO && !self.ladder.iter().any(|known| known == name) {
            self.ladder.push(name.to_owned());
        }
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

    /// The rendition whose segment `number` the playlist of `name` lists; `None` for a gap.
    fn lists<'a>(&'a self, name: &'a str, number: u64) -> Option<(&'a str, &'a Rendition)> {
        let own = self.renditions.get(name)?;
        if own.is_made(number) {
            return Some((name, own));
        }
        let other = at(&self.highest, number).filter(|_| name != AUDIO)?;
        let rendition = self.renditions.get(other)?;
        rendition.is_made(number).then_some((other.as_str(), rendition))
    }

    /// The init segment of the parts that follow. The same bytes again change nothing.
    pub(super) fn set_init(&mut self, name: &str, bytes: Bytes) -> Result<(), OriginError> {
        let rendition = self.renditions.get_mut(name).ok_or_else(|| unknown(name))?;
        if rendition.inits.last_key_value().is_some_and(|(_, last)| *last == bytes) {
            return Ok(());
        }
        rendition.inits.insert(rendition.next_init, bytes);
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

    pub(super) fn add_part(&mut self, name: &str, number: u64, index: u32, bytes: Bytes) -> Result<(), OriginError> {
        if number < self.window_start {
            return Ok(()); // too late to be of use to anyone
        }
        if number > self.next_number + AHEAD {
            return Err(OriginError::TooFarAhead { number, newest: self.next_number });
        }
        let rendition = self.renditions.get_mut(name).ok_or_else(|| unknown(name))?;
        let init = rendition.next_init.checked_sub(1).ok_or_else(|| OriginError::NoInit(name.to_owned()))?;
        let segment = rendition.segments.entry(number).or_insert_with(|| Segment {
            init,
            parts: Vec::new(),
            progress: Progress::Open,
            bytes: 0,
            duration: None,
        });
        if segment.progress != Progress::Open {
            return Ok(()); // players have seen it: it stays as it is
        }
        if segment.parts.len() as u32 != index {
            return Err(OriginError::PartOrder { number, index, expected: segment.parts.len() as u32 });
        }
        if segment.bytes + bytes.len() > MAX_SEGMENT_BYTES {
            return Err(OriginError::SegmentTooLarge(number));
        }
        segment.bytes += bytes.len();
        self.bytes += bytes.len();
        segment.parts.push(bytes);
        Ok(())
    }

    /// Forgets what came of an unfinished segment: another attempt follows.
    pub(super) fn reset_segment(&mut self, name: &str, number: u64) {
        if let Some(rendition) = self.renditions.get_mut(name)
            && rendition.segments.get(&number).is_some_and(|segment| segment.progress == Progress::Open)
            && let Some(segment) = rendition.segments.remove(&number)
        {
            self.bytes -= segment.bytes;
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
        let bits = segment.bytes as u64 * 8;
        if ticks > 0 {
            rendition.total_bits += bits;
            rendition.total_ticks += ticks as u64;
            // A short rest of a segment says nothing about the rate (RFC 8216bis measures over half a target duration or more).
            if rendition.peak == 0 || ticks >= target.unwrap_or(2) * TICKS_PER_SECOND / 2 {
                rendition.peak = rendition.peak.max(bits * TICKS_PER_SECOND as u64 / ticks as u64);
            }
        }
        Ok(())
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
        if let Some(late) = self.next_number.checked_sub(TOO_LATE + 1) {
            let names: Vec<String> = self.renditions.keys().cloned().collect();
            for name in names {
                self.gap(&name, late); // unless it is finished
            }
        }
        self.delist(self.next_number.saturating_sub(WINDOW as u64), now);
        self.evict(now);
        Ok(())
    }

    /// Declares that a rendition will never have this segment.
    pub(super) fn gap(&mut self, name: &str, number: u64) {
        let Some(rendition) = self.renditions.get_mut(name) else { return };
        if number < self.window_start || number > self.next_number + AHEAD {
            return;
        }
        let segment = rendition.segments.entry(number).or_insert_with(gap);
        if segment.progress == Progress::Open {
            self.bytes -= segment.bytes;
            *segment = gap();
        }
    }

    /// The first segment after a break of the source.
    pub(super) fn break_at(&mut self, number: u64) {
        self.breaks.insert(number);
    }

    pub(super) fn end(&mut self, clean: bool, now: Instant) {
        self.ended = Some((now, clean));
    }

    /// True when the playlists have ended: no player waits for more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ended.is_some_and(|(at, clean)| clean || now >= at + self.linger)
    }

    /// True when nothing of it needs to be kept.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.ended.is_some_and(|(at, _)| now >= at + self.linger + KEEP_ENDED)
    }

    /// What a rendition's playlist lists, in order and without holes, and whether it has ended.
    pub(super) fn entries<'a>(&'a self, name: &'a str, now: Instant) -> (Vec<Entry<'a>>, bool) {
        let mut entries = Vec::new();
        let mut complete = true;
        for slot in self.slots.iter().filter(|slot| slot.number >= self.window_start) {
            let lists = self.lists(name, slot.number);
            let segment = match lists.map_or(Progress::Gap, |(_, rendition)| rendition.progress(slot)) {
                Progress::Open => {
                    complete = false;
                    break;
                }
                Progress::Gap => None,
                Progress::Ready => lists.and_then(|(_, rendition)| rendition.segments.get(&slot.number)),
            };
            entries.push(Entry { slot, of: lists.map_or(name, |(of, _)| of), segment });
        }
        // A rendition whose last segments are still being made ends when they are there, or when they are not coming.
        let late = self.ended.is_some_and(|(at, _)| now >= at + LAST_SEGMENTS);
        (entries, self.is_over(now) && (complete || late))
    }

    /// Whether each listed segment of the playlist of `name` can be decoded alone.
    pub(super) fn is_independent(&self, name: &str) -> bool {
        let listed = self.slots.iter().filter(|slot| slot.number >= self.window_start);
        listed
            .filter(|slot| !slot.independent)
            .all(|slot| self.lists(name, slot.number).is_none_or(|(of, _)| of != SOURCE))
    }

    /// A finished segment that may be fetched, listed or not.
    pub(super) fn segment(&self, name: &str, number: u64) -> Option<&Segment> {
        let segment = self.renditions.get(name)?.segments.get(&number)?;
        (segment.progress == Progress::Ready).then_some(segment)
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

    /// What the playlist of `name` has for a slot: the rendition whose segment it is, and the segment, `None` for a gap. `None` while
    /// that is open.
    pub(super) fn settled<'a>(&'a self, name: &'a str, slot: &Slot) -> Option<(&'a str, Option<&'a Segment>)> {
        let Some((of, rendition)) = self.lists(name, slot.number) else { return Some((name, None)) };
        match rendition.progress(slot) {
            Progress::Open => None,
            Progress::Gap => Some((of, None)),
            Progress::Ready => Some((of, rendition.segments.get(&slot.number))),
        }
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
            if !spent && (self.bytes <= MAX_STREAM_BYTES || self.slots.len() == 1) {
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

fn gap() -> Segment {
    Segment { init: 0, parts: Vec::new(), progress: Progress::Gap, bytes: 0, duration: None }
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
