//! Winners on their way to the chain: queued, sent, mined, final, or dropped for a reason. Never forgotten.
//!
//! A redeemer takes [`Store::winners_waiting`] of one pair and signs a transaction, which [`Store::write_transaction`] writes
//! *before* it is sent. Then [`Store::mark_mined`], [`Store::mark_unmined`] when a reorganisation took its block, and
//! [`Store::mark_final`] when enough blocks follow. At start-up [`Store::replay`] gives all that is under way.

use alloy::primitives::{Address, B256, U256};
use millrace_tickets::{Signature65, Ticket, Waiting};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use crate::codec::{Columns, big, word};
use crate::{Store, StoreError, db};

/// Where a winner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WinnerState {
    /// Waits to be redeemed.
    Queued,
    /// In a transaction on its way.
    Sent,
    /// The transaction is in a block.
    Mined,
    /// Enough blocks follow: paid.
    Final,
    /// Given up, for the reason in its row.
    Dropped,
}

impl WinnerState {
    /// The name in the database and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Mined => "mined",
            Self::Final => "final",
            Self::Dropped => "dropped",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, StoreError> {
        [Self::Queued, Self::Sent, Self::Mined, Self::Final, Self::Dropped]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or(StoreError::Corrupt("winners.state"))
    }
}

impl std::fmt::Display for WinnerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A winning ticket and all that redeeming it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// The ticket's EIP-712 digest, its key.
    pub digest: B256,
    /// The ticket.
    pub ticket: Ticket,
    /// The payer's signature.
    pub signature: Signature65,
    /// The bytes behind its commit.
    pub payee_rand: B256,
    /// Where it is.
    pub state: WinnerState,
    /// The transaction that carries it: the first version, or the one that was mined.
    pub tx: Option<B256>,
    /// The block of that transaction.
    pub block: Option<u64>,
    /// How often a redemption was begun.
    pub attempts: u32,
    /// Why it was queued again or dropped.
    pub reason: Option<String>,
    /// When it was accepted, unix milliseconds.
    pub at_ms: u64,
    /// When its state changed last, unix milliseconds.
    pub changed_ms: u64,
}

const REPLAY: &str = "SELECT w.digest, t.body, t.signature, w.payee_rand, w.state, w.tx, w.block, w.attempts, \
     w.reason, w.at, w.changed_at FROM winners w JOIN tickets_received t ON t.digest = w.digest \
     WHERE w.state IN ('queued', 'sent', 'mined') ORDER BY w.payer, w.payee, w.nonce";
const WAITING: &str = "SELECT w.digest, t.body, t.signature, w.payee_rand, w.state, w.tx, w.block, w.attempts, \
     w.reason, w.at, w.changed_at FROM winners w JOIN tickets_received t ON t.digest = w.digest \
     WHERE w.state = 'queued' AND w.payer = $1 AND w.payee = $2 AND w.expiry > $3 ORDER BY w.nonce LIMIT $4";

impl Store {
    /// Every winner that is neither final nor dropped, by pair and nonce: what a redeemer takes up at start-up.
    pub async fn replay(&self) -> Result<Vec<Winner>, StoreError> {
        let rows = sqlx::query(REPLAY).fetch_all(&self.read).await.map_err(db("reading winners to replay"))?;
        rows.iter().map(winner).collect()
    }

    /// The pairs (payer, payee) with queued winners that live at `now` (unix seconds), for [`Waiting::due`]. Sums
    /// count winners that are sent too, since the lock still has to pay them.
    pub async fn pairs_waiting(&self, now: u64) -> Result<Vec<(Address, Address, Waiting)>, StoreError> {
        let rows = sqlx::query(
            "SELECT payer, payee, COUNT(*) AS count, MIN(at) AS oldest FROM winners \
             WHERE state = 'queued' AND expiry > $1 GROUP BY payer, payee",
        )
        .bind(big(now))
        .fetch_all(&self.read)
        .await
        .map_err(db("reading pairs with winners"))?;
        let mut pairs = Vec::with_capacity(rows.len());
        for row in rows.iter().map(Columns) {
            let (payer, payee) = (row.address("payer")?, row.address("payee")?);
            let (outstanding, _) = self.outstanding(payer, payee).await?;
            let waiting = Waiting { count: row.u64("count")?, oldest: row.u64("oldest")? / 1000, outstanding };
            pairs.push((payer, payee, waiting));
        }
        Ok(pairs)
    }

