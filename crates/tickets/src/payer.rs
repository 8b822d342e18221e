//! The paying end of one pair: turns what is due into tickets, one commit and one nonce each.
//!
//! Order for the caller: [`Payer::issue`], write the ticket to the store, sign, send. Only what the store holds is ever
//! signed, so after a crash the same work is paid by the same bytes.

use std::collections::VecDeque;

use alloy::primitives::aliases::U40;
use alloy::primitives::{Address, B256, U256};

use crate::money::{Due, win_prob_for};
use crate::objects::Ticket;

/// Commits kept for one payee. A payee hands out 16 at each connection and one with each acknowledgement; what exceeds
/// this falls out oldest first.
pub const MAX_COMMITS: usize = 64;

/// A ticket's life, seconds: a day to redeem in, well below the 72 h that a lock takes to open.
pub const TICKET_TTL: u64 = 24 * 3600;

/// Bits of a nonce that count tickets within one second; the 40 above are the issue time.
pub const NONCE_COUNTER_BITS: u32 = 24;

/// How far a nonce's time may be ahead of the payee's clock, seconds: more than honest clocks differ, and little
/// enough that a payer cannot push a pair's nonces out of its own reach.
pub const NONCE_AHEAD: u64 = 60;

/// Tickets remembered for one payee, so that a retry gets the identical one and a commit offered again is not used
/// again. The store remembers the rest.
const REMEMBERED: usize = 256;

/// The payer's state towards one payee.
#[derive(Debug, Clone)]
pub struct Payer {
    payer: Address,
    payee: Address,
    commits: VecDeque<B256>,
    issued: VecDeque<Ticket>,
    last_nonce: u64,
}

impl Payer {
    /// A pair that never exchanged a ticket.
    pub fn new(payer: Address, payee: Address) -> Self {
        Self::restore(payer, payee, 0, [])
    }

    /// After a restart: the highest nonce ever written to the store, and the tickets written last, oldest first. The
    /// commits that were queued are gone: the payee hands out new ones when it connects.
    pub fn restore(payer: Address, payee: Address, last_nonce: u64, issued: impl IntoIterator<Item = Ticket>) -> Self {
        let mut restored = Self { payer, payee, commits: VecDeque::new(), issued: VecDeque::new(), last_nonce };
        issued.into_iter().for_each(|ticket| restored.remember(ticket));
        restored
    }

    /// Queues commits from the payee, to be used in this order. One that is queued or was used before is ignored.
    pub fn offer_commits(&mut self, commits: Vec<B256>) {
        for commit in commits {
            if self.commits.contains(&commit) || self.issued.iter().any(|t| t.payeeCommit == commit) {
                continue;
            }
            if self.commits.len() == MAX_COMMITS {
                self.commits.pop_front();
            }
            self.commits.push_back(commit);
        }
    }

    /// Commits at hand: the tickets that can be issued before the payee sends more.
    pub fn commits_left(&self) -> usize {
        self.commits.len()
    }

    /// The ticket that pays `due`. The same work hash again gives the identical ticket, whatever the other arguments
    /// are: a payer that could draw twice for one piece of work would keep the loser.
    pub fn issue(&mut self, now: u64, due: &Due, payer_rand: B256) -> Result<Ticket, PayerError> {
        if let Some(ticket) = self.issued.iter().find(|t| t.workHash == due.work_hash) {
            return Ok(ticket.clone());
        }
        let face_value = due.terms.ticket_face_value().ok_or(PayerError::FaceValue(due.terms.face_value))?;
        let win_prob = win_prob_for(due.price, due.terms.face_value).filter(|p| *p <= due.terms.win_prob).ok_or(
            PayerError::Price { price: due.price, face_value: due.terms.face_value, win_prob: due.terms.win_prob },
        )?;
        // A clock that stepped back continues from the last nonce until time has caught up.
        let nonce = (now << NONCE_COUNTER_BITS).max(self.last_nonce.saturating_add(1));
        if nonce >> NONCE_COUNTER_BITS > now + NONCE_AHEAD {
            return Err(PayerError::Clock { last: self.last_nonce >> NONCE_COUNTER_BITS, now });
        }
        let commit = self.commits.pop_front().ok_or(PayerError::NoCommits(self.payee))?;
        let ticket = Ticket {
            payer: self.payer,
            payee: self.payee,
            faceValue: face_value,
            winProb: win_prob,
            nonce,
            expiry: U40::saturating_from(now + TICKET_TTL),
            payeeCommit: commit,
            payerRand: payer_rand,
            workHash: due.work_hash,
        };
        self.last_nonce = nonce;
        self.remember(ticket.clone());
        Ok(ticket)
    }

    /// Drops a ticket that the store refused, which therefore was never signed. Its commit stays used.
    pub fn forget(&mut self, work_hash: B256) {
        self.issued.retain(|t| t.workHash != work_hash);
    }

    fn remember(&mut self, ticket: Ticket) {
        self.last_nonce = self.last_nonce.max(ticket.nonce);
        if self.issued.len() == REMEMBERED {
            self.issued.pop_front();
        }
        self.issued.push_back(ticket);
    }
}

/// Why no ticket was issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayerError {
    /// The queue is empty.
    #[error("no commits of payee {0} are left: wait for its next acknowledgement or reconnect")]
    NoCommits(Address),
    /// The quoted face value cannot be written in a ticket.
    #[error("quoted face value is {0} wei: it must be above zero and below 2^96")]
    FaceValue(u128),
    /// One ticket cannot be worth the price.
    #[error(
        "price {price} wei is more than one ticket of {face_value} wei at the quoted win probability \
         {win_prob}/2^64 is worth: the payee has to quote a larger face value"
    )]
    Price {
        /// What is due, wei.
        price: U256,
        /// The quoted face value, wei.
        face_value: u128,
        /// The quoted cap on the win probability, times 2^64.
        win_prob: u64,
    },
    /// The clock is so far behind the last nonce that a payee would refuse the next.
    #[error("clock says {now} but the last ticket was issued at {last}: set the clock (allowed lag is 60 s)")]
    Clock {
        /// Issue time of the last ticket, unix seconds.
        last: u64,
        /// The clock, unix seconds.
        now: u64,
    },
}
