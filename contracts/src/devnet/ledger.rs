//! The chain itself: state, blocks, execution. It reads no clock; `now` comes with each call.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, Transaction, TxEnvelope, TxReceipt};
use alloy::primitives::{Address, B256, Bytes, Log, U256};
use alloy::rpc::types::TransactionRequest;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::{CacheDB, DbAccount, EmptyDB, WrapDatabaseRef};
use revm::primitives::eip7825::TX_GAS_LIMIT_CAP;
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use revm::{Context, Database, DatabaseCommit, DatabaseRef, ExecuteEvm, MainBuilder, MainContext};

use super::Genesis;

/// Rules of execution: the newest that is live on Ethereum, and anvil's default.
const SPEC: SpecId = SpecId::OSAKA;

/// Gas in a block. One transaction takes at most 2^24 of it (EIP-7825), and so does a call.
pub(super) const BLOCK_GAS: u64 = 30_000_000;

/// Blocks kept, with their transactions and receipts: four hours of a block every two seconds, some 10 MB.
pub(super) const KEPT_BLOCKS: usize = 8192;

/// Snapshots kept: each is a copy of the whole state. The oldest goes first.
const KEPT_SNAPSHOTS: usize = 16;

/// Blocks that a reorganisation may take: what each changed is kept that long.
pub(super) const KEPT_CHANGES: usize = 64;

/// Input that no contract of ours takes: a call with it reverts.
const NO_FUNCTION: Bytes = Bytes::from_static(&[0; 4]);

/// Transactions that wait, for their turn or for a higher price.
const MAX_POOL: usize = 1024;

/// A replacement offers at least a tenth more of both fees, as in geth's pool.
const PRICE_BUMP: u128 = 10;

/// A block, with one transaction or none.
pub(super) struct Block {
    pub(super) hash: B256,
    pub(super) header: Header,
    pub(super) mined: Option<MinedTx>,
}

/// A transaction in its block.
pub(super) struct MinedTx {
    pub(super) tx: Recovered<TxEnvelope>,
    pub(super) receipt: ReceiptEnvelope<Log>,
    pub(super) contract: Option<Address>,
}

/// Why the ledger refuses.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    #[error("execution reverted")]
    Reverted(Bytes),
    #[error("execution halted: {0:?}")]
    Halted(HaltReason),
    #[error("{0}")]
    Invalid(InvalidTransaction),
    #[error("{0}")]
    Pool(String),
    #[error("transaction type {0} is not taken here: legacy, 2930 and 1559 are")]
    Type(u8),
    #[error("{0}")]
    Internal(String),
}

impl<E: std::fmt::Display> From<EVMError<E>> for LedgerError {
    fn from(error: EVMError<E>) -> Self {
        match error {
            EVMError::Transaction(error) => Self::Invalid(error),
            error => Self::Internal(error.to_string()),
        }
    }
}

/// Accounts as they were before a block; `None` for one that nothing had touched.
type Changes = Vec<(Address, Option<DbAccount>)>;

struct Snapshot {
    id: u64,
    db: CacheDB<EmptyDB>,
    newest: u64,
    offset: u64,
}

pub(super) struct Ledger {
    db: CacheDB<EmptyDB>,
    /// The newest blocks in order of their numbers, without a gap; never empty.
    blocks: VecDeque<Arc<Block>>,
    /// Block hash, or transaction hash, to block number.
    index: HashMap<B256, u64>,
    /// What each of the newest blocks changed, in their order.
    changes: VecDeque<Changes>,
    /// Transactions that wait, by sender and nonce.
    pool: BTreeMap<(Address, u64), Recovered<TxEnvelope>>,
    /// Whether transactions wait although they could be mined.
    held: bool,
    /// Transactions to come that revert in their block, whatever they are.
    failing: u64,
    /// Reorganisations so far: a block of another branch must have another hash.
    forks: u64,
    snapshots: VecDeque<Snapshot>,
    next_snapshot: u64,
    /// Seconds that the chain's clock is ahead of the wall's.
    offset: u64,
    base_fee: u64,
    chain_id: u64,
}

