use std::collections::HashSet;
use std::time::Instant;

use alloy::primitives::U256;
use millrace_store::{AcceptError, Acceptance, IssueError, Once, PayeePair, StoreError};
use millrace_tickets::{Payee, PayeeState, Signed, Ticket};

use crate::{DOMAIN, Ends, NOW_MS, PAYEE, SEED, due, key, open_payee, open_payer, random};

const WORKS: u64 = 6;
/// Steps at which either end can die while one piece of work is paid.
const POINTS: usize = 5;

/// Pays six pieces of work; at `point` of the `work`-th one the payer, the payee or both die and start again, and
/// whoever is unsure sends again.
async fn pay_with_a_crash(work: u64, point: usize, payer_dies: bool, payee_dies: bool) {
    let mut ends = Ends::new().await;
    let mut sent: HashSet<Signed<Ticket>> = HashSet::new();
    for n in 0..WORKS {
        let crash_at = |here: usize| n == work && point == here;
        for step in 0..POINTS {
            let due = due(n);
            match step {
                0 => {}
                // Written, signed, and perhaps on the wire.
                1 => drop(sent.insert(ends.payer.issue(NOW_MS, &due, random(n)).await.unwrap())),
                // Arrived: sent again with other randomness at hand, as after a crash.
                2 | 3 => {
                    let ticket = ends.payer.issue(NOW_MS + 5000, &due, random(n + 1000)).await.unwrap();
                    sent.insert(ticket.clone());
                    let (_, commits) = ends.payee.accept(NOW_MS, &ticket, &due, U256::MAX).await.unwrap();
                    if step == 3 {
                        ends.payer.offer_commits(commits);
                    }
                }
                _ => ends.payer.acked(due.work_hash).await.unwrap(),
            }
            if crash_at(step) {
                if payer_dies {
                    ends.crash_payer().await;
                }
                if payee_dies {
                    ends.crash_payee().await;
                }
                ends.connect().await;
                for ticket in ends.payer.unacked(NOW_MS).await.unwrap() {
                    assert!(sent.contains(&ticket), "what is sent again is what was sent");
                    ends.payee.accept(NOW_MS, &ticket, &due, U256::MAX).await.unwrap();
                }
            }
        }
    }
    let at = format!("work {work}, point {point}, payer {payer_dies}, payee {payee_dies}");
    assert_eq!(sent.len(), WORKS as usize, "one ticket, the same bytes, for each work: {at}");
    let commits: HashSet<_> = sent.iter().map(|t| t.body.payeeCommit).collect();
    let nonces: HashSet<_> = sent.iter().map(|t| t.body.nonce).collect();
    assert_eq!((commits.len(), nonces.len()), (WORKS as usize, WORKS as usize), "{at}");
    let totals = ends.payee_store.totals().await.unwrap();
    assert_eq!(totals.received, WORKS, "{at}");
    assert_eq!(ends.payer_store.totals().await.unwrap().sent, WORKS, "{at}");
    assert_eq!(ends.payer_store.unacked(key().address(), PAYEE, NOW_MS / 1000).await.unwrap(), vec![], "{at}");
    assert_eq!(ends.payee_store.replay().await.unwrap().len() as u64, totals.winners, "{at}");
}

#[tokio::test]
async fn a_crash_at_any_point_pays_every_work_once() {
    for point in 0..POINTS {
        for (payer_dies, payee_dies) in [(true, false), (false, true), (true, true)] {
            pay_with_a_crash(2, point, payer_dies, payee_dies).await;
        }
    }
}

#[tokio::test]
async fn a_crash_between_the_row_and_the_acknowledgement_answers_the_resent_ticket() {
    let mut ends = Ends::new().await;
    let ticket = ends.payer.issue(NOW_MS, &due(1), random(1)).await.unwrap();
    // The payee's own steps, cut off after the row was written: memory never learnt of it.
    let state = PayeeState { next_index: 16, ..PayeeState::default() };
    let memory = Payee::restore(DOMAIN, key().address(), PAYEE, SEED, state);
    let accepted = memory.accept(NOW_MS / 1000, &ticket, &due(1), U256::MAX).unwrap();
    ends.payee_store.accept_ticket(NOW_MS, &ticket, &accepted, 17).await.unwrap();
    // A cancelled task: the same process, whose memory lacks the ticket, finds the row.
    let (same, _) = ends.payee.accept(NOW_MS, &ticket, &due(1), U256::MAX).await.unwrap();
    assert_eq!((same.digest, same.winner, same.again), (accepted.digest, accepted.winner, false));
    // A killed process: the next one knows it from the start.
    ends.crash_payee().await;
    let (same, _) = ends.payee.accept(NOW_MS, &ticket, &due(1), U256::MAX).await.unwrap();
    assert_eq!((same.digest, same.winner, same.again), (accepted.digest, accepted.winner, true));
    assert_eq!(ends.payee_store.totals().await.unwrap().received, 1);
}

#[tokio::test]
async fn an_identical_ticket_is_acknowledged_again_and_counted_once() {
    let mut ends = Ends::new().await;
    let ticket = ends.pay(&due(1)).await;
    for _ in 0..3 {
        let (accepted, commits) = ends.payee.accept(NOW_MS, &ticket, &due(1), U256::MAX).await.unwrap();
        assert!(accepted.again);
        assert_eq!(commits.len(), 1);
    }
    let totals = ends.payee_store.totals().await.unwrap();
    assert_eq!((totals.received, totals.received_expected), (1, due(1).price));
}

