//! The paid end: one till per node, one pair per payer, whichever keys sign for it. A ticket is in the database, won or lost, before
//! it is acknowledged (`millrace_store::pairs`).

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::{Chain, ChainError};
use millrace_store::{AcceptError, PayeePair, Store, StoreError, Unpaid};
use millrace_tickets::{Backing, Due, RejectReason, SessionKey, Signed, Terms, Ticket};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::warn;

use crate::{Assigner, unix_now, unix_now_ms};

/// How long a lock read from the chain is believed. Unlocking takes 72 h, so only our own redemptions lower it faster, and
/// those we know of.
const LOCK_TTL: Duration = Duration::from_secs(5);
/// How long a session key's terms are believed. They never change; a revocation leaves the key three days.
const SESSION_TTL: Duration = Duration::from_secs(60);
/// How long the last reading is good while the chain does not answer: what a payer has not yet announced to take back it cannot
/// take for 72 h, and a ticket lives for 24, so that with this hour its winners redeem with two days to spare. A session key's
/// end is announced three days ahead.
const BELIEVED: Duration = Duration::from_secs(3600);
/// The chain is waited for so long: longer than one endpoint takes to be set aside for its silence, and less than a payer waits.
const LOOK_TIMEOUT: Duration = Duration::from_secs(8);
/// Session keys of one payer that are remembered at once.
const MAX_SESSIONS: usize = 16;
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
    /// The lock behind it, or the key that signed it, could not be read.
    #[error("what stands behind the ticket could not be read: {0}")]
    Chain(#[from] ChainError),
}

impl TillError {
    /// Whether the same ticket may be good later: the payer is asked to send it again.
    pub fn passes(&self) -> bool {
        match self {
            Self::Accept(AcceptError::Rejected(reason)) => reason.passes(),
            Self::Accept(AcceptError::Taken(_)) => false,
            Self::Accept(AcceptError::Store(_)) | Self::Store(_) | Self::Chain(_) => true,
        }
    }
}

/// A ticket that was taken.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Whether it won.
    pub winner: bool,
    /// Whether this very ticket had been taken before.
    pub again: bool,
    /// Fresh commits for the payer.
    pub commits: Vec<B256>,
}

struct Pair {
    payee: PayeePair,
    locked: Reading<U256>,
    sessions: HashMap<Address, Reading<Option<SessionKey>>>,
}

/// What the chain last said of something, and when.
struct Reading<T> {
    last: Option<(Instant, T)>,
    tried: Option<Instant>,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self { last: None, tried: None }
    }
}