    /// A pair's queued winners that live at `now` (unix seconds), in the order of nonces in which the chain takes
    /// them. An expired one is passed over, so it never blocks the next.
    pub async fn winners_waiting(
        &self,
        payer: Address,
        payee: Address,
        now: u64,
        limit: u32,
    ) -> Result<Vec<Winner>, StoreError> {
        let rows = sqlx::query(WAITING)
            .bind(payer.as_slice())
            .bind(payee.as_slice())
            .bind(big(now))
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await
            .map_err(db("reading waiting winners"))?;
        rows.iter().map(winner).collect()
    }

    /// Notes why a queued winner could not be redeemed, one attempt more: it stays queued.
    pub async fn refuse_winner(&self, now_ms: u64, digest: B256, reason: &str) -> Result<(), StoreError> {
        let changed = sqlx::query(
            "UPDATE winners SET reason = $2, attempts = attempts + 1, changed_at = $3 \
             WHERE digest = $1 AND state = 'queued'",
        )
        .bind(digest.as_slice())
        .bind(reason)
        .bind(big(now_ms))
        .execute(&self.write)
        .await
        .map_err(db("noting a refusal"))?;
        expect_one(changed.rows_affected(), digest, WinnerState::Queued)
    }

    /// Sent → mined, in `block`. `tx_hash`: `None` when only the pair's nonce on chain shows that it went through, for a
    /// queued one too.
    pub async fn mark_mined(
        &self,
        now_ms: u64,
        digests: &[B256],
        tx_hash: Option<B256>,
        block: u64,
    ) -> Result<(), StoreError> {
        let doing = db("marking winners as mined");
        let mut tx = self.write.begin().await.map_err(doing)?;
        for digest in digests {
            let changed = sqlx::query(
                "UPDATE winners SET state = 'mined', tx = COALESCE($2, tx), block = $3, changed_at = $4 \
                 WHERE digest = $1 AND (state IN ('sent', 'mined') OR ($2 IS NULL AND state = 'queued'))",
            )
            .bind(digest.as_slice())
            .bind(tx_hash.as_ref().map(|hash| hash.as_slice()))
            .bind(big(block))
            .bind(big(now_ms))
            .execute(&mut *tx)
            .await
            .map_err(doing)?;
            expect_one(changed.rows_affected(), *digest, WinnerState::Mined)?;
        }
        tx.commit().await.map_err(doing)
    }

    /// Mined → sent: a reorganisation took the block. The transaction is still on its way.
    pub async fn mark_unmined(&self, now_ms: u64, digests: &[B256]) -> Result<(), StoreError> {
        let doing = db("marking winners as sent again");
        let mut tx = self.write.begin().await.map_err(doing)?;
        for digest in digests {
            let changed = sqlx::query(
                "UPDATE winners SET state = 'sent', block = NULL, changed_at = $2 \
                 WHERE digest = $1 AND state = 'mined'",
            )
            .bind(digest.as_slice())
            .bind(big(now_ms))
            .execute(&mut *tx)
            .await
            .map_err(doing)?;
            expect_one(changed.rows_affected(), *digest, WinnerState::Sent)?;
        }
        tx.commit().await.map_err(doing)
    }

    /// Sent or mined → queued: its transaction reverted, or lost its nonce to another, and nothing can undo that.
    pub async fn requeue(&self, now_ms: u64, digests: &[B256], reason: &str) -> Result<(), StoreError> {
        let doing = db("queueing winners again");
        let mut tx = self.write.begin().await.map_err(doing)?;
        for digest in digests {
            let changed = sqlx::query(
                "UPDATE winners SET state = 'queued', tx = NULL, block = NULL, reason = $2, changed_at = $3 \
                 WHERE digest = $1 AND state IN ('sent', 'mined')",
            )
            .bind(digest.as_slice())
            .bind(reason)
            .bind(big(now_ms))
            .execute(&mut *tx)
            .await
            .map_err(doing)?;
            expect_one(changed.rows_affected(), *digest, WinnerState::Queued)?;
        }
        tx.commit().await.map_err(doing)
    }

