//! The client and the contracts, on the embedded chain and on anvil: the same cases, and the same figures.
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
use millrace_contracts::bindings::Registry;
use millrace_contracts::{Chain, ChainError, NodeRecord, ORCHESTRATOR, Step, StepError, TRANSCODER};
use millrace_tickets::Domain;
use serde_json::{Value, json};

use support::{ETHER, EXPIRY, FACE, Node, payee, payer, some_hash, some_key, stranger, winner};

const WAIT: Duration = Duration::from_secs(20);

/// Each case becomes a test on each chain.
macro_rules! on_both_chains {
    ($($case:ident)*) => {
        mod on_devnet { $(#[tokio::test] async fn $case() { super::$case(super::Node::devnet().await).await })* }
        mod on_anvil {
            $(#[tokio::test] async fn $case() {
                if let Some(node) = super::Node::anvil().await { super::$case(node).await }
            })*
        }
    };
}

on_both_chains! {
    a_node_registers_once_and_updates_what_changed
    a_winner_and_a_batch_pay_the_payee
    the_contract_refuses_by_name_and_nothing_is_sent
    a_session_key_signs_for_its_payer_up_to_its_cap_and_its_end
    an_unlock_waits_three_days
    sends_of_one_signer_take_turns
    a_snapshot_brings_state_and_nonces_back
    contracts_that_are_not_there_are_named
    contracts_see_the_hashes_of_the_last_256_blocks
    tools_and_wallets_get_the_answers_they_expect
}

fn ether(n: u64) -> U256 {
    U256::from(n) * U256::from(ETHER)
}

fn name(error: &ChainError) -> &str {
    error.revert().map_or("not a revert", |revert| &revert.name)
}

async fn a_node_registers_once_and_updates_what_changed(node: Node) {
    let p = node.parties().await;
    let key = some_hash();
    let (me, registry) = (p.payee.address(), p.contracts.registry);
    assert_eq!(p.payee.node(me).await.unwrap(), None);
    p.give_tokens(me, ether(300)).await;

    p.payee.register(TRANSCODER, "127.0.0.1:4433", key, ether(100)).await.unwrap();
    let record = NodeRecord { roles: TRANSCODER, bond: ether(100), fingerprint: key, uri: "127.0.0.1:4433".into() };
    assert_eq!(p.stranger.node(me).await.unwrap(), Some(record));

    let before = p.payee.balance(me).await.unwrap();
    p.payee.register(TRANSCODER, "127.0.0.1:4433", key, ether(100)).await.unwrap();
    assert_eq!(p.payee.balance(me).await.unwrap(), before, "the same again costs nothing");

    let moved = some_hash();
    p.payee.register(ORCHESTRATOR | TRANSCODER, "127.0.0.1:5544", moved, ether(200)).await.unwrap();
    let record = p.payee.node(me).await.unwrap().unwrap();
    assert_eq!((record.roles, record.bond, record.fingerprint), (3, ether(200), moved));
    assert_eq!(p.payee.tokens(me).await.unwrap(), ether(100));

    let least = p.stranger.min_bond().await.unwrap();
    let error = p.stranger.register(TRANSCODER, "", key, least).await.unwrap_err().to_string();
    assert!(error.contains("send it MILL"), "{error}");
    p.give_tokens(p.stranger.address(), least).await;
    let error = p.stranger.register(TRANSCODER, "", key, least - U256::from(1)).await.unwrap_err().to_string();
    assert!(error.contains("bond"), "{error}");

    let unbond = Registry::startUnbondCall { amount: U96::from(200u128 * u128::from(ETHER)) };
    p.payee.make(&Step::call("unbond", registry, &unbond)).await.unwrap();
    assert_eq!(p.payee.node(me).await.unwrap(), None, "who unbonds everything has left");
    let withdraw = Step::call("withdraw the bond", registry, &Registry::withdrawBondCall {});
    assert!(matches!(p.payee.make(&withdraw).await, Err(StepError::Refused { .. })));
    node.advance(7 * 86_400).await;
    assert!(p.payee.make(&withdraw).await.unwrap().success);
    assert_eq!(p.payee.tokens(me).await.unwrap(), ether(300));
}

async fn a_winner_and_a_batch_pay_the_payee(node: Node) {
    let p = node.parties().await;
    let (from, to) = (p.payer.address(), p.payee.address());
    p.payer.fund(to, ether(1)).await.unwrap();
    let before = p.payee.balance(to).await.unwrap();

    let tx = p.payee.redeem(&[p.winner(0)]).await.unwrap();
    let single = p.payee.wait(tx, WAIT).await.unwrap();
    assert!(single.success);
    let batch: Vec<_> = (1..=16).map(|n| p.winner(n)).collect();
    let tx = p.payee.redeem(&batch).await.unwrap();
    let mined = p.payee.wait(tx, WAIT).await.unwrap();
    assert!(mined.success && mined.block > single.block);

    let earned = U256::from(17 * FACE);
    assert_eq!(p.payee.credit(to).await.unwrap(), earned);
    assert_eq!(p.payee.balance(to).await.unwrap() + single.fee + mined.fee, before, "no money moves in a redemption");
    let tx = p.stranger.claim(to).await.unwrap();
    assert!(p.stranger.wait(tx, WAIT).await.unwrap().success, "anyone may have it paid out");
    assert_eq!(p.payee.balance(to).await.unwrap() + single.fee + mined.fee - before, earned);
    assert_eq!(p.payee.credit(to).await.unwrap(), U256::ZERO);
    assert_eq!(name(&p.payee.claim(to).await.unwrap_err()), "NothingToClaim");
    let pair = p.payee.pair(from, to).await.unwrap();
    assert_eq!((pair.locked, pair.last_nonce), (ether(1) - earned, batch[15].ticket.nonce));
}

async fn the_contract_refuses_by_name_and_nothing_is_sent(node: Node) {
    let p = node.parties().await;
    let (to, domain) = (p.payee.address(), p.payer.domain());
    p.payer.fund(to, U256::from(2 * FACE)).await.unwrap();
    let spent = p.winner(5);
    let tx = p.payee.redeem(std::slice::from_ref(&spent)).await.unwrap();
    p.payee.wait(tx, WAIT).await.unwrap();
    let sent = node.rpc("eth_getTransactionCount", json!([to, "pending"])).await;

    let other_chain = Domain { chain_id: domain.chain_id + 1, ..domain };
    let other_broker = Domain { broker: Address::repeat_byte(7), ..domain };
    let mut other_rand = p.winner(6);
    other_rand.payee_rand = some_hash();
    let refusals = [
        ("NonceNotRising", spent.clone()),
        ("NonceNotRising", p.winner(4)),
        ("WrongSigner", winner(&stranger(), to, &domain, 6, |_| ())),
        ("WrongSigner", winner(&payer(), to, &other_chain, 6, |_| ())),
        ("WrongSigner", winner(&payer(), to, &other_broker, 6, |_| ())),
        ("WrongSigner", other_rand),
        ("NotAWinner", p.winner_with(6, |t| t.winProb = 0)),
        ("Expired", p.winner_with(6, |t| t.expiry = U40::from(1_700_000_000u64))),
        ("NonceInFuture", p.winner_with(6, |t| t.nonce = EXPIRY << 24)),
        ("LockTooSmall", p.winner_with(6, |t| t.faceValue = U96::from(FACE + 1))),
    ];
    for (reason, redemption) in &refusals {
        let error = p.payee.redeem(std::slice::from_ref(redemption)).await.unwrap_err();
        assert_eq!(name(&error), *reason, "{error}");
    }
    let error = p.payee.redeem(&[p.winner(6), spent]).await.unwrap_err();
    assert_eq!(name(&error), "NonceNotRising", "a batch is all or nothing");
    assert!(error.to_string().contains("lastNonce"), "the reason has its numbers: {error}");
    assert_eq!(name(&p.payer.redeem(&[p.winner(6)]).await.unwrap_err()), "NotCarrier");
    assert!(matches!(p.payee.redeem(&[]).await, Err(ChainError::Input(_))));
    assert_eq!(node.rpc("eth_getTransactionCount", json!([to, "pending"])).await, sent);

    p.payee.set_carrier(p.stranger.address(), true).await.unwrap();
    let tx = p.stranger.redeem(&[p.winner(6)]).await.unwrap();
    assert!(p.stranger.wait(tx, WAIT).await.unwrap().success, "a carrier that the payee named may");
}

async fn a_session_key_signs_for_its_payer_up_to_its_cap_and_its_end(node: Node) {
    let p = node.parties().await;
    let (from, to, domain) = (p.payer.address(), p.payee.address(), p.payer.domain());
    let key = some_key();
    p.payer.fund(to, ether(1)).await.unwrap();
    let by_key = |n| winner(&key, to, &domain, n, |t| t.expiry = U40::from(EXPIRY));
    assert_eq!(name(&p.payee.redeem(&[by_key(1)]).await.unwrap_err()), "WrongSigner");
    assert_eq!(p.payee.session_key(from, key.address()).await.unwrap(), None);
    let cap = U256::from(2 * FACE);
    p.payer.set_session_key(key.address(), EXPIRY, cap).await.unwrap();
    assert_eq!(p.payee.session_key(from, key.address()).await.unwrap(), Some((EXPIRY, cap)));
    let again = p.payer.set_session_key(key.address(), EXPIRY, cap).await.unwrap_err();
    assert_eq!(name(&again), "SessionKeyAlreadySet");

    let tx = p.payee.redeem(&[by_key(1), by_key(2)]).await.unwrap();
    assert!(p.payee.wait(tx, WAIT).await.unwrap().success);
    let error = p.payee.redeem(&[by_key(3)]).await.unwrap_err();
    assert_eq!(name(&error), "DailyCapExceeded");
    assert_eq!(error.revert().unwrap().nonce, Some(by_key(3).ticket.nonce), "the ticket is named");
    p.payer.revoke_session_key(key.address()).await.unwrap();
    assert!(p.payee.session_key(from, key.address()).await.unwrap().unwrap().0 < EXPIRY);
    assert_eq!(name(&p.payee.redeem(&[by_key(4)]).await.unwrap_err()), "SessionKeyExpired");
}

async fn an_unlock_waits_three_days(node: Node) {
    let p = node.parties().await;
    let (from, to) = (p.payer.address(), p.payee.address());
    p.payer.fund(to, ether(1)).await.unwrap();
    assert_eq!(name(&p.payer.withdraw(to).await.unwrap_err()), "NoUnlock");
    p.payer.request_unlock(to, ether(1)).await.unwrap();
    let pair = p.payee.pair(from, to).await.unwrap();
    assert_eq!(pair.pending_unlock, ether(1));
    assert!(pair.unlock_at.is_some());

    node.advance(72 * 3600 - 60).await;
    assert_eq!(name(&p.payer.withdraw(to).await.unwrap_err()), "StillLocked");
    let tx = p.payee.redeem(&[p.winner(0)]).await.unwrap();
    assert!(p.payee.wait(tx, WAIT).await.unwrap().success, "until then it pays winners");

    node.advance(60).await;
    let before = p.payer.balance(from).await.unwrap();
    let mined = p.payer.withdraw(to).await.unwrap();
    assert_eq!(p.payer.balance(from).await.unwrap() + mined.fee - before, ether(1) - U256::from(FACE));
    assert_eq!(p.payee.pair(from, to).await.unwrap().locked, U256::ZERO);
}

async fn sends_of_one_signer_take_turns(node: Node) {
    let p = node.parties().await;
    let twin = Chain::connect(&node.url, p.contracts, payer()).await.unwrap();
    let sends = (0..12).map(|i| {
        let client = if i % 2 == 0 { p.payer.clone() } else { twin.clone() };
        tokio::spawn(async move { client.transfer(Address::repeat_byte(9), U256::from(1)).await })
    });
    for send in sends.collect::<Vec<_>>() {
        assert!(send.await.unwrap().unwrap().success);
    }
    assert_eq!(p.payer.balance(Address::repeat_byte(9)).await.unwrap(), U256::from(12));
}

async fn a_snapshot_brings_state_and_nonces_back(node: Node) {
    let p = node.parties().await;
    let (from, to) = (p.payer.address(), p.payee.address());
    let block = p.payer.block_number().await.unwrap();
    let snapshot = node.rpc("evm_snapshot", json!([])).await;
    let funded = p.payer.fund(to, ether(1)).await.unwrap();
    assert_eq!(node.rpc("evm_revert", json!([snapshot])).await, json!(true));
    assert_eq!(p.payer.pair(from, to).await.unwrap().locked, U256::ZERO);
    assert_eq!(p.payer.block_number().await.unwrap(), block);
    assert_eq!(p.payer.receipt(funded.tx).await.unwrap(), None);
    assert!(p.payer.fund(to, ether(2)).await.unwrap().success);
    assert_eq!(p.payer.pair(from, to).await.unwrap().locked, ether(2));
}

/// A committee is drawn by one of them. Each is asked for by a creation that leaves it behind as code, after a zero, since no code may
/// begin with 0xef.
async fn contracts_see_the_hashes_of_the_last_256_blocks(node: Node) {
    use alloy::network::{EthereumWallet, TransactionBuilder};
    use alloy::providers::{Provider, ProviderBuilder};
    let provider = ProviderBuilder::new().wallet(EthereumWallet::from(payer())).connect_http(node.url.parse().unwrap());
    node.rpc("anvil_mine", json!([300])).await;
    for back in [0, 1, 2, 128, 256, 257] {
        let number = provider.get_block_number().await.unwrap() + 1 - back;
        // PUSH8 number BLOCKHASH PUSH1 1 MSTORE PUSH1 33 PUSH0 RETURN
        let code = [&[0x67][..], &number.to_be_bytes(), &[0x40, 0x60, 1, 0x52, 0x60, 33, 0x5f, 0xf3]].concat();
        let request = alloy::rpc::types::TransactionRequest::default().with_deploy_code(code);
        let receipt = provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
        assert_eq!(receipt.block_number, Some(number + back), "in the very next block");
        let seen = provider.get_code_at(receipt.contract_address.unwrap()).await.unwrap();
        let block = node.rpc("eth_getBlockByNumber", json!([format!("{number:#x}"), false])).await;
        let right =
            if (1..=256).contains(&back) { block["hash"].as_str().unwrap().parse().unwrap() } else { B256::ZERO };
        assert_eq!(B256::from_slice(&seen[1..]), right, "{back} blocks back");
    }
}

async fn contracts_that_are_not_there_are_named(node: Node) {
    let mut contracts = node.parties().await.contracts;
    contracts.broker = Address::repeat_byte(1);
    let error = Chain::connect(&node.url, contracts, payer()).await.err().unwrap();
    assert_eq!(error, ChainError::NoContract { name: "ticket broker", address: Address::repeat_byte(1) });
}

async fn tools_and_wallets_get_the_answers_they_expect(node: Node) {
    let p = node.parties().await;
    let to = p.payee.address();
    let mined = p.payer.fund(to, ether(1)).await.unwrap();

    assert_eq!(node.rpc("eth_chainId", json!([])).await, json!("0x7a69"));
    assert_eq!(node.rpc("net_version", json!([])).await.as_str().map(|s| s.parse::<u64>().is_ok()), Some(true));
    let latest = node.rpc("eth_getBlockByNumber", json!(["latest", true])).await;
    assert_eq!(latest["transactions"][0]["hash"], json!(mined.tx));
    assert_eq!(latest["transactions"][0]["type"], "0x2");
    assert_eq!(node.rpc("eth_getBlockByHash", json!([latest["hash"], true])).await["number"], latest["number"]);
    let tx = node.rpc("eth_getTransactionByHash", json!([mined.tx])).await;
    assert_eq!((&tx["blockHash"], &tx["value"]), (&latest["hash"], &json!(ether(1))));
    let receipt = node.rpc("eth_getTransactionReceipt", json!([mined.tx])).await;
    for field in ["status", "gasUsed", "logs", "effectiveGasPrice", "from", "to", "logsBloom", "type"] {
        assert_ne!(receipt[field], Value::Null, "{field}");
    }
    assert_eq!(node.rpc("eth_getTransactionReceipt", json!([some_hash()])).await, Value::Null);
    assert_eq!(node.rpc("eth_getBlockByNumber", json!(["0xffffff", false])).await, Value::Null);

    let fees = node.rpc("eth_feeHistory", json!(["0x3", "latest", [25.0, 75.0]])).await;
    assert_eq!(fees["baseFeePerGas"].as_array().map(Vec::len), Some(4));
    assert_eq!(fees["reward"][2].as_array().map(Vec::len), Some(2));

    let of_broker = json!([{ "address": p.contracts.broker, "fromBlock": "0x0", "toBlock": "latest" }]);
    let logs = node.rpc("eth_getLogs", of_broker).await;
    assert_eq!(logs.as_array().map(Vec::len), Some(1));
    assert_eq!(logs[0]["transactionHash"], json!(mined.tx));
    let other_topic = json!([{ "fromBlock": "0x0", "topics": [some_hash()] }]);
    assert_eq!(node.rpc("eth_getLogs", other_topic).await, json!([]));

    // A batch keeps its order of ids, and a refusal carries the contract's reason.
    let bad = json!({ "from": to, "to": p.contracts.registry, "data": "0x37b6eb15" });
    let answers = node
        .raw(json!([
            { "jsonrpc": "2.0", "id": 7, "method": "eth_getCode", "params": [p.contracts.broker, "latest"] },
            { "jsonrpc": "2.0", "id": 8, "method": "eth_call", "params": [bad, "latest"] },
            { "jsonrpc": "2.0", "id": 9, "method": "eth_nothing", "params": [] },
        ]))
        .await;
    assert!(answers[0]["result"].as_str().unwrap().len() > 1000);
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!(8), &json!(3)));
    assert_eq!(answers[2]["error"]["code"], json!(-32601));
}

