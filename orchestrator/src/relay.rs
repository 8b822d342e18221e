//! The way of one segment through the orchestrator: take it from the broadcaster, give it to a transcoder while it still
//! grows, pass the parts back, verify what came, pay, and sign the orchestrator's own receipt. A transcoder that is lost,
//! late or lying costs an attempt; the source is kept, and another one gets the segment from its first part.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use millrace_hop::assign::{AttemptError, Delivered, Offer, Output, Rendition, attempt};
use millrace_hop::serve::{Arrival, Job, Made, ServeError, Settled, arrive};
use millrace_media::cmaf;
use millrace_store::SegmentRow;
use millrace_tickets::hashes::PREPAID_SEGMENTS;
use millrace_tickets::{Profile, Terms};
use millrace_verify::Fault;
use millrace_wire::messages::{Down, RefusalCode, SegmentOpen};
use millrace_wire::{Channel, Peer};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::Orchestrator;
use crate::evidence::{Failure, Media};
use crate::pool::Lease;
use crate::sessions::Session;
use crate::verification::{self, Finding};

/// How long a segment waits for a transcoder to come (back) when none is free: below the broadcaster's patience for a yes.
const RECRUIT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Outputs on their way to a broadcaster that reads slowly.
const OUTPUTS: usize = 64;
/// The largest picture side that is taken in, pixels: H.264 level 5.2's own limit is near.
const MAX_SIDE: u32 = 4096;

/// Serves one segment from a broadcaster's stream to its settlement, and logs how it ended.
pub(crate) async fn serve(node: Arc<Orchestrator>, session: Arc<Session>, broadcaster: Peer, channel: Channel) {
    let from = broadcaster.address();
    let job = match arrive(channel, session.assigner, count_frames).await {
        Ok(Arrival::Segment(job)) => job,
        Ok(Arrival::Tickets(arrears)) => {
            return arrears.take(&node.account).await.unwrap_or_else(|error| {
                debug!(broadcaster = %from, %error, "tickets that came again were not all answered");
            });
        }
        Err(error) => return debug!(broadcaster = %from, %error, "no segment came on a stream"),
    };
    let (stream, seq) = (job.open.stream, job.open.seq);
    let terms = session.terms;
    let relay = Relay { node, terms };
    if let Err(error) = relay.run(job, &session).await {
        warn!(broadcaster = %from, %stream, seq, %error, "the segment did not reach its settlement");
    }
}

/// Counts the frames of a part as it comes in, which also refuses what is no part.
fn count_frames(part: &[u8]) -> Result<u32, String> {
    cmaf::read_head(part).map(|head| head.samples as u32).map_err(|e| e.to_string())
}

/// Segments of a stream that may wait for their ticket: the two that are prepaid, the one being made, and one that is verified.
const UNDER_WAY: u64 = PREPAID_SEGMENTS as u64 + 2;

struct Relay {
    node: Arc<Orchestrator>,
    terms: Terms,
}

