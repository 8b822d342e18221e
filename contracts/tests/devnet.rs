//! What the embedded chain does beyond any other: its limits, its own clock, its end. And P15, which wants ten thousand calls.
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

use alloy::primitives::{Address, B256, U256, aliases::U40, aliases::U96};
use alloy::sol_types::SolCall;
use millrace_contracts::bindings::TicketBroker;
use millrace_contracts::devnet::{DEFAULT_BASE_FEE, Devnet, Genesis};
use millrace_contracts::{ChainError, DeployError, deploy};
use millrace_tickets::{Ticket, draw};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use support::{Node, http, payee, payer, some_hash, until};

async fn post(url: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
    http().post(url).header("origin", "https://wallet.example").body(body).send().await.unwrap()
}

#[tokio::test]
async fn p15_solidity_hashes_ten_thousand_random_tickets_as_rust_does() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    let domain = p.payer.domain();
    let any = p.winner(0).signature; // a digest is over the body alone
    let mut rng = StdRng::seed_from_u64(15);
    for _ in 0..100 {
        let tickets: Vec<Ticket> = (0..100).map(|_| random_ticket(&mut rng)).collect();
        let batch: Vec<_> = tickets
            .iter()
            .map(|ticket| {
                let data = TicketBroker::digestCall { ticket: ticket.clone().into() }.abi_encode();
                let call = json!({ "to": p.contracts.broker, "data": alloy::hex::encode_prefixed(data) });
                json!({ "jsonrpc": "2.0", "id": 0, "method": "eth_call", "params": [call, "latest"] })
            })
            .collect();
        let answers = node.raw(Value::Array(batch)).await;
        for (ticket, answer) in tickets.into_iter().zip(answers.as_array().unwrap()) {
            let signed = millrace_tickets::Signed { body: ticket, signature: any };
            assert_eq!(answer["result"], json!(signed.digest(&domain)), "{:?}", signed.body);
        }
    }
}

/// The draw in Rust and on chain agree on the last losing and the first winning probability.
#[tokio::test]
async fn rust_and_solidity_draw_the_same() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    p.payer.fund(p.payee.address(), U256::from(support::ETHER)).await.unwrap();
    let (mut won, mut lost) = (0, 0);
    for n in 0..40 {
        let winner = p.winner_with(n, |t| t.winProb = u64::MAX / 2);
        let wins = draw(&winner.ticket, winner.payee_rand);
        let redeemed = p.payee.redeem(std::slice::from_ref(&winner)).await;
        match (wins, &redeemed) {
            (true, Ok(_)) => won += 1,
            (false, Err(error)) if error.revert().is_some_and(|revert| revert.name == "NotAWinner") => lost += 1,
            _ => panic!("rust says {wins}, the contract {redeemed:?}"),
        }
    }
    assert!(won > 5 && lost > 5, "{won} won, {lost} lost");
}

fn random_ticket(rng: &mut StdRng) -> Ticket {
    Ticket {
        payer: Address::from(rng.random::<[u8; 20]>()),
        payee: Address::from(rng.random::<[u8; 20]>()),
        faceValue: U96::from(rng.random::<u128>() >> 32),
        winProb: rng.random(),
        nonce: rng.random(),
        expiry: U40::from(rng.random::<u64>() >> 24),
        payeeCommit: B256::from(rng.random::<[u8; 32]>()),
        payerRand: B256::from(rng.random::<[u8; 32]>()),
        workHash: B256::from(rng.random::<[u8; 32]>()),
    }
}

