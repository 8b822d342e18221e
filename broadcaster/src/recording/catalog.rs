//! Which recordings there are: in memory, and beside the recordings as `.ended/{name}/{id}.json`, one small file for each, so that none
//! has to be looked through to list them. And which of them go, when there is not room for all.

use super::marker::Marker;
use super::store::{Store, StoreError};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};

/// Folder of the summaries.
const ENDED: &str = ".ended";
/// Read at once.
const AT_ONCE: usize = 8;

/// Where a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RecordingState)]
pub(crate) enum State {
    /// It goes on.
    Recording,
    /// It ended with its stream.
    Ended,
    /// It was cut off by the end of its process, and mended.
    Recovered,
    /// Its end could not be written.
    Unfinished,
}

/// A recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Recording)]
pub(crate) struct Summary {
    pub(crate) name: String,
    pub(crate) id: String,
    /// Unix milliseconds.
    pub(crate) started_ms: u64,
    pub(crate) duration_ms: u64,
    /// Of all segments.
    pub(crate) bytes: u64,
    /// Segments that it lacks, of all renditions.
    pub(crate) gaps: u64,
    pub(crate) state: State,
}

impl Summary {
    fn ended_ms(&self) -> u64 {
        self.started_ms + self.duration_ms
    }

    fn key(&self) -> String {
        format!("{ENDED}/{}/{}.json", self.name, self.id)
    }
}

/// How long recordings stay, and how much there may be of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Hours after their end; 0: for ever.
    pub(crate) hours: u64,
    /// Bytes of all; 0: any number.
    pub(crate) bytes: u64,
}

/// Somebody plays a recording for so long after the last request for a file of it: a player's buffer, and a pause.
const PLAYED_MS: u64 = 60_000;
/// A recording that should go stays for those who play it no longer than the longest lasts.
const LONGEST_MS: u64 = 12 * 3_600_000;

/// When a recording is played.
#[derive(Debug, Default)]
struct Played {
    last_ms: u64,
    /// It should have gone then.
    spent_ms: Option<u64>,
}

type Known = BTreeMap<(String, String), Summary>;

/// All recordings that this node knows.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    known: Mutex<Known>,
    running: Mutex<BTreeSet<(String, String)>>,
    played: Mutex<BTreeMap<(String, String), Played>>,
}

fn key(name: &str, id: &str) -> (String, String) {
    (name.to_owned(), id.to_owned())
}