impl<T: Copy> Reading<T> {
    /// The value, read anew when it, or the last attempt to read it, is older than `ttl`. While the chain is silent, what it said
    /// last is [`BELIEVED`].
    async fn get(&mut self, ttl: Duration, read: impl Future<Output = Result<T, ChainError>>) -> Result<T, ChainError> {
        let known = self.last.filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, value)| value);
        if let Some(value) = known.filter(|_| self.tried.is_some_and(|tried| tried.elapsed() <= ttl)) {
            return Ok(value);
        }
        let silent = ChainError::NoEndpoint(format!("none has answered within {} s", LOOK_TIMEOUT.as_secs()));
        let read = timeout(LOOK_TIMEOUT, read).await.unwrap_or(Err(silent));
        self.tried = Some(Instant::now());
        match (read, known) {
            (Ok(value), _) => Ok(self.last.insert((Instant::now(), value)).1),
            (Err(error), Some(value)) => {
                warn!(%error, "the chain is silent: its last word on a payer's lock or key is good for an hour");
                Ok(value)
            }
            (Err(error), None) => Err(error),
        }
    }
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
        let pair = Arc::new(Mutex::new(Pair { payee, locked: Reading::default(), sessions: HashMap::new() }));
        pairs.insert(payer, pair.clone());
        Ok(pair)
    }

    /// What `payer` has locked for us and is not taking back, wei, as the chain says now.
    pub async fn locked(&self, payer: Address) -> Result<U256, ChainError> {
        let pair = self.chain.pair(payer, self.payee).await?;
        Ok(pair.locked.saturating_sub(pair.pending_unlock))
    }

    /// The terms of a session key of `payer`, as the chain says now; `None` when `key` is none.
    pub async fn session(&self, payer: Address, key: Address) -> Result<Option<SessionKey>, ChainError> {
        let terms = self.chain.session_key(payer, key).await?;
        Ok(terms.map(|(expiry, daily_cap)| SessionKey { key, expiry, daily_cap }))
    }

    /// Whether `assigner` may spend its payer's money here, and there is some; if not, why.
    pub async fn vouch(&self, assigner: Assigner) -> Result<(), String> {
        let Assigner { address, payer } = assigner;
        let me = self.payee;
        if address != payer {
            let session = self.session(payer, address).await.map_err(|e| e.to_string())?;
            if session.is_none_or(|session| session.expiry <= unix_now()) {
                return Err(format!(
                    "{address} is no session key of {payer}, or one that has expired: the payer allows it by `millrace wallet \
                     session-key add {address} --for 30d --daily-cap AMOUNT`, or another key"
                ));
            }
        }
        if self.locked(payer).await.map_err(|e| e.to_string())?.is_zero() {
            return Err(format!("{payer} has locked no money for {me}: do so by `millrace wallet fund {me} AMOUNT`"));
        }
        Ok(())
    }

    /// `n` fresh commits for `payer`, to send when it connects.
    pub async fn commits(&self, payer: Address, n: usize) -> Result<Vec<B256>, TillError> {
        let pair = self.pair(payer).await?;
        Ok(pair.lock().await.payee.commits(n).await?)
    }

    /// Takes a ticket for `work_hash`, worth `price` wei under `terms`, that `assigner` or its payer has signed. On `Ok` it is on disk.
    pub async fn accept(
        &self,
        ticket: &Signed<Ticket>,
        assigner: impl Into<Assigner>,
        terms: &Terms,
        work_hash: B256,
        price: U256,
    ) -> Result<Accepted, TillError> {
        let assigner = assigner.into();
        let pair = self.pair(assigner.payer).await?;
        let mut pair = pair.lock().await;
        self.take(&mut pair, ticket, assigner, &Due { work_hash, price, terms: *terms }).await
    }

    /// Puts work on record whose ticket is to come.
    pub async fn expect_pay(&self, work: Vec<Unpaid>) -> Result<(), TillError> {
        Ok(self.store.expect_pay(unix_now_ms(), work).await?)
    }

    /// Takes a ticket that comes by itself, for work on record. Gives fresh commits, and the work if it was unpaid until now.
    pub async fn accept_late(
        &self,
        ticket: &Signed<Ticket>,
        assigner: Assigner,
    ) -> Result<(Vec<B256>, Option<Unpaid>), TillError> {
        let &Ticket { payer, payee, workHash: work, .. } = &ticket.body;
        if payer != assigner.payer || payee != self.payee {
            return Err(AcceptError::from(RejectReason::Pair { payer, payee }).into());
        }
        let pair = self.pair(payer).await?;
        let mut pair = pair.lock().await;
        if self.store.has_ticket(ticket.digest(&self.chain.domain())).await? {
            return Ok((pair.payee.commits(1).await?, None));
        }
        let Some(unpaid) = self.store.unpaid(payer, payee, work).await? else {
            return Err(AcceptError::from(RejectReason::Unknown(work)).into());
        };
        let accepted = self.take(&mut pair, ticket, assigner, &unpaid.due).await?;
        Ok((accepted.commits, Some(unpaid).filter(|_| !accepted.again)))
    }

    async fn take(
        &self,
        pair: &mut Pair,
        ticket: &Signed<Ticket>,
        assigner: Assigner,
        due: &Due,
    ) -> Result<Accepted, TillError> {
        let Assigner { address, payer } = assigner;
        let locked = pair.locked.get(LOCK_TTL, self.locked(payer)).await?;
        let session = if address == payer { None } else { self.session_read(pair, assigner).await? };
        let backing = Backing { locked, session };
        let (accepted, commits) = pair.payee.accept(unix_now_ms(), ticket, due, backing).await?;
        Ok(Accepted { winner: accepted.winner, again: accepted.again, commits })
    }

    async fn session_read(&self, pair: &mut Pair, assigner: Assigner) -> Result<Option<SessionKey>, ChainError> {
        let Assigner { address, payer } = assigner;
        if pair.sessions.len() >= MAX_SESSIONS && !pair.sessions.contains_key(&address) {
            pair.sessions.clear();
        }
        let reading = pair.sessions.entry(address).or_default();
        let session = reading.get(SESSION_TTL, self.session(payer, address)).await?;
        if session.is_none() {
            pair.sessions.remove(&address); // it may be allowed at any moment
        }
        Ok(session)
    }

    /// Forgets what is known of `payer`'s lock, as after a redemption.
    pub async fn look_again(&self, payer: Address) {
        if let Some(pair) = self.pairs.lock().await.get(&payer).cloned() {
            pair.lock().await.locked = Reading::default();
        }
    }
}
