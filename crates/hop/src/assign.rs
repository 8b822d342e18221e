//! The assigner's end of one attempt at a segment: offer it, pass the parts on as they come, take the rendition parts
//! back, and check that the receipt is for just these bytes. Whether the pictures are right is for the caller to judge,
//! who then pays or refuses.

use std::time::Duration;

use alloy::primitives::{Address, B256, U256, keccak256};
use bytes::Bytes;
use millrace_tickets::{
    Assignment, RenditionFacts, SegmentReceipt, Signed, Terms, Ticket, Verdict, price, profiles_hash, rendition_root,
};
use millrace_wire::messages::{Down, RefusalCode, SegmentOpen, Up};
use millrace_wire::{Closed, Peer, Receiver, RecvError, SendError, Sender};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::purse::{Purse, PurseError};
use crate::sign::{Pen, SignError};
use crate::source::{Next, Source};
use crate::unix_now;

/// A worker says within this whether it takes a segment. An orchestrator may have to wait for a
/// transcoder first.
pub const ACCEPT_TIMEOUT: Duration = Duration::from_secs(3);
/// A ticket is acknowledged within this: one write to the payee's disk and one round trip.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker takes a message within this: more, and it has stopped reading.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// A worker that stopped reading has said why within this: its word and its stop leave it together.
const LAST_WORD: Duration = Duration::from_secs(1);
/// A source that yields no part for this long has stopped.
pub const SOURCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that one segment's renditions may hold together.
pub const MAX_RENDITION_BYTES: usize = 64 << 20;

/// What is asked of the worker, beside the segment itself.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The terms under which this worker works for us.
    pub terms: Terms,
    /// The commitment to our sampling secret.
    pub sample_commit: B256,
    /// How long after the source's end the receipt may come.
    pub patience: Duration,
    /// Tickets that go out with the offer, ahead of any work.
    pub prepaid: Vec<Signed<Ticket>>,
}

/// What comes back while the worker works.
#[derive(Debug, Clone)]
pub enum Output {
    /// The initialisation segment of rendition `rendition` (an index into the profiles).
    Init {
        /// Index into the profiles.
        rendition: u8,
        /// `ftyp` and `moov`.
        bytes: Bytes,
    },
    /// A part.
    Part {
        /// Index into the profiles.
        rendition: u8,
        /// Index within the segment.
        index: u32,
        /// One `moof` and `mdat`.
        bytes: Bytes,
    },
    /// What came so far for this segment is void: a new attempt follows.
    Restart,
    /// Every prepaid ticket was acknowledged.
    Prepaid,
}

/// A rendition of one segment, as it came.
#[derive(Debug, Clone, Default)]
pub struct Rendition {
    /// `ftyp` and `moov`.
    pub init: Bytes,
    /// The parts in order.
    pub parts: Vec<Bytes>,
}

impl Rendition {
    /// Bytes of all parts, without the initialisation segment.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether no part has come.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// keccak256 over the parts in order, as a receipt's facts name them.
    pub fn hash(&self) -> B256 {
        let mut hash = alloy::primitives::Keccak256::new();
        for part in &self.parts {
            hash.update(part);
        }
        hash.finalize()
    }
}

/// The commitment to what a receipt delivers part by part: keccak256 over the hash of every part of every
/// rendition in order. With the bytes in hand, anyone can tell which part a dispute is about.
pub fn parts_root(renditions: &[Rendition]) -> B256 {
    let mut hash = alloy::primitives::Keccak256::new();
    for rendition in renditions {
        hash.update(keccak256(&rendition.init));
        hash.update((rendition.parts.len() as u64).to_be_bytes());
        for part in &rendition.parts {
            hash.update(keccak256(part));
        }
    }
    hash.finalize()
}

/// How a connection fails.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WireError {
    /// It is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Nothing can be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Nothing can be received.
    #[error(transparent)]
    Receive(#[from] RecvError),
}

/// Why an attempt came to nothing. The segment is still whole, and another worker may have it.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The connection broke.
    #[error("the connection to {worker} broke: {error}")]
    Wire {
        /// The worker.
        worker: Address,
        /// What the transport said.
        error: WireError,
    },
    /// The worker closed the stream in the middle.
    #[error("{worker} closed the segment's stream before its receipt")]
    Closed {
        /// The worker.
        worker: Address,
    },
    /// The worker refused.
    #[error("{worker} refused ({code:?}): {message}")]
    Refused {
        /// The worker.
        worker: Address,
        /// Why.
        code: RefusalCode,
        /// Why, in words.
        message: String,
    },
    /// The worker was slow.
    #[error("{worker} did not {what} within {} ms", limit.as_millis())]
    Late {
        /// The worker.
        worker: Address,
        /// What was awaited.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The worker broke the protocol or its receipt does not fit the bytes.
    #[error("{worker} broke the protocol: {what}")]
    Protocol {
        /// The worker.
        worker: Address,
        /// In which way.
        what: String,
    },
    /// The source stopped; nobody's fault here.
    #[error("the source stopped before the segment's end")]
    SourceGone,
    /// The assignment could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl AttemptError {
    /// Whether the worker is to blame, so that its record suffers.
    pub fn blames_worker(&self) -> bool {
        !matches!(self, Self::SourceGone | Self::Sign(_) | Self::Refused { .. })
    }
}

