//! Both ends of a hop by behaviour: QUIC on loopback, databases in files, the contracts on the embedded chain. No media:
//! bytes are opaque to a hop.
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test, with a support module beside it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use alloy::primitives::{Address, B256, U256, aliases::U40};
use bytes::Bytes;
use common::*;
use millrace_hop::assign::{AttemptError, Output, Rendition};
use millrace_hop::serve::{FURTHEST_DEADLINE, ServeError, Settled};
use millrace_hop::sign::SignError;
use millrace_hop::{Account, prepayment, unix_now};
use millrace_store::WinnerState;
use millrace_store::signing::SIGNING_LOG_KEPT_MS;
use millrace_tickets::credit::MAX_OWED;
use millrace_tickets::hashes::PREPAID_SEGMENTS;
use millrace_tickets::{
    Assignment, RenditionFacts, SegmentReceipt, Signed, Terms, Ticket, prepay_work_hash, profiles_hash, rendition_root,
};
use millrace_wire::messages::{Down, Refusal, RefusalCode, SegmentOpen, Up};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_segment_is_paid_on_disk_at_both_ends_and_its_winner_on_the_chain() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, CERTAIN).await;
    let (us, them) = (assigner.account.address(), worker.account.address());
    let chain = &assigner.account.chain;
    let before = (chain.balance(us).await.unwrap(), chain.balance(them).await.unwrap());

    let (source, offer) = (source(), offer(CERTAIN));
    let assigning = async {
        let (delivered, outputs) = line.attempt(&assigner.account, open(0, 0), &source, &offer).await;
        let delivered = delivered.unwrap();
        assert_eq!(delivered.price, U256::from(PRICE));
        assert_eq!(collect(&outputs), parts_of(&delivered.renditions), "outputs are what the receipt is for");
        delivered.pay(&assigner.account.pen, &assigner.account.purse).await.unwrap();
    };
    let ((), settled) = tokio::join!(assigning, serve(&line, &worker.account, &CERTAIN));
    let Ok(Settled::Paid { accepted, price }) = settled else { panic!("{settled:?}") };
    assert!(accepted.winner);
    assert_eq!(price, U256::from(PRICE));

    let (sent, received) = (assigner.disk().await, worker.disk().await);
    assert_eq!(sent.sent_to(us, them).await.unwrap(), price);
    assert_eq!(sent.unacked(us, them, 0).await.unwrap(), [], "the acknowledgement is written down");
    assert_eq!(received.received_from(us, them).await.unwrap(), price);
    assert_eq!(received.totals().await.unwrap().queued, 1);

    let stop = CancellationToken::new();
    let redeeming = tokio::spawn(worker.account.redeemer(1, 0).run(stop.clone()));
    let winner = async || received.recent_tickets(1).await.unwrap().remove(0);
    until("the winner is in a block", async || winner().await.state == Some(WinnerState::Mined)).await;
    let mined = chain.receipt(winner().await.tx.unwrap()).await.unwrap().unwrap();
    // Nothing else moves this chain: two blocks make the winner final.
    net.devnet.advance(Duration::ZERO);
    net.devnet.advance(Duration::ZERO);
    until("the winner is final", async || winner().await.state == Some(WinnerState::Final)).await;
    until("the credit is claimed", async || chain.credit(them).await.unwrap().is_zero()).await;
    stop.cancel();
    redeeming.await.unwrap();

    let face_value = U256::from(CERTAIN.face_value);
    assert_eq!(received.totals().await.unwrap().redeemed, face_value);
    let fees = before.1 + face_value - chain.balance(them).await.unwrap();
    assert!(fees > mined.fee && fees < mined.fee * U256::from(2), "the redemption's, and a claim's, which is cheaper");
    assert_eq!(chain.balance(us).await.unwrap(), before.0, "the lock pays, and the worker the gas");
    assert_eq!(chain.pair(us, them).await.unwrap().locked, U256::from(LOCK) - face_value);
}

