use alloy::primitives::aliases::{U40, U96};
use alloy::primitives::{U256, keccak256};
use millrace_tickets::payee::{LEAST_LIFE, NONCE_WINDOW, REDEEM_AGE};
use millrace_tickets::payer::{MAX_COMMITS, NONCE_AHEAD, TICKET_TTL};
use millrace_tickets::{Due, Payee, PayeeState, Payer, PayerError, RejectReason, Signed, Terms, Ticket, Waiting};
use proptest::prelude::*;

use crate::{DOMAIN, LOCKED, NOW, PAYEE, TERMS, due, pair, random, sign, signer};

fn take(payee: &mut Payee, signed: &Signed<Ticket>, due: &Due) -> Result<bool, RejectReason> {
    let accepted = payee.accept(NOW, signed, due, U256::MAX)?;
    payee.confirm(&signed.body, accepted);
    Ok(accepted.winner)
}

#[test]
fn every_ticket_of_an_honest_payer_is_accepted() {
    let (mut payer, mut payee, key) = pair();
    for n in 0..200 {
        let ticket = sign(payer.issue(NOW, &due(n), random(n)).unwrap(), &key);
        take(&mut payee, &ticket, &due(n)).unwrap();
        payer.offer_commits(payee.next_commits(1));
    }
}

#[test]
fn the_same_work_gets_the_identical_ticket() {
    let (mut payer, _, _) = pair();
    let first = payer.issue(NOW, &due(1), random(1)).unwrap();
    payer.issue(NOW, &due(2), random(2)).unwrap();
    let cheaper = Due { price: U256::from(1), ..due(1) };
    assert_eq!(payer.issue(NOW + 100, &cheaper, random(3)).unwrap(), first);
    assert_eq!(payer.commits_left(), 14);
}

#[test]
fn p13_a_second_ticket_with_new_randomness_for_the_same_work_is_refused() {
    let (mut payer, mut payee, key) = pair();
    let (mut twin, work) = (payer.clone(), due(1));
    let first = sign(payer.issue(NOW, &work, random(1)).unwrap(), &key);
    take(&mut payee, &first, &work).unwrap();
    // On the next commit, with a higher nonce: only the work is the same.
    twin.issue(NOW, &due(2), random(2)).unwrap();
    let second = sign(twin.issue(NOW, &work, random(3)).unwrap(), &key);
    assert_eq!(take(&mut payee, &second, &work), Err(RejectReason::WorkPaid(work.work_hash)));
    assert!(payee.accept(NOW, &first, &work, LOCKED).unwrap().again);
}

#[test]
fn a_commit_serves_one_ticket() {
    let (mut payer, mut payee, key) = pair();
    let first = payer.issue(NOW, &due(1), random(1)).unwrap();
    take(&mut payee, &sign(first.clone(), &key), &due(1)).unwrap();
    let second = payer.issue(NOW, &due(2), random(2)).unwrap();
    let reused = sign(Ticket { payeeCommit: first.payeeCommit, ..second }, &key);
    assert_eq!(take(&mut payee, &reused, &due(2)), Err(RejectReason::Commit(first.payeeCommit)));
    // The payer's end: a commit offered again is not queued again.
    payer.offer_commits(vec![first.payeeCommit]);
    assert_eq!(payer.commits_left(), 14);
}

#[test]
fn commits_are_used_in_the_order_in_which_they_came() {
    let (mut payer, mut payee, _) = pair();
    let mut fresh = Payer::new(signer(1).address(), PAYEE);
    let commits = payee.next_commits(16);
    fresh.offer_commits(commits.clone());
    for (n, commit) in commits.into_iter().enumerate() {
        assert_eq!(fresh.issue(NOW, &due(n as u64), random(9)).unwrap().payeeCommit, commit);
    }
    assert_eq!(fresh.issue(NOW, &due(99), random(9)), Err(PayerError::NoCommits(PAYEE)));
    assert_eq!(payee.next_commits(100).len(), 16, "no more than 16 at once");
    for _ in 0..10 {
        payer.offer_commits(payee.next_commits(16));
    }
    assert_eq!(payer.commits_left(), MAX_COMMITS);
    // What the payer kept is what the payee still takes.
    let ticket = sign(payer.issue(NOW, &due(1), random(1)).unwrap(), &signer(1));
    take(&mut payee, &ticket, &due(1)).unwrap();
}

