//! Takes winners to the chain: queued → sent → mined → final, in batches of one pair, never twice and never forgotten; and
//! looks after whatever else the node has sent.
//!
//! A winner leaves its transaction only when that transaction's fate cannot change any more: it is `confirmations` deep, or
//! another has had its nonce for so long. So at no time can two transactions redeem the same winner. Until one of a pair's
//! is final, the pair's next one waits: on the chain nonces must rise, so if a reorganisation took the first and it reverted
//! on the new branch, the second would void its winners.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::{Chain, ChainError, Fate, Redemption, Revert, Stage};
use millrace_store::{Store, StoreError, Winner, WinnerState};
use millrace_tickets::least_face_value;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::till::Till;
use crate::{unix_now, unix_now_ms};

/// How often winners and transactions are looked at: a block of the chains that tickets make sense on.
const INTERVAL: Duration = Duration::from_secs(2);
/// Winners in one transaction.
const BATCH: u32 = 16;
/// A winner that was refused so often for a reason that may pass is given up, with that reason.
const MAX_ATTEMPTS: u32 = 20;
/// The credit is weighed against the cost of a claim this often: gas prices swing within hours.
const CLAIM_EVERY: Duration = Duration::from_secs(600);
/// What came after a receipt whose ticket is missing waits so long for it, milliseconds: a crash, the way back, and a payee that has
/// to read the chain first. It takes nothing from a winner, which lives for half a day or more.
const HELD_UP_MS: u64 = 60_000;
/// A database is pruned this often.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// When winners are taken to the chain.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// This many wait.
    pub batch: u64,
    /// Or the oldest waits so long.
    pub after: Duration,
    /// A pair of which nothing could be redeemed is tried again after so long.
    pub retry: Duration,
}

/// Redeems a node's winners until it is stopped.
pub struct Redeemer {
    store: Store,
    chain: Chain,
    till: Arc<Till>,
    policy: Policy,
    /// Payers whose winners could not be redeemed just now, and since when. At most as many as have winners.
    refused: HashMap<Address, Instant>,
}

