//! Tickets received: the payee's side. A ticket is here, and a winner queued, before it is acknowledged.

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolValue;
use millrace_tickets::payee::NONCE_WINDOW;
use millrace_tickets::{Accepted, PayeeState, Signed, Ticket, expected_value_x64};
use sqlx::SqliteConnection;

use crate::codec::{Columns, big, word};
use crate::{Once, Store, StoreError, WinnerState, db, unpaid};

const ACCEPTING: &str = "accepting a ticket";

/// What writing a ticket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is now on disk.
    Stored,
    /// This very ticket was on disk: acknowledge it again.
    Same,
}

impl Store {
    /// Writes an accepted ticket, its winner if it won, and the pair's next commit index, in one transaction. When
    /// this returns `Ok`, and not before, the ticket may be acknowledged. A second ticket for the pair's work hash,
    /// commit or nonce, or one below a nonce handed to redemption, is [`StoreError::Taken`] and changes nothing.
    pub async fn accept_ticket(
        &self,
        now_ms: u64,
        signed: &Signed<Ticket>,
        accepted: &Accepted,
        next_index: u64,
    ) -> Result<Acceptance, StoreError> {
        let (signed, accepted) = (signed.clone(), *accepted);
        self.group
            .write(ACCEPTING, move |connection| {
                Box::pin(async move { accept(connection, now_ms, &signed, &accepted, next_index).await })
            })
            .await
    }

    /// Writes a pair's next commit index. Must return before the commits below it are sent.
    pub async fn save_next_index(&self, payer: Address, payee: Address, next_index: u64) -> Result<(), StoreError> {
        const DOING: &str = "writing a pair's next commit index";
        let query = sqlx::query(
            "INSERT INTO payee_pairs \
             (payer, payee, next_index, redeemed_nonce, tickets, winners, dropped, expected_x64, redeemed) \
             VALUES ($1, $2, $3, 0, 0, 0, 0, $4, $4) ON CONFLICT (payer, payee) \
             DO UPDATE SET next_index = $3 WHERE payee_pairs.next_index < $3",
        )
        .bind(payer.to_vec())
        .bind(payee.to_vec())
        .bind(big(next_index))
        .bind(word(U256::ZERO));
        self.group
            .write(DOING, |connection| Box::pin(async { query.execute(connection).await.map(drop).map_err(db(DOING)) }))
            .await
    }

    /// How many tickets `payer` has ever paid `payee` with.
    pub async fn tickets_received(&self, payer: Address, payee: Address) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT tickets FROM payee_pairs WHERE payer = $1 AND payee = $2")
            .bind(payer.as_slice())
            .bind(payee.as_slice())
            .fetch_optional(&self.read)
            .await
            .map_err(db("counting a payer's tickets"))?;
        row.map_or(Ok(0), |row| Columns(&row).u64("tickets"))
    }

    /// What [`millrace_tickets::Payee::restore`] wants.
    pub(crate) async fn payee_state(&self, payer: Address, payee: Address) -> Result<PayeeState, StoreError> {
        let doing = db("reading a payee's state");
        let pair = sqlx::query("SELECT next_index FROM payee_pairs WHERE payer = $1 AND payee = $2")
            .bind(payer.as_slice())
            .bind(payee.as_slice())
            .fetch_optional(&self.read)
            .await
            .map_err(doing)?;
        // One more than the window: the next older nonce is the floor.
        let rows = sqlx::query(
            "SELECT body, digest, commit_index, winner FROM tickets_received WHERE payer = $1 AND payee = $2 \
             ORDER BY nonce DESC LIMIT $3",
        )
        .bind(payer.as_slice())
        .bind(payee.as_slice())
        .bind(big(NONCE_WINDOW as u64 + 1))
        .fetch_all(&self.read)
        .await
        .map_err(doing)?;
        let recent = rows
            .iter()
            .map(Columns)
            .map(|row| Ok((row.ticket("body")?, row.b256("digest")?, row.u64("commit_index")?, row.bool("winner")?)));
        let recent = recent.collect::<Result<_, StoreError>>()?;
        let next_index = pair.map_or(Ok(0), |row| Columns(&row).u64("next_index"))?;
        let (outstanding, floor) = self.outstanding(payer, payee).await?;
        Ok(PayeeState { next_index, floor, outstanding, recent, spent: Vec::new() })
    }

    /// A pair's winners that are not on chain yet, in wei, and the highest nonce handed to redemption.
    pub async fn outstanding(&self, payer: Address, payee: Address) -> Result<(U256, u64), StoreError> {
        // Bounded: a payee accepts no winner beyond the lock.
        let rows = sqlx::query(
            "SELECT p.redeemed_nonce, w.face_value FROM payee_pairs p LEFT JOIN winners w \
             ON w.state IN ('queued', 'sent') AND w.payer = p.payer AND w.payee = p.payee \
             WHERE p.payer = $1 AND p.payee = $2",
        )
        .bind(payer.as_slice())
        .bind(payee.as_slice())
        .fetch_all(&self.read)
        .await
        .map_err(db("reading a pair's outstanding winners"))?;
        let mut outstanding = (U256::ZERO, 0);
        for row in rows.iter().map(Columns) {
            let face_value = row.optional_b256("face_value")?.map_or(U256::ZERO, Into::into);
            outstanding = (outstanding.0.saturating_add(face_value), row.u64("redeemed_nonce")?);
        }
        Ok(outstanding)
    }
}

