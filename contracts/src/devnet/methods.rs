//! What each RPC method does. A method that is not here answers -32601, and clients fall back or say so.

use std::sync::Arc;

use alloy::consensus::TxEnvelope;
use alloy::consensus::transaction::SignerRecoverable;
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, U64, U256};
use alloy::rpc::types::{FeeHistory, Filter, FilterBlockOption, Log, TransactionRequest};
use alloy::sol_types::{Revert, SolError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ledger::{self, Block, Ledger, LedgerError};
use super::rpc::RpcError;
use super::{Shared, now, views};

/// Blocks that one `eth_getLogs` looks through, and logs that it gives: as public endpoints bound it.
const MAX_LOG_BLOCKS: u64 = 10_000;
const MAX_LOGS: usize = 10_000;

/// Blocks in one fee history, as the specification bounds it, and percentiles.
const MAX_FEE_BLOCKS: u64 = 1024;
const MAX_PERCENTILES: usize = 100;

/// Blocks that one `evm_mine` mines.
const MAX_MINE: u64 = 1000;

/// Tip that is suggested, wei per gas: blocks are never full, but some wallets take zero for an error.
const TIP: u64 = 1;

type Answer = Result<Value, RpcError>;

/// Parameters by position.
struct Params(Vec<Value>);

impl Params {
    fn get<T: DeserializeOwned>(&mut self, at: usize, name: &str) -> Result<T, RpcError> {
        self.optional(at, name)?
            .ok_or_else(|| RpcError::new(RpcError::INVALID_PARAMS, format!("parameter {at} ({name}) is missing")))
    }

    fn optional<T: DeserializeOwned>(&mut self, at: usize, name: &str) -> Result<Option<T>, RpcError> {
        match self.0.get_mut(at).map(Value::take) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| RpcError::new(RpcError::INVALID_PARAMS, format!("parameter {at} ({name}): {error}"))),
        }
    }

    /// Whether the parameter is this string.
    fn is(&self, at: usize, text: &str) -> bool {
        self.0.get(at).is_some_and(|value| value == text)
    }

    /// A number as tools give it: 60, "60" or "0x3c".
    fn number(&mut self, at: usize, name: &str) -> Result<Option<u64>, RpcError> {
        Ok(self.optional::<U64>(at, name)?.map(|number| number.to()))
    }
}