impl Ledger {
    pub(super) fn new(genesis: Genesis, now: u64) -> Self {
        let mut ledger = Self {
            db: CacheDB::new(EmptyDB::new()),
            blocks: VecDeque::new(),
            index: HashMap::new(),
            changes: VecDeque::new(),
            pool: BTreeMap::new(),
            held: false,
            failing: 0,
            forks: 0,
            snapshots: VecDeque::new(),
            next_snapshot: 1,
            offset: 0,
            base_fee: genesis.base_fee,
            chain_id: genesis.chain_id,
        };
        for (address, balance) in genesis.accounts {
            ledger.set_balance(address, balance);
        }
        ledger.seal(0, B256::ZERO, now, None);
        ledger
    }

    pub(super) fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(super) fn base_fee(&self) -> u64 {
        self.base_fee
    }

    pub(super) fn newest(&self) -> &Arc<Block> {
        // `new` seals the genesis block and `prune` and `revert` leave one.
        &self.blocks[self.blocks.len() - 1]
    }

    pub(super) fn oldest_number(&self) -> u64 {
        self.blocks[0].header.number
    }

    pub(super) fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(number.checked_sub(self.oldest_number())?).ok()?)
    }

    /// The block with this hash, or of the transaction with this hash.
    pub(super) fn block_of(&self, hash: B256) -> Option<&Arc<Block>> {
        self.block(*self.index.get(&hash)?)
    }

    /// A transaction, in a block or waiting.
    pub(super) fn transaction(&self, hash: B256) -> Option<&TxEnvelope> {
        let mined = self.block_of(hash).and_then(|block| block.mined.as_ref()).map(|mined| &mined.tx);
        mined
            .filter(|tx| *tx.tx_hash() == hash)
            .or_else(|| self.pool.values().find(|tx| *tx.tx_hash() == hash))
            .map(|tx| tx.inner())
    }

    pub(super) fn account(&self, address: Address) -> AccountInfo {
        self.db.basic_ref(address).unwrap_or_default().unwrap_or_default()
    }

    pub(super) fn code(&self, address: Address) -> Bytes {
        self.db.code_by_hash_ref(self.account(address).code_hash).unwrap_or_default().original_bytes()
    }

    pub(super) fn storage(&self, address: Address, slot: U256) -> U256 {
        self.db.storage_ref(address, slot).unwrap_or_default()
    }

    pub(super) fn set_balance(&mut self, address: Address, balance: U256) {
        let info = AccountInfo { balance, ..self.account(address) };
        self.db.insert_account_info(address, info);
    }

    /// The chain's clock is put ahead by `seconds`; returns by how much it now is.
    pub(super) fn increase_time(&mut self, seconds: u64) -> u64 {
        self.offset = self.offset.saturating_add(seconds);
        self.offset
    }

    /// Takes a transaction: into a block of its own at once, or into the pool when it must wait, for its turn, for a lower
    /// base fee, or because all are held. A revert is a result too.
    pub(super) fn send(&mut self, tx: Recovered<TxEnvelope>, now: u64) -> Result<B256, LedgerError> {
        if tx.tx_type() as u8 > 2 {
            return Err(LedgerError::Type(tx.tx_type() as u8));
        }
        let (hash, nonce, next) = (*tx.tx_hash(), tx.nonce(), self.account(tx.signer()).nonce);
        if nonce < next {
            return Err(LedgerError::Pool(format!("nonce too low: next nonce {next}, tx nonce {nonce}")));
        }
        if let Some(old) = self.pool.get(&(tx.signer(), nonce)) {
            let risen = |old: u128, new: u128| new >= old + old * PRICE_BUMP / 100;
            let tip = |tx: &TxEnvelope| tx.max_priority_fee_per_gas().unwrap_or(tx.max_fee_per_gas());
            if *old.tx_hash() == hash {
                return Err(LedgerError::Pool("already known".into()));
            }
            if !risen(old.max_fee_per_gas(), tx.max_fee_per_gas()) || !risen(tip(old), tip(&tx)) {
                return Err(LedgerError::Pool("replacement transaction underpriced".into()));
            }
        }
        let waits = self.held || nonce > next || tx.max_fee_per_gas() < u128::from(self.base_fee);
        if !waits {
            self.execute(tx, now)?;
        } else if self.pool.len() < MAX_POOL {
            self.pool.insert((tx.signer(), nonce), tx);
        } else {
            return Err(LedgerError::Pool(format!("txpool is full: {MAX_POOL} transactions")));
        }
        self.mine_pool(now);
        Ok(hash)
    }

    /// Mines what waits and no longer has to.
    pub(super) fn mine_pool(&mut self, now: u64) {
        let ready = |ledger: &Self| {
            let fits = |(&(from, nonce), tx): (&(Address, u64), &Recovered<TxEnvelope>)| {
                let next = ledger.account(from).nonce == nonce && tx.max_fee_per_gas() >= u128::from(ledger.base_fee);
                next.then_some((from, nonce))
            };
            ledger.pool.iter().find_map(fits)
        };
        while let Some(tx) = (!self.held).then(|| ready(self)).flatten().and_then(|at| self.pool.remove(&at)) {
            let hash = *tx.tx_hash();
            if let Err(error) = self.execute(tx, now) {
                tracing::debug!(%hash, %error, "embedded chain: a waiting transaction is no longer valid");
            }
        }
    }

    /// Holds transactions back from now on, or mines those that wait.
    pub(super) fn hold(&mut self, held: bool, now: u64) {
        self.held = held;
        self.mine_pool(now);
    }

    /// Has the next calls of contracts revert in their block, as calls do whose ground another transaction has moved.
    pub(super) fn fail_next(&mut self, transactions: u64) {
        self.failing = transactions;
    }

    /// How many transactions wait.
    pub(super) fn waiting(&self) -> usize {
        self.pool.len()
    }

    /// Forgets a waiting transaction, or all of them; returns how many.
    pub(super) fn drop_waiting(&mut self, hash: Option<B256>) -> usize {
        let before = self.pool.len();
        self.pool.retain(|_, tx| hash.is_some_and(|hash| *tx.tx_hash() != hash));
        before - self.pool.len()
    }

    /// The nonce that follows an account's transactions, those that wait among them.
    pub(super) fn pending_nonce(&self, of: Address) -> u64 {
        let mut nonce = self.account(of).nonce;
        while self.pool.contains_key(&(of, nonce)) {
            nonce += 1;
        }
        nonce
    }

    pub(super) fn set_base_fee(&mut self, base_fee: u64, now: u64) {
        self.base_fee = base_fee;
        self.mine_pool(now);
    }

    /// Replaces the newest `depth` blocks by a longer branch of empty ones. Their transactions wait again, and are mined on
    /// the new branch unless they are held. False when so many are not there, or no longer kept.
    pub(super) fn reorg(&mut self, depth: usize, now: u64) -> bool {
        if depth == 0 || depth > self.changes.len() {
            return false;
        }
        for _ in 0..depth {
            let Some(block) = self.pop_block() else { break };
            for (address, before) in self.changes.pop_back().into_iter().flatten() {
                match before {
                    Some(account) => self.db.cache.accounts.insert(address, account),
                    None => self.db.cache.accounts.remove(&address),
                };
            }
            if let Some(mined) = &block.mined {
                self.pool.insert((mined.tx.signer(), mined.tx.nonce()), mined.tx.clone());
            }
        }
        self.forks += 1;
        (0..=depth).for_each(|_| self.mine(now, None));
        self.mine_pool(now);
        true
    }

    /// Executes a transaction in a block of its own.
    fn execute(&mut self, tx: Recovered<TxEnvelope>, now: u64) -> Result<(), LedgerError> {
        let mut env = TxEnv {
            tx_type: tx.tx_type() as u8,
            caller: tx.signer(),
            gas_limit: tx.gas_limit(),
            gas_price: tx.max_fee_per_gas(),
            kind: tx.kind(),
            value: tx.value(),
            data: tx.input().clone(),
            nonce: tx.nonce(),
            chain_id: tx.chain_id(),
            access_list: tx.access_list().cloned().unwrap_or_default(),
            gas_priority_fee: tx.max_priority_fee_per_gas(),
            ..TxEnv::default()
        };
        let fails = self.failing > 0 && tx.to().is_some_and(|to| !self.code(to).is_empty());
        if fails {
            env.data = NO_FUNCTION;
        }
        let block = self.next_env(now);
        let cfg = self.cfg();
        let ResultAndState { result, state } = transact(&mut self.db, cfg, block, env)?;
        let accounts = &self.db.cache.accounts;
        self.failing -= u64::from(fails);
        let before = state.keys().map(|address| (*address, accounts.get(address).cloned())).collect();
        self.db.commit(state);
        self.mine(now, Some((tx, result)));
        self.changes.pop_back(); // of an empty block
        self.changes.push_back(before);
        Ok(())
    }

    /// Runs a call on the newest state, as the next block would, and keeps nothing. Returns its output and the gas it used.
    pub(super) fn call(&self, request: &TransactionRequest, now: u64) -> Result<(Bytes, u64), LedgerError> {
        let gas = request.gas.unwrap_or(TX_GAS_LIMIT_CAP).min(TX_GAS_LIMIT_CAP);
        let result = self.simulate(request, gas, now)?;
        let used = result.tx_gas_used();
        match result {
            ExecutionResult::Success { output, .. } => Ok((output.into_data(), used)),
            ExecutionResult::Revert { output, .. } => Err(LedgerError::Reverted(output)),
            ExecutionResult::Halt { reason, .. } => Err(LedgerError::Halted(reason)),
        }
    }

    /// The least gas limit, within 1.5 %, at which a transaction goes through. More than it uses: a call keeps back a 64th.
    pub(super) fn estimate(&self, request: &TransactionRequest, now: u64) -> Result<u64, LedgerError> {
        let mut high = request.gas.unwrap_or(TX_GAS_LIMIT_CAP).min(TX_GAS_LIMIT_CAP);
        let (_, used) = self.call(&TransactionRequest { gas: Some(high), ..request.clone() }, now)?;
        let mut low = used.saturating_sub(1);
        let mut next = ((used + 2300) * 64 / 63).min(high); // nearly always enough: what it used and what a call keeps back
        while low + 1 < high && (high - low) * 200 / high > 3 {
            if self.simulate(request, next, now).is_ok_and(|result| result.is_success()) {
                high = next;
            } else {
                low = next;
            }
            next = low.midpoint(high);
        }
        Ok(high)
    }

    /// Seals the next block, with an executed transaction or empty.
    pub(super) fn mine(&mut self, now: u64, executed: Option<(Recovered<TxEnvelope>, ExecutionResult)>) {
        let (number, time) = (self.newest().header.number + 1, self.next_time(now));
        self.seal(number, self.newest().hash, time, executed);
        self.changes.push_back(Changes::new());
        if self.changes.len() > KEPT_CHANGES {
            self.changes.pop_front();
        }
        if self.blocks.len() > KEPT_BLOCKS
            && let Some(old) = self.blocks.pop_front()
        {
            self.forget(&old);
        }
    }

    pub(super) fn snapshot(&mut self) -> u64 {
        if self.snapshots.len() == KEPT_SNAPSHOTS {
            self.snapshots.pop_front();
        }
        let id = self.next_snapshot;
        self.next_snapshot += 1;
        let newest = self.newest().header.number;
        self.snapshots.push_back(Snapshot { id, db: self.db.clone(), newest, offset: self.offset });
        id
    }

    /// Goes back to a snapshot; it and all later ones are used up. False when there is none of that number.
    pub(super) fn revert(&mut self, id: u64) -> bool {
        let Some(at) = self.snapshots.iter().position(|snapshot| snapshot.id == id) else { return false };
        let Some(snapshot) = self.snapshots.drain(at..).next() else { return false };
        if snapshot.newest < self.oldest_number() {
            return false; // its block is pruned
        }
        (self.db, self.offset) = (snapshot.db, snapshot.offset);
        while self.newest().header.number > snapshot.newest && self.pop_block().is_some() {
            self.changes.pop_back();
        }
        self.pool.clear();
        true
    }

    fn pop_block(&mut self) -> Option<Arc<Block>> {
        let block = self.blocks.pop_back()?;
        self.forget(&block);
        Some(block)
    }

    fn cfg(&self) -> CfgEnv {
        CfgEnv::new_with_spec(SPEC).with_chain_id(self.chain_id)
    }

    /// Time never runs back; blocks of the same second are allowed, as a burst must not push the clock into the future.
    fn next_time(&self, now: u64) -> u64 {
        now.saturating_add(self.offset).max(self.newest().header.timestamp)
    }

    fn next_env(&self, now: u64) -> BlockEnv {
        let mut env = BlockEnv {
            number: U256::from(self.newest().header.number + 1),
            timestamp: U256::from(self.next_time(now)),
            gas_limit: BLOCK_GAS,
            basefee: self.base_fee,
            prevrandao: Some(self.newest().hash),
            ..BlockEnv::default()
        };
        env.set_blob_excess_gas_and_price(0, revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE);
        env
    }

    fn simulate(&self, request: &TransactionRequest, gas: u64, now: u64) -> Result<ExecutionResult, LedgerError> {
        let mut cfg = self.cfg();
        (cfg.disable_base_fee, cfg.disable_nonce_check, cfg.disable_eip3607) = (true, true, true);
        let env = TxEnv {
            caller: request.from.unwrap_or_default(),
            gas_limit: gas,
            gas_price: 0, // who asks need not hold the gas money; the value it must
            kind: request.to.unwrap_or_default(),
            value: request.value.unwrap_or_default(),
            data: request.input.input().cloned().unwrap_or_default(),
            chain_id: Some(self.chain_id),
            access_list: request.access_list.clone().unwrap_or_default(),
            ..TxEnv::default()
        };
        Ok(transact(WrapDatabaseRef(&self.db), cfg, self.next_env(now), env)?.result)
    }

    fn seal(
        &mut self,
        number: u64,
        parent: B256,
        time: u64,
        executed: Option<(Recovered<TxEnvelope>, ExecutionResult)>,
    ) {
        let mined = executed.map(|(tx, result)| {
            let receipt = Receipt {
                status: Eip658Value::Eip658(result.is_success()),
                cumulative_gas_used: result.tx_gas_used(),
                logs: if result.is_success() { result.logs().to_vec() } else { Vec::new() },
            };
            let contract = result.created_address();
            let receipt = ReceiptEnvelope::from_typed(tx.tx_type(), receipt.with_bloom());
            MinedTx { tx, receipt, contract }
        });
        let receipt = mined.as_ref().map(|mined| &mined.receipt);
        let header = Header {
            parent_hash: parent,
            number,
            timestamp: time,
            gas_limit: BLOCK_GAS,
            gas_used: receipt.map_or(0, TxReceipt::cumulative_gas_used),
            base_fee_per_gas: Some(self.base_fee),
            mix_hash: parent,
            logs_bloom: receipt.map(TxReceipt::bloom).unwrap_or_default(),
            transactions_root: calculate_transaction_root(
                &mined.iter().map(|mined| mined.tx.inner().clone()).collect::<Vec<_>>(),
            ),
            receipts_root: calculate_receipt_root(&receipt.cloned().into_iter().collect::<Vec<_>>()),
            state_root: B256::ZERO,
            extra_data: if self.forks == 0 { Bytes::new() } else { self.forks.to_be_bytes().into() },
            ..Header::default()
        };
        let block = Block { hash: header.hash_slow(), header, mined };
        self.index.insert(block.hash, number);
        if let Some(mined) = &block.mined {
            self.index.insert(*mined.tx.tx_hash(), number);
        }
        self.db.cache.block_hashes.insert(U256::from(number), block.hash);
        self.blocks.push_back(Arc::new(block));
    }

    fn forget(&mut self, block: &Block) {
        self.index.remove(&block.hash);
        if let Some(mined) = &block.mined {
            self.index.remove(mined.tx.tx_hash());
        }
        self.db.cache.block_hashes.remove(&U256::from(block.header.number));
    }
}

fn transact<DB: Database>(
    db: DB,
    cfg: CfgEnv,
    block: BlockEnv,
    tx: TxEnv,
) -> Result<ResultAndState, EVMError<DB::Error>> {
    Context::mainnet().with_db(db).with_cfg(cfg).with_block(block).build_mainnet().transact(tx)
}