/// Why a step was not finished. The next one begins where this one ended.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain did not answer, or not in time.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl Redeemer {
    /// Redeems what `store` holds for the account of `chain`, and tells `till` of every change.
    pub fn new(store: Store, chain: Chain, till: Arc<Till>, policy: Policy) -> Self {
        Self { store, chain, till, policy, refused: HashMap::new() }
    }

    /// Runs until `stop`. What is under way then is in the database, and the next start takes it up.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut pruned, mut weighed) = (Instant::now(), None::<Instant>);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.step().await {
                warn!(%error, "redemption waits");
            }
            if weighed.is_none_or(|weighed| weighed.elapsed() >= CLAIM_EVERY) {
                weighed = Some(Instant::now());
                if let Err(error) = self.claim().await {
                    warn!(%error, "the credit waits at the broker");
                }
            }
            if pruned.elapsed() >= PRUNE_EVERY {
                pruned = Instant::now();
                if let Err(error) = self.store.prune(unix_now_ms()).await {
                    warn!(%error, "the database could not be pruned");
                }
            }
        }
    }

    /// Looks once at everything: what became of transactions, what expired, what is due.
    pub async fn step(&mut self) -> Result<(), RedeemError> {
        for (digest, face_value) in self.store.drop_expired(unix_now_ms()).await? {
            error!(%digest, %face_value, "a winner expired before it was redeemed");
        }
        self.follow().await?;
        self.redeem_due().await
    }

    /// Has the credit paid out that redeemed winners have brought, once it is worth a good many times what that costs.
    pub async fn claim(&self) -> Result<(), RedeemError> {
        let me = self.chain.address();
        let credit = self.chain.credit(me).await?;
        if !credit.is_zero() && credit >= least_face_value(self.chain.claim_cost(me).await?) {
            let tx = self.chain.claim(me).await?;
            info!(wei = %credit, %tx, "the credit is claimed");
        }
        Ok(())
    }

    /// Takes up what has become of every transaction.
    async fn follow(&self) -> Result<(), RedeemError> {
        let fates = self.chain.tend().await?;
        let mut under_way: HashMap<Option<B256>, Vec<Winner>> = HashMap::new();
        for winner in self.store.replay().await? {
            if winner.state != WinnerState::Queued {
                under_way.entry(winner.tx).or_default().push(winner);
            }
        }
        for fate in &fates {
            let winners = fate.hashes.iter().filter_map(|hash| under_way.remove(&Some(*hash))).flatten().collect();
            self.note(fate, winners).await?;
        }
        // What is left was written by no outbox: a database that was put together by hand.
        self.elsewhere(under_way.into_values().flatten().collect(), "its transaction is not known").await
    }

    async fn note(&self, fate: &Fate, winners: Vec<Winner>) -> Result<(), RedeemError> {
        let now = unix_now_ms();
        let in_block = |winners: &[Winner]| {
            let mined = winners.iter().filter(|w| w.state == WinnerState::Mined);
            mined.map(|w| w.digest).collect::<Vec<_>>()
        };
        match fate.stage {
            Stage::Mined(mined) | Stage::Final(mined) if mined.success => {
                for payer in winners.iter().map(|w| w.ticket.payer).collect::<HashSet<_>>() {
                    self.till.look_again(payer).await; // before its winners stop to count against the lock
                }
                let digests: Vec<B256> = winners.iter().map(|w| w.digest).collect();
                let known = |w: &Winner| (w.tx, w.block) == (Some(mined.tx), Some(mined.block));
                if !winners.iter().all(known) {
                    self.store.mark_mined(now, &digests, Some(mined.tx), mined.block).await?;
                }
                if matches!(fate.stage, Stage::Final(_)) {
                    self.store.mark_final(now, &digests).await?;
                    info!(tx = %mined.tx, what = fate.what, winners = digests.len(), gas = mined.gas_used, "settled");
                    self.chain.settle(fate.nonce).await?;
                }
            }
            Stage::Final(mined) => {
                warn!(tx = %mined.tx, what = fate.what, block = mined.block, "a transaction reverted in its block");
                let digests: Vec<B256> = winners.iter().map(|w| w.digest).collect();
                self.store.requeue(now, &digests, &format!("reverted in block {}", mined.block)).await?;
                self.chain.settle(fate.nonce).await?;
            }
            Stage::Lost => {
                warn!(nonce = fate.nonce, what = fate.what, "another transaction of this account took the nonce");
                self.elsewhere(winners, "another transaction took its nonce").await?;
                self.chain.settle(fate.nonce).await?;
            }
            Stage::Pending | Stage::Mined(_) => {
                let gone = in_block(&winners);
                if !gone.is_empty() {
                    warn!(
                        what = fate.what,
                        winners = gone.len(),
                        "a reorganisation took a redemption: it is sent again"
                    );
                    self.store.mark_unmined(now, &gone).await?;
                }
            }
        }
        Ok(())
    }

    /// Winners of one transaction that is none any more: the pair's nonce on the chain tells whether another redeemed them.
    async fn elsewhere(&self, winners: Vec<Winner>, reason: &str) -> Result<(), RedeemError> {
        let mut pairs: HashMap<(Address, Address), Vec<Winner>> = HashMap::new();
        for winner in winners {
            pairs.entry((winner.ticket.payer, winner.ticket.payee)).or_default().push(winner);
        }
        for ((payer, payee), winners) in pairs {
            let digests: Vec<B256> = winners.iter().map(|w| w.digest).collect();
            let last = self.chain.pair(payer, payee).await?.last_nonce;
            if winners.iter().map(|w| w.ticket.nonce).max() == Some(last) {
                self.redeemed(payer, &digests).await?;
            } else {
                self.store.requeue(unix_now_ms(), &digests, reason).await?;
            }
        }
        Ok(())
    }

    /// Winners that the chain has as redeemed, by a transaction that is not known.
    async fn redeemed(&self, payer: Address, digests: &[B256]) -> Result<(), RedeemError> {
        let block = self.chain.block_number().await?;
        self.till.look_again(payer).await;
        self.store.mark_mined(unix_now_ms(), digests, None, block).await?;
        self.store.mark_final(unix_now_ms(), digests).await?;
        info!(%payer, winners = digests.len(), "winners were redeemed by another transaction");
        Ok(())
    }

    /// Sends a batch for each pair that is due. One pair's trouble is not another's.
    async fn redeem_due(&mut self) -> Result<(), RedeemError> {
        let under_way = |w: &Winner| (w.state != WinnerState::Queued).then_some(w.ticket.payer);
        let busy: HashSet<Address> = self.store.replay().await?.iter().filter_map(under_way).collect();
        self.refused.retain(|_, since| since.elapsed() < self.policy.retry);
        for (payer, payee, waiting) in self.store.pairs_waiting(unix_now()).await? {
            if payee != self.chain.address() || busy.contains(&payer) || self.refused.contains_key(&payer) {
                continue;
            }
            let age = unix_now().saturating_sub(waiting.oldest);
            let mut due = waiting.count >= self.policy.batch || age >= self.policy.after.as_secs();
            if !due {
                due = waiting.outstanding > self.till.locked(payer).await.unwrap_or_default() / U256::from(2);
            }
            if due && !self.redeem(payer, payee).await? {
                self.refused.insert(payer, Instant::now());
            }
        }
        Ok(())
    }

    /// Sends one batch of a pair, without those that the contract refuses. False when nothing was sent.
    async fn redeem(&self, payer: Address, payee: Address) -> Result<bool, StoreError> {
        let mut winners = self.store.winners_waiting(payer, payee, unix_now(), BATCH).await?;
        // A winner voids every older ticket that has not come yet.
        let held = self.store.unpaid_since(payer, payee, unix_now_ms().saturating_sub(HELD_UP_MS)).await?;
        if let Some(held) = held.and_then(|since| winners.iter().position(|winner| winner.at_ms >= since)) {
            winners.truncate(held);
            if winners.is_empty() {
                return Ok(true); // no trouble: it is looked at again
            }
        }
        while !winners.is_empty() {
            let redemptions: Vec<Redemption> = winners.iter().map(redemption).collect();
            let revert = match self.chain.redeem(&redemptions).await {
                Ok(tx) => {
                    info!(%payer, winners = winners.len(), %tx, "winners sent to the chain");
                    return Ok(true);
                }
                Err(ChainError::Reverted { revert, .. }) => revert,
                Err(error) => {
                    warn!(%payer, %error, "winners wait for their redemption");
                    return Ok(false);
                }
            };
            match revert.nonce.and_then(|nonce| winners.iter().position(|w| w.ticket.nonce == nonce)) {
                Some(at) => self.refuse(&winners.remove(at), &revert).await?,
                None if winners.len() > 1 => winners.truncate(1), // which one it is about is found out one by one
                None => self.refuse(&winners.remove(0), &revert).await?,
            }
        }
        Ok(false)
    }

    /// The contract refuses a winner. What can pass leaves it queued, until a later winner of the pair is redeemed over it.
    async fn refuse(&self, winner: &Winner, revert: &Revert) -> Result<(), StoreError> {
        let (now, digest, payer) = (unix_now_ms(), winner.digest, winner.ticket.payer);
        let passes = match revert.name.as_str() {
            "NonceNotRising" => match self.chain.pair(payer, winner.ticket.payee).await {
                Ok(pair) if pair.last_nonce == winner.ticket.nonce => {
                    return match self.redeemed(payer, &[digest]).await {
                        Err(RedeemError::Store(error)) => Err(error),
                        _ => Ok(()),
                    };
                }
                Ok(_) => false,
                Err(_) => return Ok(()), // asked again at the next look
            },
            "LockTooSmall" | "NonceInFuture" => true,
            "Expired" | "NotAWinner" | "WrongSigner" | "SessionKeyExpired" | "DailyCapExceeded" => false,
            _ => winner.attempts < MAX_ATTEMPTS,
        };
        if passes {
            warn!(%payer, %digest, %revert, "the contract refuses a winner for now");
            return self.store.refuse_winner(now, digest, &revert.to_string()).await;
        }
        error!(%payer, %digest, face_value = %winner.ticket.faceValue, %revert, "the contract refuses a winner: dropped");
        self.store.mark_dropped(now, &[digest], &revert.to_string()).await
    }
}

fn redemption(winner: &Winner) -> Redemption {
    Redemption { ticket: winner.ticket.clone(), payee_rand: winner.payee_rand, signature: winner.signature }
}
