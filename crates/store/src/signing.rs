//! The signing log: what may be signed only once is written before it is signed.
//!
//! After a crash the same bytes go out again. Without this, an honest crash looks like equivocation and is slashable.
//! Tickets have their own table with the same rule: see [`crate::sent`].

use alloy::primitives::hex;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolStruct, SolType, SolValue};
use millrace_tickets::{Assignment, Domain, SegmentReceipt, SignatureError, Signed, Verdict};

use crate::codec::{Columns, big};
use crate::{Store, StoreError, db};

/// How long entries are kept, milliseconds: longer than any segment's work or dispute window (24 h) goes back.
pub const SIGNING_LOG_KEPT_MS: u64 = 72 * 3600 * 1000;

/// A struct of which a node signs at most one for each scope.
pub trait SignedOnce: SolStruct + SolValue<SolType = Self> + SolType<RustType = Self> + Send + Sync {
    /// The log's name for the struct.
    const KIND: &'static str;
    /// What the struct is the only one for, besides its signer, as fixed-width words.
    fn scope(&self) -> Vec<u8>;
}

impl SignedOnce for Assignment {
    const KIND: &'static str = "assignment";
    fn scope(&self) -> Vec<u8> {
        (self.streamId, self.seq, self.attempt).abi_encode()
    }
}

impl SignedOnce for SegmentReceipt {
    const KIND: &'static str = "receipt";
    fn scope(&self) -> Vec<u8> {
        self.assignmentHash.abi_encode()
    }
}

impl SignedOnce for Verdict {
    const KIND: &'static str = "verdict";
    fn scope(&self) -> Vec<u8> {
        self.receiptHash.abi_encode()
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The log could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key could not sign.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Store {
    /// Signs `body`, or what was signed for the same scope before: compare the result's body with what was asked.
    pub async fn sign_once<T: SignedOnce>(
        &self,
        now_ms: u64,
        body: T,
        domain: &Domain,
        signer: &PrivateKeySigner,
    ) -> Result<Signed<T>, SignError> {
        let scope = [(signer.address(), domain.chain_id, domain.broker).abi_encode(), body.scope()].concat();
        let stored = self.record_once(now_ms, T::KIND, &scope, &body.abi_encode()).await?;
        let body = <T as SolType>::abi_decode(&stored).map_err(|_| StoreError::Corrupt("signing_log.body"))?;
        let signed = Signed::sign(body, domain, signer)?;
        // Whoever doubts a node can compare what it has signed, over all its lives, with what its peers hold.
        tracing::debug!(kind = T::KIND, scope = %hex::encode(scope), digest = %signed.digest(domain), "signed");
        Ok(signed)
    }

    /// Writes `body` for (`kind`, `scope`) if there is none, and returns the one that is there.
    pub async fn record_once(&self, now_ms: u64, kind: &str, scope: &[u8], body: &[u8]) -> Result<Vec<u8>, StoreError> {
        const DOING: &str = "recording what is to be signed";
        let doing = db(DOING);
        let (kind, scope, body) = (kind.to_owned(), scope.to_vec(), body.to_vec());
        let write = self.group.write(DOING, move |connection| {
            Box::pin(async move {
                let inserted = sqlx::query(
                    "INSERT INTO signing_log (kind, scope, body, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                )
                .bind(&kind)
                .bind(&scope)
                .bind(&body)
                .bind(big(now_ms))
                .execute(&mut *connection)
                .await
                .map_err(doing)?;
                if inserted.rows_affected() == 1 {
                    return Ok(body);
                }
                let row = sqlx::query("SELECT body FROM signing_log WHERE kind = $1 AND scope = $2")
                    .bind(&kind)
                    .bind(&scope)
                    .fetch_one(connection)
                    .await
                    .map_err(doing)?;
                Columns(&row).blob("body")
            })
        });
        write.await
    }
}
