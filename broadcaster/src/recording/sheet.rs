//! What a recording consists of, as plain data, and its playlists as text. Pure.
//!
//! The timeline and each rendition's entries grow in step; a playlist is made of them at any time, and read back after a crash.

use crate::events::TICKS_PER_SECOND;
use crate::origin::playlist::{audio_group, caption_group, date, entry, header, seconds, snap, sound_alone, variant};
use crate::origin::reader::{Listed, Moment, News};
use crate::origin::{AUDIO, Description, SOURCE};
use millrace_media::captions::Captions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

/// What a rendition has for a segment of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// In the origin, not in the store. `ticks`: its own duration, 0 for the timeline's.
    Pending {
        init: u32,
        ticks: i64,
    },
    /// In the store.
    Own {
        init: u32,
        ticks: i64,
        bytes: u64,
    },
    /// The segment of another rendition, which stands in for it.
    Of(String),
    Gap,
}

/// The same, looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolved<'a> {
    Pending,
    Gap,
    Segment { of: &'a str, init: u32, ticks: i64, bytes: u64 },
}

/// A rendition.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Track {
    pub(super) about: Description,
    pub(super) entries: Vec<Entry>,
}

/// A recording. Entries of every rendition count from the first segment of the timeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sheet {
    /// Seconds.
    pub(super) target: i64,
    pub(super) frame_rate: Option<f64>,
    /// Variants, in the order of the master playlist.
    pub(super) ladder: Vec<String>,
    pub(super) timeline: Vec<Moment>,
    pub(super) tracks: BTreeMap<String, Track>,
}

/// What is known of a recording's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) duration_ms: u64,
    pub(super) bytes: u64,
    pub(super) gaps: u64,
}

impl Sheet {
    /// Number of the first segment.
    pub(super) fn first(&self) -> Option<u64> {
        self.timeline.first().map(|moment| moment.number)
    }

    /// Number of the segment that the timeline goes on with, once it has begun.
    pub(super) fn next(&self) -> Option<u64> {
        self.timeline.last().map(|moment| moment.number + 1)
    }

    /// Takes the timeline on. What is missing in between was never seen: it has the target duration, and all renditions a gap.
    pub(super) fn extend(&mut self, moment: Moment) {
        while let Some(last) = self.timeline.last().filter(|last| last.number + 1 < moment.number).copied() {
            let duration = self.target * TICKS_PER_SECOND;
            let (number, date) = (last.number + 1, last.date + last.duration * 1000 / TICKS_PER_SECOND);
            self.timeline.push(Moment { number, duration, date, independent: true, discontinuity: false });
        }
        if self.next().is_none_or(|next| next == moment.number) {
            self.timeline.push(moment);
        }
    }

    /// Takes a rendition's news. One that joins late is led up to by what its own playlist would have listed: the highest variant there
    /// was, and gaps where there is no picture.
    pub(super) fn take(&mut self, name: &str, news: News) {
        let Some(first) = self.first() else { return };
        let stand_in = self.ladder.iter().find(|other| *other != name && self.tracks.contains_key(*other)).cloned();
        let stand_in = stand_in.filter(|_| name != AUDIO);
        let track = self.tracks.entry(name.to_owned()).or_default();
        track.about = news.about;
        let joins = track.entries.is_empty();
        for (number, listed) in news.listed {
            let Some(index) = number.checked_sub(first).and_then(|index| usize::try_from(index).ok()) else { continue };
            if index >= self.timeline.len() {
                break;
            }
            while track.entries.len() < index {
                track.entries.push(stand_in.clone().filter(|_| joins).map_or(Entry::Gap, Entry::Of));
            }
            if track.entries.len() == index {
                track.entries.push(match listed {
                    Listed::Gap => Entry::Gap,
                    Listed::Own { init, duration } => Entry::Pending { init, ticks: duration.unwrap_or(0) },
                    Listed::Of(other) => Entry::Of(other),
                });
            }
        }
        if news.variant && !self.ladder.iter().any(|known| known == name) {
            self.ladder.push(name.to_owned());
        }
    }

