//! The chain as it is at the end, block by block: who paid what, which winners were redeemed, what every account must hold.

use super::scene::Scene;
use crate::http::rpc;
use alloy::consensus::Transaction as _;
use alloy::primitives::{Address, B256, I256, U256, aliases::U40, aliases::U96, keccak256};
use alloy::rpc::types::{Block, TransactionReceipt};
use alloy::sol_types::{SolCall, SolEvent};
use millrace_contracts::bindings::{Registry, TicketBroker};
use millrace_tickets::{Domain, Ticket};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

/// What the chain's blocks come to.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) blocks: u64,
    pub(super) transactions: usize,
    pub(super) reverted: usize,
    /// Transactions that redeemed, and the winners in them with the digests of their tickets.
    pub(super) redemptions: usize,
    pub(super) redeemed: Vec<(B256, Ticket)>,
    /// By payer and payee.
    pub(super) locked: BTreeMap<(Address, Address), U256>,
    pub(super) taken: BTreeMap<(Address, Address), U256>,
    /// By payee.
    pub(super) claimed: HashMap<Address, U256>,
    pub(super) slashes: usize,
    pub(super) fees: U256,
    /// What each account has gained, wei, by the blocks alone.
    pub(super) gained: BTreeMap<Address, I256>,
}

fn signed(wei: U256) -> I256 {
    I256::try_from(wei).unwrap()
}

impl Ledger {
    /// Reads every block.
    pub(super) fn read(scene: &Scene) -> Self {
        let url = scene.devnet.rpc_url();
        let broker = scene.contracts.broker;
        let domain = scene.treasury.domain();
        let ask = |method: &str, params| rpc(&url, method, &params).unwrap();
        let head: U256 = serde_json::from_value(ask("eth_blockNumber", json!([]))).unwrap();
        let mut ledger = Self::default();
        for number in 0..=head.to::<u64>() {
            let block = ask("eth_getBlockByNumber", json!([U256::from(number), true]));
            let block: Option<Block> = serde_json::from_value(block).unwrap();
            let block = block.unwrap_or_else(|| panic!("block {number} is no longer kept: fewer kills, please"));
            ledger.blocks += 1;
            let base_fee = U256::from(block.header.base_fee_per_gas.unwrap());
            for transaction in block.transactions.txns() {
                let hash = *transaction.inner.tx_hash();
                let receipt = ask("eth_getTransactionReceipt", json!([hash]));
                let receipt: TransactionReceipt = serde_json::from_value(receipt).unwrap();
                ledger.transactions += 1;
                let gas = U256::from(receipt.gas_used);
                let fee = gas * U256::from(receipt.effective_gas_price);
                let tip = fee - gas * base_fee;
                ledger.fees += fee;
                ledger.gain(receipt.from, -signed(fee));
                ledger.gain(block.header.beneficiary, signed(tip));
                if !receipt.status() {
                    ledger.reverted += 1;
                    continue;
                }
                let value = transaction.value();
                if !value.is_zero() {
                    ledger.gain(receipt.from, -signed(value));
                    ledger.gain(transaction.to().unwrap(), signed(value));
                }
                if transaction.to() == Some(broker) {
                    ledger.redemption(transaction.input(), &domain);
                }
                for log in receipt.logs() {
                    ledger.event(scene, &log.inner);
                }
            }
        }
        ledger
    }

    fn gain(&mut self, account: Address, wei: I256) {
        *self.gained.entry(account).or_default() += wei;
    }

    fn event(&mut self, scene: &Scene, log: &alloy::primitives::Log) {
        let broker = scene.contracts.broker;
        if log.address == scene.contracts.registry {
            self.slashes += usize::from(Registry::Slashed::decode_log(log).is_ok());
        } else if log.address != broker {
        } else if let Ok(event) = TicketBroker::Funded::decode_log(log) {
            *self.locked.entry((event.payer, event.payee)).or_default() += event.amount;
        } else if let Ok(event) = TicketBroker::Redeemed::decode_log(log) {
            self.redemptions += 1;
            *self.taken.entry((event.payer, event.payee)).or_default() += event.amount;
        } else if let Ok(event) = TicketBroker::Claimed::decode_log(log) {
            assert!(!event.shared, "{} has no delegators, and its fees were shared", event.payee);
            *self.claimed.entry(event.payee).or_default() += event.amount;
            self.gain(broker, -signed(event.amount));
            self.gain(event.payee, signed(event.amount));
        } else {
            panic!("an event of the broker that no node here should cause: {log:?}");
        }
    }

    /// The winners in a transaction's input, as tickets.
    fn redemption(&mut self, input: &[u8], domain: &Domain) {
        if let Ok(call) = TicketBroker::redeemCall::abi_decode(input) {
            self.winner(call.payer, call.payee, &call.winner, domain);
        } else if let Ok(call) = TicketBroker::redeemBatchCall::abi_decode(input) {
            for batch in &call.batches {
                batch.winners.iter().for_each(|winner| self.winner(batch.payer, batch.payee, winner, domain));
            }
        }
    }

    fn winner(&mut self, payer: Address, payee: Address, winner: &TicketBroker::Winner, domain: &Domain) {
        let part = |shift: usize, bits: usize| (winner.terms >> shift) & ((U256::from(1) << bits) - U256::from(1));
        let nonce: u64 = part(32, 64).to();
        let ticket = Ticket {
            payer,
            payee,
            faceValue: U96::from(part(160, 96)),
            winProb: part(96, 64).to(),
            nonce,
            expiry: U40::from((nonce >> 24) + part(0, 32).to::<u64>()),
            payeeCommit: keccak256(winner.payeeRand),
            payerRand: winner.payerRand,
            workHash: winner.workHash,
        };
        self.redeemed.push((super::books::digest_of(&ticket, domain), ticket));
    }
}
