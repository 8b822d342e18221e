//! How a call to the chain fails, and what a contract's refusal says.

use alloy::primitives::{Address, hex};
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
    /// No answer in time. A transaction may have been sent all the same: ask for its receipt before sending it again.
    #[error("{what}: no answer from the chain within {seconds} s; is the rpc endpoint up?")]
    Timeout {
        /// The call.
        what: &'static str,
        /// The bound.
        seconds: u64,
    },
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
            return Self::of_debug(&format!("{error:?}"));
        }
        if let Ok(error) = Registry::RegistryErrors::abi_decode(data) {
            return Self::of_debug(&format!("{error:?}"));
        }
        if let Ok(error) = SolRevert::abi_decode(data) {
            return Self { name: "Error".into(), detail: error.reason };
        }
        Self { name: "Unknown".into(), detail: hex::encode_prefixed(data) }
    }

    /// The generated enums print as `Name(Name { field: value, .. })`: the inner part is for people.
    fn of_debug(text: &str) -> Self {
        let (name, inner) = text.split_once('(').unwrap_or((text, ""));
        let fields = inner.strip_suffix(')').unwrap_or(inner).trim_start_matches(name);
        Self { name: name.to_owned(), detail: fields.trim_matches([' ', '{', '}']).to_owned() }
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