/// A receipt that fits its bytes, and the stream on which it is settled.
pub struct Delivered {
    /// The signed assignment that it answers.
    pub assignment: Signed<Assignment>,
    /// The signed receipt.
    pub receipt: Signed<SegmentReceipt>,
    /// What the worker says of each rendition; it fits the bytes.
    pub facts: Vec<RenditionFacts>,
    /// The bytes, one entry per profile.
    pub renditions: Vec<Rendition>,
    /// What is owed, in wei.
    pub price: U256,
    worker: Address,
    sender: Sender,
    receiver: Receiver,
}

/// Why a delivered segment could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The purse refused.
    #[error(transparent)]
    Purse(PurseError),
    /// The pen refused.
    #[error(transparent)]
    Sign(SignError),
    /// The connection broke; the ticket is in the database and the same bytes go out when asked for again.
    #[error("the ticket was not acknowledged: {0}")]
    Wire(WireError),
    /// The payee refused the ticket.
    #[error("the payee refused the ticket: {0}")]
    Rejected(String),
    /// The payee wants the same ticket again later, and gets it.
    #[error("the payee wants the ticket again later: {0}")]
    Later(String),
    /// The payee said something else.
    #[error("the payee answered a ticket with something else, or not within {} s", ACK_TIMEOUT.as_secs())]
    Silent,
}

impl<E: Into<WireError>> From<E> for SettleError {
    fn from(error: E) -> Self {
        Self::Wire(error.into())
    }
}

impl Delivered {
    /// Pays the worker: the ticket goes out, and its acknowledgement is awaited.
    pub async fn pay(mut self, pen: &Pen, purse: &Purse) -> Result<(), SettleError> {
        let work = pen.digest(&self.receipt.body);
        let ticket = purse.pay(self.worker, work, self.price).await.map_err(SettleError::Purse)?;
        self.sender.send_within(&Up::Ticket(ticket), ACK_TIMEOUT).await?;
        match self.receiver.recv_within::<Down>(ACK_TIMEOUT).await? {
            Some(Down::TicketAck { commits }) => {
                purse.acknowledged(self.worker, work, commits).await.map_err(SettleError::Purse)?;
            }
            Some(Down::TicketRejected { reason }) => {
                purse.refused(self.worker, work, &reason).await.map_err(SettleError::Purse)?;
                return Err(SettleError::Rejected(reason));
            }
            Some(Down::TicketLater { reason }) => return Err(SettleError::Later(reason)),
            _ => return Err(SettleError::Silent),
        }
        self.sender.finish();
        Ok(())
    }

    /// Refuses to pay: the verdict goes out, signed.
    pub async fn refuse(mut self, pen: &Pen, code: u16) -> Result<(), SettleError> {
        let receipt_hash = pen.digest(&self.receipt.body);
        let verdict = Verdict { receiptHash: receipt_hash, pass: false, code };
        let verdict = pen.sign(verdict).await.map_err(SettleError::Sign)?;
        self.sender.send_within(&Up::Failed(verdict), ACK_TIMEOUT).await?;
        self.sender.finish();
        Ok(())
    }
}

