//! The door of a running node's API: its tokens are in the database, and contract wallets on the chain.

use std::str::FromStr;
use std::sync::Arc;

use alloy::primitives::{Address, B256};
use futures::future::BoxFuture;
use millrace_hop::account::{AccountError, parse};
use millrace_hop::{Account, unix_now_ms};
use millrace_node::http::Access;
use millrace_node::http::access::{Authority, Door, Power};
use millrace_node::sections::NodeConfig;
use tracing::warn;

/// Opens it: to the owners that the configuration names, to the node's own account, and to the payer that it spends for.
pub fn open(node: &NodeConfig, account: &Arc<Account>) -> Result<Arc<Access>, AccountError> {
    let mut owners = vec![account.address(), account.purse.payer()];
    for owner in &node.owners {
        owners.push(parse("node.owners", owner)?);
    }
    let door = Door {
        name: node.name.clone(),
        node: account.address(),
        owners,
        hosts: node.hosts.clone(),
        chain_id: account.chain.chain_id(),
        spare_loopback: true,
    };
    Ok(Access::new(door, Records(account.clone())))
}

struct Records(Arc<Account>);

impl Authority for Records {
    fn token(&self, hash: B256) -> BoxFuture<'_, Result<Option<(String, Power)>, String>> {
        Box::pin(async move {
            let store = &self.0.store;
            let row = store.api_token(hash).await.map_err(|error| error.to_string())?;
            let Some(row) = row.filter(|row| row.revoked_ms.is_none()) else { return Ok(None) };
            if let Err(error) = store.use_api_token(&row, unix_now_ms()).await {
                warn!(%error, token = row.name, "the use of a token is not noted"); // only people read it
            }
            let power = Power::from_str(&row.role)?;
            Ok(Some((row.name, power)))
        })
    }

    fn signed_by_contract(
        &self,
        account: Address,
        hash: B256,
        signature: Vec<u8>,
    ) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            let asked = self.0.chain.signed_by_contract(account, hash, signature.into()).await;
            asked.map_err(|error| error.to_string())
        })
    }
}
