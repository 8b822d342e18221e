//! One signer's transactions: simulated, priced, numbered and sent one at a time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use alloy::consensus::TxEnvelope;
use alloy::eips::eip2718::Encodable2718;
use alloy::network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::TransportError;

use super::{ChainError, Mined};

/// Bound on one RPC call. Public endpoints answer within one or two seconds, or not at all.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Bound on waiting for one's turn to send: a few transactions of others ahead, each of four slow calls.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// First and longest pause between two looks for a receipt: an embedded chain mines at once, a real one in seconds.
const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Spare gas over the simulation, as a divisor: a fifth. State may move between the simulation and the block.
const SPARE_GAS: u64 = 5;

/// Held by whoever of a signer's clients is sending.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The turns of this process, by chain and signer: two clients with one key share its nonces. As many as it has keys.
static TURNS: LazyLock<Mutex<HashMap<(u64, Address), Turn>>> = LazyLock::new(Default::default);

/// A signer on a chain.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) provider: DynProvider,
    pub(super) address: Address,
    pub(super) chain_id: u64,
    wallet: EthereumWallet,
    turn: Turn,
}

/// Awaits a call for at most [`CALL_TIMEOUT`].
pub(super) async fn timed<T>(
    what: &'static str,
    call: impl IntoFuture<Output = Result<T, TransportError>>,
) -> Result<T, ChainError> {
    bounded(what, CALL_TIMEOUT, call.into_future()).await?.map_err(|error| ChainError::transport(what, &error))
}

/// The same for a contract's view.
pub(super) async fn viewed<T>(
    what: &'static str,
    call: impl IntoFuture<Output = Result<T, alloy::contract::Error>>,
) -> Result<T, ChainError> {
    bounded(what, CALL_TIMEOUT, call.into_future()).await?.map_err(|error| ChainError::contract(what, error))
}

async fn bounded<T>(what: &'static str, limit: Duration, future: impl Future<Output = T>) -> Result<T, ChainError> {
    tokio::time::timeout(limit, future).await.map_err(|_| ChainError::Timeout { what, seconds: limit.as_secs() })
}

impl Sender {
    pub(super) async fn connect(rpc_url: &str, signer: PrivateKeySigner) -> Result<Self, ChainError> {
        // The HTTP client wants the process's TLS provider even for plain HTTP. Whoever was first stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = rpc_url.parse().map_err(|error| ChainError::Url {
            url: rpc_url.to_owned(),
            reason: format!("{error}; expected such as http://127.0.0.1:8545"),
        })?;
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_http(url).erased();
        let chain_id = timed("chain id", provider.get_chain_id()).await?;
        let address = signer.address();
        let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner).entry((chain_id, address)).or_default().clone();
        Ok(Self { provider, address, chain_id, wallet: EthereumWallet::from(signer), turn })
    }

    /// Simulates, prices, signs and sends; returns the hash without waiting for the block. A transaction that would
    /// revert is never sent: the contract's reason comes back instead.
    pub(super) async fn send(
        &self,
        what: &'static str,
        to: TxKind,
        input: Bytes,
        value: U256,
    ) -> Result<B256, ChainError> {
        let _turn = bounded(what, TURN_TIMEOUT, self.turn.lock()).await?;
        let request = TransactionRequest {
            from: Some(self.address),
            to: Some(to),
            value: Some(value),
            input: input.into(),
            chain_id: Some(self.chain_id),
            ..Default::default()
        };
        // The estimate runs the transaction on the newest state: it is the simulation too.
        let gas = timed(what, self.provider.estimate_gas(request.clone())).await?;
        let fees = timed(what, self.provider.estimate_eip1559_fees()).await?;
        let nonce = timed(what, self.provider.get_transaction_count(self.address).pending()).await?;
        let signed: TxEnvelope = request
            .with_gas_limit(gas.saturating_add(gas / SPARE_GAS))
            .with_max_fee_per_gas(fees.max_fee_per_gas)
            .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas)
            .with_nonce(nonce)
            .build(&self.wallet)
            .await
            .map_err(|error| ChainError::Signer(error.to_string()))?;
        let hash = *signed.tx_hash();
        // The builder that comes back would wait for the receipt; that is the caller's choice.
        let _pending = timed(what, self.provider.send_raw_transaction(&signed.encoded_2718())).await?;
        tracing::debug!(%hash, nonce, gas, what, "transaction sent");
        Ok(hash)
    }

    pub(super) async fn receipt(&self, tx: B256) -> Result<Option<Mined>, ChainError> {
        let receipt = timed("receipt", self.provider.get_transaction_receipt(tx)).await?;
        Ok(receipt.and_then(|receipt| {
            Some(Mined {
                tx,
                block: receipt.block_number?,
                success: receipt.status(),
                gas_used: receipt.gas_used,
                fee: U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price),
                contract: receipt.contract_address,
            })
        }))
    }

    pub(super) async fn wait(&self, tx: B256, within: Duration) -> Result<Mined, ChainError> {
        bounded("receipt", within, async {
            let mut pause = POLL.0;
            loop {
                if let Some(mined) = self.receipt(tx).await? {
                    return Ok(mined);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(POLL.1);
            }
        })
        .await?
    }
}
