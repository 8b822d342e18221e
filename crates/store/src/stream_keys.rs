//! A broadcaster's stream keys, by their hashes. They are made and revoked by the command line while the node reads them.

use alloy::primitives::B256;

use crate::codec::{Columns, big};
use crate::{Store, StoreError, db};

/// A stream key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamKeyRow {
    /// SHA-256 of the key.
    pub hash: B256,
    /// Public name of the stream that it stands for.
    pub name: String,
    /// When it was made, unix milliseconds.
    pub created_ms: u64,
    /// When it last let a publisher in, unix milliseconds.
    pub used_ms: Option<u64>,
    /// Since when it lets nobody in any more, unix milliseconds.
    pub revoked_ms: Option<u64>,
}

impl Store {
    /// Adds a key. A hash that is there already is an error: no key is made twice.
    pub async fn add_stream_key(&self, hash: B256, name: &str, now_ms: u64) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO stream_keys (hash, name, created) VALUES ($1, $2, $3)")
            .bind(hash.as_slice())
            .bind(name)
            .bind(big(now_ms))
            .execute(&self.write)
            .await
            .map_err(db("adding a stream key"))?;
        Ok(())
    }

    /// The key with this hash, revoked or not.
    pub async fn stream_key(&self, hash: B256) -> Result<Option<StreamKeyRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM stream_keys WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(&self.read)
            .await
            .map_err(db("looking a stream key up"))?;
        row.as_ref().map(read).transpose()
    }

    /// All keys, oldest first, revoked ones too.
    pub async fn stream_keys(&self) -> Result<Vec<StreamKeyRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM stream_keys ORDER BY created, hash")
            .fetch_all(&self.read)
            .await
            .map_err(db("listing stream keys"))?;
        rows.iter().map(read).collect()
    }

    /// Whether a key was ever made here.
    pub async fn has_stream_keys(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT hash FROM stream_keys LIMIT 1").fetch_optional(&self.read).await;
        Ok(row.map_err(db("looking for stream keys"))?.is_some())
    }

    /// Notes that a key let a publisher in.
    pub async fn use_stream_key(&self, hash: B256, now_ms: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE stream_keys SET used = $2 WHERE hash = $1")
            .bind(hash.as_slice())
            .bind(big(now_ms))
            .execute(&self.write)
            .await
            .map_err(db("noting the use of a stream key"))?;
        Ok(())
    }

    /// Revokes a key for good. False when there is none with this hash, or it was revoked before.
    pub async fn revoke_stream_key(&self, hash: B256, now_ms: u64) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE stream_keys SET revoked = $2 WHERE hash = $1 AND revoked IS NULL")
            .bind(hash.as_slice())
            .bind(big(now_ms))
            .execute(&self.write)
            .await
            .map_err(db("revoking a stream key"))?;
        Ok(done.rows_affected() > 0)
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<StreamKeyRow, StoreError> {
    let row = Columns(row);
    Ok(StreamKeyRow {
        hash: row.b256("hash")?,
        name: row.text("name")?,
        created_ms: row.u64("created")?,
        used_ms: row.optional_u64("used")?,
        revoked_ms: row.optional_u64("revoked")?,
    })
}
