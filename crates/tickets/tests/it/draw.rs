use alloy::primitives::{B256, U256, keccak256};
use alloy::sol_types::SolValue;
use millrace_tickets::{Ticket, draw, win_prob_for};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::{PAYEE, signer};

const DRAWS: u64 = 1_000_000;

/// Wins of `DRAWS` tickets with probability 1/10, given each end's strategy. The payee chooses its 32 bytes first,
/// from what it saw before (the payer's last); the payer then sees their hash, and only if it looks.
fn wins(mut payee_rand: impl FnMut(B256) -> B256, mut payer_rand: impl FnMut(&dyn Fn() -> B256) -> B256) -> u64 {
    let win_prob = win_prob_for(U256::from(1), 10).unwrap();
    let mut ticket = Ticket { payer: signer(1).address(), payee: PAYEE, winProb: win_prob, ..Ticket::default() };
    let mut wins = 0;
    for nonce in 0..DRAWS {
        let secret = payee_rand(ticket.payerRand);
        ticket.nonce = nonce;
        ticket.payerRand = payer_rand(&|| keccak256(secret));
        wins += u64::from(draw(&ticket, secret));
    }
    wins
}

fn assert_fair(wins: u64) {
    let (mean, sigma) = (DRAWS as f64 * 0.1, (DRAWS as f64 * 0.1 * 0.9).sqrt());
    let off = (wins as f64 - mean) / sigma;
    assert!(off.abs() < 4.9, "{wins} wins of {DRAWS} are {off:.2} sigma off");
}

/// 32 random bytes at a time, the same in every run.
fn bytes(seed: u64) -> impl FnMut() -> B256 {
    let mut rng = StdRng::seed_from_u64(seed);
    move || {
        let mut bytes = B256::ZERO;
        rng.fill_bytes(&mut bytes.0);
        bytes
    }
}

#[test]
fn p11_honest_ends_win_as_often_as_the_ticket_says() {
    let (mut payee, mut payer) = (bytes(1), bytes(2));
    assert_fair(wins(|_| payee(), |_| payer()));
}

#[test]
fn p11_a_payer_that_grinds_against_the_commit_loses_no_more_often() {
    let (mut payee, mut random) = (bytes(3), bytes(4));
    // Half the time the candidate closest to the commit, half the time bytes chosen without any randomness.
    let mut turn = false;
    let payer = |commit: &dyn Fn() -> B256| {
        turn = !turn;
        let seen = commit();
        if turn { (0..4).map(|_| random()).min_by_key(|c| *c ^ seen).unwrap() } else { B256::ZERO }
    };
    assert_fair(wins(|_| payee(), payer));
}

#[test]
fn p11_a_payee_that_grinds_against_the_last_ticket_wins_no_more_often() {
    let (mut payer, mut random) = (bytes(5), bytes(6));
    let mut turn = false;
    let payee = |last: B256| {
        turn = !turn;
        if turn { (0..4).map(|_| random()).min_by_key(|c| *c ^ last).unwrap() } else { B256::ZERO }
    };
    assert_fair(wins(payee, |_| payer()));
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    (any::<u64>(), any::<[u8; 32]>(), any::<u64>()).prop_map(|(nonce, rand, win_prob)| Ticket {
        payer: signer(1).address(),
        payee: PAYEE,
        nonce,
        winProb: win_prob,
        payerRand: rand.into(),
        ..Ticket::default()
    })
}

proptest! {
    #[test]
    fn p12_what_the_payee_makes_is_outside_the_draw(ticket in any_ticket(), secret: [u8; 32], work: [u8; 32], expiry: u32) {
        let ground = Ticket {
            workHash: work.into(),
            expiry: expiry.try_into().unwrap(),
            payeeCommit: work.into(),
            ..ticket.clone()
        };
        prop_assert_eq!(draw(&ticket, secret.into()), draw(&ground, secret.into()));
    }

    #[test]
    fn the_number_drawn_is_the_low_64_bits_of_the_hash_of_solidity_s_encoding(ticket in any_ticket(), secret: [u8; 32]) {
        let encoded = (ticket.payer, ticket.payee, ticket.nonce, B256::from(secret), ticket.payerRand).abi_encode();
        let number = U256::from_be_bytes(keccak256(encoded).0).as_limbs()[0];
        prop_assert_eq!(draw(&ticket, secret.into()), number < ticket.winProb);
    }
}
