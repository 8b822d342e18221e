//! Writes that share a transaction: none is lost, and none costs another.

use std::task::Poll;
use std::time::Duration;

use alloy::primitives::{B256, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_store::{AcceptError, Once, PayeePair, PayerPair, Store};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{DOMAIN, Ends, NOW_MS, PAYEE, SEED, TERMS, due, random, sure};

const PAYERS: u64 = 100;

fn key(n: u64) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(n.to_be_bytes())).unwrap()
}

/// Every payer pays three works; every other one has a twin of its payee's end, as after a restart that came too soon, which
/// takes the same commit for another ticket.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_many_payers_are_all_stored_and_a_bad_one_costs_no_other() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("payee.sqlite");
    let store = Store::open(path.to_str().unwrap()).await.unwrap();
    let payers = Store::open(dir.path().join("payers.sqlite").to_str().unwrap()).await.unwrap();
    let mut paying = JoinSet::new();
    for n in 0..PAYERS {
        let (store, payers) = (store.clone(), payers.clone());
        paying.spawn(async move {
            let signer = key(n);
            let payer_address = signer.address();
            let mut payer = PayerPair::open(payers, DOMAIN, signer, PAYEE).await.unwrap();
            let mut payee = PayeePair::open(store.clone(), DOMAIN, payer_address, PAYEE, SEED).await.unwrap();
            payer.offer_commits(payee.commits(16).await.unwrap());
            let mut twin = PayeePair::open(store, DOMAIN, payer_address, PAYEE, SEED).await.unwrap();
            for work in 0..3 {
                let ticket = payer.issue(NOW_MS, &due(work), random(work)).await.unwrap();
                payee.accept(NOW_MS, &ticket, &due(work), U256::MAX).await.unwrap();
                if n % 2 == 1 {
                    // The twin's memory knows nothing of the ticket that its database holds.
                    let mut other = ticket.body.clone();
                    other.workHash = due(work + 100).work_hash;
                    other.nonce += 1_000;
                    let other = millrace_tickets::Signed::sign(other, &DOMAIN, &key(n)).unwrap();
                    match twin.accept(NOW_MS, &other, &due(work + 100), U256::MAX).await {
                        Err(AcceptError::Taken(Once::Commit)) => {}
                        wrong => panic!("{wrong:?}"),
                    }
                }
                payer.acked(due(work).work_hash).await.unwrap();
            }
        });
    }
    paying.join_all().await;
    store.close().await;

    let store = Store::open(path.to_str().unwrap()).await.unwrap();
    for n in 0..PAYERS {
        assert_eq!(store.tickets_received(key(n).address(), PAYEE).await.unwrap(), 3, "payer {n}");
        let unacked = payers.unacked(key(n).address(), PAYEE, NOW_MS / 1000).await.unwrap();
        assert!(unacked.is_empty(), "payer {n}: {unacked:?}");
    }
}

#[tokio::test]
async fn a_closed_database_refuses_and_does_not_hang() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path().join("node.sqlite").to_str().unwrap()).await.unwrap();
    store.record_once(NOW_MS, "kind", b"scope", b"body").await.unwrap();
    store.close().await;
    let error = store.record_once(NOW_MS, "kind", B256::ZERO.as_slice(), b"body").await.expect_err("it is closed");
    assert!(error.to_string().contains("recording what is to be signed"), "{error}");
}

/// A write goes on without its caller: the next ticket is weighed against the lock with the winner that nobody heard of. The caller
/// goes away after so and so many steps, and the disk is busy with other things meanwhile.
#[tokio::test]
async fn a_winner_whose_caller_went_away_counts_for_the_next_ticket() {
    let lock = U256::from(2 * TERMS.face_value + 1);
    for steps in 0..30 {
        let mut ends = Ends::new().await;
        let mut tickets = Vec::new();
        for n in 1..=3 {
            tickets.push((ends.payer.issue(NOW_MS, &sure(n), random(n)).await.unwrap(), sure(n)));
        }
        ends.payee.accept(NOW_MS, &tickets[0].0, &tickets[0].1, lock).await.unwrap();
        let mut busy = JoinSet::new();
        for n in 0..400_u64 {
            let store = ends.payee_store.clone();
            busy.spawn(async move { store.record_once(NOW_MS, "kind", &n.to_be_bytes(), b"body").await.unwrap() });
        }
        {
            let (second, due) = &tickets[1];
            let mut accepting = std::pin::pin!(ends.payee.accept(NOW_MS, second, due, lock));
            for _ in 0..steps {
                let ready = std::future::poll_fn(|cx| Poll::Ready(accepting.as_mut().poll(cx).is_ready())).await;
                if ready {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await; // a step of the disk takes about as long
            }
        }
        let (third, due) = &tickets[2];
        let _ = ends.payee.accept(NOW_MS, third, due, lock).await; // one too many, unless the second was never written
        busy.join_all().await;
        let (outstanding, _) = ends.payee_store.outstanding(crate::key().address(), PAYEE).await.unwrap();
        assert_eq!(outstanding, U256::from(2 * TERMS.face_value), "after {steps} steps");
    }
}
