//! The way of one segment through the transcoder: take it, let the device process make its renditions while it grows,
//! send each part on as it is made, sign the receipt, and take the ticket.

use std::sync::Arc;

use bytes::Bytes;
use millrace_hop::assign::{Rendition, pixels};
use millrace_hop::serve::{Arrival, Job, Made, ServeError, Settled, arrive};
use millrace_hop::source::Next;
use millrace_hop::{unix_now, unix_now_ms};
use millrace_media::cmaf::{self, Track};
use millrace_media::transcode::{RenditionSpec, SegmentStats};
use millrace_store::SegmentRow;
use millrace_tickets::RenditionFacts;
use millrace_wire::messages::{Down, RefusalCode};
use millrace_wire::{Channel, Peer};
use tracing::{debug, info, warn};

use crate::Transcoder;
use crate::lie::Lie;
use crate::supervisor::{Segment, SegmentEvent, SegmentInput, SegmentJob};

/// Receipts of one stream that may wait for their ticket: what a transcoder risks towards its orchestrator. One is being
/// verified while the next is made, and the one after may begin before the first ticket is here.
const MAX_UNPAID: u64 = 3;

/// Serves one segment from its stream to its settlement, and logs how it ended.
pub(crate) async fn serve(node: Arc<Transcoder>, orchestrator: Peer, channel: Channel) {
    let count = |part: &[u8]| cmaf::read_head(part).map(|head| head.samples as u32).map_err(|e| e.to_string());
    let job = match arrive(channel, orchestrator.address(), count).await {
        Ok(Arrival::Segment(job)) => job,
        Ok(Arrival::Tickets(arrears)) => {
            return arrears.take(&node.account).await.unwrap_or_else(|error| {
                debug!(%error, "tickets that came again were not all answered");
            });
        }
        Err(error) => return debug!(%error, "no segment came on a stream"),
    };
    let (stream, seq, attempt) = (job.open.stream, job.open.seq, job.open.attempt);
    let source = job.source.clone();
    let row = |result: &str, fault: Option<String>, paid| SegmentRow {
        at_ms: unix_now_ms(),
        stream,
        seq,
        attempt,
        worker: node.account.address(),
        worker_name: node.account.name.clone(),
        result: result.to_owned(),
        fault,
        latency_ms: source.since_end().unwrap_or_default().as_millis() as u64,
        paid,
        payer: orchestrator.address(),
        payee: node.account.address(),
    };
    let row = match run(&node, job).await {
        Ok(Some(Settled::Paid { accepted, price })) => {
            debug!(%stream, seq, %price, winner = accepted.winner, "segment made and paid");
            row("pass", None, price)
        }
        Ok(Some(Settled::Failed(verdict))) => {
            warn!(%stream, seq, code = verdict.body.code, "the orchestrator refuses to pay: its verdict is signed");
            row(
                "fail",
                Some(format!("refused by the orchestrator with code {}", verdict.body.code)),
                Default::default(),
            )
        }
        Ok(None) => return,
        Err(error) => {
            warn!(%stream, seq, %error, "the segment did not reach its settlement");
            row("lost", Some(error.to_string()), Default::default())
        }
    };
    node.account.log_segment(row).await;
}

async fn run(node: &Arc<Transcoder>, mut job: Job) -> Result<Option<Settled>, ServeError> {
    let refused = |_: ()| None;
    if node.is_draining() {
        let why = "this transcoder is draining: give the segment to another";
        return job.refuse(RefusalCode::Draining, why).await.map(refused);
    }
    match cmaf::read_init(&job.open.source_init) {
        Ok(Track::Video(_)) => {}
        Ok(Track::Audio(_)) => {
            return job.refuse(RefusalCode::Unsupported, "audio is not transcoded").await.map(refused);
        }
        Err(error) => {
            let why = format!("the source's initialisation segment cannot be read: {error}");
            return job.refuse(RefusalCode::Unsupported, why).await.map(refused);
        }
    }
    if let Err(reason) = job.take_on(&node.account.credits, &node.terms, MAX_UNPAID, 0).await {
        return job.refuse(RefusalCode::Payment, reason.to_string()).await.map(refused);
    }
    let Some(lane) = node.reserve(job.open.stream, job.open.megapixel_rate) else {
        let why = format!("no device has {} megapixels a second free", job.open.megapixel_rate);
        return job.refuse(RefusalCode::Busy, why).await.map(refused);
    };
    let specs = specs(&job);
    let mut lie = node.liar.as_ref().map(|liar| liar.begin(job.open.stream, &job.open.source_init));
    let init = lie.as_ref().map_or_else(|| job.open.source_init.clone(), Lie::init);
    let order = SegmentJob { stream: job.open.stream.0, init, specs: specs.clone() };
    let work = match lane.worker.transcode(order) {
        Ok(work) => work,
        Err(error) => {
            let why = format!("the device's process is not ready: {error}");
            return job.refuse(RefusalCode::Internal, why).await.map(refused);
        }
    };
    job.accept().await?;

    let (stats, renditions) = match transcode(&mut job, work, &mut lie).await? {
        Ok(made) => made,
        Err(reason) => {
            info!(device = %lane.name, reason, "the device could not make a segment");
            return job.refuse(RefusalCode::Internal, reason).await.map(refused);
        }
    };
    drop(lane);
    let assignment = job.assignment(&node.terms, &node.account.pen, &node.account.till).await?;
    // Samples that could be chosen after the fact would be none. Who assigns is bound by what it has committed to on the chain.
    let commit = assignment.body.sampleCommit;
    if let Err(reason) = node.account.commitments.check(job.assigner(), commit, unix_now()).await {
        return job.refuse(RefusalCode::Malformed, reason).await.map(refused);
    }
    let facts = facts(&specs, &stats, &renditions);
    debug_assert_eq!(pixels(&job.open, stats.frames), stats.renditions.iter().map(|r| r.pixels).sum::<u64>());
    let parts = job.source.parts();
    let duration = parts.iter().filter_map(|part| cmaf::read_head(part).ok()).map(|head| head.duration).sum();
    let (account, terms) = (&node.account, &node.terms);
    let made = Made { assignment: &assignment, facts, renditions: &renditions, duration };
    job.deliver(made, terms, &account.pen, &account.till).await.map(Some)
}