/// The renditions' inits and parts, in order within each rendition.
fn collect(outputs: &[Output]) -> Vec<(u8, Option<u32>, Bytes)> {
    let mut all: Vec<_> = outputs
        .iter()
        .map(|output| match output {
            Output::Init { rendition, bytes } => (*rendition, None, bytes.clone()),
            Output::Part { rendition, index, bytes } => (*rendition, Some(*index), bytes.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    all.sort_by_key(|(rendition, index, _)| (*rendition, *index));
    all
}

fn parts_of(renditions: &[Rendition]) -> Vec<(u8, Option<u32>, Bytes)> {
    let of = |(rendition, kept): (u8, &Rendition)| {
        let parts = (0..).zip(&kept.parts).map(move |(index, part)| (rendition, Some(index), part.clone()));
        std::iter::once((rendition, None, kept.init.clone())).chain(parts).collect::<Vec<_>>()
    };
    (0..).zip(renditions).flat_map(of).collect()
}

/// The tickets that prepay the stream.
async fn prepaid(assigner: &Node, worker: &Node, stream: B256, price: U256) -> Vec<Signed<Ticket>> {
    let (us, them) = (assigner.account.address(), worker.account.address());
    let mut tickets = Vec::new();
    for index in 0..PREPAID_SEGMENTS {
        let work = prepay_work_hash(stream, us, them, index);
        tickets.push(assigner.account.purse.pay(them, work, price).await.unwrap());
    }
    tickets
}

#[tokio::test]
async fn a_prepayment_that_is_sent_again_is_acknowledged_again_and_paid_once() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let price = prepayment(&TERMS, open(0, 0).megapixel_rate);
    let (source, mut offer) = (source(), offer(TERMS));

    // The worker takes the prepayment and fails before it has accepted.
    offer.prepaid = prepaid(&assigner, &worker, STREAM, price).await;
    let first = async {
        let mut job = line.job().await.unwrap();
        job.take_prepayment(&worker.account.till, &TERMS, price).await.unwrap();
    };
    let ((failed, _), ()) = tokio::join!(line.attempt(&assigner.account, open(0, 0), &source, &offer), first);
    assert!(failed.err().unwrap().blames_worker());
    assert_eq!(worker.disk().await.totals().await.unwrap().received, 2);

    // The stream is prepaid for the worker, and the assigner cannot know.
    let again = prepaid(&assigner, &worker, STREAM, price).await;
    assert_eq!(again, offer.prepaid, "the same work is paid by the same bytes");
    let second = async {
        let (delivered, outputs) = line.attempt(&assigner.account, open(0, 1), &source, &offer).await;
        assert!(outputs.iter().any(|output| matches!(output, Output::Prepaid)));
        delivered.unwrap().pay(&assigner.account.pen, &assigner.account.purse).await.unwrap();
    };
    let ((), settled) = tokio::join!(second, serve(&line, &worker.account, &TERMS));
    assert!(matches!(settled, Ok(Settled::Paid { .. })), "{settled:?}");

    let (sent, received) = (assigner.disk().await, worker.disk().await);
    assert_eq!((sent.totals().await.unwrap().sent, received.totals().await.unwrap().received), (3, 3));
    let all = price * U256::from(PREPAID_SEGMENTS) + U256::from(PRICE);
    assert_eq!(received.totals().await.unwrap().received_expected, all);
    let (us, them) = (assigner.account.address(), worker.account.address());
    assert_eq!(sent.unacked(us, them, 0).await.unwrap(), []);
}

#[tokio::test]
async fn a_worker_that_vanishes_is_blamed_and_another_gets_the_whole_source() {
    let net = Net::start().await;
    let (assigner, gone, closes, honest) = (net.node(1).await, net.node(2).await, net.node(3).await, net.node(4).await);
    let (source, offer) = (live_source(), offer(TERMS));
    source.push(0, part(0), FRAMES).unwrap();

    let line = assigner.hire(&gone, TERMS).await;
    let vanish = async {
        let mut job = line.job().await.unwrap();
        job.accept().await.unwrap();
        until("the first part is here", async || job.source.frames() > 0).await;
        line.down.close(0, "");
    };
    let ((result, _), ()) = tokio::join!(line.attempt(&assigner.account, open(0, 0), &source, &offer), vanish);
    let error = result.err().unwrap();
    assert!(matches!(error, AttemptError::Wire { worker, .. } if worker == gone.account.address()), "{error}");
    assert!(error.blames_worker());

    source.push(1, part(1), FRAMES).unwrap();
    let line = assigner.hire(&closes, TERMS).await;
    let close = async {
        let mut job = line.job().await.unwrap();
        job.accept().await.unwrap();
        until("both parts are here", async || job.source.frames() == 2 * FRAMES).await;
    };
    let ((result, _), ()) = tokio::join!(line.attempt(&assigner.account, open(0, 1), &source, &offer), close);
    let error = result.err().unwrap();
    assert!(matches!(error, AttemptError::Closed { worker } if worker == closes.account.address()), "{error}");
    assert!(error.blames_worker());

    let line = assigner.hire(&honest, TERMS).await;
    let working = async {
        let mut job = line.job().await.unwrap();
        let work = work(&mut job, &honest.account, &TERMS).await.unwrap();
        let settled = job.deliver(work.made(), &TERMS, &honest.account.pen, &honest.account.till).await;
        (work.taken, settled)
    };
    let assigning = async {
        let growing = async {
            source.push(2, part(2), FRAMES).unwrap();
            source.end();
        };
        let ((delivered, _), ()) = tokio::join!(line.attempt(&assigner.account, open(0, 2), &source, &offer), growing);
        delivered.unwrap().pay(&assigner.account.pen, &assigner.account.purse).await.unwrap();
    };
    let ((taken, settled), ()) = tokio::join!(working, assigning);
    assert_eq!(taken, [part(0), part(1), part(2)]);
    assert!(matches!(settled, Ok(Settled::Paid { .. })), "{settled:?}");
}

#[tokio::test]
async fn a_receipt_for_other_bytes_or_by_another_key_breaks_the_protocol() {
    type Tamper = fn(&mut SegmentReceipt, &mut Vec<RenditionFacts>);
    let cases: [(&str, u8, Tamper); 7] = [
        ("does not commit to the facts", 2, |_, facts| facts[1].frames += 1),
        ("the bytes of 360p are not those", 2, |receipt, facts| {
            facts[0].bytes_hash = B256::repeat_byte(1);
            receipt.renditionRoot = rendition_root(facts);
        }),
        ("the bytes of 180p are not those", 2, |receipt, facts| {
            facts[1].length += 1;
            receipt.renditionRoot = rendition_root(facts);
        }),
        ("2 renditions were asked for", 2, |receipt, facts| {
            facts.pop();
            receipt.renditionRoot = rendition_root(facts);
        }),
        ("does not commit to the parts", 2, |receipt, _| receipt.hashRoot = B256::repeat_byte(1)),
        ("is for another assignment", 2, |receipt, _| receipt.assignmentHash = B256::repeat_byte(1)),
        ("is signed by", 3, |_, _| {}),
    ];
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (source, offer) = (source(), offer(TERMS));
    for (seq, (says, signer, tamper)) in (0..).zip(cases) {
        let lying = async {
            let mut job = line.job().await.unwrap();
            let mut work = work(&mut job, &worker.account, &TERMS).await.unwrap();
            let mut receipt = work.receipt(&worker.account);
            tamper(&mut receipt, &mut work.facts);
            let receipt = Signed::sign(receipt, worker.account.pen.domain(), &key(signer)).unwrap();
            job.send(&Down::Receipt { receipt, facts: work.facts }).await.unwrap();
        };
        let ((result, _), ()) = tokio::join!(line.attempt(&assigner.account, open(seq, 0), &source, &offer), lying);
        let error = result.err().unwrap();
        assert!(matches!(&error, AttemptError::Protocol { what, .. } if what.contains(says)), "{says}: {error}");
        assert!(error.blames_worker());
    }
    assert_eq!(assigner.disk().await.totals().await.unwrap().sent, 0);
}

#[tokio::test]
async fn a_worker_that_takes_too_long_is_late() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let mut offer = offer(TERMS);

    // It accepts, has all there is, and delivers nothing.
    offer.patience = Duration::from_millis(100);
    let (source, over) = (source(), Notify::new());
    let slow = async {
        let mut job = line.job().await.unwrap();
        work(&mut job, &worker.account, &TERMS).await.unwrap();
        over.notified().await;
    };
    let waiting = async {
        let (result, _) = line.attempt(&assigner.account, open(0, 0), &source, &offer).await;
        over.notify_one();
        result.err().unwrap()
    };
    let (error, ()) = tokio::join!(waiting, slow);
    assert!(matches!(error, AttemptError::Late { limit, .. } if limit == offer.patience), "{error}");
    assert!(error.blames_worker());

    // It never answers the offer.
    let source = live_source();
    let mute = async {
        let _job = line.job().await.unwrap();
        over.notified().await;
    };
    let waiting = async {
        let (result, _) = line.attempt(&assigner.account, open(1, 0), &source, &offer).await;
        over.notify_one();
        result.err().unwrap()
    };
    let (error, ()) = tokio::join!(waiting, mute);
    assert!(matches!(error, AttemptError::Late { what: "answer", .. }), "{error}");
}

#[tokio::test]
async fn a_refused_delivery_reaches_the_worker_as_a_signed_verdict_and_pays_nothing() {
    const CODE: u16 = 7;
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (source, offer) = (source(), offer(TERMS));
    let refusing = async {
        let (delivered, _) = line.attempt(&assigner.account, open(0, 0), &source, &offer).await;
        let delivered = delivered.unwrap();
        let receipt = assigner.account.pen.digest(&delivered.receipt.body);
        delivered.refuse(&assigner.account.pen, CODE).await.unwrap();
        receipt
    };
    let (receipt, settled) = tokio::join!(refusing, serve(&line, &worker.account, &TERMS));
    let Ok(Settled::Failed(verdict)) = settled else { panic!("{settled:?}") };
    assert_eq!(verdict.recover(worker.account.pen.domain()).unwrap(), assigner.account.address());
    assert_eq!((verdict.body.receiptHash, verdict.body.pass, verdict.body.code), (receipt, false, CODE));
    assert_eq!(worker.disk().await.totals().await.unwrap().received, 0);
    assert_eq!(assigner.disk().await.totals().await.unwrap().sent, 0);
}

#[tokio::test]
async fn an_assigner_that_finds_fault_with_everything_soon_gets_no_more_work() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (source, offer) = (source(), offer(TERMS));
    let serving = async || {
        let mut job = line.job().await.unwrap();
        if let Err(reason) = job.take_on(&worker.account.credits, &TERMS, 3, 0).await {
            job.refuse(RefusalCode::Payment, reason.to_string()).await.unwrap();
            return;
        }
        let work = work(&mut job, &worker.account, &TERMS).await.unwrap();
        job.deliver(work.made(), &TERMS, &worker.account.pen, &worker.account.till).await.unwrap();
    };
    for seq in 0..MAX_OWED {
        let refusing = async {
            let (delivered, _) = line.attempt(&assigner.account, open(seq, 0), &source, &offer).await;
            delivered.unwrap().refuse(&assigner.account.pen, 1).await.unwrap();
        };
        tokio::join!(refusing, serving());
    }
    let ((refused, _), ()) =
        tokio::join!(line.attempt(&assigner.account, open(MAX_OWED, 0), &source, &offer), serving());
    let Some(AttemptError::Refused { code: RefusalCode::Payment, message, .. }) = refused.err() else {
        panic!("it was served")
    };
    assert!(message.contains("not paid"), "{message}");
}

