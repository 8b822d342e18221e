//! One signer's transactions: simulated, priced, numbered, written to the outbox and sent, one at a time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::consensus::{TxEnvelope, TypedTransaction};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::{EthereumWallet, NetworkTransactionBuilder, NetworkWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::TransportError;

use super::endpoints::Endpoints;
use super::gas::Fees;
use super::outbox::{Memory, Outbox, Outgoing, SignedTx};
use super::tend::Watch;
use super::{ChainError, ChainOptions, Mined};

/// Bound on waiting for one's turn to send: a few transactions of others ahead, each of five slow calls.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// First and longest pause between two looks for a receipt: an embedded chain mines at once, a real one in seconds.
const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Spare gas over the simulation, as a divisor: a fifth. State may move between the simulation and the block.
const SPARE_GAS: u64 = 5;

/// How far the fees of a transaction whose worth is not known may rise over the first offer.
const FEE_RISE: u128 = 10;

/// Held by whoever of a signer's clients is sending.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The turns of this process, by chain and signer: two clients with one key share its nonces. As many as it has keys.
static TURNS: LazyLock<Mutex<HashMap<(u64, Address), Turn>>> = LazyLock::new(Default::default);

/// A signer on a chain.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) provider: DynProvider,
    pub(super) endpoints: Endpoints,
    pub(super) address: Address,
    pub(super) chain_id: u64,
    pub(super) options: ChainOptions,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) watch: Arc<Mutex<Watch>>,
    wallet: EthereumWallet,
    turn: Turn,
}

/// A transaction that is asked for.
pub(super) struct Order<'a> {
    pub(super) what: &'static str,
    pub(super) to: TxKind,
    pub(super) input: Bytes,
    pub(super) value: U256,
    /// Wei that it brings in: its fees may take no more.
    pub(super) worth: Option<U256>,
    /// Digests of the tickets that it redeems.
    pub(super) redeems: &'a [B256],
    /// Whether the same again is the one that is still on its way.
    pub(super) once: bool,
}

/// Awaits a call, which the endpoints bound, and reads its refusal.
pub(super) async fn timed<T>(
    what: &'static str,
    call: impl IntoFuture<Output = Result<T, TransportError>>,
) -> Result<T, ChainError> {
    call.await.map_err(|error| ChainError::transport(what, &error))
}

/// The same for a contract's view.
pub(super) async fn viewed<T>(
    what: &'static str,
    call: impl IntoFuture<Output = Result<T, alloy::contract::Error>>,
) -> Result<T, ChainError> {
    call.await.map_err(|error| ChainError::contract(what, error))
}

async fn bounded<T>(what: &'static str, limit: Duration, future: impl Future<Output = T>) -> Result<T, ChainError> {
    tokio::time::timeout(limit, future).await.map_err(|_| ChainError::Timeout { what, seconds: limit.as_secs() })
}

