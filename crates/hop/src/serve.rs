//! The worker's end of one attempt at a segment: take the offer, keep the source as it comes, send rendition parts and the
//! receipt, and take the ticket. Whether to accept, and how the work is done, is the caller's.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256, aliases::U40};
use bytes::Bytes;
use millrace_store::Unpaid;
use millrace_tickets::{
    Assignment, Due, RenditionFacts, SegmentReceipt, Signed, Terms, Ticket, Verdict, hashes::PREPAID_SEGMENTS,
    prepay_work_hash, price, profiles_hash, rendition_root,
};
use millrace_wire::messages::{Down, Refusal, RefusalCode, SegmentOpen, Up};
use millrace_wire::{Channel, Receiver, RecvError, SendError, Sender};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::arrears::{Arrears, refusal};
use crate::assign::{Rendition, SOURCE_TIMEOUT, parts_root, pixels};
use crate::credit::{Credits, Debt, Progress, TakeError, Work};
use crate::sign::{Pen, SignError};
use crate::source::Source;
use crate::till::{Accepted, Till, TillError};
use crate::{Assigner, prepayment, unix_now};

/// The offer follows the opening of its stream within this.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// A ticket follows its receipt within this: the payer verifies first.
pub const PAY_TIMEOUT: Duration = Duration::from_secs(15);
/// A message may wait this long for a peer that reads slowly.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// An assignment is answered only while it is fresh: at most so many seconds before its deadline, and not after it. One that could
/// come again when the signing log has forgotten it, or after the database was restored from a backup, would be answered by a second
/// receipt, which is slashable. The log keeps 72 h; an honest deadline is a segment's patience away.
pub const FURTHEST_DEADLINE: u64 = 600;
/// Seconds that two honest clocks may differ.
const CLOCKS_DIFFER: u64 = 60;
/// The most renditions that one segment may ask for.
pub const MAX_RENDITIONS: usize = 12;

/// Counts the frames of a part, or says why it is none. Called on every part before it is kept.
pub type CountFrames = fn(&[u8]) -> Result<u32, String>;

