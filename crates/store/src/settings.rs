//! Small values by name, and the two that guard money: the seed of the payee's commits and the domain.

use alloy::primitives::B256;
use alloy::sol_types::SolValue;
use millrace_tickets::Domain;

use crate::codec::Columns;
use crate::{Store, StoreError, db};

impl Store {
    /// The value of `name`.
    pub async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.read)
            .await
            .map_err(db("reading a setting"))?;
        row.map(|row| Columns(&row).blob("value")).transpose()
    }

    /// Sets `name`, replacing what it had.
    pub async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2")
            .bind(name)
            .bind(value)
            .execute(&self.write)
            .await
            .map_err(db("writing a setting"))?;
        Ok(())
    }

    /// The value of `name`, which becomes `first` if it has none.
    pub async fn setting_or(&self, name: &str, first: &[u8]) -> Result<Vec<u8>, StoreError> {
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(first)
            .execute(&self.write)
            .await
            .map_err(db("writing a setting"))?;
        Ok(self.setting(name).await?.unwrap_or_else(|| first.to_vec()))
    }

    /// The secret seed of this node's commits; `fresh` (32 random bytes) becomes it on the first call ever. It never
    /// changes after: commits that are out follow from it.
    pub async fn payee_seed(&self, fresh: B256) -> Result<B256, StoreError> {
        let seed = self.setting_or("payee_seed", fresh.as_slice()).await?;
        B256::try_from(seed.as_slice()).map_err(|_| StoreError::Corrupt("settings.value"))
    }

    /// What [`Store::bind_domain`] bound the database to, if it did.
    pub async fn domain(&self) -> Result<Option<Domain>, StoreError> {
        let Some(stored) = self.setting("domain").await? else { return Ok(None) };
        let (chain_id, broker) = SolValue::abi_decode(&stored).map_err(|_| StoreError::Corrupt("settings.value"))?;
        Ok(Some(Domain { chain_id, broker }))
    }

    /// Binds the database to one chain and broker on the first call ever, and refuses any other after: tickets of one
    /// domain are worth nothing in another.
    pub async fn bind_domain(&self, domain: &Domain) -> Result<(), StoreError> {
        self.setting_or("domain", &(domain.chain_id, domain.broker).abi_encode()).await?;
        match self.domain().await? {
            Some(bound) if bound != *domain => {
                Err(StoreError::Domain(format!("chain {}, broker {}", bound.chain_id, bound.broker)))
            }
            _ => Ok(()),
        }
    }
}
