//! The file that says of a recording that it has no end yet, and what a crash would leave unlisted: `.open/{node}/{name}/{id}.json`,
//! outside of the recording's own folder.

use super::catalog::{State, Summary};
use super::sheet::{Entry, Sheet, Totals};
use crate::origin::Description;
use crate::origin::playlist::date;
use bytes::Bytes;
use millrace_hop::unix_now_ms;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Folder of the markers.
pub(super) const OPEN: &str = ".open";

/// Which recording it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) node: String,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) started_ms: u64,
}

/// What the marker's file says.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Described {
    pub(super) marker: Option<Marker>,
    /// It is to be deleted, and may be in part already.
    pub(super) deleted: bool,
    pub(super) target: i64,
    pub(super) frame_rate: Option<f64>,
    pub(super) ladder: Vec<String>,
    /// Some segments of the source cannot be decoded alone.
    pub(super) dependent: bool,
    /// Number of the first segment.
    pub(super) first: u64,
    /// The end of the timeline, from this entry on: duration in ticks, date in unix milliseconds, discontinuity.
    pub(super) from: usize,
    pub(super) timeline: Vec<(i64, i64, bool)>,
    pub(super) tracks: BTreeMap<String, Tail>,
}

/// A rendition, and its entries that the stored playlist may lack.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tail {
    pub(super) about: Description,
    pub(super) from: usize,
    pub(super) entries: Vec<Entry>,
}

impl Marker {
    /// Of a recording that begins now.
    pub(super) fn new(node: &str, name: &str) -> Self {
        let started_ms = unix_now_ms();
        let date: String = date(started_ms as i64 / 1000 * 1000).chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let id = format!("{}Z-{:08x}", date.trim_end_matches(".000Z"), rand::random::<u32>());
        Self { node: node.to_owned(), name: name.to_owned(), id, started_ms }
    }

    /// Its key.
    pub(super) fn key(&self) -> String {
        format!("{OPEN}/{}/{}/{}.json", self.node, self.name, self.id)
    }

    /// Folder of the recording.
    pub(super) fn folder(&self) -> String {
        format!("{}/{}", self.name, self.id)
    }

    /// What is known of it while it runs.
    pub(super) fn summary(&self, Totals { duration_ms, bytes, gaps }: Totals) -> Summary {
        let (name, id, started_ms) = (self.name.clone(), self.id.clone(), self.started_ms);
        Summary { name, id, started_ms, duration_ms, bytes, gaps, state: State::Recording }
    }

    /// The file.
    pub(super) fn describe(&self, sheet: &Sheet, tracks: BTreeMap<String, Tail>) -> Bytes {
        let from = tracks.values().map(|tail| tail.from).min().unwrap_or(0);
        let rest = sheet.timeline.iter().skip(from);
        let described = Described {
            marker: Some(self.clone()),
            deleted: false,
            target: sheet.target,
            frame_rate: sheet.frame_rate,
            ladder: sheet.ladder.clone(),
            dependent: sheet.timeline.iter().any(|moment| !moment.independent),
            first: sheet.first().unwrap_or(0),
            from,
            timeline: rest.map(|moment| (moment.duration, moment.date, moment.discontinuity)).collect(),
            tracks,
        };
        serde_json::to_vec(&described).unwrap_or_default().into()
    }

    /// The file that says that the recording is to be deleted.
    pub(super) fn deleted(&self) -> Bytes {
        let described = Described { marker: Some(self.clone()), deleted: true, ..Described::default() };
        serde_json::to_vec(&described).unwrap_or_default().into()
    }
}