impl Catalog {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, name: &str, id: &str) {
        self.running().insert(key(name, id));
    }

    pub(super) fn grows(&self, summary: Summary) {
        self.known().insert(key(&summary.name, &summary.id), summary);
    }

    pub(super) fn ended(&self, summary: Summary) {
        self.running().remove(&key(&summary.name, &summary.id));
        self.grows(summary);
    }

    /// Its recorder is gone.
    pub(super) fn stopped(&self, name: &str, id: &str) {
        if self.running().remove(&key(name, id))
            && let Some(summary) = self.known().get_mut(&key(name, id))
        {
            summary.state = State::Unfinished;
        }
    }

    pub(super) fn forget(&self, name: &str, id: &str) {
        self.running().remove(&key(name, id));
        self.known().remove(&key(name, id));
        self.played.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(name, id));
    }

    pub(super) fn is_running(&self, name: &str, id: &str) -> bool {
        self.running().contains(&key(name, id))
    }

    /// Somebody has asked for a file of it.
    pub(super) fn play(&self, name: &str, id: &str, now_ms: u64) {
        if self.known().contains_key(&key(name, id)) {
            let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
            played.entry(key(name, id)).or_default().last_ms = now_ms;
        }
    }

    /// Whether one that should go, if it should, stays for now, because it is played.
    fn is_spared(&self, summary: &Summary, goes: bool, now_ms: u64) -> bool {
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(played) = played.get_mut(&key(&summary.name, &summary.id)) else { return false };
        played.spent_ms = goes.then(|| played.spent_ms.unwrap_or(now_ms));
        let is_played = now_ms < played.last_ms + PLAYED_MS;
        played.spent_ms.is_some_and(|since| is_played && now_ms < since + LONGEST_MS)
    }

    pub(crate) fn find(&self, name: &str, id: &str) -> Option<Summary> {
        self.known().get(&key(name, id)).cloned()
    }

    /// All, the newest first.
    pub(crate) fn all(&self) -> Vec<Summary> {
        let mut all: Vec<_> = self.known().values().cloned().collect();
        all.sort_by_key(|summary| std::cmp::Reverse(summary.started_ms));
        all
    }

    /// Reads what the store has.
    pub(super) async fn load(&self, store: &Store) -> Result<(), StoreError> {
        let files = store.list(ENDED).await?;
        let mut reading = futures::stream::iter(files.into_iter().map(async |file| {
            let read = store.get(&file.key).await?;
            serde_json::from_slice(&read).map_err(|error| StoreError::Malformed(file.key, error.to_string()))
        }))
        .buffer_unordered(AT_ONCE);
        while let Some(read) = reading.next().await {
            match read {
                Ok(summary) => self.grows(summary),
                Err(error) => warn!(%error, "a recording cannot be listed"),
            }
        }
        Ok(())
    }

    /// Deletes a recording. A crash midway leaves a marker, by which the next start goes on.
    pub(super) async fn delete(&self, store: &Store, node: &str, summary: &Summary) -> Result<(), StoreError> {
        let Summary { name, id, started_ms, .. } = summary.clone();
        let marker = Marker { node: node.to_owned(), name, id, started_ms };
        store.put(&marker.key(), vec![marker.deleted()]).await?;
        self.forget(&marker.name, &marker.id);
        remove(store, &marker).await
    }

    /// Deletes what is too old, and then the oldest for as long as there is too much; never what is still being made, and what somebody
    /// plays only afterwards.
    pub(super) async fn tidy(&self, store: &Store, node: &str, keep: Keep, now_ms: u64) {
        for summary in self.spent(keep, now_ms) {
            match self.delete(store, node, &summary).await {
                Ok(()) => {
                    info!(
                        stream = summary.name,
                        recording = summary.id,
                        bytes = summary.bytes,
                        "recording deleted: its time or its room was over"
                    );
                }
                Err(error) => warn!(%error, recording = summary.id, "a recording that should go cannot be deleted"),
            }
        }
    }

    fn spent(&self, keep: Keep, now_ms: u64) -> Vec<Summary> {
        let mut all = self.all();
        let mut bytes: u64 = all.iter().map(|summary| summary.bytes).sum();
        all.retain(|summary| !self.is_running(&summary.name, &summary.id));
        all.sort_by_key(Summary::ended_ms);
        let mut spent = Vec::new();
        for summary in all {
            let old = keep.hours > 0 && summary.ended_ms() + keep.hours * 3_600_000 <= now_ms;
            let goes = old || (keep.bytes > 0 && bytes > keep.bytes);
            let spared = self.is_spared(&summary, goes, now_ms);
            if goes {
                bytes -= summary.bytes; // also of one that is spared: no other has to go in its place
            }
            if goes && !spared {
                spent.push(summary);
            }
        }
        spent
    }
}

/// Writes a summary.
pub(super) async fn put(store: &Store, summary: &Summary) -> Result<(), StoreError> {
    let text = serde_json::to_vec(summary).unwrap_or_default();
    store.put(&summary.key(), vec![text.into()]).await
}

/// Removes all of a recording, the marker last.
pub(super) async fn remove(store: &Store, marker: &Marker) -> Result<(), StoreError> {
    let folder = marker.folder();
    let mut keys: Vec<_> = store.list(&folder).await?.into_iter().map(|file| file.key).collect();
    keys.push(format!("{ENDED}/{folder}.json"));
    store.delete(keys).await?;
    store.remove_folder(&folder).await?;
    store.delete(vec![marker.key()]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(id: &str, ended_h: u64, bytes: u64) -> Summary {
        let (started_ms, duration_ms) = (ended_h * 3_600_000 - 1_000, 1_000);
        Summary { name: "show".into(), id: id.into(), started_ms, duration_ms, bytes, gaps: 0, state: State::Ended }
    }

    #[test]
    fn the_old_go_then_the_oldest_and_never_what_is_being_made() {
        let catalog = Catalog::default();
        for (id, hours, bytes) in [("b", 20, 20), ("a", 10, 10), ("c", 30, 30)] {
            catalog.grows(summary(id, hours, bytes));
        }
        catalog.begin("show", "live");
        catalog.grows(summary("live", 1, 40));
        let spent = |hours, bytes| {
            let spent = catalog.spent(Keep { hours, bytes }, 31 * 3_600_000);
            spent.iter().map(|summary| summary.id.clone()).collect::<Vec<_>>().concat()
        };
        assert_eq!(spent(0, 0), "");
        assert_eq!(spent(0, 100), "");
        assert_eq!(spent(0, 99), "a");
        assert_eq!(spent(0, 1), "abc");
        assert_eq!(spent(11, 0), "ab");
        assert_eq!(spent(21, 90), "a");
        assert_eq!(spent(21, 50), "abc");

        // The oldest is played: it stays, and no newer one makes room for it.
        catalog.play("show", "a", 31 * 3_600_000 - 1);
        assert_eq!((spent(0, 99).as_str(), spent(0, 80).as_str(), spent(11, 0).as_str()), ("", "b", "b"));
    }
}
