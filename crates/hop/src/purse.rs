//! The paying end: one purse per node, one pair per payee. A ticket is in the database before it is signed, and the same
//! work is always paid by the same bytes (`millrace_store::pairs`).

use std::collections::HashMap;
use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::{Chain, ChainError};
use millrace_store::{IssueError, PayerPair, Store, StoreError};
use millrace_tickets::payer::TICKET_TTL;
use millrace_tickets::{Due, Signed, Terms, Ticket};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::sign::Pen;
use crate::{unix_now, unix_now_ms};

/// Payees that one node may have at once; the database brings back one that was put away.
const MAX_PAYEES: usize = 1_024;

/// Why nothing was paid.
#[derive(Debug, thiserror::Error)]
pub enum PurseError {
    /// The payee has not quoted.
    #[error("{0} has not quoted terms: connect to it first")]
    Unknown(Address),
    /// No ticket could be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain refused.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The payer does not let this node sign.
    #[error(
        "{key}, this node's key, may not sign tickets of {payer} that live for a day (it may until {until}): the payer allows it by \
         `millrace wallet session-key add {key} --for 30d --daily-cap AMOUNT`; the terms of a key never change, so one that has \
         expired needs a new key"
    )]
    NoSession {
        /// Whose money it is.
        payer: Address,
        /// This node's key.
        key: Address,
        /// Unix seconds; 0 when it never could.
        until: u64,
    },
    /// The payer has locked nothing, and a session key cannot.
    #[error(
        "{payer} has nothing locked for {payee}, and this node's key cannot lock its money: the payer does so by \
         `millrace wallet fund {payee} {lock}wei`"
    )]
    NoLock {
        /// Whose money it is.
        payer: Address,
        /// For whom.
        payee: Address,
        /// What this node wants to be locked, wei.
        lock: U256,
    },
}

struct Pair {
    payer: PayerPair,
    terms: Terms,
}

/// Pays tickets.
pub struct Purse {
    pen: Pen,
    payer: Address,
    store: Store,
    pairs: Mutex<HashMap<Address, Arc<Mutex<Pair>>>>,
}

impl Purse {
    /// A purse whose tickets are signed by `pen`.
    pub fn new(pen: Pen, store: Store) -> Self {
        Self { payer: pen.address(), pen, store, pairs: Mutex::default() }
    }

    /// Spends the money of `payer` from now on: the node's key is a session key of it.
    pub fn spend_for(&mut self, payer: Address) {
        self.payer = payer;
    }

    /// Whose money it spends.
    pub fn payer(&self) -> Address {
        self.payer
    }

    /// Opens the pair with `payee` under the terms it has quoted, and queues the commits that came with them.
    pub async fn open(&self, payee: Address, terms: Terms, commits: Vec<B256>) -> Result<(), PurseError> {
        let mut pairs = self.pairs.lock().await;
        let pair = match pairs.get(&payee) {
            Some(pair) => pair.clone(),
            None => {
                if pairs.len() >= MAX_PAYEES {
                    pairs.retain(|_, pair| Arc::strong_count(pair) > 1);
                }
                let (domain, signer) = (*self.pen.domain(), self.pen.signer().clone());
                let payer = PayerPair::open_for(self.store.clone(), domain, signer, self.payer, payee).await?;
                let pair = Arc::new(Mutex::new(Pair { payer, terms }));
                pairs.insert(payee, pair.clone());
                pair
            }
        };
        drop(pairs);
        let mut pair = pair.lock().await;
        pair.terms = terms;
        pair.payer.offer_commits(commits);
        Ok(())
    }

    async fn pair(&self, payee: Address) -> Result<Arc<Mutex<Pair>>, PurseError> {
        self.pairs.lock().await.get(&payee).cloned().ok_or(PurseError::Unknown(payee))
    }

    /// The ticket that pays `work_hash`, worth `price` wei: on disk, signed, and the same whenever the same work is paid.
    pub async fn pay(&self, payee: Address, work_hash: B256, price: U256) -> Result<Signed<Ticket>, PurseError> {
        let pair = self.pair(payee).await?;
        let mut pair = pair.lock().await;
        let due = Due { work_hash, price, terms: pair.terms };
        Ok(pair.payer.issue(unix_now_ms(), &due, B256::from(rand::random::<[u8; 32]>())).await?)
    }

    /// Takes the acknowledgement of the ticket for `work_hash`, and the commits that came with it.
    pub async fn acknowledged(&self, payee: Address, work_hash: B256, commits: Vec<B256>) -> Result<(), PurseError> {
        let pair = self.pair(payee).await?;
        let mut pair = pair.lock().await;
        pair.payer.offer_commits(commits);
        Ok(pair.payer.acked(work_hash).await?)
    }

    /// The tickets that `payee` has neither acknowledged nor refused, oldest first.
    pub async fn unacknowledged(&self, payee: Address) -> Result<Vec<Signed<Ticket>>, PurseError> {
        let pair = self.pair(payee).await?;
        let pair = pair.lock().await;
        Ok(pair.payer.unacked(unix_now_ms()).await?)
    }

    /// Notes that `payee` will never take the ticket for `work_hash`: it is not sent again, and this is said once.
    pub async fn refused(&self, payee: Address, work_hash: B256, reason: &str) -> Result<(), PurseError> {
        let pair = self.pair(payee).await?;
        let pair = pair.lock().await;
        if pair.payer.refused(work_hash, reason).await? {
            warn!(%payee, work = %work_hash, reason, "a payee has refused a ticket for good");
        }
        Ok(())
    }

    /// Sees to it that at least half of `lock` is locked for `payee`, topping it up to the whole. Of another payer's money it can
    /// only say what that payer has to do.
    pub async fn keep_funded(&self, chain: &Chain, payee: Address, lock: U256) -> Result<(), PurseError> {
        let (payer, key) = (self.payer, self.pen.address());
        let pair = chain.pair(payer, payee).await?;
        let usable = pair.locked.saturating_sub(pair.pending_unlock);
        if payer != key {
            let until = chain.session_key(payer, key).await?.map_or(0, |(expiry, _)| expiry);
            if until < unix_now() + TICKET_TTL {
                return Err(PurseError::NoSession { payer, key, until });
            }
            if usable.is_zero() {
                return Err(PurseError::NoLock { payer, payee, lock });
            }
            if usable < lock / U256::from(2) {
                let missing = lock - usable;
                warn!(%payer, %payee, %usable, "the payer's lock runs low: it fills it by `millrace wallet fund {payee} {missing}wei`");
            }
            return Ok(());
        }
        if usable < lock / U256::from(2) {
            let missing = lock - usable;
            chain.fund(payee, missing).await?;
            info!(%payee, wei = %missing, "locked money for a payee");
        }
        Ok(())
    }
}