/// Why a segment ended without a payment.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nothing came, or nothing readable.
    #[error("no segment came on the stream: {0}")]
    Receive(#[from] RecvError),
    /// The assigner does not read, or is gone.
    #[error("the assigner takes no more: {0}")]
    Send(#[from] SendError),
    /// The assigner broke the protocol.
    #[error("the assigner broke the protocol: {0}")]
    Protocol(String),
    /// The assigner gave the segment up.
    #[error("the assigner gave the segment up: {0}")]
    Cancelled(String),
    /// The receipt could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The ticket was refused, and the payer was told.
    #[error("the ticket was refused: {0}")]
    Till(#[from] TillError),
}

/// What was made of a segment.
#[derive(Debug)]
pub struct Made<'a> {
    /// For which assignment.
    pub assignment: &'a Signed<Assignment>,
    /// One entry per rendition.
    pub facts: Vec<RenditionFacts>,
    /// The bytes that the facts are about, as they were sent.
    pub renditions: &'a [Rendition],
    /// The segment's duration, 90 kHz ticks.
    pub duration: u64,
}

/// How a delivered segment ended.
#[derive(Debug, Clone)]
pub enum Settled {
    /// Paid.
    Paid {
        /// Whether the ticket won.
        accepted: Accepted,
        /// The price, wei.
        price: U256,
    },
    /// The assigner judged the work and refused it, signed.
    Failed(Signed<Verdict>),
}

/// An order of the assigner, beside the source's parts.
#[derive(Debug)]
enum Order {
    Assignment(Signed<Assignment>),
    Ticket(Signed<Ticket>),
    Failed(Signed<Verdict>),
    Gone(String),
}

/// What an assigner begins a channel for.
pub enum Arrival {
    /// A segment is offered.
    Segment(Job),
    /// Tickets that were not acknowledged come again.
    Tickets(Arrears),
}

/// Takes the first message of a fresh channel of `assigner`.
pub async fn arrive(
    channel: Channel,
    assigner: impl Into<Assigner>,
    count: CountFrames,
) -> Result<Arrival, ServeError> {
    let assigner = assigner.into();
    let (sender, mut receiver) = channel.split();
    match receiver.recv_within::<Up>(OPEN_TIMEOUT).await? {
        Some(Up::Open(open)) => Ok(Arrival::Segment(Job::new(open, assigner, sender, receiver, count)?)),
        Some(Up::Ticket(first)) => Ok(Arrival::Tickets(Arrears { first, assigner, sender, receiver })),
        _ => Err(ServeError::Protocol("a channel begins with the offer of a segment, or with a ticket".into())),
    }
}

/// A segment that is offered to us.
pub struct Job {
    /// The offer.
    pub open: SegmentOpen,
    /// The source, which grows as it comes.
    pub source: Arc<Source>,
    assigner: Assigner,
    sender: Sender,
    orders: mpsc::Receiver<Order>,
    gone: CancellationToken,
    reading: Option<AbortOnDropHandle<()>>,
    receiver: Option<(Receiver, CountFrames, mpsc::Sender<Order>)>,
    debt: Option<Debt>,
}

impl Job {
    fn new(
        open: SegmentOpen,
        assigner: Assigner,
        sender: Sender,
        receiver: Receiver,
        count: CountFrames,
    ) -> Result<Self, ServeError> {
        if open.profiles.is_empty() || open.profiles.len() > MAX_RENDITIONS {
            return Err(ServeError::Protocol(format!(
                "a segment asks for 1 to {MAX_RENDITIONS} renditions, and this one for {}",
                open.profiles.len()
            )));
        }
        let source = Arc::new(Source::new(open.source_init.clone()));
        let (orders_in, orders) = mpsc::channel(4);
        let receiver = Some((receiver, count, orders_in));
        let gone = CancellationToken::new();
        Ok(Self { open, source, assigner, sender, orders, gone, reading: None, receiver, debt: None })
    }

    /// The assigner's address.
    pub fn assigner(&self) -> Address {
        self.assigner.address
    }

    /// Takes the segment on under `terms`, if its assigner does not owe too much already; of its stream, `per_stream` may be under
    /// way, and so many tickets are `promised` for [`Job::take_prepayment`]. From the first part that is sent until the ticket is here, it
    /// is owed.
    pub async fn take_on(
        &mut self,
        credits: &Arc<Credits>,
        terms: &Terms,
        per_stream: u64,
        promised: u64,
    ) -> Result<(), TakeError> {
        let work = Work {
            stream: self.open.stream,
            source: self.source.clone(),
            terms: *terms,
            frame_pixels: pixels(&self.open, 1),
            megapixel_rate: self.open.megapixel_rate,
        };
        self.debt = Some(credits.take(self.assigner.payer, work, per_stream, promised).await?);
        Ok(())
    }

    fn note(&mut self, progress: Progress) {
        if let Some(debt) = &mut self.debt {
            debt.note(progress);
        }
    }

    /// Refuses the segment, saying why.
    pub async fn refuse(mut self, code: RefusalCode, message: impl Into<String>) -> Result<(), ServeError> {
        self.note(Progress::Nothing);
        let refusal = Refusal { code, message: message.into() };
        self.send(&Down::Refused(refusal)).await?;
        Ok(self.sender.finish_and_wait(SEND_TIMEOUT).await?)
    }

    /// Takes the prepayment that follows the first offer of a stream: [`PREPAID_SEGMENTS`] tickets for `price` each.
    pub async fn take_prepayment(&mut self, till: &Till, terms: &Terms, price: U256) -> Result<(), ServeError> {
        self.start_reading();
        let works: Vec<B256> = (0..PREPAID_SEGMENTS).map(|index| self.prepaid_work(till, index)).collect();
        self.expect_pay(till, false, &works, terms, price).await?;
        let mut ahead = 0;
        for work in works {
            let Order::Ticket(ticket) = self.order(OPEN_TIMEOUT, "prepay the stream").await? else {
                return Err(ServeError::Protocol("a stream is prepaid before its first part".into()));
            };
            // One that is here already has been counted.
            ahead += u64::from(!self.take_ticket(till, ticket, terms, work, price).await?.again);
        }
        if let Some(debt) = &mut self.debt {
            debt.paid_ahead(ahead, price);
        }
        Ok(())
    }

    fn prepaid_work(&self, till: &Till, index: u8) -> B256 {
        prepay_work_hash(self.open.stream, self.assigner.address, till.payee(), index)
    }

    /// Puts on record what the assigner's payer is to pay, so that a ticket is good whenever and however it comes.
    async fn expect_pay(
        &self,
        till: &Till,
        delivered: bool,
        works: &[B256],
        terms: &Terms,
        price: U256,
    ) -> Result<(), ServeError> {
        let (payer, payee, stream) = (self.assigner.payer, till.payee(), self.open.stream);
        let due = |&work_hash: &B256| Due { work_hash, price, terms: *terms };
        let unpaid = works.iter().map(|work| Unpaid { payer, payee, stream, delivered, due: due(work) });
        Ok(till.expect_pay(unpaid.collect()).await?)
    }

    /// Accepts the segment; its parts flow into [`Job::source`] from now on.
    pub async fn accept(&mut self) -> Result<(), ServeError> {
        self.start_reading();
        self.send(&Down::Accepted).await
    }

    fn start_reading(&mut self) {
        if let Some((receiver, count, orders)) = self.receiver.take() {
            let gone = self.gone.clone();
            let source = self.source.clone();
            let reading = tokio::spawn(async move {
                read(receiver, source, count, orders).await;
                gone.cancel();
            });
            self.reading = Some(AbortOnDropHandle::new(reading));
        }
    }

    /// Is cancelled once the assigner has left or given the segment up.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Sends one message to the assigner.
    pub async fn send(&mut self, message: &Down) -> Result<(), ServeError> {
        if matches!(message, Down::Part { .. }) {
            self.note(Progress::Parts);
        }
        if let Some(debt) = &mut self.debt {
            debt.sends();
        }
        let sent = self.sender.send_within(message, SEND_TIMEOUT).await;
        if let Some(debt) = &mut self.debt {
            debt.sent();
        }
        // One that has stopped listening does not have it: it gave up, and whether it owes the parts is a question of its patience.
        if matches!(message, Down::Receipt { .. }) && !matches!(sent, Err(SendError::Stopped(_))) {
            self.note(Progress::Receipt);
        }
        Ok(sent?)
    }

    async fn order(&mut self, limit: Duration, what: &str) -> Result<Order, ServeError> {
        match tokio::time::timeout(limit, self.orders.recv()).await {
            Ok(Some(Order::Gone(why))) => Err(ServeError::Cancelled(why)),
            Ok(Some(order)) => Ok(order),
            Ok(None) => Err(ServeError::Cancelled("the stream ended".into())),
            Err(_) => Err(ServeError::Cancelled(format!("it did not {what} within {} s", limit.as_secs()))),
        }
    }

    /// Waits for the signed assignment, which comes after the last part, and checks that it is for what came. Prepaid
    /// tickets that come once more ahead of it (the assigner could not know that they had arrived) are acknowledged again.
    pub async fn assignment(
        &mut self,
        terms: &Terms,
        pen: &Pen,
        till: &Till,
    ) -> Result<Signed<Assignment>, ServeError> {
        let protocol = |what: String| ServeError::Protocol(what);
        let assignment = loop {
            match self.order(SOURCE_TIMEOUT, "sign the assignment").await? {
                Order::Assignment(assignment) => break assignment,
                Order::Ticket(ticket) => {
                    let prepaid = (0..PREPAID_SEGMENTS)
                        .map(|index| self.prepaid_work(till, index))
                        .find(|work| *work == ticket.body.workHash)
                        .ok_or_else(|| protocol("a ticket came before the assignment".into()))?;
                    let price = prepayment(terms, self.open.megapixel_rate);
                    self.take_ticket(till, ticket, terms, prepaid, price).await?;
                }
                Order::Failed(_) | Order::Gone(_) => {
                    return Err(protocol("a verdict came before the assignment".into()));
                }
            }
        };
        let signer = assignment
            .recover(pen.domain())
            .map_err(|e| protocol(format!("its assignment has no valid signature: {e}")))?;
        let body = &assignment.body;
        let open = &self.open;
        let due = price(terms, pixels(open, self.source.frames()));
        if signer != self.assigner.address || body.payer != signer || body.worker != pen.address() {
            return Err(protocol("its assignment is not between the two of us".into()));
        }
        if (body.streamId, body.seq, body.attempt) != (open.stream, open.seq, open.attempt) {
            return Err(protocol("its assignment is for another segment".into()));
        }
        if body.sourceHash != self.source.hash() || body.profileHash != profiles_hash(&open.profiles) {
            return Err(protocol("its assignment names other bytes or another ladder than it sent".into()));
        }
        let (deadline, now) = (body.deadline.to::<u64>(), unix_now());
        if deadline + CLOCKS_DIFFER < now || deadline > now + FURTHEST_DEADLINE {
            return Err(protocol(format!(
                "its assignment's deadline is {deadline} and now is {now}: it may lie {FURTHEST_DEADLINE} s ahead at most; set the clock"
            )));
        }
        if body.price < due {
            return Err(protocol(format!("its assignment pays {} wei where {due} are due", body.price)));
        }
        Ok(assignment)
    }

    /// Signs the receipt for what was `made`, sends it, and waits for the verdict: a ticket, or a signed refusal.
    pub async fn deliver(
        mut self,
        made: Made<'_>,
        terms: &Terms,
        pen: &Pen,
        till: &Till,
    ) -> Result<Settled, ServeError> {
        let Made { assignment, facts, renditions, duration } = made;
        let body = SegmentReceipt {
            assignmentHash: pen.digest(&assignment.body),
            renditionRoot: rendition_root(&facts),
            hashRoot: parts_root(renditions),
            pixels: facts.iter().map(|f| u64::from(f.width) * u64::from(f.height) * u64::from(f.frames)).sum(),
            frames: facts.iter().map(|f| f.frames).sum(),
            duration,
            time: U40::from(unix_now()),
        };
        let (work, price) = (pen.digest(&body), assignment.body.price);
        let works = [work];
        // Side by side, so that both are in one commit; and both are on disk before the receipt is sent.
        let (receipt, expected) = tokio::join!(pen.sign(body), self.expect_pay(till, true, &works, terms, price));
        let receipt = receipt?;
        expected?;
        if let Some(debt) = &mut self.debt {
            debt.delivers(work);
        }
        self.send(&Down::Receipt { receipt, facts }).await?;
        match self.order(PAY_TIMEOUT, "pay or refuse").await? {
            Order::Ticket(ticket) => {
                let accepted = self.take_ticket(till, ticket, terms, work, price).await?;
                self.note(Progress::Paid);
                let _ = self.sender.finish_and_wait(SEND_TIMEOUT).await; // for the acknowledgement; paid it is either way
                Ok(Settled::Paid { accepted, price })
            }
            Order::Failed(verdict) => {
                let signer = verdict.recover(pen.domain()).ok();
                if signer != Some(self.assigner.address) || verdict.body.receiptHash != work || verdict.body.pass {
                    return Err(ServeError::Protocol("its refusal is not for this receipt".into()));
                }
                Ok(Settled::Failed(verdict))
            }
            _ => Err(ServeError::Protocol("a receipt is answered by a ticket or a refusal".into())),
        }
    }

    async fn take_ticket(
        &mut self,
        till: &Till,
        ticket: Signed<Ticket>,
        terms: &Terms,
        work: B256,
        price: U256,
    ) -> Result<Accepted, ServeError> {
        match till.accept(&ticket, self.assigner, terms, work, price).await {
            Ok(accepted) => {
                // It is on disk: a payer that left before it heard of it has paid, and sends the same bytes again.
                let _ = self.send(&Down::TicketAck { commits: accepted.commits.clone() }).await;
                Ok(accepted)
            }
            Err(refused) => {
                self.send(&refusal(&refused)).await?;
                Err(refused.into())
            }
        }
    }
}

/// Reads the assigner's direction to its end: parts into the source, all else to the job.
async fn read(mut receiver: Receiver, source: Arc<Source>, count: CountFrames, orders: mpsc::Sender<Order>) {
    let gone = loop {
        let order = match receiver.recv_within::<Up>(SOURCE_TIMEOUT).await {
            Ok(Some(Up::Part { index, bytes })) => match keep(&source, count, index, bytes) {
                Ok(()) => continue,
                Err(why) => break why,
            },
            Ok(Some(Up::End { assignment, parts })) => {
                if source.parts().len() != parts as usize {
                    break format!("{parts} parts were announced and others came");
                }
                source.end();
                Order::Assignment(assignment)
            }
            Ok(Some(Up::Ticket(ticket))) => Order::Ticket(ticket),
            Ok(Some(Up::Failed(verdict))) => Order::Failed(verdict),
            Ok(Some(Up::Cancel { reason })) => break reason,
            Ok(Some(Up::Open(_))) => break "a second offer came on one stream".into(),
            Ok(None) => break "the stream ended".into(),
            Err(e) => break e.to_string(),
        };
        if orders.send(order).await.is_err() {
            return; // the job is over
        }
    };
    source.abort();
    let _ = orders.try_send(Order::Gone(gone)); // the job may be over, or have orders enough to find out by itself
}

fn keep(source: &Source, count: CountFrames, index: u32, bytes: Bytes) -> Result<(), String> {
    let frames = count(&bytes)?;
    source.push(index, bytes, frames).map_err(|e| e.to_string())
}