#[test]
fn a_commit_is_the_hash_of_what_is_revealed() {
    let (mut payer, payee, key) = pair();
    let ticket = sign(payer.issue(NOW, &due(1), random(1)).unwrap(), &key);
    let accepted = payee.accept(NOW, &ticket, &due(1), LOCKED).unwrap();
    assert_eq!(keccak256(accepted.payee_rand), ticket.body.payeeCommit);
}

/// Changes one field of a good ticket, signs it again, and expects a refusal.
fn refused(change: impl FnOnce(&mut Ticket)) -> RejectReason {
    let (mut payer, mut payee, key) = pair();
    let mut ticket = payer.issue(NOW, &due(1), random(1)).unwrap();
    change(&mut ticket);
    take(&mut payee, &sign(ticket, &key), &due(1)).unwrap_err()
}

#[test]
fn each_field_is_checked_against_what_is_due() {
    assert!(matches!(refused(|t| t.payee = t.payer), RejectReason::Pair { .. }));
    assert!(matches!(refused(|t| t.payer = PAYEE), RejectReason::Pair { .. }));
    assert!(matches!(refused(|t| t.workHash = random(7)), RejectReason::Work { .. }));
    assert!(matches!(refused(|t| t.payeeCommit = random(7)), RejectReason::Commit(_)));
    assert!(matches!(refused(|t| t.faceValue += U96::from(1)), RejectReason::FaceValue { .. }));
    assert!(matches!(refused(|t| t.faceValue -= U96::from(1)), RejectReason::FaceValue { .. }));
    assert!(matches!(refused(|t| t.winProb -= 1), RejectReason::WinProb { .. }));
    assert!(matches!(refused(|t| t.expiry = U40::from(NOW + LEAST_LIFE - 1)), RejectReason::Expiry { .. }));
    assert!(matches!(
        refused(|t| t.expiry = U40::from(NOW + TICKET_TTL + NONCE_AHEAD + 1)),
        RejectReason::Expiry { .. }
    ));
    assert!(matches!(refused(|t| t.nonce = 0), RejectReason::NonceUsed { .. }));
}

#[test]
fn p17_a_nonce_from_the_future_is_refused() {
    assert!(matches!(refused(|t| t.nonce = (NOW + NONCE_AHEAD + 1) << 24), RejectReason::NonceAhead { .. }));
    assert!(matches!(refused(|t| t.nonce = u64::MAX), RejectReason::NonceAhead { .. }));
    let (mut payer, mut payee, key) = pair();
    let ticket = sign(payer.issue(NOW + NONCE_AHEAD, &due(1), random(1)).unwrap(), &key);
    take(&mut payee, &ticket, &due(1)).unwrap();
}

#[test]
fn a_ticket_signed_by_anyone_else_is_refused() {
    let (mut payer, mut payee, _) = pair();
    let ticket = payer.issue(NOW, &due(1), random(1)).unwrap();
    let forged = sign(ticket.clone(), &signer(2));
    assert!(matches!(take(&mut payee, &forged, &due(1)), Err(RejectReason::Signer { .. })));
    // Nor by the payer for another chain.
    let other = millrace_tickets::Domain { chain_id: 1, ..DOMAIN };
    let elsewhere = Signed::sign(ticket, &other, &signer(1)).unwrap();
    assert!(matches!(take(&mut payee, &elsewhere, &due(1)), Err(RejectReason::Signer { .. })));
}

