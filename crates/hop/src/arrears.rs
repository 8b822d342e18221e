//! Tickets that were signed and never acknowledged, since a crash, a broken line or a silent chain came between. The assigner sends
//! the same bytes again, on a channel of their own, whenever it meets the worker; the worker takes them for the work that it has
//! on record as unpaid, acknowledges again what it has, and says of all others whether they can still be good.

use std::time::Duration;

use alloy::primitives::Address;
use millrace_store::{AcceptError, Unpaid};
use millrace_tickets::payer::NONCE_COUNTER_BITS;
use millrace_tickets::{RejectReason, Signed, Ticket};
use millrace_wire::messages::{Down, Up};
use millrace_wire::{Peer, Receiver, Sender};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::assign::{ACK_TIMEOUT, SettleError};
use crate::purse::Purse;
use crate::serve::{OPEN_TIMEOUT, SEND_TIMEOUT, ServeError};
use crate::till::TillError;
use crate::{Account, Assigner, unix_now};

/// New work waits so long for old tickets: a newer ticket that wins, or [`millrace_tickets::payee::NONCE_WINDOW`] newer ones, may put
/// an older one out of the payee's reach. What takes longer goes on beside the work.
const BEFORE_WORK: Duration = Duration::from_secs(2);
/// While a connection lasts, tickets are sent again so often.
const INTERVAL: Duration = Duration::from_secs(10);
/// But none that was issued so short a time ago: its own segment may still wait for the acknowledgement.
const SETTLING: Duration = Duration::from_secs(15);
/// Tickets on one channel, as many as a payer has to send again at most (`millrace_store::Store::unacked`).
const MAX_TICKETS: usize = 1_024;

/// Sends every ticket again that `peer` has not acknowledged, before it gets new work.
pub async fn before_work(peer: &Peer, purse: &Purse) {
    match timeout(BEFORE_WORK, send_again(peer, purse, Duration::ZERO)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(payee = %peer.address(), %error, "tickets of before were not all answered"),
        Err(_) => debug!(payee = %peer.address(), "tickets of before are not all answered yet"),
    }
}

/// Sends tickets that remain without an acknowledgement again and again, for as long as it is polled.
pub async fn keep_sending(peer: &Peer, purse: &Purse) {
    loop {
        sleep(INTERVAL).await;
        if let Err(error) = send_again(peer, purse, SETTLING).await {
            debug!(payee = %peer.address(), %error, "tickets of before were not all answered");
        }
    }
}

async fn send_again(peer: &Peer, purse: &Purse, age: Duration) -> Result<(), SettleError> {
    let payee = peer.address();
    let latest = unix_now().saturating_sub(age.as_secs());
    let mut tickets = purse.unacknowledged(payee).await.map_err(SettleError::Purse)?;
    tickets.retain(|ticket| ticket.body.nonce >> NONCE_COUNTER_BITS <= latest || age.is_zero());
    if tickets.is_empty() {
        return Ok(());
    }
    let channel = timeout(ACK_TIMEOUT, peer.open()).await.map_err(|_| SettleError::Silent)??;
    let (mut sender, mut receiver) = channel.split();
    let sending = async {
        for ticket in &tickets {
            sender.send_within(&Up::Ticket(ticket.clone()), ACK_TIMEOUT).await?;
        }
        sender.finish();
        Ok::<(), SettleError>(())
    };
    let answers = async {
        for ticket in &tickets {
            settle(&mut receiver, purse, payee, ticket).await?;
        }
        Ok(())
    };
    tokio::try_join!(sending, answers).map(drop)
}

async fn settle(
    receiver: &mut Receiver,
    purse: &Purse,
    payee: Address,
    ticket: &Signed<Ticket>,
) -> Result<(), SettleError> {
    let work = ticket.body.workHash;
    match receiver.recv_within::<Down>(ACK_TIMEOUT).await? {
        Some(Down::TicketAck { commits }) => {
            info!(%payee, %work, "a ticket that was sent again has arrived");
            purse.acknowledged(payee, work, commits).await.map_err(SettleError::Purse)
        }
        Some(Down::TicketRejected { reason }) => purse.refused(payee, work, &reason).await.map_err(SettleError::Purse),
        Some(Down::TicketLater { reason }) => {
            debug!(%payee, %work, reason, "the payee wants a ticket again later");
            Ok(())
        }
        _ => Err(SettleError::Silent),
    }
}

/// Tickets that an assigner sends again, at the worker.
pub struct Arrears {
    pub(crate) first: Signed<Ticket>,
    pub(crate) assigner: Assigner,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

impl Arrears {
    /// Answers each ticket in order: the worker's `account` takes it, has it, wants it again later, or never will.
    pub async fn take(self, account: &Account) -> Result<(), ServeError> {
        let Self { first, assigner, mut sender, mut receiver } = self;
        let mut next = Some(first);
        for _ in 0..MAX_TICKETS {
            let Some(ticket) = next.take() else { break };
            let answer = take(account, assigner, &ticket).await;
            sender.send_within(&answer, SEND_TIMEOUT).await?;
            next = match receiver.recv_within::<Up>(OPEN_TIMEOUT).await? {
                Some(Up::Ticket(ticket)) => Some(ticket),
                None => None,
                Some(_) => {
                    return Err(ServeError::Protocol(
                        "tickets that are sent again have a channel to themselves".into(),
                    ));
                }
            };
        }
        Ok(sender.finish_and_wait(SEND_TIMEOUT).await?)
    }
}

async fn take(account: &Account, assigner: Assigner, ticket: &Signed<Ticket>) -> Down {
    let payer = assigner.payer;
    match account.till.accept_late(ticket, assigner).await {
        Ok((commits, work)) => {
            if let Some(work) = work {
                account.credits.repaid(&work);
                let Unpaid { stream, due, .. } = work;
                info!(%payer, %stream, work = %due.work_hash, price = %due.price, "a ticket that was held up has come");
            }
            Down::TicketAck { commits }
        }
        Err(error) => {
            // That it is unknown is no news: a prepayment may be older than the first word of its stream.
            let unknown = matches!(error, TillError::Accept(AcceptError::Rejected(RejectReason::Unknown(_))));
            if !unknown {
                warn!(%payer, work = %ticket.body.workHash, %error, "a ticket that was held up is not taken");
            }
            refusal(&error)
        }
    }
}

/// What the payer of a ticket is told that was not taken.
pub(crate) fn refusal(error: &TillError) -> Down {
    let reason = error.to_string();
    if error.passes() { Down::TicketLater { reason } } else { Down::TicketRejected { reason } }
}