impl Sender {
    pub(super) async fn connect(
        options: impl Into<ChainOptions>,
        signer: PrivateKeySigner,
        outbox: Option<Arc<dyn Outbox>>,
    ) -> Result<Self, ChainError> {
        let options = options.into();
        let endpoints = Endpoints::connect(options.clone()).await?;
        let client = RpcClient::new(endpoints.clone(), false);
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_client(client).erased();
        let (chain_id, address) = (endpoints.chain_id(), signer.address());
        let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner).entry((chain_id, address)).or_default().clone();
        Ok(Self {
            provider,
            endpoints,
            address,
            chain_id,
            options,
            outbox: outbox.unwrap_or_else(|| Arc::new(Memory::default())),
            watch: Arc::default(),
            wallet: EthereumWallet::from(signer),
            turn,
        })
    }

    /// [`Sender::submit`] of what is worth nothing in wei and may be sent twice.
    pub(super) async fn send(
        &self,
        what: &'static str,
        to: TxKind,
        input: Bytes,
        value: U256,
    ) -> Result<B256, ChainError> {
        self.submit(Order { what, to, input, value, worth: None, redeems: &[], once: false }).await
    }

    /// Simulates, prices, numbers, signs, writes and sends; returns the hash without waiting for the block. A transaction
    /// that would revert is never sent: the contract's reason comes back instead. Once it is in a durable outbox the hash
    /// comes back even if nobody takes it just then: [`Sender::tend`] sends it again.
    pub(super) async fn submit(&self, order: Order<'_>) -> Result<B256, ChainError> {
        let Order { what, to, input, value, worth, redeems, once } = order;
        let _turn = self.turn(what).await?;
        let open = Outgoing::group(self.outbox.open().await?);
        if once && let Some(same) = open.iter().rfind(|open| open.does(to, &input, value)) {
            let mined = timed(what, self.provider.get_transaction_count(self.address)).await?;
            if same.nonce() >= mined {
                return Ok(same.newest().hash);
            }
        }
        let request = TransactionRequest {
            from: Some(self.address),
            to: Some(to),
            value: Some(value),
            input: input.into(),
            ..Default::default()
        };
        // The estimate runs the transaction on the newest state: it is the simulation too.
        let gas = timed(what, self.provider.estimate_gas(request.clone())).await?;
        let gas = gas.saturating_add(gas / SPARE_GAS);
        let fees = self.fees().await?;
        let fee_cap = match worth {
            Some(worth) => (worth / U256::from(gas.max(1))).saturating_to(),
            None => fees.max.saturating_mul(FEE_RISE),
        };
        if fee_cap < fees.expected {
            let cost = U256::from(gas) * U256::from(fees.expected);
            return Err(ChainError::TooDear { what, cost, worth: worth.unwrap_or_default() });
        }
        let fees = Fees { max: fees.max.min(fee_cap), tip: fees.tip.min(fee_cap), ..fees };
        let need = U256::from(gas) * U256::from(fees.max) + value;
        let have = timed(what, self.provider.get_balance(self.address)).await?;
        if have < need {
            return Err(ChainError::Funds { what, account: self.address, have, need });
        }
        let count = timed(what, self.provider.get_transaction_count(self.address).pending()).await?;
        let nonce = open.last().map_or(count, |last| count.max(last.nonce() + 1));
        let tx = self.sign(what, request.with_gas_limit(gas).with_nonce(nonce), fees, fee_cap).await?;
        self.outbox.write(&tx, redeems).await?;
        match self.broadcast(&tx).await {
            Err(error) if !self.outbox.durable() => {
                // "Nonce too low" may mean that it is in a block already: another endpoint was faster than this answer.
                if self.receipt(tx.hash).await?.is_some() {
                    return Ok(tx.hash);
                }
                self.outbox.settle(nonce).await?;
                Err(error)
            }
            _ => Ok(tx.hash),
        }
    }

    pub(super) async fn turn(&self, what: &'static str) -> Result<tokio::sync::MutexGuard<'_, ()>, ChainError> {
        bounded(what, TURN_TIMEOUT, self.turn.lock()).await
    }

    /// Signs a request that has its nonce and its gas limit.
    pub(super) async fn sign(
        &self,
        what: &str,
        mut request: TransactionRequest,
        fees: Fees,
        fee_cap: u128,
    ) -> Result<SignedTx, ChainError> {
        request.chain_id = Some(self.chain_id);
        let request = request.with_max_fee_per_gas(fees.max).with_max_priority_fee_per_gas(fees.tip);
        let signed = request.build(&self.wallet).await.map_err(|error| ChainError::Signer(error.to_string()))?;
        Ok(signed_tx(what, &signed, fee_cap))
    }

    /// Signs a transaction whose every field is set.
    pub(super) async fn sign_again(
        &self,
        what: &str,
        tx: TypedTransaction,
        fee_cap: u128,
    ) -> Result<SignedTx, ChainError> {
        let signed = NetworkWallet::<alloy::network::Ethereum>::sign_transaction(&self.wallet, tx).await;
        Ok(signed_tx(what, &signed.map_err(|error| ChainError::Signer(error.to_string()))?, fee_cap))
    }

    /// Sends what is written to every endpoint that is well.
    pub(super) async fn broadcast(&self, tx: &SignedTx) -> Result<(), ChainError> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).sent(tx.nonce);
        // The builder that comes back would wait for the receipt; that is the caller's choice.
        match timed("send", self.provider.send_raw_transaction(&tx.raw)).await {
            Ok(_) => tracing::debug!(hash = %tx.hash, nonce = tx.nonce, what = tx.what, "transaction sent"),
            Err(ChainError::Rpc { reason, .. }) if is_known(&reason) => {}
            Err(error) => {
                tracing::warn!(hash = %tx.hash, nonce = tx.nonce, what = tx.what, %error, "a transaction was not taken");
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) async fn receipt(&self, tx: B256) -> Result<Option<Mined>, ChainError> {
        let receipt = timed("receipt", self.provider.get_transaction_receipt(tx)).await?;
        Ok(receipt.and_then(|receipt| {
            Some(Mined {
                tx,
                block: receipt.block_number?,
                block_hash: receipt.block_hash?,
                success: receipt.status(),
                gas_used: receipt.gas_used,
                fee: U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price),
                contract: receipt.contract_address,
            })
        }))
    }

    /// Waits until a transaction, in whichever of its versions, is in a block, and looks after it meanwhile.
    pub(super) async fn wait(&self, tx: B256, within: Duration) -> Result<Mined, ChainError> {
        let waiting = async {
            let (mut pause, mut hashes, mut nonce) = (POLL.0, vec![tx], None);
            let mut tended: Option<Instant> = None;
            loop {
                if tended.is_none_or(|tended| tended.elapsed() >= self.options.stuck_after / 2) {
                    if let Some(open) = self.outgoing(tx).await? {
                        (hashes, nonce) = (open.hashes().collect(), Some(open.nonce()));
                    }
                    if tended.replace(Instant::now()).is_some()
                        && let Err(error) = self.tend().await
                    {
                        tracing::debug!(%error, %tx, "looking after a transaction failed");
                    }
                }
                for &hash in hashes.iter().rev() {
                    // A call that fails is no news of the transaction: the bound decides.
                    if let Ok(Some(mined)) = self.receipt(hash).await {
                        if let (Some(nonce), false) = (nonce, self.outbox.durable()) {
                            self.outbox.settle(nonce).await?;
                        }
                        return Ok(mined);
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(POLL.1);
            }
        };
        let late = ChainError::NotMined { tx, seconds: within.as_secs() };
        tokio::time::timeout(within, waiting).await.unwrap_or(Err(late))
    }

    async fn outgoing(&self, tx: B256) -> Result<Option<Outgoing>, ChainError> {
        let open = Outgoing::group(self.outbox.open().await?);
        Ok(open.into_iter().find(|open| open.hashes().any(|hash| hash == tx)))
    }
}

fn signed_tx(what: &str, signed: &TxEnvelope, fee_cap: u128) -> SignedTx {
    SignedTx {
        nonce: alloy::consensus::Transaction::nonce(signed),
        hash: *signed.tx_hash(),
        what: what.to_owned(),
        raw: signed.encoded_2718().into(),
        fee_cap,
    }
}

/// Every client's words for a transaction that it has.
fn is_known(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["already known", "known transaction", "already imported", "already exists"].iter().any(|w| reason.contains(w))
}