#[tokio::test]
async fn a_payer_whose_streams_all_stop_in_mid_segment_is_served_when_they_are_back() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let price = prepayment(&TERMS, open(0, 0).megapixel_rate);
    for n in 0..2 * MAX_OWED as u8 {
        let stream = B256::repeat_byte(n);
        let mut offer = offer(TERMS);
        offer.prepaid = prepaid(&assigner, &worker, stream, price).await;
        let source = live_source();
        source.push(0, part(0), FRAMES).unwrap();
        let (delivering, half_way) = oneshot::channel();
        let serving = async {
            let mut job = line.job().await.unwrap();
            job.take_on(&worker.account.credits, &TERMS, 4, PREPAID_SEGMENTS.into()).await.unwrap();
            job.take_prepayment(&worker.account.till, &TERMS, price).await.unwrap();
            job.accept().await.unwrap();
            job.send(&Down::Part { rendition: 0, index: 0, bytes: part(0) }).await.unwrap();
            delivering.send(()).unwrap();
            job.gone().cancelled().await;
        };
        let stopping = async {
            half_way.await.unwrap();
            source.abort();
        };
        let attempting = line.attempt(&assigner.account, SegmentOpen { stream, ..open(0, 0) }, &source, &offer);
        let ((result, _), (), ()) = tokio::join!(attempting, serving, stopping);
        assert!(matches!(result, Err(AttemptError::SourceGone)));
    }
}

