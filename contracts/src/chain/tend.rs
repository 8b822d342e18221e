//! Looks after what is in the outbox: sends it again, replaces what is stuck, closes gaps, and says what has become of it.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Instant;

use alloy::consensus::TypedTransaction;
use alloy::network::TransactionBuilder;
use alloy::primitives::{TxKind, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;

use super::ChainError;
use super::outbox::{Fate, Outgoing, Stage};
use super::sender::{Sender, timed};

/// A replacement offers at least an eighth more of both fees: what the strictest of the clients' pools asks for.
const RISE: u128 = 8;

/// What this process saw of each open nonce. A new process has seen nothing, and so sends everything again at once.
#[derive(Default)]
pub(super) struct Watch(HashMap<u64, Seen>);

#[derive(Clone, Copy)]
struct Seen {
    /// Sent last.
    sent: Instant,
    /// Sent first, or with new fees.
    since: Instant,
    /// Whether it was in a block when last looked at.
    mined: bool,
    /// The head at which its nonce was first seen to be another's.
    lost_at: Option<u64>,
}

impl Watch {
    pub(super) fn sent(&mut self, nonce: u64) {
        let now = Instant::now();
        let seen = self.0.entry(nonce).or_insert(Seen { sent: now, since: now, mined: false, lost_at: None });
        (seen.sent, seen.mined) = (now, false);
    }
}

impl Sender {
    /// Looks once at everything that is open. What it gives as final or lost stays in the outbox until it is settled.
    pub(super) async fn tend(&self) -> Result<Vec<Fate>, ChainError> {
        let _turn = self.turn("tend").await?;
        let open = Outgoing::group(self.outbox.open().await?);
        self.watch(|watch| watch.retain(|nonce, _| open.iter().any(|open| open.nonce() >= *nonce)));
        let Some(last) = open.last().map(Outgoing::nonce) else { return Ok(Vec::new()) };
        let head = timed("block number", self.provider.get_block_number()).await?;
        let count = timed("nonce", self.provider.get_transaction_count(self.address)).await?;
        if last >= count && open.iter().all(|open| open.nonce() != count) {
            self.close_gap(count).await?;
        }
        let mut fates = Vec::with_capacity(open.len());
        for open in &open {
            let stage = if open.nonce() < count { self.stage(open, head).await? } else { Stage::Pending };
            if open.nonce() >= count {
                self.push(open, count).await?;
            }
            let what = open.newest().what.clone();
            fates.push(Fate { nonce: open.nonce(), what, hashes: open.hashes().collect(), stage });
        }
        Ok(fates)
    }

    /// Of a transaction whose nonce is used.
    async fn stage(&self, open: &Outgoing, head: u64) -> Result<Stage, ChainError> {
        let deep = |block: u64| head >= block.saturating_add(self.options.confirmations);
        for hash in open.hashes().rev() {
            let Some(mined) = self.receipt(hash).await? else { continue };
            self.seen(open.nonce(), |seen| (seen.mined, seen.lost_at) = (true, None));
            // An endpoint may still have the receipt of a block that the chain has left.
            let stays = deep(mined.block) && {
                let block = timed("block", self.provider.get_block_by_number(mined.block.into())).await?;
                block.is_some_and(|block| block.header.hash == mined.block_hash)
            };
            return Ok(if stays { Stage::Final(mined) } else { Stage::Mined(mined) });
        }
        let lost_at = self.seen(open.nonce(), |seen| *seen.lost_at.get_or_insert(head));
        Ok(if deep(lost_at) { Stage::Lost } else { Stage::Pending })
    }

    /// Sends what is in no block: at once when this process has not, or when a block that had it is gone; with higher fees
    /// when it is next and stuck; the same bytes now and then, in case it was dropped.
    async fn push(&self, open: &Outgoing, count: u64) -> Result<(), ChainError> {
        let stuck_after = self.options.stuck_after;
        let (replaced, anew) = match self.watch(|watch| watch.get(&open.nonce()).copied()) {
            Some(seen) if seen.mined => (None, true),
            Some(seen) if open.nonce() == count && seen.since.elapsed() >= stuck_after => {
                (self.bump(open).await?, true)
            }
            Some(seen) if seen.sent.elapsed() < stuck_after / 2 => return Ok(()),
            _ => (None, false),
        };
        // A refusal is logged; the next look tries again.
        let _ = self.broadcast(replaced.as_ref().unwrap_or(open.newest())).await;
        self.seen(open.nonce(), |seen| {
            seen.lost_at = None;
            if anew {
                seen.since = Instant::now();
            }
        });
        Ok(())
    }

    /// A version with higher fees, written; `None` when they would exceed what it is worth.
    async fn bump(&self, open: &Outgoing) -> Result<Option<super::SignedTx>, ChainError> {
        let old = open.newest();
        let TypedTransaction::Eip1559(mut tx) = TypedTransaction::from(old.decode()?) else {
            return Err(ChainError::Outbox(format!("transaction {} is of a type that is never written", old.hash)));
        };
        let market = self.fees().await?;
        let risen = |fee: u128| fee.saturating_add(fee.div_ceil(RISE));
        let (least_max, least_tip) = (risen(tx.max_fee_per_gas), risen(tx.max_priority_fee_per_gas));
        if least_max > old.fee_cap {
            tracing::warn!(hash = %old.hash, what = old.what, fee = tx.max_fee_per_gas, "stuck at the most that it is worth");
            return Ok(None);
        }
        tx.max_fee_per_gas = market.max.clamp(least_max, old.fee_cap);
        tx.max_priority_fee_per_gas = market.tip.max(least_tip).min(tx.max_fee_per_gas);
        let bumped = self.sign_again(&old.what, tx.into(), old.fee_cap).await?;
        self.outbox.write(&bumped, &[]).await?;
        tracing::info!(was = %old.hash, hash = %bumped.hash, what = old.what, "a stuck transaction is replaced with higher fees");
        Ok(Some(bumped))
    }

    /// A nonce below ours that no transaction of ours has, as when another program with this key sent one that was
    /// dropped: if it does not fill by itself, a transfer of nothing to ourselves fills it, or ours would wait for good.
    async fn close_gap(&self, nonce: u64) -> Result<(), ChainError> {
        let seen = self.watch(|watch| {
            let now = Instant::now();
            *watch.entry(nonce).or_insert(Seen { sent: now, since: now, mined: false, lost_at: None })
        });
        if seen.since.elapsed() < self.options.stuck_after {
            return Ok(());
        }
        let request = TransactionRequest {
            from: Some(self.address),
            to: Some(TxKind::Call(self.address)),
            value: Some(U256::ZERO),
            ..Default::default()
        };
        let gas = timed("gap", self.provider.estimate_gas(request.clone())).await?;
        let fees = self.fees().await?;
        let tx = self.sign("fill a gap", request.with_gas_limit(gas).with_nonce(nonce), fees, fees.max).await?;
        self.outbox.write(&tx, &[]).await?;
        let _ = self.broadcast(&tx).await;
        Ok(())
    }

    fn watch<T>(&self, look: impl FnOnce(&mut HashMap<u64, Seen>) -> T) -> T {
        look(&mut self.watch.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    fn seen<T>(&self, nonce: u64, note: impl FnOnce(&mut Seen) -> T) -> T {
        let now = Instant::now();
        let new = Seen { sent: now, since: now, mined: false, lost_at: None };
        self.watch(|watch| note(watch.entry(nonce).or_insert(new)))
    }
}
