//! A page's requests over real HTTP, on the embedded chain.

use std::net::Ipv4Addr;

use alloy::primitives::{B256, Bytes as HexBytes, U256};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use millrace_contracts::bindings::Registry;
use millrace_contracts::deploy;
use millrace_contracts::devnet::{Devnet, Genesis};
use reqwest::StatusCode as Status;

use super::*;

/// A node's proxy before a chain.
struct Scene {
    devnet: Devnet,
    contracts: Addresses,
    url: String,
    client: reqwest::Client,
}

impl Scene {
    async fn new(rate: Rate) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(9)).unwrap();
        let accounts = vec![(key.address(), U256::from(10).pow(U256::from(20)))];
        let genesis = Genesis { accounts, ..Genesis::default() };
        let devnet = Devnet::start((Ipv4Addr::LOCALHOST, 0).into(), genesis).await.unwrap();
        let contracts = deploy(&devnet.rpc_url(), key.clone()).await.unwrap();
        let chain = Chain::connect(&devnet.rpc_url(), contracts, key).await.unwrap();
        let facts = ChainFacts {
            id: chain.chain_id(),
            name: "test".into(),
            contracts,
            first_block: 1,
            confirmations: 2,
            rpc_url: None,
        };
        let app = axum::Router::from(at_rate(chain, facts, |ip| ip, rate))
            .into_make_service_with_connect_info::<SocketAddr>();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { devnet, contracts, url, client: reqwest::Client::new() }
    }

    async fn post(&self, body: &Value) -> reqwest::Response {
        self.client.post(format!("{}/v1/rpc", self.url)).json(body).send().await.unwrap()
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.post(&json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })).await;
        assert_eq!(answer.status(), Status::OK);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }
}

fn input(call: &impl SolCall) -> HexBytes {
    call.abi_encode().into()
}

#[tokio::test]
async fn a_page_reads_the_chain_and_our_contracts() {
    let scene = Scene::new(RATE).await;
    assert_eq!(scene.ask("eth_chainId", json!([])).await["result"], "0x7a69");
    let Addresses { registry, broker, .. } = scene.contracts;
    let call = json!({ "to": registry, "data": input(&Registry::tokenCall {}) });
    let token = scene.ask("eth_call", json!([call, "latest"])).await;
    assert!(token["result"].as_str().unwrap().ends_with(&format!("{:x}", scene.contracts.token)), "{token}");
    let logs = scene.ask("eth_getLogs", json!([{ "address": broker, "fromBlock": "0x0", "toBlock": "0x20" }])).await;
    assert!(logs["result"].is_array(), "{logs}");

    let facts: Value = scene.client.get(format!("{}/v1/chain", scene.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!((&facts["id"], &facts["rpc_url"]), (&json!(31_337), &Value::Null));
    assert_eq!(facts["contracts"]["registry"], json!(registry));
}

#[tokio::test]
async fn a_contracts_refusal_comes_with_its_data() {
    let scene = Scene::new(RATE).await;
    let call = json!({ "to": scene.contracts.registry, "data": input(&Registry::withdrawBondCall {}) });
    let answer = scene.ask("eth_estimateGas", json!([call])).await;
    let nothing_to_withdraw = HexBytes::from_static(&[0xd0, 0xd0, 0x4f, 0x60]);
    assert_eq!(answer["error"]["data"], json!(nothing_to_withdraw), "{answer}");
    assert_eq!(answer["error"]["code"], 3);
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_and_what_is_not_allowed_by_a_refusal_each() {
    let scene = Scene::new(RATE).await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "eth_blockNumber" },
        { "jsonrpc": "2.0", "id": 2, "method": "eth_sendRawTransaction", "params": ["0x00"] },
        { "jsonrpc": "2.0", "id": null, "method": "evm_mine", "params": [] },
        { "jsonrpc": "2.0", "id": 4, "method": "eth_chainId", "params": {} },
        "eth_chainId",
        { "jsonrpc": "2.0", "id": 6, "method": "eth_chainId", "params": [] },
    ]);
    let answers: Vec<Value> = scene.post(&batch).await.json().await.unwrap();
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!("a"), json!(2), Value::Null, json!(4), Value::Null, json!(6)]);
    let codes: Vec<_> = answers.iter().map(|answer| answer["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [None, Some(-32601), Some(-32601), Some(-32602), Some(-32600), None]);
}

#[tokio::test]
async fn what_is_too_much_or_of_another_kind_is_refused_before_the_chain_is_asked() {
    let scene = Scene::new(RATE).await;
    let one = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [] });
    let answer: Value = scene.post(&Value::Array(vec![one.clone(); MAX_BATCH + 1])).await.json().await.unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("1 to 20 requests, this one 21"), "{answer}");
    let answer: Value = scene.post(&json!([])).await.json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32600);

    let to = format!("{}/v1/rpc", scene.url);
    let text = scene.client.post(&to).body(one.to_string()).header("content-type", "text/plain").send().await.unwrap();
    assert_eq!(text.status(), Status::UNSUPPORTED_MEDIA_TYPE);
    let json = |body: String| scene.client.post(&to).body(body).header("content-type", "application/json").send();
    assert_eq!(json("x".repeat(MAX_BODY + 1)).await.unwrap().status(), Status::PAYLOAD_TOO_LARGE);
    let answer: Value = json("{".into()).await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32700);
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_back() {
    let scene = Scene::new(Rate { burst: 3, per_second: 1 }).await;
    let one = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [] });
    let answer = scene.post(&Value::Array(vec![one; 20])).await;
    assert_eq!(answer.status(), Status::TOO_MANY_REQUESTS);
    assert!(answer.headers().contains_key("retry-after"));
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32005);
}

#[tokio::test]
async fn a_chain_that_is_away_is_said_to_be_and_its_address_is_not() {
    let scene = Scene::new(RATE).await;
    let (host, stopping) = (scene.devnet.rpc_url(), scene.devnet);
    stopping.stop().await;
    let one = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] });
    let answer = scene.client.post(format!("{}/v1/rpc", scene.url)).json(&one).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("does not answer"), "{text}");
    assert!(!text.contains(host.trim_start_matches("http://")), "{text}");
}

#[test]
fn answers_that_are_too_long_together_give_way_one_by_one() {
    let long = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "result": "x".repeat(MAX_ANSWER / 2) });
    let mut answers = vec![long(1), long(2), json!({ "jsonrpc": "2.0", "id": 3, "result": "0x1" })];
    bound(&mut answers);
    assert!(answers[0]["result"].is_string());
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!(2), &json!(-32005)));
    assert_eq!(answers[2]["result"], "0x1");
}
