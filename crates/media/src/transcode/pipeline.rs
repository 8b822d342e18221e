//! What follows the decoder: feeds the lanes, collects what they encoded and cuts it into parts as the source was cut.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lane::{Encoded, Job, Lane, QUEUE};
use super::{
    ASSUMED_FPS, EncoderKind, MAX_SEGMENT_FRAMES, Output, RenditionSpec, RenditionStats, SegmentStats, TranscodeError,
    other_fps, starts_segment,
};
use crate::av::Frame;
use crate::cmaf::{self, Sample};
use crate::h264::{self, Sps};

/// Longest wait for an encoder's answer: hundreds of times what a picture takes. A driver that hangs is found out by it.
pub(super) const STALL: Duration = Duration::from_secs(5);

pub(super) struct Pipeline {
    source: Sps,
    kind: EncoderKind,
    lanes: Vec<Lane>,
    renditions: Vec<Rendition>,
    answers: Receiver<Encoded>,
    /// Jobs handed to each lane less its answers.
    outstanding: Vec<usize>,
    stalled: bool,
    /// Sizes of the source's parts in this segment, in pictures.
    parts: Vec<usize>,
    /// Presentation times of the source's pictures that are still to come out of the decoder. Pictures come in presentation order, so each has the
    /// earliest: that holds also where a broken source's own times would cross.
    times: BinaryHeap<Reverse<i64>>,
    /// Duration in ticks of each picture of the source by its presentation time.
    durations: HashMap<i64, u32>,
    /// Pictures handed to the lanes in this segment.
    fed: u32,
    last_pts: Option<i64>,
    time_fed: Duration,
    /// Fragments are numbered through all segments of a session.
    sequence: u32,
}

/// A rendition's encoded pictures that no part has taken yet.
#[derive(Default)]
struct Rendition {
    pending: VecDeque<Sample>,
    stats: RenditionStats,
}

impl Pipeline {
    pub(super) fn open(source: Sps, specs: &[RenditionSpec], kind: &EncoderKind) -> Result<Self, TranscodeError> {
        let (lanes, answers) = open_lanes(&source, specs, kind)?;
        Ok(Self {
            source,
            kind: kind.clone(),
            lanes,
            answers,
            renditions: specs.iter().map(|_| Rendition::default()).collect(),
            outstanding: vec![0; specs.len()],
            stalled: false,
            parts: Vec::new(),
            times: BinaryHeap::new(),
            durations: HashMap::new(),
            fed: 0,
            last_pts: None,
            time_fed: Duration::ZERO,
            sequence: 0,
        })
    }

    pub(super) fn inits(&self) -> impl Iterator<Item = &Bytes> {
        self.lanes.iter().map(|lane| &lane.init)
    }

    /// Time spent in `feed`, mostly waiting for the lanes.
    pub(super) fn time_fed(&self) -> Duration {
        self.time_fed
    }

    /// Starts a segment. The lanes are idle: every step waits for them but one that failed.
    pub(super) fn begin(&mut self) {
        self.renditions.fill_with(Rendition::default);
        self.parts.clear();
        self.times.clear();
        self.durations.clear();
        self.fed = 0;
        self.last_pts = None;
    }

    /// Takes note of a source part whose pictures are about to be fed.
    pub(super) fn expect_part(&mut self, samples: &[Sample]) -> Result<(), TranscodeError> {
        if self.parts.is_empty() && !samples.first().is_some_and(starts_segment) {
            return Err(TranscodeError::NoIdr);
        }
        if self.sequence == 0
            && self.parts.is_empty()
            && let Some(fps) = other_fps(samples, self.source.fps.unwrap_or(ASSUMED_FPS))
        {
            self.source.fps = Some(fps);
            let specs: Vec<RenditionSpec> = self.lanes.iter().map(|lane| lane.spec.clone()).collect();
            self.close();
            (self.lanes, self.answers) = open_lanes(&self.source, &specs, &self.kind)?;
        }
        self.parts.push(samples.len());
        if self.expected() > MAX_SEGMENT_FRAMES {
            return Err(TranscodeError::TooLong);
        }
        self.times.extend(samples.iter().map(|s| Reverse(s.pts)));
        self.durations.extend(samples.iter().map(|s| (s.pts, s.duration)));
        Ok(())
    }

    fn expected(&self) -> usize {
        self.parts.iter().sum()
    }

    /// Hands a decoded picture to every lane, and waits where a lane's queue is full.
    pub(super) fn feed(&mut self, mut frame: Frame) -> Result<(), TranscodeError> {
        let start = Instant::now();
        let idr = self.fed == 0;
        // Times rise strictly: an encoder takes no others. A source that repeats one is a tick off there rather than refused.
        self.fed += 1;
        let Some(Reverse(time)) = self.times.pop() else { return Err(self.lost("the decoder".to_owned(), self.fed)) };
        let pts = self.last_pts.map_or(time, |last| time.max(last + 1));
        self.last_pts = Some(pts);
        frame.prepare(pts, idr);
        let frame = Arc::new(frame);
        for lane in 0..self.lanes.len() {
            let mut job = Job { frame: frame.clone(), pts, idr };
            loop {
                match self.lanes[lane].jobs.as_ref().map(|jobs| jobs.try_send(job)) {
                    Some(Ok(())) => break,
                    Some(Err(TrySendError::Full(back))) => job = back,
                    Some(Err(TrySendError::Disconnected(_))) | None => return Err(self.stall(lane)),
                }
                self.collect()?;
            }
            self.outstanding[lane] += 1;
        }
        self.time_fed += start.elapsed();
        Ok(())
    }

