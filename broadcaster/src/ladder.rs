//! The ladder of one live stream: each segment of its source goes to an orchestrator part by part as it is cut, and the
//! rendition parts that come back go to the origin. A segment that one orchestrator cannot deliver goes to the next from
//! its first part; one that nobody delivers in time becomes a gap. The source rendition never waits for any of this.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use bytes::Bytes;
use millrace_hop::assign::{AttemptError, Delivered, Offer, Output, attempt};
use millrace_hop::source::Source;
use millrace_media::cmaf::{self, VideoTrack};
use millrace_store::SegmentRow;
use millrace_tickets::hashes::PREPAID_SEGMENTS;
use millrace_tickets::{Profile, prepay_work_hash};
use millrace_wire::messages::{RefusalCode, SegmentOpen};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::Broadcaster;
use crate::config;
use crate::orchestrators::Live;
use crate::origin::{OriginError, StreamHandle};
use crate::status::StreamStatus;

/// Segments of one stream on their way at once: more means that the ladder cannot keep up, and gaps are better than a queue.
const MAX_IN_FLIGHT: usize = 8;
/// Outputs on their way to the origin.
const OUTPUTS: usize = 64;
/// A pause before the same orchestrator is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The ladder of one stream.
pub(crate) struct Ladder {
    node: Arc<Broadcaster>,
    stream: B256,
    origin: StreamHandle,
    status: Arc<StreamStatus>,
    init: Bytes,
    profiles: Vec<Profile>,
    discontinuity: bool,
    current: Option<Arc<Segment>>,
    in_flight: Arc<tokio::sync::Semaphore>,
}

/// A segment on its way.
struct Segment {
    seq: u64,
    source: Source,
    came: Mutex<Vec<Instant>>,
}

impl Ladder {
    /// A ladder for `stream`, published through `origin`.
    pub(crate) fn new(node: Arc<Broadcaster>, stream: B256, origin: StreamHandle, status: Arc<StreamStatus>) -> Self {
        let in_flight = Arc::new(tokio::sync::Semaphore::new(MAX_IN_FLIGHT));
        Self {
            node,
            stream,
            origin,
            status,
            init: Bytes::new(),
            profiles: Vec::new(),
            discontinuity: false,
            current: None,
            in_flight,
        }
    }

    /// The renditions that a source of this size gets.
    pub(crate) fn profiles(rungs: &[config::Rung], track: &VideoTrack) -> Vec<Profile> {
        config::ladder(rungs, track.width.into(), track.height.into())
            .into_iter()
            .map(|(name, width, height, bitrate)| Profile { name, width, height, bitrate, codec: "h264".into() })
            .collect()
    }

    /// The source's encoding, at the start and whenever it changes.
    pub(crate) fn source(&mut self, init: Bytes, profiles: Vec<Profile>) {
        self.discontinuity = !self.init.is_empty();
        self.init = init;
        self.profiles = profiles;
    }

    /// A segment of the source begins. One that cannot be decoded alone has no renditions.
    pub(crate) fn begin(&mut self, seq: u64, independent: bool) {
        self.abandon();
        if self.profiles.is_empty() {
            return;
        }
        if independent {
            self.open(seq);
        } else {
            gap(&self.origin, &self.status, &self.profiles, seq);
        }
    }

    /// Passes a part of the segment on.
    pub(crate) fn part(&mut self, index: u32, bytes: Bytes) {
        let Some(segment) = &self.current else { return };
        let frames = cmaf::read_head(&bytes).map_or(0, |head| head.samples as u32);
        segment.came.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        if let Err(error) = segment.source.push(index, bytes, frames) {
            warn!(stream = %self.status.name, seq = segment.seq, %error, "the ladder goes without this segment");
            self.abandon();
        }
    }

    /// The segment is complete.
    pub(crate) fn end(&mut self) {
        if let Some(segment) = self.current.take() {
            segment.source.end();
        }
    }

    /// The stream is over, perhaps in the middle of a segment.
    pub(crate) fn abandon(&mut self) {
        if let Some(segment) = self.current.take() {
            segment.source.abort();
        }
    }