async fn accept(
    connection: &mut SqliteConnection,
    now_ms: u64,
    signed: &Signed<Ticket>,
    accepted: &Accepted,
    next_index: u64,
) -> Result<Acceptance, StoreError> {
    let doing = db(ACCEPTING);
    let ticket = &signed.body;
    let (payer, payee) = (ticket.payer.as_slice(), ticket.payee.as_slice());
    let inserted = sqlx::query(
        "INSERT INTO tickets_received \
         (digest, payer, payee, work_hash, commit_index, nonce, body, signature, expiry, winner, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
    )
    .bind(accepted.digest.as_slice())
    .bind(payer)
    .bind(payee)
    .bind(ticket.workHash.as_slice())
    .bind(big(accepted.index))
    .bind(big(ticket.nonce))
    .bind(ticket.abi_encode())
    .bind(signed.signature.0.as_slice())
    .bind(big(ticket.expiry.to()))
    .bind(accepted.winner)
    .bind(big(now_ms))
    .execute(&mut *connection)
    .await
    .map_err(doing)?;
    if inserted.rows_affected() == 0 {
        return which_is_taken(connection, ticket, accepted).await;
    }
    let row = sqlx::query(
        "SELECT next_index, redeemed_nonce, tickets, winners, expected_x64 FROM payee_pairs \
         WHERE payer = $1 AND payee = $2",
    )
    .bind(payer)
    .bind(payee)
    .fetch_optional(&mut *connection)
    .await
    .map_err(doing)?;
    let (mut index, mut redeemed, mut tickets, mut winners, mut expected) = (0, 0, 0, 0, U256::ZERO);
    if let Some(row) = &row {
        let row = Columns(row);
        (index, redeemed) = (row.u64("next_index")?, row.u64("redeemed_nonce")?);
        (tickets, winners) = (row.u64("tickets")?, row.u64("winners")?);
        expected = row.u256("expected_x64")?;
    }
    if ticket.nonce <= redeemed {
        return Err(StoreError::Taken(Once::Nonce));
    }
    unpaid::paid(connection, payer, payee, ticket.workHash).await?;
    sqlx::query(
        "INSERT INTO payee_pairs \
         (payer, payee, next_index, redeemed_nonce, tickets, winners, dropped, expected_x64, redeemed) \
         VALUES ($1, $2, $3, 0, $4, $5, 0, $6, $7) ON CONFLICT (payer, payee) \
         DO UPDATE SET next_index = $3, tickets = $4, winners = $5, expected_x64 = $6",
    )
    .bind(payer)
    .bind(payee)
    .bind(big(index.max(next_index)))
    .bind(big(tickets + 1))
    .bind(big(winners + u64::from(accepted.winner)))
    .bind(word(expected.saturating_add(expected_value_x64(ticket))))
    .bind(word(U256::ZERO))
    .execute(&mut *connection)
    .await
    .map_err(doing)?;
    if accepted.winner {
        sqlx::query(
            "INSERT INTO winners \
             (digest, payer, payee, nonce, face_value, payee_rand, expiry, state, attempts, at, changed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $9)",
        )
        .bind(accepted.digest.as_slice())
        .bind(payer)
        .bind(payee)
        .bind(big(ticket.nonce))
        .bind(word(U256::from(ticket.faceValue)))
        .bind(accepted.payee_rand.as_slice())
        .bind(big(ticket.expiry.to()))
        .bind(WinnerState::Queued.name())
        .bind(big(now_ms))
        .execute(&mut *connection)
        .await
        .map_err(doing)?;
    }
    Ok(Acceptance::Stored)
}

/// Tells a resent ticket from a second one for the same thing.
async fn which_is_taken(
    connection: &mut SqliteConnection,
    ticket: &Ticket,
    accepted: &Accepted,
) -> Result<Acceptance, StoreError> {
    let rows = sqlx::query(
        "SELECT digest, work_hash, commit_index FROM tickets_received WHERE digest = $1 OR \
         (payer = $2 AND payee = $3 AND (work_hash = $4 OR commit_index = $5 OR nonce = $6))",
    )
    .bind(accepted.digest.as_slice())
    .bind(ticket.payer.as_slice())
    .bind(ticket.payee.as_slice())
    .bind(ticket.workHash.as_slice())
    .bind(big(accepted.index))
    .bind(big(ticket.nonce))
    .fetch_all(&mut *connection)
    .await
    .map_err(db("looking for a ticket's twin"))?;
    let mut taken = Once::Nonce;
    for row in rows.iter().map(Columns) {
        if row.b256("digest")? == accepted.digest {
            return Ok(Acceptance::Same);
        } else if row.b256("work_hash")? == ticket.workHash {
            taken = Once::WorkHash;
        } else if row.u64("commit_index")? == accepted.index {
            taken = Once::Commit;
        }
    }
    Err(StoreError::Taken(taken))
}
