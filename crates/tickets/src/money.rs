//! Quotes, prices, win probabilities and the draw. Amounts are wei; probabilities are fractions of 2^64.

use alloy::primitives::{B256, U256, aliases::U96, keccak256};
use serde::{Deserialize, Serialize};

use crate::objects::Ticket;

/// Prices are per this many pixels, so that they are whole numbers of wei.
pub const MEGAPIXEL: u64 = 1_000_000;

/// What a payee quotes. Both sides keep the quote under which a stream was opened, see [`Due`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Wei for [`MEGAPIXEL`] encoded pixels.
    pub price_per_megapixel: u128,
    /// What a winning ticket pays, wei; below 2^96.
    pub face_value: u128,
    /// The highest win probability the payee takes in one ticket, times 2^64; `u64::MAX` for no limit of its own.
    /// It caps one ticket's price at `face_value * win_prob / 2^64`.
    pub win_prob: u64,
}

impl Terms {
    /// The face value as a ticket carries it; `None` when it is zero or does not fit 96 bits.
    pub fn ticket_face_value(&self) -> Option<U96> {
        U96::try_from(self.face_value).ok().filter(|face| !face.is_zero())
    }
}

/// A face value is at least this many times the cost of redeeming it, so that redemption takes at most 2 % of a win.
pub const FACE_VALUE_TO_COST: u64 = 50;

/// The least face value worth quoting when redeeming one ticket costs `redeem_cost` wei at the live gas price.
pub fn least_face_value(redeem_cost: U256) -> U256 {
    redeem_cost.saturating_mul(U256::from(FACE_VALUE_TO_COST))
}

/// What one piece of work costs, as both ends compute it: what the payer issues a ticket for and the payee expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The work: [`crate::work_hash`] or [`crate::prepay_work_hash`].
    pub work_hash: B256,
    /// Its price, wei.
    pub price: U256,
    /// The quote in force when the work was taken.
    pub terms: Terms,
}

/// The price of `pixels` under `terms`, wei, rounded up so that no work is free.
pub fn price(terms: &Terms, pixels: u64) -> U256 {
    (U256::from(pixels) * U256::from(terms.price_per_megapixel)).div_ceil(U256::from(MEGAPIXEL))
}

/// The least win probability at which a ticket of `face_value` is worth `expected_value`. `None` when no ticket of that
/// face value is worth so much (probability 1 cannot be written), or the face value is zero.
pub fn win_prob_for(expected_value: U256, face_value: u128) -> Option<u64> {
    let scaled = expected_value.checked_mul(U256::from(1u128 << 64))?;
    if face_value == 0 {
        return None;
    }
    scaled.div_ceil(U256::from(face_value)).try_into().ok()
}

/// `faceValue * winProb`: the ticket's expected value times 2^64, exact, so that sums lose nothing.
pub fn expected_value_x64(ticket: &Ticket) -> U256 {
    U256::from(ticket.faceValue) * U256::from(ticket.winProb)
}

/// The ticket's expected value in wei, rounded down.
pub fn expected_value(ticket: &Ticket) -> U256 {
    expected_value_x64(ticket) >> 64
}

/// Whether the ticket wins against the payee's 32 bytes. `workHash`, expiry and signature stay outside: the payee
/// makes the renditions and could grind them. The number drawn is the hash's low 64 bits, as Solidity's
/// `uint64(uint256(hash))`.
pub fn draw(ticket: &Ticket, payee_rand: B256) -> bool {
    // abi.encode of five static values is their five words, one after another.
    let nonce = B256::from(U256::from(ticket.nonce));
    let words = [ticket.payer.into_word(), ticket.payee.into_word(), nonce, payee_rand, ticket.payerRand];
    let hash = keccak256(words.concat());
    let mut low = [0; 8];
    low.copy_from_slice(&hash[24..]);
    u64::from_be_bytes(low) < ticket.winProb
}
