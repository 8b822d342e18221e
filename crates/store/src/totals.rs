//! Figures for the API, and the pruning that keeps the tables bounded. Totals are kept as running sums, so pruning
//! changes none of them.

use alloy::primitives::{Address, B256, U256};
use millrace_tickets::expected_value;
use millrace_tickets::payee::COMMITS_KEPT;
use sqlx::sqlite::SqliteRow;

use crate::codec::{Columns, big};
use crate::signing::SIGNING_LOG_KEPT_MS;
use crate::unpaid::UNPAID_KEPT_MS;
use crate::{Store, StoreError, WinnerState, db};

/// How long final and dropped winners stay listed, milliseconds: a month, for an operator's books.
const SETTLED_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;

/// Sums over all pairs since the database began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tickets received.
    pub received: u64,
    /// Their expected value, wei.
    pub received_expected: U256,
    /// Those of them that won.
    pub winners: u64,
    /// Winners that wait for redemption.
    pub queued: u64,
    /// Paid out by final winners, wei.
    pub redeemed: U256,
    /// Winners given up.
    pub dropped: u64,
    /// Tickets sent.
    pub sent: u64,
    /// Their expected value, wei.
    pub sent_expected: U256,
}

/// Which way a ticket went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A ticket in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketRow {
    /// When it was written, unix milliseconds.
    pub at_ms: u64,
    /// Received or sent.
    pub direction: Direction,
    /// The other end.
    pub peer: Address,
    /// What it pays when it wins, wei.
    pub face_value: U256,
    /// Its probability to win, times 2^64.
    pub win_prob: u64,
    /// Its expected value, wei.
    pub expected: U256,
    /// Whether it won; `None` for one sent, since only the payee knows.
    pub winner: Option<bool>,
    /// Where its redemption is, if it won.
    pub state: Option<WinnerState>,
    /// The redeeming transaction.
    pub tx: Option<B256>,
}

