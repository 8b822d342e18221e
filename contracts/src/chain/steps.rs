//! Any call of any contract: looked at, weighed, made. What a person does from the command line goes this way, step by step,
//! so that each can be shown with its cost before it is sent.

use std::time::Duration;

use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{BlockNumberOrTag, Filter, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};
use alloy::transports::TransportError;

use super::refusal::explain;
use super::sender::{Order, timed};
use super::{Chain, ChainError, Mined, Revert};
use crate::words::decimal;

/// Blocks of events asked for at once: what public endpoints answer. Where one allows fewer, the range is halved.
const EVENT_BLOCKS: u64 = 10_000;

/// Bound on one search for events: a year of blocks of 2 s at [`EVENT_BLOCKS`] takes 1,600 answers.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(300);

/// A transaction that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does, for people.
    pub what: &'static str,
    /// The contract, or who is sent coin.
    pub to: Address,
    /// Coin that goes along, wei.
    pub value: U256,
    /// The call.
    pub input: Bytes,
    /// What the call itself moves, takes or allows, where it is an amount: the input hides it from people.
    pub amount: Option<Amount>,
}

/// An amount of one of the two kinds of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Of the chain's coin, wei.
    Coin(U256),
    /// Of the token, units of 10^-18 MILL.
    Mill(U256),
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Coin(wei) => write!(f, "{} ETH", decimal(*wei)),
            Self::Mill(units) => write!(f, "{} MILL", decimal(*units)),
        }
    }
}

impl Step {
    /// A call of a contract, without coin.
    pub fn call(what: &'static str, to: Address, call: &impl SolCall) -> Self {
        Self { what, to, value: U256::ZERO, input: call.abi_encode().into(), amount: None }
    }

    /// Coin sent to an account, wei.
    pub fn send(what: &'static str, to: Address, value: U256) -> Self {
        Self { what, to, value, input: Bytes::new(), amount: None }
    }

    /// The same, saying what amount is in the call.
    pub fn of(self, amount: Amount) -> Self {
        Self { amount: Some(amount), ..self }
    }

    /// The same with coin, wei.
    pub fn paying(self, value: U256) -> Self {
        Self { value, ..self }
    }
}

/// What a step would take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Gas units.
    pub gas: u64,
    /// What they cost at the next block's price, wei.
    pub cost: U256,
}

/// Why a step cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The contract refuses, in a sentence that has its figures.
    #[error("{what}: {reason}")]
    Refused {
        /// The step.
        what: &'static str,
        /// Why.
        reason: String,
        /// The same by its name and fields.
        revert: Revert,
    },
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl From<StepError> for ChainError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Refused { what, revert, .. } => Self::Reverted { what, revert },
            StepError::Chain(error) => error,
        }
    }
}

impl Chain {
    /// The newest block's time, unix seconds: the clock that contracts go by.
    pub async fn time(&self) -> Result<u64, ChainError> {
        let what = "newest block";
        let block = timed(what, self.sender.provider.get_block_by_number(BlockNumberOrTag::Latest)).await?;
        let block = block.ok_or(ChainError::Rpc { what, reason: "the endpoint has none".into() })?;
        Ok(block.header.timestamp)
    }

    /// Asks a contract.
    pub async fn view<C: SolCall>(&self, what: &'static str, to: Address, call: &C) -> Result<C::Return, StepError> {
        let step = Step::call(what, to, call);
        let answer = self.sender.provider.call(self.request(&step));
        let answer = self.refusing(&step, answer.await).await?;
        C::abi_decode_returns(&answer).map_err(|_| {
            ChainError::Rpc {
                what,
                reason: format!("the contract at {to} answers something else: is it the right one?"),
            }
            .into()
        })
    }

    /// Simulates a step on the newest state, and weighs it. Sends nothing.
    pub async fn quote(&self, step: &Step) -> Result<Quote, StepError> {
        let gas = self.sender.provider.estimate_gas(self.request(step)).await;
        let gas = self.refusing(step, gas).await?;
        Ok(Quote { gas, cost: U256::from(gas) * self.gas_price().await? })
    }

    /// Makes a step and waits until it is mined.
    pub async fn make(&self, step: &Step) -> Result<Mined, StepError> {
        self.quote(step).await?; // for its reason, in words
        let Step { what, to, value, ref input, .. } = *step;
        let order = Order { what, to: to.into(), input: input.clone(), value, worth: None, redeems: &[], once: true };
        let tx = self.sender.submit(order).await?;
        Ok(self.mined(what, tx).await?)
    }

    /// What a unit of gas costs in the next block, wei: base fee and tip, without the head room that a transaction gets.
    pub async fn gas_price(&self) -> Result<U256, ChainError> {
        Ok(U256::from(self.sender.fees().await?.expected))
    }

    /// Events `E` of a contract from block `from` on, oldest first; `topics` are those of its indexed fields that must match.
    pub async fn events<E: SolEvent>(
        &self,
        contract: Address,
        topics: [Option<Address>; 2],
        from: u64,
    ) -> Result<Vec<E>, ChainError> {
        let search = async {
            let newest = self.block_number().await?;
            let (mut from, mut blocks, mut found) = (from, EVENT_BLOCKS, Vec::new());
            while from <= newest {
                let to = newest.min(from.saturating_add(blocks - 1));
                let mut filter = Filter::new().address(contract).event_signature(E::SIGNATURE_HASH);
                filter = filter.from_block(from).to_block(to);
                if let Some(first) = topics[0] {
                    filter = filter.topic1(first);
                }
                if let Some(second) = topics[1] {
                    filter = filter.topic2(second);
                }
                match timed("events", self.sender.provider.get_logs(&filter)).await {
                    Ok(logs) => {
                        found.extend(logs.iter().filter_map(|log| E::decode_log_data(&log.inner.data).ok()));
                        from = to + 1;
                    }
                    Err(_) if blocks > 1 => blocks /= 2,
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        };
        let seconds = EVENTS_TIMEOUT.as_secs();
        tokio::time::timeout(EVENTS_TIMEOUT, search)
            .await
            .unwrap_or(Err(ChainError::Timeout { what: "events", seconds }))
    }

    pub(super) fn request(&self, step: &Step) -> TransactionRequest {
        TransactionRequest {
            from: Some(self.address()),
            to: Some(step.to.into()),
            value: Some(step.value),
            input: step.input.clone().into(),
            ..Default::default()
        }
    }

    /// What the endpoint answered, with a contract's refusal in words.
    pub(super) async fn refusing<T>(&self, step: &Step, answer: Result<T, TransportError>) -> Result<T, StepError> {
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(data) = error.as_error_resp().and_then(|answer| answer.as_revert_data()) else {
            return Err(ChainError::transport(step.what, &error).into());
        };
        let (reason, revert) = (explain(&data, self.time().await?), Revert::decode(&data));
        Err(StepError::Refused { what: step.what, reason, revert })
    }
}
