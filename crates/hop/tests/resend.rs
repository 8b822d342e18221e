//! Tickets that were signed and not acknowledged, when either end is killed in between: they come again, and each is paid once.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test, with a support module that each test uses in part"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../../../contracts/tests/support/chaos.rs"]
mod chaos;
mod common;

use std::time::Duration;

use alloy::primitives::{B256, U256};
use chaos::{Chaos, Weather};
use common::*;
use millrace_contracts::ChainOptions;
use millrace_hop::redeem::{Policy, Redeemer};
use millrace_hop::serve::{Arrival, Settled, arrive};
use millrace_hop::{arrears, prepayment};
use millrace_tickets::credit::MAX_OWED;
use millrace_tickets::hashes::PREPAID_SEGMENTS;
use millrace_tickets::payee::NONCE_WINDOW;
use millrace_tickets::{Signed, Terms, Ticket, prepay_work_hash};
use millrace_wire::messages::{Down, Up};
use tokio::sync::Notify;

/// The two connect, and what a connection begins with crosses.
async fn meet(assigner: &Node, worker: &Node) -> Line {
    let line = assigner.connect(worker).await;
    let commits = worker.account.till.commits(assigner.account.address(), 16).await.unwrap();
    assigner.account.purse.open(worker.account.address(), TERMS, commits).await.unwrap();
    line
}

/// The assigner sends again what was not acknowledged, and the worker answers.
async fn send_again(line: &Line, assigner: &Node, worker: &Node) {
    let answering = async {
        let channel = line.down.accept().await.unwrap();
        let Arrival::Tickets(tickets) = arrive(channel, line.down.address(), |_| Ok(FRAMES)).await.unwrap() else {
            panic!("a segment came")
        };
        tickets.take(&worker.account).await.unwrap();
    };
    tokio::join!(arrears::before_work(&line.up, &assigner.account.purse), answering);
}

/// A segment is delivered and its ticket signed, and not a byte of it is sent. Gives the ticket.
async fn signed_and_not_sent(line: &Line, assigner: &Node, worker: &Node, seq: u64) -> Signed<Ticket> {
    signed_under(&TERMS, line, assigner, worker, seq).await
}

async fn signed_under(terms: &Terms, line: &Line, assigner: &Node, worker: &Node, seq: u64) -> Signed<Ticket> {
    let (source, offer, over) = (source(), offer(*terms), Notify::new());
    let assigning = async {
        let (delivered, _) = line.attempt(&assigner.account, open(seq, 0), &source, &offer).await;
        let delivered = delivered.unwrap();
        let work = assigner.account.pen.digest(&delivered.receipt.body);
        let ticket = assigner.account.purse.pay(worker.account.address(), work, U256::from(PRICE)).await.unwrap();
        over.notify_one();
        ticket
    };
    let working = async {
        let mut job = line.job().await.unwrap();
        job.take_on(&worker.account.credits, &TERMS, 3, 0).await.unwrap();
        let work = work(&mut job, &worker.account, terms).await.unwrap();
        tokio::select! {
            settled = job.deliver(work.made(), terms, &worker.account.pen, &worker.account.till) => panic!("{settled:?}"),
            () = over.notified() => {}
        }
    };
    tokio::join!(assigning, working).0
}

async fn tickets(assigner: &Node, worker: &Node) -> (u64, usize) {
    let (us, them) = (assigner.account.address(), worker.account.address());
    let unacknowledged = assigner.disk().await.unacked(us, them, 0).await.unwrap().len();
    (worker.disk().await.totals().await.unwrap().received, unacknowledged)
}

#[tokio::test]
async fn a_payer_that_is_killed_after_signing_pays_when_it_is_back_and_owes_nothing() {
    let net = Net::start().await;
    let (mut assigner, worker) = (net.node(1).await, net.node(2).await);
    let mut line = assigner.hire(&worker, TERMS).await;
    for seq in 0..2 * MAX_OWED {
        let ticket = signed_and_not_sent(&line, &assigner, &worker, seq).await;
        assigner = net.again(assigner).await;
        line = meet(&assigner, &worker).await;
        assert_eq!(assigner.account.purse.unacknowledged(worker.account.address()).await.unwrap(), [ticket]);
        send_again(&line, &assigner, &worker).await;
        assert_eq!(tickets(&assigner, &worker).await, (seq + 1, 0));
    }
}

