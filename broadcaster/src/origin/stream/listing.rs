//! What the playlist of a rendition lists: the stream as a player sees it. Nothing here changes it.

use super::super::playlist::HOLD_BACK;
use super::super::rendition::{Part, Progress, Rendition, Segment, at};
use super::{AUDIO, SOURCE, Slot, Stream, ticks};
use crate::events::TICKS_PER_SECOND;
use crate::segmenter::longest_segment;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// How far a playlist has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Segments before this one are listed …
    pub(crate) next: u64,
    /// … and so many parts of it.
    pub(crate) parts: u32,
    /// Nothing follows.
    pub(crate) over: bool,
}

/// The segment of a playlist that is not finished: its parts are listed as they come.
pub(crate) struct Tail<'a> {
    pub(crate) number: u64,
    /// As in [`Entry`].
    pub(crate) of: &'a str,
    pub(crate) init: Option<u32>,
    pub(crate) discontinuity: bool,
    pub(crate) parts: Vec<(&'a Part, i64)>,
    /// It will be listed whole: no part of it follows.
    pub(crate) whole: bool,
}

/// The part that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) number: u64,
    pub(crate) index: u32,
}

/// What the newest picture is behind by, when a player shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lags {
    /// The longest part.
    pub(crate) part: Duration,
    /// What playlists ask for.
    pub(crate) hold_back: Duration,
}

/// Tags an entry of a media playlist has.
pub(crate) struct Entry<'a> {
    pub(crate) slot: &'a Slot,
    /// The rendition whose segment it is: its own, or the one that stands in for it.
    pub(crate) of: &'a str,
    /// `None` for a gap.
    pub(crate) segment: Option<&'a Segment>,
}

impl Entry<'_> {
    /// Its duration in ticks. A segment that may not be listed leaves a gap, and a gap obeys the target duration too.
    pub(crate) fn ticks(&self, target: i64) -> i64 {
        self.segment.and_then(|segment| segment.duration).unwrap_or(self.slot.duration).min(longest_segment(target))
    }
}

