//! Writes that share a transaction: none is lost, and none costs another.

use alloy::primitives::{B256, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_store::{AcceptError, Once, PayeePair, PayerPair, Store};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{DOMAIN, NOW_MS, PAYEE, SEED, due, random};

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
