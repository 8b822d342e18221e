//! One hop of the network: an *assigner* (payer) gives a segment to a *worker* (payee), and both ends live here, from the
//! offer to the payment. Broadcaster → orchestrator and orchestrator → transcoder are the same hop, so a role that sits
//! between the two uses both ends.
//!
//! In the order in which a segment meets them:
//! [`dial`] finds the worker, [`source`] keeps the parts, [`assign`] is the assigner's end of one attempt, [`serve`] the worker's, [`sign`] writes
//! down what is signed before it is signed, [`purse`] pays, [`till`] is paid, [`credit`] bounds what a payer
//! may owe, [`arrears`] sends and takes tickets that a crash has held up, [`redeem`] takes winners to the chain, [`rpc`] lets a browser read it, [`sampling`] keeps the secrets by which work is sampled.
//!
//! What is absent: this crate looks at no media. Frames and pixels are told to it by its callers, bytes are opaque.

pub mod account;
pub mod api;
pub mod arrears;
pub mod assign;
pub mod credit;
pub mod dial;
mod outbox;
pub mod purse;
pub mod redeem;
pub mod rpc;
pub mod sampling;
pub mod serve;
pub mod sign;
pub mod source;
pub mod till;

use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, U256};
use millrace_tickets::{Terms, price};

pub use account::{Account, AccountError};

/// Closing code: the peer may not speak here, or broke the protocol.
pub const CLOSE_REFUSED: u32 = 1;
/// Closing code: the peer is suspended.
pub const CLOSE_SUSPENDED: u32 = 2;
/// Seconds of work that one prepaid ticket covers: a segment's target duration.
const PREPAID_SECONDS: u64 = 2;

/// Who gives work, and whose money pays for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigner {
    /// The peer: its key signs assignments and verdicts, and the tickets.
    pub address: Address,
    /// The payer of the tickets: the peer itself, or one that has made the peer's key a session key of its own.
    pub payer: Address,
}

impl From<Address> for Assigner {
    /// One that pays for itself.
    fn from(address: Address) -> Self {
        Self { address, payer: address }
    }
}

/// The wall clock, unix milliseconds.
pub fn unix_now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// The wall clock, unix seconds.
pub fn unix_now() -> u64 {
    unix_now_ms() / 1000
}

/// What one prepaid segment of a ladder of `megapixel_rate` megapixels a second costs; both ends compute it.
pub fn prepayment(terms: &Terms, megapixel_rate: u32) -> U256 {
    price(terms, u64::from(megapixel_rate) * 1_000_000 * PREPAID_SECONDS)
}