impl Stream {
    /// The rendition whose segment `number` the playlist of `name` lists; `None` for a gap.
    pub(crate) fn lists<'a>(&'a self, name: &'a str, number: u64) -> Option<(&'a str, &'a Rendition)> {
        let own = self.renditions.get(name)?;
        if own.is_made(number) {
            return Some((name, own));
        }
        let other = at(&self.highest, number).filter(|_| name != AUDIO)?;
        let rendition = self.renditions.get(other)?;
        rendition.is_made(number).then_some((other.as_str(), rendition))
    }

    /// What the playlist of `name` lists in this slot, and where that stands.
    pub(crate) fn stands<'a>(&'a self, name: &'a str, slot: &Slot) -> (Option<(&'a str, &'a Rendition)>, Progress) {
        let lists = self.lists(name, slot.number);
        (lists, lists.map_or(Progress::Gap, |(_, rendition)| rendition.progress(slot)))
    }

    /// The segments that a rendition's playlist lists, in order and without holes.
    pub(crate) fn entries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Entry<'a>> {
        let listed = self.window_start..self.renditions.get(name).map_or(0, |rendition| rendition.listed_to);
        listed.filter_map(|number| self.slot(number)).map(move |slot| {
            let (lists, progress) = self.stands(name, slot);
            let segment = lists.filter(|_| progress == Progress::Ready);
            let segment = segment.and_then(|(_, rendition)| rendition.segments.get(&slot.number));
            Entry { slot, of: lists.map_or(name, |(of, _)| of), segment }
        })
    }

    /// The segment behind the listed ones of the playlist of `name`, as far as it has come.
    pub(crate) fn tail<'a>(&'a self, name: &'a str) -> Option<Tail<'a>> {
        let number = self.renditions.get(name)?.listed_to.max(self.window_start);
        let (of, rendition) = self.lists(name, number)?;
        let segment = rendition.segments.get(&number).filter(|segment| segment.progress != Progress::Gap);
        let discontinuity = self.slot(number).map_or(self.breaks.contains(&number), |slot| slot.discontinuity);
        let init = segment.filter(|segment| !segment.parts.is_empty()).map(|segment| segment.init);
        let whole = segment.is_some_and(|segment| segment.whole);
        Some(Tail { number, of, init, discontinuity, parts: self.parts(name, number), whole })
    }

    /// The parts of segment `number` that the playlist of `name` may name, with their ticks.
    pub(crate) fn parts<'a>(&'a self, name: &'a str, number: u64) -> Vec<(&'a Part, i64)> {
        let (Some((_, rendition)), Some(part_target), Some(target)) =
            (self.lists(name, number), self.part_target(name), self.target)
        else {
            return Vec::new();
        };
        rendition.parts(number, part_target, longest_segment(target))
    }

    /// Longest part of the playlist of `name`, ticks; none before it is known, or where no parts are listed.
    pub(crate) fn part_target(&self, name: &str) -> Option<i64> {
        let targets = &self.part_targets;
        if name == AUDIO { targets.audio } else { targets.video }.filter(|target| *target > 0)
    }

    /// What players are behind by: of parts, or of segments where there are none.
    pub(crate) fn lags(&self) -> Option<Lags> {
        let target = self.target? * TICKS_PER_SECOND;
        let part = self.part_target(if self.video { SOURCE } else { AUDIO }).unwrap_or(target);
        Some(Lags { part: ticks(part), hold_back: ticks(HOLD_BACK * part) })
    }

    /// The part that the playlist of `name` will name next, as far as can be told: a segment has as many parts as the one before it.
    pub(crate) fn hint(&self, name: &str, tail: &Tail<'_>) -> Hint {
        let Tail { number, parts, whole, .. } = tail;
        let before = number.checked_sub(1).map_or(0, |before| self.parts(name, before).len());
        let full = *whole || !parts.is_empty() && parts.len() == before;
        let index = if full { 0 } else { parts.len() as u32 };
        Hint { number: number + u64::from(full), index }
    }

    /// How far the playlist of `name` has come.
    pub(crate) fn edge(&self, name: &str, now: Instant) -> Edge {
        let next = self.renditions.get(name).map_or(0, |rendition| rendition.listed_to).max(self.window_start);
        let over = self.has_ended(name, now);
        Edge { next, parts: if over { 0 } else { self.parts(name, next).len() as u32 }, over }
    }

    /// Whether each listed segment of the playlist of `name` can be decoded alone.
    pub(crate) fn is_independent(&self, name: &str) -> bool {
        let listed = self.slots.iter().filter(|slot| slot.number >= self.window_start);
        let open =
            self.lists(name, self.next_number).and_then(|(_, rendition)| rendition.segments.get(&self.next_number));
        open.and_then(|segment| segment.parts.first()).is_none_or(|part| part.independent)
            && listed
                .filter(|slot| !slot.independent)
                .all(|slot| self.lists(name, slot.number).is_none_or(|(of, _)| of != SOURCE))
    }

    /// The newest segment that begins with a key picture, of the lowest rung that has one: the rung and the segment's number, its init segment and first part.
    pub(crate) fn newest_key(&self) -> Option<((String, u64), Bytes, Bytes)> {
        self.ladder.iter().rev().find_map(|name| {
            self.slots.iter().rev().filter(|slot| slot.independent).find_map(|slot| {
                let segment = self.segment(name, slot.number)?;
                let init = self.renditions.get(name)?.inits.get(&segment.init)?;
                Some(((name.clone(), slot.number), init.bytes.clone(), segment.parts.first()?.bytes.clone()))
            })
        })
    }

    /// What the playlist of `name` has for a slot: the rendition whose segment it is, and the segment, `None` for a gap. `None` while
    /// that is open.
    pub(crate) fn settled<'a>(&'a self, name: &'a str, slot: &Slot) -> Option<(&'a str, Option<&'a Segment>)> {
        let Some((of, rendition)) = self.lists(name, slot.number) else { return Some((name, None)) };
        match rendition.progress(slot) {
            Progress::Open => None,
            Progress::Gap => Some((of, None)),
            Progress::Ready => Some((of, rendition.segments.get(&slot.number))),
        }
    }
}
