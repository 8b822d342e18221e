//! What a payee lets one payer owe: work that is under way, and work that was delivered and never paid.
//!
//! A ticket follows verification, so a worker is always some segments ahead of its pay, and a payer that stops paying
//! takes those with it. How many they are is decided here, for both hops. An honest payer loses a ticket now and then
//! (its connection breaks, its publisher stops in mid-segment), and when it crashes it loses one for each of its streams at
//! once. So what is owed is forgiven slowly, and sooner to one that pays for much; one that has paid for much without a
//! loss has such forgiveness in hand; and a stream's own prepayment stands for it. A ticket that a crash has held up takes
//! its own segment off when it comes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use alloy::primitives::{B256, U256};

/// Segments delivered and not paid, after which a payer gets no more.
pub const MAX_OWED: u64 = 4;

/// One owed segment is forgiven for so many paid ones: far more often than an honest payer's connection breaks, and 2 %
/// of a cheater's turnover.
pub const PAID_PER_FORGIVEN: u64 = 50;

/// The most that are forgiven in advance for what was paid: a crash in the middle of so many streams is no debt.
pub const MAX_SPARE: u64 = 128;

/// And one for so many seconds: an honest payer is back within the hour, and a cheater gets one segment in ten minutes.
pub const SECONDS_PER_FORGIVEN: u64 = 600;

/// Segments that a payer may have under way before it has ever paid one; each one paid allows for one more.
pub const FIRST: u64 = 4;

/// Streams of one payer whose prepayment is remembered; beyond, it is forgotten for those that have nothing under way.
const MAX_STREAMS: usize = 1_024;

/// The payee's record of one payer.
#[derive(Debug, Clone, Default)]
pub struct Credit {
    streams: HashMap<B256, Stream>,
    under_way: u64,
    /// Of which so many wait for their prepayment.
    promising: u64,
    paid: u64,
    /// Owed segments times [`PAID_PER_FORGIVEN`] × [`SECONDS_PER_FORGIVEN`], so that both kinds of forgiveness are whole numbers.
    owed: u64,
    /// Forgiveness in hand, counted likewise, and what it is good for in wei: else many cheap segments would stand for a few dear ones.
    spare: u64,
    spare_worth: U256,
    since: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    under_way: u64,
    /// Wei of tickets that came ahead of its work, and stand for what of it was not paid.
    ahead: U256,
}

const ONE: u64 = PAID_PER_FORGIVEN * SECONDS_PER_FORGIVEN;

/// Why a segment is not taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreditError {
    /// Too much was delivered and not paid.
    #[error(
        "{owed} segments were delivered and not paid, {MAX_OWED} are the most: one is forgiven every {SECONDS_PER_FORGIVEN} s"
    )]
    Owed {
        /// Segments.
        owed: u64,
    },
    /// This stream has enough under way.
    #[error("{open} segments of this stream wait for their tickets: pay them first")]
    Stream {
        /// Segments.
        open: u64,
    },
    /// One that has paid little gets little.
    #[error("{under_way} segments wait for their tickets, and {paid} were ever paid: pay some first")]
    New {
        /// Segments under way.
        under_way: u64,
        /// Segments paid.
        paid: u64,
    },
}

/// How a segment that was taken on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its ticket is here.
    Paid,
    /// It was delivered, in whole or in part, and there is no ticket.
    Unpaid,
    /// Nothing was delivered: nothing is owed.
    Void,
}

impl Credit {
    /// A payer that has paid so many tickets before.
    pub fn new(paid: u64) -> Self {
        Self { paid, ..Self::default() }
    }

    /// Notes tickets that came ahead of `stream`'s work, worth so many wei each. They stand for work on this stream.
    pub fn paid_ahead(&mut self, stream: B256, tickets: u64, each: U256) {
        self.paid = self.paid.saturating_add(tickets);
        if tickets > 0 {
            if self.streams.len() >= MAX_STREAMS {
                self.streams.retain(|_, stream| stream.under_way > 0);
            }
            let ahead = &mut self.streams.entry(stream).or_default().ahead;
            *ahead = ahead.saturating_add(each.saturating_mul(U256::from(tickets)));
        }
    }

