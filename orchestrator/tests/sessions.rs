//! Who is heard by an orchestrator: those that are bonded or have locked money for it, and the keys that may spend for those.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{Addresses, Chain, deploy};
use millrace_hop::{Account, unix_now};
use millrace_orchestrator::OrchestratorConfig;
use millrace_wire::messages::{Control, Greeting, Role, VERSION};
use millrace_wire::{Endpoint, Expect, Identity};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

fn key(n: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap()
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Greets the orchestrator at `to` as a broadcaster with key `n`: the commits that it hands out, or the reason of its refusal.
async fn greet(n: u8, to: SocketAddr, orchestrator: Address, payer: Option<Address>) -> Result<usize, String> {
    let endpoint = Endpoint::bind(&Identity::new(key(n), None).unwrap(), loopback()).unwrap();
    let expect = Expect { address: Some(orchestrator), ..Expect::default() };
    let peer = endpoint.connect(to, expect).await.unwrap();
    let (mut sender, mut receiver) = peer.open().await.unwrap().split();
    let hello = Greeting { version: VERSION, role: Role::Broadcaster, node: "b".into(), max_streams: 0, payer };
    sender.send(&Control::Hello(hello)).await.unwrap();
    loop {
        match receiver.recv_within(LIMIT).await {
            Ok(Some(Control::Commits(commits))) => return Ok(commits.len()),
            Ok(Some(_)) => {}
            _ => return Err(peer.closed().await.to_string()),
        }
    }
}

async fn chain(devnet: &Devnet, contracts: Addresses, n: u8) -> Chain {
    Chain::connect(&devnet.rpc_url(), contracts, key(n)).await.unwrap()
}

#[tokio::test]
async fn a_session_key_is_heard_for_the_payer_that_allowed_it_and_nobody_else() {
    let accounts = (1..=9).map(|n| (key(n).address(), U256::from(10).pow(U256::from(20)))).collect();
    let devnet = Devnet::start(loopback(), Genesis { accounts, ..Genesis::default() }).await.unwrap();
    let contracts = deploy(&devnet.rpc_url(), key(9)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let account = Account::open("o", dir.path(), &devnet.rpc_url(), contracts, key(9)).await.unwrap();
    let (me, stop) = (account.address(), CancellationToken::new());
    let config = OrchestratorConfig { listen: loopback().to_string(), ..OrchestratorConfig::default() };
    let identity = Identity::new(key(9), None).unwrap();
    let serving = millrace_orchestrator::start(config, Arc::new(account), &identity, stop.clone()).await.unwrap();
    let to = serving.quic.unwrap();

    let cold = chain(&devnet, contracts, 1).await;
    let payer = cold.address();
    let refused = greet(2, to, me, None).await.unwrap_err();
    assert!(refused.contains("broadcaster.payer"), "{refused}");
    let refused = greet(2, to, me, Some(payer)).await.unwrap_err();
    assert!(refused.contains("is no session key of"), "{refused}");
    cold.set_session_key(key(2).address(), unix_now() + 86_400, U256::from(1)).await.unwrap();
    let refused = greet(2, to, me, Some(payer)).await.unwrap_err();
    assert!(refused.contains("has locked no money"), "{refused}");
    cold.fund(me, U256::from(1_000)).await.unwrap();
    assert_eq!(greet(2, to, me, Some(payer)).await, Ok(16));
    assert_eq!(greet(1, to, me, None).await, Ok(16), "the payer itself, as ever");
    let refused = greet(3, to, me, Some(payer)).await.unwrap_err();
    assert!(refused.contains("is no session key of"), "{refused}");

    stop.cancel();
    tokio::time::timeout(LIMIT, serving.work).await.unwrap().unwrap();
}
