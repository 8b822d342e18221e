//! The address book of a deployment: a JSON file that `millrace deploy` writes as it goes and that nodes read. With it goes
//! the hash of each contract's code, so that a node finds out before it pays that it is on another chain than it thinks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256, keccak256};
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use serde::{Deserialize, Serialize};

use super::sender::{Sender, timed};
use super::{Addresses, ChainError, ChainOptions};

/// The contracts of a deployment in their order, as the book names them.
pub const CONTRACTS: [&str; 7] = ["token", "timelock", "parameters", "registry", "broker", "sampling", "disputes"];

/// What was deployed on a chain, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressBook {
    /// The network's name for people.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Who deployed.
    pub deployer: Address,
    /// The deployer's nonce of the first contract; the others follow one by one.
    pub first_nonce: u64,
    /// Who proposes changes to the timelock.
    pub governor: Address,
    /// Who can stop new deposits for a while.
    pub guardian: Address,
    /// Who gets the treasury's share of slashes, and the supply of a new token.
    pub treasury: Address,
    /// Seconds from a proposal to its execution.
    pub timelock_s: u64,
    /// keccak256 of the checker that disputes are decided by.
    pub checker: B256,
    /// What is there so far, by the names of [`CONTRACTS`].
    pub contracts: BTreeMap<String, Deployed>,
}

/// A contract on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployed {
    /// Where.
    pub address: Address,
    /// In which block; 0 for a token that was there before.
    pub block: u64,
    /// keccak256 of its code.
    pub code_hash: B256,
}

/// Why an address book is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The file.
    #[error("address book {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Its content.
    #[error("address book {path}: {reason}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Not all contracts are there.
    #[error(
        "the address book has no {0}: its deployment was interrupted, and millrace deploy with this book goes on with it"
    )]
    Incomplete(&'static str),
    /// The endpoint is on another chain.
    #[error(
        "the address book is of chain {book}, and the rpc endpoint is on chain {chain}: set chain.rpc_url to an endpoint of that chain"
    )]
    OtherChain {
        /// The book's.
        book: u64,
        /// The endpoint's.
        chain: u64,
    },
    /// Something else is at an address.
    #[error(
        "the {name} at {address} has code {found}, and the address book says {expected}: this is not what was deployed"
    )]
    OtherCode {
        /// Which.
        name: &'static str,
        /// Where.
        address: Address,
        /// By the book.
        expected: B256,
        /// On the chain.
        found: B256,
    },
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl AddressBook {
    /// Reads a book.
    pub fn load(path: &Path) -> Result<Self, BookError> {
        let text = std::fs::read(path).map_err(|source| BookError::Io { path: path.to_owned(), source })?;
        serde_json::from_slice(&text)
            .map_err(|error| BookError::Syntax { path: path.to_owned(), reason: error.to_string() })
    }

    /// The addresses, once all are there.
    pub fn addresses(&self) -> Result<Addresses, BookError> {
        let of = |name| self.contracts.get(name).map(|c| c.address).ok_or(BookError::Incomplete(name));
        Ok(Addresses {
            token: of("token")?,
            parameters: of("parameters")?,
            registry: of("registry")?,
            broker: of("broker")?,
            sampling: of("sampling")?,
            disputes: of("disputes")?,
        })
    }

    /// The block before which nothing of this deployment has happened.
    pub fn first_block(&self) -> u64 {
        self.contracts.values().map(|c| c.block).filter(|&block| block != 0).min().unwrap_or_default()
    }

    /// Whether the chain behind `at` is this book's, with this book's code at each address.
    pub async fn check(&self, at: impl Into<ChainOptions>) -> Result<Addresses, BookError> {
        let addresses = self.addresses()?;
        let sender = Sender::connect(at, PrivateKeySigner::random(), None).await?; // it signs nothing
        if sender.chain_id != self.chain_id {
            return Err(BookError::OtherChain { book: self.chain_id, chain: sender.chain_id });
        }
        for name in CONTRACTS {
            let Deployed { address, code_hash: expected, .. } =
                *self.contracts.get(name).ok_or(BookError::Incomplete(name))?;
            let code = timed("code", sender.provider.get_code_at(address)).await?;
            if code.is_empty() {
                return Err(ChainError::NoContract { name, address }.into());
            }
            let found = keccak256(&code);
            if found != expected {
                return Err(BookError::OtherCode { name, address, expected, found });
            }
        }
        Ok(addresses)
    }
}