    /// Takes one more segment of `stream` on, of which at most `per_stream` may be under way.
    pub fn take(&mut self, now: u64, stream: B256, per_stream: u64) -> Result<(), CreditError> {
        self.take_prepaid(now, stream, per_stream, 0)
    }

    /// The same with so many tickets `promised`, which are to come before any work: they count for this segment alone, until
    /// [`Credit::promise_over`].
    pub fn take_prepaid(&mut self, now: u64, stream: B256, per_stream: u64, promised: u64) -> Result<(), CreditError> {
        self.forgive(now);
        // A part of a segment is none: what is forgiven counts when it is whole.
        let owed = self.owed.div_ceil(ONE);
        if owed >= MAX_OWED {
            return Err(CreditError::Owed { owed });
        }
        // One that waits for its prepayment has cost nothing so far.
        let under_way = self.under_way - self.promising;
        if under_way + owed >= FIRST.saturating_add(self.paid).saturating_add(promised) {
            return Err(CreditError::New { under_way, paid: self.paid });
        }
        let open = self.streams.get(&stream).map_or(0, |stream| stream.under_way);
        if open >= per_stream {
            return Err(CreditError::Stream { open });
        }
        self.streams.entry(stream).or_default().under_way += 1;
        self.under_way += 1;
        self.promising += u64::from(promised > 0);
        Ok(())
    }

    /// Notes that the promise of a segment is kept, or never will be.
    pub fn promise_over(&mut self) {
        self.promising = self.promising.saturating_sub(1);
    }

    /// Ends a segment that [`Credit::take`] took on. What came of it is worth so many wei.
    pub fn end(&mut self, now: u64, stream: B256, outcome: Outcome, worth: U256) {
        self.forgive(now);
        let mut prepaid = false;
        if let Entry::Occupied(mut entry) = self.streams.entry(stream) {
            let stream = entry.get_mut();
            stream.under_way = stream.under_way.saturating_sub(1);
            self.under_way = self.under_way.saturating_sub(1);
            if outcome == Outcome::Unpaid && stream.ahead >= worth {
                stream.ahead -= worth;
                prepaid = true;
            }
            if stream.under_way == 0 && stream.ahead.is_zero() {
                entry.remove();
            }
        }
        match outcome {
            Outcome::Paid => {
                self.paid += 1;
                if self.owed > 0 {
                    self.owed = self.owed.saturating_sub(SECONDS_PER_FORGIVEN);
                } else if self.spare < MAX_SPARE * ONE {
                    self.spare += SECONDS_PER_FORGIVEN;
                    self.spare_worth = self.spare_worth.saturating_add(worth / U256::from(PAID_PER_FORGIVEN));
                }
            }
            Outcome::Unpaid if prepaid => {}
            Outcome::Unpaid if self.spare >= ONE && self.spare_worth >= worth => {
                self.spare -= ONE;
                self.spare_worth -= worth;
            }
            Outcome::Unpaid => self.owed += ONE,
            Outcome::Void => {}
        }
    }

    /// Notes the ticket for a segment that had ended unpaid: a crash has held it up, and the segment is owed no more.
    pub fn repaid(&mut self, now: u64) {
        self.forgive(now);
        self.paid = self.paid.saturating_add(1);
        self.owed = self.owed.saturating_sub(ONE);
    }

    /// Whether nothing would be lost by forgetting this payer.
    pub fn is_clean(&mut self, now: u64) -> bool {
        self.forgive(now);
        self.under_way == 0 && self.owed == 0
    }

    fn forgive(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since);
        self.since = self.since.max(now);
        self.owed = self.owed.saturating_sub(passed.saturating_mul(PAID_PER_FORGIVEN));
    }
}
