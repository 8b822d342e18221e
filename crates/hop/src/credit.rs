//! What this node lets each of its payers owe, over all their connections (`millrace_tickets::credit` has the rules).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use millrace_store::{Store, StoreError, Unpaid};
use millrace_tickets::credit::{Credit, CreditError, Outcome};
use millrace_tickets::{Terms, price};

use crate::source::Source;
use crate::unix_now;

/// Payers that are remembered at once. Each had to lock money or be bonded before it was heard.
const MAX_PAYERS: usize = 4_096;

/// Why a segment is not taken on.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The payer has to pay first.
    #[error(transparent)]
    Credit(#[from] CreditError),
    /// Too many payers owe something.
    #[error("{MAX_PAYERS} payers owe this node something: try again later")]
    Full,
    /// What it has paid before could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The credit of all payers.
pub struct Credits {
    payee: Address,
    store: Store,
    payers: Mutex<HashMap<Address, Credit>>,
    /// Receipts that wait for their ticket at this moment, and whether it has come by another way than it was to come.
    waiting: Mutex<HashMap<B256, bool>>,
}

/// A worker that has no receipt so long after the source's end, and after the time that the work takes at the rate that was reserved for
/// it, is late, and an assigner that gives up on it owes nothing. By the source's end alone, one that sends a long segment at once would
/// make any worker late.
const LATE: Duration = Duration::from_secs(1);

/// What an assigner takes to receive is not the worker's own time: else one that reads slowly would make any worker late, and have
/// its work for nothing.
#[derive(Debug, Default)]
struct Tempo {
    /// Since the source's end.
    blocked: Duration,
    sending: Option<Instant>,
}

impl Tempo {
    fn sends(&mut self, now: Instant) {
        self.sending = Some(now);
    }

    fn sent(&mut self, ended: Option<Instant>, now: Instant) {
        self.blocked += self.under_way(ended, now);
        self.sending = None;
    }

    fn under_way(&self, ended: Option<Instant>, now: Instant) -> Duration {
        let began = self.sending.zip(ended).map(|(sending, ended)| sending.max(ended));
        began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// Whether the worker itself has been late by now.
    fn is_late(&self, ended: Option<Instant>, now: Instant) -> bool {
        let blocked = self.blocked + self.under_way(ended, now);
        ended.is_some_and(|ended| now.saturating_duration_since(ended).saturating_sub(blocked) >= LATE)
    }
}

/// The work on a segment that is taken on.
pub(crate) struct Work {
    pub(crate) stream: B256,
    pub(crate) source: Arc<Source>,
    pub(crate) terms: Terms,
    /// Of all renditions.
    pub(crate) frame_pixels: u64,
    /// That was reserved for the stream.
    pub(crate) megapixel_rate: u32,
}

impl Work {
    fn pixels(&self) -> u64 {
        self.frame_pixels.saturating_mul(self.source.frames().into())
    }

    /// When it could be done: none while more of it may come.
    fn due_at(&self) -> Option<Instant> {
        let rate = f64::from(self.megapixel_rate.max(1)) * 1e6;
        // A rate that is far too low would take it beyond any clock.
        let takes = Duration::from_secs_f64((self.pixels() as f64 / rate).min(MOST_WORK.as_secs_f64()));
        self.source.ended_at().map(|ended| ended.max(self.source.opened_at() + takes))
    }
}

/// No segment is worked on for longer.
const MOST_WORK: Duration = Duration::from_secs(60);

/// A segment that was taken on; how it ended is noted when this is dropped.
pub(crate) struct Debt {
    credits: Arc<Credits>,
    payer: Address,
    work: Work,
    progress: Progress,
    promises: bool,
    receipt: Option<B256>,
    tempo: Tempo,
}

/// How far a segment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// Nothing has left this node, or all that did was taken back.
    Nothing,
    /// Parts have.
    Parts,
    /// The receipt has: all is there, whatever the assigner says.
    Receipt,
    /// The ticket is here.
    Paid,
}

impl Debt {
    /// Notes how far the segment has come.
    pub(crate) fn note(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// Notes that something is being sent; [`Debt::sent`] notes that it was.
    pub(crate) fn sends(&mut self) {
        self.tempo.sends(Instant::now());
    }

    pub(crate) fn sent(&mut self) {
        self.tempo.sent(self.work.source.ended_at(), Instant::now());
    }

    /// Notes that the receipt of this hash is to be sent.
    pub(crate) fn delivers(&mut self, work: B256) {
        self.receipt = Some(work);
        self.credits.waiting().insert(work, false);
    }

    /// Notes tickets that came ahead of their work, as was promised, worth so many wei each.
    pub(crate) fn paid_ahead(&mut self, tickets: u64, each: U256) {
        let promised = std::mem::take(&mut self.promises);
        if let Some(credit) = self.credits.payers().get_mut(&self.payer) {
            credit.paid_ahead(self.work.stream, tickets, each);
            if promised {
                credit.promise_over();
            }
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        let late = || self.tempo.is_late(self.work.due_at(), Instant::now());
        let paid = self.receipt.is_some_and(|work| self.credits.waiting().remove(&work) == Some(true));
        let outcome = match self.progress {
            _ if paid => Outcome::Paid,
            Progress::Paid => Outcome::Paid,
            Progress::Receipt => Outcome::Unpaid,
            Progress::Parts if !late() => Outcome::Unpaid,
            Progress::Parts | Progress::Nothing => Outcome::Void,
        };
        if let Some(credit) = self.credits.payers().get_mut(&self.payer) {
            if self.promises {
                credit.promise_over();
            }
            credit.end(unix_now(), self.work.stream, outcome, price(&self.work.terms, self.work.pixels()));
        }
    }
}

impl Credits {
    pub(crate) fn new(store: Store, payee: Address) -> Arc<Self> {
        Arc::new(Self { payee, store, payers: Mutex::default(), waiting: Mutex::default() })
    }

    fn payers(&self) -> MutexGuard<'_, HashMap<Address, Credit>> {
        self.payers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<B256, bool>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a ticket that came late for work on record, which was delivered or is a prepayment.
    pub(crate) fn repaid(&self, work: &Unpaid) {
        let Unpaid { payer, stream, delivered, due, .. } = work;
        if let Some(paid) = self.waiting().get_mut(&due.work_hash) {
            *paid = true; // the segment has not ended yet, and will end as a paid one
            return;
        }
        // One that is not remembered owes nothing, and what it has ever paid is read from the database.
        if let Some(credit) = self.payers().get_mut(payer) {
            if *delivered { credit.repaid(unix_now()) } else { credit.paid_ahead(*stream, 1, due.price) }
        }
    }

    /// Takes on `work` for `payer`; of its stream, `per_stream` segments may be under way. So many tickets are `promised` ahead of it.
    pub(crate) async fn take(
        self: &Arc<Self>,
        payer: Address,
        work: Work,
        per_stream: u64,
        promised: u64,
    ) -> Result<Debt, TakeError> {
        if !self.payers().contains_key(&payer) {
            // After a restart a payer is as good as its tickets that are on disk.
            let paid = self.store.tickets_received(payer, self.payee).await?;
            let mut payers = self.payers();
            if payers.len() >= MAX_PAYERS {
                payers.retain(|_, credit| !credit.is_clean(unix_now()));
            }
            if payers.len() >= MAX_PAYERS {
                return Err(TakeError::Full);
            }
            payers.entry(payer).or_insert_with(|| Credit::new(paid));
        }
        self.payers().entry(payer).or_default().take_prepaid(unix_now(), work.stream, per_stream, promised)?;
        let (progress, promises) = (Progress::Nothing, promised > 0);
        let (credits, tempo) = (self.clone(), Tempo::default());
        Ok(Debt { credits, payer, work, progress, promises, receipt: None, tempo })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_s_own_time_makes_it_late() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ended = Some(at(500));
        let mut tempo = Tempo::default();
        assert!(!tempo.is_late(None, at(90_000)), "more of the source may come");
        assert!(!tempo.is_late(ended, at(1_499)) && tempo.is_late(ended, at(1_500)));

        // Something takes from before the source's end to 400 ms after it.
        tempo.sends(at(100));
        tempo.sent(ended, at(900));
        assert!(!tempo.is_late(ended, at(1_899)) && tempo.is_late(ended, at(1_900)));
        // An assigner that takes nothing at all, for however long.
        tempo.sends(at(1_000));
        assert!(!tempo.is_late(ended, at(90_000)));
        tempo.sent(ended, at(90_000));
        assert!(tempo.is_late(ended, at(91_000)));
    }
}