/// What a run of the whole contract interface leaves behind, to be the same on every chain.
async fn traces(node: &Node) -> Vec<(&'static str, Address, u64)> {
    let p = node.parties().await;
    let (deployer, to) = (p.payer.address(), p.payee.address());
    let mut trace = Vec::new();
    let a = p.contracts;
    let deployed = [
        ("deploy token", a.token, 0),
        ("deploy parameters", a.parameters, 2), // after the timelock
        ("deploy registry", a.registry, 3),
        ("deploy broker", a.broker, 4),
        ("deploy sampling", a.sampling, 5),
        ("deploy disputes", a.disputes, 6),
    ];
    for (what, at, nonce) in deployed {
        assert_eq!(at, deployer.create(nonce));
        let block = node.rpc("eth_getBlockByNumber", json!([U256::from(nonce + 1), false])).await;
        trace.push((
            what,
            at,
            block["gasUsed"].as_str().map(|hex| u64::from_str_radix(&hex[2..], 16).unwrap()).unwrap(),
        ));
    }
    let mut step = |what, gas| trace.push((what, to, gas));
    step("fund", p.payer.fund(to, ether(1)).await.unwrap().gas_used);
    step("fund again", p.payer.fund(to, ether(1)).await.unwrap().gas_used);
    let redeem = async |first: u64, n: u64| {
        let winners: Vec<_> = (first..first + n).map(|n| p.winner(n)).collect();
        let tx = p.payee.redeem(&winners).await.unwrap();
        p.payee.wait(tx, WAIT).await.unwrap().gas_used
    };
    step("first redemption of a pair", redeem(0, 1).await);
    step("redeem 1", redeem(1, 1).await);
    step("redeem 16", redeem(100, 16).await);
    step("redeem 64", redeem(200, 64).await);
    step("request unlock", p.payer.request_unlock(to, ether(1)).await.unwrap().gas_used);
    step("cancel unlock", p.payer.cancel_unlock(to).await.unwrap().gas_used);
    let mut step = |what, gas| trace.push((what, to, gas));
    let tx = p.payee.claim(to).await.unwrap();
    step("claim", p.payee.wait(tx, WAIT).await.unwrap().gas_used);
    trace
}

#[tokio::test]
async fn addresses_and_gas_are_the_same_on_both_chains_and_within_the_targets() {
    let node = Node::devnet().await;
    let ours = traces(&node).await;
    for (what, _, gas) in &ours {
        println!("gas: {what:<28} {gas:>9}");
    }
    let gas = |of: &str| ours.iter().find(|(what, ..)| *what == of).unwrap().2;
    println!("gas: each in a batch of 16 {}, of 64 {}", gas("redeem 16") / 16, gas("redeem 64") / 64);
    assert!(gas("redeem 1") <= 50_000, "redeem");
    assert!(gas("redeem 16") <= 16 * 10_500, "redeem 16");
    if let Some(anvil) = Node::anvil().await {
        assert_eq!(ours, traces(&anvil).await);
    }
    assert_eq!(payee().address(), ours[6].1);
}