#[tokio::test]
async fn the_database_refuses_what_memory_forgot() {
    let mut ends = Ends::new().await;
    // A second memory of the same pair that never hears of the first one's tickets.
    let mut stale: PayeePair = open_payee(ends.dir.path()).await.1;
    let first = ends.payer.issue(NOW_MS, &due(1), random(1)).await.unwrap();
    let second = ends.payer.issue(NOW_MS, &due(2), random(2)).await.unwrap();
    ends.payee.accept(NOW_MS, &first, &due(1), U256::MAX).await.unwrap();
    let sign = |ticket: Ticket| Signed::sign(ticket, &DOMAIN, &key()).unwrap();

    let same_work = sign(Ticket { workHash: first.body.workHash, ..second.body.clone() });
    let same_commit = sign(Ticket { payeeCommit: first.body.payeeCommit, ..second.body.clone() });
    let same_nonce = sign(Ticket { nonce: first.body.nonce, ..second.body.clone() });
    for (ticket, due, once) in
        [(same_work, due(1), Once::WorkHash), (same_commit, due(2), Once::Commit), (same_nonce, due(2), Once::Nonce)]
    {
        match stale.accept(NOW_MS, &ticket, &due, U256::MAX).await {
            Err(AcceptError::Taken(taken)) => assert_eq!(taken, once),
            other => panic!("{once:?}: {other:?}"),
        }
    }
    assert_eq!(ends.payee_store.totals().await.unwrap().received, 1, "a refusal leaves nothing behind");
    stale.accept(NOW_MS, &second, &due(2), U256::MAX).await.unwrap();
}

#[tokio::test]
async fn a_row_for_the_very_same_ticket_is_no_error() {
    let mut ends = Ends::new().await;
    let ticket = ends.payer.issue(NOW_MS, &due(1), random(1)).await.unwrap();
    let (accepted, _) = ends.payee.accept(NOW_MS, &ticket, &due(1), U256::MAX).await.unwrap();
    let again = ends.payee_store.accept_ticket(NOW_MS, &ticket, &accepted, 99).await.unwrap();
    assert_eq!(again, Acceptance::Same);
}

#[tokio::test]
async fn two_processes_of_one_payer_sign_one_ticket_for_one_work() {
    let mut ends = Ends::new().await;
    let mut twin = open_payer(ends.dir.path()).await.1;
    let commits = ends.payee.commits(16).await.unwrap();
    twin.offer_commits(commits.clone());
    let first = ends.payer.issue(NOW_MS, &due(1), random(1)).await.unwrap();
    assert_eq!(twin.issue(NOW_MS, &due(1), random(2)).await.unwrap(), first);
    // A payee that offers a commit again gets no second ticket on it.
    let mut fresh = open_payer(ends.dir.path()).await.1;
    fresh.offer_commits(vec![commits[1]]);
    twin.issue(NOW_MS + 1000, &due(2), random(2)).await.unwrap();
    let refused = fresh.issue(NOW_MS + 2000, &due(3), random(3)).await;
    assert!(matches!(refused, Err(IssueError::Store(StoreError::Taken(Once::Commit)))), "{refused:?}");
    fresh.offer_commits(ends.payee.commits(1).await.unwrap());
    fresh.issue(NOW_MS + 2000, &due(3), random(3)).await.unwrap();
}

#[tokio::test]
async fn sixteen_lost_tickets_leave_a_pair_that_still_pays() {
    let mut ends = Ends::new().await;
    for n in 0..16 {
        ends.payer.issue(NOW_MS, &due(n), random(n)).await.unwrap();
    }
    assert_eq!(ends.payer.commits_left(), 0);
    ends.crash_payer().await;
    ends.connect().await;
    ends.pay(&due(99)).await;
    // And the lost ones are good when they come late.
    for ticket in ends.payer.unacked(NOW_MS).await.unwrap() {
        let n = (0..16).find(|n| due(*n).work_hash == ticket.body.workHash).unwrap();
        ends.payee.accept(NOW_MS, &ticket, &due(n), U256::MAX).await.unwrap();
    }
    assert_eq!(ends.payee_store.totals().await.unwrap().received, 17);
}

#[tokio::test]
async fn tickets_are_validated_and_stored_at_a_rate_worth_printing() {
    const TICKETS: u64 = 300;
    let mut ends = Ends::new().await;
    let mut spent = std::time::Duration::ZERO;
    for n in 0..TICKETS {
        let ticket = ends.payer.issue(NOW_MS, &due(n), random(n)).await.unwrap();
        let start = Instant::now();
        let (_, commits) = ends.payee.accept(NOW_MS, &ticket, &due(n), U256::MAX).await.unwrap();
        spent += start.elapsed();
        ends.payer.offer_commits(commits);
    }
    println!("tickets validated and stored: {:.0} a second, one after another", TICKETS as f64 / spent.as_secs_f64());
    let ticket = ends.payer.issue(NOW_MS, &due(0), random(0)).await.unwrap();
    let start = Instant::now();
    (0..TICKETS).for_each(|_| assert!(ticket.recover(&DOMAIN).is_ok()));
    println!("of which signatures recovered: {:.0} a second", TICKETS as f64 / start.elapsed().as_secs_f64());
    assert_eq!(ends.payee_store.totals().await.unwrap().received, TICKETS);
}