#[tokio::test]
async fn a_worker_that_was_given_up_for_its_lateness_is_not_owed_for_a_receipt_that_nobody_waits_for() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (source, mut offer) = (source(), offer(TERMS));
    offer.patience = Duration::from_millis(2_200); // what the work takes at its rate, a second, and some room
    for seq in 0..=MAX_OWED {
        let serving = async {
            let mut job = line.job().await.unwrap();
            job.take_on(&worker.account.credits, &TERMS, 3, 0).await.unwrap();
            let work = work(&mut job, &worker.account, &TERMS).await.unwrap();
            job.gone().cancelled().await; // with its word that it listens no more
            let ended = job.deliver(work.made(), &TERMS, &worker.account.pen, &worker.account.till).await;
            assert!(ended.is_err(), "{ended:?}");
        };
        let attempting = line.attempt(&assigner.account, open(seq, 0), &source, &offer);
        let ((result, _), ()) = tokio::join!(attempting, serving);
        let error = result.err().unwrap();
        assert!(matches!(error, AttemptError::Late { .. }), "{error}");
    }
}

#[tokio::test]
async fn one_that_sends_a_segment_at_once_and_leaves_before_its_receipt_owes_it() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (source, offer) = (source(), offer(TERMS));
    let offered = |seq| SegmentOpen { megapixel_rate: 1, ..open(seq, 0) }; // at which its work takes five seconds
    for seq in 0..MAX_OWED {
        let (delivering, all) = oneshot::channel();
        let serving = async {
            let mut job = line.job().await.unwrap();
            job.take_on(&worker.account.credits, &TERMS, 3, 0).await.unwrap();
            let work = work(&mut job, &worker.account, &TERMS).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            delivering.send(()).unwrap();
            job.gone().cancelled().await;
            let ended = job.deliver(work.made(), &TERMS, &worker.account.pen, &worker.account.till).await;
            assert!(ended.is_err(), "{ended:?}");
        };
        let leaving = async {
            tokio::select! {
                (result, _) = line.attempt(&assigner.account, offered(seq), &source, &offer) => panic!("{:?}", result.err()),
                done = all => done.unwrap(),
            }
        };
        tokio::join!(serving, leaving);
    }
    let refused = async {
        let mut job = line.job().await.unwrap();
        let taken = job.take_on(&worker.account.credits, &TERMS, 3, 0).await;
        assert!(taken.is_err_and(|reason| reason.to_string().contains("not paid")));
        job.refuse(RefusalCode::Payment, "pay first").await.unwrap();
    };
    let ((result, _), ()) = tokio::join!(line.attempt(&assigner.account, offered(MAX_OWED), &source, &offer), refused);
    assert!(matches!(result, Err(AttemptError::Refused { .. })));
}

