//! What a payer's session keys have spent at a payee: winners by key and day of issue, as the broker's daily cap counts them.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};
use millrace_tickets::payee::issue_day;
use millrace_tickets::payer::NONCE_COUNTER_BITS;
use millrace_tickets::{Domain, Signed};

use crate::codec::{Columns, big};
use crate::{Store, StoreError, db};

/// How far before the newest winner the others are read, in nonces: three days. Tickets of a session key are a day old at most.
const REACH: u64 = (3 * 24 * 3600) << NONCE_COUNTER_BITS;

impl Store {
    /// The face values of a pair's winners that other keys than the payer's have signed, in whatever state: day of issue, key and
    /// sum, wei. A winner that was dropped may count more than the chain does, never less.
    pub(crate) async fn spent_by_keys(
        &self,
        domain: &Domain,
        payer: Address,
        payee: Address,
    ) -> Result<Vec<(u64, Address, U256)>, StoreError> {
        // Bounded: what three days of locks have paid.
        let rows = sqlx::query(
            "SELECT t.body, t.signature FROM winners w JOIN tickets_received t ON t.digest = w.digest \
             WHERE w.payer = $1 AND w.payee = $2 AND w.nonce > \
             (SELECT MAX(nonce) FROM winners WHERE payer = $1 AND payee = $2) - $3",
        )
        .bind(payer.as_slice())
        .bind(payee.as_slice())
        .bind(big(REACH))
        .fetch_all(&self.read)
        .await
        .map_err(db("reading what session keys have spent"))?;
        let mut spent: BTreeMap<(u64, Address), U256> = BTreeMap::new();
        for row in rows.iter().map(Columns) {
            let signed = Signed { body: row.ticket("body")?, signature: row.signature("signature")? };
            let key = signed.recover(domain).map_err(|_| StoreError::Corrupt("tickets_received.signature"))?;
            if key != payer {
                let spent = spent.entry((issue_day(signed.body.nonce), key)).or_default();
                *spent = spent.saturating_add(U256::from(signed.body.faceValue));
            }
        }
        Ok(spent.into_iter().map(|((day, key), wei)| (day, key, wei)).collect())
    }
}
