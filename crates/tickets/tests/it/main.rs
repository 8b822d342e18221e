//! Tickets by behaviour. `Pn` names a property of the settlement protocol.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test, in helpers too")]

mod credit;
mod draw;
mod pair;
mod session;
mod signatures;
mod work;

use alloy::primitives::{Address, B256, U256, address, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_tickets::{Domain, Due, Payee, PayeeState, Payer, Signed, Terms, Ticket};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DOMAIN: Domain =
    Domain { chain_id: 31_337, broker: address!("00000000000000000000000000000000000b40ce") };
pub(crate) const PAYEE: Address = address!("00000000000000000000000000000000000000ee");
/// A face value of 10^15 wei, about $3.
pub(crate) const TERMS: Terms =
    Terms { price_per_megapixel: 10_000_000, face_value: 1_000_000_000_000_000, win_prob: u64::MAX };
pub(crate) const LOCKED: U256 = U256::from_limbs([5_000_000_000_000_000, 0, 0, 0]);

pub(crate) fn signer(n: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap()
}

/// Numbers that look random and are the same in every run.
pub(crate) fn random(n: u64) -> B256 {
    keccak256(n.to_be_bytes())
}

pub(crate) fn due(n: u64) -> Due {
    Due { work_hash: random(n ^ 0xd0e), price: U256::from(TERMS.face_value / 10), terms: TERMS }
}

/// Both ends of a new pair, sixteen commits handed over.
pub(crate) fn pair() -> (Payer, Payee, PrivateKeySigner) {
    let key = signer(1);
    let mut payer = Payer::new(key.address(), PAYEE);
    let mut payee = Payee::restore(DOMAIN, key.address(), PAYEE, random(0), PayeeState::default());
    payer.offer_commits(payee.next_commits(16));
    (payer, payee, key)
}

pub(crate) fn sign(ticket: Ticket, key: &PrivateKeySigner) -> Signed<Ticket> {
    Signed::sign(ticket, &DOMAIN, key).unwrap()
}
