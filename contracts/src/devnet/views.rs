//! Blocks, transactions, receipts and logs as JSON-RPC shows them.

use alloy::consensus::Transaction as _;
use alloy::primitives::Log as RawLog;
use alloy::rpc::types::{Block as RpcBlock, BlockTransactions, Header, Log, Transaction, TransactionReceipt};

use super::ledger::{Block, MinedTx};

/// A block, with its transactions in full or as hashes.
pub(super) fn block(block: &Block, full: bool) -> RpcBlock {
    let header = Header { hash: block.hash, inner: block.header.clone(), total_difficulty: None, size: None };
    let mined = block.mined.iter();
    let transactions = if full {
        BlockTransactions::Full(mined.map(|mined| transaction(block, mined)).collect())
    } else {
        BlockTransactions::Hashes(mined.map(|mined| *mined.tx.tx_hash()).collect())
    };
    RpcBlock::new(header, transactions)
}

pub(super) fn transaction(block: &Block, mined: &MinedTx) -> Transaction {
    Transaction {
        inner: mined.tx.clone(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: Some(0),
        effective_gas_price: Some(price(block, mined)),
        block_timestamp: Some(block.header.timestamp),
    }
}

pub(super) fn receipt(block: &Block, mined: &MinedTx) -> TransactionReceipt {
    let mut index = 0;
    let inner = mined.receipt.clone().map_logs(|raw| {
        index += 1;
        log(block, mined, index - 1, raw)
    });
    TransactionReceipt {
        inner,
        transaction_hash: *mined.tx.tx_hash(),
        transaction_index: Some(0),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: block.header.gas_used,
        effective_gas_price: price(block, mined),
        blob_gas_used: None,
        blob_gas_price: None,
        from: mined.tx.signer(),
        to: mined.tx.to(),
        contract_address: mined.contract,
    }
}

/// Every log of a block, in order.
pub(super) fn logs(block: &Block) -> impl Iterator<Item = Log> + '_ {
    block.mined.iter().flat_map(move |mined| {
        mined.receipt.logs().iter().zip(0..).map(move |(raw, index)| log(block, mined, index, raw.clone()))
    })
}

/// What the sender gave over the base fee, wei per gas.
pub(super) fn tip(block: &Block, mined: &MinedTx) -> u128 {
    price(block, mined).saturating_sub(u128::from(block.header.base_fee_per_gas.unwrap_or_default()))
}

fn price(block: &Block, mined: &MinedTx) -> u128 {
    mined.tx.effective_gas_price(block.header.base_fee_per_gas)
}

fn log(block: &Block, mined: &MinedTx, index: u64, inner: RawLog) -> Log {
    Log {
        inner,
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(*mined.tx.tx_hash()),
        transaction_index: Some(0),
        log_index: Some(index),
        removed: false,
    }
}