    fn open(&mut self, seq: u64) {
        let segment = Arc::new(Segment { seq, source: Source::new(self.init.clone()), came: Mutex::default() });
        self.current = Some(segment.clone());
        let work = Work {
            node: self.node.clone(),
            stream: self.stream,
            origin: self.origin.clone(),
            status: self.status.clone(),
            profiles: self.profiles.clone(),
            discontinuity: std::mem::take(&mut self.discontinuity),
            segment,
        };
        match self.in_flight.clone().try_acquire_owned() {
            Ok(place) => {
                self.node.tasks.spawn(async move {
                    work.run().await;
                    drop(place);
                });
            }
            Err(_) => {
                warn!(stream = %self.status.name, seq, "{MAX_IN_FLIGHT} segments are on their way already: the ladder skips one");
                work.gap();
            }
        }
    }
}

/// The work on one segment.
struct Work {
    node: Arc<Broadcaster>,
    stream: B256,
    origin: StreamHandle,
    status: Arc<StreamStatus>,
    profiles: Vec<Profile>,
    discontinuity: bool,
    segment: Arc<Segment>,
}

impl Work {
    /// Tries orchestrators until one delivers, or until it is too late.
    async fn run(self) {
        let patience = Duration::from_millis(self.node.config.ladder_ms);
        let mut excluded: Vec<Address> = Vec::new();
        let mut number = 0;
        // The clock starts at the segment's end; until then there is time anyway.
        let left = || self.segment.source.since_end().map_or(patience, |late| patience.saturating_sub(late));
        while !left().is_zero() {
            let Some(live) = self.node.orchestrators.wait(&excluded, left()).await else { break };
            let worker = live.peer.address();
            let offered = tokio::time::timeout(left() + patience, self.attempt(&live, number)).await;
            let error = match offered {
                Ok(Ok(delivered)) => return self.settle(live, delivered, number).await,
                Ok(Err(AttemptError::SourceGone)) => return,
                Ok(Err(error)) => error,
                Err(_) => AttemptError::Late { worker, what: "deliver the segment", limit: patience },
            };
            warn!(stream = %self.status.name, seq = self.segment.seq, orchestrator = %worker, %error, "no ladder yet");
            let refused = matches!(&error, AttemptError::Refused { code, .. } if *code != RefusalCode::Busy);
            let result = if matches!(error, AttemptError::Refused { .. }) { "refused" } else { "lost" };
            self.log(worker, number, result, Some(error.to_string()), U256::ZERO).await;
            if refused || matches!(error, AttemptError::Protocol { .. }) {
                excluded.push(worker);
            }
            for profile in &self.profiles {
                self.origin.reset_segment(&profile.name, self.segment.seq);
            }
            number += 1;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        warn!(stream = %self.status.name, seq = self.segment.seq, "no orchestrator delivered the ladder: a gap");
        self.gap();
    }

    fn gap(&self) {
        gap(&self.origin, &self.status, &self.profiles, self.segment.seq);
    }

    async fn attempt(&self, live: &Live, number: u32) -> Result<Delivered, AttemptError> {
        let node = &self.node;
        let worker = live.peer.address();
        let megapixel_rate = megapixel_rate(source_fps(self.segment.source.init()), &self.profiles);
        let open = SegmentOpen {
            stream: self.stream,
            seq: self.segment.seq,
            attempt: number,
            discontinuity: self.discontinuity,
            profiles: self.profiles.clone(),
            source_init: self.segment.source.init().clone(),
            megapixel_rate,
            verify_before_publish: node.config.verify_before_publish,
            deadline_ms: node.config.ladder_ms.min(u64::from(u32::MAX)) as u32,
        };
        let mut prepaid = Vec::new();
        if live.must_prepay(self.stream) {
            let price = millrace_hop::prepayment(&live.terms, megapixel_rate);
            for index in 0..PREPAID_SEGMENTS {
                let work = prepay_work_hash(self.stream, node.account.pen.address(), worker, index);
                match node.account.purse.pay(worker, work, price).await {
                    Ok(ticket) => prepaid.push(ticket),
                    Err(error) => {
                        return Err(AttemptError::Refused {
                            worker,
                            code: RefusalCode::Payment,
                            message: format!("this node could not prepay: {error}"),
                        });
                    }
                }
            }
        }
        let offer = Offer {
            terms: live.terms,
            sample_commit: node.account.sampling.commit(millrace_hop::unix_now()),
            patience: Duration::from_millis(node.config.ladder_ms),
            prepaid,
        };
        let (outputs, mut received) = mpsc::channel(OUTPUTS);
        let account = &node.account;
        let source = &self.segment.source;
        let attempt = attempt(&live.peer, open, source, &offer, &account.pen, &account.purse, &outputs);
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                biased;
                Some(output) = received.recv() => self.publish(live, output),
                result = &mut attempt => {
                    while let Ok(output) = received.try_recv() {
                        self.publish(live, output);
                    }
                    return result;
                }
            }
        }
    }

    /// Puts what came into the origin.
    fn publish(&self, live: &Live, output: Output) {
        let name = |rendition: u8| self.profiles.get(rendition as usize).map(|p| p.name.as_str());
        match output {
            Output::Init { rendition, bytes } => {
                if let Some(name) = name(rendition) {
                    self.note(self.origin.set_init(name, bytes));
                }
            }
            Output::Part { rendition, index, bytes } => {
                let came =
                    self.segment.came.lock().unwrap_or_else(PoisonError::into_inner).get(index as usize).copied();
                if let (Some(name), Some(came)) = (name(rendition), came) {
                    self.note(self.origin.add_part(name, self.segment.seq, index, bytes));
                    self.status.rendition_part(came.elapsed());
                }
            }
            Output::Prepaid => live.is_prepaid(self.stream),
            Output::Restart => {
                for profile in &self.profiles {
                    self.origin.reset_segment(&profile.name, self.segment.seq);
                }
            }
        }
    }

    fn note(&self, done: Result<(), OriginError>) {
        if let Err(error) = done {
            warn!(stream = %self.status.name, seq = self.segment.seq, %error, "the origin refuses a rendition");
        }
    }

    /// Lists the renditions and pays for them.
    async fn settle(&self, live: Live, delivered: Delivered, number: u32) {
        let worker = live.peer.address();
        let price = delivered.price;
        for profile in &self.profiles {
            self.note(self.origin.finish_segment(&profile.name, self.segment.seq));
        }
        self.status.ladder_segment(self.segment.seq, worker, price);
        let account = &self.node.account;
        match delivered.pay(&account.pen, &account.purse).await {
            Ok(()) => self.log(worker, number, "pass", None, price).await,
            Err(error) => {
                warn!(stream = %self.status.name, seq = self.segment.seq, orchestrator = %worker, %error, "the ticket did not arrive");
                self.log(worker, number, "pass", None, U256::ZERO).await;
            }
        }
        debug!(stream = %self.status.name, seq = self.segment.seq, "the ladder is complete");
    }

    async fn log(&self, worker: Address, number: u32, result: &str, fault: Option<String>, price: U256) {
        let row = SegmentRow {
            at_ms: millrace_hop::unix_now_ms(),
            stream: self.stream,
            seq: self.segment.seq,
            attempt: number,
            payer: self.node.account.purse.payer(),
            worker,
            payee: worker,
            worker_name: String::new(),
            result: result.to_owned(),
            fault,
            latency_ms: self.segment.source.since_end().unwrap_or_default().as_millis() as u64,
            paid: price,
        };
        self.node.account.log_segment(row).await;
    }
}

/// No rendition has segment `seq`.
fn gap(origin: &StreamHandle, status: &StreamStatus, profiles: &[Profile], seq: u64) {
    status.ladder_gap();
    for profile in profiles {
        origin.gap(&profile.name, seq);
    }
}

/// The frame rate by which room is reserved where the source does not say its own.
const USUAL_FPS: f64 = 30.0;

/// Frames a second as the source's parameter sets say, within reason.
fn source_fps(init: &[u8]) -> f64 {
    let Ok(cmaf::Track::Video(track)) = cmaf::read_init(init) else { return USUAL_FPS };
    let said = track.format().ok().and_then(|format| format.fps).map(|(n, d)| f64::from(n) / f64::from(d.max(1)));
    said.filter(|fps| (1.0..=120.0).contains(fps)).unwrap_or(USUAL_FPS)
}

/// Million pixels a second of a ladder.
fn megapixel_rate(fps: f64, profiles: &[Profile]) -> u32 {
    let frame: u64 = profiles.iter().map(|p| u64::from(p.width) * u64::from(p.height)).sum();
    (frame as f64 * fps / 1e6).ceil() as u32
}
