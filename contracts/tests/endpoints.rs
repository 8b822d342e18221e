//! Several endpoints of one chain, of which some hang, lie, fall behind or belong to another chain.
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

use alloy::primitives::{Address, U256};
use millrace_contracts::{Chain, ChainError, ChainOptions, EndpointFault};
use support::chaos::{Chaos, Weather};
use support::{Node, payer, until};

/// Long enough for any answer on loopback, short enough to be waited for.
const PATIENCE: Duration = Duration::from_secs(3);
const ID: u64 = 31_337;

fn options<'a>(urls: impl IntoIterator<Item = &'a String>) -> ChainOptions {
    let rpc_urls = urls.into_iter().cloned().collect();
    ChainOptions { rpc_urls, call_timeout: PATIENCE, ..ChainOptions::from("") }
}

/// A chain behind two endpoints with a weather of their own, and the payer's client of both.
async fn two() -> (Node, [Chaos; 2], Chain) {
    let node = Node::devnet().await;
    let contracts = node.parties().await.contracts;
    let both = [Chaos::before(&node.url).await, Chaos::before(&node.url).await];
    let chain = Chain::connect(options(both.iter().map(|c| &c.url)), contracts, payer()).await.unwrap();
    (node, both, chain)
}

fn faults(chain: &Chain) -> Vec<Option<EndpointFault>> {
    chain.endpoints().into_iter().map(|endpoint| endpoint.fault).collect()
}

#[tokio::test]
async fn an_endpoint_that_hangs_costs_one_time_out_and_is_set_aside() {
    let (_node, [first, second], chain) = two().await;
    first.set(Weather::Hang);
    let before = (first.calls("eth_blockNumber"), second.calls("eth_blockNumber"));
    for _ in 0..5 {
        chain.block_number().await.unwrap();
    }
    let after = (first.calls("eth_blockNumber"), second.calls("eth_blockNumber"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 5));
    assert_eq!(faults(&chain), [Some(EndpointFault::Silent(PATIENCE)), None]);
}

