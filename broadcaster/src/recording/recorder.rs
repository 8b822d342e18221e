//! The recorder of one stream: it follows the origin, and writes what is finished. It never holds the origin up: what the store does not
//! take before the origin forgets it is a gap of the recording.
//!
//! What is written goes in this order, so that a crash at any instant loses nothing that was written: the marker, which says what is
//! about to be; segments, each whole or not there; and the playlists that name them. Each is on the disk before the next, so that a loss of
//! power is such an instant too. `ending` makes an end of what was left.

use super::batch::{Batch, Running, Written};
use super::catalog::Catalog;
use super::marker::Marker;
use super::status::Status;
use super::store::{Store, StoreError};
use crate::origin::reader::Reader;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A longer recording is continued by another: 12 h of 2 s segments. So are its playlists, and what is kept of it in memory, bounded.
pub(super) const MOST_SEGMENTS: usize = 21_600;
/// Waits after a failure: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// The end of a stream is looked for so often when nothing happens.
const LOOK: Duration = Duration::from_millis(500);
/// The last segments of the renditions may come so long after the end, as in the origin.
const LAST_SEGMENTS: Duration = Duration::from_secs(10);
/// So long after the end the store may take to become well again: the origin keeps the bytes no longer.
const LAST_WRITES: Duration = Duration::from_secs(60);
/// Both, when this node is stopping: less than it waits for its streams.
const STOPPING: Duration = Duration::from_secs(5);

/// What a stream's recorder works with.
pub(super) struct Recorder {
    pub(super) store: Store,
    pub(super) catalog: Arc<Catalog>,
    pub(super) reader: Reader,
    /// Whose recordings these are, where several nodes share a store.
    pub(super) node: Arc<str>,
    pub(super) name: String,
    pub(super) status: Arc<Status>,
    /// Nothing is recorded from this segment on.
    pub(super) until: Arc<AtomicU64>,
    pub(super) stop: CancellationToken,
}

/// What a recorder waits for.
enum Event {
    Written(Box<Result<Written, JoinError>>),
    Changed,
    Gone,
}

impl Recorder {
    /// Records from segment `from` on, until the stream's playlists end.
    pub(super) async fn run(mut self, mut from: u64) {
        let since = self.reader.since();
        while let Some(next) = self.one(since, from).await {
            from = next;
        }
    }

    /// Makes one recording. Returns where the next goes on, if the stream does.
    async fn one(&mut self, since: u64, from: u64) -> Option<u64> {
        let mut running = Running::new(Marker::new(&self.node, &self.name));
        self.status.begin(&running.marker.id);
        self.catalog.begin(&self.name, &running.marker.id);
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut writing: Option<JoinHandle<Written>> = None;
        let (mut retry, mut pause) = (Instant::now(), RETRY.0);
        let mut over: Option<Instant> = None;
        let done = loop {
            let event = tokio::select! {
                written = finished(&mut writing) => Event::Written(Box::new(written)),
                alive = self.reader.changed() => if alive { Event::Changed } else { Event::Gone },
                _ = tick.tick() => Event::Changed,
            };
            match event {
                Event::Gone => break false,
                Event::Changed => {}
                Event::Written(written) => {
                    writing = None;
                    let written = *written;
                    match written.map_err(|error| error.to_string()).and_then(|written| running.apply(written)) {
                        Ok(()) => {
                            if self.status.is_well() {
                                let gaps = running.sheet.totals().gaps;
                                info!(stream = self.name, recording = running.marker.id, gaps, "the recording goes on");
                            }
                            pause = RETRY.0;
                        }
                        Err(error) => {
                            self.say_failure(&running, &error);
                            (retry, pause) = (Instant::now() + pause, (pause * 2).min(RETRY.1));
                        }
                    }
                    self.note(&running);
                }
            }
            let over_at = self.look(&mut running, since, from).then(|| *over.get_or_insert_with(Instant::now));
            if writing.is_some() {
                continue;
            }
            let late = |limit: Duration| {
                let waited = over_at.map(|at| at.elapsed());
                waited.is_some_and(|waited| waited >= limit || (self.stop.is_cancelled() && waited >= STOPPING))
            };
            if late(LAST_SEGMENTS) {
                running.settle();
            }
            if over_at.is_some() && (running.is_complete() || late(LAST_WRITES)) {
                match self.finish(&mut running).await {
                    Ok(()) => break true,
                    Err(error) if late(LAST_WRITES) => {
                        let recording = &running.marker.id;
                        warn!(stream = self.name, recording, %error, "the recording is left without its end, which the next start of this node makes");
                        self.status.give_up(&error.to_string());
                        break false;
                    }
                    Err(error) => {
                        self.say_failure(&running, &error.to_string());
                        sleep(pause).await;
                    }
                }
            } else if Instant::now() >= retry
                && let Some(batch) = self.batch(&mut running)
            {
                writing = Some(tokio::spawn(batch.write(self.store.clone())));
            }
        };
        self.catalog.stopped(&self.name, &running.marker.id);
        let next = running.end.filter(|_| done && running.sheet.timeline.len() >= MOST_SEGMENTS)?;
        (next < self.until.load(Ordering::Relaxed)).then_some(next)
    }

