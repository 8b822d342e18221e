use alloy::primitives::{Address, B256, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_store::{ApiTokenRow, SegmentRow, Store, StoreError, StreamKeyRow, Suspension};
use millrace_tickets::{Assignment, Domain, SegmentReceipt, Verdict};
use tempfile::TempDir;

use crate::{DOMAIN, NOW_MS, PAYEE, SEED, key, random};

async fn store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    (dir, store)
}

async fn open(dir: &TempDir) -> Store {
    Store::open(dir.path().join("node.sqlite").to_str().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_node_never_signs_two_objects_for_one_thing() {
    let (dir, store) = store().await;
    let first = Assignment { streamId: random(1), seq: 4, price: U256::from(7), ..Assignment::default() };
    let signed = store.sign_once(NOW_MS, first.clone(), &DOMAIN, &key()).await.unwrap();
    assert_eq!(signed.body, first);
    assert_eq!(signed.recover(&DOMAIN).unwrap(), key().address());
    // After a restart, with another price at hand: the same bytes.
    let store = {
        drop(store);
        open(&dir).await
    };
    let other = Assignment { price: U256::from(8), ..first.clone() };
    assert_eq!(store.sign_once(NOW_MS, other.clone(), &DOMAIN, &key()).await.unwrap(), signed);
    // Another attempt, signer or domain is another thing.
    let retry = Assignment { attempt: 1, ..other.clone() };
    assert_eq!(store.sign_once(NOW_MS, retry.clone(), &DOMAIN, &key()).await.unwrap().body, retry);
    let someone = PrivateKeySigner::from_bytes(&B256::repeat_byte(2)).unwrap();
    assert_eq!(store.sign_once(NOW_MS, other.clone(), &DOMAIN, &someone).await.unwrap().body, other);
    let elsewhere = Domain { chain_id: 1, ..DOMAIN };
    assert_eq!(store.sign_once(NOW_MS, other.clone(), &elsewhere, &key()).await.unwrap().body, other);
}

#[tokio::test]
async fn one_receipt_for_an_assignment_and_one_verdict_for_a_receipt() {
    let (_dir, store) = store().await;
    let receipt = SegmentReceipt { assignmentHash: random(1), pixels: 5, ..SegmentReceipt::default() };
    let signed = store.sign_once(NOW_MS, receipt.clone(), &DOMAIN, &key()).await.unwrap();
    let other = SegmentReceipt { pixels: 6, ..receipt };
    assert_eq!(store.sign_once(NOW_MS, other, &DOMAIN, &key()).await.unwrap(), signed);
    let fail = Verdict { receiptHash: random(1), pass: false, code: 3 };
    store.sign_once(NOW_MS, fail.clone(), &DOMAIN, &key()).await.unwrap();
    let pass = Verdict { pass: true, code: 0, ..fail.clone() };
    assert_eq!(store.sign_once(NOW_MS, pass, &DOMAIN, &key()).await.unwrap().body, fail);
}

#[tokio::test]
async fn the_seed_of_the_commits_never_changes() {
    let (dir, store) = store().await;
    assert_eq!(store.payee_seed(SEED).await.unwrap(), SEED);
    drop(store);
    assert_eq!(open(&dir).await.payee_seed(random(1)).await.unwrap(), SEED);
}

#[tokio::test]
async fn a_database_serves_one_chain_and_broker() {
    let (_dir, store) = store().await;
    store.bind_domain(&DOMAIN).await.unwrap();
    store.bind_domain(&DOMAIN).await.unwrap();
    let refused = store.bind_domain(&Domain { chain_id: 1, ..DOMAIN }).await;
    assert!(matches!(refused, Err(StoreError::Domain(name)) if name.contains("31337")));
}

#[tokio::test]
async fn a_url_of_another_engine_is_refused_without_its_password() {
    let refused = Store::open("postgres://me:secret@host/db").await.unwrap_err().to_string();
    assert!(refused.contains("host/db") && !refused.contains("secret"), "{refused}");
    let refused = Store::open("/nowhere/at/all.sqlite").await.unwrap_err().to_string();
    assert!(refused.contains("/nowhere/at/all.sqlite"), "{refused}");
}

#[tokio::test]
async fn settings_are_replaced_and_remembered() {
    let (_dir, store) = store().await;
    assert_eq!(store.setting("a").await.unwrap(), None);
    store.set_setting("a", b"1").await.unwrap();
    store.set_setting("a", b"2").await.unwrap();
    assert_eq!(store.setting("a").await.unwrap().as_deref(), Some(b"2".as_slice()));
}

fn segment(seq: u64) -> SegmentRow {
    SegmentRow {
        at_ms: NOW_MS + seq,
        stream: random(1),
        seq,
        attempt: 0,
        worker: PAYEE,
        worker_name: "t1".to_owned(),
        result: "pass".to_owned(),
        fault: None,
        latency_ms: 240,
        paid: U256::ZERO,
        payer: Address::ZERO,
        payee: PAYEE,
    }
}

#[tokio::test]
async fn segments_are_listed_newest_first_and_the_oldest_fall_out() {
    let (_dir, store) = store().await;
    for seq in 0..10 {
        store.log_segment(&segment(seq)).await.unwrap();
    }
    let paid = SegmentRow { paid: U256::from(5), fault: Some("late".to_owned()), ..segment(9) };
    store.log_segment(&paid).await.unwrap();
    let listed = store.recent_segments(3).await.unwrap();
    assert_eq!(listed, [paid, segment(8), segment(7)]);
    store.keep_segments(4).await.unwrap();
    let seqs: Vec<_> = store.recent_segments(50).await.unwrap().iter().map(|row| row.seq).collect();
    assert_eq!(seqs, [9, 8, 7, 6]);
}

#[tokio::test]
async fn a_suspension_lasts_until_its_time() {
    let (_dir, store) = store().await;
    let first = Suspension { worker: PAYEE, reason: "black".to_owned(), at_ms: NOW_MS, until_ms: NOW_MS + 10 };
    store.suspend(&first).await.unwrap();
    let longer = Suspension { until_ms: NOW_MS + 20, ..first };
    store.suspend(&longer).await.unwrap();
    assert_eq!(store.suspensions(NOW_MS + 15).await.unwrap(), [longer]);
    assert_eq!(store.suspensions(NOW_MS + 20).await.unwrap(), []);
    store.unsuspend(PAYEE).await.unwrap();
    assert_eq!(store.suspensions(NOW_MS).await.unwrap(), []);
}

#[tokio::test]
async fn a_stream_key_is_kept_by_its_hash_and_revoked_for_good() {
    let (dir, store) = store().await;
    assert!(!store.has_stream_keys().await.unwrap());
    store.add_stream_key(random(1), "show", NOW_MS).await.unwrap();
    store.add_stream_key(random(2), "show", NOW_MS + 1).await.unwrap();
    assert!(store.add_stream_key(random(1), "other", NOW_MS + 2).await.is_err(), "no key stands for two names");
    // Another process, as the command line is one.
    let other = open(&dir).await;
    other.use_stream_key(random(1), NOW_MS + 3).await.unwrap();
    assert!(other.revoke_stream_key(random(1), NOW_MS + 4).await.unwrap());
    assert!(!other.revoke_stream_key(random(1), NOW_MS + 5).await.unwrap());
    assert!(!other.revoke_stream_key(random(3), NOW_MS + 5).await.unwrap());
    let first = StreamKeyRow {
        hash: random(1),
        name: "show".into(),
        created_ms: NOW_MS,
        used_ms: Some(NOW_MS + 3),
        revoked_ms: Some(NOW_MS + 4),
    };
    assert_eq!(store.stream_key(random(1)).await.unwrap(), Some(first.clone()));
    assert_eq!(store.stream_key(random(3)).await.unwrap(), None);
    let second =
        StreamKeyRow { hash: random(2), created_ms: NOW_MS + 1, used_ms: None, revoked_ms: None, ..first.clone() };
    assert_eq!(store.stream_keys().await.unwrap(), [first, second]);
}

#[tokio::test]
async fn an_api_token_is_kept_by_its_hash_and_its_use_is_noted_by_the_minute() {
    let (dir, store) = store().await;
    store.add_api_token(random(1), "grafana", "read", NOW_MS).await.unwrap();
    assert!(store.add_api_token(random(1), "other", "operate", NOW_MS).await.is_err(), "no token is made twice");
    let made = store.api_token(random(1)).await.unwrap().unwrap();
    let used = async |at| {
        let token = store.api_token(random(1)).await.unwrap().unwrap();
        store.use_api_token(&token, at).await.unwrap();
        store.api_token(random(1)).await.unwrap().unwrap().used_ms
    };
    assert_eq!(used(NOW_MS + 1).await, Some(NOW_MS + 1));
    assert_eq!(used(NOW_MS + 60_000).await, Some(NOW_MS + 1), "within the minute");
    assert_eq!(used(NOW_MS + 60_001).await, Some(NOW_MS + 60_001));
    let other = open(&dir).await;
    assert!(other.revoke_api_token(random(1), NOW_MS + 9).await.unwrap());
    assert!(!other.revoke_api_token(random(1), NOW_MS + 10).await.unwrap());
    assert!(!other.revoke_api_token(random(2), NOW_MS + 10).await.unwrap());
    let revoked = ApiTokenRow { used_ms: Some(NOW_MS + 60_001), revoked_ms: Some(NOW_MS + 9), ..made };
    assert_eq!(store.api_tokens().await.unwrap(), [revoked]);
}
