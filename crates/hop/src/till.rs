//! The paid end: one till per node, one pair per payer. A ticket is in the database, won or lost, before it is acknowledged
//! (`millrace_store::pairs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::{Chain, ChainError};
use millrace_store::{AcceptError, PayeePair, Store, StoreError};
use millrace_tickets::{Due, Signed, Terms, Ticket};
use tokio::sync::Mutex;

use crate::unix_now_ms;

/// How long a lock read from the chain is believed. Unlocking takes 72 h, so only our own redemptions lower it faster, and
/// those we know of.
const LOCK_TTL: Duration = Duration::from_secs(5);
/// Payers that one node may have at once; the database brings back one that was put away.
const MAX_PAYERS: usize = 1_024;

/// Why a ticket was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TillError {
    /// It is not good, or could not be written down.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lock behind it could not be read.
    #[error("the lock behind the ticket could not be read: {0}")]
    Chain(#[from] ChainError),
}

/// A ticket that was taken.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Whether it won.
    pub winner: bool,
    /// Fresh commits for the payer.
    pub commits: Vec<B256>,
}

struct Pair {
    payee: PayeePair,
    locked: U256,
    looked: Option<Instant>,
}

/// Takes tickets.
pub struct Till {
    payee: Address,
    seed: B256,
    store: Store,
    chain: Chain,
    pairs: Mutex<HashMap<Address, Arc<Mutex<Pair>>>>,
}

impl Till {
    /// The till of the chain client's account, with the commits' seed from `store`.
    pub async fn open(store: Store, chain: Chain) -> Result<Self, StoreError> {
        let seed = store.payee_seed(B256::from(rand::random::<[u8; 32]>())).await?;
        Ok(Self { payee: chain.address(), seed, store, chain, pairs: Mutex::default() })
    }

    /// Whom the tickets pay.
    pub fn payee(&self) -> Address {
        self.payee
    }

    async fn pair(&self, payer: Address) -> Result<Arc<Mutex<Pair>>, TillError> {
        let mut pairs = self.pairs.lock().await;
        if let Some(pair) = pairs.get(&payer) {
            return Ok(pair.clone());
        }
        if pairs.len() >= MAX_PAYERS {
            pairs.retain(|_, pair| Arc::strong_count(pair) > 1);
        }
        let domain = self.chain.domain();
        let payee = PayeePair::open(self.store.clone(), domain, payer, self.payee, self.seed).await?;
        let pair = Arc::new(Mutex::new(Pair { payee, locked: U256::ZERO, looked: None }));
        pairs.insert(payer, pair.clone());
        Ok(pair)
    }

    /// What `payer` has locked for us and is not taking back, wei, as the chain says now.
    pub async fn locked(&self, payer: Address) -> Result<U256, TillError> {
        let pair = self.chain.pair(payer, self.payee).await?;
        Ok(pair.locked.saturating_sub(pair.pending_unlock))
    }

    /// `n` fresh commits for `payer`, to send when it connects.
    pub async fn commits(&self, payer: Address, n: usize) -> Result<Vec<B256>, TillError> {
        let pair = self.pair(payer).await?;
        Ok(pair.lock().await.payee.commits(n).await?)
    }

    /// Takes a ticket of `payer` for `work_hash`, worth `price` wei under `terms`. On `Ok` it is on disk.
    pub async fn accept(
        &self,
        ticket: &Signed<Ticket>,
        payer: Address,
        terms: &Terms,
        work_hash: B256,
        price: U256,
    ) -> Result<Accepted, TillError> {
        let pair = self.pair(payer).await?;
        let mut pair = pair.lock().await;
        if pair.looked.is_none_or(|looked| looked.elapsed() > LOCK_TTL) {
            pair.locked = self.locked(payer).await?;
            pair.looked = Some(Instant::now());
        }
        let due = Due { work_hash, price, terms: *terms };
        let locked = pair.locked;
        let (accepted, commits) = pair.payee.accept(unix_now_ms(), ticket, &due, locked).await?;
        Ok(Accepted { winner: accepted.winner, commits })
    }

    /// Forgets what is known of `payer`'s lock, as after a redemption.
    pub async fn look_again(&self, payer: Address) {
        if let Some(pair) = self.pairs.lock().await.get(&payer).cloned() {
            pair.lock().await.looked = None;
        }
    }
}