#[tokio::test]
async fn an_attempt_that_was_signed_for_before_a_crash_is_not_signed_for_another_worker() {
    let net = Net::start().await;
    let (assigner, first, second) = (net.node(1).await, net.node(2).await, net.node(3).await);
    let (source, offer) = (source(), offer(TERMS));
    let line = assigner.hire(&first, TERMS).await;
    let assigned = async {
        let mut job = line.job().await.unwrap();
        work(&mut job, &first.account, &TERMS).await.unwrap();
    };
    let ((failed, _), ()) = tokio::join!(line.attempt(&assigner.account, open(0, 0), &source, &offer), assigned);
    assert!(failed.err().unwrap().blames_worker());

    let assigner = net.again(assigner).await;
    let line = assigner.hire(&second, TERMS).await;
    let waiting = async {
        let mut job = line.job().await.unwrap();
        work(&mut job, &second.account, &TERMS).await.err().unwrap()
    };
    let ((result, _), nothing) = tokio::join!(line.attempt(&assigner.account, open(0, 0), &source, &offer), waiting);
    let error = result.err().unwrap();
    assert!(matches!(error, AttemptError::Sign(SignError::Different("assignment"))), "{error}");
    assert!(!error.blames_worker());
    assert!(matches!(nothing, ServeError::Cancelled(_) | ServeError::Send(_)), "{nothing}");

    // The next number is free.
    let assigning = async {
        let (delivered, _) = line.attempt(&assigner.account, open(0, 1), &source, &offer).await;
        delivered.unwrap().pay(&assigner.account.pen, &assigner.account.purse).await.unwrap();
    };
    let ((), settled) = tokio::join!(assigning, serve(&line, &second.account, &TERMS));
    assert!(matches!(settled, Ok(Settled::Paid { .. })), "{settled:?}");
}