#[tokio::test]
async fn a_payee_that_is_killed_before_or_after_it_wrote_the_ticket_has_it_once() {
    let net = Net::start().await;
    let (assigner, mut worker) = (net.node(1).await, net.node(2).await);
    let (us, mut line) = (assigner.account.address(), assigner.hire(&worker, TERMS).await);
    for (seq, written) in [(0, false), (1, true)] {
        let ticket = signed_and_not_sent(&line, &assigner, &worker, seq).await;
        if written {
            let (till, work) = (&worker.account.till, ticket.body.workHash);
            till.accept(&ticket, us, &TERMS, work, U256::from(PRICE)).await.unwrap();
        }
        worker = net.again(worker).await;
        line = meet(&assigner, &worker).await;
        send_again(&line, &assigner, &worker).await;
        assert_eq!(tickets(&assigner, &worker).await, (seq + 1, 0));
        assert_eq!(
            worker.account.store.unpaid(us, worker.account.address(), ticket.body.workHash).await.unwrap(),
            None
        );
    }
}

#[tokio::test]
async fn a_prepayment_that_was_held_up_is_taken_when_its_stream_had_begun() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (us, them, price) =
        (assigner.account.address(), worker.account.address(), prepayment(&TERMS, open(0, 0).megapixel_rate));
    for index in 0..PREPAID_SEGMENTS {
        let work = prepay_work_hash(STREAM, us, them, index);
        assigner.account.purse.pay(them, work, price).await.unwrap();
    }
    // The worker hears of the stream, and not of the tickets.
    let (source, offer) = (source(), offer(TERMS));
    let begun = async {
        let mut job = line.job().await.unwrap();
        job.take_prepayment(&worker.account.till, &TERMS, price).await.unwrap_err();
    };
    let ((failed, _), ()) = tokio::join!(line.attempt(&assigner.account, open(0, 0), &source, &offer), begun);
    assert!(failed.is_err());
    let (assigner, worker) = (net.again(assigner).await, net.again(worker).await);
    let line = meet(&assigner, &worker).await;
    send_again(&line, &assigner, &worker).await;
    assert_eq!(tickets(&assigner, &worker).await, (PREPAID_SEGMENTS.into(), 0));

    // Of a stream that never began, the tickets are refused for good.
    let work = prepay_work_hash(B256::repeat_byte(9), us, them, 0);
    assigner.account.purse.pay(them, work, price).await.unwrap();
    send_again(&line, &assigner, &worker).await;
    assert_eq!(tickets(&assigner, &worker).await, (PREPAID_SEGMENTS.into(), 0));
}

#[tokio::test]
async fn a_ticket_that_comes_too_late_is_refused_and_not_sent_again() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (us, them, price) = (assigner.account.address(), worker.account.address(), U256::from(PRICE));
    signed_and_not_sent(&line, &assigner, &worker, 0).await;
    for n in 0..=NONCE_WINDOW as u64 {
        let work = B256::from(U256::from(n + 1));
        let ticket = assigner.account.purse.pay(them, work, price).await.unwrap();
        let accepted = worker.account.till.accept(&ticket, us, &TERMS, work, price).await.unwrap();
        assigner.account.purse.acknowledged(them, work, accepted.commits).await.unwrap();
    }
    send_again(&line, &assigner, &worker).await;
    assert_eq!(tickets(&assigner, &worker).await, (NONCE_WINDOW as u64 + 1, 0), "its nonce is below the window");
    assert_eq!(assigner.account.purse.unacknowledged(them).await.unwrap(), []);
    let assigner = net.again(assigner).await;
    meet(&assigner, &worker).await;
    assert_eq!(assigner.account.purse.unacknowledged(them).await.unwrap(), [], "and stays refused");
}

#[tokio::test]
async fn a_winner_waits_for_an_older_ticket_that_is_held_up_and_both_redeem() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, CERTAIN).await;
    let (us, price, account) = (assigner.account.address(), U256::from(PRICE), &worker.account);
    let policy = Policy { batch: 1, after: Duration::ZERO, retry: Duration::ZERO };
    let mut redeemer = Redeemer::new(account.store.clone(), account.chain.clone(), account.till.clone(), policy);
    signed_under(&CERTAIN, &line, &assigner, &worker, 0).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let newer = signed_under(&CERTAIN, &line, &assigner, &worker, 1).await;
    let work = newer.body.workHash;
    account.till.accept(&newer, us, &CERTAIN, work, price).await.unwrap();
    let commits = account.till.commits(us, 1).await.unwrap();
    assigner.account.purse.acknowledged(account.address(), work, commits).await.unwrap();
    for _ in 0..3 {
        redeemer.step().await.unwrap();
    }
    assert_eq!(account.store.totals().await.unwrap().queued, 1, "the older ticket would be void");
    send_again(&line, &assigner, &worker).await;
    assert_eq!(tickets(&assigner, &worker).await, (2, 0));
    until("both are final", async || {
        redeemer.step().await.unwrap();
        net.devnet.mine(1);
        account.store.totals().await.unwrap().redeemed == U256::from(CERTAIN.face_value * 2)
    })
    .await;
}

