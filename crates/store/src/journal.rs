//! What became of segments, and which workers are suspended: for people and for choosing workers, not for money.

use std::sync::atomic::Ordering;

use alloy::primitives::{Address, B256, U256};

use crate::codec::{Columns, big, word};
use crate::{Store, StoreError, db};

/// Segments kept: about 5 hours of one stream, and more than a person scrolls.
pub const SEGMENTS_KEPT: u32 = 10_000;
/// Pruned once in so many writes, so that most writes are one row.
const PRUNE_EVERY: u32 = 256;

/// One attempt at one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// When it ended, unix milliseconds.
    pub at_ms: u64,
    /// The stream.
    pub stream: B256,
    /// The segment's number.
    pub seq: u64,
    /// The attempt's number.
    pub attempt: u32,
    /// Who worked on it.
    pub worker: Address,
    /// That worker's name.
    pub worker_name: String,
    /// "pass", "fail", "lost" or "refused".
    pub result: String,
    /// What was wrong, in words.
    pub fault: Option<String>,
    /// Source complete to renditions complete, milliseconds.
    pub latency_ms: u64,
    /// What was paid, wei; zero until it is.
    pub paid: U256,
    /// Who pays.
    pub payer: Address,
    /// Who is paid.
    pub payee: Address,
}

/// A worker that gets no work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Which one.
    pub worker: Address,
    /// Why.
    pub reason: String,
    /// Since when, unix milliseconds.
    pub at_ms: u64,
    /// Until when, unix milliseconds.
    pub until_ms: u64,
}

impl Store {
    /// Writes an attempt, or replaces it (when its payment follows).
    pub async fn log_segment(&self, row: &SegmentRow) -> Result<(), StoreError> {
        let doing = db("logging a segment");
        sqlx::query(
            "INSERT INTO segments (stream, seq, attempt, worker, worker_name, result, fault, latency_ms, paid, payer, \
             payee, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (stream, seq, attempt, worker) DO UPDATE SET \
             result = $6, fault = $7, latency_ms = $8, paid = $9, at = $12",
        )
        .bind(row.stream.as_slice())
        .bind(big(row.seq))
        .bind(i64::from(row.attempt))
        .bind(row.worker.as_slice())
        .bind(&row.worker_name)
        .bind(&row.result)
        .bind(&row.fault)
        .bind(big(row.latency_ms))
        .bind(word(row.paid))
        .bind(row.payer.as_slice())
        .bind(row.payee.as_slice())
        .bind(big(row.at_ms))
        .execute(&self.write)
        .await
        .map_err(doing)?;
        if self.journal_writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(PRUNE_EVERY) {
            self.keep_segments(SEGMENTS_KEPT).await?;
        }
        Ok(())
    }

    /// Deletes all but the newest `kept` attempts. [`Store::log_segment`] calls it now and then.
    pub async fn keep_segments(&self, kept: u32) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM segments WHERE at <= (SELECT at FROM segments ORDER BY at DESC LIMIT 1 OFFSET $1)")
            .bind(i64::from(kept))
            .execute(&self.write)
            .await
            .map_err(db("pruning segments"))?;
        Ok(())
    }

    /// The last `limit` attempts, newest first.
    pub async fn recent_segments(&self, limit: u32) -> Result<Vec<SegmentRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM segments ORDER BY at DESC, seq DESC LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await
            .map_err(db("listing segments"))?;
        let rows = rows.iter().map(Columns).map(|row| {
            Ok(SegmentRow {
                at_ms: row.u64("at")?,
                stream: row.b256("stream")?,
                seq: row.u64("seq")?,
                attempt: row.u32("attempt")?,
                worker: row.address("worker")?,
                worker_name: row.text("worker_name")?,
                result: row.text("result")?,
                fault: row.optional_text("fault")?,
                latency_ms: row.u64("latency_ms")?,
                paid: row.u256("paid")?,
                payer: row.address("payer")?,
                payee: row.address("payee")?,
            })
        });
        rows.collect()
    }

    /// Suspends a worker, or changes its suspension.
    pub async fn suspend(&self, suspension: &Suspension) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO suspensions (worker, reason, at, until) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (worker) DO UPDATE SET reason = $2, at = $3, until = $4",
        )
        .bind(suspension.worker.as_slice())
        .bind(&suspension.reason)
        .bind(big(suspension.at_ms))
        .bind(big(suspension.until_ms))
        .execute(&self.write)
        .await
        .map_err(db("suspending a worker"))?;
        Ok(())
    }

    /// Ends a worker's suspension.
    pub async fn unsuspend(&self, worker: Address) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM suspensions WHERE worker = $1")
            .bind(worker.as_slice())
            .execute(&self.write)
            .await
            .map_err(db("ending a suspension"))?;
        Ok(())
    }

    /// The suspensions in force at `now_ms`.
    pub async fn suspensions(&self, now_ms: u64) -> Result<Vec<Suspension>, StoreError> {
        let rows = sqlx::query("SELECT worker, reason, at, until FROM suspensions WHERE until > $1")
            .bind(big(now_ms))
            .fetch_all(&self.read)
            .await
            .map_err(db("listing suspensions"))?;
        let rows = rows.iter().map(Columns).map(|row| {
            Ok(Suspension {
                worker: row.address("worker")?,
                reason: row.text("reason")?,
                at_ms: row.u64("at")?,
                until_ms: row.u64("until")?,
            })
        });
        rows.collect()
    }
}
