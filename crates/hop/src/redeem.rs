//! Takes winners to the chain: queued → sent → mined → final, in batches of one pair, never twice and never forgotten. What
//! was under way when the process ended is taken up at the start from what the chain says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::{Chain, ChainError, Redemption};
use millrace_store::{Store, StoreError, Winner, WinnerState};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::till::Till;
use crate::{unix_now, unix_now_ms};

/// How often winners and transactions are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Blocks that follow a transaction before its winners are final, where reorganisations are possible.
const CONFIRMATIONS: u64 = 2;
/// Winners in one transaction.
const BATCH: u32 = 16;
/// A transaction that is in no block after this long is asked for again.
const STUCK: Duration = Duration::from_secs(120);
/// A winner that could not be redeemed so often is given up, with the last reason.
const MAX_ATTEMPTS: u32 = 20;
/// A database is pruned this often.
const PRUNE_EVERY: u32 = 3_600;

/// When winners are taken to the chain.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// This many wait.
    pub batch: u64,
    /// Or the oldest waits so long.
    pub after: Duration,
}

/// Redeems a node's winners until it is stopped.
pub struct Redeemer {
    /// The database.
    pub store: Store,
    /// The chain, as the payee.
    pub chain: Chain,
    /// Told of every redemption.
    pub till: Arc<Till>,
    /// When to redeem.
    pub policy: Policy,
}