/// Runs one attempt at a segment on `peer`: `source` may still be growing, and every output goes to `outputs` as it comes.
///
/// Prepaid tickets, if any, go out right after the offer. Ends with a receipt whose facts fit the bytes, or with the
/// reason why another worker should have the segment.
pub async fn attempt(
    peer: &Peer,
    open: SegmentOpen,
    source: &Source,
    offer: &Offer,
    pen: &Pen,
    purse: &Purse,
    outputs: &mpsc::Sender<Output>,
) -> Result<Delivered, AttemptError> {
    let worker = peer.address();
    let late = |what, limit| AttemptError::Late { worker, what, limit };
    let channel = timeout(ACCEPT_TIMEOUT, peer.open())
        .await
        .map_err(|_| late("open a stream", ACCEPT_TIMEOUT))?
        .map_err(|e| broke(worker, e))?;
    let (mut sender, mut receiver) = channel.split();
    send(&mut sender, &Up::Open(open.clone()), worker).await?;
    for ticket in &offer.prepaid {
        send(&mut sender, &Up::Ticket(ticket.clone()), worker).await?;
    }

    let prepaid = offer.prepaid.iter().map(|t| t.body.workHash).collect();
    let (assignment, answer) = {
        let up = send_source(&mut sender, &open, source, offer, pen, worker);
        let down = take_outputs(&mut receiver, &open, prepaid, purse, outputs, worker);
        tokio::pin!(up, down);
        let assignment = tokio::select! {
            sent = &mut up => match sent {
                // A worker that refuses reads no more: what it says is the reason, and that it stopped is not.
                Err(error @ AttemptError::Wire { .. }) => {
                    return Err(match timeout(LAST_WORD, &mut down).await {
                        Ok(Err(reason)) => reason,
                        _ => error,
                    });
                }
                sent => sent?,
            },
            // The worker may end the attempt while the source still flows, but not with a receipt.
            early = &mut down => {
                early?;
                return Err(AttemptError::Protocol { worker, what: "a receipt came before the segment's end".into() });
            }
        };
        let answer = timeout(offer.patience, &mut down).await;
        (assignment, answer.map_err(|_| late("deliver the segment after its last part", offer.patience))??)
    };
    let Answer { receipt, facts, renditions } = answer;
    check(pen, &assignment, &open, &receipt, &facts, &renditions)
        .map_err(|what| AttemptError::Protocol { worker, what })?;
    let price = assignment.body.price;
    Ok(Delivered { assignment, receipt, facts, renditions, price, worker, sender, receiver })
}

fn broke(worker: Address, error: impl Into<WireError>) -> AttemptError {
    AttemptError::Wire { worker, error: error.into() }
}

async fn send(sender: &mut Sender, message: &Up, worker: Address) -> Result<(), AttemptError> {
    sender.send_within(message, SEND_TIMEOUT).await.map_err(|e| broke(worker, e))
}

/// Sends the parts as they come, then the assignment that names them all.
async fn send_source(
    sender: &mut Sender,
    open: &SegmentOpen,
    source: &Source,
    offer: &Offer,
    pen: &Pen,
    worker: Address,
) -> Result<Signed<Assignment>, AttemptError> {
    let mut reader = source.reader();
    loop {
        match timeout(SOURCE_TIMEOUT, reader.next()).await.unwrap_or(Next::Aborted) {
            Next::Part { index, bytes } => send(sender, &Up::Part { index, bytes }, worker).await?,
            Next::Aborted => {
                // Said for courtesy; the stream is given up either way.
                let _ = send(sender, &Up::Cancel { reason: "the source stopped".into() }, worker).await;
                return Err(AttemptError::SourceGone);
            }
            Next::End { parts, frames } => {
                let body = Assignment {
                    streamId: open.stream,
                    seq: open.seq,
                    attempt: open.attempt,
                    sourceHash: source.hash(),
                    profileHash: profiles_hash(&open.profiles),
                    price: price(&offer.terms, pixels(open, frames)),
                    deadline: alloy::primitives::aliases::U40::from(unix_now() + offer.patience.as_secs()),
                    payer: pen.address(),
                    worker,
                    sampleCommit: offer.sample_commit,
                };
                let assignment = pen.sign(body).await?;
                send(sender, &Up::End { assignment: assignment.clone(), parts }, worker).await?;
                return Ok(assignment);
            }
        }
    }
}

struct Answer {
    receipt: Signed<SegmentReceipt>,
    facts: Vec<RenditionFacts>,
    renditions: Vec<Rendition>,
}

