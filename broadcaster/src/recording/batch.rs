//! A recording in the making, and what of it is written at a time: sans-IO, but for the write itself.

use super::marker::{Marker, Tail};
use super::sheet::{Entry, Sheet};
use super::store::{Store, StoreError};
use crate::origin::reader::{Look, Reader};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Segments that are written together, and their bytes: what a stream of eight renditions finishes at once.
const SEGMENTS: usize = 16;
const BYTES: usize = 64 << 20;
/// A playlist in a bucket is written anew each time: it grows by a segment, or by this part of its length.
const GROWTH: usize = 256;

/// A recording in the making.
pub(super) struct Running {
    pub(super) marker: Marker,
    pub(super) sheet: Sheet,
    /// Number of the segment that is none of it any more, once it is known.
    pub(super) end: Option<u64>,
    /// Segments that the origin had forgotten before they were written.
    pub(super) lost: u64,
    /// By rendition: the entries that its stored playlist has, and its bytes.
    listed: BTreeMap<String, (usize, u64)>,
    inits: BTreeSet<(String, u32)>,
    /// The stored master playlist was made of so many segments, as a power of two, and variants.
    master: (usize, usize),
}

/// What is to be written.
pub(super) struct Batch {
    marker: (String, Bytes),
    inits: Vec<(String, u32, Bytes)>,
    segments: Vec<Segment>,
    playlists: Vec<Playlist>,
    master: Option<((usize, usize), String)>,
    folder: String,
}

struct Segment {
    rendition: String,
    index: usize,
    number: u64,
    /// The entry until it is written.
    pending: Entry,
    parts: Vec<Bytes>,
    written: bool,
}

/// What a playlist grows by.
struct Playlist {
    rendition: String,
    /// Entries afterwards.
    entries: usize,
    /// Where the text begins; 0: it is the whole.
    offset: u64,
    text: Bytes,
}

/// What became of a batch.
pub(super) struct Written {
    batch: Batch,
    result: Result<(), StoreError>,
}

impl Running {
    pub(super) fn new(marker: Marker) -> Self {
        let (listed, inits) = (BTreeMap::new(), BTreeSet::new());
        Self { marker, sheet: Sheet::default(), end: None, lost: 0, listed, inits, master: (0, 0) }
    }

    /// Takes a look in, as far as segment `end`. With `gone_on`, the stream's playlists are others by now, and only what is known
    /// already is of interest.
    pub(super) fn take(&mut self, look: Look, end: u64, gone_on: bool) {
        let sheet = &mut self.sheet;
        if !gone_on || sheet.target == 0 {
            if let (0, Some(target)) = (sheet.target, look.target) {
                sheet.target = target;
            }
            sheet.frame_rate = look.frame_rate.or(sheet.frame_rate);
        }
        let gone_on = gone_on && !sheet.tracks.is_empty();
        look.timeline.into_iter().filter(|moment| moment.number < end).for_each(|moment| sheet.extend(moment));
        // The variants' order first: what joins late is led up to by the highest of them.
        let mut renditions = look.renditions;
        let ordered: Vec<_> = look.ladder.iter().filter_map(|name| renditions.remove_entry(name)).collect();
        for (name, mut news) in ordered.into_iter().chain(renditions) {
            if gone_on {
                let Some(track) = sheet.tracks.get(&name) else { continue };
                (news.about, news.variant) = (track.about.clone(), false);
            }
            sheet.take(&name, news);
        }
    }

    /// Nothing more will come.
    pub(super) fn settle(&mut self) {
        let length = self.sheet.timeline.len();
        self.sheet.tracks.values_mut().for_each(|track| track.entries.resize(length, Entry::Gap));
    }

    /// Whether everything has come and is written.
    pub(super) fn is_complete(&self) -> bool {
        let length = self.sheet.timeline.len();
        self.sheet.next().is_none_or(|next| Some(next) >= self.end)
            && self.sheet.tracks.values().all(|track| {
                let pending = |entry: &Entry| matches!(entry, Entry::Pending { .. });
                track.entries.len() == length && !track.entries.iter().rev().any(pending)
            })
    }

    /// The next write, if there is something to write: the oldest segments, and the playlists that they complete.
    pub(super) fn batch(&mut self, store: &Store, reader: &Reader) -> Option<Batch> {
        let segments = self.segments(reader);
        let playlists = self.playlists(store.appends());
        let master = self.next_master();
        let mut inits = Vec::new();
        for (segment, init) in &segments {
            if let Entry::Pending { init: id, .. } = segment.pending
                && !self.inits.contains(&(segment.rendition.clone(), id))
                && !inits.iter().any(|(rendition, known, _)| (rendition, *known) == (&segment.rendition, id))
            {
                inits.push((segment.rendition.clone(), id, init.clone()));
            }
        }
        if segments.is_empty() && playlists.is_empty() && master.is_none() {
            return None;
        }
        let tails = self.sheet.tracks.iter().map(|(name, track)| {
            let from = self.listed.get(name).map_or(0, |(entries, _)| *entries);
            let known = track.entries.iter().skip(from).take_while(|entry| !matches!(entry, Entry::Pending { .. }));
            (name.clone(), Tail { about: track.about.clone(), from, entries: known.cloned().collect() })
        });
        let marker = self.marker.describe(&self.sheet, tails.collect());
        let segments = segments.into_iter().map(|(segment, _)| segment).collect();
        let (key, folder) = (self.marker.key(), self.marker.folder());
        Some(Batch { marker: (key, marker), inits, segments, playlists, master, folder })
    }

