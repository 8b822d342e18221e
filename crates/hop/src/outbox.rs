//! The node's transactions on their way, in its database (`millrace_store::outbox`).

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::{Outbox, OutboxError, SignedTx, Written};
use millrace_store::{OutboxRow, Store, StoreError};

use crate::unix_now_ms;

/// One signer's part of the table.
pub(crate) struct StoredOutbox {
    pub(crate) store: Store,
    pub(crate) signer: Address,
}

fn failed(error: StoreError) -> OutboxError {
    OutboxError(error.to_string())
}

impl Outbox for StoredOutbox {
    fn write<'a>(&'a self, tx: &'a SignedTx, redeems: &'a [B256]) -> Written<'a, ()> {
        let SignedTx { nonce, hash, what, raw, fee_cap } = tx.clone();
        let row = OutboxRow { hash, nonce, what, raw: raw.to_vec(), fee_cap: U256::from(fee_cap) };
        Box::pin(async move {
            self.store.write_transaction(unix_now_ms(), self.signer, &row, redeems).await.map_err(failed)
        })
    }

    fn open(&self) -> Written<'_, Vec<SignedTx>> {
        Box::pin(async {
            let rows = self.store.transactions(self.signer).await.map_err(failed)?;
            let tx = |OutboxRow { hash, nonce, what, raw, fee_cap }| SignedTx {
                nonce,
                hash,
                what,
                raw: raw.into(),
                fee_cap: fee_cap.saturating_to(),
            };
            Ok(rows.into_iter().map(tx).collect())
        })
    }

    fn settle(&self, nonce: u64) -> Written<'_, ()> {
        Box::pin(async move { self.store.forget_transaction(self.signer, nonce).await.map_err(failed) })
    }
}