#[test]
fn a_payee_stops_where_the_lock_ends() {
    let (mut payer, mut payee, key) = pair();
    let face = U256::from(TERMS.face_value);
    let ticket = sign(payer.issue(NOW, &due(1), random(1)).unwrap(), &key);
    let lock = |outstanding: u64, locked: U256| {
        let mut payee = payee.clone();
        payee.sync(face * U256::from(outstanding), 0);
        payee.accept(NOW, &ticket, &due(1), locked).is_ok()
    };
    assert!(lock(0, face * U256::from(2)), "twice the face value is enough");
    assert!(!lock(0, face * U256::from(2) - U256::from(1)), "less is not");
    assert!(lock(1, face * U256::from(2)) && !lock(2, face * U256::from(2)), "winners count against the lock");
    // A winner that is confirmed counts at once.
    let sure = Due { price: face - U256::from(1), ..due(2) };
    let ticket = sign(payer.issue(NOW, &sure, random(2)).unwrap(), &key);
    assert!(take(&mut payee, &ticket, &sure).unwrap());
    payee.sync(face * U256::from(2), 0);
    let ticket = sign(payer.issue(NOW, &due(3), random(3)).unwrap(), &key);
    assert!(matches!(payee.accept(NOW, &ticket, &due(3), face * U256::from(2)), Err(RejectReason::Lock { .. })));
}

#[test]
fn a_price_that_one_ticket_cannot_carry_is_refused_by_the_payer() {
    let (mut payer, _, _) = pair();
    let dear = Due { price: U256::from(TERMS.face_value), ..due(1) };
    assert!(matches!(payer.issue(NOW, &dear, random(1)), Err(PayerError::Price { .. })));
    let capped = Due { terms: Terms { win_prob: u64::MAX / 20, ..TERMS }, ..due(1) };
    assert!(matches!(payer.issue(NOW, &capped, random(1)), Err(PayerError::Price { .. })));
    for face_value in [0, 1 << 96] {
        let odd = Due { terms: Terms { face_value, ..TERMS }, ..due(1) };
        assert_eq!(payer.issue(NOW, &odd, random(1)), Err(PayerError::FaceValue(face_value)));
    }
    assert_eq!(payer.commits_left(), 16, "a refusal uses no commit");
}

#[test]
fn nonces_rise_when_the_clock_stands_still_or_steps_back() {
    let (mut payer, _, _) = pair();
    let mut nonces = vec![];
    for (n, now) in [NOW, NOW, NOW - 30, NOW - 59, NOW + 1].into_iter().enumerate() {
        nonces.push(payer.issue(now, &due(n as u64), random(1)).unwrap().nonce);
    }
    assert!(nonces.is_sorted_by(|a, b| a < b), "{nonces:?}");
    assert_eq!(nonces[4] >> 24, NOW + 1);
    assert!(matches!(payer.issue(NOW - 100, &due(9), random(1)), Err(PayerError::Clock { .. })));
}

#[test]
fn a_restarted_payer_repeats_its_tickets_and_raises_its_nonces() {
    let (mut payer, mut payee, _) = pair();
    let issued: Vec<Ticket> = (0..3).map(|n| payer.issue(NOW, &due(n), random(n)).unwrap()).collect();
    let mut restarted = Payer::restore(signer(1).address(), PAYEE, issued[2].nonce, issued.clone());
    restarted.offer_commits(issued.iter().map(|t| t.payeeCommit).collect());
    assert_eq!(restarted.commits_left(), 0, "used commits stay used");
    restarted.offer_commits(payee.next_commits(16));
    assert_eq!(restarted.issue(NOW, &due(1), random(77)).unwrap(), issued[1]);
    assert!(restarted.issue(NOW - 10, &due(3), random(3)).unwrap().nonce > issued[2].nonce);
}

