//! Tickets sent: the payer's side. A ticket is here before it is signed.

use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolValue;
use millrace_tickets::{Ticket, expected_value_x64};
use sqlx::SqliteConnection;

use crate::codec::{Columns, big, word};
use crate::{Once, Store, StoreError, db};

const RECORDING: &str = "recording a ticket to send";

impl Store {
    /// Writes a ticket that is about to be signed. If the pair's work hash has one already, that one is returned and
    /// must be sent instead. A commit or nonce that served another work hash is [`StoreError::Taken`].
    pub async fn record_ticket(&self, now_ms: u64, ticket: &Ticket) -> Result<Ticket, StoreError> {
        let ticket = ticket.clone();
        self.group
            .write(RECORDING, move |connection| Box::pin(async move { record(connection, now_ms, ticket).await }))
            .await
    }

    /// Notes that the payee holds the ticket: it need not be sent again after a crash.
    pub async fn mark_acked(&self, payer: Address, payee: Address, work_hash: B256) -> Result<(), StoreError> {
        const DOING: &str = "marking a ticket as acknowledged";
        let query =
            sqlx::query("UPDATE tickets_sent SET acked = $4 WHERE payer = $1 AND payee = $2 AND work_hash = $3")
                .bind(payer.to_vec())
                .bind(payee.to_vec())
                .bind(work_hash.to_vec())
                .bind(true);
        self.group
            .write(DOING, |connection| Box::pin(async { query.execute(connection).await.map(drop).map_err(db(DOING)) }))
            .await
    }

    /// Notes why the payee will never take a ticket: it is not sent again. False when that is known, or it was acknowledged.
    pub async fn mark_refused(
        &self,
        payer: Address,
        payee: Address,
        work_hash: B256,
        reason: &str,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "marking a ticket as refused";
        let query = sqlx::query(
            "UPDATE tickets_sent SET refused = $5 \
             WHERE payer = $1 AND payee = $2 AND work_hash = $3 AND acked = $4 AND refused IS NULL",
        )
        .bind(payer.to_vec())
        .bind(payee.to_vec())
        .bind(work_hash.to_vec())
        .bind(false)
        .bind(reason.to_owned());
        let write = self.group.write(DOING, |connection| {
            Box::pin(async { Ok(query.execute(connection).await.map_err(db(DOING))?.rows_affected() > 0) })
        });
        write.await
    }

    /// A pair's tickets that were neither acknowledged nor refused and live at `now` (unix seconds), oldest first: to be sent
    /// again, at most 1,024.
    pub async fn unacked(&self, payer: Address, payee: Address, now: u64) -> Result<Vec<Ticket>, StoreError> {
        let rows = sqlx::query(
            "SELECT body FROM tickets_sent WHERE payer = $1 AND payee = $2 AND acked = $3 AND refused IS NULL AND expiry > $4 \
             ORDER BY nonce LIMIT 1024",
        )
        .bind(payer.as_slice())
        .bind(payee.as_slice())
        .bind(false)
        .bind(big(now))
        .fetch_all(&self.read)
        .await
        .map_err(db("reading unacknowledged tickets"))?;
        rows.iter().map(|row| Columns(row).ticket("body")).collect()
    }

    /// What [`millrace_tickets::Payer::restore`] wants: the pair's highest nonce, and its last 256 tickets, oldest
    /// first.
    pub(crate) async fn payer_state(&self, payer: Address, payee: Address) -> Result<(u64, Vec<Ticket>), StoreError> {
        let doing = db("reading a payer's state");
        let pair = sqlx::query("SELECT last_nonce FROM payer_pairs WHERE payer = $1 AND payee = $2")
            .bind(payer.as_slice())
            .bind(payee.as_slice())
            .fetch_optional(&self.read)
            .await
            .map_err(doing)?;
        let rows =
            sqlx::query("SELECT body FROM tickets_sent WHERE payer = $1 AND payee = $2 ORDER BY nonce DESC LIMIT 256")
                .bind(payer.as_slice())
                .bind(payee.as_slice())
                .fetch_all(&self.read)
                .await
                .map_err(doing)?;
        let last_nonce = pair.map_or(Ok(0), |row| Columns(&row).u64("last_nonce"))?;
        let tickets = rows.iter().rev().map(|row| Columns(row).ticket("body")).collect::<Result<_, _>>()?;
        Ok((last_nonce, tickets))
    }
}

async fn record(connection: &mut SqliteConnection, now_ms: u64, ticket: Ticket) -> Result<Ticket, StoreError> {
    let doing = db(RECORDING);
    let (payer, payee) = (ticket.payer.as_slice(), ticket.payee.as_slice());
    let inserted = sqlx::query(
        "INSERT INTO tickets_sent (payer, payee, work_hash, payee_commit, nonce, body, expiry, acked, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
    )
    .bind(payer)
    .bind(payee)
    .bind(ticket.workHash.as_slice())
    .bind(ticket.payeeCommit.as_slice())
    .bind(big(ticket.nonce))
    .bind(ticket.abi_encode())
    .bind(big(ticket.expiry.to()))
    .bind(false)
    .bind(big(now_ms))
    .execute(&mut *connection)
    .await
    .map_err(doing)?;
    if inserted.rows_affected() == 0 {
        let same_work = sqlx::query("SELECT body FROM tickets_sent WHERE payer = $1 AND payee = $2 AND work_hash = $3")
            .bind(payer)
            .bind(payee)
            .bind(ticket.workHash.as_slice())
            .fetch_optional(&mut *connection)
            .await
            .map_err(doing)?;
        if let Some(row) = same_work {
            return Columns(&row).ticket("body");
        }
        let same_commit =
            sqlx::query("SELECT 1 FROM tickets_sent WHERE payer = $1 AND payee = $2 AND payee_commit = $3")
                .bind(payer)
                .bind(payee)
                .bind(ticket.payeeCommit.as_slice())
                .fetch_optional(&mut *connection)
                .await
                .map_err(doing)?;
        return Err(StoreError::Taken(if same_commit.is_some() { Once::Commit } else { Once::Nonce }));
    }
    let pair = sqlx::query("SELECT last_nonce, tickets, expected_x64 FROM payer_pairs WHERE payer = $1 AND payee = $2")
        .bind(payer)
        .bind(payee)
        .fetch_optional(&mut *connection)
        .await
        .map_err(doing)?;
    let (last_nonce, tickets, expected_x64) = match &pair {
        Some(row) => {
            (Columns(row).u64("last_nonce")?, Columns(row).u64("tickets")?, Columns(row).u256("expected_x64")?)
        }
        None => (0, 0, U256::ZERO),
    };
    sqlx::query(
        "INSERT INTO payer_pairs (payer, payee, last_nonce, tickets, expected_x64) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (payer, payee) DO UPDATE SET last_nonce = $3, tickets = $4, expected_x64 = $5",
    )
    .bind(payer)
    .bind(payee)
    .bind(big(last_nonce.max(ticket.nonce)))
    .bind(big(tickets + 1))
    .bind(word(expected_x64.saturating_add(expected_value_x64(&ticket))))
    .execute(&mut *connection)
    .await
    .map_err(doing)?;
    Ok(ticket)
}
