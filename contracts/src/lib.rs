//! Everything that speaks to the chain: the contracts' bindings, a client, and a small chain of our own.
//!
//! - [`bindings`]: the ABI of the contracts beside this file, from the committed artifacts (`contracts/build` makes them, CI
//!   compares them).
//! - [`Chain`]: one signer on one chain, by one endpoint or several ([`ChainOptions`]). Every call is bounded in time, every
//!   transaction is simulated before it is sent, and written to an [`Outbox`].
//! - [`Step`]: any call of any contract, shown with its cost before it is made; refusals come back in words.
//! - [`Deployment`]: all contracts onto a chain, and the [`AddressBook`] that nodes read.
//! - [`devnet`]: an EVM chain in this process that answers Ethereum JSON-RPC, for `millrace up` and for tests.
//!
//! What a ticket is and when it wins is not here: that is `millrace-tickets`, which reads no chain.

pub mod bindings;
mod chain;
pub mod devnet;
pub mod words;

pub use chain::{
    AddressBook, Addresses, Amount, BookError, CHECKER, CONTRACTS, Chain, ChainError, ChainOptions, Creation,
    DEFAULT_CONFIRMATIONS, DEFAULT_TIMELOCK, DeployError, DeployPlan, Deployed, Deployment, EPOCH, EndpointFault,
    EndpointStatus, Fate, LAST_EPOCH, MAX_STEPS, Mined, NodeRecord, ORCHESTRATOR, Outbox, OutboxError, Pair, Quote,
    Redemption, RelayError, Revert, SecretChain, SignedTx, Stage, Step, StepError, TRANSCODER, Written, deploy, find,
    links_down, status_name,
};
