//! The client: one signer's view of the registry and the ticket broker, and its transactions on them.
//!
//! Everything is awaited under a bound, and a transaction that the contract would refuse is not sent. What was sent and
//! whether it stays on the chain is for the caller to keep: nothing is stored here.

mod book;
mod deploy;
mod error;
mod refusal;
mod sender;
mod stake;
mod steps;

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use millrace_tickets::{Domain, Signature65, Ticket};
use serde::{Deserialize, Serialize};

use crate::bindings::TicketBroker;
pub use book::{AddressBook, BookError, CONTRACTS, Deployed};
pub use deploy::{Creation, DEFAULT_TIMELOCK, DeployError, DeployPlan, Deployment, deploy};
pub use error::{ChainError, Revert};
pub use refusal::status_name;
use sender::{Sender, timed, viewed};
use stake::narrow;
pub use stake::{CHECKER, EPOCH, NodeRecord, ORCHESTRATOR, TRANSCODER, find};
pub use steps::{Quote, Step, StepError};

/// Bound on waiting for a transaction to be mined, in the calls that wait: half a dozen blocks of the slowest chain.
const MINED_TIMEOUT: Duration = Duration::from_secs(90);

/// The most winners in one transaction: some 700,000 gas, well inside a block anywhere.
const MAX_WINNERS: usize = 64;

/// Gas of redeeming one winner, and of each more in a batch, rounded up from what the tests measure.
const REDEEM_GAS: (u64, u64) = (50_000, 10_500);

/// Where the contracts are on a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// `MillraceToken.sol`, what bonds are in.
    pub token: Address,
    /// `Parameters.sol`.
    pub parameters: Address,
    /// `Registry.sol`.
    pub registry: Address,
    /// `TicketBroker.sol`, also the domain of all signatures.
    pub broker: Address,
    /// `Sampling.sol`.
    pub sampling: Address,
    /// `Disputes.sol`.
    pub disputes: Address,
}

/// The state between a payer and a payee in the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Wei that only this payee's winners can take, those that wait to be unlocked among them.
    pub locked: U256,
    /// Nonce of the last ticket redeemed.
    pub last_nonce: u64,
    /// Wei that the payer may withdraw from `unlock_at` on. A payee does not count on them for new tickets.
    pub pending_unlock: U256,
    /// Unix seconds; `None` when no unlock is pending.
    pub unlock_at: Option<u64>,
}

/// A winner to redeem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redemption {
    /// The ticket.
    pub ticket: Ticket,
    /// What its `payeeCommit` commits to.
    pub payee_rand: B256,
    /// The payer's.
    pub signature: Signature65,
}

/// A transaction in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mined {
    /// Its hash.
    pub tx: B256,
    /// The block's number.
    pub block: u64,
    /// Whether it did what it should; a transaction that reverted in its block did nothing but cost gas.
    pub success: bool,
    /// Gas units.
    pub gas_used: u64,
    /// What it cost, wei.
    pub fee: U256,
    /// The contract that it created.
    pub contract: Option<Address>,
}

/// One signer on one chain with our contracts. Cheap to clone; clones and other clients with the same key send in turn.
#[derive(Clone)]
pub struct Chain {
    sender: Sender,
    signer: PrivateKeySigner,
    contracts: Addresses,
    broker: TicketBroker::TicketBrokerInstance<DynProvider>,
}