    fn resolve<'a>(&'a self, name: &'a str, index: usize) -> Resolved<'a> {
        let entry = |name: &str| self.tracks.get(name).and_then(|track| track.entries.get(index));
        let of = |of: &'a str, entry| match entry {
            None | Some(&Entry::Pending { .. }) => Resolved::Pending,
            Some(&Entry::Own { init, ticks, bytes }) => Resolved::Segment { of, init, ticks, bytes },
            Some(Entry::Of(_) | Entry::Gap) => Resolved::Gap,
        };
        match entry(name) {
            Some(Entry::Of(other)) => of(other, entry(other)),
            own => of(name, own),
        }
    }

    /// Entries from the start on that a playlist can list, where they are known to be `from` at least.
    pub(super) fn listable_from(&self, name: &str, from: usize) -> usize {
        from + (from..self.timeline.len()).take_while(|index| self.resolve(name, *index) != Resolved::Pending).count()
    }

    /// Whether each segment of a rendition can be decoded alone.
    fn is_independent(&self, name: &str) -> bool {
        let dependent = self.timeline.iter().enumerate().filter(|(_, moment)| !moment.independent);
        dependent
            .map(|(index, _)| self.resolve(name, index))
            .all(|entry| !matches!(entry, Resolved::Segment { of: SOURCE, .. }))
    }

    /// The beginning of a playlist that grows.
    pub(super) fn opening(&self) -> String {
        self.head("EVENT", false)
    }

    fn head(&self, kind: &str, independent: bool) -> String {
        let mut text = header(independent);
        let (target, first) = (self.target, self.first().unwrap_or(0));
        let _ = write!(
            text,
            "#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-PLAYLIST-TYPE:{kind}\n"
        );
        text
    }

    /// The lines of some entries, in a playlist that has those before them.
    pub(super) fn lines(&self, name: &str, entries: std::ops::Range<usize>) -> String {
        let init = |index| match self.resolve(name, index) {
            Resolved::Segment { of, init, .. } => Some((of, init)),
            _ => None,
        };
        let folder = |of: &str| if of == name { String::new() } else { format!("../{of}/") };
        let mut current = (0..entries.start).rev().find_map(init);
        // Gaps before the first segment name its init too, where it is known.
        let first = if current.is_none() { entries.clone().find_map(init) } else { None };
        let mut text = String::new();
        for index in entries {
            let Some(moment) = self.timeline.get(index) else { break };
            let broken = moment.discontinuity && index > 0;
            if broken {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let needed = init(index).or(current).or(first);
            if let Some((of, id)) = needed.filter(|_| needed != current || broken) {
                let _ = writeln!(text, "#EXT-X-MAP:URI=\"{}init-{id}.mp4\"", folder(of));
                current = needed;
            }
            let (gap, of, ticks) = match self.resolve(name, index) {
                Resolved::Segment { of, ticks, .. } => (false, of, ticks),
                _ => (true, name, 0),
            };
            let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date(moment.date));
            let ticks = if ticks == 0 { moment.duration } else { ticks };
            entry(&mut text, gap, seconds(ticks, self.target), &format!("{}{}.m4s", folder(of), moment.number));
        }
        text
    }

    /// The whole playlist of what grows still: its first `entries`.
    pub(super) fn growing(&self, name: &str, entries: usize) -> String {
        self.opening() + &self.lines(name, 0..entries)
    }

    /// The whole playlist of what has ended.
    pub(super) fn ended(&self, name: &str) -> String {
        let entries = self.tracks.get(name).map_or(0, |track| track.entries.len());
        self.head("VOD", self.is_independent(name)) + &self.lines(name, 0..entries) + "#EXT-X-ENDLIST\n"
    }

    /// Peak and average bit/s of a rendition over all of the recording; `None` where it has no segment.
    fn bandwidth(&self, name: &str) -> Option<(u64, u64)> {
        let second = TICKS_PER_SECOND as u64;
        let (mut peak, mut brief, mut bits, mut ticks) = (0, 0, 0, 0);
        for (index, moment) in self.timeline.iter().enumerate() {
            let Resolved::Segment { ticks: own, bytes, .. } = self.resolve(name, index) else { continue };
            let length = if own == 0 { moment.duration } else { own }.max(1) as u64;
            let rate = (bytes * 8 * second).div_ceil(length);
            // A short rest of a segment says nothing about the rate (RFC 8216bis measures over half a target duration or more).
            let measured = if length >= self.target as u64 * second / 2 { &mut peak } else { &mut brief };
            *measured = rate.max(*measured);
            (bits, ticks) = (bits + bytes * 8, ticks + length);
        }
        (ticks > 0).then(|| (if peak > 0 { peak } else { brief }, (bits * second).div_ceil(ticks)))
    }

    /// The master playlist, once there is a segment. What was never made is no variant.
    pub(super) fn master(&self) -> Option<String> {
        let sound = self.tracks.get(AUDIO).and_then(|track| Some((&track.about, self.bandwidth(AUDIO)?)));
        let with_picture: Vec<_> =
            self.ladder.iter().filter_map(|name| Some((name, self.tracks.get(name)?, self.bandwidth(name)?))).collect();
        let mut text = header(self.tracks.keys().all(|name| self.is_independent(name)));
        if with_picture.is_empty() {
            let (about, rates) = sound?;
            sound_alone(&mut text, &about.codec, rates);
            return Some(text);
        }
        if let Some((about, _)) = sound {
            audio_group(&mut text, about.channels);
        }
        let captions = with_picture.iter().map(|(_, track, _)| track.about.captions);
        caption_group(&mut text, captions.fold(Captions::default(), Captions::and));
        let rate = self.frame_rate.map_or(30.0, snap);
        for (name, track, rates) in with_picture {
            let sound = sound.map(|(about, rates)| (about.codec.as_str(), rates));
            variant(&mut text, name, &track.about, rates, rate, sound);
        }
        Some(text)
    }

    /// The last entry of a playlist that has a segment.
    pub(super) fn last_segment(&self, name: &str) -> Option<usize> {
        (0..self.timeline.len()).rev().find(|index| matches!(self.resolve(name, *index), Resolved::Segment { .. }))
    }

    /// Nothing follows: what has not come, or was not written, is a gap.
    pub(super) fn close(&mut self) {
        for track in self.tracks.values_mut() {
            track.entries.resize(self.timeline.len(), Entry::Gap);
            for entry in &mut track.entries {
                if matches!(entry, Entry::Pending { .. }) {
                    *entry = Entry::Gap;
                }
            }
        }
    }

    /// Length, bytes of all segments and gaps of all renditions.
    pub(super) fn totals(&self) -> Totals {
        let ticks: i64 = self.timeline.iter().map(|moment| moment.duration).sum();
        let entries = self.tracks.values().flat_map(|track| &track.entries);
        let mut totals = Totals { duration_ms: (ticks.max(0) * 1000 / TICKS_PER_SECOND) as u64, ..Totals::default() };
        for entry in entries {
            match entry {
                Entry::Own { bytes, .. } => totals.bytes += bytes,
                Entry::Gap => totals.gaps += 1,
                Entry::Pending { .. } | Entry::Of(_) => {}
            }
        }
        totals
    }
}