/// Feeds the source to the device as it comes, and sends what the device makes.
async fn transcode(
    job: &mut Job,
    mut work: Segment,
    lie: &mut Option<Lie>,
) -> Result<Result<(SegmentStats, Vec<Rendition>), String>, ServeError> {
    let mut renditions = vec![Rendition::default(); job.open.profiles.len()];
    let source = job.source.clone();
    let feed = async {
        let mut reader = source.reader();
        loop {
            let input = match reader.next().await {
                Next::Part { bytes, .. } => SegmentInput::Part(match lie {
                    Some(lie) => lie.part(bytes),
                    None => bytes,
                }),
                Next::End { .. } => SegmentInput::End,
                Next::Aborted => return Err(()),
            };
            let end = input == SegmentInput::End;
            if work.input.send(input).await.is_err() || end {
                return Ok(()); // a device that takes no more says why by its last event
            }
        }
    };
    tokio::pin!(feed);
    let mut feeding = true;
    let gone = job.gone();
    loop {
        let event = tokio::select! {
            fed = &mut feed, if feeding => {
                feeding = false;
                if fed.is_err() {
                    return Err(ServeError::Cancelled("the source stopped".into()));
                }
                continue;
            }
            event = work.events.recv() => event,
            // A segment that nobody waits for any more must not hold up the ones behind it.
            () = gone.cancelled() => return Err(ServeError::Cancelled("it waits for the segment no more".into())),
        };
        match event {
            Some(SegmentEvent::Init { rendition, bytes }) => {
                keep(&mut renditions, rendition).init = bytes.clone();
                job.send(&Down::Init { rendition, bytes }).await?;
            }
            Some(SegmentEvent::Part { rendition, index, bytes }) => {
                keep(&mut renditions, rendition).parts.push(bytes.clone());
                job.send(&Down::Part { rendition, index, bytes }).await?;
            }
            Some(SegmentEvent::Done(stats)) => return Ok(Ok((stats, renditions))),
            Some(SegmentEvent::Failed(reason)) => return Ok(Err(reason)),
            None => return Ok(Err("the device's process was stopped".into())),
        }
    }
}

fn keep(renditions: &mut Vec<Rendition>, rendition: u8) -> &mut Rendition {
    let at = usize::from(rendition);
    if at >= renditions.len() {
        renditions.resize(at + 1, Rendition::default());
    }
    &mut renditions[at]
}

fn specs(job: &Job) -> Vec<RenditionSpec> {
    job.open
        .profiles
        .iter()
        .map(|p| RenditionSpec { name: p.name.clone(), width: p.width, height: p.height, bitrate: p.bitrate })
        .collect()
}

fn facts(specs: &[RenditionSpec], stats: &SegmentStats, renditions: &[Rendition]) -> Vec<RenditionFacts> {
    let codec = |init: &Bytes| match cmaf::read_init(init) {
        Ok(Track::Video(track)) => track.codec_string(),
        _ => String::new(),
    };
    specs
        .iter()
        .zip(renditions)
        .zip(&stats.renditions)
        .map(|((spec, rendition), made)| RenditionFacts {
            name: spec.name.clone(),
            bytes_hash: rendition.hash(),
            length: rendition.len() as u64,
            width: spec.width,
            height: spec.height,
            codec: codec(&rendition.init),
            frames: made.frames,
            first_pts: made.first_pts,
            last_pts: made.last_pts,
        })
        .collect()
}