#[tokio::test]
async fn a_worker_refuses_what_is_unpaid_or_underpriced() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let price = prepayment(&TERMS, open(0, 0).megapixel_rate);

    // A stream that must be prepaid, and is not.
    let (complete, unpaid) = (source(), offer(TERMS));
    let prepaying = async {
        let mut job = line.job().await.unwrap();
        job.take_prepayment(&worker.account.till, &TERMS, price).await
    };
    let ((result, _), served) =
        tokio::join!(line.attempt(&assigner.account, open(0, 0), &complete, &unpaid), prepaying);
    assert!(matches!(&served, Err(ServeError::Protocol(why)) if why.contains("prepaid")), "{served:?}");
    assert!(result.is_err());

    // One that is prepaid for less than it costs.
    let mut cheap = offer(TERMS);
    cheap.prepaid = prepaid(&assigner, &worker, STREAM, price - U256::from(PRICE)).await;
    let source = live_source();
    let prepaying = async {
        let mut job = line.job().await.unwrap();
        job.take_prepayment(&worker.account.till, &TERMS, price).await
    };
    let ((result, _), served) = tokio::join!(line.attempt(&assigner.account, open(1, 0), &source, &cheap), prepaying);
    assert!(matches!(served, Err(ServeError::Till(_))), "{served:?}");
    let error = result.err().unwrap();
    assert!(matches!(error, AttemptError::Refused { code: RefusalCode::Payment, .. }), "{error}");

    // A segment whose assignment names less than it costs.
    let less = offer(Terms { price_per_megapixel: TERMS.price_per_megapixel - 1, ..TERMS });
    let ((result, _), served) = tokio::join!(
        line.attempt(&assigner.account, open(2, 0), &complete, &less),
        serve(&line, &worker.account, &TERMS),
    );
    assert!(matches!(&served, Err(ServeError::Protocol(why)) if why.contains("are due")), "{served:?}");
    assert!(result.is_err());
    assert_eq!(worker.disk().await.totals().await.unwrap().received, 0);
}

#[tokio::test]
async fn a_refusal_is_heard_although_the_worker_reads_no_more() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let (source, offer) = (live_source(), offer(TERMS));
    let (stopped, refuse) = oneshot::channel();
    let refusing = async {
        let (mut sender, mut receiver) = line.down.accept().await.unwrap().split();
        assert!(matches!(receiver.recv_within::<Up>(LIMIT).await, Ok(Some(Up::Open(_)))));
        drop(receiver);
        refuse.await.unwrap(); // the assigner has met the closed direction by then
        let refusal = Refusal { code: RefusalCode::Busy, message: "no device is free".into() };
        sender.send(&Down::Refused(refusal)).await.unwrap();
    };
    let growing = async {
        for index in 0..10 {
            source.push(index, part(index), FRAMES).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await; // as a live source grows
        }
        stopped.send(()).unwrap();
    };
    let ((result, _), (), ()) =
        tokio::join!(line.attempt(&assigner.account, open(0, 0), &source, &offer), refusing, growing);
    let error = result.err().unwrap();
    assert!(matches!(error, AttemptError::Refused { code: RefusalCode::Busy, .. }), "{error}");
    assert!(!error.blames_worker());
}

