//! One rendition's scaler and encoder, on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{ASSUMED_FPS, EncoderKind, RenditionSpec, TranscodeError};
use crate::av::{AvError, Encoder, EncoderSettings, Frame, Packet, Scaler};
use crate::cmaf::{self, Track, VideoTrack};
use crate::h264::AvcConfig;
use crate::nal::PictureFormat;

/// Pictures that wait for an encoder: enough to keep it busy while the next ones decode, few enough to bound the memory (a 1080p picture has 3 MB).
pub(super) const QUEUE: usize = 4;

/// A decoded picture on its way to a lane. Where no scaling is needed its own time and type are used.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) frame: Arc<Frame>,
    pub(super) pts: i64,
    pub(super) idr: bool,
}

/// A lane's answer to one job.
pub(super) struct Encoded {
    pub(super) lane: usize,
    pub(super) packets: Result<Vec<Packet>, AvError>,
    pub(super) time: Duration,
}

pub(super) struct Lane {
    pub(super) spec: RenditionSpec,
    pub(super) config: AvcConfig,
    pub(super) init: Bytes,
    /// `None` once closed.
    pub(super) jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    pub(super) fn open(
        index: usize,
        source: &PictureFormat,
        spec: &RenditionSpec,
        kind: &EncoderKind,
        answers: SyncSender<Encoded>,
    ) -> Result<Self, TranscodeError> {
        let encoder = open_encoder(source, spec, kind)?;
        let config = AvcConfig::from_annexb(encoder.extradata())?;
        let init = cmaf::write_init(&Track::Video(VideoTrack::h264(config.to_record()?)?))?;
        let scaler = Scaler::new(spec.width, spec.height);
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name(format!("encode {}", spec.name))
            .spawn(move || work(index, scaler, encoder, &queue, &answers))?;
        Ok(Self { spec: spec.clone(), config, init, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Ends the thread once its queue is empty. `wait` is off for one that may never come back.
    pub(super) fn close(&mut self, wait: bool) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(|_| wait) {
            let _ = thread.join();
        }
    }
}

fn work(lane: usize, mut scaler: Scaler, mut encoder: Encoder, jobs: &Receiver<Job>, answers: &SyncSender<Encoded>) {
    for job in jobs {
        let start = Instant::now();
        let packets = encode(&mut scaler, &mut encoder, &job);
        // The picture's planes go back to the decoder before the answer invites more.
        drop(job);
        if answers.send(Encoded { lane, packets, time: start.elapsed() }).is_err() {
            return;
        }
    }
}

fn encode(scaler: &mut Scaler, encoder: &mut Encoder, job: &Job) -> Result<Vec<Packet>, AvError> {
    if scaler.is_identity(&job.frame) {
        return encoder.encode(&job.frame);
    }
    let mut scaled = scaler.scale(&job.frame)?;
    scaled.prepare(job.pts, job.idr);
    encoder.encode(&scaled)
}

/// Opens an encoder for a live lane: no B-frames and no lookahead, so that each picture comes out before the next goes in; no key frame but the
/// forced ones; the bitrate kept over each second.
pub(crate) fn open_encoder(
    source: &PictureFormat,
    spec: &RenditionSpec,
    kind: &EncoderKind,
) -> Result<Encoder, AvError> {
    // One thread, since each lane has its own: the output is then the same from run to run.
    // Constant frame rate is about the rate control alone, times are kept: without it x264 holds one picture back to learn how long it lasts.
    let x264 = "bframes=0:threads=1:rc-lookahead=0:sync-lookahead=0:scenecut=0:keyint=infinite:open-gop=0:force-cfr=1";
    let gpu;
    let (name, options): (_, Vec<(&str, &str)>) = match kind {
        EncoderKind::X264 { preset } => {
            ("libx264", vec![("preset", preset), ("profile", "high"), ("forced-idr", "1"), ("x264-params", x264)])
        }
        EncoderKind::Nvenc { gpu: number } => {
            gpu = number.to_string();
            let options = vec![
                ("preset", "p4"),
                ("tune", "ull"),
                ("profile", "high"),
                ("rc", "cbr"),
                ("zerolatency", "1"),
                ("delay", "0"),
                ("forced-idr", "1"),
                ("no-scenecut", "1"),
                // The most FFmpeg takes: key frames come when they are forced.
                ("g", "2147483647"),
                ("gpu", &gpu),
            ];
            ("h264_nvenc", options)
        }
    };
    Encoder::open(&EncoderSettings {
        name,
        width: spec.width,
        height: spec.height,
        bitrate: spec.bitrate,
        fps: source.fps.unwrap_or(ASSUMED_FPS),
        sar: source.sar,
        // RGB (matrix 0) becomes 4:2:0 by the scaler's own matrix, BT.601.
        color: if source.color.2 == 0 { (source.color.0, source.color.1, 6) } else { source.color },
        options: &options,
    })
}
