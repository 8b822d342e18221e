//! Work that this node waits to be paid for: what it has signed a receipt for, and what is to be prepaid. A ticket that a crash
//! of either end has held up comes later and by itself, and only with this is it known what it pays.

use alloy::primitives::{Address, B256, U256};
use millrace_tickets::payer::TICKET_TTL;
use millrace_tickets::{Due, Terms};
use sqlx::SqliteConnection;

use crate::codec::{Columns, big, word};
use crate::{Store, StoreError, db};

/// Entries are kept for so long, milliseconds: a ticket is issued within seconds of its receipt, and lives no longer than this.
pub const UNPAID_KEPT_MS: u64 = TICKET_TTL * 1000;
/// Entries of one payer, the oldest of which fall out: as many tickets as a payer sends again, and no way for one that begins
/// streams and prepays none to fill the disk.
pub const MAX_UNPAID: u64 = 1_024;

const WRITING: &str = "writing what a payer is to pay";

/// A piece of work without its ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpaid {
    /// Who has to pay.
    pub payer: Address,
    /// Whom.
    pub payee: Address,
    /// For which stream, as the payer calls it.
    pub stream: B256,
    /// Whether a receipt was signed; else it is a prepayment.
    pub delivered: bool,
    /// The work, its price and the terms that were quoted.
    pub due: Due,
}

impl Store {
    /// Writes down work that is to be paid. Must return before the receipt for it is sent. What is paid already is left out.
    pub async fn expect_pay(&self, now_ms: u64, work: Vec<Unpaid>) -> Result<(), StoreError> {
        let write = self.group.write(WRITING, move |connection| {
            Box::pin(async move {
                for unpaid in &work {
                    insert(connection, now_ms, unpaid).await?;
                }
                Ok(())
            })
        });
        write.await
    }

    /// The work behind a hash, if its ticket is to come.
    pub async fn unpaid(&self, payer: Address, payee: Address, work_hash: B256) -> Result<Option<Unpaid>, StoreError> {
        let row = sqlx::query(
            "SELECT stream, delivered, price, price_per_megapixel, face_value, win_prob FROM unpaid \
             WHERE payer = $1 AND payee = $2 AND work_hash = $3",
        )
        .bind(payer.as_slice())
        .bind(payee.as_slice())
        .bind(work_hash.as_slice())
        .fetch_optional(&self.read)
        .await
        .map_err(db("looking for what a ticket pays"))?;
        let Some(row) = row else { return Ok(None) };
        let row = Columns(&row);
        let terms = Terms {
            price_per_megapixel: row.narrow("price_per_megapixel")?,
            face_value: row.narrow("face_value")?,
            win_prob: row.narrow("win_prob")?,
        };
        let due = Due { work_hash, price: row.u256("price")?, terms };
        Ok(Some(Unpaid { payer, payee, stream: row.b256("stream")?, delivered: row.bool("delivered")?, due }))
    }

    /// When the oldest piece of a pair's unpaid work since `since_ms` was put on record, unix milliseconds.
    pub async fn unpaid_since(&self, payer: Address, payee: Address, since_ms: u64) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("SELECT MIN(at) AS at FROM unpaid WHERE payer = $1 AND payee = $2 AND at >= $3")
            .bind(payer.as_slice())
            .bind(payee.as_slice())
            .bind(big(since_ms))
            .fetch_one(&self.read)
            .await
            .map_err(db("looking for unpaid work"))?;
        Columns(&row).optional_u64("at")
    }

    /// Whether the ticket of this digest was accepted.
    pub async fn has_ticket(&self, digest: B256) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM tickets_received WHERE digest = $1").bind(digest.as_slice());
        let row = row.fetch_optional(&self.read).await.map_err(db("looking for a ticket"))?;
        Ok(row.is_some())
    }
}

async fn insert(connection: &mut SqliteConnection, now_ms: u64, unpaid: &Unpaid) -> Result<(), StoreError> {
    let Unpaid { payer, payee, stream, delivered, due } = unpaid;
    sqlx::query(
        "INSERT INTO unpaid (payer, payee, work_hash, stream, delivered, price, price_per_megapixel, face_value, win_prob, at) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE NOT EXISTS \
         (SELECT 1 FROM tickets_received WHERE payer = $1 AND payee = $2 AND work_hash = $3) ON CONFLICT DO NOTHING",
    )
    .bind(payer.as_slice())
    .bind(payee.as_slice())
    .bind(due.work_hash.as_slice())
    .bind(stream.as_slice())
    .bind(*delivered)
    .bind(word(due.price))
    .bind(word(U256::from(due.terms.price_per_megapixel)))
    .bind(word(U256::from(due.terms.face_value)))
    .bind(word(U256::from(due.terms.win_prob)))
    .bind(big(now_ms))
    .execute(&mut *connection)
    .await
    .map_err(db(WRITING))?;
    sqlx::query(
        "DELETE FROM unpaid WHERE payer = $1 AND payee = $2 AND at < \
         (SELECT at FROM unpaid WHERE payer = $1 AND payee = $2 ORDER BY at DESC LIMIT 1 OFFSET $3)",
    )
    .bind(payer.as_slice())
    .bind(payee.as_slice())
    .bind(big(MAX_UNPAID - 1))
    .execute(connection)
    .await
    .map(drop)
    .map_err(db(WRITING))
}

/// Takes a piece of work out, with the write of its ticket.
pub(crate) async fn paid(
    connection: &mut SqliteConnection,
    payer: &[u8],
    payee: &[u8],
    work_hash: B256,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM unpaid WHERE payer = $1 AND payee = $2 AND work_hash = $3")
        .bind(payer)
        .bind(payee)
        .bind(work_hash.as_slice())
        .execute(connection)
        .await
        .map(drop)
        .map_err(db("noting that work is paid"))
}
