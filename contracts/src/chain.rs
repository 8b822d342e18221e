//! The client: one signer's view of the registry and the ticket broker, and its transactions on them.
//!
//! Everything is awaited under a bound, and a transaction that the contract would refuse is not sent. One that is sent is in
//! an [`Outbox`] first, and stays there until it can no longer leave the chain.
//!
//! - `options`, `endpoints`: where the chain answers. `outbox`: what is on its way.
//! - `sender`: sends. `tend`: looks after what was sent. `gas`: what it costs.
//! - `steps`: any call, shown before it is made. `refusal`: why not, in words. `stake`: registry and bond. `sampling`:
//!   the secrets by which a node samples.
//! - `relay`: requests of others. `deploy`, `book`: the contracts onto a chain, and where they are.

mod book;
mod contract_wallet;
mod deploy;
mod endpoints;
mod error;
mod gas;
mod made;
mod options;
mod outbox;
mod refusal;
mod relay;
mod sampling;
mod sender;
mod stake;
mod steps;
mod tend;

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, aliases::U40};
use alloy::providers::{DynProvider, Provider};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use millrace_tickets::{Domain, Signature65, Signed, Ticket};
use serde::{Deserialize, Serialize};

use crate::bindings::TicketBroker;
pub use book::{AddressBook, BookError, CONTRACTS, Deployed};
pub use deploy::{Creation, DEFAULT_TIMELOCK, DeployError, DeployPlan, Deployment, deploy};
pub use endpoints::{EndpointFault, EndpointStatus};
pub use error::{ChainError, Revert};
pub use options::{ChainOptions, DEFAULT_CONFIRMATIONS};
pub use outbox::{Fate, Outbox, OutboxError, SignedTx, Stage, Written};
pub use refusal::status_name;
pub use relay::RelayError;
pub use sampling::{EPOCH, LAST_EPOCH, MAX_STEPS, SecretChain, links_down};
use sender::{Order, Sender, timed, viewed};
use stake::narrow;
pub use stake::{CHECKER, NodeRecord, ORCHESTRATOR, TRANSCODER, find};
pub use steps::{Amount, Quote, Step, StepError};

/// Bound on waiting for a transaction to be mined, in the calls that wait: half a dozen blocks of the slowest chain.
const MINED_TIMEOUT: Duration = Duration::from_secs(90);

