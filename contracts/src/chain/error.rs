//! How a call to the chain fails, and what a contract's refusal says.

use alloy::primitives::{Address, B256, U256, hex};
use alloy::sol_types::{Revert as SolRevert, SolError, SolInterface};
use alloy::transports::TransportError;

use crate::bindings::{Registry, TicketBroker};

/// Why a call or a transaction did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The RPC URL cannot be used.
    #[error("rpc url {url:?}: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No endpoint is right: each with its reason.
    #[error("no chain endpoint can be used: {0}")]
    NoEndpoint(String),
    /// Others of this signer's transactions were being sent for too long.
    #[error("{what}: not sent, others were before it for {seconds} s; is the rpc endpoint slow?")]
    Timeout {
        /// The call.
        what: &'static str,
        /// The bound.
        seconds: u64,
    },
    /// It was sent, and is in no block yet. It stays on its way: ask for its receipt before sending it again.
    #[error("transaction {tx} is in no block after {seconds} s; it may still come")]
    NotMined {
        /// Its hash.
        tx: B256,
        /// The bound.
        seconds: u64,
    },
    /// The account cannot pay for it: nothing was sent.
    #[error("{what}: account {account} has {have} wei and may need {need}: send it some")]
    Funds {
        /// The call.
        what: &'static str,
        /// Whose.
        account: Address,
        /// Its balance, wei.
        have: U256,
        /// Value and gas at the highest price offered, wei.
        need: U256,
    },
    /// It would cost more than it brings in: nothing was sent.
    #[error("{what}: costs {cost} wei of gas now and brings in {worth}: wait for a lower gas price")]
    TooDear {
        /// The call.
        what: &'static str,
        /// Wei.
        cost: U256,
        /// Wei.
        worth: U256,
    },
    /// The outbox could not be written or read: nothing was sent.
    #[error("{0}")]
    Outbox(String),
    /// The endpoint could not be reached, or refused for a reason that is not the contract's.
    #[error("{what}: {reason}")]
    Rpc {
        /// The call.
        what: &'static str,
        /// In the endpoint's words.
        reason: String,
    },
    /// The contract refuses. Sending the same again gives the same, unless the chain's state changes.
    #[error("{what}: refused by the contract: {revert}")]
    Reverted {
        /// The call.
        what: &'static str,
        /// The contract's reason.
        revert: Revert,
    },
    /// There is nothing at an address where a contract should be.
    #[error("no contract code for the {name} at {address}: deployed on another chain?")]
    NoContract {
        /// Which contract.
        name: &'static str,
        /// Where it was looked for.
        address: Address,
    },
    /// The key could not sign.
    #[error("signing failed: {0}")]
    Signer(String),
    /// The caller's arguments cannot be put into a transaction.
    #[error("{0}")]
    Input(String),
}

/// A contract's reason to refuse, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    /// The Solidity error's name, such as `NonceNotRising`; `Error` for a plain message; `Unknown` for another contract's.
    pub name: String,
    /// Its fields, readable.
    pub detail: String,
    /// The nonce of the ticket that it refuses, if it is about one.
    pub nonce: Option<u64>,
}

impl std::fmt::Display for Revert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.detail.is_empty() { f.write_str(&self.name) } else { write!(f, "{} ({})", self.name, self.detail) }
    }
}

impl Revert {
    /// Decodes what a call reverted with, by the errors of both contracts.
    pub fn decode(data: &[u8]) -> Self {
        if let Ok(error) = TicketBroker::TicketBrokerErrors::abi_decode(data) {
            return Self { nonce: refused(&error), ..Self::of_debug(&format!("{error:?}")) };
        }
        if let Ok(error) = Registry::RegistryErrors::abi_decode(data) {
            return Self::of_debug(&format!("{error:?}"));
        }
        if let Ok(error) = SolRevert::abi_decode(data) {
            return Self { name: "Error".into(), detail: error.reason, nonce: None };
        }
        Self { name: "Unknown".into(), detail: hex::encode_prefixed(data), nonce: None }
    }

    /// The generated enums print as `Name(Name { field: value, .. })`: the inner part is for people.
    fn of_debug(text: &str) -> Self {
        let (name, inner) = text.split_once('(').unwrap_or((text, ""));
        let fields = inner.strip_suffix(')').unwrap_or(inner).trim_start_matches(name);
        Self { name: name.to_owned(), detail: fields.trim_matches([' ', '{', '}']).to_owned(), nonce: None }
    }
}

/// The nonce of the ticket that an error of the broker is about.
fn refused(error: &TicketBroker::TicketBrokerErrors) -> Option<u64> {
    use TicketBroker::TicketBrokerErrors as E;
    match error {
        E::Expired(e) => Some(e.nonce),
        E::NonceNotRising(e) => Some(e.nonce),
        E::NonceInFuture(e) => Some(e.nonce),
        E::NotAWinner(e) => Some(e.nonce),
        E::WrongSigner(e) => Some(e.nonce),
        E::LockTooSmall(e) => Some(e.nonce),
        E::SessionKeyExpired(e) => Some(e.nonce),
        E::DailyCapExceeded(e) => Some(e.nonce),
        _ => None,
    }
}

impl From<super::OutboxError> for ChainError {
    fn from(error: super::OutboxError) -> Self {
        Self::Outbox(error.to_string())
    }
}

impl ChainError {
    /// The contract's reason, if that is why it failed.
    pub fn revert(&self) -> Option<&Revert> {
        match self {
            Self::Reverted { revert, .. } => Some(revert),
            _ => None,
        }
    }

    pub(super) fn transport(what: &'static str, error: &TransportError) -> Self {
        match error.as_error_resp() {
            Some(answer) => match answer.as_revert_data() {
                Some(data) => Self::Reverted { what, revert: Revert::decode(&data) },
                None => Self::Rpc { what, reason: answer.message.to_string() },
            },
            None => Self::Rpc { what, reason: error.to_string() },
        }
    }

    pub(super) fn contract(what: &'static str, error: alloy::contract::Error) -> Self {
        match error {
            alloy::contract::Error::TransportError(error) => Self::transport(what, &error),
            error => Self::Rpc { what, reason: error.to_string() },
        }
    }
}
