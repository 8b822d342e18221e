//! A node's account: its key on its chain with its database, and the two ends of money that stand on them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::{Addresses, Chain, ChainError, ChainOptions};
use millrace_store::{SegmentRow, Store, StoreError};
use millrace_tickets::least_face_value;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::credit::Credits;
use crate::outbox::StoredOutbox;
use crate::purse::Purse;
use crate::redeem::{Policy, Redeemer};
use crate::sampling::{Commitments, Sampling};
use crate::sign::Pen;
use crate::till::Till;
use crate::{unix_now, unix_now_ms};

/// The database's file name in the node's data folder.
pub const DATABASE: &str = "state.sqlite";

/// A node looks for itself in the registry this often: one call, and a registration that a reorganisation took is missed no longer.
pub const REGISTRY_INTERVAL: Duration = Duration::from_secs(30);

/// Winners that could not be redeemed are tried again after this long: locks are topped up and gas prices fall in minutes.
const RETRY_REFUSED: Duration = Duration::from_secs(30);

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A value of the configuration.
    #[error("{key} is {value:?}: {reason}")]
    Config {
        /// Which key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl AccountError {
    /// Whether the configuration is wrong, and not the world.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Config { .. })
    }
}

/// Reads a value of the configuration.
pub fn parse<T: std::str::FromStr>(key: &'static str, value: &str) -> Result<T, AccountError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|e: T::Err| AccountError::Config { key, value: value.to_owned(), reason: e.to_string() })
}

/// What the registry is to say of a node.
#[derive(Debug, Clone)]
pub struct Place {
    /// Bits of its roles.
    pub roles: u8,
    /// Its service URI; empty for one that only dials.
    pub uri: String,
    /// keccak256 of its TLS key.
    pub fingerprint: B256,
    /// Its own bond at least, in units of 10^-18 MILL.
    pub bond: U256,
}

/// A node's account.
pub struct Account {
    /// The node's name for people.
    pub name: String,
    /// When it was opened, unix milliseconds.
    pub started_ms: u64,
    /// Signs.
    pub pen: Pen,
    /// Pays.
    pub purse: Purse,
    /// Is paid.
    pub till: Arc<Till>,
    /// What its payers may owe.
    pub credits: Arc<Credits>,
    /// The chain.
    pub chain: Chain,
    /// The database.
    pub store: Store,
    /// The folder that all is kept in.
    pub data_dir: PathBuf,
    /// The first of the chain's endpoints, as configured.
    pub rpc_url: String,
    /// The secrets by which it samples what it is delivered.
    pub sampling: Arc<Sampling>,
    /// What its assigners are held to in their sampling.
    pub commitments: Commitments,
}

impl Account {
    /// Opens the account of `signer`: the database in `data_dir`, bound to the chain at `at` with `contracts`. A database
    /// that is bound already has its say on the endpoints: those of another chain are set aside.
    pub async fn open(
        name: &str,
        data_dir: &Path,
        at: impl Into<ChainOptions>,
        contracts: Addresses,
        signer: PrivateKeySigner,
    ) -> Result<Self, AccountError> {
        let store = Store::open(&data_dir.join(DATABASE).to_string_lossy()).await?;
        let mut at: ChainOptions = at.into();
        if at.chain_id.is_none() {
            at.chain_id = store.domain().await?.map(|domain| domain.chain_id);
        }
        let rpc_url = at.rpc_urls.first().cloned().unwrap_or_default();
        let outbox = StoredOutbox { store: store.clone(), signer: signer.address() };
        let chain = Chain::connect_with(Arc::new(outbox), at, contracts, signer.clone()).await?;
        store.bind_domain(&chain.domain()).await?;
        let pen = Pen::new(signer, chain.domain(), store.clone());
        let sampling = Arc::new(Sampling::new(chain.clone(), unix_now())?);
        Ok(Self {
            name: name.to_owned(),
            started_ms: unix_now_ms(),
            purse: Purse::new(pen.clone(), store.clone()),
            credits: Credits::new(store.clone(), chain.address()),
            till: Arc::new(Till::open(store.clone(), chain.clone()).await?),
            sampling,
            commitments: Commitments::new(chain.clone()),
            pen,
            chain,
            store,
            data_dir: data_dir.to_owned(),
            rpc_url,
        })
    }

    /// The node's address.
    pub fn address(&self) -> Address {
        self.pen.address()
    }

    /// What takes this node's winners to the chain and looks after its transactions. Every role runs one.
    pub fn redeemer(&self, batch: usize, after_s: u64) -> Redeemer {
        let policy = Policy { batch: batch as u64, after: Duration::from_secs(after_s), retry: RETRY_REFUSED };
        Redeemer::new(self.store.clone(), self.chain.clone(), self.till.clone(), policy)
    }

    /// Says so when a winner is worth little more than its redemption costs now.
    pub async fn weigh_face_value(&self, face_value: u128) {
        match self.chain.redemption_cost(1).await {
            Ok(cost) if U256::from(face_value) < least_face_value(cost) => {
                warn!(face_value, least = %least_face_value(cost), "redeeming eats into the winners: raise face_value_wei");
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "what a redemption costs is not known"),
        }
    }

    /// Registers the node, again and again until it succeeds or `stop`: without a place in the registry nobody finds it.
    pub async fn register(&self, place: &Place, stop: &CancellationToken) -> bool {
        const RETRY: Duration = Duration::from_secs(2);
        let Place { roles, uri, fingerprint, bond } = place;
        loop {
            match self.chain.register(*roles, uri, *fingerprint, *bond).await {
                Ok(()) => return true,
                Err(error) => warn!(%error, "not registered yet"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => return false,
            }
        }
    }

    /// Looks `every` so often, until `stop`, whether the registry still has the node as it was registered, and registers it again if
    /// not: a reorganisation may undo the transaction, and the next branch refuse it. A bond that was lost is not made good here.
    pub async fn keep_registered(&self, place: &Place, every: Duration, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            match self.chain.node(self.address()).await {
                Ok(Some(node))
                    if (node.roles, &node.uri, node.fingerprint) == (place.roles, &place.uri, place.fingerprint) => {}
                Ok(_) => {
                    warn!("the registry no longer has this node as it was registered: it registers again");
                    self.register(place, stop).await;
                }
                Err(error) => debug!(%error, "the registry could not be read"),
            }
        }
    }

    /// Writes what became of a segment. The journal is for people: that it cannot be written stops nothing.
    pub async fn log_segment(&self, row: SegmentRow) {
        if let Err(error) = self.store.log_segment(&row).await {
            warn!(%error, "the journal could not be written");
        }
    }
}