    /// Takes in what is new. True once the recording's last segment is known and seen.
    fn look(&self, running: &mut Running, since: u64, from: u64) -> bool {
        let sheet = &running.sheet;
        let at = sheet.next().unwrap_or(from);
        let first = sheet.first().unwrap_or(from);
        let look = self.reader.look(at.min(self.oldest(running)), |name| {
            sheet.tracks.get(name).map_or(first, |track| first + track.entries.len() as u64)
        });
        let end = if look.since > since { Some(look.since) } else { look.over.then_some(look.next) };
        let until = Some(self.until.load(Ordering::Relaxed)).filter(|until| *until <= look.next);
        let most = Some(first + MOST_SEGMENTS as u64).filter(|most| *most <= look.next);
        let end = [running.end, end, until, most].into_iter().flatten().min();
        running.end = end;
        let gone_on = look.since > since;
        running.take(look, end.unwrap_or(u64::MAX), gone_on);
        end.is_some()
    }

    /// Number of the oldest segment that some rendition has no news of.
    fn oldest(&self, running: &Running) -> u64 {
        let first = running.sheet.first().unwrap_or(u64::MAX);
        running.sheet.tracks.values().map(|track| first + track.entries.len() as u64).min().unwrap_or(first)
    }

    /// The next write, if there is something to write.
    fn batch(&self, running: &mut Running) -> Option<Batch> {
        let lost = running.lost;
        let batch = running.batch(&self.store, &self.reader);
        if running.lost > lost {
            let (segments, all) = (running.lost - lost, running.lost);
            warn!(
                stream = self.name,
                recording = running.marker.id,
                store = %self.store,
                segments,
                all,
                "the store is too slow, or was away for too long: segments are missing from the recording"
            );
        }
        batch
    }

    /// Makes the end of it.
    async fn finish(&self, running: &mut Running) -> Result<(), StoreError> {
        let (marker, sheet) = (&running.marker, &mut running.sheet);
        sheet.close();
        if sheet.totals().bytes == 0 {
            // Nothing came, or nothing could be kept.
            self.store.delete(vec![marker.key()]).await?;
            self.store.remove_folder(&marker.folder()).await?;
            self.status.end(None);
            self.catalog.forget(&self.name, &marker.id);
            return Ok(());
        }
        let summary = super::ending::end(&self.store, marker, sheet, false).await?;
        info!(
            stream = self.name,
            recording = marker.id,
            duration_ms = summary.duration_ms,
            bytes = summary.bytes,
            gaps = summary.gaps,
            "recording ended"
        );
        self.status.end(Some(&summary));
        self.catalog.ended(summary);
        Ok(())
    }

    fn say_failure(&self, running: &Running, error: &str) {
        if self.status.fail(error) {
            warn!(
                stream = self.name,
                recording = running.marker.id,
                store = %self.store,
                error,
                "the recording cannot be written: the stream goes on, and the recording lacks what the store does not take in time"
            );
        }
    }

    /// Says how far it is.
    fn note(&self, running: &Running) {
        let totals = running.sheet.totals();
        if totals.bytes > 0 {
            self.catalog.grows(running.marker.summary(totals));
        }
        self.status.note(totals.bytes, totals.gaps);
    }
}

async fn finished(writing: &mut Option<JoinHandle<Written>>) -> Result<Written, JoinError> {
    match writing {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}