/// What a playlist lists.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) moment: Moment,
    pub(super) entry: Entry,
    /// The init segment, of whichever rendition it is.
    pub(super) init: u32,
}

/// What a playlist of ours lists, in order. A torn end is left out; sizes are not in it.
pub(super) fn read(name: &str, text: &str) -> Vec<Line> {
    let mut listed: Vec<Line> = Vec::new();
    let (mut discontinuity, mut gap, mut at, mut ticks, mut init) = (false, false, None, None, 0);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        if line == "#EXT-X-DISCONTINUITY" {
            discontinuity = true;
        } else if line == "#EXT-X-GAP" {
            gap = true;
        } else if let Some(uri) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            let id = uri.trim_end_matches(".mp4\"").rsplit("init-").next();
            init = id.and_then(|id| id.parse().ok()).unwrap_or(init);
        } else if let Some(date) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            at = milliseconds(date);
        } else if let Some(seconds) = line.strip_prefix("#EXTINF:") {
            let seconds: Option<f64> = seconds.trim_end_matches(',').parse().ok();
            ticks = seconds.map(|seconds| (seconds * TICKS_PER_SECOND as f64).round() as i64);
        } else if !line.starts_with('#') {
            let (folder, file) = line.rsplit_once('/').unwrap_or(("", line));
            let number = file.strip_suffix(".m4s").and_then(|number| number.parse().ok());
            let (Some(number), Some(date), Some(duration)) = (number, at.take(), ticks.take()) else { break };
            if listed.last().is_some_and(|last| last.moment.number + 1 != number) {
                break;
            }
            let entry = match folder.strip_prefix("../") {
                _ if gap => Entry::Gap,
                Some(other) => Entry::Of(other.to_owned()),
                // Pictures are as long as the timeline says; sound has its own length.
                None => Entry::Own { init, ticks: if name == AUDIO { duration } else { 0 }, bytes: 0 },
            };
            let moment = Moment { number, duration, date, independent: true, discontinuity };
            listed.push(Line { moment, entry, init });
            (discontinuity, gap) = (false, false);
        }
    }
    listed
}

/// Unix milliseconds of a date as `date` writes it.
fn milliseconds(date: &str) -> Option<i64> {
    let since = humantime::parse_rfc3339(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
