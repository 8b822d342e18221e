//! Recordings: what the origin serves live is written down as it goes, so that it plays from any static web server, or from here.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | which streams are recorded, what is mended at the start and deleted later |
//! | `recorder` | one stream's recorder, beside the live path and never in it |
//! | `batch` | what it writes at a time, and in which order |
//! | `sheet` | a recording as plain data, its playlists written and read back: pure |
//! | `marker`, `ending` | what a crash leaves behind, and the end that is made of it |
//! | `catalog` | which recordings there are, and which have to go |
//! | `store` | a directory, or an S3-compatible bucket |
//! | `disk` | what is written in a directory, so that it survives a loss of power |
//! | `http` | the routes |
//! | `clip` | a stretch of a recording as one MP4 |
//!
//! A recording is `{name}/{id}/` with `master.m3u8`, and per rendition `index.m3u8`, `init-{n}.mp4` and `{number}.m4s`. It spans the
//! publications that share a playlist: a publisher who comes back in time goes on in it.

mod batch;
mod catalog;
pub mod clip;
mod disk;
mod ending;
mod http;
mod marker;
mod recorder;
mod sheet;
mod status;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use catalog::Keep;
pub(crate) use http::{calls, router};
pub(crate) use status::{RecordingView, Status};
pub(crate) use store::Store;

use crate::origin::{Access, StreamHandle};
use catalog::Catalog;
use marker::{Described, OPEN};
use millrace_hop::unix_now_ms;
use recorder::Recorder;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::StoreError;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// How often it is looked for recordings that have to go, and a start's work is tried again where the store was away.
const TIDY_INTERVAL: Duration = Duration::from_secs(30);

/// Clips that are made at once: each reads its stretch twice, for whoever asks.
const CLIPS: usize = 4;

/// Which streams are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// All but those of which the auth webhook says no.
    All,
    /// Those of which the auth webhook says yes.
    Asked,
}

/// What a broadcaster records, where to, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) store: Store,
    pub(crate) policy: Policy,
    pub(crate) keep: Keep,
    /// Who may watch: as live.
    pub(crate) access: Access,
}

/// All recorders of a broadcaster.
pub(crate) struct Recordings {
    options: Options,
    /// Tells this node's unfinished recordings from those of others in the same store.
    node: Arc<str>,
    catalog: Arc<Catalog>,
    running: Mutex<HashMap<String, Follower>>,
    /// Clips that are being made.
    clips: Arc<Semaphore>,
}

/// A recorder that runs, or has run.
struct Follower {
    /// First segment of the playlists that it records.
    since: u64,
    until: Arc<AtomicU64>,
    status: Arc<Status>,
}

impl Recordings {
    /// Records for `node`.
    pub(crate) fn new(options: Options, node: &str) -> Self {
        let clips = Arc::new(Semaphore::new(CLIPS));
        Self { options, node: node.into(), catalog: Arc::default(), running: Mutex::default(), clips }
    }

    /// Mends what an earlier process left, and deletes what has to go, until `stop`.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval(TIDY_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut started, mut said) = (false, false);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            if !started {
                match self.begin().await {
                    Ok(()) => started = true,
                    Err(error) if !said => {
                        said = true;
                        error!(store = %self.options.store, %error, "recordings cannot be read: streams go on, and this is tried again");
                        continue;
                    }
                    Err(_) => continue,
                }
            }
            self.catalog.tidy(&self.options.store, &self.node, self.options.keep, unix_now_ms()).await;
        }
    }

    async fn begin(&self) -> Result<(), StoreError> {
        let store = &self.options.store;
        for file in store.list(&format!("{OPEN}/{}", self.node)).await? {
            let text = match store.get(&file.key).await {
                Err(error) if error.is_missing() => continue, // its recorder has just ended it
                text => text?,
            };
            let described: Described = match serde_json::from_slice(&text) {
                Ok(described) => described,
                Err(error) => {
                    warn!(key = file.key, %error, "the marker of a recording does not read: the recording stays as it is");
                    continue;
                }
            };
            let Some(marker) = described.marker.clone() else { continue };
            if self.catalog.is_running(&marker.name, &marker.id) {
                continue;
            }
            match ending::mend(store, described).await? {
                Some(summary) => {
                    let (duration_ms, gaps) = (summary.duration_ms, summary.gaps);
                    info!(
                        stream = summary.name,
                        recording = summary.id,
                        duration_ms,
                        gaps,
                        "recording mended: its process had ended first"
                    );
                }
                None => info!(stream = marker.name, recording = marker.id, "nothing is left of a recording"),
            }
        }
        self.catalog.load(store).await
    }

    /// Follows a publication, if it is to be recorded: `asked` is the auth webhook's word. What is recorded of the stream already goes on.
    pub(crate) fn follow(
        &self,
        name: &str,
        origin: &StreamHandle,
        asked: Option<bool>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Option<Arc<Status>> {
        let record = asked.unwrap_or(self.options.policy == Policy::All);
        let (reader, base) = (origin.reader(), origin.base());
        let since = reader.since();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, follower| Arc::strong_count(&follower.until) > 1);
        if let Some(follower) = running.get(name).filter(|follower| follower.since == since) {
            if !record {
                follower.until.fetch_min(base, Ordering::Relaxed);
            } else if follower.until.load(Ordering::Relaxed) == u64::MAX {
                return Some(follower.status.clone());
            }
        }
        if !record {
            return None;
        }
        let (until, status) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(Status::default()));
        running.insert(name.to_owned(), Follower { since, until: until.clone(), status: status.clone() });
        let recorder = Recorder {
            store: self.options.store.clone(),
            catalog: self.catalog.clone(),
            reader,
            node: self.node.clone(),
            name: name.to_owned(),
            status: status.clone(),
            until,
            stop: stop.clone(),
        };
        tasks.spawn(recorder.run(base));
        Some(status)
    }
}