pub(super) fn call(shared: &Shared, method: &str, params: Vec<Value>) -> Answer {
    let mut p = Params(params);
    let mut ledger = shared.ledger();
    match method {
        "eth_chainId" => show(U64::from(ledger.chain_id())),
        "net_version" => show(ledger.chain_id().to_string()),
        "net_listening" => show(true),
        "web3_clientVersion" => show(concat!("millrace-devnet/", env!("CARGO_PKG_VERSION"))),
        "eth_syncing" => show(false),
        "eth_accounts" => show([(); 0]), // keys live in wallets
        "eth_blockNumber" => show(U64::from(ledger.newest().header.number)),
        "eth_gasPrice" => show(U64::from(ledger.base_fee() + TIP)),
        "eth_maxPriorityFeePerGas" => show(U64::from(TIP)),
        "eth_feeHistory" => {
            let blocks: U64 = p.get(0, "block count")?;
            let newest = p.get(1, "newest block")?;
            fee_history(&ledger, blocks.to(), newest, p.optional(2, "percentiles")?.unwrap_or_default())
        }

        "eth_getBalance" => show(account(&ledger, &mut p, 1, |ledger, who| ledger.account(who).balance)?),
        "eth_getTransactionCount" if p.is(1, "pending") => show(U64::from(ledger.pending_nonce(p.get(0, "address")?))),
        "eth_getTransactionCount" => {
            show(account(&ledger, &mut p, 1, |ledger, who| U64::from(ledger.account(who).nonce))?)
        }
        "eth_getCode" => show(account(&ledger, &mut p, 1, Ledger::code)?),
        "eth_getStorageAt" => {
            let slot: U256 = p.get(1, "slot")?;
            show(account(&ledger, &mut p, 2, |ledger, who| B256::from(ledger.storage(who, slot)))?)
        }

        "eth_call" => {
            let request = request(&ledger, &mut p)?;
            show(ledger.call(&request, now()).map_err(refused)?.0)
        }
        "eth_estimateGas" => {
            let request = request(&ledger, &mut p)?;
            show(U64::from(ledger.estimate(&request, now()).map_err(refused)?))
        }
        "eth_sendRawTransaction" => {
            let raw: Bytes = p.get(0, "transaction")?;
            let tx = TxEnvelope::decode_2718_exact(&raw)
                .map_err(|error| RpcError::new(RpcError::INVALID_PARAMS, format!("not a transaction: {error}")))?
                .try_into_recovered()
                .map_err(|error| {
                    RpcError::new(RpcError::REJECTED, format!("its signature recovers to no one: {error}"))
                })?;
            show(ledger.send(tx, now()).map_err(refused)?)
        }

        "eth_getTransactionByHash" => {
            let found = ledger.block_of(p.get(0, "hash")?);
            show(found.and_then(|block| Some(views::transaction(block, block.mined.as_ref()?))))
        }
        "eth_getRawTransactionByHash" => {
            show(ledger.transaction(p.get(0, "hash")?).map(|tx| Bytes::from(tx.encoded_2718())))
        }
        "eth_getTransactionReceipt" => {
            let found = ledger.block_of(p.get(0, "hash")?);
            show(found.and_then(|block| Some(views::receipt(block, block.mined.as_ref()?))))
        }
        "eth_getBlockByNumber" => {
            let block = ledger.block(number(&ledger, p.get(0, "block")?));
            show_block(block, p.optional(1, "full")?)
        }
        "eth_getBlockByHash" => {
            let hash = p.get(0, "hash")?;
            show_block(ledger.block_of(hash).filter(|block| block.hash == hash), p.optional(1, "full")?)
        }
        "eth_getLogs" => show(logs(&ledger, &p.get(0, "filter")?)?),

        "evm_snapshot" => show(U64::from(ledger.snapshot())),
        "evm_revert" => show(p.number(0, "snapshot")?.is_some_and(|id| ledger.revert(id))),
        "evm_increaseTime" => show(U64::from(ledger.increase_time(p.number(0, "seconds")?.unwrap_or_default()))),
        "evm_mine" | "anvil_mine" => {
            let blocks = if method == "evm_mine" { 1 } else { p.number(0, "blocks")?.unwrap_or(1) };
            if blocks > MAX_MINE {
                return Err(RpcError::new(RpcError::LIMIT, format!("{blocks} blocks at once, at most {MAX_MINE}")));
            }
            (0..blocks).for_each(|_| ledger.mine(now(), None));
            show(U64::ZERO)
        }
        "evm_setAutomine" => {
            ledger.hold(!p.get::<bool>(0, "automine")?, now());
            Ok(Value::Null)
        }
        "anvil_reorg" => {
            let depth = p.number(0, "depth")?.unwrap_or_default();
            if !usize::try_from(depth).is_ok_and(|depth| ledger.reorg(depth, now())) {
                let message =
                    format!("a reorganisation takes 1 to {} of the newest blocks, not {depth}", ledger::KEPT_CHANGES);
                return Err(RpcError::new(RpcError::LIMIT, message));
            }
            Ok(Value::Null)
        }
        "anvil_dropTransaction" => {
            let hash = p.get(0, "hash")?;
            show((ledger.drop_waiting(Some(hash)) == 1).then_some(hash))
        }
        "anvil_dropAllTransactions" => {
            ledger.drop_waiting(None);
            Ok(Value::Null)
        }
        "anvil_setNextBlockBaseFeePerGas" => {
            ledger.set_base_fee(p.number(0, "base fee")?.unwrap_or_default(), now());
            Ok(Value::Null)
        }
        "anvil_setBalance" => {
            ledger.set_balance(p.get(0, "address")?, p.get(1, "balance")?);
            Ok(Value::Null)
        }
        _ => Err(RpcError::new(RpcError::NO_METHOD, format!("no method {method}"))),
    }
}

fn show(value: impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|error| RpcError::new(RpcError::INTERNAL, error.to_string()))
}

fn show_block(block: Option<&Arc<Block>>, full: Option<bool>) -> Answer {
    show(block.map(|block| views::block(block, full.unwrap_or(false))))
}

/// Something of the account in parameter 0, at the block in parameter `at`.
fn account<T>(ledger: &Ledger, p: &mut Params, at: usize, of: impl Fn(&Ledger, Address) -> T) -> Result<T, RpcError> {
    latest_only(ledger, p.optional(at, "block")?)?;
    Ok(of(ledger, p.get(0, "address")?))
}

fn request(ledger: &Ledger, p: &mut Params) -> Result<TransactionRequest, RpcError> {
    latest_only(ledger, p.optional(1, "block")?)?;
    if p.optional::<Value>(2, "state override")?.is_some_and(|value| value != json!({})) {
        return Err(RpcError::new(RpcError::INVALID_PARAMS, "state overrides are not known here"));
    }
    p.get(0, "transaction")
}

