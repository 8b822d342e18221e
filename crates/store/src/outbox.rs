//! Transactions on their way to the chain. What redeems winners marks them as sent in the same commit, so that whatever
//! happens to the process, a winner is either queued and in no transaction, or sent and in exactly one.

use alloy::primitives::{Address, B256, U256};
use sqlx::{Sqlite, Transaction};

use crate::codec::{Columns, big, word};
use crate::{Store, StoreError, WinnerState, db};

/// One version of a transaction. Those of one nonce replace each other: at most one is ever mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its hash.
    pub hash: B256,
    /// The signer's transaction number.
    pub nonce: u64,
    /// What it does, for people.
    pub what: String,
    /// As it is sent.
    pub raw: Vec<u8>,
    /// Wei per gas that no version exceeds.
    pub fee_cap: U256,
}

impl Store {
    /// Writes a version, and in the same commit marks the winners that it redeems: queued → sent, one attempt more. From
    /// then on the pair's tickets below these nonces are refused. Must return before it is sent.
    ///
    /// A queued winner of the same pair that lies below them can never be redeemed after. If it was refused
    /// ([`Store::refuse_winner`]) it is dropped for that reason; if not, it came in between, and all of this is
    /// [`StoreError::Overtaken`] and changes nothing.
    pub async fn write_transaction(
        &self,
        now_ms: u64,
        signer: Address,
        row: &OutboxRow,
        redeems: &[B256],
    ) -> Result<(), StoreError> {
        let doing = db("writing a transaction");
        let mut tx = self.write.begin().await.map_err(doing)?;
        sqlx::query(
            "INSERT INTO outbox (hash, signer, nonce, what, raw, fee_cap, at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT DO NOTHING",
        )
        .bind(row.hash.as_slice())
        .bind(signer.as_slice())
        .bind(big(row.nonce))
        .bind(&row.what)
        .bind(row.raw.as_slice())
        .bind(word(row.fee_cap))
        .bind(big(now_ms))
        .execute(&mut *tx)
        .await
        .map_err(doing)?;
        for digest in redeems {
            begin_redemption(&mut tx, now_ms, *digest, row.hash).await?;
        }
        for digest in redeems {
            pass_over(&mut tx, now_ms, *digest).await?;
        }
        tx.commit().await.map_err(doing)
    }

    /// Every version of every transaction of `signer` that is on its way, by nonce, oldest version first.
    pub async fn transactions(&self, signer: Address) -> Result<Vec<OutboxRow>, StoreError> {
        let rows =
            sqlx::query("SELECT hash, nonce, what, raw, fee_cap FROM outbox WHERE signer = $1 ORDER BY nonce, at")
                .bind(signer.as_slice())
                .fetch_all(&self.write) // past the writer, so that one just written is there
                .await
                .map_err(db("reading transactions on their way"))?;
        let rows = rows.iter().map(Columns).map(|row| {
            Ok(OutboxRow {
                hash: row.b256("hash")?,
                nonce: row.u64("nonce")?,
                what: row.text("what")?,
                raw: row.blob("raw")?,
                fee_cap: row.u256("fee_cap")?,
            })
        });
        rows.collect()
    }

    /// Deletes all versions of a transaction that is settled for good.
    pub async fn forget_transaction(&self, signer: Address, nonce: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM outbox WHERE signer = $1 AND nonce = $2")
            .bind(signer.as_slice())
            .bind(big(nonce))
            .execute(&self.write)
            .await
            .map_err(db("forgetting a transaction"))?;
        Ok(())
    }
}

async fn begin_redemption(
    tx: &mut Transaction<'static, Sqlite>,
    now_ms: u64,
    digest: B256,
    hash: B256,
) -> Result<(), StoreError> {
    let doing = db("beginning a redemption");
    let changed = sqlx::query(
        "UPDATE winners SET state = 'sent', tx = $2, attempts = attempts + 1, changed_at = $3 \
         WHERE digest = $1 AND state = 'queued'",
    )
    .bind(digest.as_slice())
    .bind(hash.as_slice())
    .bind(big(now_ms))
    .execute(&mut **tx)
    .await
    .map_err(doing)?;
    if changed.rows_affected() != 1 {
        return Err(StoreError::Winner { digest, to: WinnerState::Sent });
    }
    sqlx::query(
        "UPDATE payee_pairs SET redeemed_nonce = w.nonce FROM winners w WHERE w.digest = $1 \
         AND payee_pairs.payer = w.payer AND payee_pairs.payee = w.payee AND payee_pairs.redeemed_nonce < w.nonce",
    )
    .bind(digest.as_slice())
    .execute(&mut **tx)
    .await
    .map_err(doing)?;
    Ok(())
}

/// Drops the queued winners of a redeemed one's pair that lie below it.
async fn pass_over(tx: &mut Transaction<'static, Sqlite>, now_ms: u64, redeemed: B256) -> Result<(), StoreError> {
    let doing = db("passing winners over");
    let rows = sqlx::query(
        "SELECT q.digest, q.reason FROM winners q JOIN winners w ON w.digest = $1 \
         AND q.payer = w.payer AND q.payee = w.payee AND q.nonce < w.nonce WHERE q.state = 'queued'",
    )
    .bind(redeemed.as_slice())
    .fetch_all(&mut **tx)
    .await
    .map_err(doing)?;
    for row in rows.iter().map(Columns) {
        let digest = row.b256("digest")?;
        let reason = row.optional_text("reason")?.ok_or(StoreError::Overtaken(digest))?;
        crate::winners::drop_one(tx, now_ms, digest, &reason).await?;
    }
    Ok(())
}
