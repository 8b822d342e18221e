//! An EVM chain in this process that answers Ethereum JSON-RPC over HTTP: for `millrace up`, where wallets, explorers and
//! our own [`crate::Chain`] use it as they would any other, and for tests, which own its clock.
//!
//! A transaction is executed and mined in a block of its own as soon as it can be; one with a later nonce, or that offers
//! less than the base fee, waits. The latest state alone is kept, and the newest [`ledger::KEPT_BLOCKS`] blocks. The base fee
//! is the genesis' and moves only when its owner moves it. What is not here: a state trie (the header's state root is zero),
//! peers, a disk.
//!
//! Its owner can make it as unpleasant as public chains are: [`Devnet::hold`], [`Devnet::drop_waiting`], [`Devnet::reorg`],
//! [`Devnet::set_base_fee`], each also by RPC under the name that anvil has for it, and [`Devnet::fail_next`].
//!
//! - `ledger`: state, blocks, execution.
//! - `views`: blocks, transactions, receipts and logs as JSON-RPC shows them.
//! - `methods`: what each RPC method does.
//! - `rpc`: HTTP, batches, errors.

mod ledger;
mod methods;
mod rpc;
mod views;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, U256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use ledger::Ledger;

/// Bound on the drain of open requests at a stop: none runs longer than a large call, well under a second.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Base fee of [`Genesis::default`], wei per gas: 1 gwei / 1000. Redemption then costs so little that the small tickets of a
/// demo are worth redeeming, and no client sees the zero that some take for a chain before EIP-1559.
pub const DEFAULT_BASE_FEE: u64 = 1_000_000;

/// Chain id of [`Genesis::default`]: the one that wallets and tools know as a local development chain.
pub const DEFAULT_CHAIN_ID: u64 = 31_337;

/// How the chain begins.
#[derive(Debug, Clone)]
pub struct Genesis {
    /// Accounts and their balances, wei.
    pub accounts: Vec<(Address, U256)>,
    /// Wei per gas, in every block.
    pub base_fee: u64,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Mine an empty block this often, so that the newest block's time moves and confirmations count up. `None`: a block
    /// comes with a transaction alone.
    pub block_time: Option<Duration>,
}

impl Default for Genesis {
    fn default() -> Self {
        Self { accounts: Vec::new(), base_fee: DEFAULT_BASE_FEE, chain_id: DEFAULT_CHAIN_ID, block_time: None }
    }
}

/// Why the chain does not start.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The address cannot be listened on.
    #[error("embedded chain: cannot listen on {addr}: {source}; is another one running there?")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A running chain. It stops when dropped; [`Devnet::stop`] also waits for it.
pub struct Devnet {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: DropGuard,
    tasks: JoinSet<()>,
}

/// The ledger behind its lock. Held for one execution at a time, never across an await.
struct Shared {
    ledger: Mutex<Ledger>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic inside an execution leaves the last committed state: the ledger changes only after it.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one clock that is read: unix seconds. The ledger takes the time as an argument.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

impl Devnet {
    /// Starts the chain and listens; port 0 takes any free one. Answers from the moment it returns.
    pub async fn start(bind: SocketAddr, genesis: Genesis) -> Result<Self, DevnetError> {
        let failed = |source| DevnetError::Bind { addr: bind, source };
        let listener = TcpListener::bind(bind).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let block_time = genesis.block_time;
        let shared = Arc::new(Shared { ledger: Mutex::new(Ledger::new(genesis, now())) });

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (app, stopped) = (rpc::router(shared.clone()), stop.clone());
        tasks.spawn(async move {
            let serving = axum::serve(listener, app).with_graceful_shutdown(stopped.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(%error, "embedded chain stopped serving");
            }
        });
        if let Some(every) = block_time {
            let (shared, stopped) = (shared.clone(), stop.clone());
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                ticks.tick().await; // the first is at once, and genesis stands for it
                while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
                    shared.ledger().mine(now(), None);
                }
            });
        }
        Ok(Self { addr, shared, stop: stop.drop_guard(), tasks })
    }

    /// Where it answers, such as `http://127.0.0.1:8545`.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Moves the chain's clock ahead and mines a block there.
    pub fn advance(&self, time: Duration) {
        let mut ledger = self.shared.ledger();
        ledger.increase_time(time.as_secs());
        ledger.mine(now(), None);
    }

    /// Mines empty blocks.
    pub fn mine(&self, blocks: u64) {
        let mut ledger = self.shared.ledger();
        (0..blocks).for_each(|_| ledger.mine(now(), None));
    }

    /// Takes transactions from now on without mining them.
    pub fn hold(&self) {
        self.shared.ledger().hold(true, now());
    }

    /// Mines those that wait, and others as they come.
    pub fn release(&self) {
        self.shared.ledger().hold(false, now());
    }

    /// How many transactions wait for a block.
    pub fn waiting(&self) -> usize {
        self.shared.ledger().waiting()
    }

    /// Forgets the transactions that wait, as a full mempool does; returns how many.
    pub fn drop_waiting(&self) -> usize {
        self.shared.ledger().drop_waiting(None)
    }

    /// Replaces the newest blocks, at most [`ledger::KEPT_CHANGES`], by a longer branch of empty ones. Their transactions wait
    /// again: on [`Devnet::hold`] they stay out, otherwise the new branch has them in its next blocks. False when there are
    /// not so many.
    pub fn reorg(&self, depth: usize) -> bool {
        self.shared.ledger().reorg(depth, now())
    }

    /// Has the next so many calls of contracts revert in their block, which costs their senders the gas: as when another
    /// transaction came first and left nothing to do for them. Zero takes that back.
    pub fn fail_next(&self, transactions: u64) {
        self.shared.ledger().fail_next(transactions);
    }

    /// The base fee of the blocks to come, wei per gas.
    pub fn set_base_fee(&self, base_fee: u64) {
        self.shared.ledger().set_base_fee(base_fee, now());
    }

    /// Stops listening, answers what is under way, and ends.
    pub async fn stop(self) {
        let Self { stop, mut tasks, .. } = self;
        stop.disarm().cancel();
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, drained).await.is_err() {
            tracing::warn!("embedded chain: open requests were cut off at its stop");
            tasks.abort_all();
        }
    }
}