/// The latest state is the only one. Asking for it by its block's number or hash is asking for it too.
fn latest_only(ledger: &Ledger, block: Option<BlockId>) -> Result<(), RpcError> {
    let newest = ledger.newest();
    let is_latest = match block {
        None => true,
        Some(BlockId::Hash(hash)) => hash.block_hash == newest.hash,
        Some(BlockId::Number(BlockNumberOrTag::Earliest)) => newest.header.number == 0,
        Some(BlockId::Number(BlockNumberOrTag::Number(number))) => number == newest.header.number,
        Some(BlockId::Number(_)) => true,
    };
    if is_latest {
        return Ok(());
    }
    let message = format!("this chain keeps the latest state only: ask at \"latest\" (now {})", newest.header.number);
    Err(RpcError::new(RpcError::UNAVAILABLE, message))
}

fn number(ledger: &Ledger, tag: BlockNumberOrTag) -> u64 {
    match tag {
        BlockNumberOrTag::Number(number) => number,
        BlockNumberOrTag::Earliest => 0,
        _ => ledger.newest().header.number, // what is mined is final here
    }
}

fn logs(ledger: &Ledger, filter: &Filter) -> Result<Vec<Log>, RpcError> {
    let newest = ledger.newest().header.number;
    let (from, to) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = ledger.block_of(hash).filter(|block| block.hash == hash);
            let number = block.ok_or_else(|| RpcError::new(RpcError::UNAVAILABLE, "unknown block"))?.header.number;
            (number, number)
        }
        FilterBlockOption::Range { from_block, to_block } => (
            from_block.map_or(newest, |tag| number(ledger, tag)),
            to_block.map_or(newest, |tag| number(ledger, tag)).min(newest),
        ),
    };
    let from = from.max(ledger.oldest_number());
    if to.saturating_sub(from) >= MAX_LOG_BLOCKS {
        return Err(RpcError::new(RpcError::LIMIT, format!("more than {MAX_LOG_BLOCKS} blocks: narrow the range")));
    }
    let found: Vec<_> = (from..=to)
        .filter_map(|number| ledger.block(number))
        .flat_map(|block| views::logs(block))
        .filter(|log| filter.matches(&log.inner))
        .take(MAX_LOGS + 1)
        .collect();
    if found.len() > MAX_LOGS {
        return Err(RpcError::new(RpcError::LIMIT, format!("more than {MAX_LOGS} logs: narrow the range")));
    }
    Ok(found)
}

fn fee_history(ledger: &Ledger, blocks: u64, newest: BlockNumberOrTag, percentiles: Vec<f64>) -> Answer {
    if percentiles.len() > MAX_PERCENTILES {
        return Err(RpcError::new(RpcError::LIMIT, format!("at most {MAX_PERCENTILES} percentiles")));
    }
    let newest = number(ledger, newest).min(ledger.newest().header.number);
    let oldest = newest.saturating_sub(blocks.clamp(1, MAX_FEE_BLOCKS) - 1).max(ledger.oldest_number());
    let range: Vec<_> = (oldest..=newest).filter_map(|number| ledger.block(number)).collect();
    let base_fees = range.iter().map(|block| block.header.base_fee_per_gas.unwrap_or_default());
    let base_fees = base_fees.chain([ledger.base_fee()]).map(u128::from);
    // A block has one transaction at most, so all percentiles are its tip.
    let tips = range.iter().map(|block| block.mined.as_ref().map_or(0, |mined| views::tip(block, mined)));
    show(FeeHistory {
        base_fee_per_gas: base_fees.collect(),
        gas_used_ratio: range.iter().map(|b| b.header.gas_used as f64 / b.header.gas_limit as f64).collect(),
        oldest_block: oldest,
        reward: (!percentiles.is_empty()).then(|| tips.map(|tip| vec![tip; percentiles.len()]).collect()),
        ..FeeHistory::default()
    })
}

fn refused(error: LedgerError) -> RpcError {
    match &error {
        LedgerError::Reverted(data) => {
            let reason = Revert::abi_decode(data).map(|revert| format!(": {}", revert.reason)).unwrap_or_default();
            RpcError { code: RpcError::REVERTED, message: format!("{error}{reason}"), data: Some(json!(data)) }
        }
        LedgerError::Halted(_) | LedgerError::Invalid(_) | LedgerError::Pool(_) | LedgerError::Type(_) => {
            RpcError::new(RpcError::REJECTED, error.to_string())
        }
        LedgerError::Internal(_) => RpcError::new(RpcError::INTERNAL, error.to_string()),
    }
}
