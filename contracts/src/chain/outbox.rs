//! Where transactions are written before they are sent, and what each has come to.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{B256, Bytes, TxKind, U256};

use super::{ChainError, Mined};

/// One version of a transaction. Those of one nonce replace each other: at most one is ever mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTx {
    /// The signer's transaction number.
    pub nonce: u64,
    /// Its hash.
    pub hash: B256,
    /// What it does, for people.
    pub what: String,
    /// As it is sent (EIP-2718).
    pub raw: Bytes,
    /// Wei per gas that no version exceeds.
    pub fee_cap: u128,
}

/// What an [`Outbox`] gives back.
pub type Written<'a, T> = Pin<Box<dyn Future<Output = Result<T, OutboxError>> + Send + 'a>>;

/// The outbox could not be written or read: nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the outbox failed: {0}")]
pub struct OutboxError(pub String);

/// A signer's transactions on their way. A client without one keeps them in memory: for a command line, which waits for
/// what it sends. A node's is in its database, so that a killed process sends the same bytes again.
pub trait Outbox: Send + Sync {
    /// Writes a version before it is sent, together with the digests of the tickets that it redeems.
    fn write<'a>(&'a self, tx: &'a SignedTx, redeems: &'a [B256]) -> Written<'a, ()>;

    /// Every version of what is not settled, by nonce, oldest version first.
    fn open(&self) -> Written<'_, Vec<SignedTx>>;

    /// Forgets a nonce that is settled.
    fn settle(&self, nonce: u64) -> Written<'_, ()>;

    /// Whether it outlives the process. If so, a transaction stays in it until [`super::Chain::tend`]'s caller settles it.
    fn durable(&self) -> bool {
        true
    }
}

/// The outbox of a client that has no database.
#[derive(Default)]
pub(super) struct Memory(Mutex<Vec<SignedTx>>);

impl Memory {
    fn change<T>(&self, change: impl FnOnce(&mut Vec<SignedTx>) -> T) -> Written<'static, T>
    where
        T: Send + 'static,
    {
        let result = change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(std::future::ready(Ok(result)))
    }
}

impl Outbox for Memory {
    fn write<'a>(&'a self, tx: &'a SignedTx, _: &'a [B256]) -> Written<'a, ()> {
        self.change(|open| {
            open.push(tx.clone());
            open.sort_by_key(|tx| tx.nonce); // stable: versions keep their order
        })
    }

    fn open(&self) -> Written<'_, Vec<SignedTx>> {
        self.change(|open| open.clone())
    }

    fn settle(&self, nonce: u64) -> Written<'_, ()> {
        self.change(|open| open.retain(|tx| tx.nonce != nonce))
    }

    fn durable(&self) -> bool {
        false
    }
}

/// What a transaction has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In no block.
    Pending,
    /// In a block that a reorganisation may still take.
    Mined(Mined),
    /// Enough blocks follow, and the chain still has it when asked.
    Final(Mined),
    /// Its nonce went to a transaction that is not of this outbox, and enough blocks follow.
    Lost,
}

/// A transaction of the outbox, and what it has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The signer's transaction number.
    pub nonce: u64,
    /// What it does, for people.
    pub what: String,
    /// The hashes of all its versions, oldest first.
    pub hashes: Vec<B256>,
    /// What it has come to.
    pub stage: Stage,
}

/// All versions of one nonce.
pub(super) struct Outgoing(pub(super) Vec<SignedTx>);

impl Outgoing {
    /// From what [`Outbox::open`] gives.
    pub(super) fn group(open: Vec<SignedTx>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for tx in open {
            match all.last_mut() {
                Some(last) if last.nonce() == tx.nonce => last.0.push(tx),
                _ => all.push(Self(vec![tx])),
            }
        }
        all
    }

    /// The version that was signed last.
    pub(super) fn newest(&self) -> &SignedTx {
        &self.0[self.0.len() - 1] // `group` makes none without
    }

    pub(super) fn nonce(&self) -> u64 {
        self.0[0].nonce
    }

    pub(super) fn hashes(&self) -> impl DoubleEndedIterator<Item = B256> {
        self.0.iter().map(|tx| tx.hash)
    }

    /// Whether it does just this.
    pub(super) fn does(&self, to: TxKind, input: &Bytes, value: U256) -> bool {
        self.newest().decode().is_ok_and(|tx| tx.kind() == to && tx.input() == input && tx.value() == value)
    }
}

impl SignedTx {
    pub(super) fn decode(&self) -> Result<TxEnvelope, ChainError> {
        TxEnvelope::decode_2718_exact(&self.raw)
            .map_err(|error| ChainError::Outbox(format!("transaction {} is damaged: {error}", self.hash)))
    }
}