#[tokio::test]
async fn garbage_cut_answers_and_limits_are_answered_by_the_next() {
    for weather in [Weather::Garbage, Weather::Close, Weather::Busy] {
        let (_node, [first, _second], chain) = two().await;
        first.set(weather);
        chain.block_number().await.unwrap();
        match (weather, &faults(&chain)[..]) {
            (Weather::Garbage, [Some(EndpointFault::Garbage(text)), None]) => assert!(text.contains("nginx"), "{text}"),
            (Weather::Close, [Some(EndpointFault::Unreachable(_)), None]) => {}
            (Weather::Busy, [Some(EndpointFault::Status(429)), None]) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn when_all_are_set_aside_they_are_asked_all_the_same() {
    let (_node, both, chain) = two().await;
    both.iter().for_each(|endpoint| endpoint.set(Weather::Busy));
    let error = chain.block_number().await.unwrap_err().to_string();
    assert!(error.contains("no endpoint answers") && error.matches("HTTP 429").count() == 2, "{error}");
    both[1].set(Weather::Fair);
    chain.block_number().await.unwrap();
    assert_eq!(faults(&chain), [Some(EndpointFault::Status(429)), None]);
}

#[tokio::test]
async fn endpoints_of_another_chain_are_refused_by_name() {
    let node = Node::devnet().await;
    let contracts = node.parties().await.contracts;
    let other = Chaos::before(&node.url).await;
    other.set(Weather::Chain(5));
    let wrong = Some(EndpointFault::WrongChain { found: 5, expected: ID });

    let chain = Chain::connect(options([&node.url, &other.url]), contracts, payer()).await.unwrap();
    assert_eq!(faults(&chain), [None, wrong.clone()], "the first that answers decides");
    let knowing = ChainOptions { chain_id: Some(ID), ..options([&other.url, &node.url]) };
    let chain = Chain::connect(knowing, contracts, payer()).await.unwrap();
    assert_eq!(faults(&chain), [wrong, None], "unless it is known");
    let before = other.calls("eth_getBalance");
    chain.balance(Address::ZERO).await.unwrap();
    assert_eq!(other.calls("eth_getBalance"), before, "it is not asked for anything");

    let alone = ChainOptions { chain_id: Some(ID), ..options([&other.url]) };
    let error = Chain::connect(alone, contracts, payer()).await.err().unwrap().to_string();
    let name = other.url.strip_prefix("http://").unwrap();
    assert!(error.contains(&format!("{name} is on chain 5, not on {ID}")), "{error}");
}

#[tokio::test]
async fn with_no_endpoint_right_the_error_names_each_and_why() {
    let node = Node::devnet().await;
    let contracts = node.parties().await.contracts;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // free again
    let (garbage, mute) = (Chaos::before(&node.url).await, Chaos::before(&node.url).await);
    garbage.set(Weather::Garbage);
    mute.set(Weather::Hang);
    let at = options([&format!("http://{closed}/v3/secret"), &garbage.url, &mute.url]);
    let error = Chain::connect(at, contracts, payer()).await.err().unwrap();
    let ChainError::NoEndpoint(reasons) = &error else { panic!("{error}") };
    for reason in [
        format!("{closed} cannot be reached"),
        "no JSON-RPC".into(),
        format!("no answer within {} ms", PATIENCE.as_millis()),
    ] {
        assert!(reasons.contains(&reason), "{reason} in {reasons}");
    }
    assert!(!reasons.contains("secret"), "what may be a key is not shown");
}

#[tokio::test]
async fn one_that_falls_behind_or_changes_chains_is_found_out_and_comes_back() {
    let (node, both, chain) = two().await;
    let urls = both.iter().map(|c| &c.url);
    let at = ChainOptions { set_aside: Duration::from_millis(50), ..options(urls) };
    let chain = Chain::connect(at, chain.contracts(), payer()).await.unwrap();
    node.devnet.as_ref().unwrap().mine(100);
    let weathers = [
        (Weather::Head(-20), Some(EndpointFault::Lags(20))),
        (Weather::Chain(9), Some(EndpointFault::WrongChain { found: 9, expected: ID })),
    ];
    for (weather, fault) in weathers {
        both[0].set(weather);
        until(async || chain.block_number().await.is_ok() && faults(&chain) == [fault.clone(), None]).await;
        both[0].set(Weather::Fair);
        until(async || chain.block_number().await.is_ok() && faults(&chain) == [None, None]).await;
    }
}

#[tokio::test]
async fn of_three_one_that_makes_blocks_up_puts_no_other_aside() {
    let (node, [first, second], chain) = two().await;
    first.set(Weather::Head(1_000_000));
    let at = options([&first.url, &second.url, &node.url]);
    let chain = Chain::connect(at, chain.contracts(), payer()).await.unwrap();
    assert_eq!(faults(&chain), [None, None, None]);
}

#[tokio::test]
async fn a_transaction_goes_to_every_endpoint_that_is_well() {
    let (_node, both, chain) = two().await;
    assert!(chain.transfer(Address::repeat_byte(9), U256::from(1)).await.unwrap().success);
    until(async || both.iter().all(|endpoint| endpoint.calls("eth_sendRawTransaction") == 1)).await;
    both[0].set(Weather::Swallow);
    assert!(
        chain.transfer(Address::repeat_byte(9), U256::from(1)).await.unwrap().success,
        "one that took it is enough"
    );
}

#[tokio::test]
async fn a_transaction_that_was_taken_is_not_denied_by_an_answer() {
    let node = Node::devnet().await;
    let contracts = node.parties().await.contracts;
    let only = Chaos::before(&node.url).await;
    let chain = Chain::connect(options([&only.url]), contracts, payer()).await.unwrap();
    let to = Address::repeat_byte(9);
    for (sent, weather) in [Weather::Known, Weather::TooLow, Weather::Fair].into_iter().enumerate() {
        only.set(weather);
        assert!(chain.transfer(to, U256::from(1)).await.unwrap().success, "{weather:?}");
        assert_eq!(chain.balance(to).await.unwrap(), U256::from(sent + 1));
    }
}