#[derive(Debug, thiserror::Error)]
enum RedeemError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl Redeemer {
    /// Runs until `stop`. Winners that wait then are in the database, and the next start takes them up.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks: u32 = 0;
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.step().await {
                warn!(%error, "redemption waits");
            }
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(PRUNE_EVERY)
                && let Err(error) = self.store.prune(unix_now_ms()).await
            {
                warn!(%error, "the database could not be pruned");
            }
        }
    }

    async fn step(&self) -> Result<(), RedeemError> {
        for (digest, face_value) in self.store.drop_expired(unix_now_ms()).await? {
            error!(%digest, %face_value, "a winner expired before it was redeemed");
        }
        self.follow().await?;
        for (payer, payee, waiting) in self.store.pairs_waiting(unix_now()).await? {
            let locked = self.till.locked(payer).await.unwrap_or_default();
            let age = unix_now().saturating_sub(waiting.oldest);
            let enough = waiting.count >= self.policy.batch || age >= self.policy.after.as_secs();
            if payee == self.chain.address() && (enough || waiting.outstanding > locked / U256::from(2)) {
                self.redeem(payer, payee).await?;
            }
        }
        Ok(())
    }

    /// Sends one batch of a pair.
    async fn redeem(&self, payer: Address, payee: Address) -> Result<(), RedeemError> {
        let winners = self.store.winners_waiting(payer, payee, unix_now(), BATCH).await?;
        let digests: Vec<B256> = winners.iter().map(|w| w.digest).collect();
        self.store.begin_redemption(unix_now_ms(), &digests).await?;
        let redemptions: Vec<Redemption> = winners.iter().map(redemption).collect();
        match self.chain.redeem(&redemptions).await {
            Ok(tx) => {
                self.store.mark_sent(unix_now_ms(), &digests, tx).await?;
                info!(%payer, winners = digests.len(), %tx, "winners sent to the chain");
                Ok(())
            }
            // The simulation refused it: nothing was sent. All of a batch fails for one, so it is split.
            Err(ChainError::Reverted { revert, .. }) if winners.len() > 1 => {
                self.store.requeue(unix_now_ms(), &digests, &revert.to_string()).await?;
                for winner in &winners {
                    self.redeem_alone(winner).await?;
                }
                Ok(())
            }
            Err(ChainError::Reverted { revert, .. }) => {
                self.store.mark_dropped(unix_now_ms(), &digests, &revert.to_string()).await?;
                error!(%payer, %revert, "the contract refuses a winner: dropped");
                Ok(())
            }
            // It may or may not have left: it stays as sent, and the pair's nonce on the chain tells.
            Err(error @ ChainError::Timeout { .. }) => Err(error.into()),
            Err(error) => {
                self.give_up_or_requeue(&winners, &error.to_string()).await?;
                Err(error.into())
            }
        }
    }

    async fn redeem_alone(&self, winner: &Winner) -> Result<(), RedeemError> {
        let digest = [winner.digest];
        self.store.begin_redemption(unix_now_ms(), &digest).await?;
        match self.chain.redeem(&[redemption(winner)]).await {
            Ok(tx) => self.store.mark_sent(unix_now_ms(), &digest, tx).await?,
            Err(ChainError::Reverted { revert, .. }) => {
                self.store.mark_dropped(unix_now_ms(), &digest, &revert.to_string()).await?;
                error!(payer = %winner.ticket.payer, %revert, "the contract refuses a winner: dropped");
            }
            Err(ChainError::Timeout { .. }) => {}
            Err(error) => self.give_up_or_requeue(std::slice::from_ref(winner), &error.to_string()).await?,
        }
        Ok(())
    }

    async fn give_up_or_requeue(&self, winners: &[Winner], reason: &str) -> Result<(), RedeemError> {
        let (over, again): (Vec<&Winner>, Vec<&Winner>) = winners.iter().partition(|w| w.attempts >= MAX_ATTEMPTS);
        let digests = |winners: Vec<&Winner>| winners.iter().map(|w| w.digest).collect::<Vec<B256>>();
        self.store.requeue(unix_now_ms(), &digests(again), reason).await?;
        if !over.is_empty() {
            error!(winners = over.len(), reason, "winners could not be redeemed: dropped");
            self.store.mark_dropped(unix_now_ms(), &digests(over), reason).await?;
        }
        Ok(())
    }

    /// Looks after what was sent and mined.
    async fn follow(&self) -> Result<(), RedeemError> {
        let mut by_tx: BTreeMap<Option<B256>, Vec<Winner>> = BTreeMap::new();
        for winner in self.store.replay().await? {
            if winner.state != WinnerState::Queued {
                by_tx.entry(winner.tx).or_default().push(winner);
            }
        }
        if by_tx.is_empty() {
            return Ok(());
        }
        let head = self.chain.block_number().await?;
        for (tx, winners) in by_tx {
            match tx {
                Some(tx) => self.follow_transaction(tx, &winners, head).await?,
                None => self.follow_unknown(&winners, head).await?,
            }
        }
        Ok(())
    }

    async fn follow_transaction(&self, tx: B256, winners: &[Winner], head: u64) -> Result<(), RedeemError> {
        let digests: Vec<B256> = winners.iter().map(|w| w.digest).collect();
        let now = unix_now_ms();
        match self.chain.receipt(tx).await? {
            Some(mined) if mined.success => {
                self.store.mark_mined(now, &digests, Some(tx), mined.block).await?;
                if head >= mined.block + CONFIRMATIONS {
                    self.store.mark_final(now, &digests).await?;
                    for winner in winners {
                        self.till.look_again(winner.ticket.payer).await;
                    }
                    info!(%tx, winners = digests.len(), gas = mined.gas_used, "winners redeemed");
                }
            }
            Some(mined) => {
                warn!(%tx, block = mined.block, "a redemption reverted in its block; trying again");
                self.give_up_or_requeue(winners, "reverted in its block").await?;
            }
            None if winners.iter().all(|w| now.saturating_sub(w.changed_ms) > STUCK.as_millis() as u64) => {
                warn!(%tx, "a redemption is in no block; trying again");
                self.give_up_or_requeue(winners, "its transaction vanished").await?;
            }
            None => {}
        }
        Ok(())
    }

    /// Winners whose transaction's hash is not known: the pair's nonce on the chain tells whether it went through.
    async fn follow_unknown(&self, winners: &[Winner], head: u64) -> Result<(), RedeemError> {
        for winner in winners {
            let pair = self.chain.pair(winner.ticket.payer, winner.ticket.payee).await?;
            let digest = [winner.digest];
            if pair.last_nonce >= winner.ticket.nonce {
                self.store.mark_mined(unix_now_ms(), &digest, None, head).await?;
                self.store.mark_final(unix_now_ms(), &digest).await?;
                self.till.look_again(winner.ticket.payer).await;
            } else if unix_now_ms().saturating_sub(winner.changed_ms) > STUCK.as_millis() as u64 {
                self.store
                    .requeue(unix_now_ms(), &digest, "whether it was sent is unknown, and it is not on the chain")
                    .await?;
            }
        }
        Ok(())
    }
}

fn redemption(winner: &Winner) -> Redemption {
    Redemption { ticket: winner.ticket.clone(), payee_rand: winner.payee_rand, signature: winner.signature }
}