    /// Takes the oldest segments that are not written, with their init segments, and enters them as if they were.
    fn segments(&mut self, reader: &Reader) -> Vec<(Segment, Bytes)> {
        let first = self.sheet.first().unwrap_or(0);
        let mut pending = Vec::new();
        for (name, track) in &self.sheet.tracks {
            let open = track.entries.iter().enumerate().skip(self.settled(name));
            let open = open.filter(|(_, entry)| matches!(entry, Entry::Pending { .. })).take(SEGMENTS);
            pending.extend(open.map(|(index, entry)| (index, name.clone(), entry.clone())));
        }
        pending.sort_by_key(|(index, ..)| *index);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for (index, rendition, pending) in pending.into_iter().take(SEGMENTS) {
            if bytes >= BYTES {
                break;
            }
            let number = first + index as u64;
            let entry = match (&pending, reader.fetch(&rendition, number)) {
                (&Entry::Pending { init, ticks }, Some((parts, header))) => {
                    let size: usize = parts.iter().map(Bytes::len).sum();
                    bytes += size;
                    let segment =
                        Segment { rendition: rendition.clone(), index, number, pending, parts, written: false };
                    taken.push((segment, header));
                    Entry::Own { init, ticks, bytes: size as u64 }
                }
                _ => {
                    self.lost += 1;
                    Entry::Gap
                }
            };
            self.enter(&rendition, index, entry);
        }
        taken
    }

    fn enter(&mut self, rendition: &str, index: usize, entry: Entry) {
        if let Some(place) = self.sheet.tracks.get_mut(rendition).and_then(|track| track.entries.get_mut(index)) {
            *place = entry;
        }
    }

    /// Entries of a rendition that are certainly settled.
    fn settled(&self, name: &str) -> usize {
        // A playlist that lists another rendition's segments may lag behind what is its own, and never runs ahead of it.
        self.listed.get(name).map_or(0, |(entries, _)| *entries)
    }

    fn playlists(&self, appends: bool) -> Vec<Playlist> {
        let mut playlists = Vec::new();
        for (name, track) in &self.sheet.tracks {
            let (listed, bytes) = self.listed.get(name).copied().unwrap_or_default();
            let entries = self.sheet.listable_from(name, listed).min(track.entries.len());
            let grown = entries.saturating_sub(listed);
            if grown == 0 || (!appends && grown <= listed / GROWTH) {
                continue;
            }
            let (offset, text) = if appends && listed > 0 {
                (bytes, self.sheet.lines(name, listed..entries))
            } else {
                (0, self.sheet.growing(name, entries))
            };
            playlists.push(Playlist { rendition: name.clone(), entries, offset, text: text.into() });
        }
        playlists
    }

    /// The master playlist, when there is another variant, or twice as many segments to measure.
    fn next_master(&self) -> Option<((usize, usize), String)> {
        let own = |entry: &&Entry| matches!(entry, Entry::Own { .. });
        let made =
            |name: &String| self.sheet.tracks.get(name).is_some_and(|track| track.entries.iter().any(|e| own(&e)));
        let now = (self.sheet.timeline.len().next_power_of_two(), self.sheet.tracks.keys().filter(|n| made(n)).count());
        if now == self.master || now.1 == 0 {
            return None;
        }
        Some((now, self.sheet.master()?))
    }

    /// Takes in what became of a batch.
    pub(super) fn apply(&mut self, Written { batch, result }: Written) -> Result<(), String> {
        let Batch { inits, segments, playlists, master, .. } = batch;
        match result {
            Ok(()) => {
                self.inits.extend(inits.into_iter().map(|(rendition, id, _)| (rendition, id)));
                for Playlist { rendition, entries, offset, text } in playlists {
                    self.listed.insert(rendition, (entries, offset + text.len() as u64));
                }
                self.master = master.map_or(self.master, |(made_of, _)| made_of);
                Ok(())
            }
            Err(error) => {
                for segment in segments.into_iter().filter(|segment| !segment.written) {
                    self.enter(&segment.rendition, segment.index, segment.pending);
                }
                if error.is_missing() || matches!(error, StoreError::TimedOut(_)) {
                    // Somebody has cleared the store, or a write may come late: playlists are written as if they were new.
                    self.listed.clear();
                    self.inits.clear();
                    self.master = (0, 0);
                }
                Err(error.to_string())
            }
        }
    }
}

impl Segment {
    async fn write(&mut self, store: &Store, folder: &str) -> Result<(), StoreError> {
        store.put(&format!("{folder}/{}/{}.m4s", self.rendition, self.number), self.parts.clone()).await?;
        self.written = true;
        Ok(())
    }
}

impl Batch {
    /// Writes it, each thing after what it relies on.
    pub(super) async fn write(mut self, store: Store) -> Written {
        let result = self.try_write(&store).await;
        Written { batch: self, result }
    }

    async fn try_write(&mut self, store: &Store) -> Result<(), StoreError> {
        let (marker, folder) = (&self.marker, &self.folder);
        store.put(&marker.0, vec![marker.1.clone()]).await?;
        for (rendition, id, bytes) in &self.inits {
            store.put(&format!("{folder}/{rendition}/init-{id}.mp4"), vec![bytes.clone()]).await?;
        }
        let writing = self.segments.iter_mut().map(|segment| segment.write(store, folder));
        futures::future::join_all(writing).await.into_iter().collect::<Result<(), _>>()?;
        for Playlist { rendition, offset, text, .. } in &self.playlists {
            let key = format!("{folder}/{rendition}/index.m3u8");
            match offset {
                0 => store.put(&key, vec![text.clone()]).await?,
                offset => store.append(&key, *offset, text.clone()).await?,
            }
        }
        if let Some((_, text)) = &self.master {
            store.put(&format!("{folder}/master.m3u8"), vec![text.clone().into()]).await?;
        }
        Ok(())
    }
}