#[test]
fn a_restarted_payee_takes_the_commits_it_handed_out() {
    let (mut payer, payee, key) = pair();
    let state = PayeeState { next_index: payee.next_index(), ..PayeeState::default() };
    let mut restarted = Payee::restore(DOMAIN, key.address(), PAYEE, random(0), state);
    let ticket = sign(payer.issue(NOW, &due(1), random(1)).unwrap(), &key);
    let before = payee.accept(NOW, &ticket, &due(1), LOCKED).unwrap();
    assert_eq!(restarted.accept(NOW, &ticket, &due(1), LOCKED).unwrap(), before, "and draws the same");
    take(&mut restarted, &ticket, &due(1)).unwrap();
    assert_ne!(
        restarted.next_commits(1),
        Payee::restore(DOMAIN, key.address(), PAYEE, random(0), PayeeState::default()).next_commits(1)
    );
}

#[test]
fn redemption_is_due_for_many_for_old_and_for_much() {
    let some = Waiting { count: 1, oldest: NOW, outstanding: U256::from(50) };
    let locked = U256::from(100);
    assert!(!some.due(NOW, locked));
    assert!(Waiting { count: 8, ..some }.due(NOW, locked));
    assert!(some.due(NOW + REDEEM_AGE + 1, locked));
    assert!(Waiting { outstanding: U256::from(51), ..some }.due(NOW, locked));
    assert!(!Waiting { count: 0, ..some }.due(NOW + REDEEM_AGE + 1, locked));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// P5: however tickets overtake each other, and whenever winners are redeemed, the nonces that reach the chain
    /// rise strictly, no nonce or commit is taken twice, and nothing is refused unless a redemption passed it.
    #[test]
    fn p5_redeemed_nonces_rise_strictly_in_any_order_of_arrival(
        order in Just((0..16usize).collect::<Vec<_>>()).prop_shuffle(),
        redeem_after in prop::collection::vec(any::<bool>(), 16),
    ) {
        let (mut payer, mut payee, key) = pair();
        let price = U256::from(TERMS.face_value / 2);
        let dues: Vec<Due> = (0..16).map(|n| Due { price, ..due(n) }).collect();
        let tickets: Vec<_> =
            dues.iter().map(|due| sign(payer.issue(NOW, due, due.work_hash).unwrap(), &key)).collect();
        let (mut waiting, mut chain, mut accepted) = (vec![], vec![], vec![]);
        for (step, i) in order.into_iter().enumerate() {
            let nonce = tickets[i].body.nonce;
            match take(&mut payee, &tickets[i], &dues[i]) {
                Ok(winner) => {
                    accepted.push(nonce);
                    if winner { waiting.push(nonce) }
                }
                Err(error) => {
                    prop_assert!(chain.last().is_some_and(|last| nonce < *last), "{error}");
                }
            }
            prop_assert!(take(&mut payee, &tickets[i], &dues[i]).is_ok() == accepted.contains(&nonce));
            if redeem_after[step] && !waiting.is_empty() {
                waiting.sort();
                chain.append(&mut waiting);
                payee.sync(U256::ZERO, *chain.last().unwrap());
            }
        }
        prop_assert!(chain.is_sorted_by(|a, b| a < b), "{chain:?}");
    }
}

#[test]
fn a_ticket_overtaken_by_more_than_the_window_is_refused_for_good() {
    let (mut payer, mut payee, key) = pair();
    let late = sign(payer.issue(NOW, &due(0), random(0)).unwrap(), &key);
    let mut oldest = None;
    for n in 1..=NONCE_WINDOW as u64 + 1 {
        let ticket = sign(payer.issue(NOW, &due(n), random(n)).unwrap(), &key);
        take(&mut payee, &ticket, &due(n)).unwrap();
        payer.offer_commits(payee.next_commits(1));
        oldest.get_or_insert(ticket);
    }
    assert!(matches!(take(&mut payee, &late, &due(0)), Err(RejectReason::NonceUsed { .. })));
    assert!(matches!(take(&mut payee, &oldest.unwrap(), &due(1)), Err(RejectReason::NonceUsed { .. })));
}
