//! What the broadcaster knows of its streams, for its API: written by the publication and its ladder, read by the console.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use millrace_hop::unix_now_ms;
use millrace_media::cmaf::{AudioTrack, VideoTrack};
use millrace_tickets::Profile;
use serde::Serialize;
use utoipa::ToSchema;

use crate::events::IngestEvent;
use crate::health::{Health, HealthView};
use crate::origin::Lags;
use crate::recording::{self, RecordingView};

/// Latency samples kept for the percentiles: some minutes of three renditions.
const LATENCIES: usize = 4_096;
/// Ended streams that stay listed.
const ENDED: usize = 64;

/// A stream.
#[derive(Debug)]
pub(crate) struct StreamStatus {
    pub(crate) name: String,
    pub(crate) id: B256,
    started_ms: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ended_ms: Option<u64>,
    source: Option<SourceInfo>,
    renditions: Vec<Rendition>,
    orchestrator: Option<Address>,
    segments: u64,
    parts: u64,
    latencies: VecDeque<Duration>,
    spent: U256,
    bytes: VecDeque<(u64, u64)>,
    health: Health,
    recording: Option<Arc<recording::Status>>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
struct SourceInfo {
    codec: String,
    /// Pixels; 0 of a stream of sound alone.
    width: u32,
    height: u32,
    fps: f64,
    bitrate: u64,
    audio: bool,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
struct Rendition {
    name: String,
    width: u32,
    height: u32,
    bitrate: u32,
    state: &'static str,
    last_seq: Option<u64>,
}

/// A stream as the API gives it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamView {
    name: String,
    #[schema(value_type = String)]
    id: B256,
    state: &'static str,
    started_at: u64,
    ended_at: Option<u64>,
    hls_url: String,
    /// Who asked for a playlist in the last half minute.
    viewers: usize,
    source: Option<SourceInfo>,
    renditions: Vec<Rendition>,
    #[schema(value_type = Option<String>)]
    orchestrator: Option<Address>,
    segments: u64,
    parts: u64,
    latency_ms: Option<Percentiles>,
    /// While it is live, and its first segment is there.
    delay: Option<DelayView>,
    spent_wei: String,
    /// While it is live.
    ingest: Option<HealthView>,
    /// Where it is recorded.
    recording: Option<RecordingView>,
}

/// Milliseconds from a source part in hand to its rendition part in the origin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Percentiles {
    p50: u64,
    p99: u64,
    samples: usize,
}

/// Where the delay of a live stream comes from, as far as it is known here, in milliseconds. Before it is the encoder, and after it the
/// player, which stays behind by `hold_back` and by its own ways.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayView {
    /// A picture is written when the next one has shown how long it lasts.
    picture: u64,
    /// The first picture of a part waits so long for the last, at most.
    part: u64,
    /// From a source part in hand to its rendition part in the origin, half of the time; the source itself has none of it.
    ladder: Option<u64>,
    /// How far behind the newest part the playlists ask players to stay.
    hold_back: u64,
}