    /// Waits until every picture that was fed is encoded.
    pub(super) fn finish_encoding(&mut self) -> Result<(), TranscodeError> {
        while self.outstanding.iter().any(|due| *due > 0) {
            self.collect()?;
        }
        Ok(())
    }

    /// Waits for one answer and keeps its pictures.
    fn collect(&mut self) -> Result<(), TranscodeError> {
        let Ok(answer) = self.answers.recv_timeout(STALL) else {
            let slowest = (0..self.lanes.len()).max_by_key(|lane| self.outstanding[*lane]).unwrap_or(0);
            return Err(self.stall(slowest));
        };
        self.outstanding[answer.lane] -= 1;
        let rendition = &mut self.renditions[answer.lane];
        rendition.stats.encode += answer.time;
        for packet in answer.packets? {
            let data = h264::annexb_to_sample(&packet.data);
            // The duration is the distance to the next picture, and set when a part is cut.
            rendition.pending.push_back(Sample {
                dts: packet.pts,
                pts: packet.pts,
                duration: 0,
                key: packet.key,
                data,
            });
        }
        Ok(())
    }

    /// Ends the lanes, and waits for their threads unless one hangs.
    fn close(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.close(!self.stalled));
    }

    fn stall(&mut self, lane: usize) -> TranscodeError {
        self.stalled = true;
        TranscodeError::Stalled(self.lanes[lane].spec.name.clone())
    }

    /// Cuts off every part that is complete, and at the end of the segment what is left.
    pub(super) fn cut(&mut self, end: bool) -> Result<Vec<Output>, TranscodeError> {
        if end {
            self.check_counts()?;
        }
        let mut outputs = Vec::new();
        for lane in 0..self.lanes.len() {
            let name = lane as u8;
            while let Some(size) = self.renditions[lane].next_part(&self.parts) {
                let mut samples = self.take(lane, size)?;
                let stats = &mut self.renditions[lane].stats;
                if stats.parts == 0 {
                    if !starts_segment(&samples[0]) {
                        return Err(TranscodeError::NoIdr);
                    }
                    stats.first_pts = samples[0].pts;
                    samples[0].data = self.lanes[lane].config.in_front_of(&samples[0].data);
                    outputs.push(Output::Init { rendition: name, bytes: self.lanes[lane].init.clone() });
                }
                self.sequence = self.sequence.wrapping_add(1);
                let bytes = cmaf::write_part(self.sequence, &samples)?;
                outputs.push(Output::Part { rendition: name, index: stats.parts, bytes: bytes.clone() });
                let spec = &self.lanes[lane].spec;
                stats.parts += 1;
                stats.frames += samples.len() as u32;
                stats.pixels += u64::from(spec.width) * u64::from(spec.height) * samples.len() as u64;
                stats.bytes += bytes.len() as u64;
                stats.last_pts = samples.last().map_or(0, |s| s.pts);
            }
        }
        Ok(outputs)
    }

    /// Takes the next `size` pictures of a rendition and gives them their durations.
    fn take(&mut self, lane: usize, size: usize) -> Result<Vec<Sample>, TranscodeError> {
        let mut samples: Vec<Sample> = self.renditions[lane].pending.drain(..size).collect();
        for at in 0..samples.len() {
            let pts = samples[at].pts;
            samples[at].duration = match samples.get(at + 1).map(|next| next.pts) {
                Some(next) => u32::try_from(next - pts).map_err(|_| TranscodeError::Times(pts, next))?,
                // To wait for the picture after the part would hold the part back by as much as it lasts.
                None => self.durations.get(&pts).copied().unwrap_or(crate::VIDEO_TIMESCALE / 30),
            };
        }
        Ok(samples)
    }

    fn check_counts(&self) -> Result<(), TranscodeError> {
        let expected = self.expected() as u32;
        if self.fed != expected {
            return Err(self.lost("the decoder".to_owned(), self.fed));
        }
        for (lane, rendition) in self.lanes.iter().zip(&self.renditions) {
            let got = rendition.stats.frames + rendition.pending.len() as u32;
            if got != expected {
                return Err(self.lost(lane.spec.name.clone(), got));
            }
        }
        Ok(())
    }

    fn lost(&self, what: String, got: u32) -> TranscodeError {
        TranscodeError::Lost { what, expected: self.expected() as u32, got }
    }

    pub(super) fn stats(&self) -> SegmentStats {
        let renditions = self.renditions.iter().map(|r| r.stats.clone()).collect();
        SegmentStats { frames: self.fed, decode: Duration::ZERO, renditions }
    }
}

impl Rendition {
    /// The size of the next part, when all of its pictures are here.
    fn next_part(&self, parts: &[usize]) -> Option<usize> {
        parts.get(self.stats.parts as usize).copied().filter(|size| *size <= self.pending.len())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_lanes(
    source: &Sps,
    specs: &[RenditionSpec],
    kind: &EncoderKind,
) -> Result<(Vec<Lane>, Receiver<Encoded>), TranscodeError> {
    // Room for every answer that can be due: a lane never waits for its answers to be read, so feeding cannot deadlock.
    let (send, answers) = sync_channel(specs.len() * (QUEUE + 2));
    let lanes = specs.iter().enumerate().map(|(i, spec)| Lane::open(i, source, spec, kind, send.clone()));
    Ok((lanes.collect::<Result<_, _>>()?, answers))
}
