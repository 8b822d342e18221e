use alloy::primitives::{B256, U256};
use millrace_tickets::credit::{
    Credit, CreditError, FIRST, MAX_OWED, MAX_SPARE, Outcome, PAID_PER_FORGIVEN, SECONDS_PER_FORGIVEN,
};
use proptest::prelude::*;

use crate::{NOW, random};

const STREAM: B256 = B256::ZERO;
/// Wei of a segment.
const PRICE: U256 = U256::from_limbs([1_000, 0, 0, 0]);

/// Takes a segment on and ends it.
fn one(credit: &mut Credit, now: u64, outcome: Outcome) -> Result<(), CreditError> {
    credit.take(now, STREAM, 4)?;
    credit.end(now, STREAM, outcome, PRICE);
    Ok(())
}

#[test]
fn a_payer_that_never_pays_gets_a_handful_and_then_one_in_ten_minutes() {
    let mut credit = Credit::new(1_000);
    for _ in 0..MAX_OWED {
        one(&mut credit, NOW, Outcome::Unpaid).unwrap();
    }
    assert_eq!(one(&mut credit, NOW, Outcome::Unpaid), Err(CreditError::Owed { owed: MAX_OWED }));
    assert!(one(&mut credit, NOW + SECONDS_PER_FORGIVEN - 1, Outcome::Unpaid).is_err());
    one(&mut credit, NOW + SECONDS_PER_FORGIVEN, Outcome::Unpaid).unwrap();
    assert!(one(&mut credit, NOW + SECONDS_PER_FORGIVEN, Outcome::Unpaid).is_err());
}

#[test]
fn a_new_payer_may_have_as_much_under_way_as_it_can_be_trusted_with_and_more_with_each_ticket() {
    let mut credit = Credit::default();
    for stream in 0..FIRST {
        credit.take(NOW, random(stream), 4).unwrap();
    }
    assert_eq!(credit.take(NOW, random(9), 4), Err(CreditError::New { under_way: FIRST, paid: 0 }));
    credit.end(NOW, random(0), Outcome::Paid, PRICE);
    credit.take(NOW, random(9), 4).unwrap();
    credit.take(NOW, random(10), 4).unwrap();
    assert!(credit.take(NOW, random(11), 4).is_err());
    credit.paid_ahead(random(11), 2, PRICE);
    credit.take(NOW, random(11), 4).unwrap();
}

#[test]
fn a_stream_that_prepays_is_taken_on_at_first_contact_however_many_begin_at_once() {
    let mut credit = Credit::default();
    for stream in 0..20 {
        credit.take_prepaid(NOW, random(stream), 4, 2).unwrap();
    }
    // What they promise is no credit for others.
    for stream in 20..20 + FIRST {
        credit.take(NOW, random(stream), 4).unwrap();
    }
    assert!(credit.take(NOW, random(40), 4).is_err());
    // One that has prepaid counts, and so does what it has paid.
    credit.paid_ahead(random(0), 2, PRICE);
    credit.promise_over();
    credit.take(NOW, random(40), 4).unwrap();
    assert!(credit.take(NOW, random(41), 4).is_err());
}

#[test]
fn a_stream_has_only_so_much_under_way() {
    let mut credit = Credit::new(100);
    credit.take(NOW, STREAM, 2).unwrap();
    credit.take(NOW, STREAM, 2).unwrap();
    assert_eq!(credit.take(NOW, STREAM, 2), Err(CreditError::Stream { open: 2 }));
    credit.take(NOW, random(1), 2).unwrap();
    credit.end(NOW, STREAM, Outcome::Void, PRICE);
    credit.take(NOW, STREAM, 2).unwrap();
}

#[test]
fn a_payer_that_crashes_after_every_segment_and_pays_when_it_is_back_is_never_refused() {
    let mut credit = Credit::default();
    for n in 0..10 * MAX_OWED {
        one(&mut credit, NOW + n, Outcome::Unpaid).unwrap();
        credit.repaid(NOW + n);
        assert!(credit.is_clean(NOW + n));
    }
    // And what is repaid beyond what is owed is no credit.
    credit.repaid(NOW + 100);
    for _ in 0..MAX_OWED {
        one(&mut credit, NOW + 100, Outcome::Unpaid).unwrap();
    }
    assert_eq!(one(&mut credit, NOW + 100, Outcome::Unpaid), Err(CreditError::Owed { owed: MAX_OWED }));
}

#[test]
fn one_lost_ticket_in_fifty_is_forgiven_for_ever() {
    let mut credit = Credit::default();
    for n in 0..100 * PAID_PER_FORGIVEN {
        let outcome = if n % PAID_PER_FORGIVEN == 0 { Outcome::Unpaid } else { Outcome::Paid };
        one(&mut credit, NOW + n / 1000, outcome).unwrap();
    }
}