impl Chain {
    /// Connects, and checks that there is code at both addresses.
    pub async fn connect(rpc_url: &str, contracts: Addresses, signer: PrivateKeySigner) -> Result<Self, ChainError> {
        let sender = Sender::connect(rpc_url, signer.clone()).await?;
        for (name, address) in [("registry", contracts.registry), ("ticket broker", contracts.broker)] {
            if timed("code", sender.provider.get_code_at(address)).await?.is_empty() {
                return Err(ChainError::NoContract { name, address });
            }
        }
        let broker = TicketBroker::new(contracts.broker, sender.provider.clone());
        Ok(Self { sender, signer, contracts, broker })
    }

    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.sender.chain_id
    }

    /// The signer's address.
    pub fn address(&self) -> Address {
        self.sender.address
    }

    /// Where the contracts are.
    pub fn contracts(&self) -> Addresses {
        self.contracts
    }

    /// The domain that tickets and receipts of this chain are signed in.
    pub fn domain(&self) -> Domain {
        Domain { chain_id: self.sender.chain_id, broker: self.contracts.broker }
    }

    /// Number of the newest block.
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        timed("block number", self.sender.provider.get_block_number()).await
    }

    /// Balance of an account, wei.
    pub async fn balance(&self, of: Address) -> Result<U256, ChainError> {
        timed("balance", self.sender.provider.get_balance(of)).await
    }

    /// What redeeming `winners` of one payer in one transaction costs now, wei: gas at the next block's price, from the fee history.
    pub async fn redemption_cost(&self, winners: u64) -> Result<U256, ChainError> {
        let fees = timed("fee history", self.sender.provider.estimate_eip1559_fees()).await?;
        // The maximum fee is twice the base fee and the tip, so that a transaction survives a rise. The price to expect is without the doubling.
        let price =
            fees.max_fee_per_gas.saturating_sub(fees.max_priority_fee_per_gas) / 2 + fees.max_priority_fee_per_gas;
        let gas = REDEEM_GAS.1.saturating_mul(winners.saturating_sub(1)).saturating_add(REDEEM_GAS.0);
        Ok(U256::from(gas) * U256::from(price))
    }

    /// The state between a payer and a payee.
    pub async fn pair(&self, payer: Address, payee: Address) -> Result<Pair, ChainError> {
        let pair = viewed("pair", self.broker.pair(payer, payee).call()).await?;
        let unlock_at: u64 = pair.unlockAt.to();
        Ok(Pair {
            locked: pair.locked.to(),
            last_nonce: pair.lastNonce,
            pending_unlock: pair.pendingUnlock.to(),
            unlock_at: (unlock_at != 0).then_some(unlock_at),
        })
    }

    /// Locks `amount` wei for a payee and waits until it is mined.
    pub async fn fund(&self, payee: Address, amount: U256) -> Result<Mined, ChainError> {
        self.execute("fund", self.contracts.broker, &TicketBroker::fundCall { payee }, amount).await
    }

    /// Announces that `amount` wei will be taken out of a payee's lock.
    pub async fn request_unlock(&self, payee: Address, amount: U256) -> Result<Mined, ChainError> {
        let call = TicketBroker::requestUnlockCall { payee, amount: narrow(amount)? };
        self.execute("request unlock", self.contracts.broker, &call, U256::ZERO).await
    }

    /// Takes the announcement back.
    pub async fn cancel_unlock(&self, payee: Address) -> Result<Mined, ChainError> {
        let call = TicketBroker::cancelUnlockCall { payee };
        self.execute("cancel unlock", self.contracts.broker, &call, U256::ZERO).await
    }

    /// Withdraws what has unlocked.
    pub async fn withdraw(&self, payee: Address) -> Result<Mined, ChainError> {
        let call = TicketBroker::withdrawCall { payee };
        self.execute("withdraw", self.contracts.broker, &call, U256::ZERO).await
    }

    /// Sends plain wei and waits until it is mined.
    pub async fn transfer(&self, to: Address, amount: U256) -> Result<Mined, ChainError> {
        let tx = self.sender.send("transfer", to.into(), Bytes::new(), amount).await?;
        self.mined("transfer", tx).await
    }

    /// Redeems winners, all or none, and returns the transaction's hash without waiting for it. The signer must be their
    /// payee, or a carrier that the payee named. Within a pair they must come in the order of their nonces; at most 64.
    pub async fn redeem(&self, winners: &[Redemption]) -> Result<B256, ChainError> {
        if winners.is_empty() || winners.len() > MAX_WINNERS {
            let n = winners.len();
            return Err(ChainError::Input(format!("redeem: {n} winners in one transaction, 1 to {MAX_WINNERS} go")));
        }
        let input = if let [only] = winners {
            let Ticket { payer, payee, .. } = only.ticket;
            TicketBroker::redeemCall { payer, payee, winner: compact(only) }.abi_encode()
        } else {
            let batches = winners
                .chunk_by(|a, b| (a.ticket.payer, a.ticket.payee) == (b.ticket.payer, b.ticket.payee))
                .map(|of_pair| TicketBroker::Batch {
                    payer: of_pair[0].ticket.payer,
                    payee: of_pair[0].ticket.payee,
                    winners: of_pair.iter().map(compact).collect(),
                })
                .collect();
            TicketBroker::redeemBatchCall { batches }.abi_encode()
        };
        self.sender.send("redeem", self.contracts.broker.into(), input.into(), U256::ZERO).await
    }

    /// Lets `carrier` redeem for the signer, or no longer. The money goes to the signer in any case.
    pub async fn set_carrier(&self, carrier: Address, allowed: bool) -> Result<Mined, ChainError> {
        let call = TicketBroker::setCarrierCall { carrier, allowed };
        self.execute("set carrier", self.contracts.broker, &call, U256::ZERO).await
    }

    /// What became of a transaction; `None` while it is in no block.
    pub async fn receipt(&self, tx: B256) -> Result<Option<Mined>, ChainError> {
        self.sender.receipt(tx).await
    }

    /// Waits until a transaction is in a block, for at most `within`.
    pub async fn wait(&self, tx: B256, within: Duration) -> Result<Mined, ChainError> {
        self.sender.wait(tx, within).await
    }

    async fn execute(
        &self,
        what: &'static str,
        to: Address,
        call: &impl SolCall,
        value: U256,
    ) -> Result<Mined, ChainError> {
        let tx = self.sender.send(what, to.into(), call.abi_encode().into(), value).await?;
        self.mined(what, tx).await
    }
}

/// A winner as the broker takes it: 64 bytes of signature (EIP-2098), and nothing that its batch says once.
fn compact(winner: &Redemption) -> TicketBroker::Winner {
    let Redemption { ticket, payee_rand, signature } = winner;
    let mut vs = B256::from_slice(&signature.0[32..64]);
    vs[0] |= if signature.0[64] == 28 { 0x80 } else { 0 };
    // The broker counts a ticket's life from its issue time: one that no life gives is one that it refuses.
    let life = ticket.expiry.to::<u64>().saturating_sub(ticket.nonce >> 24);
    let terms = U256::from(ticket.faceValue) << 160
        | U256::from(ticket.winProb) << 96
        | U256::from(ticket.nonce) << 32
        | U256::from(u32::try_from(life).unwrap_or(u32::MAX));
    TicketBroker::Winner {
        terms,
        payeeRand: *payee_rand,
        payerRand: ticket.payerRand,
        workHash: ticket.workHash,
        r: B256::from_slice(&signature.0[..32]),
        vs,
    }
}