impl Store {
    /// Sums over all pairs.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        let doing = db("summing tickets");
        let received = sqlx::query("SELECT tickets, winners, dropped, expected_x64, redeemed FROM payee_pairs")
            .fetch_all(&self.read)
            .await
            .map_err(doing)?;
        let sent =
            sqlx::query("SELECT tickets, expected_x64 FROM payer_pairs").fetch_all(&self.read).await.map_err(doing)?;
        let queued = sqlx::query("SELECT COUNT(*) AS count FROM winners WHERE state = 'queued'")
            .fetch_one(&self.read)
            .await
            .map_err(doing)?;
        let mut totals = Totals { queued: Columns(&queued).u64("count")?, ..Totals::default() };
        for row in received.iter().map(Columns) {
            totals.received += row.u64("tickets")?;
            totals.winners += row.u64("winners")?;
            totals.dropped += row.u64("dropped")?;
            totals.received_expected = totals.received_expected.saturating_add(row.u256("expected_x64")?);
            totals.redeemed = totals.redeemed.saturating_add(row.u256("redeemed")?);
        }
        for row in sent.iter().map(Columns) {
            totals.sent += row.u64("tickets")?;
            totals.sent_expected = totals.sent_expected.saturating_add(row.u256("expected_x64")?);
        }
        totals.received_expected >>= 64;
        totals.sent_expected >>= 64;
        Ok(totals)
    }

    /// The expected value that `payer` has sent to `payee`, wei.
    pub async fn sent_to(&self, payer: Address, payee: Address) -> Result<U256, StoreError> {
        let row = sqlx::query("SELECT expected_x64 FROM payer_pairs WHERE payer = $1 AND payee = $2")
            .bind(payer.as_slice())
            .bind(payee.as_slice())
            .fetch_optional(&self.read)
            .await
            .map_err(db("summing tickets sent"))?;
        Ok(row.map_or(Ok(U256::ZERO), |row| Columns(&row).u256("expected_x64"))? >> 64)
    }

    /// The expected value that `payee` has received from `payer`, wei: what it earned.
    pub async fn received_from(&self, payer: Address, payee: Address) -> Result<U256, StoreError> {
        let row = sqlx::query("SELECT expected_x64 FROM payee_pairs WHERE payer = $1 AND payee = $2")
            .bind(payer.as_slice())
            .bind(payee.as_slice())
            .fetch_optional(&self.read)
            .await
            .map_err(db("summing tickets received"))?;
        Ok(row.map_or(Ok(U256::ZERO), |row| Columns(&row).u256("expected_x64"))? >> 64)
    }

    /// The last `limit` tickets of both directions, newest first.
    pub async fn recent_tickets(&self, limit: u32) -> Result<Vec<TicketRow>, StoreError> {
        let doing = db("listing tickets");
        let received = sqlx::query(
            "SELECT t.body, t.at, t.winner, w.state, w.tx FROM tickets_received t \
             LEFT JOIN winners w ON w.digest = t.digest ORDER BY t.at DESC, t.nonce DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await
        .map_err(doing)?;
        let sent = sqlx::query("SELECT body, at FROM tickets_sent ORDER BY at DESC, nonce DESC LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await
            .map_err(doing)?;
        let received = received.iter().map(|row| listed(row, Direction::In));
        let sent = sent.iter().map(|row| listed(row, Direction::Out));
        let mut rows = received.chain(sent).collect::<Result<Vec<_>, _>>()?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.at_ms));
        rows.truncate(limit as usize);
        Ok(rows)
    }

    /// Deletes what no rule needs any more: losers and sent tickets past their expiry (no one accepts those again),
    /// winners settled a month ago, work that nobody can pay any more, and old signing log entries. Call it every hour or so.
    pub async fn prune(&self, now_ms: u64) -> Result<(), StoreError> {
        let doing = db("pruning");
        let (now, settled) = (big(now_ms / 1000), big(now_ms.saturating_sub(SETTLED_KEPT_MS)));
        let mut tx = self.write.begin().await.map_err(doing)?;
        // What a winner's redemption has revealed must not come to be a good commit again.
        sqlx::query(
            "DELETE FROM winners WHERE state IN ('final', 'dropped') AND changed_at < $1 AND expiry < $2 \
             AND NOT EXISTS (SELECT 1 FROM tickets_received t JOIN payee_pairs p ON p.payer = t.payer AND p.payee = t.payee \
             WHERE t.digest = winners.digest AND t.commit_index >= p.next_index - $3)",
        )
        .bind(settled)
        .bind(now)
        .bind(big(COMMITS_KEPT as u64))
        .execute(&mut *tx)
        .await
        .map_err(doing)?;
        sqlx::query("DELETE FROM unpaid WHERE at < $1")
            .bind(big(now_ms.saturating_sub(UNPAID_KEPT_MS)))
            .execute(&mut *tx)
            .await
            .map_err(doing)?;
        sqlx::query(
            "DELETE FROM tickets_received WHERE expiry < $1 \
             AND NOT EXISTS (SELECT 1 FROM winners w WHERE w.digest = tickets_received.digest)",
        )
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(doing)?;
        sqlx::query("DELETE FROM tickets_sent WHERE expiry < $1").bind(now).execute(&mut *tx).await.map_err(doing)?;
        sqlx::query("DELETE FROM signing_log WHERE at < $1")
            .bind(big(now_ms.saturating_sub(SIGNING_LOG_KEPT_MS)))
            .execute(&mut *tx)
            .await
            .map_err(doing)?;
        tx.commit().await.map_err(doing)
    }
}

fn listed(row: &SqliteRow, direction: Direction) -> Result<TicketRow, StoreError> {
    let row = Columns(row);
    let ticket = row.ticket("body")?;
    let (peer, winner, state, tx) = match direction {
        Direction::In => {
            (ticket.payer, Some(row.bool("winner")?), row.optional_text("state")?, row.optional_b256("tx")?)
        }
        Direction::Out => (ticket.payee, None, None, None),
    };
    Ok(TicketRow {
        at_ms: row.u64("at")?,
        direction,
        peer,
        face_value: U256::from(ticket.faceValue),
        win_prob: ticket.winProb,
        expected: expected_value(&ticket),
        winner,
        state: state.map(|name| WinnerState::parse(&name)).transpose()?,
        tx,
    })
}