impl Relay {
    async fn run(self, mut job: Job, session: &Session) -> Result<(), ServeError> {
        let node = self.node.clone();
        if let Err(reason) = acceptable(&job.open) {
            return job.refuse(RefusalCode::Unsupported, reason).await;
        }
        let must_prepay = session.must_prepay(job.open.stream);
        let promised = if must_prepay { PREPAID_SEGMENTS.into() } else { 0 };
        if let Err(reason) = job.take_on(&node.account.credits, &self.terms, UNDER_WAY, promised).await {
            return job.refuse(RefusalCode::Payment, reason.to_string()).await;
        }
        if must_prepay {
            let price = millrace_hop::prepayment(&self.terms, job.open.megapixel_rate);
            job.take_prepayment(&node.account.till, &self.terms, price).await?;
            session.prepaid(job.open.stream);
        }
        let mut open = self.next(&job);
        let Some(mut lease) = self.recruit(&open, &[]).await else {
            return job
                .refuse(RefusalCode::Busy, "no transcoder is free for this ladder: lower it or try again later")
                .await;
        };
        job.accept().await?;

        let mut excluded = Vec::new();
        let mut forwarded = false;
        for _ in 0..node.config.attempts.max(1) {
            if forwarded {
                job.send(&Down::Restart).await?;
                forwarded = false;
            }
            let (worker, number) = (lease.address, open.attempt);
            match self.attempt(&mut job, &lease, open, &mut forwarded).await {
                Ok(delivered) => {
                    let findings = self.verify(&job, &delivered).await?;
                    let failed = findings.iter().enumerate().find_map(|(i, f)| Some((i, f, f.fault.clone()?)));
                    let Some((index, finding, fault)) = failed else {
                        self.draw(&delivered);
                        self.note_samples(&lease, &findings).await;
                        return self.settle(job, delivered, lease, number).await;
                    };
                    let words = format!("{}: {fault}", finding.rendition);
                    warn!(stream = %job.open.stream, seq = job.open.seq, %worker, fault = %words, "verification failed: not paid");
                    let code = fault.code();
                    self.log(&job, number, &lease, Ended::Fail(words)).await;
                    node.pool.note_failed(worker);
                    if let Some(failure) = failure(&job, &lease, number, (index, finding, fault), &delivered) {
                        node.tasks.spawn(node.evidence.clone().keep(failure));
                    }
                    if let Err(error) = delivered.refuse(&node.account.pen, code).await {
                        debug!(%worker, %error, "the verdict did not reach the transcoder");
                    }
                    self.note_samples(&lease, &findings).await;
                    excluded.push(worker);
                }
                Err(AttemptError::SourceGone) => return Err(ServeError::Cancelled("the source stopped".into())),
                Err(error) => {
                    let refused = matches!(error, AttemptError::Refused { .. });
                    let ended =
                        if refused { Ended::Refused(error.to_string()) } else { Ended::Lost(error.to_string()) };
                    warn!(stream = %job.open.stream, seq = job.open.seq, %worker, %error, "the attempt came to nothing");
                    self.log(&job, number, &lease, ended).await;
                    if error.blames_worker() {
                        node.pool.note_failed(worker);
                    }
                    // One that lost its connection may be back before the next attempt, and is then as good as any; so is one
                    // for which this node could not sign.
                    if lease.peer.is_alive() && !matches!(error, AttemptError::Sign(_)) {
                        excluded.push(worker);
                    }
                }
            }
            drop(lease);
            open = self.next(&job);
            let Some(next) = self.recruit(&open, &excluded).await else { break };
            info!(stream = %job.open.stream, seq = job.open.seq, to = %next.address, "the segment goes to another transcoder");
            lease = next;
        }
        job.refuse(RefusalCode::Internal, "no transcoder could deliver this segment").await
    }

    /// The segment as its next attempt offers it: under a name and a number that were never signed for.
    fn next(&self, job: &Job) -> SegmentOpen {
        let (stream, attempt) = self.node.streams.attempt(job.assigner(), job.open.stream, job.open.seq);
        SegmentOpen { stream, attempt, ..job.open.clone() }
    }