impl StreamStatus {
    pub(crate) fn new(name: &str, id: B256) -> Self {
        Self { name: name.into(), id, started_ms: unix_now_ms(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures what the publisher says.
    pub(crate) fn ingest(&self, event: &IngestEvent) {
        match event {
            IngestEvent::Unit(unit) => self.inner().health.unit(unit, Instant::now()),
            IngestEvent::Lost(pictures) => self.inner().health.lost(*pictures),
            _ => {}
        }
    }

    pub(crate) fn set_recording(&self, recording: Option<Arc<recording::Status>>) {
        self.inner().recording = recording;
    }

    pub(crate) fn set_source(&self, track: &VideoTrack) {
        let mut inner = self.inner();
        let (fps, bitrate, audio) = inner.source.as_ref().map_or((0.0, 0, false), |s| (s.fps, s.bitrate, s.audio));
        inner.source = Some(SourceInfo {
            codec: track.codec_string(),
            width: track.width.into(),
            height: track.height.into(),
            fps,
            bitrate,
            audio,
        });
    }

    /// Of a stream of sound alone it is the source.
    pub(crate) fn set_audio(&self, track: &AudioTrack) {
        let alone =
            || SourceInfo { codec: track.codec_string(), width: 0, height: 0, fps: 0.0, bitrate: 0, audio: true };
        self.inner().source.get_or_insert_with(alone).audio = true;
    }

    /// Whether no video has come.
    pub(crate) fn is_sound_alone(&self) -> bool {
        self.inner().source.as_ref().is_some_and(|source| source.height == 0)
    }

    pub(crate) fn set_ladder(&self, profiles: &[Profile]) {
        self.inner().renditions = profiles
            .iter()
            .map(|p| Rendition {
                name: p.name.clone(),
                width: p.width,
                height: p.height,
                bitrate: p.bitrate,
                state: "late",
                last_seq: None,
            })
            .collect();
    }

    /// Notes a complete source segment: `duration` in 90 kHz ticks.
    pub(crate) fn source_segment(&self, frames: u32, duration: i64, bytes: u64) {
        let mut inner = self.inner();
        inner.segments += 1;
        inner.bytes.push_back((bytes, duration.max(1) as u64));
        if inner.bytes.len() > 8 {
            inner.bytes.pop_front();
        }
        let (bytes, ticks) = inner.bytes.iter().fold((0, 0), |(b, t), (bytes, ticks)| (b + bytes, t + ticks));
        if let Some(source) = &mut inner.source {
            let fps = f64::from(frames) * 90_000.0 / duration.max(1) as f64;
            source.fps = (fps * 100.0).round() / 100.0;
            source.bitrate = bytes * 8 * 90_000 / ticks.max(1);
        }
    }

    pub(crate) fn source_part(&self) {
        self.inner().parts += 1;
    }

    pub(crate) fn rendition_part(&self, latency: Duration) {
        let mut inner = self.inner();
        if inner.latencies.len() == LATENCIES {
            inner.latencies.pop_front();
        }
        inner.latencies.push_back(latency);
    }

    pub(crate) fn ladder_segment(&self, seq: u64, orchestrator: Address, price: U256) {
        let mut inner = self.inner();
        inner.orchestrator = Some(orchestrator);
        inner.spent += price;
        for rendition in &mut inner.renditions {
            rendition.state = "ok";
            rendition.last_seq = Some(rendition.last_seq.map_or(seq, |last| last.max(seq)));
        }
    }

    pub(crate) fn ladder_gap(&self) {
        for rendition in &mut self.inner().renditions {
            rendition.state = "down";
        }
    }

    pub(crate) fn end(&self) {
        self.inner().ended_ms = Some(unix_now_ms());
    }

    fn ended(&self) -> bool {
        self.inner().ended_ms.is_some()
    }

    /// The stream for the API.
    pub(crate) fn view(&self, hls_url: String, viewers: usize, lags: Option<Lags>) -> StreamView {
        let inner = self.inner();
        let mut sorted: Vec<Duration> = inner.latencies.iter().copied().collect();
        sorted.sort_unstable();
        let at = |permille: usize| {
            sorted.get((sorted.len().saturating_sub(1)) * permille / 1000).map_or(0, |d| d.as_millis() as u64)
        };
        let latency_ms =
            (!sorted.is_empty()).then(|| Percentiles { p50: at(500), p99: at(990), samples: sorted.len() });
        let delay = lags.filter(|_| inner.ended_ms.is_none()).map(|Lags { part, hold_back }| DelayView {
            picture: inner
                .source
                .as_ref()
                .filter(|source| source.fps > 0.0)
                .map_or(0, |source| (1_000.0 / source.fps) as u64),
            part: part.as_millis() as u64,
            ladder: latency_ms.as_ref().map(|latency| latency.p50),
            hold_back: hold_back.as_millis() as u64,
        });
        StreamView {
            name: self.name.clone(),
            id: self.id,
            state: if inner.ended_ms.is_some() { "ended" } else { "live" },
            started_at: self.started_ms,
            ended_at: inner.ended_ms,
            hls_url,
            viewers,
            source: inner.source.clone(),
            renditions: inner.renditions.clone(),
            orchestrator: inner.orchestrator,
            segments: inner.segments,
            parts: inner.parts,
            latency_ms,
            delay,
            spent_wei: inner.spent.to_string(),
            ingest: inner.ended_ms.is_none().then(|| inner.health.view(Instant::now())),
            recording: inner.recording.as_ref().map(|recording| recording.view()),
        }
    }
}

/// All streams that are live, and the last that ended.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    all: Mutex<BTreeMap<String, Arc<StreamStatus>>>,
}

impl Streams {
    pub(crate) fn begin(&self, status: Arc<StreamStatus>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(status.name.clone(), status);
        let ended = all.values().filter(|s| s.ended()).count();
        if ended > ENDED
            && let Some(oldest) =
                all.values().filter(|s| s.ended()).min_by_key(|s| s.started_ms).map(|s| s.name.clone())
        {
            all.remove(&oldest);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<StreamStatus>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