    /// Mined → final: paid. Adds to the redeemed total.
    pub async fn mark_final(&self, now_ms: u64, digests: &[B256]) -> Result<(), StoreError> {
        let doing = db("marking winners as final");
        let mut tx = self.write.begin().await.map_err(doing)?;
        for digest in digests {
            let changed = sqlx::query(
                "UPDATE winners SET state = 'final', reason = NULL, changed_at = $2 \
                 WHERE digest = $1 AND state = 'mined'",
            )
            .bind(digest.as_slice())
            .bind(big(now_ms))
            .execute(&mut *tx)
            .await
            .map_err(doing)?;
            expect_one(changed.rows_affected(), *digest, WinnerState::Final)?;
            let row = sqlx::query(
                "SELECT w.payer, w.payee, w.face_value, p.redeemed FROM winners w \
                 JOIN payee_pairs p ON p.payer = w.payer AND p.payee = w.payee WHERE w.digest = $1",
            )
            .bind(digest.as_slice())
            .fetch_one(&mut *tx)
            .await
            .map_err(doing)?;
            let row = Columns(&row);
            let redeemed = row.u256("redeemed")?.saturating_add(row.u256("face_value")?);
            sqlx::query("UPDATE payee_pairs SET redeemed = $3 WHERE payer = $1 AND payee = $2")
                .bind(row.address("payer")?.as_slice())
                .bind(row.address("payee")?.as_slice())
                .bind(word(redeemed))
                .execute(&mut *tx)
                .await
                .map_err(doing)?;
        }
        tx.commit().await.map_err(doing)
    }

    /// Queued, sent or mined → dropped, for a decoded reason.
    pub async fn mark_dropped(&self, now_ms: u64, digests: &[B256], reason: &str) -> Result<(), StoreError> {
        let mut tx = self.write.begin().await.map_err(db("dropping winners"))?;
        for digest in digests {
            drop_one(&mut tx, now_ms, *digest, reason).await?;
        }
        tx.commit().await.map_err(db("dropping winners"))
    }

    /// Drops queued winners that have expired; returns them with their face values (wei): a loss worth a log line.
    pub async fn drop_expired(&self, now_ms: u64) -> Result<Vec<(B256, U256)>, StoreError> {
        let doing = db("dropping expired winners");
        let mut tx = self.write.begin().await.map_err(doing)?;
        let rows = sqlx::query("SELECT digest, face_value FROM winners WHERE state = 'queued' AND expiry <= $1")
            .bind(big(now_ms / 1000))
            .fetch_all(&mut *tx)
            .await
            .map_err(doing)?;
        let mut dropped = Vec::with_capacity(rows.len());
        for row in rows.iter().map(Columns) {
            let digest = row.b256("digest")?;
            drop_one(&mut tx, now_ms, digest, "expired before it was redeemed").await?;
            dropped.push((digest, row.u256("face_value")?));
        }
        tx.commit().await.map_err(doing)?;
        Ok(dropped)
    }
}

pub(crate) async fn drop_one(
    tx: &mut Transaction<'static, Sqlite>,
    now_ms: u64,
    digest: B256,
    reason: &str,
) -> Result<(), StoreError> {
    let doing = db("dropping a winner");
    let changed = sqlx::query(
        "UPDATE winners SET state = 'dropped', reason = $2, changed_at = $3 \
         WHERE digest = $1 AND state IN ('queued', 'sent', 'mined')",
    )
    .bind(digest.as_slice())
    .bind(reason)
    .bind(big(now_ms))
    .execute(&mut **tx)
    .await
    .map_err(doing)?;
    expect_one(changed.rows_affected(), digest, WinnerState::Dropped)?;
    sqlx::query(
        "UPDATE payee_pairs SET dropped = dropped + 1 FROM winners w \
         WHERE w.digest = $1 AND payee_pairs.payer = w.payer AND payee_pairs.payee = w.payee",
    )
    .bind(digest.as_slice())
    .execute(&mut **tx)
    .await
    .map_err(doing)?;
    Ok(())
}

/// An error rolls the caller's transaction back, since it is dropped without a commit.
fn expect_one(changed: u64, digest: B256, to: WinnerState) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Winner { digest, to }) }
}

fn winner(row: &SqliteRow) -> Result<Winner, StoreError> {
    let row = Columns(row);
    Ok(Winner {
        digest: row.b256("digest")?,
        ticket: row.ticket("body")?,
        signature: row.signature("signature")?,
        payee_rand: row.b256("payee_rand")?,
        state: WinnerState::parse(&row.text("state")?)?,
        tx: row.optional_b256("tx")?,
        block: row.optional_u64("block")?,
        attempts: row.u32("attempts")?,
        reason: row.optional_text("reason")?,
        at_ms: row.u64("at")?,
        changed_ms: row.u64("changed_at")?,
    })
}