#[test]
fn a_crash_of_one_that_has_paid_for_much_is_no_debt_and_what_it_has_in_hand_is_bounded() {
    let mut credit = Credit::default();
    for _ in 0..2 * MAX_SPARE * PAID_PER_FORGIVEN {
        one(&mut credit, NOW, Outcome::Paid).unwrap();
    }
    for stream in 0..MAX_SPARE + MAX_OWED {
        credit.take(NOW, random(stream), 1).unwrap();
    }
    for stream in 0..MAX_SPARE {
        credit.end(NOW, random(stream), Outcome::Unpaid, PRICE);
    }
    assert!(!credit.is_clean(NOW), "some are under way");
    for stream in MAX_SPARE..MAX_SPARE + MAX_OWED {
        credit.take(NOW, random(1_000), 4).unwrap();
        credit.end(NOW, random(1_000), Outcome::Void, PRICE);
        credit.end(NOW, random(stream), Outcome::Unpaid, PRICE);
    }
    assert_eq!(credit.take(NOW, random(1_000), 4), Err(CreditError::Owed { owed: MAX_OWED }));
}

#[test]
fn a_prepayment_stands_for_its_own_stream() {
    let mut credit = Credit::default();
    for crash in 0..10 * MAX_OWED {
        // It comes back with a new stream each time, prepays two segments, and leaves two unpaid.
        credit.take_prepaid(NOW, random(crash), 4, 2).unwrap();
        credit.paid_ahead(random(crash), 2, PRICE);
        credit.promise_over();
        credit.take(NOW, random(crash), 4).unwrap();
        credit.end(NOW, random(crash), Outcome::Unpaid, PRICE);
        credit.end(NOW, random(crash), Outcome::Unpaid, PRICE);
        assert!(credit.is_clean(NOW));
    }
    credit.paid_ahead(random(0), 2 * MAX_OWED, PRICE);
    for _ in 0..MAX_OWED {
        one(&mut credit, NOW, Outcome::Unpaid).unwrap();
    }
    assert_eq!(one(&mut credit, NOW, Outcome::Unpaid), Err(CreditError::Owed { owed: MAX_OWED }));
}

#[test]
fn what_was_paid_for_cheap_work_stands_for_no_dear_work() {
    let dear = PRICE * U256::from(100);
    let mut credit = Credit::default();
    for _ in 0..MAX_SPARE * PAID_PER_FORGIVEN {
        one(&mut credit, NOW, Outcome::Paid).unwrap();
    }
    credit.paid_ahead(STREAM, 2, PRICE);
    for _ in 0..MAX_OWED + 1 {
        // What is in hand is good for one such segment, and the prepayment for none.
        credit.take(NOW, STREAM, 4).unwrap();
        credit.end(NOW, STREAM, Outcome::Unpaid, dear);
    }
    assert_eq!(credit.take(NOW, STREAM, 4), Err(CreditError::Owed { owed: MAX_OWED }));
}

proptest! {
    /// Whatever a payer does, what it ever gets unpaid is bounded by what it paid, before and after, and how long it took.
    #[test]
    fn what_is_lost_to_a_payer_is_bounded(steps in prop::collection::vec((0u64..120, 0u8..6, 0u64..5), 1..400)) {
        let mut credit = Credit::default();
        let (mut now, mut paid, mut ahead, mut lost, mut open) = (NOW, 0, 0, 0, Vec::new());
        for (wait, what, stream) in steps {
            now += wait;
            match what {
                0 | 1 => if credit.take(now, random(stream), 3).is_ok() { open.push(random(stream)) },
                2 => if let Some(stream) = open.pop() { credit.end(now, stream, Outcome::Paid, PRICE); paid += 1 },
                3 => if let Some(stream) = open.pop() { credit.end(now, stream, Outcome::Unpaid, PRICE); lost += 1 },
                4 => { credit.paid_ahead(random(stream), 1, PRICE); ahead += 1 }
                _ => if lost > 0 { credit.repaid(now); lost -= 1; paid += 1 },
            }
            prop_assert!(open.len() as u64 <= FIRST + paid + ahead);
            // What was under way when the limit was reached may still be lost.
            let forgiven = paid / PAID_PER_FORGIVEN + (now - NOW) / SECONDS_PER_FORGIVEN + 1;
            prop_assert!(lost <= ahead + MAX_OWED + forgiven + 5 * 3, "{lost} lost, {paid} paid, {ahead} ahead, {} s", now - NOW);
        }
    }
}
