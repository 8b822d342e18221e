//! Transactions that do not go through at once: stuck, dropped, behind a gap, unaffordable.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test, with a support module that each test uses in part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod support;

use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::devnet::DEFAULT_BASE_FEE;
use millrace_contracts::{Addresses, Chain, ChainError, ChainOptions, Stage};
use serde_json::{Value, json};
use support::{ETHER, Node, payer, until};

const TO: Address = Address::repeat_byte(9);

/// The payer's client, which loses patience soon.
async fn impatient(node: &Node, contracts: Addresses) -> Chain {
    let at = ChainOptions { stuck_after: Duration::from_millis(200), ..ChainOptions::from(&node.url) };
    Chain::connect(at, contracts, payer()).await.unwrap()
}

async fn waiting(node: &Node) -> bool {
    let count = async |tag: &str| node.rpc("eth_getTransactionCount", json!([payer().address(), tag])).await;
    count("pending").await != count("latest").await
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_with_higher_fees_and_either_version_counts() {
    let node = Node::devnet().await;
    let devnet = node.devnet.as_ref().unwrap();
    let contracts = node.parties().await.contracts;
    let chain = impatient(&node, contracts).await;
    devnet.hold();
    let sending = tokio::spawn({
        let chain = chain.clone();
        async move { chain.transfer(TO, U256::from(1)).await }
    });
    until(async || waiting(&node).await).await;
    let first = chain.tend().await.unwrap().remove(0);
    // It offered twice the base fee. At four times that it waits for good.
    devnet.set_base_fee(4 * DEFAULT_BASE_FEE);
    devnet.release();
    let mined = sending.await.unwrap().unwrap();
    assert!(mined.success && mined.tx != first.hashes[0]);
    assert_eq!(chain.balance(TO).await.unwrap(), U256::from(1), "once");
    let tx = node.rpc("eth_getTransactionByHash", json!([mined.tx])).await;
    assert_eq!(tx["nonce"], json!(format!("{:#x}", first.nonce)), "at the same nonce");
}

#[tokio::test]
async fn fees_rise_by_an_eighth_at_a_time_up_to_the_cap() {
    let node = Node::devnet().await;
    let contracts = node.parties().await.contracts;
    let chain = impatient(&node, contracts).await;
    node.devnet.as_ref().unwrap().hold();
    let sending = tokio::spawn({
        let chain = chain.clone();
        async move { chain.transfer(TO, U256::from(1)).await }
    });
    until(async || chain.tend().await.unwrap().first().is_some_and(|fate| fate.hashes.len() >= 4)).await;
    let fate = chain.tend().await.unwrap().remove(0);
    assert_eq!(fate.stage, Stage::Pending);
    node.devnet.as_ref().unwrap().release();
    let mined = sending.await.unwrap().unwrap();
    assert!(mined.success);
    let tx = node.rpc("eth_getTransactionByHash", json!([mined.tx])).await;
    let fee = u128::from_str_radix(&tx["maxFeePerGas"].as_str().unwrap()[2..], 16).unwrap();
    let first = u128::from(2 * DEFAULT_BASE_FEE);
    assert!(fee >= first * 1423 / 1000, "three times an eighth more: {fee}"); // 1.125^3
    assert!(fee <= first * 11, "and never above ten times the first offer: {fee}");
}

#[tokio::test]
async fn a_transaction_that_was_dropped_is_sent_again() {
    let node = Node::devnet().await;
    let devnet = node.devnet.as_ref().unwrap();
    let contracts = node.parties().await.contracts;
    let chain = impatient(&node, contracts).await;
    devnet.hold();
    let sending = tokio::spawn({
        let chain = chain.clone();
        async move { chain.transfer(TO, U256::from(1)).await }
    });
    until(async || waiting(&node).await).await;
    assert_eq!(devnet.drop_waiting(), 1);
    devnet.release();
    assert!(sending.await.unwrap().unwrap().success);
    assert_eq!(chain.balance(TO).await.unwrap(), U256::from(1));
}

/// Another program with the same key sent the transaction before ours, and it was dropped.
#[tokio::test]
async fn a_gap_that_another_left_is_closed() {
    let node = Node::devnet().await;
    let devnet = node.devnet.as_ref().unwrap();
    let contracts = node.parties().await.contracts;
    let chain = impatient(&node, contracts).await;
    devnet.hold();
    let other = Chain::connect(&node.url, contracts, payer()).await.unwrap();
    let theirs = tokio::spawn(async move { other.transfer(TO, U256::from(1000)).await });
    until(async || waiting(&node).await).await;
    theirs.abort();
    let sending = tokio::spawn({
        let chain = chain.clone();
        async move { chain.transfer(TO, U256::from(1)).await }
    });
    until(async || !chain.tend().await.unwrap().is_empty()).await;
    let ours = chain.tend().await.unwrap().remove(0).hashes[0];
    let ours = node.rpc("eth_getRawTransactionByHash", json!([ours])).await;
    assert_eq!(devnet.drop_waiting(), 2);
    devnet.release();
    node.rpc("eth_sendRawTransaction", json!([ours])).await;
    assert!(sending.await.unwrap().unwrap().success);
    assert_eq!(chain.balance(TO).await.unwrap(), U256::from(1));
}

#[tokio::test]
async fn what_the_account_cannot_pay_is_not_sent() {
    let node = Node::devnet().await;
    let contracts = node.parties().await.contracts;
    let poor = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap();
    node.rpc("anvil_setBalance", json!([poor.address(), U256::from(ETHER)])).await;
    let chain = Chain::connect(&node.url, contracts, poor.clone()).await.unwrap();
    let error = chain.transfer(TO, U256::from(ETHER)).await.unwrap_err();
    let ChainError::Funds { account, have, need, .. } = error else { panic!("{error}") };
    assert!(account == poor.address() && have == U256::from(ETHER) && need > have);
    assert_eq!(node.rpc("eth_getTransactionCount", json!([account, "pending"])).await, json!("0x0"));
    assert!(chain.transfer(TO, U256::from(ETHER / 2)).await.unwrap().success, "and no number is taken");
    assert_ne!(node.rpc("eth_getBalance", json!([TO])).await, Value::Null);
}