/// An assigner that follows the protocol by hand, up to a ticket for the receipt that it got, and leaves. `None`: no receipt came.
async fn assign_and_leave(line: &Line, assigner: &Account, assignment: &Signed<Assignment>) -> Option<()> {
    let (mut sender, mut receiver) = line.up.open().await.unwrap().split();
    sender.send(&Up::Open(open(0, 0))).await.unwrap();
    for (index, bytes) in (0..).zip(source().parts()) {
        sender.send(&Up::Part { index, bytes }).await.unwrap();
    }
    sender.send(&Up::End { assignment: assignment.clone(), parts: PARTS }).await.unwrap();
    let receipt = loop {
        match receiver.recv_within::<Down>(LIMIT).await {
            Ok(Some(Down::Receipt { receipt, .. })) => break receipt,
            Ok(Some(_)) => continue,
            _ => return None,
        }
    };
    drop(receiver); // nobody hears the acknowledgement
    let work = assigner.pen.digest(&receipt.body);
    let ticket = assigner.purse.pay(line.up.address(), work, U256::from(PRICE)).await.unwrap();
    sender.send(&Up::Ticket(ticket)).await.unwrap();
    Some(())
}

/// An assignment of the segment that [`assign_and_leave`] sends, with this deadline (unix seconds).
async fn assignment(assigner: &Account, worker: Address, deadline: u64) -> Signed<Assignment> {
    let body = Assignment {
        streamId: STREAM,
        sourceHash: source().hash(),
        profileHash: profiles_hash(&open(0, 0).profiles),
        price: U256::from(PRICE),
        deadline: U40::from(deadline),
        payer: assigner.address(),
        worker,
        ..Assignment::default()
    };
    Signed::sign(body, assigner.pen.domain(), &key(1)).unwrap()
}

#[tokio::test]
async fn a_worker_is_paid_although_its_payer_leaves_before_the_acknowledgement() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let assignment = assignment(&assigner.account, worker.account.address(), unix_now() + 10).await;
    let (left, settled) =
        tokio::join!(assign_and_leave(&line, &assigner.account, &assignment), serve(&line, &worker.account, &TERMS));
    assert!(matches!(settled, Ok(Settled::Paid { .. })), "{settled:?}");
    assert_eq!(left, Some(()));
    assert_eq!(worker.disk().await.totals().await.unwrap().received, 1);
}

/// Two receipts for one assignment are slashable, and the log that keeps a node from signing a second one is not kept for ever.
#[tokio::test]
async fn an_assignment_is_answered_by_no_second_receipt_when_the_log_has_forgotten_it() {
    let net = Net::start().await;
    let (assigner, worker) = (net.node(1).await, net.node(2).await);
    let line = assigner.hire(&worker, TERMS).await;
    let them = worker.account.address();
    let now = unix_now();
    for wrong in [0, now - 61, now + FURTHEST_DEADLINE + 60] {
        let assignment = assignment(&assigner.account, them, wrong).await;
        let (left, settled) = tokio::join!(
            assign_and_leave(&line, &assigner.account, &assignment),
            serve(&line, &worker.account, &TERMS)
        );
        assert!(matches!(&settled, Err(ServeError::Protocol(why)) if why.contains("deadline")), "{settled:?}");
        assert_eq!(left, None, "no receipt was signed");
    }
    // What is kept outlasts the furthest deadline by far.
    const { assert!(SIGNING_LOG_KEPT_MS > 10 * FURTHEST_DEADLINE * 1000) };
}