    /// A transcoder with room for the segment, waiting a while for one to come back.
    async fn recruit(&self, open: &SegmentOpen, excluded: &[Address]) -> Option<Lease> {
        let pool = &self.node.pool;
        let mut changes = pool.changes();
        let max_price = u128::from(self.node.config.max_transcoder_price);
        let find = async {
            loop {
                changes.borrow_and_update();
                if let Some(lease) = pool.lease(open.stream, open.megapixel_rate, excluded, max_price) {
                    return Some(lease);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(RECRUIT_TIMEOUT, find).await.ok().flatten()
    }

    /// One attempt: the source goes to the transcoder as it comes, and its outputs go on to the broadcaster, unless they
    /// must be verified first.
    async fn attempt(
        &self,
        job: &mut Job,
        lease: &Lease,
        open: SegmentOpen,
        forwarded: &mut bool,
    ) -> Result<Delivered, AttemptError> {
        let node = &self.node;
        let withhold = open.verify_before_publish;
        let offer = Offer {
            terms: lease.terms,
            sample_commit: node.account.sampling.commit(millrace_hop::unix_now()),
            // One that gets the segment as a whole has all of it to do still.
            patience: Duration::from_millis(node.config.attempt_ms) + job.source.took().unwrap_or_default(),
            prepaid: Vec::new(),
        };
        let (outputs, mut received) = mpsc::channel(OUTPUTS);
        let source = job.source.clone();
        let attempt = attempt(&lease.peer, open, &source, &offer, &node.account.pen, &node.account.purse, &outputs);
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                biased;
                Some(output) = received.recv() => {
                    if withhold {
                        continue;
                    }
                    let Some(message) = down(output) else { continue };
                    *forwarded = true;
                    if let Err(error) = job.send(&message).await {
                        debug!(%error, "the broadcaster takes no outputs");
                        source.abort();
                    }
                }
                result = &mut attempt => {
                    let delivered = result?;
                    while let Some(message) = received.try_recv().ok().and_then(down) {
                        if !withhold && job.send(&message).await.is_err() {
                            return Err(AttemptError::SourceGone);
                        }
                    }
                    return Ok(delivered);
                }
            }
        }
    }

    async fn verify(&self, job: &Job, delivered: &Delivered) -> Result<Vec<Finding>, ServeError> {
        let (init, parts) = (job.source.init().clone(), job.source.parts());
        let profiles: Vec<Profile> = job.open.profiles.clone();
        let renditions: Vec<Rendition> = delivered.renditions.clone();
        tokio::task::spawn_blocking(move || verification::verify(&init, &parts, &profiles, &renditions))
            .await
            .map_err(|e| ServeError::Protocol(format!("verification stopped: {e}")))?
            .map_err(|e| ServeError::Protocol(e.to_string()))
    }

    /// Draws whether the segment is to be looked at more closely: only now, when its receipt is signed.
    fn draw(&self, delivered: &Delivered) {
        let account = &self.node.account;
        let commit = delivered.assignment.body.sampleCommit;
        let Some(secret) = account.sampling.behind(commit, millrace_hop::unix_now()) else {
            return warn!(%commit, "the secret behind an assignment's commitment is not known: the segment is not sampled");
        };
        let receipt = account.pen.digest(&delivered.receipt.body);
        let frames = delivered.facts.iter().map(|facts| facts.frames).min().unwrap_or_default();
        let draw = verification::draw(secret, receipt, delivered.facts.len() as u32, frames);
        if draw.full.is_some() || draw.quality.is_some() {
            info!(%receipt, full = ?draw.full.map(|p| p.rendition), quality = ?draw.quality, "the segment is drawn as a sample");
        }
    }

    /// Keeps the transcoder's record, and suspends it when that says so.
    async fn note_samples(&self, lease: &Lease, findings: &[Finding]) {
        let long = Duration::from_secs(self.node.config.suspension_s);
        let suspend = self.node.pool.note_samples(lease.address, findings.iter().map(|f| f.fault.is_none()), long);
        let fault = findings.iter().find_map(|f| f.fault.as_ref().map(|fault| (&f.rendition, fault)));
        if let (Some(duration), Some((rendition, fault))) = (suspend, fault) {
            self.node.suspend(lease.address, &format!("failed verification: {rendition}: {fault}"), duration).await;
        }
    }

    /// Pays the transcoder and delivers to the broadcaster, side by side.
    async fn settle(self, mut job: Job, delivered: Delivered, lease: Lease, number: u32) -> Result<(), ServeError> {
        let node = self.node.clone();
        let (worker, worker_name) = (lease.address, lease.name.clone());
        drop(lease); // its room is free while the money moves
        let open = job.open.clone();
        let paid = delivered.price;
        let facts = delivered.facts.clone();
        let renditions = delivered.renditions.clone();
        let duration = delivered.receipt.body.duration;
        let row = self.row(&job, number, (worker, &worker_name), Ended::Pass(paid));
        let pay = async {
            match delivered.pay(&node.account.pen, &node.account.purse).await {
                Ok(()) => {
                    node.pool.note_paid(worker, paid);
                    node.account.log_segment(row).await;
                }
                Err(error) => {
                    warn!(%worker, %error, "the transcoder's ticket did not arrive");
                    node.account.log_segment(SegmentRow { paid: U256::ZERO, ..row }).await;
                }
            }
        };
        let deliver = async {
            if open.verify_before_publish {
                publish(&mut job, &renditions).await?;
            }
            let assignment = job.assignment(&self.terms, &node.account.pen, &node.account.till).await?;
            let made = Made { assignment: &assignment, facts, renditions: &renditions, duration };
            job.deliver(made, &self.terms, &node.account.pen, &node.account.till).await
        };
        let ((), settled) = tokio::join!(pay, deliver);
        match settled? {
            Settled::Paid { accepted, price } => {
                debug!(stream = %open.stream, seq = open.seq, %price, winner = accepted.winner, "paid by the broadcaster");
            }
            Settled::Failed(verdict) => {
                warn!(stream = %open.stream, seq = open.seq, code = verdict.body.code, "the broadcaster refused the segment");
            }
        }
        Ok(())
    }

    async fn log(&self, job: &Job, number: u32, lease: &Lease, ended: Ended) {
        let row = self.row(job, number, (lease.address, &lease.name), ended);
        self.node.account.log_segment(row).await;
    }

    fn row(&self, job: &Job, attempt: u32, (worker, worker_name): (Address, &str), ended: Ended) -> SegmentRow {
        let (result, fault, paid) = match ended {
            Ended::Pass(paid) => ("pass", None, paid),
            Ended::Fail(why) => ("fail", Some(why), U256::ZERO),
            Ended::Lost(why) => ("lost", Some(why), U256::ZERO),
            Ended::Refused(why) => ("refused", Some(why), U256::ZERO),
        };
        SegmentRow {
            at_ms: millrace_hop::unix_now_ms(),
            stream: job.open.stream,
            seq: job.open.seq,
            attempt,
            payer: self.node.account.address(),
            payee: worker,
            worker,
            worker_name: worker_name.to_owned(),
            result: result.to_owned(),
            fault,
            latency_ms: job.source.since_end().unwrap_or_default().as_millis() as u64,
            paid,
        }
    }
}

/// What is kept of a rendition, its index, finding and fault, that failed.
fn failure(
    job: &Job,
    lease: &Lease,
    attempt: u32,
    (index, finding, fault): (usize, &Finding, Fault),
    delivered: &Delivered,
) -> Option<Failure> {
    let rendition = delivered.renditions.get(index)?;
    Some(Failure {
        stream: job.open.stream,
        seq: job.open.seq,
        attempt,
        worker: lease.address,
        worker_name: lease.name.clone(),
        profile: job.open.profiles.get(index)?.clone(),
        fault,
        comparison: finding.comparison,
        source: Media { init: job.source.init().clone(), parts: job.source.parts() },
        rendition: Media { init: rendition.init.clone(), parts: rendition.parts.clone() },
        assignment: delivered.assignment.clone(),
        receipt: delivered.receipt.clone(),
    })
}

/// How an attempt ended, for the journal.
enum Ended {
    /// Verified and paid, wei.
    Pass(U256),
    /// It failed verification.
    Fail(String),
    /// Nothing came, or too late.
    Lost(String),
    /// The transcoder did not take it.
    Refused(String),
}

fn down(output: Output) -> Option<Down> {
    Some(match output {
        Output::Init { rendition, bytes } => Down::Init { rendition, bytes },
        Output::Part { rendition, index, bytes } => Down::Part { rendition, index, bytes },
        Output::Restart => Down::Restart,
        Output::Prepaid => return None, // between us and the transcoder
    })
}

async fn publish(job: &mut Job, renditions: &[Rendition]) -> Result<(), ServeError> {
    for (rendition, held) in (0u8..).zip(renditions) {
        job.send(&Down::Init { rendition, bytes: held.init.clone() }).await?;
        for (index, bytes) in (0u32..).zip(&held.parts) {
            job.send(&Down::Part { rendition, index, bytes: bytes.clone() }).await?;
        }
    }
    Ok(())
}

/// Refuses what no transcoder should be asked for.
fn acceptable(open: &SegmentOpen) -> Result<(), String> {
    for profile in &open.profiles {
        let Profile { name, width, height, .. } = profile;
        let even = width % 2 == 0 && height % 2 == 0 && *width > 0 && *height > 0;
        if !even || *width > MAX_SIDE || *height > MAX_SIDE {
            return Err(format!("rendition {name} is {width}x{height}: sides must be even and at most {MAX_SIDE}"));
        }
        if profile.codec != "h264" {
            return Err(format!("rendition {name} asks for codec {}: this network makes h264", profile.codec));
        }
    }
    if open.megapixel_rate == 0 {
        return Err("the ladder's megapixel rate is 0: say how many million pixels a second it has".into());
    }
    match cmaf::read_init(&open.source_init) {
        Ok(cmaf::Track::Video(_)) => Ok(()),
        Ok(cmaf::Track::Audio(_)) => Err("the source is an audio track: audio stays at the broadcaster".into()),
        Err(e) => Err(format!("the source's initialisation segment cannot be read: {e}")),
    }
}