#[tokio::test]
async fn a_ticket_that_comes_twice_at_once_is_paid_once() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (source, offer) = (source(), offer(TERMS));
    let assigning = async {
        let (delivered, _) = line.attempt(&assigner.account, open(0, 0), &source, &offer).await;
        let delivered = delivered.unwrap();
        let work = assigner.account.pen.digest(&delivered.receipt.body);
        assigner.account.purse.pay(worker.account.address(), work, U256::from(PRICE)).await.unwrap();
        send_again(&line, &assigner, &worker).await;
        delivered.pay(&assigner.account.pen, &assigner.account.purse).await.unwrap();
    };
    let working = async {
        let mut job = line.job().await.unwrap();
        job.take_on(&worker.account.credits, &TERMS, 3, 0).await.unwrap();
        let work = work(&mut job, &worker.account, &TERMS).await.unwrap();
        job.deliver(work.made(), &TERMS, &worker.account.pen, &worker.account.till).await
    };
    let ((), settled) = tokio::join!(assigning, working);
    assert!(matches!(&settled, Ok(Settled::Paid { accepted, .. }) if accepted.again), "{settled:?}");
    assert_eq!(tickets(&assigner, &worker).await, (1, 0));
}

#[tokio::test]
async fn a_stranger_pays_nobody_elses_work_and_with_nobody_elses_ticket() {
    let net = Net::start().await;
    let (assigner, stranger, worker) = (net.node(1).await, net.node(3).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let ticket = signed_and_not_sent(&line, &assigner, &worker, 0).await;
    let strange = stranger.hire(&worker, TERMS).await;
    let (them, work) = (worker.account.address(), ticket.body.workHash);
    let own = stranger.account.purse.pay(them, work, U256::from(PRICE)).await.unwrap();
    for (sent, says) in [(&ticket, "not this pair"), (&own, "not on record")] {
        let sending = async {
            let (mut sender, mut receiver) = strange.up.open().await.unwrap().split();
            sender.send(&Up::Ticket(sent.clone())).await.unwrap();
            sender.finish();
            receiver.recv_within::<Down>(LIMIT).await.unwrap()
        };
        let answering = async {
            let channel = strange.down.accept().await.unwrap();
            let arrival = arrive(channel, strange.down.address(), |_| Ok(FRAMES)).await.unwrap();
            let Arrival::Tickets(tickets) = arrival else { panic!("a segment came") };
            tickets.take(&worker.account).await.unwrap();
        };
        let (answer, ()) = tokio::join!(sending, answering);
        assert!(matches!(&answer, Some(Down::TicketRejected { reason }) if reason.contains(says)), "{answer:?}");
    }
    assert_eq!(tickets(&assigner, &worker).await, (0, 1));
    send_again(&line, &assigner, &worker).await;
    assert_eq!(tickets(&assigner, &worker).await, (1, 0));
}

#[tokio::test]
async fn a_ticket_whose_payee_hears_nothing_of_the_chain_is_good_on_its_last_word_or_comes_again() {
    let net = Net::start().await;
    let proxy = Chaos::before(&net.devnet.rpc_url()).await;
    let at = || ChainOptions {
        confirmations: 2,
        call_timeout: Duration::from_millis(100),
        set_aside: Duration::from_millis(50),
        ..ChainOptions::from(&proxy.url)
    };
    let assigner = net.node(1).await;
    let worker = net.open_at(2, tempfile::tempdir().unwrap(), at()).await;
    let (us, them, price) = (assigner.account.address(), worker.account.address(), U256::from(PRICE));
    let line = assigner.hire(&worker, TERMS).await;
    let first = signed_and_not_sent(&line, &assigner, &worker, 0).await;

    // Nothing was ever read of this payer's lock.
    proxy.set(Weather::Hang);
    send_again(&line, &assigner, &worker).await;
    assert_eq!(tickets(&assigner, &worker).await, (0, 1), "neither taken nor refused");
    assert_eq!(assigner.account.purse.unacknowledged(them).await.unwrap(), [first]);
    proxy.set(Weather::Fair);
    tokio::time::sleep(Duration::from_millis(100)).await; // the endpoint is tried again
    send_again(&line, &assigner, &worker).await;
    assert_eq!(tickets(&assigner, &worker).await, (1, 0));

    // What was read a while ago holds.
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    proxy.set(Weather::Hang);
    let second = signed_and_not_sent(&line, &assigner, &worker, 1).await;
    worker.account.till.accept(&second, us, &TERMS, second.body.workHash, price).await.unwrap();
    // But not when a redemption has changed it since.
    let third = signed_and_not_sent(&line, &assigner, &worker, 2).await;
    worker.account.till.look_again(us).await;
    let error = worker.account.till.accept(&third, us, &TERMS, third.body.workHash, price).await.unwrap_err();
    assert!(error.passes(), "{error}");
}
