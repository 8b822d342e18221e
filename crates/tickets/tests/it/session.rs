use std::collections::HashMap;

use alloy::primitives::{Address, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_tickets::payee::issue_day;
use millrace_tickets::payer::TICKET_TTL;
use millrace_tickets::{Backing, Due, Payee, PayeeState, RejectReason, SessionKey, Signed, Terms, Ticket};
use proptest::prelude::*;

use crate::{DOMAIN, NOW, PAYEE, TERMS, due, pair, random, sign, signer};

const DAY: u64 = 24 * 3600;

fn face(count: u64) -> U256 {
    U256::from(TERMS.face_value) * U256::from(count)
}

/// Work whose ticket wins but for one time in [`TERMS`]' face value.
fn sure(n: u64) -> Due {
    Due { price: face(1) - U256::from(1), ..due(n) }
}

/// A lock without end, and a session key with a cap of `count` winners.
fn backing(key: &PrivateKeySigner, count: u64, expiry: u64) -> Backing {
    let session = SessionKey { key: key.address(), expiry, daily_cap: face(count) };
    Backing { locked: U256::MAX, session: Some(session) }
}

fn take(
    payee: &mut Payee,
    now: u64,
    signed: &Signed<Ticket>,
    due: &Due,
    backing: Backing,
) -> Result<bool, RejectReason> {
    let accepted = payee.accept(now, signed, due, backing)?;
    payee.confirm(&signed.body, accepted);
    Ok(accepted.winner)
}

#[test]
fn a_session_key_signs_for_its_payer_and_for_nobody_else() {
    let (mut payer, mut payee, own) = pair();
    let (key, other) = (signer(7), signer(8));
    let stands = backing(&key, 10, NOW + 10 * DAY);
    let tickets: Vec<_> = (0..3).map(|n| payer.issue(NOW, &due(n), random(n)).unwrap()).collect();
    take(&mut payee, NOW, &sign(tickets[0].clone(), &key), &due(0), stands).unwrap();
    take(&mut payee, NOW, &sign(tickets[1].clone(), &own), &due(1), stands).expect("the payer signs as ever");
    let forged = sign(tickets[2].clone(), &other);
    assert!(matches!(take(&mut payee, NOW, &forged, &due(2), stands), Err(RejectReason::Signer { .. })));
    // The key of another payer, or one that the chain does not know: none is given.
    let unknown = sign(tickets[2].clone(), &key);
    let none = Backing::from(U256::MAX);
    assert!(matches!(take(&mut payee, NOW, &unknown, &due(2), none), Err(RejectReason::Signer { .. })));
}

#[test]
fn a_ticket_that_outlives_its_session_key_is_refused() {
    let (mut payer, mut payee, _) = pair();
    let key = signer(7);
    let ticket = sign(payer.issue(NOW, &due(1), random(1)).unwrap(), &key);
    // A revoked key is one with an earlier expiry: three days after, so that none that was taken before is touched.
    let ends = |expiry| backing(&key, 10, expiry);
    let refused = take(&mut payee, NOW, &ticket, &due(1), ends(NOW + TICKET_TTL - 1)).unwrap_err();
    assert!(matches!(refused, RejectReason::SessionExpiry { .. }), "{refused}");
    take(&mut payee, NOW, &ticket, &due(1), ends(NOW + TICKET_TTL)).unwrap();
}

#[test]
fn a_daily_cap_counts_the_winners_of_a_day_redeemed_or_not_and_names_the_way_out() {
    let (mut payer, mut payee, _) = pair();
    let key = signer(7);
    let stands = backing(&key, 2, NOW + 10 * DAY);
    let tickets: Vec<_> = (0..3).map(|n| sign(payer.issue(NOW, &sure(n), random(n)).unwrap(), &key)).collect();
    for n in 0..2u64 {
        assert!(take(&mut payee, NOW, &tickets[n as usize], &sure(n), stands).unwrap());
    }
    let refused = take(&mut payee, NOW, &tickets[2], &sure(2), stands).unwrap_err();
    assert_eq!(refused, RejectReason::DailyCap { key: key.address(), cap: face(2), spent: face(2) });
    let words = refused.to_string();
    assert!(words.contains(&face(2).to_string()) && words.contains("session-key add"), "{words}");
    payee.sync(U256::ZERO, tickets[1].body.nonce);
    take(&mut payee, NOW, &tickets[2], &sure(2), stands).expect_err("redeemed winners count, too");
    assert!(
        payee.accept(NOW, &tickets[1], &sure(1), stands).unwrap().again,
        "one that was taken is acknowledged again"
    );
    // Another key of the same payer has a cap of its own.
    let other = signer(8);
    let ticket = sign(tickets[2].body.clone(), &other);
    take(&mut payee, NOW, &ticket, &sure(2), backing(&other, 1, NOW + 10 * DAY)).unwrap();
}

#[test]
fn each_day_has_a_cap_of_its_own_by_the_day_of_issue() {
    let (mut payer, mut payee, _) = pair();
    let key = signer(7);
    let stands = backing(&key, 1, NOW + 10 * DAY);
    let midnight = (NOW / DAY + 1) * DAY;
    let mut issue = |now, n| sign(payer.issue(now, &sure(n), random(n)).unwrap(), &key);
    let (evening, late, morning) = (issue(midnight - 20, 0), issue(midnight - 10, 1), issue(midnight + 10, 2));
    // They overtake each other.
    take(&mut payee, midnight + 11, &morning, &sure(2), stands).unwrap();
    take(&mut payee, midnight + 12, &late, &sure(1), stands).unwrap();
    let refused = take(&mut payee, midnight + 13, &evening, &sure(0), stands).unwrap_err();
    assert!(matches!(refused, RejectReason::DailyCap { .. }), "{refused}");
}

#[test]
fn tickets_that_do_not_win_count_nothing_and_a_restart_forgets_nothing() {
    let (mut payer, mut payee, own) = pair();
    let key = signer(7);
    let stands = backing(&key, 1, NOW + 10 * DAY);
    let cheap = |n| Due { price: U256::from(1), ..due(n) };
    for n in 0..50 {
        let ticket = sign(payer.issue(NOW, &cheap(n), random(n)).unwrap(), &key);
        assert!(!take(&mut payee, NOW, &ticket, &cheap(n), stands).unwrap());
        payer.offer_commits(payee.next_commits(1));
    }
    let ticket = sign(payer.issue(NOW, &due(99), random(99)).unwrap(), &key);
    let spent = vec![(issue_day(ticket.body.nonce), key.address(), U256::from(1))];
    let state = PayeeState { next_index: payee.next_index(), spent, ..PayeeState::default() };
    let restarted = Payee::restore(DOMAIN, own.address(), PAYEE, random(0), state);
    let refused = restarted.accept(NOW, &ticket, &due(99), stands).unwrap_err();
    assert!(matches!(refused, RejectReason::DailyCap { .. }), "{refused}");
}

#[test]
fn a_ticket_issued_longer_than_a_day_ago_is_refused_of_a_session_key() {
    let (mut payer, mut payee, _) = pair();
    let key = signer(7);
    let stands = backing(&key, 9, NOW + 10 * DAY);
    let old = payer.issue(NOW, &due(1), random(1)).unwrap();
    let now = NOW + DAY + 1;
    let body = Ticket { expiry: alloy::primitives::aliases::U40::from(now + TICKET_TTL), ..old };
    let refused = take(&mut payee, now, &sign(body, &key), &due(1), stands).unwrap_err();
    assert!(matches!(refused, RejectReason::Issued { .. }), "{refused}");
}

/// What the broker keeps of a pair and its session keys, and how it counts.
#[derive(Default)]
struct Broker {
    last_nonce: u64,
    spent: HashMap<Address, (u64, U256)>,
}

impl Broker {
    fn redeem(&mut self, ticket: &Ticket, session: Option<SessionKey>) -> Result<(), String> {
        if ticket.nonce <= self.last_nonce {
            return Err("NonceNotRising".into());
        }
        self.last_nonce = ticket.nonce;
        let Some(SessionKey { key, expiry, daily_cap }) = session else { return Ok(()) };
        if ticket.expiry.to::<u64>() > expiry {
            return Err("SessionKeyExpired".into());
        }
        let (day, face_value) = (issue_day(ticket.nonce), U256::from(ticket.faceValue));
        let spent = self.spent.entry(key).or_default();
        let amount = if spent.0 == day { spent.1 + face_value } else { face_value };
        *spent = (day, amount);
        if amount > daily_cap { Err("DailyCapExceeded".into()) } else { Ok(()) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// P14: whoever signs, however tickets overtake each other and whenever they are redeemed, the broker takes every winner that
    /// the payee took.
    #[test]
    fn p14_with_session_keys_the_broker_takes_every_winner(
        steps in prop::collection::vec((0u64..90, 0usize..3, any::<Option<prop::sample::Index>>(), any::<bool>()), 80),
    ) {
        let (mut payer, mut payee, own) = pair();
        let keys = [own, signer(7), signer(8)];
        let ends = NOW + 2 * DAY;
        let stands = [Backing::from(U256::MAX), backing(&keys[1], 3, ends), backing(&keys[2], 1, ends)];
        let terms = Terms { ..TERMS };
        let (mut broker, mut now) = (Broker::default(), NOW);
        let (mut pending, mut waiting) = (Vec::new(), Vec::new());
        let mut taken = 0;
        for (n, (minutes, who, deliver, redeem)) in steps.into_iter().enumerate() {
            now += minutes * 60;
            let due = Due { terms, ..sure(n as u64) };
            pending.push((sign(payer.issue(now, &due, random(n as u64)).unwrap(), &keys[who]), due, who));
            payer.offer_commits(payee.next_commits(1));
            if let Some(index) = deliver {
                let (ticket, due, who) = pending.remove(index.index(pending.len()));
                if let Ok(true) = take(&mut payee, now, &ticket, &due, stands[who]) {
                    waiting.push((ticket.body, stands[who].session));
                    taken += 1;
                }
            }
            if redeem {
                waiting.sort_by_key(|(ticket, _)| ticket.nonce);
                for (ticket, session) in waiting.drain(..) {
                    let redeemed = broker.redeem(&ticket, session);
                    prop_assert!(redeemed.is_ok(), "{redeemed:?} {ticket:?}");
                }
                payee.sync(U256::ZERO, broker.last_nonce);
            }
        }
        prop_assert!(taken > 0 || pending.len() > 70);
    }
}
