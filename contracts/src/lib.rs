//! Everything that speaks to the chain: the contracts' bindings, a client, and a small chain of our own.
//!
//! - [`bindings`]: the ABI of `Registry.sol` and `TicketBroker.sol`, beside this file, from the committed artifacts
//!   (`contracts/build` makes them, CI compares them).
//! - [`Chain`]: one signer on one chain, by one endpoint or several ([`ChainOptions`]). Every call is bounded in time, every
//!   transaction is simulated before it is sent, and written to an [`Outbox`].
//! - [`deploy`]: both contracts onto an empty chain.
//! - [`devnet`]: an EVM chain in this process that answers Ethereum JSON-RPC, for `millrace up` and for tests.
//!
//! What a ticket is and when it wins is not here: that is `millrace-tickets`, which reads no chain.

pub mod bindings;
mod chain;
pub mod devnet;

pub use chain::{
    Addresses, Chain, ChainError, ChainOptions, DEFAULT_CONFIRMATIONS, EndpointFault, EndpointStatus, Fate, Mined,
    NodeRecord, ORCHESTRATOR, Outbox, OutboxError, Pair, Redemption, Revert, SignedTx, Stage, TRANSCODER, Written,
    deploy,
};
