//! The tokens by which programs call a node's API, by their hashes. They are made and revoked by the command line while the node reads them.

use alloy::primitives::B256;

use crate::codec::{Columns, big};
use crate::{Store, StoreError, db};

/// The use of a token is noted no more often: a program that polls would otherwise write with every call.
const USED_STEP_MS: u64 = 60_000;

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenRow {
    /// keccak256 of the token.
    pub hash: B256,
    /// A name for people.
    pub name: String,
    /// `read` or `operate`.
    pub role: String,
    /// When it was made, unix milliseconds.
    pub created_ms: u64,
    /// When it last let a call in, to the minute, unix milliseconds.
    pub used_ms: Option<u64>,
    /// Since when it lets nobody in any more, unix milliseconds.
    pub revoked_ms: Option<u64>,
}

impl Store {
    /// Adds a token. A hash that is there already is an error: no token is made twice.
    pub async fn add_api_token(&self, hash: B256, name: &str, role: &str, now_ms: u64) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO api_tokens (hash, name, role, created) VALUES ($1, $2, $3, $4)")
            .bind(hash.as_slice())
            .bind(name)
            .bind(role)
            .bind(big(now_ms))
            .execute(&self.write)
            .await
            .map_err(db("adding an api token"))?;
        Ok(())
    }

    /// The token with this hash, revoked or not.
    pub async fn api_token(&self, hash: B256) -> Result<Option<ApiTokenRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM api_tokens WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(&self.read)
            .await
            .map_err(db("looking an api token up"))?;
        row.as_ref().map(read).transpose()
    }

    /// All tokens, oldest first, revoked ones too.
    pub async fn api_tokens(&self) -> Result<Vec<ApiTokenRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM api_tokens ORDER BY created, hash")
            .fetch_all(&self.read)
            .await
            .map_err(db("listing api tokens"))?;
        rows.iter().map(read).collect()
    }

    /// Notes that a token let a call in, if that is not known of this minute.
    pub async fn use_api_token(&self, token: &ApiTokenRow, now_ms: u64) -> Result<(), StoreError> {
        if token.used_ms.is_some_and(|used| now_ms < used.saturating_add(USED_STEP_MS)) {
            return Ok(());
        }
        sqlx::query("UPDATE api_tokens SET used = $2 WHERE hash = $1")
            .bind(token.hash.as_slice())
            .bind(big(now_ms))
            .execute(&self.write)
            .await
            .map_err(db("noting the use of an api token"))?;
        Ok(())
    }

    /// Revokes a token for good. False when there is none with this hash, or it was revoked before.
    pub async fn revoke_api_token(&self, hash: B256, now_ms: u64) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE api_tokens SET revoked = $2 WHERE hash = $1 AND revoked IS NULL")
            .bind(hash.as_slice())
            .bind(big(now_ms))
            .execute(&self.write)
            .await
            .map_err(db("revoking an api token"))?;
        Ok(done.rows_affected() > 0)
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<ApiTokenRow, StoreError> {
    let row = Columns(row);
    Ok(ApiTokenRow {
        hash: row.b256("hash")?,
        name: row.text("name")?,
        role: row.text("role")?,
        created_ms: row.u64("created")?,
        used_ms: row.optional_u64("used")?,
        revoked_ms: row.optional_u64("revoked")?,
    })
}