/// Takes what the worker sends until its receipt.
async fn take_outputs(
    receiver: &mut Receiver,
    open: &SegmentOpen,
    mut prepaid: Vec<B256>,
    purse: &Purse,
    outputs: &mpsc::Sender<Output>,
    worker: Address,
) -> Result<Answer, AttemptError> {
    let protocol = |what: String| AttemptError::Protocol { worker, what };
    let mut renditions = vec![Rendition::default(); open.profiles.len()];
    let mut held = 0;
    let mut accepted = false;
    loop {
        let limit = if accepted { SOURCE_TIMEOUT } else { ACCEPT_TIMEOUT };
        let message = timeout(limit, receiver.recv::<Down>())
            .await
            .map_err(|_| AttemptError::Late { worker, what: "answer", limit })?
            .map_err(|e| broke(worker, e))?
            .ok_or(AttemptError::Closed { worker })?;
        let output = match message {
            Down::Accepted => {
                accepted = true;
                continue;
            }
            Down::Refused(refusal) => {
                return Err(AttemptError::Refused { worker, code: refusal.code, message: refusal.message });
            }
            Down::Init { rendition, bytes } => {
                held += bytes.len();
                renditions.get_mut(rendition as usize).ok_or_else(|| protocol(no_rendition(rendition)))?.init =
                    bytes.clone();
                Output::Init { rendition, bytes }
            }
            Down::Part { rendition, index, bytes } => {
                held += bytes.len();
                let kept = renditions.get_mut(rendition as usize).ok_or_else(|| protocol(no_rendition(rendition)))?;
                if index as usize != kept.parts.len() {
                    return Err(protocol(format!("part {index} of rendition {rendition} came out of order")));
                }
                kept.parts.push(bytes.clone());
                Output::Part { rendition, index, bytes }
            }
            Down::Restart => {
                held = 0;
                renditions = vec![Rendition::default(); open.profiles.len()];
                Output::Restart
            }
            Down::Receipt { receipt, facts } => return Ok(Answer { receipt, facts, renditions }),
            Down::TicketAck { commits } if !prepaid.is_empty() => {
                let work = prepaid.remove(0);
                if let Err(error) = purse.acknowledged(worker, work, commits).await {
                    tracing::warn!(%worker, %error, "an acknowledgement could not be written down");
                }
                if !prepaid.is_empty() {
                    continue;
                }
                Output::Prepaid
            }
            Down::TicketRejected { reason } if !prepaid.is_empty() => {
                if let Err(error) = purse.refused(worker, prepaid[0], &reason).await {
                    tracing::warn!(%worker, %error, "a refusal could not be written down");
                }
                return Err(AttemptError::Refused { worker, code: RefusalCode::Payment, message: reason });
            }
            Down::TicketLater { reason } if !prepaid.is_empty() => {
                return Err(AttemptError::Refused { worker, code: RefusalCode::Payment, message: reason });
            }
            Down::TicketAck { .. } | Down::TicketRejected { .. } | Down::TicketLater { .. } => {
                return Err(protocol("it answered a ticket that was not sent".into()));
            }
        };
        if held > MAX_RENDITION_BYTES {
            return Err(protocol(format!("its renditions exceed {MAX_RENDITION_BYTES} bytes")));
        }
        // A receiver that is gone wants no outputs; the attempt itself goes on, since the receipt still matters.
        let _ = outputs.send(output).await;
    }
}

fn no_rendition(rendition: u8) -> String {
    format!("it sent rendition {rendition}, which was not asked for")
}

/// Pixels of all renditions together in `frames` frames.
pub fn pixels(open: &SegmentOpen, frames: u32) -> u64 {
    let frame: u64 = open.profiles.iter().map(|p| u64::from(p.width) * u64::from(p.height)).sum();
    frame * u64::from(frames)
}

/// Checks that a receipt answers our assignment and fits the bytes that came.
fn check(
    pen: &Pen,
    assignment: &Signed<Assignment>,
    open: &SegmentOpen,
    receipt: &Signed<SegmentReceipt>,
    facts: &[RenditionFacts],
    renditions: &[Rendition],
) -> Result<(), String> {
    let signer = receipt.recover(pen.domain()).map_err(|e| format!("its receipt has no valid signature: {e}"))?;
    if signer != assignment.body.worker {
        return Err(format!("its receipt is signed by {signer}"));
    }
    if receipt.body.assignmentHash != pen.digest(&assignment.body) {
        return Err("its receipt is for another assignment".into());
    }
    if receipt.body.renditionRoot != rendition_root(facts) {
        return Err("its receipt does not commit to the facts sent with it".into());
    }
    if receipt.body.hashRoot != parts_root(renditions) {
        return Err("its receipt does not commit to the parts that came".into());
    }
    if facts.len() != open.profiles.len() {
        return Err(format!(
            "{} renditions were asked for, and the receipt names {}",
            open.profiles.len(),
            facts.len()
        ));
    }
    for ((fact, profile), rendition) in facts.iter().zip(&open.profiles).zip(renditions) {
        if fact.name != profile.name || fact.width != profile.width || fact.height != profile.height {
            return Err(format!(
                "{} {}x{} was asked for, and the receipt names {} {}x{}",
                profile.name, profile.width, profile.height, fact.name, fact.width, fact.height
            ));
        }
        if fact.length != rendition.len() as u64 || fact.bytes_hash != rendition.hash() {
            return Err(format!("the bytes of {} are not those of the receipt", profile.name));
        }
    }
    Ok(())
}