#[tokio::test]
async fn garbage_and_too_much_are_refused_and_the_chain_goes_on() {
    let node = Node::devnet().await;
    let code = async |body: &str| {
        post(&node.url, body.to_owned()).await.json::<Value>().await.unwrap()["error"]["code"].clone()
    };
    assert_eq!(code("{").await, json!(-32700));
    assert_eq!(code("7").await, json!(-32600));
    assert_eq!(code("[]").await, json!(-32600));
    assert_eq!(code(&json!(vec![json!({}); 101]).to_string()).await, json!(-32600));
    assert_eq!(code(r#"{"id":1,"method":"eth_getBalance","params":[]}"#).await, json!(-32602));
    assert_eq!(code(r#"{"id":1,"method":"eth_sendRawTransaction","params":["0xf8ff"]}"#).await, json!(-32602));
    assert_eq!(code(r#"{"id":1,"method":"anvil_mine","params":[100000]}"#).await, json!(-32005));
    assert_eq!(post(&node.url, vec![b' '; 2 << 20]).await.status(), 413);
    assert_eq!(post(&node.url, r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#).await.status(), 204);
    // A loop that never ends costs its gas and no more: PUSH0 JUMP at a JUMPDEST.
    let forever = json!([{ "data": "0x5b5f56" }, "latest"]);
    let looped = json!({ "id": 1, "method": "eth_call", "params": forever }).to_string();
    assert_eq!(code(&looped).await, json!(-32003));
    assert_eq!(node.rpc("eth_chainId", json!([])).await, json!("0x7a69"));
}

#[tokio::test]
async fn a_page_of_another_origin_may_ask() {
    let node = Node::devnet().await;
    let answer = post(&node.url, r#"{"id":1,"method":"eth_chainId"}"#).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let preflight = http()
        .request(reqwest::Method::OPTIONS, &node.url)
        .header("origin", "https://wallet.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success());
    assert!(preflight.headers().contains_key("access-control-allow-headers"));
}

#[tokio::test]
async fn a_state_that_is_not_kept_is_refused_rather_than_made_up() {
    let node = Node::devnet().await;
    node.advance(1).await;
    let old = json!({ "id": 1, "method": "eth_getBalance", "params": [payer().address(), "0x0"] });
    assert_eq!(node.raw(old).await["error"]["code"], json!(-32001));
    let now = json!([payer().address(), "0x1"]);
    assert_ne!(node.rpc("eth_getBalance", now).await, json!("0x0"));
}

#[tokio::test]
async fn a_transaction_with_a_wrong_nonce_or_without_money_is_refused_at_once() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    let before = p.stranger.block_number().await.unwrap();
    let too_much = U256::from(1000) * U256::from(support::ETHER);
    assert!(p.stranger.transfer(payee().address(), too_much).await.is_err());
    assert_eq!(p.stranger.block_number().await.unwrap(), before);
}

#[tokio::test]
async fn blocks_older_than_the_window_are_dropped_and_the_newest_stay() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    for _ in 0..9 {
        node.rpc("anvil_mine", json!([1000])).await;
    }
    assert_eq!(node.rpc("eth_getBlockByNumber", json!(["0x1", false])).await, Value::Null);
    assert_ne!(node.rpc("eth_getBlockByNumber", json!(["0x2000", false])).await, Value::Null);
    let logs = node.rpc("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest" }])).await;
    assert_eq!(logs, json!([]));
    assert!(p.payer.fund(payee().address(), U256::from(1)).await.unwrap().success);
}

#[tokio::test]
async fn block_time_mines_without_transactions_and_a_stop_ends_it() {
    let genesis = Genesis {
        accounts: vec![(payer().address(), U256::from(7))],
        block_time: Some(Duration::from_millis(20)),
        ..Genesis::default()
    };
    let devnet = Devnet::start(([127, 0, 0, 1], 0).into(), genesis).await.unwrap();
    let url = devnet.rpc_url();
    let third = r#"{"id":1,"method":"eth_getBlockByNumber","params":["0x3"]}"#;
    let risen = async { while post(&url, third).await.json::<Value>().await.unwrap()["result"].is_null() {} };
    tokio::time::timeout(Duration::from_secs(10), risen).await.expect("no block came");
    let balance = json!({ "id": 1, "method": "eth_getBalance", "params": [payer().address()] }).to_string();
    assert_eq!(post(&url, balance).await.json::<Value>().await.unwrap()["result"], json!("0x7"));

    devnet.stop().await;
    assert!(http().post(&url).send().await.is_err());
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_named() {
    let error = deploy("not a url", payer()).await.unwrap_err();
    assert!(matches!(error, DeployError::Chain(ChainError::Url { .. })), "{error}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again
    let error = deploy(&format!("http://{free}"), payer()).await.unwrap_err();
    assert!(matches!(error, DeployError::Chain(ChainError::NoEndpoint(_))), "{error}");
}

#[tokio::test]
async fn the_price_of_a_redemption_comes_from_the_chain() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    p.payer.fund(p.payee.address(), U256::from(support::ETHER)).await.unwrap();
    let price = U256::from(DEFAULT_BASE_FEE + 1);
    for (first, n) in [(0, 1), (1, 16)] {
        let expected = p.payee.redemption_cost(n).await.unwrap();
        let winners: Vec<_> = (first..first + n).map(|n| p.winner(n)).collect();
        let tx = p.payee.redeem(&winners).await.unwrap();
        let real = U256::from(p.payee.wait(tx, Duration::from_secs(20)).await.unwrap().gas_used) * price;
        // The estimate is of a pair that was never funded, and keeps a little to spare.
        let spare = price * U256::from(17_100) + real / U256::from(20);
        assert!(expected >= real && expected <= real + spare, "{n}: {expected} expected, {real} real");
    }
    node.devnet.as_ref().unwrap().set_base_fee(3 * DEFAULT_BASE_FEE);
    node.advance(1).await;
    assert!(p.payee.redemption_cost(1).await.unwrap() > price * U256::from(2 * 60_000), "it follows the gas price");
}

#[tokio::test]
async fn transactions_wait_for_their_turn_their_price_and_their_owner() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    let devnet = node.devnet.as_ref().unwrap();
    let count = async |tag: &str| node.rpc("eth_getTransactionCount", json!([payer().address(), tag])).await;
    let before = count("latest").await;
    devnet.hold();
    let held = tokio::spawn({
        let payer = p.payer.clone();
        async move { payer.transfer(payee().address(), U256::from(1)).await }
    });
    until(async || count("pending").await != before).await;
    assert_eq!(count("latest").await, before);
    // It offers twice the base fee at most.
    devnet.set_base_fee(3 * DEFAULT_BASE_FEE);
    devnet.release();
    assert_eq!(count("latest").await, before);
    devnet.set_base_fee(DEFAULT_BASE_FEE);
    assert_eq!(count("latest").await, count("pending").await);
    assert!(held.await.unwrap().unwrap().success);
}

#[tokio::test]
async fn a_reorganisation_takes_blocks_back_and_their_transactions_come_again() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    let devnet = node.devnet.as_ref().unwrap();
    let (from, to) = (p.payer.address(), p.payee.address());
    let one = U256::from(support::ETHER);
    let funded = p.payer.fund(to, one).await.unwrap();
    let before = (p.payer.balance(from).await.unwrap(), p.payer.block_number().await.unwrap());
    devnet.hold();
    assert!(devnet.reorg(1));
    assert_eq!(p.payer.receipt(funded.tx).await.unwrap(), None);
    assert_eq!(p.payer.pair(from, to).await.unwrap().locked, U256::ZERO);
    assert_eq!(p.payer.balance(from).await.unwrap(), before.0 + one + funded.fee);
    assert_eq!(p.payer.block_number().await.unwrap(), before.1 + 1, "the new branch is longer");
    devnet.release();
    let again = p.payer.receipt(funded.tx).await.unwrap().unwrap();
    assert!(again.success && again.block_hash != funded.block_hash);
    assert_eq!(p.payer.pair(from, to).await.unwrap().locked, one);
    assert!(!devnet.reorg(0) && !devnet.reorg(65), "only what is kept");
    assert!(devnet.reorg(4), "through the contracts' own creation and back");
    assert_eq!(p.payer.pair(from, to).await.unwrap().locked, one);
}

#[tokio::test]
async fn the_clock_is_moved_by_its_owner() {
    let node = Node::devnet().await;
    let time = async || {
        let block = node.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
        u64::from_str_radix(&block["timestamp"].as_str().unwrap()[2..], 16).unwrap()
    };
    let before = time().await;
    node.devnet.as_ref().unwrap().advance(Duration::from_secs(72 * 3600));
    assert!(time().await >= before + 72 * 3600);
    assert_eq!(node.rpc("eth_getTransactionByHash", json!([some_hash()])).await, Value::Null);
}

/// A wallet that holds a signature for its own if it begins with the hash: `isValidSignature` in 24 bytes.
const WALLET: [u8; 35] = alloy::hex!("601880600b6000396000f3" "60043560643514631626ba7e0260e01b60005260206000f3");

#[tokio::test]
async fn a_contract_wallet_is_asked_whether_a_signature_is_its_own() {
    let node = Node::devnet().await;
    let p = node.parties().await;
    let wallet = p.payer.address().create(
        serde_json::from_value::<alloy::primitives::U64>(
            node.rpc("eth_getTransactionCount", json!([p.payer.address(), "latest"])).await,
        )
        .unwrap()
        .to(),
    );
    let provider = alloy::providers::ProviderBuilder::new()
        .wallet(alloy::network::EthereumWallet::from(payer()))
        .connect_http(node.url.parse().unwrap());
    let create = alloy::rpc::types::TransactionRequest::default();
    let create = alloy::network::TransactionBuilder::with_deploy_code(create, WALLET.to_vec());
    let sent = alloy::providers::Provider::send_transaction(&provider, create).await.unwrap();
    assert_eq!(sent.get_receipt().await.unwrap().contract_address, Some(wallet));

    let hash = some_hash();
    let asked = |account, signature: Vec<u8>| p.payee.signed_by_contract(account, hash, signature.into());
    assert!(asked(wallet, hash.to_vec()).await.unwrap());
    assert!(!asked(wallet, vec![7; 65]).await.unwrap());
    assert!(!asked(wallet, Vec::new()).await.unwrap());
    assert!(!asked(p.payee.address(), hash.to_vec()).await.unwrap(), "no contract");
    assert!(!asked(p.contracts.broker, hash.to_vec()).await.unwrap(), "a contract that is no wallet");
}