/// The most winners in one transaction: some 700,000 gas, well inside a block anywhere.
const MAX_WINNERS: usize = 64;

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
    /// The block's hash.
    pub block_hash: B256,
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
    /// Connects, and checks that there is code at both addresses. What it sends is kept in memory: for programs that wait
    /// for it. A URL will do for `at`.
    pub async fn connect(
        at: impl Into<ChainOptions>,
        contracts: Addresses,
        signer: PrivateKeySigner,
    ) -> Result<Self, ChainError> {
        Self::on(Sender::connect(at, signer.clone(), None).await?, signer, contracts).await
    }

    /// The same with an outbox that outlives the process. Someone has to call [`Chain::tend`] now and then.
    pub async fn connect_with(
        outbox: Arc<dyn Outbox>,
        at: impl Into<ChainOptions>,
        contracts: Addresses,
        signer: PrivateKeySigner,
    ) -> Result<Self, ChainError> {
        Self::on(Sender::connect(at, signer.clone(), Some(outbox)).await?, signer, contracts).await
    }

    async fn on(sender: Sender, signer: PrivateKeySigner, contracts: Addresses) -> Result<Self, ChainError> {
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

    /// The endpoints, and which of them are set aside.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.sender.endpoints.status()
    }

    /// Looks once after every transaction of the outbox: sends it again where that helps, and says what has become of it.
    /// What is [`Stage::Final`] or [`Stage::Lost`] stays there until the caller has noted it and calls [`Chain::settle`].
    pub async fn tend(&self) -> Result<Vec<Fate>, ChainError> {
        self.sender.tend().await
    }

    /// Forgets a nonce whose fate was noted.
    pub async fn settle(&self, nonce: u64) -> Result<(), ChainError> {
        Ok(self.sender.outbox.settle(nonce).await?)
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
    /// Its fees never exceed the sum of their face values.
    pub async fn redeem(&self, winners: &[Redemption]) -> Result<B256, ChainError> {
        let domain = self.domain();
        let digest =
            |winner: &Redemption| Signed { body: winner.ticket.clone(), signature: winner.signature }.digest(&domain);
        let order = Order {
            what: "redeem",
            to: self.contracts.broker.into(),
            input: redeem_input(winners)?,
            value: U256::ZERO,
            worth: Some(winners.iter().map(|winner| U256::from(winner.ticket.faceValue)).sum()),
            redeems: &winners.iter().map(digest).collect::<Vec<_>>(),
            once: false,
        };
        self.sender.submit(order).await
    }

    /// What winners have brought `payee` and is not paid out yet, wei.
    pub async fn credit(&self, payee: Address) -> Result<U256, ChainError> {
        viewed("credit", self.broker.credit(payee).call()).await
    }

    /// Has `payee`'s credit paid out, to it or, if others have delegated to it, shared out by the registry; returns the
    /// transaction's hash without waiting for it. Anyone may. Its fees never exceed the credit.
    pub async fn claim(&self, payee: Address) -> Result<B256, ChainError> {
        let order = Order {
            what: "claim",
            to: self.contracts.broker.into(),
            input: TicketBroker::claimCall { payee }.abi_encode().into(),
            value: U256::ZERO,
            worth: Some(self.credit(payee).await?),
            redeems: &[],
            once: true,
        };
        self.sender.submit(order).await
    }

    /// Lets `key` sign the signer's tickets: none that expires after `expiry` (unix seconds), and of each UTC day of issue
    /// no more winners for each payee than `daily_cap` wei. These terms never change.
    pub async fn set_session_key(&self, key: Address, expiry: u64, daily_cap: U256) -> Result<Mined, ChainError> {
        let expiry = U40::from(expiry.min(U40::MAX.to()));
        let call = TicketBroker::setSessionKeyCall { key, expiry, dailyCap: narrow(daily_cap)? };
        self.execute("set session key", self.contracts.broker, &call, U256::ZERO).await
    }

    /// Ends a session key, no earlier than an unlock would be through: what it signed before stays good.
    pub async fn revoke_session_key(&self, key: Address) -> Result<Mined, ChainError> {
        let call = TicketBroker::revokeSessionKeyCall { key };
        self.execute("revoke session key", self.contracts.broker, &call, U256::ZERO).await
    }

    /// The terms of a payer's session key: expiry (unix seconds) and daily cap (wei). `None` when it is none.
    pub async fn session_key(&self, payer: Address, key: Address) -> Result<Option<(u64, U256)>, ChainError> {
        let terms = viewed("session key", self.broker.sessionKey(payer, key).call()).await?;
        Ok((!terms.expiry.is_zero()).then(|| (terms.expiry.to(), terms.dailyCap.to())))
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
        // A second call while the first is on its way, as after a restart, is the first.
        let input = call.abi_encode().into();
        let order = Order { what, to: to.into(), input, value, worth: None, redeems: &[], once: true };
        let tx = self.sender.submit(order).await?;
        self.mined(what, tx).await
    }

    async fn mined(&self, what: &'static str, tx: B256) -> Result<Mined, ChainError> {
        let mined = self.wait(tx, MINED_TIMEOUT).await?;
        if mined.success {
            Ok(mined)
        } else {
            // It passed the simulation, so the state changed in between. A new try is simulated anew and says why.
            Err(ChainError::Rpc { what, reason: format!("transaction {tx} reverted in block {}", mined.block) })
        }
    }
}

fn redeem_input(winners: &[Redemption]) -> Result<Bytes, ChainError> {
    if winners.is_empty() || winners.len() > MAX_WINNERS {
        let n = winners.len();
        return Err(ChainError::Input(format!("redeem: {n} winners in one transaction, 1 to {MAX_WINNERS} go")));
    }
    if let [only] = winners {
        let Ticket { payer, payee, .. } = only.ticket;
        return Ok(TicketBroker::redeemCall { payer, payee, winner: compact(only) }.abi_encode().into());
    }
    let batches = winners
        .chunk_by(|a, b| (a.ticket.payer, a.ticket.payee) == (b.ticket.payer, b.ticket.payee))
        .map(|of_pair| TicketBroker::Batch {
            payer: of_pair[0].ticket.payer,
            payee: of_pair[0].ticket.payee,
            winners: of_pair.iter().map(compact).collect(),
        })
        .collect();
    Ok(TicketBroker::redeemBatchCall { batches }.abi_encode().into())
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
